#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What make bench makes of figures: its parser, its limits, its table, its plot
# and its comparison of machine code.  A script plays the test, and two small
# objects play the kernels.

# shellcheck source=tests/lib.bash
. "$(dirname "$0")/lib.bash"
unset RESULTS ARCH MODE TESTS KOUT TREE VM_QEMU
export BUILD=$WORK/build BUILT=1 TMPDIR=$WORK

bench() {
	STATUS=0
	OUT_TEXT=$(env ARCH=x86_64 "$@" "$WORK/scripts/bench.sh" 2>&1 </dev/null) || STATUS=$?
}

# status WANTED OUT_TEXT...: what the last bench() came to, and said.
status() {
	local text

	[ "$STATUS" = "$1" ] || bad "its status is $STATUS, not $1"
	shift
	for text; do
		[[ $OUT_TEXT == *"$text"* ]] || bad "it does not say '$text'"
	done
}

# kernel DIR BODY: an object with functions of the names that are looked for.
kernel() {
	local name

	mkdir -p "$BUILD/$1"
	for name in kvm_vcpu_ioctl kvm_arch_vcpu_ioctl_run svm_handle_exit \
		    vmx_handle_exit vmx_vcpu_run __svm_vcpu_run __vmx_vcpu_run; do
		echo "int $name(int *x) { return x[7] + x[8]; }"
	done >"$WORK/kernel.c"
	echo "int svm_vcpu_run(int *x) { return $2; }" >>"$WORK/kernel.c"
	gcc -O2 -c -o "$BUILD/$1/vmlinux" "$WORK/kernel.c" || exit 1
}

# test_prints FACTOR: has the played test print figures, those of PIO on the
# series' kernel FACTOR as large as on the base's.
test_prints() {
	cat >"$WORK/scripts/selftests.sh" <<-END
	#!/bin/bash
	factor=$1
	END
	cat >>"$WORK/scripts/selftests.sh" <<-'END'
	[[ $VM_KOUT != *base-* ]] || factor=1
	say() { echo "# # bench $1 $2 ${3:-ticks} q1 $2 q3 $2 min $2 max $2"; }
	echo "# # a line that is none"
	for args in $TESTS; do
		case $args in
		*,-e*)	say pio "$(awk "BEGIN { print 3248 * $factor }")"
			for name in mmio-write mmio-read cpuid hypercall fault-in; do
				say $name 5000.12
			done ;;
		*)	[[ $args =~ -v,([0-9]+),-m,([0-9]+) ]]
			for type in none uffd fault-copy; do
				say "paging/$type/${BASH_REMATCH[1]}/${BASH_REMATCH[2]}" 20000
			done ;;
		esac
	done
	END
	chmod +x "$WORK/scripts/selftests.sh"
}

plot_is_xml() {
	python3 - "$BUILD/bench/paging.svg" <<-'END'
	import sys, xml.etree.ElementTree as tree
	root = tree.parse(sys.argv[1]).getroot()
	assert root.tag.endswith("svg"), root.tag
	titles = [x.text for x in root.iter() if x.get("class") == "title"]
	assert len(titles) == 4 and "x86_64" in titles, titles
	END
}

cp -r "$HERE/scripts" "$WORK/"
kernel x86_64 'x[7] + x[8]'
kernel base-x86_64 'x[7] + x[9]'

test_prints 1
bench
status 0 'ok 1 x86_64 pio differs' '+0.000 %' 'svm_vcpu_run is the same code'
[ "$(wc -l <"$BUILD/bench/results.tsv")" = 40 ] ||
	bad "results.tsv has $(wc -l <"$BUILD/bench/results.tsv") lines"
grep -P '^x86_64\tseries\twall\tpaging/uffd/4/4\t20000\tticks' \
	"$BUILD/bench/results.tsv" >/dev/null || bad 'a figure is not in results.tsv'
result the_same_passes

grep -F 'an exit for PIO | 3248 | 3248 | +0.00 % |' "$BUILD/bench/table.md" \
	>/dev/null || bad 'the table lacks an exit'
grep -F 'x86_64, 4 vCPUs, 4 MiB | 50000 | 50000 |' "$BUILD/bench/table.md" \
	>/dev/null || bad 'the table lacks pages a second'
result the_table

OUT_TEXT=$(plot_is_xml 2>&1) || bad 'the plot is no SVG'
result the_plot

cp "$BUILD/bench/results.tsv" "$WORK/results.tsv"
bench RESULTS="$WORK/results.tsv"
status 0 'ok 1 x86_64 pio differs'
result earlier_results

test_prints 1.01
bench
status 1 'not ok 1 x86_64 pio differs' '+1.000 %' '1 of '
result one_percent_more_fails

test_prints 0.99
bench
status 1 'not ok 1 x86_64 pio differs' '-1.000 %'
result one_percent_less_fails

grep -v "series.icount.fault-in" "$WORK/results.tsv" >"$WORK/less.tsv"
bench RESULTS="$WORK/less.tsv"
status 1 'not ok 2 x86_64 fault-in' 'it was not measured'
result a_missing_figure_fails

test_prints 1
kernel x86_64 '(x[7] + x[8]) * 3'
bench
status 1 'svm_vcpu_run is the same code' '1 of '
[ -s "$BUILD/bench/objects-x86_64/svm_vcpu_run.diff" ] || bad 'there is no diff'
result other_code_fails

rm "$BUILD/base-x86_64/vmlinux"
bench
status 1 'there is no base kernel for x86_64'
result no_kernel

bench RESULTS="$WORK/nowhere"
status 1 'is not a file'
bench ARCH=sparc
status 1 'ARCH=sparc is unknown'
result wrong_input

echo "1..$N"
[ "$FAILED" = 0 ]
