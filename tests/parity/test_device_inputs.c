/* SPDX-License-Identifier: Apache-2.0
 * Predictions whose inputs the device makes against the same ones with inputs from the host: formats, regions, windows,
 * mirror images, batches, ensembles; and which are left to the host.
 *
 *     test_device_inputs BACKEND   (cuda: M2SNET_BACKEND_PATH); without it the test is skipped */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/api_fixture.h"
#include "net/names.h"
#include "run/predict.h"

#define SIDE 64 /* of the networks' input */

/* One model in two contexts that differ in who makes the inputs. */
typedef struct rig {
    m2snet_context *context;
    m2s_backend backend; /* the context's table, changed */
    m2snet_model *model, *other;
    m2snet_session *session, *second;
} rig;

static const char *name;
static rig device, host;

/* ---- the device's table, watched ---- */

static m2snet_status (*real_prepare)(m2s_device *device, m2s_buffer *buffer, const m2s_prepare_request *request,
                                     m2s_buffer *room, m2snet_error *error);
static int prepared;

static m2snet_status counted_prepare(m2s_device *on, m2s_buffer *buffer, const m2s_prepare_request *request,
                                     m2s_buffer *room, m2snet_error *error)
{
    prepared++;
    return real_prepare(on, buffer, request, room, error);
}

static m2snet_session *session_of(m2snet_model *model, uint64_t limit_bytes)
{
    m2snet_session_options options;
    m2snet_session *session;
    m2snet_error error;

    m2s_session_options_default(&options);
    options.memory_limit_bytes = limit_bytes;
    OK(m2s_session_create(model, &options, &session, &error));
    return session;
}

static void open_rig(rig *r)
{
    m2snet_context_options options;
    m2snet_error error;

    m2s_context_options_default(&options);
    options.backend = name;
    options.threads = 1;
    OK(m2s_context_create(&options, &r->context, &error));
    assert_non_null(r->context->backend->buffer_prepare);
    real_prepare = r->context->backend->buffer_prepare;
    r->backend = *r->context->backend;
    r->backend.buffer_prepare = r == &device ? counted_prepare : NULL;
    r->context->backend = &r->backend;
    OK(m2s_model_create(r->context, TINY_CONFIG, TINY_SEED, &r->model, &error));
    OK(m2s_model_create(r->context, "{" TINY_SHAPE ",\"mean\":[0.3,0.31,0.32],\"std\":[0.2,0.3,0.4]}", TINY_SEED,
                        &r->other, &error));
    r->session = session_of(r->model, 0);
    r->second = session_of(r->other, 0);
}

static void close_rig(rig *r)
{
    m2s_session_destroy(r->session);
    m2s_session_destroy(r->second);
    m2s_model_release(r->model);
    m2s_model_release(r->other);
    m2s_context_release(r->context);
}

/* ---- pictures ---- */

/* Rows behind one another from the last to the first when upside_down. */
static m2snet_image draw(m2snet_pixel_format format, int32_t width, int32_t height, bool upside_down)
{
    size_t row = (size_t)width * (size_t)m2s_pixel_bytes(format), bytes = row * (size_t)height;
    uint8_t *data = malloc(bytes);

    for (size_t i = 0; i < bytes; i++) {
        data[i] = (uint8_t)((i * 2654435761u >> 13) ^ (i >> 4));
    }
    for (size_t i = 0; format == M2SNET_PIXEL_F32 && i < bytes / sizeof(float); i++) {
        float value = (float)(i % 1013) / 1012.0f;
        memcpy(data + i * sizeof value, &value, sizeof value);
    }
    return (m2snet_image){ .data = upside_down ? data + bytes - row : data,
                           .width = width,
                           .height = height,
                           .row_stride_bytes = upside_down ? -(ptrdiff_t)row : 0,
                           .format = format };
}

static void free_drawn(const m2snet_image *image)
{
    uintptr_t data = (uintptr_t)image->data;

    free((void *)(image->row_stride_bytes < 0
                      ? data - (uintptr_t)(image->height - 1) * (uintptr_t)-image->row_stride_bytes
                      : data));
}

/* ---- one prediction in both ways ---- */

typedef struct scene {
    const char *name;
    m2snet_pixel_format format;
    int32_t width, height;
    bool upside_down;
    m2s_rect region;
    bool tiles;
    m2snet_mirror mirror;
    int32_t count; /* of pictures, each a little larger than the one before */
    bool ensemble, features;
    int calls; /* of buffer_prepare: runs of a network whose inputs the device makes */
} scene;

#define RGB8 M2SNET_PIXEL_RGB8

