/* SPDX-License-Identifier: Apache-2.0 */
/* To be preloaded: a wall clock that is set forth and back by years every second, as a broken time
 * server does, or an operator. Monotonic clocks go on. */
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { YEARS_S = 10 * 365 * 86400 };

int clock_gettime(clockid_t clock, struct timespec *now)
{
	static const time_t steps_s[] = {0, YEARS_S, -YEARS_S, -3600};
	struct timespec monotonic;
	long error = syscall(SYS_clock_gettime, clock, now);

	if (error || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
		return (int)error;
	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &monotonic);
	now->tv_sec += steps_s[monotonic.tv_sec % 4];
	return 0;
}

time_t time(time_t *seconds)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (seconds)
		*seconds = now.tv_sec;
	return now.tv_sec;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
	struct timespec now;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	*time = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
	return 0;
}
