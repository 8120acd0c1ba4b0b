/* SPDX-License-Identifier: Apache-2.0
 * PNG in and out: every depth and colour type, damage, bombs, cancel, memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/image_fixture.h"
#include "image/decode.h"
#include "image/file_png.h"

#define MAX_PIXELS ((uint64_t)1 << 26)

static const char *const names[] = {
    "gray1",
    "gray2",
    "gray4",
    "gray8",
    "gray16",
    "palette1",
    "palette2",
    "palette4",
    "palette8",
    "rgb8",
    "rgb16",
    "graya8",
    "graya16",
    "rgba8",
    "rgba16",
    "gray1_interlaced",
    "gray2_interlaced",
    "gray4_interlaced",
    "gray8_interlaced",
    "gray16_interlaced",
    "palette1_interlaced",
    "palette2_interlaced",
    "palette4_interlaced",
    "palette8_interlaced",
    "rgb8_interlaced",
    "rgb16_interlaced",
    "graya8_interlaced",
    "graya16_interlaced",
    "rgba8_interlaced",
    "rgba16_interlaced",
    "gray8_transparent",
    "gray8_metadata",
    "gray8_exif6",
    "gray8_exif8_late",
    "gray8_1x1",
};
#define NAME_COUNT (sizeof names / sizeof names[0])

static uint8_t *read_png(const char *name, size_t *size)
{
    char file[256];

    snprintf(file, sizeof file, "images/%s.png", name);
    return image_fixture_read(file, size);
}

static m2snet_status decode(image_fixture *f, const uint8_t *data, size_t size, m2s_bitmap *bitmap)
{
    return m2s_png_decode(&f->memory, data, size, MAX_PIXELS, true, NULL, bitmap, &f->error);
}

static void test_every_kind_gives_its_pixels(void **state)
{
    (void)state;
    for (size_t i = 0; i < NAME_COUNT; i++) {
        image_fixture f;
        size_t size;
        m2s_bitmap bitmap;
        image_fixture_begin(&f, 0);
        uint8_t *data = read_png(names[i], &size);
        assert_true(m2s_png_recognise(data, size));
        if (decode(&f, data, size, &bitmap) != M2SNET_STATUS_OK) {
            fail_msg("%s: %s", names[i], f.error.message);
        }
        m2s_bitmap expected = image_fixture_expected(names[i]);
        image_fixture_assert_same(&bitmap, &expected, names[i]);
        free(expected.pixels);
        free(data);
        m2s_bitmap_release(&bitmap);
        image_fixture_end(&f);
    }
}

static void test_exif_can_be_left_alone(void **state)
{
    image_fixture f;
    size_t size;
    m2s_bitmap bitmap;

    (void)state;
    image_fixture_begin(&f, 0);
    uint8_t *data = read_png("gray8_exif6", &size);
    assert_int_equal(m2s_png_decode(&f.memory, data, size, MAX_PIXELS, false, NULL, &bitmap, &f.error), 0);
    m2s_bitmap expected = image_fixture_expected("gray8_metadata"); /* the same pixels, unturned */
    image_fixture_assert_same(&bitmap, &expected, "unturned");
    free(expected.pixels);
    free(data);
    m2s_bitmap_release(&bitmap);
    image_fixture_end(&f);
}

/* A file cut anywhere is refused. */
static void test_truncation(void **state)
{
    static const char *const cut[] = { "gray8", "rgb8_interlaced", "palette4", "gray8_exif8_late" };

    (void)state;
    for (size_t i = 0; i < sizeof cut / sizeof cut[0]; i++) {
        image_fixture f;
        size_t size;
        image_fixture_begin(&f, 0);
        uint8_t *data = read_png(cut[i], &size);
        for (size_t n = 0; n < size; n++) {
            m2s_bitmap bitmap;
            uint8_t *part = malloc(n + 1); /* its own block, so that a sanitizer sees reads beyond */
            assert_non_null(part);
            memcpy(part, data, n);
            f.error.message[0] = '\0';
            assert_int_equal(decode(&f, part, n, &bitmap), M2SNET_STATUS_FORMAT);
            assert_null(bitmap.pixels);
            assert_true(strstr(f.error.message, "PNG") != NULL);
            free(part);
        }
        free(data);
        image_fixture_end(&f);
    }
}

