/* SPDX-License-Identifier: Apache-2.0
 * Every allocation that the library makes through the caller's allocator fails once: the call says OUT_OF_MEMORY, gives
 * no handle, leaks nothing, and the same call on the same handles works right after. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/api_fixture.h"
#include "common/faults.h"

typedef struct rig {
    faults f;
    m2snet_context *context;
    m2snet_model *model;
    m2snet_image picture;
    scratch files;
    const char *file, *output, *renamed;
    unsigned char *bytes;
    size_t size;
} rig;

/* Does one thing from its beginning to its end and leaves nothing behind. */
typedef m2snet_status (*attempt)(rig *r, m2snet_error *error);

static m2snet_status load_file(rig *r, m2snet_error *error)
{
    m2snet_model *model = NULL;
    m2snet_status status = m2snet_model_load_file(r->context, r->file, NULL, &model, error);

    assert_int_equal(model != NULL, status == M2SNET_STATUS_OK);
    m2snet_model_destroy(model);
    return status;
}

static m2snet_status load_mapped(rig *r, m2snet_error *error)
{
    m2snet_model_options options;
    m2snet_model *model = NULL;

    m2snet_model_options_init(&options);
    options.memory_map = 1;
    options.config_json = "{\"threshold\":0.25}";
    m2snet_status status = m2snet_model_load_file(r->context, r->file, &options, &model, error);
    m2snet_model_destroy(model);
    return status;
}

static m2snet_status load_memory(rig *r, m2snet_error *error)
{
    m2snet_model *model = NULL;
    m2snet_status status = m2snet_model_load_memory(r->context, r->bytes, r->size, NULL, &model, error);

    assert_int_equal(model != NULL, status == M2SNET_STATUS_OK);
    m2snet_model_destroy(model);
    return status;
}

/* The weights of this file are no network's: a good load ends with MISMATCH, after the reader has done its work. */
static m2snet_status load_pth(rig *r, m2snet_error *error)
{
    m2snet_model *model = NULL;
    m2snet_status status = m2snet_model_load_file(r->context, M2S_TEST_DATA "/weights/zip.pth", NULL, &model, error);

    assert_null(model);
    return status == M2SNET_STATUS_MISMATCH ? M2SNET_STATUS_OK : status;
}

static m2snet_status load_legacy_pth(rig *r, m2snet_error *error)
{
    m2snet_model *model = NULL;
    m2snet_status status = m2snet_model_load_file(r->context, M2S_TEST_DATA "/weights/legacy.pth", NULL, &model, error);

    assert_null(model);
    return status == M2SNET_STATUS_MISMATCH ? M2SNET_STATUS_OK : status;
}

static m2snet_status create_model(rig *r, m2snet_error *error)
{
    m2snet_model *model = NULL;
    m2snet_status status = m2snet_model_create(r->context, TINY_CONFIG, 1, &model, error);

    assert_int_equal(model != NULL, status == M2SNET_STATUS_OK);
    m2snet_model_destroy(model);
    return status;
}

static m2snet_status save(rig *r, m2snet_error *error)
{
    m2snet_save_options options;

    m2snet_save_options_init(&options);
    options.dtype = M2SNET_DTYPE_F16;
    options.metadata_json = "{\"a\":\"b\",\"c\":\"d\"}";
    m2snet_status status = m2snet_model_save_file(r->model, r->output, &options, error);
    int entries = scratch_count(&r->files);
    assert_int_equal(entries, status == M2SNET_STATUS_OK ? 2 : 1); /* no temporary, no half file */
    remove(r->output);
    return status;
}

static m2snet_status save_with_selftest(rig *r, m2snet_error *error)
{
    m2snet_save_options options;

    m2snet_save_options_init(&options);
    options.with_selftest = 1;
    m2snet_status status = m2snet_model_save_file(r->model, r->output, &options, error);
    assert_int_equal(scratch_count(&r->files), status == M2SNET_STATUS_OK ? 2 : 1);
    remove(r->output);
    return status;
}

static m2snet_status selftest(rig *r, m2snet_error *error)
{
    m2snet_status status = m2snet_model_selftest(r->model, NULL, error);
    size_t calls = r->f.calls;

    r->f.fail_at = 0; /* packed weights stay with the model until a trim, which is not what is tested here */
    m2snet_session *session = open_session(r->model);
    m2snet_session_trim(session, NULL);
    m2snet_session_destroy(session);
    r->f.calls = calls;
    return status;
}

