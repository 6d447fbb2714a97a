#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# make run: the main job, from nothing. Gets whatever is missing, builds the
# test kernel with the series, and boots it in an emulator to run a small VMM:
# it loses a page of its guest's memory, and restores a guest from a snapshot
# page by page, as KVM_RUN says which one is needed.

SELF=run
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/target.sh
. "$TOP/scripts/target.sh"

# What runs in the emulator
demo() {
	cat <<'END'
set -e
cd /tests
echo "== A guest touches a hole in its memory"
./memory_fault hole
echo "== A guest starts with empty memory; what it needs comes from a snapshot"
./memory_fault snapshot /tmp/snapshot
./memory_fault restore /tmp/snapshot --verify
END
}

main() {
	local program

	[ ! -x "$TOP/scripts/deps.sh" ] || "$TOP/scripts/deps.sh"
	program=$("$TOP/scripts/vmm.sh")
	[ -n "$PREBUILT" ] || "$TOP/scripts/kernel.sh"
	say "booting it in software emulation; the guest of the guest is next"
	echo
	export KOUT
	CMD=$(demo) ADD=$program "$TOP/scripts/boot.sh"
}

main
