/* SPDX-License-Identifier: Apache-2.0
 * Data moved about without arithmetic: storage types changed, weights transposed. */
#include "backends/cuda/cast.h"
#include "backends/cuda/each.cuh"

namespace
{

/* ---- storage types ---- */

template <class To, class From> struct cast_rule {
    const From *src;
    To *dst;

    template <int WIDTH> M2S_HD void at(int64_t i) const
    {
        float x[WIDTH];

        m2s_load<WIDTH>(src + i, x);
        m2s_store<WIDTH>(dst + i, x);
    }
};

template <class To, class From> int launch_cast(const m2s_cuda_call *call, void *dst, const void *src, int64_t count)
{
    cast_rule<To, From> rule = { static_cast<const From *>(src), static_cast<To *>(dst) };
    bool aligned = m2s_is_aligned(src, 4, sizeof(From)) && m2s_is_aligned(dst, 4, sizeof(To));

    return aligned ? m2s_launch_each<4>(call, rule, count) : m2s_launch_each<1>(call, rule, count);
}

template <class From>
int launch_cast_from(const m2s_cuda_call *call, void *dst, m2snet_dtype to, const void *src, int64_t count)
{
    return to == M2SNET_DTYPE_F16    ? launch_cast<m2s_f16, From>(call, dst, src, count)
           : to == M2SNET_DTYPE_BF16 ? launch_cast<m2s_bf16, From>(call, dst, src, count)
                                     : launch_cast<float, From>(call, dst, src, count);
}

/* ---- transpose_weights: tiles of `side` by `side` windows through shared memory ---- */

constexpr int THREADS = 256;
constexpr int TILE_NUMBERS = 6144; /* 24 KB */

struct transpose_body {
    static constexpr int phases = 2;

    const float *src;
    float *dst;
    int o, i;   /* of src */
    int taps;   /* of a window */
    int side;   /* of a tile */
    int stride; /* of a tile's row in shared memory: odd, so that columns fall into different banks */

    M2S_HD void run(int phase, const m2s_thread &t, char *shared) const
    {
        float *tile = reinterpret_cast<float *>(shared);
        int first_i = t.block * side, first_o = t.block_y * side;
        int wide = (i - first_i < side ? i - first_i : side), high = (o - first_o < side ? o - first_o : side);

        if (phase == 0) {
            for (int at = t.thread; at < high * wide * taps; at += t.threads) {
                int row = at / (wide * taps), rest = at % (wide * taps);
                tile[row * stride + rest] = src[(static_cast<int64_t>(first_o + row) * i + first_i) * taps + rest];
            }
            return;
        }
        for (int at = t.thread; at < wide * high * taps; at += t.threads) {
            int row = at / (high * taps), rest = at % (high * taps), column = rest / taps, tap = rest % taps;
            dst[(static_cast<int64_t>(first_i + row) * o + first_o) * taps + rest] =
                tile[column * stride + row * taps + taps - 1 - tap];
        }
    }
};

/* Windows too large for a tile. */
struct transpose_rule {
    const float *src;
    float *dst;
    int64_t o, i, taps;

    template <int WIDTH> M2S_HD void at(int64_t e) const
    {
        int64_t window = e / taps, tap = e % taps;

        static_assert(WIDTH == 1, "numbers one by one");
        dst[e] = src[(window % o * i + window / o) * taps + taps - 1 - tap];
    }
};

int launch_transpose(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    m2s_shape shape = args->in_shape[0];
    const float *src = static_cast<const float *>(args->in[0]);
    float *dst = static_cast<float *>(args->out[0]);
    int64_t taps = shape.kh * shape.kw;
    int side = 32;

    while (side > 1 && side * (side * taps + 1) > TILE_NUMBERS) {
        side /= 2;
    }
    if (side < 4 || (shape.o + side - 1) / side > 65535) {
        return m2s_launch_each<1>(call, transpose_rule{ src, dst, shape.o, shape.i, taps }, shape.o * shape.i * taps);
    }
    int stride = static_cast<int>(side * taps) | 1;
    transpose_body body = { src,  dst,   static_cast<int>(shape.o), static_cast<int>(shape.i), static_cast<int>(taps),
                            side, stride };
    m2s_cuda_grid grid = { (body.i + side - 1) / side, (body.o + side - 1) / side, 1 };

    return m2s_cuda_launch(call, body, grid, THREADS, static_cast<size_t>(side * stride) * sizeof(float));
}

} // namespace

extern "C" {
int m2s_cuda_cast(const m2s_cuda_call *call, void *dst, m2snet_dtype to, const void *src, m2snet_dtype from,
                  int64_t count)
{
    return from == M2SNET_DTYPE_F16    ? launch_cast_from<m2s_f16>(call, dst, to, src, count)
           : from == M2SNET_DTYPE_BF16 ? launch_cast_from<m2s_bf16>(call, dst, to, src, count)
                                       : launch_cast_from<float>(call, dst, to, src, count);
}

const m2s_cuda_kernel m2s_cuda_transpose_weights = { nullptr, launch_transpose, false };
}
