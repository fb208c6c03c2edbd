/* SPDX-License-Identifier: Apache-2.0 */
/* The front end's messages: sending, awaiting the answer, saying what went wrong. */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "benchmark/frontend.h"

enum { SEND_FDS_MAX = 64 };

/* clang-format off */
static const char *const request_names[VHOST_REQUEST_COUNT] = {
	[VHOST_GET_FEATURES] = "GET_FEATURES",
	[VHOST_SET_FEATURES] = "SET_FEATURES",
	[VHOST_SET_OWNER] = "SET_OWNER",
	[VHOST_SET_MEM_TABLE] = "SET_MEM_TABLE",
	[VHOST_SET_VRING_NUM] = "SET_VRING_NUM",
	[VHOST_SET_VRING_ADDR] = "SET_VRING_ADDR",
	[VHOST_SET_VRING_BASE] = "SET_VRING_BASE",
	[VHOST_GET_VRING_BASE] = "GET_VRING_BASE",
	[VHOST_SET_VRING_KICK] = "SET_VRING_KICK",
	[VHOST_SET_VRING_CALL] = "SET_VRING_CALL",
	[VHOST_SET_VRING_ERR] = "SET_VRING_ERR",
	[VHOST_GET_PROTOCOL_FEATURES] = "GET_PROTOCOL_FEATURES",
	[VHOST_SET_PROTOCOL_FEATURES] = "SET_PROTOCOL_FEATURES",
	[VHOST_GET_QUEUE_NUM] = "GET_QUEUE_NUM",
	[VHOST_SET_VRING_ENABLE] = "SET_VRING_ENABLE",
	[VHOST_GET_CONFIG] = "GET_CONFIG",
	[VHOST_SET_CONFIG] = "SET_CONFIG",
	[VHOST_GET_INFLIGHT_FD] = "GET_INFLIGHT_FD",
	[VHOST_SET_INFLIGHT_FD] = "SET_INFLIGHT_FD",
	[VHOST_GET_MAX_MEM_SLOTS] = "GET_MAX_MEM_SLOTS",
	[VHOST_ADD_MEM_REG] = "ADD_MEM_REG",
	[VHOST_REM_MEM_REG] = "REM_MEM_REG",
};
/* clang-format on */

static const char *request_name(uint32_t request)
{
	const char *name = request < VHOST_REQUEST_COUNT ? request_names[request] : NULL;

	return name ? name : "a message";
}

static int closed(struct fail *fail, uint32_t request)
{
	return fail_set(fail, ECONNRESET,
		"the back end closed the session at %s; its log says why, or another front end has "
		"the socket",
		request_name(request));
}

int frontend_send_bytes(struct frontend *frontend, const void *bytes, size_t count, const int *fds,
	unsigned fds_count)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(SEND_FDS_MAX * sizeof(int))];
	} control;
	size_t sent = 0;

	assert(fds_count <= SEND_FDS_MAX);
	while (sent < count) {
		struct iovec part = {(char *)bytes + sent, count - sent};
		struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
		struct pollfd ready = {.fd = frontend->socket, .events = POLLOUT};
		ssize_t result;

		if (fds_count && !sent) {
			message.msg_control = &control;
			message.msg_controllen = CMSG_SPACE(fds_count * sizeof(int));
			memset(&control, 0, sizeof(control));
			control.align.cmsg_level = SOL_SOCKET;
			control.align.cmsg_type = SCM_RIGHTS;
			control.align.cmsg_len = CMSG_LEN(fds_count * sizeof(int));
			memcpy(CMSG_DATA(&control.align), fds, fds_count * sizeof(int));
		}
		if (poll(&ready, 1, frontend->timeout_ms) == 0)
			return -ETIMEDOUT;
		result = sendmsg(frontend->socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (result < 0 && errno != EAGAIN && errno != EINTR)
			return errno == EPIPE ? -ECONNRESET : -errno;
		if (result > 0)
			sent += (size_t)result;
	}
	return 0;
}

/* Keeps the first descriptor that came along and closes the others. */
static void take_fds(struct msghdr *from, int *keep)
{
	for (struct cmsghdr *control = CMSG_FIRSTHDR(from); control;
		control = CMSG_NXTHDR(from, control)) {
		size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof(fd));
			if (*keep < 0)
				*keep = fd;
			else
				close(fd);
		}
	}
}

