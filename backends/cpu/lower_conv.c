/* SPDX-License-Identifier: Apache-2.0
 * conv2d and res2_groups by the backend's own products: Winograd where it pays, gathered windows elsewhere. */
#include <string.h>

#include "backends/cpu/conv_gemm.h"
#include "backends/cpu/winograd.h"

static void free_detail(m2s_memory *memory, void *detail)
{
    m2s_free(memory, detail);
}

static m2snet_status add_detail(const m2s_lowering *lowering, size_t bytes, m2snet_error *error)
{
    m2s_step *step = lowering->step;

    step->detail = m2s_calloc(lowering->device->host->memory, 1, bytes);
    step->free_detail = free_detail;
    return step->detail != NULL ? M2SNET_STATUS_OK : m2s_fail_memory(error, step->name, bytes);
}

static int64_t image_numbers(m2s_shape shape)
{
    return shape.h * shape.w * shape.c;
}

static m2s_conv_operands conv2d_operands(const m2s_step *step, const m2s_conv_weights *weights)
{
    m2s_shape src = step->args.in_shape[0], dst = step->args.out_shape[0];

    return (m2s_conv_operands){
        .src = step->args.in[0],
        .src_pixel = src.c,
        .src_image = image_numbers(src),
        .weights = m2s_conv_weights_at(step, weights),
        .bias = step->args.in[2],
        .residual = step->args.in[3],
        .residual_pixel = dst.c,
        .residual_image = image_numbers(dst),
        .dst = step->args.out[0],
        .dst_pixel = dst.c,
        .dst_image = image_numbers(dst),
        .relu = step->node.attrs.relu != 0,
    };
}

static m2snet_status pack_bias(const m2s_lowering *lowering, int32_t i, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    const void *data = NULL;
    m2snet_status status = M2SNET_STATUS_OK;

    if (m2s_lowering_is_constant(lowering, i)) {
        status = m2s_lowering_pack(lowering, i, "plain", 0, NULL, NULL, &data, error);
        step->args.in[i] = data;
    }
    return status;
}

/* ---- conv2d, Winograd ---- */

typedef struct winograd_detail {
    m2s_conv_weights weights; /* first */
    m2s_winograd winograd;
} winograd_detail;

static void run_winograd(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const winograd_detail *detail = step->detail;
    m2s_conv_operands operands = conv2d_operands(step, &detail->weights);
    int phase = task - (m2s_conv_weights_change(&detail->weights) ? 1 : 0);

    if (detail->winograd.by_phase) {
        m2s_winograd_run_phase(&detail->winograd, &operands, phase, chunk, step->args.scratch);
    } else {
        m2s_winograd_run(&detail->winograd, &operands, chunk, m2s_step_worker_scratch(step, worker));
    }
}

m2snet_status m2s_lower_conv_winograd(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_shape src = step->args.in_shape[0], weights = step->args.in_shape[1];
    m2s_weights_layout layout;
    m2s_winograd winograd;
    winograd_detail *detail;
    m2snet_status status;

    if (weights.kh != 3 || weights.kw != 3 || attrs->stride != 1 || attrs->pad != 1 || attrs->dilation != 1 ||
        attrs->groups != 1 || attrs->form != 0 ||
        !m2s_winograd_choose(step->kernels, src.n, src.h, src.w, src.c, weights.o, &winograd)) {
        return M2SNET_STATUS_UNSUPPORTED;
    }
    M2S_TRY(add_detail(lowering, sizeof *detail, error));
    detail = step->detail;
    detail->winograd = winograd;
    step->worker_bytes = m2s_winograd_worker_bytes(&winograd);
    step->scratch_bytes = m2s_winograd_shared_bytes(&winograd);
    m2s_winograd_layout(&detail->winograd, &layout);
    M2S_TRY(m2s_conv_weights_prepare(lowering, 1, &layout, &detail->weights, error));
    M2S_TRY(pack_bias(lowering, 2, error));
    m2s_step_set_kernel(step, "winograd f%dx%d %s", winograd.m, winograd.m, step->kernels->name);
    if (winograd.by_phase) {
        for (int phase = 0; phase < 3; phase++) {
            m2s_step_add_task(step, run_winograd, winograd.phase_chunks[phase]);
        }
    } else {
        m2s_step_add_task(step, run_winograd, src.n * winograd.chunks);
    }
fail:
    return status;
}

