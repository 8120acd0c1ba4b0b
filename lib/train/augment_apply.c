/* SPDX-License-Identifier: Apache-2.0
 * Applying a draw: sampling kernels and the order of steps. */
#include <math.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "train/augment_colour.h"
#include "train/augment_levels.h"
#include "train/augment_map.h"

/* R, G, B and the mask in one register on every processor; each lane is computed as a lone float would be. */
typedef float f4 __attribute__((vector_size(16)));
typedef int32_t i4 __attribute__((vector_size(16)));

#define INLINE static inline __attribute__((always_inline))

typedef enum border {
    BORDER_EDGE, /* edge pixels go on for ever */
    BORDER_AREA, /* edge pixels fill the picture's area, which ends half a pixel beyond their centres; then 0 */
    BORDER_ZERO  /* every neighbour outside is 0 */
} border;

/* Between bytes and the network's numbers: (colour(v / 255) - mean) / std, mask / 255 in the last lane. */
typedef struct finish {
    bool has_colour;
    f4 red, green, blue, mask, offset; /* columns of the colour map */
    f4 mean, std;
} finish;

typedef struct sampling {
    const void *src; /* four bytes or an f4 a pixel, dense */
    int32_t src_width, src_height;
    m2s_map map;
    int32_t width, height;
    f4 *packed;   /* either: four floats a pixel */
    float *image; /* or: three floats a pixel */
    float *mask;  /* and one; may be NULL */
} sampling;

INLINE f4 load_pixel(const void *src, ptrdiff_t i, bool is_bytes)
{
    if (!is_bytes) {
        return ((const f4 *)src)[i];
    }
#if defined(__SSE2__)
    int32_t word; /* gcc 12 converts four bytes one by one */
    memcpy(&word, (const uint8_t *)src + 4 * i, sizeof word);
    __m128i zero = _mm_setzero_si128();
    __m128i wide = _mm_unpacklo_epi16(_mm_unpacklo_epi8(_mm_cvtsi32_si128(word), zero), zero);
    return (f4)_mm_cvtepi32_ps(wide);
#else
    const uint8_t *p = (const uint8_t *)src + 4 * i;
    return (f4){ p[0], p[1], p[2], p[3] };
#endif
}

INLINE f4 splat(float v)
{
    return (f4){ v, v, v, v };
}

INLINE f4 clip_unit(f4 v)
{
    i4 low = v < splat(0.0f);
    i4 high = v > splat(1.0f);

    return (f4)(((i4)v & ~low & ~high) | ((i4)splat(1.0f) & high));
}

INLINE f4 apply_finish(const finish *f, f4 v, bool has_colour)
{
    v = v / 255.0f;
    if (has_colour) {
        v = clip_unit(f->red * v[0] + f->green * v[1] + f->blue * v[2] + f->mask * v[3] + f->offset);
    }
    return (v - f->mean) / f->std;
}

INLINE void store_pixel(const sampling *s, ptrdiff_t i, f4 v)
{
    if (s->packed != NULL) {
        s->packed[i] = v;
        return;
    }
    s->image[3 * i] = v[0];
    s->image[3 * i + 1] = v[1];
    s->image[3 * i + 2] = v[2];
    if (s->mask != NULL) {
        s->mask[i] = v[3];
    }
}

INLINE int32_t clamp_index(int32_t i, int32_t count)
{
    return i < 0 ? 0 : i >= count ? count - 1 : i;
}

/* Bilinear in the order rows, then columns; a fraction of 0 gives the neighbour's value itself. */
INLINE f4 mix(f4 v00, f4 v01, f4 v10, f4 v11, float fx, float fy)
{
    f4 top = v00 + splat(fx) * (v01 - v00);
    f4 bottom = v10 + splat(fx) * (v11 - v10);

    return top + splat(fy) * (bottom - top);
}

