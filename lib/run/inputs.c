/* SPDX-License-Identifier: Apache-2.0 */
#include "run/inputs.h"

#include <string.h>

#include "net/names.h"

#define PHASE              "prepare"
#define MOST_SCRATCH_BYTES ((size_t)256 << 20)

static double milliseconds_since(uint64_t start_ns)
{
    return (double)(m2s_now_ns() - start_ns) * 1e-6;
}

/* ---- on the device ---- */

static bool goes_through_window(m2snet_pixel_format format)
{
    return format == M2SNET_PIXEL_GRAY16 || format == M2SNET_PIXEL_F32;
}

static m2snet_status view_of(const m2s_window *w, m2s_picture_part *part, m2s_prepare_view *view, m2snet_error *error)
{
    m2snet_status status;

    part->image = w->image;
    M2S_TRY(m2s_image_check(w->image, "the picture", error));
    M2S_TRY(m2s_region_resolve(w->image->width, w->image->height, &w->part, &part->region, error));
    *view = (m2s_prepare_view){ .row = m2s_picture_row,
                                .user = part,
                                .width = part->region.width,
                                .height = part->region.height,
                                .channels = m2s_image_channels(w->image->format),
                                .x = w->x,
                                .y = w->y,
                                .dst_width = w->width,
                                .dst_height = w->height };
fail:
    return status;
}

static m2snet_status report(const m2s_inputs *inputs, uint64_t done, m2snet_error *error)
{
    for (int32_t i = 0; i < inputs->count; i++) {
        if (m2s_control_report(inputs->control, PHASE, done, 1) && done == 0) {
            return m2s_fail_cancelled(error, PHASE);
        }
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_inputs_on_device(m2snet_session *session, m2s_program *program, const m2s_inputs *inputs, bool *made,
                                   m2snet_error *error)
{
    const m2snet_context *context = session->model->context;
    const uint64_t limit = session->options.memory_limit_bytes;
    const uint64_t start = m2s_now_ns();
    m2s_picture_part parts[M2S_MAX_WINDOWS];
    m2s_prepare_view views[M2S_MAX_WINDOWS];
    m2s_prepare_request request = {
        .views = views, .count = inputs->count, .width = inputs->width, .height = inputs->height, .ways = inputs->ways
    };
    bool offered = context->backend->buffer_prepare != NULL && !inputs->on_host;
    m2snet_status status = M2SNET_STATUS_OK;

    *made = false;
    for (int32_t i = 0; i < inputs->count; i++) {
        offered = offered && !goes_through_window(inputs->windows[i].image->format);
    }
    if (!offered) {
        return status;
    }
    for (int32_t i = 0; i < inputs->count; i++) {
        M2S_TRY(view_of(&inputs->windows[i], &parts[i], &views[i], error));
    }
    memcpy(request.mean, inputs->normalization.mean, sizeof request.mean);
    memcpy(request.std, inputs->normalization.std, sizeof request.std);
    memcpy(request.way, inputs->way, sizeof request.way);
    size_t scratch = context->backend->prepare_bytes(context->device, &request);
    if (scratch > MOST_SCRATCH_BYTES || (limit != 0 && scratch > limit)) {
        return status;
    }
    M2S_TRY(report(inputs, 0, error));
    M2S_TRY(m2s_session_reserve(session, program, scratch, error));
    M2S_TRY(m2s_program_prepare(program, M2S_NAME_IMAGE, &request, session->arena, error));
    M2S_TRY(report(inputs, 1, error));
    *made = true;
    for (int32_t i = 0; i < inputs->count; i++) {
        *inputs->windows[i].prepare_ms += milliseconds_since(start) / (double)inputs->count;
    }
fail:
    return status;
}

/* ---- on the host ---- */

static size_t input_pixels(const m2s_inputs *inputs)
{
    return (size_t)inputs->width * (size_t)inputs->height;
}

/* A part smaller than the input. */
static m2snet_status prepare_piece(const m2s_host *host, const m2s_inputs *inputs, const m2s_window *w, float *input,
                                   m2snet_error *error)
{
    size_t row = 3 * (size_t)w->width, floats = row * (size_t)w->height;
    float *piece = m2s_alloc_array(host->memory, floats, sizeof *piece);
    m2snet_status status;

    if (piece == NULL) {
        return m2s_fail_memory(error, "a prepared picture", floats * sizeof *piece);
    }
    M2S_TRY(m2s_preprocess(host, w->image, &w->part, &inputs->normalization, w->width, w->height, piece,
                           inputs->control, error));
    memset(input, 0, 3 * input_pixels(inputs) * sizeof *input);
    for (int32_t y = 0; y < w->height; y++) {
        memcpy(input + 3 * ((size_t)(w->y + y) * (size_t)inputs->width + (size_t)w->x), piece + (size_t)y * row,
               row * sizeof *input);
    }
fail:
    m2s_free(host->memory, piece);
    return status;
}

static void mirror_input(const m2s_inputs *inputs, const float *src, int32_t way, float *dst)
{
    int32_t width = inputs->width, height = inputs->height;

    for (int32_t y = 0; y < height; y++) {
        const float *from = src + 3 * (size_t)width * (size_t)(way & M2SNET_MIRROR_VERTICAL ? height - 1 - y : y);
        float *to = dst + 3 * (size_t)width * (size_t)y;
        for (int32_t x = 0; x < width; x++) {
            memcpy(to + 3 * x, from + 3 * (way & M2SNET_MIRROR_HORIZONTAL ? width - 1 - x : x), 3 * sizeof *to);
        }
    }
}

m2snet_status m2s_inputs_on_host(const m2s_host *host, const m2s_inputs *inputs, float *pixels, m2snet_error *error)
{
    size_t floats = 3 * input_pixels(inputs);
    m2snet_status status = M2SNET_STATUS_OK;

    for (int32_t i = 0; i < inputs->count; i++) {
        const m2s_window *w = &inputs->windows[i];
        float *input = pixels + (size_t)(i * inputs->ways) * floats;
        uint64_t start = m2s_now_ns();
        if (w->width < inputs->width || w->height < inputs->height) {
            M2S_TRY(prepare_piece(host, inputs, w, input, error));
        } else {
            M2S_TRY(m2s_preprocess(host, w->image, &w->part, &inputs->normalization, w->width, w->height, input,
                                   inputs->control, error));
        }
        for (int32_t k = 1; k < inputs->ways; k++) {
            mirror_input(inputs, input, inputs->way[k], input + (size_t)k * floats);
        }
        *w->prepare_ms += milliseconds_since(start);
    }
fail:
    return status;
}
