/* SPDX-License-Identifier: Apache-2.0 */
#if defined(__AVX2__)
#define TABLE    m2s_cpu_kernels_avx2
#define SET_NAME "avx2"
#include "backends/cpu/kernels.inc"
#else
typedef int m2s_no_avx2_here; /* another processor: the file is empty */
#endif
