/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/session.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "base/counter.h"
#include "vhost/config.h"
#include "vhost/message.h"
#include "vhost/shared_memory.h"

#define PROTOCOL_FEATURES                                                       \
	(VHOST_PROTOCOL_MQ | VHOST_PROTOCOL_REPLY_ACK | VHOST_PROTOCOL_CONFIG | \
		VHOST_PROTOCOL_BACKEND_REQ | VHOST_PROTOCOL_INFLIGHT_SHMFD |    \
		VHOST_PROTOCOL_CONFIGURE_MEM_SLOTS)

/* --- rings ----------------------------------------------------------------------------------- */

/* The ring that a message names, or NULL with a sentence. */
static struct session_ring *ring_of(struct session *session, uint64_t index, struct fail *fail)
{
	if (index < CONTROLLER_QUEUES_MAX)
		return &session->rings[index];
	fail_set(
		fail, EINVAL, "queue %llu of %d", (unsigned long long)index, CONTROLLER_QUEUES_MAX);
	return NULL;
}

/* --- handlers: features ---------------------------------------------------------------------- */

static int reply_u64(struct message_in *message, uint64_t value)
{
	message->payload.u64 = value;
	message->reply_bytes = sizeof(value);
	return 0;
}

static int get_features(struct session *session, struct message_in *message, struct fail *fail)
{
	(void)fail;
	return reply_u64(message, config_features(session->config->read_only));
}

static int set_features(struct session *session, struct message_in *message, struct fail *fail)
{
	uint64_t features = message->payload.u64;

	if (features & ~config_features(session->config->read_only))
		return fail_set(fail, EINVAL, "features 0x%llx were not all offered",
			(unsigned long long)features);
	ring_stop_all(session);
	session->device.features = features;
	if (!(features & VHOST_F_PROTOCOL_FEATURES)) /* 66 */
		for (unsigned i = 0; i < CONTROLLER_QUEUES_MAX; i++)
			session->rings[i].enabled = true;
	return ring_apply_all(session, fail);
}

static int get_protocol_features(
	struct session *session, struct message_in *message, struct fail *fail)
{
	(void)session, (void)fail;
	return reply_u64(message, PROTOCOL_FEATURES);
}

static int set_protocol_features(
	struct session *session, struct message_in *message, struct fail *fail)
{
	if (message->payload.u64 & ~PROTOCOL_FEATURES)
		return fail_set(fail, EINVAL, "protocol features 0x%llx were not all offered",
			(unsigned long long)message->payload.u64);
	session->protocol_features = message->payload.u64;
	return 0;
}

static int get_queue_num(struct session *session, struct message_in *message, struct fail *fail)
{
	(void)session, (void)fail;
	return reply_u64(message, CONTROLLER_QUEUES_MAX);
}

static int get_max_mem_slots(struct session *session, struct message_in *message, struct fail *fail)
{
	(void)session, (void)fail;
	return reply_u64(message, GUEST_REGIONS_MAX);
}

static int nothing(struct session *session, struct message_in *message, struct fail *fail)
{
	(void)session, (void)message, (void)fail;
	return 0;
}

/* 91: rings are disabled. */
static int reset_owner(struct session *session, struct message_in *message, struct fail *fail)
{
	(void)message, (void)fail;
	ring_stop_all(session);
	for (unsigned i = 0; i < CONTROLLER_QUEUES_MAX; i++)
		session->rings[i].enabled = session->rings[i].started = false;
	return 0;
}

/* --- handlers: memory ------------------------------------------------------------------------ */

static int add_region(
	struct guest_memory *memory, const struct vhost_region *wire, int *fd, struct fail *fail)
{
	struct guest_region region = {
		.guest_address = wire->guest_address,
		.user_address = wire->user_address,
		.bytes = wire->bytes,
	};
	int taken = *fd;

	*fd = -1;
	return shared_memory_add(memory, &region, taken, wire->file_offset, fail);
}

