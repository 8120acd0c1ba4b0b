/* SPDX-License-Identifier: Apache-2.0 */
#include "train/fit_options.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "core/json.h"
#include "core/options.h"
#include "core/sha256.h"
#include "train/patch.h"

#define MAX_EPOCHS 1000000

static const int32_t usual_sizes[] = { 224, 256, 288, 320, 352 }; /* MODELS.md 4.3 */

void m2s_fit_options_default(m2snet_fit_options *options)
{
    *options = (m2snet_fit_options){ .struct_size = sizeof *options,
                                     .epochs = 50,
                                     .batch = 16,
                                     .validate_every = 1,
                                     .validate_averaged = 1,
                                     .background_label = -1,
                                     .foreground_share = 0.33 };
}

/* ---- checks ---- */

typedef struct range {
    const char *name;
    int64_t value, low, high;
} range;

static m2snet_status check(const m2snet_fit_options *o, m2snet_error *error)
{
    const range ranges[] = {
        { "epochs", o->epochs, 1, MAX_EPOCHS },
        { "batch", o->batch, 1, 4096 },
        { "size_count", o->size_count, 0, M2S_LOADER_MAX_SIZES },
        { "mask_threshold", o->mask_threshold, 0, 255 },
        { "label_count", o->label_count, 0, M2SNET_MAX_LABELS },
        { "sampler", o->sampler, M2SNET_SAMPLER_CONCAT, M2SNET_SAMPLER_RANDOM },
        { "unreadable", o->unreadable, M2SNET_UNREADABLE_STOP, M2SNET_UNREADABLE_SKIP },
        { "workers", o->workers, 0, M2S_LOADER_MAX_THREADS },
        { "max_steps", o->max_steps, 0, INT64_MAX },
        { "validate_every", o->validate_every, 0, MAX_EPOCHS },
        { "best", o->best, M2SNET_BEST_DICE, M2SNET_BEST_IOU },
        { "patience", o->patience, 0, MAX_EPOCHS },
        { "checkpoint_every", o->checkpoint_every, 0, INT64_MAX },
        { "background_label", o->background_label, -1, 255 },
        { "patches", o->patches, 0, 1 },
        { "epoch_batches", o->epoch_batches, 0, 1 << 30 },
    };

    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        if (ranges[i].value < ranges[i].low || ranges[i].value > ranges[i].high) {
            return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                            "%s is %" PRId64 ": expected %" PRId64 " to %" PRId64, ranges[i].name, ranges[i].value,
                            ranges[i].low, ranges[i].high);
        }
    }
    if (!(o->foreground_share >= 0.0 && o->foreground_share <= 1.0)) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "foreground_share is %g: expected 0 to 1",
                        o->foreground_share);
    }
    if (o->epoch_batches > 0 && o->sampler != M2SNET_SAMPLER_RANDOM) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                        "epoch_batches is %" PRId64 ": only with sampler RANDOM an epoch is as long as one likes",
                        o->epoch_batches);
    }
    if (o->checkpoint_path == NULL && (o->resume || o->checkpoint_every > 0)) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "%s is set and checkpoint_path is NULL",
                        o->resume ? "resume" : "checkpoint_every");
    }
    for (int32_t i = 0; o->sizes_px != NULL && i < o->size_count; i++) {
        if (o->sizes_px[i] < M2S_MIN_INPUT_PX || o->sizes_px[i] > M2S_MAX_INPUT_PX) {
            return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "sizes_px[%d] is %d: expected %d to %d", i,
                            o->sizes_px[i], M2S_MIN_INPUT_PX, M2S_MAX_INPUT_PX);
        }
    }
    return M2SNET_STATUS_OK;
}

