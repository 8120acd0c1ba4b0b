/* SPDX-License-Identifier: Apache-2.0
 * Handles come and go in any order, NULL is met everywhere, structs may be of another version, memory comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/api_fixture.h"
#include "common/faults.h"

#define INVALID M2SNET_STATUS_INVALID_ARGUMENT

/* A handle that nobody made: functions must overwrite it with NULL when they fail. */
static void *stale(void)
{
    static char place[64];

    return place;
}

static void test_version(void **state)
{
    (void)state;
    assert_int_equal(m2snet_version(),
                     10000 * M2SNET_VERSION_MAJOR + 100 * M2SNET_VERSION_MINOR + M2SNET_VERSION_PATCH);
    assert_string_equal(m2snet_version_string(), M2SNET_VERSION_STRING);
    assert_int_equal(m2snet_abi(), M2SNET_ABI);
    for (int i = M2SNET_STATUS_OK; i <= M2SNET_STATUS_DIVERGED; i++) {
        const char *text = m2snet_status_string((m2snet_status)i);
        assert_non_null(text);
        assert_string_not_equal(text, "");
        assert_string_not_equal(text, m2snet_status_string((m2snet_status)99));
        for (int k = 0; k < i; k++) {
            assert_string_not_equal(text, m2snet_status_string((m2snet_status)k));
        }
    }
    assert_non_null(m2snet_status_string((m2snet_status)-1));
}

static void test_sizes_by_name(void **state)
{
    (void)state;
    assert_int_equal(m2snet_struct_size("m2snet_error"), sizeof(m2snet_error));
    assert_int_equal(m2snet_struct_size("m2snet_predict_options"), sizeof(m2snet_predict_options));
    assert_int_equal(m2snet_struct_size("m2snet_scores"), sizeof(m2snet_scores));
    assert_int_equal(m2snet_struct_size("m2snet_context"), 0); /* opaque */
    assert_int_equal(m2snet_struct_size(""), 0);
    assert_int_equal(m2snet_struct_size(NULL), 0);
}

static void test_backends(void **state)
{
    m2snet_backend_info info;
    m2snet_error error;
    bool has_ref = false, has_cpu = false;

    (void)state;
    assert_true(m2snet_backend_count() >= 2);
    for (int32_t i = 0; i < m2snet_backend_count(); i++) {
        info = (m2snet_backend_info){ .struct_size = sizeof info };
        OK(m2snet_backend_get_info(i, &info, &error));
        assert_non_null(info.name);
        assert_non_null(info.description);
        has_ref |= strcmp(info.name, "ref") == 0 && info.devices > 0;
        has_cpu |= strcmp(info.name, "cpu") == 0 && info.devices > 0;
    }
    assert_true(has_ref && has_cpu);
    REFUSE(m2snet_backend_get_info(-1, &info, &error), INVALID, "-1");
    REFUSE(m2snet_backend_get_info(m2snet_backend_count(), &info, &error), INVALID, "backend");
    REFUSE(m2snet_backend_get_info(0, NULL, &error), INVALID, "NULL");
}

static void test_null_accessors(void **state)
{
    m2snet_tensor_desc desc;
    m2snet_image image = { 0 };

    (void)state;
    m2snet_cancel_request(NULL);
    m2snet_cancel_reset(NULL);
    m2snet_cancel_destroy(NULL);
    m2snet_context_options_init(NULL);
    m2snet_context_destroy(NULL);
    m2snet_model_options_init(NULL);
    m2snet_model_destroy(NULL);
    m2snet_save_options_init(NULL);
    assert_null(m2snet_model_class_name(NULL, 0));
    assert_int_equal(m2snet_model_metadata_count(NULL), 0);
    assert_null(m2snet_model_metadata_key(NULL, 0));
    assert_null(m2snet_model_metadata_value(NULL, 0));
    assert_int_equal(m2snet_model_tensor_count(NULL), 0);
    m2snet_tensor_destroy(NULL);
    assert_null(m2snet_tensor_data(NULL));
    m2snet_tensor_get_desc(NULL, NULL);
    memset(&desc, 0x55, sizeof desc);
    m2snet_tensor_get_desc(NULL, &desc);
    assert_true(desc.n == 0 && desc.c == 0);
    m2snet_session_options_init(NULL);
    m2snet_session_destroy(NULL);
    assert_int_equal(m2snet_session_step_count(NULL), 0);
    m2snet_image_read_options_init(NULL);
    m2snet_image_release(NULL);
    m2snet_image_release(&image);
    m2snet_image_release(&image);
    m2snet_predict_options_init(NULL);
    m2snet_result_destroy(NULL);
    assert_int_equal(m2snet_result_width(NULL), 0);
    assert_int_equal(m2snet_result_height(NULL), 0);
    assert_null(m2snet_result_probability(NULL));
    assert_null(m2snet_result_map(NULL));
    assert_null(m2snet_result_mask(NULL));
    assert_int_equal(m2snet_result_found(NULL), 0);
    assert_true(m2snet_result_presence(NULL) == 0.0);
    assert_int_equal(m2snet_result_component_count(NULL), 0);
    assert_null(m2snet_result_receipt_json(NULL));
}