/* 74: the new table takes the place of the old one, whole or not at all. */
static int set_mem_table(struct session *session, struct message_in *message, struct fail *fail)
{
	struct vhost_mem_table *table = &message->payload.table;
	struct guest_memory *memory, *old = session->device.memory;
	int error = 0;

	if (!table->regions || !message->fd_count)
		return fail_set(
			fail, EINVAL, "the front end shares no memory: %s", CURE_SHARED_MEMORY);
	if (table->regions > VHOST_TABLE_REGIONS_MAX || table->regions != message->fd_count)
		return fail_set(fail, EINVAL, "%u regions of memory with %u descriptors",
			table->regions, message->fd_count);
	memory = guest_memory_create();
	if (!memory)
		return fail_set(fail, ENOMEM, "no memory for a table of guest memory");
	for (unsigned i = 0; i < table->regions && !error; i++)
		error = add_region(memory, &table->region[i], &message->fds[i], fail);
	if (error) {
		shared_memory_destroy(memory);
		return error;
	}
	ring_stop_all(session);
	session->device.memory = memory;
	if (old)
		shared_memory_destroy(old);
	return ring_apply_all(session, fail);
}

static int add_mem_reg(struct session *session, struct message_in *message, struct fail *fail)
{
	int error, applied;

	if (message->fd_count != 1)
		return fail_set(fail, EINVAL, "ADD_MEM_REG with %u descriptors", message->fd_count);
	if (!session->device.memory)
		session->device.memory = guest_memory_create();
	if (!session->device.memory)
		return fail_set(fail, ENOMEM, "no memory for a table of guest memory");
	ring_stop_all(session);
	error = add_region(
		session->device.memory, &message->payload.single.region, &message->fds[0], fail);
	applied = ring_apply_all(session, error ? NULL : fail);
	return error ? error : applied;
}

static int rem_mem_reg(struct session *session, struct message_in *message, struct fail *fail)
{
	const struct vhost_region *wire = &message->payload.single.region;
	struct guest_region region = {
		.guest_address = wire->guest_address,
		.user_address = wire->user_address,
		.bytes = wire->bytes,
	};

	if (!session->device.memory)
		return fail_set(fail, ENOENT, "REM_MEM_REG without memory");
	ring_stop_all(session);
	if (shared_memory_remove(session->device.memory, &region)) {
		ring_apply_all(session, NULL);
		return fail_set(fail, ENOENT, "REM_MEM_REG of a region that is not there");
	}
	/* 44: a ring that lay in the region stays stopped. */
	for (unsigned i = 0; i < CONTROLLER_QUEUES_MAX; i++)
		if (ring_apply(session, &session->rings[i], NULL))
			session->rings[i].started = false;
	return 0;
}

/* --- handlers: rings ------------------------------------------------------------------------- */

static int set_vring_num(struct session *session, struct message_in *message, struct fail *fail)
{
	struct session_ring *ring = ring_of(session, message->payload.state.index, fail);
	uint32_t size = message->payload.state.number;

	if (!ring)
		return -EINVAL;
	if (!virtq_size_fits(session_is_packed(session), size))
		return fail_set(fail, EINVAL, "a virtqueue of %u entries", size);
	ring_stop(ring);
	ring->queue.size = (uint16_t)size;
	return ring_apply(session, ring, fail);
}

static int set_vring_addr(struct session *session, struct message_in *message, struct fail *fail)
{
	struct session_ring *ring = ring_of(session, message->payload.address.index, fail);

	if (!ring)
		return -EINVAL;
	ring_stop(ring);
	ring->address = message->payload.address;
	ring->addressed = true;
	/* 40: where it can be told already, nonsense is refused at once. */
	if (session->device.memory && ring->queue.size) {
		int error = ring_map(session, ring, fail);

		ring->addressed = !error;
		if (error)
			return error;
	}
	return ring_apply(session, ring, fail);
}

/* 71 */
static int set_vring_base(struct session *session, struct message_in *message, struct fail *fail)
{
	struct session_ring *ring = ring_of(session, message->payload.state.index, fail);

	if (!ring)
		return -EINVAL;
	if (ring->queue.running ||
		(!session_is_packed(session) && message->payload.state.number > UINT16_MAX))
		return fail_set(fail, EINVAL, "SET_VRING_BASE %u of a ring that %s",
			message->payload.state.number, ring->queue.running ? "runs" : "is split");
	ring->base = message->payload.state.number;
	return 0;
}

