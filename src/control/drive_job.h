/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an NVMe drive does by itself for minutes or hours, and goes on with whatever becomes of this
 * process: sanitize and self-test. A job looks how far it has got; a daemon that finds a drive at
 * it makes the job anew. Control lock held.
 */
#ifndef CONTROL_DRIVE_JOB_H
#define CONTROL_DRIVE_JOB_H

#include "control/daemon.h"

/* What the drive that was just opened is at, is a job again. */
void drive_job_resume(struct daemon *daemon, struct drive *drive);
/* Ends the self-test of the drive of that name; the job ends when it sees that. Lets go of the
 * lock. */
int drive_self_test_end(struct daemon *daemon, const char *name, struct fail *fail);

#endif
