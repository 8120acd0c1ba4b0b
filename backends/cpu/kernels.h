/* SPDX-License-Identifier: Apache-2.0
 * The backend's own kernels: one table for each instruction set, chosen once for a device.
 *
 * All data are float, channels last. Kernels read and write exactly the numbers named, whatever the alignment and
 * however few channels there are. They do not allocate and keep nothing. */
#ifndef M2S_BACKENDS_CPU_KERNELS_H
#define M2S_BACKENDS_CPU_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/cpu.h"

/* ---- matrix products ----
 * c[r][j] = relu(sum_k a[r][k] b[k][j] + bias[j] + residual[r][j] (+ c[r][j])), each sum in the order of k.
 * b is packed in panels of panel_columns columns: panel after panel, each depth rows of its columns, the last one of
 * a matrix only as wide as whole vectors need, filled up with zeros. */
typedef struct m2s_gemm {
    int64_t rows, columns, depth;
    const float *a;
    int64_t a_stride; /* numbers from a row to the next */
    const float *b;
    float *c;
    int64_t c_stride;
    const float *bias;     /* may be NULL */
    const float *residual; /* may be NULL */
    int64_t residual_stride;
    bool accumulate; /* add to what c holds */
    bool ahead;      /* fetch what comes next: for operands that lie beyond a core's own caches */
    bool relu;
} m2s_gemm;

/* ---- sums of outer products ----
 * c[r][j] (+)= sum over s in 0..segments-1, k in 0..count-1 of a[s a_segment + k a_step + r] b[s b_segment + k b_step +
 * j], in this order. */
typedef struct m2s_outer {
    int64_t rows, columns;
    int64_t segments, count;
    const float *a, *b;
    int64_t a_step, a_segment, b_step, b_segment;
    int64_t a_panel, b_panel; /* 0: not packed, rows or columns lie side by side */
    float *c;
    int64_t c_stride;
    bool accumulate; /* add to what c holds */
} m2s_outer;

/* Packs an operand: step after step, row_block or panel_columns numbers each. Up to a vector more is written at the end
 * of each panel. */
typedef struct m2s_outer_pack {
    bool rows;     /* an a; else a b */
    int64_t count; /* rows or columns */
    int64_t segments, steps;
    const float *src; /* number j at src[s segment + k step + j] */
    int64_t step, segment;
    float *dst;
    int64_t panel; /* numbers from a panel to the next, at least segments steps (row_block or panel_columns) + vector */
} m2s_outer_pack;

/* ---- Winograd ----
 * F(m x m, 3 x 3), m = 2 or 4: tiles of m x m results from (m + 2)^2 numbers, stride 1, padding 1. Tiles are counted
 * row by row of one image. Transformed data: one matrix (tiles x channels) for each of the (m + 2)^2 points. */
typedef struct m2s_winograd_input {
    int64_t h, w, channels; /* of the image; channels of this part */
    const float *src;       /* first channel of this part at pixel (0, 0) */
    int64_t src_pixel;      /* numbers from a pixel to the next */
    const float *addend;    /* same geometry, added to src; may be NULL */
    int64_t addend_pixel;
    int64_t tile_begin, tile_end;
    float *dst; /* point p, tile t, channel c at dst[p point_stride + (t - tile_begin) row_stride + c] */
    int64_t point_stride, row_stride;
} m2s_winograd_input;

typedef struct m2s_winograd_output {
    int64_t h, w, channels;
    const float *src; /* as dst of the input transform */
    int64_t point_stride, row_stride;
    int64_t tile_begin, tile_end;
    const float *bias;     /* may be NULL */
    const float *residual; /* may be NULL */
    int64_t residual_pixel;
    bool relu;
    float *dst;
    int64_t dst_pixel;
} m2s_winograd_output;

/* Weights (o, i, 3, 3) of a packed panel's columns (outputs) at some input channels, transformed in double, rounded
 * once. */
typedef struct m2s_winograd_weights {
    int64_t channels, columns, valid; /* columns: a multiple of vector; from `valid` on they are zeros */
    const float *src;                 /* of the first column at the first channel; channels lie 9 numbers apart */
    int64_t src_column;               /* numbers from a column to the next */
    float *dst;                       /* point p, channel k, column j at dst[p point_stride + k columns + j] */
    int64_t point_stride;
} m2s_winograd_weights;

