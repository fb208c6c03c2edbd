/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/nvme/queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/bits.h"
#include "drivers/nvme/ring.h"

enum { TICK_NS = 100 * 1000 * 1000, HELD_TICK_NS = 5 * 1000 * 1000 };

static void want_tick(struct nvme_queue *queue, uint64_t in_ns)
{
	if (queue->ticking)
		return;
	queue->ticking = true;
	timer_start(queue->reactor, &queue->tick, reactor_now_ns(queue->reactor) + in_ns);
}

/* --- an io's way ----------------------------------------------------------------------------- */

static void finish(struct nvme_queue *queue, struct nvme_slot *slot, int status)
{
	struct io *io = slot->io;

	slot->state = NVME_SLOT_FREE;
	slot->io = NULL;
	queue->free[queue->free_count++] = (uint16_t)(slot - queue->slots);
	io_complete(io, status);
}

static void hold(struct nvme_queue *queue, struct nvme_slot *slot, struct list *held)
{
	slot->state = NVME_SLOT_HELD;
	list_push_back(held, &slot->link);
	if (queue->ticking)
		timer_stop(&queue->tick);
	queue->ticking = false;
	want_tick(queue, HELD_TICK_NS);
}

static void step(struct nvme_queue *queue, struct nvme_slot *slot)
{
	struct nvme_command *entry = &queue->ring.submission[queue->ring.tail];

	switch (nvme_command_make(queue, slot, entry)) {
	case NVME_STEP_SENT:
		break;
	case NVME_STEP_NOTHING:
		finish(queue, slot, 0);
		return;
	case NVME_STEP_LATER:
		hold(queue, slot, &queue->starved);
		return;
	}
	ring_next(&queue->ring);
	slot->id = (uint16_t)(slot->id + (1 << NVME_ID_INDEX_BITS));
	entry->id = le16_of(slot->id);
	slot->state = NVME_SLOT_SENT;
	slot->sent_ns = reactor_now_ns(queue->reactor);
	queue->in_flight++;
	want_tick(queue, TICK_NS);
}

static void start(struct nvme_device_queue *owner, struct io *io)
{
	struct nvme_queue *queue = owner->queue;
	struct nvme_slot *slot = &queue->slots[queue->free[--queue->free_count]];

	assert(slot->state == NVME_SLOT_FREE);
	slot->io = io;
	slot->owner = owner;
	slot->done_blocks = 0;
	slot->tries = 0;
	step(queue, slot);
}

static void nvme_submit(struct blockdev_queue *base, struct io *io)
{
	struct nvme_device_queue *owner = container_of(base, struct nvme_device_queue, base);

	if (!blockdev_covers(base->dev, io)) {
		io_complete(io, -EINVAL);
	} else if (!io->blocks && io->kind != IO_FLUSH) {
		io_complete(io, 0);
	} else if (!owner->blocked && owner->queue->free_count && list_empty(&owner->waiting)) {
		start(owner, io);
	} else if (owner->relay) {
		nvme_relay_submit(owner->relay, io);
	} else if (owner->dead_status) {
		io_complete(io, owner->dead_status);
	} else {
		list_push_back(&owner->waiting, &io->link);
		owner->queue->waiting++;
	}
}

/* Ios that waited for a slot, one of each device in turn. */
static void feed(struct nvme_queue *queue)
{
	struct list_node *node, *after;
	bool fed = true;

	while (fed && queue->waiting && queue->free_count) {
		fed = false;
		list_for_each_safe (node, after, &queue->owners) {
			struct nvme_device_queue *owner =
				container_of(node, struct nvme_device_queue, link);
			struct list_node *first;

			if (owner->blocked || !queue->free_count)
				continue;
			first = list_pop_front(&owner->waiting);
			if (!first)
				continue;
			queue->waiting--;
			start(owner, container_of(first, struct io, link));
			fed = true;
		}
	}
}

