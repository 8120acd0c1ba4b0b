/* SPDX-License-Identifier: Apache-2.0
 * Rows for every operation that only training has. Each is a graph of that one operation, all of its results outputs,
 * run on every backend and instruction set and compared with an oracle:
 *
 *   ref F64   with naive_train.h, the definitions written a second time in another form
 *   ref F32   with ref F64
 *   cpu F32   with ref F64
 *
 * on 1, 2, 3 and 5 threads, and on one twice, with the same bits every time. Updates are run in place (their first
 * inputs are state that the results replace) and not (results are outputs of their own). */
#include <float.h>
#include <inttypes.h>
#include <math.h>

#include "backends/ref/ref.h"
#include "core/half.h"
#include "ops/harness.h"
#include "ops/inference_ops.h"
#include "ops/module.h"
#include "ops/naive_train.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

typedef struct train_case {
    m2s_op op;
    m2s_attrs attrs;
    /* What the inputs are:
     *   a in [-1, 1)   n in [0, 1)   v in [0.5, 1.5)   w in [1, 6)   l in [-4, 4)   p in [0.05, 0.95)   b 0 or 1
     *   t one of 0, 1/2, 1 (ties)   0 and 1 themselves   ? a NaN
     *   e, q running mean and variance of a filter's sums over c channels
     *   #, % the unit's statistics and planes, from its other inputs   . absent */
    const char *kinds;
    m2s_shape in[M2S_MAX_IN];
} train_case;

/* clang-format off */
#define A(n_, h_, w_, c_)   { .d = { n_, h_, w_, c_ } }
#define W(o_, i_, kh_, kw_) { .d = { o_, i_, kh_, kw_ } }
#define V(o_)               { .d = { o_, 1, 1, 1 } }
#define ONE                 V(1)
#define NONE                { .d = { 0, 0, 0, 0 } }
#define CONV(s, p, dil, g)  .stride = s, .pad = p, .dilation = dil, .groups = g
#define POOL(k, s, p)       .kernel = k, .stride = s, .pad = p
#define NORM(c)             V(c), V(c), V(c), V(c)
#define WINDOWS(k, s, g)    .kernel = k, .begin = s, .groups = g, .alpha = 0.25
#define RGB                 .mean = { 0.485, 0.456, 0.406 }, .std = { 0.229, 0.224, 0.225 }