/* How gray levels become the model's classes. */
static m2snet_status import_mask(const m2snet_trainer *trainer, const m2snet_fit_options *o, m2s_mask_coding *coding,
                                 m2snet_error *error)
{
    int32_t classes = trainer->model->config.classes;
    bool softmax = trainer->objective.softmax != 0;
    int32_t wanted = softmax ? classes - 1 : classes;
    m2snet_status status;

    if (o->label_count == 0 && classes == 1) {
        *coding = (m2s_mask_coding){ .kind = M2S_MASK_GRAY,
                                     .threshold = o->mask_threshold,
                                     .binarize = o->mask_binarize != 0 };
        return M2SNET_STATUS_OK;
    }
    if (o->label_count != wanted || o->labels == NULL) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH,
                        "the model has %d class%s%s: expected %d label%s, the gray level of each, got %d", classes,
                        classes == 1 ? "" : "es", softmax ? ", the background among them" : "", wanted,
                        wanted == 1 ? "" : "s", o->labels == NULL ? 0 : o->label_count);
    }
    *coding = (m2s_mask_coding){ .kind = softmax ? M2S_MASK_SOFTMAX : M2S_MASK_SIGMOID,
                                 .binarize = o->mask_binarize != 0 && !softmax,
                                 .label_count = o->label_count };
    memcpy(coding->labels, o->labels, (size_t)o->label_count);
    M2S_TRY(m2s_mask_coding_check(coding, error));
fail:
    return status;
}

/* Of long patches a large turn would leave little. */
static void limit_turns(m2s_loader_options *loader)
{
    for (int32_t i = 0; loader->patches && i < loader->size_count; i++) {
        double height = loader->sizes[i].height, width = loader->sizes[i].width;
        double aspect = height > width ? height / width : width / height;
        if (aspect > M2S_PATCH_LONG_ASPECT && loader->augment.rotate_degrees > M2S_PATCH_LONG_DEGREES) {
            loader->augment.rotate_degrees = M2S_PATCH_LONG_DEGREES;
        }
    }
}

m2snet_status m2s_fit_options_import(const m2snet_trainer *trainer, const m2snet_fit_options *given,
                                     m2snet_fit_options *known, m2s_loader_options *loader, m2snet_error *error)
{
    int threads = m2s_pool_threads(trainer->model->context->host.pool);
    m2snet_status status;

    m2s_fit_options_default(known);
    M2S_TRY(m2s_options_import("m2snet_fit_options", given, known, sizeof *known, error));
    M2S_TRY(check(known, error));
    if (known->labels == NULL || known->label_count == 0) { /* those that the model knows, if any */
        const m2s_coding *coding = &trainer->config.coding;
        known->labels = coding->labels;
        known->label_count = coding->label_count;
        known->background_label = coding->label_count > 0 ? coding->background : known->background_label;
    }
    if (known->patches && (known->sizes_px == NULL || known->size_count == 0)) {
        known->size_count = 0; /* m2s_fit_options_set_patch will say */
    } else if (known->sizes_px == NULL || known->size_count == 0) {
        known->sizes_px = usual_sizes;
        known->size_count = (int32_t)(sizeof usual_sizes / sizeof usual_sizes[0]);
    }
    m2s_loader_options_default(loader);
    loader->batch = known->batch;
    loader->size_count = known->size_count;
    for (int32_t i = 0; i < known->size_count; i++) {
        loader->sizes[i] = (m2s_size){ known->sizes_px[i], known->sizes_px[i] };
    }
    M2S_TRY(m2s_augment_preset("released", &loader->augment, error));
    M2S_TRY(
        m2s_options_import("m2snet_augment_options", known->augment, &loader->augment, sizeof loader->augment, error));
    M2S_TRY(m2s_augment_check(&loader->augment, error));
    M2S_TRY(import_mask(trainer, known, &loader->mask, error));
    loader->seed = trainer->options.seed;
    loader->shuffle = true;
    loader->drop_last = known->drop_last != 0;
    loader->sampler = (m2s_sampler)known->sampler; /* the same numbers */
    loader->epoch_batches = known->epoch_batches;
    loader->patches = known->patches != 0;
    loader->foreground_share = known->foreground_share;
    loader->epoch_end = known->balanced_longest ? M2S_EPOCH_OF_LONGEST : M2S_EPOCH_OF_SHORTEST;
    loader->unreadable = known->unreadable == M2SNET_UNREADABLE_SKIP ? M2S_UNREADABLE_SKIP : M2S_UNREADABLE_STOP;
    loader->threads = known->workers > 0                 ? known->workers
                      : threads < M2S_LOADER_MAX_THREADS ? threads
                                                         : M2S_LOADER_MAX_THREADS;
    loader->prefetch_bytes = known->prefetch_bytes;
    loader->cache_bytes = known->cache_bytes;
    loader->shrink_px = known->shrink_px;
    loader->max_pixels = known->max_pixels;
    loader->epochs = (uint64_t)known->epochs;
    limit_turns(loader);
fail:
    return status;
}

