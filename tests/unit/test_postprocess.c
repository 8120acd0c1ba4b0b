/* SPDX-License-Identifier: Apache-2.0
 * Logits become maps, masks, components, outlines. */
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
#include "image/components.h"
#include "image/postprocess.h"
#include "image/preprocess.h"
#include "image/resample.h"

#define HIGH 2.0f /* p = 0.8808, q = 224 */
#define LOW  (-2.0f)

static const m2s_postprocess_options plain = { .threshold = 0.5, .presence_min_area_px = 1 };

/* Rows of '#' and anything else, parted by '/', as logits. */
static float *draw(const char *text, int32_t *width, int32_t *height)
{
    const char *slash = strchr(text, '/');

    *width = (int32_t)(slash != NULL ? slash - text : (ptrdiff_t)strlen(text));
    *height = (int32_t)((strlen(text) + 1) / (size_t)(*width + 1));
    float *logits = malloc((size_t)*width * (size_t)*height * sizeof *logits);
    assert_non_null(logits);
    for (int32_t y = 0; y < *height; y++) {
        for (int32_t x = 0; x < *width; x++) {
            logits[y * *width + x] = text[y * (*width + 1) + x] == '#' ? HIGH : LOW;
        }
    }
    return logits;
}

static m2snet_status segment(image_fixture *f, const char *text, const m2s_postprocess_options *options,
                             m2s_segmentation *result)
{
    int32_t width, height;
    float *logits = draw(text, &width, &height);
    m2snet_status status =
        m2s_postprocess(&f->host, logits, 1, width, height, width, height, options, NULL, result, &f->error);

    free(logits);
    return status;
}

static void assert_mask(const m2s_segmentation *result, const char *text)
{
    for (int32_t y = 0; y < result->height; y++) {
        for (int32_t x = 0; x < result->width; x++) {
            int expected = text[y * (result->width + 1) + x] == '#' ? 255 : 0;
            if (result->mask[y * result->width + x] != expected) {
                fail_msg("mask at (%d, %d) is not %d", x, y, expected);
            }
        }
    }
}

static void assert_outline(m2s_segmentation *result, int32_t index, const int32_t *expected, int32_t expected_count)
{
    const int32_t *points;
    int32_t count;
    m2snet_error error;

    assert_int_equal(m2s_segmentation_outline(result, index, &points, &count, &error), 0);
    assert_int_equal(count, expected_count);
    assert_memory_equal(points, expected, (size_t)count * 2 * sizeof *points);
    const int32_t *again;
    assert_int_equal(m2s_segmentation_outline(result, index, &again, &count, &error), 0);
    assert_ptr_equal(again, points);
}

static void test_values(void **state)
{
    static const float logits[8] = { 0.0f, 1.0f, -1.0f, 100.0f, -100.0f, 0.01f, -0.01f, 5.5f };
    image_fixture f;
    m2s_segmentation result;

    (void)state;
    image_fixture_begin(&f, 2);
    assert_int_equal(m2s_postprocess(&f.host, logits, 1, 4, 2, 4, 2, &plain, NULL, &result, &f.error), 0);
    for (int i = 0; i < 8; i++) {
        /* expf is within one unit in the last place of exp, and 1/(1+e) shrinks that error. */
        double exact = 1.0 / (1.0 + exp(-(double)logits[i]));
        assert_true(fabs((double)result.probability[i] - exact) <= 1.2e-7);
        assert_int_equal(result.map[i], (uint8_t)(result.probability[i] * 255.0f));
        assert_int_equal(result.mask[i], result.map[i] >= 128 ? 255 : 0);
    }
    assert_int_equal(result.map[0], 127); /* truncated, and ceil(127.5) = 128: logit 0 is outside at 0.5 */
    assert_int_equal(result.map[3], 255);
    assert_int_equal(result.map[4], 0);
    m2s_segmentation_release(&result);
    image_fixture_end(&f);
}

