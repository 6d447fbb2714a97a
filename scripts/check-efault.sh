#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# make check-efault [TREE=]: each place in KVM that can give -EFAULT is known to
# docs/efault.md, and is what that says, as TAP. TREE is a kernel tree to look
# at instead of build/tree, PAGE another table.
SELF=check-efault
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

PAGE=$(realpath -m "${PAGE:-$TOP/docs/efault.md}")
REPORT=$BUILD/efault.tsv
STATUS=0

need python3 python3
[ -f "$PAGE" ] || die "$PAGE is missing"
if [ -z "${TREE:-}" ]; then
	"$TOP/scripts/tree.sh" >&2
	TREE=$BUILD/tree
fi
TREE=$(realpath -m "$TREE")
[ -f "$TREE/virt/kvm/kvm_main.c" ] ||
	die "TREE=$TREE is not a kernel tree; 'make tree' makes build/tree"
mkdir -p "$BUILD"
trap 'rm -f "$REPORT.tmp"' EXIT
trap 'interrupted "the report of the last run stays"' INT TERM HUP
python3 -B "$TOP/scripts/efault.py" "$TREE" "$PAGE" "$REPORT" || STATUS=$?
[ $STATUS = 2 ] || say "took $(mmss $SECONDS); the places with their lines are in $REPORT" >&2
exit $STATUS
