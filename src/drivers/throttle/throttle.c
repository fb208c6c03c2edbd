/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A drive that is only so fast: a model of one on top of another.
 *
 *	submit --> in order --served one at a time--> latency --> below, and done when that is
 *
 * Requests of one queue are served in order, each for a time of its own (so many a second, so many
 * bytes a second), and answered a fixed time after that. Each reactor's queue has the whole rate to
 * itself: the model is for benchmarks on one.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/bits.h"
#include "drivers/drivers.h"
#include "reactor/reactor.h"

enum { SERVED_MAX = 1024 };

struct throttle {
	struct blockdev dev;
	struct blockdev *below;
	struct throttle_model model;
};

struct served {
	struct io *io;
	uint64_t due_ns;
};

struct throttle_queue {
	struct blockdev_queue base;
	struct blockdev_queue *below;
	struct timer timer;
	uint64_t free_ns;      /* when all that came so far has been served */
	unsigned first, count; /* of the ring */
	struct served served[SERVED_MAX];
	struct list waiting; /* of struct io, for room in the ring */
};

static uint64_t service_ns(const struct throttle *throttle, const struct io *io)
{
	const struct throttle_model *model = &throttle->model;
	uint64_t bytes = (uint64_t)io->blocks * throttle->dev.block_bytes;
	uint64_t requests = model->requests_per_second, rate = model->bytes_per_second;
	uint64_t by_request = requests ? 1000000000 / requests : 0;
	uint64_t by_bytes = rate && io_carries_data(io) ? bytes * 1000000000 / rate : 0;

	return MAX(by_request, by_bytes);
}

static void serve(struct throttle_queue *queue, struct io *io)
{
	const struct throttle *throttle = container_of(queue->base.dev, struct throttle, dev);
	struct reactor *reactor = queue->below->reactor;
	uint64_t now_ns = reactor_now_ns(reactor);
	struct served *last;

	if (queue->count == SERVED_MAX) {
		list_push_back(&queue->waiting, &io->link);
		return;
	}
	queue->free_ns = MAX(queue->free_ns, now_ns) + service_ns(throttle, io);
	last = &queue->served[(queue->first + queue->count++) % SERVED_MAX];
	*last = (struct served){io, queue->free_ns + throttle->model.latency_ns};
	if (queue->count == 1)
		timer_start(reactor, &queue->timer, last->due_ns);
}

static void serve_due(struct timer *timer)
{
	struct throttle_queue *queue = container_of(timer, struct throttle_queue, timer);
	struct reactor *reactor = queue->below->reactor;
	uint64_t now_ns = reactor_now_ns(reactor);
	struct list_node *node;

	while (queue->count && queue->served[queue->first].due_ns <= now_ns) {
		struct io *io = queue->served[queue->first].io;

		queue->first = (queue->first + 1) % SERVED_MAX;
		queue->count--;
		io_submit(queue->below, io);
	}
	/* What was answered may have brought more, which has started the timer. */
	timer_stop(timer);
	while (queue->count < SERVED_MAX && (node = list_pop_front(&queue->waiting)))
		serve(queue, container_of(node, struct io, link));
	if (queue->count)
		timer_start(reactor, timer, queue->served[queue->first].due_ns);
}

static void throttle_submit(struct blockdev_queue *base, struct io *io)
{
	serve(container_of(base, struct throttle_queue, base), io);
}

static int throttle_open_queue(struct blockdev *dev, struct reactor *reactor,
	struct blockdev_queue **base, struct fail *fail)
{
	struct throttle *throttle = container_of(dev, struct throttle, dev);
	struct throttle_queue *queue = calloc(1, sizeof(*queue));
	int error;

	if (!queue)
		return fail_set(fail, ENOMEM, "no memory for a queue");
	error = blockdev_open_queue(throttle->below, reactor, &queue->below, fail);
	if (error) {
		free(queue);
		return error;
	}
	list_init(&queue->waiting);
	timer_init(&queue->timer, serve_due);
	*base = &queue->base;
	return 0;
}

static void throttle_close_queue(struct blockdev_queue *base)
{
	struct throttle_queue *queue = container_of(base, struct throttle_queue, base);

	assert(!queue->count && list_empty(&queue->waiting));
	blockdev_close_queue(queue->below);
	free(queue);
}

static void throttle_destroy(struct blockdev *dev)
{
	struct throttle *throttle = container_of(dev, struct throttle, dev);

	blockdev_destroy(throttle->below);
	free(throttle);
}

static const struct blockdev_ops throttle_ops = {
	.driver = "throttle",
	.open_queue = throttle_open_queue,
	.close_queue = throttle_close_queue,
	.submit = throttle_submit,
	.destroy = throttle_destroy,
};

int throttle_create(struct blockdev **dev, struct blockdev *below,
	const struct throttle_model *model, struct fail *fail)
{
	struct throttle *throttle = calloc(1, sizeof(*throttle));

	if (!throttle)
		return fail_set(fail, ENOMEM, "no memory for a throttle layer");
	throttle->dev = *below;
	throttle->dev.ops = &throttle_ops;
	throttle->below = below;
	throttle->model = *model;
	*dev = &throttle->dev;
	return 0;
}
