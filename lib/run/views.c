/* SPDX-License-Identifier: Apache-2.0 */
#include "run/views.h"

#include <string.h>

#include "image/tiles.h"

#define LEAST_STEP 0.05 /* windows grow with its square */

static size_t input_pixels(const m2s_views *views)
{
    return (size_t)views->width * (size_t)views->height;
}

static m2s_memory *memory_of(const m2s_views *views)
{
    return &views->session[0]->model->context->memory;
}

int32_t m2s_views_mirrored(const m2s_views *views)
{
    return views->mirror == M2SNET_MIRROR_NONE ? 1 : views->mirror == M2SNET_MIRROR_BOTH ? 4 : 2;
}

int32_t m2s_views_batch(const m2s_views *views)
{
    return views->tiles || views->one_by_one ? 1 : M2S_VIEWS_BATCH / m2s_views_mirrored(views);
}

/* ---- open and close ---- */

static m2snet_status check_options(const m2snet_predict_options *o, m2snet_error *error)
{
    const m2snet_status bad = M2SNET_STATUS_INVALID_ARGUMENT;

    if (o->tiles && !(o->tile_step >= LEAST_STEP && o->tile_step <= 1.0)) {
        return m2s_fail(error, bad, "tile_step is %g: expected %g to 1, a share of the window", o->tile_step,
                        LEAST_STEP);
    }
    if (o->mirror < M2SNET_MIRROR_NONE || o->mirror > M2SNET_MIRROR_BOTH) {
        return m2s_fail(error, bad, "mirror is %d: expected NONE, HORIZONTAL, VERTICAL or BOTH", (int)o->mirror);
    }
    if (o->ensemble_count < 0 || o->ensemble_count > M2SNET_MAX_ENSEMBLE) {
        return m2s_fail(error, bad, "ensemble_count is %d: expected 0 to %d", o->ensemble_count, M2SNET_MAX_ENSEMBLE);
    }
    if (o->ensemble_count > 0 && o->ensemble == NULL) {
        return m2s_fail(error, bad, "ensemble is NULL and ensemble_count %d", o->ensemble_count);
    }
    return M2SNET_STATUS_OK;
}

/* Means are of logits that mean the same. */
static m2snet_status check_classes(const m2s_config *first, const m2s_config *member, int32_t index,
                                   m2snet_error *error)
{
    const m2s_coding *a = &first->coding, *b = &member->coding;

    if (member->classes != first->classes) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "ensemble[%d] has a model of %d classes, the first one has %d",
                        index, member->classes, first->classes);
    }
    if (a->softmax != b->softmax) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH,
                        "ensemble[%d] has a model with activation %s, that of the first one is %s", index,
                        b->softmax ? "softmax" : "sigmoid", a->softmax ? "softmax" : "sigmoid");
    }
    for (int32_t i = 0; i < a->label_count && i < b->label_count; i++) {
        if (a->labels[i] != b->labels[i]) {
            return m2s_fail(error, M2SNET_STATUS_MISMATCH,
                            "ensemble[%d] has a model whose labels[%d] is gray level %d, that of the first one is %d",
                            index, i, b->labels[i], a->labels[i]);
        }
    }
    return M2SNET_STATUS_OK;
}

/* Enters member index of the ensemble, unless it does not go with those before. */
static m2snet_status enter_member(m2s_views *views, m2snet_session *member, int32_t index, m2snet_error *error)
{
    const m2snet_session *first = views->session[0];
    m2snet_status status;

    if (member == NULL) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "ensemble[%d] is NULL", index);
    }
    for (int32_t i = 0; i < views->sessions; i++) {
        if (views->session[i] == member) {
            return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "ensemble[%d] is there twice: %s", index,
                            i == 0 ? "it is the session of the call" : "a session computes once for each picture");
        }
    }
    M2S_TRY(check_classes(&first->model->config, &member->model->config, index, error));
    if (member->options.input_width != first->options.input_width ||
        member->options.input_height != first->options.input_height) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH,
                        "ensemble[%d] has an input of %dx%d px, the first session of %dx%d: create them with one size",
                        index, member->options.input_width, member->options.input_height, first->options.input_width,
                        first->options.input_height);
    }
    M2S_TRY(m2s_session_enter(member, error));
    views->session[views->sessions++] = member;
