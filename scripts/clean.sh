#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# make clean, make distclean: removes build/; with "all" the cached base too.
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/patches.sh
. "$TOP/scripts/patches.sh"

if [ -z "${FORCE:-}" ] && [ -e "$BUILD/tree/.git" ] && tree_edited; then
	die "$BUILD/tree has edits that patches/ does not have;" \
	    "'make refresh' keeps them, FORCE=1 throws them away"
fi
# BUILD= may name a folder that holds more than ours.
rm -rf "$BUILD"/{tree,base-tree,check-tree,initramfs,selftests,log,series,base.env,tree.lock}
rm -rf "$BUILD"/{tree.new*,refresh.*} "$BUILD"/{,base-}{x86_64,arm64}*
if [ "$BUILD" = "$TOP/build" ]; then
	rm -rf "$BUILD"
fi
say "removed $BUILD"
if [ "${1:-}" = all ]; then
	rm -rf "$CACHE"
	say "removed $CACHE"
fi
