/* SPDX-License-Identifier: Apache-2.0
 * The members of one JSON object, as text: what a file of settings needs, and no more. */
#ifndef EXAMPLES_COMMON_JSON_READER_H
#define EXAMPLES_COMMON_JSON_READER_H

#include <stdbool.h>

/* One value: strings without their quotes and escapes, numbers as they stand, true "1", false "0", null NULL, objects
 * as their JSON. The elements of an array come one by one with their index; any other value has index -1. An empty
 * array comes as NULL with index 0. False stops the reading. */
typedef bool (*json_member_fn)(void *user, const char *key, const char *value, int index);

/* False after a complaint that begins with name and the line, or when member returned false. */
bool json_read_object(const char *name, const char *text, json_member_fn member, void *user);

#endif
