/* SPDX-License-Identifier: Apache-2.0
 * SHA-256 of bytes, whole or piece by piece, as 64 lower-case hexadecimal digits. */
#ifndef M2S_CORE_SHA256_H
#define M2S_CORE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define M2S_SHA256_HEX_BYTES 65 /* with the terminating zero */

typedef struct m2s_sha256 {
    uint64_t opaque[24];
} m2s_sha256;

void m2s_sha256_init(m2s_sha256 *hash);
void m2s_sha256_update(m2s_sha256 *hash, const void *data, size_t bytes);
/* Writes the digest; hash must be initialised again before more is hashed. */
void m2s_sha256_finish(m2s_sha256 *hash, char hex[M2S_SHA256_HEX_BYTES]);

void m2s_sha256_hex(const void *data, size_t bytes, char hex[M2S_SHA256_HEX_BYTES]);

#endif
