/* SPDX-License-Identifier: Apache-2.0
 * The training case of tests/data/parity: one step at 2 x 3 x 96 x 96, computed in float64, stored in float32. */
#ifndef M2S_TESTS_COMMON_TRAINING_VECTORS_H
#define M2S_TESTS_COMMON_TRAINING_VECTORS_H

#include <stdbool.h>
#include <stdint.h>

/* Entry `what` ("dlogits/wbce"), (n, c, h, w); false when there is none of that many numbers. */
bool training_vectors_load(const char *what, double *numbers, int64_t count);

#endif
