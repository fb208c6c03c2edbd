/* SPDX-License-Identifier: Apache-2.0 */
/* The mock target: I/O commands, their data and answers, and all that can be wrong in them. */
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/crc32c.h"
#include "nvme_tcp_mock_peer.h"

/* --- PDUs ------------------------------------------------------------------------------------ */

/* Sends a header with its digest and, when data follow, padding; bent as asked for. */
static bool send_head(struct peer *peer, void *pdu, uint32_t data_bytes, enum mock_fault bent)
{
	struct pdu_header *header = pdu;
	char head[PDU_HEAD_BYTES_MAX] = {0};
	uint32_t at = 24, tail = data_bytes && peer->digests.data ? 4 : 0;
	uint32_t digest = peer->digests.header ? 4 : 0;
	uint32_t begin = data_bytes || header->type == PDU_C2H_DATA ? at + digest + 8 : at + digest;
	le32 crc;

	header->header_bytes = (uint8_t)at;
	header->flags |= (digest ? PDU_HEADER_DIGEST : 0) | (tail ? PDU_DATA_DIGEST : 0);
	header->data_offset = begin > at + digest ? (uint8_t)begin : 0;
	header->bytes = le32_of(begin + data_bytes + tail);
	if (bent == MOCK_PDU_TYPE)
		header->type = 0x55;
	if (bent == MOCK_PDU_HEADER_BYTES)
		header->header_bytes = 12;
	if (bent == MOCK_PDU_BYTES)
		header->bytes = le32_of(begin + data_bytes + tail - 4);
	if (bent == MOCK_PDU_HUGE)
		header->bytes = le32_of(0xfffffff0);
	if (bent == MOCK_DATA_PLACE)
		header->data_offset = 8;
	if (bent == MOCK_DIGEST_FLAG)
		header->flags ^= PDU_HEADER_DIGEST;
	memcpy(head, pdu, at);
	crc = le32_of(crc32c(0, pdu, at) ^ (bent == MOCK_HEADER_DIGEST));
	if (digest)
		memcpy(head + at, &crc, sizeof(crc));
	if (bent == MOCK_CUT_IN_ANSWER || bent == MOCK_CUT_IN_GRANT)
		return peer_send(peer, head, 11) && false;
	return peer_send(peer, head, begin);
}

bool peer_answer(
	struct peer *peer, uint16_t id, unsigned status, uint64_t result, enum mock_fault bent)
{
	struct pdu_response pdu = {.header.type = PDU_RESPONSE,
		.completion = {.dw0 = le32_of((uint32_t)result),
			.dw1 = le32_of((uint32_t)(result >> 32)),
			.sq_head = le16_of(0xffff),
			.id = le16_of(id),
			.status = le16_of((uint16_t)(status << 1))}};

	return send_head(peer, &pdu, 0, bent);
}

bool peer_send_data(struct peer *peer, const struct piece *piece, enum mock_fault bent)
{
	struct pdu_data pdu = {
		.header = {.type = PDU_C2H_DATA, .flags = piece->last ? PDU_LAST : 0},
		.id = le16_of(piece->id),
		.offset = le32_of(piece->offset),
		.bytes = le32_of(piece->bytes)};
	uint32_t crc = crc32c(0, piece->data, piece->bytes) ^ (bent == MOCK_DATA_DIGEST);
	le32 digest = le32_of(crc);

	if (piece->last && peer->mock->config.success_flag && peer->queue && bent == MOCK_FINE)
		pdu.header.flags |= PDU_SUCCESS;
	if (!send_head(peer, &pdu, piece->bytes, bent))
		return false;
	if (bent == MOCK_CUT_IN_DATA)
		return peer_send(peer, piece->data, piece->bytes / 2) && false;
	return peer_send(peer, piece->data, piece->bytes) &&
	       (!peer->digests.data || !piece->bytes || peer_send(peer, &digest, sizeof(digest)));
}

bool peer_grant(struct peer *peer, const struct piece *piece, enum mock_fault bent)
{
	struct pdu_data pdu = {.header.type = PDU_R2T,
		.id = le16_of(piece->id),
		.tag = le16_of((uint16_t)(piece->id ^ 0x1234)),
		.offset = le32_of(piece->offset),
		.bytes = le32_of(piece->bytes)};

	return send_head(peer, &pdu, 0, bent);
}

