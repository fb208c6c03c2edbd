/* SPDX-License-Identifier: Apache-2.0 */
/* braid-bench raw: a load inside the engine, on drives or on an array over them. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/log.h"
#include "benchmark/commands.h"
#include "benchmark/options.h"
#include "benchmark/raw.h"
#include "benchmark/report.h"

enum { FILL_BLOCK_BYTES = 1 << 20, FILL_DEPTH = 8 };

struct raw_options {
	struct bench_options bench;
	struct engine_config engine;
	unsigned fail; /* members to give up before the run */
	bool fill, count_allocations;
};

static struct raw_options *of(struct bench_options *options)
{
	return container_of(options, struct raw_options, bench);
}

static int set_cores(struct bench_options *options, const char *value, struct fail *fail)
{
	return cpumask_parse(&of(options)->engine.cores, value, fail);
}

static int set_drives(struct bench_options *options, const char *value, struct fail *fail)
{
	(void)fail;
	of(options)->engine.drives = value;
	return 0;
}

static int set_target(struct bench_options *options, const char *value, struct fail *fail)
{
	of(options)->engine.array = !strcmp(value, "array");
	if (strcmp(value, "array") != 0 && strcmp(value, "members") != 0)
		return fail_set(fail, EINVAL, "'%s' is no target; use members or array", value);
	return 0;
}

static int set_level(struct bench_options *options, const char *value, struct fail *fail)
{
	const struct level *level;

	of(options)->engine.level = value;
	return level_find(&level, value, fail);
}

static int set_chunk(struct bench_options *options, const char *value, struct fail *fail)
{
	uint64_t bytes;
	int result = option_bytes(&bytes, value, fail);

	if (!result && (bytes < ARRAY_CHUNK_BYTES_MIN || bytes > ARRAY_CHUNK_BYTES_MAX))
		return fail_set(fail, EINVAL, "a chunk is 4K to 1M, not '%s'", value);
	of(options)->engine.chunk_bytes = bytes;
	return result;
}

static int set_consistency(struct bench_options *options, const char *value, struct fail *fail)
{
	return consistency_parse(&of(options)->engine.consistency, value, fail);
}

static int set_parts(struct bench_options *options, const char *value, struct fail *fail)
{
	uint64_t parts = 0;
	int result = option_number(&parts, value, 2, RAID_MEMBERS_MAX, fail);

	of(options)->engine.parts = (unsigned)parts;
	return result;
}

static int set_rate(uint64_t *rate, const char *value, struct fail *fail)
{
	return option_number(rate, value, 0, 1000000000, fail);
}

static int set_drive_iops(struct bench_options *options, const char *value, struct fail *fail)
{
	return set_rate(&of(options)->engine.throttle.requests_per_second, value, fail);
}

static int set_drive_latency(struct bench_options *options, const char *value, struct fail *fail)
{
	uint64_t *latency_ns = &of(options)->engine.throttle.latency_ns;
	int result = set_rate(latency_ns, value, fail);

	*latency_ns *= 1000;
	return result;
}

static int set_fail(struct bench_options *options, const char *value, struct fail *fail)
{
	uint64_t members = 0;
	int result = option_number(&members, value, 0, RAID_MEMBERS_MAX, fail);

	of(options)->fail = (unsigned)members;
	return result;
}

static int set_buffers(struct bench_options *options, const char *value, struct fail *fail)
{
	return option_bytes(&of(options)->engine.buffer_bytes, value, fail);
}

static int set_parity(struct bench_options *options, const char *value, struct fail *fail)
{
	(void)fail;
	of(options)->engine.parity = value;
	return 0;
}

static int set_fill(struct bench_options *options, const char *value, struct fail *fail)
{
	(void)value, (void)fail;
	of(options)->fill = true;
	return 0;
}

static int set_count(struct bench_options *options, const char *value, struct fail *fail)
{
	(void)value, (void)fail;
	of(options)->count_allocations = true;
	return 0;
}

/* clang-format off */
static const struct option_row rows[] = {
	{"cores",   "LIST",   "cores of the reactors, each with its own load; --core's, or 0",
		set_cores},
	{"drives",  "D",      "ram:N:SIZE, null:N:SIZE or PATH,PATH,... (also nvme+tcp://); ERASED; ram:10:256M",
		set_drives},
	{"drive-iops", "N",   "each drive serves so many requests a second; as fast as it is",
		set_drive_iops},
	{"drive-latency", "USEC", "and answers so much later; 0", set_drive_latency},
	{"target",  "T",      "members: the drives, round-robin; array: one of them; members",
		set_target},
	{"level",   "L",      "0, 1, 5, 6, 7, 10, 50, 60 or 70; 6", set_level},
	{"chunk",   "SIZE",   "128K", set_chunk},
	{"parts",   "N",      "levels 50, 60, 70: how many parts; 2", set_parts},
	{"consistency", "P",  "log, adaptive or bitmap; log", set_consistency},
	{"fail",    "N",      "give up the first N members, after the fill", set_fail},
	{"fill",    NULL,     "write the whole span first", set_fill},
	{"buffers", "SIZE",   "I/O buffers of each core; 32M", set_buffers},
	{"parity",  "KERNEL", "the fastest", set_parity},
	{"count-allocations", NULL, "fail if a reactor allocates memory once the load is running",
		set_count},
	{NULL, NULL, NULL, NULL},
};
/* clang-format on */

