/* SPDX-License-Identifier: Apache-2.0 */
/* The subcommands of braid-bench; each takes its argument vector, its own name first, prints what
 * it has to say and returns an enum bench_exit. */
#ifndef BENCH_COMMANDS_H
#define BENCH_COMMANDS_H

int vhost_command(char **argv);
int raw_command(char **argv);

#endif
