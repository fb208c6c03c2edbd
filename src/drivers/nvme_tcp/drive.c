/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/nvme_tcp/drive.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/cleanup.h"

static const struct blockdev_ops nvme_tcp_ops;

static struct nvme_tcp *drive_of(const struct blockdev *dev)
{
	assert(dev->ops == &nvme_tcp_ops);
	return container_of((struct blockdev *)dev, struct nvme_tcp, dev);
}

static void signal_fd(int fd)
{
	uint64_t one = 1;
	ssize_t written = write(fd, &one, sizeof(one));

	assert(written == sizeof(one));
	(void)written;
}

void nvme_tcp_wake(struct nvme_tcp *drive)
{
	signal_fd(drive->wake_fd);
}

/* --- for queues ------------------------------------------------------------------------------ */

void nvme_tcp_report_loss(struct nvme_tcp *drive, const char *why)
{
	{
		LOCK_SCOPE(&drive->mutex);

		if (!drive->lost)
			snprintf(drive->status.reason, sizeof(drive->status.reason), "%s", why);
		drive->lost = true;
	}
	nvme_tcp_wake(drive);
}

void nvme_tcp_report_doubt(struct nvme_tcp *drive)
{
	if (!atomic_exchange(&drive->doubted, true))
		nvme_tcp_wake(drive);
}

struct blockdev *nvme_tcp_blockdev(struct nvme_tcp *drive)
{
	return &drive->dev;
}

bool nvme_tcp_copies(const struct nvme_tcp *drive)
{
	return drive->target.data_digest;
}

bool nvme_tcp_has_cache(const struct nvme_tcp *drive)
{
	return drive->facts.volatile_cache;
}

uint64_t nvme_tcp_suspicions(const struct nvme_tcp *drive)
{
	return drive->dev.volatile_cache ? atomic_load(&drive->suspicions) : 0;
}

/* --- the face -------------------------------------------------------------------------------- */

static int nvme_tcp_open_queue(struct blockdev *dev, struct reactor *reactor,
	struct blockdev_queue **base, struct fail *fail)
{
	struct nvme_tcp *drive = drive_of(dev);
	struct tcp_queue *queue;

	{
		LOCK_SCOPE(&drive->mutex);

		if (drive->open >= drive->status.queues)
			return fail_set(fail, EBUSY,
				"%s grants %u I/O queues, and all are in use: use fewer cores, or "
				"allow more on the target",
				dev->name, drive->status.queues);
		drive->open++;
	}
	queue = tcp_queue_create(drive, reactor);
	if (queue) {
		LOCK_SCOPE(&drive->mutex);

		list_push_back(&drive->queues, &queue->link);
	} else {
		LOCK_SCOPE(&drive->mutex);

		drive->open--;
		return fail_set(fail, ENOMEM, "no memory for a queue");
	}
	queue->suspicions = nvme_tcp_suspicions(drive);
	*base = &queue->base;
	nvme_tcp_wake(drive);
	return 0;
}

/* The thread may be about to call into the queue: it frees it. */
static void nvme_tcp_close_queue(struct blockdev_queue *base)
{
	struct tcp_queue *queue = container_of(base, struct tcp_queue, base);
	struct nvme_tcp *drive = queue->drive;

	tcp_queue_close(queue);
	{
		LOCK_SCOPE(&drive->mutex);

		queue->closed = true;
		drive->open--;
	}
	nvme_tcp_wake(drive);
}

static void free_drive(struct nvme_tcp *drive)
{
	if (drive->stop_fd >= 0)
		close(drive->stop_fd);
	if (drive->wake_fd >= 0)
		close(drive->wake_fd);
	pthread_mutex_destroy(&drive->mutex);
	free(drive);
}

static void nvme_tcp_destroy(struct blockdev *dev)
{
	struct nvme_tcp *drive = drive_of(dev);

	signal_fd(drive->stop_fd);
	pthread_join(drive->thread, NULL);
	assert(list_empty(&drive->queues));
	free_drive(drive);
}

static const struct blockdev_ops nvme_tcp_ops = {
	.driver = "nvme-tcp",
	.open_queue = nvme_tcp_open_queue,
	.close_queue = nvme_tcp_close_queue,
	.submit = tcp_queue_submit,
	.destroy = nvme_tcp_destroy,
};

/* --- creation -------------------------------------------------------------------------------- */

static int connect_path(struct nvme_tcp *drive, unsigned path, bool choosy, struct fail *fail)
{
	const struct nvme_tcp_target *target = &drive->target;
	struct tcp_controller *controller = &drive->controller;
	int error =
		tcp_controller_open(controller, target, &target->path[path], target->nqn, -1, fail);

	if (!error)
		error = tcp_controller_ask_queues(controller, fail);
	if (!error)
		error = tcp_controller_examine(controller, &drive->facts, fail);
	if (!error && choosy && !drive->facts.optimized)
		error = -EAGAIN;
	if (!error)
		error = tcp_controller_await_events(controller, fail);
	if (error)
		tcp_controller_close(controller);
	drive->path = path;
	return error;
}

