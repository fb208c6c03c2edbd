/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a hostile front end sends: lines 26 to 51 of the hostile list, by number. Each message is
 * refused (NEED_REPLY) or ends its session; the back end still serves a fresh one, and keeps no
 * descriptor.
 */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "client.h"

#define IN VIRTIO_BLK_T_IN
#define OUT VIRTIO_BLK_T_OUT

enum { REQUESTS_END = 48, SHORT_MS = 100 };

/* Waits shortly for whatever the back end has to say; it may also say nothing. */
static void listen_shortly(struct client *client)
{
	struct frontend_message message = {.request = 0};

	client->frontend.timeout_ms = SHORT_MS;
	if (frontend_receive(&client->frontend, &message, NULL) == 0 && message.reply_fd >= 0)
		close(message.reply_fd);
}

/* Refused or closed; a strict back end has to. */
static void expect_refusal(int result)
{
	if (client_strict() && result != -EREMOTEIO && result != -ECONNRESET)
		fail_msg("the message was neither refused nor the session ended: %d", result);
}

/* Sends `bytes` of zeros as the payload of a request, in a session of its own. */
static void send_one(uint32_t request, uint32_t payload_bytes, bool negotiated, unsigned fds)
{
	struct {
		struct vhost_header header;
		uint8_t payload[1024];
	} wire = {.header = {.request = request,
			  .flags = VHOST_VERSION | VHOST_NEED_REPLY,
			  .payload_bytes = payload_bytes}};
	int descriptors[VHOST_FDS_MAX + 8];
	struct client client;

	for (unsigned i = 0; i < fds; i++)
		descriptors[i] = STDIN_FILENO;
	if (negotiated)
		client_open(&client, 1, 0);
	else
		client_connect(&client, client_socket());
	frontend_send_bytes(&client.frontend, &wire,
		sizeof(wire.header) + MIN(payload_bytes, (uint32_t)sizeof(wire.payload)),
		descriptors, fds);
	listen_shortly(&client);
	client_close(&client);
}

static uint32_t usual_bytes(uint32_t request)
{
	switch (request) {
	case VHOST_SET_MEM_TABLE:
		return 8 + 32;
	case VHOST_SET_VRING_ADDR:
	case VHOST_ADD_MEM_REG:
	case VHOST_REM_MEM_REG:
		return 40;
	case VHOST_GET_CONFIG:
	case VHOST_SET_CONFIG:
		return 12 + 60;
	case VHOST_GET_INFLIGHT_FD:
	case VHOST_SET_INFLIGHT_FD:
		return sizeof(struct vhost_inflight);
	default:
		return 8;
	}
}

/* As the first message, and while everything runs. */
static void h26_any_message_any_time(void **state)
{
	(void)state;
	client_check_alive();
	for (uint32_t request = 0; request < REQUESTS_END; request++) {
		send_one(request, usual_bytes(request), false, 0);
		send_one(request, usual_bytes(request), true, 0);
		send_one(request, usual_bytes(request), true, 1);
		send_one(request, 0, true, 0);
	}
	client_check_alive();
}

static void h27_payload_sizes(void **state)
{
	static const uint32_t sizes[] = {1, 7, 9, 41, 500, 1024, 0x7fffffff, UINT32_MAX};

	(void)state;
	client_check_alive();
	for (uint32_t request = 1; request < VHOST_REQUEST_COUNT; request += 3)
		for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
			send_one(request, sizes[i], false, 0);
	client_check_alive();
}

