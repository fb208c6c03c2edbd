/* SPDX-License-Identifier: Apache-2.0 */
/* The mock target: Fabrics and admin commands. */
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "nvme_tcp_mock_peer.h"

bool peer_give(
	struct peer *peer, const struct nvme_command *command, const void *page, uint32_t bytes)
{
	struct piece piece = {
		.id = le16_get(command->id), .bytes = bytes, .data = page, .last = true};

	if (le32_get(command->sgl.bytes) != bytes || command->sgl.type != NVME_SGL_TRANSPORT)
		peer_complain(peer, "SGL of an admin command");
	return peer_send_data(peer, &piece, MOCK_FINE) &&
	       peer_answer(peer, piece.id, NVME_OK, 0, MOCK_FINE);
}

static bool connect_queue(struct peer *peer, const struct nvme_command *command, const char *data)
{
	struct mock *mock = peer->mock;
	const struct fabrics_connect_data *connect = (const struct fabrics_connect_data *)data;
	uint16_t id = le16_get(command->id);
	bool discovery = !strcmp(connect->subsystem, FABRICS_DISCOVERY_NQN);
	uint64_t result = 1;

	peer->queue = le32_get(command->cdw10) >> 16;
	pthread_mutex_lock(&mock->mutex);
	peer->events.seen = mock->event_count;
	mock->counts.connects++;
	mock->counts.io_connections += !!peer->queue;
	pthread_mutex_unlock(&mock->mutex);
	if (peer->queue && le16_get(connect->controller_id) != 1)
		peer_complain(peer, "controller id of an I/O queue");
	if (strncmp(connect->host, "nqn.", 4) != 0)
		peer_complain(peer, "host NQN");
	if (mock->config.refusal == MOCK_BUSY)
		return peer_answer(peer, id, FABRICS_CONNECT_BUSY, 0, MOCK_FINE);
	if (mock->config.refusal == MOCK_STRANGER)
		return peer_answer(peer, id, FABRICS_CONNECT_HOST, 0, MOCK_FINE);
	if (mock->config.refusal == MOCK_CUT_CONNECT)
		return false;
	if (strcmp(connect->subsystem, MOCK_NQN) != 0 && !discovery)
		return peer_answer(peer, id, FABRICS_CONNECT_PARAMETERS,
			FABRICS_WRONG_IN_DATA | FABRICS_DATA_SUBSYSTEM, MOCK_FINE);
	peer->auth.pending = mock->config.refusal == MOCK_AUTHENTICATE || mock->config.auth.secret;
	if (peer->auth.pending)
		result |= FABRICS_MUST_AUTHENTICATE;
	snprintf(peer->auth.host, sizeof(peer->auth.host), "%s", connect->host);
	peer->connected = true;
	return peer_answer(peer, id, NVME_OK, result, MOCK_FINE);
}

static uint64_t property(struct mock *mock, uint32_t place)
{
	unsigned entries = mock->config.entries ? mock->config.entries : 128;
	uint64_t status = mock->cc & NVME_CC_ENABLE ? NVME_CSTS_READY : 0;

	if (place == NVME_CAP)
		return (entries - 1) | 1ull << 24 | 1ull << 37;
	if (place != NVME_CSTS)
		return mock->cc;
	if (mock->config.refusal == MOCK_NEVER_READY)
		status = 0;
	if (mock->config.refusal == MOCK_FATAL)
		status |= NVME_CSTS_FATAL;
	return status;
}

static bool fabrics(struct peer *peer, const struct nvme_command *command, const char *data,
	uint32_t data_bytes)
{
	struct mock *mock = peer->mock;
	uint16_t id = le16_get(command->id);
	uint64_t value;

	switch (le32_get(command->nsid) & 0xff) {
	case FABRICS_CONNECT:
		return connect_queue(peer, command, data);
	case FABRICS_AUTHENTICATION_SEND:
	case FABRICS_AUTHENTICATION_RECEIVE:
		return peer_authenticate(peer, command, data, data_bytes);
	case FABRICS_PROPERTY_SET:
		pthread_mutex_lock(&mock->mutex);
		mock->cc = le32_get(command->cdw12);
		mock->counts.disables += !(mock->cc & NVME_CC_ENABLE);
		pthread_mutex_unlock(&mock->mutex);
		return peer_answer(peer, id, NVME_OK, 0, MOCK_FINE);
	case FABRICS_PROPERTY_GET:
		pthread_mutex_lock(&mock->mutex);
		value = property(mock, le32_get(command->cdw11));
		pthread_mutex_unlock(&mock->mutex);
		return peer_answer(peer, id, NVME_OK, value, MOCK_FINE);
	default:
		peer_complain(peer, "Fabrics command");
		return false;
	}
}

