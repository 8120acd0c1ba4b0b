/* SPDX-License-Identifier: Apache-2.0
 * Sums over all pixels for each channel, through partial sums in a node's scratch. */
#ifndef M2S_BACKENDS_CUDA_CHANNEL_TOTALS_CUH
#define M2S_BACKENDS_CUDA_CHANNEL_TOTALS_CUH

#include "backends/cuda/columns.cuh"
#include "backends/cuda/pixels.cuh"

static inline m2s_columns m2s_channel_cut(int64_t pixels, int64_t channels, int width)
{
    return m2s_columns_cut(1, pixels, channels, width, M2S_COLUMN_SUM_BLOCKS);
}

/* Room for the sums, however wide vectors can be where the numbers turn out to lie. */
static inline size_t m2s_channel_partial_bytes(int64_t pixels, int64_t channels, int sums)
{
    size_t most = 0;

    for (int width = 1; width <= 4; width *= 2) {
        const size_t bytes =
            channels % width == 0 ? m2s_column_partial_bytes(m2s_channel_cut(pixels, channels, width), sums) : 0;
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* Rule and finish are those of columns.cuh; places: what rule reads, of type T. */
template <class T, class Rule, class Finish>
int m2s_launch_channel_totals(const m2s_cuda_call *call, const Rule &rule, const Finish &finish, int64_t pixels,
                              int64_t channels, const void *const *places, int place_count, double *partial)
{
    const int widest = m2s_width_of(sizeof(T), &channels, 1, places, place_count), width = widest < 4 ? widest : 4;
    const m2s_columns cut = m2s_channel_cut(pixels, channels, width);
    const int error = width == 4   ? m2s_launch_column_sums<4>(call, rule, cut, partial)
                      : width == 2 ? m2s_launch_column_sums<2>(call, rule, cut, partial)
                                   : m2s_launch_column_sums<1>(call, rule, cut, partial);

    return error != 0 ? error : m2s_launch_column_totals(call, finish, cut, partial);
}

#endif
