/* SPDX-License-Identifier: Apache-2.0
 * conv2d to very few channels (the network's head): a matrix product whose columns are the outputs would leave most
 * of each vector empty. So its columns are the window's taps: one product over the source's pixels gives every tap's
 * share of every output, and the shares are then added up over the window. */
#include <stdio.h>

#include "backends/cpu/conv_weights.h"

#define MOST_COLUMNS 64
/* Numbers of shares in a chunk. */
#define CHUNK_SHARES 32768

typedef struct few_detail {
    m2s_conv_weights weights; /* first */
    const m2s_cpu_kernels *kernels;
    m2s_shape window;
    int64_t bands, columns;
} few_detail;

static void free_detail(m2s_memory *memory, void *detail)
{
    m2s_free(memory, detail);
}

/* Rows of the source that rows begin..end of the result look at. */
static m2s_cut source_rows(const m2s_step *step, m2s_cut rows)
{
    int64_t h = step->args.in_shape[0].h, pad = step->node.attrs.pad;
    m2s_cut src = { rows.begin - pad, rows.end - pad + step->args.in_shape[1].kh - 1 };

    src.begin = src.begin < 0 ? 0 : src.begin;
    src.end = src.end > h ? h : src.end;
    return src;
}

static float add_shares(const m2s_step *step, const float *shares, m2s_cut src, int64_t oy, int64_t ox, int64_t o)
{
    const few_detail *detail = step->detail;
    m2s_shape in = step->args.in_shape[0], window = step->args.in_shape[1];
    int64_t pad = step->node.attrs.pad;
    float sum = 0.0f;

    for (int64_t ky = 0; ky < window.kh; ky++) {
        for (int64_t kx = 0; kx < window.kw; kx++) {
            int64_t y = oy + ky - pad, x = ox + kx - pad;
            if (y >= 0 && y < in.h && x >= 0 && x < in.w) {
                int64_t pixel = (y - src.begin) * in.w + x;
                sum += shares[pixel * detail->columns + (ky * window.kw + kx) * window.o + o];
            }
        }
    }
    return sum;
}

static void run_few(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const few_detail *detail = step->detail;
    m2s_shape in = step->args.in_shape[0], out = step->args.out_shape[0];
    int64_t image = chunk / detail->bands;
    m2s_cut rows = m2s_cut_part(out.h, detail->bands, chunk % detail->bands), src = source_rows(step, rows);
    float *shares = m2s_step_worker_scratch(step, worker);
    const float *bias = step->args.in[2], *residual = step->args.in[3];
    m2s_gemm gemm = {
        .rows = (src.end - src.begin) * in.w,
        .columns = detail->columns,
        .depth = in.c,
        .a = (const float *)step->args.in[0] + (image * in.h + src.begin) * in.w * in.c,
        .a_stride = in.c,
        .b = m2s_conv_weights_at(step, &detail->weights),
        .c = shares,
        .c_stride = detail->columns,
        .ahead = true,
    };

    (void)task;
    step->kernels->gemm(&gemm);
    for (int64_t oy = rows.begin; oy < rows.end; oy++) {
        for (int64_t ox = 0; ox < out.w; ox++) {
            int64_t at = ((image * out.h + oy) * out.w + ox) * out.c;
            for (int64_t o = 0; o < out.c; o++) {
                float value = add_shares(step, shares, src, oy, ox, o);
                value += bias != NULL ? bias[o] : 0.0f;
                value += residual != NULL ? residual[at + o] : 0.0f;
                ((float *)step->args.out[0])[at + o] = step->node.attrs.relu != 0 && value < 0.0f ? 0.0f : value;
            }
        }
    }
}

/* Rows: input channels; columns: tap by tap, the outputs. A unit is a panel. */
static void pack_taps(const void *argument, const float *plain, m2s_cut units, float *packed)
{
    const few_detail *detail = argument;
    m2s_shape window = detail->window;
    int64_t taps = window.kh * window.kw, panel = detail->kernels->panel_columns;

    for (int64_t unit = units.begin; unit < units.end; unit++) {
        int64_t begin = unit * panel, end = begin + panel < detail->columns ? begin + panel : detail->columns;
        float *dst = packed + begin * window.i;
        for (int64_t k = 0; k < window.i; k++) {
            for (int64_t j = begin; j < end; j++) {
                int64_t tap = j / window.o, o = j % window.o;
                *dst++ = tap < taps ? plain[(o * window.i + k) * taps + tap] : 0.0f;
            }
        }
    }
}

m2snet_status m2s_lower_conv_few(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_shape in = step->args.in_shape[0], window = step->args.in_shape[1], out = step->args.out_shape[0];
    int64_t columns = m2s_gemm_packed_columns(step->kernels, window.o * window.kh * window.kw);
    few_detail *detail;
    m2snet_status status = M2SNET_STATUS_OK;

    if (window.o * 4 > step->kernels->vector || columns > MOST_COLUMNS || window.kh * window.kw == 1 ||
        attrs->stride != 1 || attrs->dilation != 1 || attrs->groups != 1 || attrs->pad >= window.kh ||
        attrs->pad >= window.kw) {
        return M2SNET_STATUS_UNSUPPORTED;
    }
    detail = m2s_calloc(lowering->device->host->memory, 1, sizeof *detail);
    if (detail == NULL) {
        return m2s_fail_memory(error, step->name, sizeof *detail);
    }
    step->detail = detail;
    step->free_detail = free_detail;
    detail->columns = columns;
    detail->window = window;
    detail->kernels = step->kernels;
    m2s_weights_layout layout = {
        .numbers = (size_t)(in.c * columns),
        .units = (columns + step->kernels->panel_columns - 1) / step->kernels->panel_columns,
        .pack = pack_taps,
        .argument = detail,
    };
    snprintf(layout.name, sizeof layout.name, "taps %s", step->kernels->name);
    M2S_TRY(m2s_conv_weights_prepare(lowering, 1, &layout, &detail->weights, error));
    if (m2s_lowering_has_input(lowering, 2) && m2s_lowering_is_constant(lowering, 2)) {
        const void *bias = NULL;
        M2S_TRY(m2s_lowering_pack(lowering, 2, "plain", 0, NULL, NULL, &bias, error));
        step->args.in[2] = bias;
    }
    detail->bands = m2s_cut_count(out.h, in.w * columns, CHUNK_SHARES);
    int64_t rows = (out.h + detail->bands - 1) / detail->bands + window.kh - 1;
    step->worker_bytes = (size_t)(rows * in.w * columns) * sizeof(float);
    m2s_step_set_kernel(step, "taps %s", step->kernels->name);
    m2s_step_add_task(step, run_few, out.n * detail->bands);
fail:
    return status;
}
