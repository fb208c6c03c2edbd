/* SPDX-License-Identifier: Apache-2.0 */
/* Making, starting, stopping and unmaking arrays. Control thread. */
#include "raid/array.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bits.h"
#include "base/log.h"
#include "base/mutant.h"
#include "memory/memory.h"
#include "raid/build.h"
#include "raid/gpt.h"
#include "raid/internal.h"
#include "raid/transfer.h"

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

static const struct layout_places *places_of(const struct array_config *config)
{
	return config->places ? config->places : &layout_standard;
}

/* The layout that fits the smallest member serves all: data begins at the same place everywhere. */
static int make_layout(struct layout *layout, const struct array_config *config, struct fail *fail)
{
	uint64_t bytes = smallest_member(config) * config->block_bytes;
	int error = layout_make(layout, places_of(config), bytes, fail);

	if (!error && layout->data.bytes < config->chunk_bytes)
		error = fail_set(fail, ENOSPC,
			"the smallest drive has no room for one chunk of %u bytes: use larger "
			"drives "
			"or a smaller chunk",
			config->chunk_bytes);
	return error;
}

int array_check(const struct array_config *config, uint64_t *usable_bytes, uint64_t *waste_bytes,
	struct fail *fail)
{
	const struct level *level = config->level;
	unsigned parts = level->part ? part_count(config) : 1;
	struct layout layout;
	uint64_t blocks, chunks, data;
	int error = check_numbers(config, fail);

	if (!error)
		error = check_members(config, fail);
	if (!error)
		error = make_layout(&layout, config, fail);
	if (error)
		return error;
	blocks = smallest_member(config);
	chunks = layout.data.bytes / config->chunk_bytes;
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
	array_stop(container_of(dev, struct array, dev));
}

static const struct blockdev_ops array_ops = {
	.driver = "array",
	.open_queue = array_open_queue,
	.close_queue = array_close_queue,
	.submit = request_submit,
	.destroy = array_destroy_dev,
};

/* --- building -------------------------------------------------------------------------------- */

void build_release(const struct build *build)
{
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++)
		if (build->dev[i])
			blockdev_release(build->dev[i]);
}

int build_claim(const struct build *build, struct fail *fail)
{
	char user[BLOCKDEV_USER_BYTES];

	snprintf(user, sizeof(user), "array %s", build->config.name);
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++) {
		int error = build->dev[i] ? blockdev_claim(build->dev[i], user, fail) : 0;

		if (!error)
			continue;
		while (i--)
			if (build->dev[i])
				blockdev_release(build->dev[i]);
		return error;
	}
	return 0;
}

void array_allow_for(struct array *array, const struct blockdev *member)
{
	array->volatile_members |= member->volatile_cache;
	array->dev.volatile_cache |= member->volatile_cache;
	array->whole->dev.volatile_cache |= member->volatile_cache;
	array->members_clear &= member->discard_zeroes;
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
		if (array->config.member[i])
			array_allow_for(array, array->config.member[i]);
	}
	array->dev.discard_zeroes = array->members_clear;
}

static struct array *array_new(const struct build *build, const struct array_config *config,
	const struct level *level, uint64_t offset_bytes)
{
	struct array *array = calloc(1, sizeof(*array));
	uint64_t offset = offset_bytes / config->block_bytes;

	if (!array)
		return NULL;
	array->config = *config;
	array->whole = array;
	array->group = build->group;
	array->depth = config->depth ? config->depth : DEPTH_DEFAULT;
	array->geometry = (struct geometry){
		.level = level,
		.members = config->members,
		.block_bytes = config->block_bytes,
		.chunk_blocks = config->chunk_bytes / config->block_bytes,
		.member_offset = offset,
	};
	geometry_init(&array->geometry,
		offset + build->superblock.stripes * array->geometry.chunk_blocks);
	pthread_mutex_init(&array->change, NULL);
	init_dev(array);
	return array;
}

static void array_free(struct array *array)
{
	for (unsigned i = 0; i < array->part_count; i++)
		array_free(array->parts[i]);
	pthread_mutex_destroy(&array->change);
	free(array);
}

/* Copies of members that are still being made. */
static void allow_for_replacements(struct array *array, const struct build *build)
{
	const struct superblock *superblock = &build->superblock;

	for (unsigned i = superblock->members; i < SUPERBLOCK_ROWS; i++) {
		unsigned member = superblock->rows[i].replaces - array->first_row;

		if (superblock->rows[i].state == ROW_REPLACING && build->dev[i] &&
			member < array->geometry.members)
			array_allow_for(array, build->dev[i]);
	}
}

