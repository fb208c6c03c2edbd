/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVMe controllers that vfio-pci has handed over. Their namespaces are drives with the source
 * "nvme:SERIAL/NSID": an address is only where such a drive was seen last. Control lock held, but
 * for what waits for a drive: taking one, letting it go, asking it.
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
	unsigned kept;	 /* by so many who have let go of the lock and wait for it: it stays */
	bool passing;	 /* it comes or goes just now: nvme is nobody's but the one's who waits */
	bool give_back;	 /* to the kernel's driver, when it goes */
	bool sanitizing; /* its drives are the sanitize's: nothing can be read of them */
	bool testing;	 /* it was at a self-test when it was taken */
	struct nvme_smart smart;
	uint64_t smart_ns; /* when that was read; 0: never */
	struct list_node link;
};

bool nvmes_source(const char *source);

/* Takes the controller at `address`, or finds it taken. The caller has asked admission_pci(). */
int nvmes_take(struct daemon *daemon, const char *address, uint32_t block_bytes,
	struct nvme_entry **entry, struct fail *fail);
/* The same for a controller that is up already, and is the entry's from then on: for tests. */
struct nvme_entry *nvmes_add(struct daemon *daemon, struct nvme *nvme);
/* The controller at `address` when it is taken, or NULL; it may be passing. */
struct nvme_entry *nvmes_taken(struct daemon *daemon, const char *address);
/* The same, once it is not passing any more. */
struct nvme_entry *nvmes_settled(struct daemon *daemon, const char *address);
/* "nvme:SERIAL/NSID" and the drive's name, of the index-th namespace. */
void nvmes_name(struct nvme_entry *entry, unsigned index, char *source, char *name);
/* Opens drive->source, looking for its controller where it is not taken yet: drive->dev. */
int nvmes_open(struct daemon *daemon, struct drive *drive, struct fail *fail);
/* One drive less; drive->dev and all layers are gone. The controller stays until
 * nvmes_release_unused(). */
void nvmes_close(struct drive *drive);
/* Controllers without an open drive go. Lets go of the lock meanwhile. */
void nvmes_release_unused(struct daemon *daemon);

/* Around a question to entry->nvme: the lock is free meanwhile, the controller stays. Afterwards it
 * may have lost its drives, and goes when the lock is let go of again. */
void nvmes_ask(struct daemon *daemon, struct nvme_entry *entry);
void nvmes_answered(struct daemon *daemon, struct nvme_entry *entry);

/* Whether drives that are missed may be found now: something has been plugged in or bound. */
bool nvmes_search_due(struct daemon *daemon);
/* One was busy: tries again in a few seconds whatever happens. */
void nvmes_search_soon(struct daemon *daemon);

/* Reads events; drives that were pulled out become absent ones. True: one has. */
bool nvmes_watch(struct daemon *daemon);
/* Asks those for their health for whom it is due; lets go of the lock meanwhile. */
void nvmes_ask_health(struct daemon *daemon);

#endif
