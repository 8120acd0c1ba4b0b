/* SPDX-License-Identifier: Apache-2.0 */
#include "run/look.h"

#include <string.h>

#include "graph/autodiff.h"
#include "graph/pass.h"
#include "net/names.h"
#include "net/network.h"

bool m2s_look_shows(const m2s_graph *graph, m2s_value v)
{
    const m2s_value_info *info = &graph->values[v];

    return info->kind == M2S_VALUE_NODE && info->name != NULL && !info->constant;
}

m2snet_status m2s_look_list(m2snet_model *model, const m2s_graph *graph, m2snet_error *error)
{
    m2s_memory *memory = &model->context->memory;
    size_t count = 0, bytes = 0;

    for (m2s_value v = 0; v < graph->value_count; v++) {
        if (m2s_look_shows(graph, v)) {
            count++;
            bytes += strlen(graph->values[v].name) + 1;
        }
    }
    model->features = m2s_calloc(memory, count, sizeof *model->features);
    model->feature_names = m2s_alloc(memory, bytes);
    if (model->features == NULL || model->feature_names == NULL) {
        return m2s_fail_memory(error, "the network's tensors", count * sizeof *model->features + bytes);
    }
    char *name = model->feature_names;
    for (m2s_value v = 0; v < graph->value_count; v++) {
        if (m2s_look_shows(graph, v)) {
            size_t length = strlen(graph->values[v].name) + 1;
            memcpy(name, graph->values[v].name, length);
            model->features[model->feature_count++] = (m2s_feature_row){ name, graph->values[v].shape };
            name += length;
        }
    }
    return M2SNET_STATUS_OK;
}

int32_t m2s_look_find(const m2snet_model *model, const char *name)
{
    for (int32_t i = 0; i < model->feature_count; i++) {
        if (strcmp(model->features[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

char *m2s_look_key(const m2s_look *look, m2s_memory *memory)
{
    size_t bytes = 2, used = 1;

    for (int32_t i = 0; i < look->count; i++) {
        bytes += strlen(look->names[i]) + 1;
    }
    char *key = m2s_calloc(memory, bytes, 1);
    if (key == NULL) {
        return NULL;
    }
    key[0] = look->gradient ? 'g' : 'f';
    for (int32_t i = 0; i < look->count; i++) {
        size_t length = strlen(look->names[i]);
        memcpy(key + used, look->names[i], length);
        used += length;
        key[used++] = '\n';
    }
    return key;
}

/* ---- named tensors ---- */

static m2snet_status mark(m2s_graph *graph, const m2s_look *look, m2snet_error *error)
{
    for (int32_t i = 0; i < look->count; i++) {
        m2s_value value = m2s_graph_find(graph, look->names[i]);
        if (value == M2S_NONE || !m2s_look_shows(graph, value)) {
            return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "the network has no tensor \"%.100s\" at this size",
                            look->names[i]);
        }
        m2s_graph_mark_output(graph, value);
    }
    return M2SNET_STATUS_OK;
}

/* ---- the gradient in one of them ---- */

/* Winograd's transforms lose digits; see train/step.c. */
static void ask_for_exact_convolutions(m2s_graph *graph)
{
    for (int32_t i = 0; i < graph->node_count; i++) {
        graph->nodes[i].attrs.form = graph->nodes[i].op == M2S_OP_conv2d;
    }
}

/* Appends the gradient; *found is false when the logits do not depend on the tensor in this form of the graph. */
static m2snet_status differentiate(m2s_graph *graph, const char *name, bool *found, m2snet_error *error)
{
    m2s_value logits = m2s_graph_find(graph, M2S_NAME_LOGITS), tensor = m2s_graph_find(graph, name), diff;
    m2s_value seed = m2s_graph_input(graph, M2S_NAME_SEED, m2s_shape_of(graph, logits));
    m2snet_status status;

    M2S_TRY(m2s_autodiff(graph, logits, seed, &tensor, 1, &diff, error));
    *found = diff != M2S_NONE;
    if (*found) {
        if (graph->values[diff].kind != M2S_VALUE_NODE) { /* the seed itself: an output has a name of its own */
            diff = m2s_scale(graph, diff, 1.0);
        }
        m2s_graph_mark_output(graph, m2s_graph_name(graph, diff, M2S_NAME_GRADIENT));
    }
    M2S_TRY(m2s_graph_finish(graph, error));
fail:
    return status;
}

/* *differentiated = graph with the gradient. Fused where the tensor is still there afterwards. */
static m2snet_status gradient_graph(const m2s_graph *graph, const char *name, bool literal, m2s_graph **differentiated,
                                    m2snet_error *error)
{
    m2s_graph *made = NULL;
    bool found = false;
    m2snet_status status = M2SNET_STATUS_OK;

    for (int fused = literal ? 0 : 1; fused >= 0 && !found; fused--) {
        m2s_graph_destroy(made);
        made = NULL;
        M2S_TRY(fused ? m2s_pass_fuse_training(graph, &made, error) : m2s_pass_copy(graph, &made, error));
        M2S_TRY(differentiate(made, name, &found, error));
    }
    if (!found) {
        status = m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "the logits do not depend on tensor \"%.100s\"", name);
        goto fail;
    }
    *differentiated = made;
    made = NULL;
fail:
    m2s_graph_destroy(made);
    return status;
}

m2snet_status m2s_look_compile(m2snet_model *model, const m2s_look *look, int64_t n, int64_t h, int64_t w,
                               m2snet_dtype dtype, m2snet_precision precision, m2s_control *control,
                               m2s_program **program, m2snet_error *error)
{
    m2snet_context *context = model->context;
    m2s_graph *graph = NULL, *with_gradient = NULL;
    m2snet_status status;

    M2S_TRY(m2s_net_build(&context->memory, &model->config, n, h, w, dtype, &graph, error));
    M2S_TRY(mark(graph, look, error));
    if (!look->gradient) {
        M2S_TRY(m2s_program_create(context, graph, precision, model->store, model->packs, control, program, error));
    } else {
        bool half = precision == M2SNET_PRECISION_F16 || precision == M2SNET_PRECISION_BF16;
        ask_for_exact_convolutions(graph);
        M2S_TRY(gradient_graph(graph, look->names[0], context->backend->literal, &with_gradient, error));
        M2S_TRY(m2s_program_create_step(context, with_gradient, half ? M2SNET_PRECISION_F32 : precision, model->store,
                                        "", model->packs, NULL, control, program, error));
    }
fail:
    m2s_graph_destroy(graph);
    m2s_graph_destroy(with_gradient);
    return status;
}
