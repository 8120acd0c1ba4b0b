/* SPDX-License-Identifier: Apache-2.0
 * Data sets. */
#include <string.h>

#include "api/api.h"
#include "core/options.h"
#include "net/coding.h"
#include "train/augment.h"
#include "train/dataset_near.h"
#include "train/lint.h"
#include "train/split.h"

#define MAX_DISTANCE 64
#define DEFAULT_DISTANCE                                                                                               \
    12 /* known copies differ in up to 10 bits, pictures of one lesion in up to 16, others from 14 */

m2snet_status m2snet_dataset_create(m2snet_context *context, m2snet_dataset **dataset, m2snet_error *error)
{
    M2S_REQUIRE(dataset);
    *dataset = NULL;
    M2S_REQUIRE(context);
    return m2s_memory_explain(&context->memory, m2s_dataset_create(context, dataset, error), error);
}

void m2snet_dataset_destroy(m2snet_dataset *dataset)
{
    m2s_dataset_destroy(dataset);
}

/* ---- adding ---- */

void m2snet_source_options_init(m2snet_source_options *options)
{
    if (options != NULL) {
        m2s_source_options_default(options);
    }
}

/* What the three adding functions share; masks NULL = a list. */
static m2snet_status add(m2snet_dataset *dataset, const char *images, const char *masks,
                         const m2snet_source_options *given, m2snet_error *error)
{
    m2snet_source_options options;
    m2snet_status status;

    m2s_source_options_default(&options);
    M2S_TRY(m2s_options_import("m2snet_source_options", given, &options, sizeof options, error));
    M2S_TRY(m2s_source_check(&options, error));
    M2S_TRY(m2s_dataset_enter(dataset, error));
    status = masks != NULL ? m2s_dataset_add_folders(dataset, images, masks, &options, error)
                           : m2s_dataset_add_csv(dataset, images, &options, error);
    m2s_dataset_leave(dataset);
fail:
    return m2s_memory_explain(&dataset->context->memory, status, error);
}

m2snet_status m2snet_dataset_add_folder(m2snet_dataset *dataset, const char *folder,
                                        const m2snet_source_options *options, m2snet_error *error)
{
    M2S_REQUIRE(dataset);
    M2S_REQUIRE(folder);
    m2s_memory *memory = &dataset->context->memory;
    m2s_pile *pile = m2s_pile_create(memory);
    char *images = pile != NULL ? m2s_pile_printf(pile, "%s/images", folder) : NULL;
    char *masks = pile != NULL ? m2s_pile_printf(pile, "%s/masks", folder) : NULL;
    m2snet_status status;

    if (images == NULL || masks == NULL) {
        status = m2s_memory_explain(memory, m2s_fail_memory(error, "a path", strlen(folder) + sizeof "/images"), error);
    } else {
        status = add(dataset, images, masks, options, error);
    }
    m2s_pile_destroy(pile);
    return status;
}

m2snet_status m2snet_dataset_add_folders(m2snet_dataset *dataset, const char *images, const char *masks,
                                         const m2snet_source_options *options, m2snet_error *error)
{
    M2S_REQUIRE(dataset);
    M2S_REQUIRE(images);
    M2S_REQUIRE(masks);
    return add(dataset, images, masks, options, error);
}

m2snet_status m2snet_dataset_add_csv(m2snet_dataset *dataset, const char *path, const m2snet_source_options *options,
                                     m2snet_error *error)
{
    M2S_REQUIRE(dataset);
    M2S_REQUIRE(path);
    return add(dataset, path, NULL, options, error);
}

/* ---- what is in it ---- */

static m2snet_status check_index(const char *what, int32_t index, int32_t count, m2snet_error *error)
{
    if (index < 0 || index >= count) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "%s %d: the data set has %d", what, index, count);
    }
    return M2SNET_STATUS_OK;
}

int32_t m2snet_dataset_count(const m2snet_dataset *dataset)
{
    return dataset != NULL ? dataset->count : 0;
}

