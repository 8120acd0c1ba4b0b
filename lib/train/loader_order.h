/* SPDX-License-Identifier: Apache-2.0
 * Which picture stands where in an epoch. */
#ifndef M2S_TRAIN_LOADER_ORDER_H
#define M2S_TRAIN_LOADER_ORDER_H

#include "train/loader.h"

typedef struct m2s_order m2s_order; /* unchanging; any thread */

/* sets[i] is the set of picture i, weights[s] the weight of set s. LIMIT: an epoch would be longer than 2^30. */
m2snet_status m2s_order_create(m2s_memory *memory, const int32_t *sets, int32_t count, const double *weights,
                               int32_t set_count, const m2s_loader_options *options, m2s_order **order,
                               m2snet_error *error);
void m2s_order_destroy(m2s_order *order); /* NULL is fine */

int64_t m2s_order_length(const m2s_order *order); /* places of any epoch */

/* Fills places[0..length) with picture numbers: a pure function of (order, epoch). */
m2snet_status m2s_order_epoch(const m2s_order *order, uint64_t epoch, int32_t *places, m2snet_error *error);

/* Fisher-Yates with the stream's numbers from 0 on. */
void m2s_shuffle(uint64_t stream, int32_t *list, int64_t count);

#endif
