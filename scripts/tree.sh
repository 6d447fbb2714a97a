#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# make tree: $BUILD/tree, the kernel source with the series as git commits:
# the base, then one commit a patch. Edits of the user are never thrown away.
SELF=tree
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/patches.sh
. "$TOP/scripts/patches.sh"

TREE=$BUILD/tree
NEW=$BUILD/tree.new
AS_IT_WAS="$TREE is as it was"
# A constant time, so that equal content has equal hashes.
EPOCH=1767225600
NOBODY="kvm-memory-fault <kvm-memory-fault@localhost>"

cleanup() {
	rm -rf "$NEW"
	[ -z "$SERIES_TMP" ] || rm -rf "$SERIES_TMP"
}

# What the tree in $TREE was made from.
made_from() { cat "$TREE/.git/kmf-$1" 2>/dev/null || true; }

# base_id: one line that names the base.
base_id() {
	if [ -n "${KDIR:-}" ]; then
		echo "$KDIR $(kdir_files | xargs -0r stat -c '%n %s %Y' |
			sha256sum | cut -d' ' -f1)"
	else
		echo "$SHA256"
	fi
}

# The files of KDIR: what its git tracks, else everything that a build does
# not make.
kdir_files() {
	(
		cd "$KDIR"
		if [ -e .git ]; then
			git ls-files -z
		else
			find . -name .git -prune -o \( -type f -o -type l \) \
				! -name '*.o' ! -name '*.ko' ! -name '*.cmd' \
				! -path './.config*' ! -path './include/config/*' \
				! -path './include/generated/*' \
				! -path './arch/*/include/generated/*' -printf '%P\0'
		fi | while IFS= read -r -d '' file; do
			[ ! -f "$file" ] || printf '%s\0' "$file"
		done
	)
}

# base_find: sets VERSION and, without KDIR, TARBALL and SHA256.
base_find() {
	if [ -n "${KDIR:-}" ]; then
		[ -f "$KDIR/Makefile" ] || die "KDIR=$KDIR is not a kernel source"
		KDIR=$(realpath "$KDIR")
		VERSION=$(version_of "$KDIR/Makefile")
		right_version "$VERSION" "KDIR=$KDIR"
		return
	fi
	if base_known; then
		return
	fi
	"$TOP/scripts/base.sh"
	# shellcheck disable=SC1091  # written by base.sh
	. "$BUILD/base.env"
}

# base_known: does base.env still say what base.sh would say?
base_known() {
	local PIN=
	[ -z "${KERNEL_TARBALL:-}" ] && [ -f "$BUILD/base.env" ] || return 1
	# shellcheck disable=SC1091
	. "$BUILD/base.env"
	[ "$PIN" = "$(base_get SHA256)" ] && [ -f "$TARBALL" ]
}

# unpack_base: the source into $NEW, with times of today: what was built from
# another base must look old to the kernel's make.
unpack_base() {
	space "$BUILD" 2500
	rm -rf "$NEW"
	mkdir -p "$NEW"
	if [ -n "${KDIR:-}" ]; then
		say "copying $KDIR"
		(cd "$KDIR" && kdir_files | tar -c --null -T - -f -) |
			tar -xm -C "$NEW" -f - || die "cannot copy $KDIR"
	else
		say "unpacking Linux $VERSION (1.7 GiB)"
		tar -xmf "$TARBALL" -C "$NEW" --strip-components=1 ||
			die "cannot unpack $TARBALL"
	fi
}

# tracked: the paths for git, of those that the base has.
tracked() {
	local path
	{
		printf '%s\n' "${TRACK[@]}"
		series_changes
	} | sort -u | while IFS= read -r path; do
		[ ! -e "$1/$path" ] || echo "$path"
	done
}

# exclude: has git show new files where the series works and nowhere else.
exclude() {
	local path dir
	echo '/*'
	{
		printf '%s\n' "${TRACK[@]}"
		series_adds | sed 's,/[^/]*$,,'
	} | sort -u | while IFS= read -r path; do
		dir=
		while [ "$path" != "${path#*/}" ]; do
			dir+=/${path%%/*} path=${path#*/}
			printf '!%s/\n%s/*\n' "$dir" "$dir"
		done
		printf '!%s/%s\n' "$dir" "$path"
	done | awk '!seen[$0]++'
	printf '%s\n' '*.orig' '*.rej' '.pc/' '/.out-*/' '/patches'
}

