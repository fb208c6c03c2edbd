/* SPDX-License-Identifier: Apache-2.0 */
/* What namespaces a controller has, and which of them can be a block device. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/log.h"
#include "drivers/nvme/queue.h"

enum { LBA_SHIFT_MIN = 9, LBA_SHIFT_MAX = 12, BLOCK_BYTES = 4096, RW_LBAS_MAX = 1 << 16 };

static int identify(struct nvme *nvme, enum nvme_identify what, uint32_t nsid, struct fail *fail)
{
	struct nvme_command command = {.opcode = NVME_IDENTIFY,
		.nsid = le32_of(nsid),
		.prp1 = le64_of(nvme->admin.page_iova),
		.cdw10 = le32_of(what)};

	memset(nvme->admin.page, 0, NVME_PAGE_BYTES);
	return nvme_admin_execute(nvme, &command, "identify a namespace", NULL, fail);
}

/* --- identity -------------------------------------------------------------------------------- */

static bool any(const uint8_t *bytes, unsigned count)
{
	unsigned all = 0;

	for (unsigned i = 0; i < count; i++)
		all |= bytes[i];
	return all;
}

/* "eui." or "uuid." and hexadecimal digits; a UUID with its dashes. */
static void print_id(char *to, const char *kind, const uint8_t *bytes, unsigned count)
{
	bool uuid = kind[0] == 'u';

	to += sprintf(to, "%s.", kind);
	for (unsigned i = 0; i < count; i++)
		to += sprintf(to,
			uuid && (i == 4 || i == 6 || i == 8 || i == 10) ? "-%02x" : "%02x",
			bytes[i]);
}

/* Reads the list of identities; *foreign: another command set than NVM. */
static int read_descriptors(
	struct nvme *nvme, struct nvme_namespace *namespace, bool *foreign, struct fail *fail)
{
	const struct nvme_descriptor *descriptor;
	uint8_t best = 0;
	unsigned at = 0;
	int error = identify(nvme, NVME_IDENTIFY_DESCRIPTORS, namespace->nsid, fail);

	if (error)
		return error;
	while (at + sizeof(*descriptor) <= NVME_PAGE_BYTES) {
		static const uint8_t lengths[] = {[NVME_DESCRIPTOR_EUI64] = 8,
			[NVME_DESCRIPTOR_NGUID] = 16,
			[NVME_DESCRIPTOR_UUID] = 16,
			[NVME_DESCRIPTOR_CSI] = 1};
		uint8_t type, bytes;

		descriptor = (const void *)(nvme->admin.page + at);
		type = descriptor->type;
		bytes = descriptor->bytes;
		if (!type || at + sizeof(*descriptor) + bytes > NVME_PAGE_BYTES)
			break;
		if (type < ARRAY_SIZE(lengths) && bytes == lengths[type]) {
			if (type == NVME_DESCRIPTOR_CSI) {
				*foreign = descriptor->value[0];
			} else if (type > best && any(descriptor->value, bytes)) {
				best = type;
				print_id(namespace->identity,
					type == NVME_DESCRIPTOR_UUID ? "uuid" : "eui",
					descriptor->value, bytes);
			}
		}
		at += (unsigned)sizeof(*descriptor) + bytes;
	}
	return 0;
}

/* --- size and format ------------------------------------------------------------------------- */

static void read_formats(
	struct nvme_namespace *namespace, const struct nvme_identify_namespace *data)
{
	namespace->formats = MIN(data->formats + 1u, (unsigned)NVME_FORMATS_MAX);
	namespace->in_use = nvme_format_index(data);
	for (unsigned i = 0; i < namespace->formats; i++) {
		const struct nvme_lba_format *format = &data->lba_formats[i];
		unsigned shift = format->data_shift;

		namespace->format[i] = (struct nvme_format_info){
			.lba_bytes = shift >= LBA_SHIFT_MIN && shift < 31 ? 1u << shift : 0,
			.metadata_bytes = le16_get(format->metadata_bytes),
			.performance = format->performance & 3,
		};
	}
}