/* 69: drained before it is answered. */
static int get_vring_base(struct session *session, struct message_in *message, struct fail *fail)
{
	struct session_ring *ring = ring_of(session, message->payload.state.index, fail);

	if (!ring)
		return -EINVAL;
	ring_stop(ring);
	ring->started = false;
	fd_close(&ring->queue.kick_fd);
	message->payload.state.number = ring->base;
	message->reply_bytes = sizeof(message->payload.state);
	return 0;
}

static struct session_ring *notified_ring(
	struct session *session, struct message_in *message, struct fail *fail)
{
	if (message->payload.u64 & ~(VHOST_VRING_INDEX_MASK | VHOST_VRING_NO_FD)) {
		fail_set(fail, EINVAL, "queue 0x%llx", (unsigned long long)message->payload.u64);
		return NULL;
	}
	return ring_of(session, message->payload.u64 & VHOST_VRING_INDEX_MASK, fail);
}

static int set_vring_kick(struct session *session, struct message_in *message, struct fail *fail)
{
	struct session_ring *ring = notified_ring(session, message, fail);
	int error;

	if (!ring)
		return -EINVAL;
	ring_stop(ring);
	error = message_take_event_fd(message, &ring->queue.kick_fd, fail);
	if (error)
		return error;
	ring->started = true;
	return ring_apply(session, ring, fail);
}

static int set_vring_call(struct session *session, struct message_in *message, struct fail *fail)
{
	struct session_ring *ring = notified_ring(session, message, fail);
	int error;

	if (!ring)
		return -EINVAL;
	ring_stop(ring);
	error = message_take_event_fd(message, &ring->queue.call_fd, fail);
	/* Whoever waits on the new descriptor may have missed a notification on the old one. */
	if (!error && ring->started)
		signal_fd(ring->queue.call_fd);
	return error ? error : ring_apply(session, ring, fail);
}

static int set_vring_err(struct session *session, struct message_in *message, struct fail *fail)
{
	struct session_ring *ring = notified_ring(session, message, fail);
	int error;

	if (!ring)
		return -EINVAL;
	ring_stop(ring);
	error = message_take_event_fd(message, &ring->queue.error_fd, fail);
	return error ? error : ring_apply(session, ring, fail);
}

static int set_vring_enable(struct session *session, struct message_in *message, struct fail *fail)
{
	struct session_ring *ring = ring_of(session, message->payload.state.index, fail);

	if (!ring)
		return -EINVAL;
	if (message->payload.state.number > 1)
		return fail_set(
			fail, EINVAL, "SET_VRING_ENABLE to %u", message->payload.state.number);
	ring->enabled = message->payload.state.number;
	if (!ring->enabled)
		ring_stop(ring);
	return ring_apply(session, ring, fail);
}

/* 82. Offered because User-Mode Linux takes its interrupt from it; nothing is sent yet. */
static int set_backend_req_fd(
	struct session *session, struct message_in *message, struct fail *fail)
{
	if (message->fd_count != 1)
		return fail_set(
			fail, EINVAL, "SET_BACKEND_REQ_FD with %u descriptors", message->fd_count);
	fd_close(&session->backend_fd);
	session->backend_fd = message->fds[0];
	message->fds[0] = -1;
	return 0;
}

/* --- handlers: requests in flight ------------------------------------------------------------- */

static int check_inflight(
	const struct session *session, const struct message_in *message, struct fail *fail)
{
	if (!(session->protocol_features & VHOST_PROTOCOL_INFLIGHT_SHMFD))
		return fail_set(fail, EINVAL, "INFLIGHT_SHMFD was not negotiated");
	if (message->header.payload_bytes != VHOST_INFLIGHT_BYTES &&
		message->header.payload_bytes != sizeof(message->payload.inflight))
		return fail_set(
			fail, EMSGSIZE, "a description of %u bytes", message->header.payload_bytes);
	return 0;
}

/* 88. Nothing of it stays here: that a second call frees what the first one made, and that many of
 * them cost us nothing, needs no doing. */
static int get_inflight_fd(struct session *session, struct message_in *message, struct fail *fail)
{
	int error = check_inflight(session, message, fail);

	if (error)
		return error;
	message->reply_fd =
		inflight_region_make(&message->payload.inflight, session_is_packed(session), fail);
	if (message->reply_fd < 0)
		return message->reply_fd;
	message->reply_bytes = message->header.payload_bytes;
	session->made_region = true;
	return 0;
}

