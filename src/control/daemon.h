/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the daemon knows: drives, arrays, volumes, controllers and jobs, by name. One lock guards
 * all of it; RPC handlers hold it, and so do jobs where they change something. Nothing here is
 * touched by the I/O path.
 *
 *	drive <--claims-- array <--has-- volume <--exports-- controller
 */
#ifndef CONTROL_DAEMON_H
#define CONTROL_DAEMON_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/fail.h"
#include "base/list.h"
#include "block/blockdev.h"
#include "raid/array.h"
#include "raid/clear.h"
#include "vhost/controller.h"

struct drive {
	char name[BLOCKDEV_NAME_BYTES];
	struct blockdev *dev;
	char driver[16];
	char note[FAIL_TEXT_BYTES]; /* why direct I/O is not used; "" */
	struct list_node link;
};

struct volume_entry {
	char name[ARRAY_NAME_BYTES];
	struct array_entry *array;
	struct blockdev *dev;
	struct list_node link; /* in array->volumes, by position */
};

struct array_entry {
	char name[ARRAY_NAME_BYTES];
	struct array *array; /* NULL while it is being made */
	struct array_config config;
	struct list volumes;
	uint64_t made_at; /* seconds since 1970 */
	struct list_node link;
};

struct export
{
	char name[CONTROLLER_NAME_BYTES];
	struct controller *controller;
	struct volume_entry *volume; /* NULL: the whole array */
	struct array_entry *array;
	struct list_node link;
};

enum job_state { JOB_RUNNING, JOB_DONE, JOB_FAILED };

struct job {
	unsigned id;
	const char *type; /* "initialise" */
	char target[ARRAY_NAME_BYTES];
	enum job_state state;
	char error[FAIL_TEXT_BYTES];
	uint64_t started_ns, ended_ns; /* monotonic */
	struct clear_progress progress;
	struct daemon *daemon;
	struct array_config config; /* "initialise": the array to be made */
	pthread_t thread;
	struct list_node link;
};

struct daemon {
	pthread_mutex_t lock;
	struct reactor_group *group;
	char run_dir[64];
	struct list drives, arrays, exports, jobs;
	unsigned last_job;
};

void daemon_init(struct daemon *daemon, struct reactor_group *group, const char *run_dir);
/* Cancels jobs, ends exports, closes arrays and drives. */
void daemon_shutdown(struct daemon *daemon);

/* NULL when there is none of that name; with a sentence in the second form. */
struct drive *drive_find(struct daemon *daemon, const char *name);
struct array_entry *array_find(struct daemon *daemon, const char *name, struct fail *fail);
struct volume_entry *volume_find(struct daemon *daemon, const char *name, struct fail *fail);
struct export *export_find(struct daemon *daemon, const char *name);

/* Sets the owners of an array's stripes from the exports of its volumes. */
int exports_set_owners(struct daemon *daemon, struct array_entry *array, struct fail *fail);

/* Starts the job that clears the members and then makes the array. The lock is held. */
int job_start_initialise(struct daemon *daemon, const struct array_config *config, struct job **job,
	struct fail *fail);
uint64_t monotonic_ns(void);

/* Frees one thing each; nothing uses it any more. */
void drive_free(struct drive *drive);
void array_free(struct array_entry *entry);
void volume_free(struct volume_entry *volume);
void export_free(struct export *export);

#endif
