/* SPDX-License-Identifier: Apache-2.0
 * One kernel against the reference: numbers made on the host, a copy of them on the device between canaries, the
 * reference in F64 (or F32) for what is expected. A launch is done twice, as on a device of 132 and of 3
 * multiprocessors, and must give the same bits. Main thread only. */
#ifndef M2S_TESTS_CUDA_BENCH_H
#define M2S_TESTS_CUDA_BENCH_H

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/cuda/cuda.h"
#include "backends/cuda/runtime.h"
#include "common/check.h"
#include "core/half.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define CANARY_BYTES 64
#define CANARY_BYTE  0xa5

/* clang-format off */
static const struct {
    const char *name;
    m2s_op op;
    const m2s_cuda_kernel *kernel;
} kernels[] = {
#define M2S_OP(name, min_in, max_in, out) { #name, M2S_OP_##name, &m2s_cuda_##name },
#include "graph/ops.def"
#undef M2S_OP
};
/* clang-format on */

/* What kinds of inputs there are:
 *   a in [-1, 1)   n in [0, 1)   v in [0.5, 1.5)   w in [1, 6)   l in [-30, 30)   p in [0.05, 0.95)   b 0 or 1
 *   m 1000 give or take 0.01   f as a, but for a first pixel of 1000   0 and 1 themselves   ? a NaN   . absent */
static double number(char kind, unsigned long long *random)
{
    double u = check_random(random); /* -1..1 */

    switch (kind) {
    case 'n':
        return 0.5 + 0.5 * u;
    case 'v':
        return 1.0 + 0.5 * u;
    case 'w':
        return 3.5 + 2.5 * u;
    case 'l':
        return 30.0 * u;
    case 'p':
        return 0.5 + 0.45 * u;
    case 'b':
        return u < 0.0 ? 0.0 : 1.0;
    case 'm':
        return 1000.0 + 0.01 * u;
    case '0':
        return 0.0;
    case '1':
        return 1.0;
    case '?':
        return (double)NAN;
    default:
        return u;
    }
}

/* ---- numbers on the device, between canaries ---- */

typedef struct tensor {
    unsigned char *base; /* on the device */
    unsigned char *host; /* pinned; as many bytes */
    size_t bytes, lead;  /* of the numbers; before them */
    int64_t count;
    m2snet_dtype dtype;
} tensor;

static int error_of_setup;

static void tensor_make(tensor *t, int64_t count, m2snet_dtype dtype, size_t shift)
{
    t->count = count;
    t->dtype = dtype;
    t->bytes = (size_t)count * m2s_dtype_bytes(dtype);
    t->lead = CANARY_BYTES + shift * m2s_dtype_bytes(dtype);
    error_of_setup |= m2s_cuda_malloc((void **)&t->base, t->bytes + t->lead + CANARY_BYTES);
    error_of_setup |= m2s_cuda_malloc_host((void **)&t->host, t->bytes + t->lead + CANARY_BYTES);
    memset(t->host, CANARY_BYTE, t->bytes + t->lead + CANARY_BYTES);
    memset(t->host + t->lead, 0xff, t->bytes);
}

static void tensor_free(tensor *t)
{
    m2s_cuda_free(t->base);
    m2s_cuda_free_host(t->host);
    *t = (tensor){ 0 };
}

static void *tensor_data(const tensor *t)
{
    return t->base + t->lead;
}

static void tensor_send(const tensor *t, void *stream)
{
    error_of_setup |= m2s_cuda_copy_in(stream, t->base, t->host, t->bytes + t->lead + CANARY_BYTES);
}

static bool tensor_receive(const tensor *t, void *stream)
{
    error_of_setup |= m2s_cuda_copy_out(stream, t->host, t->base, t->bytes + t->lead + CANARY_BYTES);
    error_of_setup |= m2s_cuda_synchronize(stream);
    for (size_t i = 0; i < t->lead + CANARY_BYTES; i++) {
        size_t at = i < t->lead ? i : i + t->bytes;
        if (!CHECK(t->host[at] == CANARY_BYTE, "written beside the numbers, at byte %zd",
                   (ptrdiff_t)at - (ptrdiff_t)t->lead)) {
            return false;
        }
    }
    return true;
}

