/* SPDX-License-Identifier: Apache-2.0
 * What makes no sense is refused with a sentence that names it, and afterwards everything works as before. */
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/api_fixture.h"

/* Sizes beyond any machine are asked for on purpose: let the sanitizer's allocator say no, as malloc does. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

#define INVALID     M2SNET_STATUS_INVALID_ARGUMENT
#define FORMAT      M2SNET_STATUS_FORMAT
#define UNSUPPORTED M2SNET_STATUS_UNSUPPORTED

/* Most tests share one of each, so that every refusal is followed by good calls on the same handles. */
typedef struct rig {
    m2snet_context *context;
    m2snet_model *model;
    m2snet_session *session;
    m2snet_image picture;
    m2snet_result *truth;
    scratch files;
} rig;

static int begin(void **state)
{
    static rig r;
    m2snet_error error;

    r.context = open_context("cpu", 2);
    r.model = tiny_model(r.context);
    r.session = open_session(r.model);
    r.picture = noise_picture(70, 50);
    OK(m2snet_predict(r.session, &r.picture, NULL, &r.truth, &error));
    scratch_make(&r.files);
    *state = &r;
    return 0;
}

static int end(void **state)
{
    rig *r = *state;

    m2snet_result_destroy(r->truth);
    free_picture(&r->picture);
    m2snet_session_destroy(r->session);
    m2snet_model_destroy(r->model);
    m2snet_context_destroy(r->context);
    scratch_remove(&r->files);
    return 0;
}

static void still_works(rig *r)
{
    m2snet_result *result;
    m2snet_error error;

    OK(m2snet_predict(r->session, &r->picture, NULL, &result, &error));
    assert_same_result(result, r->truth);
    m2snet_result_destroy(result);
}

/* ---- contexts ---- */

static void refuse_context(const m2snet_context_options *options, m2snet_status status, const char *part)
{
    m2snet_context *context = (m2snet_context *)(uintptr_t)options;
    m2snet_error error;

    REFUSE(m2snet_context_create(options, &context, &error), status, part);
    assert_null(context);
}

static void *alloc_nothing(void *user, size_t bytes, size_t alignment)
{
    (void)user;
    (void)bytes;
    (void)alignment;
    return NULL;
}

static void test_contexts(void **state)
{
    m2snet_context_options options;
    m2snet_allocator half = { alloc_nothing, NULL, NULL };
    m2snet_context *context;
    m2snet_error error;

    static const int32_t thread_counts[] = { -1, 1025, INT32_MAX, INT32_MIN };
    for (size_t i = 0; i < COUNT(thread_counts); i++) {
        m2snet_context_options_init(&options);
        options.threads = thread_counts[i];
        refuse_context(&options, INVALID, "threads");
    }
    static const char *const backends[] = { "", "CPU", "gpu",
                                            ("a name far longer than any backend will ever have, as "
                                             "an attacker might send it over the network") };
    for (size_t i = 0; i < COUNT(backends); i++) {
        m2snet_context_options_init(&options);
        options.backend = backends[i];
        refuse_context(&options, INVALID, "auto, cpu, ref");
    }
    m2snet_context_options_init(&options);
    options.device = 1;
    refuse_context(&options, INVALID, "device 1");
    options.device = -1;
    refuse_context(&options, INVALID, "device -1");
    m2snet_context_options_init(&options);
    options.instruction_set = "sse9";
    refuse_context(&options, INVALID, "baseline, avx2, avx512");
    m2snet_context_options_init(&options);
    options.allocator = &half;
    refuse_context(&options, INVALID, "allocator");
    m2snet_context_options_init(&options);
    options.memory_limit_bytes = 1;
    refuse_context(&options, M2SNET_STATUS_LIMIT, "memory_limit_bytes");

    m2snet_context_options_init(&options);
    options.threads = 0;
    OK(m2snet_context_create(&options, &context, &error));
    m2snet_context_info info = { .struct_size = sizeof info };
    OK(m2snet_context_get_info(context, &info, &error));
    assert_true(info.threads >= 1);
    m2snet_context_destroy(context);
    options.instruction_set = "baseline";
    OK(m2snet_context_create(&options, &context, &error));
    OK(m2snet_context_get_info(context, &info, &error));
    assert_string_equal(info.instruction_set, "baseline");
    m2snet_context_destroy(context);
    still_works(*state);
}

/* ---- sessions, plans, tensors ---- */

static void test_sessions(void **state)
{
    rig *r = *state;
    m2snet_session_options options;
    m2snet_session *session;
    m2snet_error error;

    static const int32_t sides[] = { 1, 32, -64, 8193, INT32_MAX, INT32_MIN };
    for (size_t i = 0; i < COUNT(sides); i++) {
        m2snet_session_options_init(&options);
        options.input_width = sides[i];
        REFUSE(m2snet_session_create(r->model, &options, &session, &error), INVALID, "input_width");
        assert_null(session);
        m2snet_session_options_init(&options);
        options.input_height = sides[i];
        REFUSE(m2snet_session_create(r->model, &options, &session, &error), INVALID, "input_height");
    }
    static const int32_t plans[] = { 0, -1, 65 };
    for (size_t i = 0; i < COUNT(plans); i++) {
        m2snet_session_options_init(&options);
        options.max_plans = plans[i];
        REFUSE(m2snet_session_create(r->model, &options, &session, &error), INVALID, "max_plans");
    }
    m2snet_session_options_init(&options);
    options.precision = M2SNET_PRECISION_F64;
    REFUSE(m2snet_session_create(r->model, &options, &session, &error), UNSUPPORTED, "F64");
    assert_non_null(strstr(error.message, "ref"));
    options.precision = (m2snet_precision)7;
    REFUSE(m2snet_session_create(r->model, &options, &session, &error), INVALID, "7");
    still_works(r);
}

