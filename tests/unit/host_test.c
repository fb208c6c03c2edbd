/* SPDX-License-Identifier: Apache-2.0 */
/* A host made of files: disks, who uses them, what is written on them, what the host lacks. */
#include "unit.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/disk.h"
#include "host/doctor.h"
#include "host/signature.h"
#include "host/use.h"

static char root[] = "/tmp/braid-host.XXXXXX";

/* The folders that a path needs. */
static void make_folders(const char *path)
{
	char folder[PATH_MAX];

	snprintf(folder, sizeof(folder), "%s", path);
	for (char *slash = strchr(folder + strlen(root) + 1, '/'); slash;
		slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(folder, 0755);
		*slash = '/';
	}
}

static void put(const char *name, const char *text)
{
	char path[PATH_MAX];
	FILE *file;

	snprintf(path, sizeof(path), "%s%s", root, name);
	make_folders(path);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void put_link(const char *name, const char *target)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s%s", root, name);
	make_folders(path);
	unlink(path);
	assert_int_equal(symlink(target, path), 0);
}

static void put_attribute(const char *folder, const char *attribute, const char *text)
{
	char name[PATH_MAX];

	snprintf(name, sizeof(name), "%s/%s", folder, attribute);
	put(name, text);
}

/* A PCI function in a group of its own, or of a name. */
static void put_pci(const char *address, const char *class, const char *driver, const char *group)
{
	char folder[128], name[256], target[256];

	snprintf(folder, sizeof(folder), "/sys/bus/pci/devices/%s", address);
	put_attribute(folder, "class", class);
	put_attribute(folder, "numa_node", "1\n");
	put_attribute(folder, "current_link_speed", "16.0 GT/s PCIe\n");
	put_attribute(folder, "current_link_width", "4\n");
	snprintf(target, sizeof(target), "../../../../bus/pci/drivers/%s", driver);
	snprintf(name, sizeof(name), "%s/driver", folder);
	if (driver[0])
		put_link(name, target);
	snprintf(target, sizeof(target), "../../../../kernel/iommu_groups/%s", group);
	snprintf(name, sizeof(name), "%s/iommu_group", folder);
	put_link(name, target);
	snprintf(name, sizeof(name), "/sys/kernel/iommu_groups/%s/devices/%s", group, address);
	put(name, "");
}

/* nvmeNn1 of controller nvmeN with serial number SN, at 0000:0N:00.0, number 259:N. */
static void put_nvme(unsigned number, const char *group)
{
	char address[16], controller[64], block[64], text[64], name[96];

	snprintf(address, sizeof(address), "0000:%02x:00.0", number);
	put_pci(address, "0x010802\n", "nvme", group);
	snprintf(controller, sizeof(controller), "/sys/class/nvme/nvme%u", number);
	snprintf(text, sizeof(text), "S%u    \n", number);
	put_attribute(controller, "serial", text);
	put_attribute(controller, "model", "Fast Drive 1\n");
	put_attribute(controller, "firmware_rev", "1.0\n");
	put_attribute(controller, "transport", "pcie\n");
	put_attribute(controller, "address", address);
	put_attribute(controller, "hwmon3/temp1_input", "41850\n");
	snprintf(block, sizeof(block), "/sys/class/block/nvme%un1", number);
	put_attribute(block, "size", "2048\n");
	put_attribute(block, "nsid", "1\n");
	put_attribute(block, "wwid", "eui.0011\n");
	put_attribute(block, "queue/logical_block_size", "4096\n");
	snprintf(name, sizeof(name), "%s/device", block);
	snprintf(text, sizeof(text), "../../nvme/nvme%u", number);
	put_link(name, text);
	snprintf(name, sizeof(name), "/sys/dev/block/259:%u", number);
	snprintf(text, sizeof(text), "../../class/block/nvme%un1", number);
	put_link(name, text);
}

