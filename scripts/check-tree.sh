# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced by check-patches.sh after lib.sh, patches.sh and target.sh: a source
# tree of its own, in which one commit of build/tree after the other is checked
# out. Files that two commits share keep their times, so that the kernel's make
# compiles only what the step from one to the next touches.

SERIES=$BUILD/tree
CHECK=$BUILD/check-tree
# The commit in CHECK.
AT=''
# Of the job that runs, for the trap.
JOB=''

# job COMMAND...: as a child that an interruption can end.
job() {
	local rc=0
	(
		# shellcheck disable=SC2034  # for kmake
		KMAKE_EXEC='exec'
		if declare -F "$1" >/dev/null; then "$@"; else exec "$@"; fi
	) </dev/null &
	JOB=$!
	wait "$JOB" || rc=$?
	JOB=''
	return "$rc"
}

# The lock goes with it, so it has to be gone.
job_kill() {
	[ -z "$JOB" ] || ! kill -TERM "$JOB" 2>/dev/null || wait "$JOB" || true
}

# check_tree: makes CHECK, when it is missing or has another base.
check_tree() {
	local id
	id=$(cat "$SERIES/.git/kmf-base")
	[ "$(cat "$CHECK/.base-id" 2>/dev/null)" = "$id" ] || rm -f "$CHECK/.index"
	# A process of its own, where an error ends it.
	# shellcheck disable=SC2016  # for the inner shell
	bash -c '. "$1/scripts/lib.sh"; . "$1/scripts/target.sh"; TREE=$2
		base_tree_get' "$SELF" "$TOP" "$CHECK" >&"$STDERR"
}

# checkout COMMIT: its files, in CHECK.
checkout() {
	[ "$AT" != "$1" ] || return 0
	[ -n "$AT" ] || check_tree || return 1
	AT=''
	GIT_INDEX_FILE=$CHECK/.index g -C "$CHECK" --git-dir="$SERIES/.git" \
		--work-tree="$CHECK" read-tree --reset -u "$1" || return 1
	AT=$1
}

# target NAME [OUTPUT]: what kmake builds from now on, and where.
target() {
	# shellcheck disable=SC2034  # the variables are for kmake
	ARCH=$1 TREE=$CHECK KOUT=$CHECK/.out-$1-${2:-check} KARCH=$1
	case $1 in
	x86_64)	KARCH=x86 CROSS='' ;;
	i386)	CROSS='' ;;
	arm64)	CROSS=aarch64-linux-gnu- ;;
	riscv)	CROSS=riscv64-linux-gnu- ;;
	s390)	CROSS=s390x-linux-gnu- ;;
	*)	KARCH=x86 CROSS='' ;;
	esac
	SRCARCH=${KARCH/i386/x86}
	compiler "${CROSS}gcc"
}

compiler() {
	COMPILER=$1 CC=$1
	! command -v ccache >/dev/null || CC="ccache $1"
}

# compiler_there: says what is missing and how to get it.
compiler_there() {
	command -v "$COMPILER" >/dev/null || {
		echo "no $COMPILER (Debian: apt-get install $(tr _ - <<<"$COMPILER"))"
		return 77
	}
}

# overlay BELOW ABOVE: the lines of two fragments, ABOVE's for the symbols that
# both name.
overlay() {
	local above
	above=$(cat "$2")
	grep -vwFf <(grep -oE 'CONFIG_[A-Za-z0-9_]+' <<<"$above") "$1" || true
	printf '%s\n' "$above"
}

# lines FILE...: those of them that decide.
lines() { cat "$@" | grep -E '^(CONFIG_|# CONFIG_.* is not set)' || true; }

# settings WORD...: KVM_XEN=n as lines of a .config.
settings() {
	local word
	for word; do
		case $word in
		*=n) echo "# CONFIG_${word%=n} is not set" ;;
		*) echo "CONFIG_$word" ;;
		esac
	done
}

# fragments WORD...: what decides the configuration of ARCH.
fragments() {
	local below=() f
	case $ARCH in
	x86_64 | arm64)
		for f in common "$ARCH" series "series-$ARCH"; do
			[ ! -f "$TOP/configs/$f.config" ] ||
				below+=("$TOP/configs/$f.config")
		done ;;
	esac
	overlay <(overlay <(lines "${below[@]}" </dev/null) \
			  <(lines "$TOP/configs/check-$ARCH.config")) \
		<(settings "$@")
}

# known: the lines on stdin without the symbols of the series that the commit
# in CHECK does not have yet.
known() {
	local line
	while read -r line; do
		[[ ! $line =~ CONFIG_(KVM_[A-Z_]*KUNIT_TEST) ]] ||
			grep -qrx --include='Kconfig*' "config ${BASH_REMATCH[1]}" \
				"$CHECK/virt/kvm" "$CHECK/arch/$SRCARCH/kvm" || continue
		echo "$line"
	done
}

