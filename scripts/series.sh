#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# make series [OUT=folder]: the series as mails, added files whole, for
# git am or git send-email; the cover letter is the file "cover".
SELF=series
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/patches.sh
. "$TOP/scripts/patches.sh"

OUT=$(realpath -m "${OUT:-$BUILD/series}")
TMP=

cleanup() { [ -z "$TMP" ] || rm -rf "$TMP"; }

# cover FILE: the text into the letter that git has made.
cover() {
	awk -v text="$TOP/cover" '
		BEGIN {
			while ((getline line <text) > 0) {
				if (line ~ /^#/)
					continue
				if (subject == "")
					subject = line
				else if (line != "" || body != "")
					body = body line "\n"
			}
			sub(/\n+$/, "", body)
		}
		index($0, "*** SUBJECT HERE ***") {
			sub(/\*\*\* SUBJECT HERE \*\*\*/, "")
			print $0 subject
			next
		}
		$0 == "*** BLURB HERE ***" { print body; next }
		{ print }' "$1" >"$1.new"
	mv "$1.new" "$1"
}

main() {
	local options mail
	"$TOP/scripts/tree.sh" >/dev/null
	! tree_edited || die "$BUILD/tree has edits; 'make refresh' first"
	[ -n "$(series_patches)" ] || die "the series has no patches yet"
	mkdir -p "$OUT"
	TMP=$(mktemp -d "$OUT/.new.XXXXXX")
	options=(--quiet --output-directory "$TMP" --base=refs/kmf/base
		 --zero-commit --full-index --no-signature --numbered --no-renames
		 --diff-algorithm=myers --no-attach --no-thread)
	if [ -f "$TOP/cover" ]; then
		options+=(--cover-letter)
	else
		warn "there is no file 'cover': no cover letter"
	fi
	g -C "$BUILD/tree" format-patch "${options[@]}" refs/kmf/base..refs/kmf/tip
	[ ! -f "$TOP/cover" ] || cover "$TMP/0000-cover-letter.patch"
	for mail in "$TMP"/*.patch; do
		# The date is the one of build/tree, which means nothing.
		sed -i '1,/^$/{/^Date: /d}' "$mail"
	done
	rm -f "$OUT"/[0-9][0-9][0-9][0-9]-*.patch
	mv "$TMP"/*.patch "$OUT/"
	say "$(series_patches | wc -l) mails in $OUT"
}

trap cleanup EXIT
trap 'interrupted "$OUT is as it was"' INT TERM HUP
main
