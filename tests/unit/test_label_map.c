/* SPDX-License-Identifier: Apache-2.0
 * lib/image/label_map and lib/net/coding: softmax as sigmoids, which class a pixel gets, regions, and the gray levels
 * of classes in a configuration. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/api_fixture.h"
#include "core/rng.h"
#include "image/label_map.h"
#include "net/config.h"

#define CLASSES 3
#define SIDE    8

/* Double arithmetic rounded once to float: the sigmoid of what comes out is the softmax to a float's rounding. */
static void test_softmax(void **state)
{
    float logits[64 * CLASSES], made[64 * CLASSES];

    (void)state;
    for (int i = 0; i < 64 * CLASSES; i++) {
        logits[i] = (float)(20.0 * m2s_rng_normal(1, (uint64_t)i));
    }
    logits[0] = 1000.0f; /* no overflow */
    memcpy(made, logits, sizeof made);
    m2s_softmax_logits(made, 64, CLASSES);
    for (int i = 0; i < 64; i++) {
        double sum = 0.0, total = 0.0;
        for (int c = 0; c < CLASSES; c++) {
            sum += exp((double)logits[CLASSES * i + c] - (double)logits[CLASSES * i]);
        }
        for (int c = 0; c < CLASSES; c++) {
            double softmax = exp((double)logits[CLASSES * i + c] - (double)logits[CLASSES * i]) / sum;
            double sigmoid = 1.0 / (1.0 + exp(-(double)made[CLASSES * i + c]));
            assert_true(fabs(softmax - sigmoid) < 1e-6);
            total += sigmoid;
        }
        assert_true(fabs(total - 1.0) < 1e-6);
    }
    made[0] = 3.0f;
    m2s_softmax_logits(made, 1, 1);
    assert_true(made[0] == 3.0f);
}

static void map(const float *logits, int32_t width, int32_t height, const m2s_label_options *options, uint8_t *labels)
{
    m2s_memory memory;
    m2snet_error error;

    m2s_memory_init(&memory, NULL, 0);
    const m2s_host host = { .memory = &memory };
    OK(m2s_label_map(&host, logits, SIDE, SIDE, width, height, options, NULL, labels, &error));
    assert_int_equal(atomic_load(&memory.used_bytes), 0);
}

/* At the network's own size: the largest of the probabilities and the threshold, the first of equal ones. */
static void test_largest(void **state)
{
    static const uint8_t levels[CLASSES] = { 0, 80, 160 };
    m2s_label_options options = { .classes = CLASSES, .levels = levels, .background = 255, .threshold = 0.5 };
    float logits[SIDE * SIDE * CLASSES];
    uint8_t labels[SIDE * SIDE];
    int seen[4] = { 0 };

    (void)state;
    for (int i = 0; i < SIDE * SIDE * CLASSES; i++) {
        logits[i] = (float)m2s_rng_normal(2, (uint64_t)i);
    }
    logits[0] = logits[1] = logits[2] = 1.0f;
    logits[3] = logits[4] = logits[5] = 0.0f; /* exactly the threshold is not above it */
    for (int always = 0; always < 2; always++) {
        options.always = always != 0;
        map(logits, SIDE, SIDE, &options, labels);
        for (int i = 0; i < SIDE * SIDE; i++) {
            const float *x = logits + CLASSES * i;
            int best = x[1] > x[0] ? 1 : 0;
            best = x[2] > x[best] ? 2 : best;
            bool none = !always && x[best] <= 0.0f;
            assert_int_equal(labels[i], none ? 255 : levels[best]);
            seen[none ? 3 : best]++;
        }
    }
    assert_true(seen[0] > 5 && seen[1] > 5 && seen[2] > 5 && seen[3] > 2);
    assert_int_equal(labels[0], 0);
}