static void test_one_class_of_several(void **state)
{
    static const float logits[6] = { -9.0f, HIGH, 3.0f, 4.0f, LOW, 9.0f };
    image_fixture f;
    m2s_segmentation result;

    (void)state;
    image_fixture_begin(&f, 0);
    assert_int_equal(m2s_postprocess(&f.host, logits + 1, 3, 2, 1, 2, 1, &plain, NULL, &result, &f.error), 0);
    assert_mask(&result, "#.");
    m2s_segmentation_release(&result);
    image_fixture_end(&f);
}

/* Both maps equal the resizers applied to the small maps, for any number of threads. */
static void test_resizing(void **state)
{
    enum { W = 40, H = 30, BIG_W = 131, BIG_H = 77 };
    float logits[W * H], probability[W * H];
    uint8_t map[W * H];
    m2s_segmentation first;
    image_fixture first_fixture;

    (void)state;
    for (int i = 0; i < W * H; i++) {
        logits[i] = 4.0f * sinf((float)i * 0.37f);
        probability[i] = 1.0f / (1.0f + expf(-logits[i]));
        map[i] = (uint8_t)(probability[i] * 255.0f);
    }
    image_fixture_begin(&first_fixture, 0);
    assert_int_equal(
        m2s_postprocess(&first_fixture.host, logits, 1, W, H, BIG_W, BIG_H, &plain, NULL, &first, &first_fixture.error),
        0);
    uint8_t *big_map = malloc(BIG_W * BIG_H);
    float *big_probability = malloc(BIG_W * BIG_H * sizeof *big_probability);
    assert_true(big_map != NULL && big_probability != NULL);
    m2snet_image from = { .data = map, .width = W, .height = H, .format = M2SNET_PIXEL_GRAY8 };
    m2snet_image to = { .data = big_map, .width = BIG_W, .height = BIG_H, .format = M2SNET_PIXEL_GRAY8 };
    assert_int_equal(m2s_image_resize(&first_fixture.host, &from, &to, NULL, NULL), 0);
    assert_int_equal(m2s_resize_f32(&first_fixture.host, probability, W * 4, W, H, big_probability, BIG_W * 4, BIG_W,
                                    BIG_H, NULL, "test", NULL),
                     0);
    assert_memory_equal(first.map, big_map, BIG_W * BIG_H);
    assert_memory_equal(first.probability, big_probability, BIG_W * BIG_H * sizeof *big_probability);
    free(big_map);
    free(big_probability);
    for (int threads = 1; threads <= 3; threads++) {
        image_fixture f;
        m2s_segmentation result;
        image_fixture_begin(&f, threads);
        assert_int_equal(m2s_postprocess(&f.host, logits, 1, W, H, BIG_W, BIG_H, &plain, NULL, &result, &f.error), 0);
        assert_memory_equal(result.map, first.map, BIG_W * BIG_H);
        assert_memory_equal(result.probability, first.probability, BIG_W * BIG_H * sizeof *first.probability);
        assert_true(result.presence == first.presence);
        m2s_segmentation_release(&result);
        image_fixture_end(&f);
    }
    m2s_segmentation_release(&first);
    image_fixture_end(&first_fixture);
}

static void test_threshold(void **state)
{
    static const double thresholds[] = { 0.0, 1.0, 0.5, 0.878, 0.879 };
    static const char *const masks[] = { "###", "...", "#..", "#..", "..." }; /* q is 224 and 30 */
    image_fixture f;

    (void)state;
    image_fixture_begin(&f, 0);
    for (size_t i = 0; i < 5; i++) {
        m2s_postprocess_options options = plain;
        m2s_segmentation result;
        options.threshold = thresholds[i];
        assert_int_equal(segment(&f, "#..", &options, &result), 0);
        assert_mask(&result, masks[i]);
        m2s_segmentation_release(&result);
    }
    image_fixture_end(&f);
}

