/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVMe controllers that vfio-pci has handed over. Their namespaces are drives with the source
 * "nvme:SERIAL/NSID": an address is only where such a drive was seen last. Control lock held.
 */
#ifndef CONTROL_NVMES_H
#define CONTROL_NVMES_H

#include "control/daemon.h"
#include "drivers/drivers.h"

enum { NVME_HEALTH_S = 60 };

/* A controller that is attached. */
struct nvme_entry {
	struct nvme *nvme;
	struct nvme_identity identity;
	unsigned drives; /* open ones; with none it goes */
	bool give_back;	 /* to the kernel's driver, when it goes */
	struct nvme_smart smart;
	uint64_t smart_ns; /* when that was read; 0: never */
	struct list_node link;
};

bool nvmes_source(const char *source);

/* Takes the controller at `address`, or finds it taken. The caller has asked admission_pci(). */
int nvmes_take(struct daemon *daemon, const char *address, uint32_t block_bytes,
	struct nvme_entry **entry, struct fail *fail);
/* The controller at `address` when it is taken, or NULL. */
struct nvme_entry *nvmes_taken(struct daemon *daemon, const char *address);
/* "nvme:SERIAL/NSID" and the drive's name, of the index-th namespace. */
void nvmes_name(struct nvme_entry *entry, unsigned index, char *source, char *name);
/* Opens drive->source, looking for its controller where it is not taken yet: drive->dev. */
int nvmes_open(struct daemon *daemon, struct drive *drive, struct fail *fail);
/* One drive less; drive->dev and all layers are gone. */
void nvmes_close(struct drive *drive);
/* Controllers that were taken and have no open drive go. */
void nvmes_release_unused(struct daemon *daemon);

/* Whether drives that are missed may be found now: something has been plugged in or bound. */
bool nvmes_search_due(struct daemon *daemon);
/* One was busy: tries again in a few seconds whatever happens. */
void nvmes_search_soon(struct daemon *daemon);

/* Reads events and, when it is due, the health of all of them; drives that were pulled out become
 * absent ones. True: one has. */
bool nvmes_watch(struct daemon *daemon);

#endif
