/* SPDX-License-Identifier: Apache-2.0
 * One table of cases for every operation of ops.def that inference has (inference_ops.h); test_ops_train.c has the
 * others. Each row is a graph of that one operation; it is run through the
 * vtable on every backend and instruction set here and compared with an oracle:
 *
 *   ref F64   with naive.h, the same formulas written a second time
 *   ref F32   with ref F64
 *   cpu F32   with ref F64, at every instruction set that this processor has (or the one after --isa)
 *
 * Each is run on 1, 2, 3 and 5 threads, and on one twice, and must give the same bits every time. */
#include <float.h>
#include <inttypes.h>
#include <math.h>

#include "backends/ref/ref.h"
#include "ops/harness.h"
#include "ops/inference_ops.h"
#include "ops/module.h"
#include "ops/naive.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

typedef struct op_case {
    m2s_op op;
    m2s_attrs attrs;
    m2s_shape in[M2S_MAX_IN]; /* n = 0: absent */
} op_case;

/* What the inputs of an operation are. Lower case letters are activations, upper case ones parameters:
 *   a in [-1, 1)   n in [0, 1)   l in [-6, 6)   W and B in [-1, 1)   V (variances) in [0.5, 1.5)
 *   C (of chained convolutions) scaled so that each keeps the size of its input
 *   S (slopes) scaled by the number of summands in the filter, as a trained batch norm would */
static const char *const input_kinds[M2S_OP_COUNT] = {
    [M2S_OP_conv2d] = "aWBa",
    [M2S_OP_res2_groups] = "aCBCBCB",
    [M2S_OP_batch_norm] = "aBBBV",
    [M2S_OP_layer_norm] = "aBB",
    [M2S_OP_gelu] = "l",
    [M2S_OP_scale_c] = "aB",
    [M2S_OP_fold_weights] = "WBV",
    [M2S_OP_fold_bias] = "BBBBV",
    [M2S_OP_fold_scale] = "BV",
    [M2S_OP_concat_o] = "WW",
    [M2S_OP_relu] = "a",
    [M2S_OP_add] = "aaaaaaaa",
    [M2S_OP_abs_diff] = "aa",
    [M2S_OP_slice_c] = "a",
    [M2S_OP_concat_c] = "aaaaaaaa",
    [M2S_OP_max_pool] = "a",
    [M2S_OP_avg_pool] = "a",
    [M2S_OP_resize] = "aa",
    [M2S_OP_full_filter] = "a",
    [M2S_OP_channel_sum] = "a",
    [M2S_OP_box_filter] = "a",
    [M2S_OP_plane_affine_relu] = "aBB",
    [M2S_OP_multi_scale_subtract] = "nnSBSBSBSBSBSBSB",
};

/* clang-format off */
#define A(n_, h_, w_, c_)   { .d = { n_, h_, w_, c_ } }
#define W(o_, i_, kh_, kw_) { .d = { o_, i_, kh_, kw_ } }
#define V(o_)               { .d = { o_, 1, 1, 1 } }
#define NONE                { .d = { 0, 0, 0, 0 } }
#define CONV(s, p, dil, g)  .stride = s, .pad = p, .dilation = dil, .groups = g
#define GROUPS(w_)          W(w_, w_, 3, 3), V(w_), W(w_, w_, 3, 3), V(w_), W(w_, w_, 3, 3), V(w_)
#define POOL(k, s, p)       .kernel = k, .stride = s, .pad = p

