/* SPDX-License-Identifier: Apache-2.0 */
/* Shared spares: drives for whichever array needs one first. */
#include <errno.h>
#include <string.h>

#include "control/assemble.h"
#include "control/drives.h"
#include "control/methods.h"
#include "control/monitor.h"

static struct drive *named_drive(struct daemon *daemon, const json_t *params, struct fail *fail)
{
	const char *name = rpc_string(params, "drive", "");
	struct drive *drive = drive_find(daemon, name);

	if (!drive)
		fail_set(fail, ENOENT, "there is no drive '%s': see braid drive list", name);
	return drive;
}

METHOD(spare_list)
{
	json_t *list = json_array();
	struct list_node *node;

	(void)params, (void)fail;
	list_for_each (node, &daemon->drives) {
		struct drive *drive = container_of(node, struct drive, link);

		if (drive->is_spare)
			json_array_append_new(list, drive_json(daemon, drive));
	}
	*result = json_pack("{s:o}", "spares", list);
	return 0;
}

METHOD(spare_add)
{
	struct drive *drive = named_drive(daemon, params, fail);
	bool wipe = rpc_boolean(params, "wipe_signatures");
	int error;

	if (!drive)
		return -fail->error;
	error = drive_check_free(daemon, drive, wipe, fail);
	if (error)
		return error;
	if (!rpc_boolean(params, "dry_run")) {
		if (drive->superblock || drive->damaged)
			error = drive_wipe(daemon, drive, fail);
		if (error)
			return error;
		drive->is_spare = true;
		assemble(daemon);
		state_changed(daemon);
		monitor_wake(daemon);
	}
	*result = json_pack("{s:o}", "drive", drive_json(daemon, drive));
	return 0;
}

METHOD(spare_remove)
{
	struct drive *drive = named_drive(daemon, params, fail);

	if (!drive)
		return -fail->error;
	if (!drive->is_spare)
		return fail_set(fail, ENOENT, "drive %s is no shared spare: see braid spare list",
			drive->name);
	drive->is_spare = false;
	state_changed(daemon);
	*result = json_pack("{s:o}", "drive", drive_json(daemon, drive));
	return 0;
}
