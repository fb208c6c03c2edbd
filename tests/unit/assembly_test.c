/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which array the members make: a table of cases for every rule of docs/FORMAT.md, "Assembly", and
 * rules that must hold whatever is found.
 */
#include "unit.h"

#include "base/bits.h"
#include "raid/assembly.h"
#include "raid/member.h"
#include "sample.h"

enum { DRIVES_MAX = 12, STRANGER = 200, OTHER_ARRAY = 300 };

/* A drive that is found. Epochs: the letter first is its epoch, those behind it are the ancestors.
 * Table: a letter for each row, see state_of(); NULL: all slots in sync. 'f', 'I' and 'R' are so
 * since `since`, all others since generation 1. */
struct drive {
	unsigned row; /* of its member; STRANGER + n: not in any table; OTHER_ARRAY: of another */
	unsigned generation;
	const char *epochs;
	const char *table;
	unsigned since;
	const char *fingerprint; /* as the drive says now; NULL: as recorded */
	bool nameless;		 /* none is recorded */
	bool unmade;
};

struct scene {
	const char *what, *level;
	unsigned members, parts;
	enum assembly_state state;
	const char *verdicts; /* of each drive: see verdict_letter() */
	unsigned absent;
	struct drive drive[DRIVES_MAX];
};

#define D(at, of, letters)                                           \
	{                                                            \
		.row = (at), .generation = (of), .epochs = (letters) \
	}
#define X(at, of, letters, ...)                                                   \
	{                                                                         \
		.row = (at), .generation = (of), .epochs = (letters), __VA_ARGS__ \
	}

