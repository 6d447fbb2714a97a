/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Run a function as L2: the test's guest code is L1, at vEL2, and L2 shares its
 * stage-1 tables, i.e. a virtual address means the same to both of them.
 */
#ifndef SELFTEST_KVM_ARM64_NESTED_H
#define SELFTEST_KVM_ARM64_NESTED_H

#include "kvm_util.h"
#include "processor.h"

/* How L2 came back to L1, in L1's memory. */
struct l2_exit {
	u64 count;
	u64 esr;
	u64 far;
	u64 hpfar;
};

extern struct l2_exit l2_exit;

/* Host: let exceptions of L2's end l2_run(), and give L2 a stack. */
void l2_vcpu_init(struct kvm_vcpu *vcpu);

/* L1: L2 runs with @hcr on top of what it takes to be an EL1 guest. */
void l2_init(u64 hcr, u64 vtcr, u64 vttbr);

/* L1: enter L2 at @fn, return when L2 takes an exception to vEL2. */
void l2_run(void (*fn)(void));

/*
 * L1's stage 2, in two levels of tables.  Its pages are as large as the host's,
 * KVM supports no smaller ones.  The root is of blocks, and takes up to 16K.
 */
#define S2_TABLE	(PTE_VALID | BIT(1))
#define S2_BLOCK	(PTE_VALID | (0xful << 2) | (3ul << 6) | PTE_SHARED | PTE_AF)
#define S2_PAGE		(S2_BLOCK | BIT(1))

u64 s2_block_size(void);

/* VTCR_EL2 for these pages, and for the two levels, i.e. 32 bits of address. */
u64 s2_vtcr_pages(void);
u64 s2_vtcr(void);

#define VTCR_T0SZ(x)	((u64)(x))
#define VTCR_SL0(x)	((u64)(x) << 6)

/* What l2_run() is made of. */
void l2_enter(void);
void l2_leave(void);

/* L2: go back to L1. */
static __always_inline void l2_exit_to_l1(void)
{
	asm volatile("hvc #0" : : : "memory");
}

#endif /* SELFTEST_KVM_ARM64_NESTED_H */
