// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whatever instruction, walk or backing a guest access fails with, userspace is
 * told the page that is missing, and the access happens once when it is mended.
 */
#include <asm/sysreg.h>
#include <linux/bitfield.h>
#include <linux/sizes.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "gmem_slot.h"
#include "kvm_test_harness.h"
#include "kvm_util.h"
#include "memory_fault.h"
#include "processor.h"
#include "test_util.h"

#define DATA_GPA	0x80000000ul
#define DATA_SLOT	10

/*
 * Far away from the test, to have tables of its own.  They are in a memslot of
 * their own, lest they share a page of the host's with those of the test.
 */
#define DATA_GVA	BIT(42)
#define TABLES_GPA	0x70000000ul
#define TABLES_SLOT	11
#define TABLES_SIZE	SZ_256K

#define MAGIC		0x600d0000ul

static void guest_load_pair(u64 *p)
{
	u64 low, high;

	asm volatile("ldp %0, %1, [%2]" : "=r" (low), "=r" (high) : "r" (p));
	GUEST_ASSERT_EQ(low, MAGIC);
	GUEST_DONE();
}

static void guest_exclusive(u64 *p)
{
	u64 tmp;
	u32 fail;

	asm volatile("1:	ldxr	%0, [%2]\n"
		     "	add	%0, %0, #1\n"
		     "	stxr	%w1, %0, [%2]\n"
		     "	cbnz	%w1, 1b"
		     : "=&r" (tmp), "=&r" (fail) : "r" (p) : "memory");
	GUEST_DONE();
}

#define LSE	".arch_extension lse\n"

static void guest_ldadd(u64 *p)
{
	u64 old;

	asm volatile(LSE "ldadd %1, %0, [%2]"
		     : "=&r" (old) : "r" (1ul), "r" (p) : "memory");
	GUEST_ASSERT_EQ(old, MAGIC);
	GUEST_DONE();
}

static void guest_cas(u64 *p)
{
	u64 old = MAGIC;

	asm volatile(LSE "cas %0, %1, [%2]"
		     : "+r" (old) : "r" (MAGIC + 1), "r" (p) : "memory");
	GUEST_ASSERT_EQ(old, MAGIC);
	GUEST_DONE();
}

static void guest_swp(u64 *p)
{
	u64 old;

	asm volatile(LSE "swp %1, %0, [%2]"
		     : "=&r" (old) : "r" (MAGIC + 1), "r" (p) : "memory");
	GUEST_ASSERT_EQ(old, MAGIC);
	GUEST_DONE();
}

static void guest_dc_zva(u64 *p)
{
	asm volatile("dc zva, %0" : : "r" (p) : "memory");
	GUEST_DONE();
}

static void guest_load(u64 *p)
{
	GUEST_ASSERT_EQ(READ_ONCE(*p), MAGIC);
	GUEST_DONE();
}

static void guest_load_with_hw_af(u64 *p)
{
	sysreg_clear_set(tcr_el1, 0, TCR_HA);
	isb();
	guest_load(p);
}

static struct kvm_vm *create_vm_with_flags(struct kvm_vcpu **vcpu, void *guest_code,
					   enum vm_mem_backing_src_type src,
					   size_t size, u64 flags)
{
	struct kvm_vm *vm = vm_create(1);
	size_t nr_pages = size / vm->page_size;

	if (flags)
		vm_enable_cap(vm, KVM_CAP_MEMORY_FAULT_FLAGS, flags);
	*vcpu = vm_vcpu_add(vm, 0, guest_code);
	kvm_arch_vm_finalize_vcpus(vm);

	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, TABLES_GPA, TABLES_SLOT,
				    TABLES_SIZE / vm->page_size, 0);
	vm->memslots[MEM_REGION_PT] = TABLES_SLOT;

	vm_userspace_mem_region_add(vm, src, DATA_GPA, DATA_SLOT, nr_pages, 0);
	virt_map(vm, DATA_GVA, DATA_GPA, nr_pages);
	return vm;
}

static struct kvm_vm *create_vm(struct kvm_vcpu **vcpu, void *guest_code,
				enum vm_mem_backing_src_type src, size_t size)
{
	return create_vm_with_flags(vcpu, guest_code, src, size, 0);
}

static bool has_lse(struct kvm_vcpu *vcpu)
{
	u64 isar0 = vcpu_get_reg(vcpu, KVM_ARM64_SYS_REG(SYS_ID_AA64ISAR0_EL1));

	return SYS_FIELD_GET(ID_AA64ISAR0_EL1, ATOMIC, isar0);
}

