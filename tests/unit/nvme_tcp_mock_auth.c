/* SPDX-License-Identifier: Apache-2.0 */
/* The mock target: the controller's side of DH-HMAC-CHAP, and all that can be wrong in it. */
#include <string.h>

#include "base/bits.h"
#include "drivers/nvme_tcp/authentication.h"
#include "nvme_tcp_mock_peer.h"

static bool has_fault(const struct peer *peer, enum mock_auth_fault fault)
{
	const struct mock_auth *config = &peer->mock->config.auth;

	return config->fault == fault && config->fault_on_io == !!peer->queue;
}

static bool respond(
	struct peer *peer, bool of_controller, const uint8_t *challenge, uint8_t *response)
{
	const struct mock_auth *config = &peer->mock->config.auth;
	struct chap_question question = {
		.hash = config->hash,
		.sequence = peer->auth.sequence,
		.transaction = peer->auth.transaction,
		.of_controller = of_controller,
		.responder = of_controller ? MOCK_NQN : peer->auth.host,
		.requester = of_controller ? peer->auth.host : MOCK_NQN,
		.challenge = challenge,
		.session_key = config->group ? peer->auth.session_key : NULL,
	};
	const char *text = of_controller ? config->controller_secret : config->secret;
	struct chap_secret secret;

	return text && !chap_secret_parse(&secret, text, "the mock", NULL) &&
	       !chap_respond(&question, &secret, response);
}

/* --- what the host says ---------------------------------------------------------------------- */

static void take_negotiate(struct peer *peer, const struct auth_negotiate *message, uint32_t bytes)
{
	if (bytes != sizeof(*message) || message->secure_channel || message->protocols != 1 ||
		message->protocol != AUTH_PROTOCOL_CHAP || message->hashes != 3 ||
		message->groups != 6)
		peer_complain(peer, "AUTH_Negotiate");
	peer->auth.transaction = le16_get(message->header.transaction);
	peer->auth.next = AUTH_CHALLENGE;
}

static void take_reply(struct peer *peer, const struct auth_reply *message, uint32_t bytes)
{
	const struct mock_auth *config = &peer->mock->config.auth;
	const uint8_t *tail = (const uint8_t *)(message + 1);
	unsigned hash_bytes = chap_hash_bytes(config->hash);
	uint8_t expected[CHAP_HASH_BYTES_MAX];

	peer->auth.next = AUTH_FAILURE1;
	if (bytes != sizeof(*message) + 2 * hash_bytes + chap_group_bytes(config->group) ||
		le16_get(message->public_bytes) != chap_group_bytes(config->group) ||
		message->hash_bytes != hash_bytes ||
		message->challenges != !!le32_get(message->sequence)) {
		peer_complain(peer, "DH-HMAC-CHAP_Reply");
		return;
	}
	if (config->group && chap_pair_agree(peer->auth.pair, tail + 2 * hash_bytes, config->hash,
				     peer->auth.session_key))
		peer_complain(peer, "public value");
	if (!respond(peer, false, peer->auth.challenge, expected) ||
		memcmp(expected, tail, hash_bytes) != 0)
		return;
	memcpy(peer->auth.challenge, tail + hash_bytes, hash_bytes);
	peer->auth.sequence = le32_get(message->sequence);
	peer->auth.mutual = message->challenges;
	peer->auth.next = AUTH_SUCCESS1;
}

static void succeed(struct peer *peer)
{
	struct mock *mock = peer->mock;

	peer->auth.pending = false;
	pthread_mutex_lock(&mock->mutex);
	mock->counts.authentications++;
	mock->counts.mutual_authentications += peer->auth.mutual;
	pthread_mutex_unlock(&mock->mutex);
}

static bool take(struct peer *peer, const char *data, uint32_t bytes)
{
	const struct auth_header *header = (const struct auth_header *)data;

	if (bytes < sizeof(struct auth_failure)) {
		peer_complain(peer, "a message that is too short");
		return false;
	}
	if (header->id == AUTH_NEGOTIATE)
		take_negotiate(peer, (const struct auth_negotiate *)data, bytes);
	else if (le16_get(header->transaction) != peer->auth.transaction)
		peer_complain(peer, "transaction");
	else if (header->id == AUTH_REPLY && header->type == AUTH_CHAP)
		take_reply(peer, (const struct auth_reply *)data, bytes);
	else if (header->id == AUTH_SUCCESS2 && header->type == AUTH_CHAP && peer->auth.mutual)
		succeed(peer);
	else if (header->id != AUTH_FAILURE2 || header->type != AUTH_COMMON)
		peer_complain(peer, "a message that is not due");
	return true;
}

/* --- what it hears --------------------------------------------------------------------------- */

