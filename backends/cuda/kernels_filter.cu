/* SPDX-License-Identifier: Apache-2.0
 * The filters of the multi-scale subtraction units one by one, as graphs have them before the units are fused. */
#include "backends/cuda/lanes.cuh"
#include "backends/cuda/pixels.cuh"
#include "backends/cuda/window.cuh"

namespace
{

constexpr int THREADS = 256;
constexpr int MOST_LANE_SHIFT = 4;

int64_t pixels_of(m2s_shape shape)
{
    return shape.n * shape.h * shape.w;
}

/* ---- channel_sum ---- */

template <class T, class To, int WIDTH> struct channel_sum_body {
    static constexpr int phases = 2;

    const T *src;
    To *dst;
    int64_t pixels;
    int channels, lane_shift;

    M2S_HD void run(int phase, const m2s_thread &t, char *shared) const
    {
        float *part = reinterpret_cast<float *>(shared);
        const int lanes = 1 << lane_shift, each = THREADS >> lane_shift; /* pixels of a block */
        const int lane = t.thread & (lanes - 1), pixel = phase == 0 ? t.thread >> lane_shift : t.thread;
        const int64_t at = static_cast<int64_t>(t.block) * each + pixel;

        if (pixel >= each || at >= pixels) {
            return;
        }
        if (phase == 0) {
            part[lane * (each + 1) + pixel] = m2s_lane_sum<WIDTH>(src + at * channels, channels, lane, lanes);
        } else {
            dst[at] = m2s_from_float<To>(m2s_lane_total(part, pixel, each + 1, lanes));
        }
    }
};

template <class T, class To> int sum_channels(const m2s_cuda_call *call, const void *src, m2s_shape shape, To *dst)
{
    return m2s_with_width<T>(m2s_width_of(sizeof(T), &shape.c, 1, &src, 1), [&](auto width) {
        constexpr int WIDTH = decltype(width)::value;
        const int shift = m2s_lane_shift(shape.c, WIDTH, MOST_LANE_SHIFT);
        const int each = THREADS >> shift;
        const channel_sum_body<T, To, WIDTH> body = { static_cast<const T *>(src), dst, pixels_of(shape),
                                                      static_cast<int>(shape.c), shift };
        const m2s_cuda_grid grid = { static_cast<int>((body.pixels + each - 1) / each), 1, 1 };
        return m2s_cuda_launch(call, body, grid, THREADS, sizeof(float) * static_cast<size_t>((each + 1) << shift));
    });
}

int launch_channel_sum(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;

    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        return sum_channels<T, T>(call, args->in[0], args->in_shape[0], static_cast<T *>(args->out[0]));
    });
}

/* ---- box_filter ---- */

template <class T> struct box_rule {
    const T *src;
    T *dst;
    int h, w, c;
    m2s_window window;

    template <int WIDTH> M2S_HD void at(const m2s_pixel &p) const
    {
        const T *image = src + p.image * h * w * c + p.channel;
        const int radius = window.kernel / 2;
        float sum[WIDTH] = {};

        for (int ky = 0; ky < window.kernel; ky++) {
            const int y = p.y + ky - radius;
            float row[WIDTH] = {}, v[WIDTH];
            for (int kx = 0; y >= 0 && y < h && kx < window.kernel; kx++) {
                const int x = p.x + kx - radius;
                if (x < 0 || x >= w) {
                    continue;
                }
                m2s_load<WIDTH>(image + (static_cast<int64_t>(y) * w + x) * c, v);
                for (int j = 0; j < WIDTH; j++) {
                    row[j] = fmaf(window.weight[kx], v[j], row[j]);
                }
            }
            for (int j = 0; j < WIDTH; j++) {
                sum[j] = fmaf(window.weight[ky], row[j], sum[j]);
            }
        }
        m2s_store<WIDTH>(dst + p.at, sum);
    }
};

template <class T> int filter_box(const m2s_cuda_call *call, const void *src, m2s_shape shape, void *dst)
{
    const m2s_attrs *attrs = call->args->attrs;
    const void *places[] = { src, dst };
    const box_rule<T> rule = {
        static_cast<const T *>(src), static_cast<T *>(dst),
        static_cast<int>(shape.h),   static_cast<int>(shape.w),
        static_cast<int>(shape.c),   m2s_window_of(attrs->kernel, attrs->gaussian != 0, attrs->alpha)
    };

    return m2s_launch_pixels_of<T>(call, rule, shape, places, 2);
}

int launch_box_filter(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;

    return m2s_with_storage(call, [&](auto zero) {
        return filter_box<decltype(zero)>(call, args->in[0], args->in_shape[0], args->out[0]);
    });
}

/* ---- full_filter: the sum over channels, its window, and that in every channel ---- */

template <class T> struct spread_rule {
    const float *plane;
    T *dst;

    template <int WIDTH> M2S_HD void at(const m2s_pixel &p) const
    {
        float value[WIDTH];

        for (int j = 0; j < WIDTH; j++) {
            value[j] = plane[p.pixel];
        }
        m2s_store<WIDTH>(dst + p.at, value);
    }
};

size_t full_filter_bytes(const m2s_ref_args *args, m2snet_dtype storage)
{
    (void)storage;
    return 2 * static_cast<size_t>(pixels_of(args->in_shape[0])) * sizeof(float);
}

int launch_full_filter(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const m2s_shape shape = args->in_shape[0];
    m2s_shape plane = shape;
    float *sums = static_cast<float *>(args->scratch), *filtered = sums + pixels_of(shape);

    plane.c = 1;
    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        int error = sum_channels<T, float>(call, args->in[0], shape, sums);
        error = error != 0 ? error : filter_box<float>(call, sums, plane, filtered);
        const spread_rule<T> rule = { filtered, static_cast<T *>(args->out[0]) };
        return error != 0 ? error : m2s_launch_pixels_of<T>(call, rule, shape, &args->out[0], 1);
    });
}

/* ---- plane_affine_relu ---- */

template <class T> struct affine_rule {
    const T *plane;
    const float *slope, *offset;
    T *dst;

    template <int WIDTH> M2S_HD void at(const m2s_pixel &p) const
    {
        const float s = m2s_to_float(plane[p.pixel]);
        float value[WIDTH];

        for (int j = 0; j < WIDTH; j++) {
            value[j] = fmaf(slope[p.channel + j], s, offset[p.channel + j]);
            value[j] = value[j] < 0.0f ? 0.0f : value[j];
        }
        m2s_store<WIDTH>(dst + p.at, value);
    }
};

int launch_plane_affine_relu(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;

    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        const affine_rule<T> rule = { static_cast<const T *>(args->in[0]), static_cast<const float *>(args->in[1]),
                                      static_cast<const float *>(args->in[2]), static_cast<T *>(args->out[0]) };
        return m2s_launch_pixels_of<T>(call, rule, args->out_shape[0], &args->out[0], 1);
    });
}

} // namespace

extern "C" {
const m2s_cuda_kernel m2s_cuda_full_filter = { full_filter_bytes, launch_full_filter, true };
const m2s_cuda_kernel m2s_cuda_channel_sum = { nullptr, launch_channel_sum, true };
const m2s_cuda_kernel m2s_cuda_box_filter = { nullptr, launch_box_filter, true };
const m2s_cuda_kernel m2s_cuda_plane_affine_relu = { nullptr, launch_plane_affine_relu, true };
}
