/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The monitor: a thread that brings arrays back when the daemon starts, and afterwards looks at all
 * of them every second: starts what is due (level-triggered: nothing can be forgotten), puts spares
 * into failed slots, tries drives that are not there, says what has changed.
 */
#ifndef CONTROL_MONITOR_H
#define CONTROL_MONITOR_H

#include "control/daemon.h"

/* Brings back what was: drives, arrays, volumes, controllers. Control lock held. */
void monitor_restore(struct daemon *daemon);
int monitor_start(struct daemon *daemon, struct fail *fail);
void monitor_stop(struct daemon *daemon);
/* Something has changed: it looks now. Control lock held. */
void monitor_wake(struct daemon *daemon);

#endif
