/* SPDX-License-Identifier: Apache-2.0
 * Whole runs: what they call back, what they write, that a run which is stopped anywhere goes on bit for bit, and what
 * happens to bad pictures, wrong classes and rates that diverge. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/train_fixture.h"

#define PICTURES 7 /* 5 train in batches of 2, 2, 1; 2 validate */
#define EPOCHS   3
#define STEPS    (3 * EPOCHS)

typedef struct rig {
    m2snet_context *context;
    m2snet_dataset *data;
    scratch files;
    const char *checkpoint, *best, *last;
    m2snet_trainer_options training;
    m2snet_fit_options fit;
    m2snet_augment_options augment;
    int32_t sizes[2];
    /* what the callbacks saw */
    int64_t rows, epochs, bad;
    m2snet_train_row row;
    m2snet_epoch_row epoch_row;
    m2snet_trainer *trainer; /* to be used in the epoch's callback */
    m2snet_cancel *cancel;
    int64_t cancel_at; /* row; 0 = never */
} rig;

static void on_row(void *user, const m2snet_train_row *row)
{
    rig *r = user;

    r->rows++;
    r->bad += !row->finite;
    r->row = *row;
    if (r->rows == r->cancel_at) {
        m2snet_cancel_request(r->cancel);
    }
}

static void on_epoch(void *user, const m2snet_epoch_row *row)
{
    rig *r = user;
    m2snet_model *model;
    m2snet_trainer_options options;
    m2snet_error error;

    r->epochs++;
    r->epoch_row = *row;
    OK(m2snet_trainer_model(r->trainer, 0, &model, &error)); /* looking is allowed, changing is not */
    m2snet_model_destroy(model);
    m2snet_trainer_options_init(&options);
    REFUSE(m2snet_trainer_load_state(r->trainer, r->checkpoint, NULL, &error), M2SNET_STATUS_BUSY,
           "m2snet_trainer_fit");
}

static m2snet_dataset *open_pictures(m2snet_context *context, const char *folder, int32_t validate_from)
{
    m2snet_dataset *data;
    m2snet_error error;

    OK(m2snet_dataset_create(context, &data, &error));
    OK(m2snet_dataset_add_folder(data, folder, NULL, &error));
    for (int32_t i = 0; i < m2snet_dataset_count(data); i++) {
        m2snet_part part = i < validate_from ? M2SNET_PART_TRAIN : M2SNET_PART_VALIDATION;
        OK(m2snet_dataset_set_part(data, i, part, &error));
    }
    return data;
}

static void rig_make(rig *r, int32_t threads)
{
    m2snet_error error;

    memset(r, 0, sizeof *r);
    r->context = open_context(NULL, threads);
    scratch_make(&r->files);
    r->checkpoint = scratch_path(&r->files, "state.safetensors");
    r->best = scratch_path(&r->files, "best.safetensors");
    r->last = scratch_path(&r->files, "last.safetensors");
    write_pictures(r->context, r->files.folder, PICTURES, 70, 0);
    r->data = open_pictures(r->context, r->files.folder, PICTURES - 2);
    OK(m2snet_cancel_create(&r->cancel, &error));
    tiny_trainer_options(&r->training);
    OK(m2snet_augment_options_init(&r->augment, "compact", &error));
    m2snet_fit_options_init(&r->fit);
    r->sizes[0] = 48;
    r->sizes[1] = 64;
    r->fit.epochs = EPOCHS;
    r->fit.batch = 2;
    r->fit.sizes_px = r->sizes;
    r->fit.size_count = 2;
    r->fit.augment = &r->augment;
    r->fit.checkpoint_path = r->checkpoint;
    r->fit.best_path = r->best;
    r->fit.last_path = r->last;
    r->fit.row = on_row;
    r->fit.epoch_row = on_epoch;
    r->fit.user = r;
    r->fit.control.cancel = r->cancel;
}

static void rig_end(rig *r)
{
    m2snet_cancel_destroy(r->cancel);
    m2snet_dataset_destroy(r->data);
    m2snet_context_destroy(r->context);
    remove_pictures(r->files.folder);
    scratch_remove(&r->files);
}

static m2snet_status run(rig *r, m2snet_trainer *trainer, m2snet_fit_end *end, m2snet_error *error)
{
    r->trainer = trainer;
    r->rows = r->epochs = r->bad = 0;
    return m2snet_trainer_fit(trainer, r->data, r->data, &r->fit, end, error);
}

