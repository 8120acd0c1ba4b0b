/* SPDX-License-Identifier: Apache-2.0
 * Kernels one by one against the reference in F64, called as a plan calls them, over shapes from one pixel to 2048
 * channels, odd sizes, several images, and places that are not aligned for vectors. On the stand-in runtime, or, linked
 * with the runtime's own file, on a device.
 *
 * Results and scratch begin as NaNs and end in canaries; each row runs twice, as on a device of 132 and of 3
 * multiprocessors, and must give the same bits. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/cuda/cast.h"
#include "backends/cuda/runtime.h"
#include "common/check.h"
#include "core/half.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define CANARY_BYTES 64
#define CANARY_BYTE  0xa5

typedef struct row {
    const char *op;
    m2s_attrs attrs;
    /* What the inputs are:
     *   a in [-1, 1)   n in [0, 1)   v in [0.5, 1.5)   w in [1, 6)   l in [-30, 30)   p in [0.05, 0.95)   b 0 or 1
     *   m 1000 give or take 0.01   f as a, but for a first pixel of 1000   0 and 1 themselves   ? a NaN   . absent */
    const char *kinds;
    /* Their shapes, and those of the results: s the row's, v a vector of its channels, 1 a scalar, t its weights
     * transposed, g s with one channel, 3 with three. */
    const char *shapes, *results;
    /* Roundings of the result, in ulps of its largest number: of the kernel's few float operations, or of what these
     * amplify; sums are in double. */
    double ulps;
    bool halves;   /* also with its first input and result in F16 and BF16 */
    bool as_float; /* against the reference in F32: what it stores between two steps is rounded as well */
} row;

/* clang-format off */
#define NORM .epsilon = 1e-5
#define RGB  .mean = { 0.485, 0.456, 0.406 }, .std = { 0.229, 0.224, 0.225 }

