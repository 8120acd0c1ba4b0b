/* SPDX-License-Identifier: Apache-2.0
 * Convolutions with one channel a group, and their gradients: no matrix products, each number of the source is used in
 * one channel alone. The gradient of the source is, for stride 1, such a convolution with the window turned around. */
#include <stdio.h>
#include <string.h>

#include "backends/cpu/channel_sums.h"
#include "backends/cpu/conv_weights.h"

#define CHUNK_WORK   (2 * 1000 * 1000) /* multiply-adds of a chunk */
#define BAND_NUMBERS 49152             /* of a band's copy: 192 KiB, which a core's second cache holds */
#define DIRECT_ROWS  8                 /* of a band without a copy: the neighbours read some of its source again */
#define DIRECT_BLOCK 512               /* channels at a time: long runs, and units enough for threads */

typedef struct depthwise_detail {
    m2s_conv_weights weights; /* first */
    m2s_shape window;
    bool turned, direct;
    int64_t pad;
    int64_t bands, blocks, block; /* of an image, of a pixel, channels of a block */
} depthwise_detail;

static void free_detail(m2s_memory *memory, void *detail)
{
    m2s_free(memory, detail);
}

static bool is_depthwise(m2s_shape window, const m2s_attrs *attrs)
{
    return window.i == 1 && window.o == attrs->groups && attrs->groups > 1;
}

static m2s_depthwise describe(const m2s_attrs *attrs, m2s_shape src, m2s_shape window, m2s_shape dst, int64_t pad)
{
    return (m2s_depthwise){ .h = src.h,
                            .w = src.w,
                            .channels = dst.c,
                            .oh = dst.h,
                            .ow = dst.w,
                            .kh = window.kh,
                            .kw = window.kw,
                            .stride = attrs->stride,
                            .dilation = attrs->dilation,
                            .pad = pad };
}

/* Bands of an image, and the room for the largest of them. */
static int64_t choose_bands(const m2s_depthwise *d, bool gradient, size_t *room_bytes)
{
    int64_t rows = d->oh;

    while (rows > 1 && m2s_depthwise_room(d, rows, gradient) > BAND_NUMBERS) {
        rows = (rows + 1) / 2;
    }
    int64_t bands = (d->oh + rows - 1) / rows;
    rows = (d->oh + bands - 1) / bands;
    *room_bytes = (size_t)m2s_depthwise_room(d, rows, gradient) * sizeof(float);
    return bands;
}

/* The same without a copy. */
static void choose_blocks(depthwise_detail *detail, m2s_shape dst)
{
    detail->bands = (dst.h + DIRECT_ROWS - 1) / DIRECT_ROWS;
    detail->block = DIRECT_BLOCK;
    detail->blocks = (dst.c + DIRECT_BLOCK - 1) / DIRECT_BLOCK;
}

/* Line of channels after line, tap after tap, zeros behind the last channel. A unit is a line. */
static void pack_taps(const void *argument, const float *plain, m2s_cut units, float *packed)
{
    const depthwise_detail *detail = argument;
    int64_t taps = detail->window.kh * detail->window.kw;

    for (int64_t c = units.begin * M2S_DEPTHWISE_LINE; c < units.end * M2S_DEPTHWISE_LINE; c++) {
        for (int64_t tap = 0; tap < taps; tap++) {
            int64_t from = detail->turned ? taps - 1 - tap : tap;
            packed[(c - c % M2S_DEPTHWISE_LINE) * taps + tap * M2S_DEPTHWISE_LINE + c % M2S_DEPTHWISE_LINE] =
                c < detail->window.o ? plain[c * taps + from] : 0.0f;
        }
    }
}

