// SPDX-License-Identifier: GPL-2.0-only
/*
 * If guest_memfd fails to provide a page, KVM_RUN fails with guest_memfd's errno.
 * EFAULT and EHWPOISON are about the guest's memory, and KVM_EXIT_MEMORY_FAULT
 * says which page; nothing else is.  The access completes, exactly once, as soon
 * as guest_memfd has the page.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __aarch64__
#include <asm/sysreg.h>
#include <linux/sizes.h>
#endif

#include "gmem_slot.h"
#include "kselftest_harness.h"
#include "kvm_util.h"
#include "memory_fault.h"
#include "processor.h"
#include "test_util.h"
#include "ucall_common.h"
#ifdef __aarch64__
#include "nested.h"
#else
#include "svm_util.h"
#include "vmx.h"
#endif

#define MAX_ERR		133
/* A page for each errno, one that the guest has not touched yet. */
#define NR_PAGES	(MAX_ERR + 1)

#define TEST_GPA	0xc0000000ul
#define TEST_GVA	0xc0000000ul
#define TEST_SLOT	10

/* What make-believe faults are about. */
#define STALE_GPA	(~0ull)

/* Where L2 has the memory, L1 has nothing there. */
#define L2_GPA		0x80000000ul

#define FAIL_FUNCTION	"/sys/kernel/debug/fail_function/"
#define FAIL_GET_PFN	FAIL_FUNCTION "kvm_gmem_get_pfn/"
#define FAIL_PAGE_ALLOC	"/sys/kernel/debug/fail_page_alloc/"
#define FAILSLAB	"/sys/kernel/debug/failslab/"
#define FAIL_NTH	"/proc/thread-self/fail-nth"

/* Poison that nobody handles can have this test go round in circles. */
#define POISON_TIMEOUT	20

/* A way to get at guest_memfd. */
struct caller {
	const char *name;
	bool (*is_supported)(void);
	void *guest_code;
	/* Other than by the guest's address of the memory. */
	void (*init)(struct kvm_vcpu *vcpu);
	gpa_t mapped_gpa;
	unsigned long vm_type;
	u64 gmem_flags;
	u64 attributes;
	u64 fault_flags;
	/* Errnos that mean something else to the caller than to userspace. */
	int retry_errno;
	int abort_errno;
};

struct test_vm {
	const struct caller *caller;
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	size_t page_size;
	void *mem;
	int fd;
};

/* Shared with the guest. */
static u64 page_size;
static u64 page_nr;
static u64 l2_value;

static u64 guest_page(void)
{
	return TEST_GVA + READ_ONCE(page_nr) * page_size;
}

static void guest_code(void)
{
	for (;;)
		GUEST_SYNC1(__sync_add_and_fetch((u64 *)guest_page(), 1));
}

static void guest_read_forever(void)
{
	for (;;) {
		READ_ONCE(*(u64 *)TEST_GVA);
		GUEST_SYNC(0);
	}
}

#ifdef __x86_64__
static bool has_private_memory(void)
{
	return kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(KVM_X86_SW_PROTECTED_VM);
}

static bool has_nested(void)
{
	return has_gmem_mmap() && kvm_cpu_has_tdp() &&
	       (kvm_cpu_has(X86_FEATURE_VMX) || kvm_cpu_has(X86_FEATURE_SVM));
}

/* The hypercalls, all of three bytes, do nothing but return to L1. */
static void l2_access_svm(void)
{
	for (;;) {
		l2_value = __sync_add_and_fetch((u64 *)guest_page(), 1);
		vmmcall();
	}
}

static void l2_access_vmx(void)
{
	for (;;) {
		l2_value = __sync_add_and_fetch((u64 *)guest_page(), 1);
		vmcall();
	}
}

static void l1_code_svm(struct svm_test_data *svm)
{
	generic_svm_setup(svm, l2_access_svm);
	for (;;) {
		run_guest(svm->vmcb, svm->vmcb_gpa);
		GUEST_ASSERT_EQ(svm->vmcb->control.exit_code, SVM_EXIT_VMMCALL);
		GUEST_SYNC1(l2_value);
		svm->vmcb->save.rip += 3;
	}
}

