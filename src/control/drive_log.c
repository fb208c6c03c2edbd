/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log pages of an NVMe drive as fields (base 5.1.12). Every byte is the drive's: what makes no
 * sense is shown as the number that it is.
 */
#include "control/drive_log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "control/care.h"
#include "control/methods.h"
#include "drivers/nvme/wire.h"

enum { LOG_BYTES = 512, LOG_BYTES_MAX = 1 << 20 };

static json_t *counter(uint64_t value)
{
	return json_integer((json_int_t)MIN(value, (uint64_t)INT64_MAX));
}

/* --- health ---------------------------------------------------------------------------------- */

static json_t *warnings_json(unsigned warnings)
{
	static const struct {
		unsigned bit;
		const char *text;
	} names[] = {
		{NVME_WARN_SPARE, "spare blocks below the threshold"},
		{NVME_WARN_TEMPERATURE, "temperature outside its limits"},
		{NVME_WARN_DEGRADED, "reliability degraded"},
		{NVME_WARN_READ_ONLY, "read-only"},
		{NVME_WARN_BACKUP, "the volatile memory's backup has failed"},
		{NVME_WARN_MEMORY_REGION, "the persistent memory region is read-only"},
	};
	json_t *list = json_array();

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (warnings & names[i].bit)
			json_array_append_new(list, json_string(names[i].text));
	return list;
}

static json_t *sensors_json(const struct nvme_smart *smart)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < ARRAY_SIZE(smart->sensor_kelvin); i++)
		if (smart->sensor_kelvin[i])
			json_array_append_new(
				list, json_integer((int)smart->sensor_kelvin[i] - 273));
	return list;
}

json_t *drive_health_json(const struct nvme_smart *smart)
{
	const struct {
		const char *key;
		uint64_t value;
	} counters[] = {
		{"read_bytes", smart->read_bytes},
		{"written_bytes", smart->written_bytes},
		{"reads", smart->reads},
		{"writes", smart->writes},
		{"busy_minutes", smart->busy_minutes},
		{"power_cycles", smart->power_cycles},
		{"power_on_hours", smart->power_on_hours},
		{"unsafe_shutdowns", smart->unsafe_shutdowns},
		{"media_errors", smart->media_errors},
		{"error_entries", smart->error_entries},
	};
	json_t *health = json_pack("{s:o, s:i, s:i, s:i, s:i, s:i, s:i, s:o}", "warnings",
		warnings_json(smart->warnings), "celsius", (int)smart->kelvin - 273,
		"spare_percent", (int)smart->spare_percent, "spare_threshold_percent",
		(int)smart->spare_threshold_percent, "wear_percent", (int)smart->used_percent,
		"warning_minutes", (int)smart->warning_minutes, "critical_minutes",
		(int)smart->critical_minutes, "sensors_celsius", sensors_json(smart));

	for (unsigned i = 0; i < ARRAY_SIZE(counters); i++)
		json_object_set_new(health, counters[i].key, counter(counters[i].value));
	return health;
}

static json_t *decode_health(const void *log, size_t bytes)
{
	struct nvme_smart smart;

	if (bytes < sizeof(struct nvme_health))
		return NULL;
	nvme_smart_decode(log, &smart);
	return json_pack("{s:o}", "health", drive_health_json(&smart));
}

/* --- errors ---------------------------------------------------------------------------------- */

/* Base 5.1.12.1.2. */
static json_t *error_json(const struct nvme_error_entry *entry)
{
	unsigned status = (unsigned)le16_get(entry->status) >> 1;
	unsigned location = le16_get(entry->location);
	json_t *row = json_pack("{s:o, s:i, s:i, s:i, s:s, s:b, s:o, s:o}", "number",
		counter(le64_get(entry->count)), "queue", (int)le16_get(entry->sq_id), "command",
		(int)le16_get(entry->command_id), "status", (int)nvme_status_code(status), "what",
		nvme_status_text(status), "do_not_retry", (status & NVME_STATUS_DO_NOT_RETRY) != 0,
		"nsid", json_integer(le32_get(entry->nsid)), "lba", counter(le64_get(entry->lba)));

	if (location != UINT16_MAX) { /* which byte and bit of the command */
		json_object_set_new(row, "byte", json_integer(location & 0xff));
		json_object_set_new(row, "bit", json_integer(location >> 8 & 7));
	}
	return row;
}

static json_t *decode_errors(const void *log, size_t bytes)
{
	const struct nvme_error_entry *entry = log;
	json_t *list = json_array();

	for (size_t i = 0; i < bytes / sizeof(*entry); i++)
		if (le64_get(entry[i].count))
			json_array_append_new(list, error_json(&entry[i]));
	return json_pack("{s:o}", "errors", list);
}

