/* SPDX-License-Identifier: Apache-2.0
 * One pair: all its metrics at once. */
#ifndef M2S_EVAL_SCORE_H
#define M2S_EVAL_SCORE_H

#include "eval/histogram.h"
#include "eval/overlap.h"
#include "eval/surface.h"

#define M2S_SPACING_KEY_BYTES 64

/* m2snet_evaluator_options, checked and copied. */
typedef struct m2s_eval_settings {
    m2snet_profile profile;
    m2snet_empty empty;
    double spacings[M2SNET_MAX_SPACINGS][2];
    char spacing_keys[M2SNET_MAX_SPACINGS][M2S_SPACING_KEY_BYTES]; /* "0.5,2.0" */
    int32_t spacing_count;
    int32_t connectivity;
    bool surface, penalty, resize;
    int32_t label_count; /* 0: pictures are probability maps */
    uint8_t labels[M2SNET_MAX_LABELS];
    char *label_names[M2SNET_MAX_LABELS];
} m2s_eval_settings;

void m2s_eval_options_default(m2snet_evaluator_options *options);
/* Ended by m2s_eval_settings_release, also after a failure. */
m2snet_status m2s_eval_settings_import(m2s_memory *memory, const m2snet_evaluator_options *given,
                                       m2s_eval_settings *settings, m2snet_error *error);
void m2s_eval_settings_release(m2s_memory *memory, m2s_eval_settings *settings);

/* A bit for each thing that is suspicious. */
enum {
    M2S_WARN_MASK_CODE = 1, /* a mask that is not empty has no pixel above 128 */
    M2S_WARN_STRETCHED = 2, /* a nearly empty map was stretched to full contrast */
    M2S_WARN_RESIZED = 4    /* the prediction had another size */
};

/* Everything that sets are made of. */
typedef struct m2s_pair_scores {
    m2snet_scores scores;
    m2s_histogram gray; /* of the prediction as it came, before it is stretched */
    m2s_sweep sweep;
    m2s_sweep authors_sweep; /* PROFILE_AUTHORS */
    uint32_t warnings;
} m2s_pair_scores;

m2snet_status m2s_score_pair(m2s_scratch *scratch, const m2s_eval_settings *settings, const m2snet_image *prediction,
                             const m2snet_image *mask, m2s_pair_scores *result, m2snet_error *error);

/* The same for two label maps; scores has room for every label. */
m2snet_status m2s_score_label_maps(m2s_scratch *scratch, const m2s_eval_settings *settings,
                                   const m2snet_image *prediction, const m2snet_image *mask,
                                   m2snet_label_scores *scores, m2snet_error *error);

/* Distances of the settings' spacings between two sets, with the penalty where the settings ask for one; returns in
 * *undefined whether there are none. */
m2snet_status m2s_score_surfaces(m2s_scratch *scratch, const m2s_eval_settings *settings, const m2s_plane *prediction,
                                 const m2s_plane *mask, m2snet_surface_scores *surfaces, bool *undefined,
                                 m2snet_error *error);

/* 1 where the policy counts a pair without any pixel as perfect, else 0. */
double m2s_both_empty_value(const m2s_eval_settings *settings);

/* ---- the numbers of m2snet_scores, by name ---- */

typedef enum m2s_score_kind {
    M2S_SCORE_MEAN,       /* of a set: mean over images */
    M2S_SCORE_CURVE_MEAN, /* of a set: mean of the mean curve */
    M2S_SCORE_CURVE_MAX
} m2s_score_kind;

typedef struct m2s_score_field {
    const char *key;
    size_t offset; /* of a double in m2snet_scores */
    m2s_score_kind kind;
    m2snet_curve curve; /* of the CURVE kinds */
} m2s_score_field;

/* In the order of the JSON; the default's, and from m2s_authors_field_first on the authors'. */
extern const m2s_score_field m2s_score_fields[];
extern const int32_t m2s_score_field_count;
extern const int32_t m2s_authors_field_first;

extern const m2s_score_field m2s_surface_fields[]; /* offsets in m2snet_surface_scores */
extern const int32_t m2s_surface_field_count;

double *m2s_field_of(void *structure, const m2s_score_field *field);

#endif
