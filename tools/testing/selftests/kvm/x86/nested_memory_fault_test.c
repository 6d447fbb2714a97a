// SPDX-License-Identifier: GPL-2.0-only
/*
 * L2 runs, L1 is healthy, and the host takes memory away from KVM that KVM needs
 * in order to run L2: userspace must be told L1's address of it, L1 and L2 must
 * not notice, and everything must work when the memory is back.
 */
#include "kvm_test_harness.h"
#include "kvm_util.h"
#include "memory_fault.h"
#include "memory_hole.h"
#include "processor.h"
#include "svm_util.h"
#include "test_util.h"
#include "vmx.h"

#define VM_FUNCTION_CONTROL	0x2018
#define EPTP_LIST_ADDRESS	0x2024
#define VMFUNC_EPTP_SWITCHING	BIT_ULL(0)
#define POSTED_INTR_VECTOR	0xf2

#define PORT		0x5150
#define DATA		0x10000000ULL
/* With nested paging, L2 finds its data at a GPA that means nothing to L1. */
#define L2_DATA_GPA	0x4000000000ULL
/* The same memory for L1. */
#define L1_DATA		0x10200000ULL
#define MAGIC		0x0123456789abcdefULL
/* "mov $MAGIC, %rax; ret" */
#define CODE		"\x48\xb8\xef\xcd\xab\x89\x67\x45\x23\x01\xc3"

static void *l2_entry;
/* L2 can't ask CPUID, which exits to L1 on VMX. */
static bool is_vmx;
static bool l1_has_bitmaps;
static u64 iopm_gpa;
static u64 data_gpa;

static void l2_exit(void)
{
	if (is_vmx)
		vmcall();
	else
		vmmcall();
}

static void l2_nop(void)
{
	l2_exit();
}

static void l2_sync(void)
{
	guest_ready();
	l2_exit();
}

static void l2_read(void)
{
	guest_ready();
	GUEST_ASSERT_EQ(READ_ONCE(*(u64 *)DATA), MAGIC);
	l2_exit();
}

static void l2_read_fep(void)
{
	u64 val;

	guest_ready();
	asm volatile(KVM_FEP "mov (%1), %0" : "=r"(val) : "r"(DATA) : "memory");
	GUEST_ASSERT_EQ(val, MAGIC);
	l2_exit();
}

static void l2_write(void)
{
	guest_ready();
	WRITE_ONCE(*(u64 *)DATA, MAGIC);
	l2_exit();
}

static void l2_exec(void)
{
	u64 (*code)(void) = (void *)DATA;

	guest_ready();
	GUEST_ASSERT_EQ(code(), MAGIC);
	l2_exit();
}

static void l2_rdmsr(void)
{
	guest_ready();
	rdmsr(MSR_IA32_APICBASE);
	l2_exit();
}

static void l2_in(void)
{
	u32 val;

	guest_ready();
	asm volatile("in %%dx, %%eax" : "=a"(val) : "d"(PORT));
	GUEST_ASSERT_EQ(val, 0xfeedf00d);
	l2_exit();
}

/* L1 lets L2 access a VMCS that L1 has prepared for it. */
static void l2_vmread(void)
{
	guest_ready();
	GUEST_ASSERT_EQ(vmreadz(GUEST_RIP), MAGIC);
	l2_exit();
}

static void l2_vmwrite(void)
{
	guest_ready();
	GUEST_ASSERT(!vmwrite(GUEST_RSP, MAGIC));
	GUEST_ASSERT_EQ(vmreadz(GUEST_RSP), MAGIC);
	l2_exit();
}

static void l2_vmfunc(void)
{
	guest_ready();
	asm volatile("vmfunc" : : "a"(0), "c"(0) : "memory");
	l2_exit();
}

/* Just VMRUN, i.e. without a VMLOAD that needs VMCB12, too. */
static void svm_vmrun(struct svm_test_data *svm)
{
	asm volatile("push %%rbp\n\t"
		     "vmrun %%rax\n\t"
		     "pop %%rbp"
		     : : "a"(svm->vmcb_gpa)
		     : "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10",
		       "r11", "r12", "r13", "r14", "r15", "memory");
}

static void svm_setup(struct svm_test_data *svm)
{
	struct vmcb_control_area *ctrl = &svm->vmcb->control;

	generic_svm_setup(svm, l2_entry);

	if (l1_has_bitmaps) {
		ctrl->intercept |= BIT_ULL(INTERCEPT_MSR_PROT) |
				   BIT_ULL(INTERCEPT_IOIO_PROT);
		ctrl->iopm_base_pa = iopm_gpa;
	}
}

static void vmx_setup(struct vmx_pages *vmx)
{
	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, l2_entry);

	if (l1_has_bitmaps) {
		vmwrite(CPU_BASED_VM_EXEC_CONTROL,
			vmreadz(CPU_BASED_VM_EXEC_CONTROL) |
			CPU_BASED_USE_MSR_BITMAPS | CPU_BASED_USE_IO_BITMAPS);
		vmwrite(IO_BITMAP_A, iopm_gpa);
		vmwrite(IO_BITMAP_B, iopm_gpa);
	}
}

/* L1 runs L2, which must come back by its own will. */
static void l1_run(void *data)
{
	if (is_vmx) {
		vmx_setup(data);
		GUEST_ASSERT(!vmlaunch());
		GUEST_ASSERT_EQ(vmreadz(VM_EXIT_REASON), EXIT_REASON_VMCALL);
	} else {
		struct svm_test_data *svm = data;

		svm_setup(svm);
		run_guest(svm->vmcb, svm->vmcb_gpa);
		GUEST_ASSERT_EQ(svm->vmcb->control.exit_code, SVM_EXIT_VMMCALL);
	}
	GUEST_DONE();
}

