# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# shellcheck disable=SC2034  # the variables are for the scripts that source this
# Sourced after lib.sh: the target architecture, its kernel source and output.
#
# ARCH=x86_64|arm64   which kernel
# BASE=1              the unpatched base, for comparisons
# FLAVOR=debug|64k    with configs/<FLAVOR>.config on top
# TREE=, KOUT=        a kernel source tree, and a finished build of it, of the
#                     user's own; KOUT is taken as it is, never rebuilt

ARCH=${ARCH:-x86_64}
BASE=${BASE:-0}
case $ARCH in
x86_64)
	KARCH=x86 CROSS='' IMAGE=arch/x86/boot/bzImage VMLINUX_GOAL=bzImage ;;
arm64)
	KARCH=arm64 CROSS=aarch64-linux-gnu- IMAGE=arch/arm64/boot/Image
	VMLINUX_GOAL=Image ;;
*)
	die "ARCH=$ARCH is unknown; use x86_64 or arm64" ;;
esac

case $BASE in
0)	VARIANT='' DEFAULT_TREE=$BUILD/tree ;;
1)	VARIANT=base- DEFAULT_TREE=$BUILD/base-tree ;;
*)	die "BASE=$BASE is unknown; use 0 or 1" ;;
esac
FLAVOR=${FLAVOR:-}
[ -z "$FLAVOR" ] || [ -f "$TOP/configs/$FLAVOR.config" ] ||
	die "FLAVOR=$FLAVOR is unknown"
VARIANT+=$ARCH${FLAVOR:+-$FLAVOR}
TREE=$(realpath -m "${TREE:-$DEFAULT_TREE}")

# The output lies directly inside the source: then no path of this clone gets
# into a compiler's command line, and every clone shares one ccache.
PREBUILT=${KOUT:+1}
KOUT=$(realpath -m "${KOUT:-$TREE/.out-$ARCH${FLAVOR:+-$FLAVOR}}")
LINK=$BUILD/$VARIANT

export CCACHE_DIR=${CCACHE_DIR:-$CACHE/ccache}
export CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-4G}
CC=${CROSS}gcc
! command -v ccache >/dev/null 2>&1 || CC="ccache $CC"

# kmake ARG...: the kernel's make, without what our own make hands down.  With
# KMAKE_EXEC=exec in place of the shell, so that a signal reaches it.
kmake() {
	${KMAKE_EXEC:-} env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES -u MAKELEVEL -u V -u CMD \
		-u BUILD \
		make -C "$TREE" O="$KOUT" ARCH="$KARCH" CROSS_COMPILE="$CROSS" \
		CC="$CC" KBUILD_BUILD_TIMESTAMP=@0 KBUILD_BUILD_USER=kvm \
		KBUILD_BUILD_HOST=memory-fault KBUILD_BUILD_VERSION=1 "$@"
}

# tree_get: the source is there and has the series as it is now.
tree_get() {
	if [ "$TREE" != "$DEFAULT_TREE" ]; then
		[ -f "$TREE/virt/kvm/kvm_main.c" ] ||
			die "TREE=$TREE is not a kernel tree"
		return
	fi
	"$TOP/scripts/tree.sh"
	[ "$BASE" = 0 ] || base_tree_get
}

# base_tree_get: the base alone, from the tree that has both.
base_tree_get() {
	local from=$BUILD/tree id

	id=$(cat "$from/.git/kmf-base")
	[ "$(cat "$TREE/.base-id" 2>/dev/null)" != "$id" ] || return 0
	say "copying the unpatched base to $TREE"
	space "$BUILD" 2500
	mkdir -p "$TREE"
	rm -f "$TREE/.base-id"
	tar -c -C "$from" -T "$from/.git/kmf-files" --ignore-failed-read -f - |
		tar -xm -C "$TREE" -f -
	git -C "$from" archive refs/kmf/base | tar -xm -C "$TREE" -f -
	echo "$id" >"$TREE/.base-id"
}

# build_lock: one build at a time in KOUT; the lock ends with this process.
build_lock() {
	mkdir -p "$KOUT"
	exec 9>"$KOUT/.lock"
	flock -n 9 || {
		say "another build is at work in $KOUT; waiting for it" >&2
		flock 9
	}
}

# tools_get: the compiler for ARCH.
tools_get() {
	need "${CROSS}gcc" "gcc${CROSS:+-${CROSS%-}}"
	need make make
	need flex flex
	need bison bison
	need bc bc
}
