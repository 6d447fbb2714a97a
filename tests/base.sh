#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# make base, against a mirror of our own making: apt is replaced by a script
# that serves packages from folders named like suites.
# shellcheck source=tests/lib.bash
. "$(dirname "$0")/lib.bash"

MIRROR=$WORK/mirror
STORE=$XDG_CACHE_HOME/kvm-memory-fault/base
export MIRROR OS_RELEASE=$WORK/os-release
printf 'ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n' >"$OS_RELEASE"

mkdir -p "$WORK/bin" "$MIRROR"
cat >"$WORK/bin/apt-get" <<'END'
#!/bin/bash
# Serves $MIRROR/SUITE/VERSION.deb; $MIRROR/down means that there is no network.
while [ $# -gt 0 ]; do
	case $1 in
	-o) shift; [[ $1 != Dir::Etc::sourceparts=* ]] || parts=${1#*=} ;;
	-*) ;;
	*) args+=("$1") ;;
	esac
	shift
done
echo "${args[*]}" >>"$MIRROR/log"
suite=$(sed -n 's/^deb \[[^]]*\] [^ ]* \([^ ]*\) main$/\1/p' "$parts"/*.list 2>/dev/null)
case ${args[0]} in
indextargets)
	echo 'http://mirror.example.org/debian/ bookworm-updates'
	echo 'http://mirror.example.org/debian/ bookworm'
	;;
update)
	[ ! -e "$MIRROR/down" ] || {
		echo "E: Failed to fetch http://mirror Temporary failure resolving 'mirror'"
		exit 100
	}
	[ -d "$MIRROR/$suite" ] || {
		echo "E: The repository 'http://mirror $suite Release' does not have a Release file."
		exit 100
	}
	;;
download)
	[ ! -e "$MIRROR/slow" ] || { touch "$MIRROR/reached"; sleep 20; }
	cp "$MIRROR/$suite/${args[1]#*=}.deb" .
	;;
esac
END
cat >"$WORK/bin/apt-cache" <<'END'
#!/bin/bash
for arg; do [[ $arg != Dir::Etc::sourceparts=* ]] || parts=${arg#*=}; done
suite=$(sed -n 's/^deb \[[^]]*\] [^ ]* \([^ ]*\) main$/\1/p' "$parts"/*.list)
for deb in "$MIRROR/$suite"/*.deb; do
	[ ! -e "$deb" ] || { deb=${deb##*/}; echo "Version: ${deb%.deb}"; }
