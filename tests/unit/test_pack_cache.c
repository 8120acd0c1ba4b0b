/* SPDX-License-Identifier: Apache-2.0
 * Packed weights: made once, shared, kept for the next plan, trimmed; fills that fail; many threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "common/faults.h"
#include "run/pack_cache.h"

typedef struct filler {
    atomic_int calls;
    int fail_first; /* as many fills fail */
    int pause_ms;
    size_t bytes;
} filler;

static m2snet_status fill(void *argument, void *data, m2snet_error *error)
{
    filler *f = argument;
    int call = atomic_fetch_add(&f->calls, 1);

    if (f->pause_ms > 0) {
        nanosleep(&(struct timespec){ .tv_nsec = f->pause_ms * 1000000L }, NULL);
    }
    memset(data, 1 + call, f->bytes);
    return call < f->fail_first ? m2s_fail(error, M2SNET_STATUS_BACKEND, "the device is gone") : M2SNET_STATUS_OK;
}

static const m2s_pack *acquire(m2s_pack_cache *cache, const char *key, filler *f)
{
    const m2s_pack *pack;
    m2snet_error error;

    assert_int_equal(cache->acquire(cache, key, f->bytes, fill, f, &pack, &error), M2SNET_STATUS_OK);
    assert_non_null(pack);
    assert_int_equal(pack->bytes, f->bytes);
    assert_int_equal((uintptr_t)pack->data % 64, 0);
    return pack;
}

static void test_sharing(void **state)
{
    m2s_memory memory;
    m2s_pack_cache *cache;
    filler a = { .bytes = 1000 }, b = { .bytes = 2000 };

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    assert_int_equal(m2s_pack_cache_create(&memory, &cache, NULL), M2SNET_STATUS_OK);
    uint64_t empty = memory.used_bytes;
    const m2s_pack *first = acquire(cache, "a", &a), *again = acquire(cache, "a", &a), *other = acquire(cache, "b", &b);
    assert_ptr_equal(first, again);
    assert_ptr_not_equal(first, other);
    assert_int_equal(a.calls, 1);
    assert_int_equal(m2s_pack_cache_bytes(cache), 3000);
    assert_int_equal(((unsigned char *)first->data)[999], 1);

    m2s_pack_cache_trim(cache); /* all in use */
    assert_int_equal(m2s_pack_cache_bytes(cache), 3000);
    cache->release(cache, first);
    m2s_pack_cache_trim(cache);
    assert_int_equal(m2s_pack_cache_bytes(cache), 3000);
    cache->release(cache, again); /* nobody uses it, but the next plan may */
    assert_int_equal(m2s_pack_cache_bytes(cache), 3000);
    assert_ptr_equal(acquire(cache, "a", &a), first);
    assert_int_equal(a.calls, 1);
    cache->release(cache, first);
    m2s_pack_cache_trim(cache);
    assert_int_equal(m2s_pack_cache_bytes(cache), 2000);
    first = acquire(cache, "a", &a);
    assert_int_equal(a.calls, 2); /* made anew */
    cache->release(cache, first);
    cache->release(cache, other);
    m2s_pack_cache_trim(cache);
    assert_int_equal(m2s_pack_cache_bytes(cache), 0);
    assert_int_equal(memory.used_bytes, empty);
    m2s_pack_cache_destroy(cache);
    m2s_pack_cache_destroy(NULL);
    assert_int_equal(memory.used_bytes, 0);
}

