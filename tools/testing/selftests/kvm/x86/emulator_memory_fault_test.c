// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM accesses guest memory on the guest's behalf.  If that memory has a memslot
 * but the host doesn't let KVM access it, then KVM_RUN must report a memory fault
 * as often as userspace asks, must not let the guest see anything of it, and must
 * complete the guest's instruction exactly once when the memory is back.
 */
#include "gmem_slot.h"
#include "hyperv.h"
#include "kvm_test_harness.h"
#include "kvm_util.h"
#include "memory_fault.h"
#include "memory_hole.h"
#include "processor.h"
#include "smm.h"
#include "test_util.h"

#define PORT		0x5150
#define MMIO_GPA	0x700000000ULL
#define MMIO_GVA	MMIO_GPA
#define MAGIC		0x0123456789abcdefULL
#define SMRAM_GPA	0x1000000
#define SMI_PORT	0xe
/* No CPU has this MSR. */
#define NO_MSR		0x474f4f00
#define XEN_HYPERCALL_MSR	0x40000200
#define GMEM_SLOT	10
#define GMEM_GPA	0x100000000ULL

/*
 * Four pages of data, in the middle of which one guest page table ends and the
 * next begins, i.e. an access that crosses BORDER needs both tables.
 */
#define DATA		0x101fe000ULL
#define BORDER		0x10200000ULL
#define DATA_SIZE	(4 * PAGE_SIZE)
/* Where an instruction has to begin in order to cross BORDER. */
#define CODE		(BORDER - 11)

static int handled;

static void count_exception(struct ex_regs *regs)
{
	handled++;
}

static void guest_load(u64 expected)
{
	u64 val;

	guest_ready();
	asm volatile("mov (%1), %0" : "=r"(val) : "r"(BORDER) : "memory");
	GUEST_ASSERT_EQ(val, expected);
	GUEST_DONE();
}

static void guest_load_fep(u64 expected)
{
	u64 val;

	guest_ready();
	asm volatile(KVM_FEP "mov (%1), %0" : "=r"(val) : "r"(BORDER) : "memory");
	GUEST_ASSERT_EQ(val, expected);
	GUEST_DONE();
}

static void guest_store(void)
{
	guest_ready();
	asm volatile("mov %0, (%1)" : : "r"(MAGIC), "r"(BORDER) : "memory");
	GUEST_DONE();
}

static void guest_store_fep(void)
{
	guest_ready();
	asm volatile(KVM_FEP "mov %0, (%1)" : : "r"(MAGIC), "r"(BORDER) : "memory");
	GUEST_DONE();
}

static void guest_store_across_fep(void)
{
	guest_ready();
	asm volatile(KVM_FEP "mov %0, (%1)" : : "r"(MAGIC), "r"(BORDER - 3) : "memory");
	GUEST_DONE();
}

static void guest_push_fep(void)
{
	u64 sp;

	guest_ready();
	asm volatile("mov %%rsp, %%rbx\n\t"
		     "mov %1, %%rsp\n\t"
		     KVM_FEP "push %2\n\t"
		     "mov %%rsp, %0\n\t"
		     "mov %%rbx, %%rsp"
		     : "=&r"(sp) : "r"(BORDER + 64), "r"(MAGIC) : "rbx", "memory");
	GUEST_ASSERT_EQ(sp, BORDER + 56);
	GUEST_DONE();
}

static void guest_call_fep(void)
{
	u64 sp, ret, expected;

	guest_ready();
	asm volatile("mov %%rsp, %%rbx\n\t"
		     "mov %3, %%rsp\n\t"
		     KVM_FEP "call 1f\n\t"
		     "1: mov %%rsp, %0\n\t"
		     "pop %1\n\t"
		     "lea 1b(%%rip), %2\n\t"
		     "mov %%rbx, %%rsp"
		     : "=&r"(sp), "=&r"(ret), "=&r"(expected)
		     : "r"(BORDER + 64) : "rbx", "memory");
	GUEST_ASSERT_EQ(sp, BORDER + 56);
	GUEST_ASSERT_EQ(ret, expected);
	GUEST_DONE();
}

static void guest_lock_inc_fep(void)
{
	guest_ready();
	asm volatile(KVM_FEP "lock incq (%0)" : : "r"(BORDER) : "memory");
	GUEST_DONE();
}

static void guest_rep_movs_fep(void)
{
	u64 src = DATA, dst = BORDER - 16, count = 32;

	guest_ready();
	asm volatile(KVM_FEP "rep movsb" : "+S"(src), "+D"(dst), "+c"(count) : : "memory");
	GUEST_ASSERT_EQ(count, 0);
	GUEST_ASSERT_EQ(src, DATA + 32);
	GUEST_ASSERT_EQ(dst, BORDER + 16);
	GUEST_DONE();
}

static void guest_rep_ins(void)
{
	u64 dst = BORDER - 8, count = 16;

	guest_ready();
	asm volatile("rep insb" : "+D"(dst), "+c"(count) : "d"(PORT) : "memory");
	GUEST_ASSERT_EQ(count, 0);
	GUEST_ASSERT_EQ(dst, BORDER + 8);
	GUEST_DONE();
}

/* From a page to the page below it, by an instruction that the test changes. */
static void guest_rep_ins_down(void)
{
	u64 dst = BORDER + 3, count = 3;

	guest_ready();
	asm volatile("std\n\t"
		     "rep insb\n\t"
		     "cld" : "+D"(dst), "+c"(count) : "d"(PORT) : "memory", "cc");
	GUEST_ASSERT_EQ(count, 0);
	GUEST_ASSERT_EQ(dst, BORDER + 3 - 3 * sizeof(u32));
	GUEST_DONE();
}

