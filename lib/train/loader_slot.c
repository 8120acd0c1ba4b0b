/* SPDX-License-Identifier: Apache-2.0 */
#include "train/loader_slot.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/rng.h"
#include "image/decode.h"
#include "train/patch.h"

/* ---- the maker ---- */

static void choose_size(m2s_picture_rules *rules, const m2s_loader_options *o)
{
    double low = o->augment.p_crop > 0.0 ? o->augment.crop_low : 1.0;
    int32_t longest = 0;

    if (o->augment.first_size_px > 0 || o->shrink_px < 0) {
        return; /* released: no antialiasing anywhere */
    }
    if (o->patches && o->shrink_px == 0) {
        return;
    }
    if (o->shrink_px > 0) {
        rules->shrink_px = o->shrink_px;
        return;
    }
    if (!m2s_augment_moves(&o->augment) && (o->size_count == 1 || !o->shuffle)) {
        rules->exact_width = o->sizes[0].width;
        rules->exact_height = o->sizes[0].height;
        return;
    }
    for (int32_t i = 0; i < o->size_count; i++) {
        longest = o->sizes[i].width > longest ? o->sizes[i].width : longest;
        longest = o->sizes[i].height > longest ? o->sizes[i].height : longest;
    }
    double px = ceil(longest / low);
    rules->shrink_px = px > M2S_MAX_SIDE_PX ? M2S_MAX_SIDE_PX : (int32_t)px;
}

m2snet_status m2s_maker_begin(m2s_maker *maker, const m2s_host *host, const m2snet_dataset *dataset,
                              const int32_t *items, int32_t count, const m2s_loader_options *o, m2snet_error *error)
{
    *maker = (m2s_maker){ .host = *host,
                          .augment = o->augment,
                          .seed = o->seed,
                          .patches = o->patches,
                          .batch = o->batch,
                          .first_on_foreground = (int32_t)floor(o->batch * (1.0 - o->foreground_share) + 0.5),
                          .unfinished = o->unfinished && o->augment.order != M2SNET_AUGMENT_NNUNET,
                          .unreadable = o->unreadable,
                          .count = count,
                          .cache_limit_bytes = o->cache_bytes };
    maker->rules =
        (m2s_picture_rules){ .mask = o->mask,
                             .max_pixels = o->max_pixels > 0 ? o->max_pixels : M2S_DECODE_DEFAULTS.max_pixels };
    choose_size(&maker->rules, o);
    maker->pile = m2s_pile_create(host->memory);
    maker->files = m2s_alloc_array(host->memory, (size_t)count, sizeof *maker->files);
    if (maker->pile == NULL || maker->files == NULL) {
        goto no_memory;
    }
    for (int32_t i = 0; i < count; i++) {
        const m2s_sample *sample = &dataset->samples[items[i]];
        m2s_file_names names = { .item = items[i] };
        names.image = m2s_pile_strdup(maker->pile, sample->image_path);
        names.mask = sample->mask_path != NULL ? m2s_pile_strdup(maker->pile, sample->mask_path) : NULL;
        if (names.image == NULL || (names.mask == NULL && sample->mask_path != NULL)) {
            goto no_memory;
        }
        maker->files[i] = names;
    }
    if (o->cache_bytes > 0) {
        maker->cache = m2s_alloc_array(host->memory, (size_t)count, sizeof *maker->cache);
        if (maker->cache == NULL) {
            goto no_memory;
        }
        for (int32_t i = 0; i < count; i++) {
            atomic_init(&maker->cache[i], NULL);
        }
    }
    return M2SNET_STATUS_OK;

no_memory:
    m2s_maker_end(maker);
    return m2s_fail_memory(error, "the loader's list of files", (size_t)count * sizeof *maker->files);
}

void m2s_maker_end(m2s_maker *maker)
{
    m2s_memory *memory = maker->host.memory;

    for (int32_t i = 0; maker->cache != NULL && i < maker->count; i++) {
        m2s_free(memory, atomic_load_explicit(&maker->cache[i], memory_order_relaxed));
    }
    if (memory != NULL) {
        m2s_free(memory, (void *)maker->cache);
        m2s_free(memory, maker->files);
        m2s_pile_destroy(maker->pile);
    }
    *maker = (m2s_maker){ 0 };
}

/* ---- pictures ---- */

/* Hands a picture to the cache when there is room; false: it stays the caller's. */
static bool keep(m2s_maker *maker, int32_t number, m2s_picture *picture)
{
    uint64_t bytes = M2S_PICTURE_BYTES(picture->width, picture->height);
    uint64_t held = atomic_load(&maker->cache_bytes);
    m2s_picture *none = NULL;

    if (maker->cache == NULL) {
        return false;
    }
    do {
        if (bytes > maker->cache_limit_bytes || held > maker->cache_limit_bytes - bytes) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&maker->cache_bytes, &held, held + bytes));
    if (!atomic_compare_exchange_strong(&maker->cache[number], &none, picture)) {
        atomic_fetch_sub(&maker->cache_bytes, bytes); /* another thread has read it meanwhile */
        return false;
    }
    return true;
}

