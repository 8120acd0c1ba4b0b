/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/scratch.h"

#include <string.h>

void m2s_scratch_init(m2s_scratch *scratch, m2s_memory *memory)
{
    *scratch = (m2s_scratch){ .memory = memory };
}

void m2s_scratch_release(m2s_scratch *scratch)
{
    for (int i = 0; i < M2S_SCRATCH_SLOTS; i++) {
        m2s_free(scratch->memory, scratch->blocks[i]);
    }
    m2s_scratch_init(scratch, scratch->memory);
}

static m2snet_status get(m2s_scratch *scratch, m2s_scratch_slot slot, size_t count, size_t size, bool zeroed,
                         void **block, m2snet_error *error)
{
    size_t bytes;

    *block = NULL;
    if (!m2s_mul(count, size, &bytes)) {
        return m2s_fail_memory(error, "evaluation", SIZE_MAX);
    }
    if (scratch->blocks[slot] == NULL || scratch->bytes[slot] < bytes) {
        m2s_free(scratch->memory, scratch->blocks[slot]);
        scratch->bytes[slot] = 0;
        scratch->blocks[slot] = m2s_alloc(scratch->memory, bytes);
        if (scratch->blocks[slot] == NULL) {
            return m2s_fail_memory(error, "evaluation", bytes);
        }
        scratch->bytes[slot] = bytes;
        if (zeroed) {
            memset(scratch->blocks[slot], 0, bytes);
        }
    }
    *block = scratch->blocks[slot];
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_scratch_get(m2s_scratch *scratch, m2s_scratch_slot slot, size_t count, size_t size, void **block,
                              m2snet_error *error)
{
    return get(scratch, slot, count, size, false, block, error);
}

m2snet_status m2s_scratch_get_zeroed(m2s_scratch *scratch, m2s_scratch_slot slot, size_t count, size_t size,
                                     void **block, m2snet_error *error)
{
    return get(scratch, slot, count, size, true, block, error);
}
