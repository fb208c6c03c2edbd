/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files and block devices through io_uring.
 *
 * A request takes a slot and is carried out in one or more steps; a step is one command in the
 * kernel:
 *
 *	           short transfer, long vector, zeroes by writing
 *	            +------------------+
 *	            v                  |
 *	waiting -> STEP --> kernel --> STEP DONE --> io->done()
 *
 * Direct I/O wants memory aligned to the device's blocks: a request whose memory is not goes, step
 * by step, through the queue's one bounce buffer. Ordinary guests align; the others wait for each
 * other.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "drivers/drivers.h"
#include "drivers/uring/ring.h"
#include "memory/memory.h"
#include "reactor/reactor.h"

enum {
	SLOTS = 256,
	STEP_SEGMENTS = 32,
	ALIGN_BYTES = 512,
	ZEROES_BYTES = 64 << 10,
	BOUNCE_BYTES = 64 << 10,
};

struct uring_file {
	struct blockdev dev;
	int fd;
	bool direct, is_device;
	uint32_t align_bytes; /* direct: what memory, offsets and lengths are multiples of */
};

struct slot {
	struct uring_command command;
	struct uring_queue *queue;
	struct io *io;
	size_t done_bytes;
	size_t step_bytes; /* of the step in the kernel */
	bool bounced;	   /* goes through queue->bounce */
	bool write_zeroes; /* WRITE_ZEROES by writing zeros */
	bool sync;	   /* the step is the fsync that makes an allocation stable */
	struct list_node bounce_link;
	struct iovec iov[STEP_SEGMENTS];
};

struct uring_queue {
	struct blockdev_queue base;
	struct uring *ring;
	struct uring_file *file;
	int index;		    /* of the registered file */
	struct list free;	    /* of struct slot, by command.link */
	struct list waiting;	    /* of struct io, for a free slot */
	struct list bounce_waiting; /* of struct slot, for the bounce buffer; the first has it */
	char *bounce;
	unsigned busy;
	struct slot slots[SLOTS];
};

static char zeroes[ZEROES_BYTES] __attribute__((aligned(MEMORY_PAGE_BYTES)));

static size_t io_bytes(const struct slot *slot)
{
	return (size_t)slot->io->blocks * slot->queue->base.dev->block_bytes;
}

static bool is_aligned(const struct io *io, size_t bytes, uint32_t align_bytes)
{
	struct iov_cursor at = iov_cursor_at(io, 0);

	while (bytes) {
		size_t length = MIN(bytes, at.iov->iov_len - at.skip);

		if (((uintptr_t)at.iov->iov_base + at.skip) % align_bytes || length % align_bytes)
			return false;
		bytes -= length;
		at = (struct iov_cursor){.iov = at.iov + 1};
	}
	return true;
}

/* The vector of the next step; returns its number of segments and sets step_bytes. */
static unsigned fill_step(struct slot *slot)
{
	size_t left = io_bytes(slot) - slot->done_bytes;
	struct iov_cursor at = {0};
	unsigned segments = 0;

	slot->step_bytes = 0;
	if (slot->bounced) {
		slot->step_bytes = MIN(left, (size_t)BOUNCE_BYTES);
		slot->iov[0] = (struct iovec){slot->queue->bounce, slot->step_bytes};
		return 1;
	}
	if (!slot->write_zeroes)
		at = iov_cursor_at(slot->io, slot->done_bytes);
	while (left && segments < STEP_SEGMENTS) {
		struct iovec segment = {zeroes, MIN(left, sizeof(zeroes))};

		if (!slot->write_zeroes) {
			segment.iov_base = (char *)at.iov->iov_base + at.skip;
			segment.iov_len = MIN(left, at.iov->iov_len - at.skip);
			at = (struct iov_cursor){.iov = at.iov + 1};
		}
		if (segment.iov_len)
			slot->iov[segments++] = segment;
		slot->step_bytes += segment.iov_len;
		left -= segment.iov_len;
	}
	return segments;
}