static void guest_push_mmio(void)
{
	u64 sp;

	guest_ready();
	asm volatile("mov %%rsp, %%rbx\n\t"
		     "mov %1, %%rsp\n\t"
		     "pushq (%2)\n\t"
		     "mov %%rsp, %0\n\t"
		     "mov %%rbx, %%rsp"
		     : "=&r"(sp) : "r"(BORDER + 64), "r"(MMIO_GVA) : "rbx", "memory");
	GUEST_ASSERT_EQ(sp, BORDER + 56);
	GUEST_DONE();
}

static void guest_movs_mmio(void)
{
	u64 src = MMIO_GVA, dst = BORDER;

	guest_ready();
	asm volatile("movsq" : "+S"(src), "+D"(dst) : : "memory");
	GUEST_ASSERT_EQ(dst, BORDER + 8);
	GUEST_DONE();
}

static void guest_exec(void)
{
	u64 (*code)(void) = (void *)CODE;

	guest_ready();
	GUEST_ASSERT_EQ(code(), MAGIC);
	GUEST_DONE();
}

static void guest_load_segment_fep(void)
{
	u16 sel;

	guest_ready();
	asm volatile("mov %%ds, %0\n\t"
		     KVM_FEP "mov %0, %%ds" : "=&r"(sel));
	GUEST_DONE();
}

/* The first eight bytes are ordinary data, too, the other two are not. */
static void guest_lgdt_fep(void)
{
	asm volatile("sgdt (%0)" : : "r"(BORDER - 8) : "memory");
	guest_ready();
	asm volatile(KVM_FEP "lgdt (%0)" : : "r"(BORDER - 8) : "memory");
	GUEST_DONE();
}

static void guest_sgdt_fep(u64 gdt)
{
	guest_ready();
	asm volatile(KVM_FEP "sgdt (%0)" : : "r"(BORDER) : "memory");
	GUEST_ASSERT_EQ(*(u64 *)(BORDER + 2), gdt);
	GUEST_DONE();
}

/* Userspace, or KVM in lieu of it, reads the MSR, and then the page is gone. */
static void guest_rdmsr(void)
{
	u32 low, high;

	guest_ready();
	asm volatile("call *%3" : "=a"(low), "=d"(high) : "c"(NO_MSR), "r"(BORDER));
	GUEST_ASSERT_EQ((u64)high << 32 | low, MAGIC);
	GUEST_DONE();
}

/* Let an access to MMIO be what makes the guest exit after KVM injected #GP. */
static void guest_mmio_after_exception(void)
{
	int i;

	guest_ready();
	for (i = 0; i < 8; i++) {
		GUEST_ASSERT_EQ(wrmsr_safe(NO_MSR, 0), GP_VECTOR);
		GUEST_ASSERT_EQ(READ_ONCE(*(u64 *)MMIO_GVA), MAGIC);
	}
	GUEST_DONE();
}

static void guest_page_fault(void)
{
	u64 error_code;

	set_cr0(get_cr0() | X86_CR0_WP);
	guest_ready();
	GUEST_ASSERT_EQ(kvm_asm_safe_ec("movb $1, (%%rdi)", error_code, "D"(BORDER)),
			PF_VECTOR);
	GUEST_ASSERT_EQ(error_code, PFERR_PRESENT_MASK | PFERR_WRITE_MASK);
	GUEST_DONE();
}

static void guest_hyperv_hypercall(gpa_t input, gpa_t page)
{
	u64 status;

	wrmsr(HV_X64_MSR_GUEST_OS_ID, HYPERV_LINUX_OS_ID);
	wrmsr(HV_X64_MSR_HYPERCALL, page | 1);
	guest_ready();
	GUEST_ASSERT_EQ(__hyperv_hypercall(HVCALL_FLUSH_VIRTUAL_ADDRESS_SPACE,
					   input, 0, &status), 0);
	GUEST_ASSERT_EQ(status, HV_STATUS_INVALID_HYPERCALL_INPUT);
	GUEST_DONE();
}

static void guest_xen_hypercall(void)
{
	/* SCHEDOP_poll of __HYPERVISOR_sched_op. */
	guest_ready();
	GUEST_ASSERT_EQ(__xen_hypercall(29, 3, (void *)BORDER), (u64)-EFAULT);
	GUEST_DONE();
}

static void guest_kvmclock(gpa_t gpa)
{
	u32 *version = (u32 *)BORDER;

	wrmsr(MSR_KVM_SYSTEM_TIME_NEW, gpa | KVM_MSR_ENABLED);
	GUEST_ASSERT(READ_ONCE(*version));
	guest_ready();
	/* The clock can't be updated, nobody cares. */
	guest_ready();
	GUEST_ASSERT(READ_ONCE(*version));
	GUEST_DONE();
}

static void guest_invpcid(void)
{
	guest_ready();
	asm volatile("invpcid (%0), %1" : : "r"(BORDER), "r"(2UL) : "memory");
	GUEST_DONE();
}

static void guest_exception(void)
{
	guest_ready();
	asm volatile("int3");
	GUEST_ASSERT_EQ(handled, 1);
	GUEST_DONE();
}

