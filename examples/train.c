/* SPDX-License-Identifier: Apache-2.0
 *
 * m2snet-train: pictures with masks in, a model file out. */
#define _GNU_SOURCE 1
#include "train.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const program_name = "m2snet-train";

typedef struct run {
    settings *set;
    progress_bar bar;
    train_log log;
    m2snet_cancel *cancel;
    m2snet_context *context;
    m2snet_model *model;
    m2snet_lossnet *lossnet;
    m2snet_dataset *data;
    m2snet_trainer *trainer;
    char *checkpoint, *best, *last;
    bool stops; /* --check: where the pictures have been looked at and training would begin */
} run;

/* ---- callbacks ------------------------------------------------------------- */

static void on_step(void *user, const m2snet_train_row *row)
{
    run *r = user;

    log_step(&r->log, row);
}

static void on_epoch(void *user, const m2snet_epoch_row *row)
{
    run *r = user;

    log_epoch(&r->log, row);
    page_write(r->set, &r->log, r->context, r->trainer, r->data, row);
}

static void on_log(void *user, m2snet_log_level level, const char *message)
{
    (void)level;
    progress_bar_clear(user); /* another thread may be drawing: at worst a spoilt line on the screen */
    complain("%s", message);
}

/* Draws what has no rows of its own: loading, looking over, validation. */
static int on_phase(void *user, const m2snet_progress *progress)
{
    run *r = user;

    if (strcmp(progress->phase, "lint") == 0 || strcmp(progress->phase, "hash") == 0 ||
        strcmp(progress->phase, "validate") == 0) {
        progress_bar_phase(&r->bar, progress);
    }
    return r->stops && strcmp(progress->phase, "load") != 0;
}

/* ---- what is trained ---------------------------------------------------------- */

static m2snet_status open_train_context(run *r, m2snet_error *error)
{
    m2snet_context_options options;
    m2snet_cuda_options cuda;
    m2snet_status status = check_cuda_search(r->set->cuda_search != 0, r->set->backend, error);

    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    m2snet_cuda_options_init(&cuda);
    m2snet_context_options_init(&options);
    cuda.search = r->set->cuda_search;
    options.cuda = &cuda;
    options.backend = r->set->backend;
    if (r->set->backend == NULL && r->set->trainer.precision == M2SNET_PRECISION_F64) {
        options.backend = "ref";
    }
    options.threads = r->set->threads;
    options.memory_limit_bytes = (uint64_t)r->set->memory_limit_mb << 20;
    options.log = on_log;
    options.log_user = &r->bar;
    options.log_level = M2SNET_LOG_WARNING;
    return m2snet_context_create(&options, &r->context, error);
}

/* The configuration that --network says, in malloc memory; NULL after a complaint. */
static char *network_json(const settings *set)
{
    const char *name = set->network != NULL                  ? set->network
                       : strcmp(set->preset, "compact") == 0 ? "compact"
                                                             : "res2net50";
    char *text;
    size_t bytes;

    if (strcmp(name, "compact") == 0) {
        text = format_text("{\"encoder\":\"res2net_compact\",\"pyramid_channels\":32,\"input_size\":256}");
    } else if (strcmp(name, "res2net50") == 0) {
        text = format_text("{\"encoder\":\"res2net50_v1b_26w_4s\"}");
    } else if (strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name)) {
        text = format_text("{\"encoder\":\"%s\"}", name);
    } else if (name[0] == '{') {
        text = format_text("%s", name);
    } else {
        text = read_whole_file(name, &bytes);
    }
    return text;
}

static m2snet_status open_model(run *r, m2snet_error *error)
{
    m2snet_status status;

    if (r->set->model != NULL) {
        return m2snet_model_load_file(r->context, r->set->model, NULL, &r->model, error);
    }
    char *json = network_json(r->set);
    if (json == NULL) {
        *error = (m2snet_error){ .status = M2SNET_STATUS_IO, .message = "--network names no configuration" };
        return M2SNET_STATUS_IO;
    }
    if (r->set->start == NULL) {
        status = m2snet_model_create(r->context, json, r->set->trainer.seed, &r->model, error);
    } else {
        int32_t taken = 0;
        status =
            m2snet_model_create_from(r->context, json, r->set->trainer.seed, r->set->start, &taken, &r->model, error);
        if (status == M2SNET_STATUS_OK) {
            progress_bar_line(&r->bar, "%d of %d tensors are those of %s, the others are drawn", (int)taken,
                              (int)m2snet_model_tensor_count(r->model), r->set->start);
        }
    }
    free(json);
    return status;
}

static m2snet_status open_trainer(run *r, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;
    m2snet_lossnet_options lossnet;

    if (r->set->lossnet != NULL) {
        m2snet_lossnet_options_init(&lossnet);
        lossnet.family = r->set->lossnet_family;
        status = m2snet_lossnet_load_file(r->context, r->set->lossnet, &lossnet, &r->lossnet, error);
    }
    if (status == M2SNET_STATUS_OK) {
        r->set->objective.lossnet = r->lossnet;
        r->set->trainer.objective = &r->set->objective;
        status = m2snet_trainer_create(r->model, &r->set->trainer, &r->trainer, error);
    }
    return status;
}

