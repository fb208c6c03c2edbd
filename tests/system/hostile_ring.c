/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a hostile guest does to a virtqueue: lines 1 to 24 of the hostile list, by number. After
 * each of them the back end still serves a fresh session. What can be done to packed ones only is
 * in hostile_packed.c.
 *
 * Two kinds of answers are right. A ring that cannot be followed is broken: its err eventfd is
 * signalled and it stops, alone. A chain that can be followed, but makes no sense as a request, is
 * answered with an error.
 */
#include <pthread.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/random.h"
#include "client.h"

#define IN VIRTIO_BLK_T_IN
#define OUT VIRTIO_BLK_T_OUT
#define NOWHERE 0x7000000000000000ull

/* The session on which the ring is attacked, with a good chain on queue 0 to be spoilt. */
struct victim {
	struct client client;
	struct virtqueue *queue;
	uint8_t *data;
	struct virtqueue_piece pieces[3];
	uint16_t head;
};

static void victim_open(struct victim *victim, uint32_t type, uint64_t without)
{
	client_open(&victim->client, 2, without);
	victim->queue = &victim->client.frontend.queue[0];
	victim->data = client_memory(&victim->client, 4096, 0xa5);
	victim->pieces[0] = client_header(&victim->client, type, 0);
	victim->pieces[1] = type == IN ? client_writable(&victim->client, victim->data, 4096)
				       : client_readable(&victim->client, victim->data, 4096);
	victim->pieces[2] = client_status(&victim->client);
}

static void victim_add(struct victim *victim)
{
	victim->head = virtqueue_add(victim->queue, victim->pieces, 3);
}

static void victim_send(struct victim *victim)
{
	virtqueue_put(victim->queue, victim->head);
	virtqueue_publish(victim->queue);
}

/* The other queue of the session goes on, and so does the back end. */
static void check_around(struct victim *victim)
{
	if (client_strict() && victim->client.frontend.queues > 1) {
		struct virtqueue_piece pieces[] = {client_header(&victim->client, IN, 0),
			client_writable(&victim->client, victim->data, SECTOR),
			client_status(&victim->client)};

		assert_int_equal(client_chain(&victim->client, 1, pieces, 3, NULL), 0);
		assert_int_equal(*victim->client.status, 0);
	}
	client_close(&victim->client);
	client_check_alive();
}

static void expect_broken(struct victim *victim)
{
	client_expect_broken(&victim->client, 0);
	check_around(victim);
}

/* Answered with an error, or broken. */
static void expect_refused(struct victim *victim)
{
	if (client_wait_used(&victim->client, 0) == 0)
		assert_int_not_equal(*victim->client.status, VIRTIO_BLK_S_OK);
	else
		client_expect_broken(&victim->client, 0);
	check_around(victim);
}

/* Any answer at all; strict: one that is an answer. */
static void expect_status(struct victim *victim, int status)
{
	int result = client_wait_used(&victim->client, 0);

	if (client_strict()) {
		assert_int_equal(result, 0);
		assert_int_equal(*victim->client.status, status);
	}
	check_around(victim);
}

static void set_next(struct virtqueue *queue, uint16_t index, uint16_t next)
{
	queue->desc[index].next = le16_of(next);
	queue->desc[index].flags = le16_of(le16_get(queue->desc[index].flags) | VIRTQ_DESC_NEXT);
}

static void h01_chain_loop(void **state)
{
	struct victim victim;

	(void)state;
	victim_open(&victim, IN, 0);
	victim_add(&victim);
	set_next(victim.queue, (uint16_t)(victim.head + 2), (uint16_t)(victim.head + 1));
	victim_send(&victim);
	expect_broken(&victim);
}

static void h01_loop_on_itself(void **state)
{
	struct victim victim;

	(void)state;
	victim_open(&victim, IN, 0);
	victim_add(&victim);
	set_next(victim.queue, victim.head, victim.head);
	victim_send(&victim);
	expect_broken(&victim);
}

static void h02_next_out_of_range(void **state)
{
	static const uint16_t next[] = {CLIENT_QUEUE_SIZE, CLIENT_QUEUE_SIZE + 1, 0x7fff, 0xffff};

	(void)state;
	client_need_split();
	for (unsigned i = 0; i < ARRAY_SIZE(next); i++) {
		struct victim victim;

		victim_open(&victim, IN, 0);
		victim_add(&victim);
		set_next(victim.queue, (uint16_t)(victim.head + 1), next[i]);
		victim_send(&victim);
		expect_broken(&victim);
	}
}

