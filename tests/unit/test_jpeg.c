/* SPDX-License-Identifier: Apache-2.0
 * JPEG: the pixels Pillow gives, orientations, damage, bombs, cancel, memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/image_fixture.h"
#include "image/exif.h"
#include "image/file_jpeg.h"

#define MAX_PIXELS ((uint64_t)1 << 26)

static const char *const names[] = {
    "jpeg_gray",
    "jpeg_444",
    "jpeg_422",
    "jpeg_420",
    "jpeg_444_progressive",
    "jpeg_422_progressive",
    "jpeg_420_progressive",
    "jpeg_rgb",
    "jpeg_restart",
    "jpeg_cmyk",
    "jpeg_cmyk_plain",
    "jpeg_ycck",
    "jpeg_exif1",
    "jpeg_exif2",
    "jpeg_exif3",
    "jpeg_exif4",
    "jpeg_exif5",
    "jpeg_exif6",
    "jpeg_exif7",
    "jpeg_exif8",
    "jpeg_exif6_long",
    "jpeg_stray",
};
#define NAME_COUNT (sizeof names / sizeof names[0])

static uint8_t *read_jpeg(const char *name, size_t *size)
{
    char file[256];

    snprintf(file, sizeof file, "images/%s.jpg", name);
    return image_fixture_read(file, size);
}

static m2snet_status decode(image_fixture *f, const uint8_t *data, size_t size, m2s_bitmap *bitmap)
{
    return m2s_jpeg_decode(&f->memory, data, size, MAX_PIXELS, true, NULL, bitmap, &f->error);
}

static void test_every_kind_gives_its_pixels(void **state)
{
    (void)state;
    for (size_t i = 0; i < NAME_COUNT; i++) {
        image_fixture f;
        size_t size;
        m2s_bitmap bitmap;
        image_fixture_begin(&f, 0);
        uint8_t *data = read_jpeg(names[i], &size);
        assert_true(m2s_jpeg_recognise(data, size));
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
    uint8_t *data = read_jpeg("jpeg_exif6", &size);
    assert_int_equal(m2s_jpeg_decode(&f.memory, data, size, MAX_PIXELS, false, NULL, &bitmap, &f.error), 0);
    m2s_bitmap expected = image_fixture_expected("jpeg_exif1");
    image_fixture_assert_same(&bitmap, &expected, "unturned");
    free(expected.pixels);
    free(data);
    m2s_bitmap_release(&bitmap);
    image_fixture_end(&f);
}

static void test_exif_reader(void **state)
{
    static const uint8_t good[] = { 'I', 'I', '*', 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 7, 0, 0, 0 };
    uint8_t bad[sizeof good];

    (void)state;
    assert_int_equal(m2s_exif_orientation(good, sizeof good), 7);
    for (size_t n = 0; n < sizeof good; n++) { /* in a block of its own, so that a sanitizer sees reads beyond */
        uint8_t *part = malloc(n + 1);
        assert_non_null(part);
        memcpy(part, good, n);
        assert_int_equal(m2s_exif_orientation(part, n), 1);
        free(part);
    }
    static const struct {
        size_t at;
        uint8_t value;
    } changes[] = { { 0, 'J' }, { 4, 0xff }, { 7, 0xff }, { 10, 0x13 }, { 12, 2 }, { 14, 2 }, { 18, 9 }, { 18, 0 } };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        memcpy(bad, good, sizeof good);
        bad[changes[i].at] = changes[i].value;
        assert_int_equal(m2s_exif_orientation(bad, sizeof bad), 1);
    }
}

