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
 * A move to a better path (paths.c) is the same, but for the counting. When the target itself says
 * that the namespace has gone, shrunk, or become another one, there is no hold: every path is asked
 * once, and then the drive is AWAY.
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
#include <limits.h>
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
	drive->status.optimized = drive->now.optimized;
	snprintf(
		drive->status.peer, sizeof(drive->status.peer), "%s", drive->controller.admin.peer);
	if (state == NVME_TCP_LIVE)
		drive->status.queues = drive->controller.queues;
	/* Why it has been lost meanwhile stays. */
	if (reason && !(state == NVME_TCP_LIVE && drive->lost))
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

/* From now on ios fail. */
static void end_hold(struct nvme_tcp *drive)
{
	uint64_t away_ms = connection_clock_ms() - drive->lost_at_ms;

	if (!is_away(drive)) {
		set_state(drive, NVME_TCP_AWAY, NULL);
		log_error("event=nvme_tcp.away drive=\"%s\" seconds=%llu why=\"%s\" effect=\"its "
			  "requests fail\"",
			drive->dev.name, (unsigned long long)away_ms / 1000, drive->status.reason);
	}
	give_up_queues(drive);
}

/* Ends the hold when it is time, and lets late queues know. */
static void watch_hold(struct nvme_tcp *drive)
{
	uint64_t away_ms = connection_clock_ms() - drive->lost_at_ms;

	if (is_away(drive) || away_ms >= drive->target.hold_s * (uint64_t)1000)
		end_hold(drive);
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
	int fds[REACTORS_MAX];
	unsigned count = 0;
	struct tcp_queue *queue;
	bool reset;

	for (unsigned i = 0; (queue = queue_at(drive, i)); i++) {
		struct queue_call call = {.queue = queue};

		reactor_call(queue->reactor, detach, &call);
		set_attached(drive, queue, false);
		if (call.fd >= 0 && call.doubtful)
			fds[count++] = call.fd;
		else if (call.fd >= 0)
			close(call.fd);
	}
	reset = !tcp_controller_disable(&drive->controller, NULL);
	tcp_controller_close(&drive->controller);
	fence(drive, fds, count,
		(reset ? 0 : drive->target.keep_alive_s * (uint64_t)2000) + FENCE_EXTRA_MS);
	if (!reset)
		atomic_fetch_add(&drive->suspicions, 1);
}

/* --- reconnecting ---------------------------------------------------------------------------- */

static void set_live(struct nvme_tcp *drive)
{
	const struct facts *was = &drive->facts, *is = &drive->now;
	char note[FAIL_TEXT_BYTES] = "";

	if (is->lbas > was->lbas)
		snprintf(note, sizeof(note),
			"the namespace has grown from %llu to %llu bytes: detach and attach it "
			"again to use them",
			(unsigned long long)was->lbas << was->lba_shift,
			(unsigned long long)is->lbas << is->lba_shift);
	set_state(drive, NVME_TCP_LIVE, note);
	if (note[0] && is->lbas != drive->lbas_noted)
		log_warning("event=nvme_tcp.grown drive=\"%s\" what=\"%s\"", drive->dev.name, note);
	drive->lbas_noted = is->lbas;
}

/* choosy: -EAGAIN when the path is not optimized. */
static int try_path(struct nvme_tcp *drive, bool choosy, struct fail *fail)
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
		error = facts_compare(&drive->facts, &drive->now, controller->admin.peer, fail);
	if (!error && choosy && !drive->now.optimized)
		error = fail_set(fail, EAGAIN, "%s is not optimized", controller->admin.peer);
	if (!error)
		error = tcp_controller_await_events(controller, fail);
	if (!error) {
		LOCK_SCOPE(&drive->mutex);

		drive->lost = false; /* what breaks from here on is new */
	}
	if (!error) {
		drive->gone = false;
		set_live(drive);
		error = connect_queues(drive, fail);
		if (error)
			bury(drive);
	} else {
		tcp_controller_close(controller);
	}
	return error;
}

/* Tries one path after the other, from the one that is due: 0 when one leads there; -EAGAIN when
 * only some that are not optimized do. */
static int try_paths(struct nvme_tcp *drive, bool choosy)
{
	bool away = is_away(drive);
	struct fail fail;
	int result = -EHOSTUNREACH;

	for (unsigned i = 0; i < drive->target.paths && !is_stopped(drive); i++) {
		int error = try_path(drive, choosy, &fail);

		if (!error)
			return 0;
		if (error == -EAGAIN)
			result = error;
		else
			set_state(drive, away ? NVME_TCP_AWAY : NVME_TCP_RECONNECTING, fail.text);
		drive->path = (drive->path + 1) % drive->target.paths;
		watch_hold(drive);
		away = is_away(drive);
	}
	return result;
}