INLINE f4 sample_inside(const sampling *s, double x, double y, bool is_bytes)
{
    double cx = x < 0.0 ? 0.0 : x > s->src_width - 1 ? s->src_width - 1 : x;
    double cy = y < 0.0 ? 0.0 : y > s->src_height - 1 ? s->src_height - 1 : y;
    int32_t x0 = (int32_t)cx, y0 = (int32_t)cy;
    ptrdiff_t right = x0 + 1 < s->src_width;
    ptrdiff_t below = y0 + 1 < s->src_height ? s->src_width : 0;
    ptrdiff_t at = (ptrdiff_t)y0 * s->src_width + x0;

    return mix(load_pixel(s->src, at, is_bytes), load_pixel(s->src, at + right, is_bytes),
               load_pixel(s->src, at + below, is_bytes), load_pixel(s->src, at + below + right, is_bytes),
               (float)(cx - x0), (float)(cy - y0));
}

INLINE f4 load_or_zero(const sampling *s, int32_t x, int32_t y)
{
    bool is_inside = x >= 0 && y >= 0 && x < s->src_width && y < s->src_height;

    return is_inside ? ((const f4 *)s->src)[(ptrdiff_t)y * s->src_width + x] : splat(0.0f);
}

/* Of floats: outside is 0 as the network sees it. */
INLINE f4 sample_zero(const sampling *s, double x, double y)
{
    if (!(x > -1.0 && y > -1.0 && x < s->src_width && y < s->src_height)) {
        return splat(0.0f);
    }
    double low_x = floor(x), low_y = floor(y);
    int32_t x0 = (int32_t)low_x, y0 = (int32_t)low_y;

    return mix(load_or_zero(s, x0, y0), load_or_zero(s, x0 + 1, y0), load_or_zero(s, x0, y0 + 1),
               load_or_zero(s, x0 + 1, y0 + 1), (float)(x - low_x), (float)(y - low_y));
}

INLINE void sample_all(const sampling *s, const finish *f, border mode, bool is_bytes, bool has_colour)
{
    double right = s->src_width - 0.5, bottom = s->src_height - 0.5;
    ptrdiff_t i = 0;

    for (int32_t row = 0; row < s->height; row++) {
        double row_x = s->map.xy * row + s->map.x0;
        double row_y = s->map.yy * row + s->map.y0;
        for (int32_t column = 0; column < s->width; column++, i++) {
            double x = s->map.xx * column + row_x;
            double y = s->map.yx * column + row_y;
            f4 v;
            if (mode == BORDER_ZERO) {
                v = sample_zero(s, x, y);
            } else if (mode == BORDER_AREA && !(x >= -0.5 && y >= -0.5 && x <= right && y <= bottom)) {
                v = splat(0.0f);
            } else {
                v = sample_inside(s, x, y, is_bytes);
                v = is_bytes ? apply_finish(f, v, has_colour) : v;
            }
            store_pixel(s, i, v);
        }
    }
}

static void sample_bytes(const sampling *s, const finish *f, border mode)
{
    if (mode == BORDER_AREA && f->has_colour) {
        sample_all(s, f, BORDER_AREA, true, true);
    } else if (mode == BORDER_AREA) {
        sample_all(s, f, BORDER_AREA, true, false);
    } else {
        sample_all(s, f, BORDER_EDGE, true, f->has_colour);
    }
}

static void sample_floats(const sampling *s, border mode)
{
    if (mode == BORDER_ZERO) {
        sample_all(s, NULL, BORDER_ZERO, false, false);
    } else {
        sample_all(s, NULL, BORDER_EDGE, false, false);
    }
}

