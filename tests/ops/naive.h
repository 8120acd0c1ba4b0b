/* SPDX-License-Identifier: Apache-2.0
 * Every operation once more, straight from its formula on doubles: what the reference kernels are checked against.
 * Written apart from them and as literally as possible: element access by indices, padding as a value of zero, one
 * output element at a time, fused operations as compositions of the plain ones. */
#ifndef M2S_TESTS_OPS_NAIVE_H
#define M2S_TESTS_OPS_NAIVE_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/graph.h"

typedef struct naive {
    m2s_shape shape; /* d[0] = 0: absent */
    double *data;
} naive;

static inline naive naive_new(int64_t n, int64_t h, int64_t w, int64_t c)
{
    return (naive){ { .d = { n, h, w, c } }, calloc((size_t)(n * h * w * c), sizeof(double)) };
}

static inline void naive_free(naive *t)
{
    free(t->data);
    t->data = NULL;
}

static inline double *naive_at(naive t, int64_t a, int64_t b, int64_t c, int64_t d)
{
    return &t.data[((a * t.shape.d[1] + b) * t.shape.d[2] + c) * t.shape.d[3] + d];
}

static inline bool naive_inside(naive t, int64_t y, int64_t x)
{
    return y >= 0 && y < t.shape.h && x >= 0 && x < t.shape.w;
}

/* 0 outside. */
static inline double naive_padded(naive t, int64_t n, int64_t y, int64_t x, int64_t c)
{
    return naive_inside(t, y, x) ? *naive_at(t, n, y, x, c) : 0.0;
}

#define NAIVE_EACH(t, i0, i1, i2, i3)                                                                                  \
    for (int64_t i0 = 0; i0 < (t).shape.d[0]; i0++)                                                                    \
        for (int64_t i1 = 0; i1 < (t).shape.d[1]; i1++)                                                                \
            for (int64_t i2 = 0; i2 < (t).shape.d[2]; i2++)                                                            \
                for (int64_t i3 = 0; i3 < (t).shape.d[3]; i3++)

static inline double naive_relu(double x)
{
    return x > 0.0 ? x : 0.0;
}

static inline naive naive_conv(naive src, naive weights, naive bias, naive residual, const m2s_attrs *a)
{
    int64_t h = (src.shape.h + 2 * a->pad - a->dilation * (weights.shape.kh - 1) - 1) / a->stride + 1;
    int64_t w = (src.shape.w + 2 * a->pad - a->dilation * (weights.shape.kw - 1) - 1) / a->stride + 1;
    naive dst = naive_new(src.shape.n, h, w, weights.shape.o);
    int64_t group_out = weights.shape.o / a->groups;

    NAIVE_EACH(dst, n, y, x, o)
    {
        double sum = bias.shape.o != 0 ? bias.data[o] : 0.0;
        for (int64_t i = 0; i < weights.shape.i; i++) {
            for (int64_t ky = 0; ky < weights.shape.kh; ky++) {
                for (int64_t kx = 0; kx < weights.shape.kw; kx++) {
                    sum += *naive_at(weights, o, i, ky, kx) *
                           naive_padded(src, n, y * a->stride - a->pad + ky * a->dilation,
                                        x * a->stride - a->pad + kx * a->dilation, o / group_out * weights.shape.i + i);
                }
            }
        }
        sum += residual.shape.n != 0 ? *naive_at(residual, n, y, x, o) : 0.0;
        *naive_at(dst, n, y, x, o) = a->relu ? naive_relu(sum) : sum;
    }
    return dst;
}

static inline naive naive_slice(naive src, int64_t begin, int64_t count)
{
    naive dst = naive_new(src.shape.n, src.shape.h, src.shape.w, count);

    NAIVE_EACH(dst, n, y, x, c)
    {
        *naive_at(dst, n, y, x, c) = *naive_at(src, n, y, x, begin + c);
    }
    return dst;
}

/* size as PyTorch: floor or ceil, and with ceil no window that starts beyond the input and its left padding. */
static inline int64_t naive_pool_size(int64_t size, const m2s_attrs *a)
{
    double exact = (double)(size + 2 * a->pad - a->kernel) / (double)a->stride;
    int64_t count = (int64_t)(a->ceil_mode ? ceil(exact) : floor(exact)) + 1;

    return a->ceil_mode && (count - 1) * a->stride >= size + a->pad ? count - 1 : count;
}