static void test_null_models(void **state)
{
    m2snet_context *context = open_context(NULL, 1);
    m2snet_model *good = tiny_model(context), *model;
    m2snet_context_info context_info = { .struct_size = sizeof context_info };
    m2snet_model_info model_info = { .struct_size = sizeof model_info };
    m2snet_tensor_info tensor_info = { .struct_size = sizeof tensor_info };
    uint64_t number;
    m2snet_error error;

    (void)state;
    REFUSE(m2snet_cancel_create(NULL, &error), INVALID, "cancel");
    REFUSE(m2snet_context_create(NULL, NULL, &error), INVALID, "context");
    REFUSE(m2snet_context_get_info(NULL, &context_info, &error), INVALID, "context");
    REFUSE(m2snet_context_get_info(context, NULL, &error), INVALID, "m2snet_context_info");

    REFUSE(m2snet_model_load_file(context, "x", NULL, NULL, &error), INVALID, "model");
    model = stale();
    REFUSE(m2snet_model_load_file(NULL, "x", NULL, &model, &error), INVALID, "context");
    assert_null(model);
    model = stale();
    REFUSE(m2snet_model_load_file(context, NULL, NULL, &model, &error), INVALID, "path");
    assert_null(model);
    REFUSE(m2snet_model_load_memory(context, "x", 1, NULL, NULL, &error), INVALID, "model");
    model = stale();
    REFUSE(m2snet_model_load_memory(NULL, "x", 1, NULL, &model, &error), INVALID, "context");
    assert_null(model);
    model = stale();
    REFUSE(m2snet_model_load_memory(context, NULL, 1, NULL, &model, &error), INVALID, "data");
    assert_null(model);
    REFUSE(m2snet_model_create(context, TINY_CONFIG, 1, NULL, &error), INVALID, "model");
    model = stale();
    REFUSE(m2snet_model_create(NULL, TINY_CONFIG, 1, &model, &error), INVALID, "context");
    assert_null(model);

    REFUSE(m2snet_model_save_file(NULL, "/tmp/x", NULL, &error), INVALID, "model");
    REFUSE(m2snet_model_save_file(good, NULL, NULL, &error), INVALID, "path");
    REFUSE(m2snet_model_get_info(NULL, &model_info, &error), INVALID, "model");
    REFUSE(m2snet_model_get_info(good, NULL, &error), INVALID, "m2snet_model_info");
    REFUSE(m2snet_model_multiply_adds(NULL, 64, 64, &number, &error), INVALID, "model");
    REFUSE(m2snet_network_count(NULL, NULL, 64, 64, &number, &number, &error), INVALID, "context");
    REFUSE(m2snet_model_multiply_adds(good, 64, 64, NULL, &error), INVALID, "multiply_adds");
    REFUSE(m2snet_model_tensor_info(NULL, 0, &tensor_info, &error), INVALID, "model");
    REFUSE(m2snet_model_tensor_info(good, 0, NULL, &error), INVALID, "m2snet_tensor_info");
    REFUSE(m2snet_model_tensor_info(good, -1, &tensor_info, &error), INVALID, "-1");
    REFUSE(m2snet_model_tensor_info(good, 1 << 20, &tensor_info, &error), INVALID, "tensor");
    REFUSE(m2snet_model_selftest(NULL, NULL, &error), INVALID, "model");
    assert_null(m2snet_model_class_name(good, -1));
    assert_null(m2snet_model_class_name(good, 1));
    assert_null(m2snet_model_metadata_key(good, -1));
    assert_null(m2snet_model_metadata_value(good, 1 << 20));

    /* Without an error struct the status alone says it. */
    assert_int_equal(m2snet_model_load_file(context, NULL, NULL, &model, NULL), INVALID);
    assert_int_equal(m2snet_model_create(context, "{", 1, &model, NULL), M2SNET_STATUS_FORMAT);
    m2snet_model_destroy(good);
    m2snet_context_destroy(context);
}