/* --- identify -------------------------------------------------------------------------------- */

static void pad(char *field, size_t bytes, const char *text)
{
	memset(field, ' ', bytes);
	memcpy(field, text, strlen(text));
}

static void identify_controller(const struct mock_config *config, void *page)
{
	struct nvme_identify_controller *controller = page;

	pad(controller->serial, sizeof(controller->serial), "MOCK1");
	pad(controller->model, sizeof(controller->model), "Mock \x01target");
	pad(controller->firmware, sizeof(controller->firmware), "1");
	controller->mdts = (uint8_t)config->mdts;
	controller->multipath = config->ana_state ? NVME_CMIC_ANA : 0;
	controller->async_events = le32_of(NVME_EVENTS_NAMESPACE | NVME_EVENTS_ANA);
	controller->event_limit = MOCK_EVENT_LIMIT - 1;
	controller->capsule_commands = le16_of(128);
	controller->keep_alive_100ms = le16_of(10);
	controller->capsule_bytes16 = le32_of(4 + config->capsule_bytes / 16);
	controller->volatile_cache = config->volatile_cache;
	controller->io_commands =
		le16_of((uint16_t)((config->no_dataset ? 0 : NVME_ONCS_DATASET) |
				   (config->no_write_zeroes ? 0 : NVME_ONCS_WRITE_ZEROES)));
}

static void identify_namespace(const struct mock_config *config, void *page)
{
	struct nvme_identify_namespace *namespace = page;

	uint64_t bytes = config->bytes ? config->bytes : MOCK_BYTES;

	namespace->blocks = le64_of(bytes >> config->lba_shift);
	namespace->capacity = namespace->blocks;
	namespace->lba_formats[0].data_shift = (uint8_t)config->lba_shift;
	namespace->lba_formats[0].metadata_bytes = le16_of(config->metadata ? 8 : 0);
	namespace->ana_group = le32_of(7);
	namespace->deallocate = NVME_DLFEAT_ZEROES | NVME_DLFEAT_WRITE_ZEROES;
	if (config->uuid)
		memset(namespace->nguid, config->uuid ^ 0xff, sizeof(namespace->nguid));
}

static bool identify(struct peer *peer, const struct nvme_command *command)
{
	struct mock_config copy, *config = &copy;
	uint8_t page[NVME_IDENTIFY_BYTES] = {0};
	uint16_t id = le16_get(command->id);
	uint32_t nsid = le32_get(command->nsid);

	pthread_mutex_lock(&peer->mock->mutex);
	copy = peer->mock->config;
	pthread_mutex_unlock(&peer->mock->mutex);
	switch (le32_get(command->cdw10) & 0xff) {
	case NVME_IDENTIFY_CONTROLLER:
		identify_controller(config, page);
		break;
	case NVME_IDENTIFY_NAMESPACE:
		if ((nsid != 1 && nsid < 100) || config->gone)
			return peer_answer(peer, id, NVME_INVALID_NAMESPACE, 0, MOCK_FINE);
		if (nsid == 1)
			identify_namespace(config, page);
		break;
	case NVME_IDENTIFY_NAMESPACES:
		page[0] = 1;
		page[4] = 9;
		break;
	case NVME_IDENTIFY_DESCRIPTORS:
		if (!config->uuid)
			return peer_answer(peer, id, NVME_INVALID_FIELD, 0, MOCK_FINE);
		page[0] = NVME_DESCRIPTOR_CSI, page[1] = 1;
		page[5] = NVME_DESCRIPTOR_UUID, page[6] = 16;
		memset(page + 9, config->uuid, 16);
		break;
	default:
		return peer_answer(peer, id, NVME_INVALID_FIELD, 0, MOCK_FINE);
	}
	return peer_give(peer, command, page, sizeof(page));
}

/* --- log pages ------------------------------------------------------------------------------- */

