/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What NVMe/TCP and NVMe over Fabrics put on the wire beyond nvme/wire.h: the NVMe/TCP Transport
 * Specification ("tcp") and the Fabrics parts of the Base Specification ("base"). Sections are
 * those of tcp 1.1 and base 2.1.
 *
 *	PDU: header | header digest | padding | data | data digest
 *	     HLEN bytes            PDO bytes ^            PLEN bytes ^
 */
#ifndef DRIVERS_NVME_TCP_PDU_H
#define DRIVERS_NVME_TCP_PDU_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/endian.h"
#include "drivers/nvme/wire.h"

enum pdu_type {
	PDU_IC_REQUEST = 0x00,
	PDU_IC_RESPONSE = 0x01,
	PDU_H2C_TERMINATE = 0x02,
	PDU_C2H_TERMINATE = 0x03,
	PDU_COMMAND = 0x04,
	PDU_RESPONSE = 0x05,
	PDU_H2C_DATA = 0x06,
	PDU_C2H_DATA = 0x07,
	PDU_R2T = 0x09,
};

/* flags */
enum {
	PDU_HEADER_DIGEST = 1 << 0,
	PDU_DATA_DIGEST = 1 << 1,
	PDU_LAST = 1 << 2,
	PDU_SUCCESS = 1 << 3, /* with LAST: there will be no response */
};

/* Tcp 3.6.1, common header. */
struct pdu_header {
	uint8_t type, flags;
	uint8_t header_bytes; /* without its digest */
	uint8_t data_offset;  /* from the beginning of the PDU; 0: no data */
	le32 bytes;	      /* of all of it */
};

static_assert(sizeof(struct pdu_header) == 8, "tcp 3.6.1");

/* Tcp 3.6.2.2 and 3.6.2.3: request and response differ in what the names mean. */
struct pdu_ic {
	struct pdu_header header;
	le16 version;	   /* 0 */
	uint8_t alignment; /* of data sent to the one who says it: dwords, 0-based */
	uint8_t digests;   /* 1 header, 2 data */
	le32 limit;	   /* request: R2Ts per command, 0-based; response: bytes per H2CData */
	uint8_t reserved[112];
};

static_assert(sizeof(struct pdu_ic) == 128, "tcp 3.6.2.2");

enum { PDU_IC_HEADER_DIGEST = 1 << 0, PDU_IC_DATA_DIGEST = 1 << 1, PDU_IC_ALIGN_MAX = 31 };

/* Tcp 3.6.2.4 and 3.6.2.5; the header of the PDU that was wrong follows. */
struct pdu_terminate {
	struct pdu_header header;
	le16 status;
	le16 information[2]; /* low half first */
	uint8_t reserved[10];
};

static_assert(sizeof(struct pdu_terminate) == 24, "tcp 3.6.2.4");

enum {
	PDU_TERMINATE_BYTES_MAX = 152,
	PDU_TERMINATE_INVALID_FIELD = 1,
	PDU_TERMINATE_SEQUENCE = 2,
	PDU_TERMINATE_HEADER_DIGEST = 3,
	PDU_TERMINATE_RANGE = 4,
	PDU_TERMINATE_LIMIT = 5,
	PDU_TERMINATE_PARAMETER = 6,
};

struct pdu_command {
	struct pdu_header header;
	struct nvme_command command;
};

static_assert(sizeof(struct pdu_command) == 72, "tcp 3.6.2.6");

struct pdu_response {
	struct pdu_header header;
	struct nvme_completion completion;
};

static_assert(sizeof(struct pdu_response) == 24, "tcp 3.6.2.7");

/* Tcp 3.6.2.8 to 3.6.2.10: H2CData, C2HData and R2T have one shape. */
struct pdu_data {
	struct pdu_header header;
	le16 id;  /* of the command */
	le16 tag; /* the controller's, of an R2T and what answers it */
	le32 offset, bytes;
	uint8_t reserved[4];
};

static_assert(sizeof(struct pdu_data) == 24, "tcp 3.6.2.8");

enum {
	PDU_DIGEST_BYTES = 4,
	PDU_H2C_BYTES_MIN = 4096,	  /* what a controller must take in one H2CData */
	PDU_ADMIN_CAPSULE_BYTES = 8192,	  /* data in a capsule for Fabrics and admin commands */
	PDU_HEAD_BYTES_MAX = 128,	  /* of all that we send: header, digest, padding */
	PDU_CONTROLLER_HEADER_BYTES = 24, /* of all that a controller sends after the ICResp */
};

/* How a PDU lies in the stream. */
struct pdu_shape {
	uint32_t header_bytes; /* without digest */
	uint32_t digest_bytes; /* of the header: 0 or 4 */
	uint32_t pad_bytes;
	uint32_t data_bytes; /* without digest */
	bool data_digest;
};

struct pdu_digests {
	bool header, data;
};

/* Judges a common header from a controller, after the ICResp. NULL: good, and *shape says where
 * what is; otherwise what is wrong with it. */