/* ---- conv2d, matrix product ---- */

typedef struct gemm_detail {
    m2s_conv_weights weights; /* first */
    m2s_conv_gemm conv;
    int64_t spread; /* numbers from a pixel to the next after spreading; 0 = not spread */
} gemm_detail;

static void run_gemm(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const gemm_detail *detail = step->detail;
    m2s_conv_operands operands = conv2d_operands(step, &detail->weights);

    (void)task;
    if (detail->spread > 0) {
        operands.src = step->args.scratch;
        operands.src_pixel = detail->spread;
    }
    m2s_conv_gemm_run(&detail->conv, &operands, chunk, m2s_step_worker_scratch(step, worker));
}

/* Copies the source with a line between pixels, once for all chunks that read it. */
static void run_spread(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const gemm_detail *detail = step->detail;
    m2s_shape src = step->args.in_shape[0];
    m2s_cut pixels = m2s_cut_part(src.n * src.h * src.w, step->tasks[task].chunks, chunk);

    (void)worker;
    for (int64_t p = pixels.begin; p < pixels.end; p++) {
        memcpy((float *)step->args.scratch + p * detail->spread, (const float *)step->args.in[0] + p * src.c,
               (size_t)src.c * sizeof(float));
    }
}

m2snet_status m2s_lower_conv_gemm(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2s_shape src = step->args.in_shape[0], dst = step->args.out_shape[0];
    int64_t pixels = src.n * src.h * src.w;
    m2s_weights_layout layout;
    gemm_detail *detail;
    m2s_conv_gemm probe;
    m2snet_status status;

    M2S_TRY(add_detail(lowering, sizeof *detail, error));
    detail = step->detail;
    m2s_conv_gemm_choose(step->kernels, src, step->args.in_shape[1], dst, &step->node.attrs, true, &detail->conv);
    /* Spread and gathered sums run in another order: one image decides, so that a batch computes as its parts do. */
    m2s_shape one_src = src, one_dst = dst;
    one_src.n = one_dst.n = 1;
    m2s_conv_gemm_choose(step->kernels, one_src, step->args.in_shape[1], one_dst, &step->node.attrs, false, &probe);
    if (probe.rows > 0 && detail->conv.rows == 0) {
        if (probe.column_chunks > 2) {
            detail->spread = src.c + 16;
            step->scratch_bytes = (size_t)(pixels * detail->spread) * sizeof(float);
            m2s_step_add_task(step, run_spread, m2s_cut_count(pixels, src.c, M2S_CHUNK_NUMBERS));
        } else {
            m2s_conv_gemm_choose(step->kernels, src, step->args.in_shape[1], dst, &step->node.attrs, false,
                                 &detail->conv);
        }
    }
    m2s_conv_gemm_layout(&detail->conv, &layout);
    M2S_TRY(m2s_conv_weights_prepare(lowering, 1, &layout, &detail->weights, error));
    M2S_TRY(pack_bias(lowering, 2, error));
    step->worker_bytes = m2s_conv_gemm_scratch(&detail->conv);
    m2s_step_set_kernel(step, "gemm %s", detail->conv.provider);
    m2s_step_add_task(step, run_gemm, m2s_conv_gemm_chunks(&detail->conv));
fail:
    return status;
}

/* Own products with FMA are at least as fast as oneDNN's for 1x1 windows: 107 to 113 GF/s on one core with a peak of
 * 114, over the shapes of a Res2Net-50. */
m2snet_status m2s_lower_conv_point(const m2s_lowering *lowering, m2snet_error *error)
{
    const m2s_step *step = lowering->step;
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_shape weights = step->args.in_shape[1];

    if (step->kernels->vector < 8 || weights.kh != 1 || weights.kw != 1 || attrs->stride != 1 || attrs->pad != 0 ||
        attrs->groups != 1) {
        return M2SNET_STATUS_UNSUPPORTED;
    }
    return m2s_lower_conv_gemm(lowering, error);
}

