/* SPDX-License-Identifier: Apache-2.0 */
#include "train/dataset_near.h"

#include <stdlib.h>

#include "image/decode.h"
#include "train/phash.h"

#define PHASE     "hash"
#define MAX_PAIRS ((int32_t)1 << 24)

typedef struct hashed {
    m2s_phash hash;
    bool is_read;
    m2snet_status failure;
} hashed;

typedef struct search {
    const m2snet_dataset *dataset;
    hashed *items;
} search;

static void hash_item(void *argument, int64_t chunk, int worker)
{
    const search *s = argument;
    m2snet_context *context = s->dataset->context;
    hashed *item = &s->items[chunk];
    m2s_decode_options decode = M2S_DECODE_DEFAULTS;
    m2s_bitmap bitmap = { 0 };
    m2snet_status status;

    (void)worker;
    status = m2s_image_read(&context->memory, s->dataset->samples[chunk].image_path, &decode, NULL, &bitmap, NULL);
    if (status == M2SNET_STATUS_OK) {
        m2snet_image image = m2s_bitmap_image(&bitmap);
        status = m2s_phash_of(&context->host, &image, &item->hash, NULL);
        item->is_read = status == M2SNET_STATUS_OK;
    }
    item->failure = status == M2SNET_STATUS_OUT_OF_MEMORY ? status : M2SNET_STATUS_OK;
    m2s_bitmap_release(&bitmap);
}

static int by_distance(const void *a, const void *b)
{
    const m2s_near_pair *x = a, *y = b;

    if (x->distance != y->distance) {
        return x->distance < y->distance ? -1 : 1;
    }
    return x->a != y->a ? (x->a < y->a ? -1 : 1) : (x->b > y->b) - (x->b < y->b);
}

typedef struct pairs {
    m2s_near_pair *list;
    int32_t count, capacity;
} pairs;

static m2snet_status append(m2s_memory *memory, pairs *p, m2s_near_pair pair, m2snet_error *error)
{
    if (p->count == MAX_PAIRS) {
        return m2s_fail(error, M2SNET_STATUS_LIMIT,
                        "more than %d pairs of pictures look alike: choose a smaller distance", MAX_PAIRS);
    }
    if (p->count == p->capacity) {
        int32_t grown = p->capacity == 0 ? 64 : 2 * p->capacity;
        m2s_near_pair *moved = m2s_realloc(memory, p->list, (size_t)grown * sizeof *moved);
        if (moved == NULL) {
            return m2s_fail_memory(error, "pairs of pictures", (size_t)grown * sizeof *moved);
        }
        p->list = moved;
        p->capacity = grown;
    }
    p->list[p->count++] = pair;
    return M2SNET_STATUS_OK;
}

static m2snet_status compare_all(const search *s, int32_t distance, m2s_control *control, pairs *found,
                                 m2snet_error *error)
{
    int32_t count = s->dataset->count;
    m2snet_status status = M2SNET_STATUS_OK;

    for (int32_t a = 0; a < count; a++) {
        if (m2s_control_stopped(control)) {
            return m2s_fail_cancelled(error, PHASE);
        }
        for (int32_t b = a + 1; s->items[a].is_read && b < count; b++) {
            int32_t d = m2s_phash_distance(s->items[a].hash, s->items[b].hash);
            if (d <= distance && s->items[b].is_read) {
                M2S_TRY(append(&s->dataset->context->memory, found, (m2s_near_pair){ a, b, d }, error));
            }
        }
    }
fail:
    return status;
}

m2snet_status m2s_dataset_find_near(m2snet_dataset *d, int32_t distance, m2s_control *control, m2snet_error *error)
{
    m2s_memory *memory = &d->context->memory;
    search s = { .dataset = d, .items = m2s_calloc(memory, (size_t)d->count + 1, sizeof(hashed)) };
    pairs found = { 0 };
    m2snet_status status;

    if (s.items == NULL) {
        return m2s_fail_memory(error, "hashes of pictures", ((size_t)d->count + 1) * sizeof(hashed));
    }
    const m2s_task task = { .run = hash_item, .argument = &s, .chunks = d->count };
    M2S_TRY(m2s_pool_run(d->context->host.pool, &task, 1, control, PHASE, error));
    for (int32_t i = 0; i < d->count; i++) {
        if (s.items[i].failure != M2SNET_STATUS_OK) {
            status = m2s_fail(error, s.items[i].failure, "out of memory: reading '%s'", d->samples[i].image_path);
            goto fail;
        }
    }
    M2S_TRY(compare_all(&s, distance, control, &found, error));
    if (found.count > 0) {
        qsort(found.list, (size_t)found.count, sizeof *found.list, by_distance);
    }
    m2s_free(memory, d->near_pairs);
    d->near_pairs = found.list;
    d->near_count = found.count;
    found.list = NULL;
fail:
    m2s_free(memory, found.list);
    m2s_free(memory, s.items);
    return status;
}

bool m2s_near_pair_is_across(const m2snet_dataset *d, const m2s_near_pair *pair)
{
    m2snet_part a = d->samples[pair->a].part, b = d->samples[pair->b].part;

    return a != b && a != M2SNET_PART_NONE && b != M2SNET_PART_NONE;
}
