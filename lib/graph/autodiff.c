/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/autodiff.h"

#define MAX_PARTS 8 /* of one sum */

/* Gradients of a value that have come in and are not summed yet: a list through `next`. */
typedef struct contribution {
    m2s_value diff;
    int32_t next; /* index of the one before, or -1 */
} contribution;

typedef struct differentiation {
    m2s_graph *graph;
    int32_t value_count; /* of the graph before anything was appended */
    bool *needed;        /* depends on something wanted */
    int32_t *newest;     /* of each value: its last contribution, or -1 */
    contribution *contributions;
    int32_t contribution_count, contribution_capacity;
} differentiation;

static m2snet_status contribute(differentiation *d, m2s_value value, m2s_value diff, m2snet_error *error)
{
    if (d->contribution_count == d->contribution_capacity) {
        int32_t wanted = d->contribution_capacity == 0 ? 512 : 2 * d->contribution_capacity;
        contribution *larger =
            m2s_realloc(d->graph->memory, d->contributions, (size_t)wanted * sizeof *d->contributions);
        if (larger == NULL) {
            return m2s_fail_memory(error, "gradients", (size_t)wanted * sizeof *d->contributions);
        }
        d->contributions = larger;
        d->contribution_capacity = wanted;
    }
    d->contributions[d->contribution_count] = (contribution){ diff, d->newest[value] };
    d->newest[value] = d->contribution_count++;
    return M2SNET_STATUS_OK;
}

/* What slices of one tensor send back are tensors padded with zeros. When they tile it they are joined, not summed. */
static bool joins(const m2s_graph *graph, const m2s_value *part, int32_t count, m2s_value *joined)
{
    int64_t channels = m2s_shape_of(graph, part[0]).c, done = 0;
    int32_t found = 0;

    while (done < channels) {
        int32_t k = 0;
        for (; k < count; k++) {
            const m2s_value_info *info = &graph->values[part[k]];
            const m2s_node *node = info->kind == M2S_VALUE_NODE ? &graph->nodes[info->node] : NULL;
            if (node == NULL || node->op != M2S_OP_pad_c) {
                return false;
            }
            if (node->attrs.begin == done) {
                joined[found++] = node->in[0];
                done += m2s_shape_of(graph, node->in[0]).c;
                break;
            }
        }
        if (k == count || found > count) {
            return false;
        }
    }
    return found == count;
}

/* The sum of all contributions, oldest first; M2S_NONE when there are none. */
static m2s_value sum_of(differentiation *d, m2s_value value)
{
    m2s_value part[MAX_PARTS], joined[MAX_PARTS];
    m2s_value sum = M2S_NONE;
    int32_t count = 0, reversed = -1;

    for (int32_t at = d->newest[value], next; at >= 0; at = next) {
        next = d->contributions[at].next;
        d->contributions[at].next = reversed;
        reversed = at;
    }
    for (; reversed >= 0; reversed = d->contributions[reversed].next) {
        if (count == MAX_PARTS) {
            part[0] = m2s_sum(d->graph, part, count);
            count = 1;
        }
        part[count++] = d->contributions[reversed].diff;
    }
    if (count == 1) {
        sum = part[0];
    } else if (count > 1 && d->graph->status == M2SNET_STATUS_OK) {
        sum = joins(d->graph, part, count, joined) ? m2s_concat_c(d->graph, joined, count)
                                                   : m2s_sum(d->graph, part, count);
    }
    d->newest[value] = -1;
    return sum;
}

static void mark_needed(const differentiation *d, int32_t node_count)
{
    const m2s_graph *graph = d->graph;

    for (int32_t n = 0; n < node_count; n++) {
        const m2s_node *node = &graph->nodes[n];
        bool needed = false;
        for (int32_t i = 0; i < node->in_count; i++) {
            needed = needed || (node->in[i] != M2S_NONE && d->needed[node->in[i]]);
        }
        for (int32_t i = 0; i < node->out_count; i++) {
            d->needed[node->out[i]] = d->needed[node->out[i]] || needed;
        }
    }
}

