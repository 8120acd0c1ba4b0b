/* SPDX-License-Identifier: Apache-2.0
 * The multi-scale subtraction unit as inference has it (MODELS.md 2.2): one launch, a block a tile. A and B are read
 * once for their sums and once, by then from a cache, for the result. */
#include "backends/cuda/subtract.cuh"

namespace
{

/* SCALES: the most filtered scales it is for; slope and offset of a thread's channels stay in registers. */
template <class T, int WIDTH, int SCALES> struct subtract_body {
    static constexpr int phases = m2s_subtract_planes<T, WIDTH>::phases + 1;

    m2s_subtract_planes<T, WIDTH> planes;
    const float *slope[SCALES], *offset[SCALES];
    T *dst;

    M2S_HD void result(const m2s_thread &t, const char *shared) const
    {
        const m2s_subtract &unit = planes.unit;
        const m2s_tile tile = m2s_tile_at(planes.tiles, t.block);
        const int vectors = unit.channels / WIDTH, side = vectors < t.threads ? vectors : t.threads;
        const int pixels = m2s_tile_pixels(planes.tiles), step = t.threads / side;
        const T *a = planes.image_of_a(tile), *b = planes.image_of_b(tile);
        T *to = dst + tile.image * planes.tiles.h * planes.tiles.w * unit.channels;

        for (int v = t.thread % side; t.thread < step * side && v < vectors; v += side) {
            float slopes[SCALES][WIDTH] = {}, offsets[SCALES][WIDTH] = {};
            for (int k = 0; k < SCALES; k++) {
                for (int j = 0; j < WIDTH && k < unit.scales; j++) {
                    slopes[k][j] = slope[k][v * WIDTH + j];
                    offsets[k][j] = offset[k][v * WIDTH + j];
                }
            }
            for (int i = t.thread / side; i < pixels; i += step) {
                int y, x;
                if (!m2s_tile_pixel(planes.tiles, tile, i, &y, &x)) {
                    continue;
                }
                const int64_t at = (static_cast<int64_t>(y) * planes.tiles.w + x) * unit.channels + v * WIDTH;
                float value[WIDTH], up[WIDTH];
                m2s_load<WIDTH>(b + at, value);
                m2s_upsampled<WIDTH>(unit, a + v * WIDTH, y, x, up);
                for (int j = 0; j < WIDTH; j++) {
                    value[j] = fabsf(up[j] - value[j]);
                }
                for (int k = 0; k < SCALES; k++) {
                    if (k < unit.scales) {
                        const float of_a = planes.sum(shared, 2 * k)[i], of_b = planes.sum(shared, 2 * k + 1)[i];
                        for (int j = 0; j < WIDTH; j++) {
                            float za = fmaf(slopes[k][j], of_a, offsets[k][j]);
                            float zb = fmaf(slopes[k][j], of_b, offsets[k][j]);
                            za = za < 0.0f ? 0.0f : za; /* a NaN stays one */
                            zb = zb < 0.0f ? 0.0f : zb;
                            value[j] += fabsf(za - zb);
                        }
                    }
                }
                m2s_store<WIDTH>(to + at, value);
            }
        }
    }

    M2S_HD void run(int phase, const m2s_thread &t, char *shared) const
    {
        if (phase == phases - 1) {
            result(t, shared);
        } else if (planes.unit.scales != 0) {
            planes.run(phase, t, shared);
        }
    }
};

template <class T, int WIDTH, int SCALES> int launch_as(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    subtract_body<T, WIDTH, SCALES> body = {};

    body.planes.unit = m2s_subtract_of(args->attrs, args->in_shape[0], args->out_shape[0]);
    body.planes.tiles = m2s_subtract_tiles(call, body.planes.unit, args->out_shape[0], WIDTH);
    body.planes.room = m2s_subtract_room_of(body.planes.unit, body.planes.tiles, WIDTH);
    body.planes.a = static_cast<const T *>(args->in[0]);
    body.planes.b = static_cast<const T *>(args->in[1]);
    body.dst = static_cast<T *>(args->out[0]);
    for (int k = 0; k < body.planes.unit.scales; k++) {
        body.slope[k] = static_cast<const float *>(args->in[2 + 2 * k]);
        body.offset[k] = static_cast<const float *>(args->in[3 + 2 * k]);
    }
    return m2s_cuda_launch(call, body, m2s_cuda_grid{ static_cast<int>(body.planes.tiles.blocks), 1, 1 },
                           M2S_SUBTRACT_THREADS, sizeof(float) * static_cast<size_t>(body.planes.room.count));
}

/* 16 bytes at a time where the channels allow it; more scales than the networks have, one by one. */
template <class T> int launch_stored(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const void *places[] = { args->in[0], args->in[1], args->out[0] };
    constexpr int WIDTH = 16 / sizeof(T);
    const bool wide = m2s_width_of(sizeof(T), &args->out_shape[0].c, 1, places, 3) == WIDTH;

    switch (args->attrs->scales) {
    case 0:
    case 1:
        return wide ? launch_as<T, WIDTH, 1>(call) : launch_as<T, 1, 1>(call);
    case 2:
        return wide ? launch_as<T, WIDTH, 2>(call) : launch_as<T, 1, 2>(call);
    case 3:
        return wide ? launch_as<T, WIDTH, 3>(call) : launch_as<T, 1, 3>(call);
    default:
        return launch_as<T, 1, M2S_MAX_SCALES>(call);
    }
}

int launch_subtract(const m2s_cuda_call *call)
{
    return m2s_with_storage(call, [&](auto zero) { return launch_stored<decltype(zero)>(call); });
}

} // namespace

extern "C" {
const m2s_cuda_kernel m2s_cuda_multi_scale_subtract = { nullptr, launch_subtract, true };
}