static void test_null_sessions(void **state)
{
    m2snet_context *context = open_context(NULL, 1);
    m2snet_model *model = tiny_model(context);
    m2snet_session *session = open_session(model), *none;
    m2snet_tensor_desc desc = { .dtype = M2SNET_DTYPE_F32, .n = 1, .h = 64, .w = 64, .c = 3 };
    m2snet_tensor *tensor = NULL, *no_tensor;
    m2snet_plan_info plan = { .struct_size = sizeof plan };
    m2snet_step_info step = { .struct_size = sizeof step };
    m2snet_error error;

    (void)state;
    REFUSE(m2snet_session_create(model, NULL, NULL, &error), INVALID, "session");
    none = stale();
    REFUSE(m2snet_session_create(NULL, NULL, &none, &error), INVALID, "model");
    assert_null(none);
    REFUSE(m2snet_session_prepare(NULL, 1, 64, 64, NULL, &error), INVALID, "session");
    REFUSE(m2snet_session_plan_info(NULL, 1, 64, 64, &plan, &error), INVALID, "session");
    REFUSE(m2snet_session_plan_info(session, 1, 64, 64, NULL, &error), INVALID, "m2snet_plan_info");
    REFUSE(m2snet_session_trim(NULL, &error), INVALID, "session");
    REFUSE(m2snet_session_time_steps(NULL, 1, &error), INVALID, "session");
    REFUSE(m2snet_session_step_info(NULL, 0, &step, &error), INVALID, "session");
    REFUSE(m2snet_session_step_info(session, 0, &step, &error), INVALID, "step 0");

    REFUSE(m2snet_tensor_create(context, &desc, NULL, NULL, &error), INVALID, "tensor");
    no_tensor = stale();
    REFUSE(m2snet_tensor_create(NULL, &desc, NULL, &no_tensor, &error), INVALID, "context");
    assert_null(no_tensor);
    no_tensor = stale();
    REFUSE(m2snet_tensor_create(context, NULL, NULL, &no_tensor, &error), INVALID, "desc");
    assert_null(no_tensor);
    OK(m2snet_tensor_create(context, &desc, NULL, &tensor, &error));
    m2snet_tensor_get_desc(tensor, NULL);
    REFUSE(m2snet_session_run(NULL, tensor, tensor, NULL, &error), INVALID, "session");
    REFUSE(m2snet_session_run(session, NULL, tensor, NULL, &error), INVALID, "src");
    REFUSE(m2snet_session_run(session, tensor, NULL, NULL, &error), INVALID, "dst");
    OK(m2snet_session_prepare(session, 1, 64, 64, NULL, &error));                   /* as usable as before */
    REFUSE(m2snet_session_step_info(session, 0, &step, &error), INVALID, "step 0"); /* prepared, not run */
    m2snet_tensor_destroy(tensor);
    m2snet_session_destroy(session);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
}

static void test_null_images(void **state)
{
    m2snet_context *context = open_context(NULL, 1);
    m2snet_image picture = noise_picture(8, 8), out;
    m2snet_error error;

    (void)state;
    REFUSE(m2snet_image_read_file(context, "x", NULL, NULL, &error), INVALID, "image");
    memset(&out, 0x55, sizeof out);
    REFUSE(m2snet_image_read_file(NULL, "x", NULL, &out, &error), INVALID, "context");
    assert_true(out.owner == NULL && out.data == NULL && out.width == 0);
    memset(&out, 0x55, sizeof out);
    REFUSE(m2snet_image_read_file(context, NULL, NULL, &out, &error), INVALID, "path");
    assert_null(out.owner);
    REFUSE(m2snet_image_read_memory(context, "x", 1, NULL, NULL, &error), INVALID, "image");
    REFUSE(m2snet_image_read_memory(NULL, "x", 1, NULL, &out, &error), INVALID, "context");
    memset(&out, 0x55, sizeof out);
    REFUSE(m2snet_image_read_memory(context, NULL, 1, NULL, &out, &error), INVALID, "data");
    assert_null(out.owner);
    REFUSE(m2snet_image_write_png(NULL, "/tmp/x", &picture, &error), INVALID, "context");
    REFUSE(m2snet_image_write_png(context, NULL, &picture, &error), INVALID, "path");
    REFUSE(m2snet_image_write_png(context, "/tmp/x", NULL, &error), INVALID, "image");
    REFUSE(m2snet_image_resize(NULL, &picture, &picture, &error), INVALID, "context");
    REFUSE(m2snet_image_resize(context, NULL, &picture, &error), INVALID, "src");
    REFUSE(m2snet_image_resize(context, &picture, NULL, &error), INVALID, "dst");
    REFUSE(m2snet_image_overlay(context, &picture, &picture, 0, 1, NULL, &error), INVALID, "overlay");
    memset(&out, 0x55, sizeof out);
    REFUSE(m2snet_image_overlay(context, NULL, &picture, 0, 1, &out, &error), INVALID, "image");
    assert_null(out.owner);
    REFUSE(m2snet_image_overlay(context, &picture, NULL, 0, 1, &out, &error), INVALID, "mask");
    REFUSE(m2snet_image_overlay(NULL, &picture, &picture, 0, 1, &out, &error), INVALID, "context");
    free_picture(&picture);
    m2snet_context_destroy(context);
}

