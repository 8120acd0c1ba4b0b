/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cuda/branches.h"

#include <string.h>

#include "backends/cuda/order.h"

bool m2s_cuda_has_branches(const m2s_plan *plan)
{
    return !plan->in_a_row && plan->part_count == 1 && plan->first_update == plan->step_count;
}

/* ---- what steps touch ---- */

static m2snet_status touches_alloc(const m2s_plan *plan, m2s_touches *touches, m2snet_error *error)
{
    size_t count = 0, steps = (size_t)plan->step_count + (size_t)plan->value_count;

    for (int32_t s = 0; s < plan->step_count; s++) {
        const m2s_ref_args *args = &plan->steps[s].step.args;
        count += (size_t)args->in_count + (size_t)args->out_count + 1;
    }
    count += 2 * (size_t)plan->value_count;
    touches->touch = m2s_alloc_array(plan->memory, count, sizeof *touches->touch);
    touches->end = m2s_alloc_array(plan->memory, steps, sizeof *touches->end);
    return touches->touch != NULL && touches->end != NULL
               ? M2SNET_STATUS_OK
               : m2s_fail_memory(error, "the order of a plan", count * sizeof *touches->touch);
}

static void touches_free(m2s_memory *memory, m2s_touches *touches)
{
    m2s_free(memory, touches->touch);
    m2s_free(memory, touches->end);
}

static void add(m2s_touches *touches, int32_t *count, const void *data, size_t bytes, bool writes)
{
    uintptr_t begin = (uintptr_t)data;

    touches->touch[(*count)++] = (m2s_touch){ begin, begin + bytes, writes };
}

static size_t stored_bytes(const m2s_plan_value *value)
{
    return value->elements * m2s_dtype_bytes(value->dtype);
}

/* Of memory that has its place. Constants are nobody's to write. Values that are cast at the end come last, a step
 * each. */
static int32_t find_touches(const m2s_plan *plan, m2s_touches *touches)
{
    int32_t count = 0, steps = 0;

    for (; steps < plan->step_count; steps++) {
        const m2s_plan_step *step = &plan->steps[steps];
        const m2s_ref_args *args = &step->step.args;
        for (int32_t i = 0; i < args->in_count; i++) {
            if (step->in[i] != M2S_NONE && step->constant[i] == NULL) {
                const m2s_plan_value *value = &plan->values[step->in[i]];
                add(touches, &count, value->data, stored_bytes(value), false);
            }
        }
        for (int32_t i = 0; i < args->out_count; i++) {
            const m2s_plan_value *value = &plan->values[step->out[i]];
            add(touches, &count, value->data, stored_bytes(value), true);
        }
        if (step->step.scratch_bytes != 0) {
            add(touches, &count, plan->arena + step->scratch_offset, step->step.scratch_bytes, true);
        }
        touches->end[steps] = count;
    }
    for (m2s_value v = 0; v < plan->value_count; v++) {
        const m2s_plan_value *value = &plan->values[v];
        if (value->cast) {
            add(touches, &count, value->data, stored_bytes(value), false);
            add(touches, &count, value->given, value->bytes, true);
            touches->end[steps++] = count;
        }
    }
    return steps;
}

/* As if every value had memory of its own: its number. */
static void find_needs(const m2s_plan *plan, m2s_touches *touches)
{
    int32_t count = 0;

    for (int32_t s = 0; s < plan->step_count; s++) {
        const m2s_plan_step *step = &plan->steps[s];
        for (int32_t i = 0; i < step->step.args.in_count + step->step.args.out_count; i++) {
            bool made = i >= step->step.args.in_count;
            m2s_value v = made ? step->out[i - step->step.args.in_count] : step->in[i];
            if (v != M2S_NONE) {
                touches->touch[count++] = (m2s_touch){ (uintptr_t)v, (uintptr_t)v + 1, made };
            }
        }
        touches->end[s] = count;
    }
}

/* ---- memory ---- */

/* For the memory plan: who uses which block. */
typedef struct block_users {
    const m2s_order *order;
    uint64_t *users; /* a row of bits a block */
    int32_t *maker;  /* the first of them */
    bool *kept;      /* to the end */
} block_users;

static void add_user(const block_users *blocks, size_t block, int32_t step)
{
    blocks->users[block * (size_t)blocks->order->words + (size_t)step / 64] |= (uint64_t)1 << (step % 64);
}

/* Whether all that use block a come before what makes b. */
static bool is_over(const block_users *blocks, int32_t a, int32_t b)
{
    size_t words = (size_t)blocks->order->words;
    const uint64_t *users = blocks->users + (size_t)a * words;
    const uint64_t *before = blocks->order->before + (size_t)blocks->maker[b] * words;
    bool over = !blocks->kept[a];

    for (size_t w = 0; w < words && over; w++) {
        over = (users[w] & ~before[w]) == 0;
    }
    return over;
}

static bool alive_together(const void *user, int32_t a, int32_t b)
{
    const block_users *blocks = user;

    return !is_over(blocks, a, b) && !is_over(blocks, b, a);
}

