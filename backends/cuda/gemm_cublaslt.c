/* SPDX-License-Identifier: Apache-2.0
 * Matrix products by cuBLASLt, found at run time: a machine without it runs the same module. Row-major matrices are
 * column-major ones transposed, so cuBLASLt is asked for d' = op(b)' op(a)'. */
#define _GNU_SOURCE
#include <cublasLt.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "backends/cuda/conv.h"
#include "backends/cuda/find.h"
#include "backends/cuda/gemm.h"

#define MOST_RANKS 8
#define ALIGNMENT  16 /* of every matrix */

#define FUNCTIONS(X)                                                                                                   \
    X(cublasLtGetVersion)                                                                                              \
    X(cublasLtCreate)                                                                                                  \
    X(cublasLtDestroy)                                                                                                 \
    X(cublasLtMatmul)                                                                                                  \
    X(cublasLtMatmulDescCreate)                                                                                        \
    X(cublasLtMatmulDescDestroy)                                                                                       \
    X(cublasLtMatmulDescSetAttribute)                                                                                  \
    X(cublasLtMatrixLayoutCreate)                                                                                      \
    X(cublasLtMatrixLayoutDestroy)                                                                                     \
    X(cublasLtMatmulPreferenceCreate)                                                                                  \
    X(cublasLtMatmulPreferenceDestroy)                                                                                 \
    X(cublasLtMatmulPreferenceSetAttribute)                                                                            \
    X(cublasLtMatmulAlgoGetHeuristic)

typedef struct functions {
#define MEMBER(name) __typeof__(&name) name;
    FUNCTIONS(MEMBER)
#undef MEMBER
} functions;

struct m2s_gemm_library {
    m2s_memory *memory;
    functions f;
    void *module; /* stays open: its threads may still run */
    cublasLtHandle_t handle;
    char version[32];
};

struct m2s_gemm {
    m2s_gemm_library *library;
    m2s_gemm_problem problem;
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t a, b, d; /* as cuBLASLt sees them: its first factor is our b */
    cublasLtMatmulAlgo_t algorithm;
    size_t workspace_bytes;
};

/* ---- library ---- */

/* False, with the name of what is missing. */
static bool find_functions(m2s_gemm_library *library, const char **missing)
{
#define FIND(name) &&m2s_cuda_find(library->module, #name, &library->f.name, missing)
    return true FUNCTIONS(FIND);
#undef FIND
}

m2snet_status m2s_gemm_open(m2s_memory *memory, m2s_gemm_library **opened, char why[128], m2snet_error *error)
{
    m2s_gemm_library *library = m2s_calloc(memory, 1, sizeof *library);
    const char *missing = "";
    char name[32];

    *opened = NULL;
    if (library == NULL) {
        return m2s_fail_memory(error, "cuBLASLt", sizeof *library);
    }
    library->memory = memory;
    /* The one whose header this was built with: structs are its. */
    snprintf(name, sizeof name, "libcublasLt.so.%d", CUBLAS_VER_MAJOR);
    library->module = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library->module == NULL || !find_functions(library, &missing)) {
        snprintf(why, 128, "%s%s%s", name, library->module != NULL ? " without " : " was not found", missing);
        m2s_free(memory, library);
        return M2SNET_STATUS_OK;
    }
    if (library->f.cublasLtCreate(&library->handle) != CUBLAS_STATUS_SUCCESS) {
        m2s_free(memory, library);
        return m2s_fail(error, M2SNET_STATUS_BACKEND, "cuBLASLt cannot be opened");
    }
    size_t version = library->f.cublasLtGetVersion();
    snprintf(library->version, sizeof library->version, "cuBLASLt %zu.%zu.%zu", version / 10000, version / 100 % 100,
             version % 100);
    *opened = library;
    return M2SNET_STATUS_OK;
}

void m2s_gemm_close(m2s_gemm_library *library)
{
    if (library != NULL) {
        library->f.cublasLtDestroy(library->handle);
        m2s_free(library->memory, library);
    }
}

const char *m2s_gemm_version(const m2s_gemm_library *library)
{
    return library->version;
}

/* ---- products ---- */

