/* SPDX-License-Identifier: Apache-2.0
 * Predictions from windows, from mirrored inputs and from several models. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/api_fixture.h"

#define SIDE 64 /* of the networks' input */

typedef struct rig {
    m2snet_context *context;
    m2snet_model *model, *other;
    m2snet_session *session, *second;
} rig;

static m2snet_session *session_of(m2snet_model *model, int32_t width, int32_t height, m2snet_precision precision)
{
    m2snet_session_options options;
    m2snet_session *session;
    m2snet_error error;

    m2snet_session_options_init(&options);
    options.input_width = width;
    options.input_height = height;
    options.precision = precision;
    OK(m2snet_session_create(model, &options, &session, &error));
    return session;
}

/* The compact model: its logits are of a size at which a probability tells them. */
static m2snet_model *load(m2snet_context *context, const char *config_json)
{
    m2snet_model_options options;
    m2snet_model *model;
    m2snet_error error;

    m2snet_model_options_init(&options);
    options.config_json = config_json;
    OK(m2snet_model_load_file(context, COMPACT_MODEL, &options, &model, &error));
    return model;
}

#define OTHER_NORMALIZATION "{\"mean\":[0.3,0.3,0.3],\"std\":[0.2,0.3,0.4]}"

static int begin(void **state)
{
    static rig r;

    r.context = open_context("cpu", 2);
    r.model = load(r.context, NULL);
    r.other = load(r.context, OTHER_NORMALIZATION);
    r.session = session_of(r.model, SIDE, SIDE, M2SNET_PRECISION_F32);
    r.second = session_of(r.other, SIDE, SIDE, M2SNET_PRECISION_F32);
    *state = &r;
    return 0;
}

static int end(void **state)
{
    rig *r = *state;

    m2snet_session_destroy(r->second);
    m2snet_session_destroy(r->session);
    m2snet_model_destroy(r->other);
    m2snet_model_destroy(r->model);
    m2snet_context_destroy(r->context);
    return 0;
}

static m2snet_result *predict(m2snet_session *session, const m2snet_image *picture, const m2snet_predict_options *o)
{
    m2snet_result *result;
    m2snet_error error;

    OK(m2snet_predict(session, picture, o, &result, &error));
    return result;
}

/* The network's own answer to SIDE x SIDE pixels of a picture from (x, y) on, zeros where it ends; way: which axes are
 * turned before and back again after. */
static void logits_of(rig *r, m2snet_session *session, const m2snet_image *picture, int x, int y, int way,
                      float logits[SIDE * SIDE])
{
    static const float imagenet[2][3] = { { 0.485f, 0.456f, 0.406f }, { 0.229f, 0.224f, 0.225f } };
    static const float others[2][3] = { { 0.3f, 0.3f, 0.3f }, { 0.2f, 0.3f, 0.4f } };
    const float(*n)[3] = session == r->second ? others : imagenet;
    m2snet_tensor_desc desc = { .dtype = M2SNET_DTYPE_F32, .n = 1, .h = SIDE, .w = SIDE, .c = 3 };
    m2snet_tensor *src, *dst;
    m2snet_error error;

    OK(m2snet_tensor_create(r->context, &desc, NULL, &src, &error));
    desc.c = 1;
    OK(m2snet_tensor_create(r->context, &desc, NULL, &dst, &error));
    float *input = m2snet_tensor_data(src);
    for (int i = 0; i < SIDE * SIDE; i++) {
        int column = i % SIDE, row = i / SIDE;
        int fx = x + (way & 1 ? SIDE - 1 - column : column), fy = y + (way & 2 ? SIDE - 1 - row : row);
        for (int c = 0; c < 3 && fx >= 0 && fy >= 0 && fx < picture->width && fy < picture->height; c++) {
            uint8_t v = ((const uint8_t *)picture->data)[3 * (fy * picture->width + fx) + c];
            input[3 * i + c] = ((float)v / 255.0f - n[0][c]) / n[1][c];
        }
    }
    OK(m2snet_session_run(session, src, dst, NULL, &error));
    const float *made = m2snet_tensor_data(dst);
    for (int i = 0; i < SIDE * SIDE; i++) {
        int column = i % SIDE, row = i / SIDE;
        logits[i] = made[(way & 2 ? SIDE - 1 - row : row) * SIDE + (way & 1 ? SIDE - 1 - column : column)];
    }
    m2snet_tensor_destroy(src);
    m2snet_tensor_destroy(dst);
}

