/* SPDX-License-Identifier: Apache-2.0
 * lib/eval/structure: both measures against their definitions written as plain loops over pixels. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/overlap.h"
#include "eval/structure.h"

/* Integer sums here, sums of doubles there. */
#define CLOSE 1e-11

static m2s_memory memory;

typedef struct picture {
    int h, w;
    uint8_t p[4096], m[4096];
    double x[4096];
} picture;

typedef struct outcome {
    m2s_s_measure s;
    double weighted;
} outcome;

static outcome measure(picture *f)
{
    m2s_scratch scratch;
    m2s_levels levels;
    m2s_plane inside;
    m2s_histogram histogram;
    m2s_weighted_sums sums;
    uint8_t low = 255, high = 0;
    outcome o;

    for (int i = 0; i < f->h * f->w; i++) {
        low = f->p[i] < low ? f->p[i] : low;
        high = f->p[i] > high ? f->p[i] : high;
    }
    m2s_scratch_init(&scratch, &memory);
    m2s_levels_default(low, high, &levels);
    for (int i = 0; i < f->h * f->w; i++) {
        f->x[i] = levels.x[f->p[i]];
    }
    assert_int_equal(m2s_plane_threshold(&scratch, M2S_SCRATCH_INSIDE, f->m, f->h, f->w, 129, &inside, NULL), 0);
    m2s_histogram_count(f->p, &inside, &histogram);
    o.s = m2s_s_measure_make(f->p, &inside, &histogram, &levels);
    assert_int_equal(m2s_weighted_sums_make(&scratch, f->p, &inside, &levels, &sums, NULL), 0);
    o.weighted = m2s_weighted_f(&sums, M2S_EPSILON);
    m2s_scratch_release(&scratch);
    assert_int_equal(atomic_load(&memory.used_bytes), 0);
    return o;
}

/* ---- the definitions ---- */

static double plain_object(const picture *f, int wanted)
{
    double n = 0, sum = 0, squares = 0;

    for (int i = 0; i < f->h * f->w; i++) {
        if ((f->m[i] > 128) == wanted) {
            sum += wanted ? f->x[i] : 1.0 - f->x[i];
            n++;
        }
    }
    double mean = sum / n;
    for (int i = 0; i < f->h * f->w; i++) {
        if ((f->m[i] > 128) == wanted) {
            double d = (wanted ? f->x[i] : 1.0 - f->x[i]) - mean;
            squares += d * d;
        }
    }
    return n / (f->h * f->w) * 2 * mean / (mean * mean + 1 + (n > 1 ? sqrt(squares / (n - 1)) : 0.0));
}

static double plain_quadrant(const picture *f, int top, int bottom, int left, int right)
{
    double n = (double)(bottom - top) * (right - left), sx = 0, sy = 0, sxy = 0, mx = 0, my = 0;

    if (n == 0) {
        return 0.0;
    }
    for (int y = top; y < bottom; y++) {
        for (int x = left; x < right; x++) {
            mx += f->x[y * f->w + x] / n;
            my += (f->m[y * f->w + x] > 128) / n;
        }
    }
    for (int y = top; y < bottom && n > 1; y++) {
        for (int x = left; x < right; x++) {
            double a = f->x[y * f->w + x] - mx, b = (f->m[y * f->w + x] > 128) - my;
            sx += a * a / (n - 1);
            sy += b * b / (n - 1);
            sxy += a * b / (n - 1);
        }
    }
    double a = 4 * mx * my * sxy, c = (mx * mx + my * my) * (sx + sy);
    double score = fabs(a) > 1e-15 ? a / (c + M2S_EPSILON) : c < 1e-15 ? 1.0 : 0.0;
    return n / (f->h * f->w) * score;
}

static double plain_s(const picture *f)
{
    double rows = 0, columns = 0, n = 0;

    for (int i = 0; i < f->h * f->w; i++) {
        if (f->m[i] > 128) {
            rows += i / f->w;
            columns += i % f->w;
            n++;
        }
    }
    int cy = (int)nearbyint(rows / n) + 1, cx = (int)nearbyint(columns / n) + 1; /* half to even */
    double region = plain_quadrant(f, 0, cy, 0, cx) + plain_quadrant(f, 0, cy, cx, f->w) +
                    plain_quadrant(f, cy, f->h, 0, cx) + plain_quadrant(f, cy, f->h, cx, f->w);
    return fmax(0.0, 0.5 * (plain_object(f, 1) + plain_object(f, 0)) + 0.5 * region);
}

