/* SPDX-License-Identifier: Apache-2.0
 * Convolutions by cuDNN 9, found at run time: a machine without it runs the same module with its own kernels.
 *
 * Ways to make a convolution are listed in the order of cuDNN's own heuristics, deterministic ones only. In F32 the
 * transforms (Winograd, FFT) are left out: they lose two digits. */
#define _GNU_SOURCE
/* Descriptors and heuristics of versions before 9 are marked as old there, and go on working. */
#define CUDNN_DISABLE_DEPRECATION_WARNINGS
#define CUDNN_WARN_DEPRECATED_DISABLED
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#include <cudnn.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "backends/cuda/conv.h"
#include "backends/cuda/find.h"
#include "backends/cuda/runtime.h"

#define LIBRARY       "libcudnn.so.9"
#define MOST_CHANNELS 8192 /* of a convolution that has no bias of its own but needs one */
#define ZEROS_BYTES   (MOST_CHANNELS * sizeof(float))
#define MOST_ALGOS    12

#define FUNCTIONS(X)                                                                                                   \
    X(cudnnGetVersion)                                                                                                 \
    X(cudnnCreate)                                                                                                     \
    X(cudnnDestroy)                                                                                                    \
    X(cudnnSetStream)                                                                                                  \
    X(cudnnGetErrorString)                                                                                             \
    X(cudnnCreateTensorDescriptor)                                                                                     \
    X(cudnnDestroyTensorDescriptor)                                                                                    \
    X(cudnnSetTensor4dDescriptor)                                                                                      \
    X(cudnnCreateFilterDescriptor)                                                                                     \
    X(cudnnDestroyFilterDescriptor)                                                                                    \
    X(cudnnSetFilter4dDescriptor)                                                                                      \
    X(cudnnCreateConvolutionDescriptor)                                                                                \
    X(cudnnDestroyConvolutionDescriptor)                                                                               \
    X(cudnnSetConvolution2dDescriptor)                                                                                 \
    X(cudnnSetConvolutionGroupCount)                                                                                   \
    X(cudnnSetConvolutionMathType)                                                                                     \
    X(cudnnCreateActivationDescriptor)                                                                                 \
    X(cudnnDestroyActivationDescriptor)                                                                                \
    X(cudnnSetActivationDescriptor)                                                                                    \
    X(cudnnGetConvolutionForwardAlgorithm_v7)                                                                          \
    X(cudnnGetConvolutionForwardWorkspaceSize)                                                                         \
    X(cudnnConvolutionForward)                                                                                         \
    X(cudnnConvolutionBiasActivationForward)                                                                           \
    X(cudnnGetConvolutionBackwardDataAlgorithm_v7)                                                                     \
    X(cudnnGetConvolutionBackwardDataWorkspaceSize)                                                                    \
    X(cudnnConvolutionBackwardData)                                                                                    \
    X(cudnnGetConvolutionBackwardFilterAlgorithm_v7)                                                                   \
    X(cudnnGetConvolutionBackwardFilterWorkspaceSize)                                                                  \
    X(cudnnConvolutionBackwardFilter)

typedef struct functions {
#define MEMBER(name) __typeof__(&name) name;
    FUNCTIONS(MEMBER)
#undef MEMBER
} functions;

struct m2s_conv_library {
    m2s_memory *memory;
    m2s_conv_settings settings;
    functions f;
    void *module; /* stays open: its threads may still run */
    cudnnHandle_t handle;
    char version[32];
    void *stream; /* of what is done here */
    void *zeros;  /* a bias */
};

typedef struct cudnn_conv {
    m2s_prepared_conv base; /* first */
    m2s_conv_library *library;
    cudnnTensorDescriptor_t x, y, bias;
    cudnnFilterDescriptor_t weights;
    cudnnConvolutionDescriptor_t conv;
    cudnnActivationDescriptor_t activation;
    int algorithm;
    bool fused; /* bias, residual and ReLU within the convolution */
} cudnn_conv;

/* ---- library ---- */