static int set_inflight_fd(struct session *session, struct message_in *message, struct fail *fail)
{
	struct inflight_region *region, *old = session->device.region;
	int fd = message->fds[0], error = check_inflight(session, message, fail);

	if (error)
		return error;
	if (message->fd_count != 1)
		return fail_set(
			fail, EINVAL, "an inflight region with %u descriptors", message->fd_count);
	message->fds[0] = -1;
	error = inflight_region_map(
		&region, &message->payload.inflight, session_is_packed(session), fd, fail);
	if (error)
		return error;
	ring_stop_all(session);
	session->device.region = region;
	inflight_region_unmap(old);
	return ring_apply_all(session, fail);
}

/* --- handlers: configuration space ------------------------------------------------------------ */

enum { CONFIG_HEADER_BYTES = offsetof(struct vhost_config, region) };

static int check_config(const struct message_in *message, struct fail *fail)
{
	const struct vhost_config *config = &message->payload.config;

	if (!config->bytes || config->offset > VHOST_CONFIG_BYTES_MAX ||
		config->bytes > VHOST_CONFIG_BYTES_MAX - config->offset ||
		message->header.payload_bytes != CONFIG_HEADER_BYTES + config->bytes)
		return fail_set(
			fail, EINVAL, "configuration space %u+%u", config->offset, config->bytes);
	return 0;
}

static int get_config(struct session *session, struct message_in *message, struct fail *fail)
{
	struct vhost_config *config = &message->payload.config;
	uint8_t space[VHOST_CONFIG_BYTES_MAX] = {0};
	uint64_t features = session->device.features;
	/* 36: a driver that does not flush has no cache. Before it has said so, what is offered. */
	bool may_cache = !features || features & VIRTIO_BLK_F_FLUSH;
	int error = check_config(message, fail);

	if (error)
		return error;
	static_assert(sizeof(struct virtio_blk_config) <= VHOST_CONFIG_BYTES_MAX, "fits");
	config_fill((struct virtio_blk_config *)space, session->config->dev,
		atomic_load(&session->device.writeback) && may_cache);
	memcpy(config->region, space + config->offset, config->bytes);
	message->reply_bytes = message->header.payload_bytes;
	return 0;
}

/* 80: only `writeback` can be written. */
static int set_config(struct session *session, struct message_in *message, struct fail *fail)
{
	const struct vhost_config *config = &message->payload.config;
	int error = check_config(message, fail);

	if (error)
		return error;
	if (config->flags & ~VHOST_CONFIG_MIGRATION)
		return fail_set(fail, EINVAL, "SET_CONFIG with flags 0x%x", config->flags);
	if (config->flags & VHOST_CONFIG_MIGRATION)
		return 0;
	if (config->offset != offsetof(struct virtio_blk_config, writeback) || config->bytes != 1 ||
		config->region[0] > 1)
		return fail_set(fail, EPERM, "configuration space %u+%u is read-only",
			config->offset, config->bytes);
	atomic_store(&session->device.writeback, config->region[0]);
	return 0;
}

/* --- the table -------------------------------------------------------------------------------- */

enum { ANY_BYTES = UINT32_MAX };

