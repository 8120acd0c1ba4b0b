/* SPDX-License-Identifier: Apache-2.0 */
#include "train/epoch_loop.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "core/file.h"
#include "train/patch.h"
#include "train/training_state.h"
#include "train/validation.h"

typedef struct loop {
    m2snet_trainer *trainer;
    m2snet_dataset *validation;
    m2snet_fit_options options;
    m2s_loader_options loading;
    m2s_loader *loader;
    m2s_control control;
    int64_t batches; /* of an epoch */
    int64_t taken;   /* steps of this call */
    uint64_t epoch_start_ns;
    double waited_s; /* in this epoch, for pictures */
    m2snet_fit_end end;
    bool ended;
} loop;

/* ---- files ---- */

/* Also after a cancel, so nothing watches it. */
static m2snet_status save_checkpoint(loop *l, m2snet_error *error)
{
    if (l->options.checkpoint_path == NULL) {
        return M2SNET_STATUS_OK;
    }
    return m2s_training_state_save(l->trainer, l->options.checkpoint_path, NULL, error);
}

static m2snet_status save_model(loop *l, const char *path, m2snet_error *error)
{
    bool averaged = l->options.validate_averaged && l->trainer->recipe.ema_decay > 0.0;
    m2snet_save_options options;
    m2snet_model *model = NULL;
    m2snet_status status;

    if (path == NULL) {
        return M2SNET_STATUS_OK;
    }
    m2s_save_options_default(&options);
    options.metadata_json = l->options.metadata_json;
    M2S_TRY(m2s_trainer_model(l->trainer, averaged, &model, error));
    M2S_TRY(m2s_model_save_file(model, path, &options, error));
fail:
    m2s_model_release(model);
    return status;
}

/* ---- steps ---- */

static m2snet_status take_step(loop *l, m2snet_error *error)
{
    m2snet_trainer *trainer = l->trainer;
    m2s_position *position = &trainer->position;
    m2snet_train_row row = { .struct_size = sizeof row, .batches = l->batches };
    const m2s_batch *batch;
    uint64_t start = m2s_now_ns();
    m2snet_status status;

    M2S_TRY(m2s_loader_next(l->loader, &l->control, &batch, error));
    if (batch == NULL || (int64_t)batch->epoch != position->epoch || batch->index != position->batch) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL,
                        "the loader is not at epoch %" PRId64 ", batch %" PRId64 ", where the training is",
                        position->epoch, position->batch);
    }
    double waited = (double)(m2s_now_ns() - start) * 1e-9;
    l->waited_s += waited;
    row.waiting_milliseconds = 1e3 * waited;
    const m2s_train_batch given = { .n = batch->n,
                                    .h = batch->height,
                                    .w = batch->width,
                                    .images = batch->images,
                                    .masks = batch->masks,
                                    .unfinished = batch->unfinished,
                                    .augment = &l->loading.augment,
                                    .coding = &l->loading.mask };
    double rate = m2s_trainer_rate(trainer, position->epoch, position->batch, l->options.epochs, l->batches);
    status = m2s_trainer_run(trainer, &given, rate, &row, &l->control, error);
    if (status == M2SNET_STATUS_CANCELLED) { /* the same batch comes first after a resume, and in a later call */
        return status;
    }
    if (status == M2SNET_STATUS_OK || status == M2SNET_STATUS_DIVERGED) {
        position->batch++;
        l->taken++;
        if (l->options.row != NULL) {
            l->options.row(l->options.user, &row);
        }
    }
fail:
    return status;
}

static m2snet_status take_steps(loop *l, m2snet_error *error)
{
    m2s_position *position = &l->trainer->position;
    m2snet_status status = M2SNET_STATUS_OK;

    while (position->batch < l->batches && !l->ended) {
        if (m2s_control_report(&l->control, "train", (uint64_t)position->batch, (uint64_t)l->batches)) {
            return m2s_fail_cancelled(error, "train");
        }
        M2S_TRY(take_step(l, error));
        if (l->options.max_steps > 0 && l->taken >= l->options.max_steps) {
            l->end = M2SNET_FIT_STEPS;
            l->ended = true;
            M2S_TRY(save_checkpoint(l, error));
        } else if (l->options.checkpoint_every > 0 && position->step % l->options.checkpoint_every == 0 &&
                   position->batch < l->batches) {
            M2S_TRY(save_checkpoint(l, error));
        }
    }
fail:
    return status;
}

/* ---- ends of epochs ---- */

