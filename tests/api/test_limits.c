/* SPDX-License-Identifier: Apache-2.0
 * Caps on memory, what a plan says it needs and what it then takes, trimming, the cache of plans. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/api_fixture.h"
#include "common/faults.h"

static m2snet_context *limited(uint64_t bytes)
{
    m2snet_context_options options;
    m2snet_context *context;
    m2snet_error error;

    m2snet_context_options_init(&options);
    options.backend = "cpu";
    options.threads = 2;
    options.memory_limit_bytes = bytes;
    OK(m2snet_context_create(&options, &context, &error));
    return context;
}

static uint64_t peak(const m2snet_context *context)
{
    m2snet_context_info info = { .struct_size = sizeof info };
    m2snet_error error;

    OK(m2snet_context_get_info(context, &info, &error));
    return info.memory_peak_bytes;
}

static m2snet_plan_info plan_of(m2snet_session *session, int64_t n, int64_t h, int64_t w)
{
    m2snet_plan_info info = { .struct_size = sizeof info };
    m2snet_error error;

    OK(m2snet_session_plan_info(session, n, h, w, &info, &error));
    return info;
}

/* Under every cap a call either works or says LIMIT with the cap in the message, and the account never passes it. */
static void test_context_limit(void **state)
{
    m2snet_image picture = noise_picture(64, 64);
    uint64_t needed = 0, refusals = 0;

    (void)state;
    m2snet_context *free_context = limited(0);
    m2snet_model *model = tiny_model(free_context);
    m2snet_session *session = open_session(model);
    m2snet_result *result;
    m2snet_error error;
    OK(m2snet_predict(session, &picture, NULL, &result, &error));
    needed = peak(free_context);
    m2snet_result_destroy(result);
    m2snet_session_destroy(session);
    m2snet_model_destroy(model);
    m2snet_context_destroy(free_context);

    for (int part = 1; part <= 24; part++) {
        uint64_t cap = needed * (uint64_t)part / 20;
        char text[32];
        snprintf(text, sizeof text, "%" PRIu64, cap);
        m2snet_context *context = limited(cap);
        m2snet_status status = m2snet_model_create(context, TINY_CONFIG, TINY_SEED, &model, &error);
        session = NULL;
        result = NULL;
        if (status == M2SNET_STATUS_OK) {
            status = m2snet_session_create(model, NULL, &session, &error);
        }
        if (status == M2SNET_STATUS_OK) {
            status = m2snet_predict(session, &picture, NULL, &result, &error);
        }
        if (status != M2SNET_STATUS_OK) {
            refusals++;
            assert_int_equal(status, M2SNET_STATUS_LIMIT);
            assert_int_equal(error.status, M2SNET_STATUS_LIMIT);
            assert_non_null(strstr(error.message, "memory_limit_bytes"));
            assert_non_null(strstr(error.message, text));
        }
        assert_true(peak(context) <= cap);
        assert_int_equal(status == M2SNET_STATUS_OK, part >= 20 || status == M2SNET_STATUS_OK);
        m2snet_result_destroy(result);
        m2snet_session_destroy(session);
        m2snet_model_destroy(model);
        m2snet_context_destroy(context);
    }
    assert_true(refusals >= 10 && refusals < 24);
    free_picture(&picture);
}

/* The system's own refusal is still OUT_OF_MEMORY, cap or not. */
static void test_system_refusal(void **state)
{
    faults f = { 0 };
    m2snet_allocator allocator = faults_allocator(&f);
    m2snet_context_options options;
    m2snet_context *context;
    m2snet_model *model;
    m2snet_error error;

    (void)state;
    m2snet_context_options_init(&options);
    options.allocator = &allocator;
    options.memory_limit_bytes = 1u << 30;
    OK(m2snet_context_create(&options, &context, &error));
    f.fail_at = f.calls + 20;
    REFUSE(m2snet_model_create(context, TINY_CONFIG, 1, &model, &error), M2SNET_STATUS_OUT_OF_MEMORY, "out of memory");
    f.fail_at = 0;
    OK(m2snet_model_create(context, TINY_CONFIG, 1, &model, &error));
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
    assert_int_equal(f.live, 0);
}

