/* SPDX-License-Identifier: Apache-2.0 */
#include "raid/assembly.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/mutant.h"
#include "raid/member.h"

const char *member_verdict_text(enum member_verdict verdict)
{
	static const char *const texts[] = {
		[VERDICT_MEMBER] = "a member",
		[VERDICT_STALE] = "was failed and is stale: add it again",
		[VERDICT_DUPLICATE] = "the same member is there twice: detach the copy",
		[VERDICT_SPLIT] = "went on without the other members: choose one side",
		[VERDICT_FOREIGN] = "unknown to the array's table: it was replaced",
		[VERDICT_OTHER] = "of another array",
	};

	return texts[verdict];
}

static bool is_ancestor(const struct superblock *of, const struct uuid *epoch)
{
	for (unsigned i = 0; i < ARRAY_SIZE(of->ancestors); i++)
		if (uuid_equal(&of->ancestors[i], epoch))
			return true;
	return false;
}

/* Whether all that have failed by other's table have by one's, and more. */
static bool has_lost_more(const struct superblock *one, const struct superblock *other)
{
	unsigned more = 0;

	for (unsigned i = 0; i < one->members; i++) {
		bool failed = one->rows[i].state == ROW_FAILED;
		bool failed_there = other->rows[i].state == ROW_FAILED;

		if (failed_there && !failed)
			return false;
		more += failed && !failed_there;
	}
	return more;
}

/* Whether one came after other. Starts that were cut short may have raised the generation of a
 * table over which others had gone on already. So an epoch that descends from the other's decides
 * first, and within one epoch losses do, which nothing takes back there. */
static bool is_fresher(const struct superblock *one, const struct superblock *other)
{
	if (MUTANT(assembly_generation))
		return one->generation > other->generation;
	if (is_ancestor(one, &other->epoch))
		return true;
	if (is_ancestor(other, &one->epoch))
		return false;
	if (uuid_equal(&one->epoch, &other->epoch)) {
		if (has_lost_more(one, other))
			return true;
		if (has_lost_more(other, one))
			return false;
	}
	return one->generation > other->generation;
}

/* -1: none. */
static int freshest(const struct uuid *array_uuid, const struct found *found, unsigned count)
{
	int best = -1;

	for (unsigned i = 0; i < count; i++) {
		const struct superblock *one = found[i].superblock;

		if (uuid_equal(&one->array_uuid, array_uuid) &&
			(best < 0 || is_fresher(one, found[best].superblock)))
			best = (int)i;
	}
	return best;
}

static int row_of(const struct superblock *superblock, const struct uuid *member)
{
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++)
		if (superblock->rows[i].state != ROW_EMPTY &&
			uuid_equal(&superblock->rows[i].uuid, member))
			return (int)i;
	return -1;
}

/* All that was found, and which of it is the freshest. */
struct finds {
	const struct superblock *fresh;
	const struct found *found;
	unsigned count;
};

static bool is_live(enum row_state state)
{
	return state != ROW_EMPTY && state != ROW_FAILED;
}

/* A member that is there, and has not heard. A spare need not have: nobody waits for one. */
static bool is_witness(const struct superblock *one, unsigned slot, const struct superblock *other)
{
	int seat = uuid_equal(&other->array_uuid, &one->array_uuid)
			   ? row_of(one, &other->member_uuid)
			   : -1;

	return seat >= 0 && ((unsigned)seat < one->members || MUTANT(assembly_spare_heard)) &&
	       (unsigned)seat != slot && is_live(one->rows[seat].state) &&
	       other->rows[slot].since < one->rows[slot].since;
}

/* A member that may be away, and was live in the fresh history after that had gone on without one:
 * it would have brought the news. Nor can it have heard if it was taken back since:
 * array_readd(). */
static bool was_witness(const struct superblock *fresh, const struct superblock *one, unsigned seat)
{
	const struct superblock_row *here = &fresh->rows[seat], *there = &one->rows[seat];
	int row = row_of(fresh, &one->member_uuid);

	return row >= 0 && fresh->rows[row].state == ROW_FAILED && is_live(there->state) &&
	       uuid_equal(&here->uuid, &there->uuid) &&
	       (is_live(here->state) || here->since > fresh->rows[row].since);
}

