// SPDX-License-Identifier: GPL-2.0-only
/*
 * VMRUN with Hyper-V's VP assist page missing: #GP for L1, and nothing else, if
 * the page is in no memslot; a memory fault for userspace, and nothing else, if
 * there is no memory behind the memslot.
 */
#include "hyperv.h"
#include "kvm_test_harness.h"
#include "kvm_util.h"
#include "memory_fault.h"
#include "processor.h"
#include "svm_util.h"
#include "test_util.h"

#define ASSIST_GPA	0xc0000000ul
#define ASSIST_SLOT	10

static u64 nr_l2_runs;

static void l2_code(void)
{
	nr_l2_runs++;
	vmmcall();
}

static void l1_enable_assist_page(void)
{
	wrmsr(HV_X64_MSR_GUEST_OS_ID, HYPERV_LINUX_OS_ID);
	wrmsr(HV_X64_MSR_VP_ASSIST_PAGE,
	      ASSIST_GPA | HV_X64_MSR_VP_ASSIST_PAGE_ENABLE);
}

static void l1_vmrun_gp(struct svm_test_data *svm)
{
	u8 vector;

	generic_svm_setup(svm, l2_code);
	l1_enable_assist_page();
	GUEST_SYNC(0);

	vector = kvm_asm_safe("vmrun", "a" (svm->vmcb_gpa));
	GUEST_ASSERT_EQ(vector, GP_VECTOR);
	GUEST_ASSERT_EQ(READ_ONCE(nr_l2_runs), 0);
	GUEST_DONE();
}

static void l1_vmrun(struct svm_test_data *svm)
{
	generic_svm_setup(svm, l2_code);
	l1_enable_assist_page();
	GUEST_SYNC(0);

	run_guest(svm->vmcb, svm->vmcb_gpa);
	GUEST_ASSERT_EQ(svm->vmcb->control.exit_code, SVM_EXIT_VMMCALL);
	GUEST_ASSERT_EQ(READ_ONCE(nr_l2_runs), 1);
	GUEST_DONE();
}

FIXTURE(vp_assist) {
	struct kvm_vcpu *vcpu;
};

FIXTURE_SETUP(vp_assist)
{
	struct kvm_vm *vm = vm_create_with_one_vcpu(&self->vcpu, NULL);
	gva_t svm_gva;

	vcpu_set_hv_cpuid(self->vcpu);
	vcpu_alloc_svm(vm, &svm_gva);
	vcpu_args_set(self->vcpu, 1, svm_gva);

	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, ASSIST_GPA,
				    ASSIST_SLOT, 1, 0);
}

FIXTURE_TEARDOWN(vp_assist)
{
	kvm_vm_free(self->vcpu->vm);
}

TEST_F(vp_assist, no_memslot)
{
	vcpu_arch_set_entry_point(self->vcpu, l1_vmrun_gp);
	vcpu_run_expect_sync(self->vcpu);

	vm_mem_region_delete(self->vcpu->vm, ASSIST_SLOT);
	vcpu_run_expect_done(self->vcpu);
}

/* The page can't be moved to ROM while it is enabled, not even by userspace. */
TEST_F(vp_assist, readonly_memslot)
{
	vcpu_arch_set_entry_point(self->vcpu, l1_vmrun_gp);
	vcpu_run_expect_sync(self->vcpu);

	vm_mem_region_delete(self->vcpu->vm, ASSIST_SLOT);
	vm_userspace_mem_region_add(self->vcpu->vm, VM_MEM_SRC_ANONYMOUS,
				    ASSIST_GPA, ASSIST_SLOT, 1, KVM_MEM_READONLY);
	vcpu_run_expect_done(self->vcpu);
}

TEST_F(vp_assist, hole)
{
	void *hva = addr_gpa2hva(self->vcpu->vm, ASSIST_GPA);

	vcpu_arch_set_entry_point(self->vcpu, l1_vmrun);
	vcpu_run_expect_sync(self->vcpu);

	protect_page(hva, PROT_NONE);
	vcpu_run_expect_memory_fault(self->vcpu, ASSIST_GPA, 0);
	vcpu_run_expect_memory_fault(self->vcpu, ASSIST_GPA, 0);

	unprotect_page(hva);
	vcpu_run_expect_done(self->vcpu);
}

int main(int argc, char *argv[])
{
	TEST_REQUIRE(kvm_cpu_has(X86_FEATURE_SVM));
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_HYPERV_CPUID));
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_READONLY_MEM));

	return test_harness_run(argc, argv);
}
