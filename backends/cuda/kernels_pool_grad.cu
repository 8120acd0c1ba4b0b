/* SPDX-License-Identifier: Apache-2.0
 * Gradients of pools and of the bilinear resize: each source number sums what comes back to it. */
#include "backends/cuda/resize.cuh"

namespace
{

/* A pool over (h, w, c) images into (oh, ow, c). */
struct pool {
    int h, w, oh, ow, c;
    int kernel, pad;
    m2s_divisor stride;

    /* The windows [begin, end) of `count` that source position `at` is in. */
    M2S_HD void windows_over(int at, int count, int *begin, int *end) const
    {
        const int first = at + pad - kernel + 1; /* the least start, counted from the padding's edge */

        *begin = first <= 0 ? 0 : static_cast<int>(m2s_quotient(first + stride.by - 1, stride));
        *end = static_cast<int>(m2s_quotient(at + pad, stride)) + 1;
        *end = *end < count ? *end : count;
    }

    /* How many of window `at`'s positions are among `size`. */
    M2S_HD int window_inside(int at, int size) const
    {
        const int begin = at * static_cast<int>(stride.by) - pad, end = begin + kernel;

        return (end < size ? end : size) - (begin > 0 ? begin : 0);
    }
};

pool pool_of(const m2s_attrs *attrs, m2s_shape in, m2s_shape out)
{
    return pool{ static_cast<int>(in.h),
                 static_cast<int>(in.w),
                 static_cast<int>(out.h),
                 static_cast<int>(out.w),
                 static_cast<int>(in.c),
                 attrs->kernel,
                 attrs->pad,
                 m2s_divisor_of(attrs->stride) };
}

/* ---- max_pool_grad: where each window's maximum is, then what comes back from there ---- */

/* The place y * w + x of the first maximum, or of the last NaN, as max_pool finds it. */
template <class T> struct place_rule {
    const T *src;
    int32_t *place;
    pool of;

    template <int WIDTH> M2S_HD void at(const m2s_pixel &p) const
    {
        const T *image = src + p.image * of.h * of.w * of.c + p.channel;
        const int top = p.y * static_cast<int>(of.stride.by) - of.pad;
        const int left = p.x * static_cast<int>(of.stride.by) - of.pad;
        const int bottom = top + of.kernel < of.h ? top + of.kernel : of.h;
        const int right = left + of.kernel < of.w ? left + of.kernel : of.w;
        float greatest[WIDTH];
        m2s_numbers<int32_t, WIDTH> found;

        for (int j = 0; j < WIDTH; j++) {
            greatest[j] = -INFINITY;
            found.at[j] = -1;
        }
        for (int y = top < 0 ? 0 : top; y < bottom; y++) {
            for (int x = left < 0 ? 0 : left; x < right; x++) {
                float value[WIDTH];
                m2s_load<WIDTH>(image + (static_cast<int64_t>(y) * of.w + x) * of.c, value);
                for (int j = 0; j < WIDTH; j++) {
                    if (found.at[j] < 0 || value[j] > greatest[j] || value[j] != value[j]) {
                        greatest[j] = value[j];
                        found.at[j] = y * of.w + x;
                    }
                }
            }
        }
        *reinterpret_cast<m2s_numbers<int32_t, WIDTH> *>(place + p.at) = found;
    }
};

template <class T> struct max_grad_rule {
    const T *diff;
    const int32_t *place;
    T *diff_src;
    pool of;

    template <int WIDTH> M2S_HD void at(const m2s_pixel &p) const
    {
        const int64_t image = p.image * of.oh * of.ow * of.c + p.channel;
        const int here = p.y * of.w + p.x;
        float sum[WIDTH] = {};
        int top, bottom, left, right;

        of.windows_over(p.y, of.oh, &top, &bottom);
        of.windows_over(p.x, of.ow, &left, &right);
        for (int y = top; y < bottom; y++) {
            for (int x = left; x < right; x++) {
                const int64_t offset = image + (static_cast<int64_t>(y) * of.ow + x) * of.c;
                const m2s_numbers<int32_t, WIDTH> found =
                    *reinterpret_cast<const m2s_numbers<int32_t, WIDTH> *>(place + offset);
                float g[WIDTH];
                m2s_load<WIDTH>(diff + offset, g);
                for (int j = 0; j < WIDTH; j++) {
                    sum[j] += found.at[j] == here ? g[j] : 0.0f;
                }
            }
        }
        m2s_store<WIDTH>(diff_src + p.at, sum);
    }
};

size_t max_grad_bytes(const m2s_ref_args *args, m2snet_dtype storage)
{
    (void)storage;
    return static_cast<size_t>(m2s_shape_elements(args->in_shape[0])) * sizeof(int32_t);
}

int launch_max_pool_grad(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const pool of = pool_of(args->attrs, args->out_shape[0], args->in_shape[0]);
    const int64_t channels = args->in_shape[0].c;
    int32_t *place = static_cast<int32_t *>(args->scratch);
    const void *numbers[] = { args->in[0], args->in[1], args->out[0] }, *places[] = { args->scratch };
    const int of_places = m2s_width_of(sizeof *place, &channels, 1, places, 1);

    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        const place_rule<T> find = { static_cast<const T *>(args->in[1]), place, of };
        const max_grad_rule<T> gather = { static_cast<const T *>(args->in[0]), place, static_cast<T *>(args->out[0]),
                                          of };
        const int most = m2s_width_of(sizeof(T), &channels, 1, numbers, 3);
        return m2s_with_width<T>(most < of_places ? most : of_places, [&](auto width) {
            constexpr int WIDTH = decltype(width)::value;
            const int error = m2s_launch_pixels<WIDTH>(call, find, args->in_shape[0]);
            return error != 0 ? error : m2s_launch_pixels<WIDTH>(call, gather, args->out_shape[0]);
        });
    });
}

