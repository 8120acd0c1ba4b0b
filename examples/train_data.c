/* SPDX-License-Identifier: Apache-2.0
 * The data set of m2snet-train: sets joined, split, and looked over before anything is trained. */
#define _GNU_SOURCE 1
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "train.h"

#define SHOWN_FINDINGS 20

static bool is_folder(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static m2snet_status add_set(const settings *set, m2snet_dataset *data, const char *path, double weight,
                             m2snet_error *error)
{
    m2snet_source_options options;

    m2snet_source_options_init(&options);
    options.weight = weight;
    options.missing = (m2snet_missing)set->missing;
    options.mask_suffix = set->mask_suffix;
    options.group_separator = set->group_separator;
    if (!is_folder(path)) {
        return m2snet_dataset_add_csv(data, path, &options, error);
    }
    if (set->mask_suffix == NULL) {
        return m2snet_dataset_add_folder(data, path, &options, error);
    }
    char *images = format_text("%s/images", path), *masks = format_text("%s/masks", path);
    bool two = is_folder(images) && is_folder(masks);
    m2snet_status status = m2snet_dataset_add_folders(data, two ? images : path, two ? masks : path, &options, error);
    free(images);
    free(masks);
    return status;
}

static m2snet_status add_sets(const settings *set, m2snet_dataset *data, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    for (size_t i = 0; status == M2SNET_STATUS_OK && i < set->data.count; i++) {
        double weight = set->weight_count > 0 ? set->weights[i] : 1.0;
        status = add_set(set, data, set->data.items[i], weight, error);
    }
    for (size_t i = 0; status == M2SNET_STATUS_OK && i < set->validation_data.count; i++) {
        status = add_set(set, data, set->validation_data.items[i], 1.0, error);
    }
    return status;
}

/* ---- parts ---- */

/* Sets of their own for validation; everything else trains. */
static m2snet_status part_by_set(const settings *set, m2snet_dataset *data, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    for (int32_t i = 0; status == M2SNET_STATUS_OK && i < m2snet_dataset_count(data); i++) {
        m2snet_dataset_item item = { .struct_size = sizeof item };
        status = m2snet_dataset_get_item(data, i, &item, error);
        if (status == M2SNET_STATUS_OK) {
            bool validates = (size_t)item.set >= set->data.count;
            status = m2snet_dataset_set_part(data, i, validates ? M2SNET_PART_VALIDATION : M2SNET_PART_TRAIN, error);
        }
    }
    return status;
}

static m2snet_status split(const settings *set, m2snet_dataset *data, m2snet_error *error)
{
    m2snet_split_options options;
    m2snet_status status;

    if (set->validation_data.count > 0 || set->split == SPLIT_NONE) {
        return part_by_set(set, data, error);
    }
    m2snet_split_options_init(&options);
    options.seed = set->trainer.seed;
    options.folds = set->folds;
    options.fold = set->fold;
    options.validation = set->validation;
    options.ignore_groups = set->ignore_groups;
    options.keep_near_duplicates = set->group_duplicates;
    options.kind = set->split == SPLIT_FOLDS      ? M2SNET_SPLIT_FOLDS
                   : set->split == SPLIT_FRACTION ? M2SNET_SPLIT_FRACTIONS
                                                  : M2SNET_SPLIT_COLUMN;
    status = m2snet_dataset_split(data, &options, error);
    if (status == M2SNET_STATUS_OK && set->split == SPLIT_AUTO && set->validation > 0.0 &&
        m2snet_dataset_part_count(data, M2SNET_PART_VALIDATION) == 0) {
        options.kind = M2SNET_SPLIT_FRACTIONS;
        status = m2snet_dataset_split(data, &options, error);
    }
    return status;
}

/* ---- looking it over ---- */

static bool is_harmful(m2snet_finding_kind kind)
{
    return kind == M2SNET_FINDING_UNREADABLE || kind == M2SNET_FINDING_SIZE_DIFFERS ||
           kind == M2SNET_FINDING_MASK_CODED_01 || kind == M2SNET_FINDING_MASK_LABEL;
}

int32_t model_labels(const m2snet_model *model, uint8_t labels[M2SNET_MAX_LABELS])
{
    m2snet_model_info info = { .struct_size = sizeof info };
    int32_t count = 0;

    if (m2snet_model_get_info(model, &info, NULL) != M2SNET_STATUS_OK ||
        strstr(info.config_json, "\"labels\":[") == NULL) { /* no text has that: its quotes would be escaped */
        return 0;
    }
    for (int32_t i = info.softmax ? 1 : 0; i < info.classes && count < M2SNET_MAX_LABELS; i++) {
        labels[count++] = (uint8_t)m2snet_model_class_label(model, i);
    }
    return count;
}

/* As training will understand masks: by the settings, else by the model. */
static void set_labels(const settings *set, const m2snet_model *model, uint8_t labels[M2SNET_MAX_LABELS],
                       m2snet_lint_options *options)
{
    m2snet_model_info info = { .struct_size = sizeof info };

    options->label_count = set->labels.count;
    options->background_label = set->fit.background_label;
    for (int32_t i = 0; i < set->labels.count; i++) {
        labels[i] = (uint8_t)set->labels.items[i];
    }
    if (set->labels.count == 0 && m2snet_model_get_info(model, &info, NULL) == M2SNET_STATUS_OK &&
        (info.softmax != 0) == (set->objective.softmax != 0)) {
        options->label_count = model_labels(model, labels);
        options->background_label = options->label_count > 0 ? m2snet_model_class_label(model, -1) : -1;
    }
    options->labels = options->label_count > 0 ? labels : NULL;
}

static m2snet_status lint(const settings *set, m2snet_dataset *data, const m2snet_model *model,
                          const m2snet_control *control, progress_bar *bar, bool *good, m2snet_error *error)
{
    uint8_t labels[M2SNET_MAX_LABELS];
    m2snet_lint_options options;
    int32_t harmful = 0, others = 0;

    m2snet_lint_options_init(&options);
    options.control = *control;
    set_labels(set, model, labels, &options);
    m2snet_status status = m2snet_dataset_lint(data, &options, error);
    for (int32_t i = 0; status == M2SNET_STATUS_OK && i < m2snet_dataset_finding_count(data); i++) {
        m2snet_finding finding = { .struct_size = sizeof finding };
        status = m2snet_dataset_get_finding(data, i, &finding, error);
        if (status != M2SNET_STATUS_OK) {
            break;
        }
        bool harms = is_harmful(finding.kind);
        int32_t *count = harms ? &harmful : &others;
        if (++*count <= SHOWN_FINDINGS) {
            progress_bar_clear(bar);
            if (harms) {
                complain("%s: %s: %s", finding.path, m2snet_finding_kind_name(finding.kind), finding.reason);
            } else {
                progress_bar_line(bar, "%s: %s: %s", finding.path, m2snet_finding_kind_name(finding.kind),
                                  finding.reason);
            }
        }
    }
    progress_bar_clear(bar);
    if (others > SHOWN_FINDINGS) {
        progress_bar_line(bar, "... and %d more findings that do not harm", (int)(others - SHOWN_FINDINGS));
    }
    if (harmful > 0) {
        complain("%d picture%s would harm the training%s", (int)harmful, harmful == 1 ? "" : "s",
                 set->lint == CHECK_STOP ? ": mend the data, or say --lint warn" : "");
    }
    *good = harmful == 0 || set->lint != CHECK_STOP;
    return status;
}

static const char *item_path(const m2snet_dataset *data, int32_t index)
{
    m2snet_dataset_item item = { .struct_size = sizeof item };

    return m2snet_dataset_get_item(data, index, &item, NULL) == M2SNET_STATUS_OK ? item.image_path : "";
}

/* Near-duplicates of which one trains and the other one validates. */
static m2snet_status report_duplicates(const settings *set, const m2snet_dataset *data, progress_bar *bar, bool *good,
                                       m2snet_error *error)
{
    int32_t across = 0;
    m2snet_status status = M2SNET_STATUS_OK;

    for (int32_t i = 0; status == M2SNET_STATUS_OK && i < m2snet_dataset_near_pair_count(data); i++) {
        m2snet_near_pair pair = { .struct_size = sizeof pair };
        status = m2snet_dataset_get_near_pair(data, i, &pair, error);
        if (status == M2SNET_STATUS_OK && pair.across && ++across <= SHOWN_FINDINGS) {
            progress_bar_line(bar, "near-duplicates across the split: %s and %s (%d of 128 bits differ)",
                              item_path(data, pair.a), item_path(data, pair.b), (int)pair.distance);
        }
    }
    if (across > SHOWN_FINDINGS) {
        progress_bar_line(bar, "... and %d more pairs", (int)(across - SHOWN_FINDINGS));
    }
    if (across > 0 && set->duplicates == CHECK_STOP) {
        complain("%d near-duplicates across the split: --group-duplicates keeps them on one side", (int)across);
        *good = false;
    }
    return status;
}

static m2snet_status prepare(const settings *set, m2snet_dataset *data, const m2snet_model *model,
                             const m2snet_control *control, progress_bar *bar, bool *good, m2snet_error *error)
{
    bool hash = set->duplicates != CHECK_OFF || set->group_duplicates;
    m2snet_duplicates_options options;
    m2snet_status status = add_sets(set, data, error);

    if (status == M2SNET_STATUS_OK && set->lint != CHECK_OFF) {
        status = lint(set, data, model, control, bar, good, error);
    }
    if (status == M2SNET_STATUS_OK && *good && hash) {
        m2snet_duplicates_options_init(&options);
        options.distance = set->duplicate_distance;
        options.control = *control;
        status = m2snet_dataset_find_duplicates(data, &options, error);
        progress_bar_clear(bar);
    }
    if (status == M2SNET_STATUS_OK && *good) {
        status = split(set, data, error);
    }
    if (status == M2SNET_STATUS_OK && *good && set->duplicates != CHECK_OFF) {
        status = report_duplicates(set, data, bar, good, error);
    }
    return status;
}

m2snet_dataset *open_data(const settings *set, m2snet_context *context, const m2snet_model *model,
                          const m2snet_control *control, progress_bar *bar)
{
    m2snet_dataset *data = NULL;
    m2snet_error error;
    bool good = true;
    m2snet_status status = m2snet_dataset_create(context, &data, &error);

    if (status == M2SNET_STATUS_OK) {
        status = prepare(set, data, model, control, bar, &good, &error);
    }
    progress_bar_clear(bar);
    if (status != M2SNET_STATUS_OK) {
        library_error(NULL, &error);
    }
    if (status != M2SNET_STATUS_OK || !good) {
        m2snet_dataset_destroy(data);
        return NULL;
    }
    return data;
}