/* clang-format off */
static const struct scene scenes[] = {
	/* Who is there. */
	{"all are there", "5", 3, 0, ASSEMBLY_COMPLETE, "MMM", 0,
		{D(0, 7, "a"), D(1, 7, "a"), D(2, 7, "a")}},
	{"in any order", "5", 3, 0, ASSEMBLY_COMPLETE, "MMM", 0,
		{D(2, 7, "a"), D(0, 7, "a"), D(1, 7, "a")}},
	{"nobody is", "5", 3, 0, ASSEMBLY_INCOMPLETE, "", 0, {D(0, 0, NULL)}},
	{"only others are", "5", 3, 0, ASSEMBLY_INCOMPLETE, "OO", 0,
		{D(OTHER_ARRAY, 7, "a"), D(OTHER_ARRAY, 9, "a")}},
	{"one is absent", "5", 3, 0, ASSEMBLY_DEGRADED, "MM", 1, {D(0, 7, "a"), D(2, 7, "a")}},
	{"two are absent", "5", 3, 0, ASSEMBLY_INCOMPLETE, "M", 2, {D(2, 7, "a")}},
	{"RAID 6 does without two", "6", 4, 0, ASSEMBLY_DEGRADED, "MM", 2, {D(0, 7, "a"), D(3, 7, "a")}},
	{"and not without three", "6", 4, 0, ASSEMBLY_INCOMPLETE, "M", 3, {D(3, 7, "a")}},
	{"RAID 7.3 does without three", "7", 5, 0, ASSEMBLY_DEGRADED, "MM", 3, {D(0, 7, "a"), D(3, 7, "a")}},
	{"a mirror does with one", "1", 4, 0, ASSEMBLY_DEGRADED, "M", 3, {D(3, 7, "a")}},
	{"RAID 0 needs all", "0", 3, 0, ASSEMBLY_INCOMPLETE, "MM", 1, {D(0, 7, "a"), D(2, 7, "a")}},
	{"one of each part is absent", "10", 6, 3, ASSEMBLY_DEGRADED, "MMM", 3,
		{D(0, 7, "a"), D(3, 7, "a"), D(5, 7, "a")}},
	{"two of one part are", "10", 6, 3, ASSEMBLY_INCOMPLETE, "MMMM", 2,
		{D(0, 7, "a"), D(1, 7, "a"), D(4, 7, "a"), D(5, 7, "a")}},
	{"one of each part, RAID 50", "50", 6, 2, ASSEMBLY_DEGRADED, "MMMM", 2,
		{D(0, 7, "a"), D(1, 7, "a"), D(4, 7, "a"), D(5, 7, "a")}},
	{"two of one part, RAID 50", "50", 6, 2, ASSEMBLY_INCOMPLETE, "MMMM", 2,
		{D(2, 7, "a"), D(3, 7, "a"), D(4, 7, "a"), D(5, 7, "a")}},
	{"two of one part, RAID 60", "60", 8, 2, ASSEMBLY_DEGRADED, "MMMMMM", 2,
		{D(2, 7, "a"), D(3, 7, "a"), D(4, 7, "a"), D(5, 7, "a"), D(6, 7, "a"), D(7, 7, "a")}},

	/* Arrays that were being made, or deleted. */
	{"all know that it is not there", "5", 3, 0, ASSEMBLY_UNMADE, "MMM", 0,
		{X(0, 7, "a", .unmade = true), X(1, 7, "a", .unmade = true), X(2, 7, "a", .unmade = true)}},
	{"one knows, in a newer generation", "5", 3, 0, ASSEMBLY_UNMADE, "MMM", 0,
		{D(0, 7, "a"), X(1, 8, "a", .unmade = true), D(2, 7, "a")}},
	{"one alone is no array that waits", "5", 3, 0, ASSEMBLY_UNMADE, "M", 2, {X(1, 8, "a", .unmade = true)}},
	{"one is made already", "5", 3, 0, ASSEMBLY_COMPLETE, "MMM", 0,
		{X(0, 1, "a", .unmade = true), D(1, 2, "a"), X(2, 1, "a", .unmade = true)}},
	{"what went on alone is not erased", "1", 2, 0, ASSEMBLY_REFUSED, "PM", 0,
		{X(0, 9, "ba", .table = "if", .since = 7),
			X(1, 12, "ca", .table = "fi", .since = 7, .unmade = true)}},

	/* What the table says of them. */
	{"the rest of a degraded array is all there", "5", 3, 0, ASSEMBLY_COMPLETE, "MM", 0,
		{X(0, 7, "a", .table = "iif", .since = 5), X(1, 7, "a", .table = "iif", .since = 5)}},
	{"a member that is being rebuilt holds no data", "5", 3, 0, ASSEMBLY_INCOMPLETE, "MM", 1,
		{X(0, 7, "a", .table = "iri"), X(1, 7, "a", .table = "iri")}},
	{"but belongs to the array", "5", 3, 0, ASSEMBLY_COMPLETE, "MMM", 0,
		{X(0, 7, "a", .table = "iri"), X(1, 7, "a", .table = "iri"), X(2, 7, "a", .table = "iri")}},
	{"a spare is there", "5", 3, 0, ASSEMBLY_COMPLETE, "MMMM", 0,
		{X(0, 7, "a", .table = "iiis"), X(1, 7, "a", .table = "iiis"), X(2, 7, "a", .table = "iiis"),
			X(3, 7, "a", .table = "iiis")}},
	{"nobody waits for a spare", "5", 3, 0, ASSEMBLY_COMPLETE, "MMM", 0,
		{X(0, 7, "a", .table = "iiis"), X(1, 7, "a", .table = "iiis"), X(2, 7, "a", .table = "iiis")}},
	{"how old a spare is does not matter", "5", 3, 0, ASSEMBLY_COMPLETE, "MMMM", 0,
		{X(0, 7, "a", .table = "iiis"), X(1, 7, "a", .table = "iiis"), X(2, 7, "a", .table = "iiis"),
			X(3, 2, "a", .table = "iiis")}},
	{"a spare does not make up for a member", "5", 3, 0, ASSEMBLY_INCOMPLETE, "MM", 2,
		{X(0, 7, "a", .table = "iiis"), X(3, 7, "a", .table = "iiis")}},
	{"nor does a copy", "5", 3, 0, ASSEMBLY_INCOMPLETE, "MM", 2,
		{X(0, 7, "a", .table = "iiip"), X(3, 7, "a", .table = "iiip")}},

	/* The freshest decides. */
	{"a member that the freshest calls failed is stale", "5", 3, 0, ASSEMBLY_COMPLETE, "SMM", 0,
		{D(0, 4, "a"), X(1, 7, "a", .table = "fii", .since = 5), X(2, 7, "a", .table = "fii", .since = 5)}},
	{"whatever it says of itself and of the others", "5", 3, 0, ASSEMBLY_COMPLETE, "SMM", 0,
		{X(0, 4, "a", .table = "iff", .since = 3), X(1, 7, "a", .table = "fII", .since = 5),
			X(2, 7, "a", .table = "fII", .since = 5)}},
	{"one of an older epoch, failed since", "5", 3, 0, ASSEMBLY_COMPLETE, "SMM", 0,
		{D(0, 4, "a"), X(1, 9, "dcba", .table = "fii", .since = 6),
			X(2, 9, "dcba", .table = "fii", .since = 6)}},
	{"one of an epoch that nobody remembers", "5", 3, 0, ASSEMBLY_COMPLETE, "SMM", 0,
		{D(0, 4, "a"), X(1, 99, "zyxw", .table = "fii", .since = 6),
			X(2, 99, "zyxw", .table = "fii", .since = 6)}},
	{"behind by one: a crash in an update", "5", 3, 0, ASSEMBLY_COMPLETE, "MMM", 0,
		{D(0, 6, "a"), D(1, 7, "a"), D(2, 6, "a")}},
	{"behind by one, an epoch ago", "5", 3, 0, ASSEMBLY_COMPLETE, "MMM", 0,
		{D(0, 6, "a"), D(1, 7, "ba"), D(2, 6, "a")}},
	{"behind by two: it was not there", "5", 3, 0, ASSEMBLY_DEGRADED, "SMM", 1,
		{D(0, 5, "a"), D(1, 7, "a"), D(2, 6, "a")}},
	{"behind by many, too many of them", "5", 3, 0, ASSEMBLY_INCOMPLETE, "SSM", 2,
		{D(0, 5, "a"), D(1, 5, "a"), D(2, 9, "a")}},
	{"the same generation, one descends from the other", "1", 2, 0, ASSEMBLY_COMPLETE, "MM", 0,
		{D(0, 7, "a"), D(1, 7, "ba")}},
	{"the other way round", "1", 2, 0, ASSEMBLY_COMPLETE, "MM", 0, {D(0, 7, "ba"), D(1, 7, "a")}},
	{"the descendant's table counts", "1", 2, 0, ASSEMBLY_COMPLETE, "SM", 0,
		{D(0, 6, "a"), X(1, 7, "ba", .table = "fi", .since = 7)}},

	/* Each half went on without the other. */
	{"two halves", "1", 2, 0, ASSEMBLY_REFUSED, "MP", 0,
		{X(0, 9, "ba", .table = "if", .since = 7), X(1, 9, "ca", .table = "fi", .since = 7)}},
	{"two halves, one went further", "1", 2, 0, ASSEMBLY_REFUSED, "PM", 0,
		{X(0, 9, "ba", .table = "if", .since = 7), X(1, 12, "ca", .table = "fi", .since = 7)}},
	{"one that went on alone, and with others since", "1", 2, 0, ASSEMBLY_REFUSED, "PM", 0,
		{D(0, 9, "ca"), X(1, 12, "ba", .table = "fi", .since = 7)}},
	{"a half that failed the others", "6", 4, 0, ASSEMBLY_REFUSED, "MMPP", 0,
		{X(0, 20, "ba", .table = "iiff", .since = 7), X(1, 20, "ba", .table = "iiff", .since = 7),
			X(2, 8, "ca", .table = "ffii", .since = 8),
			X(3, 8, "ca", .table = "ffii", .since = 8)}},
	{"a member of an epoch that is unknown, in sync by the table", "5", 3, 0, ASSEMBLY_REFUSED, "MMP", 1,
		{D(0, 7, "ba"), D(1, 7, "ba"), D(2, 7, "ca")}},
	{"one that was failed, and is not as new as that, has only missed it", "1", 2, 0, ASSEMBLY_COMPLETE,
		"MS", 0, {X(0, 9, "ba", .table = "if", .since = 7), D(1, 6, "a")}},

	/* Copies. */
	{"the same member twice", "5", 3, 0, ASSEMBLY_REFUSED, "DMMD", 1,
		{D(0, 7, "a"), D(1, 7, "a"), D(2, 7, "a"), D(0, 7, "a")}},
	{"an older copy is one as well", "5", 3, 0, ASSEMBLY_REFUSED, "DMMD", 1,
		{D(0, 7, "a"), D(1, 7, "a"), D(2, 7, "a"), D(0, 4, "a")}},
	{"three of them", "1", 2, 0, ASSEMBLY_REFUSED, "DDDM", 1,
		{D(0, 7, "a"), D(0, 7, "a"), D(0, 7, "a"), D(1, 7, "a")}},
	{"neither is the drive that was recorded", "5", 3, 0, ASSEMBLY_REFUSED, "DMMD", 1,
		{X(0, 7, "a", .fingerprint = "x"), D(1, 7, "a"), D(2, 7, "a"), X(0, 7, "a", .fingerprint = "y")}},
	{"no identity was recorded", "5", 3, 0, ASSEMBLY_REFUSED, "DMMD", 1,
		{X(0, 7, "a", .fingerprint = "", .nameless = true), D(1, 7, "a"), D(2, 7, "a"),
			X(0, 7, "a", .fingerprint = "x", .nameless = true)}},
	{"neither has an identity", "5", 3, 0, ASSEMBLY_REFUSED, "DMMD", 1,
		{X(0, 7, "a", .fingerprint = ""), D(1, 7, "a"), D(2, 7, "a"), X(0, 7, "a", .fingerprint = "")}},

	/* Strangers. */
	{"one that the table does not know", "5", 3, 0, ASSEMBLY_COMPLETE, "MMMF", 0,
		{D(0, 7, "a"), D(1, 7, "a"), D(2, 7, "a"), D(STRANGER, 6, "a")}},
	{"it is not counted", "5", 3, 0, ASSEMBLY_INCOMPLETE, "MF", 2, {D(0, 7, "a"), D(STRANGER, 6, "a")}},
	{"members of another array", "5", 3, 0, ASSEMBLY_COMPLETE, "OMMMO", 0,
		{D(OTHER_ARRAY, 99, "b"), D(0, 7, "a"), D(1, 7, "a"), D(2, 7, "a"), D(OTHER_ARRAY + 1, 99, "b")}},
};

