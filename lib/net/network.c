/* SPDX-License-Identifier: Apache-2.0 */
#include "net/network.h"

#include <inttypes.h>

#include "net/decoder.h"
#include "net/encoder.h"
#include "net/layers.h"
#include "net/names.h"
#include "net/subtraction.h"

static void build(m2s_graph *graph, const m2s_config *config, const m2s_encoder *encoder, m2s_value image)
{
    const int levels = config->variant.levels;
    m2s_value all[M2S_MAX_LEVELS], feature[M2S_MAX_LEVELS], ce[M2S_MAX_LEVELS];

    encoder->build(graph, config, image, all);
    if (graph->status != M2SNET_STATUS_OK) {
        return;
    }
    const m2s_value *level = all + (M2S_MAX_LEVELS - levels); /* four levels leave the stem out */
    /* A unit's inputs are results of ReLU with the pyramid's channels. Only a stem can be that by itself. */
    bool bare = levels == M2S_MAX_LEVELS && !config->variant.reduce_x1 && !encoder->open_stem &&
                m2s_shape_of(graph, level[0]).c == config->pyramid_channels;
    for (int i = levels - 1; i >= 0; i--) {
        feature[i] = i == 0 && bare
                         ? level[i]
                         : m2s_layer_cbr(graph, level[i], m2s_name_reducer(graph, i + 1), config->pyramid_channels);
    }
    m2s_subtraction_pyramid(graph, config, feature, ce);
    m2s_value map = m2s_decoder(graph, config, level[levels - 1], feature[levels - 1], ce);
    if (graph->status != M2SNET_STATUS_OK) {
        return;
    }
    m2s_shape size = m2s_shape_of(graph, image);
    m2s_value logits = m2s_graph_name(graph, m2s_resize(graph, map, size.h, size.w), M2S_NAME_LOGITS);
    m2s_graph_mark_output(graph, logits);
}

m2snet_status m2s_net_build(m2s_memory *memory, const m2s_config *config, int64_t n, int64_t h, int64_t w,
                            m2snet_dtype dtype, m2s_graph **built, m2snet_error *error)
{
    const m2s_encoder *encoder = m2s_encoder_of(config);
    m2s_graph *graph = NULL;
    m2snet_status status;

    *built = NULL;
    if (n < 1 || n > 65536 || h < M2S_MIN_INPUT_PX || w < M2S_MIN_INPUT_PX || h > M2S_MAX_INPUT_PX ||
        w > M2S_MAX_INPUT_PX) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                        "%" PRId64 " images of %" PRId64 " x %" PRId64
                        " px: the network takes 1 to 65536 images with sides of %d to %d px",
                        n, w, h, M2S_MIN_INPUT_PX, M2S_MAX_INPUT_PX);
    }
    if (encoder == NULL) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED, "encoder \"%s\" is not known to this library",
                        config->encoder);
    }
    M2S_TRY(m2s_graph_create(memory, dtype, &graph, error));
    build(graph, config, encoder,
          m2s_graph_input(graph, M2S_NAME_IMAGE, (m2s_shape){ .n = n, .h = h, .w = w, .c = 3 }));
    M2S_TRY(m2s_graph_finish(graph, error));
    *built = graph;
    return M2SNET_STATUS_OK;
fail:
    m2s_graph_destroy(graph);
    return status;
}