static void test_null_results(void **state)
{
    m2snet_context *context = open_context(NULL, 1);
    m2snet_model *model = tiny_model(context);
    m2snet_session *session = open_session(model);
    m2snet_image picture = noise_picture(40, 30);
    m2snet_result *result, *none;
    m2snet_component component = { .struct_size = sizeof component };
    m2snet_receipt receipt = { .struct_size = sizeof receipt };
    const int32_t *points;
    int32_t count;
    m2snet_error error;

    (void)state;
    REFUSE(m2snet_predict(session, &picture, NULL, NULL, &error), INVALID, "result");
    none = stale();
    REFUSE(m2snet_predict(NULL, &picture, NULL, &none, &error), INVALID, "session");
    assert_null(none);
    none = stale();
    REFUSE(m2snet_predict(session, NULL, NULL, &none, &error), INVALID, "image");
    assert_null(none);
    REFUSE(m2snet_predict_batch(session, &picture, 1, NULL, NULL, &error), INVALID, "results");
    none = stale();
    REFUSE(m2snet_predict_batch(NULL, &picture, 1, NULL, &none, &error), INVALID, "session");
    assert_null(none);
    none = stale();
    REFUSE(m2snet_predict_batch(session, NULL, 1, NULL, &none, &error), INVALID, "images");
    assert_null(none);
    REFUSE(m2snet_predict_batch(session, &picture, 0, NULL, &none, &error), INVALID, "count");
    REFUSE(m2snet_predict_batch(session, &picture, -7, NULL, &none, &error), INVALID, "-7");

    OK(m2snet_predict(session, &picture, NULL, &result, &error));
    REFUSE(m2snet_result_component(NULL, 0, &component, &error), INVALID, "result");
    REFUSE(m2snet_result_component(result, -1, &component, &error), INVALID, "-1");
    REFUSE(m2snet_result_component(result, m2snet_result_component_count(result), &component, &error), INVALID,
           "component");
    if (m2snet_result_component_count(result) > 0) {
        REFUSE(m2snet_result_component(result, 0, NULL, &error), INVALID, "m2snet_component");
    }
    REFUSE(m2snet_result_contour(NULL, 0, &points, &count, &error), INVALID, "result");
    REFUSE(m2snet_result_contour(result, 0, NULL, &count, &error), INVALID, "points");
    REFUSE(m2snet_result_contour(result, 0, &points, NULL, &error), INVALID, "count");
    points = stale();
    REFUSE(m2snet_result_contour(result, 1 << 30, &points, &count, &error), INVALID, "component");
    assert_null(points);
    REFUSE(m2snet_result_receipt(NULL, &receipt, &error), INVALID, "result");
    REFUSE(m2snet_result_receipt(result, NULL, &error), INVALID, "m2snet_receipt");
    m2snet_result_destroy(result);
    free_picture(&picture);
    m2snet_session_destroy(session);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
}

/* ---- structs of other versions ---- */

typedef struct grown_options {
    m2snet_context_options known;
    char tail[32];
} grown_options;

