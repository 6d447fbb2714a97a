#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The selftests with KASAN, lockdep, UBSAN and more in the kernel, and the stress
# of conversions for STRESS seconds.

SELF=test-debug
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/stages.sh
. "$TOP/scripts/stages.sh"

STRESS=${STRESS:-600}

main() {
	local arch where

	TEST_LIMIT=10800
	stages_begin
	export FLAVOR=debug SLOWER=5 VM_SILENCE=300 VM_BOOT_SILENCE=180 VM_LIMIT=2900
	for arch in x86_64 arm64; do
		kernel $arch
		guest "kunit $arch" $arch 900 "$TOP/scripts/kunit.sh"
	done
	for where in x86_64/npt x86_64/shadow arm64/vhe arm64/nested; do
		guest "selftests $where" "${where%/*}" 3000 \
			env MODE="${where#*/}" "$TOP/scripts/selftests.sh"
	done
	guest 'stress x86_64/npt' x86_64 $((STRESS * 3)) \
		env MODE=npt TESTS="x86/private_mem_fault_test,-t,$STRESS" \
		LIMIT=$((STRESS + 300)) SLOWER=1 "$TOP/scripts/selftests.sh"
	stages_end
}

main
