/* SPDX-License-Identifier: Apache-2.0
 * The stand-in for the CUDA runtime: one device made of host memory. Kernels run at once, in the calling thread; a
 * captured graph is launches and copies, each with those that it comes after, and is run through at each launch of it:
 * in an order that its edges allow and that is as far as can be from that of the capture, so that a missing edge shows.
 * Streams that a test makes
 * (m2s_cuda_host_stream) are late: they keep what they are given until somebody waits for it.
 *
 * With M2SNET_CUDA_FAIL_AT=N in the environment the N-th call that can fail does, as an allocation that finds no memory
 * or as a launch that fails; with N negative, that call and all after it. With M2SNET_CUDA_LOSE_AT=N the device is lost
 * at the N-th call: that and all after it say so. */
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
#define ERROR_LOST    700
#define ERROR_DEVICE  101
#define ERROR_CAPTURE 900

typedef struct list list;
typedef struct stream stream;

typedef struct item {
    struct item *next;
    struct item **after; /* of a graph: what must be done first */
    int after_count;
    bool done;         /* while a graph is put in order */
    const list *graph; /* a launch of it, or */
    stream *awaited;   /* a wait until it has done so many items, or */
    long place;
    m2s_cuda_host_body run; /* a launch; NULL: a copy, or with no src a fill */
    m2s_cuda_grid grid;
    int threads;
    size_t shared_bytes, bytes;
    void *dst;
    const void *src;
    int byte;
    _Alignas(16) unsigned char body[];
} item;

struct list {
    item *first, **last;
    int count;
    item **front; /* of a graph that is being captured: what its next item comes after */
    int front_count;
};

struct stream {
    list *capture; /* what is being captured, or NULL */
    bool late;
    list waiting;         /* late: what has been submitted and not done */
    long submitted, done; /* late: items so far */
    atomic_int users;     /* its owner, events that were recorded on it, and waits for those */
};

typedef struct event {
    uint64_t nanoseconds;
    stream *on; /* late; NULL: it has happened */
    long place; /* items in front of it */
} event;

/* ---- failing on demand ---- */

static atomic_long calls;

static long number_in(const char *name)
{
    const char *text = secure_getenv(name);

    return text != NULL ? strtol(text, NULL, 10) : 0;
}

/* Counts a call. 0, or what goes wrong: `usual`, or that the device is lost. */
static int failure(int usual)
{
    long at = number_in("M2SNET_CUDA_FAIL_AT"), lost = number_in("M2SNET_CUDA_LOSE_AT");
    long call = atomic_fetch_add(&calls, 1) + 1;

    return lost > 0 && call >= lost ? ERROR_LOST : (at > 0 && call == at) || (at < 0 && call >= -at) ? usual : 0;
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
    return device != 0 ? ERROR_DEVICE : failure(ERROR_LAUNCH);
}

void m2s_cuda_leave(int previous)
{
    (void)previous;
}

/* ---- memory ---- */

