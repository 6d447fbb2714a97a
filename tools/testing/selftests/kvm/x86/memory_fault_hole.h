/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Take guest memory away from KVM, i.e. from the host's mapping behind a memslot,
 * expect KVM_RUN to tell where the hole is, and give the memory back unchanged.
 */
#ifndef SELFTEST_KVM_MEMORY_FAULT_HOLE_H
#define SELFTEST_KVM_MEMORY_FAULT_HOLE_H

#include <sys/mman.h>

#include "kvm_util.h"
#include "processor.h"
#include "test_util.h"

struct hole {
	void *hva;
	gpa_t gpa;
	/* How KVM_RUN describes the access, 0 unless userspace has enabled that. */
	u64 flags;
};

static inline void punch(struct hole *hole, int prot)
{
	TEST_ASSERT(!mprotect(hole->hva, PAGE_SIZE, prot),
		    "mprotect() to 0x%x failed, errno %d", prot, errno);
}

static inline void mend(struct hole *hole)
{
	punch(hole, PROT_READ | PROT_WRITE);
}

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
	struct kvm_run *run = vcpu->run;
	int r = __vcpu_run(vcpu);

	TEST_ASSERT(r == -1 && errno == EFAULT,
		    "Wanted KVM_RUN to fail with EFAULT, got %d, errno %d, exit %u (%s)",
		    r, errno, run->exit_reason, exit_reason_str(run->exit_reason));
	TEST_ASSERT(run->exit_reason == KVM_EXIT_MEMORY_FAULT,
		    "Wanted a memory fault with EFAULT, got exit %u (%s)",
		    run->exit_reason, exit_reason_str(run->exit_reason));
	TEST_ASSERT(run->memory_fault.gpa == hole->gpa &&
		    run->memory_fault.size == PAGE_SIZE,
		    "Wanted gpa 0x%lx size 0x%llx, got gpa 0x%llx size 0x%llx",
		    hole->gpa, PAGE_SIZE, run->memory_fault.gpa, run->memory_fault.size);
	TEST_ASSERT_EQ(run->memory_fault.flags, hole->flags);
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

static inline void expect_ready(struct kvm_vcpu *vcpu)
{
	struct ucall uc;

	vcpu_run(vcpu);
	switch (get_ucall(vcpu, &uc)) {
	case UCALL_SYNC:
		/* The next KVM_RUN is to begin with the guest's next instruction. */
		vcpu_run_complete_io(vcpu);
		return;
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
	default:
		TEST_FAIL("Wanted the guest to be ready, got exit %u (%s)",
			  vcpu->run->exit_reason, exit_reason_str(vcpu->run->exit_reason));
	}
}

static inline void expect_done(struct kvm_vcpu *vcpu)
{
	struct ucall uc;

	vcpu_run(vcpu);
	switch (get_ucall(vcpu, &uc)) {
	case UCALL_DONE:
		return;
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
	default:
		TEST_FAIL("Wanted the guest to be done, got exit %u (%s)",
			  vcpu->run->exit_reason, exit_reason_str(vcpu->run->exit_reason));
	}
}

/* Let the guest run into @hole, mend that, and let the guest finish. */
static inline void run_into(struct kvm_vcpu *vcpu, struct hole hole, int prot)
{
	expect_ready(vcpu);
	punch(&hole, prot);
	expect_hole(vcpu, &hole);
	mend(&hole);
	expect_done(vcpu);
}

#define REQUIRE_FEP()							\
do {									\
	if (!is_forced_emulation_enabled)				\
		SKIP(return, "kvm.force_emulation_prefix is off");	\
} while (0)

#endif /* SELFTEST_KVM_MEMORY_FAULT_HOLE_H */
