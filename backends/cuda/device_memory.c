/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/cuda/device_memory.h"

#include <stdint.h>

#include "backends/cuda/runtime.h"

#define ALIGNMENT 256

static size_t at_least_one(size_t bytes)
{
    return bytes != 0 ? bytes : 1;
}

int m2s_device_alloc(const m2s_device_memory *memory, void **data, size_t bytes)
{
    const m2snet_device_allocator *own = &memory->allocator;

    if (own->alloc == NULL) {
        return m2s_cuda_malloc(data, at_least_one(bytes));
    }
    *data = own->alloc(own->user, at_least_one(bytes));
    if (*data == NULL) {
        return M2S_CUDA_ERROR_MEMORY;
    }
    if ((uintptr_t)*data % ALIGNMENT != 0) {
        own->free(own->user, *data, at_least_one(bytes));
        *data = NULL;
        return M2S_CUDA_ERROR_ALIGNMENT;
    }
    return 0;
}

void m2s_device_free(const m2s_device_memory *memory, void *data, size_t bytes)
{
    const m2snet_device_allocator *own = &memory->allocator;

    if (own->alloc == NULL) {
        m2s_cuda_free(data);
    } else if (data != NULL) {
        own->free(own->user, data, at_least_one(bytes));
    }
}
