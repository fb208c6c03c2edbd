/* SPDX-License-Identifier: Apache-2.0 */
/* Scope-bound release of memory, descriptors and locks. For control code only: the I/O path
 * owns nothing that would need it. */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define AUTO_FREE __attribute__((cleanup(cleanup_free)))
#define AUTO_CLOSE __attribute__((cleanup(cleanup_close)))
#define LOCK_SCOPE(mutex)                                                                \
	__attribute__((cleanup(cleanup_unlock), unused)) pthread_mutex_t *locked_scope = \
		cleanup_lock(mutex)

static inline void cleanup_free(void *pointer)
{
	free(*(void **)pointer);
}

static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline pthread_mutex_t *cleanup_lock(pthread_mutex_t *mutex)
{
	pthread_mutex_lock(mutex);
	return mutex;
}

static inline void cleanup_unlock(pthread_mutex_t **mutex)
{
	pthread_mutex_unlock(*mutex);
}

#endif
