// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest access of L2's that fails is reported to userspace with L1's address
 * if userspace can mend it, and is injected into L1 if L1 can, never both.
 */
#include <asm/ptrace.h>
#include <asm/sysreg.h>
#include <linux/bitfield.h>
#include <linux/sizes.h>

#include "gmem_slot.h"
#include "kvm_test_harness.h"
#include "kvm_util.h"
#include "memory_fault.h"
#include "nested.h"
#include "processor.h"
#include "test_util.h"

/*
 * L1's stage 2 maps the first 1G to itself, by blocks: the test, both stacks, the
 * stage-1 tables, and the address of the ucall.  The block of L2_IPA is a table,
 * the leaf, and that of L2_NOWHERE_IPA one that isn't there.
 */
#define L2_IPA		0xc0000000ul
#define L2_NOWHERE_IPA	(L2_IPA + s2_block_size())
#define L2_GVA		L2_IPA
#define L2_NOWHERE_GVA	0xd0000000ul
/* Beyond VTCR_EL2.T0SZ, and 0 without what is beyond. */
#define L2_BEYOND_IPA	BIT(33)
#define L2_BEYOND_GVA	0xe0000000ul

#define DATA_GPA	0x60000000ul
#define LEAF_GPA	0x70000000ul
#define ROOT_GPA	0x78000000ul
#define NOWHERE_GPA	0x7f000000ul
/* Of the stage-1 tables for what is at L2_GVA, and part of the first 1G. */
#define S1_TABLES_GPA	0x30000000ul

#define DATA_SLOT	10
#define LEAF_SLOT	11
#define ROOT_SLOT	12
#define S1_TABLES_SLOT	13

/* Enough for the root and for the stage-1 tables, and whole pages on any host. */
#define TABLES_SIZE	SZ_64K

#define MAGIC		0x600df00dul

static u64 vtcr, vttbr;
static u64 l2_value;
static u64 par;

static void l2_read(void)
{
	l2_value = READ_ONCE(*(u64 *)L2_GVA);
	l2_exit_to_l1();
}

static void l2_increment(void)
{
	u64 *p = (u64 *)L2_GVA;

	WRITE_ONCE(*p, READ_ONCE(*p) + 1);
	l2_exit_to_l1();
}

static void l2_execute(void)
{
	((void (*)(void))L2_GVA)();
	l2_exit_to_l1();
}

static void l2_read_nowhere(void)
{
	l2_value = READ_ONCE(*(u64 *)L2_NOWHERE_GVA);
	l2_exit_to_l1();
}

static void l2_read_beyond(void)
{
	l2_value = READ_ONCE(*(u64 *)L2_BEYOND_GVA);
	l2_exit_to_l1();
}

static void l1_run(void (*l2_code)(void))
{
	l2_init(HCR_EL2_VM, vtcr, vttbr);
	l2_run(l2_code);
	GUEST_DONE();
}