static void test_plan_sizes(void **state)
{
    rig *r = *state;
    m2snet_plan_info info = { .struct_size = sizeof info };
    uint64_t number;
    m2snet_error error;

    static const int64_t bad[][3] = { { 0, 64, 64 },          { -1, 64, 64 },       { 1, 32, 64 },
                                      { 1, 64, 32 },          { 1, 0, 64 },         { 1, 64, -64 },
                                      { INT64_MAX, 64, 64 },  { 1, INT64_MAX, 64 }, { 1, 64, INT64_MAX },
                                      { INT64_MIN, 64, 64 },  { 1, INT64_MIN, 64 }, { INT64_MAX, INT64_MAX, INT64_MAX },
                                      { 1, 1 << 20, 1 << 20 } };
    for (size_t i = 0; i < COUNT(bad); i++) {
        error = (m2snet_error){ 0 };
        m2snet_status status = m2snet_session_prepare(r->session, bad[i][0], bad[i][1], bad[i][2], NULL, &error);
        if (status != INVALID && status != M2SNET_STATUS_LIMIT) {
            fail_msg("prepare %lld %lld %lld: %d %s", (long long)bad[i][0], (long long)bad[i][1], (long long)bad[i][2],
                     (int)status, error.message);
        }
        assert_true(error.status == status && error.message[0] != '\0');
        assert_int_equal(m2snet_session_plan_info(r->session, bad[i][0], bad[i][1], bad[i][2], &info, &error), status);
    }
    static const int32_t sides[][2] = { { 0, 64 }, { 64, 0 }, { -1, -1 }, { 32, 32 }, { INT32_MAX, INT32_MAX } };
    for (size_t i = 0; i < COUNT(sides); i++) {
        m2snet_status status = m2snet_model_multiply_adds(r->model, sides[i][0], sides[i][1], &number, &error);
        assert_true(status == INVALID || status == M2SNET_STATUS_LIMIT);
    }
    uint64_t parameters = 0, multiply_adds = 0;
    char config[64];
    int32_t encoder = 0;
    for (; m2snet_encoder_name(encoder) != NULL; encoder++) {
        (void)snprintf(config, sizeof config, "{\"encoder\": \"%s\"}", m2snet_encoder_name(encoder));
        OK(m2snet_network_count(r->context, config, 64, 64, &parameters, &multiply_adds, &error));
    }
    assert_int_equal(encoder, 3 + 4 + 6); /* Res2Net, ConvNeXt, PVTv2 */
    assert_null(m2snet_encoder_name(-1));
    OK(m2snet_network_count(r->context, NULL, 352, 352, &parameters, &multiply_adds, &error));
    assert_true(parameters == 27692585 && multiply_adds == 16844005376);
    OK(m2snet_network_count(r->context, "{\"variant\":{\"unit\":\"aspp\"}}", 256, 256, &parameters, &multiply_adds,
                            &error));
    assert_true(parameters == 29256489 && multiply_adds == 13730578432);
    REFUSE(
        m2snet_network_count(r->context, "{\"variant\":{\"unit\":1}}", 256, 256, &parameters, &multiply_adds, &error),
        FORMAT, "unit");
    REFUSE(m2snet_network_count(r->context, NULL, 32, 256, &parameters, &multiply_adds, &error), INVALID, "33");
    OK(m2snet_model_multiply_adds(r->model, 33, 33, &number, &error));
    assert_true(number > 0);
    OK(m2snet_session_prepare(r->session, 1, 33, 33, NULL, &error)); /* the smallest there is */
    still_works(r);
}

static m2snet_tensor *tensor_of(rig *r, int64_t n, int64_t h, int64_t w, int64_t c)
{
    m2snet_tensor_desc desc = { .dtype = M2SNET_DTYPE_F32, .n = n, .h = h, .w = w, .c = c };
    m2snet_tensor *tensor;
    m2snet_error error;

    OK(m2snet_tensor_create(r->context, &desc, NULL, &tensor, &error));
    return tensor;
}