static void l1_code_vmx(struct vmx_pages *vmx)
{
	GUEST_ASSERT(prepare_for_vmx_operation(vmx));
	GUEST_ASSERT(load_vmcs(vmx));
	prepare_vmcs(vmx, l2_access_vmx);
	GUEST_ASSERT(!vmlaunch());
	for (;;) {
		GUEST_ASSERT_EQ(vmreadz(VM_EXIT_REASON), EXIT_REASON_VMCALL);
		GUEST_SYNC1(l2_value);
		vmwrite(GUEST_RIP, vmreadz(GUEST_RIP) + 3);
		GUEST_ASSERT(!vmresume());
	}
}

static void l1_code(void *data)
{
	if (this_cpu_has(X86_FEATURE_VMX))
		l1_code_vmx(data);
	else
		l1_code_svm(data);
}

static void l2_init_vm(struct kvm_vcpu *vcpu)
{
	struct kvm_vm *vm = vcpu->vm;
	gva_t gva;

	vm_enable_tdp(vm);
	if (kvm_cpu_has(X86_FEATURE_VMX))
		vcpu_alloc_vmx(vm, &gva);
	else
		vcpu_alloc_svm(vm, &gva);
	tdp_identity_map_default_memslots(vm);
	tdp_map(vm, L2_GPA, TEST_GPA, NR_PAGES * vm->page_size);
	vcpu_args_set(vcpu, 1, gva);
}
#endif

#ifdef __aarch64__
/*
 * L1's stage 2 maps the first 1G, i.e. the test, to itself, and by pages of 4K,
 * in the tables of the levels 2 and 3 that follow the root, the memory.
 */
#define S2_TABLE	(PTE_VALID | BIT(1))
#define S2_LEAF		(PTE_VALID | (0xful << 2) | (3ul << 6) | PTE_SHARED | PTE_AF)
#define S2_PAGE		(S2_LEAF | BIT(1))

/* 39 bits of address, in three levels of tables. */
#define S2_VTCR		(BIT(31) | (2ul << 16) | (3ul << 12) | BIT(10) | BIT(8) | \
			 BIT(6) | (64 - 39))

static u64 vttbr;

static bool has_nested(void)
{
	return has_gmem_mmap() && kvm_check_cap(KVM_CAP_ARM_EL2) && test_supports_el2();
}

static bool has_nested_4k(void)
{
	return has_nested() && getpagesize() == SZ_4K;
}

static void l2_access(void)
{
	l2_value = __sync_add_and_fetch((u64 *)guest_page(), 1);
	l2_exit_to_l1();
}

static void l1_code(void)
{
	l2_init(HCR_EL2_VM, S2_VTCR, vttbr);
	for (;;) {
		l2_run(l2_access);
		GUEST_SYNC1(l2_value);
	}
}

static void l2_init_vm(struct kvm_vcpu *vcpu)
{
	struct kvm_vm *vm = vcpu->vm;
	u64 *root, *leaf;
	int i;

	l2_vcpu_init(vcpu);

	vttbr = vm_phy_pages_alloc(vm, 3, 0, vm->memslots[MEM_REGION_PT]);
	sync_global_to_guest(vm, vttbr);

	root = addr_gpa2hva(vm, vttbr);
	memset(root, 0, 3 * SZ_4K);
	root[0] = S2_LEAF;
	root[L2_GPA / SZ_1G] = (vttbr + SZ_4K) | S2_TABLE;
	*(u64 *)addr_gpa2hva(vm, vttbr + SZ_4K) = (vttbr + 2 * SZ_4K) | S2_TABLE;

	leaf = addr_gpa2hva(vm, vttbr + 2 * SZ_4K);
	for (i = 0; i < NR_PAGES; i++)
		leaf[i] = (TEST_GPA + i * SZ_4K) | S2_PAGE;
}

/* The page is where L2's VTCR_EL2 lives. */
static void l2_access_vncr(void)
{
	write_sysreg_s(read_sysreg_s(SYS_VTCR_EL2) + 1, SYS_VTCR_EL2);
	l2_value = read_sysreg_s(SYS_VTCR_EL2);
	l2_exit_to_l1();
}

static void l1_code_vncr(void)
{
	l2_init(HCR_EL2_NV | HCR_EL2_NV2, 0, 0);
	for (;;) {
		write_sysreg_s(guest_page(), SYS_VNCR_EL2);
		l2_run(l2_access_vncr);
		GUEST_SYNC1(l2_value);
	}
}
#endif /* __aarch64__ */