/* ---- what a run gives ---- */

static void test_run(void **state)
{
    rig r;
    m2snet_fit_end end = M2SNET_FIT_STEPS;
    m2snet_trainer_info info = { .struct_size = sizeof info };
    m2snet_validation_options options;
    m2snet_validation validation = { .struct_size = sizeof validation };
    m2snet_model *model;
    m2snet_error error;

    (void)state;
    rig_make(&r, 2);
    m2snet_trainer *trainer = tiny_trainer(r.context, &r.training);
    OK(run(&r, trainer, &end, &error));
    assert_int_equal(end, M2SNET_FIT_DONE);
    assert_int_equal(r.rows, STEPS);
    assert_int_equal(r.epochs, EPOCHS);
    assert_int_equal(r.row.epoch, EPOCHS - 1);
    assert_int_equal(r.row.batch, 2);
    assert_int_equal(r.row.batches, 3);
    assert_int_equal(r.row.images, 1); /* the last, partial batch */
    assert_int_equal(r.row.step, STEPS);
    assert_int_equal(r.epoch_row.images, 5);
    assert_int_equal(r.epoch_row.validated, 1);
    assert_int_equal(r.epoch_row.validation_images, 2);
    assert_true(r.epoch_row.loss > 0.0 && r.epoch_row.loss > r.epoch_row.bce);
    OK(m2snet_trainer_get_info(trainer, &info, &error));
    assert_int_equal(info.epoch, EPOCHS);
    assert_int_equal(info.batch, 0);
    assert_int_equal(info.step, STEPS);
    assert_true(info.best_epoch >= 0);
    assert_true(info.best_score == r.epoch_row.best_score);
    assert_non_null(strstr(info.recipe_json, "\"learning_rate\":0.02"));
    /* The last epoch's validation is what the API's own gives, and what the saved file gives. */
    m2snet_validation_options_init(&options);
    OK(m2snet_trainer_evaluate(trainer, r.data, &options, &validation, &error));
    assert_true(validation.dice == r.epoch_row.validation_dice && validation.iou == r.epoch_row.validation_iou);
    OK(m2snet_model_load_file(r.context, r.last, NULL, &model, &error));
    m2snet_trainer *again;
    OK(m2snet_trainer_create(model, &r.training, &again, &error));
    assert_same_weights(trainer, again);
    m2snet_trainer_destroy(again);
    /* Where it comes from stands in the file. */
    const char *training = NULL;
    for (int32_t i = 0; i < m2snet_model_metadata_count(model); i++) {
        if (strcmp(m2snet_model_metadata_key(model, i), "m2snet.training") == 0) {
            training = m2snet_model_metadata_value(model, i);
        }
    }
    assert_non_null(training);
    assert_non_null(strstr(training, "\"steps\":9"));
    assert_non_null(strstr(training, "\"pictures\":5"));
    m2snet_model_destroy(model);
    /* The best one scores what the best epoch did. */
    OK(m2snet_model_load_file(r.context, r.best, NULL, &model, &error));
    OK(m2snet_trainer_create(model, &r.training, &again, &error));
    OK(m2snet_trainer_evaluate(again, r.data, &options, &validation, &error));
    assert_true(validation.dice == info.best_score);
    m2snet_trainer_destroy(again);
    m2snet_model_destroy(model);
    /* A run that is done has nothing left to do. */
    OK(run(&r, trainer, &end, &error));
    assert_int_equal(r.rows, 0);
    m2snet_trainer_destroy(trainer);
    rig_end(&r);
}

/* ---- stopped and gone on ---- */

static void compare_files(const char *a, const char *b)
{
    size_t a_bytes, b_bytes;
    unsigned char *a_data = read_whole(a, &a_bytes), *b_data = read_whole(b, &b_bytes);

    assert_int_equal(a_bytes, b_bytes);
    assert_memory_equal(a_data, b_data, a_bytes);
    free(a_data);
    free(b_data);
}

/* Averages, accumulation over the end of an epoch, clipping, a schedule by steps; with AdamW heads that no model has.
 */
