/* SPDX-License-Identifier: Apache-2.0 */
#include "train/loader_order.h"

#include <math.h>
#include <string.h>

#include "core/rng.h"

#define MAX_LENGTH ((int64_t)1 << 30)

typedef struct order_set {
    double weight; /* BALANCED: share of the places */
    int32_t first; /* in members */
    int32_t count;
    int64_t places; /* of an epoch; CONCAT */
} order_set;

struct m2s_order {
    m2s_memory *memory;
    bool shuffle;
    m2s_sampler sampler;
    uint64_t stream;
    int64_t length;
    int32_t count;    /* pictures */
    int32_t *members; /* pictures, set after set */
    order_set *sets;  /* those that have pictures */
    int32_t set_count;
};

void m2s_shuffle(uint64_t stream, int32_t *list, int64_t count)
{
    for (int64_t i = count - 1; i > 0; i--) {
        int64_t k = (int64_t)(m2s_rng_uniform(stream, (uint64_t)i) * (double)(i + 1));
        int32_t swapped = list[i];
        list[i] = list[k];
        list[k] = swapped;
    }
}

/* The next place's set: the one that is furthest behind its share. credits start at 0. */
static int32_t next_set(const m2s_order *order, double *credits)
{
    int32_t best = 0;

    for (int32_t s = 0; s < order->set_count; s++) {
        credits[s] += order->sets[s].weight;
        best = credits[s] > credits[best] ? s : best;
    }
    credits[best] -= 1.0;
    return best;
}

/* Lengths of BALANCED epochs by walking one. */
static m2snet_status measure_balanced(m2s_order *order, m2s_epoch_end end, m2snet_error *error)
{
    size_t bytes = (size_t)order->set_count * (sizeof(double) + sizeof(int64_t));
    double *credits = m2s_calloc(order->memory, 1, bytes);
    int32_t unseen = order->set_count;

    if (credits == NULL) {
        return m2s_fail_memory(error, "an epoch's order", bytes);
    }
    int64_t *used = (int64_t *)(void *)(credits + order->set_count);
    for (int32_t s = 0; s < order->set_count; s++) { /* not to walk what is too long anyway */
        bool hopeless = end == M2S_EPOCH_OF_LONGEST &&
                        order->sets[s].weight * (double)MAX_LENGTH + order->set_count < (double)order->sets[s].count;
        order->length = hopeless ? MAX_LENGTH + 1 : order->length;
    }
    for (; order->length <= MAX_LENGTH; order->length++) {
        int32_t s = next_set(order, credits);
        if (end == M2S_EPOCH_OF_SHORTEST && used[s] == order->sets[s].count) {
            break;
        }
        unseen -= ++used[s] == order->sets[s].count;
        if (end == M2S_EPOCH_OF_LONGEST && unseen == 0) {
            order->length++;
            break;
        }
    }
    m2s_free(order->memory, credits);
    return M2SNET_STATUS_OK;
}

static void measure_concat(m2s_order *order)
{
    for (int32_t s = 0; s < order->set_count && order->length <= MAX_LENGTH; s++) {
        order_set *set = &order->sets[s];
        double places = floor(set->weight * set->count + 0.5);
        set->places = places < 1.0 ? 1 : places > (double)MAX_LENGTH ? MAX_LENGTH : (int64_t)places;
        order->length += set->places;
    }
}

/* Sorts pictures by set; sets without pictures are left out. */
static void collect_sets(m2s_order *order, const int32_t *sets, const double *weights, int32_t set_count)
{
    double sum = 0.0;
    int32_t at = 0;

    for (int32_t s = 0; s < set_count; s++) {
        order_set set = { .weight = weights[s], .first = at };
        for (int32_t i = 0; i < order->count; i++) {
            if (sets[i] == s) {
                order->members[at++] = i;
            }
        }
        set.count = at - set.first;
        if (set.count > 0) {
            order->sets[order->set_count++] = set;
            sum += set.weight;
        }
    }
    for (int32_t s = 0; order->sampler == M2S_SAMPLER_BALANCED && s < order->set_count; s++) {
        order->sets[s].weight /= sum;
    }
}

m2snet_status m2s_order_create(m2s_memory *memory, const int32_t *sets, int32_t count, const double *weights,
                               int32_t set_count, const m2s_loader_options *options, m2s_order **created,
                               m2snet_error *error)
{
    m2s_order *order = m2s_calloc(memory, 1, sizeof *order);
    m2snet_status status;

    *created = NULL;
    if (order == NULL) {
        return m2s_fail_memory(error, "an epoch's order", sizeof *order);
    }
    *order = (m2s_order){ .memory = memory,
                          .shuffle = options->shuffle,
                          .sampler = options->sampler,
                          .stream = m2s_rng_stream(options->seed, "order"),
                          .count = count };
    order->members = m2s_alloc_array(memory, (size_t)count, sizeof *order->members);
    order->sets = m2s_alloc_array(memory, (size_t)set_count, sizeof *order->sets);
    if (order->members == NULL || order->sets == NULL) {
        status = m2s_fail_memory(error, "an epoch's order", (size_t)count * sizeof *order->members);
        goto fail;
    }
    collect_sets(order, sets, weights, set_count);
    if (!options->shuffle) {
        order->length = count;
    } else if (options->sampler == M2S_SAMPLER_RANDOM) {
        order->length = options->epoch_batches > 0 ? options->epoch_batches * options->batch : count;
    } else if (options->sampler == M2S_SAMPLER_BALANCED) {
        M2S_TRY(measure_balanced(order, options->epoch_end, error));
    } else {
        measure_concat(order);
    }
    if (order->length > MAX_LENGTH) {
        status =
            m2s_fail(error, M2SNET_STATUS_LIMIT,
                     "an epoch has more than 2^30 pictures: the sets' weights or the number of batches are too large");
        goto fail;
    }
    *created = order;
    return M2SNET_STATUS_OK;
fail:
    m2s_order_destroy(order);
    return status;
}

