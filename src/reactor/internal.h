/* SPDX-License-Identifier: Apache-2.0 */
/* What the two ways of running a group (thread.c, sim.c) share: the state of a reactor. */
#ifndef REACTOR_INTERNAL_H
#define REACTOR_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "reactor/reactor.h"

struct reactor {
	/* Written by other threads. */
	_Alignas(64) _Atomic(struct message *) mailbox; /* newest first */
	/* Read by senders. */
	_Alignas(64) atomic_bool sleeping;
	int wake_fd, epoll_fd; /* -1 in simulation */

	/* The reactor's own. */
	_Alignas(64) struct list pollers;
	struct list_node *next_poller; /* survives removal of pollers during a turn */
	struct list timers;	       /* earliest first */
	uint64_t now_ns;
	struct reactor_group *group;
	unsigned index, core;
	struct reactor_usage usage;
	pthread_t thread;
	bool stop;
};

struct reactor_group {
	unsigned count;
	struct reactor *reactors[REACTORS_MAX];
	enum reactor_idle idle;
	/* How reactor_call() waits for the call to have run. */
	int (*call)(struct reactor *reactor, int (*function)(void *), void *argument);
	/* reactor_yield() */
	void (*yield)(struct reactor_group *group);
};

extern _Thread_local struct reactor *reactor_current;

void reactor_init(struct reactor *reactor, struct reactor_group *group, unsigned index);

/* The parts of one turn; each returns how much was done. */
unsigned reactor_run_mailbox(struct reactor *reactor);
unsigned reactor_run_timers(struct reactor *reactor);
unsigned reactor_run_pollers(struct reactor *reactor);

/* The earliest deadline, or UINT64_MAX. */
uint64_t reactor_next_deadline(const struct reactor *reactor);

#endif
