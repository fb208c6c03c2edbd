/* SPDX-License-Identifier: Apache-2.0 */
/* braid-bench: runs loads, over a transport that the first argument names. */
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "benchmark/commands.h"
#include "benchmark/options.h"

/* clang-format off */
static const struct command {
	const char *name, *text;
	int (*run)(char **argv); /* argv[0]: the command's name; returns an enum bench_exit */
} commands[] = {
	{"vhost", "SOCKET [options]    over vhost-user-blk, to any back end", vhost_command},
	{"raw",   "[options]           inside the engine, on drives or an array", raw_command},
};
/* clang-format on */

static void print_usage(FILE *to)
{
	fputs("usage:\n", to);
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(to, "  braid-bench %s %s\n", commands[i].name, commands[i].text);
	fputs("  braid-bench COMMAND --help\n", to);
}

int main(int argc, char **argv)
{
	if (argc >= 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		print_usage(stdout);
		return BENCH_OK;
	}
	for (unsigned i = 0; argc >= 2 && i < ARRAY_SIZE(commands); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argv + 1);
	if (argc >= 2)
		fprintf(stderr, "braid-bench: there is no command '%s'\n", argv[1]);
	print_usage(stderr);
	return BENCH_USAGE;
}
