/* SPDX-License-Identifier: Apache-2.0
 * conv2d by oneDNN. A chunk is a range of rows of one image: in a channels-last tensor that is a plain view, whose
 * padding at the top and the bottom is its own. So a step has a primitive for the first, the middle and the last
 * range, which share their weights wherever their layouts agree. */
#include "backends/cpu/plan.h"

#if defined(M2S_WITH_ONEDNN)

#include <inttypes.h>
#include <stdio.h>

#include "backends/cpu/onednn.h"

/* Multiply-adds of a chunk: large enough that its fixed cost (some 5 us) does not show. */
#define CHUNK_WORK  (12 * 1000 * 1000)
#define MOST_SHAPES 4

typedef struct part {
    int64_t begin, end; /* rows of the result */
    int64_t src_begin, src_end;
    int64_t pad_top;
} part;

typedef struct onednn_detail {
    int64_t chunks, rows; /* of an image; rows of a chunk, the last one may have fewer */
    int32_t shape_count;
    struct {
        int64_t rows, src_rows, pad_top;
        m2s_onednn_conv *conv;
        const void *weights;
    } shapes[MOST_SHAPES];
} onednn_detail;

static void free_detail(m2s_memory *memory, void *argument)
{
    onednn_detail *detail = argument;

    for (int32_t i = 0; i < detail->shape_count; i++) {
        m2s_onednn_conv_destroy(detail->shapes[i].conv);
    }
    m2s_free(memory, detail);
}

static part part_of(const m2s_step *step, const onednn_detail *detail, int64_t chunk)
{
    const m2s_attrs *attrs = &step->node.attrs;
    int64_t h = step->args.in_shape[0].h, oh = step->args.out_shape[0].h;
    part p = { .begin = chunk * detail->rows, .end = (chunk + 1) * detail->rows };

    p.end = p.end < oh ? p.end : oh;
    int64_t top = p.begin * attrs->stride - attrs->pad;
    int64_t bottom = (p.end - 1) * attrs->stride - attrs->pad + attrs->dilation * (step->args.in_shape[1].kh - 1) + 1;
    p.src_begin = top < 0 ? 0 : top;
    p.src_end = bottom > h ? h : bottom;
    p.pad_top = p.src_begin - top;
    return p;
}

static int32_t find_shape(const onednn_detail *detail, const part *p)
{
    for (int32_t i = 0; i < detail->shape_count; i++) {
        if (detail->shapes[i].rows == p->end - p->begin && detail->shapes[i].src_rows == p->src_end - p->src_begin &&
            detail->shapes[i].pad_top == p->pad_top) {
            return i;
        }
    }
    return -1;
}

static void run_onednn(m2s_step *step, int32_t task, int64_t chunk, int worker)
{
    const onednn_detail *detail = step->detail;
    m2s_shape src = step->args.in_shape[0], dst = step->args.out_shape[0];
    int64_t image = chunk / detail->chunks;
    part p = part_of(step, detail, chunk % detail->chunks);
    int32_t shape = find_shape(detail, &p);
    int64_t at = (image * dst.h + p.begin) * dst.w * dst.c;
    const float *residual = step->args.in[3];
    m2snet_error error;

    (void)task;
    if (m2s_onednn_conv_run(detail->shapes[shape].conv, worker,
                            (const float *)step->args.in[0] + (image * src.h + p.src_begin) * src.w * src.c,
                            detail->shapes[shape].weights, step->args.in[2], residual != NULL ? residual + at : NULL,
                            (float *)step->args.out[0] + at, m2s_step_worker_scratch(step, worker),
                            &error) != M2SNET_STATUS_OK) {
        m2s_step_fail(step, error.status, error.message);
    }
}

static m2snet_status pack_weights(void *argument, const float *plain, void *packed, m2snet_error *error)
{
    return m2s_onednn_conv_pack(argument, plain, packed, error);
}

