/* SPDX-License-Identifier: Apache-2.0 */
/* Packed virtqueues: lines 26 to 34 and 69 of the conformance list, by number. */
#include <poll.h>
#include <unistd.h>

#include "base/bits.h"
#include "client.h"

#define IN VIRTIO_BLK_T_IN

enum { PIECES = 3 };

static void open_packed(struct client *client, uint64_t without)
{
	client_need_packed();
	client_open(client, 1, without);
	client_need_feature(client, VIRTIO_F_RING_PACKED);
}

static bool called(struct client *client, int timeout_ms)
{
	struct pollfd ready = {.fd = client->frontend.queue[0].call_fd, .events = POLLIN};

	return poll(&ready, 1, timeout_ms) == 1 && virtqueue_called(&client->frontend.queue[0]);
}

/* Puts a read of one sector on queue 0, not visible yet. */
static uint16_t put_read(struct client *client, uint8_t *data)
{
	struct virtqueue *queue = &client->frontend.queue[0];
	struct virtqueue_piece pieces[PIECES] = {client_header(client, IN, 0),
		client_writable(client, data, SECTOR), client_status(client)};
	uint16_t head = virtqueue_add(queue, pieces, PIECES);

	assert_int_not_equal(head, VIRTQUEUE_NO_HEAD);
	virtqueue_put(queue, head);
	return head;
}

static void reap_one(struct client *client)
{
	uint32_t head = 0;

	assert_int_equal(client_reap(client, 0, &head, NULL), 0);
	virtqueue_free(&client->frontend.queue[0], (uint16_t)head);
}

/* A used descriptor stands at a place, of a buffer. */
static void expect_used(const struct virtqueue *queue, unsigned index, uint16_t id)
{
	assert_int_equal(le16_get(queue->ring[index].flags) & VIRTQ_PACKED_STATE,
		virtq_used_flags(queue->used_at.wrap));
	assert_int_equal(le16_get(queue->ring[index].id), id);
}

/* 26: buffers are begun in ring order, so that reads of one queue that are equal end in it. 27, 30:
 * one used descriptor per chain, each behind as many as the one before had. */
static void c26_27_30_places(void **state)
{
	enum { CHAINS = 20 };
	struct client client;
	struct virtqueue *queue = &client.frontend.queue[0];
	uint16_t heads[CHAINS], slots[CHAINS], seen[CHAINS];
	unsigned place = 0;
	uint8_t *data;

	(void)state;
	open_packed(&client, 0);
	data = client_memory(&client, SECTOR, 0);
	for (unsigned i = 0; i < CHAINS; i++) {
		struct virtqueue_piece pieces[PIECES + 2] = {client_header(&client, IN, 0)};

		/* Of 3, 4 and 5 pieces. */
		for (unsigned piece = 1; piece <= i % 3 + 1; piece++)
			pieces[piece] = client_writable(&client, data, piece == 1 ? SECTOR : 0);
		pieces[i % 3 + 2] = client_status(&client);
		slots[i] = (uint16_t)(i % 3 + 3);
		heads[i] = virtqueue_add(queue, pieces, slots[i]);
		virtqueue_put(queue, heads[i]);
	}
	virtqueue_publish(queue);
	for (unsigned i = 0; i < CHAINS; i++) {
		uint32_t head;

		assert_int_equal(virtqueue_wait(queue, CLIENT_TIMEOUT_MS), 0);
		assert_int_equal(queue->used_at.index, place);
		expect_used(queue, place, le16_get(queue->ring[place].id));
		assert_true(virtqueue_reap(queue, &head, NULL));
		seen[i] = (uint16_t)head;
		for (unsigned k = 0; k < CHAINS; k++)
			if (heads[k] == head)
				place += slots[k];
	}
	for (unsigned i = 0; i < CHAINS; i++) {
		unsigned times = 0;

		for (unsigned k = 0; k < CHAINS; k++)
			times += seen[k] == heads[i];
		assert_int_equal(times, 1);
	}
	client_close(&client);
}

