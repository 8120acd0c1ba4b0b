/* SPDX-License-Identifier: Apache-2.0
 * The settings of m2snet-train: one table for the command line, recipes and --help. */
#define _GNU_SOURCE 1
#include <getopt.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/json_reader.h"
#include "common/json_writer.h"
#include "train.h"

/* ---- the table ------------------------------------------------------------ */

typedef enum kind {
    KIND_HEADING, /* of a part of --help */
    KIND_TEXT,    /* char *, owned */
    KIND_PATHS,   /* path_list: given again it appends */
    KIND_SIZES,   /* int_list */
    KIND_WEIGHTS, /* the sets' */
    KIND_INT32,
    KIND_INT64,
    KIND_UINT64,
    KIND_NUMBER,
    KIND_FLAG, /* int32_t; alone on the command line it means 1 */
    KIND_WORD  /* int32_t or an enum of that size: the place in words */
} kind;

typedef struct row {
    const char *name;
    kind kind;
    size_t offset; /* in settings */
    double low, high;
    const char *const *words; /* KIND_WORD, ended by NULL */
    const char *help;         /* "ARGUMENT  text" */
} row;

static const char *const missing_words[] = { "refuse", "skip", "empty", NULL };
static const char *const split_words[] = { "auto", "column", "fraction", "folds", "none", NULL };
static const char *const check_words[] = { "stop", "warn", "off", NULL };
static const char *const bce_words[] = { "weighted", "mean", NULL };
static const char *const distance_words[] = { "mse", "l2", NULL };
static const char *const supervision_words[] = { "final", "equal", "halving", NULL };
static const char *const optimiser_words[] = { "sgd", "adamw", NULL };
static const char *const schedule_words[] = { "triangle", "warmup-linear", "poly", "cosine", "constant", NULL };
static const char *const precision_words[] = { "f32", "f64", "f16", "bf16", "tf32", NULL };
static const char *const sampler_words[] = { "concat", "balanced", "random", NULL };
static const char *const order_words[] = { "colour", "nnunet", NULL };
static const char *const unreadable_words[] = { "stop", "skip", NULL };
static const char *const best_words[] = { "dice", "iou", NULL };

#define AT(member) offsetof(settings, member)
#define HEADING(text)                                                                                                  \
    {                                                                                                                  \
        text, KIND_HEADING, 0, 0, 0, NULL, NULL                                                                        \
    }
#define TEXT(name, member, help)                                                                                       \
    {                                                                                                                  \
        name, KIND_TEXT, AT(member), 0, 0, NULL, help                                                                  \
    }
#define OTHER(kind, name, member, low, high, help)                                                                     \
    {                                                                                                                  \
        name, kind, AT(member), low, high, NULL, help                                                                  \
    }
#define NUMBER(name, member, low, high, help)                                                                          \
    {                                                                                                                  \
        name, KIND_NUMBER, AT(member), low, high, NULL, help                                                           \
    }
#define FLAG(name, member, help)                                                                                       \
    {                                                                                                                  \
        name, KIND_FLAG, AT(member), 0, 1, NULL, help                                                                  \
    }
#define WORD(name, member, words, help)                                                                                \
    {                                                                                                                  \
        name, KIND_WORD, AT(member), 0, 0, words, help                                                                 \
    }
#define SHARE(name, member)                                                                                            \
    {                                                                                                                  \
        name, KIND_NUMBER, AT(augment.member), 0, 1, NULL, NULL                                                        \
    }

