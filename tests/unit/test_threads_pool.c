/* SPDX-License-Identifier: Apache-2.0
 * The pool: every chunk once, tasks in order, many callers at once, cancel, progress, time. Meant for ThreadSanitizer
 * too, and so runs where none of its numbers can depend on luck. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "common/faults.h"
#include "core/threads.h"

#define MOST_CHUNKS 500

static m2s_pool *begin(m2s_memory *memory, int threads)
{
    m2s_pool *pool;
    m2snet_error error;

    m2s_memory_init(memory, NULL, 0);
    assert_int_equal(m2s_pool_create(memory, threads, &pool, &error), M2SNET_STATUS_OK);
    assert_int_equal(m2s_pool_threads(pool), threads);
    return pool;
}

static void end(m2s_pool *pool, m2s_memory *memory)
{
    m2s_pool_destroy(pool);
    assert_int_equal(memory->used_bytes, 0);
}

/* ---- work that checks itself ---- */

typedef struct step {
    struct step *before; /* must be complete when this one runs; NULL for the first */
    pthread_t caller;    /* whose thread must not do the work */
    int64_t chunks;
    int threads;
    atomic_int *runs; /* of each chunk; plain writes to data are for the race detector */
    int *data;
    atomic_int done, faults;
} step;

static void run_step(void *argument, int64_t chunk, int worker)
{
    step *s = argument;

    if (chunk < 0 || chunk >= s->chunks || worker < 0 || worker >= s->threads ||
        pthread_equal(s->caller, pthread_self())) {
        atomic_fetch_add(&s->faults, 1);
        return;
    }
    atomic_fetch_add(&s->runs[chunk], 1);
    int sum = 1;
    if (s->before != NULL) { /* reads what other workers wrote in the task before */
        if (atomic_load(&s->before->done) != s->before->chunks) {
            atomic_fetch_add(&s->faults, 1);
        }
        sum += s->before->chunks > 0 ? s->before->data[chunk % s->before->chunks] : 0;
    }
    s->data[chunk] = sum;
    atomic_fetch_add(&s->done, 1);
}

static void make_steps(step *steps, m2s_task *tasks, int count, const int64_t *chunks, int threads)
{
    for (int i = 0; i < count; i++) {
        steps[i].before = i > 0 ? &steps[i - 1] : NULL;
        steps[i].caller = pthread_self();
        steps[i].chunks = chunks[i];
        steps[i].threads = threads;
        steps[i].runs = calloc((size_t)chunks[i] + 1, sizeof *steps[i].runs);
        steps[i].data = calloc((size_t)chunks[i] + 1, sizeof *steps[i].data);
        atomic_init(&steps[i].done, 0);
        atomic_init(&steps[i].faults, 0);
        tasks[i] = (m2s_task){ run_step, &steps[i], chunks[i], NULL };
    }
}

/* Number of things that are wrong; a stopped run may have left chunks out. */
static int check_steps(step *steps, int count, bool complete)
{
    int wrong = 0;

    for (int i = 0; i < count; i++) {
        wrong += steps[i].faults;
        for (int64_t k = 0; k < steps[i].chunks; k++) {
            wrong += complete ? steps[i].runs[k] != 1 : steps[i].runs[k] > 1;
        }
        free(steps[i].runs);
        free(steps[i].data);
    }
    return wrong;
}

static const int64_t chunk_counts[] = { 7, 1, 0, 500, 3, 0, 0, 64, 1, 1, 1, 129, 0 };
#define TASKS ((int)(sizeof chunk_counts / sizeof chunk_counts[0]))

static void test_order(void **state)
{
    static const int threads[] = { 1, 2, 3, 8, 33 };

    (void)state;
    for (size_t t = 0; t < sizeof threads / sizeof threads[0]; t++) {
        m2s_memory memory;
        m2s_pool *pool = begin(&memory, threads[t]);
        for (int repetition = 0; repetition < 20; repetition++) {
            step steps[TASKS];
            m2s_task tasks[TASKS];
            m2snet_error error;
            make_steps(steps, tasks, TASKS, chunk_counts, threads[t]);
            assert_int_equal(m2s_pool_run(pool, tasks, TASKS, NULL, "test", &error), M2SNET_STATUS_OK);
            assert_int_equal(check_steps(steps, TASKS, true), 0);
        }
        assert_int_equal(m2s_pool_run(pool, NULL, 0, NULL, "nothing", NULL), M2SNET_STATUS_OK);
        end(pool, &memory);
    }
    m2s_pool_destroy(NULL);
}

/* ---- several callers ---- */

typedef struct caller {
    m2s_pool *pool;
    int threads, wrong;
} caller;

