/* SPDX-License-Identifier: Apache-2.0 */
#include "run/registry.h"

#include <stdio.h>
#include <string.h>

#include "run/module.h"

static const m2s_backend *(*const builtin[])(void) = { m2s_backend_cpu, m2s_backend_ref };

#define MODULE_NAME   "cuda"
#define BACKEND_COUNT ((int)(sizeof builtin / sizeof builtin[0]))

int m2s_backend_registry_count(void)
{
    return BACKEND_COUNT;
}

const m2s_backend *m2s_backend_registry_at(int index)
{
    return index >= 0 && index < BACKEND_COUNT ? builtin[index]() : NULL;
}

/* Without a driver a module opens all the same; then opening its first device says what is missing. */
m2snet_status m2s_backend_registry_find(m2s_memory *memory, const char *name, const char *path,
                                        const m2s_backend **found, m2snet_error *error)
{
    bool any = name == NULL || strcmp(name, "auto") == 0;
    char known[128] = "auto";
    size_t used = strlen(known);

    if (!any && strcmp(name, MODULE_NAME) == 0) {
        return m2s_module_find(memory, name, path, found, error);
    }
    for (int i = 0; i < BACKEND_COUNT; i++) {
        const m2s_backend *backend = builtin[i]();
        bool named = !any && strcmp(name, backend->name) == 0;
        if ((any || named) && backend->device_count() > 0) {
            *found = backend;
            return M2SNET_STATUS_OK;
        }
        if (named) {
            return m2s_fail(error, M2SNET_STATUS_BACKEND, "backend \"%s\" finds no device here", name);
        }
        int written = snprintf(known + used, sizeof known - used, ", %s", backend->name);
        used += written > 0 && (size_t)written < sizeof known - used ? (size_t)written : 0;
    }
    return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "backend \"%.64s\" is not one of: %s, %s",
                    name != NULL ? name : "auto", known, MODULE_NAME);
}
