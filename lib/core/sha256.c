/* SPDX-License-Identifier: Apache-2.0 */
#include "core/sha256.h"

#include <nettle/sha2.h>

_Static_assert(sizeof(struct sha256_ctx) <= sizeof(m2s_sha256), "nettle's state must fit");
_Static_assert(_Alignof(struct sha256_ctx) <= _Alignof(m2s_sha256), "nettle's state must be aligned");

static struct sha256_ctx *state_of(m2s_sha256 *hash)
{
    return (struct sha256_ctx *)(void *)hash->opaque;
}

void m2s_sha256_init(m2s_sha256 *hash)
{
    sha256_init(state_of(hash));
}

void m2s_sha256_update(m2s_sha256 *hash, const void *data, size_t bytes)
{
    if (bytes > 0) {
        sha256_update(state_of(hash), bytes, data);
    }
}

void m2s_sha256_finish(m2s_sha256 *hash, char hex[M2S_SHA256_HEX_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t digest[SHA256_DIGEST_SIZE];

    sha256_digest(state_of(hash), sizeof digest, digest);
    for (size_t i = 0; i < sizeof digest; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15u];
    }
    hex[2 * sizeof digest] = '\0';
}

void m2s_sha256_hex(const void *data, size_t bytes, char hex[M2S_SHA256_HEX_BYTES])
{
    m2s_sha256 hash;

    m2s_sha256_init(&hash);
    m2s_sha256_update(&hash, data, bytes);
    m2s_sha256_finish(&hash, hex);
}
