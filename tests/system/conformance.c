/* SPDX-License-Identifier: Apache-2.0 */
/* Virtqueues: lines 1 to 25 of the conformance list, by number; split where the line is about the
 * layout, see conformance_packed.c for the other. */
#include <poll.h>
#include <unistd.h>

#include "base/bits.h"
#include "client.h"

/* Feature bits that a back end of ours may offer: what it does, and nothing reserved. */
#define KNOWN_FEATURES \
	(FRONTEND_FEATURES | VIRTIO_F_RING_PACKED | VIRTIO_BIT(1) | VIRTIO_BIT(4) | VIRTIO_BIT(26))
#define IN VIRTIO_BLK_T_IN
#define OUT VIRTIO_BLK_T_OUT

/* A session's notification fd, watched for a while. */
static bool called(struct client *client, unsigned queue, int timeout_ms)
{
	struct pollfd ready = {.fd = client->frontend.queue[queue].call_fd, .events = POLLIN};

	return poll(&ready, 1, timeout_ms) == 1 && virtqueue_called(&client->frontend.queue[queue]);
}

/* Puts a read of one sector on queue 0 and shows it, without waiting. */
static uint16_t put_read(struct client *client, uint8_t *data)
{
	struct virtqueue *queue = &client->frontend.queue[0];
	struct virtqueue_piece pieces[] = {client_header(client, IN, 0),
		client_writable(client, data, SECTOR), client_status(client)};
	uint16_t head = virtqueue_add(queue, pieces, 3);

	virtqueue_put(queue, head);
	virtqueue_publish(queue);
	return head;
}

static bool served_within(struct client *client, int timeout_ms)
{
	return virtqueue_wait(&client->frontend.queue[0], timeout_ms) == 0;
}

static void c01_version_1(void **state)
{
	struct client client;

	(void)state;
	client_open(&client, 1, 0);
	assert_true(client.frontend.offered & VIRTIO_F_VERSION_1);
	client_close(&client);
}

static void c02_no_unknown_bits(void **state)
{
	struct client client;
	uint64_t offered;

	(void)state;
	client_open(&client, 1, 0);
	offered = client.frontend.offered;
	client_close(&client);
	if (offered & VIRTIO_BLK_F_CONFIG_WCE)
		assert_true(offered & VIRTIO_BLK_F_FLUSH);
	client_need_strict();
	assert_int_equal(offered & ~KNOWN_FEATURES, 0);
}

static void c03_any_subset(void **state)
{
	static const uint64_t without[] = {VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC,
		VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_DISCARD,
		VIRTIO_BLK_F_WRITE_ZEROES,
		FRONTEND_FEATURES & ~(VIRTIO_F_VERSION_1 | VHOST_F_PROTOCOL_FEATURES)};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(without); i++) {
		struct client client;
		void *data;

		client_open(&client, 1, without[i]);
		data = client_memory(&client, 4096, 0);
		assert_int_equal(client_request(&client, IN, 8, data, 4096), 0);
		client_close(&client);
	}
}

static void c04_same_set_again(void **state)
{
	uint64_t first = 0;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct client client;

		client_open(&client, 1, 0);
		if (i)
			assert_int_equal(client.frontend.offered, first);
		first = client.frontend.offered;
		client_close(&client);
	}
	client_check_alive();
}

/* Requests that lie in a ring before it is started and enabled are not touched, and are served
 * afterwards. */
static void c05_nothing_before_start(void **state)
{
	struct client client;
	uint8_t *data;

	(void)state;
	client_open_idle(&client, 0);
	data = client_memory(&client, SECTOR, 0xa5);
	put_read(&client, data);
	assert_false(served_within(&client, CLIENT_QUIET_MS));
	assert_int_equal(frontend_start(&client.frontend, 0, NULL), 0);
	virtqueue_kick(&client.frontend.queue[0]);
	assert_true(served_within(&client, CLIENT_TIMEOUT_MS));
	client_close(&client);
}

static void c07_config_before_features(void **state)
{
	struct client client;
	uint64_t value;

	(void)state;
	client_check_alive();
	client_connect(&client, client_socket());
	assert_int_equal(frontend_get(&client.frontend, VHOST_GET_FEATURES, &value, NULL), 0);
	assert_int_equal(
		frontend_get(&client.frontend, VHOST_GET_PROTOCOL_FEATURES, &value, NULL), 0);
	assert_int_equal(frontend_set(&client.frontend, VHOST_SET_PROTOCOL_FEATURES,
				 value & VHOST_PROTOCOL_CONFIG, NULL),
		0);
	assert_int_equal(frontend_read_config(&client.frontend, NULL), 0);
	assert_true(le64_get(client.frontend.config.capacity) > 0);
	client_close(&client);
}

