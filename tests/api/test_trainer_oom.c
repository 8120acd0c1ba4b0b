/* SPDX-License-Identifier: Apache-2.0
 * Training with an allocator that fails: every allocation of an objective, a step, a checkpoint, a run fails once (a
 * part of them where there are thousands, another part each time the stride is run through); OUT_OF_MEMORY is said,
 * nothing leaks, a trainer that was there before has the weights it had, and the same call then works. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/faults.h"
#include "common/train_fixture.h"

typedef struct rig {
    faults f;
    m2snet_context *context;
    m2snet_model *model;
    m2snet_trainer *trainer;
    train_batch batch;
    scratch files;
    const char *path;
} rig;

typedef m2snet_status (*attempt)(rig *r, m2snet_error *error);

static m2snet_status evaluate_objective(rig *r, m2snet_error *error)
{
    m2snet_objective_values values = { .struct_size = sizeof values };

    return m2snet_objective_evaluate(r->context, NULL, r->batch.masks, r->batch.masks, &values, NULL, NULL, error);
}

static m2snet_status create_and_step(rig *r, m2snet_error *error)
{
    m2snet_trainer_options options;
    m2snet_trainer *trainer = NULL;

    tiny_trainer_options(&options);
    m2snet_status status = m2snet_trainer_create(r->model, &options, &trainer, error);
    assert_int_equal(trainer != NULL, status == M2SNET_STATUS_OK);
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_trainer_step(trainer, r->batch.images, r->batch.masks, -1.0, NULL, NULL, error);
    }
    m2snet_trainer_destroy(trainer);
    return status;
}

static m2snet_status save_and_load(rig *r, m2snet_error *error)
{
    m2snet_status status = m2snet_trainer_save_state(r->trainer, r->path, NULL, error);

    return status != M2SNET_STATUS_OK ? status : m2snet_trainer_load_state(r->trainer, r->path, NULL, error);
}

static m2snet_status make_model(rig *r, m2snet_error *error)
{
    m2snet_model *model = NULL;
    m2snet_status status = m2snet_trainer_model(r->trainer, 0, &model, error);

    assert_int_equal(model != NULL, status == M2SNET_STATUS_OK);
    m2snet_model_destroy(model);
    return status;
}

static m2snet_status fit(rig *r, m2snet_error *error)
{
    static const int32_t size = 48;
    m2snet_trainer_options options;
    m2snet_fit_options fitting;
    m2snet_trainer *trainer = NULL;
    m2snet_dataset *data = NULL;

    tiny_trainer_options(&options);
    m2snet_fit_options_init(&fitting);
    fitting.epochs = 1;
    fitting.batch = 2;
    fitting.sizes_px = &size;
    fitting.size_count = 1;
    fitting.workers = 1;
    fitting.checkpoint_path = fitting.last_path = r->path;
    m2snet_status status = m2snet_dataset_create(r->context, &data, error);
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_dataset_add_folder(data, r->files.folder, NULL, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_dataset_set_part(data, 0, M2SNET_PART_VALIDATION, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_trainer_create(r->model, &options, &trainer, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_trainer_fit(trainer, data, data, &fitting, NULL, error);
    }
    m2snet_trainer_destroy(trainer);
    m2snet_dataset_destroy(data);
    return status;
}

/* As nnU-Net trains: patches of the pictures' median size, two of three classes in labels, coarser maps, validated in
 * windows. */