static void test_session_limit(void **state)
{
    m2snet_context *context = limited(0);
    m2snet_model *model = tiny_model(context);
    m2snet_session *session = open_session(model);
    m2snet_image picture = noise_picture(64, 64);
    m2snet_session_options options;
    m2snet_result *result;
    m2snet_error error;
    char text[32];

    (void)state;
    uint64_t arena = plan_of(session, 1, 64, 64).arena_bytes;
    m2snet_session_destroy(session);
    assert_true(arena > 0);

    m2snet_session_options_init(&options);
    options.memory_limit_bytes = arena - 1;
    OK(m2snet_session_create(model, &options, &session, &error));
    assert_int_equal(plan_of(session, 1, 64, 64).arena_bytes, arena); /* asking is free */
    REFUSE(m2snet_session_prepare(session, 1, 64, 64, NULL, &error), M2SNET_STATUS_LIMIT, "memory_limit_bytes");
    snprintf(text, sizeof text, "%" PRIu64, arena);
    assert_non_null(strstr(error.message, text)); /* needed */
    snprintf(text, sizeof text, "%" PRIu64, arena - 1);
    assert_non_null(strstr(error.message, text)); /* allowed */
    REFUSE(m2snet_predict(session, &picture, NULL, &result, &error), M2SNET_STATUS_LIMIT, "memory_limit_bytes");
    assert_null(result);
    OK(m2snet_session_prepare(session, 1, 33, 33, NULL, &error)); /* smaller ones work */
    m2snet_session_destroy(session);

    options.memory_limit_bytes = arena;
    OK(m2snet_session_create(model, &options, &session, &error));
    OK(m2snet_predict(session, &picture, NULL, &result, &error));
    m2snet_result_destroy(result);
    m2snet_session_destroy(session);
    free_picture(&picture);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
}

/* plan_info promises before a run; the account shows the same after it. */
static void test_plan_info(void **state)
{
    m2snet_context *context = limited(0);
    m2snet_model *model = tiny_model(context);
    m2snet_session *session = open_session(model), *second = open_session(model);
    uint64_t multiply_adds;
    m2snet_error error;

    (void)state;
    m2snet_plan_info info = plan_of(session, 1, 64, 48);
    assert_int_equal(info.compiled, 0);
    assert_true(info.arena_bytes > 0 && info.packed_weight_bytes > 0 && info.steps > 20);
    assert_int_equal(plan_of(session, 1, 64, 48).compiled, 1);
    OK(m2snet_model_multiply_adds(model, 48, 64, &multiply_adds, &error));
    assert_true(info.multiply_adds > 0 && info.multiply_adds <= multiply_adds + multiply_adds / 10);

    uint64_t before = memory_used(context);
    OK(m2snet_session_prepare(session, 1, 64, 48, NULL, &error));
    uint64_t taken = memory_used(context) - before;
    assert_true(taken >= info.arena_bytes && taken <= info.arena_bytes + 4096);
    before = memory_used(context);
    OK(m2snet_session_prepare(session, 1, 64, 48, NULL, &error));
    assert_int_equal(memory_used(context), before);

    /* The second session shares the packed weights: its plan adds less than they take. */
    uint64_t alone = memory_used(context);
    m2snet_plan_info shared = plan_of(second, 1, 64, 48);
    assert_int_equal(shared.packed_weight_bytes, info.packed_weight_bytes);
    assert_int_equal(shared.arena_bytes, info.arena_bytes);
    print_message("  a plan takes %" PRIu64 " bytes beside %" PRIu64 " of packed weights, %" PRIu64 " of arena\n",
                  memory_used(context) - alone, shared.packed_weight_bytes, shared.arena_bytes);
    m2snet_session_destroy(second);
    m2snet_session_destroy(session);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
}

static void test_trim(void **state)
{
    m2snet_context *context = limited(0);
    m2snet_model *model = tiny_model(context);
    m2snet_session *session = open_session(model);
    m2snet_image picture = noise_picture(64, 64);
    m2snet_result *before, *after;
    m2snet_error error;

    (void)state;
    uint64_t idle = memory_used(context);
    OK(m2snet_predict(session, &picture, NULL, &before, &error));
    m2snet_result_destroy(before);
    OK(m2snet_predict(session, &picture, NULL, &before, &error));
    assert_true(memory_used(context) > idle);
    m2snet_result_destroy(before);
    OK(m2snet_session_trim(session, &error));
    assert_int_equal(memory_used(context), idle); /* plans, arena and packed weights are gone */
    assert_int_equal(m2snet_session_step_count(session), 0);
    OK(m2snet_session_trim(session, &error));
    OK(m2snet_predict(session, &picture, NULL, &before, &error));
    OK(m2snet_session_trim(session, &error));
    OK(m2snet_predict(session, &picture, NULL, &after, &error));
    assert_same_result(before, after);

    /* What another session uses stays. */
    m2snet_session *second = open_session(model);
    OK(m2snet_session_prepare(second, 1, 64, 64, NULL, &error));
    OK(m2snet_session_trim(session, &error));
    m2snet_result *third;
    OK(m2snet_predict(second, &picture, NULL, &third, &error));
    assert_same_result(third, before);
    m2snet_result_destroy(third);
    m2snet_result_destroy(before);
    m2snet_result_destroy(after);
    m2snet_session_destroy(second);
    m2snet_session_destroy(session);
    free_picture(&picture);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
}

