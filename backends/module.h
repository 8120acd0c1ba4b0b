/* SPDX-License-Identifier: Apache-2.0
 * Backends that are opened at run time: a module exports one function, which checks that library and module were built
 * from the same operations and the same structures, and answers with its vtable. */
#ifndef M2S_BACKENDS_MODULE_H
#define M2S_BACKENDS_MODULE_H

#include "backends/backend.h"

#define M2S_MODULE_ENTRY "m2snet_backend_entry"

/* What library and module must agree on to the bit. */
typedef struct m2s_module_terms {
    uint32_t abi;     /* M2S_BACKEND_ABI */
    uint32_t version; /* of libm2snet */
    uint64_t hash;    /* of the operations and of all structures that both read */
} m2s_module_terms;

/* Refuses terms that are not its own: M2SNET_STATUS_BACKEND, *backend NULL. */
typedef m2snet_status (*m2s_module_entry)(const m2s_module_terms *host, const m2s_backend **backend,
                                          m2snet_error *error);

static inline uint64_t m2s_module_mix(uint64_t hash, const char *text, uint64_t number)
{
    for (; *text != '\0'; text++) {
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    }
    for (int i = 0; i < 8; i++, number >>= 8) {
        hash = (hash ^ (number & 255u)) * 0x100000001b3u;
    }
    return hash;
}

static inline m2s_module_terms m2s_module_own_terms(void)
{
    uint64_t hash = 0xcbf29ce484222325u;

#define M2S_OP(name, min_in, max_in, out)                                                                              \
    hash = m2s_module_mix(hash, #name, (uint64_t)(min_in) << 32 | (uint64_t)(max_in) << 16 | (uint64_t)(out));
#include "graph/ops.def"
#undef M2S_OP
#define M2S_SIZE(type) hash = m2s_module_mix(hash, #type, sizeof(type))
    M2S_SIZE(m2s_attrs);
    M2S_SIZE(m2s_node);
    M2S_SIZE(m2s_value_info);
    M2S_SIZE(m2s_graph);
    M2S_SIZE(m2s_memory);
    M2S_SIZE(m2s_host);
    M2S_SIZE(m2s_log);
    M2S_SIZE(m2s_control);
    M2S_SIZE(m2snet_control);
    M2S_SIZE(m2snet_allocator);
    M2S_SIZE(m2snet_cuda_options);
    M2S_SIZE(m2snet_device_allocator);
    M2S_SIZE(m2snet_error);
    M2S_SIZE(m2s_backend);
    M2S_SIZE(m2s_pack_cache);
    M2S_SIZE(m2s_param_view);
    M2S_SIZE(m2s_plan_request);
    M2S_SIZE(m2s_run_request);
    M2S_SIZE(m2s_queue);
    M2S_SIZE(m2s_prepare_view);
    M2S_SIZE(m2s_prepare_request);
    M2S_SIZE(m2s_augment_job);
    M2S_SIZE(m2s_augment_request);
    M2S_SIZE(m2s_device_info);
    M2S_SIZE(m2s_step_info);
#undef M2S_SIZE
    return (m2s_module_terms){ M2S_BACKEND_ABI,
                               M2SNET_VERSION_MAJOR * 10000 + M2SNET_VERSION_MINOR * 100 + M2SNET_VERSION_PATCH, hash };
}

#endif
