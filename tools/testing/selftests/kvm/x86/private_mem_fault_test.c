// SPDX-License-Identifier: GPL-2.0-only
/*
 * Implicit conversions: the guest accesses memory that is private but should be
 * shared, or vice versa, userspace converts what KVM_EXIT_MEMORY_FAULT names, and
 * the access is done, once.
 *
 * The guest of a KVM_X86_SW_PROTECTED_VM doesn't choose between private and shared
 * memory, it gets what the attributes say.  To have accesses fail nevertheless,
 * take away one of the two: private memory by a memslot without guest_memfd, and
 * shared memory by PROT_NONE.
 */
#include <getopt.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <time.h>

#include "kselftest.h"
#include "kvm_util.h"
#include "memory_fault.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"

/* Two memslots, one right behind the other, each of one huge page. */
#define SLOT_SIZE	(2ul << 20)
#define SLOT_NPAGES	(SLOT_SIZE / PAGE_SIZE)
#define LOW_SLOT	10
#define HIGH_SLOT	11
#define LOW_GPA		(3ul << 30)
#define HIGH_GPA	(LOW_GPA + SLOT_SIZE)
#define END_GPA		(HIGH_GPA + SLOT_SIZE)

/* The pages to either side of where the memslots meet. */
#define LOW_LAST_GPA	(HIGH_GPA - PAGE_SIZE)
#define STRADDLE_GPA	LOW_LAST_GPA
#define STRADDLE_SIZE	(2 * PAGE_SIZE)

#define INITIAL		0x1000ul
#define MAGIC		0x1122334455667788ul

#define NR_VCPUS	2
#define LIVELOCK_S	60

struct direction {
	const char *name;
	/* What the memory is before and after the conversion. */
	u64 before;
	u64 after;
	u32 slot_flags;
};

static const struct direction to_shared = {
	.name = "private to shared",
	.before = KVM_MEMORY_ATTRIBUTE_PRIVATE,
};

static const struct direction to_private = {
	.name = "shared to private",
	.after = KVM_MEMORY_ATTRIBUTE_PRIVATE,
	.slot_flags = KVM_MEM_GUEST_MEMFD,
};

static unsigned int seconds = 10;

static struct kvm_vcpu *vcpus[NR_VCPUS];

/* Shared with the guest. */
static u64 access_addr;
static u64 stop;
static u64 nr_done[NR_VCPUS];

static void guest_add(void)
{
	for (;;)
		GUEST_SYNC1(__sync_add_and_fetch((u64 *)READ_ONCE(access_addr), 1));
}

/* A store to both memslots. */
static void guest_store_across(void)
{
	u64 *p = (void *)HIGH_GPA - sizeof(u64) / 2;

	WRITE_ONCE(*p, MAGIC);
	GUEST_SYNC1(READ_ONCE(*p));
}

static void guest_stress(int i)
{
	while (!READ_ONCE(stop)) {
		__sync_fetch_and_add((u64 *)LOW_LAST_GPA, 1);
		__sync_fetch_and_add((u64 *)HIGH_GPA, 1);
		WRITE_ONCE(nr_done[i], nr_done[i] + 1);
	}
	GUEST_DONE();
}

static void memory_add(struct kvm_vm *vm, gpa_t gpa, u32 slot, u32 flags)
{
	u64 *hva;
	int i;

	vm_mem_add(vm, VM_MEM_SRC_ANONYMOUS_THP, gpa, slot, SLOT_NPAGES, flags, -1, 0);

	hva = addr_gpa2hva(vm, gpa);
	for (i = 0; i < SLOT_NPAGES; i++)
		hva[i * PAGE_SIZE / sizeof(*hva)] = INITIAL;
}

static struct kvm_vm *test_vm_create(void *guest_code, u32 low_flags, u32 high_flags)
{
	const struct vm_shape shape = {
		.mode = VM_MODE_DEFAULT,
		.type = KVM_X86_SW_PROTECTED_VM,
	};
	struct kvm_vm *vm;