static m2snet_status network_count(rig *r, m2snet_error *error)
{
    uint64_t parameters, number;

    return m2snet_network_count(r->context, TINY_CONFIG, 64, 48, &parameters, &number, error);
}

static m2snet_status multiply_adds(rig *r, m2snet_error *error)
{
    uint64_t number;

    return m2snet_model_multiply_adds(r->model, 64, 48, &number, error);
}

static m2snet_status tensors(rig *r, m2snet_error *error)
{
    m2snet_tensor_desc desc = { .dtype = M2SNET_DTYPE_F32, .n = 2, .h = 8, .w = 8, .c = 3 };
    m2snet_tensor *tensor = NULL;
    m2snet_status status = m2snet_tensor_create(r->context, &desc, NULL, &tensor, error);

    assert_int_equal(tensor != NULL, status == M2SNET_STATUS_OK);
    m2snet_tensor_destroy(tensor);
    return status;
}

static void end_session(m2snet_session *session)
{
    if (session != NULL) {
        assert_int_equal(m2snet_session_trim(session, NULL), M2SNET_STATUS_OK);
    }
    m2snet_session_destroy(session);
}

static m2snet_status prepare(rig *r, m2snet_error *error)
{
    m2snet_session *session = NULL;
    m2snet_status status = m2snet_session_create(r->model, NULL, &session, error);

    assert_int_equal(session != NULL, status == M2SNET_STATUS_OK);
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_session_prepare(session, 1, 48, 64, NULL, error);
    }
    end_session(session);
    return status;
}

static m2snet_status run_tensors(rig *r, m2snet_error *error)
{
    static float input[40 * 40 * 3], logits[40 * 40];
    m2snet_tensor_desc in = { .dtype = M2SNET_DTYPE_F32, .n = 1, .h = 40, .w = 40, .c = 3 };
    m2snet_tensor_desc out = { .dtype = M2SNET_DTYPE_F32, .n = 1, .h = 40, .w = 40, .c = 1 };
    m2snet_tensor *src = NULL, *dst = NULL;
    m2snet_session *session = NULL;
    m2snet_status status = m2snet_tensor_create(r->context, &in, input, &src, error);

    status = status != M2SNET_STATUS_OK ? status : m2snet_tensor_create(r->context, &out, logits, &dst, error);
    status = status != M2SNET_STATUS_OK ? status : m2snet_session_create(r->model, NULL, &session, error);
    status = status != M2SNET_STATUS_OK ? status : m2snet_session_run(session, src, dst, NULL, error);
    end_session(session);
    m2snet_tensor_destroy(src);
    m2snet_tensor_destroy(dst);
    return status;
}

static m2snet_status predict(rig *r, m2snet_error *error)
{
    m2snet_predict_options options;
    m2snet_session *session = NULL;
    m2snet_result *results[3];
    const m2snet_image pictures[3] = { r->picture, r->picture, r->picture };
    m2snet_status status = m2snet_session_create(r->model, NULL, &session, error);

    m2snet_predict_options_init(&options);
    options.threshold = 0.2;
    options.fill_holes = 1;
    options.largest_component = 1;
    options.min_area_px = 2.0;
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_predict_batch(session, pictures, 3, &options, results, error);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(results[i] != NULL, status == M2SNET_STATUS_OK);
        }
        for (int i = 0; i < 3; i++) {
            const int32_t *points;
            int32_t count;
            for (int32_t k = 0; status == M2SNET_STATUS_OK && k < m2snet_result_component_count(results[i]); k++) {
                status = m2snet_result_contour(results[i], k, &points, &count, error);
                assert_int_equal(points != NULL, status == M2SNET_STATUS_OK);
            }
        }
        for (int i = 0; i < 3; i++) {
            m2snet_result_destroy(results[i]);
        }
    }
    end_session(session);
    return status;
}

/* Windows, mirrored, of two sessions. */
static m2snet_status predict_views(rig *r, m2snet_error *error)
{
    m2snet_predict_options options;
    m2snet_session *session = NULL, *member = NULL;
    m2snet_result *result = NULL;
    m2snet_image wide = noise_picture(70, 40);
    m2snet_status status = m2snet_session_create(r->model, NULL, &session, error);

    m2snet_predict_options_init(&options);
    options.tiles = 1;
    options.mirror = M2SNET_MIRROR_HORIZONTAL;
    options.ensemble = &member;
    options.ensemble_count = 1;
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_session_create(r->model, NULL, &member, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_predict(session, &wide, &options, &result, error);
        assert_int_equal(result != NULL, status == M2SNET_STATUS_OK);
        m2snet_result_destroy(result);
    }
    end_session(member);
    end_session(session);
    free_picture(&wide);
    return status;
}