static inline naive naive_pool(naive src, const m2s_attrs *a, bool max)
{
    naive dst = naive_new(src.shape.n, naive_pool_size(src.shape.h, a), naive_pool_size(src.shape.w, a), src.shape.c);

    NAIVE_EACH(dst, n, y, x, c)
    {
        double sum = 0.0, most = -HUGE_VAL;
        int count = 0;
        for (int ky = 0; ky < a->kernel; ky++) {
            for (int kx = 0; kx < a->kernel; kx++) {
                int64_t sy = y * a->stride - a->pad + ky, sx = x * a->stride - a->pad + kx;
                sum += naive_padded(src, n, sy, sx, c);
                if (naive_inside(src, sy, sx)) {
                    most = fmax(most, *naive_at(src, n, sy, sx, c));
                    count++;
                }
            }
        }
        *naive_at(dst, n, y, x, c) = max ? most : sum / (a->count_include_pad ? a->kernel * a->kernel : count);
    }
    return dst;
}

/* As a weighted sum over all source pixels: each axis' weight is a hat of the clamped source coordinate. */
static inline double naive_hat(int64_t in, int64_t out, int64_t at, int64_t i)
{
    double src = fmin(fmax(((double)at + 0.5) * (double)in / (double)out - 0.5, 0.0), (double)(in - 1));

    return fmax(0.0, 1.0 - fabs(src - (double)i));
}

static inline naive naive_resize(naive src, int64_t h, int64_t w, naive addend)
{
    naive dst = naive_new(src.shape.n, h, w, src.shape.c);

    NAIVE_EACH(dst, n, y, x, c)
    {
        double sum = 0.0;
        for (int64_t sy = 0; sy < src.shape.h; sy++) {
            for (int64_t sx = 0; sx < src.shape.w; sx++) {
                sum +=
                    naive_hat(src.shape.h, h, y, sy) * naive_hat(src.shape.w, w, x, sx) * *naive_at(src, n, sy, sx, c);
            }
        }
        *naive_at(dst, n, y, x, c) = sum + (addend.shape.n != 0 ? *naive_at(addend, n, y, x, c) : 0.0);
    }
    return dst;
}

/* deviation 0: by the kernel. */
static inline double naive_gauss(int kernel, double deviation, int i)
{
    double sigma = deviation != 0.0 ? deviation : 0.3 * ((kernel - 1) * 0.5 - 1.0) + 0.8;
    double sum = 0.0, wanted = 0.0;

    for (int j = 0; j < kernel; j++) {
        double g = exp(-pow(j - (kernel - 1) / 2.0, 2.0) / (2.0 * sigma * sigma));
        sum += g;
        wanted = j == i ? g : wanted;
    }
    return wanted / sum;
}

/* mixing: the sum over all channels in every channel; else channel by channel. */
static inline naive naive_filter(naive src, int kernel, bool gaussian, double sigma, bool mixing)
{
    naive dst = naive_new(src.shape.n, src.shape.h, src.shape.w, src.shape.c);

    NAIVE_EACH(dst, n, y, x, c)
    {
        double sum = 0.0;
        if (mixing && c > 0) { /* the weights of all channels are the same, and so is the sum */
            *naive_at(dst, n, y, x, c) = *naive_at(dst, n, y, x, 0);
            continue;
        }
        for (int ky = 0; ky < kernel; ky++) {
            for (int kx = 0; kx < kernel; kx++) {
                double weight = gaussian ? naive_gauss(kernel, sigma, ky) * naive_gauss(kernel, sigma, kx) : 1.0;
                for (int64_t i = mixing ? 0 : c; i < (mixing ? src.shape.c : c + 1); i++) {
                    sum += weight * naive_padded(src, n, y + ky - kernel / 2, x + kx - kernel / 2, i);
                }
            }
        }
        *naive_at(dst, n, y, x, c) = sum;
    }
    return dst;
}