static const train_case table[] = {
    { M2S_OP_conv2d_grad_src, { CONV(1, 0, 1, 1), .h = 1, .w = 1 }, "aa", { A(1, 1, 1, 1), W(1, 1, 1, 1) } },
    { M2S_OP_conv2d_grad_src, { CONV(1, 1, 1, 1), .h = 1, .w = 1 }, "aa", { A(2, 1, 1, 5), W(5, 3, 3, 3) } },
    { M2S_OP_conv2d_grad_src, { CONV(1, 1, 1, 1), .h = 7, .w = 6 }, "aa", { A(2, 7, 6, 26), W(26, 13, 3, 3) } },
    { M2S_OP_conv2d_grad_src, { CONV(2, 1, 1, 1), .h = 8, .w = 9 }, "aa", { A(1, 4, 5, 17), W(17, 18, 3, 3) } },
    { M2S_OP_conv2d_grad_src, { CONV(2, 1, 1, 1), .h = 7, .w = 8 }, "aa", { A(1, 4, 4, 52), W(52, 52, 3, 3) } },
    { M2S_OP_conv2d_grad_src, { CONV(2, 1, 1, 1), .h = 21, .w = 19 }, "aa", { A(2, 11, 10, 32), W(32, 3, 3, 3) } },
    { M2S_OP_conv2d_grad_src, { CONV(2, 0, 1, 1), .h = 9, .w = 8 }, "aa", { A(1, 5, 4, 13), W(13, 13, 1, 1) } },
    { M2S_OP_conv2d_grad_src, { CONV(3, 2, 1, 1), .h = 11, .w = 10 }, "aa", { A(1, 5, 4, 9), W(9, 8, 3, 3) } },
    { M2S_OP_conv2d_grad_src, { CONV(4, 0, 1, 1), .h = 16, .w = 19 }, "aa", { A(1, 4, 4, 16), W(16, 3, 4, 4) } },
    { M2S_OP_conv2d_grad_src, { CONV(2, 3, 3, 1), .h = 12, .w = 9 }, "aa", { A(1, 6, 5, 6), W(6, 5, 3, 3) } },
    { M2S_OP_conv2d_grad_src, { CONV(1, 2, 2, 1), .h = 9, .w = 11 }, "aa", { A(1, 9, 11, 26), W(26, 26, 3, 3) } },
    { M2S_OP_conv2d_grad_src, { CONV(1, 1, 1, 4), .h = 5, .w = 5 }, "aa", { A(2, 5, 5, 8), W(8, 3, 3, 3) } },
    { M2S_OP_conv2d_grad_src, { CONV(2, 3, 1, 64), .h = 9, .w = 10 }, "aa", { A(1, 5, 5, 64), W(64, 1, 7, 7) } },
    { M2S_OP_conv2d_grad_src, { CONV(1, 3, 1, 96), .h = 15, .w = 23 }, "aa", { A(2, 15, 23, 96), W(96, 1, 7, 7) } },
    { M2S_OP_conv2d_grad_src, { CONV(1, 0, 1, 33), .h = 5, .w = 29 }, "aa", { A(1, 3, 27, 33), W(33, 1, 3, 3) } },
    { M2S_OP_conv2d_grad_src, { CONV(1, 3, 1, 17), .h = 3, .w = 2 }, "aa", { A(1, 7, 6, 17), W(17, 1, 3, 3) } },
    { M2S_OP_conv2d_grad_src, { CONV(1, 0, 1, 1), .h = 6, .w = 7 }, "aa", { A(1, 6, 5, 7), W(7, 13, 1, 3) } },
    { M2S_OP_conv2d_grad_src, { CONV(1, 0, 1, 1), .h = 4, .w = 4 }, "aa", { A(1, 4, 4, 300), W(300, 33, 1, 1) } },
    { M2S_OP_conv2d_grad_weights, { CONV(1, 0, 1, 1), .kernel = 1 }, "aa", { A(1, 1, 1, 1), A(1, 1, 1, 1) } },
    { M2S_OP_conv2d_grad_weights, { CONV(1, 1, 1, 1), .kernel = 3 }, "aa", { A(2, 1, 1, 3), A(2, 1, 1, 5) } },
    { M2S_OP_conv2d_grad_weights, { CONV(1, 1, 1, 1), .kernel = 3 }, "aa", { A(2, 13, 12, 33), A(2, 13, 12, 17) } },
    { M2S_OP_conv2d_grad_weights, { CONV(1, 1, 1, 1), .kernel = 3 }, "aa", { A(1, 9, 8, 64), A(1, 9, 8, 64) } },
    { M2S_OP_conv2d_grad_weights, { CONV(2, 1, 1, 1), .kernel = 3 }, "aa", { A(1, 8, 9, 18), A(1, 4, 5, 17) } },
    { M2S_OP_conv2d_grad_weights, { CONV(2, 1, 1, 1), .kernel = 3 }, "aa", { A(2, 21, 19, 3), A(2, 11, 10, 32) } },
    { M2S_OP_conv2d_grad_weights, { CONV(2, 0, 1, 1), .kernel = 1 }, "aa", { A(1, 9, 8, 13), A(1, 5, 4, 13) } },
    { M2S_OP_conv2d_grad_weights, { CONV(1, 0, 1, 1), .kernel = 1 }, "aa", { A(1, 6, 7, 208), A(1, 6, 7, 64) } },
    { M2S_OP_conv2d_grad_weights, { CONV(2, 3, 3, 1), .kernel = 3 }, "aa", { A(1, 12, 9, 5), A(1, 6, 5, 6) } },
    { M2S_OP_conv2d_grad_weights, { CONV(1, 2, 2, 1), .kernel = 3 }, "aa", { A(1, 9, 11, 26), A(1, 9, 11, 26) } },
    { M2S_OP_conv2d_grad_weights, { CONV(1, 3, 1, 1), .kernel = 3 }, "aa", { A(1, 2, 2, 3), A(1, 6, 6, 4) } },
    { M2S_OP_conv2d_grad_weights, { CONV(1, 1, 1, 4), .kernel = 3 }, "aa", { A(2, 5, 5, 12), A(2, 5, 5, 8) } },
    { M2S_OP_conv2d_grad_weights, { CONV(2, 3, 1, 64), .kernel = 7 }, "aa", { A(1, 9, 10, 64), A(1, 5, 5, 64) } },
    { M2S_OP_conv2d_grad_weights, { CONV(1, 3, 1, 96), .kernel = 7 }, "aa", { A(2, 15, 23, 96), A(2, 15, 23, 96) } },
    { M2S_OP_conv2d_grad_weights, { CONV(1, 3, 1, 33), .kernel = 7 }, "aa", { A(3, 4, 3, 33), A(3, 4, 3, 33) } },
    { M2S_OP_conv2d_grad_weights, { CONV(1, 1, 1, 40), .kernel = 3 }, "aa", { A(1, 9, 29, 40), A(1, 9, 29, 40) } },
    { M2S_OP_conv2d_grad_weights, { CONV(1, 4, 2, 16), .kernel = 5 }, "aa", { A(1, 9, 30, 16), A(1, 9, 30, 16) } },
    { M2S_OP_transpose_weights, { 0 }, "a", { W(1, 1, 1, 1) } },
    { M2S_OP_transpose_weights, { 0 }, "a", { W(13, 26, 3, 3) } },
    { M2S_OP_transpose_weights, { 0 }, "a", { W(5, 3, 2, 7) } },
    { M2S_OP_transpose_weights, { 0 }, "a", { W(104, 64, 1, 1) } },

    { M2S_OP_batch_norm_train, { .epsilon = 1e-5 }, "aaaav", { A(1, 1, 1, 1), NORM(1) } },
    { M2S_OP_batch_norm_train, { .epsilon = 1e-5 }, "aaaav", { A(2, 5, 7, 13), NORM(13) } },
    { M2S_OP_batch_norm_train, { .epsilon = 1e-5, .relu = 1 }, "aaaav", { A(1, 17, 11, 64), NORM(64) } },
    { M2S_OP_batch_norm_train, { .epsilon = 0.5, .relu = 1 }, "naaav", { A(3, 2, 2, 208), NORM(208) } },
    { M2S_OP_batch_norm_train, { .epsilon = 1e-5 }, "waaav", { A(1, 1, 33, 17), NORM(17) } },
    { M2S_OP_batch_norm_grad, { .epsilon = 1e-5 }, "aaaaav", { A(1, 1, 1, 1), A(1, 1, 1, 1), NORM(1) } },
    { M2S_OP_batch_norm_grad, { .epsilon = 1e-5 }, "aaaaav", { A(2, 5, 7, 13), A(2, 5, 7, 13), NORM(13) } },
    { M2S_OP_batch_norm_grad, { .epsilon = 1e-5, .relu = 1 }, "aaaaav", { A(1, 17, 11, 64), A(1, 17, 11, 64), NORM(64) } },
    { M2S_OP_batch_norm_grad, { .epsilon = 0.5, .relu = 1, .frozen = 1 }, "aaaaav", { A(2, 3, 4, 17), A(2, 3, 4, 17), NORM(17) } },
    { M2S_OP_batch_norm_grad, { .epsilon = 1e-5, .frozen = 1 }, "aaaaav", { A(3, 2, 2, 33), A(3, 2, 2, 33), NORM(33) } },
    { M2S_OP_layer_norm_grad, { .epsilon = 1e-6 }, "aaa", { A(1, 1, 1, 1), A(1, 1, 1, 1), V(1) } },
    { M2S_OP_layer_norm_grad, { .epsilon = 1e-6 }, "aaa", { A(2, 5, 7, 13), A(2, 5, 7, 13), V(13) } },
    { M2S_OP_layer_norm_grad, { .epsilon = 1e-6 }, "aaa", { A(1, 23, 19, 96), A(1, 23, 19, 96), V(96) } },
    { M2S_OP_layer_norm_grad, { .epsilon = 1e-5 }, "awv", { A(3, 1, 5, 33), A(3, 1, 5, 33), V(33) } },
    { M2S_OP_layer_norm_grad, { .epsilon = 0.5 }, "aaa", { A(1, 3, 1, 1030), A(1, 3, 1, 1030), V(1030) } },
    { M2S_OP_sum_pixels, { 0 }, "a", { A(1, 1, 1, 1) } },
    { M2S_OP_sum_pixels, { 0 }, "a", { A(2, 5, 7, 13) } },
    { M2S_OP_sum_pixels, { 0 }, "a", { A(1, 23, 29, 64) } },

    { M2S_OP_relu_grad, { 0 }, "aa", { A(1, 1, 1, 1), A(1, 1, 1, 1) } },
    { M2S_OP_relu_grad, { 0 }, "at", { A(2, 5, 7, 13), A(2, 5, 7, 13) } },
    { M2S_OP_relu_grad, { 0 }, "aa", { A(1, 23, 29, 64), A(1, 23, 29, 64) } },
    { M2S_OP_abs_diff_grad, { 0 }, "aaa", { A(1, 1, 1, 1), A(1, 1, 1, 1), A(1, 1, 1, 1) } },
    { M2S_OP_abs_diff_grad, { 0 }, "att", { A(2, 5, 7, 13), A(2, 5, 7, 13), A(2, 5, 7, 13) } },
    { M2S_OP_abs_diff_grad, { 0 }, "aaa", { A(1, 20, 21, 64), A(1, 20, 21, 64), A(1, 20, 21, 64) } },
    { M2S_OP_pad_c, { .begin = 0, .count = 1 }, "a", { A(1, 1, 1, 1) } },
    { M2S_OP_pad_c, { .begin = 26, .count = 104 }, "a", { A(2, 5, 7, 26) } },
    { M2S_OP_pad_c, { .begin = 3, .count = 68 }, "a", { A(1, 22, 21, 64) } },
    { M2S_OP_scale, { .alpha = -0.3 }, "a", { A(2, 5, 7, 13) } },
    { M2S_OP_scale, { .alpha = 1e3 }, "a", { A(1, 1, 1, 1) } },
    { M2S_OP_multiply, { 0 }, "aa", { A(2, 5, 7, 13), A(2, 5, 7, 13) } },
    { M2S_OP_multiply, { 0 }, "aa", { A(1, 1, 1, 1), A(1, 1, 1, 1) } },
    { M2S_OP_sigmoid, { 0 }, "l", { A(1, 1, 1, 1) } },
    { M2S_OP_sigmoid, { 0 }, "l", { A(2, 33, 31, 13) } },
    { M2S_OP_sigmoid_grad, { 0 }, "ap", { A(1, 1, 1, 1), A(1, 1, 1, 1) } },
    { M2S_OP_sigmoid_grad, { 0 }, "ap", { A(2, 5, 7, 13), A(2, 5, 7, 13) } },
    { M2S_OP_gelu_grad, { 0 }, "al", { A(1, 1, 1, 1), A(1, 1, 1, 1) } },
    { M2S_OP_gelu_grad, { 0 }, "al", { A(2, 33, 31, 13), A(2, 33, 31, 13) } },
    { M2S_OP_scale_c_grad, { 0 }, "aaa", { A(1, 1, 1, 1), A(1, 1, 1, 1), V(1) } },
    { M2S_OP_scale_c_grad, { 0 }, "aaa", { A(2, 5, 7, 13), A(2, 5, 7, 13), V(13) } },
    { M2S_OP_scale_c_grad, { 0 }, "aaa", { A(1, 43, 39, 96), A(1, 43, 39, 96), V(96) } },
    { M2S_OP_drop_path, { .alpha = 0.5, .begin = 3 }, "aw", { A(13, 5, 7, 17), ONE } },
    { M2S_OP_drop_path, { .alpha = 0.25 }, "aw", { A(1, 1, 1, 1), ONE } },
    { M2S_OP_drop_path, { .alpha = 0.0, .begin = 1 }, "aw", { A(2, 43, 39, 32), ONE } },
    { M2S_OP_softmax_c, { 0 }, "l", { A(1, 1, 1, 1) } },
    { M2S_OP_softmax_c, { 0 }, "l", { A(2, 5, 7, 4) } },
    { M2S_OP_softmax_c, { 0 }, "l", { A(1, 9, 8, 17) } },
    { M2S_OP_softmax_c_grad, { 0 }, "ap", { A(1, 1, 1, 1), A(1, 1, 1, 1) } },
    { M2S_OP_softmax_c_grad, { 0 }, "ap", { A(2, 5, 7, 4), A(2, 5, 7, 4) } },

    { M2S_OP_max_pool_grad, { POOL(3, 2, 1) }, "at", { A(1, 8, 8, 64), A(1, 16, 16, 64) } },
    { M2S_OP_max_pool_grad, { POOL(3, 2, 1) }, "aa", { A(2, 6, 4, 13), A(2, 11, 8, 13) } },
    { M2S_OP_max_pool_grad, { POOL(3, 2, 1) }, "aa", { A(1, 1, 1, 3), A(1, 1, 1, 3) } },
    { M2S_OP_max_pool_grad, { POOL(3, 2, 1) }, "at", { A(1, 1, 5, 26), A(1, 1, 9, 26) } },
    { M2S_OP_max_pool_grad, { POOL(2, 2, 0) }, "at", { A(1, 3, 4, 5), A(1, 7, 9, 5) } },
    { M2S_OP_max_pool_grad, { POOL(5, 1, 2) }, "at", { A(1, 3, 4, 8), A(1, 3, 4, 8) } },
    { M2S_OP_max_pool_grad, { POOL(2, 2, 0), .ceil_mode = 1 }, "at", { A(1, 4, 4, 5), A(1, 7, 8, 5) } },
    { M2S_OP_avg_pool_grad, { POOL(3, 1, 1), .count_include_pad = 1, .h = 8, .w = 9 }, "a", { A(1, 8, 9, 26) } },
    { M2S_OP_avg_pool_grad, { POOL(3, 2, 1), .count_include_pad = 1, .h = 9, .w = 8 }, "a", { A(2, 5, 4, 52) } },
    { M2S_OP_avg_pool_grad, { POOL(3, 2, 1), .count_include_pad = 1, .h = 1, .w = 1 }, "a", { A(1, 1, 1, 17) } },
    { M2S_OP_avg_pool_grad, { POOL(3, 2, 1), .h = 11, .w = 11 }, "a", { A(1, 6, 6, 13) } },
    { M2S_OP_avg_pool_grad, { POOL(2, 2, 0), .ceil_mode = 1, .h = 11, .w = 8 }, "a", { A(1, 6, 4, 64) } },
    { M2S_OP_avg_pool_grad, { POOL(2, 2, 0), .ceil_mode = 1, .h = 1, .w = 7 }, "a", { A(1, 1, 4, 3) } },
    { M2S_OP_avg_pool_grad, { POOL(3, 3, 1), .ceil_mode = 1, .h = 8, .w = 9 }, "a", { A(1, 3, 4, 5) } },
    { M2S_OP_avg_pool_grad, { POOL(1, 1, 0), .h = 5, .w = 4 }, "a", { A(1, 5, 4, 64) } },
    { M2S_OP_resize_grad, { .h = 4, .w = 6 }, "a", { A(2, 8, 12, 64) } },
    { M2S_OP_resize_grad, { .h = 4, .w = 6 }, "a", { A(1, 16, 24, 1) } },
    { M2S_OP_resize_grad, { .h = 11, .w = 22 }, "a", { A(1, 23, 45, 17) } },
    { M2S_OP_resize_grad, { .h = 45, .w = 4 }, "a", { A(1, 89, 7, 3) } },
    { M2S_OP_resize_grad, { .h = 1, .w = 1 }, "a", { A(1, 5, 3, 26) } },
    { M2S_OP_resize_grad, { .h = 7, .w = 9 }, "a", { A(1, 1, 1, 5) } },
    { M2S_OP_resize_grad, { .h = 12, .w = 7 }, "a", { A(1, 5, 20, 8) } },
    { M2S_OP_resize_grad, { .h = 5, .w = 6 }, "a", { A(1, 5, 6, 3) } },

    { M2S_OP_multi_scale_subtract_train, { .scales = 1, .scale = { 3 }, .epsilon = 1e-5 }, "nnvaav",
      { A(2, 3, 4, 17), A(2, 6, 8, 17), NORM(17) } },
    { M2S_OP_multi_scale_subtract_train, { .scales = 2, .scale = { 3, 5 }, .epsilon = 1e-5 }, "nnvaavvaav",
      { A(2, 5, 5, 64), A(2, 10, 10, 64), NORM(64), NORM(64) } },
    { M2S_OP_multi_scale_subtract_train, { .scales = 2, .scale = { 3, 5 }, .epsilon = 1e-5 }, "nnvaavvaav",
      { A(1, 9, 8, 13), A(1, 9, 8, 13), NORM(13), NORM(13) } },
    { M2S_OP_multi_scale_subtract_train, { .scales = 2, .scale = { 3, 5 }, .epsilon = 1e-5 }, "nnvaavvaav",
      { A(1, 1, 4, 3), A(1, 1, 7, 3), NORM(3), NORM(3) } },
    { M2S_OP_multi_scale_subtract_train, { .scales = 2, .scale = { 3, 5 }, .epsilon = 1e-5 }, "nnvaavvaav",
      { A(1, 1, 1, 1), A(1, 1, 1, 1), NORM(1), NORM(1) } },
    { M2S_OP_multi_scale_subtract_train, { .scales = 2, .scale = { 3, 5 }, .gaussian = 1, .epsilon = 1e-5 }, "nnvaavvaav",
      { A(1, 4, 3, 5), A(1, 7, 6, 5), NORM(5), NORM(5) } },
    { M2S_OP_multi_scale_subtract_train, { .scales = 2, .scale = { 3, 5 }, .gaussian = 1, .alpha = 2.0, .epsilon = 1e-5 },
      "nnvaavvaav", { A(1, 4, 3, 5), A(1, 7, 6, 5), NORM(5), NORM(5) } },
    { M2S_OP_multi_scale_subtract_train, { .scales = 2, .scale = { 3, 5 }, .frozen = 1, .epsilon = 1e-5 }, "nnvaeqvaeq",
      { A(2, 3, 3, 17), A(2, 6, 6, 17), NORM(17), NORM(17) } },
    { M2S_OP_multi_scale_subtract_train, { .scales = 3, .scale = { 3, 5, 7 }, .epsilon = 1e-5 }, "nnvaavvaavvaav",
      { A(1, 2, 3, 5), A(1, 3, 5, 5), NORM(5), NORM(5), NORM(5) } },
    { M2S_OP_multi_scale_subtract_grad, { .scales = 1, .scale = { 3 }, .epsilon = 1e-5 }, "ann#%vaav",
      { A(2, 6, 8, 17), A(2, 3, 4, 17), A(2, 6, 8, 17), V(4), A(2, 6, 8, 2), NORM(17) } },
    { M2S_OP_multi_scale_subtract_grad, { .scales = 2, .scale = { 3, 5 }, .epsilon = 1e-5 }, "ann#%vaavvaav",
      { A(1, 10, 10, 64), A(1, 5, 5, 64), A(1, 10, 10, 64), V(8), A(1, 10, 10, 4), NORM(64), NORM(64) } },
    { M2S_OP_multi_scale_subtract_grad, { .scales = 2, .scale = { 3, 5 }, .epsilon = 1e-5 }, "ann#%vaavvaav",
      { A(2, 6, 6, 16), A(2, 3, 3, 16), A(2, 6, 6, 16), V(8), A(2, 6, 6, 4), NORM(16), NORM(16) } },
    { M2S_OP_multi_scale_subtract_grad, { .scales = 2, .scale = { 3, 5 }, .epsilon = 1e-5 }, "ann#%vaavvaav",
      { A(2, 5, 8, 13), A(2, 5, 8, 13), A(2, 5, 8, 13), V(8), A(2, 5, 8, 4), NORM(13), NORM(13) } },
    { M2S_OP_multi_scale_subtract_grad, { .scales = 2, .scale = { 3, 5 }, .epsilon = 1e-5 }, "att#%vaavvaav",
      { A(1, 1, 7, 3), A(1, 1, 4, 3), A(1, 1, 7, 3), V(8), A(1, 1, 7, 4), NORM(3), NORM(3) } },
    { M2S_OP_multi_scale_subtract_grad, { .scales = 2, .scale = { 3, 5 }, .epsilon = 1e-5 }, "ann#%vaavvaav",
      { A(1, 1, 1, 1), A(1, 1, 1, 1), A(1, 1, 1, 1), V(8), A(1, 1, 1, 4), NORM(1), NORM(1) } },
    { M2S_OP_multi_scale_subtract_grad, { .scales = 2, .scale = { 3, 5 }, .gaussian = 1, .epsilon = 1e-5 }, "ann#%vaavvaav",
      { A(1, 7, 6, 5), A(1, 4, 3, 5), A(1, 7, 6, 5), V(8), A(1, 7, 6, 4), NORM(5), NORM(5) } },
    { M2S_OP_multi_scale_subtract_grad, { .scales = 2, .scale = { 3, 5 }, .gaussian = 1, .alpha = 2.0, .epsilon = 1e-5 },
      "ann#%vaavvaav", { A(1, 7, 6, 5), A(1, 4, 3, 5), A(1, 7, 6, 5), V(8), A(1, 7, 6, 4), NORM(5), NORM(5) } },
    { M2S_OP_multi_scale_subtract_grad, { .scales = 2, .scale = { 3, 5 }, .frozen = 1, .epsilon = 1e-5 }, "ann#%vaeqvaeq",
      { A(2, 6, 6, 17), A(2, 3, 3, 17), A(2, 6, 6, 17), V(8), A(2, 6, 6, 4), NORM(17), NORM(17) } },
    { M2S_OP_multi_scale_subtract_grad, { .scales = 3, .scale = { 3, 5, 7 }, .epsilon = 1e-5 }, "ann#%vaavvaavvaav",
      { A(1, 3, 5, 5), A(1, 2, 3, 5), A(1, 3, 5, 5), V(12), A(1, 3, 5, 6), NORM(5), NORM(5), NORM(5) } },

    { M2S_OP_window_attention, { WINDOWS(1, 0, 1) }, "aa", { A(1, 1, 1, 3), W(1, 1, 1, 1) } },
    { M2S_OP_window_attention, { WINDOWS(7, 3, 1) }, "la", { A(1, 7, 7, 96), W(169, 1, 1, 1) } },
    { M2S_OP_window_attention, { WINDOWS(7, 3, 3) }, "laa", { A(2, 16, 12, 288), W(169, 3, 1, 1), V(288) } },
    { M2S_OP_window_attention, { WINDOWS(7, 0, 2) }, "laa", { A(1, 8, 15, 102), W(169, 2, 1, 1), V(102) } },
    { M2S_OP_window_attention, { WINDOWS(4, 2, 3) }, "la", { A(1, 3, 9, 45), W(49, 3, 1, 1) } },
    { M2S_OP_window_attention, { WINDOWS(3, 1, 5) }, "laa", { A(2, 5, 1, 15), W(25, 5, 1, 1), V(15) } },
    { M2S_OP_window_attention_grad, { WINDOWS(1, 0, 1) }, "aaa", { A(1, 1, 1, 1), A(1, 1, 1, 3), W(1, 1, 1, 1) } },
    { M2S_OP_window_attention_grad, { WINDOWS(7, 3, 1), .frozen = 1 }, "ala",
      { A(1, 7, 7, 32), A(1, 7, 7, 96), W(169, 1, 1, 1) } },
    { M2S_OP_window_attention_grad, { WINDOWS(7, 3, 3), .frozen = 1 }, "alaa",
      { A(1, 9, 12, 96), A(1, 9, 12, 288), W(169, 3, 1, 1), V(288) } },
    { M2S_OP_window_attention_grad, { WINDOWS(7, 3, 2) }, "alaa",
      { A(2, 8, 8, 34), A(2, 8, 8, 102), W(169, 2, 1, 1), V(102) } },
    { M2S_OP_window_attention_grad, { WINDOWS(4, 2, 3) }, "ala", { A(1, 3, 9, 15), A(1, 3, 9, 45), W(49, 3, 1, 1) } },
    { M2S_OP_window_attention_grad, { WINDOWS(3, 1, 5) }, "alaa",
      { A(2, 5, 1, 5), A(2, 5, 1, 15), W(25, 5, 1, 1), V(15) } },
    { M2S_OP_window_attention_grad, { WINDOWS(9, 4, 1) }, "alaa",
      { A(1, 17, 18, 37), A(1, 17, 18, 111), W(289, 1, 1, 1), V(111) } },
    { M2S_OP_merge_patches, { 0 }, "a", { A(1, 1, 1, 1) } },
    { M2S_OP_merge_patches, { 0 }, "a", { A(2, 6, 8, 17) } },
    { M2S_OP_merge_patches, { 0 }, "a", { A(2, 45, 37, 33) } },
    { M2S_OP_merge_patches_grad, { .h = 1, .w = 1 }, "a", { A(1, 1, 1, 4) } },
    { M2S_OP_merge_patches_grad, { .h = 6, .w = 8 }, "a", { A(2, 3, 4, 68) } },
    { M2S_OP_merge_patches_grad, { .h = 45, .w = 37 }, "a", { A(2, 23, 19, 132) } },

    { M2S_OP_attention, { .groups = 1, .alpha = 1.0 }, "aa", { A(1, 1, 1, 1), A(1, 1, 1, 2) } },
    { M2S_OP_attention, { .groups = 2, .alpha = 0.5 }, "aa", { A(2, 5, 7, 10), A(2, 2, 3, 20) } },
    { M2S_OP_attention, { .groups = 1, .alpha = 4.0 }, "aa", { A(1, 3, 1, 13), A(1, 1, 1, 26) } },
    { M2S_OP_attention, { .groups = 5, .alpha = 0.125 }, "aa", { A(1, 6, 5, 320), A(1, 11, 11, 640) } },
    { M2S_OP_attention, { .groups = 8, .alpha = 0.2 }, "aa", { A(2, 4, 4, 64), A(2, 4, 4, 128) } },
    { M2S_OP_attention, { .groups = 1, .alpha = 0.25 }, "la", { A(1, 23, 29, 16), A(1, 3, 5, 32) } }, /* many queries */
    { M2S_OP_attention, { .groups = 1, .alpha = 0.3 }, "aa", { A(1, 5, 7, 17), A(1, 65, 64, 34) } }, /* many keys */
    { M2S_OP_attention, { .groups = 1, .alpha = 40.0 }, "aa", { A(1, 2, 3, 16), A(1, 4, 5, 32) } }, /* large scores */
    { M2S_OP_attention, { .groups = 1, .alpha = 0.1 }, "aa", { A(1, 3, 11, 131), A(1, 5, 13, 262) } }, /* wide heads */
    { M2S_OP_attention_grad, { .groups = 1, .alpha = 1.0 }, "aaa", { A(1, 1, 1, 1), A(1, 1, 1, 1), A(1, 1, 1, 2) } },
    { M2S_OP_attention_grad, { .groups = 2, .alpha = 0.5 }, "aaa", { A(2, 5, 7, 10), A(2, 5, 7, 10), A(2, 2, 3, 20) } },
    { M2S_OP_attention_grad, { .groups = 5, .alpha = 0.125 }, "aaa",
      { A(1, 6, 5, 320), A(1, 6, 5, 320), A(1, 11, 11, 640) } },
    { M2S_OP_attention_grad, { .groups = 8, .alpha = 0.2 }, "aaa", { A(2, 4, 4, 64), A(2, 4, 4, 64), A(2, 4, 4, 128) } },
    { M2S_OP_attention_grad, { .groups = 1, .alpha = 0.25 }, "ala", /* many queries */
      { A(1, 43, 39, 16), A(1, 43, 39, 16), A(1, 3, 5, 32) } },
    { M2S_OP_attention_grad, { .groups = 1, .alpha = 0.3 }, "aaa", /* many keys */
      { A(1, 3, 7, 17), A(1, 3, 7, 17), A(1, 65, 64, 34) } },
    { M2S_OP_attention_grad, { .groups = 1, .alpha = 0.3 }, "aaa", { A(1, 3, 1, 13), A(1, 3, 1, 13), A(1, 1, 1, 26) } },
    { M2S_OP_attention_grad, { .groups = 1, .alpha = 0.1 }, "aaa", /* wide heads */
      { A(1, 3, 11, 131), A(1, 3, 11, 131), A(1, 5, 13, 262) } },

    { M2S_OP_boundary_weights, { .kernel = 31, .alpha = 5.0 }, "b", { A(2, 40, 37, 1) } },
    { M2S_OP_boundary_weights, { .kernel = 31, .alpha = 5.0 }, "n", { A(1, 9, 11, 3) } },
    { M2S_OP_boundary_weights, { .kernel = 3, .alpha = 2.0 }, "n", { A(1, 1, 1, 1) } },
    { M2S_OP_boundary_weights, { .kernel = 1, .alpha = 2.0 }, "n", { A(1, 5, 4, 1) } },
    { M2S_OP_weighted_bce, { 0 }, "lbw", { A(1, 1, 1, 1), A(1, 1, 1, 1), A(1, 1, 1, 1) } },
    { M2S_OP_weighted_bce, { 0 }, "lbw", { A(2, 23, 21, 3), A(2, 23, 21, 3), A(2, 23, 21, 3) } },
    { M2S_OP_weighted_bce, { .form = 1 }, "lnw", { A(3, 9, 8, 2), A(3, 9, 8, 2), A(3, 9, 8, 2) } },
    { M2S_OP_weighted_bce_grad, { 0 }, "alnw", { ONE, A(1, 1, 1, 1), A(1, 1, 1, 1), A(1, 1, 1, 1) } },
    { M2S_OP_weighted_bce_grad, { 0 }, "albw", { ONE, A(2, 13, 11, 3), A(2, 13, 11, 3), A(2, 13, 11, 3) } },
    { M2S_OP_weighted_bce_grad, { .form = 1 }, "alnw", { ONE, A(3, 9, 8, 2), A(3, 9, 8, 2), A(3, 9, 8, 2) } },
    { M2S_OP_weighted_iou, { 0 }, "lbw", { A(1, 1, 1, 1), A(1, 1, 1, 1), A(1, 1, 1, 1) } },
    { M2S_OP_weighted_iou, { 0 }, "lnw", { A(2, 23, 21, 3), A(2, 23, 21, 3), A(2, 23, 21, 3) } },
    { M2S_OP_weighted_iou, { 0 }, "l0w", { A(1, 5, 4, 1), A(1, 5, 4, 1), A(1, 5, 4, 1) } },
    { M2S_OP_weighted_iou_grad, { 0 }, "albw", { ONE, A(1, 1, 1, 1), A(1, 1, 1, 1), A(1, 1, 1, 1) } },
    { M2S_OP_weighted_iou_grad, { 0 }, "alnw", { ONE, A(2, 13, 11, 3), A(2, 13, 11, 3), A(2, 13, 11, 3) } },
    { M2S_OP_weighted_iou_grad, { 0 }, "al0w", { ONE, A(1, 5, 4, 1), A(1, 5, 4, 1), A(1, 5, 4, 1) } },
    { M2S_OP_dice, { .epsilon = 1e-5 }, "pb", { A(1, 1, 1, 1), A(1, 1, 1, 1) } },
    { M2S_OP_dice, { .epsilon = 1e-5, .begin = 1 }, "pb", { A(2, 9, 8, 4), A(2, 9, 8, 4) } },
    { M2S_OP_dice, { .epsilon = 1.0, .form = 1 }, "pb", { A(3, 5, 7, 3), A(3, 5, 7, 3) } },
    { M2S_OP_dice, { .epsilon = 1e-5 }, "00", { A(1, 3, 3, 2), A(1, 3, 3, 2) } },
    { M2S_OP_dice_grad, { .epsilon = 1e-5 }, "apb", { ONE, A(1, 1, 1, 1), A(1, 1, 1, 1) } },
    { M2S_OP_dice_grad, { .epsilon = 1e-5, .begin = 1 }, "apb", { ONE, A(2, 9, 8, 4), A(2, 9, 8, 4) } },
    { M2S_OP_dice_grad, { .epsilon = 1.0, .form = 1, .begin = 1 }, "apb", { ONE, A(3, 5, 7, 3), A(3, 5, 7, 3) } },
    { M2S_OP_cross_entropy, { 0 }, "lb", { A(1, 1, 1, 1), A(1, 1, 1, 1) } },
    { M2S_OP_cross_entropy, { 0 }, "ln", { A(2, 9, 8, 4), A(2, 9, 8, 4) } },
    { M2S_OP_cross_entropy_grad, { 0 }, "alb", { ONE, A(1, 1, 1, 3), A(1, 1, 1, 3) } },
    { M2S_OP_cross_entropy_grad, { 0 }, "aln", { ONE, A(2, 9, 8, 4), A(2, 9, 8, 4) } },
    { M2S_OP_normalise_rgb, { RGB }, "n", { A(2, 5, 7, 1) } },
    { M2S_OP_normalise_rgb, { RGB }, "n", { A(1, 1, 9, 3) } },
    { M2S_OP_normalise_rgb_grad, { RGB, .count = 1 }, "a", { A(2, 5, 7, 3) } },
    { M2S_OP_normalise_rgb_grad, { RGB, .count = 3 }, "a", { A(1, 1, 9, 3) } },
    { M2S_OP_feature_distance, { 0 }, "aa", { A(2, 5, 7, 17), A(2, 5, 7, 17) } },
    { M2S_OP_feature_distance, { .form = 1 }, "aa", { A(3, 5, 7, 17), A(3, 5, 7, 17) } },
    { M2S_OP_feature_distance, { .form = 1 }, "11", { A(1, 1, 1, 1), A(1, 1, 1, 1) } },
    { M2S_OP_feature_distance_grad, { 0 }, "aaa", { ONE, A(2, 5, 7, 17), A(2, 5, 7, 17) } },
    { M2S_OP_feature_distance_grad, { .form = 1 }, "aaa", { ONE, A(3, 5, 7, 17), A(3, 5, 7, 17) } },
    { M2S_OP_feature_distance_grad, { .form = 1 }, "a11", { ONE, A(1, 2, 2, 3), A(1, 2, 2, 3) } },

    { M2S_OP_sum_squares, { 0 }, "a", { ONE } },
    { M2S_OP_sum_squares, { 0 }, "aaa", { W(13, 26, 3, 3), V(17), A(1, 20, 21, 64) } },
    { M2S_OP_all_finite, { 0 }, "a", { ONE } },
    { M2S_OP_all_finite, { 0 }, "aaaa", { ONE, ONE, ONE, ONE } },
    { M2S_OP_all_finite, { 0 }, "aa?a", { ONE, ONE, ONE, ONE } },
    { M2S_OP_clip_factor, { .alpha = 12.0 }, "n", { ONE } },
    { M2S_OP_clip_factor, { .alpha = 0.25 }, "w", { ONE } },
    { M2S_OP_clip_factor, { .alpha = 0.25 }, "0", { ONE } },

    { M2S_OP_running_average, { .alpha = 0.1, .beta = 1.125 }, "aa1", { V(17), V(17), ONE } },
    { M2S_OP_running_average, { .alpha = 0.1, .beta = 1.0, .count = 1, .begin = 5 }, "aa1", { V(64), V(8), ONE } },
    { M2S_OP_running_average, { .alpha = 0.1, .beta = 1.0 }, "a?0", { V(17), V(17), ONE } },
    { M2S_OP_running_average, { .alpha = 1.0, .beta = 1.0 }, "aa1", { V(1), V(1), ONE } },
    { M2S_OP_accumulate, { 0 }, "aa11", { W(26, 13, 3, 3), W(26, 13, 3, 3), ONE, ONE } },
    { M2S_OP_accumulate, { 0 }, "aan1", { W(5, 3, 2, 7), W(5, 3, 2, 7), ONE, ONE } },
    { M2S_OP_accumulate, { 0 }, "?a01", { V(17), V(17), ONE, ONE } },
    { M2S_OP_accumulate, { 0 }, "a?10", { V(17), V(17), ONE, ONE } },
    { M2S_OP_accumulate, { 0 }, "??00", { V(3), V(3), ONE, ONE } },
    { M2S_OP_sgd, { .alpha = 0.1, .momentum = 0.9, .weight_decay = 5e-4, .form = 1 }, "aaan1n",
      { W(33, 64, 3, 3), W(33, 64, 3, 3), W(33, 64, 3, 3), ONE, ONE, ONE } },
    { M2S_OP_sgd, { .alpha = 1.0, .momentum = 0.9, .weight_decay = 5e-4 }, "aa0n1", { V(17), V(17), V(17), ONE, ONE } },
    { M2S_OP_sgd, { .alpha = 1.0, .form = 1 }, "aaan1.", { V(1), V(1), V(1), ONE, ONE, NONE } },
    { M2S_OP_sgd, { .alpha = 1.0, .momentum = 0.9, .form = 1 }, "a?an0?", { V(17), V(17), V(17), ONE, ONE, ONE } },
    { M2S_OP_adamw, { .alpha = 0.1, .momentum = 0.9, .beta = 0.999, .weight_decay = 1e-2, .epsilon = 1e-8 }, "aaann1pp",
      { W(33, 64, 3, 3), W(33, 64, 3, 3), W(33, 64, 3, 3), W(33, 64, 3, 3), ONE, ONE, ONE, ONE } },
    { M2S_OP_adamw, { .alpha = 1.0, .momentum = 0.9, .beta = 0.999, .epsilon = 1e-8 }, "aa00n1ppn",
      { V(17), V(17), V(17), V(17), ONE, ONE, ONE, ONE, ONE } },
    { M2S_OP_adamw, { .alpha = 1.0, .momentum = 0.9, .beta = 0.999, .epsilon = 1e-8 }, "a?ann0pp?",
      { V(17), V(17), V(17), V(17), ONE, ONE, ONE, ONE, ONE } },
};
/* clang-format on */

