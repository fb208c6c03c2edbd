/* SPDX-License-Identifier: Apache-2.0 */
#include "fleet.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "drivers/nvme/controller.h"
#include "memory/dma.h"
#include "reactor/sim.h"
#include "run.h"
#include "tests/mock_nvme/mock.h"

enum {
	/* What resets a controller is bearable thrice an hour, what makes an io start anew four
	 * times: a life is shorter. */
	TROUBLES_MAX = 3,
	CLIENT_BYTES = IO_BLOCKS_MAX * 4096,
};

static const uint64_t SECOND_NS = 1000000000, LOOK_NS = 250000000;

struct plugged {
	struct mock *mock;
	struct nvme *nvme; /* NULL: on its way in or out */
	uint64_t looked_ns;
	unsigned troubles; /* since it was plugged in */
};

struct fleet {
	struct plugged drive[DRIVES_MAX];
	bool watching;
	bool reached[REACTORS][CLIENT_IOS]; /* memory of clients that is registered for DMA */
};

static struct fleet the_fleet; /* of world 0: there is no crash among controllers */

/* --- watchers --------------------------------------------------------------------------------- */

/* What a thread per controller does in the product: looks four times a second, and when called. */
static void watch(void *argument)
{
	struct world *world = argument;
	uint64_t now_ns = reactor_sim_now_ns(world->group);

	for (unsigned i = 0; i < world->drives; i++) {
		struct plugged *drive = &world->fleet->drive[i];

		if (!drive->nvme || (!atomic_load(&drive->nvme->trouble) &&
					    now_ns - drive->looked_ns < LOOK_NS))
			continue;
		drive->looked_ns = now_ns;
		nvme_watch(drive->nvme);
	}
}

/* --- in and out ------------------------------------------------------------------------------- */

static void choose_abilities(struct world *world, struct mock *mock, unsigned index)
{
	static const uint8_t sgls[] = {0, NVME_SGLS_BYTES, NVME_SGLS_DWORDS};
	struct random *random = &world->random;
	struct nvme_identify_controller *identity = &mock->identity;

	mock->random.state = random_next(random);
	snprintf(mock->bus.address, sizeof(mock->bus.address), "0000:%02x:00.0", index + 1);
	identity->serial[7] = (char)('A' + index);
	identity->mdts = (uint8_t)(1 + random_below(random, 5));
	identity->sgls = le32_of(sgls[random_below(random, ARRAY_SIZE(sgls))]);
	/* Members of one array may well differ. */
	identity->volatile_cache = world->setup->volatile_cache ^ random_chance(random, 150);
	if (random_chance(random, 300))
		identity->io_commands = le16_of(0);
	mock->queues_granted = 1 + (unsigned)random_below(random, world->reactors + 1);
	mock->enable_ns = random_below(random, SECOND_NS);
	mock->disable_ns = random_below(random, SECOND_NS);
	mock->io_ns_max = random_chance(random, 300) ? 0 : 1000 + random_below(random, 3000000);
}

static void bring_up(struct world *world, unsigned index)
{
	struct plugged *drive = &world->fleet->drive[index];
	struct nvme_options options = {
		.group = world->group, .block_bytes = world->setup->block_bytes};
	struct fail fail;

	if (nvme_create(&drive->nvme, &drive->mock->bus, &options, false, &fail))
		run_wrong("controller %u does not come up: %s", index, fail.text);
	drive->looked_ns = reactor_sim_now_ns(world->group);
	drive->troubles = 0;
	if (nvme_device(drive->nvme, 0)->blocks != world->drive[index].dev.blocks)
		run_wrong("controller %u has another size", index);
}

static void plug(struct world *world, unsigned index)
{
	struct plugged *drive = &world->fleet->drive[index];
	const struct blockdev *model = &world->drive[index].dev;
	bool large = model->block_bytes == 4096 && random_chance(&world->random, 500);

	drive->mock = mock_create_bare(world->group, false);
	choose_abilities(world, drive->mock, index);
	mock_namespace_set(drive->mock, 0, blockdev_bytes(model), large ? 12 : 9);
	drive->mock->namespaces[0].uuid[0] = (uint8_t)index;
	if (!world->setup->discard_zeroes || random_chance(&world->random, 200))
		drive->mock->namespaces[0].deallocate = 0;
	bring_up(world, index);
}

