/* SPDX-License-Identifier: Apache-2.0
 * Updates of state (sgd, adamw, running_average, accumulate) of many nodes in few launches: a step of training has
 * hundreds, most of them of a few numbers.
 *
 * A plan hands over its steps in order. Those that are taken wait in groups of one kind, which share their scalars; a
 * later step may join an earlier group as long as it touches nothing that the groups behind it touch. */
#ifndef M2S_BACKENDS_CUDA_UPDATES_H
#define M2S_BACKENDS_CUDA_UPDATES_H

#include "backends/cuda/cuda.h"

#if defined(__cplusplus)
extern "C" {
#endif

#define M2S_UPDATE_ITEMS   64 /* of a group: what fits into a launch's parameters */
#define M2S_UPDATE_GROUPS  4
#define M2S_UPDATE_STATE   3
#define M2S_UPDATE_SCALARS 5
#define M2S_UPDATE_PIECE   4096 /* numbers of a block */

typedef struct m2s_update_item {
    float *state[M2S_UPDATE_STATE]; /* read and written: param and the optimiser's own */
    const float *diff;              /* or the new numbers */
    int32_t count, first_block;
    float share, decay; /* running_average: of the old and of the new numbers */
    bool one;           /* running_average: diff is one number for all */
    bool vectors;       /* all of these are aligned to 16 bytes */
} m2s_update_item;

typedef struct m2s_update_group {
    m2s_op op;
    int32_t items, blocks;
    /* In the order of the op's inputs; NULL where absent: sgd rate commit factor; adamw rate commit correction1
     * correction2 factor; running_average commit; accumulate keep finite. */
    const float *scalar[M2S_UPDATE_SCALARS];
    float momentum, beta, epsilon;
    float of_first, of_second; /* 1 - momentum, 1 - beta, rounded once */
    int32_t form;
    m2s_update_item item[M2S_UPDATE_ITEMS];
} m2s_update_group;

/* Begins as zeros. */
typedef struct m2s_updates {
    int32_t groups;
    m2s_update_group group[M2S_UPDATE_GROUPS];
} m2s_updates;

/* Whether the node waits now. Not when it is no update in place, or when it must come after what waits: launch that
 * and ask again; what is refused then is launched by itself. */
bool m2s_cuda_updates_take(m2s_updates *updates, m2s_op op, const m2s_ref_args *args);
/* Launches what waits, which is nothing then. 0 or the runtime's error number. */
int m2s_cuda_updates_launch(const m2s_cuda_call *call, m2s_updates *updates);

int m2s_cuda_update_group_launch(const m2s_cuda_call *call, const m2s_update_group *group);

#if defined(__cplusplus)
}
#endif

#endif