static m2snet_status fail_cudnn(const m2s_conv_library *library, cudnnStatus_t number, const char *what,
                                m2snet_error *error)
{
    if (number == CUDNN_STATUS_SUCCESS) {
        return M2SNET_STATUS_OK;
    }
    return m2s_fail(error, M2SNET_STATUS_BACKEND, "%s: cuDNN: %s", what, library->f.cudnnGetErrorString(number));
}

/* False, with the name of what is missing. */
static bool find_functions(m2s_conv_library *library, const char **missing)
{
#define FIND(name) &&m2s_cuda_find(library->module, #name, &library->f.name, missing)
    return true FUNCTIONS(FIND);
#undef FIND
}

static m2snet_status start(m2s_conv_library *library, m2snet_error *error)
{
    size_t version = library->f.cudnnGetVersion(), bytes = ZEROS_BYTES;
    m2snet_status status;

    snprintf(library->version, sizeof library->version, "cuDNN %zu.%zu.%zu", version / 10000, version / 100 % 100,
             version % 100);
    M2S_TRY(fail_cudnn(library, library->f.cudnnCreate(&library->handle), "opening it", error));
    M2S_TRY(m2s_cuda_fail(error, m2s_cuda_stream_create(&library->stream), "a stream"));
    M2S_TRY(m2s_cuda_fail(error, m2s_device_alloc(library->settings.device_memory, &library->zeros, bytes), "zeros"));
    M2S_TRY(m2s_cuda_fail(error, m2s_cuda_fill(library->stream, library->zeros, 0, bytes), "zeros"));
    M2S_TRY(m2s_cuda_fail(error, m2s_cuda_synchronize(library->stream), "zeros"));
fail:
    return status;
}

m2snet_status m2s_conv_cudnn_open(m2s_memory *memory, const m2s_conv_settings *settings, m2s_conv_library **opened,
                                  char why[128], m2snet_error *error)
{
    m2s_conv_library *library = m2s_calloc(memory, 1, sizeof *library);
    const char *missing = "";
    m2snet_status status;

    *opened = NULL;
    if (library == NULL) {
        return m2s_fail_memory(error, "cuDNN", sizeof *library);
    }
    library->memory = memory;
    library->settings = *settings;
    library->module = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (library->module == NULL || !find_functions(library, &missing)) {
        snprintf(why, 128, "%s%s%s", LIBRARY, library->module != NULL ? " without " : " was not found", missing);
        memset(&library->f, 0, sizeof library->f);
        m2s_conv_cudnn_close(library);
        return M2SNET_STATUS_OK;
    }
    status = start(library, error);
    if (status != M2SNET_STATUS_OK) {
        m2s_conv_cudnn_close(library);
        return status;
    }
    *opened = library;
    return status;
}

void m2s_conv_cudnn_close(m2s_conv_library *library)
{
    if (library == NULL) {
        return;
    }
    if (library->handle != NULL) {
        library->f.cudnnDestroy(library->handle);
    }
    m2s_device_free(library->settings.device_memory, library->zeros, ZEROS_BYTES);
    m2s_cuda_stream_destroy(library->stream);
    m2s_free(library->memory, library);
}

const char *m2s_conv_cudnn_version(const m2s_conv_library *library)
{
    return library->version;
}

/* ---- launching ---- */

static cudnnStatus_t run_forward(const cudnn_conv *c, const m2s_conv_data *data)
{
    const m2s_conv_library *library = c->library;
    const float one = 1.0f, zero = 0.0f;
    size_t bytes = c->base.workspace_bytes;

    if (!c->fused) {
        return library->f.cudnnConvolutionForward(library->handle, &one, c->x, data->x, c->weights, data->weights,
                                                  c->conv, (cudnnConvolutionFwdAlgo_t)c->algorithm, data->workspace,
                                                  bytes, &zero, c->y, data->y);
    }
    /* Without a residual the result stands in for it, times zero. */
    const void *residual = data->residual != NULL ? data->residual : data->y;
    return library->f.cudnnConvolutionBiasActivationForward(
        library->handle, &one, c->x, data->x, c->weights, data->weights, c->conv,
        (cudnnConvolutionFwdAlgo_t)c->algorithm, data->workspace, bytes, data->residual != NULL ? &one : &zero, c->y,
        residual, c->bias, data->bias != NULL ? data->bias : library->zeros, c->activation, c->y, data->y);
}