static inline naive naive_res2(const naive *in, const m2s_attrs *a)
{
    int64_t w = in[0].shape.c / 4;
    m2s_attrs conv = { .stride = a->stride, .pad = 1, .dilation = 1, .groups = 1, .relu = 1 };
    m2s_attrs pool = { .kernel = 3, .stride = a->stride, .pad = 1, .count_include_pad = 1 };
    naive s[4], dst, none = { .shape = { .n = 0 } };

    for (int i = 0; i < 4; i++) {
        naive y = naive_slice(in[0], i * w, w);
        if (i == 3) {
            s[i] = a->stage ? naive_pool(y, &pool, false) : naive_slice(y, 0, w);
        } else {
            if (i > 0 && !a->stage) {
                NAIVE_EACH(y, n, r, x, c)
                {
                    *naive_at(y, n, r, x, c) += *naive_at(s[i - 1], n, r, x, c);
                }
            }
            s[i] = naive_conv(y, in[1 + 2 * i], in[2 + 2 * i], none, &conv);
        }
        naive_free(&y);
    }
    dst = naive_new(s[0].shape.n, s[0].shape.h, s[0].shape.w, 4 * w);
    NAIVE_EACH(dst, n, y, x, c)
    {
        *naive_at(dst, n, y, x, c) = *naive_at(s[c / w], n, y, x, c % w);
    }
    for (int i = 0; i < 4; i++) {
        naive_free(&s[i]);
    }
    return dst;
}

static inline naive naive_subtract(const naive *in, const m2s_attrs *a)
{
    naive none = { .shape = { .n = 0 } };
    naive up = naive_resize(in[0], in[1].shape.h, in[1].shape.w, none);
    naive dst = naive_new(up.shape.n, up.shape.h, up.shape.w, up.shape.c);

    NAIVE_EACH(dst, n, y, x, c)
    {
        *naive_at(dst, n, y, x, c) = fabs(*naive_at(up, n, y, x, c) - *naive_at(in[1], n, y, x, c));
    }
    for (int k = 0; k < a->scales; k++) {
        naive fa = naive_filter(up, a->scale[k], a->gaussian != 0, a->alpha, true);
        naive fb = naive_filter(in[1], a->scale[k], a->gaussian != 0, a->alpha, true);
        NAIVE_EACH(dst, n, y, x, c)
        {
            double slope = in[2 + 2 * k].data[c], offset = in[3 + 2 * k].data[c];
            *naive_at(dst, n, y, x, c) += fabs(naive_relu(slope * *naive_at(fa, n, y, x, c) + offset) -
                                               naive_relu(slope * *naive_at(fb, n, y, x, c) + offset));
        }
        naive_free(&fa);
        naive_free(&fb);
    }
    naive_free(&up);
    return dst;
}

static inline double naive_bn_slope(naive gamma, naive var, int64_t c, double epsilon)
{
    return gamma.data[c] / sqrt(var.data[c] + epsilon);
}

/* Of one pixel's channels: the variance by pairs, sum over i < j of (x_i - x_j)^2 / C^2. */
static inline void naive_layer_statistics(const double *src, int64_t channels, double *mean, double *var)
{
    double count = (double)channels;

    *mean = *var = 0.0;
    for (int64_t i = 0; i < channels; i++) {
        *mean += src[i] / count;
        for (int64_t j = i + 1; j < channels; j++) {
            *var += pow((src[i] - src[j]) / count, 2.0);
        }
    }
}

static inline naive naive_layer_norm(naive src, naive gamma, naive beta, double epsilon)
{
    naive dst = naive_new(src.shape.n, src.shape.h, src.shape.w, src.shape.c);

    for (int64_t at = 0; at < m2s_shape_elements(src.shape); at += src.shape.c) {
        double mean, var;
        naive_layer_statistics(&src.data[at], src.shape.c, &mean, &var);
        for (int64_t c = 0; c < src.shape.c; c++) {
            dst.data[at + c] = gamma.data[c] * (src.data[at + c] - mean) / sqrt(var + epsilon) + beta.data[c];
        }
    }
    return dst;
}

