/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/memory_plan.h"

#include <stdlib.h>

/* Larger first: small blocks then fill the gaps. Equal ones in the order given, so that the plan is the same
 * whatever qsort does. */
typedef struct sorted_block {
    size_t bytes; /* rounded up to whole alignments */
    int32_t index;
} sorted_block;

static int larger_first(const void *a, const void *b)
{
    const sorted_block *p = a, *q = b;

    if (p->bytes != q->bytes) {
        return p->bytes > q->bytes ? -1 : 1;
    }
    return p->index < q->index ? -1 : 1;
}

static bool alive_together(const void *user, int32_t a, int32_t b)
{
    const m2s_block *blocks = user;

    return blocks[a].first <= blocks[b].last && blocks[b].first <= blocks[a].last;
}

m2snet_status m2s_memory_plan(m2s_memory *memory, m2s_block *blocks, int32_t count, size_t *arena_bytes,
                              m2snet_error *error)
{
    const m2s_memory_rule rule = { alive_together, blocks };

    return m2s_memory_plan_by(memory, blocks, count, &rule, arena_bytes, error);
}

m2snet_status m2s_memory_plan_by(m2s_memory *memory, m2s_block *blocks, int32_t count, const m2s_memory_rule *rule,
                                 size_t *arena_bytes, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;
    sorted_block *sorted = m2s_alloc_array(memory, (size_t)count, sizeof *sorted);
    sorted_block *placed = m2s_alloc_array(memory, (size_t)count, sizeof *placed); /* by offset */
    int32_t placed_count = 0;

    *arena_bytes = 0;
    if (sorted == NULL || placed == NULL) {
        status = m2s_fail_memory(error, "the memory plan", (size_t)count * sizeof *sorted);
        goto fail;
    }
    for (int32_t i = 0; i < count; i++) {
        sorted[i].index = i;
        if (blocks[i].first > blocks[i].last) {
            status = m2s_fail(error, M2SNET_STATUS_INTERNAL, "block %d lives from step %d to step %d", i,
                              blocks[i].first, blocks[i].last);
            goto fail;
        }
        if (!m2s_add(blocks[i].bytes, M2S_ALIGNMENT - 1, &sorted[i].bytes)) {
            status = m2s_fail_memory(error, "a tensor", blocks[i].bytes);
            goto fail;
        }
        sorted[i].bytes &= ~(size_t)(M2S_ALIGNMENT - 1);
    }
    qsort(sorted, (size_t)count, sizeof *sorted, larger_first);

    for (int32_t i = 0; i < count; i++) {
        m2s_block *block = &blocks[sorted[i].index];
        size_t bytes = sorted[i].bytes;
        size_t busy_until = 0, best = 0, best_gap = SIZE_MAX, end;
        int32_t at;

        block->offset = 0;
        if (bytes == 0) {
            continue;
        }
        for (int32_t k = 0; k < placed_count; k++) {
            const m2s_block *other = &blocks[placed[k].index];
            if (!rule->together(rule->user, sorted[i].index, placed[k].index)) {
                continue;
            }
            if (other->offset > busy_until) {
                size_t gap = other->offset - busy_until;
                if (gap >= bytes && gap < best_gap) {
                    best = busy_until;
                    best_gap = gap;
                }
            }
            if (other->offset + placed[k].bytes > busy_until) {
                busy_until = other->offset + placed[k].bytes;
            }
        }
        block->offset = best_gap != SIZE_MAX ? best : busy_until;
        if (!m2s_add(block->offset, bytes, &end)) {
            status = m2s_fail_memory(error, "the arena", bytes);
            goto fail;
        }
        *arena_bytes = end > *arena_bytes ? end : *arena_bytes;
        for (at = placed_count++; at > 0 && blocks[placed[at - 1].index].offset > block->offset; at--) {
            placed[at] = placed[at - 1];
        }
        placed[at] = sorted[i];
    }
fail:
    m2s_free(memory, sorted);
    m2s_free(memory, placed);
    return status;
}

void m2s_graph_last_use(const m2s_graph *graph, int32_t *last_use)
{
    for (m2s_value v = 0; v < graph->value_count; v++) {
        last_use[v] = graph->values[v].output ? graph->node_count : -1;
    }
    for (int32_t n = 0; n < graph->node_count; n++) {
        const m2s_node *node = &graph->nodes[n];
        for (int32_t i = 0; i < node->in_count; i++) {
            if (node->in[i] != M2S_NONE && last_use[node->in[i]] < n) {
                last_use[node->in[i]] = n;
            }
        }
    }
}
