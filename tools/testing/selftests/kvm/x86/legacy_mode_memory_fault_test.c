// SPDX-License-Identifier: GPL-2.0-only
/*
 * What KVM does for guests outside of 64-bit mode, i.e. real mode on CPUs that
 * can't run it, task switches and the PDPTEs of PAE paging, without memory that
 * the host backs.
 */
#include "kvm_test_harness.h"
#include "kvm_util.h"
#include "memory_fault.h"
#include "memory_hole.h"
#include "processor.h"
#include "test_util.h"

/* Guest memory, by page. */
#define IDT_GPA		0x0000
#define CODE_GPA	0x1000
#define STACK_GPA	0x2000
#define HOLE_GPA	0x3000
#define GDT_GPA		0x4000
#define PAGE_DIR_GPA	0x5000
#define NR_PAGES	6

/* Within the page of code: what an event, or a new task, starts with. */
#define HANDLER_GPA	(CODE_GPA + 0x800)
/* Within the page of the GDT. */
#define TSS_GPA		(GDT_GPA + 0x800)

#define PORT_READY	0x10
#define PORT_DONE	0x11
#define PORT_HANDLER	0x12

#define CODE_SEL	0x08
#define DATA_SEL	0x10
#define TSS_SEL		0x18
#define NEW_TSS_SEL	0x20

#define TSS_LIMIT	0x67
#define TSS_EIP		0x20
#define TSS_EFLAGS	0x24
#define TSS_ES		0x48
#define TSS_CS		0x4c
#define TSS_SS		0x50
#define TSS_DS		0x54

/* "out %al, $port" */
#define OUT(port)	0xe6, port

static const u8 done[] = { OUT(PORT_DONE) };
static const u8 handler[] = { OUT(PORT_HANDLER) };

/* In real mode: "mov $HOLE_GPA, %bx; jmp *%bx" */
static const u8 jump[] = {
	OUT(PORT_READY), 0xbb, HOLE_GPA & 0xff, HOLE_GPA >> 8, 0xff, 0xe3,
};

/* In real mode: "lgdtw HOLE_GPA - 2" */
static const u8 load_gdt[] = {
	OUT(PORT_READY), 0x0f, 0x01, 0x16, (HOLE_GPA - 2) & 0xff, (HOLE_GPA - 2) >> 8,
	OUT(PORT_DONE),
};

/* "1: jmp 1b" */
static const u8 loop[] = { OUT(PORT_READY), 0xeb, 0xfe };

/* "ljmp $NEW_TSS_SEL, $0" */
static const u8 switch_task[] = { OUT(PORT_READY), 0xea, 0, 0, 0, 0, NEW_TSS_SEL, 0 };

/* "mov %cr4, %eax; xor $X86_CR4_PSE, %eax; mov %eax, %cr4" */
static const u8 toggle_pse[] = {
	OUT(PORT_READY), 0x0f, 0x20, 0xe0, 0x83, 0xf0, X86_CR4_PSE, 0x0f, 0x22, 0xe0,
	OUT(PORT_DONE),
};

/* Drop the error code and try again: "add $4, %esp; iret" */
static const u8 gp_handler[] = { OUT(PORT_HANDLER), 0x83, 0xc4, 0x04, 0xcf };

FIXTURE(legacy_mode)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	struct hole hole;
};

FIXTURE_SETUP(legacy_mode)
{
	self->vm = vm_create_barebones();
	/* Without unrestricted guest, VMX needs memory of its own for real mode. */
	vm_ioctl(self->vm, KVM_SET_TSS_ADDR, (void *)0xfffbd000UL);
	vm_userspace_mem_region_add(self->vm, VM_MEM_SRC_ANONYMOUS, 0, 0, NR_PAGES, 0);
	self->vcpu = __vm_vcpu_add(self->vm, 0);
	vcpu_init_cpuid(self->vcpu, kvm_get_supported_cpuid());
	self->hole = gpa_hole(self->vm, HOLE_GPA);
}

FIXTURE_TEARDOWN(legacy_mode)
{
	kvm_vm_free(self->vm);
}

/* VMX can't run real mode, i.e. KVM runs it in virtual-8086 mode, or emulates. */
static bool is_real_mode_emulated(void)
{
	return host_cpu_is_intel && !kvm_is_unrestricted_guest_enabled();
}

static void *gpa_ptr(struct kvm_vm *vm, gpa_t gpa)
{
	return addr_gpa2hva(vm, gpa);
}

