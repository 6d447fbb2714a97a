// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_RUN fails with EFAULT and KVM_EXIT_UNKNOWN if the VMM's Xen hypercall blob
 * can't be read, whatever the guest did before, as it is the VMM's own memory
 * that is missing, not the guest's.
 */
#include "kvm_test_harness.h"
#include "kvm_util.h"
#include "memory_fault.h"
#include "processor.h"
#include "test_util.h"

#define XEN_HYPERCALL_MSR	0x40000200

/* Two pages of GPAs without a memslot, the lower one isn't mapped, either. */
#define MMIO_GPA		0xc0001000ul
#define MMIO_GVA		MMIO_GPA

/* A memslot of one page, to be turned into a hole. */
#define HOLE_GPA		0xc0010000ul
#define HOLE_GVA		HOLE_GPA
#define HOLE_SLOT		10

/* Where KVM writes the hypercall page. */
#define HCALL_GPA		0xc0020000ul
#define HCALL_SLOT		11

#define IST1_OFFSET		36
#define BLOB_BYTE		0x5a

static void guest_write_hypercall_page(void)
{
	wrmsr(XEN_HYPERCALL_MSR, HCALL_GPA);
	GUEST_DONE();
}

static void guest_mmio_before(void)
{
	READ_ONCE(*(u32 *)MMIO_GVA);
	guest_write_hypercall_page();
}

static void guest_memory_fault_before(void)
{
	READ_ONCE(*(u32 *)HOLE_GVA);
	guest_write_hypercall_page();
}

static void guest_pf_handler(struct ex_regs *regs)
{
	guest_write_hypercall_page();
}

/*
 * Push CS to the very start of the MMIO page, and RIP to the page below, which
 * isn't mapped: the emulator prepares an MMIO exit, and then finds that it has
 * to inject #PF instead.
 */
static void guest_mmio_that_faults(void)
{
	struct {
		u32 rip;
		u16 cs;
	} __packed target = { .cs = get_cs() };

	asm volatile("mov %[stack], %%rsp\n\t"
		     "lcall *(%[target])\n\t"
		     : : [stack] "r" (MMIO_GVA + sizeof(u32)),
			 [target] "r" (&target) : "memory");
}

static void set_blob(struct kvm_vm *vm, void *blob)
{
	struct kvm_xen_hvm_config config = {
		.msr		= XEN_HYPERCALL_MSR,
		.blob_addr_64	= (uintptr_t)blob,
		.blob_size_64	= 1,
	};

	vm_ioctl(vm, KVM_XEN_HVM_CONFIG, &config);
}

static void *alloc_page(int prot)
{
	return kvm_mmap(PAGE_SIZE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

/* The blob can't be read, as often as one tries, and then it can. */
static void expect_bad_blob(struct kvm_vcpu *vcpu)
{
	struct kvm_vm *vm = vcpu->vm;
	u8 *blob;

	vcpu_run_expect_unknown(vcpu);
	vcpu_run_expect_unknown(vcpu);

	blob = alloc_page(PROT_READ | PROT_WRITE);
	memset(blob, BLOB_BYTE, PAGE_SIZE);
	set_blob(vm, blob);

	vcpu_run_expect_done(vcpu);
	TEST_ASSERT(!memcmp(addr_gpa2hva(vm, HCALL_GPA), blob, PAGE_SIZE),
		    "The hypercall page differs from the blob");
}

FIXTURE(xen_hypercall_blob) {
	struct kvm_vcpu *vcpu;
};

FIXTURE_SETUP(xen_hypercall_blob)
{
	struct kvm_vm *vm = vm_create_with_one_vcpu(&self->vcpu, NULL);

	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, HCALL_GPA,
				    HCALL_SLOT, 1, 0);
	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, HOLE_GPA,
				    HOLE_SLOT, 1, 0);
	virt_map(vm, HOLE_GVA, HOLE_GPA, 1);
	virt_map(vm, MMIO_GVA, MMIO_GPA, 1);

	set_blob(vm, alloc_page(PROT_NONE));
}

FIXTURE_TEARDOWN(xen_hypercall_blob)
{
	kvm_vm_free(self->vcpu->vm);
}

TEST_F(xen_hypercall_blob, alone)
{
	vcpu_arch_set_entry_point(self->vcpu, guest_write_hypercall_page);
	expect_bad_blob(self->vcpu);
}

TEST_F(xen_hypercall_blob, after_mmio)
{
	vcpu_arch_set_entry_point(self->vcpu, guest_mmio_before);
	vcpu_run_expect_mmio(self->vcpu, MMIO_GPA, sizeof(u32), false);
	expect_bad_blob(self->vcpu);
}

TEST_F(xen_hypercall_blob, after_mmio_in_same_run)
{
	struct kvm_vm *vm = self->vcpu->vm;
	struct idt_entry *idt = addr_gva2hva(vm, vm->arch.idt);
	gva_t stack = vm_alloc_page(vm) + PAGE_SIZE;
	struct kvm_sregs sregs;

	/* QEMU's TCG heeds SS.B even in 64-bit mode, in far calls that is. */
	vcpu_sregs_get(self->vcpu, &sregs);
	sregs.ss.db = 1;
	vcpu_sregs_set(self->vcpu, &sregs);

	/* The stack of the interrupted code is of no use to the handler. */
	idt[PF_VECTOR].ist = 1;
	memcpy(addr_gva2hva(vm, vm->arch.tss) + IST1_OFFSET, &stack, sizeof(stack));
	vm_install_exception_handler(vm, PF_VECTOR, guest_pf_handler);

	vcpu_arch_set_entry_point(self->vcpu, guest_mmio_that_faults);
	expect_bad_blob(self->vcpu);
}

TEST_F(xen_hypercall_blob, after_memory_fault)
{
	void *hva = addr_gpa2hva(self->vcpu->vm, HOLE_GPA);

	protect_page(hva, PROT_NONE);
	vcpu_arch_set_entry_point(self->vcpu, guest_memory_fault_before);
	vcpu_run_expect_memory_fault(self->vcpu, HOLE_GPA, 0);

	unprotect_page(hva);
	expect_bad_blob(self->vcpu);
}

int main(int argc, char *argv[])
{
	int caps = kvm_check_cap(KVM_CAP_XEN_HVM);

	TEST_REQUIRE(caps & KVM_XEN_HVM_CONFIG_HYPERCALL_MSR);

	return test_harness_run(argc, argv);
}