static void guest_loop(void)
{
	guest_ready();
	/* The SMI comes here, and returns here. */
	asm volatile("mov $1000, %%rcx\n\t"
		     "1: dec %%rcx\n\t"
		     "jnz 1b" : : : "rcx", "cc");
	GUEST_DONE();
}

/* "in $SMI_PORT, %al; rsm", which is the same in any mode. */
static const u8 smi_handler[] = { 0xe4, SMI_PORT, 0x0f, 0xaa };

static void guest_exception_stack(void)
{
	guest_ready();
	asm volatile("mov %%rsp, %%rbx\n\t"
		     "mov %0, %%rsp\n\t"
		     "int3\n\t"
		     "mov %%rbx, %%rsp" : : "r"(BORDER + PAGE_SIZE) : "rbx", "memory");
	GUEST_ASSERT_EQ(handled, 1);
	GUEST_DONE();
}

static struct hole page_table_hole(struct kvm_vm *vm, gva_t gva)
{
	return table_hole(vm, vm_get_pte(vm, gva));
}

static void expect_mmio_read(struct kvm_vcpu *vcpu, u64 data)
{
	vcpu_run_expect_mmio(vcpu, MMIO_GPA, sizeof(data), false);
	mmio_answer(vcpu, data);
}

/* Answer an INS for @count bytes with the bytes that follow @last. */
static void expect_port_read(struct kvm_vcpu *vcpu, int count, u8 *last)
{
	struct kvm_run *run = vcpu->run;
	u8 *data = (u8 *)run + run->io.data_offset;
	int i;

	vcpu_run_expect(vcpu, 0, KVM_EXIT_IO);
	TEST_ASSERT_EQ(run->io.port, PORT);
	TEST_ASSERT_EQ(run->io.count, count);
	data = (u8 *)run + run->io.data_offset;
	for (i = 0; i < count; i++)
		data[i] = ++*last;
}

FIXTURE(memory_fault)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
};

FIXTURE_SETUP(memory_fault)
{
	struct kvm_vm *vm = vm_create_with_one_vcpu(&self->vcpu, NULL);

	TEST_ASSERT_EQ(vm_alloc(vm, DATA_SIZE, DATA), DATA);
	virt_map(vm, MMIO_GVA, MMIO_GPA, 1);
	vm_install_exception_handler(vm, BP_VECTOR, count_exception);
	self->vm = vm;
}

FIXTURE_TEARDOWN(memory_fault)
{
	kvm_vm_free(self->vm);
}

static u64 *data_hva(struct kvm_vm *vm, gva_t gva)
{
	return addr_gva2hva(vm, gva);
}

static void run_guest_into(struct kvm_vcpu *vcpu, void *guest, struct hole hole, int prot)
{
	vcpu_arch_set_entry_point(vcpu, guest);
	run_into(vcpu, hole, prot);
}

TEST_F(memory_fault, load_through_page_table)
{
	*data_hva(self->vm, BORDER) = MAGIC;
	vcpu_args_set(self->vcpu, 1, MAGIC);
	run_guest_into(self->vcpu, guest_load, page_table_hole(self->vm, BORDER), PROT_NONE);
}

TEST_F(memory_fault, emulated_load_through_page_table)
{
	if (!is_forced_emulation_enabled)
		SKIP(return, "kvm.force_emulation_prefix is off");

	*data_hva(self->vm, BORDER) = MAGIC;
	vcpu_args_set(self->vcpu, 1, MAGIC);
	run_guest_into(self->vcpu, guest_load_fep, page_table_hole(self->vm, BORDER), PROT_NONE);
}

TEST_F(memory_fault, store_sets_accessed_and_dirty)
{
	run_guest_into(self->vcpu, guest_store, page_table_hole(self->vm, BORDER), PROT_READ);
	TEST_ASSERT_EQ(*data_hva(self->vm, BORDER), MAGIC);
}

TEST_F(memory_fault, emulated_store_sets_accessed_and_dirty)
{
	if (!is_forced_emulation_enabled)
		SKIP(return, "kvm.force_emulation_prefix is off");

	run_guest_into(self->vcpu, guest_store_fep, page_table_hole(self->vm, BORDER), PROT_READ);
	TEST_ASSERT_EQ(*data_hva(self->vm, BORDER), MAGIC);
}

TEST_F(memory_fault, emulated_store_crosses_into_page_table)
{
	u64 val;

	if (!is_forced_emulation_enabled)
		SKIP(return, "kvm.force_emulation_prefix is off");

	run_guest_into(self->vcpu, guest_store_across_fep,
		       page_table_hole(self->vm, BORDER), PROT_NONE);
	memcpy(&val, (u8 *)data_hva(self->vm, BORDER - PAGE_SIZE) + PAGE_SIZE - 3, 3);
	memcpy((u8 *)&val + 3, data_hva(self->vm, BORDER), 5);
	TEST_ASSERT_EQ(val, MAGIC);
}

TEST_F(memory_fault, emulated_push)
{
	if (!is_forced_emulation_enabled)
		SKIP(return, "kvm.force_emulation_prefix is off");

	run_guest_into(self->vcpu, guest_push_fep, page_table_hole(self->vm, BORDER), PROT_NONE);
	TEST_ASSERT_EQ(*data_hva(self->vm, BORDER + 56), MAGIC);
}

TEST_F(memory_fault, emulated_call)
{
	if (!is_forced_emulation_enabled)
		SKIP(return, "kvm.force_emulation_prefix is off");

	run_guest_into(self->vcpu, guest_call_fep, page_table_hole(self->vm, BORDER), PROT_NONE);
}

