/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A life: an array over simulated drives, clients on every reactor that write, read, zero, discard
 * and flush at random, members that die meanwhile. Then silence, a read of everything, the death of
 * as many further members as the level survives, and a read of everything again: what the parity
 * says must be what the data said.
 */
#include "raid_run.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/log.h"
#include "base/random.h"
#include "drive.h"
#include "memory/memory.h"
#include "oracle.h"
#include "parity/parity.h"
#include "raid/array.h"
#include "reactor/sim.h"

enum {
	BLOCK_BYTES = 512,
	CHUNK_BYTES = 4096,
	STRIPES_MAX = 4,
	MEMBERS_MAX = 10,
	REACTORS = 3,
	ARENA_BYTES = 512 << 10,
	IO_BLOCKS_MAX = 96,
	CLIENT_IOS = 6,
	DRIVE_BYTES = STRIPES_MAX * CHUNK_BYTES,
};

struct client_io {
	struct io io;
	struct client *client;
	bool busy;
	uint64_t first;
	uint32_t blocks;
	enum io_kind kind;
	struct iovec iov[4];
	struct oracle_view view[IO_BLOCKS_MAX];
	char memory[IO_BLOCKS_MAX * BLOCK_BYTES] __attribute__((aligned(64)));
};

struct client {
	struct poller poller;
	struct life *life;
	struct reactor *reactor;
	struct blockdev_queue *queue;
	struct client_io ios[CLIENT_IOS];
};

struct life {
	struct raid_run *run;
	struct random random;
	struct reactor_group *group;
	struct array *array;
	struct array_config config;
	struct oracle oracle;
	struct sim_drive drives[MEMBERS_MAX];
	unsigned tolerance; /* of each plain part */
	unsigned part_members;
	bool beyond;	  /* more members die than the level survives */
	uint64_t written; /* first block of the write that was acknowledged last */
	unsigned ios_left, busy;
	bool quiet; /* nothing is in flight and nothing more will be issued */
	struct client clients[REACTORS];
	char memory[MEMBERS_MAX][DRIVE_BYTES];
};

static struct life *life; /* one is enough, and it is large */

static void trace(uint64_t value)
{
	life->run->trace = random_mix(life->run->trace ^ value);
}

static void violation(const char *what, uint64_t block, int status)
{
	if (life->run->wrong)
		return;
	life->run->wrong = true;
	snprintf(life->run->what, sizeof(life->run->what), "%s, block %llu, status %d", what,
		(unsigned long long)block, status);
}

/* --- clients --------------------------------------------------------------------------------- */

static void client_done(struct io *io)
{
	struct client_io *request = container_of(io, struct client_io, io);
	struct oracle *oracle = &life->oracle;

	if (!request->busy)
		violation("completed twice", request->first, io->status);
	if (reactor_self() != request->client->reactor)
		violation("completed on another reactor", request->first, io->status);
	request->busy = false;
	life->busy--;
	if (request->kind == IO_WRITE)
		life->written = request->first;
	trace(request->first << 8 | request->kind << 1 | (io->status != 0));
	if (io->status) {
		life->run->errors++;
		if (!life->beyond)
			violation(
				"an error within the level's promise", request->first, io->status);
	}
	for (uint32_t i = 0; i < request->blocks; i++) {
		uint64_t block = request->first + i;

		if (request->kind != IO_READ)
			oracle_written(oracle, block, io->status);
		else if (!io->status && !oracle_read(oracle, block, &request->view[i],
						request->memory + (size_t)i * BLOCK_BYTES))
			violation("wrong content", block, 0);
	}
}

/* Splits the io's memory at random places, as guests do. */
static void scatter(struct client_io *request)
{
	char *at = request->memory, *end = at + (size_t)request->blocks * BLOCK_BYTES;
	unsigned count = 0;

	while (at < end) {
		size_t left = (size_t)(end - at), length = left;

		if (count < ARRAY_SIZE(request->iov) - 1 && random_chance(&life->random, 500))
			length = 1 + random_below(&life->random, left);
		request->iov[count++] = (struct iovec){at, length};
		at += length;
	}
	request->io.iov = request->iov;
	request->io.iovs = count;
}

