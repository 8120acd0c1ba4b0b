/* SPDX-License-Identifier: Apache-2.0
 * Which steps of a list must come after which, from the memory that each touches: one that reads what an earlier one
 * wrote, or writes what an earlier one read or wrote, comes after it. All else may run side by side, or in any order.
 */
#ifndef M2S_BACKENDS_CUDA_ORDER_H
#define M2S_BACKENDS_CUDA_ORDER_H

#include "core/error.h"
#include "core/memory.h"

/* Bytes [begin, end) that a step reads, or writes (and perhaps reads). Addresses, or any other numbers. */
typedef struct m2s_touch {
    uintptr_t begin, end;
    bool writes;
} m2s_touch;

/* Touches in the order of the steps. Begins as zeros; m2s_free(memory, touch) in the end. */
typedef struct m2s_touches {
    m2s_touch *touch;
    int32_t *end; /* step s has touches [s == 0 ? 0 : end[s - 1], end[s]) */
} m2s_touches;

/* Square matrices of bits, a row a step: what comes before it. */
typedef struct m2s_order {
    int32_t steps, words; /* words: of a row */
    uint64_t *before;     /* directly or through others */
    uint64_t *edge; /* the fewest that say as much: without any of them two steps that touch each other could swap */
} m2s_order;

/* Freed by m2s_cuda_order_free, also after a failure, which is out of memory. */
m2snet_status m2s_cuda_order_make(m2s_memory *memory, const m2s_touches *touches, int32_t steps, m2s_order *order,
                                  m2snet_error *error);
void m2s_cuda_order_free(m2s_memory *memory, m2s_order *order);

static inline bool m2s_order_bit(const m2s_order *order, const uint64_t *matrix, int32_t step, int32_t earlier)
{
    return (matrix[(size_t)step * (size_t)order->words + (size_t)earlier / 64] >> (earlier % 64) & 1) != 0;
}

#endif