m2snet_status m2snet_dataset_get_item(const m2snet_dataset *dataset, int32_t index, m2snet_dataset_item *item,
                                      m2snet_error *error)
{
    m2snet_status status;

    M2S_REQUIRE(dataset);
    M2S_REQUIRE(item);
    M2S_TRY(check_index("item", index, dataset->count, error));
    const m2s_sample *s = &dataset->samples[index];
    const m2snet_dataset_item known = { .struct_size = sizeof known,
                                        .name = s->name,
                                        .image_path = s->image_path,
                                        .mask_path = s->mask_path,
                                        .group = s->group,
                                        .set = s->set,
                                        .fold = s->fold,
                                        .part = s->part };
    M2S_TRY(m2s_options_export("m2snet_dataset_item", &known, sizeof known, item, error));
fail:
    return status;
}

int32_t m2snet_dataset_part_count(const m2snet_dataset *dataset, m2snet_part part)
{
    int32_t count = 0;

    for (int32_t i = 0; dataset != NULL && i < dataset->count; i++) {
        count += dataset->samples[i].part == part;
    }
    return count;
}

m2snet_status m2snet_dataset_set_part(m2snet_dataset *dataset, int32_t index, m2snet_part part, m2snet_error *error)
{
    m2snet_status status;

    M2S_REQUIRE(dataset);
    if (part != M2SNET_PART_NONE && part != M2SNET_PART_TRAIN && part != M2SNET_PART_VALIDATION &&
        part != M2SNET_PART_TEST) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "part is %d, expected 0 to 3", (int)part);
    }
    M2S_TRY(check_index("item", index, dataset->count, error));
    M2S_TRY(m2s_dataset_enter(dataset, error));
    dataset->samples[index].part = part;
    m2s_dataset_leave(dataset);
fail:
    return status;
}

int32_t m2snet_dataset_set_count(const m2snet_dataset *dataset)
{
    return dataset != NULL ? dataset->source_count : 0;
}

m2snet_status m2snet_dataset_get_set(const m2snet_dataset *dataset, int32_t index, m2snet_dataset_set *set,
                                     m2snet_error *error)
{
    m2snet_status status;

    M2S_REQUIRE(dataset);
    M2S_REQUIRE(set);
    M2S_TRY(check_index("set", index, dataset->source_count, error));
    const m2s_source *s = &dataset->sources[index];
    const m2snet_dataset_set known = {
        .struct_size = sizeof known, .name = s->name, .weight = s->weight, .count = s->count
    };
    M2S_TRY(m2s_options_export("m2snet_dataset_set", &known, sizeof known, set, error));
fail:
    return status;
}

/* ---- splits ---- */

void m2snet_split_options_init(m2snet_split_options *options)
{
    if (options != NULL) {
        m2s_split_options_default(options);
    }
}

m2snet_status m2snet_dataset_split(m2snet_dataset *dataset, const m2snet_split_options *given, m2snet_error *error)
{
    m2snet_split_options options;
    m2snet_status status;

    M2S_REQUIRE(dataset);
    m2s_split_options_default(&options);
    M2S_TRY(m2s_options_import("m2snet_split_options", given, &options, sizeof options, error));
    M2S_TRY(m2s_dataset_enter(dataset, error));
    status = m2s_dataset_split(dataset, &options, error);
    m2s_dataset_leave(dataset);
fail:
    return m2s_memory_explain(&dataset->context->memory, status, error);
}

/* ---- lint ---- */

void m2snet_lint_options_init(m2snet_lint_options *options)
{
    if (options != NULL) {
        *options = (m2snet_lint_options){ .struct_size = sizeof *options, .background_label = -1 };
    }
}

m2snet_status m2snet_dataset_lint(m2snet_dataset *dataset, const m2snet_lint_options *given, m2snet_error *error)
{
    m2snet_lint_options options;
    m2s_control control;
    m2snet_status status;

    M2S_REQUIRE(dataset);
    m2snet_lint_options_init(&options);
    M2S_TRY(m2s_options_import("m2snet_lint_options", given, &options, sizeof options, error));
    if (options.label_count < 0 || options.label_count > M2SNET_MAX_LABELS) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "label_count is %d, expected 0 to %d",
                        options.label_count, M2SNET_MAX_LABELS);
    }
    if (options.label_count > 0 && options.labels == NULL) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "labels is NULL, label_count %d", options.label_count);
    }
    if (options.background_label < -1 || options.background_label > 255) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "background_label is %d, expected -1 to 255",
                        options.background_label);
    }
    m2s_control_init(&control, &options.control);
    M2S_TRY(m2s_dataset_enter(dataset, error));
    status =
        m2s_lint(dataset, options.label_count > 0 ? options.labels : NULL, options.label_count,
                 m2s_coding_background(options.labels, options.label_count, options.background_label), &control, error);
    m2s_dataset_leave(dataset);
