#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# make run: the main job, from nothing. Gets whatever is missing, builds the
# test kernel with the series, and boots it in an emulator to run a small VMM
# that loses a piece of its guest's memory.

SELF=run
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/target.sh
. "$TOP/scripts/target.sh"

main() {
	local program

	[ ! -x "$TOP/scripts/deps.sh" ] || "$TOP/scripts/deps.sh"
	program=$("$TOP/scripts/vmm.sh")
	[ -n "$PREBUILT" ] || "$TOP/scripts/kernel.sh"
	say "booting it in software emulation; the guest of the guest is next"
	echo
	export KOUT
	CMD='/tests/memory_fault hole' ADD=$program "$TOP/scripts/boot.sh"
}

main
