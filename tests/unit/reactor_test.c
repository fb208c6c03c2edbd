/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reactors on threads and in simulation. Bounds on time are wide, because the machine may be busy;
 * what they tell apart is a wake-up (microseconds) from a lost one (a second).
 */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/random.h"
#include "reactor/reactor.h"
#include "reactor/sim.h"

enum { SENDERS = 4, MESSAGES = 20000, LOST_NS = 900 * 1000 * 1000 };

static struct reactor_group *group;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void pause_us(unsigned us)
{
	usleep(us);
}

static struct cpumask allowed_cores(unsigned most)
{
	struct cpumask mask = {{0}};
	cpu_set_t set;

	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	for (unsigned core = 0; core < CPUMASK_CORES && cpumask_count(&mask) < most; core++)
		if (CPU_ISSET(core, &set))
			cpumask_add(&mask, core);
	return mask;
}

static int start(void **state)
{
	struct cpumask cores = allowed_cores(2);

	(void)state;
	return reactor_group_start(&group, &cores, REACTOR_IDLE_ADAPTIVE, NULL);
}

static int stop(void **state)
{
	(void)state;
	reactor_group_stop(group);
	return 0;
}

static struct reactor *last_reactor(void)
{
	return reactor_at(group, reactor_count(group) - 1);
}

/* --- calls ----------------------------------------------------------------------------------- */

struct call {
	struct reactor *reactor, *ran_on;
	int result, runs;
};

static int inner_call(void *argument)
{
	struct call *call = argument;

	call->runs++;
	return 7;
}

static int note_call(void *argument)
{
	struct call *call = argument;

	call->ran_on = reactor_self();
	call->runs++;
	/* From the reactor itself it is a plain call. */
	assert_int_equal(reactor_call(reactor_self(), inner_call, call), 7);
	return call->result;
}

static int stop_at_one(void *argument)
{
	struct call *call = argument;

	call->runs++;
	return reactor_index(reactor_self()) == 1 ? -EIO : 0;
}

static void test_call(void **state)
{
	(void)state;
	assert_null(reactor_self());
	for (unsigned i = 0; i < reactor_count(group); i++) {
		struct call call = {.result = (int)i - 5};
		struct reactor *reactor = reactor_at(group, i);

		assert_int_equal(reactor_call(reactor, note_call, &call), (int)i - 5);
		assert_ptr_equal(call.ran_on, reactor);
		assert_int_equal(call.runs, 2);
		assert_int_equal(reactor_index(reactor), i);
		assert_ptr_equal(reactor_on_core(group, reactor_core(reactor)), reactor);
		assert_ptr_equal(reactor_group_of(reactor), group);
	}
	assert_null(reactor_on_core(group, CPUMASK_CORES - 1));
}

static void test_call_all(void **state)
{
	struct call call = {0};

	(void)state;
	assert_int_equal(
		reactor_call_all(group, stop_at_one, &call), reactor_count(group) > 1 ? -EIO : 0);
	assert_int_equal(call.runs, reactor_count(group) > 1 ? 2 : 1);
	call.runs = 0;
	assert_int_equal(reactor_call_all(group, inner_call, &call), 7);
	assert_int_equal(call.runs, 1);
}

static int core_of_thread(void *argument)
{
	(void)argument;
	return sched_getcpu();
}

static void test_pinned(void **state)
{
	(void)state;
	for (unsigned i = 0; i < reactor_count(group); i++)
		assert_int_equal(reactor_call(reactor_at(group, i), core_of_thread, NULL),
			reactor_core(reactor_at(group, i)));
}

/* --- mailbox --------------------------------------------------------------------------------- */

static struct numbered {
	struct message message;
	unsigned sender, number;
} numbered[SENDERS][MESSAGES];

static unsigned expected_number[SENDERS];
static atomic_uint arrived, out_of_order;

static void receive(struct message *message)
{
	struct numbered *in = container_of(message, struct numbered, message);

	if (in->number != expected_number[in->sender]++ || reactor_self() != last_reactor())
		atomic_fetch_add(&out_of_order, 1);
	atomic_fetch_add(&arrived, 1);
}

static void *send_all(void *argument)
{
	unsigned sender = (unsigned)(uintptr_t)argument;

	for (unsigned i = 0; i < MESSAGES; i++) {
		numbered[sender][i] = (struct numbered){{receive, NULL}, sender, i};
		reactor_send(last_reactor(), &numbered[sender][i].message);
		/* Now and then long enough for the reactor to fall asleep. */
		if (i % 2500 == 2499)
			pause_us(300);
	}
	return NULL;
}

