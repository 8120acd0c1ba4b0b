/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "core/threads.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#define WATCH_INTERVAL_NS 4000000 /* how often a waiting caller reports progress */
#define BARRIER_SPINS     4000    /* some 50 us: the usual wait for another worker's last chunk */

/* Tasks that somebody handed to the pool; all members guarded by its mutex. */
typedef struct m2s_job {
    m2s_pool *pool;
    const m2s_task *tasks;
    int64_t task_count;
    m2s_control *control;
    int64_t task;       /* the current one; task_count = all done */
    int64_t next_chunk; /* of the current task */
    int64_t done_chunks;
    int64_t running;     /* chunks on workers now */
    uint64_t started_ns; /* current task; 0 = not begun */
    bool stopped;
    bool listed;  /* among the pool's jobs; false = over */
    bool patient; /* gives way to jobs that somebody waits for */
    pthread_cond_t finished;
    struct m2s_job *next;
} job;

struct m2s_pool {
    m2s_memory *memory;
    pthread_mutex_t mutex;
    pthread_cond_t work; /* workers sleep here */
    atomic_uint epoch;   /* grows whenever there may be something new to do */
    bool ending;
    int started;
    int sleeping;
    job *jobs; /* unfinished, oldest first */
    int threads;
    struct worker {
        m2s_pool *pool;
        pthread_t thread;
        int index;
    } workers[];
};

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static void announce(m2s_pool *pool)
{
    atomic_fetch_add(&pool->epoch, 1);
    if (pool->sleeping > 0) {
        pthread_cond_broadcast(&pool->work);
    }
}

/* Takes a job that is over off the list and wakes who waits for it. */
static void job_retire_if_over(m2s_pool *pool, job *j)
{
    if (!j->listed || j->running > 0 || (!j->stopped && j->task < j->task_count)) {
        return;
    }
    for (job **link = &pool->jobs; *link != NULL; link = &(*link)->next) {
        if (*link == j) {
            *link = j->next;
            break;
        }
    }
    j->listed = false;
    pthread_cond_broadcast(&j->finished);
    if (!j->patient && pool->jobs != NULL) { /* a patient one may have waited for this */
        announce(pool);
    }
}

/* Moves past finished (and empty) tasks. */
static void job_advance(m2s_pool *pool, job *j)
{
    bool moved = false;

    while (j->task < j->task_count && j->done_chunks == j->tasks[j->task].chunks) {
        if (j->tasks[j->task].nanoseconds != NULL) {
            *j->tasks[j->task].nanoseconds = j->started_ns != 0 ? m2s_now_ns() - j->started_ns : 0;
        }
        j->task++;
        j->next_chunk = j->done_chunks = 0;
        j->started_ns = 0;
        moved = true;
    }
    if (moved && j->task < j->task_count && j->tasks[j->task].chunks > 1) {
        announce(pool);
    }
}

static job *job_with_work(m2s_pool *pool)
{
    job *patient = NULL;
    bool others = false; /* at a barrier, too, they want the workers at once */

    for (job *j = pool->jobs, *next; j != NULL; j = next) {
        next = j->next;
        if (!j->stopped && m2s_control_stopped(j->control)) {
            j->stopped = true;
            job_retire_if_over(pool, j);
        }
        if (!j->stopped && j->task < j->task_count && j->next_chunk < j->tasks[j->task].chunks) {
            if (!j->patient) {
                return j;
            }
            patient = patient == NULL ? j : patient;
        }
        others |= !j->patient && j->listed;
    }
    return others ? NULL : patient;
}

