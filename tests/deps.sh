#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# make deps, with an apt that only notes what it is asked to do.
# shellcheck source=tests/lib.bash
. "$(dirname "$0")/lib.bash"

export LOG=$WORK/log OS_RELEASE=$WORK/os-release DEPS_NEEDS STUB=$WORK/stub
mkdir -p "$WORK/bin" "$STUB"
# All commands of the machine but those that would change it.
find /usr/bin /bin /usr/sbin /sbin -maxdepth 1 \( -type f -o -type l \) \
	! -name 'apt*' ! -name 'dpkg*' ! -name sudo ! -name 'qemu-system*' \
	-exec ln -sft "$WORK/bin" {} + 2>/dev/null
cat >"$WORK/apt-get" <<'END'
#!/bin/bash
echo "apt-get $*" >>"$LOG"
case "$*" in
*indextargets*) echo 'http://mirror.example.org/debian/ bookworm' ;;
*" update"*)
	parts=$(sed -n 's/.*sourceparts=\([^ ]*\).*/\1/p' <<<"$*")
	cat "$parts"/kmf-* >>"$LOG" 2>/dev/null
	[ ! -e "$STUB/down" ] || {
		echo "E: Failed to fetch x Temporary failure resolving 'mirror'"
		exit 100
	} ;;
*" install "*)
	[ ! -e "$STUB/error" ] || { cat "$STUB/error"; exit 100; }
	for package; do
		touch "$STUB/$package"
	done
	[ ! -e "$STUB/qemu-system-x86" ] || cp "$STUB/qemu-new" "$STUB/../bin/qemu-system-x86_64" ;;
esac
END
cat >"$WORK/dpkg" <<'END'
#!/bin/bash
[ "$1" != --audit ] || cat "$STUB/audit" 2>/dev/null
END
printf '#!/bin/bash\necho "QEMU emulator version 10.0.2 (Debian)"\n' >"$STUB/qemu-new"
printf '#!/bin/bash\necho "QEMU emulator version 7.2.1 (Debian)"\n' >"$STUB/qemu-old"
chmod +x "$WORK"/{apt-get,dpkg} "$STUB"/qemu-*
cp "$WORK"/{apt-get,dpkg} "$WORK/bin/"
# shellcheck disable=SC2016  # for the script that is written
printf '#!/bin/bash\n[ "$1" != -u ] || { echo "${FAKE_UID:-0}"; exit; }\nexec %s "$@"\n' \
	"$(command -v id)" >"$WORK/id"
chmod +x "$WORK/id"
rm -f "$WORK/bin/id"
cp "$WORK/id" "$WORK/bin/id"
PATH=$WORK/bin

NEEDS="bash bash
some-package $STUB/some-package
qemu-system-x86 qemu-system-x86_64"
release() { printf 'ID=%s\nVERSION_ID="%s"\nVERSION_CODENAME=%s\n' "$@" >"$OS_RELEASE"; }
fresh() {
	: >"$LOG"
	rm -f "$STUB"/{some-package,qemu-system-x86,error,audit,down}
	cp "$STUB/qemu-old" "$WORK/bin/qemu-system-x86_64"
	DEPS_NEEDS=$NEEDS
}
d() { run "$TOP/scripts/deps.sh"; }

fresh
release debian 12 bookworm
DEPS_NEEDS="bash bash"
d
ok 'everything is there'
same lines "$(grep -c . <<<"$OUT_TEXT")" 1
same apt "$(cat "$LOG")" ''
result 'nothing is missing: one line, no apt'

fresh
d
ok 'everything is there now'
[ -e "$STUB/some-package" ] || bad 'some-package is not installed'
says_log() { grep -qE -- "$1" "$LOG" || bad "apt was not asked: $1"; }
says_log 'install -y --no-install-recommends -- some-package$'
says_log 'install .* -t bookworm-backports -- .*qemu-system-x86'
says_log '^deb \[signed-by=[^]]*\] http://mirror.example.org/debian/ bookworm-backports main'
says_log 'Dir::State::lists=/var/tmp/.* update'
result 'Debian 12: an old QEMU is replaced, from backports, in private lists'

fresh
release debian 13 trixie
d
ok 'everything is there now'
! grep -q backports "$LOG" || bad 'backports were used'
says_log 'install .* some-package qemu-system-x86$'
result 'Debian 13: stock packages'

fresh
release ubuntu 24.04 noble
d
fails some-package qemu-system-x86 'not Debian 12 or 13'
same apt "$(cat "$LOG")" ''
result 'elsewhere: the list of what is missing'

fresh
release debian 12 bookworm
FAKE_UID=1000 d
fails 'no sudo' 'some-package' 'make deps'
result 'not root, and no sudo'

fresh
# shellcheck disable=SC2016
printf '#!/bin/bash\necho "sudo $*" >>"$LOG"\nexec "$@"\n' >"$WORK/bin/sudo"
chmod +x "$WORK/bin/sudo"
FAKE_UID=1000 d
ok 'everything is there now'
says_log '^sudo env .*apt-get .*install'
rm "$WORK/bin/sudo"
result 'not root: through sudo'

fresh
echo "E: dpkg was interrupted, you must manually run 'dpkg --configure -a'" >"$STUB/error"
d
fails 'dpkg --configure -a'
fresh
echo 'E: Could not get lock /var/lib/dpkg/lock-frontend.' >"$STUB/error"
d
fails 'another apt or dpkg is at work'
fresh
echo "E: Failed to fetch x Temporary failure resolving 'mirror'" >"$STUB/error"
touch "$STUB/down"
d
fails 'cannot be reached'
fresh
echo 'E: Unable to locate package some-package' >"$STUB/error"
d
fails 'apt-get failed; to install by hand' 'Unable to locate'
fresh
result 'an interrupted dpkg, a lock, no network, no package: said'

finish