static const row rows[] = {
    HEADING("What is trained"),
    TEXT("preset", preset, "NAME  where all settings start: paper (default), released, compact, finetune, nnunet"),
    TEXT("model", model, "FILE  start from these weights"),
    TEXT("network", network,
         "NAME  or from drawn ones: res2net50 or compact (as the preset says), an encoder as convnext_base, a "
         "configuration as JSON, or a file of it"),
    TEXT("start", start,
         "FILE  weights of --network that have their key and shape in FILE are its: an ImageNet encoder, a model with "
         "other classes"),
    TEXT("output", output, "DIR  of models, checkpoint, log and page; made where missing"),
    FLAG("resume", resume, "go on from the checkpoint in DIR, where there is one, bit for bit"),
    FLAG("overwrite", overwrite, "begin anew where DIR has a checkpoint"),
    FLAG("check", check, "look over settings and pictures, say what a run would need, and end; writes nothing"),
    HEADING("Pictures"),
    OTHER(KIND_PATHS, "data", data, 0, 0, "PATH  a folder with images/ and masks/, or a CSV list; again for more sets"),
    OTHER(KIND_PATHS, "validation-data", validation_data, 0, 0, "PATH  the same, for validation alone"),
    OTHER(KIND_WEIGHTS, "weights", weights, 0, 0, "W,W,...  of the sets of --data, in their order; default 1"),
    WORD("split", split, split_words,
         "HOW  column of the list, fraction, folds or none; auto (default): the column, else a fraction"),
    NUMBER("validation", validation, 0, 0.9, "F  fraction of the pictures that validates; default 0.1"),
    OTHER(KIND_INT32, "folds", folds, 2, 1000, "K  of cross-validation; default 5"),
    OTHER(KIND_INT32, "fold", fold, 0, 999, "N  the one that validates, from 0"),
    FLAG("ignore-groups", ignore_groups, "pictures of one patient may be on both sides of the split"),
    FLAG("group-duplicates", group_duplicates, "near-duplicates stay on one side of the split"),
    WORD("missing", missing, missing_words, "HOW  a picture without a mask: refuse (default), skip, or empty mask"),
    TEXT("mask-suffix", mask_suffix, "TEXT  a.jpg belongs to a<TEXT>.png"),
    TEXT("group-separator", group_separator, "TEXT  what stands before it in a name is the patient"),
    WORD("lint", lint, check_words, "HOW  pictures that would harm: stop (default), warn, off"),
    WORD("duplicates", duplicates, check_words, "HOW  near-duplicates across the split: stop, warn (default), off"),
    OTHER(KIND_INT32, "duplicate-distance", duplicate_distance, 0, 64, "BITS  of 128 that may differ; default 12"),
    WORD("unreadable", fit.unreadable, unreadable_words,
         "HOW  a picture that fails while training: stop (default), skip"),
    WORD("sampler", fit.sampler, sampler_words,
         "HOW  several sets: concat (default) or balanced; random: with replacement"),
    OTHER(KIND_INT64, "epoch-batches", fit.epoch_batches, 0, 1 << 30,
          "N  random: batches of an epoch; 0 (default): as many as the pictures fill"),
    FLAG("patches", fit.patches,
         "--sizes are those of windows cut out of the pictures; without --sizes: about the median picture's"),
    NUMBER("foreground-share", fit.foreground_share, 0, 1,
           "F  patches: share of a batch that is centred on something to find; default 0.33"),
    FLAG("balanced-longest", fit.balanced_longest, "balanced: an epoch ends with the longest set"),
    OTHER(KIND_INT32, "mask-threshold", fit.mask_threshold, 0, 255, "N  gray levels from N on are inside; 0: soft"),
    FLAG("mask-binarize", fit.mask_binarize, "masks become 0 or 1 again after interpolation"),
    OTHER(KIND_SIZES, "labels", labels, 0, 255,
          "N,N,...  several classes: their gray levels; default: the model's, if it has any"),
    OTHER(KIND_INT32, "background-label", fit.background_label, -1, 255,
          "N  level of what is no class; -1 (default): 0 or, where that is a label, the highest free one"),
    HEADING("Length"),
    OTHER(KIND_INT64, "epochs", fit.epochs, 1, 1e6, "N  "),
    OTHER(KIND_INT32, "batch", fit.batch, 1, 4096, "N  pictures"),
    OTHER(KIND_SIZES, "sizes", sizes, 33, 8192, "PX,PX,...  sides of the input, one drawn for each batch"),
    OTHER(KIND_INT64, "max-steps", fit.max_steps, 0, 1e15, "N  save and end after so many steps of this run"),
    FLAG("drop-last", fit.drop_last, "leave out an epoch's last, partial batch"),
    OTHER(KIND_INT32, "patience", fit.patience, 0, 1e6, "N  end after so many validations without a better one"),
    HEADING("Objective (docs/training.md)"),
    NUMBER("bce-weight", objective.bce_weight, 0, 1e6, "W  binary cross-entropy"),
    WORD("bce-form", objective.bce_form, bce_words, "F  weighted or mean"),
    NUMBER("iou-weight", objective.iou_weight, 0, 1e6, "W  weighted intersection over union"),
    NUMBER("dice-weight", objective.dice_weight, 0, 1e6, "W  "),
    NUMBER("cross-entropy-weight", objective.cross_entropy_weight, 0, 1e6, "W  with --softmax"),
    FLAG("softmax", objective.softmax, "classes exclude each other; the first is the background"),
    FLAG("batch-dice", objective.batch_dice, "Dice of the whole batch"),
    TEXT("lossnet", lossnet, "FILE  torchvision's VGG-16, ResNet-50 or Swin-T: adds the loss network's term"),
    TEXT("lossnet-family", lossnet_family, "NAME  vgg16, resnet50, resnet50-stem or swin_t; default: told by the file"),
    NUMBER("lossnet-weight", objective.lossnet_weight, 0, 1e6, "W  "),
    WORD("lossnet-distance", objective.lossnet_distance, distance_words, "D  mse or l2"),
    OTHER(KIND_INT32, "lossnet-size", objective.lossnet_size_px, 0, 8192, "PX  0: the picture's own"),
    WORD("supervision", trainer.supervision, supervision_words,
         "MAPS  final (default), or also the decoder's coarser ones: equal, or halving weights"),
    HEADING("Optimiser"),
    WORD("optimiser", trainer.optimiser, optimiser_words, "O  sgd or adamw"),
    NUMBER("learning-rate", trainer.learning_rate, 0, 1e6, "R  the highest"),
    NUMBER("encoder-rate", trainer.encoder_rate, 0, 1000, "S  the encoder's share of it"),
    NUMBER("momentum", trainer.momentum, 0, 0.999999, "M  adamw: beta1"),
    NUMBER("beta2", trainer.beta2, 0, 0.999999999, "B  "),
    NUMBER("epsilon", trainer.epsilon, 1e-300, 1, "E  "),
    NUMBER("weight-decay", trainer.weight_decay, 0, 10, "D  "),
    FLAG("nesterov", trainer.nesterov, ""),
    WORD("schedule", trainer.schedule, schedule_words, "S  triangle, warmup-linear, poly, cosine or constant"),
    NUMBER("warmup", trainer.warmup, 0, 1, "F  share of all steps"),
    NUMBER("power", trainer.power, 0, 100, "P  of poly"),
    FLAG("rate-per-epoch", trainer.rate_per_epoch, "the rate changes between epochs alone"),
    NUMBER("clip-norm", trainer.clip_norm, 0, 1e12, "C  of all gradients together; 0: none"),
    OTHER(KIND_INT32, "accumulate", trainer.accumulate, 1, 65536, "N  batches for each update"),
    FLAG("freeze-encoder", trainer.freeze_encoder, ""),
    FLAG("freeze-batch-norm", trainer.freeze_batch_norm, ""),
    NUMBER("drop-path", trainer.drop_path, 0, 0.9, "P  ConvNeXt, PVTv2: how often the last block is left out"),
    NUMBER("ema-decay", trainer.ema_decay, 0, 0.9999999, "D  averaged weights are validated and saved; 0: none"),
    FLAG("recompute", trainer.recompute, "less memory, more time, the same numbers"),
    OTHER(KIND_INT32, "max-bad-steps", trainer.max_bad_steps, 1, 1e6, "N  in a row without a finite loss; default 10"),
    OTHER(KIND_UINT64, "seed", trainer.seed, 0, 9007199254740992.0,
          "N  of weights, batches and augmentation; default 0"),
    HEADING("Augmentation (docs/training-data.md); p-... are probabilities"),
    SHARE("p-flip-horizontal", p_flip_horizontal),
    SHARE("p-flip-vertical", p_flip_vertical),
    SHARE("p-quarter-turns", p_quarter_turns),
    SHARE("p-rotate", p_rotate),
    NUMBER("rotate-degrees", augment.rotate_degrees, 0, 180, NULL),
    SHARE("p-crop", p_crop),
    SHARE("crop-low", crop_low),
    SHARE("crop-high", crop_high),
    SHARE("p-brightness", p_brightness),
    SHARE("brightness", brightness),
    SHARE("p-contrast", p_contrast),
    SHARE("contrast", contrast),
    SHARE("p-saturation", p_saturation),
    SHARE("saturation", saturation),
    SHARE("p-hue", p_hue),
    SHARE("hue", hue),
    SHARE("p-blur", p_blur),
    NUMBER("blur-low-px", augment.blur_low_px, 0, 16, NULL),
    NUMBER("blur-high-px", augment.blur_high_px, 0, 16, NULL),
    SHARE("p-noise", p_noise),
    SHARE("noise-low", noise_low),
    SHARE("noise-high", noise_high),
    WORD("augmentation-order", augment.order, order_words, "O  colour (default) or nnunet"),
    SHARE("p-scale", p_scale),
    NUMBER("scale-low", augment.scale_low, 0.1, 10, NULL),
    NUMBER("scale-high", augment.scale_high, 0.1, 10, NULL),
    SHARE("p-low-resolution", p_low_resolution),
    SHARE("low-resolution", low_resolution),
    SHARE("p-gamma-inverted", p_gamma_inverted),
    SHARE("p-gamma", p_gamma),
    NUMBER("gamma-low", augment.gamma_low, 0.1, 1, NULL),
    NUMBER("gamma-high", augment.gamma_high, 1, 10, NULL),
    OTHER(KIND_INT32, "first-size", augment.first_size_px, 0, 8192, NULL),
    FLAG("rotate-about-index", augment.rotate_about_index, NULL),
    HEADING("Validation and files"),
    OTHER(KIND_INT32, "validate-every", fit.validate_every, 0, 1e6, "N  epochs; default 1; 0: at the end"),
    OTHER(KIND_INT32, "validation-size", fit.validation_width, 0, 8192, "PX  of the input; 0 (default): the model's"),
    WORD("best", fit.best, best_words, "SCORE  dice (default) or iou chooses the best model"),
    FLAG("validate-averaged", fit.validate_averaged, "with --ema-decay; default 1"),
    OTHER(KIND_INT64, "checkpoint-every", fit.checkpoint_every, 0, 1e15, "N  steps, beside every epoch's end"),
    OTHER(KIND_INT32, "samples", samples, 0, 64, "N  pictures on the page; default 6"),
    TEXT("metadata", metadata_json, "JSON  object of strings for the model files"),
    HEADING("Machine"),
    TEXT("backend", backend, "NAME  auto (default), cpu, ref or cuda"),
    FLAG("cuda-search", cuda_search, "backend cuda: measure every way to make each convolution, keep the fastest"),
    OTHER(KIND_INT32, "threads", threads, 0, 1024, "N  of the network; default: the processors there are"),
    OTHER(KIND_INT32, "workers", fit.workers, 0, 64, "N  threads that read pictures; default: as many"),
    WORD("precision", trainer.precision, precision_words,
         "P  f32 (default), f64 (backend ref), f16, bf16 or tf32 (cuda)"),
    OTHER(KIND_INT64, "memory-limit", memory_limit_mb, 0, 1e9, "MB  0: none"),
    OTHER(KIND_INT64, "cache", cache_mb, 0, 1e9, "MB  of decoded pictures that are kept; default 256"),
    OTHER(KIND_INT64, "prefetch", prefetch_mb, 0, 1e9, "MB  of batches made ahead at most; 0 (default): three batches"),
    OTHER(KIND_INT32, "shrink", fit.shrink_px, -1, 8192, "PX  larger pictures are brought to this once; -1: never"),
    FLAG("quiet", quiet, "only errors"),
};
#define ROWS ((int)(sizeof rows / sizeof rows[0]))