# configure WORD...: KOUT for the commit in CHECK. The lines that WORDs made,
# or else all, have to land.
configure() {
	local stamp lost want=$KOUT/.check-fragments
	mkdir -p "$KOUT"
	fragments "$@" | known >"$want"
	stamp=$( (cat "$want"; echo "$CC"
		g -C "$SERIES" ls-tree -r "$AT" -- virt/kvm "arch/$SRCARCH/kvm" |
			grep Kconfig) | sha256sum)
	[ "$(cat "$KOUT/.check-stamp" 2>/dev/null)" != "$stamp" ] || return 0
	rm -f "$KOUT/.check-stamp"
	job kmake -s KCONFIG_ALLCONFIG="$want" allnoconfig >>"$LOG" 2>&1 || return 1
	lost=$( { [ $# = 0 ] && cat "$want" || settings "$@"; } |
		grep -vxFf "$KOUT/.config" || true)
	[ -z "$lost" ] || {
		echo "not in .config, a dependency is missing: $(paste -sd' ' <<<"$lost")"
		return 1
	}
	echo "$stamp" >"$KOUT/.check-stamp"
}

# build COMMIT SETTINGS GOALS: prints what make complains about.
build() {
	local words goals rc=0
	read -ra words <<<"$2"
	read -ra goals <<<"$3"
	checkout "$1" || return 1
	: >"$LOG"
	configure "${words[@]}" || { tail -n 20 "$LOG"; return 1; }
	# Whatever AGAIN is to say, it has to compile.
	[ -z "${AGAIN:-}" ] ||
		find "$KOUT/arch/$SRCARCH/kvm" "$KOUT/virt" -name '*.o' -delete 2>/dev/null ||
		true
	[ -f "$KOUT/.check-begun" ] ||
		say "$ARCH in ${KOUT##*/} from nothing, which takes some minutes" >&"$STDERR"
	: >"$KOUT/.check-begun"
	job kmake -k -j"$JOBS" "${goals[@]}" >>"$LOG" 2>&1 || rc=$?
	complaints "$LOG" "$rc"
	return "$rc"
}

# parts_of_kvm: the objects that KVM's parts are linked from, modules or one.
parts_of_kvm() {
	local dir=arch/$SRCARCH/kvm
	if [ -s "$KOUT/$dir/modules.order" ]; then
		sed "s,^,$KOUT/," "$KOUT/$dir/modules.order"
	else
		echo "$KOUT/$dir/built-in.a"
	fi
}

# imports: the symbols that KVM has from the rest of the kernel.
imports() {
	local parts
	mapfile -t parts < <(parts_of_kvm)
	LC_ALL=C comm -23 \
		<("${CROSS}nm" -u -P "${parts[@]}" | awk 'NF > 1 { print $1 }' | LC_ALL=C sort -u) \
		<("${CROSS}nm" --defined-only -g -P "${parts[@]}" |
			awk 'NF > 1 { print $1 }' | LC_ALL=C sort -u)
}

# kernel_has SYMBOL: outside of KVM, for a symbol that the base's KVM does not
# use. Good enough for one commit, as the last one is linked.
kernel_has() {
	(cd "$CHECK" && grep -rqw --include='*.[cS]' --exclude-dir=kvm -e "$1" \
		"arch/$SRCARCH" kernel lib mm fs virt drivers)
}

# symbols: those that are missing, for the modules or the kernel to link.
symbols() {
	local name new=()
	for name in $(LC_ALL=C comm -23 <(imports) "$IMPORTS"); do
		if kernel_has "$name"; then
			new+=("$name")
		elif [ ! -s "$KOUT/arch/$SRCARCH/kvm/modules.order" ]; then
			echo "ERROR: $name is undefined"
		fi
	done
	[ -s "$KOUT/arch/$SRCARCH/kvm/modules.order" ] || return 0
	cat "$IMPORTS" <(printf '%s\n' "${new[@]}") |
		awk 'NF { printf "0x00000000\t%s\tvmlinux\tEXPORT_SYMBOL_GPL\t\n", $1 }' \
		>"$KOUT/.check-symvers"
	(cd "$KOUT" && scripts/mod/modpost -M -E -i .check-symvers -o .check-symvers.out \
		-T "arch/$SRCARCH/kvm/modules.order" 2>&1) | grep -v '^$' || true
}

# complaints LOG STATUS
complaints() {
	grep -aE '(warning|error): |^(ERROR|WARNING):|undefined reference|No rule to' "$1" |
		awk '!seen[$0]++' && return
	[ "$2" = 0 ] || tail -n 20 "$1"
}

# plain: messages without numbers of lines, which move, and without paths.
plain() {
	sed -E -e "s,$CHECK/(\.out-[^/]*/)?,,g" -e 's,(\.\./)+,,g' \
		-e 's/:[0-9]+(:[0-9]+)?\b/:/g'
}

# unknown FILE: the lines on stdin whose plain form is not in FILE.
unknown() {
	local line
	while IFS= read -r line; do
		grep -qxF -- "$(plain <<<"$line")" "$1" || printf '%s\n' "$line"
	done
}

# against_base HOW ARG...: HOW COMMIT ARG... prints what it complains about in
# the series; what it says about the base as well does not count.
against_base() {
	local how=$1 rc=0 base=0 new
	shift
	"$how" "$TIP" "$@" >"$TMP/tip" || rc=$?
	[ "$rc" != 77 ] || { cat "$TMP/tip"; return 77; }
	[ "$rc" != 0 ] || [ -s "$TMP/tip" ] || return 0
	# shellcheck disable=SC2153  # check-patches.sh sets it
	AGAIN=1 "$how" "$BASE" "$@" >"$TMP/base.raw" || base=$?
	plain <"$TMP/base.raw" >"$TMP/base"
	new=$(unknown "$TMP/base" <"$TMP/tip")
	if [ -n "$new" ]; then
		echo "$new"
		return 1
	fi
	[ "$rc" != 0 ] || return 0
	[ "$base" != 0 ] || { cat "$TMP/tip"; return 1; }
	echo "the base fails in the same way: $(grep -m1 -iE 'error|No rule' "$TMP/tip" ||
		head -n 1 "$TMP/tip")"
	return 77
}