#define at(op, gva)							\
do {									\
	asm volatile("at " #op ", %0\n\tisb" : : "r" (gva) : "memory");	\
	par = read_sysreg(par_el1);					\
} while (0)

static void l1_at_s12(u64 gva)
{
	l2_init(HCR_EL2_VM, vtcr, vttbr);
	at(s12e1r, gva);
	GUEST_DONE();
}

/* With stage 1 in the way, it is the walk of that which fails. */
static void l1_at_s12_without_stage1(u64 gva)
{
	l2_init(HCR_EL2_VM, vtcr, vttbr);
	write_sysreg_s(read_sysreg_s(SYS_SCTLR_EL12) & ~SCTLR_ELx_M, SYS_SCTLR_EL12);
	isb();
	at(s12e1r, gva);
	GUEST_DONE();
}

static void l1_at_s1(u64 gva)
{
	l2_init(HCR_EL2_VM, vtcr, vttbr);
	at(s1e1r, gva);
	GUEST_DONE();
}

FIXTURE(nested_memory_fault) {
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	u64 *data;
	u64 *leaf;
	void *copy;
};

static void map_stage2(struct kvm_vm *vm)
{
	u64 *root = addr_gpa2hva(vm, ROOT_GPA), *leaf = addr_gpa2hva(vm, LEAF_GPA);
	u64 gpa, size = s2_block_size();

	for (gpa = 0; gpa < SZ_1G; gpa += size)
		root[gpa / size] = gpa | S2_BLOCK;
	root[L2_IPA / size] = LEAF_GPA | S2_TABLE;
	root[L2_NOWHERE_IPA / size] = NOWHERE_GPA | S2_TABLE;
	leaf[0] = DATA_GPA | S2_PAGE;

	vttbr = ROOT_GPA;
	vtcr = s2_vtcr();
	sync_global_to_guest(vm, vttbr);
	sync_global_to_guest(vm, vtcr);
}

static void add_memory(struct kvm_vm *vm, u32 slot, gpa_t gpa, size_t size)
{
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, gpa, slot,
				    size / vm->page_size, 0);
}

static void nested_vm_create(FIXTURE_DATA(nested_memory_fault) *self, u64 flags)
{
	self->vm = vm_create(1);
	if (flags)
		vm_enable_cap(self->vm, KVM_CAP_MEMORY_FAULT_FLAGS, flags);
	self->vcpu = vm_vcpu_add(self->vm, 0, l1_run);
	kvm_arch_vm_finalize_vcpus(self->vm);
	l2_vcpu_init(self->vcpu);

	add_memory(self->vm, DATA_SLOT, DATA_GPA, getpagesize());
	add_memory(self->vm, LEAF_SLOT, LEAF_GPA, getpagesize());
	add_memory(self->vm, ROOT_SLOT, ROOT_GPA, TABLES_SIZE);
	add_memory(self->vm, S1_TABLES_SLOT, S1_TABLES_GPA, TABLES_SIZE);

	self->vm->memslots[MEM_REGION_PT] = S1_TABLES_SLOT;
	virt_map(self->vm, L2_GVA, L2_IPA, 1);
	virt_map(self->vm, L2_NOWHERE_GVA, L2_NOWHERE_IPA, 1);
	virt_map(self->vm, L2_BEYOND_GVA, L2_BEYOND_IPA, 1);
	map_stage2(self->vm);

	self->data = addr_gpa2hva(self->vm, DATA_GPA);
	self->leaf = addr_gpa2hva(self->vm, LEAF_GPA);
	self->copy = malloc(getpagesize());
	self->data[0] = MAGIC;
}

static void nested_vm_free(FIXTURE_DATA(nested_memory_fault) *self)
{
	free(self->copy);
	kvm_vm_free(self->vm);
}

FIXTURE_SETUP(nested_memory_fault)
{
	nested_vm_create(self, 0);
}

FIXTURE_TEARDOWN(nested_memory_fault)
{
	nested_vm_free(self);
}

/* L2 has been stopped in the middle of its access, L1 knows nothing of it. */
static void expect_in_l2(struct kvm_vcpu *vcpu)
{
	u64 pstate = vcpu_get_reg(vcpu, ARM64_CORE_REG(regs.pstate));

	TEST_ASSERT((pstate & PSR_MODE_MASK) == PSR_MODE_EL1h,
		    "Expected L2 at EL1h, got pstate 0x%lx", (unsigned long)pstate);
	sync_global_from_guest(vcpu->vm, l2_exit);
	TEST_ASSERT(!l2_exit.count, "Expected no exit to L1, got %lu, esr 0x%lx",
		    (unsigned long)l2_exit.count, (unsigned long)l2_exit.esr);
}

static void expect_l2_exit(struct kvm_vm *vm, u64 ec)
{
	sync_global_from_guest(vm, l2_exit);
	TEST_ASSERT(l2_exit.count == 1 && ESR_ELx_EC(l2_exit.esr) == ec,
		    "Expected one exit to L1 with EC 0x%lx, got %lu with esr 0x%lx",
		    (unsigned long)ec, (unsigned long)l2_exit.count,
		    (unsigned long)l2_exit.esr);
}