static void test_components(void **state)
{
    static const char text[] = "##....#/"
                               "#....#./"
                               "......./"
                               ".###..#/"
                               "..#...#/"
                               ".......";
    image_fixture f;
    m2s_segmentation result;
    m2s_postprocess_options options = plain;

    (void)state;
    options.spacing_y_mm = 0.5;
    options.spacing_x_mm = 0.25;
    image_fixture_begin(&f, 0);
    assert_int_equal(segment(&f, text, &options, &result), 0);
    assert_int_equal(result.component_count, 4);
    const m2snet_component *c = &result.components[0].info;
    assert_int_equal(c->area_px, 4);
    assert_true(c->area_mm2 == 0.5);
    assert_int_equal(c->x, 1);
    assert_int_equal(c->y, 3);
    assert_int_equal(c->width, 3);
    assert_int_equal(c->height, 2);
    assert_true(c->centroid_x == 2.5 && c->centroid_y == 3.75);
    assert_true(c->mean_probability == (double)result.probability[0]);
    assert_int_equal(c->struct_size, sizeof *c);
    static const int32_t order[][4] = { { 4, 1, 3, 3 }, { 3, 0, 0, 2 }, { 2, 5, 0, 2 }, { 2, 6, 3, 1 } };
    for (int i = 0; i < 4; i++) {
        c = &result.components[i].info;
        assert_int_equal(c->area_px, order[i][0]);
        assert_int_equal(c->x, order[i][1]);
        assert_int_equal(c->y, order[i][2]);
        assert_int_equal(c->width, order[i][3]);
    }
    const int32_t *points;
    int32_t count;
    assert_int_equal(m2s_segmentation_outline(&result, 4, &points, &count, &f.error), M2SNET_STATUS_INVALID_ARGUMENT);
    assert_int_equal(m2s_segmentation_outline(&result, -1, &points, &count, &f.error), M2SNET_STATUS_INVALID_ARGUMENT);
    m2s_segmentation_release(&result);

    assert_int_equal(segment(&f, "..", &plain, &result), 0);
    assert_int_equal(result.component_count, 0);
    m2s_segmentation_release(&result);
    assert_int_equal(segment(&f, "#", &plain, &result), 0);
    assert_int_equal(result.component_count, 1);
    assert_true(result.components[0].info.area_mm2 == -1.0);
    m2s_segmentation_release(&result);
    image_fixture_end(&f);
}

/* Arms that meet only far from where they begin, and diagonals: one component. */
static void test_components_that_join_late(void **state)
{
    static const char *const shapes[] = {
        "#.#.#/#.#.#/#####",
        "#...#/.#.#./..#..",
        "#####/#...#/#.#.#/#.#.#/###.#",
        "..#../.#.#./#...#/.#.#./..#..",
    };
    image_fixture f;

    (void)state;
    image_fixture_begin(&f, 0);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        m2s_segmentation result;
        assert_int_equal(segment(&f, shapes[i], &plain, &result), 0);
        assert_int_equal(result.component_count, 1);
        m2s_segmentation_release(&result);
    }
    image_fixture_end(&f);
}

