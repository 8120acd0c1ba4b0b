/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu/conv_gemm.h"

#include <stdio.h>
#include <string.h>

#include "backends/cpu/openblas.h"

/* Gathered rows and depth: the buffer stays in a second-level cache beside the weights of a block. */
#define GATHER_ROWS  56
#define GATHER_DEPTH 512
/* Multiply-adds of a chunk: some 100 us on one core. */
#define CHUNK_WORK (6 * 1000 * 1000)
/* Fewer rows than this are cut by columns: each core then reads its own part of the weights, once. */
#define FEW_ROWS 224

/* Rows whose starts are a multiple of 4 KiB apart (or nearly a page) fall into the same few sets of a first-level
 * cache, which cannot hold the ROW_BLOCK lines that a product reads at once. */
static bool awkward_stride(int64_t numbers)
{
    return numbers >= 512 && numbers % 512 == 0;
}

void m2s_conv_gemm_choose(const m2s_cpu_kernels *kernels, m2s_shape src, m2s_shape weights, m2s_shape dst,
                          const m2s_attrs *attrs, bool in_place, m2s_conv_gemm *conv)
{
    bool point = weights.kh == 1 && weights.kw == 1 && attrs->stride == 1 && attrs->pad == 0;

    *conv = (m2s_conv_gemm){
        .n = src.n,
        .h = src.h,
        .w = src.w,
        .in = weights.i,
        .oh = dst.h,
        .ow = dst.w,
        .out = weights.o / attrs->groups,
        .kh = weights.kh,
        .kw = weights.kw,
        .stride = attrs->stride,
        .pad = attrs->pad,
        .dilation = attrs->dilation,
        .groups = attrs->groups,
        .depth = weights.i * weights.kh * weights.kw,
        .cuts = 1,
        .gemm = kernels->gemm,
        .provider = kernels->name,
    };
    conv->columns = m2s_gemm_packed_columns(kernels, conv->out);
    conv->panel = kernels->panel_columns;
#if defined(M2S_WITH_OPENBLAS)
    if (kernels->vector < 8) { /* own products with FMA reach 90 % of the peak, and run side by side */
        conv->gemm = m2s_openblas_gemm;
        conv->columns = conv->panel = conv->out;
        conv->provider = "openblas";
        conv->cuts = src.n; /* it may sum a row in another order where there are more rows */
    }
#endif
    /* The block, which sets the order of a sum, follows from the weights and the source's channels alone: the number
     * of pixels, and so of images, must not change a result. */
    bool awkward = awkward_stride(src.c);
    conv->block = (!point || awkward) && conv->depth > GATHER_DEPTH ? GATHER_DEPTH : conv->depth;
    conv->rows = point && (in_place || !awkward) ? 0 : GATHER_ROWS;
    int64_t work = conv->depth * conv->out, pixels = dst.n * dst.h * dst.w / conv->cuts;
    if (pixels >= FEW_ROWS || conv->out <= conv->panel) {
        conv->row_chunks = m2s_cut_count((pixels + 13) / 14, 14 * work, CHUNK_WORK);
        conv->column_chunks = 1;
    } else {
        int64_t panels = (conv->out + conv->panel - 1) / conv->panel;
        conv->row_chunks = 1;
        conv->column_chunks = m2s_cut_count(panels, pixels * work / panels, CHUNK_WORK);
    }
}

int64_t m2s_conv_gemm_chunks(const m2s_conv_gemm *conv)
{
    return conv->cuts * conv->row_chunks * conv->column_chunks * conv->groups;
}

/* A line more than the depth, so that rows do not share cache sets. */
static int64_t gather_stride(const m2s_conv_gemm *conv)
{
    return (conv->block + 15) / 16 * 16 + 16;
}

size_t m2s_conv_gemm_scratch(const m2s_conv_gemm *conv)
{
    return (size_t)(conv->rows * gather_stride(conv)) * sizeof(float);
}

/* ---- weights ---- */

/* Input channels packed at once: a line of a 1x1 window's row; a panel's rows of them stay in a first-level cache. */
#define PACK_CHANNELS 16

