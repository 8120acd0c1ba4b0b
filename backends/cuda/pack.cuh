/* SPDX-License-Identifier: Apache-2.0
 * A few neighbouring numbers, read and written by one instruction where they are aligned. */
#ifndef M2S_BACKENDS_CUDA_PACK_CUH
#define M2S_BACKENDS_CUDA_PACK_CUH

#include "backends/cuda/kernel.cuh"

template <class T, int WIDTH> struct alignas(sizeof(T) * WIDTH) m2s_numbers {
    T at[WIDTH];
};

/* WIDTH numbers from src, which is aligned to as many. */
template <int WIDTH, class T> M2S_HD inline void m2s_load(const T *src, float (&values)[WIDTH])
{
    const m2s_numbers<T, WIDTH> read = *reinterpret_cast<const m2s_numbers<T, WIDTH> *>(src);

    for (int i = 0; i < WIDTH; i++) {
        values[i] = m2s_to_float(read.at[i]);
    }
}

template <int WIDTH, class T> M2S_HD inline void m2s_store(T *dst, const float (&values)[WIDTH])
{
    m2s_numbers<T, WIDTH> written;

    for (int i = 0; i < WIDTH; i++) {
        written.at[i] = m2s_from_float<T>(values[i]);
    }
    *reinterpret_cast<m2s_numbers<T, WIDTH> *>(dst) = written;
}

/* Whether numbers of `size` bytes from there on can be read `width` at a time. NULL can. */
static inline bool m2s_is_aligned(const void *data, int width, size_t size)
{
    return reinterpret_cast<uintptr_t>(data) % (static_cast<size_t>(width) * size) == 0;
}

#endif