static void all_options(rig *r, bool adamw)
{
    if (adamw) {
        r->training.optimiser = M2SNET_OPTIMISER_ADAMW;
        r->training.learning_rate = 1e-3;
        r->training.supervision = M2SNET_SUPERVISION_EQUAL;
    }
    r->training.ema_decay = 0.8;
    r->training.accumulate = 2;
    r->training.clip_norm = 1.0;
    r->training.schedule = M2SNET_SCHEDULE_WARMUP_LINEAR;
    r->training.warmup = 0.2;
}

/* Stopped after every step in turn, by max_steps or by a cancel, each part with a trainer of its own, another number of
 * threads, keeping results or making them again: all three files as those of the whole run. */
static void check_resume(bool adamw)
{
    rig whole;
    m2snet_fit_end end;
    m2snet_error error;

    rig_make(&whole, 2);
    all_options(&whole, adamw);
    m2snet_trainer *trainer = tiny_trainer(whole.context, &whole.training);
    OK(run(&whole, trainer, &end, &error));
    m2snet_trainer_destroy(trainer);
    for (int how = 0; how < 2; how++) {
        rig r;
        rig_make(&r, how == 0 ? 1 : 3);
        all_options(&r, adamw);
        r.fit.resume = 1;
        r.fit.workers = 1 + how;
        int64_t rows = 0;
        for (int part = 0; part < 40 && (part == 0 || end != M2SNET_FIT_DONE); part++) {
            end = M2SNET_FIT_STEPS;
            r.training.recompute = part % 2;
            trainer = tiny_trainer(r.context, &r.training);
            if (how == 0) {
                r.fit.max_steps = 1 + part % 2;
                OK(run(&r, trainer, &end, &error));
            } else {
                m2snet_cancel_reset(r.cancel);
                r.cancel_at = 1 + part % 3;
                m2snet_status status = run(&r, trainer, &end, &error);
                if (status != M2SNET_STATUS_CANCELLED) {
                    OK(status);
                }
            }
            rows += r.rows;
            m2snet_trainer_destroy(trainer);
        }
        assert_int_equal(end, M2SNET_FIT_DONE);
        assert_int_equal(rows, STEPS); /* none was taken twice */
        compare_files(whole.checkpoint, r.checkpoint);
        compare_files(whole.best, r.best);
        compare_files(whole.last, r.last);
        assert_true(whole.epoch_row.loss == r.epoch_row.loss && whole.epoch_row.images == r.epoch_row.images);
        rig_end(&r);
    }
    rig_end(&whole);
}

static void test_resume(void **state)
{
    (void)state;
    check_resume(false);
    check_resume(true);
}

/* A checkpoint is taken by a run with the same settings alone; and says what differs. */
static void test_other_settings(void **state)
{
    rig r;
    m2snet_fit_end end;
    m2snet_error error;

    (void)state;
    rig_make(&r, 1);
    r.fit.max_steps = 2;
    m2snet_trainer *trainer = tiny_trainer(r.context, &r.training);
    OK(run(&r, trainer, &end, &error));
    assert_int_equal(end, M2SNET_FIT_STEPS);
    m2snet_trainer_destroy(trainer);

    r.fit.resume = 1;
    r.training.learning_rate = 0.03;
    trainer = tiny_trainer(r.context, &r.training);
    REFUSE(run(&r, trainer, &end, &error), M2SNET_STATUS_MISMATCH, "\"learning_rate\" was 0.02, is now 0.03");
    r.fit.resume = 0; /* and the trainer is as before: it begins anew */
    OK(run(&r, trainer, &end, &error));
    m2snet_trainer_destroy(trainer);

    r.fit.resume = 1;
    r.fit.batch = 1;
    trainer = tiny_trainer(r.context, &r.training);
    REFUSE(run(&r, trainer, &end, &error), M2SNET_STATUS_MISMATCH, "\"batch\" was 2, is now 1");
    r.fit.batch = 2;
    OK(m2snet_dataset_set_part(r.data, 0, M2SNET_PART_NONE, &error));
    REFUSE(run(&r, trainer, &end, &error), M2SNET_STATUS_MISMATCH, "\"pictures\" was 5, is now 4");
    m2snet_trainer_destroy(trainer);

    r.training.ema_decay = 0.5;
    trainer = tiny_trainer(r.context, &r.training);
    REFUSE(m2snet_trainer_load_state(trainer, r.checkpoint, NULL, &error), M2SNET_STATUS_MISMATCH, "ema_decay");
    REFUSE(m2snet_trainer_load_state(trainer, COMPACT_MODEL, NULL, &error), M2SNET_STATUS_FORMAT, "no training state");
    REFUSE(m2snet_trainer_load_state(trainer, "/nowhere", NULL, &error), M2SNET_STATUS_IO, "/nowhere");
    m2snet_trainer_destroy(trainer);
    rig_end(&r);
}

