/* SPDX-License-Identifier: Apache-2.0
 * lib/train/augment*: exact where arithmetic is exact, the released pipeline against float64 truth, draws, colour,
 * blur, noise, masks of labels. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/api_fixture.h"
#include "core/rng.h"
#include "train/augment.h"
#include "train/augment_colour.h"
#include "train/augment_map.h"

#define INVALID  M2SNET_STATUS_INVALID_ARGUMENT
#define MAX_SIDE 64

/* ---- helpers ---- */

typedef struct rig {
    m2s_memory memory;
    m2s_augment_scratch scratch;
    m2snet_augment_options options;
    m2s_mask_coding coding;
    m2s_draw draw;
    m2s_picture *picture;
    float image[MAX_SIDE * MAX_SIDE * 3], mask[MAX_SIDE * MAX_SIDE * 4];
} rig;

static void begin(rig *r, const char *preset, int32_t width, int32_t height)
{
    m2snet_error error;

    memset(r, 0, sizeof *r);
    m2s_memory_init(&r->memory, NULL, 0);
    r->scratch.memory = &r->memory;
    r->draw = M2S_DRAW_NONE;
    OK(m2s_augment_preset(preset, &r->options, &error));
    OK(m2s_augment_check(&r->options, &error));
    r->picture = m2s_alloc(&r->memory, M2S_PICTURE_BYTES(width, height));
    r->picture->width = width;
    r->picture->height = height;
    double sum[3] = { 0.0, 0.0, 0.0 };
    uint64_t name = 0xcbf29ce484222325u;
    for (const char *c = "augment"; *c != '\0'; c++) {
        name = (name ^ (uint8_t)*c) * 0x100000001b3u;
    }
    for (int32_t i = 0; i < 4 * width * height; i++) { /* the generator of tests/data/README.md */
        uint32_t u = (uint32_t)(m2s_rng_bits(name, (uint64_t)i) >> 40);
        r->picture->rgbm[i] = (uint8_t)(u >> 16);
        if (i % 4 < 3) {
            sum[i % 4] += r->picture->rgbm[i];
        }
    }
    for (int c = 0; c < 3; c++) {
        r->picture->mean_rgb[c] = (float)(sum[c] / (255.0 * width * height));
    }
}

static void end(rig *r)
{
    m2s_augment_scratch_release(&r->scratch);
    m2s_free(&r->memory, r->picture);
    assert_int_equal(atomic_load(&r->memory.used_bytes), 0);
}

static void apply(rig *r, int32_t height, int32_t width)
{
    m2snet_error error;

    memset(r->image, 0x7f, sizeof r->image);
    memset(r->mask, 0x7f, sizeof r->mask);
    OK(m2s_augment_apply(&r->options, &r->draw, r->picture, &r->coding, height, width, &r->scratch, r->image, r->mask,
                         &error));
}

/* What the network sees of a level, as prediction computes it. */
static float level(const rig *r, int32_t x, int32_t y, int c)
{
    uint8_t v = r->picture->rgbm[4 * (y * r->picture->width + x) + c];

    return ((float)v / 255.0f - (float)r->options.mean[c]) / (float)r->options.std[c];
}

typedef void (*place_fn)(int32_t side_x, int32_t side_y, int32_t *x, int32_t *y);

/* Every pixel is exactly the one that `place` names. */
static void assert_moved(const rig *r, place_fn place)
{
    int32_t w = r->picture->width, h = r->picture->height;

    for (int32_t y = 0; y < h; y++) {
        for (int32_t x = 0; x < w; x++) {
            int32_t sx = x, sy = y;
            place(w, h, &sx, &sy);
            for (int c = 0; c < 3; c++) {
                assert_true(r->image[3 * (y * w + x) + c] == level(r, sx, sy, c));
            }
            assert_true(r->mask[y * w + x] == (float)r->picture->rgbm[4 * (sy * w + sx) + 3] / 255.0f);
        }
    }
}

static void stay(int32_t w, int32_t h, int32_t *x, int32_t *y)
{
    (void)w;
    (void)h;
    (void)x;
    (void)y;
}

