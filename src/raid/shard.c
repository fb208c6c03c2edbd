/* SPDX-License-Identifier: Apache-2.0 */
/* Making and unmaking an array's part on one reactor. Control thread, except where said. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "raid/internal.h"

/* Requests and slices per op: a large request is many slices, a joined op has many requests. */
enum { REQUESTS_PER_OP = 4, SLICES_PER_OP = 8 };

static unsigned shard_poll(struct poller *poller)
{
	struct shard *shard = container_of(poller, struct shard, poller);
	unsigned work = request_continue(shard);

	work += op_continue(shard);
	work += intent_continue(shard);
	return work + log_continue(shard);
}

/* What waits for something waits for a completion, which comes through another poller. */
static bool shard_arm(struct poller *poller)
{
	const struct shard *shard = container_of(poller, struct shard, poller);

	return list_empty(&shard->broken_reads) && list_empty(&shard->gathering) &&
	       list_empty(&shard->runnable) &&
	       (list_empty(&shard->intent.waiting) || shard->intent.ask.busy) &&
	       log_may_sleep(shard);
}

static unsigned op_ios(const struct array *array)
{
	return OP_IOS_PER_MEMBER * array->geometry.members;
}

size_t shard_bytes(const struct array *array)
{
	size_t depth = array->depth;

	return sizeof(struct shard) + depth * REQUESTS_PER_OP * sizeof(struct request) +
	       depth * SLICES_PER_OP * sizeof(struct slice) + depth * sizeof(struct op) +
	       depth * op_ios(array) * sizeof(struct op_io);
}

static int fill_pools(struct shard *shard)
{
	struct array *array = shard->array;
	unsigned depth = array->depth, ios = op_ios(array);
	struct request *requests = calloc(depth * REQUESTS_PER_OP, sizeof(*requests));
	struct slice *slices = calloc(depth * SLICES_PER_OP, sizeof(*slices));
	struct op *ops = calloc(depth, sizeof(*ops));
	struct op_io *op_io = calloc((size_t)depth * ios, sizeof(*op_io));

	shard->request_pool = requests;
	shard->slice_pool = slices;
	shard->op_pool = ops;
	shard->op_io_pool = op_io;
	if (!requests || !slices || !ops || !op_io)
		return -ENOMEM;
	for (unsigned i = 0; i < depth * REQUESTS_PER_OP; i++) {
		requests[i].shard = shard;
		list_push_back(&shard->requests, &requests[i].link);
	}
	for (unsigned i = 0; i < depth * SLICES_PER_OP; i++)
		list_push_back(&shard->slices, &slices[i].link);
	for (unsigned i = 0; i < depth; i++) {
		ops[i].shard = shard;
		ops[i].ios = op_io + i * ios;
		list_push_back(&shard->ops, &ops[i].link);
		for (unsigned j = 0; j < ios; j++)
			ops[i].ios[j].op = &ops[i];
	}
	return 0;
}

static void init_lists(struct shard *shard)
{
	struct list *const lists[] = {
		&shard->requests,
		&shard->slices,
		&shard->ops,
		&shard->held_ios,
		&shard->cutting,
		&shard->opless,
		&shard->gathering,
		&shard->runnable,
		&shard->starved,
		&shard->unsettled,
		&shard->broken_reads,
		&shard->unsettled_flushes,
		&shard->sweeps,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++)
		list_init(lists[i]);
}

static int start_on_reactor(void *argument)
{
	struct shard *shard = argument;

	poller_add(shard->reactor, &shard->poller);
	return 0;
}

static int stop_on_reactor(void *argument)
{
	struct shard *shard = argument;

	assert(!shard->requests_busy && !shard->ops_busy && list_empty(&shard->held_ios));
	poller_remove(&shard->poller);
	return 0;
}

static void close_members(struct shard *shard)
{
	for (unsigned i = 0; i < shard->array->geometry.members; i++) {
		if (shard->members[i])
			blockdev_close_queue(shard->members[i]);
		if (shard->replacement_queues[i])
			blockdev_close_queue(shard->replacement_queues[i]);
	}
}

