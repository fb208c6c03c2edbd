/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a chain to an io and back. VIRTIO 1.2, section 5.2.6.
 *
 *	readable: | header 16 | data (OUT), segments (DISCARD, WRITE_ZEROES) |
 *	writable: | data (IN), id (GET_ID) | status 1 |
 *
 * Where one part ends and the next begins has nothing to do with descriptors (2.7.4.1). The header
 * and the segments are copied once, and only the copies are looked at.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "vhost/narrow.h"
#include "vhost/queue.h"

enum { HEADER_BYTES = sizeof(struct virtio_blk_header) };

static enum virtio_blk_status status_of(int error)
{
	if (!error)
		return VIRTIO_BLK_S_OK;
	return error == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
}

static void io_done(struct io *io)
{
	struct queue_request *request = container_of(io, struct queue_request, io);

	if (io->status == IO_OFFLINE && queue_hold(request))
		return;
	/* What a failed read left in the guest's memory is not data. */
	if (io->status)
		request->written = 0;
	queue_complete(request, status_of(io->status));
}

/* Whether a write must be stable when it completes. 5.2.6.2: FLUSH was not accepted, or the cache
 * was set to writethrough. */
static bool is_writethrough(const struct queue_device *device)
{
	return !(device->features & VIRTIO_BLK_F_FLUSH) ||
	       !atomic_load_explicit(&device->writeback, memory_order_relaxed);
}

/* The part of iov[from..] that begins `skip` bytes in. */
static void set_data(struct io *io, const struct iovec *iov, unsigned iovs, uint32_t skip)
{
	struct iov_cursor start;

	io->iov = iov;
	io->iov_skip = 0;
	start = iov_cursor_at(io, skip);
	io->iov = start.iov;
	io->iov_skip = (uint32_t)start.skip;
	io->iovs = iovs - (uint32_t)(start.iov - iov);
}

static bool in_range(const struct queue_device *device, uint64_t sector, uint64_t sectors)
{
	uint64_t capacity = blockdev_bytes(device->dev) / VIRTIO_BLK_SECTOR_BYTES;

	return sector <= capacity && sectors <= capacity - sector;
}

/* Submits io for sectors: to the volume, or block by block when they are not whole blocks. */
static void submit_sectors(struct queue_request *request, uint64_t sector, uint32_t sectors,
	void (*done)(struct io *io))
{
	struct queue *queue = request->queue;
	uint32_t block_sectors = queue->device->dev->block_bytes / VIRTIO_BLK_SECTOR_BYTES;

	request->io.done = done;
	if (sector % block_sectors || sectors % block_sectors) {
		narrow_submit(
			queue->device->narrow, &request->narrow, &request->io, sector, sectors);
		return;
	}
	request->io.block = sector / block_sectors;
	request->io.blocks = sectors / block_sectors;
	io_submit(queue->blocks, &request->io);
}

static void transfer(struct queue_request *request, enum io_kind kind, uint64_t sector)
{
	const struct queue_device *device = request->queue->device;
	struct virtq_chain *chain = &request->chain;
	uint32_t out_bytes = chain->readable_bytes - HEADER_BYTES;
	uint32_t in_bytes = chain->writable_bytes - 1;
	uint32_t bytes = kind == IO_READ ? in_bytes : out_bytes;
	uint32_t stray = kind == IO_READ ? out_bytes : in_bytes;

	if (bytes % VIRTIO_BLK_SECTOR_BYTES || stray || bytes > QUEUE_TRANSFER_BYTES ||
		!in_range(device, sector, bytes / VIRTIO_BLK_SECTOR_BYTES) ||
		(kind == IO_WRITE && device->read_only)) {
		queue_complete(request, VIRTIO_BLK_S_IOERR);
		return;
	}
	if (!bytes) {
		queue_complete(request, VIRTIO_BLK_S_OK);
		return;
	}
	request->io.kind = kind;
	request->io.fua = kind == IO_WRITE && is_writethrough(device);
	if (kind == IO_READ) {
		set_data(&request->io, &chain->iov[chain->readable], chain->writable, 0);
		request->written = bytes;
	} else {
		set_data(&request->io, chain->iov, chain->readable, HEADER_BYTES);
	}
	submit_sectors(request, sector, bytes / VIRTIO_BLK_SECTOR_BYTES, io_done);
}

static void flush(struct queue_request *request)
{
	request->io.kind = IO_FLUSH;
	request->io.block = 0;
	request->io.blocks = 0;
	request->io.done = io_done;
	io_submit(request->queue->blocks, &request->io);
}

static void get_id(struct queue_request *request)
{
	struct virtq_chain *chain = &request->chain;
	uint32_t bytes = MIN(chain->writable_bytes - 1, (uint32_t)VIRTIO_BLK_ID_BYTES);
	struct iov_cursor cursor = {.iov = &chain->iov[chain->readable]};

	iov_copy_to(&cursor, request->queue->device->serial, bytes);
	request->written = bytes;
	queue_complete(request, VIRTIO_BLK_S_OK);
}

/* Takes the next part of a range off its front: up to the first whole block, whole blocks, or what
 * follows the last one. Whole blocks go to the volume at once, the others one by one. */
