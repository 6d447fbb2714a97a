// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the memory fault record: what KVM_RUN tells userspace for each
 * errno that it can fail with, given what was recorded on the way and what
 * kvm_run held before.
 */
#include <kunit/test.h>
#include <linux/kvm_host.h>
#include <linux/kvm_memory_fault.h>

#define TEST_GPA	(5ull << 32)
#define TEST_FLAGS	KVM_MEMORY_EXIT_FLAG_PRIVATE
/* Bytes that nobody is expected to write. */
#define TEST_JUNK	0xa5

static const int run_results[] = {
	0, 1, -EPERM, -ENOENT, -EINTR, -EIO, -E2BIG, -ENOEXEC, -EAGAIN, -ENOMEM,
	-EACCES, -EFAULT, -EBUSY, -EINVAL, -EOPNOTSUPP, -EHWPOISON,
};

static const u32 prior_reasons[] = {
	KVM_EXIT_UNKNOWN, KVM_EXIT_IO, KVM_EXIT_MMIO, KVM_EXIT_INTR,
	KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_MEMORY_FAULT,
};

static bool is_fault(int err)
{
	return err == -EFAULT || err == -EHWPOISON;
}

static int memory_fault_test_init(struct kunit *test)
{
	struct kvm_vcpu *vcpu;

	vcpu = kunit_kzalloc(test, sizeof(*vcpu), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vcpu);

	vcpu->kvm = kunit_kzalloc(test, sizeof(*vcpu->kvm), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vcpu->kvm);

	vcpu->run = kunit_kzalloc(test, sizeof(*vcpu->run), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vcpu->run);

	test->priv = vcpu;
	return 0;
}

static void fill_run(struct kvm_vcpu *vcpu, u32 reason)
{
	memset(vcpu->run, TEST_JUNK, sizeof(*vcpu->run));
	vcpu->run->exit_reason = reason;
}

/* kvm_run is what fill_run() left, but for the exit reason. */
static void expect_only_reason(struct kunit *test, u32 reason)
{
	struct kvm_vcpu *vcpu = test->priv;

	KUNIT_EXPECT_EQ(test, vcpu->run->exit_reason, reason);
	vcpu->run->exit_reason = TEST_JUNK * 0x01010101u;
	KUNIT_EXPECT_NULL(test, memchr_inv(vcpu->run, TEST_JUNK, sizeof(*vcpu->run)));
}

static void expect_memory_fault(struct kunit *test, u64 gpa, u64 size, u64 flags)
{
	struct kvm_vcpu *vcpu = test->priv;

	KUNIT_EXPECT_EQ(test, vcpu->run->exit_reason, KVM_EXIT_MEMORY_FAULT);
	KUNIT_EXPECT_EQ(test, vcpu->run->memory_fault.gpa, gpa);
	KUNIT_EXPECT_EQ(test, vcpu->run->memory_fault.size, size);
	KUNIT_EXPECT_EQ(test, vcpu->run->memory_fault.flags, flags);
}

/* One KVM_RUN that records @err, or nothing if 0, and returns @r. */
static void run_and_expect(struct kunit *test, int err, int r, u32 prior)
{
	struct kvm_vcpu *vcpu = test->priv;
	bool published;

	fill_run(vcpu, prior);
	if (err)
		KUNIT_EXPECT_EQ(test, err,
				kvm_prepare_memory_fault_exit(vcpu, TEST_GPA, PAGE_SIZE,
							      TEST_FLAGS, err));
	published = kvm_publish_memory_fault(vcpu, r);
	KUNIT_EXPECT_EQ(test, published, is_fault(r) && err == r);

	if (published)
		expect_memory_fault(test, TEST_GPA, PAGE_SIZE, TEST_FLAGS);
	else
		expect_only_reason(test, is_fault(r) ? KVM_EXIT_UNKNOWN : prior);

	/* The record is gone, whatever became of it. */
	fill_run(vcpu, prior);
	KUNIT_EXPECT_FALSE(test, kvm_publish_memory_fault(vcpu, -EFAULT));
	expect_only_reason(test, KVM_EXIT_UNKNOWN);
}

static void record_and_return(struct kunit *test)
{
	int err, r, prior;

	for (err = 0; err < ARRAY_SIZE(run_results); err++) {
		for (r = 0; r < ARRAY_SIZE(run_results); r++) {
			for (prior = 0; prior < ARRAY_SIZE(prior_reasons); prior++)
				run_and_expect(test, min(run_results[err], 0),
					       run_results[r], prior_reasons[prior]);
		}
	}
}

static void recording_writes_no_kvm_run(struct kunit *test)
{
	struct kvm_vcpu *vcpu = test->priv;

	fill_run(vcpu, KVM_EXIT_MMIO);
	kvm_prepare_memory_fault_exit(vcpu, TEST_GPA, PAGE_SIZE, TEST_FLAGS, -EFAULT);
	expect_only_reason(test, KVM_EXIT_MMIO);
}

