#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Packs the part of the initramfs that every guest of ARCH shares: our init
# and busybox.  Prints the name of the archive.

SELF=initramfs
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/target.sh
. "$TOP/scripts/target.sh"

OUT=$BUILD/initramfs/$ARCH

# This machine's busybox serves guests of its own architecture.  For another
# one, Debian's package is fetched with apt's own verification, in a state of
# its own: the machine's package lists stay as they are.
busybox_get() {
	local debian_arch=arm64 cached=$CACHE/busybox-$ARCH

	[ "$ARCH" = arm64 ] || debian_arch=amd64
	if [ "$(uname -m)" = "${ARCH/arm64/aarch64}" ]; then
		need busybox busybox-static
		cp "$(command -v busybox)" "$OUT/root/bin/busybox"
		return
	fi
	[ -x "$cached" ] || busybox_fetch "$debian_arch" "$cached" ||
		warn "no busybox for $ARCH to be had: its guests have no shell"
	[ ! -x "$cached" ] || cp "$cached" "$OUT/root/bin/busybox"
}

# busybox_fetch DEBIAN_ARCH FILE
busybox_fetch() {
	local dir=$OUT/apt opt

	command -v apt-get >/dev/null 2>&1 || return 1
	rm -rf "$dir"
	mkdir -p "$dir/state/lists/partial" "$dir/cache/archives/partial" "$CACHE"
	opt=(-qq -o "Dir::State=$dir/state" -o "Dir::Cache=$dir/cache"
		-o Dir::State::status=/dev/null -o "APT::Architecture=$1"
		-o "APT::Architectures::=$1" -o APT::Sandbox::User=root
		-o Acquire::Languages=none)
	apt-get "${opt[@]}" update &&
		(cd "$dir" && apt-get "${opt[@]}" download busybox-static) &&
		dpkg-deb -x "$dir"/busybox-static_*.deb "$dir/x" &&
		install -m 755 "$(find "$dir/x" -path "*/bin/busybox" -type f | head -n1)" "$2.part" &&
		mv "$2.part" "$2" || return 1
	rm -rf "$dir"
}

pack() {
	need cpio cpio
	mkdir -p "$OUT/root/bin"
	"${CROSS}gcc" -O2 -Wall -static -o "$OUT/root/init" "$TOP/scripts/init.c"
	busybox_get
	ln -sf busybox "$OUT/root/bin/sh"
	(cd "$OUT/root" && find . | cpio -o -H newc --quiet -R 0:0) >"$OUT/part"
	mv "$OUT/part" "$OUT/common.cpio"
}

main() {
	mkdir -p "$OUT"
	exec {lock}>"$OUT/lock"
	flock "$lock"
	if [ ! -f "$OUT/common.cpio" ] ||
	   [ "$TOP/scripts/init.c" -nt "$OUT/common.cpio" ] ||
	   [ "$0" -nt "$OUT/common.cpio" ]; then
		pack >&2
	fi
	echo "$OUT/common.cpio"
}

main
