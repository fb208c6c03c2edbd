/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/message.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bits.h"

static int read_all(int fd, void *to, size_t bytes, struct fail *fail)
{
	char *at = to;

	while (bytes) {
		ssize_t count = recv(fd, at, bytes, 0);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return fail_set(fail, ETIMEDOUT, "half a message, and then nothing");
		if (count <= 0)
			return fail_set(fail, ECONNRESET, "the front end has gone");
		at += count;
		bytes -= (size_t)count;
	}
	return 0;
}

static void take_fds(struct message_in *message, struct msghdr *header)
{
	for (struct cmsghdr *control = CMSG_FIRSTHDR(header); control;
		control = CMSG_NXTHDR(header, control)) {
		if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
			continue;
		message->fd_count = (unsigned)((control->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(message->fds, CMSG_DATA(control), message->fd_count * sizeof(int));
	}
}

int message_read(int fd, struct message_in *message, struct fail *fail)
{
	union {
		char bytes[CMSG_SPACE(VHOST_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {&message->header, sizeof(message->header)};
	struct msghdr header = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t count;
	int error;

	do
		count = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
	while (count < 0 && errno == EINTR);
	if (count <= 0)
		return fail_set(fail, ECONNRESET, "the front end has gone");
	take_fds(message, &header);
	if (header.msg_flags & MSG_CTRUNC)
		return fail_set(
			fail, EPROTO, "more than %d descriptors in one message", VHOST_FDS_MAX);
	error = read_all(fd, (char *)&message->header + count,
		sizeof(message->header) - (size_t)count, fail);
	if (error)
		return error;
	if ((message->header.flags & VHOST_VERSION_MASK) != VHOST_VERSION ||
		message->header.flags & VHOST_REPLY)
		return fail_set(fail, EPROTO, "a header with flags 0x%x", message->header.flags);
	if (message->header.payload_bytes > sizeof(message->payload))
		return fail_set(
			fail, EMSGSIZE, "a payload of %u bytes", message->header.payload_bytes);
	return read_all(fd, &message->payload, message->header.payload_bytes, fail);
}

int message_answer(int fd, const struct message_in *message, struct fail *fail)
{
	struct vhost_header header = {
		message->header.request, VHOST_VERSION | VHOST_REPLY, message->reply_bytes};
	struct iovec iov[] = {
		{&header, sizeof(header)},
		{(void *)&message->payload, message->reply_bytes},
	};
	struct msghdr reply = {.msg_iov = iov, .msg_iovlen = ARRAY_SIZE(iov)};
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control = {{0}};

	if (message->reply_fd >= 0) {
		control.header = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(sizeof(int)),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
		};
		memcpy(CMSG_DATA(&control.header), &message->reply_fd, sizeof(int));
		reply.msg_control = control.bytes;
		reply.msg_controllen = sizeof(control.bytes);
	}
	if (sendmsg(fd, &reply, MSG_NOSIGNAL) != (ssize_t)(sizeof(header) + message->reply_bytes))
		return fail_set(fail, ECONNRESET, "the front end does not take its answer");
	return 0;
}

static bool is_eventfd(int fd)
{
	static const char eventfd_name[] = "anon_inode:[eventfd]";
	char path[40], target[sizeof(eventfd_name)];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	length = readlink(path, target, sizeof(target));
	return length == sizeof(eventfd_name) - 1 && !memcmp(target, eventfd_name, (size_t)length);
}

/* An eventfd, a pipe or (User-Mode Linux) a socket pair, made non-blocking. What a write to it
 * answers is nobody's concern: see signal_fd(). */
static int check_event_fd(int fd, struct fail *fail)
{
	struct stat status;

	if (fstat(fd, &status) ||
		(!S_ISFIFO(status.st_mode) && !S_ISSOCK(status.st_mode) && !is_eventfd(fd)))
		return fail_set(fail, EINVAL,
			"a notification descriptor is neither an eventfd, nor a pipe, nor a "
			"socket");
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK))
		return fail_set(
			fail, errno, "a notification descriptor cannot be made non-blocking");
	return 0;
}

int message_take_event_fd(struct message_in *message, int *place, struct fail *fail)
{
	bool none = message->payload.u64 & VHOST_VRING_NO_FD;
	int error;

	if (message->fd_count != (none ? 0 : 1))
		return fail_set(fail, EINVAL, "a notification message with %u descriptors",
			message->fd_count);
	if (!none) {
		error = check_event_fd(message->fds[0], fail);
		if (error)
			return error;
	}
	fd_close(place);
	if (!none) {
		*place = message->fds[0];
		message->fds[0] = -1;
	}
	return 0;
}

void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}
