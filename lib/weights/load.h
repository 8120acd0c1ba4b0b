/* SPDX-License-Identifier: Apache-2.0
 * Weight files of any known format, told by their content. */
#ifndef M2S_WEIGHTS_LOAD_H
#define M2S_WEIGHTS_LOAD_H

#include "core/control.h"
#include "weights/store.h"

/* Reads safetensors or a PyTorch checkpoint. Takes blob over (also on failure; it is empty afterwards). The store
 * carries the SHA-256 of the bytes: the blob's digest, or worked out here when it has none. Phase "read", unit bytes;
 * control may be NULL. */
m2snet_status m2s_store_load(m2s_memory *memory, m2s_blob *blob, m2s_control *control, m2s_store **store,
                             m2snet_error *error);

#endif
