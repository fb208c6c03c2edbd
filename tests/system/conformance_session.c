/* SPDX-License-Identifier: Apache-2.0 */
/* The vhost-user session: lines 63 to 99 of the conformance list, by number. */
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bits.h"
#include "client.h"

#define IN VIRTIO_BLK_T_IN
#define OUT VIRTIO_BLK_T_OUT

/* Puts a read of one sector on a queue and shows it, without waiting. */
static void put_read(struct client *client, unsigned index, uint8_t *data)
{
	struct virtqueue *queue = &client->frontend.queue[index];
	struct virtqueue_piece pieces[] = {client_header(client, IN, 0),
		client_writable(client, data, SECTOR), client_status(client)};

	virtqueue_put(queue, virtqueue_add(queue, pieces, 3));
	virtqueue_publish(queue);
	virtqueue_kick(queue); /* whatever the event index says: the ring may be new */
}

static bool served_within(struct client *client, unsigned index, int timeout_ms)
{
	return virtqueue_wait(&client->frontend.queue[index], timeout_ms) == 0;
}

static int enable(struct client *client, unsigned index, unsigned on)
{
	struct vhost_vring_state state = {.index = index, .number = on};

	return client_tell(client, VHOST_SET_VRING_ENABLE, &state, sizeof(state), -1);
}

static void need_protocol(struct client *client, uint64_t feature)
{
	if (client->frontend.protocol & feature)
		return;
	client_close(client);
	skip();
}

/* frontend_message() accepts nothing but version 1 and REPLY in an answer. */
static void c63_reply_flags(void **state)
{
	struct client client;
	uint64_t value;

	(void)state;
	client_check_alive();
	client_connect(&client, client_socket());
	assert_int_equal(frontend_get(&client.frontend, VHOST_GET_FEATURES, &value, NULL), 0);
	client_close(&client);
}

static void c65_protocol_before_features(void **state)
{
	struct client client;
	uint64_t value;

	(void)state;
	client_check_alive();
	client_connect(&client, client_socket());
	assert_int_equal(
		frontend_get(&client.frontend, VHOST_GET_PROTOCOL_FEATURES, &value, NULL), 0);
	assert_int_equal(frontend_set(&client.frontend, VHOST_SET_PROTOCOL_FEATURES,
				 value & FRONTEND_PROTOCOL, NULL),
		0);
	assert_int_equal(frontend_get(&client.frontend, VHOST_GET_FEATURES, &value, NULL), 0);
	client_close(&client);
}

/* Without bit 30 rings are enabled from the start. No CONFIG then, and one queue. */
static void c66_enabled_without_protocol(void **state)
{
	struct client client;
	uint8_t *data;

	(void)state;
	client_open_idle(&client, VHOST_F_PROTOCOL_FEATURES);
	data = client_memory(&client, SECTOR, 0);
	assert_int_equal(frontend_start(&client.frontend, 0, NULL), 0);
	put_read(&client, 0, data);
	assert_true(served_within(&client, 0, CLIENT_TIMEOUT_MS));
	client_close(&client);
}

static void c68_disabled_ring_is_quiet(void **state)
{
	struct client client;
	uint8_t *data;

	(void)state;
	client_open(&client, 1, 0);
	data = client_memory(&client, SECTOR, 0);
	assert_int_equal(client_request(&client, IN, 0, data, SECTOR), 0);
	assert_int_equal(enable(&client, 0, 0), 0);
	put_read(&client, 0, data);
	assert_false(served_within(&client, 0, CLIENT_QUIET_MS));
	assert_int_equal(enable(&client, 0, 1), 0);
	virtqueue_kick(&client.frontend.queue[0]);
	assert_true(served_within(&client, 0, CLIENT_TIMEOUT_MS));
	client_close(&client);
}

/* The base of a queue that has only seen chains of three says that all that was taken was answered.
 * How much that is. */
static unsigned check_stopped_at(const struct virtqueue *queue, uint32_t base)
{
	unsigned answered = virtqueue_used_ready(queue);

	if (!queue->packed) {
		assert_int_equal((uint16_t)(queue->used_next + answered), base);
		return answered;
	}
	assert_int_equal(base >> 16, base & 0xffff);
	assert_int_equal(
		virtq_distance(queue->size, queue->used_at, virtq_position_of((uint16_t)base)),
		3 * answered);
	return answered;
}

