/* SPDX-License-Identifier: Apache-2.0
 * One 3x3 convolution, stride 1, padding 1, by Winograd's minimal filtering, as a part of a step. */
#ifndef M2S_BACKENDS_CPU_WINOGRAD_H
#define M2S_BACKENDS_CPU_WINOGRAD_H

#include "backends/cpu/conv.h"
#include "backends/cpu/conv_weights.h"

typedef struct m2s_winograd {
    const m2s_cpu_kernels *kernels;
    int m;                    /* results of a tile's side: 2 or 4 */
    int64_t n, h, w, in, out; /* images, their size, channels */
    int64_t tiles, chunks;    /* of an image; a chunk is a range of tiles */
    int64_t block;            /* input channels transformed at once */
    bool by_phase;
    int64_t phase_chunks[3];
} m2s_winograd;

/* Results of a tile's side that suit this size; 0: Winograd is not worth it. */
int m2s_winograd_side(int64_t h, int64_t w, int64_t in, int64_t out);
/* Whether it is worth it for this size; m, cuts and block. */
bool m2s_winograd_choose(const m2s_cpu_kernels *kernels, int64_t n, int64_t h, int64_t w, int64_t in, int64_t out,
                         m2s_winograd *winograd);
/* How operands' weights are packed. winograd lives as long as the layout. */
void m2s_winograd_layout(const m2s_winograd *winograd, m2s_weights_layout *layout);

/* One task, n chunks chunks: a chunk takes its tiles through all three phases, in a worker's scratch. */
size_t m2s_winograd_worker_bytes(const m2s_winograd *winograd);
void m2s_winograd_run(const m2s_winograd *winograd, const m2s_conv_operands *operands, int64_t chunk, void *scratch);

/* Three tasks, for maps with few tiles (by_phase): the input transform by image and channels, the products by points,
 * the output transform by image and channels, each of phase_chunks[phase] chunks, in the step's scratch. The numbers
 * are the same, bit for bit. */
size_t m2s_winograd_shared_bytes(const m2s_winograd *winograd);
void m2s_winograd_run_phase(const m2s_winograd *winograd, const m2s_conv_operands *operands, int phase, int64_t chunk,
                            void *scratch);

#endif