static void unplug(struct plugged *drive, unsigned index)
{
	struct nvme *nvme = drive->nvme;
	struct mock *mock = drive->mock;

	drive->nvme = NULL; /* no watcher any more */
	nvme_destroy(nvme);
	if (!mock->destroyed)
		run_wrong("controller %u was not given back", index);
	if (mock->iommu_faults || mock->bad_prps || mock->bad_commands)
		run_wrong("controller %u was asked for what it may not: %u faults of the IOMMU, "
			  "%u bad lists, %u bad commands",
			index, mock->iommu_faults, mock->bad_prps, mock->bad_commands);
	run_trace((uint64_t)mock->commands << 32 | mock->enables);
}

void fleet_revive(struct world *world, unsigned index)
{
	struct plugged *drive = &world->fleet->drive[index];
	struct mock *old = drive->mock;
	struct mock_namespace medium = old->namespaces[0];

	run_say("controller %u is plugged in again", index);
	unplug(drive, index);
	medium.present = true;
	medium.lbas = medium.bytes >> medium.lba_shift;
	old->namespaces[0].data = NULL;
	mock_destroy(old);
	drive->mock = mock_create_bare(world->group, false);
	choose_abilities(world, drive->mock, index);
	drive->mock->namespaces[0] = medium;
	bring_up(world, index);
	world->drive[index].dead = false;
	world->drive[index].flaky_per_thousand = 0;
}

/* --- the whole -------------------------------------------------------------------------------- */

/* What is not registered goes through copies. */
static void register_clients(struct world *world)
{
	struct fail fail;

	for (unsigned i = 0; i < REACTORS; i++)
		for (unsigned j = 0; j < CLIENT_IOS; j++) {
			char *memory = world->clients[i].ios[j].memory;

			world->fleet->reached[i][j] = random_chance(&world->random, 700);
			if (world->fleet->reached[i][j] &&
				dma_register(memory, CLIENT_BYTES, "a client", &fail))
				run_wrong("%s", fail.text);
		}
}

void fleet_open(struct world *world)
{
	assert(!world->level);
	world->fleet = &the_fleet;
	world_renew_memory();
	register_clients(world);
	for (unsigned i = 0; i < world->drives; i++)
		plug(world, i);
	reactor_sim_between(world->group, watch, world);
	/* Controllers need the clock, which stands still while somebody tries again and again. */
	reactor_sim_hurry(world->group, 50 + (unsigned)random_below(&world->random, 300));
}

void fleet_close(struct world *world)
{
	struct fleet *fleet = world->fleet;

	for (unsigned i = 0; i < world->drives; i++) {
		unplug(&fleet->drive[i], i);
		mock_destroy(fleet->drive[i].mock);
	}
	reactor_sim_between(world->group, NULL, NULL);
	for (unsigned i = 0; i < REACTORS; i++)
		for (unsigned j = 0; j < CLIENT_IOS; j++)
			if (fleet->reached[i][j])
				dma_unregister(world->clients[i].ios[j].memory);
	world->fleet = NULL;
}

struct blockdev *fleet_dev(struct world *world, unsigned index)
{
	return nvme_device(world->fleet->drive[index].nvme, 0);
}

/* --- troubles --------------------------------------------------------------------------------- */

/* Rules that are used up make room. */
static void arrange(struct mock *mock, struct random *random, struct mock_rule rule)
{
	unsigned left = 0;

	for (unsigned i = 0; i < mock->rule_count; i++)
		if (mock->rules[i].count != UINT32_MAX)
			mock->rules[left++] = mock->rules[i];
	mock->rule_count = left;
	if (left == MOCK_RULES_MAX)
		return;
	rule.after = (unsigned)random_below(random, 20);
	mock_rule(mock, rule);
}

enum trouble {
	TROUBLE_LATE,
	TROUBLE_WARNING,
	TROUBLE_GROWTH, /* up to here nothing has to be done again */
	TROUBLE_NEVER,
	TROUBLE_NEVER_NOR_ABORTED,
	TROUBLE_TWICE,
	TROUBLE_AGAIN,
	TROUBLE_BOGUS_ID,
	TROUBLE_BOGUS_QUEUE,
	TROUBLE_BOGUS_HEAD,
	TROUBLE_RANDOM,
	TROUBLE_FATAL,
	TROUBLE_TRANSIENT,
	TROUBLE_DONE_BUT_DENIED,
	TROUBLES,
};