static const op_case table[] = {
    /* every channel count of the networks, 1x1 and 3x3 */
    { M2S_OP_conv2d, { CONV(1, 0, 1, 1) }, { A(1, 1, 1, 1), W(1, 1, 1, 1) } },
    { M2S_OP_conv2d, { CONV(1, 1, 1, 1) }, { A(1, 1, 1, 1), W(1, 1, 3, 3), V(1) } },
    { M2S_OP_conv2d, { CONV(2, 1, 1, 1) }, { A(1, 17, 15, 3), W(32, 3, 3, 3) } },
    { M2S_OP_conv2d, { CONV(1, 1, 1, 1), .relu = 1 }, { A(1, 9, 8, 13), W(13, 13, 3, 3), V(13) } },
    { M2S_OP_conv2d, { CONV(1, 1, 1, 1), .relu = 1 }, { A(1, 10, 9, 26), W(26, 26, 3, 3), V(26) } },
    { M2S_OP_conv2d, { CONV(2, 1, 1, 1), .relu = 1 }, { A(1, 11, 11, 52), W(52, 52, 3, 3), V(52) } },
    { M2S_OP_conv2d, { CONV(1, 1, 1, 1), .relu = 1 }, { A(1, 12, 13, 64), W(64, 64, 3, 3), V(64) } },
    { M2S_OP_conv2d, { CONV(1, 1, 1, 1) }, { A(1, 7, 7, 104), W(104, 104, 3, 3), V(104) } },
    { M2S_OP_conv2d, { CONV(1, 1, 1, 1), .relu = 1 }, { A(1, 6, 5, 208), W(208, 208, 3, 3), V(208) } },
    { M2S_OP_conv2d, { CONV(1, 1, 1, 1), .relu = 1 }, { A(1, 5, 5, 512), W(64, 512, 3, 3), V(64) } },
    { M2S_OP_conv2d, { CONV(1, 0, 1, 1) }, { A(1, 5, 5, 208), W(64, 208, 1, 1), V(64) } },
    { M2S_OP_conv2d, { CONV(1, 0, 1, 1), .relu = 1 }, { A(1, 12, 12, 64), W(104, 64, 1, 1), V(104) } },
    { M2S_OP_conv2d, { CONV(1, 0, 1, 1) }, { A(2, 3, 4, 832), W(13, 832, 1, 1), V(13) } },
    { M2S_OP_conv2d, { CONV(1, 1, 1, 1) }, { A(1, 13, 11, 64), W(1, 64, 3, 3), V(1) } }, /* output1 */
    /* several images, residual, ReLU, bias there or not */
    { M2S_OP_conv2d, { CONV(1, 1, 1, 1) }, { A(3, 5, 6, 13), W(26, 13, 3, 3) } },
    { M2S_OP_conv2d, { CONV(1, 1, 1, 1), .relu = 1 }, { A(2, 5, 7, 26), W(26, 26, 3, 3) } },
    { M2S_OP_conv2d, { CONV(1, 0, 1, 1), .relu = 1 }, { A(2, 6, 7, 52), W(104, 52, 1, 1), V(104), A(2, 6, 7, 104) } },
    { M2S_OP_conv2d, { CONV(1, 0, 1, 1) }, { A(1, 6, 7, 52), W(26, 52, 1, 1), NONE, A(1, 6, 7, 26) } },
    { M2S_OP_conv2d, { CONV(1, 1, 1, 1), .relu = 1 }, { A(2, 4, 5, 13), W(3, 13, 3, 3), V(3), A(2, 4, 5, 3) } },
    { M2S_OP_conv2d, { CONV(2, 1, 1, 1), .relu = 1 }, { A(1, 7, 8, 13), W(16, 13, 3, 3), V(16), A(1, 4, 4, 16) } },
    /* one pixel, one row, one column; windows larger than the image */
    { M2S_OP_conv2d, { CONV(1, 1, 1, 1) }, { A(1, 1, 19, 26), W(26, 26, 3, 3), V(26) } },
    { M2S_OP_conv2d, { CONV(1, 1, 1, 1) }, { A(1, 19, 1, 26), W(26, 26, 3, 3), V(26) } },
    { M2S_OP_conv2d, { CONV(1, 1, 1, 1) }, { A(2, 1, 1, 64), W(64, 64, 3, 3), V(64) } },
    { M2S_OP_conv2d, { CONV(2, 1, 1, 1) }, { A(1, 2, 2, 64), W(64, 64, 3, 3), V(64) } },
    { M2S_OP_conv2d, { CONV(1, 3, 1, 1) }, { A(1, 2, 3, 13), W(5, 13, 7, 7), V(5) } },
    { M2S_OP_conv2d, { CONV(1, 2, 1, 1) }, { A(1, 4, 6, 3), W(8, 3, 5, 5), V(8) } },
    { M2S_OP_conv2d, { CONV(1, 3, 1, 1) }, { A(1, 2, 2, 3), W(4, 3, 3, 3) } }, /* more padding than window */
    /* strides that end before, on and after the last pixel */
    { M2S_OP_conv2d, { CONV(2, 1, 1, 1) }, { A(1, 8, 9, 13), W(13, 13, 3, 3) } },
    { M2S_OP_conv2d, { CONV(2, 0, 1, 1) }, { A(1, 8, 9, 13), W(13, 13, 3, 3) } },
    { M2S_OP_conv2d, { CONV(2, 0, 1, 1) }, { A(1, 9, 8, 13), W(13, 13, 1, 1) } },
    { M2S_OP_conv2d, { CONV(3, 2, 1, 1) }, { A(1, 11, 10, 8), W(9, 8, 3, 3) } },
    { M2S_OP_conv2d, { CONV(4, 0, 1, 1) }, { A(1, 16, 19, 3), W(16, 3, 4, 4), V(16) } },
    { M2S_OP_conv2d, { CONV(2, 3, 1, 1) }, { A(1, 15, 14, 3), W(17, 3, 7, 7), V(17) } },
    /* windows of other forms */
    { M2S_OP_conv2d, { CONV(1, 0, 1, 1) }, { A(1, 6, 7, 13), W(7, 13, 2, 2) } },
    { M2S_OP_conv2d, { CONV(1, 0, 1, 1) }, { A(1, 6, 7, 13), W(7, 13, 1, 3) } },
    { M2S_OP_conv2d, { CONV(1, 1, 1, 1) }, { A(1, 6, 7, 13), W(7, 13, 3, 1), V(7) } },
    /* dilation */
    { M2S_OP_conv2d, { CONV(1, 2, 2, 1), .relu = 1 }, { A(1, 9, 11, 26), W(26, 26, 3, 3), V(26) } },
    { M2S_OP_conv2d, { CONV(1, 2, 2, 1) }, { A(2, 2, 3, 13), W(13, 13, 3, 3) } },
    { M2S_OP_conv2d, { CONV(2, 3, 3, 1) }, { A(1, 12, 9, 5), W(6, 5, 3, 3), V(6) } },
    /* groups, and one channel a group */
    { M2S_OP_conv2d, { CONV(1, 1, 1, 2) }, { A(1, 6, 7, 26), W(52, 13, 3, 3), V(52) } },
    { M2S_OP_conv2d, { CONV(1, 1, 1, 4), .relu = 1 }, { A(2, 5, 5, 12), W(8, 3, 3, 3), V(8), A(2, 5, 5, 8) } },
    { M2S_OP_conv2d, { CONV(1, 1, 1, 13) }, { A(1, 6, 7, 13), W(13, 1, 3, 3), V(13) } },
    { M2S_OP_conv2d, { CONV(2, 3, 1, 64) }, { A(1, 9, 10, 64), W(64, 1, 7, 7), V(64) } },
    { M2S_OP_conv2d, { CONV(1, 3, 1, 96) }, { A(2, 15, 23, 96), W(96, 1, 7, 7), V(96) } }, /* ConvNeXt's */
    { M2S_OP_conv2d, { CONV(1, 3, 1, 33) }, { A(1, 4, 3, 33), W(33, 1, 7, 7), V(33) } },
    { M2S_OP_conv2d, { CONV(1, 1, 1, 40), .relu = 1 }, { A(1, 9, 29, 40), W(40, 1, 3, 3), V(40), A(1, 9, 29, 40) } },
    { M2S_OP_conv2d, { CONV(1, 1, 1, 530) }, { A(1, 3, 10, 530), W(530, 1, 3, 3), V(530) } }, /* two blocks */
    { M2S_OP_conv2d, { CONV(1, 0, 1, 16), .relu = 1 }, { A(2, 19, 7, 16), W(16, 1, 3, 3) } },
    { M2S_OP_conv2d, { CONV(1, 3, 1, 5) }, { A(1, 2, 3, 5), W(5, 1, 3, 3), V(5) } }, /* more padding than window */
    { M2S_OP_conv2d, { CONV(1, 4, 2, 16) }, { A(1, 9, 30, 16), W(16, 1, 5, 5) } },
    { M2S_OP_conv2d, { CONV(1, 1, 1, 21) }, { A(1, 1, 1, 21), W(21, 1, 3, 3), V(21) } },
    { M2S_OP_conv2d, { CONV(1, 0, 1, 2) }, { A(1, 6, 7, 64), W(40, 32, 1, 1) } },
    /* more pixels than one piece of work */
    { M2S_OP_conv2d, { CONV(1, 1, 1, 1), .relu = 1 }, { A(2, 33, 31, 26), W(13, 26, 3, 3), V(13) } },
    { M2S_OP_conv2d, { CONV(1, 0, 1, 1) }, { A(1, 44, 44, 64), W(26, 64, 1, 1), V(26), A(1, 44, 44, 26) } },
    { M2S_OP_conv2d, { CONV(2, 1, 1, 1) }, { A(1, 64, 45, 3), W(32, 3, 3, 3) } },

    { M2S_OP_res2_groups, { .stride = 1 }, { A(1, 1, 1, 4), GROUPS(1) } },
    { M2S_OP_res2_groups, { .stride = 1 }, { A(2, 7, 5, 52), GROUPS(13) } },
    { M2S_OP_res2_groups, { .stride = 1 }, { A(1, 12, 13, 104), GROUPS(26) } },
    { M2S_OP_res2_groups, { .stride = 1 }, { A(1, 11, 11, 208), GROUPS(52) } },
    { M2S_OP_res2_groups, { .stride = 1 }, { A(1, 7, 6, 416), GROUPS(104) } },
    { M2S_OP_res2_groups, { .stride = 1 }, { A(1, 3, 4, 832), GROUPS(208) } },
    { M2S_OP_res2_groups, { .stride = 1 }, { A(1, 1, 9, 32), GROUPS(8) } },
    { M2S_OP_res2_groups, { .stride = 1 }, { A(1, 9, 1, 32), GROUPS(8) } },
    { M2S_OP_res2_groups, { .stride = 1 }, { A(3, 2, 2, 12), GROUPS(3) } },
    { M2S_OP_res2_groups, { .stride = 1 }, { A(1, 40, 37, 16), GROUPS(4) } },
    { M2S_OP_res2_groups, { .stride = 1, .stage = 1 }, { A(1, 12, 11, 104), GROUPS(26) } },
    { M2S_OP_res2_groups, { .stride = 1, .stage = 1 }, { A(2, 1, 1, 52), GROUPS(13) } },
    { M2S_OP_res2_groups, { .stride = 2, .stage = 1 }, { A(2, 11, 8, 52), GROUPS(13) } },
    { M2S_OP_res2_groups, { .stride = 2, .stage = 1 }, { A(1, 12, 13, 208), GROUPS(52) } },
    { M2S_OP_res2_groups, { .stride = 2, .stage = 1 }, { A(1, 5, 6, 416), GROUPS(104) } },
    { M2S_OP_res2_groups, { .stride = 2, .stage = 1 }, { A(1, 4, 3, 832), GROUPS(208) } },
    { M2S_OP_res2_groups, { .stride = 2, .stage = 1 }, { A(1, 1, 1, 12), GROUPS(3) } },
    { M2S_OP_res2_groups, { .stride = 2, .stage = 1 }, { A(1, 1, 10, 32), GROUPS(8) } },

    { M2S_OP_batch_norm, { .epsilon = 1e-5 }, { A(1, 1, 1, 1), V(1), V(1), V(1), V(1) } },
    { M2S_OP_batch_norm, { .epsilon = 1e-5 }, { A(2, 5, 7, 13), V(13), V(13), V(13), V(13) } },
    { M2S_OP_batch_norm, { .epsilon = 1e-5 }, { A(1, 33, 17, 64), V(64), V(64), V(64), V(64) } },
    { M2S_OP_batch_norm, { .epsilon = 1e-5, .relu = 1 }, { A(2, 4, 3, 26), V(26), V(26), V(26), V(26) } },
    { M2S_OP_batch_norm, { .epsilon = 0.5 }, { A(1, 3, 1, 208), V(208), V(208), V(208), V(208) } },

    { M2S_OP_layer_norm, { .epsilon = 1e-6 }, { A(1, 1, 1, 1), V(1), V(1) } },
    { M2S_OP_layer_norm, { .epsilon = 1e-6 }, { A(2, 5, 7, 13), V(13), V(13) } },
    { M2S_OP_layer_norm, { .epsilon = 1e-6 }, { A(1, 23, 19, 96), V(96), V(96) } },
    { M2S_OP_layer_norm, { .epsilon = 1e-5 }, { A(3, 1, 5, 33), V(33), V(33) } },
    { M2S_OP_layer_norm, { .epsilon = 0.5 }, { A(1, 3, 1, 1030), V(1030), V(1030) } },
    { M2S_OP_gelu, { 0 }, { A(1, 1, 1, 1) } },
    { M2S_OP_gelu, { 0 }, { A(2, 5, 7, 13) } },
    { M2S_OP_gelu, { 0 }, { A(1, 43, 39, 64) } },
    { M2S_OP_scale_c, { 0 }, { A(1, 1, 1, 1), V(1) } },
    { M2S_OP_scale_c, { 0 }, { A(2, 5, 7, 13), V(13) } },
    { M2S_OP_scale_c, { 0 }, { A(1, 23, 19, 96), V(96) } },

    { M2S_OP_fold_weights, { .epsilon = 1e-5 }, { W(1, 1, 1, 1), V(1), V(1) } },
    { M2S_OP_fold_weights, { .epsilon = 1e-5 }, { W(26, 13, 3, 3), V(26), V(26) } },
    { M2S_OP_fold_weights, { .epsilon = 0.25 }, { W(64, 104, 1, 1), V(64), V(64) } },
    { M2S_OP_fold_weights, { .epsilon = 1e-5 }, { W(5, 3, 2, 7), V(5), V(5) } },
    { M2S_OP_fold_bias, { .epsilon = 1e-5 }, { V(64), V(64), V(64), V(64), V(64) } },
    { M2S_OP_fold_bias, { .epsilon = 0.25 }, { NONE, V(13), V(13), V(13), V(13) } },
    { M2S_OP_fold_bias, { .epsilon = 1e-5 }, { V(1), V(1), V(1), V(1), V(1) } },
    { M2S_OP_fold_scale, { .epsilon = 1e-5 }, { V(64), V(64) } },
    { M2S_OP_fold_scale, { .epsilon = 0.25 }, { V(13), V(13) } },
    { M2S_OP_concat_o, { 0 }, { W(26, 13, 3, 3), W(3, 13, 3, 3) } },
    { M2S_OP_concat_o, { 0 }, { W(64, 52, 1, 1), W(64, 52, 1, 1) } },
    { M2S_OP_concat_o, { 0 }, { V(64), V(1) } },

    { M2S_OP_relu, { 0 }, { A(1, 1, 1, 1) } },
    { M2S_OP_relu, { 0 }, { A(2, 5, 7, 13) } },
    { M2S_OP_relu, { 0 }, { A(1, 23, 29, 64) } },
    { M2S_OP_add, { 0 }, { A(1, 1, 1, 3), A(1, 1, 1, 3) } },
    { M2S_OP_add, { .relu = 1 }, { A(2, 5, 7, 13), A(2, 5, 7, 13) } },
    { M2S_OP_add, { 0 }, { A(1, 23, 29, 64), A(1, 23, 29, 64), A(1, 23, 29, 64), A(1, 23, 29, 64) } },
    { M2S_OP_add, { .relu = 1 }, { A(1, 9, 1, 26), A(1, 9, 1, 26), A(1, 9, 1, 26), A(1, 9, 1, 26), A(1, 9, 1, 26),
                                   A(1, 9, 1, 26), A(1, 9, 1, 26), A(1, 9, 1, 26) } },
    { M2S_OP_abs_diff, { 0 }, { A(1, 1, 1, 1), A(1, 1, 1, 1) } },
    { M2S_OP_abs_diff, { 0 }, { A(2, 5, 7, 13), A(2, 5, 7, 13) } },
    { M2S_OP_abs_diff, { 0 }, { A(1, 30, 31, 64), A(1, 30, 31, 64) } },
    { M2S_OP_slice_c, { .begin = 0, .count = 1 }, { A(1, 1, 1, 1) } },
    { M2S_OP_slice_c, { .begin = 26, .count = 26 }, { A(2, 5, 7, 104) } },
    { M2S_OP_slice_c, { .begin = 12, .count = 1 }, { A(1, 5, 7, 13) } },
    { M2S_OP_slice_c, { .begin = 3, .count = 64 }, { A(1, 22, 21, 208) } },
    { M2S_OP_concat_c, { 0 }, { A(1, 1, 1, 1), A(1, 1, 1, 1) } },
    { M2S_OP_concat_c, { 0 }, { A(2, 5, 7, 26), A(2, 5, 7, 26), A(2, 5, 7, 26), A(2, 5, 7, 26) } },
    { M2S_OP_concat_c, { 0 }, { A(1, 9, 8, 1), A(1, 9, 8, 64), A(1, 9, 8, 13) } },
    { M2S_OP_concat_c, { 0 }, { A(1, 3, 3, 1), A(1, 3, 3, 2), A(1, 3, 3, 3), A(1, 3, 3, 4), A(1, 3, 3, 5), A(1, 3, 3, 6),
                                A(1, 3, 3, 7), A(1, 3, 3, 8) } },

    { M2S_OP_max_pool, { POOL(3, 2, 1) }, { A(1, 16, 16, 64) } },
    { M2S_OP_max_pool, { POOL(3, 2, 1) }, { A(2, 11, 8, 13) } },
    { M2S_OP_max_pool, { POOL(3, 2, 1) }, { A(1, 1, 1, 3) } },
    { M2S_OP_max_pool, { POOL(3, 2, 1) }, { A(1, 1, 9, 26) } },
    { M2S_OP_max_pool, { POOL(3, 2, 1) }, { A(1, 9, 1, 26) } },
    { M2S_OP_max_pool, { POOL(2, 2, 0) }, { A(1, 7, 9, 5) } },
    { M2S_OP_max_pool, { POOL(5, 1, 2) }, { A(1, 3, 4, 8) } },
    { M2S_OP_max_pool, { POOL(2, 2, 0), .ceil_mode = 1 }, { A(1, 7, 8, 5) } },
    { M2S_OP_avg_pool, { POOL(3, 1, 1), .count_include_pad = 1 }, { A(1, 8, 9, 26) } },
    { M2S_OP_avg_pool, { POOL(3, 2, 1), .count_include_pad = 1 }, { A(2, 9, 8, 52) } },
    { M2S_OP_avg_pool, { POOL(3, 2, 1), .count_include_pad = 1 }, { A(1, 1, 1, 208) } },
    { M2S_OP_avg_pool, { POOL(3, 2, 1), .count_include_pad = 0 }, { A(1, 11, 11, 13) } },
    { M2S_OP_avg_pool, { POOL(2, 2, 0), .ceil_mode = 1 }, { A(1, 11, 8, 64) } },
    { M2S_OP_avg_pool, { POOL(2, 2, 0), .ceil_mode = 1 }, { A(2, 1, 1, 104) } },
    { M2S_OP_avg_pool, { POOL(2, 2, 0), .ceil_mode = 1 }, { A(1, 1, 7, 3) } },
    { M2S_OP_avg_pool, { POOL(1, 1, 0), .ceil_mode = 1 }, { A(1, 5, 4, 64) } },
    { M2S_OP_avg_pool, { POOL(3, 3, 1), .ceil_mode = 1 }, { A(1, 8, 9, 5) } },
    { M2S_OP_avg_pool, { POOL(3, 2, 0), .ceil_mode = 1 }, { A(1, 8, 6, 7) } },
    { M2S_OP_avg_pool, { POOL(31, 1, 15), .count_include_pad = 1 }, { A(1, 20, 9, 1) } },

    { M2S_OP_resize, { .h = 4, .w = 6 }, { A(1, 4, 6, 13) } },
    { M2S_OP_resize, { .h = 8, .w = 12 }, { A(2, 4, 6, 64) } },
    { M2S_OP_resize, { .h = 16, .w = 24 }, { A(1, 4, 6, 1) } },
    { M2S_OP_resize, { .h = 23, .w = 45 }, { A(1, 11, 22, 64) } },
    { M2S_OP_resize, { .h = 89, .w = 7 }, { A(1, 45, 4, 3) } },
    { M2S_OP_resize, { .h = 5, .w = 3 }, { A(1, 1, 1, 26) } },
    { M2S_OP_resize, { .h = 1, .w = 1 }, { A(1, 7, 9, 5) } },
    { M2S_OP_resize, { .h = 5, .w = 20 }, { A(1, 12, 7, 8) } }, /* down one way, up the other */
    { M2S_OP_resize, { .h = 1, .w = 18 }, { A(1, 1, 9, 26) } },
    { M2S_OP_resize, { .h = 12, .w = 12 }, { A(2, 6, 6, 64), A(2, 12, 12, 64) } },
    { M2S_OP_resize, { .h = 23, .w = 11 }, { A(1, 11, 5, 13), A(1, 23, 11, 13) } },

    { M2S_OP_full_filter, { .kernel = 1 }, { A(1, 5, 4, 13) } },
    { M2S_OP_full_filter, { .kernel = 3 }, { A(2, 7, 9, 64) } },
    { M2S_OP_full_filter, { .kernel = 5 }, { A(1, 8, 7, 64) } },
    { M2S_OP_full_filter, { .kernel = 7 }, { A(1, 3, 4, 26) } },
    { M2S_OP_full_filter, { .kernel = 3 }, { A(1, 1, 1, 1) } },
    { M2S_OP_full_filter, { .kernel = 5, .gaussian = 1 }, { A(1, 8, 7, 13) } },
    { M2S_OP_full_filter, { .kernel = 3, .gaussian = 1 }, { A(1, 1, 9, 3) } },
    { M2S_OP_full_filter, { .kernel = 5, .gaussian = 1, .alpha = 2.5 }, { A(1, 8, 7, 13) } },
    { M2S_OP_channel_sum, { 0 }, { A(1, 1, 1, 1) } },
    { M2S_OP_channel_sum, { 0 }, { A(2, 5, 7, 13) } },
    { M2S_OP_channel_sum, { 0 }, { A(1, 22, 23, 64) } },
    { M2S_OP_channel_sum, { 0 }, { A(1, 3, 3, 1040) } },
    { M2S_OP_box_filter, { .kernel = 3 }, { A(1, 22, 23, 1) } },
    { M2S_OP_box_filter, { .kernel = 5 }, { A(2, 9, 8, 1) } },
    { M2S_OP_box_filter, { .kernel = 9 }, { A(1, 4, 3, 1) } },
    { M2S_OP_box_filter, { .kernel = 3 }, { A(1, 1, 1, 1) } },
    { M2S_OP_box_filter, { .kernel = 5 }, { A(1, 7, 6, 13) } },
    { M2S_OP_box_filter, { .kernel = 7, .gaussian = 1 }, { A(1, 9, 11, 1) } },
    { M2S_OP_box_filter, { .kernel = 3, .gaussian = 1 }, { A(1, 1, 5, 26) } },
    { M2S_OP_box_filter, { .kernel = 5, .gaussian = 1, .alpha = 0.4 }, { A(1, 9, 11, 1) } },
    { M2S_OP_box_filter, { .kernel = 7, .gaussian = 1, .alpha = 3.0 }, { A(1, 6, 5, 26) } },
    { M2S_OP_plane_affine_relu, { 0 }, { A(1, 1, 1, 1), V(1), V(1) } },
    { M2S_OP_plane_affine_relu, { 0 }, { A(2, 7, 5, 1), V(64), V(64) } },
    { M2S_OP_plane_affine_relu, { 0 }, { A(1, 20, 21, 1), V(13), V(13) } },

    { M2S_OP_multi_scale_subtract, { .scales = 0 }, { A(1, 5, 6, 64), A(1, 10, 12, 64) } },
    { M2S_OP_multi_scale_subtract, { .scales = 1, .scale = { 3 } }, { A(2, 4, 3, 64), A(2, 8, 6, 64), V(64), V(64) } },
    { M2S_OP_multi_scale_subtract, { .scales = 2, .scale = { 3, 5 } },
      { A(1, 11, 11, 64), A(1, 22, 22, 64), V(64), V(64), V(64), V(64) } },
    { M2S_OP_multi_scale_subtract, { .scales = 2, .scale = { 3, 5 } },
      { A(1, 11, 12, 64), A(1, 11, 12, 64), V(64), V(64), V(64), V(64) } },
    { M2S_OP_multi_scale_subtract, { .scales = 2, .scale = { 3, 5 } },
      { A(1, 3, 2, 13), A(1, 12, 8, 13), V(13), V(13), V(13), V(13) } },
    { M2S_OP_multi_scale_subtract, { .scales = 2, .scale = { 3, 5 } },
      { A(1, 11, 12, 64), A(1, 23, 23, 64), V(64), V(64), V(64), V(64) } },
    { M2S_OP_multi_scale_subtract, { .scales = 2, .scale = { 3, 5 } },
      { A(3, 1, 1, 26), A(3, 1, 1, 26), V(26), V(26), V(26), V(26) } },
    { M2S_OP_multi_scale_subtract, { .scales = 2, .scale = { 3, 5 } },
      { A(1, 1, 4, 3), A(1, 1, 7, 3), V(3), V(3), V(3), V(3) } },
    { M2S_OP_multi_scale_subtract, { .scales = 2, .scale = { 3, 5 } },
      { A(1, 4, 1, 1), A(1, 8, 1, 1), V(1), V(1), V(1), V(1) } },
    { M2S_OP_multi_scale_subtract, { .scales = 4, .scale = { 3, 5, 7, 9 } },
      { A(2, 5, 6, 64), A(2, 10, 12, 64), V(64), V(64), V(64), V(64), V(64), V(64), V(64), V(64) } },
    { M2S_OP_multi_scale_subtract, { .scales = 4, .scale = { 3, 5, 7, 9 } },
      { A(1, 2, 2, 5), A(1, 3, 4, 5), V(5), V(5), V(5), V(5), V(5), V(5), V(5), V(5) } },
    { M2S_OP_multi_scale_subtract, { .scales = 2, .scale = { 3, 5 }, .gaussian = 1 },
      { A(1, 6, 5, 64), A(1, 12, 10, 64), V(64), V(64), V(64), V(64) } },
    { M2S_OP_multi_scale_subtract, { .scales = 2, .scale = { 3, 5 }, .gaussian = 1, .alpha = 2.0 },
      { A(1, 6, 5, 13), A(1, 12, 10, 13), V(13), V(13), V(13), V(13) } },
    { M2S_OP_multi_scale_subtract, { .scales = 4, .scale = { 3, 5, 7, 9 }, .gaussian = 1 },
      { A(1, 7, 7, 26), A(1, 13, 14, 26), V(26), V(26), V(26), V(26), V(26), V(26), V(26), V(26) } },
    { M2S_OP_multi_scale_subtract, { .scales = 1, .scale = { 1 } }, { A(1, 4, 5, 8), A(1, 4, 5, 8), V(8), V(8) } },
    { M2S_OP_multi_scale_subtract, { .scales = 7, .scale = { 1, 3, 5, 7, 9, 11, 13 } },
      { A(1, 4, 5, 8), A(1, 8, 9, 8), V(8), V(8), V(8), V(8), V(8), V(8), V(8), V(8), V(8), V(8), V(8), V(8), V(8),
        V(8) } },
};
/* clang-format on */