static void mirror_x(int32_t w, int32_t h, int32_t *x, int32_t *y)
{
    (void)h;
    (void)y;
    *x = w - 1 - *x;
}

static void mirror_y(int32_t w, int32_t h, int32_t *x, int32_t *y)
{
    (void)w;
    (void)x;
    *y = h - 1 - *y;
}

static void half_turn(int32_t w, int32_t h, int32_t *x, int32_t *y)
{
    mirror_x(w, h, x, y);
    mirror_y(w, h, x, y);
}

/* Counter-clockwise: the result's left column was the top row. */
static void quarter_turn(int32_t w, int32_t h, int32_t *x, int32_t *y)
{
    int32_t old = *x;

    (void)h;
    *x = w - 1 - *y;
    *y = old;
}

static void three_quarters(int32_t w, int32_t h, int32_t *x, int32_t *y)
{
    int32_t old = *x;

    (void)w;
    *x = *y;
    *y = h - 1 - old;
}

static void mirror_then_turn(int32_t w, int32_t h, int32_t *x, int32_t *y)
{
    quarter_turn(w, h, x, y);
    mirror_x(w, h, x, y);
}

/* ---- geometry ---- */

static void test_exact_moves(void **state)
{
    static const struct {
        bool fx, fy;
        int32_t turns;
        place_fn place;
    } moves[] = {
        { false, false, 0, stay },           { true, false, 0, mirror_x },      { false, true, 0, mirror_y },
        { true, true, 0, half_turn },        { false, false, 1, quarter_turn }, { false, false, 2, half_turn },
        { false, false, 3, three_quarters }, { true, true, 2, stay },           { true, false, 1, mirror_then_turn },
    };
    rig r;

    (void)state;
    for (int steps = 0; steps < 2; steps++) { /* in one sample, and by the steps of the released pipeline */
        begin(&r, "none", 33, 33);
        r.options.first_size_px = steps == 1 ? 33 : 0;
        for (size_t i = 0; i < COUNT(moves); i++) {
            r.draw.flip_horizontal = moves[i].fx;
            r.draw.flip_vertical = moves[i].fy;
            r.draw.quarter_turns = moves[i].turns;
            apply(&r, 33, 33);
            assert_moved(&r, moves[i].place);
        }
        end(&r);
    }
    begin(&r, "none", 20, 31); /* a rectangle in its own size */
    apply(&r, 31, 20);
    assert_moved(&r, stay);
    r.draw.flip_horizontal = r.draw.flip_vertical = true;
    apply(&r, 31, 20);
    assert_moved(&r, half_turn);
    end(&r);
}

/* A window of half the picture, drawn at its own resolution, is copied. */
static void test_crop(void **state)
{
    rig r;

    (void)state;
    begin(&r, "none", 32, 32);
    r.draw.crop_side = 0.5;
    r.draw.crop_x = 0.25;
    r.draw.crop_y = 0.125;
    apply(&r, 16, 16);
    for (int32_t y = 0; y < 16; y++) {
        for (int32_t x = 0; x < 16; x++) {
            assert_true(r.image[3 * (16 * y + x)] == level(&r, x + 8, y + 4, 0));
        }
    }
    end(&r);
}

/* A row of two pixels, made four wide: the half-pixel rule by hand. */
static void test_resize_by_hand(void **state)
{
    static const float shares[4] = { 0.0f, 0.25f, 0.75f, 1.0f };
    rig r;

    (void)state;
    for (int steps = 0; steps < 2; steps++) {
        begin(&r, "none", 2, 1);
        static const uint8_t pixels[8] = { 0, 100, 200, 0, 200, 100, 0, 255 };
        memcpy(r.picture->rgbm, pixels, sizeof pixels);
        r.options.first_size_px = steps == 1 ? 4 : 0;
        apply(&r, 4, 4);
        for (int i = 0; i < 16; i++) {
            double red = 200.0 * (double)shares[i % 4] / 255.0;
            assert_true(fabs(r.image[3 * i] - (red - 0.485) / 0.229) < 1e-6); /* a few roundings of numbers below 3 */
            assert_true(r.image[3 * i + 1] == r.image[1]);
            assert_true(fabsf(r.mask[i] - shares[i % 4]) < 1e-6f);
        }
        end(&r);
    }
}