void m2s_fit_options_set_patch(m2s_loader_options *loader, int32_t height, int32_t width)
{
    loader->sizes[0] = (m2s_size){ .height = height, .width = width };
    loader->size_count = 1;
    limit_turns(loader);
}

/* ---- JSON ---- */

typedef struct augment_member {
    const char *key;
    size_t offset;
    int32_t count; /* of doubles; 0 = an int32_t */
} augment_member;

#define MEMBER(name, count)                                                                                            \
    {                                                                                                                  \
        "augment." #name, offsetof(m2snet_augment_options, name), count                                                \
    }
static const augment_member augment_members[] = {
    MEMBER(mean, 3),
    MEMBER(std, 3),
    MEMBER(first_size_px, 0),
    MEMBER(rotate_about_index, 0),
    MEMBER(p_flip_horizontal, 1),
    MEMBER(p_flip_vertical, 1),
    MEMBER(p_quarter_turns, 1),
    MEMBER(p_rotate, 1),
    MEMBER(rotate_degrees, 1),
    MEMBER(p_crop, 1),
    MEMBER(crop_low, 1),
    MEMBER(crop_high, 1),
    MEMBER(p_brightness, 1),
    MEMBER(brightness, 1),
    MEMBER(p_contrast, 1),
    MEMBER(contrast, 1),
    MEMBER(p_saturation, 1),
    MEMBER(saturation, 1),
    MEMBER(p_hue, 1),
    MEMBER(hue, 1),
    MEMBER(p_blur, 1),
    MEMBER(blur_low_px, 1),
    MEMBER(blur_high_px, 1),
    MEMBER(p_noise, 1),
    MEMBER(noise_low, 1),
    MEMBER(noise_high, 1),
    MEMBER(p_scale, 1),
    MEMBER(scale_low, 1),
    MEMBER(scale_high, 1),
    MEMBER(order, 0),
    MEMBER(p_low_resolution, 1),
    MEMBER(low_resolution, 1),
    MEMBER(p_gamma_inverted, 1),
    MEMBER(p_gamma, 1),
    MEMBER(gamma_low, 1),
    MEMBER(gamma_high, 1),
};
#define COLOUR_MEMBERS (sizeof augment_members / sizeof augment_members[0] - 10) /* what every recipe has */

static m2snet_status put_augment(const m2snet_augment_options *augment, m2s_json *json, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    size_t count = augment->order == M2SNET_AUGMENT_NNUNET || augment->p_scale > 0.0
                       ? sizeof augment_members / sizeof augment_members[0]
                       : COLOUR_MEMBERS;

    for (size_t i = 0; i < count; i++) {
        const augment_member *member = &augment_members[i];
        const char *at = (const char *)augment + member->offset;
        double numbers[3];
        m2s_json *list;
        if (member->count == 0) {
            int32_t integer;
            memcpy(&integer, at, sizeof integer);
            M2S_TRY(m2s_json_put_integer(json, member->key, integer, error));
            continue;
        }
        memcpy(numbers, at, (size_t)member->count * sizeof numbers[0]);
        if (member->count == 1) {
            M2S_TRY(m2s_json_put_number(json, member->key, numbers[0], error));
            continue;
        }
        M2S_TRY(m2s_json_put_child(json, member->key, M2S_JSON_ARRAY, &list, error));
        for (int32_t k = 0; k < member->count; k++) {
            M2S_TRY(m2s_json_put_number(list, NULL, numbers[k], error));
        }
    }
fail:
    return status;
}