/* ---- rows drawn at random, the same on every machine ---- */

#define DRAWN_PER_OP 24

static const m2s_op drawn_ops[] = { M2S_OP_conv2d,   M2S_OP_res2_groups, M2S_OP_max_pool,
                                    M2S_OP_avg_pool, M2S_OP_resize,      M2S_OP_multi_scale_subtract };

static int64_t draw(unsigned long long *state, int64_t low, int64_t high)
{
    return low + (int64_t)((check_random(state) * 0.5 + 0.5) * (double)(high - low + 1));
}

/* False: what was drawn makes no such operation. */
static bool draw_case(m2s_op op, unsigned long long *state, op_case *c)
{
    static const int64_t channels[] = { 1, 2, 3, 5, 8, 13, 16, 17, 26, 32, 33, 52, 64 };
    int64_t n = draw(state, 1, 3), h = draw(state, 1, 20), w = draw(state, 1, 20);
    int64_t ic = channels[draw(state, 0, COUNT(channels) - 1)], oc = channels[draw(state, 0, COUNT(channels) - 1)];
    m2s_attrs *a = &c->attrs;

    *c = (op_case){ .op = op, .in = { A(n, h, w, ic) } };
    switch (op) {
    case M2S_OP_conv2d: {
        int64_t k = draw(state, 1, 5);
        *a = (m2s_attrs){ CONV((int32_t)draw(state, 1, 3), (int32_t)draw(state, 0, 3), (int32_t)draw(state, 1, 2), 1) };
        a->relu = (int32_t)draw(state, 0, 1);
        a->groups = draw(state, 0, 3) == 0 ? 2 : 1;
        c->in[0].c = ic * a->groups;
        c->in[1] = (m2s_shape)W(oc * a->groups, ic, k, k);
        if (draw(state, 0, 1) != 0) {
            c->in[2] = (m2s_shape)V(oc * a->groups);
        }
        int64_t oh = h + 2 * a->pad - a->dilation * (k - 1) - 1, ow = w + 2 * a->pad - a->dilation * (k - 1) - 1;
        if (oh < 0 || ow < 0) {
            return false;
        }
        if (draw(state, 0, 1) != 0) {
            c->in[3] = (m2s_shape)A(n, oh / a->stride + 1, ow / a->stride + 1, oc * a->groups);
        }
        return true;
    }
    case M2S_OP_res2_groups:
        a->stage = (int32_t)draw(state, 0, 1);
        a->stride = a->stage ? (int32_t)draw(state, 1, 2) : 1;
        c->in[0].c = 4 * ic;
        for (int i = 0; i < 3; i++) {
            c->in[1 + 2 * i] = (m2s_shape)W(ic, ic, 3, 3);
            c->in[2 + 2 * i] = (m2s_shape)V(ic);
        }
        return true;
    case M2S_OP_resize:
        a->h = draw(state, 1, 40);
        a->w = draw(state, 1, 40);
        if (draw(state, 0, 1) != 0) {
            c->in[1] = (m2s_shape)A(n, a->h, a->w, ic);
        }
        return true;
    case M2S_OP_multi_scale_subtract:
        c->in[1] = (m2s_shape)A(n, draw(state, h, 2 * h), draw(state, w, 2 * w), ic);
        a->scales = (int32_t)draw(state, 0, 3);
        a->gaussian = (int32_t)draw(state, 0, 1);
        for (int32_t k = 0; k < a->scales; k++) {
            a->scale[k] = 3 + 2 * k;
            c->in[2 + 2 * k] = c->in[3 + 2 * k] = (m2s_shape)V(ic);
        }
        return true;
    default: /* the pools */
        a->kernel = (int32_t)draw(state, 1, 5);
        a->stride = (int32_t)draw(state, 1, 4);
        a->pad = (int32_t)draw(state, 0, a->kernel / 2);
        a->ceil_mode = (int32_t)draw(state, 0, 1);
        /* A partial window beyond the padding is divided by kernel^2 in the graph, by less in PyTorch. */
        a->count_include_pad = op == M2S_OP_avg_pool && !a->ceil_mode ? (int32_t)draw(state, 0, 1) : 0;
        return h + 2 * a->pad >= a->kernel && w + 2 * a->pad >= a->kernel;
    }
}

