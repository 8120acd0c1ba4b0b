/* SPDX-License-Identifier: Apache-2.0
 * Training in F16 and BF16 as a user meets it, on the module that runs without a device: losses beside F32's, gradients
 * that overflow, the loss scale that follows, states that go on bit for bit, and calls of the CUDA runtime that fail.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/cuda_fixture.h"
#include "common/train_fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOW 1 /* a part of it will do */
#else
#define SLOW 0
#endif

#define FIRST_SCALE 65536.0
#define STEPS       2

typedef struct setup {
    m2snet_context *context;
    m2snet_trainer_options options;
    m2snet_objective_options objective;
    m2snet_trainer *trainer;
    train_batch batch;
    scratch files;
} setup;

static void open_setup(setup *s, m2snet_precision precision, double weight)
{
    m2snet_error error;

    OK(open_cuda(cuda_host.module, &s->context, &error));
    m2snet_objective_options_init(&s->objective);
    s->objective.bce_weight = weight;
    s->objective.iou_weight = 0.0;
    tiny_trainer_options(&s->options);
    s->options.objective = &s->objective;
    s->options.precision = precision;
    s->options.learning_rate = 0.02 / weight;
    s->options.max_bad_steps = 3;
    s->batch = make_batch(s->context, 2, 40, 40, 1, 3);
    scratch_make(&s->files);
    s->trainer = NULL;
}

static void start(setup *s)
{
    s->trainer = tiny_trainer(s->context, &s->options);
}

static void close_setup(setup *s)
{
    m2snet_trainer_destroy(s->trainer);
    free_batch(&s->batch);
    m2snet_context_destroy(s->context);
    scratch_remove(&s->files);
}

static m2snet_train_row step(setup *s)
{
    m2snet_train_row row = { .struct_size = sizeof row };
    m2snet_error error;

    OK(m2snet_trainer_step(s->trainer, s->batch.images, s->batch.masks, -1.0, &row, NULL, &error));
    return row;
}

/* ---- the same training ---- */

/* The trained compact model, a little further with the statistics it has (those of batches of few numbers would make
 * the smallest difference a large one): losses are rounded as logits are, by some units of 2^-11 or 2^-8; norms of
 * gradients by more, since signs and ReLUs turn over here and there. */
static void test_losses(void **state)
{
    static const struct {
        m2snet_precision precision;
        double loss, norm;
    } cases[] = { { M2SNET_PRECISION_F32, 0.0, 0.0 },
                  { M2SNET_PRECISION_F16, 1e-2, 2e-2 },
                  { M2SNET_PRECISION_BF16, 4e-2, 1e-1 } };
    double wanted[STEPS] = { 0 }, norms[STEPS] = { 0 };
    m2snet_error error;

    (void)state;
    for (size_t c = 0; c < COUNT(cases) - SLOW; c++) {
        setup s;
        m2snet_model *model;
        open_setup(&s, cases[c].precision, 1.0);
        s.options.learning_rate = 0.001;
        s.options.freeze_batch_norm = 1;
        OK(m2snet_model_load_file(s.context, COMPACT_MODEL, NULL, &model, &error));
        OK(m2snet_trainer_create(model, &s.options, &s.trainer, &error));
        m2snet_model_destroy(model);
        double last = INFINITY;
        for (int i = 0; i < STEPS; i++) {
            m2snet_train_row row = step(&s);
            while (!row.finite && row.loss_scale > 1024.0) { /* skipped: the scale finds its place */
                row = step(&s);
            }
            print_message("precision %d: loss %.6f, norm %.5f, scale %g\n", (int)cases[c].precision, row.loss,
                          row.grad_norm, row.loss_scale);
            wanted[i] = c == 0 ? row.loss : wanted[i];
            norms[i] = c == 0 ? row.grad_norm : norms[i];
            assert_true(row.finite == 1 && row.loss < last);
            assert_true((row.loss_scale > 1.0) == (cases[c].precision == M2SNET_PRECISION_F16));
            assert_true(fabs(row.loss - wanted[i]) <= cases[c].loss * wanted[i]);
            assert_true(fabs(row.grad_norm - norms[i]) <= cases[c].norm * norms[i]);
            last = row.loss;
        }
        close_setup(&s);
    }
}

/* ---- overflow ---- */

/* What a state file has of arrays: parameters, momentum, running statistics. */
static unsigned char *arrays_of(setup *s, size_t *bytes)
{
    const char *path = scratch_path(&s->files, "arrays.safetensors");
    m2snet_error error;
    uint64_t header;

    OK(m2snet_trainer_save_state(s->trainer, path, NULL, &error));
    unsigned char *file = read_whole(path, bytes);
    memcpy(&header, file, sizeof header);
    *bytes -= (size_t)header + sizeof header;
    memmove(file, file + header + sizeof header, *bytes);
    return file;
}

/* A loss that is large and finite: its gradient, times the scale, is beyond 65504. Steps that meet this change nothing
 * but the scale, and none of them is a bad one; then training goes on as if the scale had been that from the start. */
