# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced by check-patches.sh: what is checked of the whole series.

CLANG='' CLANG_MIN=''

# clang_find: the newest clang that the kernel accepts.
clang_find() {
	local min name version best=0
	min=$(sh "$SERIES/scripts/min-tool-version.sh" llvm 2>/dev/null) || return 0
	for name in $(compgen -c clang | grep -xE 'clang(-[0-9]+)?' | sort -u); do
		version=$("$name" -dumpversion) || continue
		if [ "$(printf '%s\n' "$min" "$version" | sort -V | head -n 1)" = "$min" ] &&
			[ "${version%%.*}" -gt "$best" ]; then
			best=${version%%.*} CLANG=$name
		fi
	done
	CLANG_MIN=$min
}

clang_there() {
	[ -n "$CLANG" ] || {
		echo "no clang from version $CLANG_MIN on (Debian: apt-get install clang-19)"
		return 77
	}
}

# seeded: KOUT starts as a copy of what the commits are built in, so that it
# compiles what its own configuration changes.
seeded() {
	local to=$KOUT
	# shellcheck disable=SC2153  # target() sets it
	target "$ARCH"
	base_built || return 1
	if [ ! -d "$to" ]; then
		linked "$TIP" || return 1
		rm -rf "$to.new"
		cp -a "$KOUT" "$to.new" && mv "$to.new" "$to" || return 1
	fi
	KOUT=$to
}

# variant ARCH OUTPUT GOAL [SETTING...]: the tip builds with these settings and
# complains about nothing new. OUTPUT is one of
#   kvm      a copy of what the commits are built in
#   full     of a whole kernel
#   clang    of another compiler
#   check    what the architecture has alone
variant() {
	local arch=$1 output=$2 goal=$3 id name
	shift 3
	target "$arch" "$output"
	[ "$output" != clang ] || compiler "${CLANG:-clang}"
	name="tip $arch$([ "$output" != clang ] || echo ' with clang'): ${*:-$goal}"
	wanted "$name" || return 0
	id=$(source_id "$TIP")
	[ "$goal" != usr/include/ ] || id=$(tests_id "$TIP")
	check "$name" "$name" "$(key "$name" "$goal" "$id" "$(fragments "$@")")" \
		variant_build "$output" "$goal" "$*"
}

# variant_build OUTPUT GOAL SETTINGS
variant_build() {
	local target=$ARCH-$1
	case $1 in
	clang) clang_there || return 77 ;;
	kvm) seeded || return 1 ;;
	*) compiler_there || return 77 ;;
	esac
	KOUT=$CHECK/.out-$target
	against_base built "$3" "$2" || return
	[ "$ARCH" != i386 ] || wide_divisions
}

# built COMMIT SETTINGS GOALS: and linked, as the commits are.
built() {
	build "$@" || return
	if [ "$3" = usr/include/ ]; then
		[ -f "$KOUT/usr/include/linux/kvm.hdrtest" ] || echo 'linux/kvm.h was not tested'
	elif [ "$1" = "$TIP" ] && [ "${KOUT##*-}" = kvm ]; then
		symbols
	fi
}

# wide_divisions: what a 32-bit kernel cannot link, since it has no libgcc.
wide_divisions() {
	find "$KOUT/arch/$SRCARCH/kvm" "$KOUT/virt" -name '*.o' -print0 2>/dev/null |
		xargs -0 nm -A -u 2>/dev/null |
		grep -E ' U __u?(div|mod|mul|cmp|divmod)[a-z]?i[0-9]$' |
		sed "s,^$KOUT/,," || true
}

# checked ARCH NAME ID COMMAND...: a check of the tip that is no build.
checked() {
	local name="tip $1: $2" id=$3
	target "$1" selftests
	wanted "$name" || return 0
	check "$name" "$name" "$(key "$name" "$id")" "${@:4}"
}

# objects_lint: sparse and W=1.
objects_lint() {
	target "$ARCH"
	linked "$TIP" || return 1
	: >"$LOG"
	job env ARCH="$ARCH" TREE="$CHECK" KOUT="$KOUT" BUILD="$BUILD" JOBS="$JOBS" \
		"$TOP/scripts/lint-objects.sh"
}