static const row pixel_rows[] = {
    { "batch_norm", { NORM }, "aaaav", "svvvv", "s", 16, true, false },
    { "batch_norm", { NORM, .relu = 1 }, "aaaav", "svvvv", "s", 16, true, false },
    /* A few pixels may be far from each other and near their mean: what subtracting the stored mean rounds counts. */
    { "batch_norm_train", { NORM }, "aaaav", "svvvv", "svv", 24, false, false },
    { "batch_norm_train", { NORM, .relu = 1 }, "aaaav", "svvvv", "svv", 24, false, false },
    { "batch_norm_train", { NORM }, "maaav", "svvvv", "svv", 24, false, true },
    { "batch_norm_train", { NORM }, "faaav", "svvvv", "svv", 24, false, true },
    { "batch_norm_grad", { NORM }, "aaaaav", "ssvvvv", "svv", 48, false, false },
    { "batch_norm_grad", { NORM, .relu = 1 }, "aaaaav", "ssvvvv", "svv", 48, false, false },
    { "batch_norm_grad", { NORM, .relu = 1, .frozen = 1 }, "aaaaav", "ssvvvv", "svv", 48, false, false },
    { "sum_pixels", { 0 }, "a", "s", "v", 2, false, false },

    { "sigmoid", { 0 }, "l", "s", "s", 4, true, false },
    { "sigmoid_grad", { 0 }, "ap", "ss", "s", 4, false, false },
    { "softmax_c", { 0 }, "l", "s", "s", 32, true, false },      /* sums over up to 2048 channels, in float */
    { "softmax_c_grad", { 0 }, "ap", "ss", "s", 128, false, false },
    { "normalise_rgb", { RGB }, "n", "g", "3", 4, false, false },
    { "normalise_rgb", { RGB }, "n", "3", "3", 4, false, false },
    { "normalise_rgb_grad", { RGB, .count = 1 }, "a", "3", "g", 4, false, false },
    { "normalise_rgb_grad", { RGB, .count = 3 }, "a", "3", "3", 4, false, false },

    { "boundary_weights", { .kernel = 1, .alpha = 2 }, "n", "s", "s", 4, false, false },
    { "boundary_weights", { .kernel = 3, .alpha = 5 }, "n", "s", "s", 4, false, false },
    { "boundary_weights", { .kernel = 31, .alpha = 5 }, "b", "s", "s", 4, false, false },
    { "boundary_weights", { .kernel = 301, .alpha = 5 }, "n", "s", "s", 4, false, false },
    { "weighted_bce", { 0 }, "lbw", "sss", "1", 4, false, false },
    { "weighted_bce", { .form = 1 }, "lnw", "sss", "1", 4, false, false },
    { "weighted_bce_grad", { 0 }, "alnw", "1sss", "s", 8, false, false },
    { "weighted_bce_grad", { .form = 1 }, "albw", "1sss", "s", 8, false, false },
    { "weighted_iou", { 0 }, "lnw", "sss", "1", 4, false, false },
    { "weighted_iou", { 0 }, "l0w", "sss", "1", 4, false, false },
    { "weighted_iou_grad", { 0 }, "alnw", "1sss", "s", 12, false, false },
    { "dice", { .epsilon = 1e-5 }, "pb", "ss", "1", 4, false, false },
    { "dice", { .epsilon = 1e-5, .begin = 1 }, "pb", "33", "1", 4, false, false },
    { "dice", { .epsilon = 1.0, .form = 1 }, "pn", "ss", "1", 4, false, false },
    { "dice_grad", { .epsilon = 1e-5 }, "apb", "1ss", "s", 4, false, false },
    { "dice_grad", { .epsilon = 1e-5, .begin = 2, .form = 1 }, "apn", "133", "3", 4, false, false },
    { "cross_entropy", { 0 }, "lb", "33", "1", 4, false, false },
    { "cross_entropy", { 0 }, "ln", "ss", "1", 16, false, false },
    { "cross_entropy_grad", { 0 }, "aln", "133", "3", 12, false, false },
    { "feature_distance", { 0 }, "aa", "ss", "1", 2, false, false },
    { "feature_distance", { .form = 1 }, "aa", "ss", "1", 2, false, false },
    { "feature_distance_grad", { 0 }, "aaa", "1ss", "s", 4, false, false },
    { "feature_distance_grad", { .form = 1 }, "aaa", "1ss", "s", 4, false, false },
    { "feature_distance_grad", { .form = 1 }, "a11", "1ss", "s", 4, false, false },

    { "sum_squares", { 0 }, "aaa", "s13", "1", 2, false, false },
    { "running_average", { .alpha = 0.1, .beta = 1.125 }, "aa1", "ss1", "s", 4, false, false },
    { "running_average", { .alpha = 0.1, .beta = 1.0, .count = 1 }, "aa1", "sv1", "s", 4, false, false },
    { "running_average", { .alpha = 0.1, .beta = 1.0 }, "a?0", "ss1", "s", 0, false, false },
    { "accumulate", { 0 }, "aa11", "ss11", "s", 1, false, false },
    { "accumulate", { 0 }, "aan1", "ss11", "s", 4, false, false },
    { "accumulate", { 0 }, "?a01", "ss11", "s", 0, false, false },
    { "accumulate", { 0 }, "a?10", "ss11", "s", 0, false, false },
    { "accumulate", { 0 }, "??00", "ss11", "s", 0, false, false },
    { "sgd", { .alpha = 0.1, .momentum = 0.9, .weight_decay = 5e-4, .form = 1 }, "avvn1n", "sss111", "ss", 4, false, false },
    { "sgd", { .alpha = 1.0, .momentum = 0.9 }, "av0n1", "sss11", "ss", 4, false, false },
    { "sgd", { .alpha = 1.0, .momentum = 0.9, .form = 1 }, "a?an0?", "sss111", "ss", 0, false, false },
    { "adamw", { .alpha = 0.1, .momentum = 0.9, .beta = 0.999, .weight_decay = 1e-2, .epsilon = 1e-8 }, "avvvn1pp", "ssss1111", "sss", 32, false, false },
    { "adamw", { .alpha = 1.0, .momentum = 0.9, .beta = 0.999, .epsilon = 1e-8 }, "av00n1ppn", "ssss11111", "sss", 32, false, false },
    { "adamw", { .alpha = 1.0, .momentum = 0.9, .beta = 0.999, .epsilon = 1e-8 }, "a?aan0pp?", "ssss11111", "sss", 0, false, false },
};

static const m2s_shape pixel_shapes[] = {
    { .d = { 1, 1, 1, 1 } },    { .d = { 1, 1, 1, 3 } },      { .d = { 2, 1, 1, 5 } },     { .d = { 2, 3, 5, 8 } },
    { .d = { 1, 7, 9, 26 } },   { .d = { 3, 5, 7, 13 } },     { .d = { 2, 17, 11, 64 } },  { .d = { 1, 2, 3, 2048 } },
    { .d = { 2, 11, 11, 2048 } }, { .d = { 1, 33, 1, 52 } },  { .d = { 2, 1, 45, 104 } },  { .d = { 1, 64, 65, 6 } },
    { .d = { 2, 176, 176, 3 } }, { .d = { 1, 352, 352, 1 } }, { .d = { 2, 31, 33, 1 } },   { .d = { 1, 3, 3, 34 } },
};