/* ---- patience ---- */

/* A rate of 0 changes nothing but running statistics, which are frozen: every validation is as good as the first. */
static void test_patience(void **state)
{
    rig r;
    m2snet_fit_end end;
    m2snet_error error;

    (void)state;
    rig_make(&r, 2);
    r.training.learning_rate = 0.0;
    r.training.freeze_batch_norm = 1;
    r.fit.epochs = 20;
    r.fit.patience = 2;
    m2snet_trainer *trainer = tiny_trainer(r.context, &r.training);
    OK(run(&r, trainer, &end, &error));
    assert_int_equal(end, M2SNET_FIT_PATIENCE);
    assert_int_equal(r.epochs, 3);
    assert_int_equal(r.epoch_row.best_epoch, 0);
    assert_int_equal(r.epoch_row.is_best, 0);
    r.fit.resume = 1;
    end = M2SNET_FIT_DONE;
    OK(run(&r, trainer, &end, &error)); /* it has ended */
    assert_int_equal(end, M2SNET_FIT_PATIENCE);
    assert_int_equal(r.rows, 0);
    r.fit.patience = 3; /* unless one has more of it */
    OK(run(&r, trainer, &end, &error));
    assert_int_equal(r.epochs, 1);
    m2snet_trainer_destroy(trainer);
    rig_end(&r);
}

/* ---- what may go wrong ---- */

/* A picture of the training that cannot be read: the run ends and names it, or goes on without it. */
static void test_bad_picture(void **state)
{
    rig r;
    m2snet_fit_end end;
    char path[200];
    m2snet_error error;

    (void)state;
    rig_make(&r, 2);
    snprintf(path, sizeof path, "%s/images/p003.png", r.files.folder);
    write_whole(path, "no picture", 10);
    m2snet_trainer *trainer = tiny_trainer(r.context, &r.training);
    REFUSE(run(&r, trainer, &end, &error), M2SNET_STATUS_FORMAT, "p003.png");
    assert_true(r.rows < 3);
    m2snet_trainer_destroy(trainer);

    r.fit.unreadable = M2SNET_UNREADABLE_SKIP;
    trainer = tiny_trainer(r.context, &r.training);
    OK(run(&r, trainer, &end, &error));
    assert_int_equal(r.rows, STEPS);
    assert_true(r.epoch_row.unreadable >= 1);
    m2snet_trainer_destroy(trainer);

    /* And one of the validation. */
    snprintf(path, sizeof path, "%s/masks/p006.png", r.files.folder);
    unlink(path);
    trainer = tiny_trainer(r.context, &r.training);
    OK(run(&r, trainer, &end, &error));
    assert_int_equal(r.epoch_row.validation_images, 1);
    m2snet_trainer_destroy(trainer);
    r.fit.unreadable = M2SNET_UNREADABLE_STOP;
    OK(m2snet_dataset_set_part(r.data, 3, M2SNET_PART_NONE, &error));
    trainer = tiny_trainer(r.context, &r.training);
    REFUSE(run(&r, trainer, &end, &error), M2SNET_STATUS_IO, "p006.png");
    m2snet_trainer_destroy(trainer);
    rig_end(&r);
}

/* A rate far too high: the run ends with a sentence, in one of two ways (losses that are not finite, or a running
 * statistic that is not), and what was the best stays. */
static void test_diverging(void **state)
{
    rig r;
    m2snet_fit_end end;
    m2snet_model *model;
    m2snet_error error;

    (void)state;
    rig_make(&r, 2);
    m2snet_trainer *trainer = tiny_trainer(r.context, &r.training);
    r.fit.epochs = 1;
    OK(run(&r, trainer, &end, &error));
    m2snet_trainer_destroy(trainer);
    r.training.learning_rate = 1e6;
    r.training.encoder_rate = 1000.0;
    r.training.max_bad_steps = 4;
    r.fit.epochs = 50;
    trainer = tiny_trainer(r.context, &r.training);
    REFUSE(run(&r, trainer, &end, &error), M2SNET_STATUS_DIVERGED, "diverged");
    m2snet_trainer_destroy(trainer);
    OK(m2snet_model_load_file(r.context, r.best, NULL, &model, &error));
    m2snet_model_destroy(model);
    rig_end(&r);
}

