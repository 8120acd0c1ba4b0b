/* SPDX-License-Identifier: Apache-2.0
 * A compiled graph. plan.c makes it, run.c runs it, branches.c captures what of it may run side by side. */
#ifndef M2S_BACKENDS_CUDA_PLAN_H
#define M2S_BACKENDS_CUDA_PLAN_H

#include "backends/cuda/lower.h"
#include "graph/memory_plan.h"

/* Where the numbers of a value are during a run. */
typedef enum m2s_place {
    M2S_PLACE_NONE,  /* a constant: steps know where it is */
    M2S_PLACE_ARENA, /* at offset */
    M2S_PLACE_BOUND, /* in the caller's buffer */
    M2S_PLACE_STATE  /* in place of the state at the root of its chain */
} m2s_place;

/* Values beyond the graph's own are twins: another value's numbers, cast to the other type for the steps that want it
 * so. */
typedef struct m2s_plan_value {
    m2s_place place;
    m2snet_dtype dtype;             /* of the numbers that steps make and use: F32, or the plan's storage */
    m2s_value twin;                 /* 0: there is none */
    int32_t first_use, last_use;    /* nodes; a twin's */
    bool bound;                     /* must come with the run request, in F32 */
    bool input;                     /* bound, and read from */
    bool cast;                      /* an output that is made in 16 bits in the arena, and cast at the end */
    const m2s_weight_entry *leaves; /* a constant that is an output */
    size_t elements, bytes;         /* bytes: as bound */
    size_t offset;
    unsigned char *data;  /* of the run under way: what steps use */
    unsigned char *given; /* the caller's */
    m2s_value root;       /* M2S_PLACE_STATE: what it replaces in the end */
    const char *name;     /* of what must be bound, for messages */
} m2s_plan_value;

typedef struct m2s_plan_step {
    m2s_step step;
    int32_t node; /* that it makes, or makes a cast for */
    m2s_value in[M2S_MAX_IN], out[M2S_MAX_OUT];
    const m2s_weight_entry *constant[M2S_MAX_IN]; /* NULL: not constant, or absent */
    size_t scratch_offset;
    const char *name;
    uint64_t multiply_adds, nanoseconds;
} m2s_plan_step;

/* Steps that are launched together: between two parts a run can be cancelled. */
typedef struct m2s_plan_part {
    int32_t end;
    void *graph; /* captured for the bindings of the last run, or NULL */
} m2s_plan_part;

#define M2S_MAX_PARTS 64

struct m2s_plan {
    m2s_memory *memory;
    m2s_pile *pile; /* names */
    m2snet_dtype storage;
    bool tf32;
    m2s_plan_value *values;
    int32_t value_count; /* with twins */
    m2s_plan_step *steps;
    int32_t step_count;
    int32_t first_update; /* the first step that writes state; step_count when none does */
    m2s_weight_entry **weights;
    int32_t weight_count;
    m2s_plan_part parts[M2S_MAX_PARTS];
    int32_t part_count;
    size_t arena_bytes, packed_bytes;
    void *stream;
    unsigned char *arena; /* of the last run */
    int32_t runs_alike;   /* how many in a row had the bindings of the last one */
    bool no_graphs;       /* a capture failed: launch one by one */
    bool in_a_row;        /* captured as launched, one step after the other: wished so, or the other way failed */
};

m2snet_status m2s_cuda_plan_compile(m2s_device *device, const m2s_plan_request *request, m2s_plan **plan,
                                    m2snet_error *error);
void m2s_cuda_plan_free(m2s_device *device, m2s_plan *plan); /* NULL is fine */
m2snet_status m2s_cuda_plan_run(m2s_device *device, m2s_plan *plan, const m2s_run_request *request,
                                m2snet_error *error);
void m2s_cuda_plan_drop_graphs(m2s_plan *plan);

/* ---- for a run: values have their places ---- */

/* A step's arguments, with pointers. */
void m2s_cuda_plan_arguments(const m2s_plan *plan, const m2s_plan_step *step, m2s_ref_args *args);
/* One step, or the cast of a value that an output is; 0 or the runtime's error number. beside: m2s_cuda_call's. */
int m2s_cuda_plan_launch_step(const m2s_device *device, const m2s_plan *plan, void *stream, int32_t step, int *beside);
int m2s_cuda_plan_launch_cast(const m2s_device *device, const m2s_plan *plan, void *stream, m2s_value value);

#endif
