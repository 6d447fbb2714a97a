/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A VMM small enough to read in one sitting: one VM, one slot of memory, N
 * vCPUs without interrupts or devices, and a guest that is a few instructions.
 */
#ifndef MEMORY_FAULT_VMM_H
#define MEMORY_FAULT_VMM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))

/* Not 0, so that a guest address taken for an offset shows. */
#define MEM_BASE	0x10000000UL
/* The guest of x86 computes in 32 bits: base + 2 * size has to fit. */
#define MEM_MAX		0x40000000UL

/*
 * No memory slot is here, so a store to it is an MMIO exit: the guest rings a
 * bell.  Which bell says what happened, the stored value says more.
 */
#define BELL		0x08000000UL
#define BELL_READY	(BELL + 0)	/* about to touch the memory */
#define BELL_DONE	(BELL + 8)	/* finished; how much was done */
#define BELL_WRONG	(BELL + 16)	/* a word is wrong; its address */

/* Ends the program with one of the statuses below. */
#define fatal(status, format, ...)					\
	(fflush(stdout),						\
	 fprintf(stderr, "memory_fault: " format "\n", ##__VA_ARGS__),	\
	 exit(status))

enum {
	STATUS_GOOD = 0,
	STATUS_BAD = 1,		/* it ran, and the answer is no */
	STATUS_CANNOT = 2,	/* bad usage, or nothing to run on */
};

#ifndef KVM_CAP_MEMORY_FAULT_FLAGS
/* Headers that are older than the flags: no VM asks for them or sees them. */
#define KVM_MEMORY_EXIT_FLAG_READ	0x1ULL
#define KVM_MEMORY_EXIT_FLAG_WRITE	0x2ULL
#define KVM_MEMORY_EXIT_FLAG_EXEC	0x4ULL
#endif

#define ACCESS_FLAGS	(KVM_MEMORY_EXIT_FLAG_READ |			\
			 KVM_MEMORY_EXIT_FLAG_WRITE |			\
			 KVM_MEMORY_EXIT_FLAG_EXEC)

struct vm {
	int kvm;
	int fd;
	int memfd;
	uint64_t access_flags;	/* those of ACCESS_FLAGS that KVM will report */
	size_t page;		/* of the host: what KVM maps, and what a fault is about */
	size_t size;
	/*
	 * The guest's memory is mapped twice.  The slot points to @guest, which
	 * has the holes.  @window never has any: a page is written there before
	 * the guest can reach it.
	 */
	uint8_t *guest;
	uint8_t *window;
};

struct vcpu {
	struct vm *vm;
	int id;
	int fd;
	size_t run_size;
	struct kvm_run *run;
};

/* The guest's code: position independent, runs without an MMU. */
extern const uint8_t guest_start[], guest_end[];
extern const uint8_t guest_read[], guest_write[], guest_exec[];
extern const uint8_t guest_callee[], guest_callee_end[];
extern const uint8_t guest_walk[];

#define GUEST_ARGS	6

/* vmm.c */
void vm_create(struct vm *vm, size_t size);
void vm_destroy(struct vm *vm);
void vcpu_create(struct vm *vm, struct vcpu *vcpu, int id);
void vcpu_destroy(struct vcpu *vcpu);
const char *exit_reason_name(uint32_t reason, char buf[static 24]);
const char *flags_name(uint64_t flags, char buf[static 24]);
bool vm_tells_where(const struct vm *vm);

static inline size_t page_align(const struct vm *vm, size_t size)
{
	return (size + vm->page - 1) & ~(vm->page - 1);
}

/* <arch>/vcpu.c */
void arch_vm_init(struct vm *vm);
void arch_vcpu_init(struct vcpu *vcpu);
/* Lets the vCPU continue at @pc of the guest, with its arguments in registers. */
void arch_vcpu_call(struct vcpu *vcpu, uint64_t pc, const uint64_t args[GUEST_ARGS]);

/* The commands */
int cmd_hole(int argc, char **argv);
int cmd_snapshot(int argc, char **argv);
int cmd_restore(int argc, char **argv);

#endif /* MEMORY_FAULT_VMM_H */