static m2snet_status put_batches(const m2snet_fit_options *o, const m2s_loader_options *l, m2s_json *json,
                                 m2snet_error *error)
{
    static const char *const samplers[] = { "concat", "balanced", "random" };
    m2s_json *list;
    m2snet_status status;

    M2S_TRY(m2s_json_put_integer(json, "epochs", o->epochs, error));
    M2S_TRY(m2s_json_put_integer(json, "batch", l->batch, error));
    M2S_TRY(m2s_json_put_child(json, "sizes", M2S_JSON_ARRAY, &list, error));
    for (int32_t i = 0; i < l->size_count; i++) {
        M2S_TRY(m2s_json_put_integer(list, NULL, l->sizes[i].height, error));
    }
    M2S_TRY(m2s_json_put_integer(json, "mask_threshold", l->mask.threshold, error));
    M2S_TRY(m2s_json_put_bool(json, "mask_binarize", l->mask.binarize, error));
    M2S_TRY(m2s_json_put_child(json, "labels", M2S_JSON_ARRAY, &list, error));
    for (int32_t i = 0; i < l->mask.label_count; i++) {
        M2S_TRY(m2s_json_put_integer(list, NULL, l->mask.labels[i], error));
    }
    M2S_TRY(m2s_json_put_string(json, "sampler", samplers[l->sampler], error));
    M2S_TRY(m2s_json_put_bool(json, "balanced_longest", l->epoch_end == M2S_EPOCH_OF_LONGEST, error));
    M2S_TRY(m2s_json_put_bool(json, "drop_last", l->drop_last, error));
    M2S_TRY(m2s_json_put_integer(json, "shrink", l->shrink_px, error));
    if (l->sampler == M2S_SAMPLER_RANDOM) {
        M2S_TRY(m2s_json_put_integer(json, "epoch_batches", l->epoch_batches, error));
    }
    if (l->patches) {
        M2S_TRY(m2s_json_put_number(json, "foreground_share", l->foreground_share, error));
        M2S_TRY(m2s_json_put_child(json, "patch_widths", M2S_JSON_ARRAY, &list, error));
        for (int32_t i = 0; i < l->size_count; i++) {
            M2S_TRY(m2s_json_put_integer(list, NULL, l->sizes[i].width, error));
        }
    }
fail:
    return status;
}

static void add_text(m2s_sha256 *sha, const char *text)
{
    m2s_sha256_update(sha, text, strlen(text) + 1);
}

/* Names and sets in their order, not where the files are: a data set may be moved. */
static m2snet_status put_pictures(const m2snet_dataset *dataset, const int32_t *items, int32_t item_count,
                                  m2s_json *json, m2snet_error *error)
{
    char hex[M2S_SHA256_HEX_BYTES];
    m2s_sha256 sha;
    m2s_json *list;
    m2snet_status status;

    m2s_sha256_init(&sha);
    for (int32_t i = 0; i < item_count; i++) {
        const m2s_sample *sample = &dataset->samples[items[i]];
        m2s_sha256_update(&sha, &sample->set, sizeof sample->set);
        add_text(&sha, sample->name);
        add_text(&sha, sample->mask_path != NULL ? "mask" : "");
    }
    m2s_sha256_finish(&sha, hex);
    M2S_TRY(m2s_json_put_integer(json, "pictures", item_count, error));
    M2S_TRY(m2s_json_put_string(json, "pictures_sha256", hex, error));
    M2S_TRY(m2s_json_put_child(json, "weights", M2S_JSON_ARRAY, &list, error));
    for (int32_t i = 0; i < dataset->source_count; i++) {
        M2S_TRY(m2s_json_put_number(list, NULL, dataset->sources[i].weight, error));
    }
fail:
    return status;
}

m2snet_status m2s_fit_options_json(m2s_memory *memory, const m2snet_fit_options *known,
                                   const m2s_loader_options *loader, const m2snet_dataset *dataset,
                                   const int32_t *items, int32_t item_count, char **text, m2snet_error *error)
{
    m2s_json *json = NULL;
    m2snet_status status;

    *text = NULL;
    M2S_TRY(m2s_json_object(&json, error));
    M2S_TRY(put_batches(known, loader, json, error));
    M2S_TRY(put_pictures(dataset, items, item_count, json, error));
    M2S_TRY(put_augment(&loader->augment, json, error));
    M2S_TRY(m2s_json_write(memory, json, M2S_JSON_COMPACT, text, NULL, error));
fail:
    m2s_json_free(json);
    return status;
}