/* Larger, and a part of the picture alone. */
static void test_region(void **state)
{
    static const uint8_t levels[CLASSES] = { 1, 2, 3 };
    m2s_label_options options = {
        .classes = CLASSES, .levels = levels, .background = 9, .threshold = 0.5, .region = { 3, 5, 2 * SIDE, SIDE }
    };
    float logits[SIDE * SIDE * CLASSES];
    uint8_t labels[20 * 30];

    (void)state;
    for (int i = 0; i < SIDE * SIDE; i++) { /* class 0 on the left, class 2 on the right, nothing in the lowest rows */
        for (int c = 0; c < CLASSES; c++) {
            bool here = i / SIDE < 6 && c == (i % SIDE < SIDE / 2 ? 0 : 2);
            logits[CLASSES * i + c] = here ? 4.0f : -4.0f;
        }
    }
    map(logits, 20, 30, &options, labels);
    for (int y = 0; y < 30; y++) {
        for (int x = 0; x < 20; x++) {
            bool inside = x >= 3 && x < 3 + 2 * SIDE && y >= 5 && y < 5 + 6;
            assert_int_equal(labels[20 * y + x], !inside ? 9 : x < 3 + SIDE ? 1 : 3);
        }
    }
}

/* ---- configuration ---- */

static m2snet_status parse(m2s_config *config, const char *json, m2snet_error *error)
{
    m2s_config_default(config);
    return m2s_config_parse(config, json, strlen(json), NULL, NULL, error);
}

#define GOALS "\"classes\":[\"rnfl\",\"gcipl\",\"choroid\"],\"labels\":[0,80,160]"

static void test_levels(void **state)
{
    m2s_config config;
    m2s_memory memory;
    m2snet_error error;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    OK(parse(&config, "{}", &error));
    assert_int_equal(m2s_coding_level(&config.coding, 1, 0), 255);
    assert_int_equal(config.coding.background, 0);
    OK(parse(&config, "{\"classes\":[\"a\",\"b\"]}", &error));
    assert_int_equal(m2s_coding_level(&config.coding, 2, 0), 1);
    assert_int_equal(m2s_coding_level(&config.coding, 2, 1), 2);
    OK(parse(&config, "{" GOALS "}", &error));
    assert_int_equal(m2s_coding_level(&config.coding, 3, 0), 0);
    assert_int_equal(m2s_coding_level(&config.coding, 3, 2), 160);
    assert_int_equal(config.coding.background, 255); /* 0 is a label */
    OK(parse(&config, "{" GOALS ",\"background_label\":7}", &error));
    assert_int_equal(config.coding.background, 7);
    OK(parse(&config, "{\"classes\":[\"a\",\"b\",\"c\"],\"activation\":\"softmax\",\"labels\":[0,255]}", &error));
    assert_true(config.coding.softmax);
    assert_int_equal(config.coding.background, 254);
    assert_int_equal(m2s_coding_level(&config.coding, 3, 0), 254);
    assert_int_equal(m2s_coding_level(&config.coding, 3, 2), 255);

    /* Written and read again. */
    char *text = m2s_config_dump(&config, &memory);
    m2s_config again;
    assert_non_null(text);
    OK(parse(&again, text, &error));
    assert_memory_equal(&config.coding, &again.coding, sizeof again.coding);
    m2s_free(&memory, text);
    OK(parse(&config, "{}", &error)); /* a model of one class says none of it, as before */
    text = m2s_config_dump(&config, &memory);
    assert_null(strstr(text, "activation"));
    assert_null(strstr(text, "label"));
    m2s_free(&memory, text);
}

static void test_refused(void **state)
{
    static const struct {
        const char *json, *part;
        m2snet_status status;
    } wrong[] = {
        { "{\"activation\":\"relu\"}", "\"relu\" is not known", M2SNET_STATUS_UNSUPPORTED },
        { "{\"activation\":\"softmax\"}", "two classes and more", M2SNET_STATUS_FORMAT },
        { "{\"classes\":[\"a\",\"b\"],\"labels\":[1]}", "expected 2 gray levels", M2SNET_STATUS_FORMAT },
        { "{\"classes\":[\"a\",\"b\"],\"labels\":[1,1]}", "level 1 stands for two", M2SNET_STATUS_FORMAT },
        { "{\"classes\":[\"a\",\"b\"],\"labels\":[1,2],\"background_label\":2}", "level 2", M2SNET_STATUS_FORMAT },
        { "{\"labels\":[256]}", "labels", M2SNET_STATUS_FORMAT },
        { "{\"background_label\":-1}", "background_label", M2SNET_STATUS_FORMAT },
    };
    m2s_config config;
    m2snet_error error;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        REFUSE(parse(&config, wrong[i].json, &error), wrong[i].status, wrong[i].part);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_softmax), cmocka_unit_test(test_largest), cmocka_unit_test(test_region),
        cmocka_unit_test(test_levels),  cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
