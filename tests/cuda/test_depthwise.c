/* SPDX-License-Identifier: Apache-2.0
 * Depthwise convolutions and their gradients against the reference's: windows that the compiler knows and others, maps
 * narrower and wider than what a thread makes, channels that are and are not multiples of four; in F32, F16 and BF16,
 * and from places that are not aligned for vectors. */
#include "backends/cuda/conv.h"
#include "core/memory.h"
#include "cuda/bench.h"

typedef struct row {
    m2s_conv_kind kind;
    int32_t n, h, w, c, side, stride, pad, dilation;
    bool bias, residual, relu;
} row;

/* clang-format off */
static const row rows[] = {
    { M2S_CONV_FORWARD, 1, 1, 1, 2, 7, 1, 3, 1, true, false, false },
    { M2S_CONV_FORWARD, 2, 8, 23, 36, 7, 1, 3, 1, true, false, false },
    { M2S_CONV_FORWARD, 1, 11, 11, 33, 7, 1, 3, 1, true, true, true },
    { M2S_CONV_FORWARD, 1, 7, 18, 264, 7, 1, 0, 1, false, false, false },
    { M2S_CONV_FORWARD, 3, 4, 3, 40, 7, 1, 3, 1, false, true, false },
    { M2S_CONV_FORWARD, 1, 9, 29, 40, 3, 1, 1, 1, true, true, true },
    { M2S_CONV_FORWARD, 2, 1, 1, 21, 3, 1, 1, 1, true, false, true },
    { M2S_CONV_FORWARD, 1, 8, 9, 12, 3, 2, 1, 1, true, false, true },
    { M2S_CONV_FORWARD, 1, 9, 30, 16, 5, 1, 4, 2, false, false, false },
    { M2S_CONV_GRAD_X, 1, 1, 1, 2, 7, 1, 3, 1, false, false, false },
    { M2S_CONV_GRAD_X, 2, 8, 23, 36, 7, 1, 3, 1, false, false, false },
    { M2S_CONV_GRAD_X, 1, 5, 29, 33, 3, 1, 0, 1, false, false, false },
    { M2S_CONV_GRAD_X, 2, 5, 6, 140, 3, 1, 1, 1, false, false, false },
    { M2S_CONV_GRAD_X, 1, 9, 11, 8, 5, 1, 2, 1, false, false, false },
    { M2S_CONV_GRAD_WEIGHTS, 1, 1, 1, 2, 7, 1, 3, 1, false, false, false },
    { M2S_CONV_GRAD_WEIGHTS, 2, 8, 23, 36, 7, 1, 3, 1, false, false, false },
    { M2S_CONV_GRAD_WEIGHTS, 1, 9, 29, 33, 3, 1, 1, 1, false, false, false },
    { M2S_CONV_GRAD_WEIGHTS, 3, 12, 44, 36, 3, 1, 1, 1, false, false, false },
    { M2S_CONV_GRAD_WEIGHTS, 1, 12, 10, 5, 7, 1, 2, 1, false, false, false },
};
/* clang-format on */

/* What the reference is given: inputs in its order, and its attributes. */
typedef struct form {
    m2s_op op;
    m2s_attrs attrs;
    m2s_shape x, y, weights;
} form;

static form form_of(const row *r)
{
    int64_t reach = r->dilation * (r->side - 1) + 1;
    form f = { .op = r->kind == M2S_CONV_FORWARD  ? M2S_OP_conv2d
                     : r->kind == M2S_CONV_GRAD_X ? M2S_OP_conv2d_grad_src
                                                  : M2S_OP_conv2d_grad_weights,
               .attrs = { .stride = r->stride,
                          .pad = r->pad,
                          .dilation = r->dilation,
                          .groups = r->c,
                          .relu = r->relu,
                          .kernel = r->side },
               .x = { .d = { r->n, r->h, r->w, r->c } },
               .weights = { .d = { r->c, 1, r->side, r->side } } };

    f.y = (m2s_shape){ .d = { r->n, (r->h + 2 * r->pad - reach) / r->stride + 1,
                              (r->w + 2 * r->pad - reach) / r->stride + 1, r->c } };
    f.attrs.h = r->h;
    f.attrs.w = r->w;
    return f;
}

/* The launch in the form of a kernel, for run_device. */
static m2s_prepared_conv *prepared;
static const row *current;

static size_t scratch_bytes(const m2s_ref_args *args, m2snet_dtype storage)
{
    (void)args;
    (void)storage;
    return prepared->workspace_bytes;
}

static int launch(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    m2s_conv_data data = { .workspace = args->scratch };
    void *in[4];

    for (int i = 0; i < 4; i++) {
        in[i] = (void *)(uintptr_t)args->in[i];
    }
    switch (current->kind) {
    case M2S_CONV_FORWARD:
        data.x = in[0];
        data.weights = in[1];
        data.bias = in[2];
        data.residual = in[3];
        data.y = args->out[0];
        break;
    case M2S_CONV_GRAD_X:
        data.y = in[0];
        data.weights = in[1];
        data.x = args->out[0];
        break;
    default:
        data.x = in[0];
        data.y = in[1];
        data.weights = args->out[0];
    }
    return prepared->launch(prepared, call, &data);
}

