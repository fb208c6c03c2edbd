/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmark/options.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/units.h"

enum { CORES_MAX = 4096, READ_PERCENT_DEFAULT = 70 };

int option_number(
	uint64_t *number, const char *value, uint64_t low, uint64_t high, struct fail *fail)
{
	char *end;

	errno = 0;
	*number = strtoull(value, &end, 0);
	if (errno || end == value || *end || strchr(value, '-') || *number < low || *number > high)
		return fail_set(fail, EINVAL, "'%s' is not a whole number from %llu to %llu", value,
			(unsigned long long)low, (unsigned long long)high);
	return 0;
}

int option_bytes(uint64_t *bytes, const char *value, struct fail *fail)
{
	return units_parse(bytes, value, 1, fail);
}

static int option_seconds(uint64_t *ns, const char *value, struct fail *fail)
{
	char *end;
	double seconds = strtod(value, &end);

	if (end == value || *end || !isfinite(seconds) || seconds < 0 || seconds > 1e6)
		return fail_set(fail, EINVAL, "'%s' is not a number of seconds", value);
	*ns = (uint64_t)(seconds * 1e9);
	return 0;
}

/* A whole number into an unsigned field. */
static int set_unsigned(
	unsigned *field, const char *value, uint64_t low, uint64_t high, struct fail *fail)
{
	uint64_t number;
	int result = option_number(&number, value, low, high, fail);

	if (!result)
		*field = (unsigned)number;
	return result;
}

static int set_pattern(struct bench_options *options, const char *value, struct fail *fail)
{
	return load_spec_pattern(&options->spec, value, fail);
}

static int set_read_percent(struct bench_options *options, const char *value, struct fail *fail)
{
	return set_unsigned(&options->spec.read_percent, value, 0, 100, fail);
}

static int set_queues(struct bench_options *options, const char *value, struct fail *fail)
{
	return set_unsigned(&options->spec.queues, value, 1, LOAD_QUEUES_MAX, fail);
}

static int set_depth(struct bench_options *options, const char *value, struct fail *fail)
{
	return set_unsigned(&options->spec.depth, value, 1, LOAD_SLOTS_MAX, fail);
}

static int set_block_size(struct bench_options *options, const char *value, struct fail *fail)
{
	uint64_t bytes;
	int result = option_bytes(&bytes, value, fail);

	if (!result && (!bytes || bytes > UINT32_MAX))
		return fail_set(fail, EINVAL, "a block size of '%s' cannot be used", value);
	if (!result)
		options->spec.block_bytes = (uint32_t)bytes;
	return result;
}

static int set_span(struct bench_options *options, const char *value, struct fail *fail)
{
	return option_bytes(&options->spec.span_bytes, value, fail);
}

static int set_offset(struct bench_options *options, const char *value, struct fail *fail)
{
	return option_bytes(&options->spec.offset_bytes, value, fail);
}

static int set_time(struct bench_options *options, const char *value, struct fail *fail)
{
	options->time_given = true;
	return option_seconds(&options->spec.time_ns, value, fail);
}

static int set_ramp(struct bench_options *options, const char *value, struct fail *fail)
{
	return option_seconds(&options->spec.ramp_ns, value, fail);
}

static int set_ops(struct bench_options *options, const char *value, struct fail *fail)
{
	return option_number(&options->spec.ops_max, value, 1, UINT64_MAX, fail);
}

static int set_bytes(struct bench_options *options, const char *value, struct fail *fail)
{
	return option_bytes(&options->spec.bytes_max, value, fail);
}

static int set_seed(struct bench_options *options, const char *value, struct fail *fail)
{
	return option_number(&options->spec.seed, value, 0, UINT64_MAX, fail);
}

static int set_flush_every(struct bench_options *options, const char *value, struct fail *fail)
{
	return set_unsigned(&options->spec.flush_every, value, 1, UINT32_MAX, fail);
}

static int set_verify(struct bench_options *options, const char *value, struct fail *fail)
{
	static const struct {
		const char *name;
		enum load_verify verify;
	} names[] = {{"fill", LOAD_VERIFY_FILL}, {"check", LOAD_VERIFY_CHECK},
		{"mixed", LOAD_VERIFY_MIXED}};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(names[i].name, value) != 0)
			continue;
		options->spec.verify = names[i].verify;
		return 0;
	}
	return fail_set(
		fail, EINVAL, "there is no verification '%s'; use fill, check or mixed", value);
}

static int set_core(struct bench_options *options, const char *value, struct fail *fail)
{
	unsigned core = 0;
	int result = set_unsigned(&core, value, 0, CORES_MAX - 1, fail);

	options->core = (int)core;
	return result;
}

static int set_spin(struct bench_options *options, const char *value, struct fail *fail)
{
	(void)value, (void)fail;
	options->spin = true;
	return 0;
}

static int set_json(struct bench_options *options, const char *value, struct fail *fail)
{
	(void)value, (void)fail;
	options->json = true;
	return 0;
}

