/* SPDX-License-Identifier: Apache-2.0 */
#if defined(__AVX512F__)
#define TABLE    m2s_cpu_kernels_avx512
#define SET_NAME "avx512"
#include "backends/cpu/kernels.inc"
#else
typedef int m2s_no_avx512_here; /* another processor: the file is empty */
#endif
