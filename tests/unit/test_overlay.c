/* SPDX-License-Identifier: Apache-2.0
 * Outlines drawn into pictures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/image_fixture.h"
#include "image/overlay.h"

#define W 9
#define H 7

static const uint8_t line[3] = { 0x12, 0xab, 0xff };
#define LINE 0x12abffu

/* Draws text's '#' pixels as a mask with rows `stride` apart. */
static void draw(const char *text, uint8_t *mask, int stride)
{
    for (int y = 0; y < H; y++) {
        for (int x = 0; x < W; x++) {
            mask[y * stride + x] = text[y * (W + 1) + x] == '#' ? 7 : 0;
        }
    }
}

static void assert_drawn(const m2s_bitmap *overlay, const uint8_t *gray, const char *text)
{
    for (int y = 0; y < H; y++) {
        for (int x = 0; x < W; x++) {
            const uint8_t *p = overlay->pixels + 3 * (y * W + x);
            uint8_t g = gray[y * W + x];
            const uint8_t expected[3] = { g, g, g };
            if (memcmp(p, text[y * (W + 1) + x] == '#' ? line : expected, 3) != 0) {
                fail_msg("pixel (%d, %d) is %d, %d, %d", x, y, p[0], p[1], p[2]);
            }
        }
    }
}

static void test_lines(void **state)
{
    static const char mask_text[] = "........./..#####../..#####../..#####../..#####../..#####../.........";
    static const struct {
        int width;
        const char *drawn;
    } cases[] = {
        { 1, "........./..#####../..#...#../..#...#../..#...#../..#####../........." },
        { 2, "........./..######./..######./..##..##./..##..##./..######./..######." },
        { 3, ".#######./.#######./.#######./.###.###./.#######./.#######./.#######." },
        { 255, "#########/#########/#########/#########/#########/#########/#########" },
    };
    uint8_t gray[W * H], mask[H * 11];
    image_fixture f;

    (void)state;
    image_fixture_begin(&f, 0);
    for (int i = 0; i < W * H; i++) {
        gray[i] = (uint8_t)(4 * i);
    }
    draw(mask_text, mask, 11);
    m2snet_image picture = { .data = gray, .width = W, .height = H, .format = M2SNET_PIXEL_GRAY8 };
    m2snet_image area = { .data = mask, .width = W, .height = H, .row_stride_bytes = 11, .format = M2SNET_PIXEL_GRAY8 };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        m2s_bitmap overlay;
        assert_int_equal(m2s_overlay(&f.memory, &picture, &area, LINE, cases[i].width, &overlay, &f.error), 0);
        assert_int_equal(overlay.format, M2SNET_PIXEL_RGB8);
        assert_drawn(&overlay, gray, cases[i].drawn);
        m2s_bitmap_release(&overlay);
    }
    image_fixture_end(&f);
}

static void test_edges_of_the_picture_and_holes(void **state)
{
    static const char *const cases[][2] = {
        { "#########/#########/#########/#########/#########/#########/#########",
          "#########/#.......#/#.......#/#.......#/#.......#/#.......#/#########" },
        { "#####..../#####..../##.##..../#####..../#####..../........./.........",
          "#####..../#.#.#..../##.##..../#.#.#..../#####..../........./........." },
        { "........./........./........./........./........./........./.........",
          "........./........./........./........./........./........./........." },
    };
    uint8_t gray[W * H] = { 0 }, mask[W * H];
    image_fixture f;

    (void)state;
    image_fixture_begin(&f, 0);
    m2snet_image picture = { .data = gray, .width = W, .height = H, .format = M2SNET_PIXEL_GRAY8 };
    m2snet_image area = { .data = mask, .width = W, .height = H, .format = M2SNET_PIXEL_GRAY8 };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        m2s_bitmap overlay;
        draw(cases[i][0], mask, W);
        assert_int_equal(m2s_overlay(&f.memory, &picture, &area, LINE, 1, &overlay, &f.error), 0);
        assert_drawn(&overlay, gray, cases[i][1]);
        m2s_bitmap_release(&overlay);
    }
    image_fixture_end(&f);
}

static void test_colour_formats(void **state)
{
    static const uint8_t bgra[8] = { 3, 2, 1, 0, 6, 5, 4, 0 };
    static const uint8_t rgb[6] = { 1, 2, 3, 4, 5, 6 };
    static const uint8_t mask[2] = { 0, 0 };
    m2snet_image picture = { .data = bgra, .width = 2, .height = 1, .format = M2SNET_PIXEL_BGRA8 };
    m2snet_image area = { .data = mask, .width = 2, .height = 1, .format = M2SNET_PIXEL_GRAY8 };
    image_fixture f;
    m2s_bitmap overlay;

    (void)state;
    image_fixture_begin(&f, 0);
    assert_int_equal(m2s_overlay(&f.memory, &picture, &area, LINE, 1, &overlay, &f.error), 0);
    assert_memory_equal(overlay.pixels, rgb, 6);
    m2s_bitmap_release(&overlay);
    image_fixture_end(&f);
}

static void test_arguments_that_make_no_sense(void **state)
{
    static const uint8_t pixels[64] = { 0 };
    m2snet_image picture = { .data = pixels, .width = 4, .height = 4, .format = M2SNET_PIXEL_RGB8 };
    m2snet_image mask = { .data = pixels, .width = 4, .height = 4, .format = M2SNET_PIXEL_GRAY8 };
    m2snet_image other = { .data = pixels, .width = 4, .height = 3, .format = M2SNET_PIXEL_GRAY8 };
    image_fixture f;
    m2s_bitmap overlay;
    const m2snet_status bad = M2SNET_STATUS_INVALID_ARGUMENT;

    (void)state;
    image_fixture_begin(&f, 0);
    assert_int_equal(m2s_overlay(&f.memory, &picture, &mask, LINE, 0, &overlay, &f.error), bad);
    assert_int_equal(m2s_overlay(&f.memory, &picture, &mask, LINE, 256, &overlay, &f.error), bad);
    assert_int_equal(m2s_overlay(&f.memory, &picture, &mask, 0x1000000u, 1, &overlay, &f.error), bad);
    assert_int_equal(m2s_overlay(&f.memory, &picture, &other, LINE, 1, &overlay, &f.error), bad);
    assert_int_equal(m2s_overlay(&f.memory, &picture, &picture, LINE, 1, &overlay, &f.error), bad);
    assert_int_equal(m2s_overlay(&f.memory, &picture, NULL, LINE, 1, &overlay, &f.error), bad);
    assert_null(overlay.pixels);
    image_fixture_end(&f);
}

static m2snet_status overlay_attempt(image_fixture *f, void *user)
{
    static const uint8_t pixels[64] = { 0 };
    m2snet_image picture = { .data = pixels, .width = 4, .height = 4, .format = M2SNET_PIXEL_RGB8 };
    m2snet_image mask = { .data = pixels, .width = 4, .height = 4, .format = M2SNET_PIXEL_GRAY8 };
    m2s_bitmap overlay;
    m2snet_status status = m2s_overlay(&f->memory, &picture, &mask, LINE, 1, &overlay, &f->error);

    (void)user;
    m2s_bitmap_release(&overlay);
    return status;
}

static void test_every_allocation_may_fail(void **state)
{
    image_fixture f;

    (void)state;
    image_fixture_begin(&f, 0);
    image_fixture_fail_each_allocation(&f, overlay_attempt, NULL);
    image_fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_edges_of_the_picture_and_holes),
        cmocka_unit_test(test_colour_formats),
        cmocka_unit_test(test_arguments_that_make_no_sense),
        cmocka_unit_test(test_every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
