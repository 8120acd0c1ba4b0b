/* SPDX-License-Identifier: Apache-2.0 */
#include "run/state.h"

#include <string.h>

struct m2s_state {
    m2snet_context *context; /* borrowed */
    m2s_pile *pile;          /* owns names */
    m2s_state_entry *entries;
    int32_t count;
};

size_t m2s_state_entry_bytes(const m2s_state_entry *entry)
{
    return (size_t)m2s_shape_elements(entry->shape) * m2s_dtype_bytes(entry->dtype);
}

static m2snet_status add_entry(m2s_state *state, const m2s_value_info *info, const void *zeros, m2snet_error *error)
{
    m2snet_context *context = state->context;
    m2s_state_entry *entry = &state->entries[state->count];
    m2snet_status status;

    *entry = (m2s_state_entry){ .name = m2s_pile_strdup(state->pile, info->name),
                                .shape = info->shape,
                                .dtype = info->dtype };
    if (entry->name == NULL) {
        return m2s_fail_memory(error, "training state", strlen(info->name));
    }
    size_t bytes = m2s_state_entry_bytes(entry);
    M2S_TRY(context->backend->buffer_alloc(context->device, bytes, &entry->buffer, error));
    state->count++;
    M2S_TRY(context->backend->buffer_write(context->device, entry->buffer, 0, zeros, bytes, error));
fail:
    return status;
}

m2snet_status m2s_state_create(m2snet_context *context, const m2s_graph *graph, m2s_state **created,
                               m2snet_error *error)
{
    m2s_memory *memory = &context->memory;
    m2s_state *state = m2s_calloc(memory, 1, sizeof *state);
    size_t count = 0, largest = 0;
    void *zeros = NULL;
    m2snet_status status = M2SNET_STATUS_OK;

    *created = NULL;
    if (state == NULL) {
        return m2s_fail_memory(error, "training state", sizeof *state);
    }
    for (m2s_value v = 0; v < graph->value_count; v++) {
        if (graph->values[v].kind == M2S_VALUE_STATE) {
            size_t elements = (size_t)m2s_shape_elements(graph->values[v].shape);
            largest = elements > largest ? elements : largest;
            count++;
        }
    }
    state->context = context;
    state->pile = m2s_pile_create(memory);
    state->entries = m2s_calloc(memory, count + 1, sizeof *state->entries);
    zeros = m2s_calloc(memory, largest + 1, m2s_dtype_bytes(graph->dtype));
    if (state->pile == NULL || state->entries == NULL || zeros == NULL) {
        status = m2s_fail_memory(error, "training state", largest * m2s_dtype_bytes(graph->dtype));
        goto fail;
    }
    for (m2s_value v = 0; v < graph->value_count; v++) {
        if (graph->values[v].kind == M2S_VALUE_STATE) {
            M2S_TRY(add_entry(state, &graph->values[v], zeros, error));
        }
    }
    *created = state;
    state = NULL;
fail:
    m2s_free(memory, zeros);
    m2s_state_destroy(state);
    return status;
}

void m2s_state_destroy(m2s_state *state)
{
    if (state == NULL) {
        return;
    }
    m2snet_context *context = state->context;
    for (int32_t i = 0; i < state->count; i++) {
        context->backend->buffer_free(context->device, state->entries[i].buffer);
    }
    m2s_free(&context->memory, state->entries);
    m2s_pile_destroy(state->pile);
    m2s_free(&context->memory, state);
}

int32_t m2s_state_count(const m2s_state *state)
{
    return state->count;
}

const m2s_state_entry *m2s_state_at(const m2s_state *state, int32_t index)
{
    return index >= 0 && index < state->count ? &state->entries[index] : NULL;
}

const m2s_state_entry *m2s_state_find(const m2s_state *state, const char *name)
{
    for (int32_t i = 0; i < state->count; i++) {
        if (strcmp(state->entries[i].name, name) == 0) {
            return &state->entries[i];
        }
    }
    return NULL;
}

m2snet_status m2s_state_write(m2s_state *state, const m2s_state_entry *entry, const void *data, m2snet_error *error)
{
    return state->context->backend->buffer_write(state->context->device, entry->buffer, 0, data,
                                                 m2s_state_entry_bytes(entry), error);
}

m2snet_status m2s_state_read(const m2s_state *state, const m2s_state_entry *entry, void *data, m2snet_error *error)
{
    return state->context->backend->buffer_read(state->context->device, entry->buffer, 0, data,
                                                m2s_state_entry_bytes(entry), error);
}
