#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# scripts/splat.sh finds each kind of complaint, and only those.

TOP=$(cd "$(dirname "$0")/.." && pwd)
DIR=$(mktemp -d)
trap 'rm -rf "$DIR"' EXIT
N=0 FAILED=0

# expect NAME COUNT TEXT: the checker reports COUNT complaints in TEXT.
expect() {
	local found rc=0 want=0

	printf '%s\n' "$3" >"$DIR/log"
	found=$(SPLATS=${SPLATS:-/dev/null} "$TOP/scripts/splat.sh" "$DIR/log") || rc=$?
	found=$(grep -c "^$DIR" <<<"$found")
	[ "$2" = 0 ] || want=1
	N=$((N + 1))
	if [ "$found-$rc" = "$2-$want" ]; then
		echo "ok $N $1"
	else
		FAILED=$((FAILED + 1))
		echo "not ok $N $1"
		echo "# expected $2 complaints, found $found, status $rc"
	fi
}

REPORT='[    5.000000] ------------[ cut here ]------------
[    5.000001] WARNING: virt/kvm/kvm_main.c:42 at f+0x1/0x2 [kvm], CPU#1: t/7
[    5.000002] Modules linked in:
[    5.000003] RIP: 0010:f+0x1/0x2
[    5.000004] Call Trace:
[    5.000005]  <TASK>
[    5.000006] ---[ end trace 0000000000000000 ]---'

OOM='[    6.000000] t invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
[    6.000001] CPU: 1 UID: 0 PID: 7 Comm: t Not tainted
[    6.000002] Call Trace:
[    6.000003]  <TASK>
[    6.000004] RIP: 0033:0x1
[    6.000005] Code: 00 <89>
[    6.000006] Out of memory and no killable processes...'

echo 'TAP version 13'
expect warning_is_one_report 1 "$REPORT"
expect two_reports 2 "$REPORT
$REPORT"
expect report_cut_short 1 "${REPORT%%Modules*}"
expect bug 1 '[    1.0] BUG: unable to handle page fault for address: 0000000000001000'
expect oops_and_trace_are_one 2 '[    1.0] Oops: 0000 [#1] SMP
[    1.0] Call Trace:
[    1.0] Kernel panic - not syncing: Fatal exception'
expect arm64_oops 1 '[    1.0] Internal error: Oops: 0000000096000004 [#1] SMP'
expect arm64_fault 1 '[    1.0] Unable to handle kernel NULL pointer dereference at virtual address 0'
expect hyp_panic 1 '[    1.0] kvm [1]: nVHE hyp panic at: [<ffff800080000000>] f+0x0/0x4!'
expect lockdep 1 '[    1.0] WARNING: possible circular locking dependency detected'
expect rcu_usage 1 '[    1.0] WARNING: suspicious RCU usage'
expect rcu_stall 1 '[    1.0] rcu: INFO: rcu_preempt self-detected stall on CPU'
expect hung_task 1 '[    1.0] INFO: task t:7 blocked for more than 120 seconds.'
expect soft_lockup 1 '[    1.0] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [t:7]'
expect kasan 1 '[    1.0] BUG: KASAN: slab-use-after-free in f+0x1/0x2'
expect ubsan 1 '[    1.0] UBSAN: array-index-out-of-bounds in virt/kvm/kvm_main.c:1:2'
expect general_protection 1 '[    1.0] general protection fault, probably for non-canonical address'
expect refcount 1 '[    1.0] refcount_t: underflow; use-after-free.'
expect out_of_memory 1 "$OOM"
expect lone_trace 1 '[    1.0] Call Trace:'
expect no_time_stamp 1 'BUG: sleeping function called from invalid context'
expect carriage_return 1 $'[    1.0] Call trace:\r'

expect text_of_a_test 0 '[    1.0] | WARNING: this is what a test says
[    1.0] | BUG: and so is this'
expect marks_of_init 0 '[    1.0] @@ begin BUG: 60'
expect kunit_result 0 '[    1.0]     ok 1 kvm_memory_fault_BUG: no
[    1.0]     # WARNING: EXPECTATION FAILED at f.c:1'
expect failed_vma 0 '[    1.0] kvm [7]: Failed to find VMA for hva 0xffff9c000000'
expect debug_settings 0 '[    1.0] Lock dependency validator: on, KASAN: off'
expect word_inside 0 '[    1.0] clocksource: no WARNING: here'
expect segfault_of_a_program 0 '[    1.0] t[7]: segfault at 0 ip 0 sp 0 error 4'

printf '# why\nx86_64/ept* ^WARNING: virt/kvm/kvm_main.c:42 \n' >"$DIR/splats"
export SPLATS=$DIR/splats WHERE=x86_64/ept-shadow
expect allowed_by_name 0 "$REPORT"
expect allowed_beside_another 1 "$REPORT
[    6.0] BUG: another"
printf '* ^t invoked oom-killer: .* oom_score_adj=-1000$\n' >>"$DIR/splats"
expect oom_of_who_may_be_killed 1 "$OOM"
expect oom_of_who_may_not 0 "${OOM/adj=0/adj=-1000}"
WHERE=x86_64/npt
expect allowed_elsewhere_only 1 "$REPORT"
echo "1..$N"
[ $FAILED = 0 ]
