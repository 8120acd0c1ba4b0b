/* SPDX-License-Identifier: Apache-2.0
 * Pictures of every format and stride become the network's input. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/image_fixture.h"
#include "image/preprocess.h"

#define W 13
#define H 7

static uint8_t red(int x, int y)
{
    return (uint8_t)(x * 19 + y * 7);
}

static uint8_t green(int x, int y)
{
    return (uint8_t)(255 - x * 11 - y);
}

static uint8_t blue(int x, int y)
{
    return (uint8_t)(x * y * 3);
}

static float normalized(uint8_t value, int channel)
{
    const m2s_normalization n = M2S_NORMALIZATION_IMAGENET;

    return ((float)value / 255.0f - n.mean[channel]) / n.std[channel];
}

/* A picture in a block of exactly its bytes, rows stride apart, top row first or last in memory. */
static m2snet_image make_picture(m2snet_pixel_format format, ptrdiff_t stride, uint8_t **block)
{
    ptrdiff_t bytes = m2s_pixel_bytes(format);
    ptrdiff_t distance = stride == 0 ? W * bytes : stride < 0 ? -stride : stride;
    size_t size = (size_t)(distance * (H - 1) + W * bytes);
    m2snet_image image = { .width = W, .height = H, .row_stride_bytes = stride, .format = format };

    *block = malloc(size);
    assert_non_null(*block);
    memset(*block, 0xcd, size);
    uint8_t *top = stride < 0 ? *block + distance * (H - 1) : *block;
    image.data = top;
    for (int y = 0; y < H; y++) {
        for (int x = 0; x < W; x++) {
            uint8_t *p = top + y * (stride < 0 ? -distance : distance) + x * bytes;
            uint8_t rgba[4] = { red(x, y), green(x, y), blue(x, y), 99 };
            uint8_t bgra[4] = { rgba[2], rgba[1], rgba[0], 99 };
            uint16_t deep = (uint16_t)(red(x, y) * 257);
            float real = (float)red(x, y) / 255.0f;
            switch (format) {
            case M2SNET_PIXEL_RGB8:
            case M2SNET_PIXEL_RGBA8:
            case M2SNET_PIXEL_GRAY8:
                memcpy(p, rgba, (size_t)bytes);
                break;
            case M2SNET_PIXEL_BGR8:
            case M2SNET_PIXEL_BGRA8:
                memcpy(p, bgra, (size_t)bytes);
                break;
            case M2SNET_PIXEL_GRAY16:
                memcpy(p, &deep, 2);
                break;
            case M2SNET_PIXEL_F32:
                memcpy(p, &real, 4);
                break;
            }
        }
    }
    return image;
}

static m2snet_status prepare(image_fixture *f, const m2snet_image *image, const m2s_rect *region, int32_t width,
                             int32_t height, float *dst)
{
    const m2s_normalization normalization = M2S_NORMALIZATION_IMAGENET;

    return m2s_preprocess(&f->host, image, region, &normalization, width, height, dst, NULL, &f->error);
}

/* At its own size every pixel comes through alone, so each value is known. */
static void test_every_format_and_stride(void **state)
{
    (void)state;
    for (int format = M2SNET_PIXEL_RGB8; format <= M2SNET_PIXEL_F32; format++) {
        ptrdiff_t row = W * m2s_pixel_bytes((m2snet_pixel_format)format);
        const ptrdiff_t strides[] = { 0, row, row + 1, row + 5, 1000, -row, -row - 3 };
        bool is_gray = m2s_image_channels((m2snet_pixel_format)format) == 1;
        for (size_t i = 0; i < sizeof strides / sizeof strides[0]; i++) {
            image_fixture f;
            uint8_t *block;
            float dst[H * W * 3];
            image_fixture_begin(&f, (int)(i % 3));
            m2snet_image image = make_picture((m2snet_pixel_format)format, strides[i], &block);
            assert_int_equal(prepare(&f, &image, NULL, W, H, dst), 0);
            for (int y = 0; y < H; y++) {
                for (int x = 0; x < W; x++) {
                    const float *p = dst + 3 * (y * W + x);
                    assert_true(p[0] == normalized(red(x, y), 0));
                    assert_true(p[1] == normalized(is_gray ? red(x, y) : green(x, y), 1));
                    assert_true(p[2] == normalized(is_gray ? red(x, y) : blue(x, y), 2));
                }
            }
            free(block);
            image_fixture_end(&f);
        }
    }
}