#define TINY_PVT                                                                                                       \
    "{\"encoder\":\"pvt_v2\",\"encoder_shape\":{\"blocks\":[1,1,1,1],\"channels\":[8,12,10,16],\"widening\":[2,2,2,1]" \
    "},"                                                                                                               \
    "\"pyramid_channels\":8,\"input_size\":64,\"classes\":[\"rest\",\"a\",\"b\"],\"activation\":\"softmax\","          \
    "\"labels\":[80,160]}"

/* Attention, three classes that exclude each other, their label map and Grad-CAM of one of them. */
static m2snet_status predict_labels(rig *r, m2snet_error *error)
{
    m2snet_predict_options options;
    m2snet_model *model = NULL;
    m2snet_session *session = NULL;
    m2snet_result *result = NULL;
    m2snet_status status = m2snet_model_create(r->context, TINY_PVT, 1, &model, error);

    m2snet_predict_options_init(&options);
    options.label_map = 1;
    options.class_index = 2;
    options.gradcam = "enc3";
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_session_create(model, NULL, &session, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_predict(session, &r->picture, &options, &result, error);
        assert_int_equal(result != NULL, status == M2SNET_STATUS_OK);
        assert_int_equal(m2snet_result_labels(result) != NULL, status == M2SNET_STATUS_OK);
    }
    m2snet_result_destroy(result);
    end_session(session);
    m2snet_model_destroy(model);
    return status;
}

#define TINY_CONVNEXT                                                                                                  \
    "{\"encoder\":\"convnext\",\"encoder_shape\":{\"blocks\":[1,1,2,1],\"channels\":[8,12,16,20]},"                    \
    "\"pyramid_channels\":8,\"input_size\":64}"

/* The encoder's tensors of a file under their official names, without prefix: loading renames them. */
static void drop_prefix(const char *path)
{
    static const char prefixed[] = "\"encoder.";
    const size_t length = sizeof prefixed - 1;
    size_t bytes;
    unsigned char *file = read_whole(path, &bytes), *at, *to;
    uint64_t header;
    int renamed = 0;

    memcpy(&header, file, sizeof header);
    unsigned char *end = file + sizeof header + header;
    for (at = to = file + sizeof header; at < end; renamed++) {
        bool found = (size_t)(end - at) > length && memcmp(at, prefixed, length) == 0;
        *to++ = *at;
        at += found ? length : 1;
        renamed -= !found;
    }
    memset(to, ' ', (size_t)(end - to));
    assert_true(renamed > 50);
    write_whole(path, file, bytes);
    free(file);
}

static m2snet_status load_renamed(rig *r, m2snet_error *error)
{
    m2snet_model *model = NULL;
    m2snet_status status = m2snet_model_load_file(r->context, r->renamed, NULL, &model, error);

    assert_int_equal(model != NULL, status == M2SNET_STATUS_OK);
    m2snet_model_destroy(model);
    return status;
}

static m2snet_status create_from(rig *r, m2snet_error *error)
{
    m2snet_model *model = NULL;
    int32_t taken = 0;
    m2snet_status status = m2snet_model_create_from(r->context, TINY_CONVNEXT, 1, r->renamed, &taken, &model, error);

    assert_int_equal(model != NULL, status == M2SNET_STATUS_OK);
    m2snet_model_destroy(model);
    return status;
}

static m2snet_status predict_inside(rig *r, m2snet_error *error)
{
    static const char *const names[] = { "x4_x3", "enc2" };
    m2snet_predict_options options;
    m2snet_session *session = NULL;
    m2snet_result *result = NULL;
    m2snet_status status = m2snet_session_create(r->model, NULL, &session, error);

    m2snet_predict_options_init(&options);
    options.features = names;
    options.feature_count = 2;
    options.gradcam = "x4_x3";
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_predict(session, &r->picture, &options, &result, error);
        assert_int_equal(result != NULL, status == M2SNET_STATUS_OK);
        m2snet_result_destroy(result);
    }
    end_session(session);
    return status;
}

