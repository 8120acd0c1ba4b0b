/* SPDX-License-Identifier: Apache-2.0
 * Predictions whose inputs the device makes against the same ones with inputs from the host: formats, regions, windows,
 * mirror images, batches, ensembles; and which are left to the host. Batches of a training in the same way.
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
#include "common/dataset_fixture.h"
#include "net/names.h"
#include "run/predict.h"
#include "train/dataset.h"
#include "train/trainer.h"

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
static m2snet_status (*real_augment)(m2s_device *device, m2s_buffer *images, m2s_buffer *masks,
                                     const m2s_augment_request *request, m2s_buffer *scratch, m2snet_error *error);
static int prepared, unfinished, finished; /* requests; pictures of a batch */

static m2snet_status counted_prepare(m2s_device *on, m2s_buffer *buffer, const m2s_prepare_request *request,
                                     m2s_buffer *room, m2snet_error *error)
{
    prepared++;
    return real_prepare(on, buffer, request, room, error);
}

static m2snet_status counted_augment(m2s_device *on, m2s_buffer *images, m2s_buffer *masks,
                                     const m2s_augment_request *request, m2s_buffer *room, m2snet_error *error)
{
    for (int32_t i = 0; i < request->count; i++) {
        unfinished += request->jobs[i].rgbm != NULL;
        finished += request->jobs[i].rgbm == NULL;
    }
    return real_augment(on, images, masks, request, room, error);
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
    real_augment = r->context->backend->buffer_augment;
    r->backend = *r->context->backend;
    r->backend.buffer_prepare = r == &device ? counted_prepare : NULL;
    r->backend.buffer_augment = r == &device ? counted_augment : NULL;
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

static float *input_of(const m2s_program *program, const char *input, size_t *count)
{
    const m2s_graph *graph = m2s_program_graph(program);
    m2snet_error error;

    *count = (size_t)m2s_shape_elements(m2s_shape_of(graph, m2s_graph_find(graph, input)));
    float *numbers = malloc(*count * sizeof *numbers);
    OK(m2s_program_read(program, input, numbers, &error));
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
        made->inputs[i] = input_of((i == 0 ? r->session : r->second)->last, M2S_NAME_IMAGE, &made->input_count);
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

/* ---- training ---- */

#define PAIRS 6

static void keep_loss(void *user, const m2snet_train_row *row)
{
    *(double *)user = row->loss;
}

/* A step; its inputs, and its loss. */
static double train(rig *r, const dataset_files *files, const m2snet_augment_options *augment, float *inputs[2],
                    size_t counts[2])
{
    const int32_t side = SIDE;
    m2snet_source_options source;
    m2snet_trainer_options options;
    m2snet_fit_options fit;
    m2snet_trainer *trainer;
    m2snet_dataset *data;
    m2snet_error error;
    double loss = 0.0;

    m2s_source_options_default(&source);
    OK(m2s_dataset_create(r->context, &data, &error));
    OK(m2s_dataset_add_folders(data, dataset_path(files, "images"), dataset_path(files, "masks"), &source, &error));
    m2snet_trainer_options_init(&options);
    OK(m2snet_trainer_create(r->model, &options, &trainer, &error));
    m2snet_fit_options_init(&fit);
    fit.batch = PAIRS;
    fit.sizes_px = &side;
    fit.size_count = 1;
    fit.augment = augment;
    fit.max_steps = 1;
    fit.shrink_px = augment->first_size_px > 0 ? 0 : 400;
    fit.row = keep_loss;
    fit.user = &loss;
    OK(m2snet_trainer_fit(trainer, data, NULL, &fit, NULL, &error));
    inputs[0] = input_of(trainer->last, M2S_NAME_IMAGE, &counts[0]);
    inputs[1] = input_of(trainer->last, M2S_NAME_MASK, &counts[1]);
    m2snet_trainer_destroy(trainer);
    m2s_dataset_destroy(data);
    return loss;
}

/* Roundings of places, products and sums, of a blur's too (test_pictures.c); where a rounding decides whether a pixel
 * is inside the picture, the whole pixel may differ. */
#define PICTURE_BOUND (64.0 * (double)FLT_EPSILON)

static void test_training(void **state)
{
    static const char *const presets[] = { "none", "compact", "released", "nnunet" };
    dataset_files files;

    (void)state;
    dataset_files_make(&files);
    for (int i = 0; i < PAIRS; i++) { /* the last two take more room than a finished picture */
        char pair[16];
        snprintf(pair, sizeof pair, "p%d", i);
        dataset_pair(&files, pair, i < 4 ? 60 + 7 * i : 230, i < 4 ? 90 - 5 * i : 150 + i, (uint32_t)i);
    }
    for (size_t p = 0; p < COUNT(presets); p++) {
        bool nnunet = strcmp(presets[p], "nnunet") == 0;
        m2snet_augment_options augment = { .struct_size = sizeof augment };
        float *made[2], *truth[2];
        size_t counts[2];
        m2snet_error error;
        OK(m2snet_augment_options_init(&augment, presets[p], &error));
        augment.first_size_px = augment.first_size_px > 0 ? 56 : 0;
        augment.p_blur = augment.p_noise = p == 1 ? 1.0 : augment.p_blur;
        augment.noise_low = augment.noise_high = p == 1 ? 0.05 : augment.noise_high;
        augment.blur_low_px = augment.blur_high_px = p == 1 ? 1.3 : augment.blur_high_px;
        unfinished = finished = 0;
        double loss = train(&device, &files, &augment, made, counts);
        assert_int_equal(unfinished, nnunet ? 0 : 4);
        assert_int_equal(finished, nnunet ? PAIRS : 2);
        double wanted = train(&host, &files, &augment, truth, counts);
        for (int k = 0; k < 2; k++) {
            double worst = 0.0;
            size_t off = 0;
            for (size_t i = 0; i < counts[k]; i++) {
                double d = fabs((double)made[k][i] - (double)truth[k][i]);
                off += !(d <= PICTURE_BOUND);
                worst = d > worst || isnan(d) ? d : worst;
            }
            print_message("%s: %s off by at most %.2e\n", presets[p], k == 0 ? "pictures" : "masks", worst);
            if (off * 1000 > counts[k]) {
                fail_msg("%s: %zu of %zu numbers differ, by %.3g at most", presets[p], off, counts[k], worst);
            }
            free(made[k]);
            free(truth[k]);
        }
        assert_true(fabs(loss - wanted) <= 1e-3 * fabs(wanted));
    }
    dataset_files_remove(&files);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_scenes), cmocka_unit_test(test_limit),
                                        cmocka_unit_test(test_cancel), cmocka_unit_test(test_training) };

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
