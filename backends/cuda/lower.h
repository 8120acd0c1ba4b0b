/* SPDX-License-Identifier: Apache-2.0
 * A node of the graph as launches on the device. */
#ifndef M2S_BACKENDS_CUDA_LOWER_H
#define M2S_BACKENDS_CUDA_LOWER_H

#include "backends/cuda/device.h"

#define M2S_STEP_CONVS 3 /* the most that one step makes */

typedef struct m2s_step m2s_step;
struct m2s_step {
    m2s_op op;            /* M2S_OP_COUNT: a cast, which no node is */
    m2s_ref_args args;    /* shapes; pointers are set for a run */
    m2s_attrs attrs;      /* a copy: the graph may go before the plan */
    m2snet_dtype storage; /* of its activations; a cast's result */
    m2snet_dtype cast_from;
    int (*launch)(const m2s_step *step, const m2s_cuda_call *call);
    const m2s_cuda_kernel *kernel;
    m2s_prepared_conv *conv[M2S_STEP_CONVS];
    const char *kernel_name;
    size_t scratch_bytes;
    size_t part[4];                /* where parts of the scratch begin */
    m2s_layout layout[M2S_MAX_IN]; /* what the step wants of inputs that are constant */
    size_t next_part[2];           /* res2_groups: from a group's workspace, and packed weights, to the next one's */
    int32_t wide;                  /* res2_groups: channels of a group, with those that fill it up */
    bool packs_weights;            /* weights come as (o, i, kh, kw) in F32 and are packed on each run */
};

/* How exact a step is. */
typedef struct m2s_products {
    m2snet_dtype storage; /* of activations; F32 for a step that has to be */
    bool tf32;            /* F32 convolutions may round their factors */
} m2s_products;

/* NULL, or what is missing for this node. */
const char *m2s_cuda_missing(const m2s_graph *graph, const m2s_node *node);
/* Whether an operation can run on 16-bit activations. Those that cannot get casts around them: objectives, updates,
 * and what has no such kernel. */
bool m2s_cuda_has_half(m2s_op op);
/* Whether it always does in a plan of 16 bits, and not just where an input is there in 16 bits: convolutions. */
bool m2s_cuda_wants_half(m2s_op op);
/* Whether an input, or a result, is of the step's storage type; vectors, scalars and statistics are F32 always. */
bool m2s_cuda_input_is_stored(m2s_op op, int32_t input);
bool m2s_cuda_result_is_stored(m2s_op op, int32_t result);
/* Fills step, which is zeros, and whose storage may turn out to be F32 although products' is not. args.attrs is to be
 * set anew when the step is moved. Its convolutions are freed by m2s_step_free, also after a failure. */
m2snet_status m2s_cuda_lower(m2s_device *device, const m2s_graph *graph, const m2s_node *node,
                             const m2s_products *products, m2s_step *step, m2snet_error *error);
/* A step that changes the storage type of a value of this shape. */
void m2s_cuda_lower_cast(m2s_shape shape, m2snet_dtype from, m2snet_dtype to, m2s_step *step);
void m2s_step_free(m2s_memory *memory, m2s_step *step);

#endif