/* A plain array that is the whole, or a part of it. */
static struct array *plain_new(const struct build *build, unsigned part, unsigned each)
{
	const struct superblock *superblock = &build->superblock;
	struct array_config config = build->config;
	const struct level *level = config.level->part ? config.level->part : config.level;
	struct array *array;

	config.members = each;
	config.level = level;
	if (build->config.level->part)
		snprintf(config.name, sizeof(config.name), "%.59s.%hhu", build->config.name,
			(uint8_t)part);
	memset(config.member, 0, sizeof(config.member));
	memcpy(config.member, build->dev + part * each, each * sizeof(config.member[0]));
	array = array_new(build, &config, level, superblock->layout.data.offset);
	if (!array)
		return NULL;
	array->part = part;
	array->first_row = part * each;
	allow_for_replacements(array, build);
	array->region_stripes = superblock->region_bytes / superblock->chunk_bytes;
	array->regions = divide_up(superblock->stripes, array->region_stripes);
	array->log = superblock->layout.log;
	return array;
}

/* RAID 0 over arrays. The outer chunk is the inner stripe, so that a stripe of the whole is the
 * same stripe of every part: ownership and alignment carry over by number. */
static struct array *stacked_new(const struct build *build)
{
	unsigned parts = build->superblock.parts, each = build->config.members / parts;
	struct array_config outer = build->config;
	struct array *part[RAID_MEMBERS_MAX] = {NULL}, *array = NULL;
	unsigned made = 0;

	memset(outer.member, 0, sizeof(outer.member));
	for (; made < parts; made++) {
		part[made] = plain_new(build, made, each);
		if (!part[made])
			goto free_parts;
		outer.member[made] = &part[made]->dev;
	}
	outer.members = parts;
	outer.chunk_bytes = part[0]->geometry.stripe_blocks * outer.block_bytes;
	array = array_new(build, &outer, level_stripe(), 0);
	if (!array)
		goto free_parts;
	array->regions = part[0]->regions;
	array->region_stripes = part[0]->region_stripes;
	array->part_count = parts;
	for (unsigned i = 0; i < parts; i++) {
		array->parts[i] = part[i];
		part[i]->whole = array;
	}
	return array;

free_parts:
	while (made--)
		array_free(part[made]);
	return NULL;
}

static int open_keeper(struct array *array, const struct build *build, struct fail *fail)
{
	struct keeper *keeper;
	int error = keeper_create(&keeper, array, &build->superblock, fail);

	if (error)
		return error;
	intent_tick_init(keeper);
	array->keeper = keeper;
	for (unsigned i = 0; i < array->part_count; i++)
		array->parts[i]->keeper = keeper;
	for (unsigned kind = 0; kind < KEEPER_MAPS; kind++) {
		keeper->maps[kind].generation = build->maps[kind].generation;
		if (build->maps[kind].bits)
			memcpy(keeper->maps[kind].bits, build->maps[kind].bits, MAP_BYTES);
	}
	if (!bad_list_decode(&keeper->bad.list, keeper->maps[MAP_BAD].bits)) {
		keeper_destroy(keeper);
		return fail_set(fail, EILSEQ,
			"the list of bad blocks of array %s makes no sense: this braid did not "
			"write it",
			build->superblock.name);
	}
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++) {
		struct keeper_row *row = &keeper->rows[i];

		row->bytes = build->bytes[i];
		row->second_ring = build->second_ring[i];
		memcpy(row->fingerprint, build->fingerprint[i], sizeof(row->fingerprint));
		if (build->dev[i])
			error = keeper_seat(keeper, i, build->dev[i], fail);
		if (error) {
			keeper_destroy(keeper);
			return error;
		}
	}
	return 0;
}

static void destroy_shards(struct array *array)
{
	while (array->shard_count--)
		shard_destroy(array->shards[array->shard_count]);
	array->shard_count = 0;
}

static int create_shards(struct array *array, struct fail *fail)
{
	for (unsigned i = 0; i < reactor_count(array->group); i++) {
		int error = shard_create(array, i, fail);

		if (error) {
			destroy_shards(array);
			return error;
		}
		array->shard_count++;
	}
	return 0;
}

/* Inner arrays first: the outer one opens their queues, which are their shards. */
static int create_all_shards(struct array *array, struct fail *fail)
{
	int error = 0;
	unsigned made = 0;

	for (; made < array->part_count && !error; made += !error)
		error = create_shards(array->parts[made], fail);
	if (!error)
		error = create_shards(array, fail);
	if (error)
		while (made--)
			destroy_shards(array->parts[made]);
	return error;
}

