/* SPDX-License-Identifier: Apache-2.0
 * Five training steps in C, for tests/python/test_training.py to repeat: prints every row's numbers as hexadecimal
 * floats, and writes the model. */
#include <stdio.h>
#include <stdlib.h>

#include "m2snet.h"

enum { IMAGES = 2, SIDE = 64, STEPS = 5 };

static uint32_t state = 1;

/* Knuth's and Lewis's quick generator; the upper 24 bits as 0..1. */
static float uniform(void)
{
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / 16777216.0f;
}

static m2snet_status train(m2snet_context *context, const char *config, const char *path, m2snet_error *error)
{
    static float pixels[IMAGES * SIDE * SIDE * 3], truth[IMAGES * SIDE * SIDE];
    const m2snet_tensor_desc image_desc = { .dtype = M2SNET_DTYPE_F32, .n = IMAGES, .h = SIDE, .w = SIDE, .c = 3 };
    const m2snet_tensor_desc mask_desc = { .dtype = M2SNET_DTYPE_F32, .n = IMAGES, .h = SIDE, .w = SIDE, .c = 1 };
    m2snet_model *model = NULL, *trained = NULL;
    m2snet_trainer *trainer = NULL;
    m2snet_tensor *images = NULL, *masks = NULL;
    m2snet_trainer_options options;
    m2snet_status status;

    m2snet_trainer_options_init(&options);
    options.seed = 3;
    options.epochs = 1;
    options.steps_per_epoch = STEPS;
    options.schedule = M2SNET_SCHEDULE_COSINE;
    (status = m2snet_model_create(context, config, 7, &model, error)) ||
        (status = m2snet_trainer_create(model, &options, &trainer, error)) ||
        (status = m2snet_tensor_create(context, &image_desc, pixels, &images, error)) ||
        (status = m2snet_tensor_create(context, &mask_desc, truth, &masks, error));
    for (int step = 0; step < STEPS && status == M2SNET_STATUS_OK; step++) {
        m2snet_train_row row = { .struct_size = sizeof row };

        for (size_t i = 0; i < sizeof pixels / sizeof pixels[0]; i++) {
            pixels[i] = 4.0f * uniform() - 2.0f;
        }
        for (size_t i = 0; i < sizeof truth / sizeof truth[0]; i++) {
            truth[i] = uniform() > 0.75f ? 1.0f : 0.0f;
        }
        status = m2snet_trainer_step(trainer, images, masks, -1.0, &row, NULL, error);
        printf("%a %a %a %a %a\n", row.loss, row.bce, row.iou, row.grad_norm, row.rate);
    }
    if (status == M2SNET_STATUS_OK) {
        (status = m2snet_trainer_model(trainer, 0, &trained, error)) ||
            (status = m2snet_model_save_file(trained, path, NULL, error));
    }
    m2snet_tensor_destroy(masks);
    m2snet_tensor_destroy(images);
    m2snet_trainer_destroy(trainer);
    m2snet_model_destroy(trained);
    m2snet_model_destroy(model);
    return status;
}

int main(int argc, char **argv)
{
    m2snet_context *context = NULL;
    m2snet_error error;

    if (argc != 3) {
        return 2;
    }
    if (m2snet_context_create(NULL, &context, &error) || train(context, argv[1], argv[2], &error)) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    m2snet_context_destroy(context);
    return 0;
}
