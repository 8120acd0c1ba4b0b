/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/pass.h"

#include <string.h>

static m2s_value copy_leaf(m2s_graph *dst, const m2s_value_info *info)
{
    switch (info->kind) {
    case M2S_VALUE_INPUT:
        return m2s_graph_input(dst, info->name, info->shape);
    case M2S_VALUE_SCALAR:
        return m2s_graph_scalar(dst, info->name);
    case M2S_VALUE_PARAM:
        return m2s_graph_param_of_rank(dst, info->name, info->shape, info->rank);
    case M2S_VALUE_STATE:
        return m2s_graph_state(dst, info->name, info->shape);
    case M2S_VALUE_NODE:
        break;
    }
    return M2S_NONE;
}

/* Names, outputs and state edges go with a value to what stands for it. */
static void copy_marks(const m2s_pass *pass, m2s_value old_value, m2s_value new_value)
{
    const m2s_value_info *old_info = &pass->src->values[old_value];

    if (pass->dst->status != M2SNET_STATUS_OK || new_value == M2S_NONE) {
        return;
    }
    m2s_graph_name(pass->dst, new_value, old_info->name);
    if (old_info->output) {
        m2s_graph_mark_output(pass->dst, new_value);
    }
    if (old_info->replaces != M2S_NONE && pass->dst->status == M2SNET_STATUS_OK) {
        pass->dst->values[new_value].replaces = pass->map[old_info->replaces];
    }
}

static void visit(m2s_pass *pass, int32_t index, m2s_pass_rule rule)
{
    const m2s_node *node = &pass->src->nodes[index];
    if (pass->map[node->out[0]] != M2S_NONE) { /* a constant that a rule wanted early */
        return;
    }
    m2s_value made = rule != NULL ? rule(pass, index) : M2S_NONE;

    if (made != M2S_NONE) {
        pass->map[node->out[0]] = made;
        copy_marks(pass, node->out[0], made);
        return;
    }
    m2s_value in[M2S_MAX_IN];
    for (int32_t i = 0; i < node->in_count; i++) {
        in[i] = node->in[i] == M2S_NONE ? M2S_NONE : pass->map[node->in[i]];
    }
    m2s_graph_node(pass->dst, node->op, in, node->in_count, &node->attrs);
    if (pass->dst->status != M2SNET_STATUS_OK) {
        return;
    }
    const m2s_node *copy = &pass->dst->nodes[pass->dst->node_count - 1];
    for (int32_t i = 0; i < node->out_count; i++) {
        pass->map[node->out[i]] = copy->out[i];
        copy_marks(pass, node->out[i], copy->out[i]);
    }
}

static void count_uses(const m2s_graph *graph, int32_t *uses)
{
    for (m2s_value v = 0; v < graph->value_count; v++) {
        uses[v] = graph->values[v].output;
    }
    for (int32_t i = 0; i < graph->node_count; i++) {
        for (int32_t k = 0; k < graph->nodes[i].in_count; k++) {
            if (graph->nodes[i].in[k] != M2S_NONE) {
                uses[graph->nodes[i].in[k]]++;
            }
        }
    }
}

/* One sweep; a NULL rule with keep != NULL copies the nodes and parameters that keep marks. */
static m2snet_status sweep(const m2s_graph *src, m2s_pass_rule rule, const void *user, const bool *keep,
                           m2s_graph **swept, m2snet_error *error)
{
    size_t count = (size_t)src->value_count + 1;
    m2s_pass pass = { .src = src, .user = user };
    m2snet_status status;

    pass.map = m2s_alloc_array(src->memory, count, sizeof *pass.map);
    pass.memo = m2s_alloc_array(src->memory, count, sizeof *pass.memo);
    pass.uses = m2s_alloc_array(src->memory, count, sizeof *pass.uses);
    if (pass.map == NULL || pass.memo == NULL || pass.uses == NULL) {
        status = m2s_fail_memory(error, "a graph pass", 3 * count * sizeof *pass.map);
        goto fail;
    }
    M2S_TRY(m2s_graph_create(src->memory, src->dtype, &pass.dst, error));
    count_uses(src, pass.uses);
    for (m2s_value v = 0; v < src->value_count; v++) {
        const m2s_value_info *info = &src->values[v];
        pass.map[v] = pass.memo[v] = M2S_NONE;
        if (info->kind != M2S_VALUE_NODE && (keep == NULL || keep[v] || info->kind != M2S_VALUE_PARAM)) {
            pass.map[v] = copy_leaf(pass.dst, info);
            if (info->output) {
                m2s_graph_mark_output(pass.dst, pass.map[v]);
            }
        }
    }
    for (int32_t i = 0; i < src->node_count && pass.dst->status == M2SNET_STATUS_OK; i++) {
        if (keep == NULL || keep[src->nodes[i].out[0]]) {
            visit(&pass, i, rule);
        }
    }
    M2S_TRY(m2s_graph_finish(pass.dst, error));
    *swept = pass.dst;
    pass.dst = NULL;
fail:
    m2s_graph_destroy(pass.dst);
    m2s_free(src->memory, pass.map);
    m2s_free(src->memory, pass.memo);
    m2s_free(src->memory, pass.uses);
    return status;
}

