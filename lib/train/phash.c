/* SPDX-License-Identifier: Apache-2.0 */
#include "train/phash.h"

#include <math.h>
#include <string.h>

#include "image/pixels.h"
#include "image/resample.h"

#define PLANE_PX 32
#define BLOCK    8 /* coefficients a side */
#define PI       3.14159265358979323846

typedef struct source {
    const m2snet_image *image;
} source;

static const uint8_t *luminance_row(const void *user, int32_t y, uint8_t *scratch)
{
    const m2snet_image *image = ((const source *)user)->image;
    const uint8_t *row = m2s_image_row_u8(image, 0, y, image->width, scratch);

    if (m2s_image_channels(image->format) == 1) {
        return row;
    }
    for (int32_t x = 0; x < image->width; x++) { /* row may be scratch: reading stays ahead of writing */
        const uint8_t *p = row + 3 * (ptrdiff_t)x;
        scratch[x] = (uint8_t)((19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 0x8000u) >> 16);
    }
    return scratch;
}

/* The coefficients of the lowest frequencies; [0][0], the mean, gives its place to [0][8]. */
static void transform(const uint8_t *plane, double block[BLOCK * BLOCK])
{
    double table[BLOCK + 1][PLANE_PX];
    double rows[PLANE_PX][BLOCK + 1];

    for (int k = 0; k <= BLOCK; k++) {
        for (int i = 0; i < PLANE_PX; i++) {
            table[k][i] = cos(PI * (2 * i + 1) * k / (2 * PLANE_PX));
        }
    }
    for (int y = 0; y < PLANE_PX; y++) {
        for (int k = 0; k <= BLOCK; k++) {
            rows[y][k] = 0.0;
            for (int x = 0; x < PLANE_PX; x++) {
                rows[y][k] += table[k][x] * plane[y * PLANE_PX + x];
            }
        }
    }
    for (int v = 0; v < BLOCK; v++) {
        for (int u = 0; u < BLOCK; u++) {
            int column = v == 0 && u == 0 ? BLOCK : u;
            double sum = 0.0;
            for (int y = 0; y < PLANE_PX; y++) {
                sum += table[v][y] * rows[y][column];
            }
            block[v * BLOCK + u] = sum;
        }
    }
}

static double median_of(const double block[BLOCK * BLOCK])
{
    double sorted[BLOCK * BLOCK];

    for (int i = 0; i < BLOCK * BLOCK; i++) {
        int at = i;
        for (; at > 0 && sorted[at - 1] > block[i]; at--) {
            sorted[at] = sorted[at - 1];
        }
        sorted[at] = block[i];
    }
    return 0.5 * (sorted[BLOCK * BLOCK / 2 - 1] + sorted[BLOCK * BLOCK / 2]);
}

m2snet_status m2s_phash_of(const m2s_host *host, const m2snet_image *image, m2s_phash *hash, m2snet_error *error)
{
    const m2s_host here = { .memory = host->memory, .isa = host->isa };
    source user = { image };
    m2s_row_source rows = { luminance_row, &user, image->width, image->height, 1 };
    uint8_t plane[PLANE_PX * PLANE_PX], small[BLOCK * (BLOCK + 1)];
    double block[BLOCK * BLOCK];
    m2snet_status status;

    *hash = (m2s_phash){ 0, 0 };
    M2S_TRY(m2s_resize_u8(&here, &rows, plane, PLANE_PX, PLANE_PX, PLANE_PX, NULL, "hash", error));
    M2S_TRY(m2s_resize_u8(&here, &rows, small, BLOCK + 1, BLOCK + 1, BLOCK, NULL, "hash", error));
    transform(plane, block);
    double median = median_of(block);
    for (int i = 0; i < BLOCK * BLOCK; i++) {
        const uint8_t *p = small + i / BLOCK * (BLOCK + 1) + i % BLOCK;
        hash->cosine |= (uint64_t)(block[i] > median) << i;
        hash->gradient |= (uint64_t)(p[0] > p[1]) << i;
    }
fail:
    return status;
}

int32_t m2s_phash_distance(m2s_phash a, m2s_phash b)
{
    return __builtin_popcountll(a.cosine ^ b.cosine) + __builtin_popcountll(a.gradient ^ b.gradient);
}