static m2snet_status add_shape(const m2s_lowering *lowering, const part *p, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    const m2s_attrs *attrs = &step->node.attrs;
    m2s_shape src = step->args.in_shape[0], weights = step->args.in_shape[1], dst = step->args.out_shape[0];
    onednn_detail *detail = step->detail;
    m2s_onednn_conv_desc desc = {
        .h = p->src_end - p->src_begin,
        .w = src.w,
        .in = src.c,
        .oh = p->end - p->begin,
        .ow = dst.w,
        .out = dst.c,
        .kh = weights.kh,
        .kw = weights.kw,
        .stride = attrs->stride,
        .dilation = attrs->dilation,
        .groups = attrs->groups,
        .pad_top = p->pad_top,
        .pad_left = attrs->pad,
        .bias = m2s_lowering_has_input(lowering, 2),
        .residual = m2s_lowering_has_input(lowering, 3),
        .relu = attrs->relu != 0,
    };
    m2s_onednn_conv *conv = NULL;
    char layout[48];
    m2snet_status status;

    if (detail->shape_count == MOST_SHAPES || p->src_end <= p->src_begin) {
        return M2SNET_STATUS_UNSUPPORTED; /* windows that reach far beyond a small image */
    }
    M2S_TRY(m2s_onednn_conv_create(lowering->device->onednn, &desc, &conv, error));
    int32_t i = detail->shape_count++;
    detail->shapes[i].rows = desc.oh;
    detail->shapes[i].src_rows = desc.h;
    detail->shapes[i].pad_top = desc.pad_top;
    detail->shapes[i].conv = conv;
    snprintf(layout, sizeof layout, "onednn %016" PRIx64, m2s_onednn_conv_layout(conv));
    M2S_TRY(m2s_lowering_pack(lowering, 1, layout, m2s_onednn_conv_weights_bytes(conv), pack_weights, conv,
                              &detail->shapes[i].weights, error));
    if (m2s_onednn_conv_scratch_bytes(conv) > step->worker_bytes) {
        step->worker_bytes = m2s_onednn_conv_scratch_bytes(conv);
    }
fail:
    return status;
}

m2snet_status m2s_lower_conv_onednn(const m2s_lowering *lowering, m2snet_error *error)
{
    m2s_step *step = lowering->step;
    m2s_shape src = step->args.in_shape[0], weights = step->args.in_shape[1], dst = step->args.out_shape[0];
    onednn_detail *detail;
    m2snet_status status = M2SNET_STATUS_OK;

    if (lowering->device->onednn == NULL || !m2s_lowering_is_constant(lowering, 1) ||
        (m2s_lowering_has_input(lowering, 2) && !m2s_lowering_is_constant(lowering, 2))) {
        return M2SNET_STATUS_UNSUPPORTED;
    }
    detail = m2s_calloc(lowering->device->host->memory, 1, sizeof *detail);
    if (detail == NULL) {
        return m2s_fail_memory(error, step->name, sizeof *detail);
    }
    step->detail = detail;
    step->free_detail = free_detail;
    detail->chunks = m2s_cut_count(dst.h, dst.w * m2s_shape_elements(weights), CHUNK_WORK);
    detail->rows = (dst.h + detail->chunks - 1) / detail->chunks;
    detail->chunks = (dst.h + detail->rows - 1) / detail->rows;
    for (int64_t chunk = 0; chunk < detail->chunks; chunk++) {
        part p = part_of(step, detail, chunk);
        if (find_shape(detail, &p) < 0) {
            M2S_TRY(add_shape(lowering, &p, error));
        }
    }
    if (m2s_lowering_has_input(lowering, 2)) {
        const void *bias = NULL;
        M2S_TRY(m2s_lowering_pack(lowering, 2, "plain", 0, NULL, NULL, &bias, error));
        step->args.in[2] = bias;
    }
    m2s_step_set_kernel(step, "onednn %s", m2s_onednn_conv_name(detail->shapes[0].conv));
    m2s_step_add_task(step, run_onednn, src.n * detail->chunks);
fail:
    return status;
}

#else
typedef int m2s_no_onednn_here; /* built without it: the file is empty */
#endif
