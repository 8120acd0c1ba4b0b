/* SPDX-License-Identifier: Apache-2.0
 * How fast kernels are on a device, in the sizes of a network at 352 x 352 and a batch of 8: microseconds, and how near
 * they come to a plain copy of the bytes that they must read and write at least once.
 *
 *     time_kernels [--small] [NAME...]
 *
 * --small: sizes for the stand-in runtime, which shows only that everything runs. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/cuda/conv.h"
#include "backends/cuda/runtime.h"
#include "backends/cuda/updates.h"
#include "core/memory.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define COPY_BYTES   ((size_t)256 << 20)

/* Letters of shapes as in test_kernels.c, and p: one channel, h: half as high and wide, x and q: statistics and planes
 * of a subtraction unit of two scales; k and j: keys and values of an eighth and of half the height and width; c, b and
 * z: queries, keys and values, position table and padding of windows; m: 2 x 2 pixels merged. */
typedef struct row {
    const char *op;
    m2s_attrs attrs;
    const char *shapes, *results;
    m2s_shape shape;
} row;

/* clang-format off */
#define A(n_, h_, w_, c_) { .d = { n_, h_, w_, c_ } }
#define RGB .mean = { 0.485, 0.456, 0.406 }, .std = { 0.229, 0.224, 0.225 }
#define UNIT .scales = 2, .scale = { 3, 5 }, .epsilon = 1e-5

#define WINDOWS .kernel = 7, .begin = 3, .groups = 3, .alpha = 0.17

