/* SPDX-License-Identifier: Apache-2.0
 * The context's memory: the caller's allocator, checked sizes, a cap, and an account of what is held. */
#ifndef M2S_CORE_MEMORY_H
#define M2S_CORE_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

#define M2S_ALIGNMENT 64u /* of every block: a cache line, and the widest vector */

/* Thread safe. Lives inside the context; everything the library allocates goes through one of these. */
typedef struct m2s_memory {
    m2snet_allocator allocator;
    uint64_t limit_bytes; /* 0 = none */
    atomic_uint_fast64_t used_bytes;
    atomic_uint_fast64_t peak_bytes;
    atomic_uint_fast64_t refused_bytes; /* what was last asked for beyond the limit; 0 = nothing since it was told */
} m2s_memory;

/* allocator NULL = malloc. */
void m2s_memory_init(m2s_memory *memory, const m2snet_allocator *allocator, uint64_t limit_bytes);

/* Uninitialised block of at least one byte, or NULL: out of memory, or over the limit. */
void *m2s_alloc(m2s_memory *memory, size_t bytes);
void *m2s_calloc(m2s_memory *memory, size_t count, size_t size); /* zeroed; NULL also when count * size overflows */
void *m2s_alloc_array(m2s_memory *memory, size_t count, size_t size);
char *m2s_strdup(m2s_memory *memory, const char *text);
char *m2s_strndup(m2s_memory *memory, const char *text, size_t length);
/* NULL block = alloc; keeps the first old bytes; on NULL the old block is still there. */
void *m2s_realloc(m2s_memory *memory, void *block, size_t bytes);
void m2s_free(m2s_memory *memory, void *block); /* NULL is fine */

/* For the end of a public call: an OUT_OF_MEMORY that comes of limit_bytes becomes LIMIT, and the message says what was
 * asked for and what is allowed. Returns the status to go on with; error may be NULL. */
m2snet_status m2s_memory_explain(m2s_memory *memory, m2snet_status status, m2snet_error *error);

/* False on overflow; *result is then untouched. */
bool m2s_mul(size_t a, size_t b, size_t *result);
bool m2s_add(size_t a, size_t b, size_t *result);

/* Many small blocks that die together (graphs, configurations, parsed files). Not thread safe. */
typedef struct m2s_pile m2s_pile;
m2s_pile *m2s_pile_create(m2s_memory *memory);      /* NULL = out of memory */
void m2s_pile_destroy(m2s_pile *pile);              /* NULL is fine */
void *m2s_pile_alloc(m2s_pile *pile, size_t bytes); /* zeroed, 16-byte aligned; NULL = out of memory */
char *m2s_pile_strdup(m2s_pile *pile, const char *text);
__attribute__((format(printf, 2, 3))) char *m2s_pile_printf(m2s_pile *pile, const char *format, ...);

#endif
