#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# make docs: the kernel's documentation of KVM as HTML. Fails on a message of
# Sphinx that the unpatched base does not have.
SELF=docs
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/target.sh
. "$TOP/scripts/target.sh"

HTML=Documentation/output/virt/kvm/index.html

# html TREE: prints the messages that are about the documents.
html() {
	local tree=$1 log=$1/.out-docs/log
	mkdir -p "$tree/.out-docs"
	# What is up to date says nothing.
	rm -rf "$tree/.out-docs/Documentation"
	# Debian's own python3 is the one that has the modules.
	TREE=$tree KOUT=$tree/.out-docs PATH=/usr/bin:$PATH \
		kmake SPHINXDIRS=virt/kvm htmldocs >"$log" 2>&1 </dev/null || {
		tail -n 20 "$log" >&2
		die "make htmldocs failed; the whole log is $log"
	}
	[ -f "$tree/.out-docs/$HTML" ] ||
		die "make htmldocs made no $HTML; its log is $log"
	grep -E "^$tree/.*(WARNING|ERROR|CRITICAL)" "$log" |
		sed -e "s,^$tree/,," -e 's/:[0-9]*: /: /' | LC_ALL=C sort -u || true
}

main() {
	local now new
	need sphinx-build python3-sphinx
	tree_get
	now=$(html "$TREE")
	if [ -n "$now" ]; then
		TREE=$BUILD/base-tree
		base_tree_get
		new=$(LC_ALL=C comm -23 <(echo "$now") <(html "$TREE"))
		if [ -n "$new" ]; then
			echo "$new" >&2
			die "Sphinx says what it does not say about the base;" \
			    "the whole log is $BUILD/tree/.out-docs/log"
		fi
	fi
	say "$BUILD/tree/.out-docs/$HTML"
}

main