static m2snet_status fit_patches(rig *r, m2snet_error *error)
{
    static const uint8_t labels[2] = { 128, 255 };
    m2snet_trainer_options options;
    m2snet_objective_options objective;
    m2snet_fit_options fitting;
    m2snet_augment_options augment;
    m2snet_trainer *trainer = NULL;
    m2snet_dataset *data = NULL;
    m2snet_model *model = NULL;

    tiny_trainer_options(&options);
    m2snet_objective_options_init(&objective);
    objective.softmax = 1;
    objective.bce_weight = objective.iou_weight = 0.0;
    objective.cross_entropy_weight = objective.dice_weight = 1.0;
    options.objective = &objective;
    options.supervision = M2SNET_SUPERVISION_HALVING;
    m2snet_fit_options_init(&fitting);
    fitting.epochs = 1;
    fitting.batch = 2;
    fitting.patches = 1;
    fitting.sampler = M2SNET_SAMPLER_RANDOM;
    fitting.epoch_batches = 1;
    fitting.labels = labels;
    fitting.label_count = 2;
    fitting.workers = 1;
    m2snet_status status = m2snet_augment_options_init(&augment, "nnunet", error);
    fitting.augment = &augment;
    if (status == M2SNET_STATUS_OK) {
        status =
            m2snet_model_create(r->context, "{" TINY_SHAPE ",\"classes\":[\"rest\",\"a\",\"b\"]}", 1, &model, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_dataset_create(r->context, &data, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_dataset_add_folder(data, r->files.folder, NULL, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_dataset_set_part(data, 0, M2SNET_PART_VALIDATION, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_trainer_create(model, &options, &trainer, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_trainer_fit(trainer, data, data, &fitting, NULL, error);
    }
    m2snet_trainer_destroy(trainer);
    m2snet_dataset_destroy(data);
    m2snet_model_destroy(model);
    return status;
}

static void walk(rig *r, const char *name, attempt call, size_t stride)
{
    m2snet_error error = { 0 };
    size_t failed = 0;

    assert_ok(call(r, &error), &error, name, __FILE__, __LINE__); /* what is made once is made now */
    size_t live = r->f.live, start = r->f.calls;
    assert_ok(call(r, &error), &error, name, __FILE__, __LINE__);
    size_t total = r->f.calls - start;
    assert_int_equal(r->f.live, live);
    for (size_t k = 1; k <= total; k += stride, failed++) {
        error = (m2snet_error){ 0 };
        start = r->f.calls;
        r->f.fail_at = start + k;
        m2snet_status status = call(r, &error);
        r->f.fail_at = 0;
        if (status == M2SNET_STATUS_OK && r->f.calls - start < k) {
            break; /* threads that share what they make make a few less this time */
        }
        if (status != M2SNET_STATUS_OUT_OF_MEMORY || error.status != status || error.message[0] == '\0') {
            fail_msg("%s, allocation %zu of %zu: \"%s\" (%s)", name, k, total, m2snet_status_string(status),
                     error.message);
        }
        if (r->f.live != live) {
            fail_msg("%s, allocation %zu of %zu: %zu blocks before, %zu after (%s)", name, k, total, live,
                     (size_t)r->f.live, error.message);
        }
    }
    assert_true(failed > 0);
    assert_ok(call(r, &error), &error, name, __FILE__, __LINE__);
    assert_int_equal(r->f.live, live);
    print_message("  %s: %zu of %zu allocations failed in turn\n", name, failed, total);
}

static void test_walks(void **state)
{
    m2snet_context_options options;
    m2snet_trainer_options training;
    rig r = { 0 };
    m2snet_allocator allocator = faults_allocator(&r.f);
    m2snet_error error;

    (void)state;
    m2snet_context_options_init(&options);
    options.allocator = &allocator;
    options.threads = 1;
    OK(m2snet_context_create(&options, &r.context, &error));
    scratch_make(&r.files);
    r.path = scratch_path(&r.files, "state.safetensors");
    r.model = tiny_model(r.context);
    r.batch = make_batch(r.context, 2, 48, 48, 1, 0);
    tiny_trainer_options(&training);
    training.ema_decay = 0.5;
    OK(m2snet_trainer_create(r.model, &training, &r.trainer, &error));
    OK(m2snet_trainer_step(r.trainer, r.batch.images, r.batch.masks, -1.0, NULL, NULL, &error));
    size_t before, after;
    unsigned char *old = trainer_weights(r.trainer, 0, &before);

    walk(&r, "objective", evaluate_objective, 1);
    walk(&r, "model", make_model, 1);
    walk(&r, "checkpoint", save_and_load, 3);
    walk(&r, "create and step", create_and_step, 3);
    write_pictures(r.context, r.files.folder, 4, 50, 0);
    walk(&r, "fit", fit, 17);
    walk(&r, "fit patches", fit_patches, 61);
    unlink(r.path);

    unsigned char *now = trainer_weights(r.trainer, 0, &after);
    assert_int_equal(before, after);
    assert_memory_equal(old, now, before);
    free(old);
    free(now);
    assert_true(scratch_count(&r.files) <= 2); /* the pictures' folders: no temporary file is left */
    free_batch(&r.batch);
    m2snet_trainer_destroy(r.trainer);
    m2snet_model_destroy(r.model);
    m2snet_context_destroy(r.context);
    assert_int_equal(r.f.live, 0);
    remove_pictures(r.files.folder);
    scratch_remove(&r.files);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_walks) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