static const struct caller callers[] = {
#ifdef __x86_64__
	{
		.name = "private",
		.is_supported = has_private_memory,
		.guest_code = guest_code,
		.mapped_gpa = TEST_GPA,
		.vm_type = KVM_X86_SW_PROTECTED_VM,
		.attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE,
		.fault_flags = KVM_MEMORY_EXIT_FLAG_PRIVATE,
	}, {
		.name = "shared",
		.is_supported = has_gmem_mmap,
		.guest_code = guest_code,
		.mapped_gpa = TEST_GPA,
		.gmem_flags = GMEM_SLOT_FLAGS,
	}, {
		.name = "L2",
		.is_supported = has_nested,
		.guest_code = l1_code,
		.init = l2_init_vm,
		.mapped_gpa = L2_GPA,
		.gmem_flags = GMEM_SLOT_FLAGS,
	},
#endif
#ifdef __aarch64__
	{
		.name = "stage 2",
		.is_supported = has_gmem_mmap,
		.guest_code = guest_code,
		.mapped_gpa = TEST_GPA,
		.gmem_flags = GMEM_SLOT_FLAGS,
		.abort_errno = ENOEXEC,
	}, {
		.name = "L2",
		.is_supported = has_nested_4k,
		.guest_code = l1_code,
		.init = l2_init_vm,
		.mapped_gpa = L2_GPA,
		.gmem_flags = GMEM_SLOT_FLAGS,
		.abort_errno = ENOEXEC,
	}, {
		.name = "VNCR",
		.is_supported = has_nested,
		.guest_code = l1_code_vncr,
		.init = l2_vcpu_init,
		.mapped_gpa = TEST_GPA,
		.gmem_flags = GMEM_SLOT_FLAGS,
		.retry_errno = EAGAIN,
	},
#endif
};

static void memory_add(struct test_vm *t)
{
	bool mmap_gmem = t->caller->gmem_flags & GUEST_MEMFD_FLAG_MMAP;
	size_t size = NR_PAGES * t->page_size;

	t->fd = vm_create_guest_memfd(t->vm, size, t->caller->gmem_flags);
	t->mem = kvm_mmap(size, PROT_READ | PROT_WRITE,
			  mmap_gmem ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS,
			  mmap_gmem ? t->fd : -1);
	vm_set_user_memory_region2(t->vm, TEST_SLOT, KVM_MEM_GUEST_MEMFD, TEST_GPA,
				   size, t->mem, t->fd, 0);
}

static void memory_delete(struct test_vm *t)
{
	vm_set_user_memory_region2(t->vm, TEST_SLOT, KVM_MEM_GUEST_MEMFD, TEST_GPA,
				   0, NULL, -1, 0);
}

/* The file goes away with its last user, and every mapping is one. */
static void memory_close(struct test_vm *t)
{
	kvm_munmap(t->mem, NR_PAGES * t->page_size);
	kvm_close(t->fd);
}

static void memory_punch_hole(struct test_vm *t, int page)
{
	kvm_fallocate(t->fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
		      page * t->page_size, t->page_size);
}

static void test_vm_create(struct test_vm *t, const struct caller *caller)
{
	struct vm_shape shape = VM_SHAPE_DEFAULT;

	shape.type = caller->vm_type;
	t->caller = caller;
	t->vm = vm_create_shape_with_one_vcpu(shape, &t->vcpu, caller->guest_code);
	t->page_size = t->vm->page_size;
	page_size = t->page_size;
	sync_global_to_guest(t->vm, page_size);

	memory_add(t);
	virt_map(t->vm, TEST_GVA, caller->mapped_gpa, NR_PAGES);
	if (caller->attributes)
		vm_set_memory_attributes(t->vm, TEST_GPA, NR_PAGES * t->page_size,
					 caller->attributes);
	if (caller->init)
		caller->init(t->vcpu);
}

static void test_vm_free(struct test_vm *t)
{
	kvm_vm_free(t->vm);
	memory_close(t);
}

static void select_page(struct test_vm *t, u64 page)
{
	page_nr = page;
	sync_global_to_guest(t->vm, page_nr);
}

static bool is_about_memory(int err)
{
	return err == EFAULT || err == EHWPOISON;
}