TEST_F(memory_fault, emulated_locked_access)
{
	if (!is_forced_emulation_enabled)
		SKIP(return, "kvm.force_emulation_prefix is off");

	*data_hva(self->vm, BORDER) = 41;
	run_guest_into(self->vcpu, guest_lock_inc_fep, gva_hole(self->vm, BORDER), PROT_READ);
	TEST_ASSERT_EQ(*data_hva(self->vm, BORDER), 42);
}

TEST_F(memory_fault, emulated_rep_movs)
{
	struct hole hole = page_table_hole(self->vm, BORDER);
	u8 *src = addr_gva2hva(self->vm, DATA);
	struct kvm_regs regs;
	int i;

	if (!is_forced_emulation_enabled)
		SKIP(return, "kvm.force_emulation_prefix is off");

	for (i = 0; i < 32; i++)
		src[i] = i;

	vcpu_arch_set_entry_point(self->vcpu, guest_rep_movs_fep);
	vcpu_run_expect_sync(self->vcpu);
	protect_page(hole.hva, PROT_NONE);
	expect_hole(self->vcpu, &hole);

	/* What was copied before the hole is done, and isn't done again. */
	vcpu_regs_get(self->vcpu, &regs);
	TEST_ASSERT_EQ(regs.rcx, 16);
	TEST_ASSERT_EQ(regs.rdi, BORDER);
	memset(src, 0xff, 16);

	unprotect_page(hole.hva);
	vcpu_run_expect_done(self->vcpu);
	for (i = 0; i < 16; i++) {
		u8 *low = addr_gva2hva(self->vm, BORDER - 16);
		u8 *high = addr_gva2hva(self->vm, BORDER);

		TEST_ASSERT_EQ(low[i], i);
		TEST_ASSERT_EQ(high[i], 16 + i);
	}
}

/* Run guest_rep_ins() up to its second page, which is behind a hole. */
static struct hole run_rep_ins_into_hole(struct kvm_vcpu *vcpu, u8 *last)
{
	struct hole hole = page_table_hole(vcpu->vm, BORDER);

	vcpu_arch_set_entry_point(vcpu, guest_rep_ins);
	vcpu_run_expect_sync(vcpu);
	expect_port_read(vcpu, 8, last);
	protect_page(hole.hva, PROT_NONE);
	expect_port_read(vcpu, 8, last);
	expect_hole(vcpu, &hole);
	return hole;
}

TEST_F(memory_fault, rep_ins_reads_port_once)
{
	u8 last = 0, *low, *high;
	struct hole hole;
	int i;

	hole = run_rep_ins_into_hole(self->vcpu, &last);
	unprotect_page(hole.hva);
	vcpu_run_expect_done(self->vcpu);

	low = addr_gva2hva(self->vm, BORDER - 8);
	high = addr_gva2hva(self->vm, BORDER);
	for (i = 0; i < 8; i++) {
		TEST_ASSERT_EQ(low[i], 1 + i);
		TEST_ASSERT_EQ(high[i], 9 + i);
	}
}

/* What "rep insb" has read is too little for "rep insd", and not meant for it. */
TEST_F(memory_fault, another_instruction_reads_port_anew)
{
	struct hole hole = page_table_hole(self->vm, BORDER);
	struct kvm_run *run = self->vcpu->run;
	struct kvm_regs regs;
	u8 last = 0, *insn;

	vcpu_arch_set_entry_point(self->vcpu, guest_rep_ins_down);
	vcpu_run_expect_sync(self->vcpu);
	protect_page(hole.hva, PROT_NONE);
	expect_port_read(self->vcpu, 3, &last);
	expect_hole(self->vcpu, &hole);

	vcpu_regs_get(self->vcpu, &regs);
	insn = addr_gva2hva(self->vm, regs.rip);
	TEST_ASSERT_EQ(insn[1], 0x6c);
	insn[1] = 0x6d;
	unprotect_page(hole.hva);

	vcpu_run_expect(self->vcpu, 0, KVM_EXIT_IO);
	TEST_ASSERT_EQ(run->io.port, PORT);
	TEST_ASSERT_EQ(run->io.size, sizeof(u32));
	TEST_ASSERT_EQ(run->io.count, 3);
	vcpu_run_expect_done(self->vcpu);
}

/* A VMM that cannot mend memory may have the guest know by a machine check. */
TEST_F(memory_fault, exception_instead_of_repair)
{
	struct kvm_vcpu_events events;
	struct hole hole;
	u8 last = 0;

	vm_install_exception_handler(self->vm, MC_VECTOR, count_exception);
	hole = run_rep_ins_into_hole(self->vcpu, &last);

	vcpu_events_get(self->vcpu, &events);
	events.exception.injected = 1;
	events.exception.nr = MC_VECTOR;
	vcpu_events_set(self->vcpu, &events);

	/* The handler returns to the instruction, which begins anew. */
	expect_port_read(self->vcpu, 8, &last);
	sync_global_from_guest(self->vm, handled);
	TEST_ASSERT_EQ(handled, 1);
	unprotect_page(hole.hva);
	vcpu_run_expect_done(self->vcpu);
}

