/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/histogram.h"

#include <string.h>

#include "image/pixels.h"
#include "image/preprocess.h"

/* ---- reading ---- */

static void row_to_gray(const uint8_t *rgb, int32_t width, uint8_t *gray)
{
    for (int32_t x = 0; x < width; x++) {
        uint32_t luma = 19595u * rgb[3 * x] + 38470u * rgb[3 * x + 1] + 7471u * rgb[3 * x + 2] + 32768u;
        gray[x] = (uint8_t)(luma >> 16);
    }
}

static m2snet_status read_gray(m2s_scratch *scratch, m2s_scratch_slot slot, const m2snet_image *image,
                               const uint8_t **gray, m2snet_error *error)
{
    size_t width = (size_t)image->width;
    uint8_t *dense, *row;
    void *block;
    m2snet_status status;

    if (image->format == M2SNET_PIXEL_GRAY8 &&
        (image->row_stride_bytes == 0 || image->row_stride_bytes == (ptrdiff_t)width)) {
        *gray = image->data;
        return M2SNET_STATUS_OK;
    }
    M2S_TRY(m2s_scratch_get(scratch, slot, (size_t)image->height, width, &block, error));
    dense = block;
    M2S_TRY(m2s_scratch_get(scratch, M2S_SCRATCH_ROW, width, 3, &block, error));
    row = block;
    for (int32_t y = 0; y < image->height; y++) {
        const uint8_t *bytes = m2s_image_row_u8(image, 0, y, image->width, row);
        if (m2s_image_channels(image->format) == 1) {
            memcpy(dense + (size_t)y * width, bytes, width);
        } else {
            row_to_gray(bytes, image->width, dense + (size_t)y * width);
        }
    }
    *gray = dense;
fail:
    return status;
}

static m2snet_status resize_gray(m2s_scratch *scratch, const uint8_t *gray, int32_t width, int32_t height,
                                 const m2snet_image *like, const uint8_t **resized, m2snet_error *error)
{
    /* Without a pool the work stays on this thread, which may itself be one of the pool's. */
    m2s_host host = { .memory = scratch->memory, .isa = m2s_isa_detect() };
    void *block;
    m2snet_status status;

    M2S_TRY(m2s_scratch_get(scratch, M2S_SCRATCH_RESIZED, (size_t)like->height, (size_t)like->width, &block, error));
    m2snet_image src = { .data = gray, .width = width, .height = height, .format = M2SNET_PIXEL_GRAY8 };
    m2snet_image dst = { .data = block, .width = like->width, .height = like->height, .format = M2SNET_PIXEL_GRAY8 };
    M2S_TRY(m2s_image_resize(&host, &src, &dst, NULL, error));
    *resized = block;
fail:
    return status;
}

static void find_range(const uint8_t *bytes, size_t count, uint8_t *min, uint8_t *max)
{
    uint8_t low = 255, high = 0;

    for (size_t i = 0; i < count; i++) {
        low = bytes[i] < low ? bytes[i] : low;
        high = bytes[i] > high ? bytes[i] : high;
    }
    *min = low;
    *max = high;
}

m2snet_status m2s_gray_pair_read(m2s_scratch *scratch, const m2snet_image *prediction, const m2snet_image *mask,
                                 bool resize, m2s_gray_pair *pair, bool *resized, m2snet_error *error)
{
    uint8_t unused;
    m2snet_status status;

    M2S_TRY(m2s_image_check(prediction, "the prediction", error));
    M2S_TRY(m2s_image_check(mask, "the mask", error));
    *resized = prediction->width != mask->width || prediction->height != mask->height;
    if (*resized && !resize) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH,
                        "the prediction has %d x %d pixels and the mask %d x %d: expected equal sizes",
                        prediction->width, prediction->height, mask->width, mask->height);
    }
    *pair = (m2s_gray_pair){ .height = mask->height, .width = mask->width };
    M2S_TRY(read_gray(scratch, M2S_SCRATCH_PREDICTION, prediction, &pair->prediction, error));
    M2S_TRY(read_gray(scratch, M2S_SCRATCH_MASK, mask, &pair->mask, error));
    if (*resized) {
        M2S_TRY(resize_gray(scratch, pair->prediction, prediction->width, prediction->height, mask, &pair->prediction,
                            error));
    }
    size_t pixels = (size_t)pair->height * (size_t)pair->width;
    find_range(pair->prediction, pixels, &pair->prediction_min, &pair->prediction_max);
    find_range(pair->mask, pixels, &unused, &pair->mask_max);
fail:
    return status;
}

/* ---- levels ---- */

static void start_levels(uint8_t min, uint8_t max, m2s_levels *levels)
{
    *levels =
        (m2s_levels){ .low = min == max ? 0 : min, .range = min == max ? 255 : max - min, .constant = min == max };
}

static int32_t clamp_level(int32_t v, uint8_t min, uint8_t max)
{
    return v < min ? min : v > max ? max : v;
}

