/* SPDX-License-Identifier: Apache-2.0 */
#include "train/trainer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/rng.h"
#include "net/names.h"
#include "train/augment_job.h"
#include "train/trainer_model.h"
#include "train/trainer_options.h"

/* A graph of this size is built to learn what the state is; it is the same for every size. */
#define SOME_SIDE_PX 64

/* ---- life ---- */

static m2snet_status build_step(const m2snet_trainer *trainer, int64_t n, int64_t h, int64_t w, m2s_graph **graph,
                                m2snet_error *error)
{
    m2snet_context *context = trainer->model->context;

    return m2s_step_build(&context->memory, &trainer->model->config, &trainer->recipe, n, h, w,
                          m2s_trainer_dtype(trainer), context->backend->literal, graph, error);
}

static m2snet_status make_state(m2snet_trainer *trainer, m2snet_error *error)
{
    m2s_graph *graph = NULL;
    m2snet_status status;

    M2S_TRY(build_step(trainer, 2, SOME_SIDE_PX, SOME_SIDE_PX, &graph, error));
    M2S_TRY(m2s_state_create(trainer->model->context, graph, &trainer->state, error));
    for (int32_t i = 0; i < m2s_state_count(trainer->state); i++) {
        trainer->state_bytes += m2s_state_entry_bytes(m2s_state_at(trainer->state, i));
    }
    M2S_TRY(m2s_trainer_fill_state(trainer, graph, error));
    trainer->parameters = trainer->model->parameters;
fail:
    m2s_graph_destroy(graph);
    return status;
}

m2snet_status m2s_trainer_create(m2snet_model *model, const m2snet_trainer_options *given, m2snet_trainer **created,
                                 m2snet_error *error)
{
    m2snet_trainer *trainer = m2s_calloc(&model->context->memory, 1, sizeof *trainer);
    m2snet_status status;

    *created = NULL;
    if (trainer == NULL) {
        return m2s_fail_memory(error, "a trainer", sizeof *trainer);
    }
    trainer->model = m2s_model_retain(model);
    atomic_init(&trainer->busy, false);
    atomic_init(&trainer->fitting, false);
    trainer->position.best_epoch = -1;
    M2S_TRY(m2s_trainer_options_import(model, given, trainer, error));
    M2S_TRY(m2s_trainer_options_json(trainer, &trainer->recipe_json, error));
    trainer->position.loss_scale = trainer->position.sum_scale = trainer->recipe.scaled ? M2S_FIRST_LOSS_SCALE : 1.0;
    M2S_TRY(make_state(trainer, error));
    *created = trainer;
    return M2SNET_STATUS_OK;
fail:
    m2s_trainer_destroy(trainer);
    return status;
}

static void drop_arena(m2snet_trainer *trainer)
{
    m2snet_context *context = trainer->model->context;

    if (trainer->arena != NULL) {
        context->backend->buffer_free(context->device, trainer->arena);
    }
    trainer->arena = NULL;
    trainer->arena_bytes = 0;
}

static void drop_plan(m2snet_trainer *trainer, int32_t index)
{
    if (trainer->last == trainer->plans[index].program) {
        trainer->last = NULL;
    }
    m2s_program_destroy(trainer->plans[index].program);
    trainer->plans[index] = trainer->plans[--trainer->plan_count];
}

void m2s_trainer_destroy(m2snet_trainer *trainer)
{
    if (trainer == NULL) {
        return;
    }
    m2snet_model *model = trainer->model;
    m2s_memory *memory = &model->context->memory;
    while (trainer->plan_count > 0) {
        drop_plan(trainer, trainer->plan_count - 1);
    }
    drop_arena(trainer);
    m2s_state_destroy(trainer->state);
    m2s_lossnet_release(trainer->objective.lossnet);
    m2s_free(memory, trainer->wide);
    m2s_free(memory, trainer->recipe_json);
    m2s_free(memory, trainer->data_json);
    m2s_free(memory, trainer);
    m2s_model_release(model);
}

m2snet_status m2s_trainer_enter(m2snet_trainer *trainer, m2snet_error *error)
{
    if (atomic_exchange(&trainer->busy, true)) {
        return m2s_fail(error, M2SNET_STATUS_BUSY,
                        "the trainer is in use: one trainer serves one thread at a time, and not its own row callback");
    }
    return M2SNET_STATUS_OK;
}

void m2s_trainer_leave(m2snet_trainer *trainer)
{
    atomic_store(&trainer->busy, false);
}

