/* SPDX-License-Identifier: Apache-2.0
 * A model's description: JSON to configuration and back, what is refused and in which words, presets, recognition. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/comma_locale.h"
#include "common/faults.h"
#include "net/config.h"
#include "net/encoder.h"

static m2snet_status parse(m2s_config *config, const char *json, m2snet_error *error)
{
    m2s_config_default(config);
    return m2s_config_parse(config, json, strlen(json), NULL, NULL, error);
}

static m2s_config parsed(const char *json)
{
    m2s_config config;
    m2snet_error error;

    if (parse(&config, json, &error) != M2SNET_STATUS_OK) {
        fail_msg("%s: %s", json, error.message);
    }
    return config;
}

static void test_defaults(void **state)
{
    m2s_config config = parsed("{}");

    (void)state;
    assert_string_equal(config.encoder, "res2net50_v1b_26w_4s");
    assert_string_equal(m2s_config_architecture(&config), "m2snet");
    assert_true(config.pyramid_channels == 64 && config.classes == 1 && config.threshold == 0.5);
    assert_true(config.input_width == 352 && config.input_height == 352);
    assert_true(config.scales == 3 && config.scale[0] == 1 && config.scale[1] == 3 && config.scale[2] == 5);
    assert_true(config.mean[0] == 0.485f && config.std[2] == 0.225f);
    assert_string_equal(config.class_name[0], "");
}

static const char *const texts[] = {
    "{}",
    "{\"encoder\":\"res2net_compact\",\"pyramid_channels\":32,\"classes\":[\"polyp\"]}",
    "{\"encoder\":\"res2net101_v1b_26w_4s\"}",
    "{\"architecture\":\"msnet\"}",
    "{\"scales\":[1]}",
    "{\"scales\":[1,3,5,7,9,11],\"gaussian\":true}",
    "{\"input_size\":[320,257]}",
    "{\"input_size\":33}",
    "{\"input_size\":8192}",
    "{\"threshold\":0}",
    "{\"threshold\":1}",
    "{\"threshold\":0.1}",
    "{\"mean\":[0.1,0.2,0.3],\"std\":[1e-6,0.333333343,1000]}",
    "{\"classes\":[\"a\",\"\",\"\\u00fcber \\\"b\\\"\"]}",
    ("{\"encoder\":\"res2net\",\"encoder_shape\":{\"stem\":[1,2,3],\"blocks\":[1,64,1,2],\"width\":[1,4096,3,4],"
     "\"channels\":[16384,1,2,3]},\"pyramid_channels\":3}"),
    "{\"encoder\":\"convnext_tiny\"}",
    "{\"encoder\":\"convnext\",\"encoder_shape\":{\"blocks\":[1,2,3,64],\"channels\":[1,4096,3,4]}}",
    "{\"encoder\":\"convnext\",\"encoder_shape\":{\"blocks\":[1,2,3,4],\"channels\":[1,2,3,4],\"norms\":1}}",
    "{\"format_version\":1,\"unknown\":{\"nested\":[1,2,3]}}",
    "{\"format_version\":\"1\"}",
};

/* Written and read again it is the same, and the same text. */
static void test_round_trip(void **state)
{
    m2s_memory memory;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    for (int comma = 0; comma < 2; comma++) {
        assert_true(comma == 0 || comma_locale_enter());
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
            m2s_config config = parsed(texts[i]);
            char *text = m2s_config_dump(&config, &memory);
            assert_non_null(text);
            m2s_config again = parsed(text);
            char *second = m2s_config_dump(&again, &memory);
            assert_string_equal(text, second);
            assert_memory_equal(&config, &again, sizeof config);
            m2s_free(&memory, text);
            m2s_free(&memory, second);
        }
    }
    comma_locale_leave();
    assert_int_equal(memory.used_bytes, 0);
}

static void test_short_numbers(void **state)
{
    m2s_memory memory;
    m2s_config config = parsed("{}");

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    char *text = m2s_config_dump(&config, &memory);
    assert_non_null(strstr(text, "0.485")); /* not 0.48500001430511475 */
    assert_null(strstr(text, "0.4850"));
    m2s_free(&memory, text);
}

