/* SPDX-License-Identifier: Apache-2.0
 * Pictures made ready by kernels against lib/image and lib/train: the resized bytes must be the same, floats within a
 * few roundings. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backends/cuda/pictures.h"
#include "backends/cuda/runtime.h"
#include "common/check.h"
#include "core/half.h"
#include "image/preprocess.h"
#include "train/augment.h"
#include "train/augment_job.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static m2s_memory memory;
static void *stream;

/* A copy on the device of size bytes; src NULL: noise. */
static void *to_device(const void *src, size_t bytes)
{
    void *data = NULL, *host = NULL;
    int error = m2s_cuda_malloc(&data, bytes + 1);

    error |= m2s_cuda_malloc_host(&host, bytes + 1);
    if (error == 0) {
        if (src != NULL) {
            memcpy(host, src, bytes);
        } else {
            memset(host, 0xff, bytes);
        }
        error |= m2s_cuda_copy_in(stream, data, host, bytes);
        error |= m2s_cuda_synchronize(stream);
    }
    m2s_cuda_free_host(host);
    CHECK(error == 0, "the runtime failed: %d", error);
    return data;
}

/* Copies to dst and frees. */
static void from_device(void *dst, void *data, size_t bytes)
{
    void *host = NULL;
    int error = m2s_cuda_malloc_host(&host, bytes + 1);

    if (error == 0) {
        error |= m2s_cuda_copy_out(stream, host, data, bytes);
        error |= m2s_cuda_synchronize(stream);
        memcpy(dst, host, bytes);
    }
    m2s_cuda_free_host(host);
    m2s_cuda_free(data);
    CHECK(error == 0, "the runtime failed: %d", error);
}

static uint8_t *draw_bytes(size_t count, unsigned long long seed)
{
    uint8_t *bytes = malloc(count);

    for (size_t i = 0; i < count; i++) {
        bytes[i] = (uint8_t)(int)(128.0 + 128.0 * check_random(&seed));
    }
    return bytes;
}

/* Of numbers near 1: results of the sampling, the colour map and normalising by 0.22. */
static void compare(const float *actual, const float *expected, size_t count, double ulps, const char *what)
{
    CHECK_NEAR_F32(actual, expected, count, ulps * (double)FLT_EPSILON, 0.0, what);
}

/* ---- preprocessing ---- */

static void check_prepare(int32_t width, int32_t height, int32_t channels, int32_t dst_width, int32_t dst_height,
                          m2snet_dtype storage)
{
    m2s_host host = { .memory = &memory };
    m2s_normalization n = M2S_NORMALIZATION_IMAGENET;
    ptrdiff_t stride = (ptrdiff_t)width * channels + 5;
    uint8_t *pixels = draw_bytes((size_t)stride * (size_t)height, 1);
    size_t count = 3 * (size_t)dst_width * (size_t)dst_height, size = m2s_dtype_bytes(storage);
    float *expected = malloc(count * sizeof *expected);
    void *actual = malloc(count * size);
    m2snet_error error;
    m2snet_image image = { .data = pixels,
                           .width = width,
                           .height = height,
                           .row_stride_bytes = stride,
                           .format = channels == 3 ? M2SNET_PIXEL_RGB8 : M2SNET_PIXEL_GRAY8 };

    CHECK(m2s_preprocess(&host, &image, NULL, &n, dst_width, dst_height, expected, NULL, &error) == M2SNET_STATUS_OK,
          "%s", error.message);
    m2s_prepare_job job = { .row_stride_bytes = stride,
                            .width = width,
                            .height = height,
                            .channels = channels,
                            .dst_width = dst_width,
                            .dst_height = dst_height,
                            .input_width = dst_width,
                            .input_height = dst_height,
                            .ways = 1 };
    memcpy(job.mean, n.mean, sizeof n.mean);
    memcpy(job.std, n.std, sizeof n.std);
    void *source = to_device(pixels, (size_t)stride * (size_t)height);
    void *scratch = to_device(NULL, m2s_cuda_prepare_scratch_bytes(&job));
    job.pixels = source;
    job.dst = to_device(NULL, count * size);
    int failed = m2s_cuda_prepare(&(m2s_cuda_call){ .stream = stream, .storage = storage }, &job, scratch);
    CHECK(failed == 0, "launched with error %d", failed);
    from_device(actual, job.dst, count * size);
    if (storage == M2SNET_DTYPE_F32) {
        /* The same bytes, so that only normalising is rounded: a gray level is 0.017 apart. */
        compare(actual, expected, count, 4.0, "prepared");
    } else {
        size_t differ = 0;
        for (size_t i = 0; i < count; i++) {
            uint16_t wanted =
                storage == M2SNET_DTYPE_F16 ? m2s_float_to_f16(expected[i]) : m2s_float_to_bf16(expected[i]);
            int apart = (int)((const uint16_t *)actual)[i] - (int)wanted;
            differ += apart < -1 || apart > 1;
        }
        CHECK(differ == 0, "%zu numbers are more than one step of the storage type off", differ);
    }
    m2s_cuda_free(source);
    m2s_cuda_free(scratch);
    free(pixels);
    free(expected);
    free(actual);
}

