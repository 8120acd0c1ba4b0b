/* SPDX-License-Identifier: Apache-2.0
 * Weight files of tests/data/weights, as the readers take them. cmocka's asserts are used inside. */
#ifndef M2S_TESTS_COMMON_WEIGHT_FILES_H
#define M2S_TESTS_COMMON_WEIGHT_FILES_H

#include "weights/load.h"

/* The bytes of tests/data/weights/NAME. */
m2s_blob weight_file(m2s_memory *memory, const char *name);
/* Copies bytes into a blob. */
m2s_blob weight_bytes(m2s_memory *memory, const void *data, size_t bytes);
/* Loads NAME, which must succeed. */
m2s_store *load_weight_file(m2s_memory *memory, const char *name);
/* Loads bytes, which must fail: no store, no blob left, nothing allocated beside what was before, a message. */
m2snet_status refuse_weights(m2s_memory *memory, const void *data, size_t bytes, m2snet_error *error);

/* What the files hold: element i of a float weight is i/4 - 1, of an integer weight i - 2. */
void assert_ramp(const m2s_store *store, const char *name, m2snet_dtype dtype, int32_t rank, const int64_t *dims);
/* The same after the message's own words. */
void assert_error_has(const m2snet_error *error, const char *part);

/* Fails every allocation of loading NAME in turn; checks status and that nothing stays allocated. */
void assert_survives_failed_allocations(const char *name);
/* Loads every beginning of NAME, each byte changed to a few others, and never crashes or leaks; beginnings fail. */
void assert_survives_damage(const char *name);

#endif
