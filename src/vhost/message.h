/* SPDX-License-Identifier: Apache-2.0 */
/* One vhost-user message on its way in, and its answer. Blocking; the socket has timeouts. */
#ifndef VHOST_MESSAGE_H
#define VHOST_MESSAGE_H

#include "base/fail.h"
#include "vhost/wire.h"

/* A message as it was read; a handler that answers changes payload and sets reply_bytes, and
 * reply_fd if a descriptor goes along. */
struct message_in {
	struct vhost_header header;
	union vhost_payload payload;
	uint32_t reply_bytes;
	int reply_fd; /* -1: none; owned, like fds[] */
	int fds[VHOST_FDS_MAX];
	unsigned fd_count;
};

#define MESSAGE_EMPTY ((struct message_in){.reply_fd = -1, .fds = {-1, -1, -1, -1, -1, -1, -1, -1}})

/* Reads header, descriptors and payload. 0; -ECONNRESET: the peer has gone; another -errno with a
 * sentence: what came is no message. Descriptors that came are in *message in every case. */
int message_read(int fd, struct message_in *message, struct fail *fail);

/* Sends the first reply_bytes of the payload, and reply_fd, as the answer. */
int message_answer(int fd, const struct message_in *message, struct fail *fail);

/* 72: the descriptor that comes with a SET_VRING_KICK, _CALL or _ERR takes the place of the old
 * one; bit 8: there is none. */
int message_take_event_fd(struct message_in *message, int *place, struct fail *fail);

/* Closes *fd unless it is -1, which it is afterwards. */
void fd_close(int *fd);

#endif