static double sigmoid(double logit)
{
    return 1.0 / (1.0 + exp(-logit));
}

/* Neither nothing nor everything: a test of maps that tells something. */
static void expect_shades(const m2snet_result *result)
{
    size_t count = (size_t)m2snet_result_width(result) * (size_t)m2snet_result_height(result), shades = 0;

    for (size_t i = 0; i < count; i++) {
        float p = m2snet_result_probability(result)[i];
        shades += p > 0.005f && p < 0.995f;
    }
    assert_true(10 * shades > count);
}

static size_t pixels_of(const m2snet_result *result)
{
    return (size_t)m2snet_result_width(result) * (size_t)m2snet_result_height(result);
}

/* Left and right, top and bottom, or both exchanged. */
static m2snet_image flipped(const m2snet_image *picture, int way)
{
    m2snet_image made = noise_picture(picture->width, picture->height);
    const uint8_t *from = picture->data;
    uint8_t *to = (uint8_t *)(uintptr_t)made.data;

    for (int32_t y = 0; y < picture->height; y++) {
        for (int32_t x = 0; x < picture->width; x++, to += 3) {
            int32_t fx = way & 1 ? picture->width - 1 - x : x, fy = way & 2 ? picture->height - 1 - y : y;
            memcpy(to, from + 3 * ((size_t)fy * (size_t)picture->width + (size_t)fx), 3);
        }
    }
    return made;
}

static float flipped_at(const m2snet_result *result, size_t i, int way)
{
    size_t width = (size_t)m2snet_result_width(result), height = (size_t)m2snet_result_height(result);
    size_t x = i % width, y = i / width;

    return m2snet_result_probability(result)[(way & 2 ? height - 1 - y : y) * width + (way & 1 ? width - 1 - x : x)];
}

static void expect_views(const m2snet_result *result, const char *views, int32_t windows, int32_t models)
{
    m2snet_receipt receipt = { .struct_size = sizeof receipt };
    m2snet_error error;

    OK(m2snet_result_receipt(result, &receipt, &error));
    assert_string_equal(receipt.views, views);
    assert_int_equal(receipt.windows, windows);
    assert_int_equal(receipt.models, models);
    assert_non_null(strstr(m2snet_result_receipt_json(result), views));
}

/* ---- windows ---- */

/* One window that covers all gives what the whole picture gives. */
static void test_one_window(void **state)
{
    rig *r = *state;
    m2snet_predict_options o;
    m2snet_image picture = noise_picture(SIDE, SIDE), large = noise_picture(SIDE + 30, SIDE + 9);

    m2snet_predict_options_init(&o);
    assert_true(o.tile_step == 0.5);
    m2snet_result *whole = predict(r->session, &picture, &o);
    expect_views(whole, "whole picture", 1, 1);
    o.tiles = 1;
    m2snet_result *tiled = predict(r->session, &picture, &o);
    assert_same_result(tiled, whole);
    expect_views(tiled, "1 window, step 0.50, Gaussian weights", 1, 1);
    m2snet_result_destroy(tiled);
    m2snet_result_destroy(whole);
    /* The same of a region of the window's size. */
    o.roi_x = 7;
    o.roi_y = 5;
    o.roi_width = o.roi_height = SIDE;
    tiled = predict(r->session, &large, &o);
    o.tiles = 0;
    whole = predict(r->session, &large, &o);
    assert_same_result(tiled, whole);
    m2snet_result_destroy(tiled);
    m2snet_result_destroy(whole);
    free_picture(&picture);
    free_picture(&large);
}