static m2snet_status read_images(rig *r, m2snet_error *error)
{
    static const char *const names[] = { "/images/gray16_interlaced.png", "/images/jpeg_420.jpg",
                                         "/images/gray8_exif6.png" };
    m2snet_status status = M2SNET_STATUS_OK;

    for (size_t i = 0; i < COUNT(names) && status == M2SNET_STATUS_OK; i++) {
        char path[256];
        m2snet_image image;
        snprintf(path, sizeof path, "%s%s", M2S_TEST_DATA, names[i]);
        status = m2snet_image_read_file(r->context, path, NULL, &image, error);
        assert_int_equal(image.owner != NULL, status == M2SNET_STATUS_OK);
        assert_int_equal(image.data != NULL, status == M2SNET_STATUS_OK);
        m2snet_image_release(&image);
    }
    return status;
}

static m2snet_status write_images(rig *r, m2snet_error *error)
{
    m2snet_image mask = { .data = r->picture.data, .format = M2SNET_PIXEL_GRAY8 }, overlay;
    uint8_t small[10 * 12 * 3];
    m2snet_image dst = { .data = small, .width = 10, .height = 12, .format = M2SNET_PIXEL_RGB8 };

    mask.width = r->picture.width;
    mask.height = r->picture.height;
    m2snet_status status = m2snet_image_overlay(r->context, &r->picture, &mask, 0x00ff00, 2, &overlay, error);
    assert_int_equal(overlay.owner != NULL, status == M2SNET_STATUS_OK);
    if (status == M2SNET_STATUS_OK) {
        status = m2snet_image_write_png(r->context, r->output, &overlay, error);
        assert_int_equal(scratch_count(&r->files), status == M2SNET_STATUS_OK ? 2 : 1);
        remove(r->output);
    }
    m2snet_image_release(&overlay);
    return status != M2SNET_STATUS_OK ? status : m2snet_image_resize(r->context, &r->picture, &dst, error);
}

/* ---- the walk ---- */

static void walk(rig *r, const char *name, attempt call, size_t stride)
{
    m2snet_error error = { 0 };
    size_t failed = 0;

    assert_ok(call(r, &error), &error, name, __FILE__, __LINE__); /* what is made once is made now */
    size_t live = r->f.live, start = r->f.calls;
    assert_ok(call(r, &error), &error, name, __FILE__, __LINE__);
    size_t total = r->f.calls - start;
    assert_int_equal(r->f.live, live);
    for (size_t k = 1; k <= total; k += stride, failed++) {
        error = (m2snet_error){ 0 };
        start = r->f.calls;
        r->f.fail_at = start + k;
        m2snet_status status = call(r, &error);
        r->f.fail_at = 0;
        if (status == M2SNET_STATUS_OK && r->f.calls - start < k) {
            break; /* threads that share what they make make a few less this time */
        }
        if (status != M2SNET_STATUS_OUT_OF_MEMORY || error.status != status || error.message[0] == '\0') {
            fail_msg("%s, allocation %zu of %zu: \"%s\" (%s)", name, k, total, m2snet_status_string(status),
                     error.message);
        }
        if (r->f.live != live) {
            fail_msg("%s, allocation %zu of %zu: %zu blocks before, %zu after (%s)", name, k, total, live,
                     (size_t)r->f.live, error.message);
        }
    }
    assert_ok(call(r, &error), &error, name, __FILE__, __LINE__);
    assert_int_equal(r->f.live, live);
    print_message("  %s: %zu of %zu allocations failed in turn\n", name, failed, total);
}

static void begin(rig *r, const char *backend, int32_t threads)
{
    m2snet_context_options options;
    m2snet_error error;

    *r = (rig){ 0 };
    m2snet_allocator allocator = faults_allocator(&r->f);
    m2snet_context_options_init(&options);
    options.backend = backend;
    options.allocator = &allocator;
    options.threads = threads;
    OK(m2snet_context_create(&options, &r->context, &error));
    r->picture = noise_picture(50, 40);
    scratch_make(&r->files);
    r->output = scratch_path(&r->files, "output");
    r->file = scratch_path(&r->files, "model.safetensors");
}

static void end(rig *r)
{
    m2snet_model_destroy(r->model);
    m2snet_context_destroy(r->context);
    assert_int_equal(r->f.live, 0);
    free_picture(&r->picture);
    free(r->bytes);
    scratch_remove(&r->files);
}

