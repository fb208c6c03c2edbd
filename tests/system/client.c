/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <assert.h>
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"

enum { RETRY_MS = 20, RETRIES = 150, REBIRTH_RETRIES = 1000, SESSIONS_MAX = 64 };

/* Sockets of sessions that no client_close() has ended: a failed test leaves by longjmp. */
static int sessions[SESSIONS_MAX];
static unsigned sessions_count;

static void session_begun(int socket_fd)
{
	assert(sessions_count < SESSIONS_MAX);
	sessions[sessions_count++] = socket_fd;
}

static void session_ended(int socket_fd)
{
	for (unsigned i = 0; i < sessions_count; i++)
		if (sessions[i] == socket_fd)
			sessions[i--] = sessions[--sessions_count];
}

const char *client_socket(void)
{
	const char *path = getenv("BRAID_TEST_SOCKET");

	if (!path) {
		fprintf(stderr, "set BRAID_TEST_SOCKET to the socket of a scratch disk\n");
		exit(2);
	}
	return path;
}

uint64_t client_environment(const char *name)
{
	const char *value = getenv(name);

	return value ? strtoull(value, NULL, 0) : 0;
}

bool client_strict(void)
{
	return client_environment("BRAID_TEST_STRICT") != 0;
}

void client_need_strict(void)
{
	if (!client_strict())
		skip();
}

bool client_packed(void)
{
	return client_environment("BRAID_TEST_PACKED") != 0;
}

void client_need_packed(void)
{
	if (!client_packed())
		skip();
}

void client_need_split(void)
{
	if (client_packed())
		skip();
}

uint64_t client_features(void)
{
	return FRONTEND_FEATURES | (client_packed() ? VIRTIO_F_RING_PACKED : 0);
}

int client_setup(void **state)
{
	(void)state;
	while (sessions_count)
		close(sessions[--sessions_count]);
	alarm(CLIENT_ALARM_S);
	return 0;
}

static void ready(struct client *client)
{
	client->region = NULL;
	client->header = client_memory(client, sizeof(*client->header), 0);
	client->status = client_memory(client, 1, STATUS_NONE);
}

/* As far as a negotiated session. */
static int try_open(struct client *client, unsigned *queues, uint64_t without, struct fail *fail)
{
	struct frontend *frontend = &client->frontend;
	int result;

	frontend_init(frontend, CLIENT_TIMEOUT_MS);
	result = frontend_connect(frontend, client_socket(), fail);
	if (!result)
		result = frontend_negotiate(
			frontend, client_features() & ~without, FRONTEND_PROTOCOL, fail);
	if (result) {
		frontend_close(frontend);
		return result;
	}
	*queues = MIN(*queues, frontend->queues_offered);
	result = frontend_allocate(frontend, CLIENT_MEMORY_BYTES, false, false, fail);
	if (!result)
		result = frontend_share(frontend, fail);
	if (!result)
		result = frontend_track(frontend,
			MIN(frontend->queues_offered, (unsigned)FRONTEND_QUEUES_MAX),
			CLIENT_ENTRIES, fail);
	if (result)
		frontend_close(frontend);
	return result;
}

static void open_idle(struct client *client, unsigned *queues, uint64_t without)
{
	struct fail fail = {0};
	int result = -1;

	/* The back end may still be busy ending the session before this one. */
	for (unsigned i = 0; i < RETRIES && result && result != -ETIMEDOUT; i++) {
		result = try_open(client, queues, without, &fail);
		if (result)
			usleep(RETRY_MS * 1000);
	}
	if (result)
		fail_msg("no session: %s", fail.text);
	session_begun(client->frontend.socket);
}

void client_open(struct client *client, unsigned queues, uint64_t without)
{
	struct fail fail = {0};

	open_idle(client, &queues, without);
	for (unsigned i = 0; i < queues; i++)
		if (frontend_prepare(&client->frontend, i, CLIENT_QUEUE_SIZE, &fail) ||
			frontend_start(&client->frontend, i, &fail))
			fail_msg("queue %u: %s", i, fail.text);
	ready(client);
}

void client_open_idle(struct client *client, uint64_t without)
{
	unsigned queues = 1;
	struct fail fail = {0};

	open_idle(client, &queues, without);
	if (frontend_prepare(&client->frontend, 0, CLIENT_QUEUE_SIZE, &fail))
		fail_msg("%s", fail.text);
	ready(client);
}