done
END
chmod +x "$WORK"/bin/*
PATH=$WORK/bin:$PATH

# offer SUITE DEBVERSION TARBALL: the mirror has it.
offer() {
	local dir=$WORK/deb
	rm -rf "$dir"
	mkdir -p "$dir/DEBIAN" "$dir/usr/src" "$MIRROR/$1"
	cp "$3" "$dir/usr/src/linux-source-7.3.tar.xz"
	printf '%s\n' 'Package: linux-source-7.3' "Version: $2" \
		'Architecture: all' 'Maintainer: x <x@example.org>' \
		'Description: x' >"$dir/DEBIAN/control"
	dpkg-deb --root-owner-group -b "$dir" "$MIRROR/$1/$2.deb" >/dev/null
}
b() { run make -s --no-print-directory -C "$TOP" base "$@"; }
fresh() { rm -rf "$STORE" "$TOP/build" "${MIRROR:?}"/*; }
uses() { same base.env "$(sed -n 's/^VERSION=//p' "$TOP/build/base.env")" "$1"; }
nothing() { same cache "$(find "$STORE" -mindepth 1 ! -name lock)" ''; }

fresh
mkdir "$MIRROR/bookworm" "$MIRROR/sid"
offer trixie-backports '7.3.4-1~bpo13+1' "$WORK/linux.tar.xz"
b
ok 'Linux 7.3.4, sha256 verified'
uses 7.3.4
cmp -s "$WORK/linux.tar.xz" "$STORE/linux-7.3.4.tar.xz" || bad 'not in the cache'
(cd "$STORE" && sha256sum -c --quiet linux-7.3.4.tar.xz.sha256) || bad 'its sum'
! grep -q sid "$MIRROR/log" || bad 'it looked further than it had to'
same left "$(find /var/tmp -maxdepth 1 -name 'kvm-memory-fault.*' -newer "$WORK/bin" -user "$(id -u)" -empty)" ''
result 'the pinned version, from the suite that has it'

: >"$MIRROR/log"
rm -rf "$TOP/build"
b
ok 'is in'
same 'calls of apt' "$(cat "$MIRROR/log")" ''
clone "$WORK/second"
run make -s -C "$WORK/second" tree
ok 'Linux 7.3.4 and 2 patches'
same 'calls of apt' "$(cat "$MIRROR/log")" ''
result 'the next run and the next clone use no network'

echo x >>"$STORE/linux-7.3.4.tar.xz"
b
fails 'has the sha256' 'remove it'
result 'a cached file with another hash is an error'

fresh
kernel "$WORK/other" 7.3.4
echo other >>"$WORK/other/drivers/driver.c"
tarball "$WORK/other" "$WORK/other.tar.xz"
offer bookworm-backports 7.3.4-2 "$WORK/other.tar.xz"
b
fails 'has a tarball with the sha256' "the file 'base' wants"
nothing
result 'a download that claims the pinned version with another hash is one too'

fresh
kernel "$WORK/moved" 7.3.6
sed -i '1i first' "$WORK/moved/virt/kvm/kvm_main.c"
tarball "$WORK/moved" "$WORK/moved.tar.xz"
mkdir "$MIRROR/bookworm"
offer trixie-backports '7.3.5-1~bpo13+1' "$WORK/other.tar.xz"
offer forky 7.3.6-1 "$WORK/moved.tar.xz"
offer sid 7.4.1-1 "$WORK/moved.tar.xz"
b
ok 'Linux 7.3.6 in place of 7.3.4' 'every patch applies'
uses 7.3.6
same lines "$(grep -c . <<<"$OUT_TEXT")" 2
run make -s -C "$TOP" tree
ok 'Linux 7.3.6 and 2 patches'
touch "$MIRROR/down"
rm -rf "$TOP/build"
b
ok 'Linux 7.3.6 in place of 7.3.4'
result 'the pinned version is gone: the newest that fits, said in one line'

fresh
sed -i 's/^mmu 21$/mmu 2l/' "$WORK/moved/arch/x86/kvm/mmu.c"
tarball "$WORK/moved" "$WORK/bad.tar.xz"
offer forky 7.3.6-1 "$WORK/bad.tar.xz"
b
fails 'patches/0002-KVM-Change-two-files.patch does not apply' \
	'arch/x86/kvm/mmu.c, hunk @@ -18' KERNEL_TARBALL= KDIR=
nothing
result 'the pinned version is gone, and the newest does not fit'

fresh
mkdir "$MIRROR/bookworm"
offer sid 7.4.1-1 "$WORK/moved.tar.xz"
b
fails 'no Linux 7.3 any more' KERNEL_TARBALL= KDIR=
touch "$MIRROR/down"
b
fails 'cannot be reached' KERNEL_TARBALL= KDIR=
nothing
result 'no 7.3 to be had, no network'

fresh
for suffix in gz zst xz; do
	kernel "$WORK/user" 7.3.8
	tarball "$WORK/user" "$WORK/user.tar.$suffix"
	b KERNEL_TARBALL="$WORK/user.tar.$suffix"
	ok 'Linux 7.3.8 from'
	uses 7.3.8
done
run make -s -C "$TOP" tree KERNEL_TARBALL="$WORK/user.tar.gz"
ok 'Linux 7.3.8 and 2 patches'
kernel "$WORK/old" 7.2.1
tarball "$WORK/old" "$WORK/old.tar.xz"
b KERNEL_TARBALL="$WORK/old.tar.xz"
fails 'is Linux 7.2.1; the series is for 7.3.x'
b KERNEL_TARBALL="$WORK/os-release"
fails 'is not a tarball'
b KERNEL_TARBALL="$WORK/nowhere"
fails 'does not exist'
result 'KERNEL_TARBALL= takes any 7.3, and nothing else'

fresh
offer bookworm '7.3.4-1' "$WORK/linux.tar.xz"
touch "$MIRROR/slow"
setsid "$TOP/scripts/base.sh" >"$WORK/log" 2>&1 &
pid=$!
until [ -e "$MIRROR/reached" ]; do sleep 0.1; done
kill -TERM -- -"$pid"
STATUS=0
wait "$pid" || STATUS=$?
OUT_TEXT=$(cat "$WORK/log")
fails interrupted
nothing
rm "$MIRROR/slow"
b
ok 'sha256 verified'
result 'an interrupted run leaves nothing, the next one works'

fresh
cat >"$WORK/bin/df" <<'END'
#!/bin/bash
printf 'a b c d\na b c 12\n'
END
chmod +x "$WORK/bin/df"
b
fails 'has 12 MiB free, 500 MiB are needed'
rm "$WORK/bin/df"
result 'a full disk is an error before the work'

finish