/* Connects over the first optimized path that leads there, else over the first that does; the
 * sentence is about the preferred one. */
static int connect_first(struct nvme_tcp *drive, struct fail *fail)
{
	unsigned paths = drive->target.paths;
	bool spare = false; /* there is one that is not optimized */
	int first = 0;

	for (unsigned i = 0; i < paths; i++) {
		int error = connect_path(drive, i, paths > 1, i ? NULL : fail);

		if (!error)
			return 0;
		spare |= error == -EAGAIN;
		first = i ? first : error;
	}
	for (unsigned i = 0; i < paths && spare; i++) {
		int error = connect_path(drive, i, false, i ? NULL : fail);

		if (!error)
			return 0;
		first = i ? first : error;
	}
	return first;
}

static int describe(struct nvme_tcp *drive, struct fail *fail)
{
	const struct nvme_tcp_path *path = &drive->target.path[0];
	const struct facts *facts = &drive->facts;
	struct blockdev *dev = &drive->dev;
	uint32_t lba_bytes = 1u << facts->lba_shift;
	uint64_t bytes = facts->lbas << facts->lba_shift;

	dev->block_bytes = drive->target.block_bytes;
	if (!dev->block_bytes)
		dev->block_bytes = bytes % 4096 || bytes < 4096 ? lba_bytes : 4096;
	if (dev->block_bytes < lba_bytes)
		return fail_set(fail, EINVAL,
			"the namespace has blocks of %u bytes and cannot serve %u-byte blocks: "
			"use 4096",
			lba_bytes, dev->block_bytes);
	if (facts->read_only)
		return fail_set(fail, EROFS, "the namespace is write-protected");
	snprintf(dev->name, sizeof(dev->name), "%.60s:%u/%.160s/%u", path->host, path->port,
		drive->target.nqn, drive->target.nsid);
	dev->ops = &nvme_tcp_ops;
	dev->blocks = bytes / dev->block_bytes;
	dev->sector_bytes = lba_bytes;
	if (facts->best_bytes % dev->block_bytes == 0)
		dev->best_blocks = facts->best_bytes / dev->block_bytes;
	dev->volatile_cache = facts->volatile_cache && drive->target.write_back;
	return 0;
}

static void describe_status(struct nvme_tcp *drive)
{
	struct nvme_tcp_status *status = &drive->status;
	const struct facts *facts = &drive->facts;

	*status = (struct nvme_tcp_status){.state = NVME_TCP_LIVE,
		.lba_bytes = 1u << facts->lba_shift,
		.path = drive->path,
		.optimized = facts->optimized,
		.queues = drive->controller.queues};
	snprintf(status->peer, sizeof(status->peer), "%s", drive->controller.admin.peer);
	memcpy(status->identity, facts->identity, sizeof(status->identity));
	memcpy(status->serial, facts->serial, sizeof(status->serial));
	memcpy(status->model, facts->model, sizeof(status->model));
	memcpy(status->firmware, facts->firmware, sizeof(status->firmware));
}

int nvme_tcp_create(struct blockdev **dev, const struct nvme_tcp_target *target, struct fail *fail)
{
	struct nvme_tcp *drive = calloc(1, sizeof(*drive));
	int error;

	assert(target->paths >= 1 && target->paths <= NVME_TCP_PATHS_MAX);
	if (!drive)
		return fail_set(fail, ENOMEM, "no memory for a drive");
	drive->target = *target;
	pthread_mutex_init(&drive->mutex, NULL);
	list_init(&drive->queues);
	drive->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	drive->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	error = drive->stop_fd < 0 || drive->wake_fd < 0
			? fail_set(fail, EMFILE, "too many files are open")
			: connect_first(drive, fail);
	if (error)
		goto free_drive;
	error = describe(drive, fail);
	if (error)
		goto close_controller;
	describe_status(drive);
	drive->now = drive->facts;
	drive->controller.admin.cancel_fd = drive->stop_fd;
	error = pthread_create(&drive->thread, NULL, association_keep, drive);
	if (error) {
		error = fail_set(fail, error, "cannot start a thread: %s", strerror(error));
		goto close_controller;
	}
	pthread_setname_np(drive->thread, "nvme-tcp");
	*dev = &drive->dev;
	return 0;

close_controller:
	tcp_controller_close(&drive->controller);
free_drive:
	free_drive(drive);
	return error;
}

bool nvme_tcp_is(const struct blockdev *dev)
{
	return dev->ops == &nvme_tcp_ops;
}

void nvme_tcp_status(struct blockdev *dev, struct nvme_tcp_status *status)
{
	struct nvme_tcp *drive = drive_of(dev);
	LOCK_SCOPE(&drive->mutex);

	*status = drive->status;
}

const char *nvme_tcp_state_name(enum nvme_tcp_state state)
{
	static const char *const names[] = {[NVME_TCP_LIVE] = "live",
		[NVME_TCP_RECONNECTING] = "reconnecting",
		[NVME_TCP_AWAY] = "away"};

	return names[state];
}