/* ---- augmentation ---- */

typedef struct scene {
    const char *preset;
    int32_t width, height, dst_width, dst_height, side;
    m2s_mask_coding coding;
    m2s_draw draw;
} scene;

#define PLAIN .crop_side = 1.0, .brightness = 1.0, .contrast = 1.0, .saturation = 1.0, .scale = 1.0

static const scene scenes[] = {
    { "none", 40, 30, 32, 32, 0, { 0 }, { PLAIN } },
    { "none", 1, 1, 5, 3, 0, { 0 }, { PLAIN } },
    { "none", 33, 47, 47, 33, 0, { .binarize = true }, { PLAIN, .quarter_turns = 1 } },
    { "none", 60, 45, 64, 48, 0, { 0 }, { PLAIN, .flip_horizontal = true, .rotate_degrees = 13.7 } },
    { "none",
      64,
      64,
      50,
      40,
      0,
      { .threshold = 128 },
      { .scale = 1.1,
        .crop_side = 0.7,
        .crop_x = 0.1,
        .crop_y = 0.25,
        .brightness = 1.2,
        .contrast = 0.8,
        .saturation = 1.4,
        .hue = 0.07 } },
    { "none", 48, 40, 48, 40, 0, { 0 }, { PLAIN, .blur_sigma_px = 1.3 } },
    { "none", 9, 7, 12, 10, 0, { 0 }, { PLAIN, .blur_sigma_px = 6.0 } },
    { "none", 48, 40, 48, 40, 0, { 0 }, { PLAIN, .noise_std = 0.05, .noise_stream = 77 } },
    { "released", 70, 50, 64, 64, 56, { 0 }, { PLAIN, .flip_vertical = true, .rotate_degrees = -9.0 } },
    { "released", 70, 50, 56, 56, 56, { 0 }, { PLAIN } },
    { "released", 70, 50, 56, 56, 56, { 0 }, { PLAIN, .rotate_degrees = 4.0 } },
    { "released", 50, 70, 40, 44, 56, { .binarize = true }, { PLAIN, .blur_sigma_px = 0.8, .noise_std = 0.02 } },
    { "none",
      40,
      30,
      50,
      44,
      0,
      { .kind = M2S_MASK_SIGMOID, .labels = { 3, 9, 200 }, .label_count = 3 },
      { PLAIN, .rotate_degrees = 30.0 } },
    { "none",
      40,
      30,
      50,
      44,
      0,
      { .kind = M2S_MASK_SIGMOID, .labels = { 3, 9 }, .label_count = 2, .binarize = true },
      { PLAIN, .rotate_degrees = 30.0 } },
    { "none",
      40,
      30,
      50,
      44,
      0,
      { .kind = M2S_MASK_SOFTMAX, .labels = { 3, 9, 200 }, .label_count = 3 },
      { PLAIN, .rotate_degrees = -75.0 } },
};

static m2s_picture *draw_picture(const scene *s)
{
    size_t pixels = (size_t)s->width * (size_t)s->height;
    m2s_picture *picture = malloc(M2S_PICTURE_BYTES(s->width, s->height));
    uint8_t *bytes = draw_bytes(4 * pixels, 4);
    double sum[3] = { 0.0, 0.0, 0.0 };

    picture->width = s->width;
    picture->height = s->height;
    memcpy(picture->rgbm, bytes, 4 * pixels);
    free(bytes);
    for (size_t i = 0; i < pixels; i++) {
        for (int c = 0; c < 3; c++) {
            sum[c] += picture->rgbm[4 * i + (size_t)c];
        }
        if (s->coding.kind != M2S_MASK_GRAY) {
            picture->rgbm[4 * i + 3] = (uint8_t)(picture->rgbm[4 * i + 3] % (s->coding.label_count + 1));
        }
    }
    for (int c = 0; c < 3; c++) {
        picture->mean_rgb[c] = (float)(sum[c] / (255.0 * (double)pixels));
    }
    return picture;
}

/* A mask cut at 0.5 may fall to either side where rounding decides. */
static void compare_mask(const scene *s, const float *actual, const float *expected, size_t count)
{
    size_t differ = 0;

    if (!s->coding.binarize && s->coding.kind != M2S_MASK_SOFTMAX) {
        compare(actual, expected, count, 8.0, "mask");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        CHECK(actual[i] * (1.0f - actual[i]) == 0.0f, "number %zu of the mask is %g", i, (double)actual[i]);
        differ += fabsf(actual[i] - expected[i]) > 0.5f;
    }
    CHECK(differ * 1000 <= count, "%zu of %zu numbers of the mask differ", differ, count);
}

