/* SPDX-License-Identifier: Apache-2.0
 * Data moved about by the plan itself: channels in and out of wider tensors, weights between the checkpoint's order
 * and the convolutions'. Each launches one kernel; 0 or the runtime's error number. */
#ifndef M2S_BACKENDS_CUDA_MOVES_H
#define M2S_BACKENDS_CUDA_MOVES_H

#include "backends/cuda/cuda.h"

#if defined(__cplusplus)
extern "C" {
#endif

/* One launch for up to four moves of `channels` channels each, to the pixels of (n, h, w): dst[p][c] = src[p][c]
 * (+ addend[p][c]), of the storage type; from a pixel to the next are so many numbers. addend may be NULL. filled: so
 * many zeros come behind the channels in dst, at most the moves' `filling`. averaged:
 * src is (n, src_h, src_w), and dst gets the sum over the 3 x 3 window around (stride y, stride x), / 9, zeros outside.
 */
#define M2S_MOST_MOVES 4

typedef struct m2s_channel_move {
    void *dst;
    const void *src, *addend;
    int32_t dst_pixel, src_pixel, addend_pixel, filled;
    bool averaged;
} m2s_channel_move;

typedef struct m2s_channel_moves {
    int64_t n, h, w;
    int32_t channels, filling, count;
    m2s_channel_move move[M2S_MOST_MOVES];
    int32_t src_h, src_w, stride; /* of averages */
} m2s_channel_moves;
int m2s_cuda_move_channels(const m2s_cuda_call *call, const m2s_channel_moves *moves);

/* F32 (o, i, kh, kw) -> storage (o, kh, kw, i), and storage (o, kh, kw, i) -> F32 (o, i, kh, kw). shape is o, i, kh,
 * kw.
 */
int m2s_cuda_pack_weights(const m2s_cuda_call *call, void *dst, const float *src, m2s_shape shape);
int m2s_cuda_unpack_weights(const m2s_cuda_call *call, float *dst, const void *src, m2s_shape shape);

#if defined(__cplusplus)
}
#endif

#endif