static void h03_head_out_of_range(void **state)
{
	static const uint16_t heads[] = {CLIENT_QUEUE_SIZE, 0xffff};

	(void)state;
	client_need_split();
	for (unsigned i = 0; i < ARRAY_SIZE(heads); i++) {
		struct victim victim;

		victim_open(&victim, IN, 0);
		victim.head = heads[i];
		victim_send(&victim);
		client_expect_broken(&victim.client, 0);
		/* No used entry for a head that does not exist. */
		assert_int_equal(virtqueue_used_ready(victim.queue), 0);
		check_around(&victim);
	}
}

static void h04_05_index_jumps(void **state)
{
	static const uint16_t jumps[] = {CLIENT_QUEUE_SIZE + 1, 0x8000, 0xffff};

	(void)state;
	client_need_split();
	for (unsigned i = 0; i < ARRAY_SIZE(jumps); i++) {
		struct victim victim;

		victim_open(&victim, IN, 0);
		victim.queue->avail->index = le16_of(jumps[i]);
		virtqueue_kick(victim.queue);
		expect_broken(&victim);
	}
}

/* A table for the victim's request; the ring gets one descriptor that refers to it. */
static struct virtq_desc *make_indirect(struct victim *victim, uint32_t bytes)
{
	struct virtq_desc *table = client_memory(&victim->client, 4 * sizeof(*table), 0);
	struct virtqueue_piece piece = client_readable(&victim->client, table, bytes);

	virtqueue_fill_table(victim->queue, table, victim->pieces, 3);
	piece.indirect = true;
	victim->head = virtqueue_add(victim->queue, &piece, 1);
	return table;
}

static void h06_nested_indirect(void **state)
{
	struct victim victim;
	struct virtq_desc *table;

	(void)state;
	client_need_split();
	victim_open(&victim, IN, 0);
	table = make_indirect(&victim, 3 * sizeof(*table));
	table[1].flags = le16_of(VIRTQ_DESC_INDIRECT | VIRTQ_DESC_NEXT);
	table[1].bytes = le32_of(sizeof(*table));
	victim_send(&victim);
	expect_broken(&victim);
}

static void h06_indirect_and_next(void **state)
{
	struct victim victim;

	(void)state;
	victim_open(&victim, IN, 0);
	make_indirect(&victim, 3 * sizeof(struct virtq_desc));
	set_next(victim.queue, victim.head, (uint16_t)(victim.head + 1));
	victim_send(&victim);
	expect_broken(&victim);
}

static void h06_indirect_not_negotiated(void **state)
{
	struct victim victim;

	(void)state;
	victim_open(&victim, IN, VIRTIO_F_INDIRECT_DESC);
	make_indirect(&victim, 3 * sizeof(struct virtq_desc));
	victim_send(&victim);
	expect_broken(&victim);
}

/* Length 0, not a multiple of 16, beyond 65535 entries, up to 2^32. */
static void h07_indirect_length(void **state)
{
	static const uint32_t bytes[] = {0, 1, 15, 17, 47, 65536 * 16, 0xfffffff0, UINT32_MAX};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bytes); i++) {
		struct victim victim;

		victim_open(&victim, IN, 0);
		make_indirect(&victim, bytes[i]);
		victim_send(&victim);
		expect_broken(&victim);
	}
}

static void h07_indirect_nowhere(void **state)
{
	struct victim victim;
	const struct frontend_memory *memory = &victim.client.frontend.memory;
	uint64_t addresses[4];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(addresses); i++) {
		victim_open(&victim, IN, 0);
		addresses[0] = 0;
		addresses[1] = NOWHERE;
		addresses[2] = UINT64_MAX - 15;
		addresses[3] = memory->guest_address + memory->bytes - 16; /* over the end */
		make_indirect(&victim, 3 * sizeof(struct virtq_desc));
		victim.queue->desc[victim.head].address = le64_of(addresses[i]);
		victim_send(&victim);
		expect_broken(&victim);
	}
}

/* `next` inside a table points out of it, or back. */
static void h07_indirect_next(void **state)
{
	static const uint16_t next[] = {0, 3, 0xffff};

	(void)state;
	client_need_split();
	for (unsigned i = 0; i < ARRAY_SIZE(next); i++) {
		struct victim victim;
		struct virtq_desc *table;

		victim_open(&victim, IN, 0);
		table = make_indirect(&victim, 3 * sizeof(*table));
		table[1].next = le16_of(next[i]);
		victim_send(&victim);
		expect_broken(&victim);
	}
}

