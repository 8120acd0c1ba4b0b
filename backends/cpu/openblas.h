/* SPDX-License-Identifier: Apache-2.0
 * OpenBLAS, where it is built in and oneDNN is not. Its setter of the thread count is process-wide and never called:
 * link the serial build, or its own threads will compete with the context's. */
#ifndef M2S_BACKENDS_CPU_OPENBLAS_H
#define M2S_BACKENDS_CPU_OPENBLAS_H

#include <stddef.h>

#include "backends/cpu/kernels.h"

#if defined(M2S_WITH_OPENBLAS)

/* "OpenBLAS 0.3.21" */
const char *m2s_openblas_version(char *text, size_t bytes);
/* As kernels->gemm, with b (depth x columns) row by row. */
void m2s_openblas_gemm(const m2s_gemm *gemm);

#endif

#endif
