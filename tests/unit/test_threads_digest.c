/* SPDX-License-Identifier: Apache-2.0
 * Digests worked out by a pool: the same digits as at once, asked for at any time by anybody, given up at any time. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/digest.h"
#include "core/sha256.h"

#define MOST_BYTES ((size_t)5 << 20) /* several steps and a rest */

typedef struct fixture {
    m2s_memory memory;
    m2s_pool *pool;
    unsigned char *data;
} fixture;

static void begin(fixture *f, int threads)
{
    m2s_memory_init(&f->memory, NULL, 0);
    assert_int_equal(m2s_pool_create(&f->memory, threads, &f->pool, NULL), M2SNET_STATUS_OK);
    f->data = malloc(MOST_BYTES);
    assert_non_null(f->data);
    for (size_t i = 0; i < MOST_BYTES; i++) {
        f->data[i] = (unsigned char)(i * 37 >> 5);
    }
}

static void end(fixture *f)
{
    m2s_pool_destroy(f->pool);
    free(f->data);
    assert_int_equal(f->memory.used_bytes, 0);
}

static m2s_digest *digest_of(fixture *f, size_t bytes)
{
    m2s_digest *digest;

    assert_int_equal(m2s_digest_begin(&f->memory, f->pool, f->data, bytes, &digest, NULL), M2SNET_STATUS_OK);
    return digest;
}

static void nothing(void *argument, int64_t chunk, int worker)
{
    (void)argument;
    (void)chunk;
    (void)worker;
}

static void gives_what_is_computed_at_once(void **state)
{
    static const size_t sizes[] = { 0, 1, 1000, (1u << 20) - 1, 1u << 20, (1u << 20) + 1, 2u << 20, MOST_BYTES };

    (void)state;
    for (int threads = 1; threads <= 3; threads++) {
        fixture f;
        begin(&f, threads);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            char expected[M2S_SHA256_HEX_BYTES];
            m2s_task task = { nothing, NULL, 10, NULL };
            m2s_digest *digest = digest_of(&f, sizes[i]);
            m2s_sha256_hex(f.data, sizes[i], expected);
            assert_int_equal(m2s_pool_run(f.pool, &task, 1, NULL, "beside it", NULL), M2SNET_STATUS_OK);
            assert_string_equal(m2s_digest_hex(digest), expected);
            assert_int_equal(m2s_digest_wait(digest, NULL, NULL), M2SNET_STATUS_OK);
            assert_string_equal(m2s_digest_hex(digest), expected);
            m2s_digest_end(digest);
        }
        end(&f);
    }
    m2s_digest_end(NULL);
}

static void *ask(void *argument)
{
    return (void *)(uintptr_t)m2s_digest_hex(argument);
}

static void many_may_ask(void **state)
{
    fixture f;
    char expected[M2S_SHA256_HEX_BYTES];
    pthread_t threads[8];

    (void)state;
    begin(&f, 2);
    m2s_sha256_hex(f.data, MOST_BYTES, expected);
    m2s_digest *digest = digest_of(&f, MOST_BYTES);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, ask, digest), 0);
    }
    for (int i = 0; i < 8; i++) {
        void *hex;
        assert_int_equal(pthread_join(threads[i], &hex), 0);
        assert_string_equal(hex, expected);
    }
    m2s_digest_end(digest);
    end(&f);
}

static void may_be_given_up(void **state)
{
    fixture f;

    (void)state;
    begin(&f, 2);
    for (int i = 0; i < 50; i++) {
        m2s_digest_end(digest_of(&f, MOST_BYTES));
    }

    m2snet_cancel token;
    m2snet_control user = { .cancel = &token };
    m2s_control control;
    m2snet_error error = { 0 };
    atomic_init(&token.requested, 1);
    m2s_control_init(&control, &user);
    m2s_digest *digest = digest_of(&f, MOST_BYTES);
    m2snet_status status = m2s_digest_wait(digest, &control, &error);
    size_t digits = strlen(m2s_digest_hex(digest)); /* the last step may have begun before the cancel */
    if (status == M2SNET_STATUS_CANCELLED) {
        assert_true(digits == 0 || digits == 64);
        assert_non_null(strstr(error.message, "read"));
    } else {
        assert_int_equal(digits, 64);
    }
    m2s_digest_end(digest);
    end(&f);
}

static void fails_without_memory(void **state)
{
    fixture f;
    m2s_digest *digest;
    m2snet_error error;

    (void)state;
    begin(&f, 1);
    uint64_t used = f.memory.used_bytes;
    for (uint64_t room = 1; room < 4096; room += 61) {
        f.memory.limit_bytes = used + room;
        m2snet_status status = m2s_digest_begin(&f.memory, f.pool, f.data, 100, &digest, &error);
        if (status == M2SNET_STATUS_OK) {
            m2s_digest_end(digest);
        } else {
            assert_int_equal(status, M2SNET_STATUS_OUT_OF_MEMORY);
            assert_null(digest);
        }
        assert_int_equal(f.memory.used_bytes, used);
    }
    f.memory.limit_bytes = 0;
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_what_is_computed_at_once),
        cmocka_unit_test(many_may_ask),
        cmocka_unit_test(may_be_given_up),
        cmocka_unit_test(fails_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