/* Any single damaged byte: an error or pixels, never a crash; in the image data always an error (its CRC). */
static void test_damage(void **state)
{
    image_fixture f;
    size_t size;

    (void)state;
    image_fixture_begin(&f, 0);
    uint8_t *data = read_png("rgba16_interlaced", &size);
    size_t idat = 0;
    while (memcmp(data + idat, "IDAT", 4) != 0) {
        idat++;
    }
    for (size_t i = 8; i < size; i++) {
        m2s_bitmap bitmap;
        data[i] ^= 0x5a;
        m2snet_status status = decode(&f, data, size, &bitmap);
        data[i] ^= 0x5a;
        if (i >= idat && i < size - 12) {
            assert_int_equal(status, M2SNET_STATUS_FORMAT);
        }
        m2s_bitmap_release(&bitmap);
    }
    free(data);
    image_fixture_end(&f);
}

static uint32_t crc_of(const uint8_t *data, size_t size)
{
    uint32_t crc = 0xffffffffu;

    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ ((crc & 1u) != 0 ? 0xedb88320u : 0u);
        }
    }
    return ~crc;
}

static void put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

/* Gives a small file another size in its header. */
static void set_size(uint8_t *data, uint32_t width, uint32_t height)
{
    put_u32(data + 16, width);
    put_u32(data + 20, height);
    put_u32(data + 29, crc_of(data + 12, 17));
}

static void test_bombs_are_refused_before_decoding(void **state)
{
    static const struct {
        uint32_t width, height;
        m2snet_status status;
    } cases[] = {
        { 0x7fffffff, 0x7fffffff, M2SNET_STATUS_LIMIT },
        { 70000, 1, M2SNET_STATUS_LIMIT },
        { 1, 70000, M2SNET_STATUS_LIMIT },
        { 65535, 65535, M2SNET_STATUS_LIMIT },
        { 8193, 8192, M2SNET_STATUS_LIMIT },
        { 8192, 8192, M2SNET_STATUS_FORMAT }, /* allowed, but 200 bytes cannot hold it */
        { 0, 5, M2SNET_STATUS_FORMAT },
        { 0x80000000u, 5, M2SNET_STATUS_FORMAT },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        image_fixture f;
        size_t size;
        m2s_bitmap bitmap;
        image_fixture_begin(&f, 0);
        uint8_t *data = read_png("gray8", &size);
        set_size(data, cases[i].width, cases[i].height);
        assert_int_equal(decode(&f, data, size, &bitmap), cases[i].status);
        assert_true(atomic_load(&f.memory.peak_bytes) < 1000000); /* libpng's own buffers */
        free(data);
        image_fixture_end(&f);
    }
}

/* A chunk that claims far more than the file holds must not be allocated. */
static void test_chunk_bomb(void **state)
{
    image_fixture f;
    size_t size;
    m2s_bitmap bitmap;

    (void)state;
    image_fixture_begin(&f, 0);
    uint8_t *data = read_png("gray8_exif6", &size);
    assert_memory_equal(data + 37, "eXIf", 4);
    put_u32(data + 33, 0x7fffffff);
    assert_int_equal(decode(&f, data, size, &bitmap), M2SNET_STATUS_FORMAT);
    assert_true(atomic_load(&f.memory.peak_bytes) < 1000000);
    free(data);
    image_fixture_end(&f);
}

