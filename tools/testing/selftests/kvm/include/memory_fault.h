/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What KVM_RUN has to say about memory that userspace has taken away.
 */
#ifndef SELFTEST_KVM_MEMORY_FAULT_H
#define SELFTEST_KVM_MEMORY_FAULT_H

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "kvm_util.h"
#include "test_util.h"

static inline void vcpu_run_expect_error(struct kvm_vcpu *vcpu, int err,
					 u32 exit_reason)
{
	struct kvm_run *run = vcpu->run;
	int r = _vcpu_run(vcpu);
	int got = r ? errno : 0;

	TEST_ASSERT(r == -1 && got == err && run->exit_reason == exit_reason,
		    "Expected KVM_RUN to fail with errno %d (%s) and exit_reason %u (%s), got %d, %d (%s) and %u (%s)",
		    err, strerror(err), exit_reason, exit_reason_str(exit_reason),
		    r, got, strerror(got), run->exit_reason,
		    exit_reason_str(run->exit_reason));
}

/* The page at @gpa is what kvm_run says is missing. */
static inline void assert_memory_fault(struct kvm_vcpu *vcpu, gpa_t gpa, u64 flags)
{
	struct kvm_run *run = vcpu->run;

	TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_MEMORY_FAULT);
	TEST_ASSERT(run->memory_fault.gpa == gpa,
		    "Expected a fault at gpa 0x%lx, got 0x%llx",
		    (unsigned long)gpa, run->memory_fault.gpa);
	TEST_ASSERT(run->memory_fault.size == getpagesize(),
		    "Expected a fault of one host page, got 0x%llx bytes",
		    run->memory_fault.size);
	TEST_ASSERT(run->memory_fault.flags == flags,
		    "Expected flags 0x%lx, got 0x%llx",
		    (unsigned long)flags, run->memory_fault.flags);
}

/*
 * Run the vCPU, and expect KVM_RUN to fail because the guest, or KVM on its
 * behalf, touched the missing page at @gpa.
 */
static inline void vcpu_run_expect_memory_fault(struct kvm_vcpu *vcpu, gpa_t gpa,
						u64 flags)
{
	vcpu_run_expect_error(vcpu, EFAULT, KVM_EXIT_MEMORY_FAULT);
	assert_memory_fault(vcpu, gpa, flags);
}

/* Run the vCPU, and expect KVM_RUN to fail with EFAULT, but not over memory. */
static inline void vcpu_run_expect_unknown(struct kvm_vcpu *vcpu)
{
	vcpu_run_expect_error(vcpu, EFAULT, KVM_EXIT_UNKNOWN);
}

/* Take a page away from under its memslot, and give it back as it was. */
static inline void hva_revoke(void *hva)
{
	int r = mprotect(hva, getpagesize(), PROT_NONE);

	TEST_ASSERT(!r, __KVM_SYSCALL_ERROR("mprotect()", r));
}

static inline void hva_restore(void *hva)
{
	int r = mprotect(hva, getpagesize(), PROT_READ | PROT_WRITE);

	TEST_ASSERT(!r, __KVM_SYSCALL_ERROR("mprotect()", r));
}

/* Code that does nothing but return, for the guest to call. */
static inline void write_return_insn(void *code)
{
#ifdef __x86_64__
	*(u8 *)code = 0xc3;
#else
	*(u32 *)code = 0xd65f03c0;
#endif
	__builtin___clear_cache(code, code + sizeof(u32));
}

/* Map a page of @fd again where userspace has unmapped it. */
static inline void mmap_page_again(void *hva, int fd, off_t offset)
{
	void *mem = mmap(hva, getpagesize(), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, offset);

	TEST_ASSERT(mem == hva, __KVM_SYSCALL_ERROR("mmap()", -1));
}

#endif /* SELFTEST_KVM_MEMORY_FAULT_H */
