#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# make tree, make refresh and make series: nothing of the user's is lost, and
# what does not change is written the same.
# shellcheck source=tests/lib.bash
. "$(dirname "$0")/lib.bash"

T=$TOP/build/tree
m() { run make -s --no-print-directory -C "$TOP" "$@"; }
t() { git -C "$T" "$@"; }
clean() { same 'git status' "$(git -C "$TOP" status --porcelain)" ''; }
commit() { t add -A && t commit -qm "$1

Why."; }

cached
m tree
ok 'Linux 7.3.4 and 2 patches'
same commits "$(t log --format=%s | paste -sd,)" \
	'KVM: Change two files,KVM: Add a file,Linux 7.3.4'
same author "$(t log -1 --format='%an <%ae>' HEAD~1)" \
	'Zoë Author <zoe@example.org>'
same 'added file' "$(cat "$T/virt/kvm/added.c")" '/* added */'
same 'git status' "$(t status --porcelain)" ''
[ -f "$T/drivers/driver.c" ] || bad 'the source is not whole'
result 'tree: the base, then a commit a patch'

before=$(t rev-parse HEAD)
stamp=$(stat -c %y "$T/arch/x86/kvm/mmu.c")
m tree
ok
same HEAD "$(t rev-parse HEAD)" "$before"
same time "$(stat -c %y "$T/arch/x86/kvm/mmu.c")" "$stamp"
result 'tree: a second run touches nothing'

m refresh
ok '2 patches, 1 added files'
clean
result 'refresh: git is clean after tree and refresh'

rm -rf "$T"
m tree
same HEAD "$(t rev-parse HEAD)" "$before"
result 'tree: equal content, equal hashes'

echo '/* changed */' >>"$TOP/virt/kvm/added.c"
m tree
ok
same 'added file' "$(tail -n 1 "$T/virt/kvm/added.c")" '/* changed */'
result 'tree: takes up a changed file'

git -C "$TOP" checkout -q .
m tree
echo 'edit' >>"$T/virt/kvm/kvm_main.c"
m tree
ok 'has edits of yours, which stay'
m refresh
fails 'not committed (virt/kvm/kvm_main.c)'
echo '# more' >>"$TOP/patches/0001-KVM-Add-a-file.patch"
m tree
fails 'make refresh' 'FORCE=1'
same edit "$(tail -n 1 "$T/virt/kvm/kvm_main.c")" edit
m clean
fails 'make refresh'
git -C "$TOP" checkout -q .
m tree FORCE=1
ok
same 'git status' "$(t status --porcelain)" ''
result 'tree: never throws away edits, but for FORCE=1'

echo 'new line' >>"$T/virt/kvm/kvm_main.c"
echo '/* new */' >"$T/virt/kvm/new.c"
commit 'KVM: Add "more", [with] brackets'
m refresh
ok '3 patches, 2 added files'
same series "$(tail -n 2 "$TOP/patches/series" | paste -sd,)" \
	'0003-KVM-Add-more-with-brackets.patch,# adds virt/kvm/new.c'
same 'new file' "$(cat "$TOP/virt/kvm/new.c")" '/* new */'
! grep -q new.c "$TOP/patches/0003-KVM-Add-more-with-brackets.patch" ||
	bad 'the patch has the added file too'
! grep -rq '^index ' "$TOP/patches" || bad 'the patches have hashes'
result 'refresh: a new commit becomes a patch and its files'

head=$(t rev-parse 'HEAD^{tree}')
m tree FORCE=1
m tree
rm -rf "$T"
m tree
same tree "$(t rev-parse 'HEAD^{tree}')" "$head"
same subject "$(t log -1 --format=%s)" 'KVM: Add "more", [with] brackets'
result 'refresh: and the patch becomes the commit again'

cp -r "$WORK/linux" "$WORK/quilt"
(cd "$TOP" && cp -r virt "$WORK/quilt/")
run env -C "$WORK/quilt" QUILT_PATCHES="$TOP/patches" quilt push -a
ok
for file in virt/kvm/kvm_main.c virt/kvm/new.c virt/kvm/Makefile.kvm \
		arch/x86/kvm/mmu.c; do
	cmp -s "$WORK/quilt/$file" "$T/$file" || bad "$file differs"
done
result 'quilt: cp and quilt push -a give the same tree'

t reset -q --hard HEAD~1
m refresh
ok '2 patches, 1 added files'
[ ! -e "$TOP/virt/kvm/new.c" ] || bad 'virt/kvm/new.c is still there'
clean
result 'refresh: files that left the series leave the folders'

echo '/* late */' >>"$T/virt/kvm/added.c"
commit 'KVM: Change an added file'
m refresh
fails '"KVM: Change an added file"' '"KVM: Add a file"' squash
clean
t reset -q --hard HEAD~1
result 'refresh: an added file is not changed later'

t add -f drivers/driver.c
t commit -qm 'KVM: Track a file of the kernel'
m refresh
fails 'drivers/driver.c is in Linux already'
t reset -q --soft HEAD~1 && t rm -q --cached drivers/driver.c
echo x >"$T/virt/kvm/only.c"
commit 'KVM: Only add'
m refresh
fails 'only adds files'
t reset -q --hard HEAD~1
echo x >>"$T/virt/kvm/kvm_main.c"
t commit -qam 'KVM: Break the mail

--- this ends the text
---
and this is lost'
m refresh
fails 'does not survive'
t reset -q --hard HEAD~1
echo '# more' >>"$TOP/patches/series"
sed -i 's/Add a file\./Add one./' "$TOP/patches/0001-KVM-Add-a-file.patch"
echo x >>"$T/virt/kvm/kvm_main.c"
commit 'KVM: Meanwhile'
m refresh
fails "since 'make tree'"
git -C "$TOP" checkout -q .
t reset -q --hard HEAD~1
clean
result 'refresh: refuses what would not come back the same'

printf 'Cover subject\n\nCover text.\n' >"$TOP/cover"
m series OUT="$WORK/mails"
ok '2 mails'
same mails "$(find "$WORK/mails" -type f | wc -l)" 3
grep -q '^Subject: .*0/2\] Cover subject' "$WORK/mails/0000-cover-letter.patch" ||
	bad 'no subject'
grep -q '^Cover text' "$WORK/mails/0000-cover-letter.patch" || bad 'no text'
grep -q '^base-commit: ' "$WORK/mails/0000-cover-letter.patch" || bad 'no base'
cp -r "$WORK/linux" "$WORK/am"
(cd "$WORK/am" && git init -q && git add -f . &&
	git -c user.name=A -c user.email=a@b commit -qm base)
run git -C "$WORK/am" -c user.name=A -c user.email=a@b \
	am -q "$WORK"/mails/000[12]-*.patch
ok
same author "$(git -C "$WORK/am" log -1 --format=%an HEAD~1)" 'Zoë Author'
for file in virt/kvm/kvm_main.c virt/kvm/added.c; do
	cmp -s "$WORK/am/$file" "$T/$file" || bad "$file differs"
done
result 'series: mails that git am takes'

rm "$TOP/cover"
sed -i 's/^ line 41$/ line 4l/' "$TOP/patches/0002-KVM-Change-two-files.patch"
m tree
fails 'patches/0002-KVM-Change-two-files.patch does not apply' \
	virt/kvm/kvm_main.c '@@ -38,6 +38,7 @@'
same 'git status' "$(t status --porcelain)" ''
same HEAD "$(t rev-parse HEAD)" "$before"
git -C "$TOP" checkout -q .
result 'tree: a patch that does not apply changes nothing'

rm "$TOP/virt/kvm/added.c"
m tree
fails 'adds virt/kvm/added.c, which does not exist'
git -C "$TOP" checkout -q .
: >"$TOP/patches/series"
m tree
ok 'and 0 patches'
same HEAD "$(t log -1 --format=%s)" 'Linux 7.3.4'
git -C "$TOP" checkout -q .
result 'tree: a series without its files, and one without patches'

kernel "$WORK/own" 7.3.9
sed -i '5i more' "$WORK/own/virt/kvm/kvm_main.c"
before=$(listing "$WORK/own")
m tree KDIR="$WORK/own"
ok 'Linux 7.3.9 and 2 patches'
same KDIR "$(listing "$WORK/own")" "$before"
kernel "$WORK/old" 7.2.1
m tree KDIR="$WORK/old"
fails 'is Linux 7.2.1; the series is for 7.3.x'
m tree KDIR="$WORK/nowhere"
fails 'is not a kernel source'
result 'tree: KDIR= is copied, and is for 7.3'

mkdir -p "$T/.out-x86_64"
m tree
ok 'Linux 7.3.4 and 2 patches'
[ -d "$T/.out-x86_64" ] || bad 'the build output is gone'
result 'tree: a new base keeps the build output'

finish
