/* SPDX-License-Identifier: Apache-2.0 */
/* One function per check, in the order of the table at the end. */
#include "host/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "host/disk.h"
#include "host/tree.h"

struct report {
	struct doctor_finding *finding;
	size_t count;
};

static struct doctor_finding *find(struct report *report, const char *check,
	enum doctor_verdict verdict, const char *found, ...) __attribute__((format(printf, 4, 5)));

static struct doctor_finding *find(struct report *report, const char *check,
	enum doctor_verdict verdict, const char *found, ...)
{
	static struct doctor_finding beyond; /* of the last: never shown */
	struct doctor_finding *finding =
		report->count < DOCTOR_FINDINGS_MAX ? &report->finding[report->count++] : &beyond;
	va_list arguments;

	finding->check = check;
	finding->verdict = verdict;
	finding->fix[0] = '\0';
	va_start(arguments, found);
	vsnprintf(finding->found, sizeof(finding->found), found, arguments);
	va_end(arguments);
	return finding;
}

static void fix(struct doctor_finding *finding, const char *lines, ...)
	__attribute__((format(printf, 2, 3)));

static void fix(struct doctor_finding *finding, const char *lines, ...)
{
	va_list arguments;

	va_start(arguments, lines);
	vsnprintf(finding->fix, sizeof(finding->fix), lines, arguments);
	va_end(arguments);
}

/* --- the processor and the kernel ------------------------------------------------------------ */

static unsigned count_folder(const char *path)
{
	DIR *folder = host_folder("%s", path);
	unsigned count = 0;

	while (host_next(folder))
		count++;
	return count;
}

static bool file_says(const char *path, const char *word)
{
	FILE *file = host_file("%s", path);
	char line[4096];
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file))
		found = strstr(line, word);
	if (file)
		fclose(file);
	return found;
}

/* A group for each device that could be handed over. */
static void look_iommu(struct report *report)
{
	unsigned groups = count_folder("/sys/kernel/iommu_groups");
	bool intel = file_says("/proc/cpuinfo", "GenuineIntel");
	struct doctor_finding *finding;

	if (groups) {
		find(report, "IOMMU", DOCTOR_OK, "on, %u groups", groups);
		return;
	}
	finding = find(report, "IOMMU", DOCTOR_MISSING,
		"off: NVMe drives cannot be driven from user space");
	if (intel && !file_says("/proc/cmdline", "intel_iommu=on"))
		fix(finding, "switch VT-d on in the firmware, then:\n"
			     "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&intel_iommu=on iommu=pt /' "
			     "/etc/default/grub && update-grub && reboot");
	else
		fix(finding,
			"switch %s on in the firmware's settings (of a virtual machine: give it an "
			"IOMMU)",
			intel ? "VT-d" : "IOMMU (AMD-Vi, SVM)");
}

static bool module_exists(const char *file)
{
	struct utsname name;
	char path[HOST_PATH_BYTES];

	if (uname(&name))
		return false;
	snprintf(path, sizeof(path), "/lib/modules/%s/modules.dep", name.release);
	if (file_says(path, file))
		return true;
	snprintf(path, sizeof(path), "/lib/modules/%s/modules.builtin", name.release);
	return file_says(path, file);
}

static void look_vfio(struct report *report)
{
	struct doctor_finding *finding;
	struct utsname name;

	if (host_exists("/sys/bus/pci/drivers/vfio-pci") && host_exists("/dev/vfio/vfio")) {
		find(report, "vfio-pci", DOCTOR_OK, "loaded");
	} else if (module_exists("/vfio-pci.ko")) {
		finding = find(report, "vfio-pci", DOCTOR_MISSING, "not loaded");
		fix(finding, "modprobe vfio-pci && echo vfio-pci >/etc/modules-load.d/braid.conf");
	} else {
		finding = find(report, "vfio-pci", DOCTOR_MISSING,
			"the kernel %s has no such module", uname(&name) ? "" : name.release);
		fix(finding, "boot a kernel with CONFIG_VFIO_PCI, such as Debian's "
			     "linux-image-amd64");
	}
}

static void look_io_uring(struct report *report)
{
	long long disabled = host_number(0, "/proc/sys/kernel/io_uring_disabled");

	if (!disabled)
		find(report, "io_uring", DOCTOR_OK, "allowed");
	else
		fix(find(report, "io_uring", DOCTOR_MISSING,
			    "switched off: files and block devices cannot be drives"),
			"sysctl -w kernel.io_uring_disabled=0\n"
			"echo kernel.io_uring_disabled=0 >/etc/sysctl.d/90-braid.conf");
}