	vm = __vm_create_with_vcpus(shape, NR_VCPUS, 0, guest_code, vcpus);
	memory_add(vm, LOW_GPA, LOW_SLOT, low_flags);
	memory_add(vm, HIGH_GPA, HIGH_SLOT, high_flags);
	virt_map(vm, LOW_GPA, LOW_GPA, 2 * SLOT_NPAGES);
	return vm;
}

/* Have accesses to the page fail until it is converted. */
static void break_page(struct kvm_vm *vm, const struct direction *d, gpa_t gpa)
{
	if (d->before & KVM_MEMORY_ATTRIBUTE_PRIVATE)
		vm_mem_set_private(vm, gpa, PAGE_SIZE);
	else
		protect_page(addr_gpa2hva(vm, gpa), PROT_NONE);
}

static void convert(struct kvm_vm *vm, const struct direction *d, gpa_t gpa, u64 size)
{
	vm_set_memory_attributes(vm, gpa, size, d->after);
}

static void run_expect_value(struct kvm_vcpu *vcpu, u64 value)
{
	struct ucall uc;

	vcpu_run(vcpu);
	TEST_ASSERT_EQ(get_ucall(vcpu, &uc), UCALL_SYNC);
	TEST_ASSERT_EQ(uc.args[0], value);
}

static void set_access(struct kvm_vm *vm, gpa_t gpa)
{
	access_addr = gpa;
	sync_global_to_guest(vm, access_addr);
}

static void access_expect_value(struct kvm_vm *vm, gpa_t gpa, u64 value)
{
	set_access(vm, gpa);
	run_expect_value(vcpus[0], value);
}

static void access_expect_fault(struct kvm_vm *vm, gpa_t gpa, u64 flags)
{
	set_access(vm, gpa);
	vcpu_run_expect_memory_fault(vcpus[0], gpa, flags);
	vcpu_run_expect_memory_fault(vcpus[0], gpa, flags);
}

/* Private memory starts out as 0, the shared memory is still there. */
static u64 value_after(const struct direction *d)
{
	return d->after ? 0 : INITIAL;
}

/* Break, convert and access a page, but not its neighbors. */
static void test_page(struct kvm_vm *vm, const struct direction *d, gpa_t gpa)
{
	break_page(vm, d, gpa);
	if (gpa > LOW_GPA)
		access_expect_value(vm, gpa - PAGE_SIZE, INITIAL + 1);
	if (gpa + PAGE_SIZE < END_GPA)
		access_expect_value(vm, gpa + PAGE_SIZE, INITIAL + 1);

	access_expect_fault(vm, gpa, d->before);
	convert(vm, d, gpa, PAGE_SIZE);
	run_expect_value(vcpus[0], value_after(d) + 1);
	run_expect_value(vcpus[0], value_after(d) + 2);

	if (!d->after)
		TEST_ASSERT_EQ(*(u64 *)addr_gpa2hva(vm, gpa), INITIAL + 2);
}

static void test_edges(const struct direction *d)
{
	static const gpa_t gpas[] = {
		LOW_GPA, LOW_LAST_GPA, END_GPA - PAGE_SIZE, HIGH_GPA,
	};
	struct kvm_vm *vm;
	int i;

	for (i = 0; i < ARRAY_SIZE(gpas); i++) {
		vm = test_vm_create(guest_add, d->slot_flags, d->slot_flags);
		test_page(vm, d, gpas[i]);
		kvm_vm_free(vm);
	}
	ksft_test_result_pass("%s: pages at the edges of memslots\n", d->name);
}