static void free_shard(struct shard *shard)
{
	log_destroy(shard);
	intent_destroy(shard);
	free(shard->unflushed);
	free(shard->request_pool);
	free(shard->slice_pool);
	free(shard->op_pool);
	free(shard->op_io_pool);
	stripe_table_destroy(&shard->stripes);
	free(shard);
}

static int open_replacement(struct shard *shard, unsigned row, struct fail *fail)
{
	const struct array *array = shard->array;
	const struct keeper *keeper = array->keeper;
	unsigned slot = keeper->superblock.rows[row].replaces - array->first_row;
	int error;

	if (keeper->superblock.rows[row].state != ROW_REPLACING || !keeper->rows[row].dev ||
		slot >= array->geometry.members)
		return 0;
	error = blockdev_open_queue(
		keeper->rows[row].dev, shard->reactor, &shard->replacement_queues[slot], fail);
	if (!error) {
		shard->replacements[slot] = shard->replacement_queues[slot];
		shard->replacement_rows[slot] = (uint8_t)row;
	}
	return error;
}

/* What the table and the maps say of the members. */
static int init_members(struct shard *shard, struct fail *fail)
{
	const struct array *array = shard->array;
	const struct keeper *keeper = array->keeper;
	size_t map_bytes = divide_up(array->regions, 8);
	int error = 0;

	for (unsigned i = 0; i < array->geometry.members; i++) {
		const struct superblock_row *row = &keeper->superblock.rows[array->first_row + i];

		if (row->state == ROW_FAILED)
			shard->lost |= 1u << i;
		if (row->state == ROW_REBUILDING)
			shard->rebuilding |= 1u << i;
		shard->watermark[i] = row->watermark;
	}
	shard->settled = shard->announced = shard->lost;
	bad_learn(shard);
	for (unsigned row = 0; row < SUPERBLOCK_ROWS && !error; row++)
		error = open_replacement(shard, row, fail);
	if (!array->geometry.redundant)
		return error;
	for (unsigned kind = 0; kind < MAPS; kind++)
		memcpy(shard->intent.known[kind], keeper->maps[kind].bits, map_bytes);
	memcpy(shard->intent.resync, keeper->maps[MAP_DIRTY].bits, map_bytes);
	for (size_t i = 0; i < map_bytes; i++)
		shard->intent.resyncing |= shard->intent.resync[i] != 0;
	return error;
}

int shard_create(struct array *array, unsigned index, struct fail *fail)
{
	struct shard *shard = calloc(1, sizeof(*shard));
	size_t map_bytes;
	int error;

	if (!shard)
		return fail_set(fail, ENOMEM, "no memory for array %s", array->config.name);
	shard->array = array;
	shard->index = index;
	shard->reactor = reactor_at(array->group, index);
	shard->poller = (struct poller){.poll = shard_poll, .arm = shard_arm};
	init_lists(shard);
	map_bytes = divide_up(array->regions, 8);
	shard->unflushed = calloc(array->geometry.members, map_bytes + 1);
	if (fill_pools(shard) || stripe_table_init(&shard->stripes, array->depth) ||
		intent_init(shard) || log_init(shard) || !shard->unflushed) {
		error = fail_set(fail, ENOMEM, "no memory for array %s", array->config.name);
		goto free_shard;
	}
	for (unsigned i = 0; i < array->geometry.members; i++) {
		shard->losses[i] = (struct loss){
			.shard = shard, .member = i, .unflushed = shard->unflushed + i * map_bytes};
		shard->settles[i] = (struct loss){.shard = shard, .member = i};
		if (!array->config.member[i])
			continue;
		error = blockdev_open_queue(
			array->config.member[i], shard->reactor, &shard->members[i], fail);
		if (error)
			goto close_members;
	}
	if (!array->part_count) {
		error = init_members(shard, fail);
		if (error)
			goto close_members;
	}
	array->shards[index] = shard;
	reactor_call(shard->reactor, start_on_reactor, shard);
	return 0;

close_members:
	close_members(shard);
free_shard:
	free_shard(shard);
	return error;
}

void shard_destroy(struct shard *shard)
{
	reactor_call(shard->reactor, stop_on_reactor, shard);
	close_members(shard);
	free_shard(shard);
}
