/* SPDX-License-Identifier: Apache-2.0 */
#include "raid/array.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "raid/internal.h"

enum { DEPTH_DEFAULT = 256 };

/* --- checking -------------------------------------------------------------------------------- */

static unsigned part_count(const struct array_config *config)
{
	if (config->level->part_members)
		return config->members / config->level->part_members;
	return config->parts ? config->parts : 2;
}

static int check_numbers(const struct array_config *config, struct fail *fail)
{
	const struct level *level = config->level;

	if (config->block_bytes != 512 && config->block_bytes != 4096)
		return fail_set(fail, EINVAL, "a block size of %u is not possible: use 512 or 4096",
			config->block_bytes);
	if (!is_power_of_two(config->chunk_bytes) || config->chunk_bytes < ARRAY_CHUNK_BYTES_MIN ||
		config->chunk_bytes > ARRAY_CHUNK_BYTES_MAX)
		return fail_set(fail, EINVAL,
			"a chunk of %u bytes is not possible: use a power of two from 4K to 1M",
			config->chunk_bytes);
	if (config->members < level->members_min)
		return fail_set(fail, EINVAL, "%s needs at least %u drives, %u given", level->text,
			level->members_min, config->members);
	if (config->members > RAID_MEMBERS_MAX)
		return fail_set(fail, EINVAL, "an array has at most %d drives, %u given",
			RAID_MEMBERS_MAX, config->members);
	if (level->part) {
		unsigned parts = part_count(config), each = config->members / parts;

		if (parts < 2 || config->members % parts || each < level->part->members_min)
			return fail_set(fail, EINVAL,
				"%u drives cannot be split into %u equal parts of %s with at least "
				"%u "
				"drives each",
				config->members, parts, level->part->text,
				level->part->members_min);
	}
	return 0;
}

static int check_members(const struct array_config *config, struct fail *fail)
{
	for (unsigned i = 0; i < config->members; i++) {
		const struct blockdev *dev = config->member[i];

		if (dev->user[0])
			return fail_set(fail, EBUSY,
				"drive %s is in use by %s: choose another, or delete that first",
				dev->name, dev->user);
		if (dev->block_bytes > config->block_bytes ||
			config->block_bytes % dev->block_bytes)
			return fail_set(fail, EINVAL,
				"drive %s has blocks of %u bytes: use --block-size %u", dev->name,
				dev->block_bytes, dev->block_bytes);
		if (dev->block_bytes != config->block_bytes)
			return fail_set(fail, EINVAL,
				"drive %s was attached with blocks of %u bytes, the array wants "
				"%u: "
				"attach it with --block-size %u",
				dev->name, dev->block_bytes, config->block_bytes,
				config->block_bytes);
		for (unsigned j = 0; j < i; j++)
			if (config->member[j] == dev)
				return fail_set(fail, EINVAL, "drive %s is named twice", dev->name);
	}
	return 0;
}

static uint64_t smallest_member(const struct array_config *config)
{
	uint64_t blocks = UINT64_MAX;

	for (unsigned i = 0; i < config->members; i++)
		blocks = MIN(blocks, config->member[i]->blocks);
	return blocks;
}

int array_check(const struct array_config *config, uint64_t *usable_bytes, uint64_t *waste_bytes,
	struct fail *fail)
{
	const struct level *level = config->level;
	unsigned parts = level->part ? part_count(config) : 1;
	uint64_t blocks, chunks, data;
	int error = check_numbers(config, fail);

	if (!error)
		error = check_members(config, fail);
	if (error)
		return error;
	blocks = smallest_member(config);
	chunks = blocks * config->block_bytes / config->chunk_bytes;
	if (!chunks)
		return fail_set(fail, EINVAL,
			"the smallest drive holds less than one chunk of %u bytes: use larger "
			"drives or "
			"a smaller chunk",
			config->chunk_bytes);
	data = config->members / parts;
	data -= level_tolerance(level->part ? level->part : level, (unsigned)data);
	*usable_bytes = chunks * config->chunk_bytes * data * parts;
	*waste_bytes = 0;
	for (unsigned i = 0; i < config->members; i++)
		*waste_bytes += (config->member[i]->blocks - blocks) * config->block_bytes;
	return 0;
}

/* --- the block face -------------------------------------------------------------------------- */

static int array_open_queue(struct blockdev *dev, struct reactor *reactor,
	struct blockdev_queue **queue, struct fail *fail)
{
	struct array *array = container_of(dev, struct array, dev);

	(void)fail;
	*queue = &array->shards[reactor_index(reactor)]->queue;
	return 0;
}

