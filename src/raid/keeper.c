/* SPDX-License-Identifier: Apache-2.0 */
#include "raid/keeper.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bits.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "base/mutant.h"
#include "memory/memory.h"
#include "raid/internal.h"

/* --- a map's page ---------------------------------------------------------------------------- */

static const char map_magic[8] = {'b', 'r', 'a', 'i', 'd', 'm', 'a', 'p'};

struct disk_map {
	char magic[8];
	le64 generation;
	le32 kind;
	uint8_t reserved[40];
	le32 checksum;
	uint8_t bits[MAP_BYTES];
};

static_assert(sizeof(struct disk_map) == LAYOUT_UNIT_BYTES, "FORMAT.md");

static uint32_t map_checksum(const struct disk_map *disk, const struct uuid *member, uint64_t place)
{
	le64 salt = le64_of(place);
	uint32_t crc = crc32c(0, member, sizeof(*member));

	crc = crc32c(crc, &salt, sizeof(salt));
	crc = crc32c(crc, disk, offsetof(struct disk_map, checksum));
	return crc32c(crc, disk->bits, sizeof(disk->bits));
}

void map_encode(const struct keeper_map *map, enum map_kind kind, const struct uuid *member,
	uint64_t place, void *page)
{
	struct disk_map *disk = page;

	memset(disk, 0, sizeof(*disk));
	memcpy(disk->magic, map_magic, sizeof(map_magic));
	disk->generation = le64_of(map->generation);
	disk->kind = le32_of(kind);
	memcpy(disk->bits, map->bits, MAP_BYTES);
	disk->checksum = le32_of(map_checksum(disk, member, place));
}

bool map_decode(uint8_t *bits, uint64_t *generation, enum map_kind kind, const struct uuid *member,
	uint64_t place, const void *page)
{
	const struct disk_map *disk = page;

	if (memcmp(disk->magic, map_magic, sizeof(map_magic)) || le32_get(disk->kind) != kind ||
		le32_get(disk->checksum) != map_checksum(disk, member, place))
		return false;
	*generation = le64_get(disk->generation);
	memcpy(bits, disk->bits, MAP_BYTES);
	return true;
}

uint64_t map_place(const struct layout *layout, enum map_kind kind)
{
	return kind == MAP_BAD ? layout->bad_blocks.offset
			       : layout->intent.offset + 2 * (uint64_t)kind * LAYOUT_UNIT_BYTES;
}

uint64_t map_count(const uint8_t *bits)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < MAP_BYTES; i++)
		count += bits_count(bits[i]);
	return count;
}

/* --- rounds of writing ----------------------------------------------------------------------- */

static bool is_live(const struct keeper *keeper, unsigned row)
{
	enum row_state state = keeper->superblock.rows[row].state;

	return keeper->rows[row].queue && !keeper->rows[row].broken && state != ROW_EMPTY &&
	       (state != ROW_FAILED || MUTANT(keeper_writes_failed));
}

/* Only slots take part in what the maps are for. */
static bool takes_part(const struct keeper *keeper, unsigned row)
{
	return is_live(keeper, row) &&
	       (keeper->state != KEEPER_MAP || row < keeper->superblock.members);
}

static void next_round(struct keeper *keeper);

static void tell(struct list *waits)
{
	struct list_node *node;

	while ((node = list_pop_front(waits))) {
		struct keeper_wait *wait = container_of(node, struct keeper_wait, link);

		wait->done(wait);
	}
}

static void put(struct keeper *keeper)
{
	struct list told;

	assert(keeper->pending);
	if (--keeper->pending)
		return;
	if (keeper->state == KEEPER_FIRST && !MUTANT(keeper_one_ring)) {
		keeper->state = KEEPER_SECOND;
		next_round(keeper);
		return;
	}
	keeper->state = KEEPER_IDLE;
	list_init(&told);
	list_append_all(&told, &keeper->told);
	next_round(keeper);
	tell(&told);
}

static void row_done(struct io *io)
{
	struct keeper_row *row = container_of(io, struct keeper_row, io);
	struct keeper *keeper = row->keeper;
	unsigned index = (unsigned)(row - keeper->rows), member;

	if (io->status && index < keeper->superblock.members) {
		struct array *part = array_of_row(keeper->array, index, &member);

		member_write_error(part->shards[0], member, LOSS_SUPERBLOCK);
	} else if (io->status && !row->broken) {
		row->broken = true; /* nobody relies on it; whoever wants to use it will see */
	}
	put(keeper);
}