void m2s_order_destroy(m2s_order *order)
{
    if (order != NULL) {
        m2s_free(order->memory, order->members);
        m2s_free(order->memory, order->sets);
        m2s_free(order->memory, order);
    }
}

int64_t m2s_order_length(const m2s_order *order)
{
    return order->length;
}

/* The set's pictures in the order of one pass through it. */
static void draw_pass(const m2s_order *order, uint64_t epoch, int32_t s, uint64_t pass, int32_t *list)
{
    const order_set *set = &order->sets[s];
    uint64_t stream = m2s_rng_bits(m2s_rng_bits(m2s_rng_bits(order->stream, epoch), (uint64_t)s), pass);

    memcpy(list, order->members + set->first, (size_t)set->count * sizeof *list);
    m2s_shuffle(stream, list, set->count);
}

static m2snet_status fill_balanced(const m2s_order *order, uint64_t epoch, int32_t *places, m2snet_error *error)
{
    size_t bytes =
        (size_t)order->set_count * (sizeof(double) + sizeof(int64_t)) + (size_t)order->count * sizeof(int32_t);
    double *credits = m2s_calloc(order->memory, 1, bytes);

    if (credits == NULL) {
        return m2s_fail_memory(error, "an epoch's order", bytes);
    }
    int64_t *used = (int64_t *)(void *)(credits + order->set_count);
    int32_t *lists = (int32_t *)(void *)(used + order->set_count);
    for (int64_t i = 0; i < order->length; i++) {
        int32_t s = next_set(order, credits);
        const order_set *set = &order->sets[s];
        int64_t at = used[s]++;
        if (at % set->count == 0) {
            draw_pass(order, epoch, s, (uint64_t)(at / set->count), lists + set->first);
        }
        places[i] = lists[set->first + at % set->count];
    }
    m2s_free(order->memory, credits);
    return M2SNET_STATUS_OK;
}

static void fill_concat(const m2s_order *order, uint64_t epoch, int32_t *places)
{
    int32_t *at = places;

    for (int32_t s = 0; s < order->set_count; s++) {
        const order_set *set = &order->sets[s];
        for (int64_t left = set->places, pass = 0; left > 0; pass++) {
            int64_t taken = left < set->count ? left : set->count;
            /* A part of a pass is drawn behind the place for it, where there is room for all: see m2s_order_epoch. */
            draw_pass(order, epoch, s, (uint64_t)pass, at);
            at += taken;
            left -= taken;
        }
    }
    m2s_shuffle(m2s_rng_bits(m2s_rng_stream(order->stream, "epoch"), epoch), places, order->length);
}

static void fill_random(const m2s_order *order, uint64_t epoch, int32_t *places)
{
    uint64_t stream = m2s_rng_bits(m2s_rng_stream(order->stream, "random"), epoch);
    double total = 0.0;

    for (int32_t s = 0; s < order->set_count; s++) {
        total += order->sets[s].weight * order->sets[s].count;
    }
    for (int64_t i = 0; i < order->length; i++) {
        double at = m2s_rng_uniform(stream, (uint64_t)i) * total;
        int32_t s = 0;
        while (s + 1 < order->set_count && at >= order->sets[s].weight * order->sets[s].count) {
            at -= order->sets[s].weight * order->sets[s].count;
            s++;
        }
        const order_set *set = &order->sets[s];
        int32_t k = (int32_t)(at / set->weight);
        places[i] = order->members[set->first + (k < set->count ? k : set->count - 1)];
    }
}

m2snet_status m2s_order_epoch(const m2s_order *order, uint64_t epoch, int32_t *places, m2snet_error *error)
{
    if (!order->shuffle) {
        for (int64_t i = 0; i < order->length; i++) {
            places[i] = (int32_t)i;
        }
        return M2SNET_STATUS_OK;
    }
    if (order->sampler == M2S_SAMPLER_BALANCED) {
        return fill_balanced(order, epoch, places, error);
    }
    if (order->sampler == M2S_SAMPLER_RANDOM) {
        fill_random(order, epoch, places);
        return M2SNET_STATUS_OK;
    }
    size_t bytes = (size_t)(order->length + order->count) * sizeof *places;
    int32_t *room = m2s_alloc(order->memory, bytes);
    if (room == NULL) {
        return m2s_fail_memory(error, "an epoch's order", bytes);
    }
    fill_concat(order, epoch, room);
    memcpy(places, room, (size_t)order->length * sizeof *places);
    m2s_free(order->memory, room);
    return M2SNET_STATUS_OK;
}
