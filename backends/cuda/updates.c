/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cuda/updates.h"

#include <string.h>

/* Which inputs of an op are what. */
typedef struct update_kind {
    int32_t state[M2S_UPDATE_STATE]; /* inputs that outputs 0, 1, 2 replace */
    int32_t states, diff, scalar;    /* the first scalar; the rest follow */
} update_kind;

static const update_kind *kind_of(m2s_op op)
{
    static const update_kind average = { { 0 }, 1, 1, 2 }, sgd = { { 0, 2 }, 2, 1, 3 },
                             adamw = { { 0, 2, 3 }, 3, 1, 4 };

    switch (op) {
    case M2S_OP_running_average:
    case M2S_OP_accumulate:
        return &average;
    case M2S_OP_sgd:
        return &sgd;
    case M2S_OP_adamw:
        return &adamw;
    default:
        return NULL;
    }
}

static bool is_aligned(const void *data)
{
    return (uintptr_t)data % 16 == 0;
}

/* The node as the only item of a group. False: not in place, or too large. */
static bool describe(m2s_op op, const m2s_ref_args *args, m2s_update_group *group)
{
    const update_kind *kind = kind_of(op);
    const m2s_attrs *attrs = args->attrs;
    m2s_update_item *item = &group->item[0];
    int64_t count = m2s_shape_elements(args->out_shape[0]);

    if (kind == NULL || count > INT32_MAX - M2S_UPDATE_PIECE) {
        return false;
    }
    *item = (m2s_update_item){ .diff = args->in[kind->diff], .count = (int32_t)count };
    item->one = op == M2S_OP_running_average && attrs->count == 1;
    item->diff += item->one ? attrs->begin : 0;
    item->vectors = item->one || is_aligned(item->diff);
    for (int32_t i = 0; i < kind->states; i++) {
        if (args->out[i] != args->in[kind->state[i]]) {
            return false;
        }
        item->state[i] = args->out[i];
        item->vectors = item->vectors && is_aligned(item->state[i]);
    }
    group->op = op;
    group->items = 1;
    group->blocks = (int32_t)((count + M2S_UPDATE_PIECE - 1) / M2S_UPDATE_PIECE);
    for (int32_t i = 0; i < M2S_UPDATE_SCALARS; i++) {
        group->scalar[i] = kind->scalar + i < args->in_count ? args->in[kind->scalar + i] : NULL;
    }
    group->momentum = (float)attrs->momentum;
    group->beta = (float)attrs->beta;
    group->epsilon = (float)attrs->epsilon;
    group->of_first = (float)(1.0 - attrs->momentum);
    group->of_second = (float)(1.0 - attrs->beta);
    group->form = attrs->form;
    item->share = (float)attrs->alpha;
    item->decay = (float)attrs->weight_decay;
    if (op == M2S_OP_running_average) {
        item->share = (float)(1.0 - attrs->alpha);
        item->decay = (float)(attrs->alpha * attrs->beta);
        group->beta = group->of_second = 0.0f; /* it is in decay, and may differ from item to item */
    }
    return true;
}

static bool are_alike(const m2s_update_group *a, const m2s_update_group *b)
{
    const float x[] = { a->momentum, a->beta, a->epsilon, a->of_first, a->of_second };
    const float y[] = { b->momentum, b->beta, b->epsilon, b->of_first, b->of_second };
    bool alike = a->op == b->op && a->form == b->form && memcmp(x, y, sizeof x) == 0;

    for (int32_t i = 0; i < M2S_UPDATE_SCALARS; i++) {
        alike = alike && a->scalar[i] == b->scalar[i];
    }
    return alike;
}

/* Whether item writes any of `count` numbers from data on. */
static bool writes(const m2s_update_item *item, const float *data, int32_t count)
{
    uintptr_t begin = (uintptr_t)data, end = begin + (size_t)count * sizeof *data;
    bool found = false;

    for (int32_t i = 0; i < M2S_UPDATE_STATE && data != NULL; i++) {
        uintptr_t first = (uintptr_t)item->state[i];
        found = found || (first != 0 && first < end && begin < first + (size_t)item->count * sizeof *data);
    }
    return found;
}

/* Whether `added` reads or writes what item writes. */
static bool follows(const m2s_update_item *item, const m2s_update_group *added)
{
    const m2s_update_item *later = &added->item[0];
    bool found = writes(item, later->diff, later->one ? 1 : later->count);

    for (int32_t i = 0; i < M2S_UPDATE_STATE; i++) {
        found = found || writes(item, later->state[i], later->count);
    }
    for (int32_t i = 0; i < M2S_UPDATE_SCALARS; i++) {
        found = found || writes(item, added->scalar[i], 1);
    }
    return found;
}

/* Whether the one item of `added` must come after the group: it reads or writes what the group writes, or writes what
 * the group reads. */
static bool touches(const m2s_update_group *group, const m2s_update_group *added)
{
    const m2s_update_item *later = &added->item[0];
    bool found = false;

    for (int32_t k = 0; k < group->items && !found; k++) {
        const m2s_update_item *item = &group->item[k];
        found = follows(item, added) || writes(later, item->diff, item->one ? 1 : item->count);
    }
    for (int32_t i = 0; i < M2S_UPDATE_SCALARS; i++) {
        found = found || writes(later, group->scalar[i], 1);
    }
    return found;
}

static void join(m2s_update_group *group, const m2s_update_group *added)
{
    m2s_update_item *item = &group->item[group->items++];

    *item = added->item[0];
    item->first_block = group->blocks;
    group->blocks += added->blocks;
}

bool m2s_cuda_updates_take(m2s_updates *updates, m2s_op op, const m2s_ref_args *args)
{
    m2s_update_group added = { 0 };

    if (!describe(op, args, &added)) {
        return false;
    }
    for (int32_t g = updates->groups - 1; g >= 0; g--) {
        m2s_update_group *group = &updates->group[g];
        bool conflict = touches(group, &added);
        if (are_alike(group, &added) && !conflict) {
            if (group->items == M2S_UPDATE_ITEMS || group->blocks > INT32_MAX - added.blocks) {
                return false;
            }
            join(group, &added);
            return true;
        }
        if (conflict) {
            break; /* it comes after this group, and none behind it is alike */
        }
    }
    if (updates->groups == M2S_UPDATE_GROUPS) {
        return false;
    }
    updates->group[updates->groups++] = added;
    return true;
}

int m2s_cuda_updates_launch(const m2s_cuda_call *call, m2s_updates *updates)
{
    int error = 0;

    for (int32_t g = 0; g < updates->groups && error == 0; g++) {
        error = m2s_cuda_update_group_launch(call, &updates->group[g]);
    }
    updates->groups = 0;
    return error;
}
