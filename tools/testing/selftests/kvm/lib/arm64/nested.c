// SPDX-License-Identifier: GPL-2.0-only
/*
 * Run a function as L2 of a guest at vEL2.
 */
#include <asm/sysreg.h>
#include <linux/sizes.h>

#include "nested.h"
#include "processor.h"

/* Everything masked, L2 has no vectors. */
#define L2_PSTATE	(PSR_D_BIT | PSR_A_BIT | PSR_I_BIT | PSR_F_BIT)

struct l2_exit l2_exit;

static u64 l2_stack;

static void l2_exit_handler(struct ex_regs *regs)
{
	l2_exit.count++;
	l2_exit.esr = read_sysreg(esr_el2);
	l2_exit.far = read_sysreg(far_el2);
	l2_exit.hpfar = read_sysreg(hpfar_el2);

	regs->pc = (u64)l2_leave;
	regs->pstate = PSR_MODE_EL2h | L2_PSTATE;
}

void l2_vcpu_init(struct kvm_vcpu *vcpu)
{
	static const int ecs[] = {
		ESR_ELx_EC_HVC64,
		ESR_ELx_EC_IABT_LOW,
		ESR_ELx_EC_DABT_LOW,
		/* An access of L2's to the VNCR page is one of EL2's. */
		ESR_ELx_EC_DABT_CUR,
	};
	struct kvm_vm *vm = vcpu->vm;
	int i;

	vm_init_descriptor_tables(vm);
	vcpu_init_descriptor_tables(vcpu);
	for (i = 0; i < ARRAY_SIZE(ecs); i++)
		vm_install_sync_handler(vm, VECTOR_SYNC_LOWER_64, ecs[i],
					l2_exit_handler);

	l2_stack = vm_alloc_page(vm) + vm->page_size;
	sync_global_to_guest(vm, l2_stack);
}

#define copy_el2_to_el1(reg)						\
	write_sysreg_s(read_sysreg_s(SYS_##reg##_EL1), SYS_##reg##_EL12)

void l2_init(u64 hcr, u64 vtcr, u64 vttbr)
{
	copy_el2_to_el1(SCTLR);
	copy_el2_to_el1(MAIR);
	copy_el2_to_el1(TCR);
	copy_el2_to_el1(TTBR0);
	copy_el2_to_el1(TTBR1);
	copy_el2_to_el1(CPACR);

	write_sysreg(vtcr, vtcr_el2);
	write_sysreg(vttbr, vttbr_el2);
	sysreg_clear_set(hcr_el2, HCR_EL2_TGE, hcr);
	isb();
}

u64 s2_block_size(void)
{
	return getpagesize() / sizeof(u64) * getpagesize();
}

/* With 40 bits of output address. */
#define VTCR_BASE	(BIT(31) | (2ul << 16) | (3ul << 12) | BIT(10) | BIT(8))
#define VTCR_TG0(x)	((u64)(x) << 14)

u64 s2_vtcr_pages(void)
{
	switch (getpagesize()) {
	case SZ_4K:
		return VTCR_BASE;
	case SZ_16K:
		return VTCR_BASE | VTCR_TG0(2);
	default:
		return VTCR_BASE | VTCR_TG0(1);
	}
}

/* With pages of 4K, the root has four tables. */
u64 s2_vtcr(void)
{
	return s2_vtcr_pages() | VTCR_T0SZ(64 - 32) |
	       VTCR_SL0(getpagesize() == SZ_4K ? 0 : 1);
}

void l2_run(void (*fn)(void))
{
	write_sysreg(l2_stack, sp_el1);
	write_sysreg(fn, elr_el2);
	write_sysreg(PSR_MODE_EL1h | L2_PSTATE, spsr_el2);
	isb();
	l2_enter();
}
