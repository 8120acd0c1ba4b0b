/* SPDX-License-Identifier: Apache-2.0
 * The few calls of the CUDA runtime that the backend makes. runtime_cuda.cu makes them; runtime_host.c stands in for
 * them on machines without a device: host memory as device memory, streams that run at once, graphs as lists.
 *
 * Functions return 0 or the runtime's error number, which m2s_cuda_error_name explains. Memory, streams and graphs
 * belong to the device that is current for the calling thread (m2s_cuda_enter). Thread safe, but one stream is one
 * thread's at a time. A stream may be the caller's; NULL is the device's default stream. */
#ifndef M2S_BACKENDS_CUDA_RUNTIME_H
#define M2S_BACKENDS_CUDA_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

#if defined(__cplusplus)
extern "C" {
#endif

/* Numbers that the backend tells apart from the rest; they are the runtime's own. */
#define M2S_CUDA_ERROR_MEMORY 2

typedef struct m2s_cuda_properties {
    char name[128];
    int capability; /* 90 for 9.0 */
    int multiprocessors;
    size_t memory_bytes;
    int driver, runtime; /* versions: 13000 for 13.0 */
    bool host;           /* the stand-in */
} m2s_cuda_properties;

/* How many devices there are. On failure *count is 0. */
int m2s_cuda_count(int *count);
int m2s_cuda_properties_of(int device, m2s_cuda_properties *properties);
/* Makes a device current for this thread; *previous is what was, for m2s_cuda_leave. */
int m2s_cuda_enter(int device, int *previous);
void m2s_cuda_leave(int previous);

int m2s_cuda_malloc(void **data, size_t bytes);      /* 256-byte aligned; bytes > 0 */
void m2s_cuda_free(void *data);                      /* NULL is fine; waits for the device */
int m2s_cuda_malloc_host(void **data, size_t bytes); /* pinned */
void m2s_cuda_free_host(void *data);                 /* NULL is fine */

int m2s_cuda_stream_create(void **stream);
void m2s_cuda_stream_destroy(void *stream); /* NULL is fine */
/* Between host and device: host memory is pinned, and busy until the stream is synchronised. */
int m2s_cuda_copy_in(void *stream, void *device, const void *host, size_t bytes);
int m2s_cuda_copy_out(void *stream, void *host, const void *device, size_t bytes);
int m2s_cuda_copy(void *stream, void *dst, const void *src, size_t bytes); /* on the device */
int m2s_cuda_fill(void *stream, void *dst, int byte, size_t bytes);
int m2s_cuda_synchronize(void *stream); /* also reports what earlier launches did wrong */
/* Whether what is launched on a stream is kept for a graph, by whomever. */
int m2s_cuda_is_captured(void *stream, bool *captured);

/* ---- graphs: what is launched between begin and end is kept, not run ---- */

int m2s_cuda_capture_begin(void *stream);
/* Ends the capture in any case; *graph can be launched any number of times, on any stream of the device. */
int m2s_cuda_capture_end(void *stream, void **graph);

/* What is captured next comes after what was captured last, unless the two of these say otherwise. */
#define M2S_CUDA_MOST_FRONT 8
typedef struct m2s_cuda_front {
    void *node[M2S_CUDA_MOST_FRONT]; /* of the graph: what the next launch on the stream comes after */
    int nodes, launches;             /* launches: captured so far, with copies and fills */
} m2s_cuda_front;
int m2s_cuda_capture_front(void *stream, m2s_cuda_front *front);
/* The next launch comes after these and no others; none of them: it may be the first. */
int m2s_cuda_capture_after(void *stream, void *const *nodes, int count);

int m2s_cuda_graph_launch(void *stream, void *graph);
void m2s_cuda_graph_destroy(void *graph); /* NULL is fine */

/* ---- events: places in a stream ---- */

int m2s_cuda_event_create(void **event);
void m2s_cuda_event_destroy(void *event); /* NULL is fine */
int m2s_cuda_event_record(void *event, void *stream);
int m2s_cuda_event_synchronize(void *event); /* waits until its stream has come so far */
/* What comes on the stream from now on waits for the event, of any stream of the device. */
int m2s_cuda_event_wait(void *stream, void *event);
int m2s_cuda_event_milliseconds(void *begin, void *end, float *milliseconds); /* both have happened */

/* "cudaErrorMemoryAllocation: out of memory"; never NULL. */
const char *m2s_cuda_error_name(int error, char buffer[128]);
/* The status and message of an error: "WHAT: cudaError...". OK for 0. */
m2snet_status m2s_cuda_fail(m2snet_error *error, int number, const char *what);
/* Whether the device is lost: nothing will work on it until the process ends. */
bool m2s_cuda_error_is_sticky(int error);

#if defined(__cplusplus)
}
#endif

#endif
