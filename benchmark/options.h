/* SPDX-License-Identifier: Apache-2.0 */
/* The options that every subcommand of braid-bench takes, as rows of a table; a subcommand adds
 * rows of its own. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fail.h"
#include "benchmark/load.h"

/* What a run ends with. */
enum bench_exit { BENCH_OK = 0, BENCH_FAILED = 1, BENCH_USAGE = 2, BENCH_NO_CONNECTION = 6 };

struct bench_options {
	struct load_spec spec;
	int core;  /* to pin to, -1: none */
	bool spin; /* never sleep */
	bool json;
	bool latency; /* every percentile */
	bool info;    /* say what the device is, and run nothing */
	bool time_given;
};

struct option_row {
	const char *name;
	const char *value; /* what stands for it in the help, NULL: it takes none */
	const char *text;
	/* options: as given to options_parse(); a subcommand embeds it in its own struct. */
	int (*set)(struct bench_options *options, const char *value, struct fail *fail);
};

enum { OPTION_ROWS_MAX = 64 };

/* Fills in the defaults, then the command line. extra: rows of the subcommand, ended by a row
 * without a name, NULL: none. argv[0] is skipped; *target is the one argument that is no option,
 * NULL when there is none. 0, -EINVAL with a sentence, or 1 when --help was answered. */
int options_parse(struct bench_options *options, const struct option_row *extra, char **argv,
	const char **target, struct fail *fail);

/* For the rows: a whole number in [low, high], and a size such as "4K". */
int option_number(
	uint64_t *number, const char *value, uint64_t low, uint64_t high, struct fail *fail);
int option_bytes(uint64_t *bytes, const char *value, struct fail *fail);

/* Pins the calling thread to options->core, when there is one. */
int options_pin(const struct bench_options *options, struct fail *fail);

#endif
