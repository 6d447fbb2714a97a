#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Fuzzes what KVM_RUN says about missing memory: random steps against a model
# (memory_fault_fuzz_test) for TIME seconds in all, in each of a few modes, or
# in MODE for ARCH alone.  SEED decides what happens; without it, each day has
# its own.

SELF=fuzz
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/stages.sh
. "$TOP/scripts/stages.sh"

FUZZER=memory_fault_fuzz_test
SEED=${SEED:-}
TIME=${TIME:-240}
# One run of the fuzzer, in seconds: a complaint of the kernel's has to be found
# among what one run did.
SLICE=600
# What a run takes beyond its time, emulated and beside other work.
SLACK=300

# number NAME VALUE
number() {
	[[ $2 =~ ^[1-9][0-9]{0,8}$ ]] ||
		die "$1=$2 is not a number from 1 to 999999999"
}

# where_all: ARCH/MODE a line.
where_all() {
	local where known

	if [ -z "${ARCH:-}${MODE:-}" ]; then
		printf '%s\n' x86_64/npt x86_64/shadow arm64/vhe arm64/nested
		return
	fi
	where=${ARCH:-x86_64}
	[ "$where" = arm64 ] && where+=/${MODE:-vhe} || where+=/${MODE:-npt}
	for known in x86_64/{npt,shadow,ept,ept-shadow} arm64/{vhe,nvhe,protected,nested}; do
		[ "$where" != "$known" ] || echo "$where"
	done
}

# runs SECONDS: the fuzzer for as long, as TESTS= of selftests.sh; each run has
# the seed that follows that of the one before.
runs() {
	local left=$1 seed=$SEED one

	while [ "$left" -gt 0 ]; do
		one=$((left < SLICE * 3 / 2 ? left : SLICE))
		printf '%s ' "$FUZZER,-s,$seed,-t,$one"
		left=$((left - one)) seed=$((seed + 1))
	done
}

# fuzz WHERE SECONDS
fuzz() {
	local limit=$(($2 + (1 + $2 / SLICE) * SLACK))

	guest "fuzz $1" "${1%/*}" $((limit + 120)) \
		env MODE="${1#*/}" TESTS="$(runs "$2")" V=1 LIMIT=$((SLICE * 3 / 2 + SLACK)) \
		VM_LIMIT=$limit "$TOP/scripts/selftests.sh"
	grep -hE '^# # .*(steps|VMs)|^# ok .*(step|racing):' "$LOGS/test-fuzz-${1/\//-}.log" |
		sed 's/^[# ]*/    /' || true
	[[ $KERNELS == *" ${1%/*} "* ]]
}

main() {
	local wheres where arch each failed

	number TIME "$TIME"
	[ -z "$SEED" ] || number SEED "$SEED"
	SEED=${SEED:-$(date -u +%Y%m%d)}
	mapfile -t wheres < <(where_all)
	[ ${#wheres[@]} -gt 0 ] ||
		die "ARCH=${ARCH:-} MODE=${MODE:-} is unknown; 'make selftests' has the same"
	each=$((TIME / ${#wheres[@]}))
	[ $each -gt 0 ] || each=1
	# The kernels are built, and the guests started, in no time of the fuzzer's.
	TEST_LIMIT=$((TIME * 2 + 9000))

	stages_begin
	say "SEED=$SEED, $each s in each of: ${wheres[*]}"
	for arch in $(printf '%s\n' "${wheres[@]%/*}" | sort -u); do
		kernel "$arch"
	done
	for where in "${wheres[@]}"; do
		failed=$FAILED
		fuzz "$where" "$each" || true
		[ "$failed" = "$FAILED" ] ||
			say "repeat with: make fuzz ARCH=${where%/*} MODE=${where#*/} SEED=$SEED TIME=$each"
	done
	say "SEED=$SEED"
	stages_end
}

main
