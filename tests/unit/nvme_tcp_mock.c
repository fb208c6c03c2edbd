/* SPDX-License-Identifier: Apache-2.0 */
#include "nvme_tcp_mock.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/crc32c.h"
#include "base/random.h"
#include "drivers/nvme_tcp/pdu.h"
#include "nvme_tcp_mock_peer.h"

const struct mock_config mock_default = {
	.lba_shift = 9, .capsule_bytes = 8192, .h2c_bytes = 128 << 10, .uuid = 0x5a};

/* --- bytes ----------------------------------------------------------------------------------- */

bool peer_send(struct peer *peer, const void *bytes, size_t count)
{
	unsigned corrupt = peer->mock->config.corrupt_per_million;
	const char *at = bytes;
	char copy[4096];

	if (!peer->queue && !peer->mock->config.corrupt_admin)
		corrupt = 0;
	while (count) {
		size_t piece = MIN(count, sizeof(copy));
		ssize_t sent;

		memcpy(copy, at, piece);
		for (size_t i = 0; corrupt && i < piece; i++)
			if (random_below(&peer->random, 1000000) < corrupt)
				copy[i] ^= (char)(1u << random_below(&peer->random, 8));
		sent = send(peer->fd, copy, piece, MSG_NOSIGNAL);
		if (sent <= 0)
			return false;
		at += sent;
		count -= (size_t)sent;
	}
	return true;
}

bool peer_receive(struct peer *peer, void *bytes, size_t count)
{
	char *at = bytes;

	while (count) {
		ssize_t got = recv(peer->fd, at, count, 0);

		if (got <= 0)
			return false;
		at += got;
		count -= (size_t)got;
	}
	return true;
}

void peer_complain(struct peer *peer, const char *what)
{
	pthread_mutex_lock(&peer->mock->mutex);
	if (!peer->mock->complaint[0])
		snprintf(peer->mock->complaint, sizeof(peer->mock->complaint), "%s", what);
	pthread_mutex_unlock(&peer->mock->mutex);
}

/* Whether this command is one that goes wrong, and how. */
enum mock_fault peer_fault(struct peer *peer, bool write)
{
	struct mock *mock = peer->mock;
	enum mock_fault fault = MOCK_FINE;

	pthread_mutex_lock(&mock->mutex);
	if (mock->fault && mock->fault_writes == write) {
		if (mock->fault_after) {
			mock->fault_after--;
		} else {
			fault = mock->fault;
			if (!--mock->fault_count)
				mock->fault = MOCK_FINE;
		}
	}
	pthread_mutex_unlock(&mock->mutex);
	return fault;
}

/* --- a connection: ICReq, and commands ------------------------------------------------------- */

static bool greet(struct peer *peer)
{
	const struct mock_config *config = &peer->mock->config;
	struct pdu_ic request, answer = {.header = {.type = PDU_IC_RESPONSE,
						 .header_bytes = sizeof(answer),
						 .bytes = le32_of(sizeof(answer))}};

	if (config->refusal == MOCK_CUT_ACCEPT)
		return false;
	if (!peer_receive(peer, &request, sizeof(request)))
		return false;
	if (request.header.type != PDU_IC_REQUEST || le32_get(request.header.bytes) != 128 ||
		le16_get(request.version) || request.alignment || le32_get(request.limit))
		peer_complain(peer, "ICReq");
	if (config->refusal == MOCK_CUT_REQUEST)
		return false;
	if (config->refusal == MOCK_NOISE)
		return peer_send(peer, "HTTP/1.1 400 Bad Request\r\n\r\n", 28) && false;
	if (!config->no_digests)
		answer.digests = request.digests;
	peer->digests.header = answer.digests & PDU_IC_HEADER_DIGEST;
	peer->digests.data = answer.digests & PDU_IC_DATA_DIGEST;
	answer.alignment = config->refusal == MOCK_ALIGNMENT ? 200 : (uint8_t)config->alignment;
	answer.limit = le32_of(config->refusal == MOCK_LIMIT ? 16 : config->h2c_bytes);
	answer.version = le16_of(config->refusal == MOCK_VERSION);
	return peer_send(peer, &answer, sizeof(answer));
}

/* Reads what stands between header and data; checks the digest and the place of the data. */
static bool receive_head(struct peer *peer, union peer_pdu *pdu, uint32_t *data_bytes)
{
	const struct pdu_header *header = &pdu->header;
	uint32_t align = 4 * (peer->mock->config.alignment + 1), at, total;
	char padding[PDU_HEAD_BYTES_MAX];
	le32 crc;

	if (!peer_receive(peer, pdu, sizeof(*header)))
		return false;
	at = header->header_bytes;
	total = le32_get(header->bytes);
	*data_bytes = 0;
	if ((header->type != PDU_COMMAND && header->type != PDU_H2C_DATA) ||
		at != (header->type == PDU_COMMAND ? 72 : 24)) {
		peer_complain(peer, header->type == PDU_H2C_TERMINATE ? "TermReq" : "PDU type");
		return false;
	}
	if (!peer_receive(peer, pdu->bytes + sizeof(*header), at - sizeof(*header)))
		return false;
	if (peer->digests.header && !peer_receive(peer, &crc, sizeof(crc)))
		return false;
	if (peer->digests.header && le32_get(crc) != crc32c(0, pdu, at))
		peer_complain(peer, "header digest");
	at += peer->digests.header ? 4 : 0;
	if (!header->data_offset) {
		if (total != at)
			peer_complain(peer, "PLEN");
		return true;
	}
	if (header->data_offset % align || header->data_offset < at)
		peer_complain(peer, "PDO");
	*data_bytes = total - header->data_offset - (peer->digests.data ? 4 : 0);
	return peer_receive(peer, padding, header->data_offset - at);
}