/* Whether another member that lives in one's table never heard what that says of the slot: then the
 * commit that said so was cut short, and nothing rests on it. */
static bool has_witness(const struct finds *finds, const struct superblock *one, unsigned slot)
{
	for (unsigned i = 0; i < finds->count; i++)
		if (is_witness(one, slot, finds->found[i].superblock))
			return true;
	for (unsigned i = 0; i < one->members; i++)
		if (i != slot && was_witness(finds->fresh, one, i))
			return true;
	return false;
}

/* Whether one's table has newer word than the fresh one of a member that was lost, or has begun to
 * come back: it went on by itself. (Who has come into sync, or taken a slot over, heard of it.) */
static bool have_parted(const struct finds *finds, const struct superblock *one)
{
	for (unsigned i = 0; i < finds->fresh->members; i++) {
		const struct superblock_row *there = &one->rows[i];

		if ((there->state == ROW_FAILED || there->state == ROW_REBUILDING) &&
			there->since > finds->fresh->rows[i].since && !has_witness(finds, one, i) &&
			!MUTANT(assembly_parted))
			return true;
	}
	return false;
}

/* What one found member is to the table of the freshest. Whoever started the array with it and
 * without the others began an epoch of its own: that is what a split shows in. */
static enum member_verdict judge(const struct finds *finds, const struct superblock *one)
{
	const struct superblock *fresh = finds->fresh;
	int row = row_of(fresh, &one->member_uuid);
	bool related = uuid_equal(&one->epoch, &fresh->epoch) || is_ancestor(fresh, &one->epoch);

	if (row < 0)
		return VERDICT_FOREIGN;
	/* What a spare holds is of no account, however long it was away. */
	if (fresh->rows[row].state == ROW_SPARE)
		return VERDICT_MEMBER;
	/* It was failed in generation `since`: what it holds of later ones it made alone. */
	if (fresh->rows[row].state == ROW_FAILED)
		return have_parted(finds, one) ||
				       (!related && one->generation >= fresh->rows[row].since)
			       ? VERDICT_SPLIT
			       : VERDICT_STALE;
	if (have_parted(finds, one))
		return VERDICT_SPLIT;
	/* It was to be taken back after a long time, and the commit that said so did not reach
	 * it. */
	if (!related)
		return fresh->rows[row].state == ROW_REBUILDING &&
				       one->generation < fresh->rows[row].since
			       ? VERDICT_STALE
			       : VERDICT_SPLIT;
	/* Only a crash in the middle of an update leaves one behind, and by one generation. */
	if (!MUTANT(assembly_stale) && one->generation + 1 < fresh->generation)
		return VERDICT_STALE;
	return VERDICT_MEMBER;
}

bool assembly_is_covered(
	const struct superblock *table, unsigned slot, const struct superblock *one)
{
	const struct superblock_row *row = &table->rows[slot];

	assert(row->state == ROW_FAILED && uuid_equal(&row->uuid, &one->member_uuid));
	return row->resyncable &&
	       (row->reason != LOSS_ABSENT || one->clean || MUTANT(readd_unclean));
}

/* Of two drives that say that they are the same member, the one that has the recorded identity. */
static bool fingerprint_decides(const struct found *one, const struct found *other)
{
	const char *recorded = one->superblock->fingerprint;

	return recorded[0] && !strcmp(recorded, one->fingerprint) &&
	       strcmp(recorded, other->fingerprint);
}

static void judge_duplicates(struct assembly *assembly, const struct found *found, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		for (unsigned j = 0; j < count; j++) {
			if (i == j || assembly->verdict[i] == VERDICT_OTHER ||
				assembly->verdict[j] == VERDICT_OTHER ||
				!uuid_equal(&found[i].superblock->member_uuid,
					&found[j].superblock->member_uuid) ||
				fingerprint_decides(&found[i], &found[j]) ||
				MUTANT(assembly_duplicate))
				continue;
			assembly->verdict[i] = VERDICT_DUPLICATE;
		}
}