const char *pdu_check(
	const struct pdu_header *header, struct pdu_digests digests, struct pdu_shape *shape);

/* Fills the common header of a PDU to a controller, appends digest and padding to its
 * `header_bytes` at `head` (PDU_HEAD_BYTES_MAX), and returns where the data begin. align_bytes: of
 * the data. The header's own fields are there already. */
uint32_t pdu_seal(void *head, enum pdu_type type, uint32_t data_bytes, struct pdu_digests digests,
	uint32_t align_bytes);

/* What an error status of a terminate PDU means. */
const char *pdu_terminate_text(unsigned status);

/* --- Fabrics (base 6) ------------------------------------------------------------------------ */

enum fabrics_type {
	FABRICS_PROPERTY_SET = 0x00,
	FABRICS_CONNECT = 0x01,
	FABRICS_PROPERTY_GET = 0x04,
	FABRICS_AUTHENTICATION_SEND = 0x05,
	FABRICS_AUTHENTICATION_RECEIVE = 0x06,
};

enum fabrics_status {
	FABRICS_CONNECT_FORMAT = 0x180,
	FABRICS_CONNECT_BUSY = 0x181,
	FABRICS_CONNECT_PARAMETERS = 0x182,
	FABRICS_CONNECT_HOST = 0x184,
	FABRICS_AUTHENTICATION_REQUIRED = 0x191,
};

enum {
	FABRICS_NO_FLOW_CONTROL = 1 << 2, /* CATTR */
	FABRICS_CONTROLLER_ANY = 0xffff,  /* a dynamic controller */
	FABRICS_DATA_SUBSYSTEM = 256,	  /* IPO of the subsystem's name, */
	FABRICS_DATA_HOST = 512,	  /* and of the host's */
	FABRICS_WRONG_IN_DATA = 1 << 16,  /* IATTR */
};

/* DW0 of Connect's answer, AUTHREQ (base 6.3): what must come before the first other command. */
enum { FABRICS_MUST_AUTHENTICATE = 1 << 17, FABRICS_MUST_SECURE_CHANNEL = 1 << 18 };

/* Base 6.3, data of Connect. */
struct fabrics_connect_data {
	uint8_t host_id[16];
	le16 controller_id;
	uint8_t reserved18[238];
	char subsystem[NVME_NQN_BYTES];
	char host[NVME_NQN_BYTES];
	uint8_t reserved768[256];
};

static_assert(sizeof(struct fabrics_connect_data) == 1024, "base 6.3");
static_assert(offsetof(struct fabrics_connect_data, subsystem) == FABRICS_DATA_SUBSYSTEM, "");

#define FABRICS_DISCOVERY_NQN "nqn.2014-08.org.nvmexpress.discovery"

/* Base 5.1.12.3.1, log page 70h. */
struct discovery_header {
	le64 generation;
	le64 records;
	le16 format; /* 0 */
	uint8_t reserved[1006];
};

static_assert(sizeof(struct discovery_header) == 1024, "base 5.1.12.3.1");

enum discovery_kind { DISCOVERY_REFERRAL = 1, DISCOVERY_SUBSYSTEM = 2, DISCOVERY_SELF = 3 };
enum { DISCOVERY_TCP = 3, DISCOVERY_IPV4 = 1, DISCOVERY_IPV6 = 2 };

struct discovery_record {
	uint8_t transport, family, kind, requirements;
	le16 port_id, controller_id, admin_queue_entries, flags;
	uint8_t reserved12[20];
	char service[32]; /* padded with blanks or zeros, as the next ones */
	uint8_t reserved64[192];
	char nqn[NVME_NQN_BYTES];
	char address[256];
	uint8_t transport_specific[256];
};

static_assert(sizeof(struct discovery_record) == 1024, "base 5.1.12.3.1");
static_assert(offsetof(struct discovery_record, service) == 32, "base 5.1.12.3.1");
static_assert(offsetof(struct discovery_record, address) == 512, "base 5.1.12.3.1");

/* Base 5.1.12.1.13, log page 0Ch. */
struct ana_header {
	le64 changes;
	le16 groups;
	uint8_t reserved[6];
};

struct ana_group {
	le32 id;
	le32 namespaces; /* so many le32 follow */
	le64 changes;
	uint8_t state; /* bits 3:0 */
	uint8_t reserved[15];
};

static_assert(sizeof(struct ana_header) == 16 && sizeof(struct ana_group) == 32, "base 5.1.12");

enum ana_state {
	ANA_OPTIMIZED = 1,
	ANA_NON_OPTIMIZED = 2,
	ANA_INACCESSIBLE = 3,
	ANA_PERSISTENT_LOSS = 4,
	ANA_CHANGE = 15,
};

enum { ANA_GROUPS_ONLY = 1 };	 /* LSP: no lists of namespaces */
enum { NVME_CMIC_ANA = 1 << 3 }; /* nvme_identify_controller.multipath */

#endif