static void finish_make(finish *f, const m2snet_augment_options *o, const m2s_draw *draw, const m2s_picture *picture)
{
    m2s_colour c;

    *f = (finish){ .mean = { (float)o->mean[0], (float)o->mean[1], (float)o->mean[2], 0.0f },
                   .std = { (float)o->std[0], (float)o->std[1], (float)o->std[2], 1.0f } };
    f->has_colour = m2s_colour_map(draw, picture->mean_rgb, &c);
    if (f->has_colour) {
        f->red = (f4){ (float)c.matrix[0][0], (float)c.matrix[1][0], (float)c.matrix[2][0], 0.0f };
        f->green = (f4){ (float)c.matrix[0][1], (float)c.matrix[1][1], (float)c.matrix[2][1], 0.0f };
        f->blue = (f4){ (float)c.matrix[0][2], (float)c.matrix[1][2], (float)c.matrix[2][2], 0.0f };
        f->mask = (f4){ 0.0f, 0.0f, 0.0f, 1.0f };
        f->offset = (f4){ (float)c.offset[0], (float)c.offset[1], (float)c.offset[2], 0.0f };
    }
}

/* ---- masks of labels ---- */

static void add_label(float *dst, uint8_t label, float weight)
{
    if (label > 0) {
        dst[label - 1] += weight;
    }
}

static void sample_labels_soft(const m2s_picture *p, const m2s_map *map, int32_t height, int32_t width, int32_t count,
                               float *mask)
{
    const uint8_t *labels = p->rgbm + 3;

    memset(mask, 0, (size_t)height * (size_t)width * (size_t)count * sizeof *mask);
    for (int32_t row = 0; row < height; row++) {
        for (int32_t column = 0; column < width; column++, mask += count) {
            double x = map->xx * column + map->xy * row + map->x0;
            double y = map->yx * column + map->yy * row + map->y0;
            if (!(x >= -0.5 && y >= -0.5 && x <= p->width - 0.5 && y <= p->height - 0.5)) {
                continue;
            }
            double low_x = floor(x), low_y = floor(y);
            float fx = (float)(x - low_x), fy = (float)(y - low_y);
            ptrdiff_t x0 = clamp_index((int32_t)low_x, p->width), x1 = clamp_index((int32_t)low_x + 1, p->width);
            ptrdiff_t y0 = (ptrdiff_t)clamp_index((int32_t)low_y, p->height) * p->width;
            ptrdiff_t y1 = (ptrdiff_t)clamp_index((int32_t)low_y + 1, p->height) * p->width;
            add_label(mask, labels[4 * (y0 + x0)], (1.0f - fx) * (1.0f - fy));
            add_label(mask, labels[4 * (y0 + x1)], fx * (1.0f - fy));
            add_label(mask, labels[4 * (y1 + x0)], (1.0f - fx) * fy);
            add_label(mask, labels[4 * (y1 + x1)], fx * fy);
        }
    }
}

static void sample_labels_nearest(const m2s_picture *p, const m2s_map *map, int32_t height, int32_t width,
                                  int32_t count, float *mask)
{
    memset(mask, 0, (size_t)height * (size_t)width * (size_t)count * sizeof *mask);
    for (int32_t row = 0; row < height; row++) {
        for (int32_t column = 0; column < width; column++, mask += count) {
            double x = floor(map->xx * column + map->xy * row + map->x0 + 0.5);
            double y = floor(map->yx * column + map->yy * row + map->y0 + 0.5);
            bool is_inside = x >= 0.0 && y >= 0.0 && x < p->width && y < p->height;
            ptrdiff_t at = is_inside ? (ptrdiff_t)y * p->width + (ptrdiff_t)x : 0;
            mask[is_inside ? p->rgbm[4 * at + 3] : 0] = 1.0f;
        }
    }
}

