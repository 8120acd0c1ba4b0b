/* SPDX-License-Identifier: Apache-2.0
 * Batch normalisation and its gradient: one pass for the sums over pixels, one that applies them, and between the two
 * a short task that adds up what the chunks found, in the order of the chunks.
 *
 * All three operations normalise by the same float statistics in the same way, so that batch_norm of the statistics of
 * batch_norm_train repeats its result bit for bit, and a gradient cuts where the result was cut. */
#include <math.h>

#include "backends/cpu/channel_sums.h"

/* Rows of floats in front of the chunks' sums. */
enum { ROW_SCALE, ROW_SLOPE, ROW_OFFSET, ROW_COUNT };

static float *float_row(const m2s_step *step, int64_t row)
{
    return m2s_channel_row(step, step->args.out_shape[0].c, row);
}

static double *chunk_sums(const m2s_step *step, int64_t channels, int64_t chunk)
{
    return m2s_chunk_sums(step, channels, ROW_COUNT, chunk);
}

static double total(const m2s_step *step, int64_t channels, int64_t chunks, int64_t row, int64_t c)
{
    return m2s_channel_total(step, channels, ROW_COUNT, chunks, row, c);
}

static size_t scratch_bytes(int64_t channels, int64_t chunks)
{
    return m2s_channel_scratch(channels, ROW_COUNT, chunks);
}

static double inverse_deviation(const m2s_step *step, const float *var, int64_t c)
{
    return 1.0 / sqrt((double)var[c] + step->node.attrs.epsilon);
}

/* ---- batch_norm and batch_norm_train ---- */

static m2s_norm describe(const m2s_step *step)
{
    return (m2s_norm){ .channels = step->args.in_shape[0].c,
                       .src = step->args.in[0],
                       .dst = step->args.out[0],
                       .shift = step->args.in[0],
                       .scale = float_row(step, ROW_SCALE),
                       .beta = step->args.in[2],
                       .relu = step->node.attrs.relu != 0 };
}

static void run_scale(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut range = m2s_channel_range(step->args.in_shape[0].c, chunk);
    const float *gamma = step->args.in[1], *var = step->args.in[4];
    float *scale = float_row(step, ROW_SCALE);

    (void)task;
    (void)worker;
    for (int64_t c = range.begin; c < range.end; c++) {
        scale[c] = (float)((double)gamma[c] * inverse_deviation(step, var, c));
    }
}

static void run_sums(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut pixels = m2s_cut_part(m2s_pixels_of(step->args.in_shape[0]), step->tasks[task].chunks, chunk);
    m2s_norm norm = describe(step);

    (void)worker;
    norm.sums = chunk_sums(step, norm.channels, chunk);
    step->kernels->norm_sums(&norm, pixels.begin, pixels.end);
}

static void run_statistics(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    int64_t channels = step->args.in_shape[0].c;
    m2s_cut range = m2s_channel_range(channels, chunk);
    double count = (double)m2s_pixels_of(step->args.in_shape[0]);
    const float *shift = step->args.in[0], *gamma = step->args.in[1];
    float *mean = step->args.out[1], *var = step->args.out[2], *scale = float_row(step, ROW_SCALE);

    (void)worker;
    for (int64_t c = range.begin; c < range.end; c++) {
        double beyond = total(step, channels, step->tasks[task - 1].chunks, 0, c) / count;
        double square = total(step, channels, step->tasks[task - 1].chunks, 1, c) / count - beyond * beyond;
        mean[c] = (float)((double)shift[c] + beyond);
        var[c] = (float)(square < 0.0 ? 0.0 : square);
        scale[c] = (float)((double)gamma[c] * inverse_deviation(step, var, c));
    }
}

static void run_apply(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut pixels = m2s_cut_part(m2s_pixels_of(step->args.in_shape[0]), step->tasks[task].chunks, chunk);
    m2s_norm norm = describe(step);

    (void)worker;
    norm.mean = step->node.op == M2S_OP_batch_norm_train ? step->args.out[1] : step->args.in[3];
    step->kernels->norm_apply(&norm, pixels.begin, pixels.end);
}

m2snet_status m2s_lower_norm(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2s_shape shape = step->args.in_shape[0];
    m2snet_status status = m2s_lowering_plain_constants(lowering, error);

    step->scratch_bytes = scratch_bytes(shape.c, 0);
    m2s_step_set_kernel(step, "%s", step->kernels->name);
    m2s_step_add_task(step, run_scale, m2s_channel_chunks(shape.c));
    m2s_step_add_task(step, run_apply, m2s_cut_count(m2s_pixels_of(shape), shape.c, M2S_CHUNK_NUMBERS));
    return status;
}

m2snet_status m2s_lower_norm_train(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2s_shape shape = step->args.in_shape[0];
    int64_t chunks = m2s_cut_count(m2s_pixels_of(shape), shape.c, M2S_CHUNK_NUMBERS);
    m2snet_status status = m2s_lowering_plain_constants(lowering, error);

    step->scratch_bytes = scratch_bytes(shape.c, chunks);
    m2s_step_set_kernel(step, "%s", step->kernels->name);
    m2s_step_add_task(step, run_sums, chunks);
    m2s_step_add_task(step, run_statistics, m2s_channel_chunks(shape.c));
    m2s_step_add_task(step, run_apply, chunks);
    return status;
}