/* keep[first output of a node] and keep[parameter] = something that leaves the graph needs it. */
static void mark_needed(const m2s_graph *graph, bool *keep)
{
    for (m2s_value v = 0; v < graph->value_count; v++) {
        keep[v] = graph->values[v].output || graph->values[v].replaces != M2S_NONE;
    }
    for (int32_t i = graph->node_count - 1; i >= 0; i--) {
        const m2s_node *node = &graph->nodes[i];
        bool needed = false;
        for (int32_t k = 0; k < node->out_count; k++) {
            needed = needed || keep[node->out[k]];
        }
        keep[node->out[0]] = needed;
        for (int32_t k = 0; needed && k < node->in_count; k++) {
            if (node->in[k] != M2S_NONE) {
                keep[node->in[k]] = true;
            }
        }
    }
}

m2snet_status m2s_pass_run(const m2s_graph *src, m2s_pass_rule rule, const void *user, m2s_graph **dst,
                           m2snet_error *error)
{
    m2s_graph *rewritten = NULL;
    bool *keep = NULL;
    m2snet_status status;

    *dst = NULL;
    M2S_TRY(sweep(src, rule, user, NULL, &rewritten, error));
    keep = m2s_alloc_array(src->memory, (size_t)rewritten->value_count + 1, sizeof *keep);
    if (keep == NULL) {
        status = m2s_fail_memory(error, "a graph pass", (size_t)rewritten->value_count);
        goto fail;
    }
    mark_needed(rewritten, keep);
    M2S_TRY(sweep(rewritten, NULL, NULL, keep, dst, error));
fail:
    m2s_free(src->memory, keep);
    m2s_graph_destroy(rewritten);
    return status;
}

m2snet_status m2s_pass_copy(const m2s_graph *src, m2s_graph **dst, m2snet_error *error)
{
    return m2s_pass_run(src, NULL, NULL, dst, error);
}

const m2s_node *m2s_pass_producer(const m2s_pass *pass, m2s_value value, m2s_op op)
{
    if (value == M2S_NONE || pass->src->values[value].kind != M2S_VALUE_NODE) {
        return NULL;
    }
    const m2s_node *node = &pass->src->nodes[pass->src->values[value].node];
    return node->op == op ? node : NULL;
}

bool m2s_pass_is_private(const m2s_pass *pass, m2s_value value)
{
    return pass->uses[value] == 1 && !pass->src->values[value].output;
}

m2s_value m2s_pass_constant(m2s_pass *pass, m2s_value value)
{
    if (pass->map[value] == M2S_NONE && pass->src->values[value].kind == M2S_VALUE_NODE) {
        const m2s_node *node = &pass->src->nodes[pass->src->values[value].node];
        for (int32_t i = 0; i < node->in_count; i++) {
            if (node->in[i] != M2S_NONE) {
                m2s_pass_constant(pass, node->in[i]);
            }
        }
        visit(pass, pass->src->values[value].node, NULL);
    }
    return pass->map[value];
}

m2snet_status m2s_pass_inference(const m2s_graph *src, m2s_graph **dst, m2snet_error *error)
{
    m2snet_status (*const passes[])(const m2s_graph *, m2s_graph **, m2snet_error *) = { m2s_pass_filters,
                                                                                         m2s_pass_fold, m2s_pass_fuse };
    m2s_graph *graph = NULL;
    m2snet_status status = M2SNET_STATUS_OK;

    *dst = NULL;
    for (size_t i = 0; i < sizeof passes / sizeof passes[0] && status == M2SNET_STATUS_OK; i++) {
        m2s_graph *next;
        status = passes[i](graph != NULL ? graph : src, &next, error);
        m2s_graph_destroy(graph);
        graph = next;
    }
    *dst = graph;
    return status;
}