static void expect_l2_abort(struct kvm_vm *vm, u64 ec, u64 fsc)
{
	expect_l2_exit(vm, ec);
	TEST_ASSERT((l2_exit.esr & ESR_ELx_FSC) == fsc,
		    "Expected an abort with FSC 0x%lx, got esr 0x%lx",
		    (unsigned long)fsc, (unsigned long)l2_exit.esr);
}

static void run_and_mend_access(struct kvm_vcpu *vcpu, void *hva, gpa_t gpa,
				void *copy, u64 flags)
{
	lose_page(hva, copy);
	vcpu_run_expect_memory_fault(vcpu, gpa, flags);
	expect_in_l2(vcpu);

	/* As long as it is not mended, userspace is told again. */
	vcpu_run_expect_memory_fault(vcpu, gpa, flags);

	mend_page(hva, copy);
	vcpu_run_expect_done(vcpu);
	expect_l2_exit(vcpu->vm, ESR_ELx_EC_HVC64);
}

static void run_and_mend(struct kvm_vcpu *vcpu, void *hva, gpa_t gpa, void *copy)
{
	run_and_mend_access(vcpu, hva, gpa, copy, 0);
}

static void expect_value(struct kvm_vm *vm, u64 expected)
{
	sync_global_from_guest(vm, l2_value);
	TEST_ASSERT(l2_value == expected, "L2 read 0x%lx, expected 0x%lx",
		    (unsigned long)l2_value, (unsigned long)expected);
}

static void expect_par(struct kvm_vm *vm, u64 pa)
{
	sync_global_from_guest(vm, par);
	TEST_ASSERT(!(par & SYS_PAR_EL1_F) && (par & SYS_PAR_EL1_PA) == pa,
		    "Expected PAR_EL1 to have 0x%lx, got 0x%lx",
		    (unsigned long)pa, (unsigned long)par);
}

static void expect_par_fault(struct kvm_vm *vm, u64 fst, int stage)
{
	sync_global_from_guest(vm, par);
	TEST_ASSERT((par & SYS_PAR_EL1_F) && !!(par & SYS_PAR_EL1_S) == (stage == 2) &&
		    FIELD_GET(SYS_PAR_EL1_FST, par) == fst,
		    "Expected PAR_EL1 to report 0x%lx at stage %d, got 0x%lx",
		    (unsigned long)fst, stage, (unsigned long)par);
}

TEST_F(nested_memory_fault, read_hole)
{
	vcpu_args_set(self->vcpu, 1, l2_read);
	run_and_mend(self->vcpu, self->data, DATA_GPA, self->copy);
	expect_value(self->vm, MAGIC);
}

TEST_F(nested_memory_fault, write_hole)
{
	vcpu_args_set(self->vcpu, 1, l2_increment);
	run_and_mend(self->vcpu, self->data, DATA_GPA, self->copy);
	TEST_ASSERT_EQ(self->data[0], MAGIC + 1);
}

TEST_F(nested_memory_fault, execute_hole)
{
	write_return_insn(self->data);
	vcpu_args_set(self->vcpu, 1, l2_execute);
	run_and_mend(self->vcpu, self->data, DATA_GPA, self->copy);
}

TEST_F(nested_memory_fault, write_protected_page)
{
	vcpu_args_set(self->vcpu, 1, l2_increment);
	protect_page(self->data, PROT_READ);
	vcpu_run_expect_memory_fault(self->vcpu, DATA_GPA, 0);
	expect_in_l2(self->vcpu);

	unprotect_page(self->data);
	vcpu_run_expect_done(self->vcpu);
	TEST_ASSERT_EQ(self->data[0], MAGIC + 1);
}

