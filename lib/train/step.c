/* SPDX-License-Identifier: Apache-2.0 */
#include "train/step.h"

#include <string.h>

#include "graph/autodiff.h"
#include "graph/pass.h"
#include "graph/pass_recompute.h"
#include "net/layers.h"
#include "net/names.h"
#include "net/network.h"
#include "net/supervision.h"

#define STATISTICS_MOMENTUM 0.1 /* PyTorch's: running = 0.9 running + 0.1 batch */
#define MOST_IN_A_SUM       32  /* inputs of sum_squares */

void m2s_recipe_default(m2s_recipe *recipe)
{
    *recipe = (m2s_recipe){ .optimiser = M2S_OPTIMISER_SGD,
                            .momentum = 0.9,
                            .beta2 = 0.999,
                            .epsilon = 1e-8,
                            .weight_decay = 5e-4,
                            .nesterov = true,
                            .encoder_rate = 0.1,
                            .accumulate = 1 };
    m2s_objective_default(&recipe->objective);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

static bool is_encoder(const char *name)
{
    return m2s_name_encoder_prefix(name) > 0;
}

static bool is_running(const char *name)
{
    return ends_with(name, ".running_mean") || ends_with(name, ".running_var");
}

bool m2s_step_is_weight(const char *name)
{
    return strchr(name, '/') == NULL;
}

/* ---- forward ---- */

static bool every_norm(const char *name)
{
    (void)name;
    return true;
}

/* The objective of the logits, or of all maps. */
static void append_objective(m2s_graph *graph, const m2s_recipe *recipe, const m2s_value *supervised,
                             int32_t supervised_count, m2s_value logits, m2s_value mask)
{
    bool halving = recipe->supervision == M2S_SUPERVISION_HALVING;
    m2s_deep_map maps[1 + M2S_SUPERVISED_MAPS] = { { logits, 1.0 } };
    int32_t count = 1 + supervised_count;
    double weight = 1.0, sum = 0.0;

    for (int32_t i = 0; i < count; i++) {
        maps[i] = (m2s_deep_map){ i == 0 ? logits : supervised[i - 1], weight };
        sum += weight;
        weight *= halving ? 0.5 : 1.0;
    }
    for (int32_t i = 0; halving && i < count; i++) {
        maps[i].weight /= sum;
    }
    m2s_objective_build_deep(graph, &recipe->objective, maps, count, mask);
}

/* The network as it is defined, with its objective; its weights are state. */
static m2snet_status build_forward(m2s_memory *memory, const m2s_config *config, const m2s_recipe *recipe, int64_t n,
                                   int64_t h, int64_t w, m2snet_dtype dtype, m2s_graph **built, m2snet_error *error)
{
    m2s_value supervised[M2S_SUPERVISED_MAPS];
    int32_t supervised_count = 0;
    m2s_config dropping = *config;
    m2s_graph *graph = NULL;
    m2snet_status status;

    dropping.drop_path = recipe->drop_path;
    M2S_TRY(m2s_net_build(memory, &dropping, n, h, w, dtype, &graph, error));
    if (recipe->supervision != M2S_SUPERVISION_FINAL) {
        supervised_count = m2s_net_supervise(graph, config, supervised);
        M2S_TRY(m2s_graph_finish(graph, error));
    }
    for (m2s_value v = 0; v < graph->value_count; v++) {
        if (graph->values[v].kind == M2S_VALUE_PARAM) {
            m2s_graph_make_state(graph, v);
        }
    }
    /* Winograd's transforms lose a digit or two, which is enough to turn a ReLU or a sign here and there: frozen
     * gradients would be off by 1e-3 instead of 1e-6. The loss network and the gradients of convolutions may have
     * them. */
    for (int32_t i = 0; i < graph->node_count; i++) {
        graph->nodes[i].attrs.form = graph->nodes[i].op == M2S_OP_conv2d;
    }
    m2s_value logits = m2s_graph_find(graph, M2S_NAME_LOGITS);
    m2s_value mask = m2s_graph_input(graph, M2S_NAME_MASK, m2s_shape_of(graph, logits));
    append_objective(graph, recipe, supervised, supervised_count, logits, mask);
    M2S_TRY(m2s_graph_finish(graph, error));
    *built = graph;
    return M2SNET_STATUS_OK;
fail:
    m2s_graph_destroy(graph);
    return status;
}

/* A batch of one number has no variance. */
static m2snet_status check_statistics(const m2s_graph *graph, m2snet_error *error)
{
    for (int32_t i = 0; i < graph->node_count; i++) {
        const m2s_node *node = &graph->nodes[i];
        m2s_shape src = m2s_shape_of(graph, node->in[0]);
        if (node->op == M2S_OP_batch_norm_train && src.n * src.h * src.w < 2) {
            return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                            "%s: one picture of this size leaves one number a channel, which has no variance: train "
                            "with two pictures, larger ones, or frozen batch norm",
                            graph->values[node->in[1]].name);
        }
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status run_passes(const m2s_recipe *recipe, bool literal, m2s_graph **graph, m2snet_error *error)
{
    bool (*frozen)(const char *) = recipe->freeze_batch_norm ? every_norm : recipe->freeze_encoder ? is_encoder : NULL;
    m2s_graph *next = NULL;
    m2snet_status status;

    M2S_TRY(m2s_pass_batch_statistics(*graph, frozen, &next, error));
    m2s_graph_destroy(*graph);
    *graph = next;
    M2S_TRY(check_statistics(*graph, error));
    if (!literal) {
        M2S_TRY(m2s_pass_fuse_training(*graph, &next, error));
        m2s_graph_destroy(*graph);
        *graph = next;
    }
fail:
    return status;
}

/* ---- gradients ---- */

typedef struct learning {
    m2s_graph *graph;
    const m2s_recipe *recipe;
    int32_t forward_end; /* nodes of the forward pass */
    m2s_value *param, *diff;
    int32_t count;
    m2s_value rate, finite, commit, correction[2];
    m2s_value unscale; /* 1 / loss scale; M2S_NONE = 1 */
    m2s_value factor;  /* of gradients: clipping, averaging and unscale; M2S_NONE = 1 */
} learning;

static bool learns(const m2s_recipe *recipe, const m2s_value_info *info)
{
    bool fixed = is_encoder(info->name) && (recipe->freeze_encoder || recipe->encoder_rate == 0.0);

    return !fixed && !is_running(info->name);
}

static m2snet_status differentiate(learning *l, m2snet_error *error)
{
    m2s_graph *graph = l->graph;
    int32_t kept = 0;
    m2snet_status status;

    l->forward_end = graph->node_count;
    for (m2s_value v = 0; v < graph->value_count; v++) {
        if (graph->values[v].kind == M2S_VALUE_STATE && learns(l->recipe, &graph->values[v])) {
            l->param[l->count++] = v;
        }
    }
    m2s_value scale = m2s_graph_scalar(graph, M2S_NAME_LOSS_SCALE);
    M2S_TRY(m2s_autodiff(graph, m2s_graph_find(graph, M2S_NAME_LOSS), scale, l->param, l->count, l->diff, error));
    for (int32_t i = 0; i < l->count; i++) {
        if (l->diff[i] == M2S_NONE) {
            continue; /* nothing depends on it: it stays, undecayed */
        }
        l->param[kept] = l->param[i];
        l->diff[kept++] = l->diff[i];
    }
    l->count = kept;
    for (int32_t i = 0; l->recipe->keep_gradients && i < l->count; i++) {
        m2s_graph_name(graph, l->diff[i], m2s_key(graph, M2S_GRADIENT "%s", graph->values[l->param[i]].name));
        m2s_graph_mark_output(graph, l->diff[i]);
    }
    M2S_TRY(m2s_graph_finish(graph, error));
fail:
    return status;
}

/* The sum of the squares of all numbers of values. */
static m2s_value squared_norm(m2s_graph *graph, const m2s_value *values, int32_t count)
{
    m2s_value sum = M2S_NONE;

    for (int32_t i = 0; i < count; i += MOST_IN_A_SUM) {
        int32_t part = count - i < MOST_IN_A_SUM ? count - i : MOST_IN_A_SUM;
        m2s_value squares = m2s_graph_node(graph, M2S_OP_sum_squares, values + i, part, NULL);
        sum = i == 0 ? squares : m2s_sum(graph, (m2s_value[]){ sum, squares }, 2);
    }
    return sum;
}

/* The same of gradients that are made times the loss scale. */
static m2s_value true_norm(const learning *l, m2s_value norm)
{
    for (int i = 0; i < 2 && l->unscale != M2S_NONE; i++) {
        norm = m2s_multiply(l->graph, norm, l->unscale);
    }
    return norm;
}

/* ---- updates ---- */

static void average(m2s_graph *graph, m2s_value *current, m2s_value state, m2s_value batch, m2s_value commit,
                    m2s_attrs attrs)
{
    m2s_value in[] = { current[state], batch, commit };

    attrs.alpha = STATISTICS_MOMENTUM;
    m2s_value made = m2s_graph_node(graph, M2S_OP_running_average, in, 3, &attrs);
    if (made != M2S_NONE) {
        m2s_graph_replace(graph, made, current[state]);
        current[state] = made;
    }
}

/* Mean and variance of `batch` (elements attrs.begin and the next one when attrs.count is 1) go into the running
 * values; the variance unbiased, from `numbers` of them. */
static void average_both(m2s_graph *graph, m2s_value *current, const m2s_value state[2], const m2s_value batch[2],
                         m2s_value commit, m2s_attrs attrs, int64_t numbers)
{
    attrs.beta = 1.0;
    average(graph, current, state[0], batch[0], commit, attrs);
    attrs.begin += attrs.count;
    attrs.beta = (double)numbers / (double)(numbers - 1);
    average(graph, current, state[1], batch[1], commit, attrs);
}

/* Running statistics in the order of the forward pass: several uses of one norm follow each other (FIXTURES.md 4). */
static m2snet_status append_statistics(const learning *l, m2snet_error *error)
{
    m2s_graph *graph = l->graph;
    int32_t value_count = graph->value_count;
    m2s_value *current = m2s_alloc_array(graph->memory, (size_t)value_count + 1, sizeof *current);

    if (current == NULL) {
        return m2s_fail_memory(error, "a step graph", (size_t)value_count * sizeof *current);
    }
    for (m2s_value v = 0; v < value_count; v++) {
        current[v] = v;
    }
    for (int32_t i = 0; i < l->forward_end && graph->status == M2SNET_STATUS_OK; i++) {
        const m2s_node node = graph->nodes[i];
        if (node.op == M2S_OP_batch_norm_train) {
            m2s_shape src = m2s_shape_of(graph, node.in[0]);
            average_both(graph, current, &node.in[3], &node.out[1], l->finite, (m2s_attrs){ 0 }, src.n * src.h * src.w);
        } else if (node.op == M2S_OP_multi_scale_subtract_train && node.attrs.frozen == 0) {
            m2s_shape fine = m2s_shape_of(graph, node.in[1]);
            for (int32_t s = 0; s < 2 * node.attrs.scales; s++) { /* of each scale A', then B */
                average_both(graph, current, &node.in[4 + 4 * (s / 2)], (m2s_value[2]){ node.out[1], node.out[1] },
                             l->finite, (m2s_attrs){ .begin = 2 * s, .count = 1 }, fine.n * fine.h * fine.w);
            }
        }
    }
    m2s_free(graph->memory, current);
    return m2s_graph_finish(graph, error);
}

static m2s_value own_state(m2s_graph *graph, const char *prefix, m2s_value param)
{
    return m2s_graph_state(graph, m2s_key(graph, "%s%s", prefix, graph->values[param].name),
                           m2s_shape_of(graph, param));
}

/* The update's outputs replace param and its own state, in this order. */
static void replace_all(m2s_graph *graph, m2s_value updated, const m2s_value *state, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        m2s_graph_replace(graph, m2s_graph_out(graph, updated, i), state[i]);
    }
}

static void append_update(const learning *l, int32_t index)
{
    m2s_graph *graph = l->graph;
    const m2s_recipe *recipe = l->recipe;
    m2s_value param = l->param[index], updated;
    m2s_attrs attrs = { .alpha = is_encoder(graph->values[param].name) ? recipe->encoder_rate : 1.0,
                        .beta = recipe->beta2,
                        .momentum = recipe->momentum,
                        .weight_decay = recipe->weight_decay,
                        .form = recipe->nesterov,
                        .epsilon = recipe->epsilon };
    m2s_value state[3] = { param, own_state(graph, M2S_STATE_MOMENTUM, param), M2S_NONE };

    if (recipe->optimiser == M2S_OPTIMISER_SGD) {
        m2s_value in[] = { param, l->diff[index], state[1], l->rate, l->commit, l->factor };
        attrs.beta = attrs.epsilon = 0.0;
        updated = m2s_graph_node(graph, M2S_OP_sgd, in, 6, &attrs);
        replace_all(graph, updated, state, 2);
    } else {
        state[2] = own_state(graph, M2S_STATE_SECOND, param);
        m2s_value in[] = { param,     l->diff[index],   state[1],         state[2], l->rate,
                           l->commit, l->correction[0], l->correction[1], l->factor };
        attrs.form = 0;
        updated = m2s_graph_node(graph, M2S_OP_adamw, in, 9, &attrs);
        replace_all(graph, updated, state, 3);
    }
    if (recipe->ema_decay > 0.0) {
        m2s_value averaged = own_state(graph, M2S_STATE_AVERAGE, param);
        m2s_attrs ema = { .alpha = 1.0 - recipe->ema_decay, .beta = 1.0 };
        m2s_value made =
            m2s_graph_node(graph, M2S_OP_running_average, (m2s_value[]){ averaged, updated, l->commit }, 3, &ema);
        m2s_graph_replace(graph, made, averaged);
    }
}

/* Gradients summed over several runs stand in for those of this one. */
static void append_accumulation(learning *l)
{
    m2s_graph *graph = l->graph;
    m2s_value keep = m2s_graph_scalar(graph, M2S_NAME_KEEP);

    for (int32_t i = 0; i < l->count; i++) {
        m2s_value sum = own_state(graph, M2S_STATE_SUM, l->param[i]);
        m2s_value in[] = { sum, l->diff[i], keep, l->finite };
        l->diff[i] = m2s_graph_node(graph, M2S_OP_accumulate, in, 4, NULL);
        m2s_graph_replace(graph, l->diff[i], sum);
    }
}

/* factor = 1 / (runs loss scale), times what clips the norm of the averaged gradient. */
static void append_factor(learning *l, m2s_value norm)
{
    m2s_graph *graph = l->graph;
    const m2s_recipe *recipe = l->recipe;
    double runs = (double)recipe->accumulate;

    l->factor = l->unscale;
    if (recipe->clip_norm > 0.0) {
        norm = recipe->accumulate > 1 ? true_norm(l, squared_norm(graph, l->diff, l->count)) : norm;
        l->factor =
            m2s_graph_node(graph, M2S_OP_clip_factor, &norm, 1, &(m2s_attrs){ .alpha = runs * recipe->clip_norm });
        l->factor = recipe->accumulate > 1 ? m2s_scale(graph, l->factor, 1.0 / runs) : l->factor;
    } else if (recipe->accumulate > 1) {
        l->factor = m2s_scale(graph, l->finite, 1.0 / runs); /* finite is 1 wherever an update happens */
    }
    if (l->unscale != M2S_NONE && l->factor != l->unscale) {
        l->factor = m2s_multiply(graph, l->factor, l->unscale);
    }
}

static m2snet_status append_updates(learning *l, m2snet_error *error)
{
    m2s_graph *graph = l->graph;
    m2s_value norm = squared_norm(graph, l->diff, l->count);
    m2snet_status status;

    if (l->count == 0) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "nothing is left to train: every parameter is frozen");
    }
    l->unscale = l->recipe->scaled ? m2s_graph_scalar(graph, M2S_NAME_UNSCALE) : M2S_NONE;
    norm = true_norm(l, norm);
    m2s_graph_mark_output(graph, m2s_graph_name(graph, norm, M2S_NAME_GRAD_NORM));
    l->finite =
        m2s_graph_node(graph, M2S_OP_all_finite, (m2s_value[]){ m2s_graph_find(graph, M2S_NAME_LOSS), norm }, 2, NULL);
    m2s_graph_mark_output(graph, m2s_graph_name(graph, l->finite, M2S_NAME_FINITE));
    l->rate = m2s_graph_scalar(graph, M2S_NAME_RATE);
    l->commit = m2s_multiply(graph, l->finite, m2s_graph_scalar(graph, M2S_NAME_BOUNDARY));
    if (l->recipe->optimiser == M2S_OPTIMISER_ADAMW) {
        l->correction[0] = m2s_graph_scalar(graph, M2S_NAME_CORRECTION1);
        l->correction[1] = m2s_graph_scalar(graph, M2S_NAME_CORRECTION2);
    }
    M2S_TRY(m2s_graph_finish(graph, error));
    M2S_TRY(append_statistics(l, error));
    if (l->recipe->accumulate > 1) {
        append_accumulation(l);
    }
    append_factor(l, norm);
    for (int32_t i = 0; i < l->count && graph->status == M2SNET_STATUS_OK; i++) {
        append_update(l, i);
    }
    M2S_TRY(m2s_graph_finish(graph, error));
