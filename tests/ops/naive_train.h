/* SPDX-License-Identifier: Apache-2.0
 * naive.h for the operations of a training step. Gradients are written from their definition rather than as kernels
 * compute them: by going through the forward operation's products and sending each back (adjoints), by whole Jacobians
 * (norms, softmax), and for the multi-scale unit by its full convolutions with c x c x k x k ones. */
#ifndef M2S_TESTS_OPS_NAIVE_TRAIN_H
#define M2S_TESTS_OPS_NAIVE_TRAIN_H

#include "core/rng.h"
#include "ops/naive.h"
#include "ops/naive_attention.h"
#include "ops/naive_window.h"

static inline naive naive_like(naive t)
{
    return naive_new(t.shape.d[0], t.shape.d[1], t.shape.d[2], t.shape.d[3]);
}

static inline naive naive_vector(int64_t c)
{
    return naive_new(c, 1, 1, 1);
}

static inline naive naive_scalar(double value)
{
    naive t = naive_vector(1);

    t.data[0] = value;
    return t;
}

static inline double naive_sign(double x)
{
    return (double)((x > 0.0) - (x < 0.0));
}

/* ---- convolution ---- */

/* Every product of the convolution, sent back to its source number or to its weight. */
static inline void naive_conv_back(naive src, naive weights, naive diff, const m2s_attrs *a, bool to_src)
{
    int64_t group_out = diff.shape.c / a->groups;

    NAIVE_EACH(diff, n, y, x, o)
    {
        NAIVE_EACH(weights, unused, i, ky, kx)
        {
            int64_t sy = y * a->stride - a->pad + ky * a->dilation, sx = x * a->stride - a->pad + kx * a->dilation;
            int64_t si = o / group_out * weights.shape.i + i;
            if (unused != 0 || !naive_inside(src, sy, sx)) {
                continue;
            }
            if (to_src) {
                *naive_at(src, n, sy, sx, si) += *naive_at(weights, o, i, ky, kx) * *naive_at(diff, n, y, x, o);
            } else {
                *naive_at(weights, o, i, ky, kx) += *naive_at(src, n, sy, sx, si) * *naive_at(diff, n, y, x, o);
            }
        }
    }
}

/* ---- norms ---- */

/* Element p of channel c, p over n, h, w. */
static inline double *naive_pixel(naive t, int64_t p, int64_t c)
{
    return &t.data[p * t.shape.c + c];
}

static inline int64_t naive_pixels(naive t)
{
    return t.shape.n * t.shape.h * t.shape.w;
}

/* Variance by pairs: sum over i < j of (x_i - x_j)^2 / M^2. */
static inline void naive_statistics(naive src, int64_t c, double *mean, double *var)
{
    int64_t count = naive_pixels(src);
    double m = (double)count;

    *mean = *var = 0.0;
    for (int64_t i = 0; i < count; i++) {
        *mean += *naive_pixel(src, i, c);
        for (int64_t j = i + 1; j < count; j++) {
            *var += pow(*naive_pixel(src, i, c) - *naive_pixel(src, j, c), 2.0);
        }
    }
    *mean /= m;
    *var /= m * m;
}

/* One channel of batch norm, by its Jacobian: dy_i / dx_j = gamma / sqrt(v) (delta_ij - (1 + x_i x_j) / M), with x
 * normalised; without the part that comes from the statistics when these are constants. */
static inline void naive_norm_back(naive diff, naive src, int64_t c, double gamma, double beta, double mean, double var,
                                   const m2s_attrs *a, naive diff_src, double *diff_gamma, double *diff_beta)
{
    int64_t count = naive_pixels(src);
    double root = sqrt(var + a->epsilon);

    for (int64_t i = 0; i < count; i++) {
        double xi = (*naive_pixel(src, i, c) - mean) / root, g = *naive_pixel(diff, i, c);
        if (a->relu && !(gamma * xi + beta > 0.0)) {
            continue;
        }
        *diff_gamma += g * xi;
        *diff_beta += g;
        for (int64_t j = 0; j < count; j++) {
            double xj = (*naive_pixel(src, j, c) - mean) / root;
            double slope = (i == j ? 1.0 : 0.0) - (a->frozen ? 0.0 : (1.0 + xi * xj) / (double)count);
            *naive_pixel(diff_src, j, c) += g * gamma / root * slope;
        }
    }
}