static void test_mailbox_order(void **state)
{
	pthread_t threads[SENDERS];
	uint64_t start_ns = now_ns();

	(void)state;
	for (uintptr_t i = 0; i < SENDERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, send_all, (void *)i), 0);
	for (unsigned i = 0; i < SENDERS; i++)
		pthread_join(threads[i], NULL);
	while (atomic_load(&arrived) < SENDERS * MESSAGES && now_ns() - start_ns < 20000000000ull)
		pause_us(1000);
	assert_int_equal(atomic_load(&arrived), SENDERS * MESSAGES);
	assert_int_equal(atomic_load(&out_of_order), 0);
}

/* --- sleep and wake-up ----------------------------------------------------------------------- */

static uint64_t sleeps(struct reactor *reactor)
{
	struct reactor_usage usage;

	reactor_usage(reactor, &usage);
	return usage.sleeps;
}

static int nothing(void *argument)
{
	(void)argument;
	return 0;
}

/* Calls at every distance around the moment of falling asleep: none may wait for the time-out. */
static void test_no_wakeup_is_lost(void **state)
{
	struct random random = {.state = 1};
	uint64_t before = sleeps(last_reactor());

	(void)state;
	for (unsigned i = 0; i < 5000; i++) {
		uint64_t start_ns = now_ns(), pause_ns = random_below(&random, 120000);

		while (now_ns() - start_ns < pause_ns)
			;
		start_ns = now_ns();
		reactor_call(last_reactor(), nothing, NULL);
		expect(now_ns() - start_ns < LOST_NS, "a call took %llu ms",
			(unsigned long long)((now_ns() - start_ns) / 1000000));
	}
	assert_true(sleeps(last_reactor()) > before);
}

static uint64_t cpu_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
}

static void test_idle_costs_nothing(void **state)
{
	struct reactor_usage usage;
	uint64_t before;

	(void)state;
	pause_us(20000);
	before = cpu_ns();
	pause_us(1500000);
	expect(cpu_ns() - before < 75000000, "1.5 s of doing nothing cost %llu us of CPU",
		(unsigned long long)((cpu_ns() - before) / 1000));
	reactor_call(last_reactor(), nothing, NULL);
	reactor_usage(last_reactor(), &usage);
	assert_true(usage.sleep_ns > 1000000000);
	assert_true(usage.sleeps > 0 && usage.idle_ns > 0);
}

static void test_spin_never_sleeps(void **state)
{
	struct cpumask cores = allowed_cores(1);
	struct reactor_group *spinning;

	(void)state;
	assert_int_equal(reactor_group_start(&spinning, &cores, REACTOR_IDLE_SPIN, NULL), 0);
	pause_us(50000);
	assert_int_equal(sleeps(reactor_at(spinning, 0)), 0);
	reactor_group_stop(spinning);
}

/* A poller over an eventfd, which asks for a wake-up as a virtqueue does. */
static struct watcher {
	struct poller poller;
	int fd;
	atomic_uint seen, polls, armed, disarmed;
	atomic_bool refuse;
} watcher;

static unsigned watcher_poll(struct poller *poller)
{
	struct watcher *at = container_of(poller, struct watcher, poller);
	uint64_t count;

	atomic_fetch_add(&at->polls, 1);
	if (read(at->fd, &count, sizeof(count)) != sizeof(count))
		return 0;
	atomic_fetch_add(&at->seen, (unsigned)count);
	return 1;
}

static bool watcher_arm(struct poller *poller)
{
	struct watcher *at = container_of(poller, struct watcher, poller);

	atomic_fetch_add(&at->armed, 1);
	return !atomic_load(&at->refuse);
}

static void watcher_disarm(struct poller *poller)
{
	atomic_fetch_add(&container_of(poller, struct watcher, poller)->disarmed, 1);
}

static int add_watcher(void *argument)
{
	(void)argument;
	poller_add(reactor_self(), &watcher.poller);
	return reactor_watch(reactor_self(), watcher.fd);
}

static int remove_watcher(void *argument)
{
	(void)argument;
	poller_remove(&watcher.poller);
	reactor_unwatch(reactor_self(), watcher.fd);
	return 0;
}