bool peer_receive_data(struct peer *peer, void *data, uint32_t bytes)
{
	le32 crc;

	if (!peer_receive(peer, data, bytes))
		return false;
	if (!bytes || !peer->digests.data)
		return true;
	if (!peer_receive(peer, &crc, sizeof(crc)))
		return false;
	if (le32_get(crc) != crc32c(0, data, bytes))
		peer_complain(peer, "data digest");
	return true;
}

static bool terminate(struct peer *peer)
{
	struct pdu_terminate pdu = {.header = {.type = PDU_C2H_TERMINATE,
					    .header_bytes = sizeof(pdu),
					    .bytes = le32_of(sizeof(pdu))},
		.status = le16_of(PDU_TERMINATE_LIMIT)};

	return peer_send(peer, &pdu, sizeof(pdu)) && false;
}

/* --- reads ----------------------------------------------------------------------------------- */

static bool send_read(struct peer *peer, const struct pending *pending)
{
	uint32_t limit = peer->mock->config.c2h_bytes ? peer->mock->config.c2h_bytes : UINT32_MAX;
	enum mock_fault fault = pending->fault;
	char *copy = calloc(1, pending->bytes + 512);
	bool sent = true;

	pthread_mutex_lock(&peer->mock->mutex);
	memcpy(copy, peer->mock->content + pending->offset, pending->bytes);
	pthread_mutex_unlock(&peer->mock->mutex);
	for (uint32_t at = 0; at < pending->bytes && sent;) {
		struct piece piece = {.id = le16_get(pending->command.id),
			.offset = at,
			.bytes = MIN(limit, pending->bytes - at),
			.data = copy + at};

		at += piece.bytes;
		piece.last = at == pending->bytes;
		if (fault == MOCK_DATA_BEYOND && piece.last)
			piece.offset += 512;
		if (fault == MOCK_DATA_LONG && piece.last)
			piece.bytes += 512;
		if (fault == MOCK_DATA_GAP)
			piece.offset += 4;
		if (fault == MOCK_DATA_EMPTY)
			piece.bytes = 0;
		sent = peer_send_data(peer, &piece, fault);
		if (fault == MOCK_DATA_TWICE && sent)
			sent = peer_send_data(peer, &piece, fault);
	}
	free(copy);
	return sent;
}

/* --- answers --------------------------------------------------------------------------------- */

static bool is_bent_answer(enum mock_fault fault, bool read)
{
	return fault == MOCK_CUT_IN_ANSWER || (!read && fault != MOCK_DATA_PLACE);
}

/* The answer to a command that has been carried out leaves, as its fault wants. */
static bool answer(struct peer *peer, struct pending *pending)
{
	enum mock_fault fault = pending->fault;
	bool read = pending->command.opcode == NVME_READ;
	uint16_t id = le16_get(pending->command.id);
	unsigned status = fault == MOCK_STATUS ? peer->mock->config.status : NVME_OK;

	pending->used = false;
	peer->flying--;
	if (fault == MOCK_SILENT)
		return true;
	if (fault == MOCK_CUT_AFTER)
		return false;
	if (fault == MOCK_TERMINATE)
		return terminate(peer);
	if (fault == MOCK_UNKNOWN_ID || fault == MOCK_STALE_ID)
		return peer_answer(
			peer, id ^ (fault == MOCK_STALE_ID ? 0x100 : 0x7f), NVME_OK, 0, MOCK_FINE);
	if (fault == MOCK_ANSWER_OLD) {
		peer->old = true;
		peer->old_id = id;
	}
	if (fault == MOCK_GRANT_FOR_READ)
		return peer_grant(peer, &(struct piece){.id = id, .bytes = 512}, MOCK_FINE);
	if (fault == MOCK_DATA_FOR_WRITE)
		return peer_send_data(
			peer, &(struct piece){.id = id, .bytes = 5, .data = "hello"}, MOCK_FINE);
	if (read && !status && fault != MOCK_DATA_MISSING && !send_read(peer, pending))
		return false;
	if (read && peer->mock->config.success_flag && fault == MOCK_FINE)
		return true;
	if (!peer_answer(peer, id, status, 0, is_bent_answer(fault, read) ? fault : MOCK_FINE))
		return false;
	return fault != MOCK_ANSWER_TWICE || peer_answer(peer, id, status, 0, MOCK_FINE);
}