/* One pixel of layer norm, by its Jacobian: dx_i / ds_j = (delta_ij - (1 + x_i x_j) / C) / sqrt(v). */
static inline void naive_layer_back(naive diff, naive src, naive gamma, int64_t p, double epsilon, naive *out)
{
    int64_t channels = src.shape.c;
    double mean, var;

    naive_layer_statistics(&src.data[p * channels], channels, &mean, &var);
    double root = sqrt(var + epsilon);
    for (int64_t i = 0; i < channels; i++) {
        double xi = (*naive_pixel(src, p, i) - mean) / root, g = *naive_pixel(diff, p, i);
        out[1].data[i] += g * xi;
        out[2].data[i] += g;
        for (int64_t j = 0; j < channels; j++) {
            double xj = (*naive_pixel(src, p, j) - mean) / root;
            double slope = (i == j ? 1.0 : 0.0) - (1.0 + xi * xj) / (double)channels;
            *naive_pixel(out[0], p, j) += g * gamma.data[i] / root * slope;
        }
    }
}

/* The derivative of x Phi(x). */
static inline double naive_gelu_slope(double x)
{
    double phi = exp(-x * x / 2.0) / sqrt(2.0 * acos(-1.0));

    return 0.5 + 0.5 * erf(x / sqrt(2.0)) + x * phi;
}

/* ---- pools ---- */

static inline naive naive_pool_back(naive diff, naive src, m2s_shape shape, const m2s_attrs *a, bool max)
{
    naive dst = naive_new(shape.n, shape.h, shape.w, shape.c);

    NAIVE_EACH(diff, n, y, x, c)
    {
        int64_t count = 0, best_y = -1, best_x = -1;
        for (int pass = 0; pass < 2; pass++) {
            for (int64_t sy = y * a->stride - a->pad; sy < y * a->stride - a->pad + a->kernel; sy++) {
                for (int64_t sx = x * a->stride - a->pad; sx < x * a->stride - a->pad + a->kernel; sx++) {
                    if (!naive_inside(dst, sy, sx)) {
                        continue;
                    }
                    if (pass == 0) {
                        count++;
                        if (max &&
                            (best_y < 0 || *naive_at(src, n, sy, sx, c) > *naive_at(src, n, best_y, best_x, c))) {
                            best_y = sy;
                            best_x = sx;
                        }
                    } else if (!max) {
                        *naive_at(dst, n, sy, sx, c) +=
                            *naive_at(diff, n, y, x, c) /
                            (double)(a->count_include_pad ? (int64_t)a->kernel * a->kernel : count);
                    }
                }
            }
        }
        if (max) {
            *naive_at(dst, n, best_y, best_x, c) += *naive_at(diff, n, y, x, c);
        }
    }
    return dst;
}

static inline naive naive_resize_back(naive diff, int64_t h, int64_t w)
{
    naive dst = naive_new(diff.shape.n, h, w, diff.shape.c);

    NAIVE_EACH(diff, n, y, x, c)
    {
        for (int64_t sy = 0; sy < h; sy++) {
            for (int64_t sx = 0; sx < w; sx++) {
                *naive_at(dst, n, sy, sx, c) +=
                    naive_hat(h, diff.shape.h, y, sy) * naive_hat(w, diff.shape.w, x, sx) * *naive_at(diff, n, y, x, c);
            }
        }
    }
    return dst;
}

/* ---- the multi-scale unit ---- */

/* c x c x k x k: the window's weights for every pair of channels. */
static inline naive naive_window(int64_t c, int kernel, const m2s_attrs *a)
{
    naive weights = naive_new(c, c, kernel, kernel);

    NAIVE_EACH(weights, o, i, ky, kx)
    {
        *naive_at(weights, o, i, ky, kx) =
            a->gaussian ? naive_gauss(kernel, a->alpha, (int)ky) * naive_gauss(kernel, a->alpha, (int)kx) : 1.0;
    }
    return weights;
}

/* norm points to a scale's gamma, beta, running mean, running variance; statistics to a side's mean and variance. */
static inline double naive_unit_z(const naive *norm, const double *statistics, const m2s_attrs *a, double s, int64_t c)
{
    double mean = a->frozen ? norm[2].data[c] : statistics[0], var = a->frozen ? norm[3].data[c] : statistics[1];

    return norm[0].data[c] * (s - mean) / sqrt(var + a->epsilon) + norm[1].data[c];
}

