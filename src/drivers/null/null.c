/* SPDX-License-Identifier: Apache-2.0 */
/* A device that costs nothing: what remains when it is measured is everyone else's cost. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "drivers/drivers.h"

static int null_open_queue(struct blockdev *dev, struct reactor *reactor,
	struct blockdev_queue **queue, struct fail *fail)
{
	(void)dev, (void)reactor;
	*queue = calloc(1, sizeof(**queue));
	return *queue ? 0 : fail_set(fail, ENOMEM, "no memory for a queue");
}

static void null_close_queue(struct blockdev_queue *queue)
{
	free(queue);
}

static void null_submit(struct blockdev_queue *queue, struct io *io)
{
	io_complete(io, blockdev_covers(queue->dev, io) ? 0 : -EINVAL);
}

static void null_destroy(struct blockdev *dev)
{
	free(dev);
}

static const struct blockdev_ops null_ops = {
	.driver = "null",
	.open_queue = null_open_queue,
	.close_queue = null_close_queue,
	.submit = null_submit,
	.destroy = null_destroy,
};

int null_create(struct blockdev **dev, const char *name, uint64_t bytes, uint32_t block_bytes,
	struct fail *fail)
{
	*dev = calloc(1, sizeof(**dev));
	if (!*dev)
		return fail_set(fail, ENOMEM, "no memory for drive %s", name);
	**dev = (struct blockdev){
		.ops = &null_ops,
		.block_bytes = block_bytes,
		.blocks = bytes / block_bytes,
	};
	snprintf((*dev)->name, sizeof((*dev)->name), "%s", name);
	return 0;
}
