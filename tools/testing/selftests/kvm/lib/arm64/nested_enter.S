/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * L2 owns all registers but SP_EL2.  What a C caller expects to survive the call
 * of l2_enter(), which returns by way of l2_leave(), goes to L1's stack.
 */
	.pushsection .text

	.global l2_enter
l2_enter:
	stp	x29, x30, [sp, #-96]!
	stp	x19, x20, [sp, #16]
	stp	x21, x22, [sp, #32]
	stp	x23, x24, [sp, #48]
	stp	x25, x26, [sp, #64]
	stp	x27, x28, [sp, #80]
	eret

	.global l2_leave
l2_leave:
	ldp	x19, x20, [sp, #16]
	ldp	x21, x22, [sp, #32]
	ldp	x23, x24, [sp, #48]
	ldp	x25, x26, [sp, #64]
	ldp	x27, x28, [sp, #80]
	ldp	x29, x30, [sp], #96
	ret

	.popsection