static int64_t pack_slices(const m2s_conv_gemm *conv)
{
    return (conv->in + PACK_CHANNELS - 1) / PACK_CHANNELS;
}

static int64_t panels_of(const m2s_conv_gemm *conv)
{
    return (conv->columns + conv->panel - 1) / conv->panel;
}

/* dst[k width + j] = src[j row + k step]. Rows are often a multiple of 4 KiB apart, which share a few sets of a cache:
 * so a row is left only when the run is done. */
static inline void pack_run(float *dst, int64_t width, const float *src, int64_t row, int64_t step, int64_t rows,
                            int64_t n)
{
    for (int64_t j = 0; j < rows; j++) {
        for (int64_t k = 0; k < n; k++) {
            dst[k * width + j] = src[j * row + k * step];
        }
    }
}

/* Input channels of one tap in one panel: their runs lie in one block of the depth, or in two. */
static void pack_tap(const m2s_conv_gemm *conv, const float *plain, int64_t first, int64_t tap, m2s_cut channels,
                     float *matrix)
{
    int64_t window = conv->kh * conv->kw;
    int64_t width = conv->columns - first < conv->panel ? conv->columns - first : conv->panel;
    int64_t rows = conv->out - first < width ? conv->out - first : width;

    for (int64_t c = channels.begin, n; c < channels.end; c += n) {
        int64_t k = tap * conv->in + c, block = k / conv->block * conv->block;
        int64_t depth = conv->depth - block < conv->block ? conv->depth - block : conv->block;
        float *dst = matrix + block * conv->columns + first * depth + (k - block) * width;
        const float *src = plain + c * window + tap;
        n = channels.end - c < block + depth - k ? channels.end - c : block + depth - k;
        if (window == 1 && n == PACK_CHANNELS) { /* a loop that the compiler knows all about */
            pack_run(dst, width, src, conv->depth, 1, rows, PACK_CHANNELS);
        } else {
            pack_run(dst, width, src, conv->depth, window, rows, n);
        }
        for (int64_t i = 0; i < n && rows < width; i++) {
            memset(dst + i * width + rows, 0, (size_t)(width - rows) * sizeof(float));
        }
    }
}

/* Packed: group by group, block by block of the depth; the depth runs through the window's rows, columns, then
 * channels. A unit is a slice of a group's input channels in one panel. */
static void pack_weights(const void *argument, const float *plain, m2s_cut units, float *packed)
{
    const m2s_conv_gemm *conv = argument;
    int64_t slices = pack_slices(conv), panels = panels_of(conv);

    for (int64_t unit = units.begin; unit < units.end; unit++) {
        int64_t group = unit / slices / panels, first = unit / slices % panels * conv->panel;
        int64_t begin = unit % slices * PACK_CHANNELS;
        m2s_cut channels = { begin, begin + PACK_CHANNELS < conv->in ? begin + PACK_CHANNELS : conv->in };
        for (int64_t tap = 0; tap < conv->kh * conv->kw; tap++) {
            pack_tap(conv, plain + (group * conv->out + first) * conv->depth, first, tap, channels,
                     packed + group * conv->depth * conv->columns);
        }
    }
}

void m2s_conv_gemm_layout(const m2s_conv_gemm *conv, m2s_weights_layout *layout)
{
    *layout = (m2s_weights_layout){
        .numbers = (size_t)(conv->groups * conv->depth * conv->columns),
        .units = conv->groups * panels_of(conv) * pack_slices(conv),
        .pack = pack_weights,
        .argument = conv,
    };
    snprintf(layout->name, sizeof layout->name, "gemm %s %lld g%lld", conv->provider, (long long)conv->block,
             (long long)conv->groups);
}

/* ---- running ---- */

static void copy_sum(float *dst, const float *src, const float *addend, int64_t n)
{
    if (addend == NULL) {
        memcpy(dst, src, (size_t)n * sizeof(float));
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        dst[i] = src[i] + addend[i];
    }
}