static void test_presets(void **state)
{
    m2s_config config;

    (void)state;
    m2s_config_default(&config);
    assert_true(m2s_config_set_encoder(&config, "res2net_compact"));
    assert_int_equal(config.stem[2], 32);
    assert_false(m2s_config_set_encoder(&config, "res2net"));
    assert_false(m2s_config_set_encoder(&config, ""));
    assert_int_equal(config.stem[2], 32);
    config = parsed("{\"encoder_shape\":{\"stem\":[16,16,32],\"blocks\":[2,2,2,2],\"width\":[13,26,52,104],"
                    "\"channels\":[128,256,512,1024]}}");
    assert_string_equal(config.encoder, "res2net_compact"); /* shapes tell the name */
    config.stage[2].width++;
    m2s_config_name_encoder(&config);
    assert_string_equal(config.encoder, "res2net");
    config = parsed("{\"encoder\":\"convnext\",\"encoder_shape\":{\"blocks\":[3,3,27,3],"
                    "\"channels\":[128,256,512,1024]}}");
    assert_string_equal(config.encoder, "convnext_base");
    assert_true(config.stem[0] == 0 && config.stage[0].width == 0); /* nothing is left of the default */
    config = parsed("{\"encoder\":\"convnext\",\"encoder_shape\":{\"blocks\":[3,3,27,3],"
                    "\"channels\":[128,256,512,1024],\"norms\":1}}");
    assert_string_equal(config.encoder, "convnext");
}