/* --- firmware -------------------------------------------------------------------------------- */

static json_t *decode_firmware(const void *log, size_t bytes)
{
	const struct nvme_firmware_log *firmware = log;
	unsigned active, next;
	json_t *list;

	if (bytes < sizeof(*firmware))
		return NULL;
	active = firmware->active & 7;
	next = firmware->active >> 4 & 7;
	list = json_array();
	for (unsigned i = 0; i < ARRAY_SIZE(firmware->slots); i++) {
		char revision[NVME_FIRMWARE_BYTES + 1];

		nvme_text(revision, firmware->slots[i], NVME_FIRMWARE_BYTES);
		if (revision[0] || active == i + 1 || next == i + 1)
			json_array_append_new(
				list, json_pack("{s:i, s:s, s:b, s:b}", "slot", (int)i + 1,
					      "revision", revision, "active", active == i + 1,
					      "next", next == i + 1));
	}
	return json_pack("{s:o}", "slots", list);
}

/* --- self-tests ------------------------------------------------------------------------------ */

const char *drive_self_test_name(unsigned kind)
{
	return kind == NVME_SELF_TEST_SHORT	 ? "short"
	       : kind == NVME_SELF_TEST_EXTENDED ? "extended"
	       : kind == NVME_SELF_TEST_VENDOR	 ? "the vendor's"
	       : kind				 ? "unknown"
						 : "none";
}

const char *drive_self_test_text(unsigned result)
{
	static const char *const texts[] = {
		"passed",
		"aborted by command",
		"aborted by a reset of the controller",
		"aborted: a namespace was removed",
		"aborted by a format",
		"a fatal error ended it",
		"failed, in an unknown segment",
		"failed",
		"aborted for an unknown reason",
		"aborted by a sanitize",
	};

	return result < ARRAY_SIZE(texts) ? texts[result]
					  : "ended in a way that braid does not know";
}

static uint64_t number_at(const uint8_t *bytes, unsigned count)
{
	uint64_t number = 0;

	for (unsigned i = count; i-- > 0;)
		number = number << 8 | bytes[i];
	return number;
}

/* Base 5.1.12.1.7. */
static json_t *test_json(const struct nvme_self_test_result *entry)
{
	unsigned result = entry->status & 0xf;
	json_t *row = json_pack("{s:s, s:i, s:s, s:o}", "kind",
		drive_self_test_name(entry->status >> 4), "result", (int)result, "what",
		drive_self_test_text(result), "power_on_hours",
		counter(number_at(entry->power_on_hours, sizeof(entry->power_on_hours))));

	if (result == NVME_SELF_TEST_FAILED)
		json_object_set_new(row, "segment", json_integer(entry->segment));
	if (entry->valid & NVME_SELF_TEST_NSID)
		json_object_set_new(
			row, "nsid", counter(number_at(entry->nsid, sizeof(entry->nsid))));
	if (entry->valid & NVME_SELF_TEST_LBA)
		json_object_set_new(row, "lba", counter(number_at(entry->lba, sizeof(entry->lba))));
	if (entry->valid & NVME_SELF_TEST_CODE)
		json_object_set_new(row, "status",
			json_integer(
				(entry->valid & NVME_SELF_TEST_TYPE ? (entry->status_type & 7) << 8
								    : 0) |
				entry->status_code));
	return row;
}

static json_t *decode_self_tests(const void *log, size_t bytes)
{
	const struct nvme_self_test_log *tests = log;
	json_t *list;

	if (bytes < sizeof(*tests))
		return NULL;
	list = json_array();
	for (unsigned i = 0; i < ARRAY_SIZE(tests->results); i++) {
		const struct nvme_self_test_result *entry = &tests->results[i];

		if ((entry->status & 0xf) != NVME_SELF_TEST_NONE && entry->status >> 4)
			json_array_append_new(list, test_json(entry));
	}
	return json_pack("{s:s, s:i, s:o}", "running", drive_self_test_name(tests->current & 0xf),
		"percent", tests->current & 0xf ? tests->percent & 0x7f : 0, "tests", list);
}

/* --- sanitize -------------------------------------------------------------------------------- */

