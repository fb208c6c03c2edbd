/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/nvme_tcp/queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "drivers/nvme_tcp/drive.h"

enum { TICK_MS = 250 };

static uint64_t ms_from_now(const struct tcp_queue *queue, uint64_t ms)
{
	return reactor_now_ns(queue->reactor) + ms * 1000000;
}

void tcp_queue_break(struct tcp_queue *queue, const char *why)
{
	if (queue->state != QUEUE_UP)
		return;
	queue->state = QUEUE_BROKEN;
	nvme_tcp_report_loss(queue->drive, why);
}

/* --- slots ----------------------------------------------------------------------------------- */

/* Takes the next io that waits, for the slot that has become free. */
static void start(struct tcp_queue *queue, struct io *io)
{
	struct slot *slot = container_of(list_pop_front(&queue->free), struct slot, link);

	slot->io = io;
	slot->tries = slot->losses = 0;
	slot->blocks_done = 0;
	slot->by_writing = io->kind == IO_WRITE_ZEROES && !queue->limits.can_write_zeroes;
	list_push_back(&queue->busy, &slot->busy_link);
	if (!queue->used++)
		timer_start(queue->reactor, &queue->timer, ms_from_now(queue, TICK_MS));
	slot_send(queue, slot);
}

static bool has_room(const struct tcp_queue *queue)
{
	return queue->state == QUEUE_UP && queue->used < queue->limits.depth;
}

static void start_waiting(struct tcp_queue *queue)
{
	while (has_room(queue) && !list_empty(&queue->waiting))
		start(queue, container_of(list_pop_front(&queue->waiting), struct io, link));
}

static void finish(struct tcp_queue *queue, struct slot *slot, int status)
{
	struct io *io = slot->io;

	slot->state = SLOT_FREE;
	slot->io = NULL;
	list_remove(&slot->busy_link);
	list_push_front(&queue->free, &slot->link);
	if (!--queue->used)
		timer_stop(&queue->timer);
	start_waiting(queue);
	io_complete(io, status);
}

/* What the owner of an io is told. */
static int errno_of(unsigned status)
{
	switch (nvme_status_code(status)) {
	case NVME_OK:
		return 0;
	case NVME_INVALID_NAMESPACE:
		return -ENODEV;
	case NVME_NAMESPACE_WRITE_PROTECTED:
	case NVME_READ_ONLY_RANGE:
		return -EROFS;
	case NVME_CAPACITY_EXCEEDED:
		return -ENOSPC;
	default:
		return -EIO;
	}
}

/* Errors that may be gone the next time; the controller can say that they will not. */
static bool is_passing(unsigned status)
{
	switch (nvme_status_code(status)) {
	case NVME_DATA_TRANSFER_ERROR: /* a data digest was wrong at the other end */
	case NVME_ABORTED_BY_REQUEST:
	case NVME_ABORTED_SQ_DELETED:
	case NVME_COMMAND_INTERRUPTED:
	case NVME_TRANSIENT_TRANSPORT_ERROR:
	case NVME_NAMESPACE_NOT_READY:
		return !(status & NVME_STATUS_DO_NOT_RETRY);
	default:
		return false;
	}
}

/* We asked for what was right when we looked last. */
static bool is_about_namespace(unsigned status)
{
	return nvme_status_code(status) == NVME_INVALID_NAMESPACE ||
	       nvme_status_code(status) == NVME_LBA_OUT_OF_RANGE;
}

static bool is_path_error(unsigned status)
{
	return nvme_status_code(status) >> 8 == 3;
}

static void park(struct tcp_queue *queue, struct slot *slot)
{
	slot->state = SLOT_PARKED;
	slot->deadline_ns = ms_from_now(queue, TICK_MS);
}

static void try_again(struct tcp_queue *queue, struct slot *slot, int status)
{
	if (++slot->tries > QUEUE_TRIES_MAX)
		finish(queue, slot, status);
	else
		park(queue, slot);
}

static void step_done(struct tcp_queue *queue, struct slot *slot)
{
	slot->blocks_done += slot->blocks;
	slot->tries = slot->losses = 0;
	if (slot->blocks_done < slot->io->blocks)
		slot_send(queue, slot);
	else
		finish(queue, slot, 0);
}