static void test_tensors(void **state)
{
    rig *r = *state;
    m2snet_tensor *tensor;
    float data[4] = { 0 };
    m2snet_error error;

    static const int64_t bad[][4] = { { 0, 1, 1, 1 },         { 1, -1, 1, 1 },
                                      { 1, 1, 0, 1 },         { 1, 1, 1, INT64_MIN },
                                      { INT64_MAX, 2, 1, 1 }, { 1ll << 31, 1ll << 31, 1ll << 31, 1ll << 31 } };
    for (size_t i = 0; i < COUNT(bad); i++) {
        m2snet_tensor_desc desc = { M2SNET_DTYPE_F32, bad[i][0], bad[i][1], bad[i][2], bad[i][3], 0, 0, 0, 0 };
        REFUSE(m2snet_tensor_create(r->context, &desc, NULL, &tensor, &error), INVALID, "tensor");
        assert_null(tensor);
        REFUSE(m2snet_tensor_create(r->context, &desc, data, &tensor, &error), INVALID, "tensor");
    }
    static const int dtypes[] = { 0, -1, M2SNET_DTYPE_F16, M2SNET_DTYPE_I64, 99 };
    for (size_t i = 0; i < COUNT(dtypes); i++) {
        m2snet_tensor_desc desc = { .dtype = (m2snet_dtype)dtypes[i], .n = 1, .h = 1, .w = 1, .c = 1 };
        REFUSE(m2snet_tensor_create(r->context, &desc, NULL, &tensor, &error), INVALID, "dtype");
    }
    /* Strides whose farthest element lies outside any address space. */
    m2snet_tensor_desc far = { M2SNET_DTYPE_F32, 3, 3, 3, 3, INT64_MAX, 4, 4, 4 };
    REFUSE(m2snet_tensor_create(r->context, &far, data, &tensor, &error), INVALID, "stride");
    far = (m2snet_tensor_desc){ M2SNET_DTYPE_F32, 3, 3, 3, 3, 4, INT64_MIN, 4, 4 };
    REFUSE(m2snet_tensor_create(r->context, &far, data, &tensor, &error), INVALID, "stride");
    m2snet_tensor_desc huge = { .dtype = M2SNET_DTYPE_F64, .n = 1ll << 40, .h = 1, .w = 1, .c = 1 };
    REFUSE(m2snet_tensor_create(r->context, &huge, NULL, &tensor, &error), M2SNET_STATUS_OUT_OF_MEMORY, "tensor");

    static const struct {
        int64_t src[4], dst[4];
        const char *part;
    } shapes[] = {
        { { 1, 64, 64, 4 }, { 1, 64, 64, 1 }, "src has 4 channels" },
        { { 1, 64, 64, 1 }, { 1, 64, 64, 1 }, "src has 1 channels" },
        { { 1, 64, 64, 3 }, { 1, 64, 64, 2 }, "dst is 1x64x64x2" },
        { { 1, 64, 64, 3 }, { 2, 64, 64, 1 }, "dst" },
        { { 1, 64, 64, 3 }, { 1, 63, 64, 1 }, "dst" },
        { { 1, 64, 64, 3 }, { 1, 64, 65, 1 }, "dst" },
    };
    for (size_t i = 0; i < COUNT(shapes); i++) {
        m2snet_tensor *src = tensor_of(r, shapes[i].src[0], shapes[i].src[1], shapes[i].src[2], shapes[i].src[3]);
        m2snet_tensor *dst = tensor_of(r, shapes[i].dst[0], shapes[i].dst[1], shapes[i].dst[2], shapes[i].dst[3]);
        REFUSE(m2snet_session_run(r->session, src, dst, NULL, &error), M2SNET_STATUS_MISMATCH, shapes[i].part);
        m2snet_tensor_destroy(src);
        m2snet_tensor_destroy(dst);
    }
    m2snet_tensor *src = tensor_of(r, 1, 32, 64, 3), *dst = tensor_of(r, 1, 32, 64, 1);
    REFUSE(m2snet_session_run(r->session, src, dst, NULL, &error), INVALID, "32");
    m2snet_tensor_destroy(src);
    m2snet_tensor_destroy(dst);
    still_works(r);
}

/* The context that a tensor was made in does not matter. */
static void test_foreign_tensors(void **state)
{
    rig *r = *state, other = { 0 };
    m2snet_error error;

    other.context = open_context("ref", 1);
    m2snet_tensor *src = tensor_of(&other, 1, 40, 40, 3), *dst = tensor_of(r, 1, 40, 40, 1);
    OK(m2snet_session_run(r->session, src, dst, NULL, &error));
    m2snet_context_destroy(other.context);
    m2snet_tensor_destroy(src);
    m2snet_tensor_destroy(dst);
}

/* ---- prediction options ---- */

static void refuse_predict(rig *r, const m2snet_predict_options *options, const char *part)
{
    m2snet_result *result = (m2snet_result *)(uintptr_t)options;
    m2snet_error error;

    REFUSE(m2snet_predict(r->session, &r->picture, options, &result, &error), INVALID, part);
    assert_null(result);
    REFUSE(m2snet_predict_batch(r->session, &r->picture, 1, options, &result, &error), INVALID, part);
}