/* Of two with the same uuid, the one that has the recorded identity is the member. */
static const struct scene decided[] = {
	{"the drive tells", "5", 3, 0, ASSEMBLY_COMPLETE, "MMMD", 0,
		{D(0, 7, "a"), D(1, 7, "a"), D(2, 7, "a"), X(0, 7, "a", .fingerprint = "x")}},
	{"also if the copy comes first", "5", 3, 0, ASSEMBLY_COMPLETE, "DMMM", 0,
		{X(0, 7, "a", .fingerprint = "x"), D(1, 7, "a"), D(2, 7, "a"), D(0, 7, "a")}},
	{"or has no identity", "5", 3, 0, ASSEMBLY_COMPLETE, "DMMM", 0,
		{X(0, 7, "a", .fingerprint = ""), D(1, 7, "a"), D(2, 7, "a"), D(0, 7, "a")}},
	{"copies of what nobody needs do no harm", "1", 2, 0, ASSEMBLY_COMPLETE, "MDD", 0,
		{X(0, 9, "a", .table = "if", .since = 7), D(1, 6, "a"), D(1, 6, "a")}},
};

/* Both say that the other is failed, in an epoch that both know. */
static const struct scene parted[] = {
	{"who recorded a loss that the freshest does not know", "1", 2, 0, ASSEMBLY_REFUSED, "PM", 0,
		{X(0, 6, "a", .table = "if", .since = 6), X(1, 8, "ba", .table = "fi", .since = 7)}},
	{"one who is away would have brought the news: he went on without it", "1", 3, 0, ASSEMBLY_DEGRADED, "MS", 1,
		{X(0, 8, "cba", .table = "ifi", .since = 7), X(1, 6, "a", .table = "fii", .since = 6)}},
	{"who went at the same time would not", "1", 3, 0, ASSEMBLY_REFUSED, "MP", 0,
		{X(0, 8, "cba", .table = "iff", .since = 7), X(1, 6, "a", .table = "fii", .since = 6)}},
	{"a spare never needs to hear", "1", 2, 0, ASSEMBLY_REFUSED, "MPM", 0,
		{X(0, 8, "cba", .table = "ifs", .since = 7), X(1, 6, "a", .table = "fis", .since = 6),
			X(2, 8, "cba", .table = "ifs", .since = 7)}},
	{"one began to take back whom the other has never lost", "1", 2, 0, ASSEMBLY_REFUSED, "MP", 0,
		{X(0, 8, "cba", .table = "if", .since = 7), X(1, 6, "da", .table = "Ri", .since = 6)}},
	{"a copy took a slot over, and only one heard of it", "1", 3, 0, ASSEMBLY_DEGRADED, "MS", 1,
		{X(0, 11, "dcba", .table = "ifi", .since = 10), X(1, 9, "ea", .table = "iiI", .since = 9)}},
	{"in one epoch who lost more is fresher, whatever the generation", "6", 4, 0, ASSEMBLY_DEGRADED, "MMS", 1,
		{X(0, 6, "a", .table = "iiif", .since = 6), D(1, 8, "a"), D(3, 9, "a")}},
	{"but not who lost another one", "1", 2, 0, ASSEMBLY_REFUSED, "PM", 0,
		{X(0, 6, "a", .table = "if", .since = 6), X(1, 7, "a", .table = "fi", .since = 7)}},
	{"a loss that was made good since", "1", 2, 0, ASSEMBLY_COMPLETE, "SM", 0,
		{X(0, 6, "a", .table = "if", .since = 6), X(1, 19, "ba", .table = "fI", .since = 17)}},
	{"a loss that another live member never heard of", "6", 4, 0, ASSEMBLY_COMPLETE, "SMMM", 0,
		{X(0, 6, "a", .table = "iiif", .since = 6), X(1, 8, "ba", .table = "fiii", .since = 7),
			X(2, 8, "ba", .table = "fiii", .since = 7), X(3, 8, "ba", .table = "fiii", .since = 7)}},
};
/* clang-format on */