static void discovery_log(struct peer *peer, char *log)
{
	struct discovery_header *header = (struct discovery_header *)log;
	struct discovery_record *record = (struct discovery_record *)(log + sizeof(*header));
	static const uint8_t transports[] = {DISCOVERY_TCP, 1, DISCOVERY_TCP, DISCOVERY_TCP};
	static const uint8_t kinds[] = {
		DISCOVERY_SELF, DISCOVERY_SUBSYSTEM, DISCOVERY_SUBSYSTEM, DISCOVERY_REFERRAL};

	header->records = le64_of(4);
	header->generation = le64_of(3);
	for (unsigned i = 0; i < 4; i++) {
		record[i].transport = transports[i];
		record[i].kind = kinds[i];
		record[i].family = DISCOVERY_IPV4;
		snprintf(record[i].nqn, sizeof(record[i].nqn), "%s", MOCK_NQN);
		pad(record[i].address, sizeof(record[i].address), "127.0.0.1");
		memset(record[i].service, ' ', sizeof(record[i].service));
		record[i].service[snprintf(record[i].service, sizeof(record[i].service), "%u",
			peer->mock->port)] = ' ';
	}
}

static void ana_log(struct peer *peer, char *log)
{
	struct ana_header *header = (struct ana_header *)log;
	struct ana_group group = {
		.id = le32_of(3), .namespaces = le32_of(1), .state = ANA_OPTIMIZED};

	header->groups = le16_of(2);
	log += sizeof(*header);
	memcpy(log, &group, sizeof(group));
	group.id = le32_of(7);
	pthread_mutex_lock(&peer->mock->mutex);
	group.state = peer->mock->config.ana_state;
	pthread_mutex_unlock(&peer->mock->mutex);
	memcpy(log + sizeof(group) + 4, &group, sizeof(group));
}

static bool log_page(struct peer *peer, const struct nvme_command *command)
{
	_Alignas(8) static _Thread_local char log[16 << 10];
	uint32_t cdw10 = le32_get(command->cdw10), bytes = 4 * ((cdw10 >> 16) + 1);
	uint32_t offset = le32_get(command->cdw12);

	memset(log, 0, sizeof(log));
	peer_page_read(peer, cdw10 & 0xff);
	if ((cdw10 & 0xff) == NVME_LOG_DISCOVERY)
		discovery_log(peer, log);
	else if ((cdw10 & 0xff) == NVME_LOG_ANA)
		ana_log(peer, log);
	if (offset + bytes > sizeof(log))
		return peer_answer(peer, le16_get(command->id), NVME_INVALID_FIELD, 0, MOCK_FINE);
	return peer_give(peer, command, log + offset, bytes);
}

bool peer_admin(struct peer *peer, const struct nvme_command *command, uint32_t data_bytes)
{
	struct mock *mock = peer->mock;
	unsigned queues = mock->config.queues ? mock->config.queues : 8;
	_Alignas(8) char data[PDU_ADMIN_CAPSULE_BYTES];
	uint16_t id = le16_get(command->id);

	if (data_bytes > sizeof(data) || !peer_receive_data(peer, data, data_bytes))
		return false;
	if (command->flags != NVME_COMMAND_SGL)
		peer_complain(peer, "PSDT");
	if (peer->auth.pending &&
		(command->opcode != NVME_FABRICS || (le32_get(command->nsid) & 0xff) < 5))
		peer_complain(peer, "a command before authentication");
	switch (command->opcode) {
	case NVME_FABRICS:
		return fabrics(peer, command, data, data_bytes);
	case NVME_IDENTIFY:
		return identify(peer, command);
	case NVME_GET_LOG_PAGE:
		return log_page(peer, command);
	case NVME_ASYNC_EVENT:
		return peer_ask_event(peer, command);
	case NVME_SET_FEATURES:
		if ((le32_get(command->cdw10) & 0xff) == NVME_FEATURE_ASYNC_EVENTS)
			peer->events.wanted = le32_get(command->cdw11);
		return peer_answer(peer, id, NVME_OK, (queues - 1) << 16 | (queues - 1), MOCK_FINE);
	case NVME_KEEP_ALIVE:
		pthread_mutex_lock(&mock->mutex);
		mock->counts.keep_alives++;
		pthread_mutex_unlock(&mock->mutex);
		return peer_answer(peer, id, NVME_OK, 0, MOCK_FINE);
	default:
		return peer_answer(peer, id, NVME_INVALID_OPCODE, 0, MOCK_FINE);
	}
}