/* Run @guest, which copies from MMIO, into a hole that is in the way of the copy. */
static void run_into_after_mmio(struct kvm_vcpu *vcpu, void *guest)
{
	struct hole hole = page_table_hole(vcpu->vm, BORDER);

	vcpu_arch_set_entry_point(vcpu, guest);
	vcpu_run_expect_sync(vcpu);
	protect_page(hole.hva, PROT_NONE);
	expect_mmio_read(vcpu, MAGIC);
	expect_hole(vcpu, &hole);
	unprotect_page(hole.hva);
	vcpu_run_expect_done(vcpu);
}

TEST_F(memory_fault, push_reads_mmio_once)
{
	run_into_after_mmio(self->vcpu, guest_push_mmio);
	TEST_ASSERT_EQ(*data_hva(self->vm, BORDER + 56), MAGIC);
}

TEST_F(memory_fault, movs_reads_mmio_once)
{
	run_into_after_mmio(self->vcpu, guest_movs_mmio);
	TEST_ASSERT_EQ(*data_hva(self->vm, BORDER), MAGIC);
}

/* What was read from MMIO belongs to the instruction, not to the next one. */
TEST_F(memory_fault, userspace_abandons_movs)
{
	struct hole hole = page_table_hole(self->vm, BORDER);

	vcpu_arch_set_entry_point(self->vcpu, guest_movs_mmio);
	vcpu_run_expect_sync(self->vcpu);
	protect_page(hole.hva, PROT_NONE);
	expect_mmio_read(self->vcpu, ~MAGIC);
	expect_hole(self->vcpu, &hole);
	unprotect_page(hole.hva);

	vcpu_arch_set_entry_point(self->vcpu, guest_movs_mmio);
	vcpu_run_expect_sync(self->vcpu);
	expect_mmio_read(self->vcpu, MAGIC);
	vcpu_run_expect_done(self->vcpu);
	TEST_ASSERT_EQ(*data_hva(self->vm, BORDER), MAGIC);
}

/* An emulated data access to a slot without memory is MMIO, and stays so. */
TEST_F(memory_fault, movs_writes_hole_as_mmio)
{
	struct hole hole = gva_hole(self->vm, BORDER);

	vcpu_arch_set_entry_point(self->vcpu, guest_movs_mmio);
	vcpu_run_expect_sync(self->vcpu);
	protect_page(hole.hva, PROT_NONE);
	expect_mmio_read(self->vcpu, MAGIC);
	vcpu_run_expect_mmio(self->vcpu, hole.gpa, sizeof(u64), true);
	unprotect_page(hole.hva);
	vcpu_run_expect_done(self->vcpu);
}

TEST_F(memory_fault, emulated_push_writes_hole_as_mmio)
{
	struct hole hole = gva_hole(self->vm, BORDER);

	if (!is_forced_emulation_enabled)
		SKIP(return, "kvm.force_emulation_prefix is off");

	vcpu_arch_set_entry_point(self->vcpu, guest_push_fep);
	vcpu_run_expect_sync(self->vcpu);
	protect_page(hole.hva, PROT_NONE);
	vcpu_run_expect_mmio(self->vcpu, hole.gpa + 56, sizeof(u64), true);
	unprotect_page(hole.hva);
	vcpu_run_expect_done(self->vcpu);
}

/* What a locked operation reads is MMIO, what it writes cannot be. */
TEST_F(memory_fault, emulated_locked_access_reads_hole_as_mmio)
{
	struct hole hole = gva_hole(self->vm, BORDER);

	if (!is_forced_emulation_enabled)
		SKIP(return, "kvm.force_emulation_prefix is off");

	*data_hva(self->vm, BORDER) = 41;
	vcpu_arch_set_entry_point(self->vcpu, guest_lock_inc_fep);
	vcpu_run_expect_sync(self->vcpu);
	protect_page(hole.hva, PROT_NONE);
	vcpu_run_expect_mmio(self->vcpu, hole.gpa, sizeof(u64), false);
	mmio_answer(self->vcpu, 41);
	expect_hole(self->vcpu, &hole);
	unprotect_page(hole.hva);
	vcpu_run_expect_done(self->vcpu);
	TEST_ASSERT_EQ(*data_hva(self->vm, BORDER), 42);
}

/* "ud2; .ascii kvm; mov $MAGIC, %rax; ret", of which the last six bytes cross. */
static void write_code(struct kvm_vm *vm)
{
	static const u8 code[] = {
		0x0f, 0x0b, 'k', 'v', 'm', 0x48, 0xb8, 0xef, 0xcd, 0xab, 0x89,
		0x67, 0x45, 0x23, 0x01, 0xc3,
	};

	memcpy(addr_gva2hva(vm, CODE), code, 11);
	memcpy(addr_gva2hva(vm, BORDER), code + 11, sizeof(code) - 11);
}

TEST_F(memory_fault, emulator_fetches_across_page)
{
	if (!is_forced_emulation_enabled)
		SKIP(return, "kvm.force_emulation_prefix is off");

	write_code(self->vm);
	run_guest_into(self->vcpu, guest_exec, gva_hole(self->vm, BORDER), PROT_NONE);
}

TEST_F(memory_fault, emulator_fetches_through_page_table)
{
	if (!is_forced_emulation_enabled)
		SKIP(return, "kvm.force_emulation_prefix is off");

	write_code(self->vm);
	run_guest_into(self->vcpu, guest_exec, page_table_hole(self->vm, BORDER), PROT_NONE);
}

