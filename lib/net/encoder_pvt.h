/* SPDX-License-Identifier: Apache-2.0
 * Pyramid Vision Transformer v2, general in blocks, channels and widening (MODELS.md 3.7). All its sizes have 1, 2, 5
 * and 8 heads and reduce keys and values by 8, 4, 2 and 1. Level 1 are the first patches after their layer norm, levels
 * 2 to 5 the four stages, each after its own. Reads official and timm key names. */
#ifndef M2S_NET_ENCODER_PVT_H
#define M2S_NET_ENCODER_PVT_H

#include "net/encoder.h"

extern const m2s_encoder m2s_encoder_pvt;

#endif
