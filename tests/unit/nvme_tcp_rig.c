/* SPDX-License-Identifier: Apache-2.0 */
#include "nvme_tcp_rig.h"

struct rig rig;

void rig_start(const struct mock_config *config)
{
	rig.content = calloc(1, MOCK_BYTES);
	rig.mock = mock_start(config, rig.content, 0);
	rig.target = (struct nvme_tcp_target){.paths = 1,
		.path[0] = {"127.0.0.1", mock_port(rig.mock)},
		.nqn = MOCK_NQN,
		.nsid = 1,
		.hold_s = 5,
		.keep_alive_s = 1};
}

void rig_kill(void)
{
	if (!rig.mock)
		return;
	assert_string_equal(mock_complaint(rig.mock), "");
	mock_stop(rig.mock);
	rig.mock = NULL;
}

void rig_revive(const struct mock_config *config)
{
	rig.mock = mock_start(config, rig.content, rig.target.path[0].port);
}

void rig_stop(void)
{
	rig_kill();
	free(rig.content);
}

void rig_open(void)
{
	struct fail fail = {0};

	expect(!nvme_tcp_create(&dev, &rig.target, &fail), "%s", fail.text);
	open_device();
}

void rig_close(void)
{
	close_device();
}
