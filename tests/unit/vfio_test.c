/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking PCI devices from the kernel and giving them back, in a tree of files that looks like /sys,
 * with a thread that does what the kernel does when a file is written. The ioctls of VFIO itself
 * are exercised in a virtual machine: tests/nvme.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drivers/drivers.h"
#include "drivers/vfio/bar.h"
#include "drivers/vfio/device.h"

static char root[] = "/tmp/braid-vfio-XXXXXX";
static const char drive[] = "0000:65:00.0", card[] = "0000:00:1f.2";

/* --- a tree ---------------------------------------------------------------------------------- */

static const char *at(const char *format, ...) __attribute__((format(printf, 1, 2)));

static const char *at(const char *format, ...)
{
	static _Thread_local char paths[4][PATH_MAX];
	static _Thread_local unsigned next;
	char *path = paths[next++ % 4];
	va_list arguments;
	int used = snprintf(path, PATH_MAX, "%s/", root);

	va_start(arguments, format);
	vsnprintf(path + used, PATH_MAX - (size_t)used, format, arguments);
	va_end(arguments);
	return path;
}

static void folder(const char *path)
{
	char part[PATH_MAX];

	for (const char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		mkdir(part, 0755);
	}
	mkdir(path, 0755);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void get(const char *path, char text[64])
{
	int fd = open(path, O_RDONLY);
	ssize_t bytes = fd < 0 ? 0 : read(fd, text, 63);

	text[bytes > 0 ? bytes : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	if (fd >= 0)
		close(fd);
}

static void bind_to(const char *address, const char *driver)
{
	const char *link = at("sys/bus/pci/devices/%s/driver", address);

	unlink(link);
	if (driver)
		assert_int_equal(symlink(at("sys/bus/pci/drivers/%s", driver), link), 0);
}

static void device(const char *address, const char *class, const char *driver, const char *group)
{
	folder(at("sys/bus/pci/devices/%s", address));
	put(at("sys/bus/pci/devices/%s/class", address), class);
	put(at("sys/bus/pci/devices/%s/driver_override", address), "(null)\n");
	bind_to(address, driver);
	if (!group)
		return;
	folder(at("sys/kernel/iommu_groups/%s/devices/%s", group, address));
	assert_int_equal(symlink(at("sys/kernel/iommu_groups/%s", group),
				 at("sys/bus/pci/devices/%s/iommu_group", address)),
		0);
}

static void driver(const char *name)
{
	folder(at("sys/bus/pci/drivers/%s", name));
	put(at("sys/bus/pci/drivers/%s/bind", name), "");
	put(at("sys/bus/pci/drivers/%s/unbind", name), "");
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
	(void)status, (void)type, (void)place;
	return remove(path);
}

static int make_tree(void **state)
{
	(void)state;
	strcpy(root + strlen(root) - 6, "XXXXXX");
	if (!mkdtemp(root))
		return -1;
	folder(at("sys/bus/pci/devices"));
	put(at("sys/bus/pci/drivers_probe"), "");
	driver("nvme");
	driver("ahci");
	driver("vfio-pci");
	folder(at("dev/vfio"));
	put(at("dev/vfio/vfio"), "");
	device(drive, "0x010802\n", "nvme", "12");
	device(card, "0x010601\n", "ahci", "3");
	vfio_roots(at("sys"), at("dev"));
	return 0;
}

static int remove_tree(void **state)
{
	(void)state;
	vfio_roots(NULL, NULL);
	return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* --- the kernel ------------------------------------------------------------------------------ */

static pthread_t kernel_thread;
static atomic_bool kernel_stop;
static bool vfio_refuses, nvme_refuses;

/* Takes what was written into a file; false: nothing. */
static bool take(const char *path, char text[64])
{
	get(path, text);
	if (!text[0])
		return false;
	put(path, "");
	return true;
}

static void probe(const char *address)
{
	char override[64];

	get(at("sys/bus/pci/devices/%s/driver_override", address), override);
	if (!strcmp(override, "vfio-pci")) {
		if (!vfio_refuses)
			bind_to(address, "vfio-pci");
	} else if (!nvme_refuses) {
		bind_to(address, "nvme");
	}
}

static void *kernel(void *argument)
{
	static const char *const drivers[] = {"nvme", "vfio-pci"};
	char address[64];

	(void)argument;
	while (!atomic_load(&kernel_stop)) {
		for (unsigned i = 0; i < 2; i++) {
			if (take(at("sys/bus/pci/drivers/%s/unbind", drivers[i]), address))
				bind_to(address, NULL);
			if (take(at("sys/bus/pci/drivers/%s/bind", drivers[i]), address))
				bind_to(address, drivers[i]);
		}
		if (take(at("sys/bus/pci/drivers_probe"), address) &&
			access(at("sys/bus/pci/devices/%s/driver", address), F_OK))
			probe(address);
		usleep(200);
	}
	return NULL;
}

static int start_kernel(void **state)
{
	if (make_tree(state))
		return -1;
	vfio_refuses = nvme_refuses = false;
	atomic_store(&kernel_stop, false);
	return pthread_create(&kernel_thread, NULL, kernel, NULL);
}

static int stop_kernel(void **state)
{
	atomic_store(&kernel_stop, true);
	pthread_join(kernel_thread, NULL);
	return remove_tree(state);
}

static void expect_driver(const char *name)
{
	char target[PATH_MAX];
	ssize_t length =
		readlink(at("sys/bus/pci/devices/%s/driver", drive), target, sizeof(target) - 1);

	target[length > 0 ? length : 0] = '\0';
	if (!name)
		assert_int_equal(length, -1);
	else
		expect(length > 0 && !strcmp(strrchr(target, '/') + 1, name), "the driver is %s",
			target);
}

static void expect_no_override(void)
{
	char override[64];

	get(at("sys/bus/pci/devices/%s/driver_override", drive), override);
	expect(!override[0] || !strcmp(override, "(null)"), "left with %s", override);
}

/* --- tests ----------------------------------------------------------------------------------- */

static void refused(const char *address, int error, const char *text)
{
	struct fail fail = {0};
	char former[VFIO_DRIVER_BYTES];

	assert_int_equal(vfio_usable(address, &fail), -error);
	expect(strstr(fail.text, text), "'%s' is not in: %s", text, fail.text);
	assert_int_equal(vfio_take(address, former, &fail), -error);
	expect_driver("nvme");
}

static void test_refusals(void **state)
{
	(void)state;
	refused("nvme0", EINVAL, "'nvme0' is not the address of a PCI device");
	refused("../../../etc", EINVAL, "not the address");
	refused("0000:ff:00.0", ENODEV, "there is no PCI device 0000:ff:00.0");
	refused(card, EINVAL, "is not an NVMe drive (its class is 0x010601");
	assert_int_equal(vfio_usable(drive, NULL), 0);
	/* Neighbours: a bridge and another vfio-pci device do no harm, a disk controller does. */
	device("0000:64:00.0", "0x060400\n", "ahci", "12");
	device("0000:65:00.1", "0x010802\n", "vfio-pci", "12");
	device("0000:65:00.2", "0x010802\n", NULL, "12");
	assert_int_equal(vfio_usable(drive, NULL), 0);
	device("0000:65:00.3", "0x020000\n", "ahci", "12");
	refused(drive, EBUSY, "shares its IOMMU group 12 with 0000:65:00.3 (ahci)");
	unlink(at("sys/bus/pci/devices/%s/driver", "0000:65:00.3"));
	unlink(at("dev/vfio/vfio"));
	refused(drive, ENODEV, "vfio_iommu_type1");
	nftw(at("sys/bus/pci/drivers/vfio-pci"), remove_one, 16, FTW_DEPTH | FTW_PHYS);
	refused(drive, ENODEV, "modprobe vfio-pci");
	unlink(at("sys/bus/pci/devices/%s/iommu_group", drive));
	refused(drive, ENODEV, "behind no IOMMU");
}

static void test_not_root(void **state)
{
	struct fail fail = {0};

	(void)state;
	if (!geteuid())
		unlink(at("sys/bus/pci/devices/%s/driver_override", drive));
	else
		chmod(at("sys/bus/pci/devices/%s/driver_override", drive), 0444);
	assert_int_equal(vfio_usable(drive, &fail), geteuid() ? -EPERM : -ENODEV);
	assert_non_null(strstr(fail.text, "run braidd as root"));
}

static void test_take_and_give_back(void **state)
{
	char former[VFIO_DRIVER_BYTES];
	struct fail fail = {0};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		expect(!vfio_take(drive, former, &fail), "%s", fail.text);
		assert_string_equal(former, "nvme");
		expect_driver("vfio-pci");
		/* Already taken: by us, before a restart. */
		assert_int_equal(vfio_take(drive, former, &fail), 0);
		assert_string_equal(former, "");
		expect(!vfio_give_back(drive, i % 2 ? "nvme" : "", &fail), "%s", fail.text);
		expect_driver("nvme");
		expect_no_override();
	}
	/* One that no driver had. */
	bind_to(drive, NULL);
	assert_int_equal(vfio_take(drive, former, &fail), 0);
	assert_string_equal(former, "");
	expect_driver("vfio-pci");
	assert_int_equal(vfio_give_back(drive, former, &fail), 0);
}

/* vfio-pci does not take it: it is as it was. */
static void test_half_done(void **state)
{
	char former[VFIO_DRIVER_BYTES];
	struct fail fail = {0};

	(void)state;
	vfio_refuses = true;
	assert_int_equal(vfio_take(drive, former, &fail), -EBUSY);
	assert_non_null(strstr(fail.text, "it is as it was"));
	expect_driver("nvme");
	expect_no_override();
}

static void test_not_given_back(void **state)
{
	char former[VFIO_DRIVER_BYTES];
	struct fail fail = {0};

	(void)state;
	assert_int_equal(vfio_take(drive, former, &fail), 0);
	nvme_refuses = true;
	assert_int_equal(vfio_give_back(drive, "", &fail), -EIO);
	assert_non_null(strstr(fail.text, "echo 0000:65:00.0 > /sys/bus/pci/drivers/nvme/bind"));
	/* By name it goes where probing did not help. */
	bind_to(drive, "vfio-pci");
	vfio_give_back(drive, "nvme", &fail);
	usleep(20000);
	expect_driver("nvme");
	/* Pulled out meanwhile: nothing to do. */
	assert_int_equal(vfio_give_back("0000:66:00.0", "nvme", &fail), 0);
}

/* The nodes of /dev/vfio are files here: what is not VFIO is refused, and nothing is left open. */
static void test_no_vfio(void **state)
{
	struct vfio_device *opened;
	struct fail fail = {0};
	int before = dup(0), after;

	(void)state;
	close(before);
	assert_int_equal(vfio_device_open(&opened, drive, &fail), -ENOENT);
	assert_non_null(strstr(fail.text, "dev/vfio/12"));
	put(at("dev/vfio/12"), "");
	assert_int_equal(vfio_device_open(&opened, drive, &fail), -ENOTTY);
	assert_non_null(strstr(fail.text, "IOMMU group of drive 0000:65:00.0"));
	after = dup(0);
	close(after);
	assert_int_equal(before, after);
}

/* --- registers that go away ------------------------------------------------------------------ */

static void test_bar(void **state)
{
	enum { BYTES = 8192 };
	int fd = memfd_create("bar", 0), other = memfd_create("bar", 0);
	volatile uint32_t *registers, *neighbour;

	(void)state;
	assert_false(ftruncate(fd, BYTES) || ftruncate(other, BYTES));
	registers = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	neighbour = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0);
	bar_guard((void *)registers, BYTES);
	bar_guard((void *)neighbour, BYTES);
	registers[7] = 7;
	assert_int_equal(registers[7], 7);
	assert_false(bar_gone(registers));
	assert_int_equal(ftruncate(fd, 0), 0);
	registers[7] = 8; /* goes nowhere, and is what an absent device would answer */
	assert_true(bar_gone(registers));
	assert_int_equal(registers[0], 0xffffffff);
	assert_int_equal(registers[BYTES / 4 - 1], 0xffffffff);
	assert_false(bar_gone(neighbour));
	assert_int_equal(neighbour[7], 0);
	assert_int_equal(ftruncate(other, 0), 0); /* the next one, too */
	assert_int_equal(neighbour[7], 0xffffffff);
	bar_unguard((void *)registers);
	bar_unguard((void *)neighbour);
	munmap((void *)registers, BYTES);
	munmap((void *)neighbour, BYTES);
	close(fd);
	close(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_refusals, make_tree, remove_tree),
		cmocka_unit_test_setup_teardown(test_not_root, make_tree, remove_tree),
		cmocka_unit_test_setup_teardown(test_take_and_give_back, start_kernel, stop_kernel),
		cmocka_unit_test_setup_teardown(test_half_done, start_kernel, stop_kernel),
		cmocka_unit_test_setup_teardown(test_not_given_back, start_kernel, stop_kernel),
		cmocka_unit_test_setup_teardown(test_no_vfio, make_tree, remove_tree),
		cmocka_unit_test(test_bar),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