/* Windows at 0, 20 and 40 of 104 px: the weighted mean of what the network says of each. */
static void test_weighted_mean(void **state)
{
    rig *r = *state;
    enum { WIDTH = SIDE + 40 };
    static const int begins[] = { 0, 20, 40 }; /* ceil(40 / 32) + 1 windows */
    static float part[3][SIDE * SIDE];
    m2snet_image picture = noise_picture(WIDTH, SIDE);
    m2snet_predict_options o;

    m2snet_predict_options_init(&o);
    o.tiles = 1;
    m2snet_result *tiled = predict(r->session, &picture, &o);
    expect_views(tiled, "3 windows, step 0.50, Gaussian weights", 3, 1);
    expect_shades(tiled);
    for (int k = 0; k < 3; k++) {
        logits_of(r, r->session, &picture, begins[k], 0, 0, part[k]);
    }
    for (int y = 0; y < SIDE; y++) {
        for (int x = 0; x < WIDTH; x++) {
            double sum = 0.0, weights = 0.0;
            for (int k = 0; k < 3; k++) {
                int at = x - begins[k];
                if (at >= 0 && at < SIDE) {
                    double d = (at - SIDE / 2) / (SIDE / 8.0), w = exp(-0.5 * d * d);
                    sum += w * (double)part[k][y * SIDE + at];
                    weights += w;
                }
            }
            double p = (double)m2snet_result_probability(tiled)[y * WIDTH + x];
            assert_true(fabs(p - sigmoid(sum / weights)) < 1e-6); /* sums in float */
        }
    }
    m2snet_result_destroy(tiled);
    free_picture(&picture);
}

/* Smaller than the window, along one axis or both: the picture lies in the middle of the mean colour. */
static void test_small_pictures(void **state)
{
    static const int32_t sizes[][2] = { { 20, 30 }, { 1, 1 }, { 100, 21 }, { 33, 100 } };
    rig *r = *state;
    m2snet_predict_options o;

    m2snet_predict_options_init(&o);
    o.tiles = 1;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        m2snet_image picture = noise_picture(sizes[i][0], sizes[i][1]);
        m2snet_result *tiled = predict(r->session, &picture, &o);
        assert_int_equal(m2snet_result_width(tiled), sizes[i][0]);
        assert_int_equal(m2snet_result_height(tiled), sizes[i][1]);
        for (size_t k = 0; k < pixels_of(tiled); k++) {
            float p = m2snet_result_probability(tiled)[k];
            assert_true(p > 0.0f && p < 1.0f);
        }
        m2snet_result_destroy(tiled);
        free_picture(&picture);
    }
    /* Bit for bit what the network says of the pixels in the middle of zeros. */
    static float logits[SIDE * SIDE];
    m2snet_image picture = noise_picture(21, 30);
    m2snet_result *tiled = predict(r->session, &picture, &o);
    logits_of(r, r->session, &picture, -(SIDE - 21) / 2, -(SIDE - 30) / 2, 0, logits);
    for (int y = 0; y < 30; y++) {
        for (int x = 0; x < 21; x++) {
            float p = 1.0f / (1.0f + expf(-logits[(y + (SIDE - 30) / 2) * SIDE + x + (SIDE - 21) / 2]));
            assert_true(m2snet_result_probability(tiled)[y * 21 + x] == p);
        }
    }
    m2snet_result_destroy(tiled);
    free_picture(&picture);
}

/* ---- mirrors ---- */

static void test_mirror_means(void **state)
{
    static const struct {
        m2snet_mirror mirror;
        int ways[4], count;
        const char *views;
    } cases[] = { { M2SNET_MIRROR_HORIZONTAL, { 0, 1 }, 2, "whole picture, mirrored horizontally" },
                  { M2SNET_MIRROR_VERTICAL, { 0, 2 }, 2, "whole picture, mirrored vertically" },
                  { M2SNET_MIRROR_BOTH, { 0, 1, 2, 3 }, 4, "whole picture, mirrored both ways" } };
    rig *r = *state;
    m2snet_image picture = noise_picture(SIDE, SIDE);
    static float alone[4][SIDE * SIDE];

    for (int way = 0; way < 4; way++) {
        logits_of(r, r->session, &picture, 0, 0, way, alone[way]);
    }
    for (size_t k = 0; k < COUNT(cases); k++) {
        m2snet_predict_options o;
        m2snet_predict_options_init(&o);
        o.mirror = cases[k].mirror;
        m2snet_result *mean = predict(r->session, &picture, &o);
        expect_views(mean, cases[k].views, 1, 1);
        expect_shades(mean);
        for (size_t i = 0; i < pixels_of(mean); i++) {
            double sum = 0.0;
            for (int w = 0; w < cases[k].count; w++) {
                sum += (double)alone[cases[k].ways[w]][i];
            }
            assert_true(fabs((double)m2snet_result_probability(mean)[i] - sigmoid(sum / cases[k].count)) < 1e-6);
        }
        m2snet_result_destroy(mean);
    }
    free_picture(&picture);
}

