/* SPDX-License-Identifier: Apache-2.0
 * What the settings of a training do to the weights, in float64 on the reference backend: groups, freezing,
 * accumulation, clipping, averages, decay, AdamW. Each is compared with plain steps. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/train_fixture.h"
#include "train/trainer.h"

/* Drawn weights with frozen norms, whose statistics nobody has measured, have gradients of some thousand. */
#define RATE 1e-5

/* Steps are differences of numbers below 2: off by float64's 2e-16. Relative: the same for sums of thousands in another
 * order. */
#define STEP_ROUNDING 1e-15
#define CLOSE         1e-11

static m2snet_context *context;

static int make_context(void **state)
{
    (void)state;
    context = open_context("ref", 2);
    return 0;
}

static int drop_context(void **state)
{
    (void)state;
    m2snet_context_destroy(context);
    return 0;
}

/* SGD without momentum or decay: a step is the gradient times the rate. */
static m2snet_trainer_options plain_options(void)
{
    m2snet_trainer_options options;

    tiny_trainer_options(&options);
    options.learning_rate = RATE;
    options.momentum = options.weight_decay = 0.0;
    options.nesterov = 0;
    options.precision = M2SNET_PRECISION_F64;
    return options;
}

static double *read_state(const m2snet_trainer *trainer, const m2s_state_entry *entry)
{
    double *numbers = malloc(m2s_state_entry_bytes(entry));
    m2snet_error error;

    assert_non_null(numbers);
    assert_int_equal(entry->dtype, M2SNET_DTYPE_F64);
    OK(m2s_state_read(trainer->state, entry, numbers, &error));
    return numbers;
}

typedef struct change {
    const char *name;
    int64_t count;
    double *before, *after, *average; /* average: of the parameter; NULL = none */
} change;

/* Steps with n pictures each, and what they did to every weight and running statistic. */
typedef struct outcome {
    m2snet_trainer *trainer;
    change *list;
    int32_t count;
    double loss, grad_norm; /* of the last step */
} outcome;

/* Picture `index` of a pair, as a batch of its own. */
static train_batch half_of(const train_batch *pair, unsigned index)
{
    train_batch half = make_batch(context, 1, 48, 48, 1, 0);

    memcpy(m2snet_tensor_data(half.images), (float *)m2snet_tensor_data(pair->images) + index * 3 * 48 * 48,
           sizeof(float) * 3 * 48 * 48);
    memcpy(m2snet_tensor_data(half.masks), (float *)m2snet_tensor_data(pair->masks) + index * 48 * 48,
           sizeof(float) * 48 * 48);
    return half;
}

/* Pairs 0, 1, ... as batches of n = 2, or picture by picture. */
static outcome take(const m2snet_trainer_options *options, int64_t n, unsigned steps)
{
    outcome o = { .trainer = tiny_trainer(context, options) };
    int32_t entries = m2s_state_count(o.trainer->state);
    m2snet_train_row row = { .struct_size = sizeof row };
    m2snet_error error;

    o.list = calloc((size_t)entries, sizeof *o.list);
    assert_non_null(o.list);
    for (int32_t i = 0; i < entries; i++) {
        const m2s_state_entry *entry = m2s_state_at(o.trainer->state, i);
        if (m2s_step_is_weight(entry->name)) {
            o.list[o.count++] = (change){ .name = entry->name,
                                          .count = m2s_shape_elements(entry->shape),
                                          .before = read_state(o.trainer, entry) };
        }
    }
    for (unsigned i = 0; i < steps; i++) {
        train_batch pair = make_batch(context, 2, 48, 48, 1, n == 2 ? i : i / 2);
        train_batch batch = n == 2 ? pair : half_of(&pair, i % 2);
        OK(m2snet_trainer_step(o.trainer, batch.images, batch.masks, -1.0, &row, NULL, &error));
        assert_int_equal(row.finite, 1);
        free_batch(&pair);
        if (n == 1) {
            free_batch(&batch);
        }
    }
    for (int32_t i = 0; i < o.count; i++) {
        char name[200];
        snprintf(name, sizeof name, M2S_STATE_AVERAGE "%s", o.list[i].name);
        const m2s_state_entry *average = m2s_state_find(o.trainer->state, name);
        o.list[i].after = read_state(o.trainer, m2s_state_find(o.trainer->state, o.list[i].name));
        o.list[i].average = average != NULL ? read_state(o.trainer, average) : NULL;
    }
    o.loss = row.loss;
    o.grad_norm = row.grad_norm;
    return o;
}

