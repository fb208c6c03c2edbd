/* SPDX-License-Identifier: Apache-2.0 */
/* Reading what the daemon answered: a member that is absent reads as "", 0, false. */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define AUTO_JSON __attribute__((cleanup(cleanup_json)))

static inline void cleanup_json(json_t **json)
{
	json_decref(*json);
}

static inline const char *string_of(const json_t *string)
{
	const char *text = json_string_value(string);

	return text ? text : "";
}

static inline const char *text_of(const json_t *object, const char *key)
{
	return string_of(json_object_get(object, key));
}

static inline uint64_t number_of(const json_t *object, const char *key)
{
	json_int_t number = json_integer_value(json_object_get(object, key));

	return number > 0 ? (uint64_t)number : 0;
}

static inline bool truth_of(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

static inline size_t length_of(const json_t *object, const char *key)
{
	return json_array_size(json_object_get(object, key));
}

/* The row whose member `key` is that text; NULL: none. Borrowed. */
static inline json_t *row_where(const json_t *rows, const char *key, const char *text)
{
	size_t i;
	json_t *row;

	json_array_foreach((json_t *)rows, i, row) if (!strcmp(text_of(row, key), text)) return row;
	return NULL;
}

#endif
