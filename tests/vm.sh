#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A guest that hangs, dies, talks forever or comes up in another mode ends the
# run in bounded time, with the reason.  A shell script plays the guest.

SELF=vm
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"
ARCH=x86_64 MODE=npt TREE=/nowhere KOUT=/nowhere
# shellcheck source=scripts/target.sh
. "$TOP/scripts/target.sh"
# shellcheck source=scripts/vm.sh
. "$TOP/scripts/vm.sh"

DIR=$(mktemp -d)
trap 'rm -rf "$DIR"' EXIT
N=0 FAILED=0
UP='echo "[    0.9] @@ param kvm_amd.npt=Y"'
BEGIN='echo "[    1.0] @@ begin sleeper 1"'

vm_prepare() { :; }
on_line() { if vm_text "$1"; then TEXT+="$VM_TEXT;"; fi; }

# guest SCRIPT: runs it in place of an emulator.
guest() {
	local start=$SECONDS

	TEXT='' RC=0
	# shellcheck disable=SC2034  # for vm_run
	VM_CMD=(bash -c "$1")
	vm_run "$DIR/log" || RC=$?
	TOOK=$((SECONDS - start))
}

# check NAME STATUS WHY SECONDS: what the last guest came to, how fast.
check() {
	N=$((N + 1))
	if [ "$RC-$VM_WHY" = "$2-$3" ] && [ "$TOOK" -le "$4" ]; then
		echo "ok $N $1"
	else
		FAILED=$((FAILED + 1))
		echo "not ok $N $1"
		echo "# expected $2 '$3', got $RC '$VM_WHY' after $TOOK s"
	fi
}

echo 'TAP version 13'
VM_SILENCE=3 VM_BOOT_SILENCE=3 VM_LIMIT=60 VM_TRIES=1
guest "$UP; $BEGIN; echo '[ 1.1] | hello'; echo '@@ end sleeper exit 0 9'; echo '@@ done'"
check whole_plan 0 '' 2
RC=0 VM_WHY=$TEXT
check text_without_time_stamp 0 'hello;' 2
guest "$UP; $BEGIN; exec sleep 50"
check hangs_in_a_test 1 'the guest hangs while sleeper ran' 9
guest "$UP; $BEGIN; while :; do echo '| noise'; sleep 0.1; done"
check talks_forever_in_a_test 1 'the guest hangs while sleeper ran' 9
guest 'exec sleep 50'
check hangs_at_boot 1 'the guest hangs' 8
guest "$UP; $BEGIN; echo 'Kernel panic - not syncing'; exit 1"
check dies_in_a_test 1 'the guest died while sleeper ran' 3
guest "echo '@@ param kvm_amd.npt=N'; echo '@@ done'"
check another_mode 1 'KVM did not come up in mode npt' 3
guest "$UP; printf '@@ do'; sleep 2.5; echo ne"
check line_in_two_pieces 0 '' 5
VM_TRIES=3
guest "[ -f $DIR/again ] || { touch $DIR/again; exit 1; }; $UP; $BEGIN; echo '@@ done'"
check dies_at_boot_once 0 '' 3
guest "echo try >>$DIR/tries; exit 1"
check dies_at_boot_always 1 'the guest died' 3
RC=0 VM_WHY=$(wc -l <"$DIR/tries")
check no_more_tries 0 3 3
guest "$UP; $BEGIN; echo try >>$DIR/tries; exit 1"
RC=0 VM_WHY=$(wc -l <"$DIR/tries")
check no_second_try_after_init 0 4 3
VM_LIMIT=2 VM_TRIES=1
guest "$UP; while :; do echo noise; sleep 0.1; done"
check talks_forever_at_boot 1 'the guest took more than 2 s' 6
RC=0 VM_WHY=$(vm_threads; ARCH=arm64 vm_threads; VM_THREAD=multi vm_threads) TOOK=0
check threads 0 $'single\nmulti\nmulti' 0
RC=0 VM_WHY=$(ARCH=arm64 VM_QEMU='-smp 1 -icount shift=0' vm_threads)
check threads_that_count 0 single 0
echo "1..$N"
[ $FAILED = 0 ]