static void row_write(struct keeper *keeper, unsigned index, uint64_t place)
{
	struct keeper_row *row = &keeper->rows[index];
	uint32_t block_bytes = row->dev->block_bytes;

	row->iov = (struct iovec){row->page, LAYOUT_UNIT_BYTES};
	row->io = (struct io){
		.kind = IO_WRITE,
		.fua = true,
		.block = place / block_bytes,
		.blocks = LAYOUT_UNIT_BYTES / block_bytes,
		.iov = &row->iov,
		.iovs = 1,
		.done = row_done,
	};
	keeper->pending++;
	io_submit(row->queue, &row->io);
}

static void write_superblock(struct keeper *keeper, unsigned index)
{
	struct superblock *superblock = &keeper->writing;
	struct keeper_row *row = &keeper->rows[index];
	uint64_t slot = superblock->generation % superblock->layout.slots * SUPERBLOCK_BYTES;
	uint64_t place;

	superblock->layout.superblocks[1].offset = row->second_ring;
	superblock->member_uuid = superblock->rows[index].uuid;
	superblock->row = index;
	superblock->member_bytes = row->bytes;
	memcpy(superblock->fingerprint, row->fingerprint, sizeof(row->fingerprint));
	place = superblock->layout.superblocks[keeper->state == KEEPER_SECOND].offset + slot;
	superblock_encode(superblock, place, row->page);
	row_write(keeper, index, place);
}

static void write_map(struct keeper *keeper, unsigned index)
{
	const struct keeper_map *map = &keeper->maps[keeper->kind];
	const struct superblock *superblock = &keeper->superblock;
	uint64_t place = map_place(&superblock->layout, keeper->kind) +
			 map->generation % 2 * LAYOUT_UNIT_BYTES;

	map_encode(
		map, keeper->kind, &superblock->rows[index].uuid, place, keeper->rows[index].page);
	row_write(keeper, index, place);
}

/* A broken array's table stays as it is: whoever is away must not miss a generation. */
static void choose_nothing(struct keeper *keeper)
{
	struct list told;

	list_init(&told);
	for (unsigned kind = 0; kind < KEEPER_MAPS; kind++) {
		keeper->maps[kind].wanted = false;
		list_append_all(&told, &keeper->maps[kind].waiting);
	}
	keeper->wanted = false;
	list_append_all(&told, &keeper->waiting);
	tell(&told);
}

/* Chooses what to write: maps first, because a loss waits for its map before it commits. */
static void choose(struct keeper *keeper)
{
	if (keeper->frozen && !MUTANT(broken_commits)) {
		choose_nothing(keeper);
		return;
	}
	for (unsigned kind = 0; kind < KEEPER_MAPS && keeper->state == KEEPER_IDLE; kind++) {
		struct keeper_map *map = &keeper->maps[kind];

		if (!map->wanted)
			continue;
		map->wanted = false;
		map->generation++;
		keeper->kind = kind;
		keeper->state = KEEPER_MAP;
		list_append_all(&keeper->told, &map->waiting);
	}
	if (keeper->state == KEEPER_IDLE && keeper->wanted) {
		keeper->wanted = false;
		keeper->superblock.generation++;
		keeper->superblock.written_at = (uint64_t)time(NULL);
		keeper->writing = keeper->superblock;
		keeper->state = KEEPER_FIRST;
		list_append_all(&keeper->told, &keeper->waiting);
	}
}

static void next_round(struct keeper *keeper)
{
	if (keeper->state == KEEPER_IDLE)
		choose(keeper);
	if (keeper->state == KEEPER_IDLE)
		return;
	keeper->pending = 1;
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++) {
		if (!takes_part(keeper, i))
			continue;
		if (keeper->state == KEEPER_MAP)
			write_map(keeper, i);
		else
			write_superblock(keeper, i);
	}
	put(keeper);
}

void keeper_commit(struct keeper *keeper, struct keeper_wait *wait)
{
	assert(reactor_self() == keeper->reactor);
	keeper->wanted = true;
	if (wait)
		list_push_back(&keeper->waiting, &wait->link);
	if (keeper->state == KEEPER_IDLE)
		next_round(keeper);
}

void keeper_map_write(struct keeper *keeper, enum map_kind kind, struct keeper_wait *wait)
{
	assert(reactor_self() == keeper->reactor);
	keeper->maps[kind].wanted = true;
	if (wait)
		list_push_back(&keeper->maps[kind].waiting, &wait->link);
	if (keeper->state == KEEPER_IDLE)
		next_round(keeper);
}

void keeper_row_set(struct keeper *keeper, unsigned row, enum row_state state)
{
	struct superblock_row *entry = &keeper->superblock.rows[row];

	entry->state = state;
	entry->since = keeper->superblock.generation + 1;
}

