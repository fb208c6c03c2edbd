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
METHOD(array_list);
METHOD(array_show);
METHOD(array_create_method);
METHOD(array_delete);
METHOD(array_fail);
METHOD(volume_list);
METHOD(volume_create_method);
METHOD(volume_split);
METHOD(volume_delete);
METHOD(vhost_list);
METHOD(vhost_create);
METHOD(vhost_delete);
METHOD(job_list);

/* Parts of answers that several methods give. New references. */
json_t *array_json(struct array_entry *entry);
json_t *drive_json(struct drive *drive);
json_t *export_json(struct export *export);
json_t *volume_json(struct volume_entry *volume);
json_t *job_json(const struct job *job);

#endif
