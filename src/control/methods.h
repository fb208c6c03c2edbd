/* SPDX-License-Identifier: Apache-2.0 */
/* The handlers, by noun; each is a row of the table in methods.c. */
#ifndef CONTROL_METHODS_H
#define CONTROL_METHODS_H

#include "control/daemon.h"
#include "control/rpc.h"

#define METHOD(name) \
	int name(struct daemon *daemon, const json_t *params, json_t **result, struct fail *fail)

METHOD(rpc_methods_list);
METHOD(version_get);
METHOD(status_get);
METHOD(drive_list);
METHOD(drive_attach);
METHOD(drive_detach);
METHOD(drive_inject);
METHOD(drive_smart);
METHOD(drive_log);
METHOD(drive_format);
METHOD(drive_locate);
METHOD(drive_sanitize);
METHOD(drive_self_test);
METHOD(drive_firmware);
METHOD(drive_firmware_update);
METHOD(drive_discover);
METHOD(array_list);
METHOD(array_show);
METHOD(array_create_method);
METHOD(array_delete_method);
METHOD(array_start_method);
METHOD(array_stop_method);
METHOD(array_import);
METHOD(array_export_method);
METHOD(array_fail);
METHOD(array_remove);
METHOD(array_add);
METHOD(array_replace_method);
METHOD(array_readd_method);
METHOD(array_scrub);
METHOD(spare_list);
METHOD(spare_add);
METHOD(spare_remove);
METHOD(volume_list);
METHOD(volume_create_method);
METHOD(volume_split);
METHOD(volume_delete);
METHOD(vhost_list);
METHOD(vhost_create);
METHOD(vhost_delete);
METHOD(job_list);
METHOD(job_pause);
METHOD(job_resume);
METHOD(job_cancel);
METHOD(job_limit);

/* Parts of answers that several methods give. New references. */
json_t *array_json(struct daemon *daemon, struct array_entry *entry);
json_t *drive_json(struct daemon *daemon, struct drive *drive);
json_t *export_json(struct export *export);
json_t *volume_json(struct volume_entry *volume);

#endif
