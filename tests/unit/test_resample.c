/* SPDX-License-Identifier: Apache-2.0
 * Resizing equals Pillow bit for bit, whatever the threads, the instruction set, the strides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/image_fixture.h"
#include "image/file_png.h"
#include "image/preprocess.h"
#include "image/resample.h"

static uint64_t fnv1a(const uint8_t *data, size_t size)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ data[i]) * 0x100000001b3u;
    }
    return hash;
}

static void read_picture(image_fixture *f, const char *name, m2s_bitmap *bitmap)
{
    char file[64];
    size_t size;

    snprintf(file, sizeof file, "pil/%s", name);
    uint8_t *data = image_fixture_read(file, &size);
    assert_int_equal(m2s_png_decode(&f->memory, data, size, 1 << 24, false, NULL, bitmap, &f->error), 0);
    free(data);
}

static void resize_bitmap(image_fixture *f, const m2s_bitmap *src, int32_t width, int32_t height, m2s_bitmap *dst)
{
    m2snet_image from = m2s_bitmap_image(src);

    assert_int_equal(m2s_bitmap_create(&f->memory, width, height, src->format, dst, &f->error), 0);
    m2snet_image to = m2s_bitmap_image(dst);
    assert_int_equal(m2s_image_resize(&f->host, &from, &to, NULL, &f->error), 0);
}

/* All vectors, with one thread, several, and none; with the processor's best instruction set and the baseline. */
static void test_pillow_vectors(void **state)
{
    static const struct {
        int threads;
        bool baseline;
    } ways[] = { { 0, false }, { 0, true }, { 1, false }, { 3, true } };
    size_t size;
    int cases = 0;

    (void)state;
    uint8_t *table = image_fixture_read("pil/cases.tsv", &size);
    for (size_t way = 0; way < sizeof ways / sizeof ways[0]; way++) {
        image_fixture f;
        image_fixture_begin(&f, ways[way].threads);
        f.host.isa = ways[way].baseline ? M2S_ISA_BASELINE : f.host.isa;
        const char *line = (const char *)table;
        char in[32], out[32], mode[8];
        int width, height, length;
        unsigned long long hash;
        while (sscanf(line, "%31s %31s %7s %d %d %llx\n%n", in, out, mode, &width, &height, &hash, &length) == 6) {
            m2s_bitmap src, dst;
            read_picture(&f, in, &src);
            assert_int_equal(src.format, strcmp(mode, "L") == 0 ? M2SNET_PIXEL_GRAY8 : M2SNET_PIXEL_RGB8);
            resize_bitmap(&f, &src, width, height, &dst);
            if (strcmp(out, "-") != 0) {
                m2s_bitmap expected;
                read_picture(&f, out, &expected);
                image_fixture_assert_same(&dst, &expected, in);
                m2s_bitmap_release(&expected);
            }
            size_t bytes = (size_t)width * (size_t)height * (size_t)m2s_pixel_bytes(dst.format);
            assert_true(fnv1a(dst.pixels, bytes) == hash);
            m2s_bitmap_release(&src);
            m2s_bitmap_release(&dst);
            line += length;
            cases++;
        }
        image_fixture_end(&f);
    }
    free(table);
    assert_int_equal(cases, 4 * 13);
}

static void test_pillow_float_vectors(void **state)
{
    static const int sizes[][4] = { { 23, 17, 40, 9 }, { 23, 17, 7, 30 }, { 88, 3, 88, 70 }, { 70, 5, 200, 5 } };

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (int isa = 0; isa < 2; isa++) {
            const int32_t *s = sizes[i];
            char name[64];
            size_t size;
            image_fixture f;
            image_fixture_begin(&f, 0);
            f.host.isa = isa == 0 ? M2S_ISA_BASELINE : f.host.isa;
            snprintf(name, sizeof name, "pil/f32_%dx%d_%dx%d.f32", s[0], s[1], s[2], s[3]);
            uint8_t *data = image_fixture_read(name, &size);
            size_t in = (size_t)(s[0] * s[1]) * 4;
            size_t out = (size_t)(s[2] * s[3]) * 4;
            assert_int_equal(size, in + out);
            float *dst = malloc(out);
            assert_non_null(dst);
            assert_int_equal(m2s_resize_f32(&f.host, (const float *)(const void *)data, 4 * s[0], s[0], s[1], dst,
                                            4 * s[2], s[2], s[3], NULL, "test", &f.error),
                             0);
            assert_memory_equal(dst, data + in, out);
            free(dst);
            free(data);
            image_fixture_end(&f);
        }
    }
}

