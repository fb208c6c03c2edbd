/* SPDX-License-Identifier: Apache-2.0 */
/* The mock target: a namespace that changes, and asynchronous events about it. */
#include <assert.h>

#include "nvme_tcp_mock_peer.h"

void mock_change(struct mock *mock, const struct mock_config *config)
{
	pthread_mutex_lock(&mock->mutex);
	mock->config.ana_state = config->ana_state;
	mock->config.bytes = config->bytes;
	mock->config.gone = config->gone;
	mock->config.uuid = config->uuid;
	pthread_mutex_unlock(&mock->mutex);
}

void mock_event(struct mock *mock, uint32_t event)
{
	pthread_mutex_lock(&mock->mutex);
	assert(mock->event_count < MOCK_EVENTS_MAX);
	mock->events[mock->event_count++] = event;
	pthread_mutex_unlock(&mock->mutex);
}

bool peer_ask_event(struct peer *peer, const struct nvme_command *command)
{
	struct peer_events *events = &peer->events;
	uint16_t id = le16_get(command->id);

	pthread_mutex_lock(&peer->mock->mutex);
	peer->mock->counts.event_requests++;
	pthread_mutex_unlock(&peer->mock->mutex);
	if (peer->mock->config.no_events)
		return peer_answer(peer, id, NVME_INVALID_OPCODE, 0, MOCK_FINE);
	if (events->waiting == MOCK_EVENT_LIMIT) {
		peer_complain(peer, "more event requests than the limit");
		return peer_answer(peer, id, NVME_AER_LIMIT, 0, MOCK_FINE);
	}
	events->ids[events->waiting++] = id;
	return true;
}

void peer_page_read(struct peer *peer, unsigned page)
{
	if (page == peer->events.unread)
		peer->events.unread = 0;
}

/* Whether the host has said that it wants to hear of it. */
static bool is_wanted(const struct peer *peer, uint32_t event)
{
	unsigned type = nvme_event_type(event), information = nvme_event_information(event);

	if (type != NVME_EVENT_NOTICE)
		return true;
	return peer->events.wanted &
	       (information == NVME_NOTICE_ANA ? NVME_EVENTS_ANA : NVME_EVENTS_NAMESPACE);
}

bool peer_tell_events(struct peer *peer)
{
	struct peer_events *events = &peer->events;
	struct mock *mock = peer->mock;
	uint32_t event = 0;

	/* The next one is told when the page of the last one has been read (base 5.1.2). */
	if (!events->waiting || events->unread)
		return true;
	pthread_mutex_lock(&mock->mutex);
	if (events->seen < mock->event_count) {
		event = mock->events[events->seen++];
		mock->counts.events++;
	}
	pthread_mutex_unlock(&mock->mutex);
	if (event == MOCK_BABBLE)
		return peer_answer(peer, 0xfffe, NVME_OK, event, MOCK_FINE);
	if (!event || !is_wanted(peer, event))
		return true;
	events->unread = nvme_event_page(event);
	return peer_answer(peer, events->ids[--events->waiting], NVME_OK, event, MOCK_FINE);
}
