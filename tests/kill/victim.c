/* SPDX-License-Identifier: Apache-2.0 */
#include "victim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

uint64_t victim_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* In the child. */
static void become(const struct victim *victim, pid_t parent)
{
	char run[VICTIM_PATH_BYTES + 8], state[VICTIM_PATH_BYTES + 8], log[VICTIM_PATH_BYTES + 8];
	int fd;

	snprintf(run, sizeof(run), "%s/run", victim->dir);
	snprintf(state, sizeof(state), "%s/state", victim->dir);
	snprintf(log, sizeof(log), "%s/log", victim->dir);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (getppid() != parent || fd < 0 || dup2(fd, STDOUT_FILENO) < 0 ||
		dup2(fd, STDERR_FILENO) < 0)
		_exit(127);
	execl(victim->program, "braidd", "--run-dir", run, "--state-dir", state, "--cores",
		victim->cores, "--assemble-wait", "0", "--buffers", "16M", "--packed-rings", NULL);
	_exit(127);
}

int victim_start(struct victim *victim, struct fail *fail)
{
	char path[VICTIM_PATH_BYTES + 16];
	pid_t parent = getpid();

	snprintf(path, sizeof(path), "%s/run/rpc.sock", victim->dir);
	victim->pid = fork();
	if (victim->pid < 0) {
		victim->pid = 0;
		return fail_set(fail, errno, "cannot start braidd: %s", strerror(errno));
	}
	if (!victim->pid)
		become(victim, parent);
	return rpc_client_init(&victim->rpc, path, fail);
}

static void *assassinate(void *argument)
{
	const struct victim *victim = argument;

	usleep((useconds_t)victim->doom_us);
	kill(victim->pid, SIGKILL);
	return NULL;
}

void victim_doom(struct victim *victim, uint64_t us)
{
	victim->doom_us = us;
	victim->doomed = !pthread_create(&victim->assassin, NULL, assassinate, victim);
	if (!victim->doomed)
		kill(victim->pid, SIGKILL);
}

int victim_reap(struct victim *victim, int signal_number, struct fail *fail)
{
	int status;

	if (signal_number)
		kill(victim->pid, signal_number);
	/* Nobody else reaps it, so the number stays its own until then. */
	if (victim->doomed)
		pthread_join(victim->assassin, NULL);
	victim->doomed = false;
	while (waitpid(victim->pid, &status, 0) < 0 && errno == EINTR)
		;
	victim->pid = 0;
	rpc_client_close(&victim->rpc);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return 0;
	if (WIFEXITED(status) && !WEXITSTATUS(status) && signal_number == SIGTERM)
		return 0;
	return fail_set(fail, ECHILD, "braidd ended of itself, with %s %d; see its log",
		WIFSIGNALED(status) ? "signal" : "status",
		WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

bool victim_is_dead(const struct victim *victim)
{
	siginfo_t info = {0};

	return !waitid(P_PID, (id_t)victim->pid, &info, WEXITED | WNOHANG | WNOWAIT) && info.si_pid;
}

static unsigned count_descriptors(pid_t pid)
{
	char path[32];
	unsigned count = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

struct victim_usage victim_usage(const struct victim *victim)
{
	struct victim_usage usage = {.descriptors = count_descriptors(victim->pid)};
	char path[32], line[128];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", victim->pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, "RssAnon:", 8))
			usage.resident_kib = (unsigned)strtoul(line + 8, NULL, 10);
	if (file)
		fclose(file);
	return usage;
}

int victim_call(struct victim *victim, const char *method, json_t *params, json_t **result,
	struct fail *fail)
{
	json_t *answer = NULL;
	int error = rpc_client_call(&victim->rpc, method, params, &answer, fail);

	if (error == -ENOTCONN)
		rpc_client_close(&victim->rpc);
	if (error == -ENOTCONN && !victim_is_dead(victim)) {
		char path[VICTIM_PATH_BYTES + 16];

		snprintf(path, sizeof(path), "%s/run/rpc.sock", victim->dir);
		rpc_client_init(&victim->rpc, path, NULL);
	}
	if (result)
		*result = answer;
	else
		json_decref(answer);
	return error;
}

static bool is_locked(const char *path)
{
	enum { TRIES = 100, TRY_US = 10000 };
	int fd = open(path, O_RDWR | O_CLOEXEC), error = fd < 0;

	for (unsigned i = 0; fd >= 0 && i < TRIES; i++) {
		struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

		error = fcntl(fd, F_OFD_SETLK, &lock);
		if (!error)
			break;
		usleep(TRY_US);
	}
	if (fd >= 0)
		close(fd);
	return error;
}

static unsigned count_in(const struct victim *victim, const char *folder, bool locks)
{
	char path[VICTIM_PATH_BYTES + 16], name[VICTIM_PATH_BYTES + 300];
	const struct dirent *entry;
	unsigned count = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/%s", victim->dir, folder);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		struct stat status;

		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		if (stat(name, &status))
			continue;
		if (locks)
			count += S_ISREG(status.st_mode) && is_locked(name);
		else
			count += S_ISSOCK(status.st_mode);
	}
	if (dir)
		closedir(dir);
	return count;
}

unsigned victim_leftovers(const struct victim *victim)
{
	return count_in(victim, "run", false) + count_in(victim, "run/vhost", false) +
	       count_in(victim, "files", true);
}
