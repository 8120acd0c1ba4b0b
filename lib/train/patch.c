/* SPDX-License-Identifier: Apache-2.0 */
#include "train/patch.h"

#include <math.h>
#include <stdlib.h>

#include "core/rng.h"
#include "image/decode.h"

#define PHASE              "load"
#define RADIANS_PER_DEGREE (3.14159265358979323846 / 180.0)
#define SMALLEST_SCALE     0.85
#define GRAY_FOREGROUND    128
#define MULTIPLE_PX        32
#define LEAST_PX           64
#define MOST_PX            512

/* The numbers of a patch's stream. */
enum { DRAW_CLASS, DRAW_PIXEL, DRAW_X, DRAW_Y };

/* ---- where ---- */

/* The index of one foreground pixel; -1: there is none. */
static ptrdiff_t foreground_pixel(const m2s_picture *p, bool gray, uint64_t stream)
{
    ptrdiff_t count = (ptrdiff_t)p->width * p->height, histogram[256] = { 0 };
    const uint8_t *mask = p->rgbm + 3;
    int classes[256], class_count = 0;

    for (ptrdiff_t i = 0; i < count; i++) {
        histogram[gray ? mask[4 * i] >= GRAY_FOREGROUND : mask[4 * i]]++;
    }
    for (int c = 1; c < 256; c++) {
        if (histogram[c] > 0) {
            classes[class_count++] = c;
        }
    }
    if (class_count == 0) {
        return -1;
    }
    int chosen = classes[(int)(m2s_rng_uniform(stream, DRAW_CLASS) * class_count)];
    ptrdiff_t wanted = (ptrdiff_t)(m2s_rng_uniform(stream, DRAW_PIXEL) * (double)histogram[chosen]);
    for (ptrdiff_t i = 0; i < count; i++) {
        int c = gray ? mask[4 * i] >= GRAY_FOREGROUND : mask[4 * i];
        if (c == chosen && wanted-- == 0) {
            return i;
        }
    }
    return -1;
}

/* One side's first pixel of the patch. middle: a pixel to have there; -1: anywhere. */
static int32_t place_side(int32_t side, int32_t patch, int32_t window, int32_t middle, double uniform)
{
    int32_t beyond = window - patch;

    if (beyond + side < window) {
        beyond = window - side;
    }
    int32_t low = -(beyond / 2 + beyond % 2), high = side + beyond / 2 + beyond % 2 - window, at;
    if (middle < 0) {
        at = low + (int32_t)(uniform * ((double)high - low + 1.0));
    } else {
        at = middle - window / 2;
        at = at < low ? low : at;
    }
    return at + (window - patch) / 2;
}

void m2s_patch_place(const m2s_picture *p, bool gray, bool on_foreground, double rotate_degrees, int32_t height,
                     int32_t width, uint64_t stream, int32_t *x, int32_t *y)
{
    double angle = (rotate_degrees < 90.0 ? rotate_degrees : 90.0) * RADIANS_PER_DEGREE;
    double turned_height = fabs(height * cos(angle) + width * sin(angle));
    double turned_width = fabs(width * cos(angle) - height * sin(angle));
    ptrdiff_t pixel = on_foreground ? foreground_pixel(p, gray, stream) : -1;

    /* A hair more than the quotient, so that a right angle's rounding takes no pixel away. */
    int32_t window_height = (int32_t)((turned_height > height ? turned_height : height) / SMALLEST_SCALE + 1e-6);
    int32_t window_width = (int32_t)((turned_width > width ? turned_width : width) / SMALLEST_SCALE + 1e-6);
    *x = place_side(p->width, width, window_width, pixel < 0 ? -1 : (int32_t)(pixel % p->width),
                    m2s_rng_uniform(stream, DRAW_X));
    *y = place_side(p->height, height, window_height, pixel < 0 ? -1 : (int32_t)(pixel / p->width),
                    m2s_rng_uniform(stream, DRAW_Y));
}

/* ---- how large ---- */

typedef struct survey {
    m2snet_dataset *dataset;
    const int32_t *items;
    m2s_decode_options decode;
    int32_t *width, *height; /* of each picture; 0: it cannot be read */
    atomic_int failure;      /* this machine's */
} survey;

static void read_size(void *argument, int64_t chunk, int worker)
{
    survey *s = argument;
    m2s_bitmap bitmap = { 0 };
    const char *path = s->dataset->samples[s->items[chunk]].image_path;
    m2snet_status status = m2s_image_read(&s->dataset->context->memory, path, &s->decode, NULL, &bitmap, NULL);

    (void)worker;
    if (status == M2SNET_STATUS_OK) {
        s->width[chunk] = bitmap.width;
        s->height[chunk] = bitmap.height;
    } else if (status == M2SNET_STATUS_OUT_OF_MEMORY) {
        atomic_store(&s->failure, (int)status);
    }
    m2s_bitmap_release(&bitmap);
}

/* Zeros come first and are passed over. */
static int32_t median_side(int32_t *sides, int32_t count)
{
    for (int32_t i = 1; i < count; i++) { /* by insertion: qsort may allocate outside m2s_memory */
        int32_t side = sides[i], k = i;
        for (; k > 0 && sides[k - 1] > side; k--) {
            sides[k] = sides[k - 1];
        }
        sides[k] = side;
    }
    while (count > 0 && sides[0] == 0) {
        sides++;
        count--;
    }
    if (count == 0) {
        return 0;
    }
    int32_t below = sides[(count - 1) / 2], above = sides[count / 2];
    double median = 0.5 * ((double)below + (double)above);
    int32_t px = MULTIPLE_PX * (int32_t)floor(median / MULTIPLE_PX + 0.5);
    return px < LEAST_PX ? LEAST_PX : px > MOST_PX ? MOST_PX : px;
}

m2snet_status m2s_patch_size(m2snet_dataset *dataset, const int32_t *items, int32_t count, uint64_t max_pixels,
                             m2s_control *control, int32_t *height, int32_t *width, m2snet_error *error)
{
    m2s_memory *memory = &dataset->context->memory;
    survey s = { .dataset = dataset, .items = items, .decode = M2S_DECODE_DEFAULTS };
    m2snet_status status;

    s.decode.max_pixels = max_pixels > 0 ? max_pixels : s.decode.max_pixels;
    s.width = m2s_calloc(memory, (size_t)count, 2 * sizeof *s.width);
    if (s.width == NULL) {
        return m2s_fail_memory(error, "the pictures' sizes", (size_t)count * 2 * sizeof *s.width);
    }
    s.height = s.width + count;
    const m2s_task task = { .run = read_size, .argument = &s, .chunks = count };
    M2S_TRY(m2s_pool_run(dataset->context->host.pool, &task, 1, control, PHASE, error));
    if (atomic_load(&s.failure) != M2SNET_STATUS_OK) {
        status = m2s_fail(error, M2SNET_STATUS_OUT_OF_MEMORY, "out of memory: reading the pictures' sizes");
        goto fail;
    }
    *width = median_side(s.width, count);
    *height = median_side(s.height, count);
    if (*width == 0) {
        status =
            m2s_fail(error, M2SNET_STATUS_MISMATCH, "none of %d pictures can be read: what size are patches?", count);
    }
fail:
    m2s_free(memory, s.width);
    return status;
}
