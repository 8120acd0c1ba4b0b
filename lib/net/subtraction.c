/* SPDX-License-Identifier: Apache-2.0 */
#include "net/subtraction.h"

#include "net/aspp.h"
#include "net/layers.h"
#include "net/names.h"

/* F_k: a window over the sum of all channels or channel by channel, then batch norm and ReLU. */
static m2s_value filter(m2s_graph *graph, const m2s_config *config, const char *unit, m2s_value x, int32_t kernel)
{
    const m2s_variant *variant = &config->variant;
    m2s_filter_window window = { .kernel = kernel, .gaussian = config->gaussian, .sigma = variant->sigma };
    const char *name = m2s_name_filter(graph, kernel);

    if (variant->msu_filter == M2S_FILTER_FULL) {
        x = m2s_full_filter(graph, x, window);
    } else if (kernel > 1) {
        x = m2s_box_filter(graph, x, window);
    }
    if (variant->msu_bn == M2S_NORM_NONE) {
        return x;
    }
    if (variant->msu_bn == M2S_NORM_PER_UNIT) {
        name = m2s_key(graph, "%s_%s", unit, name);
    }
    return m2s_relu(graph, m2s_layer_batch_norm(graph, x, m2s_key(graph, "%s.norm", name)));
}

static m2s_value difference(m2s_graph *graph, const m2s_config *config, m2s_value a, m2s_value b)
{
    return config->variant.unit == M2S_UNIT_ADDITION ? m2s_sum(graph, (m2s_value[]){ a, b }, 2)
                                                     : m2s_abs_diff(graph, a, b);
}

static int32_t filtered_terms(m2s_graph *graph, const m2s_config *config, const char *name, m2s_value a, m2s_value b,
                              m2s_value *term)
{
    for (int32_t i = 0; i < config->scales; i++) {
        int32_t kernel = config->scale[i];
        m2s_value fa = a, fb = b;
        if (kernel > 1 || config->variant.filter1 == M2S_FILTER1_ONES) {
            /* A before B: the order in which a shared norm sees data. */
            fa = filter(graph, config, name, a, kernel);
            fb = filter(graph, config, name, b, kernel);
        }
        if (kernel > 1) {
            fa = m2s_graph_name(graph, fa, m2s_key(graph, "%s.conv_%d.a", name, kernel));
            fb = m2s_graph_name(graph, fb, m2s_key(graph, "%s.conv_%d.b", name, kernel));
        }
        term[i] = difference(graph, config, fa, fb);
    }
    return config->scales;
}

static int32_t branch_terms(m2s_graph *graph, const m2s_config *config, const char *name, m2s_value a, m2s_value b,
                            m2s_value *term)
{
    m2s_unit unit = (m2s_unit)config->variant.unit;
    bool shared = unit == M2S_UNIT_DENSE_SHARED;
    m2s_value of_a[M2S_ASPP_BRANCHES], of_b[M2S_ASPP_BRANCHES];

    m2s_aspp(graph, a, m2s_key(graph, "%s_%s", name, shared ? "ab" : "a"), unit, of_a);
    m2s_aspp(graph, b, m2s_key(graph, "%s_%s", name, shared ? "ab" : "b"), unit, of_b);
    for (int32_t i = 0; i < M2S_ASPP_BRANCHES; i++) {
        term[i] = difference(graph, config, of_a[i], of_b[i]);
    }
    return M2S_ASPP_BRANCHES;
}

m2s_value m2s_subtraction(m2s_graph *graph, const m2s_config *config, const char *name, m2s_value a, m2s_value b)
{
    m2s_value term[M2S_CONFIG_SCALES] = { M2S_NONE };

    if (graph->status != M2SNET_STATUS_OK) {
        return M2S_NONE;
    }
    a = m2s_resize(graph, a, m2s_shape_of(graph, b).h, m2s_shape_of(graph, b).w);
    int32_t terms = m2s_variant_is_aspp(&config->variant) ? branch_terms(graph, config, name, a, b, term)
                                                          : filtered_terms(graph, config, name, a, b, term);
    m2s_value sum = terms > 1 ? m2s_sum(graph, term, terms) : term[0];
    return m2s_graph_name(graph, sum, m2s_key(graph, "%s.sum_in", name));
}

void m2s_subtraction_pyramid(m2s_graph *graph, const m2s_config *config, const m2s_value *feature, m2s_value *ce)
{
    const m2s_variant *variant = &config->variant;
    int32_t channels = config->pyramid_channels, levels = variant->levels, orders = m2s_variant_orders(variant);
    m2s_value ms[M2S_MAX_LEVELS][M2S_MAX_LEVELS] = { { 0 } }; /* ms[n][i]: MS_(n+1)^(i+1); ms[0] = the features */

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
        m2s_value part[M2S_MAX_LEVELS] = { 0 };
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