static void fill_row(const loop *l, m2snet_epoch_row *row)
{
    const m2s_position *position = &l->trainer->position;
    const m2s_epoch_sums *sums = &position->sums;
    double images = sums->finite_images > 0 ? (double)sums->finite_images : 1.0;

    row->epoch = position->epoch;
    row->epochs = l->options.epochs;
    row->step = position->step;
    row->updates = position->updates;
    row->loss = sums->loss / images;
    row->bce = sums->bce / images;
    row->iou = sums->iou / images;
    row->dice = sums->dice / images;
    row->cross_entropy = sums->cross_entropy / images;
    row->lossnet = sums->lossnet / images;
    row->images = sums->images;
    row->bad_steps = sums->bad_steps;
    row->unreadable = (int64_t)m2s_loader_skipped(l->loader);
    row->seconds = (double)(m2s_now_ns() - l->epoch_start_ns) * 1e-9;
    row->waiting_seconds = l->waited_s;
}

static bool validation_is_due(const loop *l)
{
    int64_t done = l->trainer->position.epoch + 1;

    return l->validation != NULL &&
           (done == l->options.epochs || (l->options.validate_every > 0 && done % l->options.validate_every == 0));
}

/* Fills the row's second half and what the place will be after it. */
static m2snet_status validate(loop *l, m2snet_epoch_row *row, m2s_position *next, m2snet_error *error)
{
    const m2snet_fit_options *o = &l->options;
    m2snet_validation_options options;
    m2snet_validation result = { .struct_size = sizeof result };
    m2snet_status status;

    m2s_validation_options_default(&options);
    options.averaged = o->validate_averaged;
    options.input_width = o->validation_width;
    options.input_height = o->validation_height;
    options.mask_threshold = o->mask_threshold;
    options.labels = o->labels;
    options.label_count = o->label_count;
    options.max_pixels = o->max_pixels;
    options.unreadable = o->unreadable;
    options.control = l->control.user;
    options.tiles = l->loading.patches;
    M2S_TRY(m2s_trainer_evaluate(l->trainer, l->validation, &options, &result, error));
    double score = o->best == M2SNET_BEST_IOU ? result.iou : result.dice;
    row->validated = 1;
    row->validation_dice = result.dice;
    row->validation_iou = result.iou;
    row->validation_images = result.images;
    row->validation_seconds = result.seconds;
    row->is_best = next->best_epoch < 0 || score > next->best_score;
    if (row->is_best) {
        next->best_score = score;
        next->best_epoch = row->epoch;
        next->validations = 0;
    } else {
        next->validations++;
    }
fail:
    return status;
}

static m2snet_status call_back(loop *l, const m2snet_epoch_row *row, m2snet_error *error)
{
    if (l->options.epoch_row == NULL) {
        return M2SNET_STATUS_OK;
    }
    m2s_trainer_leave(l->trainer); /* the callback may look at the trainer */
    l->options.epoch_row(l->options.user, row);
    return m2s_trainer_enter(l->trainer, error);
}

static void look_at_patience(loop *l)
{
    if (l->options.patience > 0 && l->trainer->position.validations >= l->options.patience) {
        l->end = M2SNET_FIT_PATIENCE;
        l->ended = true;
    }
}

static m2snet_status end_epoch(loop *l, m2snet_error *error)
{
    m2s_position *position = &l->trainer->position;
    m2s_position next = *position;
    m2snet_epoch_row row = { .struct_size = sizeof row, .best_epoch = -1 };
    m2snet_status status;

    fill_row(l, &row);
    row.rate = m2s_trainer_rate(l->trainer, row.epoch, l->batches - 1, l->options.epochs, l->batches);
    if (validation_is_due(l)) {
        M2S_TRY(validate(l, &row, &next, error));
        if (row.is_best) {
            M2S_TRY(save_model(l, l->options.best_path, error));
        }
    }
    row.best_score = next.best_score;
    row.best_epoch = next.best_epoch;
    M2S_TRY(save_model(l, l->options.last_path, error));
    next.epoch++;
    next.batch = 0;
    next.sums = (m2s_epoch_sums){ 0 };
    *position = next;
    M2S_TRY(call_back(l, &row, error)); /* before the checkpoint: a run that is killed here tells of this epoch again */
    M2S_TRY(save_checkpoint(l, error));
    look_at_patience(l);
    l->epoch_start_ns = m2s_now_ns();
    l->waited_s = 0.0;
fail:
    return status;
}

static m2snet_status run(loop *l, m2snet_error *error)
{
    m2s_position *position = &l->trainer->position;
    m2snet_status status = M2SNET_STATUS_OK;

    l->epoch_start_ns = m2s_now_ns();
    look_at_patience(l);
    while (position->epoch < l->options.epochs && !l->ended) {
        M2S_TRY(take_steps(l, error));
        if (!l->ended) {
            M2S_TRY(end_epoch(l, error));
        }
    }
fail:
    if (status == M2SNET_STATUS_CANCELLED) {
        m2snet_error failure;
        m2snet_status saved = save_checkpoint(l, &failure);
        if (saved != M2SNET_STATUS_OK) {
            return m2s_fail(error, saved, "cancelled, and the checkpoint could not be written: %s", failure.message);
        }
    }
    return status;
}