static enum io_kind pick_kind(void)
{
	unsigned dice = (unsigned)random_below(&life->random, 100);

	if (dice < 50)
		return IO_WRITE;
	if (dice < 85)
		return IO_READ;
	if (dice < 92)
		return IO_WRITE_ZEROES;
	return dice < 96 ? IO_DISCARD : IO_FLUSH;
}

static void pick_range(struct client_io *request)
{
	struct random *random = &life->random;
	uint64_t blocks = life->oracle.blocks;
	uint32_t stripe = MIN((uint32_t)IO_BLOCKS_MAX, array_stripe_blocks(life->array));
	uint32_t most =
		random_chance(random, 600) ? 4 : (uint32_t)MIN((uint64_t)IO_BLOCKS_MAX, blocks);

	request->first = random_below(random, blocks);
	request->blocks = 1 + (uint32_t)random_below(random, most);
	if (random_chance(random, 150)) { /* a full stripe */
		request->first -= request->first % array_stripe_blocks(life->array);
		request->blocks = stripe;
	}
	/* What was just acknowledged is what a mistake would show in. */
	if (request->kind == IO_READ && random_chance(random, 400))
		request->first = life->written;
	request->blocks = (uint32_t)MIN((uint64_t)request->blocks, blocks - request->first);
}

static bool prepare(struct client_io *request)
{
	struct oracle *oracle = &life->oracle;

	request->kind = pick_kind();
	pick_range(request);
	if (request->kind == IO_FLUSH)
		request->blocks = 0;
	for (uint32_t i = 0; i < request->blocks; i++)
		if (request->kind != IO_READ && !oracle_room(oracle, request->first + i))
			return false;
	for (uint32_t i = 0; i < request->blocks; i++) {
		uint64_t block = request->first + i;
		char *memory = request->memory + (size_t)i * BLOCK_BYTES;

		if (request->kind == IO_READ) {
			oracle_view(oracle, block, &request->view[i]);
			memset(memory, 0xee, BLOCK_BYTES);
		} else if (request->kind == IO_WRITE) {
			oracle_write(oracle, block, ++oracle->last_value);
			oracle_fill(oracle, block, oracle->last_value, memory);
		} else if (request->kind == IO_WRITE_ZEROES) {
			oracle->last_value++;
			oracle_write(oracle, block, 0);
		} else {
			oracle->last_value++;
			oracle_discard(oracle, block);
		}
	}
	return true;
}

static void submit(struct client *client, struct client_io *request)
{
	scatter(request);
	request->busy = true;
	life->busy++;
	life->run->requests++;
	request->io.kind = request->kind;
	request->io.fua = random_chance(&life->random, 200);
	request->io.may_unmap = random_chance(&life->random, 500);
	request->io.block = request->first;
	request->io.blocks = request->blocks;
	request->io.iov_skip = 0;
	request->io.done = client_done;
	trace(request->first << 16 | request->blocks);
	io_submit(client->queue, &request->io);
}

static unsigned client_poll(struct poller *poller)
{
	struct client *client = container_of(poller, struct client, poller);
	unsigned burst = (unsigned)random_below(&life->random, 3), work = 0;

	if (!life->ios_left) {
		life->quiet = !life->busy;
		return 0;
	}
	for (unsigned i = 0; i < CLIENT_IOS && burst && life->ios_left; i++) {
		struct client_io *request = &client->ios[i];

		if (request->busy || !prepare(request))
			continue;
		life->ios_left--;
		burst--;
		work++;
		submit(client, request);
	}
	return work + 1;
}

static int start_client(void *argument)
{
	struct client *client = argument;

	client->poller = (struct poller){.poll = client_poll};
	poller_add(client->reactor, &client->poller);
	return 0;
}

static int stop_client(void *argument)
{
	struct client *client = argument;

	poller_remove(&client->poller);
	return 0;
}

/* --- reading everything ----------------------------------------------------------------------- */