/* GET_VRING_BASE with much in flight: all that was taken is answered before it is. */
static void c69_stop_drains(void **state)
{
	enum { REQUESTS = 32 };
	struct client client;
	struct virtqueue *queue;
	unsigned answered;
	uint8_t *data;
	uint32_t base;

	(void)state;
	client_open(&client, 1, 0);
	queue = &client.frontend.queue[0];
	data = client_memory(&client, 128 << 10, 0);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < REQUESTS; i++) {
			struct virtqueue_piece pieces[] = {client_header(&client, IN, 0),
				client_writable(&client, data, 128 << 10), client_status(&client)};

			virtqueue_put(queue, virtqueue_add(queue, pieces, 3));
		}
		virtqueue_publish(queue);
		usleep(round * 20);
		assert_int_equal(frontend_stop(&client.frontend, 0, &base, NULL), 0);
		answered = check_stopped_at(queue, base);
		assert_in_range(answered, 0, REQUESTS);
		/* 70: and nothing more comes. */
		usleep(2000);
		assert_int_equal(virtqueue_used_ready(queue), answered);
		virtqueue_reset(queue);
		assert_int_equal(frontend_start(&client.frontend, 0, NULL), 0);
	}
	client_close(&client);
}

static void c70_stopped_is_quiet(void **state)
{
	struct client client;
	uint8_t *data;
	uint64_t value;

	(void)state;
	client_open(&client, 1, 0);
	data = client_memory(&client, SECTOR, 0);
	assert_int_equal(client_request(&client, IN, 0, data, SECTOR), 0);
	assert_int_equal(frontend_stop(&client.frontend, 0, NULL, NULL), 0);
	put_read(&client, 0, data);
	assert_false(served_within(&client, 0, CLIENT_QUIET_MS));
	assert_int_equal(frontend_get(&client.frontend, VHOST_GET_FEATURES, &value, NULL), 0);
	/* Restarted where it stopped, it serves what was put meanwhile. */
	assert_int_equal(frontend_start(&client.frontend, 0, NULL), 0);
	virtqueue_kick(&client.frontend.queue[0]);
	assert_true(served_within(&client, 0, CLIENT_TIMEOUT_MS));
	client_close(&client);
}

/* A new kick or call fd while the ring runs takes the old one's place and stops nothing. */
static void c72_73_new_eventfds(void **state)
{
	struct client client;
	struct virtqueue *queue;
	uint64_t index = 0;
	uint8_t *data;

	(void)state;
	client_open(&client, 1, 0);
	queue = &client.frontend.queue[0];
	data = client_memory(&client, SECTOR, 0);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(client_request(&client, IN, 0, data, SECTOR), 0);
		close(queue->call_fd);
		queue->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		assert_int_equal(client_tell(&client, VHOST_SET_VRING_CALL, &index, sizeof(index),
					 queue->call_fd),
			0);
		close(queue->kick_fd);
		queue->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		assert_int_equal(client_tell(&client, VHOST_SET_VRING_KICK, &index, sizeof(index),
					 queue->kick_fd),
			0);
	}
	assert_int_equal(client_request(&client, IN, 0, data, SECTOR), 0);
	client_close(&client);
}

/* Bit 8: no call fd, the front end polls. */
static void c72_no_call_fd(void **state)
{
	struct client client;
	uint64_t index = VHOST_VRING_NO_FD;
	uint8_t *data;

	(void)state;
	client_open(&client, 1, 0);
	data = client_memory(&client, SECTOR, 0);
	assert_int_equal(client_tell(&client, VHOST_SET_VRING_CALL, &index, sizeof(index), -1), 0);
	put_read(&client, 0, data);
	assert_int_equal(client_wait_used(&client, 0), 0);
	client_close(&client);
}

/* The same memory again, twice, with the ring running. */
static void c74_memory_table_again(void **state)
{
	struct client client;
	uint8_t *data;

	(void)state;
	client_open(&client, 1, 0);
	data = client_memory(&client, SECTOR, 0);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(frontend_share(&client.frontend, NULL), 0);
		assert_int_equal(client_request(&client, IN, 0, data, SECTOR), 0);
	}
	client_close(&client);
}