static bool complete(struct peer *peer, struct pending *pending)
{
	if (!peer->mock->config.shuffle || peer->held >= 16)
		return answer(peer, pending);
	pending->held = true;
	peer->held++;
	return true;
}

bool peer_release(struct peer *peer)
{
	unsigned first = (unsigned)random_below(&peer->random, MOCK_COMMANDS);

	for (unsigned i = 0; i < MOCK_COMMANDS; i++) {
		struct pending *pending = &peer->pending[(first + i) % MOCK_COMMANDS];

		if (!pending->held)
			continue;
		pending->held = false;
		peer->held--;
		return answer(peer, pending);
	}
	return true;
}

/* --- commands -------------------------------------------------------------------------------- */

static bool grant(struct peer *peer, struct pending *pending)
{
	uint32_t limit = peer->mock->config.grant_bytes;
	struct piece piece = {.id = le16_get(pending->command.id),
		.offset = pending->have,
		.bytes = pending->bytes - pending->have};
	enum mock_fault fault = pending->fault;

	if (limit)
		piece.bytes = MIN(piece.bytes, limit);
	pending->granted = piece.offset + piece.bytes;
	__atomic_fetch_add(&peer->mock->counts.grants, 1, __ATOMIC_RELAXED);
	if (fault == MOCK_GRANT_BEYOND)
		piece.bytes = pending->bytes + 512;
	if (fault == MOCK_GRANT_EMPTY)
		piece.bytes = 0;
	if (!peer_grant(peer, &piece, fault == MOCK_CUT_IN_GRANT ? fault : MOCK_FINE))
		return false;
	return fault != MOCK_GRANT_TWICE || peer_grant(peer, &piece, MOCK_FINE);
}

static void discard(struct mock *mock, const struct pending *pending)
{
	const struct nvme_dsm_range *range = &pending->range;
	unsigned shift = mock->config.lba_shift;

	if ((le64_get(range->lba) + le32_get(range->blocks)) << shift <= MOCK_BYTES)
		memset(mock->content + (le64_get(range->lba) << shift), 0,
			(size_t)le32_get(range->blocks) << shift);
}

bool peer_take_data(struct peer *peer, const struct pdu_data *pdu, uint32_t data_bytes)
{
	struct mock *mock = peer->mock;
	struct pending *pending = &peer->pending[le16_get(pdu->id) & 0xff];
	uint32_t offset = le32_get(pdu->offset);
	char *data;

	__atomic_fetch_add(&mock->counts.h2c_data, 1, __ATOMIC_RELAXED);
	if (!pending->used || le16_get(pdu->id) != le16_get(pending->command.id) ||
		le16_get(pdu->tag) != (le16_get(pdu->id) ^ 0x1234)) {
		peer_complain(peer, "data that were not asked for");
		return false;
	}
	if (offset != pending->have || data_bytes > pending->granted - offset ||
		data_bytes != le32_get(pdu->bytes) || data_bytes > mock->config.h2c_bytes) {
		peer_complain(peer, "range of data");
		return false;
	}
	if (!!(pdu->header.flags & PDU_LAST) != (offset + data_bytes == pending->granted))
		peer_complain(peer, "LAST");
	/* What the Linux target of 6.1 cannot. */
	if (peer->digests.data && !mock->config.grant_bytes && data_bytes < pending->bytes &&
		mock->config.h2c_bytes >= 128 << 10)
		peer_complain(peer, "part of a command's data with a digest");
	data = malloc(data_bytes);
	if (!peer_receive_data(peer, data, data_bytes)) {
		free(data);
		return false;
	}
	pthread_mutex_lock(&mock->mutex);
	if (pending->command.opcode == NVME_WRITE)
		memcpy(mock->content + pending->offset + offset, data, data_bytes);
	else if (offset + data_bytes <= sizeof(pending->range))
		memcpy((char *)&pending->range + offset, data, data_bytes);
	pthread_mutex_unlock(&mock->mutex);
	free(data);
	pending->have += data_bytes;
	if (pending->have == pending->bytes && pending->command.opcode != NVME_WRITE)
		discard(mock, pending);
	if (pending->have < pending->granted)
		return true;
	return pending->have < pending->bytes ? grant(peer, pending) : complete(peer, pending);
}

