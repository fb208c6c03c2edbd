/* SPDX-License-Identifier: Apache-2.0 */
#include "host/use.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES = 4096 };

struct disks {
	struct host_disk *disk;
	size_t count;
};

/* The disk that a block device is, or is a partition of. */
static struct host_disk *disk_of(const struct disks *all, const char *name)
{
	for (size_t i = 0; name[0] && i < all->count; i++)
		if (all->disk[i].name[0] && (!strcmp(all->disk[i].name, name) ||
						    host_exists("/sys/class/block/%s/%s/partition",
							    all->disk[i].name, name)))
			return &all->disk[i];
	return NULL;
}

/* The first finding stays. */
static void say(struct host_disk *disk, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void say(struct host_disk *disk, const char *format, ...)
{
	va_list arguments;

	if (!disk || disk->use[0])
		return;
	va_start(arguments, format);
	vsnprintf(disk->use, sizeof(disk->use), format, arguments);
	va_end(arguments);
}

/* "\040" is a blank. */
static void unescape(char *text)
{
	char *to = text;

	for (; *text; text++) {
		unsigned code;

		if (*text == '\\' && sscanf(text + 1, "%3o", &code) == 1) {
			*to++ = (char)code;
			text += 3;
		} else {
			*to++ = *text;
		}
	}
	*to = '\0';
}

/* --- mounts and swap ------------------------------------------------------------------------- */

static bool is_system(const char *point)
{
	static const char *const points[] = {"/", "/boot", "/boot/efi", "/usr", "/var"};

	for (unsigned i = 0; i < sizeof(points) / sizeof(points[0]); i++)
		if (!strcmp(point, points[i]))
			return true;
	return false;
}

/* proc_pid_mountinfo(5): id parent major:minor root point options [tags] - type source options. A
 * btrfs has a number of its own: then the source tells. */
static void take_mount(const struct disks *all, char *line)
{
	char number[32], point[LINE_BYTES], source[LINE_BYTES], name[HOST_NAME_BYTES];
	char *rest = strstr(line, " - ");
	struct host_disk *disk = NULL;

	if (!rest || sscanf(line, "%*s %*s %31s %*s %4095s", number, point) != 2 ||
		sscanf(rest, " - %*s %4095s", source) != 1)
		return;
	unescape(point);
	unescape(source);
	if (host_link(name, sizeof(name), "/sys/dev/block/%s", number))
		disk = disk_of(all, name);
	if (!disk && !strncmp(source, "/dev/", 5))
		disk = disk_of(all, strrchr(source, '/') + 1);
	if (disk && is_system(point) && strncmp(disk->use, "the system", 10))
		disk->use[0] = '\0';
	say(disk, is_system(point) ? "the system, mounted on %s" : "mounted on %s", point);
}

static void read_mounts(const struct disks *all)
{
	static const char *const processes[] = {"1", "self"};
	char line[LINE_BYTES];

	for (unsigned i = 0; i < 2; i++) {
		FILE *file = host_file("/proc/%s/mountinfo", processes[i]);

		while (file && fgets(line, sizeof(line), file))
			take_mount(all, line);
		if (file)
			fclose(file);
	}
}

static void read_swaps(const struct disks *all)
{
	FILE *file = host_file("/proc/swaps");
	char line[LINE_BYTES], path[LINE_BYTES];

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%4095s", path) != 1 || path[0] != '/')
			continue;
		unescape(path);
		say(disk_of(all, strrchr(path, '/') + 1), "swap");
	}
	if (file)
		fclose(file);
}

/* --- what is stacked on it ------------------------------------------------------------------- */

static void say_holder(struct host_disk *disk, const char *holder)
{
	char name[HOST_LINE_BYTES], uuid[HOST_LINE_BYTES];

	if (!strncmp(holder, "md", 2)) {
		say(disk, "md array %s", holder);
		return;
	}
	if (!strncmp(holder, "bcache", 6)) {
		say(disk, "%s", holder);
		return;
	}
	host_read(name, sizeof(name), "/sys/class/block/%s/dm/name", holder);
	host_read(uuid, sizeof(uuid), "/sys/class/block/%s/dm/uuid", holder);
	if (!strncmp(uuid, "LVM-", 4))
		say(disk, "LVM, volume %s", name);
	else if (!strncmp(uuid, "CRYPT-", 6))
		say(disk, "dm-crypt %s", name);
	else if (!strncmp(uuid, "mpath-", 6))
		say(disk, "multipath %s", name);
	else
		say(disk, "%s%s%s", holder, name[0] ? " " : "", name);
}

