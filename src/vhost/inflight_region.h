/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory in which a front end keeps what is in flight: made by us on GET_INFLIGHT_FD, kept by
 * the front end alone, and handed in again with SET_INFLIGHT_FD, to us or to our successor. One
 * area per queue; what stands in them, virtio/inflight.h and virtio/packed_inflight.h say.
 *
 * Whatever comes in is hostile: any file of any size. It is mapped like guest memory, so that one
 * that is cut short under us is a mark (inflight_region_cut()), not our end.
 *
 * Session thread, but for inflight_region_cut().
 */
#ifndef VHOST_INFLIGHT_REGION_H
#define VHOST_INFLIGHT_REGION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fail.h"
#include "vhost/wire.h"

struct inflight_region;

/* A new, sealed file for the queues and queue_size of *wire, of which the other fields are filled
 * in; the caller's to close. A descriptor, or -errno with a sentence. */
int inflight_region_make(struct vhost_inflight *wire, bool packed, struct fail *fail);

/* Maps what *wire says of fd; takes fd in every case. 0, or -errno with a sentence. */
int inflight_region_map(struct inflight_region **region, const struct vhost_inflight *wire,
	bool packed, int fd, struct fail *fail);
/* No queue uses it any more. NULL is fine. */
void inflight_region_unmap(struct inflight_region *region);

/* The area of a queue, of a layout, and the entries it has; NULL: the region is for fewer queues
 * or for the other layout. */
void *inflight_region_area(
	const struct inflight_region *region, unsigned queue, bool packed, uint16_t *entries);

/* Its file was cut short: nothing in it can be trusted. Any thread. */
bool inflight_region_cut(const struct inflight_region *region);

#endif
