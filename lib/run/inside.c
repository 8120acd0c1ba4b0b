/* SPDX-License-Identifier: Apache-2.0 */
#include "run/inside.h"

#include <math.h>
#include <string.h>

#include "image/resample.h"
#include "net/names.h"

static float number(const void *numbers, m2snet_dtype dtype, size_t i)
{
    return dtype == M2SNET_DTYPE_F64 ? (float)((const double *)numbers)[i] : ((const float *)numbers)[i];
}

/* An output of a plan for one picture, in the graph's dtype; m2s_free it. */
static m2snet_status read_output(m2s_memory *memory, const m2s_program *program, const char *name, m2s_shape *shape,
                                 void **numbers, m2snet_error *error)
{
    const m2s_graph *graph = m2s_program_graph(program);
    m2s_value value = m2s_graph_find(graph, name);

    if (value == M2S_NONE) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "the plan has lost tensor %s", name);
    }
    *shape = m2s_shape_of(graph, value);
    size_t count = (size_t)m2s_shape_elements(*shape), bytes = m2s_dtype_bytes(graph->values[value].dtype);
    *numbers = m2s_alloc_array(memory, count, bytes);
    if (*numbers == NULL) {
        return m2s_fail_memory(error, "a tensor of the network", count * bytes);
    }
    return m2s_program_read(program, name, *numbers, error);
}

static m2snet_status copy_feature(m2snet_result *result, m2snet_session *session, const char *name,
                                  m2s_result_feature *feature, m2snet_error *error)
{
    m2s_memory *memory = &result->model->context->memory;
    m2snet_dtype dtype = m2s_session_dtype(session);
    void *numbers = NULL;
    m2snet_status status;

    feature->row = &result->model->features[m2s_look_find(result->model, name)];
    M2S_TRY(read_output(memory, session->last, name, &feature->shape, &numbers, error));
    if (dtype == M2SNET_DTYPE_F32) {
        feature->numbers = numbers;
        numbers = NULL;
        goto fail;
    }
    size_t count = (size_t)m2s_shape_elements(feature->shape);
    feature->numbers = m2s_alloc_array(memory, count, sizeof *feature->numbers);
    if (feature->numbers == NULL) {
        status = m2s_fail_memory(error, "a tensor of the network", count * sizeof *feature->numbers);
        goto fail;
    }
    for (size_t i = 0; i < count; i++) {
        feature->numbers[i] = number(numbers, dtype, i);
    }
fail:
    m2s_free(memory, numbers);
    return status;
}

m2snet_status m2s_inside_features(m2snet_result *result, m2snet_session *session, const m2s_look *look,
                                  m2snet_error *error)
{
    m2s_memory *memory = &result->model->context->memory;
    m2snet_status status = M2SNET_STATUS_OK;

    result->features = m2s_calloc(memory, (size_t)look->count, sizeof *result->features);
    if (result->features == NULL) {
        return m2s_fail_memory(error, "the network's tensors", (size_t)look->count * sizeof *result->features);
    }
    result->feature_count = look->count;
    for (int32_t i = 0; i < look->count; i++) {
        M2S_TRY(copy_feature(result, session, look->names[i], &result->features[i], error));
    }
fail:
    return status;
}

/* ---- Grad-CAM ---- */

/* dy/dlogits, in the session's dtype: one over the number of pixels inside, there. */
static m2snet_status make_seed(const m2s_views *views, int32_t class_index, double threshold, m2snet_dtype dtype,
                               void **made, m2snet_error *error)
{
    m2s_memory *memory = &views->session[0]->model->context->memory;
    size_t pixels = (size_t)views->width * (size_t)views->height, classes = (size_t)views->classes, inside = 0;
    size_t bytes = m2s_dtype_bytes(dtype);
    void *seed = m2s_calloc(memory, pixels * classes, bytes);

    if (seed == NULL) {
        return m2s_fail_memory(error, "the gradient of the logits", pixels * classes * bytes);
    }
    for (int pass = 0; pass < 2; pass++) { /* counts, then fills */
        size_t all = inside > 0 ? inside : pixels;
        for (size_t i = 0; i < pixels; i++) {
            size_t at = i * classes + (size_t)class_index;
            bool is_inside = 1.0 / (1.0 + exp(-(double)views->logits[at])) >= threshold;
            if (pass == 0) {
                inside += is_inside;
            } else if (!is_inside && inside > 0) {
                continue;
            } else if (dtype == M2SNET_DTYPE_F64) {
                ((double *)seed)[at] = 1.0 / (double)all;
            } else {
                ((float *)seed)[at] = (float)(1.0 / (double)all);
            }
        }
    }
    *made = seed;
    return M2SNET_STATUS_OK;
}

