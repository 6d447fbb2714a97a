// SPDX-License-Identifier: GPL-2.0-only
/*
 * memory_fault restore: starts a guest whose memory is empty, and brings each
 * page from a snapshot when KVM_RUN says that a vCPU needs it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "snapshot.h"
#include "vmm.h"

#define MAX_VCPUS	64
/* A fault that comes back this often is not going to go away. */
#define MAX_REPEATS	8
#define WHY_SIZE	300

enum page_state { EMPTY, FILLING, PRESENT };

struct options {
	unsigned int vcpus;
	unsigned int latency_us;
	bool verify;
	bool read_only;
	bool quiet;
};

/* One vCPU and the thread that runs it */
struct runner {
	struct restore *restore;
	struct vcpu vcpu;
	pthread_t thread;
	/* The fault before this one, for the guard against repetition */
	uint64_t last_gpa;
	unsigned int repeats;
	/* Statistics: how long each fault took, in ns */
	uint32_t *times;
	size_t nr_times;
	size_t nr_reads, nr_writes, nr_fetches;
};

struct restore {
	struct options options;
	struct snapshot snapshot;
	struct vm vm;
	struct runner runners[MAX_VCPUS];
	pthread_barrier_t start;

	/* Protects all below; @changed is signalled when any of it changes. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint8_t *pages;			/* enum page_state of each */
	size_t nr_present;
	unsigned int nr_running;
	char why[WHY_SIZE];		/* the first reason to stop, if any */
	atomic_bool stop;		/* also read without the lock */
};

static atomic_bool interrupted;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

/*
 * Stops the VM.  A vCPU that is in KVM_RUN is thrown out by the signal, one
 * that is about to enter it by immediate_exit: the signal alone would be lost
 * on it.
 */
static void stop_because(struct restore *restore, const char *why)
{
	unsigned int i;

	pthread_mutex_lock(&restore->lock);
	if (!restore->stop) {
		memcpy(restore->why, why, WHY_SIZE);
		restore->stop = true;
		for (i = 0; i < restore->options.vcpus; i++) {
			restore->runners[i].vcpu.run->immediate_exit = 1;
			pthread_kill(restore->runners[i].thread, SIGUSR1);
		}
		pthread_cond_broadcast(&restore->changed);
	}
	pthread_mutex_unlock(&restore->lock);
}

#define stop(restore, ...)						\
do {									\
	char why[WHY_SIZE];						\
									\
	snprintf(why, sizeof(why), __VA_ARGS__);			\
	stop_because(restore, why);					\
} while (0)

/* What it takes to have a page in the guest.  Returns NULL, or what is wrong. */
static const char *fill_page(struct restore *restore, size_t offset)
{
	int prot = restore->options.read_only ? PROT_READ : PROT_READ | PROT_WRITE;
	struct vm *vm = &restore->vm;
	const char *wrong;

	if (restore->options.latency_us)
		usleep(restore->options.latency_us);
	wrong = snapshot_read(&restore->snapshot, offset, vm->window + offset, vm->page);
	if (wrong)
		return wrong;
	if (mprotect(vm->guest + offset, vm->page, prot))
		return strerrordesc_np(errno);
	return NULL;
}

/*
 * Makes sure that the page at @offset is there.
 *
 * Other vCPUs run meanwhile.  They must never see half a page, and what they
 * write to it must not be overwritten.  So the content is complete before the
 * guest has any way to the page: it is written through the window, and then
 * mprotect() opens the way in one step.  (Without a second mapping: fill a page
 * elsewhere and mremap() it into the hole.)  And a page is filled once, by the
 * first thread that asks; those that come later wait for it.
 */
static const char *need_page(struct runner *runner, size_t offset, bool *filled)
{
	struct restore *restore = runner->restore;
	uint8_t *state = &restore->pages[offset / restore->vm.page];
	const char *wrong = NULL;

	pthread_mutex_lock(&restore->lock);
	while (*state == FILLING)
		pthread_cond_wait(&restore->changed, &restore->lock);
	if (*state == EMPTY) {
		*state = FILLING;
		pthread_mutex_unlock(&restore->lock);
		wrong = fill_page(restore, offset);
		pthread_mutex_lock(&restore->lock);
		*state = wrong ? EMPTY : PRESENT;
		if (!wrong) {
			*filled = true;
			restore->nr_present++;
		}
		pthread_cond_broadcast(&restore->changed);
	}
	pthread_mutex_unlock(&restore->lock);
	return wrong;
}

