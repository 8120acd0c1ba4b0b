/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu/winograd.h"

#include <stdio.h>

/* A chunk's transformed input and sums, both of all points, should stay in a core's second-level cache. */
#define CHUNK_TILES   44
#define CACHE_NUMBERS (160 * 1024)
/* Fewer tiles than this make too few chunks, each of which would read all the weights. */
#define FEW_TILES 100
/* Multiply-adds, and transformed vectors, of a phase's chunk: some 20 us. */
#define PHASE_WORK    (1000 * 1000)
#define PHASE_VECTORS 256

/* The transformed numbers of a range of tiles: a matrix (tiles x channels) a point. */
typedef struct winograd_layout {
    int64_t points, rows;        /* rows: tiles */
    int64_t depth, columns;      /* numbers of a row: whole vectors */
    int64_t in_point, out_point; /* of a point's matrix, with a line more to spread them over cache sets */
} winograd_layout;

static winograd_layout layout_of(const m2s_winograd *w, int64_t rows, int64_t channels)
{
    winograd_layout layout = { .points = (int64_t)(w->m + 2) * (w->m + 2), .rows = rows };

    layout.depth = m2s_gemm_packed_columns(w->kernels, channels);
    layout.depth += layout.depth % 512 == 0 ? 16 : 0; /* rows 2 KiB apart share few cache sets */
    layout.columns = m2s_gemm_packed_columns(w->kernels, w->out);
    layout.in_point = rows * layout.depth + 16;
    layout.out_point = rows * layout.columns + 16;
    return layout;
}

static winograd_layout chunk_layout(const m2s_winograd *w)
{
    return layout_of(w, (w->tiles + w->chunks - 1) / w->chunks, w->block);
}

static winograd_layout shared_layout(const m2s_winograd *w)
{
    return layout_of(w, w->n * w->tiles, w->in);
}

static int64_t layout_numbers(const winograd_layout *layout)
{
    return layout->points * (layout->in_point + layout->out_point);
}

static int64_t vectors_of(const m2s_cpu_kernels *kernels, int64_t channels)
{
    return m2s_gemm_packed_columns(kernels, channels) / kernels->vector;
}

static int64_t tiles_of(int64_t h, int64_t w, int m)
{
    return (h + m - 1) / m * ((w + m - 1) / m);
}

int m2s_winograd_side(int64_t h, int64_t w, int64_t in, int64_t out)
{
    if (in < 16 || out < 16 || h < 4 || w < 4) {
        return 0;
    }
    /* Small maps have more weights than results: F(2x2) has 16 numbers for 9, F(4x4) 36. */
    return h * w >= 256 ? 4 : 2;
}

bool m2s_winograd_choose(const m2s_cpu_kernels *kernels, int64_t n, int64_t h, int64_t w, int64_t in, int64_t out,
                         m2s_winograd *winograd)
{
    m2s_winograd result = { .kernels = kernels, .n = n, .h = h, .w = w, .in = in, .out = out };

    result.m = m2s_winograd_side(h, w, in, out);
    if (result.m == 0) {
        return false;
    }
    result.tiles = tiles_of(h, w, result.m);
    result.chunks = m2s_cut_count(result.tiles, 1, CHUNK_TILES);
    int64_t points = (int64_t)(result.m + 2) * (result.m + 2);
    int64_t rows = (result.tiles + result.chunks - 1) / result.chunks;
    int64_t block = CACHE_NUMBERS / (points * rows) / kernels->vector * kernels->vector;
    block = block < 32 ? 32 : block;
    int64_t blocks = (in + block - 1) / block;
    block = m2s_gemm_packed_columns(kernels, (in + blocks - 1) / blocks);
    result.block = block < in ? block : in;

    /* The block, and with it the order of all sums, does not depend on n: an image's place in a batch is of no
     * consequence. */
    int64_t all = n * result.tiles;
    result.by_phase = all < FEW_TILES;
    result.phase_chunks[0] = n * m2s_cut_count(vectors_of(kernels, in), result.tiles, PHASE_VECTORS);
    result.phase_chunks[1] = m2s_cut_count(points, all * in * out, PHASE_WORK);
    result.phase_chunks[2] = n * m2s_cut_count(vectors_of(kernels, out), result.tiles, PHASE_VECTORS);
    *winograd = result;
    return true;
}

size_t m2s_winograd_worker_bytes(const m2s_winograd *w)
{
    winograd_layout layout = chunk_layout(w);

    return w->by_phase ? 0 : (size_t)layout_numbers(&layout) * sizeof(float);
}

size_t m2s_winograd_shared_bytes(const m2s_winograd *w)
{
    winograd_layout layout = shared_layout(w);

    return w->by_phase ? (size_t)layout_numbers(&layout) * sizeof(float) : 0;
}

/* ---- weights ---- */

/* Units: a block of input channels and a panel of columns each. */
static void pack_weights(const void *argument, const float *plain, m2s_cut units, float *packed)
{
    const m2s_winograd *w = argument;
    winograd_layout layout = chunk_layout(w);
    int64_t panel = w->kernels->panel_columns, panels = (layout.columns + panel - 1) / panel;

    for (int64_t unit = units.begin; unit < units.end; unit++) {
        int64_t begin = unit / panels * w->block, column = unit % panels * panel;
        int64_t depth = w->in - begin < w->block ? w->in - begin : w->block;
        int64_t columns = layout.columns - column < panel ? layout.columns - column : panel;
        m2s_winograd_weights part = {
            .channels = depth,
            .columns = columns,
            .valid = w->out - column < columns ? w->out - column : columns,
            .src = plain + (column * w->in + begin) * 9,
            .src_column = w->in * 9,
            .dst = packed + begin * layout.points * layout.columns + column * depth,
            .point_stride = depth * layout.columns,
        };
        w->kernels->winograd_weights[w->m == 4](&part);
    }
}

