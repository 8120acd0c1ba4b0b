/* SPDX-License-Identifier: Apache-2.0
 * State of a graph on every backend: chains of replacements, numbers that live from run to run, refusals, and a cancel,
 * which takes a step as a whole or not at all. */
#include <math.h>
#include <sched.h>
#include <time.h>

#include "ops/harness.h"
#include "ops/module.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define CHAIN    20
#define CHANNELS 17
#define WIDE     (1 << 18) /* numbers of the state that a cancel meets in the middle of its updates */
#define UPDATES  24
#define DELAYS   30   /* of a cancel, in steps of 0.1 ms */
#define ATTEMPTS 3000 /* at most: a busy machine may be late with every one of the first DELAYS */

/* ---- a plan with buffers that outlive its runs ---- */

typedef struct machine {
    m2s_host host; /* the device keeps pointing at it */
    const m2s_backend *backend;
    m2s_device *device;
    m2s_plan *plan;
    m2s_buffer *arena, *buffers[HARNESS_VALUES];
    m2s_binding bindings[HARNESS_VALUES];
    int32_t binding_count;
    harness_packs packs;
} machine;

static m2snet_status machine_make(machine *m, harness *h, const m2s_backend *backend, const m2s_graph *graph,
                                  m2snet_error *error)
{
    m2s_param_view params[HARNESS_VALUES] = { { .data = NULL } };
    m2s_plan_info info;
    m2snet_status status;

    *m = (machine){
        .host = { &h->memory, &h->log, h->pools[1], m2s_isa_detect() },
        .backend = backend,
        .packs = { { harness_pack_acquire, harness_pack_release }, &h->memory, NULL, 0, PTHREAD_MUTEX_INITIALIZER }
    };
    M2S_TRY(backend->open(&m->host, 0, &m->device, error));
    M2S_TRY(backend->plan_compile(
        m->device, &(m2s_plan_request){ .graph = graph, .params = params, .packs = &m->packs.cache }, &m->plan, error));
    backend->plan_info(m->plan, &info);
    M2S_TRY(backend->buffer_alloc(m->device, info.arena_bytes, &m->arena, error));
    for (m2s_value v = 0; v < graph->value_count; v++) {
        if (m2s_value_is_bound(&graph->values[v])) {
            M2S_TRY(backend->buffer_alloc(m->device, harness_bytes(graph, v), &m->buffers[v], error));
            m->bindings[m->binding_count++] = (m2s_binding){ v, m->buffers[v], 0 };
        }
    }
fail:
    return status;
}

static void machine_free(machine *m)
{
    if (m->device == NULL) {
        return;
    }
    for (int v = 0; v < HARNESS_VALUES; v++) {
        m->backend->buffer_free(m->device, m->buffers[v]);
    }
    m->backend->buffer_free(m->device, m->arena);
    m->backend->plan_free(m->device, m->plan);
    m->backend->close(m->device);
}

static void machine_write(machine *m, m2s_value value, const float *numbers, size_t count)
{
    m2snet_error error;

    CHECK(m->backend->buffer_write(m->device, m->buffers[value], 0, numbers, count * sizeof *numbers, &error) ==
              M2SNET_STATUS_OK,
          "%s", error.message);
}

static void machine_read(machine *m, m2s_value value, float *numbers, size_t count)
{
    m2snet_error error;

    CHECK(m->backend->buffer_read(m->device, m->buffers[value], 0, numbers, count * sizeof *numbers, &error) ==
              M2SNET_STATUS_OK,
          "%s", error.message);
}

static m2snet_status machine_run(machine *m, m2s_control *control, m2snet_error *error)
{
    return m->backend->plan_run(
        m->device, m->plan,
        &(m2s_run_request){
            .arena = m->arena, .bindings = m->bindings, .binding_count = m->binding_count, .control = control },
        error);
}

static m2s_graph *new_graph(harness *h)
{
    m2s_graph *graph = NULL;
    m2snet_error error;

    CHECK(m2s_graph_create(&h->memory, M2SNET_DTYPE_F32, &graph, &error) == M2SNET_STATUS_OK, "%s", error.message);
    return graph;
}

static m2s_shape vector(int64_t c)
{
    return (m2s_shape){ .d = { c, 1, 1, 1 } };
}

/* old, written over by its running average with element begin of fresh. */
static m2s_value average(m2s_graph *graph, m2s_value old, m2s_value fresh, m2s_value commit, int32_t begin)
{
    m2s_attrs attrs = { .alpha = 0.1, .beta = 1.0, .count = 1, .begin = begin };
    m2s_value made = m2s_graph_node(graph, M2S_OP_running_average, (m2s_value[]){ old, fresh, commit }, 3, &attrs);

    m2s_graph_replace(graph, made, old);
    return made;
}

/* ---- chains ---- */

