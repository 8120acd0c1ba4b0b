/* SPDX-License-Identifier: Apache-2.0
 * lib/train/augment_levels, patch, and order NNUNET of lib/train/augment: changes of levels against float64 truth, what
 * is drawn how often, where patches lie, labels after a turn, sizes of patches. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/api_fixture.h"
#include "common/dataset_fixture.h"
#include "core/rng.h"
#include "train/augment_levels.h"
#include "train/augment_map.h"
#include "train/patch.h"

#define MAX_PIXELS 1024

static uint64_t hash_of(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (; *name != '\0'; name++) {
        hash = (hash ^ (uint8_t)*name) * 0x100000001b3u;
    }
    return hash;
}

/* ---- levels ---- */

/* Truth: tests/data/augment/make_levels.py. Levels lie in -0.5..2; blur and interpolation are sums of up to 225
 * products in float32, gamma divides by a range of 1 after them; normalising there and back costs a few roundings more.
 */
static void test_levels_against_truth(void **state)
{
    const double mean[3] = { 0.485, 0.456, 0.406 }, std[3] = { 0.229, 0.224, 0.225 };
    FILE *file = fopen(M2S_TEST_DATA "/augment/levels.txt", "r");
    float image[3 * MAX_PIXELS], buffer[2 * MAX_PIXELS];
    int height, width, cases = 0;
    double worst = 0.0;

    (void)state;
    assert_non_null(file);
    while (fscanf(file, " case %d %d", &height, &width) == 2) {
        m2s_levels_draw draw = { 0 };
        for (int c = 0; c < 3; c++) {
            assert_int_equal(fscanf(file, "%lf %lf %lf %lf %lf %lf", &draw.blur_sigma_px[c], &draw.brightness[c],
                                    &draw.contrast[c], &draw.low_resolution[c], &draw.gamma_inverted[c],
                                    &draw.gamma[c]),
                             6);
        }
        assert_true(m2s_levels_scratch(height, width) <= 2 * MAX_PIXELS);
        for (int i = 0; i < 3 * height * width; i++) {
            double u = (double)(m2s_rng_bits(hash_of("levels"), (uint64_t)i) >> 40) / 16777216.0;
            image[i] = (float)((u - mean[i % 3]) / std[i % 3]);
        }
        m2s_levels_apply(&draw, 1, mean, std, height, width, image, buffer);
        for (int i = 0; i < 3 * height * width; i++) {
            double truth, actual = (double)image[i] * std[i % 3] + mean[i % 3];
            assert_int_equal(fscanf(file, "%lf", &truth), 1);
            worst = fmax(worst, fabs(actual - truth));
        }
        cases++;
    }
    fclose(file);
    print_message("  largest difference %.3g\n", worst);
    assert_int_equal(cases, 5);
    assert_true(worst < 1e-6);
}

static void test_noise_is_that_of_the_stream(void **state)
{
    const double mean[3] = { 0.5, 0.5, 0.5 }, std[3] = { 0.25, 0.5, 1.0 };
    const m2s_levels_draw draw = { .noise_std = 0.1 };
    float image[3 * MAX_PIXELS] = { 0 }, again[3 * MAX_PIXELS] = { 0 }, buffer[2 * MAX_PIXELS];
    double sum[3] = { 0 }, squares[3] = { 0 };

    (void)state;
    m2s_levels_apply(&draw, 7, mean, std, 32, 32, image, buffer);
    m2s_levels_apply(&draw, 7, mean, std, 32, 32, again, buffer);
    assert_memory_equal(image, again, sizeof image);
    for (int i = 0; i < 3 * MAX_PIXELS; i++) {
        double level = (double)image[i] * std[i % 3];
        sum[i % 3] += level;
        squares[i % 3] += level * level;
    }
    for (int c = 0; c < 3; c++) { /* 1024 numbers: a mean's deviation is 0.0031, a deviation's 0.0022 */
        assert_true(fabs(sum[c] / MAX_PIXELS) < 0.015);
        assert_true(fabs(sqrt(squares[c] / MAX_PIXELS) - 0.1) < 0.01);
    }
    m2s_levels_apply(&draw, 8, mean, std, 32, 32, again, buffer);
    assert_memory_not_equal(image, again, sizeof image);
}

/* ---- draws ---- */