/* The label that most of the bilinear weights belong to; of equal ones the one nearest the top left. */
static void sample_labels_most(const m2s_picture *p, const m2s_map *map, int32_t height, int32_t width, int32_t count,
                               float *mask)
{
    const uint8_t *labels = p->rgbm + 3;

    memset(mask, 0, (size_t)height * (size_t)width * (size_t)count * sizeof *mask);
    for (int32_t row = 0; row < height; row++) {
        for (int32_t column = 0; column < width; column++, mask += count) {
            double x = map->xx * column + map->xy * row + map->x0;
            double y = map->yx * column + map->yy * row + map->y0;
            double low_x = floor(x), low_y = floor(y);
            uint8_t label[4] = { 0 }, most = 0;
            float best = -1.0f;
            for (int i = 0; i < 4; i++) { /* outside is background */
                double at_x = low_x + (i & 1), at_y = low_y + (i >> 1);
                bool is_inside = at_x >= 0.0 && at_y >= 0.0 && at_x < p->width && at_y < p->height;
                label[i] = is_inside ? labels[4 * ((ptrdiff_t)at_y * p->width + (ptrdiff_t)at_x)] : 0;
            }
            for (int i = 0; i < 4; i++) {
                float sum = 0.0f;
                for (int k = 0; k < 4; k++) {
                    float fx = (float)(x - low_x), fy = (float)(y - low_y);
                    float weight = ((k & 1) != 0 ? fx : 1.0f - fx) * ((k >> 1) != 0 ? fy : 1.0f - fy);
                    sum += label[k] == label[i] ? weight : 0.0f;
                }
                most = sum > best ? label[i] : most;
                best = sum > best ? sum : best;
            }
            mask[most] = 1.0f;
        }
    }
}

/* ---- steps ---- */

static m2snet_status scratch_get(m2s_augment_scratch *scratch, int slot, size_t floats, float **plane,
                                 m2snet_error *error)
{
    size_t bytes = floats * sizeof(float);

    if (scratch->bytes[slot] < bytes) {
        m2s_free(scratch->memory, scratch->planes[slot]);
        scratch->bytes[slot] = 0;
        scratch->planes[slot] = m2s_alloc(scratch->memory, bytes);
        if (scratch->planes[slot] == NULL) {
            return m2s_fail_memory(error, "augmenting a picture", bytes);
        }
        scratch->bytes[slot] = bytes;
    }
    *plane = scratch->planes[slot];
    return M2SNET_STATUS_OK;
}

void m2s_augment_scratch_release(m2s_augment_scratch *scratch)
{
    for (int i = 0; i < M2S_AUGMENT_PLANES; i++) {
        m2s_free(scratch->memory, scratch->planes[i]);
        scratch->planes[i] = NULL;
        scratch->bytes[i] = 0;
    }
}

/* Resize, move, resize, each rounded to float before the next. A step that changes nothing is left out. */
static m2snet_status apply_in_steps(const m2snet_augment_options *o, const m2s_draw *draw, const finish *f,
                                    const sampling *whole, m2s_augment_scratch *scratch, m2snet_error *error)
{
    int32_t side = o->first_size_px;
    size_t floats = 4 * (size_t)side * (size_t)side;
    m2s_map move = m2s_map_move(draw, o->rotate_about_index != 0, side, side, side, side);
    bool has_move = !m2s_map_is_identity(&move);
    bool has_last = whole->width != side || whole->height != side;
    sampling s = *whole;
    float *plane = NULL;
    m2snet_status status;

    s.width = s.height = side;
    s.map = m2s_map_resize(side, side, s.src_width, s.src_height);
    if (has_move || has_last) {
        M2S_TRY(scratch_get(scratch, 0, floats, &plane, error));
        s.packed = (f4 *)(void *)plane;
    }
    sample_bytes(&s, f, BORDER_EDGE);
    if (has_move) {
        s.src = s.packed;
        s.src_width = s.src_height = side;
        s.map = move;
        s.packed = NULL;
        if (has_last) {
            M2S_TRY(scratch_get(scratch, 1, floats, &plane, error));
            s.packed = (f4 *)(void *)plane;
        }
        sample_floats(&s, BORDER_ZERO);
    }
    if (has_last) {
        s = *whole;
        s.src = plane;
        s.src_width = s.src_height = side;
        s.map = m2s_map_resize(s.width, s.height, side, side);
        sample_floats(&s, BORDER_EDGE);
    }
    status = M2SNET_STATUS_OK;
fail:
    return status;
}

