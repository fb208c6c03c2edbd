/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps of a vhost-user session; benchmark/message.c moves the bytes.
 */
#include "benchmark/frontend.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bits.h"

enum {
	PAGE_BYTES = 4096,
	HUGE_PAGE_BYTES = 2 << 20,
	/* What the block device's config space has that we know of; the struct may be padded. */
	CONFIG_BYTES = 60,
};
static_assert(offsetof(struct virtio_blk_config, unused1) + 3 == CONFIG_BYTES, "VIRTIO 1.2, 5.2.4");

void frontend_init(struct frontend *frontend, int timeout_ms)
{
	memset(frontend, 0, sizeof(*frontend));
	frontend->socket = -1;
	frontend->timeout_ms = timeout_ms ? timeout_ms : FRONTEND_TIMEOUT_MS;
	frontend->memory.fd = frontend->inflight_fd = -1;
	frontend->memory.guest_address = FRONTEND_GUEST_ADDRESS;
	for (unsigned i = 0; i < FRONTEND_QUEUES_MAX; i++) {
		struct virtqueue *queue = &frontend->queue[i];

		queue->kick_fd = queue->call_fd = queue->err_fd = -1;
	}
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void frontend_close(struct frontend *frontend)
{
	close_fd(&frontend->socket);
	for (unsigned i = 0; i < FRONTEND_QUEUES_MAX; i++) {
		struct virtqueue *queue = &frontend->queue[i];

		close_fd(&queue->kick_fd);
		close_fd(&queue->call_fd);
		close_fd(&queue->err_fd);
		virtqueue_destroy(queue);
	}
	if (frontend->memory.base)
		munmap(frontend->memory.base, frontend->memory.bytes);
	close_fd(&frontend->memory.fd);
	close_fd(&frontend->inflight_fd);
	frontend_init(frontend, frontend->timeout_ms);
}

void frontend_disconnect(struct frontend *frontend)
{
	close_fd(&frontend->socket);
	frontend->protocol = 0;
}

int frontend_connect(struct frontend *frontend, const char *path, struct fail *fail)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int error;

	assert(frontend->socket < 0);
	if (strlen(path) >= sizeof(address.sun_path))
		return fail_set(fail, ENAMETOOLONG,
			"cannot connect to '%s': a socket's path has at most %zu characters; use a "
			"shorter one",
			path, sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path));
	frontend->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (frontend->socket < 0)
		return fail_set(fail, errno, "cannot make a socket: %s", strerror(errno));
	if (connect(frontend->socket, (void *)&address, sizeof(address)) == 0)
		return 0;
	error = errno;
	close_fd(&frontend->socket);
	return fail_set(fail, error,
		"cannot connect to '%s': %s; is the back end running, and is this its socket?",
		path, strerror(error));
}

int frontend_read_config(struct frontend *frontend, struct fail *fail)
{
	struct vhost_config config = {.bytes = CONFIG_BYTES};
	struct frontend_message message = {
		.request = VHOST_GET_CONFIG,
		.payload = &config,
		.payload_bytes = offsetof(struct vhost_config, region) + CONFIG_BYTES,
		.want_reply = true,
	};
	int result = frontend_message(frontend, &message, fail);

	if (result)
		return result;
	if (message.reply_bytes != message.payload_bytes)
		return fail_set(fail, EPROTO,
			"the back end answered GET_CONFIG of %u bytes with a payload of %u; it has "
			"no "
			"block device's config space",
			CONFIG_BYTES, message.reply_bytes);
	memcpy(&frontend->config, message.reply.config.region, CONFIG_BYTES);
	return 0;
}

/* Protocol features, and what can be asked once they are on. */
static int negotiate_protocol(struct frontend *frontend, uint64_t wanted, struct fail *fail)
{
	uint64_t value;
	int result;

	result = frontend_get(
		frontend, VHOST_GET_PROTOCOL_FEATURES, &frontend->protocol_offered, fail);
	if (result)
		return result;
	result = frontend_set(
		frontend, VHOST_SET_PROTOCOL_FEATURES, wanted & frontend->protocol_offered, fail);
	if (result)
		return result;
	frontend->protocol = wanted & frontend->protocol_offered;
	if (frontend->protocol & VHOST_PROTOCOL_MQ) {
		result = frontend_get(frontend, VHOST_GET_QUEUE_NUM, &value, fail);
		if (result)
			return result;
		frontend->queues_offered = (unsigned)MIN(value, (uint64_t)UINT32_MAX);
	}
	if (frontend->protocol & VHOST_PROTOCOL_CONFIGURE_MEM_SLOTS) {
		result = frontend_get(frontend, VHOST_GET_MAX_MEM_SLOTS, &value, fail);
		if (result)
			return result;
		frontend->memory_slots = (unsigned)MIN(value, (uint64_t)UINT32_MAX);
	}
	return 0;
}

int frontend_negotiate(
	struct frontend *frontend, uint64_t features, uint64_t protocol, struct fail *fail)
{
	int result;