struct stage {
	struct random random;
	struct superblock base; /* the uuids of the rows */
	struct uuid epoch[26];
	struct superblock superblock[DRIVES_MAX];
	struct blockdev dev[DRIVES_MAX];
	struct found found[DRIVES_MAX];
	unsigned count;
	struct assembly assembly;
};

static enum row_state state_of(char letter)
{
	static const char letters[] = "eirfsp";

	if (letter == 'I' || letter == 'R')
		return letter == 'I' ? ROW_IN_SYNC : ROW_REBUILDING;
	return (enum row_state)(strchr(letters, letter) - letters);
}

static char verdict_letter(enum member_verdict verdict)
{
	return "MSDPFO"[verdict];
}

static void set_table(
	struct superblock *superblock, const struct stage *stage, const char *table, unsigned since)
{
	for (unsigned i = 0; table && table[i]; i++) {
		struct superblock_row *row = &superblock->rows[i];

		row->state = state_of(table[i]);
		row->uuid = stage->base.rows[i].uuid;
		row->since = strchr("fIR", table[i]) ? since : 1;
	}
}

static void set_epochs(struct superblock *superblock, const struct stage *stage, const char *epochs)
{
	superblock->epoch = stage->epoch[epochs[0] - 'a'];
	for (unsigned i = 0; i < 3 && epochs[i] && epochs[i + 1]; i++)
		superblock->ancestors[i] = stage->epoch[epochs[i + 1] - 'a'];
}