static void l1_vmrun(struct svm_test_data *svm)
{
	svm_setup(svm);
	guest_ready();
	svm_vmrun(svm);
	GUEST_ASSERT_EQ(svm->vmcb->control.exit_code, SVM_EXIT_VMMCALL);
	GUEST_DONE();
}

static void l1_vmload(struct svm_test_data *svm)
{
	svm_setup(svm);
	svm->vmcb->save.star = MAGIC;
	guest_ready();
	asm volatile("vmload %0" : : "a"(svm->vmcb_gpa) : "memory");
	GUEST_ASSERT_EQ(rdmsr(MSR_STAR), MAGIC);
	GUEST_DONE();
}

static void l1_vmsave(struct svm_test_data *svm)
{
	svm_setup(svm);
	wrmsr(MSR_STAR, MAGIC);
	guest_ready();
	asm volatile("vmsave %0" : : "a"(svm->vmcb_gpa) : "memory");
	GUEST_ASSERT_EQ(svm->vmcb->save.star, MAGIC);
	GUEST_DONE();
}

static void l1_vmxon(struct vmx_pages *vmx)
{
	u64 feature_control = rdmsr(MSR_IA32_FEAT_CTL);

	if (!(feature_control & FEAT_CTL_LOCKED))
		wrmsr(MSR_IA32_FEAT_CTL, feature_control | FEAT_CTL_LOCKED |
					 FEAT_CTL_VMX_ENABLED_OUTSIDE_SMX);
	set_cr0((get_cr0() & rdmsr(MSR_IA32_VMX_CR0_FIXED1)) | rdmsr(MSR_IA32_VMX_CR0_FIXED0));
	set_cr4(((get_cr4() & rdmsr(MSR_IA32_VMX_CR4_FIXED1)) | rdmsr(MSR_IA32_VMX_CR4_FIXED0)) |
		X86_CR4_VMXE);
	*(u32 *)vmx->vmxon = vmcs_revision();
	guest_ready();
	GUEST_ASSERT(!vmxon(vmx->vmxon_gpa));
	GUEST_DONE();
}

static void l1_vmptrld(struct vmx_pages *vmx)
{
	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	*(u32 *)vmx->vmcs = vmcs_revision();
	GUEST_ASSERT(!vmclear(vmx->vmcs_gpa));
	guest_ready();
	GUEST_ASSERT(!vmptrld(vmx->vmcs_gpa));
	GUEST_DONE();
}

static void l1_vmclear(struct vmx_pages *vmx)
{
	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	*(u32 *)vmx->vmcs = vmcs_revision();
	guest_ready();
	GUEST_ASSERT(!vmclear(vmx->vmcs_gpa));
	GUEST_DONE();
}

/* What L1 has written to a VMCS must be there after VMCLEAR. */
static void l1_vmclear_current(struct vmx_pages *vmx)
{
	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	GUEST_ASSERT(!vmwrite(GUEST_RIP, MAGIC));
	guest_ready();
	GUEST_ASSERT(!vmclear(vmx->vmcs_gpa));
	GUEST_ASSERT(!vmptrld(vmx->vmcs_gpa));
	GUEST_ASSERT_EQ(vmreadz(GUEST_RIP), MAGIC);
	GUEST_DONE();
}

static void l1_vmlaunch(void)
{
	guest_ready();
	GUEST_ASSERT(!vmlaunch());
	GUEST_ASSERT_EQ(vmreadz(VM_EXIT_REASON), EXIT_REASON_VMCALL);
	GUEST_DONE();
}

static void l1_apic_access_page(struct vmx_pages *vmx)
{
	vmx_setup(vmx);
	vmwrite(CPU_BASED_VM_EXEC_CONTROL, vmreadz(CPU_BASED_VM_EXEC_CONTROL) |
					   CPU_BASED_ACTIVATE_SECONDARY_CONTROLS);
	vmwrite(SECONDARY_VM_EXEC_CONTROL, vmreadz(SECONDARY_VM_EXEC_CONTROL) |
					   SECONDARY_EXEC_VIRTUALIZE_APIC_ACCESSES);
	vmwrite(APIC_ACCESS_ADDR, iopm_gpa + 2 * PAGE_SIZE);
	l1_vmlaunch();
}

static void l1_virtual_apic_page(struct vmx_pages *vmx)
{
	vmx_setup(vmx);
	vmwrite(CPU_BASED_VM_EXEC_CONTROL, vmreadz(CPU_BASED_VM_EXEC_CONTROL) |
					   CPU_BASED_TPR_SHADOW);
	vmwrite(VIRTUAL_APIC_PAGE_ADDR, iopm_gpa + 2 * PAGE_SIZE);
	l1_vmlaunch();
}

static void vmx_set_secondary_controls(u32 controls)
{
	vmwrite(CPU_BASED_VM_EXEC_CONTROL, vmreadz(CPU_BASED_VM_EXEC_CONTROL) |
					   CPU_BASED_ACTIVATE_SECONDARY_CONTROLS);
	vmwrite(SECONDARY_VM_EXEC_CONTROL, vmreadz(SECONDARY_VM_EXEC_CONTROL) | controls);
}

