/* SPDX-License-Identifier: Apache-2.0 */
#define _XOPEN_SOURCE 700
#include "common/dataset_fixture.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/api_fixture.h"

void dataset_files_make(dataset_files *f)
{
    strcpy(f->folder, "/tmp/m2snet-data-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    f->context = open_context("ref", 1);
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

void dataset_files_remove(dataset_files *f)
{
    m2snet_context_destroy(f->context);
    assert_int_equal(nftw(f->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

const char *dataset_path(const dataset_files *f, const char *name)
{
    static char paths[4][256];
    static int next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof paths[0], "%s/%s", f->folder, name);
    for (char *slash = path + strlen(f->folder) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    return path;
}

void dataset_write(const dataset_files *f, const char *name, const void *data, size_t bytes)
{
    write_whole(dataset_path(f, name), data, bytes);
}

void dataset_text(const dataset_files *f, const char *name, const char *text)
{
    dataset_write(f, name, text, strlen(text));
}

static void write_png(const dataset_files *f, const char *name, int32_t width, int32_t height, const uint8_t *pixels,
                      m2snet_pixel_format format)
{
    const m2snet_image image = { .data = pixels, .width = width, .height = height, .format = format };
    m2snet_error error;

    OK(m2snet_image_write_png(f->context, dataset_path(f, name), &image, &error));
}

void dataset_rgb(const dataset_files *f, const char *name, int32_t width, int32_t height, const uint8_t *pixels)
{
    write_png(f, name, width, height, pixels, M2SNET_PIXEL_RGB8);
}

void dataset_gray(const dataset_files *f, const char *name, int32_t width, int32_t height, const uint8_t *pixels)
{
    write_png(f, name, width, height, pixels, M2SNET_PIXEL_GRAY8);
}

void dataset_pattern(int32_t width, int32_t height, uint32_t seed, uint8_t *rgb, uint8_t *mask)
{
    uint32_t s = seed * 2654435761u + 12345u;
    int32_t cx = (int32_t)(s >> 8 & 0xff) * width / 255, cy = (int32_t)(s >> 16 & 0xff) * height / 255;
    int32_t fx = 1 + (int32_t)(s >> 4 & 3), fy = 1 + (int32_t)(s >> 24 & 3);

    for (int32_t y = 0; y < height; y++) {
        for (int32_t x = 0; x < width; x++) {
            int32_t dx = (x - cx) * 64 / width, dy = (y - cy) * 64 / height;
            uint8_t *p = rgb + 3 * ((ptrdiff_t)y * width + x);
            bool is_inside = dx * dx + dy * dy < 200;
            p[0] = (uint8_t)(x * fx * 255 / (width * 4) + (is_inside ? 60 : 0));
            p[1] = (uint8_t)(y * fy * 255 / (height * 4) + (is_inside ? 40 : 0));
            p[2] = (uint8_t)((x * fy + y * fx + (int32_t)(s & 63)) * 255 / (4 * (width + height) + 64));
            mask[(ptrdiff_t)y * width + x] = is_inside ? 255 : 0;
        }
    }
}

void dataset_pair(const dataset_files *f, const char *name, int32_t width, int32_t height, uint32_t seed)
{
    uint8_t *rgb = malloc((size_t)width * (size_t)height * 4);
    char file[128];

    assert_non_null(rgb);
    uint8_t *mask = rgb + (size_t)width * (size_t)height * 3;
    dataset_pattern(width, height, seed, rgb, mask);
    snprintf(file, sizeof file, "images/%s.png", name);
    dataset_rgb(f, file, width, height, rgb);
    snprintf(file, sizeof file, "masks/%s.png", name);
    dataset_gray(f, file, width, height, mask);
    free(rgb);
}
