/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What host and controller say to each other to authenticate, as it stands on the wire: base 8.3.5
 * (of 2.1; 8.13 of 2.0). Each message is the data of one Authentication Send or Receive command.
 *
 *	host                                            controller
 *	Negotiate: my hashes and groups ------------->
 *	                         <-- Challenge: hash, group, C1, g^x
 *	Reply: R1, C2, g^y -------------------------->
 *	                         <-- Success1: R2
 *	Success2 ------------------------------------>     when there was a C2
 *
 * Either may end it with Failure1 (controller) or Failure2 (host).
 */
#ifndef DRIVERS_NVME_TCP_AUTHENTICATION_H
#define DRIVERS_NVME_TCP_AUTHENTICATION_H

#include <assert.h>

#include "base/endian.h"

enum auth_type { AUTH_COMMON = 0x00, AUTH_CHAP = 0x01 };

enum auth_id {
	AUTH_NEGOTIATE = 0x00, /* AUTH_COMMON, as are the failures */
	AUTH_CHALLENGE = 0x01,
	AUTH_REPLY = 0x02,
	AUTH_SUCCESS1 = 0x03,
	AUTH_SUCCESS2 = 0x04,
	AUTH_FAILURE2 = 0xf0,
	AUTH_FAILURE1 = 0xf1,
};

/* What all messages begin with. */
struct auth_header {
	uint8_t type, id;
	uint8_t reserved[2];
	le16 transaction;
};

static_assert(sizeof(struct auth_header) == 6, "base 8.3.5");

enum { AUTH_PROTOCOL_CHAP = 0x01, AUTH_IDS_MAX = 30 };

/* Base 8.3.5, with the one protocol that there is. */
struct auth_negotiate {
	struct auth_header header;
	uint8_t secure_channel; /* SC_C: 0, none */
	uint8_t protocols;	/* so many of what follows */
	uint8_t protocol;
	uint8_t reserved9;
	uint8_t hashes, groups;
	uint8_t hash[AUTH_IDS_MAX], group[AUTH_IDS_MAX];
};

static_assert(sizeof(struct auth_negotiate) == 72, "base 8.3.5");

/* Base 8.3.5.5.3. The challenge, and the public value, follow. */
struct auth_challenge {
	struct auth_header header;
	uint8_t hash_bytes;
	uint8_t reserved7;
	uint8_t hash, group;
	le16 public_bytes;
	le32 sequence;
};

static_assert(sizeof(struct auth_challenge) == 16, "base 8.3.5.5.3");

/* Base 8.3.5.5.4. Response, challenge and public value follow. */
struct auth_reply {
	struct auth_header header;
	uint8_t hash_bytes;
	uint8_t reserved7;
	uint8_t challenges; /* 1: the challenge is one; 0: zeros */
	uint8_t reserved9;
	le16 public_bytes;
	le32 sequence;
};

static_assert(sizeof(struct auth_reply) == 16, "base 8.3.5.5.4");

/* Base 8.3.5.5.5. The response follows. */
struct auth_success1 {
	struct auth_header header;
	uint8_t hash_bytes;
	uint8_t reserved7;
	uint8_t responds; /* 1: there is a response */
	uint8_t reserved9[7];
};

static_assert(sizeof(struct auth_success1) == 16, "base 8.3.5.5.5");

/* Base 8.3.5.5.6. */
struct auth_success2 {
	struct auth_header header;
	uint8_t reserved[10];
};

static_assert(sizeof(struct auth_success2) == 16, "base 8.3.5.5.6");

/* Base 8.3.5. */
struct auth_failure {
	struct auth_header header;
	uint8_t reason; /* 1 */
	uint8_t explanation;
};

static_assert(sizeof(struct auth_failure) == 8, "base 8.3.5");

enum { AUTH_REASON_FAILURE = 1 };

enum auth_explanation {
	AUTH_FAILED = 1,
	AUTH_NO_PROTOCOL = 2,
	AUTH_SECURE_CHANNEL = 3,
	AUTH_NO_HASH = 4,
	AUTH_NO_GROUP = 5,
	AUTH_WRONG_PAYLOAD = 6,
	AUTH_WRONG_MESSAGE = 7,
};

/* CDW10 of Authentication Send and Receive (base 6.1, 6.2); CDW11 is the length of the data. */
#define AUTH_SECURITY_PROTOCOL (0xe9u << 24 | 1u << 16 | 1u << 8)

enum { AUTH_MESSAGE_BYTES_MAX = 4096 };

#endif