/* The definition, plainly: for one channel at a time. */
static void resize_axis(const uint8_t *src, ptrdiff_t src_step, int32_t in, uint8_t *dst, ptrdiff_t dst_step,
                        int32_t out)
{
    double scale = (double)in / out;
    double support = scale < 1.0 ? 1.0 : scale;

    for (int32_t o = 0; o < out; o++) {
        double centre = (o + 0.5) * scale;
        int32_t low = (int32_t)(centre - support + 0.5) > 0 ? (int32_t)(centre - support + 0.5) : 0;
        int32_t high = (int32_t)(centre + support + 0.5) < in ? (int32_t)(centre + support + 0.5) : in;
        double total = 0.0;
        int64_t sum = 1 << 21;
        for (int pass = 0; pass < 2; pass++) {
            for (int32_t x = low; x < high; x++) {
                double t = (x - centre + 0.5) * (1.0 / support);
                t = t < 0 ? -t : t;
                double weight = t < 1.0 ? 1.0 - t : 0.0;
                if (pass == 0) {
                    total += weight;
                } else {
                    sum += (int64_t)(0.5 + weight / total * 4194304.0) * src[x * src_step];
                }
            }
        }
        sum >>= 22;
        dst[o * dst_step] = (uint8_t)(sum > 255 ? 255 : sum);
    }
}

static uint8_t noise(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (uint8_t)(*seed >> 24);
}

