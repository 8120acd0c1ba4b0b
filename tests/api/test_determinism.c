/* SPDX-License-Identifier: Apache-2.0
 * The same bits for any number of threads, any repetition, any place in a batch, alone or beside other sessions. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/api_fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOW 1 /* a part of it will do */
#else
#define SLOW 0
#endif

static m2snet_context *open_isa(const char *backend, int32_t threads, const char *instruction_set)
{
    m2snet_context_options options;
    m2snet_context *context = NULL;
    m2snet_error error;

    m2snet_context_options_init(&options);
    options.backend = backend;
    options.threads = threads;
    options.instruction_set = instruction_set;
    m2snet_status status = m2snet_context_create(&options, &context, &error);
    if (status != M2SNET_STATUS_UNSUPPORTED) { /* a processor without AVX-512, say */
        assert_ok(status, &error, "m2snet_context_create", __FILE__, __LINE__);
    }
    return context;
}

static m2snet_model *load(m2snet_context *context, const char *path)
{
    m2snet_model *model;
    m2snet_error error;

    if (path == NULL) {
        return tiny_model(context);
    }
    OK(m2snet_model_load_file(context, path, NULL, &model, &error));
    return model;
}

/* n images of h x w, each with its own numbers, image `first` of them being number 0. */
static float *make_input(int64_t n, int64_t h, int64_t w, int64_t first)
{
    size_t image = (size_t)(3 * h * w);
    float *input = malloc((size_t)n * image * sizeof *input);

    assert_non_null(input);
    for (int64_t i = 0; i < n; i++) {
        uint32_t state = (uint32_t)((i - first + n) % n) * 977u + 1u;
        for (size_t k = 0; k < image; k++) {
            state = state * 1664525u + 1013904223u;
            input[(size_t)i * image + k] = (float)(state >> 8) / (float)(1 << 22) - 2.0f;
        }
    }
    return input;
}

static float *run(m2snet_context *context, m2snet_session *session, int64_t n, int64_t h, int64_t w, int64_t first)
{
    float *input = make_input(n, h, w, first), *logits = malloc((size_t)(n * h * w) * sizeof *logits);
    m2snet_tensor_desc in = { .dtype = M2SNET_DTYPE_F32, .n = n, .h = h, .w = w, .c = 3 }, out = in;
    m2snet_tensor *src, *dst;
    m2snet_error error;

    out.c = 1;
    assert_non_null(logits);
    OK(m2snet_tensor_create(context, &in, input, &src, &error));
    OK(m2snet_tensor_create(context, &out, logits, &dst, &error));
    OK(m2snet_session_run(session, src, dst, NULL, &error));
    m2snet_tensor_destroy(src);
    m2snet_tensor_destroy(dst);
    free(input);
    return logits;
}

static void assert_same_logits(const float *a, const float *b, int64_t count, const char *what)
{
    int64_t different = 0;

    for (int64_t i = 0; i < count; i++) {
        different += memcmp(&a[i], &b[i], sizeof *a) != 0;
    }
    if (different > 0) {
        fail_msg("%s: %lld of %lld logits differ", what, (long long)different, (long long)count);
    }
}

static const struct setting {
    const char *name, *backend, *instruction_set, *model;
    int64_t h, w;
} settings[] = {
    { "cpu, compact", "cpu", NULL, COMPACT_MODEL, 96, 96 },
    { "cpu, compact, odd size", "cpu", NULL, COMPACT_MODEL, 75, 113 },
    { "cpu, tiny", "cpu", NULL, NULL, 64, 64 },
    { "cpu avx2, compact", "cpu", "avx2", COMPACT_MODEL, 75, 113 },
    { "cpu avx512, compact", "cpu", "avx512", COMPACT_MODEL, 75, 113 },
    { "cpu baseline, compact", "cpu", "baseline", COMPACT_MODEL, 75, 113 },
    { "cpu baseline, tiny", "cpu", "baseline", NULL, 64, 64 },
    { "ref, tiny", "ref", NULL, NULL, 64, 64 },
    { "ref, tiny, odd size", "ref", NULL, NULL, 37, 51 },
};

static void test_threads_and_repetitions(void **state)
{
    static const int32_t threads[] = { 1, 2, 3, 5, 16 };

    (void)state;
    for (size_t i = 0; i < COUNT(settings); i++) {
        const struct setting *s = &settings[i];
        float *truth = NULL;
        for (size_t t = 0; t < COUNT(threads); t += SLOW ? 3 : 1) {
            m2snet_context *context = open_isa(s->backend, threads[t], s->instruction_set);
            if (context == NULL) {
                break;
            }
            m2snet_model *model = load(context, s->model);
            m2snet_session *session = open_session(model);
            char what[80];
            for (int repetition = 0; repetition < (SLOW ? 1 : 3); repetition++) {
                float *logits = run(context, session, 1, s->h, s->w, 0);
                snprintf(what, sizeof what, "%s, %d threads, run %d", s->name, (int)threads[t], repetition);
                assert_same_logits(logits, truth != NULL ? truth : logits, s->h * s->w, what);
                if (truth == NULL) {
                    truth = logits;
                } else {
                    free(logits);
                }
            }
            assert_int_equal(m2snet_session_trim(session, NULL), 0); /* compiled anew: the same again */
            float *logits = run(context, session, 1, s->h, s->w, 0);
            snprintf(what, sizeof what, "%s, %d threads, new plan", s->name, (int)threads[t]);
            assert_same_logits(logits, truth, s->h * s->w, what);
            free(logits);
            m2snet_session_destroy(session);
            m2snet_model_destroy(model);
            m2snet_context_destroy(context);
        }
        free(truth);
    }
}

