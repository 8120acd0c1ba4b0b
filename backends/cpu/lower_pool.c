/* SPDX-License-Identifier: Apache-2.0
 * Pools and resizing: chunks are ranges of rows of the result, counted through all images. */
#include "backends/cpu/plan.h"

static m2s_cut row_range(const m2s_step *step, int64_t chunk)
{
    return m2s_cut_part(step->args.out_shape[0].n * step->args.out_shape[0].h, step->tasks[0].chunks, chunk);
}

static void run_pool(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_shape in = step->args.in_shape[0], out = step->args.out_shape[0];
    m2s_cut rows = row_range(step, chunk);
    m2s_window window = {
        .h = in.h,
        .w = in.w,
        .channels = in.c,
        .oh = out.h,
        .ow = out.w,
        .kernel = attrs->kernel,
        .stride = attrs->stride,
        .pad = attrs->pad,
        .count_include_pad = attrs->count_include_pad != 0,
        .src_pixel = in.c,
        .dst_pixel = in.c,
    };

    (void)task;
    (void)worker;
    for (int64_t row = rows.begin; row < rows.end; row++) {
        int64_t image = row / out.h;
        window.src = (const float *)step->args.in[0] + image * in.h * in.w * in.c;
        window.dst = (float *)step->args.out[0] + image * out.h * out.w * out.c;
        if (step->node.op == M2S_OP_max_pool) {
            step->kernels->max_pool_row(&window, row % out.h);
        } else {
            step->kernels->avg_pool_row(&window, row % out.h);
        }
    }
}

static void run_resize(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_shape in = step->args.in_shape[0], out = step->args.out_shape[0];
    const float *addend = step->args.in_count > 1 ? step->args.in[1] : NULL;
    m2s_cut rows = row_range(step, chunk);
    m2s_resize_rows resize = { .h = in.h,
                               .w = in.w,
                               .channels = in.c,
                               .oh = out.h,
                               .ow = out.w,
                               .taps = step->detail,
                               .row = m2s_step_worker_scratch(step, worker) };

    (void)task;
    for (int64_t row = rows.begin; row < rows.end; row++) {
        int64_t image = row / out.h;
        resize.src = (const float *)step->args.in[0] + image * in.h * in.w * in.c;
        resize.dst = (float *)step->args.out[0] + image * out.h * out.w * out.c;
        resize.addend = addend != NULL ? addend + image * out.h * out.w * out.c : NULL;
        step->kernels->resize_row(&resize, row % out.h);
    }
}

static void free_taps(m2s_memory *memory, void *detail)
{
    m2s_free(memory, detail);
}

static m2snet_status add_taps(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2s_shape in = step->args.in_shape[0], out = step->args.out_shape[0];

    step->detail = m2s_alloc_array(lowering->device->host->memory, (size_t)out.w, sizeof(m2s_tap));
    step->free_detail = free_taps;
    if (step->detail == NULL) {
        return m2s_fail_memory(error, step->name, (size_t)out.w * sizeof(m2s_tap));
    }
    m2s_resize_taps(in.w, out.w, step->detail);
    step->worker_bytes = (size_t)(in.w * in.c) * sizeof(float);
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_lower_pool(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2s_shape out = step->args.out_shape[0];
    int64_t taps = step->node.op == M2S_OP_resize ? 4 : (int64_t)step->node.attrs.kernel * step->node.attrs.kernel;
    m2snet_status status = m2s_lowering_plain_constants(lowering, error);

    if (status == M2SNET_STATUS_OK && step->node.op == M2S_OP_resize) {
        status = add_taps(lowering, error);
    }
    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    /* Nine cached reads cost about as much as two numbers from memory. */
    int64_t row_cost = out.w * out.c * (1 + taps / 4);
    m2s_step_set_kernel(step, "%s", step->kernels->name);
    m2s_step_add_task(step, step->node.op == M2S_OP_resize ? run_resize : run_pool,
                      m2s_cut_count(out.n * out.h, row_cost, M2S_CHUNK_NUMBERS));
    return M2SNET_STATUS_OK;
}