/* Poison is a matter of signals, no matter whether it is L1 or L2 that runs. */
TEST_F(nested_memory_fault, poisoned)
{
	if (!poison_page(self->data))
		SKIP(return, "Cannot poison memory: %s", strerror(errno));
	vcpu_args_set(self->vcpu, 1, l2_read);
	vcpu_run_expect_sigbus(self->vcpu, self->data);
	expect_in_l2(self->vcpu);

	mmap_anonymous_over(self->data, getpagesize());
	*self->data = MAGIC + 1;
	vcpu_run_expect_done(self->vcpu);
	expect_value(self->vm, MAGIC + 1);
}

TEST_F(nested_memory_fault, gmem_closed)
{
	struct gmem_slot gmem;

	if (!has_gmem_mmap())
		SKIP(return, "No guest_memfd that can be mapped");

	gmem_slot_replace(&gmem, self->vm, DATA_SLOT, DATA_GPA);
	*(u64 *)gmem.hva = MAGIC;
	gmem_slot_close(&gmem);
	vcpu_args_set(self->vcpu, 1, l2_read);
	vcpu_run_expect_memory_fault(self->vcpu, DATA_GPA, 0);
	expect_in_l2(self->vcpu);

	gmem_slot_delete(&gmem);
	gmem_slot_add(&gmem);
	*(u64 *)gmem.hva = MAGIC + 1;
	vcpu_run_expect_done(self->vcpu);
	expect_value(self->vm, MAGIC + 1);
	gmem_slot_close(&gmem);
}

TEST_F(nested_memory_fault, gmem_poisoned)
{
	struct gmem_slot gmem;

	if (!has_gmem_mmap())
		SKIP(return, "No guest_memfd that can be mapped");

	gmem_slot_replace(&gmem, self->vm, DATA_SLOT, DATA_GPA);
	*(u64 *)gmem.hva = MAGIC;
	if (!poison_page(gmem.hva))
		SKIP(return, "Cannot poison guest_memfd: %s", strerror(errno));
	vcpu_args_set(self->vcpu, 1, l2_read);
	__vcpu_run_expect_memory_fault(self->vcpu, DATA_GPA, 0, EHWPOISON);
	expect_in_l2(self->vcpu);

	gmem_slot_punch_hole(&gmem);
	vcpu_run_expect_done(self->vcpu);
	expect_value(self->vm, 0);
	gmem_slot_close(&gmem);
}

TEST_F(nested_memory_fault, stage1_table_in_hole)
{
	void *table = page_of(virt_get_pte_hva(self->vm, L2_GVA));

	vcpu_args_set(self->vcpu, 1, l2_read);
	run_and_mend(self->vcpu, table, addr_hva2gpa(self->vm, table), self->copy);
	expect_value(self->vm, MAGIC);
}

TEST_F(nested_memory_fault, stage2_table_in_hole)
{
	vcpu_args_set(self->vcpu, 1, l2_read);
	run_and_mend(self->vcpu, self->leaf, LEAF_GPA, self->copy);
	expect_value(self->vm, MAGIC);
}

TEST_F(nested_memory_fault, stage2_table_nowhere)
{
	vcpu_args_set(self->vcpu, 1, l2_read_nowhere);
	vcpu_run_expect_done(self->vcpu);
	expect_l2_abort(self->vm, ESR_ELx_EC_DABT_LOW, ESR_ELx_FSC_SEA_TTW(3));
}

TEST_F(nested_memory_fault, ipa_beyond_stage2)
{
	vcpu_args_set(self->vcpu, 1, l2_read_beyond);
	vcpu_run_expect_done(self->vcpu);
	expect_l2_abort(self->vm, ESR_ELx_EC_DABT_LOW, ESR_ELx_FSC_FAULT_L(0));
}