static const struct {
	const char *name;
	int (*handle)(struct session *session, struct message_in *message, struct fail *fail);
	uint32_t payload_bytes;
	unsigned fds_max;
} table[VHOST_REQUEST_COUNT] = {
/* clang-format off */
#define ROW(request, handler, bytes, fds) [VHOST_##request] = {#request, handler, bytes, fds}
	ROW(GET_FEATURES,          get_features,          0,   0),
	ROW(SET_FEATURES,          set_features,          8,   0),
	ROW(SET_OWNER,             nothing,               0,   0),
	ROW(RESET_OWNER,           reset_owner,           0,   0),
	ROW(SET_MEM_TABLE,         set_mem_table,         ANY_BYTES, VHOST_FDS_MAX),
	ROW(SET_VRING_NUM,         set_vring_num,         8,   0),
	ROW(SET_VRING_ADDR,        set_vring_addr,        40,  0),
	ROW(SET_VRING_BASE,        set_vring_base,        8,   0),
	ROW(GET_VRING_BASE,        get_vring_base,        8,   0),
	ROW(SET_VRING_KICK,        set_vring_kick,        8,   1),
	ROW(SET_VRING_CALL,        set_vring_call,        8,   1),
	ROW(SET_VRING_ERR,         set_vring_err,         8,   1),
	ROW(GET_PROTOCOL_FEATURES, get_protocol_features, 0,   0),
	ROW(SET_PROTOCOL_FEATURES, set_protocol_features, 8,   0),
	ROW(GET_QUEUE_NUM,         get_queue_num,         0,   0),
	ROW(SET_VRING_ENABLE,      set_vring_enable,      8,   0),
	ROW(SET_BACKEND_REQ_FD,    set_backend_req_fd,    0,   1),
	ROW(GET_CONFIG,            get_config,            ANY_BYTES, 0),
	ROW(SET_CONFIG,            set_config,            ANY_BYTES, 0),
	ROW(GET_INFLIGHT_FD,       get_inflight_fd,       ANY_BYTES, 0),
	ROW(SET_INFLIGHT_FD,       set_inflight_fd,       ANY_BYTES, 1),
	ROW(GET_MAX_MEM_SLOTS,     get_max_mem_slots,     0,   0),
	ROW(ADD_MEM_REG,           add_mem_reg,           sizeof(struct vhost_single_region), 1),
	ROW(REM_MEM_REG,           rem_mem_reg,           sizeof(struct vhost_single_region), 1),
#undef ROW
	/* clang-format on */
};

/* --- carrying out ----------------------------------------------------------------------------- */

/* 64: the payload is as long as the request says, and no descriptor comes uninvited. */
static int check_message(const struct message_in *message, struct fail *fail)
{
	uint32_t request = message->header.request;

	if (request >= VHOST_REQUEST_COUNT || !table[request].handle)
		return fail_set(fail, EOPNOTSUPP, "request %u is not supported", request);
	if (table[request].payload_bytes != ANY_BYTES &&
		table[request].payload_bytes != message->header.payload_bytes)
		return fail_set(fail, EMSGSIZE, "%s with %u bytes", table[request].name,
			message->header.payload_bytes);
	if (message->fd_count > table[request].fds_max)
		return fail_set(fail, EPROTO, "%s with %u descriptors", table[request].name,
			message->fd_count);
	/* User-Mode Linux always sends the space of two regions: more than the table needs is
	 * fine. */
	if (request == VHOST_SET_MEM_TABLE &&
		(message->header.payload_bytes < 8 ||
			message->header.payload_bytes <
				8 + (uint64_t)message->payload.table.regions *
						sizeof(struct vhost_region)))
		return fail_set(fail, EMSGSIZE, "SET_MEM_TABLE of %u regions with %u bytes",
			message->payload.table.regions, message->header.payload_bytes);
	return 0;
}

/* Carries out a message that was read; answers it if it wants an answer. */
static int dispatch(struct session *session, struct message_in *message, struct fail *fail)
{
	uint32_t request = message->header.request;
	int error = check_message(message, fail);
	bool supported = error != -EOPNOTSUPP, wants_ack;

	if (!error) {
		LOCK_SCOPE(&session->lock);
		error = table[request].handle(session, message, fail);
	}
	/* After the handler: the message that negotiates REPLY_ACK may want one itself. */
	wants_ack = message->header.flags & VHOST_NEED_REPLY &&
		    session->protocol_features & VHOST_PROTOCOL_REPLY_ACK;
	log_debug("event=VhostMessage controller=%s request=%u flags=0x%x bytes=%u fds=%u error=%d",
		session->config->name, request, message->header.flags,
		message->header.payload_bytes, message->fd_count, error);
	if (!error && message->reply_bytes)
		return message_answer(session->fd, message, fail);
	if (error && supported)
		fail_prefix(fail, "%s", table[request].name);
	if (wants_ack) { /* 78, 92, 98 */
		if (error)
			log_warning("event=VhostRefused controller=%s reason=\"%s\"",
				session->config->name, fail->text);
		reply_u64(message, error != 0);
		return message_answer(session->fd, message, fail);
	}
	/* What nobody waits for and we do not know is passed over. */
	return supported ? error : 0;
}