static const scene scenes[] = {
    { "RGB8", RGB8, 90, 70, .count = 1, .calls = 1 },
    { "BGR8", M2SNET_PIXEL_BGR8, 90, 70, .count = 1, .calls = 1 },
    { "RGBA8", M2SNET_PIXEL_RGBA8, 50, 130, .count = 1, .calls = 1 },
    { "BGRA8", M2SNET_PIXEL_BGRA8, 31, 33, .count = 1, .calls = 1 },
    { "GRAY8", M2SNET_PIXEL_GRAY8, 111, 40, .count = 1, .calls = 1 },
    { "GRAY16: the host", M2SNET_PIXEL_GRAY16, 90, 70, .count = 1, .calls = 0 },
    { "F32: the host", M2SNET_PIXEL_F32, 90, 70, .count = 1, .calls = 0 },
    { "features: the host", RGB8, 90, 70, .count = 1, .features = true, .calls = 0 },
    { "one pixel", RGB8, 1, 1, .count = 1, .calls = 1 },
    { "the input's size", RGB8, SIDE, SIDE, .count = 1, .calls = 1 },
    { "rows from below", RGB8, 90, 70, .upside_down = true, .count = 1, .calls = 1 },
    { "a region", RGB8, 90, 70, .region = { 11, 7, 60, 41 }, .count = 1, .calls = 1 },
    { "a region of BGRA8", M2SNET_PIXEL_BGRA8, 90, 70, .region = { 3, 1, 7, 69 }, .count = 1, .calls = 1 },
    { "mirrored", RGB8, 90, 70, .mirror = M2SNET_MIRROR_HORIZONTAL, .count = 1, .calls = 1 },
    { "turned over", RGB8, 90, 70, .mirror = M2SNET_MIRROR_VERTICAL, .count = 1, .calls = 1 },
    { "both", M2SNET_PIXEL_GRAY8, 90, 70, .mirror = M2SNET_MIRROR_BOTH, .count = 1, .calls = 1 },
    { "a batch", RGB8, 90, 70, .count = 5, .calls = 2 },
    { "a batch, mirrored", RGB8, 90, 70, .mirror = M2SNET_MIRROR_HORIZONTAL, .count = 3, .calls = 2 },
    { "windows", RGB8, 150, 100, .tiles = true, .count = 1, .calls = 3 },
    { "windows in a region", RGB8, 150, 100, .region = { 9, 8, 80, 70 }, .tiles = true, .count = 1, .calls = 1 },
    { "a window around the picture", RGB8, 41, 30, .tiles = true, .mirror = M2SNET_MIRROR_BOTH, .count = 1,
      .calls = 1 },
    { "an ensemble", RGB8, 90, 70, .count = 2, .ensemble = true, .calls = 2 },
    { "more than the pinned memory", RGB8, 3100, 1000, .count = 1, .calls = 1 },
};

#define MOST_PICTURES 5

typedef struct outcome {
    m2snet_result *results[MOST_PICTURES];
    float *inputs[2]; /* of each network's last run */
    size_t input_count;
} outcome;

static float *inputs_of(const m2snet_session *session, size_t *count)
{
    const m2s_graph *graph = m2s_program_graph(session->last);
    m2snet_error error;

    *count = (size_t)m2s_shape_elements(m2s_shape_of(graph, m2s_graph_find(graph, M2S_NAME_IMAGE)));
    float *numbers = malloc(*count * sizeof *numbers);
    OK(m2s_program_read(session->last, M2S_NAME_IMAGE, numbers, &error));
    return numbers;
}

static void predict(rig *r, const scene *s, const m2snet_image *images, outcome *made)
{
    static const char *const features[] = { "enc2" };
    m2snet_predict_options o;
    m2snet_error error;

    m2s_predict_options_default(&o);
    o.roi_x = s->region.x;
    o.roi_y = s->region.y;
    o.roi_width = s->region.width;
    o.roi_height = s->region.height;
    o.tiles = s->tiles;
    o.mirror = s->mirror;
    o.ensemble = &r->second;
    o.ensemble_count = s->ensemble;
    o.features = features;
    o.feature_count = s->features;
    for (int again = 0; again < 2; again++) { /* what one leaves in the scratch memory does not matter */
        for (int32_t i = 0; i < s->count && again == 1; i++) {
            m2s_result_destroy(made->results[i]);
        }
        OK(m2s_session_enter(r->session, &error));
        OK(m2s_predict(r->session, images, s->count, &o, made->results, &error));
        m2s_session_leave(r->session);
    }
    for (int i = 0; i < 1 + s->ensemble; i++) {
        made->inputs[i] = inputs_of(i == 0 ? r->session : r->second, &made->input_count);
    }
}

/* Numbers of the inputs are the same bytes, each divided, subtracted and divided again: 2.64 at most. A gray level is
 * 0.0098 or more. The small network multiplies what is left by less than ten. */
#define INPUT_BOUND       (4.0 * (double)FLT_EPSILON)
#define PROBABILITY_BOUND 1e-5