static const row rows[] = {
    { "batch_norm", { .epsilon = 1e-5, .relu = 1 }, "svvvv", "s", A(8, 88, 88, 64) },
    { "batch_norm_train", { .epsilon = 1e-5, .relu = 1 }, "svvvv", "svv", A(8, 176, 176, 64) },
    { "batch_norm_train", { .epsilon = 1e-5, .relu = 1 }, "svvvv", "svv", A(8, 88, 88, 26) },
    { "batch_norm_train", { .epsilon = 1e-5 }, "svvvv", "svv", A(8, 88, 88, 256) },
    { "batch_norm_train", { .epsilon = 1e-5, .relu = 1 }, "svvvv", "svv", A(8, 44, 44, 208) },
    { "batch_norm_train", { .epsilon = 1e-5 }, "svvvv", "svv", A(8, 22, 22, 1024) },
    { "batch_norm_train", { .epsilon = 1e-5 }, "svvvv", "svv", A(8, 11, 11, 2048) },
    { "batch_norm_train", { .epsilon = 1e-5 }, "svvvv", "svv", A(8, 352, 352, 64) },
    { "batch_norm_grad", { .epsilon = 1e-5, .relu = 1 }, "ssvvvv", "svv", A(8, 176, 176, 64) },
    { "batch_norm_grad", { .epsilon = 1e-5, .relu = 1 }, "ssvvvv", "svv", A(8, 88, 88, 26) },
    { "batch_norm_grad", { .epsilon = 1e-5 }, "ssvvvv", "svv", A(8, 88, 88, 256) },
    { "batch_norm_grad", { .epsilon = 1e-5 }, "ssvvvv", "svv", A(8, 22, 22, 1024) },
    { "batch_norm_grad", { .epsilon = 1e-5 }, "ssvvvv", "svv", A(8, 11, 11, 2048) },
    { "sum_pixels", { 0 }, "s", "v", A(8, 88, 88, 64) },
    { "layer_norm", { .epsilon = 1e-6 }, "svv", "s", A(8, 88, 88, 128) },
    { "layer_norm", { .epsilon = 1e-6 }, "svv", "s", A(8, 11, 11, 1024) },
    { "layer_norm_grad", { .epsilon = 1e-6 }, "ssv", "svv", A(8, 88, 88, 128) },
    { "gelu", { 0 }, "s", "s", A(8, 88, 88, 512) },
    { "gelu_grad", { 0 }, "ss", "s", A(8, 88, 88, 512) },
    { "scale_c", { 0 }, "sv", "s", A(8, 88, 88, 128) },
    { "scale_c_grad", { 0 }, "ssv", "sv", A(8, 88, 88, 128) },
    { "drop_path", { .alpha = 0.1 }, "s1", "s", A(8, 88, 88, 128) },
    { "attention", { .groups = 1, .alpha = 0.125 }, "sk", "s", A(8, 88, 88, 64) },
    { "attention", { .groups = 5, .alpha = 0.125 }, "sj", "s", A(8, 22, 22, 320) },
    { "attention_grad", { .groups = 1, .alpha = 0.125 }, "ssk", "sk", A(8, 88, 88, 64) },
    { "attention_grad", { .groups = 5, .alpha = 0.125 }, "ssj", "sj", A(8, 22, 22, 320) },
    { "window_attention", { WINDOWS }, "cbz", "s", A(8, 56, 56, 96) },
    { "window_attention_grad", { WINDOWS, .frozen = 1 }, "scbz", "c", A(8, 56, 56, 96) },
    { "merge_patches", { 0 }, "s", "m", A(8, 56, 56, 96) },
    { "sigmoid", { 0 }, "s", "s", A(8, 352, 352, 1) },
    { "sigmoid_grad", { 0 }, "ss", "s", A(8, 352, 352, 1) },
    { "softmax_c", { 0 }, "s", "s", A(8, 352, 352, 4) },
    { "normalise_rgb", { RGB }, "p", "3", A(8, 352, 352, 1) },
    { "normalise_rgb_grad", { RGB, .count = 1 }, "3", "p", A(8, 352, 352, 1) },
    { "boundary_weights", { .kernel = 31, .alpha = 5 }, "s", "s", A(8, 352, 352, 1) },
    { "weighted_bce", { 0 }, "sss", "1", A(8, 352, 352, 1) },
    { "weighted_bce_grad", { 0 }, "1sss", "s", A(8, 352, 352, 1) },
    { "weighted_iou", { 0 }, "sss", "1", A(8, 352, 352, 1) },
    { "weighted_iou_grad", { 0 }, "1sss", "s", A(8, 352, 352, 1) },
    { "dice", { .epsilon = 1e-5 }, "ss", "1", A(8, 352, 352, 4) },
    { "cross_entropy", { 0 }, "ss", "1", A(8, 352, 352, 4) },
    { "cross_entropy_grad", { 0 }, "1ss", "s", A(8, 352, 352, 4) },
    { "feature_distance", { 0 }, "ss", "1", A(8, 176, 176, 64) },
    { "feature_distance_grad", { .form = 1 }, "1ss", "s", A(8, 176, 176, 64) },
    { "add", { .relu = 1 }, "ss", "s", A(8, 88, 88, 64) },
    { "max_pool_grad", { .kernel = 2, .stride = 2 }, "hs", "s", A(8, 176, 176, 64) },
    { "max_pool", { .kernel = 2, .stride = 2 }, "s", "h", A(8, 176, 176, 64) },
    { "avg_pool", { .kernel = 2, .stride = 2 }, "s", "h", A(8, 88, 88, 256) },
    { "resize", { 0 }, "hs", "s", A(8, 88, 88, 64) },
    { "resize_grad", { 0 }, "s", "h", A(8, 88, 88, 64) },
    { "multi_scale_subtract", { UNIT }, "hsvvvv", "s", A(1, 88, 88, 64) },
    { "multi_scale_subtract", { UNIT }, "hsvvvv", "s", A(1, 22, 22, 64) },
    { "multi_scale_subtract", { UNIT }, "hsvvvv", "s", A(8, 88, 88, 64) },
    { "multi_scale_subtract_train", { UNIT }, "hsvvvvvvvv", "sxq", A(8, 88, 88, 64) },
    { "multi_scale_subtract_grad", { UNIT }, "shsxqvvvvvvvv", "hsvvvv", A(8, 88, 88, 64) },
    { "transpose_weights", { 0 }, "s", "t", A(512, 512, 3, 3) },
    { "transpose_weights", { 0 }, "s", "t", A(2048, 1024, 1, 1) },
    { "sum_squares", { 0 }, "s", "1", A(2048, 1024, 1, 1) },
    { "sgd", { .alpha = 1, .momentum = 0.9, .weight_decay = 5e-4, .form = 1 }, "sss111", "ss", A(2048, 4096, 1, 1) },
    { "adamw", { .alpha = 1, .momentum = 0.9, .beta = 0.999, .epsilon = 1e-8 }, "ssss11111", "sss", A(2048, 4096, 1, 1) },
};

