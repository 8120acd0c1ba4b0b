/* SPDX-License-Identifier: Apache-2.0
 * Where the decimal point is a comma, files, configurations and receipts are the same to the byte. */
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/api_fixture.h"
#include "common/comma_locale.h"

#define CONFIG                                                                                                         \
    "{" TINY_SHAPE ",\"threshold\":0.375,\"mean\":[0.5,0.25,1.5e-1],\"std\":[0.2345,0.5,1.25],\"classes\":[\"a\"]}"

typedef struct outcome {
    char *config, *receipt, *loaded_config;
    double threshold, loaded_threshold;
    unsigned char *file;
    size_t file_bytes;
    float probability[40 * 30];
} outcome;

/* The receipt without what differs from run to run: its times, which must be numbers with points. */
static char *steady(const char *json)
{
    char *copy = strdup(json);

    assert_non_null(copy);
    for (char *at = copy; (at = strstr(at, "\"milliseconds_")) != NULL;) {
        char *value = strchr(at, ':') + 1;
        size_t digits = strspn(value, " 0123456789.eE-+");
        assert_true(digits > 1 && strncmp(value + digits, ",\n", 2) == 0);
        memmove(value, value + digits, strlen(value + digits) + 1);
        at = value;
    }
    return copy;
}

static outcome go_through(void)
{
    m2snet_context *context = open_context("cpu", 2);
    m2snet_model *model, *loaded;
    m2snet_model_info info = { .struct_size = sizeof info };
    m2snet_image picture = noise_picture(40, 30);
    m2snet_predict_options options;
    m2snet_model_options overlay;
    m2snet_result *result;
    scratch files;
    outcome o;
    m2snet_error error;

    scratch_make(&files);
    const char *path = scratch_path(&files, "model.safetensors");
    OK(m2snet_model_create(context, CONFIG, 5, &model, &error));
    OK(m2snet_model_get_info(model, &info, &error));
    o.config = strdup(info.config_json);
    o.threshold = info.threshold;
    OK(m2snet_model_save_file(model, path, NULL, &error));
    o.file = read_whole(path, &o.file_bytes);
    m2snet_model_options_init(&overlay);
    overlay.config_json = "{\"threshold\":0.0625}";
    OK(m2snet_model_load_file(context, path, &overlay, &loaded, &error));
    OK(m2snet_model_get_info(loaded, &info, &error));
    o.loaded_config = strdup(info.config_json);
    o.loaded_threshold = info.threshold;
    m2snet_session *session = open_session(loaded);
    m2snet_predict_options_init(&options);
    options.spacing_y_mm = 0.5;
    options.spacing_x_mm = 0.75;
    options.presence_min_area_px = 1.5;
    OK(m2snet_predict(session, &picture, &options, &result, &error));
    o.receipt = steady(m2snet_result_receipt_json(result));
    memcpy(o.probability, m2snet_result_probability(result), sizeof o.probability);
    m2snet_result_destroy(result);
    m2snet_session_destroy(session);
    m2snet_model_destroy(loaded);
    m2snet_model_destroy(model);
    free_picture(&picture);
    m2snet_context_destroy(context);
    scratch_remove(&files);
    return o;
}

static void release(outcome *o)
{
    free(o->config);
    free(o->receipt);
    free(o->loaded_config);
    free(o->file);
}

static void test_comma(void **state)
{
    char text[32];

    (void)state;
    outcome point = go_through();
    assert_true(comma_locale_enter());
    snprintf(text, sizeof text, "%.1f", 0.5);
    assert_string_equal(text, "0,5"); /* the host's own numbers have commas */
    outcome comma = go_through();
    snprintf(text, sizeof text, "%.1f", 0.5);
    assert_string_equal(text, "0,5"); /* and still have them */
    comma_locale_leave();

    assert_true(point.threshold == 0.375 && comma.threshold == 0.375);
    assert_true(point.loaded_threshold == 0.0625 && comma.loaded_threshold == 0.0625);
    assert_string_equal(point.config, comma.config);
    assert_string_equal(point.loaded_config, comma.loaded_config);
    assert_non_null(strstr(comma.config, "0.375"));
    assert_non_null(strstr(comma.config, "0.2345"));
    assert_string_equal(point.receipt, comma.receipt);
    assert_non_null(strstr(comma.receipt, "\"threshold\": 0.0625"));
    assert_int_equal(point.file_bytes, comma.file_bytes);
    assert_memory_equal(point.file, comma.file, point.file_bytes);
    assert_memory_equal(point.probability, comma.probability, sizeof point.probability);
    release(&point);
    release(&comma);
}

/* Failures too: a number in a message is for people, but a status is a status. */
static void test_bad_numbers(void **state)
{
    m2snet_context *context = open_context("ref", 1);
    m2snet_model *model;
    m2snet_error error;

    (void)state;
    assert_true(comma_locale_enter());
    REFUSE(m2snet_model_create(context, "{\"threshold\":0,5}", 1, &model, &error), M2SNET_STATUS_FORMAT,
           "configuration");
    REFUSE(m2snet_model_create(context, "{\"threshold\":1.5}", 1, &model, &error), M2SNET_STATUS_FORMAT, "threshold");
    comma_locale_leave();
    m2snet_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_comma),
        cmocka_unit_test(test_bad_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