/* --- completions ----------------------------------------------------------------------------- */

/* Whether the same command may well succeed a little later. */
static bool is_transient(unsigned status)
{
	if (status & NVME_STATUS_DO_NOT_RETRY)
		return false;
	switch (nvme_status_code(status)) {
	case NVME_ABORTED_BY_REQUEST:
	case NVME_ABORTED_SQ_DELETED:
	case NVME_NAMESPACE_NOT_READY:
	case NVME_COMMAND_INTERRUPTED:
	case NVME_TRANSIENT_TRANSPORT_ERROR:
	case NVME_INTERNAL_ERROR:
	case NVME_DATA_TRANSFER_ERROR:
		return true;
	default:
		return false;
	}
}

static void failed(struct nvme_queue *queue, struct nvme_slot *slot, unsigned status)
{
	if (is_transient(status) && ++slot->tries < NVME_TRIES_MAX) {
		hold(queue, slot, &queue->held);
		return;
	}
	switch (nvme_status_code(status)) {
	case NVME_INVALID_NAMESPACE:
	case NVME_LBA_OUT_OF_RANGE:
	case NVME_INVALID_FIELD:
	case NVME_CAPACITY_EXCEEDED:
	case NVME_NAMESPACE_WRITE_PROTECTED:
		/* We asked for what was right when we looked last. */
		nvme_trouble(queue->nvme, NVME_TROUBLE_NAMESPACE);
		break;
	default:
		break;
	}
	finish(queue, slot, -EIO);
}

/* False: the completion answers nothing that we asked. */
static bool complete(struct nvme_queue *queue, const struct nvme_completion *completion)
{
	unsigned id = le16_get(completion->id), index = id & NVME_ID_INDEX_MASK, status;
	struct nvme_slot *slot;

	if (index >= queue->slot_count)
		return false;
	slot = &queue->slots[index];
	if (slot->state != NVME_SLOT_SENT || slot->id != id ||
		le16_get(completion->sq_id) != queue->id ||
		le16_get(completion->sq_head) >= queue->ring.entries)
		return false;
	queue->in_flight--;
	status = nvme_status_of(completion);
	nvme_command_end(queue, slot, !nvme_status_code(status));
	if (__builtin_expect(nvme_status_code(status) != NVME_OK, 0)) {
		failed(queue, slot, status);
		return true;
	}
	slot->done_blocks += slot->step_blocks;
	if (slot->done_blocks < slot->io->blocks)
		step(queue, slot);
	else
		finish(queue, slot, 0);
	return true;
}

/* Steps that waited for bounce memory, until one waits again. */
static void feed_starved(struct nvme_queue *queue)
{
	while (!list_empty(&queue->starved)) {
		struct list_node *node = list_pop_front(&queue->starved);
		struct nvme_slot *slot = container_of(node, struct nvme_slot, link);

		step(queue, slot);
		if (slot->state != NVME_SLOT_HELD)
			continue;
		list_remove(node);
		list_push_front(&queue->starved, node); /* it stays the first */
		return;
	}
}

static void set_blocked(struct nvme_queue *queue)
{
	struct list_node *node;

	list_for_each (node, &queue->owners) {
		struct nvme_device_queue *owner =
			container_of(node, struct nvme_device_queue, link);

		owner->blocked = queue->state != NVME_QUEUE_OPEN || owner->dead_status;
	}
}

void nvme_queue_stop(struct nvme_queue *queue)
{
	if (queue->state == NVME_QUEUE_OPEN)
		queue->state = NVME_QUEUE_STOPPED;
	set_blocked(queue);
}

