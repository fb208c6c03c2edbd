/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's part in the dialogue of authentication.h, straight down, on one queue that has just
 * been connected. What the controller says is hostile: its messages are checked as they come, and a
 * wrong one ends the connection. No sentence here holds a secret or what was made of one.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/entropy.h"
#include "drivers/nvme_tcp/authentication.h"
#include "drivers/nvme_tcp/controller.h"

/* A controller may have to raise a number of 8192 bits to such a power. */
enum { AUTHENTICATION_PATIENCE_MS = 30000 };

/* In the order in which we like them: a group costs the target more the larger it is. */
static const uint8_t hashes[] = {CHAP_SHA256, CHAP_SHA384, CHAP_SHA512};
static const uint8_t group_ids[] = {CHAP_FFDHE2048, CHAP_FFDHE3072, CHAP_FFDHE4096, CHAP_FFDHE6144,
	CHAP_FFDHE8192, CHAP_NO_GROUP};

static_assert(sizeof(hashes) <= AUTH_IDS_MAX && sizeof(group_ids) <= AUTH_IDS_MAX, "");

struct dialogue {
	struct tcp_controller *controller;
	struct connection *connection;
	uint16_t transaction;
	enum chap_hash hash;
	unsigned hash_bytes;
	enum chap_group group;
	uint32_t sequence;			/* S1, later S2 */
	uint8_t challenge[CHAP_HASH_BYTES_MAX]; /* C1, later C2 */
	uint8_t session_key[CHAP_HASH_BYTES_MAX];
	uint8_t public[CHAP_PUBLIC_BYTES_MAX];
	union {
		struct auth_header header;
		struct auth_challenge challenge;
		struct auth_success1 success1;
		struct auth_failure failure;
		uint8_t bytes[AUTH_MESSAGE_BYTES_MAX];
	} in;
};

/* --- messages -------------------------------------------------------------------------------- */

static struct auth_header header_of(const struct dialogue *dialogue, uint8_t type, uint8_t id)
{
	return (struct auth_header){
		.type = type, .id = id, .transaction = le16_of(dialogue->transaction)};
}

static int carry_out(struct dialogue *dialogue, struct exchange *exchange, enum fabrics_type type,
	uint32_t bytes, struct fail *fail)
{
	struct connection *connection = dialogue->connection;
	int error;

	exchange->command.opcode = NVME_FABRICS;
	exchange->command.nsid = le32_of(type);
	exchange->command.cdw10 = le32_of(AUTH_SECURITY_PROTOCOL);
	exchange->command.cdw11 = le32_of(bytes);
	error = connection_exchange(connection, exchange, fail);
	if (!error && nvme_status_of(&exchange->completion))
		error = fail_set(fail, EACCES,
			"%s breaks off the authentication for %s (status %03x): look into its log",
			connection->peer, dialogue->controller->nqn,
			nvme_status_code(nvme_status_of(&exchange->completion)));
	return error;
}

static int say(struct dialogue *dialogue, const void *message, size_t bytes, struct fail *fail)
{
	struct exchange exchange = {.out = message, .out_bytes = (uint32_t)bytes};

	return carry_out(dialogue, &exchange, FABRICS_AUTHENTICATION_SEND, (uint32_t)bytes, fail);
}

/* A controller that does not keep to the rules; it is told so. */
static int wrong(struct dialogue *dialogue, const char *what, struct fail *fail)
{
	struct auth_failure failure = {
		.header = header_of(dialogue, AUTH_COMMON, AUTH_FAILURE2),
		.reason = AUTH_REASON_FAILURE,
		.explanation = AUTH_WRONG_PAYLOAD,
	};

	say(dialogue, &failure, sizeof(failure), NULL);
	return fail_set(fail, EPROTO, "%s does not authenticate as it should: %s",
		dialogue->connection->peer, what);
}

/* Why the controller has said no. */
static int explain(const struct dialogue *dialogue, unsigned explanation, struct fail *fail)
{
	const struct tcp_controller *controller = dialogue->controller;
	const char *peer = dialogue->connection->peer;

	switch (explanation) {
	case AUTH_FAILED:
		return fail_set(fail, EACCES,
			"%s does not accept the secret in %s: make it the one that %s has on the "
			"target",
			peer, controller->target->secret_file, controller->host_nqn);
	case AUTH_NO_HASH:
	case AUTH_NO_GROUP:
	case AUTH_NO_PROTOCOL:
		return fail_set(fail, EACCES,
			"%s wants a %s for its authentication that braid does not know: it knows "
			"SHA-256, 384 and 512, no group and FFDHE 2048 to 8192",
			peer,
			explanation == AUTH_NO_HASH    ? "hash"
			: explanation == AUTH_NO_GROUP ? "group"
						       : "protocol");
	case AUTH_SECURE_CHANNEL:
		return fail_set(
			fail, EACCES, "%s wants a secure channel, which braid cannot do", peer);
	default:
		return fail_set(fail, EACCES,
			"%s breaks off the authentication (explanation %u): look into its log",
			peer, explanation);
	}
}