static void l1_posted_interrupts(struct vmx_pages *vmx)
{
	vmx_setup(vmx);
	vmx_set_secondary_controls(SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY);
	vmwrite(PIN_BASED_VM_EXEC_CONTROL, vmreadz(PIN_BASED_VM_EXEC_CONTROL) |
					   PIN_BASED_EXT_INTR_MASK |
					   PIN_BASED_POSTED_INTR);
	vmwrite(CPU_BASED_VM_EXEC_CONTROL, vmreadz(CPU_BASED_VM_EXEC_CONTROL) |
					   CPU_BASED_TPR_SHADOW);
	vmwrite(VM_EXIT_CONTROLS, vmreadz(VM_EXIT_CONTROLS) |
				  VM_EXIT_ACK_INTR_ON_EXIT);
	vmwrite(POSTED_INTR_NV, POSTED_INTR_VECTOR);
	/* The MSR bitmap is as good a page as any. */
	vmwrite(VIRTUAL_APIC_PAGE_ADDR, vmx->msr_gpa);
	vmwrite(POSTED_INTR_DESC_ADDR, iopm_gpa + 2 * PAGE_SIZE);
	l1_vmlaunch();
}

static void l1_shadow_vmcs_setup(struct vmx_pages *vmx)
{
	vmx_setup(vmx);
	vmx_set_secondary_controls(SECONDARY_EXEC_SHADOW_VMCS);
	vmwrite(VMCS_LINK_POINTER, vmx->shadow_vmcs_gpa);
	GUEST_ASSERT(!vmptrld(vmx->shadow_vmcs_gpa));
	GUEST_ASSERT(!vmwrite(GUEST_RIP, MAGIC));
	GUEST_ASSERT(!vmclear(vmx->shadow_vmcs_gpa));
	GUEST_ASSERT(!vmptrld(vmx->vmcs_gpa));
}

static void l1_shadow_vmcs(struct vmx_pages *vmx)
{
	l1_shadow_vmcs_setup(vmx);
	guest_ready();
	GUEST_ASSERT(!vmlaunch());
	GUEST_ASSERT_EQ(vmreadz(VM_EXIT_REASON), EXIT_REASON_VMCALL);
	GUEST_DONE();
}

static void l1_eptp_list(struct vmx_pages *vmx)
{
	vmx_setup(vmx);
	vmx_set_secondary_controls(SECONDARY_EXEC_ENABLE_VMFUNC);
	*(u64 *)L1_DATA = vmreadz(EPT_POINTER);
	vmwrite(VM_FUNCTION_CONTROL, VMFUNC_EPTP_SWITCHING);
	vmwrite(EPTP_LIST_ADDRESS, data_gpa);
	GUEST_ASSERT(!vmlaunch());
	GUEST_ASSERT_EQ(vmreadz(VM_EXIT_REASON), EXIT_REASON_VMCALL);
	GUEST_DONE();
}

/* Each page that L2 makes dirty is logged. */
static void l1_pml(struct vmx_pages *vmx)
{
	vmx_setup(vmx);
	vmx_set_secondary_controls(SECONDARY_EXEC_ENABLE_PML);
	vmwrite(PML_ADDRESS, iopm_gpa + 2 * PAGE_SIZE);
	vmwrite(GUEST_PML_INDEX, 511);
	GUEST_ASSERT(!vmlaunch());
	GUEST_ASSERT_EQ(vmreadz(VM_EXIT_REASON), EXIT_REASON_VMCALL);
	GUEST_DONE();
}

static void l1_msr_bitmap(struct vmx_pages *vmx)
{
	vmx_setup(vmx);
	l1_vmlaunch();
}

static void l1_entry_msr_load_area(struct vmx_pages *vmx)
{
	vmx_setup(vmx);
	vmwrite(VM_ENTRY_MSR_LOAD_ADDR, iopm_gpa + 2 * PAGE_SIZE);
	vmwrite(VM_ENTRY_MSR_LOAD_COUNT, 1);
	guest_ready();
	GUEST_ASSERT(!vmlaunch());
	GUEST_ASSERT_EQ(vmreadz(VM_EXIT_REASON),
			EXIT_REASON_FAILED_VMENTRY | EXIT_REASON_MSR_LOAD_FAIL);
	GUEST_DONE();
}

static void l1_exit_msr_store_area(struct vmx_pages *vmx)
{
	vmx_setup(vmx);
	vmwrite(VM_EXIT_MSR_STORE_ADDR, iopm_gpa + 2 * PAGE_SIZE);
	vmwrite(VM_EXIT_MSR_STORE_COUNT, 1);
	guest_ready();
	vmlaunch();
	GUEST_FAIL("L1 must not survive a VMX abort");
}

/* Another VMCS replaces the one that L1 has written to. */
static void l1_vmptrld_another(struct vmx_pages *vmx)
{
	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	GUEST_ASSERT(!vmwrite(GUEST_RIP, MAGIC));
	guest_ready();
	GUEST_ASSERT(!vmptrld(vmx->shadow_vmcs_gpa));
	GUEST_ASSERT(!vmptrld(vmx->vmcs_gpa));
	GUEST_ASSERT_EQ(vmreadz(GUEST_RIP), MAGIC);
	GUEST_DONE();
}

/* The operand of VMPTRST is L1's ordinary memory. */
static void l1_vmptrst(struct vmx_pages *vmx)
{
	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	guest_ready();
	asm volatile("vmptrst (%0)" : : "r"(L1_DATA) : "memory", "cc");
	GUEST_ASSERT_EQ(*(u64 *)L1_DATA, vmx->vmcs_gpa);
	GUEST_DONE();
}

FIXTURE(nested_memory_fault)
{
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	/* What L1 and the library put into guest memory for L2. */
	union {
		struct svm_test_data *svm;
		struct vmx_pages *vmx;
	};
	gva_t nested_gva;
	gpa_t data_gpa;
	gpa_t iopm_gpa;
	bool tdp;
};

static bool has_nested(void)
{
	return kvm_cpu_has(X86_FEATURE_VMX) || kvm_cpu_has(X86_FEATURE_SVM);
}

