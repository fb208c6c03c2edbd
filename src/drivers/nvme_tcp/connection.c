/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/nvme_tcp/connection.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/crc32c.h"

uint64_t connection_clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* --- bytes ----------------------------------------------------------------------------------- */

/* Waits until the socket is ready for events. 0, -ETIMEDOUT or -ECANCELED. */
static int await(const struct connection *connection, short events, uint64_t deadline_ms)
{
	struct pollfd fds[2] = {{.fd = connection->fd, .events = events},
		{.fd = connection->cancel_fd, .events = POLLIN}};

	while (true) {
		uint64_t now = connection_clock_ms();
		int ready;

		if (now >= deadline_ms)
			return -ETIMEDOUT;
		ready = poll(fds, 2, (int)MIN(deadline_ms - now, (uint64_t)60000));
		if (ready < 0 && errno != EINTR)
			return -errno;
		if (ready > 0 && fds[1].revents)
			return -ECANCELED;
		if (ready > 0)
			return 0;
	}
}

static int send_all(
	const struct connection *connection, const void *bytes, size_t count, uint64_t deadline_ms)
{
	const char *at = bytes;

	while (count) {
		ssize_t sent = send(connection->fd, at, count, MSG_NOSIGNAL | MSG_DONTWAIT);
		int error = sent < 0 ? -errno : 0;

		if (error == -EAGAIN)
			error = await(connection, POLLOUT, deadline_ms);
		else if (!error)
			at += sent, count -= (size_t)sent;
		if (error && error != -EINTR)
			return error;
	}
	return 0;
}

static int receive_all(
	const struct connection *connection, void *bytes, size_t count, uint64_t deadline_ms)
{
	char *at = bytes;

	while (count) {
		ssize_t got = recv(connection->fd, at, count, MSG_DONTWAIT);
		int error = got < 0 ? -errno : 0;

		if (error == -EAGAIN)
			error = await(connection, POLLIN, deadline_ms);
		else if (!got)
			error = -ECONNRESET;
		else if (!error)
			at += got, count -= (size_t)got;
		if (error && error != -EINTR)
			return error;
	}
	return 0;
}

/* --- sentences ------------------------------------------------------------------------------- */

static int explain(const struct connection *connection, int error, struct fail *fail)
{
	const char *peer = connection->peer;

	switch (error) {
	case -ETIMEDOUT:
		return fail_set(fail, ETIMEDOUT,
			"%s does not answer: nothing came within %u ms; check the address, the "
			"network and its firewalls, and whether the target is alive",
			peer, connection->patience_ms);
	case -ECONNREFUSED:
		return fail_set(fail, ECONNREFUSED,
			"%s refuses connections: no NVMe/TCP target listens there; start it, or "
			"check the port",
			peer);
	case -ECANCELED:
		return fail_set(fail, ECANCELED, "given up on request");
	case -ECONNRESET:
	case -EPIPE:
		return fail_set(fail, ECONNRESET, "%s hung up", peer);
	default:
		return fail_set(fail, -error, "cannot talk to %s: %s", peer, strerror(-error));
	}
}

static int protocol(const struct connection *connection, const char *what, struct fail *fail)
{
	return fail_set(fail, EPROTO, "%s does not speak NVMe/TCP as it should: %s",
		connection->peer, what);
}

/* --- opening --------------------------------------------------------------------------------- */

static int finish_connect(const struct connection *connection, uint64_t deadline_ms)
{
	int error = await(connection, POLLOUT, deadline_ms), result = 0;
	socklen_t length = sizeof(result);

	if (!error && getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &result, &length))
		error = -errno;
	return error ? error : -result;
}

static int connect_to(
	struct connection *connection, const struct addrinfo *address, uint64_t deadline_ms)
{
	/* What has not left when we close, or die, never leaves: a write that is sent late must not
	 * meet a later one that went another way. */
	struct linger linger = {.l_onoff = 1};
	int one = 1, error = 0;

	connection->fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (connection->fd < 0)
		return -errno;
	setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	if (connect(connection->fd, address->ai_addr, address->ai_addrlen))
		error = errno == EINPROGRESS ? finish_connect(connection, deadline_ms) : -errno;
	if (error)
		connection_close(connection);
	return error;
}

