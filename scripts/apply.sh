#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# make apply KDIR=tree: the series on top of a tree of the user's. A git tree
# gets commits, a plain tree gets files. The whole series is tried on copies
# of the files first; the tree changes when all of it has applied.
SELF=apply
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/patches.sh
. "$TOP/scripts/patches.sh"

# New files of a plain tree, under their temporary names.
PUT=()
DIRS=()

cleanup() {
	[ ${#PUT[@]} = 0 ] || rm -f "${PUT[@]}"
	[ ${#DIRS[@]} = 0 ] || rmdir "${DIRS[@]}" 2>/dev/null || true
	[ -z "$SERIES_TMP" ] || rm -rf "$SERIES_TMP"
}

plain_env() { unset GIT_DIR GIT_INDEX_FILE GIT_WORK_TREE; }

is_git() {
	[ "$(git -C "$KDIR" rev-parse --show-toplevel 2>/dev/null)" = "$KDIR" ]
}

check_git() {
	local dir edited
	dir=$(g -C "$KDIR" rev-parse --absolute-git-dir)
	for edited in rebase-apply rebase-merge MERGE_HEAD CHERRY_PICK_HEAD; do
		[ ! -e "$dir/$edited" ] ||
			die "KDIR=$KDIR is in the middle of a rebase, am or merge"
	done
	edited=$(g -C "$KDIR" status --porcelain -uno | head -n 1)
	[ -z "$edited" ] || die "KDIR=$KDIR has edits (${edited:3});" \
		"commit or stash them first"
	g -C "$KDIR" var GIT_COMMITTER_IDENT >/dev/null 2>&1 ||
		die "git does not know who commits in $KDIR;" \
		    "set user.name and user.email"
}

# scratch: a repository whose index has the files that matter, as they
# are in KDIR. Sets what git reads from the environment.
scratch() {
	local file mode
	export GIT_DIR=$SERIES_TMP/git GIT_INDEX_FILE=$SERIES_TMP/index
	export GIT_WORK_TREE=$SERIES_TMP
	g init -q
	{ series_changes; series_adds; } | sort -u | while IFS= read -r file; do
		[ -f "$KDIR/$file" ] || continue
		mode=100644
		[ ! -x "$KDIR/$file" ] || mode=100755
		printf '%s %s\t%s\n' "$mode" "$(g hash-object -w --no-filters \
			"$KDIR/$file")" "$file"
	done | g update-index --index-info
	BEFORE=$(g write-tree)
}

# take_out PATCH: the reverse of patch_to_index().
take_out() {
	local file here
	for file in $(series_adds "$1"); do
		here=$(g ls-files -s -- "$file" | cut -d' ' -f2)
		[ "$here" = "$(g hash-object --no-filters \
			"$SERIES_TOP/$file")" ] || return 1
		g update-index --force-remove "$file"
	done
	! grep -q '^diff --git ' "$SERIES_TOP/patches/$1" ||
		g apply --cached -R "$SERIES_TOP/patches/$1" 2>/dev/null
}

# has_first N: are the first N patches in the tree?
has_first() {
	local patch
	g read-tree "$BEFORE"
	for patch in $(series_patches | head -n "$1" | tac); do
		take_out "$patch" || return 1
	done
}

# has: sets HAS to how many patches of the series are there.
has() {
	HAS=$(series_patches | wc -l)
	while [ "$HAS" -gt 0 ] && ! has_first "$HAS"; do
		HAS=$((HAS - 1))
	done
}

# try: the series on the copies. Sets AFTER.
try() {
	local patch
	g read-tree "$BEFORE"
	for patch in $(series_patches); do
		patch_to_index "$patch" || return 1
	done
	AFTER=$(g write-tree)
}

# Commits, in the user's name; the checkout is one step of git's.
put_git() {
	local head tip
	plain_env
	export GIT_INDEX_FILE=$SERIES_TMP/index.git
	head=$(g -C "$KDIR" rev-parse HEAD)
	tip=$(
		GIT_DIR=$(g -C "$KDIR" rev-parse --absolute-git-dir)
		export GIT_DIR
		series_apply "$head" ""
	) || die "$UNTOUCHED"
	unset GIT_INDEX_FILE
	trap '' INT TERM HUP
	g -C "$KDIR" read-tree -m -u "$head" "$tip" || die "$UNTOUCHED"
	g -C "$KDIR" update-ref -m "make apply" HEAD "$tip" "$head"
}

# make_dirs FOLDER: with those above it, remembered for cleanup().
make_dirs() {
	[ ! -d "$1" ] || return 0
	make_dirs "$(dirname "$1")"
	mkdir "$1"
	DIRS=("$1" "${DIRS[@]}")
}

# Files: all are written beside their places, then all renamed.
put_plain() {
	local file new gone=()
	while IFS=$'\t' read -r status file; do
		if [ "$status" = D ]; then
			gone+=("$KDIR/$file")
			continue
		fi
		make_dirs "$KDIR/$(dirname "$file")"
		new=$KDIR/$(dirname "$file")/.kmf-new.${file##*/}
		PUT+=("$new")
		g cat-file blob "$AFTER:$file" >"$new" || die "$UNTOUCHED"
		if [ -e "$KDIR/$file" ]; then
			chmod --reference="$KDIR/$file" "$new"
		elif g ls-tree "$AFTER" "$file" | grep -q ^100755; then
			chmod +x "$new"
		fi
	done < <(g diff-tree -r --name-status --no-renames "$BEFORE" "$AFTER")
	trap '' INT TERM HUP
	for new in "${PUT[@]}"; do
		mv "$new" "${new/.kmf-new./}"
	done
	[ ${#gone[@]} = 0 ] || rm "${gone[@]}"
	PUT=() DIRS=()
}

main() {
	local version kind=files count
	need git git
	[ -n "${KDIR:-}" ] || die "which tree? make apply KDIR=tree"
	[ -f "$KDIR/Makefile" ] || die "KDIR=$KDIR is not a kernel source"
	KDIR=$(realpath "$KDIR")
	UNTOUCHED="KDIR=$KDIR is left as it was"
	version=$(version_of "$KDIR/Makefile")
	[ -n "${FORCE:-}" ] || right_version "$version" "KDIR=$KDIR"
	series_check || die "patches/series and the files disagree"
	count=$(series_patches | wc -l)
	[ "$count" -gt 0 ] || die "the series has no patches yet"
	SERIES_TMP=$(mktemp -d)
	scratch
	has
	if [ "$HAS" = "$count" ]; then
		say "KDIR=$KDIR has the series already"
		return
	fi
	[ "$HAS" = 0 ] || die "KDIR=$KDIR has the first $HAS of $count patches," \
		"up to $(series_patches | sed -n "${HAS}p"); $UNTOUCHED"
	if (plain_env; is_git); then
		(plain_env; check_git)
		kind=commits
	fi
	try || die "the series does not fit Linux $version; $UNTOUCHED"
	if [ "$kind" = commits ]; then
		put_git
	else
		put_plain
	fi
	say "KDIR=$KDIR (Linux $version) has the series now: $count patches, as $kind"
}

trap cleanup EXIT
trap 'interrupted "${UNTOUCHED:-nothing is done}"' INT TERM HUP
main
