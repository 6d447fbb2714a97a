#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Builds tools/kvm/memory_fault for ARCH against the headers of its kernel
# tree; prints the name of the program.

SELF=vmm
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/target.sh
. "$TOP/scripts/target.sh"

main() {
	local out=$BUILD/vmm/$VARIANT log=$LOGS/vmm-$VARIANT.log

	need "${CROSS}gcc" "gcc${CROSS:+-${CROSS%-}}"
	need make make
	mkdir -p "$out" "$LOGS"
	tree_get >&2
	{
		kmake -s headers &&
		env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES -u V \
			make -C "$TOP/tools/kvm/memory_fault" O="$out" \
			CC="${CROSS}gcc" KHDR="$KOUT/usr/include"
	} >"$log" 2>&1 </dev/null || {
		tail -n 25 "$log" >&2
		die "the VMM failed to build; the whole log is $log"
	}
	echo "$out/memory_fault"
}

main
