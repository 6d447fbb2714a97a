#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# make base: the kernel source that the series is made against, verified, in
# the cache folder of the user; $BUILD/base.env then says which file it is.
SELF=base
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/apt.sh
. "$TOP/scripts/apt.sh"
# shellcheck source=scripts/patches.sh
. "$TOP/scripts/patches.sh"

STORE=$CACHE/base
VERSION=$(base_get VERSION)
RELEASE=${VERSION%.*}
PACKAGE=$(base_get PACKAGE)
SHA256=$(base_get SHA256)
OTHER="name a source of Linux $RELEASE.x with KERNEL_TARBALL=file or KDIR=tree"
TMP=

cleanup() {
	[ -z "$TMP" ] || rm -rf "$TMP"
	apt_close
}

sha() { sha256sum "$1" | cut -d' ' -f1; }

# use FILE VERSION SHA256: what make tree unpacks, for as long as the pin is
# this one.
use() {
	local pin=$SHA256
	[ -z "${KERNEL_TARBALL:-}" ] || pin=
	mkdir -p "$BUILD"
	printf 'TARBALL=%q\nVERSION=%q\nSHA256=%q\nPIN=%q\n' "$1" "$2" "$3" \
		"$pin" >"$BUILD/base.env.tmp"
	mv "$BUILD/base.env.tmp" "$BUILD/base.env"
}

# cached VERSION: is the file of this version there and whole? Sets HAVE, its
# hash. A file that claims the pinned version has to be the pinned one.
cached() {
	local file=$STORE/linux-$1.tar.xz want
	[ -f "$file" ] && [ -f "$file.sha256" ] || return 1
	want=$(cut -d' ' -f1 "$file.sha256")
	[ "$1" != "$VERSION" ] || want=$SHA256
	HAVE=$(sha "$file")
	[ "$HAVE" = "$want" ] ||
		die "$file has the sha256 $HAVE, not $want; remove it"
}

# store FILE VERSION SHA256: into the cache, whole or not at all.
store() {
	local to=$STORE/linux-$2.tar.xz
	echo "$3  ${to##*/}" >"$TMP/sum"
	mv "$TMP/sum" "$to.sha256"
	mv "$1" "$to"
}

# fits TARBALL: every patch applies to it, with offset, never with fuzz.
fits() {
	local dir=$TMP/fits files
	rm -rf "$dir"
	mkdir -p "$dir/src"
	mapfile -t files < <(series_changes)
	unpack "$1" "$dir/src" "${files[@]}" || return 1
	export GIT_DIR=$dir/git GIT_INDEX_FILE=$dir/index SERIES_TMP=$dir
	export GIT_WORK_TREE=$dir/src
	git init -q
	(cd "$dir/src" && find . -type f -printf '%P\0' |
		g update-index --add -z --stdin) || return 1
	series_apply "$(echo base | git -c user.name=base -c user.email=base \
		commit-tree "$(g write-tree)")" 0 >/dev/null || return 1
	unset GIT_DIR GIT_INDEX_FILE GIT_WORK_TREE
}

# unpack TARBALL DIR FILE...: those of the files that it has.
unpack() {
	local tarball=$1 dir=$2 file
	shift 2
	for file in Makefile "$@"; do
		echo "*/$file"
	done >"$TMP/names"
	# The ones that it does not have are for the caller to miss.
	tar -xf "$tarball" -C "$dir" --strip-components=1 --wildcards \
		--no-wildcards-match-slash --anchored -T "$TMP/names" \
		2>"$TMP/tar.log" || grep -q 'Not found in archive' "$TMP/tar.log"
}

# tarball_version TARBALL. tar stops reading once it has the Makefile.
tarball_version() {
	tar -xOf "$1" --occurrence=1 --wildcards --anchored \
		--no-wildcards-match-slash '*/Makefile' >"$TMP/Makefile" \
		2>"$TMP/tar.log" || return 1
	version_of "$TMP/Makefile"
}

# own TARBALL: the user's own choice. Only its version is checked.
own() {
	local file version
	[ -f "$1" ] || die "KERNEL_TARBALL=$1 does not exist"
	file=$(realpath "$1")
	version=$(tarball_version "$file") ||
		die "$file is not a tarball of a kernel source"
	right_version "$version" "$file"
	use "$file" "$version" "$(sha "$file")"
	say "Linux $version from $file, as KERNEL_TARBALL= says"
}

# suites: where Debian may have it; nearest first.
suites() {
	local name
	name=$(os_get VERSION_CODENAME)
	printf '%s\n' "$name" "$name-backports" trixie-backports forky sid |
		awk '$1 !~ /^-/ && !seen[$1]++'
}

# offers SUITE MIRROR: "version suite" for each 7.3.x of the suite.
offers() {
	local suite=$1 log=$APT_DIR/log
	apt_line "$2" "$suite" >"$APT_DIR/parts/base.list"
	LC_ALL=C apt-get "${APT[@]}" update >"$log" 2>&1 || {
		WHY=$(apt_why "$log")
		[ "$WHY" = none ] || cp "$log" "$APT_DIR/log.bad"
		return 1
	}
	apt-cache "${APT[@]}" show "$PACKAGE" 2>/dev/null |
		sed -n 's/^Version: //p' | grep "^${RELEASE//./\\.}\." || true
}

