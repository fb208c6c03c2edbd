/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine inside the bench: the rooms of braidd that a load needs, without its control part and
 * without vhost: reactors, arenas, drives, and an array over them or none.
 *
 * Control thread throughout.
 */
#ifndef BENCH_ENGINE_H
#define BENCH_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cpumask.h"
#include "base/fail.h"
#include "drivers/drivers.h"
#include "raid/array.h"

struct engine_config {
	struct cpumask cores;
	const char *drives;		/* "ram:10:256M", "null:10:1G", "PATH,URL,..." */
	struct throttle_model throttle; /* of each drive; zeros: as fast as they are */
	bool array;			/* false: the drives themselves are what is measured */
	const char *level;		/* as typed: "6" */
	uint64_t chunk_bytes;
	unsigned parts; /* of stacked levels; 0: the default */
	enum consistency consistency;
	uint64_t buffer_bytes; /* arena of each core */
	const char *parity;    /* kernel, NULL: the fastest */
};

struct engine {
	struct reactor_group *group;
	struct blockdev *drive[RAID_MEMBERS_MAX]; /* owned */
	unsigned drives;
	struct array *array; /* NULL: none */
	char text[128];	     /* what is measured, for people: "RAID 6 of 10 ram, chunk 128 KiB" */
};

/* Starts it all, clears the drives and makes the array. What the drives held is lost. 0 or -errno
 * with a sentence; a failed engine is closed again. */
int engine_open(struct engine *engine, const struct engine_config *config, struct fail *fail);
/* Every queue is closed. */
void engine_close(struct engine *engine);

/* Gives up the first `count` members of the array. */
int engine_fail_members(struct engine *engine, unsigned count, struct fail *fail);

#endif
