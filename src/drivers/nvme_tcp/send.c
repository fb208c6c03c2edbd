/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What leaves: capsules with commands, and data that were asked for. Of each slot one PDU at a time
 * is on the list of those that leave; several go into one system call, straight from the memory of
 * the ios. With data digests a PDU's data are copied first, and one PDU goes at a time: a guest may
 * change its memory while we compute.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/bits.h"
#include "base/crc32c.h"
#include "drivers/nvme_tcp/queue.h"

enum { ZEROES_BYTES = 64 << 10, LBA_SHIFT_MIN = 9 };

static char zeroes[ZEROES_BYTES];

/* --- memory ---------------------------------------------------------------------------------- */

unsigned slot_segments(const struct slot *slot, uint32_t at, uint32_t *bytes,
	struct iovec *segments, unsigned room)
{
	const struct io *io = slot->io;
	uint32_t block_bytes = slot->data_bytes / MAX(slot->blocks, 1u), left = *bytes;
	struct iov_cursor cursor = {0};
	unsigned count = 0;

	if (io_carries_data(io))
		cursor = iov_cursor_at(io, (size_t)slot->blocks_done * block_bytes + at);
	while (left && count < room) {
		struct iovec piece = {zeroes, MIN(left, (uint32_t)ZEROES_BYTES)};

		if (io->kind == IO_DISCARD) {
			piece = (struct iovec){(char *)&slot->range + at, left};
		} else if (io_carries_data(io)) {
			piece.iov_base = (char *)cursor.iov->iov_base + cursor.skip;
			piece.iov_len = MIN((size_t)left, cursor.iov->iov_len - cursor.skip);
			cursor = (struct iov_cursor){.iov = cursor.iov + 1};
		}
		if (piece.iov_len)
			segments[count++] = piece;
		left -= (uint32_t)piece.iov_len;
	}
	*bytes -= left;
	return count;
}

/* --- commands -------------------------------------------------------------------------------- */

static bool sends_data(const struct slot *slot)
{
	return slot->data_bytes && slot->io->kind != IO_READ;
}

static enum nvme_io_opcode opcode_of(const struct slot *slot)
{
	switch (slot->io->kind) {
	case IO_READ:
		return NVME_READ;
	case IO_FLUSH:
		return NVME_FLUSH;
	case IO_DISCARD:
		return NVME_DATASET_MANAGEMENT;
	case IO_WRITE_ZEROES:
		return slot->by_writing ? NVME_WRITE : NVME_WRITE_ZEROES;
	case IO_WRITE:
		break;
	}
	return NVME_WRITE;
}

static void fill_rw(struct tcp_queue *queue, struct slot *slot, struct nvme_command *command)
{
	const struct io *io = slot->io;
	unsigned shift = queue->limits.lba_shift;
	uint64_t lba = (io->block + slot->blocks_done) << shift;
	uint32_t control = (slot->blocks << shift) - 1;

	if (io->kind != IO_READ && queue->limits.has_cache &&
		(io->fua || queue->limits.write_through))
		control |= NVME_RW_FUA;
	if (io->kind == IO_WRITE_ZEROES && !slot->by_writing && io->may_unmap &&
		queue->limits.can_unmap_zeroes)
		control |= NVME_RW_DEALLOCATE;
	command->cdw10 = le32_of((uint32_t)lba);
	command->cdw11 = le32_of((uint32_t)(lba >> 32));
	command->cdw12 = le32_of(control);
}

static void fill_discard(struct tcp_queue *queue, struct slot *slot, struct nvme_command *command)
{
	unsigned shift = queue->limits.lba_shift;

	slot->range = (struct nvme_dsm_range){
		.blocks = le32_of(slot->blocks << shift),
		.lba = le64_of((slot->io->block + slot->blocks_done) << shift),
	};
	command->cdw10 = le32_of(0); /* one range */
	command->cdw11 = le32_of(NVME_DSM_DEALLOCATE);
}