/* in: A, B, norms; out: T, statistics, planes. */
static inline void naive_unit(const naive *in, const m2s_attrs *a, naive *out)
{
    naive none = { .shape = { .n = 0 } };
    naive side[2] = { naive_resize(in[0], in[1].shape.h, in[1].shape.w, none), in[1] };

    out[0] = naive_like(in[1]);
    out[1] = naive_vector(4 * a->scales);
    out[2] = naive_new(in[1].shape.n, in[1].shape.h, in[1].shape.w, 2 * a->scales);
    NAIVE_EACH(out[0], n, y, x, c)
    {
        *naive_at(out[0], n, y, x, c) = fabs(*naive_at(side[0], n, y, x, c) - *naive_at(side[1], n, y, x, c));
    }
    for (int k = 0; k < a->scales; k++) {
        m2s_attrs conv = { .stride = 1, .pad = a->scale[k] / 2, .dilation = 1, .groups = 1 };
        naive weights = naive_window(in[1].shape.c, a->scale[k], a), s[2];
        for (int i = 0; i < 2; i++) {
            double *at = out[1].data + 4 * k + 2 * i;
            s[i] = naive_conv(side[i], weights, none, none, &conv);
            if (!a->frozen) {
                naive_statistics(s[i], 0, at, at + 1);
            }
            for (int64_t p = 0; p < naive_pixels(s[i]); p++) {
                *naive_pixel(out[2], p, 2 * k + i) = *naive_pixel(s[i], p, 0);
            }
        }
        for (int64_t p = 0; p < naive_pixels(s[0]); p++) {
            for (int64_t c = 0; c < in[1].shape.c; c++) {
                const naive *norm = in + 2 + 4 * k;
                const double *at = out[1].data + 4 * k;
                *naive_pixel(out[0], p, c) +=
                    fabs(naive_relu(naive_unit_z(norm, at, a, *naive_pixel(s[0], p, c), c)) -
                         naive_relu(naive_unit_z(norm, at + 2, a, *naive_pixel(s[1], p, c), c)));
            }
        }
        naive_free(&s[0]);
        naive_free(&s[1]);
        naive_free(&weights);
    }
    naive_free(&side[0]);
}

/* in: diff_T, A, B, statistics, planes, norms; out: diff_A, diff_B, then diff_gamma, diff_beta of each scale. */
static inline void naive_unit_back(const naive *in, const m2s_attrs *a, naive *out)
{
    naive none = { .shape = { .n = 0 } };
    naive up = naive_resize(in[1], in[2].shape.h, in[2].shape.w, none);
    naive diff[2] = { naive_like(up), naive_like(up) };
    int64_t channels = up.shape.c;

    NAIVE_EACH(up, n, y, x, c)
    {
        double g = *naive_at(in[0], n, y, x, c) * naive_sign(*naive_at(up, n, y, x, c) - *naive_at(in[2], n, y, x, c));
        *naive_at(diff[0], n, y, x, c) = g;
        *naive_at(diff[1], n, y, x, c) = -g;
    }
    for (int k = 0; k < a->scales; k++) {
        const naive *norm = in + 5 + 4 * k;
        m2s_attrs conv = { .stride = 1, .pad = a->scale[k] / 2, .dilation = 1, .groups = 1 };
        m2s_attrs bn = { .epsilon = a->epsilon, .frozen = a->frozen };
        naive weights = naive_window(channels, a->scale[k], a), g[2], s[2];
        for (int i = 0; i < 2; i++) {
            g[i] = naive_like(up); /* of z */
            s[i] = naive_like(up);
            for (int64_t e = 0; e < m2s_shape_elements(up.shape); e++) {
                s[i].data[e] = *naive_pixel(in[4], e / channels, 2 * k + i);
            }
        }
        for (int64_t e = 0; e < m2s_shape_elements(up.shape); e++) {
            const double *at = in[3].data + 4 * k;
            double z[2] = { naive_unit_z(norm, at, a, s[0].data[e], e % channels),
                            naive_unit_z(norm, at + 2, a, s[1].data[e], e % channels) };
            double sign = naive_sign(naive_relu(z[0]) - naive_relu(z[1]));
            g[0].data[e] = z[0] > 0.0 ? in[0].data[e] * sign : 0.0;
            g[1].data[e] = z[1] > 0.0 ? -in[0].data[e] * sign : 0.0;
        }
        out[2 + 2 * k] = naive_vector(channels);
        out[3 + 2 * k] = naive_vector(channels);
        for (int i = 0; i < 2; i++) {
            naive ds = naive_like(up);
            const double *at = in[3].data + 4 * k + 2 * i;
            for (int64_t c = 0; c < channels; c++) {
                naive_norm_back(g[i], s[i], c, norm[0].data[c], norm[1].data[c], a->frozen ? norm[2].data[c] : at[0],
                                a->frozen ? norm[3].data[c] : at[1], &bn, ds, &out[2 + 2 * k].data[c],
                                &out[3 + 2 * k].data[c]);
            }
            naive_conv_back(diff[i], weights, ds, &conv, true);
            naive_free(&ds);
            naive_free(&g[i]);
            naive_free(&s[i]);
        }
        naive_free(&weights);
    }
    out[0] = naive_resize_back(diff[0], in[1].shape.h, in[1].shape.w);
    out[1] = diff[1];
    naive_free(&diff[0]);
    naive_free(&up);
}

