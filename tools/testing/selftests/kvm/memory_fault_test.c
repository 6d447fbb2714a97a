// SPDX-License-Identifier: GPL-2.0-only
/*
 * If the guest touches a memslot's page and KVM cannot get at the memory behind
 * it, KVM_RUN fails with EFAULT, KVM_EXIT_MEMORY_FAULT says which page, and the
 * access completes exactly once after userspace has mended the page.  No other
 * failure of KVM_RUN says so, and nothing but KVM_RUN writes kvm_run.
 */
#include <linux/kvm.h>
#include <linux/sizes.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "memory_fault.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"

#define TEST_SLOT	10
#define TEST_GPA	0xc0000000ull
#define TEST_GVA	0xc0000000ull
/* A page of code and data on either side of the page that goes missing. */
#define TEST_NPAGES	3

#define RO_SLOT		11
#define RO_GPA		0xd0000000ull
#define RO_GVA		0xd0000000ull

#define PT_SLOT		12
#define PT_GPA		0xd8000000ull
#define PT_SIZE		SZ_64K
/* Far from everything else, to get page tables of its own. */
#define PT_GVA		(TEST_GVA + (1ull << 38))

/* No memslot is here. */
#define MMIO_GPA	0xe0000000ull
#define MMIO_GVA	0xe0000000ull

/* Offsets into the page, the address of the fault has to be aligned. */
#define DATA_OFFSET	0x88
#define CODE_OFFSET	0x140

#define DATA_INITIAL	0x1122334455667788ull
#define DATA_WRITTEN	0x99aabbccddeeff00ull
#define DATA_MMIO	0x0102030405060708ull

enum access {
	ACCESS_READ,
	ACCESS_WRITE,
	ACCESS_ATOMIC,
	ACCESS_EXEC,
};

/* Shared with the guest. */
static u64 nr_done;
static u64 data_read;
static u64 mmio_read;

static void guest_access(enum access access, gva_t page)
{
	u64 *data = (u64 *)(page + DATA_OFFSET);

	switch (access) {
	case ACCESS_READ:
		data_read = READ_ONCE(*data);
		break;
	case ACCESS_WRITE:
		WRITE_ONCE(*data, DATA_WRITTEN);
		break;
	case ACCESS_ATOMIC:
		__sync_fetch_and_add(data, 1);
		break;
	case ACCESS_EXEC:
		((void (*)(void))(page + CODE_OFFSET))();
		break;
	}
	WRITE_ONCE(nr_done, nr_done + 1);
}

static void guest_access_forever(enum access access, gva_t page)
{
	for (;;) {
		guest_access(access, page);
		GUEST_SYNC(0);
	}
}

static void guest_mmio_then_read(gva_t page)
{
	WRITE_ONCE(mmio_read, READ_ONCE(*(u64 *)MMIO_GVA));
	guest_access(ACCESS_READ, page);
	GUEST_SYNC(0);
}

static void guest_store(gva_t page)
{
	WRITE_ONCE(*(u64 *)page, DATA_WRITTEN);
	GUEST_SYNC(0);
}

static void fill_page(void *page)
{
	*(u64 *)(page + DATA_OFFSET) = DATA_INITIAL;
	write_return_insn(page + CODE_OFFSET);
}

static u64 *guest_pte(struct kvm_vm *vm, gva_t gva)
{
#ifdef __x86_64__
	return vm_get_pte(vm, gva);
#else
	return virt_get_pte_hva(vm, gva);
#endif
}

/* KVM_RUN with immediate_exit completes what is pending, and changes nothing. */
static void vcpu_run_immediate_exit_expect_same_run(struct kvm_vcpu *vcpu)
{
	struct kvm_run before = *vcpu->run;

	vcpu_run_complete_io(vcpu);
	TEST_ASSERT(vcpu->run->exit_reason == before.exit_reason,
		    "immediate_exit changed exit_reason from %u (%s) to %u (%s)",
		    before.exit_reason, exit_reason_str(before.exit_reason),
		    vcpu->run->exit_reason, exit_reason_str(vcpu->run->exit_reason));
	TEST_ASSERT(!memcmp(&before.padding, &vcpu->run->padding, sizeof(before.padding)),
		    "immediate_exit changed the data of %s",
		    exit_reason_str(before.exit_reason));
}