void slot_settle(struct tcp_queue *queue, struct slot *slot)
{
	unsigned status = (unsigned)slot->status, code = nvme_status_code(status);
	const struct io *io = slot->io;

	if (!code && slot->spoiled) {
		try_again(queue, slot, -EIO);
	} else if (!code) {
		step_done(queue, slot);
	} else if (is_path_error(status)) {
		/* Another path may lead there; this one is given up with all that is on it. */
		tcp_queue_break(queue, "the namespace cannot be reached over this path any more");
		if (++slot->losses > QUEUE_LOSSES_MAX)
			finish(queue, slot, -EIO);
		else
			park(queue, slot);
	} else if (is_passing(status)) {
		try_again(queue, slot, errno_of(status));
	} else if (io->kind == IO_DISCARD &&
		   (code == NVME_INVALID_FIELD || code == NVME_INVALID_OPCODE)) {
		finish(queue, slot, 0); /* advisory */
	} else if (io->kind == IO_WRITE_ZEROES && !slot->by_writing &&
		   (code == NVME_INVALID_FIELD || code == NVME_INVALID_OPCODE)) {
		slot->by_writing = true;
		slot_send(queue, slot);
	} else {
		if (is_about_namespace(status))
			nvme_tcp_report_doubt(queue->drive);
		finish(queue, slot, errno_of(status));
	}
}

void slot_answered(struct tcp_queue *queue, struct slot *slot, unsigned status)
{
	slot->status = (int)status;
	if (slot->state == SLOT_SENDING && !slot_recall(slot)) {
		slot->state = SLOT_ANSWERED; /* pdu_left() goes on */
		return;
	}
	slot_settle(queue, slot);
}

/* --- submission ------------------------------------------------------------------------------ */

/* True when io needs no command; *status is its outcome. */
static bool is_nothing(struct tcp_queue *queue, const struct io *io, int *status)
{
	*status = 0;
	if (!blockdev_covers(queue->base.dev, io))
		*status = -EINVAL;
	else if (queue->state == QUEUE_AWAY)
		*status = -ENODEV;
	else if (io->kind == IO_FLUSH)
		return !nvme_tcp_has_cache(queue->drive);
	else if (io->kind == IO_DISCARD && !queue->limits.can_discard)
		return queue->state == QUEUE_UP; /* advisory */
	else
		return !io->blocks;
	return true;
}

/* True once after each loss in which the target may have lost what its cache held. */
static bool take_suspicion(struct tcp_queue *queue)
{
	uint64_t now = nvme_tcp_suspicions(queue->drive);
	bool news = queue->suspicions != now;

	queue->suspicions = now;
	return news;
}

void tcp_queue_submit(struct blockdev_queue *base, struct io *io)
{
	struct tcp_queue *queue = container_of(base, struct tcp_queue, base);
	int status;

	if (is_nothing(queue, io, &status))
		io_complete(io, status);
	else if (io->kind == IO_FLUSH && take_suspicion(queue))
		io_complete(io, -EIO);
	else if (has_room(queue) && list_empty(&queue->waiting))
		start(queue, io);
	else
		list_push_back(&queue->waiting, &io->link);
}

/* --- the reactor ----------------------------------------------------------------------------- */

static unsigned tcp_queue_poll(struct poller *poller)
{
	struct tcp_queue *queue = container_of(poller, struct tcp_queue, poller);
	unsigned work = 0;

	if (queue->state != QUEUE_UP || !queue->used)
		return 0;
	work = tcp_queue_send(queue);
	if (queue->state == QUEUE_UP)
		work += tcp_queue_receive(queue);
	/* What the answers have brought leaves in this turn. */
	if (queue->state == QUEUE_UP && work && !list_empty(&queue->sending))
		work += tcp_queue_send(queue);
	return work;
}

/* An edge of the socket ends the sleep; there is none for room in it. */
static bool tcp_queue_arm(struct poller *poller)
{
	const struct tcp_queue *queue = container_of(poller, struct tcp_queue, poller);

	return queue->state != QUEUE_UP || list_empty(&queue->sending);
}

/* The new controller may take fewer commands at a time than the old one. */
static bool may_fly(const struct tcp_queue *queue)
{
	const struct list_node *node;
	unsigned flying = 0;

	list_for_each (node, &queue->busy)
		flying += container_of(node, struct slot, busy_link)->state != SLOT_PARKED;
	return flying < queue->limits.depth;
}

static void tcp_queue_tick(struct timer *timer)
{
	struct tcp_queue *queue = container_of(timer, struct tcp_queue, timer);
	struct list_node *node, *after;
	uint64_t now_ns = reactor_now_ns(queue->reactor);

	timer_start(queue->reactor, timer, ms_from_now(queue, TICK_MS));
	list_for_each_safe (node, after, &queue->busy) {
		struct slot *slot = container_of(node, struct slot, busy_link);

		if (queue->state != QUEUE_UP)
			return;
		if (now_ns < slot->deadline_ns)
			continue;
		if (slot->state == SLOT_PARKED && may_fly(queue))
			slot_send(queue, slot);
		else if (slot->state != SLOT_PARKED)
			tcp_queue_break(queue, "a command was not answered in time");
	}
}

