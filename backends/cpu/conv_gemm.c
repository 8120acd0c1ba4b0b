/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cpu/conv_gemm.h"

#include <stdio.h>
#include <string.h>

#include "backends/cpu/openblas.h"

/* Gathered rows and depth: the buffer stays in a second-level cache beside the weights of a block. */
#define GATHER_ROWS  56
#define GATHER_DEPTH 512
/* Multiply-adds of a chunk: some 100 us on one core. */
#define CHUNK_WORK   (6 * 1000 * 1000)
/* Fewer rows than this are cut by columns: each core then reads its own part of the weights, once. */
#define FEW_ROWS     224

/* Rows whose starts are a multiple of 4 KiB apart (or nearly a page) fall into the same few sets of a first-level
 * cache, which cannot hold the ROW_BLOCK lines that a product reads at once. */
static bool awkward_stride(int64_t numbers)
{
    return numbers >= 512 && numbers % 512 == 0;
}

void m2s_conv_gemm_choose(const m2s_cpu_kernels *kernels, m2s_shape src, m2s_shape weights, m2s_shape dst,
                          const m2s_attrs *attrs, bool in_place, m2s_conv_gemm *conv)
{
    char version[64];
    bool point = weights.kh == 1 && weights.kw == 1 && attrs->stride == 1 && attrs->pad == 0;
    int64_t pixels = dst.n * dst.h * dst.w;

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
        .gemm = kernels->gemm,
        .packed_panels = true,
        .provider = kernels->name,
    };
    if (kernels->vector < 8 && m2s_openblas_version(version, sizeof version) != NULL) {
        conv->gemm = m2s_openblas_gemm;
        conv->packed_panels = false;
        conv->provider = "openblas";
    }
    conv->columns = conv->packed_panels ? m2s_gemm_packed_columns(kernels, conv->out) : conv->out;
    if (point && (in_place || !awkward_stride(src.c))) {
        conv->block = conv->depth;
    } else {
        conv->rows = GATHER_ROWS;
        conv->block = conv->depth < GATHER_DEPTH ? conv->depth : GATHER_DEPTH;
    }
    int64_t work = conv->depth * conv->out;
    if (pixels >= FEW_ROWS || conv->out <= kernels->panel_columns) {
        conv->row_chunks = m2s_cut_count((pixels + 13) / 14, 14 * work, CHUNK_WORK);
        conv->column_chunks = 1;
    } else {
        int64_t panels = (conv->out + kernels->panel_columns - 1) / kernels->panel_columns;
        conv->row_chunks = 1;
        conv->column_chunks = m2s_cut_count(panels, pixels * work / panels, CHUNK_WORK);
    }
}

int64_t m2s_conv_gemm_chunks(const m2s_conv_gemm *conv)
{
    return conv->row_chunks * conv->column_chunks * conv->groups;
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

typedef struct pack_request {
    const m2s_cpu_kernels *kernels;
    const m2s_conv_gemm *conv;
} pack_request;

/* Group by group, block by block of the depth; the depth runs through the window's rows, columns, then channels. */
static m2snet_status pack_weights(void *argument, const float *plain, void *packed, m2snet_error *error)
{
    const pack_request *request = argument;
    const m2s_conv_gemm *conv = request->conv;
    const m2s_cpu_kernels *kernels = request->kernels;
    int64_t window = conv->kh * conv->kw;
    int64_t width = conv->packed_panels ? kernels->panel_columns : conv->columns;
    float *dst = packed;

    (void)error;
    for (int64_t g = 0; g < conv->groups; g++) {
        for (int64_t begin = 0; begin < conv->depth; begin += conv->block) {
            int64_t end = begin + conv->block < conv->depth ? begin + conv->block : conv->depth;
            for (int64_t panel = 0; panel < conv->columns; panel += width) {
                int64_t columns = conv->columns - panel < width ? conv->columns - panel : width;
                for (int64_t k = begin; k < end; k++) {
                    const float *src = plain + (g * conv->out + panel) * conv->depth + k % conv->in * window + k / conv->in;
                    for (int64_t j = 0; j < columns; j++) {
                        *dst++ = panel + j < conv->out ? src[j * conv->depth] : 0.0f;
                    }
                }
            }
        }
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_conv_gemm_pack(const m2s_lowering *lowering, int32_t i, m2s_conv_gemm *conv, m2snet_error *error)
{
    pack_request request = { .kernels = lowering->device->kernels, .conv = conv };
    size_t bytes = (size_t)(conv->groups * conv->depth * conv->columns) * sizeof(float);
    const void *packed = NULL;
    char name[48];

    snprintf(name, sizeof name, "gemm %s %lld g%lld", conv->provider, (long long)conv->block, (long long)conv->groups);
    m2snet_status status = m2s_lowering_pack(lowering, i, name, bytes, pack_weights, &request, &packed, error);
    conv->weights = packed;
    return status;
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

/* Numbers begin..end of the windows of pixels first..first + count. */
static void gather(const m2s_conv_gemm *conv, const m2s_conv_operands *o, int64_t channel, int64_t first, int64_t count,
                   int64_t begin, int64_t end, float *dst)
{
    for (int64_t p = first; p < first + count; p++) {
        int64_t image = p / (conv->oh * conv->ow);
        int64_t top = p / conv->ow % conv->oh * conv->stride - conv->pad, left = p % conv->ow * conv->stride - conv->pad;
        float *row = dst + (p - first) * gather_stride(conv);
        for (int64_t k = begin; k < end;) {
            int64_t tap = k / conv->in, c = k % conv->in;
            int64_t n = conv->in - c < end - k ? conv->in - c : end - k;
            int64_t y = top + tap / conv->kw * conv->dilation, x = left + tap % conv->kw * conv->dilation;
            if (y < 0 || y >= conv->h || x < 0 || x >= conv->w) {
                memset(row, 0, (size_t)n * sizeof(float));
            } else {
                int64_t pixel = (image * conv->h + y) * conv->w + x;
                copy_sum(row, o->src + pixel * o->src_pixel + channel + c,
                         o->addend != NULL ? o->addend + pixel * o->addend_pixel + channel + c : NULL, n);
            }
            row += n;
            k += n;
        }
    }
}

void m2s_conv_gemm_run(const m2s_conv_gemm *conv, const m2s_conv_operands *o, int64_t chunk, void *scratch)
{
    int64_t group = chunk / (conv->row_chunks * conv->column_chunks);
    m2s_cut rows = m2s_cut_part(conv->n * conv->oh * conv->ow, conv->row_chunks, chunk / conv->column_chunks % conv->row_chunks);
    int64_t panel = conv->packed_panels ? 32 : 1;
    m2s_cut columns = { 0, 0 };

    (void)panel;
    (void)columns;
    (void)rows;
    (void)group;
    (void)o;
    (void)scratch;
}
