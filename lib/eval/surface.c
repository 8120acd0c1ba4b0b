/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE 1
#include "eval/surface.h"

#include <math.h>
#include <string.h>

#include "eval/distance.h"

/* From this many border pixels in one row on, the row's envelope costs less than a search for each. */
#define SEARCHES_PER_ROW 24

/* ---- borders ---- */

typedef struct box {
    int32_t top, bottom, left, right; /* inclusive; bottom < top: nothing */
} box;

static void widen(const m2s_plane *plane, box *b)
{
    for (int32_t y = 0; y < plane->height; y++) {
        const uint8_t *row = plane->origin + (size_t)y * plane->stride;
        const uint8_t *first = memchr(row, 1, (size_t)plane->width);
        if (first == NULL) {
            continue;
        }
        const uint8_t *last = memrchr(row, 1, (size_t)plane->width);
        b->top = y < b->top ? y : b->top;
        b->bottom = y > b->bottom ? y : b->bottom;
        b->left = first - row < b->left ? (int32_t)(first - row) : b->left;
        b->right = last - row > b->right ? (int32_t)(last - row) : b->right;
    }
}

/* border[x] = in the set with a neighbour that is not. */
static void border_row(const uint8_t *row, size_t stride, int32_t width, int32_t connectivity, uint8_t *border)
{
    const uint8_t *above = row - stride, *below = row + stride;

    if (connectivity == 1) {
        for (int32_t x = 0; x < width; x++) {
            border[x] = row[x] & (uint8_t)(1 ^ (row[x - 1] & row[x + 1] & above[x] & below[x]));
        }
        return;
    }
    for (int32_t x = 0; x < width; x++) {
        uint8_t column = above[x - 1] & row[x - 1] & below[x - 1] & above[x + 1] & row[x + 1] & below[x + 1];
        border[x] = row[x] & (uint8_t)(1 ^ (column & above[x] & below[x]));
    }
}

static m2snet_status make_border(m2s_scratch *scratch, const m2s_plane *set, const box *b, int which,
                                 int32_t connectivity, m2s_borders *borders, m2snet_error *error)
{
    size_t width = (size_t)borders->width, pixels = width * (size_t)borders->height;
    size_t stride = width + 2; /* a plane without its frame's rows: only the row's own bytes are read below */
    m2s_plane border;
    uint32_t *points;
    void *block;
    int64_t count = 0;
    m2snet_status status;

    M2S_TRY(m2s_scratch_get(scratch, M2S_SCRATCH_BORDER, (size_t)borders->height, stride, &block, error));
    border = (m2s_plane){ .origin = block, .height = borders->height, .width = borders->width, .stride = stride };
    for (int32_t y = 0; y < borders->height; y++) {
        uint8_t *row = border.origin + (size_t)y * stride;
        border_row(set->origin + (size_t)(b->top + y) * set->stride + b->left, set->stride, borders->width,
                   connectivity, row);
        uint32_t in_row = 0;
        for (int32_t x = 0; x < borders->width; x++) {
            in_row += row[x];
        }
        count += in_row;
    }
    M2S_TRY(m2s_scratch_get(scratch, which == 0 ? M2S_SCRATCH_POINTS : M2S_SCRATCH_POINTS_2, (size_t)count,
                            sizeof(uint32_t), &block, error));
    points = block;
    borders->points[which] = points;
    borders->counts[which] = count;
    for (int32_t y = 0; y < borders->height; y++) {
        const uint8_t *row = border.origin + (size_t)y * stride;
        const uint8_t *end = row + width;
        for (const uint8_t *at = row; (at = memchr(at, 1, (size_t)(end - at))) != NULL; at++) {
            *points++ = (uint32_t)((size_t)y * width + (size_t)(at - row));
        }
    }
    M2S_TRY(m2s_scratch_get(scratch, which == 0 ? M2S_SCRATCH_VERTICAL : M2S_SCRATCH_VERTICAL_2, pixels,
                            sizeof(uint16_t), &block, error));
    m2s_vertical_distances(&border, block);
    borders->vertical[which] = block;
fail:
    return status;
}

m2snet_status m2s_borders_make(m2s_scratch *scratch, const m2s_plane *prediction, const m2s_plane *mask,
                               int32_t connectivity, m2s_borders *borders, m2snet_error *error)
{
    const m2s_plane *sets[2] = { prediction, mask };
    box b = { .top = INT32_MAX, .bottom = -1, .left = INT32_MAX, .right = -1 };
    m2snet_status status = M2SNET_STATUS_OK;

    *borders = (m2s_borders){ .scratch = scratch };
    for (int i = 0; i < 2; i++) {
        int32_t bottom = b.bottom;
        b.bottom = -1;
        widen(sets[i], &b);
        if (b.bottom < 0) {
            return status; /* one set is empty: nothing to measure */
        }
        b.bottom = bottom > b.bottom ? bottom : b.bottom;
    }
    borders->height = b.bottom - b.top + 1;
    borders->width = b.right - b.left + 1;
    for (int i = 0; i < 2; i++) {
        M2S_TRY(make_border(scratch, sets[i], &b, i, connectivity, borders, error));
    }
fail:
    return status;
}

/* ---- distances ---- */

/* Squared distance from column x to the nearest pixel, going outwards until nothing nearer can come. */
static double search(const uint16_t *vertical, int32_t width, int32_t x, double spacing_y, double spacing_x)
{
    double best = INFINITY;

    for (int32_t k = 0; k < width; k++) {
        double across = k * spacing_x;
        across *= across;
        if (across >= best) {
            break;
        }
        if (x >= k && vertical[x - k] != M2S_FAR) {
            double along = vertical[x - k] * spacing_y;
            best = fmin(best, across + along * along);
        }
        if (x + k < width && vertical[x + k] != M2S_FAR) {
            double along = vertical[x + k] * spacing_y;
            best = fmin(best, across + along * along);
        }
    }
    return best;
}

