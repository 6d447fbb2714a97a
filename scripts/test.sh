#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The whole proof, stage by stage.  The last line counts; the status is 0 only
# when nothing failed.

SELF='test'
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/stages.sh
. "$TOP/scripts/stages.sh"

guests() {
	local arch where

	for arch in x86_64 arm64; do
		guest "kunit $arch" "$arch" 300 "$TOP/scripts/kunit.sh"
	done
	for where in x86_64/npt x86_64/shadow x86_64/ept x86_64/ept-shadow \
			arm64/vhe arm64/nvhe arm64/protected arm64/nested; do
		guest "selftests $where" "${where%/*}" 1200 \
			env MODE="${where#*/}" "$TOP/scripts/selftests.sh"
	done
}

main() {
	local script

	stages_begin
	if stage tree 600 "$TOP/scripts/tree.sh"; then
		kernel x86_64
		kernel arm64
	fi
	for script in "$TOP"/tests/*.sh; do
		stage "tests/${script##*/}" 300 "$script" || true
	done
	optional check-efault 300 check-efault
	guests
	optional lint 1200 lint
	if command -v sphinx-build >/dev/null 2>&1; then
		optional docs 900 docs
	else
		skip docs 'sphinx-build is missing'
	fi
	stages_end
}

main
