/* SPDX-License-Identifier: Apache-2.0 */
/* One drive (device.h) over one mock target. */
#ifndef TESTS_UNIT_NVME_TCP_RIG_H
#define TESTS_UNIT_NVME_TCP_RIG_H

#include "device.h"
#include "drivers/drivers.h"
#include "nvme_tcp_mock.h"

struct rig {
	struct mock *mock;
	int port_fd;   /* holds the target's port */
	char *content; /* MOCK_BYTES, zeros at first */
	struct nvme_tcp_target target;
};

extern struct rig rig;

/* Starts the target and describes it in rig.target: hold 5 s, keep alive 1 s. */
void rig_start(const struct mock_config *config);
/* The target goes, and comes again on its port with its blocks. */
void rig_kill(void);
void rig_revive(const struct mock_config *config);
/* Nothing may have been wrong with what the initiator did. */
void rig_stop(void);
/* The same, whatever the initiator did: a target that talks nonsense hears some. */
void rig_drop(void);

/* The drive, with a queue on the reactor; and without. */
void rig_open(void);
void rig_close(void);

#endif
