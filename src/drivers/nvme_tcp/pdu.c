/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/nvme_tcp/pdu.h"

#include <string.h>

#include "base/bits.h"
#include "base/crc32c.h"

const char *pdu_check(
	const struct pdu_header *header, struct pdu_digests digests, struct pdu_shape *shape)
{
	uint32_t bytes = le32_get(header->bytes);
	uint32_t head = PDU_CONTROLLER_HEADER_BYTES;

	*shape = (struct pdu_shape){.header_bytes = head};
	if (header->type != PDU_RESPONSE && header->type != PDU_C2H_DATA &&
		header->type != PDU_R2T && header->type != PDU_C2H_TERMINATE)
		return "a PDU of a type that a controller does not send";
	if (header->header_bytes != head)
		return "a PDU with a wrong header length";
	if (header->type == PDU_C2H_TERMINATE) { /* never with digests */
		shape->data_bytes = bytes - head;
		return bytes < head || bytes > PDU_TERMINATE_BYTES_MAX
			       ? "a terminate PDU of a wrong length"
			       : NULL;
	}
	if (digests.header != !!(header->flags & PDU_HEADER_DIGEST))
		return "a PDU whose header digest is not as agreed";
	shape->digest_bytes = digests.header ? PDU_DIGEST_BYTES : 0;
	head += shape->digest_bytes;
	if (header->type != PDU_C2H_DATA)
		return bytes == head ? NULL : "a PDU of a wrong length";
	if (digests.data != !!(header->flags & PDU_DATA_DIGEST))
		return "a PDU whose data digest is not as agreed";
	shape->data_digest = digests.data;
	if (header->data_offset < head || header->data_offset % 4)
		return "a data PDU with a wrong data offset";
	shape->pad_bytes = header->data_offset - head;
	head = header->data_offset + (digests.data ? PDU_DIGEST_BYTES : 0);
	if (bytes <= head)
		return "a data PDU without data";
	shape->data_bytes = bytes - head;
	return NULL;
}

static const uint8_t header_bytes[] = {
	[PDU_IC_REQUEST] = sizeof(struct pdu_ic),
	[PDU_H2C_TERMINATE] = sizeof(struct pdu_terminate),
	[PDU_COMMAND] = sizeof(struct pdu_command),
	[PDU_H2C_DATA] = sizeof(struct pdu_data),
};

uint32_t pdu_seal(void *head, enum pdu_type type, uint32_t data_bytes, struct pdu_digests digests,
	uint32_t align_bytes)
{
	struct pdu_header *header = head;
	uint32_t at = header_bytes[type], digest = digests.header ? PDU_DIGEST_BYTES : 0;
	uint32_t tail = data_bytes && digests.data ? PDU_DIGEST_BYTES : 0;
	uint32_t begin = at + digest;

	if (data_bytes)
		begin = (uint32_t)align_up(begin, 4) <= align_bytes
				? align_bytes
				: (uint32_t)divide_up(begin, align_bytes) * align_bytes;
	assert(at && begin <= PDU_HEAD_BYTES_MAX);
	header->type = (uint8_t)type;
	header->flags |= (digest ? PDU_HEADER_DIGEST : 0) | (tail ? PDU_DATA_DIGEST : 0);
	header->header_bytes = (uint8_t)at;
	header->data_offset = data_bytes ? (uint8_t)begin : 0;
	header->bytes = le32_of(begin + data_bytes + tail);
	memset((char *)head + at, 0, begin - at);
	if (digest) {
		le32 crc = le32_of(crc32c(0, head, at));

		memcpy((char *)head + at, &crc, sizeof(crc));
	}
	return begin;
}

const char *pdu_terminate_text(unsigned status)
{
	static const char *const texts[] = {
		[PDU_TERMINATE_INVALID_FIELD] = "it found a field of a PDU invalid",
		[PDU_TERMINATE_SEQUENCE] = "it found PDUs out of sequence",
		[PDU_TERMINATE_HEADER_DIGEST] = "it found a wrong header digest",
		[PDU_TERMINATE_RANGE] = "it found data out of range",
		[PDU_TERMINATE_LIMIT] = "it found a limit exceeded",
		[PDU_TERMINATE_PARAMETER] = "it found a parameter that it does not support",
	};

	return status < ARRAY_SIZE(texts) && texts[status] ? texts[status] : "it did not say why";
}
