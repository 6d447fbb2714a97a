// SPDX-License-Identifier: GPL-2.0-only
/*
 * An asynchronous page fault whose page can no longer be mapped once it is ready
 * tells userspace nothing by itself, because the guest has moved on: KVM_RUN
 * fails over the page if the guest comes back to it, and if KVM_RUN fails over
 * something else first, then the page isn't blamed for it.
 */
#include <asm/kvm_para.h>
#include <unistd.h>

#include "apic.h"
#include "kvm_test_harness.h"
#include "kvm_util.h"
#include "memory_fault.h"
#include "processor.h"
#include "test_util.h"

#define PAGE_READY_VECTOR	0x40

/* The page that isn't ready. */
#define APF_GPA			0xc0000000ul
#define APF_GVA			APF_GPA
#define APF_SLOT		10

/* No memslot is here. */
#define MMIO_GPA		0xd0000000ul
#define MMIO_GVA		MMIO_GPA
#define MMIO_DATA		0x0102030405060708ul

/* Something else to fail over: a Xen hypercall blob that can't be read. */
#define XEN_HYPERCALL_MSR	0x40000200

static struct kvm_vcpu_pv_apf_data apf __aligned(64);
static bool page_ready;

/* KVM wakes all tasks when the guest enables asynchronous page faults. */
#define TOKEN_WAKE_ALL		0xffffffffu

static void page_ready_handler(struct ex_regs *regs)
{
	u32 token = READ_ONCE(apf.token);

	GUEST_ASSERT(token);
	if (token != TOKEN_WAKE_ALL)
		WRITE_ONCE(page_ready, true);

	WRITE_ONCE(apf.token, 0);
	wrmsr(MSR_KVM_ASYNC_PF_ACK, 1);
	x2apic_write_reg(APIC_EOI, 0);
}

/* Touch the page, and learn that it isn't present. */
static void guest_touch_page(gpa_t apf_gpa)
{
	u8 vector;

	x2apic_enable();
	wrmsr(MSR_KVM_ASYNC_PF_INT, PAGE_READY_VECTOR);
	wrmsr(MSR_KVM_ASYNC_PF_EN, apf_gpa | KVM_ASYNC_PF_ENABLED |
				   KVM_ASYNC_PF_SEND_ALWAYS |
				   KVM_ASYNC_PF_DELIVERY_AS_INT);
	sti();

	vector = kvm_asm_safe("mov (%%rcx), %%rax", "c" (APF_GVA));
	GUEST_ASSERT_EQ(vector, PF_VECTOR);
	GUEST_ASSERT_EQ(READ_ONCE(apf.flags), KVM_PV_REASON_PAGE_NOT_PRESENT);
	WRITE_ONCE(apf.flags, 0);
}

/* Do something else until the page would be present. */
static void guest_wait_for_page(gpa_t apf_gpa)
{
	guest_touch_page(apf_gpa);
	GUEST_SYNC(0);

	while (!READ_ONCE(page_ready))
		cpu_relax();
}

static void guest_return_to_page(gpa_t apf_gpa)
{
	guest_wait_for_page(apf_gpa);
	READ_ONCE(*(u64 *)APF_GVA);
	GUEST_DONE();
}

static void guest_fail_elsewhere(gpa_t apf_gpa)
{
	guest_wait_for_page(apf_gpa);
	wrmsr(XEN_HYPERCALL_MSR, 0);
	GUEST_DONE();
}

static void guest_read_mmio(gpa_t apf_gpa)
{
	guest_touch_page(apf_gpa);
	GUEST_SYNC(0);
	GUEST_ASSERT_EQ(READ_ONCE(*(u64 *)MMIO_GVA), MMIO_DATA);
	GUEST_DONE();
}

FIXTURE(async_pf_memory_fault) {
	struct kvm_vcpu *vcpu;
	void *hva;
	int uffd;
};

FIXTURE_VARIANT(async_pf_memory_fault) {
	unsigned long type;
	bool becomes_private;
};

FIXTURE_VARIANT_ADD(async_pf_memory_fault, vma_gone) {
	.type = KVM_X86_DEFAULT_VM,
};

/* To KVM, a shared page is gone just the same if the gpa becomes private. */
FIXTURE_VARIANT_ADD(async_pf_memory_fault, page_private) {
	.type = KVM_X86_SW_PROTECTED_VM,
	.becomes_private = true,
};

