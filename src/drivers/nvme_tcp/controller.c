/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/nvme_tcp/controller.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "reactor/reactor.h"

enum { READY_POLL_MS = 20, READY_MIN_MS = 500, READY_MAX_MS = 15000, DISABLE_MAX_MS = 1000 };

int tcp_controller_execute(struct tcp_controller *controller, struct exchange *exchange,
	const char *what, struct fail *fail)
{
	int error = connection_exchange(&controller->admin, exchange, fail);
	unsigned status = nvme_status_of(&exchange->completion);

	if (!error && status)
		error = fail_set(fail, EIO, "%s refuses %s (status %03x)", controller->admin.peer,
			what, nvme_status_code(status));
	return error;
}

/* --- Fabrics commands (base 6) --------------------------------------------------------------- */

static struct nvme_command fabrics_command(enum fabrics_type type)
{
	/* The Fabrics type stands where other commands have the lowest byte of NSID. */
	return (struct nvme_command){.opcode = NVME_FABRICS, .nsid = le32_of(type)};
}

static int property_set(struct tcp_controller *controller, enum nvme_register place, uint32_t value,
	struct fail *fail)
{
	struct exchange exchange = {.command = fabrics_command(FABRICS_PROPERTY_SET)};

	exchange.command.cdw11 = le32_of(place);
	exchange.command.cdw12 = le32_of(value);
	return tcp_controller_execute(controller, &exchange, "to set a property", fail);
}

static int property_get(struct tcp_controller *controller, enum nvme_register place,
	uint64_t *value, struct fail *fail)
{
	struct exchange exchange = {.command = fabrics_command(FABRICS_PROPERTY_GET)};
	bool wide = place == NVME_CAP;
	int error;

	exchange.command.cdw10 = le32_of(wide);
	exchange.command.cdw11 = le32_of(place);
	error = tcp_controller_execute(controller, &exchange, "to tell a property", fail);
	*value = le32_get(exchange.completion.dw0);
	if (wide)
		*value |= (uint64_t)le32_get(exchange.completion.dw1) << 32;
	return error;
}

/* Why Connect was refused, for the operator. */
static int explain_connect(const struct tcp_controller *controller,
	const struct connection *connection, const struct nvme_completion *completion,
	struct fail *fail)
{
	unsigned status = nvme_status_code(nvme_status_of(completion));
	uint32_t where = le32_get(completion->dw0);
	const char *peer = connection->peer, *nqn = controller->nqn;

	if (status == FABRICS_CONNECT_HOST)
		return fail_set(fail, EACCES,
			"%s does not let this host use %s: allow %s on the target", peer, nqn,
			controller->host_nqn);
	if (status == FABRICS_CONNECT_PARAMETERS &&
		where == (FABRICS_WRONG_IN_DATA | FABRICS_DATA_HOST))
		return fail_set(fail, EACCES, "%s does not accept the host name %s", peer,
			controller->host_nqn);
	if (status == FABRICS_CONNECT_PARAMETERS)
		return fail_set(fail, ENOENT,
			"there is no subsystem %s at %s: check the name; a discovery lists those "
			"there are",
			nqn, peer);
	if (status == FABRICS_CONNECT_BUSY)
		return fail_set(
			fail, EBUSY, "%s has no more room for a host or a queue on %s", peer, nqn);
	return fail_set(fail, EIO, "%s refuses to connect %s (status %03x)", peer, nqn, status);
}

/* Does what Connect's answer demands. */
static int authenticate(struct tcp_controller *controller, struct connection *connection,
	uint32_t demands, struct fail *fail)
{
	if (demands & FABRICS_MUST_SECURE_CHANNEL)
		return fail_set(fail, EACCES,
			"%s demands a secure channel for %s, which braid cannot do: switch it off "
			"for this host on the target",
			connection->peer, controller->nqn);
	if (demands & FABRICS_MUST_AUTHENTICATE)
		return tcp_controller_authenticate(controller, connection, fail);
	/* Somebody in its place would not ask either. */
	if (controller->controller_secret.bytes)
		return fail_set(fail, EACCES,
			"%s does not authenticate itself for %s, although there is a secret for "
			"it: set one for this host on the target",
			connection->peer, controller->nqn);
	return 0;
}

