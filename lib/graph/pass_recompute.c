/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/pass_recompute.h"

#include "graph/pass.h"

/* A value made again may depend on others made again, at most this many in a row: a stage of residual blocks is one
 * long sum, and each of its links would otherwise start from the first. */
#define MOST_IN_A_ROW 4
/* Numbers below which a value is not worth a node. */
#define FEWEST_NUMBERS 4096

typedef enum fate {
    FATE_STORED, /* alive in the backward half, or nobody's concern there */
    FATE_REMADE
} fate;

typedef struct recomputation {
    const m2s_graph *graph;
    int32_t backward;
    bool *read_later; /* by a backward node, or by what is made again */
    bool *pinned;     /* read after state has begun to change: too late to make it again */
    fate *fates;
    int32_t *depth; /* of remade values: how many in a row */
} recomputation;

static bool is_cheap(m2s_op op)
{
    switch (op) {
    case M2S_OP_batch_norm:
    case M2S_OP_batch_norm_train:
    case M2S_OP_layer_norm:
    case M2S_OP_relu:
    case M2S_OP_gelu:
    case M2S_OP_scale_c:
    case M2S_OP_add:
    case M2S_OP_abs_diff:
    case M2S_OP_slice_c:
    case M2S_OP_concat_c:
    case M2S_OP_scale:
    case M2S_OP_multiply:
    case M2S_OP_sigmoid:
    case M2S_OP_max_pool:
    case M2S_OP_avg_pool:
    case M2S_OP_resize:
    case M2S_OP_normalise_rgb:
        return true;
    default:
        return false;
    }
}

/* The forward node that can make value again; NULL when it must be stored. */
static const m2s_node *maker_of(const recomputation *r, m2s_value value)
{
    const m2s_value_info *info = &r->graph->values[value];

    if (info->kind != M2S_VALUE_NODE || info->output || info->replaces != M2S_NONE || info->constant ||
        r->pinned[value] || info->node >= r->backward || m2s_shape_elements(info->shape) < FEWEST_NUMBERS) {
        return NULL;
    }
    const m2s_node *node = &r->graph->nodes[info->node];
    return is_cheap(node->op) && node->out[0] == value ? node : NULL;
}

/* Inputs that making a node again reads: a batch norm in train mode reads its statistics, which are small, in place of
 * the last two. */
static int32_t read_count(const m2s_node *node)
{
    return node->op == M2S_OP_batch_norm_train ? 3 : node->in_count;
}

/* Numbers that must be stored in addition so that value can be had in the backward half with at most `most` remade in
 * a row; -1 when it cannot. *depth: how many there are in a row. commit: do so. */
static int64_t provide(const recomputation *r, m2s_value value, int32_t most, bool commit, int32_t *depth);

/* The same for making it again, whatever storing it would cost. */
static int64_t remake(const recomputation *r, const m2s_node *node, int32_t most, bool commit, int32_t *depth)
{
    int64_t numbers = 0;

    *depth = 1;
    for (int32_t i = 0; i < read_count(node); i++) {
        int32_t below = 0;
        if (node->in[i] == M2S_NONE) {
            continue;
        }
        int64_t more = most > 0 ? provide(r, node->in[i], most - 1, commit, &below) : -1;
        if (more < 0) {
            return -1;
        }
        numbers += more;
        *depth = below + 1 > *depth ? below + 1 : *depth;
    }
    return numbers;
}

static int64_t provide(const recomputation *r, m2s_value value, int32_t most, bool commit, int32_t *depth)
{
    const m2s_value_info *info = &r->graph->values[value];
    const m2s_node *maker = maker_of(r, value);

    *depth = 0;
    if (info->kind != M2S_VALUE_NODE || info->constant) {
        return 0;
    }
    if (r->read_later[value]) {
        *depth = r->fates[value] == FATE_REMADE ? r->depth[value] : 0;
        return *depth <= most ? 0 : -1;
    }
    int64_t stored = m2s_shape_elements(info->shape);
    int64_t remade = maker != NULL ? remake(r, maker, most, false, depth) : -1;
    bool again = remade >= 0 && remade < stored;
    if (again && commit) {
        remake(r, maker, most, true, depth);
    }
    *depth = again ? *depth : 0;
    if (commit) {
        r->read_later[value] = true;
        r->fates[value] = again ? FATE_REMADE : FATE_STORED;
        r->depth[value] = *depth;
    }
    return again ? remade : stored;
}

