/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptions of loads: defaults, names of patterns, what cannot be run. */
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "benchmark/load.h"

enum { SECTOR_BYTES = 512, BLOCK_BYTES_MAX = 64 << 20 };

/* clang-format off */
static const struct pattern {
	const char *name;
	bool random;
	int read_percent; /* -1: as the caller says */
	enum load_kind other;
} patterns[] = {
	{"randread",    true,  100, LOAD_WRITE},
	{"read",        false, 100, LOAD_WRITE},
	{"randwrite",   true,  0,   LOAD_WRITE},
	{"write",       false, 0,   LOAD_WRITE},
	{"randrw",      true,  -1,  LOAD_WRITE},
	{"rw",          false, -1,  LOAD_WRITE},
	{"randdiscard", true,  0,   LOAD_DISCARD},
	{"discard",     false, 0,   LOAD_DISCARD},
	{"randzeroes",  true,  0,   LOAD_ZEROES},
	{"zeroes",      false, 0,   LOAD_ZEROES},
};
/* clang-format on */

void load_spec_init(struct load_spec *spec)
{
	*spec = (struct load_spec){
		.pattern = "randread",
		.random = true,
		.read_percent = 100,
		.other = LOAD_WRITE,
		.block_bytes = 4096,
		.queues = 1,
		.depth = 32,
		.time_ns = 10000000000,
		.seed = 1,
	};
}

int load_spec_pattern(struct load_spec *spec, const char *name, struct fail *fail)
{
	for (unsigned i = 0; i < ARRAY_SIZE(patterns); i++) {
		const struct pattern *pattern = &patterns[i];

		if (strcmp(pattern->name, name) != 0)
			continue;
		spec->pattern = pattern->name;
		spec->random = pattern->random;
		spec->other = pattern->other;
		if (pattern->read_percent >= 0)
			spec->read_percent = (unsigned)pattern->read_percent;
		return 0;
	}
	return fail_set(fail, EINVAL,
		"there is no pattern '%s'; use randread, read, randwrite, write, randrw, rw, "
		"randdiscard, discard, randzeroes or zeroes",
		name);
}

static int check_span(
	struct load_spec *spec, const struct load_transport *transport, struct fail *fail)
{
	unsigned long long bytes = transport->bytes;
	uint32_t unit = transport->unit_bytes;

	if (spec->block_bytes % unit || spec->offset_bytes % unit || spec->span_bytes % unit)
		return fail_set(fail, EINVAL,
			"block size, offset and span must be multiples of %u bytes", unit);
	if (spec->offset_bytes >= bytes)
		return fail_set(fail, EINVAL,
			"the offset lies behind the device's end at %llu bytes", bytes);
	if (!spec->span_bytes)
		spec->span_bytes = bytes - spec->offset_bytes;
	if (spec->span_bytes > bytes - spec->offset_bytes)
		return fail_set(fail, EINVAL,
			"offset and span reach over the device's end at %llu bytes", bytes);
	if (spec->span_bytes / spec->block_bytes < MAX(spec->all_jobs, spec->queues))
		return fail_set(fail, EINVAL,
			"the span holds fewer blocks than there are queues; take a larger span or "
			"smaller blocks");
	return 0;
}

int load_spec_check(
	struct load_spec *spec, const struct load_transport *transport, struct fail *fail)
{
	if (!spec->block_bytes || spec->block_bytes % SECTOR_BYTES ||
		spec->block_bytes > BLOCK_BYTES_MAX)
		return fail_set(fail, EINVAL,
			"the block size must be a multiple of 512 bytes, at most 64 MiB");
	if (!spec->queues || spec->queues > LOAD_QUEUES_MAX || !spec->depth ||
		spec->depth > LOAD_SLOTS_MAX || spec->queues * spec->depth > LOAD_SLOTS_MAX)
		return fail_set(fail, EINVAL,
			"use 1 to %d queues, and a depth that makes at most %d requests in flight",
			LOAD_QUEUES_MAX, LOAD_SLOTS_MAX);
	if (spec->read_percent > 100)
		return fail_set(fail, EINVAL, "the share of reads must be 0 to 100 percent");
	if (spec->verify == LOAD_VERIFY_FILL)
		load_spec_pattern(spec, "write", fail);
	if (spec->verify == LOAD_VERIFY_CHECK)
		load_spec_pattern(spec, "read", fail);
	if (spec->verify == LOAD_VERIFY_FILL || spec->verify == LOAD_VERIFY_CHECK)
		spec->time_ns = spec->ramp_ns = spec->ops_max = spec->bytes_max = 0;
	return check_span(spec, transport, fail);
}