/* ---- objectives ---- */

static inline double naive_sigmoid(double x)
{
    return 0.5 + 0.5 * tanh(0.5 * x);
}

/* The mean over images and channels of what `terms` gives for one of them; its gradient in the first input times diff
 * goes to back, when that has data. */
typedef struct naive_plane {
    naive x, m, w; /* w.shape.n = 0: none */
    int64_t n, c;
    const m2s_attrs *a;
} naive_plane;

static inline double naive_bce(double p, double m)
{
    return -m * log(p) - (1.0 - m) * log(1.0 - p);
}

static inline double naive_plane_bce(const naive_plane *q, naive back, double diff)
{
    double sum = 0.0, weight = 0.0;

    for (int pass = 0; pass < (back.data != NULL ? 2 : 1); pass++) {
        for (int64_t y = 0; y < q->x.shape.h; y++) {
            for (int64_t x = 0; x < q->x.shape.w; x++) {
                double w = q->a->form == 0 ? *naive_at(q->w, q->n, y, x, q->c) : 1.0;
                double p = naive_sigmoid(*naive_at(q->x, q->n, y, x, q->c)), m = *naive_at(q->m, q->n, y, x, q->c);
                if (pass == 0) {
                    sum += w * naive_bce(p, m);
                    weight += w;
                } else {
                    double slope = -m / p + (1.0 - m) / (1.0 - p);
                    *naive_at(back, q->n, y, x, q->c) = diff * w / weight * slope * p * (1.0 - p);
                }
            }
        }
    }
    return sum / weight;
}

/* 1 - (I + 1) / (S - I + 1): with I' and S' of one pixel, the quotient rule. */
static inline double naive_plane_iou(const naive_plane *q, naive back, double diff)
{
    double both = 0.0, sum = 0.0;

    for (int pass = 0; pass < (back.data != NULL ? 2 : 1); pass++) {
        for (int64_t y = 0; y < q->x.shape.h; y++) {
            for (int64_t x = 0; x < q->x.shape.w; x++) {
                double w = *naive_at(q->w, q->n, y, x, q->c);
                double p = naive_sigmoid(*naive_at(q->x, q->n, y, x, q->c)), m = *naive_at(q->m, q->n, y, x, q->c);
                if (pass == 0) {
                    both += p * m * w;
                    sum += (p + m) * w;
                } else {
                    double slope = w * p * (1.0 - p), over = both + 1.0, under = sum - both + 1.0;
                    *naive_at(back, q->n, y, x, q->c) =
                        -diff * (slope * m * under - over * (slope - slope * m)) / (under * under);
                }
            }
        }
    }
    return 1.0 - (both + 1.0) / (sum - both + 1.0);
}

static inline double naive_objective(m2s_op op, naive x, naive m, naive w, const m2s_attrs *a, naive back, double diff)
{
    double total = 0.0, parts = (double)(x.shape.n * x.shape.c);

    for (int64_t n = 0; n < x.shape.n; n++) {
        for (int64_t c = 0; c < x.shape.c; c++) {
            naive_plane q = { x, m, w, n, c, a };
            total += (op == M2S_OP_weighted_bce ? naive_plane_bce(&q, back, diff / parts)
                                                : naive_plane_iou(&q, back, diff / parts)) /
                     parts;
        }
    }
    return total;
}