static void test_any_size_equals_the_definition(void **state)
{
    static const int32_t sizes[][5] = {
        /* channels, in, out */
        { 3, 1, 1, 1, 1 },       { 3, 1, 1, 65, 33 },       { 1, 20000, 1, 352, 352 }, { 3, 20000, 1, 352, 352 },
        { 1, 1, 20000, 16, 16 }, { 3, 2, 2, 1, 1 },         { 1, 64, 64, 64, 63 },     { 3, 130, 70, 22, 71 },
        { 3, 21, 5, 22, 5 },     { 1, 352, 20, 1348, 61 },  { 3, 255, 3, 254, 2 },     { 1, 65535, 1, 1, 1 },
        { 3, 3, 65535, 3, 5 },   { 1, 65535, 1, 65534, 2 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const int32_t *s = sizes[i];
        int32_t channels = s[0], w = s[1], h = s[2], out_w = s[3], out_h = s[4];
        image_fixture f;
        m2s_bitmap src, dst;
        uint32_t seed = (uint32_t)i;
        image_fixture_begin(&f, i % 2 == 0 ? 2 : 0);
        m2snet_pixel_format format = channels == 1 ? M2SNET_PIXEL_GRAY8 : M2SNET_PIXEL_RGB8;
        assert_int_equal(m2s_bitmap_create(&f.memory, w, h, format, &src, &f.error), 0);
        for (ptrdiff_t p = 0; p < (ptrdiff_t)w * h * channels; p++) {
            src.pixels[p] = i % 3 == 0 ? 255 : noise(&seed); /* all white stays all white */
        }
        resize_bitmap(&f, &src, out_w, out_h, &dst);

        uint8_t *between = malloc((size_t)out_w * (size_t)h * (size_t)channels);
        uint8_t *expected = malloc((size_t)out_w * (size_t)out_h * (size_t)channels);
        assert_true(between != NULL && expected != NULL);
        for (ptrdiff_t y = 0; y < h; y++) {
            for (ptrdiff_t c = 0; c < channels; c++) {
                const uint8_t *from = src.pixels + y * w * channels + c;
                uint8_t *to = between + y * out_w * channels + c;
                if (w != out_w) {
                    resize_axis(from, channels, w, to, channels, out_w);
                } else {
                    for (ptrdiff_t x = 0; x < w; x++) {
                        to[x * channels] = from[x * channels];
                    }
                }
            }
        }
        for (ptrdiff_t x = 0; x < (ptrdiff_t)out_w * channels; x++) {
            if (h != out_h) {
                resize_axis(between + x, (ptrdiff_t)out_w * channels, h, expected + x, (ptrdiff_t)out_w * channels,
                            out_h);
            } else {
                for (ptrdiff_t y = 0; y < h; y++) {
                    expected[y * out_w * channels + x] = between[y * out_w * channels + x];
                }
            }
        }
        assert_memory_equal(dst.pixels, expected, (size_t)out_w * (size_t)out_h * (size_t)channels);
        free(between);
        free(expected);
        m2s_bitmap_release(&src);
        m2s_bitmap_release(&dst);
        image_fixture_end(&f);
    }
}

/* Strides of both sides, negative ones too; bytes between rows stay as they are. */
static void test_strides(void **state)
{
    image_fixture f;
    m2s_bitmap src, expected;
    uint8_t from[20 * 100], to[9 * 70], upside[9 * 70];

    (void)state;
    image_fixture_begin(&f, 0);
    assert_int_equal(m2s_bitmap_create(&f.memory, 31, 20, M2SNET_PIXEL_RGB8, &src, &f.error), 0);
    uint32_t seed = 1;
    for (int i = 0; i < 31 * 20 * 3; i++) {
        src.pixels[i] = noise(&seed);
    }
    for (int y = 0; y < 20; y++) {
        memcpy(from + (19 - y) * 100, src.pixels + y * 93, 93);
    }
    resize_bitmap(&f, &src, 22, 9, &expected);
    memset(to, 0xee, sizeof to);
    memset(upside, 0xee, sizeof upside);
    m2snet_image in = {
        .data = from + 19 * 100, .width = 31, .height = 20, .row_stride_bytes = -100, .format = M2SNET_PIXEL_RGB8
    };
    m2snet_image out = { .data = to, .width = 22, .height = 9, .row_stride_bytes = 70, .format = M2SNET_PIXEL_RGB8 };
    m2snet_image flipped = out;
    flipped.data = upside + 8 * 70;
    flipped.row_stride_bytes = -70;
    assert_int_equal(m2s_image_resize(&f.host, &in, &out, NULL, &f.error), 0);
    assert_int_equal(m2s_image_resize(&f.host, &in, &flipped, NULL, &f.error), 0);
    for (int y = 0; y < 9; y++) {
        assert_memory_equal(to + y * 70, expected.pixels + y * 66, 66);
        assert_memory_equal(upside + (8 - y) * 70, expected.pixels + y * 66, 66);
        for (int x = 66; x < 70; x++) {
            assert_int_equal(to[y * 70 + x], 0xee);
        }
    }
    m2s_bitmap_release(&src);
    m2s_bitmap_release(&expected);
    image_fixture_end(&f);
}

static void test_formats_that_cannot_be_resized(void **state)
{
    image_fixture f;
    uint8_t pixels[64];
    m2snet_image gray = { .data = pixels, .width = 2, .height = 2, .format = M2SNET_PIXEL_GRAY8 };
    m2snet_image rgb = { .data = pixels + 16, .width = 2, .height = 2, .format = M2SNET_PIXEL_RGB8 };
    m2snet_image deep = { .data = pixels + 32, .width = 2, .height = 2, .format = M2SNET_PIXEL_GRAY16 };

    (void)state;
    image_fixture_begin(&f, 0);
    assert_int_equal(m2s_image_resize(&f.host, &gray, &rgb, NULL, &f.error), M2SNET_STATUS_INVALID_ARGUMENT);
    assert_true(strstr(f.error.message, "not from GRAY8 to RGB8") != NULL);
    assert_int_equal(m2s_image_resize(&f.host, &deep, &deep, NULL, &f.error), M2SNET_STATUS_INVALID_ARGUMENT);
    assert_int_equal(m2s_image_resize(&f.host, NULL, &rgb, NULL, &f.error), M2SNET_STATUS_INVALID_ARGUMENT);
    image_fixture_end(&f);
}

static m2snet_status resize_attempt(image_fixture *f, void *user)
{
    static uint8_t from[40 * 30], to[20 * 50];
    m2snet_image in = { .data = from, .width = 40, .height = 30, .format = M2SNET_PIXEL_GRAY8 };
    m2snet_image out = { .data = to, .width = 20, .height = 50, .format = M2SNET_PIXEL_GRAY8 };

    return m2s_image_resize(&f->host, &in, &out, user, &f->error);
}

static void test_every_allocation_may_fail(void **state)
{
    image_fixture f;

    (void)state;
    image_fixture_begin(&f, 0);
    image_fixture_fail_each_allocation(&f, resize_attempt, NULL);
    image_fixture_end(&f);
}

static void test_cancel(void **state)
{
    m2snet_cancel token;
    m2snet_control user = { NULL, NULL, &token };
    m2s_control control;

    (void)state;
    atomic_init(&token.requested, 1);
    m2s_control_init(&control, &user);
    for (int threads = 0; threads < 3; threads++) {
        image_fixture f;
        image_fixture_begin(&f, threads);
        assert_int_equal(resize_attempt(&f, &control), M2SNET_STATUS_CANCELLED);
        image_fixture_end(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pillow_vectors),
        cmocka_unit_test(test_pillow_float_vectors),
        cmocka_unit_test(test_any_size_equals_the_definition),
        cmocka_unit_test(test_strides),
        cmocka_unit_test(test_formats_that_cannot_be_resized),
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_cancel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
