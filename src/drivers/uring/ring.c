/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/uring/ring.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/log.h"
#include "memory/memory.h"
#include "reactor/reactor.h"

enum { REAP_BATCH = 32, URING_COMPLETIONS = 8192 };

struct uring {
	struct io_uring ring;
	struct poller poller;
	struct reactor *reactor;
	unsigned users;
	int event_fd;	    /* signalled by the kernel while the reactor sleeps */
	struct list queued; /* of struct uring_command */
	unsigned in_flight; /* handed to the ring, not answered */
	bool buffers_registered;
	const char *buffer;
	size_t buffer_bytes;
	int files[URING_FILES]; /* -1: free */
};

static struct uring *rings[REACTORS_MAX];

/* Moves queued commands into the ring as far as there is room, and the ring to the kernel. */
static unsigned submit_queued(struct uring *uring)
{
	struct io_uring_sqe *entry;
	unsigned count = 0;

	while (!list_empty(&uring->queued) && (entry = io_uring_get_sqe(&uring->ring))) {
		struct list_node *node = list_pop_front(&uring->queued);
		struct uring_command *command = container_of(node, struct uring_command, link);

		command->prepare(command, entry);
		io_uring_sqe_set_data(entry, command);
		count++;
	}
	uring->in_flight += count;
	/* What the kernel does not take now stays in the ring for the next turn. */
	if (io_uring_sq_ready(&uring->ring))
		io_uring_submit(&uring->ring);
	return count;
}

static unsigned uring_poll(struct poller *poller)
{
	struct uring *uring = container_of(poller, struct uring, poller);
	struct io_uring_cqe *completions[REAP_BATCH];
	unsigned count, work = submit_queued(uring);

	if (!uring->in_flight)
		return work;
	count = io_uring_peek_batch_cqe(&uring->ring, completions, REAP_BATCH);
	for (unsigned i = 0; i < count; i++) {
		struct uring_command *command = io_uring_cqe_get_data(completions[i]);
		int result = completions[i]->res;

		/* The entry is given back first: done() may queue more. */
		io_uring_cqe_seen(&uring->ring, completions[i]);
		uring->in_flight--;
		command->done(command, result);
	}
	return work + count;
}

/* While the reactor polls, the kernel need not signal. (Waiting on the ring's own descriptor
 * would not do: work that DEFER_TASKRUN has put off does not make it readable.) */
static bool uring_arm(struct poller *poller)
{
	struct uring *uring = container_of(poller, struct uring, poller);
	unsigned flags;

	io_uring_cq_eventfd_toggle(&uring->ring, true);
	/* The wish is visible before we look for the last time. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	flags = __atomic_load_n(uring->ring.sq.kflags, __ATOMIC_ACQUIRE);
	return list_empty(&uring->queued) && !io_uring_sq_ready(&uring->ring) &&
	       !io_uring_cq_ready(&uring->ring) &&
	       !(flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW));
}

static void uring_disarm(struct poller *poller)
{
	struct uring *uring = container_of(poller, struct uring, poller);

	io_uring_cq_eventfd_toggle(&uring->ring, false);
}

static int init_ring(struct io_uring *ring)
{
	/* Newest first; an older kernel answers EINVAL. */
	static const unsigned flags[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		0,
	};
	int error = -EINVAL;

	for (unsigned i = 0; i < ARRAY_SIZE(flags) && error == -EINVAL; i++) {
		struct io_uring_params parameters = {
			.flags = flags[i] | IORING_SETUP_CQSIZE, .cq_entries = URING_COMPLETIONS};

		error = io_uring_queue_init_params(URING_DEPTH, ring, &parameters);
	}
	return error;
}