/* The map at the tensor's size, from the tensor and its gradient. */
static m2snet_status weigh(m2s_memory *memory, const void *tensor, const void *diff, m2snet_dtype dtype,
                           m2s_shape shape, float *map, m2snet_error *error)
{
    size_t pixels = (size_t)(shape.h * shape.w), channels = (size_t)shape.c;
    double *weight = m2s_calloc(memory, channels, sizeof *weight);

    if (weight == NULL) {
        return m2s_fail_memory(error, "the channels' weights", channels * sizeof *weight);
    }
    for (size_t i = 0; i < pixels; i++) {
        for (size_t c = 0; c < channels; c++) {
            weight[c] += (double)number(diff, dtype, i * channels + c) / (double)pixels;
        }
    }
    for (size_t i = 0; i < pixels; i++) {
        double sum = 0.0;
        for (size_t c = 0; c < channels; c++) {
            sum += weight[c] * (double)number(tensor, dtype, i * channels + c);
        }
        map[i] = sum > 0.0 ? (float)sum : 0.0f;
    }
    m2s_free(memory, weight);
    return M2SNET_STATUS_OK;
}

static m2snet_status run_gradient(m2s_views *views, const char *tensor, const void *seed, m2s_program **program,
                                  m2snet_error *error)
{
    m2snet_session *session = views->session[0];
    const m2s_look look = { .names = &tensor, .count = 1, .gradient = true };
    bool wide = m2s_session_dtype(session) == M2SNET_DTYPE_F64;
    m2snet_status status;

    M2S_TRY(m2s_session_look_plan_for(session, 1, views->height, views->width, &look, views->control, program, error));
    M2S_TRY(m2s_program_write(*program, M2S_NAME_SEED, seed, error));
    /* The picture and its logits still lie where the first run left them. */
    size_t in = 3 * (size_t)views->width * (size_t)views->height;
    M2S_TRY(m2s_session_run_dense(session, *program, wide ? (void *)views->wide : (void *)views->pixels,
                                  wide ? (void *)(views->wide + in) : (void *)views->logits, views->control, error));
fail:
    return status;
}

m2snet_status m2s_inside_gradcam(m2snet_result *result, m2s_views *views, const char *tensor, int32_t class_index,
                                 double threshold, const m2s_rect *region, m2snet_error *error)
{
    const m2s_host *host = &result->model->context->host;
    m2s_memory *memory = host->memory;
    m2snet_dtype dtype = m2s_session_dtype(views->session[0]);
    size_t width = (size_t)result->segmentation.width, pixels = width * (size_t)result->segmentation.height;
    void *seed = NULL, *numbers = NULL, *diff = NULL;
    m2s_program *program;
    m2s_shape shape = { .n = 0 };
    float *map = NULL;
    m2s_rect r;
    m2snet_status status;

    M2S_TRY(make_seed(views, class_index, threshold, dtype, &seed, error));
    M2S_TRY(run_gradient(views, tensor, seed, &program, error));
    M2S_TRY(read_output(memory, program, tensor, &shape, &numbers, error));
    M2S_TRY(read_output(memory, program, M2S_NAME_GRADIENT, &shape, &diff, error));
    map = m2s_alloc_array(memory, (size_t)(shape.h * shape.w), sizeof *map);
    result->gradcam = m2s_calloc(memory, pixels, sizeof *result->gradcam);
    if (map == NULL || result->gradcam == NULL) {
        status = m2s_fail_memory(error, "the Grad-CAM map", pixels * sizeof *map);
        goto fail;
    }
    M2S_TRY(weigh(memory, numbers, diff, dtype, shape, map, error));
    M2S_TRY(m2s_region_resolve(result->segmentation.width, result->segmentation.height, region, &r, error));
    M2S_TRY(m2s_resize_f32(host, map, (ptrdiff_t)shape.w * (ptrdiff_t)sizeof *map, (int32_t)shape.w, (int32_t)shape.h,
                           result->gradcam + (size_t)r.y * width + (size_t)r.x, (ptrdiff_t)(width * sizeof *map),
                           r.width, r.height, views->control, "post", error));
fail:
    m2s_free(memory, seed);
    m2s_free(memory, numbers);
    m2s_free(memory, diff);
    m2s_free(memory, map);
    return status;
}