static void stage_begin(struct stage *stage, const char *level, unsigned members, unsigned parts)
{
	stage->count = 0;
	sample_superblock(&stage->base, &stage->random, level, members, parts);
	for (unsigned i = members; i < SUPERBLOCK_ROWS; i++)
		sample_uuid(&stage->base.rows[i].uuid, &stage->random);
	for (unsigned i = 0; i < ARRAY_SIZE(stage->epoch); i++)
		sample_uuid(&stage->epoch[i], &stage->random);
}

static void stage_add(struct stage *stage, const struct drive *drive)
{
	unsigned index = stage->count++;
	struct superblock *superblock = &stage->superblock[index];

	*superblock = stage->base;
	superblock->generation = drive->generation;
	superblock->unmade = drive->unmade;
	set_epochs(superblock, stage, drive->epochs);
	set_table(superblock, stage, drive->table, drive->since);
	if (drive->row >= STRANGER)
		sample_uuid(&superblock->member_uuid, &stage->random);
	else
		sample_member(superblock, drive->row);
	if (drive->nameless)
		superblock->fingerprint[0] = '\0';
	if (drive->row >= OTHER_ARRAY)
		sample_uuid(&superblock->array_uuid, &stage->random);
	snprintf(stage->dev[index].name, sizeof(stage->dev[index].name), "d%u", index);
	stage->found[index] = (struct found){&stage->dev[index], superblock,
		drive->fingerprint ? drive->fingerprint : superblock->fingerprint};
}

