/* SPDX-License-Identifier: Apache-2.0 */
#include "memory_loss.h"

#include <errno.h>
#include <stdio.h>

#include "base/bits.h"
#include "client.h"
#include "life.h"
#include "reactor/sim.h"
#include "run.h"

enum { ALLOCATIONS_MAX = 5000 };

static const struct {
	const char *level;
	unsigned members;
} arrays[] = {{"1", 2}, {"5", 3}, {"6", 4}, {"10", 4}, {"60", 8}, {"0", 2}};

/* What must be as before after a failure. */
static void check_nothing_left(struct world *world, int64_t held, uint64_t number, int error)
{
	if (error != -ENOMEM)
		run_wrong("allocation %llu failed, and the error was %d",
			(unsigned long long)number, error);
	if (run_allocations_held() != held)
		run_wrong("allocation %llu failed, and %lld others were not freed",
			(unsigned long long)number, (long long)(run_allocations_held() - held));
	for (unsigned i = 0; i < world->drives; i++)
		if (!list_empty(&world->drive[i].queues) || world->drive[i].dev.user[0])
			run_wrong("allocation %llu failed, and drive %u is still in use",
				(unsigned long long)number, i);
}

static int attempt_create(struct world *world, uint64_t number, bool for_ever)
{
	struct fail fail;
	int error;

	run_fail_allocation(number, for_ever);
	error = world_create_array(world, &fail);
	run_fail_allocation(0, false);
	return error;
}

static int attempt_start(struct world *world, uint64_t number, bool for_ever)
{
	struct fail fail;
	int error;

	world->fail_allocation = number;
	world->fail_for_ever = for_ever;
	error = world_start(world, false, &fail);
	world->fail_allocation = 0;
	return error;
}

/* Until there are no more allocations to fail; then the array is there. */
static void fail_each(struct world *world,
	int (*attempt)(struct world *world, uint64_t number, bool for_ever), bool for_ever)
{
	int64_t held = run_allocations_held();

	for (uint64_t number = 1; number < ALLOCATIONS_MAX; number++) {
		int error = attempt(world, number, for_ever);

		if (!run_allocation_failed()) {
			if (error)
				run_wrong("an error without a failed allocation: %d", error);
			return;
		}
		run.counts.states++;
		if (error) {
			check_nothing_left(world, held, number, error);
			continue;
		}
		/* It could do without that one. */
		array_stop(world->array);
		world->array = NULL;
	}
	run_wrong("there is no end to the allocations");
}

void memory_loss_run(uint64_t seed)
{
	static struct setup setup;
	struct random random = {.state = seed};
	unsigned choice = (unsigned)(seed % ARRAY_SIZE(arrays));
	struct world *world;

	run_begin(seed);
	setup = (struct setup){.members = arrays[choice].members,
		.block_bytes = 512,
		.chunk_bytes = 4096,
		.stripes = 3,
		.consistency = (enum consistency)random_below(&random, CONSISTENCIES),
		.volatile_cache = random_chance(&random, 500),
		.depth = 2,
		.reactors = 1 + (unsigned)random_below(&random, 2)};
	level_find(&setup.level, arrays[choice].level, NULL);
	setup_complete(&setup);
	setup_describe(&setup, run.setting, sizeof(run.setting));
	world = world_create_drives(&setup, random_next(&random));
	world->crash = NULL;
	fail_each(world, attempt_create, random_chance(&random, 500));
	world_begin(world);
	clients_go(world, 20);
	while (!clients_are_done(world) && reactor_sim_step(world->group))
		;
	world_stop(world);
	fail_each(world, attempt_start, random_chance(&random, 500));
	world_open_clients(world);
	clients_read_all(world);
	world_close(world);
	run.counts.lives++;
}
