/* SPDX-License-Identifier: Apache-2.0
 * Training steps: they learn, and give the same bits for any number of threads, saved and loaded in between or not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/train_fixture.h"

#define STEPS 3

static void take_steps(m2snet_trainer *trainer, m2snet_context *context, unsigned first, unsigned count)
{
    m2snet_train_row row = { .struct_size = sizeof row };
    m2snet_error error;

    for (unsigned i = first; i < first + count; i++) {
        train_batch batch = make_batch(context, 2, i % 2 == 0 ? 64 : 48, 64, 1, i);
        OK(m2snet_trainer_step(trainer, batch.images, batch.masks, -1.0, &row, NULL, &error));
        assert_int_equal(row.finite, 1);
        assert_int_equal(row.step, i + 1);
        free_batch(&batch);
    }
}

/* What takes a part in a state: momentum, averages, sums. */
static void all_options(m2snet_trainer_options *options, int adamw)
{
    tiny_trainer_options(options);
    options->clip_norm = 2.0;
    options->accumulate = 2;
    options->ema_decay = 0.9;
    if (adamw) {
        options->optimiser = M2SNET_OPTIMISER_ADAMW;
        options->learning_rate = 1e-3;
        options->supervision = M2SNET_SUPERVISION_HALVING; /* heads that no model has */
    }
}

static void check_threads(const char *backend)
{
    m2snet_trainer *trainers[3];
    m2snet_context *contexts[3];
    m2snet_trainer_options options;

    all_options(&options, 0);
    for (int32_t i = 0; i < 3; i++) {
        contexts[i] = open_context(backend, i + 1);
        trainers[i] = tiny_trainer(contexts[i], &options);
        take_steps(trainers[i], contexts[i], 0, STEPS);
        assert_same_weights(trainers[0], trainers[i]);
    }
    take_steps(trainers[0], contexts[0], STEPS, 1); /* and the comparison can fail: another update */
    size_t bytes[2];
    unsigned char *weights[2] = { trainer_weights(trainers[0], 0, &bytes[0]),
                                  trainer_weights(trainers[1], 0, &bytes[1]) };
    assert_int_equal(bytes[0], bytes[1]);
    assert_true(memcmp(weights[0], weights[1], bytes[0]) != 0);
    for (int i = 0; i < 3; i++) {
        if (i < 2) {
            free(weights[i]);
        }
        m2snet_trainer_destroy(trainers[i]);
        m2snet_context_destroy(contexts[i]);
    }
}

static void test_threads(void **state)
{
    (void)state;
    check_threads("cpu");
    check_threads("ref");
}

/* Saved after every step into a new trainer: the same as one that went on. */
static void test_state_files(void **state)
{
    (void)state;
    for (int adamw = 0; adamw < 2; adamw++) {
        m2snet_context *context = open_context(NULL, 2);
        m2snet_trainer_options options;
        m2snet_error error;
        scratch files;

        all_options(&options, adamw);
        scratch_make(&files);
        const char *path = scratch_path(&files, "state.safetensors");
        m2snet_trainer *whole = tiny_trainer(context, &options), *parts = tiny_trainer(context, &options);
        take_steps(whole, context, 0, 5);
        for (unsigned i = 0; i < 5; i++) {
            take_steps(parts, context, i, 1);
            OK(m2snet_trainer_save_state(parts, path, NULL, &error));
            assert_int_equal(scratch_count(&files), 1);
            m2snet_trainer_destroy(parts);
            parts = tiny_trainer(context, &options);
            OK(m2snet_trainer_load_state(parts, path, NULL, &error));
        }
        assert_same_weights(whole, parts);
        m2snet_trainer_destroy(whole);
        m2snet_trainer_destroy(parts);
        scratch_remove(&files);
        m2snet_context_destroy(context);
    }
}

/* One batch again and again: the loss falls to less than half, and the saved model is the one that learned. */
static void test_learns(void **state)
{
    m2snet_context *context = open_context(NULL, 2);
    m2snet_train_row first = { .struct_size = sizeof first }, row = { .struct_size = sizeof row };
    m2snet_trainer_options options;
    m2snet_error error;

    (void)state;
    tiny_trainer_options(&options);
    m2snet_trainer *trainer = tiny_trainer(context, &options);
    train_batch batch = make_batch(context, 4, 64, 64, 1, 0);
    OK(m2snet_trainer_step(trainer, batch.images, batch.masks, -1.0, &first, NULL, &error));
    assert_true(first.loss > 0.5 && first.grad_norm > 0.0);
    assert_true(first.loss > first.bce && first.loss > first.iou);
    for (int i = 0; i < 60; i++) {
        OK(m2snet_trainer_step(trainer, batch.images, batch.masks, -1.0, &row, NULL, &error));
    }
    print_message("loss %.4f -> %.4f\n", first.loss, row.loss);
    assert_true(row.loss < 0.5 * first.loss);
    free_batch(&batch);
    m2snet_trainer_destroy(trainer);
    m2snet_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_state_files),
        cmocka_unit_test(test_learns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