/* A rotation by 90 degrees as an angle is the quarter turn; half of it twice is near; a full ring stays. */
static void test_rotation(void **state)
{
    rig r, q;

    (void)state;
    begin(&r, "none", 33, 33);
    begin(&q, "none", 33, 33);
    r.draw.rotate_degrees = 90.0;
    q.draw.quarter_turns = 1;
    apply(&r, 33, 33);
    apply(&q, 33, 33);
    for (int i = 0; i < 33 * 33; i++) {
        assert_true(fabsf(r.image[3 * i] - q.image[3 * i]) < 1e-5f); /* cos(90 degrees) is not quite 0 */
    }
    /* A pattern of rings about the centre, smooth: any angle leaves it as it is, near the centre. */
    for (int i = 0; i < 33 * 33; i++) {
        int x = i % 33 - 16, y = i / 33 - 16;
        r.picture->rgbm[4 * i] = (uint8_t)(128.0 + 100.0 * cos(sqrt(x * x + y * y) * 0.3));
    }
    r.draw.rotate_degrees = 0.0;
    apply(&r, 33, 33);
    memcpy(q.image, r.image, sizeof q.image);
    r.draw.rotate_degrees = 31.0;
    apply(&r, 33, 33);
    for (int i = 0; i < 33 * 33; i++) {
        int x = i % 33 - 16, y = i / 33 - 16;
        if (x * x + y * y <
            15 * 15) { /* curvature 9 levels a pixel, interpolated: within 2 levels, and 1 of rounding */
            assert_true(fabsf(r.image[3 * i] - q.image[3 * i]) < 3.0f / 255.0f / 0.229f);
        }
    }
    /* Corners come from outside: the mean colour, which is 0, and no mask. */
    assert_true(r.image[0] == 0.0f && r.image[1] == 0.0f && r.image[2] == 0.0f && r.mask[0] == 0.0f);
    /* Positive angles turn counter-clockwise: what was right of the centre is now above the middle line. */
    for (int i = 0; i < 33 * 33; i++) {
        r.picture->rgbm[4 * i + 3] = i == 16 * 33 + 28 ? 255 : 0;
    }
    apply(&r, 33, 33);
    double y_mean = 0.0, sum = 0.0;
    for (int i = 0; i < 33 * 33; i++) {
        y_mean += (double)r.mask[i] * (i / 33);
        sum += r.mask[i];
    }
    assert_true(fabs(y_mean / sum - (16.0 - 12.0 * sin(31.0 * 3.14159265358979 / 180.0))) < 0.5);
    end(&r);
    end(&q);
}

/* Truth: tests/data/augment. Float32 throughout against float64: values below 3, ten roundings, positions to 1e-6 of a
 * pixel between neighbours that differ by up to 5. */
static void test_released_against_truth(void **state)
{
    FILE *file = fopen(M2S_TEST_DATA "/augment/released.txt", "r");
    int width, height, first, size, flip, cases = 0;
    double angle, worst = 0.0;
    rig r;

    (void)state;
    assert_non_null(file);
    while (fscanf(file, " case %d %d %d %d %d %lf", &width, &height, &first, &size, &flip, &angle) == 6) {
        begin(&r, "released", width, height);
        assert_int_equal(r.options.first_size_px, 352);
        r.options.first_size_px = first;
        r.draw.flip_horizontal = flip != 0;
        r.draw.rotate_degrees = angle;
        apply(&r, size, size);
        for (int i = 0; i < size * size; i++) {
            double truth[4];
            assert_int_equal(fscanf(file, "%lf %lf %lf %lf", &truth[0], &truth[1], &truth[2], &truth[3]), 4);
            for (int c = 0; c < 4; c++) {
                double actual = c < 3 ? r.image[3 * i + c] : r.mask[i];
                worst = fmax(worst, fabs(actual - truth[c]));
            }
        }
        end(&r);
        cases++;
    }
    fclose(file);
    print_message("  largest difference %.3g\n", worst);
    assert_int_equal(cases, 4);
    assert_true(worst < 5e-6);
}