static void *call_often(void *argument)
{
    caller *c = argument;

    for (int i = 0; i < 30; i++) {
        step steps[TASKS];
        m2s_task tasks[TASKS];
        make_steps(steps, tasks, TASKS, chunk_counts, c->threads);
        c->wrong += m2s_pool_run(c->pool, tasks, TASKS, NULL, "test", NULL) != M2SNET_STATUS_OK;
        c->wrong += check_steps(steps, TASKS, true);
    }
    return NULL;
}

static void test_callers(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 4; threads += 3) {
        m2s_memory memory;
        m2s_pool *pool = begin(&memory, threads);
        caller callers[8];
        pthread_t ids[8];
        for (int i = 0; i < 8; i++) {
            callers[i] = (caller){ pool, threads, 0 };
            assert_int_equal(pthread_create(&ids[i], NULL, call_often, &callers[i]), 0);
        }
        for (int i = 0; i < 8; i++) {
            pthread_join(ids[i], NULL);
            assert_int_equal(callers[i].wrong, 0);
        }
        end(pool, &memory);
    }
}

/* ---- cancel ---- */

typedef struct stopper {
    struct m2snet_cancel token;
    int64_t at;
    atomic_int ran, ran_before; /* chunks in all; those when the request had been made */
} stopper;

static void stop_at(void *argument, int64_t chunk, int worker)
{
    stopper *s = argument;

    (void)worker;
    atomic_fetch_add(&s->ran, 1);
    if (chunk == s->at) {
        m2snet_cancel_request(&s->token);
        s->ran_before = s->ran;
    }
}

static void test_cancel(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 4; threads += 3) {
        m2s_memory memory;
        m2s_pool *pool = begin(&memory, threads);
        for (int64_t at = 0; at < MOST_CHUNKS; at += 41) {
            stopper s = { .at = at };
            m2snet_control user = { .cancel = &s.token };
            m2s_control control;
            m2s_task tasks[2] = { { stop_at, &s, MOST_CHUNKS, NULL }, { stop_at, &s, MOST_CHUNKS, NULL } };
            m2snet_error error = { 0 };
            m2s_control_init(&control, &user);
            assert_int_equal(m2s_pool_run(pool, tasks, 2, &control, "stage", &error), M2SNET_STATUS_CANCELLED);
            assert_non_null(strstr(error.message, "stage"));
            /* At the next chunk's boundary: each other worker may have been on its way into one. */
            assert_true(s.ran_before > 0 && s.ran < s.ran_before + threads);

            int ran = s.ran; /* asked before: nothing begins */
            assert_int_equal(m2s_pool_run(pool, tasks, 2, &control, "stage", &error), M2SNET_STATUS_CANCELLED);
            assert_int_equal(s.ran, ran);
            m2snet_cancel_reset(&s.token);
            s.at = -1;
            m2s_control_init(&control, &user);
            assert_int_equal(m2s_pool_run(pool, tasks, 2, &control, "stage", &error), M2SNET_STATUS_OK);
            assert_int_equal(s.ran, ran + 2 * MOST_CHUNKS);
        }
        end(pool, &memory);
    }
}

/* One caller's cancel is not another's. */
static void *cancel_often(void *argument)
{
    caller *c = argument;

    for (int i = 0; i < 60; i++) {
        stopper s = { .at = i * 7 % MOST_CHUNKS };
        m2snet_control user = { .cancel = &s.token };
        m2s_control control;
        m2s_task task = { stop_at, &s, MOST_CHUNKS, NULL };
        m2s_control_init(&control, &user);
        c->wrong += m2s_pool_run(c->pool, &task, 1, &control, "test", NULL) != M2SNET_STATUS_CANCELLED;
    }
    return NULL;
}

static void test_cancel_beside_others(void **state)
{
    m2s_memory memory;
    m2s_pool *pool = begin(&memory, 3);
    caller callers[6];
    pthread_t ids[6];

    (void)state;
    for (int i = 0; i < 6; i++) {
        callers[i] = (caller){ pool, 3, 0 };
        assert_int_equal(pthread_create(&ids[i], NULL, i % 2 == 0 ? call_often : cancel_often, &callers[i]), 0);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(ids[i], NULL);
        assert_int_equal(callers[i].wrong, 0);
    }
    end(pool, &memory);
}

/* ---- without waiting ---- */

static void *wait_for(void *argument)
{
    return m2s_job_wait(argument, NULL, "job", NULL) == M2SNET_STATUS_OK ? argument : NULL;
}

