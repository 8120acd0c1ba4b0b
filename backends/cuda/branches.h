/* SPDX-License-Identifier: Apache-2.0
 * A plan's steps captured as what they are, a graph: a step comes after those whose memory it needs, and after no
 * others. One stream is enough for it, and so for libraries that have one stream at a time: what the next launch on it
 * comes after is set in front of every step. */
#ifndef M2S_BACKENDS_CUDA_BRANCHES_H
#define M2S_BACKENDS_CUDA_BRANCHES_H

#include "backends/cuda/plan.h"

/* Whether a plan is captured so: it may be, has no updates of state, which go in groups, and less work than one part.
 */
bool m2s_cuda_has_branches(const m2s_plan *plan);

/* Offsets for the plan's blocks such that memory is used again only by steps that come later anyway: then it adds no
 * order of its own. Blocks: one a value, then one a step for its scratch, lives as m2s_memory_plan wants them. */
m2snet_status m2s_cuda_branches_place(const m2s_plan *plan, m2s_block *blocks, size_t *arena_bytes,
                                      m2snet_error *error);

/* What a capture holds. */
typedef struct m2s_branches_size {
    int32_t launches, chain; /* of them, one after the other on the longest way */
} m2s_branches_size;

/* Launches all steps and the casts of outputs on the plan's stream, which is being captured; the values have their
 * places. */
m2snet_status m2s_cuda_branches_launch(const m2s_device *device, m2s_plan *plan, m2s_branches_size *size,
                                       m2snet_error *error);

#endif
