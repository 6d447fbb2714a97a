/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_MEMORY_FAULT_H
#define __KVM_MEMORY_FAULT_H

#include <linux/kvm_types.h>

/*
 * A guest memory access that KVM could not resolve.  The code that finds out
 * records it, the end of KVM_RUN publishes it as KVM_EXIT_MEMORY_FAULT.
 *
 * kvm_run is no place for the record: userspace can write it at any time, and
 * until KVM_RUN is certain to end it can hold another exit.
 */
struct kvm_memory_fault {
	gpa_t gpa;
	u64 size;
	u64 flags;
	/* The site that made the record, for tracing. */
	unsigned long ip;
	/* The errno that KVM_RUN has to fail with, or 0: there is no record. */
	int err;
};

/*
 * Record that the guest's access to [@gpa, @gpa + @size) failed with @err, and
 * return @err:
 *
 *	return kvm_prepare_memory_fault_exit(vcpu, gpa, PAGE_SIZE, 0, -EFAULT);
 *
 * Only -EFAULT and -EHWPOISON are about memory; for any other @err, and for an
 * invalid @gpa, there is nothing to record.
 *
 * @gpa is an address of the VM that userspace created, i.e. L1's, also if L2
 * ran.  The range that is recorded covers whole host pages.  @flags are
 * KVM_MEMORY_EXIT_FLAG_*.
 *
 * The caller has to see to it that KVM_RUN does return @err.  A caller that
 * recovers from the failure instead has to drop the record, else it explains
 * a later failure that it is not the cause of.
 */
int kvm_prepare_memory_fault_exit(struct kvm_vcpu *vcpu, gpa_t gpa, u64 size,
				  u64 flags, int err);

void kvm_drop_memory_fault(struct kvm_vcpu *vcpu);

/*
 * End KVM_RUN, which returns @r: if that is -EFAULT or -EHWPOISON, tell
 * userspace which guest access failed, or, if none did, that the reason is not
 * known.  Return true if kvm_run describes a memory fault.
 */
bool kvm_publish_memory_fault(struct kvm_vcpu *vcpu, int r);

#endif /* __KVM_MEMORY_FAULT_H */
