/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests in flight and a back end that ends: lines 85, 86, 88 and 99 of the conformance list. A
 * request that was sent is answered once, whoever answers it.
 */
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "area.h"
#include "base/bits.h"
#include "base/random.h"

#define IN VIRTIO_BLK_T_IN
#define OUT VIRTIO_BLK_T_OUT

enum { BLOCK = 4096, DEPTH_MAX = 300, PIECES = 3 };

/* Requests on queue 0, each with a header, a block and a status of its own. */
struct sender {
	struct client client;
	struct virtqueue *queue;
	unsigned depth;
	struct sent {
		struct virtio_blk_header *header;
		uint8_t *data, *status;
		uint16_t head; /* VIRTQUEUE_NO_HEAD: not in flight */
	} sent[DEPTH_MAX];
	uint64_t answered;
};

static void sender_prepare(struct sender *sender, unsigned depth)
{
	sender->queue = &sender->client.frontend.queue[0];
	sender->depth = depth;
	sender->answered = 0;
	for (unsigned i = 0; i < depth; i++)
		sender->sent[i] = (struct sent){.header = client_memory(&sender->client,
							sizeof(*sender->sent[i].header), 0),
			.data = client_memory(&sender->client, BLOCK, 0),
			.status = client_memory(&sender->client, 1, STATUS_NONE),
			.head = VIRTQUEUE_NO_HEAD};
}

/* Puts request i, a block at `block`; not shown yet. */
static void sender_put(struct sender *sender, unsigned i, uint32_t type, uint64_t block)
{
	struct sent *sent = &sender->sent[i];
	struct client *client = &sender->client;
	struct virtqueue_piece pieces[PIECES] = {
		client_readable(client, sent->header, sizeof(*sent->header)),
		client_readable(client, sent->data, BLOCK),
		client_writable(client, sent->status, 1),
	};

	assert_int_equal(sent->head, VIRTQUEUE_NO_HEAD);
	pieces[1].writable = type == IN;
	sent->header->type = le32_of(type);
	sent->header->sector = le64_of(block * (BLOCK / SECTOR));
	*sent->status = STATUS_NONE;
	sent->head = virtqueue_add(sender->queue, pieces, PIECES);
	assert_int_not_equal(sent->head, VIRTQUEUE_NO_HEAD);
	virtqueue_put(sender->queue, sent->head);
}

/* Takes what has been answered: a request in flight, once, and well. */
static unsigned sender_reap(struct sender *sender)
{
	unsigned count = 0;
	uint32_t head;

	while (virtqueue_reap(sender->queue, &head, NULL)) {
		unsigned i = 0;

		while (i < sender->depth && sender->sent[i].head != head)
			i++;
		if (i == sender->depth)
			fail_msg("head %u was answered and is not in flight", head);
		assert_int_equal(*sender->sent[i].status, VIRTIO_BLK_S_OK);
		virtqueue_free(sender->queue, (uint16_t)head);
		sender->sent[i].head = VIRTQUEUE_NO_HEAD;
		sender->answered++;
		count++;
	}
	return count;
}

static unsigned sender_in_flight(const struct sender *sender)
{
	unsigned count = 0;

	for (unsigned i = 0; i < sender->depth; i++)
		count += sender->sent[i].head != VIRTQUEUE_NO_HEAD;
	return count;
}

/* Until all is answered; then nothing more comes. */
static void sender_drain(struct sender *sender)
{
	while (sender_in_flight(sender)) {
		if (virtqueue_wait(sender->queue, CLIENT_TIMEOUT_MS))
			fail_msg("%u requests are never answered", sender_in_flight(sender));
		sender_reap(sender);
	}
	usleep(CLIENT_QUIET_MS * 1000);
	assert_int_equal(sender_reap(sender), 0);
}

static void c88_region(void **state)
{
	struct client client;
	struct area area;
	struct vhost_inflight *inflight = &client.frontend.inflight;

	(void)state;
	client_open_idle(&client, 0);
	area = area_of(&client, 0);
	assert_int_equal(inflight->queue_size, CLIENT_ENTRIES);
	assert_int_equal(inflight->queues,
		MIN(client.frontend.queues_offered, (unsigned)FRONTEND_QUEUES_MAX));
	assert_true(inflight->mmap_bytes >=
		    inflight->queues * virtq_area_bytes(client_packed(), CLIENT_ENTRIES));
	assert_int_equal(area_marks(area), 0);
	if (area.split) {
		assert_int_equal(area.split->features, 0);
		assert_int_equal(area.split->version, 1);
		assert_int_equal(area.split->entries, CLIENT_ENTRIES);
		assert_int_equal(area.split->used_index, 0);
	} else {
		assert_int_equal(area.packed->version, 0);
		assert_int_equal(frontend_start(&client.frontend, 0, NULL), 0);
		assert_int_equal(area.packed->features, 0);
		assert_int_equal(area.packed->version, 1);
		assert_int_equal(area.packed->entries, CLIENT_ENTRIES);
		assert_int_equal(area_used(area), (uint16_t)CLIENT_PACKED_BASE);
	}
	client_close(&client);
}

