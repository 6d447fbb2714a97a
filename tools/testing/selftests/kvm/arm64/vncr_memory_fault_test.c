// SPDX-License-Identifier: GPL-2.0-only
/*
 * L2's accesses to registers that live in memory fail like any other access if
 * the page that L1's VNCR_EL2 points to is missing.
 */
#include <asm/ptrace.h>
#include <asm/sysreg.h>
#include <linux/bitfield.h>
#include <linux/sizes.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>

#include "gmem_slot.h"
#include "kvm_test_harness.h"
#include "kvm_util.h"
#include "memory_fault.h"
#include "nested.h"
#include "processor.h"
#include "test_util.h"

#define VNCR_GPA	0x60000000ul
#define VNCR_SLOT	10

/*
 * VNCR_EL2 has the address of 4K, whatever the page size of the host: the last 4K
 * of its page, to tell the one from the other.
 */
#define VNCR_OFFSET	(getpagesize() - SZ_4K)
#define VNCR_GVA	(0xc0000000ul + VNCR_OFFSET)

/* Where L2's VTTBR_EL2 and VTCR_EL2 live in the VNCR page. */
#define VNCR_VTTBR	0x20
#define VNCR_VTCR	0x40

#define TABLE_GPA	0x70000000ul
#define TABLE_SLOT	11

#define MAGIC		0x600d0000ul

/* AP[2] */
#define PTE_RDONLY	BIT(7)

static u64 l2_value;
static u64 vncr;

static void l2_read(void)
{
	l2_value = read_sysreg_s(SYS_VTTBR_EL2);
	l2_exit_to_l1();
}

static void l2_write(void)
{
	write_sysreg_s(MAGIC, SYS_VTCR_EL2);
	l2_exit_to_l1();
}

static void l1_code(void (*l2_code)(void))
{
	write_sysreg_s(vncr, SYS_VNCR_EL2);
	l2_init(HCR_EL2_NV | HCR_EL2_NV2, 0, 0);
	l2_run(l2_code);
	GUEST_DONE();
}

/* Again and again, to be able to fail where everything but the page is there. */
static void l1_code_loop(void (*l2_code)(void))
{
	write_sysreg_s(vncr, SYS_VNCR_EL2);
	l2_init(HCR_EL2_NV | HCR_EL2_NV2, 0, 0);
	for (;;) {
		l2_run(l2_code);
		GUEST_SYNC(0);
	}
}

static void l1_code_with_hw_af(void (*l2_code)(void))
{
	sysreg_clear_set(tcr_el1, 0, TCR_HA);
	isb();
	l1_code(l2_code);
}

FIXTURE(vncr_memory_fault) {
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	void *page;
	void *copy;
	size_t size;
};

static u64 *vncr_reg(void *page, u64 reg)
{
	return page + VNCR_OFFSET + reg;
}

/* A page of the host's, which can be more than one of the guest's. */
static void add_page(struct kvm_vm *vm, u32 slot, gpa_t gpa, u32 flags)
{
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, gpa, slot,
				    getpagesize() / vm->page_size, flags);
}

FIXTURE_SETUP(vncr_memory_fault)
{
	self->vm = vm_create_with_one_vcpu(&self->vcpu, l1_code);
	l2_vcpu_init(self->vcpu);

	self->size = getpagesize();
	add_page(self->vm, VNCR_SLOT, VNCR_GPA, 0);
	virt_map(self->vm, align_down(VNCR_GVA, self->vm->page_size),
		 align_down(VNCR_GPA + VNCR_OFFSET, self->vm->page_size), 1);
	vncr = VNCR_GVA;
	sync_global_to_guest(self->vm, vncr);

	self->page = addr_gpa2hva(self->vm, VNCR_GPA);
	self->copy = malloc(self->size);
	*vncr_reg(self->page, VNCR_VTTBR) = MAGIC;
}

FIXTURE_TEARDOWN(vncr_memory_fault)
{
	free(self->copy);
	kvm_vm_free(self->vm);
}

static void expect_l2_exits(struct kvm_vm *vm, u64 nr)
{
	sync_global_from_guest(vm, l2_exit);
	TEST_ASSERT(l2_exit.count == nr, "Expected %lu exits to L1, got %lu, esr 0x%lx",
		    (unsigned long)nr, (unsigned long)l2_exit.count,
		    (unsigned long)l2_exit.esr);
}

