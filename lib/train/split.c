/* SPDX-License-Identifier: Apache-2.0 */
#include "train/split.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/quote.h"
#include "core/rng.h"
#include "train/dataset_names.h"

#define MAX_FOLDS 1000

void m2s_split_options_default(m2snet_split_options *options)
{
    *options = (m2snet_split_options){ .struct_size = sizeof *options, .folds = 5, .validation = 0.1 };
}

/* ---- groups ---- */

/* Items that stay together. */
typedef struct unit {
    int32_t first; /* lowest item */
    int32_t count;
    int32_t set;     /* of the first item */
    uint64_t ticket; /* its place among units of one size */
} unit;

typedef struct grouping {
    m2s_memory *memory;
    int32_t *leader; /* by item: the lowest item of its unit */
    unit *units;
    int32_t unit_count;
} grouping;

static int32_t find_leader(int32_t *leader, int32_t i)
{
    while (leader[i] != i) {
        leader[i] = leader[leader[i]];
        i = leader[i];
    }
    return i;
}

static void unite(int32_t *leader, int32_t a, int32_t b)
{
    a = find_leader(leader, a);
    b = find_leader(leader, b);
    leader[a > b ? a : b] = a < b ? a : b;
}

typedef struct named {
    const char *group;
    int32_t item;
} named;

static int by_group(const void *a, const void *b)
{
    const named *x = a, *y = b;
    int order = strcmp(x->group, y->group);

    return order != 0 ? order : (x->item > y->item) - (x->item < y->item);
}

static m2snet_status unite_groups(const m2snet_dataset *d, grouping *g, m2snet_error *error)
{
    named *list = m2s_alloc_array(g->memory, (size_t)d->count, sizeof *list);
    int32_t count = 0;

    if (list == NULL) {
        return m2s_fail_memory(error, "a split", (size_t)d->count * sizeof *list);
    }
    for (int32_t i = 0; i < d->count; i++) {
        if (d->samples[i].group[0] != '\0') {
            list[count++] = (named){ d->samples[i].group, i };
        }
    }
    if (count > 0) {
        qsort(list, (size_t)count, sizeof *list, by_group);
    }
    for (int32_t i = 1; i < count; i++) {
        if (strcmp(list[i - 1].group, list[i].group) == 0) {
            unite(g->leader, list[i - 1].item, list[i].item);
        }
    }
    m2s_free(g->memory, list);
    return M2SNET_STATUS_OK;
}

/* Larger units first, those of one size in random order. */
static int by_size(const void *a, const void *b)
{
    const unit *x = a, *y = b;

    if (x->count != y->count) {
        return x->count < y->count ? 1 : -1;
    }
    if (x->ticket != y->ticket) {
        return x->ticket < y->ticket ? -1 : 1;
    }
    return (x->first > y->first) - (x->first < y->first);
}

static m2snet_status make_units(const m2snet_dataset *d, const m2snet_split_options *o, grouping *g,
                                m2snet_error *error)
{
    uint64_t stream = m2s_rng_stream(o->seed, "split");
    m2snet_status status;

    g->leader = m2s_alloc_array(g->memory, (size_t)d->count, sizeof *g->leader);
    g->units = m2s_calloc(g->memory, (size_t)d->count, sizeof *g->units);
    if (g->leader == NULL || g->units == NULL) {
        return m2s_fail_memory(error, "a split", (size_t)d->count * sizeof *g->units);
    }
    for (int32_t i = 0; i < d->count; i++) {
        g->leader[i] = i;
    }
    if (!o->ignore_groups) {
        M2S_TRY(unite_groups(d, g, error));
    }
    for (int32_t i = 0; o->keep_near_duplicates && i < d->near_count; i++) {
        unite(g->leader, d->near_pairs[i].a, d->near_pairs[i].b);
    }
    for (int32_t i = 0; i < d->count; i++) {
        unit *u = &g->units[find_leader(g->leader, i)];
        if (u->count++ == 0) {
            u->first = i;
            u->set = d->samples[i].set;
            u->ticket = m2s_rng_bits(stream, (uint64_t)i);
        }
    }
    for (int32_t i = 0; i < d->count; i++) {
        if (g->units[i].count > 0) {
            g->units[g->unit_count++] = g->units[i];
        }
    }
    qsort(g->units, (size_t)g->unit_count, sizeof *g->units, by_size);
    status = M2SNET_STATUS_OK;
fail:
    return status;
}