/* Whether the present rows, as the table has them, can serve all data. */
static bool can_serve(const struct assembly *assembly)
{
	const struct superblock *superblock = &assembly->superblock;
	unsigned parts = superblock->parts ? superblock->parts : 1;
	unsigned each = superblock->members / parts;
	const struct level *level =
		superblock->level->part ? superblock->level->part : superblock->level;
	unsigned tolerance = level_tolerance(level, each);

	for (unsigned part = 0; part < parts; part++) {
		unsigned lost = 0;

		for (unsigned i = part * each; i < (part + 1) * each; i++)
			lost += !assembly->member[i] || superblock->rows[i].state != ROW_IN_SYNC;
		if (lost > tolerance)
			return false;
	}
	return true;
}

/* The names of those with a verdict, as many as there is room for. */
static void name_drives(char *text, size_t bytes, const struct assembly *assembly,
	const struct found *found, unsigned count, enum member_verdict verdict)
{
	size_t used = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < count; i++) {
		const char *name = found[i].dev->name;

		if (assembly->verdict[i] != verdict || used + strlen(name) + 6 > bytes)
			continue;
		used += (size_t)snprintf(text + used, bytes - used, "%s%s", used ? ", " : "", name);
	}
}

/* Both sides by name. */
static void explain_split(struct assembly *assembly, const struct found *found, unsigned count)
{
	char members[180], others[180];

	name_drives(members, sizeof(members), assembly, found, count, VERDICT_MEMBER);
	name_drives(others, sizeof(others), assembly, found, count, VERDICT_SPLIT);
	snprintf(assembly->why, sizeof(assembly->why),
		"array %.63s is not started: drives %s went on without %s, and the other way "
		"round: choose one side, and detach the other one's drives",
		assembly->superblock.name, others, members[0] ? members : "the others");
}

static void explain(struct assembly *assembly, const struct found *found, unsigned count)
{
	const struct superblock *superblock = &assembly->superblock;
	unsigned present = 0;

	for (unsigned i = 0; i < superblock->members; i++)
		present += assembly->member[i] != NULL;
	for (unsigned i = 0; i < count && assembly->state == ASSEMBLY_REFUSED; i++) {
		if (assembly->verdict[i] == VERDICT_SPLIT) {
			explain_split(assembly, found, count);
			return;
		}
	}
	for (unsigned i = 0; i < count && assembly->state == ASSEMBLY_REFUSED; i++) {
		if (assembly->verdict[i] != VERDICT_DUPLICATE)
			continue;
		snprintf(assembly->why, sizeof(assembly->why),
			"array %.63s is not started: drive %.200s: %s", superblock->name,
			found[i].dev->name, member_verdict_text(assembly->verdict[i]));
		return;
	}
	if (assembly->state == ASSEMBLY_UNMADE) {
		snprintf(assembly->why, sizeof(assembly->why),
			"array %.63s is not there: it was being made, or deleted, when its host "
			"stopped",
			superblock->name);
		return;
	}
	snprintf(assembly->why, sizeof(assembly->why),
		"array %.63s: %u of %u members are there, %u more are expected%s", superblock->name,
		present, superblock->members, assembly->absent,
		assembly->state == ASSEMBLY_INCOMPLETE
			? ": too few to serve its data; attach the missing drives"
			: "");
}

static void seat(struct assembly *assembly, unsigned row, const struct found *found)
{
	const struct superblock *superblock = found->superblock;

	assembly->member[row] = found->dev;
	assembly->member_bytes[row] = superblock->member_bytes;
	assembly->generation[row] = superblock->generation;
	assembly->second_ring[row] = superblock->layout.superblocks[1].offset;
	memcpy(assembly->fingerprint[row], superblock->fingerprint,
		sizeof(superblock->fingerprint));
}