static void h28_descriptors(void **state)
{
	static const uint32_t requests[] = {VHOST_GET_FEATURES, VHOST_SET_FEATURES,
		VHOST_SET_MEM_TABLE, VHOST_SET_VRING_KICK, VHOST_SET_VRING_CALL, VHOST_ADD_MEM_REG,
		VHOST_SET_BACKEND_REQ_FD, VHOST_SET_LOG_BASE, VHOST_SET_INFLIGHT_FD, 77};
	static const unsigned counts[] = {1, 2, VHOST_FDS_MAX, VHOST_FDS_MAX + 8};
	unsigned before, after;

	(void)state;
	client_check_alive();
	before = client_peer_descriptors();
	for (unsigned i = 0; i < ARRAY_SIZE(requests); i++)
		for (unsigned count = 0; count < ARRAY_SIZE(counts); count++)
			send_one(requests[i], usual_bytes(requests[i]), count % 2, counts[count]);
	after = client_peer_descriptors();
	if (client_strict())
		assert_int_equal(before, after);
	client_check_alive();
}

/* A session that has features, but no memory yet. */
static void open_bare(struct client *client)
{
	client_check_alive();
	client_connect(client, client_socket());
	if (frontend_negotiate(&client->frontend, client_features(), FRONTEND_PROTOCOL, NULL))
		fail_msg("no session");
	if (frontend_allocate(&client->frontend, 1 << 20, false, true, NULL))
		fail_msg("no memory");
}

static int send_table(struct client *client, const struct vhost_mem_table *table,
	uint32_t payload_regions, unsigned fds_count)
{
	int fds[VHOST_FDS_MAX];
	struct frontend_message message = {
		.request = VHOST_SET_MEM_TABLE,
		.flags = VHOST_NEED_REPLY,
		.payload = table,
		.payload_bytes = 8 + 32 * payload_regions,
		.fds = fds,
		.fds_count = fds_count,
		.want_reply = true,
	};
	int result;

	for (unsigned i = 0; i < VHOST_FDS_MAX; i++)
		fds[i] = client->frontend.memory.fd;
	result = frontend_message(&client->frontend, &message, NULL);
	return !result && message.reply.u64 ? -EREMOTEIO : result;
}

static struct vhost_mem_table good_table(const struct client *client, unsigned regions)
{
	struct vhost_mem_table table = {.regions = regions};

	for (unsigned i = 0; i < VHOST_TABLE_REGIONS_MAX; i++)
		table.region[i] = (struct vhost_region){
			.guest_address = FRONTEND_GUEST_ADDRESS + ((uint64_t)i << 32),
			.bytes = 65536,
			.user_address = (uintptr_t)client->frontend.memory.base + i * 65536u,
			.file_offset = i * 65536u};
	return table;
}

static void h29_region_count(void **state)
{
	static const struct {
		uint32_t said, sent;
		unsigned fds;
	} rows[] = {{0, 1, 0}, {9, 8, 8}, {UINT32_MAX, 8, 8}, {2, 1, 1}, {2, 2, 1}, {1, 1, 0},
		{1, 2, 2}, {1, 1, 8}};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct client client;
		struct vhost_mem_table table;

		open_bare(&client);
		table = good_table(&client, rows[i].said);
		/* No regions at all is a way to say that there is no memory. */
		if (rows[i].said)
			expect_refusal(send_table(&client, &table, rows[i].sent, rows[i].fds));
		else
			send_table(&client, &table, rows[i].sent, rows[i].fds);
		client_close(&client);
	}
	client_check_alive();
}

/* Sizes and offsets that overflow, regions that overlap or lie beyond the file. */
static void h30_31_32_region_contents(void **state)
{
	enum { CASES = 12 };

	(void)state;
	for (unsigned i = 0; i < CASES; i++) {
		struct client client;
		struct vhost_mem_table table;
		struct vhost_region *first = &table.region[0], *second = &table.region[1];
		const struct {
			uint64_t *field, value;
		} spoil[CASES] = {
			{&first->bytes, UINT64_MAX},
			{&first->bytes, UINT64_MAX - 4095},
			{&first->bytes, 0},
			{&first->file_offset, UINT64_MAX},
			{&first->file_offset, UINT64_MAX - 65535},
			{&first->file_offset, 1 << 20},		 /* behind the file */
			{&first->file_offset, (1 << 20) - 4096}, /* over its end */
			{&first->bytes, 2 << 20},
			{&first->guest_address, UINT64_MAX - 4095},
			{&first->user_address, UINT64_MAX - 4095},
			{&second->guest_address, FRONTEND_GUEST_ADDRESS + 4096},
			{&second->user_address, 0},
		};

		open_bare(&client);
		table = good_table(&client, 2);
		*spoil[i].field = spoil[i].value;
		if (i == CASES - 1)
			second->user_address = first->user_address + 4096;
		expect_refusal(send_table(&client, &table, 2, 2));
		client_close(&client);
	}
	client_check_alive();
}