static void read_holders(struct host_disk *disk, const char *name)
{
	DIR *folder = host_folder("/sys/class/block/%s/holders", name);
	const char *holder;

	while ((holder = host_next(folder)))
		say_holder(disk, holder);
}

/* The last word is the kernel's: ZFS and others leave no trace but that it is held. */
static void try_exclusive(struct host_disk *disk)
{
	char path[HOST_PATH_BYTES];
	int fd = open(
		host_path(path, "/dev/%s", disk->name), O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0)
		close(fd);
	else if (errno == EBUSY)
		say(disk, "the kernel holds it (ZFS, or something else stacked on it)");
}

static void read_block(struct host_disk *disk)
{
	DIR *folder = host_folder("/sys/class/block/%s", disk->name);
	const char *name;

	read_holders(disk, disk->name);
	while ((name = host_next(folder)))
		if (host_exists("/sys/class/block/%s/%s/partition", disk->name, name))
			read_holders(disk, name);
}

/* --- processes ------------------------------------------------------------------------------- */

static void say_process(struct host_disk *disk, const char *process, const char *how)
{
	char name[HOST_NAME_BYTES];

	host_read(name, sizeof(name), "/proc/%s/comm", process);
	say(disk, "%sprocess %s (%s)", how, process, name);
}

static void take_open(const struct disks *all, const char *process, const char *path)
{
	const char *name = strrchr(path, '/') + 1;

	if (strncmp(path, "/dev/vfio/", 10)) {
		say_process(disk_of(all, name), process, "");
		return;
	}
	for (size_t i = 0; i < all->count; i++)
		if (!strcmp(all->disk[i].driver, "vfio-pci") && !strcmp(all->disk[i].group, name))
			say_process(&all->disk[i], process, "VFIO, ");
}

/* Who has one open, be it without holding it: a virtual machine, say. */
static void read_process(const struct disks *all, const char *process)
{
	DIR *folder = host_folder("/proc/%s/fd", process);
	const char *number;

	while ((number = host_next(folder))) {
		char link[HOST_PATH_BYTES], path[PATH_MAX];
		ssize_t length;

		host_path(link, "/proc/%s/fd/%s", process, number);
		length = readlink(link, path, sizeof(path) - 1);
		if (length <= 0)
			continue;
		path[length] = '\0';
		if (!strncmp(path, "/dev/", 5))
			take_open(all, process, path);
	}
}

static void read_processes(const struct disks *all)
{
	DIR *folder = host_folder("/proc");
	const char *name;
	char own[16];

	snprintf(own, sizeof(own), "%d", (int)getpid());
	while ((name = host_next(folder)))
		if (isdigit((unsigned char)name[0]) && strcmp(name, own))
			read_process(all, name);
}

void host_uses(struct host_disk *disks, size_t count)
{
	struct disks all = {disks, count};

	read_mounts(&all);
	read_swaps(&all);
	for (size_t i = 0; i < count; i++) {
		if (disks[i].name[0])
			read_block(&disks[i]);
		else if (disks[i].driver[0] && strcmp(disks[i].driver, "vfio-pci") &&
			 strcmp(disks[i].driver, "nvme"))
			say(&disks[i], "the driver %s", disks[i].driver);
	}
	read_processes(&all);
	for (size_t i = 0; i < count; i++)
		if (disks[i].name[0])
			try_exclusive(&disks[i]);
}

void host_use_of(const char *name, char *use)
{
	struct host_disk disk = {0};

	snprintf(disk.name, sizeof(disk.name), "%.63s", name);
	host_uses(&disk, 1);
	memcpy(use, disk.use, HOST_USE_BYTES);
}

void host_use_of_file(const char *path, char *use)
{
	FILE *swaps = host_file("/proc/swaps");
	DIR *folder = host_folder("/sys/class/block");
	char line[LINE_BYTES], other[LINE_BYTES];
	const char *name;

	use[0] = '\0';
	while (swaps && fgets(line, sizeof(line), swaps))
		if (sscanf(line, "%4095s", other) == 1) {
			unescape(other);
			if (!strcmp(other, path))
				strcpy(use, "swap");
		}
	if (swaps)
		fclose(swaps);
	while ((name = host_next(folder)))
		if (host_read(
			    other, sizeof(other), "/sys/class/block/%s/loop/backing_file", name) &&
			!strcmp(other, path))
			snprintf(use, HOST_USE_BYTES, "the loop device %s", name);
}
