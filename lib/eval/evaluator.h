/* SPDX-License-Identifier: Apache-2.0
 * A set of scored pairs: means, folds, curves. */
#ifndef M2S_EVAL_EVALUATOR_H
#define M2S_EVAL_EVALUATOR_H

#include <stdatomic.h>

#include "eval/score.h"
#include "run/context.h"

typedef struct m2s_item {
    char *name;
    m2snet_status status;        /* not OK: the pair could not be scored */
    char *message;               /* why; NULL when OK */
    char *warning;               /* NULL = nothing suspicious */
    m2s_pair_scores *pair;       /* one of these when OK: without labels ... */
    m2snet_label_scores *labels; /* ... or label_count of these */
} m2s_item;

struct m2snet_evaluator {
    m2snet_context *context;
    m2s_eval_settings settings;
    m2s_item *items;
    int32_t count, capacity;
    m2s_scratch scratch;
    atomic_bool busy;
    char *json;
};

m2snet_status m2s_evaluator_create(m2snet_context *context, const m2snet_evaluator_options *options,
                                   m2snet_evaluator **created, m2snet_error *error);
void m2s_evaluator_destroy(m2snet_evaluator *evaluator); /* NULL is fine */

/* BUSY when another thread is inside. */
m2snet_status m2s_evaluator_enter(m2snet_evaluator *evaluator, m2snet_error *error);
void m2s_evaluator_leave(m2snet_evaluator *evaluator);

m2snet_status m2s_evaluator_add(m2snet_evaluator *evaluator, const char *name, const m2snet_image *prediction,
                                const m2snet_image *mask, m2snet_error *error);
m2snet_status m2s_evaluator_add_files(m2snet_evaluator *evaluator, const m2snet_file_pair *pairs, int32_t count,
                                      const m2snet_control *control, int32_t *failed, m2snet_error *error);
m2snet_status m2s_evaluator_add_failure(m2snet_evaluator *evaluator, const char *name, m2snet_status failure,
                                        const char *message, m2snet_error *error);

/* Whether item enters the means: scored, and not skipped for an empty mask. */
bool m2s_evaluator_counts(const m2snet_evaluator *evaluator, const m2s_item *item);
m2snet_status m2s_evaluator_item(const m2snet_evaluator *evaluator, int32_t index, const m2s_item **item,
                                 m2snet_error *error);
m2snet_status m2s_evaluator_need_labels(const m2snet_evaluator *evaluator, bool labels, m2snet_error *error);

/* Of fold number fold of folds; folds 1, fold 0 is the whole set. MISMATCH when no image counts. */
m2snet_status m2s_evaluator_set(const m2snet_evaluator *evaluator, int32_t folds, int32_t fold, m2snet_scores *scores,
                                m2snet_error *error);
/* Over some images alone; INVALID_ARGUMENT: an index that is none, or twice. */
m2snet_status m2s_evaluator_subset(const m2snet_evaluator *evaluator, const int32_t *indices, int32_t count,
                                   m2snet_scores *scores, m2snet_error *error);
m2snet_status m2s_evaluator_folds(const m2snet_evaluator *evaluator, int32_t folds, int32_t ddof, m2snet_scores *mean,
                                  m2snet_scores *deviation, m2snet_error *error);
m2snet_status m2s_evaluator_set_label(const m2snet_evaluator *evaluator, int32_t label, m2snet_label_scores *scores,
                                      m2snet_error *error);
void m2s_evaluator_info(const m2snet_evaluator *evaluator, m2snet_set_info *info);
m2snet_status m2s_evaluator_curve(const m2snet_evaluator *evaluator, int32_t index, m2snet_curve curve,
                                  double values[M2S_LEVELS], m2snet_error *error);

#endif