/* ---- beginning ---- */

static m2snet_status resume(loop *l, const char *data_json, m2snet_error *error)
{
    const char *path = l->options.checkpoint_path;

    if (!l->options.resume) {
        return M2SNET_STATUS_OK;
    }
    if (access(path, F_OK) != 0) {
        return errno == ENOENT ? M2SNET_STATUS_OK : m2s_fail_errno(error, errno, "%s", path);
    }
    return m2s_training_state_load(l->trainer, path, data_json, &l->control, error);
}

/* The loader begins where the training goes on: after an epoch whose validation is due, with the next one. */
static m2snet_status seek(loop *l, m2snet_error *error)
{
    const m2s_position *position = &l->trainer->position;
    int64_t epoch = position->epoch, batch = position->batch;

    l->batches = m2s_loader_batches(l->loader);
    if (batch >= l->batches) {
        epoch++;
        batch = 0;
    }
    if ((epoch == 0 && batch == 0) || epoch >= l->options.epochs) {
        return M2SNET_STATUS_OK;
    }
    return m2s_loader_seek(l->loader, (uint64_t)epoch, batch, error);
}

/* The models made want pictures as the training shows them: the largest patch is their window. */
static void set_input_size(m2snet_trainer *trainer, const m2s_loader_options *loading)
{
    m2s_config *config = &trainer->config;
    int64_t area = 0;

    for (int32_t i = 0; loading->patches && i < loading->size_count; i++) {
        const m2s_size *size = &loading->sizes[i];
        if ((int64_t)size->width * size->height > area) {
            area = (int64_t)size->width * size->height;
            config->input_width = size->width;
            config->input_height = size->height;
        }
    }
}

static m2snet_status begin(loop *l, m2snet_dataset *train, m2snet_error *error)
{
    m2snet_trainer *trainer = l->trainer;
    m2s_memory *memory = &trainer->model->context->memory;
    int32_t *items = NULL, item_count;
    char *data_json = NULL;
    m2snet_status status;

    M2S_TRY(m2s_dataset_part(train, M2SNET_PART_TRAIN, &items, &item_count, error));
    if (l->loading.size_count == 0) {
        int32_t height, width;
        M2S_TRY(m2s_patch_size(train, items, item_count, l->options.max_pixels, &l->control, &height, &width, error));
        m2s_fit_options_set_patch(&l->loading, height, width);
    }
    set_input_size(trainer, &l->loading);
    M2S_TRY(m2s_fit_options_json(memory, &l->options, &l->loading, train, items, item_count, &data_json, error));
    M2S_TRY(resume(l, data_json, error));
    m2s_free(memory, trainer->data_json);
    trainer->data_json = data_json;
    data_json = NULL;
    l->loading.unfinished = trainer->model->context->backend->buffer_augment != NULL;
    M2S_TRY(
        m2s_loader_create(&trainer->model->context->host, train, items, item_count, &l->loading, &l->loader, error));
    M2S_TRY(seek(l, error));
fail:
    m2s_free(memory, data_json);
    m2s_free(&train->context->memory, items);
    return status;
}

/* The models made say what their label maps look like. */
static void set_coding(m2snet_trainer *trainer, const m2snet_fit_options *o)
{
    m2s_coding *coding = &trainer->config.coding;

    if (o->label_count > 0 && o->labels != coding->labels) {
        coding->label_count = o->label_count;
        for (int32_t i = 0; i < o->label_count; i++) {
            coding->labels[i] = o->labels[i];
        }
    }
    if (o->label_count > 0) {
        coding->background = m2s_coding_background(o->labels, o->label_count, o->background_label);
    }
}

m2snet_status m2s_trainer_fit(m2snet_trainer *trainer, m2snet_dataset *train, m2snet_dataset *validation,
                              const m2snet_fit_options *options, m2snet_fit_end *end, m2snet_error *error)
{
    loop l = { .trainer = trainer, .validation = validation, .end = M2SNET_FIT_DONE };
    m2snet_status status;

    M2S_TRY(m2s_fit_options_import(trainer, options, &l.options, &l.loading, error));
    set_coding(trainer, &l.options);
    m2s_control_init(&l.control, &l.options.control);
    M2S_TRY(m2s_dataset_enter(train, error));
    status = begin(&l, train, error);
    m2s_dataset_leave(train);
    if (status == M2SNET_STATUS_OK) {
        status = run(&l, error);
    }
    *end = l.end;
fail:
    m2s_loader_destroy(l.loader);
    return status;
}