/* How much of the io the next command covers. */
static void choose_step(struct tcp_queue *queue, struct slot *slot)
{
	uint32_t block_bytes = queue->base.dev->block_bytes;
	uint32_t most = 1u << (16 - queue->limits.lba_shift); /* a command's count has 16 bits */

	if (slot->io->kind == IO_DISCARD)
		most = UINT32_MAX >> queue->limits.lba_shift;
	else if (io_carries_data(slot->io) || slot->by_writing)
		most = MIN(most, queue->limits.transfer_bytes / block_bytes);
	slot->blocks = MIN(slot->io->blocks - slot->blocks_done, most);
	slot->data_bytes = 0;
	if (slot->io->kind == IO_DISCARD)
		slot->data_bytes = sizeof(slot->range);
	else if (io_carries_data(slot->io) || slot->by_writing)
		slot->data_bytes = slot->blocks * block_bytes;
}

static void enlist(struct tcp_queue *queue, struct slot *slot)
{
	slot->state = SLOT_SENDING;
	slot->pdu_sent = 0;
	slot->copied = false;
	list_push_back(&queue->sending, &slot->link);
}

void slot_send(struct tcp_queue *queue, struct slot *slot)
{
	struct pdu_command *pdu = (struct pdu_command *)slot->head;
	struct nvme_command *command = &pdu->command;
	bool inside;

	choose_step(queue, slot);
	slot->generation++;
	slot->spoiled = slot->doubtful = false;
	slot->data_moved = 0;
	slot->deadline_ns = reactor_now_ns(queue->reactor) + QUEUE_DEADLINE_MS * (uint64_t)1000000;
	memset(pdu, 0, sizeof(*pdu));
	command->opcode = (uint8_t)opcode_of(slot);
	command->flags = NVME_COMMAND_SGL;
	command->id = le16_of(slot_id(slot));
	command->nsid = le32_of(queue->limits.nsid);
	if (slot->io->kind == IO_DISCARD)
		fill_discard(queue, slot, command);
	else if (slot->io->kind != IO_FLUSH)
		fill_rw(queue, slot, command);
	inside = sends_data(slot) && slot->data_bytes <= queue->limits.capsule_bytes;
	command->sgl = (struct nvme_sgl){.bytes = le32_of(slot->data_bytes),
		.type = inside ? NVME_SGL_DATA_OFFSET : NVME_SGL_TRANSPORT};
	slot->pdu_data_bytes = inside ? slot->data_bytes : 0;
	slot->granted_end = slot->pdu_data_bytes;
	slot->head_bytes = pdu_seal(slot->head, PDU_COMMAND, slot->pdu_data_bytes,
		queue->limits.digests, queue->limits.align_bytes);
	enlist(queue, slot);
}

/* The next H2CData of what was granted. */
static void send_data(struct tcp_queue *queue, struct slot *slot)
{
	struct pdu_data *pdu = (struct pdu_data *)slot->head;
	uint32_t left = slot->granted_end - slot->data_moved;

	slot->pdu_data_bytes = MIN(left, queue->limits.h2c_bytes);
	*pdu = (struct pdu_data){
		.header.flags = slot->pdu_data_bytes == left ? PDU_LAST : 0,
		.id = le16_of(slot_id(slot)),
		.tag = le16_of(slot->tag),
		.offset = le32_of(slot->data_moved),
		.bytes = le32_of(slot->pdu_data_bytes),
	};
	slot->head_bytes = pdu_seal(slot->head, PDU_H2C_DATA, slot->pdu_data_bytes,
		queue->limits.digests, queue->limits.align_bytes);
	enlist(queue, slot);
}

void slot_grant(struct tcp_queue *queue, struct slot *slot, uint16_t tag, uint32_t bytes)
{
	slot->tag = tag;
	slot->granted_end += bytes;
	send_data(queue, slot);
}

bool slot_recall(struct slot *slot)
{
	if (slot->pdu_sent)
		return false;
	list_remove(&slot->link);
	return true;
}

/* --- the socket ------------------------------------------------------------------------------ */

static uint32_t digest_bytes(const struct tcp_queue *queue, const struct slot *slot)
{
	return slot->pdu_data_bytes && queue->limits.digests.data ? PDU_DIGEST_BYTES : 0;
}

static uint32_t pdu_bytes(const struct tcp_queue *queue, const struct slot *slot)
{
	return slot->head_bytes + slot->pdu_data_bytes + digest_bytes(queue, slot);
}

