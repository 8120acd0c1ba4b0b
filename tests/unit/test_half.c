/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/check.h"
#include "core/half.h"

/* The number a pattern stands for, from the formats' definition. */
static double meaning(uint32_t bits, int exponent_bits, int fraction_bits)
{
    int bias = (1 << (exponent_bits - 1)) - 1;
    int exponent = (int)(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
    double fraction = (double)(bits & ((1u << fraction_bits) - 1u)) / (double)(1u << fraction_bits);
    double sign = bits >> (exponent_bits + fraction_bits) != 0 ? -1.0 : 1.0;

    if (exponent == (1 << exponent_bits) - 1) {
        return fraction == 0.0 ? sign * HUGE_VAL : (double)NAN;
    }
    return exponent == 0 ? sign * ldexp(fraction, 1 - bias) : sign * ldexp(1.0 + fraction, exponent - bias);
}

typedef struct format {
    int exponent_bits, fraction_bits;
    float (*widen)(uint16_t half);
    uint16_t (*narrow)(float value);
} format;

static const format formats[] = { { 5, 10, m2s_f16_to_float, m2s_float_to_f16 },
                                  { 8, 7, m2s_bf16_to_float, m2s_float_to_bf16 } };

static void test_all_patterns(void **unused)
{
    (void)unused;
    for (int f = 0; f < 2; f++) {
        for (uint32_t bits = 0; bits <= 0xffffu; bits++) {
            double expected = meaning(bits, formats[f].exponent_bits, formats[f].fraction_bits);
            float value = formats[f].widen((uint16_t)bits);
            uint16_t back = formats[f].narrow(value);
            if (isnan(expected)) {
                assert_true(isnan(value));
                assert_true(isnan(formats[f].widen(back)));
                assert_int_equal(back & 0x8000u, bits & 0x8000u);
            } else {
                assert_true((double)value == expected && !signbit(value) == !signbit(expected));
                assert_int_equal(back, bits);
            }
        }
    }
}

/* value lies between two neighbouring patterns of one sign: the nearer one, or the even one. */
static void check_narrow(const format *f, float value)
{
    uint32_t sign = signbit(value) ? 0x8000u : 0, largest = ((1u << f->exponent_bits) - 1u) << f->fraction_bits;
    double magnitude = fabs((double)value);
    uint32_t low = 0, high = largest; /* patterns grow with the magnitude; infinity counts as the next power of two */

    while (high - low > 1) {
        uint32_t middle = (low + high) / 2;
        if (meaning(middle, f->exponent_bits, f->fraction_bits) <= magnitude) {
            low = middle;
        } else {
            high = middle;
        }
    }
    double below = meaning(low, f->exponent_bits, f->fraction_bits);
    double above =
        high == largest ? ldexp(1.0, 1 << (f->exponent_bits - 1)) : meaning(high, f->exponent_bits, f->fraction_bits);
    double down = magnitude - below, up = above - magnitude;
    uint32_t expected = down < up ? low : up < down ? high : low % 2 == 0 ? low : high;
    assert_int_equal(f->narrow(value), sign | expected);
}

static void test_rounding(void **unused)
{
    unsigned long long state = 3;

    (void)unused;
    for (int f = 0; f < 2; f++) {
        const format *form = &formats[f];
        for (uint32_t bits = 0; bits < 0x7fffu; bits++) {
            double here = meaning(bits, form->exponent_bits, form->fraction_bits);
            double next = meaning(bits + 1, form->exponent_bits, form->fraction_bits);
            if (!isfinite(here) || !isfinite(next)) {
                continue;
            }
            float tie = (float)((here + next) / 2.0); /* exact: one bit more */
            check_narrow(form, tie);
            check_narrow(form, -tie);
            check_narrow(form, nextafterf(tie, HUGE_VALF));
            check_narrow(form, nextafterf(tie, 0.0f));
        }
        for (int i = 0; i < 300000; i++) {
            uint32_t bits = (uint32_t)(int32_t)(check_random(&state) * 2147483648.0);
            float value = m2s_bits_float(bits);
            if (isfinite(value)) {
                check_narrow(form, value);
            }
        }
    }
}

static void test_limits(void **unused)
{
    (void)unused;
    assert_int_equal(m2s_float_to_f16(65504.0f), 0x7bff);
    assert_int_equal(m2s_float_to_f16(65519.996f), 0x7bff);
    assert_int_equal(m2s_float_to_f16(65520.0f), 0x7c00);
    assert_int_equal(m2s_float_to_f16(-1e30f), 0xfc00);
    assert_int_equal(m2s_float_to_f16(0x1p-24f), 0x0001);
    assert_int_equal(m2s_float_to_f16(0x1p-25f), 0x0000);
    assert_int_equal(m2s_float_to_f16(-0x1.000002p-25f), 0x8001);
    assert_int_equal(m2s_float_to_f16(-0.0f), 0x8000);
    assert_int_equal(m2s_float_to_bf16(3.4028235e38f), 0x7f80); /* the largest float rounds up */
    assert_int_equal(m2s_float_to_bf16(1.0f), 0x3f80);
    assert_int_equal(m2s_float_to_bf16(HUGE_VALF), 0x7f80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_patterns),
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
