/* SPDX-License-Identifier: Apache-2.0
 * The bilinear resize along one axis, in whole numbers: half-pixel centres, clamped at the ends (MODELS.md 1.1). Result
 * v lies at ((2v + 1) in - out) / (2 out) of the source: low is the quotient, and the remainder gives the weights. */
#ifndef M2S_BACKENDS_CUDA_RESIZE_CUH
#define M2S_BACKENDS_CUDA_RESIZE_CUH

#include "backends/cuda/pixels.cuh"

struct m2s_axis {
    int in, out;
    m2s_divisor twice_in, twice_out;
};

/* value = low_weight src[low] + high_weight src[high] */
struct m2s_axis_tap {
    int low, high;
    float low_weight, high_weight;
};

static inline m2s_axis m2s_axis_of(int64_t in, int64_t out)
{
    return m2s_axis{ static_cast<int>(in), static_cast<int>(out), m2s_divisor_of(2 * in), m2s_divisor_of(2 * out) };
}

M2S_HD inline m2s_axis_tap m2s_axis_tap_at(const m2s_axis &axis, int at)
{
    int64_t place = (2 * static_cast<int64_t>(at) + 1) * axis.in - axis.out;
    m2s_axis_tap tap;

    place = place < 0 ? 0 : place;
    tap.low = static_cast<int>(m2s_quotient(place, axis.twice_out));
    const float rest = static_cast<float>(place - static_cast<int64_t>(tap.low) * axis.twice_out.by);
    tap.high = tap.low < axis.in - 1 ? tap.low + 1 : tap.low;
    tap.high_weight = rest / static_cast<float>(axis.twice_out.by);
    tap.low_weight = 1.0f - tap.high_weight;
    return tap;
}

/* The weight that source sample i has in a result with these taps. */
M2S_HD inline float m2s_axis_weight(const m2s_axis_tap &tap, int i)
{
    return (tap.low == i ? tap.low_weight : 0.0f) + (tap.high == i ? tap.high_weight : 0.0f);
}

/* The first result whose low tap is i or more, but for those that the clamping at the ends puts there. */
M2S_HD inline int m2s_axis_first(const m2s_axis &axis, int i)
{
    const int64_t place = (2 * static_cast<int64_t>(i) + 1) * axis.out - axis.in;
    const int64_t first = place <= 0 ? 0 : m2s_quotient(place + axis.twice_in.by - 1, axis.twice_in);

    return static_cast<int>(first < axis.out ? first : axis.out);
}

/* Results [begin, end) are all that source sample i has a weight in, and perhaps a few more. */
M2S_HD inline void m2s_axis_reach(const m2s_axis &axis, int i, int *begin, int *end)
{
    *begin = i == 0 ? 0 : m2s_axis_first(axis, i - 1);
    *end = i == axis.in - 1 ? axis.out : m2s_axis_first(axis, i + 1);
}

/* Four numbers of the source to one. */
M2S_HD inline float m2s_bilinear(const m2s_axis_tap &y, const m2s_axis_tap &x, float v00, float v01, float v10,
                                 float v11)
{
    const float top = fmaf(x.low_weight, v00, x.high_weight * v01);
    const float bottom = fmaf(x.low_weight, v10, x.high_weight * v11);

    return fmaf(y.low_weight, top, y.high_weight * bottom);
}

#endif
