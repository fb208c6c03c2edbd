/* SPDX-License-Identifier: Apache-2.0 */
#include "exhaustive.h"

#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "client.h"
#include "crash.h"
#include "life.h"
#include "operate.h"
#include "reactor/sim.h"
#include "run.h"

enum { SUBSET_BLOCKS_MAX = 8 };

enum act {
	ACT_CHUNK,
	ACT_PARTIAL,
	ACT_TWO_CHUNKS,
	ACT_FULL_STRIPE,
	ACT_ACROSS_STRIPES,
	ACT_FLUSH,
	ACT_FUA,
	ACT_DISCARD,
	ACT_ZEROES,
	ACT_FAIL,
	ACT_DIE,
	ACT_SPARE,
	ACT_READD,
	ACT_REPLACE,
	ACT_SCRUB,
	ACT_RESTART,
	ACT_SETTLE,
	ACTS,
};

static const char *const act_names[ACTS] = {"chunk", "partial", "two chunks", "full stripe",
	"across stripes", "flush", "FUA", "discard", "zeroes", "fail", "die", "spare", "readd",
	"replace", "scrub", "restart", "settle"};

/* RESYNCING: after a crash, with regions that are dirty. */
enum condition { HEALTHY, DEGRADED, HALF_REBUILT, RESYNCING, CONDITIONS };

static const char *const condition_names[CONDITIONS] = {
	"healthy", "degraded", "half rebuilt", "resyncing"};

static const struct {
	const char *level;
	unsigned members, policies;
} arrays[] = {
	{"0", 2, 1},
	{"1", 2, 1},
	{"5", 3, CONSISTENCIES},
	{"6", 4, CONSISTENCIES},
	{"7", 5, CONSISTENCIES},
	{"10", 4, 1},
	{"50", 6, CONSISTENCIES},
	{"60", 8, CONSISTENCIES},
	{"70", 10, CONSISTENCIES},
	{"1", 3, 1},
};

/* One case. */
struct test {
	unsigned array, policy, condition, volatile_cache;
	unsigned acts;
	enum act act[2];
};

static struct test test;
static unsigned samples_max;

/* --- numbering -------------------------------------------------------------------------------- */

enum { SEQUENCES = ACTS + ACTS * ACTS };

uint64_t exhaustive_cases(void)
{
	return (uint64_t)ARRAY_SIZE(arrays) * CONSISTENCIES * CONDITIONS * 2 * SEQUENCES;
}

static unsigned digit(uint64_t *number, unsigned base)
{
	unsigned value = (unsigned)(*number % base);

	*number /= base;
	return value;
}

static bool is_act(enum act act)
{
	for (unsigned i = 0; i < test.acts; i++)
		if (test.act[i] == act)
			return true;
	return false;
}

/* Whether there is anything that the case would show beside others. */
static bool is_of_use(void)
{
	bool mirror = !strncmp(arrays[test.array].level, "1", 1);

	/* What the log covers is never dirty. */
	if (test.condition == RESYNCING && !mirror && test.policy == CONSISTENCY_LOG)
		return false;
	if (is_act(ACT_SETTLE) && test.condition < HALF_REBUILT)
		return false;
	/* RAID 0 has nothing to lose, and nothing to look for. */
	return test.array || (test.condition == HEALTHY && test.act[0] < ACT_FAIL &&
				     (test.act[1] < ACT_FAIL || test.act[1] == ACT_RESTART));
}

/* False: a case that does not exist. */
static bool decode(uint64_t number)
{
	unsigned sequence;

	/* A prime that divides no number of cases: neighbours have nothing in common. */
	number = number * 1000003 % exhaustive_cases();
	test.array = digit(&number, ARRAY_SIZE(arrays));
	test.policy = digit(&number, CONSISTENCIES);
	test.condition = digit(&number, CONDITIONS);
	test.volatile_cache = digit(&number, 2);
	sequence = digit(&number, SEQUENCES);
	test.acts = sequence < ACTS ? 1 : 2;
	test.act[0] = (enum act)(sequence % ACTS);
	test.act[1] = (enum act)(sequence / ACTS - (sequence >= ACTS));
	return test.policy < arrays[test.array].policies && is_of_use();
}