FIXTURE(access) {
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	u64 *data;
	void *copy;
};

FIXTURE_VARIANT(access) {
	void (*guest_code)(u64 *p);
	u64 after;
	bool writes;
	bool lse;
};

FIXTURE_VARIANT_ADD(access, load_pair) {
	.guest_code = guest_load_pair,
	.after = MAGIC,
};

FIXTURE_VARIANT_ADD(access, exclusive) {
	.guest_code = guest_exclusive,
	.after = MAGIC + 1,
	.writes = true,
};

FIXTURE_VARIANT_ADD(access, ldadd) {
	.guest_code = guest_ldadd,
	.after = MAGIC + 1,
	.writes = true,
	.lse = true,
};

FIXTURE_VARIANT_ADD(access, cas) {
	.guest_code = guest_cas,
	.after = MAGIC + 1,
	.writes = true,
	.lse = true,
};

FIXTURE_VARIANT_ADD(access, swp) {
	.guest_code = guest_swp,
	.after = MAGIC + 1,
	.writes = true,
	.lse = true,
};

FIXTURE_VARIANT_ADD(access, dc_zva) {
	.guest_code = guest_dc_zva,
	.after = 0,
	.writes = true,
};

FIXTURE_SETUP(access)
{
	self->vm = create_vm(&self->vcpu, variant->guest_code, VM_MEM_SRC_ANONYMOUS,
			     getpagesize());
	self->data = addr_gpa2hva(self->vm, DATA_GPA);
	self->data[0] = MAGIC;
	self->copy = malloc(getpagesize());
	vcpu_args_set(self->vcpu, 1, DATA_GVA);
	if (variant->lse && !has_lse(self->vcpu))
		SKIP(return, "No LSE atomics");
}

FIXTURE_TEARDOWN(access)
{
	free(self->copy);
	kvm_vm_free(self->vm);
}

TEST_F(access, hole)
{
	lose_page(self->data, self->copy);
	vcpu_run_expect_memory_fault(self->vcpu, DATA_GPA, 0);
	vcpu_run_expect_memory_fault(self->vcpu, DATA_GPA, 0);

	mend_page(self->data, self->copy);
	vcpu_run_expect_done(self->vcpu);
	TEST_ASSERT_EQ(self->data[0], variant->after);
}

TEST_F(access, write_protected_page)
{
	if (!variant->writes)
		SKIP(return, "Not a write");

	protect_page(self->data, PROT_READ);
	vcpu_run_expect_memory_fault(self->vcpu, DATA_GPA, 0);

	unprotect_page(self->data);
	vcpu_run_expect_done(self->vcpu);
	TEST_ASSERT_EQ(self->data[0], variant->after);
}

static void *table_of_level(struct kvm_vm *vm, gva_t gva, int level)
{
	u64 *pte = virt_get_pte_hva_at_level(vm, gva, level);

	return (void *)align_down((u64)pte, getpagesize());
}

static bool has_own_table(struct kvm_vm *vm, int level)
{
	return level > 4 - vm->mmu.pgtable_levels &&
	       table_of_level(vm, DATA_GVA, level) !=
	       table_of_level(vm, (gva_t)guest_load, level);
}

FIXTURE(walk) {
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	void *copy;
};

FIXTURE_VARIANT(walk) {
	int level;
};

FIXTURE_VARIANT_ADD(walk, level1) { .level = 1 };
FIXTURE_VARIANT_ADD(walk, level2) { .level = 2 };
FIXTURE_VARIANT_ADD(walk, level3) { .level = 3 };

FIXTURE_SETUP(walk)
{
	/* Of a walk, nobody can tell if it is to read, to write or to execute. */
	self->vm = create_vm_with_flags(&self->vcpu, guest_load, VM_MEM_SRC_ANONYMOUS,
					getpagesize(),
					kvm_check_cap(KVM_CAP_MEMORY_FAULT_FLAGS));
	*(u64 *)addr_gpa2hva(self->vm, DATA_GPA) = MAGIC;
	self->copy = malloc(getpagesize());
	vcpu_args_set(self->vcpu, 1, DATA_GVA);
	if (!has_own_table(self->vm, variant->level))
		SKIP(return, "The table has the test in it, too");
}

FIXTURE_TEARDOWN(walk)
{
	free(self->copy);
	kvm_vm_free(self->vm);
}