static void nested_vm_create(FIXTURE_DATA(nested_memory_fault) *self, u64 flags)
{
	struct kvm_vm *vm = vm_create(1);

	if (flags)
		vm_enable_cap(vm, KVM_CAP_MEMORY_FAULT_FLAGS, flags);
	self->vcpu = vm_vcpu_add(vm, 0, l1_run);

	is_vmx = kvm_cpu_has(X86_FEATURE_VMX);
	sync_global_to_guest(vm, is_vmx);
	self->vm = vm;
	self->tdp = kvm_cpu_has_tdp();
	self->data_gpa = vm_phy_page_alloc(vm, KVM_GUEST_PAGE_TABLE_MIN_PADDR, 0);
	data_gpa = self->data_gpa;
	sync_global_to_guest(vm, data_gpa);
	self->iopm_gpa = vm_phy_pages_alloc(vm, 3, KVM_GUEST_PAGE_TABLE_MIN_PADDR, 0);
	memset(addr_gpa2hva(vm, self->iopm_gpa), 0, 3 * PAGE_SIZE);
	virt_map(vm, DATA, self->tdp ? L2_DATA_GPA : self->data_gpa, 1);
	virt_map(vm, L1_DATA, self->data_gpa, 1);

	if (self->tdp)
		vm_enable_tdp(vm);
	if (is_vmx)
		self->vmx = vcpu_alloc_vmx(vm, &self->nested_gva);
	else
		self->svm = vcpu_alloc_svm(vm, &self->nested_gva);
	vcpu_args_set(self->vcpu, 1, self->nested_gva);
	if (self->tdp) {
		tdp_identity_map_default_memslots(vm);
		tdp_map(vm, L2_DATA_GPA, self->data_gpa, PAGE_SIZE);
	}
	*(u64 *)addr_gpa2hva(vm, self->data_gpa) = MAGIC;
}

FIXTURE_SETUP(nested_memory_fault)
{
	if (!has_nested())
		SKIP(return, "KVM supports neither nested VMX nor nested SVM");

	nested_vm_create(self, 0);
}

FIXTURE_TEARDOWN(nested_memory_fault)
{
	if (self->vm)
		kvm_vm_free(self->vm);
}

static void set_l2(struct kvm_vm *vm, void *guest, gpa_t bitmap)
{
	l2_entry = guest;
	l1_has_bitmaps = bitmap;
	iopm_gpa = bitmap;
	sync_global_to_guest(vm, l2_entry);
	sync_global_to_guest(vm, l1_has_bitmaps);
	sync_global_to_guest(vm, iopm_gpa);
}

TEST_F(nested_memory_fault, l2_read)
{
	set_l2(self->vm, l2_read, 0);
	run_into(self->vcpu, gpa_hole(self->vm, self->data_gpa), PROT_NONE);
}

TEST_F(nested_memory_fault, l2_write)
{
	set_l2(self->vm, l2_write, 0);
	run_into(self->vcpu, gpa_hole(self->vm, self->data_gpa), PROT_READ);
	TEST_ASSERT_EQ(*(u64 *)addr_gpa2hva(self->vm, self->data_gpa), MAGIC);
}

TEST_F(nested_memory_fault, l2_exec)
{
	set_l2(self->vm, l2_exec, 0);
	memcpy(addr_gpa2hva(self->vm, self->data_gpa), CODE, sizeof(CODE));
	run_into(self->vcpu, gpa_hole(self->vm, self->data_gpa), PROT_NONE);
}

TEST_F(nested_memory_fault, l2_page_table)
{
	set_l2(self->vm, l2_read, 0);
	run_into(self->vcpu, table_hole(self->vm, vm_get_pte(self->vm, DATA)), PROT_NONE);
}

TEST_F(nested_memory_fault, l2_page_table_emulated)
{
	if (!is_forced_emulation_enabled)
		SKIP(return, "kvm.force_emulation_prefix is off");

	set_l2(self->vm, l2_read_fep, 0);
	run_into(self->vcpu, table_hole(self->vm, vm_get_pte(self->vm, DATA)), PROT_NONE);
}

TEST_F(nested_memory_fault, nested_page_table)
{
	if (!self->tdp)
		SKIP(return, "L1 has no nested paging");

	set_l2(self->vm, l2_read, 0);
	run_into(self->vcpu, table_hole(self->vm, tdp_get_pte(self->vm, L2_DATA_GPA)),
		 PROT_NONE);
}

TEST_F(nested_memory_fault, nested_page_table_accessed_dirty)
{
	if (!self->tdp)
		SKIP(return, "L1 has no nested paging");

	set_l2(self->vm, l2_write, 0);
	run_into(self->vcpu, table_hole(self->vm, tdp_get_pte(self->vm, L2_DATA_GPA)),
		 PROT_READ);
}

TEST_F(nested_memory_fault, nested_page_table_emulated)
{
	if (!is_forced_emulation_enabled)
		SKIP(return, "kvm.force_emulation_prefix is off");
	if (!self->tdp)
		SKIP(return, "L1 has no nested paging");

	set_l2(self->vm, l2_read_fep, 0);
	run_into(self->vcpu, table_hole(self->vm, tdp_get_pte(self->vm, L2_DATA_GPA)),
		 PROT_NONE);
}

TEST_F(nested_memory_fault, msr_bitmap_on_exit)
{
	gpa_t gpa;

	set_l2(self->vm, l2_rdmsr, self->iopm_gpa);
	gpa = is_vmx ? self->vmx->msr_gpa : self->svm->msr_gpa;
	run_into(self->vcpu, gpa_hole(self->vm, gpa), PROT_NONE);
}