/* ---- one value ------------------------------------------------------------- */

static bool find_word(const row *r, const char *text, int32_t *index)
{
    for (*index = 0; r->words[*index] != NULL; (*index)++) {
        if (strcmp(r->words[*index], text) == 0) {
            return true;
        }
    }
    complain("--%s: \"%s\" is none of the words --help lists", r->name, text);
    return false;
}

static bool set_weight(settings *set, const char *text, int32_t index)
{
    if (index >= MAX_SETS) {
        complain("--weights: more than %d", MAX_SETS);
        return false;
    }
    set->weight_count = index + 1;
    return parse_number("--weights", text, 1e-6, 1e6, &set->weights[index]);
}

static bool set_size(const row *r, int_list *list, const char *text, int32_t index)
{
    char name[40];
    int64_t number;

    snprintf(name, sizeof name, "--%s", r->name);
    if (index >= MAX_LABELS) {
        complain("%s: more than %d", name, MAX_LABELS);
        return false;
    }
    if (!parse_integer(name, text, (int64_t)r->low, (int64_t)r->high, &number)) {
        return false;
    }
    list->items[index] = (int32_t)number;
    list->count = index + 1;
    return true;
}

/* index: of an element of a list; -1 otherwise. */
static bool set_value(settings *set, const row *r, const char *text, int32_t index)
{
    void *at = (char *)set + r->offset;
    char name[40];
    int64_t integer = 0;
    int32_t word = 0;

    snprintf(name, sizeof name, "--%s", r->name);
    switch (r->kind) {
    case KIND_HEADING:
        return false;
    case KIND_TEXT:
        free(*(char **)at);
        *(char **)at = format_text("%s", text);
        return true;
    case KIND_PATHS:
        path_list_add(at, format_text("%s", text));
        return true;
    case KIND_SIZES:
        return set_size(r, at, text, index);
    case KIND_WEIGHTS:
        return set_weight(set, text, index);
    case KIND_NUMBER:
        return parse_number(name, text, r->low, r->high, at);
    case KIND_WORD:
        if (!find_word(r, text, &word)) {
            return false;
        }
        memcpy(at, &word, sizeof word);
        return true;
    case KIND_INT32:
    case KIND_INT64:
    case KIND_UINT64:
    case KIND_FLAG:
        break;
    }
    if (!parse_integer(name, text, (int64_t)r->low, (int64_t)r->high, &integer)) {
        return false;
    }
    if (r->kind == KIND_INT32 || r->kind == KIND_FLAG) {
        *(int32_t *)at = (int32_t)integer;
    } else if (r->kind == KIND_INT64) {
        *(int64_t *)at = integer;
    } else {
        *(uint64_t *)at = (uint64_t)integer;
    }
    return true;
}