/* Until a path leads there, or it is time to stop. */
static void reconnect(struct nvme_tcp *drive)
{
	uint64_t backoff_ms = BACKOFF_MIN_MS;

	while (!is_stopped(drive)) {
		int error = try_paths(drive, drive->target.paths > 1);

		if (error == -EAGAIN)
			error = try_paths(drive, false);
		if (!error)
			goto restored;
		if (drive->gone)
			end_hold(drive);
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

/* Whether the controller still leads to what we are there for. Its word is enough for the drive to
 * go. */
static int examine_again(struct nvme_tcp *drive, struct fail *fail)
{
	struct tcp_controller *controller = &drive->controller;
	struct facts now;
	int error = tcp_controller_examine(controller, &now, fail);

	if (!error)
		error = facts_compare(&drive->facts, &now, controller->admin.peer, fail);
	drive->gone = error == -ENOENT || error == -ENOTSUP || error == -EMEDIUMTYPE;
	if (error)
		return error;
	if (now.optimized != drive->now.optimized)
		log_info("event=nvme_tcp.path drive=\"%s\" path=%s optimized=%d", drive->dev.name,
			controller->admin.peer, now.optimized);
	drive->now = now;
	set_live(drive);
	return 0;
}

static void take_news(struct nvme_tcp *drive)
{
	struct tcp_news news;
	struct fail fail;
	int error = tcp_controller_take_news(&drive->controller, &news, &fail);

	if (!error && news.broken)
		error = fail_set(&fail, EIO, "%s says that its controller has failed",
			drive->controller.admin.peer);
	if (!error && (news.namespaces || news.paths))
		atomic_store(&drive->doubted, true);
	if (error && error != -ECANCELED)
		report(drive, &fail);
}

static void clear_doubt(struct nvme_tcp *drive)
{
	struct fail fail;
	int error;

	atomic_store(&drive->doubted, false); /* before we look: one that comes now is a new one */
	error = examine_again(drive, &fail);
	if (error && error != -ECANCELED)
		report(drive, &fail);
}

static void await_news(struct nvme_tcp *drive, uint64_t until_ms)
{
	struct pollfd fds[] = {{.fd = drive->wake_fd, .events = POLLIN},
		{.fd = drive->stop_fd, .events = POLLIN},
		{.fd = drive->controller.admin.fd, .events = POLLIN}};
	uint64_t now_ms = connection_clock_ms(), news;

	if (until_ms <= now_ms)
		return;
	poll(fds, ARRAY_SIZE(fds), (int)MIN(until_ms - now_ms, (uint64_t)INT_MAX));
	if (fds[0].revents && read(drive->wake_fd, &news, sizeof(news)) < 0)
		assert(errno == EAGAIN || errno == EINTR);
	/* An event, or an end. */
	if (fds[2].revents)
		take_news(drive);
}

/* Serves until the association breaks or it is time to stop, -1, or to move to the path that it
 * returns. */
static int serve(struct nvme_tcp *drive)
{
	uint64_t period_ms = drive->target.keep_alive_s * 1000 / 2;
	uint64_t due_ms = connection_clock_ms() + period_ms;
	struct fail fail;

	while (!is_stopped(drive) && !is_lost(drive)) {
		int error, better;

		if (connection_clock_ms() >= due_ms) {
			keep_alive(drive);
			due_ms = connection_clock_ms() + period_ms;
			continue;
		}
		if (tcp_controller_has_news(&drive->controller)) {
			take_news(drive);
			continue;
		}
		if (atomic_load(&drive->doubted)) {
			clear_doubt(drive);
			continue;
		}
		sweep_queues(drive);
		error = connect_queues(drive, &fail);
		if (error && error != -ECANCELED)
			report(drive, &fail);
		if (error)
			continue;
		better = paths_better(drive);
		if (better >= 0)
			return better;
		await_news(drive, MIN(due_ms, paths_due_ms(drive)));
	}
	return -1;
}

/* Leaves a path that works for a better one. */
static void move(struct nvme_tcp *drive, unsigned path)
{
	set_state(drive, NVME_TCP_RECONNECTING, "a better path is there again");
	{
		LOCK_SCOPE(&drive->mutex);

		drive->status.moves++;
	}
	log_info("event=nvme_tcp.move drive=\"%s\" from=%s to=%s:%u", drive->dev.name,
		drive->controller.admin.peer, drive->target.path[path].host,
		drive->target.path[path].port);
	drive->lost_at_ms = connection_clock_ms();
	paths_moved(drive);
	bury(drive);
	drive->path = path;
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
	paths_lost(drive);
	bury(drive);
}

void *association_keep(void *argument)
{
	struct nvme_tcp *drive = argument;
	unsigned flaps = 0; /* associations in a row that did not live long */

	while (true) {
		uint64_t since_ms = connection_clock_ms();
		int better = serve(drive);

		if (is_stopped(drive))
			break;
		if (better >= 0) {
			move(drive, (unsigned)better);
			reconnect(drive);
			continue;
		}
		flaps = connection_clock_ms() - since_ms >= STEADY_MS ? 0 : flaps + 1;
		mourn(drive);
		if (flaps > FLAPS_FREE)
			pause_ms(drive, FLAP_MS);
		/* The next path first; the same one when it is the only one. */
		drive->path = (drive->path + 1) % drive->target.paths;
		reconnect(drive);
	}
	paths_end(drive);
	drive->controller.admin.cancel_fd = -1;
	if (drive->controller.admin.fd >= 0)
		tcp_controller_disable(&drive->controller, NULL);
	tcp_controller_close(&drive->controller);
	sweep_queues(drive);
	return NULL;
}