/* ---- rows drawn at random, the same on every machine ---- */

#define DRAWN_PER_OP 16

static const m2s_op drawn_ops[] = { M2S_OP_conv2d_grad_src, M2S_OP_conv2d_grad_weights, M2S_OP_max_pool_grad,
                                    M2S_OP_avg_pool_grad, M2S_OP_resize_grad };

static int64_t draw(unsigned long long *state, int64_t low, int64_t high)
{
    return low + (int64_t)((check_random(state) * 0.5 + 0.5) * (double)(high - low + 1));
}

/* False: what was drawn makes no such operation. */
static bool draw_case(m2s_op op, unsigned long long *state, train_case *c)
{
    static const int64_t channels[] = { 1, 2, 3, 5, 8, 13, 16, 17, 26, 33 };
    int64_t n = draw(state, 1, 3), h = draw(state, 1, 14), w = draw(state, 1, 14), k = draw(state, 1, 5);
    int64_t ic = channels[draw(state, 0, COUNT(channels) - 1)], oc = channels[draw(state, 0, COUNT(channels) - 1)];
    m2s_attrs a = { CONV((int32_t)draw(state, 1, 3), (int32_t)draw(state, 0, k / 2), 1, 1) };
    bool conv = op == M2S_OP_conv2d_grad_src || op == M2S_OP_conv2d_grad_weights;

    if (op == M2S_OP_resize_grad) {
        *c = (train_case){ op, { .h = h, .w = w }, "a", { A(n, draw(state, 1, 30), draw(state, 1, 30), ic) } };
        return true;
    }
    a.kernel = (int32_t)k;
    if (conv) {
        a.dilation = (int32_t)draw(state, 1, 2);
        a.groups = (int32_t)draw(state, 1, 2);
    }
    int64_t oh = h + 2 * a.pad - a.dilation * (k - 1) - 1, ow = w + 2 * a.pad - a.dilation * (k - 1) - 1;
    if (oh < 0 || ow < 0) {
        return false;
    }
    m2s_shape src = A(n, h, w, ic * a.groups), diff = A(n, oh / a.stride + 1, ow / a.stride + 1, ic);
    if (op == M2S_OP_conv2d_grad_src) {
        diff.c = oc * a.groups;
        a.kernel = 0;
        a.h = h;
        a.w = w;
        *c = (train_case){ op, a, "aa", { diff, W(diff.c, ic, k, k) } };
    } else if (op == M2S_OP_conv2d_grad_weights) {
        diff.c = oc * a.groups;
        *c = (train_case){ op, a, "aa", { src, diff } };
    } else {
        a.dilation = a.groups = 0;
        a.count_include_pad = op == M2S_OP_avg_pool_grad ? (int32_t)draw(state, 0, 1) : 0;
        a.h = op == M2S_OP_avg_pool_grad ? h : 0;
        a.w = op == M2S_OP_avg_pool_grad ? w : 0;
        *c = (train_case){
            op, a, op == M2S_OP_avg_pool_grad ? "a" : "at", { diff, op == M2S_OP_avg_pool_grad ? (m2s_shape)NONE : src }
        };
    }
    return true;
}