/* --- for the drive --------------------------------------------------------------------------- */

struct tcp_queue *tcp_queue_create(struct nvme_tcp *drive, struct reactor *reactor)
{
	struct tcp_queue *queue = calloc(1, sizeof(*queue));

	if (!queue)
		return NULL;
	if (nvme_tcp_copies(drive))
		queue->copy = malloc(QUEUE_COPY_BYTES);
	if (nvme_tcp_copies(drive) && !queue->copy) {
		free(queue);
		return NULL;
	}
	queue->drive = drive;
	queue->reactor = reactor;
	queue->base.dev = nvme_tcp_blockdev(drive);
	queue->fd = -1;
	list_init(&queue->free);
	list_init(&queue->busy);
	list_init(&queue->sending);
	list_init(&queue->waiting);
	for (unsigned i = 0; i < QUEUE_SLOTS; i++) {
		queue->slots[i].index = (uint8_t)i;
		list_push_back(&queue->free, &queue->slots[i].link);
	}
	timer_init(&queue->timer, tcp_queue_tick);
	queue->poller.poll = tcp_queue_poll;
	queue->poller.arm = tcp_queue_arm;
	poller_add(reactor, &queue->poller);
	return queue;
}

void tcp_queue_destroy(struct tcp_queue *queue)
{
	free(queue->copy);
	free(queue);
}

/* Those that were asked for before a loss must not vouch for what was written before it. */
static void fail_flushes(struct tcp_queue *queue)
{
	struct list_node *node, *after;
	struct list failed;
	bool any = false;

	list_init(&failed);
	list_for_each_safe (node, after, &queue->waiting) {
		if (container_of(node, struct io, link)->kind != IO_FLUSH)
			continue;
		list_remove(node);
		list_push_back(&failed, node);
	}
	list_for_each_safe (node, after, &queue->busy) {
		struct slot *slot = container_of(node, struct slot, busy_link);

		if (slot->io->kind == IO_FLUSH)
			finish(queue, slot, -EIO), any = true;
	}
	while ((node = list_pop_front(&failed)))
		io_complete(container_of(node, struct io, link), -EIO), any = true;
	if (any)
		queue->suspicions = nvme_tcp_suspicions(queue->drive);
}

void tcp_queue_attach(struct tcp_queue *queue, int fd, const struct queue_limits *limits)
{
	struct list_node *node;

	assert(queue->state == QUEUE_DOWN || queue->state == QUEUE_AWAY);
	queue->fd = fd;
	queue->limits = *limits;
	tcp_queue_reset_input(queue);
	if (queue->suspicions != nvme_tcp_suspicions(queue->drive))
		fail_flushes(queue);
	queue->state = QUEUE_UP;
	list_for_each (node, &queue->busy)
		if (may_fly(queue))
			slot_send(queue, container_of(node, struct slot, busy_link));
	start_waiting(queue);
	if (reactor_watch(queue->reactor, fd))
		tcp_queue_break(queue, "the reactor cannot watch the connection");
}

int tcp_queue_detach(struct tcp_queue *queue, bool *doubtful)
{
	struct list_node *node, *after;
	int fd = queue->fd;

	if (queue->state != QUEUE_UP && queue->state != QUEUE_BROKEN)
		return -1;
	queue->state = QUEUE_DOWN;
	queue->fd = -1;
	reactor_unwatch(queue->reactor, fd);
	list_init(&queue->sending);
	list_for_each_safe (node, after, &queue->busy) {
		struct slot *slot = container_of(node, struct slot, busy_link);
		bool flying = slot->state != SLOT_PARKED;

		*doubtful |= flying && slot->doubtful;
		park(queue, slot);
		slot->losses += flying;
		if (slot->losses > QUEUE_LOSSES_MAX)
			finish(queue, slot, -EIO);
	}
	return fd;
}

void tcp_queue_close(struct tcp_queue *queue)
{
	assert(!queue->used && list_empty(&queue->waiting));
	poller_remove(&queue->poller);
	timer_stop(&queue->timer);
	if (queue->state != QUEUE_UP && queue->state != QUEUE_BROKEN)
		return;
	reactor_unwatch(queue->reactor, queue->fd);
	close(queue->fd);
	queue->state = QUEUE_DOWN;
}

void tcp_queue_give_up(struct tcp_queue *queue)
{
	struct list_node *node;

	if (queue->state != QUEUE_DOWN)
		return;
	queue->state = QUEUE_AWAY;
	while ((node = list_first(&queue->busy)))
		finish(queue, container_of(node, struct slot, busy_link), -ENODEV);
	while ((node = list_pop_front(&queue->waiting)))
		io_complete(container_of(node, struct io, link), -ENODEV);
}
