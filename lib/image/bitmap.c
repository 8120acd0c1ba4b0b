/* SPDX-License-Identifier: Apache-2.0 */
#include "image/bitmap.h"

#include <inttypes.h>
#include <string.h>

int32_t m2s_pixel_bytes(m2snet_pixel_format format)
{
    switch (format) {
    case M2SNET_PIXEL_RGB8:
    case M2SNET_PIXEL_BGR8:
        return 3;
    case M2SNET_PIXEL_RGBA8:
    case M2SNET_PIXEL_BGRA8:
    case M2SNET_PIXEL_F32:
        return 4;
    case M2SNET_PIXEL_GRAY8:
        return 1;
    case M2SNET_PIXEL_GRAY16:
        return 2;
    }
    return 0;
}

m2snet_status m2s_bitmap_check_size(uint64_t width, uint64_t height, uint64_t max_pixels, m2snet_error *error)
{
    if (width == 0 || height == 0) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "the picture is empty: %" PRIu64 " x %" PRIu64 " px", width,
                        height);
    }
    if (width > M2S_MAX_SIDE_PX || height > M2S_MAX_SIDE_PX) {
        return m2s_fail(error, M2SNET_STATUS_LIMIT,
                        "the picture is %" PRIu64 " x %" PRIu64 " px; sides of at most %d px are read", width, height,
                        M2S_MAX_SIDE_PX);
    }
    max_pixels = max_pixels < M2S_MAX_PIXELS ? max_pixels : M2S_MAX_PIXELS;
    if (width * height > max_pixels) {
        return m2s_fail(error, M2SNET_STATUS_LIMIT,
                        "the picture is %" PRIu64 " x %" PRIu64 " = %" PRIu64 " px; at most %" PRIu64 " px are allowed",
                        width, height, width * height, max_pixels);
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_bitmap_create(m2s_memory *memory, int32_t width, int32_t height, m2snet_pixel_format format,
                                m2s_bitmap *bitmap, m2snet_error *error)
{
    size_t bytes = (size_t)width * (size_t)height * (size_t)m2s_pixel_bytes(format);
    uint8_t *pixels = m2s_alloc(memory, bytes);

    if (pixels == NULL) {
        *bitmap = (m2s_bitmap){ 0 };
        return m2s_fail_memory(error, "the decoded picture", bytes);
    }
    *bitmap = (m2s_bitmap){ memory, pixels, width, height, format };
    return M2SNET_STATUS_OK;
}

void m2s_bitmap_release(m2s_bitmap *bitmap)
{
    if (bitmap->memory != NULL) {
        m2s_free(bitmap->memory, bitmap->pixels);
    }
    *bitmap = (m2s_bitmap){ 0 };
}

/* Row y of the turned picture begins at pixel (x0, y0) of the stored one and goes on by (dx, dy). */
typedef struct walk {
    int32_t x0, y0, dx, dy;
} walk;

static walk walk_row(int orientation, int32_t y, int32_t width, int32_t height)
{
    switch (orientation) {
    case 2:
        return (walk){ width - 1, y, -1, 0 };
    case 3:
        return (walk){ width - 1, height - 1 - y, -1, 0 };
    case 4:
        return (walk){ 0, height - 1 - y, 1, 0 };
    case 5:
        return (walk){ y, 0, 0, 1 };
    case 6:
        return (walk){ y, height - 1, 0, -1 };
    case 7:
        return (walk){ width - 1 - y, height - 1, 0, -1 };
    case 8:
        return (walk){ width - 1 - y, 0, 0, 1 };
    default:
        return (walk){ 0, y, 1, 0 };
    }
}

m2snet_status m2s_bitmap_orient(m2s_bitmap *bitmap, int orientation, m2s_control *control, m2snet_error *error)
{
    m2snet_status status;
    m2s_bitmap turned = { 0 };
    bool swap = orientation >= 5;
    ptrdiff_t bytes = m2s_pixel_bytes(bitmap->format);

    if (orientation <= 1 || orientation > 8) {
        return M2SNET_STATUS_OK;
    }
    M2S_TRY(m2s_bitmap_create(bitmap->memory, swap ? bitmap->height : bitmap->width,
                              swap ? bitmap->width : bitmap->height, bitmap->format, &turned, error));
    uint8_t *dst = turned.pixels;
    for (int32_t y = 0; y < turned.height; y++) {
        if (m2s_control_stopped(control)) {
            status = m2s_fail_cancelled(error, "decode");
            goto fail;
        }
        walk w = walk_row(orientation, y, bitmap->width, bitmap->height);
        const uint8_t *src = bitmap->pixels + ((ptrdiff_t)w.y0 * bitmap->width + w.x0) * bytes;
        ptrdiff_t step = ((ptrdiff_t)w.dy * bitmap->width + w.dx) * bytes;
        for (int32_t x = 0; x < turned.width; x++) {
            memcpy(dst, src + x * step, (size_t)bytes);
            dst += bytes;
        }
    }
    m2s_bitmap_release(bitmap);
    *bitmap = turned;
    return M2SNET_STATUS_OK;

fail:
    m2s_bitmap_release(&turned);
    return status;
}

m2snet_image m2s_bitmap_image(const m2s_bitmap *bitmap)
{
    return (m2snet_image){
        .data = bitmap->pixels, .width = bitmap->width, .height = bitmap->height, .format = bitmap->format
    };
}
