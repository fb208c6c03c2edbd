/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A controller behind its admin connection: Fabrics Connect, properties, identify, log pages, keep
 * alive. Straight blocking code for one control thread at a time. Functions return 0 or -errno with
 * a sentence; after any failure but that of one command (-EIO) the controller is of no more use.
 */
#ifndef DRIVERS_NVME_TCP_CONTROLLER_H
#define DRIVERS_NVME_TCP_CONTROLLER_H

#include "drivers/nvme_tcp/chap.h"
#include "drivers/nvme_tcp/connection.h"

enum { CONTROLLER_QUEUE_ENTRIES = 128, CONTROLLER_HOST_ID_BYTES = 16 };

struct tcp_controller {
	struct connection admin;
	const struct nvme_tcp_target *target;
	const struct nvme_tcp_path *path;
	const char *nqn; /* of the subsystem, or the discovery name */
	char host_nqn[NVME_TCP_NQN_BYTES];
	uint8_t host_id[CONTROLLER_HOST_ID_BYTES];
	struct chap_secret secret, controller_secret; /* as long as it is open */
	uint16_t id;
	uint64_t capabilities;	/* CAP */
	unsigned queue_entries; /* of I/O queues */
	unsigned queues;	/* I/O queues granted */
	uint32_t events;	/* OAES, and */
	unsigned event_limit; /* how many may be asked for at a time; known after an examination */
};

/* What a namespace is and how its controller wants to be spoken to. */
struct facts {
	char identity[NVME_IDENTITY_BYTES];
	char serial[21], model[41], firmware[9];
	uint64_t lbas;
	unsigned lba_shift;
	uint32_t transfer_bytes_max; /* of a command */
	uint32_t capsule_bytes;	     /* of data in the capsule of an I/O command */
	bool volatile_cache, can_discard, can_write_zeroes;
	bool can_unmap_zeroes; /* deallocating WRITE ZEROES leaves zeros */
	bool read_only;
	bool optimized;	     /* this path leads there well (ANA), or as well as any */
	uint32_t best_bytes; /* preferred write granularity; 0: none */
};

/* Connects the admin queue over `path` and makes the controller ready. cancel_fd as in struct
 * connection. target and path stay the caller's and outlive the controller. */
int tcp_controller_open(struct tcp_controller *controller, const struct nvme_tcp_target *target,
	const struct nvme_tcp_path *path, const char *nqn, int cancel_fd, struct fail *fail);
/* Asks for as many I/O queues as there can be reactors; sets `queues`. */
int tcp_controller_ask_queues(struct tcp_controller *controller, struct fail *fail);
/* A new connection, on which the I/O queue `id` (from 1) is connected. */
int tcp_controller_open_queue(struct tcp_controller *controller, struct connection *connection,
	unsigned id, struct fail *fail);
int tcp_controller_keep_alive(struct tcp_controller *controller, struct fail *fail);
/* Resets the controller: when this succeeds it has stopped to work on what it was told. */
int tcp_controller_disable(struct tcp_controller *controller, struct fail *fail);
void tcp_controller_close(struct tcp_controller *controller);

/* For its own files: one command; a status other than 0 is -EIO, and a sentence about `what`. */
int tcp_controller_execute(struct tcp_controller *controller, struct exchange *exchange,
	const char *what, struct fail *fail);

/* --- events.c: asynchronous events ----------------------------------------------------------- */

struct tcp_news {
	bool namespaces; /* one came, went or changed; */
	bool paths;	 /* or the ways to one (ANA): both to be examined */
	bool broken;	 /* the controller says that it has failed */
};

/* Asks for them, as many as the controller can; one that cannot is no failure. */
int tcp_controller_await_events(struct tcp_controller *controller, struct fail *fail);
bool tcp_controller_has_news(const struct tcp_controller *controller);
/* When it has news, or its socket is readable: takes them, logs what is only to be known, and asks
 * again. */
int tcp_controller_take_news(
	struct tcp_controller *controller, struct tcp_news *news, struct fail *fail);

/* These answer -EIO when the controller refuses; *status (may be NULL) says how. */
int tcp_controller_identify(struct tcp_controller *controller, enum nvme_identify what,
	uint32_t nsid, void *page, unsigned *status, struct fail *fail);
struct log_piece {
	enum nvme_log_page page;
	uint8_t specific; /* LSP */
	uint64_t offset;
	uint32_t bytes; /* multiple of 4 */
};
int tcp_controller_log(struct tcp_controller *controller, const struct log_piece *piece,
	void *bytes, struct fail *fail);

/* Learns all about target->nsid, and whether this path leads to it (ANA). */
int tcp_controller_examine(
	struct tcp_controller *controller, struct facts *facts, struct fail *fail);

/* 0 while what is `is` may serve what was meant for `was`; growth is fine. */
int facts_compare(
	const struct facts *was, const struct facts *is, const char *peer, struct fail *fail);

/* Shows the controller, on a queue that has just been connected, that we know the secret, and lets
 * it show that it knows its own when there is one. -EACCES with a sentence. */
int tcp_controller_authenticate(
	struct tcp_controller *controller, struct connection *connection, struct fail *fail);

/* Who we are: nqn (NVME_TCP_NQN_BYTES) and id. The same as long as the machine has its files. */
void host_identity(const struct nvme_tcp_target *target, char *nqn, uint8_t *id);

#endif
