/* SPDX-License-Identifier: Apache-2.0
 * Grad-CAM and predictions from windows against float64 truth of an independent program
 * (tests/data/inside/make_inside.py). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/network_fixture.h"
#include "run/predict.h"

#define SIDE 64

static void must(m2snet_status status, const m2snet_error *error)
{
    if (status != M2SNET_STATUS_OK) {
        fail_msg("%s", error->message);
    }
}

/* M2SNet, or MSNet with one scale, with the weights of `golden`. */
static m2snet_session *open_session(m2snet_context *context, int32_t scales, m2snet_precision precision)
{
    m2snet_model *drawn, *model;
    m2snet_session_options options;
    m2snet_session *session;
    m2snet_error error;

    must(m2s_model_create(context, scales == 1 ? "{\"architecture\":\"msnet\"}" : NULL, 0, &drawn, &error), &error);
    assert_int_equal(drawn->config.scales, scales);
    m2s_store *store = network_weights(&context->memory, &drawn->config, RECIPE_GOLDEN);
    must(m2s_model_derive(drawn, &drawn->config, store, &model, &error), &error);
    m2s_session_options_default(&options);
    options.input_width = options.input_height = SIDE;
    options.precision = precision;
    must(m2s_session_create(model, &options, &session, &error), &error);
    m2s_model_release(model);
    m2s_model_release(drawn);
    return session;
}

static m2snet_context *open_context(const char *backend)
{
    m2snet_context_options options;
    m2snet_context *context;
    m2snet_error error;

    m2s_context_options_default(&options);
    options.backend = network_backend(backend);
    options.threads = 2;
    must(m2s_context_create(&options, &context, &error), &error);
    return context;
}

static m2snet_image draw_picture(int32_t width, int32_t height)
{
    size_t count = 3 * (size_t)width * (size_t)height;
    uint8_t *pixels = malloc(count);

    assert_non_null(pixels);
    for (size_t i = 0; i < count; i++) {
        pixels[i] = (uint8_t)(256.0 * network_uniform("picture", i));
    }
    return (m2snet_image){ .data = pixels, .width = width, .height = height, .format = M2SNET_PIXEL_RGB8 };
}

static m2snet_result *predict(m2snet_session *session, const m2snet_image *picture, const m2snet_predict_options *o)
{
    m2snet_result *result;
    m2snet_error error;

    must(m2s_session_enter(session, &error), &error);
    must(m2s_predict(session, picture, 1, o, &result, &error), &error);
    m2s_session_leave(session);
    return result;
}

/* Relative distance of the samples of a row: `tag shape sum deviation index:value ...`. */
static double compare(const char *numbers, const float *map, double sum, size_t pixels)
{
    double distance = 0.0, norm = 0.0, value, own = 0.0;
    int used = 0, index, samples = 0;

    for (; sscanf(numbers, " %d:%lf%n", &index, &value, &used) == 2; numbers += used, samples++) {
        assert_true((size_t)index < pixels);
        distance += ((double)map[index] - value) * ((double)map[index] - value);
        norm += value * value;
    }
    assert_true(samples >= 40 && norm > 0.0);
    for (size_t i = 0; i < pixels; i++) {
        own += (double)map[i];
    }
    double few = sqrt(distance / norm), whole = fabs(own - sum) / sum;
    return few > whole ? few : whole;
}

static void compare_gradcam(const char *backend, m2snet_precision precision, int most, double relative,
                            double deviations)
{
    FILE *file = fopen(M2S_TEST_DATA "/inside/gradcam.tsv", "r");
    m2snet_context *context = open_context(backend);
    m2snet_session *session = open_session(context, 3, precision);
    m2snet_image picture = draw_picture(SIDE, SIDE);
    char line[4096], name[64];
    double threshold, sum, deviation, worst = 0.0;
    int used = 0, rows = 0;

    assert_non_null(file);
    while (rows < most && fgets(line, sizeof line, file) != NULL) {
        m2snet_predict_options o;
        assert_int_equal(sscanf(line, "%63[^@]@%lf %*s %lf %lf%n", name, &threshold, &sum, &deviation, &used), 4);
        m2s_predict_options_default(&o);
        o.gradcam = name;
        o.threshold = threshold;
        m2snet_result *result = predict(session, &picture, &o);
        double distance = compare(line + used, result->gradcam, sum, SIDE * SIDE);
        if (!(distance <= relative + deviations * deviation)) {
            fail_msg("%s: relative distance %.3e, float32 loses %.1e", name, distance, deviation);
        }
        worst = distance > worst ? distance : worst;
        m2s_result_destroy(result);
        rows++;
    }
    printf("    %s: worst relative distance %.2e\n", backend, worst);
    fclose(file);
    assert_int_equal(rows, most);
    free((void *)(uintptr_t)picture.data);
    m2s_session_destroy(session);
    m2s_context_release(context);
}

/* 1e-6: the map is float, whatever the arithmetic before it. */
static void test_reference_gradcam(void **state)
{
    (void)state;
    compare_gradcam("ref", M2SNET_PRECISION_F64, 2, 1e-6, 0.0);
}

/* Ten times what another float32 implementation loses, plus what the map's own rounding may. */
static void test_cpu_gradcam(void **state)
{
    (void)state;
    compare_gradcam("cpu", M2SNET_PRECISION_F32, 5, 2e-6, 10.0);
}

static void test_views(void **state)
{
    FILE *file = fopen(M2S_TEST_DATA "/inside/views.tsv", "r");
    m2snet_context *context = open_context("cpu");
    m2snet_session *first = open_session(context, 3, M2SNET_PRECISION_F32);
    m2snet_session *second = open_session(context, 1, M2SNET_PRECISION_F32);
    m2snet_image picture = draw_picture(100, 80);
    m2snet_predict_options o;
    char line[4096];
    double sum, deviation;
    int used = 0;

    (void)state;
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    assert_int_equal(sscanf(line, "%*s %*s %lf %lf%n", &sum, &deviation, &used), 2);
    m2s_predict_options_default(&o);
    o.tiles = 1;
    o.mirror = M2SNET_MIRROR_BOTH;
    o.ensemble = &second;
    o.ensemble_count = 1;
    m2snet_result *result = predict(first, &picture, &o);
    assert_int_equal(result->receipt.windows, 6);
    double distance = compare(line + used, result->segmentation.probability, sum, 100 * 80);
    printf("    relative distance %.2e, float32 loses %.1e\n", distance, deviation);
    assert_true(distance <= 1e-6 + 10.0 * deviation);
    m2s_result_destroy(result);
    fclose(file);
    free((void *)(uintptr_t)picture.data);
    m2s_session_destroy(first);
    m2s_session_destroy(second);
    m2s_context_release(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_gradcam),
        cmocka_unit_test(test_cpu_gradcam),
        cmocka_unit_test(test_views),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