static unsigned nvme_poll(struct poller *poller)
{
	struct nvme_queue *queue = container_of(poller, struct nvme_queue, poller);
	struct nvme_completion completion;
	unsigned count = 0, submitted;

	if (queue->state != NVME_QUEUE_OPEN)
		return 0;
	while (count < queue->ring.entries && ring_take(&queue->ring, &completion)) {
		count++;
		if (__builtin_expect(complete(queue, &completion), 1))
			continue;
		/* Whatever it says from now on is not believed. */
		nvme_queue_stop(queue);
		nvme_trouble(queue->nvme, NVME_TROUBLE_GARBAGE);
		return count;
	}
	if (count)
		ring_release(&queue->ring);
	if (count && !list_empty(&queue->starved))
		feed_starved(queue);
	if (queue->waiting)
		feed(queue);
	submitted = queue->ring.tail != queue->ring.rung;
	ring_submit(&queue->ring);
	return count + submitted;
}

/* There are no interrupts: while something is in flight the reactor stays awake. */
static bool nvme_arm(struct poller *poller)
{
	struct nvme_queue *queue = container_of(poller, struct nvme_queue, poller);

	return queue->state != NVME_QUEUE_OPEN ||
	       (!queue->in_flight && queue->ring.tail == queue->ring.rung &&
		       !(queue->waiting && queue->free_count));
}

/* --- time ------------------------------------------------------------------------------------ */

static bool is_overdue(const struct nvme_queue *queue, const struct nvme_slot *slot)
{
	uint64_t deadline_ns = queue->nvme->options.deadline_ms * 1000000ull;

	return slot->state == NVME_SLOT_SENT &&
	       reactor_now_ns(queue->reactor) - slot->sent_ns >= deadline_ns;
}

unsigned nvme_queue_overdue(struct nvme_queue *queue, uint16_t ids[NVME_OVERDUE_MAX])
{
	unsigned count = 0;

	for (unsigned i = 0; i < queue->slot_count && count < NVME_OVERDUE_MAX; i++)
		if (is_overdue(queue, &queue->slots[i]))
			ids[count++] = queue->slots[i].id;
	return count;
}

static void retry_held(struct nvme_queue *queue)
{
	struct list held;

	list_init(&held);
	list_append_all(&held, &queue->held);
	while (!list_empty(&held))
		step(queue, container_of(list_pop_front(&held), struct nvme_slot, link));
}

static void nvme_tick(struct timer *timer)
{
	struct nvme_queue *queue = container_of(timer, struct nvme_queue, tick);
	uint16_t ids[NVME_OVERDUE_MAX];

	queue->ticking = false;
	if (queue->state != NVME_QUEUE_OPEN)
		return;
	if (nvme_queue_overdue(queue, ids))
		nvme_trouble(queue->nvme, NVME_TROUBLE_OVERDUE);
	retry_held(queue);
	feed_starved(queue);
	if (queue->in_flight)
		want_tick(queue, TICK_NS);
}

/* --- the watcher ----------------------------------------------------------------------------- */

void nvme_queue_reset(struct nvme_queue *queue)
{
	ring_reset(&queue->ring);
}

void nvme_queue_go(struct nvme_queue *queue)
{
	uint16_t sent[NVME_SLOTS_MAX];
	unsigned count = 0;

	assert(queue->state == NVME_QUEUE_STOPPED);
	queue->state = NVME_QUEUE_OPEN;
	set_blocked(queue);
	for (uint16_t i = 0; i < queue->slot_count; i++)
		if (queue->slots[i].state == NVME_SLOT_SENT)
			sent[count++] = i;
	queue->in_flight = 0;
	/* First every slot loses its command; done() may submit anew then. */
	for (unsigned i = 0; i < count; i++) {
		queue->slots[sent[i]].state = NVME_SLOT_HELD;
		nvme_command_end(queue, &queue->slots[sent[i]], false);
	}
	for (unsigned i = 0; i < count; i++) {
		struct nvme_slot *slot = &queue->slots[sent[i]];

		if (slot->owner->dead_status)
			finish(queue, slot, slot->owner->dead_status);
		else if (++slot->tries >= NVME_TRIES_MAX)
			finish(queue, slot, -EIO);
		else
			step(queue, slot);
	}
	if (!list_empty(&queue->held) || !list_empty(&queue->starved))
		want_tick(queue, HELD_TICK_NS);
}

