/* SPDX-License-Identifier: Apache-2.0 */
#include "host/locate.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/tree.h"

static const char no_light[] =
	"the kernel knows no light for the bay of this drive (no NPEM, no attention light of a "
	"slot, no SES enclosure): look for its serial number";

/* A slot's file may be there without a light behind it: ENODEV. */
static int switch_light(const char *path, bool on, struct fail *fail)
{
	FILE *file = fopen(path, "we");
	int error = file ? 0 : errno;

	if (file && fprintf(file, "%d\n", on) < 0)
		error = errno;
	if (file && fclose(file))
		error = errno;
	if (error == ENODEV || error == ENOENT)
		return fail_set(fail, ENOTSUP, "%s", no_light);
	if (error)
		return fail_set(
			fail, error, "the light %s cannot be switched: %s", path, strerror(error));
	return 0;
}

/* NPEM: the LED belongs to the drive's function or to the port above it. */
static bool find_led(const char *address, char *path)
{
	char device[HOST_PATH_BYTES], real[PATH_MAX], *slash;

	host_path(device, "/sys/bus/pci/devices/%s", address);
	if (!realpath(device, real))
		return false;
	for (unsigned level = 0; level < 2 && (slash = strrchr(real, '/')); level++) {
		host_path(path, "/sys/class/leds/%.32s:enclosure:locate/brightness", slash + 1);
		if (host_exists("/sys/class/leds/%.32s:enclosure:locate/brightness", slash + 1))
			return true;
		*slash = '\0';
	}
	return false;
}

/* A hot-plug slot's address has no function. */
static bool find_slot(const char *address, char *path)
{
	DIR *folder = host_folder("/sys/bus/pci/slots");
	const char *name;
	bool found = false;

	while ((name = host_next(folder))) {
		char slot[HOST_NAME_BYTES];

		if (found ||
			!host_read(slot, sizeof(slot), "/sys/bus/pci/slots/%s/address", name) ||
			strncmp(slot, address, strlen(slot)) || address[strlen(slot)] != '.')
			continue;
		found = host_exists("/sys/bus/pci/slots/%s/attention", name);
		host_path(path, "/sys/bus/pci/slots/%s/attention", name);
	}
	return found;
}

static bool find_enclosure(const char *disk, char *path)
{
	DIR *folder = host_folder("/sys/class/block/%s/device", disk);
	const char *name;
	bool found = false;

	while ((name = host_next(folder)))
		if (!found && !strncmp(name, "enclosure_device:", 17)) {
			found = host_exists("/sys/class/block/%s/device/%s/locate", disk, name);
			host_path(path, "/sys/class/block/%s/device/%s/locate", disk, name);
		}
	return found;
}

int host_locate(const char *address, const char *name, bool on, struct fail *fail)
{
	char path[HOST_PATH_BYTES];

	if ((address[0] && (find_led(address, path) || find_slot(address, path))) ||
		(name[0] && find_enclosure(name, path)))
		return switch_light(path, on, fail);
	return fail_set(fail, ENOTSUP, "%s", no_light);
}
