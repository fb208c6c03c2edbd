/* SPDX-License-Identifier: Apache-2.0 */
#include "control/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crc32c.h"

enum { STATE_BYTES_MAX = 16 << 20, CHECK_BYTES = sizeof("crc32c 00000000\n") - 1 };

static const char current[] = "state.json", previous[] = "state.json.previous",
		  temporary[] = "state.json.tmp";

/* --- reading --------------------------------------------------------------------------------- */

/* 0 or -errno; *text has *bytes. */
static int read_whole(const char *path, char **text, size_t *bytes)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &status))
		return -errno;
	if (!S_ISREG(status.st_mode) || status.st_size > STATE_BYTES_MAX)
		return -EFBIG;
	*text = malloc((size_t)status.st_size + 1);
	if (!*text)
		return -ENOMEM;
	for (*bytes = 0; *bytes < (size_t)status.st_size;) {
		ssize_t got = read(fd, *text + *bytes, (size_t)status.st_size - *bytes);

		if (got <= 0)
			break;
		*bytes += (size_t)got;
	}
	(*text)[*bytes] = '\0';
	return 0;
}

/* What is wrong with it: NULL, or a few words. */
static const char *check(const char *text, size_t bytes)
{
	char line[CHECK_BYTES + 1];
	size_t body = bytes - CHECK_BYTES;

	if (bytes < CHECK_BYTES)
		return "it is cut short";
	snprintf(line, sizeof(line), "crc32c %08x\n", crc32c(0, text, body));
	if (memcmp(text + body, line, CHECK_BYTES))
		return "its checksum is wrong: it is damaged or cut short";
	return NULL;
}

/* NULL: there is none, or `why` says what is wrong. */
static json_t *read_one(const char *dir, const char *name, char *why)
{
	AUTO_FREE char *text = NULL;
	char path[PATH_MAX];
	size_t bytes = 0;
	json_t *json;
	const char *wrong;
	int error;

	why[0] = '\0';
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	error = read_whole(path, &text, &bytes);
	if (error == -ENOENT)
		return NULL;
	if (error) {
		snprintf(why, FAIL_TEXT_BYTES, "it cannot be read: %s", strerror(-error));
		return NULL;
	}
	wrong = check(text, bytes);
	json = wrong ? NULL : json_loadb(text, bytes - CHECK_BYTES, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(json) && json_integer_value(json_object_get(json, "version")) == 1)
		return json;
	json_decref(json);
	snprintf(why, FAIL_TEXT_BYTES, "%s",
		wrong ? wrong : "it was written by another version of braidd");
	return NULL;
}

json_t *state_file_read(const char *dir, bool *damaged, char *why)
{
	char older[FAIL_TEXT_BYTES];
	json_t *json = read_one(dir, current, why);

	*damaged = !json && why[0];
	if (json)
		return json;
	json = read_one(dir, previous, older);
	if (json && !why[0])
		snprintf(why, FAIL_TEXT_BYTES, "it is missing");
	if (!json && !why[0] && older[0])
		snprintf(why, FAIL_TEXT_BYTES, "it is missing, and of the one before: %.400s",
			older);
	return json;
}

/* --- writing --------------------------------------------------------------------------------- */

static int write_whole(int fd, const char *text, size_t bytes)
{
	while (bytes) {
		ssize_t count = write(fd, text, bytes);

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			return count ? -errno : -EIO;
		text += count;
		bytes -= (size_t)count;
	}
	return fsync(fd) ? -errno : 0;
}

static int write_temporary(int folder, const char *text, const char *line)
{
	AUTO_CLOSE int fd =
		openat(folder, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	AUTO_FREE char *both = NULL;

	if (fd < 0)
		return -errno;
	if (asprintf(&both, "%s\n%s", text, line) < 0) {
		both = NULL;
		return -ENOMEM;
	}
	return write_whole(fd, both, strlen(both));
}

int state_file_write(const char *dir, const json_t *json, bool keep, struct fail *fail)
{
	AUTO_CLOSE int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_FREE char *text = json_dumps(json, JSON_INDENT(1) | JSON_SORT_KEYS);
	char line[CHECK_BYTES + 1];
	int error = folder < 0 ? -errno : 0;

	if (!text)
		return fail_set(fail, ENOMEM, "no memory to write the state file");
	snprintf(line, sizeof(line), "crc32c %08x\n",
		crc32c(crc32c(0, text, strlen(text)), "\n", 1));
	if (!error)
		error = write_temporary(folder, text, line);
	/* A crash between the two leaves the previous one, which is then used. */
	if (!error && keep && renameat(folder, current, folder, previous) && errno != ENOENT)
		error = -errno;
	if (!error && renameat(folder, temporary, folder, current))
		error = -errno;
	if (!error && fsync(folder))
		error = -errno;
	if (!error)
		return 0;
	if (folder >= 0)
		unlinkat(folder, temporary, 0);
	return fail_set(
		fail, -error, "%s/%s cannot be written: %s", dir, current, strerror(-error));
}
