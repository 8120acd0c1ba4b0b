/* SPDX-License-Identifier: Apache-2.0 */
#include "train/lossnet_weights.h"

#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/options.h"
#include "net/initialise.h"
#include "run/fit.h"
#include "weights/load.h"

#define MAX_FILE_BYTES ((uint64_t)4 << 30)
#define PREFIX_BYTES   (sizeof M2S_LOSSNET_PREFIX - 1)
#define SOME_SIDE_PX   32 /* of a graph that is built for its parameters alone */
#define SHOWN_ROWS     6
#define LIST_BYTES     300
#define NAME_BYTES     160

void m2s_lossnet_options_default(m2snet_lossnet_options *options)
{
    *options = (m2snet_lossnet_options){ .struct_size = sizeof *options };
}

static m2snet_status begin(m2snet_context *context, m2snet_lossnet **begun, m2snet_error *error)
{
    m2snet_lossnet *lossnet = m2s_calloc(&context->memory, 1, sizeof *lossnet);
    m2snet_status status;

    *begun = NULL;
    if (lossnet == NULL) {
        return m2s_fail_memory(error, "a loss network", sizeof *lossnet);
    }
    atomic_init(&lossnet->references, 1);
    lossnet->context = m2s_context_retain(context);
    status = m2s_pack_cache_create(&context->memory, &lossnet->packs, error);
    if (status != M2SNET_STATUS_OK) {
        m2s_lossnet_release(lossnet);
        return status;
    }
    *begun = lossnet;
    return M2SNET_STATUS_OK;
}

m2snet_lossnet *m2s_lossnet_retain(m2snet_lossnet *lossnet)
{
    if (lossnet != NULL) {
        atomic_fetch_add(&lossnet->references, 1);
    }
    return lossnet;
}

void m2s_lossnet_release(m2snet_lossnet *lossnet)
{
    if (lossnet == NULL || atomic_fetch_sub(&lossnet->references, 1) != 1) {
        return;
    }
    m2snet_context *context = lossnet->context;
    m2s_pack_cache_destroy(lossnet->packs);
    m2s_store_destroy(lossnet->store);
    m2s_free(&context->memory, lossnet);
    m2s_context_release(context);
}

/* The family's layers, for their parameters. */
static m2snet_status build(m2s_memory *memory, const m2s_lossnet_family *family, m2s_graph **built, m2snet_error *error)
{
    m2s_value tap[M2S_LOSSNET_TAPS];
    m2snet_status status;

    M2S_TRY(m2s_graph_create(memory, M2SNET_DTYPE_F32, built, error));
    m2s_value src =
        m2s_graph_input(*built, "image", (m2s_shape){ .n = 1, .h = SOME_SIDE_PX, .w = SOME_SIDE_PX, .c = 3 });
    family->taps(*built, src, tap);
    M2S_TRY(m2s_graph_finish(*built, error));
fail:
    return status;
}

/* "vgg16, resnet50", or the keys that files of them are known by. */
static void list_families(bool keys, char *text, size_t bytes)
{
    size_t used = 0;

    text[0] = '\0';
    for (const m2s_lossnet_family *const *all = m2s_lossnet_families(); *all != NULL && used < bytes; all++) {
        const char *name = keys ? (*all)->first_key : (*all)->name;
        if (name != NULL) {
            used += (size_t)snprintf(text + used, bytes - used, "%s\"%s\"", used > 0 ? ", " : "", name);
        }
    }
}

/* Under its own name or another that files of the family have. */
static m2s_weight *find(const m2s_store *store, const m2s_lossnet_family *family, const char *key)
{
    m2s_weight *weight = m2s_store_find(store, key);
    char name[NAME_BYTES];

    for (int32_t i = 0; weight == NULL && family->alias != NULL && family->alias(key, i, name, sizeof name); i++) {
        weight = m2s_store_find(store, name);
    }
    return weight;
}

