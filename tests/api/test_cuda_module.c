/* SPDX-License-Identifier: Apache-2.0
 * Backend "cuda" as a user meets it, on the module that runs without a device: found or refused, predictions beside the
 * processor's, precisions, a training step, and every call of the CUDA runtime failing in its turn. */
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

/* ---- found or not ---- */

static void test_refusals(void **state)
{
    m2snet_context *context;
    m2snet_error error;
    m2snet_context_options options;
    const m2snet_status broken = M2SNET_STATUS_BACKEND;

    (void)state;
    REFUSE(open_cuda("/nowhere/m2snet-cuda.so", &context, &error), broken, "/nowhere/m2snet-cuda.so");
    assert_null(context);
    REFUSE(open_cuda("/tmp", &context, &error), broken, "/tmp/m2snet-cuda.so");
    REFUSE(open_cuda(cuda_host.library, &context, &error), broken, "is no module of libm2snet");
    REFUSE(open_cuda(COMPACT_MODEL, &context, &error), broken, "cannot be opened");
    m2snet_context_options_init(&options);
    options.backend_path = cuda_host.module;
    options.backend = "cudnn";
    REFUSE(m2snet_context_create(&options, &context, &error), M2SNET_STATUS_INVALID_ARGUMENT, "cpu, ref, cuda");
    options.backend = "cuda";
    options.device = 1;
    REFUSE(m2snet_context_create(&options, &context, &error), M2SNET_STATUS_INVALID_ARGUMENT, "has 1");

    /* A machine without a driver. */
    setenv("M2SNET_CUDA_NO_DEVICE", "1", 1);
    REFUSE(open_cuda(cuda_host.module, &context, &error), broken, "no NVIDIA device or no driver");
    unsetenv("M2SNET_CUDA_NO_DEVICE");

    /* The folder or the file by the environment; an option goes first. */
    setenv("M2SNET_BACKEND_PATH", cuda_host.module, 1);
    OK(open_cuda(NULL, &context, &error));
    m2snet_context_destroy(context);
    REFUSE(open_cuda("/nowhere", &context, &error), broken, "/nowhere");
    unsetenv("M2SNET_BACKEND_PATH");

    /* The real one says what is missing on a machine like this. */
    if (access(cuda_host.device_module, R_OK) == 0 && access("/dev/nvidiactl", F_OK) != 0) {
        REFUSE(open_cuda(cuda_host.device_module, &context, &error), broken, "no NVIDIA device or no driver");
    }
}

/* ---- predictions ---- */

static m2snet_result *predict(m2snet_model *model, m2snet_precision precision, const m2snet_image *picture)
{
    m2snet_session_options options;
    m2snet_session *session;
    m2snet_result *result = NULL;
    m2snet_error error;

    m2snet_session_options_init(&options);
    options.precision = precision;
    options.input_width = options.input_height = 64;
    OK(m2snet_session_create(model, &options, &session, &error));
    for (int i = 0; i < 3; i++) { /* launched, captured, replayed: the same bits */
        m2snet_result *again;
        OK(m2snet_predict(session, picture, NULL, &again, &error));
        if (result != NULL) {
            assert_same_result(result, again);
        }
        m2snet_result_destroy(result);
        result = again;
    }
    m2snet_session_destroy(session);
    return result;
}

static double largest_difference(const m2snet_result *a, const m2snet_result *b)
{
    size_t count = (size_t)m2snet_result_width(a) * (size_t)m2snet_result_height(a);
    const float *x = m2snet_result_probability(a), *y = m2snet_result_probability(b);
    double largest = 0.0;

    for (size_t i = 0; i < count; i++) {
        double d = fabs((double)x[i] - (double)y[i]);
        largest = d > largest || isnan(d) ? d : largest;
    }
    return largest;
}

