#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What the series costs, and what it buys, for ARCH (both, without it): the same
# memory_fault_perf_test runs on the unpatched base and with the series.
#
# QEMU's clock counts instructions (-icount), those of all CPUs, of user and
# kernel alike: the figures hold on a machine that is busy, and repeat.  What
# they don't hold is what an instruction costs, e.g. of a cache miss or of a
# world switch.  Pages a second are measured with the real clock, and depend on
# the machine and on what else it does.
#
# Leaves results.tsv, table.md, paging.svg and objects-<ARCH>.tsv in build/bench;
# the output is TAP: the hot path has to be the same, see LIMITS.
#
# BUILT=1 takes the kernels of build/ as they are.  RESULTS=FILE only judges and
# draws what an earlier run has measured.

SELF=bench
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

OUT=$BUILD/bench
TEST=memory_fault_perf_test
BUILT=${BUILT:-0}
RESULTS=${RESULTS:-}
COLUMNS=(arch kernel clock name median unit q1 q3 min max)
# Enough for the median to be past what a timer's interrupt adds to some.
SAMPLES=21
ICOUNT='-icount shift=0,sleep=off -rtc base=2026-01-01,clock=vm -seed 1'
# For paging, as x86 with more CPUs takes minutes to boot when it counts: it waits
# for a timer in a busy loop.
PAGING_CPUS=4
# Instructions are the same whatever the number of samples.
WALL_SAMPLES=5
NR=0 FAILED=0

# How much a figure may differ from the base's, in percent.  QEMU's SVM does
# not say where the next instruction is: KVM's emulator skips each that exits,
# apart from PIO, and emulates MMIO in any case.  It, not the run loop, does
# more than on the base, to find out whether memory is backed.
LIMITS='
x86_64	pio			0.1
x86_64	fault-in		0.1
x86_64	cpuid			1.5
x86_64	hypercall		1.5
x86_64	mmio-write		1.5
x86_64	mmio-read		1.5
arm64	mmio-write		0.1
arm64	mmio-read		0.1
arm64	hypercall		0.1
arm64	fault-in		0.1
'

# The run loops, from the ioctl to the instruction that enters the guest, and
# back to the handler of a fault; those marked have to be the same code.
declare -A OBJECTS
OBJECTS[x86_64]='kvm_vcpu_ioctl kvm_arch_vcpu_ioctl_run svm_vcpu_run=
	__svm_vcpu_run= svm_handle_exit vmx_vcpu_run= __vmx_vcpu_run=
	vmx_handle_exit kvm_mmu_page_fault kvm_tdp_page_fault'
OBJECTS[arm64]='kvm_vcpu_ioctl kvm_arch_vcpu_ioctl_run __kvm_vcpu_run=
	__kvm_vcpu_run_vhe= __kvm_nvhe___kvm_vcpu_run= __guest_enter=
	handle_exit handle_exit_early= kvm_handle_guest_abort'