/* ---- a row ---- */

typedef struct row {
    const train_case *c;
    bool stored; /* its inputs are numbers that F16 and BF16 have both */
    char name[256];
    int in_count, out_count;
    naive in[M2S_MAX_IN], expected[M2S_MAX_OUT];
    double largest[M2S_MAX_OUT]; /* |expected| */
    double *oracle[M2S_MAX_OUT]; /* by ref F64 */
    double summands;             /* the longest sum in the operation */
    double condition;            /* by how much it makes a rounding of its intermediates larger */
} row;

/* The input that output `out` is written over when in place, or -1. */
static int replaced_input(m2s_op op, int out)
{
    switch (op) {
    case M2S_OP_running_average:
    case M2S_OP_accumulate:
        return 0;
    case M2S_OP_sgd:
        return out == 0 ? 0 : 2;
    case M2S_OP_adamw:
        return out == 0 ? 0 : out + 1;
    default:
        return -1;
    }
}

static bool is_objective(m2s_op op)
{
    return op >= M2S_OP_boundary_weights && op < M2S_OP_sum_squares;
}

static double summands_of(const train_case *c)
{
    const m2s_attrs *a = &c->attrs;
    double pixels = (double)(c->in[0].n * c->in[0].h * c->in[0].w), side = 0.0;

    switch (c->op) {
    case M2S_OP_conv2d_grad_src:
        return (double)(m2s_shape_elements(c->in[1]) / c->in[1].i);
    case M2S_OP_conv2d_grad_weights:
        return (double)(c->in[1].n * c->in[1].h * c->in[1].w);
    case M2S_OP_multi_scale_subtract_train:
    case M2S_OP_multi_scale_subtract_grad:
        side = a->scale[a->scales - 1];
        return (double)(c->in[1].n * c->in[1].h * c->in[1].w) + side * side * (double)c->in[1].c;
    case M2S_OP_max_pool_grad:
    case M2S_OP_avg_pool_grad:
        return (double)a->kernel * a->kernel;
    case M2S_OP_window_attention: /* the products' rounding is that of numbers of a few units, in an exponent */
    case M2S_OP_window_attention_grad:
        return 4.0 * ((double)a->kernel * a->kernel + (double)m2s_shape_elements(c->in[0]) / pixels / a->groups);
    case M2S_OP_boundary_weights:
        return (double)a->kernel * a->kernel;
    case M2S_OP_resize_grad:
        return 4.0 + 4.0 * pixels / (double)(c->in[0].n * a->h * a->w);
    case M2S_OP_layer_norm_grad:
        return pixels + (double)c->in[0].c;
    case M2S_OP_attention: /* a score, and the keys of a query */
        return (double)(c->in[0].c / a->groups + c->in[1].h * c->in[1].w);
    case M2S_OP_attention_grad: /* the same and the queries of a key */
        return (double)(c->in[0].c / a->groups + c->in[2].h * c->in[2].w + c->in[0].h * c->in[0].w);
    case M2S_OP_sum_squares:
        return (double)(m2s_shape_elements(c->in[0]) + m2s_shape_elements(c->in[2]));
    default: /* sums over pixels, of the first input that is no scalar */
        return m2s_shape_elements(c->in[0]) > 1 ? pixels : (double)(c->in[1].n * c->in[1].h * c->in[1].w) + 8.0;
    }
}

