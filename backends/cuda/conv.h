/* SPDX-License-Identifier: Apache-2.0
 * Convolutions and their two gradients: what the plan compiler asks for, and who provides it. Own kernels where a
 * channel is a group (conv_depthwise.cu); cuDNN where it is there and can (conv_cudnn.c), else matrix products by
 * cuBLASLt (conv_gemm.c), else own plain kernels (conv_direct.cu), which can all. Which of the last three, and by which
 * of its algorithms, is chosen once for a problem (m2s_conv_choose).
 *
 * x (n, h, w, c), y (n, oh, ow, oc), weights (oc, kh, kw, c / groups) and bias are dense and of the storage type; sums
 * are F32, or better.
 *   FORWARD       y = relu(conv(x, weights) + bias + residual), residual of y's shape; each but conv may be absent
 *   GRAD_X        x = the adjoint of conv, applied to y
 *   GRAD_WEIGHTS  weights = sum over n, oh, ow of y times x */
#ifndef M2S_BACKENDS_CUDA_CONV_H
#define M2S_BACKENDS_CUDA_CONV_H

#include "backends/cuda/cuda.h"
#include "backends/cuda/device_memory.h"

#if defined(__cplusplus)
extern "C" {
#endif

/* What `launch` returns when the library says no. */
#define M2S_CUDA_ERROR_LIBRARY (-1)

typedef enum m2s_conv_kind { M2S_CONV_FORWARD, M2S_CONV_GRAD_X, M2S_CONV_GRAD_WEIGHTS } m2s_conv_kind;

typedef struct m2s_conv_problem {
    m2s_conv_kind kind;
    m2snet_dtype storage;
    int32_t n, h, w, c, oh, ow, oc, kh, kw, stride, pad, dilation, groups;
    bool bias, residual, relu;
    bool tf32; /* F32 on tensor cores, with 10 bits of fraction */
} m2s_conv_problem;

typedef struct m2s_conv_data { /* on the device; by kind, one of x, y, weights is written */
    void *x, *y, *weights;
    const void *bias, *residual;
    void *workspace;
} m2s_conv_data;

/* A convolution ready to be launched any number of times. Read-only once made. */
typedef struct m2s_prepared_conv m2s_prepared_conv;
struct m2s_prepared_conv {
    m2s_conv_problem problem;
    const char *name;       /* of the kernel, for listings */
    size_t workspace_bytes; /* multiple of 256 */
    int (*launch)(const m2s_prepared_conv *conv, const m2s_cuda_call *call, const m2s_conv_data *data);
    void (*destroy)(m2s_memory *memory, m2s_prepared_conv *conv);
};

typedef enum m2s_conv_provider { M2S_CONV_CUDNN, M2S_CONV_GEMM, M2S_CONV_DIRECT } m2s_conv_provider;

/* A way to make a convolution, of which the same problem can be made again. */
typedef struct m2s_conv_choice {
    m2s_conv_provider provider;
    int32_t algorithm; /* the provider's number */
    bool fused;        /* cuDNN: bias, residual and ReLU within it */
} m2s_conv_choice;

typedef struct m2s_conv_settings {
    const m2s_device_memory *device_memory;
    const m2s_log *log;
    size_t most_workspace_bytes; /* of a convolution */
    int multiprocessors;
    bool search; /* measure all that there is, and take the fastest; else the first that works */
} m2s_conv_settings;

/* ---- conv_depthwise.cu ---- */

/* *conv NULL, with OK: the problem is none of its kind. */
m2snet_status m2s_conv_depthwise_create(m2s_memory *memory, const m2s_conv_problem *problem, m2s_prepared_conv **conv,
                                        m2snet_error *error);

/* ---- conv_choose.c ---- */

/* What convolutions of a device share: libraries, what has been chosen so far, room for trials. It is one thread's at a
 * time, convolutions included: making and launching them need a lock around them. The device is current. */
typedef struct m2s_conv_chooser m2s_conv_chooser;

m2snet_status m2s_conv_chooser_open(m2s_memory *memory, const m2s_conv_settings *settings, m2s_conv_chooser **chooser,
                                    m2snet_error *error);
void m2s_conv_chooser_close(m2s_conv_chooser *chooser); /* convolutions gone; NULL is fine */
/* Frees the memory of trials. */
void m2s_conv_chooser_trim(m2s_conv_chooser *chooser);
/* "cuDNN 9.14.0"; or who else makes convolutions, and why. */
const char *m2s_conv_chooser_text(const m2s_conv_chooser *chooser);
/* Whether convolutions are own kernels alone, which are slow. */
bool m2s_conv_chooser_is_slow(const m2s_conv_chooser *chooser);
/* A convolution for this problem; every way but the own kernels has been seen to work. libraries: no own kernels, and
 * *conv is NULL, with OK, where no library has it. */
m2snet_status m2s_conv_choose(m2s_conv_chooser *chooser, const m2s_conv_problem *problem, bool libraries,
                              m2s_prepared_conv **conv, m2snet_error *error);

/* ---- conv_gemm.c ---- */

struct m2s_gemm_library;

/* Ways to make it, the likely best first; how many. */
int32_t m2s_conv_gemm_list(const m2s_conv_problem *problem, m2s_conv_choice *list, int32_t most);
/* *conv NULL, with OK: not within this workspace. */
m2snet_status m2s_conv_gemm_make(m2s_memory *memory, struct m2s_gemm_library *library, size_t most_workspace_bytes,
                                 const m2s_conv_problem *problem, const m2s_conv_choice *choice,
                                 m2s_prepared_conv **conv, m2snet_error *error);

/* ---- conv_direct.cu ---- */

m2snet_status m2s_conv_direct_create(m2s_memory *memory, const m2s_conv_problem *problem, m2s_prepared_conv **conv,
                                     m2snet_error *error);

/* y = relu(y + bias + residual), of the storage type; bias and residual may be NULL. */
typedef struct m2s_conv_epilogue {
    int64_t pixels;
    int32_t channels;
    bool relu;
    void *y;
    const void *bias, *residual;
} m2s_conv_epilogue;
int m2s_cuda_conv_epilogue(const m2s_cuda_call *call, const m2s_conv_epilogue *epilogue);

/* ---- conv_cudnn.c, or conv_none.c in its place ---- */

typedef struct m2s_conv_library m2s_conv_library;

/* *library NULL, with OK: there is no cuDNN here; `why` says in a few words what is missing. */
m2snet_status m2s_conv_cudnn_open(m2s_memory *memory, const m2s_conv_settings *settings, m2s_conv_library **library,
                                  char why[128], m2snet_error *error);
void m2s_conv_cudnn_close(m2s_conv_library *library); /* NULL is fine */
/* "cuDNN 9.14.0" */
const char *m2s_conv_cudnn_version(const m2s_conv_library *library);
/* Ways to make it, in the order of cuDNN's heuristics, deterministic ones only; how many. */
int32_t m2s_conv_cudnn_list(m2s_conv_library *library, const m2s_conv_problem *problem, m2s_conv_choice *list,
                            int32_t most);
/* *conv NULL, with OK: cuDNN refuses, or wants too large a workspace. What it supports is known when it runs. */
m2snet_status m2s_conv_cudnn_make(m2s_conv_library *library, const m2s_conv_problem *problem,
                                  const m2s_conv_choice *choice, m2s_prepared_conv **conv, m2snet_error *error);

#if defined(__cplusplus)
}
#endif

#endif