# download DEBVERSION: the package's tarball as $TMP/tar.xz.
download() {
	space "$APT_DIR" 500
	say "downloading $PACKAGE $1 (160 MiB)"
	(cd "$APT_DIR/get" && LC_ALL=C apt-get "${APT[@]}" -q \
		download "$PACKAGE=$1") >"$APT_DIR/log" 2>&1 || {
		tail -n 5 "$APT_DIR/log" >&2
		die "the download failed; the next 'make base' begins anew"
	}
	dpkg-deb --fsys-tarfile "$APT_DIR"/get/*.deb |
		tar -xO "./usr/src/$PACKAGE.tar.xz" >"$TMP/tar.xz" ||
		die "$PACKAGE $1 has no readable /usr/src/$PACKAGE.tar.xz"
	rm -f "$APT_DIR"/get/*.deb
}

# fetch: from the first suite that has the pinned version, else the newest.
fetch() {
	local suite mirror offer best='' best_suite='' trouble=''
	command -v apt-get >/dev/null ||
		die "apt-get is missing: this is not Debian; $OTHER"
	apt_open
	# Nothing but the suite in question.
	APT+=(-o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::preferences=/dev/null
	      -o Dir::Etc::preferencesparts=/dev/null
	      -o Dir::Cache="$APT_DIR/cache")
	mirror=$(apt_mirror)
	[ -n "$mirror" ] || die "apt's sources name no mirror of Debian; $OTHER"
	for suite in $(suites); do
		WHY=
		offers "$suite" "$mirror" >"$TMP/offers" ||
			[ "$WHY" = none ] || trouble=$WHY
		while read -r offer; do
			if [ "${offer%%-*}" = "$VERSION" ]; then
				take "$offer"
				return
			fi
			if [ "$(printf '%s\n' "$offer" "$best" | sort -V |
				tail -n 1)" = "$offer" ]; then
				best=$offer best_suite=$suite
			fi
		done <"$TMP/offers"
		[ "$trouble" != network ] || break
	done
	newer "$best" "$best_suite" "$mirror" "$trouble"
}

# take DEBVERSION: the pinned version.
take() {
	local have
	download "$1"
	have=$(sha "$TMP/tar.xz")
	[ "$have" = "$SHA256" ] ||
		die "$PACKAGE $1 has a tarball with the sha256 $have;" \
		    "the file 'base' wants $SHA256"
	store "$TMP/tar.xz" "$VERSION" "$have"
	use "$STORE/linux-$VERSION.tar.xz" "$VERSION" "$have"
	say "Linux $VERSION, sha256 verified, in $STORE"
}

# newer DEBVERSION SUITE MIRROR TROUBLE: what is left when the pinned version
# is not to be had.
newer() {
	local offer=$1 version=${1%%-*}
	if [ -n "$4" ] || [ -z "$offer" ]; then
		newer_cached && return
	fi
	if [ "$4" = network ]; then
		tail -n 3 "$APT_DIR/log.bad" >&2
		die "the mirror of this machine cannot be reached, and Linux" \
		    "$VERSION is not in $STORE; $OTHER"
	fi
	[ -n "$offer" ] || die "the mirror has no Linux $RELEASE any more; $OTHER"
	if ! cached "$version"; then
		offers "$2" "$3" >/dev/null || die "the mirror failed; try again"
		download "$offer"
		fits "$TMP/tar.xz" ||
			die "the mirror has Linux $version in place of" \
			    "$VERSION, and the series does not fit it; $OTHER"
		HAVE=$(sha "$TMP/tar.xz")
		store "$TMP/tar.xz" "$version" "$HAVE"
	fi
	use "$STORE/linux-$version.tar.xz" "$version" "$HAVE"
	say "Linux $version in place of $VERSION, which the mirror does not" \
	    "have any more: verified by apt, and every patch applies"
}

# newer_cached: the newest release that an earlier run took in its place.
newer_cached() {
	local file version
	file=$(find "$STORE" -name "linux-$RELEASE.*.tar.xz" | sort -V | tail -n 1)
	[ -n "$file" ] || return 1
	version=${file##*/linux-} version=${version%.tar.xz}
	cached "$version" || return 1
	fits "$file" || return 1
	use "$file" "$version" "$HAVE"
	say "Linux $version in place of $VERSION, from $STORE: every patch applies"
}

main() {
	if [ -n "${KDIR:-}" ]; then
		say "nothing to get: KDIR=$KDIR is the base"
		return
	fi
	need git git
	need xz xz-utils
	mkdir -p "$STORE" "$BUILD"
	exec 9>"$STORE/lock"
	flock 9
	find "$STORE" -maxdepth 1 -name 'tmp.*' -exec rm -rf {} +
	TMP=$(mktemp -d "$STORE/tmp.XXXXXX")
	if [ -n "${KERNEL_TARBALL:-}" ]; then
		own "$KERNEL_TARBALL"
	elif cached "$VERSION"; then
		use "$STORE/linux-$VERSION.tar.xz" "$VERSION" "$HAVE"
		say "Linux $VERSION is in $STORE, sha256 verified"
	else
		space "$STORE" 500
		fetch
	fi
}

trap cleanup EXIT
trap 'interrupted "nothing half done is left"' INT TERM HUP
main