/* ---- res2_groups ---- */

/* The groups are read and written where they lie in the joined tensors; what is added to a group is the group before
 * it, read from the result. Tasks: one for a stage block, whose groups do not depend on each other; else one a group,
 * or one a phase of a group. */
typedef struct groups_detail {
    bool by_winograd, by_phase;
    m2s_winograd winograd[3];
    m2s_conv_gemm gemm[3];
    m2s_conv_weights weights[3];
    int64_t conv_chunks; /* of one convolution that is one task */
    int64_t last_chunks; /* of the last group, which is copied or pooled */
} groups_detail;

static m2s_conv_operands group_operands(const m2s_step *step, int64_t group)
{
    const groups_detail *detail = step->detail;
    m2s_shape src = step->args.in_shape[0], dst = step->args.out_shape[0];
    int64_t width = src.c / 4;
    float *out = step->args.out[0];

    return (m2s_conv_operands){
        .src = (const float *)step->args.in[0] + group * width,
        .src_pixel = src.c,
        .src_image = image_numbers(src),
        .addend = group > 0 && step->node.attrs.stage == 0 ? out + (group - 1) * width : NULL,
        .addend_pixel = dst.c,
        .addend_image = image_numbers(dst),
        .weights = m2s_conv_weights_at(step, &detail->weights[group]),
        .bias = step->args.in[2 + 2 * group],
        .dst = out + group * width,
        .dst_pixel = dst.c,
        .dst_image = image_numbers(dst),
        .relu = true,
    };
}

static void run_last_group(const m2s_step *step, int64_t chunk)
{
    const groups_detail *detail = step->detail;
    m2s_shape src = step->args.in_shape[0], dst = step->args.out_shape[0];
    int64_t width = src.c / 4;
    m2s_cut rows = m2s_cut_part(dst.n * dst.h, detail->last_chunks, chunk);

    for (int64_t row = rows.begin; row < rows.end; row++) {
        int64_t image = row / dst.h;
        const float *in = (const float *)step->args.in[0] + image * src.h * src.w * src.c + 3 * width;
        float *out = (float *)step->args.out[0] + image * dst.h * dst.w * dst.c + 3 * width;
        if (step->node.attrs.stage != 0) {
            m2s_window window = {
                .h = src.h,
                .w = src.w,
                .channels = width,
                .oh = dst.h,
                .ow = dst.w,
                .kernel = 3,
                .stride = step->node.attrs.stride,
                .pad = 1,
                .count_include_pad = true,
                .src = in,
                .src_pixel = src.c,
                .dst = out,
                .dst_pixel = dst.c,
            };
            step->kernels->avg_pool_row(&window, row % dst.h);
            continue;
        }
        for (int64_t x = 0; x < dst.w; x++) {
            int64_t at = (row % dst.h * dst.w + x) * src.c;
            memcpy(out + at, in + at, (size_t)width * sizeof(float));
        }
    }
}

static void run_group(const m2s_step *step, int64_t group, int64_t chunk, int worker)
{
    const groups_detail *detail = step->detail;
    m2s_conv_operands operands = group_operands(step, group);
    void *scratch = m2s_step_worker_scratch(step, worker);

    if (detail->by_winograd) {
        m2s_winograd_run(&detail->winograd[group], &operands, chunk, scratch);
    } else {
        m2s_conv_gemm_run(&detail->gemm[group], &operands, chunk, scratch);
    }
}

/* All groups in one task. */
static void run_stage(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const groups_detail *detail = step->detail;

    (void)task;
    if (chunk < 3 * detail->conv_chunks) {
        run_group(step, chunk / detail->conv_chunks, chunk % detail->conv_chunks, worker);
    } else {
        run_last_group(step, chunk - 3 * detail->conv_chunks);
    }
}

/* A group a task; the last group goes with the first. */
static void run_in_turn(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const groups_detail *detail = step->detail;

    if (chunk < detail->conv_chunks) {
        run_group(step, task, chunk, worker);
    } else {
        run_last_group(step, chunk - detail->conv_chunks);
    }
}

