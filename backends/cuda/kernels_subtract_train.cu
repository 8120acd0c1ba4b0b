/* SPDX-License-Identifier: Apache-2.0
 * The multi-scale subtraction unit in a training step, forward (MODELS.md 2.1, 2.3): planes by tiles, their statistics
 * over the batch, and one pass over the channels. Its gradient is kernels_subtract_grad.cu. */
#include "backends/cuda/spread.cuh"
#include "backends/cuda/subtract.cuh"
#include "backends/cuda/subtract_norm.cuh"

namespace
{

/* ---- planes ---- */

template <class T, int WIDTH> struct planes_body {
    static constexpr int phases = m2s_subtract_planes<T, WIDTH>::phases + 1;

    m2s_subtract_planes<T, WIDTH> planes;
    float *dst; /* (n, h, w, 2 scales) */

    M2S_HD void run(int phase, const m2s_thread &t, char *shared) const
    {
        if (phase < phases - 1) {
            planes.run(phase, t, shared);
            return;
        }
        const m2s_tiles &tiles = planes.tiles;
        const m2s_tile tile = m2s_tile_at(tiles, t.block);
        const int calls = 2 * planes.unit.scales;
        float *image = dst + tile.image * tiles.h * tiles.w * calls;

        for (int i = t.thread; i < m2s_tile_pixels(tiles) * calls; i += t.threads) {
            const int pixel = i / calls, call = i - pixel * calls;
            int y, x;
            if (m2s_tile_pixel(tiles, tile, pixel, &y, &x)) {
                image[(static_cast<int64_t>(y) * tiles.w + x) * calls + call] = planes.sum(shared, call)[pixel];
            }
        }
    }
};

template <class T, int WIDTH> int launch_planes_as(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    planes_body<T, WIDTH> body = {};

    body.planes.unit = m2s_subtract_of(args->attrs, args->in_shape[0], args->out_shape[0]);
    body.planes.tiles = m2s_subtract_tiles(call, body.planes.unit, args->out_shape[0], WIDTH);
    body.planes.room = m2s_subtract_room_of(body.planes.unit, body.planes.tiles, WIDTH);
    body.planes.a = static_cast<const T *>(args->in[0]);
    body.planes.b = static_cast<const T *>(args->in[1]);
    body.dst = static_cast<float *>(args->out[2]);
    return m2s_cuda_launch(call, body, m2s_cuda_grid{ static_cast<int>(body.planes.tiles.blocks), 1, 1 },
                           M2S_SUBTRACT_THREADS, sizeof(float) * static_cast<size_t>(body.planes.room.count));
}

template <class T> int launch_planes(const m2s_cuda_call *call)
{
    constexpr int WIDTH = 16 / sizeof(T);
    const int64_t channels = call->args->in_shape[1].c;

    return m2s_width_of(sizeof(T), &channels, 1, call->args->in, 2) == WIDTH ? launch_planes_as<T, WIDTH>(call)
                                                                             : launch_planes_as<T, 1>(call);
}

/* ---- statistics: the planes are columns, of all images together ---- */

struct statistics_finish {
    static constexpr int sums = 2;

    const float *planes;
    float *statistics, *spread;
    double pixels, epsilon;

