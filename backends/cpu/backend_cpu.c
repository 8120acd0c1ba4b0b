/* SPDX-License-Identifier: Apache-2.0
 * The cpu backend's vtable: device, buffers, and what it tells of itself. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backends/cpu/onednn.h"
#include "backends/cpu/openblas.h"
#include "backends/cpu/plan.h"
#include "backends/cpu/plan_internal.h"

static const char *gemm_provider(char *text, size_t bytes)
{
#if defined(M2S_WITH_ONEDNN)
    return m2s_onednn_version(text, bytes);
#elif defined(M2S_WITH_OPENBLAS)
    return m2s_openblas_version(text, bytes);
#else
    snprintf(text, bytes, "none");
    return text;
#endif
}

static const char *description(void)
{
#if defined(M2S_WITH_ONEDNN)
    return "oneDNN and own kernels";
#elif defined(M2S_WITH_OPENBLAS)
    return "OpenBLAS and own kernels";
#else
    return "own kernels";
#endif
}

static int device_count(void)
{
    return 1;
}

static void close_device(m2s_device *device)
{
    if (device != NULL) {
#if defined(M2S_WITH_ONEDNN)
        m2s_onednn_close(device->onednn);
#endif
        m2s_free(device->host->memory, device);
    }
}

static m2snet_status open_device(const m2s_host *host, int index, m2s_device **opened, m2snet_error *error)
{
    m2s_device *device = NULL;
    m2snet_status status = M2SNET_STATUS_OK;

    *opened = NULL;
    if (index != 0) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "device %d: the cpu backend has device 0 only", index);
    }
    device = m2s_calloc(host->memory, 1, sizeof *device);
    if (device == NULL) {
        return m2s_fail_memory(error, "the cpu device", sizeof *device);
    }
    device->host = host;
    device->kernels = m2s_cpu_kernels_for(host->isa);
#if defined(M2S_WITH_ONEDNN)
    status = m2s_onednn_open(host, &device->onednn, error);
#endif
    if (status != M2SNET_STATUS_OK) {
        close_device(device);
        return status;
    }
    *opened = device;
    return M2SNET_STATUS_OK;
}

static void device_info(const m2s_device *device, m2s_device_info *info)
{
    memset(info, 0, sizeof *info);
    m2s_processor_name(info->name, sizeof info->name);
    snprintf(info->instruction_set, sizeof info->instruction_set, "%s", device->kernels->name);
    gemm_provider(info->gemm_provider, sizeof info->gemm_provider);
}

/* ---- buffers ---- */

static m2snet_status buffer_alloc(m2s_device *device, size_t bytes, m2s_buffer **allocated, m2snet_error *error)
{
    m2s_memory *memory = device->host->memory;
    m2s_buffer *buffer = m2s_alloc(memory, sizeof *buffer);

    *allocated = NULL;
    if (buffer == NULL) {
        return m2s_fail_memory(error, "a buffer", sizeof *buffer);
    }
    *buffer = (m2s_buffer){ .data = m2s_alloc(memory, bytes), .bytes = bytes };
    if (buffer->data == NULL) {
        m2s_free(memory, buffer);
        return m2s_fail_memory(error, "a buffer", bytes);
    }
    *allocated = buffer;
    return M2SNET_STATUS_OK;
}

static void buffer_free(m2s_device *device, m2s_buffer *buffer)
{
    if (buffer != NULL) {
        m2s_free(device->host->memory, buffer->data);
        m2s_free(device->host->memory, buffer);
    }
}

static m2snet_status check_range(const m2s_buffer *buffer, size_t offset, size_t bytes, m2snet_error *error)
{
    size_t end;

    if (!m2s_add(offset, bytes, &end) || end > buffer->bytes) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "%zu bytes at %zu exceed a buffer of %zu bytes", bytes, offset,
                        buffer->bytes);
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status buffer_write(m2s_device *device, m2s_buffer *buffer, size_t offset, const void *src, size_t bytes,
                                  m2snet_error *error)
{
    m2snet_status status = check_range(buffer, offset, bytes, error);

    (void)device;
    if (status == M2SNET_STATUS_OK && bytes > 0) {
        memcpy((unsigned char *)buffer->data + offset, src, bytes);
    }
    return status;
}

static m2snet_status buffer_read(m2s_device *device, const m2s_buffer *buffer, size_t offset, void *dst, size_t bytes,
                                 m2snet_error *error)
{
    m2snet_status status = check_range(buffer, offset, bytes, error);

    (void)device;
    if (status == M2SNET_STATUS_OK && bytes > 0) {
        memcpy(dst, (const unsigned char *)buffer->data + offset, bytes);
    }
    return status;
}

/* ---- what can be placed ---- */

static bool supports(const m2s_device *device, const m2s_graph *graph, const m2s_node *node, char *why)
{
    (void)device;
    for (int32_t i = 0; i < node->out_count; i++) {
        m2snet_dtype dtype = graph->values[node->out[i]].dtype;
        if (dtype != M2SNET_DTYPE_F32) {
            if (why != NULL) {
                snprintf(why, 128, "the cpu backend computes in F32; use backend ref for %s", m2s_dtype_name(dtype));
            }
            return false;
        }
    }
    if (m2s_ref_get_kernel(node->op, M2SNET_DTYPE_F32) == NULL) {
        if (why != NULL) {
            snprintf(why, 128, "no kernel for %s in F32", m2s_op_get_info(node->op)->name);
        }
        return false;
    }
    return true;
}

const m2s_backend *m2s_backend_cpu(void)
{
    static const m2s_backend backend = {
        .abi = M2S_BACKEND_ABI,
        .name = "cpu",
        .description = description,
        .device_count = device_count,
        .open = open_device,
        .close = close_device,
        .device_info = device_info,
        .buffer_alloc = buffer_alloc,
        .buffer_free = buffer_free,
        .buffer_write = buffer_write,
        .buffer_read = buffer_read,
        .supports = supports,
        .plan_compile = m2s_cpu_plan_compile,
        .plan_info = m2s_cpu_plan_info,
        .plan_step = m2s_cpu_plan_step,
        .plan_run = m2s_cpu_plan_run,
        .plan_free = m2s_cpu_plan_free,
    };

    return &backend;
}