FIXTURE(memory_fault)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	int fd;
	void *mem;
	size_t page_size;
	/* What goes missing is a page of the host's ... */
	void *hole;
	gpa_t hole_gpa;
	/* ... and what the guest uses is the last of its own pages therein. */
	size_t used_offset;
	void *used;
	gva_t used_gva;
};

static void test_vm_create(FIXTURE_DATA(memory_fault) *self)
{
	size_t size;

	self->vm = vm_create_with_one_vcpu(&self->vcpu, guest_access_forever);
	self->page_size = getpagesize();
	size = TEST_NPAGES * self->page_size;

	self->fd = kvm_memfd_alloc(size, false);
	self->mem = kvm_mmap(size, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd);
	vm_set_user_memory_region(self->vm, TEST_SLOT, 0, TEST_GPA, size, self->mem);
	virt_map(self->vm, TEST_GVA, TEST_GPA, size / self->vm->page_size);
	virt_map(self->vm, MMIO_GVA, MMIO_GPA, 1);

	self->hole = self->mem + self->page_size;
	self->hole_gpa = TEST_GPA + self->page_size;
	self->used_offset = self->page_size - self->vm->page_size;
	self->used = self->hole + self->used_offset;
	self->used_gva = TEST_GVA + self->page_size + self->used_offset;
	fill_page(self->used);
}

static void test_vm_free(FIXTURE_DATA(memory_fault) *self)
{
	kvm_vm_free(self->vm);
	close(self->fd);
}

static void hole_munmap(FIXTURE_DATA(memory_fault) *self)
{
	kvm_munmap(self->hole, self->page_size);
}

static void hole_mmap(FIXTURE_DATA(memory_fault) *self)
{
	mmap_over(self->hole, self->page_size, MAP_SHARED, self->fd, self->page_size);
}

static void hole_forbid(FIXTURE_DATA(memory_fault) *self)
{
	protect_page(self->hole, PROT_NONE);
}

static void hole_make_read_only(FIXTURE_DATA(memory_fault) *self)
{
	protect_page(self->hole, PROT_READ);
}

static void hole_allow(FIXTURE_DATA(memory_fault) *self)
{
	unprotect_page(self->hole);
}

static void memory_truncate(FIXTURE_DATA(memory_fault) *self, int npages)
{
	int r = ftruncate(self->fd, npages * self->page_size);

	TEST_ASSERT(!r, __KVM_SYSCALL_ERROR("ftruncate()", r));
}

static void hole_truncate(FIXTURE_DATA(memory_fault) *self)
{
	memory_truncate(self, 1);
}

static void hole_extend(FIXTURE_DATA(memory_fault) *self)
{
	memory_truncate(self, TEST_NPAGES);
	fill_page(self->used);
}

FIXTURE_VARIANT(memory_fault)
{
	enum access access;
	void (*tear)(FIXTURE_DATA(memory_fault) *self);
	void (*mend)(FIXTURE_DATA(memory_fault) *self);
};

#define HOLE_VARIANT(_name, _access, _tear, _mend)		\
	FIXTURE_VARIANT_ADD(memory_fault, _name)		\
	{							\
		.access = _access,				\
		.tear = _tear,					\
		.mend = _mend,					\
	}

HOLE_VARIANT(no_vma_read,	ACCESS_READ,	hole_munmap,	hole_mmap);
HOLE_VARIANT(no_vma_write,	ACCESS_WRITE,	hole_munmap,	hole_mmap);
HOLE_VARIANT(no_vma_atomic,	ACCESS_ATOMIC,	hole_munmap,	hole_mmap);
HOLE_VARIANT(no_vma_exec,	ACCESS_EXEC,	hole_munmap,	hole_mmap);
HOLE_VARIANT(prot_none_read,	ACCESS_READ,	hole_forbid,	hole_allow);
HOLE_VARIANT(prot_none_write,	ACCESS_WRITE,	hole_forbid,	hole_allow);
HOLE_VARIANT(prot_none_atomic,	ACCESS_ATOMIC,	hole_forbid,	hole_allow);
HOLE_VARIANT(prot_none_exec,	ACCESS_EXEC,	hole_forbid,	hole_allow);
HOLE_VARIANT(prot_read_write,	ACCESS_WRITE,	hole_make_read_only, hole_allow);
HOLE_VARIANT(prot_read_atomic,	ACCESS_ATOMIC,	hole_make_read_only, hole_allow);
HOLE_VARIANT(beyond_eof_read,	ACCESS_READ,	hole_truncate,	hole_extend);
HOLE_VARIANT(beyond_eof_write,	ACCESS_WRITE,	hole_truncate,	hole_extend);
HOLE_VARIANT(beyond_eof_atomic,	ACCESS_ATOMIC,	hole_truncate,	hole_extend);
HOLE_VARIANT(beyond_eof_exec,	ACCESS_EXEC,	hole_truncate,	hole_extend);

