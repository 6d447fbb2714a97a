#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# make test counts what its stages say, takes no silence for a success, and
# ends with one line.

TOP=$(cd "$(dirname "$0")/.." && pwd)
DIR=$(mktemp -d)
trap 'rm -rf "$DIR"' EXIT
N=0 FAILED=0

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

# run BODY: a run of these stages.
run() {
	cat >"$DIR/run" <<-EOF
	SELF=run
	. "$TOP/scripts/lib.sh"
	. "$TOP/scripts/stages.sh"
	stages_begin
	$1
	stages_end
	EOF
	BUILD=$DIR/build timeout 60 bash "$DIR/run" >"$DIR/out" 2>&1 </dev/null
}

# ends COUNTS: the last line has them, alone.
ends() { [ "$(tail -n 1 "$DIR/out")" = "$1" ]; }

echo 'TAP version 13'
run "stage one 9 printf '1..3\nok 1 a\nok 2 b # SKIP c\nok 3 d\n'
stage two 9 true" && ends '3 passed, 0 failed, 1 skipped'
check counts_and_plain_commands $?
[ "$(tail -n 2 "$DIR/out" | head -n 1 | cut -d' ' -f2)" = took ]
check time_before_the_last_line $?
! run "stage one 9 printf '1..2\nok 1 a\nnot ok 2 b\n' || true
stage two 9 true" && ends '2 passed, 1 failed, 0 skipped' && grep -q 'not ok 2 b' "$DIR/out"
check failure_is_shown_and_the_run_goes_on $?
! run "stage one 9 printf '1..2\nok 1 a\n' || true" && ends '1 passed, 1 failed, 0 skipped'
check incomplete_plan $?
! run "stage one 9 sh -c 'echo 1..1; echo ok 1 a; exit 1' || true" &&
	ends '1 passed, 1 failed, 0 skipped'
check bad_status_after_good_results $?
! run "stage one 9 sh -c 'echo fatal error: no; exit 3' || true" &&
	ends '0 passed, 1 failed, 0 skipped' && grep -q 'fatal error: no' "$DIR/out"
check plain_failure_shows_its_error $?
! run "stage one 1 sleep 50 || true" && ends '0 passed, 1 failed, 0 skipped' &&
	grep -q 'stopped after 1 s' "$DIR/out"
check limit_of_a_stage $?
! TEST_LIMIT=2 run "stage one 9 sleep 50 || true
stage two 9 true || true" && ends '0 passed, 2 failed, 0 skipped' &&
	grep -q 'no time is left' "$DIR/out"
check limit_of_the_run $?
run "guest one x86_64 9 false
skip two 'no such thing'" && ends '0 passed, 0 failed, 2 skipped'
check skipped_stages $?
echo "1..$N"
[ $FAILED = 0 ]