static void grouping_release(grouping *g)
{
    m2s_free(g->memory, g->leader);
    m2s_free(g->memory, g->units);
}

/* ---- kinds ---- */

static m2snet_status place_folds(const m2snet_dataset *d, const m2snet_split_options *o, const grouping *g,
                                 int32_t *place, m2snet_error *error)
{
    size_t folds = (size_t)o->folds;
    int32_t *all = m2s_calloc(g->memory, folds * (1 + (size_t)d->source_count), sizeof *all);

    if (all == NULL) {
        return m2s_fail_memory(error, "a split", folds * sizeof *all);
    }
    for (int32_t i = 0; i < g->unit_count; i++) {
        const unit *u = &g->units[i];
        int32_t *own = all + folds * (1 + (size_t)u->set);
        size_t best = 0;
        for (size_t f = 1; f < folds; f++) {
            if (own[f] < own[best] || (own[f] == own[best] && all[f] < all[best])) {
                best = f;
            }
        }
        own[best] += u->count;
        all[best] += u->count;
        place[u->first] = (int32_t)best;
    }
    m2s_free(g->memory, all);
    return M2SNET_STATUS_OK;
}

static void place_fractions(const m2snet_dataset *d, const m2snet_split_options *o, const grouping *g, int32_t *place)
{
    const double fractions[3] = { 0.0, o->validation, o->test };
    double lacking[3] = { 0.0 };

    for (int p = 1; p < 3; p++) { /* at least one of what was asked for at all */
        lacking[p] = floor(fractions[p] * d->count + 0.5);
        lacking[p] = fractions[p] > 0.0 && lacking[p] < 1.0 ? 1.0 : lacking[p];
    }
    lacking[0] = d->count - lacking[1] - lacking[2];
    for (int32_t i = 0; i < g->unit_count; i++) {
        const unit *u = &g->units[i];
        int best = 0;
        for (int p = 1; p < 3; p++) {
            best = lacking[p] > lacking[best] ? p : best;
        }
        lacking[best] -= u->count;
        place[u->first] = M2SNET_PART_TRAIN + best;
    }
}

static m2snet_status part_of_word(const m2s_sample *s, m2snet_part *part, m2snet_error *error)
{
    static const struct {
        const char *word;
        m2snet_part part;
    } words[] = {
        { "", M2SNET_PART_NONE },
        { "train", M2SNET_PART_TRAIN },
        { "training", M2SNET_PART_TRAIN },
        { "val", M2SNET_PART_VALIDATION },
        { "valid", M2SNET_PART_VALIDATION },
        { "validation", M2SNET_PART_VALIDATION },
        { "dev", M2SNET_PART_VALIDATION },
        { "test", M2SNET_PART_TEST },
        { "testing", M2SNET_PART_TEST },
        { "none", M2SNET_PART_NONE },
    };

    if (s->split == NULL) {
        *part = M2SNET_PART_TRAIN;
        return M2SNET_STATUS_OK;
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (m2s_name_same(s->split, words[i].word)) {
            *part = words[i].part;
            return M2SNET_STATUS_OK;
        }
    }
    return m2s_fail(error, M2SNET_STATUS_FORMAT, "'%s': split is %s, expected train, val, test or nothing",
                    s->image_path, m2s_quote(s->split, strlen(s->split)).text);
}

static m2snet_status place_column(const m2snet_dataset *d, grouping *g, int32_t *place, m2snet_error *error)
{
    int32_t *owner = m2s_alloc_array(g->memory, (size_t)d->count, sizeof *owner); /* by leader: first item in a part */
    m2snet_part part = M2SNET_PART_NONE;
    m2snet_status status = M2SNET_STATUS_OK;

    if (owner == NULL) {
        return m2s_fail_memory(error, "a split", (size_t)d->count * sizeof *owner);
    }
    memset(owner, 0xff, (size_t)d->count * sizeof *owner);
    for (int32_t i = 0; i < d->count; i++) {
        M2S_TRY(part_of_word(&d->samples[i], &part, error));
        place[i] = (int32_t)part;
        int32_t *first = &owner[find_leader(g->leader, i)];
        if (part != M2SNET_PART_NONE && *first >= 0 && place[*first] != place[i]) {
            status = m2s_fail(error, M2SNET_STATUS_MISMATCH,
                              "'%s' and '%s' belong together, but the split column puts them into different parts",
                              d->samples[*first].image_path, d->samples[i].image_path);
            goto fail;
        }
        *first = part != M2SNET_PART_NONE && *first < 0 ? i : *first;
    }
fail:
    m2s_free(g->memory, owner);
    return status;
}

