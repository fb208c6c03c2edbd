/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a reactor and the parts of one turn; who runs the turns is thread.c or sim.c. */
#include "reactor/reactor.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/counter.h"
#include "reactor/internal.h"

_Thread_local struct reactor *reactor_current;

void reactor_init(struct reactor *reactor, struct reactor_group *group, unsigned index)
{
	*reactor = (struct reactor){
		.group = group, .index = index, .core = index, .wake_fd = -1, .epoll_fd = -1};
	list_init(&reactor->pollers);
	list_init(&reactor->timers);
}

struct reactor *reactor_self(void)
{
	return reactor_current;
}

unsigned reactor_count(const struct reactor_group *group)
{
	return group->count;
}

struct reactor *reactor_at(const struct reactor_group *group, unsigned index)
{
	assert(index < group->count);
	return group->reactors[index];
}

struct reactor *reactor_on_core(const struct reactor_group *group, unsigned core)
{
	for (unsigned i = 0; i < group->count; i++)
		if (group->reactors[i]->core == core)
			return group->reactors[i];
	return NULL;
}

unsigned reactor_index(const struct reactor *reactor)
{
	return reactor->index;
}

unsigned reactor_core(const struct reactor *reactor)
{
	return reactor->core;
}

struct reactor_group *reactor_group_of(const struct reactor *reactor)
{
	return reactor->group;
}

uint64_t reactor_now_ns(const struct reactor *reactor)
{
	return reactor->now_ns;
}

void poller_add(struct reactor *reactor, struct poller *poller)
{
	assert(reactor_current == reactor && poller->poll);
	list_push_back(&reactor->pollers, &poller->link);
}

void poller_remove(struct poller *poller)
{
	struct reactor *reactor = reactor_current;

	assert(reactor);
	if (reactor->next_poller == &poller->link)
		reactor->next_poller = poller->link.next;
	list_remove(&poller->link);
}

unsigned reactor_run_pollers(struct reactor *reactor)
{
	unsigned work = 0;

	reactor->next_poller = reactor->pollers.head.next;
	while (reactor->next_poller != &reactor->pollers.head) {
		struct poller *poller = container_of(reactor->next_poller, struct poller, link);

		reactor->next_poller = poller->link.next;
		work += poller->poll(poller);
	}
	reactor->next_poller = NULL;
	return work;
}

void timer_init(struct timer *timer, void (*fire)(struct timer *timer))
{
	timer->fire = fire;
	list_node_init(&timer->link);
}

/* Sorted insertion from the back: most timers are the latest when they are started. */
void timer_start(struct reactor *reactor, struct timer *timer, uint64_t deadline_ns)
{
	struct list_node *after;

	assert(reactor_current == reactor);
	list_remove(&timer->link);
	timer->deadline_ns = deadline_ns;
	for (after = reactor->timers.head.prev; after != &reactor->timers.head; after = after->prev)
		if (container_of(after, struct timer, link)->deadline_ns <= deadline_ns)
			break;
	list_insert_before(after->next, &timer->link);
}

void timer_stop(struct timer *timer)
{
	list_remove(&timer->link);
}

uint64_t reactor_next_deadline(const struct reactor *reactor)
{
	const struct list_node *first = list_first(&reactor->timers);

	return first ? container_of(first, struct timer, link)->deadline_ns : UINT64_MAX;
}

unsigned reactor_run_timers(struct reactor *reactor)
{
	unsigned work = 0;

	while (reactor_next_deadline(reactor) <= reactor->now_ns) {
		struct list_node *node = list_pop_front(&reactor->timers);
		struct timer *timer = container_of(node, struct timer, link);

		timer->fire(timer);
		work++;
	}
	return work;
}

void reactor_send(struct reactor *reactor, struct message *message)
{
	struct message *newest = atomic_load_explicit(&reactor->mailbox, memory_order_relaxed);

	do
		message->next = newest;
	while (!atomic_compare_exchange_weak(&reactor->mailbox, &newest, message));
	/* Sequentially consistent against the store of sleeping and the last look at the mailbox in
	 * thread.c: either that look sees this message, or this load sees the sleeper. */
	if (atomic_load(&reactor->sleeping) && reactor->wake_fd >= 0) {
		uint64_t one = 1;
		ssize_t written = write(reactor->wake_fd, &one, sizeof(one));

		assert(written == sizeof(one));
		(void)written;
	}
}

unsigned reactor_run_mailbox(struct reactor *reactor)
{
	struct message *message, *oldest = NULL;
	unsigned work = 0;

	if (!atomic_load_explicit(&reactor->mailbox, memory_order_relaxed))
		return 0;
	message = atomic_exchange(&reactor->mailbox, NULL);
	while (message) {
		struct message *next = message->next;

		message->next = oldest;
		oldest = message;
		message = next;
	}
	while (oldest) {
		struct message *next = oldest->next;

		oldest->run(oldest);
		oldest = next;
		work++;
	}
	return work;
}

int reactor_call(struct reactor *reactor, int (*function)(void *argument), void *argument)
{
	if (reactor_current == reactor)
		return function(argument);
	assert(!reactor_current);
	return reactor->group->call(reactor, function, argument);
}

int reactor_call_all(struct reactor_group *group, int (*function)(void *argument), void *argument)
{
	int result = 0;

	for (unsigned i = 0; i < group->count && !result; i++)
		result = reactor_call(group->reactors[i], function, argument);
	return result;
}

void reactor_yield(struct reactor_group *group)
{
	assert(!reactor_current);
	group->yield(group);
}

int reactor_watch(struct reactor *reactor, int fd)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = fd};

	if (reactor->epoll_fd < 0)
		return 0;
	return epoll_ctl(reactor->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

void reactor_unwatch(struct reactor *reactor, int fd)
{
	if (reactor->epoll_fd >= 0)
		epoll_ctl(reactor->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

void reactor_usage(const struct reactor *reactor, struct reactor_usage *usage)
{
	*usage = (struct reactor_usage){
		.busy_ns = counter_read(&reactor->usage.busy_ns),
		.idle_ns = counter_read(&reactor->usage.idle_ns),
		.sleep_ns = counter_read(&reactor->usage.sleep_ns),
		.sleeps = counter_read(&reactor->usage.sleeps),
	};
}