TEST_F(walk, hole)
{
	void *table = table_of_level(self->vm, DATA_GVA, variant->level);
	gpa_t gpa = addr_hva2gpa(self->vm, table);

	lose_page(table, self->copy);
	vcpu_run_expect_memory_fault(self->vcpu, gpa, 0);

	mend_page(table, self->copy);
	vcpu_run_expect_done(self->vcpu);
}

/* The walk that sets the access flag is a write, although the access is none. */
TEST_F(walk, write_protected_table)
{
	u64 mmfr1 = vcpu_get_reg(self->vcpu, KVM_ARM64_SYS_REG(SYS_ID_AA64MMFR1_EL1));
	void *table = table_of_level(self->vm, DATA_GVA, variant->level);
	u64 *pte = virt_get_pte_hva(self->vm, DATA_GVA);

	if (variant->level != 3)
		SKIP(return, "No access flag in this level");
	if (!SYS_FIELD_GET(ID_AA64MMFR1_EL1, HAFDBS, mmfr1))
		SKIP(return, "No hardware update of the access flag");

	*pte &= ~PTE_AF;
	protect_page(table, PROT_READ);
	vcpu_arch_set_entry_point(self->vcpu, guest_load_with_hw_af);
	vcpu_run_expect_memory_fault(self->vcpu, addr_hva2gpa(self->vm, table), 0);

	unprotect_page(table);
	vcpu_run_expect_done(self->vcpu);
	TEST_ASSERT(*pte & PTE_AF, "Access flag is not set");
}

FIXTURE(huge) {
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	size_t size;
	size_t lost;
	void *hva;
};

FIXTURE_VARIANT(huge) {
	enum vm_mem_backing_src_type src;
	bool whole;
};

FIXTURE_VARIANT_ADD(huge, thp) {
	.src = VM_MEM_SRC_ANONYMOUS_THP,
};

/* A huge page of hugetlbfs can only be lost as a whole. */
FIXTURE_VARIANT_ADD(huge, hugetlb) {
	.src = VM_MEM_SRC_ANONYMOUS_HUGETLB,
	.whole = true,
};

/* Visit the first huge page as a whole, and one page of the second. */
static void guest_huge(u64 *p, u64 *lost)
{
	WRITE_ONCE(*p, MAGIC);
	GUEST_SYNC(0);
	WRITE_ONCE(*lost, READ_ONCE(*lost) + 1);
	GUEST_ASSERT_EQ(READ_ONCE(*p), MAGIC);
	GUEST_DONE();
}

/* There may be more already, for others: leave those alone. */
static bool reserve_hugetlb(size_t nr)
{
	FILE *f = fopen("/proc/sys/vm/nr_hugepages", "r+");
	size_t got = 0;

	if (!f)
		return false;
	if (fscanf(f, "%zu", &got) == 1 && got < nr) {
		rewind(f);
		fprintf(f, "%zu", nr);
		rewind(f);
		if (fscanf(f, "%zu", &got) != 1)
			got = 0;
	}
	fclose(f);
	return got >= nr;
}

FIXTURE_SETUP(huge)
{
	size_t size;

	if (variant->src == VM_MEM_SRC_ANONYMOUS_THP && !thp_configured())
		SKIP(return, "No transparent huge pages");
	if (variant->src == VM_MEM_SRC_ANONYMOUS_HUGETLB && !reserve_hugetlb(2))
		SKIP(return, "Cannot reserve two huge pages");
	size = get_backing_src_pagesz(variant->src);
	if (size > SZ_32M)
		SKIP(return, "Huge pages are too large");

	self->size = size;
	self->vm = create_vm(&self->vcpu, guest_huge, variant->src, 2 * size);
	self->hva = addr_gpa2hva(self->vm, DATA_GPA);
	memset(self->hva, 0, 2 * size);

	/* Not the first page, to tell it from the huge page. */
	self->lost = size + 5 * getpagesize();
	vcpu_args_set(self->vcpu, 2, DATA_GVA, DATA_GVA + self->lost);
}

FIXTURE_TEARDOWN(huge)
{
	kvm_vm_free(self->vm);
}