/* Counts it, and carries out what needs no data of the initiator. */
static void carry_out(struct mock *mock, struct pending *pending, const char *data)
{
	const struct nvme_command *command = &pending->command;
	struct mock_counts *counts = &mock->counts;
	bool stable = le32_get(command->cdw12) & NVME_RW_FUA;
	unsigned shift = mock->config.lba_shift;

	switch (command->opcode) {
	case NVME_READ:
		counts->reads++;
		break;
	case NVME_WRITE:
		counts->writes++;
		counts->stable_writes += stable;
		if (pending->have)
			memcpy(mock->content + pending->offset, data, pending->have);
		break;
	case NVME_FLUSH:
		counts->flushes++;
		break;
	case NVME_WRITE_ZEROES:
		counts->zeroes++;
		counts->unmaps += !!(le32_get(command->cdw12) & NVME_RW_DEALLOCATE);
		memset(mock->content + pending->offset, 0,
			((size_t)(le32_get(command->cdw12) & 0xffff) + 1) << shift);
		break;
	case NVME_DATASET_MANAGEMENT:
		counts->discards++;
		if (pending->have == sizeof(pending->range)) {
			memcpy(&pending->range, data, sizeof(pending->range));
			discard(mock, pending);
		}
		break;
	}
}

bool peer_io(struct peer *peer, const struct nvme_command *command, uint32_t data_bytes)
{
	struct mock *mock = peer->mock;
	struct pending *pending = &peer->pending[le16_get(command->id) & 0xff];
	bool rw = command->opcode == NVME_READ || command->opcode == NVME_WRITE;
	bool sends = command->opcode == NVME_WRITE || command->opcode == NVME_DATASET_MANAGEMENT;
	uint64_t lba = le32_get(command->cdw10) | (uint64_t)le32_get(command->cdw11) << 32;
	char data[64 << 10];

	if (pending->used)
		peer_complain(peer, "an id that is in use");
	if (++peer->flying >= (mock->config.entries ? mock->config.entries : 128))
		peer_complain(peer, "more commands than the queue has room for");
	*pending = (struct pending){.command = *command,
		.used = true,
		.bytes = le32_get(command->sgl.bytes),
		.have = data_bytes,
		.offset = rw || command->opcode == NVME_WRITE_ZEROES ? lba << mock->config.lba_shift
								     : 0};
	if (data_bytes > mock->config.capsule_bytes || data_bytes > sizeof(data) ||
		(data_bytes && data_bytes != pending->bytes) || pending->offset > MOCK_BYTES ||
		pending->bytes > MOCK_BYTES - pending->offset ||
		(rw && pending->bytes != ((le32_get(command->cdw12) & 0xffff) + 1)
						 << mock->config.lba_shift) ||
		!peer->connected || peer->auth.pending || (le32_get(command->nsid) != 1)) {
		peer_complain(peer, "range or length of a command");
		return false;
	}
	if (!peer_receive_data(peer, data, data_bytes))
		return false;
	if (peer->old && command->opcode == NVME_WRITE &&
		((le16_get(command->id) ^ peer->old_id) & 0xff) == 0)
		return peer_answer(peer, peer->old_id, NVME_OK, 0, MOCK_FINE) && false;
	pending->fault = peer_fault(peer, command->opcode != NVME_READ);
	if (pending->fault == MOCK_CUT_BEFORE)
		return false;
	pthread_mutex_lock(&mock->mutex);
	carry_out(mock, pending, data);
	pthread_mutex_unlock(&mock->mutex);
	return sends && !data_bytes ? grant(peer, pending) : complete(peer, pending);
}