static void test_jobs(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 4; threads += 3) {
        m2s_memory memory;
        m2s_pool *pool = begin(&memory, threads);
        m2s_job *job;
        for (int repetition = 0; repetition < 20; repetition++) {
            step steps[TASKS], others[TASKS];
            m2s_task tasks[TASKS], other_tasks[TASKS];
            pthread_t waiters[3];
            make_steps(steps, tasks, TASKS, chunk_counts, threads);
            make_steps(others, other_tasks, TASKS, chunk_counts, threads);
            assert_int_equal(m2s_pool_begin(pool, tasks, TASKS, &job, NULL), M2SNET_STATUS_OK);
            for (int i = 0; i < 3; i++) {
                assert_int_equal(pthread_create(&waiters[i], NULL, wait_for, job), 0);
            }
            assert_int_equal(m2s_pool_run(pool, other_tasks, TASKS, NULL, "test", NULL), M2SNET_STATUS_OK);
            for (int i = 0; i < 3; i++) {
                void *done;
                assert_int_equal(pthread_join(waiters[i], &done), 0);
                assert_ptr_equal(done, job);
            }
            assert_int_equal(m2s_job_wait(job, NULL, "job", NULL), M2SNET_STATUS_OK);
            m2s_job_end(job);
            assert_int_equal(check_steps(steps, TASKS, true) + check_steps(others, TASKS, true), 0);
        }
        for (int repetition = 0; repetition < 20; repetition++) { /* ended before its time */
            step steps[TASKS];
            m2s_task tasks[TASKS];
            make_steps(steps, tasks, TASKS, chunk_counts, threads);
            assert_int_equal(m2s_pool_begin(pool, tasks, TASKS, &job, NULL), M2SNET_STATUS_OK);
            m2s_job_end(job);
            assert_int_equal(check_steps(steps, TASKS, false), 0);
        }
        assert_int_equal(m2s_pool_begin(pool, NULL, 0, &job, NULL), M2SNET_STATUS_OK);
        assert_int_equal(m2s_job_wait(job, NULL, "nothing", NULL), M2SNET_STATUS_OK);
        m2s_job_end(job);
        m2s_job_end(NULL);

        memory.limit_bytes = memory.used_bytes + 1;
        assert_int_equal(m2s_pool_begin(pool, NULL, 0, &job, NULL), M2SNET_STATUS_OUT_OF_MEMORY);
        assert_null(job);
        end(pool, &memory);
    }
}

/* ---- progress and time ---- */

static void sleep_a_little(void *argument, int64_t chunk, int worker)
{
    (void)argument;
    (void)chunk;
    (void)worker;
    nanosleep(&(struct timespec){ .tv_nsec = 4 * 1000 * 1000 }, NULL);
}

typedef struct watcher {
    uint64_t last, total;
    int calls, stop_after;
    bool backwards;
} watcher;

static int watch(void *user, const m2snet_progress *progress)
{
    watcher *w = user;

    assert_string_equal(progress->phase, "sleep");
    w->backwards |= progress->done < w->last || progress->done > progress->total;
    w->last = progress->done;
    w->total = progress->total;
    w->calls++;
    return w->stop_after != 0 && w->calls >= w->stop_after;
}

static void test_progress(void **state)
{
    m2s_memory memory;
    m2s_pool *pool = begin(&memory, 2);
    m2s_task tasks[12];
    uint64_t nanoseconds[12] = { 0 };
    watcher w = { 0 };
    m2snet_control user = { .progress = watch, .progress_user = &w };
    m2s_control control;

    (void)state;
    for (int i = 0; i < 12; i++) {
        tasks[i] = (m2s_task){ sleep_a_little, NULL, 2, &nanoseconds[i] };
    }
    tasks[5].chunks = 0;
    nanoseconds[5] = 77;
    m2s_control_init(&control, &user);
    assert_int_equal(m2s_pool_run(pool, tasks, 12, &control, "sleep", NULL), M2SNET_STATUS_OK);
    assert_false(w.backwards);
    assert_true(w.calls >= 3 && w.last == 12 && w.total == 12);
    for (int i = 0; i < 12; i++) {
        if (i == 5) {
            assert_int_equal(nanoseconds[i], 0); /* nothing was done */
        } else {
            assert_true(nanoseconds[i] >= 4000000);
        }
    }

    /* A single task is counted by its chunks. */
    m2s_task one = { sleep_a_little, NULL, 20, NULL };
    w = (watcher){ 0 };
    m2s_control_init(&control, &user);
    assert_int_equal(m2s_pool_run(pool, &one, 1, &control, "sleep", NULL), M2SNET_STATUS_OK);
    assert_false(w.backwards);
    assert_true(w.calls >= 4 && w.last == 20 && w.total == 20);

    /* A callback may stop it, and is then left alone. */
    one.chunks = 100000;
    w = (watcher){ .stop_after = 3 };
    m2s_control_init(&control, &user);
    assert_int_equal(m2s_pool_run(pool, &one, 1, &control, "sleep", NULL), M2SNET_STATUS_CANCELLED);
    assert_int_equal(w.calls, 3);
    end(pool, &memory);
}

