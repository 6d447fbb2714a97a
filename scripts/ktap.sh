#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Counts the results in TAP or KTAP on stdin, subtests by their leaves, and
# prints "N passed, N failed, N skipped" and what is wrong.  Status: 0 a
# complete plan without failures, 1 anything else, 2 no TAP at all.

exec awk '
BEGIN { top = 0 }
function depth_of(s) { match(s, /^ */); return int(RLENGTH / 4) }
function wrong(s) { if (!problem) problem = s }

# Closes the levels below depth d: what they promised has to be there.
function close_below(d,    i) {
	for (i = top; i > d; i--) {
		if (i in plan && seen[i] + 0 != plan[i])
			wrong("plan of " plan[i] ", results of " seen[i] + 0)
		had_children[i - 1] = 1
		delete plan[i]; delete seen[i]; delete had_children[i]
	}
	if (top > d) top = d
}
function open_at(d) { if (d > top) top = d }

{ sub(/\r$/, ""); sub(/^\[ *[0-9]+\.[0-9]+\] /, "") }

# A requirement that a single test of a harness does not meet.
/^ *1\.\.0 # SKIP/ && (depth_of($0) in plan) && plan[depth_of($0)] > seen[depth_of($0)] + 0 { next }

/^ *1\.\.[0-9]+/ {
	d = depth_of($0); close_below(d); open_at(d); tap = 1
	match($0, /\.\.[0-9]+/)
	plan[d] = substr($0, RSTART + 2, RLENGTH - 2) + 0
	if (plan[d] == 0) { skipped++; if (!/SKIP/) wrong("an empty plan") }
	next
}
/^ *(not )?ok [0-9]+/ {
	d = depth_of($0); close_below(d); open_at(d); tap = 1
	seen[d]++
	match($0, /ok [0-9]+/)
	n = substr($0, RSTART + 3, RLENGTH - 3) + 0
	if (n != seen[d]) wrong("result " n " where " seen[d] " was due")
	leaf = !had_children[d]; had_children[d] = 0
	if (/^ *not ok/ && !/# (TODO|XFAIL)/) { bad++; failed += leaf }
	else if (/# SKIP/) skipped += leaf
	else passed += leaf
	next
}
/^ *Bail out!/ { tap = 1; wrong("bailed out") }

END {
	if (!tap) { print "no TAP"; exit 2 }
	if (!(0 in plan)) wrong("no plan")
	close_below(-1)
	if (bad && !failed) failed = bad
	printf "%d passed, %d failed, %d skipped%s\n", passed, failed, skipped,
		problem ? " (" problem ")" : ""
	exit (bad || problem) ? 1 : 0
}'
