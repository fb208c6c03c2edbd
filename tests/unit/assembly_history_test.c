/* SPDX-License-Identifier: Apache-2.0 */
/*
 * assembly_decide() against histories: small arrays that start with whoever is there, lose members,
 * take them back, acknowledge writes, stop and crash in the middle of any update of the table, as
 * raid/start.c, member.c and membership.c would. No drives, no data: of each member only its
 * superblock, and which acknowledged writes it holds.
 *
 * Whatever is started must hold every write that a drive which was found holds (else that one's
 * history is given up without a word), and its members the same ones. Who is refused must have a
 * reason: of two that were found each holds a write, or has begun an epoch, that the other does not
 * know of.
 */
#include "unit.h"

#include <stdarg.h>

#include "base/bits.h"
#include "raid/assembly.h"
#include "raid/member.h"
#include "sample.h"

enum { MEMBERS_MAX = 6, EPOCHS_MAX = 64, EPISODES = 7, WALKS = 60000, TRACE_BYTES = 8192 };

struct member {
	struct superblock superblock;
	uint64_t holds;	  /* acknowledged writes, a bit each */
	uint64_t touched; /* runs whose writes may be there, acknowledged or not */
	uint64_t epochs;  /* that lead to its table */
	bool raised;	  /* its last update was a start's first, which changes nothing */
};

struct history {
	struct random random;
	unsigned members, tolerance, each; /* of a part, and its slots */
	bool spare;			   /* the last one */
	struct member member[MEMBERS_MAX];
	unsigned events, epochs;
	struct {
		struct uuid uuid;
		uint64_t line;	    /* it and those that led to it */
		uint32_t took_part; /* members that heard of it */
	} epoch[EPOCHS_MAX];
	/* While the array runs. */
	struct superblock table;
	uint32_t there; /* drives of this episode */
	uint32_t live;	/* those that the table's updates go to */
	bool raising;
	unsigned unfounded; /* refusals that nothing speaks for */
	bool heard;	    /* all slots among them have the last one */
	char trace[TRACE_BYTES];
	unsigned used;
};

static void __attribute__((format(printf, 2, 3)))
say(struct history *history, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	history->used += (unsigned)vsnprintf(
		history->trace + history->used, TRACE_BYTES - history->used, format, arguments);
	va_end(arguments);
	if (history->used >= TRACE_BYTES)
		history->used = TRACE_BYTES - 1;
}

static bool chance(struct history *history, unsigned per_thousand)
{
	return random_chance(&history->random, per_thousand);
}

static void history_begin(
	struct history *history, const char *level, unsigned members, unsigned parts, bool spare)
{
	struct superblock base;

	sample_superblock(&base, &history->random, level, members, parts);
	history->members = members + spare;
	history->spare = spare;
	history->each = parts ? members / parts : members;
	history->tolerance =
		level_tolerance(base.level->part ? base.level->part : base.level, history->each);
	history->events = history->epochs = history->used = 0;
	base.generation = 2;
	if (spare) {
		sample_uuid(&base.rows[members].uuid, &history->random);
		base.rows[members].state = ROW_SPARE;
		base.rows[members].since = 1;
	}
	for (unsigned i = 0; i < history->members; i++) {
		history->member[i] = (struct member){.superblock = base};
		sample_member(&history->member[i].superblock, i);
	}
}

/* --- updates of the table --------------------------------------------------------------------- */

static bool is_slot(const struct history *history, unsigned row)
{
	return row + history->spare < history->members;
}

static int epoch_of(const struct history *history, const struct uuid *uuid)
{
	for (unsigned i = 0; i < history->epochs; i++)
		if (uuid_equal(&history->epoch[i].uuid, uuid))
			return (int)i;
	return -1;
}

static uint64_t line_of(const struct history *history, const struct uuid *uuid)
{
	int epoch = epoch_of(history, uuid);

	return epoch < 0 ? 0 : history->epoch[epoch].line;
}

static void epoch_begins(struct history *history)
{
	uint64_t line = line_of(history, &history->table.epoch);
	struct superblock *table = &history->table;

	memmove(table->ancestors + 1, table->ancestors, 2 * sizeof(table->ancestors[0]));
	table->ancestors[0] = table->epoch;
	sample_uuid(&table->epoch, &history->random);
	history->epoch[history->epochs].uuid = table->epoch;
	history->epoch[history->epochs].took_part = 0;
	history->epoch[history->epochs].line = line | 1ull << history->epochs;
	history->epochs++;
}