static void register_buffer(struct uring *uring)
{
	struct arena *arena = memory_arena(reactor_index(uring->reactor));
	struct iovec buffer = {arena_base(arena), arena_bytes(arena)};
	int error = io_uring_register_buffers(&uring->ring, &buffer, 1);

	uring->buffer = buffer.iov_base;
	uring->buffer_bytes = buffer.iov_len;
	uring->buffers_registered = !error;
	if (error)
		log_warning("event=uring.buffers core=%u error=\"%s\" effect=\"I/O buffers are "
			    "pinned per "
			    "request, a little slower\" cure=\"raise the locked-memory limit "
			    "(ulimit -l)\"",
			reactor_core(uring->reactor), strerror(-error));
}

static int watch_events(struct uring *uring)
{
	int error;

	uring->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (uring->event_fd < 0)
		return -errno;
	error = io_uring_register_eventfd(&uring->ring, uring->event_fd);
	if (!error)
		error = reactor_watch(uring->reactor, uring->event_fd);
	if (error)
		close(uring->event_fd);
	else
		io_uring_cq_eventfd_toggle(&uring->ring, false);
	return error;
}

int uring_get(struct uring **ring, struct reactor *reactor, struct fail *fail)
{
	struct uring **place = &rings[reactor_index(reactor)], *uring = *place;
	int error;

	if (uring) {
		uring->users++;
		*ring = uring;
		return 0;
	}
	uring = calloc(1, sizeof(*uring));
	if (!uring)
		return fail_set(fail, ENOMEM, "no memory for an io_uring");
	uring->reactor = reactor;
	list_init(&uring->queued);
	error = init_ring(&uring->ring);
	if (error) {
		error = fail_set(fail, -error,
			"cannot create an io_uring: %s; braid needs it for files and block "
			"devices, see "
			"/proc/sys/kernel/io_uring_disabled and the locked-memory limit",
			strerror(-error));
		goto free_uring;
	}
	memset(uring->files, -1, sizeof(uring->files));
	error = io_uring_register_files(&uring->ring, uring->files, URING_FILES);
	if (!error)
		error = watch_events(uring);
	if (error) {
		error = fail_set(fail, -error, "cannot set up an io_uring: %s", strerror(-error));
		goto exit_ring;
	}
	io_uring_register_ring_fd(&uring->ring);
	register_buffer(uring);
	uring->poller.poll = uring_poll;
	uring->poller.arm = uring_arm;
	uring->poller.disarm = uring_disarm;
	poller_add(reactor, &uring->poller);
	uring->users = 1;
	*ring = *place = uring;
	return 0;

exit_ring:
	io_uring_queue_exit(&uring->ring);
free_uring:
	free(uring);
	return error;
}

void uring_put(struct uring *uring)
{
	if (--uring->users)
		return;
	assert(!uring->in_flight && list_empty(&uring->queued));
	poller_remove(&uring->poller);
	reactor_unwatch(uring->reactor, uring->event_fd);
	io_uring_queue_exit(&uring->ring);
	close(uring->event_fd);
	rings[reactor_index(uring->reactor)] = NULL;
	free(uring);
}

int uring_add_file(struct uring *uring, int fd)
{
	for (int i = 0; i < URING_FILES; i++) {
		int result;

		if (uring->files[i] >= 0)
			continue;
		result = io_uring_register_files_update(&uring->ring, (unsigned)i, &fd, 1);
		if (result < 0)
			return result;
		uring->files[i] = fd;
		return i;
	}
	return -ENFILE;
}

void uring_remove_file(struct uring *uring, int index)
{
	int none = -1;

	io_uring_register_files_update(&uring->ring, (unsigned)index, &none, 1);
	uring->files[index] = -1;
}

bool uring_in_buffer(const struct uring *uring, const void *memory, size_t bytes)
{
	const char *at = memory;

	return uring->buffers_registered && at >= uring->buffer &&
	       at + bytes <= uring->buffer + uring->buffer_bytes;
}

void uring_queue_command(struct uring *uring, struct uring_command *command)
{
	list_push_back(&uring->queued, &command->link);
}