/* Formats that hold the same picture give the same input after a resize, gray as three equal channels. */
static void test_formats_agree_after_resizing(void **state)
{
    static const m2snet_pixel_format colour[] = { M2SNET_PIXEL_BGR8, M2SNET_PIXEL_RGBA8, M2SNET_PIXEL_BGRA8 };
    static const m2snet_pixel_format gray[] = { M2SNET_PIXEL_GRAY16, M2SNET_PIXEL_F32 };
    float expected[3 * 20 * 5], dst[3 * 20 * 5];
    uint8_t *block;
    image_fixture f;

    (void)state;
    image_fixture_begin(&f, 0);
    m2snet_image image = make_picture(M2SNET_PIXEL_RGB8, 0, &block);
    assert_int_equal(prepare(&f, &image, NULL, 20, 5, expected), 0);
    free(block);
    for (size_t i = 0; i < 3; i++) {
        image = make_picture(colour[i], -100, &block);
        assert_int_equal(prepare(&f, &image, NULL, 20, 5, dst), 0);
        assert_memory_equal(dst, expected, sizeof dst);
        free(block);
    }
    image = make_picture(M2SNET_PIXEL_GRAY8, 0, &block);
    assert_int_equal(prepare(&f, &image, NULL, 20, 5, expected), 0);
    free(block);
    for (size_t i = 0; i < 2; i++) {
        image = make_picture(gray[i], 101, &block);
        assert_int_equal(prepare(&f, &image, NULL, 20, 5, dst), 0);
        assert_memory_equal(dst, expected, sizeof dst);
        free(block);
    }
    image_fixture_end(&f);
}

/* The region is cut out before it is resized: nothing around it leaks in. */
static void test_region(void **state)
{
    image_fixture f;
    uint8_t *block;
    float dst[3 * 8 * 8], expected[3 * 8 * 8];
    const m2s_rect region = { 3, 2, 5, 4 };
    uint8_t cut[4 * 5 * 3];

    (void)state;
    image_fixture_begin(&f, 0);
    m2snet_image image = make_picture(M2SNET_PIXEL_BGRA8, 0, &block);
    for (int y = 0; y < 4; y++) {
        for (int x = 0; x < 5; x++) {
            uint8_t *p = cut + 3 * (y * 5 + x);
            p[0] = red(x + 3, y + 2);
            p[1] = green(x + 3, y + 2);
            p[2] = blue(x + 3, y + 2);
        }
    }
    m2snet_image small = { .data = cut, .width = 5, .height = 4, .format = M2SNET_PIXEL_RGB8 };
    assert_int_equal(prepare(&f, &image, &region, 8, 8, dst), 0);
    assert_int_equal(prepare(&f, &small, NULL, 8, 8, expected), 0);
    assert_memory_equal(dst, expected, sizeof dst);

    static const m2s_rect outside[] = {
        { -1, 0, 5, 5 }, { 0, -1, 5, 5 }, { 9, 0, 5, 5 },         { 0, 3, 5, 5 },         { 0, 0, 0, 5 },
        { 0, 0, 5, 0 },  { 0, 0, -5, 5 }, { INT32_MAX, 0, 1, 1 }, { 1, 1, INT32_MAX, 1 }, { 0, 0, W + 1, H },
    };
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        assert_int_equal(prepare(&f, &image, &outside[i], 8, 8, dst), M2SNET_STATUS_INVALID_ARGUMENT);
        assert_true(strstr(f.error.message, "region of interest") != NULL);
    }
    free(block);
    image_fixture_end(&f);
}

static void test_window(void **state)
{
    static const float values[] = { -1000.0f, 100.0f, 100.4f, 150.0f, 199.9f, 200.0f, 1e30f, NAN, INFINITY, -INFINITY };
    static const uint8_t expected[] = { 0, 0, 1, 128, 255, 255, 255, 0, 255, 0 };
    static const uint16_t deep[] = { 0, 128, 129, 257, 65535, 32768 };
    static const uint8_t deep_full[] = { 0, 0, 1, 1, 255, 128 };
    static const uint8_t deep_window[] = { 0, 0, 255, 255, 255, 255 };
    uint8_t scratch[64];

    (void)state;
    m2snet_image image = { .data = values,
                           .width = 10,
                           .height = 1,
                           .format = M2SNET_PIXEL_F32,
                           .window_low = 100.0f,
                           .window_high = 200.0f };
    assert_int_equal(m2s_image_check(&image, "the picture", NULL), 0);
    assert_memory_equal(m2s_image_row_u8(&image, 0, 0, 10, scratch), expected, 10);
    image = (m2snet_image){ .data = deep, .width = 6, .height = 1, .format = M2SNET_PIXEL_GRAY16 };
    assert_memory_equal(m2s_image_row_u8(&image, 0, 0, 6, scratch), deep_full, 6);
    image.window_low = 128.0f;
    image.window_high = 129.0f;
    assert_memory_equal(m2s_image_row_u8(&image, 0, 0, 6, scratch), deep_window, 6);
}