	result = frontend_get(frontend, VHOST_GET_FEATURES, &frontend->offered, fail);
	if (result)
		return result;
	frontend->features = frontend->offered & features;
	frontend->queues_offered = 1;
	result = frontend_set(frontend, VHOST_SET_OWNER, 0, fail);
	if (result)
		return result;
	if (frontend->features & VHOST_F_PROTOCOL_FEATURES) {
		result = negotiate_protocol(frontend, protocol, fail);
		if (result)
			return result;
	}
	if (frontend->protocol & VHOST_PROTOCOL_CONFIG) {
		result = frontend_read_config(frontend, fail);
		if (result)
			return result;
	}
	return frontend_set(frontend, VHOST_SET_FEATURES, frontend->features, fail);
}

int frontend_allocate(
	struct frontend *frontend, uint64_t bytes, bool hugetlb, bool unsealed, struct fail *fail)
{
	struct frontend_memory *memory = &frontend->memory;
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | (hugetlb ? MFD_HUGETLB : 0);
	int error;

	assert(memory->fd < 0);
	bytes = align_up(bytes, hugetlb ? HUGE_PAGE_BYTES : PAGE_BYTES);
	memory->fd = memfd_create("braid-bench", flags);
	if (memory->fd < 0)
		return fail_set(fail, errno, "cannot make shared memory: %s", strerror(errno));
	if (ftruncate(memory->fd, (off_t)bytes) < 0)
		goto close_memory;
	if (!unsealed && fcntl(memory->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		goto close_memory;
	memory->base =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memory->fd, 0);
	if (memory->base == MAP_FAILED)
		goto close_memory;
	memory->bytes = bytes;
	memory->carved = 0;
	return 0;

close_memory:
	error = errno;
	memory->base = NULL;
	close_fd(&memory->fd);
	return fail_set(fail, error, "cannot get %llu bytes of shared memory: %s%s",
		(unsigned long long)bytes, strerror(error),
		hugetlb ? "; see /proc/sys/vm/nr_hugepages" : "");
}

void *frontend_carve(struct frontend *frontend, size_t bytes, size_t alignment)
{
	struct frontend_memory *memory = &frontend->memory;
	uint64_t begin = align_up(memory->carved, alignment);

	assert(is_power_of_two(alignment) && memory->base);
	if (begin > memory->bytes || bytes > memory->bytes - begin)
		return NULL;
	memory->carved = begin + bytes;
	memset(memory->base + begin, 0, bytes);
	return memory->base + begin;
}

int frontend_share(struct frontend *frontend, struct fail *fail)
{
	const struct frontend_memory *memory = &frontend->memory;
	struct vhost_mem_table table = {
		.regions = 1,
		.region[0] = {.guest_address = memory->guest_address,
			.bytes = memory->bytes,
			.user_address = (uintptr_t)memory->base},
	};

	return frontend_tell(frontend, VHOST_SET_MEM_TABLE, &table,
		offsetof(struct vhost_mem_table, region[1]), memory->fd, fail);
}

static int ask_for_region(
	struct frontend *frontend, unsigned queues, unsigned queue_size, struct fail *fail)
{
	struct vhost_inflight wanted = {
		.queues = (uint16_t)queues,
		.queue_size = (uint16_t)queue_size,
	};
	struct frontend_message message = {
		.request = VHOST_GET_INFLIGHT_FD,
		.payload = &wanted,
		.payload_bytes = sizeof(wanted),
		.want_reply = true,
	};
	int result = frontend_message(frontend, &message, fail);

	if (result)
		return result;
	frontend->inflight_fd = message.reply_fd;
	frontend->inflight = message.reply.inflight;
	if (message.reply_fd < 0 || message.reply_bytes < VHOST_INFLIGHT_BYTES)
		return fail_set(fail, EPROTO,
			"the back end answered GET_INFLIGHT_FD with %u bytes and %s descriptor",
			message.reply_bytes, message.reply_fd < 0 ? "no" : "a");
	return 0;
}

int frontend_track(
	struct frontend *frontend, unsigned queues, unsigned queue_size, struct fail *fail)
{
	int result = 0;

	if (!(frontend->protocol & VHOST_PROTOCOL_INFLIGHT_SHMFD))
		return 0;
	if (frontend->inflight_fd < 0)
		result = ask_for_region(frontend, queues, queue_size, fail);
	if (result)
		return result;
	return frontend_tell(frontend, VHOST_SET_INFLIGHT_FD, &frontend->inflight,
		sizeof(frontend->inflight), frontend->inflight_fd, fail);
}

int frontend_prepare(struct frontend *frontend, unsigned index, unsigned size, struct fail *fail)
{
	struct virtqueue *queue = &frontend->queue[index];
	void *memory;

	assert(index < FRONTEND_QUEUES_MAX);
	memory = frontend_carve(frontend, virtqueue_bytes(size), PAGE_BYTES);
	if (!memory || virtqueue_init(queue, memory, size, frontend->features & VIRTIO_F_EVENT_IDX,
			       frontend->features & VIRTIO_F_RING_PACKED))
		return fail_set(fail, ENOMEM, "no memory for a queue of %u entries", size);
	queue->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	queue->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	queue->err_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (queue->kick_fd < 0 || queue->call_fd < 0 || queue->err_fd < 0)
		return fail_set(
			fail, errno, "cannot make an eventfd: %s; see ulimit -n", strerror(errno));
	frontend->queues = MAX(frontend->queues, index + 1);
	return 0;
}

struct vhost_vring_address frontend_ring_address(const struct frontend *frontend, unsigned index)
{
	const struct virtqueue *queue = &frontend->queue[index];

