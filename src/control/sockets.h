/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets of controllers that are about to come back. A front end that has lost its daemon tries
 * again once a second or so; one that finds nobody listening has lost that second. So the sockets
 * that the state file names listen before the arrays start, and whoever connects waits until the
 * controller takes the socket over. Control lock held.
 */
#ifndef CONTROL_SOCKETS_H
#define CONTROL_SOCKETS_H

#include "control/daemon.h"

/* Listens for the controllers of the state file. What cannot be had now is not said: the controller
 * will say it. */
void sockets_open(struct daemon *daemon);
/* The descriptor that listens at the path, which is the caller's then; -1: none does. */
int sockets_take(struct daemon *daemon, const char *path);
/* Ends those that no controller has taken: their front ends are to try again. */
void sockets_close(struct daemon *daemon);

#endif
