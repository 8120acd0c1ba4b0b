/* SPDX-License-Identifier: Apache-2.0
 * The table of encoders: what a new one must bring. */
#ifndef M2S_NET_ENCODER_H
#define M2S_NET_ENCODER_H

#include <stddef.h>

#include "graph/graph.h"
#include "net/config.h"

#define M2S_ENCODER_MAX_BLOCKS   64
#define M2S_ENCODER_MAX_CHANNELS 16384

/* A named size of a family. */
typedef struct m2s_encoder_size {
    const char *name; /* begins with the family's */
    int32_t stem[3];
    m2s_encoder_stage stage[4];
} m2s_encoder_size;

/* A key of "encoder_shape": a number, or a list of `count` of them, 1..most each. Optional ones are 0 when absent. */
typedef struct m2s_shape_key {
    const char *name;
    int32_t count;
    size_t offset, step; /* of the first in m2s_config, and from one to the next, in bytes */
    int32_t most;
    bool optional;
} m2s_shape_key;

#define M2S_SHAPE_NUMBERS 4 /* the most that a key has */
/* The four stages' numbers `member`. */
#define M2S_STAGE_KEY(name, member, most)                                                                              \
    {                                                                                                                  \
        name, 4, offsetof(m2s_config, stage[0].member), sizeof(m2s_encoder_stage), most, false                         \
    }

typedef struct m2s_encoder {
    const char *family; /* first part of config->encoder's name: "res2net" */
    const char *prefix; /* of its keys in model files: "resnet" */
    const m2s_encoder_size *sizes;
    int32_t size_count;
    const m2s_shape_key *keys;
    int32_t key_count;
    /* level[0] = finest, a quarter of the image's size ... level[4] = deepest, a 32nd; named enc1 ... enc5. */
    void (*build)(m2s_graph *graph, const m2s_config *config, m2s_value image, m2s_value level[5]);
    /* Reads widths and blocks off a checkpoint's keys and shapes; false when it is not of this family. The lookup finds
     * keys by their other names too. */
    bool (*recognise)(m2s_config *config, m2s_key_lookup lookup, void *user);
    bool open_stem;      /* level[0] may be negative: in front of the pyramid it always has a reducer */
    bool drops_branches; /* build leaves branches out as config->drop_path says */
    /* Writes other name number `which` of a key, both without prefix; false: there are no more. NULL: there are none.
     */
    bool (*alias)(const char *key, int32_t which, char *name, size_t size);
    /* The deviation that a weight tensor of it is drawn with. */
    double (*deviation)(const m2s_value_info *weights);
} m2s_encoder;

/* The family that config->encoder belongs to; NULL when there is none. */
const m2s_encoder *m2s_encoder_of(const m2s_config *config);
/* The family that begins the name of a family or a size; NULL when there is none. */
const m2s_encoder *m2s_encoder_named(const char *name);
/* Name of size number index of all families' together; NULL past the last. */
const char *m2s_encoder_name(int32_t index);
/* All sizes, "a, b and c", cut to size. Returns text. */
const char *m2s_encoder_names(char *text, size_t size);

/* Takes `before`, a number below 1000 and a dot off the front of a key: "stages.", then 2, of "stages.2.norm" leaves
 * "norm". False, and nothing taken, when they are not there. */
bool m2s_key_number(const char **key, const char *before, int32_t *number);

#define M2S_ENCODER_KEY_BYTES 160
/* Other name number `which` (from 0) that a file may have for a key of encoder: other prefixes or none, and the
 * encoder's own aliases. False: there are no more, or key is not of encoder. */
bool m2s_encoder_other_name(const m2s_encoder *encoder, const char *key, int32_t which,
                            char name[M2S_ENCODER_KEY_BYTES]);

/* Sets what keys and shapes say: encoder, pyramid_channels, scales, classes, variant. False when no encoder recognises
 * them (config is then as it was). keep_encoder, keep_scales: leave those alone. */
bool m2s_config_recognise(m2s_config *config, m2s_key_lookup lookup, void *user, bool keep_encoder, bool keep_scales);

#endif
