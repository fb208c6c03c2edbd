/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs of the daemon as they go on: one line with bar, speed and time left. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include "cli/command.h"

enum { PROGRESS_TEXT_BYTES = 200 };

/* "[####------]  63.2%   4.4 of 7 TiB   3.1 GiB/s   eta 14m11s" into text. Returns text. */
char *progress_text(const json_t *job, char *text);

/* It has not ended. */
bool progress_runs(const json_t *job);

/* The job as the daemon lists it. New reference. -ENOENT: there is none. */
int progress_find(struct cli *cli, uint64_t id, json_t **job, struct fail *fail);

/* Shows the job on stderr until it ends; fills *ended with a new reference to its last state.
 * -EIO with the job's own sentence when it failed; -ETIMEDOUT after --timeout. */
int progress_follow(struct cli *cli, uint64_t id, json_t **ended, struct fail *fail);

#endif