# kernel_doc COMMIT: on what the series adds or changes.
kernel_doc() {
	checkout "$1" || return 1
	g -C "$SERIES" diff --name-only "$BASE" "$TIP" -- include virt arch |
		grep '\.[ch]$' | while IFS= read -r file; do
		[ ! -f "$CHECK/$file" ] || echo "$file"
	done | (cd "$CHECK" || exit
		PATH=/usr/bin:$PATH xargs -d '\n' scripts/kernel-doc -none -Wall 2>&1
		true) | awk '!seen[$0]++'
}

# checkpatch: on each commit.
checkpatch() {
	local commit todo=() stored
	for commit in "${COMMITS[@]}"; do
		stored=$STORE/$(key checkpatch "$commit" "$(cat "$TOP/expect/checkpatch")")
		[ -z "$FORCED" ] && [ -f "$stored" ] || todo+=("$commit $stored")
	done
	# shellcheck disable=SC2016  # for the inner shell
	printf '%s\n' "${todo[@]}" | TREE=$SERIES TOP=$TOP TMP=$TMP xargs -r -P "$JOBS" -L 1 \
		bash -c 'out=$("$TOP/scripts/checkpatch.sh" "$0") || out+="checkpatch failed"
		if [ -n "$out" ]; then
			git -C "$TREE" log -1 --format=%s "$0"
			echo "$out"
		else
			: >"$1"
		fi'
}

# Whole kernels, last: they take the longest.
tip_kernels() {
	variant x86_64 full 'vmlinux modules'
	variant x86_64 full 'vmlinux modules' KVM=n
	variant x86_64 full 'vmlinux modules' KVM=y KVM_INTEL=y KVM_AMD=y CRYPTO_DEV_CCP_DD=y
	variant arm64 full vmlinux
	variant arm64 full vmlinux KVM=n
}

tip_builds() {
	local x86=arch/x86/kvm/ arm64=arch/arm64/kvm/
	local bare=(KUNIT=n FTRACE=n KPROBES=n FAULT_INJECTION=n)
	variant x86_64 kvm $x86 KVM_XEN=n KVM_SMM=n KVM_HYPERV=n
	variant x86_64 kvm $x86 KVM_XEN=n
	variant x86_64 kvm $x86 KVM_SMM=n
	variant x86_64 kvm $x86 KVM_HYPERV=n
	variant x86_64 kvm $x86 KVM_INTEL=n
	variant x86_64 kvm $x86 KVM_AMD=n
	variant x86_64 kvm $x86 KVM_AMD_SEV=n KVM_INTEL_TDX=n KVM_SW_PROTECTED_VM=n
	variant x86_64 kvm $x86 KVM_PROVE_MMU=n "${bare[@]}"
	variant arm64 kvm $arm64 ARM64_4K_PAGES=n ARM64_64K_PAGES=y
	variant arm64 kvm $arm64 NVHE_EL2_DEBUG=n "${bare[@]}"
	variant x86_64 kvm usr/include/ HEADERS_INSTALL=y UAPI_HEADER_TEST=y
	variant arm64 kvm usr/include/ HEADERS_INSTALL=y UAPI_HEADER_TEST=y
	# These have no guest_memfd.
	variant i386 check $x86
	variant riscv check arch/riscv/kvm/
	variant s390 check arch/s390/kvm/
	variant x86_64 clang $x86
	variant arm64 clang $arm64
	# Where gcc knows no vectors, KVM of the base needs clang.
	variant riscv clang arch/riscv/kvm/ FPU=y RISCV_ISA_V=y
}

tip() {
	local arch sparse
	clang_find
	tip_builds
	sparse=$(sparse --version 2>/dev/null || true)
	for arch in x86_64 arm64; do
		target "$arch"
		checked "$arch" 'sparse and W=1' "$sparse $(source_id "$TIP") $(fragments)" \
			objects_lint
	done
	for arch in x86_64 arm64 riscv s390; do
		target "$arch"
		checked "$arch" 'KVM selftests' "$(tests_id "$TIP")" against_base selftests
	done
	target x86_64
	checked source kernel-doc "$(source_id "$TIP") $(g -C "$SERIES" ls-tree "$TIP" arch/)" \
		against_base kernel_doc
	checked source checkpatch "$TIP $(cat "$TOP/expect/checkpatch")" checkpatch
	tip_kernels
}
