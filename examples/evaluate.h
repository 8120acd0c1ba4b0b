/* SPDX-License-Identifier: Apache-2.0
 * The parts of m2snet-evaluate: which files belong together (evaluate_pairs.c), scoring them (evaluate_run.c), and what
 * is made of the scores: the terminal's table, CSV, JSON and a page. */
#ifndef EXAMPLES_EVALUATE_H
#define EXAMPLES_EVALUATE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/args.h"
#include "common/paths.h"
#include "common/views.h"
#include "m2snet.h"

#define MAX_SETS 8 /* as many as charts have colours */

typedef struct settings {
    run_options run;
    view_options views;
    m2snet_evaluator_options options;
    double spacings[2 * M2SNET_MAX_SPACINGS];
    char *label_text; /* names lie in it */
    uint8_t labels[M2SNET_MAX_LABELS];
    const char *label_names[M2SNET_MAX_LABELS];
    const char *names[MAX_SETS]; /* of --name */
    int name_count;
    const char *json, *csv, *html;
    const char *images; /* the pictures the page shows, or NULL */
    int32_t folds;
    const char *suffix;          /* of predictions' stems, or NULL */
    const char *group_separator; /* what stands before it in a name is the clip; NULL: no clips */
    int32_t cases;               /* best and worst ones on the page, of each so many */
    m2snet_compare_options compare;
    bool cases_given, compare_given, precision_given;
    bool quiet;
} settings;

/* Spacing number index, 1 x 1 where none was given. */
double spacing_y(const settings *set, int32_t index);
double spacing_x(const settings *set, int32_t index);

/* ---- evaluate_pairs.c ---- */

/* Files that belong together; number i of each list. */
typedef struct pair_list {
    path_list names, predictions, masks;
    path_list unmatched, reasons; /* stems without a partner, complained about */
} pair_list;
void pair_list_free(pair_list *list);

/* Two folders matched by stem, or two files. suffix, where not NULL: stems of predictions have it besides, and files
 * without it are passed over. False after a complaint: there is nothing to score. */
bool collect_pairs(const char *predictions, const char *masks, const char *suffix, pair_list *list);

/* ---- evaluate_run.c ---- */

/* One folder of predictions, or a model's, against the masks. */
typedef struct score_set {
    char *name;
    const char *folder;
    pair_list pairs;
    m2snet_evaluator *evaluator; /* pairs in the order of the list, then what is unmatched, as failures */
    int32_t failed;              /* without the unmatched */
} score_set;

typedef struct evaluation {
    const settings *set;
    m2snet_context *context;
    m2snet_session *session; /* of the model, or NULL */
    view_options views;      /* the options', with further models open */
    m2snet_predict_options predict;
    score_set sets[MAX_SETS];
    int count;
    m2snet_cancel *cancel;
} evaluation;

/* Scores every set; its pairs are there. Pairs that fail are counted; print_problems names them. */
m2snet_status score_sets(evaluation *all, m2snet_error *error);
/* The prediction of one pair, as it is scored: read from its file, or made by the model. Release it with
 * m2snet_image_release or, where *result is not NULL, destroy that instead. */
m2snet_status load_prediction(const evaluation *all, const char *path, m2snet_image *prediction, m2snet_result **result,
                              m2snet_error *error);

/* ---- evaluate_compare.c ---- */

/* The columns of the paper's tables, with the keys of the JSON. */
typedef struct main_number {
    const char *name;
    const char *key;
    bool smaller_is_better;
    bool distance; /* there only where distances are measured */
} main_number;
#define MAIN_NUMBERS 10
extern const main_number main_numbers[MAIN_NUMBERS];
/* NaN for a distance where none is measured. */
double main_number_of(const m2snet_scores *scores, int index);
/* How many decimals a table shows of it. */
int main_number_decimals(int index);

/* Two sets, and the difference second - first of each main number; pairs 0 where there is none. */
typedef struct comparison {
    int first, second;
    m2snet_difference differences[MAIN_NUMBERS];
} comparison;

typedef struct comparison_list {
    comparison items[MAX_SETS * (MAX_SETS - 1) / 2];
    int count;
} comparison_list;
/* Every set with every later one. A number that cannot be compared has pairs 0. */
m2snet_status compare_sets(const evaluation *all, comparison_list *list, m2snet_error *error);

/* ---- evaluate_clips.c ---- */

/* The main numbers of each clip's images, and their plain means over clips; an undefined number enters no mean. */
typedef struct clip {
    char *name;
    int32_t images; /* that count */
    double numbers[MAIN_NUMBERS];
} clip;

typedef struct clip_list {
    clip *items;
    size_t count;
    double mean[MAIN_NUMBERS];
} clip_list;
/* By what stands in front of the separator in a name; names without it are clips of their own. Clips without an image
 * that counts are left out. */
m2snet_status clips_of(const settings *set, const score_set *scored, clip_list *list, m2snet_error *error);
void clip_list_free(clip_list *list);

/* ---- what is made of the scores; each false after a complaint ---- */

void print_problems(const evaluation *all);
void print_tables(const evaluation *all, const comparison_list *comparisons);
bool write_json(const evaluation *all, const comparison_list *comparisons);
bool write_csv(const evaluation *all);
bool write_page(const evaluation *all, const comparison_list *comparisons);

/* ---- parts of the page ---- */

void page_charts(FILE *page, const evaluation *all);
m2snet_status page_cases(FILE *page, const evaluation *all, m2snet_error *error);

#endif
