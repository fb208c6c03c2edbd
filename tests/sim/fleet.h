/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The drives of a world as NVMe controllers: each is the product's driver over a mock controller
 * (tests/mock_nvme), and its watcher runs between two steps of the simulation.
 *
 *	array -> src/drivers/nvme -> registers, queues -> mock, which answers late, twice, wrong ...
 *
 * A *trouble* is what the driver must overcome by itself, however many members have one: whoever is
 * lost by it is lost wrongly. A *fault* makes the array count errors, a *death* ends the drive. Of
 * the drives' own model only what the world knows of them is used: dead, flaky, size.
 */
#ifndef TESTS_SIM_FLEET_H
#define TESTS_SIM_FLEET_H

#include "world.h"

/* After world_open(), and before the group goes. */
void fleet_open(struct world *world);
void fleet_close(struct world *world);

struct blockdev *fleet_dev(struct world *world, unsigned index);

/* A trouble of any drive that has not had too many. */
void fleet_trouble(struct world *world);
/* Reads that fail now and then, from now on. */
void fleet_fault(struct world *world, unsigned index);
void fleet_kill(struct world *world, unsigned index);
/* Plugged in anew, with what it holds. The device is another one then, and was not in use. */
void fleet_revive(struct world *world, unsigned index);
/* Nothing that was arranged happens any more. */
void fleet_calm(struct world *world);

/* No drive may still reach what is given back. */
void fleet_check_returned(struct world *world, const void *memory);
/* Whoever has had nothing but troubles serves, and what the driver asked was allowed. */
void fleet_check(struct world *world);

#endif