static void test_truncation(void **state)
{
    static const char *const cut[] = { "jpeg_420", "jpeg_420_progressive", "jpeg_cmyk", "jpeg_gray", "jpeg_exif6" };

    (void)state;
    for (size_t i = 0; i < sizeof cut / sizeof cut[0]; i++) {
        image_fixture f;
        size_t size;
        image_fixture_begin(&f, 0);
        uint8_t *data = read_jpeg(cut[i], &size);
        for (size_t n = 0; n < size; n++) {
            m2s_bitmap bitmap;
            uint8_t *part = malloc(n + 1);
            assert_non_null(part);
            memcpy(part, data, n);
            if (decode(&f, part, n, &bitmap) != M2SNET_STATUS_FORMAT) {
                fail_msg("%s cut to %zu of %zu bytes was not refused", cut[i], n, size);
            }
            assert_null(bitmap.pixels);
            free(part);
        }
        free(data);
        image_fixture_end(&f);
    }
}

static void test_damage(void **state)
{
    static const char *const hurt[] = { "jpeg_420", "jpeg_422_progressive", "jpeg_ycck", "jpeg_restart" };

    (void)state;
    for (size_t i = 0; i < sizeof hurt / sizeof hurt[0]; i++) {
        image_fixture f;
        size_t size;
        image_fixture_begin(&f, 0);
        uint8_t *data = read_jpeg(hurt[i], &size);
        for (size_t n = 0; n < size; n++) {
            m2s_bitmap bitmap;
            data[n] ^= 0xa5;
            if (m2s_jpeg_decode(&f.memory, data, size, 1 << 20, true, NULL, &bitmap, &f.error) == M2SNET_STATUS_OK) {
                assert_non_null(bitmap.pixels);
            } else {
                assert_null(bitmap.pixels);
            }
            data[n] ^= 0xa5;
            m2s_bitmap_release(&bitmap);
        }
        free(data);
        image_fixture_end(&f);
    }
}

static size_t find(const uint8_t *data, size_t size, uint8_t marker)
{
    for (size_t i = 0; i + 1 < size; i++) {
        if (data[i] == 0xff && data[i + 1] == marker) {
            return i;
        }
    }
    fail_msg("no marker %02x", marker);
    return 0;
}

static void test_sizes(void **state)
{
    image_fixture f;
    size_t size;
    m2s_bitmap bitmap;

    (void)state;
    image_fixture_begin(&f, 0);
    uint8_t *data = read_jpeg("jpeg_gray", &size);
    size_t frame = find(data, size, 0xc0);
    assert_int_equal(m2s_jpeg_decode(&f.memory, data, size, 17 * 13 - 1, true, NULL, &bitmap, &f.error),
                     M2SNET_STATUS_LIMIT);
    memset(data + frame + 5, 0xff, 4); /* 65535 x 65535, more than libjpeg itself takes */
    assert_true(decode(&f, data, size, &bitmap) != M2SNET_STATUS_OK);
    data[frame + 5] = data[frame + 7] = 0x40; /* 16639 x 16639 */
    assert_int_equal(decode(&f, data, size, &bitmap), M2SNET_STATUS_LIMIT);
    assert_true(strstr(f.error.message, "16639 x 16639") != NULL);
    data[frame + 5] = data[frame + 6] = 0; /* height 0 */
    assert_int_equal(decode(&f, data, size, &bitmap), M2SNET_STATUS_FORMAT);
    assert_true(atomic_load(&f.memory.peak_bytes) < 1000000);
    free(data);
    image_fixture_end(&f);
}

static void test_12_bit_is_unsupported(void **state)
{
    image_fixture f;
    size_t size;
    m2s_bitmap bitmap;

    (void)state;
    image_fixture_begin(&f, 0);
    uint8_t *data = read_jpeg("jpeg_gray", &size);
    data[find(data, size, 0xc0) + 4] = 12;
    assert_int_equal(decode(&f, data, size, &bitmap), M2SNET_STATUS_UNSUPPORTED);
    free(data);
    image_fixture_end(&f);
}

/* Three components in scans of their own, the first sent `repeats` times. Every block is one zero coefficient and an
 * end of block, each a code of one bit. */