/* The next used index after so many chains of three. */
static uint16_t used_after(const struct client *client, unsigned chains)
{
	const struct virtqueue *queue = &client->frontend.queue[0];
	struct virtq_position at = virtq_position_of((uint16_t)CLIENT_PACKED_BASE);

	if (!queue->packed)
		return (uint16_t)chains;
	for (; chains; chains--)
		virtq_advance(&at, queue->size, PIECES);
	return virtq_position_code(at);
}

/* A second region is another one, and the first is not looked at any more. */
static void c88_get_again(void **state)
{
	struct client client;
	unsigned before;
	uint8_t *data;

	(void)state;
	before = client_peer_descriptors();
	client_open(&client, 1, 0);
	area_of(&client, 0);
	data = client_memory(&client, SECTOR, 0);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(client_request(&client, IN, 0, data, SECTOR), 0);
		client_unmap(&client);
		close(client.frontend.inflight_fd);
		client.frontend.inflight_fd = -1;
		assert_int_equal(frontend_track(&client.frontend, 1, CLIENT_ENTRIES, NULL), 0);
		assert_int_equal(area_used(area_of(&client, 0)), used_after(&client, i + 1));
	}
	client_close(&client);
	assert_int_equal(client_peer_descriptors(), before);
}

/* Marked in the order in which they were taken; and nothing stays marked. */
static void c85_marks(void **state)
{
	struct sender sender;
	struct area area;

	(void)state;
	client_need_reborn(); /* its disk is slow */
	client_open(&sender.client, 1, 0);
	area = area_of(&sender.client, 0);
	sender_prepare(&sender, 24);
	for (unsigned i = 0; i < sender.depth; i++)
		sender_put(&sender, i, OUT, i);
	virtqueue_publish(sender.queue);
	area_await_marks(area, sender.depth);
	for (unsigned i = 0; i < sender.depth; i++)
		assert_int_equal(area_counter(area, sender.sent[i].head), i);
	sender_drain(&sender);
	assert_int_equal(area_marks(area), 0);
	assert_int_equal(area_used(area), used_after(&sender.client, sender.depth));
	assert_int_equal(frontend_stop(&sender.client.frontend, 0, NULL, NULL), 0);
	client_close(&sender.client);
}

static void check_content(struct sender *sender, unsigned blocks, unsigned seed)
{
	uint8_t *data = client_memory(&sender->client, BLOCK, 0);
	uint8_t *wanted = client_memory(&sender->client, BLOCK, 0);

	for (unsigned i = 0; i < blocks; i++) {
		client_fill_pattern(wanted, BLOCK, seed + i);
		assert_int_equal(
			client_request(&sender->client, IN, i * (BLOCK / SECTOR), data, BLOCK), 0);
		assert_memory_equal(data, wanted, BLOCK);
	}
}

/* The disk may be empty in its next life: what is read then was written again. */
static void c86_killed(void **state)
{
	struct sender sender;
	struct area area;

	(void)state;
	client_need_reborn();
	client_open(&sender.client, 1, 0);
	area = area_of(&sender.client, 0);
	sender_prepare(&sender, 24);
	for (unsigned i = 0; i < sender.depth; i++) {
		client_fill_pattern(sender.sent[i].data, BLOCK, i);
		sender_put(&sender, i, OUT, i);
	}
	virtqueue_publish(sender.queue);
	area_await_marks(area, sender.depth);
	client_end_peer(&sender.client, SIGKILL);
	assert_int_equal(sender_reap(&sender), 0);
	client_reopen(&sender.client);
	sender_drain(&sender);
	check_content(&sender, sender.depth, 0);
	client_close(&sender.client);
}

