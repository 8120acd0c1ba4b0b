/* SPDX-License-Identifier: Apache-2.0
 * State on a device: named arrays that step plans read and write in place from run to run. One thread at a time. */
#ifndef M2S_RUN_STATE_H
#define M2S_RUN_STATE_H

#include "run/context.h"
#include "weights/store.h"

typedef struct m2s_state m2s_state;

typedef struct m2s_state_entry {
    const char *name;
    m2s_shape shape;
    m2snet_dtype dtype;
    m2s_buffer *buffer;
} m2s_state_entry;

/* Room for all state of graph, filled with zeros. */
m2snet_status m2s_state_create(m2snet_context *context, const m2s_graph *graph, m2s_state **state, m2snet_error *error);
void m2s_state_destroy(m2s_state *state); /* NULL is fine */

int32_t m2s_state_count(const m2s_state *state);
const m2s_state_entry *m2s_state_at(const m2s_state *state, int32_t index);      /* NULL outside */
const m2s_state_entry *m2s_state_find(const m2s_state *state, const char *name); /* NULL: not there */
size_t m2s_state_entry_bytes(const m2s_state_entry *entry);

/* Dense numbers in the entry's dtype. */
m2snet_status m2s_state_write(m2s_state *state, const m2s_state_entry *entry, const void *data, m2snet_error *error);
m2snet_status m2s_state_read(const m2s_state *state, const m2s_state_entry *entry, void *data, m2snet_error *error);

#endif
