/* SPDX-License-Identifier: Apache-2.0 */
/* What a run has shown: a table for people, JSON for programs. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <jansson.h>
#include <stdbool.h>

#include "benchmark/load.h"

struct report {
	const char *transport; /* "vhost", "raw" */
	const char *target;
	const struct load_spec *spec;
	const struct load_result *result;
	bool latency;	     /* every percentile in the table; JSON has them always */
	const json_t *extra; /* the transport's own members, NULL: none; borrowed */
};

/* On standard output. */
void report_text(const struct report *report);
void report_json(const struct report *report);

#endif
