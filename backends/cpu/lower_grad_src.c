/* SPDX-License-Identifier: Apache-2.0
 * What else a step backwards through a convolution needs: conv2d_grad_src (strides other than 1, and groups) and
 * transpose_weights.
 *
 * conv2d_grad_src: a product gives each pixel of the result's gradient its share of every source pixel under its
 * window, and the shares are then added where they belong. A chunk owns a band of the source's rows and adds no others:
 * bands that share a row of the result's gradient both compute what they need of it. */
#include <stdio.h>
#include <string.h>

#include "backends/cpu/conv_weights.h"

/* Pixels of a product: their shares stay in a second-level cache. */
#define PRODUCT_PIXELS 44
/* Multiply-adds of a chunk: some 200 us on one core. */
#define CHUNK_WORK (12 * 1000 * 1000)

typedef struct grad_src_detail {
    m2s_conv_weights weights; /* first */
    const m2s_cpu_kernels *kernels;
    m2s_shape window;       /* of the weights */
    int64_t groups, packed; /* packed: columns of a group's weights, zeros at the end included */
    int64_t lines;          /* rows of the result's gradient in a product */
    int64_t bands;          /* of an image */
} grad_src_detail;

static void free_detail(m2s_memory *memory, void *detail)
{
    m2s_free(memory, detail);
}

/* Group by group: rows are the group's outputs; columns, tap by tap, its inputs. A unit is a panel of a group. */
static void pack_shares(const void *argument, const float *plain, m2s_cut units, float *packed)
{
    const grad_src_detail *detail = argument;
    m2s_shape window = detail->window;
    int64_t taps = window.kh * window.kw, depth = window.o / detail->groups, panel = detail->kernels->panel_columns;
    int64_t panels = (detail->packed + panel - 1) / panel;

    for (int64_t unit = units.begin; unit < units.end; unit++) {
        int64_t group = unit / panels, begin = unit % panels * panel;
        int64_t end = begin + panel < detail->packed ? begin + panel : detail->packed;
        float *dst = packed + (group * detail->packed + begin) * depth;
        for (int64_t k = 0; k < depth; k++) {
            const float *src = plain + (group * depth + k) * window.i * taps;
            for (int64_t j = begin; j < end; j++) {
                int64_t tap = j / window.i, c = j % window.i;
                *dst++ = tap < taps ? src[c * taps + tap] : 0.0f;
            }
        }
    }
}

typedef struct band {
    int64_t image, group;
    m2s_cut rows; /* of the source */
} band;

/* Rows of the window that let row oy of the gradient reach the band. */
static m2s_cut reaching(const m2s_step *step, const band *at, int64_t oy)
{
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_cut ky = { 0, step->args.in_shape[1].kh };

    while (ky.begin < ky.end && oy * attrs->stride - attrs->pad + ky.begin * attrs->dilation < at->rows.begin) {
        ky.begin++;
    }
    while (ky.end > ky.begin && oy * attrs->stride - attrs->pad + (ky.end - 1) * attrs->dilation >= at->rows.end) {
        ky.end--;
    }
    return ky;
}

/* The shares of row oy, of which `shares` has the columns from `first` on. */
static void add_shares(const m2s_step *step, const band *at, int64_t oy, m2s_cut ky, const float *shares,
                       int64_t stride, int64_t first)
{
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_shape dst = step->args.out_shape[0], window = step->args.in_shape[1];
    int64_t ow = step->args.in_shape[0].w;

    for (int64_t y = ky.begin; y < ky.end; y++) {
        int64_t row = (at->image * dst.h + oy * attrs->stride - attrs->pad + y * attrs->dilation) * dst.w;
        for (int64_t ox = 0; ox < ow; ox++) {
            for (int64_t x = 0; x < window.kw; x++) {
                int64_t column = ox * attrs->stride - attrs->pad + x * attrs->dilation;
                if (column < 0 || column >= dst.w) {
                    continue;
                }
                const float *share = shares + ox * stride + (y * window.kw + x) * window.i - first;
                float *sum = (float *)step->args.out[0] + (row + column) * dst.c + at->group * window.i;
                for (int64_t c = 0; c < window.i; c++) {
                    sum[c] += share[c];
                }
            }
        }
    }
}

