/* SPDX-License-Identifier: Apache-2.0
 * Steps that go through memory once, number by number or pixel by pixel: sums, differences, affine planes, channels
 * moved about. */
#include <string.h>

#include "backends/cpu/plan.h"
#include "backends/ref/kernel_cuts.h"

static int64_t pixels_of(m2s_shape shape)
{
    return shape.n * shape.h * shape.w;
}

/* Chunks are ranges of pixels of the result. */
static m2s_cut pixel_range(const m2s_step *step, int64_t chunk)
{
    return m2s_cut_part(pixels_of(step->args.out_shape[0]), step->tasks[0].chunks, chunk);
}

static void run_add(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut pixels = pixel_range(step, chunk);
    int64_t channels = step->args.out_shape[0].c, at = pixels.begin * channels;
    const float *src[M2S_ADD_MAX];

    (void)task;
    (void)worker;
    for (int32_t i = 0; i < step->args.in_count; i++) {
        src[i] = (const float *)step->args.in[i] + at;
    }
    step->kernels->add((float *)step->args.out[0] + at, src, step->args.in_count,
                       (pixels.end - pixels.begin) * channels,
                       step->node.op == M2S_OP_relu || step->node.attrs.relu != 0);
}

static void run_abs_diff(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut pixels = pixel_range(step, chunk);
    int64_t channels = step->args.out_shape[0].c, at = pixels.begin * channels;

    (void)task;
    (void)worker;
    step->kernels->abs_diff((float *)step->args.out[0] + at, (const float *)step->args.in[0] + at,
                            (const float *)step->args.in[1] + at, (pixels.end - pixels.begin) * channels);
}

/* Chunks as ranges of numbers. */
static m2s_cut number_range(const m2s_step *step, int64_t chunk)
{
    m2s_cut pixels = pixel_range(step, chunk);
    int64_t channels = step->args.out_shape[0].c;

    return (m2s_cut){ pixels.begin * channels, pixels.end * channels };
}

static void run_relu_grad(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut range = number_range(step, chunk);

    (void)task;
    (void)worker;
    step->kernels->keep_positive((float *)step->args.out[0] + range.begin,
                                 (const float *)step->args.in[0] + range.begin,
                                 (const float *)step->args.in[1] + range.begin, range.end - range.begin);
}

static void run_abs_diff_grad(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut range = number_range(step, chunk);
    const m2s_ref_args *args = &step->args;

    (void)task;
    (void)worker;
    step->kernels->signed_diff((float *)args->out[0] + range.begin, (float *)args->out[1] + range.begin,
                               (const float *)args->in[0] + range.begin, (const float *)args->in[1] + range.begin,
                               (const float *)args->in[2] + range.begin, range.end - range.begin);
}

static void run_multiply(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut range = number_range(step, chunk);
    bool scale = step->node.op == M2S_OP_scale;

    (void)task;
    (void)worker;
    step->kernels->multiply((float *)step->args.out[0] + range.begin, (const float *)step->args.in[0] + range.begin,
                            scale ? NULL : (const float *)step->args.in[1] + range.begin,
                            scale ? (float)step->node.attrs.alpha : 1.0f, range.end - range.begin);
}

static void run_drop_path(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut pixels = pixel_range(step, chunk);
    m2s_shape shape = step->args.out_shape[0];
    const float *src = step->args.in[0], *draw = step->args.in[1];
    float *dst = step->args.out[0];

    (void)task;
    (void)worker;
    for (int64_t p = pixels.begin, end; p < pixels.end; p = end) {
        int64_t image = p / (shape.h * shape.w);
        double factor = drop_path_factor(&step->node.attrs, (double)draw[0], image);
        end = (image + 1) * shape.h * shape.w;
        end = end < pixels.end ? end : pixels.end;
        if (factor == 0.0) {
            memset(dst + p * shape.c, 0, (size_t)((end - p) * shape.c) * sizeof(float));
        } else {
            step->kernels->multiply(dst + p * shape.c, src + p * shape.c, NULL, (float)factor, (end - p) * shape.c);
        }
    }
}

