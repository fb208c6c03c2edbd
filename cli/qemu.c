/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bits.h"

extern char **environ;

/* What "PROGRAM --version" says, at most bytes - 1 of it; -1: it does not run. */
static int ask_version(const char *program, char *text, size_t bytes)
{
	char *const arguments[] = {(char *)program, "--version", NULL};
	posix_spawn_file_actions_t actions;
	size_t used = 0;
	ssize_t count;
	int ends[2], status = -1, error;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		return -1;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	error = posix_spawnp(&pid, program, &actions, NULL, arguments, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	while (!error && (count = read(ends[0], text + used, bytes - 1 - used)) > 0)
		used += (size_t)count;
	close(ends[0]);
	text[used] = '\0';
	if (error || waitpid(pid, &status, 0) != pid)
		return -1;
	return used ? 0 : -1;
}

static bool ask(struct qemu_version *version, const char *program)
{
	char text[256];
	const char *number;

	if (ask_version(program, text, sizeof(text)))
		return false;
	number = strstr(text, "version ");
	if (!number || sscanf(number, "version %u.%u", &version->major, &version->minor) != 2)
		return false;
	version->known = true;
	snprintf(version->origin, sizeof(version->origin), "%.120s --version says so", program);
	return true;
}

int qemu_version_find(
	struct qemu_version *version, const char *path, const char *said, struct fail *fail)
{
	static const char *const programs[] = {
		"qemu-system-x86_64", "kvm", "/usr/bin/kvm", "/usr/libexec/qemu-kvm"};

	*version = (struct qemu_version){0};
	if (said) {
		if (sscanf(said, "%u.%u", &version->major, &version->minor) != 2)
			return fail_set(fail, EINVAL,
				"--qemu-version: '%.40s' is no version: write 9.2", said);
		version->known = true;
		snprintf(version->origin, sizeof(version->origin), "as --qemu-version says");
		return 0;
	}
	if (path)
		return ask(version, path) ? 0
					  : fail_set(fail, EINVAL,
						    "--qemu: '%.200s' is no QEMU that runs", path);
	for (unsigned i = 0; i < ARRAY_SIZE(programs); i++)
		if (ask(version, programs[i]))
			return 0;
	return 0;
}

bool qemu_has_reconnect_ms(const struct qemu_version *version)
{
	return version->major > 9 || (version->major == 9 && version->minor >= 2);
}
