/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "core/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* In front of every block, in the space that alignment wastes anyway. */
typedef struct block_header {
    size_t bytes; /* of the whole allocation, header included */
} block_header;

#define HUGE_PAGE_BYTES ((size_t)2 << 20)

/* Large blocks (weights, packs, arenas) ask for huge pages: touching them for the first time then costs a fault for
 * each 2 MiB instead of each 4 KiB, which is a good part of the time to the first mask. */
static void *malloc_alloc(void *user, size_t bytes, size_t alignment)
{
    (void)user;
    if (bytes < 2 * HUGE_PAGE_BYTES) {
        return aligned_alloc(alignment, bytes);
    }
    void *block = aligned_alloc(HUGE_PAGE_BYTES, (bytes + HUGE_PAGE_BYTES - 1) & ~(HUGE_PAGE_BYTES - 1));
    if (block != NULL) {
        (void)madvise(block, bytes & ~(HUGE_PAGE_BYTES - 1), MADV_HUGEPAGE); /* a wish: refusal changes nothing */
    }
    return block;
}

static void malloc_free(void *user, void *pointer, size_t bytes)
{
    (void)user;
    (void)bytes;
    free(pointer);
}

void m2s_memory_init(m2s_memory *memory, const m2snet_allocator *allocator, uint64_t limit_bytes)
{
    memory->allocator = allocator != NULL ? *allocator : (m2snet_allocator){ malloc_alloc, malloc_free, NULL };
    memory->limit_bytes = limit_bytes;
    atomic_init(&memory->used_bytes, 0);
    atomic_init(&memory->peak_bytes, 0);
    atomic_init(&memory->refused_bytes, 0);
}

m2snet_status m2s_memory_explain(m2s_memory *memory, m2snet_status status, m2snet_error *error)
{
    if (status != M2SNET_STATUS_OUT_OF_MEMORY || memory->limit_bytes == 0) {
        return status;
    }
    uint64_t refused = atomic_exchange(&memory->refused_bytes, 0);
    if (refused == 0) {
        return status;
    }
    m2s_error_prefix(error,
                     "%" PRIu64 " bytes more than the %" PRIu64 " in use would pass memory_limit_bytes, %" PRIu64,
                     refused, (uint64_t)atomic_load(&memory->used_bytes), memory->limit_bytes);
    if (error != NULL) {
        error->status = M2SNET_STATUS_LIMIT;
    }
    return M2SNET_STATUS_LIMIT;
}

bool m2s_mul(size_t a, size_t b, size_t *result)
{
    size_t product;

    if (__builtin_mul_overflow(a, b, &product)) {
        return false;
    }
    *result = product;
    return true;
}

bool m2s_add(size_t a, size_t b, size_t *result)
{
    size_t sum;

    if (__builtin_add_overflow(a, b, &sum)) {
        return false;
    }
    *result = sum;
    return true;
}

void *m2s_alloc(m2s_memory *memory, size_t bytes)
{
    size_t whole;

    if (!m2s_add(bytes, 2 * M2S_ALIGNMENT - 1, &whole) || whole > PTRDIFF_MAX) {
        return NULL;
    }
    whole &= ~(size_t)(M2S_ALIGNMENT - 1); /* header, and the block rounded up to whole lines */
    uint64_t used = atomic_fetch_add(&memory->used_bytes, whole) + whole;
    if (memory->limit_bytes != 0 && used > memory->limit_bytes) {
        atomic_fetch_sub(&memory->used_bytes, whole);
        atomic_store(&memory->refused_bytes, whole);
        return NULL;
    }
    char *start = memory->allocator.alloc(memory->allocator.user, whole, M2S_ALIGNMENT);
    if (start == NULL) {
        atomic_fetch_sub(&memory->used_bytes, whole);
        return NULL;
    }
    uint64_t peak = atomic_load(&memory->peak_bytes);
    while (used > peak && !atomic_compare_exchange_weak(&memory->peak_bytes, &peak, used)) {
    }
    ((block_header *)(void *)start)->bytes = whole;
    return start + M2S_ALIGNMENT;
}