static void test_predict_options(void **state)
{
    rig *r = *state;
    m2snet_predict_options o;
    m2snet_result *results[2];
    m2snet_error error;

    static const double thresholds[] = { 2.0, 1.0000001, (double)NAN, (double)INFINITY };
    for (size_t i = 0; i < COUNT(thresholds); i++) {
        m2snet_predict_options_init(&o);
        o.threshold = thresholds[i];
        refuse_predict(r, &o, "threshold");
    }
    static const int32_t classes[] = { -1, 1, INT32_MAX };
    for (size_t i = 0; i < COUNT(classes); i++) {
        m2snet_predict_options_init(&o);
        o.class_index = classes[i];
        refuse_predict(r, &o, "class_index");
    }
    static const int32_t regions[][4] = { { 0, 0, 71, 50 },
                                          { 0, 0, 70, 51 },
                                          { 1, 0, 70, 50 },
                                          { -1, 0, 10, 10 },
                                          { 0, -1, 10, 10 },
                                          { 70, 0, 1, 1 },
                                          { 0, 0, 0, 10 },
                                          { 0, 0, 10, 0 },
                                          { 0, 0, -10, 10 },
                                          { INT32_MAX, 0, 1, 1 },
                                          { 1, 1, INT32_MAX, INT32_MAX },
                                          { 0, 0, 10, -1 },
                                          { INT32_MIN, 0, 10, 10 } };
    for (size_t i = 0; i < COUNT(regions); i++) {
        m2snet_predict_options_init(&o);
        o.roi_x = regions[i][0];
        o.roi_y = regions[i][1];
        o.roi_width = regions[i][2];
        o.roi_height = regions[i][3];
        refuse_predict(r, &o, "region");
    }
    static const double areas[] = { -1.0, (double)NAN, (double)INFINITY };
    for (size_t i = 0; i < COUNT(areas); i++) {
        m2snet_predict_options_init(&o);
        o.min_area_px = areas[i];
        refuse_predict(r, &o, "min_area_px");
    }
    m2snet_predict_options_init(&o);
    o.presence_min_area_px = (double)NAN;
    refuse_predict(r, &o, "presence_min_area_px");
    static const double spacings[][2] = { { (double)NAN, 1.0 }, { 1.0, (double)NAN },      { -1.0, 1.0 }, { 1.0, -1.0 },
                                          { 1.0, 0.0 },         { (double)INFINITY, 1.0 }, { 0.0, 1.0 } };
    for (size_t i = 0; i < COUNT(spacings); i++) {
        m2snet_predict_options_init(&o);
        o.spacing_y_mm = spacings[i][0];
        o.spacing_x_mm = spacings[i][1];
        refuse_predict(r, &o, "spacing");
    }
    /* Rows that would overlap in the caller's buffers. */
    float probability[70 * 50];
    uint8_t bytes[70 * 50];
    m2snet_predict_options_init(&o);
    o.probability = probability;
    o.probability_stride_bytes = 69 * (ptrdiff_t)sizeof(float);
    refuse_predict(r, &o, "probability_stride_bytes");
    m2snet_predict_options_init(&o);
    o.map = bytes;
    o.map_stride_bytes = -69;
    refuse_predict(r, &o, "map_stride_bytes");
    m2snet_predict_options_init(&o);
    o.mask = bytes;
    o.mask_stride_bytes = 1;
    refuse_predict(r, &o, "mask_stride_bytes");
    o.mask_stride_bytes = PTRDIFF_MIN;
    refuse_predict(r, &o, "mask_stride_bytes");

    /* One buffer cannot hold two pictures. */
    m2snet_image pair[2] = { r->picture, r->picture };
    m2snet_predict_options_init(&o);
    o.mask = bytes;
    REFUSE(m2snet_predict_batch(r->session, pair, 2, &o, results, &error), INVALID, "buffers");
    assert_true(results[0] == NULL && results[1] == NULL);
    still_works(r);
}

/* ---- pictures ---- */

static void refuse_picture(rig *r, const m2snet_image *picture, const char *part)
{
    m2snet_result *results[2];
    m2snet_error error;

    REFUSE(m2snet_predict(r->session, picture, NULL, &results[0], &error), INVALID, part);
    assert_null(results[0]);
    m2snet_image pair[2] = { r->picture, *picture };
    REFUSE(m2snet_predict_batch(r->session, pair, 2, NULL, results, &error), INVALID, "image 1");
    assert_true(results[0] == NULL && results[1] == NULL);
}

static void test_pictures(void **state)
{
    rig *r = *state;
    m2snet_image p;

    static const int32_t sizes[][2] = { { 0, 0 },   { 0, 10 },    { 10, 0 },         { -1, 10 },
                                        { 10, -1 }, { 65536, 1 }, { INT32_MAX, 10 }, { 20000, 20000 } };
    for (size_t i = 0; i < COUNT(sizes); i++) {
        p = r->picture;
        p.width = sizes[i][0];
        p.height = sizes[i][1];
        refuse_picture(r, &p, "image");
    }
    p = r->picture;
    p.data = NULL;
    refuse_picture(r, &p, "image");
    static const int formats[] = { 0, -1, 8, 1000 };
    for (size_t i = 0; i < COUNT(formats); i++) {
        p = r->picture;
        p.format = (m2snet_pixel_format)formats[i];
        refuse_picture(r, &p, "format");
    }
    static const ptrdiff_t strides[] = { 1, 209, -209, PTRDIFF_MIN, PTRDIFF_MAX };
    for (size_t i = 0; i < COUNT(strides); i++) {
        p = r->picture;
        p.row_stride_bytes = strides[i];
        refuse_picture(r, &p, "stride");
    }
    static const float windows[][2] = { { 1.0f, 0.0f }, { 1.0f, 1.0f }, { NAN, 1.0f }, { 0.0f, INFINITY } };
    for (size_t i = 0; i < COUNT(windows); i++) {
        p = r->picture;
        p.width = 10; /* fits the buffer in any format */
        p.height = 10;
        p.format = M2SNET_PIXEL_F32;
        p.window_low = windows[i][0];
        p.window_high = windows[i][1];
        refuse_picture(r, &p, "window");
    }
    still_works(r);
}