/* In the order of the nodes, so that what a value is made of is decided before it. Making it again must free at least
 * twice what it keeps alive. */
static void choose(const recomputation *r)
{
    const m2s_graph *graph = r->graph;

    for (int32_t n = 0; n < r->backward; n++) {
        m2s_value value = graph->nodes[n].out[0];
        const m2s_node *maker = maker_of(r, value);
        int32_t depth;
        if (maker == NULL || !r->read_later[value] || r->fates[value] == FATE_REMADE) {
            continue;
        }
        int64_t kept = remake(r, maker, MOST_IN_A_ROW, false, &depth);
        if (kept >= 0 && 2 * kept <= m2s_shape_elements(graph->values[value].shape)) {
            remake(r, maker, MOST_IN_A_ROW, true, &depth);
            r->fates[value] = FATE_REMADE;
            r->depth[value] = depth;
        }
    }
}

/* Emits the node that makes value again, and first those it depends on; later readers of value find the new one. */
static void emit(m2s_pass *pass, const recomputation *r, m2s_value value)
{
    const m2s_node *node = &r->graph->nodes[r->graph->values[value].node];
    m2s_value in[M2S_MAX_IN];

    for (int32_t i = 0; i < read_count(node); i++) {
        m2s_value input = node->in[i];
        if (input != M2S_NONE && r->fates[input] == FATE_REMADE && pass->memo[input] == M2S_NONE) {
            emit(pass, r, input);
        }
        in[i] = input == M2S_NONE ? M2S_NONE : pass->map[input];
    }
    m2s_op op = node->op;
    if (op == M2S_OP_batch_norm_train) {
        op = M2S_OP_batch_norm;
        in[3] = pass->map[node->out[1]];
        in[4] = pass->map[node->out[2]];
    }
    pass->map[value] = pass->memo[value] = m2s_graph_node(pass->dst, op, in, node->in_count, &node->attrs);
}

static m2s_value recompute_rule(m2s_pass *pass, int32_t index)
{
    const recomputation *r = pass->user;
    const m2s_node *node = &pass->src->nodes[index];

    for (int32_t i = 0; index >= r->backward && i < node->in_count; i++) {
        m2s_value input = node->in[i];
        if (input != M2S_NONE && r->fates[input] == FATE_REMADE && pass->memo[input] == M2S_NONE &&
            pass->dst->status == M2SNET_STATUS_OK) {
            emit(pass, r, input);
        }
    }
    return M2S_NONE; /* copied, with inputs as the map has them now */
}

m2snet_status m2s_pass_recompute(const m2s_graph *src, int32_t backward, m2s_graph **dst, m2snet_error *error)
{
    size_t values = (size_t)src->value_count + 1;
    recomputation r = { .graph = src, .backward = backward };
    int32_t first_update;
    m2snet_status status;

    *dst = NULL;
    M2S_TRY(m2s_graph_first_update(src, &first_update, error));
    r.read_later = m2s_calloc(src->memory, values, sizeof *r.read_later);
    r.pinned = m2s_calloc(src->memory, values, sizeof *r.pinned);
    r.fates = m2s_calloc(src->memory, values, sizeof *r.fates);
    r.depth = m2s_calloc(src->memory, values, sizeof *r.depth);
    if (r.read_later == NULL || r.pinned == NULL || r.fates == NULL || r.depth == NULL) {
        status = m2s_fail_memory(error, "a graph pass", values * sizeof *r.fates);
        goto fail;
    }
    for (int32_t n = backward; n < src->node_count; n++) {
        for (int32_t i = 0; i < src->nodes[n].in_count; i++) {
            if (src->nodes[n].in[i] != M2S_NONE) {
                r.read_later[src->nodes[n].in[i]] = true;
                r.pinned[src->nodes[n].in[i]] |= n >= first_update;
            }
        }
    }
    choose(&r);
    M2S_TRY(m2s_pass_run(src, recompute_rule, &r, dst, error));
fail:
    m2s_free(src->memory, r.read_later);
    m2s_free(src->memory, r.pinned);
    m2s_free(src->memory, r.fates);
    m2s_free(src->memory, r.depth);
    return status;
}
