# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced after lib.sh: a run of stages, each a command with a limit in time.
#
#   stages_begin                      once, before the first
#   stage NAME LIMIT COMMAND...       runs it into a log, tells, counts
#   kernel ARCH                       a stage that builds a test kernel
#   guest NAME ARCH LIMIT COMMAND...  a stage that needs that kernel
#   skip NAME WHY
#   stages_end                        the last line, and the verdict

# CI ends after 90 minutes and must learn what failed before that.
TEST_LIMIT=${TEST_LIMIT:-5100}
PASSED=0 FAILED=0 SKIPPED=0
STAGE_PID='' KERNELS=' '

stage() {
	local name=$1 limit=$2 start=$SECONDS rc=0
	local log=$LOGS/test-${1//[ \/]/-}.log

	shift 2
	[ "$limit" -le $((TEST_LIMIT - SECONDS)) ] || limit=$((TEST_LIMIT - SECONDS))
	if [ "$limit" -le 0 ]; then
		count "$name" 0 'no time is left' 0 1 0
		return 1
	fi
	timeout -k 20 "$limit" "$@" >"$log" 2>&1 </dev/null &
	STAGE_PID=$!
	while kill -0 "$STAGE_PID" 2>/dev/null; do
		sleep 1
		[ $(((SECONDS - start) % 60)) != 59 ] ||
			say "$name: $(mmss $((SECONDS - start))) so far;" \
				"$(tail -n 1 "$log" | cut -c1-90)"
	done
	wait "$STAGE_PID" || rc=$?
	STAGE_PID=''
	judge "$name" "$rc" "$log" $((SECONDS - start)) "$limit"
}

# judge NAME STATUS LOG SECONDS LIMIT
judge() {
	local counts tap=0 p=0 f=0 s=0

	counts=$("$TOP/scripts/ktap.sh" <"$3") || tap=$?
	if [ $tap != 2 ] && [[ $counts =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped ]]; then
		p=${BASH_REMATCH[1]} f=${BASH_REMATCH[2]} s=${BASH_REMATCH[3]}
		[ "$2-$tap" = 0-0 ] || [ "$f" != 0 ] || f=1
	elif [ "$2" = 0 ]; then
		p=1 counts=''
	else
		f=1 counts=''
	fi
	[ "$2" != 124 ] || counts+="${counts:+, }stopped after $5 s"
	count "$1" "$4" "$counts" "$p" "$f" "$s"
	[ "$f" = 0 ] || {
		grep -aE -A 6 '^ *not ok|error:' "$3" | head -n 40 | sed 's/^/    /'
		say "the whole log of it: $3"
		return 1
	}
}

# count NAME SECONDS REMARK PASSED FAILED SKIPPED
count() {
	local word=ok

	PASSED=$((PASSED + $4)) FAILED=$((FAILED + $5)) SKIPPED=$((SKIPPED + $6))
	[ "$5" = 0 ] || word=FAILED
	say "$(printf '%-28s %-7s %6s  %s' "$1" "$word" "$(mmss "$2")" "$3")"
}

# skip NAME WHY
skip() {
	SKIPPED=$((SKIPPED + 1))
	say "$(printf '%-28s %-7s %6s  %s' "$1" skipped '' "$2")"
}


kernel() {
	! ARCH=$1 stage "kernel $1" 2400 "$TOP/scripts/kernel.sh" || KERNELS+="$1 "
}

# guest NAME ARCH LIMIT COMMAND...: a stage that needs ARCH's kernel.
guest() {
	local name=$1 arch=$2 limit=$3

	shift 3
	if [[ $KERNELS == *" $arch "* ]]; then
		stage "$name" "$limit" env ARCH="$arch" \
			KOUT="$BUILD/$arch${FLAVOR:+-$FLAVOR}" "$@" || true
	else
		skip "$name" "there is no $arch kernel"
	fi
}

# optional NAME LIMIT VERB: a stage of a script that may not be here.
optional() {
	if [ -x "$TOP/scripts/$3.sh" ]; then
		stage "$1" "$2" "$TOP/scripts/$3.sh" || true
	else
		skip "$1" 'not in this checkout'
	fi
}

stages_kill() {
	[ -z "$STAGE_PID" ] || kill -TERM "$STAGE_PID" 2>/dev/null || true
}

stages_begin() {
	mkdir -p "$LOGS"
	unset ARCH MODE TESTS CMD BASE TREE KOUT LIMIT
	trap stages_kill EXIT
	trap 'die interrupted' INT TERM
}

stages_end() {
	say "took $(mmss $SECONDS)"
	echo "$PASSED passed, $FAILED failed, $SKIPPED skipped"
	[ "$FAILED" = 0 ]
}
