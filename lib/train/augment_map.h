/* SPDX-License-Identifier: Apache-2.0
 * Where a pixel comes from: affine maps from places in the result to places in the source, in pixel indices (the
 * centre of the first pixel is 0). Maps that move by whole pixels are exact. */
#ifndef M2S_TRAIN_AUGMENT_MAP_H
#define M2S_TRAIN_AUGMENT_MAP_H

#include "train/augment.h"

typedef struct m2s_map {
    double xx, xy, x0; /* source x = xx x + xy y + x0 */
    double yx, yy, y0; /* source y = yx x + yy y + y0 */
} m2s_map;

/* Half-pixel centres: (x + 0.5) src_width / width - 0.5. */
m2s_map m2s_map_resize(int32_t width, int32_t height, int32_t src_width, int32_t src_height);
/* Crop, mirrors, quarter turns, rotation and scaling; and the change of size, or the place of the patch. */
m2s_map m2s_map_move(const m2s_draw *draw, bool about_index, int32_t width, int32_t height, int32_t src_width,
                     int32_t src_height);
/* The source's place of the place that `outer` gives. */
m2s_map m2s_map_chain(const m2s_map *outer, const m2s_map *inner);
/* From the result to the picture, whatever the steps in between (options' first_size_px). */
m2s_map m2s_map_whole(const m2snet_augment_options *options, const m2s_draw *draw, int32_t width, int32_t height,
                      int32_t src_width, int32_t src_height);
bool m2s_map_is_identity(const m2s_map *map);

#endif
