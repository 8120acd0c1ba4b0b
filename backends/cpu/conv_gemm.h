/* SPDX-License-Identifier: Apache-2.0
 * Any convolution as a matrix product, pixels x window times window x channels, as a part of a step. The windows are
 * gathered into a small buffer, or, for a 1x1 window, read where they lie. */
#ifndef M2S_BACKENDS_CPU_CONV_GEMM_H
#define M2S_BACKENDS_CPU_CONV_GEMM_H

#include "backends/cpu/conv.h"
#include "backends/cpu/conv_weights.h"

/* c = a b + ..., as m2s_gemm says, but with b as the provider packs it. */
typedef void (*m2s_gemm_function)(const m2s_gemm *gemm);

typedef struct m2s_conv_gemm {
    int64_t n, h, w, in, oh, ow, out; /* in, out: of one group */
    int64_t kh, kw, stride, pad, dilation, groups;
    int64_t depth;                     /* kh kw in */
    int64_t block;                     /* of the depth, gathered and multiplied at once */
    int64_t rows;                      /* pixels gathered at once; 0 = read in place */
    int64_t cuts;                      /* 1, or n where rows of two images must not meet in a product */
    int64_t row_chunks, column_chunks; /* of a cut; chunks = cuts row_chunks column_chunks groups */
    int64_t columns, panel;            /* of a packed group; of a panel: with columns of zeros at the end */
    m2s_gemm_function gemm;
    const char *provider;
} m2s_conv_gemm;

/* Shapes and cuts. in_place: the source need not be copied even where its pixels lie at an awkward distance. */
void m2s_conv_gemm_choose(const m2s_cpu_kernels *kernels, m2s_shape src, m2s_shape weights, m2s_shape dst,
                          const m2s_attrs *attrs, bool in_place, m2s_conv_gemm *conv);
int64_t m2s_conv_gemm_chunks(const m2s_conv_gemm *conv);
size_t m2s_conv_gemm_scratch(const m2s_conv_gemm *conv);
/* How operands' weights are packed. conv lives as long as the layout. */
void m2s_conv_gemm_layout(const m2s_conv_gemm *conv, m2s_weights_layout *layout);
/* operands: images follow each other densely. */
void m2s_conv_gemm_run(const m2s_conv_gemm *conv, const m2s_conv_operands *operands, int64_t chunk, void *scratch);

#endif
