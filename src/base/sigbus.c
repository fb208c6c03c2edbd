/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sigbus.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

#include "base/cleanup.h"

static _Atomic(sigbus_repair *) owners[SIGBUS_OWNERS_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void handle(int signal, siginfo_t *info, void *context)
{
	struct sigaction standard = {.sa_handler = SIG_DFL};

	(void)context;
	for (unsigned i = 0; i < SIGBUS_OWNERS_MAX; i++) {
		sigbus_repair *repair = atomic_load(&owners[i]);

		if (repair && repair(info->si_addr))
			return;
	}
	/* Not ours: the access is repeated, and ends us. */
	sigaction(signal, &standard, NULL);
}

void sigbus_own(sigbus_repair *repair)
{
	struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO};
	LOCK_SCOPE(&lock);

	for (unsigned i = 0; i < SIGBUS_OWNERS_MAX; i++) {
		if (!atomic_load(&owners[i]))
			atomic_store(&owners[i], repair);
		if (atomic_load(&owners[i]) == repair) {
			sigaction(SIGBUS, &action, NULL);
			return;
		}
	}
	assert(false); /* room for another owner */
}
