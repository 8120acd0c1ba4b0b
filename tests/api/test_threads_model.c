/* SPDX-License-Identifier: Apache-2.0
 * Sixteen threads on one model; contexts made and ended at once; cancel and progress across threads. Meant for
 * ThreadSanitizer, and right without it. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "common/api_fixture.h"

#define THREADS 16

/* cmocka's asserts belong to the main thread: others count what went wrong. */
typedef struct worker {
    m2snet_context *context;
    m2snet_model *model;
    const m2snet_image *picture;
    const m2snet_result *truth;
    m2snet_cancel *cancel;
    m2snet_session *session; /* its own */
    int number;
    int faults, cancelled;
    m2snet_error error;
} worker;

static void run_all(worker *workers, size_t count, void *(*start)(void *))
{
    pthread_t threads[THREADS];
    int faults = 0;

    for (size_t i = 0; i < count; i++) {
        workers[i].number = (int)i;
        assert_int_equal(pthread_create(&threads[i], NULL, start, &workers[i]), 0);
    }
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        if (workers[i].faults > 0) {
            print_error("thread %d: %s\n", (int)i, workers[i].error.message);
        }
        faults += workers[i].faults;
    }
    assert_int_equal(faults, 0);
}

static bool same_maps(const m2snet_result *a, const m2snet_result *b)
{
    size_t pixels = (size_t)m2snet_result_width(a) * (size_t)m2snet_result_height(a);

    return m2snet_result_width(a) == m2snet_result_width(b) && m2snet_result_height(a) == m2snet_result_height(b) &&
           memcmp(m2snet_result_probability(a), m2snet_result_probability(b), pixels * sizeof(float)) == 0;
}

/* ---- one model, many sessions ---- */

static void *predict_often(void *argument)
{
    worker *self = argument;
    m2snet_session_options options;
    m2snet_session *session = NULL;
    m2snet_model_info info = { .struct_size = sizeof info };
    m2snet_context_info used = { .struct_size = sizeof used };

    m2snet_session_options_init(&options);
    options.max_plans = 1 + self->number % 2;
    self->faults += m2snet_session_create(self->model, &options, &session, &self->error) != M2SNET_STATUS_OK;
    for (int i = 0; i < 4 && self->faults == 0; i++) {
        m2snet_result *result = NULL;
        self->faults += m2snet_predict(session, self->picture, NULL, &result, &self->error) != M2SNET_STATUS_OK;
        self->faults += result == NULL || !same_maps(result, self->truth);
        m2snet_result_destroy(result);
        switch ((i + self->number) % 4) { /* what else goes on around a model */
        case 0:
            self->faults += m2snet_session_trim(session, &self->error) != M2SNET_STATUS_OK;
            break;
        case 1:
            self->faults += m2snet_session_prepare(session, 1, 40, 48, NULL, &self->error) != M2SNET_STATUS_OK;
            break;
        case 2:
            self->faults += m2snet_model_get_info(self->model, &info, &self->error) != M2SNET_STATUS_OK;
            break;
        default:
            self->faults += m2snet_context_get_info(self->context, &used, &self->error) != M2SNET_STATUS_OK;
        }
    }
    m2snet_session_destroy(session);
    return NULL;
}

static void many_sessions(const char *backend, int32_t pool_threads)
{
    m2snet_context *context = open_context(backend, pool_threads);
    m2snet_model *model = tiny_model(context);
    m2snet_session *session = open_session(model);
    m2snet_image picture = noise_picture(70, 50);
    m2snet_result *truth;
    worker workers[THREADS] = { 0 };
    m2snet_error error;

    OK(m2snet_predict(session, &picture, NULL, &truth, &error));
    m2snet_session_destroy(session);
    uint64_t before = memory_used(context);
    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (worker){ .context = context, .model = model, .picture = &picture, .truth = truth };
    }
    run_all(workers, THREADS, predict_often);
    session = open_session(model); /* packed weights that nobody uses go with a trim */
    OK(m2snet_session_trim(session, &error));
    m2snet_session_destroy(session);
    assert_true(memory_used(context) <= before);
    m2snet_result_destroy(truth);
    free_picture(&picture);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
}

static void test_one_model(void **state)
{
    (void)state;
    many_sessions("cpu", 4);
    many_sessions("cpu", 1);
    many_sessions("ref", 3);
}

/* ---- windows, mirrored, of two sessions; and what is inside ---- */