static void test_predict(void **state)
{
    /* Probabilities of the compact model: rounding of each format, over some fifty layers. */
    static const struct {
        m2snet_precision precision;
        const char *name;
        double bound;
    } cases[] = { { M2SNET_PRECISION_F32, "f32", 1e-5 },
                  { M2SNET_PRECISION_F16, "f16", 1e-2 },
                  { M2SNET_PRECISION_BF16, "bf16", 5e-2 } };
    m2snet_context *cpu = open_context("cpu", 1), *cuda;
    m2snet_image picture = noise_picture(90, 70);
    m2snet_session_options options;
    m2snet_session *session;
    m2snet_error error;

    (void)state;
    OK(open_cuda(cuda_host.module, &cuda, &error));
    m2snet_context_info info = { .struct_size = sizeof info };
    OK(m2snet_context_get_info(cuda, &info, &error));
    assert_string_equal(info.backend, "cuda");
    m2snet_model *here, *there;
    OK(m2snet_model_load_file(cpu, COMPACT_MODEL, NULL, &here, &error));
    OK(m2snet_model_load_file(cuda, COMPACT_MODEL, NULL, &there, &error));
    m2snet_result *truth = predict(here, M2SNET_PRECISION_F32, &picture);
    for (size_t c = 0; c < COUNT(cases); c++) {
        m2snet_result *result = predict(there, cases[c].precision, &picture);
        m2snet_receipt receipt = { .struct_size = sizeof receipt };
        double d = largest_difference(truth, result);
        print_message("%s: probabilities within %.2e\n", cases[c].name, d);
        assert_true(d <= cases[c].bound);
        OK(m2snet_result_receipt(result, &receipt, &error));
        assert_string_equal(receipt.precision, cases[c].name);
        assert_string_equal(receipt.backend, "cuda");
        m2snet_result_destroy(result);
    }
    m2snet_session_options_init(&options);
    options.precision = M2SNET_PRECISION_F64;
    REFUSE(m2snet_session_create(there, &options, &session, &error), M2SNET_STATUS_UNSUPPORTED, "ref");
    for (int p = M2SNET_PRECISION_F16; p <= M2SNET_PRECISION_TF32; p++) {
        options.precision = (m2snet_precision)p;
        REFUSE(m2snet_session_create(here, &options, &session, &error), M2SNET_STATUS_UNSUPPORTED, "cuda");
    }
    m2snet_result_destroy(truth);
    m2snet_model_destroy(here);
    m2snet_model_destroy(there);
    m2snet_context_destroy(cpu);
    m2snet_context_destroy(cuda);
    free_picture(&picture);
    assert_int_equal(cuda_host.held(), 0);
}

static m2snet_result *look_inside(m2snet_model *model, m2snet_precision precision, const m2snet_image *picture)
{
    static const char *const names[] = { "x4_x3", "enc2" };
    m2snet_session_options options;
    m2snet_predict_options o;
    m2snet_session *session;
    m2snet_result *result;
    m2snet_error error;

    m2snet_session_options_init(&options);
    options.precision = precision;
    options.input_width = options.input_height = 64;
    OK(m2snet_session_create(model, &options, &session, &error));
    m2snet_predict_options_init(&o);
    o.features = names;
    o.feature_count = COUNT(names);
    o.gradcam = "x4_x3";
    o.threshold = 0.2;
    OK(m2snet_predict(session, picture, &o, &result, &error));
    m2snet_session_destroy(session);
    return result;
}

static double relative_distance(const float *a, const float *b, size_t count)
{
    double distance = 0.0, norm = 0.0;

    for (size_t i = 0; i < count; i++) {
        distance += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        norm += (double)b[i] * (double)b[i];
    }
    return sqrt(distance / norm);
}

/* Named tensors come out as F32 whatever they are stored in; Grad-CAM's gradient is F32 in every precision, and only
 * the logits that choose the mask differ. */