/* Text of the command line: lists are separated by commas. */
static bool set_text(settings *set, const row *r, const char *text)
{
    bool is_list = r->kind == KIND_SIZES || r->kind == KIND_WEIGHTS;
    bool good = true;

    if (!is_list) {
        return set_value(set, r, text, -1);
    }
    char *copy = format_text("%s", text), *rest = NULL;
    int32_t index = 0;
    for (char *item = strtok_r(copy, ",", &rest); item != NULL && good; item = strtok_r(NULL, ",", &rest)) {
        good = set_value(set, r, item, index++);
    }
    free(copy);
    if (index == 0) {
        complain("--%s: expected numbers with commas between them", r->name);
    }
    return good && index > 0;
}

/* ---- presets --------------------------------------------------------------- */

static void set_sizes(int_list *list, const int32_t *sizes, int32_t count)
{
    list->count = count;
    for (int32_t i = 0; i < count; i++) {
        list->items[i] = sizes[i];
    }
}

static bool apply_preset(settings *set, const char *name)
{
    static const int32_t paper_sizes[] = { 224, 256, 288, 320, 352 }, compact_sizes[] = { 160, 192, 224 };
    static const double imagenet[2][3] = { { 0.485, 0.456, 0.406 }, { 0.229, 0.224, 0.225 } };
    bool released = strcmp(name, "released") == 0, compact = strcmp(name, "compact") == 0;
    bool finetune = strcmp(name, "finetune") == 0, nnunet = strcmp(name, "nnunet") == 0;
    m2snet_error error;

    if (m2snet_trainer_options_preset(&set->trainer, name, &error) != M2SNET_STATUS_OK) {
        complain("--preset: expected paper, released, compact, finetune or nnunet, got \"%s\"", name);
        return false;
    }
    if (m2snet_objective_options_preset(&set->objective,
                                        released ? "released"
                                        : nnunet ? "nnunet"
                                                 : "paper",
                                        &error) != M2SNET_STATUS_OK ||
        m2snet_augment_options_init(&set->augment,
                                    compact || finetune ? "compact"
                                    : nnunet            ? "nnunet"
                                                        : "released",
                                    &error) != M2SNET_STATUS_OK) {
        library_error("--preset", &error);
        return false;
    }
    if (!released) { /* the same normalisation as for prediction */
        memcpy(set->augment.mean, imagenet[0], sizeof imagenet[0]);
        memcpy(set->augment.std, imagenet[1], sizeof imagenet[1]);
    }
    set->fit.batch = compact ? 8 : finetune ? 4 : 16;
    set->fit.epochs = compact ? 33 : finetune ? 60 : nnunet ? 1000 : 50;
    set->fit.patches = nnunet;
    set->fit.mask_binarize = nnunet;
    set->fit.sampler = nnunet ? M2SNET_SAMPLER_RANDOM : M2SNET_SAMPLER_CONCAT;
    set->fit.epoch_batches = nnunet ? 250 : 0;
    set_sizes(&set->sizes, compact ? compact_sizes : paper_sizes, compact ? 3 : finetune || nnunet ? 0 : 5);
    return true;
}

