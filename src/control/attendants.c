/* SPDX-License-Identifier: Apache-2.0 */
#include "control/attendants.h"

#include <assert.h>
#include <string.h>
#include <time.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "control/assemble.h"
#include "control/drives.h"
#include "control/monitor.h"
#include "control/nvmes.h"

enum { TICK_MS = 500 };

static void look_after(struct daemon *daemon)
{
	nvmes_ask_health(daemon);
}

static void look_for_missed(struct daemon *daemon)
{
	if (!drives_retry(daemon, true))
		return;
	assemble(daemon);
	monitor_wake(daemon);
}

static void attend(struct daemon *daemon, void (*duty)(struct daemon *))
{
	LOCK_SCOPE(&daemon->lock);

	while (!daemon->stopping) {
		struct timespec until;

		duty(daemon);
		state_save(daemon);
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += TICK_MS * 1000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		while (!daemon->stopping &&
			!pthread_cond_timedwait(&daemon->ending, &daemon->lock, &until))
			;
	}
}

static void *health_main(void *daemon)
{
	attend(daemon, look_after);
	return NULL;
}

static void *missed_main(void *daemon)
{
	attend(daemon, look_for_missed);
	return NULL;
}

static void stop(struct daemon *daemon, unsigned count)
{
	{
		LOCK_SCOPE(&daemon->lock);
		daemon->stopping = true;
		pthread_cond_broadcast(&daemon->ending);
	}
	for (unsigned i = 0; i < count; i++)
		pthread_join(daemon->attendants[i], NULL);
}

int attendants_start(struct daemon *daemon, struct fail *fail)
{
	static void *(*const mains[])(void *) = {health_main, missed_main};

	static_assert(ARRAY_SIZE(mains) == ATTENDANTS, "each has its thread");
	for (unsigned i = 0; i < ATTENDANTS; i++) {
		int error = pthread_create(&daemon->attendants[i], NULL, mains[i], daemon);

		if (error) {
			stop(daemon, i);
			return fail_set(fail, error, "cannot start a thread: %s", strerror(error));
		}
	}
	return 0;
}

void attendants_stop(struct daemon *daemon)
{
	stop(daemon, ATTENDANTS);
}