static void start(struct kvm_vcpu *vcpu, struct kvm_sregs *sregs)
{
	struct kvm_regs regs = {
		.rip = CODE_GPA,
		.rsp = STACK_GPA + PAGE_SIZE,
		.rflags = X86_EFLAGS_FIXED | X86_EFLAGS_IF,
	};

	vcpu_sregs_set(vcpu, sregs);
	vcpu_regs_set(vcpu, &regs);
}

static void start_real_mode(struct kvm_vcpu *vcpu, u32 data_limit)
{
	struct kvm_sregs sregs;

	vcpu_sregs_get(vcpu, &sregs);
	sregs.cs.selector = 0;
	sregs.cs.base = 0;
	sregs.ds.limit = data_limit;
	sregs.ds.g = data_limit > 0xffff;
	start(vcpu, &sregs);
}

static struct kvm_segment flat_segment(u16 selector, u8 type)
{
	return (struct kvm_segment) {
		.selector = selector,
		.limit = 0xffffffff,
		.type = type,
		.present = 1,
		.s = 1,
		.db = 1,
		.g = 1,
	};
}

static u64 descriptor(u32 base, u32 limit, u32 flags)
{
	return (u64)(base & 0xff000000) << 32 | (u64)flags << 40 |
	       (u64)(limit & 0xf0000) << 32 | (u64)(base & 0xffffff) << 16 |
	       (limit & 0xffff);
}

static void init_gdt(struct kvm_vm *vm)
{
	u64 *gdt = gpa_ptr(vm, GDT_GPA);

	gdt[CODE_SEL / 8] = descriptor(0, 0xfffff, 0xc09b);
	gdt[DATA_SEL / 8] = descriptor(0, 0xfffff, 0xc093);
	gdt[TSS_SEL / 8] = descriptor(TSS_GPA, TSS_LIMIT, 0x8b);
	gdt[NEW_TSS_SEL / 8] = descriptor(HOLE_GPA, TSS_LIMIT, 0x89);
}

static void start_protected_mode(struct kvm_vcpu *vcpu, u64 cr0, u64 cr4, u64 cr3)
{
	struct kvm_sregs sregs;

	init_gdt(vcpu->vm);
	vcpu_sregs_get(vcpu, &sregs);
	sregs.cs = flat_segment(CODE_SEL, 0xb);
	sregs.ds = flat_segment(DATA_SEL, 3);
	sregs.es = sregs.ds;
	sregs.ss = sregs.ds;
	sregs.tr = (struct kvm_segment) {
		.selector = TSS_SEL,
		.base = TSS_GPA,
		.limit = TSS_LIMIT,
		.type = 0xb,
		.present = 1,
	};
	sregs.gdt.base = GDT_GPA;
	sregs.gdt.limit = NEW_TSS_SEL + 7;
	sregs.idt.base = IDT_GPA;
	sregs.idt.limit = PAGE_SIZE - 1;
	sregs.cr0 |= X86_CR0_PE | cr0;
	sregs.cr4 |= cr4;
	sregs.cr3 = cr3;
	start(vcpu, &sregs);
}

static void expect_out(struct kvm_vcpu *vcpu, u16 port)
{
	vcpu_run_expect(vcpu, 0, KVM_EXIT_IO);
	TEST_ASSERT_EQ(vcpu->run->io.port, port);
}

/* Run the guest, which is ready, into its hole, and let it finish after that. */
static void run_into_until(struct kvm_vcpu *vcpu, struct hole hole, int prot, u16 port)
{
	expect_out(vcpu, PORT_READY);
	protect_page(hole.hva, prot);
	expect_hole(vcpu, &hole);
	unprotect_page(hole.hva);
	expect_out(vcpu, port);
}

TEST_F(legacy_mode, real_mode_code)
{
	memcpy(gpa_ptr(self->vm, CODE_GPA), jump, sizeof(jump));
	memcpy(gpa_ptr(self->vm, HOLE_GPA), done, sizeof(done));
	start_real_mode(self->vcpu, 0xffff);
	run_into_until(self->vcpu, self->hole, PROT_NONE, PORT_DONE);
}

/* No segment of virtual-8086 mode is larger than 64 KiB. */
TEST_F(legacy_mode, big_real_mode_code)
{
	memcpy(gpa_ptr(self->vm, CODE_GPA), jump, sizeof(jump));
	memcpy(gpa_ptr(self->vm, HOLE_GPA), done, sizeof(done));
	start_real_mode(self->vcpu, 0xffffffff);
	run_into_until(self->vcpu, self->hole, PROT_NONE, PORT_DONE);
}

