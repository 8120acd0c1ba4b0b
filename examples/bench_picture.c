/* SPDX-License-Identifier: Apache-2.0
 *
 * The picture that is timed: a file, or something painted. */
#define _GNU_SOURCE 1
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench.h"
#include "common/paths.h"

#define DECODE_RUNS     15
#define SYNTHETIC_WIDTH 640
#define SYNTHETIC_ROWS  480

/* Something like an endoscopic picture to a decoder and to the network: smooth shading, a bright blob, some noise. */
static void paint(uint8_t *pixels)
{
    uint32_t noise = 1;

    for (int y = 0; y < SYNTHETIC_ROWS; y++) {
        for (int x = 0; x < SYNTHETIC_WIDTH; x++) {
            double u = (x - 0.6 * SYNTHETIC_WIDTH) / 90.0;
            double v = (y - 0.5 * SYNTHETIC_ROWS) / 70.0;
            double blob = 60.0 * exp(-u * u - v * v);
            double shade = 110.0 + 40.0 * sin(0.011 * x) * cos(0.013 * y);
            uint8_t *pixel = pixels + 3 * ((size_t)y * SYNTHETIC_WIDTH + (size_t)x);

            noise = 1664525u * noise + 1013904223u;
            pixel[0] = (uint8_t)(shade + blob + (noise >> 29));
            pixel[1] = (uint8_t)(0.6 * shade + 0.8 * blob + (noise >> 27 & 3));
            pixel[2] = (uint8_t)(0.45 * shade + 0.5 * blob);
        }
    }
}

/* The synthetic picture as the bytes of a PNG file. */
static void *synthetic_png(m2snet_context *context, size_t *size_bytes)
{
    const char *temporary = getenv("TMPDIR");
    char *folder = format_text("%s/m2snet-bench-XXXXXX", temporary != NULL ? temporary : "/tmp");
    uint8_t *pixels = must_alloc(3u * SYNTHETIC_WIDTH * SYNTHETIC_ROWS);
    m2snet_image image = {
        .data = pixels, .width = SYNTHETIC_WIDTH, .height = SYNTHETIC_ROWS, .format = M2SNET_PIXEL_RGB8
    };
    m2snet_error error;
    void *png = NULL;

    paint(pixels);
    if (mkdtemp(folder) == NULL) {
        complain("%s: cannot make a temporary folder", folder);
    } else {
        char *path = format_text("%s/picture.png", folder);

        if (m2snet_image_write_png(context, path, &image, &error) != M2SNET_STATUS_OK) {
            library_error(path, &error);
        } else {
            png = read_whole_file(path, size_bytes);
        }
        unlink(path);
        rmdir(folder);
        free(path);
    }
    free(pixels);
    free(folder);
    return png;
}

bool load_picture(const settings *set, bench_state *bench)
{
    m2snet_image_read_options reading;
    size_t size_bytes = 0;
    m2snet_error error;
    bool fine;
    void *file =
        set->image != NULL ? read_whole_file(set->image, &size_bytes) : synthetic_png(bench->context, &size_bytes);

    if (file == NULL) {
        return false;
    }
    m2snet_image_read_options_init(&reading);
    reading.control = set->predict.control;
    fine = true;
    for (int i = 0; i < DECODE_RUNS && fine; i++) {
        double start = now_ms();

        m2snet_image_release(&bench->image);
        fine = m2snet_image_read_memory(bench->context, file, size_bytes, &reading, &bench->image, &error) ==
               M2SNET_STATUS_OK;
        time_series_add(&bench->decode, now_ms() - start);
    }
    if (!fine) {
        library_error(set->image, &error);
    }
    free(file);
    return fine;
}