/* A picture that is its own mirror image gives a map that is, bit for bit; without mirroring it does not. */
static void test_mirror_symmetry(void **state)
{
    rig *r = *state;

    for (int way = 1; way <= 3; way++) {
        m2snet_image picture = noise_picture(SIDE, SIDE), turned = flipped(&picture, way);
        uint8_t *pixels = (uint8_t *)(uintptr_t)picture.data;
        for (size_t i = 0; i < 3 * SIDE * SIDE; i++) {
            uint8_t other = ((const uint8_t *)turned.data)[i];
            pixels[i] = pixels[i] > other ? pixels[i] : other;
        }
        m2snet_predict_options o;
        m2snet_predict_options_init(&o);
        o.mirror = M2SNET_MIRROR_BOTH;
        m2snet_result *mean = predict(r->session, &picture, &o), *plain = predict(r->session, &picture, NULL);
        size_t different = 0;
        for (size_t i = 0; i < pixels_of(mean); i++) {
            assert_true(m2snet_result_probability(mean)[i] == flipped_at(mean, i, way));
            different += m2snet_result_probability(plain)[i] != flipped_at(plain, i, way);
        }
        assert_true(different > pixels_of(mean) / 2);
        m2snet_result_destroy(mean);
        m2snet_result_destroy(plain);
        free_picture(&picture);
        free_picture(&turned);
    }
}

/* ---- ensembles ---- */

/* The second model is normalised in another way: each sees the picture as it wants it. */
static void test_ensemble(void **state)
{
    rig *r = *state;
    static float logits[2][SIDE * SIDE];
    m2snet_session *members[] = { r->second };
    m2snet_predict_options o;
    m2snet_receipt receipt = { .struct_size = sizeof receipt };
    m2snet_model_info info = { .struct_size = sizeof info };
    m2snet_image picture = noise_picture(90, 50), square = noise_picture(SIDE, SIDE);
    m2snet_error error;

    m2snet_predict_options_init(&o);
    o.ensemble = members;
    o.ensemble_count = 1;
    m2snet_result *both = predict(r->session, &square, &o);
    expect_views(both, "whole picture, 2 models", 1, 2);
    expect_shades(both);
    logits_of(r, r->session, &square, 0, 0, 0, logits[0]);
    logits_of(r, r->second, &square, 0, 0, 0, logits[1]);
    double apart = 0.0;
    for (size_t i = 0; i < pixels_of(both); i++) {
        double mean = ((double)logits[0][i] + (double)logits[1][i]) / 2.0;
        assert_true(fabs((double)m2snet_result_probability(both)[i] - sigmoid(mean)) < 1e-6);
        apart += fabs((double)logits[0][i] - (double)logits[1][i]);
    }
    assert_true(apart > 0.1 * (double)pixels_of(both));
    OK(m2snet_result_receipt(both, &receipt, &error));
    OK(m2snet_model_get_info(r->other, &info, &error));
    assert_int_equal(strlen(receipt.ensemble), 64);
    assert_string_equal(receipt.ensemble, info.sha256);
    m2snet_result_destroy(both);
    /* Two sessions of one model, in a batch: the mean of equals. */
    m2snet_session *twin = session_of(r->model, SIDE, SIDE, M2SNET_PRECISION_F32);
    m2snet_image pictures[3] = { picture, square, picture };
    m2snet_result *results[3];
    members[0] = twin;
    OK(m2snet_predict_batch(r->session, pictures, 3, &o, results, &error));
    for (int i = 0; i < 3; i++) {
        m2snet_result *alone = predict(r->session, &pictures[i], NULL);
        assert_same_result(results[i], alone);
        m2snet_result_destroy(alone);
        m2snet_result_destroy(results[i]);
    }
    members[0] = r->second;
    o.tiles = 1;
    o.mirror = M2SNET_MIRROR_BOTH;
    OK(m2snet_predict_batch(r->session, pictures, 3, &o, results, &error));
    expect_views(results[0], "2 windows, step 0.50, Gaussian weights, mirrored both ways, 2 models", 2, 2);
    assert_same_result(results[0], results[2]);
    for (int i = 0; i < 3; i++) {
        m2snet_result_destroy(results[i]);
    }
    m2snet_session_destroy(twin);
    free_picture(&picture);
    free_picture(&square);
}

