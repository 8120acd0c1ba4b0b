/* SPDX-License-Identifier: Apache-2.0
 * What stands at the end of a residual branch: layer scale with its gradient, and branches left out at random. */
#include "backends/cuda/channel_totals.cuh"
#include "backends/cuda/rng.cuh"

namespace
{

int64_t pixels_of(m2s_shape shape)
{
    return shape.n * shape.h * shape.w;
}

/* ---- scale_c ---- */

template <class T> struct scale_rule {
    const T *src;
    const float *gamma;
    T *dst;

    template <int WIDTH> M2S_HD void at(const m2s_pixel &p) const
    {
        float x[WIDTH];

        m2s_load<WIDTH>(src + p.at, x);
        for (int j = 0; j < WIDTH; j++) {
            x[j] *= gamma[p.channel + j];
        }
        m2s_store<WIDTH>(dst + p.at, x);
    }
};

template <class T> int scale_channels(const m2s_cuda_call *call, const void *src, const void *gamma)
{
    const m2s_ref_args *args = call->args;
    const void *places[] = { src, args->out[0] };
    const scale_rule<T> rule = { static_cast<const T *>(src), static_cast<const float *>(gamma),
                                 static_cast<T *>(args->out[0]) };

    return m2s_launch_pixels_of<T>(call, rule, args->out_shape[0], places, 2);
}

int launch_scale_c(const m2s_cuda_call *call)
{
    return m2s_with_storage(
        call, [&](auto zero) { return scale_channels<decltype(zero)>(call, call->args->in[0], call->args->in[1]); });
}

template <class T> struct product_sums {
    static constexpr int sums = 1, constants = 1;

    const T *diff, *src;

    M2S_HD void prepare(int, int, float *made) const
    {
        made[0] = 0.0f;
    }

    template <int WIDTH>
    M2S_HD void at(const float (&)[constants][WIDTH], int64_t offset, double (&sum)[sums][WIDTH]) const
    {
        float g[WIDTH], x[WIDTH];

        m2s_load<WIDTH>(diff + offset, g);
        m2s_load<WIDTH>(src + offset, x);
        for (int j = 0; j < WIDTH; j++) {
            sum[0][j] += static_cast<double>(g[j]) * static_cast<double>(x[j]);
        }
    }
};

struct product_finish {
    static constexpr int sums = 1;

    float *diff_gamma;

    M2S_HD void column(int, int channel, const double (&total)[sums]) const
    {
        diff_gamma[channel] = static_cast<float>(total[0]);
    }
};

size_t scale_c_grad_bytes(const m2s_ref_args *args, m2snet_dtype storage)
{
    (void)storage;
    return m2s_channel_partial_bytes(pixels_of(args->in_shape[1]), args->in_shape[1].c, 1);
}

int launch_scale_c_grad(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const m2s_shape shape = args->in_shape[1];
    const product_finish finish = { static_cast<float *>(args->out[1]) };

    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        const product_sums<T> rule = { static_cast<const T *>(args->in[0]), static_cast<const T *>(args->in[1]) };
        const int error = scale_channels<T>(call, args->in[0], args->in[2]);
        return error != 0 ? error
                          : m2s_launch_channel_totals<T>(call, rule, finish, pixels_of(shape), shape.c, args->in, 2,
                                                         static_cast<double *>(args->scratch));
    });
}

/* ---- drop_path: images along y ---- */

template <class T, int WIDTH> struct drop_body {
    static constexpr int phases = 1;

    const T *src;
    const float *draw;
    T *dst;
    double probability;
    float kept; /* what is kept is multiplied by */
    uint64_t layer;
    int64_t images, vectors; /* of an image */
    int step;                /* images from one to the next of a block */

    M2S_HD bool is_dropped(int64_t image) const
    {
        const double drawn = static_cast<double>(*draw);
        const uint64_t stream = drawn >= 0.0 && drawn < 0x1p53 ? static_cast<uint64_t>(drawn) : 0;
        const uint64_t bits = m2s_device_rng_bits(stream, (layer << 32) + static_cast<uint64_t>(image));

        return static_cast<double>(bits >> 11) * 0x1p-53 < probability;
    }

    M2S_HD void run(int, const m2s_thread &t, char *) const
    {
        for (int64_t image = t.block_y; image < images; image += step) {
            const bool dropped = is_dropped(image);
            for (int64_t v = t.first(); v < vectors; v += t.stride()) {
                const int64_t i = (image * vectors + v) * WIDTH;
                float x[WIDTH] = {};
                if (!dropped) {
                    m2s_load<WIDTH>(src + i, x);
                }
                for (int j = 0; j < WIDTH; j++) {
                    x[j] *= kept;
                }
                m2s_store<WIDTH>(dst + i, x);
            }
        }
    }
};

int launch_drop_path(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const m2s_shape shape = args->in_shape[0];
    const int64_t numbers = shape.h * shape.w * shape.c;
    const int step = static_cast<int>(shape.n < 65535 ? shape.n : 65535);
    const void *places[] = { args->in[0], args->out[0] };

    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        return m2s_with_width<T>(m2s_width_of(sizeof(T), &numbers, 1, places, 2), [&](auto width) {
            constexpr int WIDTH = decltype(width)::value;
            const drop_body<T, WIDTH> body = { static_cast<const T *>(args->in[0]),
                                               static_cast<const float *>(args->in[1]),
                                               static_cast<T *>(args->out[0]),
                                               args->attrs->alpha,
                                               static_cast<float>(1.0 / (1.0 - args->attrs->alpha)),
                                               static_cast<uint64_t>(static_cast<uint32_t>(args->attrs->begin)),
                                               shape.n,
                                               numbers / WIDTH,
                                               step };
            const int threads = m2s_map_threads(body.vectors * shape.n);
            m2s_cuda_grid grid = m2s_map_grid(body.vectors, threads);
            grid.y = step;
            return m2s_cuda_launch(call, body, grid, threads, 0);
        });
    });
}

} // namespace

extern "C" {
const m2s_cuda_kernel m2s_cuda_scale_c = { nullptr, launch_scale_c, true };
const m2s_cuda_kernel m2s_cuda_scale_c_grad = { scale_c_grad_bytes, launch_scale_c_grad, true };
const m2s_cuda_kernel m2s_cuda_drop_path = { nullptr, launch_drop_path, true };
}