static void run_expect_hvc(struct kvm_vcpu *vcpu)
{
	vcpu_run_expect_done(vcpu);
	expect_l2_exits(vcpu->vm, 1);
	TEST_ASSERT(ESR_ELx_EC(l2_exit.esr) == ESR_ELx_EC_HVC64,
		    "Expected an HVC of L2's, got esr 0x%lx", (unsigned long)l2_exit.esr);
}

static void run_expect_abort(struct kvm_vcpu *vcpu, u64 fsc)
{
	vcpu_run_expect_done(vcpu);
	expect_l2_exits(vcpu->vm, 1);
	TEST_ASSERT(ESR_ELx_EC(l2_exit.esr) == ESR_ELx_EC_DABT_CUR &&
		    (l2_exit.esr & ESR_ELx_VNCR) &&
		    (l2_exit.esr & ESR_ELx_FSC) == fsc,
		    "Expected a VNCR abort with FSC 0x%lx, got esr 0x%lx",
		    (unsigned long)fsc, (unsigned long)l2_exit.esr);
}

static void expect_value(struct kvm_vm *vm, u64 expected)
{
	sync_global_from_guest(vm, l2_value);
	TEST_ASSERT(l2_value == expected, "L2 read 0x%lx, expected 0x%lx",
		    (unsigned long)l2_value, (unsigned long)expected);
}

static void run_expect_vncr_fault(struct kvm_vcpu *vcpu, int err)
{
	__vcpu_run_expect_memory_fault(vcpu, VNCR_GPA, 0, err);
	expect_l2_exits(vcpu->vm, 0);

	/* As long as it is not mended, userspace is told again. */
	__vcpu_run_expect_memory_fault(vcpu, VNCR_GPA, 0, err);
	expect_l2_exits(vcpu->vm, 0);
}

TEST_F(vncr_memory_fault, no_fault)
{
	vcpu_args_set(self->vcpu, 1, l2_read);
	run_expect_hvc(self->vcpu);
	expect_value(self->vm, MAGIC);
}

TEST_F(vncr_memory_fault, read_hole)
{
	vcpu_args_set(self->vcpu, 1, l2_read);
	lose_page(self->page, self->copy);
	run_expect_vncr_fault(self->vcpu, EFAULT);

	mend_page(self->page, self->copy);
	run_expect_hvc(self->vcpu);
	expect_value(self->vm, MAGIC);
}

TEST_F(vncr_memory_fault, write_hole)
{
	vcpu_args_set(self->vcpu, 1, l2_write);
	lose_page(self->page, self->copy);
	run_expect_vncr_fault(self->vcpu, EFAULT);

	mend_page(self->page, self->copy);
	run_expect_hvc(self->vcpu);
	TEST_ASSERT_EQ(*vncr_reg(self->page, VNCR_VTCR), MAGIC);
}

TEST_F(vncr_memory_fault, write_protected_page)
{
	vcpu_args_set(self->vcpu, 1, l2_write);
	protect_page(self->page, PROT_READ);
	run_expect_vncr_fault(self->vcpu, EFAULT);

	unprotect_page(self->page);
	run_expect_hvc(self->vcpu);
	TEST_ASSERT_EQ(*vncr_reg(self->page, VNCR_VTCR), MAGIC);
}

/* L1 does not let L2 write, it is all the same what userspace does. */
TEST_F(vncr_memory_fault, write_to_page_read_only_for_l1)
{
	*virt_get_pte_hva(self->vm, VNCR_GVA) |= PTE_RDONLY;
	protect_page(self->page, PROT_READ);

	vcpu_args_set(self->vcpu, 1, l2_write);
	run_expect_abort(self->vcpu, ESR_ELx_FSC_PERM_L(3));
}

/* Nor does it matter what there is to write to. */
TEST_F(vncr_memory_fault, write_to_hole_read_only_for_l1)
{
	*virt_get_pte_hva(self->vm, VNCR_GVA) |= PTE_RDONLY;
	lose_page(self->page, self->copy);

	vcpu_args_set(self->vcpu, 1, l2_write);
	run_expect_abort(self->vcpu, ESR_ELx_FSC_PERM_L(3));
}

