/* SPDX-License-Identifier: Apache-2.0
 * The vtable. Every function that touches the device makes it current for the calling thread, and puts back what was.
 */
#include <stdio.h>
#include <string.h>

#include "backends/cuda/plan.h"

#define LEAST_CAPABILITY 75
#define MOST_WORKSPACE   ((size_t)256 << 20)

/* ---- errors ---- */

m2snet_status m2s_cuda_fail(m2snet_error *error, int number, const char *what)
{
    char text[128];

    if (number == 0) {
        return M2SNET_STATUS_OK;
    }
    if (number == M2S_CUDA_ERROR_MEMORY) {
        return m2s_fail(error, M2SNET_STATUS_OUT_OF_MEMORY, "%s: the device is out of memory", what);
    }
    if (number == M2S_CUDA_ERROR_ALIGNMENT) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                        "%s: the caller's allocator of device memory gave what is not aligned to 256 bytes", what);
    }
    if (number == M2S_CUDA_ERROR_LIBRARY) {
        return m2s_fail(error, M2SNET_STATUS_BACKEND, "%s: cuDNN failed", what);
    }
    return m2s_fail(error, M2SNET_STATUS_BACKEND, "%s: %s%s", what, m2s_cuda_error_name(number, text),
                    m2s_cuda_error_is_sticky(number) ? " (the device is lost to this process)" : "");
}

/* ---- device ---- */

static const char *description(void)
{
    return "NVIDIA devices: cuDNN where it is found, own kernels";
}

static int device_count(void)
{
    int count = 0;

    (void)m2s_cuda_count(&count);
    return count;
}

static void device_free(m2s_device *device)
{
    m2s_conv_chooser_close(device->convs);
    m2s_cuda_free_host(device->staging);
    m2s_cuda_stream_destroy(device->stream);
    pthread_mutex_destroy(&device->launching);
    pthread_mutex_destroy(&device->copying);
    pthread_mutex_destroy(&device->weights_guard);
    m2s_free(device->host.memory, device);
}

static m2snet_status prepare_device(m2s_device *device, m2snet_error *error)
{
    const m2s_cuda_properties *properties = &device->properties;
    const m2snet_cuda_options *options = device->host.cuda;
    m2s_conv_settings settings = { .device_memory = &device->memory,
                                   .log = device->host.log,
                                   .most_workspace_bytes = MOST_WORKSPACE,
                                   .multiprocessors = properties->multiprocessors };
    void *staging = NULL;
    m2snet_status status;

    if (properties->capability < LEAST_CAPABILITY) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED, "%s has compute capability %d.%d: 7.5 or newer is needed",
                        properties->name, properties->capability / 10, properties->capability % 10);
    }
    M2S_TRY(m2s_cuda_fail(error, m2s_cuda_stream_create(&device->stream), "a stream"));
    M2S_TRY(m2s_cuda_fail(error, m2s_cuda_malloc_host(&staging, M2S_STAGING_BYTES), "pinned memory"));
    device->staging = staging;
    if (options != NULL) {
        settings.search = options->search != 0;
        settings.most_workspace_bytes = options->workspace_limit_bytes != 0 && options->workspace_limit_bytes < SIZE_MAX
                                            ? (size_t)options->workspace_limit_bytes
                                            : MOST_WORKSPACE;
    }
    M2S_TRY(m2s_conv_chooser_open(device->host.memory, &settings, &device->convs, error));
    if (m2s_conv_chooser_is_slow(device->convs)) {
        m2s_log_write(device->host.log, properties->host ? M2SNET_LOG_DEBUG : M2SNET_LOG_WARNING,
                      "cuda: %s: convolutions are slow", m2s_conv_chooser_text(device->convs));
    }
fail:
    return status;
}

