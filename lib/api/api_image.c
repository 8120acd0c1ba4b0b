/* SPDX-License-Identifier: Apache-2.0
 * Images, prediction, results. */
#include "api/api.h"
#include "core/options.h"
#include "image/decode.h"
#include "image/file_png.h"
#include "image/overlay.h"
#include "image/preprocess.h"
#include "run/predict.h"
#include "run/receipt.h"

/* ---- images ---- */

/* An image of the library's owns a bitmap, in the memory of a context that it keeps alive. */
typedef struct owner {
    m2snet_context *context;
    m2s_bitmap bitmap;
} owner;

static m2snet_status hand_over(m2snet_context *context, m2s_bitmap *bitmap, m2snet_image *image, m2snet_error *error)
{
    owner *o = m2s_alloc(&context->memory, sizeof *o);

    if (o == NULL) {
        m2s_bitmap_release(bitmap);
        return m2s_fail_memory(error, "an image", sizeof *o);
    }
    *o = (owner){ m2s_context_retain(context), *bitmap };
    *image = m2s_bitmap_image(&o->bitmap);
    image->owner = o;
    return M2SNET_STATUS_OK;
}

void m2snet_image_release(m2snet_image *image)
{
    if (image == NULL) {
        return;
    }
    owner *o = image->owner;
    if (o != NULL) {
        m2snet_context *context = o->context;
        m2s_bitmap_release(&o->bitmap);
        m2s_free(&context->memory, o);
        m2s_context_release(context);
    }
    *image = (m2snet_image){ 0 };
}

void m2snet_image_read_options_init(m2snet_image_read_options *options)
{
    if (options != NULL) {
        *options = (m2snet_image_read_options){ .struct_size = sizeof *options,
                                                .max_pixels = M2S_DECODE_DEFAULTS.max_pixels,
                                                .apply_exif = M2S_DECODE_DEFAULTS.apply_exif };
    }
}

static m2snet_status import_read_options(const m2snet_image_read_options *given, m2s_decode_options *decode,
                                         m2s_control *control, m2snet_error *error)
{
    m2snet_image_read_options options;
    m2snet_image_read_options_init(&options);
    m2snet_status status = m2s_options_import("m2snet_image_read_options", given, &options, sizeof options, error);

    *decode = (m2s_decode_options){ .max_pixels = options.max_pixels, .apply_exif = options.apply_exif != 0 };
    m2s_control_init(control, &options.control);
    return status;
}

m2snet_status m2snet_image_read_file(m2snet_context *context, const char *path,
                                     const m2snet_image_read_options *options, m2snet_image *image, m2snet_error *error)
{
    m2s_decode_options decode;
    m2s_control control;
    m2s_bitmap bitmap = { 0 };
    m2snet_status status;

    M2S_REQUIRE(image);
    *image = (m2snet_image){ 0 };
    M2S_REQUIRE(context);
    M2S_REQUIRE(path);
    M2S_TRY(import_read_options(options, &decode, &control, error));
    M2S_TRY(m2s_image_read(&context->memory, path, &decode, &control, &bitmap, error));
    M2S_TRY(hand_over(context, &bitmap, image, error));
fail:
    return m2s_memory_explain(&context->memory, status, error);
}

m2snet_status m2snet_image_read_memory(m2snet_context *context, const void *data, size_t size_bytes,
                                       const m2snet_image_read_options *options, m2snet_image *image,
                                       m2snet_error *error)
{
    m2s_decode_options decode;
    m2s_control control;
    m2s_bitmap bitmap = { 0 };
    m2snet_status status;

    M2S_REQUIRE(image);
    *image = (m2snet_image){ 0 };
    M2S_REQUIRE(context);
    M2S_REQUIRE(data);
    M2S_TRY(import_read_options(options, &decode, &control, error));
    M2S_TRY(m2s_image_decode(&context->memory, data, size_bytes, &decode, &control, &bitmap, error));
    M2S_TRY(hand_over(context, &bitmap, image, error));
fail:
    return m2s_memory_explain(&context->memory, status, error);
}

m2snet_status m2snet_image_write_png(m2snet_context *context, const char *path, const m2snet_image *image,
                                     m2snet_error *error)
{
    M2S_REQUIRE(context);
    M2S_REQUIRE(path);
    M2S_REQUIRE(image);
    return m2s_memory_explain(&context->memory, m2s_png_write_file(&context->memory, path, image, NULL, error), error);
}

m2snet_status m2snet_image_resize(m2snet_context *context, const m2snet_image *src, const m2snet_image *dst,
                                  m2snet_error *error)
{
    M2S_REQUIRE(context);
    M2S_REQUIRE(src);
    M2S_REQUIRE(dst);
    return m2s_memory_explain(&context->memory, m2s_image_resize(&context->host, src, dst, NULL, error), error);
}

m2snet_status m2snet_image_overlay(m2snet_context *context, const m2snet_image *image, const m2snet_image *mask,
                                   uint32_t rgb, int32_t line_width_px, m2snet_image *overlay, m2snet_error *error)
{
    m2s_bitmap bitmap = { 0 };
    m2snet_status status;

    M2S_REQUIRE(overlay);
    *overlay = (m2snet_image){ 0 };
    M2S_REQUIRE(context);
    M2S_REQUIRE(image);
    M2S_REQUIRE(mask);
    M2S_TRY(m2s_overlay(&context->memory, image, mask, rgb, line_width_px, &bitmap, error));
    M2S_TRY(hand_over(context, &bitmap, overlay, error));
fail:
    return m2s_memory_explain(&context->memory, status, error);
}

