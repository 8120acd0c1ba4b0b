/* SPDX-License-Identifier: Apache-2.0
 * The fused multi-scale subtraction unit: chunks are bands of rows of one image. */
#include <math.h>

#include "backends/cpu/plan.h"
#include "backends/ref/kernel_cuts.h"

typedef struct subtract_detail {
    int64_t bands; /* of an image */
    float window[M2S_MAX_SCALES][MAX_WINDOW];
    m2s_tap taps[]; /* a column of the result each */
} subtract_detail;

static void free_detail(m2s_memory *memory, void *detail)
{
    m2s_free(memory, detail);
}

static m2s_subtract describe(const m2s_step *step)
{
    const m2s_attrs *attrs = &step->node.attrs;
    const subtract_detail *detail = step->detail;
    m2s_shape coarse = step->args.in_shape[0], fine = step->args.out_shape[0];
    m2s_subtract subtract = { .coarse_h = coarse.h,
                              .coarse_w = coarse.w,
                              .h = fine.h,
                              .w = fine.w,
                              .channels = fine.c,
                              .taps = detail->taps,
                              .scales = attrs->scales };

    for (int32_t k = 0; k < attrs->scales; k++) {
        subtract.kernel[k] = attrs->scale[k];
        subtract.window[k] = attrs->gaussian != 0 ? detail->window[k] : NULL;
        subtract.slope[k] = step->args.in[2 + 2 * k];
        subtract.offset[k] = step->args.in[3 + 2 * k];
    }
    return subtract;
}

static void run_subtract(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const subtract_detail *detail = step->detail;
    m2s_shape coarse = step->args.in_shape[0], fine = step->args.out_shape[0];
    m2s_subtract subtract = describe(step);
    int64_t image = chunk / detail->bands;
    m2s_cut rows = m2s_cut_part(fine.h, detail->bands, chunk % detail->bands);

    (void)task;
    subtract.a = (const float *)step->args.in[0] + image * coarse.h * coarse.w * coarse.c;
    subtract.b = (const float *)step->args.in[1] + image * fine.h * fine.w * fine.c;
    subtract.dst = (float *)step->args.out[0] + image * fine.h * fine.w * fine.c;
    subtract.scratch = m2s_step_worker_scratch(step, worker);
    step->kernels->subtract_rows(&subtract, rows.begin, rows.end);
}

m2snet_status m2s_lower_subtract(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_shape fine = step->args.out_shape[0];
    size_t bytes = sizeof(subtract_detail) + (size_t)fine.w * sizeof(m2s_tap);
    subtract_detail *detail = m2s_calloc(lowering->device->host->memory, 1, bytes);
    m2snet_status status;

    if (detail == NULL) {
        return m2s_fail_memory(error, step->name, bytes);
    }
    m2s_resize_taps(step->args.in_shape[0].w, fine.w, detail->taps);
    step->detail = detail;
    step->free_detail = free_detail;
    M2S_TRY(m2s_lowering_plain_constants(lowering, error));
    for (int32_t k = 0; k < attrs->scales; k++) {
        double weights[MAX_WINDOW];
        window_weights(attrs, attrs->scale[k], weights);
        for (int32_t i = 0; i < attrs->scale[k]; i++) {
            detail->window[k][i] = (float)weights[i];
        }
    }
    m2s_subtract subtract = describe(step);
    int64_t reach = m2s_subtract_reach(&subtract);
    /* Bands thinner than the window's reach would sum most rows several times. */
    detail->bands = m2s_cut_count(fine.h, fine.w * fine.c, M2S_CHUNK_NUMBERS);
    if (detail->bands > fine.h / (2 * reach + 1)) {
        detail->bands = fine.h / (2 * reach + 1) > 0 ? fine.h / (2 * reach + 1) : 1;
    }
    int64_t rows = (fine.h + detail->bands - 1) / detail->bands;
    step->worker_bytes = (size_t)m2s_subtract_scratch(&subtract, rows) * sizeof(float);
    m2s_step_set_kernel(step, "fused %s", step->kernels->name);
    m2s_step_add_task(step, run_subtract, fine.n * detail->bands);
fail:
    return status;
}
