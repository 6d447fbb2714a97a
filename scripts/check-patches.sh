#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# make check-patches: what a maintainer's build machines would find, as TAP.
# Each commit of build/tree, in turn, builds for x86-64 and arm64, with the
# selftests that it touches. The last one builds in other configurations, for
# other architectures and with clang, and nothing says what it does not say
# about the unpatched base.
#
# ONLY=NUMBER|TEXT    the patch of that number, or what has TEXT in its name
# FORCE=1             also what earlier runs have proved

SELF=check-patches
# What build/tree has of the user's stays, whatever FORCE says.
FORCED=${FORCE:-} ONLY=${ONLY:-}
unset ARCH MODE TESTS CMD BASE TREE KOUT FLAVOR FORCE
# Messages are compared.
export LC_ALL=C
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/patches.sh
. "$TOP/scripts/patches.sh"
# shellcheck source=scripts/target.sh
. "$TOP/scripts/target.sh"
# shellcheck source=scripts/check-tree.sh
. "$TOP/scripts/check-tree.sh"
# shellcheck source=scripts/check-tip.sh
. "$TOP/scripts/check-tip.sh"

# Proofs, by what they are about; a new number voids the old ones.
STORE=$CACHE/check-1
KVM_TESTS=tools/testing/selftests/kvm
TMP=
COUNT=0 BAD=0 SKIPPED=0
declare -A VERSIONS=()

cleanup() {
	job_kill
	[ -z "$TMP" ] || rm -rf "$TMP"
}

# wanted NAME [NUMBER]: by ONLY.
wanted() {
	[ -n "$ONLY" ] || return 0
	if [[ $ONLY =~ ^[0-9]+$ ]]; then
		[ "$((10#$ONLY))" = "${2:-}" ]
	else
		[[ $1 == *"$ONLY"* ]]
	fi
}

# pass NAME REMARK
pass() {
	COUNT=$((COUNT + 1))
	echo "ok $COUNT $1${2:+ # $2}"
}

# key NAME WHAT...: one hash of all that decides a result.
key() {
	local version=${VERSIONS[$COMPILER]:-}
	[ -n "$version" ] || {
		version=$("$COMPILER" --version 2>/dev/null | head -n 1 || true)
		VERSIONS[$COMPILER]=$version
	}
	printf '%s\n' "$BASE_ID" "$version" "$@" | sha256sum | cut -c1-32
}

# check NAME ONLY KEY COMMAND...: it passes when it is silent and content. 77
# skips. A pass is remembered.
check() {
	local name=$1 only=$2 key=$3 rc=0 start=$SECONDS
	shift 3
	LOG=$LOGS/check-$(tr -cs 'A-Za-z0-9_\n' - <<<"$name" | cut -c1-60).log
	if [ -z "$FORCED" ] && [ -f "$STORE/$key" ]; then
		pass "$name" "proved before"
		return
	fi
	"$@" >"$TMP/out" 2>&1 || rc=$?
	if [ "$rc" = 77 ]; then
		SKIPPED=$((SKIPPED + 1))
		pass "$name" "SKIP $(head -n 1 "$TMP/out")"
	elif [ "$rc" = 0 ] && [ ! -s "$TMP/out" ]; then
		pass "$name" "$(mmss $((SECONDS - start)))"
		rm -f "$LOG"
		: >"$STORE/$key"
	else
		COUNT=$((COUNT + 1)) BAD=$((BAD + 1))
		echo "not ok $COUNT $name"
		head -n 40 "$TMP/out" | sed 's/^/#   /'
		[ ! -f "$LOG" ] || echo "# the whole log of it: $LOG"
		echo "# repeat with: make check-patches ONLY='$only'"
	fi
}

# source_id COMMIT: of what a kernel for ARCH is made of.
source_id() {
	{
		g -C "$SERIES" ls-tree "$1" |
			grep -vE "	(Documentation|LICENSES|MAINTAINERS|tools|arch)$" || true
		g -C "$SERIES" ls-tree "$1" arch/Kconfig "arch/$SRCARCH" tools/include tools/objtool \
			tools/arch tools/lib tools/build tools/scripts
	} | sha256sum
}

# tests_id COMMIT: of what selftests for ARCH are made of.
tests_id() {
	g -C "$SERIES" ls-tree "$1" tools/testing/selftests/ tools/include tools/arch \
		tools/lib tools/build include/uapi "arch/$SRCARCH/include" | sha256sum
}