m2snet_dtype m2s_trainer_dtype(const m2snet_trainer *trainer)
{
    return trainer->options.precision == M2SNET_PRECISION_F64 ? M2SNET_DTYPE_F64 : M2SNET_DTYPE_F32;
}

/* ---- plans ---- */

static m2snet_status compile(m2snet_trainer *trainer, int64_t n, int64_t h, int64_t w, m2s_control *control,
                             m2s_program **program, m2snet_error *error)
{
    m2snet_lossnet *lossnet = trainer->objective.lossnet;
    m2s_graph *graph = NULL;
    m2snet_status status;

    M2S_TRY(build_step(trainer, n, h, w, &graph, error));
    M2S_TRY(m2s_program_create_step(trainer->model->context, graph, trainer->options.precision,
                                    lossnet != NULL ? lossnet->store : NULL, M2S_LOSSNET_PREFIX,
                                    lossnet != NULL ? lossnet->packs : NULL, trainer->state, control, program, error));
fail:
    m2s_graph_destroy(graph);
    return status;
}

m2snet_status m2s_trainer_plan_for(m2snet_trainer *trainer, int64_t n, int64_t h, int64_t w, m2s_control *control,
                                   m2s_program **program, m2snet_error *error)
{
    m2snet_status status;

    *program = NULL;
    trainer->uses++;
    for (int32_t i = 0; i < trainer->plan_count; i++) {
        m2s_trainer_plan *plan = &trainer->plans[i];
        if (plan->n == n && plan->h == h && plan->w == w) {
            plan->last_use = trainer->uses;
            *program = plan->program;
            return M2SNET_STATUS_OK;
        }
    }
    M2S_TRY(compile(trainer, n, h, w, control, program, error));
    if (trainer->plan_count == trainer->options.max_plans) {
        int32_t oldest = 0;
        for (int32_t i = 1; i < trainer->plan_count; i++) {
            oldest = trainer->plans[i].last_use < trainer->plans[oldest].last_use ? i : oldest;
        }
        drop_plan(trainer, oldest);
    }
    trainer->plans[trainer->plan_count++] =
        (m2s_trainer_plan){ .n = n, .h = h, .w = w, .program = *program, .last_use = trainer->uses };
fail:
    return status;
}

/* The arena: for program, and for what uses so many bytes of it between two runs. */
static m2snet_status reserve(m2snet_trainer *trainer, const m2s_program *program, size_t between_bytes,
                             m2snet_error *error)
{
    m2snet_context *context = trainer->model->context;
    uint64_t limit = trainer->options.memory_limit_bytes;
    m2s_plan_info info;
    m2snet_status status = M2SNET_STATUS_OK;

    m2s_program_info(program, &info);
    size_t bytes = info.arena_bytes > between_bytes ? info.arena_bytes : between_bytes;
    if (limit != 0 && bytes > limit) {
        return m2s_fail(error, M2SNET_STATUS_LIMIT,
                        "a step of this size needs %zu bytes of scratch memory, the trainer's memory_limit_bytes is "
                        "%" PRIu64 ": smaller batches or pictures, or recompute, need less",
                        bytes, limit);
    }
    if (bytes > trainer->arena_bytes) {
        drop_arena(trainer); /* before the larger one: the two never exist together */
        M2S_TRY(context->backend->buffer_alloc(context->device, bytes, &trainer->arena, error));
        trainer->arena_bytes = bytes;
    }
fail:
    return status;
}

/* ---- steps ---- */

