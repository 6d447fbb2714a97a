// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot.h"
#include "vmm.h"

#ifdef __x86_64__
#define MACHINE		EM_X86_64
#else
#define MACHINE		EM_AARCH64
#endif

static const char magic[8] = "KVMSNAP1";

struct header {
	char magic[sizeof(magic)];
	uint64_t machine;
	uint64_t size;
	uint64_t sum;		/* of the checksums */
};

/* FNV-1a, eight bytes at a time: to find damage, not to resist an attacker. */
static uint64_t checksum(const void *data, size_t size)
{
	const uint64_t *word = data;
	uint64_t sum = 0xcbf29ce484222325;
	size_t i;

	for (i = 0; i < size / sizeof(*word); i++)
		sum = (sum ^ word[i]) * 0x100000001b3;
	return sum;
}

static size_t sums_size(size_t size)
{
	return size / SNAPSHOT_UNIT * sizeof(uint64_t);
}

static off_t memory_start(size_t size)
{
	size_t end = sizeof(struct header) + sums_size(size);

	return (end + SNAPSHOT_UNIT - 1) / SNAPSHOT_UNIT * SNAPSHOT_UNIT;
}

/* What the guest expects: the first word of each unit is its address. */
static void make_unit(uint32_t *unit, size_t offset)
{
	uint32_t noise = offset + 1;
	size_t i;

	if (offset == 0) {
		memcpy(unit, guest_start, guest_end - guest_start);
		return;
	}
	for (i = 0; i < SNAPSHOT_UNIT / sizeof(*unit); i++) {
		noise = noise * 1664525 + 1013904223;
		unit[i] = noise;
	}
	unit[0] = MEM_BASE + offset;
}

void snapshot_write(const char *path, size_t size)
{
	struct header header = { .machine = MACHINE, .size = size };
	uint64_t *sums = calloc(1, sums_size(size));
	uint32_t unit[SNAPSHOT_UNIT / sizeof(uint32_t)] = {};
	FILE *file = fopen(path, "wb");
	size_t offset;

	if (!sums || !file)
		fatal(STATUS_CANNOT, "%s: %s", path, strerror(errno));

	fseeko(file, memory_start(size), SEEK_SET);
	for (offset = 0; offset < size; offset += SNAPSHOT_UNIT) {
		make_unit(unit, offset);
		sums[offset / SNAPSHOT_UNIT] = checksum(unit, sizeof(unit));
		fwrite(unit, sizeof(unit), 1, file);
	}

	memcpy(header.magic, magic, sizeof(magic));
	header.sum = checksum(sums, sums_size(size));
	rewind(file);
	fwrite(&header, sizeof(header), 1, file);
	fwrite(sums, sums_size(size), 1, file);
	if (ferror(file) | fclose(file))
		fatal(STATUS_CANNOT, "%s: %s", path, strerror(errno));
	free(sums);
}

/* Returns NULL when all of @to was read. */
static const char *read_all(int fd, void *to, size_t size, off_t from)
{
	ssize_t got;

	while (size) {
		got = pread(fd, to, size, from);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return strerrordesc_np(errno);
		if (got == 0)
			return "truncated: the file ends too early";
		to = (char *)to + got;
		from += got;
		size -= got;
	}
	return NULL;
}

static const char *check_header(const struct header *header)
{
	if (memcmp(header->magic, magic, sizeof(magic)))
		return "not a snapshot";
	if (header->machine != MACHINE)
		return "a snapshot of another architecture";
	if (header->size < 2 * SNAPSHOT_ALIGN || header->size > MEM_MAX ||
	    header->size % SNAPSHOT_ALIGN)
		return "corrupt: the size of the memory is impossible";
	return NULL;
}

static const char *open_checked(struct snapshot *snapshot)
{
	struct header header;
	const char *wrong;
	struct stat stat;

	snapshot->fd = open(snapshot->path, O_RDONLY | O_CLOEXEC);
	if (snapshot->fd < 0 || fstat(snapshot->fd, &stat))
		return strerrordesc_np(errno);
	if (!S_ISREG(stat.st_mode))
		return "not a file";

	wrong = read_all(snapshot->fd, &header, sizeof(header), 0);
	if (!wrong)
		wrong = check_header(&header);
	if (wrong)
		return wrong;

	snapshot->size = header.size;
	snapshot->memory = memory_start(header.size);
	if (stat.st_size < snapshot->memory + (off_t)header.size)
		return "truncated: the file is shorter than its header says";

	snapshot->sums = malloc(sums_size(header.size));
	if (!snapshot->sums)
		return strerrordesc_np(errno);
	wrong = read_all(snapshot->fd, snapshot->sums, sums_size(header.size),
			 sizeof(header));
	if (!wrong && checksum(snapshot->sums, sums_size(header.size)) != header.sum)
		wrong = "corrupt: the list of checksums is damaged";
	return wrong;
}

void snapshot_open(struct snapshot *snapshot, const char *path)
{
	const char *wrong;

	*snapshot = (struct snapshot){ .path = path };
	wrong = open_checked(snapshot);
	if (wrong)
		fatal(STATUS_BAD, "%s: %s", path, wrong);
}

void snapshot_close(struct snapshot *snapshot)
{
	close(snapshot->fd);
	free(snapshot->sums);
}

const char *snapshot_read(const struct snapshot *snapshot, size_t offset,
			  void *to, size_t size)
{
	static __thread char text[200];
	const char *wrong;
	size_t i;

	wrong = read_all(snapshot->fd, to, size, snapshot->memory + offset);
	for (i = 0; !wrong && i < size; i += SNAPSHOT_UNIT) {
		if (checksum((char *)to + i, SNAPSHOT_UNIT) !=
		    snapshot->sums[(offset + i) / SNAPSHOT_UNIT])
			wrong = "corrupt: the content does not match its checksum";
	}
	if (!wrong)
		return NULL;
	snprintf(text, sizeof(text), "%s: %s", snapshot->path, wrong);
	return text;
}