static int check_lanes(const struct build *build, struct fail *fail)
{
	const struct superblock *superblock = &build->superblock;
	uint64_t lane = superblock->layout.log.bytes / reactor_count(build->group);
	uint64_t window = MIN(superblock->chunk_bytes, 128u << 10);

	if (lane / LAYOUT_UNIT_BYTES >= LANE_HEADER_PAGES + 2 * (1 + window / LAYOUT_UNIT_BYTES))
		return 0;
	return fail_set(fail, ENOSPC,
		"the log of array %s has room for %llu cores, braidd runs on %u: use fewer cores",
		superblock->name,
		(unsigned long long)(superblock->layout.log.bytes /
				     (2 * (window + LAYOUT_UNIT_BYTES))),
		reactor_count(build->group));
}

/* The array runs, on what *build says; nothing is written to members but superblocks and maps. */
int build_array(struct array **created, const struct build *build, struct fail *fail)
{
	struct array *array;
	int error = check_lanes(build, fail);

	if (!error)
		error = build_claim(build, fail);
	if (error)
		return error;
	array = build->config.level->part ? stacked_new(build)
					  : plain_new(build, 0, build->config.members);
	if (!array) {
		error = fail_set(fail, ENOMEM, "no memory for array %s", build->config.name);
		goto release;
	}
	error = open_keeper(array, build, fail);
	if (error)
		goto free_array;
	error = create_all_shards(array, fail);
	if (error)
		goto destroy_keeper;
	/* The outer array of a stacked one has opened its parts: from here on it names the
	 * drives. */
	array->config = build->config;
	memcpy(array->config.member, build->dev,
		build->config.members * sizeof(array->config.member[0]));
	keeper_maps_now(array->keeper);
	keeper_commit_now(array->keeper, true);
	*created = array;
	return 0;

destroy_keeper:
	keeper_destroy(array->keeper);
free_array:
	array_free(array);
release:
	build_release(build);
	return error;
}

/* --- creating -------------------------------------------------------------------------------- */

static void seat_row(struct build *build, unsigned row, struct blockdev *dev,
	const char *fingerprint, const struct layout_places *places)
{
	uint64_t bytes = blockdev_bytes(dev);
	struct extent rings[2];
	bool fits = layout_find_superblocks(rings, places, bytes);

	assert(fits);
	(void)fits;
	build->dev[row] = dev;
	build->bytes[row] = bytes;
	build->second_ring[row] = rings[1].offset;
	snprintf(build->fingerprint[row], sizeof(build->fingerprint[row]), "%s",
		fingerprint ? fingerprint : "");
}

static void new_superblock(struct build *build, const struct layout *layout)
{
	const struct array_config *config = &build->config;
	struct superblock *superblock = &build->superblock;

	memset(superblock, 0, sizeof(*superblock));
	uuid_make(&superblock->array_uuid);
	uuid_make(&superblock->epoch);
	snprintf(superblock->name, sizeof(superblock->name), "%s", config->name);
	snprintf(superblock->writer, sizeof(superblock->writer), "braid %s", BRAID_VERSION);
	superblock->host_id = config->host_id;
	superblock->created_at = (uint64_t)time(NULL);
	superblock->level = config->level;
	superblock->members = config->members;
	superblock->parts = config->level->part ? part_count(config) : 0;
	superblock->chunk_bytes = config->chunk_bytes;
	superblock->block_bytes = config->block_bytes;
	superblock->layout_id = GEOMETRY_LAYOUT_LEFT_SYMMETRIC;
	superblock->layout = *layout;
	superblock->stripes = layout->data.bytes / config->chunk_bytes;
	superblock->region_bytes = MAX(layout_region_bytes(places_of(config), layout->data.bytes),
		(uint64_t)config->chunk_bytes);
	superblock->consistency = config->consistency;
	superblock->log_epoch = 1;
	superblock->unmade = true;
	for (unsigned i = 0; i < config->members; i++) {
		superblock->rows[i].state = ROW_IN_SYNC;
		superblock->rows[i].since = 1;
		uuid_make(&superblock->rows[i].uuid);
	}
}

static int mark_made(void *keeper)
{
	((struct keeper *)keeper)->superblock.unmade = false;
	return 0;
}

/* Until here every superblock says that the array is not there: a crash leaves none. From the first
 * one that does not, all members have one, and the array is whole. */
static void come_into_being(struct array *array)
{
	reactor_call(array->keeper->reactor, mark_made, array->keeper);
	keeper_commit_now(array->keeper, false);
}

