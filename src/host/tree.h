/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host as it shows itself in /sys, /proc, /dev and /lib: small texts, links, folders. All is
 * looked up below $BRAID_HOST_ROOT when that is set, so that tests bring a host of their own.
 * Control threads; nothing is kept open.
 */
#ifndef HOST_TREE_H
#define HOST_TREE_H

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>

enum { HOST_PATH_BYTES = 1024, HOST_NAME_BYTES = 64, HOST_LINE_BYTES = 256 };

/* The path below the root into `path`, of HOST_PATH_BYTES. Returns path. */
char *host_path(char *path, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool host_exists(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The first line without blanks at its ends; "" and false when there is none. */
bool host_read(char *text, size_t bytes, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The number that the file begins with. */
long long host_number(long long absent, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The last component of what a link points to; "" and false when it is none. */
bool host_link(char *name, size_t bytes, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* NULL when it cannot be opened. */
FILE *host_file(const char *format, ...) __attribute__((format(printf, 1, 2)));
DIR *host_folder(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The next name that does not begin with a dot; NULL: no more, and the folder is closed. A NULL
 * folder has none. */
const char *host_next(DIR *folder);

#endif
