/* SPDX-License-Identifier: Apache-2.0
 * Blocks left out at random while training (drop_path): the choice hangs on seed and step alone, so weights are the
 * same for any number of threads and for a run in parts; an encoder that has no such blocks refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/train_fixture.h"

#define SMALL                                                                                                          \
    "{\"encoder\":\"convnext\",\"encoder_shape\":{\"blocks\":[1,2,2,1],\"channels\":[4,6,8,17]},"                      \
    "\"pyramid_channels\":8,\"input_size\":64}"
#define STEPS 3

static m2snet_trainer *trainer_of(m2snet_context *context, const char *config, double drop_path, uint64_t seed)
{
    m2snet_trainer_options options;
    m2snet_trainer *trainer;
    m2snet_model *model;
    m2snet_error error;

    tiny_trainer_options(&options);
    options.drop_path = drop_path;
    options.seed = seed;
    OK(m2snet_model_create(context, config, 1, &model, &error));
    OK(m2snet_trainer_create(model, &options, &trainer, &error));
    m2snet_model_destroy(model);
    return trainer;
}

static void take_steps(m2snet_trainer *trainer, m2snet_context *context, unsigned first, unsigned count)
{
    m2snet_train_row row = { .struct_size = sizeof row };
    m2snet_error error;

    for (unsigned i = first; i < first + count; i++) {
        train_batch batch = make_batch(context, 3, 64, 48, 1, i);
        OK(m2snet_trainer_step(trainer, batch.images, batch.masks, -1.0, &row, NULL, &error));
        assert_int_equal(row.finite, 1);
        free_batch(&batch);
    }
}

static int differ(m2snet_trainer *a, m2snet_trainer *b)
{
    size_t bytes[2];
    unsigned char *weights[2] = { trainer_weights(a, 0, &bytes[0]), trainer_weights(b, 0, &bytes[1]) };

    assert_int_equal(bytes[0], bytes[1]);
    int different = memcmp(weights[0], weights[1], bytes[0]) != 0;
    free(weights[0]);
    free(weights[1]);
    return different;
}

static void test_threads_and_seeds(void **state)
{
    m2snet_context *context = open_context("cpu", 1), *other = open_context("cpu", 3);
    m2snet_trainer *first = trainer_of(context, SMALL, 0.5, 7);

    (void)state;
    take_steps(first, context, 0, STEPS);
    for (int i = 0; i < 3; i++) {
        m2snet_trainer *trainer = trainer_of(other, SMALL, i == 1 ? 0.0 : 0.5, i == 2 ? 8 : 7);
        take_steps(trainer, other, 0, STEPS);
        assert_int_equal(differ(first, trainer), i > 0); /* threads alone; never dropped; another seed */
        m2snet_trainer_destroy(trainer);
    }
    m2snet_trainer_destroy(first);
    m2snet_context_destroy(context);
    m2snet_context_destroy(other);
}

static void test_in_parts(void **state)
{
    m2snet_context *context = open_context("cpu", 2);
    m2snet_trainer *whole = trainer_of(context, SMALL, 0.5, 7), *parts = trainer_of(context, SMALL, 0.5, 7);
    m2snet_error error;
    scratch files;

    (void)state;
    scratch_make(&files);
    const char *path = scratch_path(&files, "state.safetensors");
    take_steps(whole, context, 0, STEPS);
    for (unsigned i = 0; i < STEPS; i++) {
        take_steps(parts, context, i, 1);
        OK(m2snet_trainer_save_state(parts, path, NULL, &error));
        m2snet_trainer_destroy(parts);
        parts = trainer_of(context, SMALL, 0.5, 7);
        OK(m2snet_trainer_load_state(parts, path, NULL, &error));
    }
    assert_same_weights(whole, parts);
    m2snet_trainer_destroy(parts);
    parts = trainer_of(context, SMALL, 0.25, 7);
    REFUSE(m2snet_trainer_load_state(parts, path, NULL, &error), M2SNET_STATUS_MISMATCH, "drop_path");
    m2snet_trainer_destroy(parts);
    m2snet_trainer_destroy(whole);
    m2snet_context_destroy(context);
    scratch_remove(&files);
}

static void test_without_blocks_to_drop(void **state)
{
    m2snet_context *context = open_context("cpu", 1);
    m2snet_trainer *trainer = (m2snet_trainer *)1;
    m2snet_trainer_options options;
    m2snet_model *model;
    m2snet_error error;

    (void)state;
    tiny_trainer_options(&options);
    options.drop_path = 0.5;
    OK(m2snet_model_create(context, TINY_CONFIG, 1, &model, &error));
    REFUSE(m2snet_trainer_create(model, &options, &trainer, &error), M2SNET_STATUS_INVALID_ARGUMENT,
           "no branches to leave out");
    assert_null(trainer);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_and_seeds),
        cmocka_unit_test(test_in_parts),
        cmocka_unit_test(test_without_blocks_to_drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
