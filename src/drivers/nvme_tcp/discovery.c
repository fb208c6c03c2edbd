/* SPDX-License-Identifier: Apache-2.0 */
/* What there is behind an address: the discovery log (base 5.1.12.3.1) and the namespaces of a
 * subsystem. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "drivers/nvme_tcp/controller.h"

enum { TRIES = 3 };

/* A field padded with blanks or zeros into text; false: it is empty, or not printable. */
static bool take_field(char *text, size_t room, const char *field, size_t bytes)
{
	size_t length = strnlen(field, bytes);

	while (length && field[length - 1] == ' ')
		length--;
	if (!length || length >= room)
		return false;
	for (size_t i = 0; i < length; i++)
		if (!isgraph((unsigned char)field[i]))
			return false;
	snprintf(text, room, "%.*s", (int)length, field);
	return true;
}

static bool take_record(struct nvme_tcp_found *found, const struct discovery_record *record)
{
	char service[sizeof(record->service) + 1], *end;
	unsigned long port;

	*found = (struct nvme_tcp_found){.discovery = record->kind != DISCOVERY_SUBSYSTEM};
	if (record->transport != DISCOVERY_TCP || record->kind == DISCOVERY_SELF)
		return false;
	if (!take_field(found->nqn, sizeof(found->nqn), record->nqn, sizeof(record->nqn)) ||
		!take_field(found->path.host, sizeof(found->path.host), record->address,
			sizeof(record->address)) ||
		!take_field(service, sizeof(service), record->service, sizeof(record->service)))
		return false;
	port = strtoul(service, &end, 10);
	if (*end || !port || port > UINT16_MAX)
		return false;
	found->path.port = (uint16_t)port;
	return true;
}

/* Reads the log once. *changed: its generation is not the same at the end. */
static int read_log(struct tcp_controller *controller, struct nvme_tcp_found *found,
	unsigned *count, bool *changed, struct fail *fail)
{
	struct discovery_header header, again;
	struct log_piece head = {.page = NVME_LOG_DISCOVERY, .bytes = sizeof(header)};
	struct log_piece piece = {.page = NVME_LOG_DISCOVERY, .bytes = 1024};
	uint64_t records;
	int error = tcp_controller_log(controller, &head, &header, fail);

	*count = 0;
	if (error)
		return error;
	again = header;
	records = MIN(le64_get(header.records), (uint64_t)NVME_TCP_FOUND_MAX);
	for (uint64_t i = 0; i < records && !error; i++) {
		struct discovery_record record;

		piece.offset = sizeof(header) + i * sizeof(record);
		error = tcp_controller_log(controller, &piece, &record, fail);
		if (!error)
			*count += take_record(&found[*count], &record);
	}
	if (!error)
		error = tcp_controller_log(controller, &head, &again, fail);
	*changed = le64_get(header.generation) != le64_get(again.generation);
	return error;
}

int nvme_tcp_discover(const struct nvme_tcp_path *path, struct nvme_tcp_found *found,
	unsigned *count, struct fail *fail)
{
	struct nvme_tcp_target target = {.path[0] = *path, .paths = 1};
	struct tcp_controller controller;
	bool changed = true;
	int error;

	*count = 0;
	if (!target.path[0].port)
		target.path[0].port = NVME_TCP_PORT;
	error = tcp_controller_open(
		&controller, &target, &target.path[0], FABRICS_DISCOVERY_NQN, -1, fail);
	for (unsigned i = 0; i < TRIES && changed && !error; i++)
		error = read_log(&controller, found, count, &changed, fail);
	tcp_controller_close(&controller);
	return error;
}

int nvme_tcp_namespaces(const struct nvme_tcp_target *target, uint32_t *nsids, unsigned room,
	unsigned *count, struct fail *fail)
{
	le32 ids[NVME_NAMESPACE_IDS];
	struct tcp_controller controller;
	int error =
		tcp_controller_open(&controller, target, &target->path[0], target->nqn, -1, fail);

	*count = 0;
	if (error)
		return error;
	error = tcp_controller_identify(&controller, NVME_IDENTIFY_NAMESPACES, 0, ids, NULL, fail);
	for (unsigned i = 0; i < NVME_NAMESPACE_IDS && !error && *count < room; i++) {
		if (!le32_get(ids[i]))
			break;
		nsids[(*count)++] = le32_get(ids[i]);
	}
	tcp_controller_close(&controller);
	return error;
}
