/* SPDX-License-Identifier: Apache-2.0
 * The backends there are, in order of preference. */
#ifndef M2S_RUN_REGISTRY_H
#define M2S_RUN_REGISTRY_H

#include "backends/backend.h"

int m2s_backend_registry_count(void);
const m2s_backend *m2s_backend_registry_at(int index); /* NULL outside */
/* By name; "auto" and NULL give the first that has a device. Fails with a list of the names. */
m2snet_status m2s_backend_registry_find(const char *name, const m2s_backend **backend, m2snet_error *error);

#endif
