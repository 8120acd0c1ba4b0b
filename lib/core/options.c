/* SPDX-License-Identifier: Apache-2.0 */
#include "core/options.h"

#include <string.h>

#define MAX_STRUCT_BYTES 4096u

static size_t size_of(const void *structure)
{
    size_t bytes;

    memcpy(&bytes, structure, sizeof bytes);
    return bytes;
}

m2snet_status m2s_options_import(const char *name, const void *options, void *known, size_t known_bytes,
                                 m2snet_error *error)
{
    if (options == NULL) {
        return M2SNET_STATUS_OK;
    }
    size_t bytes = size_of(options);
    if (bytes < sizeof(size_t) || bytes > MAX_STRUCT_BYTES) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                        "%s.struct_size is %zu: call %s_init before setting fields", name, bytes, name);
    }
    const unsigned char *raw = options;
    for (size_t i = known_bytes; i < bytes; i++) {
        if (raw[i] != 0) {
            return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                            "%s has a field at byte %zu that this library (version %s) does not know", name, i,
                            M2SNET_VERSION_STRING);
        }
    }
    memcpy(known, options, bytes < known_bytes ? bytes : known_bytes);
    memcpy(known, &known_bytes, sizeof known_bytes);
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_options_export(const char *name, const void *known, size_t known_bytes, void *info,
                                 m2snet_error *error)
{
    if (info == NULL) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "%s is NULL", name);
    }
    size_t bytes = size_of(info);
    if (bytes < sizeof(size_t) || bytes > MAX_STRUCT_BYTES) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "%s.struct_size is %zu: set it to sizeof(%s)", name,
                        bytes, name);
    }
    memcpy(info, known, bytes < known_bytes ? bytes : known_bytes);
    memcpy(info, &bytes, sizeof bytes);
    return M2SNET_STATUS_OK;
}
