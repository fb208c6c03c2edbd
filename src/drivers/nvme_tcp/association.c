/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that keeps a drive's association with its target.
 *
 *	       a queue or the admin connection breaks
 *	LIVE ------------------------------------------> bury the old association
 *	  ^                                                        |
 *	  |     a path leads there, and the namespace is ours      v
 *	  +------------------------------------------------- RECONNECTING
 *	  |                                                        | hold_s
 *	  +----------------------------------------------------- AWAY: ios fail, still trying
 *
 * What may be sent again, and when. Reads and writes of blocks can be repeated. But a write of
 * unknown outcome that the old controller carries out late, after the same blocks have been written
 * again over the new association, would bring old data back. So as long as such writes are in
 * doubt, nothing is sent over a new association before the old controller has stopped. Either
 *
 *  - it has closed, at its end, every connection on which there are such writes: it knows that the
 *    association is over, and has to abort its commands (base 3.3.2.2; the Linux target closes only
 *    after the last of them has ended); or
 *  - it has not heard from us for twice the keep alive timeout (a controller that counts any
 *    command as a sign of life may take so long), and a second: then it has to do the same by
 *    itself (base 3.9).
 *
 * A reset (CC.EN = 0) comes first when the admin connection still works: it makes the controller
 * stop, where it is needed most, when the drive behind it is slow. What remains: a target that does
 * not keep to this, or that has handed a write to a drive which carries it out after the target has
 * died. What has not left our socket never leaves (SO_LINGER, connection.c), even if this process
 * is killed; but the next process knows nothing of what was in doubt, and waits for nothing.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "drivers/nvme_tcp/drive.h"

enum {
	BACKOFF_MIN_MS = 100,
	BACKOFF_MAX_MS = 5000,
	FENCE_EXTRA_MS = 1000,
	FENCE_LOOK_MS = 50,
	STEADY_MS = 5000, /* after so long a loss is one of its own, */
	FLAPS_FREE = 3,	  /* but after so many in a row */
	FLAP_MS = 500,	  /* this goes by before the next attempt */
};

static bool is_readable(int fd, unsigned wait_ms)
{
	struct pollfd file = {.fd = fd, .events = POLLIN};

	return poll(&file, 1, (int)wait_ms) > 0;
}

static bool is_stopped(const struct nvme_tcp *drive)
{
	return is_readable(drive->stop_fd, 0);
}

static bool is_lost(struct nvme_tcp *drive)
{
	LOCK_SCOPE(&drive->mutex);

	return drive->lost;
}

static void set_state(struct nvme_tcp *drive, enum nvme_tcp_state state, const char *reason)
{
	LOCK_SCOPE(&drive->mutex);

	drive->status.state = state;
	drive->status.path = drive->path;
	if (state == NVME_TCP_LIVE)
		drive->status.queues = drive->controller.queues;
	if (reason)
		snprintf(drive->status.reason, sizeof(drive->status.reason), "%s", reason);
}

/* --- queues ---------------------------------------------------------------------------------- */

struct queue_call {
	struct tcp_queue *queue;
	struct queue_limits limits;
	int fd;
	bool doubtful;
};

static int attach(void *argument)
{
	struct queue_call *call = argument;

	if (call->queue->closed) /* meanwhile, on this reactor */
		close(call->fd);
	else
		tcp_queue_attach(call->queue, call->fd, &call->limits);
	return 0;
}

static int detach(void *argument)
{
	struct queue_call *call = argument;

	call->fd = call->queue->closed ? -1 : tcp_queue_detach(call->queue, &call->doubtful);
	return 0;
}

static int give_up(void *argument)
{
	struct queue_call *call = argument;

	if (!call->queue->closed)
		tcp_queue_give_up(call->queue);
	return 0;
}

/* Frees the queues that are closed. */
static void sweep_queues(struct nvme_tcp *drive)
{
	struct list_node *node, *after;
	LOCK_SCOPE(&drive->mutex);

	list_for_each_safe (node, after, &drive->queues) {
		struct tcp_queue *queue = container_of(node, struct tcp_queue, link);

		if (!queue->closed)
			continue;
		list_remove(node);
		tcp_queue_destroy(queue);
	}
}

/* The queue at that position, or NULL; it stays until the next sweep. */
static struct tcp_queue *queue_at(struct nvme_tcp *drive, unsigned position)
{
	struct list_node *node;
	LOCK_SCOPE(&drive->mutex);

