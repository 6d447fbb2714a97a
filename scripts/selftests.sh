#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Builds KVM selftests, runs them in one guest for ARCH in MODE, and prints TAP.
# TESTS="NAME[,ARG]..." names them as the kernel does (x86/state_test); without
# it, expect/tests says which.  LIMIT= is the time for each, in seconds;
# SLOWER=N multiplies the limits, for a kernel that checks more.

SELF=selftests
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/target.sh
. "$TOP/scripts/target.sh"
# shellcheck source=scripts/vm.sh
. "$TOP/scripts/vm.sh"

TESTS=${TESTS:-}
TABLE=$TOP/expect/tests
DEFAULT_LIMIT=120
SLOWER=${SLOWER:-1}

# wanted: "LIMIT [@1] TEST ARG..." a line, for TESTS or from the table.
wanted() {
	local test limit rest

	if [ -z "$TESTS" ]; then
		table "$ARCH/$MODE"
		return
	fi
	for test in $TESTS; do
		read -r limit rest <<<"$(entry "${test%%,*}")"
		[ "$test" = "${test%%,*}" ] || {
			[[ $rest == @1* ]] && rest="@1 ${test//,/ }" || rest=${test//,/ }
		}
		echo "$limit $rest"
	done
}

# table WHERE: the lines of the table for it.
table() {
	local limit where test one places

	while read -r limit where test; do
		[[ $limit =~ ^[0-9]+$ ]] || continue
		IFS=, read -ra places <<<"$where"
		for one in "${places[@]}"; do
			# shellcheck disable=SC2053  # a glob on purpose
			[[ $1 != $one ]] || echo "${LIMIT:-$limit} $test"
		done
	done <"$TABLE"
}

# entry TEST: how the table runs it, wherever that is.
entry() {
	local limit test

	while read -r limit _ test; do
		if [[ $limit =~ ^[0-9]+$ && "${test#@1 } " == "$1 "* ]]; then
			echo "${LIMIT:-$limit} $test"
			return
		fi
	done <"$TABLE"
	echo "${LIMIT:-$DEFAULT_LIMIT} $1"
}

# build NAME...: into the kernel's own output, so that the compiler cache works
# for every clone.
build() {
	local out=$KOUT/selftests log=$LOGS/selftests-$VARIANT.log

	build_lock
	mkdir -p "$out/tools" "$BUILD/selftests"
	[ -n "$PREBUILT" ] || ln -sfnr "$out" "$BUILD/selftests/$VARIANT"
	{
		kmake -s headers &&
		env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES -u V \
			CCACHE_BASEDIR="$TREE" CCACHE_NOHASHDIR=1 LDFLAGS=-static \
			make -s -C "$TREE/tools/testing/selftests/kvm" -j"$JOBS" \
			ARCH="$KARCH" CROSS_COMPILE="$CROSS" CC="$CC" \
			OUTPUT="$out" abs_objdir="$out" \
			KHDR_INCLUDES="-isystem $KOUT/usr/include" \
			"${@/#/$out/}"
	} >"$log" 2>&1 </dev/null || {
		tail -n 25 "$log" >&2
		die "the selftests failed to build; the whole log is $log"
	}
	exec 9>&-
}

# plan LINE...: what the guest runs, and the programs that it needs for that.
plan() {
	local line limit words test strip=${CROSS}strip

	rm -rf "$VM_DIR/root/plan" "$VM_DIR/root/tests"
	for line in "$@"; do
		read -r limit words <<<"${line/ @1 / }"
		test=${words%% *}
		vm_plan "${words// /,}" $((limit * SLOWER)) "/tests/$words"
		[ ! -f "$VM_DIR/root/tests/$test" ] || continue
		vm_add "$KOUT/selftests/$test" "tests/$test"
		"$strip" "$VM_DIR/root/tests/$test"
	done
}

# guest CPUS LINE...: runs them in a guest.
guest() {
	local log=$LOG rc=0 first=$NR

	SMP=$1
	shift
	[ $# -gt 0 ] || return 0
	[ "$SMP" != 1 ] || log=${LOG/%.console/-1cpu.console}
	plan "$@"
	vm_run "$log" || rc=1
	[ $rc = 0 ] || [ -z "$VM_WHY" ] || warn "$VM_WHY"
	not_run "$log" "${@:NR - first + 1}"
	splats "$log" || rc=1
	return $rc
}

# splats LOG: the kernel's complaints.
splats() {
	WHERE=$ARCH/$MODE "$TOP/scripts/splat.sh" "$1" >"$VM_DIR/splats" && return
	sed 's/^/# /' "$VM_DIR/splats"
	echo "# the kernel complained; the console is in $1"
	return 1
}

# Called by vm_run() for each line of the console.
on_line() {
	if vm_text "$1"; then
		printf '%s\n' "$VM_TEXT" >>"$VM_DIR/out"
		[ "$V" = 0 ] || printf '# %s\n' "$VM_TEXT"
	elif [[ $1 =~ @@\ begin\ ([^ ]+) ]]; then
		: >"$VM_DIR/out"
	elif [[ $1 =~ @@\ end\ ([^ ]+)\ (.*)\ ([0-9]+)$ ]]; then
		verdict "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" "${BASH_REMATCH[3]}"
	fi
}

# verdict NAME HOW MSECS: its line of TAP.
verdict() {
	local counts='' rc=2 time

	time=$(($3 / 1000)).$(($3 % 1000 / 100))s
	counts=$("$TOP/scripts/ktap.sh" <"$VM_DIR/out") && rc=0 || rc=$?
	[ "$rc" != 2 ] || counts=''
	NR=$((NR + 1))
	case "$2-$rc" in
	exit\ 0-0)
		if [[ $counts == '0 passed, 0 failed, '* ]]; then
			skipped_test "$1" "$counts"
		else
			echo "ok $NR $1 # $counts, $time"
		fi ;;
	exit\ 0-2)
		echo "ok $NR $1 # $time" ;;
	exit\ 4-*)
		skipped_test "$1" ;;
	*)
		echo "not ok $NR $1 # $2${counts:+, $counts}, $time"
		failed_test "$1" ;;
	esac
}