static cudnnStatus_t run(const cudnn_conv *c, void *stream, const m2s_conv_data *data)
{
    const m2s_conv_library *library = c->library;
    const float one = 1.0f, zero = 0.0f;
    cudnnStatus_t number = library->f.cudnnSetStream(library->handle, stream);

    if (number != CUDNN_STATUS_SUCCESS) {
        return number;
    }
    switch (c->base.problem.kind) {
    case M2S_CONV_FORWARD:
        return run_forward(c, data);
    case M2S_CONV_GRAD_X:
        return library->f.cudnnConvolutionBackwardData(library->handle, &one, c->weights, data->weights, c->y, data->y,
                                                       c->conv, (cudnnConvolutionBwdDataAlgo_t)c->algorithm,
                                                       data->workspace, c->base.workspace_bytes, &zero, c->x, data->x);
    default:
        return library->f.cudnnConvolutionBackwardFilter(library->handle, &one, c->x, data->x, c->y, data->y, c->conv,
                                                         (cudnnConvolutionBwdFilterAlgo_t)c->algorithm, data->workspace,
                                                         c->base.workspace_bytes, &zero, c->weights, data->weights);
    }
}

static int launch(const m2s_prepared_conv *conv, const m2s_cuda_call *call, const m2s_conv_data *data)
{
    const cudnn_conv *c = (const cudnn_conv *)(const void *)conv;
    const m2s_conv_problem *p = &conv->problem;

    if (run(c, call->stream, data) != CUDNN_STATUS_SUCCESS) {
        return M2S_CUDA_ERROR_LIBRARY;
    }
    if (p->kind == M2S_CONV_FORWARD && !c->fused && (p->bias || p->residual || p->relu)) {
        const m2s_conv_epilogue epilogue = {
            (int64_t)p->n * p->oh * p->ow, p->oc, p->relu, data->y, data->bias, data->residual
        };
        return m2s_cuda_conv_epilogue(call, &epilogue);
    }
    return 0;
}

/* ---- making one ---- */

static void destroy(m2s_memory *memory, m2s_prepared_conv *conv)
{
    cudnn_conv *c = (cudnn_conv *)(void *)conv;
    const functions *f = &c->library->f;

    if (c->x != NULL) {
        f->cudnnDestroyTensorDescriptor(c->x);
    }
    if (c->y != NULL) {
        f->cudnnDestroyTensorDescriptor(c->y);
    }
    if (c->bias != NULL) {
        f->cudnnDestroyTensorDescriptor(c->bias);
    }
    if (c->weights != NULL) {
        f->cudnnDestroyFilterDescriptor(c->weights);
    }
    if (c->conv != NULL) {
        f->cudnnDestroyConvolutionDescriptor(c->conv);
    }
    if (c->activation != NULL) {
        f->cudnnDestroyActivationDescriptor(c->activation);
    }
    m2s_free(memory, c);
}

