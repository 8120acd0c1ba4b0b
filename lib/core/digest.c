/* SPDX-License-Identifier: Apache-2.0 */
#include "core/digest.h"

#include "core/sha256.h"

#define STEP_BYTES ((size_t)1 << 20) /* between two looks for an end: well below a millisecond */

/* SHA-256 is one chain, so each step is a task of one chunk: the pool runs tasks in turn. */
struct m2s_digest {
    m2s_memory *memory;
    const unsigned char *data;
    size_t bytes, done;
    m2s_sha256 state;
    char hex[M2S_SHA256_HEX_BYTES];
    m2s_job *job;
    m2s_task tasks[];
};

static void hash_step(void *argument, int64_t chunk, int worker)
{
    m2s_digest *digest = argument;
    size_t rest = digest->bytes - digest->done, count = rest < STEP_BYTES ? rest : STEP_BYTES;

    (void)chunk;
    (void)worker;
    m2s_sha256_update(&digest->state, digest->data + digest->done, count);
    digest->done += count;
    if (digest->done == digest->bytes) {
        m2s_sha256_finish(&digest->state, digest->hex);
    }
}

m2snet_status m2s_digest_begin(m2s_memory *memory, m2s_pool *pool, const void *data, size_t bytes, m2s_digest **begun,
                               m2snet_error *error)
{
    size_t steps = bytes > STEP_BYTES ? (bytes - 1) / STEP_BYTES + 1 : 1;
    m2s_digest *digest = m2s_calloc(memory, 1, sizeof *digest + steps * sizeof digest->tasks[0]);
    m2snet_status status;

    *begun = NULL;
    if (digest == NULL) {
        return m2s_fail_memory(error, "a digest", sizeof *digest + steps * sizeof digest->tasks[0]);
    }
    digest->memory = memory;
    digest->data = data;
    digest->bytes = bytes;
    m2s_sha256_init(&digest->state);
    for (size_t i = 0; i < steps; i++) {
        digest->tasks[i] = (m2s_task){ hash_step, digest, 1, NULL };
    }
    M2S_TRY(m2s_pool_begin(pool, digest->tasks, (int64_t)steps, &digest->job, error));
    *begun = digest;
    return M2SNET_STATUS_OK;
fail:
    m2s_free(memory, digest);
    return status;
}

m2snet_status m2s_digest_wait(m2s_digest *digest, m2s_control *control, m2snet_error *error)
{
    return m2s_job_wait(digest->job, control, "read", error);
}

const char *m2s_digest_hex(m2s_digest *digest)
{
    (void)m2s_digest_wait(digest, NULL, NULL);
    return digest->hex;
}

void m2s_digest_end(m2s_digest *digest)
{
    if (digest != NULL) {
        m2s_job_end(digest->job);
        m2s_free(digest->memory, digest);
    }
}
