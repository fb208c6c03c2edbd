/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One TCP connection to a controller, as control threads use it: straight blocking code, one
 * command at a time, every step bounded in time. The admin queue lives in one for good; the
 * connection of an I/O queue is set up here and then handed to its reactor.
 */
#ifndef DRIVERS_NVME_TCP_CONNECTION_H
#define DRIVERS_NVME_TCP_CONNECTION_H

#include "drivers/drivers.h"
#include "drivers/nvme_tcp/pdu.h"

enum {
	CONNECTION_PEER_BYTES = 280,
	CONNECTION_PATIENCE_MS = 3000,
	CONNECTION_EVENTS_MAX = 4, /* asynchronous event requests that wait at the controller */
};

struct connection {
	int fd;	       /* non-blocking; -1: none */
	int cancel_fd; /* when it becomes readable every wait ends with -ECANCELED; -1: never */
	unsigned patience_ms;		  /* of each step: to connect, to write, to get an answer */
	char peer[CONNECTION_PEER_BYTES]; /* "HOST:PORT", for sentences */
	struct pdu_digests digests;
	uint32_t align_bytes;	/* of data that we send */
	uint32_t h2c_bytes_max; /* of data in one H2CData */
	uint16_t next_id;
	/* Of the admin queue: requests and events are never more than CONNECTION_EVENTS_MAX. */
	unsigned events_asked;			/* requests at the controller: a bit for each */
	unsigned event_count;			/* that have come, */
	uint32_t events[CONNECTION_EVENTS_MAX]; /* their DW0 */
};

struct exchange {
	struct nvme_command command; /* id, flags and sgl are filled in */
	const void *out;	     /* at most PDU_ADMIN_CAPSULE_BYTES, in the capsule */
	uint32_t out_bytes;
	void *in; /* all or nothing of it is filled by a command that succeeds */
	uint32_t in_bytes;
	bool in_may_be_short; /* what was not filled is as it was */
	struct nvme_completion completion;
};

/* Connects and agrees on digests. -ECONNREFUSED, -ETIMEDOUT, -EPROTO, ... with a sentence. */
int connection_open(struct connection *connection, const struct nvme_tcp_path *path,
	struct pdu_digests digests, struct fail *fail);
/* Harmless when there is none. */
void connection_close(struct connection *connection);

/* Sends a command and awaits its completion. 0: it is there, whatever its status; otherwise the
 * connection is of no more use. */
int connection_exchange(
	struct connection *connection, struct exchange *exchange, struct fail *fail);

/* Lets up to `limit` asynchronous event requests wait at the controller. They are answered, into
 * `events`, during any later exchange, or, when the socket is readable outside of one, by
 * connection_hear(). 0, or the connection is of no more use, as of the next. */
int connection_ask_events(struct connection *connection, unsigned limit, struct fail *fail);
int connection_hear(struct connection *connection, struct fail *fail);

/* Milliseconds of CLOCK_MONOTONIC. */
uint64_t connection_clock_ms(void);

#endif
