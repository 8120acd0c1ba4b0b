/* SPDX-License-Identifier: Apache-2.0
 * What ends a training step: sums of squares, and updates in place. Chunks are ranges of numbers. */
#include <string.h>

#include "backends/cpu/plan.h"

static float scalar_at(const m2s_step *step, int32_t input)
{
    return *(const float *)step->args.in[input];
}

/* Input `input` as a gradient's factor: 1 where it is absent. */
static float factor_at(const m2s_step *step, int32_t input)
{
    return input < step->args.in_count && step->args.in[input] != NULL ? scalar_at(step, input) : 1.0f;
}

static m2s_cut number_range(const m2s_step *step, int64_t chunk)
{
    return m2s_cut_part(m2s_shape_elements(step->args.out_shape[0]), step->tasks[0].chunks, chunk);
}

/* What is not committed keeps its old numbers. */
static void keep(m2s_step *step, int32_t input, int32_t output, m2s_cut range)
{
    float *dst = step->args.out[output];
    const float *src = step->args.in[input];

    if (dst != src) {
        memcpy(dst + range.begin, src + range.begin, (size_t)(range.end - range.begin) * sizeof(float));
    }
}

static void run_running_average(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_cut range = number_range(step, chunk);
    const float *old = step->args.in[0], *fresh = step->args.in[1];
    float *dst = step->args.out[0];
    double of_new = attrs->alpha * attrs->beta;

    (void)task;
    (void)worker;
    if (scalar_at(step, 2) == 0.0f) {
        keep(step, 0, 0, range);
    } else if (attrs->count == 1) {
        double value = of_new * (double)fresh[attrs->begin];
        for (int64_t i = range.begin; i < range.end; i++) {
            dst[i] = (float)((1.0 - attrs->alpha) * (double)old[i] + value);
        }
    } else {
        step->kernels->blend(dst + range.begin, old + range.begin, fresh + range.begin, (float)(1.0 - attrs->alpha),
                             (float)of_new, range.end - range.begin);
    }
}

static void run_accumulate(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut range = number_range(step, chunk);
    int64_t count = range.end - range.begin;
    const float *sum = (const float *)step->args.in[0] + range.begin;
    const float *diff = (const float *)step->args.in[1] + range.begin;
    float *dst = (float *)step->args.out[0] + range.begin;
    float keeps = scalar_at(step, 2);
    bool finite = scalar_at(step, 3) != 0.0f;

    (void)task;
    (void)worker;
    if (keeps == 0.0f) { /* 0 times a NaN would be one */
        if (finite) {
            memcpy(dst, diff, (size_t)count * sizeof(float));
        } else {
            memset(dst, 0, (size_t)count * sizeof(float));
        }
    } else if (finite) {
        step->kernels->blend(dst, sum, diff, keeps, 1.0f, count);
    } else {
        step->kernels->multiply(dst, sum, NULL, keeps, count);
    }
}

static void run_sgd(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_cut range = number_range(step, chunk);
    m2s_sgd sgd = { .param = step->args.in[0],
                    .diff = step->args.in[1],
                    .velocity = step->args.in[2],
                    .new_param = step->args.out[0],
                    .new_velocity = step->args.out[1],
                    .factor = factor_at(step, 5),
                    .decay = (float)attrs->weight_decay,
                    .momentum = (float)attrs->momentum,
                    .rate = (float)(attrs->alpha * (double)scalar_at(step, 3)),
                    .nesterov = attrs->form != 0 };

    (void)task;
    (void)worker;
    if (scalar_at(step, 4) == 0.0f) {
        keep(step, 0, 0, range);
        keep(step, 2, 1, range);
        return;
    }
    step->kernels->sgd(&sgd, range.begin, range.end);
}

static void run_adamw(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_cut range = number_range(step, chunk);
    m2s_adamw adamw = { .param = step->args.in[0],
                        .diff = step->args.in[1],
                        .first = step->args.in[2],
                        .second = step->args.in[3],
                        .new_param = step->args.out[0],
                        .new_first = step->args.out[1],
                        .new_second = step->args.out[2],
                        .factor = factor_at(step, 8),
                        .decay = (float)attrs->weight_decay,
                        .rate = (float)(attrs->alpha * (double)scalar_at(step, 4)),
                        .of_first = (float)(1.0 - attrs->momentum),
                        .old_second = (float)attrs->beta,
                        .of_second = (float)(1.0 - attrs->beta),
                        .correction1 = scalar_at(step, 6),
                        .correction2 = scalar_at(step, 7),
                        .epsilon = (float)attrs->epsilon };

    (void)task;
    (void)worker;
    if (scalar_at(step, 5) == 0.0f) {
        for (int32_t i = 0; i < 3; i++) {
            keep(step, i == 0 ? 0 : i + 1, i, range);
        }
        return;
    }
    step->kernels->adamw(&adamw, range.begin, range.end);
}

m2snet_status m2s_lower_update(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2s_step_run run = NULL;

    switch (step->node.op) {
    case M2S_OP_running_average:
        run = run_running_average;
        break;
    case M2S_OP_accumulate:
        run = run_accumulate;
        break;
    case M2S_OP_sgd:
        run = run_sgd;
        break;
    case M2S_OP_adamw:
        run = run_adamw;
        break;
    default:
        return M2SNET_STATUS_UNSUPPORTED;
    }
    m2snet_status status = m2s_lowering_plain_constants(lowering, error);
    m2s_step_set_kernel(step, "%s", step->kernels->name);
    m2s_step_add_task(step, run, m2s_cut_count(m2s_shape_elements(step->args.out_shape[0]), 1, M2S_CHUNK_NUMBERS));
    return status;
}

/* ---- sum_squares: chunks are ranges of all inputs' numbers, counted one input after the other ---- */

static int64_t all_numbers(const m2s_step *step)
{
    int64_t count = 0;

    for (int32_t i = 0; i < step->args.in_count; i++) {
        count += m2s_shape_elements(step->args.in_shape[i]);
    }
    return count;
}

static void run_squares(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut range = m2s_cut_part(all_numbers(step), step->tasks[task].chunks, chunk);
    double sum = 0.0;
    int64_t first = 0;

    (void)worker;
    for (int32_t i = 0; i < step->args.in_count; i++) {
        int64_t end = first + m2s_shape_elements(step->args.in_shape[i]);
        int64_t from = range.begin > first ? range.begin : first, to = range.end < end ? range.end : end;
        if (from < to) {
            sum += step->kernels->sum_squares((const float *)step->args.in[i] + (from - first), NULL, to - from);
        }
        first = end;
    }
    ((double *)step->args.scratch)[chunk] = sum;
}

static void run_total(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const double *parts = step->args.scratch;
    double sum = 0.0;

    (void)chunk;
    (void)worker;
    for (int64_t i = 0; i < step->tasks[task - 1].chunks; i++) {
        sum += parts[i];
    }
    *(float *)step->args.out[0] = (float)sum;
}

m2snet_status m2s_lower_sum_squares(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    int64_t chunks = m2s_cut_count(all_numbers(step), 1, M2S_CHUNK_NUMBERS);
    m2snet_status status = m2s_lowering_plain_constants(lowering, error);

    step->scratch_bytes = (size_t)chunks * sizeof(double);
    m2s_step_set_kernel(step, "%s", step->kernels->name);
    m2s_step_add_task(step, run_squares, chunks);
    m2s_step_add_task(step, run_total, 1);
    return status;
}