/* ---- avg_pool_grad ---- */

template <class T> struct average_grad_rule {
    const T *diff;
    T *diff_src;
    pool of;
    bool count_all;

    template <int WIDTH> M2S_HD void at(const m2s_pixel &p) const
    {
        const T *image = diff + p.image * of.oh * of.ow * of.c + p.channel;
        float sum[WIDTH] = {};
        int top, bottom, left, right;

        of.windows_over(p.y, of.oh, &top, &bottom);
        of.windows_over(p.x, of.ow, &left, &right);
        for (int y = top; y < bottom; y++) {
            for (int x = left; x < right; x++) {
                const int count =
                    count_all ? of.kernel * of.kernel : of.window_inside(y, of.h) * of.window_inside(x, of.w);
                const float share = 1.0f / static_cast<float>(count);
                float g[WIDTH];
                m2s_load<WIDTH>(image + (static_cast<int64_t>(y) * of.ow + x) * of.c, g);
                for (int j = 0; j < WIDTH; j++) {
                    sum[j] = fmaf(g[j], share, sum[j]);
                }
            }
        }
        m2s_store<WIDTH>(diff_src + p.at, sum);
    }
};

int launch_avg_pool_grad(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const void *places[] = { args->in[0], args->out[0] };

    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        const average_grad_rule<T> rule = { static_cast<const T *>(args->in[0]), static_cast<T *>(args->out[0]),
                                            pool_of(args->attrs, args->out_shape[0], args->in_shape[0]),
                                            args->attrs->count_include_pad != 0 };
        return m2s_launch_pixels_of<T>(call, rule, args->out_shape[0], places, 2);
    });
}

/* ---- resize_grad ---- */

template <class T> struct resize_grad_rule {
    const T *diff;
    T *diff_src;
    m2s_axis rows, columns;
    int c;

    template <int WIDTH> M2S_HD void at(const m2s_pixel &p) const
    {
        const T *image = diff + p.image * rows.out * columns.out * c + p.channel;
        float sum[WIDTH] = {};
        int top, bottom, left, right;

        m2s_axis_reach(rows, p.y, &top, &bottom);
        m2s_axis_reach(columns, p.x, &left, &right);
        for (int y = top; y < bottom; y++) {
            const float down = m2s_axis_weight(m2s_axis_tap_at(rows, y), p.y);
            for (int x = left; x < right; x++) {
                const float weight = down * m2s_axis_weight(m2s_axis_tap_at(columns, x), p.x);
                float g[WIDTH];
                m2s_load<WIDTH>(image + (static_cast<int64_t>(y) * columns.out + x) * c, g);
                for (int j = 0; j < WIDTH; j++) {
                    sum[j] = weight > 0.0f ? fmaf(weight, g[j], sum[j]) : sum[j];
                }
            }
        }
        m2s_store<WIDTH>(diff_src + p.at, sum);
    }
};

int launch_resize_grad(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const m2s_shape in = args->out_shape[0], out = args->in_shape[0];
    const void *places[] = { args->in[0], args->out[0] };

    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        const resize_grad_rule<T> rule = { static_cast<const T *>(args->in[0]), static_cast<T *>(args->out[0]),
                                           m2s_axis_of(in.h, out.h), m2s_axis_of(in.w, out.w), static_cast<int>(in.c) };
        return m2s_launch_pixels_of<T>(call, rule, in, places, 2);
    });
}

} // namespace

extern "C" {
const m2s_cuda_kernel m2s_cuda_max_pool_grad = { max_grad_bytes, launch_max_pool_grad, true };
const m2s_cuda_kernel m2s_cuda_avg_pool_grad = { nullptr, launch_avg_pool_grad, true };
const m2s_cuda_kernel m2s_cuda_resize_grad = { nullptr, launch_resize_grad, true };
}