/* One fault, one conversion of memory of both memslots, and no other fault. */
static void test_straddle(const struct direction *d)
{
	struct kvm_vm *vm = test_vm_create(guest_add, d->slot_flags, d->slot_flags);

	break_page(vm, d, LOW_LAST_GPA);
	break_page(vm, d, HIGH_GPA);
	access_expect_fault(vm, HIGH_GPA, d->before);
	convert(vm, d, STRADDLE_GPA, STRADDLE_SIZE);
	run_expect_value(vcpus[0], value_after(d) + 1);
	access_expect_value(vm, LOW_LAST_GPA, value_after(d) + 1);
	access_expect_value(vm, LOW_LAST_GPA - PAGE_SIZE, INITIAL + 1);
	access_expect_value(vm, HIGH_GPA + PAGE_SIZE, INITIAL + 1);

	kvm_vm_free(vm);
	ksft_test_result_pass("%s: conversion across memslots\n", d->name);
}

/* One access, to two pages, each of which has to be converted. */
static void test_access_across(const struct direction *d)
{
	struct kvm_vm *vm;
	gpa_t gpa;

	vm = test_vm_create(guest_store_across, d->slot_flags, d->slot_flags);
	break_page(vm, d, LOW_LAST_GPA);
	break_page(vm, d, HIGH_GPA);

	TEST_ASSERT(_vcpu_run(vcpus[0]) && errno == EFAULT, "Expected EFAULT");
	gpa = vcpus[0]->run->memory_fault.gpa;
	TEST_ASSERT(gpa == LOW_LAST_GPA || gpa == HIGH_GPA,
		    "Fault at unexpected gpa 0x%lx", (unsigned long)gpa);
	assert_memory_fault(vcpus[0], gpa, d->before);
	convert(vm, d, gpa, PAGE_SIZE);

	gpa = gpa == HIGH_GPA ? LOW_LAST_GPA : HIGH_GPA;
	vcpu_run_expect_memory_fault(vcpus[0], gpa, d->before);
	convert(vm, d, gpa, PAGE_SIZE);
	run_expect_value(vcpus[0], MAGIC);

	kvm_vm_free(vm);
	ksft_test_result_pass("%s: access across memslots\n", d->name);
}

static struct {
	struct kvm_vm *vm;
	/* Accesses that failed as memory was, or just had become, private. */
	unsigned long nr_private;
	unsigned long nr_shared;
	sem_t repaired;
} stress;

/*
 * The upper memslot has no private memory, i.e. has to be converted to shared.
 * The lower one has both, the guest gets an exit only if the memory is converted
 * while KVM handles an access, and is fine with either.
 */
static void stress_handle_fault(struct kvm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	gpa_t gpa = run->memory_fault.gpa;
	u64 flags = run->memory_fault.flags;

	TEST_ASSERT(gpa == LOW_LAST_GPA || gpa == HIGH_GPA,
		    "Fault at unexpected gpa 0x%lx", (unsigned long)gpa);
	assert_memory_fault(vcpu, gpa, flags & KVM_MEMORY_EXIT_FLAG_PRIVATE);

	if (flags)
		__sync_fetch_and_add(&stress.nr_private, 1);
	else
		__sync_fetch_and_add(&stress.nr_shared, 1);

	if (gpa == HIGH_GPA) {
		vm_mem_set_shared(stress.vm, gpa, PAGE_SIZE);
		sem_post(&stress.repaired);
	} else {
		vm_set_memory_attributes(stress.vm, gpa, PAGE_SIZE, flags);
	}
}

static void *stress_vcpu(void *arg)
{
	struct kvm_vcpu *vcpu = arg;

	while (_vcpu_run(vcpu)) {
		TEST_ASSERT(errno == EFAULT, "KVM_RUN failed with %s", strerror(errno));
		stress_handle_fault(vcpu);
	}
	TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_IO);
	TEST_ASSERT_EQ(get_ucall(vcpu, NULL), UCALL_DONE);
	return NULL;
}

static struct timespec in_seconds(unsigned int n)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += n;
	return ts;
}

