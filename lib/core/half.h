/* SPDX-License-Identifier: Apache-2.0
 * The two 16-bit float formats as bit patterns: IEEE 754 binary16 (F16) and the upper half of binary32 (BF16).
 * Widening is exact. Narrowing rounds to nearest, ties to even; what is too large becomes infinity, what is too small
 * a subnormal or zero; NaN stays NaN. Integer arithmetic only: no FPU flag is raised, no rounding mode matters. */
#ifndef M2S_CORE_HALF_H
#define M2S_CORE_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t m2s_float_bits(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float m2s_bits_float(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float m2s_bf16_to_float(uint16_t half)
{
    return m2s_bits_float((uint32_t)half << 16);
}

static inline uint16_t m2s_float_to_bf16(float value)
{
    uint32_t bits = m2s_float_bits(value);

    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)((bits >> 16) | 0x40u); /* quiet, so that cutting the payload leaves a NaN */
    }
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

static inline float m2s_f16_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = (half >> 10) & 0x1fu;
    uint32_t fraction = half & 0x3ffu;

    if (exponent == 0x1fu) {
        return m2s_bits_float(sign | 0x7f800000u | fraction << 13);
    }
    if (exponent != 0) {
        return m2s_bits_float(sign | (exponent + 112u) << 23 | fraction << 13);
    }
    if (fraction == 0) {
        return m2s_bits_float(sign);
    }
    uint32_t shift = (uint32_t)__builtin_clz(fraction) - 21u; /* 1..10: brings the leading bit to 2^10 */
    return m2s_bits_float(sign | (113u - shift) << 23 | (fraction << shift & 0x3ffu) << 13);
}

static inline uint16_t m2s_float_to_f16(float value)
{
    uint32_t bits = m2s_float_bits(value);
    uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t magnitude = bits & 0x7fffffffu;
    uint32_t kept, rest, tie;

    if (magnitude > 0x7f800000u) {
        return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    }
    if (magnitude >= 0x477ff000u) { /* 65520 and more round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    }
    if (magnitude >= 0x38800000u) { /* normal: 2^-14 and more */
        kept = (magnitude - 0x38000000u) >> 13;
        rest = magnitude & 0x1fffu;
        tie = 0x1000u;
    } else if (magnitude > 0x33000000u) {          /* subnormal; 2^-25 itself ties to zero */
        uint32_t shift = 126u - (magnitude >> 23); /* 14..24 */
        uint32_t fraction = (magnitude & 0x7fffffu) | 0x800000u;
        kept = fraction >> shift;
        rest = fraction & ((1u << shift) - 1u);
        tie = 1u << (shift - 1u);
    } else {
        return (uint16_t)sign;
    }
    kept += rest > tie || (rest == tie && (kept & 1u) != 0);
    return (uint16_t)(sign | kept);
}

#endif