static m2snet_status family_named(const char *name, const m2s_lossnet_family **family, m2snet_error *error)
{
    char known[LIST_BYTES];

    *family = m2s_lossnet_family_of(name);
    if (*family == NULL) {
        list_families(false, known, sizeof known);
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "loss network \"%.60s\": expected one of %s", name,
                        known);
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status recognise(const m2s_store *store, const char *name, const m2s_lossnet_family **family,
                               m2snet_error *error)
{
    const m2s_lossnet_family *const *all = m2s_lossnet_families();
    char known[LIST_BYTES];

    if (name != NULL) {
        return family_named(name, family, error);
    }
    for (; *all != NULL; all++) {
        if ((*all)->first_key != NULL && find(store, *all, (*all)->first_key) != NULL) {
            *family = *all;
            return M2SNET_STATUS_OK;
        }
    }
    const m2s_weight *first = m2s_store_at(store, 0);
    list_families(true, known, sizeof known);
    return m2s_fail(
        error, M2SNET_STATUS_MISMATCH,
        "no loss network that is known: expected one of the tensors %s, the file has %zu tensors, the first "
        "is \"%.100s\"",
        known, m2s_store_count(store), first != NULL ? first->name : "");
}

/* All weights get the names that the family's layers have for them. */
static m2snet_status take_names(const m2snet_lossnet *lossnet, const m2s_graph *graph, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    for (m2s_value v = 0; v < graph->value_count && lossnet->family->alias != NULL; v++) {
        const char *name = graph->values[v].kind == M2S_VALUE_PARAM ? graph->values[v].name + PREFIX_BYTES : NULL;
        m2s_weight *weight = name != NULL ? find(lossnet->store, lossnet->family, name) : NULL;
        if (weight != NULL && strcmp(weight->name, name) != 0) {
            M2S_TRY(m2s_store_rename(lossnet->store, weight, name, error));
        }
    }
fail:
    return status;
}

/* Sides of 1 at the end may be there or not: linear layers are 1x1 convolutions here. */
static bool fits(const m2s_weight *weight, m2s_shape shape)
{
    bool same = weight->rank >= 1 && weight->rank <= 4;

    for (int32_t i = 0; same && i < 4; i++) {
        same = shape.d[i] == (i < weight->rank ? weight->dims[i] : 1);
    }
    return same;
}

/* Every layer's weights in their shapes and finite; a short table of what is not. */
static m2snet_status check(const m2snet_lossnet *lossnet, const m2s_graph *graph, m2snet_error *error)
{
    char rows[700] = "";
    size_t used = 0;
    int bad = 0;

    for (m2s_value v = 0; v < graph->value_count; v++) {
        const m2s_value_info *info = &graph->values[v];
        if (info->kind != M2S_VALUE_PARAM) {
            continue;
        }
        const char *name = info->name + PREFIX_BYTES;
        const m2s_weight *weight = m2s_store_find(lossnet->store, name);
        int32_t rank = m2s_fit_file_rank(info);
        size_t index = 0;
        char line[480] = "";
        if (weight == NULL) {
            snprintf(line, sizeof line, "\n  missing  %.60s %s", name, m2s_dims_text(rank, info->shape.d).text);
        } else if (!fits(weight, info->shape) ||
                   (weight->dtype != M2SNET_DTYPE_F32 && weight->dtype != M2SNET_DTYPE_F16 &&
                    weight->dtype != M2SNET_DTYPE_BF16 && weight->dtype != M2SNET_DTYPE_F64)) {
            snprintf(line, sizeof line, "\n  shape    %.60s is %.16s %.48s, expected %s", name, weight->dtype_name,
                     m2s_dims_text(weight->rank, weight->dims).text, m2s_dims_text(rank, info->shape.d).text);
        } else if (!m2s_weight_finite(weight, &index)) {
            snprintf(line, sizeof line, "\n  number   %.60s: element %zu is not finite", name, index);
        }
        if (line[0] != '\0' && bad++ < SHOWN_ROWS && used < sizeof rows) {
            used += (size_t)snprintf(rows + used, sizeof rows - used, "%s", line);
        }
    }
    if (bad > 0) {
        return m2s_fail(error, M2SNET_STATUS_MISMATCH, "the weights do not fit the loss network %s: %d tensors%s%s",
                        lossnet->family->name, bad, rows, bad > SHOWN_ROWS ? "\n  ..." : "");
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_lossnet_load_file(m2snet_context *context, const char *path, const m2snet_lossnet_options *given,
                                    m2snet_lossnet **loaded, m2snet_error *error)
{
    m2snet_lossnet_options options;
    m2s_control control;
    m2s_blob blob = { 0 };
    m2snet_lossnet *lossnet = NULL;
    m2s_graph *graph = NULL;
    uint8_t *data;
    m2snet_status status;

    *loaded = NULL;
    m2s_lossnet_options_default(&options);
    M2S_TRY(m2s_options_import("m2snet_lossnet_options", given, &options, sizeof options, error));
    m2s_control_init(&control, &options.control);
    M2S_TRY(begin(context, &lossnet, error));
    M2S_TRY(m2s_file_read(&context->memory, path, MAX_FILE_BYTES, &control, &data, &blob.bytes, error));
    blob.data = data;
    blob.writable = true;
    status = m2s_store_load(&context->memory, &blob, &control, &lossnet->store, error);
    if (status == M2SNET_STATUS_OK) {
        status = recognise(lossnet->store, options.family, &lossnet->family, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = build(&context->memory, lossnet->family, &graph, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = take_names(lossnet, graph, error);
    }
    if (status == M2SNET_STATUS_OK) {
        status = check(lossnet, graph, error);
    }
    if (status != M2SNET_STATUS_OK) {
        m2s_error_prefix(error, "%s", path);
        goto fail;
    }
    *loaded = lossnet;
    lossnet = NULL;
fail:
    m2s_graph_destroy(graph);
    m2s_lossnet_release(lossnet);
    return status;
}

m2snet_status m2s_lossnet_create(m2snet_context *context, const char *family, uint64_t seed, m2snet_lossnet **created,
                                 m2snet_error *error)
{
    m2snet_lossnet *lossnet = NULL;
    m2s_graph *graph = NULL;
    m2snet_status status;

    *created = NULL;
    M2S_TRY(begin(context, &lossnet, error));
    M2S_TRY(family_named(family != NULL ? family : "vgg16", &lossnet->family, error));
    M2S_TRY(build(&context->memory, lossnet->family, &graph, error));
    M2S_TRY(m2s_store_create(&context->memory, "created", &lossnet->store, error));
    for (m2s_value v = 0; v < graph->value_count; v++) {
        const m2s_value_info *info = &graph->values[v];
        void *elements;
        if (info->kind != M2S_VALUE_PARAM) {
            continue;
        }
        const char *name = info->name + PREFIX_BYTES;
        m2s_weight_desc desc = { .name = name,
                                 .name_bytes = strlen(name),
                                 .dtype = M2SNET_DTYPE_F32,
                                 .rank = m2s_fit_file_rank(info),
                                 .dims = info->shape.d };
        M2S_TRY(m2s_store_add(lossnet->store, &desc, NULL, &elements, error));
        m2s_initialise(graph, v, NULL, seed, elements);
    }
    *created = lossnet;
    lossnet = NULL;
fail:
    m2s_graph_destroy(graph);
    m2s_lossnet_release(lossnet);
    return status;
}