static void test_watched_descriptor(void **state)
{
	const uint64_t one = 1;
	unsigned polls;
	uint64_t slept;

	(void)state;
	watcher.poller = (struct poller){watcher_poll, watcher_arm, watcher_disarm, {NULL, NULL}};
	watcher.fd = eventfd(0, EFD_NONBLOCK);
	assert_int_equal(reactor_call(last_reactor(), add_watcher, NULL), 0);
	for (unsigned i = 1; i <= 20; i++) {
		uint64_t start_ns;

		pause_us(1000 * (i % 3));
		start_ns = now_ns();
		assert_int_equal(write(watcher.fd, &one, sizeof(one)), sizeof(one));
		while (atomic_load(&watcher.seen) < i)
			expect(now_ns() - start_ns < LOST_NS, "write %u to an eventfd woke nobody",
				i);
	}
	/* Asleep it does not poll. */
	pause_us(20000);
	polls = atomic_load(&watcher.polls);
	pause_us(200000);
	assert_true(atomic_load(&watcher.polls) - polls < 20);
	/* Who refuses to be armed keeps the reactor awake. */
	atomic_store(&watcher.refuse, true);
	reactor_call(last_reactor(), nothing, NULL);
	pause_us(20000);
	slept = sleeps(last_reactor());
	polls = atomic_load(&watcher.polls);
	pause_us(100000);
	assert_int_equal(sleeps(last_reactor()), slept);
	assert_true(atomic_load(&watcher.polls) - polls > 100);
	reactor_call(last_reactor(), remove_watcher, NULL);
	assert_int_equal(atomic_load(&watcher.armed), atomic_load(&watcher.disarmed));
	close(watcher.fd);
}

/* --- timers ---------------------------------------------------------------------------------- */

enum { TIMERS = 200 };

static struct alarm_clock {
	struct timer timer;
	uint64_t due_ns;
	unsigned repeats;
} clocks[TIMERS];

static atomic_uint fired, early, disordered;
static uint64_t last_due_ns;

static void ring(struct timer *timer)
{
	struct alarm_clock *alarm = container_of(timer, struct alarm_clock, timer);

	if (now_ns() < alarm->due_ns)
		atomic_fetch_add(&early, 1);
	if (alarm->due_ns < last_due_ns)
		atomic_fetch_add(&disordered, 1);
	last_due_ns = alarm->due_ns;
	atomic_fetch_add(&fired, 1);
	if (!alarm->repeats)
		return;
	alarm->repeats--;
	alarm->due_ns = reactor_now_ns(reactor_self()) + 1000000;
	timer_start(reactor_self(), timer, alarm->due_ns);
}

static int start_clocks(void *argument)
{
	struct random random = {.state = 3};
	uint64_t base = now_ns();

	(void)argument;
	for (unsigned i = 0; i < TIMERS; i++) {
		clocks[i].due_ns = base + random_below(&random, 200000000);
		timer_init(&clocks[i].timer, ring);
		timer_stop(&clocks[i].timer); /* harmless */
		timer_start(
			reactor_self(), &clocks[i].timer, base + random_below(&random, 1000000));
		timer_start(reactor_self(), &clocks[i].timer, clocks[i].due_ns); /* moves it */
	}
	for (unsigned i = 0; i < TIMERS; i += 4)
		timer_stop(&clocks[i].timer);
	return 0;
}

static int stop_clocks(void *argument)
{
	(void)argument;
	for (unsigned i = 0; i < TIMERS; i++)
		timer_stop(&clocks[i].timer);
	return 0;
}

static void test_timers(void **state)
{
	uint64_t start_ns = now_ns();

	(void)state;
	reactor_call(last_reactor(), start_clocks, NULL);
	while (atomic_load(&fired) < TIMERS * 3 / 4 && now_ns() - start_ns < 5000000000ull)
		pause_us(1000);
	assert_true(now_ns() - start_ns < 200000000ull + LOST_NS);
	pause_us(50000);
	reactor_call(last_reactor(), stop_clocks, NULL);
	assert_int_equal(atomic_load(&fired), TIMERS * 3 / 4);
	assert_int_equal(atomic_load(&early), 0);
	assert_int_equal(atomic_load(&disordered), 0);
}

static int start_repeating(void *argument)
{
	(void)argument;
	last_due_ns = 0;
	atomic_store(&fired, 0);
	clocks[0].repeats = 49;
	clocks[0].due_ns = now_ns() + 1000000;
	timer_init(&clocks[0].timer, ring);
	timer_start(reactor_self(), &clocks[0].timer, clocks[0].due_ns);
	return 0;
}

/* Every millisecond, out of sleep. */
static void test_repeating_timer(void **state)
{
	uint64_t start_ns = now_ns(), slept = sleeps(last_reactor());

	(void)state;
	reactor_call(last_reactor(), start_repeating, NULL);
	while (atomic_load(&fired) < 50)
		expect(now_ns() - start_ns < 5000000000ull, "only %u of 50 fired",
			atomic_load(&fired));
	assert_true(now_ns() - start_ns >= 50000000);
	assert_int_equal(atomic_load(&early), 0);
	assert_true(sleeps(last_reactor()) > slept + 10);
}