static uint32_t take_part(uint64_t *sector, uint32_t *sectors, uint32_t unit)
{
	uint32_t part = *sectors - *sectors % unit;

	if (*sector % unit)
		part = MIN(*sectors, unit - (uint32_t)(*sector % unit));
	else if (!part)
		part = *sectors;
	*sector += part;
	*sectors -= part;
	return part;
}

/* One range after the other. A discard shrinks to whole blocks: it is advice. */
static void clear_next(struct io *io)
{
	struct queue_request *request = container_of(io, struct queue_request, io);
	const struct blockdev *dev = request->queue->device->dev;
	uint32_t unit = dev->block_bytes / VIRTIO_BLK_SECTOR_BYTES;

	while (!io->status && request->next_clear < request->clears) {
		unsigned i = request->next_clear;
		uint64_t first = request->clear[i].sector;
		uint32_t part;

		if (!request->clear[i].sectors) {
			request->next_clear++;
			continue;
		}
		part = take_part(&request->clear[i].sector, &request->clear[i].sectors, unit);
		if (io->kind == IO_DISCARD && (first % unit || part % unit))
			continue;
		io->may_unmap = request->clear[i].unmap;
		submit_sectors(request, first, part, clear_next);
		return;
	}
	io_done(io);
}

/* Copies and checks all ranges before anything is done. */
static enum virtio_blk_status read_clears(struct queue_request *request)
{
	const struct queue_device *device = request->queue->device;
	struct virtq_chain *chain = &request->chain;
	uint32_t bytes = chain->readable_bytes - HEADER_BYTES;
	uint32_t count = bytes / sizeof(struct virtio_blk_segment);
	struct io io = {.iov = chain->iov};
	struct iov_cursor cursor;

	if (bytes % sizeof(struct virtio_blk_segment) || !count || count > QUEUE_CLEAR_SEGMENTS ||
		device->read_only)
		return VIRTIO_BLK_S_IOERR;
	cursor = iov_cursor_at(&io, HEADER_BYTES);
	for (uint32_t i = 0; i < count; i++) {
		struct virtio_blk_segment segment;
		uint32_t flags;

		iov_copy_from(&cursor, &segment, sizeof(segment));
		flags = le32_get(segment.flags);
		request->clear[i].sector = le64_get(segment.sector);
		request->clear[i].sectors = le32_get(segment.sectors);
		request->clear[i].unmap = flags & VIRTIO_BLK_SEGMENT_UNMAP;
		/* 5.2.6.2: unknown flags, and unmap with DISCARD, are unsupported. */
		if (flags & ~VIRTIO_BLK_SEGMENT_UNMAP || (flags && request->io.kind == IO_DISCARD))
			return VIRTIO_BLK_S_UNSUPP;
		if (request->clear[i].sectors > QUEUE_CLEAR_SECTORS ||
			!in_range(device, request->clear[i].sector, request->clear[i].sectors))
			return VIRTIO_BLK_S_IOERR;
	}
	request->clears = count;
	request->next_clear = 0;
	return VIRTIO_BLK_S_OK;
}

static void clear(struct queue_request *request, enum io_kind kind)
{
	enum virtio_blk_status status;

	request->io.kind = kind;
	request->io.fua = is_writethrough(request->queue->device);
	request->io.status = 0;
	status = read_clears(request);
	if (status != VIRTIO_BLK_S_OK)
		queue_complete(request, status);
	else
		clear_next(&request->io);
}

/* Finds the status byte, the last writable one, and takes the header. False: answered already. */
static bool open_request(struct queue_request *request, struct virtio_blk_header *header)
{
	struct virtq_chain *chain = &request->chain;
	const struct iovec *last;
	struct iov_cursor cursor = {.iov = chain->iov};
	struct fail fail;

	if (!chain->writable) {
		fail_set(&fail, EINVAL, "a request has no place for its status");
		queue_refuse(request, &fail);
		return false;
	}
	last = &chain->iov[chain->readable + chain->writable - 1];
	request->written = 0;
	request->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	if (chain->malformed || chain->readable_bytes < HEADER_BYTES) {
		queue_complete(request, VIRTIO_BLK_S_IOERR);
		return false;
	}
	iov_copy_from(&cursor, header, sizeof(*header));
	return true;
}

void blk_execute(struct queue_request *request)
{
	struct virtio_blk_header header;
	uint64_t features = request->queue->device->features;

	if (!open_request(request, &header))
		return;
	switch (le32_get(header.type)) {
	case VIRTIO_BLK_T_IN:
		transfer(request, IO_READ, le64_get(header.sector));
		return;
	case VIRTIO_BLK_T_OUT:
		transfer(request, IO_WRITE, le64_get(header.sector));
		return;
	case VIRTIO_BLK_T_FLUSH:
		flush(request);
		return;
	case VIRTIO_BLK_T_GET_ID:
		get_id(request);
		return;
	case VIRTIO_BLK_T_DISCARD:
		if (!(features & VIRTIO_BLK_F_DISCARD))
			break;
		clear(request, IO_DISCARD);
		return;
	case VIRTIO_BLK_T_WRITE_ZEROES:
		if (!(features & VIRTIO_BLK_F_WRITE_ZEROES))
			break;
		clear(request, IO_WRITE_ZEROES);
		return;
	default:
		break;
	}
	queue_complete(request, VIRTIO_BLK_S_UNSUPP);
}