static void tiny_walks(const char *backend)
{
    static const struct {
        const char *name;
        attempt call;
        size_t stride; /* where the compiling of a plan, which has most of them, is walked in full before */
    } walks[] = {
        { "load a file", load_file, 1 },
        { "load a mapped file", load_mapped, 1 },
        { "load from memory", load_memory, 1 },
        { "load a .pth", load_pth, 1 },
        { "load a legacy .pth", load_legacy_pth, 1 },
        { "create a model", create_model, 3 },
        { "save", save, 1 },
        { "self test", selftest, 11 },
        { "multiply-adds", multiply_adds, 1 },
        { "network count", network_count, 1 },
        { "tensors", tensors, 1 },
        { "prepare", prepare, 1 },
        { "run", run_tensors, 11 },
        { "predict", predict, 7 },
        { "predict from windows", predict_views, 17 },
        { "look inside", predict_inside, 17 },
        { "label map of attention", predict_labels, 29 },
        { "load other names", load_renamed, 7 },
        { "create from a file", create_from, 11 },
        { "read images", read_images, 1 },
        { "overlay, write, resize", write_images, 1 },
    };
    m2snet_model *created;
    m2snet_save_options options;
    scratch others; /* save() counts files */
    rig r;
    m2snet_error error;

    scratch_make(&others);
    begin(&r, backend, 2);
    OK(m2snet_model_create(r.context, TINY_CONFIG, TINY_SEED, &created, &error));
    m2snet_save_options_init(&options);
    options.with_selftest = 1;
    OK(m2snet_model_save_file(created, r.file, &options, &error));
    m2snet_model_destroy(created);
    r.renamed = scratch_path(&others, "renamed.safetensors");
    OK(m2snet_model_create(r.context, TINY_CONVNEXT, TINY_SEED, &created, &error));
    OK(m2snet_model_save_file(created, r.renamed, NULL, &error));
    m2snet_model_destroy(created);
    drop_prefix(r.renamed);
    r.bytes = read_whole(r.file, &r.size);
    OK(m2snet_model_load_file(r.context, r.file, NULL, &r.model, &error));
    for (size_t i = 0; i < COUNT(walks); i++) {
        walk(&r, walks[i].name, walks[i].call, walks[i].stride);
    }
    walk(&r, "save with a self test", save_with_selftest, 7); /* a context and a model of its own each time */
    end(&r);
    scratch_remove(&others);
}

static void test_tiny_on_cpu(void **state)
{
    (void)state;
    tiny_walks("cpu");
}

static void test_tiny_on_ref(void **state)
{
    (void)state;
    tiny_walks("ref");
}

static void test_context(void **state)
{
    static const char *const backends[] = { "cpu", "ref" };

    (void)state;
    for (size_t b = 0; b < COUNT(backends); b++) {
        for (size_t k = 1;; k++) {
            faults f = { .fail_at = k };
            m2snet_allocator allocator = faults_allocator(&f);
            m2snet_context_options options;
            m2snet_context *context = NULL;
            m2snet_error error = { 0 };
            m2snet_context_options_init(&options);
            options.backend = backends[b];
            options.allocator = &allocator;
            options.threads = 3;
            m2snet_status status = m2snet_context_create(&options, &context, &error);
            if (f.calls < k) {
                assert_int_equal(status, M2SNET_STATUS_OK);
                assert_true(k > 3);
                m2snet_context_destroy(context);
                assert_int_equal(f.live, 0);
                break;
            }
            assert_int_equal(status, M2SNET_STATUS_OUT_OF_MEMORY);
            assert_null(context);
            assert_int_equal(f.live, 0);
        }
    }
}

/* A real model, on enough of its allocations to see every kind. */
static void test_compact(void **state)
{
    rig r;
    m2snet_error error;

    (void)state;
    begin(&r, "cpu", 2);
    scratch_remove(&r.files);
    scratch_make(&r.files);
    r.file = COMPACT_MODEL;
    r.output = scratch_path(&r.files, "output");
    write_whole(scratch_path(&r.files, "bystander"), "", 0); /* save() counts files */
    OK(m2snet_model_load_file(r.context, COMPACT_MODEL, NULL, &r.model, &error));
    walk(&r, "compact: load", load_file, 29);
    walk(&r, "compact: run", run_tensors, 61);
    walk(&r, "compact: save", save, 1);
    end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_context),
        cmocka_unit_test(test_tiny_on_cpu),
        cmocka_unit_test(test_tiny_on_ref),
        cmocka_unit_test(test_compact),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
