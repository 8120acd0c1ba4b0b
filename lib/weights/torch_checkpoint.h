/* SPDX-License-Identifier: Apache-2.0
 * PyTorch checkpoints, read as data; nothing in them is executed.
 *
 * Read are the zip file of torch.save (PyTorch 1.6 and later) and the older stream of pickles. The weights are the
 * tensors of the state dict: the root dict, or what stands in it under "state_dict", "model", "model_state",
 * "model_state_dict" or "net", again and again; exactly one such way must lead to tensors. Other entries become
 * m2s_store_skip notes. When every tensor's name begins with "module.", that is taken off once. Tensors that are
 * not contiguous are copied; all others stay where they are in the file. */
#ifndef M2S_WEIGHTS_TORCH_CHECKPOINT_H
#define M2S_WEIGHTS_TORCH_CHECKPOINT_H

#include "core/control.h"
#include "weights/store.h"

bool m2s_torch_zip_recognise(const void *data, size_t bytes);    /* any zip file */
bool m2s_torch_legacy_recognise(const void *data, size_t bytes); /* any pickle of protocols 2 to 5 */

/* Takes blob over (also on failure; it is empty afterwards). Storages of the older format are shifted in place when the
 * blob is writable. Phase "read"; control may be NULL. */
m2snet_status m2s_torch_checkpoint_read(m2s_memory *memory, m2s_blob *blob, m2s_control *control, m2s_store **store,
                                        m2snet_error *error);

#endif
