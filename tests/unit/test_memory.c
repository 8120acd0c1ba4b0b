/* SPDX-License-Identifier: Apache-2.0
 * The context's memory: limits, accounts, overflow, piles; and structs that are older or newer than the library. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "core/options.h"

static void test_accounts(void **state)
{
    m2s_memory memory;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    void *a = m2s_alloc(&memory, 1000), *b = m2s_calloc(&memory, 10, 100);
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal((uintptr_t)a % M2S_ALIGNMENT, 0);
    assert_true(memory.used_bytes >= 2000);
    uint64_t peak = memory.used_bytes;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(((char *)b)[i], 0);
    }
    memset(a, 1, 1000);
    char *larger = m2s_realloc(&memory, a, 5000);
    assert_non_null(larger);
    assert_int_equal(larger[999], 1);
    m2s_free(&memory, larger);
    m2s_free(&memory, b);
    m2s_free(&memory, NULL);
    assert_int_equal(memory.used_bytes, 0);
    assert_true(memory.peak_bytes >= peak);
}

static void test_limit(void **state)
{
    m2s_memory memory;

    (void)state;
    m2s_memory_init(&memory, NULL, 10000);
    void *a = m2s_alloc(&memory, 8000);
    assert_non_null(a);
    assert_null(m2s_alloc(&memory, 4000));
    void *b = m2s_realloc(&memory, a, 9000); /* both would exist at once */
    assert_null(b);
    m2s_free(&memory, a);
    a = m2s_alloc(&memory, 4000);
    assert_non_null(a);
    m2s_free(&memory, a);
    assert_int_equal(memory.used_bytes, 0);
}

static void test_overflow(void **state)
{
    m2s_memory memory;
    size_t result = 7;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    assert_null(m2s_alloc(&memory, SIZE_MAX));
    assert_null(m2s_alloc(&memory, SIZE_MAX - 100));
    assert_null(m2s_calloc(&memory, SIZE_MAX / 2, 3));
    assert_null(m2s_alloc_array(&memory, SIZE_MAX, SIZE_MAX));
    assert_false(m2s_mul(SIZE_MAX, 2, &result));
    assert_false(m2s_add(SIZE_MAX, 1, &result));
    assert_int_equal(result, 7);
    assert_true(m2s_mul(6, 7, &result));
    assert_int_equal(result, 42);
    assert_int_equal(memory.used_bytes, 0);
}

static void test_pile(void **state)
{
    m2s_memory memory;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    m2s_pile *pile = m2s_pile_create(&memory);
    assert_non_null(pile);
    char *first = m2s_pile_strdup(pile, "first");
    for (size_t i = 0; i < 3000; i++) {
        unsigned char *block = m2s_pile_alloc(pile, i % 100 == 0 ? 40000 : i % 64);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % 16, 0);
        if (i % 64 > 0) {
            assert_int_equal(block[i % 64 - 1], 0);
            block[i % 64 - 1] = 255;
        }
    }
    assert_string_equal(m2s_pile_printf(pile, "%s.%d", "conv", 3), "conv.3");
    assert_string_equal(first, "first");
    assert_null(m2s_pile_alloc(pile, SIZE_MAX));
    m2s_pile_destroy(pile);
    assert_int_equal(memory.used_bytes, 0);
}

typedef struct known_options {
    size_t struct_size;
    int32_t a, b;
} known_options;

static void test_import(void **state)
{
    struct {
        size_t struct_size;
        int32_t a, b, newer, padding;
    } newer = { sizeof newer, 5, 6, 0, 0 };
    struct {
        size_t struct_size;
        int32_t a;
    } older = { sizeof(size_t) + sizeof(int32_t), 5 };
    known_options known = { sizeof known, 1, 2 };
    m2snet_error error;

    (void)state;
    assert_int_equal(m2s_options_import("options", NULL, &known, sizeof known, &error), M2SNET_STATUS_OK);
    assert_int_equal(known.b, 2);
    assert_int_equal(m2s_options_import("options", &older, &known, sizeof known, &error), M2SNET_STATUS_OK);
    assert_int_equal(known.a, 5);
    assert_int_equal(known.b, 2);
    assert_int_equal(m2s_options_import("options", &newer, &known, sizeof known, &error), M2SNET_STATUS_OK);
    assert_int_equal(known.b, 6);
    assert_int_equal(known.struct_size, sizeof known);
    newer.newer = 1;
    assert_int_equal(m2s_options_import("options", &newer, &known, sizeof known, &error), M2SNET_STATUS_UNSUPPORTED);
    assert_non_null(strstr(error.message, "options"));
    newer.struct_size = 0;
    assert_int_equal(m2s_options_import("options", &newer, &known, sizeof known, &error),
                     M2SNET_STATUS_INVALID_ARGUMENT);
    newer.struct_size = SIZE_MAX;
    assert_int_equal(m2s_options_import("options", &newer, &known, sizeof known, &error),
                     M2SNET_STATUS_INVALID_ARGUMENT);
}

static void test_export(void **state)
{
    struct {
        size_t struct_size;
        int32_t a, b, newer;
    } info = { sizeof info, 0, 0, 77 };
    known_options known = { sizeof known, 1, 2 };

    (void)state;
    assert_int_equal(m2s_options_export("info", &known, sizeof known, &info, NULL), M2SNET_STATUS_OK);
    assert_int_equal(info.b, 2);
    assert_int_equal(info.newer, 77);
    assert_int_equal(info.struct_size, sizeof info);
    info.struct_size = sizeof(size_t) + sizeof(int32_t);
    info.b = 9;
    assert_int_equal(m2s_options_export("info", &known, sizeof known, &info, NULL), M2SNET_STATUS_OK);
    assert_int_equal(info.b, 9);
    info.struct_size = 0;
    assert_int_equal(m2s_options_export("info", &known, sizeof known, &info, NULL), M2SNET_STATUS_INVALID_ARGUMENT);
    assert_int_equal(m2s_options_export("info", &known, sizeof known, NULL, NULL), M2SNET_STATUS_INVALID_ARGUMENT);
}

static void test_error_text(void **state)
{
    m2snet_error error;
    char expected[] = "\xc3\xa9"; /* e with acute accent, two bytes */

    (void)state;
    assert_int_equal(m2s_fail(NULL, M2SNET_STATUS_IO, "%s", "nobody listens"), M2SNET_STATUS_IO);
    assert_int_equal(m2s_fail(&error, M2SNET_STATUS_IO, "tensor %d", 3), M2SNET_STATUS_IO);
    m2s_error_prefix(&error, "%s", "file.pth");
    assert_string_equal(error.message, "file.pth: tensor 3");
    /* A message too long is cut between characters. */
    char text[2001] = "";
    for (size_t i = 0; i + 2 < sizeof text; i += 2) {
        memcpy(text + i, expected, 2);
    }
    text[2000] = '\0';
    m2s_fail(&error, M2SNET_STATUS_IO, "%s", text);
    size_t length = strlen(error.message);
    assert_true(length >= sizeof error.message - 3);
    assert_int_equal(length % 2, 0);
    m2s_fail(&error, M2SNET_STATUS_IO, "x%s", text);
    assert_int_equal(strlen(error.message) % 2, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accounts),   cmocka_unit_test(test_limit),  cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_pile),       cmocka_unit_test(test_import), cmocka_unit_test(test_export),
        cmocka_unit_test(test_error_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