TEST_F(vncr_memory_fault, no_memslot)
{
	vm_mem_region_delete(self->vm, VNCR_SLOT);
	vcpu_args_set(self->vcpu, 1, l2_read);
	run_expect_abort(self->vcpu, ESR_ELx_FSC_EXTABT);
}

TEST_F(vncr_memory_fault, write_to_read_only_memslot)
{
	vm_mem_region_delete(self->vm, VNCR_SLOT);
	add_page(self->vm, VNCR_SLOT, VNCR_GPA, KVM_MEM_READONLY);
	vcpu_args_set(self->vcpu, 1, l2_write);
	run_expect_abort(self->vcpu, ESR_ELx_FSC_EXTABT);
}

/* Ordinary memory that is poisoned is a matter of signals, with VNCR or without. */
TEST_F(vncr_memory_fault, poisoned)
{
	if (!poison_page(self->page))
		SKIP(return, "Cannot poison memory: %s", strerror(errno));
	vcpu_args_set(self->vcpu, 1, l2_read);
	vcpu_run_expect_sigbus(self->vcpu, self->page);
	expect_l2_exits(self->vm, 0);

	memset(self->copy, 0, self->size);
	*vncr_reg(self->copy, VNCR_VTTBR) = MAGIC + 1;
	mend_page(self->page, self->copy);
	run_expect_hvc(self->vcpu);
	expect_value(self->vm, MAGIC + 1);
}

TEST_F(vncr_memory_fault, gmem_closed)
{
	struct gmem_slot gmem;

	if (!has_gmem_mmap())
		SKIP(return, "No guest_memfd that can be mapped");

	gmem_slot_replace(&gmem, self->vm, VNCR_SLOT, VNCR_GPA);
	gmem_slot_close(&gmem);
	vcpu_args_set(self->vcpu, 1, l2_read);
	run_expect_vncr_fault(self->vcpu, EFAULT);

	gmem_slot_delete(&gmem);
	gmem_slot_add(&gmem);
	*vncr_reg(gmem.hva, VNCR_VTTBR) = MAGIC;
	run_expect_hvc(self->vcpu);
	expect_value(self->vm, MAGIC);
	gmem_slot_close(&gmem);
}

TEST_F(vncr_memory_fault, gmem_poisoned)
{
	struct gmem_slot gmem;

	if (!has_gmem_mmap())
		SKIP(return, "No guest_memfd that can be mapped");

	gmem_slot_replace(&gmem, self->vm, VNCR_SLOT, VNCR_GPA);
	*vncr_reg(gmem.hva, VNCR_VTTBR) = MAGIC;
	if (!poison_page(gmem.hva))
		SKIP(return, "Cannot poison guest_memfd: %s", strerror(errno));
	vcpu_args_set(self->vcpu, 1, l2_read);
	run_expect_vncr_fault(self->vcpu, EHWPOISON);

	gmem_slot_punch_hole(&gmem);
	run_expect_hvc(self->vcpu);
	expect_value(self->vm, 0);
	gmem_slot_close(&gmem);
}

#define FAIL_PAGE_ALLOC "/sys/kernel/debug/fail_page_alloc/"

static bool write_file(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);
	bool ok = fd >= 0 && write(fd, value, strlen(value)) == strlen(value);

	close(fd);
	return ok;
}

/* Any allocation, not only those that can be expected to fail. */
static bool can_fail_allocations(void)
{
	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	return write_file(FAIL_PAGE_ALLOC "verbose", "0") &&
	       write_file(FAIL_PAGE_ALLOC "ignore-gfp-wait", "N") &&
	       write_file(FAIL_PAGE_ALLOC "ignore-gfp-highmem", "N") &&
	       write_file(FAIL_PAGE_ALLOC "min-order", "0") &&
	       write_file("/proc/thread-self/fail-nth", "0");
}

/* Return false if there was no @n-th allocation. */
static bool run_fail_nth(struct kvm_vcpu *vcpu, int n, int *r)
{
	int fd = open("/proc/thread-self/fail-nth", O_RDWR);
	char left[16] = {};

	dprintf(fd, "%d", n);
	*r = __vcpu_run(vcpu) ? -errno : 0;
	TEST_ASSERT(pread(fd, left, sizeof(left) - 1, 0) > 0, "Cannot read fail-nth");
	pwrite(fd, "0", 1, 0);
	close(fd);
	return !atoi(left);
}