static double plain_weighted(const picture *f)
{
    static double error[4096], spread[4096], distance[4096];
    double inside = 0, outside = 0, n = 0, total = 0;
    int pixels = f->h * f->w;

    for (int i = 0; i < pixels; i++) {
        int best = -1;
        double least = INFINITY;
        error[i] = fabs(f->x[i] - (f->m[i] > 128));
        for (int x = 0; x < f->w; x++) { /* columns first: the tie rule */
            for (int y = 0; y < f->h; y++) {
                double d = (double)((y - i / f->w) * (y - i / f->w) + (x - i % f->w) * (x - i % f->w));
                if (f->m[y * f->w + x] > 128 && d < least) {
                    least = d;
                    best = y * f->w + x;
                }
            }
        }
        distance[i] = sqrt(least);
        spread[i] = f->m[i] > 128 ? error[i] : fabs(f->x[best] - 1.0);
    }
    for (int v = -3; v <= 3; v++) {
        for (int u = -3; u <= 3; u++) {
            total += exp(-(u * u + v * v) / 50.0);
        }
    }
    for (int i = 0; i < pixels; i++) {
        double smooth = 0;
        for (int v = -3; v <= 3; v++) {
            for (int u = -3; u <= 3; u++) {
                int y = i / f->w + v, x = i % f->w + u;
                if (y >= 0 && y < f->h && x >= 0 && x < f->w) {
                    smooth += exp(-(u * u + v * v) / 50.0) / total * spread[y * f->w + x];
                }
            }
        }
        if (f->m[i] > 128) {
            inside += fmin(error[i], smooth);
            n++;
        } else {
            outside += error[i] * (2 - exp(log(0.5) / 5 * distance[i]));
        }
    }
    double recall = 1 - inside / n, precision = (n - inside) / (n - inside + outside + M2S_EPSILON);
    return 2 * recall * precision / (recall + precision + M2S_EPSILON);
}

/* ---- tests ---- */

static unsigned seed = 11;

static unsigned draw(unsigned below)
{
    seed = seed * 1103515245u + 12345u;
    return (seed >> 8) % below;
}

/* kind 0: noise, 1: a blob, 2: a few pixels, 3: grid of ties */
static void fill(picture *f, int h, int w, int kind)
{
    f->h = h;
    f->w = w;
    for (int i = 0; i < h * w; i++) {
        int y = i / w, x = i % w, r = (y - h / 2) * (y - h / 2) + (x - w / 3) * (x - w / 3);
        bool in = kind == 0   ? draw(2) == 0
                  : kind == 1 ? r < h * w / 9
                  : kind == 2 ? draw(60) == 0
                              : x % 6 == 0 && y % 4 == 0;
        f->m[i] = in ? 255 : 0;
        f->p[i] = (uint8_t)(kind == 1 ? 255u / (1u + (unsigned)r / 20u) : draw(256));
    }
    f->m[draw((unsigned)(h * w))] = 255;
    f->m[h * w - 1] = 0; /* neither empty nor full */
    f->m[0] = 255;
}

static void test_against_loops(void **state)
{
    static const int sizes[][2] = { { 2, 2 }, { 1, 17 }, { 23, 1 }, { 5, 7 }, { 16, 16 }, { 31, 40 }, { 47, 29 } };
    static picture f;

    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            fill(&f, sizes[i][0], sizes[i][1], kind);
            outcome o = measure(&f);
            double s = plain_s(&f), weighted = plain_weighted(&f);
            if (fabs(o.s.numpy_rounding - s) > CLOSE || fabs(o.weighted - weighted) > CLOSE) {
                fail_msg("kind %d, %d x %d: S %.15g, expected %.15g; wF %.15g, expected %.15g", kind, f.h, f.w,
                         o.s.numpy_rounding, s, o.weighted, weighted);
            }
        }
    }
}