/* The result of op on in; the caller frees it. in has M2S_MAX_IN entries. */
static inline naive naive_op(m2s_op op, const naive *in, int count, const m2s_attrs *a)
{
    m2s_shape s = in[0].shape;
    naive dst;

    switch (op) {
    case M2S_OP_conv2d:
        return naive_conv(in[0], in[1], in[2], in[3], a);
    case M2S_OP_res2_groups:
        return naive_res2(in, a);
    case M2S_OP_max_pool:
    case M2S_OP_avg_pool:
        return naive_pool(in[0], a, op == M2S_OP_max_pool);
    case M2S_OP_resize:
        return naive_resize(in[0], a->h, a->w, in[1]);
    case M2S_OP_slice_c:
        return naive_slice(in[0], a->begin, a->count);
    case M2S_OP_full_filter:
    case M2S_OP_box_filter:
        return naive_filter(in[0], a->kernel, a->gaussian != 0, a->alpha, op == M2S_OP_full_filter);
    case M2S_OP_multi_scale_subtract:
        return naive_subtract(in, a);
    case M2S_OP_layer_norm:
        return naive_layer_norm(in[0], in[1], in[2], a->epsilon);
    case M2S_OP_concat_o:
        dst = naive_new(s.o + in[1].shape.o, s.i, s.kh, s.kw);
        break;
    case M2S_OP_concat_c:
        dst = naive_new(s.n, s.h, s.w, 0);
        for (int i = 0; i < count; i++) {
            dst.shape.c += in[i].shape.c;
        }
        free(dst.data);
        dst = naive_new(s.n, s.h, s.w, dst.shape.c);
        break;
    case M2S_OP_channel_sum:
        dst = naive_new(s.n, s.h, s.w, 1);
        break;
    case M2S_OP_plane_affine_relu:
        dst = naive_new(s.n, s.h, s.w, in[1].shape.o);
        break;
    case M2S_OP_fold_bias:
        dst = naive_new(in[1].shape.o, 1, 1, 1);
        break;
    default:
        dst = naive_new(s.n, s.h, s.w, s.c);
    }
    NAIVE_EACH(dst, n, y, x, c)
    {
        double v = 0.0;
        switch (op) {
        case M2S_OP_batch_norm:
            v = (*naive_at(in[0], n, y, x, c) - in[3].data[c]) * naive_bn_slope(in[1], in[4], c, a->epsilon) +
                in[2].data[c];
            v = a->relu ? naive_relu(v) : v;
            break;
        case M2S_OP_fold_weights:
            v = *naive_at(in[0], n, y, x, c) * naive_bn_slope(in[1], in[2], n, a->epsilon);
            break;
        case M2S_OP_fold_bias:
            v = ((in[0].shape.o != 0 ? in[0].data[n] : 0.0) - in[3].data[n]) *
                    naive_bn_slope(in[1], in[4], n, a->epsilon) +
                in[2].data[n];
            break;
        case M2S_OP_fold_scale:
            v = naive_bn_slope(in[0], in[1], n, a->epsilon);
            break;
        case M2S_OP_concat_o:
            v = n < s.o ? *naive_at(in[0], n, y, x, c) : *naive_at(in[1], n - s.o, y, x, c);
            break;
        case M2S_OP_gelu:
            v = *naive_at(in[0], n, y, x, c);
            v *= 0.5 * (1.0 + erf(v / sqrt(2.0)));
            break;
        case M2S_OP_scale_c:
            v = *naive_at(in[0], n, y, x, c) * in[1].data[c];
            break;
        case M2S_OP_relu:
            v = naive_relu(*naive_at(in[0], n, y, x, c));
            break;
        case M2S_OP_add:
            for (int i = 0; i < count; i++) {
                v += *naive_at(in[i], n, y, x, c);
            }
            v = a->relu ? naive_relu(v) : v;
            break;
        case M2S_OP_abs_diff:
            v = fabs(*naive_at(in[0], n, y, x, c) - *naive_at(in[1], n, y, x, c));
            break;
        case M2S_OP_concat_c: {
            int i = 0;
            int64_t left = c;
            while (left >= in[i].shape.c) {
                left -= in[i++].shape.c;
            }
            v = *naive_at(in[i], n, y, x, left);
            break;
        }
        case M2S_OP_channel_sum:
            for (int64_t i = 0; i < s.c; i++) {
                v += *naive_at(in[0], n, y, x, i);
            }
            break;
        case M2S_OP_plane_affine_relu:
            v = naive_relu(in[1].data[c] * *naive_at(in[0], n, y, x, 0) + in[2].data[c]);
            break;
        default:
            v = NAN; /* an operation without a definition here never passes */
        }
        *naive_at(dst, n, y, x, c) = v;
    }
    return dst;
}

#endif
