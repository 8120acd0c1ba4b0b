/* SPDX-License-Identifier: Apache-2.0 */
#include "train/augment_levels.h"

#include <math.h>
#include <string.h>

#include "train/augment_colour.h"

#define MAX_RADIUS   48   /* of the largest sigma allowed, 16 */
#define LEAST_SPREAD 1e-7 /* ranges and deviations are divided by this at least */

typedef struct plane {
    float *at;
    int32_t height, width;
} plane;

typedef struct statistics {
    double low, high, mean, deviation;
} statistics;

static ptrdiff_t count_of(const plane *p)
{
    return (ptrdiff_t)p->height * p->width;
}

static statistics measure(const plane *p)
{
    ptrdiff_t count = count_of(p);
    statistics s = { (double)p->at[0], (double)p->at[0], 0.0, 0.0 };

    for (ptrdiff_t i = 0; i < count; i++) {
        double v = (double)p->at[i];
        s.low = v < s.low ? v : s.low;
        s.high = v > s.high ? v : s.high;
        s.mean += v;
    }
    s.mean /= (double)count;
    for (ptrdiff_t i = 0; i < count; i++) {
        double v = (double)p->at[i] - s.mean;
        s.deviation += v * v;
    }
    s.deviation = sqrt(s.deviation / (double)count);
    return s;
}

/* ---- blur ---- */

/* ..., 2, 1 | 0, 1, ..., n-1 | n-2, n-3, ... */
static int32_t reflected(int32_t i, int32_t n)
{
    while (n > 1 && (i < 0 || i >= n)) {
        i = i < 0 ? -i : 2 * n - 2 - i;
    }
    return n > 1 ? i : 0;
}

static void blur(const plane *p, double sigma, float *buffer)
{
    float weights[2 * MAX_RADIUS + 1] = { 0.0f };
    int32_t radius = (int32_t)floor(0.5 * (6.0 * sigma + 0.5 - 1.0) + 0.5);
    double sum = 0.0;

    for (int32_t i = -radius; i <= radius; i++) {
        sum += exp(-0.5 * (i / sigma) * (i / sigma));
    }
    for (int32_t i = -radius; i <= radius; i++) {
        weights[i + radius] = (float)(exp(-0.5 * (i / sigma) * (i / sigma)) / sum);
    }
    memset(buffer, 0, (size_t)count_of(p) * sizeof *buffer);
    for (int32_t y = 0; y < p->height; y++) {
        for (int32_t k = -radius; k <= radius; k++) {
            const float *src = p->at + (ptrdiff_t)reflected(y + k, p->height) * p->width;
            float *dst = buffer + (ptrdiff_t)y * p->width;
            for (int32_t x = 0; x < p->width; x++) {
                dst[x] += weights[k + radius] * src[x];
            }
        }
    }
    for (int32_t y = 0; y < p->height; y++) {
        const float *src = buffer + (ptrdiff_t)y * p->width;
        float *dst = p->at + (ptrdiff_t)y * p->width;
        for (int32_t x = 0; x < p->width; x++) {
            float value = 0.0f;
            for (int32_t k = -radius; k <= radius; k++) {
                value += weights[k + radius] * src[reflected(x + k, p->width)];
            }
            dst[x] = value;
        }
    }
}

/* ---- levels ---- */

static void brighten(const plane *p, double factor)
{
    for (ptrdiff_t i = 0; i < count_of(p); i++) {
        p->at[i] *= (float)factor;
    }
}

static void change_contrast(const plane *p, double factor)
{
    statistics s = measure(p);

    for (ptrdiff_t i = 0; i < count_of(p); i++) {
        double v = ((double)p->at[i] - s.mean) * factor + s.mean;
        p->at[i] = (float)(v < s.low ? s.low : v > s.high ? s.high : v);
    }
}

static void change_gamma(const plane *p, double exponent, bool inverted)
{
    double sign = inverted ? -1.0 : 1.0;

    for (ptrdiff_t i = 0; inverted && i < count_of(p); i++) {
        p->at[i] = -p->at[i];
    }
    statistics old = measure(p);
    double range = old.high - old.low;
    float divisor = (float)(range > LEAST_SPREAD ? range : LEAST_SPREAD);
    for (ptrdiff_t i = 0; i < count_of(p); i++) {
        p->at[i] = powf((p->at[i] - (float)old.low) / divisor, (float)exponent) * (float)range + (float)old.low;
    }
    statistics now = measure(p);
    double scale = old.deviation / (now.deviation > LEAST_SPREAD ? now.deviation : LEAST_SPREAD);
    for (ptrdiff_t i = 0; i < count_of(p); i++) {
        p->at[i] = (float)(sign * (((double)p->at[i] - now.mean) * scale + old.mean));
    }
}