/* Mends the guest's memory from @gpa to @gpa + @size. */
static const char *mend(struct runner *runner, uint64_t gpa, uint64_t size, bool *filled)
{
	const struct vm *vm = &runner->restore->vm;
	const char *wrong = NULL;
	uint64_t offset = gpa - MEM_BASE;
	uint64_t end = offset + size;

	if (gpa < MEM_BASE || end < offset || end > vm->size ||
	    offset % vm->page || size % vm->page)
		return "this is not the guest's memory";
	for (; !wrong && offset < end; offset += vm->page)
		wrong = need_page(runner, offset, filled);
	return wrong;
}

/*
 * The guard against a fault that repeats for ever.  To find the page present
 * is no error: another vCPU brought it between the fault and its handling.  But
 * when the same fault is back although nothing was left to do, then KVM wants
 * something that this VMM does not know of.
 */
static bool goes_nowhere(struct runner *runner, uint64_t gpa, bool filled)
{
	if (filled || gpa != runner->last_gpa) {
		runner->last_gpa = gpa;
		runner->repeats = 0;
		return false;
	}
	return ++runner->repeats == MAX_REPEATS;
}

/* KVM_RUN succeeded.  Returns whether the vCPU is to run on. */
static bool handle_exit(struct runner *runner)
{
	const struct kvm_run *run = runner->vcpu.run;
	uint32_t value;
	char buf[24];

	if (run->exit_reason != KVM_EXIT_MMIO) {
		stop(runner->restore, "vCPU %d: unexpected %s", runner->vcpu.id,
		     exit_reason_name(run->exit_reason, buf));
		return false;
	}

	memcpy(&value, run->mmio.data, sizeof(value));
	switch (run->mmio.is_write ? run->mmio.phys_addr : 0) {
	case BELL_READY:
		return true;
	case BELL_DONE:
		return false;
	case BELL_WRONG:
		stop(runner->restore, "vCPU %d found a wrong word at gpa %#x",
		     runner->vcpu.id, value);
		return false;
	}
	stop(runner->restore, "vCPU %d touched gpa %#llx, where nothing is",
	     runner->vcpu.id, run->mmio.phys_addr);
	return false;
}

/*
 * KVM_RUN failed because the guest could not access its memory.  Returns
 * whether the vCPU is to run on.
 */
static bool handle_memory_fault(struct runner *runner, int err)
{
	const struct kvm_run *run = runner->vcpu.run;
	const uint64_t gpa = run->memory_fault.gpa;
	const uint64_t size = run->memory_fault.size;
	const uint64_t flags = run->memory_fault.flags;
	const char *wrong = NULL;
	bool filled = false;

	runner->nr_reads += !!(flags & KVM_MEMORY_EXIT_FLAG_READ);
	runner->nr_writes += !!(flags & KVM_MEMORY_EXIT_FLAG_WRITE);
	runner->nr_fetches += !!(flags & KVM_MEMORY_EXIT_FLAG_EXEC);

	if (err == EHWPOISON)
		/* The content is lost; to map it again does not bring it back. */
		wrong = "the host's memory has failed";
	else if (flags & KVM_MEMORY_EXIT_FLAG_PRIVATE)
		/*
		 * A VM with private memory has not a hole here, but a guest
		 * that asks for a conversion: KVM_SET_MEMORY_ATTRIBUTES.
		 */
		wrong = "the guest asks for private memory, which it has none of";
	else
		wrong = mend(runner, gpa, size, &filled);

	if (!wrong && goes_nowhere(runner, gpa, filled))
		wrong = "the page is there, and yet the fault repeats";
	if (wrong)
		stop(runner->restore, "vCPU %d stopped at gpa %#llx: %s",
		     runner->vcpu.id, (unsigned long long)gpa, wrong);
	return !wrong;
}