/* ---- a row as a graph ---- */

typedef struct row {
    const op_case *c;
    char name[256];
    int in_count;
    bool constant;   /* all inputs are parameters */
    double summands; /* the longest sum in the operation */
    naive in[M2S_MAX_IN];
    naive expected; /* by naive.h; without data: not computed yet */
    double largest; /* |expected| */
    double *oracle; /* by ref F64 */
} row;

static bool is_param(char kind)
{
    return kind >= 'A' && kind <= 'Z';
}

static void describe(row *r, const op_case *c)
{
    const m2s_attrs *a = &c->attrs;
    const char *kinds = input_kinds[c->op];
    size_t used;

    memset(r, 0, sizeof *r);
    r->c = c;
    r->constant = is_param(kinds[0]);
    for (int i = 0; i < M2S_MAX_IN; i++) {
        r->in_count = c->in[i].n != 0 ? i + 1 : r->in_count;
    }
    switch (c->op) {
    case M2S_OP_conv2d:
        r->summands = (double)(c->in[1].i * c->in[1].kh * c->in[1].kw + 2);
        break;
    case M2S_OP_res2_groups:
        r->summands = 3.0 * (double)(9 * c->in[1].i + 1);
        break;
    case M2S_OP_max_pool:
    case M2S_OP_avg_pool:
    case M2S_OP_box_filter:
        r->summands = a->kernel * a->kernel;
        break;
    case M2S_OP_full_filter:
        r->summands = (double)(a->kernel * a->kernel * c->in[0].c);
        break;
    case M2S_OP_channel_sum:
    case M2S_OP_layer_norm:
        r->summands = (double)c->in[0].c;
        break;
    case M2S_OP_multi_scale_subtract:
        r->summands = a->scales > 0 ? (double)(a->scale[a->scales - 1] * a->scale[a->scales - 1] * c->in[0].c) : 4.0;
        break;
    default:
        r->summands = 8.0;
    }
    used = (size_t)snprintf(r->name, sizeof r->name, "%s", m2s_op_get_info(c->op)->name);
    for (int i = 0; i < r->in_count; i++) {
        const int64_t *d = c->in[i].d;
        bool vector = d[1] == 1 && d[2] == 1 && d[3] == 1;
        used += (size_t)(d[0] == 0 ? snprintf(r->name + used, sizeof r->name - used, " -")
                         : vector  ? snprintf(r->name + used, sizeof r->name - used, " %" PRId64, d[0])
                                   : snprintf(r->name + used, sizeof r->name - used,
                                              " %" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64, d[0], d[1], d[2], d[3]));
    }
    const struct {
        const char *label;
        int64_t value;
    } attrs[] = { { "k", a->kernel },
                  { "s", a->stride },
                  { "p", a->pad },
                  { "d", a->dilation },
                  { "g", a->groups },
                  { "relu", a->relu },
                  { "pad", a->count_include_pad },
                  { "ceil", a->ceil_mode },
                  { "stage", a->stage },
                  { "gauss", a->gaussian },
                  { "scales", a->scales },
                  { "from", a->begin },
                  { "to_h", a->h },
                  { "to_w", a->w } };
    for (size_t i = 0; i < COUNT(attrs); i++) {
        if (attrs[i].value != 0) {
            used +=
                (size_t)snprintf(r->name + used, sizeof r->name - used, " %s%" PRId64, attrs[i].label, attrs[i].value);
        }
    }
}

