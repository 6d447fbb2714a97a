// SPDX-License-Identifier: GPL-2.0-only
/* x86: flat 32-bit protected mode without paging, the shortest way to a gpa. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "../vmm.h"

#define CR0_PE		0x1
#define RFLAGS_FIXED	0x2

void arch_vm_init(struct vm *vm)
{
	/* Intel CPUs that cannot run without paging need three pages for KVM. */
	if (ioctl(vm->fd, KVM_SET_TSS_ADDR, 0xfffbd000))
		fatal(STATUS_CANNOT, "KVM_SET_TSS_ADDR: %s", strerror(errno));
}

static struct kvm_segment flat(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){
		.selector = selector,
		.type = type,
		.limit = 0xffffffff,
		.present = 1,
		.db = 1,
		.s = 1,
		.g = 1,
	};
}

void arch_vcpu_init(struct vcpu *vcpu)
{
	const uint8_t code = 0xb, data = 0x3;
	struct kvm_sregs sregs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		fatal(STATUS_CANNOT, "KVM_GET_SREGS: %s", strerror(errno));
	sregs.cs = flat(8, code);
	sregs.ds = flat(16, data);
	sregs.es = sregs.ds;
	sregs.fs = sregs.ds;
	sregs.gs = sregs.ds;
	sregs.ss = sregs.ds;
	sregs.cr0 |= CR0_PE;
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs))
		fatal(STATUS_CANNOT, "KVM_SET_SREGS: %s", strerror(errno));
}

void arch_vcpu_call(struct vcpu *vcpu, uint64_t pc, const uint64_t args[GUEST_ARGS])
{
	struct kvm_mp_state runnable = { .mp_state = KVM_MP_STATE_RUNNABLE };
	struct kvm_regs regs = {
		.rip = pc,
		.rflags = RFLAGS_FIXED,
		.rsp = MEM_BASE + vcpu->vm->page,
		.rdi = args[0],
		.rsi = args[1],
		.rdx = args[2],
		.rcx = args[3],
		.rbx = args[4],
		.rbp = args[5],
	};

	if (ioctl(vcpu->fd, KVM_SET_REGS, &regs))
		fatal(STATUS_CANNOT, "KVM_SET_REGS: %s", strerror(errno));
	/* vCPUs other than 0 would wait for a SIPI, had the VM an APIC. */
	if (ioctl(vcpu->fd, KVM_SET_MP_STATE, &runnable) && errno != ENXIO)
		fatal(STATUS_CANNOT, "KVM_SET_MP_STATE: %s", strerror(errno));
}
