#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# tools/kvm/memory_fault in the test kernels: holes, and lazy restores from
# snapshots that are good, truncated, corrupt, or vanish while they are read.
# ARCHS="x86_64" takes one architecture alone.

set -euo pipefail
TOP=$(cd "$(dirname "$0")/.." && pwd -P)
ARCHS=${ARCHS:-x86_64 arm64}
TMP=$(mktemp -d)
trap 'rm -rf "$TMP"' EXIT
NR=0
FAILED=0

# A page of a file that the memory under it has lost: to read it is EIO.
poison_source() {
	cat <<'END'
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

int main(int argc, char **argv)
{
	int fd = argc == 3 ? open(argv[1], O_RDWR) : -1;
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			  strtoul(argv[2], NULL, 0));

	return page == MAP_FAILED || *page++ == 1 ||
	       madvise(page - 1, 4096, MADV_HWPOISON);
}
END
}

# The cases, for the shell in the guest.  check NAME STATUS TEXT COMMAND...: the
# command ends with this status and prints this (a regular expression).
cases() {
	cat <<'END'
vmm=/tests/memory_fault
cd /tmp
check() {
	name=$1 status=$2 text=$3
	shift 3
	"$@" >out 2>&1
	got=$?
	if [ $got = "$status" ] && grep -qE "$text" out; then
		echo "ok $name"
	else
		echo "not ok $name"
		echo "# status $got, not $status, or no '$text' in this:"
		sed 's/^/# /' out
	fi
}
copy() { cp good bad; }
damage() { copy; printf '\125\252' | dd of=bad bs=1 seek=$1 conv=notrunc 2>/dev/null; }
cut() { copy; truncate -s $1 bad; }
# slowly SECONDS COMMAND: does COMMAND while a slow restore of "bad" goes on
slowly() {
	$vmm restore bad --latency 20000 &
	vmm_pid=$!
	sleep 1
	"$@"
	wait $vmm_pid
}
interrupt() { kill -INT $vmm_pid; }
told='KVM_EXIT_MEMORY_FAULT +0x10[0-9a-f]+ +0x[0-9a-f]+'

$vmm snapshot good --size 1
memory=4096 gpa=0x10080000 offset=$((4096 + 0x80000))
size=$(stat -c %s good)

for access in 'read READ' 'write WRITE' 'execute EXEC'; do
	check "hole, ${access% *}" 0 "^${access% *} +-1 EFAULT +$told +${access#* } +finished, access done once" $vmm hole
done
for n in 1 2 5; do
	check "good, $n vCPUs" 0 'pages of the guest.s memory are as in the file' \
		$vmm restore good --verify --vcpus $n
done
check 'statistics' 0 'p50 [0-9.]+ us, p99 [0-9.]+ us' $vmm restore good --quiet
check 'accesses' 0 '[1-9][0-9]* reads, [1-9][0-9]* writes, [1-9][0-9]* instr' \
	$vmm restore good --quiet
check 'progress' 0 '100 %|9[0-9] %' $vmm restore good
check 'a fault that repeats' 1 'gpa 0x10[0-9a-f]+: .*the fault repeats' \
	$vmm restore good --read-only

: >bad
check 'empty' 1 'bad: truncated' $vmm restore bad
cut 20
check 'truncated in the header' 1 'bad: truncated' $vmm restore bad
cut 1000
check 'truncated in the checksums' 1 'bad: truncated' $vmm restore bad
cut $((size - 1))
check 'truncated by one byte' 1 'bad: truncated' $vmm restore bad
damage 0
check 'not a snapshot' 1 'bad: not a snapshot' $vmm restore bad
damage 8
check 'of another architecture' 1 'bad: .* another architecture' $vmm restore bad
damage 16
check 'corrupt size' 1 'bad: corrupt: the size' $vmm restore bad
damage 40
check 'corrupt checksums' 1 'bad: corrupt: the list' $vmm restore bad
damage $((offset + 100))
check 'corrupt page' 1 "gpa $gpa: bad: corrupt: the content" $vmm restore bad
check 'missing' 1 'none: No such file' $vmm restore none
check 'a folder' 1 '/tmp: not a file' $vmm restore /tmp

copy
check 'removed while it is read' 0 '^restored' slowly rm bad
copy
check 'truncated while it is read' 1 'gpa 0x10[0-9a-f]+: bad: truncated' \
	slowly truncate -s 4096 bad
copy
check 'interrupted' 1 'memory_fault: interrupted' slowly interrupt
copy
/tests/poison bad $offset
check 'I/O error' 1 "gpa $gpa: bad: Input/output error" $vmm restore bad

check 'no command' 2 'usage' $vmm
check 'unknown command' 2 'unknown command: frobnicate' $vmm frobnicate
check 'no vCPU' 2 'at least one vCPU' $vmm restore good --vcpus 0
check 'a bad number' 2 'takes a number' $vmm restore good --vcpus two
check 'two snapshots' 2 'takes one snapshot' $vmm restore good good
rm /dev/kvm
check 'no /dev/kvm' 2 '/dev/kvm: No such file' $vmm hole
echo 'end of the cases'
END
}

# number ARCH: TAP for the lines of one guest.
number() {
	local line

	while IFS= read -r line; do
		case $line in
		'ok '*)
			NR=$((NR + 1))
			echo "ok $NR $1: ${line#ok }" ;;
		'not ok '*)
			NR=$((NR + 1)) FAILED=$((FAILED + 1))
			echo "not ok $NR $1: ${line#not ok }" ;;
		'# '*)
			echo "$line" ;;
		esac
	done <"$TMP/out-$1"
}

run() {
	local arch=$1 dir=$TMP/$1 gcc=gcc program

	[ "$arch" = "$(uname -m)" ] || [ "$arch" = x86_64 ] || gcc=aarch64-linux-gnu-gcc
	mkdir "$dir"
	program=$(ARCH=$arch "$TOP/scripts/vmm.sh")
	cases >"$dir/cases"
	poison_source >"$dir/poison.c"
	"$gcc" -static -o "$dir/poison" "$dir/poison.c"
	ARCH=$arch MODE='' LIMIT=${LIMIT:-120} CMD='sh /tests/cases' \
		ADD="$program $dir/cases $dir/poison" \
		"$TOP/scripts/boot.sh" >"$TMP/out-$arch" 2>"$TMP/err-$arch" || true
	number "$arch"
	NR=$((NR + 1))
	if grep -qx 'end of the cases' "$TMP/out-$arch"; then
		echo "ok $NR $arch: all cases ran"
	else
		echo "not ok $NR $arch: all cases ran"
		FAILED=$((FAILED + 1))
		sed 's/^/# /' "$TMP/err-$arch"
	fi
}

for arch in $ARCHS; do
	run "$arch"
done
echo "1..$NR"
[ $FAILED = 0 ]