/* Against a flood fill, on noise of several densities. */
static void test_components_against_flood_fill(void **state)
{
    enum { W = 61, H = 37 };
    static int32_t stack[W * H * 8];
    static int32_t label[W * H];
    uint8_t mask[W * H];
    uint32_t seed = 7;
    image_fixture f;

    (void)state;
    image_fixture_begin(&f, 0);
    for (uint32_t density = 0; density <= 256; density += 16) {
        for (int kind = 0; kind < 2; kind++) {
            m2s_labels labels;
            int32_t count = 0;
            for (int i = 0; i < W * H; i++) {
                seed = seed * 1664525u + 1013904223u;
                mask[i] = seed >> 24 < density ? 255 : 0;
                label[i] = -1;
            }
            for (int32_t i = 0; i < W * H; i++) {
                if ((mask[i] != 0) != (kind == 0) || label[i] >= 0) {
                    continue;
                }
                int32_t depth = 0;
                stack[depth++] = i;
                while (depth > 0) {
                    int32_t at = stack[--depth];
                    if (label[at] >= 0) {
                        continue;
                    }
                    label[at] = count;
                    for (int32_t dy = -1; dy <= 1; dy++) {
                        for (int32_t dx = -1; dx <= 1; dx++) {
                            int32_t x = at % W + dx, y = at / W + dy;
                            bool is_diagonal = dx != 0 && dy != 0;
                            if (x >= 0 && y >= 0 && x < W && y < H && !(kind == 1 && is_diagonal) &&
                                (mask[y * W + x] != 0) == (kind == 0) && label[y * W + x] < 0) {
                                stack[depth++] = y * W + x;
                            }
                        }
                    }
                }
                count++;
            }
            assert_int_equal(m2s_label_mask(&f.memory, mask, W, H, (m2s_region_kind)kind, NULL, &labels, &f.error), 0);
            assert_int_equal(labels.count, count);
            int covered = 0;
            for (int32_t y = 0; y < H; y++) {
                for (uint32_t i = labels.first[y]; i < labels.first[y + 1]; i++) {
                    for (int32_t x = labels.runs[i].begin; x < labels.runs[i].end; x++) {
                        assert_int_equal(labels.runs[i].label, label[y * W + x]);
                        covered++;
                    }
                }
            }
            for (int i = 0; i < W * H; i++) {
                covered -= label[i] >= 0;
            }
            assert_int_equal(covered, 0);
            m2s_labels_release(&labels);
        }
    }
    image_fixture_end(&f);
}

static void test_dropping_components(void **state)
{
    static const char text[] = "##..#/"
                               "#..../"
                               "...##";
    image_fixture f;
    m2s_segmentation result;
    m2s_postprocess_options options = plain;

    (void)state;
    image_fixture_begin(&f, 0);
    options.min_area_px = 1.5;
    assert_int_equal(segment(&f, text, &options, &result), 0);
    assert_mask(&result, "##.../#..../...##");
    assert_int_equal(result.component_count, 2);
    m2s_segmentation_release(&result);
    options.largest_component = true;
    assert_int_equal(segment(&f, text, &options, &result), 0);
    assert_mask(&result, "##.../#..../.....");
    assert_int_equal(result.component_count, 1);
    m2s_segmentation_release(&result);
    options.min_area_px = 4;
    assert_int_equal(segment(&f, text, &options, &result), 0);
    assert_mask(&result, "...../...../.....");
    assert_int_equal(result.component_count, 0);
    assert_true(result.found); /* judged before anything is taken away */
    assert_true(result.presence > 0.8);
    m2s_segmentation_release(&result);
    image_fixture_end(&f);
}

static void test_presence(void **state)
{
    image_fixture f;
    m2s_segmentation result;
    m2s_postprocess_options options = plain;
    float logits[100];

    (void)state;
    image_fixture_begin(&f, 0);
    options.presence_min_area_px = 4;
    assert_int_equal(segment(&f, "##.../#..../...##", &options, &result), 0);
    assert_false(result.found);
    assert_true(result.presence == 0.0);
    assert_int_equal(result.component_count, 2); /* the mask keeps what is too small to count as found */
    m2s_segmentation_release(&result);

    for (int i = 0; i < 100; i++) { /* a strong small component and a weak large one: the large one counts */
        logits[i] = i < 2 ? 9.0f : i >= 50 && i < 53 ? 1.0f : -5.0f;
    }
    options.presence_min_area_px = 1;
    assert_int_equal(m2s_postprocess(&f.host, logits, 1, 10, 10, 10, 10, &options, NULL, &result, &f.error), 0);
    assert_true(result.found);
    assert_true(fabs(result.presence - 1.0 / (1.0 + exp(-1.0))) < 1e-6);
    m2s_segmentation_release(&result);

    /* The default asks for 0.0005 of the picture: 5 px of 100 x 100, here after an enlargement. */
    options.presence_min_area_px = -1;
    for (int threshold = 0; threshold < 2; threshold++) {
        float *large = malloc(10000 * sizeof *large);
        assert_non_null(large);
        for (int i = 0; i < 10000; i++) {
            large[i] = i < 4 + threshold ? HIGH : LOW;
        }
        assert_int_equal(m2s_postprocess(&f.host, large, 1, 100, 100, 100, 100, &options, NULL, &result, &f.error), 0);
        assert_int_equal(result.found, threshold == 1);
        m2s_segmentation_release(&result);
        free(large);
    }
    image_fixture_end(&f);
}

