/* SPDX-License-Identifier: Apache-2.0 */
#include "core/rng.h"

uint64_t m2s_rng_bits(uint64_t stream, uint64_t index)
{
    uint64_t z = stream + (index + 1) * 0x9e3779b97f4a7c15u; /* SplitMix64 */

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t m2s_rng_stream(uint64_t seed, const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (; *name != '\0'; name++) {
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    }
    return m2s_rng_bits(hash, seed);
}

double m2s_rng_uniform(uint64_t stream, uint64_t index)
{
    return (double)(m2s_rng_bits(stream, index) >> 11) * 0x1p-53;
}

double m2s_rng_normal(uint64_t stream, uint64_t index)
{
    double sum = -6.0;

    for (uint64_t i = 0; i < 12; i++) {
        sum += m2s_rng_uniform(stream, 12 * index + i);
    }
    return sum;
}
