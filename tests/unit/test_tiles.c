/* SPDX-License-Identifier: Apache-2.0
 * Places and weights of sliding windows against SciPy's (tests/data/inside/make_tiles.py). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image/tiles.h"

#define MOST_PX 65535

static float weights[8192];
static double sums[MOST_PX];

static void compare_weights(const char *numbers, int side)
{
    int used = 0, index, compared = 0;
    double value;

    m2s_tile_weights(side, weights);
    for (; sscanf(numbers, " %d:%lf%n", &index, &value, &used) == 2; numbers += used, compared++) {
        double weight = 10.0 * (double)weights[side / 3] * (double)weights[index];
        assert_true(fabs(weight - value) <= 3e-7 * value); /* two roundings to float, and twelve digits */
        assert_true(weight > 0.0);
    }
    assert_true(compared >= 16);
}

static void compare_places(const char *numbers, int length, int window, double step)
{
    int used = 0, begin, count = m2s_tile_count(length, window, step), compared = 0;

    for (; sscanf(numbers, " %d%n", &begin, &used) == 1; numbers += used, compared++) {
        assert_int_equal(m2s_tile_begin(length, window, count, compared), begin);
    }
    assert_int_equal(compared, count);
    assert_true(compared >= 1);
    /* Every pixel lies in a window, and the sums are those of all windows' weights. */
    m2s_tile_weights(window, weights);
    m2s_tile_sums(length, window, count, weights, sums);
    for (int i = 0; i < length; i += 1 + length / 50) {
        double sum = 0.0;
        for (int k = 0; k < count; k++) {
            int at = i - m2s_tile_begin(length, window, count, k);
            sum += at >= 0 && at < window ? (double)weights[at] : 0.0;
        }
        assert_true(sum > 0.0 && fabs(sum - sums[i]) <= 1e-12 * sum);
    }
}

static void test_vectors(void **state)
{
    FILE *file = fopen(M2S_TEST_DATA "/inside/tiles.tsv", "r");
    char line[2048];
    int rows = 0;

    (void)state;
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        int length, window, used = 0;
        double step;
        if (sscanf(line, "weight %d%n", &window, &used) == 1) {
            compare_weights(line + used, window);
        } else {
            assert_int_equal(sscanf(line, "place %d %d %lf%n", &length, &window, &step, &used), 3);
            compare_places(line + used, length, window, step);
        }
        rows++;
    }
    fclose(file);
    assert_int_equal(rows, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_vectors) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
