/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/evaluator.h"

#include <string.h>

#include "core/quote.h"
#include "image/decode.h"

/* ---- life ---- */

m2snet_status m2s_evaluator_create(m2snet_context *context, const m2snet_evaluator_options *options,
                                   m2snet_evaluator **created, m2snet_error *error)
{
    m2s_memory *memory = &context->memory;
    m2snet_status status;

    *created = NULL;
    m2snet_evaluator *evaluator = m2s_calloc(memory, 1, sizeof *evaluator);
    if (evaluator == NULL) {
        return m2s_fail_memory(error, "an evaluator", sizeof *evaluator);
    }
    m2s_scratch_init(&evaluator->scratch, memory);
    atomic_init(&evaluator->busy, false);
    evaluator->context = m2s_context_retain(context);
    M2S_TRY(m2s_eval_settings_import(memory, options, &evaluator->settings, error));
    *created = evaluator;
    return M2SNET_STATUS_OK;
fail:
    m2s_evaluator_destroy(evaluator);
    return status;
}

static void release_item(m2s_memory *memory, m2s_item *item)
{
    m2s_free(memory, item->name);
    m2s_free(memory, item->message);
    m2s_free(memory, item->warning);
    m2s_free(memory, item->pair);
    m2s_free(memory, item->labels);
    *item = (m2s_item){ 0 };
}

void m2s_evaluator_destroy(m2snet_evaluator *evaluator)
{
    if (evaluator == NULL) {
        return;
    }
    m2snet_context *context = evaluator->context;
    m2s_memory *memory = &context->memory;
    for (int32_t i = 0; i < evaluator->count; i++) {
        release_item(memory, &evaluator->items[i]);
    }
    m2s_free(memory, evaluator->items);
    m2s_free(memory, evaluator->json);
    m2s_scratch_release(&evaluator->scratch);
    m2s_eval_settings_release(memory, &evaluator->settings);
    m2s_free(memory, evaluator);
    m2s_context_release(context);
}

m2snet_status m2s_evaluator_enter(m2snet_evaluator *evaluator, m2snet_error *error)
{
    if (atomic_exchange(&evaluator->busy, true)) {
        return m2s_fail(error, M2SNET_STATUS_BUSY, "the evaluator is in use on another thread");
    }
    return M2SNET_STATUS_OK;
}

void m2s_evaluator_leave(m2snet_evaluator *evaluator)
{
    atomic_store(&evaluator->busy, false);
}

/* ---- adding ---- */

static m2snet_status reserve_items(m2snet_evaluator *evaluator, int32_t more, m2snet_error *error)
{
    if (more > INT32_MAX / 2 - evaluator->count) {
        return m2s_fail(error, M2SNET_STATUS_LIMIT, "%d pairs are there and %d more would be too many",
                        evaluator->count, more);
    }
    int32_t wanted = evaluator->count + more;
    if (wanted > evaluator->capacity) {
        int32_t capacity = wanted > 2 * evaluator->capacity ? wanted + 8 : 2 * evaluator->capacity;
        size_t bytes = (size_t)capacity * sizeof(m2s_item);
        m2s_item *items = m2s_realloc(&evaluator->context->memory, evaluator->items, bytes);
        if (items == NULL) {
            return m2s_fail_memory(error, "the list of scores", bytes);
        }
        evaluator->items = items;
        evaluator->capacity = capacity;
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status name_item(m2s_memory *memory, const char *name, m2s_item *item, m2snet_error *error)
{
    if (!m2s_is_utf8(name, strlen(name))) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "name %s: expected UTF-8",
                        m2s_quote(name, strlen(name)).text);
    }
    item->name = m2s_strdup(memory, name);
    return item->name != NULL ? M2SNET_STATUS_OK : m2s_fail_memory(error, "a name", strlen(name) + 1);
}

static const char *warning_text(uint32_t warnings)
{
    static const char *const texts[8] = {
        NULL,
        "the mask has pixels but none above 128, so it counts as empty: is it coded 0 and 1?",
        "the prediction is nearly empty and was stretched to full contrast",
        "the mask has pixels but none above 128, so it counts as empty: is it coded 0 and 1? The prediction is nearly "
        "empty and was stretched to full contrast",
        "the prediction was resized to the mask's size",
        "the prediction was resized to the mask's size; the mask has pixels but none above 128, so it counts as empty: "
        "is it coded 0 and 1?",
        "the prediction was resized to the mask's size; it is nearly empty and was stretched to full contrast",
        "the prediction was resized to the mask's size; it is nearly empty and was stretched to full contrast; the "
        "mask "
        "has pixels but none above 128, so it counts as empty: is it coded 0 and 1?",
    };

    return texts[warnings & 7u];
}