static const char *const trouble_names[TROUBLES] = {"late", "warning", "growth", "never",
	"never, nor aborted", "twice", "again", "bogus id", "bogus queue", "bogus head", "random",
	"fatal", "transient", "done but denied"};

static struct mock_rule trouble_rule(enum trouble trouble, struct random *random)
{
	static const unsigned transient[] = {NVME_INTERNAL_ERROR, NVME_NAMESPACE_NOT_READY,
		NVME_COMMAND_INTERRUPTED, NVME_ABORTED_BY_REQUEST};
	static const enum mock_action actions[TROUBLES] = {[TROUBLE_LATE] = MOCK_DELAY,
		[TROUBLE_NEVER] = MOCK_NEVER,
		[TROUBLE_NEVER_NOR_ABORTED] = MOCK_NEVER,
		[TROUBLE_TWICE] = MOCK_TWICE,
		[TROUBLE_AGAIN] = MOCK_AGAIN,
		[TROUBLE_BOGUS_ID] = MOCK_BOGUS_ID,
		[TROUBLE_BOGUS_QUEUE] = MOCK_BOGUS_SQ,
		[TROUBLE_BOGUS_HEAD] = MOCK_BOGUS_HEAD,
		[TROUBLE_RANDOM] = MOCK_RANDOM,
		[TROUBLE_FATAL] = MOCK_FATAL,
		[TROUBLE_TRANSIENT] = MOCK_STATUS,
		[TROUBLE_DONE_BUT_DENIED] = MOCK_STATUS_DONE};
	struct mock_rule rule = {.opcode = -1, .count = 1, .action = actions[trouble]};

	if (trouble == TROUBLE_LATE) {
		rule.count = 1 + (unsigned)random_below(random, 5);
		rule.value = random_below(random, 7 * SECOND_NS);
	} else if (trouble == TROUBLE_AGAIN) {
		rule.value = random_below(random, SECOND_NS);
	} else if (trouble == TROUBLE_BOGUS_ID) {
		/* No slot has that index, whatever is counted above it. */
		rule.value = 0xff | random_below(random, 255) << 8;
	} else if (trouble == TROUBLE_TRANSIENT || trouble == TROUBLE_DONE_BUT_DENIED) {
		rule.value = transient[random_below(random, ARRAY_SIZE(transient))];
	}
	return rule;
}

void fleet_trouble(struct world *world)
{
	unsigned index = (unsigned)random_below(&world->random, world->drives);
	enum trouble trouble = (enum trouble)random_below(&world->random, TROUBLES);
	struct plugged *drive = &world->fleet->drive[index];
	struct mock *mock = drive->mock;

	if (world->drive[index].dead ||
		(trouble > TROUBLE_GROWTH && drive->troubles == TROUBLES_MAX))
		return;
	drive->troubles += trouble > TROUBLE_GROWTH;
	run.counts.troubles++;
	run_say("controller %u will have trouble: %s", index, trouble_names[trouble]);
	run_trace((uint64_t)index << 8 | trouble);
	if (trouble == TROUBLE_WARNING) {
		mock_event(mock, NVME_EVENT_HEALTH, (unsigned)random_below(&world->random, 3),
			NVME_LOG_HEALTH);
	} else if (trouble == TROUBLE_GROWTH) {
		mock->namespaces[0].lbas += 64;
		mock_event(mock, NVME_EVENT_NOTICE, NVME_NOTICE_NAMESPACE,
			NVME_LOG_CHANGED_NAMESPACES);
	} else {
		mock->ignores_abort |= trouble == TROUBLE_NEVER_NOR_ABORTED;
		arrange(mock, &world->random, trouble_rule(trouble, &world->random));
	}
}

void fleet_fault(struct world *world, unsigned index)
{
	struct mock *mock = world->fleet->drive[index].mock;

	run_say("controller %u will have read errors", index);
	world->drive[index].flaky_per_thousand = 1;
	for (unsigned i = 0; i < 3; i++)
		arrange(mock, &world->random,
			(struct mock_rule){.opcode = NVME_READ,
				.count = 1,
				.action = MOCK_STATUS,
				.value = NVME_UNRECOVERED_READ});
}

/* --- deaths ----------------------------------------------------------------------------------- */