/* ---- batch_norm_grad: diff_dst, src, gamma, beta, mean, var. With d = src - mean, i = 1 / sqrt(var + epsilon) and g
 * the gradient that ReLU let through, over `count` pixels: diff_beta = sum g, diff_gamma = i sum (g d), diff_src =
 * gamma i (g - diff_beta / count - i d diff_gamma / count), or gamma i g when frozen. ---- */

static m2s_norm describe_grad(const m2s_step *step)
{
    return (m2s_norm){ .channels = step->args.in_shape[1].c,
                       .src = step->args.in[1],
                       .diff = step->args.in[0],
                       .dst = step->args.out[0],
                       .mean = step->args.in[4],
                       .scale = float_row(step, ROW_SCALE),
                       .beta = step->args.in[3],
                       .slope = float_row(step, ROW_SLOPE),
                       .offset = float_row(step, ROW_OFFSET),
                       .relu = step->node.attrs.relu != 0 };
}

static void run_grad_scale(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut range = m2s_channel_range(step->args.in_shape[1].c, chunk);
    const float *gamma = step->args.in[2], *var = step->args.in[5];
    float *scale = float_row(step, ROW_SCALE);

    (void)task;
    (void)worker;
    for (int64_t c = range.begin; c < range.end; c++) {
        scale[c] = (float)((double)gamma[c] * inverse_deviation(step, var, c));
    }
}

static void run_grad_sums(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut pixels = m2s_cut_part(m2s_pixels_of(step->args.in_shape[1]), step->tasks[task].chunks, chunk);
    m2s_norm norm = describe_grad(step);

    (void)worker;
    norm.sums = chunk_sums(step, norm.channels, chunk);
    if (step->node.attrs.frozen != 0) {
        step->kernels->norm_grad_frozen(&norm, pixels.begin, pixels.end);
    } else {
        step->kernels->norm_grad_sums(&norm, pixels.begin, pixels.end);
    }
}

static void run_grad_totals(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    int64_t channels = step->args.in_shape[1].c;
    m2s_cut range = m2s_channel_range(channels, chunk);
    double count = (double)m2s_pixels_of(step->args.in_shape[1]);
    const float *gamma = step->args.in[2], *var = step->args.in[5];
    float *diff_gamma = step->args.out[1], *diff_beta = step->args.out[2];
    float *slope = float_row(step, ROW_SLOPE), *offset = float_row(step, ROW_OFFSET);

    (void)worker;
    for (int64_t c = range.begin; c < range.end; c++) {
        double inverse = inverse_deviation(step, var, c), scale = (double)gamma[c] * inverse;
        double sum = total(step, channels, step->tasks[task - 1].chunks, 0, c);
        double product = inverse * total(step, channels, step->tasks[task - 1].chunks, 1, c);
        diff_beta[c] = (float)sum;
        diff_gamma[c] = (float)product;
        slope[c] = (float)(-scale * inverse * product / count);
        offset[c] = (float)(-scale * sum / count);
    }
}

static void run_grad_apply(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut pixels = m2s_cut_part(m2s_pixels_of(step->args.in_shape[1]), step->tasks[task].chunks, chunk);
    m2s_norm norm = describe_grad(step);

    (void)worker;
    step->kernels->norm_grad_apply(&norm, pixels.begin, pixels.end);
}

m2snet_status m2s_lower_norm_grad(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2s_shape shape = step->args.in_shape[1];
    int64_t chunks = m2s_cut_count(m2s_pixels_of(shape), shape.c, M2S_CHUNK_NUMBERS);
    m2snet_status status = m2s_lowering_plain_constants(lowering, error);

    step->scratch_bytes = scratch_bytes(shape.c, chunks);
    m2s_step_set_kernel(step, "%s", step->kernels->name);
    m2s_step_add_task(step, run_grad_scale, m2s_channel_chunks(shape.c));
    m2s_step_add_task(step, run_grad_sums, chunks);
    m2s_step_add_task(step, run_grad_totals, m2s_channel_chunks(shape.c));
    if (step->node.attrs.frozen == 0) {
        m2s_step_add_task(step, run_grad_apply, chunks);
    }
    return status;
}

/* ---- sum_pixels ---- */

static void run_pixel_sums(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut pixels = m2s_cut_part(m2s_pixels_of(step->args.in_shape[0]), step->tasks[task].chunks, chunk);
    m2s_norm norm = { .channels = step->args.in_shape[0].c, .src = step->args.in[0] };

    (void)worker;
    norm.sums = chunk_sums(step, norm.channels, chunk);
    step->kernels->pixel_sums(&norm, pixels.begin, pixels.end);
}

static void run_pixel_totals(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    int64_t channels = step->args.in_shape[0].c;
    m2s_cut range = m2s_channel_range(channels, chunk);
    float *dst = step->args.out[0];

    (void)worker;
    for (int64_t c = range.begin; c < range.end; c++) {
        dst[c] = (float)total(step, channels, step->tasks[task - 1].chunks, 0, c);
    }
}

m2snet_status m2s_lower_sum_pixels(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2s_shape shape = step->args.in_shape[0];
    int64_t chunks = m2s_cut_count(m2s_pixels_of(shape), shape.c, M2S_CHUNK_NUMBERS);
    m2snet_status status = m2s_lowering_plain_constants(lowering, error);

    step->scratch_bytes = scratch_bytes(shape.c, chunks);
    m2s_step_set_kernel(step, "%s", step->kernels->name);
    m2s_step_add_task(step, run_pixel_sums, chunks);
    m2s_step_add_task(step, run_pixel_totals, m2s_channel_chunks(shape.c));
    return status;
}
