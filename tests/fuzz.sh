#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# make fuzz on stand-ins for the kernel and the guests: which runs it asks for,
# that it tells the seed, and what it makes of a failure and of wrong input.

TOP=$(cd "$(dirname "$0")/.." && pwd)
DIR=$(mktemp -d)
trap 'rm -rf "$DIR"' EXIT
N=0 FAILED=0
unset ARCH MODE SEED TIME
export BUILD=$DIR/build

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

says() { grep -F -- "$1" "$DIR/out" >/dev/null; }

# fuzz VAR=VALUE...
fuzz() {
	rm -f "$DIR/asked"
	env "$@" timeout 60 "$DIR/scripts/fuzz.sh" >"$DIR/out" 2>&1 </dev/null
}

mkdir -p "$DIR/scripts"
cp "$TOP"/scripts/{fuzz,lib,stages,ktap}.sh "$DIR/scripts"
cat >"$DIR/scripts/kernel.sh" <<'END'
#!/bin/sh
exit "${NO_KERNEL:-0}"
END
cat >"$DIR/scripts/selftests.sh" <<'END'
#!/bin/bash
echo "$ARCH/$MODE $TESTS" >>"${0%/*}/../asked"
n=0 BREAK=${BREAK:-none}
tests=($TESTS)
echo "1..${#tests[@]}"
for test in "${tests[@]}"; do
	n=$((n + 1))
	echo "# ok 2 in step: 23 steps, 42 KVM_RUNs, 7 faults"
	[[ $test != *"$BREAK"* ]] || { echo "not ok $n $test"; exit 1; }
	echo "ok $n $test"
done
END
chmod +x "$DIR"/scripts/*.sh

echo 'TAP version 13'
fuzz SEED=77 TIME=40 && [ "$(cat "$DIR/asked")" = "\
x86_64/npt memory_fault_fuzz_test,-s,77,-t,10 
x86_64/shadow memory_fault_fuzz_test,-s,77,-t,10 
arm64/vhe memory_fault_fuzz_test,-s,77,-t,10 
arm64/nested memory_fault_fuzz_test,-s,77,-t,10 " ]
check time_is_split_over_the_modes $?
[ "$(tail -n 1 "$DIR/out")" = '6 passed, 0 failed, 0 skipped' ] && says 'in step: 23 steps'
check counts_and_figures $?
[ "$(grep -c 'SEED=77' "$DIR/out")" -ge 2 ]
check seed_at_the_start_and_the_end $?
fuzz ARCH=arm64 SEED=5 TIME=1500 && [ "$(cat "$DIR/asked")" = "arm64/vhe \
memory_fault_fuzz_test,-s,5,-t,600 memory_fault_fuzz_test,-s,6,-t,600 memory_fault_fuzz_test,-s,7,-t,300 " ]
check long_runs_in_slices_with_seeds_of_their_own $?
fuzz MODE=shadow TIME=1 && grep "^x86_64/shadow .*,-s,$(date -u +%Y%m)[0-9][0-9],-t,1 \$" "$DIR/asked" >/dev/null
check seed_of_the_day $?
! fuzz BREAK=-s,6, ARCH=x86_64 SEED=5 TIME=1500 && says 'not ok 2 memory_fault_fuzz_test,-s,6,-t,600' &&
	says 'repeat with: make fuzz ARCH=x86_64 MODE=npt SEED=5 TIME=1500' &&
	tail -n 1 "$DIR/out" | grep '[1-9] failed' >/dev/null
check failure_says_how_to_repeat_it $?
! fuzz NO_KERNEL=1 ARCH=x86_64 && [ ! -e "$DIR/asked" ] &&
	tail -n 1 "$DIR/out" | grep '1 failed, 1 skipped' >/dev/null
check no_kernel $?
! fuzz TIME=soon && says 'TIME=soon' && [ ! -e "$DIR/asked" ]
check bad_time $?
! fuzz SEED=0 && says 'SEED=0' && [ ! -e "$DIR/asked" ]
check bad_seed $?
! fuzz ARCH=arm64 MODE=npt && says 'MODE=npt' && [ ! -e "$DIR/asked" ]
check mode_of_the_other_architecture $?
echo "1..$N"
[ $FAILED = 0 ]