FIXTURE_SETUP(memory_fault)
{
	test_vm_create(self);
}

FIXTURE_TEARDOWN(memory_fault)
{
	test_vm_free(self);
}

static void expect_accessed(FIXTURE_DATA(memory_fault) *self, enum access access,
			    u64 times)
{
	u64 data = READ_ONCE(*(u64 *)(self->used + DATA_OFFSET));

	sync_global_from_guest(self->vm, nr_done);
	TEST_ASSERT(nr_done == times, "Expected %lu accesses to complete, got %lu",
		    times, nr_done);

	switch (access) {
	case ACCESS_READ:
		sync_global_from_guest(self->vm, data_read);
		TEST_ASSERT_EQ(data_read, DATA_INITIAL);
		break;
	case ACCESS_WRITE:
		TEST_ASSERT_EQ(data, DATA_WRITTEN);
		break;
	case ACCESS_ATOMIC:
		TEST_ASSERT_EQ(data, DATA_INITIAL + 1);
		break;
	case ACCESS_EXEC:
		break;
	}
}

/* The hole is there from the start, KVM has never mapped the page. */
TEST_F(memory_fault, never_mapped)
{
	variant->tear(self);
	vcpu_args_set(self->vcpu, 2, variant->access, self->used_gva);

	/* KVM_RUN fails alike for as long as userspace mends nothing. */
	vcpu_run_expect_memory_fault(self->vcpu, self->hole_gpa, 0);
	vcpu_run_expect_memory_fault(self->vcpu, self->hole_gpa, 0);

	variant->mend(self);
	vcpu_run_expect_sync(self->vcpu);
	expect_accessed(self, variant->access, 1);
}

/* The hole opens under a page that KVM has mapped and the guest uses. */
TEST_F(memory_fault, was_mapped)
{
	vcpu_args_set(self->vcpu, 2, variant->access, self->used_gva);
	vcpu_run_expect_sync(self->vcpu);
	expect_accessed(self, variant->access, 1);

	fill_page(self->used);
	variant->tear(self);
	vcpu_run_expect_memory_fault(self->vcpu, self->hole_gpa, 0);

	variant->mend(self);
	vcpu_run_expect_sync(self->vcpu);
	expect_accessed(self, variant->access, 2);
}

/* The same memory, for the tests that need only one kind of hole. */
FIXTURE(exit_reason)
{
	FIXTURE_DATA(memory_fault) mf;
};

FIXTURE_SETUP(exit_reason)
{
	test_vm_create(&self->mf);
}

FIXTURE_TEARDOWN(exit_reason)
{
	test_vm_free(&self->mf);
}

/* The guest's own page table is missing, the page that it maps is not. */
TEST_F(exit_reason, page_table_in_hole)
{
	struct kvm_vcpu *vcpu = self->mf.vcpu;
	struct kvm_vm *vm = self->mf.vm;
	u8 saved[getpagesize()];
	u64 saved_pt_slot;
	void *table;

	saved_pt_slot = vm->memslots[MEM_REGION_PT];
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, PT_GPA, PT_SLOT,
				    PT_SIZE / vm->page_size, 0);
	vm->memslots[MEM_REGION_PT] = PT_SLOT;
	virt_map(vm, PT_GVA, self->mf.hole_gpa + self->mf.used_offset, 1);
	vm->memslots[MEM_REGION_PT] = saved_pt_slot;

	table = page_of(guest_pte(vm, PT_GVA));
	lose_page(table, saved);

	vcpu_args_set(vcpu, 2, ACCESS_READ, PT_GVA);
	vcpu_run_expect_memory_fault(vcpu, addr_hva2gpa(vm, table), 0);

	mend_page(table, saved);
	vcpu_run_expect_sync(vcpu);
	expect_accessed(&self->mf, ACCESS_READ, 1);
}

