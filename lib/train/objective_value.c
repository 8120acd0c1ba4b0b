/* SPDX-License-Identifier: Apache-2.0 */
#include "train/objective_value.h"

#include <inttypes.h>
#include <string.h>

#include "core/options.h"
#include "graph/autodiff.h"
#include "graph/pass.h"
#include "net/names.h"
#include "run/program.h"

#define NAME_GRADIENT "gradient"
#define NAME_SEED     "seed"
#define MAX_WEIGHT    1e6
#define MAX_SIDE_PX   8192

/* ---- options ---- */

void m2s_objective_options_default(m2snet_objective_options *options)
{
    *options = (m2snet_objective_options){ .struct_size = sizeof *options,
                                           .bce_weight = 1.0,
                                           .iou_weight = 1.0,
                                           .lossnet_weight = 0.1,
                                           .lossnet_size_px = 224 };
}

m2snet_status m2s_objective_options_preset(m2snet_objective_options *options, const char *name, m2snet_error *error)
{
    m2snet_objective_options preset;

    m2s_objective_options_default(&preset);
    if (strcmp(name, "released") == 0) {
        preset.bce_form = M2SNET_BCE_MEAN;
    } else if (strcmp(name, "softmax") == 0) {
        preset.softmax = 1;
        preset.bce_weight = preset.iou_weight = 0.0;
        preset.dice_weight = preset.cross_entropy_weight = 1.0;
    } else if (strcmp(name, "nnunet") == 0) {
        preset.bce_form = M2SNET_BCE_MEAN;
        preset.iou_weight = 0.0;
        preset.dice_weight = 1.0;
        preset.batch_dice = 1;
    } else if (strcmp(name, "paper") != 0) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                        "objective preset \"%.60s\": expected \"paper\", \"released\", \"softmax\" or \"nnunet\"",
                        name);
    }
    preset.lossnet = options->lossnet;
    *options = preset;
    return M2SNET_STATUS_OK;
}

static m2snet_status check(const m2snet_context *context, const m2snet_objective_options *o, int64_t classes,
                           m2snet_error *error)
{
    const struct {
        const char *name;
        double value;
    } weights[] = { { "bce_weight", o->bce_weight },
                    { "iou_weight", o->iou_weight },
                    { "dice_weight", o->dice_weight },
                    { "cross_entropy_weight", o->cross_entropy_weight },
                    { "lossnet_weight", o->lossnet_weight } };

    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++) {
        if (!(weights[i].value >= 0.0 && weights[i].value <= MAX_WEIGHT)) {
            return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "%s is %g: expected 0 to %g", weights[i].name,
                            weights[i].value, MAX_WEIGHT);
        }
    }
    if (o->bce_form != M2SNET_BCE_WEIGHTED && o->bce_form != M2SNET_BCE_MEAN) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "bce_form is %d: expected WEIGHTED or MEAN",
                        (int)o->bce_form);
    }
    if (o->lossnet_distance != M2SNET_LOSSNET_MSE && o->lossnet_distance != M2SNET_LOSSNET_L2) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "lossnet_distance is %d: expected MSE or L2",
                        (int)o->lossnet_distance);
    }
    if (o->lossnet_size_px < 0 || o->lossnet_size_px > MAX_SIDE_PX) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "lossnet_size_px is %d: expected 0 to %d",
                        o->lossnet_size_px, MAX_SIDE_PX);
    }
    if (o->cross_entropy_weight > 0.0 && !o->softmax) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                        "cross_entropy_weight is %g: cross-entropy is of classes that exclude each other, set softmax",
                        o->cross_entropy_weight);
    }
    if (o->softmax && classes < 2) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                        "softmax is set: expected 2 classes or more, the background among them, got %" PRId64, classes);
    }
    if (o->lossnet != NULL && o->lossnet->context != context) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "the loss network belongs to another context");
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_objective_import(const m2snet_context *context, const m2snet_objective_options *given,
                                   int64_t classes, m2snet_objective_options *known, m2s_objective *objective,
                                   m2snet_error *error)
{
    m2snet_status status;

    m2s_objective_options_default(known);
    M2S_TRY(m2s_options_import("m2snet_objective_options", given, known, sizeof *known, error));
    M2S_TRY(check(context, known, classes, error));
    if (known->lossnet_weight == 0.0) {
        known->lossnet = NULL;
    }
    *objective = (m2s_objective){ .weight = { [M2S_TERM_BCE] = known->bce_weight,
                                              [M2S_TERM_IOU] = known->iou_weight,
                                              [M2S_TERM_DICE] = known->dice_weight,
                                              [M2S_TERM_CROSS_ENTROPY] = known->cross_entropy_weight },
                                  .plain_bce = known->bce_form == M2SNET_BCE_MEAN,
                                  .softmax = known->softmax != 0,
                                  .batch_dice = known->batch_dice != 0,
                                  .lossnet_size_px = known->lossnet_size_px,
                                  .lossnet_l2 = known->lossnet_distance == M2SNET_LOSSNET_L2 };
    if (known->lossnet != NULL) {
        objective->weight[M2S_TERM_LOSSNET] = known->lossnet_weight;
        objective->lossnet = known->lossnet->family;
    }
fail:
    return status;
}