static void add_lines(const m2s_step *step, const band *at, m2s_cut lines, float *shares)
{
    const grad_src_detail *detail = step->detail;
    m2s_shape diff = step->args.in_shape[0], window = detail->window;
    int64_t depth = window.o / detail->groups, panel = detail->kernels->panel_columns;
    m2s_cut ky = { window.kh, 0 }; /* that any of the lines needs */

    for (int64_t oy = lines.begin; oy < lines.end; oy++) {
        m2s_cut reach = reaching(step, at, oy);
        ky.begin = reach.begin < reach.end && reach.begin < ky.begin ? reach.begin : ky.begin;
        ky.end = reach.begin < reach.end && reach.end > ky.end ? reach.end : ky.end;
    }
    if (ky.begin >= ky.end) {
        return;
    }
    /* Whole panels, as they are packed. */
    int64_t first = ky.begin * window.kw * window.i / panel * panel;
    int64_t end = (ky.end * window.kw * window.i + panel - 1) / panel * panel;
    int64_t stride = (end < detail->packed ? end : detail->packed) - first;
    m2s_gemm gemm = {
        .rows = (lines.end - lines.begin) * diff.w,
        .columns = stride,
        .depth = depth,
        .a = (const float *)step->args.in[0] + (at->image * diff.h + lines.begin) * diff.w * diff.c + at->group * depth,
        .a_stride = diff.c,
        .b = m2s_conv_weights_at(step, &detail->weights) + (at->group * detail->packed + first) * depth,
        .c = shares,
        .c_stride = stride,
        .ahead = true,
    };
    detail->kernels->gemm(&gemm);
    for (int64_t oy = lines.begin; oy < lines.end; oy++) {
        add_shares(step, at, oy, reaching(step, at, oy), shares + (oy - lines.begin) * diff.w * stride, stride, first);
    }
}

static void run_band(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const grad_src_detail *detail = step->detail;
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_shape diff = step->args.in_shape[0], dst = step->args.out_shape[0];
    int64_t image = chunk / detail->bands, reach = attrs->dilation * (detail->window.kh - 1);
    band at = { .image = image, .rows = m2s_cut_part(dst.h, detail->bands, chunk % detail->bands) };
    int64_t begin = (at.rows.begin + attrs->pad - reach) / attrs->stride;
    int64_t end = (at.rows.end - 1 + attrs->pad) / attrs->stride + 1;

    (void)task;
    begin = at.rows.begin + attrs->pad - reach < 0 ? 0 : begin;
    end = end < diff.h ? end : diff.h;
    memset((float *)step->args.out[0] + (image * dst.h + at.rows.begin) * dst.w * dst.c, 0,
           (size_t)((at.rows.end - at.rows.begin) * dst.w * dst.c) * sizeof(float));
    for (at.group = 0; at.group < detail->groups; at.group++) {
        for (int64_t line = begin; line < end; line += detail->lines) {
            m2s_cut lines = { line, line + detail->lines < end ? line + detail->lines : end };
            add_lines(step, &at, lines, m2s_step_worker_scratch(step, worker));
        }
    }
}

