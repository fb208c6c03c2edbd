/* SPDX-License-Identifier: Apache-2.0 */
/* The command table: everything that can be typed. */
#include <string.h>

#include "base/bits.h"
#include "cli/handlers.h"

/* clang-format off */
#define FLAG(name, text)              {name, OPTION_FLAG,  NULL,  text, NULL, 0}
#define VALUE(name, value, text)      {name, OPTION_VALUE, value, text, NULL, 0}
#define MAYBE(name, value, text)      {name, OPTION_MAYBE, value, text, NULL, 0}
#define MANY(name, value, text)       {name, OPTION_MANY,  value, text, NULL, 0}
#define SPELLING(name, kind, same_as) {name, OPTION_##kind, NULL, NULL, same_as, 0}
#define LETTER(letter, name, text)    {name, OPTION_FLAG,  NULL,  text, NULL, letter}

static const struct command_option globals[] = {
	{"output",   OPTION_VALUE, "FORM",  "table, wide, json or jsonl", NULL, 'o'},
	{"columns",  OPTION_VALUE, "A,B",   "only these columns, in this order", NULL, 0},
	LETTER('H', "no-header", "no header line, one tab between columns"),
	LETTER('p', "raw",       "sizes in bytes, times as numbers"),
	LETTER('y', "yes",       "do not ask before data is lost"),
	LETTER('n', "dry-run",   "only check, and print the call that would be made"),
	{"socket",   OPTION_VALUE, "PATH",  "of braidd (else $BRAID_SOCKET, /run/braid/rpc.sock)",
		NULL, 0},
	{"timeout",  OPTION_VALUE, "S",     "give up after S seconds", NULL, 0},
	FLAG("no-color", "no colors (also: NO_COLOR in the environment)"),
	LETTER('q', "quiet",     "say nothing when all is well"),
	LETTER('v', "verbose",   "show what goes to braidd and comes back, on stderr"),
	LETTER('h', "help",      "this text; behind a command: more about it"),
};

