/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator and a daemon do to an array that runs. Each waits; clients go on meanwhile. */
#ifndef TESTS_SIM_OPERATE_H
#define TESTS_SIM_OPERATE_H

#include "world.h"

enum operation {
	OPERATION_FAIL,
	OPERATION_KILL, /* the drive dies; nobody says so */
	OPERATION_REMOVE,
	OPERATION_SPARE, /* a new drive takes a failed slot, and is rebuilt */
	OPERATION_READD,
	OPERATION_REPLACE,
	OPERATION_SCRUB,
	OPERATION_REPAIR,
	OPERATION_DUE, /* whatever sweeps are due */
	OPERATION_RESTART,
	OPERATION_OWNERS,
	OPERATION_NOTES,
	OPERATIONS,
};

/* False: there was nothing to do it to. disturbed: drives may die, sweeps be cancelled. */
bool operate(struct world *world, enum operation operation, bool disturbed);
/* The next sweep is cancelled after so many commands of drives. */
void operate_cancel_after(unsigned commands);
/* One that the level and the state of the world allow. */
void operate_at_random(struct world *world);

#endif
