/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that wait for drives and targets, so that nobody else does: one asks those that are there
 * how they are, one tries those that are missed. They hold the control lock as little as an RPC
 * handler does.
 */
#ifndef CONTROL_ATTENDANTS_H
#define CONTROL_ATTENDANTS_H

#include "control/daemon.h"

/* After monitor_restore(). All or none. */
int attendants_start(struct daemon *daemon, struct fail *fail);
/* Waits until their drives have answered, or are late. */
void attendants_stop(struct daemon *daemon);

#endif
