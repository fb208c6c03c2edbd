/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The io_uring of one reactor, shared by all files that are open on it: what ten drives queue in
 * one turn goes to the kernel in one system call.
 *
 * Belongs to the reactor's thread. Created by the first file, gone with the last.
 */
#ifndef DRIVERS_URING_RING_H
#define DRIVERS_URING_RING_H

#include <liburing.h>
#include <stdbool.h>

#include "base/fail.h"
#include "base/list.h"

struct reactor;

enum { URING_DEPTH = 512, URING_FILES = 256 };

/* A command for the kernel; embedded by the driver's slots. */
struct uring_command {
	void (*prepare)(struct uring_command *command, struct io_uring_sqe *entry);
	void (*done)(struct uring_command *command, int result);
	struct list_node link;
};

struct uring;

int uring_get(struct uring **ring, struct reactor *reactor, struct fail *fail);
void uring_put(struct uring *ring);

/* Registers fd; the answer is the index for IOSQE_FIXED_FILE, or -errno. */
int uring_add_file(struct uring *ring, int fd);
void uring_remove_file(struct uring *ring, int index);

/* The reactor's arena is registered buffer 0: true when memory lies within it. */
bool uring_in_buffer(const struct uring *ring, const void *memory, size_t bytes);

/* Takes command: prepare() is called when there is room, at the end of the turn at the
 * earliest, and done() when the kernel has answered. */
void uring_queue_command(struct uring *ring, struct uring_command *command);

#endif