static void test_maps_chain(void **state)
{
    m2s_draw d = M2S_DRAW_NONE;

    (void)state;
    d.rotate_degrees = 12.0;
    d.crop_side = 0.8;
    d.crop_x = 0.1;
    m2s_map a = m2s_map_move(&d, false, 50, 40, 30, 20), b = m2s_map_resize(30, 20, 90, 10);
    m2s_map both = m2s_map_chain(&a, &b);
    for (int i = 0; i < 9; i++) {
        double x = i * 5.0, y = 40.0 - i;
        double ax = a.xx * x + a.xy * y + a.x0, ay = a.yx * x + a.yy * y + a.y0;
        assert_true(fabs(both.xx * x + both.xy * y + both.x0 - (b.xx * ax + b.xy * ay + b.x0)) < 1e-11);
        assert_true(fabs(both.yx * x + both.yy * y + both.y0 - (b.yx * ax + b.yy * ay + b.y0)) < 1e-11);
    }
    /* The window's centre is the result's centre, whatever the rotation. */
    assert_true(fabs(a.xx * 24.5 + a.xy * 19.5 + a.x0 - (0.5 * 30 - 0.5)) < 1e-12);
    assert_true(fabs(a.yx * 24.5 + a.yy * 19.5 + a.y0 - (0.4 * 20 - 0.5)) < 1e-12);
    m2s_map same = m2s_map_resize(7, 9, 7, 9);
    assert_true(m2s_map_is_identity(&same));
    assert_false(m2s_map_is_identity(&a));
}

/* ---- masks ---- */

static void test_masks_of_labels(void **state)
{
    rig r;

    (void)state;
    begin(&r, "none", 8, 8);
    for (int i = 0; i < 64; i++) {
        r.picture->rgbm[4 * i + 3] = (uint8_t)(i % 3); /* 0 = background */
    }
    r.coding = (m2s_mask_coding){ .kind = M2S_MASK_SIGMOID, .labels = { 80, 160 }, .label_count = 2 };
    assert_int_equal(m2s_mask_channels(&r.coding), 2);
    apply(&r, 8, 8);
    for (int i = 0; i < 64; i++) {
        assert_true(r.mask[2 * i] == (i % 3 == 1 ? 1.0f : 0.0f));
        assert_true(r.mask[2 * i + 1] == (i % 3 == 2 ? 1.0f : 0.0f));
    }
    r.coding.kind = M2S_MASK_SOFTMAX;
    assert_int_equal(m2s_mask_channels(&r.coding), 3);
    r.draw.rotate_degrees = 20.0;
    r.draw.crop_side = 0.7;
    apply(&r, 21, 13);
    for (int i = 0; i < 21 * 13; i++) {
        float *m = r.mask + 3 * i;
        assert_true((m[0] == 1.0f) + (m[1] == 1.0f) + (m[2] == 1.0f) == 1 && m[0] + m[1] + m[2] == 1.0f);
    }
    /* Bilinear shares of a class are those of its indicator as a gray mask. */
    rig gray;
    begin(&gray, "none", 8, 8);
    for (int i = 0; i < 64; i++) {
        gray.picture->rgbm[4 * i + 3] = i % 3 == 2 ? 255 : 0;
    }
    gray.draw = r.draw;
    r.coding.kind = M2S_MASK_SIGMOID;
    for (int steps = 0; steps < 2; steps++) {
        apply(&r, 21, 13);
        apply(&gray, 21, 13);
        for (int i = 0; i < 21 * 13; i++) {
            assert_true(fabsf(r.mask[2 * i + 1] - gray.mask[i]) < 1e-6f); /* sums of four, below 1 */
        }
        r.coding.binarize = gray.coding.binarize = true;
    }
    int ones = 0;
    for (int i = 0; i < 21 * 13; i++) {
        assert_true(gray.mask[i] == 0.0f || gray.mask[i] == 1.0f);
        ones += gray.mask[i] == 1.0f;
    }
    assert_true(ones > 20 && ones < 200);
    end(&gray);
    end(&r);
}