static void prepare_transfer(struct slot *slot, struct io_uring_sqe *entry)
{
	struct uring_queue *queue = slot->queue;
	const struct io *io = slot->io;
	uint64_t offset = io->block * queue->base.dev->block_bytes + slot->done_bytes;
	unsigned segments = fill_step(slot);
	struct iovec *first = slot->iov;
	bool fixed = segments == 1 && first->iov_len <= 1u << 30 &&
		     uring_in_buffer(queue->ring, first->iov_base, first->iov_len);

	if (io->kind == IO_READ && fixed)
		io_uring_prep_read_fixed(
			entry, queue->index, first->iov_base, (unsigned)first->iov_len, offset, 0);
	else if (io->kind == IO_READ)
		io_uring_prep_readv(entry, queue->index, first, segments, offset);
	else if (fixed)
		io_uring_prep_write_fixed(
			entry, queue->index, first->iov_base, (unsigned)first->iov_len, offset, 0);
	else
		io_uring_prep_writev(entry, queue->index, first, segments, offset);
	if (io->kind != IO_READ && io->fua)
		entry->rw_flags = RWF_DSYNC;
}

static void prepare_allocate(struct slot *slot, struct io_uring_sqe *entry)
{
	struct uring_queue *queue = slot->queue;
	const struct io *io = slot->io;
	int mode = FALLOC_FL_KEEP_SIZE;

	if (io->kind == IO_WRITE_ZEROES && !io->may_unmap)
		mode |= FALLOC_FL_ZERO_RANGE;
	else
		mode |= FALLOC_FL_PUNCH_HOLE;
	io_uring_prep_fallocate(entry, queue->index, mode,
		(off_t)(io->block * queue->base.dev->block_bytes), (off_t)io_bytes(slot));
}

static void prepare(struct uring_command *command, struct io_uring_sqe *entry)
{
	struct slot *slot = container_of(command, struct slot, command);

	if (slot->io->kind == IO_FLUSH || slot->sync)
		io_uring_prep_fsync(entry, slot->queue->index, IORING_FSYNC_DATASYNC);
	else if (io_carries_data(slot->io) || slot->write_zeroes)
		prepare_transfer(slot, entry);
	else
		prepare_allocate(slot, entry);
	entry->flags |= IOSQE_FIXED_FILE;
}

static void step(struct slot *slot)
{
	if (slot->bounced && slot->io->kind == IO_WRITE) {
		struct iov_cursor cursor = iov_cursor_at(slot->io, slot->done_bytes);

		iov_copy_from(&cursor, slot->queue->bounce,
			MIN(io_bytes(slot) - slot->done_bytes, (size_t)BOUNCE_BYTES));
	}
	uring_queue_command(slot->queue->ring, &slot->command);
}

static void start(struct uring_queue *queue, struct io *io)
{
	struct list_node *node = list_pop_front(&queue->free);
	struct slot *slot =
		container_of(container_of(node, struct uring_command, link), struct slot, command);

	slot->io = io;
	slot->done_bytes = 0;
	slot->write_zeroes = slot->sync = false;
	slot->bounced = queue->file->direct && io_carries_data(io) &&
			!is_aligned(io, io_bytes(slot), queue->file->align_bytes);
	queue->busy++;
	if (slot->bounced) {
		bool first = list_empty(&queue->bounce_waiting);

		list_push_back(&queue->bounce_waiting, &slot->bounce_link);
		if (!first)
			return;
	}
	step(slot);
}

static void finish(struct slot *slot, int status)
{
	struct uring_queue *queue = slot->queue;
	struct io *io = slot->io;
	struct list_node *next;

	if (slot->bounced) {
		list_remove(&slot->bounce_link);
		next = list_first(&queue->bounce_waiting);
		if (next)
			step(container_of(next, struct slot, bounce_link));
	}
	list_push_front(&queue->free, &slot->command.link);
	queue->busy--;
	next = list_pop_front(&queue->waiting);
	if (next)
		start(queue, container_of(next, struct io, link));
	io_complete(io, status);
}

/* A transfer moved that many bytes. */
static void transferred(struct slot *slot, size_t bytes)
{
	if (!bytes) { /* nothing within the device's size: it has shrunk under us */
		finish(slot, -EIO);
		return;
	}
	if (slot->bounced && slot->io->kind == IO_READ) {
		struct iov_cursor cursor = iov_cursor_at(slot->io, slot->done_bytes);

		iov_copy_to(&cursor, slot->queue->bounce, bytes);
	}
	slot->done_bytes += bytes;
	if (slot->done_bytes < io_bytes(slot))
		step(slot);
	else
		finish(slot, 0);
}