static void set_defaults(settings *set)
{
    *set = (settings){
        .folds = 5, .validation = 0.1, .duplicates = CHECK_WARN, .duplicate_distance = 12, .samples = 6, .cache_mb = 256
    };
    m2snet_objective_options_init(&set->objective);
    m2snet_trainer_options_init(&set->trainer);
    m2snet_fit_options_init(&set->fit);
}

/* ---- recipes --------------------------------------------------------------- */

typedef struct recipe {
    settings *set;
    const char *path;
    bool preset_only; /* the first of two readings: a preset comes before everything else, wherever it stands */
} recipe;

static const row *find_row(const char *name)
{
    for (int i = 0; i < ROWS; i++) {
        const char *a = rows[i].name, *b = name;
        while (*a != '\0' && (*a == *b || (*a == '-' && *b == '_'))) {
            a++;
            b++;
        }
        if (rows[i].kind != KIND_HEADING && *a == '\0' && *b == '\0') {
            return &rows[i];
        }
    }
    return NULL;
}

static bool recipe_member(void *user, const char *key, const char *value, int index)
{
    const recipe *r = user;
    const row *found = find_row(key);

    if (strcmp(key, "comment") == 0) {
        return true;
    }
    if (found == NULL) {
        complain("%s: \"%s\" is no setting; --help lists them", r->path, key);
        return false;
    }
    if ((strcmp(found->name, "preset") == 0) != r->preset_only || value == NULL) {
        return true;
    }
    if (r->preset_only) {
        /* One on the command line counts more. */
        return r->set->preset != NULL || (apply_preset(r->set, value) && set_text(r->set, found, value));
    }
    bool is_list = found->kind == KIND_SIZES || found->kind == KIND_WEIGHTS || found->kind == KIND_PATHS;
    if (index >= 0 && !is_list) {
        complain("%s: \"%s\" takes one value, not a list", r->path, key);
        return false;
    }
    return index < 0 ? set_text(r->set, found, value) : set_value(r->set, found, value, index);
}

