/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu/conv_weights.h"

/* Packed numbers of a chunk: some 30 us. */
#define CHUNK_NUMBERS 32768

static m2snet_status pack_all(void *argument, const float *plain, void *packed, m2snet_error *error)
{
    const m2s_weights_layout *layout = argument;

    (void)error;
    layout->pack(layout->argument, plain, (m2s_cut){ 0, layout->units }, packed);
    return M2SNET_STATUS_OK;
}

static void run_pack(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const m2s_conv_weights *weights = step->detail;
    const m2s_weights_layout *layout = &weights->layout;
    m2s_cut units = m2s_cut_part(layout->units, step->tasks[task].chunks, chunk);

    (void)worker;
    layout->pack(layout->argument, step->args.in[weights->input], units,
                 (float *)((unsigned char *)step->args.scratch + weights->offset));
}

m2snet_status m2s_conv_weights_prepare(const m2s_lowering *lowering, int32_t i, const m2s_weights_layout *layout,
                                       m2s_conv_weights *weights, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2snet_status status = M2SNET_STATUS_OK;

    *weights = (m2s_conv_weights){ .layout = *layout, .input = i };
    if (m2s_lowering_is_constant(lowering, i)) {
        const void *packed = NULL;
        status = m2s_lowering_pack(lowering, i, layout->name, layout->numbers * sizeof(float), pack_all,
                                   &weights->layout, &packed, error);
        weights->constant = packed;
        return status;
    }
    weights->offset = (step->scratch_bytes + M2S_ALIGNMENT - 1) / M2S_ALIGNMENT * M2S_ALIGNMENT;
    step->scratch_bytes = weights->offset + layout->numbers * sizeof(float);
    m2s_step_add_task(step, run_pack,
                      m2s_cut_count(layout->units, (int64_t)layout->numbers / layout->units, CHUNK_NUMBERS));
    return status;
}

const float *m2s_conv_weights_at(const m2s_step *step, const m2s_conv_weights *weights)
{
    return weights->constant != NULL ? weights->constant
                                     : (const float *)((const unsigned char *)step->args.scratch + weights->offset);
}