static const struct {
    const char *name;
    const m2s_cuda_kernel *kernel;
} kernels[] = {
#define M2S_OP(name, min_in, max_in, out) { #name, &m2s_cuda_##name },
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
        return (m2s_shape)A(s.c, 1, 1, 1);
    case 't':
        return (m2s_shape)A(s.i, s.o, s.kh, s.kw);
    case 'p':
        return (m2s_shape)A(s.n, s.h, s.w, 1);
    case '3':
        return (m2s_shape)A(s.n, s.h, s.w, 3);
    case 'h':
        return (m2s_shape)A(s.n, s.h / 2, s.w / 2, s.c);
    case 'x':
        return (m2s_shape)A(8, 1, 1, 1);
    case 'q':
        return (m2s_shape)A(s.n, s.h, s.w, 4);
    case 'k':
        return (m2s_shape)A(s.n, s.h / 8, s.w / 8, 2 * s.c);
    case 'j':
        return (m2s_shape)A(s.n, s.h / 2, s.w / 2, 2 * s.c);
    case 'c':
        return (m2s_shape)A(s.n, s.h, s.w, 3 * s.c);
    case 'b':
        return (m2s_shape)A(169, 3, 1, 1);
    case 'z':
        return (m2s_shape)A(3 * s.c, 1, 1, 1);
    case 'm':
        return (m2s_shape)A(s.n, (s.h + 1) / 2, (s.w + 1) / 2, 4 * s.c);
    default:
        return (m2s_shape)A(1, 1, 1, 1);
    }
}

static int failure;

/* Ones, so that nothing is denormal, infinite or skipped. */
static float *numbers(void *stream, size_t count)
{
    float *host = NULL;
    void *data = NULL;

    failure |= m2s_cuda_malloc(&data, count * sizeof *host + 16);
    failure |= m2s_cuda_malloc_host((void **)&host, count * sizeof *host);
    if (failure == 0) {
        for (size_t i = 0; i < count; i++) {
            host[i] = 1.0f;
        }
        failure |= m2s_cuda_copy_in(stream, data, host, count * sizeof *host);
        failure |= m2s_cuda_synchronize(stream);
    }
    m2s_cuda_free_host(host);
    return data;
}

typedef struct job {
    const m2s_cuda_kernel *kernel; /* NULL: a copy */
    m2s_cuda_call call;
    void *dst, *src;
    size_t bytes;
} job;

static int launch(const job *j)
{
    return j->kernel != NULL ? j->kernel->launch(&j->call) : m2s_cuda_copy(j->call.stream, j->dst, j->src, j->bytes);
}

/* Microseconds of one launch, the best of a few rounds. */
static double time_job(const job *j, int launches)
{
    void *begin = NULL, *end = NULL;
    double best = 1e30;

    failure |= m2s_cuda_event_create(&begin);
    failure |= m2s_cuda_event_create(&end);
    failure |= launch(j);
    for (int round = 0; round < 5 && failure == 0; round++) {
        float milliseconds = 0.0f;
        failure |= m2s_cuda_event_record(begin, j->call.stream);
        for (int i = 0; i < launches; i++) {
            failure |= launch(j);
        }
        failure |= m2s_cuda_event_record(end, j->call.stream);
        failure |= m2s_cuda_synchronize(j->call.stream);
        failure |= m2s_cuda_event_milliseconds(begin, end, &milliseconds);
        double each = (double)milliseconds * 1e3 / launches;
        best = each < best ? each : best;
    }
    m2s_cuda_event_destroy(begin);
    m2s_cuda_event_destroy(end);
    return best;
}

