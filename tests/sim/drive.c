/* SPDX-License-Identifier: Apache-2.0 */
#include "drive.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "reactor/reactor.h"
#include "run.h"

enum { PENDING_MAX = 512 };

struct sim_queue {
	struct blockdev_queue base;
	struct sim_drive *drive;
	struct list_node link;
	struct poller poller;
	unsigned count;
	struct io *pending[PENDING_MAX];
	uint64_t stamps[PENDING_MAX]; /* the drive's clock when it was submitted */
};

enum drive_defect drive_defect;

const char *drive_defect_name(enum drive_defect defect)
{
	static const char *const names[DEFECTS] = {"none", "flush ignored", "FUA ignored",
		"write lost", "write misplaced", "bit flip"};

	return names[defect];
}

/* A firmware's mistake is rare, or every run would end in its first moments. */
static bool defective(const struct sim_drive *drive, enum drive_defect defect)
{
	return drive_defect == defect && random_chance(drive->random, 20);
}

/* --- content ---------------------------------------------------------------------------------- */

static void touch(struct sim_drive *drive, uint64_t block)
{
	uint64_t page = block * drive->dev.block_bytes / DRIVE_PAGE_BYTES;

	drive->touched[page / 64] |= 1ull << page % 64;
}

static bool is_unreadable(const struct sim_drive *drive, const struct io *io)
{
	for (uint64_t block = io->block; block < io->block + io->blocks; block++)
		if (drive->unreadable[block / 64] >> block % 64 & 1)
			return true;
	return false;
}

static char *at(const struct sim_drive *drive, char *image, uint64_t block)
{
	return image + block * drive->dev.block_bytes;
}

static void destage(struct sim_drive *drive, const struct drive_cached *cached)
{
	memcpy(at(drive, drive->durable, cached->block), at(drive, drive->cache, cached->slot),
		drive->dev.block_bytes);
}

/* Takes the versions out for which `block` (UINT64_MAX: any) and the stamp (and older) fit. */
static void destage_until(struct sim_drive *drive, uint64_t block, uint64_t stamp, bool keep)
{
	unsigned left = 0;

	for (unsigned i = 0; i < drive->cached_count; i++) {
		struct drive_cached cached = drive->cached[i];

		if (cached.stamp <= stamp && (block == UINT64_MAX || cached.block == block)) {
			if (keep)
				destage(drive, &cached);
			continue;
		}
		drive->cached[i] = drive->cached[left];
		drive->cached[left++] = cached;
	}
	drive->cached_count = left;
}

static void cache_block(struct sim_drive *drive, uint64_t block, const char *content)
{
	struct drive_cached *cached;

	if (drive->cached_count == DRIVE_CACHED_MAX)
		destage_until(drive, UINT64_MAX, drive->cached[DRIVE_CACHED_MAX / 4].stamp, true);
	cached = &drive->cached[drive->cached_count++];
	cached->block = (uint32_t)block;
	cached->stamp = drive->clock;
	memcpy(at(drive, drive->cache, cached->slot), content, drive->dev.block_bytes);
}

/* One block of a command takes effect. content: NULL for zeros. */
static void store(struct sim_drive *drive, uint64_t block, const char *content, bool durable)
{
	uint32_t bytes = drive->dev.block_bytes;
	char *now = at(drive, drive->now, block);

	if (content)
		memcpy(now, content, bytes);
	else
		memset(now, 0, bytes);
	touch(drive, block);
	drive->unreadable[block / 64] &= ~(1ull << block % 64);
	if (!drive->dev.volatile_cache)
		return;
	if (durable) {
		destage_until(drive, block, UINT64_MAX, false);
		memcpy(at(drive, drive->durable, block), now, bytes);
	} else {
		cache_block(drive, block, now);
	}
}

/* --- commands --------------------------------------------------------------------------------- */

static bool choose(struct chooser *chooser)
{
	bool keep;

	if (chooser->random)
		return random_chance(chooser->random, chooser->keep_per_thousand);
	keep = chooser->mask & 1;
	chooser->mask >>= 1;
	return keep;
}

/* Writes as many of io's blocks as the chooser (NULL: all) lets through. */
static void apply(
	struct sim_drive *drive, const struct io *io, bool durable, struct chooser *chooser)
{
	uint32_t bytes = drive->dev.block_bytes;
	char content[4096];
	struct iov_cursor cursor = {0};

