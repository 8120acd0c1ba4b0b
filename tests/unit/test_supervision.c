/* SPDX-License-Identifier: Apache-2.0
 * Deep supervision: what the loss is made of, its gradients by central differences in float64, where heads come from
 * and where they go. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/training_fixture.h"
#include "net/names.h"
#include "run/model.h"
#include "train/trainer.h"

#define SIDE 64

static const char tiny[] =
    "{\"encoder\":\"res2net\",\"encoder_shape\":{\"stem\":[4,4,8],\"blocks\":[2,1,1,1],\"width\":[3,4,4,4],"
    "\"channels\":[16,16,16,16]},\"pyramid_channels\":8,\"input_size\":64}";

static void expect_ok(m2snet_status status, const m2snet_error *error)
{
    if (status != M2SNET_STATUS_OK) {
        fail_msg("%s: %s", m2snet_status_string(status), error->message);
    }
}

static void tiny_config(m2s_config *config)
{
    m2snet_error error;

    m2s_config_default(config);
    expect_ok(m2s_config_parse(config, tiny, strlen(tiny), NULL, NULL, &error), &error);
}

/* Frozen norms: no statistics of a batch, and running values that stay. */
static void make_run(training_run *run, m2s_supervision supervision, bool bce_alone)
{
    m2s_config config;
    m2s_recipe recipe;

    tiny_config(&config);
    m2s_recipe_default(&recipe);
    recipe.supervision = supervision;
    recipe.freeze_batch_norm = recipe.keep_gradients = true;
    recipe.encoder_rate = 1.0;
    if (bce_alone) {
        recipe.objective.weight[M2S_TERM_IOU] = 0.0;
    }
    training_run_make(run, "ref", 2, M2SNET_DTYPE_F64, &config, RECIPE_PARITY, &recipe, 2, SIDE, SIDE);
    double rate = 0.0; /* a step moves nothing */
    m2snet_error error;
    expect_ok(m2s_program_write(run->program, M2S_NAME_RATE, &rate, &error), &error);
}

static void write_state(training_run *run, const char *name, const double *numbers)
{
    const m2s_state_entry *entry = m2s_state_find(run->state, name);
    m2snet_error error;

    assert_non_null(entry);
    expect_ok(m2s_state_write(run->state, entry, numbers, &error), &error);
}

/* ---- the value ---- */

/* Heads of zeros give maps of zeros, whose weighted cross-entropy is log 2 whatever the mask and the weights. */
static void test_value(void **state)
{
    static const m2s_supervision kinds[] = { M2S_SUPERVISION_FINAL, M2S_SUPERVISION_EQUAL, M2S_SUPERVISION_HALVING };
    static const double final_share[] = { 1.0, 1.0, 8.0 / 15.0 }, others[] = { 0.0, 3.0, 7.0 / 15.0 };

    (void)state;
    for (size_t k = 0; k < 3; k++) {
        training_run run;
        make_run(&run, kinds[k], true);
        for (int level = 2; level <= 4 && k > 0; level++) {
            double zeros[8 * 9] = { 0 };
            char name[32];
            snprintf(name, sizeof name, "ds%d.weight", level);
            write_state(&run, name, zeros);
            snprintf(name, sizeof name, "ds%d.bias", level);
            write_state(&run, name, zeros);
        }
        training_run_step(&run);
        double bce = training_run_scalar(&run, "loss.bce"), loss = training_run_scalar(&run, M2S_NAME_LOSS);
        assert_true(fabs(bce - log(2.0)) > 1e-3); /* the final map is another one */
        double expected = final_share[k] * bce + others[k] * log(2.0);
        if (!(fabs(loss - expected) <= 1e-12 * expected)) { /* sums of some thousand numbers in float64 */
            fail_msg("loss is %.15g, expected %.15g", loss, expected);
        }
        training_run_release(&run);
    }
}

/* ---- gradients ---- */

static double loss_with(training_run *run, const char *name, double *numbers, int64_t index, double value)
{
    double kept = numbers[index];

    numbers[index] = value;
    write_state(run, name, numbers);
    numbers[index] = kept;
    training_run_step(run);
    return training_run_scalar(run, M2S_NAME_LOSS);
}

/* Truncation of differences this narrow is below their rounding, 1e-16 / 2^-20 = 1e-10; gradients are 1e-4 and more. A
 * kink between both ends would show as 1e-2: those of parameters in front of ReLUs were looked at and have none. */
static void test_gradients(void **state)
{
    static const char *const names[] = { "ds2.weight", "ds3.weight",     "ds4.weight",    "ds2.bias",
                                         "ds4.bias",   "output4.0.bias", "output2.1.bias" };
    const double step = 0x1p-20;

    (void)state;
    for (m2s_supervision kind = M2S_SUPERVISION_EQUAL; kind <= M2S_SUPERVISION_HALVING; kind++) {
        training_run run;
        int compared = 0;
        make_run(&run, kind, false);
        training_run_step(&run);
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            char output[64];
            int64_t count, same;
            snprintf(output, sizeof output, M2S_GRADIENT "%s", names[i]);
            training_run_step(&run);
            double *gradient = training_run_output(&run, output, &count);
            double *numbers = training_run_state(&run, names[i], &same);
            assert_int_equal(count, same);
            for (int64_t at = 0; at < count; at += 1 + count / 3, compared++) {
                double above = loss_with(&run, names[i], numbers, at, numbers[at] + step);
                double below = loss_with(&run, names[i], numbers, at, numbers[at] - step);
                double difference = (above - below) / (2.0 * step);
                if (!(fabs(difference - gradient[at]) <= 1e-9 + 1e-6 * fabs(gradient[at]))) {
                    fail_msg("%s[%d]: gradient %.12g, difference %.12g", names[i], (int)at, gradient[at], difference);
                }
                assert_true(fabs(gradient[at]) > 1e-6);
            }
            write_state(&run, names[i], numbers);
            free(gradient);
            free(numbers);
        }
        assert_true(compared >= 15);
        training_run_release(&run);
    }
}