static void test_chain(harness *h, const m2s_backend *backend)
{
    m2s_graph *graph = new_graph(h);
    m2s_value state = m2s_graph_state(graph, "state", vector(CHANNELS));
    m2s_value fresh = m2s_graph_input(graph, "fresh", vector(CHAIN));
    m2s_value commit = m2s_graph_scalar(graph, "commit"), last = state;
    float before[CHANNELS], after[CHANNELS], news[CHAIN], one = 1.0f;
    machine m;
    m2snet_error error;

    for (int32_t i = 0; i < CHAIN; i++) {
        last = average(graph, last, fresh, commit, i);
        news[i] = (float)(i * i) - 50.0f;
    }
    CHECK(m2s_graph_state_root(graph, last) == state, "the chain does not end in its state");
    for (int c = 0; c < CHANNELS; c++) {
        before[c] = 0.25f * (float)c - 2.0f;
    }
    if (CHECK(machine_make(&m, h, backend, graph, &error) == M2SNET_STATUS_OK, "%s", error.message)) {
        machine_write(&m, state, before, CHANNELS);
        machine_write(&m, fresh, news, CHAIN);
        machine_write(&m, commit, &one, 1);
        double factor = 1.0, added = 0.0;
        for (int run = 0; run < 3; run++) { /* each goes on where the last one ended */
            CHECK(machine_run(&m, NULL, &error) == M2SNET_STATUS_OK, "%s", error.message);
            machine_read(&m, state, after, CHANNELS);
            for (int i = 0; i < CHAIN; i++) {
                factor *= 0.9;
                added = 0.9 * added + 0.1 * (double)news[i];
            }
            for (int c = 0; c < CHANNELS; c++) {
                /* one rounding of 6e-8 of a number up to 250 in each of the chain's links, which fade by 0.9 */
                CHECK_NEAR(after[c], factor * (double)before[c] + added, 2e-4, 0.0, "run %d, channel %d", run, c);
            }
        }
    }
    machine_free(&m);
    m2s_graph_destroy(graph);
}

/* ---- refusals ---- */

static void refused(harness *h, const m2s_backend *backend, const m2s_graph *graph, const char *part)
{
    machine m;
    m2snet_error error = { .message = "" };
    m2snet_status status = machine_make(&m, h, backend, graph, &error);

    CHECK(status == M2SNET_STATUS_INTERNAL && strstr(error.message, part) != NULL, "status %d, \"%s\"", (int)status,
          error.message);
    machine_free(&m);
}

static void test_refusals(harness *h, const m2s_backend *backend)
{
    for (int kind = 0; kind < 3; kind++) {
        m2s_graph *graph = new_graph(h);
        m2s_value state = m2s_graph_state(graph, "the.state", vector(CHANNELS));
        m2s_value fresh = m2s_graph_input(graph, "fresh", vector(CHAIN));
        m2s_value commit = m2s_graph_scalar(graph, "commit");
        m2s_value next = average(graph, state, fresh, commit, 0);
        if (kind == 0) { /* reads the number before the update, after it */
            m2s_value late = m2s_graph_name(graph, m2s_relu(graph, state), "late");
            m2s_graph_mark_output(graph, late);
            refused(h, backend, graph, "late reads what");
        } else if (kind == 1) {
            m2s_graph_mark_output(graph, next);
            refused(h, backend, graph, "state cannot be a result");
        } else {
            m2s_graph_mark_output(graph, state);
            refused(h, backend, graph, "the.state: state cannot be a result");
        }
        m2s_graph_destroy(graph);
    }
}

/* ---- cancel ---- */

typedef struct canceller {
    bool at_end; /* the callback itself cancels, when all that comes before the first update is done */
    m2snet_cancel token;
    atomic_bool ready, over; /* the updates are next; the run has returned */
    long delay_ns;
} canceller;

static int on_progress(void *user, const m2snet_progress *progress)
{
    canceller *c = user;

    if (progress->total != 0 && progress->done == progress->total) {
        atomic_store(&c->ready, true);
        return c->at_end;
    }
    return 0;
}

static void *cancel_later(void *user)
{
    canceller *c = user;
    struct timespec pause = { 0, c->delay_ns };

    while (!atomic_load(&c->ready) && !atomic_load(&c->over)) {
        sched_yield(); /* to the run, where there is one processor for both */
    }
    nanosleep(&pause, NULL);
    if (!atomic_load(&c->over)) {
        atomic_store(&c->token.requested, 1);
    }
    return NULL;
}

/* Whether all of the state is as before (0), or all as after every update (1); -1 when it is anything else. */
static int written(const float *numbers, float untouched, float done)
{
    int all = numbers[0] == untouched ? 0 : numbers[0] == done ? 1 : -1;

    for (size_t i = 1; i < WIDE && all >= 0; i++) {
        all = numbers[i] == numbers[0] ? all : -1;
    }
    return all;
}