/* A descriptor counts when AVAIL is the round's counter and USED is not. */
static void c28_available_by_both_flags(void **state)
{
	static const uint16_t states[] = {
		0, VIRTQ_PACKED_AVAIL | VIRTQ_PACKED_USED, VIRTQ_PACKED_USED};
	struct client client;
	struct virtqueue *queue = &client.frontend.queue[0];
	uint8_t *data;

	(void)state;
	open_packed(&client, 0);
	data = client_memory(&client, SECTOR, 0);
	put_read(&client, data);
	for (unsigned i = 0; i < ARRAY_SIZE(states); i++) {
		virtq_store16(&queue->ring[0].flags, states[i] | VIRTQ_DESC_NEXT);
		virtqueue_kick(queue);
		usleep(CLIENT_QUIET_MS * 1000);
		assert_int_equal(*client.status, STATUS_NONE);
	}
	virtqueue_expose(queue);
	virtqueue_kick(queue);
	reap_one(&client);
	assert_int_equal(*client.status, 0);
	client_close(&client);
}

/* What was used does not change, nor does what is behind the first descriptor of a chain. */
static void c15_16_29_writes_nothing_else(void **state)
{
	struct virtq_packed_desc before[CLIENT_QUEUE_SIZE], used;
	struct client client;
	struct virtqueue *queue = &client.frontend.queue[0];
	uint8_t *data;

	(void)state;
	open_packed(&client, 0);
	data = client_memory(&client, SECTOR, 0);
	put_read(&client, data);
	memcpy(before, queue->ring, sizeof(before));
	virtqueue_publish(queue);
	reap_one(&client);
	used = queue->ring[0];
	assert_memory_equal(before + 1, queue->ring + 1, sizeof(before) - sizeof(before[0]));
	put_read(&client, data);
	virtqueue_publish(queue);
	reap_one(&client);
	assert_memory_equal(&used, queue->ring, sizeof(used));
	client_close(&client);
}

/* In a table only WRITE counts: other flags and the ids are ignored. */
static void c31_table(void **state)
{
	enum { IGNORED = VIRTQ_DESC_NEXT | VIRTQ_DESC_INDIRECT | VIRTQ_PACKED_STATE };
	struct client client;
	struct virtqueue *queue = &client.frontend.queue[0];
	struct virtqueue_piece pieces[PIECES], outside;
	struct virtq_packed_desc *table;
	uint8_t *data;

	(void)state;
	open_packed(&client, 0);
	client_need_feature(&client, VIRTIO_F_INDIRECT_DESC);
	data = client_memory(&client, SECTOR, 0);
	table = client_memory(&client, PIECES * sizeof(*table), 0);
	pieces[0] = client_header(&client, IN, 0);
	pieces[1] = client_writable(&client, data, SECTOR);
	pieces[2] = client_status(&client);
	outside = client_readable(&client, table, PIECES * sizeof(*table));
	outside.indirect = true;
	for (unsigned ignored = 0; ignored < 2; ignored++) {
		virtqueue_fill_table(queue, table, pieces, PIECES);
		for (unsigned i = 0; i < PIECES && ignored; i++) {
			table[i].id = le16_of(0xffff);
			table[i].flags = le16_of(le16_get(table[i].flags) | IGNORED);
		}
		*client.status = STATUS_NONE;
		assert_int_equal(client_chain(&client, 0, &outside, 1, NULL), 0);
		assert_int_equal(*client.status, 0);
	}
	client_close(&client);
}

/* Sets what the driver wants to hear, in one word. */
static void want(struct virtqueue *queue, unsigned flags, unsigned index, bool wrap)
{
	virtq_event_store(queue->driver_event, flags,
		(struct virtq_position){.index = (uint16_t)index, .wrap = wrap});
}