static void last_record_counts(struct kunit *test)
{
	struct kvm_vcpu *vcpu = test->priv;

	kvm_prepare_memory_fault_exit(vcpu, TEST_GPA, PAGE_SIZE, TEST_FLAGS, -EHWPOISON);
	kvm_prepare_memory_fault_exit(vcpu, 0, PAGE_SIZE, 0, -EFAULT);
	KUNIT_EXPECT_TRUE(test, kvm_publish_memory_fault(vcpu, -EFAULT));
	expect_memory_fault(test, 0, PAGE_SIZE, 0);
}

static void errno_without_fault_keeps_record(struct kunit *test)
{
	struct kvm_vcpu *vcpu = test->priv;

	kvm_prepare_memory_fault_exit(vcpu, TEST_GPA, PAGE_SIZE, TEST_FLAGS, -EFAULT);
	kvm_prepare_memory_fault_exit(vcpu, 0, PAGE_SIZE, 0, -ENOMEM);
	KUNIT_EXPECT_TRUE(test, kvm_publish_memory_fault(vcpu, -EFAULT));
	expect_memory_fault(test, TEST_GPA, PAGE_SIZE, TEST_FLAGS);
}

static void dropped_record_is_gone(struct kunit *test)
{
	struct kvm_vcpu *vcpu = test->priv;

	fill_run(vcpu, KVM_EXIT_MMIO);
	kvm_prepare_memory_fault_exit(vcpu, TEST_GPA, PAGE_SIZE, TEST_FLAGS, -EFAULT);
	kvm_drop_memory_fault(vcpu);
	KUNIT_EXPECT_FALSE(test, kvm_publish_memory_fault(vcpu, -EFAULT));
	expect_only_reason(test, KVM_EXIT_UNKNOWN);
}

static const struct range_param {
	const char *desc;
	u64 gpa, size;
	/* In host pages, from the page of gpa. */
	u64 pages;
} range_params[] = {
	{ "a page",			TEST_GPA,		PAGE_SIZE,	1 },
	{ "first byte",			TEST_GPA,		1,		1 },
	{ "last byte",			TEST_GPA + PAGE_SIZE - 1, 1,		1 },
	{ "no size",			TEST_GPA + 8,		0,		1 },
	{ "a page, misaligned",		TEST_GPA + 8,		PAGE_SIZE,	2 },
	{ "two bytes in two pages",	TEST_GPA + PAGE_SIZE - 1, 2,		2 },
	{ "three pages",		TEST_GPA,		3 * PAGE_SIZE,	3 },
	{ "address 0",			0,			PAGE_SIZE,	1 },
	{ "last page",			-(u64)PAGE_SIZE,	PAGE_SIZE,	1 },
	{ "wraps around",		-(u64)PAGE_SIZE,	PAGE_SIZE + 1,	0 },
	{ "invalid address",		INVALID_GPA,		1,		0 },
};

KUNIT_ARRAY_PARAM_DESC(range, range_params, desc);

static void range_covers_host_pages(struct kunit *test)
{
	const struct range_param *p = test->param_value;
	struct kvm_vcpu *vcpu = test->priv;

	fill_run(vcpu, KVM_EXIT_MMIO);
	kvm_prepare_memory_fault_exit(vcpu, p->gpa, p->size, 0, -EFAULT);
	KUNIT_EXPECT_EQ(test, !!p->pages, kvm_publish_memory_fault(vcpu, -EFAULT));

	if (p->pages)
		expect_memory_fault(test, p->gpa & ~(u64)(PAGE_SIZE - 1),
				    p->pages * PAGE_SIZE, 0);
	else
		expect_only_reason(test, KVM_EXIT_UNKNOWN);
}

static void only_flags_of_the_vm(struct kunit *test)
{
	struct kvm_vcpu *vcpu = test->priv;

	kvm_prepare_memory_fault_exit(vcpu, TEST_GPA, PAGE_SIZE, ~0ull, -EFAULT);
	KUNIT_EXPECT_TRUE(test, kvm_publish_memory_fault(vcpu, -EFAULT));
	expect_memory_fault(test, TEST_GPA, PAGE_SIZE, kvm_memory_fault_flags(vcpu->kvm));
}

static struct kunit_case memory_fault_test_cases[] = {
	KUNIT_CASE(record_and_return),
	KUNIT_CASE(recording_writes_no_kvm_run),
	KUNIT_CASE(last_record_counts),
	KUNIT_CASE(errno_without_fault_keeps_record),
	KUNIT_CASE(dropped_record_is_gone),
	KUNIT_CASE_PARAM(range_covers_host_pages, range_gen_params),
	KUNIT_CASE(only_flags_of_the_vm),
	{}
};

static struct kunit_suite memory_fault_test_suite = {
	.name = "kvm_memory_fault",
	.init = memory_fault_test_init,
	.test_cases = memory_fault_test_cases,
};

kunit_test_suite(memory_fault_test_suite);