/* Sealed against nothing: the file is cut while rings and buffers lie in it. */
static void h33_memory_truncated(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct client client;
		struct frontend *frontend = &client.frontend;
		struct virtqueue_piece pieces[3];
		struct virtqueue *queue;

		open_bare(&client);
		if (frontend_share(frontend, NULL)) {
			client_close(&client);
			continue; /* a back end may ask for the seal */
		}
		assert_int_equal(frontend_prepare(frontend, 0, 16, NULL), 0);
		client.header = client_memory(&client, sizeof(*client.header), 0);
		client.status = client_memory(&client, 1, 0);
		assert_int_equal(frontend_start(frontend, 0, NULL), 0);
		queue = &frontend->queue[0];
		pieces[0] = client_header(&client, i % 2 ? OUT : IN, 0);
		pieces[1] = (struct virtqueue_piece){.address = FRONTEND_GUEST_ADDRESS + (1 << 19),
			.bytes = 4096,
			.writable = i % 2 == 0};
		pieces[2] = client_status(&client);
		virtqueue_put(queue, virtqueue_add(queue, pieces, 3));
		if (i / 2 == 0) {
			/* The buffer goes, the ring stays. */
			assert_int_equal(ftruncate(frontend->memory.fd, 1 << 18), 0);
			virtqueue_publish(queue);
		} else {
			virtqueue_publish(queue);
			assert_int_equal(ftruncate(frontend->memory.fd, 0), 0);
			virtqueue_kick(queue);
		}
		usleep(CLIENT_QUIET_MS * 1000);
		client_close(&client);
		client_check_alive();
	}
}

/* The memory's descriptor is no memory. */
static void h35_memory_is_something_else(void **state)
{
	static const char *const paths[] = {"/dev/null", "/dev/zero", "/proc/self/mem", "/tmp"};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(paths) + 1; i++) {
		struct client client;
		struct vhost_mem_table table;
		int fds[2] = {-1, -1}, saved;

		open_bare(&client);
		table = good_table(&client, 1);
		saved = client.frontend.memory.fd;
		if (i < ARRAY_SIZE(paths))
			fds[0] = open(paths[i], O_RDONLY | O_CLOEXEC);
		else
			assert_int_equal(pipe(fds), 0);
		assert_true(fds[0] >= 0);
		client.frontend.memory.fd = fds[0];
		expect_refusal(send_table(&client, &table, 1, 1));
		client.frontend.memory.fd = saved;
		close(fds[0]);
		if (fds[1] >= 0)
			close(fds[1]);
		client_close(&client);
	}
	client_check_alive();
}