/* More keys than there are buckets; destroying frees what is there, used or not. */
static void test_many_keys(void **state)
{
    m2s_memory memory;
    m2s_pack_cache *cache;
    const m2s_pack *packs[2000];
    filler f = { .bytes = 16 };
    char key[32];

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    assert_int_equal(m2s_pack_cache_create(&memory, &cache, NULL), M2SNET_STATUS_OK);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 2000; i++) {
            snprintf(key, sizeof key, "key %d", i);
            const m2s_pack *pack = acquire(cache, key, &f);
            assert_true(round == 0 || pack == packs[i]);
            packs[i] = pack;
        }
    }
    assert_int_equal(f.calls, 2000);
    for (int i = 0; i < 1000; i++) {
        cache->release(cache, packs[2 * i]);
        cache->release(cache, packs[2 * i]);
    }
    m2s_pack_cache_trim(cache);
    assert_int_equal(m2s_pack_cache_bytes(cache), 1000 * 16);
    m2s_pack_cache_destroy(cache);
    assert_int_equal(memory.used_bytes, 0);
}

static void test_failing_fill(void **state)
{
    m2s_memory memory;
    m2s_pack_cache *cache;
    const m2s_pack *pack = (const m2s_pack *)&memory;
    filler f = { .bytes = 100, .fail_first = 2 };
    m2snet_error error = { 0 };

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    assert_int_equal(m2s_pack_cache_create(&memory, &cache, NULL), M2SNET_STATUS_OK);
    uint64_t empty = memory.used_bytes;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cache->acquire(cache, "k", 100, fill, &f, &pack, &error), M2SNET_STATUS_BACKEND);
        assert_null(pack);
        assert_string_equal(error.message, "the device is gone");
        assert_int_equal(m2s_pack_cache_bytes(cache), 0);
        assert_int_equal(memory.used_bytes, empty);
    }
    assert_int_equal(((unsigned char *)acquire(cache, "k", &f)->data)[0], 3);
    m2s_pack_cache_destroy(cache);
    assert_int_equal(memory.used_bytes, 0);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for (size_t k = 1; k <= 3; k++) {
        faults f = { .fail_at = k };
        m2snet_allocator allocator = faults_allocator(&f);
        m2s_memory memory;
        m2s_pack_cache *cache;
        const m2s_pack *pack;
        filler filled = { .bytes = 100 };
        m2snet_error error;
        m2s_memory_init(&memory, &allocator, 0);
        m2snet_status status = m2s_pack_cache_create(&memory, &cache, &error);
        assert_int_equal(status, k == 1 ? M2SNET_STATUS_OUT_OF_MEMORY : M2SNET_STATUS_OK);
        if (status == M2SNET_STATUS_OK) {
            assert_int_equal(cache->acquire(cache, "k", 100, fill, &filled, &pack, &error),
                             M2SNET_STATUS_OUT_OF_MEMORY);
            assert_null(pack);
            assert_int_equal(filled.calls, 0);
            acquire(cache, "k", &filled);
        }
        m2s_pack_cache_destroy(status == M2SNET_STATUS_OK ? cache : NULL);
        assert_int_equal(f.live, 0);
    }
}

/* ---- memory ---- */

/* Packs of many sizes lie apart, and their memory comes back in any order of going. */
static void test_places(void **state)
{
    enum { COUNT = 200 };
    m2s_memory memory;
    m2s_pack_cache *cache;
    static filler fillers[COUNT];
    const m2s_pack *packs[COUNT];
    size_t bytes = 0;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    assert_int_equal(m2s_pack_cache_create(&memory, &cache, NULL), M2SNET_STATUS_OK);
    uint64_t empty = memory.used_bytes;
    for (int i = 0; i < COUNT; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        fillers[i] = (filler){ .calls = i, .bytes = i % 50 == 7 ? 3000000 : (size_t)(1 + i * i) };
        packs[i] = acquire(cache, key, &fillers[i]);
        bytes += fillers[i].bytes;
    }
    for (int i = 0; i < COUNT; i++) {
        const unsigned char *data = packs[i]->data;
        assert_int_equal(data[0], (unsigned char)(1 + i));
        assert_int_equal(data[packs[i]->bytes - 1], (unsigned char)(1 + i));
    }
    assert_int_equal(m2s_pack_cache_bytes(cache), bytes);
    assert_true(memory.used_bytes - empty < 2 * bytes + 100000);
    for (int i = 0; i < COUNT; i++) { /* 77 is prime to 200: each pack once */
        int k = i * 77 % COUNT;
        bytes -= packs[k]->bytes;
        cache->release(cache, packs[k]);
        m2s_pack_cache_trim(cache);
        assert_int_equal(m2s_pack_cache_bytes(cache), bytes);
    }
    assert_int_equal(memory.used_bytes, empty);
    m2s_pack_cache_destroy(cache);
}

