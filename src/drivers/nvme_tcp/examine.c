/* SPDX-License-Identifier: Apache-2.0 */
/* What a namespace is: identity, size, format, and what its controller can. Whatever the target
 * says is checked here, once. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "drivers/nvme_tcp/controller.h"

enum {
	TRANSFER_BYTES_MAX = 1 << 20, /* a command that is larger is cut */
	CAPSULE_BYTES_MAX = 64 << 10,
	ANA_BYTES = 4096,
};

/* A padded field as text: trimmed, printable. room: of text. */
static void take_text(char *text, size_t room, const char *field, size_t bytes)
{
	size_t used = 0, end = 0;

	for (size_t i = 0; i < bytes && field[i] && used + 1 < room; i++) {
		char c = isprint((unsigned char)field[i]) ? field[i] : '?';

		if (c == ' ' && !used)
			continue;
		text[used++] = c;
		end = c == ' ' ? end : used;
	}
	text[end] = '\0';
}

static bool is_zero(const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (bytes[i])
			return false;
	return true;
}

static void take_id(char *identity, const char *prefix, const uint8_t *bytes, size_t count)
{
	size_t used = (size_t)snprintf(identity, NVME_IDENTITY_BYTES, "%s", prefix);

	for (size_t i = 0; i < count; i++) {
		bool dash =
			count == 16 && prefix[0] == 'u' && (i == 4 || i == 6 || i == 8 || i == 10);

		used += (size_t)snprintf(identity + used, NVME_IDENTITY_BYTES - used, "%s%02x",
			dash ? "-" : "", bytes[i]);
	}
}

/* The UUID from the list of descriptors; false: there is none. */
static bool find_uuid(const uint8_t *page, char *identity)
{
	for (size_t at = 0; at + sizeof(struct nvme_descriptor) + 16 <= NVME_IDENTIFY_BYTES;) {
		const struct nvme_descriptor *descriptor =
			(const struct nvme_descriptor *)(page + at);

		if (!descriptor->type)
			return false;
		if (descriptor->type == NVME_DESCRIPTOR_UUID && descriptor->bytes == 16 &&
			!is_zero(descriptor->value, 16)) {
			take_id(identity, "uuid.", descriptor->value, 16);
			return true;
		}
		at += sizeof(*descriptor) + descriptor->bytes;
	}
	return false;
}

static int take_identity(struct tcp_controller *controller,
	const struct nvme_identify_namespace *namespace, struct facts *facts, struct fail *fail)
{
	uint8_t page[NVME_IDENTIFY_BYTES];
	uint32_t nsid = controller->target->nsid;
	int error = tcp_controller_identify(
		controller, NVME_IDENTIFY_DESCRIPTORS, nsid, page, NULL, fail);

	if (error && error != -EIO) /* -EIO: an old controller */
		return error;
	if (!error && find_uuid(page, facts->identity))
		return 0;
	if (!is_zero(namespace->nguid, sizeof(namespace->nguid)))
		take_id(facts->identity, "eui.", namespace->nguid, sizeof(namespace->nguid));
	else if (!is_zero(namespace->eui64, sizeof(namespace->eui64)))
		take_id(facts->identity, "eui.", namespace->eui64, sizeof(namespace->eui64));
	else
		snprintf(facts->identity, sizeof(facts->identity), "nvme.%s.%u", facts->serial,
			nsid);
	return 0;
}

static int take_controller(struct tcp_controller *controller, struct facts *facts,
	struct nvme_identify_controller *page, struct fail *fail)
{
	uint32_t capsule, commands;
	unsigned page_shift = 12 + nvme_cap_page_min(controller->capabilities);
	int error =
		tcp_controller_identify(controller, NVME_IDENTIFY_CONTROLLER, 0, page, NULL, fail);

