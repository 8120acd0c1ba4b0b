/* SPDX-License-Identifier: Apache-2.0
 * Fusing, in two sweeps: first ReLU and residual into convolutions and sums, then whole blocks: Res2Net's groups, the
 * multi-scale subtraction unit, resize-and-add, and two convolutions of one input computed as one. */
#include "graph/pass.h"

/* ---- first sweep: epilogues ---- */

/* A convolution that may still take a residual and a ReLU. */
static const m2s_node *open_conv(const m2s_pass *pass, m2s_value value)
{
    const m2s_node *conv = m2s_pass_producer(pass, value, M2S_OP_conv2d);

    return conv != NULL && !conv->attrs.relu && conv->in[3] == M2S_NONE && m2s_pass_is_private(pass, value) ? conv
                                                                                                            : NULL;
}

static m2s_value conv_with(m2s_pass *pass, const m2s_node *conv, m2s_value residual, bool relu)
{
    m2s_value bias = conv->in[2] == M2S_NONE ? M2S_NONE : pass->map[conv->in[2]];
    m2s_value in[] = { pass->map[conv->in[0]], pass->map[conv->in[1]], bias, residual };
    m2s_attrs attrs = conv->attrs;

    attrs.relu = relu;
    return m2s_graph_node(pass->dst, M2S_OP_conv2d, in, 4, &attrs);
}

/* A sum of two, one of them such a convolution. */
static m2s_value conv_plus(m2s_pass *pass, const m2s_node *sum, bool relu)
{
    for (int32_t i = 0; i < 2 && sum->in_count == 2; i++) {
        const m2s_node *conv = open_conv(pass, sum->in[i]);
        if (conv != NULL) {
            return conv_with(pass, conv, pass->map[sum->in[1 - i]], relu);
        }
    }
    return M2S_NONE;
}

static m2s_value epilogue_rule(m2s_pass *pass, int32_t index)
{
    const m2s_node *node = &pass->src->nodes[index];
    const m2s_node *conv, *sum;

    if (node->op == M2S_OP_add && !node->attrs.relu) { /* with a ReLU behind it, it is made again */
        return conv_plus(pass, node, false);
    }
    if (node->op != M2S_OP_relu) {
        return M2S_NONE;
    }
    if ((conv = open_conv(pass, node->in[0])) != NULL) {
        return conv_with(pass, conv, M2S_NONE, true);
    }
    sum = m2s_pass_producer(pass, node->in[0], M2S_OP_add);
    if (sum == NULL || sum->attrs.relu || !m2s_pass_is_private(pass, node->in[0])) {
        return M2S_NONE;
    }
    m2s_value made = conv_plus(pass, sum, true);
    if (made != M2S_NONE) {
        return made;
    }
    m2s_value in[M2S_MAX_IN];
    for (int32_t i = 0; i < sum->in_count; i++) {
        in[i] = pass->map[sum->in[i]];
    }
    return m2s_graph_node(pass->dst, M2S_OP_add, in, sum->in_count, &(m2s_attrs){ .relu = 1 });
}

/* ---- second sweep: blocks ---- */

/* value is channels [group * width, (group + 1) * width) of *src; *src is set by the first call. */
static bool is_group(const m2s_pass *pass, m2s_value value, int32_t group, int32_t width, m2s_value *src)
{
    const m2s_node *slice = m2s_pass_producer(pass, value, M2S_OP_slice_c);

    if (slice == NULL || slice->attrs.begin != group * width || slice->attrs.count != width ||
        (*src != M2S_NONE && *src != slice->in[0])) {
        return false;
    }
    *src = slice->in[0];
    return m2s_shape_of(pass->src, *src).c == 4 * width;
}

static bool is_group_conv(const m2s_node *conv)
{
    const m2s_attrs *a = &conv->attrs;

    return a->relu && a->pad == 1 && a->dilation == 1 && a->groups == 1 && conv->in[2] != M2S_NONE &&
           conv->in[3] == M2S_NONE;
}