static void check_augment(const scene *s)
{
    m2snet_augment_options options = { 0 };
    m2s_augment_scratch scratch = { .memory = &memory };
    m2s_picture *picture = draw_picture(s);
    size_t pixels = (size_t)s->dst_width * (size_t)s->dst_height, labels = (size_t)m2s_mask_channels(&s->coding);
    float *image[2], *mask[2];
    m2snet_error error;
    m2s_augment_job job;

    for (int i = 0; i < 2; i++) {
        image[i] = malloc(3 * pixels * sizeof(float));
        mask[i] = malloc(labels * pixels * sizeof(float));
    }
    CHECK(m2s_augment_preset(s->preset, &options, &error) == M2SNET_STATUS_OK, "%s", error.message);
    options.first_size_px = s->side;
    CHECK(m2s_augment_apply(&options, &s->draw, picture, &s->coding, s->dst_height, s->dst_width, &scratch, image[0],
                            mask[0], &error) == M2SNET_STATUS_OK,
          "%s", error.message);
    m2s_unfinished unfinished = { .width = s->width, .height = s->height, .draw = s->draw };
    memcpy(unfinished.mean_rgb, picture->mean_rgb, sizeof unfinished.mean_rgb);
    m2s_augment_job_make(&job, &options, &unfinished, &s->coding, s->dst_height, s->dst_width);
    void *bytes = to_device(picture->rgbm, 4 * (size_t)s->width * (size_t)s->height);
    void *room = to_device(NULL, m2s_cuda_augment_scratch_bytes(&job));
    job.rgbm = bytes;
    job.image = to_device(NULL, 3 * pixels * sizeof(float));
    job.mask = to_device(NULL, labels * pixels * sizeof(float));
    int failed = m2s_cuda_augment(&(m2s_cuda_call){ .stream = stream }, &job, room);
    CHECK(failed == 0, "launched with error %d", failed);
    from_device(image[1], job.image, 3 * pixels * sizeof(float));
    from_device(mask[1], job.mask, labels * pixels * sizeof(float));
    /* Places are doubles, and a contracted product moves a pixel's share by a rounding of its coordinate; values reach
     * 2.6, a blur adds up to 37 of them, twice. */
    compare(image[1], image[0], 3 * pixels, s->draw.blur_sigma_px > 0.0 ? 64.0 : 24.0, "image");
    compare_mask(s, mask[1], mask[0], labels * pixels);
    m2s_cuda_free(bytes);
    m2s_cuda_free(room);
    for (int i = 0; i < 2; i++) {
        free(image[i]);
        free(mask[i]);
    }
    free(picture);
    m2s_augment_scratch_release(&scratch);
}

int main(int argc, char **argv)
{
    static const int32_t sizes[][4] = { { 1, 1, 1, 1 },       { 1, 1, 7, 5 },        { 352, 288, 352, 352 },
                                        { 640, 480, 96, 96 }, { 37, 91, 91, 37 },    { 500, 3, 64, 64 },
                                        { 32, 32, 32, 32 },   { 1000, 700, 33, 17 }, { 5, 700, 352, 352 } };
    int previous = 0, error;

    check_start(argc, argv);
    check_case("a device");
    error = m2s_cuda_enter(0, &previous);
    error = error != 0 ? error : m2s_cuda_stream_create(&stream);
    if (!CHECK(error == 0, "the runtime failed: %d", error)) {
        return check_finish();
    }
    m2s_memory_init(&memory, NULL, 0);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        for (int k = 0; k < 4; k++) {
            int32_t channels = k == 0 ? 1 : 3;
            m2snet_dtype storage = k == 2 ? M2SNET_DTYPE_F16 : k == 3 ? M2SNET_DTYPE_BF16 : M2SNET_DTYPE_F32;
            if (check_case("prepare %dx%d to %dx%d, %d channels, %s", sizes[i][0], sizes[i][1], sizes[i][2],
                           sizes[i][3], channels, m2s_dtype_name(storage))) {
                check_prepare(sizes[i][0], sizes[i][1], channels, sizes[i][2], sizes[i][3], storage);
            }
        }
    }
    for (size_t i = 0; i < COUNT(scenes); i++) {
        if (check_case("augment %zu: %s %dx%d to %dx%d", i, scenes[i].preset, scenes[i].width, scenes[i].height,
                       scenes[i].dst_width, scenes[i].dst_height)) {
            check_augment(&scenes[i]);
        }
    }
    m2s_cuda_stream_destroy(stream);
    m2s_cuda_leave(previous);
    return check_finish();
}