/* Reads of three descriptors each; which of them calls. */
static void expect_calls(struct client *client, const bool *calls, unsigned count)
{
	struct virtqueue *queue = &client->frontend.queue[0];
	uint8_t *data = client_memory(client, SECTOR, 0);

	virtqueue_called(queue);
	for (unsigned i = 0; i < count; i++) {
		uint32_t head;
		bool was;

		put_read(client, data);
		virtqueue_publish(queue);
		assert_int_equal(client_wait_used(client, 0), 0);
		was = called(client, calls[i] ? CLIENT_TIMEOUT_MS : CLIENT_QUIET_MS);
		/* One call too many is only a SHOULD NOT. */
		if (was != calls[i] && (calls[i] || client_strict()))
			fail_msg("buffer %u: called %s", i, was ? "needlessly" : "not");
		assert_true(virtqueue_reap(queue, &head, NULL));
		virtqueue_free(queue, (uint16_t)head);
	}
}

static void c32_enable_and_disable(void **state)
{
	static const bool always[] = {true, true}, never[] = {false, false};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct client client;

		open_packed(&client, i ? VIRTIO_F_EVENT_IDX : 0);
		want(&client.frontend.queue[0], VIRTQ_EVENT_ENABLE, 77, false);
		expect_calls(&client, always, 2);
		want(&client.frontend.queue[0], VIRTQ_EVENT_DISABLE, 77, false);
		expect_calls(&client, never, 2);
		client_close(&client);
	}
}

/* The call comes with the buffer that takes the descriptor, in that round: the third of these, once
 * its first descriptor, once its last; and not in another round. */
static void c32_one_descriptor(void **state)
{
	static const bool third[] = {false, false, true, false}, never[] = {false, false};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct client client;

		open_packed(&client, 0);
		client_need_feature(&client, VIRTIO_F_EVENT_IDX);
		want(&client.frontend.queue[0], VIRTQ_EVENT_DESC, 6 + i, true);
		expect_calls(&client, third, 4);
		want(&client.frontend.queue[0], VIRTQ_EVENT_DESC, 12, false);
		expect_calls(&client, never, 2);
		client_close(&client);
	}
}

/* Rings of any size, round and round, with as much in flight as they hold. */
static void c25_31_33_rounds(void **state)
{
	static const unsigned sizes[] = {PIECES, 5, 7, 100, 128};

	(void)state;
	client_need_packed();
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct client client;
		struct virtqueue *queue = &client.frontend.queue[0];
		struct virtq_position at = {.index = 0, .wrap = true};
		unsigned in_flight = 0;
		uint32_t base;
		uint8_t *data;

		client_open_idle(&client, 0);
		client_need_feature(&client, VIRTIO_F_RING_PACKED);
		assert_int_equal(frontend_prepare(&client.frontend, 0, sizes[i], NULL), 0);
		assert_int_equal(frontend_start(&client.frontend, 0, NULL), 0);
		data = client_memory(&client, SECTOR, 0);
		for (unsigned chain = 0; chain < 300; chain++) {
			for (; queue->free_count >= PIECES; in_flight++) {
				put_read(&client, data);
				virtq_advance(&at, queue->size, PIECES);
			}
			virtqueue_publish(queue);
			reap_one(&client);
			in_flight--;
		}
		for (; in_flight; in_flight--)
			reap_one(&client);
		assert_int_equal(*client.status, 0);
		/* 69: both positions, and they are one when nothing is in flight. */
		assert_int_equal(frontend_stop(&client.frontend, 0, &base, NULL), 0);
		assert_int_equal(base & 0xffff, virtq_position_code(at));
		assert_int_equal(base >> 16, virtq_position_code(at));
		/* And on from there. */
		assert_int_equal(frontend_start(&client.frontend, 0, NULL), 0);
		assert_int_equal(client_request(&client, IN, 0, data, SECTOR), 0);
		client_close(&client);
	}
}