typedef struct tally {
    int rotated, scaled, zoomed_out, noise, blur, blurred, brightness, contrast, low, lowered, inverted, gamma, flips;
    int below_one, gammas;
} tally;

/* Of 20000 draws each share is within 0.02 of its probability: five standard deviations of the worst, 0.5. */
static void test_probabilities(void **state)
{
    enum { DRAWS = 20000 };
    m2snet_augment_options o;
    tally t = { 0 };
    m2snet_error error;

    (void)state;
    OK(m2s_augment_preset("nnunet", &o, &error));
    OK(m2s_augment_check(&o, &error));
    assert_true(m2s_augment_moves(&o));
    for (int i = 0; i < DRAWS; i++) {
        m2s_draw d;
        m2s_augment_draw(&o, 3, (uint64_t)(i / 100), (uint64_t)(i % 100), &d);
        const m2s_levels_draw *l = &d.levels;
        t.rotated += d.rotate_degrees != 0.0;
        t.scaled += d.scale != 1.0;
        t.zoomed_out += d.scale > 1.0;
        t.flips += d.flip_horizontal + d.flip_vertical;
        t.noise += l->noise_std > 0.0;
        bool blur = false, low = false;
        for (int c = 0; c < 3; c++) {
            blur = blur || l->blur_sigma_px[c] > 0.0;
            low = low || l->low_resolution[c] > 0.0;
            t.blurred += l->blur_sigma_px[c] > 0.0;
            t.lowered += l->low_resolution[c] > 0.0;
            t.gammas += l->gamma[c] > 0.0;
            t.below_one += l->gamma[c] > 0.0 && l->gamma[c] < 1.0;
            assert_true(l->blur_sigma_px[c] == 0.0 || (l->blur_sigma_px[c] >= 0.5 && l->blur_sigma_px[c] <= 1.0));
            assert_true(l->low_resolution[c] == 0.0 || (l->low_resolution[c] >= 0.5 && l->low_resolution[c] <= 1.0));
            assert_true(l->gamma[c] == 0.0 || (l->gamma[c] >= 0.7 && l->gamma[c] <= 1.5));
            assert_true(l->contrast[c] == 0.0 || (l->contrast[c] >= 0.75 && l->contrast[c] <= 1.25));
        }
        t.blur += blur;
        t.low += low;
        t.brightness += l->brightness[0] > 0.0;
        t.contrast += l->contrast[2] > 0.0;
        t.inverted += l->gamma_inverted[1] > 0.0;
        t.gamma += l->gamma[1] > 0.0;
        assert_true(d.scale >= 0.7 && d.scale <= 1.4 && fabs(d.rotate_degrees) <= 180.0);
        assert_true(l->noise_std <= 0.1);
        /* What the other order would do is left alone. */
        assert_true(d.brightness == 1.0 && d.contrast == 1.0 && d.saturation == 1.0 && d.hue == 0.0);
        assert_true(d.blur_sigma_px == 0.0 && d.noise_std == 0.0 && d.crop_side == 1.0);
    }
    const struct {
        int count;
        double share;
    } shares[] = {
        { t.rotated, 0.2 },
        { t.scaled, 0.2 },
        { t.zoomed_out, 0.2 * 4.0 / 7.0 },
        { t.flips / 2, 0.5 },
        { t.noise, 0.1 },
        { t.blur, 0.2 * 7.0 / 8.0 },
        { t.blurred / 3, 0.1 },
        { t.brightness, 0.15 },
        { t.contrast, 0.15 },
        { t.low, 0.25 * 7.0 / 8.0 },
        { t.lowered / 3, 0.125 },
        { t.inverted, 0.1 },
        { t.gamma, 0.3 },
    };
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        assert_true(fabs((double)shares[i].count / DRAWS - shares[i].share) < 0.02);
    }
    assert_true(fabs((double)t.below_one / t.gammas - 0.5) < 0.03);
}

/* ---- geometry ---- */

static m2s_picture *blank_picture(m2s_memory *memory, int32_t width, int32_t height)
{
    m2s_picture *p = m2s_alloc(memory, M2S_PICTURE_BYTES(width, height));

    p->width = width;
    p->height = height;
    memset(p->rgbm, 0, 4 * (size_t)width * (size_t)height);
    return p;
}