/* The fault follows an exit whose reason and data must not be mistaken for it. */
TEST_F(exit_reason, fault_after_mmio)
{
	struct kvm_vcpu *vcpu = self->mf.vcpu;

	vcpu_arch_set_entry_point(vcpu, guest_mmio_then_read);
	vcpu_args_set(vcpu, 1, self->mf.used_gva);
	hole_munmap(&self->mf);

	vcpu_run_expect_mmio(vcpu, MMIO_GPA, sizeof(u64), false);
	mmio_answer(vcpu, DATA_MMIO);
	vcpu_run_expect_memory_fault(vcpu, self->mf.hole_gpa, 0);

	hole_mmap(&self->mf);
	vcpu_run_expect_sync(vcpu);
	expect_accessed(&self->mf, ACCESS_READ, 1);
	sync_global_from_guest(self->mf.vm, mmio_read);
	TEST_ASSERT_EQ(mmio_read, DATA_MMIO);
}

TEST_F(exit_reason, immediate_exit_keeps_mmio)
{
	struct kvm_vcpu *vcpu = self->mf.vcpu;

	vcpu_arch_set_entry_point(vcpu, guest_mmio_then_read);
	vcpu_args_set(vcpu, 1, self->mf.used_gva);

	vcpu_run_expect_mmio(vcpu, MMIO_GPA, sizeof(u64), false);
	mmio_answer(vcpu, DATA_MMIO);
	vcpu_run_immediate_exit_expect_same_run(vcpu);

	vcpu_run_expect_sync(vcpu);
	sync_global_from_guest(self->mf.vm, mmio_read);
	TEST_ASSERT_EQ(mmio_read, DATA_MMIO);
}

TEST_F(exit_reason, immediate_exit_keeps_fault)
{
	struct kvm_vcpu *vcpu = self->mf.vcpu;

	vcpu_args_set(vcpu, 2, ACCESS_WRITE, self->mf.used_gva);
	hole_munmap(&self->mf);
	vcpu_run_expect_memory_fault(vcpu, self->mf.hole_gpa, 0);
	vcpu_run_immediate_exit_expect_same_run(vcpu);

	hole_mmap(&self->mf);
	vcpu_run_expect_sync(vcpu);
	expect_accessed(&self->mf, ACCESS_WRITE, 1);
}

/* A success after a fault brings its own reason. */
TEST_F(exit_reason, mmio_after_fault)
{
	struct kvm_vcpu *vcpu = self->mf.vcpu;

	vcpu_args_set(vcpu, 2, ACCESS_READ, self->mf.used_gva);
	hole_munmap(&self->mf);
	vcpu_run_expect_memory_fault(vcpu, self->mf.hole_gpa, 0);
	hole_mmap(&self->mf);
	vcpu_run_expect_sync(vcpu);

	vcpu_run_complete_io(vcpu);
	vcpu_arch_set_entry_point(vcpu, guest_mmio_then_read);
	vcpu_args_set(vcpu, 1, self->mf.used_gva);
	vcpu_run_expect_mmio(vcpu, MMIO_GPA, sizeof(u64), false);
}

/* Where there is no memslot there is no memory to be missing. */
TEST_F(exit_reason, no_memslot_is_mmio)
{
	struct kvm_vcpu *vcpu = self->mf.vcpu;

	vcpu_arch_set_entry_point(vcpu, guest_store);
	vcpu_args_set(vcpu, 1, MMIO_GVA);
	vcpu_run_expect_mmio(vcpu, MMIO_GPA, sizeof(u64), true);
	vcpu_run_expect_sync(vcpu);
}

/* The page that may go missing, in a read-only memslot. */
static void map_hole_read_only(FIXTURE_DATA(memory_fault) *mf)
{
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_READONLY_MEM));

	vm_set_user_memory_region(mf->vm, RO_SLOT, KVM_MEM_READONLY, RO_GPA,
				  mf->page_size, mf->hole);
	virt_map(mf->vm, RO_GVA, RO_GPA + mf->used_offset, 1);
}

TEST_F(exit_reason, write_to_read_only_memslot_is_mmio)
{
	struct kvm_vcpu *vcpu = self->mf.vcpu;

	map_hole_read_only(&self->mf);
	vcpu_arch_set_entry_point(vcpu, guest_store);
	vcpu_args_set(vcpu, 1, RO_GVA);
	vcpu_run_expect_mmio(vcpu, RO_GPA + self->mf.used_offset, sizeof(u64), true);
	vcpu_run_expect_sync(vcpu);
}