static void challenge(struct peer *peer, uint8_t *out)
{
	const struct mock_auth *config = &peer->mock->config.auth;
	struct auth_challenge *message = (struct auth_challenge *)out;
	unsigned hash_bytes = chap_hash_bytes(config->hash);
	uint8_t *tail = out + sizeof(*message);

	peer->auth.sequence = (uint32_t)random_next(&peer->random);
	for (unsigned i = 0; i < hash_bytes; i++)
		tail[i] = peer->auth.challenge[i] = (uint8_t)random_next(&peer->random);
	if (config->group) {
		peer->auth.pair = chap_pair_create(config->group);
		chap_pair_public(peer->auth.pair, tail + hash_bytes);
	}
	*message = (struct auth_challenge){
		.header = {AUTH_CHAP, AUTH_CHALLENGE,
			.transaction = le16_of(peer->auth.transaction)},
		.hash_bytes = (uint8_t)hash_bytes,
		.hash = (uint8_t)config->hash,
		.group = (uint8_t)config->group,
		.public_bytes = le16_of((uint16_t)chap_group_bytes(config->group)),
		.sequence = le32_of(peer->auth.sequence),
	};
	if (has_fault(peer, MOCK_AUTH_MESSAGE))
		message->header.id = AUTH_SUCCESS1;
	if (has_fault(peer, MOCK_AUTH_TRANSACTION))
		message->header.transaction = le16_of(peer->auth.transaction ^ 1);
	if (has_fault(peer, MOCK_AUTH_HASH))
		message->hash = 9;
	if (has_fault(peer, MOCK_AUTH_HASH_BYTES))
		message->hash_bytes--;
	if (has_fault(peer, MOCK_AUTH_GROUP))
		message->group = 9;
	if (has_fault(peer, MOCK_AUTH_PUBLIC_BYTES))
		message->public_bytes = le16_of(0xffff);
	if (has_fault(peer, MOCK_AUTH_PUBLIC)) {
		memset(tail + hash_bytes, 0, chap_group_bytes(config->group));
		tail[hash_bytes + chap_group_bytes(config->group) - 1] = 1;
	}
}

static void success(struct peer *peer, uint8_t *out)
{
	struct auth_success1 *message = (struct auth_success1 *)out;
	uint8_t *response = out + sizeof(*message);

	message->header = (struct auth_header){
		AUTH_CHAP, AUTH_SUCCESS1, .transaction = le16_of(peer->auth.transaction)};
	message->hash_bytes = (uint8_t)chap_hash_bytes(peer->mock->config.auth.hash);
	message->responds = peer->auth.mutual &&
			    respond(peer, true, peer->auth.challenge, response) &&
			    !has_fault(peer, MOCK_AUTH_NO_RESPONSE);
	if (has_fault(peer, MOCK_AUTH_WRONG_RESPONSE))
		response[3] ^= 4;
	if (!peer->auth.mutual)
		succeed(peer);
}

static void failure(struct peer *peer, uint8_t explanation, uint8_t *out)
{
	*(struct auth_failure *)out = (struct auth_failure){
		.header = {AUTH_COMMON, AUTH_FAILURE1,
			.transaction = le16_of(peer->auth.transaction)},
		.reason = AUTH_REASON_FAILURE,
		.explanation = explanation,
	};
}

bool peer_authenticate(
	struct peer *peer, const struct nvme_command *command, const char *data, uint32_t bytes)
{
	bool send = (le32_get(command->nsid) & 0xff) == FABRICS_AUTHENTICATION_SEND;
	uint32_t wanted = le32_get(command->cdw11);
	_Alignas(8) uint8_t out[AUTH_MESSAGE_BYTES_MAX] = {0};
	uint16_t id = le16_get(command->id);

	if (le32_get(command->cdw10) != AUTH_SECURITY_PROTOCOL || (send && wanted != bytes) ||
		(!send && wanted != sizeof(out)))
		peer_complain(peer, "authentication command");
	if (has_fault(peer, send ? MOCK_AUTH_STATUS : MOCK_AUTH_NO_RECEIVE))
		return peer_answer(peer, id, NVME_INVALID_FIELD, 0, MOCK_FINE);
	if ((has_fault(peer, MOCK_AUTH_CUT) ||
		    (has_fault(peer, MOCK_AUTH_CUT_REPLY) && peer->auth.next != AUTH_CHALLENGE)) &&
		!send)
		return false;
	if (send)
		return take(peer, data, bytes) && peer_answer(peer, id, NVME_OK, 0, MOCK_FINE);
	if (has_fault(peer, MOCK_AUTH_SHORT))
		return peer_answer(peer, id, NVME_OK, 0, MOCK_FINE);
	if (has_fault(peer, MOCK_AUTH_FAILURE1))
		failure(peer, peer->mock->config.auth.explanation, out);
	else if (peer->auth.next == AUTH_CHALLENGE)
		challenge(peer, out);
	else if (peer->auth.next == AUTH_SUCCESS1)
		success(peer, out);
	else
		failure(peer, AUTH_FAILED, out);
	return peer_give(peer, command, out, sizeof(out));
}