/* The gradient of the weights: sums over tiles of products of transformed input and transformed gradient, a matrix
 * (rows x columns) a point, transform to (rows, columns, 3, 3). One row: */
typedef struct m2s_winograd_grad {
    int64_t columns;
    const float *sums; /* point p, column j, part s at sums[s part_stride + p point_stride + j] */
    int64_t point_stride;
    int64_t parts, part_stride; /* added up first, in order */
    float *dst;                 /* column j, tap t at dst[9 j + t] */
} m2s_winograd_grad;

/* ---- the rest ---- */

/* In gradients, h, w and oh, ow keep their meaning, src is the gradient of the result and dst that of the source. */
typedef struct m2s_window {
    int64_t h, w, channels; /* of the source */
    int64_t oh, ow;
    int64_t kernel, stride, pad;
    bool count_include_pad;
    const float *src; /* one image */
    int64_t src_pixel;
    float *dst;
    int64_t dst_pixel;
} m2s_window;

/* Two neighbours along x and their weights. */
typedef struct m2s_tap {
    int32_t low, high;
    float low_weight, high_weight;
} m2s_tap;

/* Bilinear, dense. taps: one for each column of the result. In the gradient, h, w are still the source's and oh, ow the
 * result's: src is the gradient of the result, dst that of the source, and row takes ow channels numbers. */
typedef struct m2s_resize_rows {
    int64_t h, w, channels, oh, ow;
    const m2s_tap *taps;
    const float *src;    /* one image */
    const float *addend; /* of the result's shape; may be NULL */
    float *dst;
    float *row; /* scratch: w channels numbers */
} m2s_resize_rows;

#define M2S_ADD_MAX 8

#define M2S_SUBTRACT_SCALES 7
typedef struct m2s_subtract {
    int64_t coarse_h, coarse_w, h, w, channels;
    const float *a; /* one image, coarse */
    const float *b; /* one image, fine */
    float *dst;
    const m2s_tap *taps; /* one for each column of the result */
    int32_t scales;
    int64_t kernel[M2S_SUBTRACT_SCALES];
    const float *window[M2S_SUBTRACT_SCALES]; /* weights of a separable window; NULL = ones */
    const float *slope[M2S_SUBTRACT_SCALES], *offset[M2S_SUBTRACT_SCALES];
    float *scratch; /* m2s_subtract_scratch() numbers */
} m2s_subtract;

/* The same unit in a training step, and its gradient. */
typedef struct m2s_subtract_train {
    int64_t coarse_h, coarse_w, h, w, channels;
    const float *a, *b;  /* one image: coarse, fine */
    const m2s_tap *taps; /* one for each column of the result */
    int32_t scales;
    /* A filtered number x of scale k becomes scale[k] x + beta[k], or scale[k] (x - mean[k]) + beta[k]. */
    const float *mean[M2S_SUBTRACT_SCALES]; /* NULL = zeros */
    const float *scale[M2S_SUBTRACT_SCALES], *beta[M2S_SUBTRACT_SCALES];
    const float *normal; /* 2 scales rows of w: x of scale k of A' in row 2k, of B in row 2k + 1 */
    float *dst;          /* one image: the result, or the gradient of B */

    const float *diff; /* one image, of the result */
    float *dst_a;      /* one image: the gradient of A where A has B's size */
    float *line;       /* coarse_w channels: the row's gradient of A', gathered along x, where it has not */
    float *sums;       /* 2 scales rows of channels: added to in row 2k: g, in row 2k + 1: g x of scale k */
    float *common; /* 2 scales planes `plane` numbers apart: the sum over channels of scale[k] g, in normal's order */
    int64_t plane;
    double *totals; /* added to at 2i: plane i, at 2i + 1: plane i times normal */
} m2s_subtract_train;

/* A separable window over each channel, zero padded. */
typedef struct m2s_plane_window {
    int64_t h, w, channels, kernel;
    const float *weights; /* kernel of them; NULL = ones */
    const float *src;
    float *dst;
    int64_t dst_step; /* numbers from one of the result to the next */
    bool add;         /* to what dst holds */
    float *row;       /* scratch: m2s_plane_window_scratch() numbers */
} m2s_plane_window;

