/* SPDX-License-Identifier: Apache-2.0
 * A convolution's packed weights. Constant ones are packed when a plan is compiled, once for a weight version and a
 * layout; weights that change from run to run, as in training, are packed by the first task of each run. */
#ifndef M2S_BACKENDS_CPU_CONV_WEIGHTS_H
#define M2S_BACKENDS_CPU_CONV_WEIGHTS_H

#include "backends/cpu/plan.h"

/* Writes units begin..end of the packed numbers from the plain weights (o, i, kh, kw). Units do not overlap. */
typedef void (*m2s_pack_units)(const void *layout, const float *plain, m2s_cut units, float *packed);

typedef struct m2s_weights_layout {
    char name[48];  /* tells layouts apart in the pack cache; provider and blocking belong into it */
    size_t numbers; /* packed */
    int64_t units;
    m2s_pack_units pack;
    const void *argument; /* pack's; lives as long as the step */
} m2s_weights_layout;

typedef struct m2s_conv_weights {
    m2s_weights_layout layout;
    int32_t input;         /* of the step */
    const float *constant; /* NULL: packed in each run */
    size_t offset;         /* then: where in the step's scratch, in bytes */
} m2s_conv_weights;

/* Packs input i if it is constant. If not: adds room to the step's scratch, behind what it holds so far, and the task
 * that packs, which finds `weights` as the first member of step->detail. So it comes before the tasks that read it. */
m2snet_status m2s_conv_weights_prepare(const m2s_lowering *lowering, int32_t i, const m2s_weights_layout *layout,
                                       m2s_conv_weights *weights, m2snet_error *error);
/* The packed numbers, during a run. */
const float *m2s_conv_weights_at(const m2s_step *step, const m2s_conv_weights *weights);
/* Whether a task of its own packs them in each run. */
static inline bool m2s_conv_weights_change(const m2s_conv_weights *weights)
{
    return weights->constant == NULL;
}

#endif
