/* SPDX-License-Identifier: Apache-2.0 */
#include "host/tree.h"

#include <ctype.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A path that is too long is one that does not exist. */
__attribute__((format(printf, 2, 0))) static void compose(
	char *path, const char *format, va_list arguments)
{
	const char *root = getenv("BRAID_HOST_ROOT");
	int length = snprintf(path, HOST_PATH_BYTES, "%s", root ? root : "");

	if (length < HOST_PATH_BYTES)
		length += vsnprintf(
			path + length, (size_t)(HOST_PATH_BYTES - length), format, arguments);
	if (length >= HOST_PATH_BYTES)
		path[0] = '\0';
}

#define COMPOSE(path, format)                     \
	do {                                      \
		va_list arguments;                \
		va_start(arguments, format);      \
		compose(path, format, arguments); \
		va_end(arguments);                \
	} while (0)

char *host_path(char *path, const char *format, ...)
{
	COMPOSE(path, format);
	return path;
}

bool host_exists(const char *format, ...)
{
	char path[HOST_PATH_BYTES];

	COMPOSE(path, format);
	return !access(path, F_OK);
}

static void trim(char *text)
{
	size_t start = 0, end = strcspn(text, "\n");

	while (end && isspace((unsigned char)text[end - 1]))
		end--;
	text[end] = '\0';
	while (isspace((unsigned char)text[start]))
		start++;
	memmove(text, text + start, strlen(text + start) + 1);
}

bool host_read(char *text, size_t bytes, const char *format, ...)
{
	char path[HOST_PATH_BYTES];
	FILE *file;

	COMPOSE(path, format);
	text[0] = '\0';
	file = fopen(path, "re");
	if (!file)
		return false;
	if (!fgets(text, (int)bytes, file))
		text[0] = '\0';
	fclose(file);
	trim(text);
	return text[0];
}

long long host_number(long long absent, const char *format, ...)
{
	char path[HOST_PATH_BYTES];
	long long number;
	FILE *file;

	COMPOSE(path, format);
	file = fopen(path, "re");
	if (!file)
		return absent;
	if (fscanf(file, "%lld", &number) != 1)
		number = absent;
	fclose(file);
	return number;
}

bool host_link(char *name, size_t bytes, const char *format, ...)
{
	char path[HOST_PATH_BYTES], target[PATH_MAX];
	const char *slash;
	ssize_t length;

	COMPOSE(path, format);
	name[0] = '\0';
	length = readlink(path, target, sizeof(target) - 1);
	if (length <= 0)
		return false;
	target[length] = '\0';
	slash = strrchr(target, '/');
	snprintf(name, bytes, "%s", slash ? slash + 1 : target);
	return true;
}

FILE *host_file(const char *format, ...)
{
	char path[HOST_PATH_BYTES];

	COMPOSE(path, format);
	return fopen(path, "re");
}

DIR *host_folder(const char *format, ...)
{
	char path[HOST_PATH_BYTES];

	COMPOSE(path, format);
	return opendir(path);
}

const char *host_next(DIR *folder)
{
	const struct dirent *entry;

	while (folder && (entry = readdir(folder)))
		if (entry->d_name[0] != '.')
			return entry->d_name;
	if (folder)
		closedir(folder);
	return NULL;
}
