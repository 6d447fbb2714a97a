# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced after lib.sh: reads the series and puts it on top of a commit.

# Where the series is; the tests of these scripts point it elsewhere.
SERIES_TOP=${SERIES_TOP:-$TOP}
# A folder for scratch files, made by whoever calls series_apply().
SERIES_TMP=${SERIES_TMP:-}

# Tracked by git in build/tree: what the series and its checks look at. Few
# enough that git answers at once, and folders, so that a patch may grow.
# shellcheck disable=SC2034  # for the scripts that source this file
TRACK=(tools/Makefile arch/x86/kvm arch/x86/include arch/arm64/kvm arch/arm64/include
       include virt Documentation/virt/kvm tools/testing/selftests/kvm
       LICENSES MAINTAINERS)

# Settings of the user that would change what is applied or written.
g() {
	git -c core.autocrlf=false -c core.quotePath=false -c gc.auto=0 \
	    -c apply.whitespace=nowarn -c apply.ignoreWhitespace=no "$@"
}

# The names of the patches, in order.
series_patches() {
	[ ! -f "$SERIES_TOP/patches/series" ] ||
		sed -e 's/[[:space:]]*#.*//' -e '/^[[:space:]]*$/d' \
		    "$SERIES_TOP/patches/series"
}

# series_adds [PATCH]: the files that PATCH, or the whole series, adds.
series_adds() {
	[ -f "$SERIES_TOP/patches/series" ] || return 0
	awk -v want="${1-}" '
		/^# adds / { if (want == "" || patch == want) print $3; next }
		/^#/ || NF == 0 { next }
		{ patch = $1 }' "$SERIES_TOP/patches/series"
}

# patch_files PATCH...: the files of the kernel that the patches change.
patch_files() {
	local patch
	for patch; do
		sed -n 's,^diff --git a/.* b/\(.*\)$,\1,p' \
			"$SERIES_TOP/patches/$patch"
	done | sort -u
}

# All files that the series changes.
series_changes() {
	local patches
	mapfile -t patches < <(series_patches)
	patch_files "${patches[@]}"
}

# series_id: one hash over everything that makes the series.
series_id() {
	local patch file
	(
		cd "$SERIES_TOP" || exit
		for patch in $(series_patches); do
			echo "$patch"
			cat "patches/$patch"
			for file in $(series_adds "$patch"); do
				echo "$file $(test -x "$file" && echo x)"
				cat "$file"
			done
		done
	) | sha256sum | cut -d' ' -f1
}

# Every file that the series names is there, and the other way round.
series_check() {
	local patch file bad=0
	for patch in $(series_patches); do
		[ -f "$SERIES_TOP/patches/$patch" ] && continue
		warn "patches/series names $patch, which is not in patches/"
		bad=1
	done
	for file in $(series_adds); do
		[ -f "$SERIES_TOP/$file" ] && continue
		warn "patches/series adds $file, which does not exist"
		bad=1
	done
	for file in $(series_adds | sort | uniq -d); do
		warn "patches/series adds $file more than once"
		bad=1
	done
	return "$bad"
}

# hunk_error PATCH LOG: says what git said, as a patch, a file and a hunk.
hunk_error() {
	local patch=$1 log=$2 line file at
	while IFS= read -r line; do
		case $line in
		"error: patch failed: "*)
			line=${line#error: patch failed: }
			file=${line%:*} at=${line##*:}
			warn "patches/$patch does not apply: $file, hunk" \
			     "$(hunk_header "$patch" "$file" "$at")"
			;;
		*": patch does not apply") ;;
		error:*)
			warn "patches/$patch does not apply: ${line#error: }"
			;;
		esac
	done <"$log"
}

# hunk_header PATCH FILE LINE: the hunk of FILE whose old text is at LINE.
hunk_header() {
	awk -v file="$2" -v at="$3" '
		/^diff --git / { here = ($NF == "b/" file) }
		here && index($0, "@@ -" at) == 1 &&
		substr($0, length("@@ -" at) + 1, 1) ~ /[, ]/ {
			print; found = 1; exit
		}
		END { if (!found) print "at line " at }' \
		"$SERIES_TOP/patches/$1"
}

