/* SPDX-License-Identifier: Apache-2.0
 * core/rng.h's bits, for kernels. */
#ifndef M2S_BACKENDS_CUDA_RNG_CUH
#define M2S_BACKENDS_CUDA_RNG_CUH

#include "backends/cuda/kernel.cuh"

M2S_HD inline uint64_t m2s_device_rng_bits(uint64_t stream, uint64_t index)
{
    uint64_t z = stream + (index + 1) * 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

#endif
