/* SPDX-License-Identifier: Apache-2.0
 * Logits of pictures: from one network or the mean of several, of the picture as a whole or of windows that slide over
 * it, as it is and mirrored. Means are of logits. */
#ifndef M2S_RUN_VIEWS_H
#define M2S_RUN_VIEWS_H

#include "run/inputs.h"

/* Inputs computed in one run of a network: enough to fill the threads, few enough to keep the arena small. */
#define M2S_VIEWS_BATCH M2S_MAX_WINDOWS

typedef struct m2s_views {
    m2snet_session *session[1 + M2SNET_MAX_ENSEMBLE]; /* the caller's first, entered by him; the others by open */
    int32_t sessions;
    int32_t width, height, classes; /* of a network's input and logits */
    bool tiles;
    double step;    /* of windows, as a share of their sides */
    int32_t mirror; /* m2snet_mirror */
    m2s_control *control;
    const m2s_look *look; /* what the first network shows besides; NULL: nothing */
    bool one_by_one;      /* one picture in each run, whose input and logits stay where they are */
    /* Of the last call of m2s_views_logits. */
    double prepare_ms[M2S_VIEWS_BATCH], network_ms;
    int32_t window_count;
    /* Scratch. */
    float *pixels;  /* inputs of a run, at most M2S_VIEWS_BATCH */
    float *logits;  /* their logits */
    double *wide;   /* both in double, for sessions of precision F64 */
    float *mean;    /* over mirrored inputs and networks */
    float *grid;    /* logits of a whole picture, from windows */
    float *weights; /* of a window: its rows', then its columns' */
} m2s_views;

/* For `pictures` pictures. INVALID_ARGUMENT, BUSY or MISMATCH when the options or their sessions make no sense
 * together. Close it in any case. */
m2snet_status m2s_views_open(m2s_views *views, m2snet_session *session, const m2snet_predict_options *options,
                             int32_t pictures, m2s_control *control, m2snet_error *error);
void m2s_views_close(m2s_views *views);

/* Pictures that one call of m2s_views_logits takes. */
int32_t m2s_views_batch(const m2s_views *views);
/* Inputs that a network sees of each window: 1, 2 or 4. */
int32_t m2s_views_mirrored(const m2s_views *views);

/* Dense logits (h, w, classes) of 1..m2s_views_batch pictures, one behind the other; they belong to views and last
 * until the next call. The size is the sessions' input or, with tiles, the region's (there is one picture then). */
m2snet_status m2s_views_logits(m2s_views *views, const m2snet_image *images, int32_t count, const m2s_rect *region,
                               float **logits, int32_t *width, int32_t *height, m2snet_error *error);

#endif