    M2S_HD void column(int, int call, const double (&total)[sums]) const
    {
        float *mean = statistics + 2 * call, *var = mean + 1;

        m2s_spread_of(total, planes[call], pixels, mean, var);
        spread[2 * call] = *mean;
        spread[2 * call + 1] = m2s_inverse_deviation(*var, epsilon);
    }
};

int64_t pixels_of(m2s_shape shape)
{
    return shape.n * shape.h * shape.w;
}

m2s_columns cut_planes(const m2s_ref_args *args)
{
    return m2s_columns_cut(1, pixels_of(args->in_shape[1]), 2 * args->attrs->scales, 1, M2S_COLUMN_SUM_BLOCKS);
}

int launch_statistics(const m2s_cuda_call *call, double *partial, float *spread)
{
    const m2s_ref_args *args = call->args;
    const float *planes = static_cast<const float *>(args->out[2]);
    const m2s_columns cut = cut_planes(args);
    const statistics_finish finish = { planes, static_cast<float *>(args->out[1]), spread,
                                       static_cast<double>(pixels_of(args->in_shape[1])), args->attrs->epsilon };
    int error = m2s_launch_column_sums<1>(call, m2s_spread_sums<float>{ planes }, cut, partial);

    return error != 0 ? error : m2s_launch_column_totals(call, finish, cut, partial);
}

/* ---- the result ---- */

template <class T> struct result_rule {
    m2s_subtract unit;
    m2s_unit_norm norm;
    const T *a, *b;
    const float *planes;
    T *dst;

    template <int WIDTH> M2S_HD void at(const m2s_pixel &p) const
    {
        const T *image = a + p.image * unit.rows.in * unit.columns.in * unit.channels + p.channel;
        const float *s = planes + p.pixel * 2 * unit.scales;
        float value[WIDTH], up[WIDTH], slope[WIDTH], mean[WIDTH], beta[WIDTH];

        m2s_load<WIDTH>(b + p.at, value);
        m2s_upsampled<WIDTH>(unit, image, p.y, p.x, up);
        for (int j = 0; j < WIDTH; j++) {
            value[j] = fabsf(up[j] - value[j]);
        }
        for (int k = 0; k < unit.scales; k++) {
            const float xa = m2s_unit_normal(norm, 2 * k, s[2 * k]),
                        xb = m2s_unit_normal(norm, 2 * k + 1, s[2 * k + 1]);
            m2s_unit_channels<WIDTH>(norm, k, p.channel, slope, mean, beta);
            for (int j = 0; j < WIDTH; j++) {
                float za = m2s_unit_affine(xa, slope[j], mean[j], beta[j]);
                float zb = m2s_unit_affine(xb, slope[j], mean[j], beta[j]);
                za = za < 0.0f ? 0.0f : za; /* a NaN stays one */
                zb = zb < 0.0f ? 0.0f : zb;
                value[j] += fabsf(za - zb);
            }
        }
        m2s_store<WIDTH>(dst + p.at, value);
    }
};

template <class T> int launch_result(const m2s_cuda_call *call, const m2s_unit_norm &norm)
{
    const m2s_ref_args *args = call->args;
    const m2s_shape fine = args->in_shape[1];
    const void *places[] = { args->in[0], args->in[1], args->out[0] };
    const result_rule<T> rule = { m2s_subtract_of(args->attrs, args->in_shape[0], fine),
                                  norm,
                                  static_cast<const T *>(args->in[0]),
                                  static_cast<const T *>(args->in[1]),
                                  static_cast<const float *>(args->out[2]),
                                  static_cast<T *>(args->out[0]) };

    return m2s_with_width<T>(m2s_unit_width(norm, fine.c, sizeof(T), places, 3),
                             [&](auto width) { return m2s_launch_pixels<decltype(width)::value>(call, rule, fine); });
}

/* ---- all of it ---- */

size_t partial_bytes(const m2s_ref_args *args)
{
    return args->attrs->frozen != 0 ? 0 : m2s_column_partial_bytes(cut_planes(args), 2);
}

size_t subtract_train_bytes(const m2s_ref_args *args, m2snet_dtype storage)
{
    (void)storage;
    return partial_bytes(args) +
           sizeof(float) * static_cast<size_t>(m2s_unit_norm_floats(args->attrs, args->in_shape[1].c));
}

template <class T> int launch_subtract_train_as(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const m2s_shape fine = args->in_shape[1];
    double *partial = static_cast<double *>(args->scratch);
    float *spread = reinterpret_cast<float *>(static_cast<char *>(args->scratch) + partial_bytes(args));
    const m2s_unit_norm norm = m2s_unit_norm_of(args->attrs, args->in + 2, fine.c, spread);
    int error = launch_planes<T>(call);

    if (error == 0) {
        error = norm.frozen
                    ? m2s_launch_unit_prepare(call, norm, nullptr, static_cast<float *>(args->out[1]), fine.c, spread)
                    : launch_statistics(call, partial, spread);
    }
    return error != 0 ? error : launch_result<T>(call, norm);
}

int launch_subtract_train(const m2s_cuda_call *call)
{
    return m2s_with_storage(call, [&](auto zero) { return launch_subtract_train_as<decltype(zero)>(call); });
}

} // namespace

extern "C" {
const m2s_cuda_kernel m2s_cuda_multi_scale_subtract_train = { subtract_train_bytes, launch_subtract_train, true };
}
