/* SPDX-License-Identifier: Apache-2.0 */
#include "net/subtraction.h"

#include "net/layers.h"
#include "net/names.h"

/* F_k of the released code: full-channel window, shared batch norm, ReLU. */
static m2s_value filter(m2s_graph *graph, const m2s_config *config, m2s_value x, int32_t kernel)
{
    x = m2s_full_filter(graph, x, kernel, config->gaussian);
    x = m2s_layer_batch_norm(graph, x, m2s_key(graph, "%s.norm", m2s_name_filter(graph, kernel)));
    return m2s_relu(graph, x);
}

m2s_value m2s_subtraction(m2s_graph *graph, const m2s_config *config, const char *name, m2s_value a, m2s_value b)
{
    m2s_value term[M2S_CONFIG_SCALES];

    if (graph->status != M2SNET_STATUS_OK) {
        return M2S_NONE;
    }
    a = m2s_resize(graph, a, m2s_shape_of(graph, b).h, m2s_shape_of(graph, b).w);
    term[0] = m2s_abs_diff(graph, a, b);
    for (int32_t i = 1; i < config->scales; i++) {
        int32_t kernel = config->scale[i];
        m2s_value fa =
            m2s_graph_name(graph, filter(graph, config, a, kernel), m2s_key(graph, "%s.conv_%d.a", name, kernel));
        m2s_value fb =
            m2s_graph_name(graph, filter(graph, config, b, kernel), m2s_key(graph, "%s.conv_%d.b", name, kernel));
        term[i] = m2s_abs_diff(graph, fa, fb);
    }
    m2s_value sum = config->scales > 1 ? m2s_sum(graph, term, config->scales) : term[0];
    return m2s_graph_name(graph, sum, m2s_key(graph, "%s.sum_in", name));
}

void m2s_subtraction_pyramid(m2s_graph *graph, const m2s_config *config, const m2s_value *feature, m2s_value *ce)
{
    const m2s_variant *variant = &config->variant;
    int32_t channels = config->pyramid_channels, levels = variant->levels, orders = m2s_variant_orders(variant);
    m2s_value ms[M2S_MAX_LEVELS][M2S_MAX_LEVELS]; /* ms[n][i]: MS_(n+1)^(i+1); ms[0] = the features */

    for (int i = 0; i < levels; i++) {
        ms[0][i] = feature[i];
    }
    /* Deepest first within an order: the order in which the shared filters see data. */
    for (int n = 1; n < orders; n++) {
        for (int i = levels - 1 - n; i >= 0; i--) {
            const char *name = m2s_name_unit(graph, n + 1, i + 1);
            m2s_value coarse = ms[n - 1][i + 1];
            if (n == levels - 1 && variant->dem4) {
                coarse = m2s_layer_cbr(graph, coarse, m2s_name_deep_unit(graph, levels), channels);
            }
            ms[n][i] = m2s_layer_cbr(graph, m2s_subtraction(graph, config, name, coarse, ms[n - 1][i]), name, channels);
        }
    }
    for (int i = levels - 2; i >= 0; i--) {
        m2s_value part[M2S_MAX_LEVELS];
        int32_t parts = 0;
        for (int n = variant->include_ms1 ? 0 : 1; n < orders && n + i < levels; n++) {
            part[parts++] = ms[n][i];
        }
        ce[i] = parts > 1 ? m2s_sum(graph, part, parts) : part[0];
        if (i < levels - 2 || variant->ce4_conv) {
            ce[i] = m2s_layer_cbr(graph, ce[i], m2s_name_level(graph, i + 1), channels);
        }
    }
}
