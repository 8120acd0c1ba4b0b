/* SPDX-License-Identifier: Apache-2.0
 * Which candidates an op has, in the order in which they are tried. A candidate declines a node by what it sees of
 * shapes and attributes, never by timing, so that a plan is the same on every run. */
#include "backends/cpu/plan.h"

#define MOST_CANDIDATES 6

#if defined(M2S_WITH_ONEDNN)
#define ONEDNN(candidate) candidate,
#else
#define ONEDNN(candidate)
#endif

static const m2s_candidate candidates[M2S_OP_COUNT][MOST_CANDIDATES + 1] = {
    [M2S_OP_conv2d] = { m2s_lower_depthwise, m2s_lower_conv_winograd, m2s_lower_conv_point, m2s_lower_conv_few,
                        ONEDNN(m2s_lower_conv_onednn) m2s_lower_conv_gemm },
    [M2S_OP_conv2d_grad_src] = { m2s_lower_depthwise, m2s_lower_grad_src },
    [M2S_OP_transpose_weights] = { m2s_lower_transpose_weights },
    [M2S_OP_conv2d_grad_weights] = { m2s_lower_depthwise_grad_weights, m2s_lower_grad_winograd,
                                     m2s_lower_grad_weights },
    [M2S_OP_res2_groups] = { m2s_lower_res2_groups },
    [M2S_OP_batch_norm] = { m2s_lower_norm },
    [M2S_OP_batch_norm_train] = { m2s_lower_norm_train },
    [M2S_OP_batch_norm_grad] = { m2s_lower_norm_grad },
    [M2S_OP_layer_norm] = { m2s_lower_layer },
    [M2S_OP_layer_norm_grad] = { m2s_lower_layer },
    [M2S_OP_sum_pixels] = { m2s_lower_sum_pixels },
    [M2S_OP_relu] = { m2s_lower_pointwise },
    [M2S_OP_add] = { m2s_lower_pointwise },
    [M2S_OP_abs_diff] = { m2s_lower_pointwise },
    [M2S_OP_slice_c] = { m2s_lower_pointwise },
    [M2S_OP_concat_c] = { m2s_lower_pointwise },
    [M2S_OP_relu_grad] = { m2s_lower_pointwise },
    [M2S_OP_abs_diff_grad] = { m2s_lower_pointwise },
    [M2S_OP_pad_c] = { m2s_lower_pointwise },
    [M2S_OP_scale] = { m2s_lower_pointwise },
    [M2S_OP_multiply] = { m2s_lower_pointwise },
    [M2S_OP_sigmoid] = { m2s_lower_activation },
    [M2S_OP_sigmoid_grad] = { m2s_lower_activation },
    [M2S_OP_gelu] = { m2s_lower_activation },
    [M2S_OP_gelu_grad] = { m2s_lower_activation },
    [M2S_OP_scale_c] = { m2s_lower_layer },
    [M2S_OP_scale_c_grad] = { m2s_lower_layer },
    [M2S_OP_drop_path] = { m2s_lower_pointwise },
    [M2S_OP_softmax_c] = { m2s_lower_activation },
    [M2S_OP_softmax_c_grad] = { m2s_lower_activation },
    [M2S_OP_normalise_rgb] = { m2s_lower_activation },
    [M2S_OP_normalise_rgb_grad] = { m2s_lower_activation },
    [M2S_OP_channel_sum] = { m2s_lower_pointwise },
    [M2S_OP_plane_affine_relu] = { m2s_lower_pointwise },
    [M2S_OP_max_pool] = { m2s_lower_pool },
    [M2S_OP_avg_pool] = { m2s_lower_pool },
    [M2S_OP_resize] = { m2s_lower_pool },
    [M2S_OP_max_pool_grad] = { m2s_lower_pool_grad },
    [M2S_OP_avg_pool_grad] = { m2s_lower_pool_grad },
    [M2S_OP_resize_grad] = { m2s_lower_resize_grad },
    [M2S_OP_box_filter] = { m2s_lower_box },
    [M2S_OP_window_attention] = { m2s_lower_window_attention },
    [M2S_OP_window_attention_grad] = { m2s_lower_window_attention },
    [M2S_OP_merge_patches] = { m2s_lower_merge_patches },
    [M2S_OP_merge_patches_grad] = { m2s_lower_merge_patches },
    [M2S_OP_boundary_weights] = { m2s_lower_box },
    [M2S_OP_weighted_bce] = { m2s_lower_objective },
    [M2S_OP_weighted_bce_grad] = { m2s_lower_objective },
    [M2S_OP_weighted_iou] = { m2s_lower_objective },
    [M2S_OP_weighted_iou_grad] = { m2s_lower_objective },
    [M2S_OP_dice] = { m2s_lower_objective },
    [M2S_OP_dice_grad] = { m2s_lower_objective },
    [M2S_OP_cross_entropy] = { m2s_lower_objective },
    [M2S_OP_cross_entropy_grad] = { m2s_lower_objective },
    [M2S_OP_feature_distance] = { m2s_lower_objective },
    [M2S_OP_feature_distance_grad] = { m2s_lower_objective },
    [M2S_OP_sum_squares] = { m2s_lower_sum_squares },
    [M2S_OP_running_average] = { m2s_lower_update },
    [M2S_OP_accumulate] = { m2s_lower_update },
    [M2S_OP_sgd] = { m2s_lower_update },
    [M2S_OP_adamw] = { m2s_lower_update },
    [M2S_OP_attention] = { m2s_lower_attention },
    [M2S_OP_attention_grad] = { m2s_lower_attention },
    [M2S_OP_multi_scale_subtract] = { m2s_lower_subtract },
    [M2S_OP_multi_scale_subtract_train] = { m2s_lower_subtract_train },
    [M2S_OP_multi_scale_subtract_grad] = { m2s_lower_subtract_grad },
};

const m2s_candidate *m2s_cpu_candidates(m2s_op op)
{
    return (unsigned)op < (unsigned)M2S_OP_COUNT ? candidates[op] : NULL;
}
