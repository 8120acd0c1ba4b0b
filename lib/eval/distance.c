/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/distance.h"

#include <math.h>

static uint16_t one_more(uint16_t v)
{
    return v == M2S_FAR ? v : (uint16_t)(v + 1u);
}

void m2s_vertical_distances(const m2s_plane *plane, uint16_t *vertical)
{
    size_t width = (size_t)plane->width;

    for (int32_t y = 0; y < plane->height; y++) {
        const uint8_t *marked = plane->origin + (size_t)y * plane->stride;
        uint16_t *row = vertical + (size_t)y * width;
        const uint16_t *above = row - (y > 0 ? width : 0);
        if (y == 0) {
            for (size_t x = 0; x < width; x++) {
                row[x] = marked[x] ? 0 : M2S_FAR;
            }
            continue;
        }
        for (size_t x = 0; x < width; x++) {
            uint16_t v = one_more(above[x]);
            row[x] = marked[x] ? 0 : v;
        }
    }
    for (int32_t y = plane->height - 2; y >= 0; y--) {
        uint16_t *row = vertical + (size_t)y * width;
        const uint16_t *below = row + width;
        for (size_t x = 0; x < width; x++) {
            uint16_t v = one_more(below[x]);
            row[x] = v < row[x] ? v : row[x];
        }
    }
}

int32_t m2s_envelope(const uint16_t *vertical, int32_t width, double spacing_y, double spacing_x,
                     m2s_envelope_piece *pieces)
{
    double unit = spacing_x * spacing_x;
    int32_t count = 0;

    for (int32_t x = 0; x < width; x++) {
        if (vertical[x] == M2S_FAR) {
            continue;
        }
        double along = vertical[x] * spacing_y;
        double square = along * along;
        int32_t start = 0;
        while (count > 0) {
            const m2s_envelope_piece *last = &pieces[count - 1];
            /* Left of `meet` the last column is nearer, right of it this one. */
            double meet = 0.5 * ((square - last->square) / (unit * (x - last->column)) + (x + last->column));
            if (meet >= width - 1) {
                start = width;
            } else if (meet < 0.0) {
                start = 0;
            } else {
                start = (int32_t)meet + 1;
            }
            if (start > last->start) {
                break;
            }
            count--;
            start = 0;
        }
        if (start < width) {
            pieces[count++] = (m2s_envelope_piece){ .start = start, .column = x, .square = square };
        }
    }
    pieces[count] = (m2s_envelope_piece){ .start = width };
    return count;
}
