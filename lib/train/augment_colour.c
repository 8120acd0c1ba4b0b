/* SPDX-License-Identifier: Apache-2.0 */
#include "train/augment_colour.h"

#include <math.h>
#include <string.h>

#include "core/rng.h"

#define TURN        6.28318530717958647692
#define MAX_RADIUS  48 /* of the largest sigma allowed, 16 */
#define BLUR_CUTOFF 3.0

typedef struct matrix {
    double at[3][3];
} matrix;

static const double luma[3] = { 0.299, 0.587, 0.114 };
/* Y, I, Q; the rows of I and Q add up to zero, so that grays stay as they are. */
static const matrix yiq = { { { 0.299, 0.587, 0.114 }, { 0.596, -0.274, -0.322 }, { 0.211, -0.523, 0.312 } } };

static matrix multiply(const matrix *a, const matrix *b)
{
    matrix product;

    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 3; k++) {
            product.at[i][k] = a->at[i][0] * b->at[0][k] + a->at[i][1] * b->at[1][k] + a->at[i][2] * b->at[2][k];
        }
    }
    return product;
}

static matrix invert(const matrix *m)
{
    matrix cofactor, inverse;

    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 3; k++) {
            int i1 = (i + 1) % 3, i2 = (i + 2) % 3, k1 = (k + 1) % 3, k2 = (k + 2) % 3;
            cofactor.at[i][k] = m->at[i1][k1] * m->at[i2][k2] - m->at[i1][k2] * m->at[i2][k1];
        }
    }
    double determinant =
        m->at[0][0] * cofactor.at[0][0] + m->at[0][1] * cofactor.at[0][1] + m->at[0][2] * cofactor.at[0][2];
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 3; k++) {
            inverse.at[i][k] = cofactor.at[k][i] / determinant;
        }
    }
    return inverse;
}

static matrix hue_rotation(double turns)
{
    double c = cos(TURN * turns), s = sin(TURN * turns);
    const matrix rotation = { { { 1.0, 0.0, 0.0 }, { 0.0, c, -s }, { 0.0, s, c } } };
    matrix back = invert(&yiq);
    matrix there = multiply(&rotation, &yiq);

    return multiply(&back, &there);
}

bool m2s_colour_map(const m2s_draw *d, const float mean_rgb[3], m2s_colour *colour)
{
    double gray = luma[0] * mean_rgb[0] + luma[1] * mean_rgb[1] + luma[2] * mean_rgb[2];
    double scale = d->brightness * d->contrast;
    matrix m;

    if (d->brightness == 1.0 && d->contrast == 1.0 && d->saturation == 1.0 && d->hue == 0.0) {
        return false;
    }
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 3; k++) {
            m.at[i][k] = scale * ((1.0 - d->saturation) * luma[k] + (i == k ? d->saturation : 0.0));
        }
    }
    if (d->hue != 0.0) {
        matrix rotation = hue_rotation(d->hue);
        m = multiply(&rotation, &m);
    }
    for (int i = 0; i < 3; i++) {
        /* Saturation and hue leave the offset as it is, because it is gray. */
        colour->offset[i] = (1.0 - d->contrast) * d->brightness * gray;
        memcpy(colour->matrix[i], m.at[i], sizeof m.at[i]);
    }
    return true;
}

/* ---- blur ---- */

int32_t m2s_blur_radius(double sigma_px)
{
    return (int32_t)ceil(BLUR_CUTOFF * sigma_px);
}

/* ..., 1, 0 | 0, 1, ..., n-1 | n-1, n-2, ... */
static int32_t mirrored(int32_t i, int32_t n)
{
    while (i < 0 || i >= n) {
        i = i < 0 ? -1 - i : 2 * n - 1 - i;
    }
    return i;
}

static void add_scaled(float *dst, const float *src, float weight, ptrdiff_t count)
{
    for (ptrdiff_t i = 0; i < count; i++) {
        dst[i] += weight * src[i];
    }
}

void m2s_blur(float *image, int32_t height, int32_t width, double sigma_px, float *buffer, float *line)
{
    float weights[2 * MAX_RADIUS + 1];
    int32_t radius = m2s_blur_radius(sigma_px);
    ptrdiff_t row = 3 * (ptrdiff_t)width;
    double sum = 0.0;

    for (int32_t i = -radius; i <= radius; i++) {
        sum += exp(-0.5 * (i / sigma_px) * (i / sigma_px));
    }
    for (int32_t i = -radius; i <= radius; i++) {
        weights[i + radius] = (float)(exp(-0.5 * (i / sigma_px) * (i / sigma_px)) / sum);
    }
    memset(buffer, 0, (size_t)height * (size_t)row * sizeof *buffer);
    for (int32_t y = 0; y < height; y++) {
        const float *src = image + y * row;
        for (int32_t x = -radius; x < width + radius; x++) {
            memcpy(line + 3 * (ptrdiff_t)(x + radius), src + 3 * (ptrdiff_t)mirrored(x, width), 3 * sizeof *line);
        }
        for (int32_t k = 0; k <= 2 * radius; k++) {
            add_scaled(buffer + y * row, line + 3 * (ptrdiff_t)k, weights[k], row);
        }
    }
    for (int32_t y = 0; y < height; y++) {
        memset(image + y * row, 0, (size_t)row * sizeof *image);
        for (int32_t k = -radius; k <= radius; k++) {
            add_scaled(image + y * row, buffer + mirrored(y + k, height) * row, weights[k + radius], row);
        }
    }
}

/* ---- noise ---- */

void m2s_noise(float *image, int64_t pixels, const float std[3], uint64_t stream)
{
    const float mean = 2.0f * 65535.0f;
    const float unit = 2.6428998e-5f; /* 1 / sqrt(4 (65536^2 - 1) / 12) */

    for (int64_t i = 0; i < 3 * pixels; i++) {
        uint64_t bits = m2s_rng_bits(stream, (uint64_t)i);
        uint32_t sum = (uint32_t)(bits & 0xffff) + (uint32_t)(bits >> 16 & 0xffff) + (uint32_t)(bits >> 32 & 0xffff) +
                       (uint32_t)(bits >> 48);
        image[i] += std[i % 3] * (((float)sum - mean) * unit);
    }
}
