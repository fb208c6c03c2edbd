/* SPDX-License-Identifier: Apache-2.0 */
/*
 * braid vhost args: what to tell QEMU, Proxmox VE or libvirt so that a machine gets the disk.
 *
 * Three things must fit: guest memory has to be shared with braidd, its size has to be the
 * machine's, and the way to ask for reconnection depends on QEMU: `reconnect=` in seconds exists
 * up to 10.1, `reconnect-ms=` from 9.2 on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/cpumask.h"
#include "base/units.h"
#include "cli/handlers.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/qemu.h"
#include "cli/vhost.h"

enum { QUEUES_MAX = 64, PVE_SLOT = 0x19, PVE_SLOTS = 7, ARGUMENT_BYTES = 512, MIB = 1 << 20 };

#define PLAIN_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789./_-+:@"

struct guest {
	const char *name, *socket;
	const char *vmid; /* of Proxmox VE; "VMID": not said */
	uint64_t memory_mib;
	uint64_t queues;
	uint64_t index; /* which of the machine's braid disks */
	bool hugepages;
};

/* --- the pieces --------------------------------------------------------------------------------
 */

static void memory_arguments(const struct guest *guest, char *object, char *machine)
{
	if (guest->hugepages)
		snprintf(object, ARGUMENT_BYTES,
			"-object "
			"memory-backend-file,id=braid-mem,size=%lluM,mem-path=/dev/hugepages,"
			"share=on,prealloc=on",
			(unsigned long long)guest->memory_mib);
	else
		snprintf(object, ARGUMENT_BYTES,
			"-object memory-backend-memfd,id=braid-mem,size=%lluM,share=on",
			(unsigned long long)guest->memory_mib);
	snprintf(machine, ARGUMENT_BYTES, "-machine memory-backend=braid-mem");
}

static void disk_arguments(
	const struct guest *guest, bool new_reconnect, bool pve, char *chardev, char *device)
{
	char slot[32] = "";

	if (pve)
		snprintf(slot, sizeof(slot), ",bus=pci.2,addr=0x%llx",
			(unsigned long long)guest->index + PVE_SLOT);
	snprintf(chardev, ARGUMENT_BYTES, "-chardev socket,id=braid-c%llu,path=%s,%s",
		(unsigned long long)guest->index, guest->socket,
		new_reconnect ? "reconnect-ms=1000" : "reconnect=1");
	snprintf(device, ARGUMENT_BYTES,
		"-device vhost-user-blk-pci,id=braid-d%llu,chardev=braid-c%llu%s,num-queues=%llu,"
		"queue-size=256",
		(unsigned long long)guest->index, (unsigned long long)guest->index, slot,
		(unsigned long long)guest->queues);
}

/* --- QEMU and Proxmox VE -----------------------------------------------------------------------
 */

static void print_qemu(const struct guest *guest, bool new_reconnect)
{
	char object[ARGUMENT_BYTES], machine[ARGUMENT_BYTES], chardev[ARGUMENT_BYTES];
	char device[ARGUMENT_BYTES];

	memory_arguments(guest, object, machine);
	disk_arguments(guest, new_reconnect, false, chardev, device);
	printf("-m %lluM \\\n%s \\\n%s \\\n%s \\\n%s\n", (unsigned long long)guest->memory_mib,
		object, machine, chardev, device);
}

/* The value of Proxmox VE's `args:`. */
static void pve_args(const struct guest *guest, bool new_reconnect, char *args, size_t bytes)
{
	char object[ARGUMENT_BYTES], machine[ARGUMENT_BYTES], chardev[ARGUMENT_BYTES];
	char device[ARGUMENT_BYTES];

	memory_arguments(guest, object, machine);
	disk_arguments(guest, new_reconnect, true, chardev, device);
	if (guest->hugepages)
		snprintf(args, bytes, "%s %s", chardev, device);
	else
		snprintf(args, bytes, "%s %s %s %s", object, machine, chardev, device);
}

static void print_pve(const struct guest *guest, bool new_reconnect)
{
	char args[4 * ARGUMENT_BYTES];

	pve_args(guest, new_reconnect, args, sizeof(args));
	printf("qm set %s --memory %llu --balloon 0%s --args '%s'\n", guest->vmid,
		(unsigned long long)guest->memory_mib,
		guest->hugepages ? " --numa 1 --hugepages any --keephugepages 1" : " --numa 0",
		args);
	printf("# the same in /etc/pve/qemu-server/%s.conf; args already there have to be kept "
	       "beside "
	       "it:\nmemory: %llu\nballoon: 0\n%sargs: %s\n",
		guest->vmid, (unsigned long long)guest->memory_mib,
		guest->hugepages ? "numa: 1\nhugepages: any\nkeephugepages: 1\n" : "numa: 0\n",
		args);
}

static void print_for(const struct guest *guest, const struct cli *cli, bool new_reconnect)
{
	if (!option_given(cli, "pve")) {
		printf("\n# QEMU: add to its command line\n");
		print_qemu(guest, new_reconnect);
	}
	printf("\n# Proxmox VE\n");
	print_pve(guest, new_reconnect);
}

static void print_text(
	const struct guest *guest, const struct cli *cli, const struct qemu_version *version)
{
	printf("# controller %s, %llu MiB of guest memory, %llu queue%s\n", guest->name,
		(unsigned long long)guest->memory_mib, (unsigned long long)guest->queues,
		guest->queues == 1 ? "" : "s");
	if (version->known) {
		printf("# made for QEMU %u.%u (%s)\n", version->major, version->minor,
			version->origin);
		print_for(guest, cli, qemu_has_reconnect_ms(version));
		return;
	}
	printf("# no QEMU is installed here: take the part for yours\n");
	printf("\n# ===== QEMU up to 9.1 =====\n");
	print_for(guest, cli, false);
	printf("\n# ===== QEMU 9.2 and newer =====\n");
	print_for(guest, cli, true);
}