/* A cap that leaves room for the pack, but for nothing to spare, is enough. */
static void test_tight_limit(void **state)
{
    m2s_memory memory;
    m2s_pack_cache *cache;
    filler f = { .bytes = 40000 }, g = { .bytes = 40000 };

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    assert_int_equal(m2s_pack_cache_create(&memory, &cache, NULL), M2SNET_STATUS_OK);
    memory.limit_bytes = memory.used_bytes + 2 * 41000;
    acquire(cache, "a", &f);
    acquire(cache, "b", &g);
    m2s_pack_cache_destroy(cache);
    assert_int_equal(memory.used_bytes, 0);
}

/* ---- threads ---- */

enum { THREADS = 12, KEYS = 5 };

typedef struct user {
    m2s_pack_cache *cache;
    filler *fillers;
    const m2s_pack *packs[KEYS];
    int failures, wrong;
} user;

static void *use(void *argument)
{
    user *u = argument;

    for (int i = 0; i < KEYS; i++) {
        char key[16];
        m2snet_status status = M2SNET_STATUS_BACKEND;
        snprintf(key, sizeof key, "%d", i);
        for (int attempt = 0; attempt < 50 && status != M2SNET_STATUS_OK; attempt++) {
            status = u->cache->acquire(u->cache, key, u->fillers[i].bytes, fill, &u->fillers[i], &u->packs[i], NULL);
            u->failures += status != M2SNET_STATUS_OK;
        }
        const unsigned char *data = u->packs[i] != NULL ? u->packs[i]->data : NULL;
        for (size_t k = 0; data != NULL && k < u->fillers[i].bytes; k++) {
            u->wrong += data[k] != data[0];
        }
        u->wrong += data == NULL || data[0] != 1 + u->fillers[i].fail_first; /* the fill that went well */
    }
    return NULL;
}

static void test_threads(void **state)
{
    m2s_memory memory;
    m2s_pack_cache *cache;
    filler fillers[KEYS];
    user users[THREADS];
    pthread_t threads[THREADS];
    int failures = 0;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    assert_int_equal(m2s_pack_cache_create(&memory, &cache, NULL), M2SNET_STATUS_OK);
    for (int i = 0; i < KEYS; i++) {
        fillers[i] = (filler){ .bytes = 4096, .fail_first = i % 2, .pause_ms = 5 };
    }
    for (int i = 0; i < THREADS; i++) {
        users[i] = (user){ .cache = cache, .fillers = fillers };
        assert_int_equal(pthread_create(&threads[i], NULL, use, &users[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(users[i].wrong, 0);
        failures += users[i].failures;
        for (int k = 0; k < KEYS; k++) {
            assert_ptr_equal(users[i].packs[k], users[0].packs[k]);
        }
    }
    assert_int_equal(failures, 2); /* one caller each; those who waited tried for themselves */
    for (int i = 0; i < KEYS; i++) {
        assert_int_equal(fillers[i].calls, 1 + i % 2);
        for (int t = 0; t < THREADS; t++) {
            cache->release(cache, users[t].packs[i]);
        }
    }
    m2s_pack_cache_trim(cache);
    assert_int_equal(m2s_pack_cache_bytes(cache), 0);
    m2s_pack_cache_destroy(cache);
    assert_int_equal(memory.used_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sharing),       cmocka_unit_test(test_many_keys), cmocka_unit_test(test_failing_fill),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_places),    cmocka_unit_test(test_tight_limit),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
