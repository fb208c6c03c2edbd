/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmark/stamp.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/endian.h"
#include "base/random.h"

#define STAMP_MAGIC 0x706d617473646962ull /* "bidstamp" */

struct stamp_header {
	le64 magic, number, seed;
	le32 generation, unit_bytes;
	le32 crc; /* of the whole unit with this field 0 */
	le32 zero;
};
static_assert(sizeof(struct stamp_header) == 40, "the stamp's layout");

void stamp_write(void *unit, const struct stamp *stamp)
{
	struct stamp_header header = {
		.magic = le64_of(STAMP_MAGIC),
		.number = le64_of(stamp->number),
		.seed = le64_of(stamp->seed),
		.generation = le32_of(stamp->generation),
		.unit_bytes = le32_of(stamp->unit_bytes),
	};
	uint64_t key =
		random_mix(stamp->seed ^ random_mix(stamp->number ^ random_mix(stamp->generation)));
	uint8_t *bytes = unit;

	assert(stamp->unit_bytes >= 512 && stamp->unit_bytes % 8 == 0 && stamp->generation);
	memcpy(bytes, &header, sizeof(header));
	/* Every word differs from its neighbours and from the same word of any other unit. */
	for (size_t at = sizeof(header); at < stamp->unit_bytes; at += sizeof(le64)) {
		le64 word = le64_of(key += 0x9e3779b97f4a7c15ull);

		memcpy(bytes + at, &word, sizeof(word));
	}
	header.crc = le32_of(crc32c(0, unit, stamp->unit_bytes));
	memcpy(bytes, &header, sizeof(header));
}

static bool all_zero(const uint8_t *bytes, size_t count)
{
	return !bytes[0] && !memcmp(bytes, bytes + 1, count - 1);
}

/* The header as found, when the whole unit is a stamp, though perhaps not the one wanted. */
static bool read_header(const void *unit, uint32_t unit_bytes, struct stamp *found)
{
	static const uint32_t zero;
	struct stamp_header header;
	uint32_t crc;

	memcpy(&header, unit, sizeof(header));
	found->number = le64_get(header.number);
	found->seed = le64_get(header.seed);
	found->generation = le32_get(header.generation);
	found->unit_bytes = le32_get(header.unit_bytes);
	if (le64_get(header.magic) != STAMP_MAGIC || found->unit_bytes != unit_bytes)
		return false;
	crc = crc32c(0, unit, offsetof(struct stamp_header, crc));
	crc = crc32c(crc, &zero, sizeof(zero));
	crc = crc32c(crc, (const char *)unit + offsetof(struct stamp_header, zero),
		unit_bytes - offsetof(struct stamp_header, zero));
	return crc == le32_get(header.crc);
}

/* What is wrong with a unit that is not the expected one. */
static void explain(
	const uint8_t *unit, const struct stamp *expected, bool intact, struct fail *fail)
{
	const struct stamp_header *header = (const void *)unit;
	struct stamp wanted = *expected, found;
	uint8_t copy[4096];
	uint32_t at = 0;
	char text[160];

	read_header(unit, expected->unit_bytes, &found);
	if (!wanted.generation)
		wanted.generation = found.generation ? found.generation : 1;
	assert(wanted.unit_bytes <= sizeof(copy));
	stamp_write(copy, &wanted);
	while (at < wanted.unit_bytes && copy[at] == unit[at])
		at++;
	if (at == wanted.unit_bytes)
		at = 0; /* it has changed since: say so by the rest of the sentence */
	if (intact)
		snprintf(text, sizeof(text),
			"intact content of unit %llu, generation %u, seed %llu",
			(unsigned long long)found.number, found.generation,
			(unsigned long long)found.seed);
	else if (all_zero(unit, wanted.unit_bytes))
		snprintf(text, sizeof(text), "zeros");
	else if (le64_get(header->magic) == STAMP_MAGIC)
		snprintf(text, sizeof(text),
			"damaged content that says unit %llu, generation %u, seed %llu",
			(unsigned long long)found.number, found.generation,
			(unsigned long long)found.seed);
	else
		snprintf(text, sizeof(text), "content that no braid-bench wrote");
	fail_set(fail, EILSEQ,
		"unit %llu of %u bytes, at byte %llu: expected generation %u%s, seed %llu; found "
		"%s; "
		"first difference at byte %u of it: expected 0x%02x, found 0x%02x",
		(unsigned long long)wanted.number, wanted.unit_bytes,
		(unsigned long long)wanted.number * wanted.unit_bytes, wanted.generation,
		expected->generation ? "" : " (or any)", (unsigned long long)wanted.seed, text, at,
		copy[at], unit[at]);
}

bool stamp_check(const void *unit, const struct stamp *expected, struct fail *fail)
{
	struct stamp found;
	bool intact = read_header(unit, expected->unit_bytes, &found);

	if (intact && found.number == expected->number && found.seed == expected->seed &&
		(!expected->generation || found.generation == expected->generation))
		return true;
	explain(unit, expected, intact, fail);
	return false;
}