static json_t *variant_json(const struct guest *guest, bool new_reconnect)
{
	char object[ARGUMENT_BYTES], machine[ARGUMENT_BYTES], chardev[ARGUMENT_BYTES];
	char device[ARGUMENT_BYTES], args[4 * ARGUMENT_BYTES];

	memory_arguments(guest, object, machine);
	disk_arguments(guest, new_reconnect, false, chardev, device);
	pve_args(guest, new_reconnect, args, sizeof(args));
	return json_pack("{s:s, s:[s, s, s, s], s:s}", "qemu", new_reconnect ? ">=9.2" : "<=9.1",
		"qemu_arguments", object, machine, chardev, device, "pve_args", args);
}

static void print_json(
	const struct guest *guest, const struct cli *cli, const struct qemu_version *version)
{
	json_t *variants = json_array();
	AUTO_JSON json_t *members =
		json_pack("{s:s, s:o}", "controller", guest->name, "variants", variants);

	if (!version->known || !qemu_has_reconnect_ms(version))
		json_array_append_new(variants, variant_json(guest, false));
	if (!version->known || qemu_has_reconnect_ms(version))
		json_array_append_new(variants, variant_json(guest, true));
	output_json(cli, members);
}

/* --- libvirt -----------------------------------------------------------------------------------
 */

static void print_libvirt(const struct guest *guest)
{
	printf("<!-- controller %s: into <domain>; needs libvirt 7.1 or newer -->\n", guest->name);
	if (guest->memory_mib)
		printf("<memory unit='MiB'>%llu</memory>\n", (unsigned long long)guest->memory_mib);
	printf("<memoryBacking>\n%s  <source type='memfd'/>\n  <access mode='shared'/>\n"
	       "</memoryBacking>\n",
		guest->hugepages ? "  <hugepages/>\n" : "");
	printf("<!-- and into <devices> -->\n"
	       "<disk type='vhostuser' device='disk' snapshot='no'>\n"
	       "  <driver name='qemu' type='raw' queues='%llu' queue_size='256'/>\n"
	       "  <source type='unix' path='%s'>\n"
	       "    <reconnect enabled='yes' timeout='1'/>\n"
	       "  </source>\n"
	       "  <target dev='vd%c' bus='virtio'/>\n"
	       "</disk>\n"
	       "<memballoon model='none'/>\n",
		(unsigned long long)guest->queues, guest->socket, 'b' + (char)guest->index);
}

/* --- the command -------------------------------------------------------------------------------
 */

static int read_guest(
	const struct cli *cli, const json_t *export, struct guest *guest, struct fail *fail)
{
	uint64_t memory_bytes = 0, vcpus = 0, vmid = 0;
	struct cpumask cores = {{0}};
	int error;

	*guest = (struct guest){
		.name = text_of(export, "name"),
		.socket = text_of(export, "socket"),
		.vmid = option_given(cli, "vmid") ? option_text(cli, "vmid") : "VMID",
		.hugepages = option_given(cli, "hugepages"),
	};
	error = option_bytes(cli, "memory", MIB, &memory_bytes, fail);
	if (!error)
		error = option_number(cli, "vcpus", 4096, &vcpus, fail);
	if (!error)
		error = option_number(cli, "vmid", 999999999, &vmid, fail);
	if (!error)
		error = option_number(cli, "index", PVE_SLOTS - 1, &guest->index, fail);
	if (error)
		return error;
	guest->memory_mib = memory_bytes / MIB;
	if (memory_bytes % MIB || (option_given(cli, "memory") && !guest->memory_mib))
		return fail_set(fail, EINVAL, "--memory: '%s' is no whole number of MiB",
			option_text(cli, "memory"));
	if (!guest->memory_mib && !option_given(cli, "libvirt"))
		return usage_fail(cli, fail, "--memory is missing, how much the machine has");
	if (strspn(guest->socket, PLAIN_CHARACTERS) != strlen(guest->socket))
		return fail_set(fail, EINVAL,
			"the socket path %.110s has characters that QEMU and Proxmox VE take for "
			"their "
			"own: make the controller again with a --path of letters, digits and ./_-",
			guest->socket);
	cpumask_parse(&cores, text_of(export, "cores"), NULL);
	guest->queues = vcpus ? vcpus : cpumask_count(&cores);
	if (!guest->queues)
		guest->queues = 1;
	if (guest->queues > QUEUES_MAX)
		guest->queues = QUEUES_MAX;
	return 0;
}

HANDLER(vhost_args_run)
{
	AUTO_JSON json_t *export = NULL;
	struct qemu_version version;
	struct guest guest;
	const char *name;
	int error = option_or_word(cli, NULL, 0, &name, fail);

	if (!error)
		error = vhost_find(cli, name, &export, fail);
	if (!error)
		error = read_guest(cli, export, &guest, fail);
	if (!error)
		error = qemu_version_find(
			&version, option_text(cli, "qemu"), option_text(cli, "qemu-version"), fail);
	if (error)
		return error;
	if (output_is_json(cli))
		print_json(&guest, cli, &version);
	else if (option_given(cli, "libvirt"))
		print_libvirt(&guest);
	else
		print_text(&guest, cli, &version);
	return 0;
}