/* Inputs, exact in float, and what naive.h makes of them. */
static void prepare(row *r)
{
    unsigned long long state = 0x5eed;

    if (r->expected.data != NULL) {
        return;
    }
    for (int i = 0; i < r->in_count; i++) {
        const m2s_shape shape = r->c->in[i];
        if (shape.n == 0) {
            continue;
        }
        char kind = input_kinds[r->c->op][i];
        double scale = kind == 'C' ? 2.0 / sqrt(9.0 * (double)shape.i)
                       : kind == 'S'
                           ? 2.0 / (r->c->attrs.gaussian != 0 ? (double)shape.o
                                                              : (double)shape.o * pow(r->c->attrs.scale[i / 2 - 1], 2))
                           : 1.0;
        r->in[i] = naive_new(shape.d[0], shape.d[1], shape.d[2], shape.d[3]);
        for (int64_t e = 0; e < m2s_shape_elements(shape); e++) {
            double u = check_random(&state);
            u = kind == 'n' ? u * 0.5 + 0.5 : kind == 'l' ? u * 6.0 : kind == 'V' ? 1.0 + 0.5 * u : u * scale;
            r->in[i].data[e] = (double)(float)u;
        }
    }
    r->expected = naive_op(r->c->op, r->in, r->in_count, &r->c->attrs);
    r->largest = 1.0; /* the size of the inputs: what is summed is no smaller even where sums vanish */
    for (int64_t e = 0; e < m2s_shape_elements(r->expected.shape); e++) {
        r->largest = fmax(r->largest, fabs(r->expected.data[e]));
    }
}

