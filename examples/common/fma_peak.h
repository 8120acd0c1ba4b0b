/* SPDX-License-Identifier: Apache-2.0
 * The ceiling of this machine now: how many floating-point operations a second its multiply-add units do on registers
 * alone. */
#ifndef EXAMPLES_COMMON_FMA_PEAK_H
#define EXAMPLES_COMMON_FMA_PEAK_H

#include <stdbool.h>

typedef struct fma_peak {
    double gflops;               /* 10^9 operations a second of all threads together; a multiply-add is two */
    const char *instruction_set; /* that reached it: "avx512", "avx2", "sse2", "neon" */
} fma_peak;

/* Runs every instruction set this processor has for a few tens of milliseconds on that many threads and gives the
 * fastest; 0 and "none" on a processor that this file does not know. */
fma_peak fma_peak_measure(int threads, bool float64);

#endif
