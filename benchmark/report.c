/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmark/report.h"

#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/units.h"
#include "benchmark/clock.h"

enum { OUTPUT_VERSION = 1 };

/* clang-format off */
static const struct percentile {
	const char *name;
	unsigned per_million;
} percentiles[] = {
	{"p50", 500000}, {"p90", 900000}, {"p99", 990000}, {"p99.9", 999000}, {"p99.99", 999900},
};
/* clang-format on */

static const char *const verify_names[] = {"none", "fill", "check", "mixed"};

static double microseconds(uint64_t ticks)
{
	return (double)clock_ticks_to_ns(ticks) / 1e3;
}

static double mean_us(const struct histogram *latency)
{
	return latency->count ? microseconds(latency->sum) / (double)latency->count : 0;
}

static double rate(uint64_t count, const struct load_result *result)
{
	return result->elapsed_ns ? (double)count * 1e9 / (double)result->elapsed_ns : 0;
}

static void text_row(const struct load_result *result, enum load_kind kind)
{
	const struct histogram *latency = &result->latency[kind];

	printf("%-8s %12.0f %12.1f %10.1f %10.1f %10.1f %10.1f %10.1f %10llu\n",
		load_kind_name(kind), rate(result->ops[kind], result),
		rate(result->bytes[kind], result) / 1e6, mean_us(latency),
		microseconds(histogram_percentile(latency, 500000)),
		microseconds(histogram_percentile(latency, 990000)),
		microseconds(histogram_percentile(latency, 999000)), microseconds(latency->max),
		(unsigned long long)result->errors[kind]);
}

static void text_percentiles(const struct load_result *result, enum load_kind kind)
{
	const struct histogram *latency = &result->latency[kind];

	printf("%s latency, us:", load_kind_name(kind));
	for (unsigned i = 0; i < ARRAY_SIZE(percentiles); i++)
		printf(" %s %.1f", percentiles[i].name,
			microseconds(histogram_percentile(latency, percentiles[i].per_million)));
	printf(" max %.1f\n", microseconds(latency->max));
}

void report_text(const struct report *report)
{
	const struct load_spec *spec = report->spec;
	const struct load_result *result = report->result;
	char block[UNITS_TEXT_BYTES], span[UNITS_TEXT_BYTES];

	printf("%s %s: %s, %s requests, %u queue%s x %u, span %s, %.2f s\n", report->transport,
		report->target, spec->pattern, units_print(spec->block_bytes, block), spec->queues,
		spec->queues == 1 ? "" : "s", spec->depth, units_print(spec->span_bytes, span),
		(double)result->elapsed_ns / 1e9);
	printf("%-8s %12s %12s %10s %10s %10s %10s %10s %10s\n", "", "IOPS", "MB/s", "mean us",
		"p50", "p99", "p99.9", "max", "errors");
	for (unsigned kind = 0; kind < LOAD_KINDS; kind++)
		if (result->ops[kind] || result->errors[kind])
			text_row(result, kind);
	for (unsigned kind = 0; report->latency && kind < LOAD_KINDS; kind++)
		if (result->ops[kind])
			text_percentiles(result, kind);
	if (spec->verify != LOAD_VERIFY_NONE)
		printf("verify %s: %llu bytes checked, %llu units wrong\n",
			verify_names[spec->verify], (unsigned long long)result->checked_bytes,
			(unsigned long long)result->mismatches);
	fflush(stdout);
	if (result->problem.error)
		fprintf(stderr, "braid-bench: %s\n", result->problem.text);
}

static json_t *json_latency(const struct histogram *latency)
{
	json_t *object = json_object();

	json_object_set_new(object, "mean", json_real(mean_us(latency)));
	for (unsigned i = 0; i < ARRAY_SIZE(percentiles); i++)
		json_object_set_new(object, percentiles[i].name,
			json_real(microseconds(
				histogram_percentile(latency, percentiles[i].per_million))));
	json_object_set_new(object, "max", json_real(microseconds(latency->max)));
	return object;
}

static json_t *json_kind(const struct load_result *result, enum load_kind kind)
{
	return json_pack("{s:I, s:I, s:I, s:f, s:f, s:o}", "ops", (json_int_t)result->ops[kind],
		"bytes", (json_int_t)result->bytes[kind], "errors",
		(json_int_t)result->errors[kind], "iops", rate(result->ops[kind], result),
		"bytes_per_second", rate(result->bytes[kind], result), "latency_us",
		json_latency(&result->latency[kind]));
}

static json_t *json_spec(const struct load_spec *spec)
{
	return json_pack("{s:s, s:i, s:I, s:i, s:i, s:I, s:I, s:I, s:i, s:s}", "pattern",
		spec->pattern, "read_percent", (int)spec->read_percent, "block_bytes",
		(json_int_t)spec->block_bytes, "queues", (int)spec->queues, "depth",
		(int)spec->depth, "offset_bytes", (json_int_t)spec->offset_bytes, "span_bytes",
		(json_int_t)spec->span_bytes, "seed", (json_int_t)spec->seed, "flush_every",
		(int)spec->flush_every, "verify", verify_names[spec->verify]);
}

void report_json(const struct report *report)
{
	const struct load_result *result = report->result;
	json_t *output = json_pack("{s:i, s:s, s:s, s:o, s:f, s:b, s:I, s:I}", "output_version",
		OUTPUT_VERSION, "transport", report->transport, "target", report->target, "load",
		json_spec(report->spec), "elapsed_seconds", (double)result->elapsed_ns / 1e9,
		"good", !result->problem.error, "checked_bytes", (json_int_t)result->checked_bytes,
		"mismatches", (json_int_t)result->mismatches);

	for (unsigned kind = 0; kind < LOAD_KINDS; kind++)
		if (result->ops[kind] || result->errors[kind])
			json_object_set_new(output, load_kind_name(kind), json_kind(result, kind));
	if (result->problem.error)
		json_object_set_new(output, "problem", json_string(result->problem.text));
	if (report->extra)
		json_object_update(output, (json_t *)(uintptr_t)report->extra);
	json_dumpf(output, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(output);
}
