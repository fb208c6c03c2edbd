/* SPDX-License-Identifier: Apache-2.0 */
#include "base/entropy.h"

#include <assert.h>
#include <string.h>
#include <sys/random.h>

#include "base/bits.h"
#include "base/random.h"

static struct random *simulated;

void entropy_simulate(struct random *random)
{
	simulated = random;
}

void entropy_get(void *bytes, size_t count)
{
	char *at = bytes;

	while (count) {
		uint64_t word;
		size_t piece = MIN(count, sizeof(word));

		if (simulated) {
			word = random_next(simulated);
		} else {
			ssize_t got = getrandom(&word, sizeof(word), 0);

			assert(got == sizeof(word)); /* never short below 256 bytes */
		}
		memcpy(at, &word, piece);
		at += piece;
		count -= piece;
	}
}
