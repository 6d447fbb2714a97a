#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# scripts/kernel.sh on a stand-in for the kernel's make: what it asks for, and
# what it makes of a lost option, a failed build and an interruption.

TOP=$(cd "$(dirname "$0")/.." && pwd)
DIR=$(mktemp -d)
trap 'rm -rf "$DIR"' EXIT
N=0 FAILED=0
unset ARCH BASE FLAVOR KOUT MAKEFLAGS MFLAGS MAKELEVEL
export BUILD=$DIR/build TREE=$DIR/tree JOBS=1

check() {
	N=$((N + 1))
	if [ "$2" = 0 ]; then
		echo "ok $N $1"
	else
		FAILED=$((FAILED + 1))
		echo "not ok $N $1"
		sed 's/^/# /' "$DIR/out"
	fi
}

says() { grep -qF -- "$1" "$DIR/out"; }

build() { timeout 60 "$TOP/scripts/kernel.sh" >"$DIR/out" 2>&1 </dev/null; }

# A tree whose make takes each line of the fragments over, but for LOSE.
mkdir -p "$TREE/virt/kvm" "$TREE/arch/x86/kvm"
: >"$TREE/virt/kvm/kvm_main.c"
echo 'config KVM_MEMORY_FAULT_KUNIT_TEST' >"$TREE/virt/kvm/Kconfig.memory_fault"
cat >"$TREE/Makefile" <<'E2'
allnoconfig:
	@grep -v '$(LOSE)' $(KCONFIG_ALLCONFIG) >$(O)/.config
olddefconfig: ;
bzImage Image:
	@echo '  CC      one.o'
	@[ -z '$(BREAK)' ] || { echo 'one.c:1: error: broken'; exit 1; }
	@[ -z '$(SLOW)' ] || { echo $$$$ >'$(SLOW)'; exec sleep 1000; }
	@mkdir -p $(O)/arch/x86/boot; cp $(O)/.config $(O)/arch/x86/boot/bzImage
E2

echo 'TAP version 13'
export LOSE=NOTHING
build
check builds $?
[ -s "$BUILD/x86_64/arch/x86/boot/bzImage" ]
check link_in_build $?
grep -q KVM_MEMORY_FAULT_KUNIT_TEST "$BUILD/x86_64/.config"
check symbol_of_the_series $?
! grep -q KVM_VMX_EXIT_REASON "$BUILD/x86_64/.config"
check symbol_that_the_tree_lacks $?
build && says '1 objects'
check second_run $?

FLAVOR=debug build && grep -q KASAN=y "$BUILD/x86_64-debug/.config" &&
	! grep -q KASAN "$BUILD/x86_64/.config"
check flavor_beside_the_plain_one $?
! FLAVOR=none build && says 'FLAVOR=none is unknown'
check unknown_flavor $?

rm -r "$TREE/.out-x86_64"
! LOSE=CONFIG_KVM_AMD= build && says 'CONFIG_KVM_AMD=y'
check lost_option_is_named $?
build
check builds_after_that $?

! BREAK=1 build && says 'one.c:1: error: broken' && says 'make kernel ARCH=x86_64'
check failure_shows_why_and_what_repeats_it $?
! ARCH=riscv build && says 'ARCH=riscv is unknown'
check unknown_arch $?
! TREE=$DIR/none build && says 'is not a kernel tree'
check no_tree $?

SLOW=$DIR/pid build &
until [ -s "$DIR/pid" ]; do sleep 0.1; done
flock -n "$TREE/.out-x86_64/.lock" true
[ $? = 1 ]
check one_build_at_a_time $?
kill -TERM "$(pgrep -P $! -f kernel.sh)"
! wait $! && says interrupted && ! kill -0 "$(cat "$DIR/pid")" 2>/dev/null
check interruption_stops_make $?
build
check builds_after_interruption $?
echo "1..$N"
[ $FAILED = 0 ]