/* Run the vCPU, return errno, or 0.  kvm_run is as a fault would leave it. */
static int run_with_stale_fault(struct test_vm *t)
{
	struct kvm_run *run = t->vcpu->run;

	run->exit_reason = KVM_EXIT_MEMORY_FAULT;
	run->memory_fault.flags = t->caller->fault_flags;
	run->memory_fault.gpa = STALE_GPA;
	run->memory_fault.size = t->page_size;

	return __vcpu_run(t->vcpu) ? errno : 0;
}

static void assert_error(struct test_vm *t, int page, int err, int expected)
{
	u32 reason = t->vcpu->run->exit_reason;
	bool is_fault = is_about_memory(expected);

	TEST_ASSERT(err == expected &&
		    reason == (is_fault ? KVM_EXIT_MEMORY_FAULT : KVM_EXIT_UNKNOWN),
		    "%s: expected KVM_RUN to fail with errno %d (%s), got %d (%s), exit_reason %u (%s)",
		    t->caller->name, expected, strerror(expected), err, strerror(err),
		    reason, exit_reason_str(reason));
	if (is_fault)
		assert_memory_fault(t->vcpu, TEST_GPA + page * t->page_size,
				    t->caller->fault_flags);
}

/* The guest has added one to the page, which is now @value, and goes on. */
static void assert_access(struct test_vm *t, int err, u64 value)
{
	struct ucall uc;

	TEST_ASSERT(!err, "%s: KVM_RUN failed with errno %d (%s), exit_reason %u (%s)",
		    t->caller->name, err, strerror(err), t->vcpu->run->exit_reason,
		    exit_reason_str(t->vcpu->run->exit_reason));

	if (get_ucall(t->vcpu, &uc) == UCALL_ABORT)
		REPORT_GUEST_ASSERT(uc);
	TEST_ASSERT(uc.cmd == UCALL_SYNC && uc.args[0] == value,
		    "%s: expected the page to be %lu, got %lu (ucall %lu)",
		    t->caller->name, (unsigned long)value, (unsigned long)uc.args[0],
		    (unsigned long)uc.cmd);
}

static void run_expect_error(struct test_vm *t, int page, int expected)
{
	assert_error(t, page, run_with_stale_fault(t), expected);
}

static void run_expect_access(struct test_vm *t, u64 value)
{
	assert_access(t, run_with_stale_fault(t), value);
}

static int try_write_file(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);
	ssize_t r;

	if (fd < 0)
		return -1;

	r = write(fd, value, strlen(value));
	close(fd);
	return r == strlen(value) ? 0 : -1;
}

static void write_file(const char *path, const char *value)
{
	TEST_ASSERT(!try_write_file(path, value), "Cannot write '%s' to %s: %s",
		    value, path, strerror(errno));
}

static bool error_was_injected(void)
{
	char times[16] = {};
	int fd = open(FAIL_FUNCTION "times", O_RDONLY);

	TEST_ASSERT(read(fd, times, sizeof(times) - 1) > 0, "Cannot read times: %s",
		    strerror(errno));
	close(fd);
	return !atoi(times);
}

static void inject_error_once(int err)
{
	char retval[32];

	snprintf(retval, sizeof(retval), "0x%lx", -(long)err);
	write_file(FAIL_GET_PFN "retval", retval);
	write_file(FAIL_FUNCTION "times", "1");
}

FIXTURE(gmem_errors)
{
	struct test_vm vms[ARRAY_SIZE(callers)];
	int nr_vms;
};

FIXTURE_SETUP(gmem_errors)
{
	int i;

	if (try_write_file(FAIL_FUNCTION "inject", "kvm_gmem_get_pfn"))
		SKIP(return, "No injection of errors into kvm_gmem_get_pfn()");

	write_file(FAIL_FUNCTION "times", "0");
	write_file(FAIL_FUNCTION "probability", "100");
	write_file(FAIL_FUNCTION "verbose", "0");

	for (i = 0; i < ARRAY_SIZE(callers); i++) {
		if (callers[i].is_supported())
			test_vm_create(&self->vms[self->nr_vms++], &callers[i]);
	}
	if (!self->nr_vms)
		SKIP(return, "No guest_memfd that this test can use");
}

FIXTURE_TEARDOWN(gmem_errors)
{
	int i;

	for (i = 0; i < self->nr_vms; i++)
		test_vm_free(&self->vms[i]);
	write_file(FAIL_FUNCTION "probability", "0");
	write_file(FAIL_FUNCTION "inject", "!kvm_gmem_get_pfn");
}

