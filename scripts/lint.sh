#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# make lint: what a reviewer would find without reading, as TAP. The kernel's
# own checks on the series first, then the repository's rules.
SELF=lint
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/patches.sh
. "$TOP/scripts/patches.sh"

TREE=$BUILD/tree
TMP=
COUNT=0 BAD=0

cleanup() { [ -z "$TMP" ] || rm -rf "$TMP"; }

# check NAME COMMAND...: it passes when it is silent and content. 77 skips.
check() {
	local name=$1 rc=0
	shift
	COUNT=$((COUNT + 1))
	"$@" >"$TMP/out" 2>&1 </dev/null || rc=$?
	if [ "$rc" = 77 ]; then
		echo "ok $COUNT $name # SKIP $(head -n 1 "$TMP/out")"
	elif [ "$rc" = 0 ] && [ ! -s "$TMP/out" ]; then
		echo "ok $COUNT $name"
	else
		BAD=$((BAD + 1))
		echo "not ok $COUNT $name"
		head -n 40 "$TMP/out" | sed 's/^/# /'
	fi
}

# The files of this repository that are ours to keep in order.
ours() {
	git -C "$TOP" ls-files -co --exclude-standard | sort -u |
		while IFS= read -r file; do
			[ ! -f "$TOP/$file" ] || echo "$file"
		done
}

kernel_files() { ours | grep -E "^($(IFS='|'; echo "${KERNEL_DIRS[*]}"))/"; }

files_in_series() {
	local file
	series_check || true
	series_patches >"$TMP/patches"
	kernel_files | sort >"$TMP/have"
	series_adds | sort >"$TMP/want"
	comm -23 "$TMP/have" "$TMP/want" |
		sed 's/$/: not in patches\/series (commit it in build\/tree, then make refresh)/'
	for file in "$TOP"/patches/*.patch; do
		grep -qxF "${file##*/}" "$TMP/patches" ||
			echo "${file##*/}: not in patches/series"
	done
}

# covered FILE: by an F: line of MAINTAINERS.
covered() {
	local pattern
	while read -r pattern; do
		case $pattern in
		*/)	[ "${1#"$pattern"}" = "$1" ] || return 0 ;;
		*)	# A star does not cross a slash.
			# shellcheck disable=SC2053  # it is a pattern
			[[ $1 == $pattern && ${1//[^\/]/} == "${pattern//[^\/]/}" ]] &&
				return 0 ;;
		esac
	done < <(sed -n 's/^F:[[:space:]]*//p' "$TOP/MAINTAINERS")
	return 1
}

maintainers() {
	local file pattern
	for file in $(series_adds); do
		covered "$file" || echo "MAINTAINERS: no F: line for $file"
	done
	while read -r pattern; do
		compgen -G "$TOP/$pattern" >/dev/null ||
			echo "MAINTAINERS: $pattern matches nothing"
	done < <(sed -n 's/^F:[[:space:]]*//p' "$TOP/MAINTAINERS")
	awk '/^[A-Z]:/ { if ($0 !~ /^[A-Z]:\t[^ \t]/)
				print "MAINTAINERS:" NR ": no tab after " $1
			 keys = keys substr($0, 1, 1); next }
	     /^$/ { if (keys != "" && (keys !~ /M/ || keys !~ /S/ || keys !~ /F/))
			print "MAINTAINERS:" NR ": an entry lacks M:, S: or F:"
		    keys = ""; next }
	     keys != "" { print "MAINTAINERS:" NR ": " $0 }' "$TOP/MAINTAINERS"
}

spdx() {
	local file
	for file in $(ours | grep -vE '^patches/.*\.patch$|^cover$'); do
		head -n 3 "$TOP/$file" | grep -q SPDX-License-Identifier: ||
			echo "$file: no SPDX-License-Identifier"
	done
}

# Whoever posts the series signs it; nobody else's tag is ours to write.
tags() {
	(cd "$TOP" && grep -nE '^(Signed-off|Reviewed|Acked|Tested|Co-developed|Suggested|Reported)-by:' \
		patches/*.patch) || true
}

# Texts that hold on one machine only. The brackets keep this file out.
machine_paths() {
	(cd "$TOP" && ours | grep -v '^patches/' | xargs -d '\n' grep -nE \
		'(^|[^[:alnum:]_.])/(roo[t]|wor[k])/|/tmp/la[b]|https?:[/]/[^ ]*/debian' |
		grep -v 'example\.org') || true
}

shell() {
	local scripts
	mapfile -t scripts < <(cd "$TOP" && ours | while IFS= read -r file; do
		case $file in
		*.sh | *.bash) echo "$file" ;;
		*.*) ;;
		*) ! head -n 1 "$file" | grep -q '^#!.*sh$' || echo "$file" ;;
		esac
	done)
	[ ! -x "$TOP/.ci/run" ] || scripts+=(.ci/run)
	command -v shellcheck >/dev/null || { echo "no shellcheck"; return 77; }
	(cd "$TOP" && shellcheck -x "${scripts[@]}") || true
	(cd "$TOP" && awk '/^[a-z_0-9]+\(\) *{$/ { name = $1; from = FNR }
		/^}/ && name { if (FNR - from > 60)
			print FILENAME ":" from ": " name " is too long"
			name = "" }' "${scripts[@]}")
}