/* Two of a member that the array needs, and nothing to tell which is the right one. */
static bool is_undecided(
	const struct assembly *assembly, const struct found *found, unsigned count, unsigned index)
{
	const struct uuid *uuid = &found[index].superblock->member_uuid;
	int row = row_of(&assembly->superblock, uuid);

	if (assembly->verdict[index] != VERDICT_DUPLICATE || row < 0 ||
		!is_live(assembly->superblock.rows[row].state))
		return false;
	for (unsigned i = 0; i < count; i++)
		if (i != index && assembly->verdict[i] != VERDICT_DUPLICATE &&
			assembly->verdict[i] != VERDICT_OTHER &&
			uuid_equal(&found[i].superblock->member_uuid, uuid))
			return false;
	return true;
}

static bool is_same_table(const struct superblock *one, const struct superblock *other)
{
	bool same = uuid_equal(&one->epoch, &other->epoch) && one->clean == other->clean;

	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++)
		same &= one->rows[i].state == other->rows[i].state &&
			one->rows[i].since == other->rows[i].since &&
			one->rows[i].watermark == other->rows[i].watermark;
	return same;
}

/* What is written next has to be newer than whatever is there; and a member that has another table
 * of that generation (starts that were cut short leave such) has to be told. */
static void raise_generation(struct assembly *assembly, const struct found *found, unsigned count)
{
	struct superblock *fresh = &assembly->superblock;
	uint64_t highest = fresh->generation;
	bool differs = false;

	for (unsigned i = 0; i < count; i++)
		if (assembly->verdict[i] != VERDICT_OTHER)
			highest = MAX(highest, found[i].superblock->generation);
	for (unsigned i = 0; i < count; i++)
		differs |= assembly->verdict[i] == VERDICT_MEMBER &&
			   found[i].superblock->generation == highest &&
			   !is_same_table(found[i].superblock, fresh);
	fresh->generation = highest + differs;
}

void assembly_decide(struct assembly *assembly, const struct uuid *array_uuid,
	const struct found *found, unsigned count)
{
	struct finds finds = {&assembly->superblock, found, count};
	int best;
	bool refused = false;

	assert(count <= ASSEMBLY_FOUND_MAX);
	memset(assembly, 0, sizeof(*assembly));
	best = freshest(array_uuid, found, count);
	assembly->state = ASSEMBLY_INCOMPLETE;
	for (unsigned i = 0; i < count; i++)
		assembly->verdict[i] = VERDICT_OTHER;
	if (best < 0)
		return;
	if (MUTANT(assembly_own_role))
		best = 0;
	assembly->superblock = *found[best].superblock;
	for (unsigned i = 0; i < count; i++)
		if (uuid_equal(&found[i].superblock->array_uuid, array_uuid))
			assembly->verdict[i] = judge(&finds, found[i].superblock);
	judge_duplicates(assembly, found, count);
	for (unsigned i = 0; i < count; i++) {
		refused |= assembly->verdict[i] == VERDICT_SPLIT ||
			   is_undecided(assembly, found, count, i);
		if (assembly->verdict[i] == VERDICT_MEMBER)
			seat(assembly,
				(unsigned)row_of(
					&assembly->superblock, &found[i].superblock->member_uuid),
				&found[i]);
	}
	raise_generation(assembly, found, count);
	for (unsigned i = 0; i < assembly->superblock.members; i++)
		assembly->absent +=
			is_live(assembly->superblock.rows[i].state) && !assembly->member[i];
	if (refused)
		assembly->state = ASSEMBLY_REFUSED;
	else if (assembly->superblock.unmade)
		assembly->state = ASSEMBLY_UNMADE;
	else if (!can_serve(assembly))
		assembly->state = ASSEMBLY_INCOMPLETE;
	else
		assembly->state = assembly->absent ? ASSEMBLY_DEGRADED : ASSEMBLY_COMPLETE;
	if (assembly->state != ASSEMBLY_COMPLETE)
		explain(assembly, found, count);
}
