// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest that reads or executes hardware poison gets its VMM a SIGBUS with the
 * address of the poisoned page, no matter if the memslot is read-only.
 */
#include <signal.h>
#include <unistd.h>

#include "kvm_syscalls.h"
#include "kvm_test_harness.h"
#include "kvm_util.h"
#include "processor.h"
#include "test_util.h"

#ifndef MADV_HWPOISON
#define MADV_HWPOISON	100
#endif

#define POISON_GPA	0xc0000000ul
#define POISON_GVA	POISON_GPA
#define POISON_SLOT	10

static struct {
	int nr;
	int code;
	void *addr;
} sigbus;

static void sigbus_handler(int sig, siginfo_t *info, void *context)
{
	sigbus.nr++;
	sigbus.code = info->si_code;
	sigbus.addr = info->si_addr;
}

static void guest_read(void)
{
	READ_ONCE(*(u64 *)POISON_GVA);
	GUEST_DONE();
}

static void guest_exec(void)
{
	((void (*)(void))POISON_GVA)();
	GUEST_DONE();
}

/* Poison is for good: the page must be one that nobody will miss. */
static void *add_poisoned_memslot(struct kvm_vm *vm, u32 flags)
{
	size_t page_size = getpagesize();
	void *hva;

	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, POISON_GPA,
				    POISON_SLOT,
				    vm_calc_num_guest_pages(vm->mode, page_size),
				    flags);
	virt_map(vm, POISON_GVA, POISON_GPA, 1);

	hva = addr_gpa2hva(vm, POISON_GPA);
	memset(hva, 0, page_size);
	kvm_madvise(hva, page_size, MADV_HWPOISON);

	return hva;
}

static void test_poison(struct kvm_vcpu *vcpu, u32 flags)
{
	struct sigaction sa = {
		.sa_sigaction = sigbus_handler,
		.sa_flags = SA_SIGINFO,
	};
	void *hva;
	int r;

	TEST_ASSERT(!sigaction(SIGBUS, &sa, NULL), "sigaction()");

	/* MADV_HWPOISON itself sends a SIGBUS, one that isn't KVM's. */
	hva = add_poisoned_memslot(vcpu->vm, flags);
	memset(&sigbus, 0, sizeof(sigbus));

	r = __vcpu_run(vcpu);
	TEST_ASSERT(r == -1 && errno == EINTR,
		    "Expected KVM_RUN to be interrupted, got %d, errno %d (%s)",
		    r, errno, strerror(errno));

	TEST_ASSERT(sigbus.nr == 1 && sigbus.code == BUS_MCEERR_AR &&
		    sigbus.addr == hva,
		    "Expected one SIGBUS, code %d, at %p, got %d, code %d, at %p",
		    BUS_MCEERR_AR, hva, sigbus.nr, sigbus.code, sigbus.addr);
}

KVM_ONE_VCPU_TEST_SUITE(readonly_memslot_poison);

KVM_ONE_VCPU_TEST(readonly_memslot_poison, read, guest_read)
{
	test_poison(vcpu, KVM_MEM_READONLY);
}

KVM_ONE_VCPU_TEST(readonly_memslot_poison, exec, guest_exec)
{
	test_poison(vcpu, KVM_MEM_READONLY);
}

KVM_ONE_VCPU_TEST(readonly_memslot_poison, read_writable, guest_read)
{
	test_poison(vcpu, 0);
}

int main(int argc, char *argv[])
{
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_READONLY_MEM));

	/* Poison nothing, to see if the kernel knows how to. */
	TEST_REQUIRE(!madvise(NULL, 0, MADV_HWPOISON));
	TEST_REQUIRE(!geteuid());

	return test_harness_run(argc, argv);
}
