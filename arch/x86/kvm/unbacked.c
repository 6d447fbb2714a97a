// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest memory that KVM can't access because the host doesn't back it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kvm_host.h>

#include "unbacked.h"

bool kvm_is_unbacked_gfn(struct kvm_vcpu *vcpu, gfn_t gfn, u64 access)
{
	struct kvm_memory_slot *slot = kvm_vcpu_gfn_to_memslot(vcpu, gfn);

	if (!kvm_is_visible_memslot(slot))
		return false;

	/* Userspace asked for writes to ROM to fail. */
	return !(access & PFERR_WRITE_MASK) || !(slot->flags & KVM_MEM_READONLY);
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvm_is_unbacked_gfn);

int kvm_report_unbacked(struct kvm_vcpu *vcpu, gpa_t gpa, u64 access)
{
	u64 flags = KVM_MEMORY_EXIT_FLAG_READ;

	if (access & PFERR_WRITE_MASK)
		flags = KVM_MEMORY_EXIT_FLAG_WRITE;
	else if (access & PFERR_FETCH_MASK)
		flags = KVM_MEMORY_EXIT_FLAG_EXEC;

	return kvm_prepare_memory_fault_exit(vcpu, gpa, 1, flags, -EFAULT);
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvm_report_unbacked);

/* Writing has to be tried without changing what another vCPU writes meanwhile. */
static bool kvm_can_access_byte(struct kvm_vcpu *vcpu, gpa_t gpa, u64 access)
{
	unsigned long hva = kvm_vcpu_gfn_to_hva(vcpu, gpa_to_gfn(gpa));
	u8 __user *ptr = (u8 __user *)(hva + offset_in_page(gpa));
	u8 val;

	if (kvm_vcpu_read_guest(vcpu, gpa, &val, sizeof(val)))
		return false;

	if (!(access & PFERR_WRITE_MASK))
		return true;

	if (kvm_is_error_hva(hva))
		return false;

	return __try_cmpxchg_user(ptr, &val, val, efault) >= 0;
}

gpa_t kvm_find_unbacked(struct kvm_vcpu *vcpu, gpa_t gpa, unsigned long len,
			u64 access)
{
	gpa_t unbacked = INVALID_GPA, start = gpa, end = gpa + len;

	for ( ; gpa < end; gpa = (gpa & PAGE_MASK) + PAGE_SIZE) {
		if (!kvm_is_unbacked_gfn(vcpu, gpa_to_gfn(gpa), access))
			return INVALID_GPA;

		if (unbacked == INVALID_GPA &&
		    !kvm_can_access_byte(vcpu, gpa, access))
			unbacked = gpa;
	}

	/*
	 * If all of the range can be accessed by now, somebody has mended it
	 * since.  The access still has to be redone.
	 */
	return unbacked == INVALID_GPA ? start : unbacked;
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvm_find_unbacked);

int kvm_report_if_unbacked(struct kvm_vcpu *vcpu, gpa_t gpa, unsigned long len,
			   u64 access)
{
	gpa = kvm_find_unbacked(vcpu, gpa, len, access);
	if (gpa == INVALID_GPA)
		return 0;

	return kvm_report_unbacked(vcpu, gpa, access);
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvm_report_if_unbacked);

int kvm_report_unless_backed(struct kvm_vcpu *vcpu, gpa_t gpa,
			     unsigned long len, u64 access)
{
	gpa_t end = gpa + len;

	for ( ; gpa < end; gpa = (gpa & PAGE_MASK) + PAGE_SIZE) {
		if (!kvm_is_unbacked_gfn(vcpu, gpa_to_gfn(gpa), access))
			return 0;

		if (!kvm_can_access_byte(vcpu, gpa, access))
			return kvm_report_unbacked(vcpu, gpa, access);
	}

	return 0;
}
EXPORT_SYMBOL_FOR_KVM_INTERNAL(kvm_report_unless_backed);

int kvm_emulated_access_failed(struct kvm_vcpu *vcpu, gpa_t gpa, u64 access,
			       struct x86_exception *e)
{
	if (!kvm_is_unbacked_gfn(vcpu, gpa_to_gfn(gpa), access))
		return X86EMUL_IO_NEEDED;

	kvm_set_unbacked(e, gpa, access);
	return X86EMUL_UNBACKED;
}
