/* SPDX-License-Identifier: Apache-2.0
 * The zip file that torch.save writes: NAME/data.pkl, NAME/data/0, NAME/data/1, ... with any NAME. */
#ifndef M2S_WEIGHTS_TORCH_ARCHIVE_H
#define M2S_WEIGHTS_TORCH_ARCHIVE_H

#include "core/control.h"
#include "core/memory.h"

typedef struct m2s_torch_archive m2s_torch_archive;

/* An entry's bytes: inside the file, or in a block of its own when they were compressed. */
typedef struct m2s_torch_record {
    const char *data;
    size_t bytes;
    void *block; /* NULL, or what m2s_free takes */
} m2s_torch_record;

/* data must outlive the archive and stay as it is. Other zip files, and archives of torch.jit, are refused. */
m2snet_status m2s_torch_archive_open(m2s_memory *memory, const void *data, size_t bytes, m2s_torch_archive **archive,
                                     m2snet_error *error);
void m2s_torch_archive_close(m2s_torch_archive *archive); /* NULL is fine */

/* Whether there is an entry NAME/record. */
bool m2s_torch_archive_has(m2s_torch_archive *archive, const char *record);
/* Finds an entry and checks its CRC-32 (one of 0 was not computed by the writer and is not checked). *budget_bytes is
 * what may still be allocated for compressed entries; it shrinks. Polls control (nullable). */
m2snet_status m2s_torch_archive_get(m2s_torch_archive *archive, const char *record, uint64_t *budget_bytes,
                                    m2s_control *control, m2s_torch_record *found, m2snet_error *error);

#endif