m2snet_status m2s_lower_grad_src(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2s_shape diff = step->args.in_shape[0], window = step->args.in_shape[1], dst = step->args.out_shape[0];
    grad_src_detail *detail = m2s_calloc(lowering->device->host->memory, 1, sizeof *detail);
    m2snet_status status = M2SNET_STATUS_OK;

    if (detail == NULL) {
        return m2s_fail_memory(error, step->name, sizeof *detail);
    }
    step->detail = detail;
    step->free_detail = free_detail;
    detail->kernels = step->kernels;
    detail->window = window;
    detail->groups = step->node.attrs.groups;
    detail->packed = m2s_gemm_packed_columns(step->kernels, window.i * window.kh * window.kw);
    detail->lines = diff.w < PRODUCT_PIXELS ? PRODUCT_PIXELS / diff.w : 1;
    detail->bands = m2s_cut_count(dst.h, diff.h * diff.w * m2s_shape_elements(window) / dst.h, CHUNK_WORK);
    int64_t panel = step->kernels->panel_columns;
    m2s_weights_layout layout = {
        .numbers = (size_t)(detail->packed * window.o),
        .units = detail->groups * ((detail->packed + panel - 1) / panel),
        .pack = pack_shares,
        .argument = detail,
    };
    snprintf(layout.name, sizeof layout.name, "shares %s g%lld", step->kernels->name, (long long)detail->groups);
    M2S_TRY(m2s_lowering_plain_constants(lowering, error));
    M2S_TRY(m2s_conv_weights_prepare(lowering, 1, &layout, &detail->weights, error));
    step->worker_bytes = (size_t)(detail->lines * diff.w * detail->packed) * sizeof(float);
    m2s_step_set_kernel(step, "shares %s", step->kernels->name);
    m2s_step_add_task(step, run_band, dst.n * detail->bands);
fail:
    return status;
}

/* ---- transpose_weights ---- */

/* Side of the squares of 1x1 weights that are turned at once: whole cache lines on both sides, through a buffer, since
 * the lines of a wide matrix fall into few sets of a first-level cache. */
#define TURN_SIDE 16

static void turn_points(m2s_shape src, int64_t o, int64_t i, const float *weights, float *turned)
{
    int64_t outputs = src.o - o < TURN_SIDE ? src.o - o : TURN_SIDE;
    int64_t inputs = src.i - i < TURN_SIDE ? src.i - i : TURN_SIDE;
    float square[TURN_SIDE][TURN_SIDE];

    for (int64_t r = 0; r < outputs; r++) {
        for (int64_t c = 0; c < inputs; c++) {
            square[c][r] = weights[(o + r) * src.i + i + c];
        }
    }
    for (int64_t c = 0; c < inputs; c++) {
        memcpy(turned + (i + c) * src.o + o, square[c], (size_t)outputs * sizeof(float));
    }
}

static void turn_windows(m2s_shape src, int64_t o, int64_t i, const float *weights, float *turned)
{
    int64_t window = src.kh * src.kw;

    for (int64_t c = i; c < i + TURN_SIDE && c < src.i; c++) {
        for (int64_t r = o; r < o + TURN_SIDE && r < src.o; r++) {
            for (int64_t tap = 0; tap < window; tap++) {
                turned[(c * src.o + r) * window + tap] = weights[(r * src.i + c) * window + window - 1 - tap];
            }
        }
    }
}

static void run_turn(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_shape src = step->args.in_shape[0];
    m2s_cut blocks = m2s_cut_part((src.i + TURN_SIDE - 1) / TURN_SIDE, step->tasks[task].chunks, chunk);

    (void)worker;
    for (int64_t i = blocks.begin * TURN_SIDE; i < blocks.end * TURN_SIDE; i += TURN_SIDE) {
        for (int64_t o = 0; o < src.o; o += TURN_SIDE) {
            if (src.kh * src.kw == 1) {
                turn_points(src, o, i, step->args.in[0], step->args.out[0]);
            } else {
                turn_windows(src, o, i, step->args.in[0], step->args.out[0]);
            }
        }
    }
}

m2snet_status m2s_lower_transpose_weights(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2s_shape src = step->args.in_shape[0];
    m2snet_status status = m2s_lowering_plain_constants(lowering, error);

    if (status == M2SNET_STATUS_OK) {
        m2s_step_set_kernel(step, "plain");
        m2s_step_add_task(
            step, run_turn,
            m2s_cut_count((src.i + TURN_SIDE - 1) / TURN_SIDE, TURN_SIDE * src.o * src.kh * src.kw, M2S_CHUNK_NUMBERS));
    }
    return status;
}