static m2snet_status reserve_wide(m2snet_trainer *trainer, size_t elements, size_t element_bytes, m2snet_error *error)
{
    m2s_memory *memory = &trainer->model->context->memory;
    size_t bytes;

    if (!m2s_mul(elements, element_bytes, &bytes)) {
        return m2s_fail_memory(error, "a batch", SIZE_MAX);
    }
    if (bytes > trainer->wide_bytes) {
        m2s_free(memory, trainer->wide);
        trainer->wide_bytes = 0;
        trainer->wide = m2s_alloc(memory, bytes);
        if (trainer->wide == NULL) {
            return m2s_fail_memory(error, "a batch", bytes);
        }
        trainer->wide_bytes = bytes;
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status write_input(m2snet_trainer *trainer, m2s_program *program, const char *name, const float *numbers,
                                 const m2snet_tensor *tensor, int64_t count, m2snet_error *error)
{
    m2snet_dtype dtype = m2s_trainer_dtype(trainer);
    const void *data = numbers;
    m2snet_status status;

    if (tensor != NULL || dtype == M2SNET_DTYPE_F64) {
        M2S_TRY(reserve_wide(trainer, (size_t)count, m2s_dtype_bytes(dtype), error));
        data = trainer->wide;
        if (tensor != NULL) {
            m2s_tensor_gather(tensor, dtype, trainer->wide);
        } else {
            double *wide = trainer->wide;
            for (int64_t i = 0; i < count; i++) {
                wide[i] = (double)numbers[i];
            }
        }
    }
    M2S_TRY(m2s_program_write(program, name, data, error));
fail:
    return status;
}

/* Unfinished pictures go up as they are. */
static m2snet_status finish_batch(m2snet_trainer *trainer, m2s_program *program, const m2s_train_batch *batch,
                                  m2snet_error *error)
{
    m2snet_context *context = trainer->model->context;
    m2s_augment_job *jobs = m2s_calloc(&context->memory, (size_t)batch->n, sizeof *jobs);
    const m2s_augment_request request = { .jobs = jobs,
                                          .count = (int32_t)batch->n,
                                          .height = (int32_t)batch->h,
                                          .width = (int32_t)batch->w,
                                          .classes = trainer->model->config.classes,
                                          .images = batch->images,
                                          .masks = batch->masks };
    m2snet_status status;

    if (jobs == NULL) {
        return m2s_fail_memory(error, "a batch", (size_t)batch->n * sizeof *jobs);
    }
    for (int64_t i = 0; i < batch->n; i++) {
        if (batch->unfinished[i].width > 0) {
            const float *image = batch->images + i * batch->h * batch->w * 3;
            m2s_augment_job_make(&jobs[i], batch->augment, &batch->unfinished[i], batch->coding, request.height,
                                 request.width);
            jobs[i].rgbm = (const uint8_t *)(const void *)image;
        }
    }
    M2S_TRY(reserve(trainer, program, context->backend->augment_bytes(context->device, &request), error));
    M2S_TRY(m2s_program_augment(program, M2S_NAME_IMAGE, M2S_NAME_MASK, &request, trainer->arena, error));
fail:
    m2s_free(&context->memory, jobs);
    return status;
}

static m2snet_status write_batch(m2snet_trainer *trainer, m2s_program *program, const m2s_train_batch *batch,
                                 m2snet_error *error)
{
    int64_t pixels = batch->n * batch->h * batch->w;
    m2snet_status status;

    if (batch->unfinished != NULL) {
        return finish_batch(trainer, program, batch, error);
    }
    M2S_TRY(write_input(trainer, program, M2S_NAME_IMAGE, batch->images, batch->image_tensor, 3 * pixels, error));
    M2S_TRY(write_input(trainer, program, M2S_NAME_MASK, batch->masks, batch->mask_tensor,
                        trainer->model->config.classes * pixels, error));
fail:
    return status;
}

/* Scalars that a graph has no use for are not in it. */
static m2snet_status write_scalar(m2snet_trainer *trainer, m2s_program *program, const char *name, double value,
                                  m2snet_error *error)
{
    if (m2s_graph_find(m2s_program_graph(program), name) == M2S_NONE) {
        return M2SNET_STATUS_OK;
    }
    return m2s_scalar_write(program, m2s_trainer_dtype(trainer), name, value, error);
}

/* What chance in the step about to run is counted from: of seed and step, in 24 bits, which a float holds exactly. */
static double draw_of(const m2snet_trainer *trainer)
{
    uint64_t stream = m2s_rng_stream(trainer->options.seed, M2S_NAME_DRAW);

    return (double)(m2s_rng_bits(stream, (uint64_t)trainer->position.step) >> 40);
}

static m2snet_status write_scalars(m2snet_trainer *trainer, m2s_program *program, double rate, m2snet_error *error)
{
    const m2s_recipe *recipe = &trainer->recipe;
    const m2s_position *p = &trainer->position;
    double next = (double)(p->updates + 1);
    m2snet_status status;

    M2S_TRY(write_scalar(trainer, program, M2S_NAME_RATE, rate, error));
    M2S_TRY(write_scalar(trainer, program, M2S_NAME_LOSS_SCALE, p->loss_scale, error));
    M2S_TRY(write_scalar(trainer, program, M2S_NAME_UNSCALE, 1.0 / p->loss_scale, error));
    M2S_TRY(write_scalar(trainer, program, M2S_NAME_BOUNDARY, p->pending + 1 == recipe->accumulate, error));
    M2S_TRY(write_scalar(trainer, program, M2S_NAME_DRAW, draw_of(trainer), error));
    M2S_TRY(write_scalar(trainer, program, M2S_NAME_KEEP, p->pending > 0 ? p->loss_scale / p->sum_scale : 0.0, error));
    M2S_TRY(write_scalar(trainer, program, M2S_NAME_CORRECTION1, 1.0 - pow(recipe->momentum, next), error));
    M2S_TRY(write_scalar(trainer, program, M2S_NAME_CORRECTION2, 1.0 - pow(recipe->beta2, next), error));
fail:
    return status;
}

/* After a step in F16. Whether the scale takes the blame for one that is not finite: a loss that is not has other
 * causes, and so has a gradient that overflows when it is not scaled. */
static bool adapt_scale(m2s_position *p, const m2snet_train_row *row)
{
    bool overflow = !row->finite && isfinite(row->loss) && p->loss_scale > 1.0;

    p->sum_scale = p->loss_scale;
    p->good_steps = row->finite ? p->good_steps + 1 : 0;
    if (overflow) {
        p->loss_scale *= 0.5;
    } else if (p->good_steps == M2S_SCALE_GROWS_AFTER) {
        p->loss_scale *= p->loss_scale < M2S_MOST_LOSS_SCALE ? 2.0 : 1.0;
        p->good_steps = 0;
    }
    return overflow;
}

static void count_step(m2snet_trainer *trainer, const m2snet_train_row *row)
{
    m2s_position *p = &trainer->position;
    m2s_epoch_sums *sums = &p->sums;
    double images = (double)row->images;
    bool overflow = trainer->recipe.scaled && adapt_scale(p, row);

    p->step++;
    sums->images += row->images;
    if (!row->finite) {
        p->bad_steps += !overflow;
        sums->bad_steps++;
        return;
    }
    p->bad_steps = 0;
    p->pending++;
    if (p->pending == trainer->recipe.accumulate) {
        p->pending = 0;
        p->updates++;
    }
    sums->finite_images += row->images;
    sums->loss += images * row->loss;
    sums->bce += images * row->bce;
    sums->iou += images * row->iou;
    sums->dice += images * row->dice;
    sums->cross_entropy += images * row->cross_entropy;
    sums->lossnet += images * row->lossnet;
}

static m2snet_status read_results(m2snet_trainer *trainer, m2s_program *program, m2snet_train_row *row,
                                  m2snet_error *error)
{
    m2snet_dtype dtype = m2s_trainer_dtype(trainer);
    m2snet_objective_values values;
    double finite, squares;
    m2snet_status status;

    M2S_TRY(m2s_objective_read(program, &trainer->recipe.objective, dtype, &values, error));
    M2S_TRY(m2s_scalar_read(program, dtype, M2S_NAME_FINITE, &finite, error));
    M2S_TRY(m2s_scalar_read(program, dtype, M2S_NAME_GRAD_NORM, &squares, error));
    row->loss = values.loss;
    row->bce = values.bce;
    row->iou = values.iou;
    row->dice = values.dice;
    row->cross_entropy = values.cross_entropy;
    row->lossnet = values.lossnet;
    row->finite = finite != 0.0;
    row->grad_norm = sqrt(squares);
fail:
    return status;
}

m2snet_status m2s_trainer_run(m2snet_trainer *trainer, const m2s_train_batch *batch, double rate, m2snet_train_row *row,
                              m2s_control *control, m2snet_error *error)
{
    uint64_t start = m2s_now_ns();
    m2s_program *program;
    m2snet_status status;

    M2S_TRY(m2s_trainer_plan_for(trainer, batch->n, batch->h, batch->w, control, &program, error));
    M2S_TRY(reserve(trainer, program, 0, error));
    M2S_TRY(write_batch(trainer, program, batch, error));
    M2S_TRY(write_scalars(trainer, program, rate, error));
    M2S_TRY(m2s_program_run(program, trainer->arena, trainer->time_steps, control, error));
    trainer->last = program;
    M2S_TRY(read_results(trainer, program, row, error));
    row->epoch = trainer->position.epoch;
    row->batch = trainer->position.batch;
    row->rate = rate;
    row->images = (int32_t)batch->n;
    row->height = (int32_t)batch->h;
    row->width = (int32_t)batch->w;
    row->loss_scale = trainer->position.loss_scale;
    count_step(trainer, row);
    row->step = trainer->position.step;
    row->updates = trainer->position.updates;
    row->bad_steps = (int32_t)trainer->position.bad_steps;
    row->milliseconds = (double)(m2s_now_ns() - start) * 1e-6;
    if (trainer->position.bad_steps >= trainer->options.max_bad_steps) {
        status = m2s_fail(error, M2SNET_STATUS_DIVERGED,
                          "training diverged: loss or gradient was not finite in %" PRId64
                          " steps in a row (step %" PRId64 ", learning rate %g); the weights are those before them",
                          trainer->position.bad_steps, trainer->position.step, rate);
    }
fail:
    return status;
}

double m2s_trainer_rate(const m2snet_trainer *trainer, int64_t epoch, int64_t batch, int64_t epochs,
                        int64_t steps_per_epoch)
{
    const m2s_schedule schedule = { .kind = trainer->options.schedule,
                                    .warmup = trainer->options.warmup,
                                    .power = trainer->options.power,
                                    .epochs = epochs,
                                    .steps_per_epoch = steps_per_epoch,
                                    .per_epoch = trainer->options.rate_per_epoch != 0 };

    return trainer->options.learning_rate * m2s_schedule_factor(&schedule, epoch, batch);
}

static m2snet_status check_tensors(const m2snet_trainer *trainer, const m2snet_tensor *images,
                                   const m2snet_tensor *masks, m2snet_error *error)
{
    const m2snet_tensor_desc *i = &images->desc, *m = &masks->desc;
    int32_t classes = trainer->model->config.classes;

    if (i->c != 3) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "images have %" PRId64 " channels, the network takes 3 (RGB)",
                        i->c);
    }
    if (m->n != i->n || m->h != i->h || m->w != i->w || m->c != classes) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH,
                        "masks are %" PRId64 "x%" PRId64 "x%" PRId64 "x%" PRId64 " (n, h, w, c), expected %" PRId64
                        "x%" PRId64 "x%" PRId64 "x%" PRId32 ": the images' size, and the model's classes",
                        m->n, m->h, m->w, m->c, i->n, i->h, i->w, classes);
    }
    if (i->n > INT32_MAX || i->h > M2S_MAX_INPUT_PX || i->w > M2S_MAX_INPUT_PX || i->h < M2S_MIN_INPUT_PX ||
        i->w < M2S_MIN_INPUT_PX) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                        "images of %" PRId64 " x %" PRId64 " px: expected sides of %d to %d", i->w, i->h,
                        M2S_MIN_INPUT_PX, M2S_MAX_INPUT_PX);
    }
    return M2SNET_STATUS_OK;
}

