#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# scripts/ktap.sh counts what it should, and takes no gap for a success.

KTAP=$(cd "$(dirname "$0")/.." && pwd)/scripts/ktap.sh
N=0 FAILED=0

# expect NAME STATUS OUTPUT INPUT: what the parser makes of INPUT.
expect() {
	local out rc=0

	out=$(printf '%b' "$4" | "$KTAP") || rc=$?
	N=$((N + 1))
	if [ "$rc-$out" = "$2-$3" ]; then
		echo "ok $N $1"
	else
		FAILED=$((FAILED + 1))
		echo "not ok $N $1"
		echo "# expected $2 \"$3\", got $rc \"$out\""
	fi
}

echo 'TAP version 13'
expect flat 0 '2 passed, 0 failed, 1 skipped' \
	'TAP version 13\n1..3\nok 1 a\nok 2 b # SKIP why\nok 3 c\n'
expect failure 1 '1 passed, 1 failed, 0 skipped' '1..2\nok 1 a\nnot ok 2 b\n'
expect incomplete 1 '1 passed, 0 failed, 0 skipped (plan of 2, results of 1)' \
	'1..2\nok 1 a\n'
expect beyond_plan 1 '2 passed, 0 failed, 0 skipped (plan of 1, results of 2)' \
	'1..1\nok 1 a\nok 2 b\n'
expect no_plan 1 '1 passed, 0 failed, 0 skipped (no plan)' 'ok 1 a\n'
expect plan_at_end 0 '2 passed, 0 failed, 0 skipped' 'ok 1 a\nok 2 b\n1..2\n'
expect gap 1 '2 passed, 0 failed, 0 skipped (result 3 where 2 was due)' \
	'1..2\nok 1 a\nok 3 c\n'
expect all_skipped 0 '0 passed, 0 failed, 1 skipped' '1..0 # SKIP no KVM\n'
expect skip_inside_harness 0 '1 passed, 0 failed, 1 skipped' \
	'1..2\n1..0 # SKIP - no cap\nok 1 a # SKIP unknown\nok 2 b\n'
expect empty_plan 1 '0 passed, 0 failed, 1 skipped (an empty plan)' '1..0\n'
expect bail_out 1 '1 passed, 0 failed, 0 skipped (bailed out)' \
	'1..1\nok 1 a\nBail out! broken\n'
expect expected_failure 0 '1 passed, 0 failed, 0 skipped' '1..1\nnot ok 1 a # XFAIL known\n'
expect leaves_only 1 '2 passed, 1 failed, 0 skipped' \
	'KTAP version 1\n1..2\n    KTAP version 1\n    1..2\n    ok 1 a\n    not ok 2 b\nnot ok 1 s\nok 2 t\n'
expect nested_incomplete 1 '1 passed, 0 failed, 0 skipped (plan of 2, results of 1)' \
	'1..1\n    1..2\n    ok 1 a\nok 1 s\n'
expect parent_alone 1 '2 passed, 1 failed, 0 skipped' \
	'1..1\n    1..2\n    ok 1 a\n    ok 2 b\nnot ok 1 s\n'
expect time_stamps 0 '1 passed, 0 failed, 0 skipped' '[    1.5] 1..1\r\n[   12.25] ok 1 a\r\n'
expect no_tap 2 'no TAP' 'hello\nnot okay\n'
expect nothing 2 'no TAP' ''
echo "1..$N"
[ $FAILED = 0 ]