/* As the mean of ratios, or as one ratio a channel. */
static inline double naive_dice(naive p, naive m, const m2s_attrs *a, naive back, double diff)
{
    int64_t groups = a->form == 0 ? p.shape.n : 1, channels = p.shape.c - a->begin;
    double total = 0.0, parts = (double)(groups * channels);

    for (int64_t g = 0; g < groups; g++) {
        for (int64_t c = a->begin; c < p.shape.c; c++) {
            double both = 0.0, sum = 0.0;
            for (int pass = 0; pass < (back.data != NULL ? 2 : 1); pass++) {
                NAIVE_EACH(p, n, y, x, i)
                {
                    double pe = *naive_at(p, n, y, x, i), me = *naive_at(m, n, y, x, i);
                    if (i != c || (a->form == 0 && n != g)) {
                        continue;
                    }
                    if (pass == 0) {
                        both += pe * me;
                        sum += pe + me;
                    } else {
                        double under = sum + a->epsilon;
                        *naive_at(back, n, y, x, i) =
                            -diff / parts * (2.0 * me / under - (2.0 * both + a->epsilon) / (under * under));
                    }
                }
            }
            total += (2.0 * both + a->epsilon) / (sum + a->epsilon);
        }
    }
    return 1.0 - total / parts;
}

/* softmax_c as 1 / sum_j exp(x_j - x_c) */
static inline double naive_softmax(naive x, int64_t p, int64_t c)
{
    double sum = 0.0;

    for (int64_t j = 0; j < x.shape.c; j++) {
        sum += exp(*naive_pixel(x, p, j) - *naive_pixel(x, p, c));
    }
    return 1.0 / sum;
}

/* The gradient through softmax's Jacobian: sum_j -m_j / y_j y_j (delta_jc - y_c). */
static inline double naive_cross_entropy(naive x, naive m, naive back, double diff)
{
    double total = 0.0, pixels = (double)naive_pixels(x);

    for (int64_t p = 0; p < naive_pixels(x); p++) {
        for (int64_t j = 0; j < x.shape.c; j++) {
            total -= *naive_pixel(m, p, j) * log(naive_softmax(x, p, j)) / pixels;
            for (int64_t c = 0; back.data != NULL && c < x.shape.c; c++) {
                *naive_pixel(back, p, c) -=
                    diff / pixels * *naive_pixel(m, p, j) * ((j == c ? 1.0 : 0.0) - naive_softmax(x, p, c));
            }
        }
    }
    return total;
}

static inline double naive_distance(naive t, naive target, const m2s_attrs *a, naive back, double diff)
{
    double total = 0.0, images = (double)t.shape.n, each = (double)m2s_shape_elements(t.shape) / images;

    for (int64_t n = 0; n < t.shape.n; n++) {
        double square = 0.0;
        for (int pass = 0; pass < (back.data != NULL ? 2 : 1); pass++) {
            NAIVE_EACH(t, i, y, x, c)
            {
                double off = *naive_at(t, i, y, x, c) - *naive_at(target, i, y, x, c);
                if (i == n && pass == 0) {
                    square += off * off;
                } else if (i == n) {
                    *naive_at(back, i, y, x, c) = a->form == 0    ? diff * 2.0 * off / (each * images)
                                                  : square == 0.0 ? 0.0
                                                                  : diff * off / sqrt(square) / images;
                }
            }
        }
        total += a->form == 0 ? square / each / images : sqrt(square) / images;
    }
    return total;
}

/* ---- updates ---- */

/* One number of an update: old[] holds those it replaces, s the scalars after them. */
static inline void naive_update(m2s_op op, const naive *in, int count, const m2s_attrs *a, int64_t e, naive *out)
{
    double g = in[1].data[e < m2s_shape_elements(in[1].shape) ? e : 0];

    if (op == M2S_OP_running_average) {
        double old = in[0].data[e], fresh = a->count == 1 ? in[1].data[a->begin] : g;
        out[0].data[e] = in[2].data[0] != 0.0 ? old + a->alpha * (a->beta * fresh - old) : old;
    } else if (op == M2S_OP_accumulate) {
        double old = in[2].data[0] != 0.0 ? in[0].data[e] * in[2].data[0] : 0.0;
        out[0].data[e] = in[3].data[0] != 0.0 ? old + g : old;
    } else if (op == M2S_OP_sgd) {
        double old = in[0].data[e], v = in[2].data[e], rate = a->alpha * in[3].data[0];
        out[0].data[e] = old;
        out[1].data[e] = v;
        if (in[4].data[0] != 0.0) {
            g = g * (count > 5 && in[5].data != NULL ? in[5].data[0] : 1.0) + a->weight_decay * old;
            v = a->momentum * v + g;
            out[1].data[e] = v;
            out[0].data[e] = a->form ? old - rate * g - rate * a->momentum * v : old - rate * v;
        }
    } else {
        double old = in[0].data[e], m = in[2].data[e], v = in[3].data[e], rate = a->alpha * in[4].data[0];
        out[0].data[e] = old;
        out[1].data[e] = m;
        out[2].data[e] = v;
        if (in[5].data[0] != 0.0) {
            g *= count > 8 && in[8].data != NULL ? in[8].data[0] : 1.0;
            m = a->momentum * m + (1.0 - a->momentum) * g;
            v = a->beta * v + (1.0 - a->beta) * g * g;
            out[1].data[e] = m;
            out[2].data[e] = v;
            out[0].data[e] = old * (1.0 - rate * a->weight_decay) -
                             rate * m / in[6].data[0] / (sqrt(v / in[7].data[0]) + a->epsilon);
        }
    }
}

