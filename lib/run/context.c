/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "run/context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/options.h"
#include "image/file_jpeg.h"
#include "image/file_png.h"
#include "run/registry.h"

#define MAX_THREADS 1024

void m2s_context_options_default(m2snet_context_options *options)
{
    *options = (m2snet_context_options){ .struct_size = sizeof *options, .log_level = M2SNET_LOG_INFO };
}

void m2s_cuda_options_default(m2snet_cuda_options *options)
{
    *options = (m2snet_cuda_options){ .struct_size = sizeof *options };
}

static m2snet_status check_cuda(const m2snet_cuda_options *given, m2snet_cuda_options *options, m2snet_error *error)
{
    m2snet_status status;

    m2s_cuda_options_default(options);
    M2S_TRY(m2s_options_import("m2snet_cuda_options", given, options, sizeof *options, error));
    if (options->allocator != NULL && (options->allocator->alloc == NULL || options->allocator->free == NULL)) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "cuda.allocator: alloc and free must both be set");
    }
fail:
    return status;
}

static m2snet_status check(const m2snet_context_options *options, m2s_isa *isa, m2snet_error *error)
{
    *isa = m2s_isa_detect();
    if (options->threads < 0 || options->threads > MAX_THREADS) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "threads is %d: expected 1 to %d, or 0 for all",
                        options->threads, MAX_THREADS);
    }
    if (options->allocator != NULL && (options->allocator->alloc == NULL || options->allocator->free == NULL)) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "allocator: alloc and free must both be set");
    }
    if (options->instruction_set != NULL) {
        m2s_isa wanted;
        if (!m2s_isa_parse(options->instruction_set, &wanted)) {
            return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                            "instruction_set \"%.32s\" is not one of: baseline, avx2, avx512",
                            options->instruction_set);
        }
        if (wanted > *isa) {
            return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED, "instruction_set %s: this processor has %s at most",
                            options->instruction_set, m2s_isa_name(*isa));
        }
        *isa = wanted;
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_context_create(const m2snet_context_options *given, m2snet_context **created, m2snet_error *error)
{
    m2snet_context_options options;
    m2snet_cuda_options cuda;
    m2snet_context *context = NULL;
    m2s_memory bootstrap;
    m2s_isa isa;
    m2snet_status status;

    *created = NULL;
    m2s_context_options_default(&options);
    M2S_TRY(m2s_options_import("m2snet_context_options", given, &options, sizeof options, error));
    M2S_TRY(check(&options, &isa, error));
    M2S_TRY(check_cuda(options.cuda, &cuda, error));

    /* The context lies in memory that it accounts for itself. */
    m2s_memory_init(&bootstrap, options.allocator, options.memory_limit_bytes);
    context = m2s_calloc(&bootstrap, 1, sizeof *context);
    if (context == NULL) {
        return m2s_memory_explain(&bootstrap, m2s_fail_memory(error, "a context", sizeof *context), error);
    }
    m2s_memory_init(&context->memory, options.allocator, options.memory_limit_bytes);
    atomic_store(&context->memory.used_bytes, atomic_load(&bootstrap.used_bytes));
    atomic_store(&context->memory.peak_bytes, atomic_load(&bootstrap.peak_bytes));
    atomic_init(&context->references, 1);

    const char *debug = secure_getenv("M2SNET_DEBUG");
    bool debugging = debug != NULL && debug[0] != '\0' && strcmp(debug, "0") != 0;
    context->log = (m2s_log){ options.log, options.log_user, debugging ? M2SNET_LOG_DEBUG : options.log_level };
    context->cuda = cuda;
    if (cuda.allocator != NULL) {
        context->device_allocator = *cuda.allocator;
        context->cuda.allocator = &context->device_allocator;
    }
    context->host = (m2s_host){ &context->memory, &context->log, NULL, isa, &context->cuda };
    M2S_TRY(
        m2s_backend_registry_find(&context->memory, options.backend, options.backend_path, &context->backend, error));
    int devices = context->backend->device_count();
    if (options.device < 0 || (options.device >= devices && devices > 0)) { /* no device at all: `open` says why */
        status = m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "device %d: backend \"%s\" has %d", options.device,
                          context->backend->name, devices);
        goto fail;
    }
    M2S_TRY(m2s_pool_create(&context->memory, options.threads != 0 ? options.threads : m2s_processor_count(),
                            &context->host.pool, error));
    M2S_TRY(context->backend->open(&context->host, options.device, &context->device, error));
    context->backend->device_info(context->device, &context->device_info);
    snprintf(context->dependencies, sizeof context->dependencies, "%s, libpng %s, %s",
             context->device_info.gemm_provider, m2s_png_version(), m2s_jpeg_version());
    m2s_log_write(&context->log, M2SNET_LOG_INFO, "m2snet %s: backend %s on %s, %s, %s, %d threads",
                  M2SNET_VERSION_STRING, context->backend->name, context->device_info.name,
                  context->device_info.instruction_set, context->device_info.gemm_provider,
                  m2s_pool_threads(context->host.pool));
    *created = context;
    return M2SNET_STATUS_OK;
fail:
    if (context != NULL) {
        status = m2s_memory_explain(&context->memory, status, error);
    }
    m2s_context_release(context);
    return status;
}

m2snet_status m2s_context_create_reference(const m2snet_context *like, m2snet_context **context, m2snet_error *error)
{
    m2snet_context_options options;

    m2s_context_options_default(&options);
    options.backend = "ref";
    options.threads = m2s_pool_threads(like->host.pool);
    options.allocator = &like->memory.allocator;
    options.log = like->log.write;
    options.log_user = like->log.user;
    options.log_level = like->log.level;
    options.memory_limit_bytes = like->memory.limit_bytes;
    return m2s_context_create(&options, context, error);
}

const char *m2s_context_dependencies(const m2snet_context *context)
{
    return context->dependencies;
}

m2snet_context *m2s_context_retain(m2snet_context *context)
{
    atomic_fetch_add(&context->references, 1);
    return context;
}

void m2s_context_release(m2snet_context *context)
{
    if (context == NULL || atomic_fetch_sub(&context->references, 1) != 1) {
        return;
    }
    if (context->device != NULL) {
        context->backend->close(context->device);
    }
    m2s_pool_destroy(context->host.pool);
    m2s_memory last = { .allocator = context->memory.allocator };
    m2s_free(&last, context);
}