static void step_done(struct uring_command *command, int result)
{
	struct slot *slot = container_of(command, struct slot, command);
	struct io *io = slot->io;
	bool transfer = io_carries_data(io) || slot->write_zeroes;

	if (result == -EINTR || (result == -EAGAIN && transfer)) {
		step(slot);
	} else if (result == -EOPNOTSUPP && io->kind == IO_DISCARD &&
		   !slot->queue->base.dev->discard_zeroes) {
		finish(slot, 0); /* advisory */
	} else if (result == -EOPNOTSUPP && io_changes_data(io) && !transfer) {
		slot->write_zeroes = true;
		step(slot);
	} else if (result >= 0 && transfer) {
		transferred(slot, (size_t)result);
	} else if (result >= 0 && io->fua && io->kind == IO_WRITE_ZEROES && !slot->sync) {
		slot->sync = true;
		step(slot);
	} else {
		finish(slot, MIN(result, 0));
	}
}

static void uring_submit(struct blockdev_queue *base, struct io *io)
{
	struct uring_queue *queue = container_of(base, struct uring_queue, base);

	if (!blockdev_covers(base->dev, io))
		io_complete(io, -EINVAL);
	else if (list_empty(&queue->free))
		list_push_back(&queue->waiting, &io->link);
	else
		start(queue, io);
}

static int uring_open_queue(struct blockdev *dev, struct reactor *reactor,
	struct blockdev_queue **base, struct fail *fail)
{
	struct uring_file *file = container_of(dev, struct uring_file, dev);
	struct uring_queue *queue = calloc(1, sizeof(*queue));
	int error;

	if (!queue)
		return fail_set(fail, ENOMEM, "no memory for a queue");
	error = uring_get(&queue->ring, reactor, fail);
	if (error)
		goto free_queue;
	queue->index = uring_add_file(queue->ring, file->fd);
	if (queue->index < 0) {
		error = fail_set(fail, -queue->index, "cannot register %s with io_uring: %s",
			dev->name, strerror(-queue->index));
		goto put_ring;
	}
	queue->bounce = aligned_alloc(MEMORY_PAGE_BYTES, BOUNCE_BYTES);
	if (!queue->bounce) {
		error = fail_set(fail, ENOMEM, "no memory for a bounce buffer");
		goto remove_file;
	}
	queue->file = file;
	list_init(&queue->free);
	list_init(&queue->waiting);
	list_init(&queue->bounce_waiting);
	for (unsigned i = 0; i < SLOTS; i++) {
		struct slot *slot = &queue->slots[i];

		slot->queue = queue;
		slot->command.prepare = prepare;
		slot->command.done = step_done;
		list_push_back(&queue->free, &slot->command.link);
	}
	*base = &queue->base;
	return 0;

remove_file:
	uring_remove_file(queue->ring, queue->index);
put_ring:
	uring_put(queue->ring);
free_queue:
	free(queue);
	return error;
}

static void uring_close_queue(struct blockdev_queue *base)
{
	struct uring_queue *queue = container_of(base, struct uring_queue, base);

	assert(!queue->busy && list_empty(&queue->waiting));
	uring_remove_file(queue->ring, queue->index);
	uring_put(queue->ring);
	free(queue->bounce);
	free(queue);
}

static void uring_destroy(struct blockdev *dev)
{
	struct uring_file *file = container_of(dev, struct uring_file, dev);

	close(file->fd);
	free(file);
}

static const struct blockdev_ops uring_ops = {
	.driver = "uring",
	.open_queue = uring_open_queue,
	.close_queue = uring_close_queue,
	.submit = uring_submit,
	.destroy = uring_destroy,
};

/* Opens path for exclusive use: O_EXCL keeps a mounted or otherwise held block device away, an OFD
 * lock a second daemon from a file. */
