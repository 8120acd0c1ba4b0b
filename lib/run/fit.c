/* SPDX-License-Identifier: Apache-2.0 */
#include "run/fit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "net/names.h"

/* ---- configuration ---- */

static const int64_t *lookup_shape(void *user, const char *key, int32_t *rank)
{
    const m2s_weight *weight = m2s_store_find(user, key);

    if (weight == NULL) {
        return NULL;
    }
    *rank = weight->rank;
    return weight->dims;
}

static m2snet_status check_said(const char *key, int32_t said, int32_t found, m2snet_error *error)
{
    if (said != 0 && said != found) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "configuration key \"%s\" says %d, the weights have %d", key,
                        said, found);
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_fit_config(const m2s_store *store, const char *override_json, m2s_config *config, m2snet_error *error)
{
    const char *texts[2] = { m2s_store_metadata(store, M2S_METADATA_CONFIG), override_json };
    bool sets_encoder = false, sets_scales = false;
    m2snet_status status = M2SNET_STATUS_OK;

    m2s_config_default(config);
    const m2s_config usual = *config;
    config->pyramid_channels = config->classes = 0; /* = not said */
    for (int i = 0; i < 2; i++) {
        bool encoder = false, scales = false;
        if (texts[i] != NULL) {
            M2S_TRY(m2s_config_parse(config, texts[i], strlen(texts[i]), &encoder, &scales, error));
        }
        sets_encoder |= encoder;
        sets_scales |= scales;
    }
    const m2s_config said = *config;
    config->pyramid_channels = said.pyramid_channels != 0 ? said.pyramid_channels : usual.pyramid_channels;
    config->classes = said.classes != 0 ? said.classes : usual.classes;
    /* Without any hint an unrecognised file is compared with the default network: the table says what is missing. */
    m2s_config_recognise(config, lookup_shape, (void *)(uintptr_t)store, sets_encoder, sets_scales);
    M2S_TRY(check_said("pyramid_channels", said.pyramid_channels, config->pyramid_channels, error));
    M2S_TRY(check_said("classes", said.classes, config->classes, error));
    M2S_TRY(m2s_config_check(config, error)); /* what was said and what the keys say, together */
fail:
    return status;
}

/* ---- comparison ---- */

typedef struct table {
    const m2s_log *log;
    char rows[512]; /* the first few, for the message */
    size_t used;
    int missing, misshaped, extra, shown;
} table;

#define ROWS_IN_MESSAGE 6

