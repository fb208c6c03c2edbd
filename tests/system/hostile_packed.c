/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a hostile guest or front end can do to packed virtqueues only: lines 1 to 8, 18, 24 and 41
 * of the hostile list, by number. What can be done to both layouts is in hostile_ring.c.
 */
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/random.h"
#include "client.h"

#define IN VIRTIO_BLK_T_IN

enum { PIECES = 3 };

struct victim {
	struct client client;
	struct virtqueue *queue;
	uint8_t *data;
	struct virtqueue_piece pieces[PIECES];
};

static void victim_open(struct victim *victim)
{
	client_need_packed();
	client_open(&victim->client, 2, 0);
	client_need_feature(&victim->client, VIRTIO_F_RING_PACKED);
	victim->queue = &victim->client.frontend.queue[0];
	victim->data = client_memory(&victim->client, 4096, 0xa5);
	victim->pieces[0] = client_header(&victim->client, IN, 0);
	victim->pieces[1] = client_writable(&victim->client, victim->data, 4096);
	victim->pieces[2] = client_status(&victim->client);
}

/* Puts the good chain, not visible yet. */
static void victim_put(struct victim *victim)
{
	virtqueue_put(victim->queue, virtqueue_add(victim->queue, victim->pieces, PIECES));
}

/* The other queue of the session goes on, and so does the back end. */
static void check_around(struct victim *victim)
{
	if (client_strict() && victim->client.frontend.queues > 1) {
		struct virtqueue_piece pieces[] = {client_header(&victim->client, IN, 0),
			client_writable(&victim->client, victim->data, SECTOR),
			client_status(&victim->client)};

		assert_int_equal(client_chain(&victim->client, 1, pieces, PIECES, NULL), 0);
		assert_int_equal(*victim->client.status, 0);
	}
	client_close(&victim->client);
	client_check_alive();
}

static void expect_broken(struct victim *victim)
{
	client_expect_broken(&victim->client, 0);
	assert_int_equal(*victim->client.status, STATUS_NONE);
	check_around(victim);
}

/* The first descriptor is available and a later one is not: of the last round, or used. */
static void h05_later_one_not_available(void **state)
{
	static const uint16_t states[] = {
		0, VIRTQ_PACKED_USED, VIRTQ_PACKED_AVAIL | VIRTQ_PACKED_USED};

	(void)state;
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(states); i++) {
		struct victim victim;
		unsigned at = 1 + i % 2;

		victim_open(&victim);
		victim_put(&victim);
		victim.queue->ring[at].flags = le16_of(
			(uint16_t)(states[i / 2] | (at == 1 ? VIRTQ_DESC_NEXT : VIRTQ_DESC_WRITE)));
		virtqueue_publish(victim.queue);
		expect_broken(&victim);
	}
}

/* NEXT on every descriptor: once round and on. */
static void h08_next_everywhere(void **state)
{
	struct victim victim;

	(void)state;
	victim_open(&victim);
	for (unsigned i = CLIENT_QUEUE_SIZE; i-- > 0;) {
		victim.queue->ring[i].address = le64_of(victim.pieces[0].address);
		virtq_store16(&victim.queue->ring[i].flags, VIRTQ_PACKED_AVAIL | VIRTQ_DESC_NEXT);
	}
	virtqueue_kick(victim.queue);
	expect_broken(&victim);
}

/* An indirect descriptor behind a direct one: allowed in split rings, not here. */
static void h06_indirect_in_a_list(void **state)
{
	struct victim victim;
	struct virtq_packed_desc *table;

	(void)state;
	victim_open(&victim);
	table = client_memory(&victim.client, 2 * sizeof(*table), 0);
	virtqueue_fill_table(victim.queue, table, victim.pieces + 1, 2);
	victim.pieces[1] = client_readable(&victim.client, table, 2 * sizeof(*table));
	victim.pieces[1].indirect = true;
	virtqueue_put(victim.queue, virtqueue_add(victim.queue, victim.pieces, 2));
	virtqueue_publish(victim.queue);
	expect_broken(&victim);
}

/* Ids are the driver's: any will do, and the same one twice. */
static void h03_any_id(void **state)
{
	static const uint16_t ids[] = {CLIENT_QUEUE_SIZE, 0x7fff, 0xffff, 0xffff};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
		struct victim victim;

		victim_open(&victim);
		victim_put(&victim);
		for (unsigned k = 0; k < PIECES; k++)
			victim.queue->ring[k].id = le16_of(k == PIECES - 1 ? ids[i] : 7);
		virtqueue_publish(victim.queue);
		assert_int_equal(client_wait_used(&victim.client, 0), 0);
		assert_int_equal(le16_get(victim.queue->ring[0].id), ids[i]);
		client_close(&victim.client);
	}
	client_check_alive();
}

struct racer {
	struct victim *victim;
	bool stop;
};

