/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/volume.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct volume {
	struct blockdev dev;
	struct blockdev *below;
	uint64_t first;
};

struct volume_queue {
	struct blockdev_queue base;
	struct blockdev_queue *below;
	uint64_t first;
};

static void volume_submit(struct blockdev_queue *base, struct io *io)
{
	struct volume_queue *queue = container_of(base, struct volume_queue, base);

	if (!blockdev_covers(base->dev, io)) {
		io_complete(io, -EINVAL);
		return;
	}
	io->block += queue->first;
	io_submit(queue->below, io);
}

static int volume_open_queue(struct blockdev *dev, struct reactor *reactor,
	struct blockdev_queue **base, struct fail *fail)
{
	struct volume *volume = container_of(dev, struct volume, dev);
	struct volume_queue *queue = calloc(1, sizeof(*queue));
	int error;

	if (!queue)
		return fail_set(fail, ENOMEM, "no memory for a queue");
	queue->first = volume->first;
	error = blockdev_open_queue(volume->below, reactor, &queue->below, fail);
	if (error) {
		free(queue);
		return error;
	}
	*base = &queue->base;
	return 0;
}

static void volume_close_queue(struct blockdev_queue *base)
{
	struct volume_queue *queue = container_of(base, struct volume_queue, base);

	blockdev_close_queue(queue->below);
	free(queue);
}

static void volume_destroy(struct blockdev *dev)
{
	free(container_of(dev, struct volume, dev));
}

static const struct blockdev_ops volume_ops = {
	.driver = "volume",
	.open_queue = volume_open_queue,
	.close_queue = volume_close_queue,
	.submit = volume_submit,
	.destroy = volume_destroy,
};

int volume_create(struct blockdev **dev, const char *name, struct blockdev *below, uint64_t first,
	uint64_t blocks, struct fail *fail)
{
	struct volume *volume = calloc(1, sizeof(*volume));

	if (!volume)
		return fail_set(fail, ENOMEM, "no memory for volume %s", name);
	assert(first <= below->blocks && blocks <= below->blocks - first);
	assert(!below->best_blocks ||
		(first % below->best_blocks == 0 && blocks % below->best_blocks == 0));
	volume->dev = *below;
	volume->dev.ops = &volume_ops;
	volume->dev.blocks = blocks;
	volume->dev.user[0] = '\0';
	snprintf(volume->dev.name, sizeof(volume->dev.name), "%s", name);
	volume->below = below;
	volume->first = first;
	*dev = &volume->dev;
	return 0;
}

uint64_t volume_first(const struct blockdev *dev)
{
	return container_of(dev, struct volume, dev)->first;
}
