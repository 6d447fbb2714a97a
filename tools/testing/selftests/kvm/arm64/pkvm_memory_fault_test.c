// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memory of a protected VM is missing if it cannot be pinned, and if the
 * host has forced the hypervisor to give it back.
 */
#include <fcntl.h>

#include "kselftest_harness.h"
#include "kvm_util.h"
#include "memory_fault.h"
#include "processor.h"
#include "test_util.h"

#define CODE_GPA	0x40000000ul
#define DATA_GPA	0x50000000ul
#define DOORBELL_GPA	0x60000000ul

/* x1 is the data, x2 the doorbell, x0 the value that it is rung with. */
static const u32 guest_increment[] = {
	0xf9400020,	/* ldr	x0, [x1] */
	0x91000400,	/* add	x0, x0, #1 */
	0xf9000020,	/* str	x0, [x1] */
	0xf9000040,	/* str	x0, [x2] */
	0x17fffffc,	/* b	. - 16 */
};

FIXTURE(pkvm_memory_fault) {
	struct kvm_vm vm;
	struct kvm_vcpu vcpu;
	void *code;
	u64 *data;
	void *copy;
};

static void *add_memory(struct kvm_vm *vm, u32 slot, gpa_t gpa)
{
	size_t size = getpagesize();
	void *hva = kvm_mmap(size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (u64)hva,
	};

	vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
	return hva;
}

static void create_vcpu(struct kvm_vm *vm, struct kvm_vcpu *vcpu)
{
	struct kvm_vcpu_init init;
	size_t size;

	vcpu->vm = vm;
	vcpu->fd = __vm_ioctl(vm, KVM_CREATE_VCPU, (void *)0ul);
	TEST_ASSERT(vcpu->fd >= 0, KVM_IOCTL_ERROR(KVM_CREATE_VCPU, vcpu->fd));
	size = __kvm_ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
	vcpu->run = kvm_mmap(size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd);

	vm_ioctl(vm, KVM_ARM_PREFERRED_TARGET, &init);
	vcpu_ioctl(vcpu, KVM_ARM_VCPU_INIT, &init);
	vcpu_set_reg(vcpu, ARM64_CORE_REG(regs.pc), CODE_GPA);
	vcpu_set_reg(vcpu, ARM64_CORE_REG(regs.regs[1]), DATA_GPA);
	vcpu_set_reg(vcpu, ARM64_CORE_REG(regs.regs[2]), DOORBELL_GPA);
}

static int create_vm(int kvm_fd)
{
	return __kvm_ioctl(kvm_fd, KVM_CREATE_VM, (void *)KVM_VM_TYPE_ARM_PROTECTED);
}

FIXTURE_SETUP(pkvm_memory_fault)
{
	struct kvm_vm *vm = &self->vm;

	vm->kvm_fd = open_kvm_dev_path_or_exit();
	vm->fd = create_vm(vm->kvm_fd);
	TEST_ASSERT(vm->fd >= 0, KVM_IOCTL_ERROR(KVM_CREATE_VM, vm->fd));

	self->code = add_memory(vm, 0, CODE_GPA);
	memcpy(self->code, guest_increment, sizeof(guest_increment));
	self->data = add_memory(vm, 1, DATA_GPA);
	self->copy = calloc(1, getpagesize());
	create_vcpu(vm, &self->vcpu);
}

FIXTURE_TEARDOWN(pkvm_memory_fault)
{
	close(self->vcpu.fd);
	close(self->vm.fd);
	close(self->vm.kvm_fd);
	free(self->copy);
}

static void run_expect_doorbell(struct kvm_vcpu *vcpu, u64 expected)
{
	u64 *data = (u64 *)vcpu->run->mmio.data;

	vcpu_run_expect_mmio(vcpu, DOORBELL_GPA, sizeof(*data), true);
	TEST_ASSERT_EQ(*data, expected);
}

TEST_F(pkvm_memory_fault, hole)
{
	*self->data = 41;
	lose_page(self->data, self->copy);
	vcpu_run_expect_memory_fault(&self->vcpu, DATA_GPA, 0);
	vcpu_run_expect_memory_fault(&self->vcpu, DATA_GPA, 0);

	mend_page(self->data, self->copy);
	run_expect_doorbell(&self->vcpu, 42);
}

TEST_F(pkvm_memory_fault, write_protected_page)
{
	*self->data = 41;
	protect_page(self->data, PROT_READ);
	vcpu_run_expect_memory_fault(&self->vcpu, DATA_GPA, 0);

	unprotect_page(self->data);
	run_expect_doorbell(&self->vcpu, 42);
}

/*
 * A system call fails to read the page at its user address.  If the kernel reads
 * it at an address of its own, the hypervisor has to give the page back, empty,
 * and does not let the guest have it any more.
 */
TEST_F(pkvm_memory_fault, reclaimed_by_host)
{
	u64 value = -1;
	int fd;

	run_expect_doorbell(&self->vcpu, 1);
	fd = open("/proc/self/mem", O_RDONLY);
	if (pread(fd, &value, sizeof(value), (off_t)self->data) != sizeof(value))
		SKIP(return, "The host cannot reclaim the page: %s", strerror(errno));
	TEST_ASSERT(!value, "The host reads 0x%lx", (unsigned long)value);

	vcpu_run_expect_memory_fault(&self->vcpu, DATA_GPA, 0);
	close(fd);
}

TEST_F(pkvm_memory_fault, capability)
{
	TEST_ASSERT_EQ(vm_check_cap(&self->vm, KVM_CAP_MEMORY_FAULT_INFO), 1);
}

int main(int argc, char **argv)
{
	int kvm_fd = open_kvm_dev_path_or_exit();
	int vm_fd = create_vm(kvm_fd);

	__TEST_REQUIRE(vm_fd >= 0, "No protected VMs");
	kvm_close(vm_fd);
	kvm_close(kvm_fd);

	return test_harness_run(argc, argv);
}
