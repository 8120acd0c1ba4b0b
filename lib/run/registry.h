/* SPDX-License-Identifier: Apache-2.0
 * The backends there are, in order of preference. */
#ifndef M2S_RUN_REGISTRY_H
#define M2S_RUN_REGISTRY_H

#include "backends/backend.h"

/* The built-in ones: what lies in modules is only known when it is asked for. */
int m2s_backend_registry_count(void);
const m2s_backend *m2s_backend_registry_at(int index); /* NULL outside */
/* By name; "auto" and NULL give the first built-in one that has a device. "cuda" is opened as a module, looked for in
 * `path` (module.h). Fails with a list of the names. */
m2snet_status m2s_backend_registry_find(m2s_memory *memory, const char *name, const char *path,
                                        const m2s_backend **backend, m2snet_error *error);

#endif
