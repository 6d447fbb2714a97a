#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# scripts/check-patches.sh on a stand-in for the kernel: each commit is built
# alone, what fails is named, and what was proved stays proved.
# shellcheck source=tests/lib.bash
. "$(dirname "$0")/lib.bash"

command -v aarch64-linux-gnu-gcc >/dev/null || {
	echo '1..0 # SKIP no aarch64-linux-gnu-gcc'
	exit 0
}

# The stand-in compiles virt/kvm/part*.c, for each architecture in one piece.
cat >>"$WORK/linux/Makefile" <<'END'
ifneq ($(ARCH),)
allnoconfig: ; @cp $(KCONFIG_ALLCONFIG) $(O)/.config
FORCE:
arch/%/kvm/: FORCE
	@mkdir -p $(O)/$@; rm -f $(O)/$@/*.o $(O)/$@/*.a
	@for part in virt/kvm/part*.c; do \
		echo "  CC      $$part"; \
		$(CROSS_COMPILE)gcc -Wall -c -o $(O)/$@/$$(basename $$part .c).o $$part || exit; \
	done
	@$(CROSS_COMPILE)ar rcs $(O)/$@/built-in.a $(O)/$@/*.o
endif
END
mkdir -p "$WORK/linux/arch/arm64/kvm" "$WORK/linux/arch/x86/kvm"
printf '%s\n' 'int warned(void) { int unused; return 0; }' \
	'int helper(void); int uses(void) { return helper(); }' >"$WORK/linux/virt/kvm/part.c"
touch "$WORK/linux/arch/arm64/kvm/arm.c"
tarball "$WORK/linux" "$WORK/linux.tar.xz"
sed -i "s/^SHA256=.*/SHA256=$(sha256sum "$WORK/linux.tar.xz" | cut -d' ' -f1)/" "$TOP/base"
mkdir "$TOP/configs"
cp "$HERE"/configs/check-*.config "$TOP/configs/"

T=$TOP/build/tree
t() { git -C "$T" "$@"; }
commit() { t add -A && t commit -qm "$1

Why."; }
check() { run env "$@" "$TOP/scripts/check-patches.sh"; }
# Of the commits alone.
commits() { check ONLY='64: KVM: ' "$@"; }
lines() { same "lines with '$1'" "$(grep -c -- "$1" <<<"$OUT_TEXT")" "$2"; }

cached
commits
ok 'ok 1 0001 x86_64: KVM: Add a file' 'ok 4 0002 arm64: KVM: Change two files' \
	'4 passed, 0 failed, 0 skipped; took'
lines warning 0
[ -f "$TOP/build/check-tree/virt/kvm/added.c" ] || bad 'no tree of its own'
result 'each commit, each architecture; no warning that the base has'

commits
ok
lines 'proved before' 4
result 'a second run has the results'

commits FORCE=1
ok
lines 'proved before' 0
result 'FORCE=1 does it all again'

echo 'int broken(void) { return 1 }' >"$T/virt/kvm/part2.c"
commit 'KVM: Break the build'
echo 'int mended(void) { return 1; }' >"$T/virt/kvm/part2.c"
commit 'KVM: Mend it too late'
echo edit >>"$T/virt/kvm/kvm_main.c"
commits
fails 'not ok 5 0003 x86_64: KVM: Break the build' "expected ';' before '}'" \
	"make check-patches ONLY='3'" 'ok 8 0004 arm64: KVM: Mend it too late' '2 failed'
lines 'warning' 0
same edit "$(tail -n 1 "$T/virt/kvm/kvm_main.c")" edit
result 'a commit that does not build alone is found, the user'\''s edits stay'

check ONLY=3
fails 'not ok 1 0003 x86_64' 'not ok 2 0003 arm64' '1..2'
result 'ONLY=NUMBER repeats one'

t checkout -q virt/kvm/kvm_main.c
t reset -q --hard HEAD~2
echo 'int late(void) { int also; return 0; }' >"$T/virt/kvm/part2.c"
commit 'KVM: Warn'
commits
fails 'not ok 5 0003 x86_64: KVM: Warn' "unused variable 'also'"
lines "unused variable 'unused'" 0
result 'a new warning'

t reset -q --hard HEAD~1
echo 'int nowhere_else(void); int late(void) { return nowhere_else(); }' \
	>"$T/virt/kvm/part2.c"
commit 'KVM: Call what is not there'
commits
fails 'not ok 5 0003 x86_64: KVM: Call what is not there' \
	'ERROR: nowhere_else is undefined'
result 'an undefined symbol'

t reset -q --hard HEAD~1
echo more >>"$T/MAINTAINERS"
commit 'KVM: Change no code'
commits
ok '6 passed'
lines 'nothing to build' 2
result 'a commit without code'

echo 'int arm;' >>"$T/arch/arm64/kvm/arm.c"
commit 'KVM: Change one architecture'
commits
ok 'ok 7 0004 x86_64: KVM: Change one architecture # nothing to build'
result 'a commit for one architecture'

check ONLY=99
fails 'ONLY=99 is no number up to 4'
check ONLY=nonsense
fails 'nor part of a name'
result 'ONLY= that is nothing'

finish
