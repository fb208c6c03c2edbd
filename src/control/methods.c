/* SPDX-License-Identifier: Apache-2.0 */
/* The method table: everything that can be asked of the daemon. */
#include "control/methods.h"

#include "base/bits.h"

/* clang-format off */
#define STRING(name, text)    {name, RPC_STRING,  false, text}
#define STRING_(name, text)   {name, RPC_STRING,  true,  text}
#define INTEGER(name, text)   {name, RPC_INTEGER, false, text}
#define INTEGER_(name, text)  {name, RPC_INTEGER, true,  text}
#define BOOLEAN(name, text)   {name, RPC_BOOLEAN, false, text}
#define STRINGS(name, text)   {name, RPC_STRINGS, false, text}
#define STRINGS_(name, text)  {name, RPC_STRINGS, true,  text}
#define OBJECTS_(name, text)  {name, RPC_OBJECTS, true,  text}

static const struct rpc_method methods[] = {
	{"rpc.methods", rpc_methods_list, "all methods with their parameters", {{0}}},
	{"version.get", version_get, "the daemon's version and parity kernel", {{0}}},
	{"status.get", status_get, "everything at once, for `braid status`", {{0}}},

	{"drive.list", drive_list, "all drives", {
		BOOLEAN("host", "also the host's disks that are no drives")}},
	{"drive.attach", drive_attach, "makes an NVMe drive, a block device, a file or memory a drive", {
		STRING_("source", "serial number, PCI address, path, nvme+tcp://..., ram: or null:NAME:BYTES"),
		BOOLEAN("kernel", "an NVMe drive's path in /dev goes through the kernel's driver"),
		INTEGER("block_bytes", "512 or 4096; 4096 when absent, where the drive can"),
		BOOLEAN("injectable", "put a fault layer on top, for drive.inject"),
		INTEGER("delay_us", "put a delay layer on top: microseconds per request"),
		INTEGER("jitter_us", "of the delay layer: up to that much more, at random"),
		BOOLEAN("wipe_signatures", "what the drive holds, of other software or of an array, goes")}},
	{"drive.detach", drive_detach, "gives a drive back to the kernel", {
		STRING_("name", "the drive")}},
	{"drive.smart", drive_smart, "the health of an NVMe drive", {
		STRING_("name", "the drive")}},
	{"drive.log", drive_log, "a log page of an NVMe drive, as fields and in hexadecimal", {
		STRING_("name", "the drive"),
		INTEGER_("page", "its number, 1 to 255"),
		INTEGER("bytes", "a multiple of 4; 512 when absent"),
		INTEGER("nsid", "of a namespace; the controller's when absent")}},
	{"drive.format", drive_format, "formats an NVMe drive that nobody uses: all its data is lost", {
		STRING_("name", "the drive"),
		INTEGER("lba_bytes", "of the new format; as it is when absent"),
		STRING("erase", "none, user-data or crypto; none when absent"),
		BOOLEAN("dry_run", "only check")}},
	{"drive.sanitize", drive_sanitize,
		"erases an NVMe drive that nobody uses, beyond recovery; the answer names the job", {
		STRING_("name", "the drive"),
		STRING_("how", "block, crypto or overwrite: what the drive can"),
		INTEGER("passes", "of an overwrite, 1 to 16; 1 when absent"),
		BOOLEAN("dry_run", "only check")}},
	{"drive.self_test", drive_self_test, "lets an NVMe drive test itself; the answer names the job", {
		STRING_("name", "the drive"),
		STRING("kind", "short, extended or abort; short when absent")}},
	{"drive.firmware", drive_firmware, "the firmware slots of an NVMe drive", {
		STRING_("name", "the drive")}},
	{"drive.firmware_update", drive_firmware_update, "gives an NVMe drive new firmware", {
		STRING_("name", "the drive"),
		STRING("file", "path of the image; absent: what is in the slot"),
		INTEGER_("slot", "1 to 7"),
		STRING_("action", "store, reset or now: when the drive begins with it"),
		BOOLEAN("dry_run", "only check")}},
	{"drive.locate", drive_locate, "switches the light of a drive's bay", {
		STRING_("name", "the drive"),
		BOOLEAN("off", "off again")}},
	{"drive.discover", drive_discover, "what an NVMe/TCP target offers", {
		STRING_("address", "HOST or HOST:PORT of its discovery controller")}},
	{"drive.inject", drive_inject, "makes an injectable drive misbehave; no rules: no more", {
		STRING_("name", "the drive"),
		OBJECTS_("rules", "{kind: error|torn|lost|flip, reads, writes, first, end, after, count}")}},

	{"array.list", array_list, "all arrays", {{0}}},
	{"array.show", array_show, "one array with its members", {
		STRING_("name", "the array")}},
	{"array.create", array_create_method, "makes an array; the answer names the job that does it", {
		STRING_("name", "of the new array"),
		STRING_("level", "0, 1, 5, 6, 7, 10, 50, 60 or 70"),
		STRINGS_("drives", "names of drives, or free:N"),
		INTEGER("chunk_bytes", "a power of two from 4096 to 1048576; 131072 when absent"),
		INTEGER("block_bytes", "512 or 4096; 4096 when absent"),
		INTEGER("parts", "levels 50, 60 and 70: how many parts; 2 when absent"),
		STRING("consistency", "log, adaptive or bitmap; log when absent"),
		STRINGS("spares", "names of drives, or free:N"),
		INTEGER("spare_count", "so many unused drives as spares"),
		BOOLEAN("assume_clean", "do not clear the drives: they hold zeros, or this array"),
		BOOLEAN("wipe_signatures", "also drives that hold a member of an array"),
		BOOLEAN("dry_run", "only check, and say what would be made")}},
	{"array.delete", array_delete_method, "dissolves an array without exports; its volumes go with it", {
		STRING_("name", "the array")}},
	{"array.start", array_start_method, "starts an array that was found or stopped", {
		STRING_("name", "the array, or its uuid"),
		BOOLEAN("accept_loss", "also when a crash may have damaged what is lost")}},
	{"array.stop", array_stop_method, "ends controllers and array, until it is started or braidd is", {
		STRING_("name", "the array"),
		BOOLEAN("connected", "also while a guest is connected"),
		BOOLEAN("dry_run", "only check")}},
	{"array.import", array_import, "takes over arrays of another host", {
		STRINGS("drives", "paths of their members, or names of arrays that are listed"),
		STRING("scan", "a folder: all members in it"),
		BOOLEAN("accept_loss", "also when a crash may have damaged what is lost"),
		BOOLEAN("allow_degraded", "also without members that are not there")}},
	{"array.export", array_export_method, "stops an array and gives its drives back, for another host", {
		STRING_("name", "the array"),
		BOOLEAN("connected", "also while a guest is connected"),
		BOOLEAN("dry_run", "only check")}},
	{"array.fail", array_fail, "gives up a member", {
		STRING_("name", "the array"),
		STRING_("drive", "the member"),
		BOOLEAN("allow_failed", "also when the array does not survive it"),
		BOOLEAN("dry_run", "only check")}},
	{"array.remove", array_remove, "lets a failed member or a spare go", {
		STRING_("name", "the array"),
		STRING_("drive", "the member, or its uuid"),
		BOOLEAN("dry_run", "only check")}},
	{"array.add", array_add, "makes a drive a spare of the array; what it holds is lost", {
		STRING_("name", "the array"),
		STRING_("drive", "the drive"),
		BOOLEAN("wipe_signatures", "also a drive that holds a member of an array"),
		BOOLEAN("dry_run", "only check")}},
	{"array.replace", array_replace_method, "copies a member to another drive, which takes its place", {
		STRING_("name", "the array"),
		STRING_("old", "the member"),
		STRING_("new", "a spare of the array or a free drive"),
		BOOLEAN("wipe_signatures", "also a drive that holds a member of an array"),
		BOOLEAN("dry_run", "only check")}},
	{"array.readd", array_readd_method, "takes a member back and copies only what it missed", {
		STRING_("name", "the array"),
		STRING_("drive", "the drive")}},
	{"array.scrub", array_scrub, "reads everything and compares; the answer names the job", {
		STRING_("name", "the array"),
		BOOLEAN("repair", "make right what can be made right")}},

	{"spare.list", spare_list, "drives that are spares for any array", {{0}}},
	{"spare.add", spare_add, "makes a drive a spare for any array; what it holds is lost", {
		STRING_("drive", "the drive"),
		BOOLEAN("wipe_signatures", "also a drive that holds a member of an array"),
		BOOLEAN("dry_run", "only check")}},
	{"spare.remove", spare_remove, "makes such a drive an ordinary one", {
		STRING_("drive", "the drive")}},

	{"volume.list", volume_list, "all volumes", {{0}}},
	{"volume.create", volume_create_method, "cuts a volume from an array", {
		STRING_("array", "the array"),
		STRING_("name", "of the new volume"),
		INTEGER("bytes", "rounded up to whole stripes; absent: all that is free in one piece"),
		BOOLEAN("dry_run", "only check")}},
	{"volume.split", volume_split, "cuts an array into equal volumes NAMEp0, NAMEp1, ...", {
		STRING_("array", "the array"),
		INTEGER_("count", "how many"),
		INTEGER("bytes", "of each; absent: as large as fits"),
		BOOLEAN("dry_run", "only check")}},
	{"volume.delete", volume_delete, "removes a volume; its blocks keep what they hold", {
		STRING_("name", "the volume")}},

	{"vhost.list", vhost_list, "all vhost-user-blk controllers", {{0}}},
	{"vhost.create", vhost_create, "exports a volume or a whole array as a vhost-user-blk disk", {
		STRING_("volume", "a volume, or an array without volumes"),
		STRING("name", "of the controller; the volume's when absent"),
		STRING("cores", "which of the daemon's cores serve it: 8-11,14 or 0x3; all when absent"),
		STRING("socket", "path of the socket; RUN_DIR/vhost/NAME.sock when absent"),
		BOOLEAN("read_only", "the guest may only read"),
		STRING("when_broken", "hold or error: what the guest gets while the array is broken; hold when absent"),
		BOOLEAN("dry_run", "only check")}},
	{"vhost.delete", vhost_delete, "ends an export", {
		STRING_("name", "the controller"),
		BOOLEAN("connected", "also while a guest is connected")}},

	{"job.list", job_list, "jobs that run, and the last ones that ended", {{0}}},
	{"job.pause", job_pause, "stops a sweep until job.resume, also over a restart", {
		INTEGER_("id", "the job")}},
	{"job.resume", job_resume, "goes on with a sweep", {
		INTEGER_("id", "the job")}},
	{"job.cancel", job_cancel, "ends an initialise, scrub, repair or self-test", {
		INTEGER_("id", "the job")}},
	{"job.limit", job_limit, "limits a sweep", {
		INTEGER_("id", "the job"),
		INTEGER("bytes_per_second", "of each member; 0 or absent: no limit"),
		BOOLEAN("auto", "no limit while guests do nothing, a low one while they work")}},
};
/* clang-format on */

const struct rpc_method *rpc_methods(size_t *count)
{
	*count = ARRAY_SIZE(methods);
	return methods;
}

int rpc_methods_list(
	struct daemon *daemon, const json_t *params, json_t **result, struct fail *fail)
{
	static const char *const types[] = {"string", "integer", "boolean", "strings", "objects"};
	json_t *list = json_array();

	(void)daemon, (void)params, (void)fail;
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		json_t *described = json_array();

		for (const struct rpc_param *param = methods[i].params; param->name; param++)
			json_array_append_new(
				described, json_pack("{s:s, s:s, s:b, s:s}", "name", param->name,
						   "type", types[param->type], "required",
						   param->required, "text", param->text));
		json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "name", methods[i].name,
						    "text", methods[i].text, "params", described));
	}
	*result = json_pack("{s:o}", "methods", list);
	return 0;
}