/* The next message, which has to be `id` and at least so long; what did not come is zeros. */
static int hear(struct dialogue *dialogue, enum auth_id id, struct fail *fail)
{
	struct exchange exchange = {
		.in = &dialogue->in, .in_bytes = sizeof(dialogue->in), .in_may_be_short = true};
	const struct auth_header *header = &dialogue->in.header;
	int error;

	memset(&dialogue->in, 0, sizeof(dialogue->in));
	error = carry_out(
		dialogue, &exchange, FABRICS_AUTHENTICATION_RECEIVE, sizeof(dialogue->in), fail);
	if (error)
		return error;
	if (header->type == AUTH_COMMON && header->id == AUTH_FAILURE1)
		return explain(dialogue, dialogue->in.failure.explanation, fail);
	if (header->type != AUTH_CHAP || header->id != id)
		return wrong(dialogue, "another message than the one that is due", fail);
	if (le16_get(header->transaction) != dialogue->transaction)
		return wrong(dialogue, "a message of another transaction", fail);
	return 0;
}

/* --- the dialogue ---------------------------------------------------------------------------- */

static int negotiate(struct dialogue *dialogue, struct fail *fail)
{
	struct auth_negotiate message = {
		.header = header_of(dialogue, AUTH_COMMON, AUTH_NEGOTIATE),
		.protocols = 1,
		.protocol = AUTH_PROTOCOL_CHAP,
		.hashes = sizeof(hashes),
		.groups = sizeof(group_ids),
	};

	memcpy(message.hash, hashes, sizeof(hashes));
	memcpy(message.group, group_ids, sizeof(group_ids));
	return say(dialogue, &message, sizeof(message), fail);
}

/* Takes the challenge, and makes the other half of the exchange of keys. */
static int take_challenge(struct dialogue *dialogue, struct fail *fail)
{
	const struct auth_challenge *message = &dialogue->in.challenge;
	const uint8_t *tail = dialogue->in.bytes + sizeof(*message);
	struct chap_pair *pair;
	int error = hear(dialogue, AUTH_CHALLENGE, fail);

	if (error)
		return error;
	dialogue->hash = message->hash;
	dialogue->group = message->group;
	dialogue->hash_bytes = chap_hash_bytes(message->hash);
	dialogue->sequence = le32_get(message->sequence);
	if (!dialogue->hash_bytes || message->hash_bytes != dialogue->hash_bytes)
		return wrong(dialogue, "a hash that was not offered", fail);
	if ((message->group && !chap_group_bytes(message->group)) ||
		le16_get(message->public_bytes) != chap_group_bytes(message->group))
		return wrong(dialogue, "a group that was not offered", fail);
	memcpy(dialogue->challenge, tail, dialogue->hash_bytes);
	if (!dialogue->group)
		return 0;
	pair = chap_pair_create(dialogue->group);
	error = pair ? chap_pair_public(pair, dialogue->public) : -EIO;
	if (!error)
		error = chap_pair_agree(
			pair, tail + dialogue->hash_bytes, dialogue->hash, dialogue->session_key);
	chap_pair_free(pair);
	if (error == -EPROTO)
		return wrong(dialogue, "a public value that is none of its group", fail);
	return error ? fail_set(fail, EIO, "libcrypto cannot do the group %u", dialogue->group) : 0;
}

/* The response to the challenge that the dialogue holds. */
static int respond(
	const struct dialogue *dialogue, bool of_controller, uint8_t *response, struct fail *fail)
{
	const struct tcp_controller *controller = dialogue->controller;
	struct chap_question question = {
		.hash = dialogue->hash,
		.sequence = dialogue->sequence,
		.transaction = dialogue->transaction,
		.of_controller = of_controller,
		.responder = of_controller ? controller->nqn : controller->host_nqn,
		.requester = of_controller ? controller->host_nqn : controller->nqn,
		.challenge = dialogue->challenge,
		.session_key = dialogue->group ? dialogue->session_key : NULL,
	};

	return chap_respond(&question,
		       of_controller ? &controller->controller_secret : &controller->secret,
		       response)
		       ? fail_set(fail, EIO, "libcrypto cannot do the hash %u", dialogue->hash)
		       : 0;
}

