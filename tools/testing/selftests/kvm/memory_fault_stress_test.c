// SPDX-License-Identifier: GPL-2.0-only
/*
 * Several vCPUs fault on the same page at once, a thread repairs it, round after
 * round.  Each vCPU is told of each fault, and each access that faulted is done
 * exactly once: the page counts them.
 */
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

#include "kselftest.h"
#include "kvm_util.h"
#include "memory_fault.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"

#define NR_VCPUS	2

#define PAGE_GPA	0xc0000000ul
#define PAGE_GVA	PAGE_GPA
#define PAGE_SLOT	10

static unsigned int nr_rounds = 500;

static struct kvm_vm *vm;
static struct kvm_vcpu *vcpus[NR_VCPUS];
static void *page;

static pthread_barrier_t barrier;

/* How the repair thread and the vCPUs meet when they don't go in step. */
static sem_t broken;
static unsigned int nr_repairs;

static void guest_code(void)
{
	for (;;) {
		__sync_fetch_and_add((u64 *)PAGE_GVA, 1);
		GUEST_SYNC(0);
	}
}

/* All vCPUs fault, then the page is repaired, then all vCPUs go on. */
static void *vcpu_in_step(void *arg)
{
	struct kvm_vcpu *vcpu = arg;
	unsigned long round;

	for (round = 0; round < nr_rounds; round++) {
		pthread_barrier_wait(&barrier);
		vcpu_run_expect_memory_fault(vcpu, PAGE_GPA, 0);

		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		vcpu_run_expect_sync(vcpu);

		pthread_barrier_wait(&barrier);
	}

	return (void *)round;
}

static void repair_in_step(void)
{
	unsigned int round;

	for (round = 0; round < nr_rounds; round++) {
		protect_page(page, PROT_NONE);
		pthread_barrier_wait(&barrier);

		pthread_barrier_wait(&barrier);
		unprotect_page(page);
		pthread_barrier_wait(&barrier);

		pthread_barrier_wait(&barrier);
	}
}

/* The first fault has the page repaired, other vCPUs may or may not fault. */
static void *vcpu_racing(void *arg)
{
	struct kvm_vcpu *vcpu = arg;
	unsigned long nr_faults = 0;
	unsigned int round;

	for (round = 0; round < nr_rounds; round++) {
		pthread_barrier_wait(&barrier);

		if (_vcpu_run(vcpu)) {
			TEST_ASSERT_EQ(errno, EFAULT);
			assert_memory_fault(vcpu, PAGE_GPA, 0);
			nr_faults++;

			sem_post(&broken);
			while (READ_ONCE(nr_repairs) == round)
				sched_yield();
			vcpu_run_expect_sync(vcpu);
		} else {
			TEST_ASSERT_EQ(get_ucall(vcpu, NULL), UCALL_SYNC);
		}

		pthread_barrier_wait(&barrier);
	}

	return (void *)nr_faults;
}

static void repair_racing(void)
{
	unsigned int round;

	for (round = 0; round < nr_rounds; round++) {
		while (!sem_trywait(&broken))
			;
		protect_page(page, PROT_NONE);
		pthread_barrier_wait(&barrier);

		while (sem_wait(&broken))
			;
		unprotect_page(page);
		WRITE_ONCE(nr_repairs, round + 1);
		pthread_barrier_wait(&barrier);
	}
}

static u64 run_vcpus(void *(*vcpu_thread)(void *), void (*repair)(void))
{
	pthread_t threads[NR_VCPUS];
	u64 nr_faults = 0;
	void *ret;
	int i;

	*(u64 *)page = 0;

	for (i = 0; i < NR_VCPUS; i++)
		pthread_create(&threads[i], NULL, vcpu_thread, vcpus[i]);

	repair();

	for (i = 0; i < NR_VCPUS; i++) {
		pthread_join(threads[i], &ret);
		nr_faults += (unsigned long)ret;
	}

	return nr_faults;
}

static void test_in_step(void)
{
	u64 expected = (u64)nr_rounds * NR_VCPUS;
	u64 nr_faults, nr_accesses;

	nr_faults = run_vcpus(vcpu_in_step, repair_in_step);
	nr_accesses = *(u64 *)page;

	ksft_test_result(nr_faults == expected && nr_accesses == expected,
			 "in step: expected %lu faults and accesses, got %lu and %lu\n",
			 expected, nr_faults, nr_accesses);
}

static void test_racing(void)
{
	u64 expected = (u64)nr_rounds * NR_VCPUS;
	u64 nr_faults, nr_accesses;

	nr_faults = run_vcpus(vcpu_racing, repair_racing);
	nr_accesses = *(u64 *)page;

	ksft_test_result(nr_faults >= nr_rounds && nr_faults <= expected &&
			 nr_accesses == expected,
			 "racing: expected %u to %lu faults, %lu accesses, got %lu and %lu\n",
			 nr_rounds, expected, expected, nr_faults, nr_accesses);
}

static void parse_options(int argc, char *argv[])
{
	int opt;

	while ((opt = getopt(argc, argv, "hr:")) != -1) {
		switch (opt) {
		case 'r':
			nr_rounds = atoi_positive("Number of rounds", optarg);
			break;
		default:
			printf("usage: %s [-r ROUNDS]\n", argv[0]);
			exit(opt == 'h' ? KSFT_PASS : KSFT_FAIL);
		}
	}
}

int main(int argc, char *argv[])
{
	parse_options(argc, argv);

	vm = vm_create_with_vcpus(NR_VCPUS, guest_code, vcpus);
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, PAGE_GPA, PAGE_SLOT,
				    vm_calc_num_guest_pages(vm->mode, getpagesize()),
				    0);
	virt_map(vm, PAGE_GVA, PAGE_GPA, 1);
	page = addr_gpa2hva(vm, PAGE_GPA);

	pthread_barrier_init(&barrier, NULL, NR_VCPUS + 1);
	sem_init(&broken, 0, 0);

	ksft_print_header();
	ksft_set_plan(2);
	test_in_step();
	test_racing();

	kvm_vm_free(vm);
	ksft_finished();
}