/* --- pollers that come and go ---------------------------------------------------------------- */

enum { POLLERS = 5 };

static struct leaver {
	struct poller poller;
	struct leaver *removes; /* while it is polled */
	bool present;
	unsigned polls;
} leavers[POLLERS];

static unsigned leaver_poll(struct poller *poller)
{
	struct leaver *leaver = container_of(poller, struct leaver, poller);

	assert_true(leaver->present);
	leaver->polls++;
	if (leaver->removes && leaver->removes->present) {
		poller_remove(&leaver->removes->poller);
		leaver->removes->present = false;
	}
	return 0;
}

/* Each pair (who, whom): who removes whom in the middle of a turn; the others are all polled. */
static void check_removal(struct reactor_group *sim, unsigned who, unsigned whom)
{
	for (unsigned i = 0; i < POLLERS; i++)
		assert_true(leavers[i].present && !leavers[i].polls);
	leavers[who].removes = &leavers[whom];
	while (!leavers[who].polls)
		reactor_sim_step(sim);
	for (unsigned i = 0; i < POLLERS; i++)
		assert_int_equal(leavers[i].polls, i != whom || whom <= who);
}

static int add_leavers(void *argument)
{
	(void)argument;
	for (unsigned i = 0; i < POLLERS; i++) {
		leavers[i] = (struct leaver){.poller.poll = leaver_poll, .present = true};
		poller_add(reactor_self(), &leavers[i].poller);
	}
	/* The turn that this call belongs to is over before they are looked at. */
	return 0;
}

static int remove_leavers(void *argument)
{
	(void)argument;
	for (unsigned i = 0; i < POLLERS; i++)
		if (leavers[i].present)
			poller_remove(&leavers[i].poller);
	return 0;
}

static int reset_polls(void *argument)
{
	(void)argument;
	for (unsigned i = 0; i < POLLERS; i++)
		leavers[i].polls = 0;
	return 0;
}

static void test_pollers_leave(void **state)
{
	struct reactor_group *sim = reactor_sim_create(1, 9);

	(void)state;
	for (unsigned who = 0; who < POLLERS; who++)
		for (unsigned whom = 0; whom < POLLERS; whom++) {
			reactor_call(reactor_at(sim, 0), add_leavers, NULL);
			reset_polls(NULL);
			check_removal(sim, who, whom);
			reactor_call(reactor_at(sim, 0), remove_leavers, NULL);
		}
	reactor_sim_destroy(sim);
}

/* --- starting -------------------------------------------------------------------------------- */

static unsigned open_descriptors(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += dup2(fd, fd) == fd;
	return count;
}

static void test_refusals(void **state)
{
	struct reactor_group *none;
	struct cpumask cores = allowed_cores(1);
	unsigned before = open_descriptors();
	struct fail fail = {0};

	(void)state;
	cpumask_add(&cores, CPUMASK_CORES - 1);
	if (sysconf(_SC_NPROCESSORS_CONF) < CPUMASK_CORES) {
		assert_true(reactor_group_start(&none, &cores, REACTOR_IDLE_ADAPTIVE, &fail) < 0);
		assert_non_null(strstr(fail.text, "core 255"));
	}
	for (unsigned core = 0; core <= REACTORS_MAX; core++)
		cpumask_add(&cores, core);
	assert_int_equal(reactor_group_start(&none, &cores, REACTOR_IDLE_ADAPTIVE, &fail), -EINVAL);
	assert_non_null(strstr(fail.text, "64"));
	assert_int_equal(open_descriptors(), before);
}

/* --- simulation ------------------------------------------------------------------------------ */

enum { SIM_REACTORS = 3, SIM_EVENTS = 400 };

/* Tokens that wander from reactor to reactor, sometimes over a timer. */
static struct token {
	struct message message;
	struct timer timer;
	struct reactor *sender;
	unsigned number;
} tokens[8];

static struct sim_world {
	struct reactor_group *group;
	struct random random;
	uint64_t trace;
	unsigned events;
	bool finished;
	uint64_t last_ns;
} world;

static void note(unsigned what)
{
	uint64_t now = reactor_sim_now_ns(world.group);

	expect(now == reactor_now_ns(reactor_self()), "two clocks");
	expect(now >= world.last_ns, "time goes back");
	world.last_ns = now;
	world.trace = random_mix(world.trace ^ what) ^ now ^ reactor_index(reactor_self()) << 8;
	world.finished = ++world.events >= SIM_EVENTS;
}