fail:
    return m2s_memory_explain(&dataset->context->memory, status, error);
}

int32_t m2snet_dataset_finding_count(const m2snet_dataset *dataset)
{
    return dataset != NULL ? dataset->linted.count : 0;
}

m2snet_status m2snet_dataset_get_finding(const m2snet_dataset *dataset, int32_t index, m2snet_finding *finding,
                                         m2snet_error *error)
{
    m2snet_status status;

    M2S_REQUIRE(dataset);
    M2S_REQUIRE(finding);
    M2S_TRY(check_index("finding", index, dataset->linted.count, error));
    const m2s_finding *f = &dataset->linted.list[index];
    const m2snet_finding known = { .struct_size = sizeof known,
                                   .kind = f->kind,
                                   .item = f->item,
                                   .other = f->other,
                                   .path = f->path,
                                   .reason = f->reason };
    M2S_TRY(m2s_options_export("m2snet_finding", &known, sizeof known, finding, error));
fail:
    return status;
}

const char *m2snet_finding_kind_name(m2snet_finding_kind kind)
{
    return m2s_finding_kind_name(kind);
}

/* ---- near-duplicates ---- */

void m2snet_duplicates_options_init(m2snet_duplicates_options *options)
{
    if (options != NULL) {
        *options = (m2snet_duplicates_options){ .struct_size = sizeof *options, .distance = DEFAULT_DISTANCE };
    }
}

m2snet_status m2snet_dataset_find_duplicates(m2snet_dataset *dataset, const m2snet_duplicates_options *given,
                                             m2snet_error *error)
{
    m2snet_duplicates_options options;
    m2s_control control;
    m2snet_status status;

    M2S_REQUIRE(dataset);
    m2snet_duplicates_options_init(&options);
    M2S_TRY(m2s_options_import("m2snet_duplicates_options", given, &options, sizeof options, error));
    if (options.distance < 0 || options.distance > MAX_DISTANCE) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "distance is %d, expected 0 to %d", options.distance,
                        MAX_DISTANCE);
    }
    m2s_control_init(&control, &options.control);
    M2S_TRY(m2s_dataset_enter(dataset, error));
    status = m2s_dataset_find_near(dataset, options.distance, &control, error);
    m2s_dataset_leave(dataset);
fail:
    return m2s_memory_explain(&dataset->context->memory, status, error);
}

int32_t m2snet_dataset_near_pair_count(const m2snet_dataset *dataset)
{
    return dataset != NULL ? dataset->near_count : 0;
}

m2snet_status m2snet_dataset_get_near_pair(const m2snet_dataset *dataset, int32_t index, m2snet_near_pair *pair,
                                           m2snet_error *error)
{
    m2snet_status status;

    M2S_REQUIRE(dataset);
    M2S_REQUIRE(pair);
    M2S_TRY(check_index("pair", index, dataset->near_count, error));
    const m2s_near_pair *p = &dataset->near_pairs[index];
    const m2snet_near_pair known = { .struct_size = sizeof known,
                                     .a = p->a,
                                     .b = p->b,
                                     .distance = p->distance,
                                     .across = m2s_near_pair_is_across(dataset, p) };
    M2S_TRY(m2s_options_export("m2snet_near_pair", &known, sizeof known, pair, error));
fail:
    return status;
}

/* ---- augmentation ---- */

m2snet_status m2snet_augment_options_init(m2snet_augment_options *options, const char *preset, m2snet_error *error)
{
    M2S_REQUIRE(options);
    M2S_REQUIRE(preset);
    return m2s_augment_preset(preset, options, error);
}
