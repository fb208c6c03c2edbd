/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may become a drive: nobody else uses it, and nothing foreign stands on it. Asked before
 * anything is opened or taken from the kernel's driver, so that a refusal changes nothing.
 *
 * A disk in use is refused always. Foreign signatures are an obstacle until the operator says that
 * they may go (`wipe`); then *foreign tells that they have to be cleared.
 */
#ifndef CONTROL_ADMISSION_H
#define CONTROL_ADMISSION_H

#include "control/daemon.h"
#include "host/disk.h"

/* What the operator typed. */
struct place {
	bool pci;
	char address[HOST_ADDRESS_BYTES]; /* pci */
	uint32_t nsid;			  /* pci; 0: all namespaces */
	char source[DRIVE_SOURCE_BYTES];  /* otherwise: as struct drive has it */
};

/* A serial number, a PCI address, a path, a URL, ram: or null:. `kernel`: a path stays one, also
 * that of an NVMe drive. */
int admission_place(const char *typed, bool kernel, struct place *place, struct fail *fail);

/* A file or a block device. */
int admission_path(const char *path, bool wipe, bool *foreign, struct fail *fail);
/* An NVMe controller, which goes with all its namespaces. */
int admission_pci(const char *address, bool wipe, bool *foreign, struct fail *fail);
/* What an open drive says, for those that the kernel has no block device for. */
int admission_opened(struct daemon *daemon, const struct drive *drive, struct fail *fail);

/* What stands on a disk that nobody uses, into text (HOST_USE_BYTES): also braid's own. */
void admission_describe(const char *path, char *text);

/* Clears the places of all signatures, at both ends. */
int admission_wipe(struct daemon *daemon, struct blockdev *dev, struct fail *fail);

#endif
