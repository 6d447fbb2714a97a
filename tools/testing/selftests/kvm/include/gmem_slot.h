/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A memslot of one page of guest_memfd, which is all that the guest has there.
 */
#ifndef SELFTEST_KVM_GMEM_SLOT_H
#define SELFTEST_KVM_GMEM_SLOT_H

#include <sys/mman.h>

#include "kvm_syscalls.h"
#include "kvm_util.h"

#define GMEM_SLOT_FLAGS	(GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED)

struct gmem_slot {
	struct kvm_vm *vm;
	u32 slot;
	gpa_t gpa;
	int fd;
	void *hva;
};

static inline bool has_gmem_mmap(void)
{
	return (kvm_check_cap(KVM_CAP_GUEST_MEMFD_FLAGS) & GMEM_SLOT_FLAGS) == GMEM_SLOT_FLAGS;
}

static inline void gmem_slot_add(struct gmem_slot *gmem)
{
	size_t size = getpagesize();

	gmem->fd = vm_create_guest_memfd(gmem->vm, size, GMEM_SLOT_FLAGS);
	gmem->hva = kvm_mmap(size, PROT_READ | PROT_WRITE, MAP_SHARED, gmem->fd);
	vm_set_user_memory_region2(gmem->vm, gmem->slot, KVM_MEM_GUEST_MEMFD,
				   gmem->gpa, size, gmem->hva, gmem->fd, 0);
}

/* Have guest_memfd in place of the memory of @slot. */
static inline void gmem_slot_replace(struct gmem_slot *gmem, struct kvm_vm *vm,
				     u32 slot, gpa_t gpa)
{
	vm_mem_region_delete(vm, slot);
	*gmem = (struct gmem_slot) {
		.vm = vm,
		.slot = slot,
		.gpa = gpa,
	};
	gmem_slot_add(gmem);
}

/* The file goes away with its last user, and every mapping is one. */
static inline void gmem_slot_close(struct gmem_slot *gmem)
{
	kvm_munmap(gmem->hva, getpagesize());
	kvm_close(gmem->fd);
}

static inline void gmem_slot_delete(struct gmem_slot *gmem)
{
	vm_set_user_memory_region2(gmem->vm, gmem->slot, KVM_MEM_GUEST_MEMFD,
				   gmem->gpa, 0, gmem->hva, -1, 0);
}

/* Get rid of what the page holds, poison included. */
static inline void gmem_slot_punch_hole(struct gmem_slot *gmem)
{
	kvm_fallocate(gmem->fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0,
		      getpagesize());
}

#endif /* SELFTEST_KVM_GMEM_SLOT_H */