static void test_max_pixels_is_the_callers(void **state)
{
    image_fixture f;
    size_t size;
    m2s_bitmap bitmap;

    (void)state;
    image_fixture_begin(&f, 0);
    uint8_t *data = read_png("gray8", &size);
    assert_int_equal(m2s_png_decode(&f.memory, data, size, 13 * 11 - 1, true, NULL, &bitmap, &f.error),
                     M2SNET_STATUS_LIMIT);
    assert_true(strstr(f.error.message, "13 x 11 = 143 px; at most 142") != NULL);
    assert_int_equal(m2s_png_decode(&f.memory, data, size, 13 * 11, true, NULL, &bitmap, &f.error), 0);
    m2s_bitmap_release(&bitmap);
    free(data);
    image_fixture_end(&f);
}

/* Too small an image data stream for the size, but not impossibly so. */
static void test_missing_rows(void **state)
{
    image_fixture f;
    size_t size;
    m2s_bitmap bitmap;

    (void)state;
    image_fixture_begin(&f, 0);
    uint8_t *data = read_png("gray8", &size);
    set_size(data, 13, 12);
    assert_int_equal(decode(&f, data, size, &bitmap), M2SNET_STATUS_FORMAT);
    assert_null(bitmap.pixels);
    free(data);
    image_fixture_end(&f);
}

static int stop_at_once(void *user, const m2snet_progress *progress)
{
    (void)user;
    assert_string_equal(progress->phase, "decode");
    return 1;
}

static void test_cancel(void **state)
{
    image_fixture f;
    size_t size;
    m2s_bitmap bitmap;
    m2s_control control;
    m2snet_cancel token;
    m2snet_control by_callback = { stop_at_once, NULL, NULL };
    m2snet_control by_token = { NULL, NULL, &token };

    (void)state;
    image_fixture_begin(&f, 0);
    uint8_t *data = read_png("gray8_exif6", &size);
    m2s_control_init(&control, &by_callback);
    assert_int_equal(m2s_png_decode(&f.memory, data, size, MAX_PIXELS, true, &control, &bitmap, &f.error),
                     M2SNET_STATUS_CANCELLED);
    assert_null(bitmap.pixels);
    atomic_init(&token.requested, 1);
    m2s_control_init(&control, &by_token);
    assert_int_equal(m2s_png_decode(&f.memory, data, size, MAX_PIXELS, true, &control, &bitmap, &f.error),
                     M2SNET_STATUS_CANCELLED);
    assert_null(bitmap.pixels);
    free(data);
    image_fixture_end(&f);
}

/* ---- writing ---- */

static uint8_t noise(size_t i)
{
    return (uint8_t)((uint32_t)i * 2654435761u >> 24);
}

static m2snet_status round_trip(image_fixture *f, void *user)
{
    const m2snet_image *image = user;
    uint8_t *data = NULL;
    size_t size;
    m2s_bitmap bitmap = { 0 };

    m2snet_status status = m2s_png_encode(&f->memory, image, NULL, &data, &size, &f->error);
    if (status == M2SNET_STATUS_OK) {
        status = decode(f, data, size, &bitmap);
    }
    if (status == M2SNET_STATUS_OK) {
        assert_int_equal(bitmap.format, image->format);
        assert_int_equal(bitmap.width, image->width);
        assert_int_equal(bitmap.height, image->height);
        size_t row_bytes = (size_t)image->width * (size_t)m2s_pixel_bytes(image->format);
        ptrdiff_t stride = image->row_stride_bytes != 0 ? image->row_stride_bytes : (ptrdiff_t)row_bytes;
        for (int32_t y = 0; y < image->height; y++) {
            assert_memory_equal(bitmap.pixels + (size_t)y * row_bytes, (const uint8_t *)image->data + y * stride,
                                row_bytes);
        }
    }
    m2s_free(&f->memory, data);
    m2s_bitmap_release(&bitmap);
    return status;
}