static int submit_call(void *argument)
{
	struct client_io *request = argument;

	submit(request->client, request);
	return 0;
}

static void read_all(void)
{
	struct client *client =
		&life->clients[random_below(&life->random, reactor_count(life->group))];
	struct client_io *request = &client->ios[0];

	for (uint64_t block = 0; block < life->oracle.blocks && !life->run->wrong;
		block += request->blocks) {
		uint32_t most = random_chance(&life->random, 500) ? 3 : IO_BLOCKS_MAX;

		request->kind = IO_READ;
		request->first = block;
		request->blocks = (uint32_t)MIN((uint64_t)most, life->oracle.blocks - block);
		for (uint32_t i = 0; i < request->blocks; i++)
			oracle_view(&life->oracle, block + i, &request->view[i]);
		reactor_call(client->reactor, submit_call, request);
		while (request->busy && reactor_sim_step(life->group))
			;
		if (request->busy)
			violation("a read never completed", block, 0);
	}
}

/* --- deaths ----------------------------------------------------------------------------------- */

static unsigned dead_in_part(unsigned part)
{
	unsigned dead = 0;

	for (unsigned i = 0; i < life->part_members; i++) {
		const struct sim_drive *drive = &life->drives[part * life->part_members + i];

		dead += drive->given_up || drive->flaky_per_thousand;
	}
	return dead;
}

static void kill_someone(void)
{
	unsigned member = (unsigned)random_below(&life->random, life->config.members);
	struct sim_drive *drive = &life->drives[member];

	if (drive->given_up)
		return;
	if (!life->beyond && !drive->flaky_per_thousand &&
		dead_in_part(member / life->part_members) >= life->tolerance)
		return;
	life->run->losses++;
	trace(member);
	drive->given_up = true;
	/* Taken out by the operator it still answers, with what will soon be stale. */
	if (random_chance(&life->random, 500))
		array_fail_member(life->array, member, true, NULL);
	else
		drive->dead = true;
}

/* As many further members as every part survives; the drives stay readable for whoever should not
 * read them. */
static void fail_the_rest(void)
{
	for (unsigned tries = 0; tries < 64; tries++) {
		unsigned member = (unsigned)random_below(&life->random, life->config.members);
		struct array_status status;

		array_status(life->array, &status);
		if (status.member[member].state == MEMBER_FAILED ||
			dead_in_part(member / life->part_members) >= life->tolerance)
			continue;
		life->drives[member].given_up = true;
		array_fail_member(life->array, member, true, NULL);
	}
}

/* --- a life ----------------------------------------------------------------------------------- */

static const struct {
	const char *level;
	unsigned least, most, step;
} choices[] = {
	{"0", 1, 4, 1},
	{"1", 2, 4, 1},
	{"5", 3, 6, 1},
	{"6", 4, 8, 1},
	{"7", 5, 9, 1},
	{"10", 4, 8, 2},
	{"50", 6, 10, 2},
	{"60", 8, 10, 2},
	{"70", 10, 10, 2},
	{"5", 3, 6, 1},
	{"6", 4, 8, 1},
	{"6", 4, 8, 1},
	{"7", 5, 9, 1},
};

static void choose(uint64_t seed, const char *level)
{
	struct array_config *config = &life->config;
	unsigned choice;

	life->random.state = seed;
	do
		choice = (unsigned)random_below(&life->random, ARRAY_SIZE(choices));
	while (level && strcmp(choices[choice].level, level));
	*config = (struct array_config){
		.name = "sim", .chunk_bytes = CHUNK_BYTES, .block_bytes = BLOCK_BYTES};
	level_find(&config->level, choices[choice].level, NULL);
	config->members =
		choices[choice].least +
		choices[choice].step * (unsigned)random_below(&life->random,
					       (choices[choice].most - choices[choice].least) /
							       choices[choice].step +
						       1);
	config->depth = 1 + (unsigned)random_below(&life->random, 6);
	life->part_members = config->members;
	if (config->level->part)
		life->part_members = config->level->part_members ? config->level->part_members
								 : config->members / 2;
	life->tolerance = level_tolerance(
		config->level->part ? config->level->part : config->level, life->part_members);
	life->beyond = random_chance(&life->random, 100);
	life->ios_left = 20 + (unsigned)random_below(&life->random, 60);
}