	list_for_each (node, &drive->queues)
		if (!position--)
			return container_of(node, struct tcp_queue, link);
	return NULL;
}

static bool wants_connection(struct nvme_tcp *drive, const struct tcp_queue *queue)
{
	LOCK_SCOPE(&drive->mutex);

	return !queue->attached && !queue->closed;
}

static void set_attached(struct nvme_tcp *drive, struct tcp_queue *queue, bool attached)
{
	LOCK_SCOPE(&drive->mutex);

	queue->attached = attached;
}

static struct queue_limits limits_of(
	const struct nvme_tcp *drive, const struct connection *connection)
{
	const struct facts *facts = &drive->now;
	uint32_t block_bytes = drive->dev.block_bytes;
	/* With data digests the data of a PDU are copied. And a command is not larger than a PDU:
	 * Linux's target (as of 6.1) compares the digest of each with that of the whole command. */
	uint32_t most = connection->digests.data ? QUEUE_COPY_BYTES : UINT32_MAX;

	return (struct queue_limits){
		.digests = connection->digests,
		.align_bytes = connection->align_bytes,
		.capsule_bytes = facts->capsule_bytes,
		.h2c_bytes = MIN(connection->h2c_bytes_max, most),
		.transfer_bytes = MIN(facts->transfer_bytes_max, most),
		.depth = MIN(drive->controller.queue_entries - 1, (unsigned)QUEUE_SLOTS),
		.nsid = drive->target.nsid,
		.lba_shift = (unsigned)__builtin_ctz(block_bytes) - facts->lba_shift,
		.can_discard = facts->can_discard,
		.can_write_zeroes = facts->can_write_zeroes,
		.can_unmap_zeroes = facts->can_unmap_zeroes,
		.has_cache = facts->volatile_cache,
		.write_through = !drive->target.write_back,
	};
}

/* Ids are used in turn: the target may not have noticed yet that an old one is free. */
static unsigned next_queue_id(struct nvme_tcp *drive)
{
	drive->next_queue_id = (uint16_t)(drive->next_queue_id % drive->controller.queues + 1);
	return drive->next_queue_id;
}

/* Connects every queue that has no connection. */
static int connect_queues(struct nvme_tcp *drive, struct fail *fail)
{
	struct tcp_queue *queue;

	for (unsigned i = 0; (queue = queue_at(drive, i)); i++) {
		struct queue_call call = {.queue = queue};
		struct connection connection;
		int error;

		if (!wants_connection(drive, queue))
			continue;
		error = tcp_controller_open_queue(
			&drive->controller, &connection, next_queue_id(drive), fail);
		if (error)
			return error;
		call.fd = connection.fd;
		call.limits = limits_of(drive, &connection);
		set_attached(drive, queue, true);
		reactor_call(queue->reactor, attach, &call);
	}
	return 0;
}

static void give_up_queues(struct nvme_tcp *drive)
{
	struct tcp_queue *queue;

	for (unsigned i = 0; (queue = queue_at(drive, i)); i++) {
		struct queue_call call = {.queue = queue};

		if (wants_connection(drive, queue))
			reactor_call(queue->reactor, give_up, &call);
	}
}

/* --- time ------------------------------------------------------------------------------------ */

static bool is_away(struct nvme_tcp *drive)
{
	LOCK_SCOPE(&drive->mutex);

	return drive->status.state == NVME_TCP_AWAY;
}

/* Ends the hold when it is time, and lets late queues know. */
static void watch_hold(struct nvme_tcp *drive)
{
	uint64_t away_ms = connection_clock_ms() - drive->lost_at_ms;

	if (is_away(drive)) {
		give_up_queues(drive);
		return;
	}
	if (away_ms < drive->target.hold_s * (uint64_t)1000)
		return;
	set_state(drive, NVME_TCP_AWAY, NULL);
	log_error("event=nvme_tcp.away drive=\"%s\" seconds=%llu effect=\"its requests fail\"",
		drive->dev.name, (unsigned long long)away_ms / 1000);
	give_up_queues(drive);
}