static void end_waiting(struct nvme_queue *queue, struct nvme_device_queue *owner, int status)
{
	owner->dead_status = status;
	owner->blocked = true;
	while (!list_empty(&owner->waiting)) {
		struct list_node *node = list_pop_front(&owner->waiting);

		queue->waiting--;
		io_complete(container_of(node, struct io, link), status);
	}
}

void nvme_queue_kill(struct nvme_queue *queue, int status)
{
	struct list_node *node, *after;

	assert(status < 0);
	queue->state = NVME_QUEUE_DEAD;
	queue->dead_status = status;
	timer_stop(&queue->tick);
	queue->ticking = false;
	queue->in_flight = 0;
	list_for_each_safe (node, after, &queue->owners)
		end_waiting(queue, container_of(node, struct nvme_device_queue, link), status);
	list_append_all(&queue->held, &queue->starved);
	while (!list_empty(&queue->held))
		list_pop_front(&queue->held);
	for (unsigned i = 0; i < queue->slot_count; i++) {
		struct nvme_slot *slot = &queue->slots[i];

		if (slot->state == NVME_SLOT_FREE)
			continue;
		nvme_command_end(queue, slot, false);
		finish(queue, slot, status);
	}
}

void nvme_queue_fail_device(struct nvme_queue *queue, struct nvme_device *device, int status)
{
	struct list_node *node, *after;

	list_for_each_safe (node, after, &queue->owners) {
		struct nvme_device_queue *owner =
			container_of(node, struct nvme_device_queue, link);

		if (owner->device == device && !owner->dead_status)
			end_waiting(queue, owner, status);
	}
}

/* --- the block face -------------------------------------------------------------------------- */

void nvme_queue_join(struct nvme_queue *queue, struct nvme_device_queue *owner)
{
	owner->queue = queue;
	owner->dead_status = queue->state == NVME_QUEUE_DEAD ? queue->dead_status : 0;
	if (atomic_load(&owner->device->failed))
		owner->dead_status = -EIO;
	nvme_command_templates(owner);
	list_init(&owner->waiting);
	if (list_empty(&queue->owners))
		poller_add(queue->reactor, &queue->poller);
	list_push_back(&queue->owners, &owner->link);
	set_blocked(queue);
}

void nvme_queue_leave(struct nvme_device_queue *owner)
{
	struct nvme_queue *queue = owner->queue;

	assert(list_empty(&owner->waiting));
	for (unsigned i = 0; i < queue->slot_count; i++)
		assert(queue->slots[i].state == NVME_SLOT_FREE || queue->slots[i].owner != owner);
	list_remove(&owner->link);
	if (list_empty(&queue->owners)) {
		poller_remove(&queue->poller);
		timer_stop(&queue->tick);
		queue->ticking = false;
	}
}

/* The queue pair of the reactor, or that of another one which works for it. */
static struct nvme_queue *queue_for(const struct nvme *nvme, const struct reactor *reactor)
{
	unsigned reactors = reactor_count(nvme->options.group);
	unsigned place = reactor_index(reactor) + reactors - nvme->first_reactor;

	return nvme->queues[place % reactors % nvme->queue_count];
}

static int nvme_open_queue(struct blockdev *dev, struct reactor *reactor,
	struct blockdev_queue **base, struct fail *fail)
{
	struct nvme_device *device = container_of(dev, struct nvme_device, dev);
	struct nvme_queue *queue = queue_for(device->nvme, reactor);
	struct nvme_device_queue *owner;

