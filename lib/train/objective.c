/* SPDX-License-Identifier: Apache-2.0 */
#include "train/objective.h"

#include "net/layers.h"

#define BOUNDARY_WINDOW 31 /* px: how wide the neighbourhood is that weighs a pixel */
#define BOUNDARY_ALPHA  5.0
#define DICE_EPSILON    1e-5 /* nnU-Net's */

const char *const m2s_term_names[M2S_TERM_COUNT] = {
    [M2S_TERM_BCE] = "loss.bce",         [M2S_TERM_IOU] = "loss.iou",
    [M2S_TERM_DICE] = "loss.dice",       [M2S_TERM_CROSS_ENTROPY] = "loss.cross_entropy",
    [M2S_TERM_LOSSNET] = "loss.lossnet",
};

void m2s_objective_default(m2s_objective *objective)
{
    *objective = (m2s_objective){ .lossnet_size_px = 224 };
    objective->weight[M2S_TERM_BCE] = 1.0;
    objective->weight[M2S_TERM_IOU] = 1.0;
}

/* Classifiers are trained on ImageNet's mean and deviation. */
static m2s_value classifier_input(m2s_graph *graph, const m2s_objective *objective, m2s_value map)
{
    static const m2s_attrs imagenet = { .mean = { 0.485f, 0.456f, 0.406f }, .std = { 0.229f, 0.224f, 0.225f } };
    m2s_value x = m2s_graph_node(graph, M2S_OP_normalise_rgb, &map, 1, &imagenet);
    int32_t size = objective->lossnet_size_px;

    return size > 0 ? m2s_resize(graph, x, size, size) : x;
}

static m2s_value feature_distance(m2s_graph *graph, const m2s_objective *objective, m2s_value map, m2s_value mask)
{
    m2s_value tap[M2S_LOSSNET_TAPS], target[M2S_LOSSNET_TAPS], part[M2S_LOSSNET_TAPS];

    objective->lossnet->taps(graph, classifier_input(graph, objective, map), tap);
    objective->lossnet->taps(graph, classifier_input(graph, objective, mask), target);
    for (int i = 0; i < M2S_LOSSNET_TAPS; i++) {
        part[i] = m2s_graph_node(graph, M2S_OP_feature_distance, (m2s_value[]){ tap[i], target[i] }, 2,
                                 &(m2s_attrs){ .form = objective->lossnet_l2 });
    }
    return m2s_sum(graph, part, M2S_LOSSNET_TAPS);
}

/* Three channels are one colour picture; one stands for all three; of other numbers each is a picture, and their
 * distances are averaged. */
static m2s_value lossnet_term(m2s_graph *graph, const m2s_objective *objective, m2s_value map, m2s_value mask)
{
    int64_t channels = m2s_shape_of(graph, map).c;
    m2s_value sum = M2S_NONE;

    if (channels == 1 || channels == 3) {
        return feature_distance(graph, objective, map, mask);
    }
    for (int64_t c = 0; c < channels; c++) {
        m2s_value one =
            feature_distance(graph, objective, m2s_slice_c(graph, map, c, 1), m2s_slice_c(graph, mask, c, 1));
        sum = c == 0 ? one : m2s_sum(graph, (m2s_value[]){ sum, one }, 2);
    }
    return m2s_scale(graph, sum, 1.0 / (double)channels);
}

