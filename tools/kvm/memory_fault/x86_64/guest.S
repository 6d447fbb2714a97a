/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest, 32-bit.  %edi: the page to touch, %esi: the bells; the stack is at
 * the end of the first page, behind this code.
 *
 * Each of the first three touches the page with an instruction that shows when
 * it is executed twice, and rings how often the access was done.
 */
	.section .rodata
	.code32
	.globl guest_start, guest_end
	.globl guest_read, guest_write, guest_exec, guest_walk
	.globl guest_callee, guest_callee_end

guest_start:
	/* The page holds 1, 2, 3...: a second load would answer 2. */
guest_read:
	movl	$0, (%esi)
	cld
	xchg	%esi, %edi
	lodsl
	xchg	%esi, %edi
	movl	%eax, 8(%esi)
	hlt

	/* The page holds zeroes: a second store would make the sum 2. */
guest_write:
	movl	$0, (%esi)
	cld
	movl	$1, %eax
	movl	%edi, %ebx
	stosl
	movl	(%ebx), %eax
	addl	4(%ebx), %eax
	movl	%eax, 8(%esi)
	hlt

	/* The page holds guest_callee. */
guest_exec:
	movl	$0, (%esi)
	xorl	%eax, %eax
	call	*%edi
	movl	%eax, 8(%esi)
	hlt

guest_callee:
	incl	%eax
	ret
guest_callee_end:

	/*
	 * Visits every 4 KiB of [%ebx, %ecx) once: %ebp visits, starting at
	 * %edi, %edx bytes further each time.  The first word of each is its
	 * address.  Every other one is written first (with what it holds) so
	 * that there are both kinds of faults.
	 */
guest_walk:
	movl	$0, (%esi)
	subl	%ecx, %ebx		/* minus the size */
1:	testl	$0x1000, %edi
	jz	2f
	movl	%edi, (%edi)
2:	cmpl	%edi, (%edi)
	jne	4f
	addl	%edx, %edi
	cmpl	%ecx, %edi
	jb	3f
	addl	%ebx, %edi
3:	decl	%ebp
	jnz	1b
	movl	$1, 8(%esi)
	hlt
4:	movl	%edi, 16(%esi)
	hlt
guest_end:
	.section .note.GNU-stack, "", @progbits
