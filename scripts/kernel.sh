#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Builds the test kernel for ARCH into build/<ARCH> (BASE=1: the unpatched
# base, into build/base-<ARCH>).

SELF=kernel
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/target.sh
. "$TOP/scripts/target.sh"

LOG=$LOGS/kernel-$VARIANT.log
REPEAT="make kernel ARCH=$ARCH"
[ "$BASE" = 0 ] || REPEAT+=" BASE=$BASE"
[ -z "$FLAVOR" ] || REPEAT+=" FLAVOR=$FLAVOR"

fragments() {
	local f line

	for f in series "series-$ARCH"; do
		[ -f "$TOP/configs/$f.config" ] || continue
		while read -r line; do
			[[ ! $line =~ ^CONFIG_([A-Z0-9_]+)= ]] ||
				! defined "${BASH_REMATCH[1]}" || echo "$line"
		done <"$TOP/configs/$f.config"
	done | cat "$TOP/configs/common.config" "$TOP/configs/$ARCH.config" - |
		overlay
}

# overlay: the fragments on stdin with those of FLAVOR on top, whose lines
# replace earlier ones for the same symbol.
overlay() {
	local lines='^(CONFIG_|# CONFIG_.* is not set)' symbol='CONFIG_[A-Za-z0-9_]+'

	if [ -z "$FLAVOR" ]; then
		grep -E "$lines"
		return
	fi
	grep -E "$lines" |
		grep -vwFf <(grep -E "$lines" "$TOP/configs/$FLAVOR.config" | grep -oE "$symbol")
	grep -E "$lines" "$TOP/configs/$FLAVOR.config"
}

# defined SYMBOL: does the tree know it?  The base does not know the series'.
defined() {
	grep -qx "config $1" "$TREE"/virt/kvm/Kconfig* "$TREE/arch/$KARCH/kvm/Kconfig" \
		"$TREE"/arch/"$KARCH"/kvm/*/Kconfig 2>/dev/null
}

# Everything that decides .config apart from the Kconfig files.
config_stamp() {
	{
		fragments
		"${CROSS}gcc" --version
		echo "$TREE"
	} | sha256sum
}

configure() {
	local stamp

	stamp=$(config_stamp)
	if [ "$(cat "$KOUT/.config-stamp" 2>/dev/null)" = "$stamp" ]; then
		kmake -s olddefconfig >"$LOG" 2>&1 </dev/null || failed
	else
		rm -f "$KOUT/.config-stamp"
		fragments >"$KOUT/.config-fragments"
		kmake -s KCONFIG_ALLCONFIG="$KOUT/.config-fragments" \
			allnoconfig >"$LOG" 2>&1 </dev/null || failed
	fi
	config_check
	echo "$stamp" >"$KOUT/.config-stamp"
}

# A line of a fragment that has no effect is an error: a test that needs it
# would be skipped, or would prove less than it says.
config_check() {
	local lost

	lost=$(fragments | grep -vxFf "$KOUT/.config" || true)
	[ -z "$lost" ] || die "lines of configs/*.config that are not in" \
		"$KOUT/.config (a dependency is missing): $(echo "$lost" | paste -sd' ')"
}

failed() {
	tail -n 25 "$LOG" >&2
	die "the build failed; the whole log is $LOG; repeat with: $REPEAT V=1"
}

# progress PID START: a line every 15 seconds while PID runs.
progress() {
	local ticks=0

	while sleep 1 && kill -0 "$1" 2>/dev/null; do
		ticks=$((ticks + 1))
		[ $((ticks % 15)) = 0 ] || continue
		say "$VARIANT: $(objects) objects, $(mmss $((SECONDS - $2)))"
	done
}

objects() { grep -cE '^  (CC|AS|HOSTCC|LD) ' "$LOG" || true; }

compile() {
	local start=$SECONDS pid rc=0

	(KMAKE_EXEC='exec'; kmake -j"$JOBS" "$VMLINUX_GOAL") >>"$LOG" 2>&1 </dev/null &
	pid=$!
	progress "$pid" "$start" 9>&- &
	trap 'kill -TERM '"$pid $!"' 2>/dev/null; wait; die interrupted' INT TERM
	wait "$pid" || rc=$?
	kill "$!" 2>/dev/null || true
	trap - INT TERM
	[ "$V" = 0 ] || cat "$LOG"
	[ "$rc" = 0 ] || failed
	say "$VARIANT: $(objects) objects in $(mmss $((SECONDS - start))):" \
		"$LINK/$IMAGE"
}

link() {
	mkdir -p "$BUILD"
	[ ! -d "$LINK" ] || [ -L "$LINK" ] || rm -rf "$LINK"
	ln -sfnr "$KOUT" "$LINK"
}

main() {
	[ -z "$PREBUILT" ] || die "KOUT= names a finished build; unset it to build"
	tools_get
	mkdir -p "$LOGS"
	tree_get
	space "$KOUT" 1500
	build_lock
	configure
	compile
	link
}

main
