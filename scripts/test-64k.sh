#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The selftests on arm64 with pages of 64 KiB in the host.

SELF=test-64k
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/stages.sh
. "$TOP/scripts/stages.sh"

main() {
	local mode

	stages_begin
	export FLAVOR=64k
	kernel arm64
	guest 'kunit arm64' arm64 300 "$TOP/scripts/kunit.sh"
	for mode in vhe nested; do
		guest "selftests arm64/$mode" arm64 2400 \
			env MODE=$mode "$TOP/scripts/selftests.sh"
	done
	stages_end
}

main