static void test_places_in_batches(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(settings); i++) {
        const struct setting *s = &settings[i];
        m2snet_context *context = open_isa(s->backend, 2, s->instruction_set);
        if (context == NULL) {
            continue;
        }
        m2snet_model *model = load(context, s->model);
        m2snet_session *session = open_session(model);
        float *truth = run(context, session, 1, s->h, s->w, 0);
        for (int64_t n = 2; n <= 6; n += SLOW ? 2 : 1) {
            for (int64_t place = 0; place<n; place += n> 3 ? n - 1 : 1) {
                float *logits = run(context, session, n, s->h, s->w, place);
                char what[80];
                snprintf(what, sizeof what, "%s, place %d of %d", s->name, (int)place, (int)n);
                assert_same_logits(logits + place * s->h * s->w, truth, s->h * s->w, what);
                free(logits);
            }
        }
        free(truth);
        m2snet_session_destroy(session);
        m2snet_model_destroy(model);
        m2snet_context_destroy(context);
    }
}

/* ---- side by side ---- */

typedef struct neighbour {
    m2snet_context *context;
    m2snet_model *model;
    float *logits[3];
} neighbour;

static void *run_beside(void *argument)
{
    neighbour *self = argument;
    m2snet_session *session = open_session(self->model);

    for (int i = 0; i < 3; i++) {
        self->logits[i] = run(self->context, session, 1, 96, 96, 0);
    }
    m2snet_session_destroy(session);
    return NULL;
}

static void test_side_by_side(void **state)
{
    m2snet_context *context = open_context("cpu", 3);
    m2snet_model *model = load(context, COMPACT_MODEL);
    m2snet_session *session = open_session(model);
    float *truth = run(context, session, 1, 96, 96, 0);
    neighbour neighbours[4];
    pthread_t threads[4];

    (void)state;
    for (size_t i = 0; i < COUNT(threads); i++) {
        neighbours[i] = (neighbour){ .context = context, .model = model };
        assert_int_equal(pthread_create(&threads[i], NULL, run_beside, &neighbours[i]), 0);
    }
    for (size_t i = 0; i < COUNT(threads); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        for (int k = 0; k < 3; k++) {
            assert_same_logits(neighbours[i].logits[k], truth, 96 * 96, "a session beside others");
            free(neighbours[i].logits[k]);
        }
    }
    free(truth);
    m2snet_session_destroy(session);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
}

/* Other shapes before, other plans in the cache, another arena: nothing remembers. */
static void test_history(void **state)
{
    m2snet_context *context = open_context("cpu", 2);
    m2snet_model *model = load(context, COMPACT_MODEL);
    m2snet_session *fresh = open_session(model), *used = open_session(model);

    (void)state;
    float *truth = run(context, fresh, 1, 80, 80, 0);
    free(run(context, used, 3, 120, 64, 0));
    free(run(context, used, 1, 33, 33, 0));
    float *logits = run(context, used, 1, 80, 80, 0);
    assert_same_logits(logits, truth, 80 * 80, "after other shapes");
    free(logits);
    free(truth);
    m2snet_session_destroy(fresh);
    m2snet_session_destroy(used);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
}

/* The same seed makes the same weights, whatever the context. */
static void test_created_weights(void **state)
{
    m2snet_context *contexts[2] = { open_context("cpu", 1), open_context("ref", 4) };
    scratch files;
    unsigned char *bytes[3];
    size_t size[3];
    m2snet_error error;

    (void)state;
    scratch_make(&files);
    for (size_t i = 0; i < 3; i++) {
        m2snet_model *model;
        const char *path = scratch_path(&files, "seeded.safetensors");
        OK(m2snet_model_create(contexts[i % 2], TINY_CONFIG, i == 2 ? 8 : 7, &model, &error));
        OK(m2snet_model_save_file(model, path, NULL, &error));
        bytes[i] = read_whole(path, &size[i]);
        m2snet_model_destroy(model);
    }
    assert_true(size[0] == size[1] && size[0] == size[2]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    assert_memory_not_equal(bytes[0], bytes[2], size[0]);
    for (size_t i = 0; i < 3; i++) {
        free(bytes[i]);
    }
    scratch_remove(&files);
    m2snet_context_destroy(contexts[0]);
    m2snet_context_destroy(contexts[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_and_repetitions),
        cmocka_unit_test(test_places_in_batches),
        cmocka_unit_test(test_side_by_side),
        cmocka_unit_test(test_history),
        cmocka_unit_test(test_created_weights),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