/* A call fd that is no eventfd, and one that would block whoever writes to it. */
static void h36_call_fd(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		static const uint64_t full = UINT64_MAX - 1;
		struct client client;
		uint64_t index = 0;
		int fds[2] = {-1, -1};
		uint8_t *data;

		client_open(&client, 1, VIRTIO_F_EVENT_IDX);
		data = client_memory(&client, SECTOR, 0);
		if (i == 0)
			assert_int_equal(pipe(fds), 0);
		else if (i == 1)
			fds[1] = open("/dev/null", O_RDWR | O_CLOEXEC);
		else if (i == 3) /* an anonymous inode like an eventfd, but no write succeeds */
			fds[1] = epoll_create1(EPOLL_CLOEXEC);
		else
			fds[1] = eventfd(0, EFD_CLOEXEC); /* blocking */
		if (i == 2)
			assert_int_equal(write(fds[1], &full, sizeof(full)), sizeof(full));
		if (client_tell(&client, VHOST_SET_VRING_CALL, &index, sizeof(index), fds[1]) == 0)
			for (unsigned request = 0; request < 10 && client_strict(); request++) {
				struct virtqueue *queue = &client.frontend.queue[0];
				struct virtqueue_piece pieces[] = {client_header(&client, IN, 0),
					client_writable(&client, data, SECTOR),
					client_status(&client)};
				uint32_t head;

				virtqueue_put(queue, virtqueue_add(queue, pieces, 3));
				virtqueue_publish(queue);
				assert_int_equal(client_wait_used(&client, 0), 0);
				assert_true(virtqueue_reap(queue, &head, NULL));
			}
		client_close(&client);
		close(fds[1]);
		if (fds[0] >= 0)
			close(fds[0]);
		client_check_alive();
	}
}

static void h37_kick_fd(void **state)
{
	struct client client;
	uint64_t index;
	int fds[2];

	(void)state;
	client_open(&client, 4, 0);
	/* One for all rings. */
	for (index = 0; index < client.frontend.queues; index++)
		client_tell(&client, VHOST_SET_VRING_KICK, &index, sizeof(index),
			client.frontend.queue[0].kick_fd);
	/* A pipe, whose other end is closed. */
	assert_int_equal(pipe(fds), 0);
	index = 0;
	client_tell(&client, VHOST_SET_VRING_KICK, &index, sizeof(index), fds[0]);
	close(fds[0]);
	close(fds[1]);
	usleep(CLIENT_QUIET_MS * 1000);
	client_close(&client);
	client_check_alive();
}

/* Indexes that only fit when cut to 8 or 16 bits, and 51: queues that do not exist. */
static void h38_51_ring_index(void **state)
{
	static const uint32_t indexes[] = {64, 65, 128, 255, 256, 257, 65536, 1u << 31, UINT32_MAX};
	static const uint32_t requests[] = {VHOST_SET_VRING_NUM, VHOST_SET_VRING_BASE,
		VHOST_SET_VRING_ADDR, VHOST_SET_VRING_ENABLE, VHOST_SET_VRING_KICK,
		VHOST_SET_VRING_CALL, VHOST_SET_VRING_ERR};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(indexes); i++)
		for (unsigned request = 0; request < ARRAY_SIZE(requests); request++) {
			struct vhost_vring_address address = {.index = indexes[i]};
			bool fd = requests[request] >= VHOST_SET_VRING_KICK &&
				  requests[request] <= VHOST_SET_VRING_ERR;
			struct client client;

			/* Beyond bit 8 these three carry no index. */
			if (fd && indexes[i] > 255)
				continue;
			client_open(&client, 1, 0);
			expect_refusal(client_tell(&client, requests[request], &address,
				requests[request] == VHOST_SET_VRING_ADDR ? sizeof(address) : 8,
				fd ? client.frontend.queue[0].call_fd : -1));
			client_close(&client);
		}
	client_check_alive();
}

static void h39_ring_size(void **state)
{
	/* Packed ones need no power of two. */
	static const uint32_t sizes[] = {3, 100, 0, 32769, 65536, 65537, UINT32_MAX};

	(void)state;
	for (unsigned i = client_packed() ? 2 : 0; i < ARRAY_SIZE(sizes); i++) {
		struct vhost_vring_state number = {.number = sizes[i]};
		struct client client;

		client_open_idle(&client, 0);
		expect_refusal(
			client_tell(&client, VHOST_SET_VRING_NUM, &number, sizeof(number), -1));
		client_close(&client);
	}
	client_check_alive();
}