TEST_F(nested_memory_fault, io_bitmap_on_exit)
{
	struct hole hole = gpa_hole(self->vm, self->iopm_gpa);
	struct kvm_run *run = self->vcpu->run;

	set_l2(self->vm, l2_in, self->iopm_gpa);
	vcpu_run_expect_sync(self->vcpu);
	protect_page(hole.hva, PROT_NONE);
	expect_hole(self->vcpu, &hole);
	unprotect_page(hole.hva);

	vcpu_run_expect(self->vcpu, 0, KVM_EXIT_IO);
	TEST_ASSERT_EQ(run->io.port, PORT);
	*(u32 *)((u8 *)run + run->io.data_offset) = 0xfeedf00d;
	vcpu_run_expect_done(self->vcpu);
}

TEST_F(nested_memory_fault, svm_vmrun)
{
	if (is_vmx)
		SKIP(return, "KVM has no nested SVM");

	set_l2(self->vm, l2_nop, 0);
	vcpu_arch_set_entry_point(self->vcpu, l1_vmrun);
	run_into(self->vcpu, gpa_hole(self->vm, self->svm->vmcb_gpa), PROT_NONE);
}

TEST_F(nested_memory_fault, svm_vmrun_read_only)
{
	if (is_vmx)
		SKIP(return, "KVM has no nested SVM");

	set_l2(self->vm, l2_nop, 0);
	vcpu_arch_set_entry_point(self->vcpu, l1_vmrun);
	run_into(self->vcpu, gpa_hole(self->vm, self->svm->vmcb_gpa), PROT_READ);
}

TEST_F(nested_memory_fault, svm_vmrun_msr_bitmap)
{
	if (is_vmx)
		SKIP(return, "KVM has no nested SVM");

	set_l2(self->vm, l2_nop, self->iopm_gpa);
	vcpu_arch_set_entry_point(self->vcpu, l1_vmrun);
	run_into(self->vcpu, gpa_hole(self->vm, self->svm->msr_gpa), PROT_NONE);
}

TEST_F(nested_memory_fault, svm_vmload)
{
	if (is_vmx)
		SKIP(return, "KVM has no nested SVM");

	vcpu_arch_set_entry_point(self->vcpu, l1_vmload);
	run_into(self->vcpu, gpa_hole(self->vm, self->svm->vmcb_gpa), PROT_NONE);
}

TEST_F(nested_memory_fault, svm_vmsave)
{
	if (is_vmx)
		SKIP(return, "KVM has no nested SVM");

	vcpu_arch_set_entry_point(self->vcpu, l1_vmsave);
	run_into(self->vcpu, gpa_hole(self->vm, self->svm->vmcb_gpa), PROT_NONE);
}

/* L2 is gone by then, and L1 can't be told why. */
TEST_F(nested_memory_fault, svm_vmexit_shuts_l1_down)
{
	if (is_vmx)
		SKIP(return, "KVM has no nested SVM");

	set_l2(self->vm, l2_sync, 0);
	vcpu_run_expect_sync(self->vcpu);
	protect_page(addr_gpa2hva(self->vm, self->svm->vmcb_gpa), PROT_NONE);
	vcpu_run_expect(self->vcpu, 0, KVM_EXIT_SHUTDOWN);
}

TEST_F(nested_memory_fault, vmx_vmxon)
{
	if (!is_vmx)
		SKIP(return, "KVM has no nested VMX");

	vcpu_arch_set_entry_point(self->vcpu, l1_vmxon);
	run_into(self->vcpu, gpa_hole(self->vm, self->vmx->vmxon_gpa), PROT_NONE);
}

TEST_F(nested_memory_fault, vmx_vmptrld)
{
	if (!is_vmx)
		SKIP(return, "KVM has no nested VMX");

	vcpu_arch_set_entry_point(self->vcpu, l1_vmptrld);
	run_into(self->vcpu, gpa_hole(self->vm, self->vmx->vmcs_gpa), PROT_NONE);
}

TEST_F(nested_memory_fault, vmx_vmclear)
{
	if (!is_vmx)
		SKIP(return, "KVM has no nested VMX");

	vcpu_arch_set_entry_point(self->vcpu, l1_vmclear);
	run_into(self->vcpu, gpa_hole(self->vm, self->vmx->vmcs_gpa), PROT_READ);
}

TEST_F(nested_memory_fault, vmx_vmclear_flushes)
{
	if (!is_vmx)
		SKIP(return, "KVM has no nested VMX");

	vcpu_arch_set_entry_point(self->vcpu, l1_vmclear_current);
	run_into(self->vcpu, gpa_hole(self->vm, self->vmx->vmcs_gpa), PROT_READ);
}

TEST_F(nested_memory_fault, vmx_apic_access_page)
{
	if (!is_vmx)
		SKIP(return, "KVM has no nested VMX");

	set_l2(self->vm, l2_nop, self->iopm_gpa);
	vcpu_arch_set_entry_point(self->vcpu, l1_apic_access_page);
	run_into(self->vcpu, gpa_hole(self->vm, self->iopm_gpa + 2 * PAGE_SIZE), PROT_READ);
}

TEST_F(nested_memory_fault, vmx_virtual_apic_page)
{
	if (!is_vmx)
		SKIP(return, "KVM has no nested VMX");

	set_l2(self->vm, l2_nop, self->iopm_gpa);
	vcpu_arch_set_entry_point(self->vcpu, l1_virtual_apic_page);
	run_into(self->vcpu, gpa_hole(self->vm, self->iopm_gpa + 2 * PAGE_SIZE), PROT_READ);
}

/* L1 may have @control, which is a bit of the upper half of @msr. */
static bool l1_has_control(u32 msr, u32 control)
{
	return kvm_get_feature_msr(msr) >> 32 & control;
}

TEST_F(nested_memory_fault, vmx_vmptrld_flushes)
{
	if (!is_vmx)
		SKIP(return, "KVM has no nested VMX");

	vcpu_arch_set_entry_point(self->vcpu, l1_vmptrld_another);
	run_into(self->vcpu, gpa_hole(self->vm, self->vmx->vmcs_gpa), PROT_READ);
}