static int check_usable(struct nvme *nvme, const struct nvme_namespace *namespace,
	const struct nvme_identify_namespace *data, struct fail *fail)
{
	const struct nvme_format_info *format = &namespace->format[namespace->in_use];
	const char *address = nvme->identity.address;

	if (namespace->in_use >= namespace->formats)
		return fail_set(fail, EINVAL,
			"namespace %u of drive %s names a format of its own "
			"that it does not have",
			namespace->nsid, address);
	if (format->lba_bytes < 1u << LBA_SHIFT_MIN || format->lba_bytes > 1u << LBA_SHIFT_MAX)
		return fail_set(fail, EINVAL,
			"namespace %u of drive %s has blocks of %u bytes: format it to 512 or 4096",
			namespace->nsid, address, format->lba_bytes);
	if (format->metadata_bytes || data->protection & 7)
		return fail_set(fail, EINVAL,
			"namespace %u of drive %s has metadata beside its blocks: format it "
			"without",
			namespace->nsid, address);
	if (!le64_get(data->blocks) || le64_get(data->blocks) > UINT64_MAX / format->lba_bytes)
		return fail_set(fail, EINVAL,
			"namespace %u of drive %s has no size that makes sense", namespace->nsid,
			address);
	return 0;
}

static unsigned shift_of(uint32_t bytes)
{
	return (unsigned)__builtin_ctz(bytes);
}

/* What the device can be asked for, from what the namespace and the controller say. */
static void set_abilities(struct nvme_device *device, const struct nvme_identify_namespace *data)
{
	const struct nvme *nvme = device->nvme;
	uint8_t deallocate = data->deallocate;
	bool zeros = (deallocate & NVME_DLFEAT_READS) == NVME_DLFEAT_ZEROES;
	unsigned between = device->block_shift - device->lba_shift;
	uint32_t zeroes_lbas = nvme->zeroes_bytes >> device->lba_shift;

	device->dataset = nvme->io_commands & NVME_ONCS_DATASET;
	device->write_zeroes = nvme->io_commands & NVME_ONCS_WRITE_ZEROES;
	device->write_zeroes_deallocates =
		device->write_zeroes && zeros && deallocate & NVME_DLFEAT_WRITE_ZEROES;
	device->zeroes_blocks = MIN(zeroes_lbas, (uint32_t)RW_LBAS_MAX) >> between;
	device->dataset_blocks = nvme->dataset_lbas ? nvme->dataset_lbas >> between : 1u << 20;
	device->dataset_blocks = MIN(device->dataset_blocks, 1u << 20);
	device->dataset = device->dataset && device->dataset_blocks;
	device->dev.volatile_cache = nvme->identity.volatile_cache;
	device->dev.discard_zeroes = device->write_zeroes_deallocates;
}

static void set_geometry(struct nvme_device *device, const struct nvme_identify_namespace *data)
{
	const struct nvme *nvme = device->nvme;
	struct nvme_namespace *namespace = &device->namespace;
	uint32_t wanted = nvme->options.block_bytes ? nvme->options.block_bytes : BLOCK_BYTES;
	uint32_t boundary_bytes;

	namespace->lba_bytes = namespace->format[namespace->in_use].lba_bytes;
	namespace->bytes = le64_get(data->blocks) * namespace->lba_bytes;
	namespace->write_protected = data->attributes & NVME_NSATTR_WRITE_PROTECTED;
	device->lba_shift = shift_of(namespace->lba_bytes);
	device->dev.block_bytes = MAX(wanted, namespace->lba_bytes);
	device->block_shift = shift_of(device->dev.block_bytes);
	device->dev.blocks = namespace->bytes >> device->block_shift;
	device->dev.sector_bytes = namespace->lba_bytes;
	if (data->features & NVME_NSFEAT_PREFERRED)
		device->dev.best_blocks =
			(uint32_t)((le16_get(data->preferred_write) + 1u) << device->lba_shift >>
				   device->block_shift);
	boundary_bytes = (uint32_t)le16_get(data->optimal_boundary) << device->lba_shift;
	if (boundary_bytes % device->dev.block_bytes == 0)
		device->dev.chunk_blocks = boundary_bytes >> device->block_shift;
}

int nvme_identify_device(
	struct nvme *nvme, uint32_t nsid, struct nvme_device *now, struct fail *fail)
{
	struct nvme_namespace *namespace = &now->namespace;
	struct nvme_identify_namespace data;
	bool foreign = false;
	int error;