/* Unaligned, outside, partly mapped, on top of each other. */
static void h40_ring_addresses(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		struct vhost_vring_state number = {.number = CLIENT_QUEUE_SIZE};
		struct client client;
		struct vhost_vring_address address;
		uint64_t end;
		int result;

		client_open_idle(&client, 0);
		end = (uintptr_t)client.frontend.memory.base + client.frontend.memory.bytes;
		address = frontend_ring_address(&client.frontend, 0);
		switch (i) {
		case 0:
			address.descriptors += 8;
			break;
		case 1:
			address.available += 1;
			break;
		case 2:
			address.used += 2;
			break;
		case 3:
			address.descriptors = 0;
			break;
		case 4:
			address.descriptors = end - 16;
			break;
		case 5:
			address.used = client_packed() ? end : end - 64;
			break;
		case 6:
			address.available = UINT64_MAX - 1;
			break;
		default: /* all in one place: allowed to be refused, not to be harmful */
			address.used = address.available = address.descriptors;
		}
		client_tell(&client, VHOST_SET_VRING_NUM, &number, sizeof(number), -1);
		result = client_tell(&client, VHOST_SET_VRING_ADDR, &address, sizeof(address), -1);
		if (i < 7)
			expect_refusal(result);
		client_close(&client);
	}
	client_check_alive();
}

static void h41_ring_base(void **state)
{
	static const uint32_t bases[] = {65535, 65536, 70000, UINT32_MAX};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bases); i++) {
		struct vhost_vring_state base = {.number = bases[i]};
		struct client client;

		client_open_idle(&client, 0);
		client_tell(&client, VHOST_SET_VRING_BASE, &base, sizeof(base), -1);
		client_close(&client);
	}
	client_check_alive();
}

/* Started and enabled, with parts of the setup left out. */
static void h42_enable_without_address(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct vhost_vring_state state_of = {.number = i % 2 ? CLIENT_QUEUE_SIZE : 1};
		struct client client;
		uint64_t index = 0;

		client_open_idle(&client, 0);
		if (i % 2)
			client_tell(&client, VHOST_SET_VRING_NUM, &state_of, sizeof(state_of), -1);
		state_of.number = 1;
		if (i / 2)
			client_tell(&client, VHOST_SET_VRING_KICK, &index, sizeof(index),
				client.frontend.queue[0].kick_fd);
		client_tell(&client, VHOST_SET_VRING_ENABLE, &state_of, sizeof(state_of), -1);
		virtqueue_kick(&client.frontend.queue[0]);
		frontend_stop(&client.frontend, 0, NULL, NULL);
		client_close(&client);
	}
	client_check_alive();
}

/* Many requests in flight on queue 0 from `data`. */
static void put_many(struct client *client, uint8_t *data, uint32_t bytes)
{
	struct virtqueue *queue = &client->frontend.queue[0];

	for (unsigned i = 0; i < 32; i++) {
		struct virtqueue_piece pieces[] = {client_header(client, IN, 0),
			client_writable(client, data, bytes), client_status(client)};

		virtqueue_put(queue, virtqueue_add(queue, pieces, 3));
	}
	virtqueue_publish(queue);
}

/* The table changes, or is emptied, with requests in flight. */
static void h43_memory_changes_in_flight(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		struct vhost_mem_table none = {.regions = 0};
		struct client client;

		client_open(&client, 1, 0);
		put_many(&client, client_memory(&client, 128 << 10, 0), 128 << 10);
		usleep(i * 10);
		if (i % 2)
			frontend_share(&client.frontend, NULL);
		else
			client_tell(&client, VHOST_SET_MEM_TABLE, &none, 8, -1);
		client_close(&client);
	}
	client_check_alive();
}

static void h44_remove_ring_memory(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		struct vhost_single_region single = {0};
		struct client client;

		client_open(&client, 1, 0);
		single.region =
			(struct vhost_region){.guest_address = client.frontend.memory.guest_address,
				.bytes = client.frontend.memory.bytes,
				.user_address = (uintptr_t)client.frontend.memory.base};
		put_many(&client, client_memory(&client, 4096, 0), 4096);
		client_tell(&client, VHOST_REM_MEM_REG, &single, sizeof(single), -1);
		virtqueue_kick(&client.frontend.queue[0]);
		usleep(20000);
		client_close(&client);
	}
	client_check_alive();
}