TEST_F(nested_memory_fault, vmx_posted_interrupt_descriptor)
{
	struct kvm_guest_debug debug = {
		.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_BLOCKIRQ,
	};

	if (!is_vmx || !l1_has_control(MSR_IA32_VMX_TRUE_PINBASED_CTLS, PIN_BASED_POSTED_INTR))
		SKIP(return, "KVM has no nested posted interrupts");

	/*
	 * Keep KVM from posting interrupts to L1 itself: Bochs takes no
	 * descriptor but one at the start of a page.
	 */
	vcpu_guest_debug_set(self->vcpu, &debug);
	set_l2(self->vm, l2_nop, self->iopm_gpa);
	vcpu_arch_set_entry_point(self->vcpu, l1_posted_interrupts);
	run_into(self->vcpu, gpa_hole(self->vm, self->iopm_gpa + 2 * PAGE_SIZE), PROT_READ);
}

static bool has_shadow_vmcs(void)
{
	return is_vmx && l1_has_control(MSR_IA32_VMX_PROCBASED_CTLS2, SECONDARY_EXEC_SHADOW_VMCS);
}

/* L1 is about to run L2 with a shadow VMCS, and L2 is about to use that. */
static void run_l2_with_shadow_vmcs(FIXTURE_DATA(nested_memory_fault) *self, void *l2)
{
	set_l2(self->vm, l2, 0);
	vcpu_arch_set_entry_point(self->vcpu, l1_shadow_vmcs);
	vcpu_run_expect_sync(self->vcpu);
}

TEST_F(nested_memory_fault, vmx_vmread_bitmap)
{
	if (!has_shadow_vmcs())
		SKIP(return, "KVM has no nested VMCS shadowing");

	run_l2_with_shadow_vmcs(self, l2_vmread);
	run_into(self->vcpu, gpa_hole(self->vm, self->vmx->vmread_gpa), PROT_NONE);
}

TEST_F(nested_memory_fault, vmx_vmwrite_bitmap)
{
	if (!has_shadow_vmcs())
		SKIP(return, "KVM has no nested VMCS shadowing");

	run_l2_with_shadow_vmcs(self, l2_vmwrite);
	run_into(self->vcpu, gpa_hole(self->vm, self->vmx->vmwrite_gpa), PROT_NONE);
}

TEST_F(nested_memory_fault, vmx_shadow_vmcs)
{
	struct hole hole;

	if (!has_shadow_vmcs())
		SKIP(return, "KVM has no nested VMCS shadowing");

	run_l2_with_shadow_vmcs(self, l2_vmread);
	hole = gpa_hole(self->vm, self->vmx->shadow_vmcs_gpa);
	protect_page(hole.hva, PROT_READ);
	expect_hole(self->vcpu, &hole);
	protect_page(hole.hva, PROT_NONE);
	expect_hole(self->vcpu, &hole);
	unprotect_page(hole.hva);
	vcpu_run_expect_sync(self->vcpu);
	vcpu_run_expect_done(self->vcpu);
}

/* What L2 has written is lost: L2 has exited, and nobody asks again. */
TEST_F(nested_memory_fault, vmx_shadow_vmcs_on_exit_is_ignored)
{
	if (!has_shadow_vmcs())
		SKIP(return, "KVM has no nested VMCS shadowing");

	run_l2_with_shadow_vmcs(self, l2_sync);
	vcpu_run_expect_sync(self->vcpu);
	protect_page(addr_gpa2hva(self->vm, self->vmx->shadow_vmcs_gpa), PROT_NONE);
	vcpu_run_expect_done(self->vcpu);
}

TEST_F(nested_memory_fault, vmx_pml_buffer_is_ignored)
{
	if (!is_vmx || !self->tdp ||
	    !l1_has_control(MSR_IA32_VMX_PROCBASED_CTLS2, SECONDARY_EXEC_ENABLE_PML))
		SKIP(return, "KVM has no nested page modification logging");

	set_l2(self->vm, l2_write, self->iopm_gpa);
	vcpu_arch_set_entry_point(self->vcpu, l1_pml);
	vcpu_run_expect_sync(self->vcpu);
	protect_page(addr_gpa2hva(self->vm, self->iopm_gpa + 2 * PAGE_SIZE), PROT_NONE);
	vcpu_run_expect_done(self->vcpu);
	TEST_ASSERT_EQ(*(u64 *)addr_gpa2hva(self->vm, self->data_gpa), MAGIC);
}

TEST_F(nested_memory_fault, vmx_eptp_list)
{
	if (!is_vmx || !self->tdp ||
	    !l1_has_control(MSR_IA32_VMX_PROCBASED_CTLS2, SECONDARY_EXEC_ENABLE_VMFUNC))
		SKIP(return, "KVM has no nested EPTP switching");

	set_l2(self->vm, l2_vmfunc, 0);
	vcpu_arch_set_entry_point(self->vcpu, l1_eptp_list);
	run_into(self->vcpu, gpa_hole(self->vm, self->data_gpa), PROT_NONE);
}

/* VM-Enter does without the bitmap, and L2 exits if it needs the bitmap. */
TEST_F(nested_memory_fault, vmx_vmlaunch_msr_bitmap)
{
	struct hole hole;

	if (!is_vmx)
		SKIP(return, "KVM has no nested VMX");

	set_l2(self->vm, l2_rdmsr, self->iopm_gpa);
	vcpu_arch_set_entry_point(self->vcpu, l1_msr_bitmap);
	hole = gpa_hole(self->vm, self->vmx->msr_gpa);
	vcpu_run_expect_sync(self->vcpu);
	protect_page(hole.hva, PROT_NONE);
	vcpu_run_expect_sync(self->vcpu);
	expect_hole(self->vcpu, &hole);
	unprotect_page(hole.hva);
	vcpu_run_expect_done(self->vcpu);
}