static int set_latency(struct bench_options *options, const char *value, struct fail *fail)
{
	(void)value, (void)fail;
	options->latency = true;
	return 0;
}

static int set_info(struct bench_options *options, const char *value, struct fail *fail)
{
	(void)value, (void)fail;
	options->info = true;
	return 0;
}

/* clang-format off */
static const struct option_row rows[] = {
	{"pattern",      "NAME", "[rand]read, [rand]write, [rand]rw, [rand]discard, [rand]zeroes; "
				 "randread", set_pattern},
	{"read-percent", "N",    "share of reads in randrw and rw; 70", set_read_percent},
	{"block-size",   "SIZE", "of each request; 4K", set_block_size},
	{"queues",       "N",    "1", set_queues},
	{"depth",        "N",    "requests in flight per queue; 32", set_depth},
	{"span",         "SIZE", "part of the device to use; to its end", set_span},
	{"offset",       "SIZE", "where the span begins; 0", set_offset},
	{"time",         "S",    "seconds to run; 10, or no limit with --ops or --bytes", set_time},
	{"ops",          "N",    "requests to run", set_ops},
	{"bytes",        "SIZE", "to move", set_bytes},
	{"ramp",         "S",    "seconds to run before counting", set_ramp},
	{"flush-every",  "N",    "a flush after so many writes on a queue", set_flush_every},
	{"seed",         "N",    "of places and contents; 1", set_seed},
	{"verify",       "MODE", "fill: write stamps over the span; check: read and check them; "
				 "mixed: the pattern, checking reads", set_verify},
	{"core",         "C",    "pin to this core", set_core},
	{"spin",         NULL,   "never sleep while waiting", set_spin},
	{"info",         NULL,   "say what the device is, run nothing", set_info},
	{"latency",      NULL,   "print every percentile", set_latency},
	{"json",         NULL,   "print JSON", set_json},
};
/* clang-format on */

static void print_help(const struct option_row *const *all, unsigned count)
{
	puts("Options, with their defaults:");
	for (unsigned i = 0; i < count; i++) {
		char name[64];

		snprintf(name, sizeof(name), "--%s %s", all[i]->name,
			all[i]->value ? all[i]->value : "");
		printf("  %-24s %s\n", name, all[i]->text);
	}
}

static int parse(struct bench_options *options, const struct option_row *const *all, char **argv,
	const char **target, struct fail *fail)
{
	struct option table[OPTION_ROWS_MAX + 2] = {0};
	unsigned count = 0;
	int argc = 0, found;

	for (; all[count]; count++)
		table[count] = (struct option){
			all[count]->name, all[count]->value != NULL, NULL, (int)count + 256};
	table[count] = (struct option){"help", 0, NULL, 'h'};
	while (argv[argc])
		argc++;
	optind = 0;
	opterr = 0;
	while ((found = getopt_long(argc, argv, ":h", table, NULL)) != -1) {
		int result;

		if (found == 'h') {
			print_help(all, count);
			return 1;
		}
		if (found == ':')
			return fail_set(fail, EINVAL, "%s needs a value", argv[optind - 1]);
		if (found == '?')
			return fail_set(fail, EINVAL, "there is no option %s; see --help",
				argv[optind - 1]);
		result = all[found - 256]->set(options, optarg, fail);
		if (result)
			return fail_prefix(fail, "--%s", all[found - 256]->name);
	}
	*target = argv[optind];
	if (argv[optind] && argv[optind + 1])
		return fail_set(fail, EINVAL, "'%s' is one argument too many; see --help",
			argv[optind + 1]);
	return 0;
}

int options_parse(struct bench_options *options, const struct option_row *extra, char **argv,
	const char **target, struct fail *fail)
{
	const struct option_row *all[OPTION_ROWS_MAX + 1] = {0};
	unsigned count = 0;
	int result;

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		all[count++] = &rows[i];
	for (; extra && extra->name; extra++) {
		assert(count < OPTION_ROWS_MAX);
		all[count++] = extra;
	}
	load_spec_init(&options->spec);
	options->spec.read_percent = READ_PERCENT_DEFAULT;
	options->core = -1;
	result = parse(options, all, argv, target, fail);
	if (result)
		return result;
	/* The pattern after the percentage, whatever their order on the command line. */
	result = load_spec_pattern(&options->spec, options->spec.pattern, fail);
	if (!options->time_given && (options->spec.ops_max || options->spec.bytes_max))
		options->spec.time_ns = 0;
	return result;
}

int options_pin(const struct bench_options *options, struct fail *fail)
{
	cpu_set_t set;

	if (options->core < 0)
		return 0;
	CPU_ZERO(&set);
	if (options->core < CPU_SETSIZE)
		CPU_SET(options->core, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		return fail_set(
			fail, errno, "cannot run on core %d: %s", options->core, strerror(errno));
	return 0;
}
