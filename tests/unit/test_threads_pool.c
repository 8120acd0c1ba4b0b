/* SPDX-License-Identifier: Apache-2.0
 * The pool: every chunk once, tasks in order, cancel, several callers, timing. Runs under ThreadSanitizer too. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/threads.h"

#define TASKS  40
#define CHUNKS 17

typedef struct stage {
    atomic_int runs[CHUNKS];
    struct stage *before; /* must be over when a chunk of this one runs */
    atomic_int early;
    atomic_int workers; /* bit set */
} stage;

static void run_stage(void *argument, int64_t chunk, int worker)
{
    stage *s = argument;

    atomic_fetch_add(&s->runs[chunk], 1);
    atomic_fetch_or(&s->workers, 1 << worker);
    for (int i = 0; i < CHUNKS && s->before != NULL; i++) {
        atomic_fetch_add(&s->early, atomic_load(&s->before->runs[i]) != 1);
    }
}

static void run_stages(m2s_pool *pool, int threads)
{
    static const int64_t cut[] = { CHUNKS, 1, 0, 3 };
    stage *stages = calloc(TASKS, sizeof *stages);
    m2s_task tasks[TASKS];
    uint64_t nanoseconds[TASKS] = { 0 };

    assert_non_null(stages);
    for (int i = 0; i < TASKS; i++) {
        tasks[i] = (m2s_task){ run_stage, &stages[i], cut[i % 4], &nanoseconds[i] };
        stages[i].before = i > 0 && cut[(i - 1) % 4] == CHUNKS ? &stages[i - 1] : NULL;
    }
    assert_int_equal(m2s_pool_run(pool, tasks, TASKS, NULL, "network", NULL), M2SNET_STATUS_OK);
    for (int i = 0; i < TASKS; i++) {
        for (int k = 0; k < CHUNKS; k++) {
            assert_int_equal(stages[i].runs[k], k < cut[i % 4]);
        }
        assert_int_equal(stages[i].early, 0);
        assert_true(stages[i].workers < 1 << threads);
        assert_true((nanoseconds[i] > 0) == (cut[i % 4] > 0));
    }
    free(stages);
}

static void test_order(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 5; threads++) {
        m2s_memory memory;
        m2s_pool *pool;
        m2s_memory_init(&memory, NULL, 0);
        assert_int_equal(m2s_pool_create(&memory, threads, &pool, NULL), M2SNET_STATUS_OK);
        assert_int_equal(m2s_pool_threads(pool), threads);
        for (int i = 0; i < 10; i++) {
            run_stages(pool, threads);
        }
        assert_int_equal(m2s_pool_run(pool, NULL, 0, NULL, "network", NULL), M2SNET_STATUS_OK);
        m2s_pool_destroy(pool);
        assert_int_equal(memory.used_bytes, 0);
    }
}

static void *call_pool(void *argument)
{
    for (int i = 0; i < 10; i++) {
        run_stages(argument, 3);
    }
    return NULL;
}

static void test_several_callers(void **state)
{
    m2s_memory memory;
    m2s_pool *pool;
    pthread_t callers[4];

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    assert_int_equal(m2s_pool_create(&memory, 3, &pool, NULL), M2SNET_STATUS_OK);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&callers[i], NULL, call_pool, pool), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(callers[i], NULL);
    }
    m2s_pool_destroy(pool);
}

static void count_and_sleep(void *argument, int64_t chunk, int worker)
{
    (void)chunk;
    (void)worker;
    atomic_fetch_add((atomic_int *)argument, 1);
    usleep(2000);
}

static void *request_later(void *argument)
{
    usleep(20000);
    atomic_store(&((m2snet_cancel *)argument)->requested, 1);
    return NULL;
}

static int stop_at_once(void *user, const m2snet_progress *progress)
{
    (void)progress;
    ++*(int *)user;
    return 1;
}

static void test_cancel(void **state)
{
    m2s_memory memory;
    m2s_pool *pool;
    m2snet_cancel token;
    m2s_control control;
    m2snet_error error;
    pthread_t other;
    atomic_int runs = 0;
    int reports = 0;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    assert_int_equal(m2s_pool_create(&memory, 2, &pool, NULL), M2SNET_STATUS_OK);
    m2s_task task = { count_and_sleep, &runs, 5000, NULL };

    /* from another thread, in the middle */
    atomic_init(&token.requested, 0);
    m2s_control_init(&control, &(m2snet_control){ .cancel = &token });
    assert_int_equal(pthread_create(&other, NULL, request_later, &token), 0);
    assert_int_equal(m2s_pool_run(pool, &task, 1, &control, "network", &error), M2SNET_STATUS_CANCELLED);
    pthread_join(other, NULL);
    assert_non_null(strstr(error.message, "network"));
    assert_true(runs > 0 && runs < 5000);

    /* by the callback, before anything ran */
    atomic_store(&runs, 0);
    m2s_control_init(&control, &(m2snet_control){ .progress = stop_at_once, .progress_user = &reports });
    assert_int_equal(m2s_pool_run(pool, &task, 1, &control, "network", &error), M2SNET_STATUS_CANCELLED);
    assert_int_equal(reports, 1);
    assert_int_equal(runs, 0);

    /* and the pool goes on working */
    run_stages(pool, 2);
    m2s_pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_several_callers),
        cmocka_unit_test(test_cancel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
