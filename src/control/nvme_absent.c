/* SPDX-License-Identifier: Apache-2.0 */
/* Stands in for src/drivers/nvme until that is there; every function gives way to it. */
#include <errno.h>
#include <stddef.h>

#include "drivers/drivers.h"

#pragma weak nvme_attach
#pragma weak nvme_detach
#pragma weak nvme_device_count
#pragma weak nvme_device
#pragma weak nvme_identity
#pragma weak nvme_namespace
#pragma weak nvme_state
#pragma weak nvme_state_name
#pragma weak nvme_next_event
#pragma weak nvme_smart
#pragma weak nvme_log
#pragma weak nvme_format

int nvme_attach(struct nvme **nvme, const char *address, const struct nvme_options *options,
	struct fail *fail)
{
	(void)nvme, (void)options;
	return fail_set(fail, ENOTSUP, "this braidd has no driver for %s", address);
}

int nvme_detach(struct nvme *nvme, bool give_back, struct fail *fail)
{
	(void)nvme, (void)give_back, (void)fail;
	return 0;
}

unsigned nvme_device_count(const struct nvme *nvme)
{
	(void)nvme;
	return 0;
}

struct blockdev *nvme_device(struct nvme *nvme, unsigned index)
{
	(void)nvme, (void)index;
	return NULL;
}

void nvme_identity(struct nvme *nvme, struct nvme_identity *identity)
{
	(void)nvme, (void)identity;
}

void nvme_namespace(struct blockdev *dev, struct nvme_namespace *namespace)
{
	(void)dev, (void)namespace;
}

enum nvme_state nvme_state(struct nvme *nvme, char *reason)
{
	(void)nvme, (void)reason;
	return NVME_GONE;
}

const char *nvme_state_name(enum nvme_state state)
{
	(void)state;
	return "";
}

bool nvme_next_event(struct nvme *nvme, struct nvme_event *event)
{
	(void)nvme, (void)event;
	return false;
}

int nvme_smart(struct nvme *nvme, struct nvme_smart *smart, struct fail *fail)
{
	(void)nvme, (void)smart, (void)fail;
	return -ENOTSUP;
}

int nvme_log(
	struct nvme *nvme, unsigned page, uint32_t nsid, void *log, size_t bytes, struct fail *fail)
{
	(void)nvme, (void)page, (void)nsid, (void)log, (void)bytes, (void)fail;
	return -ENOTSUP;
}

int nvme_format(struct blockdev *dev, uint32_t lba_bytes, unsigned erase, struct fail *fail)
{
	(void)dev, (void)lba_bytes, (void)erase, (void)fail;
	return -ENOTSUP;
}