static double largest_difference(const float *a, const float *b, size_t count)
{
    double largest = 0.0;

    for (size_t i = 0; i < count; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        largest = d > largest || isnan(d) ? d : largest;
    }
    return largest;
}

static double worst_input, worst_probability;

static void check(const scene *s)
{
    m2snet_image images[MOST_PICTURES];
    outcome made = { 0 }, truth = { 0 };

    for (int32_t i = 0; i < s->count; i++) {
        images[i] = draw(s->format, s->width + 7 * i, s->height + 3 * i, s->upside_down);
    }
    prepared = 0;
    predict(&device, s, images, &made);
    assert_int_equal(prepared, 2 * s->calls);
    predict(&host, s, images, &truth);
    assert_int_equal(prepared, 2 * s->calls);
    assert_int_equal(made.input_count, truth.input_count);
    for (int i = 0; i < 1 + s->ensemble; i++) {
        double d = largest_difference(made.inputs[i], truth.inputs[i], truth.input_count);
        if (!(d <= INPUT_BOUND)) {
            fail_msg("%s: a number of input %d is off by %.3g", s->name, i, d);
        }
        worst_input = fmax(worst_input, d);
        free(made.inputs[i]);
        free(truth.inputs[i]);
    }
    for (int32_t i = 0; i < s->count; i++) {
        const m2snet_result *a = made.results[i], *b = truth.results[i];
        size_t pixels = (size_t)images[i].width * (size_t)images[i].height;
        double d = largest_difference(a->segmentation.probability, b->segmentation.probability, pixels);
        if (!(d <= PROBABILITY_BOUND)) {
            fail_msg("%s: a probability of picture %d is off by %.3g", s->name, (int)i, d);
        }
        worst_probability = fmax(worst_probability, d);
        assert_string_equal(a->preprocessing, b->preprocessing);
        assert_string_equal(a->views, b->views);
        m2s_result_destroy(made.results[i]);
        m2s_result_destroy(truth.results[i]);
        free_drawn(&images[i]);
    }
}

static void test_scenes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(scenes); i++) {
        check(&scenes[i]);
    }
    print_message("%zu predictions: inputs off by at most %.2e, probabilities by %.2e\n", COUNT(scenes), worst_input,
                  worst_probability);
}

/* A picture that a session's limit leaves no room for on the device is made ready by the host. */
static void test_limit(void **state)
{
    const m2snet_image large = draw(RGB8, 1200, 800, false), small = draw(RGB8, 70, 60, false);
    m2snet_result *result;
    m2s_program *program;
    m2s_plan_info info;
    m2snet_error error;

    (void)state;
    OK(m2s_session_plan_for(device.session, 1, SIDE, SIDE, NULL, &program, &error));
    m2s_program_info(program, &info);
    assert_true(info.arena_bytes < 1200 * 800 * 3);
    m2snet_session *session = session_of(device.model, info.arena_bytes);
    prepared = 0;
    for (int i = 0; i < 2; i++) {
        OK(m2s_session_enter(session, &error));
        OK(m2s_predict(session, i == 0 ? &small : &large, 1, NULL, &result, &error));
        m2s_session_leave(session);
        m2s_result_destroy(result);
        assert_int_equal(prepared, 1);
        assert_int_equal(session->arena_bytes, info.arena_bytes);
    }
    m2s_session_destroy(session);
    free_drawn(&large);
    free_drawn(&small);
}

/* Asked to stop at the first report of "prepare": cancelled before the device does anything. */
static int stop_at_prepare(void *user, const m2snet_progress *progress)
{
    int *reports = user;
    bool here = strcmp(progress->phase, "prepare") == 0;

    *reports += here;
    return here;
}

static void test_cancel(void **state)
{
    const m2snet_image image = draw(RGB8, 90, 70, false);
    m2snet_predict_options o;
    m2snet_result *result;
    m2snet_error error;
    int reports = 0;

    (void)state;
    m2s_predict_options_default(&o);
    OK(m2s_session_enter(device.session, &error));
    OK(m2s_predict(device.session, &image, 1, &o, &result, &error));
    m2s_result_destroy(result);
    o.control.progress = stop_at_prepare;
    o.control.progress_user = &reports;
    prepared = 0;
    REFUSE(m2s_predict(device.session, &image, 1, &o, &result, &error), M2SNET_STATUS_CANCELLED, "prepare");
    m2s_session_leave(device.session);
    assert_int_equal(reports, 1);
    assert_int_equal(prepared, 0);
    free_drawn(&image);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_scenes), cmocka_unit_test(test_limit),
                                        cmocka_unit_test(test_cancel) };

    if (argc < 2) {
        printf("skipped: for a backend that makes inputs; name it\n");
        return 77;
    }
    name = argv[1];
    open_rig(&device);
    open_rig(&host);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    close_rig(&device);
    close_rig(&host);
    return failed;
}
