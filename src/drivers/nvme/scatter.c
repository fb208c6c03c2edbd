/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SGLs (base 4.3.2), for memory that PRPs do not cover at once: pieces that do not begin or end
 * with a page, or are not aligned to 4 bytes. Apart from command.c, which is faster without it.
 */
#include <string.h>

#include "base/bits.h"
#include "drivers/nvme/queue.h"

struct sgl {
	size_t bytes;
	unsigned pieces;
	struct nvme_sgl list[NVME_SGL_ENTRIES];
};

/* False: the piece does not fit any more, or is not aligned. */
static bool sgl_add(struct sgl *sgl, uint64_t iova, size_t bytes, unsigned unit)
{
	struct nvme_sgl *last = &sgl->list[sgl->pieces - !!sgl->pieces];

	if ((iova | bytes) & (unit - 1))
		return false;
	if (sgl->pieces && le64_get(last->address) + le32_get(last->bytes) == iova) {
		last->bytes = le32_of(le32_get(last->bytes) + (uint32_t)bytes);
	} else {
		if (sgl->pieces == NVME_SGL_ENTRIES)
			return false;
		sgl->list[sgl->pieces++] = (struct nvme_sgl){.address = le64_of(iova),
			.bytes = le32_of((uint32_t)bytes),
			.type = NVME_SGL_DATA};
	}
	sgl->bytes += bytes;
	return true;
}

/* As much of the io from its done_blocks on as one command can cover. */
static void sgl_fill(struct sgl *sgl, struct nvme_queue *queue, struct nvme_slot *slot, size_t left)
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

			if (!found || !sgl_add(sgl, iova, found, queue->nvme->sgl_unit))
				return;
			memory += found;
			length -= found;
		}
		at = (struct iov_cursor){.iov = at.iov + 1};
	}
}

/* Takes away what is beyond whole blocks: the drive insists on the exact length. */
static void sgl_cut(struct sgl *sgl, unsigned block_shift)
{
	size_t beyond = sgl->bytes & (((size_t)1 << block_shift) - 1);

	sgl->bytes -= beyond;
	while (beyond) {
		struct nvme_sgl *last = &sgl->list[sgl->pieces - 1];
		uint32_t less = (uint32_t)MIN(beyond, (size_t)le32_get(last->bytes));

		last->bytes = le32_of(le32_get(last->bytes) - less);
		sgl->pieces -= !last->bytes.raw;
		beyond -= less;
	}
}

bool nvme_scatter(struct nvme_queue *queue, struct nvme_slot *slot, struct nvme_command *entry,
	size_t wanted, size_t more_than)
{
	const struct nvme_device_queue *owner = slot->owner;
	struct sgl sgl;

	if (!queue->nvme->sgl_unit)
		return false;
	sgl.bytes = sgl.pieces = 0;
	sgl_fill(&sgl, queue, slot, wanted);
	sgl_cut(&sgl, owner->block_shift);
	if (sgl.bytes <= more_than)
		return false;
	slot->step_blocks = (uint32_t)(sgl.bytes >> owner->block_shift);
	*entry = slot->io->kind == IO_READ ? owner->read : owner->write;
	entry->flags = NVME_COMMAND_SGL;
	entry->sgl = sgl.list[0];
	if (sgl.pieces == 1)
		return true;
	memcpy(slot->list, sgl.list, sgl.pieces * sizeof(sgl.list[0]));
	entry->sgl = (struct nvme_sgl){.address = le64_of(slot->list_iova),
		.bytes = le32_of(sgl.pieces * (uint32_t)sizeof(sgl.list[0])),
		.type = NVME_SGL_LAST_SEGMENT};
	return true;
}
