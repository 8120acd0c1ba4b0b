/* SPDX-License-Identifier: Apache-2.0
 * How the reference kernels cut their work: by rows or pixels of the result, from the shapes alone, so that no number
 * depends on how many threads there are. Also the few scalar definitions that both precisions share. */
#ifndef M2S_BACKENDS_REF_KERNEL_CUTS_H
#define M2S_BACKENDS_REF_KERNEL_CUTS_H

#include <math.h>

#include "backends/ref/ref.h"
#include "core/rng.h"

/* About this many numbers of the result make one chunk of an elementwise kernel. */
#define CHUNK_ELEMENTS 16384

typedef struct row_range {
    int64_t begin, end; /* rows of the result, counted through all images */
} row_range;

static inline int64_t rows_per_chunk(m2s_shape shape)
{
    int64_t row = shape.w * shape.c;

    return row >= CHUNK_ELEMENTS ? 1 : CHUNK_ELEMENTS / row;
}

static inline int64_t row_chunks(const m2s_ref_args *args)
{
    m2s_shape shape = args->out_shape[0];
    int64_t each = rows_per_chunk(shape);

    return (shape.n * shape.h + each - 1) / each;
}

static inline row_range chunk_rows(const m2s_ref_args *args, int64_t chunk)
{
    m2s_shape shape = args->out_shape[0];
    int64_t each = rows_per_chunk(shape);
    int64_t rows = shape.n * shape.h;
    int64_t end = (chunk + 1) * each;

    return (row_range){ chunk * each, end < rows ? end : rows };
}

static inline int64_t image_chunks(const m2s_ref_args *args)
{
    return args->out_shape[0].n;
}

#define LANES 16 /* channels that one chunk of a sum over pixels makes */

/* For results that are sums over pixels, one a channel: chunks are blocks of channels. */
static inline int64_t channel_blocks(int64_t channels)
{
    return (channels + LANES - 1) / LANES;
}

static inline int64_t block_lanes(int64_t channels, int64_t block)
{
    return channels - block * LANES < LANES ? channels - block * LANES : LANES;
}

static inline int64_t input_channel_chunks(const m2s_ref_args *args)
{
    return channel_blocks(args->in_shape[0].c);
}

/* A NaN stays a NaN, as in PyTorch. */
static inline double positive_part(double value)
{
    return value < 0.0 ? 0.0 : value;
}

/* What max(0, value) lets through of diff; a NaN lets it through, so that it does not hide. */
static inline double through_positive_part(double value, double diff)
{
    return value <= 0.0 ? 0.0 : diff;
}

/* The derivative of |value|: 0 at 0, and a NaN stays a NaN. */
static inline double sign_of(double value)
{
    return value > 0.0 ? 1.0 : value < 0.0 ? -1.0 : value;
}

static inline double sigmoid_of(double value)
{
    return 1.0 / (1.0 + exp(-value));
}

/* The distribution of a standard normal number. */
static inline double normal_distribution(double value)
{
    return 0.5 * erfc(value * -0.70710678118654752440);
}

/* drop_path: what an image is multiplied by; 0 = dropped. */
static inline double drop_path_factor(const m2s_attrs *attrs, double draw, int64_t image)
{
    uint64_t stream = draw >= 0.0 && draw < 0x1p53 ? (uint64_t)draw : 0;
    uint64_t at = ((uint64_t)(uint32_t)attrs->begin << 32) + (uint64_t)image;

    return m2s_rng_uniform(stream, at) < attrs->alpha ? 0.0 : 1.0 / (1.0 - attrs->alpha);
}

/* Batch norm of one number. Gradients compute it anew, and where a ReLU follows, its sign must come out the same. */
static inline double norm_affine(double value, double mean, double deviation, double gamma, double beta)
{
    return gamma * (value - mean) / deviation + beta;
}

/* One axis of the bilinear resize: value = low_weight * src[low] + high_weight * src[high]. */
typedef struct resize_tap {
    int64_t low, high;
    double low_weight, high_weight;
} resize_tap;

/* Half-pixel centres, clamped at the first sample. PyTorch computes these coordinates in the tensor's precision; here
 * they are double in both plans, which is the same number wherever in / out is a power of two (1, 2 and 4 in the
 * networks at multiples of 32) and the closer one elsewhere. */
static inline resize_tap resize_tap_at(int64_t in, int64_t out, int64_t at)
{
    double src = (double)in / (double)out * ((double)at + 0.5) - 0.5;
    resize_tap tap;

    src = src < 0.0 ? 0.0 : src;
    tap.low = (int64_t)src;
    tap.low = tap.low < in - 1 ? tap.low : in - 1;
    tap.high = tap.low < in - 1 ? tap.low + 1 : tap.low;
    tap.high_weight = src - (double)tap.low;
    tap.low_weight = 1.0 - tap.high_weight;
    return tap;
}

/* The weight that source sample i has in a result with these taps. */
static inline double resize_weight(resize_tap tap, int64_t i)
{
    return (tap.low == i ? tap.low_weight : 0.0) + (tap.high == i ? tap.high_weight : 0.0);
}

/* Results [begin, end) are all, and a few more, that source sample i has a weight in. */
static inline void resize_reach(int64_t in, int64_t out, int64_t i, int64_t *begin, int64_t *end)
{
    double step = (double)out / (double)in;
    int64_t low = (int64_t)floor(((double)i - 0.5) * step - 0.5) - 1;
    int64_t high = (int64_t)ceil(((double)i + 1.5) * step - 0.5) + 2;

    *begin = i == 0 || low < 0 ? 0 : low;
    *end = i == in - 1 || high > out ? out : high;
}

#define MAX_WINDOW 31 /* the filters' shape rule allows no more */

/* The filters' window is weight[i] weight[j], i and j in 0..kernel-1: ones, or a Gaussian that sums to 1, of
 * deviation attrs->alpha or, where that is 0, by the kernel. */
static inline void window_weights(const m2s_attrs *attrs, int64_t kernel, double weight[MAX_WINDOW])
{
    double centre = ((double)kernel - 1.0) / 2.0;
    double sigma = attrs->alpha > 0.0 ? attrs->alpha : 0.3 * (centre - 1.0) + 0.8;
    double sum = 0.0;

    for (int64_t i = 0; i < kernel; i++) {
        double x = (double)i - centre;
        weight[i] = attrs->gaussian != 0 ? exp(-x * x / (2.0 * sigma * sigma)) : 1.0;
        sum += weight[i];
    }
    for (int64_t i = 0; i < kernel && attrs->gaussian != 0; i++) {
        weight[i] /= sum;
    }
}

#endif
