// SPDX-License-Identifier: GPL-2.0-only
/*
 * vmx_visible_exit_reason() hides from L1 exactly those bits of the exit reason
 * that L1 didn't enable: every bit, alone and with all others, against every
 * secondary VM-execution control, alone and with all others.
 */
#include <kunit/test.h>

#include "exit_reason.h"

/* What the SDM says of each bit: whether, and for which control, it is set. */
enum visibility {
	HIDDEN,
	VISIBLE,
	VISIBLE_WITH_BUS_LOCK_DETECTION,
};

static const enum visibility sdm[32] = {
	[0 ... 15]	= VISIBLE,			/* basic reason */
	[26]		= VISIBLE_WITH_BUS_LOCK_DETECTION,
	[27]		= VISIBLE,			/* enclave mode */
	[31]		= VISIBLE,			/* failed VM-Entry */
};

static u32 expected(u32 full, u32 controls)
{
	u32 visible = 0;
	int bit;

	for (bit = 0; bit < 32; bit++) {
		if (sdm[bit] == VISIBLE ||
		    (sdm[bit] == VISIBLE_WITH_BUS_LOCK_DETECTION &&
		     (controls & SECONDARY_EXEC_BUS_LOCK_DETECTION)))
			visible |= full & BIT_U32(bit);
	}

	return visible;
}

static void expect_visible(struct kunit *test, u32 full, u32 controls)
{
	KUNIT_EXPECT_EQ_MSG(test, vmx_visible_exit_reason(full, controls),
			    expected(full, controls),
			    "exit reason 0x%08x, secondary controls 0x%08x",
			    full, controls);
}

static void expect_visible_all_controls(struct kunit *test, u32 full)
{
	int control;

	expect_visible(test, full, 0);
	expect_visible(test, full, ~0u);

	for (control = 0; control < 32; control++) {
		expect_visible(test, full, BIT_U32(control));
		expect_visible(test, full, ~BIT_U32(control));
	}
}

static void each_bit_alone(struct kunit *test)
{
	int bit;

	for (bit = 0; bit < 32; bit++)
		expect_visible_all_controls(test, BIT_U32(bit));
}

static void each_bit_missing(struct kunit *test)
{
	int bit;

	for (bit = 0; bit < 32; bit++)
		expect_visible_all_controls(test, ~BIT_U32(bit));
}

static void all_bits_and_none(struct kunit *test)
{
	expect_visible_all_controls(test, ~0u);
	expect_visible_all_controls(test, 0);
}

/* The scenario behind the helper: KVM detects bus locks, L1 knows of none. */
static void bus_lock_in_ept_violation(struct kunit *test)
{
	u32 full = EXIT_REASON_EPT_VIOLATION | VMX_EXIT_REASON_BUS_LOCK_DETECTED;

	KUNIT_EXPECT_EQ(test, vmx_visible_exit_reason(full, 0),
			EXIT_REASON_EPT_VIOLATION);
	KUNIT_EXPECT_EQ(test,
			vmx_visible_exit_reason(full, SECONDARY_EXEC_BUS_LOCK_DETECTION),
			full);
}

static struct kunit_case vmx_exit_reason_cases[] = {
	KUNIT_CASE(each_bit_alone),
	KUNIT_CASE(each_bit_missing),
	KUNIT_CASE(all_bits_and_none),
	KUNIT_CASE(bus_lock_in_ept_violation),
	{}
};

static struct kunit_suite vmx_exit_reason_suite = {
	.name = "kvm_vmx_exit_reason",
	.test_cases = vmx_exit_reason_cases,
};

kunit_test_suite(vmx_exit_reason_suite);

MODULE_DESCRIPTION("KUnit tests for the VM-Exit reason that KVM shows to L1");
MODULE_LICENSE("GPL");
