/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmark/engine.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/units.h"
#include "benchmark/options.h"
#include "drivers/drivers.h"
#include "memory/memory.h"
#include "parity/parity.h"
#include "raid/clear.h"
#include "reactor/reactor.h"

enum { BLOCK_BYTES = 4096, DRIVE_BYTES_MIN = 1 << 20, PATH_BYTES = 1024 };

/* "10:256M" into a number of drives and the size of each. */
static int parse_memory(unsigned *count, uint64_t *bytes, const char *text, struct fail *fail)
{
	const char *size = strchr(text, ':');
	char number[16];
	uint64_t drives;
	int error;

	if (!size || (size_t)(size - text) >= sizeof(number))
		return fail_set(fail, EINVAL, "'%s' are no drives: write ram:10:256M", text);
	snprintf(number, sizeof(number), "%.*s", (int)(size - text), text);
	error = option_number(&drives, number, 1, RAID_MEMBERS_MAX, fail);
	if (!error)
		error = option_bytes(bytes, size + 1, fail);
	if (!error && *bytes < DRIVE_BYTES_MIN)
		error = fail_set(
			fail, EINVAL, "drives of '%s' are too small: 1M or more", size + 1);
	*count = (unsigned)drives;
	return error;
}

static int open_memory(struct engine *engine, const char *text, bool ram, struct fail *fail)
{
	uint64_t bytes = 0;
	unsigned count = 0;
	int error = parse_memory(&count, &bytes, text, fail);

	for (unsigned i = 0; i < count && !error; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%s%u", ram ? "r" : "n", i);
		error = (ram ? ram_create : null_create)(
			&engine->drive[i], name, bytes, BLOCK_BYTES, fail);
		engine->drives += !error;
	}
	return error;
}

/* A file, a block device, or a namespace of an NVMe/TCP target. */
static int open_path(struct engine *engine, const char *path, struct fail *fail)
{
	struct blockdev **dev = &engine->drive[engine->drives];
	struct nvme_tcp_target target;
	char reason[FAIL_TEXT_BYTES];
	int error;

	if (!strncmp(path, "nvme+tcp://", 11)) {
		error = nvme_tcp_parse(&target, path, fail);
		return error ? error : nvme_tcp_create(dev, &target, fail);
	}
	error = uring_create(dev, path, BLOCK_BYTES, reason, fail);
	if (!error && reason[0])
		fprintf(stderr, "braid-bench: %s: %s\n", path, reason);
	return error;
}

static int open_paths(struct engine *engine, const char *list, struct fail *fail)
{
	for (const char *at = list; *at;) {
		size_t length = strcspn(at, ",");
		char path[PATH_BYTES];
		int error;

		if (length >= sizeof(path) || !length)
			return fail_set(fail, EINVAL, "'%s' is no list of paths", list);
		if (engine->drives == RAID_MEMBERS_MAX)
			return fail_set(
				fail, EINVAL, "at most %d drives can be used", RAID_MEMBERS_MAX);
		snprintf(path, sizeof(path), "%.*s", (int)length, at);
		error = open_path(engine, path, fail);
		if (error)
			return error;
		engine->drives++;
		at += length + (at[length] == ',');
	}
	return engine->drives ? 0 : fail_set(fail, EINVAL, "there are no drives in ''");
}

static int open_drives(struct engine *engine, const char *text, struct fail *fail)
{
	if (!strncmp(text, "ram:", 4))
		return open_memory(engine, text + 4, true, fail);
	if (!strncmp(text, "null:", 5))
		return open_memory(engine, text + 5, false, fail);
	return open_paths(engine, text, fail);
}

static int throttle_drives(
	struct engine *engine, const struct engine_config *config, struct fail *fail)
{
	const struct throttle_model *model = &config->throttle;
	int error = 0;

	if (!model->requests_per_second && !model->latency_ns)
		return 0;
	for (unsigned i = 0; i < engine->drives && !error; i++)
		error = throttle_create(&engine->drive[i], engine->drive[i], model, fail);
	return error;
}

static int clear_drives(struct engine *engine, struct fail *fail)
{
	struct clear_progress progress = {0};
	uint64_t blocks = UINT64_MAX;

	for (unsigned i = 0; i < engine->drives; i++)
		blocks = MIN(blocks, engine->drive[i]->blocks);
	return clear_members(engine->drive, engine->drives, blocks, engine->group, &progress, fail);
}

static int make_array(struct engine *engine, const struct engine_config *config, struct fail *fail)
{
	struct array_config array = {
		.name = "bench",
		.block_bytes = BLOCK_BYTES,
		.chunk_bytes = (uint32_t)config->chunk_bytes,
		.members = engine->drives,
		.parts = config->parts,
		.consistency = config->consistency,
	};
	int error = level_find(&array.level, config->level, fail);

	if (error)
		return error;
	memcpy(array.member, engine->drive, sizeof(array.member));
	return array_create(&engine->array, &array, engine->group, fail);
}

static void describe(struct engine *engine, const struct engine_config *config)
{
	const char *driver = engine->drive[0]->ops->driver;
	char chunk[UNITS_TEXT_BYTES];

	if (!engine->array)
		snprintf(
			engine->text, sizeof(engine->text), "%u %s drives", engine->drives, driver);
	else
		snprintf(engine->text, sizeof(engine->text), "%s of %u %s, chunk %s, %s",
			array_config(engine->array)->level->text, engine->drives, driver,
			units_print(config->chunk_bytes, chunk),
			consistency_name(config->consistency));
}

static int start_rooms(struct engine *engine, const struct engine_config *config, struct fail *fail)
{
	const char *dropped;
	int error = parity_select(config->parity, &dropped);

	if (error)
		return fail_set(fail, -error,
			"the parity kernel '%s' does not exist or does not "
			"work on this CPU",
			config->parity ? config->parity : "");
	error = memory_start(cpumask_count(&config->cores), config->buffer_bytes, fail);
	if (error)
		return error;
	/* Spinning: what is measured is the engine awake. */
	error = reactor_group_start(&engine->group, &config->cores, REACTOR_IDLE_SPIN, fail);
	if (error)
		memory_stop();
	return error;
}

int engine_open(struct engine *engine, const struct engine_config *config, struct fail *fail)
{
	int error;

	*engine = (struct engine){0};
	error = start_rooms(engine, config, fail);
	if (error)
		return error;
	error = open_drives(engine, config->drives, fail);
	if (!error)
		error = throttle_drives(engine, config, fail);
	if (!error)
		error = clear_drives(engine, fail);
	if (!error && config->array)
		error = make_array(engine, config, fail);
	if (error)
		engine_close(engine);
	else
		describe(engine, config);
	return error;
}

void engine_close(struct engine *engine)
{
	if (engine->array)
		array_stop(engine->array);
	while (engine->drives)
		blockdev_destroy(engine->drive[--engine->drives]);
	reactor_group_stop(engine->group);
	memory_stop();
}

int engine_fail_members(struct engine *engine, unsigned count, struct fail *fail)
{
	size_t used = strlen(engine->text);
	int error = 0;

	assert(!count || engine->array);
	for (unsigned i = 0; i < count && !error; i++)
		error = array_fail_member(engine->array, i, false, fail);
	if (!error && count)
		snprintf(engine->text + used, sizeof(engine->text) - used, ", %u failed", count);
	return error;
}
