/* SPDX-License-Identifier: Apache-2.0 */
#include "train/loader_picture.h"

#include <string.h>

#include "image/decode.h"
#include "image/pixels.h"
#include "image/resample.h"

#define PHASE "load"

/* ---- masks ---- */

static uint8_t luminance(const uint8_t *rgb)
{
    return (uint8_t)((19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + 0x8000u) >> 16);
}

void m2s_mask_levels(const m2s_bitmap *mask, bool is_label, uint8_t *dst)
{
    ptrdiff_t count = (ptrdiff_t)mask->width * mask->height;

    switch (mask->format) {
    case M2SNET_PIXEL_GRAY8:
        memcpy(dst, mask->pixels, (size_t)count);
        break;
    case M2SNET_PIXEL_GRAY16:
        for (ptrdiff_t i = 0; i < count; i++) {
            uint16_t value;
            memcpy(&value, mask->pixels + 2 * i, sizeof value);
            dst[i] = (uint8_t)(!is_label ? value >> 8 : value > 255 ? 255 : value);
        }
        break;
    default:
        for (ptrdiff_t i = 0; i < count; i++) {
            dst[i] = luminance(mask->pixels + 3 * i);
        }
    }
}

/* What each level becomes before interpolation. */
static void make_code(const m2s_mask_coding *coding, uint8_t code[256])
{
    for (int v = 0; v < 256; v++) {
        if (coding->kind != M2S_MASK_GRAY) {
            code[v] = 0;
        } else {
            code[v] = (uint8_t)(coding->threshold == 0 ? v : v >= coding->threshold ? 255 : 0);
        }
    }
    for (int32_t i = 0; coding->kind != M2S_MASK_GRAY && i < coding->label_count; i++) {
        code[coding->labels[i]] = (uint8_t)(i + 1);
    }
}

/* ---- sizes ---- */

static const uint8_t *bitmap_row(const void *user, int32_t y, uint8_t *scratch)
{
    const m2snet_image *image = user;

    return m2s_image_row_u8(image, 0, y, image->width, scratch);
}

static const uint8_t *plane_row(const void *user, int32_t y, uint8_t *scratch)
{
    const m2s_bitmap *plane = user;

    (void)scratch;
    return plane->pixels + (ptrdiff_t)y * plane->width;
}

static m2snet_status resize_nearest(m2s_bitmap *plane, int32_t width, int32_t height, m2snet_error *error)
{
    m2s_bitmap resized = { 0 };
    m2snet_status status;

    M2S_TRY(m2s_bitmap_create(plane->memory, width, height, M2SNET_PIXEL_GRAY8, &resized, error));
    for (int32_t y = 0; y < height; y++) {
        const uint8_t *src =
            plane->pixels + (int64_t)(((2 * (int64_t)y + 1) * plane->height) / (2 * (int64_t)height)) * plane->width;
        for (int32_t x = 0; x < width; x++) {
            resized.pixels[(ptrdiff_t)y * width + x] =
                src[((2 * (int64_t)x + 1) * plane->width) / (2 * (int64_t)width)];
        }
    }
    m2s_bitmap_release(plane);
    *plane = resized;
fail:
    return status;
}

static m2snet_status resize_bilinear(const m2s_host *host, m2s_row_source *rows, int32_t width, int32_t height,
                                     m2s_control *control, m2s_bitmap *resized, m2snet_error *error)
{
    m2snet_pixel_format format = rows->channels == 3 ? M2SNET_PIXEL_RGB8 : M2SNET_PIXEL_GRAY8;
    m2snet_status status;

    M2S_TRY(m2s_bitmap_create(host->memory, width, height, format, resized, error));
    M2S_TRY(m2s_resize_u8(host, rows, resized->pixels, (ptrdiff_t)width * rows->channels, width, height, control, PHASE,
                          error));
fail:
    return status;
}

static void wanted_size(const m2s_picture_rules *rules, int32_t *width, int32_t *height)
{
    if (rules->exact_width > 0) {
        *width = rules->exact_width;
        *height = rules->exact_height;
    } else if (rules->shrink_px > 0) {
        *width = *width > rules->shrink_px ? rules->shrink_px : *width;
        *height = *height > rules->shrink_px ? rules->shrink_px : *height;
    }
}

/* ---- the two files ---- */