static m2snet_status device_open(const m2s_host *host, int index, m2s_device **opened, m2snet_error *error)
{
    m2s_device *device;
    int count = 0, previous = 0, number = m2s_cuda_count(&count);
    char text[128];
    m2snet_status status;

    *opened = NULL;
    if (count == 0) {
        return m2s_fail(error, M2SNET_STATUS_BACKEND, "backend cuda finds no NVIDIA device or no driver for one (%s)",
                        number != 0 ? m2s_cuda_error_name(number, text) : "there is none");
    }
    if (index < 0 || index >= count) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "device %d: backend \"cuda\" has %d", index, count);
    }
    device = m2s_calloc(host->memory, 1, sizeof *device);
    if (device == NULL) {
        return m2s_fail_memory(error, "backend cuda", sizeof *device);
    }
    device->host = *host;
    device->index = index;
    if (host->cuda != NULL && host->cuda->allocator != NULL) {
        device->memory.allocator = *host->cuda->allocator;
    }
    pthread_mutex_init(&device->launching, NULL);
    pthread_mutex_init(&device->copying, NULL);
    pthread_mutex_init(&device->weights_guard, NULL);
    status = m2s_cuda_fail(error, m2s_cuda_properties_of(index, &device->properties), "the device's properties");
    if (status == M2SNET_STATUS_OK) {
        status = m2s_cuda_fail(error, m2s_cuda_enter(index, &previous), "the device");
        if (status == M2SNET_STATUS_OK) {
            status = prepare_device(device, error);
            m2s_cuda_leave(previous);
        }
    }
    if (status != M2SNET_STATUS_OK) {
        device_free(device);
        return status;
    }
    *opened = device;
    return status;
}

static void device_close(m2s_device *device)
{
    int previous = 0;

    if (device != NULL) {
        int number = m2s_cuda_enter(device->index, &previous);
        device_free(device);
        if (number == 0) {
            m2s_cuda_leave(previous);
        }
    }
}

static void device_info(const m2s_device *device, m2s_device_info *info)
{
    const m2s_cuda_properties *properties = &device->properties;

    memset(info, 0, sizeof *info);
    snprintf(info->name, sizeof info->name, "%s", properties->name);
    snprintf(info->instruction_set, sizeof info->instruction_set, "sm_%d", properties->capability);
    snprintf(info->gemm_provider, sizeof info->gemm_provider, "%.63s", m2s_conv_chooser_text(device->convs));
}

/* ---- buffers ---- */

static m2snet_status enter(const m2s_device *device, int *previous, m2snet_error *error)
{
    if (atomic_load(&device->lost)) {
        return m2s_fail(
            error, M2SNET_STATUS_BACKEND,
            "device %d (%s) is lost to this process since an earlier failure: only a new process can use it",
            device->index, device->properties.name);
    }
    return m2s_cuda_fail(error, m2s_cuda_enter(device->index, previous), "the device");
}

/* Puts back what was current, and finds out whether what failed took the device along. */
static void leave(m2s_device *device, int previous, m2snet_status status)
{
    if (status == M2SNET_STATUS_BACKEND && m2s_cuda_error_is_sticky(m2s_cuda_synchronize(device->stream))) {
        atomic_store(&device->lost, true);
    }
    m2s_cuda_leave(previous);
}

static m2snet_status buffer_alloc(m2s_device *device, size_t bytes, m2s_buffer **buffer, m2snet_error *error)
{
    m2s_buffer *made = m2s_alloc(device->host.memory, sizeof *made);
    void *data = NULL;
    int previous;
    m2snet_status status;

    *buffer = NULL;
    if (made == NULL) {
        return m2s_fail_memory(error, "a buffer", sizeof *made);
    }
    M2S_TRY(enter(device, &previous, error));
    int number = m2s_device_alloc(&device->memory, &data, bytes);
    status = number == M2S_CUDA_ERROR_MEMORY
                 ? m2s_fail(error, M2SNET_STATUS_OUT_OF_MEMORY, "out of device memory: a buffer needs %zu bytes", bytes)
                 : m2s_cuda_fail(error, number, "a buffer");
    leave(device, previous, status);
    M2S_TRY(status);
    *made = (m2s_buffer){ .data = data, .bytes = bytes };
    *buffer = made;
    return status;
fail:
    m2s_free(device->host.memory, made);
    return status;
}

m2snet_status m2s_cuda_buffer_settle(m2s_buffer *buffer, m2snet_error *error)
{
    int number = buffer->busy ? m2s_cuda_event_synchronize(buffer->used) : 0;

    buffer->busy = buffer->busy && number != 0;
    return m2s_cuda_fail(error, number, "what was enqueued");
}

