/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reactors on pinned threads.
 *
 *	        work                     nothing for SPIN_NS
 *	busy <--------> spinning ------------------------------> arm, look again, sleep
 *	                   ^                                              |
 *	                   +---------- eventfd, watched fd, timer <-------+
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/counter.h"
#include "reactor/internal.h"

enum {
	SPIN_NS = 50 * 1000,	/* longer than a memory or NVMe drive takes to answer */
	CLOCK_EVERY_TURNS = 32, /* busy turns between two looks at the clock */
	SLEEP_MAX_MS = 1000,
};

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* Asks every poller for a wake-up. True: all agree to sleep. */
static bool arm_all(struct reactor *reactor)
{
	struct list_node *node;
	bool agreed = true;

	list_for_each (node, &reactor->pollers) {
		struct poller *poller = container_of(node, struct poller, link);

		if (poller->arm && !poller->arm(poller))
			agreed = false;
	}
	return agreed;
}

static void disarm_all(struct reactor *reactor)
{
	struct list_node *node;

	list_for_each (node, &reactor->pollers) {
		struct poller *poller = container_of(node, struct poller, link);

		if (poller->disarm)
			poller->disarm(poller);
	}
}

static void sleep_until_event(struct reactor *reactor)
{
	struct epoll_event events[16];
	uint64_t deadline = reactor_next_deadline(reactor), counter;
	int timeout_ms = SLEEP_MAX_MS;

	if (deadline != UINT64_MAX) {
		uint64_t wait_ns = deadline > reactor->now_ns ? deadline - reactor->now_ns : 0;

		timeout_ms = (int)MIN(divide_up(wait_ns, 1000000), (uint64_t)SLEEP_MAX_MS);
	}
	atomic_store(&reactor->sleeping, true);
	/* Pairs with reactor_send(): a message posted before it could see `sleeping` is seen
	 * here. */
	if (arm_all(reactor) && !atomic_load(&reactor->mailbox) && timeout_ms) {
		epoll_wait(reactor->epoll_fd, events, ARRAY_SIZE(events), timeout_ms);
		counter_add(&reactor->usage.sleeps, 1);
	}
	atomic_store(&reactor->sleeping, false);
	disarm_all(reactor);
	if (read(reactor->wake_fd, &counter, sizeof(counter)) < 0)
		assert(errno == EAGAIN || errno == EINTR);
}

static void *reactor_main(void *argument)
{
	struct reactor *reactor = argument;
	uint64_t idle_since = 0;
	unsigned turns = 0;

	reactor_current = reactor;
	reactor->now_ns = clock_ns();
	while (!reactor->stop) {
		unsigned work = reactor_run_mailbox(reactor) + reactor_run_timers(reactor) +
				reactor_run_pollers(reactor);
		uint64_t before = reactor->now_ns, slept;

		if (work && !idle_since && ++turns % CLOCK_EVERY_TURNS)
			continue;
		reactor->now_ns = clock_ns();
		if (work) {
			/* The stretch that just ended was idle if it began so. */
			counter_add(idle_since ? &reactor->usage.idle_ns : &reactor->usage.busy_ns,
				reactor->now_ns - before);
			idle_since = 0;
			continue;
		}
		if (!idle_since) {
			counter_add(&reactor->usage.busy_ns, reactor->now_ns - before);
			idle_since = reactor->now_ns;
			continue;
		}
		counter_add(&reactor->usage.idle_ns, reactor->now_ns - before);
		cpu_relax();
		if (reactor->group->idle == REACTOR_IDLE_SPIN ||
			reactor->now_ns - idle_since < SPIN_NS)
			continue;
		slept = reactor->now_ns;
		sleep_until_event(reactor);
		reactor->now_ns = idle_since = clock_ns();
		counter_add(&reactor->usage.sleep_ns, reactor->now_ns - slept);
	}
	return NULL;
}

struct thread_call {
	struct message message;
	int (*function)(void *);
	void *argument;
	int result;
	sem_t finished;
};

