/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/vfio/bar.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/sigbus.h"

/* A row is in use while `start` is set; `bytes` is set before. */
static struct {
	_Atomic(char *) start;
	size_t bytes;
	atomic_bool gone;
} bars[BARS_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* In the signal handler. */
static bool replace(const char *address)
{
	for (unsigned i = 0; i < BARS_MAX; i++) {
		char *start = atomic_load(&bars[i].start);

		if (!start || address < start || address >= start + bars[i].bytes)
			continue;
		atomic_store(&bars[i].gone, true);
		if (mmap(start, bars[i].bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != start)
			return false;
		memset(start, 0xff, bars[i].bytes);
		return true;
	}
	return false;
}

void bar_guard(void *registers, size_t bytes)
{
	LOCK_SCOPE(&lock);

	sigbus_own(replace);
	for (unsigned i = 0; i < BARS_MAX; i++) {
		if (atomic_load(&bars[i].start))
			continue;
		bars[i].bytes = bytes;
		atomic_store(&bars[i].gone, false);
		atomic_store(&bars[i].start, registers);
		return;
	}
	log_warning("event=vfio.guard effect=\"more than %d drives: pulling out this one may end "
		    "the daemon\"",
		BARS_MAX);
}

void bar_unguard(void *registers)
{
	LOCK_SCOPE(&lock);

	for (unsigned i = 0; i < BARS_MAX; i++)
		if (atomic_load(&bars[i].start) == registers)
			atomic_store(&bars[i].start, NULL);
}

bool bar_gone(const volatile void *registers)
{
	for (unsigned i = 0; i < BARS_MAX; i++)
		if (atomic_load(&bars[i].start) == registers)
			return atomic_load(&bars[i].gone);
	return false;
}