static void test_pictures_that_make_no_sense(void **state)
{
    uint8_t pixels[1000] = { 0 };
    const m2snet_image good = { .data = pixels, .width = 10, .height = 10, .format = M2SNET_PIXEL_RGB8 };
    m2snet_image bad[16];
    size_t n = 0;
    m2snet_error error;

    (void)state;
    assert_int_equal(m2s_image_check(&good, "the picture", &error), 0);
    for (size_t i = 0; i < 16; i++) {
        bad[i] = good;
    }
    bad[n++].data = NULL;
    bad[n++].width = 0;
    bad[n++].height = 0;
    bad[n++].width = -1;
    bad[n++].width = 65536;
    bad[n].width = 65535;
    bad[n++].height = 65535;
    bad[n++].row_stride_bytes = 29;
    bad[n++].row_stride_bytes = -29;
    bad[n++].row_stride_bytes = PTRDIFF_MAX;
    bad[n++].row_stride_bytes = PTRDIFF_MIN;
    bad[n++].format = (m2snet_pixel_format)0;
    bad[n++].format = (m2snet_pixel_format)8;
    bad[n].format = M2SNET_PIXEL_GRAY16;
    bad[n++].window_low = NAN;
    bad[n].format = M2SNET_PIXEL_GRAY16;
    bad[n++].window_high = INFINITY;
    bad[n].format = M2SNET_PIXEL_F32;
    bad[n++].window_low = 5.0f;
    assert_int_equal(m2s_image_check(NULL, "the picture", &error), M2SNET_STATUS_INVALID_ARGUMENT);
    for (size_t i = 0; i < n; i++) {
        memset(&error, 0, sizeof error);
        assert_int_equal(m2s_image_check(&bad[i], "the picture", &error), M2SNET_STATUS_INVALID_ARGUMENT);
        assert_true(strncmp(error.message, "the picture", 11) == 0);
    }
    assert_int_equal(m2s_image_check(&bad[6], "the picture", &error), M2SNET_STATUS_INVALID_ARGUMENT);
    assert_string_equal(error.message,
                        "the picture: row_stride_bytes is 29, but a row of 10 RGB8 pixels takes 30 bytes");
}

static void test_extreme_shapes(void **state)
{
    static const int32_t sizes[][2] = { { 1, 1 }, { 20000, 1 }, { 1, 20000 }, { 65535, 1 } };
    float *dst = malloc(352 * 352 * 3 * sizeof *dst);
    uint8_t *pixels = malloc(65535 * 3);

    (void)state;
    assert_true(dst != NULL && pixels != NULL);
    memset(pixels, 200, 65535 * 3);
    for (size_t i = 0; i < 4; i++) {
        image_fixture f;
        m2snet_image image = {
            .data = pixels, .width = sizes[i][0], .height = sizes[i][1], .format = M2SNET_PIXEL_RGB8
        };
        image_fixture_begin(&f, 2);
        assert_int_equal(prepare(&f, &image, NULL, 352, 352, dst), 0);
        for (int p = 0; p < 352 * 352 * 3; p++) {
            assert_true(dst[p] == normalized(200, p % 3));
        }
        image_fixture_end(&f);
    }
    free(pixels);
    free(dst);
}

static m2snet_status prepare_attempt(image_fixture *f, void *user)
{
    float dst[3 * 9 * 9];

    return prepare(f, user, NULL, 9, 9, dst);
}

static void test_every_allocation_may_fail(void **state)
{
    image_fixture f;
    uint8_t *block;

    (void)state;
    image_fixture_begin(&f, 0);
    m2snet_image image = make_picture(M2SNET_PIXEL_BGR8, 0, &block);
    image_fixture_fail_each_allocation(&f, prepare_attempt, &image);
    free(block);
    image_fixture_end(&f);
}

static void test_cancel(void **state)
{
    image_fixture f;
    uint8_t *block;
    float dst[3 * 9 * 9];
    m2snet_cancel token;
    m2snet_control user = { NULL, NULL, &token };
    m2s_control control;
    const m2s_normalization normalization = M2S_NORMALIZATION_IMAGENET;

    (void)state;
    image_fixture_begin(&f, 1);
    m2snet_image image = make_picture(M2SNET_PIXEL_BGR8, 0, &block);
    atomic_init(&token.requested, 1);
    m2s_control_init(&control, &user);
    assert_int_equal(m2s_preprocess(&f.host, &image, NULL, &normalization, 9, 9, dst, &control, &f.error),
                     M2SNET_STATUS_CANCELLED);
    free(block);
    image_fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_format_and_stride),
        cmocka_unit_test(test_formats_agree_after_resizing),
        cmocka_unit_test(test_region),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_pictures_that_make_no_sense),
        cmocka_unit_test(test_extreme_shapes),
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_cancel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
