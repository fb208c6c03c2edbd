/* SPDX-License-Identifier: Apache-2.0 */
/* One array from its making to its end, with a daemon that is killed again and again. */
#ifndef TESTS_KILL_LIFE_H
#define TESTS_KILL_LIFE_H

#include <stdint.h>

#include "base/fail.h"

struct figures {
	uint64_t cycles, kills_starting, kills_copying, kills_idle;
	uint64_t refused, lost_at_kill, guest_deaths, lives;
	uint64_t completed, checked, resubmitted, wrong, leaks, mismatches, failed_lives;
	uint64_t restart_us, restart_us_max, restarts; /* from exec to the first session */
};

struct life_options {
	const char *program; /* braidd */
	const char *dir;     /* empty; the caller removes it */
	uint64_t seed;	     /* of this life */
	unsigned cycles;
	unsigned cpus;
	const char *consistency; /* NULL: any */
};

/* 0, or -errno with a sentence. figures are added to. */
int life_run(const struct life_options *options, struct figures *figures, struct fail *fail);

#endif
