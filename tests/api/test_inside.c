/* SPDX-License-Identifier: Apache-2.0
 * Looking inside: named tensors and Grad-CAM, through the public interface. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/api_fixture.h"

#define SIDE      64
#define MOST_ROWS 512
#if defined(__SANITIZE_ADDRESS__)
#define STRIDE 5 /* of tensors: the same code for each */
#else
#define STRIDE 1
#endif

typedef struct engine {
    m2snet_context *context;
    m2snet_model *model;
    m2snet_session *session;
} engine;

static engine open_engine(const char *backend, m2snet_precision precision)
{
    engine e;
    m2snet_session_options options;
    m2snet_error error;

    e.context = open_context(backend, 2);
    OK(m2snet_model_load_file(e.context, COMPACT_MODEL, NULL, &e.model, &error));
    m2snet_session_options_init(&options);
    options.input_width = options.input_height = SIDE;
    options.precision = precision;
    OK(m2snet_session_create(e.model, &options, &e.session, &error));
    return e;
}

static void close_engine(engine *e)
{
    m2snet_session_destroy(e->session);
    m2snet_model_destroy(e->model);
    m2snet_context_destroy(e->context);
}

static m2snet_result *predict(const engine *e, const m2snet_image *picture, const m2snet_predict_options *o)
{
    m2snet_result *result;
    m2snet_error error;

    OK(m2snet_predict(e->session, picture, o, &result, &error));
    return result;
}

static int32_t names_of(const m2snet_model *model, const char *names[MOST_ROWS])
{
    int32_t count = m2snet_model_feature_count(model);
    m2snet_error error;

    assert_true(count > 20 && count <= MOST_ROWS);
    for (int32_t i = 0; i < count; i++) {
        m2snet_feature_info info = { .struct_size = sizeof info };
        OK(m2snet_model_feature_info(model, i, &info, &error));
        assert_true(info.h >= 1 && info.w >= 1 && info.c >= 1);
        names[i] = info.name;
    }
    return count;
}