/* What KVM itself reads, poisoned or not there, is all the same. */
TEST_F(nested_memory_fault, stage2_table_poisoned)
{
	memcpy(self->copy, self->leaf, getpagesize());
	if (!poison_page(self->leaf))
		SKIP(return, "Cannot poison memory: %s", strerror(errno));
	vcpu_args_set(self->vcpu, 1, l2_read);
	vcpu_run_expect_memory_fault(self->vcpu, LEAF_GPA, 0);
	expect_in_l2(self->vcpu);

	mend_page(self->leaf, self->copy);
	vcpu_run_expect_done(self->vcpu);
	expect_value(self->vm, MAGIC);
}

/* The access flag has to be set in a table that userspace has made read-only. */
TEST_F(nested_memory_fault, stage2_table_write_protected)
{
	u64 mmfr1 = vcpu_get_reg(self->vcpu, KVM_ARM64_SYS_REG(SYS_ID_AA64MMFR1_EL1));

	if (!SYS_FIELD_GET(ID_AA64MMFR1_EL1, HAFDBS, mmfr1))
		SKIP(return, "No hardware update of the access flag");

	vtcr |= VTCR_EL2_HA;
	sync_global_to_guest(self->vm, vtcr);
	self->leaf[0] &= ~PTE_AF;
	protect_page(self->leaf, PROT_READ);

	vcpu_args_set(self->vcpu, 1, l2_read);
	vcpu_run_expect_memory_fault(self->vcpu, LEAF_GPA, 0);
	expect_in_l2(self->vcpu);

	unprotect_page(self->leaf);
	vcpu_run_expect_done(self->vcpu);
	expect_value(self->vm, MAGIC);
	TEST_ASSERT(self->leaf[0] & PTE_AF, "Access flag is not set");
}

TEST_F(nested_memory_fault, at_stage2_table_in_hole)
{
	vcpu_arch_set_entry_point(self->vcpu, l1_at_s12);
	vcpu_args_set(self->vcpu, 1, L2_GVA);
	lose_page(self->leaf, self->copy);
	vcpu_run_expect_memory_fault(self->vcpu, LEAF_GPA, 0);

	mend_page(self->leaf, self->copy);
	vcpu_run_expect_done(self->vcpu);
	expect_par(self->vm, DATA_GPA);
}

TEST_F(nested_memory_fault, at_stage2_table_nowhere)
{
	vcpu_arch_set_entry_point(self->vcpu, l1_at_s12);
	vcpu_args_set(self->vcpu, 1, L2_NOWHERE_GVA);
	vcpu_run_expect_done(self->vcpu);
	expect_par_fault(self->vm, ESR_ELx_FSC_SEA_TTW(3), 2);
}

TEST_F(nested_memory_fault, at_stage1_table_in_hole)
{
	void *table = page_of(virt_get_pte_hva(self->vm, L2_GVA));

	vcpu_arch_set_entry_point(self->vcpu, l1_at_s1);
	vcpu_args_set(self->vcpu, 1, L2_GVA);
	lose_page(table, self->copy);
	vcpu_run_expect_memory_fault(self->vcpu, addr_hva2gpa(self->vm, table), 0);

	mend_page(table, self->copy);
	vcpu_run_expect_done(self->vcpu);
	expect_par(self->vm, L2_IPA);
}

TEST_F(nested_memory_fault, at_stage1_table_nowhere)
{
	vcpu_arch_set_entry_point(self->vcpu, l1_at_s1);
	vcpu_args_set(self->vcpu, 1, L2_GVA);
	vm_mem_region_delete(self->vm, S1_TABLES_SLOT);
	vcpu_run_expect_done(self->vcpu);
	expect_par_fault(self->vm, ESR_ELx_FSC_SEA_TTW(2), 1);
}

/* L2's first fetch faults, if anything: no table is walked. */
static void run_bogus_vtcr(struct kvm_vcpu *vcpu, u64 bogus)
{
	vtcr = s2_vtcr_pages() | bogus;
	sync_global_to_guest(vcpu->vm, vtcr);

	vcpu_args_set(vcpu, 1, l2_read);
	vcpu_run_expect_done(vcpu);
	expect_l2_abort(vcpu->vm, ESR_ELx_EC_IABT_LOW, ESR_ELx_FSC_FAULT_L(0));
}

