/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static enum log_level threshold = LOG_LEVEL_INFO;

void log_threshold(enum log_level level)
{
	threshold = level;
}

void log_line(enum log_level level, const char *format, ...)
{
	char line[1024];
	va_list arguments;
	int used;

	if (level > threshold)
		return;
	/* A person at a terminal needs no priority digits. */
	used = isatty(STDERR_FILENO) ? 0 : snprintf(line, sizeof(line), "<%d>", (int)level);
	va_start(arguments, format);
	used += vsnprintf(line + used, sizeof(line) - used, format, arguments);
	va_end(arguments);
	if (used > (int)sizeof(line) - 2)
		used = (int)sizeof(line) - 2;
	line[used++] = '\n';
	/* One write per line keeps lines of several threads apart. */
	if (write(STDERR_FILENO, line, (size_t)used) < 0)
		return;
}

int log_allowed(struct log_limit *limit, unsigned burst)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if ((uint64_t)now.tv_sec != limit->second) {
		limit->second = (uint64_t)now.tv_sec;
		limit->spoken = 0;
	}
	return limit->spoken < burst && ++limit->spoken;
}