/* The queue is the shard, shared by all users on the reactor, and stays. */
static void array_close_queue(struct blockdev_queue *queue)
{
	(void)queue;
}

static void array_destroy_dev(struct blockdev *dev)
{
	array_destroy(container_of(dev, struct array, dev));
}

static const struct blockdev_ops array_ops = {
	.driver = "array",
	.open_queue = array_open_queue,
	.close_queue = array_close_queue,
	.submit = request_submit,
	.destroy = array_destroy_dev,
};

/* --- making ---------------------------------------------------------------------------------- */

static void release_members(struct array *array, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		blockdev_release(array->config.member[i]);
}

static int claim_members(struct array *array, struct fail *fail)
{
	char user[BLOCKDEV_USER_BYTES];

	snprintf(user, sizeof(user), "array %s", array->config.name);
	for (unsigned i = 0; i < array->config.members; i++) {
		int error = blockdev_claim(array->config.member[i], user, fail);

		if (error) {
			release_members(array, i);
			return error;
		}
	}
	return 0;
}

static void init_dev(struct array *array)
{
	const struct geometry *geometry = &array->geometry;

	array->dev = (struct blockdev){
		.ops = &array_ops,
		.block_bytes = geometry->block_bytes,
		.blocks = geometry->stripes * geometry->stripe_blocks,
		.best_blocks = geometry->stripe_blocks,
		.chunk_blocks = array->config.chunk_bytes / geometry->block_bytes,
	};
	snprintf(array->dev.name, sizeof(array->dev.name), "%s", array->config.name);
	array->members_clear = true;
	for (unsigned i = 0; i < geometry->members; i++) {
		array->dev.volatile_cache |= array->config.member[i]->volatile_cache;
		array->members_clear &= array->config.member[i]->discard_zeroes;
	}
	array->dev.discard_zeroes = array->members_clear;
}

/* A plain array: members that are block devices of any kind, and geometry that is complete but for
 * what follows from the members' size. */
static int create_plain(struct array **created, const struct array_config *config,
	const struct level *level, struct reactor_group *group, struct fail *fail)
{
	struct array *array = calloc(1, sizeof(*array));
	int error;

	if (!array)
		return fail_set(fail, ENOMEM, "no memory for array %s", config->name);
	array->config = *config;
	array->group = group;
	array->depth = config->depth ? config->depth : DEPTH_DEFAULT;
	array->geometry = (struct geometry){
		.level = level,
		.members = config->members,
		.block_bytes = config->block_bytes,
		.chunk_blocks = config->chunk_bytes / config->block_bytes,
	};
	geometry_init(&array->geometry, smallest_member(config));
	init_dev(array);
	error = claim_members(array, fail);
	if (error)
		goto free_array;
	for (unsigned i = 0; i < reactor_count(group); i++) {
		error = shard_create(array, i, fail);
		if (error)
			goto destroy_shards;
		array->shard_count++;
	}
	*created = array;
	return 0;

destroy_shards:
	while (array->shard_count--)
		shard_destroy(array->shards[array->shard_count]);
	release_members(array, config->members);
free_array:
	free(array);
	return error;
}

static void destroy_parts(struct array *const *parts, unsigned count)
{
	while (count--)
		array_destroy(parts[count]);
}

/* RAID 0 over arrays. The outer chunk is the inner stripe, so that a stripe of the whole is the
 * same stripe of every part: ownership and alignment carry over by number. */
static int create_stacked(struct array **created, const struct array_config *config,
	struct reactor_group *group, struct fail *fail)
{
	unsigned parts = part_count(config), each = config->members / parts;
	struct array_config inner = *config, outer = *config;
	struct array *part[RAID_MEMBERS_MAX] = {NULL};
	int error;

	inner.members = each;
	outer.members = parts;
	for (unsigned i = 0; i < parts; i++) {
		snprintf(inner.name, sizeof(inner.name), "%.59s.%hhu", config->name, (uint8_t)i);
		memcpy(inner.member, config->member + i * each, each * sizeof(inner.member[0]));
		error = create_plain(&part[i], &inner, config->level->part, group, fail);
		if (error) {
			destroy_parts(part, i);
			return error;
		}
		outer.member[i] = &part[i]->dev;
	}
	outer.chunk_bytes = part[0]->geometry.stripe_blocks * config->block_bytes;
	error = create_plain(created, &outer, level_stripe(), group, fail);
	if (error) {
		destroy_parts(part, parts);
		return error;
	}
	(*created)->config = *config;
	(*created)->part_count = parts;
	memcpy((*created)->parts, part, parts * sizeof(part[0]));
	return 0;
}