static void measure_row(const m2s_borders *borders, int from, int64_t first, int64_t end, double spacing_y,
                        double spacing_x, m2s_envelope_piece *pieces, double *distances)
{
    int32_t width = borders->width;
    const uint32_t *points = borders->points[from];
    uint32_t start = points[first] - points[first] % (uint32_t)width;
    const uint16_t *vertical = borders->vertical[1 - from] + start;

    if (end - first < SEARCHES_PER_ROW) {
        for (int64_t i = first; i < end; i++) {
            distances[i] = sqrt(search(vertical, width, (int32_t)(points[i] - start), spacing_y, spacing_x));
        }
        return;
    }
    m2s_envelope(vertical, width, spacing_y, spacing_x, pieces);
    for (int64_t i = first; i < end; i++) {
        int32_t x = (int32_t)(points[i] - start);
        while (pieces[1].start <= x) {
            pieces++;
        }
        double across = (x - pieces->column) * spacing_x;
        distances[i] = sqrt(across * across + pieces->square);
    }
}

/* Distance of every border pixel of one set to the nearest of the other. */
static void measure(const m2s_borders *borders, int from, double spacing_y, double spacing_x,
                    m2s_envelope_piece *pieces, double *distances)
{
    const uint32_t *points = borders->points[from];
    uint32_t width = (uint32_t)borders->width;
    int64_t count = borders->counts[from];

    for (int64_t first = 0, end; first < count; first = end) {
        uint32_t row_end = (points[first] / width + 1) * width;
        for (end = first + 1; end < count && points[end] < row_end; end++) {
        }
        measure_row(borders, from, first, end, spacing_y, spacing_x, pieces, distances);
    }
}

/* ---- statistics ---- */

static void swap(double *a, double *b)
{
    double kept = *a;

    *a = *b;
    *b = kept;
}

/* Puts the rank-th smallest value at its place, smaller ones before it, larger ones behind it. */
static void select_rank(double *values, int64_t count, int64_t rank)
{
    uint64_t random = 0x9e3779b97f4a7c15u; /* pivots from anywhere: no arrangement of distances is slow */
    int64_t low = 0, high = count - 1;

    while (low < high) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        double pivot = values[low + (int64_t)(random % (uint64_t)(high - low + 1))];
        int64_t less = low, greater = high;
        for (int64_t i = low; i <= greater;) { /* three parts: equal distances are many */
            if (values[i] < pivot) {
                swap(&values[i++], &values[less++]);
            } else if (values[i] > pivot) {
                swap(&values[i], &values[greater--]);
            } else {
                i++;
            }
        }
        if (rank < less) {
            high = less - 1;
        } else if (rank > greater) {
            low = greater + 1;
        } else {
            return;
        }
    }
}

double m2s_percentile(double *values, int64_t count, double fraction)
{
    double position = fraction * (double)(count - 1);
    int64_t rank = (int64_t)position;

    select_rank(values, count, rank);
    if (rank + 1 >= count) {
        return values[rank];
    }
    double next = INFINITY;
    for (int64_t i = rank + 1; i < count; i++) {
        next = values[i] < next ? values[i] : next;
    }
    return values[rank] + (position - (double)rank) * (next - values[rank]);
}

static void summarise(const double *values, int64_t count, double *sum, double *largest)
{
    *sum = 0.0;
    *largest = 0.0;
    for (int64_t i = 0; i < count; i++) {
        *sum += values[i];
        *largest = values[i] > *largest ? values[i] : *largest;
    }
}

m2snet_status m2s_surface_measure(const m2s_borders *borders, double spacing_y, double spacing_x, m2s_surface *surface,
                                  m2snet_error *error)
{
    int64_t counts[2] = { borders->counts[0], borders->counts[1] };
    double sums[2], largest[2], directed[2];
    double *distances;
    void *block;
    m2snet_status status = M2SNET_STATUS_OK;

    *surface = (m2s_surface){ NAN, NAN, NAN, NAN, NAN, NAN };
    if (counts[0] == 0 || counts[1] == 0) {
        return status;
    }
    M2S_TRY(m2s_scratch_get(borders->scratch, M2S_SCRATCH_DISTANCES, (size_t)(counts[0] + counts[1]), sizeof(double),
                            &block, error));
    distances = block;
    M2S_TRY(m2s_scratch_get(borders->scratch, M2S_SCRATCH_ENVELOPE, (size_t)borders->width + 1,
                            sizeof(m2s_envelope_piece), &block, error));
    for (int i = 0; i < 2; i++) {
        double *part = distances + (i == 0 ? 0 : counts[0]);
        measure(borders, i, spacing_y, spacing_x, block, part);
        summarise(part, counts[i], &sums[i], &largest[i]);
        directed[i] = m2s_percentile(part, counts[i], 0.95);
    }
    *surface = (m2s_surface){ .hd = fmax(largest[0], largest[1]),
                              .hd95 = m2s_percentile(distances, counts[0] + counts[1], 0.95),
                              .assd = (sums[0] + sums[1]) / (double)(counts[0] + counts[1]),
                              .asd_pred_to_gt = sums[0] / (double)counts[0],
                              .asd_gt_to_pred = sums[1] / (double)counts[1],
                              .hd95_maxdir = fmax(directed[0], directed[1]) };
fail:
    return status;
}
