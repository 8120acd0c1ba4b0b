/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu/winograd.h"

#include <stdio.h>

/* A chunk's transformed input and sums, both of all points, should stay in a core's second-level cache. */
#define CHUNK_TILES    44
#define CACHE_NUMBERS  (160 * 1024)

typedef struct winograd_layout {
    int64_t points, rows; /* most tiles of a chunk */
    int64_t depth, columns; /* numbers of a row: whole vectors */
    int64_t in_point, out_point; /* numbers of a point's matrix, a line more to spread them over cache sets */
} winograd_layout;

static winograd_layout layout_of(const m2s_cpu_kernels *kernels, const m2s_winograd *w)
{
    winograd_layout layout;

    layout.points = (int64_t)(w->m + 2) * (w->m + 2);
    layout.rows = (w->tiles + w->chunks - 1) / w->chunks;
    layout.depth = m2s_gemm_packed_columns(kernels, w->block);
    layout.columns = m2s_gemm_packed_columns(kernels, w->out);
    layout.in_point = layout.rows * layout.depth + 16;
    layout.out_point = layout.rows * layout.columns + 16;
    return layout;
}

static int64_t tiles_of(int64_t h, int64_t w, int m)
{
    return (h + m - 1) / m * ((w + m - 1) / m);
}

bool m2s_winograd_choose(const m2s_cpu_kernels *kernels, int64_t h, int64_t w, int64_t in, int64_t out,
                         m2s_winograd *winograd)
{
    *winograd = (m2s_winograd){ .h = h, .w = w, .in = in, .out = out };
    if (in < 16 || out < 16 || h < 4 || w < 4) {
        return false;
    }
    winograd->m = h * w >= 256 ? 4 : 2;
    winograd->tiles = tiles_of(h, w, winograd->m);
    winograd->chunks = m2s_cut_count(winograd->tiles, 1, CHUNK_TILES);
    int64_t points = (int64_t)(winograd->m + 2) * (winograd->m + 2);
    int64_t rows = (winograd->tiles + winograd->chunks - 1) / winograd->chunks;
    int64_t block = CACHE_NUMBERS / (points * rows) / kernels->vector * kernels->vector;
    block = block < 32 ? 32 : block;
    int64_t blocks = (in + block - 1) / block;
    block = m2s_gemm_packed_columns(kernels, (in + blocks - 1) / blocks);
    winograd->block = block < in ? block : in;
    return true;
}

size_t m2s_winograd_scratch(const m2s_cpu_kernels *kernels, const m2s_winograd *winograd)
{
    winograd_layout layout = layout_of(kernels, winograd);

    return (size_t)(layout.points * (layout.in_point + layout.out_point)) * sizeof(float);
}

typedef struct pack_request {
    const m2s_cpu_kernels *kernels;
    const m2s_winograd *winograd;
} pack_request;

static m2snet_status pack_weights(void *argument, const float *plain, void *packed, m2snet_error *error)
{
    const pack_request *request = argument;
    const m2s_winograd *w = request->winograd;

    (void)error;
    m2s_winograd_weights(request->kernels, w->m, plain, w->out, w->in, w->block, packed);
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_winograd_pack(const m2s_lowering *lowering, int32_t i, m2s_winograd *winograd, m2snet_error *error)
{
    const m2s_cpu_kernels *kernels = lowering->device->kernels;
    pack_request request = { .kernels = kernels, .winograd = winograd };
    winograd_layout layout = layout_of(kernels, winograd);
    size_t bytes = (size_t)(layout.points * winograd->in * layout.columns) * sizeof(float);
    char name[48];
    const void *packed = NULL;

    snprintf(name, sizeof name, "winograd%d %s %lld", winograd->m, kernels->name, (long long)winograd->block);
    m2snet_status status = m2s_lowering_pack(lowering, i, name, bytes, pack_weights, &request, &packed, error);
    winograd->weights = packed;
    return status;
}

void m2s_winograd_run(const m2s_cpu_kernels *kernels, const m2s_winograd *w, const m2s_conv_operands *operands,
                      int64_t chunk, void *scratch)
{
    winograd_layout layout = layout_of(kernels, w);
    m2s_cut tiles = m2s_cut_part(w->tiles, w->chunks, chunk);
    float *transformed = scratch, *sums = transformed + layout.points * layout.in_point;
    const float *weights = w->weights;

    for (int64_t begin = 0; begin < w->in; begin += w->block) {
        int64_t depth = w->in - begin < w->block ? w->in - begin : w->block;
        m2s_winograd_input input = {
            .h = w->h,
            .w = w->w,
            .channels = depth,
            .src = operands->src + begin,
            .src_pixel = operands->src_pixel,
            .addend = operands->addend != NULL ? operands->addend + begin : NULL,
            .addend_pixel = operands->addend_pixel,
            .tile_begin = tiles.begin,
            .tile_end = tiles.end,
            .dst = transformed,
            .point_stride = layout.in_point,
            .row_stride = layout.depth,
        };
        kernels->winograd_input[w->m == 4](&input);
        for (int64_t p = 0; p < layout.points; p++) {
            m2s_gemm gemm = {
                .rows = tiles.end - tiles.begin,
                .columns = layout.columns,
                .depth = depth,
                .a = transformed + p * layout.in_point,
                .a_stride = layout.depth,
                .b = weights,
                .c = sums + p * layout.out_point,
                .c_stride = layout.columns,
                .accumulate = begin > 0,
            };
            kernels->gemm(&gemm);
            weights += depth * layout.columns;
        }
    }
    m2s_winograd_output output = {
        .h = w->h,
        .w = w->w,
        .channels = w->out,
        .src = sums,
        .point_stride = layout.out_point,
        .row_stride = layout.columns,
        .tile_begin = tiles.begin,
        .tile_end = tiles.end,
        .bias = operands->bias,
        .residual = operands->residual,
        .residual_pixel = operands->residual_pixel,
        .relu = operands->relu,
        .dst = operands->dst,
        .dst_pixel = operands->dst_pixel,
    };
    kernels->winograd_output[w->m == 4](&output);
}
