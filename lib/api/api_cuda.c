/* SPDX-License-Identifier: Apache-2.0
 * What is CUDA's alone: its options, and runs on the caller's stream. */
#include "api/api.h"
#include "run/session.h"

void m2snet_cuda_options_init(m2snet_cuda_options *options)
{
    if (options != NULL) {
        m2s_cuda_options_default(options);
    }
}

void m2snet_cuda_run_init(m2snet_cuda_run *run)
{
    if (run != NULL) {
        *run = (m2snet_cuda_run){ .struct_size = sizeof *run };
    }
}

m2snet_status m2snet_session_enqueue(m2snet_session *session, const m2snet_cuda_run *run, m2snet_error *error)
{
    m2snet_status status;

    M2S_REQUIRE(session);
    M2S_REQUIRE(run);
    M2S_TRY(m2s_session_enter_pending(session, error));
    status = m2s_session_enqueue(session, run, error);
    status = m2s_memory_explain(&session->model->context->memory, status, error);
    m2s_session_leave(session);
fail:
    return status;
}

m2snet_status m2snet_session_wait(m2snet_session *session, m2snet_error *error)
{
    m2snet_status status;

    M2S_REQUIRE(session);
    M2S_TRY(m2s_session_enter(session, error));
    m2s_session_leave(session);
fail:
    return status;
}
