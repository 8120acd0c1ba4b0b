/* SPDX-License-Identifier: Apache-2.0
 * SHA-256 worked out by a pool while it has nothing else to do: 100 MB take 60 ms of one core, and nobody needs the
 * digest at once. */
#ifndef M2S_CORE_DIGEST_H
#define M2S_CORE_DIGEST_H

#include "core/threads.h"

typedef struct m2s_digest m2s_digest;

/* The bytes must stay as they are until m2s_digest_wait has returned or m2s_digest_end was called. */
m2snet_status m2s_digest_begin(m2s_memory *memory, m2s_pool *pool, const void *data, size_t bytes, m2s_digest **digest,
                               m2snet_error *error);
/* Waits until the digest is there: phase "read". A cancel ends it for good. Any thread but a worker; control may be
 * NULL. */
m2snet_status m2s_digest_wait(m2s_digest *digest, m2s_control *control, m2snet_error *error);
/* The 64 hexadecimal digits, waiting for them; "" when a cancel came first. They live as long as the digest. */
const char *m2s_digest_hex(m2s_digest *digest);
/* Gives up what is not done. NULL is fine. */
void m2s_digest_end(m2s_digest *digest);

#endif
