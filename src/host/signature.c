/* SPDX-License-Identifier: Apache-2.0 */
#include "host/signature.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "host/tree.h"

static const char *value_of(blkid_probe probe, const char *name)
{
	const char *value;

	return blkid_probe_lookup_value(probe, name, &value, NULL) ? "" : value;
}

/* In the words of who has to decide. */
static void describe(blkid_probe probe, char *text, bool *in_use)
{
	const char *type = value_of(probe, "TYPE"), *label = value_of(probe, "LABEL");
	const char *table = value_of(probe, "PTTYPE"), *usage = value_of(probe, "USAGE");
	const char *noun = !strcmp(usage, "filesystem") ? " file system" : "";

	if (!strcmp(type, "zfs_member") && label[0])
		*in_use = host_exists("/proc/spl/kstat/zfs/%s", label);
	if (!strcmp(type, "LVM2_member"))
		type = "LVM physical volume";
	else if (!strcmp(type, "linux_raid_member"))
		type = "member of an md array";
	else if (!strcmp(type, "zfs_member"))
		type = "member of a ZFS pool";
	else if (!strcmp(type, "crypto_LUKS"))
		type = "LUKS volume";
	else if (!strcmp(type, "swap"))
		type = "swap space";
	if (type[0])
		snprintf(text, HOST_SIGNATURE_BYTES, "%.40s%s%s%.60s%s", type, noun,
			label[0] ? " \"" : "", label, label[0] ? "\"" : "");
	else if (table[0])
		snprintf(text, HOST_SIGNATURE_BYTES, "partition table (%.20s)", table);
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

/* A partition table of braid's, and nothing else. */
static bool is_own(blkid_probe probe, const char *own_type)
{
	blkid_partlist list;
	int count;

	if (!own_type || value_of(probe, "TYPE")[0])
		return false;
	if (!own_type[0])
		return true;
	if (strcmp(value_of(probe, "PTTYPE"), "gpt"))
		return false;
	list = blkid_probe_get_partitions(probe);
	count = list ? blkid_partlist_numof_partitions(list) : 0;
	for (int i = 0; i < count; i++) {
		blkid_partition partition = blkid_partlist_get_partition(list, i);
		const char *type = blkid_partition_get_type_string(partition);

		if (!type || strcmp(type, own_type))
			return false;
	}
	return count > 0;
}

int host_signature(int fd, uint32_t lba_bytes, const char *own_type, char *text, bool *in_use,
	struct fail *fail)
{
	blkid_probe probe = blkid_new_probe();
	int found = -1;

	text[0] = '\0';
	*in_use = false;
	if (!probe)
		return fail_set(fail, ENOMEM, "no memory to look for signatures");
	blkid_probe_enable_superblocks(probe, true);
	blkid_probe_set_superblocks_flags(
		probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE | BLKID_SUBLKS_LABEL);
	blkid_probe_enable_partitions(probe, true);
	blkid_probe_set_partitions_flags(probe, BLKID_PARTS_FORCE_GPT);
	if (!blkid_probe_set_device(probe, fd, 0, 0)) {
		if (lba_bytes)
			blkid_probe_set_sectorsize(probe, lba_bytes);
		/* "Ambivalent", -2, is more than one: that is not nothing. */
		found = blkid_do_safeprobe(probe);
	}
	if (found == -2)
		snprintf(text, HOST_SIGNATURE_BYTES, "signatures that contradict each other");
	else if (found == 0 && !is_own(probe, own_type))
		describe(probe, text, in_use);
	blkid_free_probe(probe);
	if (found == -1)
		return fail_set(
			fail, EIO, "it cannot be read for the signatures of other software");
	return 0;
}
