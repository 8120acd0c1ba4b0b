/* SPDX-License-Identifier: Apache-2.0
 * What the plan compiler (C) and the kernels (C++) know of each other.
 *
 * Every op has one m2s_cuda_kernel under the name m2s_cuda_OP, but for convolutions, which are a provider's (conv.h).
 * backends/ref says what each computes. */
#ifndef M2S_BACKENDS_CUDA_CUDA_H
#define M2S_BACKENDS_CUDA_CUDA_H

#if defined(__cplusplus)
#include <math.h>
#include <stdarg.h>
#include <stdatomic.h> /* of cxx/ */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
extern "C" {
#endif

#include "backends/ref/ref.h"

/* One node, about to be launched. */
typedef struct m2s_cuda_call {
    const m2s_ref_args *args; /* attributes and shapes; in, out and scratch are device pointers */
    void *stream;             /* the runtime's */
    m2snet_dtype storage;     /* of activations: F32, F16 or BF16; vectors, scalars and statistics are F32 always */
    int multiprocessors;
    int *beside; /* counts launches beside longer ways (fork.h) while they are captured as a graph; else NULL */
} m2s_cuda_call;

typedef struct m2s_cuda_kernel {
    /* Device memory that is this node's own while it runs; NULL = none. Pointers in args are NULL here. */
    size_t (*scratch_bytes)(const m2s_ref_args *args, m2snet_dtype storage);
    /* Only launches: no allocation, no synchronisation. 0 or the runtime's error number. */
    int (*launch)(const m2s_cuda_call *call);
    bool half; /* also for F16 and BF16 storage */
} m2s_cuda_kernel;

/* ---- launching ---- */

typedef struct m2s_cuda_grid {
    int x, y, z; /* blocks; y and z at most 65535 */
} m2s_cuda_grid;

#define M2S_CUDA_MAX_THREADS 256         /* of a block */
#define M2S_CUDA_MAX_SHARED  (48 * 1024) /* bytes of a block */

/* The runtime's number for a launch that breaks these rules. */
#define M2S_CUDA_ERROR_CONFIGURATION 9

/* A body's blocks, one after the other, on the host: what the stand-in runtime runs instead of a launch. */
typedef void (*m2s_cuda_host_body)(const void *body, m2s_cuda_grid grid, int threads, char *shared,
                                   size_t shared_bytes);

/* Of the stand-in runtime alone. While the stream is captured the launch is kept, with a copy of the body. */
int m2s_cuda_host_launch(void *stream, m2s_cuda_host_body run, const void *body, size_t body_bytes, m2s_cuda_grid grid,
                         int threads, size_t shared_bytes);

/* ---- kernels ---- */

/* Weak until each family is there: an op without a kernel is refused by name. */
#define M2S_OP(name, min_in, max_in, out) extern const m2s_cuda_kernel m2s_cuda_##name __attribute__((weak));
#include "graph/ops.def"
#undef M2S_OP

#if defined(__cplusplus)
}
#endif

#endif
