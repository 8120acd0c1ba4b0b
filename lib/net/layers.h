/* SPDX-License-Identifier: Apache-2.0
 * Layers that networks are made of, by the key prefixes of the checkpoints. All follow the builder's rule: after a
 * failure they return M2S_NONE and do nothing. */
#ifndef M2S_NET_LAYERS_H
#define M2S_NET_LAYERS_H

#include "graph/graph.h"

#define M2S_BATCH_NORM_EPSILON 1e-5

#define M2S_DEPTHWISE (-1) /* groups: one a channel */

typedef struct m2s_conv_layer {
    int32_t channels; /* of the result */
    int32_t kernel;
    int32_t stride; /* 0 = 1 */
    int32_t pad;
    int32_t dilation; /* 0 = 1 */
    int32_t groups;   /* 0 = 1, or M2S_DEPTHWISE */
    bool bias;
} m2s_conv_layer;

/* A name made for this graph; NULL only after a failure, which the graph remembers. */
__attribute__((format(printf, 2, 3))) const char *m2s_key(m2s_graph *graph, const char *format, ...);
/* The scalar that chance in a training step is counted from (m2s_drop_path): made on the first call. */
m2s_value m2s_graph_draw(m2s_graph *graph);
/* Convolution with PREFIX.weight and, if asked for, PREFIX.bias. */
m2s_value m2s_layer_conv(m2s_graph *graph, m2s_value src, const char *prefix, m2s_conv_layer layer);
/* PREFIX.weight, .bias, .running_mean, .running_var */
m2s_value m2s_layer_batch_norm(m2s_graph *graph, m2s_value src, const char *prefix);
/* PREFIX.weight (channels, src's channels) and PREFIX.bias: a linear layer at each pixel. */
m2s_value m2s_layer_linear(m2s_graph *graph, m2s_value src, const char *prefix, int32_t channels, bool bias);
/* PREFIX.weight, .bias: layer normalisation of each pixel's channels. */
m2s_value m2s_layer_norm_of(m2s_graph *graph, m2s_value src, const char *prefix, double epsilon);
/* gamma_c src, gamma the parameter NAME: layer scale. */
m2s_value m2s_layer_scale(m2s_graph *graph, m2s_value src, const char *name);
/* Conv 3x3 pad 1 with bias (PREFIX.0), batch norm (PREFIX.1), ReLU; the result is named PREFIX. MODELS.md: CBR. */
m2s_value m2s_layer_cbr(m2s_graph *graph, m2s_value src, const char *prefix, int32_t channels);

#endif