static void look_cores(struct report *report)
{
	char isolated[HOST_LINE_BYTES];
	cpu_set_t set;
	int cores = sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);

	host_read(isolated, sizeof(isolated), "/sys/devices/system/cpu/isolated");
	if (cores < 2)
		fix(find(report, "cores", DOCTOR_ADVICE, "one: guests and braidd would share it"),
			"give this machine a second core");
	else if (!isolated[0])
		find(report, "cores", DOCTOR_OK, "%d, none isolated", cores);
	else
		find(report, "cores", DOCTOR_OK, "%d, isolated: %s", cores, isolated);
}

/* --- memory ---------------------------------------------------------------------------------- */

static void look_memlock(struct report *report)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit))
		return;
	if (limit.rlim_cur == RLIM_INFINITY)
		find(report, "memlock", DOCTOR_OK, "no limit");
	else if (geteuid() == 0)
		find(report, "memlock", DOCTOR_OK, "%llu KiB, which does not bind root",
			(unsigned long long)limit.rlim_cur / 1024);
	else
		fix(find(report, "memlock", DOCTOR_MISSING,
			    "%llu KiB: memory for drives and guests cannot be pinned",
			    (unsigned long long)limit.rlim_cur / 1024),
			"in braidd's unit: LimitMEMLOCK=infinity; in a shell, as root: "
			"ulimit -l unlimited");
}

static void look_huge_pages(struct report *report)
{
	DIR *folder = host_folder("/sys/devices/system/node");
	const char *node;

	while ((node = host_next(folder))) {
		static const char pages[] = "/sys/devices/system/node/%s/hugepages/hugepages-%s/%s";
		long long small, large;

		if (sscanf(node, "node%*u%n", &(int){0}) < 0 || strncmp(node, "node", 4))
			continue;
		small = host_number(-1, pages, node, "2048kB", "free_hugepages");
		large = host_number(-1, pages, node, "1048576kB", "free_hugepages");
		if (small < 0 && large < 0)
			continue;
		if (small > 0 || large > 0)
			find(report, "huge pages", DOCTOR_OK,
				"%s: %lld of 2 MiB and %lld of 1 GiB free", node,
				small < 0 ? 0 : small, large < 0 ? 0 : large);
		else
			fix(find(report, "huge pages", DOCTOR_ADVICE,
				    "%s: none free; plain pages are used, slower", node),
				"echo 512 >/sys/devices/system/node/%s/hugepages/"
				"hugepages-2048kB/nr_hugepages\n"
				"echo vm.nr_hugepages=512 >/etc/sysctl.d/90-braid.conf",
				node);
	}
}

/* --- rights and drives ----------------------------------------------------------------------- */

static void look_rights(struct report *report)
{
	if (geteuid() == 0)
		find(report, "rights", DOCTOR_OK, "root");
	else
		fix(find(report, "rights", DOCTOR_ADVICE,
			    "not root: what is said here of memlock and drives is of this user"),
			"run braid doctor as the user that braidd runs as");
}

static void look_drive(struct report *report, const struct host_disk *disk)
{
	const char *name = disk->serial[0] ? disk->serial : disk->address;

	if (disk->group_other[0])
		fix(find(report, "drives", DOCTOR_MISSING,
			    "%s (%s) shares IOMMU group %s with %s: it cannot be attached alone",
			    name, disk->address, disk->group, disk->group_other),
			"move the drive to another slot, one whose ports support ACS");
	if (host_exists("/etc/driverctl.d/pci-%s", disk->address))
		fix(find(report, "drives", DOCTOR_ADVICE,
			    "driverctl has a driver for %s (%s), and would rebind it", name,
			    disk->address),
			"driverctl unset-override %s", disk->address);
}

static void look_drives(struct report *report)
{
	size_t count, nvme = 0, used = 0, i;
	struct host_disk *disks = host_disks(&count);

	for (i = 0; disks && i < count; i++) {
		if (!disks[i].address[0])
			continue;
		nvme++;
		used += disks[i].use[0] != '\0';
	}
	find(report, "drives", DOCTOR_OK, "%zu NVMe drives on PCI Express, %zu in use by the host",
		nvme, used);
	for (i = 0; disks && i < count; i++)
		if (disks[i].address[0])
			look_drive(report, &disks[i]);
	free(disks);
}

size_t doctor_look(struct doctor_finding *findings)
{
	static void (*const looks[])(struct report *) = {look_rights, look_iommu, look_vfio,
		look_io_uring, look_cores, look_memlock, look_huge_pages, look_drives};
	struct report report = {.finding = findings};

	for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++)
		looks[i](&report);
	return report.count;
}

const char *doctor_verdict_name(enum doctor_verdict verdict)
{
	static const char *const names[] = {
		[DOCTOR_OK] = "ok", [DOCTOR_ADVICE] = "advice", [DOCTOR_MISSING] = "missing"};

	return names[verdict];
}