static cudaDataType_t type_of(m2snet_dtype dtype)
{
    return dtype == M2SNET_DTYPE_F16 ? CUDA_R_16F : dtype == M2SNET_DTYPE_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

static cublasStatus_t describe(m2s_gemm *gemm)
{
    const m2s_gemm_problem *p = &gemm->problem;
    const functions *f = &gemm->library->f;
    cublasComputeType_t compute = p->tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    cublasOperation_t op_a = p->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t op_b = p->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = p->bias && p->relu ? CUBLASLT_EPILOGUE_RELU_BIAS
                                  : p->bias          ? CUBLASLT_EPILOGUE_BIAS
                                  : p->relu          ? CUBLASLT_EPILOGUE_RELU
                                                     : CUBLASLT_EPILOGUE_DEFAULT;
    uint64_t n = (uint64_t)p->n, m = (uint64_t)p->m, k = (uint64_t)p->k;
    cublasStatus_t s = CUBLAS_STATUS_SUCCESS;

#define DO(call) s = s == CUBLAS_STATUS_SUCCESS ? f->call : s
    DO(cublasLtMatmulDescCreate(&gemm->product, compute, CUDA_R_32F));
    DO(cublasLtMatmulDescSetAttribute(gemm->product, CUBLASLT_MATMUL_DESC_TRANSA, &op_a, sizeof op_a));
    DO(cublasLtMatmulDescSetAttribute(gemm->product, CUBLASLT_MATMUL_DESC_TRANSB, &op_b, sizeof op_b));
    DO(cublasLtMatmulDescSetAttribute(gemm->product, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue));
    DO(cublasLtMatrixLayoutCreate(&gemm->a, type_of(p->factors), p->transpose_b ? k : n, p->transpose_b ? n : k,
                                  p->transpose_b ? p->k : p->n));
    DO(cublasLtMatrixLayoutCreate(&gemm->b, type_of(p->factors), p->transpose_a ? m : k, p->transpose_a ? k : m,
                                  p->transpose_a ? p->m : p->k));
    DO(cublasLtMatrixLayoutCreate(&gemm->d, type_of(p->sum), n, m, p->n));
#undef DO
    return s;
}

static bool choose(m2s_gemm *gemm, int32_t rank, size_t most_workspace_bytes)
{
    const functions *f = &gemm->library->f;
    cublasLtMatmulPreference_t wishes = NULL;
    cublasLtMatmulHeuristicResult_t found[MOST_RANKS];
    uint64_t workspace = most_workspace_bytes;
    /* Partial sums in place meet in the order in which blocks are done. */
    uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE;
    uint32_t alignment = ALIGNMENT;
    int count = 0;
    cublasStatus_t s = CUBLAS_STATUS_SUCCESS;

#define DO(call) s = s == CUBLAS_STATUS_SUCCESS ? f->call : s
#define WISH(name, value)                                                                                              \
    DO(cublasLtMatmulPreferenceSetAttribute(wishes, CUBLASLT_MATMUL_PREF_##name, &(value), sizeof(value)))
    DO(cublasLtMatmulPreferenceCreate(&wishes));
    WISH(MAX_WORKSPACE_BYTES, workspace);
    WISH(REDUCTION_SCHEME_MASK, reduction);
    WISH(MIN_ALIGNMENT_A_BYTES, alignment);
    WISH(MIN_ALIGNMENT_B_BYTES, alignment);
    WISH(MIN_ALIGNMENT_C_BYTES, alignment);
    WISH(MIN_ALIGNMENT_D_BYTES, alignment);
    DO(cublasLtMatmulAlgoGetHeuristic(gemm->library->handle, gemm->product, gemm->a, gemm->b, gemm->d, gemm->d, wishes,
                                      MOST_RANKS, found, &count));
#undef WISH
#undef DO
    if (wishes != NULL) {
        f->cublasLtMatmulPreferenceDestroy(wishes);
    }
    if (s != CUBLAS_STATUS_SUCCESS || rank >= count || found[rank].state != CUBLAS_STATUS_SUCCESS) {
        return false;
    }
    gemm->algorithm = found[rank].algo;
    gemm->workspace_bytes = found[rank].workspaceSize;
    return true;
}

m2snet_status m2s_gemm_create(m2s_gemm_library *library, const m2s_gemm_problem *problem, int32_t rank,
                              size_t most_workspace_bytes, m2s_gemm **created, m2snet_error *error)
{
    m2s_gemm *gemm = m2s_calloc(library->memory, 1, sizeof *gemm);

    *created = NULL;
    if (gemm == NULL) {
        return m2s_fail_memory(error, "a matrix product", sizeof *gemm);
    }
    gemm->library = library;
    gemm->problem = *problem;
    if (describe(gemm) == CUBLAS_STATUS_SUCCESS && choose(gemm, rank, most_workspace_bytes)) {
        *created = gemm;
    } else {
        m2s_gemm_destroy(gemm);
    }
    return M2SNET_STATUS_OK;
}

void m2s_gemm_destroy(m2s_gemm *gemm)
{
    if (gemm == NULL) {
        return;
    }
    const functions *f = &gemm->library->f;
    cublasLtMatrixLayout_t layouts[] = { gemm->a, gemm->b, gemm->d };
    for (int i = 0; i < 3; i++) {
        if (layouts[i] != NULL) {
            f->cublasLtMatrixLayoutDestroy(layouts[i]);
        }
    }
    if (gemm->product != NULL) {
        f->cublasLtMatmulDescDestroy(gemm->product);
    }
    m2s_free(gemm->library->memory, gemm);
}

size_t m2s_gemm_workspace_bytes(const m2s_gemm *gemm)
{
    return gemm->workspace_bytes;
}

int m2s_gemm_launch(m2s_gemm *gemm, void *stream, const m2s_gemm_data *data)
{
    const functions *f = &gemm->library->f;
    const float one = 1.0f, zero = 0.0f;
    const void *addend = gemm->problem.addend ? data->addend : data->d;
    cublasStatus_t s = CUBLAS_STATUS_SUCCESS;

    if (gemm->problem.bias) {
        s = f->cublasLtMatmulDescSetAttribute(gemm->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &data->bias,
                                              sizeof data->bias);
    }
    if (s == CUBLAS_STATUS_SUCCESS) {
        s = f->cublasLtMatmul(gemm->library->handle, gemm->product, &one, data->b, gemm->a, data->a, gemm->b,
                              gemm->problem.addend ? &one : &zero, addend, gemm->d, data->d, gemm->d, &gemm->algorithm,
                              data->workspace, gemm->workspace_bytes, (cudaStream_t)stream);
    }
    return s == CUBLAS_STATUS_SUCCESS ? 0 : M2S_CUDA_ERROR_LIBRARY;
}