static void describe(row *r, const train_case *c, bool in_place)
{
    size_t used = 0;

    memset(r, 0, sizeof *r);
    r->c = c;
    r->in_count = (int)strlen(c->kinds);
    r->summands = summands_of(c);
    r->condition = 1.0;
    used += (size_t)snprintf(r->name, sizeof r->name, "%s %s%s", m2s_op_get_info(c->op)->name, c->kinds,
                             in_place ? " in place" : "");
    for (int i = 0; i < r->in_count && i < 3; i++) {
        const int64_t *d = c->in[i].d;
        used += (size_t)snprintf(r->name + used, sizeof r->name - used, " %" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64,
                                 d[0], d[1], d[2], d[3]);
    }
    const struct {
        const char *label;
        int64_t value;
    } attrs[] = { { "k", c->attrs.kernel },       { "s", c->attrs.stride },      { "p", c->attrs.pad },
                  { "d", c->attrs.dilation },     { "g", c->attrs.groups },      { "relu", c->attrs.relu },
                  { "ceil", c->attrs.ceil_mode }, { "frozen", c->attrs.frozen }, { "form", c->attrs.form },
                  { "gauss", c->attrs.gaussian }, { "scales", c->attrs.scales }, { "from", c->attrs.begin } };
    for (size_t i = 0; i < COUNT(attrs); i++) {
        if (attrs[i].value != 0) {
            used +=
                (size_t)snprintf(r->name + used, sizeof r->name - used, " %s%" PRId64, attrs[i].label, attrs[i].value);
        }
    }
}