static double copy_rate(void *stream, size_t bytes)
{
    job copy = { .call = { .stream = stream }, .bytes = bytes };

    failure |= m2s_cuda_malloc(&copy.dst, bytes);
    failure |= m2s_cuda_malloc(&copy.src, bytes);
    double microseconds = time_job(&copy, 10);
    m2s_cuda_free(copy.dst);
    m2s_cuda_free(copy.src);
    return 2.0 * (double)bytes / microseconds; /* bytes a microsecond */
}

static void time_row(const row *r, void *stream, int multiprocessors, double rate, bool small)
{
    m2s_ref_args args = { .attrs = &r->attrs,
                          .in_count = (int32_t)strlen(r->shapes),
                          .out_count = (int32_t)strlen(r->results) };
    m2s_shape shape = r->shape;
    size_t k = 0;
    double bytes = 0.0;

    while (strcmp(kernels[k].name, r->op) != 0) {
        k++;
    }
    if (kernels[k].kernel == NULL) {
        return;
    }
    if (small) {
        shape = (m2s_shape)A(2, shape.h < 8 ? shape.h : 8, shape.w < 8 ? shape.w : 8, shape.c);
    }
    for (int i = 0; i < args.in_count; i++) {
        args.in_shape[i] = shape_of(r->shapes[i], shape);
        bytes += (double)m2s_shape_elements(args.in_shape[i]) * sizeof(float);
    }
    for (int i = 0; i < args.out_count; i++) {
        args.out_shape[i] = shape_of(r->results[i], shape);
        bytes += (double)m2s_shape_elements(args.out_shape[i]) * sizeof(float);
    }
    size_t scratch_bytes =
        kernels[k].kernel->scratch_bytes != NULL ? kernels[k].kernel->scratch_bytes(&args, M2SNET_DTYPE_F32) : 0;
    for (int i = 0; i < args.in_count; i++) {
        args.in[i] = numbers(stream, (size_t)m2s_shape_elements(args.in_shape[i]));
    }
    for (int i = 0; i < args.out_count; i++) {
        args.out[i] = numbers(stream, (size_t)m2s_shape_elements(args.out_shape[i]));
    }
    args.scratch = numbers(stream, scratch_bytes / sizeof(float) + 1);
    job j = { kernels[k].kernel, { &args, stream, M2SNET_DTYPE_F32, multiprocessors, NULL }, NULL, NULL, 0 };
    double microseconds = failure == 0 ? time_job(&j, small ? 1 : 50) : 0.0;
    printf("%-24s %5" PRId64 " x %4" PRId64 " x %3" PRId64 " x %4" PRId64 " %10.1f us %8.0f GB/s %5.0f %% of a copy\n",
           r->op, shape.d[0], shape.d[1], shape.d[2], shape.d[3], microseconds, bytes / microseconds / 1e3,
           bytes / microseconds / rate * 100.0);
    for (int i = 0; i < args.in_count; i++) {
        m2s_cuda_free((void *)(uintptr_t)args.in[i]);
    }
    for (int i = 0; i < args.out_count; i++) {
        m2s_cuda_free(args.out[i]);
    }
    m2s_cuda_free(args.scratch);
}

/* ---- depthwise convolutions, which are no kernels of the table ---- */

static const struct {
    m2s_conv_kind kind;
    m2s_shape shape;
    int side;
} convs[] = {
    { M2S_CONV_FORWARD, A(8, 88, 88, 128), 7 },      { M2S_CONV_FORWARD, A(8, 11, 11, 1024), 7 },
    { M2S_CONV_FORWARD, A(8, 88, 88, 512), 3 },      { M2S_CONV_GRAD_X, A(8, 88, 88, 128), 7 },
    { M2S_CONV_GRAD_WEIGHTS, A(8, 88, 88, 128), 7 }, { M2S_CONV_GRAD_WEIGHTS, A(8, 88, 88, 512), 3 },
};

static const m2s_prepared_conv *conv;
static m2s_conv_data conv_data;

static int launch_conv(const m2s_cuda_call *call)
{
    return conv->launch(conv, call, &conv_data);
}

