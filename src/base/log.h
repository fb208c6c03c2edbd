/* SPDX-License-Identifier: Apache-2.0 */
/* One line per event on standard error, with the "<N>" priority prefix that journald reads when
 * standard error is its stream. Any thread; never from the I/O path of a healthy array. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdint.h>

enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7
};

/* Lines above this level are dropped. The default is LOG_LEVEL_INFO. */
void log_threshold(enum log_level level);

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* A bound on how often one place may speak, so that a guest cannot flood the log: true at most
 * `burst` times in each second. One struct per place or per session; one thread. */
struct log_limit {
	uint64_t second;
	unsigned spoken;
};
int log_allowed(struct log_limit *limit, unsigned burst);

#endif
