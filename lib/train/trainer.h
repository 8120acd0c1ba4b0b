/* SPDX-License-Identifier: Apache-2.0
 * Trainers: the state of a training, and step plans by size that all work on it. */
#ifndef M2S_TRAIN_TRAINER_H
#define M2S_TRAIN_TRAINER_H

#include <stdatomic.h>

#include "run/model.h"
#include "run/program.h"
#include "run/state.h"
#include "train/augment.h"
#include "train/objective_value.h"
#include "train/schedule.h"
#include "train/step.h"

#define M2S_TRAINER_MAX_PLANS 64

/* The loss scale of training in F16: halved when a gradient overflows, doubled after so many steps without. The numbers
 * are those of PyTorch's GradScaler, which has no most. */
#define M2S_FIRST_LOSS_SCALE  65536.0
#define M2S_MOST_LOSS_SCALE   16777216.0
#define M2S_SCALE_GROWS_AFTER 2000

/* Sums over the steps of an epoch so far, for its row. */
typedef struct m2s_epoch_sums {
    double loss, bce, iou, dice, cross_entropy, lossnet; /* of the finite steps, each weighted by its pictures */
    int64_t finite_images, images, bad_steps;
} m2s_epoch_sums;

/* Where a training stands: everything that goes on from step to step beside the arrays. */
typedef struct m2s_position {
    int64_t epoch, batch; /* of the next step; batch == the epoch's number of batches: its validation is due */
    int64_t step;         /* taken, skipped ones included */
    int64_t updates;
    int64_t pending;     /* runs whose gradients wait for an update, 0..accumulate - 1 */
    int64_t bad_steps;   /* in a row */
    double loss_scale;   /* of the next step: 1, or in F16 a power of two, 1..M2S_MOST_LOSS_SCALE */
    double sum_scale;    /* of the gradients that wait */
    int64_t good_steps;  /* F16: finite ones in a row since the scale changed */
    int64_t validations; /* in a row that were no best one */
    int64_t best_epoch;  /* -1: none */
    double best_score;
    m2s_epoch_sums sums;
} m2s_position;

typedef struct m2s_trainer_plan {
    int64_t n, h, w;
    m2s_program *program;
    uint64_t last_use;
} m2s_trainer_plan;

struct m2snet_trainer {
    m2snet_model *model; /* retained: configuration, metadata, what does not learn */
    m2snet_trainer_options options;
    m2snet_objective_options objective; /* with a retained lossnet */
    m2s_recipe recipe;
    m2s_config config; /* of the models made: with the objective's activation, the last fit's labels and patches */
    char *recipe_json; /* of the options; what a checkpoint must agree with */
    char *data_json;   /* of the last fit; NULL: none yet */
    m2s_state *state;
    uint64_t parameters;
    size_t state_bytes;
    m2s_trainer_plan plans[M2S_TRAINER_MAX_PLANS];
    int32_t plan_count;
    uint64_t uses;
    m2s_buffer *arena;
    size_t arena_bytes;
    void *wide; /* a batch in the plan's dtype: F64, or a caller's strided one */
    size_t wide_bytes;
    m2s_position position;
    atomic_bool busy;
    atomic_bool fitting; /* inside m2snet_trainer_fit, callbacks included */
    bool time_steps;
    m2s_program *last; /* that ran last */
};

void m2s_trainer_options_default(m2snet_trainer_options *options);
m2snet_status m2s_trainer_options_preset(m2snet_trainer_options *options, const char *name, m2snet_error *error);
m2snet_status m2s_trainer_create(m2snet_model *model, const m2snet_trainer_options *options, m2snet_trainer **trainer,
                                 m2snet_error *error);
void m2s_trainer_destroy(m2snet_trainer *trainer); /* NULL is fine */

/* Every use of a trainer is between enter and leave; BUSY when another thread is inside. */
m2snet_status m2s_trainer_enter(m2snet_trainer *trainer, m2snet_error *error);
void m2s_trainer_leave(m2snet_trainer *trainer);

/* F64, or F32: what arrays and scalars are. */
m2snet_dtype m2s_trainer_dtype(const m2snet_trainer *trainer);
/* Compiled on the first call; valid until the next call. */
m2snet_status m2s_trainer_plan_for(m2snet_trainer *trainer, int64_t n, int64_t h, int64_t w, m2s_control *control,
                                   m2s_program **program, m2snet_error *error);

/* One batch: dense numbers of dtype F32 or F64, or tensors of any strides. */
typedef struct m2s_train_batch {
    int64_t n, h, w;
    const float *images, *masks;                     /* both, or ... */
    const m2snet_tensor *image_tensor, *mask_tensor; /* ... both of these */
    /* NULL, or n: which of images are unfinished (train/loader.h), and by what the device, whose backend has
     * buffer_augment, finishes them. */
    const m2s_unfinished *unfinished;
    const m2snet_augment_options *augment;
    const m2s_mask_coding *coding;
} m2s_train_batch;

/* Runs one step and fills row, all but its times of waiting. Advances step, updates, pending, bad_steps and sums of the
 * position, not its place in the data. rate is the head's. DIVERGED: the last of max_bad_steps. After any other failure
 * nothing has changed. */
m2snet_status m2s_trainer_run(m2snet_trainer *trainer, const m2s_train_batch *batch, double rate, m2snet_train_row *row,
                              m2s_control *control, m2snet_error *error);

/* The schedule's rate for one batch of a run. */
double m2s_trainer_rate(const m2snet_trainer *trainer, int64_t epoch, int64_t batch, int64_t epochs,
                        int64_t steps_per_epoch);

/* One step for m2snet_trainer_step: the caller's tensors, checked; advances the place too. */
m2snet_status m2s_trainer_step(m2snet_trainer *trainer, const m2snet_tensor *images, const m2snet_tensor *masks,
                               double rate, m2snet_train_row *row, m2s_control *control, m2snet_error *error);

/* The weights as they are, as a model. */
m2snet_status m2s_trainer_model(m2snet_trainer *trainer, bool averaged, m2snet_model **model, m2snet_error *error);

#endif