static bool read_recipe(settings *set, const char *path)
{
    size_t bytes;
    char *text = read_whole_file(path, &bytes);
    recipe r = { set, path, true };
    bool good = text != NULL && json_read_object(path, text, recipe_member, &r);

    r.preset_only = false;
    good = good && json_read_object(path, text, recipe_member, &r);
    free(text);
    return good;
}

static void put_row(json_writer *json, const settings *set, const row *r)
{
    const void *at = (const char *)set + r->offset;
    const path_list *paths = at;
    const int_list *list = at;
    int32_t word;

    switch (r->kind) {
    case KIND_HEADING:
        return;
    case KIND_TEXT:
        if (*(char *const *)at != NULL) {
            json_string(json, r->name, *(char *const *)at);
        }
        return;
    case KIND_PATHS:
        json_open(json, r->name, '[');
        for (size_t i = 0; i < paths->count; i++) {
            json_string(json, NULL, paths->items[i]);
        }
        json_close(json, ']');
        return;
    case KIND_SIZES:
        json_open(json, r->name, '[');
        for (int32_t i = 0; i < list->count; i++) {
            json_integer(json, NULL, list->items[i]);
        }
        json_close(json, ']');
        return;
    case KIND_WEIGHTS:
        json_open(json, r->name, '[');
        for (int32_t i = 0; i < set->weight_count; i++) {
            json_number(json, NULL, set->weights[i]);
        }
        json_close(json, ']');
        return;
    case KIND_NUMBER:
        json_number(json, r->name, *(const double *)at);
        return;
    case KIND_WORD:
        memcpy(&word, at, sizeof word);
        json_string(json, r->name, r->words[word]);
        return;
    case KIND_INT32:
    case KIND_FLAG:
        json_integer(json, r->name, *(const int32_t *)at);
        return;
    case KIND_INT64:
    case KIND_UINT64:
        json_integer(json, r->name, *(const int64_t *)at);
        return;
    }
}

