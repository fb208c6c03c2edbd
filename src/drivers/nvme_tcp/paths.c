/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which path is the best, and when to go back to it. A path has a rank: those that are optimized
 * (ANA) come before those that are not, and among equals the first that was named.
 *
 *	LIVE on a path that is not the best:
 *	    look at better ones --> good? --> good for failback_s, in look after look --> move
 *	        ^                     | no
 *	        +--- later -----------+
 *
 * A look is what an attachment would do, up to the examination of the namespace, with a connection
 * of its own. A path that is lost soon after a move has to be good for twice as long the next time.
 */
#include "drivers/nvme_tcp/drive.h"

#include "base/bits.h"

enum {
	LOOK_MIN_MS = 200,
	LOOK_MAX_MS = 10000,
	RELAPSES_MAX = 5,
	LASTING = 10, /* times the wait before it: then a move has not been in vain */
	UNUSABLE = 2 * NVME_TCP_PATHS_MAX,
};

static unsigned rank_of(unsigned path, bool optimized)
{
	return path + (optimized ? 0 : NVME_TCP_PATHS_MAX);
}

static unsigned rank_in_use(const struct nvme_tcp *drive)
{
	return rank_of(drive->path, drive->now.optimized);
}

static uint64_t wait_ms(const struct nvme_tcp *drive)
{
	return (uint64_t)drive->target.failback_s * 1000 << drive->scout.relapses;
}

/* --- looking --------------------------------------------------------------------------------- */

static unsigned look(struct nvme_tcp *drive, unsigned path)
{
	const struct nvme_tcp_target *target = &drive->target;
	struct tcp_controller controller;
	struct facts facts;
	int error = tcp_controller_open(
		&controller, target, &target->path[path], target->nqn, drive->stop_fd, NULL);

	if (!error)
		error = tcp_controller_examine(&controller, &facts, NULL);
	if (!error)
		error = facts_compare(&drive->facts, &facts, controller.admin.peer, NULL);
	tcp_controller_close(&controller);
	return error ? UNUSABLE : rank_of(path, facts.optimized);
}

static void *scout_look(void *argument)
{
	struct nvme_tcp *drive = argument;
	struct path_scout *scout = &drive->scout;

	for (unsigned i = 0; i < drive->target.paths; i++)
		if (scout->candidates & 1u << i)
			scout->rank[i] = look(drive, i);
	atomic_store(&scout->done, true);
	nvme_tcp_wake(drive);
	return NULL;
}

/* The paths that may be better than the one in use: a bit for each. */
static unsigned candidates(const struct nvme_tcp *drive)
{
	unsigned bits = 0;

	for (unsigned i = 0; i < drive->target.paths; i++)
		if (i != drive->path && rank_of(i, true) < rank_in_use(drive))
			bits |= 1u << i;
	return bits;
}

static void send_out(struct nvme_tcp *drive)
{
	struct path_scout *scout = &drive->scout;

	scout->candidates = candidates(drive);
	scout->from = drive->path;
	atomic_store(&scout->done, false);
	scout->running = !pthread_create(&scout->thread, NULL, scout_look, drive);
	if (scout->running)
		pthread_setname_np(scout->thread, "nvme-tcp-paths");
}

/* --- deciding -------------------------------------------------------------------------------- */

/* What the scout has found: since when which path has been better. The path to move to, or -1. */
static int judge(struct nvme_tcp *drive, uint64_t now_ms)
{
	struct path_scout *scout = &drive->scout;
	unsigned best = rank_in_use(drive);
	int path = -1;

	for (unsigned i = 0; i < drive->target.paths; i++) {
		uint64_t *since_ms = &scout->good_since_ms[i];

		if (!(scout->candidates & 1u << i) || scout->rank[i] >= rank_in_use(drive)) {
			*since_ms = 0;
			continue;
		}
		*since_ms = *since_ms ? *since_ms : now_ms;
		if (now_ms - *since_ms >= wait_ms(drive) && scout->rank[i] < best) {
			best = scout->rank[i];
			path = (int)i;
		}
	}
	return path;
}

uint64_t paths_due_ms(const struct nvme_tcp *drive)
{
	bool idle = !drive->target.failback_s || drive->scout.running || !candidates(drive);

	return idle ? UINT64_MAX : drive->scout.due_ms;
}

int paths_better(struct nvme_tcp *drive)
{
	struct path_scout *scout = &drive->scout;
	uint64_t now_ms = connection_clock_ms();
	int path = -1;

	if (scout->running && atomic_load(&scout->done)) {
		pthread_join(scout->thread, NULL);
		scout->running = false;
		scout->due_ms = now_ms + MAX(MIN(wait_ms(drive) / 2, (uint64_t)LOOK_MAX_MS),
						 (uint64_t)LOOK_MIN_MS);
		/* It may have set out from a path that has been left. */
		path = scout->from == drive->path ? judge(drive, now_ms) : -1;
	}
	if (path < 0 && now_ms >= paths_due_ms(drive))
		send_out(drive);
	return path;
}

static void forget(struct path_scout *scout)
{
	for (unsigned i = 0; i < NVME_TCP_PATHS_MAX; i++)
		scout->good_since_ms[i] = 0;
}

void paths_moved(struct nvme_tcp *drive)
{
	forget(&drive->scout);
	drive->scout.moved_ms = connection_clock_ms();
}

void paths_lost(struct nvme_tcp *drive)
{
	struct path_scout *scout = &drive->scout;
	uint64_t lasted_ms = connection_clock_ms() - scout->moved_ms;

	if (scout->moved_ms && lasted_ms < LASTING * wait_ms(drive))
		scout->relapses = MIN(scout->relapses + 1, (unsigned)RELAPSES_MAX);
	else if (scout->moved_ms)
		scout->relapses = 0;
	scout->moved_ms = 0;
	forget(scout);
}

void paths_end(struct nvme_tcp *drive)
{
	if (drive->scout.running)
		pthread_join(drive->scout.thread, NULL);
}
