#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The series against the unpatched base, for ARCH and MODE (all, without them):
#
# - each of the kernel's own KVM selftests does with the series what it did
#   without (expect/base-<ARCH>-<MODE>; RECORD=1 makes that record anew);
# - each selftest of the series fails on the base in the way that
#   expect/fails-on-base says: one that passes there tests nothing.
#
# ONLY=fails or ONLY=same does one of the two.

SELF=compare
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

WHERES=(x86_64/npt x86_64/shadow x86_64/ept x86_64/ept-shadow arm64/vhe arm64/nvhe arm64/protected arm64/nested)
RECORD=${RECORD:-0}
ONLY=${ONLY:-}
# A stock test that takes longer than this on the base counts as slow, and is
# left out.  What is compared may take longer: the machine may have other work.
[ "$RECORD" = 1 ] && LIMIT=${LIMIT:-20} || LIMIT=${LIMIT:-120}
NR=0 FAILED=0

# stock TREE ARCH: the selftests that TREE's Makefile builds for ARCH.
stock() {
	# shellcheck disable=SC2016  # for make
	local mk='include Makefile.kvm
list: ; @echo $(TEST_GEN_PROGS_$(ARCH))'

	make -s -C "$1/tools/testing/selftests/kvm" -f - ARCH="${2/x86_64/x86}" \
		OUTPUT="$WORK" list <<<"$mk" 2>/dev/null |
		tr ' ' '\n' | grep -v '^$' | sort
}

# selftests BASE KERNEL_BASE ARCH MODE LIMIT TESTS: TAP into $WORK/tap.
selftests() {
	local image

	image=$(readlink -f "$BUILD/$([ "$2" = 0 ] || echo base-)$3")
	env BASE="$1" ARCH="$3" MODE="$4" LIMIT="$5" TESTS="$6" VM_LIMIT=5400 V=1 \
		KOUT="$BUILD/$([ "$1" = 0 ] || echo base-)$3" VM_KOUT="$image" \
		"$TOP/scripts/selftests.sh" >"$WORK/tap" 2>"$WORK/err" || true
}

# results: "NAME pass|skip|fail|slow|hang" of the TAP; tests that had no turn
# are left out.
results() {
	# A name without the arguments that expect/tests adds to it.
	awk '
	/^(not )?ok / { sub(/,.*/, "", $(3 + ($1 == "not"))) }
	/^not ok .*# not finished/ {
		if ($0 ~ "while " $4 " ran") print $4, "hang"
		next
	}
	/^not ok .*# timeout/ { print $4, "slow"; next }
	/^not ok/ { print $4, "fail"; next }
	/^ok .*# SKIP/ { print $3, "skip"; next }
	/^ok/ { print $3, "pass" }' "$WORK/tap"
}

# run_all BASE ARCH MODE FILE TEST...: also past a test that takes the guest
# down.
run_all() {
	local base=$1 arch=$2 mode=$3 file=$4 left todo

	shift 4
	todo="$*"
	: >"$file"
	while [ -n "$todo" ]; do
		selftests "$base" "$base" "$arch" "$mode" "$LIMIT" "$todo"
		results >>"$file"
		left=$(tr ' ' '\n' <<<"$todo" |
			grep -vxFf <(cut -d' ' -f1 "$file") | paste -sd' ' || true)
		if [ "$left" = "$todo" ]; then
			tail -n 5 "$WORK/err" >&2
			die "no test ran for $arch/$mode"
		fi
		todo=$left
	done
	sort -o "$file" "$file"
}

# check NAME STATUS [WHY]: a line of TAP.
check() {
	NR=$((NR + 1))
	if [ "$2" = 0 ]; then
		echo "ok $NR $1"
	else
		FAILED=$((FAILED + 1))
		echo "not ok $NR $1"
		echo "# ${*:3}"
	fi
}

# record ARCH MODE FILE
record() {
	local tests

	mapfile -t tests < <(stock "$BUILD/base-tree" "$1")
	run_all 1 "$1" "$2" "$WORK/base" "${tests[@]}"
	{
		echo '# SPDX-License-Identifier: GPL-2.0-only'
		echo "# The kernel's own KVM selftests on Linux $(base_get VERSION) without the series,"
		echo "# in $1/$2: made by RECORD=1 make compare, slow means over $LIMIT s."
		cat "$WORK/base"
	} >"$3"
	check "$1/$2 recorded" 0
}