TEST_F(memory_fault, emulator_reads_descriptor)
{
	if (!is_forced_emulation_enabled)
		SKIP(return, "kvm.force_emulation_prefix is off");

	run_guest_into(self->vcpu, guest_load_segment_fep,
		       gva_hole(self->vm, self->vm->arch.gdt), PROT_NONE);
}

TEST_F(memory_fault, emulator_reads_operand)
{
	if (!is_forced_emulation_enabled)
		SKIP(return, "kvm.force_emulation_prefix is off");

	run_guest_into(self->vcpu, guest_lgdt_fep, gva_hole(self->vm, BORDER), PROT_NONE);
}

TEST_F(memory_fault, emulator_writes_operand)
{
	if (!is_forced_emulation_enabled)
		SKIP(return, "kvm.force_emulation_prefix is off");

	vcpu_args_set(self->vcpu, 1, self->vm->arch.gdt);
	run_guest_into(self->vcpu, guest_sgdt_fep, gva_hole(self->vm, BORDER), PROT_READ);
}

/*
 * Userspace takes away the code of an instruction that it has completed, which
 * matters for KVM only if KVM has to fetch the instruction in order to skip it.
 */
TEST_F(memory_fault, completed_instruction_is_skipped)
{
	/* "rdmsr; ret" */
	static const u8 code[] = { 0x0f, 0x32, 0xc3 };
	struct hole hole = gva_hole(self->vm, BORDER);
	struct kvm_run *run = self->vcpu->run;

	if (!kvm_has_cap(KVM_CAP_X86_USER_SPACE_MSR))
		SKIP(return, "KVM doesn't let userspace handle MSRs");

	vm_enable_cap(self->vm, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_UNKNOWN |
						      KVM_MSR_EXIT_REASON_INVAL);
	memcpy(hole.hva, code, sizeof(code));
	vcpu_arch_set_entry_point(self->vcpu, guest_rdmsr);
	vcpu_run_expect_sync(self->vcpu);
	vcpu_run_expect(self->vcpu, 0, KVM_EXIT_X86_RDMSR);
	run->msr.data = MAGIC;
	protect_page(hole.hva, PROT_NONE);
	if (host_cpu_is_amd_compatible && !get_kvm_amd_param_integer("nrips")) {
		vcpu_run_expect(self->vcpu, 0, KVM_EXIT_INTERNAL_ERROR);
		return;
	}
	expect_hole(self->vcpu, &hole);
	unprotect_page(hole.hva);
	vcpu_run_expect_done(self->vcpu);
}

/* Let CPL 3 access @gva. */
static void map_for_user(struct kvm_vm *vm, gva_t gva)
{
	gpa_t table = vm->mmu.pgd;
	int level;

	for (level = vm->mmu.pgtable_levels; level > 0; level--) {
		u64 *pte = addr_gpa2hva(vm, table);

		pte += (gva >> (PAGE_SHIFT + 9 * (level - 1))) & 511;
		*pte |= PTE_USER_MASK(&vm->mmu);
		table = *pte & PHYSICAL_PAGE_MASK;
	}
}

/* Let the guest run @code next, with CPL 3. */
static void set_user_code(struct kvm_vm *vm, struct kvm_vcpu *vcpu, const u8 *code, int len)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	memcpy(data_hva(vm, BORDER), code, len);
	map_for_user(vm, BORDER);

	vcpu_sregs_get(vcpu, &sregs);
	sregs.cs.selector |= 3;
	sregs.cs.dpl = 3;
	sregs.ss.selector = sregs.ds.selector | 3;
	sregs.ss.dpl = 3;
	vcpu_sregs_set(vcpu, &sregs);

	vcpu_regs_get(vcpu, &regs);
	regs.rip = BORDER;
	vcpu_regs_set(vcpu, &regs);
}

/*
 * Start at the prefix each time, as not every CPU that runs this, i.e. not QEMU,
 * finds the I/O permission bitmap of a 64-bit TSS.
 */
TEST_F(memory_fault, emulator_reads_io_bitmap)
{
	/* "ud2; .ascii kvm; in $SMI_PORT, %al" */
	static const u8 code[] = { 0x0f, 0x0b, 'k', 'v', 'm', 0xe4, SMI_PORT };
	struct hole hole = gva_hole(self->vm, self->vm->arch.tss);
	int i;

	if (!is_forced_emulation_enabled)
		SKIP(return, "kvm.force_emulation_prefix is off");

	for (i = 0; i < 2; i++) {
		set_user_code(self->vm, self->vcpu, code, sizeof(code));
		protect_page(hole.hva, PROT_NONE);
		expect_hole_once(self->vcpu, &hole);
		unprotect_page(hole.hva);
	}
	set_user_code(self->vm, self->vcpu, code, sizeof(code));
	vcpu_run_expect(self->vcpu, 0, KVM_EXIT_IO);
	TEST_ASSERT_EQ(self->vcpu->run->io.port, SMI_PORT);
}

/* KVM emulates INVPCID, but not in the emulator, unless it uses nested paging. */
TEST_F(memory_fault, invpcid_reads_descriptor)
{
	if (!kvm_cpu_has(X86_FEATURE_INVPCID))
		SKIP(return, "KVM has no INVPCID");

	memset(data_hva(self->vm, BORDER), 0, 16);
	run_guest_into(self->vcpu, guest_invpcid, gva_hole(self->vm, BORDER), PROT_NONE);
}