/* weights: of the pixels, for the two terms that have them. */
static m2s_value build_term(m2s_graph *graph, const m2s_objective *objective, m2s_term term, m2s_value logits,
                            m2s_value mask, m2s_value weights)
{
    int64_t channels = m2s_shape_of(graph, logits).c;
    int32_t first = objective->softmax ? 1 : 0; /* channel 0 is the background */
    m2s_attrs attrs = { 0 };
    m2s_value in[3] = { logits, mask, weights };

    switch (term) {
    case M2S_TERM_BCE:
    case M2S_TERM_IOU:
        attrs.form = term == M2S_TERM_BCE && objective->plain_bce;
        return m2s_graph_node(graph, term == M2S_TERM_BCE ? M2S_OP_weighted_bce : M2S_OP_weighted_iou, in, 3, &attrs);
    case M2S_TERM_DICE:
        in[0] = objective->softmax ? m2s_softmax_c(graph, logits) : m2s_sigmoid(graph, logits);
        attrs = (m2s_attrs){ .begin = first, .epsilon = DICE_EPSILON, .form = objective->batch_dice };
        return m2s_graph_node(graph, M2S_OP_dice, in, 2, &attrs);
    case M2S_TERM_CROSS_ENTROPY:
        return m2s_graph_node(graph, M2S_OP_cross_entropy, in, 2, NULL);
    case M2S_TERM_LOSSNET:
        in[0] = objective->softmax ? m2s_softmax_c(graph, logits) : m2s_sigmoid(graph, logits);
        for (int i = 0; i < 2 && first > 0; i++) {
            in[i] = m2s_slice_c(graph, in[i], first, channels - first);
        }
        return lossnet_term(graph, objective, in[0], in[1]);
    case M2S_TERM_COUNT:
        break;
    }
    return M2S_NONE;
}

/* A sum of any number of values; M2S_NONE of none. */
static m2s_value sum_of(m2s_graph *graph, const m2s_value *values, int32_t count)
{
    m2s_value sum = count > 0 ? values[0] : M2S_NONE;

    for (int32_t i = 1; i < count; i++) {
        sum = m2s_sum(graph, (m2s_value[]){ sum, values[i] }, 2);
    }
    return sum;
}

m2s_value m2s_objective_build_deep(m2s_graph *graph, const m2s_objective *objective, const m2s_deep_map *maps,
                                   int32_t count, m2s_value mask)
{
    m2s_attrs window = { .kernel = BOUNDARY_WINDOW, .alpha = BOUNDARY_ALPHA };
    m2s_value sum = M2S_NONE, weights = M2S_NONE;

    if (objective->weight[M2S_TERM_BCE] != 0.0 || objective->weight[M2S_TERM_IOU] != 0.0) {
        weights = m2s_graph_node(graph, M2S_OP_boundary_weights, &mask, 1, &window);
    }
    for (int32_t map = 0; map < count; map++) {
        m2s_value weighted[M2S_TERM_COUNT + 1] = { sum };
        int32_t terms = sum != M2S_NONE;
        for (int term = 0; term < M2S_TERM_COUNT && graph->status == M2SNET_STATUS_OK; term++) {
            bool once = term == M2S_TERM_LOSSNET;
            if (objective->weight[term] == 0.0 || (once && map > 0)) {
                continue;
            }
            m2s_value value = build_term(graph, objective, (m2s_term)term, maps[map].logits, mask, weights);
            if (map == 0) {
                m2s_graph_mark_output(graph, m2s_graph_name(graph, value, m2s_term_names[term]));
            }
            weighted[terms++] = m2s_scale(graph, value, objective->weight[term] * (once ? 1.0 : maps[map].weight));
        }
        sum = sum_of(graph, weighted, terms);
    }
    if (graph->status != M2SNET_STATUS_OK) {
        return M2S_NONE;
    }
    if (sum == M2S_NONE) {
        graph->status =
            m2s_fail(&graph->error, M2SNET_STATUS_INVALID_ARGUMENT, "the objective has no term: every weight is 0");
        return M2S_NONE;
    }
    m2s_graph_mark_output(graph, m2s_graph_name(graph, sum, M2S_NAME_LOSS));
    return sum;
}

m2s_value m2s_objective_build(m2s_graph *graph, const m2s_objective *objective, m2s_value logits, m2s_value mask)
{
    return m2s_objective_build_deep(graph, objective, &(m2s_deep_map){ logits, 1.0 }, 1, mask);
}