static void c75_add_and_remove_memory(void **state)
{
	enum { BYTES = 1 << 20 };
	struct client client, other;
	struct vhost_single_region single = {
		.region = {.guest_address = 0x9000000000, .bytes = BYTES}};
	struct virtqueue_piece pieces[3];

	(void)state;
	client_open(&client, 1, 0);
	need_protocol(&client, VHOST_PROTOCOL_CONFIGURE_MEM_SLOTS);
	frontend_init(&other.frontend, 0);
	assert_int_equal(frontend_allocate(&other.frontend, BYTES, false, false, NULL), 0);
	single.region.user_address = (uintptr_t)other.frontend.memory.base;
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(client_tell(&client, VHOST_ADD_MEM_REG, &single, sizeof(single),
					 other.frontend.memory.fd),
			0);
		pieces[0] = client_header(&client, IN, 0);
		pieces[1] = (struct virtqueue_piece){
			.address = single.region.guest_address, .bytes = SECTOR, .writable = true};
		pieces[2] = client_status(&client);
		assert_int_equal(client_chain(&client, 0, pieces, 3, NULL), 0);
		assert_int_equal(*client.status, 0);
		/* With a descriptor in every other message: it is to be closed unused. */
		assert_int_equal(client_tell(&client, VHOST_REM_MEM_REG, &single, sizeof(single),
					 i % 2 ? other.frontend.memory.fd : -1),
			0);
	}
	frontend_close(&other.frontend);
	client_close(&client);
}

static void c76_77_limits(void **state)
{
	struct client client;

	(void)state;
	client_open(&client, 1, 0);
	if (client.frontend.protocol & VHOST_PROTOCOL_CONFIGURE_MEM_SLOTS)
		assert_true(client.frontend.memory_slots >= 32);
	if (client.frontend.protocol & VHOST_PROTOCOL_MQ)
		assert_true(client.frontend.queues_offered >= 1);
	if (client_strict())
		assert_int_equal(client.frontend.queues_offered, FRONTEND_QUEUES_MAX);
	client_close(&client);
}

/* All that are offered, each of them served. */
static void c77_every_queue(void **state)
{
	struct client client;
	uint8_t *data;

	(void)state;
	client_open(&client, FRONTEND_QUEUES_MAX, 0);
	data = client_memory(&client, SECTOR, 0);
	for (unsigned i = 0; i < client.frontend.queues; i++) {
		put_read(&client, i, data);
		assert_true(served_within(&client, i, CLIENT_TIMEOUT_MS));
		assert_int_equal(*client.status, 0);
	}
	client_close(&client);
}

/* Every message of frontend_start() and frontend_share() is answered with one u64, and a request
 * that has an answer of its own gets that alone. */
static void c78_reply_ack(void **state)
{
	struct client client;
	struct frontend_message message = {
		.request = VHOST_GET_FEATURES, .flags = VHOST_NEED_REPLY, .want_reply = true};
	struct pollfd ready;

	(void)state;
	client_open(&client, 1, 0);
	need_protocol(&client, VHOST_PROTOCOL_REPLY_ACK);
	assert_int_equal(frontend_message(&client.frontend, &message, NULL), 0);
	assert_int_equal(message.reply.u64, client.frontend.offered);
	ready = (struct pollfd){.fd = client.frontend.socket, .events = POLLIN};
	assert_int_equal(poll(&ready, 1, CLIENT_QUIET_MS), 0);
	client_close(&client);
}

static int read_config(
	struct client *client, uint32_t offset, uint32_t bytes, struct frontend_message *message)
{
	struct vhost_config config = {.offset = offset, .bytes = bytes};

	*message = (struct frontend_message){
		.request = VHOST_GET_CONFIG,
		.payload = &config,
		.payload_bytes = (uint32_t)offsetof(struct vhost_config, region) +
				 MIN(bytes, (uint32_t)VHOST_CONFIG_BYTES_MAX),
		.want_reply = true,
	};
	return frontend_message(&client->frontend, message, NULL);
}

/* Any part of the config space, with the size asked for. */
static void c58_79_config_parts(void **state)
{
	struct frontend_message message;
	struct client client;
	const uint8_t *whole;
	uint32_t head = offsetof(struct vhost_config, region);

	(void)state;
	client_open(&client, 1, 0);
	whole = (const uint8_t *)&client.frontend.config;
	assert_int_equal(read_config(&client, 0, 8, &message), 0);
	assert_int_equal(message.reply_bytes, head + 8);
	assert_memory_equal(message.reply.config.region, whole, 8);
	client_need_strict();
	assert_int_equal(read_config(&client, 20, 4, &message), 0);
	assert_int_equal(message.reply_bytes, head + 4);
	assert_memory_equal(message.reply.config.region, whole + 20, 4);
	/* Outside: an answer of length zero, or the end. */
	if (read_config(&client, 250, 100, &message) == 0)
		assert_int_equal(message.reply_bytes, 0);
	if (read_config(&client, UINT32_MAX, 8, &message) == 0)
		assert_int_equal(message.reply_bytes, 0);
	client_close(&client);
}

