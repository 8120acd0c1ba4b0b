/* SPDX-License-Identifier: Apache-2.0 */
#include "train/trainer_options.h"

#include <string.h>

#include "core/options.h"
#include "net/encoder.h"

void m2s_trainer_options_default(m2snet_trainer_options *options)
{
    *options = (m2snet_trainer_options){ .struct_size = sizeof *options,
                                         .optimiser = M2SNET_OPTIMISER_SGD,
                                         .learning_rate = 0.05,
                                         .encoder_rate = 0.1,
                                         .momentum = 0.9,
                                         .beta2 = 0.999,
                                         .epsilon = 1e-8,
                                         .weight_decay = 5e-4,
                                         .nesterov = 1,
                                         .schedule = M2SNET_SCHEDULE_TRIANGLE,
                                         .warmup = 0.05,
                                         .power = 0.9,
                                         .epochs = 50,
                                         .accumulate = 1,
                                         .max_bad_steps = 10,
                                         .max_plans = 8 };
}

m2snet_status m2s_trainer_options_preset(m2snet_trainer_options *options, const char *name, m2snet_error *error)
{
    m2snet_trainer_options preset;

    m2s_trainer_options_default(&preset);
    if (strcmp(name, "released") == 0) {
        preset.encoder_rate = 1.0;
    } else if (strcmp(name, "compact") == 0) {
        preset.encoder_rate = 1.0;
        preset.schedule = M2SNET_SCHEDULE_WARMUP_LINEAR;
        preset.clip_norm = 5.0;
    } else if (strcmp(name, "finetune") == 0) {
        preset.learning_rate = 0.005;
        preset.encoder_rate = 0.2;
        preset.schedule = M2SNET_SCHEDULE_COSINE;
        preset.warmup = 0.1;
        preset.clip_norm = 5.0;
        preset.freeze_batch_norm = 1;
    } else if (strcmp(name, "nnunet") == 0) { /* MODELS.md 3.11 */
        preset.learning_rate = 0.01;
        preset.encoder_rate = 1.0;
        preset.momentum = 0.99;
        preset.weight_decay = 3e-5;
        preset.schedule = M2SNET_SCHEDULE_POLY;
        preset.warmup = 0.0;
        preset.rate_per_epoch = 1;
        preset.clip_norm = 12.0;
        preset.supervision = M2SNET_SUPERVISION_HALVING;
        preset.epochs = 1000;
    } else if (strcmp(name, "paper") != 0) {
        return m2s_fail(
            error, M2SNET_STATUS_INVALID_ARGUMENT,
            "trainer preset \"%.60s\": expected \"paper\", \"released\", \"compact\", \"finetune\" or \"nnunet\"",
            name);
    }
    preset.objective = options->objective;
    preset.seed = options->seed;
    preset.precision = options->precision;
    preset.max_plans = options->max_plans;
    preset.memory_limit_bytes = options->memory_limit_bytes;
    *options = preset;
    return M2SNET_STATUS_OK;
}

/* ---- checks ---- */

typedef struct range {
    const char *name;
    double value, low, high;
} range;

