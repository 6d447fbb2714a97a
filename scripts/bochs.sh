# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Sourced by vm.sh: Bochs, the emulator that has VMX with EPT.
#
# Bochs 2.7 and 3.0 alike boot a CD.  They end by themselves when the guest
# powers off; the status says nothing, the console does.

# Instructions that make a second for the guest, about what the emulator can.
BOCHS_IPS=50000000
# Newer models misreport XSAVES in CPUID leaf 0xd in version 2.7.
BOCHS_CPU=corei7_haswell_4770

bochs_file() {
	local file

	for file in "$@"; do
		[ ! -f "$file" ] || { echo "$file"; return; }
	done
	die "none of these is here: $*; 'make deps' installs it"
}

# bochs_iso APPEND: a CD with the kernel, the initramfs and a boot loader.
bochs_iso() {
	local cd=$VM_DIR/cd

	need genisoimage genisoimage
	mkdir -p "$cd/isolinux"
	cp "$VM_KOUT/$IMAGE" "$cd/bzimage"
	mv "$VM_DIR/initrd" "$cd/initrd"
	cp "$(bochs_file /usr/lib/ISOLINUX/isolinux.bin)" \
		"$(bochs_file /usr/lib/syslinux/modules/bios/ldlinux.c32)" "$cd/isolinux"
	cat >"$cd/isolinux/isolinux.cfg" <<-EOF
	DEFAULT test
	PROMPT 0
	LABEL test
	KERNEL /bzimage
	INITRD /initrd
	APPEND $1
	EOF
	genisoimage -quiet -o "$VM_DIR/cd.iso" -b isolinux/isolinux.bin \
		-c isolinux/boot.cat -no-emul-boot -boot-load-size 4 \
		-boot-info-table "$cd" || die "cannot make the CD"
}

bochs_display() {
	if bochs --help display_library 2>&1 |
			grep -w nogui >/dev/null; then
		echo 'display_library: nogui'
	else
		echo 'display_library: rfb, options="timeout=0"'
	fi
}

bochs_rc() {
	cat <<-EOF
	megs: 1024
	cpu: model=$BOCHS_CPU, count=1, ips=$BOCHS_IPS, reset_on_triple_fault=0, ignore_bad_msrs=1
	clock: sync=none, time0=utc
	romimage: file=$(bochs_file /usr/share/bochs/BIOS-bochs-latest)
	vgaromimage: file=$(bochs_file /usr/share/vgabios/vgabios.bin /usr/share/bochs/VGABIOS-lgpl-latest)
	ata0-master: type=cdrom, path=$VM_DIR/cd.iso, status=inserted
	boot: cdrom
	com1: enabled=1, mode=file, dev=$VM_DIR/console
	sound: driver=dummy
	config_interface: textconfig
	$(bochs_display)
	log: $VM_DIR/bochs.log
	panic: action=fatal
	error: action=ignore
	info: action=ignore
	debug: action=ignore
	EOF
}

# vm_bochs: the command, in the array VM_CMD.
# shellcheck disable=SC2016,SC2034  # another shell expands it; vm.sh runs it
vm_bochs() {
	local append

	need bochs bochs
	append="console=ttyS0,115200 $VM_CMDLINE $VM_KUNIT $(vm_mode) ${APPEND:-}"
	# Posted interrupts want a descriptor more aligned than hardware does.
	append+=' kvm_intel.enable_apicv=0'
	# Has KVM intercept #PF of guests whose MAXPHYADDR is smaller.
	append+=' kvm_intel.allow_smaller_maxphyaddr=1'
	append+=" tsc_early_khz=$((BOCHS_IPS / 1000))"
	bochs_iso "$append"
	bochs_rc >"$VM_DIR/bochsrc"
	mkfifo "$VM_DIR/console"
	# Version 2.7 is built with the debugger, which waits for a command.
	echo c >"$VM_DIR/go"
	# Where Bochs never opened the console, its reader still waits for that.
	VM_CMD=(bash -c 'cat "$0/console" &
		bochs -q -f "$0/bochsrc" -rc "$0/go" >"$0/bochs.out" 2>&1
		timeout 1 sh -c ": >\"\$1\"" sh "$0/console"
		wait' "$VM_DIR")
}