/* Connects queue `id` on connection; 0 is the admin queue. */
static int fabrics_connect(struct tcp_controller *controller, struct connection *connection,
	unsigned id, struct fail *fail)
{
	struct fabrics_connect_data data = {.controller_id = le16_of(controller->id)};
	struct exchange exchange = {.command = fabrics_command(FABRICS_CONNECT),
		.out = &data,
		.out_bytes = sizeof(data)};
	unsigned entries = id ? controller->queue_entries : 32;
	int error;

	memcpy(data.host_id, controller->host_id, sizeof(data.host_id));
	snprintf(data.subsystem, sizeof(data.subsystem), "%s", controller->nqn);
	snprintf(data.host, sizeof(data.host), "%s", controller->host_nqn);
	exchange.command.cdw10 = le32_of(id << 16);
	exchange.command.cdw11 = le32_of((entries - 1) | FABRICS_NO_FLOW_CONTROL << 16);
	if (!id)
		exchange.command.cdw12 = le32_of(controller->target->keep_alive_s * 1000);
	error = connection_exchange(connection, &exchange, fail);
	if (error)
		return error;
	if (nvme_status_of(&exchange.completion))
		return explain_connect(controller, connection, &exchange.completion, fail);
	if (!id)
		controller->id = (uint16_t)le32_get(exchange.completion.dw0);
	return authenticate(controller, connection, le32_get(exchange.completion.dw0), fail);
}

/* --- bring-up -------------------------------------------------------------------------------- */

/* Waits until CSTS.RDY is as wanted. */
static int await_ready(
	struct tcp_controller *controller, bool ready, unsigned limit_ms, struct fail *fail)
{
	uint64_t deadline_ms = connection_clock_ms() + limit_ms, status;

	while (true) {
		int error = property_get(controller, NVME_CSTS, &status, fail);

		if (error)
			return error;
		if (status & NVME_CSTS_FATAL)
			return fail_set(fail, EIO, "the controller at %s reports a fatal error",
				controller->admin.peer);
		if (ready == !!(status & NVME_CSTS_READY))
			return 0;
		if (connection_clock_ms() >= deadline_ms)
			return fail_set(fail, ETIMEDOUT,
				"the controller at %s does not become %s within %u ms",
				controller->admin.peer, ready ? "ready" : "idle", limit_ms);
		poll(NULL, 0, READY_POLL_MS);
	}
}

static int enable(struct tcp_controller *controller, struct fail *fail)
{
	unsigned limit_ms;
	uint64_t cap;
	int error = property_get(controller, NVME_CAP, &cap, fail);

	if (error)
		return error;
	controller->capabilities = cap;
	controller->queue_entries = MIN(nvme_cap_mqes(cap) + 1, (unsigned)CONTROLLER_QUEUE_ENTRIES);
	if (controller->queue_entries < 2)
		return fail_set(
			fail, EPROTO, "%s offers queues without room", controller->admin.peer);
	error = property_set(controller, NVME_CC,
		NVME_CC_ENABLE | NVME_CC_SETS_NVM | NVME_CC_SQES_64 | NVME_CC_CQES_16, fail);
	limit_ms = MIN(READY_MIN_MS * nvme_cap_timeout(cap), (unsigned)READY_MAX_MS);
	return error ? error
		     : await_ready(controller, true, MAX(limit_ms, (unsigned)READY_MIN_MS), fail);
}

/* Anew for each association: the files may have been changed together with the target. */
static int read_secrets(struct tcp_controller *controller, struct fail *fail)
{
	const struct nvme_tcp_target *target = controller->target;
	int error = 0;

	if (target->secret_file[0])
		error = chap_secret_read(&controller->secret, target->secret_file, fail);
	if (!error && target->controller_secret_file[0])
		error = chap_secret_read(
			&controller->controller_secret, target->controller_secret_file, fail);
	return error;
}