static m2snet_status check_numbers(const m2snet_trainer_options *o, m2snet_error *error)
{
    const range ranges[] = {
        { "learning_rate", o->learning_rate, 0.0, M2S_MAX_RATE },
        { "encoder_rate", o->encoder_rate, 0.0, 1e3 },
        { "momentum", o->momentum, 0.0, 0.999999 },
        { "beta2", o->beta2, 0.0, 0.999999999 },
        { "epsilon", o->epsilon, 1e-300, 1.0 },
        { "weight_decay", o->weight_decay, 0.0, 10.0 },
        { "clip_norm", o->clip_norm, 0.0, 1e12 },
        { "accumulate", o->accumulate, 1, 65536 },
        { "ema_decay", o->ema_decay, 0.0, 0.9999999 },
        { "drop_path", o->drop_path, 0.0, 0.9 },
        { "max_bad_steps", o->max_bad_steps, 1, 1000000 },
        { "max_plans", o->max_plans, 1, M2S_TRAINER_MAX_PLANS },
    };

    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        if (!(ranges[i].value >= ranges[i].low && ranges[i].value <= ranges[i].high)) {
            return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "%s is %g: expected %g to %g", ranges[i].name,
                            ranges[i].value, ranges[i].low, ranges[i].high);
        }
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status check(const m2snet_model *model, const m2snet_trainer_options *o, m2snet_error *error)
{
    const m2s_schedule schedule = { .kind = o->schedule,
                                    .warmup = o->warmup,
                                    .power = o->power,
                                    .epochs = o->epochs,
                                    .steps_per_epoch = o->steps_per_epoch == 0 ? 1 : o->steps_per_epoch };
    m2snet_status status;

    if (o->optimiser != M2SNET_OPTIMISER_SGD && o->optimiser != M2SNET_OPTIMISER_ADAMW) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "optimiser is %d: expected SGD or ADAMW",
                        (int)o->optimiser);
    }
    if ((unsigned)o->precision > M2SNET_PRECISION_TF32) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "precision %d is not F32, F64, F16, BF16 or TF32",
                        (int)o->precision);
    }
    if (o->precision >= M2SNET_PRECISION_F16 && !model->context->backend->reduced) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                        "precision %s is computed by backend \"cuda\" only; this context's is \"%s\"",
                        o->precision == M2SNET_PRECISION_F16    ? "F16"
                        : o->precision == M2SNET_PRECISION_BF16 ? "BF16"
                                                                : "TF32",
                        model->context->backend->name);
    }
    if (o->precision == M2SNET_PRECISION_F64 && !model->context->backend->literal) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                        "precision F64 is computed by backend \"ref\" only; this context's is \"%s\"",
                        model->context->backend->name);
    }
    if (o->supervision < M2SNET_SUPERVISION_FINAL || o->supervision > M2SNET_SUPERVISION_HALVING) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "supervision is %d: expected FINAL, EQUAL or HALVING",
                        (int)o->supervision);
    }
    M2S_TRY(check_numbers(o, error));
    if (o->drop_path > 0.0 && !m2s_encoder_of(&model->config)->drops_branches) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                        "drop_path is %g, and encoder %.60s has no branches to leave out: ConvNeXt and PVTv2 have",
                        o->drop_path, model->config.encoder);
    }
    M2S_TRY(m2s_schedule_check(&schedule, error));
fail:
    return status;
}

m2snet_status m2s_trainer_options_import(const m2snet_model *model, const m2snet_trainer_options *given,
                                         m2snet_trainer *trainer, m2snet_error *error)
{
    m2snet_trainer_options *o = &trainer->options;
    m2s_recipe *recipe = &trainer->recipe;
    m2snet_objective_options objective;
    m2snet_status status;

    m2s_trainer_options_default(o);
    M2S_TRY(m2s_options_import("m2snet_trainer_options", given, o, sizeof *o, error));
    M2S_TRY(check(model, o, error));
    m2s_recipe_default(recipe);
    M2S_TRY(m2s_objective_import(model->context, o->objective, model->config.classes, &objective, &recipe->objective,
                                 error));
    trainer->objective = objective;
    trainer->objective.lossnet = m2s_lossnet_retain(objective.lossnet);
    trainer->config = model->config;
    trainer->config.coding.softmax = objective.softmax != 0;
    if (m2s_coding_check(&trainer->config.coding, model->config.classes, NULL) != M2SNET_STATUS_OK) {
        trainer->config.coding.label_count = 0; /* they were those of the other activation */
    }
    o->objective = NULL;                                   /* the caller's */
    recipe->supervision = (m2s_supervision)o->supervision; /* the same numbers */
    recipe->optimiser = o->optimiser == M2SNET_OPTIMISER_ADAMW ? M2S_OPTIMISER_ADAMW : M2S_OPTIMISER_SGD;
    recipe->momentum = o->momentum;
    recipe->beta2 = o->beta2;
    recipe->epsilon = o->epsilon;
    recipe->weight_decay = o->weight_decay;
    recipe->nesterov = o->nesterov != 0;
    recipe->encoder_rate = o->encoder_rate;
    recipe->freeze_encoder = o->freeze_encoder != 0;
    recipe->freeze_batch_norm = o->freeze_batch_norm != 0;
    recipe->clip_norm = o->clip_norm;
    recipe->accumulate = o->accumulate;
    recipe->ema_decay = o->ema_decay;
    recipe->drop_path = o->drop_path;
    recipe->recompute = o->recompute != 0;
    recipe->scaled = o->precision == M2SNET_PRECISION_F16;
fail:
    return status;
}