static void run_row(m2s_memory *memory, const row *r, m2snet_dtype storage, size_t shift)
{
    static const m2s_cuda_kernel kernel = { scratch_bytes, launch, true };
    static const char *const names[] = { "forward", "grad x", "grad weights" };
    const form f = form_of(r);
    bench b = { .truth = M2SNET_DTYPE_F64 };
    unsigned long long random = 77;
    m2snet_error error;

    if (!check_case("depthwise %s %dx%dx%dx%d side %d stride %d dilation %d%s%s%s %s%s", names[r->kind], r->n, r->h,
                    r->w, r->c, r->side, r->stride, r->dilation, r->bias ? " bias" : "", r->residual ? " residual" : "",
                    r->relu ? " relu" : "", m2s_dtype_name(storage), shift != 0 ? " unaligned" : "")) {
        return;
    }
    const m2s_conv_problem problem = { .kind = r->kind,
                                       .storage = storage,
                                       .n = r->n,
                                       .h = r->h,
                                       .w = r->w,
                                       .c = r->c,
                                       .oh = (int32_t)f.y.h,
                                       .ow = (int32_t)f.y.w,
                                       .oc = r->c,
                                       .kh = r->side,
                                       .kw = r->side,
                                       .stride = r->stride,
                                       .pad = r->pad,
                                       .dilation = r->dilation,
                                       .groups = r->c,
                                       .bias = r->bias,
                                       .residual = r->residual,
                                       .relu = r->relu };
    if (!CHECK(m2s_conv_depthwise_create(memory, &problem, &prepared, &error) == M2SNET_STATUS_OK && prepared != NULL,
               "it was not made")) {
        return;
    }
    current = r;
    b.device.attrs = &f.attrs;
    b.device.in_count = r->kind == M2S_CONV_FORWARD ? 4 : 2;
    b.device.out_count = 1;
    b.ref = b.device;
    const m2s_shape first = r->kind == M2S_CONV_GRAD_X ? f.y : f.x;
    const m2s_shape second = r->kind == M2S_CONV_GRAD_WEIGHTS ? f.y : f.weights;
    const m2s_shape bias = { .d = { r->c, 1, 1, 1 } };
    bench_input(&b, 0, 'a', first, storage, shift, &random);
    bench_input(&b, 1, 'a', second, storage, shift, &random);
    if (r->kind == M2S_CONV_FORWARD) {
        bench_input(&b, 2, r->bias ? 'a' : '.', bias, storage, shift, &random);
        bench_input(&b, 3, r->residual ? 'a' : '.', f.y, storage, shift, &random);
    }
    bench_result(&b, 0,
                 r->kind == M2S_CONV_FORWARD  ? f.y
                 : r->kind == M2S_CONV_GRAD_X ? f.x
                                              : f.weights,
                 storage, shift);
    run_reference(&b, f.op);
    run_device(&b, 16, &kernel, storage); /* sums of up to 49 products; of rows of pixels, then in double */
    discard(&b);
    prepared->destroy(memory, prepared);
}

/* What it must leave to others. */
static void refusals(m2s_memory *memory)
{
    const m2s_conv_problem one_group = { .c = 8, .oc = 8, .groups = 1, .kh = 3, .kw = 3, .stride = 1, .dilation = 1 };
    m2s_conv_problem problem = one_group;
    m2s_prepared_conv *made = NULL;
    m2snet_error error;

    if (!check_case("other convolutions are refused")) {
        return;
    }
    CHECK(m2s_conv_depthwise_create(memory, &problem, &made, &error) == M2SNET_STATUS_OK && made == NULL, "one group");
    problem.groups = 8;
    problem.oc = 16;
    CHECK(m2s_conv_depthwise_create(memory, &problem, &made, &error) == M2SNET_STATUS_OK && made == NULL,
          "two results a channel");
    problem = one_group;
    problem.groups = 8;
    problem.kind = M2S_CONV_GRAD_X;
    problem.stride = 2;
    CHECK(m2s_conv_depthwise_create(memory, &problem, &made, &error) == M2SNET_STATUS_OK && made == NULL,
          "a gradient with a stride");
}

int main(int argc, char **argv)
{
    int previous = 0;
    m2s_memory memory;

    check_start(argc, argv);
    m2s_memory_init(&memory, NULL, 0);
    int error = m2s_cuda_enter(0, &previous);
    if (error != 0) {
        check_case("a device");
        CHECK(false, "the runtime failed: %d", error);
        return check_finish();
    }
    for (size_t i = 0; i < COUNT(rows); i++) {
        run_row(&memory, &rows[i], M2SNET_DTYPE_F32, 0);
        run_row(&memory, &rows[i], M2SNET_DTYPE_F32, 1);
        run_row(&memory, &rows[i], M2SNET_DTYPE_F16, 0);
        run_row(&memory, &rows[i], M2SNET_DTYPE_BF16, 0);
        run_row(&memory, &rows[i], M2SNET_DTYPE_BF16, 3);
    }
    refusals(&memory);
    m2s_cuda_leave(previous);
    return check_finish();
}