static bool has(const char *const *names, int32_t count, const char *name)
{
    for (int32_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

/* Every tensor that the network lists can be asked for, together, and on the fast backend they are the oracle's. */
static void test_every_tensor(void **state)
{
    static const char *const expected[] = { "enc1",   "enc5",   "x5_dem_1", "x5_x4",   "x3_x2_x1",     "x5_x4_x3_x2_x1",
                                            "level1", "level3", "output4",  "output1", "x5_x4.sum_in", "logits" };
    engine cpu = open_engine("cpu", M2SNET_PRECISION_F32), ref = open_engine("ref", M2SNET_PRECISION_F64);
    static const char *names[MOST_ROWS];
    m2snet_image picture = noise_picture(SIDE, SIDE);
    m2snet_predict_options o;
    m2snet_error error;

    (void)state;
    m2snet_predict_options_init(&o);
    o.features = names;
    o.feature_count = names_of(cpu.model, names);
    for (size_t i = 0; i < COUNT(expected); i++) {
        assert_true(has(names, o.feature_count, expected[i]));
    }
    m2snet_result *fast = predict(&cpu, &picture, &o), *oracle = predict(&ref, &picture, &o);
    m2snet_result *plain = predict(&cpu, &picture, NULL);
    assert_int_equal(m2snet_result_feature_count(fast), o.feature_count);
    assert_int_equal(m2snet_result_feature_count(plain), 0);
    for (int32_t i = 0; i < o.feature_count; i++) {
        m2snet_feature a = { .struct_size = sizeof a }, b = { .struct_size = sizeof b };
        double distance = 0.0, norm = 0.0;
        OK(m2snet_result_feature(fast, i, &a, &error));
        OK(m2snet_result_feature(oracle, i, &b, &error));
        assert_string_equal(a.name, names[i]);
        assert_true(a.h == b.h && a.w == b.w && a.c == b.c);
        for (int64_t k = 0; k < a.h * a.w * a.c; k++) {
            double d = (double)a.data[k] - (double)b.data[k];
            distance += d * d;
            norm += (double)b.data[k] * (double)b.data[k];
        }
        if (!(sqrt(distance) <= 1e-4 * sqrt(norm) + 1e-6)) { /* float32 through some fifty layers */
            fail_msg("%s: relative distance %g", names[i], sqrt(distance / norm));
        }
    }
    /* The logits are what the prediction was made of. */
    m2snet_feature logits = { .struct_size = sizeof logits };
    OK(m2snet_result_feature(fast, o.feature_count - 1, &logits, &error));
    assert_string_equal(logits.name, "logits");
    for (int k = 0; k < SIDE * SIDE; k++) {
        assert_true(m2snet_result_probability(fast)[k] == 1.0f / (1.0f + expf(-logits.data[k])));
        assert_true(fabsf(m2snet_result_probability(fast)[k] - m2snet_result_probability(plain)[k]) < 1e-4f);
    }
    m2snet_result_destroy(plain);
    m2snet_result_destroy(fast);
    m2snet_result_destroy(oracle);
    close_engine(&cpu);
    close_engine(&ref);
    free_picture(&picture);
}

/* In a batch each picture gets its own; results live on without session and model. */
static void test_batch(void **state)
{
    static const char *const names[] = { "x4_x3", "enc2", "x4_x3" };
    engine e = open_engine("cpu", M2SNET_PRECISION_F32);
    m2snet_image pictures[3] = { noise_picture(SIDE, SIDE), noise_picture(40, 90), noise_picture(SIDE, SIDE) };
    m2snet_result *together[3], *alone[3];
    m2snet_predict_options o;
    m2snet_error error;

    (void)state;
    m2snet_predict_options_init(&o);
    o.features = names;
    o.feature_count = 3;
    o.gradcam = "x4_x3";
    OK(m2snet_predict_batch(e.session, pictures, 3, &o, together, &error));
    for (int i = 0; i < 3; i++) {
        alone[i] = predict(&e, &pictures[i], &o);
    }
    close_engine(&e);
    for (int i = 0; i < 3; i++) {
        assert_same_result(together[i], alone[i]);
        size_t pixels = (size_t)pictures[i].width * (size_t)pictures[i].height;
        assert_memory_equal(m2snet_result_gradcam(together[i]), m2snet_result_gradcam(alone[i]),
                            pixels * sizeof(float));
        for (int32_t k = 0; k < 3; k++) {
            m2snet_feature a = { .struct_size = sizeof a }, b = { .struct_size = sizeof b };
            OK(m2snet_result_feature(together[i], k, &a, &error));
            OK(m2snet_result_feature(alone[i], k, &b, &error));
            assert_string_equal(a.name, names[k]);
            assert_memory_equal(a.data, b.data, (size_t)(a.h * a.w * a.c) * sizeof *a.data);
        }
        m2snet_result_destroy(together[i]);
        m2snet_result_destroy(alone[i]);
        free_picture(&pictures[i]);
    }
}

/* Fast and oracle agree on every kind of tensor; nothing negative, something positive; 0 outside the region. */
static void test_gradcam(void **state)
{
    static const char *const names[] = { "enc1",           "enc3",         "x5_dem_1", "x4_x3",
                                         "x5_x4_x3_x2_x1", "x3_x2.sum_in", "level2",   "output2",
                                         "x4_x3.conv_3.a", "output1",      "logits" };
    engine cpu = open_engine("cpu", M2SNET_PRECISION_F32), ref = open_engine("ref", M2SNET_PRECISION_F64);
    m2snet_image whole, picture = noise_picture(SIDE + 10, SIDE);
    m2snet_predict_options o;
    m2snet_error error;
    int compared = 0;

    (void)state;
    OK(m2snet_image_read_file(cpu.context, DEMO_IMAGE, NULL, &whole, &error));
    OK(m2snet_image_resize(cpu.context, &whole, &picture, &error));
    m2snet_image_release(&whole);
    for (size_t i = 0; i < COUNT(names); i += STRIDE) {
        double distance = 0.0, norm = 0.0, peak = 0.0;
        m2snet_predict_options_init(&o);
        o.gradcam = names[i];
        o.roi_x = 10;
        o.roi_width = o.roi_height = SIDE;
        o.threshold = 0.2;
        m2snet_result *fast = predict(&cpu, &picture, &o), *oracle = predict(&ref, &picture, &o);
        const float *a = m2snet_result_gradcam(fast), *b = m2snet_result_gradcam(oracle);
        assert_non_null(a);
        for (int k = 0; k < (SIDE + 10) * SIDE; k++) {
            assert_true(a[k] >= 0.0f && (k % (SIDE + 10) >= 10 || a[k] == 0.0f));
            distance += ((double)a[k] - (double)b[k]) * ((double)a[k] - (double)b[k]);
            norm += (double)b[k] * (double)b[k];
            peak = (double)b[k] > peak ? (double)b[k] : peak;
        }
        if (!(sqrt(distance) <= 2e-3 * sqrt(norm))) { /* ReLUs within rounding of 0 may fall on the other side */
            fail_msg("%s: relative distance %g", names[i], sqrt(distance / norm));
        }
        compared += peak > 0.0;
        m2snet_result_destroy(fast);
        m2snet_result_destroy(oracle);
    }
    assert_true(compared >= (int)(COUNT(names) / STRIDE) - 2); /* a map may be 0 everywhere, but hardly each */
    /* Without a mask: of the whole input, and still no error. */
    m2snet_predict_options_init(&o);
    o.gradcam = "x4_x3";
    o.threshold = 1.0;
    m2snet_result *empty = predict(&cpu, &picture, &o);
    assert_int_equal(m2snet_result_found(empty), 0);
    assert_non_null(m2snet_result_gradcam(empty));
    m2snet_result_destroy(empty);
    m2snet_result *plain = predict(&cpu, &picture, NULL);
    assert_null(m2snet_result_gradcam(plain));
    m2snet_result_destroy(plain);
    close_engine(&cpu);
    close_engine(&ref);
    free_picture(&picture);
}

/* Other encoders and structures name their tensors too, and can be differentiated: the sheets of m2snet-segment and
 * Grad-CAM need no word about them. */
static void test_other_networks(void **state)
{
    static const char *const configs[] = {
        "{\"encoder\":\"convnext\",\"encoder_shape\":{\"blocks\":[1,1,2,1],\"channels\":[8,12,16,20]},"
        "\"pyramid_channels\":8,\"input_size\":64}",
        "{\"encoder\":\"pvt_v2\",\"encoder_shape\":{\"blocks\":[1,2,1,1],\"channels\":[8,12,10,16],"
        "\"widening\":[2,2,2,1]},\"pyramid_channels\":8,\"input_size\":64}",
        "{" TINY_SHAPE ",\"variant\":{\"levels\":4}}",
        "{" TINY_SHAPE ",\"variant\":{\"recipe\":\"paper\"}}",
        "{" TINY_SHAPE ",\"variant\":{\"unit\":\"dense_shared\",\"depth\":3}}",
        "{" TINY_SHAPE ",\"architecture\":\"msnet\"}",
    };
    static const char *const expected[] = { "enc1", "enc4", "x4_x3", "level1", "output2", "logits" };
    static const char *names[MOST_ROWS];
    m2snet_image picture = noise_picture(SIDE, SIDE);
    m2snet_error error;

    (void)state;
    for (size_t k = 0; k < COUNT(configs); k++) {
        m2snet_context *contexts[2] = { open_context("cpu", 2), open_context("ref", 2) };
        m2snet_result *results[2];
        for (int b = 0; b < 2; b++) {
            m2snet_model *model;
            m2snet_predict_options o;
            OK(m2snet_model_create(contexts[b], configs[k], 5, &model, &error));
            engine e = { contexts[b], model, open_session(model) };
            m2snet_predict_options_init(&o);
            o.features = names;
            o.feature_count = names_of(model, names);
            for (size_t i = 0; i < COUNT(expected); i++) {
                assert_true(has(names, o.feature_count, expected[i]));
            }
            o.gradcam = "enc3";
            results[b] = predict(&e, &picture, &o);
            m2snet_session_destroy(e.session);
            m2snet_model_destroy(e.model);
        }
        for (int32_t i = 0; i < m2snet_result_feature_count(results[0]); i++) {
            m2snet_feature a = { .struct_size = sizeof a }, b = { .struct_size = sizeof b };
            double distance = 0.0, norm = 0.0;
            OK(m2snet_result_feature(results[0], i, &a, &error));
            OK(m2snet_result_feature(results[1], i, &b, &error));
            for (int64_t j = 0; j < a.h * a.w * a.c; j++) {
                distance += ((double)a.data[j] - (double)b.data[j]) * ((double)a.data[j] - (double)b.data[j]);
                norm += (double)b.data[j] * (double)b.data[j];
            }
            if (!(sqrt(distance) <= 1e-4 * sqrt(norm) + 1e-6)) {
                fail_msg("network %zu, %s: relative distance %g", k, a.name, sqrt(distance / norm));
            }
        }
        double distance = 0.0, norm = 0.0;
        for (int j = 0; j < SIDE * SIDE; j++) {
            double a = (double)m2snet_result_gradcam(results[0])[j], b = (double)m2snet_result_gradcam(results[1])[j];
            distance += (a - b) * (a - b);
            norm += b * b;
        }
        assert_true(sqrt(distance) <= 1e-2 * sqrt(norm)); /* a ReLU on the other side shows in networks this small */
        for (int b = 0; b < 2; b++) {
            m2snet_result_destroy(results[b]);
            m2snet_context_destroy(contexts[b]);
        }
    }
    free_picture(&picture);
}

/* Plans that show something do not push out, or stand in for, the plain one. */
static void test_plans(void **state)
{
    static const char *const names[] = { "x4_x3" };
    engine e = open_engine("cpu", M2SNET_PRECISION_F32);
    m2snet_image picture = noise_picture(SIDE, SIDE);
    m2snet_plan_info info = { .struct_size = sizeof info };
    m2snet_predict_options o;
    m2snet_error error;

    (void)state;
    m2snet_predict_options_init(&o);
    o.features = names;
    o.feature_count = 1;
    m2snet_result_destroy(predict(&e, &picture, &o));
    OK(m2snet_session_plan_info(e.session, 1, SIDE, SIDE, &info, &error));
    assert_int_equal(info.compiled, 0);
    m2snet_result *first = predict(&e, &picture, NULL);
    m2snet_result_destroy(predict(&e, &picture, &o));
    m2snet_result *second = predict(&e, &picture, NULL);
    assert_same_result(first, second);
    m2snet_result_destroy(first);
    m2snet_result_destroy(second);
    OK(m2snet_session_trim(e.session, &error));
    m2snet_result_destroy(predict(&e, &picture, &o));
    close_engine(&e);
    free_picture(&picture);
}

static void test_refused(void **state)
{
    const char *names[] = { "x4_x3", "no such thing" };
    engine e = open_engine("cpu", M2SNET_PRECISION_F32);
    m2snet_image picture = noise_picture(SIDE, SIDE);
    m2snet_feature_info info = { .struct_size = sizeof info };
    m2snet_feature feature = { .struct_size = sizeof feature };
    m2snet_predict_options o;
    m2snet_result *result;
    m2snet_error error;

    (void)state;
    m2snet_predict_options_init(&o);
    o.features = names;
    o.feature_count = 2;
    REFUSE(m2snet_predict(e.session, &picture, &o, &result, &error), M2SNET_STATUS_INVALID_ARGUMENT,
           "no tensor \"no such thing\"");
    names[1] = NULL;
    REFUSE(m2snet_predict(e.session, &picture, &o, &result, &error), M2SNET_STATUS_INVALID_ARGUMENT, "no tensor");
    names[1] = "image"; /* the input is no tensor of the network's making */
    REFUSE(m2snet_predict(e.session, &picture, &o, &result, &error), M2SNET_STATUS_INVALID_ARGUMENT, "\"image\"");
    o.feature_count = -1;
    REFUSE(m2snet_predict(e.session, &picture, &o, &result, &error), M2SNET_STATUS_INVALID_ARGUMENT, "feature_count");
    o.features = NULL;
    o.feature_count = 1;
    REFUSE(m2snet_predict(e.session, &picture, &o, &result, &error), M2SNET_STATUS_INVALID_ARGUMENT, "features NULL");
    m2snet_predict_options_init(&o);
    o.gradcam = "x4_x3.0.weight";
    REFUSE(m2snet_predict(e.session, &picture, &o, &result, &error), M2SNET_STATUS_INVALID_ARGUMENT, "no tensor");
    o.gradcam = "x4_x3";
    o.tiles = 1;
    REFUSE(m2snet_predict(e.session, &picture, &o, &result, &error), M2SNET_STATUS_INVALID_ARGUMENT,
           "expected no tiles");
    o.tiles = 0;
    o.mirror = M2SNET_MIRROR_BOTH;
    REFUSE(m2snet_predict(e.session, &picture, &o, &result, &error), M2SNET_STATUS_INVALID_ARGUMENT,
           "expected no tiles");
    REFUSE(m2snet_model_feature_info(e.model, -1, &info, &error), M2SNET_STATUS_INVALID_ARGUMENT, "feature -1");
    REFUSE(m2snet_model_feature_info(e.model, m2snet_model_feature_count(e.model), &info, &error),
           M2SNET_STATUS_INVALID_ARGUMENT, "the network has");
    OK(m2snet_predict(e.session, &picture, NULL, &result, &error));
    REFUSE(m2snet_result_feature(result, 0, &feature, &error), M2SNET_STATUS_INVALID_ARGUMENT, "the result has 0");
    m2snet_result_destroy(result);
    assert_int_equal(m2snet_model_feature_count(NULL), 0);
    assert_int_equal(m2snet_result_feature_count(NULL), 0);
    assert_null(m2snet_result_gradcam(NULL));
    close_engine(&e);
    free_picture(&picture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_tensor),   cmocka_unit_test(test_batch), cmocka_unit_test(test_gradcam),
        cmocka_unit_test(test_other_networks), cmocka_unit_test(test_plans), cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
