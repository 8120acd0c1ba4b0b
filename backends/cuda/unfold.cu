/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cuda/unfold.h"

#include "backends/cuda/pixels.cuh"

namespace
{

/* "Images" are output pixels here, "pixels" the places of their windows. */
template <class T> struct unfold_rule {
    m2s_conv_problem p;
    m2s_divisor columns_of_y, rows_of_y;
    const T *x;
    T *columns;

    template <int WIDTH> M2S_HD void at(const m2s_pixel &place) const
    {
        const int64_t row = m2s_quotient(place.image, columns_of_y), image = m2s_quotient(row, rows_of_y);
        const int ox = static_cast<int>(place.image - row * columns_of_y.by);
        const int oy = static_cast<int>(row - image * rows_of_y.by);
        const int y = oy * p.stride - p.pad + place.y * p.dilation, sx = ox * p.stride - p.pad + place.x * p.dilation;
        float value[WIDTH];

        for (int j = 0; j < WIDTH; j++) {
            value[j] = 0.0f;
        }
        if (y >= 0 && y < p.h && sx >= 0 && sx < p.w) {
            m2s_load<WIDTH>(x + ((image * p.h + y) * p.w + sx) * p.c + place.channel, value);
        }
        m2s_store<WIDTH>(columns + place.at, value);
    }
};

template <class T> struct fold_rule {
    m2s_conv_problem p;
    const float *columns;
    T *x;

    template <int WIDTH> M2S_HD void at(const m2s_pixel &place) const
    {
        float sum[WIDTH], value[WIDTH];

        for (int j = 0; j < WIDTH; j++) {
            sum[j] = 0.0f;
        }
        for (int ky = 0; ky < p.kh; ky++) {
            const int sy = place.y + p.pad - ky * p.dilation, oy = sy / p.stride;
            for (int kx = 0; kx < p.kw && sy >= 0 && sy % p.stride == 0 && oy < p.oh; kx++) {
                const int sx = place.x + p.pad - kx * p.dilation, ox = sx / p.stride;
                if (sx < 0 || sx % p.stride != 0 || ox >= p.ow) {
                    continue;
                }
                const int64_t row = (place.image * p.oh + oy) * p.ow + ox;
                m2s_load<WIDTH>(columns + (row * p.kh * p.kw + ky * p.kw + kx) * p.c + place.channel, value);
                for (int j = 0; j < WIDTH; j++) {
                    sum[j] += value[j];
                }
            }
        }
        m2s_store<WIDTH>(x + place.at, sum);
    }
};

} // namespace

extern "C" int m2s_cuda_unfold(const m2s_cuda_call *call, const m2s_conv_problem *problem, int32_t images,
                               void *columns, const void *x)
{
    const m2s_conv_problem &p = *problem;
    const m2s_shape shape = { { static_cast<int64_t>(images) * p.oh * p.ow, p.kh, p.kw, p.c } };
    const void *places[] = { columns, x };

    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        const unfold_rule<T> rule = { p, m2s_divisor_of(p.ow), m2s_divisor_of(p.oh), static_cast<const T *>(x),
                                      static_cast<T *>(columns) };
        return m2s_launch_pixels_of<T>(call, rule, shape, places, 2);
    });
}

extern "C" int m2s_cuda_fold(const m2s_cuda_call *call, const m2s_conv_problem *problem, int32_t images, void *x,
                             const float *columns)
{
    const m2s_conv_problem &p = *problem;
    const m2s_shape shape = { { images, p.h, p.w, p.c } };
    const void *places[] = { columns, x };

    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        const fold_rule<T> rule = { p, columns, static_cast<T *>(x) };
        /* By the wider of both types. */
        return m2s_launch_pixels_of<float>(call, rule, shape, places, 2);
    });
}
