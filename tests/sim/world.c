/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/log.h"
#include "client.h"
#include "fleet.h"
#include "parity/parity.h"
#include "raid/assembly.h"
#include "reactor/sim.h"
#include "run.h"

/* So little that operations have to wait for memory now and then. */
enum { ARENA_BYTES = 256 << 10 };

struct world *worlds[WORLDS];

static struct world *entered;
static struct memory_set memories[WORLDS];

void worlds_prepare(void)
{
	const char *dropped;
	struct fail fail;

	/* Engines come and go by the thousand: their memory stays with the process. */
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, INT_MAX);
	log_threshold(getenv("SIM_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR - 1);
	parity_select(NULL, &dropped);
	for (unsigned i = 0; i < WORLDS; i++) {
		worlds[i] = calloc(1, sizeof(*worlds[i]));
		if (!worlds[i] || memory_start(REACTORS, ARENA_BYTES, &fail))
			abort();
		memory_swap(&memories[i]);
		worlds[i]->level = i;
		for (unsigned j = 0; j < DRIVES_MAX; j++)
			sim_drive_allocate(&worlds[i]->drive[j]);
		clients_allocate(worlds[i]);
	}
	world_enter(worlds[0]);
}

void world_renew_memory(void)
{
	struct fail fail;

	memory_stop();
	if (memory_start(REACTORS, ARENA_BYTES, &fail))
		abort();
}

struct world *world_enter(struct world *world)
{
	struct world *before = entered;

	if (before)
		memory_swap(&memories[before->level]);
	memory_swap(&memories[world->level]);
	entered = world;
	return before;
}

void world_until(struct world *world, const bool *flag, const char *what)
{
	uint64_t steps = 0;

	while (!*flag && reactor_sim_step(world->group))
		if (++steps > STEPS_MAX)
			run_wrong("depth %u: no end: %s", world->level, what);
	if (!*flag)
		run_wrong("depth %u: never: %s", world->level, what);
}

/* --- a group, its drives ---------------------------------------------------------------------- */

/* Before every command of every drive. */
static void before_command(void *owner, const struct io *io)
{
	struct world *world = owner;
	/* Most mistakes are about what is durable first: a map, or what it speaks of. */
	bool telling = io->kind == IO_WRITE && io->block < world->drive[0].log_first;

	if (world->kill_in && !--world->kill_in) {
		if (world->cancel)
			atomic_store(world->cancel, true);
		else if (!world->drive[world->kill_drive].dead)
			world_kill(world, world->kill_drive);
	}
	if (world->crash_in &&
		(!--world->crash_in ||
			(telling && random_chance(&world->random, world->hot_per_thousand))))
		world->crash(world);
}

void world_open(struct world *world, uint64_t seed)
{
	world->random.state = seed;
	world->reactors = world->setup->reactors;
	if (world->level)
		world->reactors = 1 + (unsigned)random_below(&world->random, world->reactors);
	world->group = reactor_sim_create(world->reactors, random_next(&world->random));
	/* Mostly drives are fast and ticks rare; sometimes the other way round. */
	reactor_sim_hurry(world->group, random_chance(&world->random, 250)
						? 300
						: (unsigned)random_below(&world->random, 20));
	world->array = NULL;
	world->beyond = world->setup->beyond;
	world->flaky = false;
	world->busy = world->ios_left = 0;
	world->written = 0;
	world->paused = world->changing = world->exposed = world->forsaken = false;
	world->crash_in = world->kill_in = world->hot_per_thousand = 0;
	world->cancel = NULL;
	for (unsigned i = 0; i < world->drives; i++) {
		struct sim_drive *drive = &world->drive[i];

		drive->random = &world->random;
		drive->before = before_command;
		drive->owner = world;
	}
}

void world_close(struct world *world)
{
	world_stop(world);
	for (unsigned i = 0; i < world->drives; i++) {
		if (!list_empty(&world->drive[i].queues))
			run_wrong("depth %u: drive %u is still in use", world->level, i);
		if (world_dev(world, i)->user[0])
			run_wrong("depth %u: drive %u is still claimed", world->level, i);
	}
	if (world->fleet)
		fleet_close(world);
	reactor_sim_destroy(world->group);
	for (unsigned i = 0; i < REACTORS; i++)
		if (arena_free_bytes(memory_arena(i)) != arena_bytes(memory_arena(i)))
			run_wrong("depth %u: %zu bytes of the arena were not given back",
				world->level,
				arena_bytes(memory_arena(i)) - arena_free_bytes(memory_arena(i)));
}

static void init_drive(struct world *world, unsigned index, const struct layout *layout)
{
	const struct setup *setup = world->setup;
	struct sim_drive *drive = &world->drive[index];
	uint64_t blocks = setup->member_bytes / setup->block_bytes;
	char name[16];

	snprintf(name, sizeof(name), "drive%u", index);
	/* Spares hold what any member does. */
	blocks += index < setup->members ? random_below(&world->random, 3) : 2;
	sim_drive_init(drive, name, blocks, setup->block_bytes);
	drive->dev.volatile_cache = setup->volatile_cache;
	drive->dev.discard_zeroes =
		setup->discard_zeroes && !(setup->odd_spare && index == setup->members);
	drive->prompt = setup->prompt;
	drive->eager_per_thousand = 400 + (unsigned)random_below(&world->random, 600);
	drive->log_first = layout->log.offset / setup->block_bytes;
	drive->data_first = layout->data.offset / setup->block_bytes;
	drive->data_end = drive->data_first + layout->data.bytes / setup->block_bytes;
}

static struct array_config make_config(const struct world *world)
{
	const struct setup *setup = world->setup;

	return (struct array_config){.name = "sim",
		.level = setup->level,
		.chunk_bytes = setup->chunk_bytes,
		.block_bytes = setup->block_bytes,
		.members = setup->members,
		.parts = setup->level->part && !setup->level->part_members ? setup->parts : 0,
		.depth = setup->depth,
		.consistency = setup->consistency,
		.places = &setup->places};
}

struct world *world_create_drives(const struct setup *setup, uint64_t seed)
{
	struct world *world = worlds[0];
	struct layout layout;
	struct fail fail;

	world->setup = setup;
	world->random.state = seed;
	world->drives = setup->members + 2 + (setup->members < MEMBERS_MAX);
	if (layout_make(&layout, &setup->places, setup->member_bytes, &fail))
		run_wrong("layout: %s", fail.text);
	for (unsigned i = 0; i < world->drives; i++) {
		init_drive(world, i, &layout);
		world->absent[i] = false;
		world->slot_of[i] = i < setup->members ? (uint8_t)i : SLOT_NONE;
	}
	for (unsigned i = 0; i < setup->members; i++)
		world->good[i] = true;
	world_open(world, random_next(&world->random));
	if (setup->nvme)
		fleet_open(world);
	return world;
}

int world_create_array(struct world *world, struct fail *fail)
{
	struct array_config config = make_config(world);
	int error;

	for (unsigned i = 0; i < config.members; i++)
		config.member[i] = world_dev(world, i);
	error = array_create(&world->array, &config, world->group, fail);
	if (error)
		world->array = NULL;
	return error;
}

void world_begin(struct world *world)
{
	const struct blockdev *dev = array_blockdev(world->array);

	world->uuid = *array_uuid(world->array);
	world->geometry = *array_geometry(
		array_parts(world->array) ? array_part(world->array, 0) : world->array);
	world->notes[0] = world->notes[1] = 0;
	oracle_init(&world->oracle, dev->blocks, dev->block_bytes, !dev->volatile_cache);
	world_open_clients(world);
}

struct world *world_create(const struct setup *setup, uint64_t seed)
{
	struct world *world = world_create_drives(setup, seed);
	struct fail fail;

	if (world_create_array(world, &fail))
		run_wrong("cannot create: %s", fail.text);
	world_begin(world);
	return world;
}

struct blockdev *world_dev(struct world *world, unsigned index)
{
	return world->fleet ? fleet_dev(world, index) : &world->drive[index].dev;
}

void world_kill(struct world *world, unsigned index)
{
	if (world->fleet)
		fleet_kill(world, index);
	else
		sim_drive_kill(&world->drive[index]);
}

void world_revive(struct world *world, unsigned index)
{
	if (world->fleet)
		fleet_revive(world, index);
	else
		sim_drive_revive(&world->drive[index], &world->random);
}

/* --- start and stop --------------------------------------------------------------------------- */

struct search {
	struct superblock superblock[DRIVES_MAX];
	struct found found[DRIVES_MAX];
	unsigned count;
	struct assembly assembly;
};

static void say_superblock(const struct sim_drive *drive, const struct superblock *superblock)
{
	run_say("   %s: row %u, generation %llu, epoch %02x <- %02x %02x %02x%s", drive->dev.name,
		superblock->row, (unsigned long long)superblock->generation,
		superblock->epoch.byte[0], superblock->ancestors[0].byte[0],
		superblock->ancestors[1].byte[0], superblock->ancestors[2].byte[0],
		superblock->clean ? ", clean" : "");
	for (unsigned i = 0; i < SUPERBLOCK_ROWS && run_tracing; i++)
		if (superblock->rows[i].state != ROW_EMPTY)
			run_say("      row %u: %02x %s since %llu, watermark %llu", i,
				superblock->rows[i].uuid.byte[0],
				row_state_name(superblock->rows[i].state),
				(unsigned long long)superblock->rows[i].since,
				(unsigned long long)superblock->rows[i].watermark);
}

/* As a daemon does after a boot: in whatever order the drives turn up. */
static void search_drives(struct world *world, struct search *search)
{
	unsigned order[DRIVES_MAX] = {0};
	struct fail fail;

	search->count = 0;
	for (unsigned i = 0; i < world->drives; i++) {
		unsigned other = (unsigned)random_below(&world->random, i + 1);

		order[i] = order[other];
		order[other] = i;
	}
	for (unsigned i = 0; i < world->drives; i++) {
		struct sim_drive *drive = &world->drive[order[i]];
		struct superblock *superblock = &search->superblock[search->count];

		if (world->absent[order[i]] || drive->dead)
			continue;
		if (superblock_read(superblock, world_dev(world, order[i]),
			    reactor_at(world->group, 0), &world->setup->places, &fail))
			continue;
		say_superblock(drive, superblock);
		search->found[search->count++] =
			(struct found){world_dev(world, order[i]), superblock, ""};
	}
}

int world_start(struct world *world, bool accept_loss, struct fail *fail)
{
	static struct search searches[WORLDS];
	struct search *search = &searches[world->level];
	struct array_start_options options = {.accept_loss = accept_loss,
		.depth = world->setup->depth,
		.places = &world->setup->places};
	int error;

	search_drives(world, search);
	if (uuid_is_null(&world->uuid) && search->count)
		world->uuid = search->superblock[0].array_uuid;
	assembly_decide(&search->assembly, &world->uuid, search->found, search->count);
	run_trace(search->assembly.state);
	if (search->assembly.state != ASSEMBLY_COMPLETE &&
		search->assembly.state != ASSEMBLY_DEGRADED)
		return fail_set(fail, ENODEV, "not assembled: %s", search->assembly.why);
	run_fail_allocation(world->fail_allocation, world->fail_for_ever);
	error = array_start(&world->array, &search->assembly, &options, world->group, fail);
	run_fail_allocation(0, false);
	if (error) {
		world->array = NULL;
		return error;
	}
	return 0;
}

void world_open_clients(struct world *world)
{
	clients_open(world);
}

void world_close_clients(struct world *world)
{
	clients_close(world);
}

void world_stop(struct world *world)
{
	if (!world->array)
		return;
	world_close_clients(world);
	array_stop(world->array);
	world->array = NULL;
}

/* --- notes ------------------------------------------------------------------------------------ */

int world_write_notes(struct world *world, struct fail *fail)
{
	char text[40];
	int error;

	world->notes[1] = random_next(&world->random) | 1;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)world->notes[1]);
	error = array_notes_write(world->array, text, fail);
	if (!error)
		world->notes[0] = world->notes[1];
	return error;
}