static int complain(const struct fail *fail, enum bench_exit code)
{
	fprintf(stderr, "braid-bench: %s\n", fail->text);
	return code;
}

/* What one run over all lanes has shown. Large. */
struct outcome {
	struct load_result result;
	struct allocations allocations;
	unsigned cold; /* lanes that ended before allocations were counted */
	uint64_t cpu_ns, completions;
};

static uint64_t share(uint64_t limit, unsigned lanes)
{
	return limit ? divide_up(limit, lanes) : 0;
}

/* One load per reactor; the first failed request or mismatch is in outcome, not an error here. */
static int run_lanes(const struct engine *engine, const struct load_spec *all,
	struct outcome *outcome, struct fail *fail)
{
	static struct raw_lane lanes[REACTORS_MAX];
	unsigned count = reactor_count(engine->group), opened = 0;
	struct load_spec spec = *all;
	uint64_t own = all->span_bytes / all->block_bytes / count * all->block_bytes;
	int error = 0;

	spec.all_jobs = count * spec.queues;
	spec.ops_max = share(all->ops_max, count);
	spec.bytes_max = share(all->bytes_max, count);
	for (; opened < count && !error; opened += !error) {
		spec.first_job = opened * spec.queues;
		if (spec.verify == LOAD_VERIFY_MIXED) {
			/* Each knows only what it has written itself. */
			spec.span_bytes = own;
			spec.offset_bytes = all->offset_bytes + opened * own;
		}
		error = raw_lane_open(&lanes[opened], engine, opened, &spec, fail);
	}
	if (!error && raw_lanes_run(lanes, count, fail)) {
		complain(fail, BENCH_FAILED);
		_Exit(BENCH_FAILED); /* nothing can be closed */
	}
	memset(outcome, 0, sizeof(*outcome));
	while (opened--) {
		if (!error) {
			load_result_merge(&outcome->result, load_result(lanes[opened].load));
			outcome->allocations.allocated += lanes[opened].allocations.allocated;
			outcome->allocations.freed += lanes[opened].allocations.freed;
			outcome->cold += lanes[opened].warm != 0;
			outcome->cpu_ns += lanes[opened].cpu_ns;
			outcome->completions += lanes[opened].completions;
		}
		raw_lane_close(&lanes[opened]);
	}
	return error;
}

/* Writes the span once: with stamps when the run is going to look at the content. */
static int fill(const struct raw_options *options, const struct engine *engine,
	struct outcome *outcome, struct fail *fail)
{
	struct load_spec spec = options->bench.spec;
	int error;

	spec.queues = 1;
	spec.depth = FILL_DEPTH;
	/* Over the members the block size decides where a byte lies. */
	if (engine->array && spec.span_bytes >= FILL_BLOCK_BYTES * REACTORS_MAX)
		spec.block_bytes = FILL_BLOCK_BYTES;
	load_spec_pattern(&spec, "write", fail);
	spec.flush_every = 0;
	spec.time_ns = spec.ramp_ns = spec.ops_max = 0;
	spec.bytes_max = spec.span_bytes;
	if (spec.verify != LOAD_VERIFY_NONE)
		spec.verify = LOAD_VERIFY_FILL;
	error = run_lanes(engine, &spec, outcome, fail);
	if (!error && outcome->result.problem.error) {
		*fail = outcome->result.problem;
		error = fail_prefix(fail, "the fill");
	}
	return error;
}

static json_t *counters_json(
	const struct array_counters *before, const struct array_counters *after)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "ops",
		(json_int_t)(after->ops - before->ops), "joins",
		(json_int_t)(after->joins - before->joins), "full_stripes",
		(json_int_t)(after->full_stripes - before->full_stripes), "rewrites",
		(json_int_t)(after->rewrites - before->rewrites), "modifies",
		(json_int_t)(after->modifies - before->modifies), "recovers",
		(json_int_t)(after->recovers - before->recovers), "log_records",
		(json_int_t)(after->log_records - before->log_records), "log_batches",
		(json_int_t)(after->log_batches - before->log_batches), "log_bytes",
		(json_int_t)(after->log_bytes - before->log_bytes));
}