/* ---- colour ---- */

static void colour_of(const m2s_draw *d, const double rgb[3], const float mean[3], double out[3])
{
    m2s_colour c;

    assert_true(m2s_colour_map(d, mean, &c));
    for (int i = 0; i < 3; i++) {
        out[i] = c.matrix[i][0] * rgb[0] + c.matrix[i][1] * rgb[1] + c.matrix[i][2] * rgb[2] + c.offset[i];
    }
}

static void test_colour(void **state)
{
    const double rgb[3] = { 0.2, 0.5, 0.7 }, gray[3] = { 0.4, 0.4, 0.4 };
    const float mean[3] = { 0.5f, 0.5f, 0.5f };
    double out[3];
    m2s_colour c;
    m2s_draw d = M2S_DRAW_NONE;

    (void)state;
    assert_false(m2s_colour_map(&d, mean, &c));
    d.brightness = 1.5;
    colour_of(&d, rgb, mean, out);
    assert_true(fabs(out[0] - 0.3) + fabs(out[1] - 0.75) + fabs(out[2] - 1.05) < 1e-12);
    d.contrast = 2.0; /* about the mean after brightness, 0.75 */
    colour_of(&d, rgb, mean, out);
    assert_true(fabs(out[0] - (0.75 + 2.0 * (0.3 - 0.75))) + fabs(out[2] - (0.75 + 2.0 * (1.05 - 0.75))) < 1e-12);
    d = M2S_DRAW_NONE;
    d.saturation = 0.0;
    colour_of(&d, rgb, mean, out);
    double y = 0.299 * 0.2 + 0.587 * 0.5 + 0.114 * 0.7;
    assert_true(fabs(out[0] - y) + fabs(out[1] - y) + fabs(out[2] - y) < 1e-12);
    d = M2S_DRAW_NONE;
    for (int i = 1; i < 8; i++) { /* hue leaves luminance and grays; a whole turn leaves everything */
        d.hue = i / 8.0;
        colour_of(&d, rgb, mean, out);
        assert_true(fabs(0.299 * out[0] + 0.587 * out[1] + 0.114 * out[2] - y) < 1e-12);
        assert_true(fabs(out[0] - rgb[0]) > 1e-3);
        colour_of(&d, gray, mean, out);
        assert_true(fabs(out[0] - 0.4) + fabs(out[1] - 0.4) + fabs(out[2] - 0.4) < 1e-12);
    }
    d.hue = 1.0;
    colour_of(&d, rgb, mean, out);
    assert_true(fabs(out[0] - 0.2) + fabs(out[1] - 0.5) + fabs(out[2] - 0.7) < 1e-12);

    /* In a picture: what the map says, clipped; the mask untouched. */
    rig r;
    begin(&r, "none", 16, 16);
    r.draw.brightness = 1.3;
    r.draw.saturation = 1.4;
    r.draw.hue = 0.05;
    apply(&r, 16, 16);
    int clipped = 0;
    for (int i = 0; i < 256; i++) {
        const uint8_t *p = r.picture->rgbm + 4 * i;
        const double pixel[3] = { p[0] / 255.0, p[1] / 255.0, p[2] / 255.0 };
        colour_of(&r.draw, pixel, r.picture->mean_rgb, out);
        for (int k = 0; k < 3; k++) {
            double v = fmin(fmax(out[k], 0.0), 1.0);
            clipped += v != out[k];
            assert_true(fabs(r.image[3 * i + k] - (v - r.options.mean[k]) / r.options.std[k]) < 3e-6);
        }
        assert_true(r.mask[i] == (float)p[3] / 255.0f);
    }
    assert_true(clipped > 50);
    end(&r);
}