/* ---- scalars ---- */

m2snet_status m2s_scalar_write(m2s_program *program, m2snet_dtype dtype, const char *name, double value,
                               m2snet_error *error)
{
    float single = (float)value;

    return m2s_program_write(program, name, dtype == M2SNET_DTYPE_F64 ? (void *)&value : (void *)&single, error);
}

m2snet_status m2s_scalar_read(m2s_program *program, m2snet_dtype dtype, const char *name, double *value,
                              m2snet_error *error)
{
    float single = 0.0f;
    m2snet_status status =
        m2s_program_read(program, name, dtype == M2SNET_DTYPE_F64 ? (void *)value : (void *)&single, error);

    if (dtype != M2SNET_DTYPE_F64) {
        *value = (double)single;
    }
    return status;
}

m2snet_status m2s_objective_read(m2s_program *program, const m2s_objective *objective, m2snet_dtype dtype,
                                 m2snet_objective_values *values, m2snet_error *error)
{
    double *const term[M2S_TERM_COUNT] = { [M2S_TERM_BCE] = &values->bce,
                                           [M2S_TERM_IOU] = &values->iou,
                                           [M2S_TERM_DICE] = &values->dice,
                                           [M2S_TERM_CROSS_ENTROPY] = &values->cross_entropy,
                                           [M2S_TERM_LOSSNET] = &values->lossnet };
    m2snet_status status;

    M2S_TRY(m2s_scalar_read(program, dtype, M2S_NAME_LOSS, &values->loss, error));
    for (int i = 0; i < M2S_TERM_COUNT; i++) {
        *term[i] = 0.0;
        if (objective->weight[i] != 0.0) {
            M2S_TRY(m2s_scalar_read(program, dtype, m2s_term_names[i], term[i], error));
        }
    }
fail:
    return status;
}

/* ---- evaluation ---- */

static m2snet_status check_shapes(const m2snet_tensor *logits, const m2snet_tensor *other, const char *name,
                                  m2snet_error *error)
{
    const m2snet_tensor_desc *a = &logits->desc, *b = &other->desc;

    if (a->n != b->n || a->h != b->h || a->w != b->w || a->c != b->c) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH,
                        "%s is %" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 " (n, h, w, c), the logits are %" PRId64
                        "x%" PRId64 "x%" PRId64 "x%" PRId64,
                        name, b->n, b->h, b->w, b->c, a->n, a->h, a->w, a->c);
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status build(m2snet_context *context, const m2s_objective *objective, const m2snet_tensor_desc *d,
                           m2snet_dtype dtype, bool with_gradient, m2s_graph **built, m2snet_error *error)
{
    m2s_shape shape = { .n = d->n, .h = d->h, .w = d->w, .c = d->c };
    m2s_graph *graph = NULL, *fused = NULL;
    m2snet_status status;

    M2S_TRY(m2s_graph_create(&context->memory, dtype, &graph, error));
    m2s_value logits = m2s_graph_input(graph, M2S_NAME_LOGITS, shape);
    m2s_value mask = m2s_graph_input(graph, M2S_NAME_MASK, shape);
    m2s_objective_build(graph, objective, logits, mask);
    M2S_TRY(m2s_graph_finish(graph, error));
    if (!context->backend->literal) {
        M2S_TRY(m2s_pass_fuse_training(graph, &fused, error));
        m2s_graph_destroy(graph);
        graph = fused;
    }
    if (with_gradient) {
        m2s_value wanted = m2s_graph_find(graph, M2S_NAME_LOGITS), diff;
        m2s_value seed = m2s_graph_scalar(graph, NAME_SEED);
        M2S_TRY(m2s_autodiff(graph, m2s_graph_find(graph, M2S_NAME_LOSS), seed, &wanted, 1, &diff, error));
        m2s_graph_mark_output(graph, m2s_graph_name(graph, diff, NAME_GRADIENT));
        M2S_TRY(m2s_graph_finish(graph, error));
    }
    *built = graph;
    return M2SNET_STATUS_OK;
fail:
    m2s_graph_destroy(graph);
    return status;
}

