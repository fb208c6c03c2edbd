/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of the NVM command set, and how they find memory. */
#include <string.h>

#include "base/bits.h"
#include "tests/mock_nvme/mock.h"

enum { PAGE = 4096 };

void *mock_reach(struct mock *mock, uint64_t iova, size_t bytes)
{
	for (unsigned i = 0; i < mock->map_count; i++)
		if (iova >= mock->maps[i].iova &&
			iova - mock->maps[i].iova <= mock->maps[i].bytes - bytes &&
			bytes <= mock->maps[i].bytes)
			return mock->maps[i].memory + (iova - mock->maps[i].iova);
	mock->iommu_faults++;
	return NULL;
}

/* The descriptors of an SGL (base 4.3.2): one in the command, or one segment, which is the last. */
static unsigned sgl_descriptors(
	struct mock *mock, const struct nvme_command *command, const struct nvme_sgl **list)
{
	uint32_t bytes = le32_get(command->sgl.bytes);

	*list = &command->sgl;
	if (command->sgl.type == NVME_SGL_DATA)
		return 1;
	if (command->sgl.type != NVME_SGL_LAST_SEGMENT || !bytes || bytes % sizeof(**list))
		return 0;
	*list = mock_reach(mock, le64_get(command->sgl.address), bytes);
	return *list ? (unsigned)(bytes / sizeof(**list)) : 0;
}

static unsigned sgl_pieces(struct mock *mock, const struct nvme_command *command, size_t bytes,
	struct mock_piece pieces[MOCK_PIECES_MAX])
{
	unsigned align = (le32_get(mock->identity.sgls) & NVME_SGLS_UNIT_MASK) == NVME_SGLS_DWORDS
				 ? sizeof(le32)
				 : 1;
	const struct nvme_sgl *list;
	unsigned count = sgl_descriptors(mock, command, &list);
	size_t sum = 0;

	for (unsigned i = 0; i < count; i++) {
		uint64_t address = le64_get(list[i].address);
		uint32_t length = le32_get(list[i].bytes);

		sum += length;
		pieces[i] = (struct mock_piece){mock_reach(mock, address, length), length};
		if (list[i].type != NVME_SGL_DATA || (address | length) % align || !length ||
			!pieces[i].memory)
			count = 0;
	}
	mock->sgls++;
	mock->bad_prps += !count || sum != bytes;
	return sum == bytes ? count : 0;
}

const char *mock_first(struct mock *mock, const struct nvme_command *command)
{
	const struct nvme_sgl *list = &command->sgl;
	unsigned faults = mock->iommu_faults;
	const char *first = NULL;

	if (!(command->flags & NVME_COMMAND_SGL))
		first = mock_reach(mock, le64_get(command->prp1), 1);
	else if (sgl_descriptors(mock, command, &list))
		first = mock_reach(mock, le64_get(list->address), 1);
	mock->iommu_faults = faults;
	return first;
}

/* Walks PRPs as base 4.3.1 wants them, and counts whatever does not follow it. */
unsigned mock_pieces(struct mock *mock, const struct nvme_command *command, size_t bytes,
	struct mock_piece pieces[MOCK_PIECES_MAX])
{
	uint64_t at = le64_get(command->prp1), list = le64_get(command->prp2);
	size_t length = MIN(bytes, (size_t)(PAGE - at % PAGE));
	bool one_more = bytes > length && bytes - length <= PAGE;
	unsigned count = 0;

	if (command->flags & NVME_COMMAND_SGL && mock->identity.sgls.raw)
		return sgl_pieces(mock, command, bytes, pieces);
	if (command->flags || at % 4 || (bytes > length && !one_more && list % 8)) {
		mock->bad_prps++;
		return 0;
	}
	for (;;) {
		le64 *entry;

		pieces[count].memory = mock_reach(mock, at, length);
		pieces[count].bytes = length;
		if (!pieces[count].memory || ++count == MOCK_PIECES_MAX)
			return 0;
		bytes -= length;
		if (!bytes)
			return count;
		length = MIN(bytes, (size_t)PAGE);
		if (one_more) {
			at = list;
		} else {
			entry = mock_reach(mock, list, sizeof(*entry));
			if (!entry)
				return 0;
			at = le64_get(*entry);
			list += sizeof(*entry);
			if (list % PAGE == 0 && bytes > PAGE) {
				mock->bad_prps++; /* the driver's lists do not chain */
				return 0;
			}
		}
		if (at % PAGE) {
			mock->bad_prps++;
			return 0;
		}
	}
}

static struct mock_namespace *namespace_of(struct mock *mock, const struct nvme_command *command)
{
	uint32_t nsid = le32_get(command->nsid);

	if (!nsid || nsid > MOCK_NAMESPACES || !mock->namespaces[nsid - 1].present)
		return NULL;
	return &mock->namespaces[nsid - 1];
}

/* A namespace may claim to be larger than its medium: there, commands fail. */
static unsigned check_range(const struct mock_namespace *namespace, uint64_t lba, uint64_t count)
{
	uint64_t medium = namespace->bytes >> namespace->lba_shift;

	if (lba > namespace->lbas || count > namespace->lbas - lba)
		return NVME_LBA_OUT_OF_RANGE;
	return lba > medium || count > medium - lba ? NVME_WRITE_FAULT : NVME_OK;
}

