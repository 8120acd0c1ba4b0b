/* SPDX-License-Identifier: Apache-2.0 */
#include "image/preprocess.h"

#include "image/resample.h"

#define PHASE    "prepare"
#define CUT_ROWS 32

const uint8_t *m2s_picture_row(const void *part, int32_t y, uint8_t *scratch)
{
    const m2s_picture_part *p = part;

    return m2s_image_row_u8(p->image, p->region.x, p->region.y + y, p->region.width, scratch);
}

typedef struct normalize_work {
    const uint8_t *pixels; /* dense, width x channels a row */
    int32_t width, channels;
    float table[256][3];
    float *dst;
} normalize_work;

static void normalize_rows(void *argument, int32_t begin, int32_t end, int worker)
{
    const normalize_work *work = argument;
    ptrdiff_t step = work->channels;
    ptrdiff_t green = step == 3 ? 1 : 0;
    ptrdiff_t blue = step == 3 ? 2 : 0;
    ptrdiff_t first = (ptrdiff_t)begin * work->width;
    ptrdiff_t last = (ptrdiff_t)end * work->width;

    (void)worker;
    for (ptrdiff_t i = first; i < last; i++) {
        const uint8_t *pixel = work->pixels + i * step;
        work->dst[3 * i] = work->table[pixel[0]][0];
        work->dst[3 * i + 1] = work->table[pixel[green]][1];
        work->dst[3 * i + 2] = work->table[pixel[blue]][2];
    }
}

m2snet_status m2s_preprocess(const m2s_host *host, const m2snet_image *image, const m2s_rect *region,
                             const m2s_normalization *normalization, int32_t width, int32_t height, float *dst,
                             m2s_control *control, m2snet_error *error)
{
    m2snet_status status;
    uint8_t *pixels = NULL;
    m2s_picture_part source = { image, { 0, 0, 0, 0 } };
    normalize_work work = { .width = width, .dst = dst };

    if (m2s_control_report(control, PHASE, 0, 1)) {
        status = m2s_fail_cancelled(error, PHASE);
        goto fail;
    }
    M2S_TRY(m2s_image_check(image, "the picture", error));
    M2S_TRY(m2s_region_resolve(image->width, image->height, region, &source.region, error));
    work.channels = m2s_image_channels(image->format);
    size_t bytes = (size_t)width * (size_t)height * (size_t)work.channels;
    pixels = m2s_alloc(host->memory, bytes);
    if (pixels == NULL) {
        status = m2s_fail_memory(error, "the resized picture", bytes);
        goto fail;
    }
    m2s_row_source rows = { m2s_picture_row, &source, source.region.width, source.region.height, work.channels };
    M2S_TRY(m2s_resize_u8(host, &rows, pixels, (ptrdiff_t)width * work.channels, width, height, control, PHASE, error));

    for (int v = 0; v < 256; v++) {
        for (int c = 0; c < 3; c++) {
            float scaled = (float)v / 255.0f;
            work.table[v][c] = (scaled - normalization->mean[c]) / normalization->std[c];
        }
    }
    work.pixels = pixels;
    M2S_TRY(m2s_run_rows(host, normalize_rows, &work, height, CUT_ROWS, control, PHASE, error));
    m2s_control_report(control, PHASE, 1, 1);
    status = M2SNET_STATUS_OK;

fail:
    m2s_free(host->memory, pixels);
    return status;
}

m2snet_status m2s_image_resize(const m2s_host *host, const m2snet_image *src, const m2snet_image *dst,
                               m2s_control *control, m2snet_error *error)
{
    m2snet_status status;

    M2S_TRY(m2s_image_check(src, "the picture to resize", error));
    M2S_TRY(m2s_image_check(dst, "the picture to resize into", error));
    if (src->format != dst->format || (src->format != M2SNET_PIXEL_RGB8 && src->format != M2SNET_PIXEL_GRAY8)) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                        "pictures are resized from RGB8 to RGB8 or from GRAY8 to GRAY8, not from %s to %s",
                        m2s_pixel_format_name(src->format), m2s_pixel_format_name(dst->format));
    }
    m2s_picture_part source = { src, { 0, 0, src->width, src->height } };
    m2s_row_source rows = { m2s_picture_row, &source, src->width, src->height, m2s_image_channels(src->format) };
    ptrdiff_t stride = dst->row_stride_bytes != 0 ? dst->row_stride_bytes : (ptrdiff_t)dst->width * rows.channels;
    /* m2snet_image has one data pointer for pictures to read and to write. */
    status = m2s_resize_u8(host, &rows, (uint8_t *)(uintptr_t)dst->data, stride, dst->width, dst->height, control,
                           "resize", error);

fail:
    return status;
}
