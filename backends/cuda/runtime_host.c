/* SPDX-License-Identifier: Apache-2.0
 * The stand-in for the CUDA runtime: one device made of host memory. Kernels run at once, in the calling thread; a
 * captured graph is a list of launches and copies that is run through at each launch of it.
 *
 * With M2SNET_CUDA_FAIL_AT=N in the environment when the module is opened, the N-th call that can fail does, as an
 * allocation that finds no memory or as a launch that fails; with N negative, that call and all after it. */
#define _GNU_SOURCE
#include "backends/cuda/runtime.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/cuda/cuda.h"
#include "core/control.h"

#define ERROR_LAUNCH  719
#define ERROR_DEVICE  101
#define ERROR_CAPTURE 900

typedef struct item {
    struct item *next;
    m2s_cuda_host_body run; /* NULL: a copy, or with no src a fill */
    m2s_cuda_grid grid;
    int threads;
    size_t shared_bytes, bytes;
    void *dst;
    const void *src;
    int byte;
    _Alignas(16) unsigned char body[];
} item;

typedef struct list {
    item *first, **last;
} list;

typedef struct stream {
    list *capture; /* what is being captured, or NULL */
} stream;

/* ---- failing on demand ---- */

static atomic_long calls;

/* Counts a call; whether it is the one that fails. */
static bool fails(void)
{
    const char *text = secure_getenv("M2SNET_CUDA_FAIL_AT");
    long at = text != NULL ? strtol(text, NULL, 10) : 0;
    long call = atomic_fetch_add(&calls, 1) + 1;

    return at > 0 ? call == at : at < 0 && call >= -at;
}

/* Everything that must be given back: memory, streams, graphs, events. */
static atomic_long held;

static void *hold(void *block)
{
    atomic_fetch_add(&held, block != NULL);
    return block;
}

static void give_back(void *block)
{
    atomic_fetch_sub(&held, block != NULL);
    free(block);
}

long m2s_cuda_host_held(void);
/* For tests: how many blocks, streams, graphs and events there are. */
__attribute__((visibility("default"))) long m2s_cuda_host_held(void)
{
    return atomic_load(&held);
}

long m2s_cuda_host_calls(bool reset);
/* For tests: how many calls could have failed since the last reset. */
__attribute__((visibility("default"))) long m2s_cuda_host_calls(bool reset)
{
    return reset ? atomic_exchange(&calls, 0) : atomic_load(&calls);
}

/* ---- device ---- */

int m2s_cuda_count(int *count)
{
    bool none = secure_getenv("M2SNET_CUDA_NO_DEVICE") != NULL;

    *count = none ? 0 : 1;
    return none ? 35 : 0;
}

int m2s_cuda_properties_of(int device, m2s_cuda_properties *properties)
{
    memset(properties, 0, sizeof *properties);
    if (device != 0) {
        return ERROR_DEVICE;
    }
    snprintf(properties->name, sizeof properties->name, "simulated on the processor");
    properties->capability = 90;
    properties->multiprocessors = 4;
    properties->host = true;
    return 0;
}

int m2s_cuda_enter(int device, int *previous)
{
    *previous = 0;
    return device != 0 ? ERROR_DEVICE : fails() ? ERROR_LAUNCH : 0;
}

void m2s_cuda_leave(int previous)
{
    (void)previous;
}

/* ---- memory ---- */

int m2s_cuda_malloc(void **data, size_t bytes)
{
    *data = fails() || bytes > SIZE_MAX / 2 ? NULL : hold(aligned_alloc(256, (bytes + 255) / 256 * 256));
    if (*data == NULL) {
        return M2S_CUDA_ERROR_MEMORY;
    }
    memset(*data, 0xff, bytes); /* NaNs: a device does not clear memory either */
    return 0;
}

void m2s_cuda_free(void *data)
{
    give_back(data);
}

int m2s_cuda_malloc_host(void **data, size_t bytes)
{
    return m2s_cuda_malloc(data, bytes);
}

void m2s_cuda_free_host(void *data)
{
    give_back(data);
}

/* ---- streams ---- */

static void run_item(const item *i, char *shared)
{
    if (i->run != NULL) {
        i->run(i->body, i->grid, i->threads, shared, i->shared_bytes);
    } else if (i->src != NULL) {
        memmove(i->dst, i->src, i->bytes);
    } else {
        memset(i->dst, i->byte, i->bytes);
    }
}

/* Runs what is given, or keeps a copy of it while the stream is captured. */
static int submit(void *on, const item *what, const void *body, size_t body_bytes)
{
    stream *s = on;
    item *kept = NULL;

    if (fails()) {
        return ERROR_LAUNCH;
    }
    kept = malloc(sizeof *kept + body_bytes);
    if (kept == NULL) {
        return M2S_CUDA_ERROR_MEMORY;
    }
    *kept = *what;
    if (body_bytes != 0) {
        memcpy(kept->body, body, body_bytes);
    }
    if (s->capture != NULL) {
        *s->capture->last = kept;
        s->capture->last = &kept->next;
        return 0;
    }
    char *shared = what->shared_bytes != 0 ? aligned_alloc(64, (what->shared_bytes + 63) / 64 * 64) : NULL;
    int error = what->shared_bytes != 0 && shared == NULL ? M2S_CUDA_ERROR_MEMORY : 0;
    if (error == 0) {
        run_item(kept, shared);
    }
    free(shared);
    free(kept);
    return error;
}

