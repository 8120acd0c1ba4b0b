/* SPDX-License-Identifier: Apache-2.0
 * Memory of the device: the CUDA runtime's, or from the caller's allocator. The device is current. Thread safe. */
#ifndef M2S_BACKENDS_CUDA_DEVICE_MEMORY_H
#define M2S_BACKENDS_CUDA_DEVICE_MEMORY_H

#include <stddef.h>

#include "core/error.h"

#if defined(__cplusplus)
extern "C" {
#endif

/* What m2s_device_alloc returns for memory of the caller's that is not aligned. */
#define M2S_CUDA_ERROR_ALIGNMENT (-2)

typedef struct m2s_device_memory {
    m2snet_device_allocator allocator; /* alloc NULL: the runtime's */
} m2s_device_memory;

/* 256-byte aligned, not cleared; no bytes count as one. 0, or an error number for m2s_cuda_fail and *data NULL. */
int m2s_device_alloc(const m2s_device_memory *memory, void **data, size_t bytes);
/* bytes as they were asked for; NULL is fine. The device must have finished with it: only the runtime's own waits. */
void m2s_device_free(const m2s_device_memory *memory, void *data, size_t bytes);

#if defined(__cplusplus)
}
#endif

#endif
