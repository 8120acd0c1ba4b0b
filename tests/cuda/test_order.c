/* SPDX-License-Identifier: Apache-2.0
 * The order of steps from the memory that they touch: random lists, against all pairs; and captured with no more than
 * the edges that it says, in the place of one after the other; and the branches of one
 * step. */
#include <stdlib.h>
#include <string.h>

#include "backends/cuda/fork.h"
#include "backends/cuda/order.h"
#include "backends/cuda/runtime.h"
#include "common/check.h"

#define MOST_STEPS 90
#define CELLS      48 /* of memory */
#define LISTS      60

/* A step copies some cells to others, which do not overlap. */
typedef struct copy {
    int src, dst, count;
} copy;

typedef struct list {
    int steps;
    copy step[MOST_STEPS];
    m2s_touch touch[2 * MOST_STEPS];
    int32_t end[MOST_STEPS];
    m2s_touches touches;
} list;

typedef struct matrix {
    bool at[MOST_STEPS][MOST_STEPS]; /* [step][earlier] */
} matrix;

static int draw(unsigned long long *random, int below)
{
    return (int)((check_random(random) * 0.5 + 0.5) * below) % below;
}

static void draw_list(list *l, unsigned long long seed)
{
    int32_t count = 0;

    l->steps = 1 + draw(&seed, MOST_STEPS);
    for (int s = 0; s < l->steps; s++) {
        copy *c = &l->step[s];
        do {
            c->count = 1 + draw(&seed, 4);
            c->src = draw(&seed, CELLS - c->count);
            c->dst = draw(&seed, CELLS - c->count);
        } while (abs(c->src - c->dst) < c->count);
        l->touch[count++] = (m2s_touch){ (uintptr_t)c->src, (uintptr_t)(c->src + c->count), false };
        l->touch[count++] = (m2s_touch){ (uintptr_t)c->dst, (uintptr_t)(c->dst + c->count), true };
        l->end[s] = count;
    }
    l->touches = (m2s_touches){ l->touch, l->end };
}

static bool overlap(int a, int a_count, int b, int b_count)
{
    return a < b + b_count && b < a + a_count;
}

/* Whether they read and write, or both write, a cell. */
static bool are_bound(const copy *a, const copy *b)
{
    return overlap(a->dst, a->count, b->dst, b->count) || overlap(a->dst, a->count, b->src, b->count) ||
           overlap(a->src, a->count, b->dst, b->count);
}

/* Adds what follows from what is there: the rows above are whole already. */
static void close_matrix(matrix *m, int steps)
{
    for (int s = 0; s < steps; s++) {
        for (int t = 0; t < s; t++) {
            for (int u = 0; u < t && m->at[s][t]; u++) {
                m->at[s][u] = m->at[s][u] || m->at[t][u];
            }
        }
    }
}

static void edges_of(const m2s_order *order, matrix *m)
{
    memset(m, 0, sizeof *m);
    for (int s = 0; s < order->steps; s++) {
        for (int t = 0; t < s; t++) {
            m->at[s][t] = m2s_order_bit(order, order->edge, s, t);
        }
    }
}

/* Every pair that is bound is ordered, nothing else is, and no edge can be left out. */
static void check_list(const list *l, const m2s_order *order)
{
    static matrix wanted, edges, found;
    int wrong = 0, more = 0, needless = 0;

    memset(&wanted, 0, sizeof wanted);
    for (int s = 0; s < l->steps; s++) {
        for (int t = 0; t < s; t++) {
            wanted.at[s][t] = are_bound(&l->step[s], &l->step[t]);
        }
    }
    close_matrix(&wanted, l->steps);
    edges_of(order, &edges);
    found = edges;
    close_matrix(&found, l->steps);
    for (int s = 0; s < l->steps; s++) {
        for (int t = 0; t < s; t++) {
            wrong += found.at[s][t] != wanted.at[s][t];
            more += m2s_order_bit(order, order->before, s, t) != wanted.at[s][t];
            if (edges.at[s][t]) {
                found = edges;
                found.at[s][t] = false;
                close_matrix(&found, l->steps);
                needless += found.at[s][t] || !are_bound(&l->step[s], &l->step[t]);
                found = wanted;
            }
        }
    }
    CHECK(wrong == 0, "%d pairs by edges", wrong);
    CHECK(more == 0, "%d pairs in `before`", more);
    CHECK(needless == 0, "%d edges", needless);
}

/* ---- captured ---- */

typedef struct world {
    m2s_memory memory;
    int *device, *host;
    void *stream;
    bool adversary; /* the stand-in, which takes the order that differs most */
} world;

static int start_cells(const world *w)
{
    for (int i = 0; i < CELLS; i++) {
        w->host[i] = 1000 + i;
    }
    int error = m2s_cuda_copy_in(w->stream, w->device, w->host, CELLS * sizeof(int));
    return error != 0 ? error : m2s_cuda_synchronize(w->stream);
}

