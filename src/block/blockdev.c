/* SPDX-License-Identifier: Apache-2.0 */
#include "block/blockdev.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "reactor/reactor.h"

struct open_call {
	struct blockdev *dev;
	struct reactor *reactor;
	struct blockdev_queue *queue;
	struct fail *fail;
};

static int open_on_reactor(void *argument)
{
	struct open_call *call = argument;
	int error = call->dev->ops->open_queue(call->dev, call->reactor, &call->queue, call->fail);

	if (error)
		return error;
	call->queue->dev = call->dev;
	call->queue->reactor = call->reactor;
	call->queue->submit = call->dev->ops->submit;
	return 0;
}

int blockdev_open_queue(struct blockdev *dev, struct reactor *reactor,
	struct blockdev_queue **queue, struct fail *fail)
{
	struct open_call call = {.dev = dev, .reactor = reactor, .fail = fail};
	int error = reactor_call(reactor, open_on_reactor, &call);

	*queue = call.queue;
	return error;
}

static int close_on_reactor(void *argument)
{
	struct blockdev_queue *queue = argument;

	queue->dev->ops->close_queue(queue);
	return 0;
}

void blockdev_close_queue(struct blockdev_queue *queue)
{
	reactor_call(queue->reactor, close_on_reactor, queue);
}

int blockdev_claim(struct blockdev *dev, const char *user, struct fail *fail)
{
	assert(user[0]);
	if (dev->user[0])
		return fail_set(fail, EBUSY,
			"%s is in use by %s: choose another, or delete that first", dev->name,
			dev->user);
	snprintf(dev->user, sizeof(dev->user), "%s", user);
	return 0;
}

void blockdev_release(struct blockdev *dev)
{
	assert(dev->user[0]);
	dev->user[0] = '\0';
}