static void test_inside(void **state)
{
    static const struct {
        m2snet_precision precision;
        double tensors, map;
    } cases[] = { { M2SNET_PRECISION_F32, 1e-4, 2e-3 }, { M2SNET_PRECISION_F16, 2e-2, 5e-2 } };
    m2snet_context *cpu = open_context("cpu", 1), *cuda;
    m2snet_model *here, *there;
    m2snet_image picture = noise_picture(64, 64);
    m2snet_error error;

    (void)state;
    OK(open_cuda(cuda_host.module, &cuda, &error));
    OK(m2snet_model_load_file(cpu, COMPACT_MODEL, NULL, &here, &error));
    OK(m2snet_model_load_file(cuda, COMPACT_MODEL, NULL, &there, &error));
    m2snet_result *truth = look_inside(here, M2SNET_PRECISION_F32, &picture);
    for (size_t c = 0; c < COUNT(cases); c++) {
        m2snet_result *result = look_inside(there, cases[c].precision, &picture);
        for (int32_t i = 0; i < 2; i++) {
            m2snet_feature a = { .struct_size = sizeof a }, b = { .struct_size = sizeof b };
            OK(m2snet_result_feature(result, i, &a, &error));
            OK(m2snet_result_feature(truth, i, &b, &error));
            double d = relative_distance(a.data, b.data, (size_t)(a.h * a.w * a.c));
            print_message("%s: relative distance %.2e\n", a.name, d);
            assert_true(d <= cases[c].tensors);
        }
        double d = relative_distance(m2snet_result_gradcam(result), m2snet_result_gradcam(truth), 64 * 64);
        print_message("Grad-CAM: relative distance %.2e\n", d);
        assert_true(d <= cases[c].map);
        m2snet_result_destroy(result);
    }
    m2snet_result_destroy(truth);
    m2snet_model_destroy(here);
    m2snet_model_destroy(there);
    m2snet_context_destroy(cpu);
    m2snet_context_destroy(cuda);
    free_picture(&picture);
    assert_int_equal(cuda_host.held(), 0);
}

/* ---- every call fails in its turn ---- */

static m2snet_status run_prediction(m2snet_error *error)
{
    m2snet_context *context = NULL;
    m2snet_model *model = NULL;
    m2snet_session *session = NULL;
    m2snet_image picture = noise_picture(70, 66);
    m2snet_status status = open_cuda(cuda_host.module, &context, error);

    if (status == M2SNET_STATUS_OK) {
        model = tiny_model(context);
        status = m2snet_session_create(model, NULL, &session, error);
    }
    for (int i = 0; i < 3 && status == M2SNET_STATUS_OK; i++) {
        m2snet_result *result = NULL;
        status = m2snet_predict(session, &picture, NULL, &result, error);
        assert_true((status == M2SNET_STATUS_OK) == (result != NULL));
        m2snet_result_destroy(result);
    }
    m2snet_session_destroy(session);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
    free_picture(&picture);
    return status;
}

static m2snet_status run_training(m2snet_error *error)
{
    return train_from_nothing(M2SNET_PRECISION_F32, error);
}

static void test_failing_prediction(void **state)
{
    (void)state;
    fail_in_turn(run_prediction, 24, 61);
}

static void test_failing_training(void **state)
{
    (void)state;
    fail_in_turn(run_training, 12, 211);
}

