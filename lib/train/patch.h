/* SPDX-License-Identifier: Apache-2.0
 * Where patches are cut out of pictures while training, and how large they are, as nnU-Net does it (MODELS.md 3.11). */
#ifndef M2S_TRAIN_PATCH_H
#define M2S_TRAIN_PATCH_H

#include "train/augment.h"
#include "train/dataset.h"

/* A patch with an aspect ratio above 1.5 is turned by this at most. */
#define M2S_PATCH_LONG_ASPECT  1.5
#define M2S_PATCH_LONG_DEGREES 15.0

/* Left and top, px, of a patch of height x width; where it lies outside the picture there is nothing. A larger window,
 * in which the patch can be turned by rotate_degrees and scaled by 1/0.85, is placed first, the patch in its middle:
 * anywhere, beyond the picture's edges by half of what the window is larger, or where the picture is smaller by half of
 * that; or, when on_foreground, with a pixel of one of the classes that the picture has (each class alike, then each
 * pixel alike) in its middle, but not further left or up than said. Without foreground: anywhere. gray: the mask holds
 * levels, foreground from 128 on; else class numbers. stream: counted, of this picture's patch alone. */
void m2s_patch_place(const m2s_picture *picture, bool gray, bool on_foreground, double rotate_degrees, int32_t height,
                     int32_t width, uint64_t stream, int32_t *x, int32_t *y);

/* The median width and height of pictures (of an even number: the mean of the middle two), each rounded to a multiple
 * of 32, 64 to 512. Reads the pictures on the context's threads; phase "load". Those that cannot be read are passed
 * over; MISMATCH when none can. */
m2snet_status m2s_patch_size(m2snet_dataset *dataset, const int32_t *items, int32_t count, uint64_t max_pixels,
                             m2s_control *control, int32_t *height, int32_t *width, m2snet_error *error);

#endif
