/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs: long work, a thread of straight code each.
 *
 *	RUNNING --> DONE | FAILED | CANCELLED
 *
 * A job that sweeps an array holds no lock while it does; sweep_end() makes sure that it no longer
 * touches the array. Control lock held.
 */
#ifndef CONTROL_JOBS_H
#define CONTROL_JOBS_H

#include <jansson.h>
#include <stdatomic.h>

#include "control/daemon.h"
#include "raid/clear.h"

enum job_type {
	JOB_REBUILD = SWEEP_REBUILD,
	JOB_RESYNC = SWEEP_RESYNC,
	JOB_SCRUB = SWEEP_SCRUB,
	JOB_REPAIR = SWEEP_REPAIR,
	JOB_INITIALISE = SWEEPS,
	JOB_SANITIZE, /* these two the drive does by itself: control/drive_job.h */
	JOB_SELF_TEST,
	JOB_TYPES,
};

enum job_state { JOB_RUNNING, JOB_DONE, JOB_FAILED, JOB_CANCELLED };

/* What array.create was asked for. */
struct array_plan {
	struct array_config config;
	struct blockdev *spare[RAID_MEMBERS_MAX];
	unsigned spares;
	bool assume_clean;
};

struct job {
	unsigned id;
	enum job_type type;
	char target[BLOCKDEV_NAME_BYTES]; /* an array, or a drive */
	enum job_state state;
	char error[FAIL_TEXT_BYTES];
	uint64_t started_ns, ended_ns; /* monotonic */
	struct daemon *daemon;
	struct array_plan *plan;     /* INITIALISE */
	struct clear_progress clear; /* INITIALISE */
	struct array_entry *entry;   /* sweeps: the array; NULL when it has gone meanwhile */
	struct sweep_progress sweep; /* sweeps */
	atomic_bool swept;	     /* sweeps: the array is not touched any more */
	/* SANITIZE, SELF_TEST: how far the drive has got, when it was first asked and now; how long
	 * it says that it takes (0: not said). */
	unsigned first_per_thousand, per_thousand;
	uint64_t estimate_s;
	atomic_bool let_be; /* the daemon ends; the drive goes on */
	/* Speed, as the monitor measures it. */
	uint64_t sampled_ns, sampled_bytes, bytes_per_second;
	unsigned told_percent;
	pthread_t thread;
	struct list_node link;
};

/* Starts the job that clears the members and then makes the array. */
int job_start_initialise(
	struct daemon *daemon, const struct array_plan *plan, struct job **job, struct fail *fail);
/* Starts a sweep with the array's settings for it. */
int job_start_sweep(struct daemon *daemon, struct array_entry *entry, enum sweep_kind kind,
	struct job **job, struct fail *fail);

/* The sweep that runs on an array; NULL: none. */
struct job *sweep_of(struct daemon *daemon, const struct array_entry *entry);
/* Ends it, and waits until it does not touch the array any more. */
void sweep_end(struct daemon *daemon, struct array_entry *entry);
/* Takes down how far a scrub that was asked for has got. */
void sweep_mark(struct job *job);
/* A scrub or repair is asked for, from the beginning; -1: none any more. */
void want_sweep(struct array_entry *entry, int kind);
/* Carries an array's setting, and what its throttle says, over to the sweep that runs. */
void sweep_steer(struct job *job);

/* A job of any kind: on the list, with a thread, ended. end: 0, or an error and its sentence. */
struct job *job_new(
	struct daemon *daemon, enum job_type type, const char *target, struct fail *fail);
int job_run(struct job *job, void *(*main)(void *), struct fail *fail);
void job_end(struct job *job, int error, const char *text);
/* One that has no thread. */
void job_free(struct job *job);

static inline bool job_is_sweep(const struct job *job)
{
	return job->type < JOB_INITIALISE;
}

void job_bytes(const struct job *job, uint64_t *done, uint64_t *total);
const char *job_type_name(enum job_type type);
json_t *job_json(const struct job *job);

/* Cancels all jobs and waits for them. The lock is not held; nobody else is left. */
void jobs_end(struct daemon *daemon);

#endif
