/* SPDX-License-Identifier: Apache-2.0 */
#include "common/train_fixture.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Whether (x, y) of a square of the given side lies in picture index's disc, class c. */
static int in_disc(int64_t x, int64_t y, int64_t side, int64_t c, unsigned index)
{
    int64_t cx = (int64_t)(index * 13u + 7u * (unsigned)c) % (side / 2) + side / 4;
    int64_t cy = (int64_t)(index * 29u + 11u * (unsigned)c) % (side / 2) + side / 4;
    int64_t r = side / 6 + (int64_t)(index % 3u) * side / 24;

    return (x - cx) * (x - cx) + (y - cy) * (y - cy) < r * r;
}

train_batch make_batch(m2snet_context *context, int64_t n, int64_t h, int64_t w, int64_t classes, unsigned index)
{
    m2snet_tensor_desc desc = { .dtype = M2SNET_DTYPE_F32, .n = n, .h = h, .w = w, .c = 3 };
    uint32_t state = 977u * index + 1u;
    int64_t side = h < w ? h : w;
    train_batch batch;
    m2snet_error error;

    OK(m2snet_tensor_create(context, &desc, NULL, &batch.images, &error));
    desc.c = classes;
    OK(m2snet_tensor_create(context, &desc, NULL, &batch.masks, &error));
    float *image = m2snet_tensor_data(batch.images), *mask = m2snet_tensor_data(batch.masks);
    for (int64_t i = 0; i < n * h * w; i++) {
        int64_t x = i % w, y = i / w % h;
        unsigned picture = index + (unsigned)(i / (h * w));
        for (int64_t c = 0; c < classes; c++) {
            mask[i * classes + c] = (float)in_disc(x, y, side, c, picture);
        }
        for (int64_t c = 0; c < 3; c++) {
            state = state * 1664525u + 1013904223u;
            image[3 * i + c] = (float)(state >> 8) / (float)(1 << 23) - 1.0f + 1.5f * mask[i * classes];
        }
    }
    return batch;
}

void free_batch(train_batch *batch)
{
    m2snet_tensor_destroy(batch->images);
    m2snet_tensor_destroy(batch->masks);
}

void tiny_trainer_options(m2snet_trainer_options *options)
{
    m2snet_trainer_options_init(options);
    options->learning_rate = 0.02;
    options->encoder_rate = 1.0;
    options->schedule = M2SNET_SCHEDULE_CONSTANT;
    options->warmup = 0.0;
    options->seed = 5;
}

m2snet_trainer *tiny_trainer(m2snet_context *context, const m2snet_trainer_options *options)
{
    m2snet_model *model = tiny_model(context);
    m2snet_trainer *trainer;
    m2snet_error error;

    OK(m2snet_trainer_create(model, options, &trainer, &error));
    m2snet_model_destroy(model);
    return trainer;
}

unsigned char *trainer_weights(m2snet_trainer *trainer, int32_t averaged, size_t *bytes)
{
    m2snet_save_options options;
    m2snet_model *model;
    m2snet_error error;
    scratch files;

    m2snet_save_options_init(&options);
    options.metadata_json = "{\"m2snet.training\":\"\"}"; /* removes it */
    scratch_make(&files);
    const char *path = scratch_path(&files, "weights.safetensors");
    OK(m2snet_trainer_model(trainer, averaged, &model, &error));
    OK(m2snet_model_save_file(model, path, &options, &error));
    unsigned char *data = read_whole(path, bytes);
    m2snet_model_destroy(model);
    scratch_remove(&files);
    return data;
}

void assert_same_weights(m2snet_trainer *a, m2snet_trainer *b)
{
    size_t a_bytes, b_bytes;
    unsigned char *a_data = trainer_weights(a, 0, &a_bytes), *b_data = trainer_weights(b, 0, &b_bytes);

    assert_int_equal(a_bytes, b_bytes);
    assert_memory_equal(a_data, b_data, a_bytes);
    free(a_data);
    free(b_data);
}

void write_pictures(m2snet_context *context, const char *folder, int count, int32_t side, unsigned first)
{
    size_t pixels = (size_t)side * (size_t)side;
    uint8_t *rgb = malloc(3 * pixels), *gray = malloc(pixels);
    m2snet_image image = { .data = rgb, .width = side, .height = side, .format = M2SNET_PIXEL_RGB8 };
    m2snet_image mask = { .data = gray, .width = side, .height = side, .format = M2SNET_PIXEL_GRAY8 };
    char path[400];
    m2snet_error error;

    assert_non_null(rgb);
    assert_non_null(gray);
    for (int part = 0; part < 2; part++) {
        snprintf(path, sizeof path, "%s/%s", folder, part == 0 ? "images" : "masks");
        mkdir(path, 0777);
    }
    for (int k = 0; k < count; k++) {
        uint32_t state = 31u * ((uint32_t)k + first) + 1u;
        for (size_t i = 0; i < pixels; i++) {
            int inside =
                in_disc((int64_t)(i % (size_t)side), (int64_t)(i / (size_t)side), side, 0, first + (unsigned)k);
            gray[i] = inside ? 255 : 0;
            for (int c = 0; c < 3; c++) {
                state = state * 1664525u + 1013904223u;
                rgb[3 * i + (size_t)c] = (uint8_t)((state >> 25) + (inside ? 120u : 10u));
            }
        }
        snprintf(path, sizeof path, "%s/images/p%03d.png", folder, k);
        OK(m2snet_image_write_png(context, path, &image, &error));
        snprintf(path, sizeof path, "%s/masks/p%03d.png", folder, k);
        OK(m2snet_image_write_png(context, path, &mask, &error));
    }
    free(rgb);
    free(gray);
}

void remove_pictures(const char *folder)
{
    for (int part = 0; part < 2; part++) {
        char path[700];
        snprintf(path, sizeof path, "%s/%s", folder, part == 0 ? "images" : "masks");
        DIR *list = opendir(path);
        for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
            if (entry->d_name[0] != '.') {
                snprintf(path, sizeof path, "%s/%s/%s", folder, part == 0 ? "images" : "masks", entry->d_name);
                unlink(path);
            }
        }
        if (list != NULL) {
            closedir(list);
        }
        snprintf(path, sizeof path, "%s/%s", folder, part == 0 ? "images" : "masks");
        rmdir(path);
    }
}