static int capture_copies(const world *w, const list *l, const m2s_order *order, int without, int *launches)
{
    static m2s_cuda_front front[MOST_STEPS];
    int error = 0, edges = 0;

    for (int s = 0; s < l->steps && error == 0; s++) {
        void *nodes[MOST_STEPS];
        int count = 0;
        for (int t = 0; t < s; t++) {
            if (m2s_order_bit(order, order->edge, s, t) && edges++ != without) {
                nodes[count++] = front[t].node[0];
            }
        }
        error = m2s_cuda_capture_after(w->stream, nodes, count);
        error = error != 0 ? error
                           : m2s_cuda_copy(w->stream, w->device + l->step[s].dst, w->device + l->step[s].src,
                                           (size_t)l->step[s].count * sizeof(int));
        error = error != 0 ? error : m2s_cuda_capture_front(w->stream, &front[s]);
        *launches = front[s].launches;
        CHECK(error != 0 || (front[s].nodes == 1 && front[s].launches == s + 1), "%d nodes, %d launches after step %d",
              front[s].nodes, front[s].launches, s);
    }
    return error;
}

/* Twice, as a plan is. Edge number `without` is left out. */
static int run_list(const world *w, const list *l, const m2s_order *order, int without)
{
    void *graph = NULL;
    int launches = 0, error = m2s_cuda_capture_begin(w->stream);

    error = error != 0 ? error : capture_copies(w, l, order, without, &launches);
    int ended = m2s_cuda_capture_end(w->stream, &graph);
    error = error != 0 ? error : ended;
    for (int i = 0; i < 2 && error == 0; i++) {
        error = start_cells(w);
        error = error != 0 ? error : m2s_cuda_graph_launch(w->stream, graph);
        error = error != 0 ? error : m2s_cuda_copy_out(w->stream, w->host, w->device, CELLS * sizeof(int));
        error = error != 0 ? error : m2s_cuda_synchronize(w->stream);
    }
    m2s_cuda_graph_destroy(graph);
    return error;
}

/* What one after the other makes of it. */
static void simulate(const list *l, int cells[CELLS])
{
    for (int i = 0; i < CELLS; i++) {
        cells[i] = 1000 + i;
    }
    for (int s = 0; s < l->steps; s++) {
        memcpy(cells + l->step[s].dst, cells + l->step[s].src, (size_t)l->step[s].count * sizeof(int));
    }
}

/* noticed: how many edges change the result when they are left out. */
static void check_run(const world *w, const list *l, const m2s_order *order, int *edges, int *noticed)
{
    int wanted[CELLS], count = 0;

    simulate(l, wanted);
    int error = run_list(w, l, order, -1);
    CHECK(error == 0, "the runtime failed: %d", error);
    CHECK_BYTES(w->host, wanted, sizeof wanted, "cells");
    for (int s = 0; s < l->steps; s++) {
        for (int t = 0; t < s; t++) {
            count += m2s_order_bit(order, order->edge, s, t);
        }
    }
    for (int e = 0; e < count && w->adversary; e++) {
        error = run_list(w, l, order, e);
        CHECK(error == 0, "the runtime failed: %d", error);
        *noticed += memcmp(w->host, wanted, sizeof wanted) != 0;
    }
    *edges += count;
}

/* ---- branches of one step ---- */

static int copy_cells(const world *w, int dst, int src, int count)
{
    return m2s_cuda_copy(w->stream, w->device + dst, w->device + src, (size_t)count * sizeof(int));
}

/* 0 to 1; from there to 2, by 3 to 4, and to 5; then all of them to 10. Captured or not. */
static int launch_branches(const world *w, const m2s_cuda_call *call)
{
    m2s_fork fork;
    int error = copy_cells(w, 1, 0, 1);

    error = error != 0 ? error : m2s_cuda_fork(call, &fork);
    error = error != 0 ? error : copy_cells(w, 2, 1, 1);
    error = error != 0 ? error : m2s_cuda_fork_next(call, &fork);
    error = error != 0 ? error : copy_cells(w, 3, 1, 1);
    error = error != 0 ? error : copy_cells(w, 4, 3, 1);
    error = error != 0 ? error : m2s_cuda_fork_next(call, &fork);
    error = error != 0 ? error : copy_cells(w, 5, 1, 1);
    error = error != 0 ? error : m2s_cuda_fork_join(call, &fork);
    return error != 0 ? error : copy_cells(w, 10, 1, 5);
}