	if (queue->packed)
		return (struct vhost_vring_address){
			.index = index,
			.descriptors = (uintptr_t)queue->ring,
			.used = (uintptr_t)queue->device_event,
			.available = (uintptr_t)queue->driver_event,
		};
	return (struct vhost_vring_address){
		.index = index,
		.descriptors = (uintptr_t)queue->desc,
		.used = (uintptr_t)queue->used,
		.available = (uintptr_t)queue->avail,
	};
}

int frontend_start(struct frontend *frontend, unsigned index, struct fail *fail)
{
	const struct virtqueue *queue = &frontend->queue[index];
	struct vhost_vring_state number = {.index = index, .number = queue->size};
	/* Of a split ring, where we stand; a packed one has two sides, and QEMU only knows what it
	 * was told last. */
	struct vhost_vring_state base = {
		.index = index, .number = queue->packed ? queue->base : queue->used_next};
	struct vhost_vring_state enable = {.index = index, .number = 1};
	struct vhost_vring_address address = frontend_ring_address(frontend, index);
	uint64_t vring = index;
	const struct {
		uint32_t request, bytes;
		const void *payload;
		int fd;
	} steps[] = {
		{VHOST_SET_VRING_NUM, sizeof(number), &number, -1},
		{VHOST_SET_VRING_BASE, sizeof(base), &base, -1},
		{VHOST_SET_VRING_ADDR, sizeof(address), &address, -1},
		{VHOST_SET_VRING_ERR, sizeof(vring), &vring, queue->err_fd},
		{VHOST_SET_VRING_CALL, sizeof(vring), &vring, queue->call_fd},
		{VHOST_SET_VRING_KICK, sizeof(vring), &vring, queue->kick_fd},
		{VHOST_SET_VRING_ENABLE, sizeof(enable), &enable, -1},
	};
	unsigned count = ARRAY_SIZE(steps);

	if (!(frontend->features & VHOST_F_PROTOCOL_FEATURES))
		count--; /* "Ring states": the ring is enabled from the start */
	for (unsigned i = 0; i < count; i++) {
		int result = frontend_tell(frontend, steps[i].request, steps[i].payload,
			steps[i].bytes, steps[i].fd, fail);

		if (result)
			return result;
	}
	return 0;
}

int frontend_stop(struct frontend *frontend, unsigned index, uint32_t *base, struct fail *fail)
{
	struct vhost_vring_state state = {.index = index};
	struct frontend_message message = {
		.request = VHOST_GET_VRING_BASE,
		.payload = &state,
		.payload_bytes = sizeof(state),
		.want_reply = true,
	};
	int result = frontend_message(frontend, &message, fail);

	if (result)
		return result;
	if (message.reply_bytes != sizeof(state) || message.reply.state.index != index)
		return fail_set(
			fail, EPROTO, "the back end's answer to GET_VRING_BASE is malformed");
	frontend->queue[index].base = message.reply.state.number;
	if (base)
		*base = message.reply.state.number;
	return 0;
}

/* As much as the options say, on a frontend that frontend_init() has readied. */
static int open_session(
	struct frontend *frontend, const struct frontend_options *options, struct fail *fail)
{
	uint64_t rings =
		options->queues * align_up(virtqueue_bytes(options->queue_size), PAGE_BYTES);
	int result;

	result = frontend_connect(frontend, options->path, fail);
	if (result)
		return result;
	result = frontend_negotiate(frontend, options->features, options->protocol, fail);
	if (result)
		return result;
	if (options->queues > frontend->queues_offered)
		return fail_set(fail, EINVAL, "the back end has %u queues, not %u; use --queues %u",
			frontend->queues_offered, options->queues, frontend->queues_offered);
	result = frontend_allocate(
		frontend, rings + options->memory_bytes, options->hugetlb, options->unsealed, fail);
	if (result)
		return result;
	result = frontend_share(frontend, fail);
	if (!result)
		result = frontend_track(frontend, options->queues, options->queue_size, fail);
	for (unsigned i = 0; i < options->queues && !result; i++) {
		result = frontend_prepare(frontend, i, options->queue_size, fail);
		if (!result)
			result = frontend_start(frontend, i, fail);
	}
	return result;
}

int frontend_open(
	struct frontend *frontend, const struct frontend_options *options, struct fail *fail)
{
	int result;

	assert(options->queues >= 1 && options->queues <= FRONTEND_QUEUES_MAX);
	assert(options->queue_size && options->queue_size <= VIRTQUEUE_SIZE_MAX);
	frontend_init(frontend, options->timeout_ms);
	result = open_session(frontend, options, fail);
	if (result)
		frontend_close(frontend);
	return result;
}