/*
 * The run loop.  If KVM_RUN fails, errno comes first: exit_reason is about the
 * failure only if that is EFAULT or EHWPOISON.  exit_reason comes next: without
 * KVM_EXIT_MEMORY_FAULT there is no address, and nothing to mend.
 */
static void run_vcpu(struct runner *runner)
{
	struct restore *restore = runner->restore;
	struct kvm_run *run = runner->vcpu.run;
	bool go_on = true;
	uint64_t start;
	int err;

	while (go_on && !restore->stop) {
		if (!ioctl(runner->vcpu.fd, KVM_RUN, 0)) {
			go_on = handle_exit(runner);
			continue;
		}
		err = errno;
		start = now_ns();

		switch (err) {
		case EINTR:
			continue;
		case EFAULT:
		case EHWPOISON:
			if (run->exit_reason == KVM_EXIT_MEMORY_FAULT)
				break;
			stop(restore,
			     "vCPU %d: KVM_RUN failed with %s and does not say where; this kernel reports no such faults",
			     runner->vcpu.id, strerrorname_np(err));
			return;
		default:
			stop(restore, "vCPU %d: KVM_RUN: %s", runner->vcpu.id,
			     strerrordesc_np(err));
			return;
		}

		go_on = handle_memory_fault(runner, err);
		if (runner->nr_times < 2 * restore->snapshot.size / restore->vm.page)
			runner->times[runner->nr_times++] = now_ns() - start;
	}
}

static void *runner_thread(void *arg)
{
	struct runner *runner = arg;
	struct restore *restore = runner->restore;

	pthread_barrier_wait(&restore->start);
	run_vcpu(runner);

	pthread_mutex_lock(&restore->lock);
	restore->nr_running--;
	pthread_cond_broadcast(&restore->changed);
	pthread_mutex_unlock(&restore->lock);
	return NULL;
}

static void on_signal(int signal)
{
	if (signal == SIGINT)
		interrupted = true;
}

static void catch_signals(void)
{
	/* No SA_RESTART: KVM_RUN has to come back. */
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGINT, &action, NULL);
}

static size_t gcd(size_t a, size_t b)
{
	return b ? gcd(b, a % b) : a;
}

/*
 * Each vCPU visits all of the memory, in an order that jumps about.  Two by two
 * they start at the same place, so that they race for each page.
 */
static void start_guest(struct runner *runner)
{
	const struct restore *restore = runner->restore;
	size_t begin = SNAPSHOT_ALIGN, end = restore->snapshot.size;
	size_t units = (end - begin) / SNAPSHOT_UNIT;
	size_t couples = (restore->options.vcpus + 1) / 2;
	size_t first = units / couples * (runner->vcpu.id / 2);
	size_t stride = units * 5 / 8 + 1;
	uint64_t args[GUEST_ARGS];

	while (gcd(stride, units) != 1)
		stride++;
	args[0] = MEM_BASE + begin + first * SNAPSHOT_UNIT;
	args[1] = BELL_READY;
	args[2] = stride % units * SNAPSHOT_UNIT;
	args[3] = MEM_BASE + end;
	args[4] = MEM_BASE + begin;
	args[5] = units;
	arch_vcpu_call(&runner->vcpu, MEM_BASE + (guest_walk - guest_start), args);
}

static void set_up(struct restore *restore, const char *path)
{
	struct vm *vm = &restore->vm;
	struct runner *runner;
	unsigned int i;

	snapshot_open(&restore->snapshot, path);
	vm_create(vm, restore->snapshot.size);
	if (!vm_tells_where(vm))
		fatal(STATUS_BAD,
		      "no KVM_CAP_MEMORY_FAULT_INFO: this kernel would not say which page is needed");
	if (mprotect(vm->guest, vm->size, PROT_NONE))
		fatal(STATUS_CANNOT, "mprotect: %s", strerror(errno));

	restore->pages = calloc(vm->size / vm->page, sizeof(*restore->pages));
	if (!restore->pages)
		fatal(STATUS_CANNOT, "%s", strerror(errno));
	for (i = 0; i < restore->options.vcpus; i++) {
		runner = &restore->runners[i];
		runner->restore = restore;
		runner->times = malloc(2 * vm->size / vm->page * sizeof(*runner->times));
		if (!runner->times)
			fatal(STATUS_CANNOT, "%s", strerror(errno));
		vcpu_create(vm, &runner->vcpu, i);
		start_guest(runner);
	}
}