# same ARCH MODE FILE: the series does what the record says.
same() {
	local tests name was is

	mapfile -t tests < <(awk '!/^#/ && $2 ~ /pass|skip|fail/ { print $1 }' "$3")
	run_all 0 "$1" "$2" "$WORK/series" "${tests[@]}"
	while read -r name was; do
		is=$(result "$WORK/series" "$name")
		[ "$was" = "$is" ] || is=$(again "$1" "$2" "$name" "$was")
		check "$1/$2 $name $was" "$([ "$was" = "${is%% *}" ] && echo 0 || echo 1)" \
			"on the base: $was; with the series: $is"
		[ "$is" = "${is%% *}" ] || echo "# $name: ${is#* }"
	done < <(grep -v '^#' "$3" | grep -E ' (pass|skip|fail)$')
}

result() { sed -n "s,^$2 ,,p" "$1"; }

# again ARCH MODE TEST WAS: some tests want a timer in time, which an emulator on
# a machine with other work cannot promise.  Run TEST up to three times more, on
# either kernel, until they agree.
again() {
	local left=3 is base

	while [ $((left--)) -gt 0 ]; do
		run_all 0 "$1" "$2" "$WORK/again" "$3"
		is=$(result "$WORK/again" "$3")
		[ "$is" != "$4" ] || break
		run_all 1 "$1" "$2" "$WORK/again" "$3"
		base=$(result "$WORK/again" "$3")
		[ "$is" != "$base" ] || { is="$4 (today it is $is on both)"; break; }
	done
	echo "$is"
}

# fails ARCH MODE: the series' tests on the base's kernel.
fails() {
	local where test scenario message rc lines=() tests=()

	while read -r where test scenario message; do
		[[ ,$where, == *",$1/$2,"* ]] || continue
		lines+=("$test $scenario $message")
		[[ " ${tests[*]} " == *" $test "* ]] || tests+=("$test")
	done <"$TOP/expect/fails-on-base"
	[ ${#tests[@]} -gt 0 ] || return 0
	selftests 0 1 "$1" "$2" 300 "${tests[*]}"
	while read -r test scenario message; do
		rc=0
		scenario "$test" "$scenario" | grep -E -- "$message" >/dev/null || rc=1
		check "$1/$2 fails on the base: $test $scenario" $rc \
			"expected: $message; got:" \
			"$(scenario "$test" "$scenario" | tail -n 6 | paste -sd'|')"
	done < <(printf '%s\n' "${lines[@]}")
}

# scenario TEST NAME: what TEST printed in the scenario, if that failed; with
# "-" for the name, all that it printed, if it failed.
scenario() {
	awk -v test="$1" -v name="$2" '
	/^(not )?ok [0-9]/ {
		if ($1 == "not" && $4 == test) {
			printf "%s", (name == "-") ? all : part
			exit
		}
		all = part = block = ""
		next
	}
	{ all = all $0 "\n"; block = block $0 "\n" }
	/^# #  RUN / { block = $0 "\n" }
	/^# not ok / && $5 == name { part = block }' "$WORK/tap"
}

main() {
	local where arch file

	WORK=$(mktemp -d "${TMPDIR:-/tmp}/kvm-compare.XXXXXX")
	trap 'rm -rf "$WORK"' EXIT
	trap 'exit 130' INT TERM
	[ -z "${ARCH:-}" ] || WHERES=("$ARCH/${MODE:?name the MODE too}")
	unset ARCH MODE TESTS CMD TREE KOUT
	for arch in $(printf '%s\n' "${WHERES[@]%/*}" | sort -u); do
		[ "$RECORD" = 1 ] || BASE=0 ARCH=$arch "$TOP/scripts/kernel.sh" >&2
		BASE=1 ARCH=$arch "$TOP/scripts/kernel.sh" >&2
	done
	echo 'TAP version 13'
	for where in "${WHERES[@]}"; do
		file=$TOP/expect/base-${where/\//-}
		if [ "$RECORD" = 1 ]; then
			# In Bochs, that takes most of a day.
			[[ $where != */ept* || ${#WHERES[@]} = 1 ]] || continue
			record "${where%/*}" "${where#*/}" "$file"
			continue
		fi
		[ "$ONLY" = same ] || fails "${where%/*}" "${where#*/}"
		[ "$ONLY" = fails ] || [ ! -f "$file" ] ||
			same "${where%/*}" "${where#*/}" "$file"
	done
	echo "1..$NR"
	echo "# $((NR - FAILED)) as expected, $FAILED not"
	[ $FAILED = 0 ]
}

main
