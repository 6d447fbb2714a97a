// SPDX-License-Identifier: GPL-2.0-only
/*
 * What do exits cost, what do memory faults cost, and what does paging on demand
 * cost, by memory faults and by userfaultfd?
 *
 * The figures are lines of "# bench NAME MEDIAN UNIT q1 Q1 q3 Q3 min MIN max MAX".
 * An emulator whose clock counts instructions (-icount shift=0) makes them exact;
 * the test then is to count ticks of the CPU's counter (-t).
 */
#include <errno.h>
#include <getopt.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "kselftest.h"
#include "kvm_syscalls.h"
#include "kvm_util.h"
#include "memory_fault.h"
#include "memstress.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"
#include "userfaultfd_util.h"
#ifdef __aarch64__
#include <linux/arm-smccc.h>

#include "arch_timer.h"
#endif

#define PAGE_GPA	0xc0000000ul
#define PAGE_SLOT	10
/* No memslot has this. */
#define MMIO_GPA	0xd0000000ul

static unsigned int nr_samples = 11;
static unsigned int nr_rounds = 100;
static unsigned int nr_vcpus = 1;
static unsigned int nr_mib = 16;
static bool count_ticks;

static struct {
	u64 ticks;
	struct timespec time;
} began;

static u64 read_counter(void)
{
#ifdef __x86_64__
	return rdtsc();
#else
	return timer_get_cntct(VIRTUAL);
#endif
}

