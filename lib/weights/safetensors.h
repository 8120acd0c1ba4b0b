/* SPDX-License-Identifier: Apache-2.0
 * Safetensors files: 8 bytes of header length, a JSON header, the tensors' bytes.
 *
 * The reader holds a file to the format's letter: every tensor's bytes inside the file, as many as its shape and dtype
 * need, and all of them together covering the data without overlap, hole or rest. Dtypes that the library cannot
 * compute with are kept as M2S_DTYPE_OTHER. "__metadata__" holds strings only. */
#ifndef M2S_WEIGHTS_SAFETENSORS_H
#define M2S_WEIGHTS_SAFETENSORS_H

#include "core/control.h"
#include "weights/store.h"

#define M2S_SAFETENSORS_MAX_HEADER_BYTES 100000000u /* the format's own cap */

/* Whether the bytes begin as a safetensors file does: a length that fits, and a '{'. */
bool m2s_safetensors_recognise(const void *data, size_t bytes);

/* Whether reading shifts the blob's bytes: its tensors are not aligned, and it is writable. */
bool m2s_safetensors_moves(const m2s_blob *blob);

/* Takes blob over (also on failure; it is empty afterwards). The store's order is the header's. */
m2snet_status m2s_safetensors_read(m2s_memory *memory, m2s_blob *blob, m2s_store **store, m2snet_error *error);

typedef struct m2s_safetensors_entry {
    const m2s_weight *weight;
    m2snet_dtype dtype; /* to write: the weight's own, or F64, F32, F16 or BF16 rounded to nearest even */
} m2s_safetensors_entry;

typedef struct m2s_safetensors_text {
    const char *key, *value;
} m2s_safetensors_text;

/* Writes path (it appears whole or not at all). The header lists the entries in the given order; their bytes are
 * ordered by element size, so that all are aligned. A finite number too large for its new dtype is refused. Phase
 * "write", unit bytes; control may be NULL. */
m2snet_status m2s_safetensors_write(m2s_memory *memory, const char *path, const m2s_safetensors_text *metadata,
                                    size_t metadata_count, const m2s_safetensors_entry *entries, size_t count,
                                    m2s_control *control, m2snet_error *error);

#endif
