/* SPDX-License-Identifier: Apache-2.0
 * In the place of gemm_cublaslt.c where the module is built without cuBLASLt. */
#include <stdio.h>

#include "backends/cuda/conv.h"
#include "backends/cuda/gemm.h"

m2snet_status m2s_gemm_open(m2s_memory *memory, m2s_gemm_library **library, char why[128], m2snet_error *error)
{
    (void)memory;
    (void)error;
    *library = NULL;
    snprintf(why, 128, "built without cuBLASLt");
    return M2SNET_STATUS_OK;
}

void m2s_gemm_close(m2s_gemm_library *library)
{
    (void)library;
}

const char *m2s_gemm_version(const m2s_gemm_library *library)
{
    (void)library;
    return "none";
}

m2snet_status m2s_gemm_create(m2s_gemm_library *library, const m2s_gemm_problem *problem, int32_t rank,
                              size_t most_workspace_bytes, m2s_gemm **gemm, m2snet_error *error)
{
    (void)library;
    (void)problem;
    (void)rank;
    (void)most_workspace_bytes;
    (void)error;
    *gemm = NULL;
    return M2SNET_STATUS_OK;
}

void m2s_gemm_destroy(m2s_gemm *gemm)
{
    (void)gemm;
}

size_t m2s_gemm_workspace_bytes(const m2s_gemm *gemm)
{
    (void)gemm;
    return 0;
}

int m2s_gemm_launch(m2s_gemm *gemm, void *stream, const m2s_gemm_data *data)
{
    (void)gemm;
    (void)stream;
    (void)data;
    return M2S_CUDA_ERROR_LIBRARY;
}