/* A session whose run failed goes on: each call of a prediction in turn, from the picture's copy on. */
static void test_goes_on(void **state)
{
    m2snet_context *context;
    m2snet_session *session;
    m2snet_result *first, *second;
    m2snet_image picture = noise_picture(70, 66);
    m2snet_error error;
    long all = 0;

    (void)state;
    OK(open_cuda(cuda_host.module, &context, &error));
    m2snet_model *model = tiny_model(context);
    OK(m2snet_session_create(model, NULL, &session, &error));
    OK(m2snet_predict(session, &picture, NULL, &first, &error));
    for (int i = 0; i < 3; i++) {
        cuda_host.calls(true);
        OK(m2snet_predict(session, &picture, NULL, &second, &error));
        m2snet_result_destroy(second);
        all = cuda_host.calls(false);
    }
    /* The picture's copy, three kernels and the wait; the graph and its wait; the logits' copy and its wait; the device
     * made current for each of these. */
    assert_true(all >= 12);
    for (long at = -1; at <= all; at++) {
        if (at != 0) {
            char number[24];
            snprintf(number, sizeof number, "%ld", at);
            setenv(FAIL_AT, number, 1);
            cuda_host.calls(true);
            REFUSE(m2snet_predict(session, &picture, NULL, &second, &error), M2SNET_STATUS_BACKEND, "");
            unsetenv(FAIL_AT);
        }
        OK(m2snet_predict(session, &picture, NULL, &second, &error));
        assert_same_result(first, second);
        m2snet_result_destroy(second);
    }
    m2snet_result_destroy(first);
    m2snet_session_destroy(session);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
    free_picture(&picture);
    assert_int_equal(cuda_host.held(), 0);
}

static m2snet_status fit_a_step(m2snet_trainer *trainer, m2snet_dataset *data, m2snet_error *error)
{
    const int32_t side = 40;
    m2snet_augment_options augment;
    m2snet_fit_options options;

    assert_int_equal(m2snet_augment_options_init(&augment, "compact", error), M2SNET_STATUS_OK);
    augment.p_blur = augment.p_noise = 1.0;
    augment.blur_low_px = augment.blur_high_px = 1.2;
    augment.noise_low = augment.noise_high = 0.02;
    m2snet_fit_options_init(&options);
    options.batch = 2;
    options.sizes_px = &side;
    options.size_count = 1;
    options.augment = &augment;
    options.max_steps = 1;
    return m2snet_trainer_fit(trainer, data, NULL, &options, NULL, error);
}

/* The calls that bring a batch's pictures to the device and finish them there fail in turn: no step is taken, and the
 * next one is. */
static void test_failing_batch(void **state)
{
    m2snet_context *context;
    m2snet_trainer_options options;
    m2snet_trainer *trainer;
    m2snet_dataset *data;
    scratch files;
    m2snet_error error;

    (void)state;
    OK(open_cuda(cuda_host.module, &context, &error));
    scratch_make(&files);
    write_pictures(context, files.folder, 2, 44, 0);
    OK(m2snet_dataset_create(context, &data, &error));
    OK(m2snet_dataset_add_folder(data, files.folder, NULL, &error));
    tiny_trainer_options(&options);
    m2snet_model *model = tiny_model(context);
    OK(m2snet_trainer_create(model, &options, &trainer, &error));
    OK(fit_a_step(trainer, data, &error));
    /* The device made current; twice a copy and four kernels; the wait; the first scalar. */
    for (long at = 1; at <= 14; at++) {
        m2snet_trainer_info before = { .struct_size = sizeof before }, after = before;
        char number[24];
        OK(m2snet_trainer_get_info(trainer, &before, &error));
        snprintf(number, sizeof number, "%ld", at);
        setenv(FAIL_AT, number, 1);
        cuda_host.calls(true);
        REFUSE(fit_a_step(trainer, data, &error), M2SNET_STATUS_BACKEND, "");
        unsetenv(FAIL_AT);
        OK(m2snet_trainer_get_info(trainer, &after, &error));
        assert_int_equal(after.step, before.step);
    }
    OK(fit_a_step(trainer, data, &error));
    m2snet_trainer_destroy(trainer);
    m2snet_model_destroy(model);
    m2snet_dataset_destroy(data);
    m2snet_context_destroy(context);
    remove_pictures(files.folder);
    scratch_remove(&files);
    assert_int_equal(cuda_host.held(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),         cmocka_unit_test(test_predict),
        cmocka_unit_test(test_inside),           cmocka_unit_test(test_goes_on),
        cmocka_unit_test(test_failing_batch),    cmocka_unit_test(test_failing_prediction),
        cmocka_unit_test(test_failing_training),
    };
    int missing = find_stand_in();

    if (missing != 0) {
        return missing;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