static void test_what_is_written_reads_back(void **state)
{
    static const m2snet_pixel_format formats[] = { M2SNET_PIXEL_GRAY8, M2SNET_PIXEL_GRAY16, M2SNET_PIXEL_RGB8 };
    uint8_t pixels[70 * 50];

    (void)state;
    for (size_t i = 0; i < sizeof pixels; i++) {
        pixels[i] = noise(i);
    }
    for (size_t i = 0; i < 3; i++) {
        image_fixture f;
        m2snet_image image = { .data = pixels, .width = 20, .height = 50, .format = formats[i] };
        image_fixture_begin(&f, 0);
        assert_int_equal(round_trip(&f, &image), 0);
        image.row_stride_bytes = 69; /* odd, so that 16-bit rows are not aligned */
        assert_int_equal(round_trip(&f, &image), 0);
        image.data = pixels + 49 * 69;
        image.row_stride_bytes = -69;
        assert_int_equal(round_trip(&f, &image), 0);
        image_fixture_fail_each_allocation(&f, round_trip, &image);
        image_fixture_end(&f);
    }
}

static void test_other_formats_are_not_written(void **state)
{
    image_fixture f;
    uint8_t pixels[64] = { 0 };
    uint8_t *data;
    size_t size;
    m2snet_image image = { .data = pixels, .width = 4, .height = 4, .format = M2SNET_PIXEL_RGBA8 };

    (void)state;
    image_fixture_begin(&f, 0);
    assert_int_equal(m2s_png_encode(&f.memory, &image, NULL, &data, &size, &f.error), M2SNET_STATUS_INVALID_ARGUMENT);
    assert_true(strstr(f.error.message, "RGBA8") != NULL);
    image_fixture_end(&f);
}

static m2snet_status decode_attempt(image_fixture *f, void *user)
{
    const char *name = user;
    size_t size;
    m2s_bitmap bitmap;
    uint8_t *data = read_png(name, &size);
    m2snet_status status = decode(f, data, size, &bitmap);

    m2s_bitmap_release(&bitmap);
    free(data);
    return status;
}

static void test_every_allocation_may_fail(void **state)
{
    char plain[] = "rgb16_interlaced";
    char turned[] = "gray8_exif6";
    image_fixture f;

    (void)state;
    image_fixture_begin(&f, 0);
    image_fixture_fail_each_allocation(&f, decode_attempt, plain);
    image_fixture_fail_each_allocation(&f, decode_attempt, turned);
    image_fixture_end(&f);
}

static void test_neither_png_nor_jpeg(void **state)
{
    image_fixture f;
    m2s_bitmap bitmap;
    m2s_decode_options options = M2S_DECODE_DEFAULTS;

    (void)state;
    image_fixture_begin(&f, 0);
    assert_int_equal(m2s_image_decode(&f.memory, "GIF89a...", 9, &options, NULL, &bitmap, &f.error),
                     M2SNET_STATUS_FORMAT);
    assert_string_equal(f.error.message, "neither PNG nor JPEG: it begins with the bytes 47 49 46 38 39 61 2e 2e");
    assert_int_equal(m2s_image_decode(&f.memory, "\x89", 1, &options, NULL, &bitmap, &f.error), M2SNET_STATUS_FORMAT);
    assert_int_equal(m2s_image_decode(&f.memory, "", 0, &options, NULL, &bitmap, &f.error), M2SNET_STATUS_FORMAT);
    assert_string_equal(f.error.message, "neither PNG nor JPEG: it is empty");
    assert_int_equal(m2s_image_decode(&f.memory, NULL, 0, &options, NULL, &bitmap, &f.error),
                     M2SNET_STATUS_INVALID_ARGUMENT);
    image_fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_gives_its_pixels),
        cmocka_unit_test(test_exif_can_be_left_alone),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_bombs_are_refused_before_decoding),
        cmocka_unit_test(test_chunk_bomb),
        cmocka_unit_test(test_max_pixels_is_the_callers),
        cmocka_unit_test(test_missing_rows),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_what_is_written_reads_back),
        cmocka_unit_test(test_other_formats_are_not_written),
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_neither_png_nor_jpeg),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