static int write_config(struct client *client, uint32_t offset, uint32_t flags, uint8_t value)
{
	struct vhost_config config = {
		.offset = offset, .bytes = 1, .flags = flags, .region = {value}};

	return client_tell(client, VHOST_SET_CONFIG, &config,
		(uint32_t)offsetof(struct vhost_config, region) + 1, -1);
}

static void c80_writeback(void **state)
{
	uint32_t writeback = offsetof(struct virtio_blk_config, writeback);
	struct client client;

	(void)state;
	client_open(&client, 1, 0);
	if (!(client.frontend.features & VIRTIO_BLK_F_CONFIG_WCE)) {
		client_close(&client);
		skip();
	}
	for (unsigned i = 0; i < 4; i++) {
		uint8_t value = i % 2 == 0;

		assert_int_equal(write_config(&client, writeback, VHOST_CONFIG_WRITABLE, value), 0);
		assert_int_equal(frontend_read_config(&client.frontend, NULL), 0);
		assert_int_equal(client.frontend.config.writeback, value);
	}
	client_close(&client);
}

static void c80_read_only_fields(void **state)
{
	struct virtio_blk_config before;
	struct client client;

	(void)state;
	client_need_strict();
	client_open(&client, 1, 0);
	before = client.frontend.config;
	for (uint32_t offset = 0; offset < 60; offset++) {
		if (offset == offsetof(struct virtio_blk_config, writeback))
			continue;
		assert_int_equal(
			write_config(&client, offset, VHOST_CONFIG_WRITABLE, 0xff), -EREMOTEIO);
	}
	assert_int_equal(frontend_read_config(&client.frontend, NULL), 0);
	assert_memory_equal(&before, &client.frontend.config, sizeof(before));
	client_close(&client);
}

static void c91_reset_owner(void **state)
{
	struct client client;

	(void)state;
	client_open(&client, 1, 0);
	frontend_set(&client.frontend, VHOST_RESET_OWNER, 0, NULL);
	client_close(&client);
	client_check_alive();
}

/* Messages for other devices, and unknown ones: refused, and the session goes on. */
static void c92_98_refused(void **state)
{
	static const uint32_t requests[] = {VHOST_SEND_RARP, VHOST_NET_SET_MTU, 26, 27, 33, 99};
	struct client client;
	uint8_t *data;

	(void)state;
	client_need_strict();
	client_open(&client, 1, 0);
	data = client_memory(&client, SECTOR, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
		uint64_t value = 0;

		assert_int_equal(
			client_tell(&client, requests[i], &value, sizeof(value), -1), -EREMOTEIO);
	}
	assert_int_equal(client_request(&client, IN, 0, data, SECTOR), 0);
	client_close(&client);
}

/* The back end is ready again after sessions that end in every state. */
static void c99_sessions_come_and_go(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		struct client client;
		uint8_t *data;

		client_open(&client, 2, 0);
		data = client_memory(&client, SECTOR, 0);
		if (i % 2)
			put_read(&client, 0, data); /* and does not wait for it */
		if (i % 3)
			client_drop(&client);
		else
			client_close(&client);
	}
	client_check_alive();
}

/* clang-format off */
#define ROW(name) cmocka_unit_test_setup(name, client_setup)
static const struct CMUnitTest tests[] = {
	ROW(c63_reply_flags), ROW(c65_protocol_before_features), ROW(c66_enabled_without_protocol),
	ROW(c68_disabled_ring_is_quiet), ROW(c69_stop_drains), ROW(c70_stopped_is_quiet),
	ROW(c72_73_new_eventfds), ROW(c72_no_call_fd), ROW(c74_memory_table_again),
	ROW(c75_add_and_remove_memory), ROW(c76_77_limits), ROW(c77_every_queue),
	ROW(c78_reply_ack), ROW(c58_79_config_parts), ROW(c80_writeback),
	ROW(c80_read_only_fields), ROW(c91_reset_owner), ROW(c92_98_refused),
	ROW(c99_sessions_come_and_go),
};
/* clang-format on */

int main(void)
{
	cmocka_set_test_filter(getenv("BRAID_TEST_ONLY"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
