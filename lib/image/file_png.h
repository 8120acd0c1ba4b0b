/* SPDX-License-Identifier: Apache-2.0
 * PNG in and out, through libpng (file_png.c alone includes png.h). libpng and its zlib allocate through m2s_memory,
 * print nothing, and have their warnings dropped. */
#ifndef M2S_IMAGE_FILE_PNG_H
#define M2S_IMAGE_FILE_PNG_H

#include "image/bitmap.h"

#define M2S_PNG_SIGNATURE_BYTES 8
bool m2s_png_recognise(const uint8_t *data, size_t size_bytes);

/* Decodes all PNGs of the standard, interlaced ones too:
 *   gray 1, 2, 4 and 8 bit -> GRAY8 (scaled: 1-bit white is 255); gray 16 bit -> GRAY16;
 *   palette and colour -> RGB8; 16-bit colour is scaled to 8 bit, (v * 255 + 32895) >> 16, that is rounded to nearest.
 * Alpha and transparency entries are dropped, not composited. Gamma and colour profiles are ignored. With apply_exif
 * the picture is turned as an eXIf chunk says. Sizes are checked against max_pixels before any pixel is decoded; a
 * file too short for its size by any compression is refused then too. Truncated or damaged image data, and a missing
 * end, give FORMAT with libpng's reason. Phase "decode", unit rows. On failure *bitmap is empty. */
m2snet_status m2s_png_decode(m2s_memory *memory, const uint8_t *data, size_t size_bytes, uint64_t max_pixels,
                             bool apply_exif, m2s_control *control, m2s_bitmap *bitmap, m2snet_error *error);

/* Encodes GRAY8, GRAY16 or RGB8 (any row stride; the window is ignored) as an 8- or 16-bit PNG into a block for
 * m2s_free. Phase "encode". */
m2snet_status m2s_png_encode(m2s_memory *memory, const m2snet_image *image, m2s_control *control, uint8_t **data,
                             size_t *size_bytes, m2snet_error *error);

/* Encodes into the file at path: complete or not there (core/file.h). */
m2snet_status m2s_png_write_file(m2s_memory *memory, const char *path, const m2snet_image *image, m2s_control *control,
                                 m2snet_error *error);

/* Of the libpng loaded at run time, "1.6.39". */
const char *m2s_png_version(void);

#endif
