/* SPDX-License-Identifier: Apache-2.0
 * A pair of files as one picture for augmentation. */
#ifndef M2S_TRAIN_LOADER_PICTURE_H
#define M2S_TRAIN_LOADER_PICTURE_H

#include "core/host.h"
#include "image/bitmap.h"
#include "train/augment.h"

typedef struct m2s_picture_rules {
    m2s_mask_coding mask;
    uint64_t max_pixels; /* of either file, checked before decoding */
    int32_t exact_width; /* not 0: pictures are brought to exactly this size ... */
    int32_t exact_height;
    int32_t shrink_px; /* ... or, not 0: longer sides to this */
} m2s_picture_rules;

/* Levels of a decoded mask: GRAY8 as it is, GRAY16 by its high byte (labels: the value, 255 at most), colour by its
 * luminance (0.299, 0.587, 0.114, rounded). dst: width x height bytes. */
void m2s_mask_levels(const m2s_bitmap *mask, bool is_label, uint8_t *dst);

/* Reads both files, checks that their sizes agree (MISMATCH), changes the size (Pillow's bilinear in 8 bits, as for
 * prediction; labels: the nearest pixel), codes the mask. mask_path NULL: an empty mask. Free *picture with m2s_free.
 * Of host only memory and isa are used. Messages name the file. */
m2snet_status m2s_picture_read(const m2s_host *host, const char *image_path, const char *mask_path,
                               const m2s_picture_rules *rules, m2s_control *control, m2s_picture **picture,
                               m2snet_error *error);

#endif
