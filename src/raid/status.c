/* SPDX-License-Identifier: Apache-2.0 */
/* What an array says of itself. */
#include <assert.h>
#include <string.h>

#include "base/bits.h"
#include "raid/internal.h"

struct status_call {
	struct shard *shard;
	struct array_status *status;
	bool broken;
};

static uint64_t count_bits(const struct shard *shard)
{
	uint64_t count = 0;

	for (uint64_t i = 0; i < shard->array->regions; i++)
		count += map_has(shard->intent.resync, i);
	return count;
}

/* On each shard's reactor. */
static int add_status(void *argument)
{
	struct status_call *call = argument;
	const struct shard *shard = call->shard;
	struct array_status *status = call->status;
	const uint64_t *from = (const uint64_t *)&shard->counters;
	uint64_t *to = (uint64_t *)&status->counters;

	static_assert(sizeof(shard->counters) % sizeof(uint64_t) == 0, "only counters");
	for (unsigned i = 0; i < sizeof(shard->counters) / sizeof(uint64_t); i++)
		to[i] += from[i];
	for (unsigned i = 0; i < shard->array->geometry.members && !shard->array->part_count; i++) {
		struct member_status *member = &status->member[shard->array->first_row + i];

		member->slow |= shard->pace.slow >> i & 1;
		member->counters.reads += shard->member_counters[i].reads;
		member->counters.writes += shard->member_counters[i].writes;
		member->counters.read_errors += shard->member_counters[i].read_errors;
		member->counters.write_errors += shard->member_counters[i].write_errors;
	}
	if (shard->broken)
		call->broken = true;
	if (shard->index == 0 && shard->intent.resyncing)
		status->dirty_regions = count_bits(shard);
	return 0;
}

/* Adds one plain or outer array's figures; true: it is broken. */
static bool add_array(struct array *array, struct array_status *status)
{
	struct status_call call = {.status = status};

	for (unsigned i = 0; i < array->shard_count; i++) {
		call.shard = array->shards[i];
		reactor_call(call.shard->reactor, add_status, &call);
	}
	return call.broken;
}

struct table_call {
	struct array *whole;
	struct array_status *status;
};

/* On home: the table. */
static int add_table(void *argument)
{
	struct table_call *call = argument;
	const struct keeper *keeper = call->whole->keeper;
	const struct superblock *superblock = &keeper->superblock;
	struct array_status *status = call->status;

	status->members = superblock->members;
	status->region_bytes = superblock->region_bytes;
	status->missing_regions = map_count(keeper->maps[MAP_MISSING].bits);
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++) {
		const struct superblock_row *row = &superblock->rows[i];
		struct member_status *member = &status->member[i];

		if (row->state != ROW_EMPTY)
			status->rows = i + 1;
		member->dev = keeper->rows[i].dev;
		member->uuid = row->uuid;
		member->state = row->state;
		member->reason = row->reason;
		member->lost_at = row->lost_at;
		member->replaces = row->replaces;
		member->watermark = row->watermark;
		member->stripes = superblock->stripes;
		member->resyncable = row->resyncable;
		member->bad_blocks = bad_list_blocks(&keeper->bad.list, i);
		status->rebuilding += row->state == ROW_REBUILDING;
		status->replacing += row->state == ROW_REPLACING;
		status->spares += row->state == ROW_SPARE && member->dev && !keeper->rows[i].broken;
	}
	return 0;
}

/* How much of a part's redundancy is gone. */
static void judge_part(const struct array *part, struct array_status *status, bool broken)
{
	unsigned failed = 0, redundant = part->geometry.redundant;

	for (unsigned i = 0; i < part->geometry.members; i++)
		failed += status->member[part->first_row + i].state != ROW_IN_SYNC;
	status->failed += failed;
	status->tolerates = MIN(status->tolerates, redundant - MIN(failed, redundant));
	/* Without redundancy every error of a drive is the user's: the array does not keep its
	 * word. */
	if (broken || failed > redundant || (!redundant && status->counters.errors))
		status->state = ARRAY_BROKEN;
	else if (failed)
		status->state = MAX(status->state, (enum array_state)ARRAY_DEGRADED);
}

void array_status(struct array *array, struct array_status *status)
{
	struct table_call call = {array, status};
	bool broken[RAID_MEMBERS_MAX] = {false};

	memset(status, 0, sizeof(*status));
	status->tolerates = UINT32_MAX;
	reactor_call(array->keeper->reactor, add_table, &call);
	if (array->part_count)
		add_array(array, status);
	for (unsigned i = 0; i < array->part_count; i++) {
		struct array_counters outer = status->counters;

		broken[i] = add_array(array->parts[i], status);
		/* Requests are the whole's; the parts' are the same ones again. */
		status->counters.reads = outer.reads;
		status->counters.writes = outer.writes;
		status->counters.flushes = outer.flushes;
		status->counters.discards = outer.discards;
		status->counters.read_blocks = outer.read_blocks;
		status->counters.written_blocks = outer.written_blocks;
		status->counters.errors = outer.errors;
		memcpy(status->counters.latency, outer.latency, sizeof(outer.latency));
	}
	if (!array->part_count)
		broken[0] = add_array(array, status);
	for (unsigned i = 0; i < array_plain_count(array); i++)
		judge_part(array_plain(array, i), status, broken[i]);
}