/* Changes all of the ring, the events and the header while the back end reads and writes them. */
static void *race(void *argument)
{
	struct racer *racer = argument;
	struct virtqueue *queue = racer->victim->queue;
	struct virtio_blk_header *header = racer->victim->client.header;
	struct random random = {1};

	while (!__atomic_load_n(&racer->stop, __ATOMIC_RELAXED)) {
		uint64_t value = random_next(&random);
		unsigned at = value % CLIENT_QUEUE_SIZE;
		struct virtq_packed_desc *desc = &queue->ring[at];
		const struct virtqueue_piece *piece = &racer->victim->pieces[value % PIECES];
		bool wrap = value >> 63;

		switch (value >> 8 & 7) {
		case 0:
			desc->bytes = le32_of((uint32_t)(value >> 32));
			break;
		case 1:
			desc->address = le64_of(value);
			break;
		case 2:
			virtq_store16(&desc->flags, (uint16_t)(value >> 32));
			break;
		case 3:
			virtq_event_store(queue->driver_event, value >> 16 & 3,
				virtq_position_of((uint16_t)(value >> 32)));
			break;
		case 4:
			header->sector = le64_of(value);
			break;
		default: /* and makes it good, so that some get through */
			desc->address = le64_of(piece->address);
			desc->bytes = le32_of(piece->bytes);
			virtq_store16(&desc->flags,
				(uint16_t)(virtq_available_flags(wrap) |
					   (piece->writable ? VIRTQ_DESC_WRITE : 0) |
					   (value % PIECES < 2 ? VIRTQ_DESC_NEXT : 0)));
		}
	}
	return NULL;
}

static void h18_racing(void **state)
{
	unsigned broken = 0;

	(void)state;
	client_need_packed();
	for (unsigned round = 0; round < 60; round++) {
		struct victim victim;
		struct racer racer = {.victim = &victim};
		struct pollfd error = {.events = POLLIN};
		pthread_t thread;

		victim_open(&victim);
		error.fd = victim.queue->err_fd;
		for (unsigned i = 0; i < CLIENT_QUEUE_SIZE / PIECES; i++)
			victim_put(&victim);
		assert_int_equal(pthread_create(&thread, NULL, race, &racer), 0);
		virtqueue_publish(victim.queue);
		for (unsigned i = 0; i < 100; i++)
			virtqueue_kick(victim.queue);
		usleep(5000);
		broken += poll(&error, 1, 0) == 1;
		__atomic_store_n(&racer.stop, true, __ATOMIC_RELAXED);
		pthread_join(thread, NULL);
		client_close(&victim.client);
		if (round % 10 == 9)
			client_check_alive();
	}
	printf("%u of 60 rings were broken\n", broken);
}

/* Reserved flags, positions out of the ring: the driver is called, or has itself to blame. */
static void h24_event_games(void **state)
{
	struct victim victim;

	(void)state;
	victim_open(&victim);
	for (unsigned i = 0; i < 2000; i++) {
		virtq_event_store(victim.queue->driver_event, i & 0xffff,
			virtq_position_of((uint16_t)(i * 40503)));
		virtqueue_kick(victim.queue);
	}
	virtq_event_store(victim.queue->driver_event, 3, virtq_position_of(CLIENT_QUEUE_SIZE + 1));
	virtqueue_called(victim.queue);
	victim_put(&victim);
	virtqueue_publish(victim.queue);
	assert_int_equal(client_wait_used(&victim.client, 0), 0);
	usleep(CLIENT_QUIET_MS * 1000);
	if (client_strict())
		assert_true(virtqueue_called(victim.queue));
	check_around(&victim);
}

/* Positions out of the ring, and more between them than it has. */
static void h41_base(void **state)
{
	static const struct {
		struct virtq_position available, used;
		bool good;
	} rows[] = {
		{{CLIENT_QUEUE_SIZE, true}, {0, true}, false},
		{{0, true}, {CLIENT_QUEUE_SIZE, true}, false},
		{{0x7fff, true}, {0x7fff, true}, false},
		{{1, true}, {2, true}, false},
		{{2, false}, {1, true}, false},
		{{1, false}, {1, true}, true},
		{{2, true}, {1, true}, true},
		{{0, false}, {CLIENT_QUEUE_SIZE - 1, true}, true},
	};

	(void)state;
	client_need_packed();
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct client client;
		int result;

		client_open_idle(&client, 0);
		client_need_feature(&client, VIRTIO_F_RING_PACKED);
		client.frontend.queue[0].base = virtq_position_code(rows[i].available) |
						(uint32_t)virtq_position_code(rows[i].used) << 16;
		result = frontend_start(&client.frontend, 0, NULL);
		if (rows[i].good)
			assert_int_equal(result, 0);
		else if (client_strict() && result != -EREMOTEIO && result != -ECONNRESET)
			fail_msg("base %u was accepted: %d", i, result);
		client_close(&client);
	}
	client_check_alive();
}

/* clang-format off */
#define ROW(name) cmocka_unit_test_setup(name, client_setup)
static const struct CMUnitTest tests[] = {
	ROW(h03_any_id), ROW(h05_later_one_not_available), ROW(h06_indirect_in_a_list),
	ROW(h08_next_everywhere), ROW(h18_racing), ROW(h24_event_games), ROW(h41_base),
};
/* clang-format on */

int main(void)
{
	cmocka_set_test_filter(getenv("BRAID_TEST_ONLY"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