spelling() {
	command -v codespell >/dev/null || { echo "no codespell"; return 77; }
	(cd "$TOP" && ours | grep -vE '^configs/|\.patch$' | xargs -d '\n' codespell \
		--ignore-words-list=fo,te,inout,ot,ist) || true
}

# A second refresh changes nothing.
refresh_stable() {
	! tree_edited || { echo "build/tree has edits; 'make refresh'"; return; }
	mkdir -p "$TMP/refresh"
	(cd "$TOP" && { echo patches/series; series_patches |
		sed 's,^,patches/,'; series_adds; } | cpio -pdm "$TMP/refresh") 2>/dev/null
	REFRESH_TO=$TMP/refresh "$TOP/scripts/refresh.sh" >/dev/null
	(cd "$TMP/refresh" && find . -type f -printf '%P\n') |
		while IFS= read -r file; do
			diff -u "$TOP/$file" "$TMP/refresh/$file"
		done
}

# checkpatch_all COMMIT...: in parallel; the results are $TMP/COMMIT.
checkpatch_all() {
	export TREE TOP TMP
	# shellcheck disable=SC2016  # for the inner shell
	printf '%s\n' "$@" | xargs -r -P "$JOBS" -I {} \
		bash -c '"$TOP/scripts/checkpatch.sh" {} >"$TMP/{}" </dev/null'
}

# The subject says where, and begins with a verb.
changelog() {
	git -C "$TREE" log -1 --format=%s "$1" |
		grep -qE '^([a-zA-Z0-9_/]+: )+[A-Z][a-z]+ ' ||
		echo "subject: not 'area: Verb ...'"
	git -C "$TREE" log -1 --format=%s "$1" | awk 'length > 80 {
		print "subject: " length " characters" }'
	[ -n "$(git -C "$TREE" log -1 --format=%b "$1")" ] ||
		echo "no changelog"
}

# What the README says that can be looked up.
readme_verbs() {
	local verb
	# In code, where it is no English word.
	# shellcheck disable=SC2016  # backquotes of Markdown
	{ sed -n '/^```/,/^```/p' "$TOP/README.md"
	  grep -o '`make [^`]*`' "$TOP/README.md"; } | grep -oE '\bmake [a-z][a-z0-9-]*' |
		sort -u | while read -r _ verb; do
		grep -qE "^## ${verb}[ :]" "$TOP/Makefile" ||
			echo "make $verb: no such verb"
		[ -x "$TOP/scripts/${verb/#distclean/clean}.sh" ] ||
			echo "make $verb: no script"
	done
}

readme_files() {
	local file
	# shellcheck disable=SC2016  # backquotes of Markdown
	for file in $(grep -oE '`[A-Za-z0-9_.<>*/-]+`|\]\([^)#: ]+\)' "$TOP/README.md" |
		tr -d '`()]' | grep -E '/|\.(md|sh|c|h|rst|config)$' |
		grep -v '[<>]' | sort -u); do
		case $file in
		build/* | /*) continue ;;
		esac
		compgen -G "$TOP/$file" >/dev/null ||
			compgen -G "$TREE/$file" >/dev/null ||
			series_adds | grep "/$file\$" >/dev/null ||
			echo "$file: no such file"
	done
}

readme_patches() {
	local patch subject
	for patch in $(series_patches); do
		subject=$(sed -n '1,/^$/s/^Subject: //p' "$TOP/patches/$patch")
		grep -qF -- "$subject" "$TOP/README.md" ||
			echo "not in README.md: $subject"
	done
}

main() {
	local commit commits name
	need git git
	"$TOP/scripts/tree.sh" >&2
	TMP=$(mktemp -d)
	echo "TAP version 13"
	check "patches/series and the files agree" files_in_series
	check "MAINTAINERS covers the files of the series" maintainers
	check "SPDX in every file" spdx
	check "no tags of other people" tags
	check "no path or mirror of one machine" machine_paths
	check "shellcheck" shell
	check "codespell" spelling
	check "make refresh changes nothing" refresh_stable
	check "README.md: verbs" readme_verbs
	check "README.md: files" readme_files
	check "README.md: patches" readme_patches
	mapfile -t commits < <(git -C "$TREE" rev-list --reverse \
		refs/kmf/base..refs/kmf/tip)
	checkpatch_all "${commits[@]}"
	for commit in "${commits[@]}"; do
		name=$(git -C "$TREE" log -1 --format=%s "$commit")
		check "changelog: $name" changelog "$commit"
		check "checkpatch: $name" cat "$TMP/$commit"
	done
	for ARCH in x86_64 arm64; do
		export ARCH
		check "sparse and W=1 say nothing new on $ARCH" \
			"$TOP/scripts/lint-objects.sh"
	done
	echo "1..$COUNT"
	[ "$BAD" = 0 ]
}

trap cleanup EXIT
trap 'interrupted "nothing has changed"' INT TERM HUP
main
