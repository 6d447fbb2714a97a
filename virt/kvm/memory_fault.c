// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_EXIT_MEMORY_FAULT: which guest memory access made KVM_RUN fail?
 *
 * Accesses that cannot be resolved are recorded in kernel memory as they are
 * found, and published in kvm_run when, and only when, KVM_RUN fails with the
 * errno of the record.
 */
#include <linux/kvm_host.h>
#include <linux/kvm_memory_fault.h>

static bool kvm_is_memory_fault_errno(int err)
{
	return err == -EFAULT || err == -EHWPOISON;
}

int kvm_prepare_memory_fault_exit(struct kvm_vcpu *vcpu, gpa_t gpa, u64 size,
				  u64 flags, int err)
{
	gpa_t start = gpa & PAGE_MASK;
	gpa_t last = gpa + (size ? size - 1 : 0);

	if (!kvm_is_memory_fault_errno(err))
		return err;

	if (gpa == INVALID_GPA || last < gpa)
		return err;

	vcpu->memory_fault = (struct kvm_memory_fault) {
		.gpa	= start,
		.size	= (last & PAGE_MASK) - start + PAGE_SIZE,
		.flags	= flags,
		.ip	= _RET_IP_,
		.err	= err,
	};

	return err;
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvm_prepare_memory_fault_exit);

void kvm_drop_memory_fault(struct kvm_vcpu *vcpu)
{
	vcpu->memory_fault.err = 0;
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvm_drop_memory_fault);

bool kvm_publish_memory_fault(struct kvm_vcpu *vcpu, int r)
{
	struct kvm_memory_fault *fault = &vcpu->memory_fault;
	struct kvm_run *run = vcpu->run;
	bool explained = fault->err == r;

	kvm_drop_memory_fault(vcpu);

	/*
	 * On any other errno, -EINTR above all, userspace relies on finding the
	 * exit that is pending, and some architectures do, too.
	 */
	if (likely(!kvm_is_memory_fault_errno(r)))
		return false;

	if (!explained) {
		run->exit_reason = KVM_EXIT_UNKNOWN;
		return false;
	}

	run->exit_reason = KVM_EXIT_MEMORY_FAULT;
	run->memory_fault.flags = fault->flags & kvm_memory_fault_flags(vcpu->kvm);
	run->memory_fault.gpa = fault->gpa;
	run->memory_fault.size = fault->size;
	return true;
}