void client_connect(struct client *client, const char *path)
{
	struct fail fail = {0};

	memset(client, 0, sizeof(*client));
	frontend_init(&client->frontend, CLIENT_TIMEOUT_MS);
	if (frontend_connect(&client->frontend, path, &fail))
		fail_msg("%s", fail.text);
	session_begun(client->frontend.socket);
}

void client_unmap(struct client *client)
{
	if (client->region)
		munmap(client->region, client->frontend.inflight.mmap_bytes);
	client->region = NULL;
}

void client_drop(struct client *client)
{
	client_unmap(client);
	session_ended(client->frontend.socket);
	frontend_close(&client->frontend);
}

void client_close(struct client *client)
{
	enum { FAREWELL_MS = 1000 };

	client_unmap(client);
	session_ended(client->frontend.socket);
	/* The back end hears that this is the end, and has closed its side before the next session
	 * knocks: it may serve one at a time. */
	shutdown(client->frontend.socket, SHUT_WR);
	frontend_await_close(&client->frontend, FAREWELL_MS);
	usleep(1000);
	frontend_close(&client->frontend);
}

void client_need_reborn(void)
{
	if (!client_environment("BRAID_TEST_REBORN"))
		skip();
}

static pid_t peer_of(const struct client *client)
{
	struct ucred peer;
	socklen_t bytes = sizeof(peer);

	if (getsockopt(client->frontend.socket, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) < 0)
		return 0;
	return peer.pid;
}

void client_end_peer(struct client *client, int signal_number)
{
	pid_t peer = peer_of(client);

	assert_true(peer > 1 && peer != getpid());
	assert_int_equal(kill(peer, signal_number), 0);
	assert_int_equal(frontend_await_close(&client->frontend, CLIENT_TIMEOUT_MS), 0);
}

/* As far as rings that run again. */
static int try_reopen(struct client *client, struct fail *fail)
{
	struct frontend *frontend = &client->frontend;
	int result = frontend_connect(frontend, client_socket(), fail);

	if (!result)
		result = frontend_negotiate(frontend, frontend->features, FRONTEND_PROTOCOL, fail);
	if (!result)
		result = frontend_share(frontend, fail);
	if (!result)
		result = frontend_track(frontend, 0, 0, fail);
	for (unsigned i = 0; i < frontend->queues && !result; i++)
		result = frontend_start(frontend, i, fail);
	if (result)
		frontend_disconnect(frontend);
	return result;
}

void client_reopen(struct client *client)
{
	struct fail fail = {0};
	int result = -1;

	session_ended(client->frontend.socket);
	frontend_disconnect(&client->frontend);
	for (unsigned i = 0; i < REBIRTH_RETRIES && result; i++) {
		result = try_reopen(client, &fail);
		if (result)
			usleep(RETRY_MS * 1000);
	}
	if (result)
		fail_msg("no new session: %s", fail.text);
	session_begun(client->frontend.socket);
}

uint8_t *client_region(struct client *client)
{
	const struct vhost_inflight *inflight = &client->frontend.inflight;

	if (client->frontend.inflight_fd < 0) {
		client_close(client);
		skip();
	}
	if (!client->region) {
		client->region = mmap(NULL, inflight->mmap_bytes, PROT_READ | PROT_WRITE,
			MAP_SHARED, client->frontend.inflight_fd, (off_t)inflight->mmap_offset);
		assert_true(client->region != MAP_FAILED);
	}
	return client->region;
}

void client_need_feature(struct client *client, uint64_t feature)
{
	if (client->frontend.features & feature)
		return;
	client_close(client);
	skip();
}

void client_fill_pattern(uint8_t *data, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++)
		data[i] = (uint8_t)(i * 31 + i / 509 + seed);
}

void client_check_alive(void)
{
	struct client client;
	void *data;

	client_open(&client, 1, 0);
	data = client_memory(&client, 4096, 0xa5);
	assert_int_equal(client_request(&client, VIRTIO_BLK_T_IN, 0, data, 4096), 0);
	client_close(&client);
}

void *client_memory(struct client *client, size_t bytes, int fill)
{
	void *memory = frontend_carve(&client->frontend, bytes, 64);

	assert_non_null(memory);
	return memset(memory, fill, bytes);
}

struct virtqueue_piece client_readable(struct client *client, const void *bytes, size_t count)
{
	return (struct virtqueue_piece){
		.address = frontend_guest(&client->frontend, bytes), .bytes = (uint32_t)count};
}