/* Strange but right. */
static void test_extreme_pictures(void **state)
{
    rig *r = *state;
    m2snet_error error;

    static const int32_t sizes[][2] = { { 1, 1 }, { 20000, 1 }, { 1, 20000 }, { 65535, 1 }, { 2, 3 } };
    for (size_t i = 0; i < COUNT(sizes); i++) {
        m2snet_image picture = noise_picture(sizes[i][0], sizes[i][1]);
        m2snet_result *result;
        m2snet_component component = { .struct_size = sizeof component };
        m2snet_predict_options o;
        m2snet_predict_options_init(&o);
        o.threshold = 0.0; /* every pixel: components and contours at their largest */
        o.fill_holes = 1;
        OK(m2snet_predict(r->session, &picture, &o, &result, &error));
        assert_int_equal(m2snet_result_width(result), sizes[i][0]);
        assert_int_equal(m2snet_result_height(result), sizes[i][1]);
        assert_int_equal(m2snet_result_component_count(result), 1);
        OK(m2snet_result_component(result, 0, &component, &error));
        assert_int_equal(component.area_px, (int64_t)sizes[i][0] * sizes[i][1]);
        const int32_t *points;
        int32_t count;
        OK(m2snet_result_contour(result, 0, &points, &count, &error));
        assert_int_equal(count, 4);
        m2snet_result_destroy(result);
        free_picture(&picture);
    }
    /* Floats that are no numbers are black or white, never an error or a NaN in the result. */
    float wild[40 * 40];
    for (size_t i = 0; i < COUNT(wild); i++) {
        wild[i] = i % 4 == 0 ? NAN : i % 4 == 1 ? INFINITY : i % 4 == 2 ? -FLT_MAX : 0.5f;
    }
    m2snet_image picture = { .data = wild, .width = 40, .height = 40, .format = M2SNET_PIXEL_F32 };
    m2snet_result *result;
    OK(m2snet_predict(r->session, &picture, NULL, &result, &error));
    for (size_t i = 0; i < COUNT(wild); i++) {
        assert_true(m2snet_result_probability(result)[i] >= 0.0f && m2snet_result_probability(result)[i] <= 1.0f);
    }
    m2snet_result_destroy(result);
}

static void test_image_functions(void **state)
{
    rig *r = *state;
    m2snet_image gray = { .data = r->picture.data, .width = 70, .height = 50, .format = M2SNET_PIXEL_GRAY8 };
    m2snet_image p, out;
    m2snet_error error;

    REFUSE(m2snet_image_read_file(r->context, "/no/such/picture.png", NULL, &out, &error), M2SNET_STATUS_IO,
           "/no/such/picture.png");
    REFUSE(m2snet_image_read_file(r->context, r->files.folder, NULL, &out, &error), M2SNET_STATUS_IO, r->files.folder);
    REFUSE(m2snet_image_read_memory(r->context, "", 0, NULL, &out, &error), FORMAT, "");
    REFUSE(m2snet_image_read_memory(r->context, "garbage, no picture", 19, NULL, &out, &error), FORMAT, "");
    assert_null(out.owner);
    size_t bytes;
    unsigned char *jpeg = read_whole(DEMO_IMAGE, &bytes);
    m2snet_image_read_options o;
    m2snet_image_read_options_init(&o);
    o.max_pixels = 1000;
    REFUSE(m2snet_image_read_memory(r->context, jpeg, bytes, &o, &out, &error), M2SNET_STATUS_LIMIT, "1000");
    for (size_t cut = 1; cut < bytes / 2; cut += bytes / 23) {
        m2snet_status status = m2snet_image_read_memory(r->context, jpeg, cut, NULL, &out, &error);
        assert_true(status == FORMAT && out.owner == NULL);
    }
    OK(m2snet_image_read_memory(r->context, jpeg, bytes, NULL, &out, &error));
    m2snet_image_release(&out);
    free(jpeg);

    p = r->picture;
    p.format = M2SNET_PIXEL_F32;
    p.width = 10;
    REFUSE(m2snet_image_write_png(r->context, "/tmp/never-written.png", &p, &error), INVALID, "");
    REFUSE(m2snet_image_write_png(r->context, "/no/such/folder/x.png", &r->picture, &error), M2SNET_STATUS_IO,
           "/no/such/folder/x.png");
    REFUSE(m2snet_image_write_png(r->context, r->files.folder, &r->picture, &error), M2SNET_STATUS_IO, r->files.folder);
    REFUSE(m2snet_image_resize(r->context, &r->picture, &gray, &error), INVALID, "");
    p = r->picture;
    REFUSE(m2snet_image_overlay(r->context, &p, &p, 0, 1, &out, &error), INVALID, "mask");
    p = gray;
    p.width = 69;
    p.row_stride_bytes = 70;
    REFUSE(m2snet_image_overlay(r->context, &r->picture, &p, 0, 1, &out, &error), INVALID, "69");
    REFUSE(m2snet_image_overlay(r->context, &r->picture, &gray, 0, -1, &out, &error), INVALID, "width");
    REFUSE(m2snet_image_overlay(r->context, &r->picture, &gray, 0, 0, &out, &error), INVALID, "width");
    assert_null(out.owner);
    assert_int_equal(scratch_count(&r->files), 0);
    still_works(r);
}