/* IN_ORDER, SUSPEND, NOTIF_CONFIG_DATA, NOTIFICATION_DATA, SR_IOV, ADMIN_VQ; SCSI and BARRIER. */
static void c11_not_offered(void **state)
{
	static const unsigned bits[] = {35, 43, 39, 38, 37, 41, 7, 0};
	struct client client;

	(void)state;
	client_open(&client, 1, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bits); i++)
		assert_false(client.frontend.offered & VIRTIO_BIT(bits[i]));
	client_close(&client);
}

/* Cuts `bytes` at `at` into pieces of at most `step`. */
static unsigned cut(struct virtqueue_piece *pieces, struct virtqueue_piece whole, unsigned step)
{
	unsigned count = 0;

	while (whole.bytes) {
		pieces[count] = whole;
		pieces[count].bytes = MIN(whole.bytes, step);
		whole.address += pieces[count].bytes;
		whole.bytes -= pieces[count].bytes;
		count++;
	}
	return count;
}

/* Writes and reads back 1024 bytes with everything cut into `step` byte pieces. The header and the
 * data of a write, and the data and the status of a read, lie next to each other in memory, and are
 * one piece when `merged`. */
static void framing_round(struct client *client, unsigned step, bool merged)
{
	enum { DATA = 1024, HEADER = sizeof(struct virtio_blk_header) };
	uint8_t *out = client_memory(client, HEADER + DATA, 0);
	uint8_t *in = client_memory(client, DATA + 1, STATUS_NONE);
	struct virtio_blk_header *header = (void *)out;
	struct virtqueue_piece pieces[CLIENT_QUEUE_SIZE];
	unsigned count = 0;

	client_fill_pattern(out + HEADER, DATA, step);
	*header = (struct virtio_blk_header){.type = le32_of(OUT), .sector = le64_of(40)};
	if (merged) {
		count = cut(pieces, client_readable(client, out, HEADER + DATA), step);
	} else {
		count = cut(pieces, client_readable(client, out, HEADER), step);
		count += cut(pieces + count, client_readable(client, out + HEADER, DATA), step);
	}
	pieces[count++] = client_status(client);
	assert_int_equal(client_chain(client, 0, pieces, count, NULL), 0);
	assert_int_equal(*client->status, 0);

	count = cut(pieces, client_header(client, IN, 40), step);
	if (merged) {
		count += cut(pieces + count, client_writable(client, in, DATA + 1), step);
	} else {
		count += cut(pieces + count, client_writable(client, in, DATA), step);
		pieces[count++] = client_writable(client, in + DATA, 1);
	}
	assert_int_equal(client_chain(client, 0, pieces, count, NULL), 0);
	assert_int_equal(in[DATA], 0);
	assert_memory_equal(in, out + HEADER, DATA);
}

static void c13_any_framing(void **state)
{
	static const unsigned steps[] = {4096, 1024, 512, 511, 100, 17, 16, 13};
	struct client client;

	(void)state;
	client_open(&client, 1, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
		framing_round(&client, steps[i], false);
		framing_round(&client, steps[i], true);
	}
	client_close(&client);
}

/* seg_max data segments, or as many as the queue takes. */
static void c14_longest_chain(void **state)
{
	struct virtqueue_piece pieces[CLIENT_QUEUE_SIZE];
	struct client client;
	unsigned segments, count = 0;
	uint8_t *data;

	(void)state;
	client_open(&client, 1, 0);
	segments = le32_get(client.frontend.config.seg_max);
	segments = segments ? MIN(segments, CLIENT_QUEUE_SIZE - 2u) : 1;
	data = client_memory(&client, (size_t)segments * SECTOR, 0);
	pieces[count++] = client_header(&client, IN, 0);
	count += cut(pieces + count, client_writable(&client, data, segments * SECTOR), SECTOR);
	pieces[count++] = client_status(&client);
	assert_int_equal(client_chain(&client, 0, pieces, count, NULL), 0);
	assert_int_equal(*client.status, 0);
	client_close(&client);
}

