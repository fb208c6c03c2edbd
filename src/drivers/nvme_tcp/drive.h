/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A namespace of a target as a blockdev: its queues, one per reactor that uses it, and the thread
 * that keeps the association with the target (association.c).
 */
#ifndef DRIVERS_NVME_TCP_DRIVE_H
#define DRIVERS_NVME_TCP_DRIVE_H

#include <pthread.h>
#include <stdatomic.h>

#include "drivers/nvme_tcp/controller.h"
#include "drivers/nvme_tcp/queue.h"

/* Who looks whether there is a better path, now and then, in a thread of its own: a path that does
 * not answer costs seconds. The association's thread's but for `rank`, while it runs. */
struct path_scout {
	bool running;
	atomic_bool done;
	pthread_t thread;
	unsigned from;			   /* the path in use then */
	unsigned candidates;		   /* a bit for each path to be looked at */
	unsigned rank[NVME_TCP_PATHS_MAX]; /* as it was found */
	uint64_t due_ms;
	uint64_t good_since_ms[NVME_TCP_PATHS_MAX]; /* better than the one in use; 0: not */
	uint64_t moved_ms;			    /* to the path in use; 0: it was not a move */
	unsigned relapses;			    /* moves in a row that did not last */
};

struct nvme_tcp {
	struct blockdev dev;
	/* Do not change after the creation. */
	struct nvme_tcp_target target;
	struct facts facts; /* as they were then; what ios rely on is compared at each reconnect */
	pthread_t thread;
	int stop_fd; /* readable: end */
	int wake_fd; /* there is news below */

	atomic_bool doubted;
	atomic_uint_fast64_t suspicions; /* losses in which the target may have restarted */

	pthread_mutex_t mutex; /* for what follows; held for moments only */
	struct list queues;    /* of struct tcp_queue */
	unsigned open;	       /* queues that are not closed */
	bool lost;	       /* a queue says that its connection is of no more use */
	struct nvme_tcp_status status;

	/* The thread's own. */
	struct tcp_controller controller;
	struct facts now; /* of the controller in use */
	unsigned path;
	uint16_t next_queue_id;
	uint64_t lost_at_ms;
	uint64_t lbas_noted; /* growth is told once */
	bool gone;	     /* the target says that the namespace is: nothing to wait for */
	struct path_scout scout;
};

/* association.c: the thread. The controller is connected and examined. */
void *association_keep(void *drive);

/* paths.c, for the same thread. The path to move to, or -1; sees to it that somebody looks. */
int paths_better(struct nvme_tcp *drive);
/* When paths_better() wants to be called, if nobody wakes the thread before; UINT64_MAX: never. */
uint64_t paths_due_ms(const struct nvme_tcp *drive);
void paths_moved(struct nvme_tcp *drive);
/* The path in use was lost. */
void paths_lost(struct nvme_tcp *drive);
/* stop_fd is readable. */
void paths_end(struct nvme_tcp *drive);

/* Tells the thread of news. Any thread. */
void nvme_tcp_wake(struct nvme_tcp *drive);

/* --- for queues, on their reactors ----------------------------------------------------------- */

void nvme_tcp_report_loss(struct nvme_tcp *drive, const char *why);
/* The namespace may not be what it was: it is examined. */
void nvme_tcp_report_doubt(struct nvme_tcp *drive);
struct blockdev *nvme_tcp_blockdev(struct nvme_tcp *drive);
/* Data are copied before they leave: digests are made of them. */
bool nvme_tcp_copies(const struct nvme_tcp *drive);
/* Completed writes, or discards, may need a FLUSH. */
bool nvme_tcp_has_cache(const struct nvme_tcp *drive);
/* With write_back, a number that grows with each loss in which the cache may have been lost. */
uint64_t nvme_tcp_suspicions(const struct nvme_tcp *drive);

#endif
