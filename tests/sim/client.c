/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "fleet.h"
#include "reactor/sim.h"
#include "run.h"

enum { BLOCK_BYTES_MAX = 4096 };

void clients_allocate(struct world *world)
{
	for (unsigned i = 0; i < REACTORS; i++)
		for (unsigned j = 0; j < CLIENT_IOS; j++) {
			struct client_io *request = &world->clients[i].ios[j];

			request->client = &world->clients[i];
			request->memory = aligned_alloc(4096, IO_BLOCKS_MAX * BLOCK_BYTES_MAX);
			if (!request->memory)
				abort();
		}
}

/* --- one request ------------------------------------------------------------------------------ */

static void check_content(struct world *world, struct client_io *request)
{
	struct oracle *oracle = &world->oracle;

	for (uint32_t i = 0; i < request->blocks; i++) {
		uint64_t block = request->first + i;
		char *content = request->memory + (size_t)i * oracle->block_bytes;
		char text[200];

		if (oracle_read(oracle, block, &request->view[i], content))
			continue;
		oracle_explain(oracle, block, content, text, sizeof(text));
		run_wrong("depth %u: block %llu (slot %u) %s", world->level,
			(unsigned long long)block, world_slot_of_block(world, block), text);
	}
}

static void request_done(struct io *io)
{
	struct client_io *request = container_of(io, struct client_io, io);
	struct world *world = request->client->world;

	if (!request->busy)
		run_wrong("depth %u: a request completed twice", world->level);
	if (reactor_self() != request->client->reactor)
		run_wrong("depth %u: a request completed on another reactor", world->level);
	if (world->fleet)
		fleet_check_returned(world, request->memory);
	request->busy = false;
	world->busy--;
	if (request->kind == IO_WRITE)
		world->written = request->first;
	run_say("%u: client %u: done kind %d %llu+%u: %d", world->level,
		reactor_index(request->client->reactor), request->kind,
		(unsigned long long)request->first, request->blocks, io->status);
	run_trace(request->first << 8 | (uint64_t)request->kind << 1 | (io->status != 0));
	/* Who holds requests until the drives are back must be able to tell. */
	if (io->status && io->status != IO_OFFLINE && world->setup->tolerance && !world->flaky)
		run_wrong("depth %u: what a broken array cannot serve failed (%d)", world->level,
			io->status);
	if (io->status) {
		run.counts.errors++;
		world->errors++;
		if (!world->beyond)
			run_wrong("depth %u: %s of %u blocks at %llu failed (%d) within the "
				  "level's promise",
				world->level, request->kind == IO_READ ? "a read" : "a change",
				request->blocks, (unsigned long long)request->first, io->status);
	}
	if (request->kind == IO_FLUSH && !io->status)
		oracle_flushed(&world->oracle, request->flush);
	if (request->kind == IO_READ && !io->status)
		check_content(world, request);
	for (uint32_t i = 0; i < request->blocks; i++)
		if (request->kind != IO_READ)
			oracle_written(&world->oracle, request->first + i, io->status);
}

/* Splits the io's memory at random places, as guests do. */
static void scatter(struct world *world, struct client_io *request)
{
	char *at = request->memory;
	char *end = at + (size_t)request->blocks * world->oracle.block_bytes;
	unsigned count = 0;

	while (at < end) {
		size_t left = (size_t)(end - at), length = left;

		if (count < ARRAY_SIZE(request->iov) - 1 && random_chance(&world->random, 300))
			length = 1 + random_below(&world->random, left);
		request->iov[count++] = (struct iovec){at, length};
		at += length;
	}
	request->io.iov = request->iov;
	request->io.iovs = count;
}

/* Tells the oracle. */
static void announce(struct world *world, struct client_io *request, bool fua)
{
	struct oracle *oracle = &world->oracle;

	if (request->kind == IO_FLUSH)
		request->flush = oracle_flush(oracle);
	else if (request->kind != IO_READ)
		oracle->last_value++;
	for (uint32_t i = 0; i < request->blocks; i++) {
		uint64_t block = request->first + i;
		char *memory = request->memory + (size_t)i * oracle->block_bytes;

		if (request->kind == IO_READ) {
			oracle_view(oracle, block, &request->view[i]);
			memset(memory, 0xee, 8);
		} else if (request->kind == IO_WRITE) {
			oracle_write(oracle, block, oracle->last_value, fua);
			oracle_fill(oracle, block, oracle->last_value, memory);
		} else if (request->kind == IO_WRITE_ZEROES) {
			oracle_write(oracle, block, 0, fua);
		} else {
			oracle_discard(oracle, block);
		}
	}
}

static bool has_room(const struct oracle *oracle, const struct client_io *request)
{
	for (uint32_t i = 0; i < request->blocks; i++)
		if (!oracle_room(oracle, request->first + i))
			return false;
	return true;
}

static void submit(struct client_io *request, bool fua)
{
	struct client *client = request->client;
	struct world *world = client->world;

	announce(world, request, fua);
	scatter(world, request);
	request->busy = true;
	world->busy++;
	run.counts.requests++;
	request->io.kind = request->kind;
	request->io.fua = fua;
	request->io.may_unmap = random_chance(&world->random, 500);
	request->io.block = request->first;
	request->io.blocks = request->blocks;
	request->io.iov_skip = 0;
	request->io.done = request_done;
	run_say("%u: client %u: kind %d %llu+%u%s value %u", world->level,
		reactor_index(client->reactor), request->kind, (unsigned long long)request->first,
		request->blocks, fua ? " FUA" : "", world->oracle.last_value);
	run_trace(request->first << 16 | request->blocks);
	io_submit(client->queue, &request->io);
}

/* --- random load ------------------------------------------------------------------------------ */

