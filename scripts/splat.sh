#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# usage: [WHERE=ARCH/MODE] splat.sh CONSOLE-LOG...
# Finds the kernel's complaints in console logs: warnings, bugs, oopses, stalls
# and the reports of its debugging aids.  Fails when there is one that
# expect/splats does not name.

SELF=splat
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

# The start of a line of the kernel, time stamp aside.  What a test prints
# carries a "| " in front and cannot match.
PATTERNS='^WARNING: |^BUG: |^kernel BUG at |^Oops|^Internal error: |^Bad mode in '
PATTERNS+='|^Unable to handle (kernel|paging)|^general protection fault'
PATTERNS+='|^(invalid opcode|divide error|stack segment|int3|double fault): '
PATTERNS+='|^Kernel panic - not syncing|^UBSAN: |^KASAN: |^KCSAN: |^KFENCE: '
PATTERNS+='|^watchdog: |^(rcu: )?INFO: .*(stall|blocked for more than|non-static key)'
PATTERNS+='|^DEBUG_LOCKS_WARN_ON|^refcount_t: |^list_(add|del) corruption'
PATTERNS+='|^Call [Tt]race:|nobody cared|^kmemleak: .*suspected'
PATTERNS+='| invoked oom-killer: '
PATTERNS+='|^kvm \[[0-9]+\]: nVHE hyp (panic|BUG)|^Code: '

# allowed: the patterns of expect/splats for WHERE, joined.
allowed() {
	local where pattern

	while read -r where pattern; do
		# shellcheck disable=SC2053  # a glob on purpose
		[[ $where != '#'* && -n $pattern && ${WHERE:-any} == $where ]] || continue
		printf '%s\n' "$pattern"
	done <"${SPLATS:-$TOP/expect/splats}" | paste -sd'|'
}

# One report runs from "cut here" to "end trace" and counts once; it is judged
# by its first line that matches.
find_splats() {
	awk -v patterns="$PATTERNS" -v allow="$(allowed)" '
	function judge(title, text) {
		if (allow != "" && title ~ allow) { ok++; return }
		bad++
		printf "%s:%d: %s\n%s", FILENAME, FNR, title, text
	}
	function close_block() {
		if (inside) judge(title ? title : "cut here", text)
		inside = 0; title = ""; text = ""
	}
	FNR == 1 { close_block(); last = 0 }
	{ sub(/\r$/, ""); sub(/^\[ *[0-9]+\.[0-9]+\](\[ *[TC][0-9]+\])? /, "") }
	/^\| / || /^@@ / { next }
	/^-+\[ cut here \]-+/ { close_block(); inside = 1; lines = 0; next }
	inside {
		if (!title && $0 ~ patterns) title = $0
		if (lines++ < 40) text = text "    " $0 "\n"
		if (/^---\[ end /) close_block()
		next
	}
	(/^Call [Tt]race:/ || /^Code: /) && last && FNR - last < 120 { next }
	$0 ~ patterns { judge($0, ""); last = FNR; next }
	END { close_block(); exit bad ? 1 : 0 }' "$@"
}

main() {
	[ $# -gt 0 ] || die "usage: splat.sh CONSOLE-LOG..."
	find_splats "$@"
}

main "$@"
