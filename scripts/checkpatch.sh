#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# For make lint and make check-patches: what checkpatch says about a COMMIT of
# build/tree, without what expect/checkpatch allows. Silent when content.
SELF=checkpatch
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

# allowed: the messages on stdin but those that expect/checkpatch lists.
allowed() {
	awk -v list="$TOP/expect/checkpatch" '
	BEGIN {
		while ((getline line <list) > 0)
			if (split(line, word) > 1 && line !~ /^#/)
				allow[++n] = word[1] " " word[2]
		RS = ""; ORS = "\n\n"
	}
	{
		# Advice that belongs to the message before it.
		if (!/^(ERROR|WARNING|CHECK):/) {
			if (!drop)
				print
			next
		}
		split($0, part, ":")
		file = ""
		drop = 0
		if (match($0, /FILE: [^:]*/))
			file = substr($0, RSTART + 6, RLENGTH - 6)
		for (i = 1; i <= n; i++) {
			split(allow[i], word)
			if (part[2] == word[1] &&
			    (word[2] == "*" || file ~ word[2]))
				drop = 1
		}
		if (!drop)
			print
	}'
}

# Debian's own python3 is the one that has the modules.
cd "${TREE:-$BUILD/tree}"
{ PATH=/usr/bin:$PATH perl scripts/checkpatch.pl --strict --no-signoff --codespell \
	--no-summary --show-types -q --git "${1:?COMMIT}" 2>&1 || true; } |
	{ grep -v '^No codespell typos will be found' || true; } | allowed