static void tear_down(struct restore *restore)
{
	unsigned int i;

	for (i = 0; i < restore->options.vcpus; i++) {
		vcpu_destroy(&restore->runners[i].vcpu);
		free(restore->runners[i].times);
	}
	free(restore->pages);
	vm_destroy(&restore->vm);
	snapshot_close(&restore->snapshot);
}

static void start_threads(struct restore *restore)
{
	unsigned int nr = restore->options.vcpus, i;
	int err;

	pthread_mutex_init(&restore->lock, NULL);
	pthread_cond_init(&restore->changed, NULL);
	pthread_barrier_init(&restore->start, NULL, nr + 1);
	restore->nr_running = nr;
	catch_signals();
	for (i = 0; i < nr; i++) {
		err = pthread_create(&restore->runners[i].thread, NULL, runner_thread,
				     &restore->runners[i]);
		if (err)
			fatal(STATUS_CANNOT, "cannot start a thread: %s", strerror(err));
	}
	/* stop() signals every thread: none may run before all exist. */
	pthread_barrier_wait(&restore->start);
}

/* On a terminal, one line that changes; elsewhere, a line every two seconds. */
static void show_progress(const struct restore *restore, uint64_t start, bool last)
{
	static uint64_t shown;
	bool terminal = isatty(STDERR_FILENO);
	size_t total = restore->vm.size / restore->vm.page;
	uint64_t now = now_ns();

	if (restore->options.quiet || (now - shown < 2000000000ULL && !terminal && !last))
		return;
	shown = now;
	fprintf(stderr, "%s%5.1f s  %3zu %%  %zu of %zu pages%s", terminal ? "\r" : "",
		(now - start) / 1e9, restore->nr_present * 100 / total,
		restore->nr_present, total, terminal && !last ? "" : "\n");
}

/* Returns how long it took, in ns. */
static uint64_t run_guest(struct restore *restore)
{
	uint64_t start = now_ns();
	struct timespec until;
	unsigned int i;

	start_threads(restore);
	pthread_mutex_lock(&restore->lock);
	while (restore->nr_running) {
		show_progress(restore, start, false);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 100000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		while (restore->nr_running && !interrupted &&
		       pthread_cond_timedwait(&restore->changed, &restore->lock,
					      &until) != ETIMEDOUT)
			;
		if (interrupted) {
			pthread_mutex_unlock(&restore->lock);
			stop(restore, "interrupted");
			pthread_mutex_lock(&restore->lock);
			interrupted = false;
		}
	}
	show_progress(restore, start, true);
	pthread_mutex_unlock(&restore->lock);

	for (i = 0; i < restore->options.vcpus; i++)
		pthread_join(restore->runners[i].thread, NULL);
	return now_ns() - start;
}

