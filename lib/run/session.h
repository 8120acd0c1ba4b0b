/* SPDX-License-Identifier: Apache-2.0
 * Sessions: compiled plans of one model by size, least recently used dropped first, and the one arena they share. */
#ifndef M2S_RUN_SESSION_H
#define M2S_RUN_SESSION_H

#include <stdatomic.h>

#include "run/look.h"
#include "run/model.h"
#include "run/program.h"

#define M2S_SESSION_MAX_PLANS 64

typedef struct m2s_session_plan {
    int64_t n, h, w;
    char *look; /* NULL: the network alone; else m2s_look_key of what it shows besides */
    m2s_program *program;
    uint64_t last_use; /* counts uses of the session */
} m2s_session_plan;

struct m2snet_session {
    m2snet_model *model;
    m2snet_session_options options; /* sizes and limits resolved */
    atomic_bool busy;
    m2s_session_plan plans[M2S_SESSION_MAX_PLANS];
    int32_t plan_count;
    uint64_t uses;
    m2s_buffer *arena;
    size_t arena_bytes;
    bool pending; /* runs that were enqueued with the arena may be under way */
    bool time_steps;
    m2s_program *last; /* that ran last; NULL after trim */
};

void m2s_session_options_default(m2snet_session_options *options);
m2snet_status m2s_session_create(m2snet_model *model, const m2snet_session_options *options, m2snet_session **session,
                                 m2snet_error *error);
void m2s_session_destroy(m2snet_session *session);

/* Every use of a session is between enter and leave; enter fails with BUSY when another thread is inside. It waits for
 * what has been enqueued, and fails if that did; enter_pending does not wait. */
m2snet_status m2s_session_enter(m2snet_session *session, m2snet_error *error);
m2snet_status m2s_session_enter_pending(m2snet_session *session, m2snet_error *error);
void m2s_session_leave(m2snet_session *session);

/* F32 or F64, as the session's precision. */
m2snet_dtype m2s_session_dtype(const m2snet_session *session);
/* The plan for n images of h x w, compiled on the first call. Valid until the next call of this function. */
m2snet_status m2s_session_plan_for(m2snet_session *session, int64_t n, int64_t h, int64_t w, m2s_control *control,
                                   m2s_program **program, m2snet_error *error);
/* The same with what look asks for; NULL: nothing. */
m2snet_status m2s_session_look_plan_for(m2snet_session *session, int64_t n, int64_t h, int64_t w, const m2s_look *look,
                                        m2s_control *control, m2s_program **program, m2snet_error *error);
/* Makes sure that the arena is large enough for program, and for what uses so many bytes of it between two runs. */
m2snet_status m2s_session_reserve(m2snet_session *session, const m2s_program *program, size_t between_bytes,
                                  m2snet_error *error);
/* Writes the dense image (n, h, w, 3) of the session's dtype, unless it is NULL: the input is there; runs, and reads
 * the dense logits. */
m2snet_status m2s_session_run_dense(m2snet_session *session, m2s_program *program, const void *image, void *logits,
                                    m2s_control *control, m2snet_error *error);
/* Puts the run on its stream (m2snet_session_enqueue). */
m2snet_status m2s_session_enqueue(m2snet_session *session, const m2snet_cuda_run *run, m2snet_error *error);
void m2s_session_trim(m2snet_session *session);

#endif
