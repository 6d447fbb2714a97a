/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A memslot of guest_memfd, which is all that the guest has there.
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
	size_t size;
	u64 flags;
	int fd;
	void *hva;
};

static inline bool has_gmem_mmap(void)
{
	return (kvm_check_cap(KVM_CAP_GUEST_MEMFD_FLAGS) & GMEM_SLOT_FLAGS) == GMEM_SLOT_FLAGS;
}

static inline void gmem_slot_bind(struct gmem_slot *gmem)
{
	vm_set_user_memory_region2(gmem->vm, gmem->slot, KVM_MEM_GUEST_MEMFD,
				   gmem->gpa, gmem->size, gmem->hva, gmem->fd, 0);
}

static inline void gmem_slot_add(struct gmem_slot *gmem)
{
	bool mmap_gmem = gmem->flags & GUEST_MEMFD_FLAG_MMAP;

	gmem->fd = vm_create_guest_memfd(gmem->vm, gmem->size, gmem->flags);
	gmem->hva = kvm_mmap(gmem->size, PROT_READ | PROT_WRITE,
			     mmap_gmem ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS,
			     mmap_gmem ? gmem->fd : -1);
	gmem_slot_bind(gmem);
}

/* Have a page of guest_memfd in place of the memory of @slot. */
static inline void gmem_slot_replace(struct gmem_slot *gmem, struct kvm_vm *vm,
				     u32 slot, gpa_t gpa)
{
	vm_mem_region_delete(vm, slot);
	*gmem = (struct gmem_slot) {
		.vm = vm,
		.slot = slot,
		.gpa = gpa,
		.size = getpagesize(),
		.flags = GMEM_SLOT_FLAGS,
	};
	gmem_slot_add(gmem);
}

/* The file goes away with its last user, and every mapping is one. */
static inline void gmem_slot_close(struct gmem_slot *gmem)
{
	kvm_munmap(gmem->hva, gmem->size);
	kvm_close(gmem->fd);
}

static inline void gmem_slot_delete(struct gmem_slot *gmem)
{
	vm_set_user_memory_region2(gmem->vm, gmem->slot, KVM_MEM_GUEST_MEMFD,
				   gmem->gpa, 0, gmem->hva, -1, 0);
}

/* Get rid of what the file holds, poison included. */
static inline void gmem_slot_punch_hole(struct gmem_slot *gmem)
{
	kvm_fallocate(gmem->fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0,
		      gmem->size);
}

#endif /* SELFTEST_KVM_GMEM_SLOT_H */