struct virtqueue_piece client_writable(struct client *client, void *bytes, size_t count)
{
	return (struct virtqueue_piece){.address = frontend_guest(&client->frontend, bytes),
		.bytes = (uint32_t)count,
		.writable = true};
}

struct virtqueue_piece client_header(struct client *client, uint32_t type, uint64_t sector)
{
	client->header->type = le32_of(type);
	client->header->reserved = le32_of(0);
	client->header->sector = le64_of(sector);
	return client_readable(client, client->header, sizeof(*client->header));
}

struct virtqueue_piece client_status(struct client *client)
{
	*client->status = STATUS_NONE;
	return client_writable(client, client->status, 1);
}

int client_wait_used(struct client *client, unsigned queue)
{
	/* Others than braid may stay silent often; that is not worth the whole timeout. */
	unsigned limit_ms = client_strict() ? CLIENT_TIMEOUT_MS : CLIENT_TIMEOUT_MS / 4;
	struct pollfd broken = {.fd = client->frontend.queue[queue].err_fd, .events = POLLIN};

	for (unsigned waited_ms = 0; waited_ms < limit_ms; waited_ms++) {
		if (virtqueue_used_ready(&client->frontend.queue[queue]))
			return 0;
		if (poll(&broken, 1, 1) == 1)
			return -EPIPE;
	}
	return -ETIMEDOUT;
}

int client_reap(struct client *client, unsigned queue, uint32_t *head, uint32_t *written)
{
	struct virtqueue *virtqueue = &client->frontend.queue[queue];
	int result = virtqueue_wait(virtqueue, CLIENT_TIMEOUT_MS);

	if (!result)
		virtqueue_reap(virtqueue, head, written);
	return result;
}

int client_chain(struct client *client, unsigned queue, const struct virtqueue_piece *pieces,
	unsigned count, uint32_t *written)
{
	struct virtqueue *virtqueue = &client->frontend.queue[queue];
	uint16_t head = virtqueue_add(virtqueue, pieces, count);
	uint32_t used = 0, bytes = 0;
	int result;

	assert_int_not_equal(head, VIRTQUEUE_NO_HEAD);
	virtqueue_put(virtqueue, head);
	virtqueue_publish(virtqueue);
	result = client_reap(client, queue, &used, &bytes);
	if (result)
		return result;
	assert_int_equal(used, head);
	virtqueue_free(virtqueue, head);
	if (written)
		*written = bytes;
	return 0;
}

int client_request(
	struct client *client, uint32_t type, uint64_t sector, void *data, uint32_t bytes)
{
	bool in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
	struct virtqueue_piece pieces[3];
	unsigned count = 0;

	pieces[count++] = client_header(client, type, sector);
	if (bytes) {
		pieces[count] = client_writable(client, data, bytes);
		pieces[count++].writable = in;
	}
	pieces[count++] = client_status(client);
	if (client_chain(client, 0, pieces, count, NULL))
		fail_msg("a request of type %u was not answered", type);
	return *client->status;
}

int client_segment(
	struct client *client, uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
	struct virtio_blk_segment *segment = client_memory(client, sizeof(*segment), 0);

	segment->sector = le64_of(sector);
	segment->sectors = le32_of(sectors);
	segment->flags = le32_of(flags);
	return client_request(client, type, 0, segment, sizeof(*segment));
}

int client_tell(
	struct client *client, uint32_t request, const void *payload, uint32_t bytes, int fd)
{
	return frontend_tell(&client->frontend, request, payload, bytes, fd, NULL);
}

void client_expect_broken(struct client *client, unsigned queue)
{
	struct pollfd ready_fd = {.fd = client->frontend.queue[queue].err_fd, .events = POLLIN};
	int signalled;

	if (!client_strict()) {
		usleep(CLIENT_QUIET_MS * 1000);
		return;
	}
	signalled = poll(&ready_fd, 1, CLIENT_TIMEOUT_MS);
	if (signalled != 1)
		fail_msg("the err eventfd of queue %u was not signalled", queue);
}

unsigned client_peer_descriptors(void)
{
	struct client client;
	pid_t peer;
	char path[64];
	unsigned count = 0;
	DIR *folder;

	client_connect(&client, client_socket());
	peer = peer_of(&client);
	client_close(&client);
	client_check_alive(); /* so that the session above is over */
	usleep(CLIENT_QUIET_MS * 1000);
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)peer);
	folder = opendir(path);
	if (!folder)
		return 0;
	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}
