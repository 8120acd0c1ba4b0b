/* SPDX-License-Identifier: Apache-2.0
 * A picture from a file or a buffer, its kind told by its first bytes. */
#ifndef M2S_IMAGE_DECODE_H
#define M2S_IMAGE_DECODE_H

#include "image/bitmap.h"

typedef struct m2s_decode_options {
    uint64_t max_pixels; /* checked before decoding; 2^28 at most, whatever this says */
    bool apply_exif;
} m2s_decode_options;
#define M2S_DECODE_DEFAULTS ((m2s_decode_options){ .max_pixels = (uint64_t)1 << 26, .apply_exif = true })

/* PNG or JPEG in memory; FORMAT, naming the first bytes, for anything else. Details: file_png.h, file_jpeg.h. */
m2snet_status m2s_image_decode(m2s_memory *memory, const void *data, size_t size_bytes,
                               const m2s_decode_options *options, m2s_control *control, m2s_bitmap *bitmap,
                               m2snet_error *error);

/* The same from a file (a pipe will do). Messages begin with the path. */
m2snet_status m2s_image_read(m2s_memory *memory, const char *path, const m2s_decode_options *options,
                             m2s_control *control, m2s_bitmap *bitmap, m2snet_error *error);

#endif