static void test_what_is_said(void **state)
{
    static const struct {
        const char *json;
        bool encoder, scales;
    } cases[] = {
        { "{}", false, false },
        { "{\"encoder\":\"res2net\"}", false, false }, /* a family, no shape */
        { "{\"encoder\":\"res2net_compact\"}", true, false },
        { "{\"scales\":[1,3]}", false, true },
        { "{\"architecture\":\"msnet\"}", false, true },
        { "{\"architecture\":\"m2snet\"}", false, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        m2s_config config;
        bool encoder = !cases[i].encoder, scales = !cases[i].scales;
        m2s_config_default(&config);
        assert_int_equal(m2s_config_parse(&config, cases[i].json, strlen(cases[i].json), &encoder, &scales, NULL),
                         M2SNET_STATUS_OK);
        assert_int_equal(encoder, cases[i].encoder);
        assert_int_equal(scales, cases[i].scales);
    }
}

static void test_bad_values(void **state)
{
    static const struct {
        const char *json;
        m2snet_status status;
        const char *part;
    } cases[] = {
        { "", M2SNET_STATUS_FORMAT, "configuration" },
        { "{", M2SNET_STATUS_FORMAT, "configuration" },
        { "[]", M2SNET_STATUS_FORMAT, "object" },
        { "7", M2SNET_STATUS_FORMAT, "configuration" },
        { "{\"threshold\":-0.1}", M2SNET_STATUS_FORMAT, "threshold" },
        { "{\"threshold\":1.5}", M2SNET_STATUS_FORMAT, "threshold" },
        { "{\"threshold\":\"0.5\"}", M2SNET_STATUS_FORMAT, "threshold" },
        { "{\"threshold\":NaN}", M2SNET_STATUS_FORMAT, "configuration" },
        { "{\"input_size\":32}", M2SNET_STATUS_FORMAT, "input_size" },
        { "{\"input_size\":8193}", M2SNET_STATUS_FORMAT, "input_size" },
        { "{\"input_size\":352.5}", M2SNET_STATUS_FORMAT, "input_size" },
        { "{\"input_size\":[352]}", M2SNET_STATUS_FORMAT, "input_size" },
        { "{\"input_size\":[352,352,3]}", M2SNET_STATUS_FORMAT, "input_size" },
        { "{\"input_size\":null}", M2SNET_STATUS_FORMAT, "input_size" },
        { "{\"input_size\":99999999999999999999}", M2SNET_STATUS_FORMAT, "" },
        { "{\"pyramid_channels\":0}", M2SNET_STATUS_FORMAT, "pyramid_channels" },
        { "{\"pyramid_channels\":16385}", M2SNET_STATUS_FORMAT, "pyramid_channels" },
        { "{\"pyramid_channels\":[64]}", M2SNET_STATUS_FORMAT, "pyramid_channels" },
        { "{\"scales\":3}", M2SNET_STATUS_FORMAT, "scales" },
        { "{\"scales\":[]}", M2SNET_STATUS_FORMAT, "scales" },
        { "{\"scales\":[1,3,5,7,9,11,13]}", M2SNET_STATUS_FORMAT, "scales" },
        { "{\"scales\":[1,3,3]}", M2SNET_STATUS_FORMAT, "scales" },
        { "{\"scales\":[1,33]}", M2SNET_STATUS_FORMAT, "scales" },
        { "{\"scales\":[5,3,1]}", M2SNET_STATUS_FORMAT, "scales" },
        { "{\"gaussian\":1}", M2SNET_STATUS_FORMAT, "gaussian" },
        { "{\"architecture\":\"M2SNet\"}", M2SNET_STATUS_UNSUPPORTED, "M2SNet" },
        { "{\"architecture\":1}", M2SNET_STATUS_FORMAT, "architecture" },
        { "{\"architecture\":\"m2snet\",\"scales\":[1]}", M2SNET_STATUS_FORMAT, "m2snet" },
        { "{\"encoder\":\"resnet50\"}", M2SNET_STATUS_UNSUPPORTED, "resnet50" },
        { "{\"encoder\":\"convnext\"}", M2SNET_STATUS_UNSUPPORTED, "convnext_base" }, /* of which size? */
        { "{\"encoder\":\"convnext_huge\"}", M2SNET_STATUS_UNSUPPORTED, "convnext_huge" },
        { "{\"encoder\":\"convnext\",\"encoder_shape\":{\"blocks\":[1,1,1,1]}}", M2SNET_STATUS_FORMAT, "channels" },
        { "{\"encoder\":\"convnext\",\"encoder_shape\":{\"blocks\":[1,1,1,1],\"channels\":[1,1,1,1],\"norms\":2}}",
          M2SNET_STATUS_FORMAT, "norms" },
        { "{\"encoder\":\"pvt_v2\",\"encoder_shape\":{\"blocks\":[1,1,1,1],\"channels\":[8,8,10,8],\"widening\":[1,1,1,"
          "1],"
          "\"heads\":[1,1,1,1]}}",
          M2SNET_STATUS_UNSUPPORTED, "\"heads\" is not known of pvt_v2" },
        { "{\"levels\":4}", M2SNET_STATUS_FORMAT, "\"levels\" belongs into \"variant\"" },
        { "{\"recipe\":\"paper\"}", M2SNET_STATUS_FORMAT, "\"recipe\" belongs into \"variant\"" },
        { "{\"encoder\":5}", M2SNET_STATUS_FORMAT, "encoder" },
        { "{\"encoder_shape\":[]}", M2SNET_STATUS_FORMAT, "encoder_shape" },
        { "{\"encoder_shape\":{\"stem\":[4,4],\"blocks\":[1,1,1,1],\"width\":[1,1,1,1],\"channels\":[1,1,1,1]}}",
          M2SNET_STATUS_FORMAT, "stem" },
        { "{\"encoder_shape\":{\"stem\":[4,4,0],\"blocks\":[1,1,1,1],\"width\":[1,1,1,1],\"channels\":[1,1,1,1]}}",
          M2SNET_STATUS_FORMAT, "stem" },
        { "{\"encoder_shape\":{\"stem\":[4,4,4],\"blocks\":[1,1,1,65],\"width\":[1,1,1,1],\"channels\":[1,1,1,1]}}",
          M2SNET_STATUS_FORMAT, "blocks" },
        { "{\"encoder_shape\":{\"stem\":[4,4,4],\"blocks\":[1,1,1,1],\"channels\":[1,1,1,1]}}", M2SNET_STATUS_FORMAT,
          "width" },
        { "{\"classes\":\"polyp\"}", M2SNET_STATUS_FORMAT, "classes" },
        { "{\"classes\":[]}", M2SNET_STATUS_FORMAT, "classes" },
        { "{\"classes\":[\"a\",2]}", M2SNET_STATUS_FORMAT, "name 1" },
        { "{\"classes\":[\"0123456789012345678901234567890123456789012345678901234567890123\"]}", M2SNET_STATUS_FORMAT,
          "64 bytes" },
        { "{\"mean\":[0,0]}", M2SNET_STATUS_FORMAT, "mean" },
        { "{\"mean\":[0,0,1e99]}", M2SNET_STATUS_FORMAT, "mean" },
        { "{\"std\":[1,1,0]}", M2SNET_STATUS_FORMAT, "std" },
        { "{\"std\":[1,1,-1]}", M2SNET_STATUS_FORMAT, "std" },
        { "{\"format_version\":2}", M2SNET_STATUS_UNSUPPORTED, "version 2" },
        { "{\"format_version\":\"two\"}", M2SNET_STATUS_FORMAT, "format_version" },
        { "{\"format_version\":-1}", M2SNET_STATUS_FORMAT, "format_version" },
        { "{\"format_version\":1.5}", M2SNET_STATUS_FORMAT, "format_version" },
        { "{\"required_x\":false}", M2SNET_STATUS_UNSUPPORTED, "required_x" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        m2s_config config, usual;
        m2snet_error error = { 0 };
        m2snet_status status = parse(&config, cases[i].json, &error);
        if (status != cases[i].status || error.status != status || strstr(error.message, cases[i].part) == NULL) {
            fail_msg("%s: %s: %s", cases[i].json, m2snet_status_string(status), error.message);
        }
        m2s_config_default(&usual);
        assert_memory_equal(&config, &usual, sizeof usual); /* untouched by a text that fails in its middle */
        assert_int_equal(parse(&config, cases[i].json, NULL), status);
    }
}

/* Too many classes: one more than there is room for. */
static void test_many_classes(void **state)
{
    char text[1024] = "{\"classes\":[";
    m2s_config config;
    m2snet_error error;

    (void)state;
    for (int i = 0; i < M2S_MAX_CLASSES; i++) {
        snprintf(text + strlen(text), sizeof text - strlen(text), "\"c%d\",", i);
    }
    size_t full = strlen(text);
    strcpy(text + full - 1, "]}");
    assert_int_equal(parse(&config, text, &error), M2SNET_STATUS_OK);
    assert_int_equal(config.classes, M2S_MAX_CLASSES);
    assert_string_equal(config.class_name[63], "c63");
    strcpy(text + full - 1, ",\"one more\"]}");
    assert_int_equal(parse(&config, text, &error), M2SNET_STATUS_FORMAT);
}

/* ---- recognition ---- */

/* A checkpoint's keys: what a compact network has, with a size to play with. */
typedef struct keys {
    int64_t pyramid, classes;
    bool no_stem, conv_3, conv_5, conv_7;
    int64_t dims[8];
} keys;

static const int64_t *lookup(void *user, const char *key, int32_t *rank)
{
    static const int64_t stem[3] = { 16, 16, 32 }, width[4] = { 13, 26, 52, 104 },
                         channels[4] = { 128, 256, 512, 1024 };
    keys *k = user;
    int stage, block, index;
    char rest[32];

    *rank = 4;
    k->dims[1] = k->dims[2] = k->dims[3] = 1;
    if (sscanf(key, "resnet.conv1.%d.weight", &index) == 1) {
        k->dims[0] = stem[index / 3];
        return k->no_stem ? NULL : k->dims;
    }
    if (sscanf(key, "resnet.layer%d.%d.%31s", &stage, &block, rest) == 3) {
        k->dims[0] = strcmp(rest, "conv3.weight") == 0     ? channels[stage - 1]
                     : strcmp(rest, "convs.0.weight") == 0 ? width[stage - 1]
                                                           : 4 * width[stage - 1];
        return block < 2 ? k->dims : NULL;
    }
    if (sscanf(key, "conv_%d.norm.weight", &index) == 1) {
        *rank = 1;
        k->dims[0] = 32;
        return (index == 3 && k->conv_3) || (index == 5 && k->conv_5) || (index == 7 && k->conv_7) ? k->dims : NULL;
    }
    if (strcmp(key, "x5_dem_5.0.weight") == 0) {
        k->dims[0] = k->pyramid;
        return k->pyramid != 0 ? k->dims : NULL;
    }
    if (strcmp(key, "output1.0.weight") == 0) {
        k->dims[0] = k->classes;
        return k->classes != 0 ? k->dims : NULL;
    }
    return NULL;
}

static void test_recognition(void **state)
{
    keys k = { .pyramid = 32, .classes = 3, .conv_3 = true, .conv_5 = true };
    m2s_config config;

    (void)state;
    m2s_config_default(&config);
    assert_true(m2s_config_recognise(&config, lookup, &k, false, false));
    assert_string_equal(config.encoder, "res2net_compact");
    assert_true(config.pyramid_channels == 32 && config.classes == 3 && config.scales == 3 && config.scale[2] == 5);
    k.conv_5 = k.conv_3 = false;
    assert_true(m2s_config_recognise(&config, lookup, &k, false, false));
    assert_string_equal(m2s_config_architecture(&config), "msnet");
    k.conv_3 = k.conv_7 = true;
    assert_true(m2s_config_recognise(&config, lookup, &k, false, false));
    assert_true(config.scales == 3 && config.scale[1] == 3 && config.scale[2] == 7);
    config.scales = 1;
    assert_true(m2s_config_recognise(&config, lookup, &k, false, true));
    assert_int_equal(config.scales, 1); /* left alone */

    /* Nothing known: as it was. */
    m2s_config before = config;
    k.no_stem = true;
    k.pyramid = 99;
    assert_false(m2s_config_recognise(&config, lookup, &k, false, false));
    assert_memory_equal(&config, &before, sizeof config);
    /* Numbers that cannot be are not taken over. */
    k = (keys){ .pyramid = -5, .classes = 1000000 };
    m2s_config_default(&config);
    assert_true(m2s_config_recognise(&config, lookup, &k, false, false));
    assert_true(config.pyramid_channels == 64 && config.classes == 1);
}

static void test_out_of_memory(void **state)
{
    faults f = { .fail_at = 1 };
    m2snet_allocator allocator = faults_allocator(&f);
    m2s_memory memory;
    m2s_config config = parsed("{}");

    (void)state;
    m2s_memory_init(&memory, &allocator, 0);
    assert_null(m2s_config_dump(&config, &memory));
    assert_int_equal(f.live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),     cmocka_unit_test(test_round_trip),   cmocka_unit_test(test_short_numbers),
        cmocka_unit_test(test_presets),      cmocka_unit_test(test_what_is_said), cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_many_classes), cmocka_unit_test(test_recognition),  cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