static m2snet_status differentiate_node(differentiation *d, int32_t index, m2s_value *summed, m2snet_error *error)
{
    m2s_graph *graph = d->graph;
    const m2s_node node = graph->nodes[index];
    m2s_gradient_rule rule = m2s_op_get_info(node.op)->gradient;
    m2s_value diff_out[M2S_MAX_OUT], diff_in[M2S_MAX_IN];
    bool wanted[M2S_MAX_IN] = { false };
    bool reached = false, useful = false, beyond = false; /* beyond: an output that no rule takes a gradient of */
    m2snet_status status = M2SNET_STATUS_OK;

    for (int32_t i = 0; i < node.out_count; i++) {
        diff_out[i] = summed[node.out[i]] = sum_of(d, node.out[i]);
        reached = reached || diff_out[i] != M2S_NONE;
        beyond = beyond || (i > 0 && diff_out[i] != M2S_NONE);
    }
    for (int32_t i = 0; i < M2S_MAX_IN; i++) {
        diff_in[i] = M2S_NONE;
        wanted[i] = i < node.in_count && node.in[i] != M2S_NONE && d->needed[node.in[i]];
        useful = useful || wanted[i];
    }
    if (!reached || !useful || graph->status != M2SNET_STATUS_OK) {
        return m2s_graph_finish(graph, error);
    }
    if (rule == NULL || beyond) {
        char label[64];
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED, "%s: %s cannot be differentiated",
                        m2s_node_label(graph, index, label), m2s_op_get_info(node.op)->name);
    }
    rule(graph, &node, diff_out, wanted, diff_in);
    for (int32_t i = 0; i < node.in_count; i++) {
        if (wanted[i] && diff_in[i] != M2S_NONE) {
            M2S_TRY(contribute(d, node.in[i], diff_in[i], error));
        }
    }
    M2S_TRY(m2s_graph_finish(graph, error));
fail:
    return status;
}

m2snet_status m2s_autodiff(m2s_graph *graph, m2s_value objective, m2s_value seed, const m2s_value *wanted,
                           int32_t count, m2s_value *diff, m2snet_error *error)
{
    m2s_memory *memory = graph->memory;
    differentiation d = { .graph = graph, .value_count = graph->value_count };
    size_t values = (size_t)graph->value_count + 1;
    m2s_value *summed = NULL;
    m2snet_status status;

    M2S_TRY(m2s_graph_finish(graph, error));
    d.needed = m2s_calloc(memory, values, sizeof *d.needed);
    d.newest = m2s_alloc_array(memory, values, sizeof *d.newest);
    summed = m2s_alloc_array(memory, values, sizeof *summed);
    if (d.needed == NULL || d.newest == NULL || summed == NULL) {
        status = m2s_fail_memory(error, "gradients", values * sizeof *summed);
        goto fail;
    }
    for (m2s_value v = 0; v < d.value_count; v++) {
        d.newest[v] = -1;
        summed[v] = M2S_NONE;
    }
    for (int32_t i = 0; i < count; i++) {
        d.needed[wanted[i]] = true;
    }
    mark_needed(&d, graph->node_count);
    M2S_TRY(contribute(&d, objective, seed, error));
    for (int32_t n = graph->node_count - 1; n >= 0; n--) {
        M2S_TRY(differentiate_node(&d, n, summed, error));
    }
    for (int32_t i = 0; i < count; i++) {
        bool made = graph->values[wanted[i]].kind == M2S_VALUE_NODE;
        diff[i] = made ? summed[wanted[i]] : sum_of(&d, wanted[i]);
        if (!made) { /* the same value may be wanted twice */
            M2S_TRY(diff[i] != M2S_NONE ? contribute(&d, wanted[i], diff[i], error) : M2SNET_STATUS_OK);
        }
    }
    M2S_TRY(m2s_graph_finish(graph, error));
fail:
    m2s_free(memory, d.needed);
    m2s_free(memory, d.newest);
    m2s_free(memory, d.contributions);
    m2s_free(memory, summed);
    return status;
}