/* ---- what holds as without ---- */

static void test_threads_and_backends(void **state)
{
    rig *r = *state;
    m2snet_image picture = noise_picture(150, 97);
    m2snet_predict_options o;

    m2snet_predict_options_init(&o);
    o.tiles = 1;
    o.mirror = M2SNET_MIRROR_BOTH;
    o.tile_step = 0.7;
    m2snet_result *truth = predict(r->session, &picture, &o);
    for (int32_t threads = 1; threads <= 3; threads += 2) {
        m2snet_context *context = open_context("cpu", threads);
        m2snet_model *model = load(context, NULL);
        m2snet_session *session = session_of(model, SIDE, SIDE, M2SNET_PRECISION_F32);
        m2snet_result *result = predict(session, &picture, &o);
        assert_same_result(result, truth);
        m2snet_result_destroy(result);
        m2snet_session_destroy(session);
        m2snet_model_destroy(model);
        m2snet_context_destroy(context);
    }
    /* The oracle in float64, by another road through the scratch memory. */
    m2snet_context *context = open_context("ref", 2);
    m2snet_model *model = load(context, NULL);
    m2snet_session *session = session_of(model, SIDE, SIDE, M2SNET_PRECISION_F64);
    m2snet_image small = noise_picture(80, SIDE);
    o.mirror = M2SNET_MIRROR_HORIZONTAL;
    m2snet_result *oracle = predict(session, &small, &o), *fast = predict(r->session, &small, &o);
    for (size_t i = 0; i < pixels_of(fast); i++) {
        assert_true(fabsf(m2snet_result_probability(fast)[i] - m2snet_result_probability(oracle)[i]) < 1e-4f);
    }
    m2snet_result_destroy(fast);
    free_picture(&small);
    m2snet_result_destroy(oracle);
    m2snet_session_destroy(session);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
    m2snet_result_destroy(truth);
    free_picture(&picture);
}

typedef struct stop {
    m2snet_cancel *cancel;
    int reports, after;
    uint64_t windows;
} stop;

static int on_progress(void *user, const m2snet_progress *progress)
{
    stop *s = user;

    if (strcmp(progress->phase, "windows") == 0) {
        assert_int_equal(progress->total, 108); /* 12 x 9 of 64 px over 400 x 300 */
        s->windows = progress->done;
    }
    if (strcmp(progress->phase, "prepare") == 0 && ++s->reports == s->after) {
        m2snet_cancel_request(s->cancel);
    }
    return 0;
}

static void test_cancel(void **state)
{
    rig *r = *state;
    m2snet_image picture = noise_picture(400, 300);
    m2snet_predict_options o;
    m2snet_result *result;
    m2snet_error error;
    stop s = { .after = 3 };

    OK(m2snet_cancel_create(&s.cancel, &error));
    m2snet_predict_options_init(&o);
    o.tiles = 1;
    o.mirror = M2SNET_MIRROR_BOTH;
    o.control = (m2snet_control){ on_progress, &s, s.cancel };
    REFUSE(m2snet_predict(r->session, &picture, &o, &result, &error), M2SNET_STATUS_CANCELLED, "cancelled");
    assert_null(result);
    m2snet_cancel_destroy(s.cancel);
    o.mirror = M2SNET_MIRROR_NONE;
    s.after = 0;
    s.windows = 0;
    o.control = (m2snet_control){ on_progress, &s, NULL };
    m2snet_result_destroy(predict(r->session, &picture, &o));
    assert_int_equal(s.windows, 108);
    free_picture(&picture);
}