/* What kvm_run has to say about the page. */
static char fault_mark(struct test_vm *t, int page)
{
	struct kvm_run *run = t->vcpu->run;

	if (run->exit_reason == KVM_EXIT_UNKNOWN)
		return '-';
	if (run->exit_reason != KVM_EXIT_MEMORY_FAULT)
		return '?';
	if (run->memory_fault.gpa == STALE_GPA)
		return 's';
	if (run->memory_fault.gpa != TEST_GPA + page * t->page_size ||
	    run->memory_fault.size != t->page_size ||
	    run->memory_fault.flags != t->caller->fault_flags)
		return 'w';
	return 'M';
}

/* Print what KVM_RUN makes of @err, return whether it is right. */
static bool try_errno(struct test_vm *t, int err)
{
	int page = err, r;
	char mark;
	bool ok;

	if (err == t->caller->abort_errno) {
		printf("%11s", "untried ");
		return true;
	}

	select_page(t, page);
	inject_error_once(err);
	r = run_with_stale_fault(t);
	TEST_ASSERT(error_was_injected(), "%s: page %d did not fault", t->caller->name,
		    page);

	if (err == t->caller->retry_errno) {
		assert_access(t, r, 1);
		printf("%11s", "retry ");
		return true;
	}

	mark = fault_mark(t, page);
	ok = r == err && mark == (is_about_memory(err) ? 'M' : '-');
	printf("%8d %c%c", r, mark, ok ? ' ' : '!');
	run_expect_access(t, 1);
	return ok;
}

/*
 * A caller may take an errno for its own, to try again or to inject an abort, but
 * none that guest_memfd returns.
 */
TEST_F_TIMEOUT(gmem_errors, each_errno, 300)
{
	int err, i, nr_wrong = 0;

	ksft_print_msg("KVM_RUN's errno by guest_memfd's, and KVM_EXIT_MEMORY_FAULT:\n");
	ksft_print_msg("M right, w wrong, s stale, - none; ! not as expected\n");
	printf("#     ");
	for (i = 0; i < self->nr_vms; i++)
		printf("%10s ", self->vms[i].caller->name);
	printf("\n");

	for (err = 1; err <= MAX_ERR; err++) {
		printf("# %3d ", err);
		for (i = 0; i < self->nr_vms; i++)
			nr_wrong += !try_errno(&self->vms[i], err);
		printf("  %s\n", strerror(err));
	}
	EXPECT_EQ(nr_wrong, 0);
}

FIXTURE(gmem)
{
	struct test_vm vm;
};

FIXTURE_VARIANT(gmem)
{
	int caller;
};

FIXTURE_SETUP(gmem)
{
	const struct caller *caller = &callers[variant->caller];

	if (!caller->is_supported())
		SKIP(return, "No guest_memfd for %s", caller->name);
	test_vm_create(&self->vm, caller);
}

FIXTURE_TEARDOWN(gmem)
{
	test_vm_free(&self->vm);
}

#ifdef __x86_64__
FIXTURE_VARIANT_ADD(gmem, private) { .caller = 0 };
FIXTURE_VARIANT_ADD(gmem, shared) { .caller = 1 };
FIXTURE_VARIANT_ADD(gmem, l2) { .caller = 2 };
#endif
#ifdef __aarch64__
FIXTURE_VARIANT_ADD(gmem, stage2) { .caller = 0 };
FIXTURE_VARIANT_ADD(gmem, l2) { .caller = 1 };
FIXTURE_VARIANT_ADD(gmem, vncr) { .caller = 2 };
#endif

TEST_F(gmem, file_closed)
{
	struct test_vm *t = &self->vm;

	select_page(t, 1);
	run_expect_access(t, 1);

	memory_close(t);
	run_expect_error(t, 1, EFAULT);
	run_expect_error(t, 1, EFAULT);

	memory_delete(t);
	memory_add(t);
	run_expect_access(t, 1);
}

TEST_F(gmem, hole_punched)
{
	struct test_vm *t = &self->vm;

	select_page(t, 1);
	run_expect_access(t, 1);
	run_expect_access(t, 2);

	memory_punch_hole(t, 1);
	run_expect_access(t, 1);
}