TEST_F(huge, hole)
{
	void *lost = self->hva + (variant->whole ? self->size : self->lost);
	size_t lost_size = variant->whole ? self->size : getpagesize();

	vcpu_run_expect_sync(self->vcpu);
	kvm_munmap(lost, lost_size);
	vcpu_run_expect_memory_fault(self->vcpu, DATA_GPA + self->lost, 0);

	mmap_anonymous_over(lost, lost_size);
	vcpu_run_expect_done(self->vcpu);
	TEST_ASSERT_EQ(*(u64 *)(self->hva + self->lost), 1);
}

/* A VM with MTE refuses memory that cannot hold tags, guest_memfd's here. */
TEST(mte_mismatch)
{
	size_t size = getpagesize();
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	u64 *data;
	int fd;

	if (!kvm_check_cap(KVM_CAP_ARM_MTE))
		SKIP(return, "No MTE");
	if (!has_gmem_mmap())
		SKIP(return, "No guest_memfd that can be mapped");

	/* There is no MTE for a guest at vEL2. */
	setenv("NV", "0", 1);
	test_wants_mte();
	vm = create_vm(&vcpu, guest_load, VM_MEM_SRC_ANONYMOUS, getpagesize());
	vcpu_args_set(vcpu, 1, DATA_GVA);
	data = addr_gpa2hva(vm, DATA_GPA);

	fd = vm_create_guest_memfd(vm, size, GMEM_SLOT_FLAGS);
	mmap_over(data, size, MAP_SHARED, fd, 0);
	vcpu_run_expect_memory_fault(vcpu, DATA_GPA, 0);

	mmap_anonymous_over(data, size);
	*data = MAGIC;
	vcpu_run_expect_done(vcpu);
	kvm_vm_free(vm);
	close(fd);
}

#define TRACING "/sys/kernel/tracing"
#define TRACE_INSTANCE TRACING "/instances/stage2_memory_fault_test"

static bool trace_userspace_exits(void)
{
	FILE *f;

	if (access(TRACING "/instances", F_OK))
		mount("tracefs", TRACING, "tracefs", 0, NULL);
	if (mkdir(TRACE_INSTANCE, 0700) && errno != EEXIST)
		return false;
	f = fopen(TRACE_INSTANCE "/events/kvm/kvm_userspace_exit/enable", "w");
	if (!f)
		return false;
	fputs("1", f);
	return !fclose(f);
}

static void *run_vcpu(void *vcpu)
{
	__vcpu_run(vcpu);
	return NULL;
}

/* Die while a vCPU waits for a page that nobody provides. */
static void die_in_page_fault(void)
{
	struct kvm_vcpu *vcpu;
	struct uffd_msg msg;
	pthread_t thread;
	struct kvm_vm *vm;
	int uffd;

	vm = create_vm(&vcpu, guest_load, VM_MEM_SRC_ANONYMOUS, getpagesize());
	vcpu_args_set(vcpu, 1, DATA_GVA);

	uffd = uffd_register_page(addr_gpa2hva(vm, DATA_GPA), 0);
	if (uffd < 0)
		_exit(KSFT_SKIP);

	kvm_pthread_create(&thread, NULL, run_vcpu, vcpu);
	TEST_ASSERT_EQ(read(uffd, &msg, sizeof(msg)), sizeof(msg));
	kill(getpid(), SIGKILL);
}

/* The VMM cannot tell how KVM_RUN ends when it is killed, but a tracer can. */
TEST(killed_in_page_fault)
{
	char line[512], *exit = NULL;
	int status;
	pid_t pid;
	FILE *f;

	if (!trace_userspace_exits())
		SKIP(return, "Cannot trace kvm_userspace_exit");

	pid = fork();
	if (!pid)
		die_in_page_fault();
	TEST_ASSERT_EQ(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == KSFT_SKIP)
		SKIP(return, "No userfaultfd");
	TEST_ASSERT(WIFSIGNALED(status), "Expected SIGKILL, got status 0x%x", status);

	f = fopen(TRACE_INSTANCE "/trace", "r");
	while (!exit && f && fgets(line, sizeof(line), f))
		exit = strstr(line, "kvm_userspace_exit: ");
	TEST_ASSERT(exit && strstr(exit, "reason restart (4)"),
		    "Expected KVM_RUN to be traced with EINTR, i.e. \"reason restart (4)\", got %s",
		    exit ?: "no event");
	fclose(f);
	rmdir(TRACE_INSTANCE);
}

TEST(capability)
{
	TEST_ASSERT_EQ(kvm_check_cap(KVM_CAP_MEMORY_FAULT_INFO), 1);
}

TEST_HARNESS_MAIN
