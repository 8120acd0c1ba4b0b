/* SPDX-License-Identifier: Apache-2.0
 * A sheet of pixels to draw on: rectangles, pictures, heat maps, and text in a plain font of its own. What lies outside
 * the sheet is left out. Sizes and places in px, colours 0xRRGGBB. */
#ifndef EXAMPLES_COMMON_CANVAS_H
#define EXAMPLES_COMMON_CANVAS_H

#include <stdint.h>

#include "m2snet.h"

typedef struct canvas {
    uint8_t *pixels; /* RGB8, dense */
    int32_t width, height;
} canvas;

/* Ends the program when there is no memory. */
void canvas_make(canvas *c, int32_t width, int32_t height, uint32_t rgb);
void canvas_free(canvas *c);

void canvas_fill(canvas *c, int32_t x, int32_t y, int32_t width, int32_t height, uint32_t rgb);
/* A character is 5 x 7 px in a place of 6 x 9, times scale; the text ends before most_px. Characters beyond ASCII are
 * '?'. */
void canvas_text(canvas *c, int32_t x, int32_t y, int32_t scale, uint32_t rgb, int32_t most_px, const char *text);
/* The largest scale, 1 to most, at which all of the text fits into most_px; 1 when none does. */
int32_t canvas_text_scale(const char *text, int32_t most, int32_t most_px);
/* A dense RGB8 picture. */
void canvas_picture(canvas *c, int32_t x, int32_t y, const m2snet_image *image);

/* A colour for 0..1, dark to bright; beyond, that of the end. */
void heat_colour(double value, uint8_t rgb[3]);
/* value_columns x value_rows numbers as width x height pixels, each number a rectangle; most is the brightest. */
void canvas_heat(canvas *c, int32_t x, int32_t y, int32_t width, int32_t height, const float *values,
                 int32_t value_columns, int32_t value_rows, double most);

#endif