/* ---- work that nobody waits for ---- */

typedef struct turns {
    atomic_bool entered, open; /* the first step of the patient job: a worker is in it; it may leave */
    char order[8];
    atomic_int count, calls;
} turns;

static void note_turn(turns *t, char who)
{
    t->order[atomic_fetch_add(&t->count, 1)] = who;
}

static void patient_step(void *argument, int64_t chunk, int worker)
{
    turns *t = argument;

    (void)chunk;
    (void)worker;
    note_turn(t, 'p');
    atomic_store(&t->entered, true);
    while (!atomic_load(&t->open)) {
        sched_yield();
    }
}

static void urgent_step(void *argument, int64_t chunk, int worker)
{
    (void)chunk;
    (void)worker;
    note_turn(argument, 'u');
}

/* Called once before the pool knows of the run, then while it waits among the pool's jobs: opens the way then. */
static int open_on_second_call(void *user, const m2snet_progress *progress)
{
    turns *t = user;

    (void)progress;
    if (atomic_fetch_add(&t->calls, 1) > 0) {
        atomic_store(&t->open, true);
    }
    return 0;
}

/* One worker is within a job that was begun; a run that comes then is served before the rest of it. */
static void test_patience(void **state)
{
    m2s_memory memory;
    m2s_pool *pool = begin(&memory, 1);
    turns t = { 0 };
    m2snet_control user = { .progress = open_on_second_call, .progress_user = &t };
    m2s_task patient[3], urgent[2];
    m2s_control control;
    m2s_job *job;

    (void)state;
    for (int i = 0; i < 3; i++) {
        patient[i] = (m2s_task){ patient_step, &t, 1, NULL };
    }
    for (int i = 0; i < 2; i++) {
        urgent[i] = (m2s_task){ urgent_step, &t, 1, NULL };
    }
    assert_int_equal(m2s_pool_begin(pool, patient, 3, &job, NULL), M2SNET_STATUS_OK);
    while (!atomic_load(&t.entered)) {
        sched_yield();
    }
    m2s_control_init(&control, &user);
    assert_int_equal(m2s_pool_run(pool, urgent, 2, &control, "test", NULL), M2SNET_STATUS_OK);
    assert_int_equal(m2s_job_wait(job, NULL, "test", NULL), M2SNET_STATUS_OK);
    assert_string_equal(t.order, "puupp");
    m2s_job_end(job);
    end(pool, &memory);
}

/* ---- the host's signals ---- */

static void note_mask(void *argument, int64_t chunk, int worker)
{
    sigset_t *mask = argument;

    (void)chunk;
    (void)worker;
    pthread_sigmask(SIG_SETMASK, NULL, mask);
}

static void test_signals(void **state)
{
    m2s_memory memory;
    sigset_t before, after, worker;

    (void)state;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    m2s_pool *pool = begin(&memory, 1);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int number = 1; number < SIGRTMIN; number++) { /* the C library's own lie behind */
        assert_int_equal(sigismember(&before, number), sigismember(&after, number));
    }
    sigemptyset(&worker);
    m2s_task task = { note_mask, &worker, 1, NULL };
    assert_int_equal(m2s_pool_run(pool, &task, 1, NULL, "test", NULL), M2SNET_STATUS_OK);
    assert_true(sigismember(&worker, SIGINT) && sigismember(&worker, SIGTERM) && sigismember(&worker, SIGALRM));
    end(pool, &memory);
}

static void test_create_fails(void **state)
{
    faults f = { .fail_at = 1 };
    m2snet_allocator allocator = faults_allocator(&f);
    m2s_memory memory;
    m2s_pool *pool = (m2s_pool *)&f;
    m2snet_error error = { 0 };

    (void)state;
    m2s_memory_init(&memory, &allocator, 0);
    assert_int_equal(m2s_pool_create(&memory, 4, &pool, &error), M2SNET_STATUS_OUT_OF_MEMORY);
    assert_null(pool);
    assert_int_equal(f.live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),        cmocka_unit_test(test_callers),
        cmocka_unit_test(test_cancel),       cmocka_unit_test(test_cancel_beside_others),
        cmocka_unit_test(test_jobs),         cmocka_unit_test(test_progress),
        cmocka_unit_test(test_patience),     cmocka_unit_test(test_signals),
        cmocka_unit_test(test_create_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