static double number_of(const row *r, int i, double u)
{
    const m2s_attrs *a = &r->c->attrs;
    int norms = r->c->op == M2S_OP_multi_scale_subtract_grad ? 5 : 2;
    double side = i >= norms && a->scales > 0 ? a->scale[(i - norms) / 4 % M2S_MAX_SCALES] : 0.0;
    double filter = (a->gaussian ? 1.0 : side * side) * (double)r->c->in[i].o;

    switch (r->c->kinds[i]) {
    case 'n':
        return 0.5 + 0.5 * u;
    case 'v':
        return 1.0 + 0.5 * u;
    case 'w':
        return 3.5 + 2.5 * u;
    case 'l':
        return 4.0 * u;
    case 'p':
        return 0.5 + 0.45 * u;
    case 'b':
        return u < 0.0 ? 0.0 : 1.0;
    case 't':
        return u < -0.3 ? 0.0 : u < 0.3 ? 0.5 : 1.0;
    case '0':
        return 0.0;
    case '1':
        return 1.0;
    case '?':
        return NAN;
    case 'e':
        return filter * (0.5 + 0.05 * u);
    case 'q':
        return pow(0.25 * filter, 2.0) * (1.0 + 0.5 * u);
    default:
        return u;
    }
}

/* The statistics and planes that the unit's gradient is given, rounded to float as a forward run would store them. */
static void prepare_unit(row *r)
{
    naive in[M2S_MAX_IN] = { r->in[1], r->in[2] }, out[M2S_MAX_OUT] = { { .data = NULL } };

    for (int i = 0; i < 4 * r->c->attrs.scales; i++) {
        in[2 + i] = r->in[5 + i];
    }
    naive_unit(in, &r->c->attrs, out);
    for (int i = 1; i < 3; i++) {
        for (int64_t e = 0; e < m2s_shape_elements(out[i].shape); e++) {
            r->in[2 + i].data[e] = (double)(float)out[i].data[e];
        }
    }
    for (int i = 0; i < 3; i++) {
        naive_free(&out[i]);
    }
}