static void test_struct_sizes(void **state)
{
    m2snet_context_options options;
    grown_options newer = { 0 };
    m2snet_context *context;
    m2snet_error error;

    (void)state;
    m2snet_context_options_init(&options);
    assert_int_equal(options.struct_size, sizeof options);
    static const size_t bad[] = { 0, 1, sizeof(size_t) - 1, 1 << 20, SIZE_MAX };
    for (size_t i = 0; i < COUNT(bad); i++) {
        options.struct_size = bad[i];
        context = stale();
        REFUSE(m2snet_context_create(&options, &context, &error), INVALID, "m2snet_context_options");
        assert_null(context);
    }

    /* An older program: fields behind its struct's end are not read. */
    m2snet_context_options_init(&options);
    options.struct_size = offsetof(m2snet_context_options, threads);
    options.threads = -5;
    options.instruction_set = "nonsense";
    OK(m2snet_context_create(&options, &context, &error));
    m2snet_context_destroy(context);
    options.struct_size = sizeof(size_t);
    OK(m2snet_context_create(&options, &context, &error));
    m2snet_context_destroy(context);

    /* A newer one: fine while it asks for nothing new. */
    m2snet_context_options_init(&newer.known);
    newer.known.struct_size = sizeof newer;
    newer.known.threads = 2;
    OK(m2snet_context_create(&newer.known, &context, &error));
    m2snet_context_destroy(context);
    newer.tail[31] = 1;
    REFUSE(m2snet_context_create(&newer.known, &context, &error), M2SNET_STATUS_UNSUPPORTED, "does not know");
    assert_null(context);
}

/* The same for every other options struct: 0, and non-zero bytes behind the known ones. */
static void test_other_options(void **state)
{
    m2snet_context *context = open_context(NULL, 1);
    m2snet_model *model = tiny_model(context), *second;
    m2snet_session *session = open_session(model), *second_session;
    m2snet_image picture = noise_picture(40, 40), read;
    m2snet_result *result;
    m2snet_error error;
    union {
        m2snet_model_options model;
        m2snet_save_options save;
        m2snet_session_options session;
        m2snet_image_read_options read;
        m2snet_predict_options predict;
        size_t struct_size;
        unsigned char bytes[1024];
    } o;

    (void)state;
    const size_t sizes[] = { sizeof o.model, sizeof o.save, sizeof o.session, sizeof o.read, sizeof o.predict };
    for (size_t kind = 0; kind < COUNT(sizes); kind++) {
        for (int way = 0; way < 2; way++) {
            memset(&o, 0, sizeof o);
            switch (kind) {
            case 0:
                m2snet_model_options_init(&o.model);
                break;
            case 1:
                m2snet_save_options_init(&o.save);
                break;
            case 2:
                m2snet_session_options_init(&o.session);
                break;
            case 3:
                m2snet_image_read_options_init(&o.read);
                break;
            default:
                m2snet_predict_options_init(&o.predict);
            }
            assert_int_equal(o.struct_size, sizes[kind]);
            o.struct_size = way == 0 ? 0 : sizeof o;
            o.bytes[sizeof o - 1] = way == 0 ? 0 : 1;
            m2snet_status wanted = way == 0 ? INVALID : M2SNET_STATUS_UNSUPPORTED;
            switch (kind) {
            case 0:
                REFUSE(m2snet_model_load_memory(context, "x", 1, &o.model, &second, &error), wanted,
                       "m2snet_model_options");
                REFUSE(m2snet_model_load_file(context, "x", &o.model, &second, &error), wanted, "m2snet_model_options");
                break;
            case 1:
                REFUSE(m2snet_model_save_file(model, "/nowhere/x", &o.save, &error), wanted, "m2snet_save_options");
                break;
            case 2:
                REFUSE(m2snet_session_create(model, &o.session, &second_session, &error), wanted,
                       "m2snet_session_options");
                break;
            case 3:
                REFUSE(m2snet_image_read_memory(context, "x", 1, &o.read, &read, &error), wanted,
                       "m2snet_image_read_options");
                REFUSE(m2snet_image_read_file(context, "x", &o.read, &read, &error), wanted,
                       "m2snet_image_read_options");
                break;
            default:
                REFUSE(m2snet_predict(session, &picture, &o.predict, &result, &error), wanted,
                       "m2snet_predict_options");
                assert_null(result);
            }
        }
    }
    OK(m2snet_predict(session, &picture, NULL, &result, &error));
    m2snet_result_destroy(result);
    free_picture(&picture);
    m2snet_session_destroy(session);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
}

