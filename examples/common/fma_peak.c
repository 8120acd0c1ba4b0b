/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE 1
#include "fma_peak.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "paths.h"
#include "timing.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define CHAINS   12   /* independent sums: latency (4) x units (2) at least, and registers for them everywhere */
#define REPEATS  4096 /* of all chains between two looks at the clock */
#define ROUND_MS 20.0
#define ROUNDS   3

/* Runs CHAINS x REPEATS multiply-adds on vectors, x = x / 2 + 1 / 2 from x = 1 on, and gives a number of them. */
typedef double (*peak_kernel)(void);

#define STEP(x, multiply_add)                                                                                          \
    x = multiply_add(x, a, b);                                                                                         \
    __asm__ volatile("" : KEEP(x)) /* so that the compiler neither drops nor merges the chains */
#define PEAK_KERNEL(name, attribute, vector, scalar, set1, multiply_add)                                               \
    attribute static double name(void)                                                                                 \
    {                                                                                                                  \
        vector a = set1((scalar)0.5), b = a, x0 = set1((scalar)1), x1 = x0, x2 = x0, x3 = x0, x4 = x0, x5 = x0;        \
        vector x6 = x0, x7 = x0, x8 = x0, x9 = x0, x10 = x0, x11 = x0;                                                 \
        scalar lanes[sizeof(vector) / sizeof(scalar)];                                                                 \
                                                                                                                       \
        for (int i = 0; i < REPEATS; i++) {                                                                            \
            STEP(x0, multiply_add);                                                                                    \
            STEP(x1, multiply_add);                                                                                    \
            STEP(x2, multiply_add);                                                                                    \
            STEP(x3, multiply_add);                                                                                    \
            STEP(x4, multiply_add);                                                                                    \
            STEP(x5, multiply_add);                                                                                    \
            STEP(x6, multiply_add);                                                                                    \
            STEP(x7, multiply_add);                                                                                    \
            STEP(x8, multiply_add);                                                                                    \
            STEP(x9, multiply_add);                                                                                    \
            STEP(x10, multiply_add);                                                                                   \
            STEP(x11, multiply_add);                                                                                   \
        }                                                                                                              \
        memcpy(lanes, &x0, sizeof(lanes));                                                                             \
        return (double)lanes[0];                                                                                       \
    }

#if defined(__x86_64__)
#define KEEP(x)             "+x"(x)
#define ADD_MUL_PS(x, a, b) _mm_add_ps(_mm_mul_ps(x, a), b)
#define ADD_MUL_PD(x, a, b) _mm_add_pd(_mm_mul_pd(x, a), b)
#define TARGET(features)    __attribute__((target(features)))
PEAK_KERNEL(avx512_f32, TARGET("avx512f"), __m512, float, _mm512_set1_ps, _mm512_fmadd_ps)
PEAK_KERNEL(avx512_f64, TARGET("avx512f"), __m512d, double, _mm512_set1_pd, _mm512_fmadd_pd)
PEAK_KERNEL(avx2_f32, TARGET("avx2,fma"), __m256, float, _mm256_set1_ps, _mm256_fmadd_ps)
PEAK_KERNEL(avx2_f64, TARGET("avx2,fma"), __m256d, double, _mm256_set1_pd, _mm256_fmadd_pd)
PEAK_KERNEL(sse2_f32, , __m128, float, _mm_set1_ps, ADD_MUL_PS)
PEAK_KERNEL(sse2_f64, , __m128d, double, _mm_set1_pd, ADD_MUL_PD)
#elif defined(__aarch64__)
#define KEEP(x)           "+w"(x)
#define FMLA_F32(x, a, b) vfmaq_f32(b, x, a)
#define FMLA_F64(x, a, b) vfmaq_f64(b, x, a)
PEAK_KERNEL(neon_f32, , float32x4_t, float, vdupq_n_f32, FMLA_F32)
PEAK_KERNEL(neon_f64, , float64x2_t, double, vdupq_n_f64, FMLA_F64)
#endif

typedef struct peak_worker {
    pthread_t thread;
    atomic_bool *go;
    peak_kernel kernel;
    double kernels_per_ms;
    double sink; /* keeps the results alive */
} peak_worker;

static void *work(void *argument)
{
    peak_worker *worker = argument;
    double count = 0.0;
    double start;
    double elapsed;

    while (!atomic_load(worker->go)) {
        sched_yield();
    }
    start = now_ms();
    do {
        worker->sink += worker->kernel();
        count += 1.0;
        elapsed = now_ms() - start;
    } while (elapsed < ROUND_MS);
    worker->kernels_per_ms = count / elapsed;
    return NULL;
}

/* 10^9 operations a second in one round; a vector of the kernel holds that many numbers. */
static double run_round(peak_kernel kernel, int lanes, int threads)
{
    peak_worker *workers = must_alloc((size_t)threads * sizeof(*workers));
    atomic_bool go;
    double kernels_per_ms;
    int others = 0;

    atomic_init(&go, false);
    for (int i = 0; i < threads; i++) {
        workers[i] = (peak_worker){ .go = &go, .kernel = kernel };
    }
    while (others < threads - 1 && pthread_create(&workers[others].thread, NULL, work, &workers[others]) == 0) {
        others++;
    }
    atomic_store(&go, true);
    work(&workers[threads - 1]);
    kernels_per_ms = workers[threads - 1].kernels_per_ms;
    for (int i = 0; i < others; i++) {
        pthread_join(workers[i].thread, NULL);
        kernels_per_ms += workers[i].kernels_per_ms;
    }
    free(workers);
    return kernels_per_ms * 2.0 * CHAINS * REPEATS * lanes * 1e-6;
}

static void try_kernel(peak_kernel kernel, int lanes, int threads, const char *instruction_set, fma_peak *best)
{
    for (int i = 0; i < ROUNDS; i++) {
        double gflops = run_round(kernel, lanes, threads);

        if (gflops > best->gflops) {
            *best = (fma_peak){ gflops, instruction_set };
        }
    }
}

fma_peak fma_peak_measure(int threads, bool float64)
{
    fma_peak best = { 0.0, "none" };

    threads = threads < 1 ? 1 : threads;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) {
        try_kernel(float64 ? avx512_f64 : avx512_f32, float64 ? 8 : 16, threads, "avx512", &best);
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        try_kernel(float64 ? avx2_f64 : avx2_f32, float64 ? 4 : 8, threads, "avx2", &best);
    }
    try_kernel(float64 ? sse2_f64 : sse2_f32, float64 ? 2 : 4, threads, "sse2", &best);
#elif defined(__aarch64__)
    try_kernel(float64 ? neon_f64 : neon_f32, float64 ? 2 : 4, threads, "neon", &best);
#else
    (void)float64;
    (void)try_kernel;
#endif
    return best;
}