/* MSRs that precede a bad one are loaded and can't be unloaded. */
TEST_F(nested_memory_fault, vmx_entry_msr_load_area_fails_vm_enter)
{
	if (!is_vmx)
		SKIP(return, "KVM has no nested VMX");

	set_l2(self->vm, l2_nop, self->iopm_gpa);
	vcpu_arch_set_entry_point(self->vcpu, l1_entry_msr_load_area);
	vcpu_run_expect_sync(self->vcpu);
	protect_page(addr_gpa2hva(self->vm, self->iopm_gpa + 2 * PAGE_SIZE), PROT_NONE);
	vcpu_run_expect_done(self->vcpu);
}

TEST_F(nested_memory_fault, vmx_exit_msr_store_area_aborts_l1)
{
	if (!is_vmx)
		SKIP(return, "KVM has no nested VMX");

	set_l2(self->vm, l2_nop, self->iopm_gpa);
	vcpu_arch_set_entry_point(self->vcpu, l1_exit_msr_store_area);
	vcpu_run_expect_sync(self->vcpu);
	protect_page(addr_gpa2hva(self->vm, self->iopm_gpa + 2 * PAGE_SIZE), PROT_NONE);
	vcpu_run_expect(self->vcpu, 0, KVM_EXIT_SHUTDOWN);
}

/* The operand of an instruction that KVM emulates without the emulator. */
TEST_F(nested_memory_fault, vmx_vmptrst_page_table)
{
	if (!is_vmx)
		SKIP(return, "KVM has no nested VMX");

	vcpu_arch_set_entry_point(self->vcpu, l1_vmptrst);
	run_into(self->vcpu, table_hole(self->vm, vm_get_pte(self->vm, L1_DATA)), PROT_NONE);
}

TEST_F(nested_memory_fault, vmx_vmptrst)
{
	if (!is_vmx)
		SKIP(return, "KVM has no nested VMX");

	vcpu_arch_set_entry_point(self->vcpu, l1_vmptrst);
	run_into(self->vcpu, gpa_hole(self->vm, self->data_gpa), PROT_NONE);
}

/* A vCPU that moves to another VM, with the same memory, while there is a hole. */
FIXTURE(nested_migration)
{
	FIXTURE_DATA(nested_memory_fault) nested;
};

FIXTURE_SETUP(nested_migration)
{
	if (!has_nested())
		SKIP(return, "KVM supports neither nested VMX nor nested SVM");
	if (!kvm_has_cap(KVM_CAP_NESTED_STATE))
		SKIP(return, "KVM can't save the state of a nested guest");

	nested_vm_create(&self->nested, 0);
}

FIXTURE_TEARDOWN(nested_migration)
{
	if (self->nested.vm)
		kvm_vm_free(self->nested.vm);
}

static void migrate(FIXTURE_DATA(nested_memory_fault) *nested)
{
	struct kvm_x86_state *state = vcpu_save_state(nested->vcpu);

	kvm_vm_release(nested->vm);
	nested->vcpu = vm_recreate_with_one_vcpu(nested->vm);
	vcpu_load_state(nested->vcpu, state);
	kvm_x86_state_cleanup(state);
}

/* The guest runs into @hole here, and again after it has moved. */
static void migrate_in(FIXTURE_DATA(nested_memory_fault) *nested, struct hole hole, int prot)
{
	vcpu_run_expect_sync(nested->vcpu);
	protect_page(hole.hva, prot);
	expect_hole(nested->vcpu, &hole);
	migrate(nested);
	expect_hole(nested->vcpu, &hole);
	unprotect_page(hole.hva);
	vcpu_run_expect_done(nested->vcpu);
}

/* The guest moves while L2 runs, and needs what is in @hole in order to resume L2. */
static void migrate_into(FIXTURE_DATA(nested_memory_fault) *nested, struct hole hole, int prot)
{
	vcpu_run_expect_sync(nested->vcpu);
	protect_page(hole.hva, prot);
	migrate(nested);
	expect_hole(nested->vcpu, &hole);
	migrate(nested);
	expect_hole(nested->vcpu, &hole);
	unprotect_page(hole.hva);
	vcpu_run_expect_done(nested->vcpu);
}

TEST_F(nested_migration, l2_read)
{
	set_l2(self->nested.vm, l2_read, 0);
	migrate_in(&self->nested, gpa_hole(self->nested.vm, self->nested.data_gpa), PROT_NONE);
}

TEST_F(nested_migration, nested_page_table)
{
	if (!self->nested.tdp)
		SKIP(return, "L1 has no nested paging");

	set_l2(self->nested.vm, l2_read, 0);
	migrate_in(&self->nested,
		   table_hole(self->nested.vm, tdp_get_pte(self->nested.vm, L2_DATA_GPA)),
		   PROT_NONE);
}

TEST_F(nested_migration, msr_bitmap_on_exit)
{
	gpa_t gpa;

	/* SVM gets the bitmap before it runs L2, see svm_resume_msr_bitmap. */
	set_l2(self->nested.vm, l2_rdmsr, self->nested.iopm_gpa);
	gpa = is_vmx ? self->nested.vmx->msr_gpa : self->nested.svm->msr_gpa;
	migrate_in(&self->nested, gpa_hole(self->nested.vm, gpa), PROT_NONE);
}

TEST_F(nested_migration, svm_vmrun)
{
	if (is_vmx)
		SKIP(return, "KVM has no nested SVM");

	set_l2(self->nested.vm, l2_nop, 0);
	vcpu_arch_set_entry_point(self->nested.vcpu, l1_vmrun);
	migrate_in(&self->nested, gpa_hole(self->nested.vm, self->nested.svm->vmcb_gpa), PROT_NONE);
}