# patch_to_index PATCH: the patch's edits and its added files, in the index
# that GIT_INDEX_FILE names; no other file is touched. Never with fuzz: git
# apply moves a hunk, but all of its context has to be there.
patch_to_index() {
	local patch=$1 tmp=$SERIES_TMP file mode
	g mailinfo "$tmp/msg" "$tmp/diff" <"$SERIES_TOP/patches/$patch" \
		>"$tmp/info" 2>"$tmp/log" || {
		warn "patches/$patch is not in mail format"
		return 1
	}
	if grep -q '^diff --git ' "$tmp/diff" &&
	   ! g apply --cached "$tmp/diff" 2>"$tmp/log"; then
		hunk_error "$patch" "$tmp/log"
		return 1
	fi
	for file in $(series_adds "$patch"); do
		if [ -n "$(g ls-files -- ":(top,literal)$file")" ]; then
			warn "patches/$patch does not apply: it adds $file," \
			     "which exists already"
			return 1
		fi
		mode=100644
		[ ! -x "$SERIES_TOP/$file" ] || mode=100755
		g update-index --add --cacheinfo "$mode,$(g hash-object -w \
			--no-filters "$SERIES_TOP/$file"),$file" || return 1
	done
}

# patch_info KEY: a field of the patch that patch_to_index() saw last.
patch_info() { sed -n "s/^$1: //p" "$SERIES_TMP/info"; }

# patch_commit PARENT SECONDS: the index as a commit. SECONDS since the epoch
# make hashes that repeat, with the author as committer; "" means now, and
# git's own idea of the committer.
patch_commit() {
	local parent=$1 date=$2 tree
	tree=$(g write-tree) || return 1
	{
		patch_info Subject
		echo
		cat "$SERIES_TMP/msg"
	} | g stripspace >"$SERIES_TMP/text"
	export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL
	GIT_AUTHOR_NAME=$(patch_info Author)
	GIT_AUTHOR_EMAIL=$(patch_info Email)
	if [ -n "$date" ]; then
		export GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME
		export GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
		export GIT_AUTHOR_DATE="@$date +0000"
		export GIT_COMMITTER_DATE="@$date +0000"
	fi
	g commit-tree "$tree" -p "$parent" -F "$SERIES_TMP/text"
}

# series_apply PARENT DATE: the series on top of the commit PARENT, with the
# help of the index GIT_INDEX_FILE alone; prints the tip. DATE as above.
series_apply() {
	local tip=$1 date=$2 patch
	g read-tree "$tip" || return 1
	for patch in $(series_patches); do
		patch_to_index "$patch" || return 1
		tip=$(patch_commit "$tip" "$date") || return 1
		[ -z "$date" ] || date=$((date + 60))
	done
	echo "$tip"
}

# Is there anything in build/tree that make tree did not put there? Commits,
# edits or new files of the user.
tree_edited() {
	local git=(g -C "$BUILD/tree")
	[ "$("${git[@]}" rev-parse -q --verify HEAD)" = \
	  "$("${git[@]}" rev-parse -q --verify refs/kmf/tip)" ] &&
		[ -z "$("${git[@]}" status --porcelain)" ] && return 1
	return 0
}

# version_of MAKEFILE: 7.3.4, from the kernel's top Makefile.
version_of() {
	awk '$2 == "=" && $1 == "VERSION" { v = $3 }
	     $2 == "=" && $1 == "PATCHLEVEL" { p = $3 }
	     $2 == "=" && $1 == "SUBLEVEL" { s = $3 }
	     NR > 20 { exit }
	     END { if (v != "" && p != "" && s != "") print v "." p "." s }' "$1"
}

# right_version VERSION WHERE: the series is for one kernel release.
right_version() {
	local want
	want=$(base_get VERSION)
	want=${want%.*}
	case $1 in
	"$want".*) ;;
	"") die "$2 is not a kernel source: no version in its Makefile" ;;
	*) die "$2 is Linux $1; the series is for $want.x" ;;
	esac
}
