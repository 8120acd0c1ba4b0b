/* SPDX-License-Identifier: Apache-2.0
 * Perceptual hashes: pictures that look alike have hashes that differ in few bits.
 *
 * 128 bits of the picture's luminance. The first 64, of its 32 x 32 version (Pillow's bilinear, with antialiasing): the
 * signs of the 64 lowest coefficients of its discrete cosine transform (8 x 8, the constant left out and the next one
 * of the first row taken in) against their median. The second 64, of its 9 x 8 version: whether a pixel is brighter
 * than its right neighbour. Brightness, contrast, size and JPEG quality hardly change either. */
#ifndef M2S_TRAIN_PHASH_H
#define M2S_TRAIN_PHASH_H

#include "core/host.h"
#include "image/bitmap.h"

typedef struct m2s_phash {
    uint64_t cosine, gradient;
} m2s_phash;

m2snet_status m2s_phash_of(const m2s_host *host, const m2snet_image *image, m2s_phash *hash, m2snet_error *error);
/* Bits that differ, 0..128. */
int32_t m2s_phash_distance(m2s_phash a, m2s_phash b);

#endif