fail:
    return status;
}

m2snet_status m2s_step_build(m2s_memory *memory, const m2s_config *config, const m2s_recipe *recipe, int64_t n,
                             int64_t h, int64_t w, m2snet_dtype dtype, bool literal, m2s_graph **built,
                             m2snet_error *error)
{
    learning l = { .recipe = recipe };
    m2s_graph *graph = NULL;
    m2snet_status status;

    *built = NULL;
    M2S_TRY(build_forward(memory, config, recipe, n, h, w, dtype, &graph, error));
    M2S_TRY(run_passes(recipe, literal, &graph, error));
    l.graph = graph;
    l.param = m2s_alloc_array(memory, (size_t)graph->value_count + 1, sizeof *l.param);
    l.diff = m2s_alloc_array(memory, (size_t)graph->value_count + 1, sizeof *l.diff);
    if (l.param == NULL || l.diff == NULL) {
        status = m2s_fail_memory(error, "a step graph", (size_t)graph->value_count * sizeof *l.param);
        goto fail;
    }
    M2S_TRY(differentiate(&l, error));
    M2S_TRY(append_updates(&l, error));
    if (recipe->recompute) {
        m2s_graph *again;
        M2S_TRY(m2s_pass_recompute(graph, l.forward_end, &again, error));
        m2s_graph_destroy(graph);
        graph = again;
    }
    *built = graph;
    graph = NULL;
fail:
    m2s_free(memory, l.param);
    m2s_free(memory, l.diff);
    m2s_graph_destroy(graph);
    return status;
}