static void test_a_patch_is_its_window(void **state)
{
    m2s_memory memory;
    m2s_augment_scratch room = { .memory = &memory };
    m2snet_augment_options o;
    m2s_draw d = M2S_DRAW_NONE;
    const m2s_mask_coding coding = { .kind = M2S_MASK_SOFTMAX, .labels = { 80, 160 }, .label_count = 2 };
    float image[3 * 48], mask[3 * 48];
    m2snet_error error;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    m2s_picture *p = blank_picture(&memory, 20, 10);
    for (int i = 0; i < 200; i++) {
        p->rgbm[4 * i] = (uint8_t)i;
        p->rgbm[4 * i + 3] = (uint8_t)(i % 3);
    }
    OK(m2s_augment_preset("nnunet", &o, &error));
    d.is_patch = true;
    d.patch_x = 15;
    d.patch_y = -2;
    OK(m2s_augment_apply(&o, &d, p, &coding, 6, 8, &room, image, mask, &error));
    for (int y = 0; y < 6; y++) {
        for (int x = 0; x < 8; x++) {
            int sx = 15 + x, sy = y - 2, at = y * 8 + x;
            bool inside = sx < 20 && sy >= 0;
            double level = inside ? ((sy * 20 + sx) / 255.0 - o.mean[0]) / o.std[0] : 0.0;
            assert_true(fabs((double)image[3 * at] - level) < 1e-6);
            for (int c = 0; c < 3; c++) {
                assert_true(mask[3 * at + c] == (c == (inside ? (sy * 20 + sx) % 3 : 0) ? 1.0f : 0.0f));
            }
        }
    }
    /* Half a turn about the patch's centre, twice as much of the picture. */
    d.rotate_degrees = 180.0;
    d.scale = 2.0;
    m2s_map map = m2s_map_move(&d, false, 8, 6, 20, 10);
    for (int i = 0; i < 8; i++) {
        assert_true(fabs(map.xx * i + map.x0 - (18.5 - 2.0 * (i - 3.5))) < 1e-9);
    }
    m2s_augment_scratch_release(&room);
    m2s_free(&memory, p);
}

/* Between four pixels the label with most weight wins, also when no single neighbour is nearest. */
static void test_labels_by_weight(void **state)
{
    m2s_memory memory;
    m2s_augment_scratch room = { .memory = &memory };
    m2snet_augment_options o;
    m2s_draw d = M2S_DRAW_NONE;
    const m2s_mask_coding coding = { .kind = M2S_MASK_SOFTMAX, .labels = { 80, 160 }, .label_count = 2 };
    float image[3 * 64], mask[3 * 64];
    m2snet_error error;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    m2s_picture *p = blank_picture(&memory, 8, 8);
    for (int i = 0; i < 64; i++) {
        p->rgbm[4 * i + 3] = (uint8_t)(i / 8 < 4 ? 1 : i % 8 < 4 ? 2 : 0);
    }
    OK(m2s_augment_preset("nnunet", &o, &error));
    d.rotate_degrees = 45.0;
    OK(m2s_augment_apply(&o, &d, p, &coding, 8, 8, &room, image, mask, &error));
    m2s_map map = m2s_map_move(&d, false, 8, 8, 8, 8);
    for (int i = 0; i < 64; i++) {
        double x = map.xx * (i % 8) + map.xy * (i / 8) + map.x0, y = map.yx * (i % 8) + map.yy * (i / 8) + map.y0;
        double weight[3] = { 0 };
        for (int k = 0; k < 64; k++) {
            double w = fmax(0.0, 1.0 - fabs(x - k % 8)) * fmax(0.0, 1.0 - fabs(y - (double)(k / 8)));
            weight[p->rgbm[4 * k + 3]] += w;
        }
        weight[0] += 1.0 - weight[0] - weight[1] - weight[2]; /* outside is background */
        int most = 0, ones = 0;
        for (int c = 0; c < 3; c++) {
            most = weight[c] > weight[most] ? c : most;
            ones += mask[3 * i + c] == 1.0f;
        }
        assert_int_equal(ones, 1);
        for (int c = 0; c < 3; c++) { /* near a tie either will do */
            assert_true(c == most || mask[3 * i + c] == 0.0f || fabs(weight[c] - weight[most]) < 1e-5);
        }
    }
    m2s_augment_scratch_release(&room);
    m2s_free(&memory, p);
}

/* ---- where patches lie ---- */

