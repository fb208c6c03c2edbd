/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmark/ledger.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "benchmark/stamp.h"

#define IN_FLIGHT (1u << 31)
enum { UNIT_BYTES = 4096, SECTOR_BYTES = 512 };

int ledger_open(struct ledger *ledger, const struct load_spec *spec, struct fail *fail)
{
	bool large = (spec->block_bytes | spec->offset_bytes | spec->span_bytes) % UNIT_BYTES == 0;
	uint64_t units;

	ledger->verify = spec->verify;
	if (spec->verify == LOAD_VERIFY_NONE)
		return 0;
	ledger->seed = spec->seed;
	ledger->unit_bytes = large ? UNIT_BYTES : SECTOR_BYTES;
	ledger->first = spec->offset_bytes / ledger->unit_bytes;
	if (spec->verify != LOAD_VERIFY_MIXED)
		return 0;
	units = spec->span_bytes / ledger->unit_bytes;
	ledger->units = calloc(units, sizeof(*ledger->units));
	if (!ledger->units)
		return fail_set(fail, ENOMEM,
			"no memory to remember %llu units; take a smaller --span",
			(unsigned long long)units);
	return 0;
}

void ledger_close(struct ledger *ledger)
{
	free(ledger->units);
	ledger->units = NULL;
}

static void stamp_slot(
	const struct ledger *ledger, const struct load_slot *slot, const uint32_t *units)
{
	struct stamp stamp = {
		.seed = ledger->seed,
		.number = slot->offset / ledger->unit_bytes,
		.generation = 1,
		.unit_bytes = ledger->unit_bytes,
	};
	uint32_t count = slot->bytes / ledger->unit_bytes;

	for (uint32_t i = 0; i < count; i++, stamp.number++) {
		if (units)
			stamp.generation = units[i] & ~IN_FLIGHT;
		stamp_write((char *)slot->buffer + (size_t)i * ledger->unit_bytes, &stamp);
	}
}

bool ledger_claim(struct ledger *ledger, struct load_slot *slot)
{
	uint32_t count = slot->bytes / ledger->unit_bytes;
	uint32_t *units = NULL;

	if (ledger->units)
		units = ledger->units + (slot->offset / ledger->unit_bytes - ledger->first);
	for (uint32_t i = 0; units && i < count; i++)
		if (units[i] & IN_FLIGHT)
			return false;
	for (uint32_t i = 0; units && i < count; i++) {
		if (slot->kind == LOAD_WRITE)
			units[i] = units[i] + 1 < IN_FLIGHT ? units[i] + 1 : 1;
		units[i] |= IN_FLIGHT;
	}
	if (slot->kind == LOAD_WRITE)
		stamp_slot(ledger, slot, units);
	else if (slot->kind == LOAD_READ)
		/* So that a back end that writes nothing is not taken for a good one. */
		memset(slot->buffer, 0xa5, slot->bytes);
	return true;
}

/* units: NULL: any generation will do. */
static void check_slot(const struct ledger *ledger, const struct load_slot *slot,
	const uint32_t *units, struct load_result *result)
{
	struct stamp expected = {
		.seed = ledger->seed,
		.number = slot->offset / ledger->unit_bytes,
		.unit_bytes = ledger->unit_bytes,
	};
	uint32_t count = slot->bytes / ledger->unit_bytes;

	for (uint32_t i = 0; i < count; i++, expected.number++) {
		const char *unit = (const char *)slot->buffer + (size_t)i * ledger->unit_bytes;
		struct fail fail;

		if (units)
			expected.generation = units[i] & ~IN_FLIGHT;
		if (units && !expected.generation)
			continue; /* not written by this run */
		result->checked_bytes += ledger->unit_bytes;
		if (stamp_check(unit, &expected, &fail))
			continue;
		if (!result->mismatches++)
			result->problem = fail;
	}
}

void ledger_settle(
	struct ledger *ledger, const struct load_slot *slot, int status, struct load_result *result)
{
	uint32_t count = slot->bytes / ledger->unit_bytes;
	uint32_t *units = NULL;

	if (ledger->units)
		units = ledger->units + (slot->offset / ledger->unit_bytes - ledger->first);
	if (slot->kind == LOAD_READ && !status)
		check_slot(ledger, slot, units, result);
	for (uint32_t i = 0; units && i < count; i++) {
		units[i] &= ~IN_FLIGHT;
		/* Failed writes leave either content; discards leave none that is known. */
		if (slot->kind != LOAD_READ && (slot->kind != LOAD_WRITE || status))
			units[i] = 0;
	}
}
