/* SPDX-License-Identifier: Apache-2.0 */
/* Holds requests back, each for a time of its own. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/random.h"
#include "drivers/drivers.h"
#include "reactor/reactor.h"

enum { HELD_MAX = 1024 };

struct delay {
	struct blockdev dev;
	struct blockdev *below;
	uint64_t base_ns, jitter_ns, seed;
};

struct held {
	struct timer timer;
	struct delay_queue *queue;
	struct io *io;
	struct list_node link; /* in queue->free */
};

struct delay_queue {
	struct blockdev_queue base;
	struct blockdev_queue *below;
	struct random random;
	struct list free;    /* of struct held */
	struct list waiting; /* of struct io, for a free one */
	struct held held[HELD_MAX];
};

static void hold(struct delay_queue *queue, struct io *io);

static void release(struct timer *timer)
{
	struct held *held = container_of(timer, struct held, timer);
	struct delay_queue *queue = held->queue;
	struct io *io = held->io;
	struct list_node *next;

	list_push_front(&queue->free, &held->link);
	next = list_pop_front(&queue->waiting);
	if (next)
		hold(queue, container_of(next, struct io, link));
	io_submit(queue->below, io);
}

static void hold(struct delay_queue *queue, struct io *io)
{
	struct delay *delay = container_of(queue->base.dev, struct delay, dev);
	struct list_node *node = list_pop_front(&queue->free);
	struct reactor *reactor = queue->below->reactor;
	uint64_t wait_ns = delay->base_ns;
	struct held *held;

	if (!node) {
		list_push_back(&queue->waiting, &io->link);
		return;
	}
	held = container_of(node, struct held, link);
	held->io = io;
	if (delay->jitter_ns)
		wait_ns += random_below(&queue->random, delay->jitter_ns);
	timer_start(reactor, &held->timer, reactor_now_ns(reactor) + wait_ns);
}

static void delay_submit(struct blockdev_queue *base, struct io *io)
{
	hold(container_of(base, struct delay_queue, base), io);
}

static int delay_open_queue(struct blockdev *dev, struct reactor *reactor,
	struct blockdev_queue **base, struct fail *fail)
{
	struct delay *delay = container_of(dev, struct delay, dev);
	struct delay_queue *queue = calloc(1, sizeof(*queue));
	int error;

	if (!queue)
		return fail_set(fail, ENOMEM, "no memory for a queue");
	error = blockdev_open_queue(delay->below, reactor, &queue->below, fail);
	if (error) {
		free(queue);
		return error;
	}
	queue->random.state = delay->seed + reactor_index(reactor);
	list_init(&queue->free);
	list_init(&queue->waiting);
	for (unsigned i = 0; i < HELD_MAX; i++) {
		queue->held[i].queue = queue;
		timer_init(&queue->held[i].timer, release);
		list_push_back(&queue->free, &queue->held[i].link);
	}
	*base = &queue->base;
	return 0;
}

static void delay_close_queue(struct blockdev_queue *base)
{
	struct delay_queue *queue = container_of(base, struct delay_queue, base);

	assert(list_empty(&queue->waiting));
	blockdev_close_queue(queue->below);
	free(queue);
}

static void delay_destroy(struct blockdev *dev)
{
	struct delay *delay = container_of(dev, struct delay, dev);

	blockdev_destroy(delay->below);
	free(delay);
}

static const struct blockdev_ops delay_ops = {
	.driver = "delay",
	.open_queue = delay_open_queue,
	.close_queue = delay_close_queue,
	.submit = delay_submit,
	.destroy = delay_destroy,
};

int delay_create(struct blockdev **dev, struct blockdev *below, uint64_t base_ns,
	uint64_t jitter_ns, uint64_t seed, struct fail *fail)
{
	struct delay *delay = calloc(1, sizeof(*delay));

	if (!delay)
		return fail_set(fail, ENOMEM, "no memory for a delay layer");
	delay->dev = *below;
	delay->dev.ops = &delay_ops;
	delay->below = below;
	delay->base_ns = base_ns;
	delay->jitter_ns = jitter_ns;
	delay->seed = seed;
	*dev = &delay->dev;
	return 0;
}