int session_message(struct session *session, struct fail *fail)
{
	struct message_in message = MESSAGE_EMPTY;
	int error = message_read(session->fd, &message, fail);

	if (!error)
		error = dispatch(session, &message, fail);
	for (unsigned i = 0; i < VHOST_FDS_MAX; i++)
		fd_close(&message.fds[i]);
	fd_close(&message.reply_fd);
	return error;
}

/* --- making and unmaking --------------------------------------------------------------------- */

/* The reactor of the i-th queue: the controller's cores in turn. */
static struct reactor *reactor_of(const struct session *session, unsigned index)
{
	const struct cpumask *cores = &session->config->cores;
	unsigned core = cpumask_next(cores, 0);

	for (index %= cpumask_count(cores); index; index--)
		core = cpumask_next(cores, core + 1);
	return reactor_on_core(session->group, core);
}

int session_create(struct session **created, const struct controller_config *config,
	struct reactor_group *group, int fd, struct fail *fail)
{
	struct timeval patience = {.tv_sec = 1};
	struct session *session = calloc(1, sizeof(*session));
	int error;

	if (!session) {
		close(fd);
		return fail_set(fail, ENOMEM, "no memory for a session");
	}
	session->config = config;
	session->group = group;
	session->fd = fd;
	session->backend_fd = -1;
	session->device.controller = config->name;
	session->device.dev = config->dev;
	session->device.read_only = config->read_only;
	session->device.holds = config->holds;
	atomic_store(&session->device.writeback, true);
	memcpy(session->device.serial, config->serial,
		strnlen(config->serial, sizeof(session->device.serial)));
	pthread_mutex_init(&session->lock, NULL);
	/* 42, 49: who stops in the middle of a message does not hold us up. */
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	for (unsigned i = 0; i < CONTROLLER_QUEUES_MAX; i++) {
		struct queue *queue = &session->rings[i].queue;

		queue->device = &session->device;
		queue->reactor = reactor_of(session, i);
		queue->kick_fd = queue->call_fd = queue->error_fd = -1;
	}
	error = narrow_create(&session->device.narrow, config->dev, reactor_of(session, 0), fail);
	if (error) {
		close(fd);
		free(session);
		return error;
	}
	*created = session;
	return 0;
}

void session_destroy(struct session *session)
{
	for (unsigned i = 0; i < CONTROLLER_QUEUES_MAX; i++)
		queue_leave_held(&session->rings[i].queue);
	ring_stop_all(session);
	for (unsigned i = 0; i < CONTROLLER_QUEUES_MAX; i++) {
		fd_close(&session->rings[i].queue.kick_fd);
		fd_close(&session->rings[i].queue.call_fd);
		fd_close(&session->rings[i].queue.error_fd);
	}
	fd_close(&session->backend_fd);
	narrow_destroy(session->device.narrow);
	inflight_region_unmap(session->device.region);
	if (session->device.memory)
		shared_memory_destroy(session->device.memory);
	close(session->fd);
	pthread_mutex_destroy(&session->lock);
	free(session);
}

void session_status(struct session *session, struct controller_status *status)
{
	/* A session that is draining keeps its lock: its figures come a little later. */
	if (pthread_mutex_trylock(&session->lock))
		return;
	status->features = session->device.features;
	status->inflight = session->protocol_features & VHOST_PROTOCOL_INFLIGHT_SHMFD &&
			   (session->device.region || !session->untracked);
	for (unsigned i = 0; i < CONTROLLER_QUEUES_MAX; i++) {
		const struct queue *queue = &session->rings[i].queue;

		status->queues += queue->running;
		status->requests += counter_read(&queue->counters.requests);
		status->notifications += counter_read(&queue->counters.notifications);
		status->errors += counter_read(&queue->counters.errors);
		status->held += counter_read(&queue->counters.held);
		if (queue->running && atomic_load(&queue->broken))
			snprintf(status->trouble, sizeof(status->trouble), "queue %u stopped: %s",
				i, queue->reason);
	}
	pthread_mutex_unlock(&session->lock);
}