/* Info structs: as much as the caller's has room for, not a byte more, struct_size kept. */
static void test_info_sizes(void **state)
{
    m2snet_context *context = open_context("cpu", 2);
    union {
        m2snet_context_info info;
        unsigned char bytes[256];
    } u;
    m2snet_error error;

    (void)state;
    for (size_t size = sizeof(size_t); size <= sizeof u; size++) {
        memset(&u, 0xa5, sizeof u);
        u.info.struct_size = size;
        OK(m2snet_context_get_info(context, &u.info, &error));
        assert_int_equal(u.info.struct_size, size);
        for (size_t i = size < sizeof u.info ? size : sizeof u.info; i < sizeof u; i++) {
            assert_int_equal(u.bytes[i], 0xa5);
        }
    }
    assert_string_equal(u.info.backend, "cpu");
    assert_int_equal(u.info.threads, 2);
    assert_true(strlen(u.info.device) > 0 && strlen(u.info.instruction_set) > 0 && strlen(u.info.gemm_provider) > 0);
    assert_true(u.info.memory_used_bytes > 0 && u.info.memory_peak_bytes >= u.info.memory_used_bytes);
    u.info.struct_size = 0;
    REFUSE(m2snet_context_get_info(context, &u.info, &error), INVALID, "sizeof(m2snet_context_info)");
    m2snet_context_destroy(context);
}

/* ---- order ---- */

enum { CONTEXT, MODEL, SESSION, TENSOR, RESULT, IMAGE, HANDLES };

static void destroy_in_order(const int *order)
{
    faults f = { 0 };
    m2snet_allocator allocator = faults_allocator(&f);
    m2snet_context_options options;
    m2snet_context *context;
    m2snet_image picture = noise_picture(48, 40), mask, overlay;
    m2snet_result *result;
    m2snet_tensor *tensor;
    m2snet_tensor_desc desc = { .dtype = M2SNET_DTYPE_F32, .n = 1, .h = 64, .w = 64, .c = 3 };
    m2snet_error error;
    uint8_t pixels[48 * 40] = { 0 };

    m2snet_context_options_init(&options);
    options.allocator = &allocator;
    options.threads = 2;
    OK(m2snet_context_create(&options, &context, &error));
    uint64_t start = memory_used(context);
    m2snet_model *model = tiny_model(context);
    m2snet_session *session = open_session(model);
    OK(m2snet_tensor_create(context, &desc, NULL, &tensor, &error));
    OK(m2snet_predict(session, &picture, NULL, &result, &error));
    mask = (m2snet_image){ .data = pixels, .width = 48, .height = 40, .format = M2SNET_PIXEL_GRAY8 };
    OK(m2snet_image_overlay(context, &picture, &mask, 0xff0000, 1, &overlay, &error));

    bool last_reads = false;
    for (int i = 0; i < HANDLES; i++) {
        switch (order[i]) {
        case CONTEXT:
            last_reads = i == HANDLES - 1;
            if (last_reads) {
                assert_int_equal(memory_used(context), start); /* every child gave its memory back */
            }
            m2snet_context_destroy(context);
            break;
        case MODEL:
            m2snet_model_destroy(model);
            break;
        case SESSION:
            m2snet_session_destroy(session);
            break;
        case TENSOR:
            assert_non_null(m2snet_tensor_data(tensor));
            memset(m2snet_tensor_data(tensor), 1, 64 * 64 * 3 * sizeof(float));
            m2snet_tensor_destroy(tensor);
            break;
        case RESULT: /* its strings are the model's */
            assert_non_null(strstr(m2snet_result_receipt_json(result), "preprocessing"));
            m2snet_receipt receipt = { .struct_size = sizeof receipt };
            OK(m2snet_result_receipt(result, &receipt, &error));
            assert_string_equal(receipt.encoder, "res2net");
            assert_true(strlen(receipt.device) > 0);
            m2snet_result_destroy(result);
            break;
        default:
            m2snet_image_release(&overlay);
            assert_null(overlay.owner);
        }
    }
    free_picture(&picture);
    assert_int_equal(f.live, 0);
    assert_true(f.calls > 50);
}

static void test_destroy_orders(void **state)
{
    int order[HANDLES] = { CONTEXT, MODEL, SESSION, TENSOR, RESULT, IMAGE };

    (void)state;
    /* All 720 orders are the same idea; these have each pair both ways round. */
    for (int turn = 0; turn < HANDLES; turn++) {
        int turned[HANDLES], reversed[HANDLES];
        for (int i = 0; i < HANDLES; i++) {
            turned[i] = order[(i + turn) % HANDLES];
            reversed[HANDLES - 1 - i] = turned[i];
        }
        destroy_in_order(turned);
        destroy_in_order(reversed);
    }
}