static inline int64_t m2s_plane_window_scratch(int64_t w, int64_t channels, int64_t kernel)
{
    return (2 * w + 2 * (kernel / 2)) * channels;
}

/* ---- normalisation by channel: pixels are counted through all images ---- */
typedef struct m2s_norm {
    int64_t channels;
    const float *src, *diff;
    float *dst;
    const float *shift;               /* near the mean, c numbers; NULL = zeros */
    const float *mean, *scale, *beta; /* c each */
    const float *slope, *offset;      /* c each */
    bool relu;
    double *sums; /* two rows of m2s_norm_padded(channels) */
} m2s_norm;

/* Channels rounded up so that every instruction set may write whole vectors. */
static inline int64_t m2s_norm_padded(int64_t channels)
{
    return (channels + 15) / 16 * 16;
}

/* ---- normalisation of a pixel by its channels, and layer scale: pixels are counted through all images ---- */
typedef struct m2s_layer {
    int64_t channels;
    const float *src, *diff;
    float *dst;
    const float *gamma, *beta; /* c each */
    double epsilon;
    double *sums; /* two rows of m2s_norm_padded(channels) */
} m2s_layer;

/* ---- convolutions of each channel by itself: one image, by bands of rows and lines of channels ---- */
#define M2S_DEPTHWISE_LINE 16 /* channels */
#define M2S_DEPTHWISE_TILE 12 /* copied rows are as wide as so many results at a time want */
#define M2S_DEPTHWISE_SIDE 3  /* of the window that depthwise_direct is for: undilated, stride 1 */

typedef struct m2s_depthwise {
    int64_t h, w, channels; /* of the source */
    int64_t oh, ow;
    int64_t kh, kw, stride, pad, dilation;
    const float *src;
    const float *weights;  /* line of channels after line, tap after tap */
    const float *bias;     /* may be NULL */
    const float *residual; /* may be NULL */
    bool relu;
    float *dst;

    const float *diff; /* of the result */
    double *sums;      /* tap after tap, rows of m2s_norm_padded(channels) */

    float *room; /* scratch: m2s_depthwise_room() numbers */
} m2s_depthwise;

static inline int64_t m2s_depthwise_columns(const m2s_depthwise *d)
{
    int64_t results = (d->ow + M2S_DEPTHWISE_TILE - 1) / M2S_DEPTHWISE_TILE * M2S_DEPTHWISE_TILE;

    return (results - 1) * d->stride + (d->kw - 1) * d->dilation + 1;
}

/* Rows of the source that so many of the result look at. */
static inline int64_t m2s_depthwise_source_rows(const m2s_depthwise *d, int64_t rows)
{
    return (rows - 1) * d->stride + (d->kh - 1) * d->dilation + 1;
}

/* For a band of so many rows; the gradient has room for those of the result, too. */
static inline int64_t m2s_depthwise_room(const m2s_depthwise *d, int64_t rows, bool gradient)
{
    int64_t pixels = m2s_depthwise_source_rows(d, rows) * m2s_depthwise_columns(d);

    return (pixels + (gradient ? rows * d->ow : 0)) * M2S_DEPTHWISE_LINE;
}

/* ---- updates (ops.def): the factors are those of the operation, multiplied out ---- */
typedef struct m2s_sgd {
    const float *param, *diff, *velocity;
    float *new_param, *new_velocity;
    float factor, decay, momentum, rate;
    bool nesterov;
} m2s_sgd;

typedef struct m2s_adamw {
    const float *param, *diff, *first, *second;
    float *new_param, *new_first, *new_second;
    float factor, decay, rate;
    float of_first;              /* 1 - beta1 */
    float old_second, of_second; /* beta2, 1 - beta2 */
    float correction1, correction2, epsilon;
} m2s_adamw;

/* ---- attention within windows: rows of pixels numbers, stride apart ---- */
typedef struct m2s_window_softmax {
    int64_t pixels, stride;
    float *scores;
    const float *bias;   /* forward: added to the scores */
    const float *piece;  /* forward, a number a pixel: those of different ones are far from each other; may be NULL */
    const float *shares; /* backward */
} m2s_window_softmax;

