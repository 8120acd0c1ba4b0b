/* SPDX-License-Identifier: Apache-2.0
 * Settings of m2snet-train that are missing or do not go together. */
#define _GNU_SOURCE 1
#include <string.h>

#include "train.h"

#define MOST_NAMES 6

/* Options that have no part in a run unless something else is set. */
typedef struct part {
    const char *names[MOST_NAMES]; /* ended by NULL or the array's end */
    bool counts;
    const char *wants; /* what would give them one */
} part;

static int check_part(const settings *set, const part *p)
{
    for (int i = 0; i < MOST_NAMES && p->names[i] != NULL && !p->counts; i++) {
        for (size_t k = 0; k < set->given.count; k++) {
            if (strcmp(set->given.items[k], p->names[i]) == 0) {
                return usage_error("--%s would do nothing: it wants %s", p->names[i], p->wants);
            }
        }
    }
    return EXIT_DONE;
}

static int check_parts(const settings *set)
{
    const m2snet_trainer_options *t = &set->trainer;
    const m2snet_objective_options *o = &set->objective;
    const m2snet_augment_options *a = &set->augment;
    const m2snet_fit_options *f = &set->fit;
    bool own_validation = set->validation_data.count > 0, is_split = !own_validation && set->split != SPLIT_NONE;
    bool levels = a->order == M2SNET_AUGMENT_NNUNET;
    const part parts[] = {
        { { "foreground-share" }, f->patches, "--patches" },
        { { "epoch-batches" }, f->sampler == M2SNET_SAMPLER_RANDOM, "--sampler random" },
        { { "balanced-longest" }, f->sampler == M2SNET_SAMPLER_BALANCED, "--sampler balanced" },
        { { "mask-threshold" }, set->labels.count == 0, "one class, not --labels" },
        { { "mask-binarize" }, !o->softmax, "masks of their own, not --softmax" },
        { { "fold", "folds" }, is_split && set->split == SPLIT_FOLDS, "--split folds" },
        { { "ignore-groups", "group-duplicates" }, is_split, "pictures that are split" },
        { { "duplicate-distance" },
          set->duplicates != CHECK_OFF || set->group_duplicates,
          "--duplicates warn or stop, or --group-duplicates" },
        { { "validate-every", "validation-size", "best", "patience" },
          is_split || own_validation,
          "pictures that validate, which --split none leaves out" },
        { { "validate-averaged" }, t->ema_decay > 0.0, "--ema-decay" },
        { { "bce-form" }, o->bce_weight > 0.0, "--bce-weight" },
        { { "batch-dice" }, o->dice_weight > 0.0, "--dice-weight" },
        { { "lossnet-family", "lossnet-weight", "lossnet-distance", "lossnet-size" },
          set->lossnet != NULL,
          "--lossnet" },
        { { "nesterov" }, t->optimiser == M2SNET_OPTIMISER_SGD, "--optimiser sgd" },
        { { "beta2", "epsilon" }, t->optimiser == M2SNET_OPTIMISER_ADAMW, "--optimiser adamw" },
        { { "warmup" }, t->schedule != M2SNET_SCHEDULE_TRIANGLE, "a --schedule other than triangle" },
        { { "power" }, t->schedule == M2SNET_SCHEDULE_POLY, "--schedule poly" },
        { { "encoder-rate" }, !t->freeze_encoder, "an encoder that learns, not --freeze-encoder" },
        { { "rotate-degrees", "rotate-about-index" }, a->p_rotate > 0.0, "--p-rotate" },
        { { "crop-low", "crop-high" }, a->p_crop > 0.0, "--p-crop" },
        { { "brightness" }, a->p_brightness > 0.0, "--p-brightness" },
        { { "contrast" }, a->p_contrast > 0.0, "--p-contrast" },
        { { "saturation" }, a->p_saturation > 0.0, "--p-saturation" },
        { { "hue" }, a->p_hue > 0.0, "--p-hue" },
        { { "blur-low-px", "blur-high-px" }, a->p_blur > 0.0, "--p-blur" },
        { { "noise-low", "noise-high" }, a->p_noise > 0.0, "--p-noise" },
        { { "scale-low", "scale-high" }, a->p_scale > 0.0, "--p-scale" },
        { { "low-resolution" }, a->p_low_resolution > 0.0, "--p-low-resolution" },
        { { "gamma-low", "gamma-high" }, a->p_gamma > 0.0 || a->p_gamma_inverted > 0.0, "--p-gamma" },
        { { "p-saturation", "p-hue" }, !levels, "--augmentation-order colour" },
        { { "p-low-resolution", "p-gamma", "p-gamma-inverted" }, levels, "--augmentation-order nnunet" },
    };
    int code = EXIT_DONE;

    for (size_t i = 0; code == EXIT_DONE && i < sizeof parts / sizeof parts[0]; i++) {
        code = check_part(set, &parts[i]);
    }
    return code;
}

int check_settings(const settings *set)
{
    if (set->data.count == 0) {
        return usage_error("--data is missing: a folder with images/ and masks/, or a CSV list");
    }
    if (!set->check && (set->output == NULL || set->output[0] == '\0')) {
        return usage_error("--output is missing: the folder of models, checkpoint and log");
    }
    if (set->model != NULL && set->network != NULL) {
        return usage_error("--model and --network: the one has weights, the other draws them; take one");
    }
    if (set->model != NULL && set->start != NULL) {
        return usage_error("--model has every weight, --start is for those of --network; take one");
    }
    if (set->weight_count > 0 && (size_t)set->weight_count != set->data.count) {
        return usage_error("--weights: %d of them for %zu sets", (int)set->weight_count, set->data.count);
    }
    if (set->data.count + set->validation_data.count > MAX_SETS) {
        return usage_error("more than %d data sets", MAX_SETS);
    }
    if (set->validation_data.count > 0 && set->split != SPLIT_AUTO && set->split != SPLIT_NONE) {
        return usage_error("--split does not go with --validation-data: that is the split");
    }
    if (set->resume && set->overwrite) {
        return usage_error("--resume goes on, --overwrite begins anew; take one");
    }
    if (set->fold >= set->folds) {
        return usage_error("--fold %d: there are folds 0 to %d", (int)set->fold, (int)set->folds - 1);
    }
    return check_parts(set);
}
