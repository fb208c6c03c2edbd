/* SPDX-License-Identifier: Apache-2.0 */
/* braidd: starts the rooms bottom to top, waits for a signal, stops them top to bottom. */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/mutant.h"
#include "base/units.h"
#include "control/attendants.h"
#include "control/daemon.h"
#include "control/monitor.h"
#include "control/rpc.h"
#include "control/sockets.h"
#include "drivers/drivers.h"
#include "memory/memory.h"
#include "parity/parity.h"
#include "reactor/reactor.h"
#include "vhost/config.h"
#include "virtio/guest_memory.h"

struct options {
	struct cpumask cores;
	enum reactor_idle idle;
	uint64_t buffer_bytes; /* per core */
	const char *parity;
	struct daemon_options daemon;
};

static const char usage[] =
	"braidd: user-space RAID for virtual machines\n"
	"\n"
	"  --cores LIST       cores to run on, 8-11,14 or 0x3 (default: core 0)\n"
	"  --poll MODE        adaptive: sleep when idle (default); always: never sleep\n"
	"  --buffers SIZE     I/O buffers per core (default: 32M)\n"
	"  --run-dir DIR      where the sockets are (default: /run/braid)\n"
	"  --state-dir DIR    where drives are remembered (default: /var/lib/braid)\n"
	"  --assemble-wait S  wait S seconds for missing drives, then start degraded (default: "
	"10)\n"
	"  --no-auto-rebuild  leave spares alone when a drive fails\n"
	"  --packed-rings     offer guests packed virtqueues as well (default: split ones only)\n"
	"  --parity KERNEL    insist on a parity kernel (default: the fastest)\n"
	"  --verbose          log more\n"
	"  --version, --help\n";

enum { EXIT_USAGE = 2, BUFFER_BYTES_MIN = 16 << 20 };

static void parse_wait(const char *text, double *seconds, struct fail *fail)
{
	char *end;

	*seconds = strtod(text, &end);
	if (end == text || *end || !(*seconds >= 0 && *seconds <= 86400))
		fail_set(fail, EINVAL, "--assemble-wait: '%s' is no number of seconds", text);
}

static void parse_buffers(const char *text, uint64_t *bytes, struct fail *fail)
{
	if (!units_parse(bytes, text, 1, fail) && *bytes < BUFFER_BYTES_MIN)
		fail_set(fail, EINVAL, "--buffers needs at least 16M");
}

static void parse_poll(const char *text, enum reactor_idle *idle, struct fail *fail)
{
	*idle = strcmp(text, "always") ? REACTOR_IDLE_ADAPTIVE : REACTOR_IDLE_SPIN;
	if (strcmp(text, "always") && strcmp(text, "adaptive"))
		fail_set(fail, EINVAL, "--poll is adaptive or always, not '%s'", text);
}

/* An option that sets something; anything else is false. */
static bool take_option(int option, struct options *options, struct fail *fail)
{
	switch (option) {
	case 'c':
		cpumask_parse(&options->cores, optarg, fail);
		return true;
	case 'p':
		parse_poll(optarg, &options->idle, fail);
		return true;
	case 'b':
		parse_buffers(optarg, &options->buffer_bytes, fail);
		return true;
	case 'r':
		options->daemon.run_dir = optarg;
		return true;
	case 's':
		options->daemon.state_dir = optarg;
		return true;
	case 'w':
		parse_wait(optarg, &options->daemon.assemble_wait_s, fail);
		return true;
	case 'n':
		options->daemon.auto_rebuild = false;
		return true;
	case 'q':
		config_offer_packed();
		return true;
	case 'k':
		options->parity = optarg;
		return true;
	case 'v':
		log_threshold(LOG_LEVEL_DEBUG);
		return true;
	}
	return false;
}

/* 0 to go on; otherwise exit with *status. */
static int parse_options(int argc, char **argv, struct options *options, int *status)
{
	static const struct option long_options[] = {
		{"cores", required_argument, NULL, 'c'},
		{"poll", required_argument, NULL, 'p'},
		{"buffers", required_argument, NULL, 'b'},
		{"run-dir", required_argument, NULL, 'r'},
		{"state-dir", required_argument, NULL, 's'},
		{"assemble-wait", required_argument, NULL, 'w'},
		{"no-auto-rebuild", no_argument, NULL, 'n'},
		{"packed-rings", no_argument, NULL, 'q'},
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
		if (take_option(option, options, &fail))
			continue;
		if (option == 'V')
			puts("braidd " BRAID_VERSION);
		else if (option == 'h')
			fputs(usage, stdout);
		else
			*status = EXIT_USAGE;
		return 1;
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

/* What was is there before the first request is answered; only drives that are missing are waited
 * for meanwhile. */
static int serve(struct daemon *daemon, const struct options *options, const sigset_t *signals,
	struct fail *fail)
{
	char path[96], cores[CPUMASK_TEXT_BYTES];
	struct rpc_server *server;
	int error;

	snprintf(path, sizeof(path), "%s/rpc.sock", options->daemon.run_dir);
	pthread_mutex_lock(&daemon->lock);
	error = rpc_server_start(&server, daemon, path, fail);
	if (!error) {
		sockets_open(daemon);
		monitor_restore(daemon);
		sockets_close(daemon);
	}
	daemon->alone = false;
	pthread_mutex_unlock(&daemon->lock);
	if (error)
		return error;
	error = monitor_start(daemon, fail);
	if (error)
		goto stop_server;
	error = attendants_start(daemon, fail);
	if (error)
		goto stop_monitor;
	log_info("event=Start version=" BRAID_VERSION " cores=%s parity=%s rpc=%s state=%s",
		cpumask_print(&options->cores, cores), parity_selected(), path,
		options->daemon.state_dir);
	wait_for_signal(signals);
	attendants_stop(daemon);
stop_monitor:
	monitor_stop(daemon);
stop_server:
	rpc_server_stop(server);
	return error;
}

/* A host made of files, for tests: host/tree.h. */
static void take_host_root(void)
{
	const char *root = getenv("BRAID_HOST_ROOT");
	char sys[128], dev[128];

	if (!root)
		return;
	snprintf(sys, sizeof(sys), "%s/sys", root);
	snprintf(dev, sizeof(dev), "%s/dev", root);
	vfio_roots(sys, dev);
}

static int run(const struct options *options, const sigset_t *signals, struct fail *fail)
{
	struct reactor_group *group;
	struct daemon daemon;
	int error = select_parity(options->parity, fail);

	if (error)
		return error;
	error = make_directories(options->daemon.run_dir, fail);
	if (error)
		return error;
	error = memory_start(cpumask_count(&options->cores), options->buffer_bytes, fail);
	if (error)
		return error;
	error = reactor_group_start(&group, &options->cores, options->idle, fail);
	if (error)
		goto stop_memory;
	daemon_init(&daemon, group, &options->daemon);
	error = state_load(&daemon, options->daemon.state_dir, fail);
	if (!error)
		error = serve(&daemon, options, signals, fail);
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
	struct options options = {
		.buffer_bytes = 32 << 20,
		.daemon = {.run_dir = "/run/braid",
			.state_dir = "/var/lib/braid",
			.assemble_wait_s = 10,
			.auto_rebuild = true},
	};
	struct fail fail = {0};
	sigset_t signals;
	int status;

	if (parse_options(argc, argv, &options, &status))
		return status;
	if (!mutant_take_environment()) {
		fprintf(stderr, "braidd: BRAID_MUTANT names no fault\n");
		return EXIT_USAGE;
	}
	take_host_root();
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