static int connect_to_any(
	struct connection *connection, const struct nvme_tcp_path *path, struct fail *fail)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
	uint64_t deadline_ms = connection_clock_ms() + connection->patience_ms;
	char port[8];
	int error;

	snprintf(port, sizeof(port), "%u", path->port);
	error = getaddrinfo(path->host, port, &hints, &list);
	if (error)
		return fail_set(fail, EHOSTUNREACH,
			"the address of '%.200s' cannot be found: %s; check the name, or write its "
			"IP address",
			path->host, gai_strerror(error));
	error = -EHOSTUNREACH;
	for (const struct addrinfo *at = list; at && error; at = at->ai_next)
		error = connect_to(connection, at, deadline_ms);
	freeaddrinfo(list);
	return error ? explain(connection, error, fail) : 0;
}

static int check_agreement(struct connection *connection, const struct pdu_ic *answer,
	struct pdu_digests wanted, struct fail *fail)
{
	bool header = answer->digests & PDU_IC_HEADER_DIGEST;
	bool data = answer->digests & PDU_IC_DATA_DIGEST;

	if (answer->header.type == PDU_C2H_TERMINATE)
		return protocol(connection, "it refused the connection's first PDU", fail);
	if (answer->header.type != PDU_IC_RESPONSE ||
		answer->header.header_bytes != sizeof(*answer) ||
		le32_get(answer->header.bytes) != sizeof(*answer))
		return protocol(connection, "its first PDU is no ICResp", fail);
	if (le16_get(answer->version))
		return protocol(connection, "its version of the PDU format is not 0", fail);
	if (answer->alignment > PDU_IC_ALIGN_MAX)
		return protocol(connection, "it wants data at an impossible alignment", fail);
	if (le32_get(answer->limit) < PDU_H2C_BYTES_MIN || le32_get(answer->limit) % 4)
		return protocol(connection, "its MAXH2CDATA is below 4096 or odd", fail);
	if ((wanted.header && !header) || (wanted.data && !data))
		return fail_set(fail, ENOTSUP, "%s cannot do %s digests: attach without %s",
			connection->peer, wanted.header && !header ? "header" : "data",
			wanted.header && !header ? "hdgst=1" : "ddgst=1");
	if (header != wanted.header || data != wanted.data)
		return protocol(connection, "it uses digests that were not asked for", fail);
	connection->digests = wanted;
	connection->align_bytes = 4 * (answer->alignment + 1u);
	connection->h2c_bytes_max = le32_get(answer->limit);
	return 0;
}

/* Tcp 3.3: ICReq, ICResp. */
static int agree(struct connection *connection, struct pdu_digests digests, struct fail *fail)
{
	uint64_t deadline_ms = connection_clock_ms() + connection->patience_ms;
	struct pdu_ic request = {0}, answer;
	int error;

	request.digests = (uint8_t)((digests.header ? PDU_IC_HEADER_DIGEST : 0) |
				    (digests.data ? PDU_IC_DATA_DIGEST : 0));
	pdu_seal(&request, PDU_IC_REQUEST, 0, (struct pdu_digests){0}, 4);
	error = send_all(connection, &request, sizeof(request), deadline_ms);
	if (!error) /* the header first: a refusal is shorter */
		error = receive_all(connection, &answer, sizeof(answer.header), deadline_ms);
	if (!error && answer.header.type == PDU_IC_RESPONSE)
		error = receive_all(connection, (char *)&answer + sizeof(answer.header),
			sizeof(answer) - sizeof(answer.header), deadline_ms);
	if (error)
		return explain(connection, error, fail);
	return check_agreement(connection, &answer, digests, fail);
}

int connection_open(struct connection *connection, const struct nvme_tcp_path *path,
	struct pdu_digests digests, struct fail *fail)
{
	int error;

	snprintf(connection->peer, sizeof(connection->peer),
		strchr(path->host, ':') ? "[%s]:%u" : "%s:%u", path->host, path->port);
	connection->fd = -1;
	error = connect_to_any(connection, path, fail);
	if (!error)
		error = agree(connection, digests, fail);
	if (error)
		connection_close(connection);
	return error;
}