int array_create(struct array **array, const struct array_config *config,
	struct reactor_group *group, struct fail *fail)
{
	uint64_t usable, waste;
	int error = array_check(config, &usable, &waste, fail);

	if (error)
		return error;
	return config->level->part ? create_stacked(array, config, group, fail)
				   : create_plain(array, config, config->level, group, fail);
}

/* On each shard's reactor. 1: a loss is not yet known everywhere. */
static int losses_pending(void *argument)
{
	const struct shard *shard = argument;

	return shard->lost != shard->settled ||
	       (shard->index == 0 && shard->announced != shard->settled);
}

/* Waits until no message about a loss is on its way. Home is asked last: what a shard has sent it
 * before is there by then. */
static void settle_losses(struct array *array)
{
	bool pending;

	do {
		pending = false;
		for (unsigned i = array->shard_count; i-- > 0;)
			pending |= reactor_call(
				array->shards[i]->reactor, losses_pending, array->shards[i]);
	} while (pending);
}

void array_destroy(struct array *array)
{
	settle_losses(array);
	while (array->shard_count--)
		shard_destroy(array->shards[array->shard_count]);
	if (array->part_count)
		destroy_parts(array->parts, array->part_count);
	else
		release_members(array, array->config.members);
	free(array);
}

/* --- asking ---------------------------------------------------------------------------------- */

struct blockdev *array_blockdev(struct array *array)
{
	return &array->dev;
}

const struct geometry *array_geometry(const struct array *array)
{
	return &array->geometry;
}

const struct array_config *array_config(const struct array *array)
{
	return &array->config;
}

uint32_t array_stripe_blocks(const struct array *array)
{
	return array->geometry.stripe_blocks;
}

unsigned array_parts(const struct array *array)
{
	return array->part_count;
}

struct array *array_part(const struct array *array, unsigned part)
{
	assert(part < array->part_count);
	return array->parts[part];
}

const char *array_state_name(enum array_state state)
{
	static const char *const names[ARRAY_STATES] = {"optimal", "degraded", "failed"};

	assert(state < ARRAY_STATES);
	return names[state];
}

size_t array_shard_bytes(const struct array *array)
{
	size_t bytes = shard_bytes(array);

	for (unsigned i = 0; i < array->part_count; i++)
		bytes += shard_bytes(array->parts[i]);
	return bytes;
}

struct status_call {
	struct shard *shard;
	struct array_status *status;
};

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
	for (unsigned i = 0; i < status->members; i++) {
		struct member_status *member = &status->member[i];

		member->counters.reads += shard->member_counters[i].reads;
		member->counters.writes += shard->member_counters[i].writes;
		member->counters.read_errors += shard->member_counters[i].read_errors;
		member->counters.write_errors += shard->member_counters[i].write_errors;
		if (!(shard->lost & 1u << i))
			continue;
		member->state = MEMBER_FAILED;
		if (shard->index == 0) {
			member->reason = shard->array->losses[i].reason;
			member->lost_at_ns = shard->array->losses[i].at_ns;
		}
	}
	return 0;
}

static void plain_status(struct array *array, struct array_status *status)
{
	memset(status, 0, sizeof(*status));
	status->members = array->geometry.members;
	for (unsigned i = 0; i < array->shard_count; i++) {
		struct status_call call = {array->shards[i], status};

		reactor_call(array->shards[i]->reactor, add_status, &call);
	}
	for (unsigned i = 0; i < status->members; i++) {
		status->member[i].dev = array->config.member[i];
		status->failed += status->member[i].state == MEMBER_FAILED;
	}
	/* Without redundancy every error of a drive is the user's: the array does not keep its
	 * word. */
	if (status->failed > array->geometry.redundant ||
		(status->failed == array->geometry.redundant && status->counters.errors))
		status->state = ARRAY_FAILED;
	else if (status->failed)
		status->state = ARRAY_DEGRADED;
	status->tolerates =
		array->geometry.redundant - MIN(status->failed, array->geometry.redundant);
}

void array_status(struct array *array, struct array_status *status)
{
	struct array_status part;
	unsigned member = 0;

	plain_status(array, status);
	if (!array->part_count)
		return;
	status->members = array->config.members;
	status->failed = 0;
	status->tolerates = UINT32_MAX;
	for (unsigned i = 0; i < array->part_count; i++) {
		plain_status(array->parts[i], &part);
		status->state = MAX(status->state, part.state);
		status->failed += part.failed;
		status->tolerates = MIN(status->tolerates, part.tolerates);
		status->counters.ops += part.counters.ops;
		status->counters.joins += part.counters.joins;
		status->counters.full_stripes += part.counters.full_stripes;
		status->counters.rewrites += part.counters.rewrites;
		status->counters.modifies += part.counters.modifies;
		status->counters.recovers += part.counters.recovers;
		status->counters.retries += part.counters.retries;
		status->counters.errors += part.counters.errors;
		for (unsigned j = 0; j < part.members; j++)
			status->member[member++] = part.member[j];
	}
}

