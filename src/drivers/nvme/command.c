/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an io to NVMe commands.
 *
 * Data goes straight between the drive and the io's memory by PRPs (base 4.3.1): every entry but
 * the first begins a page, every one but the last ends with its page. As far as the io's vector
 * fits that, one command covers it. Where it does not, an SGL (scatter.c) covers more of it, if the
 * controller takes them; PRPs come first, being what every drive is made for. What one command does
 * not cover, in whole blocks, the next one does. Memory that devices do not reach, or that is not
 * aligned as they need it, goes through a bounce buffer.
 */
#include <assert.h>

#include "base/bits.h"
#include "drivers/nvme/queue.h"
#include "memory/memory.h"

enum {
	PAGE_MASK = NVME_PAGE_BYTES - 1,
};

void nvme_command_templates(struct nvme_device_queue *owner)
{
	const struct nvme_device *device = owner->device;

	owner->lba_shift = (uint8_t)(device->block_shift - device->lba_shift);
	owner->block_shift = (uint8_t)device->block_shift;
	owner->read =
		(struct nvme_command){.opcode = NVME_READ, .nsid = le32_of(device->namespace.nsid)};
	owner->write = owner->read;
	owner->write.opcode = NVME_WRITE;
}

/* --- PRPs ------------------------------------------------------------------------------------ */

struct prps {
	uint64_t first, end; /* device addresses: of the data, and behind what is covered */
	size_t bytes;
	unsigned entries; /* in the list */
};

/* Covers up to `bytes` bytes at iova, whose pages follow each other. False: it does not fit behind
 * what is there, or the list is full. */
static bool prps_add(struct prps *prps, struct nvme_slot *slot, uint64_t iova, size_t bytes)
{
	uint64_t page;

	if (!prps->bytes) {
		if (iova & 3)
			return false;
		prps->first = iova;
	} else if (iova != prps->end) {
		if ((iova | prps->end) & PAGE_MASK)
			return false;
		slot->list[prps->entries] = le64_of(iova);
		prps->entries++;
	} else if (!(iova & PAGE_MASK)) {
		slot->list[prps->entries] = le64_of(iova);
		prps->entries++;
	}
	for (page = (iova & ~(uint64_t)PAGE_MASK) + NVME_PAGE_BYTES; page < iova + bytes;
		page += NVME_PAGE_BYTES) {
		if (prps->entries == NVME_LIST_ENTRIES) {
			prps->bytes += page - iova;
			prps->end = page;
			return false;
		}
		slot->list[prps->entries++] = le64_of(page);
	}
	prps->bytes += bytes;
	prps->end = iova + bytes;
	return prps->entries < NVME_LIST_ENTRIES;
}

/* As much of the io from its done_blocks on as one command can cover. */
static void prps_fill(
	struct prps *prps, struct nvme_queue *queue, struct nvme_slot *slot, size_t left)
{
	struct iov_cursor at =
		iov_cursor_at(slot->io, (size_t)slot->done_blocks << slot->owner->block_shift);

	while (left) {
		const char *memory = (const char *)at.iov->iov_base + at.skip;
		size_t length = MIN(left, at.iov->iov_len - at.skip);

		left -= length;
		while (length) {
			uint64_t iova;
			size_t found = dma_find(&queue->cache, memory, length, &iova);

			if (!found || !prps_add(prps, slot, iova, found))
				return;
			memory += found;
			length -= found;
		}
		at = (struct iov_cursor){.iov = at.iov + 1};
	}
}

/* Puts into the command how to find `bytes` bytes that begin at `first`, the pages behind the first
 * one being in the slot's list. */
static void set_prps(
	struct nvme_command *command, const struct nvme_slot *slot, uint64_t first, size_t bytes)
{
	size_t pages = ((first & PAGE_MASK) + bytes + PAGE_MASK) / NVME_PAGE_BYTES;

	command->prp1 = le64_of(first);
	if (pages == 2)
		command->prp2 = slot->list[0];
	else if (pages > 2)
		command->prp2 = le64_of(slot->list_iova);
}

/* --- transfers ------------------------------------------------------------------------------- */