TEST_F_TIMEOUT(gmem, poisoned, POISON_TIMEOUT)
{
	struct test_vm *t = &self->vm;

	if (!(t->caller->gmem_flags & GUEST_MEMFD_FLAG_MMAP))
		SKIP(return, "Memory that userspace cannot map cannot be poisoned");

	select_page(t, 1);
	run_expect_access(t, 1);

	/* From here on, only the guest touches the page. */
	if (!poison_page(t->mem + t->page_size))
		SKIP(return, "Cannot poison guest_memfd: %s", strerror(errno));
	run_expect_error(t, 1, EHWPOISON);
	run_expect_error(t, 1, EHWPOISON);

	memory_punch_hole(t, 1);
	run_expect_access(t, 1);
}

static void set_fail_nth(int fd, int n)
{
	char nth[16];

	snprintf(nth, sizeof(nth), "%d", n);
	TEST_ASSERT(pwrite(fd, nth, strlen(nth), 0) > 0, "Cannot set fail-nth");
}

/* No nth allocation came if the count is not down to 0. */
static bool reset_fail_nth(int fd)
{
	char nth[16] = {};
	ssize_t r = pread(fd, nth, sizeof(nth) - 1, 0);

	set_fail_nth(fd, 0);
	TEST_ASSERT(r > 0, "Cannot read fail-nth");
	return atoi(nth);
}

/*
 * Fail each allocation that the fault needs, one at a time.  KVM may be able to
 * do without, else KVM_RUN fails with ENOMEM and can be tried again.
 */
TEST_F_TIMEOUT(gmem, out_of_memory, 120)
{
	struct test_vm *t = &self->vm;
	int fd, n, err, nr_failed = 0;
	bool left;

	fd = open(FAIL_NTH, O_RDWR);
	if (fd < 0 || try_write_file(FAIL_PAGE_ALLOC "ignore-gfp-wait", "N") ||
	    try_write_file(FAILSLAB "ignore-gfp-wait", "N"))
		SKIP(return, "No injection of failures to allocate memory");

	write_file(FAIL_PAGE_ALLOC "ignore-gfp-highmem", "N");
	write_file(FAIL_PAGE_ALLOC "min-order", "0");
	write_file(FAIL_PAGE_ALLOC "verbose", "0");
	write_file(FAILSLAB "verbose", "0");

	/* KVM_RUN is not about to fail before it starts to run the vCPU. */
	select_page(t, 0);
	run_expect_access(t, 1);

	for (n = 1, left = false; !left; n++) {
		TEST_ASSERT(n < NR_PAGES, "A fault needs too many allocations");
		select_page(t, n);

		set_fail_nth(fd, n);
		err = run_with_stale_fault(t);
		left = reset_fail_nth(fd);

		if (err) {
			nr_failed++;
			assert_error(t, n, err, ENOMEM);
			err = run_with_stale_fault(t);
		}
		assert_access(t, err, 1);
	}
	close(fd);

	ksft_print_msg("%s: %d of %d failures to allocate memory were ENOMEM\n",
		       t->caller->name, nr_failed, n - 2);
	TEST_ASSERT(nr_failed, "Expected KVM_RUN to fail at least once");
}

static void *delete_memory(void *arg)
{
	struct test_vm *t = arg;

	usleep(20000);
	memory_delete(t);
	return NULL;
}

TEST_F(gmem, memslot_deleted)
{
	struct test_vm *t = &self->vm;
	pthread_t thread;
	int err;

	if (t->caller->guest_code != guest_code)
		SKIP(return, "What L2 gets without a memslot is up to L1");

	vcpu_arch_set_entry_point(t->vcpu, guest_read_forever);
	kvm_pthread_create(&thread, NULL, delete_memory, t);
	do {
		err = run_with_stale_fault(t);
	} while (!err && get_ucall(t->vcpu, NULL) == UCALL_SYNC);
	kvm_pthread_join(thread, NULL);

	/* Private memory that is missing cannot be MMIO. */
	if (t->caller->attributes & KVM_MEMORY_ATTRIBUTE_PRIVATE) {
		assert_error(t, 0, err, EFAULT);
		return;
	}
	TEST_ASSERT(!err, "KVM_RUN failed with errno %d (%s)", err, strerror(err));
	TEST_ASSERT_KVM_EXIT_REASON(t->vcpu, KVM_EXIT_MMIO);
	TEST_ASSERT_EQ(t->vcpu->run->mmio.phys_addr, TEST_GPA);
}

int main(int argc, char **argv)
{
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_GUEST_MEMFD));

	return test_harness_run(argc, argv);
}
