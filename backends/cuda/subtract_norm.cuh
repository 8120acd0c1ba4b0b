/* SPDX-License-Identifier: Apache-2.0
 * Batch norm in a unit's training form (MODELS.md 2.3): z = slope (x - mean) + beta by channel, where x is the plane
 * normalised by its own statistics, slope gamma and mean 0; or, frozen, the plane itself, with the running values.
 * Forward and gradient compute z alike, so that a gradient cuts where the result was cut. */
#ifndef M2S_BACKENDS_CUDA_SUBTRACT_NORM_CUH
#define M2S_BACKENDS_CUDA_SUBTRACT_NORM_CUH

#include "backends/cuda/pixels.cuh"

struct m2s_unit_norm {
    const float *gamma[M2S_MAX_SCALES], *beta[M2S_MAX_SCALES], *mean[M2S_MAX_SCALES], *var[M2S_MAX_SCALES];
    const float *slope[M2S_MAX_SCALES]; /* gamma, or where frozen, gamma / deviation */
    const float *spread;                /* mean and 1 / deviation of each call; 0 and 1 where frozen */
    double epsilon;
    int scales;
    bool frozen;
};

/* What m2s_unit_norm_of takes of scratch, in floats: spread, then slopes. */
static inline int64_t m2s_unit_norm_floats(const m2s_attrs *attrs, int64_t channels)
{
    return 4 * attrs->scales + (attrs->frozen != 0 ? attrs->scales * channels : 0);
}

/* norms: gamma, beta, running mean and running variance of each scale. */
static inline m2s_unit_norm m2s_unit_norm_of(const m2s_attrs *attrs, const void *const *norms, int64_t channels,
                                             float *scratch)
{
    m2s_unit_norm norm = {};

    norm.spread = scratch;
    norm.epsilon = attrs->epsilon;
    norm.scales = attrs->scales;
    norm.frozen = attrs->frozen != 0;
    for (int k = 0; k < norm.scales; k++) {
        norm.gamma[k] = static_cast<const float *>(norms[4 * k]);
        norm.beta[k] = static_cast<const float *>(norms[4 * k + 1]);
        norm.mean[k] = static_cast<const float *>(norms[4 * k + 2]);
        norm.var[k] = static_cast<const float *>(norms[4 * k + 3]);
        norm.slope[k] = norm.frozen ? scratch + 4 * norm.scales + k * channels : norm.gamma[k];
    }
    return norm;
}

/* Adds what is read by vectors of channels to a list of places, which has room for three of each scale. */
static inline int m2s_unit_norm_places(const m2s_unit_norm &norm, const void **places, int count)
{
    for (int k = 0; k < norm.scales; k++) {
        places[count++] = norm.slope[k];
        places[count++] = norm.beta[k];
        if (norm.frozen) {
            places[count++] = norm.mean[k];
        }
    }
    return count;
}

/* How many channels go at a time: of activations of `size` bytes in these places, and of the floats of norms. */
static inline int m2s_unit_width(const m2s_unit_norm &norm, int64_t channels, size_t size, const void *const *places,
                                 int place_count)
{
    const void *floats[3 * M2S_MAX_SCALES];
    const int of_floats = m2s_width_of(sizeof(float), &channels, 1, floats, m2s_unit_norm_places(norm, floats, 0));
    const int width = m2s_width_of(size, &channels, 1, places, place_count);

    return width < of_floats ? width : of_floats;
}

M2S_HD inline float m2s_inverse_deviation(float var, double epsilon)
{
    return static_cast<float>(1.0 / sqrt(static_cast<double>(var) + epsilon));
}

/* Call `call` of a unit, 2k for A' and 2k + 1 for B, normalised: x. */
M2S_HD inline float m2s_unit_normal(const m2s_unit_norm &norm, int call, float s)
{
    return (s - norm.spread[2 * call]) * norm.spread[2 * call + 1];
}

M2S_HD inline float m2s_unit_affine(float x, float slope, float mean, float beta)
{
    return fmaf(slope, x - mean, beta);
}

/* WIDTH channels of scale k. */
template <int WIDTH>
M2S_HD void m2s_unit_channels(const m2s_unit_norm &norm, int k, int channel, float (&slope)[WIDTH],
                              float (&mean)[WIDTH], float (&beta)[WIDTH])
{
    m2s_load<WIDTH>(norm.slope[k] + channel, slope);
    m2s_load<WIDTH>(norm.beta[k] + channel, beta);
    for (int j = 0; j < WIDTH; j++) {
        mean[j] = 0.0f;
    }
    if (norm.frozen) {
        m2s_load<WIDTH>(norm.mean[k] + channel, mean);
    }
}

/* The spread from known statistics and, where frozen, the slopes. Statistics that are not known yet, or none where
 * frozen, are NULL. */
struct m2s_unit_prepare {
    static constexpr int phases = 1;

    m2s_unit_norm norm;
    const float *statistics;
    float *spread, *slopes, *zeros; /* zeros: where frozen statistics go, or NULL */
    int channels;

    M2S_HD void run(int, const m2s_thread &t, char *) const
    {
        const int step = static_cast<int>(t.stride());

        for (int i = static_cast<int>(t.first()); i < 2 * norm.scales; i += step) {
            spread[2 * i] = norm.frozen ? 0.0f : statistics[2 * i];
            spread[2 * i + 1] = norm.frozen ? 1.0f : m2s_inverse_deviation(statistics[2 * i + 1], norm.epsilon);
        }
        for (int i = static_cast<int>(t.first()); zeros != nullptr && i < 4 * norm.scales; i += step) {
            zeros[i] = 0.0f;
        }
        for (int i = static_cast<int>(t.first()); norm.frozen && i < norm.scales * channels; i += step) {
            const int k = i / channels, c = i - k * channels;
            const double deviation = sqrt(static_cast<double>(norm.var[k][c]) + norm.epsilon);
            slopes[i] = static_cast<float>(static_cast<double>(norm.gamma[k][c]) / deviation);
        }
    }
};

static inline int m2s_launch_unit_prepare(const m2s_cuda_call *call, const m2s_unit_norm &norm, const float *statistics,
                                          float *zeros, int64_t channels, float *scratch)
{
    const m2s_unit_prepare body = { norm,    statistics,
                                    scratch, scratch + 4 * norm.scales,
                                    zeros,   static_cast<int>(channels) };

    return m2s_cuda_launch(call, body, m2s_cuda_grid{ 1, 1, 1 }, 256, 0);
}

#endif
