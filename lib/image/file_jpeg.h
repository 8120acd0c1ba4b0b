/* SPDX-License-Identifier: Apache-2.0
 * JPEG in, through libjpeg-turbo (file_jpeg.c alone includes jpeglib.h). libjpeg allocates its own working memory with
 * malloc (a few rows; for progressive files all coefficients, two bytes a sample); pixels go through m2s_memory. */
#ifndef M2S_IMAGE_FILE_JPEG_H
#define M2S_IMAGE_FILE_JPEG_H

#include "image/bitmap.h"

/* More scans than any encoder writes; stops small files that would keep the decoder busy for hours. */
#define M2S_JPEG_MAX_SCANS 100

bool m2s_jpeg_recognise(const uint8_t *data, size_t size_bytes);

/* Decodes 8-bit JPEGs, baseline and progressive, Huffman and arithmetic: gray -> GRAY8; YCbCr and RGB -> RGB8; CMYK and
 * YCCK -> RGB8, taken as inverted (as Adobe writes them, and as Pillow reads all) and multiplied by their black.
 * Accurate integer DCT and smooth chroma upsampling: the pixels that Pillow gives. Colour profiles are ignored. With
 * apply_exif the picture is turned as its EXIF orientation says.
 * A truncated file, a missing end and damaged entropy data are FORMAT errors, never gray areas; stray bytes between
 * segments are skipped. 12-bit, lossless and hierarchical files are UNSUPPORTED. Sizes are checked against max_pixels
 * before any pixel is decoded. Phase "decode", unit rows (of every scan of a progressive file). On failure *bitmap is
 * empty. */
m2snet_status m2s_jpeg_decode(m2s_memory *memory, const uint8_t *data, size_t size_bytes, uint64_t max_pixels,
                              bool apply_exif, m2s_control *control, m2s_bitmap *bitmap, m2snet_error *error);

/* "libjpeg-turbo 2.1.5", as compiled against: the library tells no version at run time. */
const char *m2s_jpeg_version(void);

#endif