static void make_host(void)
{
	for (unsigned i = 1; i <= 9; i++) {
		char group[8];

		snprintf(group, sizeof(group), "%u", i == 9 ? 8 : i);
		put_nvme(i, group);
	}
	/* Two more: one that vfio-pci has and nobody uses, one in a virtual machine; a network
	 * card; a bridge that shares a group, which is nothing. */
	put_pci("0000:0a:00.0", "0x010802\n", "vfio-pci", "10");
	put_pci("0000:0b:00.0", "0x010802\n", "vfio-pci", "11");
	put_pci("0000:0c:00.0", "0x020000\n", "ixgbe", "12");
	put_pci("0000:00:01.0", "0x060400\n", "pcieport", "1");
	put("/proc/77/comm", "qemu-system-x86\n");
	put_link("/proc/77/fd/9", "/dev/vfio/11");
	/* nvme1 is free. nvme2 has the system on its first partition, and something else too. */
	put("/sys/class/block/nvme2n1/nvme2n1p1/partition", "1\n");
	put("/sys/class/block/nvme2n1p1/partition", "1\n");
	put("/sys/class/block/nvme2n1p1/size", "1024\n");
	put_link("/sys/dev/block/259:100", "../../class/block/nvme2n1p1");
	put("/proc/1/mountinfo", "20 1 259:2 / /srv/my\\040files rw - ext4 /dev/nvme2n1 rw\n"
				 "21 1 259:100 / / rw,relatime shared:1 - ext4 /dev/nvme2n1p1 rw\n"
				 "22 1 0:45 /sub /data rw - btrfs /dev/nvme3n1 rw\n"
				 "23 1 0:20 / /proc rw - proc proc rw\n");
	put("/proc/swaps", "Filename  Type  Size  Used  Priority\n/dev/nvme4n1 partition 8 0 -2\n");
	/* nvme5: LVM on a partition; nvme6: md; nvme7: open in a process. */
	put("/sys/class/block/nvme5n1/nvme5n1p3/partition", "3\n");
	put("/sys/class/block/nvme5n1p3/holders/dm-0", "");
	put("/sys/class/block/dm-0/dm/name", "vg0-home\n");
	put("/sys/class/block/dm-0/dm/uuid", "LVM-abcdef\n");
	put("/sys/class/block/nvme6n1/holders/md127", "");
	put("/proc/4711/comm", "dd\n");
	put_link("/proc/4711/fd/3", "/dev/nvme7n1");
	put_link("/proc/4711/fd/4", "/dev/null");
	/* A disk that is no NVMe, a loop, and a memory disk. */
	put("/sys/class/block/sda/size", "4096\n");
	put("/sys/class/block/sda/device/model", "Old Disk\n");
	put("/sys/class/block/loop0/size", "4096\n");
	put("/sys/class/block/zram0/size", "4096\n");
}

static const struct host_disk *disk_named(
	const struct host_disk *disks, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(disks[i].name, name) || !strcmp(disks[i].address, name))
			return &disks[i];
	fail_msg("there is no disk %s", name);
	return NULL;
}

static void test_inventory(void **state)
{
	size_t count;
	struct host_disk *disks = host_disks(&count);
	const struct host_disk *disk = disk_named(disks, count, "nvme1n1");

	(void)state;
	assert_int_equal(count, 12);
	assert_string_equal(disk->serial, "S1");
	assert_string_equal(disk->model, "Fast Drive 1");
	assert_string_equal(disk->firmware, "1.0");
	assert_string_equal(disk->identity, "eui.0011");
	assert_string_equal(disk->address, "0000:01:00.0");
	assert_string_equal(disk->driver, "nvme");
	assert_string_equal(disk->link, "16.0 GT/s PCIe x4");
	assert_string_equal(disk->group, "1");
	assert_string_equal(disk->group_other, "");
	assert_int_equal(disk->numa_node, 1);
	assert_int_equal(disk->celsius, 41);
	assert_int_equal(disk->nsid, 1);
	assert_int_equal(disk->bytes, 1 << 20);
	assert_int_equal(disk->lba_bytes, 4096);
	disk = disk_named(disks, count, "sda");
	assert_string_equal(disk->model, "Old Disk");
	assert_string_equal(disk->address, "");
	assert_int_equal(disk->nsid, 0);
	assert_int_equal(disk->celsius, INT_MIN);
	disk = disk_named(disks, count, "nvme8n1");
	assert_string_equal(disk->group_other, "0000:09:00.0");
	disk = disk_named(disks, count, "0000:0a:00.0");
	assert_string_equal(disk->name, "");
	assert_string_equal(disk->driver, "vfio-pci");
	free(disks);
}

