/* SPDX-License-Identifier: Apache-2.0
 * Convolutions with one channel a group, and their gradients: no matrix products, each number of the source is used in
 * one channel alone. The gradient of the source is, for stride 1, such a convolution with the window turned around. */
#include <stdio.h>
#include <string.h>

#include "backends/cpu/channel_sums.h"
#include "backends/cpu/conv_weights.h"

#define CHUNK_WORK (2 * 1000 * 1000) /* multiply-adds of a chunk */
#define LINE       16                /* channels at once: a cache line */

typedef struct depthwise_detail {
    m2s_conv_weights weights; /* first */
    m2s_shape window;
    bool turned;
    int64_t bands; /* of an image */
    int64_t pad;
} depthwise_detail;

static void free_detail(m2s_memory *memory, void *detail)
{
    m2s_free(memory, detail);
}

static bool is_depthwise(m2s_shape window, const m2s_attrs *attrs)
{
    return window.i == 1 && window.o == attrs->groups && attrs->groups > 1;
}

/* Tap after tap, the channels, zeros behind the last. A unit is a line of channels. */
static void pack_taps(const void *argument, const float *plain, m2s_cut units, float *packed)
{
    const depthwise_detail *detail = argument;
    int64_t taps = detail->window.kh * detail->window.kw, padded = m2s_norm_padded(detail->window.o);

    for (int64_t c = units.begin * LINE; c < units.end * LINE; c++) {
        for (int64_t tap = 0; tap < taps; tap++) {
            int64_t from = detail->turned ? taps - 1 - tap : tap;
            packed[tap * padded + c] = c < detail->window.o ? plain[c * taps + from] : 0.0f;
        }
    }
}

static void run_rows(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const depthwise_detail *detail = step->detail;
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_shape in = step->args.in_shape[0], out = step->args.out_shape[0];
    int64_t image = chunk / detail->bands;
    m2s_cut rows = m2s_cut_part(out.h, detail->bands, chunk % detail->bands);
    const float *residual = detail->turned ? NULL : step->args.in[3];
    m2s_depthwise depthwise = {
        .h = in.h,
        .w = in.w,
        .channels = out.c,
        .oh = out.h,
        .ow = out.w,
        .kh = detail->window.kh,
        .kw = detail->window.kw,
        .stride = attrs->stride,
        .dilation = attrs->dilation,
        .pad = detail->pad,
        .src = (const float *)step->args.in[0] + image * in.h * in.w * in.c,
        .weights = m2s_conv_weights_at(step, &detail->weights),
        .bias = detail->turned ? NULL : step->args.in[2],
        .residual = residual != NULL ? residual + image * out.h * out.w * out.c : NULL,
        .relu = !detail->turned && attrs->relu != 0,
        .dst = (float *)step->args.out[0] + image * out.h * out.w * out.c,
    };

    (void)task;
    (void)worker;
    step->kernels->depthwise_rows(&depthwise, rows.begin, rows.end);
}

m2snet_status m2s_lower_depthwise(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_shape window = step->args.in_shape[1], out = step->args.out_shape[0];
    bool turned = step->node.op == M2S_OP_conv2d_grad_src;
    int64_t turned_pad = attrs->dilation * (window.kh - 1) - attrs->pad;
    depthwise_detail *detail;
    m2snet_status status = M2SNET_STATUS_OK;

    if (!is_depthwise(window, attrs) || (turned && (attrs->stride != 1 || window.kh != window.kw || turned_pad < 0))) {
        return M2SNET_STATUS_UNSUPPORTED;
    }
    detail = m2s_calloc(lowering->device->host->memory, 1, sizeof *detail);
    if (detail == NULL) {
        return m2s_fail_memory(error, step->name, sizeof *detail);
    }
    step->detail = detail;
    step->free_detail = free_detail;
    detail->window = window;
    detail->turned = turned;
    detail->pad = turned ? turned_pad : attrs->pad;
    m2s_weights_layout layout = {
        .numbers = (size_t)(window.kh * window.kw * m2s_norm_padded(window.o)),
        .units = m2s_norm_padded(window.o) / LINE,
        .pack = pack_taps,
        .argument = detail,
    };
    snprintf(layout.name, sizeof layout.name, "depthwise%s", turned ? " turned" : "");
    M2S_TRY(m2s_lowering_plain_constants(lowering, error));
    M2S_TRY(m2s_conv_weights_prepare(lowering, 1, &layout, &detail->weights, error));
    detail->bands = m2s_cut_count(out.h, out.w * out.c * window.kh * window.kw, CHUNK_WORK);
    m2s_step_set_kernel(step, "depthwise %s", step->kernels->name);
    m2s_step_add_task(step, run_rows, out.n * detail->bands);
fail:
    return status;
}

/* ---- conv2d_grad_weights: chunks are images by lines of channels; then their sums are added up, image after image.
 * Scratch: for each image, taps rows of doubles. ---- */

static double *image_sums(const m2s_step *step, int64_t image)
{
    m2s_shape window = step->args.out_shape[0];

    return (double *)step->args.scratch + image * window.kh * window.kw * m2s_norm_padded(window.o);
}

static void run_sums(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_shape in = step->args.in_shape[0], out = step->args.in_shape[1], window = step->args.out_shape[0];
    int64_t padded = m2s_norm_padded(window.o), lines = padded / LINE, image = chunk / lines, c = chunk % lines * LINE;
    m2s_depthwise depthwise = {
        .h = in.h,
        .w = in.w,
        .channels = out.c,
        .oh = out.h,
        .ow = out.w,
        .kh = window.kh,
        .kw = window.kw,
        .stride = attrs->stride,
        .dilation = attrs->dilation,
        .pad = attrs->pad,
        .src = (const float *)step->args.in[0] + image * in.h * in.w * in.c,
        .diff = (const float *)step->args.in[1] + image * out.h * out.w * out.c,
        .sums = image_sums(step, image),
    };

    (void)task;
    (void)worker;
    for (int64_t tap = 0; tap < window.kh * window.kw; tap++) {
        memset(depthwise.sums + tap * padded + c, 0, LINE * sizeof(double));
    }
    step->kernels->depthwise_grad(&depthwise, c);
}

static void run_totals(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_shape window = step->args.out_shape[0];
    int64_t taps = window.kh * window.kw, padded = m2s_norm_padded(window.o), images = step->args.in_shape[0].n;
    m2s_cut range = m2s_channel_range(window.o, chunk);
    float *dst = step->args.out[0];

    (void)task;
    (void)worker;
    for (int64_t c = range.begin; c < range.end; c++) {
        for (int64_t tap = 0; tap < taps; tap++) {
            double sum = 0.0;
            for (int64_t image = 0; image < images; image++) {
                sum += image_sums(step, image)[tap * padded + c];
            }
            dst[c * taps + tap] = (float)sum;
        }
    }
}

m2snet_status m2s_lower_depthwise_grad_weights(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2s_shape window = step->args.out_shape[0];
    int64_t images = step->args.in_shape[0].n, padded = m2s_norm_padded(window.o);

    if (!is_depthwise(window, &step->node.attrs)) {
        return M2SNET_STATUS_UNSUPPORTED;
    }
    step->scratch_bytes = (size_t)(images * window.kh * window.kw * padded) * sizeof(double);
    m2s_step_set_kernel(step, "depthwise %s", step->kernels->name);
    m2s_step_add_task(step, run_sums, images * padded / LINE);
    m2s_step_add_task(step, run_totals, m2s_channel_chunks(window.o));
    return m2s_lowering_plain_constants(lowering, error);
}
