/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_X86_UNBACKED_H
#define __KVM_X86_UNBACKED_H

#include <linux/kvm_host.h>

#include "kvm_emulate.h"

/*
 * KVM accesses guest memory on the guest's behalf, e.g. to walk page tables or
 * to fetch an instruction that it emulates.  Memory that has a memslot, but is
 * not accessible through the memslot's host virtual address, is "unbacked".
 *
 * The guest can neither see nor cause that, i.e. an access to unbacked memory
 * must not end in an exception or a nested VM-Exit as if the guest had pointed
 * KVM at an address without memory.  Instead, KVM_RUN reports a memory fault,
 * and the access is redone when userspace runs the vCPU again.
 *
 * In all of the below, @access is PFERR_WRITE_MASK, PFERR_FETCH_MASK, or 0 if
 * memory is read, and GPAs are L1's.
 */

/* Is @gfn, which could not be accessed, unbacked?  Else the guest is at fault. */
bool kvm_is_unbacked_gfn(struct kvm_vcpu *vcpu, gfn_t gfn, u64 access);

/*
 * Report to userspace, by way of KVM_RUN, that the memory at @gpa is unbacked.
 * Return -EFAULT, which the caller has to pass on.
 */
int kvm_report_unbacked(struct kvm_vcpu *vcpu, gpa_t gpa, u64 access);

/*
 * [@gpa, @gpa + @len) could not be accessed.  If that is because some of it is
 * unbacked, return the GPA where that begins, else, i.e. if the guest is at
 * fault, INVALID_GPA.
 */
gpa_t kvm_find_unbacked(struct kvm_vcpu *vcpu, gpa_t gpa, unsigned long len,
			u64 access);

/*
 * [@gpa, @gpa + @len) could not be accessed.  If some of it is unbacked, report
 * that and return -EFAULT.  Return 0 if the guest is at fault.
 */
int kvm_report_if_unbacked(struct kvm_vcpu *vcpu, gpa_t gpa, unsigned long len,
			   u64 access);

/*
 * Like kvm_report_if_unbacked(), but find out whether @access is possible where
 * it's too late to report once the access itself has failed.
 */
int kvm_report_unless_backed(struct kvm_vcpu *vcpu, gpa_t gpa,
			     unsigned long len, u64 access);

/*
 * Turn an access to @gpa that failed into a result of the emulator's memory
 * operations: X86EMUL_UNBACKED, or X86EMUL_IO_NEEDED if there's no memory.
 */
int kvm_emulated_access_failed(struct kvm_vcpu *vcpu, gpa_t gpa, u64 access,
			       struct x86_exception *e);

static inline void kvm_set_unbacked(struct x86_exception *e, gpa_t gpa,
				    u64 access)
{
	e->unbacked = true;
	e->unbacked_gpa = gpa;
	e->unbacked_access = access;
}

static inline int kvm_report_unbacked_exception(struct kvm_vcpu *vcpu,
						struct x86_exception *e)
{
	return kvm_report_unbacked(vcpu, e->unbacked_gpa, e->unbacked_access);
}

/* The result of a memory operation whose page table walk failed with @e. */
static inline int kvm_emulated_walk_failed(struct x86_exception *e)
{
	return e->unbacked ? X86EMUL_UNBACKED : X86EMUL_PROPAGATE_FAULT;
}

#endif /* __KVM_X86_UNBACKED_H */