__attribute__((format(printf, 2, 3))) static void add_row(table *t, const char *format, ...)
{
    char row[256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(row, sizeof row, format, arguments);
    va_end(arguments);
    m2s_log_write(t->log, M2SNET_LOG_WARNING, "weights: %s", row);
    if (t->shown < ROWS_IN_MESSAGE) {
        int written = snprintf(t->rows + t->used, sizeof t->rows - t->used, "\n  %s", row);
        if (written > 0 && (size_t)written < sizeof t->rows - t->used) {
            t->used += (size_t)written;
            t->shown++;
        } else {
            t->rows[t->used] = '\0';
        }
    }
}

int32_t m2s_fit_rank(m2s_shape shape)
{
    return shape.i == 1 && shape.kh == 1 && shape.kw == 1 ? 1 : 4;
}

int32_t m2s_fit_file_rank(const m2s_value_info *info)
{
    return info->rank != 0 ? info->rank : m2s_fit_rank(info->shape);
}

/* Sides of 1 at the end may be there or not: a linear layer is a 1x1 convolution, and some files store a vector as
 * (c, 1, 1). */
static bool fits(const m2s_weight *weight, m2s_shape shape)
{
    bool same = weight->rank >= 1 && weight->rank <= 4;

    for (int32_t i = 0; same && i < 4; i++) {
        same = shape.d[i] == (i < weight->rank ? weight->dims[i] : 1);
    }
    return same;
}

static bool is_number(m2snet_dtype dtype)
{
    return dtype == M2SNET_DTYPE_F64 || dtype == M2SNET_DTYPE_F32 || dtype == M2SNET_DTYPE_F16 ||
           dtype == M2SNET_DTYPE_BF16;
}

static m2s_weight *find_by_other_names(const m2s_store *store, const m2s_encoder *encoder, const char *key)
{
    m2s_weight *weight = NULL;
    char name[M2S_ENCODER_KEY_BYTES];

    for (int32_t i = 0; weight == NULL && m2s_encoder_other_name(encoder, key, i, name); i++) {
        weight = m2s_store_find(store, name);
    }
    return weight;
}

const m2s_weight *m2s_fit_find(const m2s_store *store, const m2s_encoder *encoder, const m2s_value_info *info)
{
    const m2s_weight *weight = m2s_store_find(store, info->name);

    if (weight == NULL) {
        weight = find_by_other_names(store, encoder, info->name);
    }
    return weight != NULL && is_number(weight->dtype) && fits(weight, info->shape) ? weight : NULL;
}

m2snet_status m2s_fit_rename(const m2s_graph *graph, const m2s_encoder *encoder, m2s_store *store, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    for (m2s_value v = 0; v < graph->value_count; v++) {
        const m2s_value_info *info = &graph->values[v];
        if (info->kind != M2S_VALUE_PARAM || m2s_store_find(store, info->name) != NULL) {
            continue;
        }
        m2s_weight *weight = find_by_other_names(store, encoder, info->name);
        if (weight != NULL) {
            M2S_TRY(m2s_store_rename(store, weight, info->name, error));
        }
    }
fail:
    return status;
}

/* Third-party files store the fixed filters; they must be what the network computes. */
static m2snet_status check_fixed_filter(const m2s_weight *weight, int kernel, bool bias, m2snet_error *error)
{
    double buffer[256];
    m2snet_status status = M2SNET_STATUS_OK;

    for (size_t first = 0; first < weight->count; first += 256) {
        size_t count = weight->count - first < 256 ? weight->count - first : 256;
        M2S_TRY(m2s_weight_read_double(weight, first, count, buffer, error));
        for (size_t i = 0; i < count; i++) {
            if (buffer[i] != (bias ? 0.0 : 1.0)) {
                return m2s_fail(error, M2SNET_STATUS_MISMATCH,
                                "%s: the filter of size %d is expected to be all %s, element %zu is %g", weight->name,
                                kernel, bias ? "zeros" : "ones", first + i, buffer[i]);
            }
        }
    }
fail:
    return status;
}

static m2snet_status check_extra(const m2s_graph *graph, const m2s_weight *weight, const m2s_config *config, table *t,
                                 m2snet_error *error)
{
    int kernel;
    bool bias;

    if (m2s_name_is_fixed_filter(weight->name, &kernel, &bias)) {
        return config->gaussian ? M2SNET_STATUS_OK : check_fixed_filter(weight, kernel, bias, error);
    }
    if (!m2s_name_is_ignored(weight->name) && strncmp(weight->name, "m2snet.", 7) != 0 &&
        m2s_graph_find(graph, weight->name) == M2S_NONE) {
        t->extra++;
        add_row(t, "extra    %s %s", weight->name, m2s_dims_text(weight->rank, weight->dims).text);
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_fit_check(const m2s_graph *graph, const m2s_store *store, const m2s_config *config,
                            const m2s_log *log, m2snet_error *error)
{
    table t = { .log = log };
    m2snet_status status = M2SNET_STATUS_OK;

    for (m2s_value v = 0; v < graph->value_count; v++) {
        const m2s_value_info *info = &graph->values[v];
        if (info->kind != M2S_VALUE_PARAM) {
            continue;
        }
        const m2s_weight *weight = m2s_store_find(store, info->name);
        m2s_dims_string expected = m2s_dims_text(m2s_fit_file_rank(info), info->shape.d);
        if (weight == NULL) {
            const char *reason = m2s_store_skipped(store, info->name);
            t.missing++;
            add_row(&t, "missing  %s %s%s%s", info->name, expected.text, reason != NULL ? "; in the file it is " : "",
                    reason != NULL ? reason : "");
        } else if (!is_number(weight->dtype) || !fits(weight, info->shape)) {
            t.misshaped++;
            add_row(&t, "shape    %s is %s %s, expected %s", info->name, weight->dtype_name,
                    m2s_dims_text(weight->rank, weight->dims).text, expected.text);
        }
    }
    for (size_t i = 0; i < m2s_store_count(store); i++) {
        M2S_TRY(check_extra(graph, m2s_store_at(store, i), config, &t, error));
    }
    if (t.missing + t.misshaped > 0) {
        int all = t.missing + t.misshaped + t.extra;
        char more[48] = "";
        if (all > t.shown) {
            snprintf(more, sizeof more, "\n  ... %d more", all - t.shown);
        }
        status =
            m2s_fail(error, M2SNET_STATUS_MISMATCH,
                     "the weights do not fit %s with encoder %s: %d missing, %d of another shape, %d extra%s%s",
                     m2s_config_architecture(config), config->encoder, t.missing, t.misshaped, t.extra, t.rows, more);
    }
fail:
    return status;
}

/* ---- numbers ---- */

typedef struct finite_check {
    const m2s_weight **weights;
    size_t *bad_index; /* SIZE_MAX = finite */
} finite_check;

static void check_one(void *argument, int64_t chunk, int worker)
{
    finite_check *check = argument;

    (void)worker;
    check->bad_index[chunk] = SIZE_MAX;
    if (!m2s_weight_finite(check->weights[chunk], &check->bad_index[chunk]) && check->bad_index[chunk] == SIZE_MAX) {
        check->bad_index[chunk] = 0;
    }
}

m2snet_status m2s_fit_check_finite(const m2s_host *host, const m2s_graph *graph, const m2s_store *store,
                                   m2s_control *control, m2snet_error *error)
{
    finite_check check = { 0 };
    size_t count = 0, room = (size_t)graph->value_count;
    m2snet_status status;

    check.weights = m2s_alloc_array(host->memory, room + 1, sizeof *check.weights);
    check.bad_index = m2s_alloc_array(host->memory, room + 1, sizeof *check.bad_index);
    if (check.weights == NULL || check.bad_index == NULL) {
        status = m2s_fail_memory(error, "the check of the weights", room * sizeof *check.weights);
        goto fail;
    }
    for (m2s_value v = 0; v < graph->value_count; v++) {
        if (graph->values[v].kind == M2S_VALUE_PARAM) {
            check.weights[count++] = m2s_store_find(store, graph->values[v].name);
        }
    }
    m2s_task task = { check_one, &check, (int64_t)count, NULL };
    M2S_TRY(m2s_pool_run(host->pool, &task, 1, control, "prepare", error));
    for (size_t i = 0; i < count; i++) {
        if (check.bad_index[i] != SIZE_MAX) {
            status = m2s_fail(error, M2SNET_STATUS_FORMAT, "%s: element %zu is not a finite number",
                              check.weights[i]->name, check.bad_index[i]);
            goto fail;
        }
    }
fail:
    m2s_free(host->memory, check.weights);
    m2s_free(host->memory, check.bad_index);
    return status;
}

m2snet_status m2s_fit_views(m2s_memory *memory, const m2s_graph *graph, const m2s_store *store, const char *prefix,
                            m2s_param_view **filled, m2snet_error *error)
{
    m2s_param_view *views = m2s_calloc(memory, (size_t)graph->value_count + 1, sizeof *views);

    *filled = NULL;
    if (views == NULL) {
        return m2s_fail_memory(error, "the parameters of a plan", (size_t)graph->value_count * sizeof *views);
    }
    for (m2s_value v = 0; v < graph->value_count; v++) {
        const m2s_value_info *info = &graph->values[v];
        if (info->kind != M2S_VALUE_PARAM) {
            continue;
        }
        size_t skip = strncmp(info->name, prefix, strlen(prefix)) == 0 ? strlen(prefix) : 0;
        const m2s_weight *weight = store != NULL ? m2s_store_find(store, info->name + skip) : NULL;
        if (weight == NULL || !is_number(weight->dtype) || !fits(weight, info->shape)) {
            m2s_free(memory, views);
            return m2s_fail(error, M2SNET_STATUS_MISMATCH, "parameter %s is missing or does not fit", info->name);
        }
        views[v] = (m2s_param_view){ weight->data, weight->dtype, weight->version };
    }
    *filled = views;
    return M2SNET_STATUS_OK;
}

uint64_t m2s_fit_parameters(const m2s_graph *graph)
{
    uint64_t sum = 0;

    for (m2s_value v = 0; v < graph->value_count; v++) {
        const m2s_value_info *info = &graph->values[v];
        if (info->kind == M2S_VALUE_PARAM && strstr(info->name, ".running_") == NULL) {
            sum += (uint64_t)m2s_shape_elements(info->shape);
        }
    }
    return sum;
}