/* From the row on the file system takes no more than this of a file, as a disk that fills up. */
static void on_row_fill_disk(void *user, const m2snet_train_row *row)
{
    rig *r = user;
    struct rlimit limit;

    on_row(user, row);
    if (r->rows == 5) {
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = 4096;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    }
}

/* The run ends and says why; the checkpoint of the step before is whole, and leads to the files of a run that never
 * stopped. */
static void test_full_disk(void **state)
{
    rig whole, r;
    m2snet_fit_end end;
    struct rlimit limit;
    m2snet_error error;

    (void)state;
    rig_make(&whole, 1);
    m2snet_trainer *trainer = tiny_trainer(whole.context, &whole.training);
    OK(run(&whole, trainer, &end, &error));
    m2snet_trainer_destroy(trainer);

    rig_make(&r, 1);
    r.fit.checkpoint_every = 1;
    r.fit.resume = 1;
    r.fit.row = on_row_fill_disk;
    signal(SIGXFSZ, SIG_IGN); /* the write then fails with EFBIG */
    trainer = tiny_trainer(r.context, &r.training);
    m2snet_status status = run(&r, trainer, &end, &error);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(status, M2SNET_STATUS_IO);
    assert_non_null(strstr(error.message, r.checkpoint));
    assert_int_equal(r.rows, 5);
    m2snet_trainer_destroy(trainer);

    r.fit.row = on_row;
    trainer = tiny_trainer(r.context, &r.training);
    OK(run(&r, trainer, &end, &error));
    assert_int_equal(r.rows, STEPS - 4); /* the fifth is taken again */
    m2snet_trainer_destroy(trainer);
    compare_files(whole.checkpoint, r.checkpoint);
    compare_files(whole.best, r.best);
    compare_files(whole.last, r.last);
    rig_end(&r);
    rig_end(&whole);
}

static void test_wrong_data(void **state)
{
    static const uint8_t labels[2] = { 0, 255 };
    rig r;
    m2snet_fit_end end;
    m2snet_model *model;
    m2snet_trainer *trainer;
    m2snet_dataset *empty;
    m2snet_error error;

    (void)state;
    rig_make(&r, 1);
    OK(m2snet_model_create(r.context, "{" TINY_SHAPE ",\"classes\":[\"a\",\"b\",\"c\"]}", 1, &model, &error));
    OK(m2snet_trainer_create(model, &r.training, &trainer, &error));
    REFUSE(run(&r, trainer, &end, &error), M2SNET_STATUS_MISMATCH, "expected 3 labels");
    r.fit.labels = labels;
    r.fit.label_count = 2;
    REFUSE(run(&r, trainer, &end, &error), M2SNET_STATUS_MISMATCH, "got 2");
    m2snet_trainer_destroy(trainer);
    m2snet_model_destroy(model);
    r.fit.label_count = 0;

    trainer = tiny_trainer(r.context, &r.training);
    OK(m2snet_dataset_create(r.context, &empty, &error));
    REFUSE(m2snet_trainer_fit(trainer, empty, NULL, &r.fit, &end, &error), M2SNET_STATUS_MISMATCH, "none for training");
    m2snet_dataset_destroy(empty);
    r.fit.checkpoint_every = 1;
    r.fit.checkpoint_path = NULL;
    REFUSE(run(&r, trainer, &end, &error), M2SNET_STATUS_INVALID_ARGUMENT, "checkpoint_path");
    r.fit.checkpoint_every = 0;
    r.fit.batch = 0;
    REFUSE(run(&r, trainer, &end, &error), M2SNET_STATUS_INVALID_ARGUMENT, "batch is 0");
    r.fit.batch = 2;
    r.sizes[1] = 16;
    REFUSE(run(&r, trainer, &end, &error), M2SNET_STATUS_INVALID_ARGUMENT, "sizes_px[1] is 16");
    r.sizes[1] = 64;
    r.augment.p_rotate = 2.0;
    REFUSE(run(&r, trainer, &end, &error), M2SNET_STATUS_INVALID_ARGUMENT, "p_rotate");
    r.augment.p_rotate = 0.0;
    r.fit.last_path = "/nowhere/last.safetensors";
    REFUSE(run(&r, trainer, &end, &error), M2SNET_STATUS_IO, "/nowhere/last.safetensors");
    m2snet_trainer_destroy(trainer);
    rig_end(&r);
}

