/* SPDX-License-Identifier: Apache-2.0
 * Gradients of pools and of resizing, and windows over channels: chunks are ranges of rows of the result. */
#include <math.h>

#include "backends/cpu/plan.h"
#include "backends/ref/kernel_cuts.h"

static m2s_cut row_part(const m2s_step *step, int64_t chunk)
{
    return m2s_cut_part(step->args.out_shape[0].n * step->args.out_shape[0].h, step->tasks[0].chunks, chunk);
}

/* ---- pools ---- */

static void run_pool_grad(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_shape in = step->args.out_shape[0], out = step->args.in_shape[0];
    m2s_cut rows = row_part(step, chunk);
    m2s_window window = { .h = in.h,
                          .w = in.w,
                          .channels = in.c,
                          .oh = out.h,
                          .ow = out.w,
                          .kernel = attrs->kernel,
                          .stride = attrs->stride,
                          .pad = attrs->pad,
                          .count_include_pad = attrs->count_include_pad != 0,
                          .src_pixel = in.c,
                          .dst_pixel = in.c };

    (void)task;
    (void)worker;
    while (rows.begin < rows.end) {
        int64_t image = rows.begin / in.h, begin = rows.begin % in.h, left = rows.end - rows.begin;
        int64_t end = begin + left < in.h ? begin + left : in.h;
        window.src = (const float *)step->args.in[0] + image * out.h * out.w * out.c;
        window.dst = (float *)step->args.out[0] + image * in.h * in.w * in.c;
        if (step->node.op == M2S_OP_max_pool_grad) {
            step->kernels->max_pool_grad_rows(&window, (const float *)step->args.in[1] + image * in.h * in.w * in.c,
                                              begin, end);
        } else {
            for (int64_t y = begin; y < end; y++) {
                step->kernels->avg_pool_grad_row(&window, y);
            }
        }
        rows.begin += end - begin;
    }
}

m2snet_status m2s_lower_pool_grad(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2s_shape out = step->args.out_shape[0];
    m2snet_status status = m2s_lowering_plain_constants(lowering, error);

    m2s_step_set_kernel(step, "%s", step->kernels->name);
    m2s_step_add_task(step, run_pool_grad, m2s_cut_count(out.n * out.h, 2 * out.w * out.c, M2S_CHUNK_NUMBERS));
    return status;
}

/* ---- resize_grad ---- */

static void run_resize_grad(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_shape in = step->args.out_shape[0], out = step->args.in_shape[0];
    m2s_cut rows = row_part(step, chunk);
    m2s_resize_rows resize = { .h = in.h,
                               .w = in.w,
                               .channels = in.c,
                               .oh = out.h,
                               .ow = out.w,
                               .taps = step->detail,
                               .row = m2s_step_worker_scratch(step, worker) };

    (void)task;
    for (int64_t row = rows.begin; row < rows.end; row++) {
        int64_t image = row / in.h;
        resize.src = (const float *)step->args.in[0] + image * out.h * out.w * out.c;
        resize.dst = (float *)step->args.out[0] + image * in.h * in.w * in.c;
        step->kernels->resize_grad_row(&resize, row % in.h);
    }
}

static void free_detail(m2s_memory *memory, void *detail)
{
    m2s_free(memory, detail);
}

m2snet_status m2s_lower_resize_grad(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2s_shape in = step->args.out_shape[0], out = step->args.in_shape[0];
    m2snet_status status = m2s_lowering_plain_constants(lowering, error);

    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    step->detail = m2s_alloc_array(lowering->device->host->memory, (size_t)out.w, sizeof(m2s_tap));
    step->free_detail = free_detail;
    if (step->detail == NULL) {
        return m2s_fail_memory(error, step->name, (size_t)out.w * sizeof(m2s_tap));
    }
    m2s_resize_taps(in.w, out.w, step->detail);
    step->worker_bytes = (size_t)(out.w * out.c) * sizeof(float);
    m2s_step_set_kernel(step, "%s", step->kernels->name);
    /* A row costs about what it reads. */
    int64_t row_cost = (out.h + in.h) / in.h * out.w * out.c;
    m2s_step_add_task(step, run_resize_grad, m2s_cut_count(in.n * in.h, row_cost, M2S_CHUNK_NUMBERS));
    return M2SNET_STATUS_OK;
}

/* ---- box_filter, boundary_weights ---- */

typedef struct box_detail {
    float window[MAX_WINDOW];
} box_detail;

static void run_box(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_shape shape = step->args.out_shape[0];
    m2s_cut rows = row_part(step, chunk);
    int64_t row = shape.w * shape.c, image = shape.h * row;
    const box_detail *detail = step->detail;
    const float *src = step->args.in[0];
    float *dst = step->args.out[0];
    m2s_plane_window window = { .h = shape.h,
                                .w = shape.w,
                                .channels = shape.c,
                                .kernel = attrs->kernel,
                                .weights = detail != NULL ? detail->window : NULL,
                                .dst_step = 1,
                                .row = m2s_step_worker_scratch(step, worker) };

    (void)task;
    for (int64_t y = rows.begin; y < rows.end; y++) {
        window.src = src + y / shape.h * image;
        window.dst = dst + y / shape.h * image;
        step->kernels->plane_window(&window, y % shape.h, y % shape.h + 1);
        if (step->node.op == M2S_OP_boundary_weights) {
            double area = (double)attrs->kernel * (double)attrs->kernel;
            for (int64_t i = y * row; i < (y + 1) * row; i++) {
                dst[i] = (float)(1.0 + attrs->alpha * fabs((double)dst[i] / area - (double)src[i]));
            }
        }
    }
}

m2snet_status m2s_lower_box(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_shape shape = step->args.out_shape[0];
    m2snet_status status = m2s_lowering_plain_constants(lowering, error);

    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    if (attrs->gaussian != 0) {
        double weights[MAX_WINDOW];
        box_detail *detail = m2s_calloc(lowering->device->host->memory, 1, sizeof *detail);
        step->detail = detail;
        step->free_detail = free_detail;
        if (detail == NULL) {
            return m2s_fail_memory(error, step->name, sizeof *detail);
        }
        window_weights(attrs, attrs->kernel, weights);
        for (int32_t i = 0; i < attrs->kernel; i++) {
            detail->window[i] = (float)weights[i];
        }
    }
    step->worker_bytes = (size_t)m2s_plane_window_scratch(shape.w, shape.c, attrs->kernel) * sizeof(float);
    m2s_step_set_kernel(step, "%s", step->kernels->name);
    m2s_step_add_task(step, run_box,
                      m2s_cut_count(shape.n * shape.h, shape.w * shape.c * (1 + attrs->kernel / 4), M2S_CHUNK_NUMBERS));
    return M2SNET_STATUS_OK;
}