/* ---- the run ------------------------------------------------------------------- */

static m2snet_status fit(run *r, m2snet_fit_end *end, m2snet_error *error)
{
    settings *set = r->set;
    m2snet_model_info info = { .struct_size = sizeof info };
    m2snet_fit_options *fit = &set->fit;
    uint8_t labels[MAX_LABELS];
    m2snet_status status = m2snet_model_get_info(r->model, &info, error);

    for (int32_t i = 0; i < set->labels.count; i++) {
        labels[i] = (uint8_t)set->labels.items[i];
    }
    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    bool size_of_pictures = fit->patches && set->sizes.count == 0;
    fit->sizes_px = size_of_pictures ? NULL : set->sizes.count > 0 ? set->sizes.items : &info.input_width;
    fit->size_count = size_of_pictures ? 0 : set->sizes.count > 0 ? set->sizes.count : 1;
    fit->labels = set->labels.count > 0 ? labels : NULL;
    fit->label_count = set->labels.count;
    fit->augment = &set->augment;
    fit->cache_bytes = (uint64_t)set->cache_mb << 20;
    fit->prefetch_bytes = (uint64_t)set->prefetch_mb << 20;
    fit->validation_height = fit->validation_width;
    fit->checkpoint_path = r->checkpoint;
    fit->best_path = r->best;
    fit->last_path = r->last;
    fit->resume = set->resume;
    fit->metadata_json = set->metadata_json;
    fit->row = on_step;
    fit->epoch_row = on_epoch;
    fit->user = r;
    fit->control = (m2snet_control){ on_phase, r, r->cancel };
    bool validates = m2snet_dataset_part_count(r->data, M2SNET_PART_VALIDATION) > 0;
    return m2snet_trainer_fit(r->trainer, r->data, validates ? r->data : NULL, fit, end, error);
}