static void write_table(struct history *history, unsigned row)
{
	struct member *member = &history->member[row];
	int epoch = epoch_of(history, &history->table.epoch);

	if (epoch >= 0)
		history->epoch[epoch].took_part |= 1u << row;
	member->superblock = history->table;
	sample_member(&member->superblock, row);
	member->raised = history->raising;
	member->epochs = line_of(history, &history->table.epoch);
}

static bool has_table(const struct history *history, unsigned row)
{
	const struct superblock *superblock = &history->member[row].superblock;

	return superblock->generation == history->table.generation &&
	       uuid_equal(&superblock->epoch, &history->table.epoch) &&
	       !memcmp(superblock->rows, history->table.rows, sizeof(superblock->rows));
}

/* To all that are live; or, if it crashes meanwhile (false), to some. */
static bool commit(struct history *history, const char *what)
{
	bool crashes = chance(history, 120);
	unsigned row;

	say(history, " %s=%llu%s(", what, (unsigned long long)history->table.generation,
		crashes ? "!" : "");
	bits_for_each (row, history->live)
		if (history->member[row].superblock.generation != history->table.generation &&
			(!crashes || chance(history, 500))) {
			write_table(history, row);
			say(history, "%u", row);
		}
	say(history, ")");
	history->heard = true;
	for (unsigned i = 0; i < history->table.members; i++)
		history->heard &=
			history->table.rows[i].state == ROW_FAILED || has_table(history, i);
	return !crashes;
}

static bool commit_next(struct history *history, const char *what)
{
	history->table.generation++;
	return commit(history, what);
}

static void set_row(struct history *history, unsigned row, enum row_state state)
{
	struct superblock_row *entry = &history->table.rows[row];

	entry->state = state;
	entry->since = history->table.generation + 1;
}

/* --- an array that runs ----------------------------------------------------------------------- */

static void acknowledge(struct history *history)
{
	uint64_t bit = 1ull << history->events++;

	say(history, " ack%u", history->events - 1);
	for (unsigned i = 0; i < history->table.members; i++)
		if (history->table.rows[i].state != ROW_FAILED)
			history->member[i].holds |= bit;
}

static void touch(struct history *history)
{
	uint64_t bit = 1ull << history->events++;
	unsigned row;

	bits_for_each (row, history->live)
		if (is_slot(history, row))
			history->member[row].touched |= bit;
}

static bool can_lose(const struct history *history, unsigned row)
{
	unsigned first = row / history->each * history->each, bad = 1;

	for (unsigned i = first; i < first + history->each; i++)
		bad += i != row && history->table.rows[i].state != ROW_IN_SYNC;
	return bad <= history->tolerance;
}

/* False: a crash, or more than it survives. */
static bool lose(struct history *history, unsigned row)
{
	struct superblock_row *entry = &history->table.rows[row];
	bool goes_on;

	if (!can_lose(history, row))
		return false;
	entry->resyncable = entry->state == ROW_IN_SYNC;
	entry->reason = LOSS_WRITE_ERROR;
	set_row(history, row, ROW_FAILED);
	history->live &= ~(1u << row);
	goes_on = commit_next(history, "lose");
	if (history->heard)
		acknowledge(history);
	return goes_on;
}

/* As array_readd() decides. */
static bool may_return(const struct history *history, unsigned row)
{
	const struct superblock *superblock = &history->member[row].superblock;
	const struct superblock_row *entry = &history->table.rows[row];

	return is_slot(history, row) && history->there >> row & 1 && entry->state == ROW_FAILED &&
	       superblock->generation < entry->since &&
	       assembly_is_covered(&history->table, row, superblock);
}

static uint64_t all(const struct history *history, bool touched)
{
	uint64_t events = 0;
	unsigned row;

	bits_for_each (row, history->live)
		events |= touched ? history->member[row].touched : history->member[row].holds;
	return events;
}

static bool take_back(struct history *history, unsigned row)
{
	struct member *member = &history->member[row];
	uint64_t holds = all(history, false), touched = all(history, true);

	expect(!(member->holds & ~holds), "%s\nre-added: %u, which has a history of its own",
		history->trace, row);
	expect(!(member->touched & ~touched),
		"%s\nre-added: %u, which holds what no map of the others knows", history->trace,
		row);
	say(history, " readd%u", row);
	history->live |= 1u << row;
	set_row(history, row, ROW_REBUILDING);
	epoch_begins(history);
	if (!commit_next(history, "rebuild"))
		return false;
	if (chance(history, 200))
		return true;
	member->holds = holds;
	member->touched = touched;
	set_row(history, row, ROW_IN_SYNC);
	history->table.rows[row].resyncable = false;
	epoch_begins(history);
	return commit_next(history, "insync");
}