/* ---- model files ---- */

static void refuse_model(rig *r, const char *path, m2snet_status status, const char *part)
{
    m2snet_model *model = (m2snet_model *)(uintptr_t)path;
    m2snet_model_options options;
    size_t bytes;
    m2snet_error error;

    REFUSE(m2snet_model_load_file(r->context, path, NULL, &model, &error), status, part);
    assert_null(model);
    assert_non_null(strstr(error.message, path)); /* which file it was */
    m2snet_model_options_init(&options);
    options.memory_map = 1;
    m2snet_status mapped = m2snet_model_load_file(r->context, path, &options, &model, &error);
    assert_true(mapped != M2SNET_STATUS_OK && model == NULL);
    unsigned char *data = read_whole(path, &bytes);
    REFUSE(m2snet_model_load_memory(r->context, data, bytes, NULL, &model, &error), status, part);
    assert_null(model);
    free(data);
}

static void test_damaged_models(void **state)
{
    rig *r = *state;
    const char *path = scratch_path(&r->files, "model.safetensors");
    size_t bytes;
    m2snet_model *model;
    m2snet_error error;

    REFUSE(m2snet_model_load_file(r->context, "/no/such/model.safetensors", NULL, &model, &error), M2SNET_STATUS_IO,
           "/no/such/model.safetensors");
    REFUSE(m2snet_model_load_file(r->context, "", NULL, &model, &error), M2SNET_STATUS_IO, "");
    REFUSE(m2snet_model_load_file(r->context, r->files.folder, NULL, &model, &error), M2SNET_STATUS_IO,
           r->files.folder);

    write_whole(path, "", 0);
    refuse_model(r, path, FORMAT, "empty");
    write_whole(path, "\x80", 1);
    refuse_model(r, path, FORMAT, "");
    char noise[4096];
    for (size_t i = 0; i < sizeof noise; i++) {
        noise[i] = (char)(i * 2654435761u >> 13);
    }
    write_whole(path, noise, sizeof noise);
    refuse_model(r, path, FORMAT, "");
    write_whole(path, DEMO_IMAGE, strlen(DEMO_IMAGE)); /* some text */
    refuse_model(r, path, FORMAT, "");
    refuse_model(r, DEMO_IMAGE, FORMAT, "");

    unsigned char *good = read_whole(COMPACT_MODEL, &bytes);
    static const double parts[] = { 1e-6, 1e-4, 1e-3, 0.01, 0.3, 0.999, 0.9999999 };
    for (size_t i = 0; i < COUNT(parts); i++) {
        write_whole(path, good, (size_t)((double)bytes * parts[i]));
        refuse_model(r, path, FORMAT, "");
    }
    uint64_t huge[] = { UINT64_MAX, INT64_MAX, (uint64_t)1 << 40, bytes - 7, bytes - 8 };
    for (size_t i = 0; i < COUNT(huge); i++) {
        memcpy(good, &huge[i], sizeof huge[i]); /* length of the header */
        m2snet_status status = m2snet_model_load_memory(r->context, good, bytes, NULL, &model, &error);
        assert_true((status == FORMAT || status == M2SNET_STATUS_LIMIT) && model == NULL);
    }
    free(good);

    static const char *const headers[] = {
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,16]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807],\"data_offsets\":[0,16]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[-4],\"data_offsets\":[0,16]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,32]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[16,0]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,18446744073709551615]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,4],\"data_offsets\":[0,16]}}",
        "{\"w\":{\"dtype\":\"F32\"}}",
        "{\"w\":16}",
        "[]",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}",
        "{\"__metadata__\":{\"a\":1},\"w\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}",
    };
    for (size_t i = 0; i < COUNT(headers); i++) {
        write_safetensors(path, headers[i], noise, 16);
        m2snet_status status = m2snet_model_load_file(r->context, path, NULL, &model, &error);
        if (!(status == FORMAT || status == M2SNET_STATUS_LIMIT || status == UNSUPPORTED) || model != NULL) {
            fail_msg("%s: %d %s", headers[i], (int)status, error.message);
        }
    }
    unlink(path);
    still_works(r);
}

/* A tiny model saved with one thing changed in its bytes. */
static void test_bad_weights(void **state)
{
    rig *r = *state;
    const char *path = scratch_path(&r->files, "weights.safetensors");
    static const uint32_t bad[] = { 0x7fc00000u, 0x7f800000u, 0xff800000u, 0xffffffffu };
    size_t bytes;
    uint64_t header;
    m2snet_model *model;
    m2snet_error error;

    OK(m2snet_model_save_file(r->model, path, NULL, &error));
    unsigned char *good = read_whole(path, &bytes);
    memcpy(&header, good, sizeof header);
    const char *name = "\"level1.0.weight\":";
    const char *entry = strstr((const char *)good + 8, name);
    assert_non_null(entry);
    const char *offsets = strstr(entry, "data_offsets");
    assert_non_null(offsets);
    unsigned long begin_at = strtoul(strchr(offsets, '[') + 1, NULL, 10);
    unsigned char *weight = good + 8 + header + begin_at + 5 * sizeof(float);
    uint32_t kept;
    memcpy(&kept, weight, sizeof kept);
    for (size_t i = 0; i < COUNT(bad); i++) {
        memcpy(weight, &bad[i], sizeof bad[i]);
        write_whole(path, good, bytes);
        refuse_model(r, path, FORMAT, "level1.0.weight: element 5");
    }
    memcpy(weight, &kept, sizeof kept);
    OK(m2snet_model_load_memory(r->context, good, bytes, NULL, &model, &error));
    m2snet_model_destroy(model);
    free(good);
    unlink(path);
}

