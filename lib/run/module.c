/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "run/module.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

m2snet_status m2s_module_open(const char *path, const m2s_backend **backend, m2snet_error *error)
{
    const m2s_module_terms terms = m2s_module_own_terms();
    m2s_module_entry entry;
    m2snet_status status;

    *backend = NULL;
    /* NODELETE: a driver's threads may still run in it when the last context has gone. */
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (module == NULL) {
        const char *reason = dlerror();
        return m2s_fail(error, M2SNET_STATUS_BACKEND, "the module cannot be opened: %.800s",
                        reason != NULL ? reason : path);
    }
    void *symbol = dlsym(module, M2S_MODULE_ENTRY);
    if (symbol == NULL) {
        return m2s_fail(error, M2SNET_STATUS_BACKEND, "%.800s is no module of libm2snet: it has no %s", path,
                        M2S_MODULE_ENTRY);
    }
    memcpy(&entry, &symbol, sizeof entry);
    status = entry(&terms, backend, error);
    if (status != M2SNET_STATUS_OK) {
        m2s_error_prefix(error, "%.500s", path);
    } else if ((*backend)->abi != M2S_BACKEND_ABI) {
        status = m2s_fail(error, M2SNET_STATUS_BACKEND, "%.800s: a table of another interface", path);
        *backend = NULL;
    }
    return status;
}

static bool is_folder(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* Folder of the file that this code is in, without the last slash; length 0 when it is not known. */
static int own_folder(const char **path)
{
    static const char here; /* any address of this library */
    Dl_info info;

    if (dladdr(&here, &info) == 0 || info.dli_fname == NULL) {
        return 0;
    }
    const char *slash = strrchr(info.dli_fname, '/');
    *path = info.dli_fname;
    return slash != NULL && strstr(slash, "libm2snet") != NULL ? (int)(slash - info.dli_fname) : 0;
}

m2snet_status m2s_module_find(m2s_memory *memory, const char *name, const char *folder, const m2s_backend **backend,
                              m2snet_error *error)
{
    m2s_pile *pile = m2s_pile_create(memory);
    const char *own = "", *path;
    m2snet_status status;

    *backend = NULL;
    if (pile == NULL) {
        return m2s_fail_memory(error, "the path of a module", 0);
    }
    folder = folder != NULL && folder[0] != '\0' ? folder : secure_getenv("M2SNET_BACKEND_PATH");
    if (folder != NULL && folder[0] != '\0') {
        path =
            is_folder(folder) ? m2s_pile_printf(pile, "%s/m2snet-%s.so", folder, name) : m2s_pile_strdup(pile, folder);
    } else {
        int length = own_folder(&own);
        path = m2s_pile_printf(pile, "%.*s%sm2snet-%s.so", length, own, length > 0 ? "/" : "", name);
    }
    status = path != NULL ? m2s_module_open(path, backend, error) : m2s_fail_memory(error, "the path of a module", 0);
    m2s_pile_destroy(pile);
    if (status == M2SNET_STATUS_BACKEND) {
        m2s_error_prefix(error, "backend \"%s\"", name);
    }
    return status;
}