/* Eight digits, the last of which counts 2^-15 or more. */
static double rounded(double value)
{
    double eight = (double)m2s_bf16_to_float(m2s_float_to_bf16((float)value));

    return fabs(eight) < 0x1p-7 ? nearbyint(eight * 0x1p15) * 0x1p-15 : eight;
}

/* Inputs, exact in float or in what they are stored in, and what naive_train.h makes of them. */
static void prepare(row *r)
{
    unsigned long long state = 0x5eed;
    const train_case *c = r->c;

    if (r->out_count != 0) {
        return;
    }
    for (int i = 0; i < r->in_count; i++) {
        const int64_t *d = c->in[i].d;
        if (c->kinds[i] == '.') {
            continue;
        }
        r->in[i] = naive_new(d[0], d[1], d[2], d[3]);
        for (int64_t e = 0; e < m2s_shape_elements(c->in[i]); e++) {
            double number = number_of(r, i, check_random(&state));
            r->in[i].data[e] = r->stored ? rounded(number) : (double)(float)number;
        }
    }
    if (c->op == M2S_OP_multi_scale_subtract_grad) {
        prepare_unit(r);
    }
    r->out_count = naive_train(c->op, r->in, r->in_count, &c->attrs, r->expected);
    for (int k = 0; k < r->out_count; k++) {
        /* Sums of numbers near 1 are rounded as such even where they vanish; objectives are means of small ones. */
        r->largest[k] = is_objective(c->op) ? 0.0 : 1.0;
        for (int64_t e = 0; e < m2s_shape_elements(r->expected[k].shape); e++) {
            r->largest[k] = fmax(r->largest[k], fabs(r->expected[k].data[e]));
        }
    }
    if (c->op == M2S_OP_attention || c->op == M2S_OP_attention_grad) {
        /* exp makes a score's rounding one relative to its result: a score is a sum of products below 1. */
        r->condition = fmax(1.0, c->attrs.alpha * sqrt((double)(r->expected[0].shape.c / c->attrs.groups)));
    }
    if (c->op == M2S_OP_multi_scale_subtract_train) {
        /* The filters' sums are large and all positive: a rounding of them counts by their size in deviations. */
        for (int32_t i = 0; i < 2 * c->attrs.scales; i++) {
            double var = c->attrs.frozen ? r->in[5 + 4 * (i / 2)].data[0] : r->expected[1].data[2 * i + 1];
            for (int64_t p = 0; p < naive_pixels(r->expected[2]); p++) {
                r->condition = fmax(r->condition, fabs(*naive_pixel(r->expected[2], p, i)) / sqrt(var + 1e-5));
            }
        }
    }
}

static void release(row *r)
{
    for (int i = 0; i < M2S_MAX_IN; i++) {
        naive_free(&r->in[i]);
    }
    for (int i = 0; i < M2S_MAX_OUT; i++) {
        naive_free(&r->expected[i]);
        free(r->oracle[i]);
    }
}

/* result[k]: the value whose numbers are output k after a run: an output, or state. */
static m2snet_status build(const row *r, harness *h, m2snet_dtype dtype, bool in_place, m2s_graph **built,
                           harness_numbers *numbers, m2s_value *result, m2snet_error *error)
{
    m2s_value in[M2S_MAX_IN];
    m2s_graph *graph = NULL;
    m2snet_status status;

    M2S_TRY(m2s_graph_create(&h->memory, dtype, &graph, error));
    for (int i = 0; i < r->in_count; i++) {
        char name[16];
        bool state = false;
        snprintf(name, sizeof name, "in%d", i);
        for (int k = 0; k < r->out_count; k++) {
            state = state || (in_place && replaced_input(r->c->op, k) == i);
        }
        in[i] = r->c->kinds[i] == '.' ? M2S_NONE
                : state               ? m2s_graph_state(graph, name, r->c->in[i])
                                      : m2s_graph_input(graph, name, r->c->in[i]);
    }
    m2s_value made = m2s_graph_node(graph, r->c->op, in, r->in_count, &r->c->attrs);
    M2S_TRY(m2s_graph_finish(graph, error));
    CHECK(graph->nodes[0].out_count == r->out_count, "%d outputs, expected %d", graph->nodes[0].out_count,
          r->out_count);
    for (int k = 0; k < graph->nodes[0].out_count; k++) {
        result[k] = m2s_graph_out(graph, made, k);
        if (in_place) {
            m2s_graph_replace(graph, result[k], in[replaced_input(r->c->op, k)]);
            result[k] = in[replaced_input(r->c->op, k)];
        } else {
            m2s_graph_mark_output(graph, result[k]);
        }
    }
    M2S_TRY(m2s_graph_finish(graph, error));
    for (int i = 0; i < r->in_count; i++) {
        if (in[i] != M2S_NONE) {
            memcpy(harness_numbers_of(numbers, graph, in[i]), r->in[i].data,
                   harness_elements(graph, in[i]) * sizeof(double));
        }
    }
    *built = graph;
    return M2SNET_STATUS_OK;
fail:
    m2s_graph_destroy(graph);
    return status;
}

/* ---- a row on a backend ---- */

/* How many of harness_threads: one where a module does not run on threads. */
static int pool_count = HARNESS_POOLS;

typedef struct variant {
    const m2s_backend *backend;
    m2s_isa isa;
    m2snet_dtype dtype;
    const char *name;
    m2snet_dtype storage; /* of activations, where it is not dtype */
} variant;

/* As in test_ops_table.c: rounding of K summands walks like sqrt(K) ulps of sums no larger than the largest result; the
 * reference sums in double, so in F32 only what it stores is rounded, and what it stored before (statistics, planes).
 */
static double tolerance(const row *r, const variant *v, int out)
{
    double ulps = 4.0 + 2.0 * sqrt(r->summands);

    if (v->dtype == M2SNET_DTYPE_F64) {
        if (r->c->op == M2S_OP_resize_grad || r->c->op == M2S_OP_multi_scale_subtract_train ||
            r->c->op == M2S_OP_multi_scale_subtract_grad) {
            ulps += 2.0 * (double)(r->c->in[0].h + r->c->in[0].w); /* source coordinates, written in two ways */
        }
        if (r->c->op == M2S_OP_batch_norm_train || r->c->op == M2S_OP_multi_scale_subtract_train) {
            ulps +=
                1.5 * (double)(r->expected[0].shape.n * r->expected[0].shape.h * r->expected[0].shape.w); /* pairs */
        }
        return DBL_EPSILON * ulps * r->condition * r->largest[out];
    }
    return (double)FLT_EPSILON * (v->backend == m2s_backend_ref() ? 4.0 : ulps) * r->condition * r->largest[out];
}

