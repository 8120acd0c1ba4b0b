/* SPDX-License-Identifier: Apache-2.0
 * The step graph: network in train mode, objective, gradients, updates. One run of it is one training step. */
#ifndef M2S_TRAIN_STEP_H
#define M2S_TRAIN_STEP_H

#include "net/config.h"
#include "train/objective.h"

typedef enum m2s_optimiser { M2S_OPTIMISER_SGD, M2S_OPTIMISER_ADAMW } m2s_optimiser;

typedef enum m2s_supervision {
    M2S_SUPERVISION_FINAL,  /* the logits alone */
    M2S_SUPERVISION_EQUAL,  /* and the maps of net/supervision.h, each with weight 1 */
    M2S_SUPERVISION_HALVING /* 1, 1/2, 1/4, 1/8 from the logits to the coarsest, divided by their sum */
} m2s_supervision;

/* What makes two step graphs of one size differ. */
typedef struct m2s_recipe {
    m2s_objective objective;
    m2s_supervision supervision;
    m2s_optimiser optimiser;
    double momentum; /* SGD; AdamW: beta1 */
    double beta2;    /* AdamW */
    double epsilon;  /* AdamW */
    double weight_decay;
    bool nesterov;
    double encoder_rate;    /* the encoder's share of the learning rate: 0.1 in the paper; 0 = it stays as it is */
    bool freeze_encoder;    /* no gradient, no update, running statistics used and kept */
    bool freeze_batch_norm; /* running statistics normalise and stay; weight and bias are trained */
    double clip_norm;       /* of all gradients together; 0 = no clipping */
    int32_t accumulate;     /* runs for each update, >= 1; gradients are averaged */
    double ema_decay;       /* of averaged parameters; 0 = none */
    double drop_path;       /* encoders that have it: how often the last branch is left out for a picture; 0 = never */
    bool recompute;         /* less memory, more time: pass_recompute. The same numbers */
    bool scaled;            /* gradients are made times M2S_NAME_LOSS_SCALE and used times M2S_NAME_UNSCALE: F16, in
                             * whose range small ones would be lost */
    bool keep_gradients;    /* every parameter's gradient is an output, "gradient/KEY" (tests, inspection) */
} m2s_recipe;

/* The paper's recipe with the defaults of MODELS.md 1.7. */
void m2s_recipe_default(m2s_recipe *recipe);

/* Scalar inputs of a step graph, to be written before every run. */
#define M2S_NAME_RATE "rate" /* learning rate of the head's group */
/* M2S_NAME_DRAW (net/names.h): drop_path > 0: a whole number below 2^24, another one for each run */
#define M2S_NAME_LOSS_SCALE "loss_scale" /* gradient of the objective: 1, or with scaled, a power of two */
#define M2S_NAME_UNSCALE    "unscale"    /* scaled: 1 / loss_scale */
#define M2S_NAME_BOUNDARY   "boundary"   /* 1: this run ends with an update; 0: it only adds gradients */
#define M2S_NAME_KEEP                                                                                                  \
    "keep"                                 /* accumulate > 1: 0 in the first run after an update, else 1; with         \
                                            * scaled, this run's loss_scale over the last one's, which the sums are in */
#define M2S_NAME_CORRECTION1 "correction1" /* AdamW: 1 - beta1^t, t counting updates from 1 */
#define M2S_NAME_CORRECTION2 "correction2" /* AdamW: 1 - beta2^t */
/* Outputs beside those of the objective. */
#define M2S_NAME_FINITE    "finite"    /* 1: loss and gradients are finite; 0: nothing was written */
#define M2S_NAME_GRAD_NORM "grad_norm" /* sum of the squares of all gradients, before clipping and not scaled */
/* Prefixes of state that belongs to a parameter: "momentum/resnet.conv1.0.weight". */
#define M2S_STATE_MOMENTUM "momentum/" /* SGD; AdamW: first moment */
#define M2S_STATE_SECOND   "second/"   /* AdamW */
#define M2S_STATE_SUM      "sum/"      /* accumulated gradients */
#define M2S_STATE_AVERAGE  "average/"  /* averaged parameters; starts as a copy of them */
#define M2S_GRADIENT       "gradient/" /* outputs of keep_gradients */

/* The graph for n pictures of h x w. Its state: parameters and running statistics under the checkpoint's keys, and what
 * the prefixes above say, the same for every size. literal: the network as it is defined, without fusing (backend ref).
 * Parameters that stay constant are those of the loss network alone. */
m2snet_status m2s_step_build(m2s_memory *memory, const m2s_config *config, const m2s_recipe *recipe, int64_t n,
                             int64_t h, int64_t w, m2snet_dtype dtype, bool literal, m2s_graph **graph,
                             m2snet_error *error);

/* Whether a state of that name is a parameter that learns or a running statistic: goes into a model file. */
bool m2s_step_is_weight(const char *name);

#endif