static void set_range(struct nvme_command *command, const struct nvme_slot *slot)
{
	unsigned shift = slot->owner->lba_shift;
	uint64_t lba = (slot->io->block + slot->done_blocks) << shift;

	command->cdw10 = le32_of((uint32_t)lba);
	command->cdw11 = le32_of((uint32_t)(lba >> 32));
	command->cdw12 =
		le32_of(((slot->step_blocks << shift) - 1) | (slot->io->fua ? NVME_RW_FUA : 0));
}

/* Memory of ours: of the arena, or when that is used up the one buffer that the queue keeps for
 * itself, so that there is always progress. */
static void *bounce_take(struct nvme_queue *queue, size_t bytes, uint64_t *iova)
{
	void *bounce = arena_alloc(memory_arena(reactor_index(queue->reactor)), bytes);

	if (bounce) {
		dma_find(&queue->cache, bounce, bytes, iova);
		return bounce;
	}
	if (queue->bounce_used)
		return NULL;
	queue->bounce_used = true;
	*iova = queue->bounce_iova;
	return queue->bounce;
}

static void bounce_give(struct nvme_queue *queue, void *bounce)
{
	if (bounce == queue->bounce)
		queue->bounce_used = false;
	else
		arena_free(memory_arena(reactor_index(queue->reactor)), bounce);
}

/* The step goes through memory of ours. */
static bool make_bounced(struct nvme_queue *queue, struct nvme_slot *slot, struct prps *prps)
{
	unsigned shift = slot->owner->block_shift;
	size_t bytes = (size_t)(slot->io->blocks - slot->done_blocks) << shift;
	uint64_t iova = 0;

	bytes = MIN(bytes, (size_t)MIN((uint32_t)NVME_BOUNCE_BYTES, queue->nvme->transfer_bytes));
	slot->bounce = bounce_take(queue, bytes, &iova);
	if (!slot->bounce)
		return false;
	if (slot->io->kind == IO_WRITE) {
		struct iov_cursor cursor =
			iov_cursor_at(slot->io, (size_t)slot->done_blocks << shift);

		iov_copy_from(&cursor, slot->bounce, bytes);
	}
	*prps = (struct prps){0};
	prps_add(prps, slot, iova, bytes);
	assert(iova && prps->bytes == bytes); /* arenas are registered, and whole */
	return true;
}

static enum nvme_step make_transfer(
	struct nvme_queue *queue, struct nvme_slot *slot, struct nvme_command *entry)
{
	const struct nvme_device_queue *owner = slot->owner;
	const struct io *io = slot->io;
	size_t left = (size_t)(io->blocks - slot->done_blocks) << owner->block_shift;
	size_t wanted = MIN(left, (size_t)queue->nvme->transfer_bytes);
	struct prps prps = {0};

	prps_fill(&prps, queue, slot, wanted);
	if (__builtin_expect(prps.bytes < wanted, 0) &&
		nvme_scatter(queue, slot, entry, wanted, prps.bytes)) {
		set_range(entry, slot);
		return NVME_STEP_SENT;
	}
	if (prps.bytes >> owner->block_shift == 0 && !make_bounced(queue, slot, &prps))
		return NVME_STEP_LATER;
	slot->step_blocks = (uint32_t)(prps.bytes >> owner->block_shift);
	*entry = io->kind == IO_READ ? owner->read : owner->write;
	set_prps(entry, slot, prps.first, (size_t)slot->step_blocks << owner->block_shift);
	set_range(entry, slot);
	return NVME_STEP_SENT;
}

/* Zeros for a drive that has no command for them: every PRP leads to the page of zeros. */
static enum nvme_step write_zero_page(
	struct nvme_queue *queue, struct nvme_slot *slot, struct nvme_command *entry)
{
	uint64_t zeros = queue->nvme->memory_iova + NVME_ZERO_PAGE;
	uint32_t most = MIN(queue->nvme->transfer_bytes,
				(uint32_t)(NVME_LIST_ENTRIES + 1) * NVME_PAGE_BYTES) >>
			slot->owner->block_shift;
	size_t bytes;