TEST_F(nested_memory_fault, bogus_vtcr_ipa_too_large)
{
	run_bogus_vtcr(self->vcpu, VTCR_T0SZ(0) | VTCR_SL0(1));
}

TEST_F(nested_memory_fault, bogus_vtcr_ipa_too_small)
{
	run_bogus_vtcr(self->vcpu, VTCR_T0SZ(63) | VTCR_SL0(1));
}

TEST_F(nested_memory_fault, bogus_vtcr_too_many_tables)
{
	run_bogus_vtcr(self->vcpu, VTCR_T0SZ(64 - 40) | VTCR_SL0(0));
}

TEST_F(nested_memory_fault, bogus_vtcr_no_such_level)
{
	run_bogus_vtcr(self->vcpu, VTCR_T0SZ(64 - 39) | VTCR_SL0(3));
}

TEST_F(nested_memory_fault, at_bogus_vtcr)
{
	vtcr = s2_vtcr_pages() | VTCR_T0SZ(64 - 39) | VTCR_SL0(3);
	sync_global_to_guest(self->vm, vtcr);

	vcpu_arch_set_entry_point(self->vcpu, l1_at_s12_without_stage1);
	vcpu_args_set(self->vcpu, 1, L2_IPA);
	vcpu_run_expect_done(self->vcpu);
	expect_par_fault(self->vm, ESR_ELx_FSC_FAULT_L(0), 2);
}

/* What L2 did, if the VM wants to know. */
FIXTURE(nested_access) {
	FIXTURE_DATA(nested_memory_fault) nested;
};

FIXTURE_SETUP(nested_access)
{
	u64 flags = kvm_check_cap(KVM_CAP_MEMORY_FAULT_FLAGS);

	if (!flags)
		SKIP(return, "KVM does not tell how memory is accessed");

	nested_vm_create(&self->nested, flags);
}

FIXTURE_TEARDOWN(nested_access)
{
	if (self->nested.vm)
		nested_vm_free(&self->nested);
}

TEST_F(nested_access, read)
{
	vcpu_args_set(self->nested.vcpu, 1, l2_read);
	run_and_mend_access(self->nested.vcpu, self->nested.data, DATA_GPA,
			    self->nested.copy, KVM_MEMORY_EXIT_FLAG_READ);
}

TEST_F(nested_access, write)
{
	vcpu_args_set(self->nested.vcpu, 1, l2_increment);
	protect_page(self->nested.data, PROT_READ);
	vcpu_run_expect_memory_fault(self->nested.vcpu, DATA_GPA,
				     KVM_MEMORY_EXIT_FLAG_WRITE);
	unprotect_page(self->nested.data);
	vcpu_run_expect_done(self->nested.vcpu);
	TEST_ASSERT_EQ(self->nested.data[0], MAGIC + 1);
}

TEST_F(nested_access, execute)
{
	write_return_insn(self->nested.data);
	vcpu_args_set(self->nested.vcpu, 1, l2_execute);
	run_and_mend_access(self->nested.vcpu, self->nested.data, DATA_GPA,
			    self->nested.copy, KVM_MEMORY_EXIT_FLAG_EXEC);
}

/* Of a walk, KVM cannot tell. */
TEST_F(nested_access, stage2_table)
{
	vcpu_args_set(self->nested.vcpu, 1, l2_increment);
	run_and_mend_access(self->nested.vcpu, self->nested.leaf, LEAF_GPA,
			    self->nested.copy, 0);
}

int main(int argc, char **argv)
{
	TEST_REQUIRE(kvm_check_cap(KVM_CAP_ARM_EL2));
	__TEST_REQUIRE(test_supports_el2(), "No support for a guest at vEL2");

	return test_harness_run(argc, argv);
}