/* ---- the graph ---- */

static int32_t count_op(const m2s_graph *graph, m2s_op op)
{
    int32_t count = 0;

    for (int32_t i = 0; i < graph->node_count; i++) {
        count += graph->nodes[i].op == op;
    }
    return count;
}

/* Four maps have the terms, one the loss network's; pixels are weighed once. */
static void test_graph(void **state)
{
    m2s_memory memory;
    m2s_config config;
    m2s_recipe recipe;
    m2s_graph *graph;
    m2snet_error error;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    tiny_config(&config);
    m2s_recipe_default(&recipe);
    recipe.supervision = M2S_SUPERVISION_EQUAL;
    recipe.objective.weight[M2S_TERM_LOSSNET] = 0.1;
    recipe.objective.lossnet = m2s_lossnet_family_of("vgg16");
    expect_ok(m2s_step_build(&memory, &config, &recipe, 2, SIDE, SIDE, M2SNET_DTYPE_F32, true, &graph, &error), &error);
    assert_int_equal(count_op(graph, M2S_OP_weighted_bce), 4);
    assert_int_equal(count_op(graph, M2S_OP_weighted_iou), 4);
    assert_int_equal(count_op(graph, M2S_OP_feature_distance), 4); /* taps */
    assert_int_equal(count_op(graph, M2S_OP_boundary_weights), 1);
    assert_true(m2s_step_is_weight("ds4.weight") && m2s_name_is_ignored("ds4.weight"));
    assert_false(m2s_name_is_supervised("ds5.weight") || m2s_name_is_supervised("ds") ||
                 m2s_name_is_supervised("dsx.weight"));
    m2s_graph_destroy(graph);
}

/* ---- heads ---- */

static void read_head(m2snet_trainer *trainer, const char *name, float numbers[72])
{
    const m2s_state_entry *entry = m2s_state_find(trainer->state, name);
    m2snet_error error;

    assert_non_null(entry);
    assert_int_equal(m2s_shape_elements(entry->shape), 72);
    expect_ok(m2s_state_read(trainer->state, entry, numbers, &error), &error);
}

/* Drawn from the seed, within the usual bound 1 / sqrt(8 * 9); a model that has a head gives it and gets it back. */
static void test_heads(void **state)
{
    static const int64_t dims[4] = { 1, 8, 3, 3 };
    m2snet_context_options options;
    m2snet_trainer_options training;
    m2snet_context *context;
    m2snet_model *model, *made;
    m2snet_trainer *trainer[3];
    float drawn[3][72], average[72], given[72];
    void *room;
    m2snet_error error;

    (void)state;
    m2s_context_options_default(&options);
    options.threads = 1;
    expect_ok(m2s_context_create(&options, &context, &error), &error);
    expect_ok(m2s_model_create(context, tiny, 1, &model, &error), &error);
    m2s_trainer_options_default(&training);
    training.supervision = M2SNET_SUPERVISION_EQUAL;
    training.ema_decay = 0.9;
    for (int i = 0; i < 3; i++) {
        training.seed = i == 2 ? 5 : 4;
        expect_ok(m2s_trainer_create(model, &training, &trainer[i], &error), &error);
        read_head(trainer[i], "ds3.weight", drawn[i]);
        read_head(trainer[i], M2S_STATE_AVERAGE "ds3.weight", average);
        assert_memory_equal(drawn[i], average, sizeof average);
    }
    assert_memory_equal(drawn[0], drawn[1], sizeof drawn[0]);
    float largest = 0.0f;
    for (int k = 0; k < 72; k++) {
        largest = fmaxf(largest, fabsf(drawn[0][k]));
        assert_true(drawn[0][k] != drawn[2][k]);
    }
    assert_true(largest > 0.1f && largest <= 0.117852f);
    expect_ok(m2s_trainer_model(trainer[0], false, &made, &error), &error);
    assert_null(m2s_store_find(made->store, "ds3.weight"));
    m2s_model_release(made);
    for (int i = 0; i < 3; i++) {
        m2s_trainer_destroy(trainer[i]);
    }

    m2s_weight_desc desc = {
        .name = "ds3.weight", .name_bytes = strlen("ds3.weight"), .dtype = M2SNET_DTYPE_F32, .rank = 4, .dims = dims
    };
    expect_ok(m2s_store_add(model->store, &desc, NULL, &room, &error), &error);
    for (int k = 0; k < 72; k++) {
        ((float *)room)[k] = (float)k;
    }
    expect_ok(m2s_trainer_create(model, &training, &trainer[0], &error), &error);
    read_head(trainer[0], "ds3.weight", given);
    assert_memory_equal(given, room, sizeof given);
    expect_ok(m2s_trainer_model(trainer[0], true, &made, &error), &error);
    assert_non_null(m2s_store_find(made->store, "ds3.weight"));
    m2s_model_release(made);
    m2s_trainer_destroy(trainer[0]);
    m2s_model_release(model);
    m2s_context_release(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_value),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_graph),
        cmocka_unit_test(test_heads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