void m2s_levels_default(uint8_t min, uint8_t max, m2s_levels *levels)
{
    double low = min / 255.0;
    double span = max / 255.0 - low;

    start_levels(min, max, levels);
    for (int32_t v = 0; v < M2S_LEVELS; v++) {
        double unit = clamp_level(v, min, max) / 255.0;
        levels->x[v] = levels->constant ? unit : (unit - low) / span;
        levels->q[v] = (uint8_t)(255.0 * levels->x[v]);
    }
}

void m2s_levels_authors(uint8_t min, uint8_t max, m2s_levels *levels)
{
    start_levels(min, max, levels);
    for (int32_t v = 0; v < M2S_LEVELS; v++) {
        int32_t above = clamp_level(v, min, max) - levels->low;
        levels->x[v] = (double)above / levels->range;
        levels->q[v] = (uint8_t)(255 * above / levels->range);
    }
}

/* ---- planes ---- */

int32_t m2s_mask_first_inside(m2s_mask_rule rule, uint8_t mask_max)
{
    return rule == M2S_MASK_ABOVE_128 ? 129 : mask_max == 0 ? 256 : mask_max / 2 + 1;
}

static m2snet_status make_plane(m2s_scratch *scratch, m2s_scratch_slot slot, int32_t height, int32_t width,
                                m2s_plane *plane, m2snet_error *error)
{
    size_t stride = (size_t)width + 2;
    void *block;
    m2snet_status status;

    M2S_TRY(m2s_scratch_get(scratch, slot, (size_t)height + 2, stride, &block, error));
    uint8_t *bytes = block;
    *plane = (m2s_plane){ .origin = bytes + stride + 1, .height = height, .width = width, .stride = stride };
    memset(bytes, 0, stride);
    memset(bytes + ((size_t)height + 1) * stride, 0, stride);
    for (int32_t y = 0; y < height; y++) {
        bytes[((size_t)y + 1) * stride] = 0;
        bytes[((size_t)y + 2) * stride - 1] = 0;
    }
fail:
    return status;
}

m2snet_status m2s_plane_threshold(m2s_scratch *scratch, m2s_scratch_slot slot, const uint8_t *picture, int32_t height,
                                  int32_t width, int32_t first, m2s_plane *plane, m2snet_error *error)
{
    m2snet_status status;

    M2S_TRY(make_plane(scratch, slot, height, width, plane, error));
    uint8_t above = (uint8_t)(first - 1); /* first is 1..256: "more than" fits a byte */
    for (int32_t y = 0; y < height; y++) {
        const uint8_t *src = picture + (size_t)y * (size_t)width;
        uint8_t *dst = plane->origin + (size_t)y * plane->stride;
        if (first <= 0) {
            memset(dst, 1, (size_t)width);
            continue;
        }
        for (int32_t x = 0; x < width; x++) {
            dst[x] = src[x] > above;
        }
    }
fail:
    return status;
}

m2snet_status m2s_plane_equal(m2s_scratch *scratch, m2s_scratch_slot slot, const uint8_t *picture, int32_t height,
                              int32_t width, int32_t value, m2s_plane *plane, m2snet_error *error)
{
    m2snet_status status;

    M2S_TRY(make_plane(scratch, slot, height, width, plane, error));
    for (int32_t y = 0; y < height; y++) {
        const uint8_t *src = picture + (size_t)y * (size_t)width;
        uint8_t *dst = plane->origin + (size_t)y * plane->stride;
        for (int32_t x = 0; x < width; x++) {
            dst[x] = src[x] == value;
        }
    }
fail:
    return status;
}

/* ---- histograms ---- */

void m2s_histogram_count(const uint8_t *prediction, const m2s_plane *inside, m2s_histogram *histogram)
{
    /* Four tables in turn: neighbouring pixels are often equal, and one counter would wait for itself. */
    enum { TABLES = 4 };
    uint32_t counts[TABLES][2 * M2S_LEVELS] = { { 0 } };
    int32_t width = inside->width;

    for (int32_t y = 0; y < inside->height; y++) {
        const uint8_t *p = prediction + (size_t)y * (size_t)width;
        const uint8_t *g = inside->origin + (size_t)y * inside->stride;
        int32_t x = 0;
        for (; x + TABLES <= width; x += TABLES) {
            for (int k = 0; k < TABLES; k++) {
                counts[k][p[x + k] + M2S_LEVELS * g[x + k]]++;
            }
        }
        for (; x < width; x++) {
            counts[0][p[x] + M2S_LEVELS * g[x]]++;
        }
    }
    *histogram = (m2s_histogram){ .foreground = 0 };
    for (int32_t v = 0; v < M2S_LEVELS; v++) {
        for (int k = 0; k < TABLES; k++) {
            histogram->outside[v] += counts[k][v];
            histogram->inside[v] += counts[k][v + M2S_LEVELS];
        }
        histogram->foreground += histogram->inside[v];
        histogram->background += histogram->outside[v];
    }
}
