/* SPDX-License-Identifier: Apache-2.0
 * The one EXIF tag that changes pixels: Orientation. */
#ifndef M2S_IMAGE_EXIF_H
#define M2S_IMAGE_EXIF_H

#include <stddef.h>
#include <stdint.h>

/* Orientation 1..8 from a TIFF block ("II*\0..." or "MM\0*...", as in PNG's eXIf chunk and, after "Exif\0\0", in
 * JPEG's APP1). 1, "as stored", for anything missing, damaged or out of range. Never reads outside the block. */
int m2s_exif_orientation(const uint8_t *tiff, size_t size_bytes);

#endif
