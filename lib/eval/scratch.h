/* SPDX-License-Identifier: Apache-2.0
 * Memory that one worker reuses from image to image: named blocks that only grow. */
#ifndef M2S_EVAL_SCRATCH_H
#define M2S_EVAL_SCRATCH_H

#include "core/memory.h"

typedef enum m2s_scratch_slot {
    M2S_SCRATCH_PREDICTION, /* dense bytes */
    M2S_SCRATCH_MASK,       /* dense bytes */
    M2S_SCRATCH_RESIZED,    /* dense bytes */
    M2S_SCRATCH_ROW,        /* one row as the caller has it */
    M2S_SCRATCH_INSIDE,     /* plane of 0 and 1, m2s_plane */
    M2S_SCRATCH_INSIDE_2,   /* another */
    M2S_SCRATCH_VERTICAL,   /* 16-bit distances along columns */
    M2S_SCRATCH_VERTICAL_2, /* another */
    M2S_SCRATCH_ENVELOPE,   /* lower envelope of a row */
    M2S_SCRATCH_ERRORS,     /* rows of errors, seven at a time */
    M2S_SCRATCH_WEIGHTS,    /* of the weighted F-measure, by squared distance; kept from image to image */
    M2S_SCRATCH_BORDER,     /* rows of 0 and 1 */
    M2S_SCRATCH_POINTS,     /* border pixels */
    M2S_SCRATCH_POINTS_2,   /* another list */
    M2S_SCRATCH_DISTANCES,  /* one number a border pixel */
    M2S_SCRATCH_COLUMNS,    /* top and bottom rows of a layer */
    M2S_SCRATCH_SLOTS
} m2s_scratch_slot;

/* One thread at a time. */
typedef struct m2s_scratch {
    m2s_memory *memory;
    void *blocks[M2S_SCRATCH_SLOTS];
    size_t bytes[M2S_SCRATCH_SLOTS];
} m2s_scratch;

void m2s_scratch_init(m2s_scratch *scratch, m2s_memory *memory);
void m2s_scratch_release(m2s_scratch *scratch); /* frees the blocks; fine after init alone */

/* At least count * size bytes; what was in the slot is kept only while it is large enough. */
m2snet_status m2s_scratch_get(m2s_scratch *scratch, m2s_scratch_slot slot, size_t count, size_t size, void **block,
                              m2snet_error *error);
/* The same, zeroed when it is made. */
m2snet_status m2s_scratch_get_zeroed(m2s_scratch *scratch, m2s_scratch_slot slot, size_t count, size_t size,
                                     void **block, m2snet_error *error);

#endif
