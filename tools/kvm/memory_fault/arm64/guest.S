/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest.  x0: the page to touch, x1: the bells.
 *
 * Each of the first three touches the page with an instruction that shows when
 * it is executed twice, and rings how often the access was done.
 */
	.section .rodata
	.balign	4
	.globl guest_start, guest_end
	.globl guest_read, guest_write, guest_exec, guest_walk
	.globl guest_callee, guest_callee_end

guest_start:
	/* The page holds 1, 2, 3...: a second load would answer 2. */
guest_read:
	str	wzr, [x1]
	ldr	w6, [x0], #4
	str	w6, [x1, #8]
	b	.

	/* The page holds zeroes: a second store would make the sum 2. */
guest_write:
	str	wzr, [x1]
	mov	x7, x0
	mov	w6, #1
	str	w6, [x0], #4
	ldp	w6, w8, [x7]
	add	w6, w6, w8
	str	w6, [x1, #8]
	b	.

	/* The page holds guest_callee. */
guest_exec:
	str	wzr, [x1]
	mov	w6, #0
	blr	x0
	str	w6, [x1, #8]
	b	.

guest_callee:
	add	w6, w6, #1
	ret
guest_callee_end:

	/*
	 * Visits every 4 KiB of [x4, x3) once: x5 visits, starting at x0, x2
	 * bytes further each time.  The first word of each is its address.
	 * Every other one is written first (with what it holds) so that there
	 * are both kinds of faults.
	 */
guest_walk:
	str	wzr, [x1]
	sub	x4, x3, x4		/* the size */
1:	tbz	x0, #12, 2f
	str	w0, [x0]
2:	ldr	w6, [x0]
	cmp	w6, w0
	b.ne	4f
	add	x0, x0, x2
	cmp	x0, x3
	b.lo	3f
	sub	x0, x0, x4
3:	subs	x5, x5, #1
	b.ne	1b
	mov	w6, #1
	str	w6, [x1, #8]
	b	.
4:	str	w0, [x1, #16]
	b	.
guest_end:
	.section .note.GNU-stack, "", %progbits