static void run_call(struct message *message)
{
	struct thread_call *call = container_of(message, struct thread_call, message);

	call->result = call->function(call->argument);
	sem_post(&call->finished);
}

static int call_and_wait(struct reactor *reactor, int (*function)(void *), void *argument)
{
	struct thread_call call = {
		.message.run = run_call, .function = function, .argument = argument};

	sem_init(&call.finished, 0, 0);
	reactor_send(reactor, &call.message);
	while (sem_wait(&call.finished))
		assert(errno == EINTR);
	sem_destroy(&call.finished);
	return call.result;
}

enum { YIELD_US = 30 };

static void sleep_shortly(struct reactor_group *group)
{
	(void)group;
	usleep(YIELD_US);
}

static int stop_reactor(void *argument)
{
	struct reactor *reactor = argument;

	assert(list_empty(&reactor->pollers));
	reactor->stop = true;
	return 0;
}

static void reactor_close(struct reactor *reactor)
{
	if (reactor->epoll_fd >= 0)
		close(reactor->epoll_fd);
	if (reactor->wake_fd >= 0)
		close(reactor->wake_fd);
	free(reactor);
}

static int start_thread(struct reactor *reactor, struct fail *fail)
{
	pthread_attr_t attributes;
	cpu_set_t set;
	char name[16];
	int error;

	CPU_ZERO(&set);
	CPU_SET(reactor->core, &set);
	pthread_attr_init(&attributes);
	pthread_attr_setaffinity_np(&attributes, sizeof(set), &set);
	error = pthread_create(&reactor->thread, &attributes, reactor_main, reactor);
	pthread_attr_destroy(&attributes);
	if (error)
		return fail_set(fail, error,
			"cannot run a reactor on core %u: %s; choose cores that this machine has "
			"and "
			"that this process may use",
			reactor->core, strerror(error));
	snprintf(name, sizeof(name), "reactor-%u", reactor->core);
	pthread_setname_np(reactor->thread, name);
	return 0;
}

static int reactor_create(struct reactor_group *group, unsigned core, struct fail *fail)
{
	struct reactor *reactor = aligned_alloc(64, align_up(sizeof(*reactor), 64));
	int error;

	if (!reactor)
		return fail_set(fail, ENOMEM, "no memory for a reactor");
	reactor_init(reactor, group, group->count);
	reactor->core = core;
	reactor->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	reactor->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (reactor->wake_fd < 0 || reactor->epoll_fd < 0 ||
		reactor_watch(reactor, reactor->wake_fd)) {
		error = fail_set(fail, errno, "cannot set up a reactor: %s", strerror(errno));
		goto close;
	}
	error = start_thread(reactor, fail);
	if (error)
		goto close;
	group->reactors[group->count++] = reactor;
	return 0;
close:
	reactor_close(reactor);
	return error;
}

int reactor_group_start(struct reactor_group **group, const struct cpumask *cores,
	enum reactor_idle idle, struct fail *fail)
{
	int error;

	if (cpumask_count(cores) > REACTORS_MAX)
		return fail_set(fail, EINVAL, "at most %d cores can be used", REACTORS_MAX);
	*group = calloc(1, sizeof(**group));
	if (!*group)
		return fail_set(fail, ENOMEM, "no memory for the reactors");
	(*group)->idle = idle;
	(*group)->call = call_and_wait;
	(*group)->yield = sleep_shortly;
	for (unsigned core = cpumask_next(cores, 0); core < CPUMASK_CORES;
		core = cpumask_next(cores, core + 1)) {
		error = reactor_create(*group, core, fail);
		if (error) {
			reactor_group_stop(*group);
			return error;
		}
	}
	return 0;
}

void reactor_group_stop(struct reactor_group *group)
{
	for (unsigned i = 0; i < group->count; i++) {
		reactor_call(group->reactors[i], stop_reactor, group->reactors[i]);
		pthread_join(group->reactors[i]->thread, NULL);
	}
	for (unsigned i = 0; i < group->count; i++)
		reactor_close(group->reactors[i]);
	free(group);
}
