/* SPDX-License-Identifier: Apache-2.0
 * What a network goes through before it is differentiated. Every node that these passes emit has a gradient rule. */
#include "graph/pass.h"

typedef bool (*is_frozen)(const char *name);

/* ---- statistics of the batch ---- */

static m2s_value statistics_rule(m2s_pass *pass, int32_t index)
{
    const m2s_node *norm = &pass->src->nodes[index];
    is_frozen frozen = *(const is_frozen *)pass->user;
    m2s_value in[5];

    if (norm->op != M2S_OP_batch_norm || (frozen != NULL && frozen(pass->src->values[norm->in[1]].name))) {
        return M2S_NONE;
    }
    for (int i = 0; i < 5; i++) {
        in[i] = pass->map[norm->in[i]];
    }
    return m2s_graph_node(pass->dst, M2S_OP_batch_norm_train, in, 5, &norm->attrs);
}

m2snet_status m2s_pass_batch_statistics(const m2s_graph *src, bool (*frozen)(const char *name), m2s_graph **dst,
                                        m2snet_error *error)
{
    return m2s_pass_run(src, statistics_rule, &frozen, dst, error);
}

/* ---- fusing ---- */

/* The norm that makes value, of either kind. */
static const m2s_node *norm_of(const m2s_pass *pass, m2s_value value)
{
    const m2s_node *norm = m2s_pass_producer(pass, value, M2S_OP_batch_norm_train);

    return norm != NULL ? norm : m2s_pass_producer(pass, value, M2S_OP_batch_norm);
}

/* ReLU of what only it reads: the same node with relu set. */
static m2s_value fuse_relu(m2s_pass *pass, const m2s_node *relu)
{
    const m2s_node *inner = norm_of(pass, relu->in[0]);

    inner = inner != NULL ? inner : m2s_pass_producer(pass, relu->in[0], M2S_OP_conv2d);
    inner = inner != NULL ? inner : m2s_pass_producer(pass, relu->in[0], M2S_OP_add);
    if (inner == NULL || inner->attrs.relu != 0 || !m2s_pass_is_private(pass, relu->in[0])) {
        return M2S_NONE;
    }
    m2s_attrs attrs = inner->attrs;
    m2s_value in[M2S_MAX_IN];
    for (int32_t i = 0; i < inner->in_count; i++) {
        in[i] = inner->in[i] == M2S_NONE ? M2S_NONE : pass->map[inner->in[i]];
    }
    attrs.relu = 1;
    return m2s_graph_node(pass->dst, inner->op, in, inner->in_count, &attrs);
}

/* The norm of value = relu(norm(filter(x))), and its filter; NULL when value is nothing of the kind. */
static const m2s_node *filtered(const m2s_pass *pass, m2s_value value, m2s_value x, const m2s_node **filter)
{
    const m2s_node *relu = m2s_pass_producer(pass, value, M2S_OP_relu);
    const m2s_node *norm = relu != NULL ? norm_of(pass, relu->in[0]) : NULL;

    *filter = norm != NULL ? m2s_pass_producer(pass, norm->in[0], M2S_OP_full_filter) : NULL;
    return *filter != NULL && (*filter)->in[0] == x ? norm : NULL;
}

/* |A' - B| + sum over k of |F_k(A') - F_k(B)| (MODELS.md 2.3). */
static m2s_value fuse_unit(m2s_pass *pass, const m2s_node *sum)
{
    const m2s_node *plain = m2s_pass_producer(pass, sum->in[0], M2S_OP_abs_diff);
    m2s_attrs attrs = { .scales = sum->in_count - 1 };
    m2s_value in[M2S_MAX_IN];

    if (plain == NULL || attrs.scales < 1 || attrs.scales > M2S_MAX_SCALES) {
        return M2S_NONE;
    }
    m2s_value a = plain->in[0], b = plain->in[1];
    for (int32_t i = 0; i < attrs.scales; i++) {
        const m2s_node *term = m2s_pass_producer(pass, sum->in[i + 1], M2S_OP_abs_diff);
        const m2s_node *filter_a = NULL, *filter_b = NULL;
        const m2s_node *norm_a = term != NULL ? filtered(pass, term->in[0], a, &filter_a) : NULL;
        const m2s_node *norm_b = term != NULL ? filtered(pass, term->in[1], b, &filter_b) : NULL;
        if (norm_a == NULL || norm_b == NULL || norm_a->op != norm_b->op || norm_a->in[1] != norm_b->in[1] ||
            !m2s_attrs_equal(&filter_a->attrs, &filter_b->attrs)) {
            return M2S_NONE;
        }
        int32_t frozen = norm_a->op == M2S_OP_batch_norm;
        if (i > 0 && (filter_a->attrs.gaussian != attrs.gaussian || filter_a->attrs.alpha != attrs.alpha ||
                      frozen != attrs.frozen || norm_a->attrs.epsilon != attrs.epsilon)) {
            return M2S_NONE;
        }
        attrs.scale[i] = filter_a->attrs.kernel;
        attrs.gaussian = filter_a->attrs.gaussian;
        attrs.alpha = filter_a->attrs.alpha;
        attrs.frozen = frozen;
        attrs.epsilon = norm_a->attrs.epsilon;
        for (int32_t k = 0; k < 4; k++) {
            in[2 + 4 * i + k] = pass->map[norm_a->in[1 + k]];
        }
    }
    const m2s_node *resize = m2s_pass_producer(pass, a, M2S_OP_resize);
    in[0] = pass->map[resize != NULL && resize->in[1] == M2S_NONE ? resize->in[0] : a];
    in[1] = pass->map[b];
    return m2s_graph_node(pass->dst, M2S_OP_multi_scale_subtract_train, in, 2 + 4 * attrs.scales, &attrs);
}

static m2s_value fuse_rule(m2s_pass *pass, int32_t index)
{
    const m2s_node *node = &pass->src->nodes[index];

    switch (node->op) {
    case M2S_OP_relu:
        return fuse_relu(pass, node);
    case M2S_OP_add:
        return fuse_unit(pass, node);
    default:
        return M2S_NONE;
    }
}

m2snet_status m2s_pass_fuse_training(const m2s_graph *src, m2s_graph **dst, m2snet_error *error)
{
    return m2s_pass_run(src, fuse_rule, NULL, dst, error);
}