/* Each piece in turn, outside of memory in every way. */
static void h09_buffer_outside(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3 * 5; i++) {
		struct victim victim;
		const struct frontend_memory *memory = &victim.client.frontend.memory;
		struct virtqueue_piece *piece = &victim.pieces[i / 5];
		uint64_t end;

		victim_open(&victim, i % 2 ? IN : OUT, 0);
		end = memory->guest_address + memory->bytes;
		piece->address = (const uint64_t[]){NOWHERE, 0, end - piece->bytes / 2,
			UINT64_MAX - piece->bytes + 1, memory->guest_address - 1}[i % 5];
		if (i % 5 == 2 && piece->bytes == 1)
			piece->address = end;
		victim_add(&victim);
		victim_send(&victim);
		expect_refused(&victim);
	}
}

static void h10_empty_and_outside(void **state)
{
	struct victim victim;

	(void)state;
	victim_open(&victim, IN, 0);
	victim.pieces[1].address = NOWHERE;
	victim.pieces[1].bytes = 0;
	victim_add(&victim);
	victim_send(&victim);
	client_wait_used(&victim.client, 0);
	check_around(&victim);
}

/* 1024 pieces of 8 MiB, all the same memory: 2^33 bytes. */
static void h11_sum_of_lengths(void **state)
{
	enum { PIECES = 1026 };
	struct victim victim;
	struct virtqueue_piece outside;
	struct virtqueue_piece *inside = calloc(PIECES, sizeof(*inside));
	struct virtq_desc *table;

	(void)state;
	assert_non_null(inside);
	victim_open(&victim, OUT, 0);
	table = client_memory(&victim.client, PIECES * sizeof(*table), 0);
	inside[0] = victim.pieces[0];
	for (unsigned i = 1; i < PIECES - 1; i++)
		inside[i] = (struct virtqueue_piece){
			.address = victim.client.frontend.memory.guest_address,
			.bytes = CLIENT_MEMORY_BYTES};
	inside[PIECES - 1] = victim.pieces[2];
	virtqueue_fill_table(victim.queue, table, inside, PIECES);
	outside = client_readable(&victim.client, table, PIECES * sizeof(*table));
	outside.indirect = true;
	victim.head = virtqueue_add(victim.queue, &outside, 1);
	victim_send(&victim);
	free(inside);
	expect_refused(&victim);
}

/* A read into readable memory leaves it alone; a write from writable memory writes nothing. */
static void h12_wrong_direction(void **state)
{
	struct victim victim;
	uint8_t copy[4096];

	(void)state;
	victim_open(&victim, IN, 0);
	memcpy(copy, victim.data, sizeof(copy));
	victim.pieces[1].writable = false;
	victim_add(&victim);
	victim_send(&victim);
	client_wait_used(&victim.client, 0);
	assert_memory_equal(copy, victim.data, sizeof(copy));
	if (client_strict())
		assert_int_equal(*victim.client.status, VIRTIO_BLK_S_IOERR);
	check_around(&victim);

	victim_open(&victim, OUT, 0);
	victim.pieces[1].writable = true;
	victim_add(&victim);
	victim_send(&victim);
	if (client_strict())
		expect_status(&victim, VIRTIO_BLK_S_IOERR);
	else
		check_around(&victim);
}

static void h13_writable_before_readable(void **state)
{
	struct victim victim;
	struct virtqueue_piece header;

	(void)state;
	victim_open(&victim, IN, 0);
	header = victim.pieces[0];
	victim.pieces[0] = victim.pieces[1];
	victim.pieces[1] = header;
	victim_add(&victim);
	victim_send(&victim);
	expect_refused(&victim);
}

/* No writable byte at all; the status in readable memory; nothing but a header; half a header. */
static void h14_no_status(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct victim victim;
		unsigned count = (const unsigned[]){2, 3, 1, 3}[i];

		victim_open(&victim, OUT, 0);
		victim.pieces[2].writable = i == 3;
		if (i == 3)
			victim.pieces[0].bytes = 8, victim.pieces[1].bytes = 0;
		victim.head = virtqueue_add(victim.queue, victim.pieces, count);
		victim_send(&victim);
		if (i == 3) {
			expect_refused(&victim);
			continue;
		}
		client_expect_broken(&victim.client, 0);
		assert_int_equal(*victim.client.status, STATUS_NONE);
		check_around(&victim);
	}
}

