/* SPDX-License-Identifier: Apache-2.0 */
/* The linker leads the engine's calls for time and memory here (-Wl,--wrap). */
#include "run.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "base/entropy.h"

struct run run;
bool run_tracing;

static struct random entropy;
static uint64_t allocations_until_failure;
static bool fail_for_ever, failed;
static int64_t held;

static void say_where(void)
{
	char line[500];
	int length = snprintf(line, sizeof(line),
		"seed %" PRIu64 ": (%s) repeat: %s --seed %" PRIu64 "\n", run.seed, run.setting,
		run.command, run.seed);

	fflush(stdout);
	if (write(STDOUT_FILENO, line, (size_t)length) < 0)
		_exit(EXIT_WRONG);
}

void run_say_line(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "\n");
}

void run_wrong(const char *format, ...)
{
	va_list arguments;

	printf("seed %" PRIu64 ": WRONG: ", run.seed);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
	say_where();
	if (getenv("SIM_ABORT"))
		abort();
	_exit(EXIT_WRONG);
}

static void on_signal(int number)
{
	printf("seed %" PRIu64 ": WRONG: %s\n", run.seed,
		number == SIGPROF ? "no end" : strsignal(number));
	say_where();
	signal(number == SIGPROF ? SIGABRT : number, SIG_DFL);
	if (getenv("SIM_ABORT"))
		abort();
	_exit(EXIT_WRONG);
}

void run_begin(uint64_t seed)
{
	struct run_counts counts = run.counts;

	run.counts = counts;
	run.seed = seed;
	run.trace = 0;
	run.setting[0] = '\0';
	run_tracing = getenv("SIM_TRACE") != NULL;
	entropy.state = seed ^ 0x5eed;
	entropy_simulate(&entropy);
}

void run_watch(unsigned seconds)
{
	/* Of its own time: the machine may be busy with others. */
	const struct itimerval limit = {.it_value.tv_sec = seconds};

	signal(SIGPROF, on_signal);
	signal(SIGABRT, on_signal);
#if !defined(__SANITIZE_ADDRESS__)
	signal(SIGSEGV, on_signal);
#endif
	setitimer(ITIMER_PROF, &limit, NULL);
}

/* --- the system, as the engine sees it -------------------------------------------------------- */

void run_fail_allocation(uint64_t number, bool for_ever)
{
	allocations_until_failure = number;
	fail_for_ever = for_ever;
	if (number)
		failed = false;
}

bool run_allocation_failed(void)
{
	return failed;
}

int64_t run_allocations_held(void)
{
	return held;
}

static bool allocation_fails(void)
{
	if (!allocations_until_failure)
		return false;
	if (--allocations_until_failure)
		return false;
	failed = true;
	allocations_until_failure = fail_for_ever;
	return true;
}

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void __real_free(void *memory);
void __wrap_free(void *memory);
void *__wrap_memory_map(size_t bytes, bool *huge);
void __wrap_memory_unmap(void *memory, size_t bytes);
time_t __wrap_time(time_t *result);

static void *counted(void *memory)
{
	held += memory != NULL;
	return memory;
}

void *__wrap_malloc(size_t bytes)
{
	return allocation_fails() ? NULL : counted(__real_malloc(bytes));
}

void *__wrap_calloc(size_t count, size_t bytes)
{
	return allocation_fails() ? NULL : counted(__real_calloc(count, bytes));
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
	return allocation_fails() ? NULL : counted(__real_aligned_alloc(alignment, bytes));
}

void __wrap_free(void *memory)
{
	held -= memory != NULL;
	__real_free(memory);
}

/* Mappings are too slow for so many short lives. */
void *__wrap_memory_map(size_t bytes, bool *huge)
{
	size_t rounded = (bytes + 4095) & ~(size_t)4095;
	void *memory = __wrap_aligned_alloc(4096, rounded);

	if (huge)
		*huge = false;
	return memory ? memset(memory, 0, rounded) : NULL;
}

void __wrap_memory_unmap(void *memory, size_t bytes)
{
	(void)bytes;
	__wrap_free(memory);
}

time_t __wrap_time(time_t *result)
{
	time_t now = 1700000000;

	if (result)
		*result = now;
	return now;
}