static void run_pad(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut pixels = pixel_range(step, chunk);
    int64_t wide = step->args.out_shape[0].c, count = step->args.in_shape[0].c;
    const float *src = step->args.in[0];
    float *dst = step->args.out[0];

    (void)task;
    (void)worker;
    memset(dst + pixels.begin * wide, 0, (size_t)((pixels.end - pixels.begin) * wide) * sizeof(float));
    for (int64_t p = pixels.begin; p < pixels.end; p++) {
        memcpy(dst + p * wide + step->node.attrs.begin, src + p * count, (size_t)count * sizeof(float));
    }
}

static void run_slice(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut pixels = pixel_range(step, chunk);
    int64_t wide = step->args.in_shape[0].c, count = step->args.out_shape[0].c;
    const float *src = (const float *)step->args.in[0] + step->node.attrs.begin;
    float *dst = step->args.out[0];

    (void)task;
    (void)worker;
    for (int64_t p = pixels.begin; p < pixels.end; p++) {
        memcpy(dst + p * count, src + p * wide, (size_t)count * sizeof(float));
    }
}

static void run_concat(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut pixels = pixel_range(step, chunk);
    float *dst = (float *)step->args.out[0] + pixels.begin * step->args.out_shape[0].c;

    (void)task;
    (void)worker;
    for (int64_t p = pixels.begin; p < pixels.end; p++) {
        for (int32_t i = 0; i < step->args.in_count; i++) {
            int64_t count = step->args.in_shape[i].c;
            memcpy(dst, (const float *)step->args.in[i] + p * count, (size_t)count * sizeof(float));
            dst += count;
        }
    }
}

static void run_channel_sum(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut pixels = pixel_range(step, chunk);
    int64_t channels = step->args.in_shape[0].c;

    (void)task;
    (void)worker;
    step->kernels->channel_sum((float *)step->args.out[0] + pixels.begin,
                               (const float *)step->args.in[0] + pixels.begin * channels, pixels.end - pixels.begin,
                               channels);
}

static void run_plane_affine_relu(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut pixels = pixel_range(step, chunk);
    int64_t channels = step->args.out_shape[0].c;

    (void)task;
    (void)worker;
    step->kernels->plane_affine_relu((float *)step->args.out[0] + pixels.begin * channels,
                                     (const float *)step->args.in[0] + pixels.begin, step->args.in[1], step->args.in[2],
                                     pixels.end - pixels.begin, channels);
}

m2snet_status m2s_lower_pointwise(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    int64_t widest = step->args.out_shape[0].c;
    int64_t pixels = pixels_of(step->args.out_shape[0]);
    m2s_step_run run = NULL;

    switch (step->node.op) {
    case M2S_OP_add:
    case M2S_OP_relu:
        run = run_add;
        break;
    case M2S_OP_abs_diff:
        run = run_abs_diff;
        break;
    case M2S_OP_relu_grad:
        run = run_relu_grad;
        break;
    case M2S_OP_abs_diff_grad:
        run = run_abs_diff_grad;
        break;
    case M2S_OP_scale:
    case M2S_OP_multiply:
        run = run_multiply;
        break;
    case M2S_OP_drop_path:
        run = run_drop_path;
        break;
    case M2S_OP_pad_c:
        run = run_pad;
        break;
    case M2S_OP_slice_c:
        run = run_slice;
        break;
    case M2S_OP_concat_c:
        run = run_concat;
        break;
    case M2S_OP_channel_sum:
        run = run_channel_sum;
        widest = step->args.in_shape[0].c;
        break;
    case M2S_OP_plane_affine_relu:
        run = run_plane_affine_relu;
        break;
    default:
        return M2SNET_STATUS_UNSUPPORTED;
    }
    m2snet_status status = m2s_lowering_plain_constants(lowering, error);
    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    m2s_step_set_kernel(step, "%s", step->kernels->name);
    m2s_step_add_task(step, run, m2s_cut_count(pixels, widest, M2S_CHUNK_NUMBERS));
    return M2SNET_STATUS_OK;
}