static m2snet_status run(m2snet_context *context, m2s_program *program, m2s_control *control, m2snet_error *error)
{
    m2s_plan_info info;
    m2s_buffer *arena = NULL;
    m2snet_status status;

    m2s_program_info(program, &info);
    M2S_TRY(context->backend->buffer_alloc(context->device, info.arena_bytes, &arena, error));
    status = m2s_program_run(program, arena, false, control, error);
    context->backend->buffer_free(context->device, arena);
fail:
    return status;
}

m2snet_status m2s_objective_evaluate(m2snet_context *context, const m2snet_objective_options *options,
                                     const m2snet_tensor *logits, const m2snet_tensor *mask,
                                     m2snet_objective_values *values, m2snet_tensor *gradient, m2s_control *control,
                                     m2snet_error *error)
{
    const m2snet_tensor_desc *d = &logits->desc;
    m2snet_dtype dtype = d->dtype;
    m2snet_objective_options known;
    m2snet_objective_values result = { .struct_size = sizeof result };
    m2s_objective objective;
    m2s_graph *graph = NULL;
    m2s_state *state = NULL;
    m2s_program *program = NULL;
    void *dense = NULL;
    size_t elements;
    m2snet_status status;

    M2S_TRY(m2s_objective_import(context, options, d->c, &known, &objective, error));
    M2S_TRY(check_shapes(logits, mask, "the mask", error));
    if (gradient != NULL) {
        M2S_TRY(check_shapes(logits, gradient, "the gradient", error));
    }
    if (dtype == M2SNET_DTYPE_F64 && !context->backend->literal) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                        "logits in F64 are computed by backend \"ref\" only; this context's is \"%s\"",
                        context->backend->name);
    }
    M2S_TRY(build(context, &objective, d, dtype, gradient != NULL, &graph, error));
    M2S_TRY(m2s_state_create(context, graph, &state, error));
    M2S_TRY(m2s_program_create_step(
        context, graph, M2SNET_PRECISION_F32, known.lossnet != NULL ? known.lossnet->store : NULL, M2S_LOSSNET_PREFIX,
        known.lossnet != NULL ? known.lossnet->packs : NULL, state, control, &program, error));
    elements = (size_t)(d->n * d->h * d->w * d->c); /* a tensor's size does not overflow */
    dense = m2s_alloc_array(&context->memory, elements, m2s_dtype_bytes(dtype));
    if (dense == NULL) {
        status = m2s_fail_memory(error, "logits", elements * m2s_dtype_bytes(dtype));
        goto fail;
    }
    m2s_tensor_gather(logits, dtype, dense);
    M2S_TRY(m2s_program_write(program, M2S_NAME_LOGITS, dense, error));
    m2s_tensor_gather(mask, dtype, dense);
    M2S_TRY(m2s_program_write(program, M2S_NAME_MASK, dense, error));
    if (gradient != NULL) {
        M2S_TRY(m2s_scalar_write(program, dtype, NAME_SEED, 1.0, error));
    }
    M2S_TRY(run(context, program, control, error));
    M2S_TRY(m2s_objective_read(program, &objective, dtype, &result, error));
    M2S_TRY(m2s_options_export("m2snet_objective_values", &result, sizeof result, values, error));
    if (gradient != NULL) {
        M2S_TRY(m2s_program_read(program, NAME_GRADIENT, dense, error));
        m2s_tensor_scatter(gradient, dtype, dense);
    }
fail:
    m2s_program_destroy(program);
    m2s_state_destroy(state);
    m2s_graph_destroy(graph);
    m2s_free(&context->memory, dense);
    return status;
}