/* The place after a step of the caller's: epochs of steps_per_epoch steps each. */
static void advance(m2snet_trainer *trainer, int64_t steps_per_epoch)
{
    m2s_position *p = &trainer->position;

    p->batch++;
    if (p->batch >= steps_per_epoch) {
        p->batch = 0;
        p->epoch++;
        p->sums = (m2s_epoch_sums){ 0 };
    }
}

m2snet_status m2s_trainer_step(m2snet_trainer *trainer, const m2snet_tensor *images, const m2snet_tensor *masks,
                               double rate, m2snet_train_row *row, m2s_control *control, m2snet_error *error)
{
    const m2snet_tensor_desc *d = &images->desc;
    int64_t steps = trainer->options.steps_per_epoch > 0 ? trainer->options.steps_per_epoch : 1;
    m2s_train_batch batch = { .n = d->n, .h = d->h, .w = d->w, .image_tensor = images, .mask_tensor = masks };
    m2snet_status status;

    if (isnan(rate) || rate > M2S_MAX_RATE) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "rate is %g: expected 0 to %g, or negative", rate,
                        M2S_MAX_RATE);
    }
    M2S_TRY(check_tensors(trainer, images, masks, error));
    if (rate < 0.0) {
        const m2s_position *p = &trainer->position;
        rate = m2s_trainer_rate(trainer, p->epoch, p->batch, trainer->options.epochs, steps);
    }
    row->batches = trainer->options.steps_per_epoch;
    status = m2s_trainer_run(trainer, &batch, rate, row, control, error);
    if (status == M2SNET_STATUS_OK || status == M2SNET_STATUS_DIVERGED) {
        advance(trainer, steps);
    }
fail:
    return status;
}