void connection_close(struct connection *connection)
{
	if (connection->fd >= 0)
		close(connection->fd);
	connection->fd = -1;
}

/* --- commands -------------------------------------------------------------------------------- */

/* Tcp 3.4.1: data in the capsule, or none, or what the controller sends. */
static int send_command(
	struct connection *connection, struct exchange *exchange, uint64_t deadline_ms)
{
	union {
		struct pdu_command pdu;
		char bytes[PDU_HEAD_BYTES_MAX];
	} head = {.pdu.command = exchange->command};
	struct nvme_command *command = &head.pdu.command;
	uint32_t out = exchange->out_bytes, begin;
	le32 crc;
	int error;

	assert(out <= PDU_ADMIN_CAPSULE_BYTES && !(out && exchange->in_bytes));
	command->flags = NVME_COMMAND_SGL;
	command->sgl = (struct nvme_sgl){.bytes = le32_of(out ? out : exchange->in_bytes),
		.type = out ? NVME_SGL_DATA_OFFSET : NVME_SGL_TRANSPORT};
	begin = pdu_seal(&head, PDU_COMMAND, out, connection->digests, connection->align_bytes);
	error = send_all(connection, &head, begin, deadline_ms);
	if (error || !out)
		return error;
	error = send_all(connection, exchange->out, out, deadline_ms);
	crc = le32_of(crc32c(0, exchange->out, out));
	if (!error && connection->digests.data)
		error = send_all(connection, &crc, sizeof(crc), deadline_ms);
	return error;
}

/* Ids of asynchronous event requests; others are below. */
enum { EVENT_ID = 0x8000 };

/* An answer that is being read. */
struct answer {
	struct connection *connection;
	struct exchange *exchange;
	uint64_t deadline_ms;
	uint32_t have;	 /* bytes of exchange->in */
	const char *why; /* -EPROTO: what was wrong */
};

static int wrong(struct answer *answer, const char *why)
{
	answer->why = why;
	return -EPROTO;
}

static int receive(struct answer *answer, void *bytes, size_t count)
{
	return receive_all(answer->connection, bytes, count, answer->deadline_ms);
}

/* Reads a header with its digest and padding. */
static int receive_header(struct answer *answer, void *header, struct pdu_shape *shape)
{
	char padding[UINT8_MAX];
	le32 crc;
	int error = receive(answer, header, sizeof(struct pdu_header));

	if (error)
		return error;
	answer->why = pdu_check(header, answer->connection->digests, shape);
	if (answer->why)
		return -EPROTO;
	error = receive(answer, (char *)header + sizeof(struct pdu_header),
		shape->header_bytes - sizeof(struct pdu_header));
	if (!error && shape->digest_bytes)
		error = receive(answer, &crc, sizeof(crc));
	if (!error && shape->digest_bytes &&
		le32_get(crc) != crc32c(0, header, shape->header_bytes))
		return wrong(answer, "a PDU with a wrong header digest");
	return error ? error : receive(answer, padding, shape->pad_bytes);
}

static int receive_data(
	struct answer *answer, const struct pdu_data *pdu, const struct pdu_shape *shape)
{
	struct exchange *exchange = answer->exchange;
	char *at = (char *)exchange->in + answer->have;
	le32 crc;
	int error;

	if (le16_get(pdu->id) != le16_get(exchange->command.id))
		return wrong(answer, "data for a command that was not sent");
	if (le32_get(pdu->offset) != answer->have || le32_get(pdu->bytes) != shape->data_bytes ||
		shape->data_bytes > exchange->in_bytes - answer->have)
		return wrong(answer, "data out of range");
	error = receive(answer, at, shape->data_bytes);
	if (!error && shape->data_digest)
		error = receive(answer, &crc, sizeof(crc));
	if (!error && shape->data_digest && le32_get(crc) != crc32c(0, at, shape->data_bytes))
		return wrong(answer, "data with a wrong digest");
	answer->have += shape->data_bytes;
	return error;
}

/* True when the completion is one of an asynchronous event request: it is taken. One that was
 * refused is not asked for again. */
