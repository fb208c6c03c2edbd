/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that may go away under us (a guest's file cut short, a drive pulled out) raises SIGBUS.
 * Whoever owns such memory says here how to put something in its place; the access is then
 * repeated. An address that nobody owns ends the process, as ever.
 */
#ifndef BASE_SIGBUS_H
#define BASE_SIGBUS_H

#include <stdbool.h>

enum { SIGBUS_OWNERS_MAX = 4 };

/* Async-signal-safe; true: the address is ours, and something is there now. */
typedef bool sigbus_repair(const char *address);

/* Installs the handler, and asks `repair` too from now on; the same one twice does no harm. */
void sigbus_own(sigbus_repair *repair);

#endif
