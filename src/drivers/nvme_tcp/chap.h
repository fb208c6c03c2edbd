/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic of DH-HMAC-CHAP (base 8.3.5.5): secrets, responses, and the Diffie-Hellman
 * exchange that hides both from whoever listens. Who says what when is authenticate.c's.
 *
 *	K       the secret of one of the two, as a file holds it: DHHC-1:hh:BASE64:
 *	K'      K, or HMAC(K, NQN || "NVMe-over-Fabrics") when hh names a hash
 *	Ks      hash(g^xy mod p)
 *	Ca      C, the challenge, or HMAC(Ks, C) with a group
 *	R       HMAC(K', Ca || S || T_ID || SC_C || role || who answers || 0 || who asks)
 *
 * No function here prints, logs or tells a secret. The only file that knows libcrypto is chap.c.
 */
#ifndef DRIVERS_NVME_TCP_CHAP_H
#define DRIVERS_NVME_TCP_CHAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fail.h"

/* Identifiers as on the wire (base 8.3.5.5). */
enum chap_hash { CHAP_NO_HASH = 0, CHAP_SHA256 = 1, CHAP_SHA384 = 2, CHAP_SHA512 = 3 };

enum chap_group {
	CHAP_NO_GROUP = 0,
	CHAP_FFDHE2048 = 1, /* RFC 7919 */
	CHAP_FFDHE3072 = 2,
	CHAP_FFDHE4096 = 3,
	CHAP_FFDHE6144 = 4,
	CHAP_FFDHE8192 = 5,
};

enum { CHAP_HASH_BYTES_MAX = 64, CHAP_PUBLIC_BYTES_MAX = 1024, CHAP_SECRET_TEXT_BYTES = 128 };

/* 0: there is no such. Of a digest; of a public value. */
unsigned chap_hash_bytes(unsigned hash);
unsigned chap_group_bytes(unsigned group);

struct chap_secret {
	enum chap_hash transform; /* CHAP_NO_HASH: used as it is */
	unsigned bytes;		  /* 0: none */
	uint8_t key[CHAP_HASH_BYTES_MAX];
};

/* `what` names the text in the sentence. */
int chap_secret_parse(
	struct chap_secret *secret, const char *text, const char *what, struct fail *fail);
/* From a file whose first line is the secret, and that only its owner may read. */
int chap_secret_read(struct chap_secret *secret, const char *path, struct fail *fail);
void chap_wipe(void *bytes, size_t count);

/* All that a response depends on, but for the secret. */
struct chap_question {
	enum chap_hash hash;
	uint32_t sequence;
	uint16_t transaction;
	bool of_controller;		   /* who answers: the controller, else the host */
	const char *responder, *requester; /* NQNs */
	const uint8_t *challenge;	   /* chap_hash_bytes(hash) */
	const uint8_t *session_key;	   /* likewise; NULL: no group */
};

/* response: chap_hash_bytes(hash). -EIO: libcrypto cannot. */
int chap_respond(
	const struct chap_question *question, const struct chap_secret *secret, uint8_t *response);
/* In a time that says nothing of where they differ. */
bool chap_equal(const uint8_t *one, const uint8_t *other, size_t count);

/* One side of an exchange; NULL: libcrypto cannot. */
struct chap_pair *chap_pair_create(enum chap_group group);
void chap_pair_free(struct chap_pair *pair);
/* value: chap_group_bytes(group), big-endian, as on the wire. */
int chap_pair_public(const struct chap_pair *pair, uint8_t *value);
/* session_key: chap_hash_bytes(hash). -EPROTO: other is no good public value of the group. */
int chap_pair_agree(const struct chap_pair *pair, const uint8_t *other, enum chap_hash hash,
	uint8_t *session_key);

#endif