static enum io_kind pick_kind(struct world *world)
{
	unsigned dice = (unsigned)random_below(&world->random, 100);

	if (dice < 58)
		return IO_WRITE;
	if (dice < 80)
		return IO_READ;
	if (dice < 86)
		return IO_WRITE_ZEROES;
	return dice < 90 ? IO_DISCARD : IO_FLUSH;
}

static void pick_range(struct world *world, struct client_io *request)
{
	struct random *random = &world->random;
	uint64_t blocks = world->oracle.blocks;
	uint32_t stripe = world->geometry.stripe_blocks;
	uint32_t most = random_chance(random, 700) ? 4 : IO_BLOCKS_MAX;

	request->first = random_below(random, blocks);
	request->blocks = 1 + (uint32_t)random_below(random, most);
	if (random_chance(random, 150)) { /* a full stripe */
		request->first -= request->first % stripe;
		request->blocks = MIN((uint32_t)IO_BLOCKS_MAX, stripe);
	} else if (random_chance(random, 300)) { /* where others write as well */
		request->first = MIN(blocks - 1, world->written + random_below(random, 3));
	}
	/* What was just acknowledged is what a mistake would show in. */
	if (request->kind == IO_READ && random_chance(random, 400))
		request->first = world->written;
	request->blocks = (uint32_t)MIN((uint64_t)request->blocks, blocks - request->first);
}

static bool is_full(const struct client *client)
{
	for (unsigned i = 0; i < CLIENT_IOS; i++)
		if (!client->ios[i].busy)
			return false;
	return true;
}

static unsigned client_poll(struct poller *poller)
{
	struct client *client = container_of(poller, struct client, poller);
	struct world *world = client->world;
	unsigned burst, work = 0;

	if (!world->ios_left || world->paused)
		return 0;
	/* Controllers need the clock, which stands still while there is something to do. */
	if (world->fleet && is_full(client))
		return 0;
	burst = (unsigned)random_below(&world->random, 3);
	for (unsigned i = 0; i < CLIENT_IOS && burst && world->ios_left; i++) {
		struct client_io *request = &client->ios[i];

		if (request->busy)
			continue;
		request->kind = pick_kind(world);
		pick_range(world, request);
		if (request->kind == IO_FLUSH ||
			(request->kind != IO_READ && !has_room(&world->oracle, request))) {
			request->kind = IO_FLUSH;
			request->first = 0;
			request->blocks = 0;
		}
		world->ios_left--;
		burst--;
		work++;
		submit(request, random_chance(&world->random, 150));
	}
	return work + 1;
}

void clients_go(struct world *world, unsigned requests)
{
	world->ios_left = requests;
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

void clients_open(struct world *world)
{
	if (array_blockdev(world->array)->blocks != world->oracle.blocks)
		run_wrong("depth %u: the array has another size", world->level);
	for (unsigned i = 0; i < world->reactors; i++) {
		struct client *client = &world->clients[i];
		struct fail fail;

		client->world = world;
		client->reactor = reactor_at(world->group, i);
		for (unsigned j = 0; j < CLIENT_IOS; j++)
			client->ios[j].busy = false;
		if (blockdev_open_queue(
			    array_blockdev(world->array), client->reactor, &client->queue, &fail))
			run_wrong("depth %u: no queue: %s", world->level, fail.text);
		reactor_call(client->reactor, start_client, client);
	}
}

void clients_close(struct world *world)
{
	clients_pause(world);
	world->ios_left = 0;
	for (unsigned i = 0; i < world->reactors; i++) {
		reactor_call(world->clients[i].reactor, stop_client, &world->clients[i]);
		blockdev_close_queue(world->clients[i].queue);
	}
	world->paused = false;
}

void clients_pause(struct world *world)
{
	uint64_t steps = 0;

	world->paused = true;
	while (world->busy && reactor_sim_step(world->group))
		if (++steps > STEPS_MAX)
			run_wrong(
				"depth %u: %u requests never complete", world->level, world->busy);
	if (world->busy)
		run_wrong("depth %u: %u requests were forgotten", world->level, world->busy);
}

void clients_resume(struct world *world)
{
	world->paused = false;
}

/* --- one thing at a time ---------------------------------------------------------------------- */

struct ask_call {
	struct client_io *request;
	bool fua;
};

static int submit_call(void *argument)
{
	struct ask_call *call = argument;

	submit(call->request, call->fua);
	return 0;
}

void client_ask(struct world *world, const struct ask *ask)
{
	struct client *client = &world->clients[random_below(&world->random, world->reactors)];
	struct client_io *request = &client->ios[0];
	struct ask_call call = {request, ask->fua};
	uint64_t steps = 0;

	assert(!request->busy && ask->blocks <= IO_BLOCKS_MAX);
	request->kind = ask->kind;
	request->first = ask->kind == IO_FLUSH ? 0 : ask->first;
	request->blocks = ask->kind == IO_FLUSH ? 0 : ask->blocks;
	reactor_call(client->reactor, submit_call, &call);
	while (request->busy && reactor_sim_step(world->group))
		if (++steps > STEPS_MAX)
			run_wrong("depth %u: a request never completes", world->level);
	if (request->busy)
		run_wrong("depth %u: a request was forgotten", world->level);
}

void clients_read_all(struct world *world)
{
	uint64_t blocks = world->oracle.blocks;
	uint32_t most = random_chance(&world->random, 200) ? 5 : IO_BLOCKS_MAX;
	struct ask ask = {.kind = IO_READ};

	for (ask.first = 0; ask.first < blocks; ask.first += ask.blocks) {
		ask.blocks = (uint32_t)MIN((uint64_t)most, blocks - ask.first);
		client_ask(world, &ask);
	}
}