static void play(struct stage *stage, const struct scene *scene)
{
	stage_begin(stage, scene->level, scene->members, scene->parts);
	while (stage->count < DRIVES_MAX && scene->drive[stage->count].epochs)
		stage_add(stage, &scene->drive[stage->count]);
	memset(&stage->assembly, 0xa5, sizeof(stage->assembly));
	assembly_decide(&stage->assembly, &stage->base.array_uuid, stage->found, stage->count);
}

static void check_scene(struct stage *stage, const struct scene *scene)
{
	const struct assembly *assembly = &stage->assembly;

	play(stage, scene);
	for (unsigned i = 0; i < stage->count; i++)
		expect(verdict_letter(assembly->verdict[i]) == scene->verdicts[i],
			"%s: drive %u is %c, not %c", scene->what, i,
			verdict_letter(assembly->verdict[i]), scene->verdicts[i]);
	assert_int_equal(strlen(scene->verdicts), stage->count);
	expect(assembly->state == scene->state, "%s: state %u, not %u (%s)", scene->what,
		assembly->state, scene->state, assembly->why);
	expect(assembly->absent == scene->absent, "%s: %u are absent, not %u", scene->what,
		assembly->absent, scene->absent);
}

static void check_scenes(const struct scene *scene, unsigned count)
{
	static struct stage stage = {.random = {1}};

	for (unsigned i = 0; i < count; i++)
		check_scene(&stage, &scene[i]);
}

static void test_scenes(void **state)
{
	(void)state;
	check_scenes(scenes, ARRAY_SIZE(scenes));
}

static void test_decided(void **state)
{
	(void)state;
	check_scenes(decided, ARRAY_SIZE(decided));
}

static void test_parted(void **state)
{
	(void)state;
	check_scenes(parted, ARRAY_SIZE(parted));
}

/* The rows of the table are the freshest one's, wherever it is found. */
static void test_freshest_in_any_order(void **state)
{
	static struct stage stage = {.random = {2}};
	static const char *const tables[] = {"iiiii", "iiiif", "iirif", "iiiifs"};

	(void)state;
	for (unsigned newest = 0; newest < 4; newest++) {
		stage_begin(&stage, "6", 5, 0);
		for (unsigned i = 0; i < 4; i++)
			stage_add(&stage, &(struct drive){.row = i,
						  .generation = i == newest ? 9 : 8,
						  .epochs = "a",
						  .table = tables[i == newest ? 3 : i % 3],
						  .since = 2});
		assembly_decide(&stage.assembly, &stage.base.array_uuid, stage.found, stage.count);
		assert_int_equal(stage.assembly.superblock.generation, 9);
		assert_int_equal(stage.assembly.superblock.rows[2].state, ROW_IN_SYNC);
		assert_int_equal(stage.assembly.superblock.rows[4].state, ROW_FAILED);
		assert_int_equal(stage.assembly.superblock.rows[5].state, ROW_SPARE);
		assert_int_equal(stage.assembly.absent, 0);
		assert_ptr_equal(stage.assembly.member[newest], &stage.dev[newest]);
	}
}

