/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cpumask.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cpumask_add(struct cpumask *mask, unsigned core)
{
	assert(core < CPUMASK_CORES);
	mask->words[core / 64] |= 1ull << (core % 64);
}

bool cpumask_has(const struct cpumask *mask, unsigned core)
{
	return core < CPUMASK_CORES && (mask->words[core / 64] >> (core % 64) & 1);
}

unsigned cpumask_count(const struct cpumask *mask)
{
	unsigned count = 0;

	for (unsigned i = 0; i < CPUMASK_CORES / 64; i++)
		count += (unsigned)__builtin_popcountll(mask->words[i]);
	return count;
}

unsigned cpumask_next(const struct cpumask *mask, unsigned from)
{
	while (from < CPUMASK_CORES && !cpumask_has(mask, from))
		from++;
	return from;
}

/* "0x1ff": any number of hexadecimal digits, the last being cores 0 to 3. */
static bool parse_mask(struct cpumask *mask, const char *digits)
{
	size_t length = strlen(digits);

	if (!length)
		return false;
	for (size_t i = 0; i < length; i++) {
		char digit = digits[length - 1 - i];
		unsigned value;

		if (!isxdigit((unsigned char)digit))
			return false;
		value = isdigit((unsigned char)digit) ? (unsigned)(digit - '0')
						      : (unsigned)(tolower(digit) - 'a') + 10;
		if (value && i >= CPUMASK_CORES / 4)
			return false;
		for (unsigned bit = 0; bit < 4; bit++)
			if (value >> bit & 1)
				cpumask_add(mask, (unsigned)i * 4 + bit);
	}
	return true;
}

/* "8-11,14" */
static bool parse_list(struct cpumask *mask, const char *text)
{
	do {
		char *end;
		unsigned long first, last;

		if (!isdigit((unsigned char)*text))
			return false;
		first = last = strtoul(text, &end, 10);
		if (*end == '-') {
			if (!isdigit((unsigned char)end[1]))
				return false;
			last = strtoul(end + 1, &end, 10);
		}
		if (last >= CPUMASK_CORES || first > last)
			return false;
		for (unsigned core = (unsigned)first; core <= last; core++)
			cpumask_add(mask, core);
		text = end + 1;
		if (!*end)
			return true;
		if (*end != ',')
			return false;
	} while (true);
}

int cpumask_parse(struct cpumask *mask, const char *text, struct fail *fail)
{
	bool hexadecimal = !strncmp(text, "0x", 2) || !strncmp(text, "0X", 2);

	memset(mask, 0, sizeof(*mask));
	if (!(hexadecimal ? parse_mask(mask, text + 2) : parse_list(mask, text)))
		return fail_set(fail, EINVAL,
			"'%s' is no set of cores below %d: write a list like 8-11,14 or a mask "
			"like 0x3",
			text, CPUMASK_CORES);
	if (!cpumask_count(mask))
		return fail_set(
			fail, EINVAL, "the set of cores '%s' is empty: name at least one", text);
	return 0;
}

char *cpumask_print(const struct cpumask *mask, char *text)
{
	size_t used = 0;

	text[0] = '\0';
	for (unsigned first = cpumask_next(mask, 0); first < CPUMASK_CORES;) {
		unsigned last = first;

		while (cpumask_has(mask, last + 1))
			last++;
		used += (size_t)snprintf(text + used, CPUMASK_TEXT_BYTES - used,
			last > first ? "%s%u-%u" : "%s%u", used ? "," : "", first, last);
		first = cpumask_next(mask, last + 1);
	}
	return text;
}