# changed COMMIT PATH...
changed() { g -C "$SERIES" diff-tree -r --name-only "$1^" "$1" -- "${@:2}"; }

# tests_list: the selftests of the commit in CHECK, for ARCH.
tests_list() {
	# shellcheck disable=SC2016  # for make
	local mk='include Makefile.kvm
list: ; @echo $(TEST_GEN_PROGS_$(ARCH))'
	make -s -C "$CHECK/$KVM_TESTS" -f - ARCH="$SRCARCH" OUTPUT="$TMP" list \
		<<<"$mk" 2>/dev/null | tr ' ' '\n' | grep . | sort
}

# tests_of COMMIT: those that it changes; when it changes no more than the
# library, the first that links with it.
tests_of() {
	local other='(lib|include)/(x86|arm64|riscv|s390|loongarch)/' tests
	tests=$(comm -12 <(tests_list) \
		<(changed "$1" "$KVM_TESTS" | sed -n "s,^$KVM_TESTS/\(.*\)\.c$,\1,p" | sort))
	[ -z "$tests" ] || { echo "$tests"; return; }
	changed "$1" "$KVM_TESTS" | sed "s,^$KVM_TESTS/,," |
		grep -E '^(lib|include)/' | grep -vE "^$other" >/dev/null ||
		changed "$1" "$KVM_TESTS/lib/$SRCARCH" "$KVM_TESTS/include/$SRCARCH" |
		grep . >/dev/null || return 0
	tests_list | head -n 1
}

# smake ARG...: the make of the selftests.
smake() {
	# shellcheck disable=SC2031  # set by job
	${KMAKE_EXEC:-} env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES -u MAKELEVEL -u V \
		-u BUILD CCACHE_BASEDIR="$CHECK" CCACHE_NOHASHDIR=1 LDFLAGS=-static \
		make -s -k -j"$JOBS" -C "$CHECK/$KVM_TESTS" ARCH="$SRCARCH" \
		CROSS_COMPILE="$CROSS" CC="$CC" OUTPUT="$KOUT/selftests" \
		abs_objdir="$KOUT/selftests" \
		KHDR_INCLUDES="-isystem $KOUT/usr/include" "$@"
}

# selftests COMMIT [WHICH]: WHICH lists those to build, as tests_list does.
selftests() {
	local list rc=0
	compiler_there || return 77
	checkout "$1" || return 1
	list=$("${2:-tests_list}" "$1") || return 1
	[ -n "$list" ] || return 0
	mkdir -p "$KOUT/selftests/tools"
	# Whatever AGAIN is to say, it has to compile.
	[ -z "${AGAIN:-}" ] || find "$KOUT/selftests" -name '*.o' -delete
	: >"$LOG"
	mapfile -t list <<<"$list"
	job kmake -s headers >>"$LOG" 2>&1 &&
		job smake "${list[@]/#/$KOUT/selftests/}" >>"$LOG" 2>&1 || rc=$?
	complaints "$LOG" "$rc"
	return "$rc"
}

# example COMMIT: the VMM in tools/kvm.
example() {
	local rc=0
	checkout "$1" || return 1
	: >"$LOG"
	mkdir -p "$KOUT/memory_fault"
	job kmake -s headers >>"$LOG" 2>&1 &&
		job env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES -u V make \
			-C "$CHECK/tools/kvm/memory_fault" O="$KOUT/memory_fault" \
			CC="$COMPILER" KHDR="$KOUT/usr/include" >>"$LOG" 2>&1 || rc=$?
	complaints "$LOG" "$rc"
	return "$rc"
}

# base_built: what the base complains about in KOUT, and which symbols KVM has
# from the rest of the kernel, in the files SAID and IMPORTS. Built, when they
# are not known.
base_built() {
	local rc=0 id
	id=$(key base "$ARCH" "$(fragments)")
	SAID=$STORE/said-$id IMPORTS=$STORE/imports-$id
	[ ! -f "$SAID" ] || return 0
	build "$BASE" '' "arch/$SRCARCH/kvm/" >"$TMP/said" || rc=$?
	[ "$rc" = 0 ] || {
		echo "the base itself does not build:"
		cat "$TMP/said"
		return 1
	}
	imports >"$IMPORTS" && plain <"$TMP/said" >"$SAID.tmp" &&
		mv "$SAID.tmp" "$SAID"
}

