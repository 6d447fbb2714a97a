#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# For make lint, with ARCH=: compiles the objects whose sources the series
# touches under sparse and W=1, and prints the warnings that the unpatched
# base does not have. Exits with 77 when the test kernel is not built.
SELF=lint-objects
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/patches.sh
. "$TOP/scripts/patches.sh"
# shellcheck source=scripts/target.sh
. "$TOP/scripts/target.sh"

# lint_out: a copy of what the test kernel's build has apart from objects, so
# that its own objects stay as they are. Copied, since a build writes in place.
lint_out() {
	local from=$KOUT
	KOUT=$TREE/${from##*/}-lint
	! cmp -s "$from/.config" "$KOUT/.config" || return 0
	mkdir -p "$KOUT"
	(cd "$from" && find . \( -name '*.o' -o -name '*.a' -o -name 'vmlinux*' \
		-o -name '*Image*' -o -name '.*.o.cmd' -o -name source \) \
		! -path './scripts/*' ! -path './tools/*' -prune -o \
		-type f -print0 | tar -c --null -T - -f -) |
		tar -x -C "$KOUT" -f -
}

# objects OUT: those of the touched sources that OUT has built.
objects() {
	local file
	{ series_changes; series_adds; } | grep '\.c$' | sort -u |
		while IFS= read -r file; do
			for file in "${file%.c}.o" "${file%.c}.nvhe.o"; do
				[ ! -f "$1/$file" ] || echo "$file"
			done
		done
}

# warnings FILE: without the numbers of lines, which move.
warnings() {
	grep -aE '(warning|error|info): ' "$1" |
		sed -E -e 's,^(\.\./)+,,' -e "s,^$TREE/,," \
		    -e 's/:[0-9]+(:[0-9]+)?:/:/' | LC_ALL=C sort -u || true
}

# compile LOG: exits with make's status.
compile() {
	local rc=0 where part
	rm -f "${OBJECTS[@]/#/$KOUT/}"
	: >"$1"
	# One folder after the other: an architecture's make reads what make writes
	# about the objects in virt/kvm.
	for where in '^virt/' '^[^v]'; do
		mapfile -t part < <(printf '%s\n' "${OBJECTS[@]}" | grep "$where")
		[ ${#part[@]} -gt 0 ] || continue
		kmake -k -j"$JOBS" C=2 CHECK="$TOP/scripts/sparse.sh" \
			CF=-D__CHECK_ENDIAN__ W=1 "${part[@]}" >>"$1" 2>&1 || rc=$?
	done
	grep -aq '^  CHECK' "$1" || {
		echo "make: Error: sparse was not run" >>"$1"
		return 1
	}
	return "$rc"
}

# base_warnings: of the same objects, where the base has them; kept, since
# they are what they are for one base and one configuration. From then on,
# TREE and KOUT are the base's.
base_warnings() {
	local key store from=$KOUT
	key=$( (cat "$BUILD/tree/.git/kmf-base" "$KOUT/.config"
		printf '%s\n' "${OBJECTS[@]}"; "${CROSS}gcc" --version
		sparse --version) 2>&1 | sha256sum | cut -c1-24)
	store=$CACHE/lint/$ARCH-$key
	if [ ! -f "$store" ]; then
		mkdir -p "$CACHE/lint"
		TREE=$BUILD/base-tree
		base_tree_get >/dev/null
		KOUT=$TREE/${from##*/}
		mkdir -p "$KOUT"
		(cd "$from" && tar -c --exclude='*.o' -f - .) |
			tar -x -C "$KOUT" -f -
		# An object that is new is missing there.
		compile "$KOUT/lint.log" || true
		warnings "$KOUT/lint.log" >"$store.tmp"
		mv "$store.tmp" "$store"
	fi
	cat "$store"
}

main() {
	local dir
	command -v sparse >/dev/null || { echo "no sparse"; exit 77; }
	[ -f "$KOUT/.config" ] || { echo "no test kernel: make kernel ARCH=$ARCH"
		exit 77; }
	mapfile -t OBJECTS < <(objects "$KOUT")
	[ ${#OBJECTS[@]} -gt 0 ] || { echo "no object is touched"; exit 77; }
	lint_out
	dir=$KOUT
	compile "$dir/lint.log" || {
		grep -aE 'error|Error|\*\*\*' "$dir/lint.log"
		exit 1
	}
	warnings "$dir/lint.log" >"$dir/lint.now"
	[ -s "$dir/lint.now" ] || exit 0
	base_warnings >"$dir/lint.base"
	LC_ALL=C comm -23 "$dir/lint.now" "$dir/lint.base"
}

main
