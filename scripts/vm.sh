# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced after target.sh: one guest machine for ARCH and MODE.
#
#   vm_plan NAME LIMIT COMMAND...   adds a command for the guest's init
#   vm_add FILE PATH                adds a file to its initramfs
#   vm_run LOG                      boots it; calls on_line() with each line of
#                                   the console, which the caller defines
#
# APPEND= adds to the kernel's command line, VM_QEMU= to QEMU's.  VM_THREAD=multi
# has QEMU run each CPU in a thread of its own, single all of them in one.  Every
# guest is emulated in software, bounded in time, and without input.

# The console may stay silent for this long: during boot and shutdown, and
# beyond the limit of the command that is running.
VM_SILENCE=${VM_SILENCE:-90}
# Before init runs: QEMU's machine is never silent for long, Bochs loads a CD.
VM_BOOT_SILENCE=${VM_BOOT_SILENCE:-}
# A kernel that does not get as far as init is started again: under load, an
# emulator sometimes loses the timer of a booting machine.
VM_TRIES=${VM_TRIES:-3}
# One guest, all in all.
VM_LIMIT=${VM_LIMIT:-1800}
VM_CMDLINE='panic=-1 oops=panic printk.devkmsg=on loglevel=7 mitigations=off'
VM_CMDLINE+=' rcupdate.rcu_cpu_stall_timeout=60'
VM_CMDLINE+=' hugepagesz=2M hugepages=64'
# KVM's instruction emulator is reached by a prefix in the tests' guests.
VM_CMDLINE+=' kvm.force_emulation_prefix=1'
VM_KUNIT='kunit.enable=0'
# The kernel comes from here; selftests of one build may run on another's.
VM_KOUT=${VM_KOUT:-$KOUT}

# vm_mode: what MODE adds to the command line.
vm_mode() {
	case $ARCH-$MODE in
	x86_64-npt | x86_64-ept | arm64-vhe) ;;
	x86_64-shadow) echo kvm_amd.npt=0 ;;
	x86_64-ept-shadow) echo kvm_intel.ept=0 ;;
	arm64-nvhe | arm64-protected | arm64-nested) echo "kvm-arm.mode=$MODE" ;;
	*) die "MODE=$MODE is unknown for ARCH=$ARCH; use $(vm_modes)" ;;
	esac
}

# vm_sign: the line of the console that proves MODE; an option of the command
# line that the kernel ignores would leave every test to prove another mode.
vm_sign() {
	case $MODE in
	npt)		echo '@@ param kvm_amd.npt=Y' ;;
	shadow)		echo '@@ param kvm_amd.npt=N' ;;
	ept)		echo '@@ param kvm_intel.ept=Y' ;;
	ept-shadow)	echo '@@ param kvm_intel.ept=N' ;;
	vhe)		echo ': VHE mode initialized' ;;
	nvhe)		echo ': Hyp nVHE mode initialized' ;;
	protected)	echo ': Protected * mode initialized' ;;
	nested)		echo ': VHE+NV2 mode initialized' ;;
	esac
}

vm_modes() {
	case $ARCH in
	x86_64) echo 'npt or shadow (QEMU), ept or ept-shadow (Bochs)' ;;
	arm64) echo 'vhe, nvhe, protected or nested' ;;
	esac
}

vm_init() {
	MODE=${MODE:-$([ "$ARCH" = x86_64 ] && echo npt || echo vhe)}
	vm_mode >/dev/null
	VM_DIR=$(mktemp -d "${TMPDIR:-/tmp}/kvm-vm.XXXXXX")
	VM_PID=''
	mkdir "$VM_DIR/root" "$LOGS" 2>/dev/null || mkdir -p "$LOGS"
	trap 'vm_end' EXIT
	trap 'exit 130' INT TERM
	[ -n "$PREBUILT" ] || "$TOP/scripts/kernel.sh" >&2
	[ -f "$VM_KOUT/$IMAGE" ] || die "no kernel at $VM_KOUT/$IMAGE"
}

vm_end() {
	[ -z "$VM_PID" ] || kill -TERM "$VM_PID" 2>/dev/null || true
	rm -rf "$VM_DIR"
}

vm_plan() { echo "run $*" >>"$VM_DIR/root/plan"; }

vm_add() { install -D -m 755 "$1" "$VM_DIR/root/$2"; }

# vm_initrd: the shared part and this guest's own, one after the other.
vm_initrd() {
	local common

	common=$("$TOP/scripts/initramfs.sh")
	(cd "$VM_DIR/root" && find . | cpio -o -H newc --quiet -R 0:0) |
		cat "$common" - >"$VM_DIR/initrd"
}

# vm_threads: SVM is not safe between threads, at least up to QEMU 10.0: interrupts
# from another CPU get lost, and now and then a guest goes on with the registers of
# the host, or without nested paging.
vm_threads() {
	local threads=multi

	# One thread alone can count the instructions of all CPUs.
	[ "$ARCH" = arm64 ] && [[ " ${VM_QEMU:-} " != *' -icount '* ]] || threads=single
	echo "${VM_THREAD:-$threads}"
}