	if (error)
		return error;
	take_text(facts->serial, sizeof(facts->serial), page->serial, sizeof(page->serial));
	take_text(facts->model, sizeof(facts->model), page->model, sizeof(page->model));
	take_text(facts->firmware, sizeof(facts->firmware), page->firmware, sizeof(page->firmware));
	facts->transfer_bytes_max = TRANSFER_BYTES_MAX;
	if (page->mdts && page->mdts + page_shift < 20)
		facts->transfer_bytes_max = 1u << (page->mdts + page_shift);
	/* IOCCSZ counts the command as well; data must begin right behind it to be of use. */
	capsule = le32_get(page->capsule_bytes16);
	if (capsule < 4)
		return fail_set(fail, EPROTO, "%s offers capsules without room for a command",
			controller->admin.peer);
	capsule = MIN(capsule, (uint32_t)CAPSULE_BYTES_MAX);
	facts->capsule_bytes = MIN(16 * (capsule - 4), (uint32_t)CAPSULE_BYTES_MAX);
	if (le16_get(page->capsule_data_offset16))
		facts->capsule_bytes = 0;
	commands = le16_get(page->capsule_commands);
	if (commands >= 1)
		controller->queue_entries = MIN(controller->queue_entries, commands + 1);
	controller->events = le32_get(page->async_events);
	controller->event_limit = page->event_limit + 1u;
	facts->volatile_cache = page->volatile_cache & NVME_VWC_PRESENT;
	facts->can_discard = le16_get(page->io_commands) & NVME_ONCS_DATASET;
	facts->can_write_zeroes = le16_get(page->io_commands) & NVME_ONCS_WRITE_ZEROES;
	return 0;
}

/* Which namespaces there are, for the sentence that the wanted one is not. */
static int explain_missing(struct tcp_controller *controller, struct fail *fail)
{
	le32 ids[NVME_NAMESPACE_IDS];
	uint32_t nsid = controller->target->nsid;
	char list[160] = "";
	size_t used = 0;

	if (tcp_controller_identify(controller, NVME_IDENTIFY_NAMESPACES, 0, ids, NULL, NULL))
		ids[0] = le32_of(0);
	for (unsigned i = 0; i < NVME_NAMESPACE_IDS && le32_get(ids[i]) && used < 120; i++)
		used += (size_t)snprintf(
			list + used, sizeof(list) - used, "%s%u", i ? ", " : "", le32_get(ids[i]));
	return fail_set(fail, ENOENT, "there is no namespace %u in %s at %s; it has %s%s", nsid,
		controller->nqn, controller->admin.peer, used ? "" : "none", list);
}

static int take_namespace(struct tcp_controller *controller, struct facts *facts,
	struct nvme_identify_namespace *page, struct fail *fail)
{
	const char *peer = controller->admin.peer;
	uint32_t nsid = controller->target->nsid;
	const struct nvme_lba_format *format;
	unsigned status;
	int error = tcp_controller_identify(
		controller, NVME_IDENTIFY_NAMESPACE, nsid, page, &status, fail);

	if (error == -EIO && (status == NVME_INVALID_NAMESPACE || status == NVME_INVALID_FIELD))
		return explain_missing(controller, fail);
	if (error)
		return error;
	facts->lbas = le64_get(page->blocks);
	if (!facts->lbas)
		return explain_missing(controller, fail);
	format = &page->lba_formats[nvme_format_index(page)];
	facts->lba_shift = format->data_shift;
	if (le16_get(format->metadata_bytes) || page->protection & 7)
		return fail_set(fail, ENOTSUP,
			"namespace %u at %s is formatted with metadata, which braid cannot use: "
			"format it without",
			nsid, peer);
	if (facts->lba_shift != 9 && facts->lba_shift != 12)
		return fail_set(fail, ENOTSUP,
			"namespace %u at %s has blocks of neither 512 nor 4096 bytes", nsid, peer);
	if (facts->lbas > UINT64_MAX >> facts->lba_shift)
		return fail_set(
			fail, EPROTO, "namespace %u at %s has an impossible size", nsid, peer);
	facts->read_only = page->attributes & NVME_NSATTR_WRITE_PROTECTED;
	facts->can_unmap_zeroes = page->deallocate & NVME_DLFEAT_WRITE_ZEROES &&
				  (page->deallocate & NVME_DLFEAT_READS) == NVME_DLFEAT_ZEROES;
	if (page->features & NVME_NSFEAT_PREFERRED)
		facts->best_bytes = (le16_get(page->preferred_write) + 1u) << facts->lba_shift;
	return take_identity(controller, page, facts, fail);
}

