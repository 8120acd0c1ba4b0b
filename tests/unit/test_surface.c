/* SPDX-License-Identifier: Apache-2.0
 * lib/eval/distance and surface: against every pair of border pixels. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/distance.h"
#include "eval/surface.h"

#define CLOSE      1e-11
#define MAX_PIXELS 8192

static m2s_memory memory;

/* ---- the definitions ---- */

static bool at(const uint8_t *set, int h, int w, int y, int x)
{
    return y >= 0 && y < h && x >= 0 && x < w && set[y * w + x] != 0;
}

static int plain_border(const uint8_t *set, int h, int w, int connectivity, int *points)
{
    int count = 0;

    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++) {
            bool kept = true;
            for (int v = -1; v <= 1; v++) {
                for (int u = -1; u <= 1; u++) {
                    kept = kept && (at(set, h, w, y + v, x + u) || (connectivity == 1 && u != 0 && v != 0));
                }
            }
            if (set[y * w + x] && !kept) {
                points[count++] = y * w + x;
            }
        }
    }
    return count;
}

static void plain_distances(const int *from, int from_count, const int *to, int to_count, int w, double sy, double sx,
                            double *distances)
{
    for (int i = 0; i < from_count; i++) {
        double best = INFINITY;
        for (int k = 0; k < to_count; k++) {
            double dy = (from[i] / w - to[k] / w) * sy, dx = (from[i] % w - to[k] % w) * sx;
            best = fmin(best, dy * dy + dx * dx);
        }
        distances[i] = sqrt(best);
    }
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static double plain_percentile(const double *values, int count, double fraction)
{
    static double sorted[2 * MAX_PIXELS];

    memcpy(sorted, values, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, compare_doubles);
    double position = fraction * (count - 1);
    int rank = (int)position;
    return rank + 1 < count ? sorted[rank] + (position - rank) * (sorted[rank + 1] - sorted[rank]) : sorted[rank];
}

static void check(const uint8_t *b, const uint8_t *g, int h, int w, int connectivity, double sy, double sx)
{
    static int points[2][MAX_PIXELS];
    static double d[2 * MAX_PIXELS];
    m2s_scratch scratch;
    m2s_plane planes[2];
    m2s_borders borders;
    m2s_surface s;
    double sums[2] = { 0, 0 }, largest = 0;

    m2s_scratch_init(&scratch, &memory);
    assert_int_equal(m2s_plane_threshold(&scratch, M2S_SCRATCH_INSIDE, b, h, w, 1, &planes[0], NULL), 0);
    assert_int_equal(m2s_plane_threshold(&scratch, M2S_SCRATCH_INSIDE_2, g, h, w, 1, &planes[1], NULL), 0);
    assert_int_equal(m2s_borders_make(&scratch, &planes[0], &planes[1], connectivity, &borders, NULL), 0);
    int nb = plain_border(b, h, w, connectivity, points[0]), ng = plain_border(g, h, w, connectivity, points[1]);
    assert_int_equal(m2s_surface_measure(&borders, sy, sx, &s, NULL), 0);
    if (nb == 0 || ng == 0) {
        assert_true(isnan(s.hd) && isnan(s.hd95) && isnan(s.assd) && isnan(s.asd_pred_to_gt) &&
                    isnan(s.asd_gt_to_pred) && isnan(s.hd95_maxdir));
    } else {
        assert_int_equal(borders.counts[0], nb);
        assert_int_equal(borders.counts[1], ng);
        plain_distances(points[0], nb, points[1], ng, w, sy, sx, d);
        plain_distances(points[1], ng, points[0], nb, w, sy, sx, d + nb);
        for (int i = 0; i < nb + ng; i++) {
            sums[i >= nb] += d[i];
            largest = fmax(largest, d[i]);
        }
        assert_true(fabs(s.hd - largest) < CLOSE);
        assert_true(fabs(s.assd - (sums[0] + sums[1]) / (nb + ng)) < CLOSE);
        assert_true(fabs(s.asd_pred_to_gt - sums[0] / nb) < CLOSE);
        assert_true(fabs(s.asd_gt_to_pred - sums[1] / ng) < CLOSE);
        assert_true(fabs(s.hd95 - plain_percentile(d, nb + ng, 0.95)) < CLOSE);
        double directed = fmax(plain_percentile(d, nb, 0.95), plain_percentile(d + nb, ng, 0.95));
        assert_true(fabs(s.hd95_maxdir - directed) < CLOSE);
    }
    m2s_scratch_release(&scratch);
}

/* ---- tests ---- */

static unsigned seed = 3;

static unsigned draw(unsigned below)
{
    seed = seed * 1103515245u + 12345u;
    return (seed >> 8) % below;
}

static void test_against_all_pairs(void **state)
{
    static const int sizes[][2] = { { 1, 1 }, { 1, 9 }, { 9, 1 }, { 6, 5 }, { 24, 60 }, { 61, 33 } };
    static const double spacings[][2] = { { 1, 1 }, { 0.5, 2 }, { 3, 0.01 }, { 1e-3, 7 } };
    static uint8_t b[MAX_PIXELS], g[MAX_PIXELS];

    (void)state;
    for (int kind = 0; kind < 5; kind++) { /* dense noise, sparse noise, blobs, a blob and a pixel, one of them empty */
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            int h = sizes[i][0], w = sizes[i][1];
            for (int k = 0; k < h * w; k++) {
                int y = k / w, x = k % w;
                bool blob = (y - h / 2) * (y - h / 2) + (x - w / 4) * (x - w / 4) < h * w / 16;
                b[k] = kind == 0 ? draw(2) == 0 : kind == 1 ? draw(30) == 0 : blob;
                g[k] = kind == 0   ? draw(3) == 0
                       : kind == 1 ? draw(40) == 0
                       : kind == 2 ? at(b, h, w, y - 2, x - 3) || (y == 0 && x == 0)
                       : kind == 3 ? k == h * w - 1
                                   : 0;
            }
            for (size_t s = 0; s < 4; s++) {
                check(b, g, h, w, 1, spacings[s][0], spacings[s][1]);
                check(b, g, h, w, 2, spacings[s][0], spacings[s][1]);
                check(g, b, h, w, 1, spacings[s][0], spacings[s][1]);
            }
        }
    }
}