static void test_constant_quadrants(void **state)
{
    static picture f;

    (void)state;
    /* The mask in one corner, the prediction constant everywhere else: those quadrants score exactly 1, whatever the
     * level and however its mean would round. */
    for (int level = 1; level < 255; level++) {
        f.h = 20;
        f.w = 25;
        for (int i = 0; i < f.h * f.w; i++) {
            bool in = i / f.w < 4 && i % f.w < 4;
            f.m[i] = in ? 255 : 0;
            f.p[i] = (uint8_t)(in ? (i % 2 == 0 ? 255 : 0) : level);
        }
        f.p[0] = 255;
        f.p[1] = 0;
        outcome o = measure(&f);
        double quadrant = plain_quadrant(&f, 0, 3, 0, 3);
        double object = 0.5 * (plain_object(&f, 1) + plain_object(&f, 0));
        /* mean row and column 1.5, rounded to the even 2, plus 1: split at 3; the mask reaches one row further */
        double mixed =
            plain_quadrant(&f, 0, 3, 3, f.w) + plain_quadrant(&f, 3, f.h, 0, 3) + plain_quadrant(&f, 3, f.h, 3, f.w);
        assert_true(fabs(o.s.numpy_rounding - fmax(0.0, object + 0.5 * (quadrant + mixed))) < CLOSE);
    }
}

static void test_rounding_of_the_centroid(void **state)
{
    static picture f;

    (void)state;
    fill(&f, 16, 18, 0);
    memset(f.m, 0, sizeof f.m);
    for (int y = 4; y <= 5; y++) { /* mean row 4.5: numpy 4, MATLAB 5 */
        for (int x = 6; x <= 8; x++) {
            f.m[y * f.w + x] = 255;
        }
    }
    outcome o = measure(&f);
    assert_true(fabs(o.s.numpy_rounding - plain_s(&f)) < CLOSE);
    assert_true(fabs(o.s.numpy_rounding - o.s.matlab_rounding) > 1e-6);
    memmove(f.m + f.w, f.m, (size_t)(f.w * (f.h - 1))); /* one row down, 5.5: both 6 */
    o = measure(&f);
    assert_true(o.s.numpy_rounding == o.s.matlab_rounding);
}

static void test_edges(void **state)
{
    static picture f;

    (void)state;
    fill(&f, 9, 9, 0);
    memset(f.m, 0, sizeof f.m);
    outcome o = measure(&f);
    assert_true(o.weighted == 0.0);
    assert_true(o.s.numpy_rounding == o.s.authors);
    f.m[80] = 255; /* the last pixel: three quadrants are empty, none of them poisons the score */
    o = measure(&f);
    assert_true(isfinite(o.s.numpy_rounding));
    assert_true(isnan(o.s.authors)); /* as in the script */
    assert_true(fabs(o.weighted - plain_weighted(&f)) < CLOSE);
    memset(f.m, 255, sizeof f.m);
    o = measure(&f);
    assert_true(fabs(o.weighted - plain_weighted(&f)) < CLOSE);
}

static void test_failed_allocations(void **state)
{
    static picture f;
    m2s_levels levels;
    m2s_weighted_sums sums;
    m2snet_error error;

    (void)state;
    fill(&f, 20, 30, 1);
    m2s_levels_default(0, 255, &levels);
    for (uint64_t limit = 1; limit < 2000000; limit = limit * 3 / 2 + 64) {
        m2s_memory tight;
        m2s_scratch scratch;
        m2s_plane inside;
        m2s_memory_init(&tight, NULL, limit);
        m2s_scratch_init(&scratch, &tight);
        m2snet_status status = m2s_plane_threshold(&scratch, M2S_SCRATCH_INSIDE, f.m, f.h, f.w, 129, &inside, &error);
        if (status == M2SNET_STATUS_OK) {
            status = m2s_weighted_sums_make(&scratch, f.p, &inside, &levels, &sums, &error);
        }
        assert_true(status == M2SNET_STATUS_OUT_OF_MEMORY || (status == M2SNET_STATUS_OK && limit > 500000));
        m2s_scratch_release(&scratch);
        assert_int_equal(atomic_load(&tight.used_bytes), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_loops),
        cmocka_unit_test(test_constant_quadrants),
        cmocka_unit_test(test_rounding_of_the_centroid),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_failed_allocations),
    };

    m2s_memory_init(&memory, NULL, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