	slot->step_blocks = MIN(slot->io->blocks - slot->done_blocks, most);
	bytes = (size_t)slot->step_blocks << slot->owner->block_shift;
	for (size_t page = 1; page < divide_up(bytes, NVME_PAGE_BYTES); page++)
		slot->list[page - 1] = le64_of(zeros);
	*entry = slot->owner->write;
	set_prps(entry, slot, zeros, bytes);
	set_range(entry, slot);
	return NVME_STEP_SENT;
}

/* Nvm 3.2.8. Deallocating is asked for only where deallocated blocks read as zeros. */
static enum nvme_step make_zeroes(
	struct nvme_queue *queue, struct nvme_slot *slot, struct nvme_command *entry)
{
	const struct nvme_device *device = slot->owner->device;
	uint32_t cdw12;

	if (!device->write_zeroes)
		return write_zero_page(queue, slot, entry);
	slot->step_blocks = MIN(slot->io->blocks - slot->done_blocks, device->zeroes_blocks);
	*entry = slot->owner->write;
	entry->opcode = NVME_WRITE_ZEROES;
	set_range(entry, slot);
	cdw12 = le32_get(entry->cdw12);
	if (device->write_zeroes_deallocates &&
		(slot->io->may_unmap || slot->io->kind == IO_DISCARD))
		entry->cdw12 = le32_of(cdw12 | NVME_RW_DEALLOCATE);
	return NVME_STEP_SENT;
}

/* Nvm 3.2.3. Advice, which the drive may ignore: where blocks must read as zeros afterwards
 * (discard_zeroes), WRITE ZEROES with deallocation takes its place. */
static enum nvme_step make_discard(
	struct nvme_queue *queue, struct nvme_slot *slot, struct nvme_command *entry)
{
	const struct nvme_device_queue *owner = slot->owner;
	const struct nvme_device *device = owner->device;
	struct nvme_dsm_range *range = (void *)slot->list;

	if (device->dev.discard_zeroes)
		return make_zeroes(queue, slot, entry);
	if (!device->dataset)
		return NVME_STEP_NOTHING;
	slot->step_blocks = MIN(slot->io->blocks - slot->done_blocks, device->dataset_blocks);
	*range = (struct nvme_dsm_range){
		.blocks = le32_of(slot->step_blocks << owner->lba_shift),
		.lba = le64_of((slot->io->block + slot->done_blocks) << owner->lba_shift),
	};
	*entry = owner->write;
	entry->opcode = NVME_DATASET_MANAGEMENT;
	entry->prp1 = le64_of(slot->list_iova);
	entry->cdw11 = le32_of(NVME_DSM_DEALLOCATE);
	return NVME_STEP_SENT;
}

enum nvme_step nvme_command_make(
	struct nvme_queue *queue, struct nvme_slot *slot, struct nvme_command *entry)
{
	const struct nvme_device_queue *owner = slot->owner;

	switch (slot->io->kind) {
	case IO_READ:
	case IO_WRITE:
		return make_transfer(queue, slot, entry);
	case IO_WRITE_ZEROES:
		return make_zeroes(queue, slot, entry);
	case IO_DISCARD:
		return make_discard(queue, slot, entry);
	case IO_FLUSH:
		break;
	}
	if (!owner->device->dev.volatile_cache)
		return NVME_STEP_NOTHING;
	slot->step_blocks = 0;
	*entry = owner->write;
	entry->opcode = NVME_FLUSH;
	return NVME_STEP_SENT;
}

void nvme_command_end(struct nvme_queue *queue, struct nvme_slot *slot, bool succeeded)
{
	unsigned shift = slot->owner->block_shift;

	if (!slot->bounce)
		return;
	if (succeeded && slot->io->kind == IO_READ) {
		struct iov_cursor cursor =
			iov_cursor_at(slot->io, (size_t)slot->done_blocks << shift);

		iov_copy_to(&cursor, slot->bounce, (size_t)slot->step_blocks << shift);
	}
	bounce_give(queue, slot->bounce);
	slot->bounce = NULL;
}