/* Reading is what a read-only memslot is for, missing memory is missing. */
TEST_F(exit_reason, read_of_read_only_memslot_in_hole)
{
	struct kvm_vcpu *vcpu = self->mf.vcpu;

	map_hole_read_only(&self->mf);
	hole_munmap(&self->mf);

	vcpu_args_set(vcpu, 2, ACCESS_READ, RO_GVA);
	vcpu_run_expect_memory_fault(vcpu, RO_GPA, 0);

	hole_mmap(&self->mf);
	vcpu_run_expect_sync(vcpu);
	expect_accessed(&self->mf, ACCESS_READ, 1);
}

TEST_F(exit_reason, capability_is_advertised)
{
	TEST_ASSERT(kvm_has_cap(KVM_CAP_MEMORY_FAULT_INFO),
		    "Expected KVM_CAP_MEMORY_FAULT_INFO to be advertised by /dev/kvm");
	TEST_ASSERT(vm_check_cap(self->mf.vm, KVM_CAP_MEMORY_FAULT_INFO),
		    "Expected KVM_CAP_MEMORY_FAULT_INFO to be advertised by the VM");
}

#ifdef __x86_64__
static void pre_fault_expect_same_run(struct kvm_vcpu *vcpu, gpa_t gpa)
{
	struct kvm_pre_fault_memory range = {
		.gpa = gpa,
		.size = getpagesize(),
	};
	struct kvm_run before = *vcpu->run;
	int r = __vcpu_ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &range);

	__TEST_REQUIRE(r != -1 || errno != EOPNOTSUPP,
		       "KVM_PRE_FAULT_MEMORY needs two-dimensional paging");
	TEST_ASSERT(r == -1 && errno == EFAULT,
		    "KVM_PRE_FAULT_MEMORY on missing memory: expected -1 with EFAULT, got %d with errno %d (%s)",
		    r, errno, strerror(errno));
	TEST_ASSERT(!memcmp(&before, vcpu->run, sizeof(before)),
		    "KVM_PRE_FAULT_MEMORY changed kvm_run, exit_reason %u (%s) is now %u (%s)",
		    before.exit_reason, exit_reason_str(before.exit_reason),
		    vcpu->run->exit_reason, exit_reason_str(vcpu->run->exit_reason));
}

TEST_F(exit_reason, pre_fault_keeps_mmio)
{
	struct kvm_vcpu *vcpu = self->mf.vcpu;

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_PRE_FAULT_MEMORY));

	vcpu_arch_set_entry_point(vcpu, guest_mmio_then_read);
	vcpu_args_set(vcpu, 1, self->mf.used_gva);
	vcpu_run_expect_mmio(vcpu, MMIO_GPA, sizeof(u64), false);
	mmio_answer(vcpu, DATA_MMIO);

	hole_munmap(&self->mf);
	pre_fault_expect_same_run(vcpu, self->mf.hole_gpa);
	hole_mmap(&self->mf);

	vcpu_run_expect_sync(vcpu);
	sync_global_from_guest(self->mf.vm, mmio_read);
	TEST_ASSERT_EQ(mmio_read, DATA_MMIO);
}

TEST(pre_fault_of_private_memory_keeps_mmio)
{
	const struct vm_shape shape = {
		.mode = VM_MODE_DEFAULT,
		.type = KVM_X86_SW_PROTECTED_VM,
	};
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;

	TEST_REQUIRE(kvm_has_cap(KVM_CAP_PRE_FAULT_MEMORY));
	TEST_REQUIRE(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM));

	vm = vm_create_shape_with_one_vcpu(shape, &vcpu, guest_mmio_then_read);
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, TEST_GPA, TEST_SLOT, 1, 0);
	virt_map(vm, TEST_GVA, TEST_GPA, 1);
	virt_map(vm, MMIO_GVA, MMIO_GPA, 1);
	vcpu_args_set(vcpu, 1, TEST_GVA);

	vcpu_run_expect_mmio(vcpu, MMIO_GPA, sizeof(u64), false);
	mmio_answer(vcpu, DATA_MMIO);

	/* The memslot has no guest_memfd, i.e. no private memory. */
	vm_mem_set_private(vm, TEST_GPA, getpagesize());
	pre_fault_expect_same_run(vcpu, TEST_GPA);
	vm_mem_set_shared(vm, TEST_GPA, getpagesize());

	vcpu_run_expect_sync(vcpu);
	sync_global_from_guest(vm, mmio_read);
	TEST_ASSERT(mmio_read == DATA_MMIO,
		    "Expected the guest to read 0x%llx from MMIO, got 0x%lx",
		    DATA_MMIO, mmio_read);
	kvm_vm_free(vm);
}
#endif

TEST_HARNESS_MAIN