/* So that others see that the drives are used. braid does not need it: what fails is only said. */
static void write_gpts(const struct array *array)
{
	const struct keeper *keeper = array->keeper;
	struct fail fail;

	for (unsigned i = 0; i < keeper->superblock.members; i++)
		if (keeper->rows[i].dev &&
			gpt_write(keeper->rows[i].dev, keeper->reactor, array_places(array),
				&keeper->superblock.rows[i].uuid, &fail))
			log_warning("event=NoPartitionTable drive=\"%s\" reason=\"%s\"",
				keeper->rows[i].dev->name, fail.text);
}

int array_create(struct array **array, const struct array_config *config,
	struct reactor_group *group, struct fail *fail)
{
	struct build *build;
	struct layout layout;
	uint64_t usable, waste;
	int error = array_check(config, &usable, &waste, fail);

	if (!error)
		error = make_layout(&layout, config, fail);
	if (error)
		return error;
	build = calloc(1, sizeof(*build));
	if (!build)
		return fail_set(fail, ENOMEM, "no memory for array %s", config->name);
	build->config = *config;
	build->group = group;
	new_superblock(build, &layout);
	for (unsigned i = 0; i < config->members; i++)
		seat_row(build, i, config->member[i], config->fingerprint[i], places_of(config));
	error = build_array(array, build, fail);
	free(build);
	if (error)
		return error;
	come_into_being(*array);
	write_gpts(*array);
	return 0;
}

/* --- stopping -------------------------------------------------------------------------------- */

static int mark_clean(void *argument)
{
	struct keeper *keeper = argument;
	struct array *whole = keeper->array;
	bool broken = false;

	intent_tick_stop(keeper);
	for (unsigned i = 0; i < array_plain_count(whole); i++)
		broken |= array_plain(whole, i)->shards[0]->broken;
	/* What a broken array has left half done is the log's to finish. */
	keeper->superblock.clean = !broken;
	/* Nothing is in flight and all is flushed; only what has to be resynced stays dirty. */
	if (!broken)
		memcpy(keeper->maps[MAP_DIRTY].bits,
			array_plain(whole, 0)->shards[0]->intent.resync,
			divide_up(whole->regions, 8));
	return 0;
}

/* From the first superblock that says so on, whatever is left of the array is recognised as what it
 * is, in any part of it: raid/assembly.c. A broken array's are written too, as far as they can be:
 * nobody is to come back to it. */
static int mark_unmade(void *argument)
{
	struct keeper *keeper = argument;

	keeper->superblock.unmade = true;
	keeper->frozen = false;
	return 0;
}

/* Failed members first: they know nothing of it. */
static void erase_members(struct array *array)
{
	struct keeper *keeper = array->keeper;

	for (unsigned live = 0; live < 2; live++)
		for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++)
			if (keeper->rows[i].dev &&
				live == (keeper->superblock.rows[i].state != ROW_FAILED))
				superblock_erase(keeper->rows[i].dev, keeper->reactor,
					array_places(array), NULL);
}

static int mark_nobodys(void *argument)
{
	struct keeper *keeper = argument;

	keeper->superblock.host_id = (struct uuid){{0}};
	return 0;
}

enum ending { ENDING_STOP, ENDING_EXPORT, ENDING_DELETE };

static void unmake(struct array *array, enum ending ending)
{
	struct keeper *keeper = array->keeper;

	array_quiesce(array);
	reactor_call(keeper->reactor, mark_clean, keeper);
	if (ending == ENDING_EXPORT)
		reactor_call(keeper->reactor, mark_nobodys, keeper);
	if (ending == ENDING_DELETE)
		reactor_call(keeper->reactor, mark_unmade, keeper);
	keeper_maps_now(keeper);
	keeper_commit_now(keeper, false);
	array_settle(array);
	pthread_mutex_unlock(&array->change);
	destroy_shards(array);
	for (unsigned i = 0; i < array->part_count; i++)
		destroy_shards(array->parts[i]);
	if (ending == ENDING_DELETE)
		erase_members(array);
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++) {
		struct blockdev *dev = keeper->rows[i].dev;

		keeper_seat(keeper, i, NULL, NULL);
		if (dev)
			blockdev_release(dev);
	}
	keeper_destroy(keeper);
	array_free(array);
}

void array_stop(struct array *array)
{
	unmake(array, ENDING_STOP);
}

void array_export(struct array *array)
{
	unmake(array, ENDING_EXPORT);
}

void array_delete(struct array *array)
{
	unmake(array, ENDING_DELETE);
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

const struct uuid *array_uuid(const struct array *array)
{
	return &array_plain((struct array *)array, 0)->keeper->superblock.array_uuid;
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
	static const char *const names[ARRAY_STATES] = {"optimal", "degraded", "broken"};

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
