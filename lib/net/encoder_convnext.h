/* SPDX-License-Identifier: Apache-2.0
 * ConvNeXt, general in blocks and channels (MODELS.md 3.7). Level 1 is the stem after its layer norm, levels 2 to 5 the
 * four stages, bare or, with "norms" in encoder_shape, each through a layer norm (keys norm0 ... norm3) as in the
 * official segmentation code. Reads official, timm and torchvision key names. */
#ifndef M2S_NET_ENCODER_CONVNEXT_H
#define M2S_NET_ENCODER_CONVNEXT_H

#include "net/encoder.h"

extern const m2s_encoder m2s_encoder_convnext;

#endif
