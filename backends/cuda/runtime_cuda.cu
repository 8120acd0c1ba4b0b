/* SPDX-License-Identifier: Apache-2.0
 * The one file that calls the CUDA runtime, launches aside. */
#include "backends/cuda/runtime.h"

#include <cuda_runtime.h>
#include <stdio.h>
#include <string.h>

/* Failures are handed on and then forgotten by the runtime, so that the host's own later calls do not find them. */
static int result(cudaError_t error)
{
    if (error != cudaSuccess) {
        (void)cudaGetLastError();
    }
    return (int)error;
}

static cudaStream_t stream_of(void *stream)
{
    return static_cast<cudaStream_t>(stream);
}

int m2s_cuda_count(int *count)
{
    int error = result(cudaGetDeviceCount(count));

    *count = error == 0 ? *count : 0;
    return error;
}

int m2s_cuda_properties_of(int device, m2s_cuda_properties *properties)
{
    cudaDeviceProp all;
    int error = result(cudaGetDeviceProperties(&all, device));

    memset(properties, 0, sizeof *properties);
    if (error != 0) {
        return error;
    }
    snprintf(properties->name, sizeof properties->name, "%.127s", all.name);
    properties->capability = all.major * 10 + all.minor;
    properties->multiprocessors = all.multiProcessorCount;
    properties->memory_bytes = all.totalGlobalMem;
    error = result(cudaDriverGetVersion(&properties->driver));
    return error != 0 ? error : result(cudaRuntimeGetVersion(&properties->runtime));
}

int m2s_cuda_enter(int device, int *previous)
{
    int error = result(cudaGetDevice(previous));

    return error != 0 ? error : result(cudaSetDevice(device));
}

void m2s_cuda_leave(int previous)
{
    (void)result(cudaSetDevice(previous));
}

int m2s_cuda_malloc(void **data, size_t bytes)
{
    *data = nullptr;
    return result(cudaMalloc(data, bytes));
}

void m2s_cuda_free(void *data)
{
    if (data != nullptr) {
        (void)result(cudaFree(data));
    }
}

int m2s_cuda_malloc_host(void **data, size_t bytes)
{
    *data = nullptr;
    return result(cudaMallocHost(data, bytes));
}

void m2s_cuda_free_host(void *data)
{
    if (data != nullptr) {
        (void)result(cudaFreeHost(data));
    }
}

int m2s_cuda_stream_create(void **stream)
{
    cudaStream_t made = nullptr;
    int error = result(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking));

    *stream = made;
    return error;
}

void m2s_cuda_stream_destroy(void *stream)
{
    if (stream != nullptr) {
        (void)result(cudaStreamDestroy(stream_of(stream)));
    }
}

int m2s_cuda_copy_in(void *stream, void *device, const void *host, size_t bytes)
{
    return result(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream_of(stream)));
}

int m2s_cuda_copy_out(void *stream, void *host, const void *device, size_t bytes)
{
    return result(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_of(stream)));
}

int m2s_cuda_copy(void *stream, void *dst, const void *src, size_t bytes)
{
    return result(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, stream_of(stream)));
}

int m2s_cuda_fill(void *stream, void *dst, int byte, size_t bytes)
{
    return result(cudaMemsetAsync(dst, byte, bytes, stream_of(stream)));
}

int m2s_cuda_synchronize(void *stream)
{
    return result(cudaStreamSynchronize(stream_of(stream)));
}

int m2s_cuda_is_captured(void *stream, bool *captured)
{
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    int error = result(cudaStreamIsCapturing(stream_of(stream), &status));

    *captured = status != cudaStreamCaptureStatusNone;
    return error;
}

int m2s_cuda_capture_begin(void *stream)
{
    /* Of this thread alone: other threads of the host go on allocating and synchronising. */
    return result(cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeThreadLocal));
}