typedef struct refusal {
    uint64_t at; /* windows done when the callback says no */
    int later;   /* reports after that */
    bool said;
} refusal;

static int refuse_at(void *user, const m2snet_progress *progress)
{
    refusal *r = user;

    r->later += r->said;
    r->said = r->said || (strcmp(progress->phase, "windows") == 0 && progress->done >= r->at);
    return r->said;
}

/* A callback that says no between two windows ends it there: nothing else is computed, nor reported. */
static void test_cancel_between_windows(void **state)
{
    static const uint64_t moments[] = { 0, 4, 12 }; /* before the first, between, behind the last */
    rig *r = *state;
    m2snet_image picture = noise_picture(160, 128);
    m2snet_predict_options o;
    m2snet_result *result;
    m2snet_error error;

    m2snet_predict_options_init(&o);
    o.tiles = 1;
    for (size_t i = 0; i < COUNT(moments); i++) {
        refusal no = { .at = moments[i] };
        o.control = (m2snet_control){ refuse_at, &no, NULL };
        REFUSE(m2snet_predict(r->session, &picture, &o, &result, &error), M2SNET_STATUS_CANCELLED, "\"windows\"");
        assert_null(result);
        assert_true(no.said);
        assert_int_equal(no.later, 0);
    }
    o.control = (m2snet_control){ 0 };
    m2snet_result_destroy(predict(r->session, &picture, &o));
    free_picture(&picture);
}

/* A cap on memory holds for what windows need besides: the logits of a whole picture. */
static void test_limit(void **state)
{
    m2snet_context_options options;
    m2snet_context *context;
    m2snet_error error;
    uint8_t *pixels = calloc(4096, 4096);
    m2snet_image large = { .data = pixels, .width = 4096, .height = 4096, .format = M2SNET_PIXEL_GRAY8 };
    m2snet_predict_options o;
    m2snet_result *result;

    (void)state;
    assert_non_null(pixels);
    m2snet_context_options_init(&options);
    options.backend = "cpu";
    options.memory_limit_bytes = (uint64_t)48 << 20; /* 64 MB for 4096 x 4096 logits */
    OK(m2snet_context_create(&options, &context, &error));
    m2snet_model *model = load(context, NULL);
    m2snet_session *session = session_of(model, SIDE, SIDE, M2SNET_PRECISION_F32);
    m2snet_predict_options_init(&o);
    o.tiles = 1;
    REFUSE(m2snet_predict(session, &large, &o, &result, &error), M2SNET_STATUS_LIMIT, "memory_limit_bytes");
    assert_null(result);
    large.width = 100;
    large.height = 80;
    m2snet_result_destroy(predict(session, &large, &o));
    m2snet_session_destroy(session);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
    free(pixels);
}

#define THREE "{" TINY_SHAPE ",\"classes\":[\"a\",\"b\",\"c\"]"

/* Logits of models whose channels mean something else have no mean. */
static void test_other_classes(const rig *r)
{
    static const struct {
        const char *first, *second, *refused; /* NULL: they go together */
    } cases[] = {
        { THREE "}", THREE ",\"activation\":\"softmax\"}", "activation softmax" },
        { THREE ",\"labels\":[1,2,3]}", THREE ",\"labels\":[1,3,2]}", "labels[1] is gray level 3" },
        { THREE ",\"labels\":[0,80,160]}", THREE "}", NULL },
        { THREE ",\"labels\":[0,80,160]}", THREE ",\"labels\":[0,80,160],\"background_label\":7}", NULL },
    };
    m2snet_image picture = noise_picture(SIDE, SIDE);
    m2snet_error error;

    for (size_t i = 0; i < COUNT(cases); i++) {
        m2snet_model *first, *second;
        m2snet_predict_options o;
        m2snet_result *result;
        OK(m2snet_model_create(r->context, cases[i].first, 3, &first, &error));
        OK(m2snet_model_create(r->context, cases[i].second, 4, &second, &error));
        m2snet_session *session = open_session(first), *member = open_session(second);
        m2snet_predict_options_init(&o);
        o.ensemble = &member;
        o.ensemble_count = 1;
        o.label_map = 1;
        if (cases[i].refused != NULL) {
            REFUSE(m2snet_predict(session, &picture, &o, &result, &error), M2SNET_STATUS_MISMATCH, cases[i].refused);
        } else {
            m2snet_result_destroy(predict(session, &picture, &o));
        }
        m2snet_session_destroy(session);
        m2snet_session_destroy(member);
        m2snet_model_destroy(first);
        m2snet_model_destroy(second);
    }
    free_picture(&picture);
}

