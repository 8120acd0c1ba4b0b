/* SPDX-License-Identifier: Apache-2.0 */
#include "common/faults.h"

#include <stdlib.h>

static void *fault_alloc(void *user, size_t bytes, size_t alignment)
{
    faults *f = user;

    if (atomic_fetch_add(&f->calls, 1) + 1 == f->fail_at) {
        return NULL;
    }
    void *block = aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (block != NULL) {
        atomic_fetch_add(&f->live, 1);
    }
    return block;
}

static void fault_free(void *user, void *block, size_t bytes)
{
    faults *f = user;

    (void)bytes;
    if (block != NULL) {
        atomic_fetch_sub(&f->live, 1);
    }
    free(block);
}

m2snet_allocator faults_allocator(faults *f)
{
    return (m2snet_allocator){ fault_alloc, fault_free, f };
}