static void drop(outcome *o)
{
    for (int32_t i = 0; i < o->count; i++) {
        free(o->list[i].before);
        free(o->list[i].after);
        free(o->list[i].average);
    }
    free(o->list);
    m2snet_trainer_destroy(o->trainer);
}

static bool is_encoder(const change *c)
{
    return strncmp(c->name, "resnet.", 7) == 0;
}

static bool is_running(const change *c)
{
    return strstr(c->name, ".running_") != NULL;
}

static bool moved(const change *c)
{
    return memcmp(c->before, c->after, (size_t)c->count * sizeof *c->before) != 0;
}

/* Parameters whose gradient is zero for certain stay; everything else that may move should. */
static void expect_moves(const outcome *o, bool encoder, bool encoder_running, bool running)
{
    int32_t moves[2][2] = { { 0 } };

    for (int32_t i = 0; i < o->count; i++) {
        const change *c = &o->list[i];
        bool may = is_running(c) ? (is_encoder(c) ? encoder_running : running) : !is_encoder(c) || encoder;
        if (!may && moved(c)) {
            fail_msg("%s has moved", c->name);
        }
        moves[is_encoder(c)][is_running(c)] += moved(c);
    }
    assert_true(moves[0][0] > 20);
    assert_int_equal(moves[0][1] > 20, running);
    assert_int_equal(moves[1][0] > 20, encoder);
    assert_int_equal(moves[1][1] > 20, encoder_running);
}

/* The steps of a are `factor` times those of b, for the encoder's or the head's parameters. */
static void expect_steps(const outcome *a, const outcome *b, bool encoder, double factor)
{
    int32_t compared = 0;

    assert_int_equal(a->count, b->count);
    for (int32_t i = 0; i < a->count; i++) {
        const change *x = &a->list[i], *y = &b->list[i];
        if (is_running(x) || is_encoder(x) != encoder) {
            continue;
        }
        for (int64_t k = 0; k < x->count; k++) {
            double got = x->after[k] - x->before[k], wanted = factor * (y->after[k] - y->before[k]);
            if (!(fabs(got - wanted) <= STEP_ROUNDING + CLOSE * fabs(wanted))) {
                fail_msg("%s[%d] moved by %.15g, expected %.15g", x->name, (int)k, got, wanted);
            }
        }
        compared++;
    }
    assert_true(compared > 20);
}

static void test_freezing(void **state)
{
    m2snet_trainer_options options = plain_options();
    outcome o = take(&options, 2, 2);

    (void)state;
    expect_moves(&o, true, true, true);
    drop(&o);
    options.freeze_encoder = 1;
    o = take(&options, 2, 2);
    expect_moves(&o, false, false, true);
    drop(&o);
    options.freeze_encoder = 0;
    options.encoder_rate = 0.0; /* it learns nothing, and still sees the pictures */
    o = take(&options, 2, 2);
    expect_moves(&o, false, true, true);
    drop(&o);
    options.encoder_rate = 1.0;
    options.freeze_batch_norm = 1;
    o = take(&options, 2, 2);
    expect_moves(&o, true, false, false);
    int32_t norms = 0;
    for (int32_t i = 0; i < o.count; i++) { /* a norm's weight and bias learn */
        norms += strstr(o.list[i].name, ".bn") != NULL && moved(&o.list[i]);
    }
    assert_true(norms > 10);
    drop(&o);
}

static void test_groups_and_decay(void **state)
{
    m2snet_trainer_options options = plain_options();
    outcome plain = take(&options, 2, 1);

    (void)state;
    options.encoder_rate = 0.1;
    outcome groups = take(&options, 2, 1);
    expect_steps(&groups, &plain, true, 0.1);
    expect_steps(&groups, &plain, false, 1.0);
    drop(&groups);

    options.encoder_rate = 1.0;
    options.weight_decay = 0.5;
    outcome decayed = take(&options, 2, 1);
    int32_t compared = 0;
    for (int32_t i = 0; i < plain.count; i++) { /* biases and norms, too */
        const change *x = &decayed.list[i], *y = &plain.list[i];
        for (int64_t k = 0; k < x->count && !is_running(x) && moved(y); k++) {
            double wanted = y->after[k] - RATE * 0.5 * y->before[k];
            assert_true(fabs(x->after[k] - wanted) <= 1e-12 * (1.0 + fabs(wanted)));
            compared += y->before[k] != 0.0;
        }
    }
    assert_true(compared > 1000);
    drop(&decayed);
    drop(&plain);
}

