/* SPDX-License-Identifier: Apache-2.0 */
/* braidd: starts the rooms bottom to top, waits for a signal, stops them top to bottom. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/units.h"
#include "control/daemon.h"
#include "control/rpc.h"
#include "memory/memory.h"
#include "parity/parity.h"
#include "reactor/reactor.h"
#include "virtio/guest_memory.h"

struct options {
	struct cpumask cores;
	enum reactor_idle idle;
	uint64_t buffer_bytes; /* per core */
	const char *run_dir;
	const char *parity;
};

static const char usage[] =
	"braidd: user-space RAID for virtual machines\n"
	"\n"
	"  --cores LIST       cores to run on, 8-11,14 or 0x3 (default: core 0)\n"
	"  --poll MODE        adaptive: sleep when idle (default); always: never sleep\n"
	"  --buffers SIZE     I/O buffers per core (default: 32M)\n"
	"  --run-dir DIR      where the sockets are (default: /run/braid)\n"
	"  --parity KERNEL    insist on a parity kernel (default: the fastest)\n"
	"  --verbose          log more\n"
	"  --version, --help\n";

enum { EXIT_USAGE = 2, BUFFER_BYTES_MIN = 16 << 20 };

/* 0 to go on; otherwise exit with *status. */
static int parse_options(int argc, char **argv, struct options *options, int *status)
{
	static const struct option long_options[] = {
		{"cores", required_argument, NULL, 'c'},
		{"poll", required_argument, NULL, 'p'},
		{"buffers", required_argument, NULL, 'b'},
		{"run-dir", required_argument, NULL, 'r'},
		{"parity", required_argument, NULL, 'k'},
		{"verbose", no_argument, NULL, 'v'},
		{"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct fail fail = {0};
	int option;

	*status = 0;
	while ((option = getopt_long(argc, argv, "", long_options, NULL)) >= 0) {
		switch (option) {
		case 'c':
			cpumask_parse(&options->cores, optarg, &fail);
			break;
		case 'p':
			options->idle = strcmp(optarg, "always") ? REACTOR_IDLE_ADAPTIVE
								 : REACTOR_IDLE_SPIN;
			if (strcmp(optarg, "always") && strcmp(optarg, "adaptive"))
				fail_set(&fail, EINVAL, "--poll is adaptive or always, not '%s'",
					optarg);
			break;
		case 'b':
			if (!units_parse(&options->buffer_bytes, optarg, 1, &fail) &&
				options->buffer_bytes < BUFFER_BYTES_MIN)
				fail_set(&fail, EINVAL, "--buffers needs at least 16M");
			break;
		case 'r':
			options->run_dir = optarg;
			break;
		case 'k':
			options->parity = optarg;
			break;
		case 'v':
			log_threshold(LOG_LEVEL_DEBUG);
			break;
		case 'V':
			puts("braidd " BRAID_VERSION);
			return 1;
		case 'h':
			fputs(usage, stdout);
			return 1;
		default:
			*status = EXIT_USAGE;
			return 1;
		}
	}
	if (optind < argc)
		fail_set(&fail, EINVAL, "'%s' is no option: see --help", argv[optind]);
	if (!fail.error)
		return 0;
	fprintf(stderr, "braidd: %s\n", fail.text);
	*status = EXIT_USAGE;
	return 1;
}

static int select_parity(const char *forced, struct fail *fail)
{
	const char *dropped;
	int error = parity_select(forced, &dropped);

	if (dropped)
		log_error("event=ParityKernelBroken kernel=%s effect=\"not used\"", dropped);
	if (error)
		return fail_set(fail, -error,
			"the parity kernel '%s' does not exist or does not work "
			"on this CPU: leave out --parity",
			forced);
	return 0;
}

static int make_directories(const char *run_dir, struct fail *fail)
{
	char vhost[96];

	if (snprintf(vhost, sizeof(vhost), "%s/vhost", run_dir) >= 64 + (int)sizeof("/vhost"))
		return fail_set(
			fail, ENAMETOOLONG, "--run-dir %s is longer than 63 bytes", run_dir);
	if ((mkdir(run_dir, 0755) && errno != EEXIST) || (mkdir(vhost, 0755) && errno != EEXIST))
		return fail_set(fail, errno, "cannot make %s: %s", vhost, strerror(errno));
	return 0;
}

static void wait_for_signal(const sigset_t *signals)
{
	int number;

	while (sigwait(signals, &number) || number == SIGHUP)
		;
	log_info("event=Stop signal=%d", number);
}

static int run(const struct options *options, const sigset_t *signals, struct fail *fail)
{
	struct reactor_group *group;
	struct rpc_server *server;
	struct daemon daemon;
	char path[96], cores[CPUMASK_TEXT_BYTES];
	int error = select_parity(options->parity, fail);

	if (error)
		return error;
	error = make_directories(options->run_dir, fail);
	if (error)
		return error;
	error = memory_start(cpumask_count(&options->cores), options->buffer_bytes, fail);
	if (error)
		return error;
	error = reactor_group_start(&group, &options->cores, options->idle, fail);
	if (error)
		goto stop_memory;
	daemon_init(&daemon, group, options->run_dir);
	snprintf(path, sizeof(path), "%s/rpc.sock", options->run_dir);
	error = rpc_server_start(&server, &daemon, path, fail);
	if (error)
		goto stop_reactors;
	log_info("event=Start version=" BRAID_VERSION " cores=%s parity=%s rpc=%s",
		cpumask_print(&options->cores, cores), parity_selected(), path);
	wait_for_signal(signals);
	rpc_server_stop(server);
stop_reactors:
	daemon_shutdown(&daemon);
	reactor_group_stop(group);
stop_memory:
	memory_stop();
	return error;
}

/* Every queue of every guest holds three descriptors. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
	struct options options = {.run_dir = "/run/braid", .buffer_bytes = 32 << 20};
	struct fail fail = {0};
	sigset_t signals;
	int status;

	if (parse_options(argc, argv, &options, &status))
		return status;
	if (!cpumask_count(&options.cores))
		cpumask_add(&options.cores, 0);
	/* Blocked before any thread starts; main takes them with sigwait(). */
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	guest_memory_guard();
	raise_descriptor_limit();
	if (!run(&options, &signals, &fail))
		return 0;
	fprintf(stderr, "braidd: %s\n", fail.text);
	return 1;
}