static void *view_often(void *argument)
{
    static const char *const names[] = { "x4_x3" };
    worker *self = argument;
    m2snet_session *session = NULL, *member = NULL;

    self->faults += m2snet_session_create(self->model, NULL, &session, &self->error) != M2SNET_STATUS_OK ||
                    m2snet_session_create(self->model, NULL, &member, &self->error) != M2SNET_STATUS_OK;
    for (int i = 0; i < 3 && self->faults == 0; i++) {
        m2snet_predict_options options;
        m2snet_result *result = NULL;
        m2snet_predict_options_init(&options);
        options.tiles = 1;
        options.mirror = M2SNET_MIRROR_HORIZONTAL;
        options.ensemble = &member;
        options.ensemble_count = 1;
        self->faults += m2snet_predict(session, self->picture, &options, &result, &self->error) != M2SNET_STATUS_OK;
        self->faults += result == NULL || !same_maps(result, self->truth);
        m2snet_result_destroy(result);
        m2snet_predict_options_init(&options);
        options.features = names;
        options.feature_count = 1;
        options.gradcam = "enc3";
        self->faults += m2snet_predict(session, self->picture, &options, &result, &self->error) != M2SNET_STATUS_OK;
        m2snet_result_destroy(result);
    }
    m2snet_session_destroy(member);
    m2snet_session_destroy(session);
    return NULL;
}

static void test_views(void **state)
{
    m2snet_context *context = open_context("cpu", 3);
    m2snet_model *model = tiny_model(context);
    m2snet_session *sessions[2] = { open_session(model), open_session(model) };
    m2snet_image picture = noise_picture(90, 70);
    m2snet_predict_options options;
    m2snet_result *truth;
    worker workers[6] = { 0 };
    m2snet_error error;

    (void)state;
    m2snet_predict_options_init(&options);
    options.tiles = 1;
    options.mirror = M2SNET_MIRROR_HORIZONTAL;
    options.ensemble = &sessions[1];
    options.ensemble_count = 1;
    OK(m2snet_predict(sessions[0], &picture, &options, &truth, &error));
    for (size_t i = 0; i < COUNT(workers); i++) {
        workers[i] = (worker){ .context = context, .model = model, .picture = &picture, .truth = truth };
    }
    run_all(workers, COUNT(workers), view_often);
    m2snet_result_destroy(truth);
    m2snet_session_destroy(sessions[0]);
    m2snet_session_destroy(sessions[1]);
    free_picture(&picture);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
}

/* ---- the last reference goes on any thread ---- */

static void *use_and_drop(void *argument)
{
    worker *self = argument;
    m2snet_result *result = NULL;

    self->faults += m2snet_predict(self->session, self->picture, NULL, &result, &self->error) != M2SNET_STATUS_OK;
    m2snet_session_destroy(self->session); /* the parents' handles are gone already */
    m2snet_result_destroy(result);
    return NULL;
}

static void test_orphans(void **state)
{
    m2snet_context *context = open_context("cpu", 2);
    m2snet_model *model = tiny_model(context);
    m2snet_image picture = noise_picture(40, 40);
    worker workers[8] = { 0 };

    (void)state;
    for (size_t i = 0; i < COUNT(workers); i++) {
        workers[i].picture = &picture;
        workers[i].session = open_session(model);
    }
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
    run_all(workers, COUNT(workers), use_and_drop);
    free_picture(&picture);
}

/* ---- contexts ---- */

static void *live_and_die(void *argument)
{
    worker *self = argument;

    for (int i = 0; i < 3 && self->faults == 0; i++) {
        m2snet_context_options options;
        m2snet_context *context = NULL;
        m2snet_model *model = NULL;
        m2snet_session *session = NULL;
        m2snet_result *result = NULL;
        m2snet_context_options_init(&options);
        options.backend = (self->number + i) % 3 == 0 ? "ref" : "cpu";
        options.threads = 1 + (self->number + i) % 3;
        self->faults += m2snet_context_create(&options, &context, &self->error) != M2SNET_STATUS_OK ||
                        m2snet_model_create(context, TINY_CONFIG, TINY_SEED, &model, &self->error) != 0 ||
                        m2snet_session_create(model, NULL, &session, &self->error) != M2SNET_STATUS_OK ||
                        m2snet_predict(session, self->picture, NULL, &result, &self->error) != M2SNET_STATUS_OK;
        m2snet_context_destroy(context);
        m2snet_model_destroy(model);
        m2snet_session_destroy(session);
        m2snet_result_destroy(result);
    }
    return NULL;
}

static void test_contexts(void **state)
{
    m2snet_image picture = noise_picture(40, 30);
    worker workers[THREADS] = { 0 };

    (void)state;
    for (size_t i = 0; i < THREADS; i++) {
        workers[i].picture = &picture;
    }
    run_all(workers, THREADS, live_and_die);
    free_picture(&picture);
}

/* ---- images and tensors on one context ---- */

static void *draw(void *argument)
{
    worker *self = argument;
    uint8_t small[20 * 20 * 3], inside[20 * 20];
    m2snet_image dst = { .data = small, .width = 20, .height = 20, .format = M2SNET_PIXEL_RGB8 };
    m2snet_image mask = { .data = inside, .width = 20, .height = 20, .format = M2SNET_PIXEL_GRAY8 }, overlay;

    memset(inside, 0, sizeof inside);
    inside[210] = 255;
    for (int i = 0; i < 5 && self->faults == 0; i++) {
        self->faults += m2snet_image_resize(self->context, self->picture, &dst, &self->error) != M2SNET_STATUS_OK ||
                        m2snet_image_overlay(self->context, &dst, &mask, 0xff, 1, &overlay, &self->error) != 0;
        m2snet_image_release(&overlay);
    }
    return NULL;
}

