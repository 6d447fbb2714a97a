/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __KVM_X86_VMX_EXIT_REASON_H
#define __KVM_X86_VMX_EXIT_REASON_H

#include <linux/bits.h>
#include <linux/types.h>

#include <asm/vmx.h>

/*
 * The exit reason is the basic reason in bits 15:0, and modifiers above it.
 * FAILED_VMENTRY and SGX_ENCLAVE_MODE (uapi) are reported to every hypervisor,
 * BUS_LOCK_DETECTED only to one that enabled bus lock detection.  All others
 * are reserved, or exist only for the dual-monitor treatment of SMM.
 */
#define VMX_EXIT_REASON_BASIC_MASK		GENMASK_U32(15, 0)
#define VMX_EXIT_REASON_BUS_LOCK_DETECTED	BIT_U32(26)

/*
 * Filter @full, an exit reason that was produced with controls that KVM chose,
 * down to what a hypervisor that enabled @secondary_exec_controls would read.
 * List what is visible instead of what isn't, so that a modifier for a feature
 * that KVM uses but doesn't virtualize is hidden by default.
 */
static inline u32 vmx_visible_exit_reason(u32 full, u32 secondary_exec_controls)
{
	u32 visible = VMX_EXIT_REASON_BASIC_MASK |
		      VMX_EXIT_REASONS_SGX_ENCLAVE_MODE |
		      VMX_EXIT_REASONS_FAILED_VMENTRY;

	if (secondary_exec_controls & SECONDARY_EXEC_BUS_LOCK_DETECTION)
		visible |= VMX_EXIT_REASON_BUS_LOCK_DETECTED;

	return full & visible;
}

#endif /* __KVM_X86_VMX_EXIT_REASON_H */
