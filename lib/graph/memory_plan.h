/* SPDX-License-Identifier: Apache-2.0
 * One arena by liveness, for every backend's plan compiler: blocks with a first and a last step get offsets so that
 * blocks alive at the same step never overlap. */
#ifndef M2S_GRAPH_MEMORY_PLAN_H
#define M2S_GRAPH_MEMORY_PLAN_H

#include "graph/graph.h"

typedef struct m2s_block {
    size_t bytes;        /* in; 0 = needs no space */
    int32_t first, last; /* in: steps during which it is alive, both inclusive */
    size_t offset;       /* out: multiple of M2S_ALIGNMENT */
} m2s_block;

/* Sets every block's offset and *arena_bytes. Greedy, largest first; deterministic. */
m2snet_status m2s_memory_plan(m2s_memory *memory, m2s_block *blocks, int32_t count, size_t *arena_bytes,
                              m2snet_error *error);

/* The same where lives are more than first and last: blocks that are alive together by this rule never overlap. */
typedef struct m2s_memory_rule {
    bool (*together)(const void *user, int32_t a, int32_t b); /* symmetric; of blocks that need space */
    const void *user;
} m2s_memory_rule;
m2snet_status m2s_memory_plan_by(m2s_memory *memory, m2s_block *blocks, int32_t count, const m2s_memory_rule *rule,
                                 size_t *arena_bytes, m2snet_error *error);

/* last_use[value] = index of the last node that reads it, node_count for outputs, -1 when nothing does. */
void m2s_graph_last_use(const m2s_graph *graph, int32_t *last_use);

#endif
