/* SPDX-License-Identifier: Apache-2.0
 * One picture that says of each pixel to which of several classes it belongs, as gray levels. */
#ifndef M2S_IMAGE_LABEL_MAP_H
#define M2S_IMAGE_LABEL_MAP_H

#include "core/host.h"
#include "image/pixels.h"

/* Logits of classes that exclude each other become, in place, those of each class against the rest: the sigmoid of
 * x_c - log(sum over the others of exp(x)) is the softmax of c. Dense, `classes` (at most M2SNET_MAX_LABELS) numbers
 * for each of `pixels`. One class alone stays as it is. */
void m2s_softmax_logits(float *logits, size_t pixels, int32_t classes);

typedef struct m2s_label_options {
    int32_t classes;
    const uint8_t *levels; /* `classes` of them, in the order of the channels */
    uint8_t background;    /* where no class has a probability above the threshold, and outside the region */
    bool always;           /* one of the classes is the background: the threshold does not count */
    double threshold;      /* 0..1 */
    m2s_rect region;       /* what the network saw, inside the picture; 0 x 0 = the whole picture */
} m2s_label_options;

/* labels (height x width, dense): the level of the class whose probability 1 / (1 + exp(-logit)), resized to the region
 * as floats (m2s_resize_f32), is largest, the first of equal ones. logits: src_height x src_width pixels of `classes`
 * numbers, all finite. Phase "post". */
m2snet_status m2s_label_map(const m2s_host *host, const float *logits, int32_t src_width, int32_t src_height,
                            int32_t width, int32_t height, const m2s_label_options *options, m2s_control *control,
                            uint8_t *labels, m2snet_error *error);

#endif