FIXTURE_SETUP(async_pf_memory_fault)
{
	struct vm_shape shape = {
		.mode = VM_MODE_DEFAULT,
		.type = variant->type,
	};
	struct kvm_xen_hvm_config xen = {
		.msr = XEN_HYPERCALL_MSR,
		.blob_size_64 = 1,
	};
	struct kvm_vm *vm;

	if (!(kvm_check_cap(KVM_CAP_VM_TYPES) & BIT(variant->type)))
		SKIP(return, "VM type %lu isn't supported", variant->type);

	vm = vm_create_shape_with_one_vcpu(shape, &self->vcpu, NULL);
	vm_ioctl(vm, KVM_XEN_HVM_CONFIG, &xen);
	vm_install_exception_handler(vm, PAGE_READY_VECTOR, page_ready_handler);
	vcpu_args_set(self->vcpu, 1, addr_gva2gpa(vm, (gva_t)&apf));

	vm_userspace_mem_region_add(vm, VM_MEM_SRC_ANONYMOUS, APF_GPA, APF_SLOT,
				    1, 0);
	virt_map(vm, APF_GVA, APF_GPA, 1);
	virt_map(vm, MMIO_GVA, MMIO_GPA, 1);
	self->hva = addr_gpa2hva(vm, APF_GPA);
	self->uffd = uffd_register_page(self->hva, O_NONBLOCK);
	TEST_ASSERT(self->uffd >= 0, __KVM_SYSCALL_ERROR("userfaultfd()", self->uffd));
}

FIXTURE_TEARDOWN(async_pf_memory_fault)
{
	kvm_vm_free(self->vcpu->vm);
}

/* The page becomes unmappable first, and ready second. */
static void take_page_away(FIXTURE_DATA(async_pf_memory_fault) *self,
			   bool becomes_private)
{
	if (becomes_private)
		vm_mem_set_private(self->vcpu->vm, APF_GPA, PAGE_SIZE);
	else
		kvm_munmap(self->hva, PAGE_SIZE);

	kvm_close(self->uffd);
}

static void give_page_back(FIXTURE_DATA(async_pf_memory_fault) *self,
			   bool becomes_private)
{
	if (becomes_private)
		vm_mem_set_shared(self->vcpu->vm, APF_GPA, PAGE_SIZE);
	else
		mmap_anonymous_over(self->hva, PAGE_SIZE);
}

TEST_F(async_pf_memory_fault, guest_returns_to_page)
{
	vcpu_arch_set_entry_point(self->vcpu, guest_return_to_page);
	vcpu_run_expect_sync(self->vcpu);

	take_page_away(self, variant->becomes_private);
	vcpu_run_expect_memory_fault(self->vcpu, APF_GPA,
				     variant->becomes_private ?
				     KVM_MEMORY_EXIT_FLAG_PRIVATE : 0);

	give_page_back(self, variant->becomes_private);
	vcpu_run_expect_done(self->vcpu);
}

TEST_F(async_pf_memory_fault, guest_fails_elsewhere)
{
	vcpu_arch_set_entry_point(self->vcpu, guest_fail_elsewhere);
	vcpu_run_expect_sync(self->vcpu);

	take_page_away(self, variant->becomes_private);
	vcpu_run_expect_unknown(self->vcpu);
}

/* Have KVM look for pages that are ready, until it has found the one. */
static void acknowledge_page_ready(struct kvm_vcpu *vcpu)
{
	u32 *token = addr_gva2hva(vcpu->vm, (gva_t)&apf.token);
	int i;

	for (i = 0; i < 1000 && !READ_ONCE(*token); i++) {
		usleep(1000);
		TEST_ASSERT_EQ(_vcpu_set_msr(vcpu, MSR_KVM_ASYNC_PF_ACK, 1), 1);
	}
	TEST_ASSERT(READ_ONCE(*token), "The page isn't ready after a second");
}

/* The page may also be found to be ready, and unmappable, outside of KVM_RUN. */
TEST_F(async_pf_memory_fault, set_msrs_keeps_mmio)
{
	struct kvm_run *run = self->vcpu->run;
	u64 data = MMIO_DATA;

	vcpu_arch_set_entry_point(self->vcpu, guest_read_mmio);
	vcpu_run_expect_sync(self->vcpu);

	vcpu_run_expect_mmio(self->vcpu, MMIO_GPA, sizeof(data), false);
	mmio_answer(self->vcpu, data);

	take_page_away(self, variant->becomes_private);
	acknowledge_page_ready(self->vcpu);

	TEST_ASSERT_KVM_EXIT_REASON(self->vcpu, KVM_EXIT_MMIO);
	TEST_ASSERT_EQ(run->mmio.phys_addr, MMIO_GPA);
	TEST_ASSERT(!memcmp(run->mmio.data, &data, sizeof(data)),
		    "KVM_SET_MSRS changed the data of the pending MMIO read");
	vcpu_run_expect_done(self->vcpu);
}

int main(int argc, char *argv[])
{
	int uffd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	__TEST_REQUIRE(uffd >= 0, "No userfaultfd that catches KVM's accesses");
	close(uffd);
	TEST_REQUIRE(kvm_has_cap(KVM_CAP_ASYNC_PF_INT));
	TEST_REQUIRE(kvm_check_cap(KVM_CAP_XEN_HVM) & KVM_XEN_HVM_CONFIG_HYPERCALL_MSR);

	return test_harness_run(argc, argv);
}