/* A vCPU has to notice that memory was converted to private. */
static unsigned long stress_convert(void)
{
	struct timespec deadline, end = in_seconds(seconds);
	unsigned long nr_rounds;

	for (nr_rounds = 0; in_seconds(0).tv_sec < end.tv_sec; nr_rounds++) {
		while (!sem_trywait(&stress.repaired))
			;
		vm_mem_set_private(stress.vm, STRADDLE_GPA, STRADDLE_SIZE);

		deadline = in_seconds(LIVELOCK_S);
		TEST_ASSERT(!sem_timedwait(&stress.repaired, &deadline),
			    "No fault in %d seconds", LIVELOCK_S);
		vm_mem_set_shared(stress.vm, LOW_LAST_GPA, PAGE_SIZE);
	}
	return nr_rounds;
}

/* What the guest finds in the page of the lower memslot if it is private. */
static u64 private_value(void)
{
	struct ucall uc;

	vm_mem_set_private(stress.vm, LOW_LAST_GPA, PAGE_SIZE);
	set_access(stress.vm, LOW_LAST_GPA);
	vcpu_arch_set_entry_point(vcpus[0], guest_add);
	vcpu_run(vcpus[0]);
	TEST_ASSERT_EQ(get_ucall(vcpus[0], &uc), UCALL_SYNC);
	return uc.args[0] - 1;
}

static void test_stress(void)
{
	u64 nr, *low, *high, low_private;
	unsigned long nr_rounds;
	pthread_t threads[NR_VCPUS];
	int i;

	stress.vm = test_vm_create(guest_stress, KVM_MEM_GUEST_MEMFD, 0);
	sem_init(&stress.repaired, 0, 0);
	low = addr_gpa2hva(stress.vm, LOW_LAST_GPA);
	high = addr_gpa2hva(stress.vm, HIGH_GPA);
	for (i = 0; i < NR_VCPUS; i++) {
		vcpu_args_set(vcpus[i], 1, i);
		kvm_pthread_create(&threads[i], NULL, stress_vcpu, vcpus[i]);
	}

	nr_rounds = stress_convert();
	stop = true;
	sync_global_to_guest(stress.vm, stop);
	for (i = 0; i < NR_VCPUS; i++)
		kvm_pthread_join(threads[i], NULL);

	sync_global_from_guest(stress.vm, nr_done);
	nr = nr_done[0] + nr_done[1];
	low_private = private_value();

	ksft_print_msg("%lu rounds, %lu a second, %lu writes\n",
		       nr_rounds, nr_rounds / seconds, (unsigned long)nr);
	ksft_print_msg("%lu faults on private memory, %lu on shared memory\n",
		       stress.nr_private, stress.nr_shared);
	ksft_print_msg("of the writes to either, %lu were to private memory\n",
		       (unsigned long)low_private);
	ksft_test_result(*high == INITIAL + nr, "memory that is always shared: no write is lost\n");
	ksft_test_result(*low == INITIAL + nr - low_private,
			 "memory that is shared or private: no write is lost\n");
	kvm_vm_free(stress.vm);
}

static void parse_options(int argc, char *argv[])
{
	int opt;

	while ((opt = getopt(argc, argv, "ht:")) != -1) {
		switch (opt) {
		case 't':
			seconds = atoi_positive("Number of seconds", optarg);
			break;
		default:
			printf("usage: %s [-t SECONDS]\n", argv[0]);
			exit(opt == 'h' ? KSFT_PASS : KSFT_FAIL);
		}
	}
}

int main(int argc, char *argv[])
{
	static const struct direction *directions[] = { &to_shared, &to_private };
	int i;

	parse_options(argc, argv);
	TEST_REQUIRE(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM));

	ksft_print_header();
	ksft_set_plan(3 * ARRAY_SIZE(directions) + 2);
	for (i = 0; i < ARRAY_SIZE(directions); i++) {
		test_edges(directions[i]);
		test_straddle(directions[i]);
		test_access_across(directions[i]);
	}
	test_stress();
	ksft_finished();
}