/* Units of work: image by image, band by band, the blocks of channels. */
static void run_bands(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const depthwise_detail *detail = step->detail;
    m2s_shape in = step->args.in_shape[0], out = step->args.out_shape[0];
    m2s_depthwise d = describe(&step->node.attrs, in, detail->window, out, detail->pad);
    m2s_cut units = m2s_cut_part(out.n * detail->bands * detail->blocks, step->tasks[task].chunks, chunk);

    d.weights = m2s_conv_weights_at(step, &detail->weights);
    d.room = m2s_step_worker_scratch(step, worker);
    d.bias = detail->turned ? NULL : step->args.in[2];
    d.relu = !detail->turned && step->node.attrs.relu != 0;
    if (detail->direct) {
        memset(d.room, 0, (size_t)detail->block * sizeof(float));
    }
    for (int64_t unit = units.begin; unit < units.end; unit++) {
        int64_t band = unit / detail->blocks, image = band / detail->bands, at = image * out.h * out.w * out.c;
        int64_t c = unit % detail->blocks * detail->block;
        m2s_cut rows = m2s_cut_part(out.h, detail->bands, band % detail->bands);
        const float *residual = detail->turned ? NULL : step->args.in[3];
        d.src = (const float *)step->args.in[0] + image * in.h * in.w * in.c;
        d.dst = (float *)step->args.out[0] + at;
        d.residual = residual != NULL ? residual + at : NULL;
        if (detail->direct) {
            step->kernels->depthwise_direct(&d, rows.begin, rows.end, c, detail->block);
        } else {
            step->kernels->depthwise_band(&d, rows.begin, rows.end, c);
        }
    }
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
    detail->direct = window.kh == M2S_DEPTHWISE_SIDE && window.kw == M2S_DEPTHWISE_SIDE && attrs->stride == 1 &&
                     attrs->dilation == 1;
    m2s_weights_layout layout = {
        .numbers = (size_t)(window.kh * window.kw * m2s_norm_padded(out.c)),
        .units = m2s_norm_padded(out.c) / M2S_DEPTHWISE_LINE,
        .pack = pack_taps,
        .argument = detail,
    };
    snprintf(layout.name, sizeof layout.name, "depthwise%s", turned ? " turned" : "");
    M2S_TRY(m2s_lowering_plain_constants(lowering, error));
    M2S_TRY(m2s_conv_weights_prepare(lowering, 1, &layout, &detail->weights, error));
    if (detail->direct) {
        choose_blocks(detail, out);
        step->worker_bytes = (size_t)detail->block * sizeof(float);
    } else {
        m2s_depthwise d = describe(attrs, step->args.in_shape[0], window, out, detail->pad);
        detail->bands = choose_bands(&d, false, &step->worker_bytes);
        detail->block = M2S_DEPTHWISE_LINE;
        detail->blocks = m2s_norm_padded(out.c) / M2S_DEPTHWISE_LINE;
    }
    int64_t units = out.n * detail->bands * detail->blocks;
    m2s_step_set_kernel(step, "depthwise %s", step->kernels->name);
    m2s_step_add_task(step, run_bands,
                      m2s_cut_count(units, out.n * out.h * out.w * out.c * window.kh * window.kw / units, CHUNK_WORK));
fail:
    return status;
}

/* ---- conv2d_grad_weights: chunks are images by lines of channels; then their sums are added up, image after image.
 * Scratch: for each image, taps rows of doubles. ---- */

typedef struct grad_detail {
    int64_t bands;
} grad_detail;

static double *image_sums(const m2s_step *step, int64_t image)
{
    m2s_shape window = step->args.out_shape[0];

    return (double *)step->args.scratch + image * window.kh * window.kw * m2s_norm_padded(window.o);
}

static void run_sums(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const grad_detail *detail = step->detail;
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_shape in = step->args.in_shape[0], out = step->args.in_shape[1], window = step->args.out_shape[0];
    int64_t padded = m2s_norm_padded(window.o), lines = padded / M2S_DEPTHWISE_LINE;
    int64_t image = chunk / lines, c = chunk % lines * M2S_DEPTHWISE_LINE;
    m2s_depthwise d = describe(attrs, in, window, out, attrs->pad);

    (void)task;
    d.src = (const float *)step->args.in[0] + image * in.h * in.w * in.c;
    d.diff = (const float *)step->args.in[1] + image * out.h * out.w * out.c;
    d.sums = image_sums(step, image);
    d.room = m2s_step_worker_scratch(step, worker);
    for (int64_t tap = 0; tap < window.kh * window.kw; tap++) {
        memset(d.sums + tap * padded + c, 0, M2S_DEPTHWISE_LINE * sizeof(double));
    }
    for (int64_t band = 0; band < detail->bands; band++) {
        m2s_cut rows = m2s_cut_part(out.h, detail->bands, band);
        step->kernels->depthwise_grad(&d, rows.begin, rows.end, c);
    }
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
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_shape in = step->args.in_shape[0], window = step->args.out_shape[0];
    int64_t padded = m2s_norm_padded(window.o);
    grad_detail *detail;

    if (!is_depthwise(window, attrs)) {
        return M2SNET_STATUS_UNSUPPORTED;
    }
    detail = m2s_calloc(lowering->device->host->memory, 1, sizeof *detail);
    if (detail == NULL) {
        return m2s_fail_memory(error, step->name, sizeof *detail);
    }
    step->detail = detail;
    step->free_detail = free_detail;
    m2s_depthwise d = describe(attrs, in, window, step->args.in_shape[1], attrs->pad);
    detail->bands = choose_bands(&d, true, &step->worker_bytes);
    step->scratch_bytes = (size_t)(in.n * window.kh * window.kw * padded) * sizeof(double);
    m2s_step_set_kernel(step, "depthwise %s", step->kernels->name);
    m2s_step_add_task(step, run_sums, in.n * padded / M2S_DEPTHWISE_LINE);
    m2s_step_add_task(step, run_totals, m2s_channel_chunks(window.o));
    return m2s_lowering_plain_constants(lowering, error);
}