static void test_uses(void **state)
{
	static const struct {
		const char *disk, *use;
	} expected[] = {
		{"nvme1n1", ""},
		{"nvme2n1", "the system, mounted on /"},
		{"nvme3n1", "mounted on /data"},
		{"nvme4n1", "swap"},
		{"nvme5n1", "LVM, volume vg0-home"},
		{"nvme6n1", "md array md127"},
		{"nvme7n1", "process 4711 (dd)"},
		{"nvme8n1", ""},
		{"sda", ""},
		{"0000:0a:00.0", ""},
		{"0000:0b:00.0", "VFIO, process 77 (qemu-system-x86)"},
	};
	size_t count;
	struct host_disk *disks = host_disks(&count);

	(void)state;
	for (unsigned i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		assert_string_equal(
			disk_named(disks, count, expected[i].disk)->use, expected[i].use);
	free(disks);
	put("/proc/1/mountinfo", "20 1 259:2 / /srv/my\\040files rw - ext4 /dev/nvme2n1 rw\n");
	disks = host_disks(&count);
	assert_string_equal(disk_named(disks, count, "nvme2n1")->use, "mounted on /srv/my files");
	free(disks);
}

static void test_stacked(void **state)
{
	static const struct {
		const char *uuid, *use;
	} expected[] = {
		{"CRYPT-LUKS2-x\n", "dm-crypt vg0-home"},
		{"mpath-3\n", "multipath vg0-home"},
		{"", "dm-0 vg0-home"},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		size_t count;
		struct host_disk *disks;

		put("/sys/class/block/dm-0/dm/uuid", expected[i].uuid);
		disks = host_disks(&count);
		assert_string_equal(disk_named(disks, count, "nvme5n1")->use, expected[i].use);
		free(disks);
	}
}

/* A partition, and files. */
static void test_uses_of(void **state)
{
	char use[HOST_USE_BYTES];

	(void)state;
	host_use_of("nvme5n1p3", use);
	assert_string_equal(use, "dm-0 vg0-home");
	host_use_of("nvme5n1", use);
	assert_string_equal(use, "dm-0 vg0-home");
	host_use_of("nvme1n1", use);
	assert_string_equal(use, "");
	put("/sys/class/block/loop0/loop/backing_file", "/srv/a file\n");
	put("/proc/swaps", "Filename  Type  Size  Used  Priority\n/srv/the\\040swap file 8 0 -2\n");
	host_use_of_file("/srv/a file", use);
	assert_string_equal(use, "the loop device loop0");
	host_use_of_file("/srv/the swap", use);
	assert_string_equal(use, "swap");
	host_use_of_file("/srv/another", use);
	assert_string_equal(use, "");
}

static void test_meant(void **state)
{
	static const struct {
		const char *typed, *found;
	} cases[] = {
		{"S3", "nvme3n1"},
		{"0000:05:00.0", "nvme5n1"},
		{"05:00.0", "nvme5n1"},
		{"05:00.0n1", "nvme5n1"},
		{"/dev/nvme6n1", "nvme6n1"},
		{"0000:05:00.0n2", NULL},
		{"05:00.0n0", NULL},
		{"05:00.0x", NULL},
		{"nvme6n1", NULL},
		{"", NULL},
	};
	size_t count, at;
	struct host_disk *disks = host_disks(&count);

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		at = host_disk_next(disks, count, cases[i].typed, 0);
		if (!cases[i].found) {
			assert_int_equal(at, count);
			continue;
		}
		assert_true(at < count);
		assert_string_equal(disks[at].name, cases[i].found);
		assert_int_equal(host_disk_next(disks, count, cases[i].typed, at + 1), count);
	}
	free(disks);
}

static void test_not_nvme(void **state)
{
	char why[128];

	(void)state;
	host_not_nvme("0000:0c:00.0", why, sizeof(why));
	assert_string_equal(why, "PCI device 0000:0c:00.0 is no NVMe drive: its class is 020000");
	host_not_nvme("0000:ff:00.0", why, sizeof(why));
	assert_string_equal(why, "there is no PCI device 0000:ff:00.0");
	host_not_nvme("0000:01:00.0", why, sizeof(why));
	assert_string_equal(why, "");
}

/* --- signatures ------------------------------------------------------------------------------ */

struct piece {
	off_t at;
	const char *bytes;
	size_t length;
};

static void signature_of(const struct piece *pieces, size_t count, char *text, bool *in_use)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
	struct fail fail = {0};

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 16 << 20), 0);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(pwrite(fd, pieces[i].bytes, pieces[i].length, pieces[i].at),
			pieces[i].length);
	assert_int_equal(host_signature(fd, 0, NULL, text, in_use, &fail), 0);
	close(fd);
}