/* Numbers begin..end of the windows of pixels first..first + count: tap by tap, so that what a tap needs is worked
 * out once. */
static void gather(const m2s_conv_gemm *conv, const m2s_conv_operands *o, int64_t channel, int64_t first, int64_t count,
                   int64_t begin, int64_t end, float *dst)
{
    const int64_t stride = gather_stride(conv);

    for (int64_t k = begin; k < end;) {
        int64_t tap = k / conv->in, c = k % conv->in;
        int64_t n = conv->in - c < end - k ? conv->in - c : end - k;
        int64_t dy = tap / conv->kw * conv->dilation - conv->pad, dx = tap % conv->kw * conv->dilation - conv->pad;
        int64_t image = first / (conv->oh * conv->ow), oy = first / conv->ow % conv->oh, ox = first % conv->ow;
        float *row = dst + (k - begin);
        for (int64_t p = 0; p < count; p++) {
            int64_t y = oy * conv->stride + dy, x = ox * conv->stride + dx;
            if (y < 0 || y >= conv->h || x < 0 || x >= conv->w) {
                memset(row, 0, (size_t)n * sizeof(float));
            } else {
                int64_t pixel = (image * conv->h + y) * conv->w + x;
                copy_sum(row, o->src + pixel * o->src_pixel + channel + c,
                         o->addend != NULL ? o->addend + pixel * o->addend_pixel + channel + c : NULL, n);
            }
            row += stride;
            if (++ox == conv->ow) {
                ox = 0;
                if (++oy == conv->oh) {
                    oy = 0;
                    image++;
                }
            }
        }
        k += n;
    }
}

void m2s_conv_gemm_run(const m2s_conv_gemm *conv, const m2s_conv_operands *o, int64_t chunk, void *scratch)
{
    int64_t pixels = conv->n * conv->oh * conv->ow / conv->cuts, row_chunk = chunk / conv->column_chunks;
    int64_t group = row_chunk / (conv->cuts * conv->row_chunks), cut = row_chunk / conv->row_chunks % conv->cuts;
    m2s_cut rows = m2s_cut_part(pixels, conv->row_chunks, row_chunk % conv->row_chunks);
    m2s_cut panels =
        m2s_cut_part((conv->out + conv->panel - 1) / conv->panel, conv->column_chunks, chunk % conv->column_chunks);
    int64_t column = panels.begin * conv->panel, channel = group * conv->out + column;
    int64_t columns = (panels.end * conv->panel < conv->out ? panels.end * conv->panel : conv->out) - column;
    int64_t step = conv->rows > 0 ? conv->rows : rows.end - rows.begin;
    const float *weights = o->weights + group * conv->depth * conv->columns;

    rows.begin += cut * pixels;
    rows.end += cut * pixels;
    for (int64_t row = rows.begin; row < rows.end; row += step) {
        int64_t count = rows.end - row < step ? rows.end - row : step;
        for (int64_t begin = 0; begin < conv->depth; begin += conv->block) {
            int64_t end = begin + conv->block < conv->depth ? begin + conv->block : conv->depth;
            bool last = end == conv->depth;
            m2s_gemm gemm = {
                .rows = count,
                .columns = columns,
                .depth = end - begin,
                .a = scratch,
                .a_stride = gather_stride(conv),
                .b = weights + begin * conv->columns + column * (end - begin),
                .c = o->dst + row * o->dst_pixel + channel,
                .c_stride = o->dst_pixel,
                .bias = last && o->bias != NULL ? o->bias + channel : NULL,
                .residual = last && o->residual != NULL ? o->residual + row * o->residual_pixel + channel : NULL,
                .residual_stride = o->residual_pixel,
                .accumulate = begin > 0,
                .ahead = true,
                .relu = last && o->relu,
            };
            if (conv->rows > 0) {
                gather(conv, o, group * conv->in, row, count, begin, end, scratch);
            } else {
                gemm.a = o->src + row * o->src_pixel + group * conv->in + begin;
                gemm.a_stride = o->src_pixel;
            }
            conv->gemm(&gemm);
        }
    }
}