fail:
    return status;
}

static m2snet_status allocate(m2s_views *views, int32_t pictures, m2snet_error *error)
{
    m2s_memory *memory = memory_of(views);
    int32_t wanted = pictures < m2s_views_batch(views) ? pictures : m2s_views_batch(views);
    int32_t inputs = views->tiles ? M2S_VIEWS_BATCH : wanted * m2s_views_mirrored(views);
    size_t pixels = (size_t)inputs * input_pixels(views), classes = (size_t)views->classes;
    bool averaged = views->sessions > 1 || views->mirror != M2SNET_MIRROR_NONE, wide = false;

    for (int32_t i = 0; i < views->sessions; i++) {
        wide = wide || m2s_session_dtype(views->session[i]) == M2SNET_DTYPE_F64;
    }
    views->pixels = m2s_alloc_array(memory, 3 * pixels, sizeof *views->pixels);
    views->logits = m2s_alloc_array(memory, classes * pixels, sizeof *views->logits);
    views->wide = wide ? m2s_alloc_array(memory, (3 + classes) * pixels, sizeof *views->wide) : NULL;
    views->mean = averaged ? m2s_alloc_array(memory, classes * pixels, sizeof *views->mean) : NULL;
    if (views->pixels == NULL || views->logits == NULL || (wide && views->wide == NULL) ||
        (averaged && views->mean == NULL)) {
        return m2s_fail_memory(error, "prepared pictures", (3 + classes) * pixels * sizeof *views->pixels);
    }
    if (views->tiles) {
        size_t sides = (size_t)views->width + (size_t)views->height;
        views->weights = m2s_alloc_array(memory, sides, sizeof *views->weights);
        if (views->weights == NULL) {
            return m2s_fail_memory(error, "a window's weights", sides * sizeof *views->weights);
        }
        m2s_tile_weights(views->height, views->weights);
        m2s_tile_weights(views->width, views->weights + views->height);
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_views_open(m2s_views *views, m2snet_session *session, const m2snet_predict_options *options,
                             int32_t pictures, m2s_control *control, m2snet_error *error)
{
    m2snet_status status;

    *views = (m2s_views){ .session = { session },
                          .sessions = 1,
                          .width = session->options.input_width,
                          .height = session->options.input_height,
                          .classes = session->model->config.classes,
                          .tiles = options->tiles != 0,
                          .step = options->tile_step,
                          .mirror = (int32_t)options->mirror,
                          .control = control };
    M2S_TRY(check_options(options, error));
    for (int32_t i = 0; i < options->ensemble_count; i++) {
        M2S_TRY(enter_member(views, options->ensemble[i], i, error));
    }
    M2S_TRY(allocate(views, pictures, error));
fail:
    return status;
}

void m2s_views_close(m2s_views *views)
{
    if (views->sessions == 0) {
        return;
    }
    m2s_memory *memory = memory_of(views);
    m2s_free(memory, views->pixels);
    m2s_free(memory, views->logits);
    m2s_free(memory, views->wide);
    m2s_free(memory, views->mean);
    m2s_free(memory, views->grid);
    m2s_free(memory, views->weights);
    for (int32_t i = 1; i < views->sessions; i++) {
        m2s_session_leave(views->session[i]);
    }
    *views = (m2s_views){ 0 };
}

/* ---- windows ---- */

static double milliseconds_since(uint64_t start_ns)
{
    return (double)(m2s_now_ns() - start_ns) * 1e-6;
}

/* The ways in which a window is seen, in an order whose mean is taken pair by pair: then a symmetric input gives a
 * symmetric mean, bit for bit. */
static int32_t way_of(const m2s_views *views, int32_t index)
{
    static const int32_t both[] = { M2SNET_MIRROR_NONE, M2SNET_MIRROR_HORIZONTAL, M2SNET_MIRROR_VERTICAL,
                                    M2SNET_MIRROR_BOTH };

    return views->mirror == M2SNET_MIRROR_BOTH ? both[index] : index == 0 ? M2SNET_MIRROR_NONE : views->mirror;
}

static m2s_inputs inputs_of(const m2s_views *views, const m2s_window *windows, int32_t count, const m2s_config *config)
{
    m2s_inputs inputs = { .windows = windows,
                          .count = count,
                          .width = views->width,
                          .height = views->height,
                          .ways = m2s_views_mirrored(views),
                          .on_host = views->one_by_one,
                          .control = views->control };

    for (int32_t k = 0; k < inputs.ways; k++) {
        inputs.way[k] = way_of(views, k);
    }
    memcpy(inputs.normalization.mean, config->mean, sizeof config->mean);
    memcpy(inputs.normalization.std, config->std, sizeof config->std);
    return inputs;
}

static bool same_normalization(const m2s_config *a, const m2s_config *b)
{
    bool same = true;

    for (int c = 0; c < 3; c++) {
        same &= a->mean[c] == b->mean[c] && a->std[c] == b->std[c];
    }
    return same;
}

/* In double. */
static m2snet_status run_wide(m2s_views *views, m2snet_session *session, m2s_program *program, int32_t inputs,
                              m2snet_error *error)
{
    size_t in = 3 * (size_t)inputs * input_pixels(views);
    size_t out = (size_t)views->classes * (size_t)inputs * input_pixels(views);
    m2snet_status status;

    for (size_t i = 0; i < in; i++) {
        views->wide[i] = (double)views->pixels[i];
    }
    M2S_TRY(m2s_session_run_dense(session, program, views->wide, views->wide + in, views->control, error));
    for (size_t i = 0; i < out; i++) {
        views->logits[i] = (float)views->wide[in + i];
    }
fail:
    return status;
}

/* The logits of a network. *prepared is whose inputs pixels has: they may do for the next network, too. */
static m2snet_status run_network(m2s_views *views, m2snet_session *session, const m2s_window *windows, int32_t count,
                                 const m2s_config **prepared, m2snet_error *error)
{
    const m2s_config *config = &session->model->config;
    const m2s_inputs inputs = inputs_of(views, windows, count, config);
    uint64_t start = m2s_now_ns();
    m2s_program *program;
    bool on_device = false;
    m2snet_status status;

    M2S_TRY(m2s_session_look_plan_for(session, count * inputs.ways, views->height, views->width, views->look,
                                      views->control, &program, error));
    views->network_ms += milliseconds_since(start);
    M2S_TRY(m2s_inputs_on_device(session, program, &inputs, &on_device, error));
    if (!on_device && (*prepared == NULL || !same_normalization(*prepared, config))) {
        *prepared = NULL;
        M2S_TRY(m2s_inputs_on_host(&views->session[0]->model->context->host, &inputs, views->pixels, error));
        *prepared = config;
    }
    start = m2s_now_ns();
    if (m2s_session_dtype(session) == M2SNET_DTYPE_F32) {
        M2S_TRY(m2s_session_run_dense(session, program, on_device ? NULL : views->pixels, views->logits, views->control,
                                      error));
    } else {
        M2S_TRY(run_wide(views, session, program, count * inputs.ways, error));
    }
    views->network_ms += milliseconds_since(start);
fail:
    return status;
}

/* Sets sums, or adds to them, the logits of a window turned back and summed pair by pair. */
static void gather(const m2s_views *views, const float *logits, bool first, float *sums)
{
    int32_t mirrored = m2s_views_mirrored(views);
    ptrdiff_t width = views->width, height = views->height, classes = views->classes, size = width * height * classes;
    bool across[4] = { false };
    const float *row[4];

    for (ptrdiff_t y = 0; y < height; y++) {
        for (int32_t k = 0; k < mirrored; k++) {
            int32_t way = way_of(views, k);
            row[k] = logits + k * size + (way & M2SNET_MIRROR_VERTICAL ? height - 1 - y : y) * width * classes;
            across[k] = (way & M2SNET_MIRROR_HORIZONTAL) != 0;
        }
        for (ptrdiff_t x = 0; x < width; x++) {
            for (ptrdiff_t c = 0; c < classes; c++, sums++) {
                float part[4] = { 0 };
                for (int32_t k = 0; k < mirrored; k++) {
                    part[k] = row[k][(across[k] ? width - 1 - x : x) * classes + c];
                }
                float sum = (part[0] + part[1]) + (part[2] + part[3]);
                *sums = first ? sum : *sums + sum;
            }
        }
    }
}

/* *logits = the mean over networks and mirrored inputs, (height, width, classes) of each window. */
static m2snet_status window_logits(m2s_views *views, const m2s_window *windows, int32_t count, float **logits,
                                   m2snet_error *error)
{
    int32_t mirrored = m2s_views_mirrored(views);
    size_t size = (size_t)views->classes * input_pixels(views);
    const m2s_config *prepared = NULL;
    m2snet_status status = M2SNET_STATUS_OK;

    for (int32_t s = 0; s < views->sessions; s++) {
        M2S_TRY(run_network(views, views->session[s], windows, count, &prepared, error));
        for (int32_t i = 0; i < count && views->mean != NULL; i++) {
            gather(views, views->logits + (size_t)(i * mirrored) * size, s == 0, views->mean + (size_t)i * size);
        }
    }
    if (views->mean != NULL) {
        float summed = (float)(views->sessions * mirrored);
        for (size_t i = 0; i < (size_t)count * size; i++) {
            views->mean[i] /= summed;
        }
    }
    *logits = views->mean != NULL ? views->mean : views->logits;
    views->window_count += count;
fail:
    return status;
}

/* ---- a picture from windows ---- */

typedef struct tiling {
    m2s_rect region;
    int32_t columns, rows;
} tiling;

static m2s_window window_at(const m2s_views *views, const m2snet_image *image, const tiling *t, int32_t index,
                            double *prepare_ms)
{
    int32_t x = m2s_tile_begin(t->region.width, views->width, t->columns, index % t->columns);
    int32_t y = m2s_tile_begin(t->region.height, views->height, t->rows, index / t->columns);
    int32_t width = views->width < t->region.width ? views->width : t->region.width;
    int32_t height = views->height < t->region.height ? views->height : t->region.height;

    return (m2s_window){ .image = image,
                         .part = { t->region.x + (x > 0 ? x : 0), t->region.y + (y > 0 ? y : 0), width, height },
                         .x = x < 0 ? -x : 0,
                         .y = y < 0 ? -y : 0,
                         .width = width,
                         .height = height,
                         .prepare_ms = prepare_ms };
}

/* Adds a window's logits to the picture's, each times its weight; a single window's are taken as they are. */
static void scatter(m2s_views *views, const tiling *t, const m2s_window *w, const float *logits)
{
    size_t classes = (size_t)views->classes, values = (size_t)w->part.width * classes;
    bool alone = t->columns * t->rows == 1;

    for (int32_t y = 0; y < w->part.height; y++) {
        const float *from = logits + ((size_t)(w->y + y) * (size_t)views->width + (size_t)w->x) * classes;
        float *to = views->grid + ((size_t)(w->part.y - t->region.y + y) * (size_t)t->region.width +
                                   (size_t)(w->part.x - t->region.x)) *
                                      classes;
        if (alone) {
            memcpy(to, from, values * sizeof *to);
            continue;
        }
        float row_weight = views->weights[w->y + y];
        const float *weight = views->weights + views->height + w->x;
        for (int32_t x = 0; x < w->part.width; x++) {
            for (size_t c = 0; c < classes; c++) {
                *to++ += row_weight * weight[x] * *from++;
            }
        }
    }
}

static m2snet_status divide_by_weights(m2s_views *views, const tiling *t, m2snet_error *error)
{
    size_t width = (size_t)t->region.width, height = (size_t)t->region.height;
    double *sums = m2s_alloc_array(memory_of(views), width + height, sizeof *sums), *across = sums + height;
    float *logit = views->grid;

    if (sums == NULL) {
        return m2s_fail_memory(error, "sums of windows' weights", (width + height) * sizeof *sums);
    }
    m2s_tile_sums(t->region.height, views->height, t->rows, views->weights, sums);
    m2s_tile_sums(t->region.width, views->width, t->columns, views->weights + views->height, across);
    for (size_t y = 0; y < height; y++) {
        for (size_t x = 0; x < width; x++) {
            double sum = sums[y] * across[x];
            for (int32_t c = 0; c < views->classes; c++, logit++) {
                *logit = (float)((double)*logit / sum);
            }
        }
    }
    m2s_free(memory_of(views), sums);
    return M2SNET_STATUS_OK;
}

static m2snet_status report_windows(const m2s_views *views, int32_t done, int32_t windows, m2snet_error *error)
{
    static const char phase[] = "windows";

    return m2s_control_report(views->control, phase, (uint64_t)done, (uint64_t)windows)
               ? m2s_fail_cancelled(error, phase)
               : M2SNET_STATUS_OK;
}

static m2snet_status tile_picture(m2s_views *views, const m2snet_image *image, const tiling *t, m2snet_error *error)
{
    int32_t together = M2S_VIEWS_BATCH / m2s_views_mirrored(views), windows = t->columns * t->rows;
    size_t values = (size_t)t->region.width * (size_t)t->region.height * (size_t)views->classes;
    m2s_window seen[M2S_VIEWS_BATCH];
    float *logits;
    m2snet_status status;

    m2s_free(memory_of(views), views->grid);
    views->grid = m2s_calloc(memory_of(views), values, sizeof *views->grid);
    if (views->grid == NULL) {
        return m2s_fail_memory(error, "a picture's logits", values * sizeof *views->grid);
    }
    M2S_TRY(report_windows(views, 0, windows, error));
    for (int32_t first = 0; first < windows; first += together) {
        int32_t count = windows - first < together ? windows - first : together;
        for (int32_t i = 0; i < count; i++) {
            seen[i] = window_at(views, image, t, first + i, &views->prepare_ms[0]);
        }
        M2S_TRY(window_logits(views, seen, count, &logits, error));
        for (int32_t i = 0; i < count; i++) {
            scatter(views, t, &seen[i], logits + (size_t)i * (size_t)views->classes * input_pixels(views));
        }
        M2S_TRY(report_windows(views, first + count, windows, error));
    }
    status = windows > 1 ? divide_by_weights(views, t, error) : M2SNET_STATUS_OK;
fail:
    return status;
}

m2snet_status m2s_views_logits(m2s_views *views, const m2snet_image *images, int32_t count, const m2s_rect *region,
                               float **logits, int32_t *width, int32_t *height, m2snet_error *error)
{
    m2s_window whole[M2S_VIEWS_BATCH];
    tiling t;
    m2snet_status status = M2SNET_STATUS_OK;

    views->network_ms = 0.0;
    views->window_count = 0;
    for (int32_t i = 0; i < count; i++) {
        views->prepare_ms[i] = 0.0;
    }
    if (!views->tiles) {
        for (int32_t i = 0; i < count; i++) {
            whole[i] = (m2s_window){ .image = &images[i],
                                     .part = *region,
                                     .width = views->width,
                                     .height = views->height,
                                     .prepare_ms = &views->prepare_ms[i] };
        }
        *width = views->width;
        *height = views->height;
        return window_logits(views, whole, count, logits, error);
    }
    M2S_TRY(m2s_region_resolve(images->width, images->height, region, &t.region, error));
    t.columns = m2s_tile_count(t.region.width, views->width, views->step);
    t.rows = m2s_tile_count(t.region.height, views->height, views->step);
    M2S_TRY(tile_picture(views, images, &t, error));
    *logits = views->grid;
    *width = t.region.width;
    *height = t.region.height;
fail:
    return status;
}