/* Measure the counter against the clock for as long as the test runs. */
static double ns_per_tick(void)
{
	s64 ns = timespec_to_ns(timespec_elapsed(began.time));

	return (double)ns / (read_counter() - began.ticks);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double *alloc_samples(void)
{
	double *samples = calloc(nr_samples, sizeof(*samples));

	TEST_ASSERT(samples, "calloc()");
	return samples;
}

/* Print what the samples, in ticks, come to, and free them. */
static void report(const char *name, double *samples)
{
	double scale = count_ticks ? 1 : ns_per_tick();
	unsigned int last = nr_samples - 1;

	qsort(samples, nr_samples, sizeof(*samples), compare);
	ksft_print_msg("bench %s %.2f %s q1 %.2f q3 %.2f min %.2f max %.2f\n",
		       name, samples[nr_samples / 2] * scale,
		       count_ticks ? "ticks" : "ns", samples[last / 4] * scale,
		       samples[last - last / 4] * scale, samples[0] * scale,
		       samples[last] * scale);
	free(samples);
}

#ifdef __x86_64__
#define GUEST_EXIT_REASON	KVM_EXIT_IO

static void guest_exit(void)
{
	asm volatile("outb %%al, $0x80" : : "a" (0));
}

static void guest_exits(void)
{
	for (;;)
		guest_exit();
}
#else
#define GUEST_EXIT_REASON	KVM_EXIT_MMIO

static void guest_exit(void)
{
	WRITE_ONCE(*(u32 *)MMIO_GPA, 0);
}
#endif

static void guest_writes_mmio(void)
{
	for (;;)
		WRITE_ONCE(*(u32 *)MMIO_GPA, 0);
}

static void guest_reads_mmio(void)
{
	for (;;)
		READ_ONCE(*(u32 *)MMIO_GPA);
}

/* What one exit to KVM took in the guest, which doesn't leave the kernel. */
static u64 guest_rounds;
static double guest_ticks;

#define DEFINE_GUEST_CALLS(name, call)					\
static void name(void)							\
{									\
	u64 start, i;							\
									\
	for (;;) {							\
		start = read_counter();					\
		for (i = 0; i < guest_rounds; i++)			\
			call;						\
		guest_ticks = (double)(read_counter() - start) / guest_rounds; \
		guest_exit();						\
	}								\
}

#ifdef __x86_64__
static void guest_cpuid(void)
{
	u32 eax, ebx, ecx, edx;

	cpuid(0, &eax, &ebx, &ecx, &edx);
}

DEFINE_GUEST_CALLS(guest_calls_cpuid, guest_cpuid())
DEFINE_GUEST_CALLS(guest_calls_kvm, kvm_hypercall(KVM_HC_VAPIC_POLL_IRQ, 0, 0, 0, 0))
#else
static void guest_smccc_version(void)
{
	struct arm_smccc_res res;

	smccc_hvc(ARM_SMCCC_VERSION_FUNC_ID, 0, 0, 0, 0, 0, 0, 0, &res);
}

DEFINE_GUEST_CALLS(guest_calls_kvm, guest_smccc_version())
#endif

static const struct exit_type {
	const char *name;
	void (*guest_code)(void);
	u32 exit_reason;
	bool in_kernel;
} exit_types[] = {
#ifdef __x86_64__
	{ "pio", guest_exits, KVM_EXIT_IO },
#endif
	{ "mmio-write", guest_writes_mmio, KVM_EXIT_MMIO },
	{ "mmio-read", guest_reads_mmio, KVM_EXIT_MMIO },
#ifdef __x86_64__
	{ "cpuid", guest_calls_cpuid, KVM_EXIT_IO, true },
#endif
	{ "hypercall", guest_calls_kvm, GUEST_EXIT_REASON, true },
};

static struct kvm_vm *create_vm(struct kvm_vcpu **vcpu, void *guest_code)
{
	struct kvm_vm *vm = vm_create_with_one_vcpu(vcpu, guest_code);

	virt_map(vm, MMIO_GPA, MMIO_GPA, 1);
	return vm;
}

static void run_until_exit(struct kvm_vcpu *vcpu, u32 exit_reason)
{
	int r = __vcpu_run(vcpu);

	TEST_ASSERT(!r, KVM_IOCTL_ERROR(KVM_RUN, r));
	TEST_ASSERT_KVM_EXIT_REASON(vcpu, exit_reason);
}

/* Ticks of one round trip, on the average of a sample. */
static double sample_exits(struct kvm_vm *vm, struct kvm_vcpu *vcpu,
			   const struct exit_type *type)
{
	u64 start;
	int i;

	if (type->in_kernel) {
		run_until_exit(vcpu, type->exit_reason);
		sync_global_from_guest(vm, guest_ticks);
		return guest_ticks;
	}

	start = read_counter();
	for (i = 0; i < nr_rounds; i++)
		run_until_exit(vcpu, type->exit_reason);

	return (double)(read_counter() - start) / nr_rounds;
}

static void measure_exits(const struct exit_type *type)
{
	double *samples = alloc_samples();
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	int i;

	vm = create_vm(&vcpu, type->guest_code);
	guest_rounds = nr_rounds;
	sync_global_to_guest(vm, guest_rounds);

	/* The first one is to warm up. */
	for (i = -1; i < (int)nr_samples; i++)
		samples[max(i, 0)] = sample_exits(vm, vcpu, type);

	kvm_vm_free(vm);
	report(type->name, samples);
	ksft_test_result_pass("%s\n", type->name);
}

/* How much memory the guest has at PAGE_GPA, and where the next page is. */
static u64 guest_mem_size, guest_page_stride;

static void guest_touches_pages(void)
{
	u64 offset;

	for (;;) {
		for (offset = 0; offset < guest_mem_size; offset += guest_page_stride)
			WRITE_ONCE(*(u64 *)(PAGE_GPA + offset), 1);
		guest_exit();
	}
}

/* Create a VM that has @nr_pages of the host's pages, and has touched them. */
static struct kvm_vm *create_vm_with_pages(struct kvm_vcpu **vcpu, int nr_pages,
					   void **mem)
{
	struct kvm_vm *vm = create_vm(vcpu, guest_touches_pages);
	unsigned int nr_guest_pages;

	guest_page_stride = getpagesize();
	guest_mem_size = nr_pages * guest_page_stride;
	sync_global_to_guest(vm, guest_page_stride);
	sync_global_to_guest(vm, guest_mem_size);

	nr_guest_pages = vm_calc_num_guest_pages(vm->mode, guest_mem_size);
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, PAGE_GPA, PAGE_SLOT,
				    nr_guest_pages, 0);
	virt_map(vm, PAGE_GPA, PAGE_GPA, nr_guest_pages);
	*mem = addr_gpa2hva(vm, PAGE_GPA);
	run_until_exit(*vcpu, GUEST_EXIT_REASON);
	return vm;
}

static void protect_mem(void *mem, size_t size, int prot)
{
	int r = mprotect(mem, size, prot);

	TEST_ASSERT(!r, __KVM_SYSCALL_ERROR("mprotect()", r));
}

