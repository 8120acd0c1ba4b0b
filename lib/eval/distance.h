/* SPDX-License-Identifier: Apache-2.0
 * Exact Euclidean distance transforms, a row at a time: distances along the columns once for the whole picture, then
 * for each row the lower envelope of the parabolas that its columns stand for (Meijster, Roerdink and Hesselink 2000).
 */
#ifndef M2S_EVAL_DISTANCE_H
#define M2S_EVAL_DISTANCE_H

#include "eval/histogram.h"

#define M2S_FAR UINT16_MAX /* no pixel in this column; sides are at most 65535, so real distances are less */

/* vertical[y * width + x] = rows to the nearest pixel of plane in column x. */
void m2s_vertical_distances(const m2s_plane *plane, uint16_t *vertical);

/* A piece of a row: from start to the next piece's start the nearest pixel lies in column. */
typedef struct m2s_envelope_piece {
    int32_t start;
    int32_t column;
    double square; /* (vertical * spacing_y)^2 of that column */
} m2s_envelope_piece;
/* pieces has room for width + 1; the last one is a sentinel that starts at width. Returns how many there are without
 * it, 0 when no column has a pixel. Spacings are lengths of a pixel; with 1 and 1 distances are exact integers. */
int32_t m2s_envelope(const uint16_t *vertical, int32_t width, double spacing_y, double spacing_x,
                     m2s_envelope_piece *pieces);

#endif