static void check_fork(const world *w, bool captured)
{
    int beside = 0;
    const m2s_cuda_call call = { .stream = w->stream, .beside = captured ? &beside : NULL };
    m2s_cuda_front front = { .nodes = 0 };
    void *graph = NULL;
    int error = start_cells(w);

    error = error != 0 || !captured ? error : m2s_cuda_capture_begin(w->stream);
    error = error != 0 ? error : launch_branches(w, &call);
    error = error != 0 || !captured ? error : m2s_cuda_capture_front(w->stream, &front);
    if (captured) {
        int ended = m2s_cuda_capture_end(w->stream, &graph);
        error = error != 0 ? error : ended;
        error = error != 0 ? error : m2s_cuda_graph_launch(w->stream, graph);
    }
    error = error != 0 ? error : m2s_cuda_copy_out(w->stream, w->host, w->device, CELLS * sizeof(int));
    error = error != 0 ? error : m2s_cuda_synchronize(w->stream);
    m2s_cuda_graph_destroy(graph);
    CHECK(error == 0, "the runtime failed: %d", error);
    for (int i = 0; i < 15; i++) {
        int wanted = i < 6 || i >= 10 ? 1000 : 1000 + i;
        CHECK(w->host[i] == wanted, "cell %d is %d", i, w->host[i]);
    }
    CHECK(front.launches == (captured ? 6 : 0) && beside == (captured ? 2 : 0), "%d launches, %d beside others",
          front.launches, beside);
}

/* Nothing is captured: a branch has no end. More branches than there is room for. */
static void check_fork_limits(const world *w)
{
    int beside = 0, error = 0;
    const m2s_cuda_call call = { .stream = w->stream, .beside = &beside };
    m2s_fork fork;
    void *graph = NULL;

    CHECK(m2s_cuda_fork(&call, &fork) != 0, "no capture");
    error = m2s_cuda_capture_begin(w->stream);
    error = error != 0 ? error : m2s_cuda_fork(&call, &fork);
    CHECK(error == 0, "the runtime failed: %d", error);
    for (int i = 0; i <= M2S_FORK_MOST; i++) {
        error = copy_cells(w, 1 + i, 0, 1);
        CHECK(error == 0, "the runtime failed: %d", error);
        error = m2s_cuda_fork_next(&call, &fork);
        CHECK((error != 0) == (i == M2S_FORK_MOST), "branch %d: %d", i, error);
    }
    (void)m2s_cuda_capture_end(w->stream, &graph);
    m2s_cuda_graph_destroy(graph);
}

static bool open_world(world *w)
{
    m2s_cuda_properties properties = { .host = false };

    m2s_memory_init(&w->memory, NULL, 0);
    int error = m2s_cuda_properties_of(0, &properties);
    error |= m2s_cuda_malloc((void **)&w->device, CELLS * sizeof(int));
    error |= m2s_cuda_malloc_host((void **)&w->host, CELLS * sizeof(int));
    error |= m2s_cuda_stream_create(&w->stream);
    w->adversary = properties.host;
    return CHECK(error == 0, "the runtime failed: %d", error);
}

static void check_limit(const list *l)
{
    m2s_memory small;
    m2s_order order;
    m2snet_error error;

    m2s_memory_init(&small, NULL, 200);
    CHECK(m2s_cuda_order_make(&small, &l->touches, l->steps, &order, &error) == M2SNET_STATUS_OUT_OF_MEMORY,
          "200 bytes for %d steps", l->steps);
    m2s_cuda_order_free(&small, &order);
    CHECK(small.used_bytes == 0, "a leak");
}

int main(int argc, char **argv)
{
    static list l;
    world w = { 0 };
    int edges = 0, noticed = 0;

    check_start(argc, argv);
    check_case("room");
    if (!open_world(&w)) {
        return check_finish();
    }
    for (unsigned long long i = 0; i < LISTS; i++) {
        m2s_order order;
        m2snet_error error;
        if (!check_case("list %llu", i)) {
            continue;
        }
        draw_list(&l, i + 1);
        if (CHECK(m2s_cuda_order_make(&w.memory, &l.touches, l.steps, &order, &error) == M2SNET_STATUS_OK, "status")) {
            check_list(&l, &order);
            check_run(&w, &l, &order, &edges, &noticed);
        }
        m2s_cuda_order_free(&w.memory, &order);
    }
    for (int captured = 0; captured < 2; captured++) {
        if (check_case("branches%s", captured != 0 ? ", captured" : "")) {
            check_fork(&w, captured != 0);
        }
    }
    if (check_case("too many branches")) {
        check_fork_limits(&w);
    }
    if (check_case("no memory")) {
        check_limit(&l);
    }
    /* Many cells are written once more later, and many pairs stay as they were: what is left still shows. */
    if (w.adversary && edges > 0 && check_case("edges that are left out")) {
        CHECK(noticed * 10 > edges * 3, "%d of %d change the result", noticed, edges);
    }
    m2s_cuda_stream_destroy(w.stream);
    m2s_cuda_free(w.device);
    m2s_cuda_free_host(w.host);
    return check_finish();
}