static void test_holes(void **state)
{
    static const char *const cases[][2] = {
        { "#####/#...#/#.#.#/#...#/#####", "#####/#####/#####/#####/#####" }, /* an island in the hole */
        { ".#./#.#/.#.", ".#./###/.#." },                                     /* closed by diagonals */
        { "###/#../###", "###/#../###" },                                     /* open to the border */
        { "####/#..#/#.../####", "####/#..#/#.../####" },
        { "#.#/...", "#.#/..." },
        { "#", "#" },
        { ".", "." },
    };
    image_fixture f;
    m2s_postprocess_options options = plain;

    (void)state;
    options.fill_holes = true;
    image_fixture_begin(&f, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        m2s_segmentation result;
        assert_int_equal(segment(&f, cases[i][0], &options, &result), 0);
        assert_mask(&result, cases[i][1]);
        assert_true(result.component_count <= 1 || i == 4);
        m2s_segmentation_release(&result);
    }
    image_fixture_end(&f);
}

#define OUTLINE(...)                                                                                                   \
    (const int32_t[]){ __VA_ARGS__ }, (int32_t)(sizeof((const int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t) / 2)

static void test_outlines(void **state)
{
    image_fixture f;
    m2s_segmentation result;

    (void)state;
    image_fixture_begin(&f, 0);
    assert_int_equal(segment(&f, "#", &plain, &result), 0);
    assert_outline(&result, 0, OUTLINE(0, 0, 1, 0, 1, 1, 0, 1));
    m2s_segmentation_release(&result);

    assert_int_equal(segment(&f, "..../.##./.##./....", &plain, &result), 0);
    assert_outline(&result, 0, OUTLINE(1, 1, 3, 1, 3, 3, 1, 3));
    m2s_segmentation_release(&result);

    /* Clockwise around a notch; the hole of the second picture has no part in the outer outline. */
    assert_int_equal(segment(&f, "###/#../###", &plain, &result), 0);
    assert_outline(&result, 0, OUTLINE(0, 0, 3, 0, 3, 1, 1, 1, 1, 2, 3, 2, 3, 3, 0, 3));
    m2s_segmentation_release(&result);
    assert_int_equal(segment(&f, "###/#.#/###", &plain, &result), 0);
    assert_outline(&result, 0, OUTLINE(0, 0, 3, 0, 3, 3, 0, 3));
    m2s_segmentation_release(&result);

    /* Pixels that touch by a corner belong together: the polygon passes that corner twice. */
    assert_int_equal(segment(&f, "#./.#", &plain, &result), 0);
    assert_outline(&result, 0, OUTLINE(0, 0, 1, 0, 1, 1, 2, 1, 2, 2, 1, 2, 1, 1, 0, 1));
    m2s_segmentation_release(&result);
    assert_int_equal(segment(&f, ".#/#.", &plain, &result), 0);
    assert_outline(&result, 0, OUTLINE(1, 0, 2, 0, 2, 1, 1, 1, 1, 2, 0, 2, 0, 1, 1, 1));
    m2s_segmentation_release(&result);
    image_fixture_end(&f);
}

/* The area inside the outline of a component without holes is its area (shoelace; clockwise on the screen = positive
 * with y down). */
static void test_outline_areas(void **state)
{
    enum { W = 32, H = 24 };
    float logits[W * H];
    uint32_t seed = 3;
    m2s_postprocess_options options = plain;

    (void)state;
    options.fill_holes = true;
    for (int round = 0; round < 50; round++) {
        image_fixture f;
        m2s_segmentation result;
        image_fixture_begin(&f, 0);
        for (int i = 0; i < W * H; i++) {
            seed = seed * 1664525u + 1013904223u;
            logits[i] = seed >> 24 < 110 ? HIGH : LOW;
        }
        assert_int_equal(m2s_postprocess(&f.host, logits, 1, W, H, W, H, &options, NULL, &result, &f.error), 0);
        for (int32_t c = 0; c < result.component_count; c++) {
            const int32_t *p;
            int32_t n;
            int64_t doubled = 0;
            assert_int_equal(m2s_segmentation_outline(&result, c, &p, &n, &f.error), 0);
            for (int32_t i = 0; i < n; i++) {
                int32_t j = (i + 1) % n;
                doubled += (int64_t)p[2 * i] * p[2 * j + 1] - (int64_t)p[2 * j] * p[2 * i + 1];
                assert_true((p[2 * i] == p[2 * j]) != (p[2 * i + 1] == p[2 * j + 1]));
            }
            assert_int_equal(doubled, 2 * result.components[c].info.area_px);
        }
        m2s_segmentation_release(&result);
        image_fixture_end(&f);
    }
}

static void test_region(void **state)
{
    float logits[16];
    image_fixture f;
    m2s_segmentation result;
    m2s_postprocess_options options = plain;

    (void)state;
    for (int i = 0; i < 16; i++) {
        logits[i] = HIGH;
    }
    image_fixture_begin(&f, 0);
    options.threshold = 0.0;
    options.region = (m2s_rect){ 2, 1, 3, 2 };
    assert_int_equal(m2s_postprocess(&f.host, logits, 1, 4, 4, 7, 5, &options, NULL, &result, &f.error), 0);
    assert_mask(&result, "......./..###../..###../......./.......");
    for (int32_t y = 0; y < 5; y++) {
        for (int32_t x = 0; x < 7; x++) {
            bool inside = x >= 2 && x < 5 && y >= 1 && y < 3;
            assert_int_equal(result.map[y * 7 + x], inside ? 224 : 0);
            assert_true((result.probability[y * 7 + x] > 0.5f) == inside);
        }
    }
    m2s_segmentation_release(&result);
    options.region.width = 6;
    assert_int_equal(m2s_postprocess(&f.host, logits, 1, 4, 4, 7, 5, &options, NULL, &result, &f.error),
                     M2SNET_STATUS_INVALID_ARGUMENT);
    assert_null(result.mask);
    image_fixture_end(&f);
}

static void test_logits_that_are_no_numbers(void **state)
{
    float logits[12] = { 0 };
    const float bad[] = { NAN, INFINITY, -INFINITY };

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        image_fixture f;
        m2s_segmentation result;
        image_fixture_begin(&f, (int)i);
        logits[7] = logits[10] = bad[i];
        assert_int_equal(m2s_postprocess(&f.host, logits, 1, 4, 3, 40, 30, &plain, NULL, &result, &f.error),
                         M2SNET_STATUS_INVALID_ARGUMENT);
        assert_true(strstr(f.error.message, "not finite") != NULL);
        assert_true(strstr(f.error.message, "row 1, column 3") != NULL);
        assert_null(result.map);
        image_fixture_end(&f);
    }
}

