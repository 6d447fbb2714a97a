/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Run a guest into a hole in its memory: KVM_RUN reports the hole as often as it
 * is called, without the guest making progress, and the guest's instruction
 * completes when the memory is back.
 */
#ifndef SELFTEST_KVM_X86_MEMORY_HOLE_H
#define SELFTEST_KVM_X86_MEMORY_HOLE_H

#include "kvm_util.h"
#include "memory_fault.h"
#include "processor.h"
#include "test_util.h"

struct hole {
	void *hva;
	gpa_t gpa;
	/* How KVM_RUN describes the access, 0 unless userspace has enabled that. */
	u64 flags;
};

static inline struct hole gpa_hole(struct kvm_vm *vm, gpa_t gpa)
{
	gpa &= ~(PAGE_SIZE - 1ULL);

	return (struct hole){ .hva = addr_gpa2hva(vm, gpa), .gpa = gpa };
}

static inline struct hole gva_hole(struct kvm_vm *vm, gva_t gva)
{
	return gpa_hole(vm, addr_gva2gpa(vm, gva));
}

/* The table that holds @pte, e.g. what vm_get_pte() returns. */
static inline struct hole table_hole(struct kvm_vm *vm, u64 *pte)
{
	return gpa_hole(vm, addr_hva2gpa(vm, pte));
}

static inline void expect_hole_once(struct kvm_vcpu *vcpu, struct hole *hole)
{
	vcpu_run_expect_memory_fault(vcpu, hole->gpa, hole->flags);
}

/* A hole that stays has to be reported again, with the guest where it was. */
static inline void expect_hole(struct kvm_vcpu *vcpu, struct hole *hole)
{
	struct kvm_regs before, after;

	expect_hole_once(vcpu, hole);
	vcpu_regs_get(vcpu, &before);
	expect_hole_once(vcpu, hole);
	vcpu_regs_get(vcpu, &after);
	TEST_ASSERT(!memcmp(&before, &after, sizeof(before)),
		    "The guest's registers changed, RIP 0x%llx => 0x%llx, RSP 0x%llx => 0x%llx",
		    before.rip, after.rip, before.rsp, after.rsp);
}

/* The guest is about to execute the instruction under test. */
static inline void guest_ready(void)
{
	GUEST_SYNC(0);
}

/* Let the guest run into @hole, mend that, and let the guest finish. */
static inline void run_into(struct kvm_vcpu *vcpu, struct hole hole, int prot)
{
	vcpu_run_expect_sync(vcpu);
	protect_page(hole.hva, prot);
	expect_hole(vcpu, &hole);
	unprotect_page(hole.hva);
	vcpu_run_expect_done(vcpu);
}

#endif /* SELFTEST_KVM_X86_MEMORY_HOLE_H */
