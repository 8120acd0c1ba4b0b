/* SPDX-License-Identifier: Apache-2.0
 * What a context lends to everything below it. */
#ifndef M2S_CORE_HOST_H
#define M2S_CORE_HOST_H

#include "core/control.h"
#include "core/cpu.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/threads.h"

typedef struct m2s_host {
    m2s_memory *memory;
    const m2s_log *log;
    m2s_pool *pool;
    m2s_isa isa;                     /* the best instruction set that own kernels may use */
    const m2snet_cuda_options *cuda; /* of backend cuda; NULL: its defaults */
} m2s_host;

#endif