	if (io->kind == IO_WRITE)
		cursor = iov_cursor_at(io, 0);
	for (uint64_t block = io->block; block < io->block + io->blocks; block++) {
		if (io->kind == IO_WRITE)
			iov_copy_from(&cursor, content, bytes);
		if (!chooser || choose(chooser))
			store(drive, block, io->kind == IO_WRITE ? content : NULL, durable);
	}
	if (io->block < drive->data_end && io->block + io->blocks > drive->data_first)
		drive->data_writes++;
}

static int carry_out_read(struct sim_drive *drive, struct io *io)
{
	struct iov_cursor cursor = iov_cursor_at(io, 0);

	if (random_chance(drive->random, drive->flaky_per_thousand)) {
		uint64_t block = io->block + random_below(drive->random, io->blocks);

		/* Half of them stay until the block is written. */
		if (random_chance(drive->random, 500))
			drive->unreadable[block / 64] |= 1ull << block % 64;
		return -EIO;
	}
	if (is_unreadable(drive, io))
		return -EIO;
	iov_copy_to(&cursor, at(drive, drive->now, io->block),
		(size_t)io->blocks * drive->dev.block_bytes);
	return 0;
}

static int carry_out_write(struct sim_drive *drive, struct io *io)
{
	struct chooser torn = {.random = drive->random, .keep_per_thousand = 500};
	bool durable = io->fua && !defective(drive, DEFECT_FUA_IGNORED);

	if (random_chance(drive->random, drive->flaky_per_thousand / 10)) {
		apply(drive, io, durable, &torn);
		return -EIO;
	}
	if (defective(drive, DEFECT_WRITE_LOST))
		return 0;
	if (defective(drive, DEFECT_WRITE_MISPLACED) && io->block > io->blocks) {
		struct io elsewhere = *io;

		elsewhere.block -= io->blocks;
		apply(drive, &elsewhere, durable, NULL);
		return 0;
	}
	apply(drive, io, durable, NULL);
	if (defective(drive, DEFECT_BIT_FLIP))
		at(drive, drive->now, io->block)[7] ^= 16;
	return 0;
}

static int carry_out(struct sim_drive *drive, struct io *io, uint64_t stamp)
{
	drive->clock++;
	if (drive->dead) {
		struct chooser torn = {.random = drive->random, .keep_per_thousand = 500};

		if (stamp < drive->died_at && io_changes_data(io))
			apply(drive, io, io->fua, &torn);
		return -EIO;
	}
	switch (io->kind) {
	case IO_READ:
		return carry_out_read(drive, io);
	case IO_WRITE:
	case IO_WRITE_ZEROES:
		return carry_out_write(drive, io);
	case IO_DISCARD:
		if (drive->dev.discard_zeroes)
			apply(drive, io, false, NULL);
		return 0;
	case IO_FLUSH:
		if (drive->dev.volatile_cache && !defective(drive, DEFECT_FLUSH_IGNORED))
			destage_until(drive, UINT64_MAX, stamp, true);
		return 0;
	}
	return -EINVAL;
}

static void execute(struct sim_drive *drive, struct io *io, uint64_t stamp)
{
	int status;

	if (drive->before)
		drive->before(drive->owner, io);
	status = carry_out(drive, io, stamp);
	run_say("   %s: %d %llu+%u%s: %d", drive->dev.name, io->kind, (unsigned long long)io->block,
		io->blocks, io->fua ? " FUA" : "", status);
	io_complete(io, status);
}

static unsigned sim_poll(struct poller *poller)
{
	struct sim_queue *queue = container_of(poller, struct sim_queue, poller);
	struct sim_drive *drive = queue->drive;
	unsigned pick;
	uint64_t stamp;
	struct io *io;

	if (!queue->count)
		return 0;
	if (!random_chance(drive->random, drive->eager_per_thousand))
		return 1;
	pick = (unsigned)random_below(drive->random, queue->count);
	io = queue->pending[pick];
	stamp = queue->stamps[pick];
	queue->pending[pick] = queue->pending[--queue->count];
	queue->stamps[pick] = queue->stamps[queue->count];
	execute(drive, io, stamp);
	return 1;
}