static const row weight_rows[] = {
    { "transpose_weights", { 0 }, "a", "s", "t", 0, false, false },
    { "sum_squares", { 0 }, "a", "s", "1", 2, false, false },
};

static const m2s_shape weight_shapes[] = {
    { .d = { 1, 1, 1, 1 } },  { .d = { 13, 26, 3, 3 } }, { .d = { 5, 3, 2, 7 } },  { .d = { 104, 64, 1, 1 } },
    { .d = { 65, 33, 3, 3 } }, { .d = { 64, 1, 7, 7 } }, { .d = { 3, 64, 7, 7 } }, { .d = { 2, 3, 40, 40 } },
};

static const row scalar_rows[] = {
    { "all_finite", { 0 }, "aaa", "111", "1", 0, false, false },
    { "all_finite", { 0 }, "aa?", "111", "1", 0, false, false },
    { "clip_factor", { .alpha = 0.25 }, "w", "1", "1", 2, false, false },
    { "clip_factor", { .alpha = 12.0 }, "n", "1", "1", 2, false, false },
    { "clip_factor", { .alpha = 12.0 }, "0", "1", "1", 2, false, false },
    { "clip_factor", { .alpha = 12.0 }, "?", "1", "1", 2, false, false },
};

static const m2s_shape scalar_shapes[] = { { .d = { 1, 1, 1, 1 } } };

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

static m2s_shape shape_of(char letter, m2s_shape s)
{
    switch (letter) {
    case 's':
        return s;
    case 'v':
        return (m2s_shape){ .d = { s.c, 1, 1, 1 } };
    case 't':
        return (m2s_shape){ .d = { s.i, s.o, s.kh, s.kw } };
    case 'g':
        return (m2s_shape){ .d = { s.n, s.h, s.w, 1 } };
    case '3':
        return (m2s_shape){ .d = { s.n, s.h, s.w, 3 } };
    default:
        return (m2s_shape){ .d = { 1, 1, 1, 1 } };
    }
}

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