int m2s_cuda_host_launch(void *on, m2s_cuda_host_body run, const void *body, size_t body_bytes, m2s_cuda_grid grid,
                         int threads, size_t shared_bytes)
{
    const item launch = { .run = run, .grid = grid, .threads = threads, .shared_bytes = shared_bytes };

    return submit(on, &launch, body, body_bytes);
}

int m2s_cuda_stream_create(void **created)
{
    *created = fails() ? NULL : hold(calloc(1, sizeof(stream)));
    return *created != NULL ? 0 : M2S_CUDA_ERROR_MEMORY;
}

void m2s_cuda_stream_destroy(void *on)
{
    give_back(on);
}

int m2s_cuda_copy(void *on, void *dst, const void *src, size_t bytes)
{
    const item copy = { .dst = dst, .src = src, .bytes = bytes };

    return bytes != 0 ? submit(on, &copy, NULL, 0) : 0;
}

int m2s_cuda_copy_in(void *on, void *device, const void *host, size_t bytes)
{
    return m2s_cuda_copy(on, device, host, bytes);
}

int m2s_cuda_copy_out(void *on, void *host, const void *device, size_t bytes)
{
    return m2s_cuda_copy(on, host, device, bytes);
}

int m2s_cuda_fill(void *on, void *dst, int byte, size_t bytes)
{
    const item fill = { .dst = dst, .byte = byte, .bytes = bytes };

    return bytes != 0 ? submit(on, &fill, NULL, 0) : 0;
}

int m2s_cuda_synchronize(void *on)
{
    const stream *s = on;

    return s->capture != NULL ? ERROR_CAPTURE : fails() ? ERROR_LAUNCH : 0;
}

/* ---- graphs ---- */

int m2s_cuda_capture_begin(void *on)
{
    stream *s = on;
    list *kept = fails() || s->capture != NULL ? NULL : hold(calloc(1, sizeof *kept));

    if (kept == NULL) {
        return ERROR_CAPTURE;
    }
    kept->last = &kept->first;
    s->capture = kept;
    return 0;
}

int m2s_cuda_capture_end(void *on, void **graph)
{
    stream *s = on;

    *graph = s->capture;
    s->capture = NULL;
    if (*graph != NULL && fails()) {
        m2s_cuda_graph_destroy(*graph);
        *graph = NULL;
    }
    return *graph != NULL ? 0 : ERROR_CAPTURE;
}

int m2s_cuda_graph_launch(void *on, void *graph)
{
    const stream *s = on;
    const list *kept = graph;

    if (s->capture != NULL || fails()) {
        return ERROR_LAUNCH;
    }
    char *shared = aligned_alloc(64, M2S_CUDA_MAX_SHARED);
    if (shared == NULL) {
        return M2S_CUDA_ERROR_MEMORY;
    }
    for (const item *i = kept->first; i != NULL; i = i->next) {
        run_item(i, shared);
    }
    free(shared);
    return 0;
}

void m2s_cuda_graph_destroy(void *graph)
{
    list *kept = graph;

    if (kept == NULL) {
        return;
    }
    for (item *i = kept->first, *next; i != NULL; i = next) {
        next = i->next;
        free(i);
    }
    give_back(kept);
}

/* ---- timing ---- */

int m2s_cuda_event_create(void **event)
{
    *event = fails() ? NULL : hold(calloc(1, sizeof(uint64_t)));
    return *event != NULL ? 0 : M2S_CUDA_ERROR_MEMORY;
}

void m2s_cuda_event_destroy(void *event)
{
    give_back(event);
}

int m2s_cuda_event_record(void *event, void *on)
{
    (void)on;
    *(uint64_t *)event = m2s_now_ns();
    return fails() ? ERROR_LAUNCH : 0;
}

int m2s_cuda_event_milliseconds(void *begin, void *end, float *milliseconds)
{
    *milliseconds = (float)(*(const uint64_t *)end - *(const uint64_t *)begin) * 1e-6f;
    return fails() ? ERROR_LAUNCH : 0;
}

/* ---- errors ---- */

const char *m2s_cuda_error_name(int error, char buffer[128])
{
    const char *name = error == M2S_CUDA_ERROR_MEMORY          ? "out of memory"
                       : error == M2S_CUDA_ERROR_CONFIGURATION ? "invalid configuration of a launch"
                       : error == ERROR_LAUNCH                 ? "a launch failed"
                       : error == ERROR_CAPTURE                ? "a capture failed"
                       : error == ERROR_DEVICE                 ? "no such device"
                                                               : "no driver";

    snprintf(buffer, 128, "%s", name);
    return buffer;
}

bool m2s_cuda_error_is_sticky(int error)
{
    (void)error;
    return false;
}
