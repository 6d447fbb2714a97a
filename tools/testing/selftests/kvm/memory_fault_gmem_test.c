// SPDX-License-Identifier: GPL-2.0-only
/*
 * If guest_memfd fails to provide a page, KVM_RUN fails with guest_memfd's errno.
 * EFAULT and EHWPOISON are about the guest's memory, and KVM_EXIT_MEMORY_FAULT
 * says which page; nothing else is.  The access completes, exactly once, as soon
 * as guest_memfd has the page.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#ifdef __aarch64__
#include <asm/sysreg.h>
#include <linux/sizes.h>
#endif

#include "cgroup_util.h"
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

#define MEMCG_NAME	"kvm_gmem_test"

/* Poison that nobody handles can have this test go round in circles. */
#define POISON_TIMEOUT	20

/* For how long memory changes under a running vCPU, and stays as it is between. */
#define RACE_NS		NSEC_PER_SEC
#define RACE_CHANGES	2
#define RACE_TIMEOUT	120
#define CHANGE_US	500

/* What the guest reads where there is no memory. */
#define MMIO_VALUE	0x1000000000ul

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
	/* What becomes of an access without a memslot. */
	enum { MISSING_IS_MMIO, MISSING_IS_FAULT, MISSING_IS_ABORT } missing;
	/* Errnos that mean something else to the caller than to userspace. */
	int retry_errno;
	int abort_errno;
};

struct test_vm {
	const struct caller *caller;
	struct kvm_vm *vm;
	struct kvm_vcpu *vcpu;
	size_t page_size;
	struct gmem_slot gmem;
};

/* Shared with the guest. */
static u64 page_size;
static u64 page_nr;
static u64 l2_value;
static u64 nr_aborts;

static u64 guest_page(void)
{
	return TEST_GVA + READ_ONCE(page_nr) * page_size;
}

/* Not atomically: arm64 can't do that by MMIO, i.e. if there is no memslot. */
static u64 guest_add_one(void)
{
	u64 *p = (u64 *)guest_page();
	u64 value = READ_ONCE(*p) + 1;

	WRITE_ONCE(*p, value);
	return value;
}

static void guest_code(void)
{
	for (;;)
		GUEST_SYNC1(guest_add_one());
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
		WRITE_ONCE(l2_value, guest_add_one());
		vmmcall();
	}
}

static void l2_access_vmx(void)
{
	for (;;) {
		WRITE_ONCE(l2_value, guest_add_one());
		vmcall();
	}
}

