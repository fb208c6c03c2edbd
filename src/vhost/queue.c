/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/queue.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/counter.h"

/* Of one queue: a guest that breaks it again and again does not flood the log. */
enum { LOG_LINES_PER_SECOND = 2 };

/* A counter or a pipe that is full has something to be read already. */
void signal_fd(int fd)
{
	uint64_t one = 1;

	if (fd >= 0 && write(fd, &one, sizeof(one)) < 0)
		return;
}

static bool is_broken(const struct queue *queue)
{
	return atomic_load_explicit(&queue->broken, memory_order_relaxed);
}

/* The ring makes no sense: it is not touched any more. What is in flight is completed towards the
 * members, and forgotten. */
static void break_queue(struct queue *queue, const struct fail *fail)
{
	snprintf(queue->reason, sizeof(queue->reason), "%s", fail->text);
	atomic_store(&queue->broken, true);
	log_warning(
		"event=VhostQueueBroken controller=%s reason=\"%s\" effect=\"this queue stops; the "
		"guest must reset the device\"",
		queue->device->controller, fail->text);
	signal_fd(queue->error_fd);
}

void queue_complete(struct queue_request *request, enum virtio_blk_status status)
{
	struct queue *queue = request->queue;

	queue->in_flight--;
	queue->parked = false;
	if (status != VIRTIO_BLK_S_OK)
		counter_add(&queue->counters.errors, 1);
	list_push_front(&queue->free, &request->io.link);
	if (is_broken(queue))
		return;
	*request->status = (uint8_t)status;
	/* The length counts from the first writable byte on: the status, which is the last, is
	 * in it only if everything before it was written too. VIRTIO 1.2, 2.7.8.2 */
	virtq_put(&queue->ring, &request->chain,
		request->written + (request->written + 1 == request->chain.writable_bytes));
}

/* --- what a broken array cannot serve -------------------------------------------------------- */

bool queue_hold(struct queue_request *request)
{
	struct queue *queue = request->queue;

	if (queue->offline == OFFLINE_FAILS || is_broken(queue))
		return false;
	if (queue->offline == OFFLINE_LEAVES) {
		queue->in_flight--;
		list_push_front(&queue->free, &request->io.link);
		return true;
	}
	if (list_empty(&queue->held))
		log_warning("event=RequestsHeld controller=%s effect=\"the guest waits\" "
			    "why=\"the array is broken\" cure=\"bring its drives back, then braid "
			    "array stop --connected and braid array start\"",
			queue->device->controller);
	list_push_back(&queue->held, &request->io.link);
	counter_add(&queue->counters.held, 1);
	return true;
}

/* Held requests are answered, or left. */
static void release_held(struct queue *queue)
{
	struct list_node *node;

	while ((node = list_pop_front(&queue->held))) {
		struct queue_request *request =
			container_of(container_of(node, struct io, link), struct queue_request, io);

		counter_add(&queue->counters.held, (uint64_t)-1);
		request->written = 0;
		if (!queue_hold(request))
			queue_complete(request, VIRTIO_BLK_S_IOERR);
	}
}

static int leave_on_reactor(void *argument)
{
	struct queue *queue = argument;

	queue->offline = OFFLINE_LEAVES;
	release_held(queue);
	return 0;
}

void queue_leave_held(struct queue *queue)
{
	if (queue->running && queue->device->region && queue->device->holds)
		reactor_call(queue->reactor, leave_on_reactor, queue);
}

void queue_refuse(struct queue_request *request, const struct fail *fail)
{
	struct queue *queue = request->queue;

	queue->in_flight--;
	list_push_front(&queue->free, &request->io.link);
	break_queue(queue, fail);
}

/* Takes a batch of chains and starts them. */
static unsigned take_batch(struct queue *queue)
{
	const struct guest_memory *memory = queue->device->memory;
	struct fail fail;
	unsigned taken = 0;

	while (taken < QUEUE_BATCH) {
		struct list_node *node = list_first(&queue->free);
		struct queue_request *request;
		int result;

		if (!node) {
			queue->parked = true;
			break;
		}
		request =
			container_of(container_of(node, struct io, link), struct queue_request, io);
		result = queue->draining
				 ? virtq_take_again(&queue->ring, memory, &request->chain, &fail)
				 : virtq_take(&queue->ring, memory, &request->chain, &fail);
		if (result < 0)
			break_queue(queue, &fail);
		if (result <= 0)
			break;
		list_remove(node);
		queue->in_flight++;
		counter_add(&queue->counters.requests, 1);
		taken++;
		blk_execute(request);
		if (is_broken(queue))
			break;
	}
	return taken;
}

/* Shows the driver what has been answered. */
static void publish(struct queue *queue)
{
	if (!virtq_publish(&queue->ring))
		return;
	counter_add(&queue->counters.notifications, 1);
	signal_fd(queue->call_fd);
}