static void test_blur_and_noise(void **state)
{
    static float image[31 * 31 * 3], buffer[31 * 31 * 3], line[3 * (31 + 2 * 48)];
    double sum = 0.0, spread = 0.0;

    (void)state;
    image[3 * (15 * 31 + 15)] = 1.0f;
    m2s_blur(image, 31, 31, 1.5, buffer, line);
    for (int y = 0; y < 31; y++) {
        for (int x = 0; x < 31; x++) {
            sum += image[3 * (31 * y + x)];
            spread += (double)image[3 * (31 * y + x)] * (x - 15) * (x - 15);
            assert_true(image[3 * (31 * y + x) + 1] == 0.0f);
            assert_true(fabsf(image[3 * (31 * y + x)] - image[3 * (31 * x + y)]) < 1e-7f);
        }
    }
    assert_true(fabs(sum - 1.0) < 1e-5);
    assert_true(fabs(spread - 1.5 * 1.5) < 0.1); /* cut at three deviations: 0.97 of the variance */
    for (int i = 0; i < 31 * 31 * 3; i++) {
        image[i] = 2.0f;
    }
    m2s_blur(image, 31, 31, 16.0, buffer, line); /* the mirror's mirror is reached */
    for (int i = 0; i < 31 * 31 * 3; i++) {
        assert_true(fabsf(image[i] - 2.0f) < 2e-5f); /* a hundred roundings of 2 */
    }

    const float std[3] = { 1.0f, 2.0f, 0.0f };
    double mean[3] = { 0 }, square[3] = { 0 };
    memset(image, 0, sizeof image);
    m2s_noise(image, 31 * 31, std, 99);
    memcpy(buffer, image, sizeof image);
    for (int i = 0; i < 31 * 31 * 3; i++) {
        mean[i % 3] += image[i] / (31.0 * 31.0);
        square[i % 3] += image[i] * image[i] / (31.0 * 31.0);
    }
    for (int c = 0; c < 3; c++) { /* five standard errors of 961 numbers */
        assert_true(fabs(mean[c]) <= 5.0 * std[c] / 31.0);
        assert_true(fabs(square[c] - std[c] * std[c]) <= 5.0 * std[c] * std[c] * 1.2 / 31.0);
    }
    memset(image, 0, sizeof image);
    m2s_noise(image, 31 * 31, std, 99);
    assert_memory_equal(image, buffer, sizeof image);
    m2s_noise(image, 31 * 31, std, 100);
    assert_memory_not_equal(image, buffer, sizeof image);
}

/* ---- draws ---- */

static bool is_same_draw(const m2s_draw *a, const m2s_draw *b)
{
    return a->flip_horizontal == b->flip_horizontal && a->flip_vertical == b->flip_vertical &&
           a->quarter_turns == b->quarter_turns && a->rotate_degrees == b->rotate_degrees &&
           a->crop_side == b->crop_side && a->crop_x == b->crop_x && a->crop_y == b->crop_y &&
           a->brightness == b->brightness && a->contrast == b->contrast && a->saturation == b->saturation &&
           a->hue == b->hue && a->blur_sigma_px == b->blur_sigma_px && a->noise_std == b->noise_std;
}