/* As 8-bit gray or R, G, B of the wanted size. */
static m2snet_status read_image(const m2s_host *host, const char *path, const m2s_picture_rules *rules,
                                m2s_control *control, int32_t *width, int32_t *height, m2s_bitmap *bitmap,
                                m2snet_error *error)
{
    m2s_decode_options decode = { .max_pixels = rules->max_pixels, .apply_exif = true };
    m2s_bitmap file = { 0 };
    m2snet_status status;

    M2S_TRY(m2s_image_read(host->memory, path, &decode, control, &file, error));
    *width = file.width;
    *height = file.height;
    m2snet_image image = m2s_bitmap_image(&file);
    int32_t new_width = file.width, new_height = file.height;
    wanted_size(rules, &new_width, &new_height);
    m2s_row_source rows = { bitmap_row, &image, file.width, file.height, m2s_image_channels(file.format) };
    M2S_TRY(resize_bilinear(host, &rows, new_width, new_height, control, bitmap, error));
fail:
    m2s_bitmap_release(&file);
    return status;
}

static m2snet_status read_mask(const m2s_host *host, const char *path, const m2s_picture_rules *rules,
                               m2s_control *control, int32_t width, int32_t height, m2s_bitmap *plane,
                               m2snet_error *error)
{
    m2s_decode_options decode = { .max_pixels = rules->max_pixels, .apply_exif = true };
    bool is_label = rules->mask.kind != M2S_MASK_GRAY;
    m2s_bitmap file = { 0 }, levels = { 0 };
    uint8_t code[256];
    m2snet_status status;

    M2S_TRY(m2s_image_read(host->memory, path, &decode, control, &file, error));
    if (file.width != width || file.height != height) {
        status = m2s_fail(error, M2SNET_STATUS_MISMATCH, "mask '%s' is %d x %d, its picture %d x %d", path, file.width,
                          file.height, width, height);
        goto fail;
    }
    M2S_TRY(m2s_bitmap_create(host->memory, width, height, M2SNET_PIXEL_GRAY8, &levels, error));
    m2s_mask_levels(&file, is_label, levels.pixels);
    m2s_bitmap_release(&file);
    make_code(&rules->mask, code);
    for (ptrdiff_t i = 0; i < (ptrdiff_t)width * height; i++) {
        levels.pixels[i] = code[levels.pixels[i]];
    }
    wanted_size(rules, &width, &height);
    if (width == levels.width && height == levels.height) {
        *plane = levels;
        levels = (m2s_bitmap){ 0 };
    } else if (is_label) {
        M2S_TRY(resize_nearest(&levels, width, height, error));
        *plane = levels;
        levels = (m2s_bitmap){ 0 };
    } else {
        m2s_row_source rows = { plane_row, &levels, levels.width, levels.height, 1 };
        M2S_TRY(resize_bilinear(host, &rows, width, height, control, plane, error));
    }
fail:
    m2s_bitmap_release(&file);
    m2s_bitmap_release(&levels);
    return status;
}

static void join(const m2s_bitmap *image, const m2s_bitmap *plane, m2s_picture *p)
{
    ptrdiff_t count = (ptrdiff_t)image->width * image->height;
    ptrdiff_t step = image->format == M2SNET_PIXEL_RGB8 ? 3 : 1;
    ptrdiff_t green = step == 3 ? 1 : 0, blue = step == 3 ? 2 : 0;
    uint64_t sums[3] = { 0, 0, 0 };

    for (ptrdiff_t i = 0; i < count; i++) {
        const uint8_t *pixel = image->pixels + i * step;
        uint8_t *dst = p->rgbm + 4 * i;
        dst[0] = pixel[0];
        dst[1] = pixel[green];
        dst[2] = pixel[blue];
        dst[3] = plane->pixels != NULL ? plane->pixels[i] : 0;
        sums[0] += dst[0];
        sums[1] += dst[1];
        sums[2] += dst[2];
    }
    for (int c = 0; c < 3; c++) {
        p->mean_rgb[c] = (float)((double)sums[c] / (255.0 * (double)count));
    }
}

m2snet_status m2s_picture_read(const m2s_host *host, const char *image_path, const char *mask_path,
                               const m2s_picture_rules *rules, m2s_control *control, m2s_picture **picture,
                               m2snet_error *error)
{
    const m2s_host here = { .memory = host->memory, .isa = host->isa }; /* without a pool: on this thread */
    m2s_bitmap image = { 0 }, plane = { 0 };
    int32_t width, height;
    m2snet_status status;

    *picture = NULL;
    M2S_TRY(read_image(&here, image_path, rules, control, &width, &height, &image, error));
    if (mask_path != NULL) {
        M2S_TRY(read_mask(&here, mask_path, rules, control, width, height, &plane, error));
    }
    size_t bytes = M2S_PICTURE_BYTES(image.width, image.height);
    *picture = m2s_alloc(host->memory, bytes);
    if (*picture == NULL) {
        status = m2s_fail_memory(error, "a decoded picture", bytes);
        goto fail;
    }
    (*picture)->width = image.width;
    (*picture)->height = image.height;
    join(&image, &plane, *picture);
fail:
    m2s_bitmap_release(&image);
    m2s_bitmap_release(&plane);
    return status;
}