static const struct command rows[] = {
	{"status", NULL, "[NAME]", 1, "health of all arrays, or of one", status_run, {
		FLAG("check", "one line and Nagios exit status: 0 optimal, 1 degraded, 2 failed, "
			"3 unknown"),
		MAYBE("watch", "S", "again every S seconds (2)")}},

	{"doctor", NULL, "", 0, "what this host lacks for braid, and how to mend it", doctor_run, {{0}}},

	{"drive", "list", "", 0, "all drives, and the disks of this host that are none",
		drive_list_run, {
		FLAG("attached", "only drives")}},
	{"drive", "show", "[NAME]", 1, "one drive, by name, serial number or address", drive_show_run, {{0}}},
	{"drive", "attach", "SERIAL|ADDRESS|PATH|URL...", COMMAND_WORDS_MAX,
		"makes NVMe drives, block devices, files or memory drives", drive_attach_run, {
		FLAG("all-free", "all NVMe drives of this host that nobody uses"),
		VALUE("model", "GLOB", "all free NVMe drives of such a model, like 'MTFDKCC*'"),
		FLAG("kernel", "an NVMe drive's path goes through the kernel's driver"),
		VALUE("dhchap-secret-file", "FILE", "of this host, for an NVMe/TCP target that asks (DHHC-1:...)"),
		VALUE("dhchap-controller-secret-file", "FILE", "the target must know this one"),
		VALUE("block-size", "SIZE", "512 or 4096 (4096 where the drive can)"),
		FLAG("injectable", "with a fault layer, for braid drive inject"),
		VALUE("delay", "USEC", "adds that much time to each request"),
		VALUE("jitter", "USEC", "and up to that much more, at random"),
		FLAG("wipe-signatures", "what the drive holds, of other software or of an array, is lost"),
		SPELLING("ids", MANY, "ids")}},
	{"drive", "detach", "NAME...", COMMAND_WORDS_MAX, "gives drives back to the kernel",
		drive_detach_run, {
		SPELLING("ids", MANY, "ids")}},
	{"drive", "smart", "NAME", 1, "the health of an NVMe drive", drive_smart_run, {{0}}},
	{"drive", "log", "NAME PAGE", 2,
		"a log page: error, health, firmware, effects, self-test, sanitize, or its number",
		drive_log_run, {
		FLAG("hex", "its bytes"),
		VALUE("bytes", "SIZE", "so much of it (its usual size, else 512)")}},
	{"drive", "format", "NAME", 1, "formats an NVMe drive; all its data is lost", drive_format_run, {
		VALUE("lba", "SIZE", "the new block size, 512 or 4096 (as it is)"),
		VALUE("erase", "HOW", "none, user-data or crypto (none)")}},
	{"drive", "sanitize", "NAME --how block|crypto|overwrite", 1,
		"erases an NVMe drive beyond recovery", drive_sanitize_run, {
		VALUE("how", "HOW", "block, crypto or overwrite: what the drive can"),
		VALUE("passes", "N", "of an overwrite, 1 to 16 (1)"),
		FLAG("no-wait", "do not wait until it is done")}},
	{"drive", "self-test", "NAME", 1, "lets an NVMe drive test itself", drive_self_test_run, {
		FLAG("extended", "all of it, which may take hours (two minutes' worth)"),
		FLAG("abort", "ends the one that runs"),
		FLAG("no-wait", "do not wait until it is done")}},
	{"drive", "firmware", "NAME [--slot N [--file PATH] [--begin WHEN]]", 1,
		"firmware slots of an NVMe drive; a new image", drive_firmware_run, {
		VALUE("file", "PATH", "the image, as the vendor gave it (what is in the slot)"),
		VALUE("slot", "N", "where it goes"),
		VALUE("begin", "WHEN", "the drive begins with it: reset, now, or store: not yet (reset)")}},
	{"drive", "locate", "NAME", 1, "switches the light of a drive's bay on", drive_locate_run, {
		FLAG("off", "and off again")}},
	{"drive", "discover", "HOST[:PORT]", 1, "lists what an NVMe/TCP target offers",
		drive_discover_run, {{0}}},
	{"drive", "inject", "NAME --error|--torn|--lost|--flip|--clear", 1,
		"makes an injectable drive misbehave",
		drive_inject_run, {
		FLAG("error", "requests fail"),
		FLAG("torn", "writes fail half done"),
		FLAG("lost", "writes are not done, but reported as done"),
		FLAG("flip", "reads give one wrong bit"),
		FLAG("clear", "no faults any more"),
		FLAG("reads", "only reads"),
		FLAG("writes", "only writes and flushes"),
		VALUE("first", "N", "from block N (0)"),
		VALUE("end", "N", "to the block before N (to the end)"),
		VALUE("after", "N", "let N requests pass first (0)"),
		VALUE("count", "N", "misbehave N times (for ever)")}},

	{"array", "list", "", 0, "all arrays", array_list_run, {{0}}},
	{"array", "show", "[NAME]", 1, "one array with its drives", array_show_run, {
		SPELLING("name", VALUE, "name")}},
	{"array", "create", "NAME --level L --drives D...", 1,
		"makes an array; the drives are erased", array_create_run, {
		VALUE("level", "L", "0, 1, 5, 6, 7 (three parities), 10, 50, 60 or 70"),
		MANY("drives", "D...", "names, a,b,c or a b c; free:N takes N unused ones"),
		VALUE("chunk", "SIZE", "4K to 1M, a power of two; a bare number is KiB (128K)"),
		VALUE("block-size", "SIZE", "512 or 4096 (4096)"),
		VALUE("parts", "N", "levels 50, 60, 70: how many parts (2)"),
		VALUE("consistency", "P", "log, adaptive or bitmap: what a crash may cost (log)"),
		VALUE("spares", "N", "that many unused drives as spares (0)"),
		MANY("spare", "D...", "these drives as spares"),
		FLAG("assume-clean", "do not clear the drives: they are zeros, or held this array"),
		FLAG("wipe-signatures", "also drives that hold a member of an array"),
		FLAG("no-wait", "do not wait until the array is made"),
		SPELLING("name", VALUE, "name"),
		SPELLING("chunk-size", VALUE, "chunk"),
		SPELLING("bdevs", MANY, "drives")}},
	{"array", "delete", "NAME", 1, "dissolves an array; its data is lost", array_delete_run, {
		SPELLING("name", VALUE, "name")}},
	{"array", "start", "NAME", 1, "starts an array that was stopped, or waits for drives",
		array_start_run, {
		FLAG("accept-loss", "also when a crash may have damaged data that lost drives held")}},
	{"array", "stop", "NAME", 1, "ends its controllers and stops it, until braidd starts again",
		array_stop_run, {
		FLAG("connected", "also while a guest is connected: it loses its disk")}},
	{"array", "import", "PATH...|NAME|--scan DIR", COMMAND_WORDS_MAX,
		"takes over an array of another host", array_import_run, {
		VALUE("scan", "DIR", "all members in this folder"),
		FLAG("allow-degraded", "also without members that are not there"),
		FLAG("accept-loss", "also when a crash may have damaged data that lost drives held")}},
	{"array", "export", "NAME", 1, "stops it and gives its drives back, for another host",
		array_export_run, {
		FLAG("connected", "also while a guest is connected: it loses its disk")}},
	{"array", "examine", "PATH...", COMMAND_WORDS_MAX,
		"what drives say of their array; needs no braidd", array_examine_run, {
		FLAG("json", "as JSON, like -o json")}},
	{"array", "fail", "NAME DRIVE", 2, "takes a drive out of service", array_fail_run, {
		FLAG("allow-failed", "also when data is lost without the drive")}},
	{"array", "add", "NAME DRIVE", 2, "adds a spare; what the drive holds is lost", array_add_run, {
		FLAG("wipe-signatures", "also a drive that holds a member of an array")}},
	{"array", "remove", "NAME DRIVE", 2, "lets a failed drive or a spare go", array_remove_run, {{0}}},
	{"array", "replace", "NAME OLD NEW", 3,
		"copies a drive to another, which takes its place", array_replace_run, {
		FLAG("wipe-signatures", "also a new drive that holds a member of an array")}},
	{"array", "readd", "NAME DRIVE", 2, "takes a drive back, copies only what it missed",
		array_readd_run, {{0}}},
	{"array", "scrub", "NAME [--repair]", 1, "reads everything and compares", array_scrub_run, {
		FLAG("repair", "and makes right what can be made right"),
		FLAG("no-wait", "do not wait until it is done")}},

	{"spare", "list", "", 0, "drives that are spares for any array", spare_list_run, {{0}}},
	{"spare", "add", "DRIVE...", COMMAND_WORDS_MAX,
		"makes drives spares for any array; what they hold is lost", spare_add_run, {
		FLAG("wipe-signatures", "also drives that hold a member of an array")}},
	{"spare", "remove", "DRIVE...", COMMAND_WORDS_MAX, "makes them ordinary drives",
		spare_remove_run, {{0}}},

	{"volume", "list", "", 0, "all volumes", volume_list_run, {{0}}},
	{"volume", "show", "[NAME]", 1, "one volume", volume_show_run, {{0}}},
	{"volume", "create", "ARRAY/NAME [--size SIZE]", 1, "cuts a volume from an array",
		volume_create_run, {
		VALUE("size", "SIZE", "2T, or 12% of the array (all that is free in one piece)")}},
	{"volume", "split", "ARRAY --count N", 2, "cuts an array into volumes ARRAYp0, ARRAYp1...",
		volume_split_run, {
		VALUE("count", "N", "how many"),
		VALUE("size", "SIZE", "of each: 1800G, or 12% of the array (as large as fits)")}},
	{"volume", "delete", "NAME", 1, "removes a volume; its data is lost", volume_delete_run, {{0}}},

	{"vhost", "list", "", 0, "all controllers", vhost_list_run, {{0}}},
	{"vhost", "show", "[NAME]", 1, "one controller", vhost_show_run, {{0}}},
	{"vhost", "create", "VOLUME [--cores LIST]", 1, "exports a volume to a virtual machine",
		vhost_create_run, {
		VALUE("cores", "LIST", "braidd's cores that serve it: 8,9 or 8-11 or 0x3 (all)"),
		VALUE("name", "NAME", "of the controller (the volume's)"),
		VALUE("path", "PATH", "of the guest's socket, also --socket (RUN_DIR/vhost/NAME.sock)"),
		FLAG("read-only", "the guest may only read"),
		VALUE("when-broken", "hold|error", "while the array is broken the guest waits, or gets errors (hold)"),
		SPELLING("socket", VALUE, "path"),
		SPELLING("ctrlr", VALUE, "name"),
		SPELLING("cpumask", VALUE, "cores"),
		SPELLING("bdev", VALUE, "bdev")}},
	{"vhost", "delete", "NAME", 1, "ends an export", vhost_delete_run, {
		FLAG("connected", "also while a guest is connected: it loses its disk"),
		SPELLING("name", VALUE, "name"),
		SPELLING("ctrlr", VALUE, "name")}},
	{"vhost", "args", "NAME --memory SIZE", 1, "QEMU and Proxmox VE lines for a controller",
		vhost_args_run, {
		VALUE("memory", "SIZE", "of the virtual machine; a bare number is MiB"),
		VALUE("vcpus", "N", "of the virtual machine: so many queues (the serving cores)"),
		FLAG("hugepages", "guest memory in hugepages, else in a memfd"),
		FLAG("pve", "only the Proxmox VE lines"),
		FLAG("libvirt", "only the libvirt XML"),
		VALUE("vmid", "ID", "of the Proxmox VE machine"),
		VALUE("index", "N", "0 to 6: which braid disk of the machine it is (0)"),
		VALUE("qemu", "PATH", "ask this QEMU for its version"),
		VALUE("qemu-version", "X.Y", "ask none: print for this version")}},

	{"job", "list", "", 0, "jobs that run, and the last that ended", job_list_run, {{0}}},
	{"job", "show", "ID", 1, "one job", job_show_run, {{0}}},
	{"job", "watch", "[ID]", 1, "progress until all jobs (or one) ended", job_watch_run, {{0}}},
	{"job", "wait", "[ID]", 1, "waits until all jobs (or one) ended", job_wait_run, {{0}}},
	{"job", "pause", "ID", 1, "holds a job, also over a restart", job_pause_run, {{0}}},
	{"job", "resume", "ID", 1, "goes on with it", job_resume_run, {{0}}},
	{"job", "cancel", "ID", 1, "ends an initialise, scrub, repair or self-test", job_cancel_run, {{0}}},
	{"job", "limit", "ID 200M|none|auto", 2,
		"so many bytes of each drive a second; auto: little while guests work", job_limit_run, {{0}}},

	{"rpc", NULL, "METHOD [JSON]", 2, "calls a method of braidd; rpc.methods lists them", rpc_run,
		{{0}}},
	{"version", NULL, "", 0, "versions of braid and braidd", version_run, {{0}}},
	{"help", NULL, "[OBJECT [VERB]]", 2, "this text", help_run, {{0}}},

	/* As other programs spell it. */
	{"bdev", "list", "", 0, NULL, bdev_show_run, {{0}}},
	{"bdev", "show", "", 0, NULL, bdev_show_run, {{0}}},
	{"bdev", "split", "-s MIB ARRAY COUNT", 2, NULL, volume_split_mebibytes_run, {
		{"size", OPTION_VALUE, "MIB", "of each volume", NULL, 's'}}},
	{"bdev_split_create", NULL, "-s MIB ARRAY COUNT", 2, NULL, volume_split_mebibytes_run, {
		{"size", OPTION_VALUE, "MIB", "of each volume", NULL, 's'}}},
};

static const struct {
	const char *typed, *meant;
} objects[] = {
	{"drive-manager", "drive"}, {"drives", "drive"}, {"raid", "array"}, {"arrays", "array"},
	{"volumes", "volume"}, {"jobs", "job"}, {"spares", "spare"},
}, verbs[] = {
	{"destroy", "delete"}, {"remove", "delete"}, {"re-add", "readd"}, {"ls", "list"},
};
/* clang-format on */

const struct command *commands(size_t *count)
{
	*count = ARRAY_SIZE(rows);
	return rows;
}

const struct command_option *global_options(size_t *count)
{
	*count = ARRAY_SIZE(globals);
	return globals;
}

const char *command_object(const char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(objects); i++)
		if (!strcmp(objects[i].typed, word))
			return objects[i].meant;
	return word;
}

const char *command_verb(const char *object, const char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].verb && !strcmp(rows[i].object, object) && !strcmp(rows[i].verb, word))
			return word;
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(verbs[i].typed, word))
			return verbs[i].meant;
	return word;
}
