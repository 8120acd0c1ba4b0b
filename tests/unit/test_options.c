/* SPDX-License-Identifier: Apache-2.0
 * Structs of the public interface that are older or newer than the library. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/options.h"

typedef struct known {
    size_t struct_size;
    int32_t a, b;
    double c;
} known;

typedef struct newer {
    known known;
    int32_t d;
    char e[20];
} newer;

static const known defaults = { sizeof(known), 1, 2, 3.0 };

static void test_import(void **state)
{
    known k = defaults;
    newer given = { .known = { sizeof given, 10, 20, 30.0 } };
    m2snet_error error = { 0 };

    (void)state;
    assert_int_equal(m2s_options_import("s", NULL, &k, sizeof k, &error), M2SNET_STATUS_OK);
    assert_memory_equal(&k, &defaults, sizeof k);

    assert_int_equal(m2s_options_import("s", &given, &k, sizeof k, &error), M2SNET_STATUS_OK);
    assert_true(k.struct_size == sizeof k && k.a == 10 && k.b == 20 && k.c == 30.0);

    /* Every byte that is not known counts, the last one too. */
    for (size_t i = sizeof(known); i < sizeof given; i++) {
        k = defaults;
        ((unsigned char *)&given)[i] = 1;
        assert_int_equal(m2s_options_import("s", &given, &k, sizeof k, &error), M2SNET_STATUS_UNSUPPORTED);
        assert_non_null(strstr(error.message, M2SNET_VERSION_STRING));
        assert_memory_equal(&k, &defaults, sizeof k);
        ((unsigned char *)&given)[i] = 0;
    }

    /* An older struct says less; the rest keeps its default. */
    k = defaults;
    given.known.struct_size = offsetof(known, b);
    assert_int_equal(m2s_options_import("s", &given, &k, sizeof k, &error), M2SNET_STATUS_OK);
    assert_true(k.struct_size == sizeof k && k.a == 10 && k.b == 2 && k.c == 3.0);

    static const size_t bad[] = { 0, 1, sizeof(size_t) - 1, 4097, SIZE_MAX };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        k = defaults;
        given.known.struct_size = bad[i];
        assert_int_equal(m2s_options_import("name_of_it", &given, &k, sizeof k, &error),
                         M2SNET_STATUS_INVALID_ARGUMENT);
        assert_non_null(strstr(error.message, "name_of_it"));
        assert_memory_equal(&k, &defaults, sizeof k);
        assert_int_equal(m2s_options_import("s", &given, &k, sizeof k, NULL), M2SNET_STATUS_INVALID_ARGUMENT);
    }
}

static void test_export(void **state)
{
    newer info;
    m2snet_error error = { 0 };

    (void)state;
    assert_int_equal(m2s_options_export("s", &defaults, sizeof defaults, NULL, &error), M2SNET_STATUS_INVALID_ARGUMENT);
    for (size_t size = sizeof(size_t); size <= sizeof info; size++) {
        memset(&info, 0x77, sizeof info);
        memcpy(&info, &size, sizeof size);
        assert_int_equal(m2s_options_export("s", &defaults, sizeof defaults, &info, &error), M2SNET_STATUS_OK);
        assert_int_equal(info.known.struct_size, size);
        for (size_t i = sizeof size; i < sizeof info; i++) {
            unsigned char expected =
                i < size && i < sizeof defaults ? ((const unsigned char *)&defaults)[i] : (unsigned char)0x77;
            assert_int_equal(((unsigned char *)&info)[i], expected);
        }
    }
    info.known.struct_size = 3;
    assert_int_equal(m2s_options_export("s", &defaults, sizeof defaults, &info, &error),
                     M2SNET_STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "sizeof(s)"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_import),
        cmocka_unit_test(test_export),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