static void place_patch(const m2s_maker *maker, const m2s_slot *slot, const m2s_picture *picture, m2s_draw *draw)
{
    uint64_t stream =
        m2s_rng_bits(m2s_rng_bits(m2s_rng_stream(maker->seed, "patch"), slot->epoch), (uint64_t)slot->position);
    bool on_foreground = slot->position % maker->batch >= maker->first_on_foreground;
    double degrees = maker->augment.p_rotate > 0.0 ? maker->augment.rotate_degrees : 0.0;

    draw->is_patch = true;
    m2s_patch_place(picture, maker->rules.mask.kind == M2S_MASK_GRAY, on_foreground, degrees, slot->height, slot->width,
                    stream, &draw->patch_x, &draw->patch_y);
}

static m2snet_status fill_from(m2s_maker *maker, int32_t number, m2s_slot *slot, m2s_augment_scratch *scratch,
                               m2s_control *control, m2snet_error *error)
{
    const m2s_file_names *names = &maker->files[number];
    m2s_picture *kept = maker->cache != NULL ? atomic_load(&maker->cache[number]) : NULL;
    m2s_picture *picture = kept;
    m2s_draw draw;
    m2snet_status status;

    if (picture == NULL) {
        M2S_TRY(m2s_picture_read(&maker->host, names->image, names->mask, &maker->rules, control, &picture, error));
        kept = keep(maker, number, picture) ? picture : NULL;
    }
    m2s_augment_draw(&maker->augment, maker->seed, slot->epoch, (uint64_t)slot->position, &draw);
    if (maker->patches) {
        place_patch(maker, slot, picture, &draw);
    }
    size_t bytes = 4 * (size_t)picture->width * (size_t)picture->height;
    slot->unfinished = (m2s_unfinished){ 0 };
    if (maker->unfinished && bytes <= 3 * sizeof(float) * (size_t)slot->width * (size_t)slot->height) {
        slot->unfinished = (m2s_unfinished){ .width = picture->width, .height = picture->height, .draw = draw };
        memcpy(slot->unfinished.mean_rgb, picture->mean_rgb, sizeof picture->mean_rgb);
        memcpy(slot->image, picture->rgbm, bytes);
    } else {
        M2S_TRY(m2s_augment_apply(&maker->augment, &draw, picture, &maker->rules.mask, slot->height, slot->width,
                                  scratch, slot->image, slot->mask, error));
    }
    slot->item = names->item;
fail:
    if (picture != kept) {
        m2s_free(maker->host.memory, picture);
    }
    return status;
}

/* Whether the file is at fault, rather than this machine. */
static bool is_unreadable(m2snet_status status)
{
    return status == M2SNET_STATUS_IO || status == M2SNET_STATUS_FORMAT || status == M2SNET_STATUS_UNSUPPORTED ||
           status == M2SNET_STATUS_MISMATCH || status == M2SNET_STATUS_LIMIT;
}

static m2snet_status note_skip(m2s_maker *maker, int32_t item, const char *reason, m2s_skip ***last,
                               m2snet_error *error)
{
    size_t length = strlen(reason);
    m2s_skip *skip = m2s_alloc(maker->host.memory, sizeof *skip + length + 1);

    if (skip == NULL) {
        return m2s_fail_memory(error, "a report", sizeof *skip + length + 1);
    }
    *skip = (m2s_skip){ .item = item };
    memcpy(skip->reason, reason, length + 1);
    **last = skip;
    *last = &skip->next;
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_maker_fill(m2s_maker *maker, m2s_slot *slot, m2s_augment_scratch *scratch, m2s_control *control,
                             m2snet_error *error)
{
    m2s_skip **last = &slot->skips;
    m2snet_error local = { 0 };
    m2snet_status status = M2SNET_STATUS_OK;

    slot->skips = NULL;
    for (int64_t i = 0; i < slot->length; i++) {
        int32_t number = slot->places[(slot->position + i) % slot->length];
        status = fill_from(maker, number, slot, scratch, control, &local);
        if (status == M2SNET_STATUS_OK) {
            return status;
        }
        if (maker->unreadable != M2S_UNREADABLE_SKIP || !is_unreadable(status)) {
            return m2s_fail(error, status, "%s", local.message);
        }
        if (m2s_control_stopped(control)) {
            return m2s_fail_cancelled(error, "load");
        }
        status = note_skip(maker, maker->files[number].item, local.message, &last, error);
        if (status != M2SNET_STATUS_OK) {
            return status;
        }
    }
    return m2s_fail(error, M2SNET_STATUS_IO, "none of the epoch's %" PRId64 " pictures can be read; the last: %s",
                    slot->length, local.message);
}
