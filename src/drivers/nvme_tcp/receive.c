/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What arrives. Headers come into a small buffer; data go from the socket into the memory of the
 * io, and the same system call takes what follows them into the buffer:
 *
 *	... | C2HData header | data ................. | C2HData header | data
 *	      input            the io's memory          input
 *
 * Every field is fetched once and checked before it is used: the controller may be broken, or
 * somebody else. What makes no sense breaks this connection, and nothing else.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/bits.h"
#include "base/crc32c.h"
#include "drivers/nvme_tcp/queue.h"

enum { READS_PER_TURN = 16 };

void tcp_queue_reset_input(struct tcp_queue *queue)
{
	queue->stage = INPUT_HEADER;
	queue->target = NULL;
	queue->input_begin = queue->input_end = 0;
	queue->pdu_left = 0;
}

static unsigned input_bytes(const struct tcp_queue *queue)
{
	return queue->input_end - queue->input_begin;
}

/* --- PDUs ------------------------------------------------------------------------------------ */

/* A command that has not left cannot have been answered. */
static bool has_left(const struct slot *slot)
{
	const struct pdu_header *header = (const struct pdu_header *)slot->head;

	return slot->state == SLOT_WAITING || header->type != PDU_COMMAND ||
	       slot->pdu_sent >= slot->head_bytes;
}

static void take_response(struct tcp_queue *queue, const struct pdu_response *pdu)
{
	struct slot *slot = tcp_queue_find(queue, le16_get(pdu->completion.id));
	unsigned status = nvme_status_of(&pdu->completion);

	if (!slot || !has_left(slot))
		tcp_queue_break(queue, "an answer to a command that is not in flight");
	else if (!nvme_status_code(status) && slot->data_moved < slot->data_bytes)
		tcp_queue_break(queue, "a success before all data had been moved");
	else
		slot_answered(queue, slot, status);
}

static void take_r2t(struct tcp_queue *queue, const struct pdu_data *pdu)
{
	struct slot *slot = tcp_queue_find(queue, le16_get(pdu->id));
	uint32_t offset = le32_get(pdu->offset), bytes = le32_get(pdu->bytes);

	/* One R2T at a time is what we have agreed to (MAXR2T 0); they come in order. */
	if (!slot || slot->state != SLOT_WAITING || slot->io->kind == IO_READ) {
		tcp_queue_break(queue, "an R2T for a command that waits for none");
		return;
	}
	if (!bytes || offset != slot->granted_end || bytes > slot->data_bytes - slot->granted_end) {
		tcp_queue_break(queue, "an R2T beyond the data of its command");
		return;
	}
	slot_grant(queue, slot, le16_get(pdu->tag), bytes);
}

static void begin_data(
	struct tcp_queue *queue, const struct pdu_data *pdu, const struct pdu_shape *shape)
{
	struct slot *slot = tcp_queue_find(queue, le16_get(pdu->id));
	uint32_t offset = le32_get(pdu->offset), bytes = le32_get(pdu->bytes);
	bool last = pdu->header.flags & PDU_LAST, success = pdu->header.flags & PDU_SUCCESS;

	if (!slot || slot->state != SLOT_WAITING || slot->io->kind != IO_READ) {
		tcp_queue_break(queue, "data for a command that waits for none");
		return;
	}
	if (bytes != shape->data_bytes || offset != slot->data_moved ||
		bytes > slot->data_bytes - slot->data_moved) {
		tcp_queue_break(queue, "data beyond or beside what was asked for");
		return;
	}
	if (success && (!last || offset + bytes != slot->data_bytes)) {
		tcp_queue_break(queue, "a success before all data had been moved");
		return;
	}
	queue->stage = INPUT_DATA;
	queue->target = slot;
	queue->pdu_left = queue->pdu_bytes = bytes;
	queue->pdu_completes = success;
}

static void end_data(struct tcp_queue *queue)
{
	struct slot *slot = queue->target;

	queue->stage = INPUT_HEADER;
	queue->target = NULL;
	if (queue->pdu_completes)
		slot_answered(queue, slot, NVME_OK);
}

static uint32_t data_crc(const struct tcp_queue *queue)
{
	const struct slot *slot = queue->target;
	uint32_t at = slot->data_moved - queue->pdu_bytes, crc = 0;

	while (at < slot->data_moved) {
		struct iovec segments[QUEUE_SEGMENTS];
		uint32_t bytes = slot->data_moved - at;
		unsigned count = slot_segments(slot, at, &bytes, segments, QUEUE_SEGMENTS);

		for (unsigned i = 0; i < count; i++)
			crc = crc32c(crc, segments[i].iov_base, segments[i].iov_len);
		at += bytes;
	}
	return crc;
}

/* --- from the buffer ------------------------------------------------------------------------- */

/* These return false when the buffer does not hold enough. */