static void test_options_that_make_no_sense(void **state)
{
    m2s_postprocess_options bad[10];
    size_t n = 0;
    m2snet_error error;

    (void)state;
    for (size_t i = 0; i < 10; i++) {
        bad[i] = plain;
    }
    bad[n++].threshold = -0.1;
    bad[n++].threshold = 1.1;
    bad[n++].threshold = NAN;
    bad[n++].min_area_px = -1;
    bad[n++].min_area_px = INFINITY;
    bad[n++].presence_min_area_px = NAN;
    bad[n++].spacing_x_mm = 1;
    bad[n].spacing_x_mm = -1;
    bad[n++].spacing_y_mm = -1;
    bad[n].spacing_x_mm = NAN;
    bad[n++].spacing_y_mm = 1;
    bad[n++].region.width = -1;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(m2s_postprocess_check(&bad[i], 10, 10, &error), M2SNET_STATUS_INVALID_ARGUMENT);
    }
    assert_int_equal(m2s_postprocess_check(&plain, 10, 10, &error), M2SNET_STATUS_OK);
}

static m2snet_status segment_attempt(image_fixture *f, void *user)
{
    const m2s_postprocess_options *options = user;
    m2s_segmentation result;
    const int32_t *points;
    int32_t count;
    m2snet_status status = segment(f, "##.../#.#../###.#/...##", options, &result);

    if (status == M2SNET_STATUS_OK && result.component_count > 0) {
        status = m2s_segmentation_outline(&result, 0, &points, &count, &f->error);
        if (status != M2SNET_STATUS_OK) {
            assert_null(points);
        }
        m2s_segmentation_release(&result);
    }
    return status;
}