/* ---- JSON ---- */

static m2snet_status put_objective(const m2snet_trainer *trainer, m2s_json *json, m2snet_error *error)
{
    const m2snet_objective_options *o = &trainer->objective;
    m2snet_status status;

    M2S_TRY(m2s_json_put_number(json, "bce_weight", o->bce_weight, error));
    M2S_TRY(m2s_json_put_string(json, "bce_form", o->bce_form == M2SNET_BCE_MEAN ? "mean" : "weighted", error));
    M2S_TRY(m2s_json_put_number(json, "iou_weight", o->iou_weight, error));
    M2S_TRY(m2s_json_put_number(json, "dice_weight", o->dice_weight, error));
    M2S_TRY(m2s_json_put_number(json, "cross_entropy_weight", o->cross_entropy_weight, error));
    M2S_TRY(m2s_json_put_bool(json, "softmax", o->softmax != 0, error));
    M2S_TRY(m2s_json_put_bool(json, "batch_dice", o->batch_dice != 0, error));
    if (o->lossnet == NULL) {
        M2S_TRY(m2s_json_put_null(json, "lossnet", error));
        return status;
    }
    const char *sha256 = m2s_store_sha256(o->lossnet->store);
    M2S_TRY(m2s_json_put_string(json, "lossnet", o->lossnet->family->name, error));
    M2S_TRY(m2s_json_put_string(json, "lossnet_sha256", sha256[0] != '\0' ? sha256 : "drawn", error));
    M2S_TRY(m2s_json_put_number(json, "lossnet_weight", o->lossnet_weight, error));
    M2S_TRY(
        m2s_json_put_string(json, "lossnet_distance", o->lossnet_distance == M2SNET_LOSSNET_L2 ? "l2" : "mse", error));
    M2S_TRY(m2s_json_put_integer(json, "lossnet_size_px", o->lossnet_size_px, error));
fail:
    return status;
}

static m2snet_status put_schedule(const m2snet_trainer_options *o, m2s_json *json, m2snet_error *error)
{
    static const char *const names[] = { "triangle", "warmup_linear", "poly", "cosine", "constant" };
    m2snet_status status;

    M2S_TRY(m2s_json_put_string(json, "schedule", names[o->schedule], error));
    if (o->schedule != M2SNET_SCHEDULE_TRIANGLE) {
        M2S_TRY(m2s_json_put_number(json, "warmup", o->warmup, error));
    }
    if (o->rate_per_epoch) {
        M2S_TRY(m2s_json_put_bool(json, "rate_per_epoch", true, error));
    }
    if (o->schedule == M2SNET_SCHEDULE_POLY) {
        M2S_TRY(m2s_json_put_number(json, "power", o->power, error));
    }
fail:
    return status;
}

static m2snet_status put_options(const m2snet_trainer *trainer, m2s_json *json, m2snet_error *error)
{
    const m2snet_trainer_options *o = &trainer->options;
    static const char *const supervisions[] = { "final", "equal", "halving" };
    static const char *const precisions[] = { "f32", "f64", "f16", "bf16", "tf32" };
    bool adamw = o->optimiser == M2SNET_OPTIMISER_ADAMW;
    m2snet_status status;

    M2S_TRY(put_objective(trainer, json, error));
    M2S_TRY(m2s_json_put_string(json, "supervision", supervisions[o->supervision], error));
    M2S_TRY(m2s_json_put_string(json, "optimiser", adamw ? "adamw" : "sgd", error));
    M2S_TRY(m2s_json_put_number(json, "learning_rate", o->learning_rate, error));
    M2S_TRY(m2s_json_put_number(json, "encoder_rate", o->encoder_rate, error));
    M2S_TRY(m2s_json_put_number(json, "momentum", o->momentum, error));
    if (adamw) {
        M2S_TRY(m2s_json_put_number(json, "beta2", o->beta2, error));
        M2S_TRY(m2s_json_put_number(json, "epsilon", o->epsilon, error));
    } else {
        M2S_TRY(m2s_json_put_bool(json, "nesterov", o->nesterov != 0, error));
    }
    M2S_TRY(m2s_json_put_number(json, "weight_decay", o->weight_decay, error));
    M2S_TRY(put_schedule(o, json, error));
    M2S_TRY(m2s_json_put_number(json, "clip_norm", o->clip_norm, error));
    M2S_TRY(m2s_json_put_integer(json, "accumulate", o->accumulate, error));
    M2S_TRY(m2s_json_put_bool(json, "freeze_encoder", o->freeze_encoder != 0, error));
    M2S_TRY(m2s_json_put_bool(json, "freeze_batch_norm", o->freeze_batch_norm != 0, error));
    M2S_TRY(m2s_json_put_number(json, "ema_decay", o->ema_decay, error));
    if (o->drop_path > 0.0) { /* states of before it was there go on */
        M2S_TRY(m2s_json_put_number(json, "drop_path", o->drop_path, error));
    }
    M2S_TRY(m2s_json_put_integer(json, "seed", (int64_t)o->seed, error));
    M2S_TRY(m2s_json_put_string(json, "precision", precisions[o->precision], error));
fail:
    return status;
}

