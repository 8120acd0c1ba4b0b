/* SPDX-License-Identifier: Apache-2.0
 * Version, errors, cancel tokens, contexts, backends, tensors. */
#include <stdlib.h>

#include "api/api.h"
#include "core/options.h"
#include "run/context.h"
#include "run/registry.h"
#include "run/tensor.h"

int32_t m2snet_version(void)
{
    return 10000 * M2SNET_VERSION_MAJOR + 100 * M2SNET_VERSION_MINOR + M2SNET_VERSION_PATCH;
}

const char *m2snet_version_string(void)
{
    return M2SNET_VERSION_STRING;
}

int32_t m2snet_abi(void)
{
    return M2SNET_ABI;
}

const char *m2snet_status_string(m2snet_status status)
{
    switch (status) {
    case M2SNET_STATUS_OK:
        return "ok";
    case M2SNET_STATUS_INVALID_ARGUMENT:
        return "invalid argument";
    case M2SNET_STATUS_OUT_OF_MEMORY:
        return "out of memory";
    case M2SNET_STATUS_IO:
        return "input or output failed";
    case M2SNET_STATUS_FORMAT:
        return "damaged or foreign data";
    case M2SNET_STATUS_UNSUPPORTED:
        return "not supported";
    case M2SNET_STATUS_MISMATCH:
        return "shapes or weights do not fit";
    case M2SNET_STATUS_LIMIT:
        return "a limit would be exceeded";
    case M2SNET_STATUS_CANCELLED:
        return "cancelled";
    case M2SNET_STATUS_BACKEND:
        return "the backend failed";
    case M2SNET_STATUS_BUSY:
        return "in use on another thread";
    case M2SNET_STATUS_INTERNAL:
        return "internal error";
    case M2SNET_STATUS_DIVERGED:
        return "training diverged";
    }
    return "unknown status";
}

/* ---- cancel ---- */

/* A token belongs to no context, so it lies in plain memory. */
m2snet_status m2snet_cancel_create(m2snet_cancel **cancel, m2snet_error *error)
{
    M2S_REQUIRE(cancel);
    *cancel = malloc(sizeof **cancel);
    if (*cancel == NULL) {
        return m2s_fail_memory(error, "a cancel token", sizeof **cancel);
    }
    atomic_init(&(*cancel)->requested, 0);
    return M2SNET_STATUS_OK;
}

void m2snet_cancel_request(m2snet_cancel *cancel)
{
    if (cancel != NULL) {
        atomic_store(&cancel->requested, 1);
    }
}

void m2snet_cancel_reset(m2snet_cancel *cancel)
{
    if (cancel != NULL) {
        atomic_store(&cancel->requested, 0);
    }
}

void m2snet_cancel_destroy(m2snet_cancel *cancel)
{
    free(cancel);
}

/* ---- contexts ---- */

void m2snet_context_options_init(m2snet_context_options *options)
{
    if (options != NULL) {
        m2s_context_options_default(options);
    }
}

m2snet_status m2snet_context_create(const m2snet_context_options *options, m2snet_context **context,
                                    m2snet_error *error)
{
    M2S_REQUIRE(context);
    return m2s_context_create(options, context, error);
}

void m2snet_context_destroy(m2snet_context *context)
{
    m2s_context_release(context);
}

m2snet_status m2snet_context_get_info(const m2snet_context *context, m2snet_context_info *info, m2snet_error *error)
{
    M2S_REQUIRE(context);
    m2snet_context_info known = {
        .struct_size = sizeof known,
        .backend = context->backend->name,
        .device = context->device_info.name,
        .instruction_set = context->device_info.instruction_set,
        .gemm_provider = context->device_info.gemm_provider,
        .threads = m2s_pool_threads(context->host.pool),
        .memory_used_bytes = atomic_load(&context->memory.used_bytes),
        .memory_peak_bytes = atomic_load(&context->memory.peak_bytes),
    };
    return m2s_options_export("m2snet_context_info", &known, sizeof known, info, error);
}

/* ---- backends ---- */

int32_t m2snet_backend_count(void)
{
    return m2s_backend_registry_count();
}

m2snet_status m2snet_backend_get_info(int32_t index, m2snet_backend_info *info, m2snet_error *error)
{
    const m2s_backend *backend = m2s_backend_registry_at(index);

    if (backend == NULL) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "backend %d: there are %d", index,
                        m2s_backend_registry_count());
    }
    m2snet_backend_info known = { .struct_size = sizeof known,
                                  .name = backend->name,
                                  .description = backend->description(),
                                  .devices = backend->device_count() };
    return m2s_options_export("m2snet_backend_info", &known, sizeof known, info, error);
}

/* ---- tensors ---- */

m2snet_status m2snet_tensor_create(m2snet_context *context, const m2snet_tensor_desc *desc, void *data,
                                   m2snet_tensor **tensor, m2snet_error *error)
{
    M2S_REQUIRE(tensor);
    *tensor = NULL;
    M2S_REQUIRE(context);
    M2S_REQUIRE(desc);
    return m2s_memory_explain(&context->memory, m2s_tensor_create(context, desc, data, tensor, error), error);
}

void m2snet_tensor_destroy(m2snet_tensor *tensor)
{
    m2s_tensor_destroy(tensor);
}

void *m2snet_tensor_data(m2snet_tensor *tensor)
{
    return tensor != NULL ? tensor->data : NULL;
}

void m2snet_tensor_get_desc(const m2snet_tensor *tensor, m2snet_tensor_desc *desc)
{
    if (desc != NULL) {
        *desc = tensor != NULL ? tensor->desc : (m2snet_tensor_desc){ 0 };
    }
}