static void l1_code_svm(struct svm_test_data *svm)
{
	generic_svm_setup(svm, l2_access_svm);
	for (;;) {
		run_guest(svm->vmcb, svm->vmcb_gpa);
		GUEST_ASSERT_EQ(svm->vmcb->control.exit_code, SVM_EXIT_VMMCALL);
		GUEST_SYNC1(READ_ONCE(l2_value));
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
		GUEST_SYNC1(READ_ONCE(l2_value));
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
 * L1's stage 2 maps the first 1G, i.e. the test, to itself, and the memory by the
 * table that follows the root.
 */
#define S2_GPA		0x70000000ul
#define S2_LEAF_GPA	(S2_GPA + SZ_64K)
#define S2_SIZE		(2 * SZ_64K)
#define S2_SLOT		11

static u64 vtcr;

/* Count the external abort, the access is to be done again. */
static void count_abort(u64 esr)
{
	GUEST_ASSERT_EQ(esr & ESR_ELx_FSC, ESR_ELx_FSC_EXTABT);
	WRITE_ONCE(nr_aborts, nr_aborts + 1);
}

static void abort_handler(struct ex_regs *regs)
{
	GUEST_ASSERT_EQ(read_sysreg(far_el1), guest_page());
	count_abort(read_sysreg(esr_el1));
}

static void init_vm(struct kvm_vcpu *vcpu)
{
	vm_init_descriptor_tables(vcpu->vm);
	vcpu_init_descriptor_tables(vcpu);
	vm_install_sync_handler(vcpu->vm, VECTOR_SYNC_CURRENT, ESR_ELx_EC_IABT_CUR,
				abort_handler);
}

static bool has_nested(void)
{
	return has_gmem_mmap() && kvm_check_cap(KVM_CAP_ARM_EL2) && test_supports_el2();
}

/* Run @fn, which ends with l2_exit_to_l1(), without an abort. */
static void l2_run_to_end(void (*fn)(void))
{
	for (;;) {
		l2_run(fn);
		if (ESR_ELx_EC(l2_exit.esr) == ESR_ELx_EC_HVC64)
			return;
		count_abort(l2_exit.esr);
	}
}

static void l2_access(void)
{
	WRITE_ONCE(l2_value, guest_add_one());
	l2_exit_to_l1();
}

static void l1_code(void)
{
	l2_init(HCR_EL2_VM | HCR_EL2_TEA, vtcr, S2_GPA);
	for (;;) {
		l2_run_to_end(l2_access);
		GUEST_SYNC1(READ_ONCE(l2_value));
	}
}

static void l2_init_vm(struct kvm_vcpu *vcpu)
{
	u64 *root, *leaf, gpa, size = s2_block_size();
	struct kvm_vm *vm = vcpu->vm;
	int i;

	l2_vcpu_init(vcpu);

	vtcr = s2_vtcr();
	sync_global_to_guest(vm, vtcr);
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, S2_GPA, S2_SLOT,
				    S2_SIZE / vm->page_size, 0);

	root = addr_gpa2hva(vm, S2_GPA);
	for (gpa = 0; gpa < SZ_1G; gpa += size)
		root[gpa / size] = gpa | S2_BLOCK;
	root[L2_GPA / size] = S2_LEAF_GPA | S2_TABLE;

	leaf = addr_gpa2hva(vm, S2_LEAF_GPA);
	for (i = 0; i < NR_PAGES; i++)
		leaf[i] = (TEST_GPA + i * page_size) | S2_PAGE;
}

/* The page is where L2's VTCR_EL2 lives. */
static void l2_access_vncr(void)
{
	u64 value = read_sysreg_s(SYS_VTCR_EL2) + 1;

	write_sysreg_s(value, SYS_VTCR_EL2);
	WRITE_ONCE(l2_value, value);
	l2_exit_to_l1();
}

static void l1_code_vncr(void)
{
	l2_init(HCR_EL2_NV | HCR_EL2_NV2, 0, 0);
	for (;;) {
		write_sysreg_s(guest_page(), SYS_VNCR_EL2);
		l2_run_to_end(l2_access_vncr);
		GUEST_SYNC1(READ_ONCE(l2_value));
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
		.missing = MISSING_IS_FAULT,
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
		.init = init_vm,
		.mapped_gpa = TEST_GPA,
		.gmem_flags = GMEM_SLOT_FLAGS,
		.abort_errno = ENOEXEC,
	}, {
		.name = "L2",
		.is_supported = has_nested,
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
		.missing = MISSING_IS_ABORT,
		.retry_errno = EAGAIN,
	},
#endif
};

static void test_vm_create(struct test_vm *t, const struct caller *caller)
{
	struct vm_shape shape = VM_SHAPE_DEFAULT;

	shape.type = caller->vm_type;
	t->caller = caller;
	t->vm = vm_create_shape_with_one_vcpu(shape, &t->vcpu, caller->guest_code);
	t->page_size = getpagesize();
	page_size = t->page_size;
	sync_global_to_guest(t->vm, page_size);

	t->gmem = (struct gmem_slot) {
		.vm = t->vm,
		.slot = TEST_SLOT,
		.gpa = TEST_GPA,
		.size = NR_PAGES * t->page_size,
		.flags = caller->gmem_flags,
	};
	gmem_slot_add(&t->gmem);
	virt_map(t->vm, TEST_GVA, caller->mapped_gpa,
		 t->gmem.size / t->vm->page_size);
	if (caller->attributes)
		vm_set_memory_attributes(t->vm, TEST_GPA, t->gmem.size,
					 caller->attributes);
	if (caller->init)
		caller->init(t->vcpu);
}

static void test_vm_free(struct test_vm *t)
{
	kvm_vm_free(t->vm);
	gmem_slot_close(&t->gmem);
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

/* The guest has added one to the page, and says what that makes. */
static u64 get_value(struct test_vm *t, int err)
{
	struct ucall uc;

	TEST_ASSERT(!err, "%s: KVM_RUN failed with errno %d (%s), exit_reason %u (%s)",
		    t->caller->name, err, strerror(err), t->vcpu->run->exit_reason,
		    exit_reason_str(t->vcpu->run->exit_reason));

	if (get_ucall(t->vcpu, &uc) == UCALL_ABORT)
		REPORT_GUEST_ASSERT(uc);
	TEST_ASSERT(uc.cmd == UCALL_SYNC, "%s: unexpected ucall %lu, exit_reason %u (%s)",
		    t->caller->name, (unsigned long)uc.cmd, t->vcpu->run->exit_reason,
		    exit_reason_str(t->vcpu->run->exit_reason));
	return uc.args[0];
}

static void assert_access(struct test_vm *t, int err, u64 value)
{
	u64 got = get_value(t, err);

	TEST_ASSERT(got == value, "%s: expected the page to be %lu, got %lu",
		    t->caller->name, (unsigned long)value, (unsigned long)got);
}

static void run_expect_error(struct test_vm *t, int page, int expected)
{
	assert_error(t, page, run_with_stale_fault(t), expected);
}

static void run_expect_access(struct test_vm *t, u64 value)
{
	assert_access(t, run_with_stale_fault(t), value);
}

static u64 aborts(struct test_vm *t)
{
	return SYNC_FROM_GUEST_AND_READ(t->vm, nr_aborts);
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
	bool is_abort = err == t->caller->abort_errno;
	u64 old_aborts = aborts(t);
	int page = err, r;
	char mark;
	bool ok;

	select_page(t, page);
	inject_error_once(err);
	r = run_with_stale_fault(t);
	TEST_ASSERT(error_was_injected(), "%s: page %d did not fault", t->caller->name,
		    page);
	TEST_ASSERT(aborts(t) - old_aborts == is_abort,
		    "%s: expected %d aborts for errno %d, got %lu", t->caller->name,
		    is_abort, err, (unsigned long)(aborts(t) - old_aborts));

	if (is_abort || err == t->caller->retry_errno) {
		assert_access(t, r, 1);
		printf("%11s", is_abort ? "abort " : "retry ");
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
	ksft_print_msg("retry, abort: what KVM takes for its own; the guest sees the abort\n");
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

	gmem_slot_close(&t->gmem);
	run_expect_error(t, 1, EFAULT);
	run_expect_error(t, 1, EFAULT);

	gmem_slot_delete(&t->gmem);
	gmem_slot_add(&t->gmem);
	run_expect_access(t, 1);
}

TEST_F(gmem, hole_punched)
{
	struct test_vm *t = &self->vm;

	select_page(t, 1);
	run_expect_access(t, 1);
	run_expect_access(t, 2);

	gmem_slot_punch_hole(&t->gmem);
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
	if (!poison_page(t->gmem.hva + t->page_size))
		SKIP(return, "Cannot poison guest_memfd: %s", strerror(errno));
	run_expect_error(t, 1, EHWPOISON);
	run_expect_error(t, 1, EHWPOISON);

	gmem_slot_punch_hole(&t->gmem);
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

/* Whoever runs out of memory gets ENOMEM if there is nobody to kill. */
static bool refuse_to_be_killed(void)
{
	return !try_write_file("/proc/self/oom_score_adj", "-1000");
}

struct memcg {
	char root[PATH_MAX];
	char *path;
	/* To come and go without memory for another open file. */
	int enter;
	int leave;
};

/* A cgroup that may not have any memory. */
static bool memcg_create(struct memcg *memcg)
{
	if (cg_find_controller_root(memcg->root, sizeof(memcg->root), "memory"))
		return false;

	cg_write(memcg->root, "cgroup.subtree_control", "+memory");
	memcg->path = cg_name(memcg->root, MEMCG_NAME);
	cg_create(memcg->path);
	memcg->enter = cg_open(memcg->path, "cgroup.procs", O_WRONLY);
	memcg->leave = cg_open(memcg->root, "cgroup.procs", O_WRONLY);
	return !cg_write(memcg->path, "memory.max", "0") && memcg->enter >= 0 &&
	       memcg->leave >= 0;
}

static void memcg_destroy(struct memcg *memcg)
{
	close(memcg->enter);
	close(memcg->leave);
	cg_destroy(memcg->path);
	free(memcg->path);
}

static void move_to_memcg(int procs)
{
	TEST_ASSERT(write(procs, "0", 1) == 1, "Cannot move to another cgroup: %s",
		    strerror(errno));
}

static int run_without_memory(struct test_vm *t, struct memcg *memcg)
{
	int err;

	move_to_memcg(memcg->enter);
	err = run_with_stale_fault(t);
	move_to_memcg(memcg->leave);
	return err;
}

/*
 * The vCPU cannot start without page tables, nor go on without a page.  The OOM
 * killer says that it was called, and that it has nobody to kill.
 */
TEST_F(gmem, cgroup_without_memory)
{
	struct test_vm *t = &self->vm;
	struct memcg memcg;

	if (!refuse_to_be_killed() || !memcg_create(&memcg))
		SKIP(return, "No limit on the memory of a cgroup");

	/* The test itself has all that it needs, but not the guest's memory. */
	TEST_ASSERT(!mlockall(MCL_CURRENT), "mlockall() failed: %s", strerror(errno));
	gmem_slot_punch_hole(&t->gmem);

	/* KVM_RUN is not about to fail before it starts to run the vCPU. */
	vcpu_run_complete_io(t->vcpu);

	select_page(t, 0);
	assert_error(t, 0, run_without_memory(t, &memcg), ENOMEM);
	run_expect_access(t, 1);

	select_page(t, 1);
	assert_error(t, 1, run_without_memory(t, &memcg), ENOMEM);
	run_expect_access(t, 1);

	memcg_destroy(&memcg);
}

/* A vCPU that accesses memory while another thread changes it. */
struct race {
	struct test_vm *t;
	void (*change)(struct test_vm *t);
	bool file_changes;
	bool stop;
	int nr_changes;
	int nr_accesses;
	int nr_faults;
	int nr_mmio;
	int nr_lost;
	u64 old_aborts;
	/* What the page holds, and how the vCPU got at it this time. */
	u64 value;
	bool was_read;
	bool was_written;
};

static void *change_memory(void *arg)
{
	struct race *r = arg;

	while (!READ_ONCE(r->stop)) {
		r->change(r->t);
		WRITE_ONCE(r->nr_changes, r->nr_changes + 1);
		usleep(CHANGE_US);
	}
	return NULL;
}

static void race_fault(struct race *r, int err)
{
	TEST_ASSERT(r->file_changes || r->t->caller->missing == MISSING_IS_FAULT,
		    "%s: KVM_RUN failed with errno %d (%s)", r->t->caller->name, err,
		    strerror(err));
	assert_error(r->t, page_nr, err, EFAULT);
	r->nr_faults++;
}

/* A ucall may be MMIO, too. */
static bool is_mmio_of_page(struct test_vm *t)
{
	struct kvm_run *run = t->vcpu->run;

	return run->exit_reason == KVM_EXIT_MMIO &&
	       run->mmio.phys_addr == TEST_GPA + page_nr * t->page_size;
}

static void race_mmio(struct race *r)
{
	struct kvm_run *run = r->t->vcpu->run;

	TEST_ASSERT(r->t->caller->missing == MISSING_IS_MMIO &&
		    run->mmio.len == sizeof(u64), "%s: unexpected MMIO of %u bytes",
		    r->t->caller->name, run->mmio.len);
	r->nr_mmio++;
	if (run->mmio.is_write) {
		r->was_written = true;
	} else {
		r->was_read = true;
		mmio_answer(r->t->vcpu, MMIO_VALUE);
	}
}

/* Nothing is lost but what a closed file, or nobody at all, was there to keep. */
static void race_access(struct race *r, u64 value)
{
	u64 expected = (r->was_read ? MMIO_VALUE : r->value) + 1;

	if (value != expected && value == 1 && r->file_changes) {
		r->nr_lost++;
		expected = 1;
	}
	TEST_ASSERT(value == expected, "%s: expected the page to be %lu, got %lu",
		    r->t->caller->name, (unsigned long)expected, (unsigned long)value);

	if (!r->was_written)
		r->value = value;
	r->was_read = false;
	r->was_written = false;
	r->nr_accesses++;
}

static void race_run(struct race *r)
{
	/* What is in kvm_run may be the answer to MMIO. */
	int err = __vcpu_run(r->t->vcpu) ? errno : 0;

	if (err)
		race_fault(r, err);
	else if (is_mmio_of_page(r->t))
		race_mmio(r);
	else
		race_access(r, get_value(r->t, err));
}

static bool race_saw_missing_memory(struct race *r)
{
	if (r->file_changes)
		return r->nr_faults;

	return r->nr_faults || r->nr_mmio || aborts(r->t) != r->old_aborts;
}

static void race(struct test_vm *t, void (*change)(struct test_vm *t), bool file_changes)
{
	struct race r = {
		.t = t,
		.change = change,
		.file_changes = file_changes,
		.old_aborts = aborts(t),
	};
	struct timespec start;
	pthread_t thread;
	int nr;

	select_page(t, 1);
	clock_gettime(CLOCK_MONOTONIC, &start);
	kvm_pthread_create(&thread, NULL, change_memory, &r);
	while (timespec_to_ns(timespec_elapsed(start)) < RACE_NS ||
	       READ_ONCE(r.nr_changes) < RACE_CHANGES || !race_saw_missing_memory(&r))
		race_run(&r);
	WRITE_ONCE(r.stop, true);
	kvm_pthread_join(thread, NULL);

	/* Finish what began without memory, see what the page holds, and go on. */
	for (nr = r.nr_accesses + 2; r.nr_accesses < nr; )
		race_run(&r);
	run_expect_access(t, r.value + 1);

	ksft_print_msg("%s: %d changes; %d accesses, %d times MMIO, %d faults, %lu aborts\n",
		       t->caller->name, r.nr_changes, r.nr_accesses, r.nr_mmio,
		       r.nr_faults, (unsigned long)(aborts(t) - r.old_aborts));
	TEST_ASSERT(r.nr_lost <= r.nr_changes, "The page was lost %d times", r.nr_lost);
}

/* As soon as the memslot is gone, so is the guest's access to the file. */
static void memslot_delete(struct test_vm *t)
{
	u64 *page = t->gmem.hva + page_nr * t->page_size;
	u64 value;

	gmem_slot_delete(&t->gmem);
	value = READ_ONCE(*page);
	usleep(CHANGE_US);
	TEST_ASSERT(READ_ONCE(*page) == value, "%s: written without a memslot",
		    t->caller->name);
}

static void memslot_create_again(struct test_vm *t)
{
	memslot_delete(t);
	gmem_slot_bind(&t->gmem);
}

TEST_F_TIMEOUT(gmem, memslot_deleted_and_created, RACE_TIMEOUT)
{
	race(&self->vm, memslot_create_again, false);
}

/* A memslot of guest_memfd doesn't move, but for another in its place. */
static void memslot_move(struct test_vm *t)
{
	struct gmem_slot *gmem = &t->gmem;
	int r;

	gmem->gpa = TEST_GPA + gmem->size;
	r = __vm_set_user_memory_region2(t->vm, TEST_SLOT, KVM_MEM_GUEST_MEMFD,
					 gmem->gpa, gmem->size, gmem->hva, gmem->fd, 0);
	TEST_ASSERT(r && errno == EINVAL, "Expected EINVAL, got %d (%s)", r ? errno : 0,
		    strerror(errno));
	memslot_delete(t);
	gmem_slot_bind(gmem);
	usleep(CHANGE_US);

	memslot_delete(t);
	gmem->gpa = TEST_GPA;
	gmem_slot_bind(gmem);
}

TEST_F_TIMEOUT(gmem, memslot_moved, RACE_TIMEOUT)
{
	race(&self->vm, memslot_move, false);
}

static void file_replace(struct test_vm *t)
{
	gmem_slot_close(&t->gmem);
	usleep(CHANGE_US);
	gmem_slot_delete(&t->gmem);
	usleep(CHANGE_US);
	gmem_slot_add(&t->gmem);
}

TEST_F_TIMEOUT(gmem, file_replaced, RACE_TIMEOUT)
{
	race(&self->vm, file_replace, true);
}

int main(int argc, char **argv)
{
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_GUEST_MEMFD));

	return test_harness_run(argc, argv);
}
