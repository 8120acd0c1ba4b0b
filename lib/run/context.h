/* SPDX-License-Identifier: Apache-2.0
 * Contexts: a backend's device, a pool of threads, memory and log. Counted references keep one alive for its models. */
#ifndef M2S_RUN_CONTEXT_H
#define M2S_RUN_CONTEXT_H

#include <stdatomic.h>

#include "backends/backend.h"

struct m2snet_context {
    atomic_int references;
    m2s_memory memory;
    m2s_log log;
    m2s_host host;
    m2snet_cuda_options cuda; /* the host's, with its allocator */
    m2snet_device_allocator device_allocator;
    const m2s_backend *backend;
    m2s_device *device;
    m2s_device_info device_info;
    char dependencies[160];
};

m2snet_status m2s_context_create(const m2snet_context_options *options, m2snet_context **context, m2snet_error *error);
/* One on the reference backend with the same memory rules, threads and log: the oracle for self tests. */
m2snet_status m2s_context_create_reference(const m2snet_context *like, m2snet_context **context, m2snet_error *error);
m2snet_context *m2s_context_retain(m2snet_context *context);
void m2s_context_release(m2snet_context *context); /* NULL is fine */

/* "oneDNN 2.6.3, libpng 1.6.39, libjpeg-turbo 2.1.5": what results depend on besides this library. */
const char *m2s_context_dependencies(const m2snet_context *context);

void m2s_context_options_default(m2snet_context_options *options);
void m2s_cuda_options_default(m2snet_cuda_options *options);

#endif