/* Weights of another network: the table says what is missing, extra and of another shape, and stays short. */
static void test_table(void **state)
{
    rig *r = *state;
    const char *path = scratch_path(&r->files, "other.safetensors");
    m2snet_model_options options;
    m2snet_model *model;
    m2snet_error error;

    OK(m2snet_model_save_file(r->model, path, NULL, &error));
    m2snet_model_options_init(&options);
    options.config_json = "{\"pyramid_channels\":16}";
    REFUSE(m2snet_model_load_file(r->context, path, &options, &model, &error), M2SNET_STATUS_MISMATCH,
           "pyramid_channels");
    options.config_json = "{\"classes\":[\"a\",\"b\"]}";
    REFUSE(m2snet_model_load_file(r->context, path, &options, &model, &error), M2SNET_STATUS_MISMATCH, "classes");
    options.config_json = "{\"encoder_shape\":{\"stem\":[4,4,8],\"blocks\":[2,1,1,1],\"width\":[3,4,4,4],"
                          "\"channels\":[16,16,16,32]}}";
    REFUSE(m2snet_model_load_file(r->context, path, &options, &model, &error), M2SNET_STATUS_MISMATCH,
           "of another shape");
    assert_non_null(strstr(error.message, "\n  shape "));
    options.config_json = "{\"encoder\":\"res2net_compact\"}";
    REFUSE(m2snet_model_load_file(r->context, path, &options, &model, &error), M2SNET_STATUS_MISMATCH,
           "with encoder res2net_compact: ");
    options.config_json = "{\"encoder_shape\":{\"stem\":[4,4,8],\"blocks\":[4,4,4,4],\"width\":[3,4,4,4],"
                          "\"channels\":[16,16,16,16]}}";
    REFUSE(m2snet_model_load_file(r->context, path, &options, &model, &error), M2SNET_STATUS_MISMATCH, " missing, ");
    assert_non_null(strstr(error.message, "resnet.layer1.2."));
    assert_non_null(strstr(error.message, " more")); /* the table is cut and says so */
    assert_true(strlen(error.message) < sizeof error.message - 1);
    options.config_json = "{\"encoder\":\"vgg\"}";
    REFUSE(m2snet_model_load_file(r->context, path, &options, &model, &error), UNSUPPORTED, "vgg");
    options.config_json = "{\"input_size\":";
    REFUSE(m2snet_model_load_file(r->context, path, &options, &model, &error), FORMAT, "configuration");
    options.config_json = "[1]";
    REFUSE(m2snet_model_load_file(r->context, path, &options, &model, &error), FORMAT, "object");
    options.config_json = NULL;
    OK(m2snet_model_load_file(r->context, path, &options, &model, &error));
    m2snet_model_destroy(model);

    /* Nothing of a network at all. */
    const float four[4] = { 0 };
    write_safetensors(path, "{\"w\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}", four, sizeof four);
    refuse_model(r, path, M2SNET_STATUS_MISMATCH, "missing");
    assert_true(strlen(error.message) > 0);
    unlink(path);
    still_works(r);
}

