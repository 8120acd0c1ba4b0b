/* SPDX-License-Identifier: Apache-2.0
 * What a kernel is, and the only place that knows how one is launched: as a grid on the device when nvcc compiles, as
 * loops over blocks and threads when a C++ compiler does (the tests run every kernel that way, without a device).
 *
 * A kernel is a struct of plain data with
 *     static constexpr int phases = N;
 *     M2S_HD void run(int phase, const m2s_thread &t, char *shared) const;
 * run is called by every thread of a block for phase 0, 1, ... N-1; all threads of the block meet between two phases,
 * and what must survive from one to the next goes through shared memory, which begins as noise. phase is a constant
 * once the compiler has inlined run. No atomics, no warp intrinsics: the result is the same on every run.
 *
 * One that goes on in rounds, each of `phases` phases, is launched by m2s_cuda_launch_rounds and is a struct with
 *     static constexpr int phases = N, threads = M;   threads: of every block
 *     struct own { ... };                             what a thread keeps, in registers; begins as zeros
 *     M2S_HD int rounds() const;
 *     M2S_HD void run(int round, int phase, const m2s_thread &t, own &mine, char *shared) const;
 * All threads of a block meet between two rounds as well. */
#ifndef M2S_BACKENDS_CUDA_KERNEL_CUH
#define M2S_BACKENDS_CUDA_KERNEL_CUH

#include "backends/cuda/cuda.h"
#include "core/half.h"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#define M2S_HD __host__ __device__
#else
#define M2S_HD
#endif

/* Before a loop: all of its rounds at once, or short code where it is rarely run through. */
#if defined(__CUDA_ARCH__)
#define M2S_UNROLL    _Pragma("unroll")
#define M2S_NO_UNROLL _Pragma("unroll 1")
#else
#define M2S_UNROLL
#define M2S_NO_UNROLL
#endif

struct m2s_thread {
    int block, block_y, block_z; /* which block */
    int blocks;                  /* how many along x */
    int thread;                  /* which thread of the block */
    int threads;                 /* how many in the block */

    /* For loops over elements with all blocks along x: i = first(), i < n, i += stride(). */
    M2S_HD int64_t first() const
    {
        return (int64_t)block * threads + thread;
    }
    M2S_HD int64_t stride() const
    {
        return (int64_t)blocks * threads;
    }
};

/* ---- storage types of activations; arithmetic is float ---- */

struct m2s_f16 {
    uint16_t bits;
};

struct m2s_bf16 {
    uint16_t bits;
};

M2S_HD inline float m2s_to_float(float value)
{
    return value;
}

M2S_HD inline float m2s_to_float(m2s_f16 value)
{
#if defined(__CUDA_ARCH__)
    return __half2float(__ushort_as_half(value.bits));
#else
    return m2s_f16_to_float(value.bits);
#endif
}

M2S_HD inline float m2s_to_float(m2s_bf16 value)
{
#if defined(__CUDA_ARCH__)
    return __uint_as_float((unsigned)value.bits << 16);
#else
    return m2s_bf16_to_float(value.bits);
#endif
}

template <class T> M2S_HD T m2s_from_float(float value);

template <> M2S_HD inline float m2s_from_float<float>(float value)
{
    return value;
}

template <> M2S_HD inline m2s_f16 m2s_from_float<m2s_f16>(float value)
{
#if defined(__CUDA_ARCH__)
    return m2s_f16{ __half_as_ushort(__float2half_rn(value)) };
#else
    return m2s_f16{ m2s_float_to_f16(value) };
#endif
}

template <> M2S_HD inline m2s_bf16 m2s_from_float<m2s_bf16>(float value)
{
#if defined(__CUDA_ARCH__)
    return m2s_bf16{ __bfloat16_as_ushort(__float2bfloat16_rn(value)) };
#else
    return m2s_bf16{ m2s_float_to_bf16(value) };
#endif
}

/* Four neighbours in one access: data aligned to four elements, that is, channel counts that are multiples of 4. */
template <class T> struct alignas(4 * sizeof(T)) m2s_four {
    T v[4];
};

/* ---- launching ---- */

#if defined(__CUDACC__)

template <int phase, class Body>
__device__ inline void m2s_cuda_phases(const Body &body, const m2s_thread &t, char *shared)
{
    body.run(phase, t, shared);
    if constexpr (phase + 1 < Body::phases) {
        __syncthreads();
        m2s_cuda_phases<phase + 1>(body, t, shared);
    }
}

template <class Body> __global__ void __launch_bounds__(M2S_CUDA_MAX_THREADS) m2s_cuda_run(const Body body)
{
    extern __shared__ __align__(16) char shared[];
    const m2s_thread t = { (int)blockIdx.x, (int)blockIdx.y,  (int)blockIdx.z,
                           (int)gridDim.x,  (int)threadIdx.x, (int)blockDim.x };
    m2s_cuda_phases<0>(body, t, shared);
}

template <int phase, class Body>
__device__ inline void m2s_cuda_round(const Body &body, int round, const m2s_thread &t, typename Body::own &mine,
                                      char *shared)
{
    body.run(round, phase, t, mine, shared);
    __syncthreads();
    if constexpr (phase + 1 < Body::phases) {
        m2s_cuda_round<phase + 1>(body, round, t, mine, shared);
    }
}

template <class Body> __global__ void __launch_bounds__(Body::threads) m2s_cuda_run_rounds(const Body body)
{
    extern __shared__ __align__(16) char shared[];
    const m2s_thread t = { (int)blockIdx.x, (int)blockIdx.y,  (int)blockIdx.z,
                           (int)gridDim.x,  (int)threadIdx.x, (int)blockDim.x };
    const int rounds = body.rounds();
    typename Body::own mine = {};
    for (int round = 0; round < rounds; round++) {
        m2s_cuda_round<0>(body, round, t, mine, shared);
    }
}

