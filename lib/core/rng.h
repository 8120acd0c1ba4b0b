/* SPDX-License-Identifier: Apache-2.0
 * Random numbers counted from a key: number i of a stream is the same whoever asks, in any order. */
#ifndef M2S_CORE_RNG_H
#define M2S_CORE_RNG_H

#include <stdint.h>

/* The stream of a seed and a name. */
uint64_t m2s_rng_stream(uint64_t seed, const char *name);
/* 64 random bits. */
uint64_t m2s_rng_bits(uint64_t stream, uint64_t index);
/* In [0, 1), 53 bits. */
double m2s_rng_uniform(uint64_t stream, uint64_t index);
/* Mean 0, variance 1: the sum of twelve uniforms less six, so exact arithmetic on every machine. */
double m2s_rng_normal(uint64_t stream, uint64_t index);

#endif
