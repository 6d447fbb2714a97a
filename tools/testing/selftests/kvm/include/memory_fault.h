/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Take memory away from under a memslot, expect KVM_RUN to have the right thing
 * to say about it, and give the memory back.
 */
#ifndef SELFTEST_KVM_MEMORY_FAULT_H
#define SELFTEST_KVM_MEMORY_FAULT_H

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kvm_syscalls.h"
#include "kvm_util.h"
#include "test_util.h"
#include "ucall_common.h"

/*
 * Run the vCPU, and expect KVM_RUN to fail with @err, or to succeed if @err is 0.
 * Don't try again if KVM_RUN is interrupted, nothing interrupts it without reason.
 */
static inline void vcpu_run_expect(struct kvm_vcpu *vcpu, int err, u32 exit_reason)
{
	struct kvm_run *run = vcpu->run;
	int r = __vcpu_run(vcpu);
	int got = r ? errno : 0;

	if (!r)
		assert_on_unhandled_exception(vcpu);

	TEST_ASSERT(r == (err ? -1 : 0) && got == err && run->exit_reason == exit_reason,
		    "Expected KVM_RUN to end with errno %d (%s) and exit_reason %u (%s), got %d, %d (%s) and %u (%s)",
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
		    gpa, run->memory_fault.gpa);
	TEST_ASSERT(run->memory_fault.size == getpagesize(),
		    "Expected a fault of one host page, got 0x%llx bytes",
		    run->memory_fault.size);
	TEST_ASSERT(run->memory_fault.flags == flags,
		    "Expected flags 0x%lx, got 0x%llx",
		    flags, run->memory_fault.flags);
}

static inline void __vcpu_run_expect_memory_fault(struct kvm_vcpu *vcpu, gpa_t gpa,
						  u64 flags, int err)
{
	vcpu_run_expect(vcpu, err, KVM_EXIT_MEMORY_FAULT);
	assert_memory_fault(vcpu, gpa, flags);
}

/*
 * Run the vCPU, and expect KVM_RUN to fail because the guest, or KVM on its
 * behalf, touched the missing page at @gpa.
 */
static inline void vcpu_run_expect_memory_fault(struct kvm_vcpu *vcpu, gpa_t gpa,
						u64 flags)
{
	__vcpu_run_expect_memory_fault(vcpu, gpa, flags, EFAULT);
}

/* Run the vCPU, and expect KVM_RUN to fail with EFAULT, but not over memory. */
static inline void vcpu_run_expect_unknown(struct kvm_vcpu *vcpu)
{
	vcpu_run_expect(vcpu, EFAULT, KVM_EXIT_UNKNOWN);
}

static inline void vcpu_run_expect_ucall(struct kvm_vcpu *vcpu, u64 cmd)
{
	struct ucall uc;

	vcpu_run_expect(vcpu, 0, UCALL_EXIT_REASON);

	/* This completes the exit, i.e. the guest is at its next instruction. */
	if (get_ucall(vcpu, &uc) == UCALL_ABORT)
		REPORT_GUEST_ASSERT(uc);
	TEST_ASSERT(uc.cmd == cmd, "Expected ucall %lu, got %lu", cmd, uc.cmd);
}

static inline void vcpu_run_expect_sync(struct kvm_vcpu *vcpu)
{
	vcpu_run_expect_ucall(vcpu, UCALL_SYNC);
}

static inline void vcpu_run_expect_done(struct kvm_vcpu *vcpu)
{
	vcpu_run_expect_ucall(vcpu, UCALL_DONE);
}

static inline void vcpu_run_expect_mmio(struct kvm_vcpu *vcpu, gpa_t gpa, size_t len,
					bool is_write)
{
	struct kvm_run *run = vcpu->run;

	vcpu_run_expect(vcpu, 0, KVM_EXIT_MMIO);
	TEST_ASSERT(run->mmio.phys_addr == gpa && run->mmio.len == len &&
		    !!run->mmio.is_write == is_write,
		    "Expected a %s of %zu bytes at gpa 0x%lx, got a %s of %u bytes at 0x%llx",
		    is_write ? "write" : "read", len, gpa,
		    run->mmio.is_write ? "write" : "read", run->mmio.len,
		    run->mmio.phys_addr);
}