static void prepare(bench *b, const row *r, m2s_shape s, m2snet_dtype storage, size_t shift)
{
    unsigned long long random = 77;

    *b = (bench){ .truth = r->as_float ? M2SNET_DTYPE_F32 : M2SNET_DTYPE_F64 };
    b->device.attrs = &r->attrs;
    b->device.in_count = (int32_t)strlen(r->kinds);
    b->device.out_count = (int32_t)strlen(r->results);
    b->ref = b->device;
    for (int i = 0; i < b->device.in_count; i++) {
        m2s_shape shape = shape_of(r->shapes[i], s);
        int64_t count = m2s_shape_elements(shape);
        b->ref.in_shape[i] = b->device.in_shape[i] = shape;
        if (r->kinds[i] == '.') {
            continue;
        }
        void *truth = truth_array(b->truth, count);
        tensor_make(&b->in[i], count, i == 0 ? storage : M2SNET_DTYPE_F32, shift);
        for (int64_t e = 0; e < count; e++) {
            bool far = r->kinds[i] == 'f' && e < s.c;
            tensor_put(&b->in[i], e, number(r->kinds[i], &random) + (far ? 1000.0 : 0.0));
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
    for (int i = 0; i < b->device.out_count; i++) {
        m2s_shape shape = shape_of(r->results[i], s);
        b->ref.out_shape[i] = b->device.out_shape[i] = shape;
        b->ref.out[i] = b->expected[i] = truth_array(b->truth, m2s_shape_elements(shape));
        tensor_make(&b->out[i], m2s_shape_elements(shape), i == 0 ? storage : M2SNET_DTYPE_F32, shift);
        b->device.out[i] = tensor_data(&b->out[i]);
    }
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

static void compare(const bench *b, const row *r, int out)
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
    double limit = r->ulps * (double)FLT_EPSILON * largest + (t->dtype == M2SNET_DTYPE_F16 ? 0x1p-25 : 0.0);
    CHECK(worst <= limit, "result %d, number %" PRId64 ": %.9g, expected %.9g: off by %.3g, allowed %.3g", out, at,
          at_worst, wanted, worst, limit);
}

static void run_device(bench *b, const row *r, const m2s_cuda_kernel *kernel, m2snet_dtype storage)
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
                compare(b, r, i);
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

static void run_row(const row *r, m2s_shape s, m2snet_dtype storage, size_t shift)
{
    bench b;
    size_t k = 0;

    while (strcmp(kernels[k].name, r->op) != 0) {
        k++;
    }
    if (!check_case("%s %s %" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 " %s%s", r->op, r->kinds, s.d[0], s.d[1],
                    s.d[2], s.d[3], m2s_dtype_name(storage), shift != 0 ? " unaligned" : "")) {
        return;
    }
    prepare(&b, r, s, storage, shift);
    run_reference(&b, kernels[k].op);
    run_device(&b, r, kernels[k].kernel, storage);
    discard(&b);
}

/* Larger ones would take the reference too long, or have nothing to normalise. */
static bool is_sensible(const row *r, m2s_shape s)
{
    int64_t pixels = s.n * s.h * s.w;

    if (strcmp(r->op, "batch_norm_train") == 0 && pixels == 1) {
        return false;
    }
    return strcmp(r->op, "boundary_weights") != 0 || m2s_shape_elements(s) <= 20000 || r->attrs.kernel == 31;
}

static void run_rows(const row *rows, size_t row_count, const m2s_shape *shapes, size_t shape_count)
{
    for (size_t i = 0; i < row_count; i++) {
        for (size_t j = 0; j < shape_count; j++) {
            if (!is_sensible(&rows[i], shapes[j])) {
                continue;
            }
            run_row(&rows[i], shapes[j], M2SNET_DTYPE_F32, 0);
            run_row(&rows[i], shapes[j], M2SNET_DTYPE_F32, 1);
            if (rows[i].halves) {
                run_row(&rows[i], shapes[j], M2SNET_DTYPE_F16, 0);
                run_row(&rows[i], shapes[j], M2SNET_DTYPE_BF16, 0);
                run_row(&rows[i], shapes[j], M2SNET_DTYPE_BF16, 3);
            }
        }
    }
}

/* ---- casts ---- */

static void run_casts(void)
{
    static const m2snet_dtype types[] = { M2SNET_DTYPE_F32, M2SNET_DTYPE_F16, M2SNET_DTYPE_BF16 };
    static const int64_t counts[] = { 1, 4, 1023, 70001 };

    for (size_t k = 0; k < COUNT(types) * COUNT(types) * COUNT(counts); k++) {
        m2snet_dtype from = types[k % 3], to = types[k / 3 % 3];
        int64_t count = counts[k / 9];
        unsigned long long random = 5;
        tensor src, dst, wanted;
        void *stream = NULL;
        if (!check_case("cast %s to %s, %" PRId64, m2s_dtype_name(from), m2s_dtype_name(to), count)) {
            continue;
        }
        error_of_setup = m2s_cuda_stream_create(&stream);
        tensor_make(&src, count, from, (size_t)(count % 4));
        tensor_make(&dst, count, to, 0);
        tensor_make(&wanted, count, to, 0);
        for (int64_t i = 0; i < count; i++) {
            tensor_put(&src, i,
                       i % 97 == 3   ? 1e30
                       : i % 89 == 5 ? 1e-7 * check_random(&random)
                                     : 100.0 * check_random(&random));
            tensor_put(&wanted, i, tensor_get(&src, i));
        }
        tensor_send(&src, stream);
        tensor_send(&dst, stream);
        int error = m2s_cuda_cast(&(m2s_cuda_call){ .stream = stream, .multiprocessors = 132 }, tensor_data(&dst), to,
                                  tensor_data(&src), from, count);
        CHECK(error == 0 && error_of_setup == 0, "launched with error %d, %d", error, error_of_setup);
        tensor_receive(&dst, stream);
        CHECK(memcmp(dst.host + dst.lead, wanted.host + wanted.lead, dst.bytes) == 0, "other bits than on the host");
        m2s_cuda_stream_destroy(stream);
        tensor_free(&src);
        tensor_free(&dst);
        tensor_free(&wanted);
    }
}

int main(int argc, char **argv)
{
    int previous = 0;

    check_start(argc, argv);
    int error = m2s_cuda_enter(0, &previous);
    if (error != 0) {
        check_case("a device");
        CHECK(false, "the runtime failed: %d", error);
        return check_finish();
    }
    run_rows(pixel_rows, COUNT(pixel_rows), pixel_shapes, COUNT(pixel_shapes));
    run_rows(weight_rows, COUNT(weight_rows), weight_shapes, COUNT(weight_shapes));
    run_rows(scalar_rows, COUNT(scalar_rows), scalar_shapes, COUNT(scalar_shapes));
    run_casts();
    m2s_cuda_leave(previous);
    return check_finish();
}
