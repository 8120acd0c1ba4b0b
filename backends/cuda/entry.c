/* SPDX-License-Identifier: Apache-2.0
 * The one name that the module exports. */
#include <inttypes.h>

#include "backends/cuda/cuda.h"
#include "backends/module.h"

const m2s_backend *m2s_backend_cuda(void);

m2snet_status m2snet_backend_entry(const m2s_module_terms *host, const m2s_backend **backend, m2snet_error *error);

__attribute__((visibility("default"))) m2snet_status m2snet_backend_entry(const m2s_module_terms *host,
                                                                          const m2s_backend **backend,
                                                                          m2snet_error *error)
{
    const m2s_module_terms own = m2s_module_own_terms();

    *backend = NULL;
    if (host->abi != own.abi || host->version != own.version || host->hash != own.hash) {
        return m2s_fail(error, M2SNET_STATUS_BACKEND,
                        "the module was built for another libm2snet: interface %" PRIu32 ", version %" PRIu32
                        ", hash %016" PRIx64 "; this library has %" PRIu32 ", %" PRIu32 ", %016" PRIx64,
                        own.abi, own.version, own.hash, host->abi, host->version, host->hash);
    }
    *backend = m2s_backend_cuda();
    return M2SNET_STATUS_OK;
}
