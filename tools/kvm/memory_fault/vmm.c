// SPDX-License-Identifier: GPL-2.0-only
/* What every VMM does before its first KVM_RUN, and nothing else. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm.h"

static void open_kvm(struct vm *vm)
{
	int version;

	vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO))
		fatal(STATUS_CANNOT,
		      "/dev/kvm: %s: this machine has no virtualization extensions, or KVM is not loaded",
		      strerror(errno));
	if (vm->kvm < 0)
		fatal(STATUS_CANNOT, "/dev/kvm: %s", strerror(errno));

	version = ioctl(vm->kvm, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION)
		fatal(STATUS_CANNOT, "/dev/kvm: API version %d, not %d",
		      version, KVM_API_VERSION);
}

/*
 * Whether the guest reads, writes or executes is reported to VMMs that ask for
 * it alone: those that were written before take a flag that is new for an error.
 */
static void ask_for_access_flags(struct vm *vm)
{
#ifdef KVM_CAP_MEMORY_FAULT_FLAGS
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MEMORY_FAULT_FLAGS };
	int flags = ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_MEMORY_FAULT_FLAGS);

	if (flags <= 0)
		return;
	vm->access_flags = flags & ACCESS_FLAGS;
	cap.args[0] = vm->access_flags;
	if (ioctl(vm->fd, KVM_ENABLE_CAP, &cap))
		fatal(STATUS_CANNOT, "KVM_CAP_MEMORY_FAULT_FLAGS: %s", strerror(errno));
#else
	(void)vm;
#endif
}

void vm_create(struct vm *vm, size_t size)
{
	struct kvm_userspace_memory_region slot = {};

	*vm = (struct vm){ .page = sysconf(_SC_PAGESIZE) };
	vm->size = page_align(vm, size);
	open_kvm(vm);

	vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, 0);
	if (vm->fd < 0)
		fatal(STATUS_CANNOT, "KVM_CREATE_VM: %s", strerror(errno));
	arch_vm_init(vm);
	ask_for_access_flags(vm);

	vm->memfd = memfd_create("guest", MFD_CLOEXEC);
	if (vm->memfd < 0 || ftruncate(vm->memfd, vm->size))
		fatal(STATUS_CANNOT, "%zu bytes of guest memory: %s", vm->size,
		      strerror(errno));
	vm->guest = mmap(NULL, vm->size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 vm->memfd, 0);
	vm->window = mmap(NULL, vm->size, PROT_READ | PROT_WRITE, MAP_SHARED,
			  vm->memfd, 0);
	if (vm->guest == MAP_FAILED || vm->window == MAP_FAILED)
		fatal(STATUS_CANNOT, "cannot map the guest's memory: %s",
		      strerror(errno));

	slot.guest_phys_addr = MEM_BASE;
	slot.memory_size = vm->size;
	slot.userspace_addr = (uintptr_t)vm->guest;
	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot))
		fatal(STATUS_CANNOT, "KVM_SET_USER_MEMORY_REGION: %s",
		      strerror(errno));
}

void vm_destroy(struct vm *vm)
{
	close(vm->fd);
	close(vm->kvm);
	munmap(vm->guest, vm->size);
	munmap(vm->window, vm->size);
	close(vm->memfd);
}

void vcpu_create(struct vm *vm, struct vcpu *vcpu, int id)
{
	*vcpu = (struct vcpu){ .vm = vm, .id = id };
	vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, id);
	if (vcpu->fd < 0)
		fatal(STATUS_CANNOT, "KVM_CREATE_VCPU %d: %s", id, strerror(errno));

	vcpu->run_size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	vcpu->run = mmap(NULL, vcpu->run_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED)
		fatal(STATUS_CANNOT, "cannot map kvm_run: %s", strerror(errno));
	arch_vcpu_init(vcpu);
}

void vcpu_destroy(struct vcpu *vcpu)
{
	munmap(vcpu->run, vcpu->run_size);
	close(vcpu->fd);
}

/*
 * The capability promises less than its name: x86 has had it since 6.8, but
 * only for private memory.  Without it nothing is promised at all.
 */
bool vm_tells_where(const struct vm *vm)
{
	return ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_MEMORY_FAULT_INFO) > 0;
}

const char *exit_reason_name(uint32_t reason, char buf[static 24])
{
	switch (reason) {
	case KVM_EXIT_UNKNOWN:
		return "KVM_EXIT_UNKNOWN";
	case KVM_EXIT_MMIO:
		return "KVM_EXIT_MMIO";
	case KVM_EXIT_SHUTDOWN:
		return "KVM_EXIT_SHUTDOWN";
	case KVM_EXIT_FAIL_ENTRY:
		return "KVM_EXIT_FAIL_ENTRY";
	case KVM_EXIT_INTR:
		return "KVM_EXIT_INTR";
	case KVM_EXIT_INTERNAL_ERROR:
		return "KVM_EXIT_INTERNAL_ERROR";
	case KVM_EXIT_MEMORY_FAULT:
		return "KVM_EXIT_MEMORY_FAULT";
	}
	snprintf(buf, 24, "exit reason %u", reason);
	return buf;
}

const char *flags_name(uint64_t flags, char buf[static 24])
{
	static const struct {
		uint64_t flag;
		const char *name;
	} names[] = {
		{ KVM_MEMORY_EXIT_FLAG_READ, "READ" },
		{ KVM_MEMORY_EXIT_FLAG_WRITE, "WRITE" },
		{ KVM_MEMORY_EXIT_FLAG_EXEC, "EXEC" },
		{ KVM_MEMORY_EXIT_FLAG_PRIVATE, "PRIVATE" },
		{ 0, "0" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		if (flags == names[i].flag)
			return names[i].name;
	}
	snprintf(buf, 24, "%#llx", (unsigned long long)flags);
	return buf;
}