static m2snet_status change_levels(const m2snet_augment_options *o, const m2s_draw *draw, int32_t height, int32_t width,
                                   m2s_augment_scratch *scratch, float *image, m2snet_error *error)
{
    size_t floats = m2s_levels_scratch(height, width);
    float *buffer = NULL;
    m2snet_status status;

    M2S_TRY(scratch_get(scratch, 3, floats, &buffer, error));
    m2s_levels_apply(&draw->levels, draw->noise_stream, o->mean, o->std, height, width, image, buffer);
fail:
    return status;
}

static m2snet_status blur_and_noise(const m2snet_augment_options *o, const m2s_draw *draw, int32_t height,
                                    int32_t width, m2s_augment_scratch *scratch, float *image, m2snet_error *error)
{
    m2snet_status status;

    if (draw->blur_sigma_px > 0.0) {
        float *buffer = NULL, *line = NULL;
        size_t padded = (size_t)width + 2 * (size_t)m2s_blur_radius(draw->blur_sigma_px);
        M2S_TRY(scratch_get(scratch, 0, 3 * (size_t)height * (size_t)width, &buffer, error));
        M2S_TRY(scratch_get(scratch, 2, 3 * padded, &line, error));
        m2s_blur(image, height, width, draw->blur_sigma_px, buffer, line);
    }
    if (draw->noise_std > 0.0) {
        const float std[3] = { (float)(draw->noise_std / o->std[0]), (float)(draw->noise_std / o->std[1]),
                               (float)(draw->noise_std / o->std[2]) };
        m2s_noise(image, (int64_t)height * width, std, draw->noise_stream);
    }
    status = M2SNET_STATUS_OK;
fail:
    return status;
}

m2snet_status m2s_augment_apply(const m2snet_augment_options *o, const m2s_draw *draw, const m2s_picture *picture,
                                const m2s_mask_coding *coding, int32_t height, int32_t width,
                                m2s_augment_scratch *scratch, float *image, float *mask, m2snet_error *error)
{
    int32_t channels = m2s_mask_channels(coding);
    m2s_map map = m2s_map_whole(o, draw, width, height, picture->width, picture->height);
    sampling s = { .src = picture->rgbm,
                   .src_width = picture->width,
                   .src_height = picture->height,
                   .map = map,
                   .width = width,
                   .height = height,
                   .image = image,
                   .mask = coding->kind == M2S_MASK_GRAY ? mask : NULL };
    finish f;
    m2snet_status status;

    finish_make(&f, o, draw, picture);
    if (o->first_size_px > 0) {
        M2S_TRY(apply_in_steps(o, draw, &f, &s, scratch, error));
    } else {
        sample_bytes(&s, &f, BORDER_AREA);
    }
    if (coding->kind == M2S_MASK_SIGMOID) {
        sample_labels_soft(picture, &map, height, width, channels, mask);
    } else if (coding->kind == M2S_MASK_SOFTMAX && o->order == M2SNET_AUGMENT_NNUNET) {
        sample_labels_most(picture, &map, height, width, channels, mask);
    } else if (coding->kind == M2S_MASK_SOFTMAX) {
        sample_labels_nearest(picture, &map, height, width, channels, mask);
    }
    if (coding->binarize && coding->kind != M2S_MASK_SOFTMAX) {
        for (ptrdiff_t i = 0; i < (ptrdiff_t)height * width * channels; i++) {
            mask[i] = mask[i] >= 0.5f ? 1.0f : 0.0f;
        }
    }
    status = o->order == M2SNET_AUGMENT_NNUNET ? change_levels(o, draw, height, width, scratch, image, error)
                                               : blur_and_noise(o, draw, height, width, scratch, image, error);
fail:
    return status;
}
