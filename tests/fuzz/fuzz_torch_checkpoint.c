/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a PyTorch checkpoint (either format): read, and when they are one, every element converted. */
#include <stdlib.h>
#include <string.h>

#include "weights/torch_checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void release(void *data, size_t bytes)
{
    (void)bytes;
    free(data);
}

static void use(const m2s_store *store)
{
    for (size_t i = 0; i < m2s_store_count(store); i++) {
        const m2s_weight *weight = m2s_store_at(store, i);
        size_t index = 0;
        m2s_weight_finite(weight, &index);
        for (size_t k = 0; k < weight->count; k += 64) {
            double values[64];
            m2snet_error error;
            m2s_weight_read_double(weight, k, weight->count - k < 64 ? weight->count - k : 64, values, &error);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    m2s_memory memory;
    m2snet_error error;
    m2s_store *store = NULL;
    m2s_blob blob = { .data = malloc(size + (size == 0)), .bytes = size, .writable = true, .release = release };

    if (blob.data == NULL) {
        return 0;
    }
    if (size > 0) {
        memcpy(blob.data, data, size);
    }
    m2s_memory_init(&memory, NULL, (uint64_t)256 << 20);
    if (m2s_torch_checkpoint_read(&memory, &blob, NULL, &store, &error) == M2SNET_STATUS_OK) {
        use(store);
        m2s_store_destroy(store);
    }
    if (atomic_load(&memory.used_bytes) != 0) {
        abort();
    }
    return 0;
}
