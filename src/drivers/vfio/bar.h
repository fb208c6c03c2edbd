/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers of devices that may be pulled out: where the kernel takes the mapping away, an access
 * raises SIGBUS. A guarded mapping is then replaced by memory of all ones, which is also what a
 * missing PCI device answers.
 */
#ifndef DRIVERS_VFIO_BAR_H
#define DRIVERS_VFIO_BAR_H

#include <stdbool.h>
#include <stddef.h>

enum { BARS_MAX = 256 };

/* Control threads. registers and bytes: whole pages. Guard before the first access; unguard before
 * munmap(). More than BARS_MAX are not guarded. */
void bar_guard(void *registers, size_t bytes);
void bar_unguard(void *registers);
/* Whether an access has found nothing there. Any thread. */
bool bar_gone(const volatile void *registers);

#endif
