/* SPDX-License-Identifier: Apache-2.0 */
#include "image/pixels.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

const char *m2s_pixel_format_name(m2snet_pixel_format format)
{
    switch (format) {
    case M2SNET_PIXEL_RGB8:
        return "RGB8";
    case M2SNET_PIXEL_BGR8:
        return "BGR8";
    case M2SNET_PIXEL_RGBA8:
        return "RGBA8";
    case M2SNET_PIXEL_BGRA8:
        return "BGRA8";
    case M2SNET_PIXEL_GRAY8:
        return "GRAY8";
    case M2SNET_PIXEL_GRAY16:
        return "GRAY16";
    case M2SNET_PIXEL_F32:
        return "F32";
    }
    return "?";
}

static m2snet_status check_window(const m2snet_image *image, const char *name, m2snet_error *error)
{
    float low = image->window_low;
    float high = image->window_high;

    if (image->format != M2SNET_PIXEL_GRAY16 && image->format != M2SNET_PIXEL_F32) {
        return M2SNET_STATUS_OK;
    }
    if ((low != 0.0f || high != 0.0f) && !(isfinite(low) && isfinite(high) && low < high)) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                        "%s: the window %g..%g must be finite and go from a lower to a higher value", name, (double)low,
                        (double)high);
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_image_check(const m2snet_image *image, const char *name, m2snet_error *error)
{
    const m2snet_status bad = M2SNET_STATUS_INVALID_ARGUMENT;

    if (image == NULL || image->data == NULL) {
        return m2s_fail(error, bad, "%s: no pixels (the %s pointer is NULL)", name, image == NULL ? "image" : "data");
    }
    if (m2s_pixel_bytes(image->format) == 0) {
        return m2s_fail(error, bad, "%s: %d is not a pixel format (see m2snet_pixel_format)", name, (int)image->format);
    }
    if (image->width < 1 || image->height < 1 || image->width > M2S_MAX_SIDE_PX || image->height > M2S_MAX_SIDE_PX) {
        return m2s_fail(error, bad, "%s is %d x %d px; sides must be 1..%d px", name, image->width, image->height,
                        M2S_MAX_SIDE_PX);
    }
    if ((uint64_t)image->width * (uint64_t)image->height > M2S_MAX_PIXELS) {
        return m2s_fail(error, bad, "%s is %d x %d px; at most %" PRIu64 " px are allowed", name, image->width,
                        image->height, M2S_MAX_PIXELS);
    }
    ptrdiff_t row_bytes = (ptrdiff_t)image->width * m2s_pixel_bytes(image->format);
    ptrdiff_t stride = image->row_stride_bytes;
    if (stride != 0 && stride > -row_bytes && stride < row_bytes) {
        return m2s_fail(error, bad, "%s: row_stride_bytes is %td, but a row of %d %s pixels takes %td bytes", name,
                        stride, image->width, m2s_pixel_format_name(image->format), row_bytes);
    }
    if (stride > PTRDIFF_MAX / M2S_MAX_SIDE_PX || stride < -(PTRDIFF_MAX / M2S_MAX_SIDE_PX)) {
        return m2s_fail(error, bad, "%s: row_stride_bytes %td is beyond any memory", name, stride);
    }
    return check_window(image, name, error);
}

m2snet_status m2s_region_resolve(int32_t width, int32_t height, const m2s_rect *region, m2s_rect *resolved,
                                 m2snet_error *error)
{
    if (region == NULL || (region->width == 0 && region->height == 0)) {
        *resolved = (m2s_rect){ 0, 0, width, height };
        return M2SNET_STATUS_OK;
    }
    if (region->width < 1 || region->height < 1 || region->x < 0 || region->y < 0 || region->x > width - 1 ||
        region->y > height - 1 || region->width > width - region->x || region->height > height - region->y) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                        "the region of interest, %d x %d px at (%d, %d), does not lie inside the picture of %d x %d px",
                        region->width, region->height, region->x, region->y, width, height);
    }
    *resolved = *region;
    return M2SNET_STATUS_OK;
}

const uint8_t *m2s_image_row(const m2snet_image *image, int32_t y)
{
    ptrdiff_t stride = image->row_stride_bytes != 0 ? image->row_stride_bytes
                                                    : (ptrdiff_t)image->width * m2s_pixel_bytes(image->format);

    return (const uint8_t *)image->data + (ptrdiff_t)y * stride;
}

int32_t m2s_image_channels(m2snet_pixel_format format)
{
    return format == M2SNET_PIXEL_GRAY8 || format == M2SNET_PIXEL_GRAY16 || format == M2SNET_PIXEL_F32 ? 1 : 3;
}

/* NaN fails both comparisons and gives 0. */
static uint8_t windowed(double value, double low, double high)
{
    if (value >= high) {
        return 255;
    }
    return value > low ? (uint8_t)((value - low) * 255.0 / (high - low) + 0.5) : 0;
}

const uint8_t *m2s_image_row_u8(const m2snet_image *image, int32_t x, int32_t y, int32_t width, uint8_t *scratch)
{
    const int32_t bytes = m2s_pixel_bytes(image->format);
    const uint8_t *src = m2s_image_row(image, y) + (ptrdiff_t)x * bytes;
    bool is_full = image->window_low == 0.0f && image->window_high == 0.0f;
    double low = is_full ? 0.0 : (double)image->window_low;
    double high = is_full ? (image->format == M2SNET_PIXEL_GRAY16 ? 65535.0 : 1.0) : (double)image->window_high;

    switch (image->format) {
    case M2SNET_PIXEL_RGB8:
    case M2SNET_PIXEL_GRAY8:
        return src;
    case M2SNET_PIXEL_BGR8:
    case M2SNET_PIXEL_BGRA8:
        for (ptrdiff_t i = 0; i < width; i++) {
            scratch[3 * i] = src[bytes * i + 2];
            scratch[3 * i + 1] = src[bytes * i + 1];
            scratch[3 * i + 2] = src[bytes * i];
        }
        break;
    case M2SNET_PIXEL_RGBA8:
        for (ptrdiff_t i = 0; i < width; i++) {
            memcpy(scratch + 3 * i, src + 4 * i, 3);
        }
        break;
    case M2SNET_PIXEL_GRAY16:
        for (ptrdiff_t i = 0; i < width; i++) {
            uint16_t value; /* rows may start at odd addresses */
            memcpy(&value, src + 2 * i, sizeof value);
            scratch[i] = windowed((double)value, low, high);
        }
        break;
    case M2SNET_PIXEL_F32:
        for (ptrdiff_t i = 0; i < width; i++) {
            float value;
            memcpy(&value, src + 4 * i, sizeof value);
            scratch[i] = windowed((double)value, low, high);
        }
        break;
    }
    return scratch;
}
