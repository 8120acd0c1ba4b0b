/* SPDX-License-Identifier: Apache-2.0 */
#include "train/dataset.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_REASON 512

m2snet_status m2s_dataset_create(m2snet_context *context, m2snet_dataset **created, m2snet_error *error)
{
    m2snet_dataset *d = m2s_calloc(&context->memory, 1, sizeof *d);

    *created = NULL;
    if (d == NULL) {
        return m2s_fail_memory(error, "a data set", sizeof *d);
    }
    d->context = m2s_context_retain(context);
    d->names = m2s_pile_create(&context->memory);
    if (d->names == NULL) {
        m2s_dataset_destroy(d);
        return m2s_fail_memory(error, "a data set", sizeof *d);
    }
    *created = d;
    return M2SNET_STATUS_OK;
}

void m2s_dataset_destroy(m2snet_dataset *d)
{
    if (d == NULL) {
        return;
    }
    m2snet_context *context = d->context;
    m2s_pile_destroy(d->names);
    m2s_pile_destroy(d->reasons);
    m2s_free(&context->memory, d->samples);
    m2s_free(&context->memory, d->sources);
    m2s_free(&context->memory, d->noticed.list);
    m2s_free(&context->memory, d->linted.list);
    m2s_free(&context->memory, d->near_pairs);
    m2s_free(&context->memory, d);
    m2s_context_release(context);
}

m2snet_status m2s_dataset_enter(m2snet_dataset *dataset, m2snet_error *error)
{
    if (atomic_exchange(&dataset->busy, true)) {
        return m2s_fail(error, M2SNET_STATUS_BUSY, "the data set is in use on another thread");
    }
    return M2SNET_STATUS_OK;
}

void m2s_dataset_leave(m2snet_dataset *dataset)
{
    atomic_store(&dataset->busy, false);
}

/* ---- lists that grow ---- */

static m2snet_status reserve(m2s_memory *memory, void **list, int32_t count, int32_t *capacity, size_t size,
                             m2snet_error *error)
{
    size_t bytes;

    if (count < *capacity) {
        return M2SNET_STATUS_OK;
    }
    if (count == INT32_MAX) {
        return m2s_fail(error, M2SNET_STATUS_LIMIT, "a data set holds at most %d items", INT32_MAX);
    }
    int32_t grown = count < 16 ? 16 : count > INT32_MAX / 2 ? INT32_MAX : 2 * count;
    void *moved = m2s_mul((size_t)grown, size, &bytes) ? m2s_realloc(memory, *list, bytes) : NULL;
    if (moved == NULL) {
        return m2s_fail_memory(error, "a data set", (size_t)grown * size);
    }
    *list = moved;
    *capacity = grown;
    return M2SNET_STATUS_OK;
}

static m2snet_status copy_text(m2s_pile *pile, const char *text, const char **copy, m2snet_error *error)
{
    *copy = text != NULL ? m2s_pile_strdup(pile, text) : NULL;
    return text != NULL && *copy == NULL ? m2s_fail_memory(error, "a data set's names", strlen(text) + 1)
                                         : M2SNET_STATUS_OK;
}

m2snet_status m2s_finding_add(m2snet_dataset *d, m2s_findings *findings, m2s_pile *pile, m2snet_finding_kind kind,
                              int32_t item, const char *path, m2snet_error *error, const char *format, ...)
{
    m2s_finding f = { .kind = kind, .item = item, .other = -1 };
    char reason[MAX_REASON];
    va_list arguments;
    void *list = findings->list;
    m2snet_status status;

    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    M2S_TRY(copy_text(pile, path, &f.path, error));
    M2S_TRY(copy_text(pile, reason, &f.reason, error));
    M2S_TRY(reserve(&d->context->memory, &list, findings->count, &findings->capacity, sizeof f, error));
    findings->list = list;
    findings->list[findings->count++] = f;
fail:
    return status;
}

