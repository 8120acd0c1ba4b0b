/* SPDX-License-Identifier: Apache-2.0
 * Inside the cpu backend: devices, plans, steps, and what a candidate that lowers a node may ask for.
 *
 * A plan is a list of steps, one for each node that is not constant; a step is up to M2S_STEP_TASKS tasks of the pool.
 * All steps of a run are handed to the pool at once. How a task is cut into chunks follows from shapes alone, never
 * from the number of threads, and every number of a result is made by one chunk: results are bit-equal for any pool. */
#ifndef M2S_BACKENDS_CPU_PLAN_H
#define M2S_BACKENDS_CPU_PLAN_H

#include <stdatomic.h>

#include "backends/backend.h"
#include "backends/cpu/kernels.h"
#include "backends/ref/ref.h"

typedef struct m2s_onednn m2s_onednn;

struct m2s_device {
    const m2s_host *host;
    const m2s_cpu_kernels *kernels; /* own, for host->isa */
    m2s_onednn *onednn;             /* NULL where it is not built in or refuses to start */
};

struct m2s_buffer {
    void *data;
    size_t bytes;
};

#define M2S_STEP_TASKS 10
#define M2S_STEP_PACKS 16

typedef struct m2s_step m2s_step;

/* Chunk `chunk` of the step's task number `task`. */
typedef void (*m2s_step_run)(m2s_step *step, int32_t task, int64_t chunk, int worker);

typedef struct m2s_step_task {
    m2s_step *step;
    m2s_step_run run;
    int32_t index;
    int64_t chunks;
    uint64_t nanoseconds; /* of the last timed run */
} m2s_step_task;

struct m2s_step {
    m2s_plan *plan;
    const m2s_cpu_kernels *kernels;
    m2s_node node;
    m2s_ref_args args; /* shapes and attributes; in, out and scratch are set at the start of each run */
    char name[64];
    char kernel[64];
    uint64_t multiply_adds;

    m2s_step_task tasks[M2S_STEP_TASKS];
    int32_t task_count;

    size_t scratch_bytes; /* shared by the step's tasks, alive during the step */
    size_t worker_bytes;  /* each worker's own, contents last for one chunk */
    int32_t scratch_block;

    const m2s_pack *packs[M2S_STEP_PACKS];
    int32_t pack_count;

    void *detail; /* the candidate's own */
    void (*free_detail)(m2s_memory *memory, void *detail);

    m2snet_status status; /* of lowering */
    m2snet_error *error;
};

/* How a candidate reports that a run went wrong inside a foreign library; the first report counts. Any thread. */
void m2s_step_fail(m2s_step *step, m2snet_status status, const char *what);
/* A worker's own scratch, worker_bytes of it. */
void *m2s_step_worker_scratch(const m2s_step *step, int worker);

/* ---- lowering ---- */

/* Where a worker evaluates constants before they are packed: grown as needed, for the time of a compilation. */
typedef struct m2s_room {
    float *data;
    size_t bytes;
} m2s_room;

typedef struct m2s_lowering {
    m2s_device *device;
    const m2s_plan_request *request;
    m2s_step *step;
    m2s_room *room;
} m2s_lowering;

/* Makes the step's tasks, on a pool thread. UNSUPPORTED = not a case for this candidate: the step is cleared and the
 * next one tried. Any other failure ends the compilation. */
typedef m2snet_status (*m2s_candidate)(const m2s_lowering *lowering, m2snet_error *error);

/* The candidates of an op, fastest first, ended by NULL; the reference kernel comes after the last. */
const m2s_candidate *m2s_cpu_candidates(m2s_op op);

void m2s_step_add_task(m2s_step *step, m2s_step_run run, int64_t chunks);
__attribute__((format(printf, 2, 3))) void m2s_step_set_kernel(m2s_step *step, const char *format, ...);
/* Whether input i is there and constant. */
bool m2s_lowering_is_constant(const m2s_lowering *lowering, int32_t i);
bool m2s_lowering_has_input(const m2s_lowering *lowering, int32_t i);

/* Writes a packed constant of bytes from its plain numbers (dense, in the order of its shape). */
typedef m2snet_status (*m2s_pack_rule)(void *argument, const float *plain, void *packed, m2snet_error *error);
/* The pack of constant input i under a layout's name (at most 48 bytes), held until the plan dies. rule NULL: the plain
 * numbers, dense. */
m2snet_status m2s_lowering_pack(const m2s_lowering *lowering, int32_t i, const char *layout, size_t bytes,
                                m2s_pack_rule rule, void *argument, const void **packed, m2snet_error *error);

/* args.in of all constant inputs: their plain numbers, dense. */
m2snet_status m2s_lowering_plain_constants(const m2s_lowering *lowering, m2snet_error *error);

/* ---- cutting work ---- */

typedef struct m2s_cut {
    int64_t begin, end;
} m2s_cut;

/* Into how many even chunks units of `each` cost go, so that a chunk costs about `target`: an even number from two on,
 * so that two workers end together; at most units. */
int64_t m2s_cut_count(int64_t units, int64_t each, int64_t target);
/* Part `chunk` of `chunks` of 0..units. */
m2s_cut m2s_cut_part(int64_t units, int64_t chunks, int64_t chunk);

/* About this many numbers of a result make a chunk where memory sets the speed. */
#define M2S_CHUNK_NUMBERS 65536

/* Candidates, by file. */
m2snet_status m2s_lower_reference(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_pointwise(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_activation(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_pool(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_subtract(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_pool_grad(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_resize_grad(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_box(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_subtract_train(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_subtract_grad(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_objective(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_sum_squares(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_update(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_norm(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_norm_train(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_norm_grad(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_layer(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_sum_pixels(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_depthwise(const m2s_lowering *lowering, m2snet_error *error); /* also conv2d_grad_src */
m2snet_status m2s_lower_depthwise_grad_weights(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_conv_winograd(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_conv_point(const m2s_lowering *lowering, m2snet_error *error); /* 1x1 windows */
m2snet_status m2s_lower_conv_few(const m2s_lowering *lowering, m2snet_error *error);   /* few results */
m2snet_status m2s_lower_conv_gemm(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_conv_onednn(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_grad_src(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_transpose_weights(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_grad_winograd(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_grad_weights(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_window_attention(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_merge_patches(const m2s_lowering *lowering, m2snet_error *error);
m2snet_status m2s_lower_attention(const m2s_lowering *lowering, m2snet_error *error); /* and its gradient */
m2snet_status m2s_lower_res2_groups(const m2s_lowering *lowering, m2snet_error *error);

#endif
