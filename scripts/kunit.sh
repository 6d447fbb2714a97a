#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Boots the test kernel for ARCH with KUnit on, prints the suites' KTAP, and
# lets the kernel's own parser judge it.  SUITES= is the filter.

SELF=kunit
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/target.sh
. "$TOP/scripts/target.sh"
# shellcheck source=scripts/vm.sh
. "$TOP/scripts/vm.sh"

SUITES=${SUITES:-kvm*}

# Called by vm_run() for each line of the console.
on_line() {
	local line=$1

	[[ ! $line =~ ^\[\ *[0-9.]+\]\ (.*)$ ]] || line=${BASH_REMATCH[1]}
	[[ ! $line =~ ^\ *(K?TAP\ version|1\.\.[0-9]|(not\ )?ok\ [0-9]|#\ ) ]] ||
		printf '%s\n' "$line"
}

# judge LOG: kunit.py accepts the log, and tests were in it.
judge() {
	local summary rc=0

	summary=$(PYTHONDONTWRITEBYTECODE=1 python3 \
		"$TREE/tools/testing/kunit/kunit.py" parse "$1" 2>&1) || rc=$?
	grep -E 'Testing complete|ERROR' <<<"$summary" | sed 's/^/# kunit.py: /' || true
	grep -qE 'passed: [1-9]' <<<"$summary" || {
		echo "# no suite that matches $SUITES has run"
		rc=1
	}
	return $rc
}

main() {
	local log rc=0

	need python3 python3
	vm_init
	log=$LOGS/kunit-$VARIANT.console
	VM_KUNIT="kunit.enable=1 kunit.autorun=1 kunit.filter_glob=$SUITES"
	: >"$VM_DIR/root/plan"
	vm_run "$log" || { rc=1; echo "# $VM_WHY"; tail -n 30 "$log" | sed 's/^/# /'; }
	judge "$log" || rc=1
	WHERE=$ARCH/$MODE "$TOP/scripts/splat.sh" "$log" | sed 's/^/# /' || rc=1
	[ $rc = 0 ] || echo "# the console is in $log; repeat with: make kunit ARCH=$ARCH"
	exit $rc
}

main
