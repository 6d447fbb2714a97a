/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What userspace is told about a guest access that fails, and how it mends it.
 */
#ifndef SELFTEST_KVM_ARM64_MEMORY_FAULT_H
#define SELFTEST_KVM_ARM64_MEMORY_FAULT_H

#include <signal.h>
#include <sys/mman.h>

#include "kvm_util.h"
#include "processor.h"
#include "ucall_common.h"

/* errno first: exit_reason has no meaning without one of the two. */
static inline void vcpu_run_expect_memory_fault(struct kvm_vcpu *vcpu, gpa_t gpa,
						int err)
{
	struct kvm_run *run = vcpu->run;
	size_t size = getpagesize();
	int r = __vcpu_run(vcpu);

	TEST_ASSERT(r == -1 && errno == err,
		    "KVM_RUN: expected -1 (%s), got %d (%s), exit_reason %s",
		    strerror(err), r, r ? strerror(errno) : "no error",
		    exit_reason_str(run->exit_reason));
	TEST_ASSERT(run->exit_reason == KVM_EXIT_MEMORY_FAULT,
		    "exit_reason: expected MEMORY_FAULT, got %s",
		    exit_reason_str(run->exit_reason));
	TEST_ASSERT(run->memory_fault.gpa == align_down(gpa, size) &&
		    run->memory_fault.size == size && !run->memory_fault.flags,
		    "memory_fault: expected gpa 0x%lx size 0x%lx flags 0x0, got gpa 0x%lx size 0x%lx flags 0x%lx",
		    (unsigned long)align_down(gpa, size), (unsigned long)size,
		    (unsigned long)run->memory_fault.gpa,
		    (unsigned long)run->memory_fault.size,
		    (unsigned long)run->memory_fault.flags);
}

static inline void vcpu_run_expect_done(struct kvm_vcpu *vcpu)
{
	struct ucall uc;
	int r = __vcpu_run(vcpu);

	TEST_ASSERT(!r, "KVM_RUN: expected 0, got %d (%s), exit_reason %s", r,
		    strerror(errno), exit_reason_str(vcpu->run->exit_reason));

	switch (get_ucall(vcpu, &uc)) {
	case UCALL_DONE:
		return;
	case UCALL_ABORT:
		REPORT_GUEST_ASSERT(uc);
		return;
	default:
		TEST_FAIL("Expected the guest to be done, got ucall %lu, exit_reason %s",
			  uc.cmd, exit_reason_str(vcpu->run->exit_reason));
	}
}

/* Take the page at @hva away, keep what it holds in @copy. */
static inline void lose_page(void *hva, void *copy)
{
	memcpy(copy, hva, getpagesize());
	kvm_munmap(hva, getpagesize());
}

static inline void mend_page(void *hva, const void *copy)
{
	void *mem = mmap(hva, getpagesize(), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	TEST_ASSERT(mem == hva, __KVM_SYSCALL_ERROR("mmap()", -1));
	memcpy(hva, copy, getpagesize());
}

/* A memslot of guest_memfd, which is all that the guest has at @gpa. */
struct gmem_slot {
	struct kvm_vm *vm;
	u32 slot;
	gpa_t gpa;
	int fd;
	void *hva;
};

static inline void gmem_slot_add(struct gmem_slot *gmem)
{
	u64 flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED;
	size_t size = getpagesize();

	gmem->fd = vm_create_guest_memfd(gmem->vm, size, flags);
	gmem->hva = kvm_mmap(size, PROT_READ | PROT_WRITE, MAP_SHARED, gmem->fd);
	vm_set_user_memory_region2(gmem->vm, gmem->slot, KVM_MEM_GUEST_MEMFD,
				   gmem->gpa, size, gmem->hva, gmem->fd, 0);
}

/* The file goes away with its last user, and every mapping is one. */
static inline void gmem_slot_close(struct gmem_slot *gmem)
{
	kvm_munmap(gmem->hva, getpagesize());
	kvm_close(gmem->fd);
}

static inline void gmem_slot_delete(struct gmem_slot *gmem)
{
	vm_set_user_memory_region2(gmem->vm, gmem->slot, KVM_MEM_GUEST_MEMFD,
				   gmem->gpa, 0, gmem->hva, -1, 0);
}

static inline bool has_gmem_mmap(void)
{
	u64 flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED;

	return (kvm_check_cap(KVM_CAP_GUEST_MEMFD_FLAGS) & flags) == flags;
}

static inline void ignore_sigbus(int signo)
{
}

/*
 * The signal that tells whoever has the page mapped, i.e. the culprit, is of no
 * interest, but is forced upon who ignores it.  guest_memfd refuses to isolate
 * the page, which is EBUSY to madvise(), but the page is poisoned nevertheless.
 */
static inline bool poison_page(void *hva)
{
	struct sigaction ignore = { .sa_handler = ignore_sigbus }, old;
	int r, err;

	sigaction(SIGBUS, &ignore, &old);
	r = madvise(hva, getpagesize(), MADV_HWPOISON);
	err = errno;
	sigaction(SIGBUS, &old, NULL);
	errno = err;
	return !r || err == EBUSY;
}

#endif /* SELFTEST_KVM_ARM64_MEMORY_FAULT_H */