static int receive_bytes(struct frontend *frontend, void *bytes, size_t count, int *fd)
{
	size_t received = 0;

	while (received < count) {
		char control[CMSG_SPACE(VHOST_FDS_MAX * sizeof(int))];
		struct iovec part = {(char *)bytes + received, count - received};
		struct msghdr message = {.msg_iov = &part,
			.msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof(control)};
		struct pollfd ready = {.fd = frontend->socket, .events = POLLIN};
		ssize_t result;

		if (poll(&ready, 1, frontend->timeout_ms) == 0)
			return -ETIMEDOUT;
		result = recvmsg(frontend->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (result == 0)
			return -ECONNRESET;
		if (result < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (result > 0) {
			take_fds(&message, fd);
			received += (size_t)result;
		}
	}
	return 0;
}

/* The header and the payload; the answer is bounded by the union. */
static int receive(struct frontend *frontend, struct frontend_message *message)
{
	struct vhost_header header;
	int result = receive_bytes(frontend, &header, sizeof(header), &message->reply_fd);

	if (result)
		return result;
	message->reply_request = header.request;
	message->reply_flags = header.flags;
	message->reply_bytes = header.payload_bytes;
	if (header.payload_bytes > sizeof(message->reply))
		return -EPROTO;
	return receive_bytes(frontend, &message->reply, header.payload_bytes, &message->reply_fd);
}

int frontend_receive(struct frontend *frontend, struct frontend_message *message, struct fail *fail)
{
	int result;

	message->reply_fd = -1;
	memset(&message->reply, 0, sizeof(message->reply));
	result = receive(frontend, message);
	if (!result)
		return 0;
	if (message->reply_fd >= 0)
		close(message->reply_fd);
	message->reply_fd = -1;
	if (result == -ETIMEDOUT)
		return fail_set(fail, ETIMEDOUT,
			"the back end did not answer %s within %d ms; it hangs, or serves another "
			"front end",
			request_name(message->request), frontend->timeout_ms);
	if (result == -EPROTO)
		return fail_set(fail, EPROTO,
			"the back end answered %s with %u bytes; that is no vhost-user",
			request_name(message->request), message->reply_bytes);
	return closed(fail, message->request);
}

int frontend_message(struct frontend *frontend, struct frontend_message *message, struct fail *fail)
{
	struct vhost_header header = {
		.request = message->request,
		.flags = VHOST_VERSION | message->flags,
		.payload_bytes = message->payload_bytes,
	};
	char bytes[sizeof(header) + sizeof(union vhost_payload)];
	int result;

	assert(message->payload_bytes <= sizeof(union vhost_payload));
	memcpy(bytes, &header, sizeof(header));
	if (message->payload_bytes)
		memcpy(bytes + sizeof(header), message->payload, message->payload_bytes);
	message->reply_fd = -1;
	/* In one piece: the descriptors travel with the header's first byte. */
	result = frontend_send_bytes(frontend, bytes, sizeof(header) + message->payload_bytes,
		message->fds, message->fds_count);
	if (result == -ETIMEDOUT)
		return fail_set(fail, ETIMEDOUT, "the back end takes no messages; it hangs");
	if (result)
		return closed(fail, message->request);
	if (!message->want_reply)
		return 0;
	result = frontend_receive(frontend, message, fail);
	if (result)
		return result;
	if (message->reply_request != message->request ||
		message->reply_flags != (VHOST_VERSION | VHOST_REPLY))
		return fail_set(fail, EPROTO,
			"the back end answered %s with message %u, flags 0x%x; that is no "
			"vhost-user",
			request_name(message->request), message->reply_request,
			message->reply_flags);
	return 0;
}

int frontend_tell(struct frontend *frontend, uint32_t request, const void *payload,
	uint32_t payload_bytes, int fd, struct fail *fail)
{
	bool acknowledged = frontend->protocol & VHOST_PROTOCOL_REPLY_ACK;
	struct frontend_message message = {
		.request = request,
		.flags = acknowledged ? VHOST_NEED_REPLY : 0,
		.payload = payload,
		.payload_bytes = payload_bytes,
		.fds = &fd,
		.fds_count = fd >= 0 ? 1 : 0,
		.want_reply = acknowledged,
	};
	int result = frontend_message(frontend, &message, fail);

	if (result || !acknowledged)
		return result;
	if (message.reply_bytes != sizeof(uint64_t))
		return fail_set(fail, EPROTO, "the back end acknowledged %s with %u bytes, not 8",
			request_name(request), message.reply_bytes);
	if (message.reply.u64)
		return fail_set(fail, EREMOTEIO, "the back end refused %s; its log says why",
			request_name(request));
	return 0;
}

int frontend_set(struct frontend *frontend, uint32_t request, uint64_t value, struct fail *fail)
{
	/* SET_OWNER and RESET_OWNER have no payload. */
	bool bare = request == VHOST_SET_OWNER || request == VHOST_RESET_OWNER ||
		    request == VHOST_RESET_DEVICE;

	return frontend_tell(frontend, request, &value, bare ? 0 : sizeof(value), -1, fail);
}

int frontend_get(struct frontend *frontend, uint32_t request, uint64_t *value, struct fail *fail)
{
	struct frontend_message message = {.request = request, .want_reply = true};
	int result = frontend_message(frontend, &message, fail);

	if (result)
		return result;
	if (message.reply_bytes != sizeof(*value))
		return fail_set(fail, EPROTO, "the back end answered %s with %u bytes, not 8",
			request_name(request), message.reply_bytes);
	*value = message.reply.u64;
	return 0;
}

int frontend_await_close(struct frontend *frontend, int timeout_ms)
{
	/* What it still had to say is read and dropped. */
	for (;;) {
		struct pollfd ready = {.fd = frontend->socket, .events = POLLIN};
		char dropped[256];
		ssize_t result;

		if (poll(&ready, 1, timeout_ms) == 0)
			return -ETIMEDOUT;
		result = recv(frontend->socket, dropped, sizeof(dropped), MSG_DONTWAIT);
		if (result == 0 || (result < 0 && errno != EAGAIN && errno != EINTR))
			return 0;
	}
}