static void test_signatures(void **state)
{
	const struct piece swap[] = {{4086, "SWAPSPACE2", 10}, {1024, "\1\0\0\0\xff\0\0\0", 8}};
	const struct piece mbr[] = {
		{510, "\x55\xaa", 2}, {446, "\0\0\2\0\x83\0\0\0\0\x08\0\0\0\x10\0\0", 16}};
	const struct piece luks[] = {{0, "LUKS\xba\xbe\0\1", 8}};
	char text[HOST_SIGNATURE_BYTES];
	bool in_use;

	(void)state;
	signature_of(NULL, 0, text, &in_use);
	assert_string_equal(text, "");
	assert_false(in_use);
	signature_of(swap, 2, text, &in_use);
	assert_string_equal(text, "swap space");
	signature_of(mbr, 2, text, &in_use);
	assert_string_equal(text, "partition table (dos)");
	signature_of(luks, 1, text, &in_use);
	assert_string_equal(text, "LUKS volume");
}

/* --- the doctor ------------------------------------------------------------------------------ */

static const struct doctor_finding *finding(
	const struct doctor_finding *findings, size_t count, const char *check, const char *word)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(findings[i].check, check) && strstr(findings[i].found, word))
			return &findings[i];
	fail_msg("the doctor does not say '%s' of %s", word, check);
	return NULL;
}

static void test_doctor_content(void **state)
{
	struct doctor_finding all[DOCTOR_FINDINGS_MAX];
	size_t count;

	(void)state;
	put("/sys/bus/pci/drivers/vfio-pci/bind", "");
	put("/dev/vfio/vfio", "");
	put("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "100\n");
	put("/sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages", "0\n");
	count = doctor_look(all);
	assert_int_equal(finding(all, count, "IOMMU", "groups")->verdict, DOCTOR_OK);
	assert_int_equal(finding(all, count, "vfio-pci", "loaded")->verdict, DOCTOR_OK);
	assert_int_equal(finding(all, count, "huge pages", "node0: 100")->verdict, DOCTOR_OK);
	assert_int_equal(finding(all, count, "huge pages", "node1: none")->verdict, DOCTOR_ADVICE);
	assert_non_null(
		strstr(finding(all, count, "huge pages", "node1")->fix, "/node1/hugepages/"));
	assert_int_equal(finding(all, count, "io_uring", "allowed")->verdict, DOCTOR_OK);
	assert_int_equal(finding(all, count, "drives", "11 NVMe drives")->verdict, DOCTOR_OK);
	assert_int_equal(
		finding(all, count, "drives", "S8 (0000:08:00.0) shares IOMMU group 8")->verdict,
		DOCTOR_MISSING);
}

static void test_doctor_bare(void **state)
{
	char full[sizeof(root)], bare[] = "/tmp/braid-bare.XXXXXX";
	struct doctor_finding all[DOCTOR_FINDINGS_MAX];
	size_t count;

	(void)state;
	assert_non_null(mkdtemp(bare));
	memcpy(full, root, sizeof(root));
	memcpy(root, bare, sizeof(root));
	setenv("BRAID_HOST_ROOT", bare, 1);
	put("/proc/cpuinfo", "vendor_id : GenuineIntel\n");
	put("/proc/cmdline", "quiet\n");
	put("/proc/sys/kernel/io_uring_disabled", "2\n");
	count = doctor_look(all);
	assert_int_equal(finding(all, count, "IOMMU", "off")->verdict, DOCTOR_MISSING);
	assert_non_null(strstr(finding(all, count, "IOMMU", "off")->fix, "intel_iommu=on"));
	assert_int_equal(
		finding(all, count, "vfio-pci", "no such module")->verdict, DOCTOR_MISSING);
	assert_int_equal(finding(all, count, "io_uring", "off")->verdict, DOCTOR_MISSING);
	put("/proc/cpuinfo", "vendor_id : AuthenticAMD\n");
	count = doctor_look(all);
	assert_non_null(strstr(finding(all, count, "IOMMU", "off")->fix, "AMD-Vi"));
	memcpy(root, full, sizeof(root));
	setenv("BRAID_HOST_ROOT", root, 1);
	assert_int_equal(system("rm -rf /tmp/braid-bare.*"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inventory),
		cmocka_unit_test(test_uses),
		cmocka_unit_test(test_stacked),
		cmocka_unit_test(test_uses_of),
		cmocka_unit_test(test_meant),
		cmocka_unit_test(test_not_nvme),
		cmocka_unit_test(test_signatures),
		cmocka_unit_test(test_doctor_content),
		cmocka_unit_test(test_doctor_bare),
	};
	char command[64];
	int failed;

	unit_start();
	if (!mkdtemp(root))
		return 1;
	setenv("BRAID_HOST_ROOT", root, 1);
	make_host();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command) ? 1 : failed;
}
