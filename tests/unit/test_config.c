/* SPDX-License-Identifier: Apache-2.0
 * The configuration: defaults, JSON in and out, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/config.h"

static m2snet_status parse(m2s_config *config, const char *text, m2snet_error *error)
{
    m2s_config_default(config);
    return m2s_config_parse(config, text, strlen(text), NULL, NULL, error);
}

static void test_round_trip(void **state)
{
    static const char *const texts[] = {
        "{}",
        "{\"architecture\": \"msnet\"}",
        "{\"encoder\": \"res2net_compact\", \"pyramid_channels\": 32, \"input_size\": 256, \"classes\": [\"polyp\"]}",
        "{\"encoder\": \"res2net101_v1b_26w_4s\", \"scales\": [1, 3, 5, 7], \"gaussian\": true}",
        "{\"encoder_shape\": {\"stem\": [4, 4, 8], \"blocks\": [2, 1, 1, 1], \"width\": [3, 4, 4, 4], \"channels\": "
        "[16, 16, 16, 16]}, \"pyramid_channels\": 8, \"input_size\": [96, 64], \"threshold\": 0.25, \"mean\": [0.1, "
        "0.2, 0.3], \"std\": [1, 2, 3], \"classes\": [\"a\", \"b \\u00e9\"]}",
    };
    m2s_memory memory;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        m2s_config first, second;
        assert_int_equal(parse(&first, texts[i], NULL), M2SNET_STATUS_OK);
        char *dump = m2s_config_dump(&first, &memory);
        assert_non_null(dump);
        assert_int_equal(parse(&second, dump, NULL), M2SNET_STATUS_OK);
        assert_memory_equal(&first, &second, sizeof first);
        m2s_free(&memory, dump);
    }
    assert_int_equal(memory.used_bytes, 0);
}

static void test_values(void **state)
{
    m2s_config config;
    bool encoder, scales;
    const char *text = "{\"format_version\": \"1\", \"encoder\": \"res2net_compact\", \"unknown\": {\"a\": 1}}";

    (void)state;
    m2s_config_default(&config);
    assert_string_equal(m2s_config_architecture(&config), "m2snet");
    assert_int_equal(config.input_width, 352);
    assert_int_equal(m2s_config_parse(&config, text, strlen(text), &encoder, &scales, NULL), M2SNET_STATUS_OK);
    assert_true(encoder);
    assert_false(scales);
    assert_string_equal(config.encoder, "res2net_compact");
    assert_int_equal(config.stage[3].channels, 1024);
    assert_int_equal(parse(&config, "{\"scales\": [1]}", NULL), M2SNET_STATUS_OK);
    assert_string_equal(m2s_config_architecture(&config), "msnet");
    assert_int_equal(parse(&config, "{\"input_size\": [640, 480]}", NULL), M2SNET_STATUS_OK);
    assert_int_equal(config.input_width, 640);
    assert_int_equal(config.input_height, 480);
}

static void test_refusals(void **state)
{
    static const struct {
        const char *text, *word;
        m2snet_status status;
    } cases[] = {
        { "", "configuration", M2SNET_STATUS_FORMAT },
        { "[]", "object", M2SNET_STATUS_FORMAT },
        { "{\"encoder\": \"vit\"}", "vit", M2SNET_STATUS_UNSUPPORTED },
        { "{\"encoder\": 3}", "encoder", M2SNET_STATUS_FORMAT },
        { "{\"architecture\": \"unet\"}", "unet", M2SNET_STATUS_UNSUPPORTED },
        { "{\"architecture\": \"msnet\", \"scales\": [1, 3]}", "msnet", M2SNET_STATUS_FORMAT },
        { "{\"format_version\": 2}", "version 2", M2SNET_STATUS_UNSUPPORTED },
        { "{\"format_version\": \"x\"}", "format_version", M2SNET_STATUS_FORMAT },
        { "{\"required_tta\": true}", "required_tta", M2SNET_STATUS_UNSUPPORTED },
        { "{\"scales\": [3, 5]}", "scales", M2SNET_STATUS_FORMAT },
        { "{\"scales\": [1, 4]}", "scales", M2SNET_STATUS_FORMAT },
        { "{\"scales\": [1, 5, 3]}", "scales", M2SNET_STATUS_FORMAT },
        { "{\"scales\": [1, 33]}", "scales", M2SNET_STATUS_FORMAT },
        { "{\"scales\": []}", "scales", M2SNET_STATUS_FORMAT },
        { "{\"input_size\": 32}", "input_size", M2SNET_STATUS_FORMAT },
        { "{\"input_size\": 100000}", "input_size", M2SNET_STATUS_FORMAT },
        { "{\"input_size\": [64]}", "input_size", M2SNET_STATUS_FORMAT },
        { "{\"threshold\": 1.5}", "threshold", M2SNET_STATUS_FORMAT },
        { "{\"threshold\": \"half\"}", "threshold", M2SNET_STATUS_FORMAT },
        { "{\"std\": [0, 1, 1]}", "std", M2SNET_STATUS_FORMAT },
        { "{\"mean\": [0, 1]}", "mean", M2SNET_STATUS_FORMAT },
        { "{\"classes\": []}", "classes", M2SNET_STATUS_FORMAT },
        { "{\"classes\": [1]}", "classes", M2SNET_STATUS_FORMAT },
        { "{\"pyramid_channels\": 0}", "pyramid_channels", M2SNET_STATUS_FORMAT },
        { "{\"encoder_shape\": {\"stem\": [1, 2, 3]}}", "blocks", M2SNET_STATUS_FORMAT },
        { "{\"encoder_shape\": {\"stem\": [1, 2, 3], \"blocks\": [1, 1, 1, 99], \"width\": [1, 1, 1, 1], "
          "\"channels\": [4, 4, 4, 4]}}",
          "blocks", M2SNET_STATUS_FORMAT },
    };
    m2s_config untouched;

    (void)state;
    m2s_config_default(&untouched);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        m2s_config config;
        m2snet_error error = { 0 };
        m2snet_status status = parse(&config, cases[i].text, &error);
        if (status != cases[i].status || strstr(error.message, cases[i].word) == NULL) {
            fail_msg("%s: status %d, \"%s\"", cases[i].text, (int)status, error.message);
        }
        assert_memory_equal(&config, &untouched, sizeof config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
