/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cuda/moves.h"

#include "backends/cuda/kernel.cuh"

#define THREADS 256

/* ---- channels ---- */

template <class T> struct move_body {
    static constexpr int phases = 1;
    m2s_channel_move m; /* in units of `T` */
    bool addend;

    M2S_HD void run(int, const m2s_thread &t, char *) const
    {
        const int64_t count = m.pixels * m.channels;
        T *dst = static_cast<T *>(m.dst);
        const T *src = static_cast<const T *>(m.src);
        const T *second = static_cast<const T *>(m.addend);

        for (int64_t i = t.first(); i < count; i += t.stride()) {
            const int64_t pixel = i / m.channels;
            const int channel = (int)(i - pixel * m.channels);
            T value = src[pixel * m.src_pixel + channel];
            if (addend) {
                value = m2s_from_float<T>(m2s_to_float(value) + m2s_to_float(second[pixel * m.addend_pixel + channel]));
            }
            dst[pixel * m.dst_pixel + channel] = value;
        }
    }
};

template <class T> struct move_four_body {
    static constexpr int phases = 1;
    m2s_channel_move m; /* in units of four */
    bool addend;

    M2S_HD void run(int, const m2s_thread &t, char *) const
    {
        const int64_t count = m.pixels * m.channels;
        m2s_four<T> *dst = static_cast<m2s_four<T> *>(m.dst);
        const m2s_four<T> *src = static_cast<const m2s_four<T> *>(m.src);
        const m2s_four<T> *second = static_cast<const m2s_four<T> *>(m.addend);

        for (int64_t i = t.first(); i < count; i += t.stride()) {
            const int64_t pixel = i / m.channels;
            const int channel = (int)(i - pixel * m.channels);
            m2s_four<T> value = src[pixel * m.src_pixel + channel];
            if (addend) {
                const m2s_four<T> other = second[pixel * m.addend_pixel + channel];
                for (int j = 0; j < 4; j++) {
                    value.v[j] = m2s_from_float<T>(m2s_to_float(value.v[j]) + m2s_to_float(other.v[j]));
                }
            }
            dst[pixel * m.dst_pixel + channel] = value;
        }
    }
};

template <class T> static bool in_fours(const m2s_channel_move *m)
{
    const uintptr_t pointers = reinterpret_cast<uintptr_t>(m->dst) | reinterpret_cast<uintptr_t>(m->src) |
                               reinterpret_cast<uintptr_t>(m->addend);

    return (m->channels | m->dst_pixel | m->src_pixel | m->addend_pixel) % 4 == 0 && pointers % (4 * sizeof(T)) == 0;
}

template <class T> static int move_stored(const m2s_cuda_call *call, const m2s_channel_move *move)
{
    m2s_channel_move m = *move;

    if (in_fours<T>(move)) {
        m.channels /= 4;
        m.dst_pixel /= 4;
        m.src_pixel /= 4;
        m.addend_pixel /= 4;
        return m2s_cuda_launch(call, move_four_body<T>{ m, m.addend != nullptr },
                               m2s_cuda_blocks(call, m.pixels * m.channels, THREADS), THREADS, 0);
    }
    return m2s_cuda_launch(call, move_body<T>{ m, m.addend != nullptr },
                           m2s_cuda_blocks(call, m.pixels * m.channels, THREADS), THREADS, 0);
}

extern "C" int m2s_cuda_move_channels(const m2s_cuda_call *call, const m2s_channel_move *move)
{
    switch (call->storage) {
    case M2SNET_DTYPE_F16:
        return move_stored<m2s_f16>(call, move);
    case M2SNET_DTYPE_BF16:
        return move_stored<m2s_bf16>(call, move);
    default:
        return move_stored<float>(call, move);
    }
}

/* ---- weights ---- */

template <class T> struct weights_body {
    static constexpr int phases = 1;
    m2s_shape shape; /* o, i, kh, kw */
    T *dst;
    const float *src;
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
            dst[at] = m2s_from_float<T>(src[from]);
        }
    }
};

template <class T>
static int launch_weights(const m2s_cuda_call *call, void *dst, const float *src, m2s_shape shape, bool unpack)
{
    const int64_t count = shape.d[0] * shape.d[1] * shape.d[2] * shape.d[3];

    return m2s_cuda_launch(call, weights_body<T>{ shape, static_cast<T *>(dst), src, unpack },
                           m2s_cuda_blocks(call, count, THREADS), THREADS, 0);
}

extern "C" int m2s_cuda_pack_weights(const m2s_cuda_call *call, void *dst, const float *src, m2s_shape shape)
{
    switch (call->storage) {
    case M2SNET_DTYPE_F16:
        return launch_weights<m2s_f16>(call, dst, src, shape, false);
    case M2SNET_DTYPE_BF16:
        return launch_weights<m2s_bf16>(call, dst, src, shape, false);
    default:
        return launch_weights<float>(call, dst, src, shape, false);
    }
}

extern "C" int m2s_cuda_unpack_weights(const m2s_cuda_call *call, float *dst, const float *src, m2s_shape shape)
{
    return launch_weights<float>(call, dst, src, shape, true);
}
