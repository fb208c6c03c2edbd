/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inflight region as an attacker's memory: line 46 of the hostile list. Whatever is in it and
 * around it, the back end refuses it, breaks the ring or serves it, and lives.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "area.h"
#include "base/bits.h"
#include "base/random.h"

#define IN VIRTIO_BLK_T_IN

enum { FILE_BYTES = 1 << 20, QUEUE_SIZE = 16 };

static int make_file(void)
{
	int fd = memfd_create("hostile", MFD_CLOEXEC);

	assert_true(fd >= 0 && ftruncate(fd, FILE_BYTES) == 0);
	return fd;
}

static int hand_in(struct client *client, const struct vhost_inflight *inflight, int fd)
{
	return client_tell(client, VHOST_SET_INFLIGHT_FD, inflight, sizeof(*inflight), fd);
}

static void need_inflight(struct client *client)
{
	if (client->frontend.protocol & VHOST_PROTOCOL_INFLIGHT_SHMFD)
		return;
	client_close(client);
	skip();
}

/* An idle session, but for one message, that is refused. */
static void refuse(const struct vhost_inflight *inflight, int fd, const char *what)
{
	struct client client;
	int result;

	client_open_idle(&client, 0);
	need_inflight(&client);
	result = hand_in(&client, inflight, fd);
	if (client_strict() && result != -EREMOTEIO && result != -ECONNRESET)
		fail_msg("%s: neither refused nor the session ended: %d", what, result);
	client_close(&client);
	client_check_alive();
}

static void h46_descriptions(void **state)
{
	static const struct {
		const char *what;
		struct vhost_inflight inflight;
	} rows[] = {
		{"no queues", {FILE_BYTES, 0, 0, QUEUE_SIZE, 0}},
		{"65535 queues", {UINT64_MAX, 0, UINT16_MAX, QUEUE_SIZE, 0}},
		{"queues of 0", {FILE_BYTES, 0, 1, 0, 0}},
		{"queues of 3", {FILE_BYTES, 0, 1, 3, 0}},
		{"queues of 65535", {FILE_BYTES, 0, 1, UINT16_MAX, 0}},
		{"no bytes", {0, 0, 1, QUEUE_SIZE, 0}},
		{"too few bytes", {100, 0, 1, QUEUE_SIZE, 0}},
		{"too short a file", {UINT64_MAX, 0, 64, 32768, 0}},
		{"an odd offset", {4096, 4, 1, QUEUE_SIZE, 0}},
		{"an offset at the end", {4096, FILE_BYTES, 1, QUEUE_SIZE, 0}},
		{"an offset behind the end", {4096, 1ull << 40, 1, QUEUE_SIZE, 0}},
		{"an offset that overflows", {4096, UINT64_MAX - 7, 1, QUEUE_SIZE, 0}},
		{"an offset that is negative", {4096, 1ull << 63, 1, QUEUE_SIZE, 0}},
	};
	int fd = make_file();

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		if (!client_packed() || rows[i].inflight.queue_size != 3) /* a good size there */
			refuse(&rows[i].inflight, fd, rows[i].what);
	close(fd);
}

static void h46_descriptors(void **state)
{
	static const char *const paths[] = {"/dev/null", "/dev/zero", "/proc/self/mem", "/tmp"};
	static const struct vhost_inflight inflight = {4096, 0, 1, QUEUE_SIZE, 0};
	int fd;

	(void)state;
	refuse(&inflight, -1, "no descriptor");
	for (unsigned i = 0; i < ARRAY_SIZE(paths); i++) {
		fd = open(paths[i], O_RDONLY);
		assert_true(fd >= 0);
		refuse(&inflight, fd, paths[i]);
		close(fd);
	}
	fd = eventfd(0, 0);
	refuse(&inflight, fd, "an eventfd");
	close(fd);
	fd = memfd_create("read-only", MFD_ALLOW_SEALING);
	assert_true(ftruncate(fd, FILE_BYTES) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0);
	refuse(&inflight, fd, "sealed against writing");
	close(fd);
}

/* Regions that the running rings do not fit. */
static void h46_rings_outside(void **state)
{
	static const struct vhost_inflight rows[] = {
		{FILE_BYTES, 0, 1, CLIENT_QUEUE_SIZE, 0}, /* two queues run */
		{FILE_BYTES, 0, 2, CLIENT_QUEUE_SIZE / 2, 0},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct client client;
		int fd = make_file();

		client_open(&client, 2, 0);
		need_inflight(&client);
		if (client.frontend.queues < 2)
			skip();
		assert_int_not_equal(hand_in(&client, &rows[i], fd), client_strict() ? 0 : 1);
		client_close(&client);
		close(fd);
		client_check_alive();
	}
}

