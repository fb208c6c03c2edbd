/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the mock target: a connection, served by a thread of its own. */
#ifndef TESTS_UNIT_NVME_TCP_MOCK_PEER_H
#define TESTS_UNIT_NVME_TCP_MOCK_PEER_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/random.h"
#include "drivers/nvme_tcp/chap.h"
#include "drivers/nvme_tcp/pdu.h"
#include "nvme_tcp_mock.h"

enum { MOCK_PEERS_MAX = 4096, MOCK_COMMANDS = 256, MOCK_EVENTS_MAX = 64, MOCK_EVENT_LIMIT = 3 };

/* A command that waits for its data, or for its answer to leave. */
struct pending {
	struct nvme_command command;
	bool used, held;
	enum mock_fault fault;
	uint32_t bytes, have, granted; /* of data */
	uint64_t offset;
	struct nvme_dsm_range range; /* of a discard */
};

/* The controller's side of the dialogue. */
struct peer_auth {
	uint8_t next; /* enum auth_id of what Authentication Receive answers */
	uint16_t transaction;
	uint32_t sequence; /* S1, later S2 */
	struct chap_pair *pair;
	uint8_t challenge[CHAP_HASH_BYTES_MAX], session_key[CHAP_HASH_BYTES_MAX];
	bool mutual;
	bool pending; /* no other command is in order */
	char host[NVME_NQN_BYTES];
};

/* Of an admin connection. */
struct peer_events {
	unsigned waiting; /* asynchronous event requests */
	uint16_t ids[MOCK_EVENT_LIMIT];
	unsigned seen;	 /* of mock->events */
	unsigned unread; /* log page of the last event; 0: it has been read */
	uint32_t wanted; /* the feature */
};

struct peer {
	struct mock *mock;
	pthread_t thread;
	int fd;
	unsigned queue; /* 0: admin */
	bool connected;
	struct peer_auth auth;
	struct peer_events events;
	struct pdu_digests digests;
	struct random random;
	unsigned held, flying; /* answers held; commands that are not answered */
	bool old;	       /* MOCK_ANSWER_OLD is due */
	uint16_t old_id;
	struct pending pending[MOCK_COMMANDS];
};

struct mock {
	struct mock_config config;
	char *content;
	int fd;
	uint16_t port;
	pthread_t thread;
	atomic_bool stop, frozen;
	pthread_mutex_t mutex; /* for what follows, and the content */
	struct peer *peer[MOCK_PEERS_MAX];
	unsigned peers;
	uint32_t cc;
	enum mock_fault fault;
	bool fault_writes;
	unsigned fault_after, fault_count;
	uint32_t events[MOCK_EVENTS_MAX];
	unsigned event_count;
	struct mock_counts counts;
	char complaint[64];
};

union peer_pdu {
	struct pdu_header header;
	struct pdu_command command;
	struct pdu_data data;
	char bytes[PDU_HEAD_BYTES_MAX];
};

/* These return false when the connection is to be cut. */
bool peer_send(struct peer *peer, const void *bytes, size_t count);
bool peer_receive(struct peer *peer, void *bytes, size_t count);
bool peer_admin(struct peer *peer, const struct nvme_command *command, uint32_t data_bytes);
/* Authentication Send and Receive; data: what was sent. */
bool peer_authenticate(
	struct peer *peer, const struct nvme_command *command, const char *data, uint32_t bytes);
/* nvme_tcp_mock_events.c */
bool peer_ask_event(struct peer *peer, const struct nvme_command *command);
void peer_page_read(struct peer *peer, unsigned page);
/* Tells what is to be told. */
bool peer_tell_events(struct peer *peer);
/* The data of a command that the initiator asks for, and the answer. */
bool peer_give(
	struct peer *peer, const struct nvme_command *command, const void *page, uint32_t bytes);
bool peer_io(struct peer *peer, const struct nvme_command *command, uint32_t data_bytes);
bool peer_take_data(struct peer *peer, const struct pdu_data *pdu, uint32_t data_bytes);
/* One held answer leaves. */
bool peer_release(struct peer *peer);

void peer_complain(struct peer *peer, const char *what);
enum mock_fault peer_fault(struct peer *peer, bool write);

/* One PDU to the initiator; `bent` bends it. */
bool peer_answer(
	struct peer *peer, uint16_t id, unsigned status, uint64_t result, enum mock_fault bent);
struct piece {
	uint16_t id;
	uint32_t offset, bytes;
	const char *data;
	bool last;
};
bool peer_send_data(struct peer *peer, const struct piece *piece, enum mock_fault bent);
bool peer_grant(struct peer *peer, const struct piece *piece, enum mock_fault bent);
/* Reads data with their digest into memory. */
bool peer_receive_data(struct peer *peer, void *data, uint32_t bytes);

#endif
