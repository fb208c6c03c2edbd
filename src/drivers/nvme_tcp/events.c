/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asynchronous events (base 5.1.2): what a controller tells without being asked. Each is told once,
 * and then not again before its log page has been read; so the page is read first, and what the
 * event is about is examined afterwards: a change between the two is told anew.
 */
#include <errno.h>

#include "base/bits.h"
#include "base/log.h"
#include "drivers/nvme_tcp/controller.h"

enum { PERSISTENT_ERROR = 3 }; /* of the error events */

int tcp_controller_await_events(struct tcp_controller *controller, struct fail *fail)
{
	uint32_t optional = NVME_EVENTS_NAMESPACE | NVME_EVENTS_ANA;
	struct exchange exchange = {.command = {.opcode = NVME_SET_FEATURES}};
	int error;

	exchange.command.cdw10 = le32_of(NVME_FEATURE_ASYNC_EVENTS);
	exchange.command.cdw11 =
		le32_of(NVME_EVENTS_SPARE | NVME_EVENTS_TEMPERATURE | NVME_EVENTS_DEGRADED |
			NVME_EVENTS_READ_ONLY | (controller->events & optional));
	error = tcp_controller_execute(controller, &exchange, "to tell of events", fail);
	/* -EIO: it tells what it tells by itself, which may be nothing. */
	if (error && error != -EIO)
		return error;
	return connection_ask_events(&controller->admin, controller->event_limit, fail);
}

bool tcp_controller_has_news(const struct tcp_controller *controller)
{
	return controller->admin.event_count;
}

/* What it holds is of no interest here: that it has been read is. */
static int read_page(struct tcp_controller *controller, unsigned page, struct fail *fail)
{
	_Alignas(8) uint8_t log[NVME_IDENTIFY_BYTES];
	struct log_piece piece = {.page = page, .bytes = sizeof(struct nvme_health)};
	int error;

	if (page == NVME_LOG_ERROR)
		piece.bytes = sizeof(struct nvme_error_entry);
	else if (page == NVME_LOG_CHANGED_NAMESPACES || page == NVME_LOG_ANA)
		piece.bytes = sizeof(log);
	error = tcp_controller_log(controller, &piece, log, fail);
	return error == -EIO ? 0 : error;
}

static int take_event(
	struct tcp_controller *controller, uint32_t event, struct tcp_news *news, struct fail *fail)
{
	static const char *const health[] = {"its reliability is reduced",
		"its temperature is out of range", "its spare blocks are running out"};
	unsigned type = nvme_event_type(event), information = nvme_event_information(event);
	const char *peer = controller->admin.peer, *nqn = controller->nqn;
	int error = 0;

	if (nvme_event_page(event))
		error = read_page(controller, nvme_event_page(event), fail);
	if (type == NVME_EVENT_NOTICE && information == NVME_NOTICE_NAMESPACE)
		news->namespaces = true;
	else if (type == NVME_EVENT_NOTICE && information == NVME_NOTICE_ANA)
		news->paths = true;
	else if (type == NVME_EVENT_HEALTH)
		log_warning("event=nvme_tcp.health target=%s nqn=%s what=\"%s\"", peer, nqn,
			information < ARRAY_SIZE(health) ? health[information] : "see its health");
	else
		log_warning("event=nvme_tcp.event target=%s nqn=%s type=%u information=%u", peer,
			nqn, type, information);
	news->broken |= type == NVME_EVENT_ERROR && information == PERSISTENT_ERROR;
	return error;
}

int tcp_controller_take_news(
	struct tcp_controller *controller, struct tcp_news *news, struct fail *fail)
{
	struct connection *admin = &controller->admin;
	int error = admin->event_count ? 0 : connection_hear(admin, fail);

	*news = (struct tcp_news){0};
	while (!error && admin->event_count)
		error = take_event(controller, admin->events[--admin->event_count], news, fail);
	return error ? error : connection_ask_events(admin, controller->event_limit, fail);
}