/* A phase of a group a task. */
static void run_phases(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const groups_detail *detail = step->detail;
    const m2s_winograd *winograd = &detail->winograd[task / 3];
    m2s_conv_operands operands = group_operands(step, task / 3);

    (void)worker;
    if (chunk < winograd->phase_chunks[task % 3]) {
        m2s_winograd_run_phase(winograd, &operands, task % 3, chunk, step->args.scratch);
    } else {
        run_last_group(step, chunk - winograd->phase_chunks[task % 3]);
    }
}

static void add_group_tasks(m2s_step *step)
{
    const groups_detail *detail = step->detail;

    if (step->node.attrs.stage != 0) {
        m2s_step_add_task(step, run_stage, 3 * detail->conv_chunks + detail->last_chunks);
        return;
    }
    for (int32_t task = 0; task < (detail->by_phase ? 9 : 3); task++) {
        int64_t more = task == 0 ? detail->last_chunks : 0;
        if (detail->by_phase) {
            m2s_step_add_task(step, run_phases, detail->winograd[task / 3].phase_chunks[task % 3] + more);
        } else {
            m2s_step_add_task(step, run_in_turn, detail->conv_chunks + more);
        }
    }
}

m2snet_status m2s_lower_res2_groups(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_shape src = step->args.in_shape[0], dst = step->args.out_shape[0];
    m2s_shape group_src = src, group_dst = dst;
    m2s_attrs conv = { .stride = attrs->stride, .pad = 1, .dilation = 1, .groups = 1 };
    m2s_weights_layout layout;
    groups_detail *detail;
    m2snet_status status;

    for (int32_t i = 0; i < 3; i++) {
        if (!m2s_lowering_is_constant(lowering, 1 + 2 * i)) {
            return M2SNET_STATUS_UNSUPPORTED;
        }
    }
    group_src.c = group_dst.c = src.c / 4;
    M2S_TRY(add_detail(lowering, sizeof *detail, error));
    detail = step->detail;
    detail->by_winograd = attrs->stride == 1 && m2s_winograd_choose(step->kernels, src.n, src.h, src.w, src.c / 4,
                                                                    src.c / 4, &detail->winograd[0]);
    /* A stage block's three convolutions make chunks enough as they are. */
    detail->winograd[0].by_phase = detail->winograd[0].by_phase && attrs->stage == 0;
    detail->by_phase = detail->by_winograd && detail->winograd[0].by_phase;
    for (int32_t i = 0; i < 3; i++) {
        if (detail->by_winograd) {
            detail->winograd[i] = detail->winograd[0];
            m2s_winograd_layout(&detail->winograd[i], &layout);
        } else {
            m2s_conv_gemm_choose(step->kernels, group_src, step->args.in_shape[1 + 2 * i], group_dst, &conv, true,
                                 &detail->gemm[i]);
            m2s_conv_gemm_layout(&detail->gemm[i], &layout);
        }
        M2S_TRY(m2s_conv_weights_prepare(lowering, 1 + 2 * i, &layout, &detail->weights[i], error));
        M2S_TRY(pack_bias(lowering, 2 + 2 * i, error));
    }
    if (detail->by_winograd) {
        detail->conv_chunks = src.n * detail->winograd[0].chunks;
        step->worker_bytes = m2s_winograd_worker_bytes(&detail->winograd[0]);
        step->scratch_bytes = m2s_winograd_shared_bytes(&detail->winograd[0]);
        m2s_step_set_kernel(step, "winograd f%dx%d %s", detail->winograd[0].m, detail->winograd[0].m,
                            step->kernels->name);
    } else {
        detail->conv_chunks = m2s_conv_gemm_chunks(&detail->gemm[0]);
        step->worker_bytes = m2s_conv_gemm_scratch(&detail->gemm[0]);
        m2s_step_set_kernel(step, "gemm %s", detail->gemm[0].provider);
    }
    detail->last_chunks = m2s_cut_count(dst.n * dst.h, dst.w * dst.c / 4, M2S_CHUNK_NUMBERS);
    add_group_tasks(step);
fail:
    return status;
}
