// SPDX-License-Identifier: GPL-2.0-only
/*
 * memory_fault hole: takes a page of the guest's memory away, lets the guest
 * touch it, and shows what KVM_RUN says; gives it back, and lets the guest
 * finish.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm.h"

#define PAGES		8
#define HOLE_PAGE	5

/* What one KVM_RUN said */
struct answer {
	int ret;
	int err;
	uint32_t reason;
	uint64_t gpa, size, flags;
};

struct hole_case {
	const char *name;
	const uint8_t *code;
	uint64_t flag;
	/* What the page holds when it comes back */
	void (*fill)(uint8_t *page);
};

static void fill_numbers(uint8_t *page)
{
	const uint32_t numbers[] = { 1, 2, 3, 4 };

	memcpy(page, numbers, sizeof(numbers));
}

static void fill_nothing(uint8_t *page)
{
	memset(page, 0, 16);
}

static void fill_code(uint8_t *page)
{
	memcpy(page, guest_callee, guest_callee_end - guest_callee);
}

static const struct hole_case cases[] = {
	{ "read", guest_read, KVM_MEMORY_EXIT_FLAG_READ, fill_numbers },
	{ "write", guest_write, KVM_MEMORY_EXIT_FLAG_WRITE, fill_nothing },
	{ "execute", guest_exec, KVM_MEMORY_EXIT_FLAG_EXEC, fill_code },
};

#define NR_CASES	ARRAY_SIZE(cases)

static struct answer run(struct vcpu *vcpu)
{
	struct answer answer = {};

	answer.ret = ioctl(vcpu->fd, KVM_RUN, 0);
	answer.err = answer.ret ? errno : 0;
	answer.reason = vcpu->run->exit_reason;
	if (answer.reason == KVM_EXIT_MEMORY_FAULT) {
		answer.gpa = vcpu->run->memory_fault.gpa;
		answer.size = vcpu->run->memory_fault.size;
		answer.flags = vcpu->run->memory_fault.flags;
	}
	return answer;
}

/* Runs up to the guest's next ring of @bell; returns what it said, or -1. */
static int64_t run_to_bell(struct vcpu *vcpu, uint64_t bell)
{
	const struct kvm_run *run = vcpu->run;
	uint32_t value;

	if (ioctl(vcpu->fd, KVM_RUN, 0) || run->exit_reason != KVM_EXIT_MMIO ||
	    !run->mmio.is_write || run->mmio.phys_addr != bell)
		return -1;
	memcpy(&value, run->mmio.data, sizeof(value));
	return value;
}

static void make_hole(struct vm *vm)
{
	if (munmap(vm->guest + HOLE_PAGE * vm->page, vm->page))
		fatal(STATUS_CANNOT, "munmap: %s", strerror(errno));
}

static void mend_hole(struct vm *vm, void (*fill)(uint8_t *page))
{
	size_t offset = HOLE_PAGE * vm->page;

	fill(vm->window + offset);
	if (mmap(vm->guest + offset, vm->page, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, vm->memfd, offset) == MAP_FAILED)
		fatal(STATUS_CANNOT, "mmap: %s", strerror(errno));
}

static void print_answer(const char *name, const struct answer *answer)
{
	char buf[24];

	printf("%-10s%3d %-8s%-24s", name, answer->ret,
	       answer->err ? strerrorname_np(answer->err) : "-",
	       exit_reason_name(answer->reason, buf));
	if (answer->reason == KVM_EXIT_MEMORY_FAULT)
		printf("%#-12llx%#-8llx%-6s",
		       (unsigned long long)answer->gpa,
		       (unsigned long long)answer->size,
		       flags_name(answer->flags, buf));
	else
		printf("%-12s%-8s%-6s", "-", "-", "-");
}

static bool tells_where(const struct vm *vm, const struct hole_case *hole,
			const struct answer *answer)
{
	return answer->ret == -1 && answer->err == EFAULT &&
	       answer->reason == KVM_EXIT_MEMORY_FAULT &&
	       answer->gpa == MEM_BASE + HOLE_PAGE * vm->page &&
	       answer->size == vm->page &&
	       answer->flags == (hole->flag & vm->access_flags);
}

struct verdict {
	size_t told;
	size_t once;
};

static void try_case(const struct hole_case *hole, struct verdict *verdict)
{
	uint64_t args[GUEST_ARGS] = {};
	struct answer answer;
	struct vcpu vcpu;
	struct vm vm;
	int64_t done;

	vm_create(&vm, PAGES * sysconf(_SC_PAGESIZE));
	memcpy(vm.window, guest_start, guest_end - guest_start);
	vcpu_create(&vm, &vcpu, 0);
	args[0] = MEM_BASE + HOLE_PAGE * vm.page;
	args[1] = BELL_READY;
	arch_vcpu_call(&vcpu, MEM_BASE + (hole->code - guest_start), args);
	make_hole(&vm);

	/* An exit of another kind first: its reason must not be seen again. */
	if (run_to_bell(&vcpu, BELL_READY) < 0)
		fatal(STATUS_CANNOT, "the guest does not run: exit reason %u",
		      vcpu.run->exit_reason);
	answer = run(&vcpu);
	print_answer(hole->name, &answer);

	mend_hole(&vm, hole->fill);
	done = run_to_bell(&vcpu, BELL_DONE);
	if (done < 0)
		puts("did not finish");
	else
		printf("finished, access %s\n",
		       done == 1 ? "done once" : "not done exactly once");

	verdict->told += tells_where(&vm, hole, &answer);
	verdict->once += done == 1;
	vcpu_destroy(&vcpu);
	vm_destroy(&vm);
}

static void print_verdict(const struct verdict *verdict)
{
	if (verdict->told < NR_CASES)
		printf("Verdict: this kernel does not tell where.\n"
		       "KVM_RUN failed over %zu accesses and named the address of %zu.\n",
		       NR_CASES, verdict->told);
	else
		printf("Verdict: this kernel tells where.\n"
		       "KVM_RUN failed over %zu accesses and named the address of each.\n",
		       NR_CASES);
	if (verdict->once < NR_CASES)
		printf("%zu accesses were not done exactly once when the page was back.\n",
		       NR_CASES - verdict->once);
}

int cmd_hole(int argc, char **argv)
{
	struct verdict verdict = {};
	struct vm vm;
	size_t i;

	if (argc > 1)
		fatal(STATUS_CANNOT, "hole: no argument is known: %s", argv[1]);

	vm_create(&vm, PAGES * sysconf(_SC_PAGESIZE));
	printf("A guest with %#zx bytes of memory at %#lx loses its page at %#lx.\n"
	       "The kernel has KVM_CAP_MEMORY_FAULT_INFO: %s.\n\n",
	       vm.size, MEM_BASE, MEM_BASE + HOLE_PAGE * vm.page,
	       vm_tells_where(&vm) ? "yes" : "no");
	vm_destroy(&vm);

	puts("          KVM_RUN said                                            the page is back:\n"
	     "access    ret errno   exit_reason             gpa         size    flags the guest\n"
	     "-------   --- ------  ---------------------   ----------  ------  ----- ----------");
	for (i = 0; i < NR_CASES; i++)
		try_case(&cases[i], &verdict);

	putchar('\n');
	print_verdict(&verdict);
	return verdict.told == NR_CASES && verdict.once == NR_CASES ?
	       STATUS_GOOD : STATUS_BAD;
}