TEST_F(nested_migration, svm_vmrun_msr_bitmap)
{
	if (is_vmx)
		SKIP(return, "KVM has no nested SVM");

	set_l2(self->nested.vm, l2_nop, self->nested.iopm_gpa);
	vcpu_arch_set_entry_point(self->nested.vcpu, l1_vmrun);
	migrate_in(&self->nested, gpa_hole(self->nested.vm, self->nested.svm->msr_gpa), PROT_NONE);
}

TEST_F(nested_migration, svm_resume_msr_bitmap)
{
	if (is_vmx)
		SKIP(return, "KVM has no nested SVM");

	set_l2(self->nested.vm, l2_sync, self->nested.iopm_gpa);
	migrate_into(&self->nested, gpa_hole(self->nested.vm, self->nested.svm->msr_gpa),
		     PROT_NONE);
}

TEST_F(nested_migration, vmx_vmlaunch_apic_access_page)
{
	gpa_t gpa = self->nested.iopm_gpa + 2 * PAGE_SIZE;

	if (!is_vmx)
		SKIP(return, "KVM has no nested VMX");

	set_l2(self->nested.vm, l2_nop, self->nested.iopm_gpa);
	vcpu_arch_set_entry_point(self->nested.vcpu, l1_apic_access_page);
	migrate_in(&self->nested, gpa_hole(self->nested.vm, gpa), PROT_READ);
}

/* The first sync is L1's, just before VMLAUNCH. */
TEST_F(nested_migration, vmx_resume_apic_access_page)
{
	gpa_t gpa = self->nested.iopm_gpa + 2 * PAGE_SIZE;

	if (!is_vmx)
		SKIP(return, "KVM has no nested VMX");

	set_l2(self->nested.vm, l2_sync, self->nested.iopm_gpa);
	vcpu_arch_set_entry_point(self->nested.vcpu, l1_apic_access_page);
	vcpu_run_expect_sync(self->nested.vcpu);
	migrate_into(&self->nested, gpa_hole(self->nested.vm, gpa), PROT_READ);
}

TEST_F(nested_migration, vmx_resume_virtual_apic_page)
{
	gpa_t gpa = self->nested.iopm_gpa + 2 * PAGE_SIZE;

	if (!is_vmx)
		SKIP(return, "KVM has no nested VMX");

	set_l2(self->nested.vm, l2_sync, self->nested.iopm_gpa);
	vcpu_arch_set_entry_point(self->nested.vcpu, l1_virtual_apic_page);
	vcpu_run_expect_sync(self->nested.vcpu);
	migrate_into(&self->nested, gpa_hole(self->nested.vm, gpa), PROT_READ);
}

TEST_F(nested_migration, vmx_resume_posted_interrupt_descriptor)
{
	struct kvm_guest_debug debug = {
		.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_BLOCKIRQ,
	};
	gpa_t gpa = self->nested.iopm_gpa + 2 * PAGE_SIZE;

	if (!is_vmx || !l1_has_control(MSR_IA32_VMX_TRUE_PINBASED_CTLS, PIN_BASED_POSTED_INTR))
		SKIP(return, "KVM has no nested posted interrupts");

	vcpu_guest_debug_set(self->nested.vcpu, &debug);
	set_l2(self->nested.vm, l2_sync, self->nested.iopm_gpa);
	vcpu_arch_set_entry_point(self->nested.vcpu, l1_posted_interrupts);
	vcpu_run_expect_sync(self->nested.vcpu);
	vcpu_run_expect_sync(self->nested.vcpu);
	protect_page(addr_gpa2hva(self->nested.vm, gpa), PROT_READ);
	migrate(&self->nested);
	vcpu_guest_debug_set(self->nested.vcpu, &debug);
	vcpu_run_expect_memory_fault(self->nested.vcpu, gpa, 0);
	unprotect_page(addr_gpa2hva(self->nested.vm, gpa));
	vcpu_run_expect_done(self->nested.vcpu);
}

/* What L2 did, if the VM wants to know. */
FIXTURE(nested_access)
{
	FIXTURE_DATA(nested_memory_fault) nested;
	struct hole hole;
};

FIXTURE_SETUP(nested_access)
{
	u64 flags = kvm_check_cap(KVM_CAP_MEMORY_FAULT_FLAGS);

	if (!has_nested())
		SKIP(return, "KVM supports neither nested VMX nor nested SVM");
	if (!flags)
		SKIP(return, "KVM does not tell how memory is accessed");

	nested_vm_create(&self->nested, flags);
	self->hole = gpa_hole(self->nested.vm, self->nested.data_gpa);
}

FIXTURE_TEARDOWN(nested_access)
{
	if (self->nested.vm)
		kvm_vm_free(self->nested.vm);
}

TEST_F(nested_access, read)
{
	set_l2(self->nested.vm, l2_read, 0);
	self->hole.flags = KVM_MEMORY_EXIT_FLAG_READ;
	run_into(self->nested.vcpu, self->hole, PROT_NONE);
}

TEST_F(nested_access, write)
{
	set_l2(self->nested.vm, l2_write, 0);
	self->hole.flags = KVM_MEMORY_EXIT_FLAG_WRITE;
	run_into(self->nested.vcpu, self->hole, PROT_READ);
}

TEST_F(nested_access, exec)
{
	set_l2(self->nested.vm, l2_exec, 0);
	memcpy(self->hole.hva, CODE, sizeof(CODE));
	self->hole.flags = KVM_MEMORY_EXIT_FLAG_EXEC;
	run_into(self->nested.vcpu, self->hole, PROT_NONE);
}

TEST_HARNESS_MAIN