/* A ring may begin anywhere, in any round; what it holds of another round is not looked at. */
static void c69_71_base(void **state)
{
	(void)state;
	client_need_packed();
	for (unsigned i = 0; i < 4; i++) {
		struct virtq_position at = {
			.index = i / 2 ? CLIENT_QUEUE_SIZE - 1 : 40, .wrap = i % 2};
		uint32_t base, begin = virtq_position_code(at) * 0x10001u;
		struct client client;
		struct virtqueue *queue = &client.frontend.queue[0];
		uint8_t *data;

		client_open_idle(&client, 0);
		client_need_feature(&client, VIRTIO_F_RING_PACKED);
		for (unsigned k = 0; k < CLIENT_QUEUE_SIZE; k++)
			queue->ring[k].flags = le16_of(virtq_used_flags((k < at.index) == at.wrap));
		queue->avail_at = queue->published_at = queue->used_at = at;
		queue->base = begin;
		assert_int_equal(frontend_start(&client.frontend, 0, NULL), 0);
		data = client_memory(&client, SECTOR, 0);
		for (unsigned k = 0; k < 100; k++)
			assert_int_equal(client_request(&client, IN, 0, data, SECTOR), 0);
		assert_int_equal(frontend_stop(&client.frontend, 0, &base, NULL), 0);
		assert_int_equal((uint16_t)base, virtq_position_code(queue->used_at));
		client_close(&client);
	}
}

/* User-Mode Linux says base 0 of a new ring. In one that was used, 0 means what it says: the end of
 * a round, here of one in which the first descriptor was skipped and looks as if it waited. */
static void c69_base_zero(void **state)
{
	(void)state;
	client_need_packed();
	for (unsigned used = 0; used < 2; used++) {
		struct client client;
		struct virtqueue *queue = &client.frontend.queue[0];
		uint8_t *data;

		client_open_idle(&client, 0);
		client_need_feature(&client, VIRTIO_F_RING_PACKED);
		data = client_memory(&client, SECTOR, 0);
		queue->base = 0;
		if (used) {
			queue->avail_at = queue->published_at = queue->used_at =
				(struct virtq_position){0};
			for (unsigned i = 0; i < CLIENT_QUEUE_SIZE; i++)
				queue->ring[i].flags = le16_of(i < 2 ? virtq_available_flags(true)
								     : virtq_used_flags(true));
		}
		assert_int_equal(frontend_start(&client.frontend, 0, NULL), 0);
		assert_int_equal(client_request(&client, IN, 0, data, SECTOR), 0);
		assert_int_equal(virtqueue_used_ready(queue), 0);
		client_close(&client);
	}
}

/* WRITE says that the length means something, and it never says more than was written. */
static void c34_used_length(void **state)
{
	struct virtqueue_piece pieces[PIECES];
	struct client client;
	uint32_t written;
	uint8_t *data;

	(void)state;
	open_packed(&client, 0);
	data = client_memory(&client, 4096, 0);
	pieces[0] = client_header(&client, IN, 0);
	pieces[1] = client_writable(&client, data, 4096);
	pieces[2] = client_status(&client);
	assert_int_equal(client_chain(&client, 0, pieces, PIECES, &written), 0);
	assert_true(le16_get(client.frontend.queue[0].ring[0].flags) & VIRTQ_DESC_WRITE);
	assert_in_range(written, client_strict() ? 4096 : 0, 4097);
	client_close(&client);
}

/* clang-format off */
#define ROW(name) cmocka_unit_test_setup(name, client_setup)
static const struct CMUnitTest tests[] = {
	ROW(c26_27_30_places), ROW(c28_available_by_both_flags), ROW(c15_16_29_writes_nothing_else),
	ROW(c31_table), ROW(c32_enable_and_disable), ROW(c32_one_descriptor), ROW(c25_31_33_rounds),
	ROW(c69_71_base), ROW(c69_base_zero), ROW(c34_used_length),
};
/* clang-format on */

int main(void)
{
	cmocka_set_test_filter(getenv("BRAID_TEST_ONLY"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