static void test_plan_cache(void **state)
{
    static const int64_t sides[] = { 33, 40, 48, 56, 64, 72 };
    m2snet_context *context = limited(0);
    m2snet_model *model = tiny_model(context);
    m2snet_session_options options;
    m2snet_session *session;
    m2snet_plan_info info;
    m2snet_error error;

    (void)state;
    m2snet_session_options_init(&options);
    options.max_plans = 3;
    OK(m2snet_session_create(model, &options, &session, &error));
    for (size_t i = 0; i < 4; i++) {
        OK(m2snet_session_prepare(session, 1, sides[i], sides[i], NULL, &error));
    }
    /* 40, 48, 56 are in; using 40 makes 48 the oldest. */
    assert_int_equal(plan_of(session, 1, 40, 40).compiled, 1);
    assert_int_equal(plan_of(session, 1, 64, 64).compiled, 0); /* and takes its place */
    assert_int_equal(plan_of(session, 1, 40, 40).compiled, 1);
    assert_int_equal(plan_of(session, 1, 56, 56).compiled, 1);
    assert_int_equal(plan_of(session, 1, 64, 64).compiled, 1);
    assert_int_equal(plan_of(session, 1, 48, 48).compiled, 0);
    assert_int_equal(plan_of(session, 1, 40, 40).compiled, 0);
    /* n, h and w each count. */
    info = plan_of(session, 2, 40, 40);
    assert_int_equal(info.compiled, 0);
    info = plan_of(session, 1, 40, 48);
    assert_int_equal(info.compiled, 0);
    m2snet_session_destroy(session);

    /* Going round for ever does not grow. */
    options.max_plans = 2;
    OK(m2snet_session_create(model, &options, &session, &error));
    uint64_t settled = 0;
    for (int turn = 0; turn < 6; turn++) {
        for (size_t i = 0; i < COUNT(sides); i++) {
            OK(m2snet_session_prepare(session, 1, sides[i], sides[i], NULL, &error));
        }
        if (turn == 1) {
            settled = memory_used(context);
        } else if (turn > 1) {
            assert_true(memory_used(context) <= settled);
        }
    }
    m2snet_session_destroy(session);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
}

/* After the first call of a kind the library holds no more than before, however often it is called. */
static void test_steady_state(void **state)
{
    faults f = { 0 };
    m2snet_allocator allocator = faults_allocator(&f);
    m2snet_context_options options;
    m2snet_context *context;
    m2snet_image picture = noise_picture(90, 70);
    m2snet_result *result;
    size_t counted = 0;
    m2snet_error error;

    (void)state;
    m2snet_context_options_init(&options);
    options.allocator = &allocator;
    options.threads = 2;
    OK(m2snet_context_create(&options, &context, &error));
    m2snet_model *model = tiny_model(context);
    m2snet_session *session = open_session(model);
    OK(m2snet_predict(session, &picture, NULL, &result, &error));
    m2snet_result_destroy(result);
    uint64_t used = memory_used(context), top = peak(context);
    size_t live = f.live;
    for (int i = 0; i < 5; i++) {
        size_t calls = f.calls;
        OK(m2snet_predict(session, &picture, NULL, &result, &error));
        m2snet_result_destroy(result);
        assert_int_equal(memory_used(context), used);
        assert_int_equal(f.live, live);
        assert_int_equal(peak(context), top);
        assert_true(i == 0 || f.calls - calls == counted);
        counted = f.calls - calls;
    }
    print_message("  a repeated predict makes %zu allocations\n", counted);

    /* The network alone: two buffers for the dense image and its logits. */
    static float input[64 * 64 * 3], logits[64 * 64];
    m2snet_tensor_desc in = { .dtype = M2SNET_DTYPE_F32, .n = 1, .h = 64, .w = 64, .c = 3 }, out = in;
    m2snet_tensor *src, *dst;
    out.c = 1;
    OK(m2snet_tensor_create(context, &in, input, &src, &error));
    OK(m2snet_tensor_create(context, &out, logits, &dst, &error));
    OK(m2snet_session_run(session, src, dst, NULL, &error));
    size_t calls = f.calls;
    OK(m2snet_session_run(session, src, dst, NULL, &error));
    assert_true(f.calls - calls <= 2);
    m2snet_tensor_destroy(src);
    m2snet_tensor_destroy(dst);
    m2snet_session_destroy(session);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
    assert_int_equal(f.live, 0);
    free_picture(&picture);
}

/* A picture's size does not decide what the network takes; a failed plan leaves the old ones. */
static void test_failed_plan_keeps_others(void **state)
{
    m2snet_context *context = limited(0);
    m2snet_model *model = tiny_model(context);
    m2snet_session *session = open_session(model);
    m2snet_error error;

    (void)state;
    OK(m2snet_session_prepare(session, 1, 64, 64, NULL, &error));
    REFUSE(m2snet_session_prepare(session, 1, 16, 16, NULL, &error), M2SNET_STATUS_INVALID_ARGUMENT, "16");
    assert_int_equal(plan_of(session, 1, 64, 64).compiled, 1);
    m2snet_session_destroy(session);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_context_limit), cmocka_unit_test(test_system_refusal),
        cmocka_unit_test(test_session_limit), cmocka_unit_test(test_plan_info),
        cmocka_unit_test(test_trim),          cmocka_unit_test(test_plan_cache),
        cmocka_unit_test(test_steady_state),  cmocka_unit_test(test_failed_plan_keeps_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