/* --- changing -------------------------------------------------------------------------------- */

struct lose_call {
	struct shard *shard;
	unsigned member;
};

static int lose_on_home(void *argument)
{
	struct lose_call *call = argument;

	member_lose(call->shard, call->member, LOSS_OPERATOR);
	return 0;
}

/* The plain array that has member *index of the whole, which becomes its own index there. */
static struct array *plain_part(struct array *array, unsigned *index)
{
	unsigned each;

	assert(*index < array->config.members);
	if (!array->part_count)
		return array;
	each = array->config.members / array->part_count;
	array = array->parts[*index / each];
	*index %= each;
	return array;
}

int array_fail_check(struct array *array, unsigned index, bool beyond_redundancy, struct fail *fail)
{
	struct array *part = plain_part(array, &index);
	const char *name = part->config.name;
	struct array_status status;

	plain_status(part, &status);
	if (!part->geometry.redundant)
		return fail_set(fail, EPERM,
			"array %s is %s and has no redundancy: it cannot go on without a drive",
			name, part->geometry.level->text);
	if (status.member[index].state == MEMBER_FAILED)
		return fail_set(fail, EALREADY, "drive %s of array %s has failed already",
			part->config.member[index]->name, name);
	if (!status.tolerates && !beyond_redundancy)
		return fail_set(fail, EPERM,
			"array %s has no redundancy left: without drive %s its data is gone; "
			"--allow-failed does it all the same",
			name, part->config.member[index]->name);
	return 0;
}

int array_fail_member(
	struct array *array, unsigned index, bool beyond_redundancy, struct fail *fail)
{
	int error = array_fail_check(array, index, beyond_redundancy, fail);
	struct array *part = plain_part(array, &index);
	struct lose_call call = {part->shards[0], index};

	return error ? error : reactor_call(part->shards[0]->reactor, lose_on_home, &call);
}

struct shard *array_owner(const struct array *array, uint64_t stripe)
{
	unsigned low = 0, high = array->owners_count;

	while (low < high) {
		unsigned middle = (low + high) / 2;
		const struct array_owners *range = &array->owners[middle];

		if (stripe < range->first_stripe) {
			high = middle;
		} else if (stripe >= range->end_stripe) {
			low = middle + 1;
		} else {
			unsigned skip =
				(unsigned)stripe % (unsigned)__builtin_popcountll(range->reactors);
			uint64_t mask = range->reactors;

			while (skip--)
				mask &= mask - 1;
			return array->shards[__builtin_ctzll(mask)];
		}
	}
	return array->shards[stripe % array->shard_count];
}

struct pause_call {
	struct shard *shard;
	bool paused;
};

/* On each shard's reactor. 1: something is still in flight. */
static int pause_on_reactor(void *argument)
{
	struct pause_call *call = argument;

	call->shard->paused = call->paused;
	return call->paused && (call->shard->requests_busy || call->shard->ops_busy);
}

static bool pause_all(struct array *array, bool paused)
{
	bool busy = false;

	for (unsigned i = 0; i < array->shard_count; i++) {
		struct pause_call call = {array->shards[i], paused};

		busy |= reactor_call(array->shards[i]->reactor, pause_on_reactor, &call);
	}
	return busy;
}

static int set_owners(struct array *array, const struct array_owners *ranges, unsigned count)
{
	assert(count <= ARRAY_OWNERS_MAX);
	for (unsigned i = 0; i < count; i++) {
		assert(ranges[i].reactors && ranges[i].first_stripe < ranges[i].end_stripe);
		assert(!i || ranges[i - 1].end_stripe <= ranges[i].first_stripe);
	}
	/* Every call takes a turn of every reactor, so requests go on while this waits. */
	while (pause_all(array, true))
		;
	memcpy(array->owners, ranges, count * sizeof(ranges[0]));
	array->owners_count = count;
	pause_all(array, false);
	return 0;
}

int array_set_owners(
	struct array *array, const struct array_owners *ranges, unsigned count, struct fail *fail)
{
	if (count > ARRAY_OWNERS_MAX)
		return fail_set(fail, ENOSPC,
			"at most %d volumes of an array can have cores of their own",
			ARRAY_OWNERS_MAX);
	for (unsigned i = 0; i < array->part_count; i++)
		set_owners(array->parts[i], ranges, count);
	return set_owners(array, ranges, count);
}