static void build(unsigned reactors)
{
	struct fail fail;
	uint64_t blocks = DRIVE_BYTES / BLOCK_BYTES;

	life->group = reactor_sim_create(reactors, random_next(&life->random));
	for (unsigned i = 0; i < life->config.members; i++) {
		char name[16];

		snprintf(name, sizeof(name), "drive%u", i);
		memset(life->memory[i], 0, DRIVE_BYTES);
		sim_drive_init(&life->drives[i], name, &life->random, life->memory[i],
			blocks - random_below(&life->random, 3), BLOCK_BYTES);
		life->drives[i].eager_per_thousand =
			200 + (unsigned)random_below(&life->random, 800);
		life->config.member[i] = &life->drives[i].dev;
	}
	if (life->tolerance && random_chance(&life->random, 250))
		life->drives[random_below(&life->random, life->config.members)].flaky_per_thousand =
			100;
	if (array_create(&life->array, &life->config, life->group, &fail)) {
		fprintf(stderr, "cannot create: %s\n", fail.text);
		abort();
	}
	oracle_init(&life->oracle, array_blockdev(life->array)->blocks, BLOCK_BYTES);
	for (unsigned i = 0; i < reactors; i++) {
		struct client *client = &life->clients[i];

		client->life = life;
		client->reactor = reactor_at(life->group, i);
		for (unsigned j = 0; j < CLIENT_IOS; j++) {
			client->ios[j].client = client;
			client->ios[j].busy = false;
		}
		blockdev_open_queue(
			array_blockdev(life->array), client->reactor, &client->queue, NULL);
	}
}

static void tear_down(unsigned reactors)
{
	for (unsigned i = 0; i < reactors; i++)
		blockdev_close_queue(life->clients[i].queue);
	array_destroy(life->array);
	reactor_sim_destroy(life->group);
}

static void live(unsigned reactors)
{
	struct array_owners half = {0, 1 + random_below(&life->random, STRIPES_MAX), 1};
	uint64_t steps = 0;

	for (unsigned i = 0; i < reactors; i++)
		reactor_call(life->clients[i].reactor, start_client, &life->clients[i]);
	while (!life->quiet && !life->run->wrong && reactor_sim_step(life->group)) {
		if (++steps > 2000000) {
			violation("no end", steps, 0);
			return;
		}
		if (life->tolerance + life->beyond && random_chance(&life->random, 12))
			kill_someone();
		if (random_chance(&life->random, 1))
			array_set_owners(life->array, &half, 1, NULL);
	}
	if (!life->quiet && life->busy)
		violation("a request never completed", life->busy, 0);
	for (unsigned i = 0; i < reactors; i++)
		reactor_call(life->clients[i].reactor, stop_client, &life->clients[i]);
}

void raid_run_prepare(void)
{
	const char *dropped;
	struct fail fail;

	log_threshold(LOG_LEVEL_ERROR);
	life = calloc(1, sizeof(*life));
	parity_select(NULL, &dropped);
	if (!life || memory_start(REACTORS, ARENA_BYTES, &fail))
		abort();
}

void raid_run(struct raid_run *run, uint64_t seed, const char *level)
{
	unsigned reactors;

	*run = (struct raid_run){.seed = seed};
	life->run = run;
	life->busy = 0;
	life->written = 0;
	life->quiet = false;
	choose(seed, level);
	reactors = 1 + (unsigned)random_below(&life->random, REACTORS);
	snprintf(run->setting, sizeof(run->setting), "%s of %u, %u reactors, depth %u%s",
		life->config.level->text, life->config.members, reactors, life->config.depth,
		life->beyond ? ", beyond redundancy" : "");
	build(reactors);
	live(reactors);
	if (!run->wrong)
		read_all();
	if (!run->wrong && !life->beyond) {
		fail_the_rest();
		read_all();
	}
	if (!run->wrong)
		tear_down(reactors);
}
