/* SPDX-License-Identifier: Apache-2.0
 * Launches of one step that know nothing of each other, in branches: side by side where the step is captured as part of
 * a graph (call->beside), one after the other else.
 *     fork, launches of a branch, next, launches of a branch, ..., join
 * What comes after the join comes after all branches. Branches share no memory that one of them writes. Each returns 0
 * or the runtime's error number. */
#ifndef M2S_BACKENDS_CUDA_FORK_H
#define M2S_BACKENDS_CUDA_FORK_H

#include "backends/cuda/cuda.h"
#include "backends/cuda/runtime.h"

#define M2S_FORK_MOST 4 /* branches */

typedef struct m2s_fork {
    m2s_cuda_front begin;
    void *end[M2S_FORK_MOST * M2S_CUDA_MOST_FRONT]; /* of the branches so far */
    int ends, branches, launches, longest;          /* launches: before the branch under way */
} m2s_fork;

int m2s_cuda_fork(const m2s_cuda_call *call, m2s_fork *fork);
int m2s_cuda_fork_next(const m2s_cuda_call *call, m2s_fork *fork);
int m2s_cuda_fork_join(const m2s_cuda_call *call, m2s_fork *fork);

#endif
