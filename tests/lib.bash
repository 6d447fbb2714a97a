# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced by tests of the scripts that handle the series: a clone of this
# repository with a small series of its own, for a small kernel, without a
# network. Results are TAP.

set -u
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
N=0 FAILED=0
export XDG_CACHE_HOME=$WORK/cache HOME=$WORK/home
export GIT_CONFIG_NOSYSTEM=1
unset KDIR KERNEL_TARBALL BUILD JOBS V OUT FORCE ARCH MODE MAKEFLAGS MAKELEVEL
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE

# What the last run() printed, and its status.
OUT_TEXT='' STATUS=0

run() {
	STATUS=0
	OUT_TEXT=$("$@" 2>&1 </dev/null) || STATUS=$?
}

# result NAME: of the commands since the last one; BAD says what was wrong.
BAD=''
result() {
	N=$((N + 1))
	if [ -z "$BAD" ]; then
		echo "ok $N $1"
	else
		FAILED=$((FAILED + 1))
		echo "not ok $N $1"
		printf '%s\n' "$BAD" "last output ($STATUS):" "$OUT_TEXT" |
			sed 's/^/# /'
	fi
	BAD=''
}

bad() { BAD+="${BAD:+; }$*"; }

# ok TEXT..., fails TEXT...: the last run did, and said each of the texts.
ok() { [ "$STATUS" = 0 ] || bad "it failed"; says "$@"; }
fails() { [ "$STATUS" != 0 ] || bad "it did not fail"; says "$@"; }

says() {
	local text
	for text; do
		[[ $OUT_TEXT == *"$text"* ]] || bad "it does not say '$text'"
	done
}

# same WHAT A B
same() { [ "$2" = "$3" ] || bad "$1: '$2' is not '$3'"; }

finish() {
	echo "1..$N"
	[ "$FAILED" = 0 ]
}

# kernel DIR VERSION: a source tree with the files that matter.
kernel() {
	mkdir -p "$1"/{virt/kvm,include/linux,arch/x86/kvm,drivers,LICENSES}
	printf 'VERSION = %s\nPATCHLEVEL = %s\nSUBLEVEL = %s\nEXTRAVERSION =\n' \
		"${2%%.*}" "$(cut -d. -f2 <<<"$2")" "${2##*.}" >"$1/Makefile"
	printf '%s\n' '.*' '*.o' '*.patch' '/*' '!/debian/' >"$1/.gitignore"
	seq -f 'line %g' 60 >"$1/virt/kvm/kvm_main.c"
	seq -f 'obj-y += %g.o' 20 >"$1/virt/kvm/Makefile.kvm"
	seq -f 'mmu %g' 40 >"$1/arch/x86/kvm/mmu.c"
	echo 'int x;' >"$1/drivers/driver.c"
	echo 'MAINTAINERS' >"$1/MAINTAINERS"
	echo 'GPL' >"$1/LICENSES/GPL-2.0"
	echo '#define X' >"$1/include/linux/x.h"
}

# tarball DIR FILE: as Debian packs it.
tarball() {
	tar -C "$(dirname "$1")" -caf "$2" --sort=name \
		--transform "s,^$(basename "$1"),linux-source-7.3," "$(basename "$1")"
}

# clone DIR: this repository's scripts, with a base and a series of its own.
clone() {
	mkdir -p "$1"/{patches,virt/kvm}
	cp -r "$HERE/Makefile" "$HERE/scripts" "$1/"
	printf '/build/\n' >"$1/.gitignore"
	cat >"$1/base" <<-END
	VERSION=7.3.4
	PACKAGE=linux-source-7.3
	SHA256=$(sha256sum "$WORK/linux.tar.xz" | cut -d' ' -f1)
	END
	git -C "$1" init -q
	git -C "$1" config user.name Tester
	git -C "$1" config user.email tester@example.org
	series "$1"
	git -C "$1" add -A
	git -C "$1" commit -qm 'A small series'
}

# series DIR: two patches, the first of which adds a file.
series() {
	cat >"$1/patches/series" <<-'END'
	# SPDX-License-Identifier: GPL-2.0-only
	0001-KVM-Add-a-file.patch
	# adds virt/kvm/added.c
	0002-KVM-Change-two-files.patch
	END
	echo '/* added */' >"$1/virt/kvm/added.c"
	patch_that_adds "$1/patches/0001-KVM-Add-a-file.patch"
	patch_that_changes "$1/patches/0002-KVM-Change-two-files.patch"
}

patch_that_adds() {
	cat >"$1" <<-'END'
	From: Zoë Author <zoe@example.org>
	Subject: KVM: Add a file

	Add a file.
	---
	 virt/kvm/Makefile.kvm | 1 +
	 1 file changed, 1 insertion(+)

	diff --git a/virt/kvm/Makefile.kvm b/virt/kvm/Makefile.kvm
	--- a/virt/kvm/Makefile.kvm
	+++ b/virt/kvm/Makefile.kvm
	@@ -8,6 +8,7 @@ obj-y += 7.o
	 obj-y += 8.o
	 obj-y += 9.o
	 obj-y += 10.o
	+obj-y += added.o
	 obj-y += 11.o
	 obj-y += 12.o
	 obj-y += 13.o
	END
}

patch_that_changes() {
	cat >"$1" <<-'END'
	From: Tester <tester@example.org>
	Subject: KVM: Change two files

	Change them.
	---
	 arch/x86/kvm/mmu.c  | 1 +
	 virt/kvm/kvm_main.c | 1 +
	 2 files changed, 2 insertions(+)

	diff --git a/arch/x86/kvm/mmu.c b/arch/x86/kvm/mmu.c
	--- a/arch/x86/kvm/mmu.c
	+++ b/arch/x86/kvm/mmu.c
	@@ -18,6 +18,7 @@ mmu 17
	 mmu 18
	 mmu 19
	 mmu 20
	+mmu twenty and a half
	 mmu 21
	 mmu 22
	 mmu 23
	diff --git a/virt/kvm/kvm_main.c b/virt/kvm/kvm_main.c
	--- a/virt/kvm/kvm_main.c
	+++ b/virt/kvm/kvm_main.c
	@@ -38,6 +38,7 @@ line 37
	 line 38
	 line 39
	 line 40
	+line forty and a half
	 line 41
	 line 42
	 line 43
	END
}

# cached: the base is in the cache, as after an earlier 'make base'.
cached() {
	local store=$XDG_CACHE_HOME/kvm-memory-fault/base
	mkdir -p "$store"
	cp "$WORK/linux.tar.xz" "$store/linux-7.3.4.tar.xz"
	(cd "$store" && sha256sum linux-7.3.4.tar.xz >linux-7.3.4.tar.xz.sha256)
}

# listing DIR: every file with its content, for a comparison.
listing() {
	(cd "$1" && find . -name .git -prune -o \( -type f -printf '%p %m ' \
		-exec sha256sum {} \; \) -o -printf '%p\n' | sort)
}

mkdir -p "$HOME"
kernel "$WORK/linux" 7.3.4
tarball "$WORK/linux" "$WORK/linux.tar.xz"
TOP=$WORK/clone
clone "$TOP"
echo 'TAP version 13'