static m2s_value fuse_res2_groups(m2s_pass *pass, const m2s_node *concat)
{
    const m2s_graph *src = pass->src;
    m2s_value y = M2S_NONE, in[7];
    m2s_attrs attrs = { .stride = 1 };

    if (concat->in_count != 4) {
        return M2S_NONE;
    }
    int32_t width = (int32_t)m2s_shape_of(src, concat->in[0]).c;
    const m2s_node *pool = m2s_pass_producer(pass, concat->in[3], M2S_OP_avg_pool);
    if (pool != NULL) {
        attrs.stage = 1;
        attrs.stride = pool->attrs.stride;
        if (pool->attrs.kernel != 3 || pool->attrs.pad != 1 || !pool->attrs.count_include_pad ||
            pool->attrs.ceil_mode) {
            return M2S_NONE;
        }
    }
    if (!is_group(pass, pool != NULL ? pool->in[0] : concat->in[3], 3, width, &y)) {
        return M2S_NONE;
    }
    for (int32_t i = 0; i < 3; i++) {
        const m2s_node *conv = m2s_pass_producer(pass, concat->in[i], M2S_OP_conv2d);
        if (conv == NULL || !is_group_conv(conv) || conv->attrs.stride != attrs.stride) {
            return M2S_NONE;
        }
        m2s_shape weights = m2s_shape_of(src, conv->in[1]);
        if (weights.o != width || weights.i != width || weights.kh != 3 || weights.kw != 3) {
            return M2S_NONE;
        }
        m2s_value group = conv->in[0];
        if (i > 0 && !attrs.stage) {
            const m2s_node *sum = m2s_pass_producer(pass, group, M2S_OP_add);
            if (sum == NULL || sum->in_count != 2 || sum->attrs.relu || sum->in[0] != concat->in[i - 1]) {
                return M2S_NONE;
            }
            group = sum->in[1];
        }
        if (!is_group(pass, group, i, width, &y)) {
            return M2S_NONE;
        }
        in[1 + 2 * i] = pass->map[conv->in[1]];
        in[2 + 2 * i] = pass->map[conv->in[2]];
    }
    in[0] = pass->map[y];
    return m2s_graph_node(pass->dst, M2S_OP_res2_groups, in, 7, &attrs);
}

/* x resized, or x as it is: the value before resizing. */
static m2s_value before_resize(const m2s_pass *pass, m2s_value x)
{
    const m2s_node *resize = m2s_pass_producer(pass, x, M2S_OP_resize);

    return resize != NULL && resize->in[1] == M2S_NONE ? resize->in[0] : x;
}

/* affine = plane_affine_relu(box_k(channel sum of x)), where the sum may have been taken before resizing. */
static const m2s_node *filter_of(const m2s_pass *pass, m2s_value affine, m2s_value x, m2s_attrs *box_attrs)
{
    const m2s_node *spread = m2s_pass_producer(pass, affine, M2S_OP_plane_affine_relu);
    const m2s_node *box = spread != NULL ? m2s_pass_producer(pass, spread->in[0], M2S_OP_box_filter) : NULL;

    if (box == NULL) {
        return NULL;
    }
    const m2s_node *sum = m2s_pass_producer(pass, before_resize(pass, box->in[0]), M2S_OP_channel_sum);
    m2s_shape plane = m2s_shape_of(pass->src, box->in[0]), full = m2s_shape_of(pass->src, x);
    if (sum == NULL || plane.h != full.h || plane.w != full.w ||
        (sum->in[0] != x && sum->in[0] != before_resize(pass, x))) {
        return NULL;
    }
    *box_attrs = box->attrs;
    return spread;
}

/* root = |A' - B| alone, or the sum of it and of differences of filters. */
static m2s_value fuse_subtraction(m2s_pass *pass, const m2s_node *root)
{
    bool is_sum = root->op == M2S_OP_add;
    const m2s_node *diff = is_sum ? m2s_pass_producer(pass, root->in[0], M2S_OP_abs_diff) : root;
    m2s_value in[M2S_MAX_IN];
    m2s_attrs attrs = { .scales = is_sum ? root->in_count - 1 : 0 };

    if (diff == NULL || root->attrs.relu || attrs.scales > M2S_MAX_SCALES) {
        return M2S_NONE;
    }
    m2s_value a = diff->in[0], b = diff->in[1];
    for (int32_t i = 0; i < attrs.scales; i++) {
        const m2s_node *term = m2s_pass_producer(pass, root->in[i + 1], M2S_OP_abs_diff);
        m2s_attrs box_a, box_b;
        const m2s_node *fa = term != NULL ? filter_of(pass, term->in[0], a, &box_a) : NULL;
        const m2s_node *fb = term != NULL ? filter_of(pass, term->in[1], b, &box_b) : NULL;
        if (fa == NULL || fb == NULL || !m2s_attrs_equal(&box_a, &box_b) ||
            (i > 0 && (box_a.gaussian != attrs.gaussian || box_a.alpha != attrs.alpha))) {
            return M2S_NONE;
        }
        /* The constants are made once per use; the parameters behind them tell whether they are the same. */
        const m2s_node *slope_a = m2s_pass_producer(pass, fa->in[1], M2S_OP_fold_scale);
        const m2s_node *slope_b = m2s_pass_producer(pass, fb->in[1], M2S_OP_fold_scale);
        if (slope_a == NULL || slope_b == NULL || slope_a->in[0] != slope_b->in[0]) {
            return M2S_NONE;
        }
        attrs.scale[i] = box_a.kernel;
        attrs.gaussian = box_a.gaussian;
        attrs.alpha = box_a.alpha;
        in[2 + 2 * i] = pass->map[fa->in[1]];
        in[3 + 2 * i] = pass->map[fa->in[2]];
    }
    in[0] = pass->map[before_resize(pass, a)];
    in[1] = pass->map[b];
    return m2s_graph_node(pass->dst, M2S_OP_multi_scale_subtract, in, 2 + 2 * attrs.scales, &attrs);
}