static void test_draws(void **state)
{
    m2snet_augment_options o;
    m2snet_error error;
    m2s_draw d, again;
    int flips = 0, turns[4] = { 0 };
    double low = 1.0, high = 0.0, angle = 0.0;

    (void)state;
    OK(m2s_augment_preset("compact", &o, &error));
    for (uint64_t i = 0; i < 4000; i++) {
        m2s_augment_draw(&o, 7, i / 1000, i % 1000, &d);
        flips += d.flip_horizontal;
        turns[d.quarter_turns]++;
        low = fmin(low, d.crop_side);
        high = fmax(high, d.crop_side);
        angle = fmax(angle, fabs(d.rotate_degrees));
        assert_true(d.crop_x >= 0.0 && d.crop_x + d.crop_side <= 1.0 + 1e-15);
        assert_true(d.brightness >= 0.8 && d.brightness <= 1.2 && fabs(d.hue) <= 0.02);
        assert_true(d.blur_sigma_px == 0.0 && d.noise_std == 0.0);
    }
    assert_true(abs(flips - 2000) < 190); /* six deviations */
    for (int k = 0; k < 4; k++) {
        assert_true(abs(turns[k] - 1000) < 165);
    }
    assert_true(low >= 0.7 && low < 0.702 && high > 0.998 && high <= 1.0 && angle > 14.9 && angle <= 15.0);
    m2s_augment_draw(&o, 7, 3, 17, &d);
    m2s_augment_draw(&o, 7, 3, 17, &again);
    assert_true(is_same_draw(&d, &again) && d.noise_stream == again.noise_stream);
    o.p_flip_horizontal = 0.0; /* the others stay as they were */
    o.p_brightness = 0.0;
    m2s_augment_draw(&o, 7, 3, 17, &again);
    assert_true(again.rotate_degrees == d.rotate_degrees && again.crop_x == d.crop_x && again.hue == d.hue);
    m2s_augment_draw(&o, 7, 17, 3, &again);
    assert_true(again.rotate_degrees != d.rotate_degrees);
    m2s_augment_draw(&o, 8, 3, 17, &again);
    assert_true(again.rotate_degrees != d.rotate_degrees);

    OK(m2s_augment_preset("none", &o, &error));
    const m2s_draw none = M2S_DRAW_NONE;
    m2s_augment_draw(&o, 7, 3, 17, &d);
    assert_true(is_same_draw(&d, &none));
    assert_false(m2s_augment_moves(&o));
}

static void test_options(void **state)
{
    m2snet_augment_options o;
    m2s_mask_coding c = { .kind = M2S_MASK_SIGMOID, .labels = { 3, 3 }, .label_count = 2 };
    m2snet_error error;

    (void)state;
    REFUSE(m2s_augment_preset("strong", &o, &error), INVALID, "\"strong\"");
    OK(m2snet_augment_options_init(&o, "released", &error));
    assert_true(m2s_augment_moves(&o));
    assert_true(fabs(o.mean[0] * 255.0 - 124.55) < 1e-12 && fabs(o.std[2] * 255.0 - 57.5) < 1e-12);
    o.rotate_degrees = NAN;
    REFUSE(m2s_augment_check(&o, &error), INVALID, "rotate_degrees");
    OK(m2snet_augment_options_init(&o, "none", &error));
    o.crop_low = 0.9, o.crop_high = 0.8;
    REFUSE(m2s_augment_check(&o, &error), INVALID, "crop_low is 0.9, expected 0.05 to 0.8");
    o.crop_low = 0.0;
    REFUSE(m2s_augment_check(&o, &error), INVALID, "crop_low");
    OK(m2snet_augment_options_init(&o, "none", &error));
    o.std[1] = 0.0;
    REFUSE(m2s_augment_check(&o, &error), INVALID, "std[1]");
    REFUSE(m2s_mask_coding_check(&c, &error), INVALID, "label 3 is listed twice");
    c.label_count = 65;
    REFUSE(m2s_mask_coding_check(&c, &error), INVALID, "label_count is 65");
    c = (m2s_mask_coding){ .threshold = 256 };
    REFUSE(m2s_mask_coding_check(&c, &error), INVALID, "threshold is 256");
    c = (m2s_mask_coding){ .kind = (m2s_mask_kind)7 };
    REFUSE(m2s_mask_coding_check(&c, &error), INVALID, "kind is 7");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact_moves),
        cmocka_unit_test(test_crop),
        cmocka_unit_test(test_resize_by_hand),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_released_against_truth),
        cmocka_unit_test(test_maps_chain),
        cmocka_unit_test(test_masks_of_labels),
        cmocka_unit_test(test_colour),
        cmocka_unit_test(test_blur_and_noise),
        cmocka_unit_test(test_draws),
        cmocka_unit_test(test_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