/* GET_ID into 4 bytes: nothing behind them is written. */
static void h15_small_answer(void **state)
{
	struct victim victim;

	(void)state;
	victim_open(&victim, IN, 0);
	victim.pieces[0] = client_header(&victim.client, VIRTIO_BLK_T_GET_ID, 0);
	victim.pieces[1].bytes = 4;
	victim_add(&victim);
	victim_send(&victim);
	client_wait_used(&victim.client, 0);
	for (unsigned i = 4; i < 64; i++)
		assert_int_equal(victim.data[i], 0xa5);
	check_around(&victim);
}

/* A read that fails brings no bytes, and does not say that it did. */
static void h16_17_failed_read(void **state)
{
	struct victim victim;
	uint32_t head = 0, written = 0;

	(void)state;
	victim_open(&victim, IN, 0);
	victim.pieces[0] = client_header(&victim.client, IN, UINT64_MAX / 2);
	victim_add(&victim);
	victim_send(&victim);
	assert_int_equal(client_reap(&victim.client, 0, &head, &written), 0);
	assert_int_equal(*victim.client.status, VIRTIO_BLK_S_IOERR);
	for (unsigned i = 0; i < 4096; i++) {
		assert_true(victim.data[i] == 0xa5 || victim.data[i] == 0);
		if (client_strict() && i < written)
			assert_int_equal(victim.data[i], 0);
	}
	check_around(&victim);
}

struct racer {
	struct victim *victim;
	bool stop;
};

/* Changes descriptors and the header while the back end reads them. */
static void *race(void *argument)
{
	struct racer *racer = argument;
	struct virtqueue *queue = racer->victim->queue;
	struct virtio_blk_header *header = racer->victim->client.header;
	struct random random = {1};

	while (!__atomic_load_n(&racer->stop, __ATOMIC_RELAXED)) {
		uint64_t value = random_next(&random);
		struct virtq_desc *desc = &queue->desc[value % 3];

		switch (value >> 8 & 7) {
		case 0:
			desc->bytes = le32_of((uint32_t)(value >> 32));
			break;
		case 1:
			desc->address = le64_of(value);
			break;
		case 2:
			desc->flags = le16_of((uint16_t)(value >> 32 & 7));
			break;
		case 3:
			desc->next = le16_of((uint16_t)(value >> 32));
			break;
		case 4:
			header->sector = le64_of(value);
			header->type = le32_of((uint32_t)(value >> 40 & 15));
			break;
		default: /* and puts it right again, so that some get through */
			virtqueue_describe(&queue->desc[0], &racer->victim->pieces[0], true, 1);
			virtqueue_describe(&queue->desc[1], &racer->victim->pieces[1], true, 2);
			virtqueue_describe(&queue->desc[2], &racer->victim->pieces[2], false, 0);
			client_header(&racer->victim->client, IN, 0);
		}
	}
	return NULL;
}

static void h18_double_fetch(void **state)
{
	(void)state;
	client_need_split();
	for (unsigned round = 0; round < 30; round++) {
		struct victim victim;
		struct racer racer = {.victim = &victim};
		pthread_t thread;

		victim_open(&victim, IN, 0);
		victim_add(&victim);
		assert_int_equal(pthread_create(&thread, NULL, race, &racer), 0);
		for (unsigned i = 0; i < 100; i++) {
			victim_send(&victim);
			for (unsigned look = 0; look < 200; look++)
				if (virtqueue_used_ready(victim.queue))
					break;
			victim.queue->used_next += virtqueue_used_ready(victim.queue);
		}
		__atomic_store_n(&racer.stop, true, __ATOMIC_RELAXED);
		pthread_join(thread, NULL);
		client_close(&victim.client);
		if (round % 10 == 9)
			client_check_alive();
	}
}

/* Data, the rings themselves and the status in one place. */
static void h20_overlap(void **state)
{
	struct victim victim;

	(void)state;
	victim_open(&victim, IN, 0);
	victim.pieces[1].address = frontend_guest(&victim.client.frontend,
		client_packed() ? (void *)victim.queue->ring : victim.queue->desc);
	victim.pieces[1].bytes = SECTOR * 4;
	victim_add(&victim);
	victim_send(&victim);
	client_wait_used(&victim.client, 0);
	client_close(&victim.client);
	client_check_alive();
}