# vm_qemu: the command, in the array VM_CMD.
vm_qemu() {
	local qemu package append=$VM_CMDLINE accel

	case $ARCH in
	x86_64)	qemu='qemu-system-x86_64' package='qemu-system-x86' ;;
	arm64)	qemu='qemu-system-aarch64' package='qemu-system-arm' ;;
	esac
	need "$qemu" "$package"
	append+=" $VM_KUNIT $(vm_mode) ${APPEND:-}"
	accel="tcg,thread=$(vm_threads)"
	VM_CMD=("$qemu" -accel "$accel" -smp "${SMP:-2}" -m 2G -nodefaults
		-display none -no-reboot -kernel "$VM_KOUT/$IMAGE"
		-initrd "$VM_DIR/initrd" -serial stdio)
	if [ "$ARCH" = x86_64 ]; then
		VM_CMD+=(-cpu max -append "console=ttyS0 no_timer_check $append")
	else
		# Memory tags, for a VM that has them and memory that has none.
		VM_CMD+=(-M 'virt,virtualization=on,gic-version=3,mte=on'
			-cpu 'max,pauth-impdef=on,lpa2=off'
			-append "console=ttyAMA0 $append")
	fi
	# shellcheck disable=SC2206  # words on purpose
	VM_CMD+=(${VM_QEMU:-})
}

# shellcheck source=scripts/bochs.sh
. "$TOP/scripts/bochs.sh"

# vm_prepare: everything but the start.
vm_prepare() {
	vm_initrd
	case $MODE in
	ept | ept-shadow) vm_bochs ;;
	*) vm_qemu ;;
	esac
}

# vm_run LOG: returns 0 when the guest did its whole plan.  Otherwise
# VM_WHY says what happened.  VM_NOW is the command that runs in the guest.
vm_run() {
	local try

	vm_prepare
	VM_SIGN=$(vm_sign)
	if [ -z "$VM_BOOT_SILENCE" ]; then
		[[ $MODE == ept* ]] && VM_BOOT_SILENCE=150 || VM_BOOT_SILENCE=45
	fi
	for ((try = 1; ; try++)); do
		! vm_once "$1" || return 0
		[ $VM_UP = 0 ] && [ $try -lt "$VM_TRIES" ] || return 1
		warn "$VM_WHY before init ran; starting it again"
		mv "$1" "$1.try$try"
	done
}

# vm_once LOG: one start of the prepared guest.
vm_once() {
	local log=$1 line part='' rc fd

	VM_NOW='' VM_WHY='' VM_DONE=0 VM_SEEN=0 VM_UP=0
	: >"$log"
	exec {fd}< <(exec timeout -k 5 "$VM_LIMIT" "${VM_CMD[@]}" </dev/null 2>&1)
	VM_PID=$!
	VM_DEADLINE=$((SECONDS + VM_BOOT_SILENCE))
	while [ $SECONDS -lt "$VM_DEADLINE" ]; do
		rc=0
		IFS= read -r -t 2 -u "$fd" line || rc=$?
		if [ $rc -gt 128 ]; then
			part+=$line
			continue
		fi
		line=$part$line part=''
		[ $rc = 0 ] || [ -n "$line" ] || break
		line=${line%$'\r'}
		echo "$line" >>"$log"
		vm_watch "$line"
		on_line "$line"
		[ $rc = 0 ] || break
	done
	exec {fd}<&-
	vm_verdict
}

# vm_watch LINE: follows the plan.
vm_watch() {
	local at=${1##*@@ } word name limit

	# shellcheck disable=SC2053  # a glob on purpose
	[[ $1 != *$VM_SIGN* ]] || VM_SEEN=1
	[ -n "$VM_NOW" ] ||
		VM_DEADLINE=$((SECONDS + (VM_UP ? VM_SILENCE : VM_BOOT_SILENCE)))
	[[ $1 =~ ^(\[\ *[0-9.]+\]\ )?@@\ (begin|end|done) ]] || return 0
	read -r word name limit _ <<<"$at"
	VM_UP=1
	case $word in
	begin)	VM_NOW=$name
		VM_DEADLINE=$((SECONDS + limit + VM_SILENCE)) ;;
	end)	VM_NOW=''
		VM_DEADLINE=$((SECONDS + VM_SILENCE)) ;;
	done)	VM_DONE=1 ;;
	esac
}

vm_verdict() {
	local rc=0

	if [ $SECONDS -ge "$VM_DEADLINE" ]; then
		VM_WHY='the guest hangs'
	fi
	kill -TERM "$VM_PID" 2>/dev/null || true
	wait "$VM_PID" 2>/dev/null || rc=$?
	VM_PID=''
	if [ "$VM_DONE-$VM_SEEN" = 1-0 ]; then
		VM_WHY="KVM did not come up in mode $MODE"
		return 1
	fi
	[ "$VM_DONE" = 0 ] || return 0
	[ $rc != 124 ] || VM_WHY="the guest took more than $VM_LIMIT s"
	VM_WHY=${VM_WHY:-the guest died}
	VM_WHY+=${VM_NOW:+ while $VM_NOW ran}
	return 1
}

# vm_text LINE: what a command in the guest printed, in VM_TEXT; false for a
# line of the kernel.
# shellcheck disable=SC2034  # for the caller
vm_text() {
	[[ $1 =~ ^(\[\ *[0-9.]+\]\ )?\|\ ?(.*)$ ]] || return 1
	VM_TEXT=${BASH_REMATCH[2]}
}