static void test_overflow(void **state)
{
    m2snet_train_row row;
    size_t before_bytes, after_bytes;
    double scale = FIRST_SCALE;
    int skipped = 0;
    setup s;

    (void)state;
    open_setup(&s, M2SNET_PRECISION_F16, 1e3);
    start(&s);
    unsigned char *before = arrays_of(&s, &before_bytes);
    for (row = step(&s); !row.finite && skipped < 20; row = step(&s)) {
        assert_true(isfinite(row.loss) && row.loss_scale == scale);
        assert_int_equal(row.bad_steps, 0);
        assert_int_equal(row.updates, 0);
        unsigned char *after = arrays_of(&s, &after_bytes);
        assert_int_equal(before_bytes, after_bytes);
        assert_memory_equal(before, after, before_bytes);
        free(after);
        scale *= 0.5;
        skipped++;
    }
    print_message("%d steps skipped, then scale %g\n", skipped, row.loss_scale);
    assert_true(skipped > s.options.max_bad_steps && row.finite && row.loss_scale == scale);
    assert_int_equal(row.updates, 1);
    double first = row.loss;
    for (int i = 0; i < 4; i++) {
        row = step(&s);
    }
    assert_true(row.finite && row.loss < first);
    unsigned char *after = arrays_of(&s, &after_bytes);
    assert_true(memcmp(before, after, before_bytes) != 0);
    free(before);
    free(after);
    close_setup(&s);
}

/* At scale 1 there is nothing left to halve: then an overflow is a bad step like any other. */
static void test_no_way_out(void **state)
{
    m2snet_train_row row = { .struct_size = sizeof row };
    m2snet_error error;
    setup s;
    int steps = 0;

    (void)state;
    open_setup(&s, M2SNET_PRECISION_F16, 1e6);
    start(&s);
    do {
        row = step(&s);
        steps++;
        assert_true(row.finite == 0 && isfinite(row.loss) && steps < 30);
        assert_int_equal(row.bad_steps, row.loss_scale > 1.0 ? 0 : steps - 16);
    } while (row.bad_steps < 2);
    REFUSE(m2snet_trainer_step(s.trainer, s.batch.images, s.batch.masks, -1.0, &row, NULL, &error),
           M2SNET_STATUS_DIVERGED, "3 steps in a row");
    assert_int_equal(steps, 18);
    close_setup(&s);
}

/* A loss that is not finite has other causes: the scale stays. */
static void test_bad_pictures(void **state)
{
    setup s;

    (void)state;
    open_setup(&s, M2SNET_PRECISION_F16, 1.0);
    start(&s);
    ((float *)m2snet_tensor_data(s.batch.images))[5] = (float)NAN;
    m2snet_train_row row = step(&s);
    assert_true(row.finite == 0 && row.bad_steps == 1 && row.loss_scale == FIRST_SCALE);
    ((float *)m2snet_tensor_data(s.batch.images))[5] = 0.5f;
    row = step(&s);
    assert_true(row.finite == 1 && row.bad_steps == 0 && row.loss_scale == FIRST_SCALE);
    close_setup(&s);
}

/* ---- states ---- */

/* Saved after skipped steps and in the middle of an accumulation, whose sums are in the scale of their time. */
static void test_resume(void **state)
{
    setup a, b;
    m2snet_error error;
    m2snet_train_row row;

    (void)state;
    open_setup(&a, M2SNET_PRECISION_F16, 1e3);
    a.options.accumulate = 2;
    start(&a);
    do {
        row = step(&a);
    } while (!row.finite);
    const char *path = scratch_path(&a.files, "state.safetensors");
    OK(m2snet_trainer_save_state(a.trainer, path, NULL, &error));
    open_setup(&b, M2SNET_PRECISION_F16, 1e3);
    b.options.accumulate = 2;
    start(&b);
    OK(m2snet_trainer_load_state(b.trainer, path, NULL, &error));
    for (int i = 0; i < 4; i++) {
        m2snet_train_row x = step(&a), y = step(&b);
        assert_true(x.loss_scale == y.loss_scale && x.loss_scale < FIRST_SCALE);
        assert_true(x.loss == y.loss && x.grad_norm == y.grad_norm && x.finite == y.finite);
        assert_int_equal(x.updates, y.updates);
        assert_same_weights(a.trainer, b.trainer);
    }
    close_setup(&a);
    close_setup(&b);
}

/* The state with another number in its place: "NAME\":" is followed by digits. */
static void change_state(const char *path, const char *name, const char *number)
{
    size_t bytes;
    unsigned char *file = read_whole(path, &bytes);
    uint64_t header;
    char key[64];

    memcpy(&header, file, sizeof header);
    snprintf(key, sizeof key, "%s\\\":", name);
    char *text = calloc((size_t)header + 64, 1), *changed = calloc((size_t)header + 64, 1);
    memcpy(text, file + 8, (size_t)header);
    char *at = strstr(text, key);
    assert_non_null(at);
    at += strlen(key);
    const char *rest = at + strspn(at, "0123456789.-e+");
    snprintf(changed, (size_t)header + 64, "%.*s%s%s", (int)(at - text), text, number, rest);
    write_safetensors(path, changed, file + 8 + header, bytes - 8 - (size_t)header);
    free(text);
    free(changed);
    free(file);
}

