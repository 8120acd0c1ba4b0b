/* SPDX-License-Identifier: Apache-2.0 */
#include "image/exif.h"

#include <stdbool.h>
#include <string.h>

#define TAG_ORIENTATION 0x0112u
#define TYPE_SHORT      3u
#define TYPE_LONG       4u
#define ENTRY_BYTES     12u

static uint32_t get_u16(const uint8_t *p, bool big)
{
    return big ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
}

static uint32_t get_u32(const uint8_t *p, bool big)
{
    return big ? get_u16(p, big) << 16 | get_u16(p + 2, big) : get_u16(p + 2, big) << 16 | get_u16(p, big);
}

int m2s_exif_orientation(const uint8_t *tiff, size_t size_bytes)
{
    if (size_bytes < 8) {
        return 1;
    }
    bool big = memcmp(tiff, "MM\0*", 4) == 0;
    if (!big && memcmp(tiff, "II*\0", 4) != 0) {
        return 1;
    }
    size_t directory = get_u32(tiff + 4, big);
    if (directory > size_bytes - 2) {
        return 1;
    }
    size_t entries = get_u16(tiff + directory, big);
    size_t room = (size_bytes - directory - 2) / ENTRY_BYTES;
    const uint8_t *entry = tiff + directory + 2;
    for (size_t i = 0; i < entries && i < room; i++, entry += ENTRY_BYTES) {
        if (get_u16(entry, big) != TAG_ORIENTATION) {
            continue;
        }
        uint32_t type = get_u16(entry + 2, big);
        uint32_t count = get_u32(entry + 4, big);
        uint32_t value = type == TYPE_SHORT ? get_u16(entry + 8, big) : type == TYPE_LONG ? get_u32(entry + 8, big) : 0;
        return count == 1 && value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}