/* ---- all of them ---- */

/* The results of op on in, for the caller to free; returns their number. in and out have M2S_MAX_IN and M2S_MAX_OUT
 * entries. */
static inline int naive_train(m2s_op op, const naive *in, int count, const m2s_attrs *a, naive *out)
{
    const naive none = { .data = NULL };
    const naive *first = &in[0];
    m2s_shape s = in[0].shape;

    switch (op) {
    case M2S_OP_conv2d_grad_src:
        out[0] = naive_new(s.n, a->h, a->w, in[1].shape.i * a->groups);
        naive_conv_back(out[0], in[1], in[0], a, true);
        return 1;
    case M2S_OP_conv2d_grad_weights:
        out[0] = naive_new(in[1].shape.c, s.c / a->groups, a->kernel, a->kernel);
        naive_conv_back(in[0], out[0], in[1], a, false);
        return 1;
    case M2S_OP_transpose_weights:
        out[0] = naive_new(s.i, s.o, s.kh, s.kw);
        NAIVE_EACH(*first, o, i, ky, kx)
        {
            *naive_at(out[0], i, o, s.kh - 1 - ky, s.kw - 1 - kx) = *naive_at(in[0], o, i, ky, kx);
        }
        return 1;
    case M2S_OP_batch_norm_train:
        out[0] = naive_like(in[0]);
        out[1] = naive_vector(s.c);
        out[2] = naive_vector(s.c);
        for (int64_t c = 0; c < s.c; c++) {
            naive_statistics(in[0], c, &out[1].data[c], &out[2].data[c]);
            for (int64_t p = 0; p < naive_pixels(in[0]); p++) {
                double z = (*naive_pixel(in[0], p, c) - out[1].data[c]) * naive_bn_slope(in[1], out[2], c, a->epsilon) +
                           in[2].data[c];
                *naive_pixel(out[0], p, c) = a->relu ? naive_relu(z) : z;
            }
        }
        return 3;
    case M2S_OP_batch_norm_grad:
        out[0] = naive_like(in[0]);
        out[1] = naive_vector(s.c);
        out[2] = naive_vector(s.c);
        for (int64_t c = 0; c < s.c; c++) {
            naive_norm_back(in[0], in[1], c, in[2].data[c], in[3].data[c], in[4].data[c], in[5].data[c], a, out[0],
                            &out[1].data[c], &out[2].data[c]);
        }
        return 3;
    case M2S_OP_layer_norm_grad:
        out[0] = naive_like(in[1]);
        out[1] = naive_vector(s.c);
        out[2] = naive_vector(s.c);
        for (int64_t p = 0; p < naive_pixels(in[0]); p++) {
            naive_layer_back(in[0], in[1], in[2], p, a->epsilon, out);
        }
        return 3;
    case M2S_OP_drop_path:
        out[0] = naive_like(in[0]);
        NAIVE_EACH(*first, n, y, x, c)
        {
            double u = m2s_rng_uniform((uint64_t)floor(in[1].data[0]), ((uint64_t)a->begin << 32) + (uint64_t)n);
            *naive_at(out[0], n, y, x, c) = u < a->alpha ? 0.0 : *naive_at(in[0], n, y, x, c) / (1.0 - a->alpha);
        }
        return 1;
    case M2S_OP_scale_c_grad:
        out[0] = naive_like(in[1]);
        out[1] = naive_vector(s.c);
        NAIVE_EACH(*first, n, y, x, c)
        {
            *naive_at(out[0], n, y, x, c) = *naive_at(in[0], n, y, x, c) * in[2].data[c];
            out[1].data[c] += *naive_at(in[0], n, y, x, c) * *naive_at(in[1], n, y, x, c);
        }
        return 2;
    case M2S_OP_sum_pixels:
        out[0] = naive_vector(s.c);
        NAIVE_EACH(*first, n, y, x, c)
        {
            out[0].data[c] += *naive_at(in[0], n, y, x, c);
        }
        return 1;
    case M2S_OP_abs_diff_grad:
        out[0] = naive_like(in[0]);
        out[1] = naive_like(in[0]);
        for (int64_t e = 0; e < m2s_shape_elements(s); e++) {
            out[0].data[e] = in[0].data[e] * naive_sign(in[1].data[e] - in[2].data[e]);
            out[1].data[e] = in[0].data[e] * naive_sign(in[2].data[e] - in[1].data[e]);
        }
        return 2;
    case M2S_OP_pad_c:
        out[0] = naive_new(s.n, s.h, s.w, a->count);
        NAIVE_EACH(*first, n, y, x, c)
        {
            *naive_at(out[0], n, y, x, a->begin + c) = *naive_at(in[0], n, y, x, c);
        }
        return 1;
    case M2S_OP_softmax_c:
    case M2S_OP_softmax_c_grad:
        out[0] = naive_like(in[0]);
        for (int64_t p = 0; p < naive_pixels(in[0]); p++) {
            for (int64_t c = 0; c < s.c; c++) {
                if (op == M2S_OP_softmax_c) {
                    *naive_pixel(out[0], p, c) = naive_softmax(in[0], p, c);
                    continue;
                }
                for (int64_t j = 0; j < s.c; j++) {
                    double slope = (j == c ? 1.0 : 0.0) - *naive_pixel(in[1], p, c);
                    *naive_pixel(out[0], p, c) += *naive_pixel(in[0], p, j) * *naive_pixel(in[1], p, j) * slope;
                }
            }
        }
        return 1;
    case M2S_OP_max_pool_grad:
        out[0] = naive_pool_back(in[0], in[1], in[1].shape, a, true);
        return 1;
    case M2S_OP_avg_pool_grad:
        out[0] = naive_pool_back(in[0], none, (m2s_shape){ .d = { s.n, a->h, a->w, s.c } }, a, false);
        return 1;
    case M2S_OP_resize_grad:
        out[0] = naive_resize_back(in[0], a->h, a->w);
        return 1;
    case M2S_OP_multi_scale_subtract_train:
        naive_unit(in, a, out);
        return 3;
    case M2S_OP_multi_scale_subtract_grad:
        naive_unit_back(in, a, out);
        return 2 + 2 * a->scales;
    case M2S_OP_window_attention:
        out[0] = naive_window_attention(in, count, a);
        return 1;
    case M2S_OP_window_attention_grad:
        return naive_window_attention_back(in, count, a, out);
    case M2S_OP_merge_patches:
        out[0] = naive_new(s.n, (s.h + 1) / 2, (s.w + 1) / 2, 4 * s.c);
        NAIVE_EACH(out[0], n, y, x, c)
        {
            *naive_at(out[0], n, y, x, c) = naive_padded(in[0], n, 2 * y + c / s.c % 2, 2 * x + c / s.c / 2, c % s.c);
        }
        return 1;
    case M2S_OP_merge_patches_grad:
        out[0] = naive_new(s.n, a->h, a->w, s.c / 4);
        NAIVE_EACH(*first, n, y, x, c)
        {
            int64_t part = c / (s.c / 4);
            if (naive_inside(out[0], 2 * y + part % 2, 2 * x + part / 2)) {
                *naive_at(out[0], n, 2 * y + part % 2, 2 * x + part / 2, c % (s.c / 4)) += *naive_at(in[0], n, y, x, c);
            }
        }
        return 1;
    case M2S_OP_attention:
        naive_attention(in[0], in[1], a, none, out);
        return 1;
    case M2S_OP_attention_grad:
        naive_attention(in[1], in[2], a, in[0], out);
        return 2;
    case M2S_OP_boundary_weights:
        out[0] = naive_filter(in[0], a->kernel, false, 0.0, false);
        for (int64_t e = 0; e < m2s_shape_elements(s); e++) {
            double area = (double)a->kernel * a->kernel;
            out[0].data[e] = 1.0 + a->alpha * fabs(out[0].data[e] / area - in[0].data[e]);
        }
        return 1;
    case M2S_OP_weighted_bce:
    case M2S_OP_weighted_iou:
        out[0] = naive_scalar(naive_objective(op, in[0], in[1], in[2], a, none, 0.0));
        return 1;
    case M2S_OP_weighted_bce_grad:
    case M2S_OP_weighted_iou_grad:
        out[0] = naive_like(in[1]);
        naive_objective(op == M2S_OP_weighted_bce_grad ? M2S_OP_weighted_bce : M2S_OP_weighted_iou, in[1], in[2], in[3],
                        a, out[0], in[0].data[0]);
        return 1;
    case M2S_OP_dice:
        out[0] = naive_scalar(naive_dice(in[0], in[1], a, none, 0.0));
        return 1;
    case M2S_OP_dice_grad:
        out[0] = naive_like(in[1]);
        naive_dice(in[1], in[2], a, out[0], in[0].data[0]);
        return 1;
    case M2S_OP_cross_entropy:
        out[0] = naive_scalar(naive_cross_entropy(in[0], in[1], none, 0.0));
        return 1;
    case M2S_OP_cross_entropy_grad:
        out[0] = naive_like(in[1]);
        naive_cross_entropy(in[1], in[2], out[0], in[0].data[0]);
        return 1;
    case M2S_OP_normalise_rgb:
        out[0] = naive_new(s.n, s.h, s.w, 3);
        NAIVE_EACH(out[0], n, y, x, c)
        {
            *naive_at(out[0], n, y, x, c) = (*naive_at(in[0], n, y, x, c % s.c) - a->mean[c]) / a->std[c];
        }
        return 1;
    case M2S_OP_normalise_rgb_grad:
        out[0] = naive_new(s.n, s.h, s.w, a->count);
        NAIVE_EACH(*first, n, y, x, c)
        {
            *naive_at(out[0], n, y, x, c % a->count) += *naive_at(in[0], n, y, x, c) / a->std[c];
        }
        return 1;
    case M2S_OP_feature_distance:
        out[0] = naive_scalar(naive_distance(in[0], in[1], a, none, 0.0));
        return 1;
    case M2S_OP_feature_distance_grad:
        out[0] = naive_like(in[1]);
        naive_distance(in[1], in[2], a, out[0], in[0].data[0]);
        return 1;
    case M2S_OP_sum_squares:
        out[0] = naive_scalar(0.0);
        for (int i = 0; i < count; i++) {
            for (int64_t e = 0; e < m2s_shape_elements(in[i].shape); e++) {
                out[0].data[0] += pow(in[i].data[e], 2.0);
            }
        }
        return 1;
    case M2S_OP_all_finite:
        out[0] = naive_scalar(1.0);
        for (int i = 0; i < count; i++) {
            out[0].data[0] = in[i].data[0] - in[i].data[0] == 0.0 ? out[0].data[0] : 0.0;
        }
        return 1;
    case M2S_OP_clip_factor:
        out[0] = naive_scalar(fmin(1.0, a->alpha / (sqrt(in[0].data[0]) + 1e-6)));
        return 1;
    case M2S_OP_running_average:
    case M2S_OP_accumulate:
    case M2S_OP_sgd:
    case M2S_OP_adamw: {
        int outs = op == M2S_OP_sgd ? 2 : op == M2S_OP_adamw ? 3 : 1;
        for (int i = 0; i < outs; i++) {
            out[i] = naive_like(in[0]);
        }
        for (int64_t e = 0; e < m2s_shape_elements(s); e++) {
            naive_update(op, in, count, a, e, out);
        }
        return outs;
    }
    default: /* element by element */
        out[0] = naive_like(in[0]);
        for (int64_t e = 0; e < m2s_shape_elements(s); e++) {
            double u = in[0].data[e], v = count > 1 ? in[1].data[e] : 0.0;
            out[0].data[e] = op == M2S_OP_relu_grad      ? (v > 0.0 ? u : 0.0)
                             : op == M2S_OP_scale        ? a->alpha * u
                             : op == M2S_OP_multiply     ? u * v
                             : op == M2S_OP_sigmoid      ? naive_sigmoid(u)
                             : op == M2S_OP_gelu_grad    ? u * naive_gelu_slope(v)
                             : op == M2S_OP_sigmoid_grad ? u * (v - v * v)
                                                         : NAN; /* without a definition: never passes */
        }
        return 1;
    }
}

#endif
