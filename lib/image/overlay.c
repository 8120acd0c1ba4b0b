/* SPDX-License-Identifier: Apache-2.0 */
#include "image/overlay.h"

#include <string.h>

/* One row of the pen: pixels begin .. end-1 around the centre. */
typedef struct pen_row {
    int32_t begin, end;
} pen_row;

typedef struct canvas {
    uint8_t *pixels; /* RGB8 */
    int32_t width, height;
    uint8_t colour[3];
    pen_row pen[M2S_MAX_LINE_WIDTH_PX]; /* rows pen_first .. pen_first + pen_width - 1 around the centre */
    int32_t pen_first, pen_width;
} canvas;

/* Pixels whose centres lie in the disc; an even disc's centre is a pixel corner, hence the doubled coordinates. */
static void make_pen(canvas *c, int32_t width)
{
    int32_t first = -((width - 1) / 2);
    int32_t shift = width % 2 == 0 ? 1 : 0;

    c->pen_first = first;
    c->pen_width = width;
    for (int32_t i = 0; i < width; i++) {
        int32_t dy = 2 * (first + i) - shift;
        int32_t begin = first;
        while ((2 * begin - shift) * (2 * begin - shift) + dy * dy > width * width) {
            begin++;
        }
        c->pen[i] = (pen_row){ begin, shift - begin + 1 };
    }
}

static void stamp(canvas *c, int32_t x, int32_t y)
{
    for (int32_t i = 0; i < c->pen_width; i++) {
        int32_t row = y + c->pen_first + i;
        if (row < 0 || row >= c->height) {
            continue;
        }
        int32_t begin = x + c->pen[i].begin > 0 ? x + c->pen[i].begin : 0;
        int32_t end = x + c->pen[i].end < c->width ? x + c->pen[i].end : c->width;
        uint8_t *pixel = c->pixels + ((ptrdiff_t)row * c->width + begin) * 3;
        for (int32_t at = begin; at < end; at++, pixel += 3) {
            memcpy(pixel, c->colour, 3);
        }
    }
}

static void copy_picture(const m2snet_image *image, uint8_t *scratch, uint8_t *dst)
{
    ptrdiff_t row_bytes = (ptrdiff_t)image->width * 3;

    for (int32_t y = 0; y < image->height; y++, dst += row_bytes) {
        const uint8_t *src = m2s_image_row_u8(image, 0, y, image->width, scratch);
        if (m2s_image_channels(image->format) == 3) {
            memcpy(dst, src, (size_t)row_bytes);
            continue;
        }
        for (ptrdiff_t x = 0; x < image->width; x++) {
            dst[3 * x] = dst[3 * x + 1] = dst[3 * x + 2] = src[x];
        }
    }
}

static void draw_outline(canvas *c, const m2snet_image *mask)
{
    for (int32_t y = 0; y < c->height; y++) {
        const uint8_t *row = m2s_image_row(mask, y);
        const uint8_t *above = y > 0 ? m2s_image_row(mask, y - 1) : NULL;
        const uint8_t *below = y + 1 < c->height ? m2s_image_row(mask, y + 1) : NULL;
        for (int32_t x = 0; x < c->width; x++) {
            if (row[x] == 0) {
                continue;
            }
            bool is_enclosed = x > 0 && row[x - 1] != 0 && x + 1 < c->width && row[x + 1] != 0 && above != NULL &&
                               above[x] != 0 && below != NULL && below[x] != 0;
            if (!is_enclosed) {
                stamp(c, x, y);
            }
        }
    }
}

m2snet_status m2s_overlay(m2s_memory *memory, const m2snet_image *image, const m2snet_image *mask, uint32_t rgb,
                          int32_t line_width_px, m2s_bitmap *overlay, m2snet_error *error)
{
    m2snet_status status;
    uint8_t *scratch = NULL;

    *overlay = (m2s_bitmap){ 0 };
    M2S_TRY(m2s_image_check(image, "the picture", error));
    M2S_TRY(m2s_image_check(mask, "the mask", error));
    if (mask->format != M2SNET_PIXEL_GRAY8 || mask->width != image->width || mask->height != image->height) {
        status = m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                          "the mask must be GRAY8 of the picture's %d x %d px, not %s of %d x %d px", image->width,
                          image->height, m2s_pixel_format_name(mask->format), mask->width, mask->height);
        goto fail;
    }
    if (line_width_px < 1 || line_width_px > M2S_MAX_LINE_WIDTH_PX) {
        status = m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "the line width must be 1..%d px, not %d",
                          M2S_MAX_LINE_WIDTH_PX, line_width_px);
        goto fail;
    }
    if (rgb > 0xffffffu) {
        status = m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "the colour must be 0xRRGGBB, not 0x%x", rgb);
        goto fail;
    }
    size_t scratch_bytes = (size_t)image->width * 3;
    scratch = m2s_alloc(memory, scratch_bytes);
    if (scratch == NULL) {
        status = m2s_fail_memory(error, "a row of pixels", scratch_bytes);
        goto fail;
    }
    M2S_TRY(m2s_bitmap_create(memory, image->width, image->height, M2SNET_PIXEL_RGB8, overlay, error));
    copy_picture(image, scratch, overlay->pixels);

    canvas c = { .pixels = overlay->pixels,
                 .width = overlay->width,
                 .height = overlay->height,
                 .colour = { (uint8_t)(rgb >> 16), (uint8_t)(rgb >> 8 & 0xffu), (uint8_t)(rgb & 0xffu) } };
    make_pen(&c, line_width_px);
    draw_outline(&c, mask);
    status = M2SNET_STATUS_OK;

fail:
    m2s_free(memory, scratch);
    return status;
}
