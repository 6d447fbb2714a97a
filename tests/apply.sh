#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# make apply: a tree that fits gets the series, any other stays as it was.
# shellcheck source=tests/lib.bash
. "$(dirname "$0")/lib.bash"

K=$WORK/k
apply() { run make -s --no-print-directory -C "$TOP" apply KDIR="$K"; }

# plain, git_tree: a fresh tree in $K.
plain() {
	rm -rf "$K"
	cp -r "$WORK/linux" "$K"
}
git_tree() {
	plain
	git -C "$K" init -q
	git -C "$K" config user.name User
	git -C "$K" config user.email user@example.org
	git -C "$K" add -f .
	git -C "$K" commit -qm base
}

# untouched COMMAND...: the tree is the same after it.
untouched() {
	local before after
	before=$(listing "$K")
	"$@"
	after=$(listing "$K")
	[ "$before" = "$after" ] || bad "the tree has changed"
}

plain
apply
ok 'has the series now: 2 patches, as files'
cmp -s "$K/virt/kvm/added.c" "$TOP/virt/kvm/added.c" || bad 'added.c is missing'
grep -qx 'line forty and a half' "$K/virt/kvm/kvm_main.c" || bad 'no edit'
same left "$(find "$K" -name '*kmf*')" ''
result 'a plain tree gets files'
untouched apply
ok 'has the series already'
result 'and the second time, nothing'

git_tree
apply
ok '2 patches, as commits'
same log "$(git -C "$K" log --format=%s,%an,%cn | paste -sd' ')" \
	'KVM: Change two files,Tester,User KVM: Add a file,Zoë Author,User base,User,User'
same status "$(git -C "$K" status --porcelain)" ''
head=$(git -C "$K" rev-parse HEAD)
result 'a git tree gets commits'
untouched apply
ok 'has the series already'
same HEAD "$(git -C "$K" rev-parse HEAD)" "$head"
result 'and the second time, nothing'

plain
sed -i '1,5s/^/moved\n/' "$K/virt/kvm/kvm_main.c"
apply
ok
same line "$(grep -n 'forty and' "$K/virt/kvm/kvm_main.c")" \
	'46:line forty and a half'
result 'a hunk may move'

for kind in plain git_tree; do
	$kind
	sed -i 's/^line 41$/line 4l/' "$K/virt/kvm/kvm_main.c"
	[ "$kind" = plain ] || git -C "$K" commit -qam other
	untouched apply
	fails 'patches/0002-KVM-Change-two-files.patch does not apply' \
		'virt/kvm/kvm_main.c, hunk @@ -38,6 +38,7 @@' \
		'is left as it was'
	result "fuzz is refused, with patch and hunk ($kind)"
done

plain
patch -s -p1 -d "$K" <"$TOP/patches/0001-KVM-Add-a-file.patch"
cp "$TOP/virt/kvm/added.c" "$K/virt/kvm/"
untouched apply
fails 'has the first 1 of 2 patches, up to 0001-KVM-Add-a-file.patch'
rm "$K/virt/kvm/added.c"
untouched apply
fails 'patches/0001-KVM-Add-a-file.patch does not apply' 'Makefile.kvm'
result 'a half-applied tree is refused'

plain
echo 'other' >"$K/virt/kvm/added.c"
untouched apply
fails 'it adds virt/kvm/added.c, which exists already'
result 'a file in the way is refused'

git_tree
echo edit >>"$K/include/linux/x.h"
untouched apply
fails 'has edits (include/linux/x.h)'
git -C "$K" checkout -q .
mkdir "$K/.git/rebase-apply"
untouched apply
fails 'in the middle of a rebase'
result 'a dirty git tree is refused'

git_tree
git -C "$K" config --unset user.name
git -C "$K" config --unset user.email
git -C "$K" config user.useConfigOnly true
untouched apply
fails 'who commits'
result 'a git tree without an identity is refused'

kernel "$WORK/k74" 7.4.0
K=$WORK/k74
untouched apply
fails 'is Linux 7.4.0; the series is for 7.3.x'
K=$WORK/nothing
mkdir "$K"
untouched apply
fails 'is not a kernel source'
K=$WORK/k
run make -s -C "$TOP" apply
fails 'make apply KDIR=tree'
result 'another release, no kernel, no KDIR'

# In the middle: a git that never ends, once the tries have begun.
mkdir "$WORK/slow"
cat >"$WORK/slow/git" <<END
#!/bin/bash
case "\$*" in *mailinfo*) touch "$WORK/reached"; sleep 20 ;; esac
exec $(command -v git) "\$@"
END
chmod +x "$WORK/slow/git"
plain
interrupted() {
	local pid
	rm -f "$WORK/reached"
	KDIR=$K PATH=$WORK/slow:$PATH setsid "$TOP/scripts/apply.sh" \
		>"$WORK/log" 2>&1 &
	pid=$!
	until [ -e "$WORK/reached" ]; do sleep 0.1; done
	kill -TERM -- -"$pid"
	wait "$pid"
	STATUS=$?
	OUT_TEXT=$(cat "$WORK/log")
}
untouched interrupted
fails 'interrupted' 'is left as it was'
apply
ok 'as files'
result 'an interrupted run changes nothing, the next one works'

# A disk that is full when the last file is written.
cat >"$WORK/slow/git" <<END
#!/bin/bash
case "\$*" in *cat-file*kvm_main.c) exit 1 ;; esac
exec $(command -v git) "\$@"
END
plain
full() { run env KDIR="$K" PATH="$WORK/slow:$PATH" "$TOP/scripts/apply.sh"; }
untouched full
fails 'is left as it was'
result 'a write that fails changes nothing'

finish