static void sim_submit(struct blockdev_queue *base, struct io *io)
{
	struct sim_queue *queue = container_of(base, struct sim_queue, base);

	assert(blockdev_covers(base->dev, io) && queue->count < PENDING_MAX);
	assert(io->kind == IO_FLUSH || io->blocks);
	if (queue->drive->prompt) {
		execute(queue->drive, io, queue->drive->clock);
		return;
	}
	queue->stamps[queue->count] = queue->drive->clock;
	queue->pending[queue->count++] = io;
}

static int sim_open_queue(struct blockdev *dev, struct reactor *reactor,
	struct blockdev_queue **base, struct fail *fail)
{
	struct sim_queue *queue = malloc(sizeof(*queue));

	if (!queue)
		return fail_set(fail, ENOMEM, "no memory");
	queue->drive = container_of(dev, struct sim_drive, dev);
	queue->count = 0;
	queue->poller = (struct poller){.poll = sim_poll};
	poller_add(reactor, &queue->poller);
	list_push_back(&queue->drive->queues, &queue->link);
	*base = &queue->base;
	return 0;
}

static void sim_close_queue(struct blockdev_queue *base)
{
	struct sim_queue *queue = container_of(base, struct sim_queue, base);

	assert(!queue->count);
	poller_remove(&queue->poller);
	list_remove(&queue->link);
	free(queue);
}

static void sim_destroy(struct blockdev *dev)
{
	(void)dev; /* embedded by its owner */
}

static const struct blockdev_ops sim_ops = {
	.driver = "sim",
	.open_queue = sim_open_queue,
	.close_queue = sim_close_queue,
	.submit = sim_submit,
	.destroy = sim_destroy,
};

/* --- drives ----------------------------------------------------------------------------------- */

static char *allocate(size_t bytes)
{
	char *memory = aligned_alloc(4096, bytes);

	if (!memory)
		abort();
	return memory;
}

void sim_drive_allocate(struct sim_drive *drive)
{
	*drive = (struct sim_drive){.now = allocate(DRIVE_BYTES_MAX),
		.durable = allocate(DRIVE_BYTES_MAX),
		.cache = allocate((size_t)DRIVE_CACHED_MAX * 4096)};
	memset(drive->now, 0, DRIVE_BYTES_MAX);
	memset(drive->durable, 0, DRIVE_BYTES_MAX);
	for (unsigned i = 0; i < DRIVE_CACHED_MAX; i++)
		drive->cached[i].slot = i;
}

/* Forgets everything. Pages that were never written need no clearing, and those that will be copied
 * from another drive (NULL: none) neither. */
static void clear(struct sim_drive *drive, const struct sim_drive *from)
{
	for (unsigned page = 0; page < DRIVE_PAGES_MAX; page++) {
		bool copied = from && from->touched[page / 64] >> page % 64 & 1;

		if (!(drive->touched[page / 64] >> page % 64 & 1))
			continue;
		if (!copied)
			memset(drive->now + page * DRIVE_PAGE_BYTES, 0, DRIVE_PAGE_BYTES);
		if (drive->dev.volatile_cache && !(copied && from->dev.volatile_cache))
			memset(drive->durable + page * DRIVE_PAGE_BYTES, 0, DRIVE_PAGE_BYTES);
	}
	memset(drive->touched, 0, sizeof(drive->touched));
	memset(drive->unreadable, 0, sizeof(drive->unreadable));
	drive->cached_count = 0;
	list_init(&drive->queues);
	drive->flaky_per_thousand = 0;
	drive->eager_per_thousand = 900;
	drive->dead = drive->prompt = false;
	drive->died_at = drive->clock = 0;
	drive->data_writes = 0;
	drive->before = NULL;
}

void sim_drive_init(
	struct sim_drive *drive, const char *name, uint64_t blocks, uint32_t block_bytes)
{
	assert(blocks * block_bytes <= DRIVE_BYTES_MAX);
	clear(drive, NULL);
	drive->dev = (struct blockdev){.ops = &sim_ops,
		.block_bytes = block_bytes,
		.blocks = blocks,
		.discard_zeroes = true};
	snprintf(drive->dev.name, sizeof(drive->dev.name), "%s", name);
}

void sim_drive_kill(struct sim_drive *drive)
{
	run_say("%s dies", drive->dev.name);
	drive->dead = true;
	drive->died_at = ++drive->clock; /* what was in flight has an earlier stamp */
}