/* What says how to run rather than what to do. */
static bool is_of_the_run(const char *name)
{
    static const char *const names[] = { "output", "resume", "overwrite", "check", "quiet", "max-steps", NULL };

    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

char *settings_json(const settings *set)
{
    char *text = NULL;
    size_t bytes;
    FILE *stream = open_memstream(&text, &bytes);
    json_writer json;

    if (stream == NULL) {
        complain("out of memory");
        exit(EXIT_FAILED);
    }
    json_start(&json, stream);
    json_open(&json, NULL, '{');
    for (int i = 0; i < ROWS; i++) {
        if (!is_of_the_run(rows[i].name)) {
            put_row(&json, set, &rows[i]);
        }
    }
    json_close(&json, '}');
    fclose(stream);
    return text;
}

/* ---- the command line -------------------------------------------------------- */

static const char usage[] =
    "Usage: m2snet-train --data PATH --output DIR [--recipe FILE] [OPTION...]\n"
    "Trains M2SNet on pictures with masks. DIR gets best.safetensors and last.safetensors (models), "
    "checkpoint.safetensors\n"
    "(to go on from), steps.csv, epochs.csv, recipe.json and the page index.html, which grow during the run.\n"
    "Not a medical device.\n\n"
    "  --recipe FILE       a JSON object of settings: every option below is a key. Options count more. --config is the "
    "same\n";
static const char usage_end[] =
    "\n  --help              this text\n"
    "  --version           versions of the program and of the library\n"
    "Flags are switched off by --NAME=0. An option that another one leaves without a part is refused. docs/training.md "
    "explains, docs/recipes has recipes.\n"
    "Exit status: 0 done, 1 something failed, 2 the command line makes no sense, 130 interrupted: the state is saved,\n"
    "and --resume goes on.\n";

static void print_help(void)
{
    fputs(usage, stdout);
    for (int i = 0; i < ROWS; i++) {
        const row *r = &rows[i];
        if (r->kind == KIND_HEADING) {
            printf("\n%s:\n", r->name);
            continue;
        }
        const char *help = r->help != NULL ? r->help : r->kind == KIND_FLAG ? "" : "X  ";
        const char *gap = strstr(help, "  ");
        int argument = gap != NULL ? (int)(gap - help) : 0;
        char left[64];
        snprintf(left, sizeof left, "--%s %.*s", r->name, argument, help);
        printf("  %-27s %s\n", left, gap != NULL ? gap + 2 : help);
    }
    fputs(usage_end, stdout);
}

/* Beyond what getopt_long says itself ('?'). */
enum { CODE_ROW = 1000, CODE_RECIPE = 2000, CODE_HELP, CODE_VERSION };

static void make_table(struct option *table)
{
    int count = 0;

    for (int i = 0; i < ROWS; i++) {
        if (rows[i].kind != KIND_HEADING) {
            table[count++] =
                (struct option){ rows[i].name, rows[i].kind == KIND_FLAG ? optional_argument : required_argument, NULL,
                                 CODE_ROW + i };
        }
    }
    table[count++] = (struct option){ "recipe", required_argument, NULL, CODE_RECIPE };
    table[count++] = (struct option){ "config", required_argument, NULL, CODE_RECIPE };
    table[count++] = (struct option){ "help", no_argument, NULL, CODE_HELP };
    table[count++] = (struct option){ "version", no_argument, NULL, CODE_VERSION };
    table[count] = (struct option){ NULL, 0, NULL, 0 };
}

/* Readings of the command line: presets, then recipes, then everything else. */
typedef enum reading { READ_PRESET, READ_RECIPES, READ_OPTIONS } reading;

/* Whether an option says what it would be without it, or, as a flag or a number, 0. */
static bool says_nothing(const settings *set, const settings *preset, const row *r)
{
    const char *at = (const char *)set + r->offset, *before = (const char *)preset + r->offset;
    double number = 1.0;

    switch (r->kind) {
    case KIND_NUMBER:
        memcpy(&number, at, sizeof number);
        return number == 0.0 || memcmp(at, before, sizeof number) == 0;
    case KIND_FLAG:
        return *(const int32_t *)(const void *)at == 0 || memcmp(at, before, sizeof(int32_t)) == 0;
    case KIND_INT32:
    case KIND_WORD:
        return memcmp(at, before, sizeof(int32_t)) == 0;
    case KIND_INT64:
    case KIND_UINT64:
        return memcmp(at, before, sizeof(int64_t)) == 0;
    default:
        return false;
    }
}

static int read_line(settings *set, int argc, char **argv, reading what)
{
    struct option table[ROWS + 5];
    bool is_first_path[2] = { true, true };
    settings preset;
    int code;

    set_defaults(&preset);
    if (!apply_preset(&preset, set->preset != NULL ? set->preset : "paper")) {
        return EXIT_FAILED;
    }
    make_table(table);
    optind = 0; /* begin anew */
    opterr = what == READ_PRESET;
    while ((code = getopt_long(argc, argv, "", table, NULL)) != -1) {
        if (code == CODE_HELP || code == CODE_VERSION) {
            if (code == CODE_HELP) {
                print_help();
            } else {
                print_version();
            }
            return -1;
        }
        if (code == '?') {
            return usage_hint();
        }
        if (code == CODE_RECIPE) {
            if (what == READ_RECIPES && !read_recipe(set, optarg)) {
                return usage_hint();
            }
            continue;
        }
        const row *r = &rows[code - CODE_ROW];
        bool is_preset = strcmp(r->name, "preset") == 0;
        if ((what == READ_PRESET && is_preset && (!apply_preset(set, optarg) || !set_text(set, r, optarg))) ||
            (what == READ_OPTIONS && r->kind == KIND_FLAG && !set_value(set, r, optarg != NULL ? optarg : "1", -1))) {
            return usage_hint();
        }
        if (what == READ_OPTIONS && r->kind == KIND_PATHS) { /* paths of the line replace a recipe's */
            bool *first = &is_first_path[r->offset == AT(data) ? 0 : 1];
            if (*first) {
                path_list_free((path_list *)(void *)((char *)set + r->offset));
            }
            *first = false;
        }
        if (what == READ_OPTIONS && r->kind != KIND_FLAG && !set_text(set, r, optarg)) {
            return usage_hint();
        }
        if (what == READ_OPTIONS && !says_nothing(set, &preset, r)) {
            path_list_add(&set->given, format_text("%s", r->name));
        }
    }
    return optind < argc ? usage_error("unexpected argument \"%s\"", argv[optind]) : EXIT_DONE;
}

int settings_read(settings *set, int argc, char **argv)
{
    int code;

    set_defaults(set);
    if (!apply_preset(set, "paper")) {
        return EXIT_FAILED;
    }
    for (int what = READ_PRESET; what <= READ_OPTIONS; what++) {
        code = read_line(set, argc, argv, (reading)what);
        if (code != EXIT_DONE) {
            return code;
        }
    }
    if (set->preset == NULL) {
        set->preset = format_text("paper");
    }
    return check_settings(set);
}

void settings_free(settings *set)
{
    char *const texts[] = { set->output,        set->preset,      set->model,          set->network,
                            set->start,         set->lossnet,     set->lossnet_family, set->backend,
                            set->metadata_json, set->mask_suffix, set->group_separator };

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        free(texts[i]);
    }
    path_list_free(&set->data);
    path_list_free(&set->validation_data);
    path_list_free(&set->given);
}
