/* SPDX-License-Identifier: Apache-2.0
 * Trainers. */
#include "api/api.h"
#include "core/options.h"
#include "train/epoch_loop.h"
#include "train/trainer.h"
#include "train/training_state.h"
#include "train/validation.h"

/* What every call on a trainer ends with. */
static m2snet_status leave(m2snet_trainer *trainer, m2snet_status status, m2snet_error *error)
{
    status = m2s_memory_explain(&trainer->model->context->memory, status, error);
    m2s_trainer_leave(trainer);
    return status;
}

/* The same as m2s_trainer_enter for what may not happen in the middle of an epoch loop. */
static m2snet_status enter_to_change(m2snet_trainer *trainer, m2snet_error *error)
{
    m2snet_status status = m2s_trainer_enter(trainer, error);

    if (status == M2SNET_STATUS_OK && atomic_load(&trainer->fitting)) {
        m2s_trainer_leave(trainer);
        status = m2s_fail(error, M2SNET_STATUS_BUSY,
                          "the trainer is inside m2snet_trainer_fit: a callback may look at "
                          "it, but not change it");
    }
    return status;
}

void m2snet_trainer_options_init(m2snet_trainer_options *options)
{
    if (options != NULL) {
        m2s_trainer_options_default(options);
    }
}

m2snet_status m2snet_trainer_options_preset(m2snet_trainer_options *options, const char *name, m2snet_error *error)
{
    M2S_REQUIRE(options);
    M2S_REQUIRE(name);
    return m2s_trainer_options_preset(options, name, error);
}

m2snet_status m2snet_trainer_create(m2snet_model *model, const m2snet_trainer_options *options,
                                    m2snet_trainer **trainer, m2snet_error *error)
{
    M2S_REQUIRE(trainer);
    *trainer = NULL;
    M2S_REQUIRE(model);
    return m2s_memory_explain(&model->context->memory, m2s_trainer_create(model, options, trainer, error), error);
}

void m2snet_trainer_destroy(m2snet_trainer *trainer)
{
    m2s_trainer_destroy(trainer);
}

m2snet_status m2snet_trainer_step(m2snet_trainer *trainer, const m2snet_tensor *images, const m2snet_tensor *masks,
                                  double rate, m2snet_train_row *row, const m2snet_control *user, m2snet_error *error)
{
    m2snet_train_row known = { .struct_size = sizeof known };
    m2s_control control;
    m2snet_status status, exported = M2SNET_STATUS_OK;

    M2S_REQUIRE(trainer);
    M2S_REQUIRE(images);
    M2S_REQUIRE(masks);
    if (row != NULL) { /* before anything is changed: an impossible struct_size */
        M2S_TRY(m2s_options_export("m2snet_train_row", &known, sizeof known, row, error));
    }
    M2S_TRY(enter_to_change(trainer, error));
    m2s_control_init(&control, user);
    status = m2s_trainer_step(trainer, images, masks, rate, &known, &control, error);
    if (row != NULL && (status == M2SNET_STATUS_OK || status == M2SNET_STATUS_DIVERGED)) {
        exported = m2s_options_export("m2snet_train_row", &known, sizeof known, row, NULL);
    }
    status = leave(trainer, status != M2SNET_STATUS_OK ? status : exported, error);
fail:
    return status;
}

void m2snet_fit_options_init(m2snet_fit_options *options)
{
    if (options != NULL) {
        m2s_fit_options_default(options);
    }
}

m2snet_status m2snet_trainer_fit(m2snet_trainer *trainer, m2snet_dataset *train, m2snet_dataset *validation,
                                 const m2snet_fit_options *options, m2snet_fit_end *end, m2snet_error *error)
{
    m2snet_fit_end ended = M2SNET_FIT_DONE;
    m2snet_status status;

    M2S_REQUIRE(trainer);
    M2S_REQUIRE(train);
    M2S_TRY(enter_to_change(trainer, error));
    atomic_store(&trainer->fitting, true);
    status = m2s_trainer_fit(trainer, train, validation, options, &ended, error);
    atomic_store(&trainer->fitting, false);
    status = leave(trainer, status, error);
    if (end != NULL && status == M2SNET_STATUS_OK) {
        *end = ended;
    }
fail:
    return status;
}

void m2snet_validation_options_init(m2snet_validation_options *options)
{
    if (options != NULL) {
        m2s_validation_options_default(options);
    }
}

m2snet_status m2snet_trainer_evaluate(m2snet_trainer *trainer, m2snet_dataset *dataset,
                                      const m2snet_validation_options *options, m2snet_validation *result,
                                      m2snet_error *error)
{
    m2snet_validation known = { .struct_size = sizeof known };
    m2snet_status status;

    M2S_REQUIRE(trainer);
    M2S_REQUIRE(dataset);
    M2S_REQUIRE(result);
    M2S_TRY(m2s_trainer_enter(trainer, error));
    status = m2s_trainer_evaluate(trainer, dataset, options, &known, error);
    if (status == M2SNET_STATUS_OK) {
        status = m2s_options_export("m2snet_validation", &known, sizeof known, result, error);
    }
    status = leave(trainer, status, error);
fail:
    return status;
}

