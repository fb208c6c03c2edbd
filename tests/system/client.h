/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the conformance and hostile tests share: sessions with the back end under test and single
 * requests over them. The back end is named by the environment:
 *
 *	BRAID_TEST_SOCKET      its socket; the disk's content is lost
 *	BRAID_TEST_RO_SOCKET   a read-only one; without it those tests are skipped
 *	BRAID_TEST_BLOCKS, BRAID_TEST_BLOCK_BYTES   what the config space must say; optional
 *	BRAID_TEST_ONLY        a pattern such as "h3*": only those tests
 *	BRAID_TEST_PACKED      "1": packed virtqueues; tests that are about split ones are skipped
 *	BRAID_TEST_STRICT      "1": also what braid promises beyond the specification
 *	BRAID_TEST_REBORN      "1": whenever the back end ends, somebody starts it anew; its disk
 *	                       is slow, and may be empty then. Without it those tests are skipped
 *
 * Every wait ends within CLIENT_TIMEOUT_MS, and a test that hangs is killed by an alarm.
 */
#ifndef TESTS_SYSTEM_CLIENT_H
#define TESTS_SYSTEM_CLIENT_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "benchmark/frontend.h"

enum {
	CLIENT_TIMEOUT_MS = 3000,
	CLIENT_QUIET_MS = 150, /* how long "nothing happens" is watched */
	CLIENT_ALARM_S = 60,
	CLIENT_QUEUE_SIZE = 128,
	CLIENT_PACKED_BASE = 0x80008000, /* of a packed ring at its beginning */
	CLIENT_ENTRIES = 1024,		 /* the largest queue that is tracked while in flight */
	CLIENT_MEMORY_BYTES = 8 << 20,
	SECTOR = 512,
	STATUS_NONE = 0xff, /* before the back end has written a status */
};

struct client {
	struct frontend frontend;
	struct virtio_blk_header *header; /* of client_request() */
	uint8_t *status;
	uint8_t *region; /* client_region(), NULL: not mapped */
};

const char *client_socket(void);
/* The value of an environment variable as a number, 0 when it is not set. */
uint64_t client_environment(const char *name);
bool client_strict(void);
/* Skips the calling test unless strict. */
void client_need_strict(void);

/* Whether sessions have packed virtqueues, if the back end can; skips the calling test where it is
 * about the other layout. */
bool client_packed(void);
void client_need_packed(void);
void client_need_split(void);
/* The features that client_open() asks for. */
uint64_t client_features(void);

/* Ends the session and skips the test unless the feature was negotiated. */
void client_need_feature(struct client *client, uint64_t feature);
/* Bytes that differ from place to place and from seed to seed. */
void client_fill_pattern(uint8_t *data, size_t bytes, unsigned seed);

/* cmocka's setup for each test: arms the alarm. */
int client_setup(void **state);

/* A session with that many queues running (fewer when the back end has fewer) and all features
 * but `without`. Waits for the previous session to end. Fails the test when there is none. */
void client_open(struct client *client, unsigned queues, uint64_t without);
/* Connected and nothing else. */
void client_connect(struct client *client, const char *path);
/* Connected and negotiated, memory shared; queue 0 prepared, but nothing told about it. */
void client_open_idle(struct client *client, uint64_t without);
/* Ends the session and waits until the back end has, too. */
void client_close(struct client *client);
/* Ends it without a word. */
void client_drop(struct client *client);
/* Skips the calling test unless somebody starts the back end anew when it ends. */
void client_need_reborn(void);
/* Ends the back end with a signal and waits until it has hung up. */
void client_end_peer(struct client *client, int signal_number);
/* A new session over the same memory, with the same rings running and what is in flight in them. */
void client_reopen(struct client *client);
/* The inflight region, mapped until client_unmap() or the session's end; see area.h. Skips the test
 * when there is none. */
uint8_t *client_region(struct client *client);
void client_unmap(struct client *client);
/* A fresh session serves a good read. */
void client_check_alive(void);

/* Shared memory, filled with `fill`. */
void *client_memory(struct client *client, size_t bytes, int fill);
struct virtqueue_piece client_readable(struct client *client, const void *bytes, size_t count);
struct virtqueue_piece client_writable(struct client *client, void *bytes, size_t count);
/* The header that client_chain() callers put first. */
struct virtqueue_piece client_header(struct client *client, uint32_t type, uint64_t sector);
/* The status byte, as the last piece. */
struct virtqueue_piece client_status(struct client *client);

/* Puts the pieces as one direct chain on a queue, kicks and waits. written: used length, may be
 * NULL. 0, or -ETIMEDOUT. */
int client_chain(struct client *client, unsigned queue, const struct virtqueue_piece *pieces,
	unsigned count, uint32_t *written);
/* Waits until a used entry is there, by looking only: asks for no call. 0, -ETIMEDOUT, or
 * -EPIPE when the queue was reported broken. */
int client_wait_used(struct client *client, unsigned queue);
/* Waits for one used entry and takes it. */
int client_reap(struct client *client, unsigned queue, uint32_t *head, uint32_t *written);
/* One request in the plainest framing on queue 0; data is shared memory. The status. */
int client_request(
	struct client *client, uint32_t type, uint64_t sector, void *data, uint32_t bytes);
/* DISCARD or WRITE_ZEROES of one segment. */
int client_segment(
	struct client *client, uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags);

/* A message with NEED_REPLY: 0 acknowledged, -EREMOTEIO refused, -ECONNRESET session ended. */
int client_tell(
	struct client *client, uint32_t request, const void *payload, uint32_t bytes, int fd);

/* The queue has been given something it cannot accept: strict: err_fd is signalled within the
 * timeout. Otherwise anything but a hang of the whole process is fine. */
void client_expect_broken(struct client *client, unsigned queue);
/* Descriptors that the back end's process has open; 0 when that cannot be seen. */
unsigned client_peer_descriptors(void);

#endif