static void release(row *r)
{
    for (int i = 0; i < M2S_MAX_IN; i++) {
        naive_free(&r->in[i]);
    }
    naive_free(&r->expected);
    free(r->oracle);
}

/* A constant cannot leave every backend's plan: it is read through a convolution of images with a single 1, one for
 * each tap, whose results are the weights themselves, exactly. */
static m2s_value through_convolution(m2s_graph *graph, m2s_value weights, m2s_value *taps)
{
    m2s_shape shape = m2s_shape_of(graph, weights);

    *taps = m2s_graph_input(graph, "taps", (m2s_shape)A(shape.i * shape.kh * shape.kw, shape.kh, shape.kw, shape.i));
    return m2s_conv2d(graph, *taps, weights, M2S_NONE, (m2s_conv){ .stride = 1 });
}

static m2snet_status build(const row *r, harness *h, m2snet_dtype dtype, m2s_graph **built, harness_numbers *numbers,
                           m2s_value *result, m2snet_error *error)
{
    m2s_value in[M2S_MAX_IN], taps = M2S_NONE;
    m2s_graph *graph;
    m2snet_status status;

    M2S_TRY(m2s_graph_create(&h->memory, dtype, &graph, error));
    for (int i = 0; i < r->in_count; i++) {
        char name[16];
        snprintf(name, sizeof name, "in%d", i);
        in[i] = r->c->in[i].n == 0                   ? M2S_NONE
                : is_param(input_kinds[r->c->op][i]) ? m2s_graph_param(graph, name, r->c->in[i])
                                                     : m2s_graph_input(graph, name, r->c->in[i]);
    }
    *result = m2s_graph_name(graph, m2s_graph_node(graph, r->c->op, in, r->in_count, &r->c->attrs), "result");
    if (r->constant && *result != M2S_NONE) {
        *result = through_convolution(graph, *result, &taps);
    }
    m2s_graph_mark_output(graph, *result);
    status = m2s_graph_finish(graph, error);
    if (status != M2SNET_STATUS_OK) {
        m2s_graph_destroy(graph);
        return status;
    }
    for (int i = 0; i < r->in_count; i++) {
        if (in[i] != M2S_NONE) {
            memcpy(harness_numbers_of(numbers, graph, in[i]), r->in[i].data,
                   harness_elements(graph, in[i]) * sizeof(double));
        }
    }
    if (taps != M2S_NONE) {
        m2s_shape s = m2s_shape_of(graph, taps);
        double *data = harness_numbers_of(numbers, graph, taps);
        for (int64_t t = 0; t < s.n; t++) { /* tap t is (i, ky, kx) of the weights, row-major */
            data[(t * s.h * s.w + t % (s.h * s.w)) * s.c + t / (s.h * s.w)] = 1.0;
        }
    }
    *built = graph;
fail:
    return status;
}