/* Fills pair or labels, and warning. What is there already when it fails is the item's. */
static m2snet_status score_item(const m2s_eval_settings *settings, m2s_scratch *scratch, const m2snet_image *prediction,
                                const m2snet_image *mask, m2s_item *item, m2snet_error *error)
{
    m2s_memory *memory = scratch->memory;
    m2snet_status status;

    if (settings->label_count > 0) {
        item->labels = m2s_calloc(memory, (size_t)settings->label_count, sizeof *item->labels);
        if (item->labels == NULL) {
            return m2s_fail_memory(error, "scores", (size_t)settings->label_count * sizeof *item->labels);
        }
        return m2s_score_label_maps(scratch, settings, prediction, mask, item->labels, error);
    }
    item->pair = m2s_alloc(memory, sizeof *item->pair);
    if (item->pair == NULL) {
        return m2s_fail_memory(error, "scores", sizeof *item->pair);
    }
    M2S_TRY(m2s_score_pair(scratch, settings, prediction, mask, item->pair, error));
    const char *warning = warning_text(item->pair->warnings);
    if (warning != NULL) {
        item->warning = m2s_strdup(memory, warning);
        if (item->warning == NULL) {
            return m2s_fail_memory(error, "a warning", strlen(warning) + 1);
        }
    }
fail:
    return status;
}

m2snet_status m2s_evaluator_add(m2snet_evaluator *evaluator, const char *name, const m2snet_image *prediction,
                                const m2snet_image *mask, m2snet_error *error)
{
    m2s_memory *memory = &evaluator->context->memory;
    m2s_item item = { 0 };
    m2snet_status status;

    M2S_TRY(reserve_items(evaluator, 1, error));
    M2S_TRY(name_item(memory, name, &item, error));
    M2S_TRY(score_item(&evaluator->settings, &evaluator->scratch, prediction, mask, &item, error));
    evaluator->items[evaluator->count++] = item;
    return status;
fail:
    release_item(memory, &item);
    return status;
}

m2snet_status m2s_evaluator_add_failure(m2snet_evaluator *evaluator, const char *name, m2snet_status failure,
                                        const char *message, m2snet_error *error)
{
    m2s_memory *memory = &evaluator->context->memory;
    m2s_item item = { .status = failure };
    m2snet_status status;

    M2S_TRY(reserve_items(evaluator, 1, error));
    M2S_TRY(name_item(memory, name, &item, error));
    if (!m2s_is_utf8(message, strlen(message))) {
        status = m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "message %s: expected UTF-8",
                          m2s_quote(message, strlen(message)).text);
        goto fail;
    }
    item.message = m2s_strdup(memory, message);
    if (item.message == NULL) {
        status = m2s_fail_memory(error, "a message", strlen(message) + 1);
        goto fail;
    }
    evaluator->items[evaluator->count++] = item;
    return status;
fail:
    release_item(memory, &item);
    return status;
}

/* What the workers of one call share: each chunk is a pair and writes only its own item. */
typedef struct file_job {
    m2s_memory *memory;
    const m2s_eval_settings *settings;
    const m2snet_file_pair *pairs;
    m2s_item *items;
    m2s_scratch *scratches; /* one a worker */
} file_job;

static m2snet_status score_files(const file_job *job, const m2snet_file_pair *pair, m2s_scratch *scratch,
                                 m2s_item *item, m2snet_error *error)
{
    m2s_decode_options decode = M2S_DECODE_DEFAULTS;
    m2s_bitmap prediction = { 0 }, mask = { 0 };
    m2snet_status status;

    decode.apply_exif = false; /* both files are arrays of pixels here */
    M2S_TRY(m2s_image_read(job->memory, pair->prediction_path, &decode, NULL, &prediction, error));
    M2S_TRY(m2s_image_read(job->memory, pair->mask_path, &decode, NULL, &mask, error));
    m2snet_image prediction_image = m2s_bitmap_image(&prediction), mask_image = m2s_bitmap_image(&mask);
    M2S_TRY(score_item(job->settings, scratch, &prediction_image, &mask_image, item, error));
fail:
    m2s_bitmap_release(&prediction);
    m2s_bitmap_release(&mask);
    return status;
}