enum death {
	DEATH_PULLED, /* all ones */
	DEATH_PULLED_AT_WORK,
	DEATH_WANTED_BACK, /* the system asks for it */
	DEATH_CUT,	   /* nothing lies at its registers */
	DEATH_STUBBORN,	   /* fatal, and does not let itself be reset */
	DEATH_ASLEEP,	   /* fatal, and does not become ready again */
	DEATH_ANOTHER,	   /* another drive answers after a reset */
	DEATH_FEWER_QUEUES,
	DEATH_SHRUNK,
	DEATH_NO_NAMESPACE,
	DEATH_NO_WRITES,
	DEATHS,
};

static const char *const death_names[DEATHS] = {"pulled", "pulled at work", "wanted back", "cut",
	"stubborn", "asleep", "another", "fewer queues", "shrunk", "no namespace", "no writes"};

static void change_namespace(struct mock *mock, struct random *random)
{
	if (random_chance(random, 500))
		mock_event(mock, NVME_EVENT_NOTICE, NVME_NOTICE_NAMESPACE,
			NVME_LOG_CHANGED_NAMESPACES);
	else
		mock->fatal = true;
}

static void die(struct mock *mock, enum death death, struct random *random)
{
	switch (death) {
	case DEATH_PULLED:
		mock_die(mock);
		break;
	case DEATH_PULLED_AT_WORK:
		mock_rules_clear(mock);
		arrange(mock, random, (struct mock_rule){.opcode = -1, .action = MOCK_DIE});
		break;
	case DEATH_WANTED_BACK:
		mock->removed = true;
		break;
	case DEATH_CUT:
		mock->dead = mock->cut = true;
		mock->pending_count = 0;
		if (ftruncate(mock->registers_fd, 0))
			run_wrong("the registers stay");
		break;
	case DEATH_STUBBORN:
		mock->fatal = mock->will_not_disable = mock->reset_fails = true;
		break;
	case DEATH_ASLEEP:
		mock->fatal = mock->will_not_enable = true;
		break;
	case DEATH_ANOTHER:
		mock->identity.serial[0]++;
		mock->fatal = true;
		break;
	case DEATH_FEWER_QUEUES:
		if (mock->queues_granted == 1)
			mock->identity.serial[0]++;
		mock->queues_granted = 1;
		mock->fatal = true;
		break;
	case DEATH_SHRUNK:
		mock->namespaces[0].lbas /= 2;
		change_namespace(mock, random);
		break;
	case DEATH_NO_NAMESPACE:
		mock->namespaces[0].present = false;
		change_namespace(mock, random);
		break;
	case DEATH_NO_WRITES:
		mock_rules_clear(mock);
		mock_rule(mock, (struct mock_rule){.opcode = NVME_WRITE,
					.action = MOCK_STATUS,
					.value = NVME_WRITE_FAULT});
		break;
	case DEATHS:
		break;
	}
}

void fleet_kill(struct world *world, unsigned index)
{
	enum death death = (enum death)random_below(&world->random, DEATHS);

	run_say("controller %u dies: %s", index, death_names[death]);
	run_trace((uint64_t)index << 8 | 0x80 | death);
	world->drive[index].dead = true;
	die(world->fleet->drive[index].mock, death, &world->random);
}

void fleet_calm(struct world *world)
{
	for (unsigned i = 0; i < world->drives; i++) {
		if (world->drive[i].dead)
			continue;
		mock_rules_clear(world->fleet->drive[i].mock);
		world->drive[i].flaky_per_thousand = 0;
	}
}

/* --- what must hold --------------------------------------------------------------------------- */

void fleet_check_returned(struct world *world, const void *memory)
{
	for (unsigned i = 0; i < world->drives; i++)
		if (mock_holds(world->fleet->drive[i].mock, memory, CLIENT_BYTES))
			run_wrong("a request was given back while controller %u still had its "
				  "memory",
				i);
}

void fleet_check(struct world *world)
{
	for (unsigned i = 0; i < world->drives; i++) {
		char reason[FAIL_TEXT_BYTES];
		enum nvme_state state = nvme_state(world->fleet->drive[i].nvme, reason);

		if (!world->drive[i].dead && state != NVME_LIVE && state != NVME_RESETTING)
			run_wrong("controller %u has had nothing but troubles, and is %s: %s", i,
				nvme_state_name(state), reason);
	}
	array_status(world->array, &world->status);
	for (unsigned slot = 0; slot < world->setup->members; slot++)
		if (world->good[slot] && world->status.member[slot].state != ROW_IN_SYNC)
			run_wrong("slot %u was lost, and its drive has had nothing but troubles",
				slot);
}