/* Faults that KVM resolves: the host has the pages, only KVM's tables lack them. */
static void measure_fault_in(void)
{
	double *samples = alloc_samples();
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	void *mem;
	u64 start;
	int i;

	vm = create_vm_with_pages(&vcpu, nr_rounds, &mem);
	for (i = -1; i < (int)nr_samples; i++) {
		protect_mem(mem, guest_mem_size, PROT_NONE);
		protect_mem(mem, guest_mem_size, PROT_READ | PROT_WRITE);

		start = read_counter();
		run_until_exit(vcpu, GUEST_EXIT_REASON);
		samples[max(i, 0)] = (double)(read_counter() - start) / nr_rounds;
	}
	kvm_vm_free(vm);

	report("fault-in", samples);
	ksft_test_result_pass("fault-in\n");
}

static void run_until_fault(struct kvm_vcpu *vcpu)
{
	int r = __vcpu_run(vcpu);

	TEST_ASSERT(r == -1 && errno == EFAULT,
		    "Expected EFAULT, got %d, errno %d", r, errno);
}

/* Without that, faults can be measured, but not handled. */
static bool kvm_tells_the_gpa(void)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	void *page;
	bool told;

	vm = create_vm_with_pages(&vcpu, 1, &page);
	protect_page(page, PROT_NONE);
	run_until_fault(vcpu);
	told = vcpu->run->exit_reason == KVM_EXIT_MEMORY_FAULT &&
	       vcpu->run->memory_fault.gpa == PAGE_GPA;
	kvm_vm_free(vm);

	return told;
}

enum fault_stage {
	FAULT_EXIT,
	FAULT_MEND,
	FAULT_RETRY,
	FAULT_ALL,
	NR_FAULT_STAGES,
};

static const char * const fault_stages[] = {
	[FAULT_EXIT]	= "fault-exit",
	[FAULT_MEND]	= "fault-mend",
	[FAULT_RETRY]	= "fault-retry",
	[FAULT_ALL]	= "fault",
};

/*
 * The guest touches a page that is missing, until KVM_RUN has failed; the page is
 * mended; the guest touches the page and goes on until its next exit.
 */
static void sample_faults(struct kvm_vcpu *vcpu, void *page, double *ticks[], int nr)
{
	u64 t[4], sum[NR_FAULT_STAGES] = {};
	int i, stage;

	for (i = 0; i < nr_rounds; i++) {
		protect_page(page, PROT_NONE);

		t[0] = read_counter();
		run_until_fault(vcpu);
		t[1] = read_counter();
		unprotect_page(page);
		t[2] = read_counter();
		run_until_exit(vcpu, GUEST_EXIT_REASON);
		t[3] = read_counter();

		for (stage = FAULT_EXIT; stage < FAULT_ALL; stage++)
			sum[stage] += t[stage + 1] - t[stage];
		sum[FAULT_ALL] += t[3] - t[0];
	}

	for (stage = 0; stage < NR_FAULT_STAGES; stage++)
		ticks[stage][nr] = (double)sum[stage] / nr_rounds;
}

static void measure_faults(void)
{
	double *samples[NR_FAULT_STAGES];
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm;
	void *page;
	int i;

	for (i = 0; i < NR_FAULT_STAGES; i++)
		samples[i] = alloc_samples();

	vm = create_vm_with_pages(&vcpu, 1, &page);
	for (i = -1; i < (int)nr_samples; i++)
		sample_faults(vcpu, page, samples, max(i, 0));
	kvm_vm_free(vm);

	for (i = 0; i < NR_FAULT_STAGES; i++)
		report(fault_stages[i], samples[i]);
	ksft_test_result_pass("fault\n");
}

enum paging_type {
	/* The host's own, and no content: what remains if the rest is free. */
	PAGING_NONE,
	/* A thread that reads from userfaultfd, for all vCPUs or for each. */
	PAGING_UFFD,
	PAGING_UFFD_EACH,
	/*
	 * Each vCPU's thread handles its own memory faults: by UFFDIO_COPY into
	 * memory where a userfault is an error, or by mprotect() and a copy.
	 */
	PAGING_FAULT_COPY,
	PAGING_FAULT_MPROTECT,
	NR_PAGING_TYPES,
};

