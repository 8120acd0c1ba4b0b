/* SPDX-License-Identifier: Apache-2.0
 * What a prediction can show of the network's inside: copies of named tensors, and Grad-CAM. */
#ifndef M2S_RUN_INSIDE_H
#define M2S_RUN_INSIDE_H

#include "run/predict.h"

/* Copies what the plan that ran last computed for one picture into result->features: the names of look, in order. */
m2snet_status m2s_inside_features(m2snet_result *result, m2snet_session *session, const m2s_look *look,
                                  m2snet_error *error);

/* Grad-CAM (Selvaraju et al. 2017) for a map of logits: y is the mean logit of class_index over the input's pixels
 * whose probability is at least threshold, over all of them when there is none; weight k is the mean of dy/dA_k over
 * the tensor A's pixels; the map is max(0, sum of weight k times A_k), resized to the region with m2s_resize_f32, 0
 * outside, not scaled. Fills result->gradcam. views has computed one picture, whole. */
m2snet_status m2s_inside_gradcam(m2snet_result *result, m2s_views *views, const char *tensor, int32_t class_index,
                                 double threshold, const m2s_rect *region, m2snet_error *error);

#endif