static int reply(struct dialogue *dialogue, struct fail *fail)
{
	bool mutual = dialogue->controller->controller_secret.bytes;
	unsigned public_bytes = chap_group_bytes(dialogue->group), bytes = dialogue->hash_bytes;
	_Alignas(8) uint8_t
		out[sizeof(struct auth_reply) + 2 * CHAP_HASH_BYTES_MAX + CHAP_PUBLIC_BYTES_MAX];
	struct auth_reply *message = (struct auth_reply *)out;
	uint8_t *tail = out + sizeof(*message);
	int error = respond(dialogue, false, tail, fail);

	if (error)
		return error;
	memset(dialogue->challenge, 0, bytes);
	dialogue->sequence = 0;
	if (mutual) {
		entropy_get(dialogue->challenge, bytes);
		entropy_get(&dialogue->sequence, sizeof(dialogue->sequence));
		dialogue->sequence |= 1; /* 0 would mean that there is none */
	}
	*message = (struct auth_reply){
		.header = header_of(dialogue, AUTH_CHAP, AUTH_REPLY),
		.hash_bytes = (uint8_t)bytes,
		.challenges = mutual,
		.public_bytes = le16_of((uint16_t)public_bytes),
		.sequence = le32_of(dialogue->sequence),
	};
	memcpy(tail + bytes, dialogue->challenge, bytes);
	memcpy(tail + 2 * bytes, dialogue->public, public_bytes);
	return say(dialogue, out, sizeof(*message) + 2 * bytes + public_bytes, fail);
}

/* The controller has accepted us; now it is its turn. */
static int check_controller(struct dialogue *dialogue, struct fail *fail)
{
	const struct auth_success1 *message = &dialogue->in.success1;
	struct auth_success2 success = {.header = header_of(dialogue, AUTH_CHAP, AUTH_SUCCESS2)};
	struct auth_failure failure = {
		.header = header_of(dialogue, AUTH_COMMON, AUTH_FAILURE2),
		.reason = AUTH_REASON_FAILURE,
		.explanation = AUTH_FAILED,
	};
	uint8_t expected[CHAP_HASH_BYTES_MAX];
	int error = respond(dialogue, true, expected, fail);

	if (error)
		return error;
	if (message->responds == 1 && message->hash_bytes == dialogue->hash_bytes &&
		chap_equal(expected, dialogue->in.bytes + sizeof(*message), dialogue->hash_bytes))
		return say(dialogue, &success, sizeof(success), fail);
	say(dialogue, &failure, sizeof(failure), NULL);
	return fail_set(fail, EACCES,
		"%s does not know the secret in %s: it is not the target that you mean, or make "
		"that the controller's secret for %s there",
		dialogue->connection->peer, dialogue->controller->target->controller_secret_file,
		dialogue->controller->host_nqn);
}

/* Shows that we know the secret. Linux's target hangs up on those that do not, sometimes before its
 * Failure1 has left. */
static int prove(struct dialogue *dialogue, struct fail *fail)
{
	const struct tcp_controller *controller = dialogue->controller;
	int error = reply(dialogue, fail);

	if (!error)
		error = hear(dialogue, AUTH_SUCCESS1, fail);
	if (error == -ECONNRESET)
		error = fail_set(fail, EACCES,
			"%s hung up on our answer: most likely it does not accept the secret in "
			"%s; make it the one that %s has on the target",
			dialogue->connection->peer, controller->target->secret_file,
			controller->host_nqn);
	return error;
}

static int converse(struct dialogue *dialogue, struct fail *fail)
{
	int error = negotiate(dialogue, fail);

	if (!error)
		error = take_challenge(dialogue, fail);
	if (!error)
		error = prove(dialogue, fail);
	if (!error && dialogue->controller->controller_secret.bytes)
		error = check_controller(dialogue, fail);
	return error;
}

int tcp_controller_authenticate(
	struct tcp_controller *controller, struct connection *connection, struct fail *fail)
{
	struct dialogue *dialogue = calloc(1, sizeof(*dialogue));
	unsigned patience_ms = connection->patience_ms;
	int error;

	if (!controller->secret.bytes) {
		free(dialogue);
		return fail_set(fail, EACCES,
			"%s demands authentication (DH-HMAC-CHAP) of %s for %s: put its secret "
			"into a file and attach with --dhchap-secret-file",
			connection->peer, controller->host_nqn, controller->nqn);
	}
	if (!dialogue)
		return fail_set(fail, ENOMEM, "no memory to authenticate");
	dialogue->controller = controller;
	dialogue->connection = connection;
	entropy_get(&dialogue->transaction, sizeof(dialogue->transaction));
	connection->patience_ms = AUTHENTICATION_PATIENCE_MS;
	error = converse(dialogue, fail);
	connection->patience_ms = patience_ms;
	chap_wipe(dialogue, sizeof(*dialogue));
	free(dialogue);
	return error;
}
