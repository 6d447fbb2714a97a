#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# make refresh: the commits of $BUILD/tree become patches/ and the files in
# the in-tree folders. What does not change is written the same, byte by byte.
SELF=refresh
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/patches.sh
. "$TOP/scripts/patches.sh"

TREE=$BUILD/tree
# make lint has it write elsewhere, to see that nothing changes.
TO=${REFRESH_TO:-$TOP}
STAGE=
# File of the series -> the commit that adds it.
declare -A ADDED_BY=()

cleanup() { [ -z "$STAGE" ] || rm -rf "$STAGE"; }

t() { g -C "$TREE" "$@"; }

name() { t log -1 --format='%h ("%s")' "$1"; }

# What make refresh writes has to be all that there is.
check_tree() {
	local line
	[ -e "$TREE/.git" ] || die "there is no $TREE; 'make tree' makes it"
	line=$(t status --porcelain | head -n 1)
	[ -z "$line" ] ||
		die "$TREE has edits that are not committed (${line:3})"
	t merge-base --is-ancestor refs/kmf/base HEAD ||
		die "HEAD of $TREE is not on top of its base"
	line=$(t rev-list --merges -1 refs/kmf/base..HEAD)
	[ -z "$line" ] || die "$(name "$line") is a merge"
	if [ "$(cat "$TREE/.git/kmf-series")" != "$(series_id)" ] &&
	   [ -z "${FORCE:-}" ]; then
		die "patches/ or the added files have changed since 'make tree'" \
		    "read them; FORCE=1 writes the commits over them"
	fi
}

# added COMMIT FILE: the rules for a file that the series adds.
added() {
	local commit=$1 file=$2 dir
	if grep -qxF -- "$file" "$TREE/.git/kmf-files"; then
		die "$(name "$commit"): $file is in Linux already, and git does" \
		    "not track it in $TREE; add it to TRACK in" \
		    "scripts/patches.sh and make the tree anew"
	fi
	for dir in "${KERNEL_DIRS[@]}"; do
		[ "${file#"$dir"/}" = "$file" ] || {
			ADDED_BY[$file]=$commit
			return
		}
	done
	die "$(name "$commit") adds $file, outside ${KERNEL_DIRS[*]}"
}

# files COMMIT: checks what the commit does to files, prints those it adds.
files() {
	local commit=$1 mode status file
	while read -r _ mode _ _ status file; do
		case $mode in
		100644 | 100755 | 000000) ;;
		*) die "$(name "$commit"): $file is not a regular file" ;;
		esac
		[ -z "${ADDED_BY[$file]:-}" ] ||
			die "$(name "$commit") changes $file, which" \
			    "$(name "${ADDED_BY[$file]}") adds; squash them:" \
			    "a file is added once, in its final form"
		if [ "$status" = A ]; then
			added "$commit" "$file"
			FILES+=("$file")
		fi
	done < <(t diff-tree -r --no-commit-id --no-renames "$commit")
}

# mail COMMIT: like format-patch, without anything that moves by itself:
# no hashes, no dates, no number, no signature. The files that the commit
# adds are not in it.
mail() {
	local commit=$1 diff
	diff=(diff-tree --no-commit-id -r --no-color --no-ext-diff
	      --no-textconv --no-renames --diff-algorithm=myers
	      --indent-heuristic --diff-filter=a --src-prefix=a/
	      --dst-prefix=b/ -O/dev/null)
	t log -1 --format='From: %an <%ae>%nSubject: %s%n' "$commit"
	t log -1 --format=%b "$commit" | g stripspace
	echo ---
	t "${diff[@]}" --stat=72 "$commit"
	echo
	t "${diff[@]}" -U3 -p "$commit" | sed '/^index [0-9a-f]*\.\./d'
}