static void time_conv(size_t i, m2s_memory *memory, void *stream, int multiprocessors, double rate, bool small)
{
    static const m2s_cuda_kernel kernel = { NULL, launch_conv, false };
    static const char *const names[] = { "depthwise", "depthwise grad x", "depthwise grad weights" };
    m2s_shape s = convs[i].shape;
    const int32_t side = convs[i].side;
    m2s_prepared_conv *made = NULL;
    m2snet_error error;

    if (small) {
        s = (m2s_shape)A(2, 8, 8, s.c);
    }
    const m2s_conv_problem problem = { .kind = convs[i].kind,
                                       .storage = M2SNET_DTYPE_F32,
                                       .n = (int32_t)s.n,
                                       .h = (int32_t)s.h,
                                       .w = (int32_t)s.w,
                                       .c = (int32_t)s.c,
                                       .oh = (int32_t)s.h,
                                       .ow = (int32_t)s.w,
                                       .oc = (int32_t)s.c,
                                       .kh = side,
                                       .kw = side,
                                       .stride = 1,
                                       .pad = side / 2,
                                       .dilation = 1,
                                       .groups = (int32_t)s.c };
    if (m2s_conv_depthwise_create(memory, &problem, &made, &error) != M2SNET_STATUS_OK || made == NULL) {
        failure = 1;
        return;
    }
    size_t count = (size_t)m2s_shape_elements(s), weights = (size_t)(s.c * side * side);
    conv = made;
    conv_data = (m2s_conv_data){ .x = numbers(stream, count),
                                 .y = numbers(stream, count),
                                 .weights = numbers(stream, weights),
                                 .workspace = numbers(stream, made->workspace_bytes / sizeof(float) + 1) };
    job j = { &kernel, { NULL, stream, M2SNET_DTYPE_F32, multiprocessors, NULL }, NULL, NULL, 0 };
    double bytes = (double)(2 * count + weights) * sizeof(float);
    double microseconds = failure == 0 ? time_job(&j, small ? 1 : 50) : 0.0;
    printf("%-22s %d %5" PRId64 " x %4" PRId64 " x %3" PRId64 " x %4" PRId64
           " %10.1f us %8.0f GB/s %5.0f %% of a copy\n",
           names[convs[i].kind], side, s.d[0], s.d[1], s.d[2], s.d[3], microseconds, bytes / microseconds / 1e3,
           bytes / microseconds / rate * 100.0);
    m2s_cuda_free(conv_data.x);
    m2s_cuda_free(conv_data.y);
    m2s_cuda_free(conv_data.weights);
    m2s_cuda_free(conv_data.workspace);
    made->destroy(memory, made);
}

static bool is_wanted(const char *op, char *const *names, int count)
{
    for (int i = 0; i < count; i++) {
        if (strstr(op, names[i]) != NULL) {
            return true;
        }
    }
    return count == 0;
}

int main(int argc, char **argv)
{
    bool small = argc > 1 && strcmp(argv[1], "--small") == 0;
    int first = small ? 2 : 1, previous = 0;
    m2s_cuda_properties properties;
    m2s_memory memory;
    void *stream = NULL;

    m2s_memory_init(&memory, NULL, 0);
    failure |= m2s_cuda_enter(0, &previous);
    failure |= m2s_cuda_properties_of(0, &properties);
    failure |= m2s_cuda_stream_create(&stream);
    if (failure != 0) {
        char text[128];
        fprintf(stderr, "no device: %s\n", m2s_cuda_error_name(failure, text));
        return 1;
    }
    double rate = copy_rate(stream, small ? 1 << 16 : COPY_BYTES);
    printf("%s, copies %.0f GB/s\n", properties.name, rate / 1e3);
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (is_wanted(rows[i].op, argv + first, argc - first)) {
            time_row(&rows[i], stream, properties.multiprocessors, rate, small);
        }
    }
    for (size_t i = 0; i < COUNT(convs); i++) {
        if (is_wanted("depthwise", argv + first, argc - first)) {
            time_conv(i, &memory, stream, properties.multiprocessors, rate, small);
        }
    }
    m2s_cuda_stream_destroy(stream);
    m2s_cuda_leave(previous);
    if (failure != 0) {
        fprintf(stderr, "a call of the runtime failed\n");
    }
    return failure != 0;
}