/* A session outlives its model's and its context's handle and still works. */
static void test_children_keep_parents(void **state)
{
    m2snet_context *context = open_context(NULL, 2);
    m2snet_model *model = tiny_model(context);
    m2snet_session *session = open_session(model);
    m2snet_image picture = noise_picture(50, 60);
    m2snet_result *result;
    m2snet_error error;

    (void)state;
    m2snet_context_destroy(context);
    m2snet_model_destroy(model);
    OK(m2snet_predict(session, &picture, NULL, &result, &error));
    m2snet_session_destroy(session);
    assert_int_equal(m2snet_result_width(result), 50);
    m2snet_result_destroy(result);
    free_picture(&picture);
}

/* ---- the log ---- */

typedef struct log_lines {
    int count;
    int levels[4];
    bool plan, graph;
} log_lines;

static void take_line(void *user, m2snet_log_level level, const char *message)
{
    log_lines *lines = user;

    lines->count++;
    lines->levels[level]++;
    lines->graph |= level == M2SNET_LOG_DEBUG && strncmp(message, "graph ", 6) == 0;
    lines->plan |= level == M2SNET_LOG_DEBUG && strncmp(message, "plan", 4) == 0;
    assert_true(strlen(message) > 0);
}

static void test_log_levels(void **state)
{
    static const char *const backends[] = { "cpu", "ref" };
    m2snet_error error;

    (void)state;
    for (size_t b = 0; b < COUNT(backends); b++) {
        for (int level = M2SNET_LOG_ERROR; level <= M2SNET_LOG_DEBUG; level++) {
            log_lines lines = { 0 };
            m2snet_context_options options;
            m2snet_context *context;
            m2snet_context_options_init(&options);
            options.backend = backends[b];
            options.threads = 1;
            options.log = take_line;
            options.log_user = &lines;
            options.log_level = (m2snet_log_level)level;
            OK(m2snet_context_create(&options, &context, &error));
            m2snet_model *model = tiny_model(context);
            m2snet_session *session = open_session(model);
            OK(m2snet_session_prepare(session, 1, 64, 64, NULL, &error));
            m2snet_session_destroy(session);
            m2snet_model_destroy(model);
            m2snet_context_destroy(context);
            for (int above = level + 1; above <= M2SNET_LOG_DEBUG; above++) {
                assert_int_equal(lines.levels[above], 0);
            }
            assert_int_equal(lines.levels[M2SNET_LOG_ERROR], 0);
            assert_int_equal(lines.graph, level == M2SNET_LOG_DEBUG);
            assert_int_equal(lines.plan, level == M2SNET_LOG_DEBUG);
        }
    }
}

static void test_debug_variable(void **state)
{
    log_lines lines = { 0 };
    m2snet_context_options options;
    m2snet_context *context;
    m2snet_error error;

    (void)state;
    m2snet_context_options_init(&options);
    options.log = take_line;
    options.log_user = &lines;
    options.log_level = M2SNET_LOG_ERROR;
    setenv("M2SNET_DEBUG", "1", 1);
    OK(m2snet_context_create(&options, &context, &error));
    unsetenv("M2SNET_DEBUG"); /* read at creation only */
    m2snet_model *model = tiny_model(context);
    m2snet_session *session = open_session(model);
    OK(m2snet_session_prepare(session, 1, 64, 64, NULL, &error));
    assert_true(lines.graph && lines.plan);
    m2snet_session_destroy(session);
    m2snet_model_destroy(model);
    m2snet_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_sizes_by_name),
        cmocka_unit_test(test_backends),
        cmocka_unit_test(test_null_accessors),
        cmocka_unit_test(test_null_models),
        cmocka_unit_test(test_null_sessions),
        cmocka_unit_test(test_null_images),
        cmocka_unit_test(test_null_results),
        cmocka_unit_test(test_struct_sizes),
        cmocka_unit_test(test_other_options),
        cmocka_unit_test(test_info_sizes),
        cmocka_unit_test(test_destroy_orders),
        cmocka_unit_test(test_children_keep_parents),
        cmocka_unit_test(test_log_levels),
        cmocka_unit_test(test_debug_variable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