/* False: it ends. */
static bool step(struct history *history)
{
	unsigned row = (unsigned)random_below(&history->random, history->members);
	unsigned dice = (unsigned)random_below(&history->random, 100);

	if (history->events > 60 || history->epochs > EPOCHS_MAX - 8 || dice < 15)
		return false;
	if (dice < 25) {
		history->table.clean = true;
		commit_next(history, "stop");
		return false;
	}
	if (dice < 50) {
		acknowledge(history);
		return true;
	}
	if (dice < 75)
		return !(history->live >> row & 1) || !is_slot(history, row) || lose(history, row);
	return !may_return(history, row) || take_back(history, row);
}

/* --- starts ----------------------------------------------------------------------------------- */

static bool fail_absent(struct history *history)
{
	struct superblock *table = &history->table;
	uint32_t absent = 0;
	unsigned row;
	bool goes_on;

	for (unsigned i = 0; i < table->members; i++)
		if (table->rows[i].state != ROW_FAILED && !(history->live >> i & 1))
			absent |= 1u << i;
	if (!absent)
		return true;
	history->raising = true;
	goes_on = commit_next(history, "raise");
	history->raising = false;
	if (!goes_on)
		return false;
	bits_for_each (row, absent) {
		struct superblock_row *entry = &table->rows[row];

		entry->resyncable =
			table->clean && (entry->state == ROW_IN_SYNC || entry->resyncable);
		entry->reason = LOSS_ABSENT;
		set_row(history, row, ROW_FAILED);
	}
	epoch_begins(history);
	table->clean = false;
	return commit_next(history, "absent");
}

/* One member may die just when it should learn of the start: others are written already. */
static bool start_runs(struct history *history)
{
	unsigned late = (unsigned)random_below(&history->random, history->members);
	/* By the maps of the last run. */
	uint64_t touched = all(history, true);
	unsigned row;
	bool dies = chance(history, 200) && is_slot(history, late) && history->live >> late & 1;

	epoch_begins(history);
	history->table.clean = false;
	if (dies)
		history->live &= ~(1u << late);
	if (!commit_next(history, "start"))
		return false;
	bits_for_each (row, history->live)
		history->member[row].touched |= touched;
	touch(history);
	return !dies || lose(history, late);
}

static void run_array(struct history *history, const struct assembly *assembly)
{
	bool goes_on;

	history->table = assembly->superblock;
	history->live = 0;
	for (unsigned i = 0; i < history->members; i++)
		if (assembly->member[i])
			history->live |= 1u << i;
	goes_on = commit(history, "even");
	/* Nobody can tell whether anything rests on what all have heard. */
	if (history->heard)
		acknowledge(history);
	if (!goes_on || !fail_absent(history) || !start_runs(history))
		return;
	acknowledge(history);
	while (step(history))
		;
}

/* --- what was found --------------------------------------------------------------------------- */

/* Docs, "what no protocol can know": the others have been lost and taken back since. */
static bool is_overtaken(const struct history *history, unsigned of, const struct superblock *fresh)
{
	const struct superblock *one = &history->member[of].superblock;

	for (unsigned i = 0; i < fresh->members; i++)
		if (one->rows[i].since > fresh->rows[i].since)
			return false;
	return one->generation < fresh->rows[of].since;
}

static void check_started(struct history *history, const struct assembly *assembly)
{
	int first = -1;

	for (unsigned i = 0; i < history->members; i++) {
		if (!assembly->member[i] || assembly->superblock.rows[i].state != ROW_IN_SYNC)
			continue;
		first = first < 0 ? (int)i : first;
		expect(history->member[i].holds == history->member[first].holds,
			"%s\n%u and %d are in sync and do not hold the same", history->trace, i,
			first);
	}
	for (unsigned i = 0; i < history->members; i++)
		expect(!(history->there >> i & 1) ||
				!(history->member[i].holds & ~history->member[first].holds) ||
				is_overtaken(history, i, &assembly->superblock),
			"%s\nthe history of %u is given up without a word", history->trace, i);
}

static bool have_parted(const struct history *history, unsigned one, unsigned other)
{
	const struct member *a = &history->member[one], *b = &history->member[other];

	return ((a->holds & ~b->holds) || (a->epochs & ~b->epochs)) &&
	       ((b->holds & ~a->holds) || (b->epochs & ~a->epochs));
}

static bool is_known(const struct superblock *table, const struct uuid *epoch)
{
	bool known = uuid_equal(&table->epoch, epoch);

	for (unsigned i = 0; i < ARRAY_SIZE(table->ancestors); i++)
		known |= uuid_equal(&table->ancestors[i], epoch);
	return known;
}

/* Somebody who lives in the one's table may have heard the same, and cannot be asked: he is away,
 * and took no part in what the others did first without the one. */
