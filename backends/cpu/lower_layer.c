/* SPDX-License-Identifier: Apache-2.0
 * Layer normalisation and layer scale, pixel by pixel, and their gradients, whose sums over pixels go by chunks. */
#include "backends/cpu/channel_sums.h"

static m2s_cut pixel_range(const m2s_step *step, int32_t task, int64_t chunk)
{
    return m2s_cut_part(m2s_pixels_of(step->args.out_shape[0]), step->tasks[task].chunks, chunk);
}

static void run_forward(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut pixels = pixel_range(step, task, chunk);
    m2s_layer layer = { .channels = step->args.out_shape[0].c,
                        .src = step->args.in[0],
                        .dst = step->args.out[0],
                        .gamma = step->args.in[1],
                        .epsilon = step->node.attrs.epsilon };

    (void)worker;
    if (step->node.op == M2S_OP_scale_c) {
        step->kernels->scale_channels(&layer, pixels.begin, pixels.end);
        return;
    }
    layer.beta = step->args.in[2];
    step->kernels->layer_norm(&layer, pixels.begin, pixels.end);
}

static void run_backward(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    m2s_cut pixels = pixel_range(step, task, chunk);
    int64_t channels = step->args.out_shape[0].c;
    m2s_layer layer = { .channels = channels,
                        .diff = step->args.in[0],
                        .src = step->args.in[1],
                        .dst = step->args.out[0],
                        .gamma = step->args.in[2],
                        .epsilon = step->node.attrs.epsilon,
                        .sums = m2s_chunk_sums(step, channels, 0, chunk) };

    (void)worker;
    if (step->node.op == M2S_OP_scale_c_grad) {
        step->kernels->scale_channels_grad(&layer, pixels.begin, pixels.end);
    } else {
        step->kernels->layer_norm_grad(&layer, pixels.begin, pixels.end);
    }
}

static void run_totals(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    int64_t channels = step->args.out_shape[0].c, chunks = step->tasks[task - 1].chunks;
    bool norm = step->node.op == M2S_OP_layer_norm_grad;
    m2s_cut range = m2s_channel_range(channels, chunk);
    float *diff_gamma = step->args.out[1], *diff_beta = step->args.out[2];

    (void)worker;
    for (int64_t c = range.begin; c < range.end; c++) {
        diff_gamma[c] = (float)m2s_channel_total(step, channels, 0, chunks, norm ? 1 : 0, c);
        if (norm) {
            diff_beta[c] = (float)m2s_channel_total(step, channels, 0, chunks, 0, c);
        }
    }
}

m2snet_status m2s_lower_layer(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2s_shape shape = step->args.out_shape[0];
    bool backward = step->node.op == M2S_OP_layer_norm_grad || step->node.op == M2S_OP_scale_c_grad;
    int64_t chunks = m2s_cut_count(m2s_pixels_of(shape), shape.c, M2S_CHUNK_NUMBERS);
    m2snet_status status = m2s_lowering_plain_constants(lowering, error);

    m2s_step_set_kernel(step, "%s", step->kernels->name);
    m2s_step_add_task(step, backward ? run_backward : run_forward, chunks);
    if (backward) {
        step->scratch_bytes = m2s_channel_scratch(shape.c, 0, chunks);
        m2s_step_add_task(step, run_totals, m2s_channel_chunks(shape.c));
    }
    return status;
}