static void h47_set_config(void **state)
{
	static const struct {
		uint32_t offset, bytes, flags, sent;
	} rows[] = {{UINT32_MAX, 1, 0, 1}, {0, UINT32_MAX, 0, 1}, {UINT32_MAX - 3, 8, 0, 8},
		{255, 2, 0, 2}, {32, 1, 0, 0}, {32, 1, UINT32_MAX, 1}};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct vhost_config config = {
			.offset = rows[i].offset, .bytes = rows[i].bytes, .flags = rows[i].flags};
		struct client client;

		client_open(&client, 1, 0);
		expect_refusal(client_tell(&client, VHOST_SET_CONFIG, &config,
			(uint32_t)offsetof(struct vhost_config, region) + rows[i].sent, -1));
		client_close(&client);
	}
	client_check_alive();
}

/* Half a header and silence; many at once; many after each other. */
static void h49_slow_and_many(void **state)
{
	enum { MANY = 40 };
	struct client client, others[MANY];
	static const uint8_t half[6] = {VHOST_GET_FEATURES, 0, 0, 0, VHOST_VERSION, 0};

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		client_connect(&client, client_socket());
		if (i % 2)
			frontend_send_bytes(&client.frontend, half, sizeof(half), NULL, 0);
		client_drop(&client);
	}
	client_check_alive();
	client_open(&client, 1, 0);
	for (unsigned i = 0; client_strict() && i < MANY; i++) {
		client_connect(&others[i], client_socket());
		/* One session per socket: the second is closed at once, the first not disturbed. */
		assert_int_equal(frontend_await_close(&others[i].frontend, CLIENT_TIMEOUT_MS), 0);
		client_close(&others[i]);
	}
	assert_int_equal(
		client_request(&client, IN, 0, client_memory(&client, SECTOR, 0), SECTOR), 0);
	client_close(&client);
	client_check_alive();
}

static void h50_bits_not_offered(void **state)
{
	struct client client;
	uint64_t offered;

	(void)state;
	client_check_alive();
	client_connect(&client, client_socket());
	assert_int_equal(
		frontend_negotiate(&client.frontend, client_features(), FRONTEND_PROTOCOL, NULL),
		0);
	offered = client.frontend.protocol_offered;
	expect_refusal(frontend_set(
		&client.frontend, VHOST_SET_PROTOCOL_FEATURES, offered | 1ull << 60, NULL));
	client_close(&client);

	client_check_alive();
	client_connect(&client, client_socket());
	assert_int_equal(
		frontend_negotiate(&client.frontend, client_features(), FRONTEND_PROTOCOL, NULL),
		0);
	expect_refusal(frontend_set(&client.frontend, VHOST_SET_FEATURES,
		client.frontend.offered | VIRTIO_BIT(50), NULL));
	client_close(&client);
	client_check_alive();
}

/* clang-format off */
#define ROW(name) cmocka_unit_test_setup(name, client_setup)
static const struct CMUnitTest tests[] = {
	ROW(h26_any_message_any_time), ROW(h27_payload_sizes), ROW(h28_descriptors),
	ROW(h29_region_count), ROW(h30_31_32_region_contents), ROW(h33_memory_truncated),
	ROW(h35_memory_is_something_else), ROW(h36_call_fd), ROW(h37_kick_fd),
	ROW(h38_51_ring_index), ROW(h39_ring_size), ROW(h40_ring_addresses), ROW(h41_ring_base),
	ROW(h42_enable_without_address), ROW(h43_memory_changes_in_flight),
	ROW(h44_remove_ring_memory), ROW(h47_set_config), ROW(h49_slow_and_many),
	ROW(h50_bits_not_offered),
};
/* clang-format on */

int main(void)
{
	cmocka_set_test_filter(getenv("BRAID_TEST_ONLY"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
