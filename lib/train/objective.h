/* SPDX-License-Identifier: Apache-2.0
 * The objective of training as graph building: weighted BCE, weighted IoU, Dice, cross-entropy and the loss network's
 * feature distance (paper 3.3; MODELS.md 1.7 rows 10 to 13, 3.8, 3.9, 3.11, 4.4). */
#ifndef M2S_TRAIN_OBJECTIVE_H
#define M2S_TRAIN_OBJECTIVE_H

#include "graph/graph.h"
#include "net/lossnet.h"

typedef enum m2s_term {
    M2S_TERM_BCE,
    M2S_TERM_IOU,
    M2S_TERM_DICE,
    M2S_TERM_CROSS_ENTROPY,
    M2S_TERM_LOSSNET,
    M2S_TERM_COUNT
} m2s_term;

extern const char *const m2s_term_names[M2S_TERM_COUNT]; /* graph outputs: "loss.bce", ... */
#define M2S_NAME_LOSS "loss"                             /* their weighted sum */
#define M2S_NAME_MASK "mask"                             /* graph input (n, h, w, classes), 0..1 */

typedef struct m2s_objective {
    double weight[M2S_TERM_COUNT];     /* 0 = the term is not computed */
    bool plain_bce;                    /* released form: the mean of all pixels, no weights */
    bool softmax;                      /* classes exclude each other: Dice on softmax, else on sigmoids */
    bool batch_dice;                   /* Dice of the whole batch, else of each image */
    const m2s_lossnet_family *lossnet; /* for M2S_TERM_LOSSNET */
    int32_t lossnet_size_px;           /* its input is resized to a square of this side; 0 = left as it is */
    bool lossnet_l2;                   /* mean over images of the Euclidean norm, else mean of squares */
} m2s_objective;

/* Paper's terms: weighted BCE + weighted IoU, and 0.1 of VGG-16's distance at 224 px once a loss network is there. */
void m2s_objective_default(m2s_objective *objective);

/* A map of deep supervision, and its weight. */
typedef struct m2s_deep_map {
    m2s_value logits;
    double weight;
} m2s_deep_map;

/* Appends the terms of logits and mask (same shape) and their weighted sum, all marked as outputs by the names above.
 * Returns the sum. */
m2s_value m2s_objective_build(m2s_graph *graph, const m2s_objective *objective, m2s_value logits, m2s_value mask);
/* The same of several maps, the final one first: each has every term, times its weight, but the loss network's
 * distance, which is that of the final map alone, unweighted. The outputs of single terms are those of the final map.
 * count at least 1. */
m2s_value m2s_objective_build_deep(m2s_graph *graph, const m2s_objective *objective, const m2s_deep_map *maps,
                                   int32_t count, m2s_value mask);

#endif