# stage COMMIT NUMBER
stage() {
	local commit=$1 slug patch file
	FILES=()
	files "$commit"
	[ "$(t rev-parse "$commit^{tree}")" != \
	  "$(t rev-parse "$commit^^{tree}")" ] ||
		die "$(name "$commit") changes nothing"
	slug=$(t log -1 --format=%f "$commit")
	printf -v patch '%04d-%s.patch' "$2" "${slug:0:52}"
	mail "$commit" >"$STAGE/patches/$patch"
	grep -q '^diff --git ' "$STAGE/patches/$patch" ||
		die "$(name "$commit") only adds files; it has to enter them" \
		    "somewhere too (MAINTAINERS, a Makefile): quilt takes no" \
		    "patch without a diff"
	echo "$patch" >>"$STAGE/patches/series"
	for file in "${FILES[@]}"; do
		echo "# adds $file" >>"$STAGE/patches/series"
		mkdir -p "$STAGE/${file%/*}"
		t show "$commit:$file" >"$STAGE/$file"
		[ "$(t ls-tree --format='%(objectmode)' "$commit" "$file")" = \
		  100644 ] || chmod +x "$STAGE/$file"
	done
}

# told TIP: what a reader of the mails sees of the commits up to TIP.
told() { t log --reverse --format='%an <%ae>%n%B' "refs/kmf/base..$1"; }

# verify: what was written gives the same commits again.
verify() {
	local tip
	mkdir "$STAGE/tmp"
	tip=$(
		export GIT_DIR=$TREE/.git GIT_INDEX_FILE=$STAGE/tmp/index
		SERIES_TOP=$STAGE SERIES_TMP=$STAGE/tmp
		series_apply "$(g rev-parse refs/kmf/base)" 0
	) || die "the patches that were written do not apply"
	[ "$(t rev-parse "$tip^{tree}")" = "$(t rev-parse 'HEAD^{tree}')" ] ||
		die "the patches that were written give another tree"
	diff <(told HEAD) <(told "$tip") >"$STAGE/tmp/log" || {
		head -n 5 "$STAGE/tmp/log" >&2
		die "a commit's text does not survive as a mail; a line that" \
		    "begins with '---', 'diff -' or 'From:' ends or changes it"
	}
}

# put FILE: from the stage to its place, unless it is the same already.
put() {
	local file=$1
	if cmp -s "$STAGE/$file" "$TO/$file" &&
	   [ "$(stat -c %A "$STAGE/$file")" = "$(stat -c %A "$TO/$file")" ]; then
		return
	fi
	mkdir -p "$TO/$(dirname "$file")"
	cp -p "$STAGE/$file" "$TO/$file.kmf-new"
	mv "$TO/$file.kmf-new" "$TO/$file"
}

# drop FILE: no longer in the series.
drop() {
	rm -f "$TO/$1"
	(cd "$TO" && rmdir -p --ignore-fail-on-non-empty \
		"$(dirname "$1")" 2>/dev/null) || true
}

install_stage() {
	local file old
	mapfile -t old < <(
		{ series_adds; cd "$TO" && ls -d patches/*.patch 2>/dev/null; } |
			sort -u)
	trap '' INT TERM HUP
	for file in "${old[@]}"; do
		[ -e "$STAGE/$file" ] || drop "$file"
	done
	while IFS= read -r file; do
		put "$file"
	done < <(cd "$STAGE" && find . -type f -not -path './tmp/*' -printf '%P\n')
	[ "$TO" = "$TOP" ] || return 0
	t update-ref refs/kmf/tip HEAD
	series_id >"$TREE/.git/kmf-series"
}

main() {
	local commit number=0
	need git git
	mkdir -p "$BUILD"
	exec 8>"$BUILD/tree.lock"
	flock 8
	check_tree
	STAGE=$(mktemp -d "$BUILD/refresh.XXXXXX")
	mkdir "$STAGE/patches"
	echo "# SPDX-License-Identifier: GPL-2.0-only" >"$STAGE/patches/series"
	for commit in $(t rev-list --reverse refs/kmf/base..HEAD); do
		number=$((number + 1))
		stage "$commit" "$number"
	done
	verify
	install_stage
	say "patches/: $number patches, $(series_adds | wc -l) added files"
}

trap cleanup EXIT
trap 'interrupted "patches/ is as it was"' INT TERM HUP
main