static void score_chunk(void *argument, int64_t chunk, int worker)
{
    const file_job *job = argument;
    m2s_item *item = &job->items[chunk];
    m2snet_error error = { 0 };

    item->status = score_files(job, &job->pairs[chunk], &job->scratches[worker], item, &error);
    if (item->status != M2SNET_STATUS_OK) {
        m2s_free(job->memory, item->pair);
        m2s_free(job->memory, item->labels);
        item->pair = NULL;
        item->labels = NULL;
        item->message = m2s_strdup(job->memory, error.message);
        if (item->message == NULL) {
            item->status = M2SNET_STATUS_OUT_OF_MEMORY;
        }
    }
}

m2snet_status m2s_evaluator_add_files(m2snet_evaluator *evaluator, const m2snet_file_pair *pairs, int32_t count,
                                      const m2snet_control *user_control, int32_t *failed, m2snet_error *error)
{
    m2s_memory *memory = &evaluator->context->memory;
    m2s_pool *pool = evaluator->context->host.pool;
    int threads = m2s_pool_threads(pool);
    file_job job = { .memory = memory, .settings = &evaluator->settings, .pairs = pairs };
    m2s_task task = { .run = score_chunk, .argument = &job, .chunks = count };
    m2s_control control;
    int32_t bad = 0;
    m2snet_status status;

    M2S_TRY(reserve_items(evaluator, count, error));
    job.items = evaluator->items + evaluator->count;
    memset(job.items, 0, (size_t)count * sizeof *job.items);
    job.scratches = m2s_calloc(memory, (size_t)threads, sizeof *job.scratches);
    if (job.scratches == NULL) {
        status = m2s_fail_memory(error, "evaluation", (size_t)threads * sizeof *job.scratches);
        goto fail;
    }
    for (int i = 0; i < threads; i++) {
        m2s_scratch_init(&job.scratches[i], memory);
    }
    for (int32_t i = 0; i < count; i++) {
        M2S_TRY(name_item(memory, pairs[i].name, &job.items[i], error));
    }
    m2s_control_init(&control, user_control);
    M2S_TRY(m2s_pool_run(pool, &task, 1, &control, "score", error));
    for (int32_t i = 0; i < count; i++) {
        if (job.items[i].status == M2SNET_STATUS_OUT_OF_MEMORY) {
            status = m2s_fail(error, M2SNET_STATUS_OUT_OF_MEMORY, "%s: %s", pairs[i].name,
                              job.items[i].message != NULL ? job.items[i].message : "out of memory");
            goto fail;
        }
        bad += job.items[i].status != M2SNET_STATUS_OK;
    }
    evaluator->count += count;
    job.items = NULL;
    if (failed != NULL) {
        *failed = bad;
    }
fail:
    for (int i = 0; job.scratches != NULL && i < threads; i++) {
        m2s_scratch_release(&job.scratches[i]);
    }
    m2s_free(memory, job.scratches);
    for (int32_t i = 0; job.items != NULL && i < count; i++) {
        release_item(memory, &job.items[i]);
    }
    return status;
}

/* ---- reading ---- */

bool m2s_evaluator_counts(const m2snet_evaluator *evaluator, const m2s_item *item)
{
    if (item->status != M2SNET_STATUS_OK) {
        return false;
    }
    return item->pair == NULL || evaluator->settings.empty != M2SNET_EMPTY_SKIP || !item->pair->scores.mask_empty;
}

m2snet_status m2s_evaluator_item(const m2snet_evaluator *evaluator, int32_t index, const m2s_item **item,
                                 m2snet_error *error)
{
    if (index < 0 || index >= evaluator->count) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "pair %d: the evaluator has %d", index,
                        evaluator->count);
    }
    *item = &evaluator->items[index];
    if ((*item)->status != M2SNET_STATUS_OK) {
        return m2s_fail(error, (*item)->status, "%s: %s", (*item)->name, (*item)->message);
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_evaluator_need_labels(const m2snet_evaluator *evaluator, bool labels, m2snet_error *error)
{
    if (labels != (evaluator->settings.label_count > 0)) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                        labels ? "the evaluator was created without labels" : "the evaluator scores label maps");
    }
    return M2SNET_STATUS_OK;
}