static void test_refused(void **state)
{
    rig *r = *state;
    m2snet_image picture = noise_picture(SIDE, SIDE);
    m2snet_session *members[] = { r->second, r->second };
    m2snet_predict_options o;
    m2snet_result *result;
    m2snet_error error;

    m2snet_predict_options_init(&o);
    o.tiles = 1;
    o.tile_step = 0.0;
    REFUSE(m2snet_predict(r->session, &picture, &o, &result, &error), M2SNET_STATUS_INVALID_ARGUMENT, "tile_step is 0");
    o.tile_step = NAN;
    REFUSE(m2snet_predict(r->session, &picture, &o, &result, &error), M2SNET_STATUS_INVALID_ARGUMENT, "tile_step");
    o.tile_step = 1.5;
    REFUSE(m2snet_predict(r->session, &picture, &o, &result, &error), M2SNET_STATUS_INVALID_ARGUMENT, "tile_step");
    m2snet_predict_options_init(&o);
    o.mirror = (m2snet_mirror)4;
    REFUSE(m2snet_predict(r->session, &picture, &o, &result, &error), M2SNET_STATUS_INVALID_ARGUMENT, "mirror is 4");
    m2snet_predict_options_init(&o);
    o.ensemble_count = 1;
    REFUSE(m2snet_predict(r->session, &picture, &o, &result, &error), M2SNET_STATUS_INVALID_ARGUMENT,
           "ensemble is NULL");
    o.ensemble = members;
    o.ensemble_count = 2;
    REFUSE(m2snet_predict(r->session, &picture, &o, &result, &error), M2SNET_STATUS_INVALID_ARGUMENT,
           "ensemble[1] is there twice");
    o.ensemble_count = M2SNET_MAX_ENSEMBLE + 1;
    REFUSE(m2snet_predict(r->session, &picture, &o, &result, &error), M2SNET_STATUS_INVALID_ARGUMENT, "ensemble_count");
    members[1] = r->session;
    o.ensemble_count = 2;
    REFUSE(m2snet_predict(r->session, &picture, &o, &result, &error), M2SNET_STATUS_INVALID_ARGUMENT,
           "it is the session of the call");
    members[1] = NULL;
    REFUSE(m2snet_predict(r->session, &picture, &o, &result, &error), M2SNET_STATUS_INVALID_ARGUMENT,
           "ensemble[1] is NULL");
    members[1] = session_of(r->model, 96, 64, M2SNET_PRECISION_F32);
    REFUSE(m2snet_predict(r->session, &picture, &o, &result, &error), M2SNET_STATUS_MISMATCH, "96x64 px");
    m2snet_session_destroy(members[1]);
    m2snet_model *pair;
    OK(m2snet_model_create(r->context, "{" TINY_SHAPE ",\"classes\":[\"a\",\"b\"]}", 3, &pair, &error));
    members[1] = open_session(pair);
    REFUSE(m2snet_predict(r->session, &picture, &o, &result, &error), M2SNET_STATUS_MISMATCH, "2 classes");
    m2snet_session_destroy(members[1]);
    m2snet_model_destroy(pair);
    test_other_classes(r);
    /* Whatever was entered has been left again. */
    o.ensemble_count = 1;
    m2snet_result_destroy(predict(r->session, &picture, &o));
    free_picture(&picture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_window),
        cmocka_unit_test(test_weighted_mean),
        cmocka_unit_test(test_small_pictures),
        cmocka_unit_test(test_mirror_means),
        cmocka_unit_test(test_mirror_symmetry),
        cmocka_unit_test(test_ensemble),
        cmocka_unit_test(test_threads_and_backends),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_between_windows),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