/* Neither what the device may only read nor the descriptors change. */
static void c15_16_writes_nothing_else(void **state)
{
	struct virtq_desc before[CLIENT_QUEUE_SIZE];
	struct virtio_blk_header header;
	struct virtqueue_piece pieces[3];
	struct virtqueue *queue;
	struct client client;
	uint8_t *data, copy[SECTOR];
	uint32_t head, written;

	(void)state;
	client_need_split();
	client_open(&client, 1, 0);
	queue = &client.frontend.queue[0];
	data = client_memory(&client, SECTOR, 0x5a);
	memcpy(copy, data, SECTOR);
	pieces[0] = client_header(&client, OUT, 3);
	pieces[1] = client_readable(&client, data, SECTOR);
	pieces[2] = client_status(&client);
	header = *client.header;
	head = virtqueue_add(queue, pieces, 3);
	memcpy(before, queue->desc, sizeof(before));
	virtqueue_put(queue, (uint16_t)head);
	virtqueue_publish(queue);
	assert_int_equal(client_reap(&client, 0, &head, &written), 0);
	assert_memory_equal(before, queue->desc, sizeof(before));
	assert_memory_equal(&header, client.header, sizeof(header));
	assert_memory_equal(copy, data, SECTOR);
	client_close(&client);
}

/* Header direct, the rest through a table; with WRITE on the reference to the table or not. */
static void indirect_round(bool with_write, bool header_direct)
{
	struct virtqueue_piece inside[3], outside[2];
	unsigned inside_count = 0, outside_count = 0;
	struct virtq_desc *table;
	struct client client;
	uint8_t *data;

	client_open(&client, 1, 0);
	client_need_feature(&client, VIRTIO_F_INDIRECT_DESC);
	data = client_memory(&client, SECTOR, 0xa5);
	table = client_memory(&client, 3 * sizeof(*table), 0);
	if (header_direct)
		outside[outside_count++] = client_header(&client, IN, 0);
	else
		inside[inside_count++] = client_header(&client, IN, 0);
	inside[inside_count++] = client_writable(&client, data, SECTOR);
	inside[inside_count++] = client_status(&client);
	virtqueue_fill_table(&client.frontend.queue[0], table, inside, inside_count);
	outside[outside_count] = client_readable(&client, table, inside_count * sizeof(*table));
	outside[outside_count].writable = with_write;
	outside[outside_count++].indirect = true;
	assert_int_equal(client_chain(&client, 0, outside, outside_count, NULL), 0);
	assert_int_equal(*client.status, 0);
	client_close(&client);
}

static void c17_write_flag_on_indirect(void **state)
{
	(void)state;
	indirect_round(false, false);
	indirect_round(true, false);
}

static void c18_direct_then_indirect(void **state)
{
	(void)state;
	client_need_split();
	indirect_round(false, true);
}

static void c19_interrupt_flag(void **state)
{
	struct client client;
	struct virtqueue *queue;
	uint32_t head = 0;
	uint8_t *data;

	(void)state;
	client_need_split();
	client_open(&client, 1, VIRTIO_F_EVENT_IDX);
	queue = &client.frontend.queue[0];
	data = client_memory(&client, SECTOR, 0);
	*virtqueue_used_event(queue) = le16_of(0x7000); /* must be ignored */
	virtqueue_called(queue);
	put_read(&client, data);
	assert_true(called(&client, 0, CLIENT_TIMEOUT_MS));
	assert_true(virtqueue_reap(queue, &head, NULL));
	virtqueue_free(queue, (uint16_t)head);

	queue->avail->flags = le16_of(VIRTQ_AVAIL_NO_INTERRUPT);
	put_read(&client, data);
	assert_false(called(&client, 0, CLIENT_QUIET_MS));
	assert_int_equal(virtqueue_used_ready(queue), 1);
	client_close(&client);
}

static void c20_used_event(void **state)
{
	struct client client;
	struct virtqueue *queue;
	uint32_t head = 0;
	uint8_t *data;

	(void)state;
	client_need_split();
	client_open(&client, 1, 0);
	client_need_feature(&client, VIRTIO_F_EVENT_IDX);
	queue = &client.frontend.queue[0];
	data = client_memory(&client, SECTOR, 0);
	queue->avail->flags = le16_of(VIRTQ_AVAIL_NO_INTERRUPT); /* must be ignored */
	*virtqueue_used_event(queue) = le16_of(2);
	for (unsigned i = 0; i < 4; i++) {
		bool crossed = i == 2;

		put_read(&client, data);
		assert_int_equal(client_wait_used(&client, 0), 0);
		/* One call too many is only a SHOULD NOT. */
		if (called(&client, 0, CLIENT_QUIET_MS) != crossed && (crossed || client_strict()))
			fail_msg("used entry %u: called %s", i, crossed ? "not" : "needlessly");
		assert_true(virtqueue_reap(queue, &head, NULL));
		virtqueue_free(queue, (uint16_t)head);
	}
	client_close(&client);
}