static cudnnStatus_t describe(cudnn_conv *c)
{
    const m2s_conv_problem *p = &c->base.problem;
    const functions *f = &c->library->f;
    cudnnDataType_t type = p->storage == M2SNET_DTYPE_F16    ? CUDNN_DATA_HALF
                           : p->storage == M2SNET_DTYPE_BF16 ? CUDNN_DATA_BFLOAT16
                                                             : CUDNN_DATA_FLOAT;
    cudnnActivationMode_t mode = p->relu ? CUDNN_ACTIVATION_RELU : CUDNN_ACTIVATION_IDENTITY;
    cudnnStatus_t s = CUDNN_STATUS_SUCCESS;

#define DO(call) s = s == CUDNN_STATUS_SUCCESS ? f->call : s
    DO(cudnnCreateTensorDescriptor(&c->x));
    DO(cudnnCreateTensorDescriptor(&c->y));
    DO(cudnnCreateTensorDescriptor(&c->bias));
    DO(cudnnCreateFilterDescriptor(&c->weights));
    DO(cudnnCreateConvolutionDescriptor(&c->conv));
    DO(cudnnCreateActivationDescriptor(&c->activation));
    DO(cudnnSetTensor4dDescriptor(c->x, CUDNN_TENSOR_NHWC, type, p->n, p->c, p->h, p->w));
    DO(cudnnSetTensor4dDescriptor(c->y, CUDNN_TENSOR_NHWC, type, p->n, p->oc, p->oh, p->ow));
    DO(cudnnSetTensor4dDescriptor(c->bias, CUDNN_TENSOR_NHWC, type, 1, p->oc, 1, 1));
    DO(cudnnSetFilter4dDescriptor(c->weights, type, CUDNN_TENSOR_NHWC, p->oc, p->c / p->groups, p->kh, p->kw));
    DO(cudnnSetConvolution2dDescriptor(c->conv, p->pad, p->pad, p->stride, p->stride, p->dilation, p->dilation,
                                       CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
    DO(cudnnSetConvolutionGroupCount(c->conv, p->groups));
    DO(cudnnSetActivationDescriptor(c->activation, mode, CUDNN_NOT_PROPAGATE_NAN, 0.0));
#undef DO
    return s;
}

/* What products may be made with. */
static cudnnMathType_t wanted_math(const cudnn_conv *c)
{
    return c->base.problem.storage != M2SNET_DTYPE_F32 ? CUDNN_TENSOR_OP_MATH
           : c->base.problem.tf32                      ? CUDNN_DEFAULT_MATH
                                                       : CUDNN_FMA_MATH;
}

static bool is_exact(const cudnn_conv *c, int number)
{
    bool f32 = c->base.problem.storage == M2SNET_DTYPE_F32;

    switch (c->base.problem.kind) {
    case M2S_CONV_FORWARD:
        return !f32 || number == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM ||
               number == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM || number == CUDNN_CONVOLUTION_FWD_ALGO_GEMM;
    case M2S_CONV_GRAD_X:
        return number == CUDNN_CONVOLUTION_BWD_DATA_ALGO_1; /* 0 is not deterministic */
    default:
        return number == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1; /* 0 and 3 are not */
    }
}

/* Adds an algorithm, once. */
static void add_algorithm(const cudnn_conv *c, int *list, int *count, int number)
{
    for (int i = 0; i < *count; i++) {
        if (list[i] == number) {
            return;
        }
    }
    if (*count < MOST_ALGOS && is_exact(c, number)) {
        list[(*count)++] = number;
    }
}

/* In the order of cuDNN's heuristics, then what it may have left out. */
static int list_algorithms(const cudnn_conv *c, int list[MOST_ALGOS])
{
    const functions *f = &c->library->f;
    cudnnHandle_t handle = c->library->handle;
    int count = 0, found = 0;

#define TAKE(perf)                                                                                                     \
    for (int i = 0; i < found; i++) {                                                                                  \
        if ((perf)[i].status == CUDNN_STATUS_SUCCESS && (perf)[i].determinism == CUDNN_DETERMINISTIC) {                \
            add_algorithm(c, list, &count, (int)(perf)[i].algo);                                                       \
        }                                                                                                              \
    }
    switch (c->base.problem.kind) {
    case M2S_CONV_FORWARD: {
        cudnnConvolutionFwdAlgoPerf_t perf[MOST_ALGOS];
        if (f->cudnnGetConvolutionForwardAlgorithm_v7(handle, c->x, c->weights, c->conv, c->y, MOST_ALGOS, &found,
                                                      perf) == CUDNN_STATUS_SUCCESS) {
            TAKE(perf)
        }
        add_algorithm(c, list, &count, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM);
        add_algorithm(c, list, &count, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM);
        break;
    }
    case M2S_CONV_GRAD_X:
        add_algorithm(c, list, &count, CUDNN_CONVOLUTION_BWD_DATA_ALGO_1);
        break;
    default:
        add_algorithm(c, list, &count, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1);
        break;
    }
#undef TAKE
    return count;
}

static cudnnStatus_t workspace_of(const cudnn_conv *c, size_t *bytes)
{
    const functions *f = &c->library->f;
    cudnnHandle_t handle = c->library->handle;

    switch (c->base.problem.kind) {
    case M2S_CONV_FORWARD:
        return f->cudnnGetConvolutionForwardWorkspaceSize(handle, c->x, c->weights, c->conv, c->y,
                                                          (cudnnConvolutionFwdAlgo_t)c->algorithm, bytes);
    case M2S_CONV_GRAD_X:
        return f->cudnnGetConvolutionBackwardDataWorkspaceSize(handle, c->weights, c->y, c->conv, c->x,
                                                               (cudnnConvolutionBwdDataAlgo_t)c->algorithm, bytes);
    default:
        return f->cudnnGetConvolutionBackwardFilterWorkspaceSize(handle, c->x, c->y, c->conv, c->weights,
                                                                 (cudnnConvolutionBwdFilterAlgo_t)c->algorithm, bytes);
    }
}

static size_t round_up(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

/* Descriptors; *described NULL, with OK, when cuDNN refuses. */
static m2snet_status begin(m2s_conv_library *library, const m2s_conv_problem *problem, cudnn_conv **begun,
                           m2snet_error *error)
{
    cudnn_conv *c = m2s_calloc(library->memory, 1, sizeof *c);

    *begun = NULL;
    if (c == NULL) {
        return m2s_fail_memory(error, "a convolution", sizeof *c);
    }
    c->base = (m2s_prepared_conv){ *problem, NULL, 0, launch, destroy };
    c->library = library;
    if (describe(c) == CUDNN_STATUS_SUCCESS &&
        library->f.cudnnSetConvolutionMathType(c->conv, wanted_math(c)) == CUDNN_STATUS_SUCCESS) {
        *begun = c;
    } else {
        destroy(library->memory, &c->base);
    }
    return M2SNET_STATUS_OK;
}

int32_t m2s_conv_cudnn_list(m2s_conv_library *library, const m2s_conv_problem *problem, m2s_conv_choice *list,
                            int32_t most)
{
    bool more = problem->kind == M2S_CONV_FORWARD && (problem->bias || problem->residual || problem->relu);
    int algorithms[MOST_ALGOS], found;
    int32_t count = 0;
    cudnn_conv *c = NULL;

    if (problem->oc > MOST_CHANNELS || begin(library, problem, &c, NULL) != M2SNET_STATUS_OK || c == NULL) {
        return 0;
    }
    found = list_algorithms(c, algorithms);
    destroy(library->memory, &c->base);
    for (int fused = more; fused >= 0; fused--) {
        for (int i = 0; i < found && count < most; i++) {
            /* Without an activation only this one adds a bias. */
            if (!fused || problem->relu || algorithms[i] == CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM) {
                list[count++] = (m2s_conv_choice){ M2S_CONV_CUDNN, algorithms[i], fused != 0 };
            }
        }
    }
    return count;
}

m2snet_status m2s_conv_cudnn_make(m2s_conv_library *library, const m2s_conv_problem *problem,
                                  const m2s_conv_choice *choice, m2s_prepared_conv **made, m2snet_error *error)
{
    static const char *const names[] = { "cuDNN", "cuDNN grad x", "cuDNN grad weights" };
    bool more = problem->bias || problem->residual || problem->relu;
    size_t bytes = 0;
    cudnn_conv *c = NULL;
    m2snet_status status;

    *made = NULL;
    M2S_TRY(begin(library, problem, &c, error));
    if (c == NULL) {
        return status;
    }
    c->algorithm = choice->algorithm;
    c->fused = choice->fused;
    c->base.name = c->fused                                    ? "cuDNN fused"
                   : problem->kind == M2S_CONV_FORWARD && more ? "cuDNN, then the rest"
                                                               : names[problem->kind];
    if (workspace_of(c, &bytes) == CUDNN_STATUS_SUCCESS && bytes <= library->settings.most_workspace_bytes) {
        c->base.workspace_bytes = round_up(bytes);
        *made = &c->base;
    } else {
        destroy(library->memory, &c->base);
    }
fail:
    return status;
}
