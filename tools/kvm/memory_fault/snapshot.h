/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A snapshot of a guest: its memory, and a checksum for each 4 KiB of it.
 *
 *   header | checksums | padding to 4 KiB | memory
 */
#ifndef MEMORY_FAULT_SNAPSHOT_H
#define MEMORY_FAULT_SNAPSHOT_H

#include <stdint.h>
#include <stddef.h>
#include <sys/types.h>

#define SNAPSHOT_UNIT		4096
/* The largest page of a host: every page of the guest is whole in the file. */
#define SNAPSHOT_ALIGN		0x10000

struct snapshot {
	const char *path;
	int fd;
	size_t size;		/* of the guest's memory */
	off_t memory;		/* where it is in the file */
	uint64_t *sums;
};

/*
 * Writes the snapshot of a guest whose code, guest_walk, is at its start; the
 * rest, from SNAPSHOT_ALIGN on, is for the guest to visit.
 */
void snapshot_write(const char *path, size_t size);
void snapshot_open(struct snapshot *snapshot, const char *path);
void snapshot_close(struct snapshot *snapshot);

/*
 * Reads whole units, and never hands out wrong ones for right.  Returns NULL,
 * or what is wrong; the text is the caller's thread's, up to its next call.
 */
const char *snapshot_read(const struct snapshot *snapshot, size_t offset,
			  void *to, size_t size);

#endif /* MEMORY_FAULT_SNAPSHOT_H */
