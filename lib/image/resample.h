/* SPDX-License-Identifier: Apache-2.0
 * Resizing with a triangle filter that widens when it shrinks a picture: Pillow's BILINEAR, bit for bit (as of Pillow
 * 9.4 and 11.1; Pillow 13 changes the order of the passes for pictures that grow in width and shrink in height).
 *
 * For one axis n_in -> n_out, with scale = n_in / n_out and support = max(scale, 1), output o is the sum over
 *     x from trunc(centre - support + 0.5) up to, not including, trunc(centre + support + 0.5), within 0..n_in, of
 *     in[x] max(0, 1 - |x - centre + 0.5| / support), divided by the sum of these weights, where
 *     centre = (o + 0.5) scale.
 *
 * Along rows first, then along columns; an axis whose size stays is left alone.
 *
 * 8-bit pixels use weights of 22 fractional bits, integer sums rounded to nearest, and an 8-bit picture between the
 * passes (Pillow's modes L and RGB). Floats use double weights and sums, taps in order, and floats between the passes
 * (Pillow's mode F).
 *
 * Results do not depend on the pool, its threads or host->isa. */
#ifndef M2S_IMAGE_RESAMPLE_H
#define M2S_IMAGE_RESAMPLE_H

#include "core/host.h"

/* Where rows come from. row gives width * channels bytes of row y, in place or in scratch (of that many bytes, but at
 * least 3 * width); it is called from several threads, each with its own scratch, and once for every row at most. */
typedef struct m2s_row_source {
    const uint8_t *(*row)(const void *user, int32_t y, uint8_t *scratch);
    const void *user;
    int32_t width, height;
    int32_t channels; /* 1 or 3, interleaved */
} m2s_row_source;

/* Resizes into dst_height rows of dst_width * channels bytes at dst, dst_stride_bytes apart (any sign). All sides are
 * 1..65535. dst must not overlap the source. host->pool may be NULL. The phase is named in a cancel's message. */
m2snet_status m2s_resize_u8(const m2s_host *host, const m2s_row_source *src, uint8_t *dst, ptrdiff_t dst_stride_bytes,
                            int32_t dst_width, int32_t dst_height, m2s_control *control, const char *phase,
                            m2snet_error *error);

/* The same for one channel of floats, strides counted in bytes and multiples of 4. */
m2snet_status m2s_resize_f32(const m2s_host *host, const float *src, ptrdiff_t src_stride_bytes, int32_t src_width,
                             int32_t src_height, float *dst, ptrdiff_t dst_stride_bytes, int32_t dst_width,
                             int32_t dst_height, m2s_control *control, const char *phase, m2snet_error *error);

/* Runs rows(argument, begin, end, worker) over 0..count in fixed cuts of `cut` rows: on the pool, or, where there is
 * none, right here. worker is 0 .. m2s_row_workers(host) - 1. */
typedef void (*m2s_rows_fn)(void *argument, int32_t begin, int32_t end, int worker);
int m2s_row_workers(const m2s_host *host);
m2snet_status m2s_run_rows(const m2s_host *host, m2s_rows_fn rows, void *argument, int32_t count, int32_t cut,
                           m2s_control *control, const char *phase, m2snet_error *error);

#endif
