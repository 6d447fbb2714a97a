#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The selftests on arm64 with pages of 64 KiB in the host.

SELF=test-64k
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/stages.sh
. "$TOP/scripts/stages.sh"

# With pages of 64 KiB, KVM has 52 bits of address on QEMU's CPU.  To free a stage 2
# of that size, it takes 8 million steps of 512 MiB, 32 times as many as with pages
# of 4 KiB, and several seconds.  Each test has one such VM, to find out what KVM can
# do.  In nested mode, the shadows of each VM are of that size, which is too slow for
# tests that have a VM for each scenario.
NESTED='arm64/hello_el2 arm64/fail_entry_test'

main() {
	stages_begin
	export FLAVOR=64k
	kernel arm64
	guest 'kunit arm64' arm64 300 "$TOP/scripts/kunit.sh"
	guest 'selftests arm64/vhe' arm64 1200 \
		env MODE=vhe SLOWER=3 "$TOP/scripts/selftests.sh"
	guest 'selftests arm64/nested' arm64 600 \
		env MODE=nested TESTS="$NESTED" SLOWER=3 "$TOP/scripts/selftests.sh"
	stages_end
}

main