/* Writes of one block: the last one sent is the one that stays. */
static void c86_order(void **state)
{
	struct sender sender;
	struct area area;

	(void)state;
	client_need_reborn();
	client_open(&sender.client, 1, 0);
	area = area_of(&sender.client, 0);
	sender_prepare(&sender, 16);
	/* Descriptors in another order than requests. */
	for (unsigned i = 0; i < sender.depth; i++)
		sender_put(&sender, i, OUT, 100);
	virtqueue_publish(sender.queue);
	sender_drain(&sender);
	for (unsigned i = 0; i < sender.depth; i++) {
		unsigned next = i * 7 % sender.depth;

		client_fill_pattern(
			sender.sent[next].data, BLOCK, i == sender.depth - 1 ? 0 : i + 77);
		sender_put(&sender, next, OUT, 0);
	}
	virtqueue_publish(sender.queue);
	area_await_marks(area, sender.depth);
	client_end_peer(&sender.client, SIGKILL);
	client_reopen(&sender.client);
	sender_drain(&sender);
	check_content(&sender, 1, 0);
	client_close(&sender.client);
}

/* Two answers in one batch, shown; the marks are still there. */
static void answer_split(
	struct sender *sender, struct inflight_area *area, unsigned first, unsigned second)
{
	uint16_t heads[] = {sender->sent[first].head, sender->sent[second].head};

	for (unsigned i = 0; i < 2; i++)
		sender->queue->used->ring[i].head = le32_of(heads[i]);
	sender->queue->used->index = le16_of(2);
	area->entry[heads[0]].next = 0;
	area->entry[heads[1]].next = heads[0];
	area->last_batch = heads[1];
}

static void answer_packed(
	struct sender *sender, struct packed_area *area, unsigned first, unsigned second)
{
	unsigned sent[] = {first, second};
	uint16_t free_head = 5 * PIECES;

	area->version = 1;
	area->entries = CLIENT_ENTRIES;
	area->old_free_head = free_head;
	area->old_used_index = 0;
	area->used_index = 2 * PIECES;
	area->used_wrap = area->old_used_wrap = 1;
	for (unsigned i = 0; i < 2; i++) {
		struct virtq_packed_desc *used = &sender->queue->ring[i * PIECES];
		uint16_t entry = (uint16_t)(sent[i] * PIECES);

		used->id = le16_of(sender->sent[sent[i]].head);
		used->flags = le16_of(virtq_used_flags(true));
		area->entry[area->entry[entry].last].next = free_head;
		area->free_head = free_head = entry;
	}
}

/* Answered and shown, but the marks were not taken off: not carried out again. */
static void c86_last_batch(void **state)
{
	struct sender sender;
	struct area area;
	uint32_t base;

	(void)state;
	client_open_idle(&sender.client, 0);
	area = area_of(&sender.client, 0);
	sender_prepare(&sender, 5);
	for (unsigned i = 0; i < sender.depth; i++) {
		sender_put(&sender, i, IN, i);
		area_mark(area, sender.queue, sender.sent[i].head, i * PIECES, i);
	}
	virtqueue_expose(sender.queue);
	/* Of five, 3 and then 1 were answered in one batch. */
	if (area.split)
		answer_split(&sender, area.split, 3, 1);
	else
		answer_packed(&sender, area.packed, 3, 1);
	*sender.sent[1].status = *sender.sent[3].status = VIRTIO_BLK_S_OK;
	assert_int_equal(sender_reap(&sender), 2);
	*sender.sent[1].status = *sender.sent[3].status = STATUS_NONE;
	assert_int_equal(frontend_start(&sender.client.frontend, 0, NULL), 0);
	sender_drain(&sender);
	assert_int_equal(*sender.sent[1].status, STATUS_NONE);
	assert_int_equal(*sender.sent[3].status, STATUS_NONE);
	assert_int_equal(frontend_stop(&sender.client.frontend, 0, &base, NULL), 0);
	assert_int_equal((uint16_t)base, used_after(&sender.client, 5));
	client_close(&sender.client);
}

/* More than can be in flight at once, and the ring is stopped at once: all are answered before. */
static void c86_stop_finishes(void **state)
{
	struct sender sender;
	struct area area;
	unsigned answered;
	uint32_t base;

	(void)state;
	client_open_idle(&sender.client, 0);
	area = area_of(&sender.client, 0);
	assert_int_equal(frontend_prepare(&sender.client.frontend, 0, CLIENT_ENTRIES, NULL), 0);
	sender_prepare(&sender, DEPTH_MAX);
	for (unsigned i = 0; i < sender.depth; i++) {
		sender_put(&sender, i, IN, i);
		if (i < sender.depth - 1)
			area_mark(area, sender.queue, sender.sent[i].head, i * PIECES, 1000 - i);
	}
	if (area.packed) {
		area.packed->version = 1;
		area.packed->entries = CLIENT_ENTRIES;
		area.packed->used_wrap = area.packed->old_used_wrap = 1;
	}
	virtqueue_expose(sender.queue);
	assert_int_equal(frontend_start(&sender.client.frontend, 0, NULL), 0);
	assert_int_equal(frontend_stop(&sender.client.frontend, 0, &base, NULL), 0);
	/* The last one is new: it may be taken, and need not. */
	answered = sender_reap(&sender);
	assert_in_range(answered, sender.depth - 1, sender.depth);
	assert_int_equal((uint16_t)base, used_after(&sender.client, answered));
	assert_int_equal(area_marks(area), 0);
	assert_int_equal(frontend_start(&sender.client.frontend, 0, NULL), 0);
	sender_drain(&sender);
	client_close(&sender.client);
}