bool keeper_is_idle(const struct keeper *keeper)
{
	bool idle = keeper->state == KEEPER_IDLE && !keeper->wanted;

	for (unsigned kind = 0; kind < KEEPER_MAPS; kind++)
		idle &= !keeper->maps[kind].wanted;
	return idle;
}

/* --- from control threads -------------------------------------------------------------------- */

struct commit_call {
	struct keeper *keeper;
	struct keeper_wait wait;
	atomic_uint pending;
	bool new_epoch;
	enum map_kind kind;
};

static void commit_told(struct keeper_wait *wait)
{
	atomic_fetch_sub(&container_of(wait, struct commit_call, wait)->pending, 1);
}

void new_epoch(struct superblock *superblock)
{
	memmove(superblock->ancestors + 1, superblock->ancestors,
		2 * sizeof(superblock->ancestors[0]));
	superblock->ancestors[0] = superblock->epoch;
	uuid_make(&superblock->epoch);
}

static int commit_on_home(void *argument)
{
	struct commit_call *call = argument;

	if (call->new_epoch)
		new_epoch(&call->keeper->superblock);
	keeper_commit(call->keeper, &call->wait);
	return 0;
}

static void wait_for(struct commit_call *call)
{
	while (atomic_load(&call->pending))
		reactor_yield(reactor_group_of(call->keeper->reactor));
}

void keeper_commit_now(struct keeper *keeper, bool new_epoch)
{
	struct commit_call call = {
		.keeper = keeper, .wait.done = commit_told, .pending = 1, .new_epoch = new_epoch};

	reactor_call(keeper->reactor, commit_on_home, &call);
	wait_for(&call);
}

static int map_on_home(void *argument)
{
	struct commit_call *call = argument;

	keeper_map_write(call->keeper, call->kind, &call->wait);
	return 0;
}

void keeper_map_now(struct keeper *keeper, enum map_kind kind)
{
	struct commit_call call = {
		.keeper = keeper, .wait.done = commit_told, .pending = 1, .kind = kind};

	reactor_call(keeper->reactor, map_on_home, &call);
	wait_for(&call);
}

void keeper_maps_now(struct keeper *keeper)
{
	for (unsigned kind = 0; kind < KEEPER_MAPS; kind++)
		keeper_map_now(keeper, kind);
}

int keeper_seat(struct keeper *keeper, unsigned row, struct blockdev *dev, struct fail *fail)
{
	struct keeper_row *seat = &keeper->rows[row];
	int error;

	if (seat->queue)
		blockdev_close_queue(seat->queue);
	seat->queue = NULL;
	seat->dev = dev;
	seat->broken = false;
	if (!dev)
		return 0;
	error = blockdev_open_queue(dev, keeper->reactor, &seat->queue, fail);
	if (error)
		seat->queue = NULL;
	return error;
}

int keeper_create(struct keeper **created, struct array *array, const struct superblock *superblock,
	struct fail *fail)
{
	struct keeper *keeper = calloc(1, sizeof(*keeper));
	uint8_t *bits;

	if (!keeper)
		return fail_set(fail, ENOMEM, "no memory for array %s", superblock->name);
	keeper->array = array;
	keeper->reactor = reactor_at(array->group, 0);
	keeper->superblock = *superblock;
	keeper->pages = memory_map(SUPERBLOCK_ROWS * LAYOUT_UNIT_BYTES, NULL);
	bits = calloc(KEEPER_MAPS + 1, MAP_BYTES);
	if (!keeper->pages || !bits) {
		free(bits);
		if (keeper->pages)
			memory_unmap(keeper->pages, SUPERBLOCK_ROWS * LAYOUT_UNIT_BYTES);
		free(keeper);
		return fail_set(fail, ENOMEM, "no memory for array %s", superblock->name);
	}
	list_init(&keeper->waiting);
	list_init(&keeper->told);
	list_init(&keeper->bad.waiting);
	list_init(&keeper->bad.asked);
	for (unsigned kind = 0; kind < KEEPER_MAPS; kind++) {
		keeper->maps[kind].bits = bits + kind * MAP_BYTES;
		list_init(&keeper->maps[kind].waiting);
	}
	keeper->in_use = bits + KEEPER_MAPS * MAP_BYTES;
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++) {
		keeper->rows[i].keeper = keeper;
		keeper->rows[i].page = keeper->pages + i * LAYOUT_UNIT_BYTES;
	}
	*created = keeper;
	return 0;
}

void keeper_destroy(struct keeper *keeper)
{
	assert(keeper_is_idle(keeper));
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++)
		keeper_seat(keeper, i, NULL, NULL);
	memory_unmap(keeper->pages, SUPERBLOCK_ROWS * LAYOUT_UNIT_BYTES);
	free(keeper->maps[0].bits);
	free(keeper);
}