# linked COMMIT: builds KVM, and looks whether each symbol that one part of it
# has from another is there, and exported. The whole kernel is linked for the
# last commit alone, as that takes as long as all the others.
linked() {
	local rc=0
	base_built || return 1
	build "$1" '' "arch/$SRCARCH/kvm/" >"$TMP/built" || rc=$?
	[ "$rc" != 0 ] || symbols >>"$TMP/built"
	unknown "$SAID" <"$TMP/built" >"$TMP/new"
	if [ "$rc" = 0 ] || [ -s "$TMP/new" ]; then
		cat "$TMP/new"
	else
		cat "$TMP/built"
	fi
	return "$rc"
}

# parts COMMIT: which parts of the commit there are to build for ARCH.
parts() {
	[ "$(source_id "$1")" = "$(source_id "$1^")" ] || echo kernel
	[ -z "$(changed "$1" "$KVM_TESTS")" ] || echo selftests
	[ -z "$(changed "$1" tools/kvm)" ] || echo example
}

# commit_builds COMMIT PART...
commit_builds() {
	local commit=$1 part rc=0
	shift
	for part; do
		target "$ARCH"
		case $part in
		kernel) linked "$commit" || rc=1 ;;
		selftests) target "$ARCH" selftests
			selftests "$commit" tests_of || rc=1 ;;
		example) target "$ARCH" selftests; example "$commit" || rc=1 ;;
		esac
	done
	return "$rc"
}

# commits: one result for each, and each of the two architectures.
commits() {
	local commit nr=0 name arch part
	for commit in "${COMMITS[@]}"; do
		nr=$((nr + 1))
		for arch in x86_64 arm64; do
			name="$(printf %04d $nr) $arch: $(g -C "$SERIES" log -1 --format=%s "$commit")"
			wanted "$name" "$nr" || continue
			target "$arch"
			mapfile -t part < <(parts "$commit")
			if [ ${#part[@]} = 0 ]; then
				pass "$name" "nothing to build"
				continue
			fi
			check "$name" "$nr" "$(commit_key "$commit" "${part[@]}")" \
				commit_builds "$commit" "${part[@]}"
		done
	done
}

# commit_key COMMIT PART...
commit_key() {
	local part ids=()
	for part in "${@:2}"; do
		case $part in
		kernel) ids+=("$(source_id "$1")" "$(fragments)") ;;
		selftests) ids+=("$(tests_id "$1")" "$(changed "$1" "$KVM_TESTS")") ;;
		example) ids+=("$(g -C "$SERIES" rev-parse "$1:tools/kvm")") ;;
		esac
	done
	key "$ARCH" "${ids[@]}"
}

main() {
	need git git
	need "${CROSS}gcc" build-essential
	need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
	[ -z "$ONLY" ] || [[ $ONLY != *$'\n'* ]] || die "ONLY= is one line"
	"$TOP/scripts/tree.sh" >&2
	space "$BUILD" 8000
	mkdir -p "$LOGS" "$STORE" "$CHECK"
	exec 7>"$CHECK/.lock"
	flock -n 7 || die "another make check-patches is at work in $CHECK"
	TMP=$(mktemp -d)
	BASE=$(g -C "$SERIES" rev-parse refs/kmf/base)
	TIP=$(g -C "$SERIES" rev-parse HEAD)
	BASE_ID="$(cat "$SERIES/.git/kmf-base") $(g -C "$SERIES" rev-parse "$BASE^{tree}")"
	mapfile -t COMMITS < <(g -C "$SERIES" rev-list --reverse "$BASE..$TIP")
	[ ${#COMMITS[@]} -gt 0 ] || die "$SERIES has no commits on top of the base"
	echo "TAP version 13"
	commits
	tip
	echo "1..$COUNT"
	[ "$COUNT" != 0 ] || die "ONLY=$ONLY is no number up to ${#COMMITS[@]}, nor" \
		"part of a name: run 'make check-patches' for those"
	echo "# $((COUNT - BAD - SKIPPED)) passed, $BAD failed, $SKIPPED skipped;" \
		"took $(mmss $SECONDS)"
	[ "$BAD" = 0 ]
}

trap cleanup EXIT
trap 'interrupted "the next run goes on from here"' INT TERM HUP
main