static m2s_value fuse_resize_add(m2s_pass *pass, const m2s_node *sum)
{
    for (int32_t i = 0; i < 2 && sum->in_count == 2 && !sum->attrs.relu; i++) {
        const m2s_node *resize = m2s_pass_producer(pass, sum->in[i], M2S_OP_resize);
        if (resize != NULL && resize->in[1] == M2S_NONE && m2s_pass_is_private(pass, sum->in[i])) {
            m2s_value in[] = { pass->map[resize->in[0]], pass->map[sum->in[1 - i]] };
            return m2s_graph_node(pass->dst, M2S_OP_resize, in, 2, &resize->attrs);
        }
    }
    return M2S_NONE;
}

/* Two convolutions of one deep input stream the same activations: computed as one, then sliced. Worth it only where
 * the input is deep; the two 2048-channel reducers are the case in the network. */
#define JOIN_MIN_CHANNELS 512

static bool can_join(const m2s_pass *pass, const m2s_node *p, const m2s_node *q)
{
    m2s_shape a = m2s_shape_of(pass->src, p->in[1]), b = m2s_shape_of(pass->src, q->in[1]);

    return p->op == M2S_OP_conv2d && q->op == M2S_OP_conv2d && p->in[0] == q->in[0] && p->in[2] != M2S_NONE &&
           q->in[2] != M2S_NONE && p->in[3] == M2S_NONE && q->in[3] == M2S_NONE && p->attrs.groups == 1 &&
           m2s_attrs_equal(&p->attrs, &q->attrs) && a.i == b.i && a.kh == b.kh && a.kw == b.kw && a.kh > 1 &&
           pass->src->values[p->in[1]].constant && pass->src->values[q->in[1]].constant &&
           pass->src->values[p->in[2]].constant && pass->src->values[q->in[2]].constant && a.i >= JOIN_MIN_CHANNELS;
}

static m2s_value join_convs(m2s_pass *pass, int32_t index)
{
    const m2s_node *first = &pass->src->nodes[index];

    if (pass->memo[first->out[0]] != M2S_NONE) { /* the second of a pair that was joined before */
        return pass->memo[first->out[0]];
    }
    for (int32_t i = index + 1; i < pass->src->node_count; i++) {
        const m2s_node *second = &pass->src->nodes[i];
        if (second->op != M2S_OP_conv2d || !can_join(pass, first, second)) {
            continue;
        }
        m2s_value weights[2], bias[2], in[4] = { pass->map[first->in[0]], M2S_NONE, M2S_NONE, M2S_NONE };
        const m2s_node *const pair[2] = { first, second };
        for (int k = 0; k < 2; k++) {
            weights[k] = m2s_pass_constant(pass, pair[k]->in[1]);
            bias[k] = m2s_pass_constant(pass, pair[k]->in[2]);
        }
        in[1] = m2s_graph_node(pass->dst, M2S_OP_concat_o, weights, 2, NULL);
        in[2] = m2s_graph_node(pass->dst, M2S_OP_concat_o, bias, 2, NULL);
        m2s_value both = m2s_graph_node(pass->dst, M2S_OP_conv2d, in, 4, &first->attrs);
        int64_t split = m2s_shape_of(pass->src, first->out[0]).c;
        pass->memo[second->out[0]] = m2s_slice_c(pass->dst, both, split, m2s_shape_of(pass->src, second->out[0]).c);
        return m2s_slice_c(pass->dst, both, 0, split);
    }
    return M2S_NONE;
}

static m2s_value block_rule(m2s_pass *pass, int32_t index)
{
    const m2s_node *node = &pass->src->nodes[index];
    m2s_value made;

    switch (node->op) {
    case M2S_OP_concat_c:
        return fuse_res2_groups(pass, node);
    case M2S_OP_abs_diff:
        return fuse_subtraction(pass, node);
    case M2S_OP_add:
        made = fuse_subtraction(pass, node);
        return made != M2S_NONE ? made : fuse_resize_add(pass, node);
    case M2S_OP_conv2d:
        return join_convs(pass, index);
    default:
        return M2S_NONE;
    }
}

m2snet_status m2s_pass_fuse(const m2s_graph *src, m2s_graph **dst, m2snet_error *error)
{
    m2s_graph *with_epilogues = NULL;
    m2snet_status status;

    *dst = NULL;
    M2S_TRY(m2s_pass_run(src, epilogue_rule, NULL, &with_epilogues, error));
    M2S_TRY(m2s_pass_run(with_epilogues, block_rule, NULL, dst, error));
fail:
    m2s_graph_destroy(with_epilogues);
    return status;
}
