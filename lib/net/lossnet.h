/* SPDX-License-Identifier: Apache-2.0
 * Loss networks: frozen classifiers whose features are compared (MODELS.md 3.8). Training free: their weights are
 * constants of the step graph. */
#ifndef M2S_NET_LOSSNET_H
#define M2S_NET_LOSSNET_H

#include "graph/graph.h"

#define M2S_LOSSNET_PREFIX "lossnet." /* in front of the classifier's own keys, which are torchvision's */
#define M2S_LOSSNET_TAPS   4

typedef struct m2s_lossnet_family {
    const char *name; /* "vgg16" */
    /* Features of src (n, h, w, 3), normalised as the classifier wants it. */
    void (*taps)(m2s_graph *graph, m2s_value src, m2s_value tap[M2S_LOSSNET_TAPS]);
    const char *first_key; /* a key by which a file of this family is known; NULL: only when it is asked for */
    /* Writes other name number `which` of a key (without M2S_LOSSNET_PREFIX, as all of these); false: there are no
     * more. NULL: there are none. */
    bool (*alias)(const char *key, int32_t which, char *name, size_t size);
} m2s_lossnet_family;

/* Known families, ended by NULL. */
const m2s_lossnet_family *const *m2s_lossnet_families(void);
const m2s_lossnet_family *m2s_lossnet_family_of(const char *name); /* NULL when there is none */

/* VGG-16 without batch norm: after the last ReLU in front of each of the first three pools and of the fourth block. */
void m2s_lossnet_vgg16(m2s_graph *graph, m2s_value src, m2s_value tap[M2S_LOSSNET_TAPS]);
/* ResNet-50: after each of the four stages, or after the stem's ReLU and the first three stages. */
void m2s_lossnet_resnet50(m2s_graph *graph, m2s_value src, m2s_value tap[M2S_LOSSNET_TAPS]);
void m2s_lossnet_resnet50_stem(m2s_graph *graph, m2s_value src, m2s_value tap[M2S_LOSSNET_TAPS]);
/* Swin-T: after each of the four stages. */
void m2s_lossnet_swin_t(m2s_graph *graph, m2s_value src, m2s_value tap[M2S_LOSSNET_TAPS]);
bool m2s_lossnet_swin_t_alias(const char *key, int32_t which, char *name, size_t size);

#endif
