/* SPDX-License-Identifier: Apache-2.0
 * Sigmoid, GELU, softmax, the loss network's normalisation, and their gradients: few channels, number by
 * number, which is a small share of a step. */
#include <math.h>

#include "backends/cpu/plan.h"

static m2s_cut pixel_range(const m2s_step *step, int64_t chunk)
{
    m2s_shape shape = step->args.out_shape[0];

    return m2s_cut_part(shape.n * shape.h * shape.w, step->tasks[0].chunks, chunk);
}

static void run_sigmoid(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut pixels = pixel_range(step, chunk);
    int64_t channels = step->args.out_shape[0].c;
    const float *src = step->args.in[0];
    float *dst = step->args.out[0];

    (void)task;
    (void)worker;
    step->kernels->logistic(dst + pixels.begin * channels, NULL, NULL, src + pixels.begin * channels,
                            (pixels.end - pixels.begin) * channels);
}

static void run_sigmoid_grad(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut pixels = pixel_range(step, chunk);
    int64_t channels = step->args.out_shape[0].c;
    const float *diff = step->args.in[0], *result = step->args.in[1];
    float *dst = step->args.out[0];

    (void)task;
    (void)worker;
    for (int64_t i = pixels.begin * channels; i < pixels.end * channels; i++) {
        dst[i] = diff[i] * result[i] * (1.0f - result[i]);
    }
}

static void run_gelu(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut pixels = pixel_range(step, chunk);
    int64_t channels = step->args.out_shape[0].c, at = pixels.begin * channels;
    int64_t count = (pixels.end - pixels.begin) * channels;
    const float *first = (const float *)step->args.in[0] + at;
    float *dst = (float *)step->args.out[0] + at;

    (void)task;
    (void)worker;
    if (step->node.op == M2S_OP_gelu) {
        step->kernels->gelu(dst, first, count);
    } else {
        step->kernels->gelu_grad(dst, first, (const float *)step->args.in[1] + at, count);
    }
}

static void run_softmax(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut pixels = pixel_range(step, chunk);
    int64_t channels = step->args.out_shape[0].c;

    (void)task;
    (void)worker;
    for (int64_t p = pixels.begin; p < pixels.end; p++) {
        const float *src = (const float *)step->args.in[0] + p * channels;
        float *dst = (float *)step->args.out[0] + p * channels;
        float greatest = src[0], sum = 0.0f;
        for (int64_t c = 1; c < channels; c++) {
            greatest = src[c] > greatest ? src[c] : greatest;
        }
        for (int64_t c = 0; c < channels; c++) {
            dst[c] = expf(src[c] - greatest);
            sum += dst[c];
        }
        for (int64_t c = 0; c < channels; c++) {
            dst[c] /= sum;
        }
    }
}

static void run_softmax_grad(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut pixels = pixel_range(step, chunk);
    int64_t channels = step->args.out_shape[0].c;

    (void)task;
    (void)worker;
    for (int64_t p = pixels.begin; p < pixels.end; p++) {
        const float *diff = (const float *)step->args.in[0] + p * channels;
        const float *result = (const float *)step->args.in[1] + p * channels;
        float *dst = (float *)step->args.out[0] + p * channels;
        double dot = 0.0;
        for (int64_t c = 0; c < channels; c++) {
            dot += (double)diff[c] * (double)result[c];
        }
        for (int64_t c = 0; c < channels; c++) {
            dst[c] = (float)((double)result[c] * ((double)diff[c] - dot));
        }
    }
}

static void run_normalise(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_cut pixels = pixel_range(step, chunk);
    int64_t channels = step->args.in_shape[0].c;
    const float *src = step->args.in[0];
    float *dst = step->args.out[0];

    (void)task;
    (void)worker;
    for (int64_t p = pixels.begin; p < pixels.end; p++) {
        for (int64_t c = 0; c < 3; c++) {
            double value = (double)src[p * channels + (channels == 3 ? c : 0)];
            dst[p * 3 + c] = (float)((value - attrs->mean[c]) / attrs->std[c]);
        }
    }
}

static void run_normalise_grad(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_cut pixels = pixel_range(step, chunk);
    bool together = step->args.out_shape[0].c == 1;
    const float *diff = step->args.in[0];
    float *dst = step->args.out[0];

    (void)task;
    (void)worker;
    for (int64_t p = pixels.begin; p < pixels.end; p++) {
        double each[3];
        for (int64_t c = 0; c < 3; c++) {
            each[c] = (double)diff[p * 3 + c] / attrs->std[c];
        }
        if (together) {
            dst[p] = (float)(each[0] + each[1] + each[2]);
            continue;
        }
        for (int64_t c = 0; c < 3; c++) {
            dst[p * 3 + c] = (float)each[c];
        }
    }
}

m2snet_status m2s_lower_activation(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2s_shape shape = step->args.out_shape[0];
    int64_t each = 8; /* of a number, in numbers that only go through memory */
    m2s_step_run run = NULL;

    switch (step->node.op) {
    case M2S_OP_sigmoid:
        run = run_sigmoid;
        break;
    case M2S_OP_sigmoid_grad:
        run = run_sigmoid_grad;
        each = 1;
        break;
    case M2S_OP_gelu:
    case M2S_OP_gelu_grad:
        run = run_gelu;
        each = 4;
        break;
    case M2S_OP_softmax_c:
        run = run_softmax;
        break;
    case M2S_OP_softmax_c_grad:
        run = run_softmax_grad;
        each = 2;
        break;
    case M2S_OP_normalise_rgb:
        run = run_normalise;
        break;
    case M2S_OP_normalise_rgb_grad:
        run = run_normalise_grad;
        break;
    default:
        return M2SNET_STATUS_UNSUPPORTED;
    }
    m2snet_status status = m2s_lowering_plain_constants(lowering, error);
    m2s_step_set_kernel(step, "scalar");
    m2s_step_add_task(step, run, m2s_cut_count(shape.n * shape.h * shape.w, each * shape.c, M2S_CHUNK_NUMBERS));
    return status;
}