static void test_known(void **state)
{
    static uint8_t b[100], g[100];
    static const uint8_t zero[100];

    (void)state;
    for (int y = 2; y < 6; y++) {
        memset(b + 10 * y + 1, 1, 4);
        memset(g + 10 * y + 4, 1, 4); /* three columns to the right */
    }
    check(b, g, 10, 10, 1, 1.0, 1.0);
    check(b, zero, 10, 10, 1, 1.0, 1.0);
    check(zero, zero, 10, 10, 1, 1.0, 1.0);
    memset(b, 1, sizeof b); /* full: its border is the frame */
    check(b, g, 10, 10, 1, 1.0, 1.0);
    check(b, b, 10, 10, 2, 1.0, 1.0);
}

static void test_envelope(void **state)
{
    static uint16_t vertical[300];
    static m2s_envelope_piece pieces[301];

    (void)state;
    for (int round = 0; round < 200; round++) {
        int width = 1 + (int)draw(300);
        for (int x = 0; x < width; x++) {
            vertical[x] = draw(3) == 0 ? M2S_FAR : (uint16_t)draw(round < 100 ? 12 : 5000);
        }
        int32_t count = m2s_envelope(vertical, width, 1.0, 1.0, pieces);
        assert_int_equal(pieces[count].start, width);
        for (int x = 0, piece = 0; x < width; x++) {
            double best = INFINITY;
            for (int k = 0; k < width; k++) {
                if (vertical[k] != M2S_FAR) {
                    best = fmin(best, (double)(x - k) * (x - k) + (double)vertical[k] * vertical[k]);
                }
            }
            if (count == 0) {
                assert_true(isinf(best));
                continue;
            }
            while (pieces[piece + 1].start <= x) {
                piece++;
            }
            double across = x - pieces[piece].column;
            assert_true(across * across + pieces[piece].square == best); /* integers: exact */
        }
    }
}

static void test_percentile(void **state)
{
    static double values[1000], copy[1000];

    (void)state;
    for (int round = 0; round < 300; round++) {
        int count = 1 + (int)draw(1000);
        for (int i = 0; i < count; i++) {
            values[i] = draw(round % 3 == 0 ? 4 : 100000);
        }
        memcpy(copy, values, sizeof copy);
        double fraction = draw(101) / 100.0;
        assert_true(fabs(m2s_percentile(copy, count, fraction) - plain_percentile(values, count, fraction)) < CLOSE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_all_pairs),
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_envelope),
        cmocka_unit_test(test_percentile),
    };

    m2s_memory_init(&memory, NULL, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