/* What the guest reads by the MMIO exit that is pending. */
static inline void mmio_answer(struct kvm_vcpu *vcpu, u64 value)
{
	memcpy(vcpu->run->mmio.data, &value, sizeof(value));
}

static struct {
	int nr;
	int code;
	void *addr;
} last_sigbus;

static inline void record_sigbus(int signo, siginfo_t *info, void *context)
{
	last_sigbus.nr++;
	last_sigbus.code = info->si_code;
	last_sigbus.addr = info->si_addr;
}

/* Run the vCPU, and expect one SIGBUS because the page at @hva is poisoned. */
static inline void vcpu_run_expect_sigbus(struct kvm_vcpu *vcpu, void *hva)
{
	struct sigaction record = {
		.sa_sigaction = record_sigbus,
		.sa_flags = SA_SIGINFO,
	};
	struct sigaction old;

	memset(&last_sigbus, 0, sizeof(last_sigbus));
	TEST_ASSERT(!sigaction(SIGBUS, &record, &old), "sigaction()");
	vcpu_run_expect(vcpu, EINTR, KVM_EXIT_INTR);
	sigaction(SIGBUS, &old, NULL);

	TEST_ASSERT(last_sigbus.nr == 1 && last_sigbus.code == BUS_MCEERR_AR &&
		    last_sigbus.addr == hva,
		    "Expected one SIGBUS, code %d, at %p, got %d, code %d, at %p",
		    BUS_MCEERR_AR, hva, last_sigbus.nr, last_sigbus.code,
		    last_sigbus.addr);
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

/* Let KVM have less than all of a page, and all of it again. */
static inline void protect_page(void *hva, int prot)
{
	int r = mprotect(hva, getpagesize(), prot);

	TEST_ASSERT(!r, __KVM_SYSCALL_ERROR("mprotect()", r));
}

static inline void unprotect_page(void *hva)
{
	protect_page(hva, PROT_READ | PROT_WRITE);
}

/* Map memory where userspace has unmapped some, or has other memory. */
static inline void mmap_over(void *hva, size_t size, int flags, int fd, off_t offset)
{
	void *mem = mmap(hva, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, offset);

	TEST_ASSERT(mem == hva, __KVM_SYSCALL_ERROR("mmap()", -1));
}

static inline void mmap_anonymous_over(void *hva, size_t size)
{
	mmap_over(hva, size, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* Take the page at @hva away, keep what it holds in @copy. */
static inline void lose_page(void *hva, void *copy)
{
	memcpy(copy, hva, getpagesize());
	kvm_munmap(hva, getpagesize());
}

static inline void mend_page(void *hva, const void *copy)
{
	mmap_anonymous_over(hva, getpagesize());
	memcpy(hva, copy, getpagesize());
}

/* The page that @p points into, e.g. the table that has a certain PTE. */
static inline void *page_of(void *p)
{
	return (void *)align_down((uintptr_t)p, getpagesize());
}

/*
 * Let accesses to the page at @hva, which must not be there yet, wait until the
 * file descriptor is closed.  Return -1 if userfaultfd isn't to be had.
 */
static inline int uffd_register_page(void *hva, int flags)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)hva, .len = getpagesize() },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int uffd = syscall(__NR_userfaultfd, O_CLOEXEC | flags);

	if (uffd < 0)
		return -1;

	kvm_ioctl(uffd, UFFDIO_API, &api);
	kvm_ioctl(uffd, UFFDIO_REGISTER, &reg);
	return uffd;
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

#endif /* SELFTEST_KVM_MEMORY_FAULT_H */