typedef struct m2s_cpu_kernels {
    const char *name; /* of the instruction set */
    int64_t vector;   /* floats in a vector */
    int64_t panel_columns, row_block;

    void (*gemm)(const m2s_gemm *gemm);
    void (*outer)(const m2s_outer *outer);
    void (*outer_pack)(const m2s_outer_pack *pack);
    void (*winograd_input[2])(const m2s_winograd_input *input); /* m = 2, 4 */
    void (*winograd_output[2])(const m2s_winograd_output *output);
    void (*winograd_weights[2])(const m2s_winograd_weights *weights);
    void (*winograd_diff[2])(const m2s_winograd_input *diff); /* tiles of m x m of the result's gradient */
    void (*winograd_grad[2])(const m2s_winograd_grad *grad);

    void (*add)(float *dst, const float *const *src, int32_t count, int64_t n, bool relu);
    void (*abs_diff)(float *dst, const float *a, const float *b, int64_t n);
    /* dst[p][c] = max(0, slope[c] plane[p] + offset[c]) */
    void (*plane_affine_relu)(float *dst, const float *plane, const float *slope, const float *offset, int64_t pixels,
                              int64_t channels);
    void (*channel_sum)(float *dst, const float *src, int64_t pixels, int64_t channels);
    void (*max_pool_row)(const m2s_window *window, int64_t oy);
    void (*avg_pool_row)(const m2s_window *window, int64_t oy);
    void (*resize_row)(const m2s_resize_rows *resize, int64_t oy);
    void (*subtract_rows)(const m2s_subtract *subtract, int64_t begin, int64_t end); /* rows of the result */

    void (*subtract_train_row)(const m2s_subtract_train *subtract, int64_t y);
    /* Row y of the gradient of B; what it adds to the gradient of A; sums, planes and totals. */
    void (*subtract_grad_row)(const m2s_subtract_train *subtract, int64_t y);
    /* line alone. */
    void (*subtract_gather_row)(const m2s_subtract_train *subtract, int64_t y);
    void (*plane_window)(const m2s_plane_window *window, int64_t begin, int64_t end); /* rows */
    /* dst = 0 where `where` <= 0, else src */
    void (*keep_positive)(float *dst, const float *src, const float *where, int64_t n);
    /* plus = src sign(a - b), minus = -plus */
    void (*signed_diff)(float *plus, float *minus, const float *src, const float *a, const float *b, int64_t n);
    /* dst = factor a b; b may be NULL: ones */
    void (*multiply)(float *dst, const float *a, const float *b, float factor, int64_t n);
    /* dst = factor (a - b) */
    void (*scaled_diff)(float *dst, const float *a, const float *b, float factor, int64_t n);
    /* Of a - b, summed in double; b may be NULL: zeros. */
    double (*sum_squares)(const float *a, const float *b, int64_t n);
    /* Rows [begin, end) of the gradient of one image; src is the gradient of the pool's result, `image` its source. */
    void (*max_pool_grad_rows)(const m2s_window *window, const float *image, int64_t begin, int64_t end);
    void (*avg_pool_grad_row)(const m2s_window *window, int64_t y);
    void (*resize_grad_row)(const m2s_resize_rows *resize, int64_t y);
    /* yes = 1 / (1 + exp(-x)), no = 1 - yes, tail = log(1 + exp(-|x|)), each to a few ulp; no and tail may be NULL. */
    void (*logistic)(float *yes, float *no, float *tail, const float *src, int64_t n);
    /* dst = of_a a + of_b b */
    void (*blend)(float *dst, const float *a, const float *b, float of_a, float of_b, int64_t n);
    void (*sgd)(const m2s_sgd *sgd, int64_t begin, int64_t end);
    void (*adamw)(const m2s_adamw *adamw, int64_t begin, int64_t end);
    /* dst += factor src */
    void (*add_scaled)(float *dst, const float *src, float factor, int64_t n);
    /* dst[p][c] += plane[p] */
    void (*add_plane)(float *dst, const float *plane, int64_t pixels, int64_t channels);

    /* Pixels [begin, end). sums = sum of src - shift, and of its square. */
    void (*norm_sums)(const m2s_norm *norm, int64_t begin, int64_t end);
    /* sums = sum of src - shift alone. */
    void (*pixel_sums)(const m2s_norm *norm, int64_t begin, int64_t end);
    /* dst = (src - mean) scale + beta, then ReLU if relu. */
    void (*norm_apply)(const m2s_norm *norm, int64_t begin, int64_t end);
    /* g = diff, or with ReLU 0 where its argument was <= 0: sums = sum of g, and of g (src - mean). */
    void (*norm_grad_sums)(const m2s_norm *norm, int64_t begin, int64_t end);
    /* The same, and dst = scale g. */
    void (*norm_grad_frozen)(const m2s_norm *norm, int64_t begin, int64_t end);
    /* dst = scale g + slope (src - mean) + offset. */
    void (*norm_grad_apply)(const m2s_norm *norm, int64_t begin, int64_t end);

    /* Pixels [begin, end). dst = gamma (src - mean) / sqrt(var + epsilon) + beta. */
    void (*layer_norm)(const m2s_layer *layer, int64_t begin, int64_t end);
    /* dst: the gradient of src; sums = sum of diff, and of diff times the normalised src. */
    void (*layer_norm_grad)(const m2s_layer *layer, int64_t begin, int64_t end);
    /* dst = gamma src */
    void (*scale_channels)(const m2s_layer *layer, int64_t begin, int64_t end);
    /* dst = gamma diff; the first row of sums = sum of diff src. */
    void (*scale_channels_grad)(const m2s_layer *layer, int64_t begin, int64_t end);
    /* dst = src Phi(src), Phi the normal distribution, to a few ulp of src. */
    void (*gelu)(float *dst, const float *src, int64_t n);
    void (*gelu_grad)(float *dst, const float *diff, const float *src, int64_t n);

    /* Rows begin..end of the result and the line of channels from c on. */
    void (*depthwise_band)(const m2s_depthwise *depthwise, int64_t begin, int64_t end, int64_t c);
    /* Rows begin..end of the result and channels c..c + count, without a copy. room: count zeros. */
    void (*depthwise_direct)(const m2s_depthwise *depthwise, int64_t begin, int64_t end, int64_t c, int64_t count);
    /* Adds to sums what rows begin..end of the result and the line of channels from c on give to the weights. */
    void (*depthwise_grad)(const m2s_depthwise *depthwise, int64_t begin, int64_t end, int64_t c);

    /* scores become shares. */
    void (*window_softmax)(const m2s_window_softmax *softmax);
    /* scores: from the gradient of the shares to that of the scores. */
    void (*window_softmax_back)(const m2s_window_softmax *softmax);

    /* Rows of `columns` numbers, `stride` apart: each becomes softmax(factor row), factor > 0. */
    void (*softmax_rows)(float *x, float factor, int64_t rows, int64_t columns, int64_t stride);
    /* back, gradients of rows y = softmax(factor x), become those of x. */
    void (*softmax_grad_rows)(float *back, const float *y, float factor, int64_t rows, int64_t columns, int64_t stride);
} m2s_cpu_kernels;

/* The best table that isa allows. */
const m2s_cpu_kernels *m2s_cpu_kernels_for(m2s_isa isa);

extern const m2s_cpu_kernels m2s_cpu_kernels_baseline;
#if defined(__x86_64__)
extern const m2s_cpu_kernels m2s_cpu_kernels_avx2;
extern const m2s_cpu_kernels m2s_cpu_kernels_avx512;
#endif

/* taps of a row of `out` columns from one of `in`. */
void m2s_resize_taps(int64_t in, int64_t out, m2s_tap *taps);

/* How far the widest window reaches beyond its centre. */
int64_t m2s_subtract_reach(const m2s_subtract *subtract);
/* Numbers of scratch that subtract_rows needs for so many rows at once. */
int64_t m2s_subtract_scratch(const m2s_subtract *subtract, int64_t rows);

/* Columns of a packed matrix, those of zeros at its end included. */
int64_t m2s_gemm_packed_columns(const m2s_cpu_kernels *kernels, int64_t columns);

#endif