m2snet_status m2s_trainer_options_json(const m2snet_trainer *trainer, char **text, m2snet_error *error)
{
    m2s_json *json = NULL;
    m2snet_status status;

    *text = NULL;
    M2S_TRY(m2s_json_object(&json, error));
    M2S_TRY(put_options(trainer, json, error));
    M2S_TRY(m2s_json_write(&trainer->model->context->memory, json, M2S_JSON_COMPACT, text, NULL, error));
fail:
    m2s_json_free(json);
    return status;
}

/* ---- comparing ---- */

static m2snet_status text_of(m2s_memory *memory, const m2s_json *value, char **text, m2snet_error *error)
{
    m2s_json *list = NULL;
    size_t bytes;
    m2snet_status status;

    *text = NULL;
    if (value == NULL) {
        *text = m2s_strdup(memory, "nothing");
        return *text != NULL ? M2SNET_STATUS_OK : m2s_fail_memory(error, "a comparison", 8);
    }
    M2S_TRY(m2s_json_array(&list, error));
    M2S_TRY(m2s_json_put_copy(list, NULL, value, error));
    M2S_TRY(m2s_json_write(memory, list, M2S_JSON_COMPACT, text, &bytes, error));
    memmove(*text, *text + 1, bytes - 2); /* without the brackets */
    (*text)[bytes - 2] = '\0';
fail:
    m2s_json_free(list);
    return status;
}

static m2snet_status compare_member(m2s_memory *memory, const char *what, const char *key, const m2s_json *stored,
                                    const m2s_json *wanted, m2snet_error *error)
{
    char *a = NULL, *b = NULL;
    m2snet_status status;

    M2S_TRY(text_of(memory, stored, &a, error));
    M2S_TRY(text_of(memory, wanted, &b, error));
    if (strcmp(a, b) != 0) {
        status = m2s_fail(error, M2SNET_STATUS_MISMATCH,
                          "%s: \"%.60s\" was %.200s, is now %.200s: a run goes on with the settings it began with",
                          what, key, a, b);
    }
fail:
    m2s_free(memory, a);
    m2s_free(memory, b);
    return status;
}

m2snet_status m2s_recipe_compare(m2s_memory *memory, const char *what, const char *stored_text, const char *wanted_text,
                                 m2snet_error *error)
{
    static const m2s_json_source source = { "checkpoint", M2SNET_STATUS_FORMAT };
    m2s_json *stored = NULL, *wanted = NULL;
    m2s_json_cursor cursor = { 0 };
    m2snet_status status = M2SNET_STATUS_OK;

    if (strcmp(stored_text, wanted_text) == 0) {
        return M2SNET_STATUS_OK;
    }
    M2S_TRY(m2s_json_parse(&source, stored_text, strlen(stored_text), &stored, error));
    M2S_TRY(m2s_json_parse(&source, wanted_text, strlen(wanted_text), &wanted, error));
    while (m2s_json_next(wanted, &cursor)) {
        M2S_TRY(compare_member(memory, what, cursor.key, m2s_json_find(stored, cursor.key), cursor.value, error));
    }
    cursor = (m2s_json_cursor){ 0 };
    while (m2s_json_next(stored, &cursor)) {
        M2S_TRY(compare_member(memory, what, cursor.key, cursor.value, m2s_json_find(wanted, cursor.key), error));
    }
fail:
    m2s_json_free(stored);
    m2s_json_free(wanted);
    return status;
}
