/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reactors: one thread per core that polls and never blocks while there is work.
 *
 *	       mailbox (any thread) --+
 *	       timers ----------------+--> reactor_turn() --> ran something? again
 *	       pollers ---------------+                       nothing for a while: sleep
 *
 * Everything that an I/O touches belongs to one reactor and is changed only on its thread; others
 * send messages. Control threads use reactor_call(), which waits for the answer.
 *
 * A group of reactors runs either on threads (reactor_group_start) or, for simulation, all in the
 * calling thread over a virtual clock (reactor/sim.h): the code above cannot tell the difference.
 */
#ifndef REACTOR_REACTOR_H
#define REACTOR_REACTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cpumask.h"
#include "base/fail.h"
#include "base/list.h"

struct reactor;
struct reactor_group;

enum { REACTORS_MAX = 64 };

/* Something to look at in every turn. Embedded by its owner; belongs to one reactor. */
struct poller {
	/* Returns how much was done; 0: nothing to do now. */
	unsigned (*poll)(struct poller *poller);
	/* Before the reactor sleeps: arrange that a watched descriptor or a message wakes it.
	 * False: work has arrived meanwhile, do not sleep. NULL: work only ever comes through
	 * others. */
	bool (*arm)(struct poller *poller);
	/* After the sleep, or after another poller's arm() said false. NULL: nothing to undo. */
	void (*disarm)(struct poller *poller);
	struct list_node link;
};

struct timer {
	uint64_t deadline_ns;
	void (*fire)(struct timer *timer);
	struct list_node link;
};

/* Embedded by its owner, who leaves it alone from reactor_send() until run() is called. */
struct message {
	void (*run)(struct message *message);
	struct message *next;
};

enum reactor_idle {
	REACTOR_IDLE_ADAPTIVE, /* spin for a short while, then sleep */
	REACTOR_IDLE_SPIN,     /* never sleep */
};

struct reactor_usage {
	uint64_t busy_ns, idle_ns, sleep_ns, sleeps;
};

/* Starts one pinned thread per core of the set. Fails when a core is not there or not allowed. */
int reactor_group_start(struct reactor_group **group, const struct cpumask *cores,
	enum reactor_idle idle, struct fail *fail);
/* Every poller has been removed. */
void reactor_group_stop(struct reactor_group *group);

unsigned reactor_count(const struct reactor_group *group);
struct reactor *reactor_at(const struct reactor_group *group, unsigned index);
/* The reactor pinned to that core, or NULL. */
struct reactor *reactor_on_core(const struct reactor_group *group, unsigned core);

/* The reactor that runs the calling thread; NULL on a control thread. */
struct reactor *reactor_self(void);
unsigned reactor_index(const struct reactor *reactor);
unsigned reactor_core(const struct reactor *reactor);
struct reactor_group *reactor_group_of(const struct reactor *reactor);
/* Monotonic time as of the current turn. On the reactor. */
uint64_t reactor_now_ns(const struct reactor *reactor);

/* On the reactor. */
void poller_add(struct reactor *reactor, struct poller *poller);
void poller_remove(struct poller *poller);
/* Pending timers are removed with timer_stop(), which may be called in any state but before the
 * first timer_init(). */
void timer_init(struct timer *timer, void (*fire)(struct timer *timer));
void timer_start(struct reactor *reactor, struct timer *timer, uint64_t deadline_ns);
void timer_stop(struct timer *timer);
/* An edge (a write to an eventfd, a socket becoming readable) on fd ends the reactor's sleep. */
int reactor_watch(struct reactor *reactor, int fd);
void reactor_unwatch(struct reactor *reactor, int fd);

/* From any thread. Messages from one thread arrive in order. */
void reactor_send(struct reactor *reactor, struct message *message);
/* Runs function(argument) on the reactor and returns what it returned. Waits; never from another
 * reactor. */
int reactor_call(struct reactor *reactor, int (*function)(void *argument), void *argument);
/* The same on every reactor of the group in turn; stops at the first non-zero result. */
int reactor_call_all(struct reactor_group *group, int (*function)(void *argument), void *argument);

/* For a control thread that waits for something which a reactor does: lets some time pass. In
 * simulation that is what moves the reactors on. */
void reactor_yield(struct reactor_group *group);

/* Copies the usage counters. From any thread; a slightly old answer is possible. */
void reactor_usage(const struct reactor *reactor, struct reactor_usage *usage);

#endif