/* Element e of the expected result, in the order of the graph's result. */
static double expected_at(const row *r, size_t e)
{
    if (!r->constant) {
        return r->expected.data[e];
    }
    size_t outputs = (size_t)r->expected.shape.o, each = (size_t)m2s_shape_elements(r->expected.shape) / outputs;
    return r->expected.data[e % outputs * each + e / outputs];
}

/* ---- a row on a backend ---- */

/* How many of harness_threads: one where a module does not run on threads. */
static int pool_count = HARNESS_POOLS;

typedef struct variant {
    const m2s_backend *backend;
    m2s_isa isa;
    m2snet_dtype dtype;
    const char *name;
} variant;

/* Rounding of K summands walks like sqrt(K) ulps of the partial sums, which are no larger than the largest result up
 * to a small factor; twice that, and a few roundings more for what surrounds the sum, is far from chance and two
 * orders of magnitude below the loss of a single summand. The reference sums in double, so in F32 only what it stores
 * is rounded. */
static double tolerance(const row *r, const variant *v)
{
    double ulps = 4.0 + 2.0 * sqrt(r->summands);

    if (v->dtype == M2SNET_DTYPE_F64) {
        /* Two ways to write a source coordinate differ by an ulp of the coordinate, not of its fraction. */
        if (r->c->op == M2S_OP_resize || r->c->op == M2S_OP_multi_scale_subtract) {
            ulps += 2.0 * (double)(r->c->in[0].h + r->c->in[0].w);
        }
        return DBL_EPSILON * ulps * r->largest;
    }
    return (double)FLT_EPSILON * (v->backend == m2s_backend_ref() ? 4.0 : ulps) * r->largest;
}

static void check_against(const row *r, const variant *v, const double *actual, size_t count)
{
    double limit = tolerance(r, v), worst = -1.0;
    size_t at = 0;

    for (size_t e = 0; e < count; e++) {
        double expected = v->dtype == M2SNET_DTYPE_F64 || r->oracle == NULL ? expected_at(r, e) : r->oracle[e];
        double error = fabs(actual[e] - expected);
        if (!(error <= worst)) { /* a NaN is the worst */
            worst = error;
            at = e;
            if (isnan(error)) {
                break;
            }
        }
    }
    CHECK(worst <= limit, "element %zu of %zu is %.9g, expected %.9g: off by %.3g, allowed %.3g", at, count, actual[at],
          expected_at(r, at), worst, limit);
}

static void run_variant(harness *h, row *r, const variant *v)
{
    harness_numbers numbers = { 0 };
    m2s_graph *graph = NULL;
    m2s_value result;
    m2snet_error error;
    unsigned char *first = NULL;

    prepare(r);
    if (!CHECK(build(r, h, v->dtype, &graph, &numbers, &result, &error) == M2SNET_STATUS_OK, "%s", error.message)) {
        return;
    }
    size_t count = harness_elements(graph, result), bytes = harness_bytes(graph, result);
    CHECK(count == (size_t)m2s_shape_elements(r->expected.shape), "%zu elements, expected %" PRId64, count,
          m2s_shape_elements(r->expected.shape));
    for (int i = 0; i < 4 && !r->constant; i++) {
        CHECK(m2s_shape_of(graph, result).d[i] == r->expected.shape.d[i], "axis %d is %" PRId64 ", expected %" PRId64,
              i, m2s_shape_of(graph, result).d[i], r->expected.shape.d[i]);
    }
    for (int pool = 0; pool < pool_count; pool++) {
        harness_request request = { .backend = v->backend,
                                    .isa = v->isa,
                                    .pool = h->pools[pool],
                                    .graph = graph,
                                    .runs = pool == 0 ? HARNESS_RUNS : 1 };
        m2snet_status status = harness_run(h, &request, &numbers, &error);
        if (!CHECK(status == M2SNET_STATUS_OK, "%s", error.message)) {
            break;
        }
        if (pool == 0) {
            check_against(r, v, numbers.of[result], count);
            first = malloc(bytes);
            memcpy(first, numbers.raw[result], bytes);
        } else {
            CHECK(memcmp(first, numbers.raw[result], bytes) == 0, "%d threads give other bits than one",
                  harness_threads[pool]);
        }
    }
    if (v->backend == m2s_backend_ref() && v->dtype == M2SNET_DTYPE_F64 && numbers.raw[result] != NULL) {
        r->oracle = malloc(count * sizeof(double));
        memcpy(r->oracle, numbers.of[result], count * sizeof(double));
    }
    free(first);
    harness_numbers_free(&numbers);
    m2s_graph_destroy(graph);
}

static void run_row(harness *h, const op_case *c, const variant *variants, int variant_count)
{
    row r;

    describe(&r, c);
    for (int i = 0; i < variant_count; i++) {
        if (check_case("%s: %s", r.name, variants[i].name)) {
            run_variant(h, &r, &variants[i]);
        }
    }
    release(&r);
}

/* ---- known values ---- */

static void run_known(harness *h, const char *what, const op_case *c, const double *input, const double *expected)
{
    const variant ref = { m2s_backend_ref(), M2S_ISA_BASELINE, M2SNET_DTYPE_F64, "ref F64" };
    row r;

    describe(&r, c);
    if (check_case("known %s", what)) {
        harness_numbers numbers = { 0 };
        m2s_graph *graph;
        m2s_value result;
        m2snet_error error;
        prepare(&r);
        memcpy(r.in[0].data, input, (size_t)m2s_shape_elements(c->in[0]) * sizeof(double));
        for (int64_t e = 0; c->in[1].n != 0 && e < m2s_shape_elements(c->in[1]); e++) {
            r.in[1].data[e] = (double)(e + 1);
        }
        if (CHECK(build(&r, h, ref.dtype, &graph, &numbers, &result, &error) == M2SNET_STATUS_OK, "%s",
                  error.message)) {
            harness_request request = { .backend = ref.backend, .pool = h->pools[0], .graph = graph, .runs = 1 };
            CHECK(harness_run(h, &request, &numbers, &error) == M2SNET_STATUS_OK, "%s", error.message);
            CHECK_NEAR_F64(numbers.of[result], expected, harness_elements(graph, result), 1e-15, 1e-15, what);
            harness_numbers_free(&numbers);
            m2s_graph_destroy(graph);
        }
    }
    release(&r);
}

