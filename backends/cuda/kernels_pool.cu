/* SPDX-License-Identifier: Apache-2.0
 * Pools and the bilinear resize. */
#include "backends/cuda/resize.cuh"

namespace
{

/* A window over (h, w, c) images. SIDE is the kernel's side where the compiler may know it, else 0. */
template <int SIDE> struct pool_window {
    int h, w, c, kernel, stride, pad;

    M2S_HD int side() const
    {
        return SIDE != 0 ? SIDE : kernel;
    }

    /* visit(offset in the image) for the window's places inside of the image, in row-major order. */
    template <class Visit> M2S_HD void inside(const m2s_pixel &p, const Visit &visit) const
    {
        const int top = p.y * stride - pad, left = p.x * stride - pad;

        for (int dy = 0; dy < side(); dy++) {
            for (int dx = 0; dx < side(); dx++) {
                const int y = top + dy, x = left + dx;
                if (y >= 0 && y < h && x >= 0 && x < w) {
                    visit((static_cast<int64_t>(y) * w + x) * c + p.channel);
                }
            }
        }
    }

    M2S_HD int64_t image_numbers() const
    {
        return static_cast<int64_t>(h) * w * c;
    }
};

template <class T, int SIDE> struct max_rule {
    const T *src;
    T *dst;
    pool_window<SIDE> window;

    template <int WIDTH> M2S_HD void at(const m2s_pixel &p) const
    {
        const T *image = src + p.image * window.image_numbers();
        float greatest[WIDTH];

        for (int j = 0; j < WIDTH; j++) {
            greatest[j] = -INFINITY;
        }
        window.inside(p, [&](int64_t offset) {
            float x[WIDTH];
            m2s_load<WIDTH>(image + offset, x);
            for (int j = 0; j < WIDTH; j++) {
                greatest[j] = x[j] > greatest[j] || x[j] != x[j] ? x[j] : greatest[j];
            }
        });
        m2s_store<WIDTH>(dst + p.at, greatest);
    }
};

template <class T, int SIDE> struct average_rule {
    const T *src;
    T *dst;
    pool_window<SIDE> window;
    bool count_all;

    template <int WIDTH> M2S_HD void at(const m2s_pixel &p) const
    {
        const T *image = src + p.image * window.image_numbers();
        float sum[WIDTH] = {};
        int count = 0;

        window.inside(p, [&](int64_t offset) {
            float x[WIDTH];
            m2s_load<WIDTH>(image + offset, x);
            for (int j = 0; j < WIDTH; j++) {
                sum[j] += x[j];
            }
            count++;
        });
        count = count_all ? window.side() * window.side() : count;
        for (int j = 0; j < WIDTH; j++) {
            sum[j] /= static_cast<float>(count);
        }
        m2s_store<WIDTH>(dst + p.at, sum);
    }
};

template <int SIDE> pool_window<SIDE> window_of(const m2s_ref_args *args)
{
    const m2s_attrs *attrs = args->attrs;
    const m2s_shape in = args->in_shape[0];

    return pool_window<SIDE>{ static_cast<int>(in.h), static_cast<int>(in.w), static_cast<int>(in.c),
                              attrs->kernel,          attrs->stride,          attrs->pad };
}

template <class T, int SIDE> int launch_max_as(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const void *places[] = { args->in[0], args->out[0] };
    const max_rule<T, SIDE> rule = { static_cast<const T *>(args->in[0]), static_cast<T *>(args->out[0]),
                                     window_of<SIDE>(args) };

    return m2s_launch_pixels_of<T>(call, rule, args->out_shape[0], places, 2);
}

template <class T, int SIDE> int launch_average_as(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const void *places[] = { args->in[0], args->out[0] };
    const average_rule<T, SIDE> rule = { static_cast<const T *>(args->in[0]), static_cast<T *>(args->out[0]),
                                         window_of<SIDE>(args), args->attrs->count_include_pad != 0 };

    return m2s_launch_pixels_of<T>(call, rule, args->out_shape[0], places, 2);
}

/* The windows of the networks are 2 and 3 wide. */
int launch_max_pool(const m2s_cuda_call *call)
{
    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        return call->args->attrs->kernel == 3   ? launch_max_as<T, 3>(call)
               : call->args->attrs->kernel == 2 ? launch_max_as<T, 2>(call)
                                                : launch_max_as<T, 0>(call);
    });
}

int launch_avg_pool(const m2s_cuda_call *call)
{
    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        return call->args->attrs->kernel == 3   ? launch_average_as<T, 3>(call)
               : call->args->attrs->kernel == 2 ? launch_average_as<T, 2>(call)
                                                : launch_average_as<T, 0>(call);
    });
}

/* ---- resize ---- */

template <class T> struct resize_rule {
    const T *src, *addend; /* addend may be NULL */
    T *dst;
    m2s_axis rows, columns;
    int c;

    template <int WIDTH> M2S_HD void at(const m2s_pixel &p) const
    {
        const m2s_axis_tap y = m2s_axis_tap_at(rows, p.y), x = m2s_axis_tap_at(columns, p.x);
        const T *image = src + p.image * rows.in * columns.in * c + p.channel;
        const T *low = image + static_cast<int64_t>(y.low) * columns.in * c;
        const T *high = image + static_cast<int64_t>(y.high) * columns.in * c;
        const int64_t left = static_cast<int64_t>(x.low) * c, right = static_cast<int64_t>(x.high) * c;
        float v00[WIDTH], v01[WIDTH], v10[WIDTH], v11[WIDTH], more[WIDTH] = {};

        m2s_load<WIDTH>(low + left, v00);
        m2s_load<WIDTH>(low + right, v01);
        m2s_load<WIDTH>(high + left, v10);
        m2s_load<WIDTH>(high + right, v11);
        if (addend != nullptr) {
            m2s_load<WIDTH>(addend + p.at, more);
        }
        for (int j = 0; j < WIDTH; j++) {
            more[j] += m2s_bilinear(y, x, v00[j], v01[j], v10[j], v11[j]);
        }
        m2s_store<WIDTH>(dst + p.at, more);
    }
};

int launch_resize(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const m2s_shape in = args->in_shape[0], out = args->out_shape[0];
    const void *addend = args->in_count > 1 ? args->in[1] : nullptr;
    const void *places[] = { args->in[0], addend, args->out[0] };

    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        const resize_rule<T> rule = { static_cast<const T *>(args->in[0]),
                                      static_cast<const T *>(addend),
                                      static_cast<T *>(args->out[0]),
                                      m2s_axis_of(in.h, out.h),
                                      m2s_axis_of(in.w, out.w),
                                      static_cast<int>(in.c) };
        return m2s_launch_pixels_of<T>(call, rule, out, places, 3);
    });
}

} // namespace

extern "C" {
const m2s_cuda_kernel m2s_cuda_max_pool = { nullptr, launch_max_pool, true };
const m2s_cuda_kernel m2s_cuda_avg_pool = { nullptr, launch_avg_pool, true };
const m2s_cuda_kernel m2s_cuda_resize = { nullptr, launch_resize, true };
}