static void buffer_free(m2s_device *device, m2s_buffer *buffer)
{
    int previous = 0;

    if (buffer != NULL) {
        int number = m2s_cuda_enter(device->index, &previous);
        (void)m2s_cuda_buffer_settle(buffer, NULL);
        m2s_cuda_event_destroy(buffer->used);
        m2s_device_free(&device->memory, buffer->data, buffer->bytes);
        if (number == 0) {
            m2s_cuda_leave(previous);
        }
        m2s_free(device->host.memory, buffer);
    }
}

static m2snet_status check_range(const m2s_buffer *buffer, size_t offset, size_t bytes, m2snet_error *error)
{
    if (offset > buffer->bytes || bytes > buffer->bytes - offset) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "%zu bytes at %zu are outside of a buffer of %zu", bytes, offset,
                        buffer->bytes);
    }
    return M2SNET_STATUS_OK;
}

static size_t piece_of(size_t bytes, size_t done)
{
    return bytes - done < M2S_STAGING_BYTES ? bytes - done : M2S_STAGING_BYTES;
}

m2snet_status m2s_cuda_upload(m2s_device *device, void *dst, const void *src, size_t bytes, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    pthread_mutex_lock(&device->copying);
    for (size_t done = 0; done < bytes; done += piece_of(bytes, done)) {
        size_t piece = piece_of(bytes, done);
        memcpy(device->staging, (const char *)src + done, piece);
        M2S_TRY(m2s_cuda_fail(error, m2s_cuda_copy_in(device->stream, (char *)dst + done, device->staging, piece),
                              "a copy to the device"));
        M2S_TRY(m2s_cuda_fail(error, m2s_cuda_synchronize(device->stream), "a copy to the device"));
    }
fail:
    pthread_mutex_unlock(&device->copying);
    return status;
}

m2snet_status m2s_cuda_download(m2s_device *device, void *dst, const void *src, size_t bytes, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;

    pthread_mutex_lock(&device->copying);
    for (size_t done = 0; done < bytes; done += piece_of(bytes, done)) {
        size_t piece = piece_of(bytes, done);
        M2S_TRY(m2s_cuda_fail(error,
                              m2s_cuda_copy_out(device->stream, device->staging, (const char *)src + done, piece),
                              "a copy from the device"));
        M2S_TRY(m2s_cuda_fail(error, m2s_cuda_synchronize(device->stream), "a copy from the device"));
        memcpy((char *)dst + done, device->staging, piece);
    }
fail:
    pthread_mutex_unlock(&device->copying);
    return status;
}

static m2snet_status buffer_write(m2s_device *device, m2s_buffer *buffer, size_t offset, const void *src, size_t bytes,
                                  m2snet_error *error)
{
    int previous;
    m2snet_status status;

    M2S_TRY(check_range(buffer, offset, bytes, error));
    M2S_TRY(enter(device, &previous, error));
    status = m2s_cuda_upload(device, buffer->data + offset, src, bytes, error);
    leave(device, previous, status);
fail:
    return status;
}

static m2snet_status buffer_read(m2s_device *device, const m2s_buffer *buffer, size_t offset, void *dst, size_t bytes,
                                 m2snet_error *error)
{
    int previous;
    m2snet_status status;

    M2S_TRY(check_range(buffer, offset, bytes, error));
    M2S_TRY(enter(device, &previous, error));
    status = m2s_cuda_download(device, dst, buffer->data + offset, bytes, error);
    leave(device, previous, status);
fail:
    return status;
}

static m2snet_status buffer_prepare(m2s_device *device, m2s_buffer *buffer, const m2s_prepare_request *request,
                                    m2s_buffer *scratch, m2snet_error *error)
{
    size_t pixels = (size_t)request->count * (size_t)request->ways * (size_t)request->width * (size_t)request->height;
    int previous;
    m2snet_status status;

    M2S_TRY(check_range(buffer, 0, 3 * pixels * sizeof(float), error));
    M2S_TRY(check_range(scratch, 0, m2s_cuda_prepare_bytes(device, request), error));
    M2S_TRY(enter(device, &previous, error));
    status = m2s_cuda_buffer_settle(scratch, error);
    if (status == M2SNET_STATUS_OK) {
        status = m2s_cuda_prepare_inputs(device, (float *)(void *)buffer->data, request, scratch->data, error);
    }
    leave(device, previous, status);
fail:
    return status;
}