/* What is written next must be newer than all that is there, and reach who has another table. */
static void test_next_generation(void **state)
{
	static struct stage stage = {.random = {4}};
	static const struct scene raised[] = {
		{"a start that was cut short raised the other one", "1", 2, 0, ASSEMBLY_COMPLETE,
			"MS", 0, {X(0, 6, "a", .table = "if", .since = 6), D(1, 9, "a")}},
		{"another table of the same generation", "1", 3, 0, ASSEMBLY_COMPLETE, "MSM", 0,
			{X(0, 6, "a", .table = "ifi", .since = 6), D(1, 5, "a"), D(2, 6, "a")}},
		{"the same table", "1", 2, 0, ASSEMBLY_COMPLETE, "MM", 0,
			{D(0, 6, "a"), D(1, 6, "a")}},
	};
	static const uint64_t next[] = {9, 7, 6};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(raised); i++) {
		check_scene(&stage, &raised[i]);
		assert_int_equal(stage.assembly.superblock.generation, next[i]);
	}
}

/* Who comes back to a slot in which he failed. */
static void test_covered(void **state)
{
	struct random random = {5};
	struct superblock table, one;

	(void)state;
	sample_superblock(&table, &random, "1", 2, 0);
	one = table;
	sample_member(&one, 1);
	table.rows[1].state = ROW_FAILED;
	assert_false(assembly_is_covered(&table, 1, &one));
	table.rows[1].resyncable = true;
	table.rows[1].reason = LOSS_WRITE_ERROR;
	assert_true(assembly_is_covered(&table, 1, &one));
	table.rows[1].reason = LOSS_ABSENT;
	assert_false(assembly_is_covered(&table, 1, &one));
	one.clean = true;
	assert_true(assembly_is_covered(&table, 1, &one));
}

/* --- whatever is found ----------------------------------------------------------------------- */

static bool is_live(enum row_state state)
{
	return state != ROW_EMPTY && state != ROW_FAILED;
}

/* Of the one whose table counts: but for the generation it is what was decided. */
static uint64_t freshest_generation(const struct stage *stage)
{
	struct superblock fresh = stage->assembly.superblock;
	uint64_t generation = 0;

	for (unsigned i = 0; i < stage->count; i++) {
		fresh.generation = stage->superblock[i].generation;
		if (!memcmp(&stage->superblock[i], &fresh, sizeof(fresh)))
			generation = MAX(generation, fresh.generation);
	}
	return generation;
}

/* Whoever is seated belongs there by the table of the freshest, and is as new as it may be. */
static void check_seats(const struct stage *stage)
{
	const struct assembly *assembly = &stage->assembly;
	uint64_t generation = freshest_generation(stage);
	unsigned absent = 0;

	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++) {
		const struct superblock_row *row = &assembly->superblock.rows[i];
		const struct superblock *one;

		absent += is_live(row->state) && !assembly->member[i];
		if (!assembly->member[i])
			continue;
		one = &stage->superblock[assembly->member[i] - stage->dev];
		expect(is_live(row->state), "row %u is not live, and has a drive", i);
		expect(uuid_equal(&one->member_uuid, &row->uuid), "row %u has another's drive", i);
		expect(uuid_equal(&one->array_uuid, &stage->base.array_uuid), "another array's");
		expect(row->state == ROW_SPARE || one->generation + 1 >= generation,
			"row %u is stale", i);
		for (unsigned j = 0; j < stage->count; j++)
			expect(&stage->superblock[j] == one ||
					!uuid_equal(
						&stage->superblock[j].member_uuid, &row->uuid) ||
					assembly->state == ASSEMBLY_REFUSED ||
					assembly->verdict[j] != VERDICT_MEMBER,
				"row %u has two drives", i);
	}
	/* Absent spares may or may not count. */
	expect(assembly->absent <= absent, "%u of %u are absent", assembly->absent, absent);
}