/* ---- all ---- */

static m2snet_status check_options(const m2snet_dataset *d, const m2snet_split_options *o, m2snet_error *error)
{
    const m2snet_status bad = M2SNET_STATUS_INVALID_ARGUMENT;

    if (o->kind != M2SNET_SPLIT_COLUMN && o->kind != M2SNET_SPLIT_FOLDS && o->kind != M2SNET_SPLIT_FRACTIONS) {
        return m2s_fail(error, bad, "split: kind is %d, expected 0 to 2", (int)o->kind);
    }
    if (o->kind == M2SNET_SPLIT_FOLDS && (o->folds < 2 || o->folds > MAX_FOLDS)) {
        return m2s_fail(error, bad, "split: folds is %d, expected 2 to %d", o->folds, MAX_FOLDS);
    }
    if (o->kind == M2SNET_SPLIT_FOLDS && (o->fold < 0 || o->fold >= o->folds)) {
        return m2s_fail(error, bad, "split: fold is %d, expected 0 to %d", o->fold, o->folds - 1);
    }
    if (o->kind == M2SNET_SPLIT_FRACTIONS &&
        !(o->validation >= 0.0 && o->test >= 0.0 && o->validation + o->test < 1.0)) {
        return m2s_fail(error, bad, "split: validation %g and test %g, expected 0 and more, together less than 1",
                        o->validation, o->test);
    }
    if (d->count == 0) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "split: the data set is empty");
    }
    return M2SNET_STATUS_OK;
}

/* A part that was asked for must have somebody in it. */
static m2snet_status check_parts(const m2snet_dataset *d, const m2snet_split_options *o, const grouping *g,
                                 const int32_t *place, m2snet_error *error)
{
    static const char *const names[] = { "", "training", "validation", "testing" };
    const double wanted[4] = { 0.0, 1.0, o->validation, o->test };
    int32_t seen[4] = { 0 };

    if (o->kind == M2SNET_SPLIT_FOLDS) {
        if (g->unit_count < o->folds) {
            return m2s_fail(error, M2SNET_STATUS_MISMATCH, "split: %d folds of %d groups (%d pictures)", o->folds,
                            g->unit_count, d->count);
        }
        return M2SNET_STATUS_OK;
    }
    for (int32_t i = 0; i < d->count; i++) {
        seen[place[i]]++;
    }
    for (int p = M2SNET_PART_TRAIN; o->kind == M2SNET_SPLIT_FRACTIONS && p <= M2SNET_PART_TEST; p++) {
        if (wanted[p] > 0.0 && seen[p] == 0) {
            return m2s_fail(error, M2SNET_STATUS_MISMATCH, "split: nothing is left for %s: %d groups of %d pictures",
                            names[p], g->unit_count, d->count);
        }
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_dataset_split(m2snet_dataset *d, const m2snet_split_options *o, m2snet_error *error)
{
    grouping g = { .memory = &d->context->memory };
    int32_t *place = NULL;
    m2snet_status status;

    M2S_TRY(check_options(d, o, error));
    M2S_TRY(make_units(d, o, &g, error));
    place = m2s_alloc_array(g.memory, (size_t)d->count, sizeof *place);
    if (place == NULL) {
        status = m2s_fail_memory(error, "a split", (size_t)d->count * sizeof *place);
        goto fail;
    }
    if (o->kind == M2SNET_SPLIT_COLUMN) {
        M2S_TRY(place_column(d, &g, place, error));
    } else if (o->kind == M2SNET_SPLIT_FOLDS) {
        M2S_TRY(place_folds(d, o, &g, place, error));
    } else {
        place_fractions(d, o, &g, place);
    }
    for (int32_t i = 0; o->kind != M2SNET_SPLIT_COLUMN && i < d->count; i++) {
        place[i] = place[find_leader(g.leader, i)];
    }
    M2S_TRY(check_parts(d, o, &g, place, error));
    for (int32_t i = 0; i < d->count; i++) {
        m2s_sample *s = &d->samples[i];
        bool is_fold = o->kind == M2SNET_SPLIT_FOLDS;
        s->fold = is_fold ? place[i] : -1;
        s->part = !is_fold ? (m2snet_part)place[i] : place[i] == o->fold ? M2SNET_PART_VALIDATION : M2SNET_PART_TRAIN;
    }
fail:
    m2s_free(g.memory, place);
    grouping_release(&g);
    return status;
}