/* A back end may be killed after it has answered and before it has called: the next one calls. */
static void c86_calls_again(void **state)
{
	struct client client;
	struct pollfd call = {.events = POLLIN};
	uint8_t *data;

	(void)state;
	client_need_strict();
	client_open(&client, 1, 0);
	data = client_memory(&client, SECTOR, 0);
	assert_int_equal(client_request(&client, IN, 0, data, SECTOR), 0);
	virtqueue_called(&client.frontend.queue[0]);
	call.fd = client.frontend.queue[0].call_fd;
	assert_int_equal(poll(&call, 1, CLIENT_QUIET_MS), 0);
	client_reopen(&client);
	assert_int_equal(poll(&call, 1, CLIENT_TIMEOUT_MS), 1);
	client_close(&client);
}

/* A back end killed at any moment, again and again, under a load of reads and writes. */
static void c86_killed_often(void **state)
{
	enum { LOAD_DEPTH = 32, KILLS = 12 };
	struct random random = {86};
	struct sender sender;
	unsigned again = 0;

	(void)state;
	client_need_reborn();
	client_open(&sender.client, 1, 0);
	sender_prepare(&sender, LOAD_DEPTH);
	for (unsigned life = 0; life <= KILLS; life++) {
		uint64_t enough = sender.answered + random_below(&random, 200);

		while (sender.answered < enough) {
			for (unsigned i = 0; i < sender.depth; i++)
				if (sender.sent[i].head == VIRTQUEUE_NO_HEAD)
					sender_put(&sender, i, random_next(&random) % 2 ? IN : OUT,
						random_below(&random, 1000));
			virtqueue_publish(sender.queue);
			if (virtqueue_wait(sender.queue, CLIENT_TIMEOUT_MS))
				fail_msg("life %u: nothing is answered any more", life);
			sender_reap(&sender);
		}
		usleep((useconds_t)random_below(&random, 3000));
		if (life == KILLS)
			break;
		client_end_peer(&sender.client, SIGKILL);
		sender_reap(&sender);
		again += area_marks(area_of(&sender.client, 0));
		client_reopen(&sender.client);
		alarm(CLIENT_ALARM_S);
	}
	sender_drain(&sender);
	assert_int_equal(area_marks(area_of(&sender.client, 0)), 0);
	printf("%llu requests, %d kills, %u in flight at them\n",
		(unsigned long long)sender.answered, KILLS, again);
	client_close(&sender.client);
}

/* An orderly end answers all that was taken, and the next back end goes on. */
static void c99_ended_in_order(void **state)
{
	struct sender sender;
	struct area area;

	(void)state;
	client_need_reborn();
	client_open(&sender.client, 1, 0);
	area = area_of(&sender.client, 0);
	sender_prepare(&sender, 24);
	for (unsigned i = 0; i < sender.depth; i++)
		sender_put(&sender, i, OUT, i);
	virtqueue_publish(sender.queue);
	area_await_marks(area, sender.depth);
	client_end_peer(&sender.client, SIGTERM);
	assert_int_equal(sender_reap(&sender), sender.depth);
	assert_int_equal(area_marks(area), 0);
	for (unsigned i = 0; i < sender.depth; i++)
		sender_put(&sender, i, IN, i);
	virtqueue_publish(sender.queue); /* to nobody */
	client_reopen(&sender.client);
	sender_drain(&sender);
	client_close(&sender.client);
}

/* clang-format off */
#define ROW(name) cmocka_unit_test_setup(name, client_setup)
static const struct CMUnitTest tests[] = {
	ROW(c88_region), ROW(c88_get_again), ROW(c85_marks), ROW(c86_killed), ROW(c86_order),
	ROW(c86_last_batch), ROW(c86_stop_finishes), ROW(c86_calls_again),
	ROW(c86_killed_often), ROW(c99_ended_in_order),
};
/* clang-format on */

int main(void)
{
	cmocka_set_test_filter(getenv("BRAID_TEST_ONLY"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