void m2s_winograd_layout(const m2s_winograd *w, m2s_weights_layout *layout)
{
    winograd_layout chunk = chunk_layout(w);
    int64_t panel = w->kernels->panel_columns;

    *layout = (m2s_weights_layout){
        .numbers = (size_t)(chunk.points * w->in * chunk.columns),
        .units = (w->in + w->block - 1) / w->block * ((chunk.columns + panel - 1) / panel),
        .pack = pack_weights,
        .argument = w,
    };
    snprintf(layout->name, sizeof layout->name, "winograd%d %s %lld", w->m, w->kernels->name, (long long)w->block);
}

/* ---- the phases ---- */

/* Tiles of an image, channels begin..begin + channels: to point matrices that start at dst. */
static void transform_input(const m2s_winograd *w, const m2s_conv_operands *o, const winograd_layout *layout,
                            int64_t image, m2s_cut tiles, int64_t begin, int64_t channels, float *dst)
{
    m2s_winograd_input input = {
        .h = w->h,
        .w = w->w,
        .channels = channels,
        .src = o->src + image * o->src_image + begin,
        .src_pixel = o->src_pixel,
        .addend = o->addend != NULL ? o->addend + image * o->addend_image + begin : NULL,
        .addend_pixel = o->addend_pixel,
        .tile_begin = tiles.begin,
        .tile_end = tiles.end,
        .dst = dst,
        .point_stride = layout->in_point,
        .row_stride = layout->depth,
    };

    w->kernels->winograd_input[w->m == 4](&input);
}

static void transform_output(const m2s_winograd *w, const m2s_conv_operands *o, const winograd_layout *layout,
                             int64_t image, m2s_cut tiles, int64_t begin, int64_t channels, const float *src)
{
    m2s_winograd_output output = {
        .h = w->h,
        .w = w->w,
        .channels = channels,
        .src = src,
        .point_stride = layout->out_point,
        .row_stride = layout->columns,
        .tile_begin = tiles.begin,
        .tile_end = tiles.end,
        .bias = o->bias != NULL ? o->bias + begin : NULL,
        .residual = o->residual != NULL ? o->residual + image * o->residual_image + begin : NULL,
        .residual_pixel = o->residual_pixel,
        .relu = o->relu,
        .dst = o->dst + image * o->dst_image + begin,
        .dst_pixel = o->dst_pixel,
    };

    w->kernels->winograd_output[w->m == 4](&output);
}

/* The products of some points over one block of input channels. in: the block's first channel. */
static void multiply(const m2s_winograd *w, const m2s_conv_operands *o, const winograd_layout *layout, int64_t rows,
                     m2s_cut points, int64_t begin, const float *in, float *out)
{
    int64_t depth = w->in - begin < w->block ? w->in - begin : w->block;
    const float *weights = o->weights + begin * layout->points * layout->columns;

    for (int64_t p = points.begin; p < points.end; p++) {
        m2s_gemm gemm = {
            .rows = rows,
            .columns = layout->columns,
            .depth = depth,
            .a = in + p * layout->in_point,
            .a_stride = layout->depth,
            .b = weights + p * depth * layout->columns,
            .c = out + p * layout->out_point,
            .c_stride = layout->columns,
            .accumulate = begin > 0,
        };
        w->kernels->gemm(&gemm);
    }
}

void m2s_winograd_run(const m2s_winograd *w, const m2s_conv_operands *operands, int64_t chunk, void *scratch)
{
    winograd_layout layout = chunk_layout(w);
    int64_t image = chunk / w->chunks;
    m2s_cut tiles = m2s_cut_part(w->tiles, w->chunks, chunk % w->chunks), points = { 0, layout.points };
    float *transformed = scratch, *sums = transformed + layout.points * layout.in_point;

    for (int64_t begin = 0; begin < w->in; begin += w->block) {
        int64_t channels = w->in - begin < w->block ? w->in - begin : w->block;
        transform_input(w, operands, &layout, image, tiles, begin, channels, transformed);
        multiply(w, operands, &layout, tiles.end - tiles.begin, points, begin, transformed, sums);
    }
    transform_output(w, operands, &layout, image, tiles, 0, w->out, sums);
}

void m2s_winograd_run_phase(const m2s_winograd *w, const m2s_conv_operands *operands, int phase, int64_t chunk,
                            void *scratch)
{
    winograd_layout layout = shared_layout(w);
    float *transformed = scratch, *sums = transformed + layout.points * layout.in_point;
    m2s_cut tiles = { 0, w->tiles };

    if (phase == 1) {
        m2s_cut points = m2s_cut_part(layout.points, w->phase_chunks[1], chunk);
        for (int64_t begin = 0; begin < w->in; begin += w->block) {
            multiply(w, operands, &layout, layout.rows, points, begin, transformed + begin, sums);
        }
        return;
    }
    int64_t chunks = w->phase_chunks[phase] / w->n, image = chunk / chunks;
    int64_t all = phase == 0 ? w->in : w->out;
    m2s_cut vectors = m2s_cut_part(vectors_of(w->kernels, all), chunks, chunk % chunks);
    int64_t begin = vectors.begin * w->kernels->vector, end = vectors.end * w->kernels->vector;
    int64_t channels = (end < all ? end : all) - begin;
    if (phase == 0) {
        transform_input(w, operands, &layout, image, tiles, begin, channels,
                        transformed + image * w->tiles * layout.depth + begin);
    } else {
        transform_output(w, operands, &layout, image, tiles, begin, channels,
                         sums + image * w->tiles * layout.columns + begin);
    }
}