/* What storing a result costs: half a unit in the last place. The gradient of the unit stores B's part twice. Sums that
 * cancel to less than F16's smallest number are lost. */
static double storing_costs(const row *r, const variant *v, int out, double expected)
{
    double unit = v->storage == M2SNET_DTYPE_F16 ? 0x1p-11 : 0x1p-8;
    bool twice = r->c->op == M2S_OP_multi_scale_subtract_grad;

    if (v->storage == 0) {
        return 0.0;
    }
    return unit * (fabs(expected) + (twice ? r->largest[out] : 0.0)) + (v->storage == M2SNET_DTYPE_F16 ? 0x1p-25 : 0.0);
}

static void check_against(const row *r, const variant *v, int out, const double *actual)
{
    const double *expected =
        v->dtype == M2SNET_DTYPE_F64 || r->oracle[out] == NULL ? r->expected[out].data : r->oracle[out];
    double limit = tolerance(r, v, out), worst = -1.0;
    int64_t at = 0, count = m2s_shape_elements(r->expected[out].shape);

    for (int64_t e = 0; e < count; e++) {
        double error = fabs(actual[e] - expected[e]) - storing_costs(r, v, out, expected[e]);
        if (!(error <= worst)) { /* a NaN is the worst */
            worst = error;
            at = e;
            if (isnan(error)) {
                break;
            }
        }
    }
    CHECK(worst <= limit,
          "output %d: element %" PRId64 " of %" PRId64 " is %.9g, expected %.9g: off by %.3g, allowed %.3g", out, at,
          count, actual[at], expected[at], worst, limit);
}

static void run_variant(harness *h, row *r, const variant *v, bool in_place)
{
    harness_numbers numbers = { 0 };
    m2s_graph *graph = NULL;
    m2s_value result[M2S_MAX_OUT];
    m2snet_error error;
    unsigned char *first[M2S_MAX_OUT] = { NULL };

    prepare(r);
    if (!CHECK(build(r, h, v->dtype, in_place, &graph, &numbers, result, &error) == M2SNET_STATUS_OK, "%s",
               error.message)) {
        return;
    }
    for (int k = 0; k < r->out_count; k++) {
        for (int i = 0; i < 4; i++) {
            CHECK(m2s_shape_of(graph, result[k]).d[i] == r->expected[k].shape.d[i],
                  "output %d: axis %d is %" PRId64 ", expected %" PRId64, k, i, m2s_shape_of(graph, result[k]).d[i],
                  r->expected[k].shape.d[i]);
        }
    }
    for (int pool = 0; pool < pool_count; pool++) {
        harness_request request = {
            .backend = v->backend,
            .isa = v->isa,
            .pool = h->pools[pool],
            .graph = graph,
            .storage = v->storage,
            .runs = pool == 0 ? HARNESS_RUNS : 1,
        };
        m2snet_status status = harness_run(h, &request, &numbers, &error);
        if (!CHECK(status == M2SNET_STATUS_OK, "%s", error.message)) {
            break;
        }
        for (int k = 0; k < r->out_count; k++) {
            size_t bytes = harness_bytes(graph, result[k]);
            const double *actual = in_place ? numbers.after[result[k]] : numbers.of[result[k]];
            if (pool > 0) {
                CHECK(memcmp(first[k], numbers.raw[result[k]], bytes) == 0,
                      "output %d: %d threads give other bits than one", k, harness_threads[pool]);
                continue;
            }
            check_against(r, v, k, actual);
            first[k] = malloc(bytes);
            memcpy(first[k], numbers.raw[result[k]], bytes);
            if (v->backend == m2s_backend_ref() && v->dtype == M2SNET_DTYPE_F64) {
                size_t size = harness_elements(graph, result[k]) * sizeof(double);
                free(r->oracle[k]);
                r->oracle[k] = malloc(size);
                memcpy(r->oracle[k], actual, size);
            }
        }
    }
    for (int k = 0; k < M2S_MAX_OUT; k++) {
        free(first[k]);
    }
    harness_numbers_free(&numbers);
    m2s_graph_destroy(graph);
}

/* Operations on activations, which a module may store in 16 bits. */
static bool is_stored(m2s_op op)
{
    static const m2s_op ops[] = { M2S_OP_conv2d_grad_src,
                                  M2S_OP_conv2d_grad_weights,
                                  M2S_OP_batch_norm_train,
                                  M2S_OP_batch_norm_grad,
                                  M2S_OP_sum_pixels,
                                  M2S_OP_relu_grad,
                                  M2S_OP_abs_diff_grad,
                                  M2S_OP_pad_c,
                                  M2S_OP_multiply,
                                  M2S_OP_max_pool_grad,
                                  M2S_OP_avg_pool_grad,
                                  M2S_OP_resize_grad,
                                  M2S_OP_multi_scale_subtract_train,
                                  M2S_OP_multi_scale_subtract_grad,
                                  M2S_OP_sigmoid };
    bool found = false;

    for (size_t i = 0; i < COUNT(ops); i++) {
        found = found || ops[i] == op;
    }
    return found;
}

/* The same on 16-bit activations, against the definition with numbers that 16 bits hold. */
static void run_stored(harness *h, const train_case *c, const m2s_backend *module)
{
    static const struct {
        m2snet_dtype storage;
        const char *name;
    } types[] = { { M2SNET_DTYPE_F16, "module F16" }, { M2SNET_DTYPE_BF16, "module BF16" } };
    row r;

    describe(&r, c, false);
    r.stored = true;
    for (size_t i = 0; i < COUNT(types); i++) {
        const variant v = { module, M2S_ISA_BASELINE, M2SNET_DTYPE_F32, types[i].name, types[i].storage };
        if (check_case("%s: %s", r.name, v.name)) {
            run_variant(h, &r, &v, false);
        }
    }
    release(&r);
}

static void run_row(harness *h, const train_case *c, const variant *variants, int variant_count)
{
    bool update = replaced_input(c->op, 0) >= 0;

    for (int in_place = 0; in_place <= (update ? 1 : 0); in_place++) {
        row r;
        describe(&r, c, in_place != 0);
        for (int i = 0; i < variant_count; i++) {
            if (check_case("%s: %s", r.name, variants[i].name)) {
                run_variant(h, &r, &variants[i], in_place != 0);
            }
        }
        release(&r);
    }
    /* The definition takes its time with many channels. */
    bool slow = c->op == M2S_OP_multi_scale_subtract_grad && c->in[0].c > 32;
    if (variants[1].backend->reduced && is_stored(c->op) && !slow) {
        run_stored(h, c, variants[1].backend);
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
        CHECK((rows > 0) != is_inference_op((m2s_op)op), "%s has %d rows", m2s_op_get_info((m2s_op)op)->name, rows);
    }
}

int main(int argc, char **argv)
{
    m2s_isa lowest = M2S_ISA_BASELINE, highest = m2s_isa_detect();
    variant variants[2 + M2S_ISA_COUNT] = {
        { m2s_backend_ref(), M2S_ISA_BASELINE, M2SNET_DTYPE_F64, "ref F64", 0 },
        { m2s_backend_ref(), M2S_ISA_BASELINE, M2SNET_DTYPE_F32, "ref F32", 0 },
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
        variants[1] = (variant){ module, M2S_ISA_BASELINE, M2SNET_DTYPE_F32, "module F32", 0 };
        pool_count = 1;
    }
    for (int isa = (int)lowest; isa <= (int)highest && module == NULL; isa++) {
        variants[variant_count++] = (variant){ m2s_backend_cpu(), (m2s_isa)isa, M2SNET_DTYPE_F32, cpu_names[isa], 0 };
    }
    if (!harness_open(&h)) {
        return check_finish();
    }
    coverage();
    for (size_t i = 0; i < COUNT(table); i++) {
        run_row(&h, &table[i], variants, variant_count);
    }
    for (size_t o = 0; o < COUNT(drawn_ops); o++) {
        unsigned long long state = 3000 + o;
        for (int drawn = 0; drawn < DRAWN_PER_OP;) {
            train_case c;
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