static void print_result(const struct raw_options *options, const struct engine *engine,
	const struct outcome *outcome, const json_t *extra)
{
	struct load_spec spec = options->bench.spec;
	struct report report = {
		.transport = "raw",
		.target = engine->text,
		.spec = &spec,
		.result = &outcome->result,
		.latency = options->bench.latency,
		.extra = extra,
	};
	const char *name;
	json_t *value;

	spec.queues *= reactor_count(engine->group);
	if (options->bench.json) {
		report_json(&report);
		return;
	}
	report_text(&report);
	if (engine->array) {
		printf("array:");
		json_object_foreach(json_object_get(extra, "counters"), name, value)
			printf(" %lld %s", (long long)json_integer_value(value), name);
		putchar('\n');
	}
	if (options->count_allocations)
		printf("%llu allocations and %llu frees while the load ran\n",
			(unsigned long long)outcome->allocations.allocated,
			(unsigned long long)outcome->allocations.freed);
}

static int judge(const struct raw_options *options, const struct outcome *outcome)
{
	struct fail fail = {0};

	if (outcome->result.problem.error)
		return BENCH_FAILED;
	if (!options->count_allocations)
		return BENCH_OK;
	if (outcome->cold)
		fail_set(&fail, EINVAL, "the run was too short to count allocations in");
	else if (outcome->allocations.allocated || outcome->allocations.freed)
		fail_set(&fail, EINVAL, "the I/O path allocates or frees memory");
	return fail.error ? complain(&fail, BENCH_FAILED) : BENCH_OK;
}

static void measure(
	const struct raw_options *options, struct engine *engine, struct outcome *outcome)
{
	struct array_status before = {0}, after = {0};
	struct fail fail = {0};
	json_t *extra = json_object();

	if (engine->array)
		array_status(engine->array, &before);
	if (run_lanes(engine, &options->bench.spec, outcome, &fail)) {
		outcome->result.problem = fail;
		complain(&fail, BENCH_FAILED);
		json_decref(extra);
		return;
	}
	json_object_set_new(extra, "cores", json_integer(reactor_count(engine->group)));
	/* Unlike the rate it does not see that others run on the same core. */
	json_object_set_new(extra, "cpu_us",
		json_real((double)outcome->cpu_ns / 1e3 /
			  (double)MAX(outcome->completions, UINT64_C(1))));
	if (engine->array) {
		array_status(engine->array, &after);
		json_object_set_new(
			extra, "array_state", json_string(array_state_name(after.state)));
		json_object_set_new(extra, "memory_per_core_bytes",
			json_integer((json_int_t)array_shard_bytes(engine->array)));
		json_object_set_new(
			extra, "counters", counters_json(&before.counters, &after.counters));
	}
	if (options->count_allocations)
		json_object_set_new(extra, "allocations",
			json_pack("{s:I, s:I}", "allocated",
				(json_int_t)outcome->allocations.allocated, "freed",
				(json_int_t)outcome->allocations.freed));
	print_result(options, engine, outcome, extra);
	json_decref(extra);
}

static int run(struct raw_options *options)
{
	static struct outcome outcome;
	struct load_spec *spec = &options->bench.spec;
	struct load_transport offered = {0};
	struct engine engine;
	struct fail fail;
	int error;

	log_threshold(LOG_LEVEL_ERROR);
	error = engine_open(&engine, &options->engine, &fail);
	if (error)
		return complain(&fail, error == -EINVAL ? BENCH_USAGE : BENCH_FAILED);
	if (spec->block_bytes)
		raw_measure(&offered, &engine, spec->block_bytes);
	error = load_spec_check(spec, &offered, &fail);
	if (!error && options->fill)
		error = fill(options, &engine, &outcome, &fail);
	if (!error)
		error = engine_fail_members(&engine, options->fail, &fail);
	if (!error)
		measure(options, &engine, &outcome);
	engine_close(&engine);
	if (error)
		return complain(&fail, error == -EINVAL ? BENCH_USAGE : BENCH_FAILED);
	return judge(options, &outcome);
}

static int check(const struct raw_options *options, const char *target, struct fail *fail)
{
	if (target)
		return fail_set(fail, EINVAL, "'%s' is no option; see --help", target);
	if (options->fail && !options->engine.array)
		return fail_set(fail, EINVAL, "only members of an array can fail: --target array");
	if (options->bench.info)
		return fail_set(fail, EINVAL, "--info is for vhost");
	if (options->count_allocations && !allocations_work())
		return fail_set(fail, EINVAL,
			"allocations cannot be counted in this build (a sanitizer has the "
			"allocator)");
	return 0;
}

int raw_command(char **argv)
{
	struct raw_options options = {
		.engine = {.drives = "ram:10:256M",
			.level = "6",
			.chunk_bytes = 128 << 10,
			.buffer_bytes = 32 << 20},
	};
	struct fail fail;
	const char *target;
	int result = options_parse(&options.bench, rows, argv, &target, &fail);

	if (result > 0)
		return BENCH_OK;
	if (!result)
		result = check(&options, target, &fail);
	if (result)
		return complain(&fail, BENCH_USAGE);
	if (!cpumask_count(&options.engine.cores))
		cpumask_add(&options.engine.cores,
			options.bench.core < 0 ? 0 : (unsigned)options.bench.core);
	return run(&options);
}