static void test_configurations(void **state)
{
    rig *r = *state;
    m2snet_model *model;
    m2snet_error error;

    static const struct {
        const char *json;
        m2snet_status status;
        const char *part;
    } cases[] = {
        { "", FORMAT, "configuration" },
        { "nonsense", FORMAT, "configuration" },
        { "{\"input_size\":32}", FORMAT, "input_size" },
        { "{\"input_size\":9000}", FORMAT, "input_size" },
        { "{\"input_size\":\"big\"}", FORMAT, "input_size" },
        { "{\"pyramid_channels\":0}", FORMAT, "pyramid_channels" },
        { "{\"pyramid_channels\":1e99}", FORMAT, "pyramid_channels" },
        { "{\"scales\":[1,2]}", FORMAT, "scales" },
        { "{\"scales\":[3,5]}", FORMAT, "scales" },
        { "{\"scales\":[]}", FORMAT, "scales" },
        { "{\"classes\":[]}", FORMAT, "classes" },
        { "{\"classes\":[1]}", FORMAT, "classes" },
        { "{\"threshold\":2}", FORMAT, "threshold" },
        { "{\"threshold\":null}", FORMAT, "threshold" },
        { "{\"std\":[0,1,1]}", FORMAT, "std" },
        { "{\"encoder\":\"vgg\"}", UNSUPPORTED, "vgg" },
        { "{\"architecture\":\"unet\"}", UNSUPPORTED, "unet" },
        { "{\"format_version\":2}", UNSUPPORTED, "2" },
        { "{\"required_magic\":1}", UNSUPPORTED, "required_magic" },
        { "{\"encoder_shape\":{}}", FORMAT, "stem" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        REFUSE(m2snet_model_create(r->context, cases[i].json, 1, &model, &error), cases[i].status, cases[i].part);
        assert_null(model);
    }
    /* Larger than any machine; the cap is there so that this one is not asked. */
    m2snet_context_options options;
    m2snet_context *context;
    m2snet_context_options_init(&options);
    options.memory_limit_bytes = 1 << 26;
    OK(m2snet_context_create(&options, &context, &error));
    REFUSE(m2snet_model_create(context,
                               "{\"encoder_shape\":{\"stem\":[16384,16384,16384],\"blocks\":[64,64,64,64],\"width\":"
                               "[4096,4096,4096,4096],\"channels\":[16384,16384,16384,16384]},\"pyramid_channels\":"
                               "16384}",
                               1, &model, &error),
           M2SNET_STATUS_LIMIT, "memory_limit_bytes");
    m2snet_context_destroy(context);
    still_works(r);
}

static void test_save(void **state)
{
    rig *r = *state;
    const char *path = scratch_path(&r->files, "saved.safetensors");
    m2snet_save_options o;
    m2snet_error error;

    REFUSE(m2snet_model_save_file(r->model, "/no/such/folder/x.safetensors", NULL, &error), M2SNET_STATUS_IO,
           "/no/such/folder/x.safetensors");
    REFUSE(m2snet_model_save_file(r->model, r->files.folder, NULL, &error), M2SNET_STATUS_IO, r->files.folder);
    m2snet_save_options_init(&o);
    o.dtype = M2SNET_DTYPE_I8;
    REFUSE(m2snet_model_save_file(r->model, path, &o, &error), INVALID, "F32, F16 or BF16");
    static const char *const metadata[] = {
        "{", "[]", "{\"a\":1}", "{\"a\":null}", "{\"m2snet.config\":\"{}\"}", "\"text\"", "{\"a\":{\"b\":\"c\"}}"
    };
    for (size_t i = 0; i < COUNT(metadata); i++) {
        m2snet_save_options_init(&o);
        o.metadata_json = metadata[i];
        REFUSE(m2snet_model_save_file(r->model, path, &o, &error), INVALID, "metadata_json");
    }
    m2snet_save_options_init(&o);
    o.with_selftest = 1;
    REFUSE(m2snet_model_save_file(r->model, "/no/such/folder/x.safetensors", &o, &error), M2SNET_STATUS_IO, "/no/such");
    assert_int_equal(scratch_count(&r->files), 0); /* nothing half written */
    REFUSE(m2snet_model_selftest(r->model, NULL, &error), UNSUPPORTED, "self test");
    still_works(r);
}

/* ---- one session, two threads ---- */

typedef struct intruder {
    rig *r;
    int busy, calls;
} intruder;

/* Runs inside a call on the session: every other use of it must say BUSY. */
static int enter_again(void *user, const m2snet_progress *progress)
{
    intruder *in = user;
    m2snet_result *result;
    m2snet_plan_info info = { .struct_size = sizeof info };
    m2snet_error error;

    (void)progress;
    if (in->calls++ == 0) {
        REFUSE(m2snet_predict(in->r->session, &in->r->picture, NULL, &result, &error), M2SNET_STATUS_BUSY, "thread");
        assert_null(result);
        REFUSE(m2snet_session_prepare(in->r->session, 1, 64, 64, NULL, &error), M2SNET_STATUS_BUSY, "thread");
        REFUSE(m2snet_session_plan_info(in->r->session, 1, 64, 64, &info, &error), M2SNET_STATUS_BUSY, "thread");
        REFUSE(m2snet_session_trim(in->r->session, &error), M2SNET_STATUS_BUSY, "thread");
        REFUSE(m2snet_session_time_steps(in->r->session, 1, &error), M2SNET_STATUS_BUSY, "thread");
        in->busy++;
    }
    return 0;
}

static void *intrude(void *argument)
{
    intruder *in = argument;
    m2snet_result *result;

    for (int i = 0; i < 200 && in->busy == 0; i++) {
        m2snet_status status = m2snet_predict(in->r->session, &in->r->picture, NULL, &result, NULL);
        in->busy += status == M2SNET_STATUS_BUSY;
        in->calls += status == M2SNET_STATUS_OK;
        m2snet_result_destroy(result);
    }
    return NULL;
}

static void test_busy(void **state)
{
    rig *r = *state;
    intruder inside = { .r = r }, outside[2] = { { .r = r }, { .r = r } };
    m2snet_predict_options o;
    m2snet_result *result;
    pthread_t threads[2];
    m2snet_error error;

    m2snet_predict_options_init(&o);
    o.control.progress = enter_again;
    o.control.progress_user = &inside;
    OK(m2snet_predict(r->session, &r->picture, &o, &result, &error));
    m2snet_result_destroy(result);
    assert_int_equal(inside.busy, 1);

    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, intrude, &outside[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_true(outside[0].busy + outside[1].busy > 0 && outside[0].calls + outside[1].calls > 0);
    still_works(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contexts),
        cmocka_unit_test(test_sessions),
        cmocka_unit_test(test_plan_sizes),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_foreign_tensors),
        cmocka_unit_test(test_predict_options),
        cmocka_unit_test(test_pictures),
        cmocka_unit_test(test_extreme_pictures),
        cmocka_unit_test(test_image_functions),
        cmocka_unit_test(test_damaged_models),
        cmocka_unit_test(test_bad_weights),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_configurations),
        cmocka_unit_test(test_save),
        cmocka_unit_test(test_busy),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