# check NAME STATUS [WHY]: a line of TAP.
check() {
	NR=$((NR + 1))
	if [ "$2" = 0 ]; then
		echo "ok $NR $1"
	else
		FAILED=$((FAILED + 1))
		echo "not ok $NR $1"
	fi
	[ $# = 2 ] || echo "# ${*:3}"
}

kernel_of() { readlink -f "$BUILD/$([ "$1" = series ] || echo base-)$2" || true; }

kernels() {
	local arch kernel

	for arch; do
		if [ "$BUILT" = 0 ]; then
			BASE=0 ARCH=$arch "$TOP/scripts/kernel.sh" >&2
			BASE=1 ARCH=$arch "$TOP/scripts/kernel.sh" >&2
		fi
		for kernel in series base; do
			[ -f "$(kernel_of $kernel "$arch")/vmlinux" ] ||
				die "there is no $kernel kernel for $arch in $BUILD;" \
					"run without BUILT=1"
		done
	done
}

# measure ARCH KERNEL CLOCK CPUS RUN...: one guest, a line of results for each
# figure.  RUN is the test's arguments, with commas.
measure() {
	local arch=$1 kernel=$2 clock=$3 qemu="-smp $4" mode=npt start=$SECONDS
	local threads='' try tries=1

	shift 4
	[ "$arch" = x86_64 ] || mode=vhe
	if [ "$clock" != wall ]; then
		qemu+=" $ICOUNT"
	elif [ "$arch" = x86_64 ]; then
		# Else the CPUs would take turns.  See vm_threads() for what can fail.
		threads=multi tries=5
	fi
	for ((try = 1; ; try++)); do
		! env ARCH="$arch" MODE=$mode TESTS="${*/#/$TEST,}" V=1 LIMIT=1800 \
			VM_LIMIT=5400 VM_BOOT_SILENCE=300 VM_QEMU="$qemu" \
			VM_THREAD=$threads KOUT="$BUILD/$arch" \
			VM_KOUT="$(kernel_of "$kernel" "$arch")" \
			"$TOP/scripts/selftests.sh" >"$WORK/tap" 2>"$WORK/err" || break
		[ $try != $tries ] ||
			failed "$TEST failed on the $kernel kernel for $arch"
		warn "$TEST failed, try $try of $tries"
	done
	figures "$arch" "$kernel" "$clock" <"$WORK/tap" >>"$WORK/results.tsv"
	say "$arch, $kernel, $clock clock: $# runs of $TEST," \
		"$(mmss $((SECONDS - start)))" >&2
}

# failed WHY
failed() {
	grep -E '^not ok|^# \|' "$WORK/tap" | tail -n 20 >&2 || true
	tail -n 5 "$WORK/err" >&2
	die "$1"
}

# figures ARCH KERNEL CLOCK: what the test printed, as lines of results.tsv.
figures() {
	awk -v OFS='\t' -v where="$1	$2	$3" '
	$1 == "#" && $2 == "#" && $3 == "bench" {
		print where, $4, $5, $6, $8, $10, $12, $14
	}'
}

measure_all() {
	local arch counted wall vcpus mib

	for mib in 4 8 16; do counted+=("-pt,-s,1,-v,1,-m,$mib"); done
	for vcpus in 2 4; do counted+=("-pt,-s,1,-v,$vcpus,-m,8"); done
	for vcpus in 1 2 4; do wall+=("-p,-s,$WALL_SAMPLES,-v,$vcpus,-m,4"); done
	(IFS=$'\t'; echo "${COLUMNS[*]}") >"$WORK/results.tsv"
	for arch; do
		measure "$arch" base icount 1 "-et,-s,$SAMPLES"
		measure "$arch" series icount 1 "-et,-s,$SAMPLES"
		measure "$arch" base icount $PAGING_CPUS "-pt,-s,1,-v,1,-m,8"
		measure "$arch" series icount $PAGING_CPUS "${counted[@]}"
		measure "$arch" series wall $PAGING_CPUS "${wall[@]}"
	done
}

# figure ARCH KERNEL CLOCK NAME: the median.
figure() {
	awk -F '\t' -v a="$1" -v k="$2" -v c="$3" -v n="$4" '
	$1 == a && $2 == k && $3 == c && $4 == n { print $5 }' "$WORK/results.tsv"
}

# judge ARCH: the figures that LIMITS has.
judge() {
	local arch name limit base series percent

	while read -r arch name limit; do
		[ "$arch" = "$1" ] || continue
		base=$(figure "$arch" base icount "$name")
		series=$(figure "$arch" series icount "$name")
		if [ -z "$base" ] || [ -z "$series" ]; then
			check "$arch $name" 1 'it was not measured'
			continue
		fi
		percent=$(percent "$base" "$series")
		check "$arch $name differs by at most $limit %" \
			"$(awk -v p="$percent" -v l="$limit" \
				'BEGIN { print (p > l || p < -l) }')" \
			"base $base, series $series instructions: $percent %"
	done <<<"$LIMITS"
}

# percent BASE SERIES: how much more it is.
percent() {
	awk -v a="$1" -v b="$2" 'BEGIN { printf "%+.3f\n", (b - a) * 100 / a }'
}

# objects ARCH: the machine code of the run loops.
objects() {
	local list names=() name base series alike same objdump=objdump

	[ "$1" = x86_64 ] || objdump=aarch64-linux-gnu-objdump
	need "$objdump" binutils
	read -ra list -d '' <<<"${OBJECTS[$1]}" || true
	names=("${list[@]%=}")
	mkdir -p "$WORK/objects-$1"
	{
		printf 'function\tbase\tseries\taddresses alike\toffsets alike\tany order\n'
		"$TOP/scripts/bench-objects.py" --diff "$WORK/objects-$1" "$objdump" \
			"$(kernel_of base "$1")/vmlinux" \
			"$(kernel_of series "$1")/vmlinux" "${names[@]}"
	} >"$WORK/objects-$1.tsv"
	while IFS=$'\t' read -r name base series alike same _; do
		[[ " ${list[*]} " == *" $name= "* ]] || continue
		check "$1 $name is the same code" \
			"$([ "$same" = '-0 +0' ] && echo 0 || echo 1)" \
			"base $base, series $series instructions; that differ: $alike," \
			"with offsets into structures made alike: $same"
	done <"$WORK/objects-$1.tsv"
}

# table: the results, for people.
table() {
	awk -F '\t' -f "$TOP/scripts/bench-table.awk" "$WORK/results.tsv"
}

main() {
	local archs=("${ARCH:-x86_64}") arch

	[ -n "${ARCH:-}" ] || archs+=(arm64)
	case ${ARCH:-} in '' | x86_64 | arm64) ;;
	*)	die "ARCH=$ARCH is unknown; use x86_64 or arm64" ;;
	esac
	need python3 python3
	WORK=$(mktemp -d "${TMPDIR:-/tmp}/kvm-bench.XXXXXX")
	trap 'rm -rf "$WORK"' EXIT
	trap 'exit 130' INT TERM
	unset ARCH MODE TESTS CMD TREE KOUT
	if [ -n "$RESULTS" ]; then
		[ -f "$RESULTS" ] || die "RESULTS=$RESULTS is not a file"
		cp "$RESULTS" "$WORK/results.tsv"
	else
		kernels "${archs[@]}"
		measure_all "${archs[@]}"
	fi
	echo 'TAP version 13'
	for arch in "${archs[@]}"; do
		judge "$arch"
		[ -n "$RESULTS" ] || objects "$arch"
	done
	echo "1..$NR"
	table >"$WORK/table.md"
	"$TOP/scripts/bench-plot.py" "$WORK/results.tsv" >"$WORK/paging.svg"
	mkdir -p "$OUT"
	cp -r "$WORK"/{results.tsv,table.md,paging.svg} "$OUT/"
	[ -n "$RESULTS" ] || cp -r "$WORK"/objects-* "$OUT/"
	sed 's/^/# /' "$OUT/table.md"
	echo "# results.tsv, table.md and paging.svg are in $OUT; took $(mmss $SECONDS)"
	[ $FAILED = 0 ] || die "$FAILED of $NR checks failed"
}

main