/* Base 8.1.1: how the group of our namespace is reached over this controller; -EHOSTUNREACH: it is
 * not. A group of which the controller does not tell is reached well. */
static int take_ana(
	struct tcp_controller *controller, uint32_t wanted, struct facts *facts, struct fail *fail)
{
	_Alignas(8) uint8_t log[ANA_BYTES] = {0};
	const struct ana_header *header = (const struct ana_header *)log;
	struct log_piece piece = {
		.page = NVME_LOG_ANA, .specific = ANA_GROUPS_ONLY, .bytes = sizeof(log)};
	size_t at = sizeof(*header);
	int error = tcp_controller_log(controller, &piece, log, fail);

	if (error)
		return error == -EIO ? 0 : error;
	for (unsigned i = 0; i < le16_get(header->groups); i++) {
		struct ana_group group;
		unsigned state;
		size_t bytes;

		if (at + sizeof(group) > sizeof(log))
			return 0;			 /* more groups than we look at */
		memcpy(&group, log + at, sizeof(group)); /* 4-byte aligned */
		bytes = sizeof(group) + 4 * (size_t)le32_get(group.namespaces);
		state = group.state & 0xf;
		if (le32_get(group.id) == wanted) {
			facts->optimized = state == ANA_OPTIMIZED;
			if (state == ANA_OPTIMIZED || state == ANA_NON_OPTIMIZED)
				return 0;
			return fail_set(fail, EHOSTUNREACH,
				"the namespace cannot be reached over %s now (ANA state %x)",
				controller->admin.peer, state);
		}
		if (bytes > sizeof(log) - at)
			return 0;
		at += bytes;
	}
	return 0;
}

int tcp_controller_examine(
	struct tcp_controller *controller, struct facts *facts, struct fail *fail)
{
	struct nvme_identify_controller controller_page;
	struct nvme_identify_namespace namespace_page;
	int error;

	*facts = (struct facts){.optimized = true};
	error = take_controller(controller, facts, &controller_page, fail);
	if (!error)
		error = take_namespace(controller, facts, &namespace_page, fail);
	if (!error && controller_page.multipath & NVME_CMIC_ANA)
		error = take_ana(controller, le32_get(namespace_page.ana_group), facts, fail);
	return error;
}

int facts_compare(
	const struct facts *was, const struct facts *is, const char *peer, struct fail *fail)
{
	if (strcmp(was->identity, is->identity) != 0)
		return fail_set(fail, EMEDIUMTYPE,
			"%s now answers with another namespace, %s instead of %s", peer,
			is->identity, was->identity);
	if (was->lba_shift != is->lba_shift)
		return fail_set(fail, EMEDIUMTYPE,
			"the namespace at %s was formatted behind our back: blocks of %u bytes, "
			"not "
			"%u",
			peer, 1u << is->lba_shift, 1u << was->lba_shift);
	if (is->lbas < was->lbas)
		return fail_set(fail, EMEDIUMTYPE,
			"the namespace at %s has shrunk from %llu to %llu bytes", peer,
			(unsigned long long)was->lbas << was->lba_shift,
			(unsigned long long)is->lbas << is->lba_shift);
	if (is->volatile_cache && !was->volatile_cache)
		return fail_set(fail, EMEDIUMTYPE,
			"the namespace at %s has a volatile cache, which it had not", peer);
	return 0;
}
