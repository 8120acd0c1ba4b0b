/* SPDX-License-Identifier: Apache-2.0
 * In the place of gemm_cublaslt.c where the CUDA runtime is stood in for: plain loops, launched like a kernel. Only
 * there with M2SNET_CUDA_PRODUCTS in the environment, so that tests see a module without a library as well; then it has
 * two ways of making a product, of which the second fails when it is launched, as libraries' do. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>

#include "backends/cuda/conv.h"
#include "backends/cuda/gemm.h"
#include "core/half.h"

#define WORKSPACE_BYTES 1024 /* written to, to see that it is there */

struct m2s_gemm_library {
    m2s_memory *memory;
};

struct m2s_gemm {
    m2s_memory *memory;
    m2s_gemm_problem problem;
    int32_t rank;
};

m2snet_status m2s_gemm_open(m2s_memory *memory, m2s_gemm_library **opened, char why[128], m2snet_error *error)
{
    *opened = NULL;
    if (secure_getenv("M2SNET_CUDA_PRODUCTS") == NULL) {
        snprintf(why, 128, "not asked for");
        return M2SNET_STATUS_OK;
    }
    *opened = m2s_calloc(memory, 1, sizeof **opened);
    if (*opened == NULL) {
        return m2s_fail_memory(error, "products", sizeof **opened);
    }
    (*opened)->memory = memory;
    return M2SNET_STATUS_OK;
}

void m2s_gemm_close(m2s_gemm_library *library)
{
    if (library != NULL) {
        m2s_free(library->memory, library);
    }
}

const char *m2s_gemm_version(const m2s_gemm_library *library)
{
    (void)library;
    return "plain products";
}

m2snet_status m2s_gemm_create(m2s_gemm_library *library, const m2s_gemm_problem *problem, int32_t rank,
                              size_t most_workspace_bytes, m2s_gemm **created, m2snet_error *error)
{
    *created = NULL;
    if (rank > 1 || most_workspace_bytes < WORKSPACE_BYTES) {
        return M2SNET_STATUS_OK;
    }
    *created = m2s_calloc(library->memory, 1, sizeof **created);
    if (*created == NULL) {
        return m2s_fail_memory(error, "a matrix product", sizeof **created);
    }
    **created = (m2s_gemm){ library->memory, *problem, rank };
    return M2SNET_STATUS_OK;
}

void m2s_gemm_destroy(m2s_gemm *gemm)
{
    if (gemm != NULL) {
        m2s_free(gemm->memory, gemm);
    }
}

size_t m2s_gemm_workspace_bytes(const m2s_gemm *gemm)
{
    (void)gemm;
    return WORKSPACE_BYTES;
}

typedef struct product {
    m2s_gemm_problem problem;
    m2s_gemm_data data;
} product;

static float number_at(const void *data, m2snet_dtype dtype, int64_t at)
{
    return dtype == M2SNET_DTYPE_F32   ? ((const float *)data)[at]
           : dtype == M2SNET_DTYPE_F16 ? m2s_f16_to_float(((const uint16_t *)data)[at])
                                       : m2s_bf16_to_float(((const uint16_t *)data)[at]);
}

static void put_number(void *data, m2snet_dtype dtype, int64_t at, float value)
{
    if (dtype == M2SNET_DTYPE_F32) {
        ((float *)data)[at] = value;
    } else {
        ((uint16_t *)data)[at] = dtype == M2SNET_DTYPE_F16 ? m2s_float_to_f16(value) : m2s_float_to_bf16(value);
    }
}

static void run(const void *body, m2s_cuda_grid grid, int threads, char *shared, size_t shared_bytes)
{
    const product *of = body;
    const m2s_gemm_problem *p = &of->problem;
    const m2s_gemm_data *data = &of->data;

    (void)grid;
    (void)threads;
    (void)shared;
    (void)shared_bytes;
    for (size_t i = 0; i < WORKSPACE_BYTES; i++) {
        ((unsigned char *)data->workspace)[i] = 0xff;
    }
    for (int64_t i = 0; i < p->m; i++) {
        for (int64_t j = 0; j < p->n; j++) {
            float sum = 0.0f;
            for (int64_t k = 0; k < p->k; k++) {
                sum += number_at(data->a, p->factors, p->transpose_a ? k * p->m + i : i * p->k + k) *
                       number_at(data->b, p->factors, p->transpose_b ? j * p->k + k : k * p->n + j);
            }
            sum += p->addend ? number_at(data->addend, p->sum, i * p->n + j) : 0.0f;
            sum += p->bias ? number_at(data->bias, p->sum, j) : 0.0f;
            put_number(data->d, p->sum, i * p->n + j, p->relu && sum < 0.0f ? 0.0f : sum);
        }
    }
}

int m2s_gemm_launch(m2s_gemm *gemm, void *stream, const m2s_gemm_data *data)
{
    const product body = { gemm->problem, *data };

    return gemm->rank != 0 ? M2S_CUDA_ERROR_LIBRARY
                           : m2s_cuda_host_launch(stream, run, &body, sizeof body, (m2s_cuda_grid){ 1, 1, 1 }, 1, 0);
}
