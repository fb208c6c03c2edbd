/* SPDX-License-Identifier: Apache-2.0 */
/* A drive in memory. Every request is a copy, done at once inside submit. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"
#include "drivers/drivers.h"

enum { HUGE_BYTES = 2 << 20 };

struct ram {
	struct blockdev dev;
	char *memory;
	size_t mapped_bytes;
	bool huge; /* reserved huge pages: giving one back would give up the reservation */
};

static int ram_open_queue(struct blockdev *dev, struct reactor *reactor,
	struct blockdev_queue **queue, struct fail *fail)
{
	(void)dev, (void)reactor;
	*queue = calloc(1, sizeof(**queue));
	return *queue ? 0 : fail_set(fail, ENOMEM, "no memory for a queue");
}

static void ram_close_queue(struct blockdev_queue *queue)
{
	free(queue);
}

/* Large ranges are given back to the system, which reads as zeros too. */
static void zero(const struct ram *ram, char *at, size_t bytes)
{
	char *first = (char *)align_up((uintptr_t)at, HUGE_BYTES);
	char *end = (char *)((uintptr_t)(at + bytes) & ~(uintptr_t)(HUGE_BYTES - 1));

	if (!ram->huge && end > first && !madvise(first, (size_t)(end - first), MADV_REMOVE)) {
		memset(at, 0, (size_t)(first - at));
		memset(end, 0, (size_t)(at + bytes - end));
	} else {
		memset(at, 0, bytes);
	}
}

static void ram_submit(struct blockdev_queue *queue, struct io *io)
{
	struct ram *ram = container_of(queue->dev, struct ram, dev);
	size_t bytes = (size_t)io->blocks * ram->dev.block_bytes;
	struct iov_cursor cursor;
	char *at;

	if (!blockdev_covers(&ram->dev, io)) {
		io_complete(io, -EINVAL);
		return;
	}
	at = ram->memory + io->block * ram->dev.block_bytes;
	switch (io->kind) {
	case IO_READ:
		cursor = iov_cursor_at(io, 0);
		iov_copy_to(&cursor, at, bytes);
		break;
	case IO_WRITE:
		cursor = iov_cursor_at(io, 0);
		iov_copy_from(&cursor, at, bytes);
		break;
	case IO_DISCARD:
	case IO_WRITE_ZEROES:
		zero(ram, at, bytes);
		break;
	case IO_FLUSH:
		break;
	}
	io_complete(io, 0);
}

static void ram_destroy(struct blockdev *dev)
{
	struct ram *ram = container_of(dev, struct ram, dev);

	munmap(ram->memory, ram->mapped_bytes);
	free(ram);
}

static const struct blockdev_ops ram_ops = {
	.driver = "ram",
	.open_queue = ram_open_queue,
	.close_queue = ram_close_queue,
	.submit = ram_submit,
	.destroy = ram_destroy,
};

/* A shared mapping of a memfd, so that the memory can be told apart in /proc and given back in
 * part. Huge pages are taken only when the whole size is reserved: a later shortage would be a
 * SIGBUS. */
static void *map_memfd(const char *name, size_t bytes, unsigned flags)
{
	int fd = memfd_create(name, MFD_CLOEXEC | flags);
	void *memory = MAP_FAILED;

	if (fd < 0)
		return MAP_FAILED;
	if (!ftruncate(fd, (off_t)bytes))
		memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return memory;
}

int ram_create(struct blockdev **dev, const char *name, uint64_t bytes, uint32_t block_bytes,
	struct fail *fail)
{
	struct ram *ram = calloc(1, sizeof(*ram));

	if (!ram)
		return fail_set(fail, ENOMEM, "no memory for drive %s", name);
	ram->dev = (struct blockdev){
		.ops = &ram_ops,
		.block_bytes = block_bytes,
		.blocks = bytes / block_bytes,
		.discard_zeroes = true,
	};
	snprintf(ram->dev.name, sizeof(ram->dev.name), "%s", name);
	ram->mapped_bytes = align_up(MAX(bytes, (uint64_t)1), HUGE_BYTES);
	ram->memory = map_memfd("braid-ram", ram->mapped_bytes, MFD_HUGETLB);
	ram->huge = ram->memory != MAP_FAILED;
	if (!ram->huge) {
		ram->memory = map_memfd("braid-ram", ram->mapped_bytes, 0);
		if (ram->memory != MAP_FAILED)
			madvise(ram->memory, ram->mapped_bytes, MADV_HUGEPAGE);
	}
	if (ram->memory == MAP_FAILED) {
		int error =
			fail_set(fail, errno, "cannot map %llu bytes of memory for drive %s: %s",
				(unsigned long long)bytes, name, strerror(errno));

		free(ram);
		return error;
	}
	madvise(ram->memory, ram->mapped_bytes, MADV_DONTDUMP);
	*dev = &ram->dev;
	return 0;
}