static float *weights_of(setup *s, size_t *count)
{
    unsigned char *file = trainer_weights(s->trainer, 0, count);
    uint64_t header;

    memcpy(&header, file, sizeof header);
    *count -= (size_t)header + sizeof header;
    memmove(file, file + header + sizeof header, *count);
    *count /= sizeof(float);
    return (float *)(void *)file;
}

/* Sums of gradients that wait for an update follow the scale: another one for the second half of an update gives the
 * same weights, but for what F16 loses at its lower end. */
static void test_sums(void **state)
{
    float *weights[3];
    size_t count = 0;
    m2snet_error error;
    setup s;

    (void)state;
    open_setup(&s, M2SNET_PRECISION_F16, 1.0);
    s.options.accumulate = 2;
    start(&s);
    const char *path = scratch_path(&s.files, "half.safetensors");
    OK(m2snet_trainer_save_state(s.trainer, path, NULL, &error));
    change_state(path, "loss_scale", "4096");
    OK(m2snet_trainer_load_state(s.trainer, path, NULL, &error));
    weights[0] = weights_of(&s, &count);
    assert_true(step(&s).finite);
    OK(m2snet_trainer_save_state(s.trainer, path, NULL, &error));
    for (int i = 1; i < 3; i++) {
        assert_int_equal(step(&s).updates, 1);
        weights[i] = weights_of(&s, &count);
        change_state(path, "loss_scale", "1024");
        OK(m2snet_trainer_load_state(s.trainer, path, NULL, &error));
    }
    double moved = 0.0, apart = 0.0;
    for (size_t i = 0; i < count; i++) {
        double step_of_one = (double)weights[1][i] - (double)weights[0][i];
        double off = (double)weights[2][i] - (double)weights[1][i];
        moved += fabs(step_of_one) < 1.0 ? step_of_one * step_of_one : 0.0; /* running statistics go further */
        apart += off * off;
    }
    print_message("weights moved by %.3g, another scale by %.3g of it\n", sqrt(moved), sqrt(apart / moved));
    assert_true(moved > 0.0 && apart <= 1e-4 * moved);
    for (int i = 0; i < 3; i++) {
        free(weights[i]);
    }
    close_setup(&s);
}

/* The 2000th finite step in a row doubles the scale, up to 2^24; numbers that no training comes to are refused. */
static void test_growth(void **state)
{
    m2snet_error error;
    setup s;

    (void)state;
    open_setup(&s, M2SNET_PRECISION_F16, 1.0);
    start(&s);
    const char *path = scratch_path(&s.files, "grown.safetensors");
    OK(m2snet_trainer_save_state(s.trainer, path, NULL, &error));
    change_state(path, "loss_scale", "512"); /* where this network's gradients have room */
    change_state(path, "good_steps", "1998");
    OK(m2snet_trainer_load_state(s.trainer, path, NULL, &error));
    assert_true(step(&s).loss_scale == 512.0 && step(&s).loss_scale == 512.0);
    assert_true(step(&s).loss_scale == 1024.0 && step(&s).loss_scale == 1024.0);
    OK(m2snet_trainer_save_state(s.trainer, path, NULL, &error));
    change_state(path, "loss_scale", "16777216");
    change_state(path, "good_steps", "1999");
    OK(m2snet_trainer_load_state(s.trainer, path, NULL, &error));
    assert_true(step(&s).loss_scale == 16777216.0 && step(&s).loss_scale <= 16777216.0);
    static const char *const wrong[][2] = { { "loss_scale", "3" },
                                            { "loss_scale", "0.5" },
                                            { "loss_scale", "33554432" },
                                            { "sum_scale", "-2" },
                                            { "good_steps", "2000" } };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        OK(m2snet_trainer_save_state(s.trainer, path, NULL, &error));
        change_state(path, wrong[i][0], wrong[i][1]);
        REFUSE(m2snet_trainer_load_state(s.trainer, path, NULL, &error), M2SNET_STATUS_FORMAT, "outside its range");
    }
    close_setup(&s);
}

/* ---- calls that fail ---- */

static m2snet_status run_training(m2snet_error *error)
{
    return train_from_nothing(M2SNET_PRECISION_F16, error);
}

static void test_failing_calls(void **state)
{
    (void)state;
    fail_in_turn(run_training, 3, SLOW ? 997 : 293);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losses),       cmocka_unit_test(test_overflow),      cmocka_unit_test(test_no_way_out),
        cmocka_unit_test(test_bad_pictures), cmocka_unit_test(test_resume),        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_growth),       cmocka_unit_test(test_failing_calls),
    };
    int found = find_stand_in();

    return found != 0 ? found : cmocka_run_group_tests(tests, NULL, NULL);
}