static void expect_sync(struct kvm_vcpu *vcpu, int n, int r)
{
	struct ucall uc;

	TEST_ASSERT(!r && get_ucall(vcpu, &uc) == UCALL_SYNC,
		    "KVM_RUN: expected -ENOMEM or a ucall if allocation %d fails, got %d, exit_reason %s",
		    n, r, exit_reason_str(vcpu->run->exit_reason));
}

/* No memory is not a memory fault, and is not a success either. */
TEST_F(vncr_memory_fault, gmem_enomem)
{
	struct gmem_slot gmem;
	int n, r, failures = 0;
	bool failed = true;

	if (!has_gmem_mmap())
		SKIP(return, "No guest_memfd that can be mapped");
	if (!can_fail_allocations())
		SKIP(return, "No fault injection");

	gmem_slot_replace(&gmem, self->vm, VNCR_SLOT, VNCR_GPA);
	vcpu_arch_set_entry_point(self->vcpu, l1_code_loop);
	vcpu_args_set(self->vcpu, 1, l2_read);
	expect_sync(self->vcpu, 0, __vcpu_run(self->vcpu));

	for (n = 1; failed; n++) {
		gmem_slot_punch_hole(&gmem);
		failed = run_fail_nth(self->vcpu, n, &r);
		if (r == -ENOMEM) {
			TEST_ASSERT_EQ(self->vcpu->run->exit_reason, KVM_EXIT_UNKNOWN);
			failures++;
			r = __vcpu_run(self->vcpu);
		}
		expect_sync(self->vcpu, n, r);
	}
	TEST_ASSERT(failures, "None of %d allocations made KVM_RUN fail", n - 1);
	gmem_slot_close(&gmem);
}

/* Move the table of the last level, for VNCR_GVA, to a memslot of its own. */
static u64 *move_table(struct kvm_vm *vm, u32 flags)
{
	u64 *pte = virt_get_pte_hva(vm, VNCR_GVA);
	u64 *pmd = virt_get_pte_hva_at_level(vm, VNCR_GVA, 2);
	void *from = (void *)align_down((u64)pte, vm->page_size);
	void *to;

	add_page(vm, TABLE_SLOT, TABLE_GPA, flags);
	to = addr_gpa2hva(vm, TABLE_GPA);
	memcpy(to, from, vm->page_size);
	*pmd = TABLE_GPA | PTE_VALID | PMD_TYPE_TABLE;
	return to + ((void *)pte - from);
}

TEST_F(vncr_memory_fault, stage1_table_in_hole)
{
	u64 *pte = move_table(self->vm, 0);
	void *table = page_of(pte);

	vcpu_args_set(self->vcpu, 1, l2_read);
	lose_page(table, self->copy);
	vcpu_run_expect_memory_fault(self->vcpu, TABLE_GPA, 0);
	expect_l2_exits(self->vm, 0);

	mend_page(table, self->copy);
	run_expect_hvc(self->vcpu);
	expect_value(self->vm, MAGIC);
}

TEST_F(vncr_memory_fault, stage1_table_nowhere)
{
	move_table(self->vm, 0);
	vm_mem_region_delete(self->vm, TABLE_SLOT);
	vcpu_args_set(self->vcpu, 1, l2_read);
	run_expect_abort(self->vcpu, ESR_ELx_FSC_SEA_TTW(3));
}

TEST_F(vncr_memory_fault, stage1_table_in_read_only_memslot)
{
	u64 mmfr1 = vcpu_get_reg(self->vcpu, KVM_ARM64_SYS_REG(SYS_ID_AA64MMFR1_EL1));

	if (!SYS_FIELD_GET(ID_AA64MMFR1_EL1, HAFDBS, mmfr1))
		SKIP(return, "No hardware update of the access flag");

	*move_table(self->vm, KVM_MEM_READONLY) &= ~PTE_AF;
	vcpu_arch_set_entry_point(self->vcpu, l1_code_with_hw_af);
	vcpu_args_set(self->vcpu, 1, l2_read);
	run_expect_abort(self->vcpu, ESR_ELx_FSC_SEA_TTW(3));
}

int main(int argc, char **argv)
{
	TEST_REQUIRE(kvm_check_cap(KVM_CAP_ARM_EL2));
	__TEST_REQUIRE(test_supports_el2(), "No support for a guest at vEL2");

	return test_harness_run(argc, argv);
}