static json_t *decode_sanitize(const void *log, size_t bytes)
{
	static const char *const states[] = {
		"never", "done", "running", "failed", "done, blocks deallocated"};
	const struct nvme_sanitize_log *sanitize = log;
	const struct {
		const char *key;
		uint32_t seconds;
	} estimates[] = {
		{"overwrite_s",
			bytes < sizeof(*sanitize) ? 0 : le32_get(sanitize->overwrite_seconds)},
		{"block_s", bytes < sizeof(*sanitize) ? 0 : le32_get(sanitize->block_seconds)},
		{"crypto_s", bytes < sizeof(*sanitize) ? 0 : le32_get(sanitize->crypto_seconds)},
	};
	unsigned status, state;
	json_t *fields;

	if (bytes < sizeof(*sanitize))
		return NULL;
	status = le16_get(sanitize->status);
	state = status & 7;
	fields = json_pack("{s:s, s:s, s:i, s:i, s:b}", "state",
		state < ARRAY_SIZE(states) ? states[state] : "unknown", "how",
		drive_sanitize_name(le32_get(sanitize->command) & 7), "percent",
		state == NVME_SANITIZE_RUNNING ? le16_get(sanitize->progress) * 100 >> 16
		: state == NVME_SANITIZE_NEVER ? 0
					       : 100,
		"passes_done", (int)(status >> 3 & 0x1f), "nothing_written_since",
		(status & NVME_SANITIZE_ERASED) != 0);
	for (unsigned i = 0; i < ARRAY_SIZE(estimates); i++)
		if (estimates[i].seconds && estimates[i].seconds != UINT32_MAX)
			json_object_set_new(
				fields, estimates[i].key, json_integer(estimates[i].seconds));
	return json_pack("{s:o}", "sanitize", fields);
}

const char *drive_sanitize_name(unsigned action)
{
	return action == NVME_SANITIZE_BLOCK	   ? "block"
	       : action == NVME_SANITIZE_OVERWRITE ? "overwrite"
	       : action == NVME_SANITIZE_CRYPTO	   ? "crypto"
	       : action				   ? "other"
						   : "";
}

/* --- the method ------------------------------------------------------------------------------ */

json_t *drive_log_decode(unsigned page, const void *log, size_t bytes)
{
	static const struct {
		unsigned page;
		json_t *(*decode)(const void *log, size_t bytes);
	} pages[] = {
		{NVME_LOG_ERROR, decode_errors},
		{NVME_LOG_HEALTH, decode_health},
		{NVME_LOG_FIRMWARE, decode_firmware},
		{NVME_LOG_SELF_TEST, decode_self_tests},
		{NVME_LOG_SANITIZE, decode_sanitize},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(pages); i++)
		if (pages[i].page == page)
			return pages[i].decode(log, bytes);
	return NULL;
}

static int check_request(int64_t page, int64_t bytes, int64_t nsid, struct fail *fail)
{
	if (page < 1 || page > 255)
		return fail_set(fail, EINVAL, "a log page has a number from 1 to 255");
	if (bytes < 4 || bytes > LOG_BYTES_MAX || bytes % 4)
		return fail_set(fail, EINVAL, "a log is read in multiples of 4 bytes, up to 1 MiB");
	if (nsid < -1 || nsid == 0 || nsid > UINT32_MAX)
		return fail_set(fail, EINVAL, "there is no namespace %lld", (long long)nsid);
	return 0;
}

METHOD(drive_log)
{
	struct drive *drive = care_drive(daemon, params, fail);
	int64_t page = rpc_integer(params, "page", 0), nsid = rpc_integer(params, "nsid", -1);
	int64_t bytes = rpc_integer(params, "bytes", LOG_BYTES);
	AUTO_FREE unsigned char *log = NULL;
	AUTO_FREE char *text = NULL;
	char name[BLOCKDEV_NAME_BYTES];
	struct nvme_entry *entry;
	json_t *fields;
	int error;

	if (!drive)
		return -fail->error;
	error = check_request(page, bytes, nsid, fail);
	if (error)
		return error;
	log = calloc(1, (size_t)bytes);
	text = malloc((size_t)bytes * 2 + 1);
	if (!log || !text)
		return fail_set(fail, ENOMEM, "no memory for a log page");
	snprintf(name, sizeof(name), "%s", drive->name);
	entry = drive->nvme;
	nvmes_ask(daemon, entry);
	error = nvme_log(entry->nvme, (unsigned)page, (uint32_t)nsid, log, (size_t)bytes, fail);
	nvmes_answered(daemon, entry);
	if (error)
		return error;
	for (int64_t i = 0; i < bytes; i++)
		sprintf(text + 2 * i, "%02x", log[i]);
	*result = json_pack("{s:s, s:I, s:s}", "name", name, "page", (json_int_t)page, "log", text);
	fields = drive_log_decode((unsigned)page, log, (size_t)bytes);
	if (fields)
		json_object_update_new(*result, fields);
	return 0;
}
