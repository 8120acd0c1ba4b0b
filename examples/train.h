/* SPDX-License-Identifier: Apache-2.0
 * What the parts of m2snet-train share. */
#ifndef EXAMPLES_TRAIN_H
#define EXAMPLES_TRAIN_H

#include <stdbool.h>
#include <stdio.h>

#include "common/args.h"
#include "common/paths.h"
#include "common/progress_bar.h"
#include "m2snet.h"

#define EXIT_INTERRUPTED 130 /* as shells say of SIGINT */

#define MAX_SIZES  32
#define MAX_SETS   64
#define MAX_LABELS 32

/* A growing list of numbers that fits an option. */
typedef struct int_list {
    int32_t items[MAX_LABELS];
    int32_t count;
} int_list;

typedef enum check_mode { CHECK_STOP = 0, CHECK_WARN = 1, CHECK_OFF = 2 } check_mode;
typedef enum split_mode { SPLIT_AUTO = 0, SPLIT_COLUMN, SPLIT_FRACTION, SPLIT_FOLDS, SPLIT_NONE } split_mode;

/* Everything that options and recipes say. */
typedef struct settings {
    path_list data, validation_data;
    double weights[MAX_SETS];
    int32_t weight_count;
    char *output;
    char *preset;
    char *model, *network, *start, *lossnet, *lossnet_family;
    char *backend;
    char *metadata_json;
    char *mask_suffix, *group_separator;
    int32_t missing; /* m2snet_missing */
    int32_t cuda_search;
    int32_t threads;
    int32_t split; /* split_mode */
    int32_t fold, folds;
    double validation;
    int32_t ignore_groups, group_duplicates;
    int32_t lint, duplicates; /* check_mode */
    int32_t duplicate_distance;
    int32_t samples; /* pictures on the page */
    int64_t memory_limit_mb, cache_mb, prefetch_mb;
    int_list sizes, labels;
    m2snet_objective_options objective;
    m2snet_trainer_options trainer;
    m2snet_fit_options fit;
    m2snet_augment_options augment;
    int32_t resume, overwrite, check, quiet;
    path_list given; /* names of options on the command line, but for those that say 0 or what the preset does */
} settings;

/* ---- train_options.c ---- */

void settings_free(settings *set);
/* Reads the command line and the recipes it names: EXIT_DONE to go on, EXIT_USAGE after a complaint, -1 after --help or
 * --version. */
int settings_read(settings *set, int argc, char **argv);
/* The settings as a recipe, JSON in malloc memory: running it again does the same. */
char *settings_json(const settings *set);

/* ---- train_check.c ---- */

/* EXIT_DONE, or EXIT_USAGE after a complaint about settings that are missing or do not go together. An option of the
 * command line that the others leave without a part is one of these; in a recipe, which lists everything, it waits. */
int check_settings(const settings *set);

/* ---- train_data.c ---- */

/* The data set in its parts, checked: findings and near-duplicates are printed. model: says what masks look like where
 * the settings do not. NULL after a complaint. */
m2snet_dataset *open_data(const settings *set, m2snet_context *context, const m2snet_model *model,
                          const m2snet_control *control, progress_bar *bar);
/* Gray levels of classes that the model's configuration has, without the background's; returns their number, 0 where it
 * has none. */
int32_t model_labels(const m2snet_model *model, uint8_t labels[M2SNET_MAX_LABELS]);

/* ---- train_log.c ---- */

/* What a row of an epoch says, kept for the page. */
typedef struct epoch_entry {
    double epoch, step, loss, bce, iou, dice, cross_entropy, lossnet, rate, seconds;
    double validation_dice, validation_iou; /* NaN without a validation */
} epoch_entry;

typedef struct step_entry {
    double step, loss, rate;
} step_entry;

typedef struct train_log {
    const settings *set;
    progress_bar *bar;
    FILE *steps; /* steps.csv; NULL before the first row */
    char *steps_path, *epochs_path;
    bool failed; /* a log could not be written: complained once */
    int64_t planned_steps;
    double started_ms, last_line_ms;
    int64_t first_step; /* of this run; -1: none yet */
    double seen_images, seen_ms;
    step_entry *step_list; /* of all runs, thinned out to a few thousand */
    size_t step_count, step_capacity, step_stride;
    bool epochs_begun; /* epochs.csv has rows of this run */
    epoch_entry *epoch_list;
    size_t epoch_count, epoch_capacity;
} train_log;

void log_begin(train_log *log, const settings *set, progress_bar *bar);
void log_end(train_log *log);
void log_step(train_log *log, const m2snet_train_row *row);
void log_epoch(train_log *log, const m2snet_epoch_row *row);
/* "1 h 02 min" */
void duration_text(double seconds, char *text, size_t bytes);

/* ---- train_page.c ---- */

/* Writes index.html: curves, numbers, and predictions on pictures of the validation. */
void page_write(const settings *set, const train_log *log, m2snet_context *context, m2snet_trainer *trainer,
                const m2snet_dataset *data, const m2snet_epoch_row *row);

#endif