/* Whether the front end has cut short what it shares with us. */
static bool is_cut(const struct queue_device *device)
{
	return atomic_load_explicit(&device->memory->cut, memory_order_relaxed) ||
	       (device->region && inflight_region_cut(device->region));
}

static unsigned queue_poll(struct poller *poller)
{
	struct queue *queue = container_of(poller, struct queue, poller);
	struct fail fail;
	unsigned work;

	if (is_broken(queue))
		return 0;
	if (is_cut(queue->device)) {
		fail_set(&fail, EFAULT,
			"the front end cut the guest's memory or the inflight region short");
		break_queue(queue, &fail);
		return 0;
	}
	work = take_batch(queue);
	publish(queue);
	return work;
}

static bool queue_arm(struct poller *poller)
{
	struct queue *queue = container_of(poller, struct queue, poller);

	if (is_broken(queue))
		return true;
	if (queue->kick_fd < 0)
		return false; /* the driver does not notify: somebody has to look */
	if (virtq_waiting(&queue->ring) && !queue->parked)
		return false;
	queue->sleeping = true;
	/* A parked queue goes on when a request completes, not when the driver adds more. */
	return virtq_want_notification(&queue->ring) || queue->parked;
}

static void queue_disarm(struct poller *poller)
{
	struct queue *queue = container_of(poller, struct queue, poller);

	if (queue->sleeping && !is_broken(queue))
		virtq_refuse_notification(&queue->ring);
	queue->sleeping = false;
}

static int start_on_reactor(void *argument)
{
	struct queue *queue = argument;

	if (queue->kick_fd >= 0 && reactor_watch(queue->reactor, queue->kick_fd))
		return -EINVAL;
	virtq_refuse_notification(&queue->ring);
	poller_add(queue->reactor, &queue->poller);
	return 0;
}

static int allocate_requests(struct queue *queue)
{
	unsigned count = MIN((unsigned)queue->size, (unsigned)QUEUE_REQUESTS_MAX);

	queue->requests = calloc(count, sizeof(queue->requests[0]));
	if (!queue->requests)
		return -ENOMEM;
	list_init(&queue->free);
	for (unsigned i = 0; i < count; i++) {
		queue->requests[i].queue = queue;
		list_push_back(&queue->free, &queue->requests[i].io.link);
	}
	queue->request_count = count;
	return 0;
}

int queue_start(struct queue *queue, struct fail *fail)
{
	int error;

	assert(!queue->running && queue->size && queue->device->memory);
	queue->poller = (struct poller){queue_poll, queue_arm, queue_disarm, {NULL, NULL}};
	atomic_store(&queue->broken, false);
	queue->sleeping = queue->parked = queue->draining = false;
	queue->offline = queue->device->holds ? OFFLINE_HOLDS : OFFLINE_FAILS;
	list_init(&queue->held);
	queue->in_flight = 0;
	if (allocate_requests(queue))
		return fail_set(fail, ENOMEM, "no memory for the requests of a queue");
	error = blockdev_open_queue(queue->device->dev, queue->reactor, &queue->blocks, fail);
	if (error)
		goto free_requests;
	error = reactor_call(queue->reactor, start_on_reactor, queue);
	if (error) {
		error = fail_set(fail, -error, "the kick descriptor cannot be waited for");
		goto close_queue;
	}
	queue->running = true;
	return 0;

close_queue:
	blockdev_close_queue(queue->blocks);
free_requests:
	free(queue->requests);
	queue->requests = NULL;
	return error;
}

static int park_on_reactor(void *argument)
{
	struct queue *queue = argument;

	poller_remove(&queue->poller);
	queue->draining = true;
	if (queue->offline == OFFLINE_HOLDS)
		queue->offline = OFFLINE_FAILS;
	release_held(queue);
	if (queue->kick_fd >= 0)
		reactor_unwatch(queue->reactor, queue->kick_fd);
	return 0;
}

/* 1: something is still in flight, or waits to be carried out again. */
static int drained_on_reactor(void *argument)
{
	struct queue *queue = argument;

	if (!is_broken(queue)) {
		take_batch(queue);
		publish(queue);
	}
	return queue->in_flight || (!is_broken(queue) && virtq_waiting(&queue->ring));
}

void queue_stop(struct queue *queue)
{
	if (!queue->running)
		return;
	reactor_call(queue->reactor, park_on_reactor, queue);
	while (reactor_call(queue->reactor, drained_on_reactor, queue))
		usleep(50);
	blockdev_close_queue(queue->blocks);
	free(queue->requests);
	queue->requests = NULL;
	virtq_release(&queue->ring);
	queue->running = false;
}
