/* SPDX-License-Identifier: Apache-2.0 */
/* braid: reads the command line, runs the command, turns its errno value into an exit status. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "cli/help.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/parse.h"
#include "cli/rpc_client.h"

static int read_output(struct cli *cli, struct fail *fail)
{
	static const char *const forms[] = {"table", "wide", "json", "jsonl"};
	const char *form = option_text(cli, "output");

	for (unsigned i = 0; form && i < ARRAY_SIZE(forms); i++)
		if (!strcmp(forms[i], form)) {
			cli->output = (enum output)i;
			return 0;
		}
	return form ? fail_set(fail, EINVAL, "--output is table, wide, json or jsonl, not '%.40s'",
			      form)
		    : 0;
}

static int read_globals(struct cli *cli, struct fail *fail)
{
	const char *no_color = getenv("NO_COLOR");
	int error = read_output(cli, fail);

	cli->columns = option_text(cli, "columns");
	cli->no_header = option_given(cli, "no-header");
	cli->raw = option_given(cli, "raw");
	cli->yes = option_given(cli, "yes");
	cli->dry_run = option_given(cli, "dry-run");
	cli->quiet = option_given(cli, "quiet");
	cli->color = isatty(STDOUT_FILENO) && !option_given(cli, "no-color") &&
		     (!no_color || !*no_color);
	cli->help = option_given(cli, "help");
	if (!error && option_given(cli, "timeout"))
		error = seconds_parse(
			option_text(cli, "timeout"), "--timeout", &cli->timeout_s, fail);
	return error;
}

static enum exit_status exit_status_of(int error)
{
	switch (error) {
	case EINVAL:
	case ENAMETOOLONG:
	case ENOSYS:
		return EXIT_USAGE;
	case ENOENT:
	case ENODEV:
		return EXIT_NOT_FOUND;
	case EBUSY:
	case EEXIST:
	case EALREADY:
	case EADDRINUSE:
		return EXIT_CONFLICT;
	case EPERM:
		return EXIT_REFUSED;
	case ENOTCONN:
		return EXIT_UNREACHABLE;
	case ETIMEDOUT:
		return EXIT_TIMEOUT;
	default:
		return EXIT_FAILED;
	}
}

/* The value of the global --socket; a command that has an option of that name hides it. */
static const char *global_socket(const struct cli *cli)
{
	size_t count;
	const struct command_option *globals = global_options(&count);
	const char *path = NULL;

	for (unsigned i = 0; i < cli->given_count; i++)
		if (cli->given[i].option >= globals && cli->given[i].option < globals + count &&
			!strcmp(cli->given[i].option->name, "socket"))
			path = cli->given[i].value;
	return path;
}

static int run_command(struct cli *cli, struct fail *fail)
{
	static struct rpc_client client;
	int error = rpc_client_init(&client, global_socket(cli), fail);

	if (error)
		return error;
	if (cli->timeout_s > 0)
		client.timeout_s = cli->timeout_s;
	client.verbose = option_given(cli, "verbose");
	cli->client = &client;
	error = cli->command->run(cli, fail);
	rpc_client_close(&client);
	return error;
}

int main(int argc, char **argv)
{
	static struct cli cli;
	struct fail fail = {0};
	const char *object;
	int error = parse_arguments(&cli, argc, argv, &object, &fail);

	if (!error)
		error = read_globals(&cli, &fail);
	if (!error && (cli.help || !object)) {
		if (cli.command)
			help_command(cli.command);
		else if (!object || !help_object(object))
			help_all();
		return cli.help ? EXIT_OK : EXIT_USAGE;
	}
	if (!error && !cli.command) {
		help_object(object);
		return EXIT_USAGE;
	}
	if (!error)
		error = run_command(&cli, &fail);
	if (fflush(stdout) || ferror(stdout))
		error = fail_set(
			&fail, EIO, "cannot write what was asked for: %s", strerror(errno));
	if (!error)
		return (int)cli.status;
	text_disarm(fail.text);
	fprintf(stderr, "braid: %s\n", fail.text);
	return (int)exit_status_of(fail.error);
}