static int open_exclusive(const char *path, struct stat *status, char *reason, struct fail *fail)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int flags = O_RDWR | O_CLOEXEC, fd;

	reason[0] = '\0';
	if (stat(path, status))
		return fail_set(fail, errno, "cannot use %s: %s", path, strerror(errno));
	if (!S_ISREG(status->st_mode) && !S_ISBLK(status->st_mode))
		return fail_set(fail, EINVAL, "%s is neither a file nor a block device", path);
	if (S_ISBLK(status->st_mode))
		flags |= O_EXCL;
	fd = open(path, flags | O_DIRECT);
	if (fd < 0 && errno == EINVAL) {
		snprintf(reason, FAIL_TEXT_BYTES,
			"the file system of %s refuses O_DIRECT: going through the page cache",
			path);
		fd = open(path, flags);
	}
	if (fd < 0)
		return fail_set(fail, errno,
			errno == EBUSY ? "%s is in use by the system (mounted, swap, or part of "
					 "LVM, md or "
					 "another array): free it first"
				       : "cannot open %s: %m",
			path);
	if (fcntl(fd, F_OFD_SETLK, &lock)) {
		int error = errno == EAGAIN || errno == EACCES ? EBUSY : errno;

		close(fd);
		return fail_set(fail, error,
			"%s is locked by another process, perhaps another braidd", path);
	}
	return fd;
}

/* What direct I/O on the file or device asks for; the kernel answers for files since 6.1. */
static uint32_t direct_alignment(const struct uring_file *file, uint32_t logical)
{
	uint32_t align_bytes = MAX(logical, (uint32_t)ALIGN_BYTES);
#ifdef STATX_DIOALIGN
	struct statx status;

	if (!statx(file->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) &&
		status.stx_mask & STATX_DIOALIGN) {
		align_bytes = MAX(align_bytes, status.stx_dio_mem_align);
		align_bytes = MAX(align_bytes, status.stx_dio_offset_align);
	}
#endif
	return align_bytes;
}

/* Size, block size and direct-I/O ability of an opened file or device. */
static int examine(struct uring_file *file, const struct stat *status, uint32_t block_bytes,
	char *reason, struct fail *fail)
{
	const char *path = file->dev.name;
	uint64_t bytes = (uint64_t)status->st_size;
	int logical = ALIGN_BYTES;

	file->is_device = S_ISBLK(status->st_mode);
	file->direct = !reason[0];
	if (file->is_device &&
		(ioctl(file->fd, BLKGETSIZE64, &bytes) || ioctl(file->fd, BLKSSZGET, &logical)))
		return fail_set(
			fail, errno, "cannot ask %s for its size: %s", path, strerror(errno));
	file->align_bytes = direct_alignment(file, (uint32_t)logical);
	if (file->align_bytes > block_bytes)
		return fail_set(fail, EINVAL,
			"%s has blocks of %d bytes and cannot serve %u-byte blocks: use "
			"--block-size %d",
			path, (int)file->align_bytes, block_bytes, (int)file->align_bytes);
	if (bytes < block_bytes)
		return fail_set(fail, EINVAL,
			"%s is empty: give it a size first, for example with "
			"truncate -s 10G %s",
			path, path);
	file->dev.ops = &uring_ops;
	file->dev.block_bytes = block_bytes;
	file->dev.sector_bytes = file->is_device ? (uint32_t)logical : 512;
	file->dev.blocks = bytes / block_bytes;
	file->dev.volatile_cache = true;
	file->dev.discard_zeroes = !file->is_device;
	return 0;
}

int uring_create(struct blockdev **dev, const char *path, uint32_t block_bytes, char *reason,
	struct fail *fail)
{
	struct uring_file *file = calloc(1, sizeof(*file));
	struct stat status;
	int error;

	if (!file)
		return fail_set(fail, ENOMEM, "no memory for drive %s", path);
	if (strlen(path) >= sizeof(file->dev.name)) {
		error = fail_set(fail, ENAMETOOLONG, "the path %.40s... is longer than %zu bytes",
			path, sizeof(file->dev.name) - 1);
		goto free_file;
	}
	snprintf(file->dev.name, sizeof(file->dev.name), "%s", path);
	file->fd = open_exclusive(path, &status, reason, fail);
	if (file->fd < 0) {
		error = file->fd;
		goto free_file;
	}
	error = examine(file, &status, block_bytes, reason, fail);
	if (error)
		goto close_file;
	*dev = &file->dev;
	return 0;

close_file:
	close(file->fd);
free_file:
	free(file);
	return error;
}
