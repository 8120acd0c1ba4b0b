/* SPDX-License-Identifier: Apache-2.0
 * Every input is decoded as it is, and again with its checksums mended, so that mutations get past them. */
#include <stdlib.h>
#include <string.h>

#include "image/file_png.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t crc_of(const uint8_t *data, size_t size)
{
    uint32_t crc = 0xffffffffu;

    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ ((crc & 1u) != 0 ? 0xedb88320u : 0u);
        }
    }
    return ~crc;
}

static void mend_checksums(uint8_t *data, size_t size)
{
    size_t at = M2S_PNG_SIGNATURE_BYTES;

    while (size >= 12 && at <= size - 12) {
        size_t length = (size_t)data[at] << 24 | (size_t)data[at + 1] << 16 | (size_t)data[at + 2] << 8 | data[at + 3];
        if (length > size - at - 12) {
            return;
        }
        uint32_t crc = crc_of(data + at + 4, length + 4);
        for (size_t i = 0; i < 4; i++) {
            data[at + 8 + length + i] = (uint8_t)(crc >> (24 - 8 * i));
        }
        at += 12 + length;
    }
}

static void decode_and_encode(const uint8_t *data, size_t size)
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
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    decode_and_encode(data, size);
    uint8_t *mended = malloc(size + 1);
    if (mended != NULL) {
        memcpy(mended, data, size);
        mend_checksums(mended, size);
        decode_and_encode(mended, size);
        free(mended);
    }
    return 0;
}
