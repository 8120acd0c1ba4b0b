/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "image/exif.h"
#include "image/file_jpeg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    m2s_memory memory;
    m2s_bitmap bitmap;
    m2snet_error error;
    int orientation = m2s_exif_orientation(data, size);

    if (orientation < 1 || orientation > 8) {
        abort();
    }
    m2s_memory_init(&memory, NULL, 0);
    m2snet_status status = m2s_jpeg_decode(&memory, data, size, 1u << 20, true, NULL, &bitmap, &error);
    if ((status == M2SNET_STATUS_OK) != (bitmap.pixels != NULL)) {
        abort();
    }
    m2s_bitmap_release(&bitmap);
    if (memory.used_bytes != 0) {
        abort();
    }
    return 0;
}