static void pass_on(struct token *token)
{
	unsigned to = (unsigned)random_below(&world.random, SIM_REACTORS);

	if (world.finished)
		return;
	if (random_chance(&world.random, 200))
		timer_start(reactor_self(), &token->timer,
			reactor_now_ns(reactor_self()) + random_below(&world.random, 1000));
	else
		reactor_send(reactor_at(world.group, to), &token->message);
}

static void token_arrives(struct message *message)
{
	struct token *token = container_of(message, struct token, message);

	note(token->number);
	pass_on(token);
}

static void token_wakes(struct timer *timer)
{
	struct token *token = container_of(timer, struct token, timer);

	expect(timer->deadline_ns <= reactor_now_ns(reactor_self()), "a timer is early");
	note(token->number + 100);
	pass_on(token);
}

static uint64_t simulate(uint64_t seed)
{
	uint64_t trace;

	world = (struct sim_world){
		.group = reactor_sim_create(SIM_REACTORS, seed), .random.state = seed};
	for (unsigned i = 0; i < 8; i++) {
		tokens[i].message.run = token_arrives;
		tokens[i].number = i;
		timer_init(&tokens[i].timer, token_wakes);
		reactor_send(reactor_at(world.group, i % SIM_REACTORS), &tokens[i].message);
	}
	assert_true(reactor_sim_until(world.group, &world.finished));
	while (reactor_sim_step(world.group))
		;
	trace = world.trace;
	reactor_sim_destroy(world.group);
	return trace;
}

static void test_one_seed_is_one_run(void **state)
{
	uint64_t traces[64];

	(void)state;
	for (unsigned seed = 0; seed < 64; seed++) {
		traces[seed] = simulate(seed);
		assert_true(simulate(seed) == traces[seed]);
		for (unsigned other = 0; other < seed; other++)
			expect(traces[other] != traces[seed], "seeds %u and %u are one run", other,
				seed);
	}
}

static void in_order(struct message *message)
{
	struct numbered *in = container_of(message, struct numbered, message);

	expect(in->number == expected_number[0]++, "message %u came at place %u", in->number,
		expected_number[0] - 1);
}

static void test_sim_mailbox_order(void **state)
{
	(void)state;
	for (unsigned seed = 0; seed < 20; seed++) {
		struct reactor_group *sim = reactor_sim_create(2, seed);

		expected_number[0] = 0;
		for (unsigned i = 0; i < 100; i++) {
			numbered[0][i] = (struct numbered){{in_order, NULL}, 0, i};
			reactor_send(reactor_at(sim, 1), &numbered[0][i].message);
			if (i % 7 == 0)
				reactor_sim_step(sim);
		}
		while (reactor_sim_step(sim))
			;
		assert_int_equal(expected_number[0], 100);
		reactor_sim_destroy(sim);
	}
}

static void test_sim_call_and_end(void **state)
{
	struct reactor_group *sim = reactor_sim_create(3, 5);
	struct call call = {.result = -3};
	bool never = false;

	(void)state;
	assert_int_equal(reactor_call(reactor_at(sim, 2), note_call, &call), -3);
	assert_ptr_equal(call.ran_on, reactor_at(sim, 2));
	assert_null(reactor_self());
	assert_false(reactor_sim_until(sim, &never));
	/* Nothing has a deadline: no time has passed. */
	assert_int_equal(reactor_sim_now_ns(sim), 0);
	reactor_sim_destroy(sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_call, start, stop),
		cmocka_unit_test_setup_teardown(test_call_all, start, stop),
		cmocka_unit_test_setup_teardown(test_pinned, start, stop),
		cmocka_unit_test_setup_teardown(test_mailbox_order, start, stop),
		cmocka_unit_test_setup_teardown(test_no_wakeup_is_lost, start, stop),
		cmocka_unit_test_setup_teardown(test_idle_costs_nothing, start, stop),
		cmocka_unit_test_setup_teardown(test_watched_descriptor, start, stop),
		cmocka_unit_test_setup_teardown(test_timers, start, stop),
		cmocka_unit_test_setup_teardown(test_repeating_timer, start, stop),
		cmocka_unit_test(test_spin_never_sleeps),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_pollers_leave),
		cmocka_unit_test(test_one_seed_is_one_run),
		cmocka_unit_test(test_sim_mailbox_order),
		cmocka_unit_test(test_sim_call_and_end),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