/* ---- sources ---- */

void m2s_source_options_default(m2snet_source_options *options)
{
    *options = (m2snet_source_options){ .struct_size = sizeof *options, .weight = 1.0 };
}

m2snet_status m2s_source_check(const m2snet_source_options *o, m2snet_error *error)
{
    if (!(o->weight > 0.0 && o->weight <= 1e6)) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "weight is %g, expected more than 0, at most 1e6",
                        o->weight);
    }
    if (o->missing != M2SNET_MISSING_REFUSE && o->missing != M2SNET_MISSING_SKIP &&
        o->missing != M2SNET_MISSING_EMPTY) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "missing is %d, expected 0 to 2", (int)o->missing);
    }
    if (o->group_separator != NULL && o->group_separator[0] == '\0') {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "group_separator is empty: expected NULL or text");
    }
    if (o->mask_suffix != NULL && o->mask_suffix[0] == '\0') {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "mask_suffix is empty: expected NULL or text");
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_dataset_begin_source(m2snet_dataset *d, const char *name, double weight, m2s_dataset_mark *mark,
                                       m2snet_error *error)
{
    m2s_source source = { .weight = weight };
    void *list = d->sources;
    m2snet_status status;

    *mark = (m2s_dataset_mark){ d->count, d->source_count, d->noticed.count };
    M2S_TRY(copy_text(d->names, name, &source.name, error));
    M2S_TRY(reserve(&d->context->memory, &list, d->source_count, &d->source_capacity, sizeof source, error));
    d->sources = list;
    d->sources[d->source_count++] = source;
fail:
    return status;
}

m2snet_status m2s_dataset_add_sample(m2snet_dataset *d, const m2s_sample *given, m2snet_error *error)
{
    m2s_sample sample = { .set = d->source_count - 1, .fold = -1, .part = M2SNET_PART_TRAIN };
    void *list = d->samples;
    m2snet_status status;

    M2S_TRY(copy_text(d->names, given->name, &sample.name, error));
    M2S_TRY(copy_text(d->names, given->image_path, &sample.image_path, error));
    M2S_TRY(copy_text(d->names, given->mask_path, &sample.mask_path, error));
    M2S_TRY(copy_text(d->names, given->group, &sample.group, error));
    M2S_TRY(copy_text(d->names, given->split, &sample.split, error));
    M2S_TRY(reserve(&d->context->memory, &list, d->count, &d->capacity, sizeof sample, error));
    d->samples = list;
    d->samples[d->count++] = sample;
    d->sources[sample.set].count++;
    d->near_count = 0; /* what was found before does not speak of this one */
fail:
    return status;
}

void m2s_dataset_undo(m2snet_dataset *d, const m2s_dataset_mark *mark)
{
    d->count = mark->samples;
    d->source_count = mark->sources;
    d->noticed.count = mark->findings;
}

/* ---- parts ---- */

m2snet_status m2s_dataset_part(const m2snet_dataset *d, m2snet_part part, int32_t **items, int32_t *count,
                               m2snet_error *error)
{
    static const char *const names[] = { "left out", "for training", "for validation", "for testing" };
    int32_t n = 0;

    *items = NULL;
    *count = 0;
    for (int32_t i = 0; i < d->count; i++) {
        n += d->samples[i].part == part;
    }
    if (n == 0) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "the data set has %d pictures, but none %s", d->count,
                        part >= 0 && part <= M2SNET_PART_TEST ? names[part] : "of that part");
    }
    *items = m2s_alloc_array(&d->context->memory, (size_t)n, sizeof **items);
    if (*items == NULL) {
        return m2s_fail_memory(error, "a list of pictures", (size_t)n * sizeof **items);
    }
    for (int32_t i = 0; i < d->count; i++) {
        if (d->samples[i].part == part) {
            (*items)[(*count)++] = i;
        }
    }
    return M2SNET_STATUS_OK;
}