/* What a run would need, and whether it could begin: a run that is cancelled before its first step. */
static int check_run(run *r)
{
    settings *set = r->set;
    m2snet_trainer_info info = { .struct_size = sizeof info };
    m2snet_plan_info plan = { .struct_size = sizeof plan };
    m2snet_cancel *cancel = r->cancel;
    m2snet_error error = { 0 };
    m2snet_fit_end end;
    m2snet_status status = m2snet_cancel_create(&r->cancel, &error);
    m2snet_model_info model = { .struct_size = sizeof model };
    m2snet_model *made = NULL;
    int32_t width = 0, height = 0;

    if (status == M2SNET_STATUS_OK) {
        if (set->fit.patches && set->sizes.count == 0) {
            r->stops = true; /* how large they are is found on the way */
        } else {
            m2snet_cancel_request(r->cancel);
        }
        status = fit(r, &end, &error);
    }
    m2snet_cancel_destroy(r->cancel);
    r->cancel = cancel;
    if (status != M2SNET_STATUS_CANCELLED) { /* as far as it should come */
        return library_error(NULL, &error);
    }
    status = M2SNET_STATUS_OK;
    for (int32_t i = 0; i < set->fit.size_count; i++) {
        width = height = set->fit.sizes_px[i] > width ? set->fit.sizes_px[i] : width;
    }
    if (width ==
        0) { /* patches as large as the pictures, which the run has looked at: the models made are of their size */
        status = m2snet_trainer_model(r->trainer, 0, &made, &error);
        if (status == M2SNET_STATUS_OK) {
            status = m2snet_model_get_info(made, &model, &error);
        }
        width = model.input_width;
        height = model.input_height;
        m2snet_model_destroy(made);
    }
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_trainer_plan_info(r->trainer, set->fit.batch, height, width, &plan, &error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_trainer_get_info(r->trainer, &info, &error);
    }
    if (status != M2SNET_STATUS_OK) {
        return library_error(NULL, &error);
    }
    progress_bar_line(&r->bar, "a step of %d %s of %d x %d px: %.0f MB beside %.0f MB of state%s; nothing was written",
                      (int)set->fit.batch, set->fit.patches ? "patches" : "pictures", (int)width, (int)height,
                      (double)plan.arena_bytes * 1e-6, (double)info.state_bytes * 1e-6,
                      set->trainer.recompute ? "" : " (--recompute needs less)");
    return EXIT_DONE;
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

/* The folder, and what is in it already. */
static int prepare_output(run *r)
{
    settings *set = r->set;

    if (!make_folder(set->output)) {
        return EXIT_FAILED;
    }
    r->checkpoint = format_text("%s/checkpoint.safetensors", set->output);
    r->best = format_text("%s/best.safetensors", set->output);
    r->last = format_text("%s/last.safetensors", set->output);
    if (is_there(r->checkpoint) && !set->resume && !set->overwrite) {
        return usage_error("%s is there already: --resume goes on with that run, --overwrite begins anew",
                           r->checkpoint);
    }
    if (set->overwrite && is_there(r->checkpoint) && unlink(r->checkpoint) != 0) {
        complain("%s: cannot remove it", r->checkpoint);
        return EXIT_FAILED;
    }
    return EXIT_DONE;
}

static bool write_recipe(const settings *set)
{
    char *text = settings_json(set), *path = format_text("%s/recipe.json", set->output);
    /* A run that goes on is the one that the file tells of. */
    bool good = (set->resume && is_there(path)) || write_whole_file(path, NULL, 0, text, strlen(text));

    free(path);
    free(text);
    return good;
}

static void print_begin(const run *r)
{
    m2snet_trainer_info info = { .struct_size = sizeof info };
    m2snet_context_info context = { .struct_size = sizeof context };

    if (m2snet_trainer_get_info(r->trainer, &info, NULL) == M2SNET_STATUS_OK &&
        m2snet_context_get_info(r->context, &context, NULL) == M2SNET_STATUS_OK) {
        progress_bar_line(&r->bar, "%" PRIu64 " parameters; %d pictures train, %d validate; backend %s, %d thread%s",
                          info.parameters, (int)m2snet_dataset_part_count(r->data, M2SNET_PART_TRAIN),
                          (int)m2snet_dataset_part_count(r->data, M2SNET_PART_VALIDATION), context.backend,
                          (int)context.threads, context.threads == 1 ? "" : "s");
    }
}

static int print_end(const run *r, m2snet_status status, m2snet_fit_end end, const m2snet_error *error)
{
    m2snet_trainer_info info = { .struct_size = sizeof info };

    progress_bar_clear(&r->bar);
    m2snet_trainer_get_info(r->trainer, &info, NULL);
    if (status == M2SNET_STATUS_CANCELLED) {
        complain("interrupted at step %" PRId64 "; %s is saved: --resume goes on", info.step, r->checkpoint);
        return EXIT_INTERRUPTED;
    }
    if (status != M2SNET_STATUS_OK) {
        int code = library_error(NULL, error);
        if (is_there(r->best)) {
            complain("the best model so far is kept: %s", r->best);
        }
        return code;
    }
    if (end == M2SNET_FIT_PATIENCE) {
        progress_bar_line(&r->bar, "no better validation for %d: ended early", (int)r->set->fit.patience);
    } else if (end == M2SNET_FIT_STEPS) {
        progress_bar_line(&r->bar, "ended after %" PRId64 " steps as asked; --resume goes on", info.step);
    }
    if (info.best_epoch >= 0) {
        progress_bar_line(&r->bar, "best: %.4f in epoch %" PRId64 ", %s", info.best_score, info.best_epoch + 1,
                          r->best);
    }
    return EXIT_DONE;
}

static int train(run *r)
{
    const m2snet_control control = { on_phase, r, r->cancel };
    m2snet_fit_end end = M2SNET_FIT_DONE;
    m2snet_error error = { 0 };
    m2snet_status status = open_train_context(r, &error);

    if (status == M2SNET_STATUS_OK) {
        status = open_model(r, &error);
    }
    if (status == M2SNET_STATUS_OK) {
        r->data = open_data(r->set, r->context, r->model, &control, &r->bar);
        if (r->data == NULL) {
            return EXIT_FAILED;
        }
        status = open_trainer(r, &error);
    }
    if (status != M2SNET_STATUS_OK) {
        return library_error(NULL, &error);
    }
    if (!r->set->check && !write_recipe(r->set)) {
        return EXIT_FAILED;
    }
    print_begin(r);
    if (r->set->check) {
        return check_run(r);
    }
    log_begin(&r->log, r->set, &r->bar);
    status = fit(r, &end, &error);
    int code = print_end(r, status, end, &error);
    if (r->log.failed && code == EXIT_DONE) {
        code = EXIT_FAILED;
    }
    log_end(&r->log);
    return code;
}

int main(int argc, char **argv)
{
    settings set;
    run r = { .set = &set };
    int code = settings_read(&set, argc, argv);

    if (code == EXIT_DONE) {
        progress_bar_start(&r.bar, set.quiet != 0, 0);
        code = set.check ? EXIT_DONE : prepare_output(&r);
        if (code == EXIT_DONE) {
            r.cancel = interrupt_install();
            code = train(&r);
        }
    } else if (code < 0) {
        code = EXIT_DONE;
    }
    m2snet_trainer_destroy(r.trainer);
    m2snet_lossnet_destroy(r.lossnet);
    m2snet_model_destroy(r.model);
    m2snet_dataset_destroy(r.data);
    m2snet_context_destroy(r.context);
    interrupt_remove(r.cancel);
    free(r.checkpoint);
    free(r.best);
    free(r.last);
    settings_free(&set);
    return finish(code);
}