/* Several classes, both kinds: they train, and are scored class by class. */
static void test_classes(void **state)
{
    static const uint8_t labels[2] = { 255, 100 };
    m2snet_objective_options objective;
    rig r;
    m2snet_fit_end end;
    m2snet_error error;

    (void)state;
    rig_make(&r, 2);
    m2snet_objective_options_init(&objective);
    r.training.objective = &objective;
    r.fit.labels = labels;
    for (int softmax = 0; softmax < 2; softmax++) {
        m2snet_model *model;
        m2snet_trainer *trainer;
        OK(m2snet_objective_options_preset(&objective, softmax ? "softmax" : "paper", &error));
        r.fit.label_count = softmax ? 1 : 2;
        OK(m2snet_model_create(r.context, "{" TINY_SHAPE ",\"classes\":[\"a\",\"b\"]}", 1, &model, &error));
        OK(m2snet_trainer_create(model, &r.training, &trainer, &error));
        OK(run(&r, trainer, &end, &error));
        assert_int_equal(r.rows, STEPS);
        assert_int_equal(r.row.cross_entropy > 0.0, softmax);
        assert_true(r.epoch_row.validation_dice >= 0.0 && r.epoch_row.validation_dice <= 1.0);
        m2snet_trainer_destroy(trainer);
        m2snet_model_destroy(model);

        /* The model file knows its labels: a training that begins with it needs none. */
        m2snet_model_info info = { .struct_size = sizeof info };
        OK(m2snet_model_load_file(r.context, r.fit.last_path, NULL, &model, &error));
        OK(m2snet_model_get_info(model, &info, &error));
        assert_int_equal(info.softmax, softmax);
        assert_int_equal(m2snet_model_class_label(model, -1), 0);
        assert_int_equal(m2snet_model_class_label(model, 0), softmax ? 0 : 255);
        assert_int_equal(m2snet_model_class_label(model, 1), softmax ? 255 : 100);
        OK(m2snet_trainer_create(model, &r.training, &trainer, &error));
        r.fit.labels = NULL;
        r.fit.label_count = 0;
        OK(run(&r, trainer, &end, &error));
        r.fit.labels = labels;
        m2snet_trainer_destroy(trainer);
        m2snet_model_destroy(model);
    }
    rig_end(&r);
}

/* As nnU-Net trains: windows of the pictures' size, drawn with replacement, epochs of a given length. The same model
 * for any number of loader threads, and after a stop. */