/* Waits so long, or until it is time to stop; keeps an eye on the hold. */
static void pause_ms(struct nvme_tcp *drive, uint64_t ms)
{
	uint64_t end_ms = connection_clock_ms() + ms, now_ms;

	while ((now_ms = connection_clock_ms()) < end_ms) {
		if (is_readable(drive->stop_fd,
			    (unsigned)MIN(end_ms - now_ms, (uint64_t)BACKOFF_MIN_MS)))
			return;
		sweep_queues(drive);
		watch_hold(drive);
	}
}

/* --- burial ---------------------------------------------------------------------------------- */

/* True when the peer has closed the connection. */
static bool is_closed_by_peer(int fd)
{
	char dropped[4096];
	ssize_t got;

	do
		got = recv(fd, dropped, sizeof(dropped), MSG_DONTWAIT | MSG_TRUNC);
	while (got > 0 || (got < 0 && errno == EINTR));
	return !got || errno != EAGAIN;
}

/* Waits until the old controller has stopped: see the top. Closes the sockets. */
static void fence(struct nvme_tcp *drive, int *fds, unsigned count, uint64_t limit_ms)
{
	uint64_t begun_ms = connection_clock_ms();
	unsigned open = count;

	for (unsigned i = 0; i < count; i++)
		shutdown(fds[i], SHUT_WR);
	while (true) {
		for (unsigned i = 0; i < open;)
			if (is_closed_by_peer(fds[i])) {
				close(fds[i]);
				fds[i] = fds[--open];
			} else {
				i++;
			}
		if (!open || is_stopped(drive) || connection_clock_ms() - begun_ms >= limit_ms)
			break;
		pause_ms(drive, FENCE_LOOK_MS);
	}
	while (open)
		close(fds[--open]);
}

/* Ends the old association. The drive is RECONNECTING already. */
static void bury(struct nvme_tcp *drive)
{
	bool reset = !tcp_controller_disable(&drive->controller, NULL);
	int fds[REACTORS_MAX];
	unsigned count = 0;
	struct tcp_queue *queue;

	for (unsigned i = 0; (queue = queue_at(drive, i)); i++) {
		struct queue_call call = {.queue = queue};

		reactor_call(queue->reactor, detach, &call);
		set_attached(drive, queue, false);
		if (call.fd >= 0 && call.doubtful)
			fds[count++] = call.fd;
		else if (call.fd >= 0)
			close(call.fd);
	}
	tcp_controller_close(&drive->controller);
	fence(drive, fds, count,
		(reset ? 0 : drive->target.keep_alive_s * (uint64_t)2000) + FENCE_EXTRA_MS);
	if (!reset)
		atomic_fetch_add(&drive->suspicions, 1);
}

/* --- reconnecting ---------------------------------------------------------------------------- */

/* Whether what has answered is what ios are meant for. */
static int compare(const struct nvme_tcp *drive, struct fail *fail)
{
	const struct facts *was = &drive->facts, *is = &drive->now;
	const char *peer = drive->controller.admin.peer;

	if (strcmp(was->identity, is->identity) != 0)
		return fail_set(fail, EMEDIUMTYPE,
			"%s now answers with another namespace, %s instead of %s", peer,
			is->identity, was->identity);
	if (was->lbas != is->lbas || was->lba_shift != is->lba_shift)
		return fail_set(fail, EMEDIUMTYPE,
			"the namespace at %s has another size or format than before: detach and "
			"attach it again",
			peer);
	if (is->volatile_cache && !was->volatile_cache)
		return fail_set(fail, EMEDIUMTYPE,
			"the namespace at %s has a volatile cache, which it had not", peer);
	return 0;
}

static int try_path(struct nvme_tcp *drive, struct fail *fail)
{
	const struct nvme_tcp_target *target = &drive->target;
	struct tcp_controller *controller = &drive->controller;
	int error = tcp_controller_open(
		controller, target, &target->path[drive->path], target->nqn, drive->stop_fd, fail);

	if (error)
		return error;
	error = tcp_controller_ask_queues(controller, fail);
	if (!error)
		error = tcp_controller_examine(controller, &drive->now, fail);
	if (!error)
		error = compare(drive, fail);
	if (!error) {
		LOCK_SCOPE(&drive->mutex);

		drive->lost = false; /* what breaks from here on is new */
	}
	if (!error) {
		set_state(drive, NVME_TCP_LIVE, "");
		error = connect_queues(drive, fail);
		if (error)
			bury(drive);
	} else {
		tcp_controller_close(controller);
	}
	return error;
}