static m2snet_status buffer_augment(m2s_device *device, m2s_buffer *images, m2s_buffer *masks,
                                    const m2s_augment_request *request, m2s_buffer *scratch, m2snet_error *error)
{
    size_t pixels = (size_t)request->count * (size_t)request->width * (size_t)request->height;
    int previous;
    m2snet_status status;

    M2S_TRY(check_range(images, 0, 3 * pixels * sizeof(float), error));
    M2S_TRY(check_range(masks, 0, (size_t)request->classes * pixels * sizeof(float), error));
    M2S_TRY(check_range(scratch, 0, m2s_cuda_augment_bytes(device, request), error));
    M2S_TRY(enter(device, &previous, error));
    status = m2s_cuda_buffer_settle(scratch, error);
    if (status == M2SNET_STATUS_OK) {
        status = m2s_cuda_augment_batch(device, (float *)(void *)images->data, (float *)(void *)masks->data, request,
                                        scratch->data, error);
    }
    leave(device, previous, status);
fail:
    return status;
}

static m2snet_status buffer_wait(m2s_device *device, m2s_buffer *buffer, m2snet_error *error)
{
    int previous;
    m2snet_status status;

    M2S_TRY(enter(device, &previous, error));
    status = m2s_cuda_buffer_settle(buffer, error);
    leave(device, previous, status);
fail:
    return status;
}

/* ---- plans ---- */

static bool supports(const m2s_device *device, const m2s_graph *graph, const m2s_node *node, char *why)
{
    const char *reason = m2s_cuda_missing(graph, node);

    (void)device;
    if (reason != NULL && why != NULL) {
        snprintf(why, 128, "%s", reason);
    }
    return reason == NULL;
}

static m2snet_status plan_compile(m2s_device *device, const m2s_plan_request *request, m2s_plan **plan,
                                  m2snet_error *error)
{
    int previous;
    m2snet_status status;

    *plan = NULL;
    M2S_TRY(enter(device, &previous, error));
    status = m2s_cuda_plan_compile(device, request, plan, error);
    pthread_mutex_lock(&device->launching);
    m2s_conv_chooser_trim(device->convs);
    pthread_mutex_unlock(&device->launching);
    leave(device, previous, status);
fail:
    return status;
}

static void plan_info(const m2s_plan *plan, m2s_plan_info *info)
{
    *info = (m2s_plan_info){ plan->arena_bytes, plan->packed_bytes, plan->step_count };
}

static bool plan_step(const m2s_plan *plan, int32_t index, m2s_step_info *info)
{
    if (index < 0 || index >= plan->step_count) {
        return false;
    }
    const m2s_plan_step *step = &plan->steps[index];
    *info = (m2s_step_info){ step->name, step->step.kernel_name, step->multiply_adds, step->nanoseconds };
    return true;
}

static m2snet_status plan_run(m2s_device *device, m2s_plan *plan, const m2s_run_request *request, m2snet_error *error)
{
    int previous;
    m2snet_status status;

    M2S_TRY(enter(device, &previous, error));
    status = m2s_cuda_plan_run(device, plan, request, error);
    leave(device, previous, status);
fail:
    return status;
}

static void plan_free(m2s_device *device, m2s_plan *plan)
{
    int previous = 0;

    if (plan != NULL) {
        int number = m2s_cuda_enter(device->index, &previous);
        m2s_cuda_plan_free(device, plan);
        if (number == 0) {
            m2s_cuda_leave(previous);
        }
    }
}

const m2s_backend *m2s_backend_cuda(void)
{
    static const m2s_backend backend = {
        .abi = M2S_BACKEND_ABI,
        .name = "cuda",
        .reduced = true,
        .description = description,
        .device_count = device_count,
        .open = device_open,
        .close = device_close,
        .device_info = device_info,
        .buffer_alloc = buffer_alloc,
        .buffer_free = buffer_free,
        .buffer_write = buffer_write,
        .buffer_read = buffer_read,
        .prepare_bytes = m2s_cuda_prepare_bytes,
        .buffer_prepare = buffer_prepare,
        .augment_bytes = m2s_cuda_augment_bytes,
        .buffer_augment = buffer_augment,
        .buffer_wait = buffer_wait,
        .supports = supports,
        .plan_compile = plan_compile,
        .plan_info = plan_info,
        .plan_step = plan_step,
        .plan_run = plan_run,
        .plan_free = plan_free,
    };

    return &backend;
}