static void test_images(void **state)
{
    m2snet_context *context = open_context("cpu", 3);
    m2snet_image picture = noise_picture(200, 150);
    worker workers[THREADS] = { 0 };

    (void)state;
    uint64_t before = memory_used(context);
    for (size_t i = 0; i < THREADS; i++) {
        workers[i].context = context;
        workers[i].picture = &picture;
    }
    run_all(workers, THREADS, draw);
    assert_int_equal(memory_used(context), before);
    free_picture(&picture);
    m2snet_context_destroy(context);
}

/* ---- cancel ---- */

static void *run_until_cancelled(void *argument)
{
    worker *self = argument;
    m2snet_session *session = NULL;
    m2snet_predict_options options;

    m2snet_predict_options_init(&options);
    options.control.cancel = self->cancel;
    self->faults += m2snet_session_create(self->model, NULL, &session, &self->error) != M2SNET_STATUS_OK;
    for (int i = 0; i < 100000 && self->cancelled == 0 && self->faults == 0; i++) {
        m2snet_result *result = NULL;
        m2snet_status status = m2snet_predict(session, self->picture, &options, &result, &self->error);
        self->cancelled += status == M2SNET_STATUS_CANCELLED;
        self->faults += status != M2SNET_STATUS_OK && status != M2SNET_STATUS_CANCELLED;
        self->faults += (result != NULL) != (status == M2SNET_STATUS_OK);
        m2snet_result_destroy(result);
    }
    self->faults += self->cancelled != 1;
    /* Without the token the session goes on as before. */
    m2snet_result *result = NULL;
    self->faults += m2snet_predict(session, self->picture, NULL, &result, &self->error) != M2SNET_STATUS_OK;
    self->faults += result == NULL || !same_maps(result, self->truth);
    m2snet_result_destroy(result);
    m2snet_session_destroy(session);
    return NULL;
}

static void test_cancel(void **state)
{
    m2snet_context *context = open_context("cpu", 3);
    m2snet_model *model = tiny_model(context);
    m2snet_session *session = open_session(model);
    m2snet_image picture = noise_picture(60, 60);
    m2snet_result *truth;
    m2snet_cancel *cancel;
    worker workers[6] = { 0 };
    pthread_t threads[COUNT(workers)];
    m2snet_error error;

    (void)state;
    OK(m2snet_cancel_create(&cancel, &error));
    OK(m2snet_predict(session, &picture, NULL, &truth, &error));
    for (size_t i = 0; i < COUNT(workers); i++) {
        workers[i] = (worker){ .context = context, .model = model, .picture = &picture, .truth = truth };
        workers[i].cancel = cancel;
        assert_int_equal(pthread_create(&threads[i], NULL, run_until_cancelled, &workers[i]), 0);
    }
    nanosleep(&(struct timespec){ .tv_nsec = 30 * 1000 * 1000 }, NULL);
    m2snet_cancel_request(cancel);
    for (size_t i = 0; i < COUNT(workers); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        if (workers[i].faults > 0) {
            fail_msg("thread %d: %s", (int)i, workers[i].error.message);
        }
    }
    m2snet_cancel_destroy(cancel);
    m2snet_result_destroy(truth);
    m2snet_session_destroy(session);
    free_picture(&picture);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
}

/* ---- the callbacks come on the caller's thread ---- */

typedef struct watcher {
    pthread_t caller;
    int calls, elsewhere;
} watcher;

static int note_thread(void *user, const m2snet_progress *progress)
{
    watcher *self = user;

    (void)progress;
    self->calls++;
    self->elsewhere += !pthread_equal(self->caller, pthread_self());
    return 0;
}

static void test_callback_thread(void **state)
{
    m2snet_context *context = open_context("cpu", 4);
    m2snet_model *model = tiny_model(context);
    m2snet_session *session = open_session(model);
    m2snet_image picture = noise_picture(60, 60);
    m2snet_result *result;
    watcher self = { .caller = pthread_self() };
    m2snet_predict_options options;
    m2snet_error error;

    (void)state;
    m2snet_predict_options_init(&options);
    options.control.progress = note_thread;
    options.control.progress_user = &self;
    OK(m2snet_predict(session, &picture, &options, &result, &error));
    assert_int_equal(self.elsewhere, 0);
    assert_true(self.calls > 0);
    m2snet_result_destroy(result);
    m2snet_session_destroy(session);
    free_picture(&picture);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_model),       cmocka_unit_test(test_views),  cmocka_unit_test(test_orphans),
        cmocka_unit_test(test_contexts),        cmocka_unit_test(test_images), cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_callback_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