void sim_drive_flip(struct sim_drive *drive, uint64_t block)
{
	at(drive, drive->now, block)[3] ^= 4;
	if (drive->dev.volatile_cache)
		at(drive, drive->durable, block)[3] ^= 4;
	touch(drive, block);
}

void sim_drive_zero(struct sim_drive *drive, uint64_t first, uint64_t blocks)
{
	for (uint64_t block = first; block < first + blocks; block++)
		store(drive, block, NULL, true);
}

void sim_drive_wipe(struct sim_drive *drive)
{
	sim_drive_zero(drive, 0, drive->data_first);
	sim_drive_zero(drive, drive->data_end, drive->dev.blocks - drive->data_end);
}

void sim_drive_revive(struct sim_drive *drive, struct random *random)
{
	unsigned keep_per_thousand = (unsigned)random_below(random, 5) * 250;
	unsigned count = drive->cached_count;

	drive->dead = false;
	for (unsigned page = 0; page < DRIVE_PAGES_MAX && count; page++)
		if (drive->touched[page / 64] >> page % 64 & 1)
			memcpy(drive->now + (size_t)page * DRIVE_PAGE_BYTES,
				drive->durable + (size_t)page * DRIVE_PAGE_BYTES, DRIVE_PAGE_BYTES);
	drive->cached_count = 0;
	for (unsigned i = 0; i < count; i++)
		if (random_chance(random, keep_per_thousand))
			store(drive, drive->cached[i].block,
				at(drive, drive->cache, drive->cached[i].slot), true);
}

unsigned sim_drive_busy(const struct sim_drive *drive)
{
	struct list_node *node;
	unsigned busy = 0;

	list_for_each (node, &drive->queues)
		busy += container_of(node, struct sim_queue, link)->count;
	return busy;
}

/* --- crashes ---------------------------------------------------------------------------------- */

static void copy_image(struct sim_drive *to, const struct sim_drive *from, bool power)
{
	for (unsigned page = 0; page < DRIVE_PAGES_MAX; page++) {
		size_t offset = (size_t)page * DRIVE_PAGE_BYTES;
		bool cached = from->dev.volatile_cache;

		if (!(from->touched[page / 64] >> page % 64 & 1))
			continue;
		memcpy(to->now + offset, (power && cached ? from->durable : from->now) + offset,
			DRIVE_PAGE_BYTES);
		if (cached)
			memcpy(to->durable + offset, from->durable + offset, DRIVE_PAGE_BYTES);
	}
	memcpy(to->touched, from->touched, sizeof(to->touched));
	memcpy(to->unreadable, from->unreadable, sizeof(to->unreadable));
}

void sim_drive_crash(struct sim_drive *to, const struct sim_drive *from, enum crash crash,
	struct chooser *chooser)
{
	bool power = crash == CRASH_POWER;
	struct list_node *node;

	clear(to, from);
	to->dev = from->dev;
	to->dev.user[0] = '\0';
	to->flaky_per_thousand = from->flaky_per_thousand;
	to->eager_per_thousand = from->eager_per_thousand;
	to->log_first = from->log_first;
	to->data_first = from->data_first;
	to->data_end = from->data_end;
	copy_image(to, from, power);
	for (unsigned i = 0; i < from->cached_count; i++) {
		const struct drive_cached *cached = &from->cached[i];

		if (!power || choose(chooser))
			store(to, cached->block, at(from, from->cache, cached->slot), power);
	}
	list_for_each (node, &from->queues) {
		struct sim_queue *queue = container_of(node, struct sim_queue, link);

		for (unsigned i = 0; i < queue->count; i++)
			if (io_changes_data(queue->pending[i]))
				apply(to, queue->pending[i], power, chooser);
	}
	to->data_writes = 0;
	to->clock = 1; /* a flush submitted from now on covers what is cached */
}

unsigned sim_drive_exposed(const struct sim_drive *drive, enum crash crash)
{
	unsigned blocks = crash == CRASH_POWER ? drive->cached_count : 0;
	struct list_node *node;

	list_for_each (node, &drive->queues) {
		const struct sim_queue *queue = container_of(node, struct sim_queue, link);

		for (unsigned i = 0; i < queue->count; i++)
			if (io_changes_data(queue->pending[i]))
				blocks += queue->pending[i]->blocks;
	}
	return blocks;
}