static bool serve_pdu(struct peer *peer)
{
	union peer_pdu pdu;
	uint32_t data_bytes;

	if (!receive_head(peer, &pdu, &data_bytes))
		return false;
	while (atomic_load(&peer->mock->frozen) && !atomic_load(&peer->mock->stop))
		poll(NULL, 0, 5);
	if (pdu.header.type == PDU_H2C_DATA)
		return peer_take_data(peer, &pdu.data, data_bytes);
	if (pdu.command.command.opcode == NVME_FABRICS || !peer->queue)
		return peer_admin(peer, &pdu.command.command, data_bytes);
	return peer_io(peer, &pdu.command.command, data_bytes);
}

/* Held answers, in any order, and events leave when nothing more is there. */
static bool await_input(struct peer *peer)
{
	struct pollfd file = {.fd = peer->fd, .events = POLLIN};

	while (peer->held && poll(&file, 1, 0) == 0)
		if (!peer_release(peer))
			return false;
	while (peer->events.waiting && poll(&file, 1, 2) == 0)
		if (!peer_tell_events(peer))
			return false;
	return true;
}

static void *serve(void *argument)
{
	struct peer *peer = argument;

	if (peer->mock->config.refusal == MOCK_MUTE)
		while (!atomic_load(&peer->mock->stop))
			poll(NULL, 0, 5);
	if (greet(peer))
		while (await_input(peer) && serve_pdu(peer))
			;
	shutdown(peer->fd, SHUT_RDWR);
	return NULL;
}

/* --- the target ------------------------------------------------------------------------------ */

static void *listen_on(void *argument)
{
	struct mock *mock = argument;

	while (!atomic_load(&mock->stop)) {
		int fd = accept(mock->fd, NULL, NULL), one = 1;
		struct peer *peer;

		if (fd < 0)
			continue;
		assert(mock->peers < MOCK_PEERS_MAX);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		peer = calloc(1, sizeof(*peer));
		*peer = (struct peer){.mock = mock,
			.fd = fd,
			.random.state = mock->config.seed * 1000 + mock->peers};
		pthread_mutex_lock(&mock->mutex);
		mock->peer[mock->peers++] = peer;
		mock->counts.connections++;
		pthread_mutex_unlock(&mock->mutex);
		if (pthread_create(&peer->thread, NULL, serve, peer))
			abort();
	}
	return NULL;
}

struct mock *mock_start(const struct mock_config *config, char *content, uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(port)};
	socklen_t length = sizeof(address);
	struct mock *mock = calloc(1, sizeof(*mock));
	int one = 1;

	mock->config = *config;
	mock->content = content;
	pthread_mutex_init(&mock->mutex, NULL);
	mock->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(mock->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	while (bind(mock->fd, (struct sockaddr *)&address, sizeof(address)))
		poll(NULL, 0, 10);
	if (listen(mock->fd, 16) || getsockname(mock->fd, (struct sockaddr *)&address, &length) ||
		pthread_create(&mock->thread, NULL, listen_on, mock))
		abort();
	mock->port = ntohs(address.sin_port);
	return mock;
}

void mock_stop(struct mock *mock)
{
	atomic_store(&mock->stop, true);
	shutdown(mock->fd, SHUT_RDWR);
	pthread_join(mock->thread, NULL);
	close(mock->fd);
	for (unsigned i = 0; i < mock->peers; i++) {
		shutdown(mock->peer[i]->fd, SHUT_RDWR);
		pthread_join(mock->peer[i]->thread, NULL);
		close(mock->peer[i]->fd);
		chap_pair_free(mock->peer[i]->auth.pair);
		free(mock->peer[i]);
	}
	pthread_mutex_destroy(&mock->mutex);
	free(mock);
}

uint16_t mock_port(const struct mock *mock)
{
	return mock->port;
}

void mock_fault(
	struct mock *mock, enum mock_fault fault, bool writes, unsigned after, unsigned count)
{
	pthread_mutex_lock(&mock->mutex);
	mock->fault = fault;
	mock->fault_writes = writes;
	mock->fault_after = after;
	mock->fault_count = count;
	pthread_mutex_unlock(&mock->mutex);
}

void mock_count(struct mock *mock, struct mock_counts *counts)
{
	pthread_mutex_lock(&mock->mutex);
	*counts = mock->counts;
	pthread_mutex_unlock(&mock->mutex);
}

const char *mock_complaint(struct mock *mock)
{
	return mock->complaint;
}

void mock_freeze(struct mock *mock, bool frozen)
{
	atomic_store(&mock->frozen, frozen);
}