/*
 * Virtual-8086 mode doesn't allow LGDT, i.e. KVM has to emulate it.  The limit,
 * which comes first, is ordinary data to the emulator, what follows is not.
 */
TEST_F_TIMEOUT(legacy_mode, real_mode_lgdt, 10)
{
	memcpy(gpa_ptr(self->vm, CODE_GPA), load_gdt, sizeof(load_gdt));
	start_real_mode(self->vcpu, 0xffff);
	run_into_until(self->vcpu, self->hole, PROT_NONE, PORT_DONE);
}

TEST_F(legacy_mode, real_mode_event)
{
	struct hole hole = gpa_hole(self->vm, IDT_GPA);
	struct kvm_interrupt interrupt = { .irq = 0x20 };
	u32 *ivt = hole.hva;

	ivt[interrupt.irq] = HANDLER_GPA;
	memcpy(gpa_ptr(self->vm, CODE_GPA), loop, sizeof(loop));
	memcpy(gpa_ptr(self->vm, HANDLER_GPA), handler, sizeof(handler));
	start_real_mode(self->vcpu, 0xffff);
	expect_out(self->vcpu, PORT_READY);
	protect_page(hole.hva, PROT_NONE);
	vcpu_ioctl(self->vcpu, KVM_INTERRUPT, &interrupt);

	/* KVM delivers the event, and has nobody to tell that it can't. */
	if (is_real_mode_emulated()) {
		vcpu_run_expect(self->vcpu, 0, KVM_EXIT_SHUTDOWN);
		return;
	}

	expect_hole(self->vcpu, &hole);
	unprotect_page(hole.hva);
	expect_out(self->vcpu, PORT_HANDLER);
}

/* KVM can't undo what it has done of a task switch. */
TEST_F_TIMEOUT(legacy_mode, task_switch, 10)
{
	u8 *tss = self->hole.hva;

	if (!host_cpu_is_intel)
		SKIP(return, "QEMU switches tasks itself, even if SVM shall not");

	*(u32 *)(tss + TSS_EIP) = HANDLER_GPA;
	*(u32 *)(tss + TSS_EFLAGS) = X86_EFLAGS_FIXED;
	*(u16 *)(tss + TSS_CS) = CODE_SEL;
	*(u16 *)(tss + TSS_SS) = DATA_SEL;
	*(u16 *)(tss + TSS_DS) = DATA_SEL;
	*(u16 *)(tss + TSS_ES) = DATA_SEL;
	memcpy(gpa_ptr(self->vm, CODE_GPA), switch_task, sizeof(switch_task));
	memcpy(gpa_ptr(self->vm, HANDLER_GPA), handler, sizeof(handler));
	start_protected_mode(self->vcpu, 0, 0, 0);
	expect_out(self->vcpu, PORT_READY);
	protect_page(self->hole.hva, PROT_NONE);
	vcpu_run_expect(self->vcpu, 0, KVM_EXIT_INTERNAL_ERROR);
}

TEST_F(legacy_mode, pdptes)
{
	u64 *idt = gpa_ptr(self->vm, IDT_GPA);

	if (host_cpu_is_amd_compatible && kvm_cpu_has_tdp())
		SKIP(return, "With nested paging, SVM reads PDPTEs without KVM's help");

	*(u64 *)self->hole.hva = PAGE_DIR_GPA | 1;
	*(u64 *)gpa_ptr(self->vm, PAGE_DIR_GPA) = 0xe3;
	idt[GP_VECTOR] = HANDLER_GPA | CODE_SEL << 16 | 0x8e00ULL << 32;
	memcpy(gpa_ptr(self->vm, CODE_GPA), toggle_pse, sizeof(toggle_pse));
	memcpy(gpa_ptr(self->vm, HANDLER_GPA), gp_handler, sizeof(gp_handler));
	start_protected_mode(self->vcpu, X86_CR0_PG, X86_CR4_PAE, HOLE_GPA);

	expect_out(self->vcpu, PORT_READY);
	protect_page(self->hole.hva, PROT_NONE);
	expect_out(self->vcpu, PORT_HANDLER);
	unprotect_page(self->hole.hva);
	expect_out(self->vcpu, PORT_DONE);
}

TEST_HARNESS_MAIN
