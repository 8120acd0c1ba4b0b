/* SPDX-License-Identifier: Apache-2.0
 * The cache of packed weights: one copy for a key, failures leave nothing, threads wait for each other. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "run/pack_cache.h"

static atomic_int fills;

static m2snet_status fill_with(void *argument, void *data, m2snet_error *error)
{
    (void)error;
    atomic_fetch_add(&fills, 1);
    memset(data, *(int *)argument, 100);
    return M2SNET_STATUS_OK;
}

static m2snet_status fill_slowly(void *argument, void *data, m2snet_error *error)
{
    usleep(20000);
    return fill_with(argument, data, error);
}

static m2snet_status fill_fails(void *argument, void *data, m2snet_error *error)
{
    (void)argument;
    (void)data;
    return m2s_fail(error, M2SNET_STATUS_BACKEND, "no");
}

static void test_shared_and_kept(void **state)
{
    m2s_memory memory;
    m2s_pack_cache *cache;
    const m2s_pack *a, *b, *c;
    int one = 1, two = 2;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    assert_int_equal(m2s_pack_cache_create(&memory, &cache, NULL), M2SNET_STATUS_OK);
    atomic_store(&fills, 0);
    assert_int_equal(cache->acquire(cache, "w/plain", 100, fill_with, &one, &a, NULL), M2SNET_STATUS_OK);
    assert_int_equal(cache->acquire(cache, "w/plain", 100, fill_with, &two, &b, NULL), M2SNET_STATUS_OK);
    assert_int_equal(cache->acquire(cache, "w/blocked", 100, fill_with, &two, &c, NULL), M2SNET_STATUS_OK);
    assert_ptr_equal(a, b);
    assert_int_equal(fills, 2);
    assert_int_equal(*(unsigned char *)a->data, 1);
    assert_int_equal(*(unsigned char *)c->data, 2);
    assert_int_equal(m2s_pack_cache_bytes(cache), 200);
    cache->release(cache, a);
    cache->release(cache, c);
    m2s_pack_cache_trim(cache);
    assert_int_equal(m2s_pack_cache_bytes(cache), 100); /* b still has it */
    cache->release(cache, b);
    m2s_pack_cache_trim(cache);
    assert_int_equal(m2s_pack_cache_bytes(cache), 0);
    m2s_pack_cache_destroy(cache);
    assert_int_equal(memory.used_bytes, 0);
}

static void test_failures(void **state)
{
    m2s_memory memory;
    m2s_pack_cache *cache;
    const m2s_pack *pack;
    m2snet_error error;
    int one = 1;

    (void)state;
    m2s_memory_init(&memory, NULL, 1 << 20);
    assert_int_equal(m2s_pack_cache_create(&memory, &cache, NULL), M2SNET_STATUS_OK);
    assert_int_equal(cache->acquire(cache, "w", 100, fill_fails, NULL, &pack, &error), M2SNET_STATUS_BACKEND);
    assert_null(pack);
    assert_int_equal(m2s_pack_cache_bytes(cache), 0);
    assert_int_equal(cache->acquire(cache, "w", 2 << 20, fill_with, &one, &pack, &error), M2SNET_STATUS_OUT_OF_MEMORY);
    assert_int_equal(cache->acquire(cache, "w", 100, fill_with, &one, &pack, &error), M2SNET_STATUS_OK);
    cache->release(cache, pack);
    m2s_pack_cache_destroy(cache);
    assert_int_equal(memory.used_bytes, 0);
}

static void *acquire_one(void *argument)
{
    m2s_pack_cache *cache = argument;
    const m2s_pack *pack;
    int value = 7;

    assert_int_equal(cache->acquire(cache, "shared", 100, fill_slowly, &value, &pack, NULL), M2SNET_STATUS_OK);
    assert_int_equal(*(unsigned char *)pack->data, 7);
    cache->release(cache, pack);
    return NULL;
}

static void test_threads_wait_for_one_fill(void **state)
{
    m2s_memory memory;
    m2s_pack_cache *cache;
    pthread_t threads[8];

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    assert_int_equal(m2s_pack_cache_create(&memory, &cache, NULL), M2SNET_STATUS_OK);
    atomic_store(&fills, 0);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, acquire_one, cache), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(fills, 1);
    m2s_pack_cache_destroy(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_and_kept),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_threads_wait_for_one_fill),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