/* Reads the PDU's data exactly once. */
static void copy_data(struct tcp_queue *queue, struct slot *slot)
{
	uint32_t crc = 0;

	for (uint32_t done = 0; done < slot->pdu_data_bytes;) {
		struct iovec segments[QUEUE_SEGMENTS];
		uint32_t bytes = slot->pdu_data_bytes - done;
		unsigned count = slot_segments(
			slot, slot->data_moved + done, &bytes, segments, QUEUE_SEGMENTS);

		for (unsigned i = 0; i < count; i++) {
			crc = crc32c_copy(
				crc, queue->copy + done, segments[i].iov_base, segments[i].iov_len);
			done += (uint32_t)segments[i].iov_len;
		}
	}
	slot->digest = le32_of(crc);
	slot->copied = true;
}

/* What is still to leave of slot's PDU, as at most `room` segments; returns their number. */
static unsigned gather_slot(
	struct tcp_queue *queue, struct slot *slot, struct iovec *segments, unsigned room)
{
	uint32_t at = slot->pdu_sent, data_end = slot->head_bytes + slot->pdu_data_bytes;
	unsigned count = 0;

	if (at < slot->head_bytes) {
		segments[count++] = (struct iovec){slot->head + at, slot->head_bytes - at};
		at = slot->head_bytes;
	}
	if (at < data_end && slot->copied && count < room) {
		segments[count++] =
			(struct iovec){queue->copy + (at - slot->head_bytes), data_end - at};
		at = data_end;
	} else if (at < data_end) {
		uint32_t bytes = data_end - at;

		count += slot_segments(slot, slot->data_moved + at - slot->head_bytes, &bytes,
			segments + count, room - count);
		at += bytes;
	}
	if (at >= data_end && digest_bytes(queue, slot) && count < room) {
		segments[count++] = (struct iovec){(char *)&slot->digest + (at - data_end),
			PDU_DIGEST_BYTES - (at - data_end)};
	}
	return count;
}

static unsigned gather(struct tcp_queue *queue, struct iovec *segments)
{
	struct list_node *node;
	unsigned count = 0;

	list_for_each (node, &queue->sending) {
		struct slot *slot = container_of(node, struct slot, link);

		if (count == QUEUE_SEGMENTS)
			break;
		if (digest_bytes(queue, slot) && !slot->copied) {
			if (node != list_first(&queue->sending))
				break; /* the buffer is not its own yet */
			copy_data(queue, slot);
		}
		count += gather_slot(queue, slot, segments + count, QUEUE_SEGMENTS - count);
	}
	return count;
}

/* All of slot's PDU has left. */
static void pdu_left(struct tcp_queue *queue, struct slot *slot)
{
	list_remove(&slot->link);
	slot->data_moved += slot->pdu_data_bytes;
	if (slot->state == SLOT_ANSWERED) {
		slot_settle(queue, slot);
		return;
	}
	slot->state = SLOT_WAITING;
	if (slot->data_moved < slot->granted_end)
		send_data(queue, slot);
}

static void account(struct tcp_queue *queue, size_t sent)
{
	while (sent) {
		struct slot *slot = container_of(list_first(&queue->sending), struct slot, link);
		size_t part = MIN(sent, (size_t)(pdu_bytes(queue, slot) - slot->pdu_sent));

		slot->pdu_sent += (uint32_t)part;
		slot->doubtful |= io_changes_data(slot->io);
		sent -= part;
		if (slot->pdu_sent == pdu_bytes(queue, slot))
			pdu_left(queue, slot);
	}
}

unsigned tcp_queue_send(struct tcp_queue *queue)
{
	struct iovec segments[QUEUE_SEGMENTS];
	struct msghdr message = {.msg_iov = segments};
	ssize_t sent;

	queue->send_blocked = false;
	if (list_empty(&queue->sending))
		return 0;
	message.msg_iovlen = gather(queue, segments);
	sent = sendmsg(queue->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0 && errno != EAGAIN && errno != EINTR) {
		tcp_queue_break(queue, "the connection broke");
		return 1;
	}
	queue->send_blocked = sent < 0;
	if (sent > 0)
		account(queue, (size_t)sent);
	return sent > 0;
}