static void check_state(const struct stage *stage)
{
	const struct assembly *assembly = &stage->assembly;
	const struct superblock *fresh = &assembly->superblock;
	const struct level *level = fresh->level->part ? fresh->level->part : fresh->level;
	unsigned parts = fresh->parts ? fresh->parts : 1, each = fresh->members / parts;
	bool serves = true, split = false;

	for (unsigned part = 0; part < parts; part++) {
		unsigned there = 0;

		for (unsigned i = part * each; i < (part + 1) * each; i++)
			there += assembly->member[i] && fresh->rows[i].state == ROW_IN_SYNC;
		serves &= there + level_tolerance(level, each) >= each;
	}
	for (unsigned i = 0; i < stage->count; i++) {
		const struct superblock *one = &stage->superblock[i];
		bool other = !uuid_equal(&one->array_uuid, &stage->base.array_uuid);

		split |= assembly->verdict[i] == VERDICT_SPLIT;
		assert_int_equal(other, assembly->verdict[i] == VERDICT_OTHER);
		expect(other || one->generation <= fresh->generation, "drive %u is fresher", i);
	}
	expect(!split || assembly->state == ASSEMBLY_REFUSED, "a split is started");
	expect(serves || assembly->state == ASSEMBLY_INCOMPLETE ||
			assembly->state == ASSEMBLY_REFUSED || assembly->state == ASSEMBLY_UNMADE,
		"it is started with fewer members than it needs");
	expect(assembly->state != ASSEMBLY_COMPLETE || !assembly->absent, "incomplete");
	assert_int_equal(assembly->state == ASSEMBLY_COMPLETE, !assembly->why[0]);
}

static void random_drive(struct stage *stage, unsigned members)
{
	static const char *const histories[] = {"a", "ba", "cba", "dcba", "ca", "x", "edcb"};
	struct random *random = &stage->random;
	struct drive drive = {.row = (unsigned)random_below(random, members + 3),
		.generation = 6 + (unsigned)random_below(random, 4),
		.epochs = histories[random_below(random, random_below(random, 4) ? 3 : 7)],
		.since = 4 + (unsigned)random_below(random, 5)};
	char table[SUPERBLOCK_ROWS + 1] = "";

	if (random_below(random, 20) == 0)
		drive.row = random_below(random, 2) ? STRANGER : OTHER_ARRAY;
	if (random_below(random, 10) == 0)
		drive.fingerprint = "another";
	for (unsigned i = 0; i < members + 3; i++)
		table[i] = i < members ? "iiiiiiiirf"[random_below(random, 10)]
				       : "eesp"[random_below(random, 4)];
	drive.table = table;
	stage_add(stage, &drive);
}

static void test_whatever_is_found(void **state)
{
	static struct stage stage = {.random = {3}};
	unsigned seen[4] = {0};

	(void)state;
	for (unsigned run = 0; run < 200000; run++) {
		static const struct {
			const char *level;
			unsigned members, parts;
		} shapes[] = {{"0", 2, 0}, {"1", 2, 0}, {"1", 3, 0}, {"5", 3, 0}, {"6", 5, 0},
			{"7", 6, 0}, {"10", 4, 2}, {"50", 6, 2}};
		uint64_t shape = random_below(&stage.random, ARRAY_SIZE(shapes));
		uint64_t drives = random_below(&stage.random, shapes[shape].members + 4);

		stage_begin(
			&stage, shapes[shape].level, shapes[shape].members, shapes[shape].parts);
		while (stage.count < drives)
			random_drive(&stage, shapes[shape].members);
		memset(&stage.assembly, 0xa5, sizeof(stage.assembly));
		assembly_decide(&stage.assembly, &stage.base.array_uuid, stage.found, stage.count);
		seen[stage.assembly.state]++;
		if (!stage.assembly.superblock.level)
			continue; /* nothing was found of the array */
		check_seats(&stage);
		check_state(&stage);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(seen); i++)
		expect(seen[i] > 500, "state %u was seen %u times", i, seen[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scenes),
		cmocka_unit_test(test_decided),
		cmocka_unit_test(test_parted),
		cmocka_unit_test(test_freshest_in_any_order),
		cmocka_unit_test(test_next_generation),
		cmocka_unit_test(test_covered),
		cmocka_unit_test(test_whatever_is_found),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
