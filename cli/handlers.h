/* SPDX-License-Identifier: Apache-2.0 */
/* The handlers that the rows of commands.c name. */
#ifndef CLI_HANDLERS_H
#define CLI_HANDLERS_H

#include "cli/command.h"

#define HANDLER(name) int name(struct cli *cli, struct fail *fail)

HANDLER(status_run);
HANDLER(doctor_run);
HANDLER(drive_list_run);
HANDLER(drive_show_run);
HANDLER(drive_attach_run);
HANDLER(drive_detach_run);
HANDLER(drive_inject_run);
HANDLER(drive_smart_run);
HANDLER(drive_log_run);
HANDLER(drive_format_run);
HANDLER(drive_sanitize_run);
HANDLER(drive_self_test_run);
HANDLER(drive_firmware_run);
HANDLER(drive_locate_run);
HANDLER(drive_discover_run);
HANDLER(array_list_run);
HANDLER(array_show_run);
HANDLER(array_create_run);
HANDLER(array_delete_run);
HANDLER(array_fail_run);
HANDLER(array_start_run);
HANDLER(array_stop_run);
HANDLER(array_import_run);
HANDLER(array_export_run);
HANDLER(array_examine_run);
HANDLER(array_add_run);
HANDLER(array_remove_run);
HANDLER(array_replace_run);
HANDLER(array_readd_run);
HANDLER(array_scrub_run);
HANDLER(spare_list_run);
HANDLER(spare_add_run);
HANDLER(spare_remove_run);
HANDLER(volume_list_run);
HANDLER(volume_show_run);
HANDLER(volume_create_run);
HANDLER(volume_split_run);
HANDLER(volume_split_mebibytes_run);
HANDLER(volume_delete_run);
HANDLER(vhost_list_run);
HANDLER(vhost_show_run);
HANDLER(vhost_create_run);
HANDLER(vhost_delete_run);
HANDLER(vhost_args_run);
HANDLER(job_list_run);
HANDLER(job_show_run);
HANDLER(job_watch_run);
HANDLER(job_wait_run);
HANDLER(job_pause_run);
HANDLER(job_resume_run);
HANDLER(job_cancel_run);
HANDLER(job_limit_run);
HANDLER(bdev_show_run);
HANDLER(rpc_run);
HANDLER(version_run);
HANDLER(help_run);

#endif
