/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cuda/fork.h"

#include <string.h>

int m2s_cuda_fork(const m2s_cuda_call *call, m2s_fork *fork)
{
    *fork = (m2s_fork){ .ends = 0 };
    if (call->beside == NULL) {
        return 0;
    }
    int error = m2s_cuda_capture_front(call->stream, &fork->begin);
    fork->launches = fork->begin.launches;
    return error;
}

/* Keeps where the branch under way ends. */
static int end_branch(const m2s_cuda_call *call, m2s_fork *fork)
{
    m2s_cuda_front front;
    int error = m2s_cuda_capture_front(call->stream, &front);

    if (error == 0 && fork->branches == M2S_FORK_MOST) {
        error = M2S_CUDA_ERROR_CONFIGURATION;
    }
    if (error == 0) {
        int launches = front.launches - fork->launches;
        memcpy(fork->end + fork->ends, front.node, (size_t)front.nodes * sizeof *front.node);
        fork->ends += front.nodes;
        fork->branches++;
        fork->launches = front.launches;
        fork->longest = launches > fork->longest ? launches : fork->longest;
    }
    return error;
}

int m2s_cuda_fork_next(const m2s_cuda_call *call, m2s_fork *fork)
{
    int error = call->beside != NULL ? end_branch(call, fork) : 0;

    return call->beside != NULL && error == 0
               ? m2s_cuda_capture_after(call->stream, fork->begin.node, fork->begin.nodes)
               : error;
}

int m2s_cuda_fork_join(const m2s_cuda_call *call, m2s_fork *fork)
{
    if (call->beside == NULL) {
        return 0;
    }
    int error = end_branch(call, fork);
    *call->beside += fork->launches - fork->begin.launches - fork->longest;
    return error == 0 ? m2s_cuda_capture_after(call->stream, fork->end, fork->ends) : error;
}
