/* SPDX-License-Identifier: Apache-2.0
 * Sums over pixels, one a channel, in a step's scratch: each chunk of pixels writes two rows of doubles, and a short
 * task adds up what the chunks found, in their order. In front of them lie rows of floats that the tasks share. Rows
 * are m2s_norm_padded(channels) numbers wide. */
#ifndef M2S_BACKENDS_CPU_CHANNEL_SUMS_H
#define M2S_BACKENDS_CPU_CHANNEL_SUMS_H

#include "backends/cpu/plan.h"

#define M2S_CHANNELS_AT_ONCE 256 /* of a chunk of the short tasks */

static inline int64_t m2s_pixels_of(m2s_shape shape)
{
    return shape.n * shape.h * shape.w;
}

static inline size_t m2s_channel_scratch(int64_t channels, int64_t float_rows, int64_t chunks)
{
    return (size_t)m2s_norm_padded(channels) *
           ((size_t)float_rows * sizeof(float) + (size_t)chunks * 2 * sizeof(double));
}

static inline float *m2s_channel_row(const m2s_step *step, int64_t channels, int64_t row)
{
    return (float *)step->args.scratch + row * m2s_norm_padded(channels);
}

static inline double *m2s_chunk_sums(const m2s_step *step, int64_t channels, int64_t float_rows, int64_t chunk)
{
    int64_t padded = m2s_norm_padded(channels);

    return (double *)(void *)((float *)step->args.scratch + padded * float_rows) + chunk * 2 * padded;
}

/* Row 0 or 1 of the sums of all chunks, at channel c. */
static inline double m2s_channel_total(const m2s_step *step, int64_t channels, int64_t float_rows, int64_t chunks,
                                       int64_t row, int64_t c)
{
    const double *sums = m2s_chunk_sums(step, channels, float_rows, 0) + row * m2s_norm_padded(channels) + c;
    double sum = 0.0;

    for (int64_t k = 0; k < chunks; k++) {
        sum += sums[k * 2 * m2s_norm_padded(channels)];
    }
    return sum;
}

static inline m2s_cut m2s_channel_range(int64_t channels, int64_t chunk)
{
    int64_t begin = chunk * M2S_CHANNELS_AT_ONCE;

    return (m2s_cut){ begin, channels - begin < M2S_CHANNELS_AT_ONCE ? channels : begin + M2S_CHANNELS_AT_ONCE };
}

static inline int64_t m2s_channel_chunks(int64_t channels)
{
    return (channels + M2S_CHANNELS_AT_ONCE - 1) / M2S_CHANNELS_AT_ONCE;
}

#endif