/* Tries one path after the other until one leads there, or it is time to stop. */
static void reconnect(struct nvme_tcp *drive)
{
	uint64_t backoff_ms = BACKOFF_MIN_MS;
	struct fail fail;
	bool away = false;

	while (!is_stopped(drive)) {
		for (unsigned i = 0; i < drive->target.paths && !is_stopped(drive); i++) {
			away = is_away(drive);
			if (!try_path(drive, &fail))
				goto restored;
			set_state(drive, away ? NVME_TCP_AWAY : NVME_TCP_RECONNECTING, fail.text);
			drive->path = (drive->path + 1) % drive->target.paths;
			watch_hold(drive);
		}
		pause_ms(drive, backoff_ms);
		backoff_ms = MIN(2 * backoff_ms, (uint64_t)BACKOFF_MAX_MS);
	}
	return;

restored:
	log_info("event=nvme_tcp.restored drive=\"%s\" path=%s after_ms=%llu", drive->dev.name,
		drive->controller.admin.peer,
		(unsigned long long)(connection_clock_ms() - drive->lost_at_ms));
}

/* --- living ---------------------------------------------------------------------------------- */

static void report(struct nvme_tcp *drive, const struct fail *fail)
{
	nvme_tcp_report_loss(drive, fail->text);
}

static void keep_alive(struct nvme_tcp *drive)
{
	struct fail fail;
	int error = tcp_controller_keep_alive(&drive->controller, &fail);

	if (error && error != -EIO && error != -ECANCELED)
		report(drive, &fail);
}

/* Serves until the association breaks or it is time to stop. */
static void serve(struct nvme_tcp *drive)
{
	uint64_t period_ms = drive->target.keep_alive_s * 1000 / 2, news;
	uint64_t due_ms = connection_clock_ms() + period_ms;
	struct fail fail;

	while (!is_stopped(drive) && !is_lost(drive)) {
		struct pollfd fds[] = {{.fd = drive->wake_fd, .events = POLLIN},
			{.fd = drive->stop_fd, .events = POLLIN},
			{.fd = drive->controller.admin.fd, .events = POLLIN}};
		uint64_t now_ms = connection_clock_ms();
		int error;

		if (now_ms >= due_ms) {
			keep_alive(drive);
			due_ms = now_ms + period_ms;
			continue;
		}
		sweep_queues(drive);
		error = connect_queues(drive, &fail);
		if (error && error != -ECANCELED)
			report(drive, &fail);
		if (error)
			continue;
		poll(fds, ARRAY_SIZE(fds), (int)(due_ms - now_ms));
		if (fds[0].revents && read(drive->wake_fd, &news, sizeof(news)) < 0)
			assert(errno == EAGAIN || errno == EINTR);
		/* Nothing is in flight there: what comes now is an end. */
		if (fds[2].revents)
			nvme_tcp_report_loss(drive, "the target hung up");
	}
}

static void mourn(struct nvme_tcp *drive)
{
	{
		LOCK_SCOPE(&drive->mutex);

		drive->status.state = NVME_TCP_RECONNECTING;
		drive->status.losses++;
		log_warning("event=nvme_tcp.lost drive=\"%s\" path=%s why=\"%s\" "
			    "effect=\"its requests wait, for %u s at most\"",
			drive->dev.name, drive->controller.admin.peer, drive->status.reason,
			drive->target.hold_s);
	}
	drive->lost_at_ms = connection_clock_ms();
	bury(drive);
}

void *association_keep(void *argument)
{
	struct nvme_tcp *drive = argument;
	unsigned flaps = 0; /* associations in a row that did not live long */

	while (true) {
		uint64_t since_ms = connection_clock_ms();

		serve(drive);
		if (is_stopped(drive))
			break;
		flaps = connection_clock_ms() - since_ms >= STEADY_MS ? 0 : flaps + 1;
		mourn(drive);
		if (flaps > FLAPS_FREE)
			pause_ms(drive, FLAP_MS);
		/* The next path first; the same one when it is the only one. */
		drive->path = (drive->path + 1) % drive->target.paths;
		reconnect(drive);
		if (is_stopped(drive))
			break;
	}
	drive->controller.admin.cancel_fd = -1;
	if (drive->controller.admin.fd >= 0)
		tcp_controller_disable(&drive->controller, NULL);
	tcp_controller_close(&drive->controller);
	sweep_queues(drive);
	return NULL;
}