static const char * const paging_types[] = {
	[PAGING_NONE]		= "none",
	[PAGING_UFFD]		= "uffd",
	[PAGING_UFFD_EACH]	= "uffd-each",
	[PAGING_FAULT_COPY]	= "fault-copy",
	[PAGING_FAULT_MPROTECT]	= "fault-mprotect",
};

static struct {
	enum paging_type type;
	void *hva;
	size_t size;
	void *content;
	int uffd;
	struct uffd_desc *handlers[KVM_MAX_VCPUS];
	u64 start[KVM_MAX_VCPUS], end[KVM_MAX_VCPUS];
} paging;

static void copy_page(int uffd, void *hva, u64 mode)
{
	struct uffdio_copy copy = {
		.src = (uintptr_t)paging.content,
		.dst = (uintptr_t)hva,
		.len = getpagesize(),
		.mode = mode,
	};

	kvm_ioctl(uffd, UFFDIO_COPY, &copy);
}

static int handle_userfault(int mode, int uffd, struct uffd_msg *msg)
{
	u64 addr = msg->arg.pagefault.address;

	copy_page(uffd, (void *)align_down(addr, getpagesize()), 0);
	return 0;
}

/* Not memcpy(), which copies byte by byte here, for the sake of guests. */
static void fill_page(void *hva)
{
	int i, nr = getpagesize() / sizeof(u64);
	u64 *dst = hva, *src = paging.content;

	for (i = 0; i < nr; i++)
		WRITE_ONCE(dst[i], src[i]);
}

static void handle_memory_fault(struct kvm_run *run)
{
	void *hva = paging.hva + (run->memory_fault.gpa - memstress_args.gpa);

	if (paging.type == PAGING_FAULT_COPY) {
		copy_page(paging.uffd, hva, UFFDIO_COPY_MODE_DONTWAKE);
	} else {
		unprotect_page(hva);
		fill_page(hva);
	}
}

static void vcpu_worker(struct memstress_vcpu_args *args)
{
	struct kvm_vcpu *vcpu = args->vcpu;

	paging.start[args->vcpu_idx] = read_counter();

	while (__vcpu_run(vcpu)) {
		TEST_ASSERT_EQ(errno, EFAULT);
		TEST_ASSERT_KVM_EXIT_REASON(vcpu, KVM_EXIT_MEMORY_FAULT);
		handle_memory_fault(vcpu->run);
	}

	paging.end[args->vcpu_idx] = read_counter();
	TEST_ASSERT_EQ(get_ucall(vcpu, NULL), UCALL_SYNC);
}

/* Have userfaults reported as errors to whoever touches the memory. */
static int uffd_register_sigbus(void *hva, size_t size)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_SIGBUS,
	};
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)hva, .len = size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int uffd = syscall(__NR_userfaultfd, O_CLOEXEC);

	TEST_ASSERT(uffd >= 0, __KVM_SYSCALL_ERROR("userfaultfd()", uffd));
	kvm_ioctl(uffd, UFFDIO_API, &api);
	kvm_ioctl(uffd, UFFDIO_REGISTER, &reg);
	return uffd;
}

static void paging_begin(void)
{
	unsigned int nr_handlers = paging.type == PAGING_UFFD_EACH ? nr_vcpus : 1;
	size_t size = paging.size / nr_handlers;
	int i;

	switch (paging.type) {
	case PAGING_UFFD:
	case PAGING_UFFD_EACH:
		for (i = 0; i < nr_handlers; i++)
			paging.handlers[i] =
				uffd_setup_demand_paging(UFFDIO_REGISTER_MODE_MISSING, 0,
							 paging.hva + i * size, size, 1,
							 handle_userfault);
		break;
	case PAGING_FAULT_COPY:
		paging.uffd = uffd_register_sigbus(paging.hva, paging.size);
		break;
	case PAGING_FAULT_MPROTECT:
		protect_mem(paging.hva, paging.size, PROT_NONE);
		break;
	default:
		break;
	}
}

static void paging_end(void)
{
	int i;

	for (i = 0; i < nr_vcpus && paging.handlers[i]; i++) {
		uffd_stop_demand_paging(paging.handlers[i]);
		paging.handlers[i] = NULL;
	}

	if (paging.type == PAGING_FAULT_COPY)
		kvm_close(paging.uffd);
}

