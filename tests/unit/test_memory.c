/* SPDX-License-Identifier: Apache-2.0
 * The account of memory: sizes, limit, peak, many threads; the pile. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/faults.h"
#include "core/memory.h"

/* Huge sizes are asked for on purpose: a sanitizer's allocator shall say no, as malloc does. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void test_blocks(void **state)
{
    faults f = { 0 };
    m2snet_allocator allocator = faults_allocator(&f);
    m2s_memory memory;
    char *blocks[300];

    (void)state;
    m2s_memory_init(&memory, &allocator, 0);
    for (size_t i = 0; i < 300; i++) {
        blocks[i] = m2s_alloc(&memory, i);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % M2S_ALIGNMENT, 0);
        memset(blocks[i], (int)i, i);
    }
    assert_int_equal(f.live, 300);
    uint64_t used = memory.used_bytes;
    assert_true(used >= 300 * 299 / 2 && used <= 300 * 299 / 2 + 300 * 2 * M2S_ALIGNMENT);
    assert_int_equal(memory.peak_bytes, used);
    for (size_t i = 0; i < 300; i++) {
        for (size_t k = 0; k < i; k++) {
            assert_int_equal(blocks[i][k], (char)i);
        }
        m2s_free(&memory, blocks[i]);
    }
    m2s_free(&memory, NULL);
    assert_int_equal(memory.used_bytes, 0);
    assert_int_equal(memory.peak_bytes, used);
    assert_int_equal(f.live, 0);
}

static void test_sizes(void **state)
{
    m2s_memory memory;
    size_t result = 5;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    assert_true(m2s_mul(3, 4, &result) && result == 12);
    assert_false(m2s_mul(SIZE_MAX, 2, &result));
    assert_false(m2s_mul(SIZE_MAX / 2 + 1, 2, &result));
    assert_true(m2s_mul(SIZE_MAX, 1, &result) && result == SIZE_MAX);
    assert_true(m2s_mul(SIZE_MAX, 0, &result) && result == 0);
    assert_true(m2s_add(SIZE_MAX - 1, 1, &result) && result == SIZE_MAX);
    assert_false(m2s_add(SIZE_MAX, 1, &result));
    assert_int_equal(result, SIZE_MAX); /* untouched */

    static const size_t huge[] = { SIZE_MAX,       SIZE_MAX - 1, SIZE_MAX - 64,
                                   SIZE_MAX - 127, PTRDIFF_MAX,  (size_t)PTRDIFF_MAX + 1 };
    for (size_t i = 0; i < sizeof huge / sizeof huge[0]; i++) {
        assert_null(m2s_alloc(&memory, huge[i]));
        assert_null(m2s_calloc(&memory, huge[i], 1));
        assert_null(m2s_alloc_array(&memory, huge[i] / 2, 4));
        assert_null(m2s_strndup(&memory, "", huge[i])); /* nothing is read before it is known to fit */
    }
    assert_int_equal(memory.used_bytes, 0);
    assert_int_equal(memory.peak_bytes, 0);
}

static void test_strings_and_moves(void **state)
{
    m2s_memory memory;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    char *text = m2s_strdup(&memory, "hello"), *part = m2s_strndup(&memory, "hello", 2);
    unsigned char *zeros = m2s_calloc(&memory, 100, 3);
    assert_string_equal(text, "hello");
    assert_string_equal(part, "he");
    for (int i = 0; i < 300; i++) {
        assert_int_equal(zeros[i], 0);
    }
    text = m2s_realloc(&memory, text, 5000);
    assert_string_equal(text, "hello");
    text[4999] = 'x';
    text = m2s_realloc(&memory, text, 3);
    assert_memory_equal(text, "hel", 3);
    char *fresh = m2s_realloc(&memory, NULL, 10);
    assert_non_null(fresh);
    assert_null(m2s_realloc(&memory, fresh, SIZE_MAX));
    memcpy(fresh, "still mine", 10); /* the old block is there */
    m2s_free(&memory, text);
    m2s_free(&memory, part);
    m2s_free(&memory, zeros);
    m2s_free(&memory, fresh);
    assert_int_equal(memory.used_bytes, 0);
}