/* --- crashes ---------------------------------------------------------------------------------- */

/* Some members that the array can do without at this moment. */
static uint32_t pick_losses(struct world *world)
{
	unsigned left[MEMBERS_MAX];
	uint32_t lose = 0;

	if (world->exposed || random_chance(&world->random, 400))
		return 0;
	for (unsigned part = 0; part < world->setup->parts; part++)
		left[part] = world->setup->tolerance -
			     MIN(world->setup->tolerance, world_bad_in_part(world, part));
	for (unsigned tries = 0; tries < world->setup->members; tries++) {
		unsigned slot = (unsigned)random_below(&world->random, world->setup->members);
		unsigned part = world_part_of(world, slot);

		if (!world->good[slot] || lose >> slot & 1 || !left[part])
			continue;
		left[part]--;
		lose |= 1u << slot;
	}
	return lose;
}

static void crash_here(struct world *world)
{
	enum crash crash = random_chance(&world->random, 850) ? CRASH_POWER : CRASH_PROGRAM;
	unsigned blocks = 0, states = samples_max;
	bool all;

	for (unsigned i = 0; i < world->drives; i++)
		blocks += sim_drive_exposed(&world->drive[i], crash);
	all = blocks <= SUBSET_BLOCKS_MAX && 1u << blocks <= 4 * samples_max;
	if (all)
		states = 1u << blocks;
	for (unsigned i = 0; i < states; i++) {
		struct crash_choice choice = {
			.crash = crash, .chooser = {.mask = i}, .lose = pick_losses(world)};

		if (!all)
			choice.chooser = (struct chooser){.random = &world->random,
				.keep_per_thousand =
					(unsigned)random_below(&world->random, 11) * 100};
		crash_state(world, &choice);
	}
	world->crash_in = 1;
}

/* --- acts ------------------------------------------------------------------------------------- */

static void ask(struct world *world, enum io_kind kind, uint64_t first, uint32_t blocks)
{
	client_ask(world, &(struct ask){.kind = kind, .first = first, .blocks = blocks});
}

/* A member dies; a write finds out, and the tick that clears the map comes at any moment. */
static void die(struct world *world)
{
	unsigned chunk = world->geometry.chunk_blocks;

	reactor_sim_hurry(world->group, 300);
	if (operate(world, OPERATION_KILL, false))
		ask(world, IO_WRITE, chunk / 2, chunk);
}

static void act(struct world *world, enum act what)
{
	uint32_t chunk = world->geometry.chunk_blocks, stripe = world->geometry.stripe_blocks;
	uint32_t two = MIN(2 * chunk, stripe);

	switch (what) {
	case ACT_CHUNK:
		return ask(world, IO_WRITE, stripe, chunk);
	case ACT_PARTIAL:
		return ask(world, IO_WRITE, stripe + chunk / 2, chunk / 2);
	case ACT_TWO_CHUNKS:
		return ask(world, IO_WRITE, stripe, two);
	case ACT_FULL_STRIPE:
		return ask(world, IO_WRITE, stripe, stripe);
	case ACT_ACROSS_STRIPES:
		return ask(world, IO_WRITE, 2 * stripe - chunk, 2 * chunk);
	case ACT_FLUSH:
		return ask(world, IO_FLUSH, 0, 0);
	case ACT_FUA:
		return client_ask(world,
			&(struct ask){
				.kind = IO_WRITE, .first = stripe, .blocks = chunk, .fua = true});
	case ACT_DISCARD:
		return ask(world, IO_DISCARD, stripe, stripe);
	case ACT_ZEROES:
		return ask(world, IO_WRITE_ZEROES, stripe, two);
	case ACT_FAIL:
		operate(world, OPERATION_FAIL, false);
		return;
	case ACT_DIE:
		return die(world);
	case ACT_SPARE:
		operate(world, OPERATION_SPARE, false);
		return;
	case ACT_READD:
		operate(world, OPERATION_READD, false);
		return;
	case ACT_REPLACE:
		operate(world, OPERATION_REPLACE, false);
		return;
	case ACT_SCRUB:
		operate(world, OPERATION_SCRUB, false);
		return;
	case ACT_RESTART:
		operate(world, OPERATION_RESTART, false);
		return;
	case ACT_SETTLE:
		operate(world, OPERATION_DUE, true);
		return;
	case ACTS:
		return;
	}
}

