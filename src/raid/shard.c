/* SPDX-License-Identifier: Apache-2.0 */
/* Making and unmaking an array's part on one reactor. Control thread, except where said. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/bits.h"
#include "raid/internal.h"

/* Requests and slices per op: a large request is many slices, a joined op has many requests. */
enum { REQUESTS_PER_OP = 4, SLICES_PER_OP = 8 };

static unsigned shard_poll(struct poller *poller)
{
	struct shard *shard = container_of(poller, struct shard, poller);
	unsigned work = request_continue(shard);

	return work + op_continue(shard);
}

/* What waits for something waits for a completion, which comes through another poller. */
static bool shard_arm(struct poller *poller)
{
	const struct shard *shard = container_of(poller, struct shard, poller);

	return list_empty(&shard->broken_reads) && list_empty(&shard->gathering) &&
	       list_empty(&shard->runnable);
}

static unsigned op_ios(const struct array *array)
{
	return 2 * array->geometry.members;
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
	for (unsigned i = 0; i < shard->array->geometry.members; i++)
		if (shard->members[i])
			blockdev_close_queue(shard->members[i]);
}

static void free_shard(struct shard *shard)
{
	free(shard->request_pool);
	free(shard->slice_pool);
	free(shard->op_pool);
	free(shard->op_io_pool);
	stripe_table_destroy(&shard->stripes);
	free(shard);
}

int shard_create(struct array *array, unsigned index, struct fail *fail)
{
	struct shard *shard = calloc(1, sizeof(*shard));
	int error;

	if (!shard)
		return fail_set(fail, ENOMEM, "no memory for array %s", array->config.name);
	shard->array = array;
	shard->index = index;
	shard->reactor = reactor_at(array->group, index);
	shard->poller = (struct poller){.poll = shard_poll, .arm = shard_arm};
	init_lists(shard);
	if (fill_pools(shard) || stripe_table_init(&shard->stripes, array->depth)) {
		error = fail_set(fail, ENOMEM, "no memory for array %s", array->config.name);
		goto free_shard;
	}
	for (unsigned i = 0; i < array->geometry.members; i++) {
		shard->losses[i] = (struct loss){.shard = shard, .member = i};
		shard->settles[i] = (struct loss){.shard = shard, .member = i};
		error = blockdev_open_queue(
			array->config.member[i], shard->reactor, &shard->members[i], fail);
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