m2snet_status m2snet_trainer_model(m2snet_trainer *trainer, int32_t averaged, m2snet_model **model, m2snet_error *error)
{
    m2snet_status status;

    M2S_REQUIRE(model);
    *model = NULL;
    M2S_REQUIRE(trainer);
    M2S_TRY(m2s_trainer_enter(trainer, error));
    status = leave(trainer, m2s_trainer_model(trainer, averaged != 0, model, error), error);
fail:
    return status;
}

m2snet_status m2snet_trainer_save_state(m2snet_trainer *trainer, const char *path, const m2snet_control *user,
                                        m2snet_error *error)
{
    m2s_control control;
    m2snet_status status;

    M2S_REQUIRE(trainer);
    M2S_REQUIRE(path);
    M2S_TRY(m2s_trainer_enter(trainer, error));
    m2s_control_init(&control, user);
    status = leave(trainer, m2s_training_state_save(trainer, path, &control, error), error);
fail:
    return status;
}

m2snet_status m2snet_trainer_load_state(m2snet_trainer *trainer, const char *path, const m2snet_control *user,
                                        m2snet_error *error)
{
    m2s_control control;
    m2snet_status status;

    M2S_REQUIRE(trainer);
    M2S_REQUIRE(path);
    M2S_TRY(enter_to_change(trainer, error));
    m2s_control_init(&control, user);
    status = leave(trainer, m2s_training_state_load(trainer, path, NULL, &control, error), error);
fail:
    return status;
}

m2snet_status m2snet_trainer_get_info(const m2snet_trainer *trainer, m2snet_trainer_info *info, m2snet_error *error)
{
    M2S_REQUIRE(trainer);
    m2snet_trainer_info known = {
        .struct_size = sizeof known,
        .epoch = trainer->position.epoch,
        .batch = trainer->position.batch,
        .step = trainer->position.step,
        .updates = trainer->position.updates,
        .parameters = trainer->parameters,
        .state_bytes = trainer->state_bytes,
        .arena_bytes = trainer->arena_bytes,
        .plans = trainer->plan_count,
        .best_score = trainer->position.best_score,
        .best_epoch = trainer->position.best_epoch,
        .recipe_json = trainer->recipe_json,
    };
    return m2s_options_export("m2snet_trainer_info", &known, sizeof known, info, error);
}

m2snet_status m2snet_trainer_plan_info(m2snet_trainer *trainer, int64_t n, int64_t h, int64_t w, m2snet_plan_info *info,
                                       m2snet_error *error)
{
    m2snet_plan_info known = { .struct_size = sizeof known };
    m2s_program *program;
    m2s_plan_info plan;
    m2snet_status status;

    M2S_REQUIRE(trainer);
    M2S_TRY(enter_to_change(trainer, error)); /* a plan that is made may push out another one */
    for (int32_t i = 0; i < trainer->plan_count; i++) {
        const m2s_trainer_plan *there = &trainer->plans[i];
        known.compiled |= there->n == n && there->h == h && there->w == w;
    }
    status = m2s_trainer_plan_for(trainer, n, h, w, NULL, &program, error);
    if (status == M2SNET_STATUS_OK) {
        m2s_program_info(program, &plan);
        known.arena_bytes = plan.arena_bytes;
        known.packed_weight_bytes = plan.packed_bytes;
        known.steps = plan.steps;
        known.multiply_adds = m2s_graph_multiply_adds(m2s_program_graph(program));
        status = m2s_options_export("m2snet_plan_info", &known, sizeof known, info, error);
    }
    status = leave(trainer, status, error);
fail:
    return status;
}

m2snet_status m2snet_trainer_time_steps(m2snet_trainer *trainer, int32_t enable, m2snet_error *error)
{
    m2snet_status status;

    M2S_REQUIRE(trainer);
    M2S_TRY(m2s_trainer_enter(trainer, error));
    trainer->time_steps = enable != 0;
    m2s_trainer_leave(trainer);
fail:
    return status;
}

int32_t m2snet_trainer_step_count(const m2snet_trainer *trainer)
{
    m2s_plan_info plan = { 0 };

    if (trainer != NULL && trainer->last != NULL) {
        m2s_program_info(trainer->last, &plan);
    }
    return plan.steps;
}

m2snet_status m2snet_trainer_step_info(const m2snet_trainer *trainer, int32_t index, m2snet_step_info *info,
                                       m2snet_error *error)
{
    m2s_step_info step;

    M2S_REQUIRE(trainer);
    if (trainer->last == NULL || !m2s_program_step(trainer->last, index, &step)) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "step %d: the plan that ran last has %d", index,
                        m2snet_trainer_step_count(trainer));
    }
    m2snet_step_info known = { .struct_size = sizeof known,
                               .name = step.name,
                               .kernel = step.kernel,
                               .multiply_adds = step.multiply_adds,
                               .milliseconds = (double)step.nanoseconds * 1e-6 };
    return m2s_options_export("m2snet_step_info", &known, sizeof known, info, error);
}
