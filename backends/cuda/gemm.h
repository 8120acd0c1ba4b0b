/* SPDX-License-Identifier: Apache-2.0
 * Matrix products, row-major and dense: d = relu(op(a) op(b) + addend + bias), sums in F32. By cuBLASLt where it is
 * found at run time (gemm_cublaslt.c), by plain loops where the runtime is stood in for (gemm_host.c). */
#ifndef M2S_BACKENDS_CUDA_GEMM_H
#define M2S_BACKENDS_CUDA_GEMM_H

#include "backends/cuda/cuda.h"

typedef struct m2s_gemm_problem {
    int64_t m, n, k;           /* op(a) is (m, k), op(b) is (k, n), d is (m, n) */
    bool transpose_a;          /* a is (k, m) */
    bool transpose_b;          /* b is (n, k) */
    m2snet_dtype factors, sum; /* of a and b; of d, addend and bias */
    bool tf32;                 /* F32 factors may be rounded to 10 bits of fraction */
    bool addend;               /* of d's shape; may be d itself */
    bool bias;                 /* n numbers, for every row */
    bool relu;
} m2s_gemm_problem;

typedef struct m2s_gemm_data { /* on the device, aligned to 16 bytes */
    const void *a, *b, *addend, *bias;
    void *d, *workspace;
} m2s_gemm_data;

typedef struct m2s_gemm m2s_gemm; /* one thread's at a time */
typedef struct m2s_gemm_library m2s_gemm_library;

/* *library NULL, with OK: there is none here; `why` says in a few words what is missing. The device is current. */
m2snet_status m2s_gemm_open(m2s_memory *memory, m2s_gemm_library **library, char why[128], m2snet_error *error);
void m2s_gemm_close(m2s_gemm_library *library); /* NULL is fine */
const char *m2s_gemm_version(const m2s_gemm_library *library);

/* A product ready to be launched any number of times, by the way that the library thinks is the `rank`th best (0 = the
 * best) within a workspace of so many bytes; deterministic. *gemm NULL, with OK: it has none such. */
m2snet_status m2s_gemm_create(m2s_gemm_library *library, const m2s_gemm_problem *problem, int32_t rank,
                              size_t most_workspace_bytes, m2s_gemm **gemm, m2snet_error *error);
void m2s_gemm_destroy(m2s_gemm *gemm); /* NULL is fine */
size_t m2s_gemm_workspace_bytes(const m2s_gemm *gemm);
/* Only launches: 0 or an error number for m2s_cuda_fail. */
int m2s_gemm_launch(m2s_gemm *gemm, void *stream, const m2s_gemm_data *data);

#endif
