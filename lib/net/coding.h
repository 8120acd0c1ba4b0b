/* SPDX-License-Identifier: Apache-2.0
 * What the channels of a network's logits mean, and which gray levels stand for its classes in label maps: a part of a
 * model's configuration. */
#ifndef M2S_NET_CODING_H
#define M2S_NET_CODING_H

#include "core/json.h"

typedef struct m2s_coding {
    bool softmax; /* classes exclude each other, class 0 is the background; else each channel is a mask of its own */
    int32_t label_count;               /* of labels[]; 0: the file says none */
    uint8_t labels[M2SNET_MAX_LABELS]; /* of each class, with softmax of each but the background */
    uint8_t background;                /* of what belongs to no class */
} m2s_coding;

/* Overlays the keys "activation" ("sigmoid" or "softmax"), "labels" and "background_label" on coding. */
m2snet_status m2s_coding_parse(m2s_coding *coding, const m2s_json *json, m2snet_error *error);
/* FORMAT unless it fits the number of classes: two and more with softmax, as many labels as it takes or none, all of
 * them and the background's distinct. */
m2snet_status m2s_coding_check(const m2s_coding *coding, int32_t classes, m2snet_error *error);
/* Writes what differs from the defaults. */
m2snet_status m2s_coding_put(const m2s_coding *coding, m2s_json *json, m2snet_error *error);

/* wanted, or, when that is negative, 0 unless it is a label, else the highest level that is none. */
uint8_t m2s_coding_background(const uint8_t *labels, int32_t label_count, int32_t wanted);
/* The gray level of a class. Without labels: 255 of the only class, else 1, 2, ...; the background's is 0. */
uint8_t m2s_coding_level(const m2s_coding *coding, int32_t classes, int32_t class_index);

#endif