/* ---- prediction ---- */

void m2snet_predict_options_init(m2snet_predict_options *options)
{
    if (options != NULL) {
        m2s_predict_options_default(options);
    }
}

m2snet_status m2snet_predict(m2snet_session *session, const m2snet_image *image, const m2snet_predict_options *options,
                             m2snet_result **result, m2snet_error *error)
{
    M2S_REQUIRE(result);
    *result = NULL;
    M2S_REQUIRE(image);
    return m2snet_predict_batch(session, image, 1, options, result, error);
}

m2snet_status m2snet_predict_batch(m2snet_session *session, const m2snet_image *images, int32_t count,
                                   const m2snet_predict_options *options, m2snet_result **results, m2snet_error *error)
{
    m2snet_status status;

    M2S_REQUIRE(results);
    if (count < 1) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "count is %d: expected 1 or more", count);
    }
    for (int32_t i = 0; i < count; i++) {
        results[i] = NULL;
    }
    M2S_REQUIRE(session);
    M2S_REQUIRE(images);
    M2S_TRY(m2s_session_enter(session, error));
    status = m2s_predict(session, images, count, options, results, error);
    status = m2s_memory_explain(&session->model->context->memory, status, error);
    m2s_session_leave(session);
fail:
    return status;
}

void m2snet_result_destroy(m2snet_result *result)
{
    m2s_result_destroy(result);
}

int32_t m2snet_result_width(const m2snet_result *result)
{
    return result != NULL ? result->segmentation.width : 0;
}

int32_t m2snet_result_height(const m2snet_result *result)
{
    return result != NULL ? result->segmentation.height : 0;
}

const float *m2snet_result_probability(const m2snet_result *result)
{
    return result != NULL ? result->segmentation.probability : NULL;
}

const uint8_t *m2snet_result_map(const m2snet_result *result)
{
    return result != NULL ? result->segmentation.map : NULL;
}

const uint8_t *m2snet_result_mask(const m2snet_result *result)
{
    return result != NULL ? result->segmentation.mask : NULL;
}

const uint8_t *m2snet_result_labels(const m2snet_result *result)
{
    return result != NULL ? result->labels : NULL;
}

int32_t m2snet_result_found(const m2snet_result *result)
{
    return result != NULL && result->segmentation.found;
}

double m2snet_result_presence(const m2snet_result *result)
{
    return result != NULL ? result->segmentation.presence : 0.0;
}

int32_t m2snet_result_component_count(const m2snet_result *result)
{
    return result != NULL ? result->segmentation.component_count : 0;
}

static m2snet_status check_component(const m2snet_result *result, int32_t index, m2snet_error *error)
{
    if (index < 0 || index >= result->segmentation.component_count) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "component %d: the result has %d", index,
                        result->segmentation.component_count);
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2snet_result_component(const m2snet_result *result, int32_t index, m2snet_component *component,
                                      m2snet_error *error)
{
    m2snet_status status;

    M2S_REQUIRE(result);
    M2S_TRY(check_component(result, index, error));
    m2snet_component known = result->segmentation.components[index].info;
    M2S_TRY(m2s_options_export("m2snet_component", &known, sizeof known, component, error));
fail:
    return status;
}

m2snet_status m2snet_result_contour(m2snet_result *result, int32_t index, const int32_t **points, int32_t *count,
                                    m2snet_error *error)
{
    m2snet_status status;

    M2S_REQUIRE(result);
    M2S_REQUIRE(points);
    M2S_REQUIRE(count);
    *points = NULL;
    *count = 0;
    M2S_TRY(check_component(result, index, error));
    M2S_TRY(m2s_segmentation_outline(&result->segmentation, index, points, count, error));
fail:
    return m2s_memory_explain(&result->model->context->memory, status, error);
}

int32_t m2snet_result_feature_count(const m2snet_result *result)
{
    return result != NULL ? result->feature_count : 0;
}

m2snet_status m2snet_result_feature(const m2snet_result *result, int32_t index, m2snet_feature *feature,
                                    m2snet_error *error)
{
    M2S_REQUIRE(result);
    if (index < 0 || index >= result->feature_count) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "feature %d: the result has %d", index,
                        result->feature_count);
    }
    const m2s_result_feature *found = &result->features[index];
    m2snet_feature known = { .struct_size = sizeof known,
                             .name = found->row->name,
                             .h = found->shape.h,
                             .w = found->shape.w,
                             .c = found->shape.c,
                             .data = found->numbers };
    return m2s_options_export("m2snet_feature", &known, sizeof known, feature, error);
}

const float *m2snet_result_gradcam(const m2snet_result *result)
{
    return result != NULL ? result->gradcam : NULL;
}

m2snet_status m2snet_result_receipt(const m2snet_result *result, m2snet_receipt *receipt, m2snet_error *error)
{
    M2S_REQUIRE(result);
    m2s_receipt_complete((m2snet_result *)result);
    return m2s_options_export("m2snet_receipt", &result->receipt, sizeof result->receipt, receipt, error);
}

const char *m2snet_result_receipt_json(const m2snet_result *result)
{
    if (result == NULL) {
        return NULL;
    }
    m2s_receipt_complete((m2snet_result *)result);
    return result->receipt_json;
}