static void known_values(harness *h)
{
    static const double ones[9] = { 1, 1, 1, 1, 1, 1, 1, 1, 1 }, ramp[9] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 };

    /* a map of ones, always divided by 9: 4/9 in the corner, 6/9 along the edge */
    run_known(h, "average of a corner is 4/9",
              &(op_case){ M2S_OP_avg_pool, { POOL(3, 1, 1), .count_include_pad = 1 }, { A(1, 3, 3, 1) } }, ones,
              (const double[]){ 4.0 / 9, 6.0 / 9, 4.0 / 9, 6.0 / 9, 1, 6.0 / 9, 4.0 / 9, 6.0 / 9, 4.0 / 9 });
    run_known(h, "partial windows are divided by what they hold",
              &(op_case){ M2S_OP_avg_pool, { POOL(2, 2, 0), .ceil_mode = 1 }, { A(1, 3, 3, 1) } }, ramp,
              (const double[]){ 3, 4.5, 7.5, 9 });
    run_known(h, "maximum, padded with minus infinity",
              &(op_case){ M2S_OP_max_pool, { POOL(3, 2, 1) }, { A(1, 3, 3, 1) } },
              (const double[]){ -1, -2, -3, -4, -5, -6, -7, -8, -9 }, (const double[]){ -1, -2, -4, -5 });
    /* weights 1 2 3 4 over a 3x3 ramp */
    run_known(h, "cross-correlation, not convolution",
              &(op_case){ M2S_OP_conv2d, { CONV(1, 0, 1, 1) }, { A(1, 3, 3, 1), W(1, 1, 2, 2) } }, ramp,
              (const double[]){ 1 + 4 + 12 + 20, 2 + 6 + 15 + 24, 4 + 10 + 21 + 32, 5 + 12 + 24 + 36 });
    run_known(h, "resize by 2 has the weights 1/4 and 3/4",
              &(op_case){ M2S_OP_resize, { .h = 1, .w = 4 }, { A(1, 1, 2, 1) } }, (const double[]){ 0, 8 },
              (const double[]){ 0, 2, 6, 8 });
    run_known(h, "the filter sums all channels and the window",
              &(op_case){ M2S_OP_full_filter, { .kernel = 3 }, { A(1, 2, 2, 2) } },
              (const double[]){ 1, 10, 2, 20, 3, 30, 4, 40 },
              (const double[]){ 110, 110, 110, 110, 110, 110, 110, 110 });
    run_known(h, "the filter ends at the border", &(op_case){ M2S_OP_full_filter, { .kernel = 3 }, { A(1, 1, 3, 1) } },
              ramp, (const double[]){ 3, 6, 5 });
    /* sigma 0.8: exp(-1/1.28) = 0.45783336177161427 on both sides of 1 */
    run_known(h, "the Gaussian of 3 has sigma 0.8",
              &(op_case){ M2S_OP_box_filter, { .kernel = 3, .gaussian = 1 }, { A(1, 1, 3, 1) } },
              (const double[]){ 0, 1, 0 },
              (const double[]){ 0.45783336177161427 / (1.9156667235432285 * 1.9156667235432285),
                                1.0 / (1.9156667235432285 * 1.9156667235432285),
                                0.45783336177161427 / (1.9156667235432285 * 1.9156667235432285) });
}

/* Every stride-2 step of the encoder gives ceil(n / 2). */
static void sizes(harness *h)
{
    if (!check_case("sizes: stride 2 gives ceil(n / 2)")) {
        return;
    }
    for (int64_t n = 1; n <= 67; n++) {
        m2snet_error error;
        m2s_graph *graph;
        if (!CHECK(m2s_graph_create(&h->memory, M2SNET_DTYPE_F32, &graph, &error) == M2SNET_STATUS_OK, "%s",
                   error.message)) {
            return;
        }
        m2s_value src = m2s_graph_input(graph, "src", (m2s_shape)A(1, n, n, 4));
        m2s_value weights = m2s_graph_param(graph, "weights", (m2s_shape)W(4, 4, 3, 3));
        const m2s_value made[] = { m2s_conv2d(graph, src, weights, M2S_NONE, (m2s_conv){ .stride = 2, .pad = 1 }),
                                   m2s_max_pool(graph, src, 3, 2, 1), m2s_avg_pool(graph, src, 3, 2, 1, true, false),
                                   m2s_avg_pool(graph, src, 2, 2, 0, false, true) };
        if (CHECK(m2s_graph_finish(graph, &error) == M2SNET_STATUS_OK, "%s", error.message)) {
            for (size_t i = 0; i < COUNT(made); i++) {
                CHECK(m2s_shape_of(graph, made[i]).h == (n + 1) / 2 && m2s_shape_of(graph, made[i]).w == (n + 1) / 2,
                      "operation %zu makes %" PRId64 " of %" PRId64, i, m2s_shape_of(graph, made[i]).h, n);
            }
        }
        m2s_graph_destroy(graph);
    }
}

static void coverage(void)
{
    if (!check_case("every operation has rows")) {
        return;
    }
    for (int op = 0; op < M2S_OP_COUNT; op++) {
        int rows = 0;
        for (size_t i = 0; i < COUNT(table); i++) {
            rows += (int)table[i].op == op;
        }
        CHECK(rows > 0 || !is_inference_op((m2s_op)op), "%s has no row", m2s_op_get_info((m2s_op)op)->name);
        CHECK(m2s_ref_get_kernel((m2s_op)op, M2SNET_DTYPE_F32) != NULL, "%s has no F32 kernel",
              m2s_op_get_info((m2s_op)op)->name);
        CHECK(m2s_ref_get_kernel((m2s_op)op, M2SNET_DTYPE_F64) != NULL, "%s has no F64 kernel",
              m2s_op_get_info((m2s_op)op)->name);
    }
}

int main(int argc, char **argv)
{
    m2s_isa lowest = M2S_ISA_BASELINE, highest = m2s_isa_detect();
    variant variants[2 + M2S_ISA_COUNT] = {
        { m2s_backend_ref(), M2S_ISA_BASELINE, M2SNET_DTYPE_F64, "ref F64" },
        { m2s_backend_ref(), M2S_ISA_BASELINE, M2SNET_DTYPE_F32, "ref F32" },
    };
    static const char *const cpu_names[M2S_ISA_COUNT] = { "cpu baseline F32", "cpu avx2 F32", "cpu avx512 F32" };
    const m2s_backend *module = module_option(&argc, &argv);
    int variant_count = 2;
    harness h;

    if (argc > 2 && strcmp(argv[1], "--isa") == 0) {
        if (!m2s_isa_parse(argv[2], &lowest) || lowest > highest) {
            fprintf(stderr, "--isa %s: unknown, or not on this processor\n", argv[2]);
            return 2;
        }
        highest = lowest;
        argv += 2;
        argc -= 2;
    }
    check_start(argc, argv);
    if (module != NULL) {
        variants[1] = (variant){ module, M2S_ISA_BASELINE, M2SNET_DTYPE_F32, "module F32" };
        pool_count = 1;
    }
    for (int isa = (int)lowest; isa <= (int)highest && module == NULL; isa++) {
        variants[variant_count++] = (variant){ m2s_backend_cpu(), (m2s_isa)isa, M2SNET_DTYPE_F32, cpu_names[isa] };
    }
    if (!harness_open(&h)) {
        return check_finish();
    }
    coverage();
    sizes(&h);
    known_values(&h);
    if (module != NULL) { /* it is for constants, and what is not one has no kernel */
        module_check_refusal(module, &h, M2S_OP_fold_scale, (m2s_shape[M2S_MAX_IN]){ V(13), V(13) },
                             &(m2s_attrs){ .epsilon = 1e-5 });
    }
    for (size_t i = 0; i < COUNT(table); i++) {
        run_row(&h, &table[i], variants, variant_count);
    }
    for (size_t o = 0; o < COUNT(drawn_ops); o++) {
        unsigned long long state = 1000 + o;
        for (int drawn = 0; drawn < DRAWN_PER_OP;) {
            op_case c;
            if (draw_case(drawn_ops[o], &state, &c)) {
                run_row(&h, &c, variants, variant_count);
                drawn++;
            }
        }
    }
    check_case("nothing leaks");
    harness_close(&h);
    return check_finish();
}