static void test_every_allocation_may_fail(void **state)
{
    image_fixture f;
    m2s_postprocess_options options = plain;

    (void)state;
    options.fill_holes = true;
    options.min_area_px = 4;
    image_fixture_begin(&f, 0);
    image_fixture_fail_each_allocation(&f, segment_attempt, &options);
    image_fixture_end(&f);
}

static void test_cancel(void **state)
{
    m2snet_cancel token;
    m2snet_control user = { NULL, NULL, &token };
    m2s_control control;
    image_fixture f;
    m2s_segmentation result;
    const float logit = 1.0f;

    (void)state;
    atomic_init(&token.requested, 1);
    m2s_control_init(&control, &user);
    image_fixture_begin(&f, 1);
    assert_int_equal(m2s_postprocess(&f.host, &logit, 1, 1, 1, 9, 9, &plain, &control, &result, &f.error),
                     M2SNET_STATUS_CANCELLED);
    assert_null(result.mask);
    image_fixture_end(&f);
}

static void test_copying_rows(void **state)
{
    static const uint8_t src[6] = { 1, 2, 3, 4, 5, 6 };
    uint8_t dst[10];

    (void)state;
    memset(dst, 9, sizeof dst);
    m2s_copy_rows(dst, 5, src, 3, 2);
    assert_memory_equal(dst, ((uint8_t[]){ 1, 2, 3, 9, 9, 4, 5, 6, 9, 9 }), 10);
    m2s_copy_rows(dst + 5, -5, src, 3, 2);
    assert_memory_equal(dst, ((uint8_t[]){ 4, 5, 6, 9, 9, 1, 2, 3, 9, 9 }), 10);
    m2s_copy_rows(dst, 0, src, 3, 2);
    assert_memory_equal(dst, src, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_one_class_of_several),
        cmocka_unit_test(test_resizing),
        cmocka_unit_test(test_threshold),
        cmocka_unit_test(test_components),
        cmocka_unit_test(test_components_that_join_late),
        cmocka_unit_test(test_components_against_flood_fill),
        cmocka_unit_test(test_dropping_components),
        cmocka_unit_test(test_presence),
        cmocka_unit_test(test_holes),
        cmocka_unit_test(test_outlines),
        cmocka_unit_test(test_outline_areas),
        cmocka_unit_test(test_region),
        cmocka_unit_test(test_logits_that_are_no_numbers),
        cmocka_unit_test(test_options_that_make_no_sense),
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_copying_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