static void test_limit(void **state)
{
    m2s_memory memory;
    void *blocks[64];
    size_t count = 0;
    m2snet_error error = { M2SNET_STATUS_OUT_OF_MEMORY, "out of memory: a thing needs 1000 bytes" };

    (void)state;
    m2s_memory_init(&memory, NULL, 10000);
    while (count < 64 && (blocks[count] = m2s_alloc(&memory, 1000)) != NULL) {
        count++;
    }
    assert_true(count >= 8 && count <= 9);
    assert_true(memory.used_bytes <= 10000 && memory.peak_bytes <= 10000);
    assert_int_equal(m2s_memory_explain(&memory, M2SNET_STATUS_OUT_OF_MEMORY, &error), M2SNET_STATUS_LIMIT);
    assert_int_equal(error.status, M2SNET_STATUS_LIMIT);
    assert_non_null(strstr(error.message, "memory_limit_bytes, 10000"));
    assert_non_null(strstr(error.message, "a thing needs 1000 bytes"));
    /* Told once: what comes next has a cause of its own. */
    assert_int_equal(m2s_memory_explain(&memory, M2SNET_STATUS_OUT_OF_MEMORY, &error), M2SNET_STATUS_OUT_OF_MEMORY);
    assert_null(m2s_alloc(&memory, 1000));
    assert_int_equal(m2s_memory_explain(&memory, M2SNET_STATUS_IO, &error), M2SNET_STATUS_IO);
    assert_int_equal(m2s_memory_explain(&memory, M2SNET_STATUS_OUT_OF_MEMORY, NULL), M2SNET_STATUS_LIMIT);
    m2s_free(&memory, blocks[--count]);
    blocks[count] = m2s_alloc(&memory, 1000); /* what was given back can be had again */
    assert_non_null(blocks[count++]);
    while (count > 0) {
        m2s_free(&memory, blocks[--count]);
    }
    assert_int_equal(memory.used_bytes, 0);

    m2s_memory_init(&memory, NULL, 0);
    assert_int_equal(m2s_memory_explain(&memory, M2SNET_STATUS_OUT_OF_MEMORY, &error), M2SNET_STATUS_OUT_OF_MEMORY);
}

#define LIMIT (1 << 20)

static void *alloc_and_free(void *argument)
{
    m2s_memory *memory = argument;

    for (size_t i = 0; i < 2000; i++) {
        void *block = m2s_alloc(memory, 1 + i * 37 % 200000);
        if (block != NULL) {
            memset(block, 1, 1);
        }
        m2s_free(memory, block);
    }
    return NULL;
}

static void test_threads(void **state)
{
    m2s_memory memory;
    pthread_t threads[8];

    (void)state;
    m2s_memory_init(&memory, NULL, LIMIT);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, alloc_and_free, &memory), 0);
    }
    for (size_t i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(memory.used_bytes, 0);
    assert_true(memory.peak_bytes > 0 && memory.peak_bytes <= LIMIT);
}

static void test_pile(void **state)
{
    faults f = { 0 };
    m2snet_allocator allocator = faults_allocator(&f);
    m2s_memory memory;
    const char *names[500];

    (void)state;
    m2s_memory_init(&memory, &allocator, 0);
    m2s_pile *pile = m2s_pile_create(&memory);
    assert_non_null(pile);
    for (int i = 0; i < 500; i++) {
        names[i] = m2s_pile_printf(pile, "name %d of %s", i, "many");
        assert_non_null(names[i]);
        unsigned char *block = m2s_pile_alloc(pile, (size_t)i * 5);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % 16, 0);
        for (int k = 0; k < i * 5; k++) {
            assert_int_equal(block[k], 0);
        }
        memset(block, 0xff, (size_t)i * 5);
    }
    unsigned char *large = m2s_pile_alloc(pile, 1 << 20); /* larger than a slab */
    assert_non_null(large);
    memset(large, 1, 1 << 20);
    assert_string_equal(m2s_pile_strdup(pile, "copy"), "copy");
    for (int i = 0; i < 500; i++) {
        char text[32];
        snprintf(text, sizeof text, "name %d of many", i);
        assert_string_equal(names[i], text);
    }
    assert_null(m2s_pile_alloc(pile, SIZE_MAX));
    assert_null(m2s_pile_alloc(pile, SIZE_MAX - 20));
    f.fail_at = f.calls + 1;
    assert_null(m2s_pile_alloc(pile, 100000));
    assert_non_null(m2s_pile_alloc(pile, 100000));
    m2s_pile_destroy(pile);
    m2s_pile_destroy(NULL);
    assert_int_equal(f.live, 0);
    assert_int_equal(memory.used_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks), cmocka_unit_test(test_sizes),   cmocka_unit_test(test_strings_and_moves),
        cmocka_unit_test(test_limit),  cmocka_unit_test(test_threads), cmocka_unit_test(test_pile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
