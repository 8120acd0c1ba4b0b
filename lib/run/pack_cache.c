/* SPDX-License-Identifier: Apache-2.0 */
#include "run/pack_cache.h"

#include <pthread.h>
#include <string.h>

#define BUCKETS    512u
#define MOST_SLAB  ((size_t)16 << 20)
#define LEAST_SLAB ((size_t)64 << 10)
#define SLAB_HEAD  ((sizeof(slab) + M2S_ALIGNMENT - 1) / M2S_ALIGNMENT * M2S_ALIGNMENT)

/* Packs lie one after the other in a few large blocks, which the system backs by huge pages: the first touch of 170 MB
 * in some 300 blocks of their own was a third of the time of packing. A slab goes with its last pack. */
typedef struct slab {
    struct slab *next;
    size_t bytes, used;
    uint64_t packs;
} slab;

/* An entry is filled outside the lock, so that several may be packed at once; others that want it wait. */
typedef struct entry {
    m2s_pack pack; /* first: a pack is its entry */
    slab *place;
    struct entry *next;
    uint64_t users;
    bool ready;
    char key[];
} entry;

typedef struct cache {
    m2s_pack_cache functions; /* first */
    m2s_memory *memory;
    pthread_mutex_t mutex;
    pthread_cond_t filled;
    entry *bucket[BUCKETS];
    slab *slabs;  /* new packs go to the first while it has room */
    size_t bytes; /* of packs */
} cache;

static unsigned bucket_of(const char *key)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (const char *p = key; *p != '\0'; p++) {
        hash = (hash ^ (unsigned char)*p) * 0x100000001b3u;
    }
    return (unsigned)(hash % BUCKETS);
}

/* Slabs grow with what there is already, so that small models stay small; near the cap on memory they are as large as
 * their pack. */
static size_t slab_bytes(const cache *c, size_t pack)
{
    size_t usual = c->bytes < LEAST_SLAB ? LEAST_SLAB : c->bytes < MOST_SLAB ? c->bytes : MOST_SLAB;
    uint64_t used = atomic_load(&c->memory->used_bytes), limit = c->memory->limit_bytes;

    return pack >= usual || (limit != 0 && used + 2 * usual > limit) ? pack : usual;
}

static slab *add_slab(cache *c, size_t pack)
{
    size_t bytes = slab_bytes(c, pack), whole;
    slab *s = m2s_add(bytes, SLAB_HEAD, &whole) ? m2s_alloc(c->memory, whole) : NULL;

    if (s != NULL) {
        *s = (slab){ .next = c->slabs, .bytes = bytes };
        c->slabs = s;
    }
    return s;
}

/* Room for a pack, or NULL. */
static void *place_pack(cache *c, size_t bytes, slab **place)
{
    slab *s = c->slabs;
    size_t rounded;

    if (!m2s_add(bytes, M2S_ALIGNMENT - 1, &rounded)) {
        return NULL;
    }
    rounded &= ~(size_t)(M2S_ALIGNMENT - 1);
    if (s == NULL || s->bytes - s->used < rounded) {
        s = add_slab(c, rounded);
        if (s == NULL) {
            return NULL;
        }
    }
    void *data = (char *)s + SLAB_HEAD + s->used;
    s->used += rounded;
    s->packs++;
    *place = s;
    return data;
}

static void leave_slab(cache *c, slab *s)
{
    if (--s->packs > 0) {
        return;
    }
    for (slab **link = &c->slabs; *link != NULL; link = &(*link)->next) {
        if (*link == s) {
            *link = s->next;
            break;
        }
    }
    m2s_free(c->memory, s);
}

static void drop(cache *c, entry *e)
{
    for (entry **link = &c->bucket[bucket_of(e->key)]; *link != NULL; link = &(*link)->next) {
        if (*link == e) {
            *link = e->next;
            break;
        }
    }
    c->bytes -= e->pack.bytes;
    leave_slab(c, e->place);
    m2s_free(c->memory, e);
}