# skipped_test NAME [COUNTS]
skipped_test() {
	SKIPPED=$((SKIPPED + 1))
	echo "ok $NR $1 # SKIP ${2:+$2: }$(sed -n 's/.*SKIP - //p' "$VM_DIR/out" | head -n 1)"
}

failed_test() {
	FAILED=$((FAILED + 1))
	grep -E '^ *not ok|Bail out' "$VM_DIR/out" | sed 's/^/#   /' || true
	tail -n 20 "$VM_DIR/out" | sed 's/^/# | /'
	echo "# repeat with: make selftests ARCH=$ARCH MODE=$MODE TESTS=$1"
}

# not_run LOG LINE...: the guest ended early: the test that ran then failed,
# and so did the rest.
not_run() {
	local line name log=$1

	shift
	[ $# -gt 0 ] || return 0
	for line in "$@"; do
		NR=$((NR + 1)) FAILED=$((FAILED + 1))
		name=${line/ @1 / } name=${name#* }
		echo "not ok $NR ${name// /,} # not finished: $VM_WHY"
	done
	echo '# the end of the console:'
	tail -n 30 "$log" | sed 's/^/# /'
}

main() {
	local lines names line many=() one=() rc=0

	vm_init
	LOG=$LOGS/selftests-$VARIANT-$MODE.console
	NR=0 FAILED=0 SKIPPED=0
	mapfile -t lines < <(wanted)
	[ ${#lines[@]} -gt 0 ] || die "no tests for $ARCH/$MODE"
	for line in "${lines[@]}"; do
		if [[ $line == *' @1 '* ]]; then one+=("$line"); else many+=("$line"); fi
	done
	mapfile -t names < <(printf '%s\n' "${lines[@]/ @1 / }" | awk '{ print $2 }' | sort -u)
	build "${names[@]}"
	echo 'TAP version 13'
	echo "1..${#lines[@]}"
	guest 2 "${many[@]}" || rc=1
	guest 1 "${one[@]}" || rc=1
	[ $FAILED = 0 ] || rc=1
	echo "# $ARCH/$MODE: $((NR - FAILED - SKIPPED)) passed, $FAILED failed, $SKIPPED skipped"
	exit $rc
}

main
