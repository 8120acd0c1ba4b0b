/* SPDX-License-Identifier: Apache-2.0
 * Which of two tests holds an operation's rows: test_ops_table.c for these, test_ops_train.c for all others. */
#ifndef M2S_TESTS_OPS_INFERENCE_OPS_H
#define M2S_TESTS_OPS_INFERENCE_OPS_H

#include "graph/graph.h"

static inline bool is_inference_op(m2s_op op)
{
    switch (op) {
    case M2S_OP_conv2d:
    case M2S_OP_res2_groups:
    case M2S_OP_batch_norm:
    case M2S_OP_layer_norm:
    case M2S_OP_gelu:
    case M2S_OP_scale_c:
    case M2S_OP_fold_weights:
    case M2S_OP_fold_bias:
    case M2S_OP_fold_scale:
    case M2S_OP_concat_o:
    case M2S_OP_relu:
    case M2S_OP_add:
    case M2S_OP_abs_diff:
    case M2S_OP_slice_c:
    case M2S_OP_concat_c:
    case M2S_OP_max_pool:
    case M2S_OP_avg_pool:
    case M2S_OP_resize:
    case M2S_OP_full_filter:
    case M2S_OP_channel_sum:
    case M2S_OP_box_filter:
    case M2S_OP_plane_affine_relu:
    case M2S_OP_multi_scale_subtract:
        return true;
    default:
        return false;
    }
}

#endif