TEST_F(memory_fault, invpcid_walks_page_table)
{
	if (!kvm_cpu_has(X86_FEATURE_INVPCID))
		SKIP(return, "KVM has no INVPCID");

	memset(data_hva(self->vm, BORDER), 0, 16);
	run_guest_into(self->vcpu, guest_invpcid, page_table_hole(self->vm, BORDER), PROT_NONE);
}

TEST_F(memory_fault, mmio_after_injected_exception)
{
	int i;

	vcpu_arch_set_entry_point(self->vcpu, guest_mmio_after_exception);
	vcpu_run_expect_sync(self->vcpu);
	for (i = 0; i < 8; i++)
		expect_mmio_read(self->vcpu, MAGIC);
	vcpu_run_expect_done(self->vcpu);
}

/* Let the table that maps @gva be all of a memslot, which has a guest_memfd. */
static void move_page_table(struct kvm_vm *vm, gva_t gva, struct gmem_slot *gmem)
{
	void *table = page_of(vm_get_pte(vm, gva));
	gpa_t old = addr_hva2gpa(vm, table), parent = vm->mmu.pgd;
	int level = vm->mmu.pgtable_levels;
	u64 *pte;

	*gmem = (struct gmem_slot) {
		.vm = vm,
		.slot = GMEM_SLOT,
		.gpa = GMEM_GPA,
		.size = getpagesize(),
		.flags = GMEM_SLOT_FLAGS,
	};
	gmem_slot_add(gmem);
	memcpy(gmem->hva, table, getpagesize());
	do {
		pte = addr_gpa2hva(vm, parent);
		pte += (gva >> (PAGE_SHIFT + 9 * (--level))) & 511;
		parent = *pte & PHYSICAL_PAGE_MASK;
	} while (parent != old);
	*pte = (*pte & ~PHYSICAL_PAGE_MASK) | gmem->gpa;
}

/*
 * With EPT, KVM looks into #PF only if the guest has fewer bits of physical
 * addresses than the CPU.  It needs the table then, which the CPU has read, i.e.
 * which must be there for the CPU and not for KVM: userspace doesn't map the
 * guest_memfd that the CPU gets it from.
 */
TEST_F(memory_fault, page_fault_is_fixed_up)
{
	u32 bits = kvm_cpu_property(X86_PROPERTY_MAX_PHY_ADDR);
	struct gmem_slot gmem;
	struct hole hole;

	if (!host_cpu_is_intel || !get_kvm_intel_param_bool("allow_smaller_maxphyaddr"))
		SKIP(return, "kvm_intel.allow_smaller_maxphyaddr is off");
	if (!has_gmem_mmap())
		SKIP(return, "KVM has no guest_memfd that can be mapped");

	vcpu_set_cpuid_property(self->vcpu, X86_PROPERTY_MAX_PHY_ADDR, bits - 1);
	*vm_get_pte(self->vm, BORDER) &= ~PTE_WRITABLE_MASK(&self->vm->mmu);
	move_page_table(self->vm, BORDER, &gmem);
	hole = (struct hole) { .hva = gmem.hva, .gpa = gmem.gpa };
	run_guest_into(self->vcpu, guest_page_fault, hole, PROT_NONE);
	gmem_slot_close(&gmem);
}

TEST_F(memory_fault, hyperv_hypercall_fails)
{
	gpa_t page = vm_phy_page_alloc(self->vm, KVM_GUEST_PAGE_TABLE_MIN_PADDR, 0);
	struct hole hole = gva_hole(self->vm, BORDER);

	vcpu_set_hv_cpuid(self->vcpu);
	vcpu_args_set(self->vcpu, 2, hole.gpa, page);
	vcpu_arch_set_entry_point(self->vcpu, guest_hyperv_hypercall);
	vcpu_run_expect_sync(self->vcpu);
	protect_page(hole.hva, PROT_NONE);
	vcpu_run_expect_done(self->vcpu);
}

TEST_F(memory_fault, xen_hypercall_fails)
{
	struct kvm_xen_hvm_config config = {
		.flags = KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL |
			 KVM_XEN_HVM_CONFIG_EVTCHN_SEND,
		.msr = XEN_HYPERCALL_MSR,
	};

	if (!(kvm_check_cap(KVM_CAP_XEN_HVM) & KVM_XEN_HVM_CONFIG_EVTCHN_SEND))
		SKIP(return, "KVM doesn't handle Xen's event channels");

	vm_ioctl(self->vm, KVM_XEN_HVM_CONFIG, &config);
	vcpu_arch_set_entry_point(self->vcpu, guest_xen_hypercall);
	vcpu_run_expect_sync(self->vcpu);
	protect_page(data_hva(self->vm, BORDER), PROT_NONE);
	vcpu_run_expect_done(self->vcpu);
}

TEST_F(memory_fault, kvmclock_is_not_updated)
{
	struct hole hole = gva_hole(self->vm, BORDER);
	struct kvm_clock_data clock = {};

	vcpu_args_set(self->vcpu, 1, hole.gpa);
	vcpu_arch_set_entry_point(self->vcpu, guest_kvmclock);
	vcpu_run_expect_sync(self->vcpu);
	memset(hole.hva, 0, PAGE_SIZE);
	protect_page(hole.hva, PROT_NONE);
	vm_ioctl(self->vm, KVM_SET_CLOCK, &clock);
	vcpu_run_expect_sync(self->vcpu);
	unprotect_page(hole.hva);
	TEST_ASSERT_EQ(*data_hva(self->vm, BORDER), 0);
	vm_ioctl(self->vm, KVM_SET_CLOCK, &clock);
	vcpu_run_expect_done(self->vcpu);
}