	if (queue->reactor != reactor)
		owner = nvme_relay_open(device, reactor, queue);
	else
		owner = calloc(1, sizeof(*owner));
	if (!owner)
		return fail_set(fail, ENOMEM, "no memory for a queue");
	if (!owner->relay) {
		owner->device = device;
		nvme_queue_join(queue, owner);
	}
	atomic_fetch_add(&device->nvme->open_queues, 1);
	*base = &owner->base;
	return 0;
}

static void nvme_close_queue(struct blockdev_queue *base)
{
	struct nvme_device_queue *owner = container_of(base, struct nvme_device_queue, base);
	struct nvme *nvme = owner->device->nvme;

	if (owner->relay) {
		nvme_relay_close(owner->relay);
	} else {
		nvme_queue_leave(owner);
		free(owner);
	}
	atomic_fetch_sub(&nvme->open_queues, 1);
}

/* Devices go with their controller: nvme_detach(). */
static void nvme_destroy_device(struct blockdev *dev)
{
	(void)dev;
}

const struct blockdev_ops nvme_ops = {
	.driver = "nvme",
	.open_queue = nvme_open_queue,
	.close_queue = nvme_close_queue,
	.submit = nvme_submit,
	.destroy = nvme_destroy_device,
};

/* --- life ------------------------------------------------------------------------------------ */

static void place_ring(struct nvme_queue *queue, unsigned index, unsigned entries)
{
	struct nvme *nvme = queue->nvme;
	unsigned stride = nvme_cap_stride(nvme->cap);
	size_t at = NVME_QUEUES + (size_t)index * NVME_QUEUE_BYTES;
	volatile char *registers = nvme->bus->registers;

	queue->id = (uint16_t)(index + 1);
	queue->ring = (struct nvme_ring){
		.submission = (void *)(nvme->memory + at + NVME_QUEUE_SUBMISSION),
		.completion = (void *)(nvme->memory + at + NVME_QUEUE_COMPLETION),
		.submission_iova = nvme->memory_iova + at + NVME_QUEUE_SUBMISSION,
		.completion_iova = nvme->memory_iova + at + NVME_QUEUE_COMPLETION,
		.submission_doorbell =
			(volatile void *)(registers + nvme_doorbell_submission(queue->id, stride)),
		.completion_doorbell =
			(volatile void *)(registers + nvme_doorbell_completion(queue->id, stride)),
		.entries = (uint16_t)entries,
	};
	queue->bounce = nvme->memory + at + NVME_QUEUE_BOUNCE;
	queue->bounce_iova = nvme->memory_iova + at + NVME_QUEUE_BOUNCE;
	for (unsigned i = 0; i < queue->slot_count; i++) {
		size_t list = at + NVME_QUEUE_LISTS + i * NVME_LIST_BYTES;

		queue->slots[i].list = (void *)(nvme->memory + list);
		queue->slots[i].list_iova = nvme->memory_iova + list;
	}
}

struct nvme_queue *nvme_queue_create(
	struct nvme *nvme, unsigned index, struct reactor *reactor, unsigned entries)
{
	struct nvme_queue *queue = calloc(1, sizeof(*queue));

	if (!queue)
		return NULL;
	queue->nvme = nvme;
	queue->reactor = reactor;
	queue->poller.poll = nvme_poll;
	queue->poller.arm = nvme_arm;
	list_init(&queue->held);
	list_init(&queue->starved);
	list_init(&queue->owners);
	timer_init(&queue->tick, nvme_tick);
	queue->slot_count = entries - 1;
	for (unsigned i = 0; i < queue->slot_count; i++) {
		queue->slots[i].id = (uint16_t)i;
		/* The lowest is taken first. */
		queue->free[queue->free_count++] = (uint16_t)(queue->slot_count - 1 - i);
	}
	place_ring(queue, index, entries);
	return queue;
}

void nvme_queue_destroy(struct nvme_queue *queue)
{
	if (!queue)
		return;
	assert(list_empty(&queue->owners) && queue->free_count == queue->slot_count);
	free(queue);
}
