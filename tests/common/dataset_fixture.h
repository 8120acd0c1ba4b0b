/* SPDX-License-Identifier: Apache-2.0
 * For the tests of data sets and loaders: a folder tree under /tmp with small pictures and masks in it. */
#ifndef M2S_TESTS_COMMON_DATASET_FIXTURE_H
#define M2S_TESTS_COMMON_DATASET_FIXTURE_H

#include "run/context.h"

typedef struct dataset_files {
    char folder[64];
    m2snet_context *context; /* for writing */
} dataset_files;

void dataset_files_make(dataset_files *f);
void dataset_files_remove(dataset_files *f); /* everything under the folder */

/* folder/name; valid until four more calls. Folders in name are made. */
const char *dataset_path(const dataset_files *f, const char *name);
void dataset_write(const dataset_files *f, const char *name, const void *data, size_t bytes);
void dataset_text(const dataset_files *f, const char *name, const char *text);

/* PNG files. pixels: dense R, G, B or gray bytes. */
void dataset_rgb(const dataset_files *f, const char *name, int32_t width, int32_t height, const uint8_t *pixels);
void dataset_gray(const dataset_files *f, const char *name, int32_t width, int32_t height, const uint8_t *pixels);
/* images/NAME.png with a smooth pattern that depends on seed, masks/NAME.png with a disc of 255. */
void dataset_pair(const dataset_files *f, const char *name, int32_t width, int32_t height, uint32_t seed);
void dataset_pattern(int32_t width, int32_t height, uint32_t seed, uint8_t *rgb, uint8_t *mask);

#endif
