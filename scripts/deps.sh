#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# make deps: installs what the other verbs need, on Debian 12 and 13. On
# Debian 12, QEMU is in backports alone: it comes through a source list of
# our own, and the machine's sources stay as they are.
SELF=deps
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/apt.sh
. "$TOP/scripts/apt.sh"

QEMU_MIN=9
PATH=$PATH:/usr/sbin:/sbin

# package  command, or file when it starts with a slash. DEPS_NEEDS is for the
# tests of this script.
NEEDS=${DEPS_NEEDS:-'
build-essential       g++
flex                  flex
bison                 bison
bc                    bc
libelf-dev            /usr/include/libelf.h
libssl-dev            /usr/include/openssl/ssl.h
uuid-dev              /usr/include/uuid/uuid.h
gcc-aarch64-linux-gnu aarch64-linux-gnu-gcc
libc6-dev-arm64-cross /usr/aarch64-linux-gnu/lib/libc.a
ccache                ccache
sparse                sparse
git                   git
quilt                 quilt
cpio                  cpio
kmod                  depmod
rsync                 rsync
xz-utils              xz
lz4                   lz4
zstd                  zstd
perl                  perl
codespell             codespell
shellcheck            shellcheck
busybox-static        /bin/busybox
python3               python3
python3-ply           /usr/lib/python3/dist-packages/ply/yacc.py
python3-git           /usr/lib/python3/dist-packages/git/__init__.py
python3-yaml          /usr/lib/python3/dist-packages/yaml/__init__.py
python3-sphinx        sphinx-build
qemu-system-x86       qemu-system-x86_64
qemu-system-arm       qemu-system-aarch64
isolinux              /usr/lib/ISOLINUX/isolinux.bin
syslinux-common       /usr/lib/syslinux/modules/bios/ldlinux.c32
genisoimage           genisoimage
bochs                 bochs-bin
bochs-term            /usr/share/doc/bochs-term
bochsbios             /usr/share/bochs/BIOS-bochs-latest
vgabios               /usr/share/vgabios/vgabios.bin
'}

# there COMMAND|FILE
there() {
	case $1 in
	qemu-system-*) qemu_new "$1" ;;
	/*) [ -e "$1" ] ;;
	*) command -v "$1" >/dev/null 2>&1 ;;
	esac
}

# qemu_new COMMAND: is it there, and not too old?
qemu_new() {
	local version
	version=$("$1" --version 2>/dev/null |
		sed -n 's/^QEMU emulator version \([0-9]*\).*/\1/p') || return 1
	[ "${version:-0}" -ge "$QEMU_MIN" ]
}

missing() {
	local package probe
	while read -r package probe; do
		[ -z "$package" ] || there "$probe" || echo "$package"
	done <<<"$NEEDS"
}

# as_root COMMAND...
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "not root, and there is no sudo; as root: make deps"
	fi
}

# debian: prints 12, 13 or more; nothing elsewhere.
debian() {
	[ "$(os_get ID)" = debian ] || return 0
	case $(os_get VERSION_ID) in
	12) echo 12 ;;
	"" | 1[3-9]) echo 13 ;;
	esac
}

# apt_sources_copy: the machine's own sources, seen by the private state.
apt_sources_copy() {
	local file
	for file in /etc/apt/sources.list.d/*.{sources,list}; do
		[ ! -f "$file" ] || cp "$file" "$APT_DIR/parts/"
	done
}

apt_failed() {
	local log=$1 audit
	tail -n 8 "$log" >&2
	audit=$(dpkg --audit 2>/dev/null || true)
	if [ -n "$audit" ] || grep -q 'dpkg --configure -a' "$log"; then
		die "dpkg was interrupted earlier; as root:" \
		    "dpkg --configure -a && make deps"
	elif grep -q 'Could not get lock' "$log"; then
		die "another apt or dpkg is at work; try again when it is done"
	elif [ "$(apt_why "$log")" = network ]; then
		die "the mirror of this machine cannot be reached"
	fi
	die "apt-get failed; to install by hand: $*"
}

# install RELEASE PACKAGE...
install() {
	local release=$1 mirror suite='' package log=$APT_DIR/log
	local install=(install -y --no-install-recommends) stock=()
	shift
	apt_sources_copy
	for package; do
		if [ "$release" = 12 ] && [ "${package#qemu-}" != "$package" ]; then
			suite=$(os_get VERSION_CODENAME)-backports
		else
			stock+=("$package")
		fi
	done
	if [ -n "$suite" ]; then
		mirror=$(apt_mirror)
		[ -n "$mirror" ] || die "apt's sources name no mirror of Debian"
		apt_line "$mirror" "$suite" >"$APT_DIR/parts/kmf-backports.list"
	fi
	say "reading the package lists"
	# A broken source of somebody else's does not matter yet.
	LC_ALL=C as_root apt-get "${APT[@]}" update >"$log" 2>&1 ||
		warn "apt-get update: $(grep -m1 -E '^(E|W):' "$log" || true)"
	say "installing $*"
	[ ${#stock[@]} = 0 ] || install_now "${install[@]}" -- "${stock[@]}"
	if [ -n "$suite" ]; then
		# Its firmware has to come from the same suite.
		install_now "${install[@]}" -t "$suite" -- qemu-system-x86 \
			qemu-system-arm ipxe-qemu
	fi
}

install_now() {
	local log=$APT_DIR/install.log
	as_root env LC_ALL=C DEBIAN_FRONTEND=noninteractive \
		apt-get "${APT[@]}" -o DPkg::Lock::Timeout=300 -q "$@" \
		</dev/null >"$log" 2>&1 || apt_failed "$log" "apt-get ${*/--/}"
}

main() {
	local packages release
	mapfile -t packages < <(missing)
	if [ ${#packages[@]} = 0 ]; then
		say "everything is there"
		return
	fi
	release=$(debian)
	if [ -z "$release" ]; then
		warn "missing, by the names that Debian gives them (QEMU" \
		     "from version $QEMU_MIN on):"
		printf '  %s\n' "${packages[@]}" >&2
		die "this is not Debian 12 or 13; please install them"
	fi
	if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
		die "not root, and no sudo; missing: ${packages[*]}; as root:" \
		    "make deps"
	fi
	apt_open
	install "$release" "${packages[@]}"
	mapfile -t packages < <(missing)
	[ ${#packages[@]} = 0 ] || die "still missing: ${packages[*]}"
	say "everything is there now"
}

trap apt_close EXIT
trap 'interrupted "the next make deps goes on from here"' INT TERM HUP
main