static int compare_times(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void print_statistics(const struct restore *restore, uint64_t ns)
{
	size_t faults = 0, total = restore->vm.size / restore->vm.page, i, n = 0;
	size_t reads = 0, writes = 0, fetches = 0;
	uint32_t *times;
	double sum = 0;

	for (i = 0; i < restore->options.vcpus; i++) {
		faults += restore->runners[i].nr_times;
		reads += restore->runners[i].nr_reads;
		writes += restore->runners[i].nr_writes;
		fetches += restore->runners[i].nr_fetches;
	}
	printf("restored  %zu of %zu pages in %.2f s, on %u vCPU%s\n",
	       restore->nr_present, total, ns / 1e9, restore->options.vcpus,
	       restore->options.vcpus > 1 ? "s" : "");
	times = faults ? malloc(faults * sizeof(*times)) : NULL;
	if (!times)
		return;

	for (i = 0; i < restore->options.vcpus; i++) {
		memcpy(times + n, restore->runners[i].times,
		       restore->runners[i].nr_times * sizeof(*times));
		n += restore->runners[i].nr_times;
	}
	for (i = 0; i < faults; i++)
		sum += times[i];
	qsort(times, faults, sizeof(*times), compare_times);
	printf("faults    %zu: %zu filled a page, %zu found it filled by another vCPU\n",
	       faults, restore->nr_present, faults - restore->nr_present);
	if (restore->vm.access_flags)
		printf("accesses  %zu reads, %zu writes, %zu instruction fetches\n",
		       reads, writes, fetches);
	printf("a fault   %.1f us on average, p50 %.1f us, p99 %.1f us, at most %.1f us\n",
	       sum / faults / 1e3, times[faults / 2] / 1e3,
	       times[faults * 99 / 100] / 1e3, times[faults - 1] / 1e3);
	free(times);
}

/* Compares what the guest sees with the file.  Returns whether it is the same. */
static bool is_same(const struct restore *restore)
{
	const struct vm *vm = &restore->vm;
	uint8_t *page = malloc(vm->page);
	size_t offset, same = 0;
	const char *wrong = NULL;

	if (!page)
		fatal(STATUS_CANNOT, "%s", strerror(errno));
	for (offset = 0; !wrong && offset < vm->size; offset += vm->page) {
		if (restore->pages[offset / vm->page] != PRESENT)
			continue;
		wrong = snapshot_read(&restore->snapshot, offset, page, vm->page);
		if (!wrong && memcmp(page, vm->guest + offset, vm->page))
			wrong = "the guest's memory differs from the file";
		same += !wrong;
	}
	free(page);
	if (wrong)
		printf("verify    gpa %#lx: %s\n", MEM_BASE + offset - vm->page, wrong);
	else
		printf("verify    %zu pages of the guest's memory are as in the file\n", same);
	return !wrong;
}

static unsigned int parse_number(const char *option, const char *text,
				 unsigned int max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || value > max)
		fatal(STATUS_CANNOT, "%s takes a number up to %u, not '%s'", option, max,
		      text);
	return value;
}

static void parse(struct options *options, int argc, char **argv)
{
	static const struct option known[] = {
		{ "vcpus", required_argument, NULL, 'n' },
		{ "latency", required_argument, NULL, 'l' },
		{ "verify", no_argument, NULL, 'v' },
		{ "read-only", no_argument, NULL, 'r' },
		{ "quiet", no_argument, NULL, 'q' },
		{}
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 'n':
			options->vcpus = parse_number("--vcpus", optarg, MAX_VCPUS);
			break;
		case 'l':
			options->latency_us = parse_number("--latency", optarg, 999999);
			break;
		case 'v':
			options->verify = true;
			break;
		case 'r':
			options->read_only = true;
			break;
		case 'q':
			options->quiet = true;
			break;
		default:
			exit(STATUS_CANNOT);
		}
	}
	if (!options->vcpus)
		fatal(STATUS_CANNOT, "a guest needs at least one vCPU");
	if (optind != argc - 1)
		fatal(STATUS_CANNOT, "restore takes one snapshot; see 'memory_fault help'");
}

int cmd_restore(int argc, char **argv)
{
	static struct restore restore = { .options.vcpus = 2 };
	int status = STATUS_GOOD;
	uint64_t ns;

	parse(&restore.options, argc, argv);
	set_up(&restore, argv[optind]);
	ns = run_guest(&restore);
	print_statistics(&restore, ns);
	if (restore.stop) {
		fflush(stdout);
		fprintf(stderr, "memory_fault: %s\n", restore.why);
		status = STATUS_BAD;
	} else if (restore.options.verify && !is_same(&restore)) {
		status = STATUS_BAD;
	}
	tear_down(&restore);
	return status;
}

int cmd_snapshot(int argc, char **argv)
{
	size_t mib = 16;

	if (argc == 4 && !strcmp(argv[2], "--size"))
		mib = parse_number("--size", argv[3], MEM_MAX >> 20);
	else if (argc != 2)
		fatal(STATUS_CANNOT, "snapshot takes a file; see 'memory_fault help'");
	if (!mib)
		fatal(STATUS_CANNOT, "a snapshot has at least 1 MiB");
	snapshot_write(argv[1], mib << 20);
	return STATUS_GOOD;
}