static void *worker_main(void *argument)
{
    struct worker *self = argument;
    m2s_pool *pool = self->pool;

    pthread_mutex_lock(&pool->mutex);
    while (!pool->ending) {
        unsigned seen = atomic_load(&pool->epoch);
        job *j = job_with_work(pool);
        if (j != NULL) {
            const m2s_task *task = &j->tasks[j->task];
            int64_t chunk = j->next_chunk++;
            j->running++;
            if (chunk == 0 && task->nanoseconds != NULL) {
                j->started_ns = m2s_now_ns();
            }
            pthread_mutex_unlock(&pool->mutex);
            task->run(task->argument, chunk, self->index);
            pthread_mutex_lock(&pool->mutex);
            j->running--;
            j->done_chunks++;
            job_advance(pool, j);
            job_retire_if_over(pool, j);
            continue;
        }
        if (pool->jobs != NULL) { /* at a barrier: the next task is probably near */
            pthread_mutex_unlock(&pool->mutex);
            for (int i = 0; i < BARRIER_SPINS && atomic_load_explicit(&pool->epoch, memory_order_relaxed) == seen;
                 i++) {
                pause_briefly();
            }
            pthread_mutex_lock(&pool->mutex);
        }
        if (!pool->ending && atomic_load(&pool->epoch) == seen) {
            pool->sleeping++;
            pthread_cond_wait(&pool->work, &pool->mutex);
            pool->sleeping--;
        }
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

m2snet_status m2s_pool_create(m2s_memory *memory, int threads, m2s_pool **created, m2snet_error *error)
{
    size_t bytes = sizeof(m2s_pool) + (size_t)threads * sizeof(struct worker);
    m2s_pool *pool = m2s_alloc(memory, bytes);
    sigset_t all, old;

    *created = NULL;
    if (pool == NULL) {
        return m2s_fail_memory(error, "the thread pool", bytes);
    }
    memset(pool, 0, bytes);
    pool->memory = memory;
    pool->threads = threads;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    atomic_init(&pool->epoch, 0);

    /* Workers take no signals: those stay with the host's own threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failure = 0;
    for (int i = 0; i < threads && failure == 0; i++) {
        pool->workers[i].pool = pool;
        pool->workers[i].index = i;
        failure = pthread_create(&pool->workers[i].thread, NULL, worker_main, &pool->workers[i]);
        pool->started += failure == 0;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failure != 0) {
        m2snet_status status = m2s_fail(error, M2SNET_STATUS_LIMIT, "thread %d of %d cannot be started: %s",
                                        pool->started + 1, threads, strerrordesc_np(failure));
        m2s_pool_destroy(pool);
        return status;
    }
    *created = pool;
    return M2SNET_STATUS_OK;
}

void m2s_pool_destroy(m2s_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    pool->ending = true;
    atomic_fetch_add(&pool->epoch, 1);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    for (int i = 0; i < pool->started; i++) {
        pthread_join(pool->workers[i].thread, NULL);
    }
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
    m2s_free(pool->memory, pool);
}

int m2s_pool_threads(const m2s_pool *pool)
{
    return pool->threads;
}

/* What progress counts: tasks, or the chunks of a single one. */
static uint64_t units(const job *j, bool all)
{
    if (j->task_count == 1) {
        return (uint64_t)(all || j->task == 1 ? j->tasks[0].chunks : j->done_chunks);
    }
    return (uint64_t)(all ? j->task_count : j->task);
}

/* Waits until the job is over, reporting progress meanwhile. Mutex held. */
static void watch(m2s_pool *pool, job *j, m2s_control *control, const char *phase)
{
    bool has_watcher = control != NULL && (control->user.progress != NULL || control->user.cancel != NULL);

    while (j->listed) {
        if (!has_watcher) {
            pthread_cond_wait(&j->finished, &pool->mutex);
            continue;
        }
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += WATCH_INTERVAL_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&j->finished, &pool->mutex, &until);
        uint64_t done = units(j, false);
        pthread_mutex_unlock(&pool->mutex); /* the callback may take its time */
        bool stop = m2s_control_report(control, phase, done, units(j, true));
        pthread_mutex_lock(&pool->mutex);
        j->stopped |= stop && j->task < j->task_count;
        job_retire_if_over(pool, j);
    }
}

static void job_begin(m2s_pool *pool, job *j)
{
    pthread_condattr_t monotonic;

    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&j->finished, &monotonic);
    pthread_condattr_destroy(&monotonic);

    pthread_mutex_lock(&pool->mutex);
    job **end = &pool->jobs;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = j;
    j->listed = true;
    job_advance(pool, j);
    job_retire_if_over(pool, j); /* there may be nothing to do */
    announce(pool);
    pthread_mutex_unlock(&pool->mutex);
}

m2snet_status m2s_job_wait(m2s_job *j, m2s_control *control, const char *phase, m2snet_error *error)
{
    pthread_mutex_lock(&j->pool->mutex);
    if (j->patient && j->listed) {
        j->patient = false;
        announce(j->pool);
    }
    watch(j->pool, j, control, phase);
    bool stopped = j->stopped;
    pthread_mutex_unlock(&j->pool->mutex);
    return stopped ? m2s_fail_cancelled(error, phase) : M2SNET_STATUS_OK;
}

m2snet_status m2s_pool_run(m2s_pool *pool, const m2s_task *tasks, int64_t count, m2s_control *control,
                           const char *phase, m2snet_error *error)
{
    job j = { .pool = pool, .tasks = tasks, .task_count = count, .control = control };
    m2snet_status status;

    if (m2s_control_report(control, phase, 0, units(&j, true))) {
        return m2s_fail_cancelled(error, phase);
    }
    job_begin(pool, &j);
    status = m2s_job_wait(&j, control, phase, error);
    pthread_cond_destroy(&j.finished);
    if (status == M2SNET_STATUS_OK && m2s_control_report(control, phase, units(&j, true), units(&j, true))) {
        status = m2s_fail_cancelled(error, phase);
    }
    return status;
}

m2snet_status m2s_pool_begin(m2s_pool *pool, const m2s_task *tasks, int64_t count, m2s_job **begun, m2snet_error *error)
{
    job *j = m2s_alloc(pool->memory, sizeof *j);

    *begun = j;
    if (j == NULL) {
        return m2s_fail_memory(error, "work for the thread pool", sizeof *j);
    }
    *j = (job){ .pool = pool, .tasks = tasks, .task_count = count, .patient = true };
    job_begin(pool, j);
    return M2SNET_STATUS_OK;
}

void m2s_job_end(m2s_job *j)
{
    if (j == NULL) {
        return;
    }
    m2s_pool *pool = j->pool;
    pthread_mutex_lock(&pool->mutex);
    j->stopped |= j->listed;
    job_retire_if_over(pool, j);
    watch(pool, j, NULL, NULL);
    pthread_mutex_unlock(&pool->mutex);
    pthread_cond_destroy(&j->finished);
    m2s_free(pool->memory, j);
}