static void test_patches(void **state)
{
    m2snet_objective_options objective;
    unsigned char *first = NULL;
    size_t first_bytes = 0;
    rig r;
    m2snet_fit_end end;
    m2snet_error error;

    (void)state;
    rig_make(&r, 2);
    m2snet_objective_options_init(&objective);
    OK(m2snet_objective_options_preset(&objective, "nnunet", &error));
    OK(m2snet_trainer_options_preset(&r.training, "nnunet", &error));
    assert_true(r.training.rate_per_epoch && r.training.clip_norm == 12.0 && r.training.momentum == 0.99);
    OK(m2snet_augment_options_init(&r.augment, "nnunet", &error));
    r.training.objective = &objective;
    r.fit.patches = 1;
    r.fit.sizes_px = NULL; /* 70 px: 64 */
    r.fit.size_count = 0;
    r.fit.sampler = M2SNET_SAMPLER_RANDOM;
    r.fit.epoch_batches = 3;
    for (int way = 0; way < 3; way++) {
        m2snet_trainer *trainer = tiny_trainer(r.context, &r.training);
        r.fit.workers = way == 0 ? 1 : 3;
        if (way == 2) { /* stopped in the second epoch, and gone on */
            r.cancel_at = 4;
            REFUSE(run(&r, trainer, &end, &error), M2SNET_STATUS_CANCELLED, "cancelled");
            m2snet_cancel_reset(r.cancel);
            r.cancel_at = 0;
            m2snet_trainer_destroy(trainer);
            trainer = tiny_trainer(r.context, &r.training);
            r.fit.resume = 1;
        }
        OK(run(&r, trainer, &end, &error));
        assert_int_equal(r.row.batches, 3);
        assert_int_equal(r.row.images, 2); /* no partial batch */
        assert_int_equal(r.row.width, 64);
        assert_int_equal(r.row.height, 64);
        assert_true(r.row.dice > 0.0);
        assert_true(r.epoch_row.images == 6 && r.epoch_row.epochs == EPOCHS);
        /* 0.01 (1 - 2/3)^0.9 in every step of the last epoch */
        assert_true(fabs(r.row.rate - 0.01 * pow(1.0 / 3.0, 0.9)) < 1e-12);
        m2snet_validation_options check;
        m2snet_validation score = { .struct_size = sizeof score };
        m2snet_validation_options_init(&check);
        check.tiles = 1;
        check.input_width = check.input_height = 64;
        OK(m2snet_trainer_evaluate(trainer, r.data, &check, &score, &error));
        assert_true(score.dice == r.epoch_row.validation_dice); /* that of windows over whole pictures */
        size_t bytes;
        unsigned char *file = read_whole(r.last, &bytes);
        if (way == 0) {
            first = file;
            first_bytes = bytes;
        } else {
            assert_int_equal(bytes, first_bytes);
            assert_memory_equal(file, first, bytes);
            free(file);
        }
        m2snet_trainer_destroy(trainer);
    }
    free(first);
    r.fit.resume = 0;
    /* The largest patch is the input size of the model that comes out. */
    m2snet_trainer *trainer = tiny_trainer(r.context, &r.training);
    m2snet_model_info made = { .struct_size = sizeof made };
    m2snet_model *model;
    r.sizes[1] = 80;
    r.fit.sizes_px = r.sizes;
    r.fit.size_count = 2;
    r.fit.epochs = 1;
    OK(run(&r, trainer, &end, &error));
    OK(m2snet_model_load_file(r.context, r.last, NULL, &model, &error));
    OK(m2snet_model_get_info(model, &made, &error));
    assert_true(made.input_width == 80 && made.input_height == 80);
    m2snet_model_destroy(model);
    m2snet_trainer_destroy(trainer);

    trainer = tiny_trainer(r.context, &r.training);
    r.fit.foreground_share = 1.5;
    REFUSE(run(&r, trainer, &end, &error), M2SNET_STATUS_INVALID_ARGUMENT, "foreground_share is 1.5");
    r.fit.foreground_share = 0.5;
    r.fit.sampler = M2SNET_SAMPLER_CONCAT;
    REFUSE(run(&r, trainer, &end, &error), M2SNET_STATUS_INVALID_ARGUMENT, "epoch_batches is 3");
    r.fit.epoch_batches = 0;
    r.augment.first_size_px = 352;
    REFUSE(run(&r, trainer, &end, &error), M2SNET_STATUS_INVALID_ARGUMENT, "set its first_size_px to 0");
    m2snet_trainer_destroy(trainer);
    rig_end(&r);
}

/* It learns: 5 pictures with a bright disc, and 2 it has never seen. Six seeds gave 0.86 to 0.95, rounding decides
 * which; a mask of every pixel has 0.16. */
static void test_learns(void **state)
{
    rig r;
    m2snet_fit_end end;
    m2snet_error error;

    (void)state;
    rig_make(&r, 2);
    r.fit.epochs = 80;
    r.fit.validate_every = 10;
    r.fit.epoch_row = NULL;
    r.training.learning_rate = 0.05;
    m2snet_trainer *trainer = tiny_trainer(r.context, &r.training);
    OK(run(&r, trainer, &end, &error));
    m2snet_trainer_info info = { .struct_size = sizeof info };
    OK(m2snet_trainer_get_info(trainer, &info, &error));
    print_message("validation Dice %.3f\n", info.best_score);
    assert_true(info.best_score > 0.8);
    m2snet_trainer_destroy(trainer);
    rig_end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run),       cmocka_unit_test(test_resume),      cmocka_unit_test(test_other_settings),
        cmocka_unit_test(test_patience),  cmocka_unit_test(test_bad_picture), cmocka_unit_test(test_diverging),
        cmocka_unit_test(test_full_disk), cmocka_unit_test(test_wrong_data),  cmocka_unit_test(test_classes),
        cmocka_unit_test(test_patches),   cmocka_unit_test(test_learns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