static double tensor_get(const tensor *t, int64_t i)
{
    const void *data = t->host + t->lead;
    float wide;
    uint16_t half;

    if (t->dtype == M2SNET_DTYPE_F32) {
        memcpy(&wide, (const unsigned char *)data + (size_t)i * sizeof wide, sizeof wide);
        return (double)wide;
    }
    memcpy(&half, (const unsigned char *)data + (size_t)i * sizeof half, sizeof half);
    return (double)(t->dtype == M2SNET_DTYPE_F16 ? m2s_f16_to_float(half) : m2s_bf16_to_float(half));
}

/* Stores value as the type can hold it. */
static void tensor_put(const tensor *t, int64_t i, double value)
{
    unsigned char *data = t->host + t->lead;
    float wide = (float)value;

    if (t->dtype == M2SNET_DTYPE_F32) {
        memcpy(data + (size_t)i * sizeof wide, &wide, sizeof wide);
        return;
    }
    uint16_t half = t->dtype == M2SNET_DTYPE_F16 ? m2s_float_to_f16(wide) : m2s_float_to_bf16(wide);
    memcpy(data + (size_t)i * sizeof half, &half, sizeof half);
}

/* ---- a row ---- */

typedef struct bench {
    m2s_ref_args ref, device; /* shapes and attributes; pointers on the host and on the device */
    tensor in[M2S_MAX_IN], out[M2S_MAX_OUT], scratch;
    void *expected[M2S_MAX_OUT]; /* of `truth` */
    m2snet_dtype truth;
} bench;

static void *truth_array(m2snet_dtype dtype, int64_t count)
{
    return calloc((size_t)count, m2s_dtype_bytes(dtype));
}

static double truth_get(const bench *b, int out, int64_t i)
{
    return b->truth == M2SNET_DTYPE_F32 ? (double)((const float *)b->expected[out])[i]
                                        : ((const double *)b->expected[out])[i];
}

/* Input i, of this kind, shape and type; shift: how many numbers off its alignment. */
static void bench_input(bench *b, int i, char kind, m2s_shape shape, m2snet_dtype dtype, size_t shift,
                        unsigned long long *random)
{
    int64_t count = m2s_shape_elements(shape);

    b->ref.in_shape[i] = b->device.in_shape[i] = shape;
    if (kind == '.') {
        return;
    }
    void *truth = truth_array(b->truth, count);
    tensor_make(&b->in[i], count, dtype, shift);
    for (int64_t e = 0; e < count; e++) {
        bool far = kind == 'f' && e < shape.c;
        tensor_put(&b->in[i], e, number(kind, random) + (far ? 1000.0 : 0.0));
        double stored = tensor_get(&b->in[i], e);
        if (b->truth == M2SNET_DTYPE_F32) {
            ((float *)truth)[e] = (float)stored;
        } else {
            ((double *)truth)[e] = stored;
        }
    }
    b->ref.in[i] = truth;
    b->device.in[i] = tensor_data(&b->in[i]);
}

static void bench_result(bench *b, int i, m2s_shape shape, m2snet_dtype dtype, size_t shift)
{
    b->ref.out_shape[i] = b->device.out_shape[i] = shape;
    b->ref.out[i] = b->expected[i] = truth_array(b->truth, m2s_shape_elements(shape));
    tensor_make(&b->out[i], m2s_shape_elements(shape), dtype, shift);
    b->device.out[i] = tensor_data(&b->out[i]);
}

static void discard(bench *b)
{
    for (int i = 0; i < M2S_MAX_IN; i++) {
        tensor_free(&b->in[i]);
        free((void *)(uintptr_t)b->ref.in[i]);
    }
    for (int i = 0; i < M2S_MAX_OUT; i++) {
        tensor_free(&b->out[i]);
        free(b->expected[i]);
    }
    tensor_free(&b->scratch);
}

static void run_reference(bench *b, m2s_op op)
{
    const m2s_ref_kernel *kernel = m2s_ref_get_kernel(op, b->truth);
    size_t scratch_bytes = kernel->scratch_bytes != NULL ? kernel->scratch_bytes(&b->ref) : 0;
    int64_t chunks = kernel->chunks != NULL ? kernel->chunks(&b->ref) : 1;

    b->ref.scratch = malloc(scratch_bytes + 1);
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        kernel->run(&b->ref, chunk);
    }
    free(b->ref.scratch);
}

