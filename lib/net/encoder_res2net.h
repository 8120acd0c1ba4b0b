/* SPDX-License-Identifier: Apache-2.0
 * Res2Net v1b: four groups a block, general in stem, widths, channels and blocks (MODELS.md 1.2). */
#ifndef M2S_NET_ENCODER_RES2NET_H
#define M2S_NET_ENCODER_RES2NET_H

#include "net/encoder.h"

extern const m2s_encoder m2s_encoder_res2net;

#endif