void world_check_notes(struct world *world)
{
	struct fail fail;
	uint64_t found;
	char *text;
	int error = array_notes_read(world->array, &text, &fail);

	if (error && world->beyond)
		return;
	if (error)
		run_wrong("depth %u: no notes: %s", world->level, fail.text);
	found = strtoull(text, NULL, 10);
	if (found != world->notes[0] && found != world->notes[1])
		run_wrong("depth %u: the notes are '%s', not %llu or %llu", world->level, text,
			(unsigned long long)world->notes[0], (unsigned long long)world->notes[1]);
	world->notes[0] = world->notes[1] = found;
	free(text);
}

/* --- book-keeping ----------------------------------------------------------------------------- */

static unsigned index_of(struct world *world, const struct blockdev *dev)
{
	for (unsigned i = 0; i < world->drives; i++)
		if (world_dev(world, i) == dev)
			return i;
	run_wrong("depth %u: a member that nobody knows", world->level);
}

void world_refresh(struct world *world)
{
	const struct array_status *status = &world->status;

	array_status(world->array, &world->status);
	memset(world->slot_of, SLOT_NONE, sizeof(world->slot_of));
	for (unsigned row = 0; row < status->rows; row++) {
		const struct member_status *member = &status->member[row];
		bool slot = row < world->setup->members;
		const struct sim_drive *drive;
		unsigned index;

		if (slot)
			world->good[row] = false;
		if (!member->dev)
			continue;
		index = index_of(world, member->dev);
		drive = &world->drive[index];
		if (slot)
			world->slot_of[index] = (uint8_t)row;
		else if (member->state == ROW_REPLACING)
			world->slot_of[index] = (uint8_t)member->replaces;
		if (slot)
			world->good[row] = member->state == ROW_IN_SYNC && !drive->dead &&
					   !drive->flaky_per_thousand;
	}
}