/* Ticks per page, from the start of the first vCPU to the end of the last. */
static double sample_paging(void)
{
	u64 start = -1ull, end = 0;
	struct kvm_vm *vm;
	int i;

	vm = memstress_create_vm(VM_MODE_DEFAULT, nr_vcpus, paging.size / nr_vcpus, 1,
				 VM_MEM_SRC_ANONYMOUS, true);
	paging.hva = addr_gpa2hva(vm, memstress_args.gpa);
	paging_begin();

	memstress_start_vcpu_threads(nr_vcpus, vcpu_worker);
	memstress_join_vcpu_threads(nr_vcpus);

	paging_end();
	memstress_destroy_vm(vm);

	for (i = 0; i < nr_vcpus; i++) {
		start = min(start, paging.start[i]);
		end = max(end, paging.end[i]);
	}

	return (double)(end - start) / (paging.size / getpagesize());
}

static void measure_paging(enum paging_type type)
{
	double *samples = alloc_samples();
	char name[64];
	int i;

	paging.type = type;
	for (i = -1; i < (int)nr_samples; i++)
		samples[max(i, 0)] = sample_paging();

	snprintf(name, sizeof(name), "paging/%s/%u/%u", paging_types[type], nr_vcpus,
		 nr_mib);
	report(name, samples);
	ksft_test_result_pass("%s\n", name);
}

static void measure_all_paging(void)
{
	bool told = kvm_tells_the_gpa();
	int i;

	paging.size = (size_t)nr_mib << 20;
	paging.content = malloc(getpagesize());
	TEST_ASSERT(paging.content, "malloc()");
	memset(paging.content, 0xab, getpagesize());

	for (i = 0; i < NR_PAGING_TYPES; i++) {
		if (i >= PAGING_FAULT_COPY && !told)
			ksft_test_result_skip("paging/%s, KVM doesn't say which page is missing\n",
					      paging_types[i]);
		else
			measure_paging(i);
	}

	free(paging.content);
}

static __noreturn void help(const char *name, int status)
{
	printf("usage: %s [-ept] [-s SAMPLES] [-r ROUNDS] [-v VCPUS] [-m MIB]\n"
	       " -e: measure exits and faults alone, -p: paging alone\n"
	       " -t: count ticks of the CPU's counter, not nanoseconds\n"
	       " -s: samples of each figure, after one to warm up (default: %u)\n"
	       " -r: exits in each sample (default: %u)\n"
	       " -v: vCPUs that share the memory to be paged (default: %u)\n"
	       " -m: memory to be paged (default: %u MiB)\n",
	       name, nr_samples, nr_rounds, nr_vcpus, nr_mib);
	exit(status);
}

int main(int argc, char *argv[])
{
	bool do_exits = true, do_paging = true;
	int opt, i;

	while ((opt = getopt(argc, argv, "hepts:r:v:m:")) != -1) {
		switch (opt) {
		case 'e':
			do_paging = false;
			break;
		case 'p':
			do_exits = false;
			break;
		case 't':
			count_ticks = true;
			break;
		case 's':
			nr_samples = atoi_positive("Number of samples", optarg);
			break;
		case 'r':
			nr_rounds = atoi_positive("Number of rounds", optarg);
			break;
		case 'v':
			nr_vcpus = atoi_positive("Number of vCPUs", optarg);
			break;
		case 'm':
			nr_mib = atoi_positive("Size of memory", optarg);
			break;
		default:
			help(argv[0], opt == 'h' ? KSFT_PASS : KSFT_FAIL);
		}
	}
	if (nr_vcpus > KVM_MAX_VCPUS || nr_mib % nr_vcpus || !(do_exits || do_paging))
		help(argv[0], KSFT_FAIL);

	clock_gettime(CLOCK_MONOTONIC, &began.time);
	began.ticks = read_counter();

	ksft_print_header();
	ksft_set_plan((do_exits ? ARRAY_SIZE(exit_types) + 2 : 0) +
		      (do_paging ? NR_PAGING_TYPES : 0));

	for (i = 0; do_exits && i < ARRAY_SIZE(exit_types); i++)
		measure_exits(&exit_types[i]);
	if (do_exits) {
		measure_fault_in();
		measure_faults();
	}
	if (do_paging)
		measure_all_paging();

	ksft_finished();
}