# commit_base: $NEW as a git tree with one commit.
commit_base() {
	local name email git=(g -C "$NEW")
	say "making it a git tree"
	"${git[@]}" init -q -b series
	name=$(git -C "$TOP" config user.name || true)
	email=$(git -C "$TOP" config user.email || true)
	[ -z "$name" ] || "${git[@]}" config user.name "$name"
	[ -z "$email" ] || "${git[@]}" config user.email "$email"
	"${git[@]}" config gc.auto 0
	# Debian's packaging hides all of the top folder from git.
	[ ! -f "$NEW/.gitignore" ] ||
		sed -i -e '/^\/\*$/d' -e '/^!\/debian\/$/d' "$NEW/.gitignore"
	exclude >"$NEW/.git/info/exclude"
	tracked "$NEW" | "${git[@]}" add -f --pathspec-from-file=-
	# Files at the top that the kernel's own .gitignore asks for.
	"${git[@]}" add .
	(cd "$NEW" && find . \( -type f -o -type l \) -not -path './.git/*' -printf '%P\n' |
		LC_ALL=C sort) >"$NEW/.git/kmf-files"
	GIT_AUTHOR_NAME=${NOBODY% <*} GIT_AUTHOR_EMAIL=kvm-memory-fault@localhost
	export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL
	export GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME
	export GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
	GIT_AUTHOR_DATE="@$EPOCH +0000" GIT_COMMITTER_DATE="@$EPOCH +0000" \
		"${git[@]}" commit -q --no-verify --no-gpg-sign \
		-m "Linux $VERSION"
	"${git[@]}" update-ref refs/kmf/base HEAD
	"${git[@]}" update-ref refs/kmf/tip HEAD
}

# swap: $NEW becomes $TREE; build output inside the old tree is kept.
swap() {
	local out
	trap '' INT TERM HUP
	if [ -d "$TREE" ]; then
		for out in "$TREE"/.out-*; do
			[ ! -d "$out" ] || mv "$out" "$NEW/"
		done
		mv "$TREE" "$NEW.old"
	fi
	mv "$NEW" "$TREE"
	trap 'interrupted "$AS_IT_WAS"' INT TERM HUP
	rm -rf "$NEW.old"
}

# put_series ROOT: the series on top of ROOT's base. The files of the working
# tree change only when all of it has applied.
put_series() {
	local tip git=(g -C "$1")
	tip=$(
		GIT_DIR=$1/.git GIT_INDEX_FILE=$SERIES_TMP/index
		export GIT_DIR GIT_INDEX_FILE
		series_apply "$(g rev-parse refs/kmf/base)" $((EPOCH + 60))
	) || die "the series does not apply to Linux $VERSION"
	exclude >"$1/.git/info/exclude"
	"${git[@]}" reset -q --hard "$tip"
	[ -z "${FORCE:-}" ] || "${git[@]}" clean -qfd
	"${git[@]}" update-ref refs/kmf/tip "$tip"
	series_id >"$1/.git/kmf-series"
}

# refuse WHAT FORCE=1|"": the user's edits stand in the way.
refuse() {
	[ -n "${FORCE:-}" ] && return
	die "$TREE has edits, and $1; 'make refresh${2:+ $2}' writes the edits to" \
	    "patches/, 'make $SELF FORCE=1' throws them away"
}

# untracked: the paths that git should know, has not in the base commit, and
# nobody has changed therefore.
untracked() {
	tracked "$TREE" | sort >"$SERIES_TMP/want"
	{
		g -C "$TREE" ls-tree -r --name-only refs/kmf/base
		g -C "$TREE" ls-tree -r -d --name-only refs/kmf/base
	} | sort >"$SERIES_TMP/have"
	comm -23 "$SERIES_TMP/want" "$SERIES_TMP/have"
}

# track: those too, as if they had been there from the beginning.
track() {
	local base
	base=$(
		GIT_DIR=$TREE/.git GIT_WORK_TREE=$TREE
		GIT_INDEX_FILE=$SERIES_TMP/index
		export GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
		g read-tree refs/kmf/base
		untracked | g -C "$TREE" add -f --pathspec-from-file=-
		g cat-file commit refs/kmf/base |
			sed "1s/.*/tree $(g write-tree)/" |
			g hash-object -t commit -w --stdin
	) || die "cannot track more files"
	g -C "$TREE" update-ref refs/kmf/base "$base"
}

main() {
	local id edited='' count
	need git git
	series_check || die "patches/series and the files disagree"
	SERIES_TMP=$(mktemp -d)
	mkdir -p "$BUILD"
	exec 8>"$BUILD/tree.lock"
	flock 8
	base_find
	id=$(base_id)
	if [ -d "$TREE/.git" ] && tree_edited; then
		edited=1
	fi
	if [ "$(made_from base)" != "$id" ]; then
		[ -z "$edited" ] || refuse "the base is another one" ""
		unpack_base
		commit_base
		echo "$id" >"$NEW/.git/kmf-base"
		put_series "$NEW"
		swap
	elif [ -n "$(untracked)" ]; then
		[ -z "$edited" ] || refuse "patches/ changes more files" FORCE=1
		track
		put_series "$TREE"
	elif [ "$(made_from series)" != "$(series_id)" ]; then
		[ -z "$edited" ] || refuse "patches/ has changed too" FORCE=1
		put_series "$TREE"
	elif [ -n "$edited" ] && [ -n "${FORCE:-}" ]; then
		put_series "$TREE"
	elif [ -n "$edited" ]; then
		say "$TREE has edits of yours, which stay; 'make refresh'" \
		    "writes commits to patches/"
		return
	fi
	count=$(series_patches | wc -l)
	say "$TREE: Linux $VERSION and $count patches"
}

trap cleanup EXIT
trap 'interrupted "$AS_IT_WAS"' INT TERM HUP
main