static double unit_of(m2snet_dtype dtype)
{
    return dtype == M2SNET_DTYPE_F16 ? 0x1p-11 : dtype == M2SNET_DTYPE_BF16 ? 0x1p-8 : 0.0;
}

/* ulps: roundings of the result, in ulps of its largest number. */
static void compare(const bench *b, double ulps, int out)
{
    const tensor *t = &b->out[out];
    double largest = 0.0, worst = -1.0, at_worst = 0.0, wanted = 0.0;
    int64_t at = 0;

    for (int64_t e = 0; e < t->count; e++) {
        double expected = truth_get(b, out, e);
        largest = fmax(largest, fabs(expected));
    }
    for (int64_t e = 0; e < t->count; e++) {
        double actual = tensor_get(t, e), expected = truth_get(b, out, e);
        if (isnan(actual) && isnan(expected)) {
            continue;
        }
        double error = fabs(actual - expected) - unit_of(t->dtype) * fabs(expected); /* what storing it costs */
        if (!(error <= worst)) {
            worst = error;
            at = e;
            at_worst = actual;
            wanted = expected;
        }
    }
    /* The smallest normal number of F16 stands for what is lost below it. */
    double limit = ulps * (double)FLT_EPSILON * largest + (t->dtype == M2SNET_DTYPE_F16 ? 0x1p-25 : 0.0);
    CHECK(worst <= limit, "result %d, number %" PRId64 ": %.9g, expected %.9g: off by %.3g, allowed %.3g", out, at,
          at_worst, wanted, worst, limit);
}

static void run_device(bench *b, double ulps, const m2s_cuda_kernel *kernel, m2snet_dtype storage)
{
    unsigned char *first[M2S_MAX_OUT] = { NULL };
    m2s_ref_args blank = b->device;
    void *stream = NULL;

    error_of_setup = m2s_cuda_stream_create(&stream);
    memset(blank.in, 0, sizeof blank.in);
    memset(blank.out, 0, sizeof blank.out);
    tensor_make(&b->scratch,
                (int64_t)((kernel->scratch_bytes != NULL ? kernel->scratch_bytes(&blank, storage) : 0) + 7) / 8 * 2,
                M2SNET_DTYPE_F32, 0);
    b->device.scratch = tensor_data(&b->scratch);
    for (int run = 0; run < 2; run++) {
        m2s_cuda_call call = {
            .args = &b->device, .stream = stream, .storage = storage, .multiprocessors = run == 0 ? 132 : 3
        };
        for (int i = 0; run == 0 && i < b->device.in_count; i++) {
            if (b->in[i].base != NULL) {
                tensor_send(&b->in[i], stream);
            }
        }
        for (int i = 0; i < b->device.out_count; i++) {
            memset(b->out[i].host + b->out[i].lead, 0xff, b->out[i].bytes);
            tensor_send(&b->out[i], stream);
        }
        tensor_send(&b->scratch, stream);
        int error = kernel->launch(&call);
        CHECK(error == 0, "launched with error %d", error);
        for (int i = 0; i < b->device.out_count; i++) {
            tensor_receive(&b->out[i], stream);
            if (run == 0) {
                compare(b, ulps, i);
                first[i] = malloc(b->out[i].bytes);
                memcpy(first[i], b->out[i].host + b->out[i].lead, b->out[i].bytes);
            } else {
                CHECK(memcmp(first[i], b->out[i].host + b->out[i].lead, b->out[i].bytes) == 0,
                      "result %d: other bits on a device of another size", i);
            }
        }
        tensor_receive(&b->scratch, stream);
        memset(b->scratch.host + b->scratch.lead, 0xff, b->scratch.bytes);
    }
    CHECK(error_of_setup == 0, "the runtime failed: %d", error_of_setup);
    m2s_cuda_stream_destroy(stream);
    for (int i = 0; i < M2S_MAX_OUT; i++) {
        free(first[i]);
    }
}

#endif