/* The used length never says more than was written, and a good read says all of it or less. */
static void c21_used_length(void **state)
{
	struct client client;
	struct virtqueue_piece pieces[3];
	uint8_t *data;
	uint32_t written;

	(void)state;
	client_open(&client, 1, 0);
	data = client_memory(&client, 4096, 0);
	pieces[0] = client_header(&client, IN, 0);
	pieces[1] = client_writable(&client, data, 4096);
	pieces[2] = client_status(&client);
	assert_int_equal(client_chain(&client, 0, pieces, 3, &written), 0);
	assert_in_range(written, 0, 4097);
	pieces[0] = client_header(&client, OUT, 0);
	pieces[1] = client_readable(&client, data, 4096);
	pieces[2] = client_status(&client);
	assert_int_equal(client_chain(&client, 0, pieces, 3, &written), 0);
	assert_in_range(written, 0, 1);
	client_close(&client);
}

static void c22_used_flags(void **state)
{
	struct client client;
	uint8_t *data;

	(void)state;
	client_need_split();
	client_open(&client, 1, 0);
	client_need_feature(&client, VIRTIO_F_EVENT_IDX);
	data = client_memory(&client, SECTOR, 0);
	client_request(&client, IN, 0, data, SECTOR);
	assert_int_equal(le16_get(client.frontend.queue[0].used->flags), 0);
	client_close(&client);
	client_open(&client, 1, VIRTIO_F_EVENT_IDX);
	data = client_memory(&client, SECTOR, 0);
	client_request(&client, IN, 0, data, SECTOR);
	assert_in_range(le16_get(client.frontend.queue[0].used->flags), 0, 1);
	client_close(&client);
}

static void c23_spurious_kicks(void **state)
{
	struct client client;
	uint8_t *data;

	(void)state;
	client_open(&client, 1, 0);
	data = client_memory(&client, SECTOR, 0);
	for (unsigned i = 0; i < 1000; i++)
		virtqueue_kick(&client.frontend.queue[0]);
	assert_int_equal(client_request(&client, IN, 0, data, SECTOR), 0);
	assert_int_equal(virtqueue_used_ready(&client.frontend.queue[0]), 0);
	client_close(&client);
}

static void c24_empty_pieces(void **state)
{
	struct client client;
	struct virtqueue_piece pieces[6];
	uint8_t *data;

	(void)state;
	client_open(&client, 1, 0);
	data = client_memory(&client, SECTOR, 0xa5);
	pieces[0] = client_header(&client, IN, 0);
	pieces[1] = client_readable(&client, data, 0);
	pieces[2] = client_writable(&client, data, 0);
	pieces[3] = client_writable(&client, data, SECTOR);
	pieces[4] = client_writable(&client, data, 0);
	pieces[5] = client_status(&client);
	if (client_chain(&client, 0, pieces, 6, NULL) == 0)
		assert_in_range(*client.status, 0, 1);
	else if (client_strict())
		fail_msg("a chain with empty pieces was not answered");
	client_close(&client);
	client_check_alive();
}

/* Both indexes pass 65535; the rings begin there by SET_VRING_BASE. */
static void c25_index_wraps(void **state)
{
	struct client client;
	struct virtqueue *queue;
	uint8_t *data;
	uint32_t base;

	(void)state;
	client_need_split();
	client_open_idle(&client, 0);
	queue = &client.frontend.queue[0];
	queue->avail_next = queue->avail_published = queue->used_next = 65500;
	queue->avail->index = queue->used->index = le16_of(65500);
	*virtqueue_avail_event(queue) = le16_of(65500); /* as the previous back end left it */
	assert_int_equal(frontend_start(&client.frontend, 0, NULL), 0);
	data = client_memory(&client, SECTOR, 0);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(client_request(&client, IN, 0, data, SECTOR), 0);
	assert_int_equal(frontend_stop(&client.frontend, 0, &base, NULL), 0);
	assert_int_equal(base, (uint16_t)(65500 + 100));
	client_close(&client);
}

/* clang-format off */
#define ROW(name) cmocka_unit_test_setup(name, client_setup)
static const struct CMUnitTest tests[] = {
	ROW(c01_version_1), ROW(c02_no_unknown_bits), ROW(c03_any_subset), ROW(c04_same_set_again),
	ROW(c05_nothing_before_start), ROW(c07_config_before_features), ROW(c11_not_offered),
	ROW(c13_any_framing), ROW(c14_longest_chain), ROW(c15_16_writes_nothing_else),
	ROW(c17_write_flag_on_indirect), ROW(c18_direct_then_indirect), ROW(c19_interrupt_flag),
	ROW(c20_used_event), ROW(c21_used_length), ROW(c22_used_flags), ROW(c23_spurious_kicks),
	ROW(c24_empty_pieces), ROW(c25_index_wraps),
};
/* clang-format on */

int main(void)
{
	cmocka_set_test_filter(getenv("BRAID_TEST_ONLY"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
