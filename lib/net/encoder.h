/* SPDX-License-Identifier: Apache-2.0
 * The table of encoders: what a new one must bring. */
#ifndef M2S_NET_ENCODER_H
#define M2S_NET_ENCODER_H

#include "graph/graph.h"
#include "net/config.h"

typedef struct m2s_encoder {
    const char *family; /* first part of config->encoder's name: "res2net" */
    /* level[0] = finest, a quarter of the image's size ... level[4] = deepest, a 32nd; named enc1 ... enc5. */
    void (*build)(m2s_graph *graph, const m2s_config *config, m2s_value image, m2s_value level[5]);
    /* Reads widths and blocks off a checkpoint's keys and shapes; false when it is not of this family. */
    bool (*recognise)(m2s_config *config, m2s_key_lookup lookup, void *user);
    bool open_stem; /* level[0] may be negative: in front of the pyramid it always has a reducer */
} m2s_encoder;

/* The family that config->encoder belongs to; NULL when there is none. */
const m2s_encoder *m2s_encoder_of(const m2s_config *config);

/* Sets what keys and shapes say: encoder, pyramid_channels, scales, classes, variant. False when no encoder recognises
 * them (config is then as it was). keep_encoder, keep_scales: leave those alone. */
bool m2s_config_recognise(m2s_config *config, m2s_key_lookup lookup, void *user, bool keep_encoder, bool keep_scales);

#endif