static void find_users(const m2s_plan *plan, const block_users *blocks)
{
    for (int32_t s = 0; s < plan->step_count; s++) {
        const m2s_plan_step *step = &plan->steps[s];
        size_t scratch = (size_t)plan->value_count + (size_t)s;
        for (int32_t i = 0; i < step->step.args.in_count; i++) {
            if (step->in[i] != M2S_NONE) {
                add_user(blocks, (size_t)step->in[i], s);
            }
        }
        for (int32_t i = 0; i < step->step.args.out_count; i++) {
            add_user(blocks, (size_t)step->out[i], s);
            blocks->maker[step->out[i]] = s;
        }
        add_user(blocks, scratch, s);
        blocks->maker[scratch] = s;
    }
    for (m2s_value v = 0; v < plan->value_count; v++) {
        blocks->kept[v] = plan->values[v].cast;
    }
}

m2snet_status m2s_cuda_branches_place(const m2s_plan *plan, m2s_block *blocks, size_t *arena_bytes, m2snet_error *error)
{
    size_t count = (size_t)plan->value_count + (size_t)plan->step_count;
    m2s_touches needs = { 0 };
    m2s_order order = { 0 };
    block_users users = { .order = &order };
    m2snet_status status;

    M2S_TRY(touches_alloc(plan, &needs, error));
    find_needs(plan, &needs);
    M2S_TRY(m2s_cuda_order_make(plan->memory, &needs, plan->step_count, &order, error));
    users.users = m2s_calloc(plan->memory, count * (size_t)order.words, sizeof *users.users);
    users.maker = m2s_calloc(plan->memory, count, sizeof *users.maker);
    users.kept = m2s_calloc(plan->memory, count, sizeof *users.kept);
    if (users.users == NULL || users.maker == NULL || users.kept == NULL) {
        status = m2s_fail_memory(error, "a plan", count * (size_t)order.words * sizeof *users.users);
        goto fail;
    }
    find_users(plan, &users);
    const m2s_memory_rule rule = { alive_together, &users };
    status = m2s_memory_plan_by(plan->memory, blocks, (int32_t)count, &rule, arena_bytes, error);
fail:
    m2s_free(plan->memory, users.users);
    m2s_free(plan->memory, users.maker);
    m2s_free(plan->memory, users.kept);
    m2s_cuda_order_free(plan->memory, &order);
    touches_free(plan->memory, &needs);
    return status;
}

/* ---- launching ---- */

/* A step's last launches, which others come after, and how many launches lie in a row up to there. */
typedef struct ending {
    m2s_cuda_front front;
    int32_t chain;
} ending;

/* Room for every step's front. */
#define MOST_BEFORE 256

/* Puts what comes next behind the steps that it needs; their longest chain. */
static int go_behind(void *stream, const m2s_order *order, const ending *endings, int32_t step, int32_t *chain)
{
    void *nodes[MOST_BEFORE];
    int32_t count = 0;

    *chain = 0;
    for (int32_t t = 0; t < step; t++) {
        if (m2s_order_bit(order, order->edge, step, t)) {
            const ending *e = &endings[t];
            if (e->front.nodes > MOST_BEFORE - count) {
                return M2S_CUDA_ERROR_CONFIGURATION;
            }
            memcpy(nodes + count, e->front.node, (size_t)e->front.nodes * sizeof *nodes);
            count += e->front.nodes;
            *chain = e->chain > *chain ? e->chain : *chain;
        }
    }
    return m2s_cuda_capture_after(stream, nodes, count);
}

static m2snet_status launch_all(const m2s_device *device, m2s_plan *plan, const m2s_order *order, ending *endings,
                                m2s_branches_size *size, m2snet_error *error)
{
    m2s_value cast = -1;
    int number = 0;
    m2snet_status status = M2SNET_STATUS_OK;

    for (int32_t s = 0; s < order->steps; s++) {
        bool is_step = s < plan->step_count;
        int beside = 0;
        const char *name = is_step ? plan->steps[s].name : "the cast of an output";
        number = go_behind(plan->stream, order, endings, s, &endings[s].chain);
        if (is_step && number == 0) {
            number = m2s_cuda_plan_launch_step(device, plan, plan->stream, s, &beside);
        } else if (number == 0) {
            do {
                cast++;
            } while (!plan->values[cast].cast);
            number = m2s_cuda_plan_launch_cast(device, plan, plan->stream, cast);
        }
        number = number == 0 ? m2s_cuda_capture_front(plan->stream, &endings[s].front) : number;
        M2S_TRY(m2s_cuda_fail(error, number, name));
        endings[s].chain += endings[s].front.launches - size->launches - beside;
        size->launches = endings[s].front.launches;
        size->chain = endings[s].chain > size->chain ? endings[s].chain : size->chain;
    }
fail:
    return status;
}

m2snet_status m2s_cuda_branches_launch(const m2s_device *device, m2s_plan *plan, m2s_branches_size *size,
                                       m2snet_error *error)
{
    m2s_touches touches = { 0 };
    m2s_order order = { 0 };
    ending *endings = NULL;
    m2snet_status status;

    *size = (m2s_branches_size){ 0 };
    M2S_TRY(touches_alloc(plan, &touches, error));
    M2S_TRY(m2s_cuda_order_make(plan->memory, &touches, find_touches(plan, &touches), &order, error));
    endings = m2s_calloc(plan->memory, (size_t)order.steps, sizeof *endings);
    if (endings == NULL) {
        status = m2s_fail_memory(error, "a plan", (size_t)order.steps * sizeof *endings);
        goto fail;
    }
    status = launch_all(device, plan, &order, endings, size, error);
fail:
    m2s_free(plan->memory, endings);
    m2s_cuda_order_free(plan->memory, &order);
    touches_free(plan->memory, &touches);
    return status;
}