/* The acts, and the end, each command with its crashes. */
static void go_through(struct world *world)
{
	world->crash = crash_here;
	world->crash_in = 1;
	for (unsigned i = 0; i < test.acts; i++)
		act(world, test.act[i]);
	world->crash_in = 0;
	crash_here(world);
	world->crash_in = 0;
}

/* Content everywhere, durable; and the condition. */
static void prepare(struct world *world, enum condition condition)
{
	uint64_t blocks = world->oracle.blocks;
	struct ask write = {.kind = IO_WRITE};

	for (write.first = 0; write.first < blocks; write.first += write.blocks) {
		write.blocks = (uint32_t)MIN((uint64_t)IO_BLOCKS_MAX, blocks - write.first);
		client_ask(world, &write);
	}
	ask(world, IO_FLUSH, 0, 0);
	if (condition == DEGRADED || condition == HALF_REBUILT)
		operate(world, OPERATION_FAIL, false);
	if (condition == HALF_REBUILT) {
		operate_cancel_after(12 + (unsigned)random_below(&world->random, 20));
		operate(world, OPERATION_SPARE, false);
	}
}

static void crash_amidst(struct world *world)
{
	struct crash_choice choice = {
		.crash = random_chance(&world->random, 850) ? CRASH_POWER : CRASH_PROGRAM,
		.chooser = {.random = &world->random, .keep_per_thousand = 500}};

	crash_into(world, &choice, go_through);
}

/* While a few stripes are being written: what comes after it is the case. */
static void go_through_after_crash(struct world *world)
{
	uint32_t stripe = world->geometry.stripe_blocks;
	struct ask write = {.kind = IO_WRITE, .first = stripe / 2, .blocks = 2 * stripe};

	write.blocks = MIN(write.blocks, (uint32_t)IO_BLOCKS_MAX);
	world->crash = crash_amidst;
	world->crash_in = 3 * world->setup->members +
			  (unsigned)random_below(&world->random, 3 * world->setup->members);
	client_ask(world, &write);
	/* It took fewer commands: nothing is lost, but all of it is dirty. */
	if (world->crash_in)
		crash_amidst(world);
	world->crash_in = 0;
}

void exhaustive_run(uint64_t number, unsigned samples)
{
	static struct setup setup;
	struct random random = {.state = number};
	struct world *world;
	size_t used;

	run_begin(number);
	if (!decode(number))
		return;
	setup = (struct setup){.members = arrays[test.array].members,
		.block_bytes = 4096,
		.chunk_bytes = 8192,
		.stripes = 3,
		.consistency = (enum consistency)test.policy,
		.volatile_cache = test.volatile_cache,
		.discard_zeroes = random_chance(&random, 500),
		.depth = 2,
		.reactors = 1};
	level_find(&setup.level, arrays[test.array].level, NULL);
	setup_complete(&setup);
	setup_describe(&setup, run.setting, sizeof(run.setting));
	used = strlen(run.setting);
	snprintf(run.setting + used, sizeof(run.setting) - used, ", %s, %s%s%s",
		condition_names[test.condition], act_names[test.act[0]], test.acts > 1 ? ", " : "",
		test.acts > 1 ? act_names[test.act[1]] : "");
	samples_max = samples;
	world = world_create(&setup, random_next(&random));
	prepare(world, (enum condition)test.condition);
	if (test.condition == RESYNCING)
		go_through_after_crash(world);
	else
		go_through(world);
	world_close(world);
	run.counts.lives++;
}
