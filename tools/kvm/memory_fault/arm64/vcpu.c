// SPDX-License-Identifier: GPL-2.0-only
/* arm64: EL1 with the MMU off, as KVM_ARM_VCPU_INIT leaves a vCPU. */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#include "../vmm.h"

#define CORE_REG(member)							\
	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE |			\
	 (offsetof(struct kvm_regs, member) / sizeof(uint32_t)))

void arch_vm_init(struct vm *vm)
{
	(void)vm;
}

void arch_vcpu_init(struct vcpu *vcpu)
{
	struct kvm_vcpu_init init;

	if (ioctl(vcpu->vm->fd, KVM_ARM_PREFERRED_TARGET, &init))
		fatal(STATUS_CANNOT, "KVM_ARM_PREFERRED_TARGET: %s", strerror(errno));
	if (ioctl(vcpu->fd, KVM_ARM_VCPU_INIT, &init))
		fatal(STATUS_CANNOT, "KVM_ARM_VCPU_INIT: %s", strerror(errno));
}

static void set_reg(struct vcpu *vcpu, uint64_t id, uint64_t value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)&value };

	if (ioctl(vcpu->fd, KVM_SET_ONE_REG, &reg))
		fatal(STATUS_CANNOT, "KVM_SET_ONE_REG %#llx: %s", reg.id,
		      strerror(errno));
}

void arch_vcpu_call(struct vcpu *vcpu, uint64_t pc, const uint64_t args[GUEST_ARGS])
{
	size_t i;

	set_reg(vcpu, CORE_REG(regs.pc), pc);
	for (i = 0; i < GUEST_ARGS; i++)
		set_reg(vcpu, CORE_REG(regs.regs[0]) + i * 2, args[i]);
}