static void test_places(void **state)
{
    m2s_memory memory;
    int hits[2] = { 0 }, least_x = 1000, most_x = -1000, least_y = 1000, most_y = -1000;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    m2s_picture *p = blank_picture(&memory, 200, 100);
    for (int i = 0; i < 30; i++) { /* thirty pixels of class 1, one of class 2: each class has the same chance */
        p->rgbm[4 * (50 * 200 + 100 + i) + 3] = 1;
    }
    p->rgbm[4 * (97 * 200 + 10) + 3] = 2;
    for (uint64_t i = 0; i < 4000; i++) {
        int32_t x, y;
        m2s_patch_place(p, false, true, 0.0, 34, 68, i, &x, &y);
        /* The window is 80 x 40: with a turn of nothing, 1 / 0.85 of the patch. Its middle is the pixel. */
        bool second = y == 97 - 20 + 3;
        hits[second]++;
        if (second) {
            assert_int_equal(x, -6 + 6); /* 10 - 40 would begin further left than the window may */
        } else {
            assert_int_equal(y, 50 - 20 + 3);
            assert_true(x >= 100 - 40 + 6 && x < 130 - 40 + 6);
        }
        m2s_patch_place(p, false, false, 0.0, 34, 68, i, &x, &y);
        least_x = x < least_x ? x : least_x;
        most_x = x > most_x ? x : most_x;
        least_y = y < least_y ? y : least_y;
        most_y = y > most_y ? y : most_y;
    }
    assert_true(abs(hits[0] - 2000) < 160); /* five deviations */
    /* Anywhere, and no further: windows 12 and 6 px larger, half of it beyond the edges. */
    assert_int_equal(least_x, -6 + 6);
    assert_int_equal(most_x, 200 + 6 - 80 + 6);
    assert_int_equal(least_y, -3 + 3);
    assert_int_equal(most_y, 100 + 3 - 40 + 3);
    /* A picture smaller than the patch is in its middle. */
    m2s_picture *small = blank_picture(&memory, 20, 20);
    for (uint64_t i = 0; i < 20; i++) {
        int32_t x, y;
        m2s_patch_place(small, true, true, 180.0, 64, 64, i, &x, &y); /* without foreground: anywhere */
        assert_true(abs(x - (10 - 32)) <= 1 && abs(y - (10 - 32)) <= 1);
    }
    m2s_free(&memory, small);
    m2s_free(&memory, p);
}

/* ---- how large patches are ---- */

static void test_sizes(void **state)
{
    static const int32_t all[4] = { 0, 1, 2, 3 };
    dataset_files files;
    m2snet_dataset *data;
    m2snet_source_options source;
    int32_t height, width;
    m2snet_error error;

    (void)state;
    dataset_files_make(&files);
    dataset_pair(&files, "a", 100, 70, 1);
    dataset_pair(&files, "b", 210, 90, 2);
    dataset_pair(&files, "c", 150, 80, 3);
    dataset_text(&files, "images/d.png", "no picture");
    dataset_text(&files, "masks/d.png", "no mask");
    m2snet_context *context = open_context("cpu", 2);
    OK(m2s_dataset_create(context, &data, &error));
    m2s_source_options_default(&source);
    OK(m2s_dataset_add_folders(data, dataset_path(&files, "images"), dataset_path(&files, "masks"), &source, &error));
    OK(m2s_patch_size(data, all, 4, 0, NULL, &height, &width, &error));
    assert_int_equal(width, 160);
    assert_int_equal(height, 96); /* 80 is 2.5 times 32: up */
    OK(m2s_patch_size(data, all, 2, 0, NULL, &height, &width, &error));
    assert_int_equal(width, 160); /* between 100 and 210 */
    assert_int_equal(height, 96);
    REFUSE(m2s_patch_size(data, all + 3, 1, 0, NULL, &height, &width, &error), M2SNET_STATUS_MISMATCH,
           "none of 1 pictures");
    m2s_dataset_destroy(data);
    m2snet_context_destroy(context);
    dataset_files_remove(&files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels_against_truth),
        cmocka_unit_test(test_noise_is_that_of_the_stream),
        cmocka_unit_test(test_probabilities),
        cmocka_unit_test(test_a_patch_is_its_window),
        cmocka_unit_test(test_labels_by_weight),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_sizes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
