// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest that reads or executes hardware poison gets its VMM a SIGBUS with the
 * address of the poisoned page, no matter if the memslot is read-only.
 */
#include <unistd.h>

#include "kvm_test_harness.h"
#include "kvm_util.h"
#include "memory_fault.h"
#include "processor.h"
#include "test_util.h"

#define POISON_GPA	0xc0000000ul
#define POISON_GVA	POISON_GPA
#define POISON_SLOT	10

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
	TEST_ASSERT(poison_page(hva), __KVM_SYSCALL_ERROR("madvise()", -1));

	return hva;
}

static void test_poison(struct kvm_vcpu *vcpu, u32 flags)
{
	vcpu_run_expect_sigbus(vcpu, add_poisoned_memslot(vcpu->vm, flags));
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