static m2snet_status make(cache *c, const char *key, size_t bytes, entry **made, m2snet_error *error)
{
    size_t length = strlen(key) + 1;
    entry *e = m2s_calloc(c->memory, 1, sizeof *e + length);

    if (e == NULL || (e->pack.data = place_pack(c, bytes, &e->place)) == NULL) {
        m2s_free(c->memory, e);
        return m2s_fail_memory(error, "packed weights", bytes);
    }
    e->pack.bytes = bytes;
    memcpy(e->key, key, length);
    e->next = c->bucket[bucket_of(key)];
    c->bucket[bucket_of(key)] = e;
    c->bytes += bytes;
    *made = e;
    return M2SNET_STATUS_OK;
}

static m2snet_status acquire(m2s_pack_cache *functions, const char *key, size_t bytes, m2s_pack_fill fill,
                             void *argument, const m2s_pack **pack, m2snet_error *error)
{
    cache *c = (cache *)functions;
    m2snet_status status = M2SNET_STATUS_OK;
    entry *e;

    *pack = NULL;
    pthread_mutex_lock(&c->mutex);
    for (;;) {
        for (e = c->bucket[bucket_of(key)]; e != NULL && strcmp(e->key, key) != 0; e = e->next) {
        }
        if (e == NULL || e->ready) {
            break;
        }
        pthread_cond_wait(&c->filled, &c->mutex);
    }
    if (e != NULL) {
        e->users++;
        *pack = &e->pack;
    } else if ((status = make(c, key, bytes, &e, error)) == M2SNET_STATUS_OK) {
        pthread_mutex_unlock(&c->mutex);
        status = fill(argument, e->pack.data, error);
        pthread_mutex_lock(&c->mutex);
        if (status == M2SNET_STATUS_OK) {
            e->ready = true;
            e->users = 1;
            *pack = &e->pack;
        } else {
            drop(c, e);
        }
        pthread_cond_broadcast(&c->filled);
    }
    pthread_mutex_unlock(&c->mutex);
    return status;
}

static void release(m2s_pack_cache *functions, const m2s_pack *pack)
{
    cache *c = (cache *)functions;

    pthread_mutex_lock(&c->mutex);
    ((entry *)(uintptr_t)pack)->users--; /* kept for the next plan; trim frees it */
    pthread_mutex_unlock(&c->mutex);
}

m2snet_status m2s_pack_cache_create(m2s_memory *memory, m2s_pack_cache **created, m2snet_error *error)
{
    cache *c = m2s_calloc(memory, 1, sizeof *c);

    *created = NULL;
    if (c == NULL) {
        return m2s_fail_memory(error, "the pack cache", sizeof *c);
    }
    c->functions = (m2s_pack_cache){ acquire, release };
    c->memory = memory;
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->filled, NULL);
    *created = &c->functions;
    return M2SNET_STATUS_OK;
}

static void drop_unused(cache *c, bool all)
{
    for (unsigned b = 0; b < BUCKETS; b++) {
        for (entry *e = c->bucket[b], *next; e != NULL; e = next) {
            next = e->next;
            if (all || (e->ready && e->users == 0)) {
                drop(c, e);
            }
        }
    }
}

void m2s_pack_cache_trim(m2s_pack_cache *functions)
{
    cache *c = (cache *)functions;

    pthread_mutex_lock(&c->mutex);
    drop_unused(c, false);
    pthread_mutex_unlock(&c->mutex);
}

size_t m2s_pack_cache_bytes(m2s_pack_cache *functions)
{
    cache *c = (cache *)functions;

    pthread_mutex_lock(&c->mutex);
    size_t bytes = c->bytes;
    pthread_mutex_unlock(&c->mutex);
    return bytes;
}

void m2s_pack_cache_destroy(m2s_pack_cache *functions)
{
    cache *c = (cache *)functions;

    if (c == NULL) {
        return;
    }
    drop_unused(c, true);
    pthread_cond_destroy(&c->filled);
    pthread_mutex_destroy(&c->mutex);
    m2s_free(c->memory, c);
}