int m2s_cuda_capture_end(void *stream, void **graph)
{
    cudaGraph_t captured = nullptr;
    cudaGraphExec_t executable = nullptr;
    int error = result(cudaStreamEndCapture(stream_of(stream), &captured));

    *graph = nullptr;
    if (error == 0) {
        error = result(cudaGraphInstantiate(&executable, captured, 0));
    }
    if (captured != nullptr) {
        (void)result(cudaGraphDestroy(captured));
    }
    *graph = executable;
    return error;
}

int m2s_cuda_capture_front(void *stream, m2s_cuda_front *front)
{
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    cudaGraph_t graph = nullptr;
    const cudaGraphNode_t *nodes = nullptr;
    size_t count = 0, all = 0;
#if CUDART_VERSION >= 13000
    /* Asked for and not kept: without it the full order of two launches is what an edge means. */
    const cudaGraphEdgeData *edges = nullptr;
    int error = result(cudaStreamGetCaptureInfo(stream_of(stream), &status, nullptr, &graph, &nodes, &edges, &count));
#else
    int error = result(cudaStreamGetCaptureInfo_v2(stream_of(stream), &status, nullptr, &graph, &nodes, &count));
#endif

    front->nodes = front->launches = 0;
    if (error == 0 && (status != cudaStreamCaptureStatusActive || count > M2S_CUDA_MOST_FRONT)) {
        error = static_cast<int>(cudaErrorStreamCaptureUnsupported);
    }
    if (error != 0) {
        return error;
    }
    for (size_t i = 0; i < count; i++) {
        front->node[i] = nodes[i];
    }
    error = result(cudaGraphGetNodes(graph, nullptr, &all));
    front->nodes = static_cast<int>(count);
    front->launches = static_cast<int>(all);
    return error;
}

int m2s_cuda_capture_after(void *stream, void *const *nodes, int count)
{
    cudaGraphNode_t *given = reinterpret_cast<cudaGraphNode_t *>(const_cast<void **>(nodes));
    const size_t all = static_cast<size_t>(count);

#if CUDART_VERSION >= 13000
    return result(
        cudaStreamUpdateCaptureDependencies(stream_of(stream), given, nullptr, all, cudaStreamSetCaptureDependencies));
#else
    return result(cudaStreamUpdateCaptureDependencies(stream_of(stream), given, all, cudaStreamSetCaptureDependencies));
#endif
}

int m2s_cuda_graph_launch(void *stream, void *graph)
{
    return result(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), stream_of(stream)));
}

void m2s_cuda_graph_destroy(void *graph)
{
    if (graph != nullptr) {
        (void)result(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)));
    }
}

int m2s_cuda_event_create(void **event)
{
    cudaEvent_t made = nullptr;
    int error = result(cudaEventCreate(&made));

    *event = made;
    return error;
}

void m2s_cuda_event_destroy(void *event)
{
    if (event != nullptr) {
        (void)result(cudaEventDestroy(static_cast<cudaEvent_t>(event)));
    }
}

int m2s_cuda_event_record(void *event, void *stream)
{
    return result(cudaEventRecord(static_cast<cudaEvent_t>(event), stream_of(stream)));
}

int m2s_cuda_event_synchronize(void *event)
{
    return result(cudaEventSynchronize(static_cast<cudaEvent_t>(event)));
}

int m2s_cuda_event_wait(void *stream, void *event)
{
    return result(cudaStreamWaitEvent(stream_of(stream), static_cast<cudaEvent_t>(event), 0));
}

int m2s_cuda_event_milliseconds(void *begin, void *end, float *milliseconds)
{
    return result(cudaEventElapsedTime(milliseconds, static_cast<cudaEvent_t>(begin), static_cast<cudaEvent_t>(end)));
}

const char *m2s_cuda_error_name(int error, char buffer[128])
{
    snprintf(buffer, 128, "%s: %s", cudaGetErrorName(static_cast<cudaError_t>(error)),
             cudaGetErrorString(static_cast<cudaError_t>(error)));
    return buffer;
}

bool m2s_cuda_error_is_sticky(int error)
{
    switch (static_cast<cudaError_t>(error)) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorECCUncorrectable:
    case cudaErrorAssert:
    case cudaErrorUnknown:
        return true;
    default:
        return false;
    }
}
