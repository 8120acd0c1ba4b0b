/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cuda/order.h"

void m2s_cuda_order_free(m2s_memory *memory, m2s_order *order)
{
    m2s_free(memory, order->before);
    m2s_free(memory, order->edge);
    *order = (m2s_order){ 0 };
}

static bool touch_each_other(const m2s_touches *touches, int32_t step, int32_t earlier)
{
    int32_t from = step == 0 ? 0 : touches->end[step - 1], begin = earlier == 0 ? 0 : touches->end[earlier - 1];

    for (int32_t i = from; i < touches->end[step]; i++) {
        const m2s_touch *a = &touches->touch[i];
        for (int32_t j = begin; j < touches->end[earlier]; j++) {
            const m2s_touch *b = &touches->touch[j];
            if ((a->writes || b->writes) && a->begin < b->end && b->begin < a->end) {
                return true;
            }
        }
    }
    return false;
}

static void set_bit(uint64_t *row, int32_t at)
{
    row[at / 64] |= (uint64_t)1 << (at % 64);
}

/* The nearest earlier steps first: what comes before one of them needs no edge of its own. */
m2snet_status m2s_cuda_order_make(m2s_memory *memory, const m2s_touches *touches, int32_t steps, m2s_order *order,
                                  m2snet_error *error)
{
    size_t words = ((size_t)steps + 63) / 64;

    *order = (m2s_order){ .steps = steps, .words = (int32_t)words };
    order->before = m2s_calloc(memory, (size_t)steps * words, sizeof *order->before);
    order->edge = m2s_calloc(memory, (size_t)steps * words, sizeof *order->edge);
    if (order->before == NULL || order->edge == NULL) {
        return m2s_fail_memory(error, "the order of a plan", (size_t)steps * words * sizeof *order->before);
    }
    for (int32_t s = 1; s < steps; s++) {
        uint64_t *before = order->before + (size_t)s * words;
        for (int32_t t = s - 1; t >= 0; t--) {
            if (m2s_order_bit(order, order->before, s, t) || !touch_each_other(touches, s, t)) {
                continue;
            }
            set_bit(order->edge + (size_t)s * words, t);
            set_bit(before, t);
            for (size_t w = 0; w < words; w++) {
                before[w] |= order->before[(size_t)t * words + w];
            }
        }
    }
    return M2SNET_STATUS_OK;
}