static unsigned transfer(struct mock *mock, const struct nvme_command *command,
	struct mock_namespace *namespace, uint64_t lba, uint64_t count)
{
	struct mock_piece pieces[MOCK_PIECES_MAX];
	size_t bytes = count << namespace->lba_shift;
	char *data = namespace->data + (lba << namespace->lba_shift);
	bool read = command->opcode == NVME_READ;
	unsigned pieces_count;

	mock->blocks_max = MAX(mock->blocks_max, count);
	if (mock->identity.mdts && mock->identity.mdts < 32 &&
		bytes > (size_t)PAGE << mock->identity.mdts)
		return NVME_INVALID_FIELD;
	pieces_count = mock_pieces(mock, command, bytes, pieces);
	if (!pieces_count)
		return NVME_DATA_TRANSFER_ERROR;
	if (read && lba < namespace->bad_end && lba + count > namespace->bad_first)
		return NVME_UNRECOVERED_READ;
	if (!read && lba < namespace->bad_end && lba + count > namespace->bad_first)
	namespace->bad_first = namespace->bad_end = 0; /* remapped */
	for (unsigned i = 0; i < pieces_count; i++) {
		memcpy(read ? pieces[i].memory : data, read ? data : pieces[i].memory,
			pieces[i].bytes);
		data += pieces[i].bytes;
	}
	mock->reads += read;
	mock->writes += !read;
	return NVME_OK;
}

/* What deallocated blocks read as, by DLFEAT: zeros, ones, or what they were. */
static void deallocate(
	struct mock *mock, struct mock_namespace *namespace, uint64_t lba, uint64_t count)
{
	unsigned reads = namespace->deallocate & NVME_DLFEAT_READS;

	mock->deallocations++;
	if (reads)
		memset(namespace->data + (lba << namespace->lba_shift),
			reads == NVME_DLFEAT_ZEROES ? 0 : 0xff, count << namespace->lba_shift);
}

static unsigned dataset(
	struct mock *mock, const struct nvme_command *command, struct mock_namespace *namespace)
{
	unsigned count = (le32_get(command->cdw10) & 0xff) + 1;
	struct mock_piece pieces[MOCK_PIECES_MAX];
	const struct nvme_dsm_range *range;
	uint64_t blocks;

	mock->datasets++;
	if (count != 1 || mock_pieces(mock, command, sizeof(*range), pieces) != 1)
		return NVME_INVALID_FIELD;
	range = (void *)pieces[0].memory;
	blocks = le32_get(range->blocks);
	if (mock->limits.dsm_range_blocks.raw && blocks > le32_get(mock->limits.dsm_range_blocks))
		return NVME_INVALID_FIELD;
	if (check_range(namespace, le64_get(range->lba), blocks))
		return NVME_LBA_OUT_OF_RANGE;
	if (le32_get(command->cdw11) & NVME_DSM_DEALLOCATE)
		deallocate(mock, namespace, le64_get(range->lba), blocks);
	return NVME_OK;
}

static unsigned write_zeroes(struct mock *mock, const struct nvme_command *command,
	struct mock_namespace *namespace, uint64_t lba, uint64_t count)
{
	size_t bytes = count << namespace->lba_shift;

	mock->zeroes++;
	if (mock->limits.write_zeroes_limit && mock->limits.write_zeroes_limit < 32 &&
		bytes > (size_t)PAGE << mock->limits.write_zeroes_limit)
		return NVME_INVALID_FIELD;
	memset(namespace->data + (lba << namespace->lba_shift), 0, bytes);
	if (le32_get(command->cdw12) & NVME_RW_DEALLOCATE &&
		namespace->deallocate & NVME_DLFEAT_WRITE_ZEROES)
		deallocate(mock, namespace, lba, count);
	return NVME_OK;
}

unsigned mock_io(struct mock *mock, const struct nvme_command *command)
{
	struct mock_namespace *namespace = namespace_of(mock, command);
	uint64_t lba = le32_get(command->cdw10) | (uint64_t)le32_get(command->cdw11) << 32;
	uint64_t count = (le32_get(command->cdw12) & 0xffff) + 1;
	unsigned status;

	if (!namespace)
		return NVME_INVALID_NAMESPACE;
	if (mock->sanitize.status == NVME_SANITIZE_RUNNING)
		return NVME_SANITIZE_IN_PROGRESS;
	if (mock->sanitize.status == NVME_SANITIZE_BROKEN)
		return NVME_SANITIZE_FAILED;
	if (command->opcode == NVME_FLUSH) {
		mock->flushes++;
		return NVME_OK;
	}
	if (command->opcode == NVME_DATASET_MANAGEMENT)
		return dataset(mock, command, namespace);
	if (command->opcode != NVME_READ && command->opcode != NVME_WRITE &&
		command->opcode != NVME_WRITE_ZEROES) {
		mock->bad_commands++;
		return NVME_INVALID_OPCODE;
	}
	mock->fuas += le32_get(command->cdw12) & NVME_RW_FUA ? 1 : 0;
	status = check_range(namespace, lba, count);
	if (status)
		return status;
	if (command->opcode == NVME_WRITE_ZEROES)
		return write_zeroes(mock, command, namespace, lba, count);
	return transfer(mock, command, namespace, lba, count);
}