static void test_cancel(harness *h, const m2s_backend *backend)
{
    m2s_graph *graph = new_graph(h);
    m2s_value first = m2s_graph_state(graph, "first", (m2s_shape){ .d = { 1, 512, 512, 1 } });
    m2s_value second = m2s_graph_state(graph, "second", (m2s_shape){ .d = { 1, 512, 512, 1 } });
    m2s_value x = m2s_graph_input(graph, "x", (m2s_shape){ .d = { 1, 512, 512, 1 } });
    m2s_value keep = m2s_graph_scalar(graph, "keep"), finite = m2s_graph_scalar(graph, "finite");
    m2s_value y = m2s_graph_node(graph, M2S_OP_scale, &x, 1, &(m2s_attrs){ .alpha = 1.0 });
    m2s_value last[2] = { first, second };
    float *numbers = calloc(WIDE, sizeof *numbers), *ones = calloc(WIDE, sizeof *ones), one = 1.0f;
    int finished_though_asked = 0;
    machine m;
    m2snet_error error;

    for (int i = 0; i < UPDATES; i++) { /* each adds 1 */
        m2s_value old = last[i % 2];
        last[i % 2] = m2s_graph_node(graph, M2S_OP_accumulate, (m2s_value[]){ old, y, keep, finite }, 4, NULL);
        m2s_graph_replace(graph, last[i % 2], old);
    }
    for (size_t i = 0; i < WIDE; i++) {
        ones[i] = 1.0f;
    }
    if (CHECK(machine_make(&m, h, backend, graph, &error) == M2SNET_STATUS_OK, "%s", error.message)) {
        machine_write(&m, x, ones, WIDE);
        machine_write(&m, keep, &one, 1);
        machine_write(&m, finite, &one, 1);
        /* Delays go from none to three times a step, so some requests come while the updates run: on this processor. A
         * device may be through before the first. */
        bool here = backend == m2s_backend_ref() || backend == m2s_backend_cpu();
        for (int attempt = 0; attempt < DELAYS || (here && finished_though_asked == 0 && attempt < ATTEMPTS);
             attempt++) {
            canceller c = { .at_end = attempt == 0, .delay_ns = attempt % DELAYS * 100000L };
            m2snet_control user = { .progress = on_progress, .progress_user = &c, .cancel = &c.token };
            m2s_control control;
            pthread_t thread;
            m2s_control_init(&control, &user);
            machine_write(&m, first, ones, WIDE);
            machine_write(&m, second, ones, WIDE);
            if (!CHECK(pthread_create(&thread, NULL, cancel_later, &c) == 0, "no thread")) {
                break;
            }
            m2snet_status status = machine_run(&m, &control, &error);
            bool asked = atomic_load(&c.token.requested) != 0;
            atomic_store(&c.over, true);
            pthread_join(thread, NULL);
            CHECK(status == M2SNET_STATUS_OK || status == M2SNET_STATUS_CANCELLED, "%s", error.message);
            CHECK(attempt > 0 || status == M2SNET_STATUS_CANCELLED, "the callback's cancel was not heard");
            for (int s = 0; s < 2; s++) {
                machine_read(&m, s == 0 ? first : second, numbers, WIDE);
                int all = written(numbers, 1.0f, 1.0f + (float)(UPDATES / 2));
                CHECK(all == (status == M2SNET_STATUS_OK), "attempt %d, status %d: state %d is %s", attempt,
                      (int)status, s,
                      all < 0    ? "half a step"
                      : all == 0 ? "untouched"
                                 : "written");
            }
            finished_though_asked += status == M2SNET_STATUS_OK && asked;
        }
        CHECK(!here || finished_though_asked > 0, "no request came during the updates");
    }
    machine_free(&m);
    free(numbers);
    free(ones);
    m2s_graph_destroy(graph);
}

int main(int argc, char **argv)
{
    const m2s_backend *module = module_option(&argc, &argv);
    const m2s_backend *const backends[] = { module != NULL ? module : m2s_backend_ref(), m2s_backend_cpu() };
    static const struct {
        const char *name;
        void (*run)(harness *h, const m2s_backend *backend);
    } tests[] = { { "chains", test_chain }, { "refusals", test_refusals }, { "cancel", test_cancel } };
    harness h;

    check_start(argc, argv);
    if (!harness_open(&h)) {
        return check_finish();
    }
    for (size_t b = 0; b < (module != NULL ? 1 : COUNT(backends)); b++) {
        for (size_t t = 0; t < COUNT(tests); t++) {
            if (check_case("%s: %s", tests[t].name, backends[b]->name)) {
                tests[t].run(&h, backends[b]);
            }
        }
    }
    check_case("nothing leaks");
    harness_close(&h);
    return check_finish();
}