#else

template <int phase, class Body>
inline void m2s_cuda_phases(const Body &body, m2s_thread t, bool backwards, char *shared)
{
    /* Blocks take turns in the order of their threads: one that reads what its neighbour writes in the same phase
     * gives different results. */
    for (int i = 0; i < t.threads; i++) {
        t.thread = backwards ? t.threads - 1 - i : i;
        body.run(phase, t, shared);
    }
    if constexpr (phase + 1 < Body::phases) {
        m2s_cuda_phases<phase + 1>(body, t, !backwards, shared);
    }
}

/* run(t) for each block. */
template <class Run>
void m2s_cuda_each_block(m2s_cuda_grid grid, int threads, char *shared, size_t shared_bytes, const Run &run)
{
    for (int z = 0; z < grid.z; z++) {
        for (int y = 0; y < grid.y; y++) {
            for (int x = 0; x < grid.x; x++) {
                if (shared_bytes != 0) {
                    memset(shared, 0xff, shared_bytes); /* NaNs */
                }
                run(m2s_thread{ x, y, z, grid.x, 0, threads });
            }
        }
    }
}

template <class Body>
void m2s_cuda_run(const void *data, m2s_cuda_grid grid, int threads, char *shared, size_t shared_bytes)
{
    const Body &body = *static_cast<const Body *>(data);

    m2s_cuda_each_block(grid, threads, shared, shared_bytes,
                        [&](const m2s_thread &t) { m2s_cuda_phases<0>(body, t, (t.block & 1) != 0, shared); });
}

template <int phase, class Body>
inline void m2s_cuda_round(const Body &body, int round, m2s_thread t, typename Body::own *all, bool backwards,
                           char *shared)
{
    for (int i = 0; i < Body::threads; i++) {
        t.thread = backwards ? Body::threads - 1 - i : i;
        body.run(round, phase, t, all[t.thread], shared);
    }
    if constexpr (phase + 1 < Body::phases) {
        m2s_cuda_round<phase + 1>(body, round, t, all, !backwards, shared);
    }
}

template <class Body>
void m2s_cuda_run_rounds(const void *data, m2s_cuda_grid grid, int threads, char *shared, size_t shared_bytes)
{
    const Body &body = *static_cast<const Body *>(data);
    const int rounds = body.rounds();

    m2s_cuda_each_block(grid, threads, shared, shared_bytes, [&](const m2s_thread &t) {
        typename Body::own all[Body::threads] = {};
        for (int round = 0; round < rounds; round++) {
            m2s_cuda_round<0>(body, round, t, all, ((t.block + round) & 1) != 0, shared);
        }
    });
}

#endif

static inline bool m2s_cuda_is_launchable(m2s_cuda_grid grid, int threads, size_t shared_bytes)
{
    return grid.x >= 0 && grid.y >= 0 && grid.z >= 0 && grid.y <= 65535 && grid.z <= 65535 && threads >= 1 &&
           threads <= M2S_CUDA_MAX_THREADS && shared_bytes <= M2S_CUDA_MAX_SHARED;
}

/* 0 or the runtime's error number. An empty grid launches nothing. */
template <class Body>
int m2s_cuda_launch(const m2s_cuda_call *call, const Body &body, m2s_cuda_grid grid, int threads, size_t shared_bytes)
{
    static_assert(sizeof(Body) <= 4000, "a kernel's parameters are 4 KB at most");
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) {
        return 0;
    }
    if (!m2s_cuda_is_launchable(grid, threads, shared_bytes)) {
        return M2S_CUDA_ERROR_CONFIGURATION;
    }
#if defined(__CUDACC__)
    m2s_cuda_run<Body><<<dim3((unsigned)grid.x, (unsigned)grid.y, (unsigned)grid.z), (unsigned)threads, shared_bytes,
                         static_cast<cudaStream_t>(call->stream)>>>(body);
    return (int)cudaGetLastError();
#else
    return m2s_cuda_host_launch(call->stream, m2s_cuda_run<Body>, &body, sizeof body, grid, threads, shared_bytes);
#endif
}

/* The same for a body that goes on in rounds. */
template <class Body>
int m2s_cuda_launch_rounds(const m2s_cuda_call *call, const Body &body, m2s_cuda_grid grid, size_t shared_bytes)
{
    static_assert(sizeof(Body) <= 4000, "a kernel's parameters are 4 KB at most");
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) {
        return 0;
    }
    if (!m2s_cuda_is_launchable(grid, Body::threads, shared_bytes)) {
        return M2S_CUDA_ERROR_CONFIGURATION;
    }
#if defined(__CUDACC__)
    m2s_cuda_run_rounds<Body><<<dim3((unsigned)grid.x, (unsigned)grid.y, (unsigned)grid.z), (unsigned)Body::threads,
                                shared_bytes, static_cast<cudaStream_t>(call->stream)>>>(body);
    return (int)cudaGetLastError();
#else
    return m2s_cuda_host_launch(call->stream, m2s_cuda_run_rounds<Body>, &body, sizeof body, grid, Body::threads,
                                shared_bytes);
#endif
}

/* Blocks along x for a loop over count elements (or groups of them): enough to fill the device, and no more. */
inline m2s_cuda_grid m2s_cuda_blocks(const m2s_cuda_call *call, int64_t count, int threads)
{
    int64_t blocks = (count + threads - 1) / threads, most = (int64_t)call->multiprocessors * 16;

    return m2s_cuda_grid{ (int)(blocks < most ? blocks : most), 1, 1 };
}

#endif