/* ---- low resolution ---- */

/* Halves go to the even number, as in the original. */
static int32_t shrunk_side(int32_t side, double share)
{
    double whole = floor(share * side), rest = share * side - whole;
    int32_t shrunk = (int32_t)whole;

    shrunk += rest > 0.5 || (rest == 0.5 && shrunk % 2 == 1);
    return shrunk < 1 ? 1 : shrunk;
}

typedef struct neighbours {
    int32_t low, high;
    float fraction;
} neighbours;

static neighbours neighbours_of(int32_t dst, int32_t dst_side, int32_t src_side)
{
    double at = ((double)dst + 0.5) * src_side / dst_side - 0.5;
    neighbours n;

    at = at < 0.0 ? 0.0 : at;
    n.low = (int32_t)at;
    n.high = n.low + 1 < src_side ? n.low + 1 : n.low;
    n.fraction = (float)(at - n.low);
    return n;
}

static void lower_resolution(const plane *p, double share, float *buffer)
{
    int32_t height = shrunk_side(p->height, share), width = shrunk_side(p->width, share);

    for (int32_t y = 0; y < height; y++) {
        const float *src = p->at + ((2 * (int64_t)y + 1) * p->height / (2 * (int64_t)height)) * p->width;
        for (int32_t x = 0; x < width; x++) {
            buffer[(ptrdiff_t)y * width + x] = src[(2 * (int64_t)x + 1) * p->width / (2 * (int64_t)width)];
        }
    }
    for (int32_t y = 0; y < p->height; y++) {
        neighbours v = neighbours_of(y, p->height, height);
        const float *top = buffer + (ptrdiff_t)v.low * width, *bottom = buffer + (ptrdiff_t)v.high * width;
        for (int32_t x = 0; x < p->width; x++) {
            neighbours h = neighbours_of(x, p->width, width);
            float above = top[h.low] + h.fraction * (top[h.high] - top[h.low]);
            float below = bottom[h.low] + h.fraction * (bottom[h.high] - bottom[h.low]);
            p->at[(ptrdiff_t)y * p->width + x] = above + v.fraction * (below - above);
        }
    }
}

/* ---- all ---- */

size_t m2s_levels_scratch(int32_t height, int32_t width)
{
    return 2 * (size_t)height * (size_t)width;
}

static bool changes(const m2s_levels_draw *d, int c)
{
    return d->blur_sigma_px[c] > 0.0 || d->brightness[c] > 0.0 || d->contrast[c] > 0.0 || d->low_resolution[c] > 0.0 ||
           d->gamma_inverted[c] > 0.0 || d->gamma[c] > 0.0;
}

static void change_channel(const m2s_levels_draw *d, int c, const plane *p, float *buffer)
{
    if (d->blur_sigma_px[c] > 0.0) {
        blur(p, d->blur_sigma_px[c], buffer);
    }
    if (d->brightness[c] > 0.0) {
        brighten(p, d->brightness[c]);
    }
    if (d->contrast[c] > 0.0) {
        change_contrast(p, d->contrast[c]);
    }
    if (d->low_resolution[c] > 0.0) {
        lower_resolution(p, d->low_resolution[c], buffer);
    }
    if (d->gamma_inverted[c] > 0.0) {
        change_gamma(p, d->gamma_inverted[c], true);
    }
    if (d->gamma[c] > 0.0) {
        change_gamma(p, d->gamma[c], false);
    }
}

void m2s_levels_apply(const m2s_levels_draw *draw, uint64_t noise_stream, const double mean[3], const double std[3],
                      int32_t height, int32_t width, float *image, float *buffer)
{
    plane p = { .at = buffer, .height = height, .width = width };
    ptrdiff_t count = count_of(&p);

    if (draw->noise_std > 0.0) {
        const float noise[3] = { (float)(draw->noise_std / std[0]), (float)(draw->noise_std / std[1]),
                                 (float)(draw->noise_std / std[2]) };
        m2s_noise(image, count, noise, noise_stream);
    }
    for (int c = 0; c < 3; c++) {
        if (!changes(draw, c)) {
            continue;
        }
        for (ptrdiff_t i = 0; i < count; i++) {
            p.at[i] = image[3 * i + c] * (float)std[c] + (float)mean[c];
        }
        change_channel(draw, c, &p, buffer + count);
        for (ptrdiff_t i = 0; i < count; i++) {
            image[3 * i + c] = (p.at[i] - (float)mean[c]) / (float)std[c];
        }
    }
}
