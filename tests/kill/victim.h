/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon that is killed: a process of ours, and the folder that outlives it.
 *
 *	dir/run    its sockets          dir/files  the drives
 *	dir/state  what it remembers    dir/log    what it has said in all its lives
 *
 * victim_doom() has a thread of ours send the SIGKILL, so that it comes at any moment whatever the
 * caller is doing. The daemon also dies with the thread that started it.
 */
#ifndef TESTS_KILL_VICTIM_H
#define TESTS_KILL_VICTIM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/fail.h"
#include "cli/rpc_client.h"

enum { VICTIM_PATH_BYTES = 64 };

struct victim {
	const char *program; /* braidd */
	char dir[VICTIM_PATH_BYTES];
	char cores[16];
	pid_t pid; /* 0: does not run */
	struct rpc_client rpc;
	pthread_t assassin;
	bool doomed; /* the assassin is to be joined */
	uint64_t doom_us;
};

struct victim_usage {
	unsigned descriptors;
	unsigned resident_kib; /* memory of its own */
};

uint64_t victim_now_us(void);

int victim_start(struct victim *victim, struct fail *fail);
/* SIGKILL in so many microseconds. Once per life. */
void victim_doom(struct victim *victim, uint64_t us);
/* Waits for the end that victim_doom() has ordered, or that signal_number brings (0: none is sent).
 * 0, or -ECHILD with a sentence when it ended of itself or badly. */
int victim_reap(struct victim *victim, int signal_number, struct fail *fail);
/* Has it ended, whoever ended it? */
bool victim_is_dead(const struct victim *victim);
struct victim_usage victim_usage(const struct victim *victim);

/* One RPC; the names are those of rpc_client_call(). result may be NULL. */
int victim_call(struct victim *victim, const char *method, json_t *params, json_t **result,
	struct fail *fail);
/* Sockets left in dir/run, and drives that are still locked after a second. */
unsigned victim_leftovers(const struct victim *victim);

#endif