static void h46_get_flood(void **state)
{
	struct client client;
	unsigned before;

	(void)state;
	before = client_peer_descriptors();
	client_open(&client, 1, 0);
	need_inflight(&client);
	for (unsigned i = 0; i < 2000; i++) {
		const struct vhost_inflight wanted = {.queues = 64, .queue_size = 32768};
		struct frontend_message message = {
			.request = VHOST_GET_INFLIGHT_FD,
			.payload = &wanted,
			/* 20 bytes are what the specification says. */
			.payload_bytes = i % 2 ? sizeof(wanted) : VHOST_INFLIGHT_BYTES,
			.want_reply = true,
		};

		assert_int_equal(frontend_message(&client.frontend, &message, NULL), 0);
		assert_int_equal(message.reply_bytes, message.payload_bytes);
		assert_true(message.reply_fd >= 0);
		close(message.reply_fd);
	}
	client_close(&client);
	assert_int_equal(client_peer_descriptors(), before);
}

/* The file is cut before the rings start, while they wait, and under load. */
static void h46_truncated(void **state)
{
	static const struct vhost_inflight inflight = {FILE_BYTES, 0, 1, CLIENT_QUEUE_SIZE, 0};

	(void)state;
	for (unsigned when = 0; when < 3; when++) {
		struct client client;
		struct virtqueue *queue = &client.frontend.queue[0];
		int fd = make_file();

		client_open_idle(&client, 0);
		need_inflight(&client);
		assert_int_equal(hand_in(&client, &inflight, fd), 0);
		if (when == 0)
			assert_int_equal(ftruncate(fd, 0), 0);
		if (frontend_start(&client.frontend, 0, NULL) == 0) {
			void *data = client_memory(&client, SECTOR, 0);
			struct virtqueue_piece pieces[] = {client_header(&client, IN, 0),
				client_writable(&client, data, SECTOR), client_status(&client)};

			assert_true(when || !client_strict());
			if (when == 1)
				assert_int_equal(ftruncate(fd, 0), 0);
			for (unsigned i = 0; i < 20; i++) {
				virtqueue_put(queue, virtqueue_add(queue, pieces, 3));
				virtqueue_publish(queue);
			}
			if (when == 2)
				assert_int_equal(ftruncate(fd, 0), 0);
			for (unsigned i = 0; i < 20; i++) {
				virtqueue_put(queue, virtqueue_add(queue, pieces, 3));
				virtqueue_publish(queue);
			}
			client_expect_broken(&client, 0);
		} else {
			assert_int_equal(when, 0);
		}
		client_close(&client);
		close(fd);
		client_check_alive();
	}
}

struct target {
	struct client client;
	struct area area;
	uint8_t *data;
};

static void target_open(struct target *target)
{
	client_open(&target->client, 1, 0);
	need_inflight(&target->client);
	target->area = area_of(&target->client, 0);
	target->data = client_memory(&target->client, SECTOR, 0);
}

/* Some changes that may make sense. */
static void change_split(struct inflight_area *area, struct random *random)
{
	for (unsigned i = 0; i < CLIENT_QUEUE_SIZE; i++)
		if (random_chance(random, 300))
			area->entry[i].in_flight = (uint8_t)random_below(random, 2);
	area->used_index -= (uint16_t)random_below(random, 4);
	area->last_batch = (uint16_t)random_below(random, CLIENT_QUEUE_SIZE + 2);
}

static void change_packed(struct packed_area *area, struct random *random)
{
	for (unsigned i = 0; i < CLIENT_QUEUE_SIZE; i++) {
		if (!random_chance(random, 100))
			continue;
		area->entry[i].in_flight = (uint8_t)random_below(random, 2);
		area->entry[i].count = (uint16_t)(1 + random_below(random, 3));
		area->entry[i].last = (uint16_t)random_below(random, CLIENT_QUEUE_SIZE);
		area->entry[i].next = (uint16_t)random_below(random, CLIENT_QUEUE_SIZE + 1);
	}
	area->old_used_index = (uint16_t)random_below(random, CLIENT_QUEUE_SIZE);
	area->used_wrap = (uint8_t)random_below(random, 2);
	area->free_head = (uint16_t)random_below(random, CLIENT_QUEUE_SIZE + 1);
	area->old_free_head = (uint16_t)random_below(random, CLIENT_QUEUE_SIZE + 1);
}

/* Bytes of the header and of the entries that the ring has; a few, or all. */
static void scribble(struct area area, struct random *random)
{
	size_t head = area.split ? offsetof(struct inflight_area, entry)
				 : offsetof(struct packed_area, entry);
	size_t all = head + CLIENT_QUEUE_SIZE * (area.split ? sizeof(area.split->entry[0])
							    : sizeof(area.packed->entry[0]));
	uint8_t *bytes = area.split ? (uint8_t *)area.split : (uint8_t *)area.packed;
	size_t count = random_chance(random, 200) ? all : 1 + random_below(random, 8);

	if (area.split)
		change_split(area.split, random);
	else
		change_packed(area.packed, random);
	for (; count; count--)
		/* The header is small: it gets its share. */
		bytes[random_below(random, random_chance(random, 300) ? head : all)] =
			(uint8_t)random_next(random);
}