TEST_F(memory_fault, exception_reads_idt)
{
	run_guest_into(self->vcpu, guest_exception,
		       gva_hole(self->vm, self->vm->arch.idt), PROT_NONE);
}

TEST_F(memory_fault, exception_reads_gdt)
{
	run_guest_into(self->vcpu, guest_exception,
		       gva_hole(self->vm, self->vm->arch.gdt), PROT_NONE);
}

/* The TSS says where the stack is, in bytes 36 to 43 for the first of seven. */
TEST_F(memory_fault, exception_reads_tss)
{
	struct idt_entry *idt = addr_gva2hva(self->vm, self->vm->arch.idt);
	u8 *tss = addr_gva2hva(self->vm, self->vm->arch.tss);

	idt[BP_VECTOR].ist = 1;
	*(u64 *)(tss + 36) = BORDER + PAGE_SIZE;
	run_guest_into(self->vcpu, guest_exception, gva_hole(self->vm, self->vm->arch.tss),
		       PROT_NONE);
}

TEST_F(memory_fault, exception_writes_stack)
{
	run_guest_into(self->vcpu, guest_exception_stack, gva_hole(self->vm, BORDER), PROT_NONE);
}

#define ACCESS_FLAGS	(KVM_MEMORY_EXIT_FLAG_READ | KVM_MEMORY_EXIT_FLAG_WRITE | \
			 KVM_MEMORY_EXIT_FLAG_EXEC)

static void expect_access(void *guest, bool table, int prot, u64 flags)
{
	struct kvm_vm *vm = __vm_create(VM_SHAPE_DEFAULT, 1, 0);
	struct kvm_vcpu *vcpu;
	struct hole hole;

	vm_enable_cap(vm, KVM_CAP_MEMORY_FAULT_FLAGS, ACCESS_FLAGS);
	vcpu = vm_vcpu_add(vm, 0, guest);
	TEST_ASSERT_EQ(vm_alloc(vm, DATA_SIZE, DATA), DATA);
	write_code(vm);

	hole = table ? page_table_hole(vm, BORDER) : gva_hole(vm, BORDER);
	hole.flags = flags;
	vcpu_run_expect_sync(vcpu);
	protect_page(hole.hva, prot);
	expect_hole_once(vcpu, &hole);
	unprotect_page(hole.hva);
	kvm_vm_free(vm);
}

TEST_F(memory_fault, emulated_access_is_told)
{
	if (!is_forced_emulation_enabled)
		SKIP(return, "kvm.force_emulation_prefix is off");

	if (kvm_check_cap(KVM_CAP_MEMORY_FAULT_FLAGS) != ACCESS_FLAGS)
		SKIP(return, "KVM does not tell the access");

	/* It's the access to the table, not the guest's through the table. */
	expect_access(guest_store_fep, true, PROT_NONE, KVM_MEMORY_EXIT_FLAG_READ);
	expect_access(guest_load_fep, true, PROT_READ, KVM_MEMORY_EXIT_FLAG_WRITE);
	expect_access(guest_lock_inc_fep, false, PROT_READ, KVM_MEMORY_EXIT_FLAG_WRITE);
	expect_access(guest_exec, false, PROT_NONE, KVM_MEMORY_EXIT_FLAG_EXEC);
}

static struct hole setup_smi(struct kvm_vm *vm, struct kvm_vcpu *vcpu)
{
	setup_smram(vm, vcpu, SMRAM_GPA, smi_handler, sizeof(smi_handler));
	vcpu_arch_set_entry_point(vcpu, guest_loop);
	vcpu_run_expect_sync(vcpu);
	inject_smi(vcpu);

	/* The state save area is the end of SMRAM. */
	return gpa_hole(vm, SMRAM_GPA + SMRAM_SIZE - 1);
}

static void expect_smi_handler(struct kvm_vcpu *vcpu)
{
	vcpu_run_expect(vcpu, 0, KVM_EXIT_IO);
	TEST_ASSERT_EQ(vcpu->run->io.port, SMI_PORT);
	vcpu_run_complete_io(vcpu);
}

TEST_F(memory_fault, smi_saves_state)
{
	struct hole hole;

	if (!kvm_has_cap(KVM_CAP_X86_SMM))
		SKIP(return, "KVM has no SMM");

	hole = setup_smi(self->vm, self->vcpu);
	protect_page(hole.hva, PROT_READ);
	expect_hole(self->vcpu, &hole);
	TEST_ASSERT(self->vcpu->run->flags & KVM_RUN_X86_SMM, "The address is SMM's");
	unprotect_page(hole.hva);
	expect_smi_handler(self->vcpu);
	vcpu_run_expect_done(self->vcpu);
}

TEST_F(memory_fault, rsm_restores_state)
{
	struct hole hole;

	if (!kvm_has_cap(KVM_CAP_X86_SMM))
		SKIP(return, "KVM has no SMM");

	hole = setup_smi(self->vm, self->vcpu);
	expect_smi_handler(self->vcpu);
	protect_page(hole.hva, PROT_NONE);
	expect_hole(self->vcpu, &hole);
	TEST_ASSERT(self->vcpu->run->flags & KVM_RUN_X86_SMM, "The address is SMM's");
	unprotect_page(hole.hva);
	vcpu_run_expect_done(self->vcpu);
}

TEST_HARNESS_MAIN