static bool parse_header(struct tcp_queue *queue)
{
	union {
		struct pdu_header header;
		struct pdu_data data;
		struct pdu_response response;
		struct pdu_terminate terminate;
	} pdu;
	struct pdu_shape shape;
	const char *from = queue->input + queue->input_begin, *why;
	uint32_t head;
	le32 crc;

	if (input_bytes(queue) < sizeof(pdu.header))
		return false;
	memcpy(&pdu.header, from, sizeof(pdu.header));
	why = pdu_check(&pdu.header, queue->limits.digests, &shape);
	if (why) {
		tcp_queue_break(queue, why);
		return true;
	}
	head = shape.header_bytes + shape.digest_bytes + shape.pad_bytes;
	static_assert(UINT8_MAX + PDU_DIGEST_BYTES < QUEUE_INPUT_BYTES, "a header fits");
	if (input_bytes(queue) < head)
		return false;
	memcpy(&pdu, from, sizeof(pdu));
	queue->input_begin += head;
	if (shape.digest_bytes) {
		memcpy(&crc, from + shape.header_bytes, sizeof(crc));
		if (le32_get(crc) != crc32c(0, from, shape.header_bytes)) {
			tcp_queue_break(queue, "a wrong header digest");
			return true;
		}
	}
	if (pdu.header.type == PDU_RESPONSE)
		take_response(queue, &pdu.response);
	else if (pdu.header.type == PDU_R2T)
		take_r2t(queue, &pdu.data);
	else if (pdu.header.type == PDU_C2H_DATA)
		begin_data(queue, &pdu.data, &shape);
	else
		tcp_queue_break(queue, pdu_terminate_text(le16_get(pdu.terminate.status)));
	return true;
}

static bool parse_data(struct tcp_queue *queue)
{
	while (queue->pdu_left && input_bytes(queue)) {
		struct slot *slot = queue->target;
		uint32_t bytes = MIN(queue->pdu_left, (uint32_t)input_bytes(queue));
		struct iovec segment;

		slot_segments(slot, slot->data_moved, &bytes, &segment, 1);
		memcpy(segment.iov_base, queue->input + queue->input_begin, bytes);
		queue->input_begin += bytes;
		queue->pdu_left -= bytes;
		slot->data_moved += bytes;
	}
	if (queue->pdu_left)
		return false;
	if (queue->limits.digests.data)
		queue->stage = INPUT_DIGEST;
	else
		end_data(queue);
	return true;
}

/* A wrong data digest is an error of the command, not of the connection (tcp 3.3.2.2): the read is
 * repeated when its answer has come. */
static bool parse_digest(struct tcp_queue *queue)
{
	le32 crc;

	if (input_bytes(queue) < sizeof(crc))
		return false;
	memcpy(&crc, queue->input + queue->input_begin, sizeof(crc));
	queue->input_begin += sizeof(crc);
	queue->target->spoiled |= le32_get(crc) != data_crc(queue);
	end_data(queue);
	return true;
}

static void parse(struct tcp_queue *queue)
{
	bool more = true;

	while (more && queue->state == QUEUE_UP) {
		if (queue->stage == INPUT_HEADER)
			more = parse_header(queue);
		else if (queue->stage == INPUT_DATA)
			more = parse_data(queue);
		else
			more = parse_digest(queue);
	}
	if (queue->state != QUEUE_UP)
		return;
	memmove(queue->input, queue->input + queue->input_begin, input_bytes(queue));
	queue->input_end -= queue->input_begin;
	queue->input_begin = 0;
}

/* --- from the socket ------------------------------------------------------------------------- */

/* One system call. False: there was nothing. */
static bool read_socket(struct tcp_queue *queue)
{
	struct iovec segments[QUEUE_SEGMENTS + 1];
	struct msghdr message = {.msg_iov = segments};
	struct slot *slot = queue->target;
	uint32_t direct = queue->stage == INPUT_DATA ? queue->pdu_left : 0;
	unsigned count = 0;
	ssize_t got;

	assert(!queue->input_begin);
	if (direct)
		count = slot_segments(slot, slot->data_moved, &direct, segments, QUEUE_SEGMENTS);
	segments[count++] = (struct iovec){
		queue->input + queue->input_end, QUEUE_INPUT_BYTES - queue->input_end};
	/* Behind the part of a long vector that fits, more data come: not into the buffer. */
	message.msg_iovlen = direct && direct < queue->pdu_left ? count - 1 : count;
	got = recvmsg(queue->fd, &message, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got <= 0) {
		tcp_queue_break(queue, got ? "the connection broke" : "the target hung up");
		return true;
	}
	direct = MIN(direct, (uint32_t)got);
	if (direct) {
		slot->data_moved += direct;
		queue->pdu_left -= direct;
	}
	queue->input_end += (unsigned)got - direct;
	return true;
}

unsigned tcp_queue_receive(struct tcp_queue *queue)
{
	unsigned reads = 0;

	while (reads < READS_PER_TURN && queue->state == QUEUE_UP && read_socket(queue)) {
		reads++;
		if (queue->state == QUEUE_UP)
			parse(queue);
	}
	return reads;
}