static void h21_same_head_twice(void **state)
{
	struct victim victim;

	(void)state;
	victim_open(&victim, IN, 0);
	victim_add(&victim);
	for (unsigned i = 0; i < 64; i++)
		virtqueue_put(victim.queue, victim.head);
	virtqueue_publish(victim.queue);
	usleep(CLIENT_QUIET_MS * 1000);
	assert_in_range(virtqueue_used_ready(victim.queue), 0, 64);
	client_close(&victim.client);
	client_check_alive();
}

static void h22_bad_requests(void **state)
{
	static const struct {
		uint32_t type, bytes;
		uint64_t sector;
		int status;
	} rows[] = {
		{77, 512, 0, VIRTIO_BLK_S_UNSUPP},
		{IN, 513, 0, VIRTIO_BLK_S_IOERR},
		{IN, 512, UINT64_MAX, VIRTIO_BLK_S_IOERR},
		{IN, 512, UINT64_MAX / 512, VIRTIO_BLK_S_IOERR},
		{IN, 512, UINT64_MAX / 512 + 1, VIRTIO_BLK_S_IOERR},
		{IN, 4096, UINT64_MAX - 3, VIRTIO_BLK_S_IOERR},
		{OUT, 512, 1ull << 55, VIRTIO_BLK_S_IOERR},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct victim victim;

		victim_open(&victim, rows[i].type == OUT ? OUT : IN, 0);
		victim.pieces[0] = client_header(&victim.client, rows[i].type, rows[i].sector);
		victim.pieces[1].bytes = rows[i].bytes;
		victim_add(&victim);
		victim_send(&victim);
		expect_status(&victim, rows[i].status);
	}
}

/* The largest discards and zeroings that can be said, as many as fit, out of range or wrapping. */
static void h23_huge_segments(void **state)
{
	enum { SEGMENTS = 256 };
	static const uint32_t types[] = {VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct victim victim;
		struct virtio_blk_segment *segments;

		victim_open(&victim, OUT, 0);
		segments = client_memory(&victim.client, SEGMENTS * sizeof(*segments), 0);
		for (unsigned at = 0; at < SEGMENTS; at++) {
			segments[at].sector = le64_of(i / 2 ? UINT64_MAX - at : 0);
			segments[at].sectors = le32_of(UINT32_MAX);
		}
		victim.pieces[0] = client_header(&victim.client, types[i % 2], 0);
		victim.pieces[1] =
			client_readable(&victim.client, segments, SEGMENTS * sizeof(*segments));
		victim_add(&victim);
		victim_send(&victim);
		expect_refused(&victim);
	}
}

static void h24_event_games(void **state)
{
	struct victim victim;

	(void)state;
	client_need_split();
	victim_open(&victim, IN, 0);
	for (unsigned i = 0; i < 2000; i++) {
		*virtqueue_used_event(victim.queue) = le16_of((uint16_t)(i * 40503));
		virtqueue_kick(victim.queue);
	}
	virtqueue_disarm(victim.queue);
	victim_add(&victim);
	victim_send(&victim);
	assert_int_equal(client_wait_used(&victim.client, 0), 0);
	check_around(&victim);
}

/* clang-format off */
#define ROW(name) cmocka_unit_test_setup(name, client_setup)
static const struct CMUnitTest tests[] = {
	ROW(h01_chain_loop), ROW(h01_loop_on_itself), ROW(h02_next_out_of_range),
	ROW(h03_head_out_of_range), ROW(h04_05_index_jumps), ROW(h06_nested_indirect),
	ROW(h06_indirect_and_next), ROW(h06_indirect_not_negotiated), ROW(h07_indirect_length),
	ROW(h07_indirect_nowhere), ROW(h07_indirect_next), ROW(h09_buffer_outside),
	ROW(h10_empty_and_outside), ROW(h11_sum_of_lengths), ROW(h12_wrong_direction),
	ROW(h13_writable_before_readable), ROW(h14_no_status), ROW(h15_small_answer),
	ROW(h16_17_failed_read), ROW(h18_double_fetch), ROW(h20_overlap), ROW(h21_same_head_twice),
	ROW(h22_bad_requests), ROW(h23_huge_segments), ROW(h24_event_games),
};
/* clang-format on */

int main(void)
{
	cmocka_set_test_filter(getenv("BRAID_TEST_ONLY"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