	*now = (struct nvme_device){.nvme = nvme, .namespace.nsid = nsid};
	now->dev.ops = &nvme_ops;
	snprintf(namespace->identity, sizeof(namespace->identity), "nvme.%s.%u",
		nvme->identity.serial, nsid);
	error = identify(nvme, NVME_IDENTIFY_NAMESPACE, nsid, fail);
	if (error)
		return error;
	memcpy(&data, nvme->admin.page, sizeof(data));
	if (any(data.nguid, sizeof(data.nguid)))
		print_id(namespace->identity, "eui", data.nguid, sizeof(data.nguid));
	else if (any(data.eui64, sizeof(data.eui64)))
		print_id(namespace->identity, "eui", data.eui64, sizeof(data.eui64));
	/* Since 1.3. Older ones refuse: what the namespace said before is good then. */
	if (nvme->identity.version >= 0x10300 &&
		read_descriptors(nvme, namespace, &foreign, NULL) && nvme->admin_stuck)
		return fail_set(fail, EIO, "drive %s does not answer", nvme->identity.address);
	if (foreign)
		return fail_set(fail, EINVAL,
			"namespace %u of drive %s is not of the NVM command set (zoned, or key "
			"and value)",
			nsid, nvme->identity.address);
	read_formats(namespace, &data);
	error = check_usable(nvme, namespace, &data, fail);
	if (error)
		return error;
	set_geometry(now, &data);
	set_abilities(now, &data);
	if (!now->dev.blocks)
		return fail_set(fail, EINVAL, "namespace %u of drive %s is smaller than one block",
			nsid, nvme->identity.address);
	snprintf(now->dev.name, sizeof(now->dev.name), "%s:%u", nvme->identity.address, nsid);
	return 0;
}

int nvme_same_device(
	const struct nvme_device *was, const struct nvme_device *now, struct fail *fail)
{
	const char *name = was->dev.name;

	if (strcmp(was->namespace.identity, now->namespace.identity) != 0)
		return fail_set(fail, ENODEV, "%s is another namespace now: %s in the place of %s",
			name, now->namespace.identity, was->namespace.identity);
	if (was->namespace.lba_bytes != now->namespace.lba_bytes)
		return fail_set(fail, ENODEV,
			"%s was formatted behind our back: blocks of %u bytes, "
			"not %u",
			name, now->namespace.lba_bytes, was->namespace.lba_bytes);
	if (now->namespace.bytes < was->namespace.bytes)
		return fail_set(fail, ENODEV, "%s has shrunk from %llu to %llu bytes", name,
			(unsigned long long)was->namespace.bytes,
			(unsigned long long)now->namespace.bytes);
	return 0;
}

/* --- all of them ----------------------------------------------------------------------------- */

static int add_device(struct nvme *nvme, uint32_t nsid, struct fail *fail)
{
	struct nvme_device *device = calloc(1, sizeof(*device));
	struct fail reason = {0};

	if (!device)
		return fail_set(fail, ENOMEM, "no memory for a drive");
	if (nvme_identify_device(nvme, nsid, device, &reason)) {
		free(device);
		if (nvme->admin_stuck)
			return fail_set(fail, reason.error, "%s", reason.text);
		log_warning("event=nvme.namespace.left_out reason=\"%s\"", reason.text);
		fail_set(fail, ENODEV, "%s", reason.text);
		return 0;
	}
	nvme->devices[nvme->device_count++] = device;
	return 0;
}

int nvme_find_devices(struct nvme *nvme, struct fail *fail)
{
	uint32_t ids[NVME_NAMESPACES_MAX + 1] = {0};
	struct fail last = {0};
	volatile const le32 *list = (void *)nvme->admin.page;
	unsigned count = 0;
	int error = identify(nvme, NVME_IDENTIFY_NAMESPACES, 0, fail);

	if (error)
		return error;
	for (; count < ARRAY_SIZE(ids); count++) {
		ids[count] = le32_get(list[count]);
		if (!ids[count] || (count && ids[count] <= ids[count - 1]))
			break; /* ascending, then zeros: base 5.1.13.2.2 */
	}
	if (count > NVME_NAMESPACES_MAX) {
		log_warning("event=nvme.namespaces.many drive=%s effect=\"only the first %d are "
			    "used\"",
			nvme->identity.address, NVME_NAMESPACES_MAX);
		count = NVME_NAMESPACES_MAX;
	}
	for (unsigned i = 0; i < count && !error; i++)
		error = add_device(nvme, ids[i], &last);
	if (error || (count && !nvme->device_count))
		return fail_set(fail, last.error, "%s", last.text);
	nvme->identity.devices = nvme->device_count;
	return 0;
}
