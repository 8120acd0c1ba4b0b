/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cuda/moves.h"

#include "backends/cuda/pixels.cuh"

#define THREADS 256

/* ---- channels ---- */

template <class T> struct move_rule {
    m2s_channel_moves moves;

    template <int WIDTH> M2S_HD void average(const m2s_pixel &p, const T *src, int src_pixel, float (&sum)[WIDTH]) const
    {
        float value[WIDTH];

        for (int j = 0; j < WIDTH; j++) {
            sum[j] = 0.0f;
        }
        for (int i = 0; i < 9; i++) {
            const int y = p.y * moves.stride + i / 3 - 1, x = p.x * moves.stride + i % 3 - 1;
            if (y >= 0 && y < moves.src_h && x >= 0 && x < moves.src_w) {
                m2s_load<WIDTH>(src + ((p.image * moves.src_h + y) * moves.src_w + x) * src_pixel, value);
                for (int j = 0; j < WIDTH; j++) {
                    sum[j] += value[j];
                }
            }
        }
        for (int j = 0; j < WIDTH; j++) {
            sum[j] /= 9.0f;
        }
    }

    template <int WIDTH> M2S_HD void at(const m2s_pixel &p) const
    {
        int k = 0, channel = p.channel;
        float value[WIDTH], more[WIDTH];

        while (channel >= moves.channels + moves.filling) {
            channel -= moves.channels + moves.filling;
            k++;
        }
        const m2s_channel_move &m = moves.move[k];
        if (channel >= moves.channels) {
            if (channel < moves.channels + m.filled) {
                for (int j = 0; j < WIDTH; j++) {
                    value[j] = 0.0f;
                }
                m2s_store<WIDTH>(static_cast<T *>(m.dst) + p.pixel * m.dst_pixel + channel, value);
            }
            return;
        }
        const T *src = static_cast<const T *>(m.src) + channel;
        if (m.averaged) {
            average<WIDTH>(p, src, m.src_pixel, value);
        } else {
            m2s_load<WIDTH>(src + p.pixel * m.src_pixel, value);
        }
        if (m.addend != nullptr) {
            m2s_load<WIDTH>(static_cast<const T *>(m.addend) + p.pixel * m.addend_pixel + channel, more);
            for (int j = 0; j < WIDTH; j++) {
                value[j] += more[j];
            }
        }
        m2s_store<WIDTH>(static_cast<T *>(m.dst) + p.pixel * m.dst_pixel + channel, value);
    }
};

extern "C" int m2s_cuda_move_channels(const m2s_cuda_call *call, const m2s_channel_moves *moves)
{
    const void *places[3 * M2S_MOST_MOVES];
    int64_t counts[2 + 3 * M2S_MOST_MOVES] = { moves->channels, moves->filling };
    const m2s_shape shape = { { moves->n, moves->h, moves->w, moves->count * (moves->channels + moves->filling) } };
    int count = 0;

    for (int k = 0; k < moves->count; k++) {
        const m2s_channel_move *m = &moves->move[k];
        const void *of[3] = { m->dst, m->src, m->addend };
        const int64_t pixels[3] = { m->dst_pixel, m->src_pixel, m->addend_pixel };
        for (int i = 0; i < 3; i++, count++) {
            places[count] = of[i];
            counts[2 + count] = pixels[i];
        }
    }
    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        return m2s_with_width<T>(m2s_width_of(sizeof(T), counts, 2 + count, places, count), [&](auto width) {
            return m2s_launch_pixels<decltype(width)::value>(call, move_rule<T>{ *moves }, shape);
        });
    });
}

/* ---- weights ---- */

template <class To, class From> struct weights_body {
    static constexpr int phases = 1;
    m2s_shape shape; /* o, i, kh, kw */
    To *dst;
    const From *src;
    bool unpack;

    M2S_HD void run(int, const m2s_thread &t, char *) const
    {
        const int64_t window = shape.d[2] * shape.d[3], filter = shape.d[1] * window;

        for (int64_t at = t.first(); at < shape.d[0] * filter; at += t.stride()) {
            const int64_t o = at / filter, rest = at - o * filter;
            /* Results one after the other: reads are the ones that jump. */
            const int64_t i = unpack ? rest / window : rest % shape.d[1];
            const int64_t k = unpack ? rest % window : rest / shape.d[1];
            const int64_t from = o * filter + (unpack ? k * shape.d[1] + i : i * window + k);
            dst[at] = m2s_from_float<To>(m2s_to_float(src[from]));
        }
    }
};

template <class To, class From>
static int launch_weights(const m2s_cuda_call *call, void *dst, const void *src, m2s_shape shape, bool unpack)
{
    const int64_t count = shape.d[0] * shape.d[1] * shape.d[2] * shape.d[3];
    const weights_body<To, From> body = { shape, static_cast<To *>(dst), static_cast<const From *>(src), unpack };

    return m2s_cuda_launch(call, body, m2s_cuda_blocks(call, count, THREADS), THREADS, 0);
}

extern "C" int m2s_cuda_pack_weights(const m2s_cuda_call *call, void *dst, const float *src, m2s_shape shape)
{
    return m2s_with_storage(
        call, [&](auto zero) { return launch_weights<decltype(zero), float>(call, dst, src, shape, false); });
}

extern "C" int m2s_cuda_unpack_weights(const m2s_cuda_call *call, float *dst, const void *src, m2s_shape shape)
{
    return m2s_with_storage(
        call, [&](auto zero) { return launch_weights<float, decltype(zero)>(call, dst, src, shape, true); });
}
