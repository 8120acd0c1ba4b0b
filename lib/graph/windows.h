/* SPDX-License-Identifier: Apache-2.0
 * Where window_attention (ops.def) finds the pixels of a window: padded, rolled and cut maps are never made. */
#ifndef M2S_GRAPH_WINDOWS_H
#define M2S_GRAPH_WINDOWS_H

#include "graph/graph.h"

#define M2S_WINDOW_PIXELS (M2S_MAX_ATTENTION_WINDOW * M2S_MAX_ATTENTION_WINDOW)

typedef struct m2s_window_map {
    int64_t h, w, side;
    int64_t rows, columns; /* of windows */
    int64_t shift_y, shift_x;
    int64_t pixels; /* of a window */
} m2s_window_map;

static inline m2s_window_map m2s_window_map_of(m2s_shape map, const m2s_attrs *attrs)
{
    int64_t side = attrs->kernel, rows = (map.h + side - 1) / side, columns = (map.w + side - 1) / side;

    return (m2s_window_map){ .h = map.h,
                             .w = map.w,
                             .side = side,
                             .rows = rows,
                             .columns = columns,
                             .shift_y = rows > 1 ? attrs->begin : 0,
                             .shift_x = columns > 1 ? attrs->begin : 0,
                             .pixels = side * side };
}

static inline int64_t m2s_window_unrolled(int64_t place, int64_t shift, int64_t size)
{
    return place + shift < size ? place + shift : place + shift - size;
}

/* Pixel i of a window as a pixel of the map, or -1: it is padding. */
static inline int64_t m2s_window_pixel(const m2s_window_map *map, int64_t row, int64_t column, int64_t i)
{
    int64_t y = m2s_window_unrolled(row * map->side + i / map->side, map->shift_y, map->rows * map->side);
    int64_t x = m2s_window_unrolled(column * map->side + i % map->side, map->shift_x, map->columns * map->side);

    return y < map->h && x < map->w ? y * map->w + x : -1;
}

static inline int64_t m2s_window_piece_along(int64_t place, int64_t shift, int64_t size, int64_t side)
{
    return shift == 0 ? 0 : (place >= size - side) + (place >= size - shift);
}

/* Rolling brings pixels together that are no neighbours: which piece of the map pixel i is of. */
static inline int64_t m2s_window_piece(const m2s_window_map *map, int64_t row, int64_t column, int64_t i)
{
    int64_t y = row * map->side + i / map->side, x = column * map->side + i % map->side;

    return 3 * m2s_window_piece_along(y, map->shift_y, map->rows * map->side, map->side) +
           m2s_window_piece_along(x, map->shift_x, map->columns * map->side, map->side);
}

#define M2S_WINDOW_FAR (-100.0) /* added to the score of pixels of different pieces, as Swin's authors do */

/* Row of the position table for pixels i and j of a window. */
static inline int64_t m2s_window_offset(int64_t side, int64_t i, int64_t j)
{
    return (i / side - j / side + side - 1) * (2 * side - 1) + i % side - j % side + side - 1;
}

#endif