bool world_has_void_copy(struct world *world)
{
	const struct array_status *status = &world->status;

	array_status(world->array, &world->status);
	for (unsigned row = world->setup->members; row < status->rows; row++)
		if (status->member[row].state == ROW_REPLACING &&
			status->member[status->member[row].replaces].state == ROW_FAILED)
			return true;
	return false;
}

unsigned world_bad_in_part(const struct world *world, unsigned part)
{
	unsigned bad = 0;

	for (unsigned i = 0; i < world->setup->part_members; i++)
		bad += !world->good[part * world->setup->part_members + i];
	return bad;
}

int world_drive_of(const struct world *world, unsigned slot)
{
	for (unsigned i = 0; i < world->drives; i++)
		if (world->slot_of[i] == slot)
			return (int)i;
	return -1;
}

unsigned world_slot_of_block(const struct world *world, uint64_t block)
{
	const struct geometry *geometry = &world->geometry;
	uint64_t stripe = block / geometry->stripe_blocks;
	unsigned part = (unsigned)(stripe % world->setup->parts);
	unsigned column = (unsigned)(block % geometry->stripe_blocks / geometry->chunk_blocks);

	stripe /= world->setup->parts;
	return part * world->setup->part_members + geometry_member(geometry, stripe, column);
}

bool world_is_unreadable(const struct world *world, uint64_t block)
{
	const struct geometry *geometry = &world->geometry;
	int drive = world_drive_of(world, world_slot_of_block(world, block));
	uint64_t stripe = block / geometry->stripe_blocks / world->setup->parts;
	uint64_t row = stripe * geometry->chunk_blocks + block % geometry->chunk_blocks;

	if (drive < 0)
		return false;
	row += world->drive[drive].data_first;
	return world->drive[drive].unreadable[row / 64] >> row % 64 & 1;
}