void *m2s_alloc_array(m2s_memory *memory, size_t count, size_t size)
{
    size_t bytes;

    return m2s_mul(count, size, &bytes) ? m2s_alloc(memory, bytes) : NULL;
}

void *m2s_calloc(m2s_memory *memory, size_t count, size_t size)
{
    void *block = m2s_alloc_array(memory, count, size);

    if (block != NULL) {
        memset(block, 0, count * size);
    }
    return block;
}

char *m2s_strndup(m2s_memory *memory, const char *text, size_t length)
{
    char *copy = length < SIZE_MAX ? m2s_alloc(memory, length + 1) : NULL;

    if (copy != NULL) {
        memcpy(copy, text, length);
        copy[length] = '\0';
    }
    return copy;
}

char *m2s_strdup(m2s_memory *memory, const char *text)
{
    return m2s_strndup(memory, text, strlen(text));
}

static block_header *header_of(void *block)
{
    return (block_header *)(void *)((char *)block - M2S_ALIGNMENT);
}

void *m2s_realloc(m2s_memory *memory, void *block, size_t bytes)
{
    void *moved = m2s_alloc(memory, bytes);

    if (moved != NULL && block != NULL) {
        size_t old = header_of(block)->bytes - M2S_ALIGNMENT;
        memcpy(moved, block, old < bytes ? old : bytes);
        m2s_free(memory, block);
    }
    return moved;
}

void m2s_free(m2s_memory *memory, void *block)
{
    if (block == NULL) {
        return;
    }
    block_header *header = header_of(block);
    size_t whole = header->bytes;
    memory->allocator.free(memory->allocator.user, header, whole);
    atomic_fetch_sub(&memory->used_bytes, whole);
}

/* ---- pile ---- */

#define SLAB_BYTES 16384u

typedef struct slab {
    struct slab *next;
    size_t used, bytes; /* of data */
    max_align_t data[];
} slab;

struct m2s_pile {
    m2s_memory *memory;
    slab *slabs;
};

m2s_pile *m2s_pile_create(m2s_memory *memory)
{
    m2s_pile *pile = m2s_alloc(memory, sizeof *pile);

    if (pile != NULL) {
        *pile = (m2s_pile){ memory, NULL };
    }
    return pile;
}

void m2s_pile_destroy(m2s_pile *pile)
{
    if (pile == NULL) {
        return;
    }
    for (slab *s = pile->slabs, *next; s != NULL; s = next) {
        next = s->next;
        m2s_free(pile->memory, s);
    }
    m2s_free(pile->memory, pile);
}

void *m2s_pile_alloc(m2s_pile *pile, size_t bytes)
{
    size_t rounded;

    if (!m2s_add(bytes == 0 ? 1 : bytes, 15, &rounded)) {
        return NULL;
    }
    rounded &= ~(size_t)15;
    slab *s = pile->slabs;
    if (s == NULL || s->bytes - s->used < rounded) {
        size_t data = rounded > SLAB_BYTES ? rounded : SLAB_BYTES;
        size_t whole;
        if (!m2s_add(data, sizeof *s, &whole) || (s = m2s_alloc(pile->memory, whole)) == NULL) {
            return NULL;
        }
        s->used = 0;
        s->bytes = data;
        s->next = pile->slabs;
        pile->slabs = s;
    }
    void *block = (char *)s->data + s->used;
    s->used += rounded;
    memset(block, 0, rounded);
    return block;
}

char *m2s_pile_strdup(m2s_pile *pile, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = m2s_pile_alloc(pile, bytes);

    if (copy != NULL) {
        memcpy(copy, text, bytes);
    }
    return copy;
}

char *m2s_pile_printf(m2s_pile *pile, const char *format, ...)
{
    va_list arguments, again;

    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = length >= 0 ? m2s_pile_alloc(pile, (size_t)length + 1) : NULL;
    if (text != NULL) {
        vsnprintf(text, (size_t)length + 1, format, again);
    }
    va_end(again);
    return text;
}
