/* SPDX-License-Identifier: Apache-2.0
 * A context's own pool of threads. Work runs on pool threads only, never on the caller's, so that what a worker
 * sets for itself (its OpenMP thread count, say) never touches the host. */
#ifndef M2S_CORE_THREADS_H
#define M2S_CORE_THREADS_H

#include "core/control.h"
#include "core/memory.h"

typedef struct m2s_pool m2s_pool;

/* One step: run(argument, chunk, worker) is called once for every chunk in 0..chunks-1, in any order and on any
 * worker (0..threads-1). How work is cut into chunks must not depend on the number of threads. */
typedef struct m2s_task {
    void (*run)(void *argument, int64_t chunk, int worker);
    void *argument;
    int64_t chunks;
    uint64_t *nanoseconds; /* NULL, or where the task's wall time goes */
} m2s_task;

m2snet_status m2s_pool_create(m2s_memory *memory, int threads, m2s_pool **pool, m2snet_error *error);
void m2s_pool_destroy(m2s_pool *pool); /* waits for the threads to end; NULL is fine */
int m2s_pool_threads(const m2s_pool *pool);

/* Runs the tasks in order, each only after all chunks of the one before are done. Returns when all are done, or,
 * with M2SNET_STATUS_CANCELLED, at the first chunk boundary after control asked to stop. May be called from several
 * threads at once (their tasks share the workers), never from a worker. control may be NULL. */
m2snet_status m2s_pool_run(m2s_pool *pool, const m2s_task *tasks, int64_t count, m2s_control *control,
                           const char *phase, m2snet_error *error);

/* The same without waiting: the tasks run while the pool has nothing else to do, and like any others from the moment
 * that somebody waits for them. tasks must live until m2s_job_end. */
typedef struct m2s_job m2s_job;
m2snet_status m2s_pool_begin(m2s_pool *pool, const m2s_task *tasks, int64_t count, m2s_job **job, m2snet_error *error);
/* Returns when all tasks are done; at once when they are. control and phase as above; a cancel stops the job for
 * everybody. Any number of threads at once, never a worker. */
m2snet_status m2s_job_wait(m2s_job *job, m2s_control *control, const char *phase, m2snet_error *error);
/* Stops at the next chunk boundary, waits until no worker is in it, and frees it. Nobody may be waiting. NULL is fine.
 */
void m2s_job_end(m2s_job *job);

#endif