int tcp_controller_open(struct tcp_controller *controller, const struct nvme_tcp_target *target,
	const struct nvme_tcp_path *path, const char *nqn, int cancel_fd, struct fail *fail)
{
	struct pdu_digests digests = {target->header_digest, target->data_digest};
	int error;

	*controller = (struct tcp_controller){
		.target = target,
		.path = path,
		.nqn = nqn,
		.id = FABRICS_CONTROLLER_ANY,
		.admin = {.cancel_fd = cancel_fd, .patience_ms = CONNECTION_PATIENCE_MS},
	};
	host_identity(target, controller->host_nqn, controller->host_id);
	controller->admin.fd = -1;
	error = read_secrets(controller, fail);
	if (!error)
		error = connection_open(&controller->admin, path, digests, fail);
	if (!error)
		error = fabrics_connect(controller, &controller->admin, 0, fail);
	if (!error)
		error = enable(controller, fail);
	if (error)
		tcp_controller_close(controller);
	return error;
}

int tcp_controller_ask_queues(struct tcp_controller *controller, struct fail *fail)
{
	struct exchange exchange = {.command = {.opcode = NVME_SET_FEATURES}};
	uint32_t wanted = REACTORS_MAX - 1, granted;
	int error;

	exchange.command.cdw10 = le32_of(NVME_FEATURE_QUEUES);
	exchange.command.cdw11 = le32_of(wanted << 16 | wanted);
	error = tcp_controller_execute(controller, &exchange, "any I/O queue", fail);
	granted = le32_get(exchange.completion.dw0);
	controller->queues = MIN(MIN(granted & 0xffff, granted >> 16), wanted) + 1;
	return error;
}

int tcp_controller_open_queue(struct tcp_controller *controller, struct connection *connection,
	unsigned id, struct fail *fail)
{
	int error;

	*connection = (struct connection){.cancel_fd = controller->admin.cancel_fd,
		.patience_ms = controller->admin.patience_ms};
	error = connection_open(connection, controller->path, controller->admin.digests, fail);
	if (!error)
		error = fabrics_connect(controller, connection, id, fail);
	if (error)
		connection_close(connection);
	return error;
}

int tcp_controller_keep_alive(struct tcp_controller *controller, struct fail *fail)
{
	struct exchange exchange = {.command = {.opcode = NVME_KEEP_ALIVE}};

	return tcp_controller_execute(controller, &exchange, "to be kept alive", fail);
}

int tcp_controller_disable(struct tcp_controller *controller, struct fail *fail)
{
	int error;

	controller->admin.patience_ms = DISABLE_MAX_MS;
	error = property_set(controller, NVME_CC, NVME_CC_SQES_64 | NVME_CC_CQES_16, fail);
	return error ? error : await_ready(controller, false, DISABLE_MAX_MS, fail);
}

void tcp_controller_close(struct tcp_controller *controller)
{
	connection_close(&controller->admin);
	chap_wipe(&controller->secret, sizeof(controller->secret));
	chap_wipe(&controller->controller_secret, sizeof(controller->controller_secret));
}

/* --- questions ------------------------------------------------------------------------------- */

int tcp_controller_identify(struct tcp_controller *controller, enum nvme_identify what,
	uint32_t nsid, void *page, unsigned *status, struct fail *fail)
{
	struct exchange exchange = {
		.command = {.opcode = NVME_IDENTIFY, .nsid = le32_of(nsid)},
		.in = page,
		.in_bytes = NVME_IDENTIFY_BYTES,
	};
	int error;

	exchange.command.cdw10 = le32_of(what);
	error = tcp_controller_execute(controller, &exchange, "to identify itself", fail);
	if (status)
		*status = error ? nvme_status_code(nvme_status_of(&exchange.completion)) : 0;
	return error;
}

int tcp_controller_log(struct tcp_controller *controller, const struct log_piece *piece,
	void *bytes, struct fail *fail)
{
	uint32_t dwords = piece->bytes / 4 - 1;
	struct exchange exchange = {
		.command = {.opcode = NVME_GET_LOG_PAGE, .nsid = le32_of(NVME_NSID_ALL)},
		.in = bytes,
		.in_bytes = piece->bytes,
	};

	exchange.command.cdw10 =
		le32_of(piece->page | (uint32_t)piece->specific << 8 | (dwords & 0xffff) << 16);
	exchange.command.cdw11 = le32_of(dwords >> 16);
	exchange.command.cdw12 = le32_of((uint32_t)piece->offset);
	exchange.command.cdw13 = le32_of((uint32_t)(piece->offset >> 32));
	return tcp_controller_execute(controller, &exchange, "a log page", fail);
}