/* Two runs of one picture each are one step of both: with frozen norms pictures know nothing of each other. */
static void test_accumulation(void **state)
{
    m2snet_trainer_options options = plain_options();

    (void)state;
    options.freeze_batch_norm = 1;
    outcome whole = take(&options, 2, 1);
    options.accumulate = 2;
    outcome parts = take(&options, 1, 2), half = take(&options, 1, 1);
    expect_steps(&parts, &whole, true, 1.0);
    expect_steps(&parts, &whole, false, 1.0);
    assert_int_equal(parts.trainer->position.updates, 1);
    expect_steps(&half, &whole, false, 0.0); /* nothing before the second */
    expect_steps(&half, &whole, true, 0.0);
    drop(&half);
    drop(&parts);
    drop(&whole);
}

static void test_clipping(void **state)
{
    m2snet_trainer_options options = plain_options();
    outcome plain = take(&options, 2, 1);
    double squares = 0.0;

    (void)state;
    for (int32_t i = 0; i < plain.count; i++) {
        const change *c = &plain.list[i];
        for (int64_t k = 0; k < c->count && !is_running(c); k++) {
            double gradient = (c->after[k] - c->before[k]) / RATE;
            squares += gradient * gradient;
        }
    }
    assert_true(fabs(sqrt(squares) - plain.grad_norm) <= 1e-8 * plain.grad_norm);
    options.clip_norm = 0.25 * plain.grad_norm;
    double factor = options.clip_norm / (plain.grad_norm + 1e-6); /* PyTorch's */
    outcome clipped = take(&options, 2, 1);
    expect_steps(&clipped, &plain, true, factor);
    expect_steps(&clipped, &plain, false, factor);
    assert_true(clipped.grad_norm == plain.grad_norm); /* what is told is the norm before */
    drop(&clipped);
    options.clip_norm = 1.1 * plain.grad_norm;
    outcome free_to_go = take(&options, 2, 1);
    expect_steps(&free_to_go, &plain, false, 1.0);
    drop(&free_to_go);
    drop(&plain);
}

static void test_averages(void **state)
{
    m2snet_trainer_options options = plain_options();

    (void)state;
    options.ema_decay = 0.75;
    outcome o = take(&options, 2, 1);
    int32_t compared = 0;
    for (int32_t i = 0; i < o.count; i++) {
        const change *c = &o.list[i];
        assert_int_equal(c->average != NULL, !is_running(c));
        for (int64_t k = 0; c->average != NULL && k < c->count; k++) {
            double wanted = 0.75 * c->before[k] + 0.25 * c->after[k];
            assert_true(fabs(c->average[k] - wanted) <= STEP_ROUNDING);
            compared += c->before[k] != c->after[k];
        }
    }
    assert_true(compared > 1000);
    drop(&o);
}

/* The first step of AdamW goes by the gradient's sign, nearly, whatever beta1 and beta2 are; decay stands beside it. */
static void test_adamw(void **state)
{
    m2snet_trainer_options options = plain_options();
    outcome plain = take(&options, 2, 1);
    int32_t compared = 0;

    (void)state;
    options.optimiser = M2SNET_OPTIMISER_ADAMW;
    options.momentum = 0.9;
    options.epsilon = 1e-3;
    options.weight_decay = 0.25;
    outcome adam = take(&options, 2, 1);
    for (int32_t i = 0; i < plain.count; i++) {
        const change *x = &adam.list[i], *y = &plain.list[i];
        for (int64_t k = 0; k < x->count && !is_running(x) && moved(y); k++) {
            double gradient = (y->before[k] - y->after[k]) / RATE;
            double wanted = x->before[k] - RATE * (gradient / (fabs(gradient) + 1e-3) + 0.25 * x->before[k]);
            /* The gradient read off a step is off by 2e-16 / RATE, which epsilon makes 2e-8, and RATE 2e-13. */
            if (!(fabs(x->after[k] - wanted) <= 1e-12)) {
                fail_msg("%s[%d] is %.15g, expected %.15g", x->name, (int)k, x->after[k], wanted);
            }
            compared++;
        }
    }
    assert_true(compared > 1000);
    drop(&adam);
    drop(&plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_freezing), cmocka_unit_test(test_groups_and_decay), cmocka_unit_test(test_accumulation),
        cmocka_unit_test(test_clipping), cmocka_unit_test(test_averages),         cmocka_unit_test(test_adamw),
    };

    return cmocka_run_group_tests(tests, make_context, drop_context);
}