int m2s_cuda_malloc(void **data, size_t bytes)
{
    int error = failure(M2S_CUDA_ERROR_MEMORY);

    *data = error != 0 || bytes > SIZE_MAX / 2 ? NULL : hold(aligned_alloc(256, (bytes + 255) / 256 * 256));
    if (*data == NULL) {
        return error != 0 ? error : M2S_CUDA_ERROR_MEMORY;
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

static stream *stream_of(void *on)
{
    static stream unnamed; /* the default one: never late, never captured */

    return on != NULL ? on : &unnamed;
}

static void release(stream *s)
{
    if (s != NULL && atomic_fetch_sub(&s->users, 1) == 1) {
        give_back(s);
    }
}

static void advance(stream *s, long to);

static int run_item(const item *i)
{
    if (i->graph != NULL) {
        int error = 0;
        for (const item *each = i->graph->first; each != NULL && error == 0; each = each->next) {
            error = run_item(each);
        }
        return error;
    }
    if (i->awaited != NULL) {
        advance(i->awaited, i->place);
        release(i->awaited);
    } else if (i->run != NULL) {
        char *shared = i->shared_bytes != 0 ? aligned_alloc(64, (i->shared_bytes + 63) / 64 * 64) : NULL;
        if (i->shared_bytes != 0 && shared == NULL) {
            return M2S_CUDA_ERROR_MEMORY;
        }
        i->run(i->body, i->grid, i->threads, shared, i->shared_bytes);
        free(shared);
    } else if (i->src != NULL) {
        memmove(i->dst, i->src, i->bytes);
    } else {
        memset(i->dst, i->byte, i->bytes);
    }
    return 0;
}

/* Does what a late stream has been given, up to so many items since it began. */
static void advance(stream *s, long to)
{
    while (s->done < to && s->waiting.first != NULL) {
        item *i = s->waiting.first;
        s->waiting.first = i->next;
        s->waiting.last = i->next == NULL ? &s->waiting.first : s->waiting.last;
        s->done++;
        (void)run_item(i);
        free(i);
    }
}

/* What comes next comes after these. False: no memory. */
static bool set_front(list *capture, void *const *nodes, int count)
{
    item **front = malloc(((size_t)count + 1) * sizeof *front);

    if (front == NULL) {
        return false;
    }
    for (int i = 0; i < count; i++) {
        front[i] = nodes[i];
    }
    free(capture->front);
    capture->front = front;
    capture->front_count = count;
    return true;
}

/* The item comes after the front, and is the front then. */
static bool take_front(list *capture, item *added)
{
    void *node = added;

    added->after = capture->front;
    added->after_count = capture->front_count;
    capture->front = NULL;
    if (!set_front(capture, &node, 1)) {
        capture->front = added->after;
        return false;
    }
    return true;
}

/* Runs what is given; keeps a copy of it while the stream is captured, or late. */
static int submit(void *on, const item *what, const void *body, size_t body_bytes)
{
    stream *s = stream_of(on);
    int error = failure(ERROR_LAUNCH);

    if (error != 0) {
        return error;
    }
    item *kept = malloc(sizeof *kept + body_bytes);
    if (kept == NULL) {
        return M2S_CUDA_ERROR_MEMORY;
    }
    *kept = *what;
    if (body_bytes != 0) {
        memcpy(kept->body, body, body_bytes);
    }
    if (s->capture != NULL && !take_front(s->capture, kept)) {
        free(kept);
        return M2S_CUDA_ERROR_MEMORY;
    }
    if (s->capture != NULL || s->late) {
        list *to = s->capture != NULL ? s->capture : &s->waiting;
        *to->last = kept;
        to->last = &kept->next;
        to->count++;
        s->submitted += s->capture == NULL;
        return 0;
    }
    error = run_item(kept);
    free(kept);
    return error;
}

int m2s_cuda_host_launch(void *on, m2s_cuda_host_body run, const void *body, size_t body_bytes, m2s_cuda_grid grid,
                         int threads, size_t shared_bytes)
{
    const item launch = { .run = run, .grid = grid, .threads = threads, .shared_bytes = shared_bytes };

    return submit(on, &launch, body, body_bytes);
}

static stream *make_stream(bool late)
{
    stream *made = hold(calloc(1, sizeof *made));

    if (made != NULL) {
        made->late = late;
        made->waiting.last = &made->waiting.first;
        atomic_init(&made->users, 1);
    }
    return made;
}

void *m2s_cuda_host_stream(void);
/* For tests: a late stream, that m2s_cuda_host_stream_end ends. NULL: no memory. */
__attribute__((visibility("default"))) void *m2s_cuda_host_stream(void)
{
    return make_stream(true);
}

void m2s_cuda_host_stream_finish(void *on);
/* For tests: waits for it. */
__attribute__((visibility("default"))) void m2s_cuda_host_stream_finish(void *on)
{
    stream *s = on;

    advance(s, s->submitted);
}

void m2s_cuda_host_stream_end(void *on);
__attribute__((visibility("default"))) void m2s_cuda_host_stream_end(void *on)
{
    m2s_cuda_host_stream_finish(on);
    release(on);
}

int m2s_cuda_host_stream_capture(void *on, bool begin);
/* For tests: what a caller does who makes a graph of his own. */
__attribute__((visibility("default"))) int m2s_cuda_host_stream_capture(void *on, bool begin)
{
    void *graph = NULL;
    int error = begin ? m2s_cuda_capture_begin(on) : m2s_cuda_capture_end(on, &graph);

    m2s_cuda_graph_destroy(graph);
    return error;
}

int m2s_cuda_stream_create(void **created)
{
    int error = failure(M2S_CUDA_ERROR_MEMORY);

    *created = error == 0 ? make_stream(false) : NULL;
    return *created != NULL ? 0 : error != 0 ? error : M2S_CUDA_ERROR_MEMORY;
}

void m2s_cuda_stream_destroy(void *on)
{
    release(on);
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
    stream *s = stream_of(on);

    if (s->capture != NULL) {
        return ERROR_CAPTURE;
    }
    advance(s, s->submitted);
    return failure(ERROR_LAUNCH);
}

int m2s_cuda_is_captured(void *on, bool *captured)
{
    *captured = stream_of(on)->capture != NULL;
    return failure(ERROR_LAUNCH);
}

/* ---- graphs ---- */

int m2s_cuda_capture_begin(void *on)
{
    stream *s = on;
    int error = failure(ERROR_CAPTURE);
    list *kept = error != 0 || s->capture != NULL ? NULL : hold(calloc(1, sizeof *kept));

    if (kept == NULL) {
        return error != 0 ? error : ERROR_CAPTURE;
    }
    kept->last = &kept->first;
    s->capture = kept;
    return 0;
}

static bool may_run(const item *i)
{
    bool ready = !i->done;

    for (int k = 0; k < i->after_count && ready; k++) {
        ready = i->after[k]->done;
    }
    return ready;
}

/* The latest item that may run goes first. False: no memory. */
static bool put_in_order(list *graph)
{
    int count = graph->count, taken = 0;
    item **items = malloc(((size_t)count + 1) * sizeof *items);

    if (items == NULL) {
        return false;
    }
    for (item *i = graph->first; i != NULL; i = i->next) {
        items[taken++] = i;
    }
    graph->first = NULL;
    graph->last = &graph->first;
    for (taken = 0; taken < count; taken++) {
        int k = count - 1;
        while (!may_run(items[k])) {
            k--;
        }
        items[k]->done = true;
        items[k]->next = NULL;
        *graph->last = items[k];
        graph->last = &items[k]->next;
    }
    free(items);
    return true;
}

int m2s_cuda_capture_front(void *on, m2s_cuda_front *front)
{
    const list *capture = stream_of(on)->capture;

    front->nodes = front->launches = 0;
    if (capture == NULL || capture->front_count > M2S_CUDA_MOST_FRONT) {
        return ERROR_CAPTURE;
    }
    for (int i = 0; i < capture->front_count; i++) {
        front->node[i] = capture->front[i];
    }
    front->nodes = capture->front_count;
    front->launches = capture->count;
    return 0;
}

int m2s_cuda_capture_after(void *on, void *const *nodes, int count)
{
    list *capture = stream_of(on)->capture;
    int error = capture != NULL ? failure(ERROR_CAPTURE) : ERROR_CAPTURE;

    return error != 0 ? error : set_front(capture, nodes, count) ? 0 : M2S_CUDA_ERROR_MEMORY;
}

int m2s_cuda_capture_end(void *on, void **graph)
{
    stream *s = on;

    *graph = s->capture;
    s->capture = NULL;
    int error = *graph != NULL ? failure(ERROR_CAPTURE) : ERROR_CAPTURE;
    if (error == 0 && !put_in_order(*graph)) {
        error = M2S_CUDA_ERROR_MEMORY;
    }
    if (error != 0) {
        m2s_cuda_graph_destroy(*graph);
        *graph = NULL;
    }
    return error;
}

int m2s_cuda_graph_launch(void *on, void *graph)
{
    const item launch = { .graph = graph };

    return stream_of(on)->capture != NULL ? ERROR_LAUNCH : submit(on, &launch, NULL, 0);
}

void m2s_cuda_graph_destroy(void *graph)
{
    list *kept = graph;

    if (kept == NULL) {
        return;
    }
    for (item *i = kept->first, *next; i != NULL; i = next) {
        next = i->next;
        free(i->after);
        free(i);
    }
    free(kept->front);
    give_back(kept);
}

/* ---- events ---- */

int m2s_cuda_event_create(void **created)
{
    int error = failure(M2S_CUDA_ERROR_MEMORY);

    *created = error == 0 ? hold(calloc(1, sizeof(event))) : NULL;
    return *created != NULL ? 0 : error != 0 ? error : M2S_CUDA_ERROR_MEMORY;
}

void m2s_cuda_event_destroy(void *destroyed)
{
    event *e = destroyed;

    if (e != NULL) {
        release(e->on);
        give_back(e);
    }
}

int m2s_cuda_event_record(void *recorded, void *on)
{
    event *e = recorded;
    stream *s = stream_of(on);
    int error = failure(ERROR_LAUNCH);

    if (error == 0) {
        release(e->on);
        *e = (event){ .nanoseconds = m2s_now_ns(), .on = s->late ? s : NULL, .place = s->submitted };
        atomic_fetch_add(&s->users, s->late);
    }
    return error;
}

int m2s_cuda_event_synchronize(void *awaited)
{
    event *e = awaited;
    stream *on = e->on;

    if (on != NULL) {
        advance(on, e->place);
        e->on = NULL;
        release(on);
    }
    return failure(ERROR_LAUNCH);
}

int m2s_cuda_event_wait(void *on, void *awaited)
{
    const event *e = awaited;
    const item wait = { .awaited = e->on, .place = e->place };

    if (e->on == NULL || e->on == on) { /* happened, or in front of what comes */
        return failure(ERROR_LAUNCH);
    }
    atomic_fetch_add(&e->on->users, 1);
    int error = submit(on, &wait, NULL, 0);
    if (error != 0) {
        release(e->on);
    }
    return error;
}

int m2s_cuda_event_milliseconds(void *begin, void *end, float *milliseconds)
{
    const event *from = begin, *to = end;

    *milliseconds = (float)(to->nanoseconds - from->nanoseconds) * 1e-6f;
    return failure(ERROR_LAUNCH);
}

/* ---- errors ---- */

const char *m2s_cuda_error_name(int error, char buffer[128])
{
    const char *name = error == M2S_CUDA_ERROR_MEMORY          ? "out of memory"
                       : error == M2S_CUDA_ERROR_CONFIGURATION ? "invalid configuration of a launch"
                       : error == ERROR_LAUNCH                 ? "a launch failed"
                       : error == ERROR_CAPTURE                ? "a capture failed"
                       : error == ERROR_DEVICE                 ? "no such device"
                       : error == ERROR_LOST                   ? "the device is gone"
                                                               : "no driver";

    snprintf(buffer, 128, "%s", name);
    return buffer;
}

bool m2s_cuda_error_is_sticky(int error)
{
    return error == ERROR_LOST;
}
