/* SPDX-License-Identifier: Apache-2.0 */
#include "raid/assembly.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/mutant.h"

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

/* The one with the highest generation; of two of the same, the one that descends from the other (a
 * crash at the beginning of a start leaves such). -1: none. */
static int freshest(const struct uuid *array_uuid, const struct found *found, unsigned count)
{
	int best = -1;

	for (unsigned i = 0; i < count; i++) {
		const struct superblock *one = found[i].superblock, *other;

		if (!uuid_equal(&one->array_uuid, array_uuid))
			continue;
		other = best < 0 ? NULL : found[best].superblock;
		if (!other || one->generation > other->generation ||
			(one->generation == other->generation && is_ancestor(one, &other->epoch)))
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

/* Whether a member that lives in one's table never heard that row has failed: then the commit that
 * said so was cut short, and nothing rests on it. */
static bool has_witness(const struct finds *finds, const struct superblock *one, unsigned row)
{
	for (unsigned i = 0; i < finds->count; i++) {
		const struct superblock *other = finds->found[i].superblock;
		int seat = uuid_equal(&other->array_uuid, &one->array_uuid)
				   ? row_of(one, &other->member_uuid)
				   : -1;

		if (seat >= 0 && one->rows[seat].state != ROW_FAILED &&
			other->rows[row].state != ROW_FAILED)
			return true;
	}
	return false;
}

/* Whether one went on without a member that the fresh table has as live since before: in one
 * history it would have come back into sync later. */
static bool have_parted(const struct finds *finds, const struct superblock *one)
{
	for (unsigned i = 0; i < finds->fresh->members; i++) {
		const struct superblock_row *here = &finds->fresh->rows[i];
		const struct superblock_row *there = &one->rows[i];

		if (there->state == ROW_FAILED && here->state != ROW_FAILED &&
			uuid_equal(&here->uuid, &there->uuid) && here->since < there->since &&
			!has_witness(finds, one, i))
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

static bool is_live(enum row_state state)
{
	return state != ROW_EMPTY && state != ROW_FAILED;
}

static void explain(struct assembly *assembly, const struct found *found, unsigned count)
{
	const struct superblock *superblock = &assembly->superblock;
	unsigned present = 0;

	for (unsigned i = 0; i < superblock->members; i++)
		present += assembly->member[i] != NULL;
	for (unsigned i = 0; i < count && assembly->state == ASSEMBLY_REFUSED; i++) {
		if (assembly->verdict[i] != VERDICT_DUPLICATE &&
			assembly->verdict[i] != VERDICT_SPLIT)
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
