#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Boots the test kernel for ARCH in MODE; runs CMD in it and returns its
# status, or gives a shell.  ADD="FILE..." puts files into the guest's /tests.

SELF=boot
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/target.sh
. "$TOP/scripts/target.sh"
# shellcheck source=scripts/vm.sh
. "$TOP/scripts/vm.sh"

CMD=${CMD:-}
LIMIT=${LIMIT:-600}
STATUS=''

# Called by vm_run() for each line of the console.
on_line() {
	if vm_text "$1"; then
		printf '%s\n' "$VM_TEXT"
	elif [[ $1 =~ @@\ end\ cmd\ (exit|signal)?\ ?([a-z0-9]+) ]]; then
		STATUS=${BASH_REMATCH[2]}
		[ "${BASH_REMATCH[1]}" != signal ] || STATUS=$((STATUS + 128))
	elif [ "$V" != 0 ]; then
		printf '%s\n' "$1" >&2
	fi
}

run_cmd() {
	local log=$LOGS/boot-$VARIANT-$MODE.log

	printf '%s\n' "$CMD" >"$VM_DIR/root/cmd"
	vm_plan cmd "$LIMIT" /bin/sh /cmd
	vm_run "$log" || true
	WHERE=$ARCH/$MODE "$TOP/scripts/splat.sh" "$log" >&2 ||
		warn "the kernel complained, see above"
	case $STATUS in
	'')	tail -n 25 "$log" >&2
		die "$VM_WHY; the console is in $log" ;;
	timeout | stuck)
		die "CMD took more than LIMIT=$LIMIT s" ;;
	esac
	exit "$STATUS"
}

run_shell() {
	if ! [ -t 0 ] || ! [ -t 1 ]; then
		die "no terminal here for a shell; give a command with CMD="
	fi
	[[ $MODE != ept* ]] || die "Bochs has no terminal here; give a command with CMD="
	VM_CMDLINE=${VM_CMDLINE/loglevel=7/loglevel=4}
	echo shell >"$VM_DIR/root/plan"
	vm_prepare
	say "a shell in $ARCH/$MODE; leave it with exit or Ctrl-A x"
	VM_CMD=("${VM_CMD[@]/stdio/mon:stdio}")
	"${VM_CMD[@]}"
}

main() {
	local file

	vm_init
	for file in ${ADD:-}; do
		vm_add "$file" "tests/${file##*/}"
	done
	if [ -n "$CMD" ]; then
		run_cmd
	else
		run_shell
	fi
}

main