static size_t build_scans(uint8_t *out, int repeats)
{
    static const uint8_t head[] = {
        0xff, 0xd8, 0xff, 0xc0, 0, 17, 8, 0, 8, 0, 8, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0, 0xff, 0xdb, 0, 67, 0,
    };
    static const uint8_t codes[] = { 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
    static const uint8_t scan[] = { 0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0x3f };
    uint8_t *at = out;

    memcpy(at, head, sizeof head);
    at += sizeof head;
    memset(at, 1, 64);
    at += 64;
    for (uint8_t table = 0; table <= 0x10; table = (uint8_t)(table + 0x10)) {
        const uint8_t name[] = { 0xff, 0xc4, 0, 20, table };
        memcpy(at, name, sizeof name);
        memcpy(at + sizeof name, codes, sizeof codes);
        at += sizeof name + sizeof codes;
    }
    for (int i = 0; i < repeats + 2; i++) {
        memcpy(at, scan, sizeof scan);
        at[5] = (uint8_t)(i < repeats ? 1 : i - repeats + 2);
        at += sizeof scan;
    }
    *at++ = 0xff;
    *at++ = 0xd9;
    return (size_t)(at - out);
}

static void test_scan_bomb(void **state)
{
    image_fixture f;
    m2s_bitmap bitmap;
    uint8_t data[8192];

    (void)state;
    image_fixture_begin(&f, 0);
    size_t size = build_scans(data, M2S_JPEG_MAX_SCANS - 2);
    assert_int_equal(decode(&f, data, size, &bitmap), M2SNET_STATUS_OK);
    assert_int_equal(bitmap.pixels[0], 128);
    m2s_bitmap_release(&bitmap);
    size = build_scans(data, M2S_JPEG_MAX_SCANS + 1);
    assert_int_equal(decode(&f, data, size, &bitmap), M2SNET_STATUS_LIMIT);
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
    static const char *const kinds[] = { "jpeg_420", "jpeg_420_progressive" };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        image_fixture f;
        size_t size;
        m2s_bitmap bitmap;
        m2s_control control;
        m2snet_cancel token;
        m2snet_control by_callback = { stop_at_once, NULL, NULL };
        m2snet_control by_token = { NULL, NULL, &token };
        image_fixture_begin(&f, 0);
        uint8_t *data = read_jpeg(kinds[i], &size);
        m2s_control_init(&control, &by_callback);
        assert_int_equal(m2s_jpeg_decode(&f.memory, data, size, MAX_PIXELS, true, &control, &bitmap, &f.error),
                         M2SNET_STATUS_CANCELLED);
        atomic_init(&token.requested, 1);
        m2s_control_init(&control, &by_token);
        assert_int_equal(m2s_jpeg_decode(&f.memory, data, size, MAX_PIXELS, true, &control, &bitmap, &f.error),
                         M2SNET_STATUS_CANCELLED);
        free(data);
        image_fixture_end(&f);
    }
}

static m2snet_status decode_attempt(image_fixture *f, void *user)
{
    size_t size;
    m2s_bitmap bitmap;
    uint8_t *data = read_jpeg(user, &size);
    m2snet_status status = decode(f, data, size, &bitmap);

    m2s_bitmap_release(&bitmap);
    free(data);
    return status;
}

static void test_every_allocation_may_fail(void **state)
{
    char turned[] = "jpeg_exif6";
    char cmyk[] = "jpeg_cmyk";
    image_fixture f;

    (void)state;
    image_fixture_begin(&f, 0);
    image_fixture_fail_each_allocation(&f, decode_attempt, turned);
    image_fixture_fail_each_allocation(&f, decode_attempt, cmyk);
    image_fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_gives_its_pixels),
        cmocka_unit_test(test_exif_can_be_left_alone),
        cmocka_unit_test(test_exif_reader),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_12_bit_is_unsupported),
        cmocka_unit_test(test_scan_bomb),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