static bool may_have_been_heard(
	const struct history *history, unsigned of, const struct superblock *fresh)
{
	const struct superblock *one = &history->member[of].superblock;
	uint64_t news = line_of(history, &fresh->epoch) & ~line_of(history, &one->epoch);
	uint32_t told = news ? history->epoch[__builtin_ctzll(news)].took_part : 0;
	bool may = false;

	for (unsigned i = 0; i < one->members; i++)
		may |= i != of && one->rows[i].state != ROW_FAILED &&
		       !((told | history->there) >> i & 1);
	return may;
}

static void check_refused(struct history *history, const struct assembly *assembly)
{
	bool parted = false;

	/* One that began to start without the others, so long ago that nobody knows its epoch. */
	for (unsigned i = 0; i < history->members; i++)
		parted |= history->there >> i & 1 && history->member[i].raised &&
			  !is_known(&assembly->superblock, &history->member[i].superblock.epoch);
	for (unsigned i = 0; i < history->members; i++)
		parted |= history->there >> i & 1 &&
			  may_have_been_heard(history, i, &assembly->superblock);
	for (unsigned i = 0; i < history->members; i++)
		for (unsigned j = 0; j < i; j++)
			parted |= (history->there >> i & history->there >> j & 1) &&
				  have_parted(history, i, j);
	history->unfounded += !parted;
}

static void episode(struct history *history, unsigned seen[])
{
	static struct assembly assembly;
	struct blockdev dev[MEMBERS_MAX];
	struct found found[MEMBERS_MAX];
	unsigned count = 0, order[MEMBERS_MAX];

	history->there = 0;
	say(history, "\n");
	for (unsigned i = 0; i < history->members; i++) {
		unsigned other = (unsigned)random_below(&history->random, i + 1);

		order[i] = order[other];
		order[other] = i;
	}
	for (unsigned i = 0; i < history->members; i++) {
		unsigned row = order[i];

		if (!chance(history, 650))
			continue;
		history->there |= 1u << row;
		snprintf(dev[count].name, sizeof(dev[count].name), "d%u", row);
		say(history, "%u", row);
		found[count] = (struct found){&dev[count], &history->member[row].superblock, ""};
		count++;
	}
	assembly_decide(&assembly, &history->member[0].superblock.array_uuid, found, count);
	seen[assembly.state]++;
	if (assembly.state == ASSEMBLY_REFUSED) {
		say(history, " refused");
		check_refused(history, &assembly);
	} else if (assembly.state != ASSEMBLY_INCOMPLETE) {
		check_started(history, &assembly);
		run_array(history, &assembly);
	}
}

/* refusals: of that many, or more; an array that cannot be halved has none. */
static void walk(const char *level, unsigned members, unsigned parts, bool spare, unsigned refusals)
{
	static struct history history = {.random = {1}};
	unsigned seen[ASSEMBLY_UNMADE + 1] = {0};

	for (unsigned i = 0; i < WALKS; i++) {
		history_begin(&history, level, members, parts, spare);
		for (unsigned j = 0;
			j < EPISODES && history.events < 50 && history.epochs < EPOCHS_MAX - 8; j++)
			episode(&history, seen);
	}
	/* Starts that were cut short on both sides, one after the other, may leave such. */
	expect(history.unfounded * 1000 <= seen[ASSEMBLY_REFUSED], "%s of %u: %u of %u refusals",
		level, members, history.unfounded, seen[ASSEMBLY_REFUSED]);
	printf("%s of %u: %u of %u refusals are unfounded\n", level, members, history.unfounded,
		seen[ASSEMBLY_REFUSED]);
	history.unfounded = 0;
	expect(seen[ASSEMBLY_REFUSED] >= refusals && seen[ASSEMBLY_DEGRADED] > 1000,
		"%s of %u: %u refused, %u degraded", level, members, seen[ASSEMBLY_REFUSED],
		seen[ASSEMBLY_DEGRADED]);
}

static void test_mirrors(void **state)
{
	(void)state;
	walk("1", 2, 0, false, 100);
	walk("1", 3, 0, false, 100);
	walk("1", 4, 0, false, 100);
}

static void test_parity(void **state)
{
	(void)state;
	walk("5", 3, 0, false, 0);
	walk("6", 4, 0, false, 100);
}

static void test_parts(void **state)
{
	(void)state;
	walk("10", 4, 2, false, 100);
	walk("50", 6, 2, false, 0);
}

static void test_spares(void **state)
{
	(void)state;
	walk("1", 2, 0, true, 100);
	walk("6", 4, 0, true, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mirrors),
		cmocka_unit_test(test_parity),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_spares),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
