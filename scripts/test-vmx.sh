#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The selftests under kvm_intel, in Bochs: with EPT and without.

SELF=test-vmx
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/stages.sh
. "$TOP/scripts/stages.sh"

main() {
	local mode

	stages_begin
	kernel x86_64
	for mode in ept ept-shadow; do
		guest "selftests x86_64/$mode" x86_64 2400 \
			env MODE=$mode "$TOP/scripts/selftests.sh"
	done
	stages_end
}

main