static bool take_event(struct connection *connection, const struct nvme_completion *completion)
{
	unsigned id = le16_get(completion->id), bit = id - EVENT_ID;

	if (id < EVENT_ID || bit >= CONNECTION_EVENTS_MAX ||
		!(connection->events_asked & 1u << bit))
		return false;
	if (nvme_status_of(completion))
		return true;
	assert(connection->event_count < CONNECTION_EVENTS_MAX);
	connection->events_asked &= ~(1u << bit);
	connection->events[connection->event_count++] = le32_get(completion->dw0);
	return true;
}

/* Reads PDUs up to the completion; without an exchange, up to an event. */
static int receive_answer(struct answer *answer)
{
	struct exchange *exchange = answer->exchange;
	union {
		struct pdu_header header;
		struct pdu_data data;
		struct pdu_response response;
		struct pdu_terminate terminate;
	} pdu;
	struct pdu_shape shape;
	bool done = false;

	while (!done) {
		int error = receive_header(answer, &pdu, &shape);

		if (error)
			return error;
		if (pdu.header.type == PDU_C2H_TERMINATE)
			return wrong(answer, pdu_terminate_text(le16_get(pdu.terminate.status)));
		if (pdu.header.type == PDU_RESPONSE &&
			take_event(answer->connection, &pdu.response.completion)) {
			if (!exchange)
				return 0;
			continue;
		}
		if (!exchange)
			return wrong(answer, "it answers what was not asked");
		if (pdu.header.type == PDU_R2T)
			return wrong(answer, "it asks for data that came in the capsule");
		if (pdu.header.type == PDU_C2H_DATA) {
			error = receive_data(answer, &pdu.data, &shape);
			if (error)
				return error;
			done = (pdu.header.flags & PDU_LAST) && (pdu.header.flags & PDU_SUCCESS);
			exchange->completion = (struct nvme_completion){0};
			continue;
		}
		exchange->completion = pdu.response.completion;
		if (le16_get(exchange->completion.id) != le16_get(exchange->command.id))
			return wrong(answer, "a completion for a command that was not sent");
		done = true;
	}
	if (!nvme_status_of(&exchange->completion) && answer->have != exchange->in_bytes &&
		!exchange->in_may_be_short)
		return wrong(answer, "a success without all of the data");
	return 0;
}

int connection_exchange(struct connection *connection, struct exchange *exchange, struct fail *fail)
{
	struct answer answer = {.connection = connection,
		.exchange = exchange,
		.deadline_ms = connection_clock_ms() + connection->patience_ms};
	int error;

	connection->next_id = (uint16_t)(connection->next_id % (EVENT_ID - 1) + 1);
	exchange->command.id = le16_of(connection->next_id);
	error = send_command(connection, exchange, answer.deadline_ms);
	if (!error)
		error = receive_answer(&answer);
	if (error == -EPROTO)
		return protocol(connection, answer.why, fail);
	return error ? explain(connection, error, fail) : 0;
}

int connection_ask_events(struct connection *connection, unsigned limit, struct fail *fail)
{
	uint64_t deadline_ms = connection_clock_ms() + connection->patience_ms;
	unsigned busy = (unsigned)__builtin_popcount(connection->events_asked);

	limit = MIN(limit, (unsigned)CONNECTION_EVENTS_MAX);
	for (unsigned i = 0; i < limit && busy + connection->event_count < limit; i++) {
		struct exchange exchange = {.command = {.opcode = NVME_ASYNC_EVENT,
						    .id = le16_of((uint16_t)(EVENT_ID + i))}};
		int error;

		if (connection->events_asked & 1u << i)
			continue;
		error = send_command(connection, &exchange, deadline_ms);
		if (error)
			return explain(connection, error, fail);
		connection->events_asked |= 1u << i;
		busy++;
	}
	return 0;
}

int connection_hear(struct connection *connection, struct fail *fail)
{
	struct answer answer = {.connection = connection,
		.deadline_ms = connection_clock_ms() + connection->patience_ms};
	int error = receive_answer(&answer);

	if (error == -EPROTO)
		return protocol(connection, answer.why, fail);
	return error ? explain(connection, error, fail) : 0;
}
