/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "image/file_png.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    m2s_memory memory;
    m2s_bitmap bitmap;
    m2snet_error error;
    uint8_t *encoded = NULL;
    size_t encoded_bytes;

    m2s_memory_init(&memory, NULL, 0);
    if (m2s_png_decode(&memory, data, size, 1u << 20, true, NULL, &bitmap, &error) == M2SNET_STATUS_OK) {
        m2snet_image image = m2s_bitmap_image(&bitmap);
        if (m2s_png_encode(&memory, &image, NULL, &encoded, &encoded_bytes, &error) != M2SNET_STATUS_OK) {
            abort();
        }
        m2s_free(&memory, encoded);
    }
    m2s_bitmap_release(&bitmap);
    if (memory.used_bytes != 0) {
        abort();
    }
    return 0;
}
