// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_EXIT_FAIL_ENTRY comes with what belongs to it, not with what an earlier
 * exit has left in kvm_run.
 */
#include <asm/ptrace.h>
#include <sys/sysinfo.h>

#include "kvm_util.h"
#include "memory_fault.h"
#include "processor.h"
#include "test_util.h"

/* AP[1], EL0 has access, too. */
#define PTE_USER	BIT(6)

/* "b ." of A32 */
#define INSN_LOOP	0xeafffffe

/* A guest at vEL2 has no AArch32, KVM gives up on it when it gets there. */
static void enter_aarch32(struct kvm_vcpu *vcpu)
{
	gva_t code = vm_alloc_page(vcpu->vm);
	u64 id = ARM64_CORE_REG(regs.pstate);
	u64 pstate = PSR_MODE32_BIT;
	struct kvm_one_reg reg = { .id = id, .addr = (u64)&pstate };

	__TEST_REQUIRE(!__vcpu_ioctl(vcpu, KVM_SET_ONE_REG, &reg),
		       "No AArch32 at EL0");

	*virt_get_pte_hva(vcpu->vm, code) |= PTE_USER;
	*(u32 *)addr_gva2hva(vcpu->vm, code) = INSN_LOOP;
	vcpu_set_reg(vcpu, ARM64_CORE_REG(regs.pc), code);
}

static void guest_code(void)
{
	GUEST_SYNC(0);
	GUEST_FAIL("Not in AArch32");
}

int main(void)
{
	struct kvm_vcpu *vcpu;
	struct kvm_run *run;
	struct kvm_vm *vm;

	__TEST_REQUIRE(test_supports_el2(), "No support for a guest at vEL2");

	vm = vm_create_with_one_vcpu(&vcpu, guest_code);
	run = vcpu->run;

	/* A ucall is an MMIO write, its address is in the way. */
	vcpu_run_expect_sync(vcpu);
	TEST_ASSERT(run->mmio.phys_addr, "The address is to be seen");

	enter_aarch32(vcpu);
	vcpu_run_expect(vcpu, EINVAL, KVM_EXIT_FAIL_ENTRY);
	TEST_ASSERT(!run->fail_entry.hardware_entry_failure_reason,
		    "Expected no reason of the hardware's, got 0x%llx",
		    run->fail_entry.hardware_entry_failure_reason);
	TEST_ASSERT(run->fail_entry.cpu < get_nprocs_conf(),
		    "Expected a CPU, got %u", run->fail_entry.cpu);

	kvm_vm_free(vm);
	return 0;
}