/* An area in use, of a ring that stands where this one does. */
static void clear_area(struct target *target, const struct virtqueue *queue)
{
	struct packed_area *packed = target->area.packed;
	struct inflight_area *split = target->area.split;

	if (split) {
		memset(split, 0, inflight_area_bytes(CLIENT_QUEUE_SIZE));
		split->version = 1;
		split->entries = CLIENT_ENTRIES;
		split->used_index = le16_get(queue->used->index);
		return;
	}
	memset(packed, 0, packed_area_bytes(CLIENT_QUEUE_SIZE));
	packed->version = 1;
	packed->entries = CLIENT_ENTRIES;
	packed->used_index = packed->old_used_index = queue->used_at.index;
	packed->used_wrap = packed->old_used_wrap = queue->used_at.wrap;
}

/* The driver says that it has sent any number. */
static void claim_any(struct virtqueue *queue, struct random *random)
{
	uint16_t count = (uint16_t)random_below(random, CLIENT_QUEUE_SIZE);

	if (!queue->packed) {
		queue->avail_next = (uint16_t)(count + le16_get(queue->used->index));
		virtqueue_expose(queue);
		return;
	}
	for (unsigned i = 0; i < CLIENT_QUEUE_SIZE; i++)
		queue->ring[i].flags = le16_of(i < count ? VIRTQ_PACKED_AVAIL : 0);
}

/* Any content when the ring starts; a driver that claims to have sent some. */
static void h46_contents(void **state)
{
	enum { ROUNDS = 2000 };
	struct random random = {46};
	struct target target;
	unsigned accepted = 0;

	(void)state;
	target_open(&target);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct frontend *frontend = &target.client.frontend;
		struct virtqueue *queue = &frontend->queue[0];
		int result;

		if (frontend_stop(frontend, 0, NULL, NULL)) {
			client_close(&target.client);
			target_open(&target);
			continue;
		}
		clear_area(&target, queue);
		scribble(target.area, &random);
		claim_any(queue, &random);
		result = frontend_start(frontend, 0, NULL);
		assert_true(result == 0 || result == -EREMOTEIO || result == -ECONNRESET);
		accepted += result == 0;
		virtqueue_kick(queue);
		if (i % 16 == 0) {
			client_close(&target.client);
			target_open(&target);
		}
	}
	client_close(&target.client);
	client_check_alive();
	printf("%u of %d accepted\n", accepted, ROUNDS);
}

struct racer {
	struct area area;
	atomic_bool stop;
};

static void *race(void *argument)
{
	struct racer *racer = argument;
	struct random random = {1};

	while (!atomic_load(&racer->stop))
		scribble(racer->area, &random);
	return NULL;
}

/* It changes while rings start, run and stop. */
static void h46_racing(void **state)
{
	struct target target;
	struct racer racer = {0};
	pthread_t thread;

	(void)state;
	for (unsigned round = 0; round < 40; round++) {
		struct frontend *frontend = &target.client.frontend;

		target_open(&target);
		racer.area = target.area;
		atomic_store(&racer.stop, false);
		assert_int_equal(pthread_create(&thread, NULL, race, &racer), 0);
		for (unsigned i = 0; i < 30; i++) {
			struct virtqueue_piece pieces[] = {client_header(&target.client, IN, 0),
				client_writable(&target.client, target.data, SECTOR),
				client_status(&target.client)};
			uint16_t head = virtqueue_add(&frontend->queue[0], pieces, 3);

			if (head == VIRTQUEUE_NO_HEAD)
				break;
			virtqueue_put(&frontend->queue[0], head);
			virtqueue_publish(&frontend->queue[0]);
			if (round % 2 && (frontend_stop(frontend, 0, NULL, NULL) ||
						 frontend_start(frontend, 0, NULL)))
				break;
		}
		usleep(1000);
		atomic_store(&racer.stop, true);
		pthread_join(thread, NULL);
		client_close(&target.client);
	}
	client_check_alive();
}

/* The head of a chain in flight comes again, in one batch of available chains. */
static void h21_46_same_head_twice(void **state)
{
	struct target target;
	struct virtqueue *queue = &target.client.frontend.queue[0];
	struct virtqueue_piece pieces[3];
	uint16_t head;

	(void)state;
	client_need_split(); /* ids of a packed ring are the driver's own affair */
	target_open(&target);
	pieces[0] = client_header(&target.client, IN, 0);
	pieces[1] = client_writable(&target.client, target.data, SECTOR);
	pieces[2] = client_status(&target.client);
	head = virtqueue_add(queue, pieces, 3);
	virtqueue_put(queue, head);
	virtqueue_put(queue, head);
	virtqueue_publish(queue);
	client_expect_broken(&target.client, 0);
	client_close(&target.client);
	client_check_alive();
}

/* clang-format off */
#define ROW(name) cmocka_unit_test_setup(name, client_setup)
static const struct CMUnitTest tests[] = {
	ROW(h46_descriptions), ROW(h46_descriptors), ROW(h46_rings_outside), ROW(h46_get_flood),
	ROW(h46_truncated), ROW(h46_contents), ROW(h46_racing), ROW(h21_46_same_head_twice),
};
/* clang-format on */

int main(void)
{
	cmocka_set_test_filter(getenv("BRAID_TEST_ONLY"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
