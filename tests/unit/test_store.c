/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "common/faults.h"
#include "weights/load.h"
#include "weights/store.h"

static void assert_message(const m2snet_error *error, const char *part)
{
    if (strstr(error->message, part) == NULL) {
        fail_msg("expected \"%s\" in \"%s\"", part, error->message);
    }
}

static m2s_weight_desc describe(const char *name, m2snet_dtype dtype, int32_t rank, const int64_t *dims)
{
    return (m2s_weight_desc){ .name = name, .name_bytes = strlen(name), .dtype = dtype, .rank = rank, .dims = dims };
}

static m2s_store *make(m2s_memory *memory)
{
    m2s_store *store = NULL;

    m2s_memory_init(memory, NULL, 0);
    assert_int_equal(m2s_store_create(memory, "created", &store, NULL), M2SNET_STATUS_OK);
    return store;
}

static void finds_thousands_by_name_and_place(void **state)
{
    m2s_memory memory;
    m2s_store *store = make(&memory);
    const int64_t dims[] = { 3 };
    m2snet_error error = { 0 };

    (void)state;
    for (int i = 0; i < 5000; i++) {
        char name[32];
        void *data = NULL;
        snprintf(name, sizeof name, "layer%d.weight", i);
        m2s_weight_desc desc = describe(name, M2SNET_DTYPE_F32, 1, dims);
        assert_int_equal(m2s_store_add(store, &desc, NULL, &data, &error), M2SNET_STATUS_OK);
        assert_true(((float *)data)[2] == 0.0f);
        ((float *)data)[2] = (float)i;
    }
    assert_int_equal(m2s_store_count(store), 5000);
    assert_int_equal(m2s_store_bytes(store), 60000);
    for (int i = 0; i < 5000; i++) {
        char name[32];
        snprintf(name, sizeof name, "layer%d.weight", i);
        const m2s_weight *weight = m2s_store_find(store, name);
        assert_ptr_equal(weight, m2s_store_at(store, (size_t)i));
        assert_true(((const float *)weight->data)[2] == (float)i);
        assert_true(weight->version == 1 && weight->rank == 1 && weight->dims[0] == 3 && weight->bytes == 12);
        assert_string_equal(weight->dtype_name, "F32");
    }
    assert_null(m2s_store_find(store, "layer5000.weight"));
    assert_null(m2s_store_find(store, "layer1.weigh"));
    assert_null(m2s_store_find(store, ""));
    assert_null(m2s_store_at(store, 5000));
    assert_string_equal(m2s_store_format(store), "created");
    assert_string_equal(m2s_store_sha256(store), "");
    m2s_store_destroy(store);
    m2s_store_destroy(NULL);
    assert_int_equal(atomic_load(&memory.used_bytes), 0);
}

static void refuses_bad_descriptions(void **state)
{
    m2s_memory memory;
    m2s_store *store = make(&memory);
    m2snet_error error = { 0 };
    const int64_t good[] = { 2, 3 };
    const int64_t negative[] = { 2, -3 };
    const int64_t huge[] = { INT64_MAX, 4 };
    const int64_t wide[] = { INT64_MAX };
    const int64_t empty[] = { INT64_MAX, INT64_MAX, 0 };
    m2s_weight_desc desc = describe("a", M2SNET_DTYPE_F32, 2, good);

    (void)state;
    assert_int_equal(m2s_store_add(store, &desc, NULL, NULL, &error), 0);
    assert_int_equal(m2s_store_add(store, &desc, NULL, NULL, &error), M2SNET_STATUS_FORMAT);
    assert_message(&error, "tensor \"a\" is there twice");
    desc = describe("b", M2SNET_DTYPE_F32, 2, negative);
    assert_int_equal(m2s_store_add(store, &desc, NULL, NULL, &error), M2SNET_STATUS_FORMAT);
    assert_message(&error, "negative dimension in shape 2x-3");
    desc = describe("b", M2SNET_DTYPE_F32, 2, huge);
    assert_int_equal(m2s_store_add(store, &desc, NULL, NULL, &error), M2SNET_STATUS_FORMAT);
    assert_message(&error, "shape 9223372036854775807x4 has more elements than memory can hold");
    desc = describe("b", M2SNET_DTYPE_F64, 1, wide);
    assert_int_equal(m2s_store_add(store, &desc, NULL, NULL, &error), M2SNET_STATUS_FORMAT);
    desc = describe("b", M2SNET_DTYPE_F32, 9, good);
    assert_int_equal(m2s_store_add(store, &desc, NULL, NULL, &error), M2SNET_STATUS_FORMAT);
    assert_message(&error, "rank 9, expected 0..8");
    desc = describe("", M2SNET_DTYPE_F32, 2, good);
    assert_int_equal(m2s_store_add(store, &desc, NULL, NULL, &error), M2SNET_STATUS_FORMAT);
    desc = describe("nul", M2SNET_DTYPE_F32, 2, good);
    desc.name = "n\0l";
    assert_int_equal(m2s_store_add(store, &desc, NULL, NULL, &error), M2SNET_STATUS_FORMAT);
    desc = describe("empty", M2SNET_DTYPE_F32, 3, empty);
    assert_int_equal(m2s_store_add(store, &desc, NULL, NULL, &error), M2SNET_STATUS_FORMAT);
    assert_int_equal(m2s_store_count(store), 1);
    m2s_store_destroy(store);
}

static void a_view_is_copied_only_when_not_aligned(void **state)
{
    m2s_memory memory;
    m2s_store *store = make(&memory);
    m2snet_error error = { 0 };
    const int64_t dims[] = { 2 };
    char *block = m2s_alloc(&memory, 64);
    const double values[] = { 1.5, -2 };

    (void)state;
    memcpy(block + 8, values, sizeof values);
    memcpy(block + 29, values, sizeof values);
    m2s_blob blob = { .data = block, .bytes = 64, .writable = true };
    assert_int_equal(m2s_store_take(store, &blob, &error), 0);
    assert_null(blob.data);
    m2s_weight_desc desc = describe("aligned", M2SNET_DTYPE_F64, 1, dims);
    assert_int_equal(m2s_store_add_view(store, &desc, block + 8, &error), 0);
    desc = describe("shifted", M2SNET_DTYPE_F64, 1, dims);
    assert_int_equal(m2s_store_add_view(store, &desc, block + 29, &error), 0);
    assert_ptr_equal(m2s_store_find(store, "aligned")->data, block + 8);
    const double *shifted = m2s_store_find(store, "shifted")->data;
    assert_true((uintptr_t)shifted % 8 == 0 && shifted[0] == 1.5 && shifted[1] == -2);
    m2s_store_destroy(store);
    assert_int_equal(atomic_load(&memory.used_bytes), 0);
}

static int released;

static void release(void *data, size_t bytes)
{
    (void)data;
    released += (int)bytes;
}

static void foreign_blobs_are_released_their_own_way(void **state)
{
    m2s_memory memory;
    m2s_store *store = make(&memory);
    static char page[16];

    (void)state;
    released = 0;
    m2s_blob blob = { .data = page, .bytes = sizeof page, .release = release };
    assert_int_equal(m2s_store_take(store, &blob, NULL), 0);
    assert_int_equal(released, 0);
    m2s_store_destroy(store);
    assert_int_equal(released, 16);
}

static void metadata_keeps_order_and_replaces(void **state)
{
    m2s_memory memory;
    m2s_store *store = make(&memory);
    m2snet_error error = { 0 };

    (void)state;
    assert_int_equal(m2s_store_set_metadata(store, "b", "1", &error), 0);
    assert_int_equal(m2s_store_set_metadata(store, "a", "2", &error), 0);
    assert_int_equal(m2s_store_set_metadata(store, "b", "3", &error), 0);
    assert_int_equal(m2s_store_metadata_count(store), 2);
    assert_string_equal(m2s_store_metadata_key(store, 0), "b");
    assert_string_equal(m2s_store_metadata_value(store, 0), "3");
    assert_string_equal(m2s_store_metadata(store, "a"), "2");
    assert_null(m2s_store_metadata(store, "c"));
    assert_null(m2s_store_metadata_key(store, 2));
    assert_int_equal(m2s_store_skip(store, "epoch!", 5, "an integer", &error), 0);
    assert_string_equal(m2s_store_skipped(store, "epoch"), "an integer");
    assert_null(m2s_store_skipped(store, "epoch!"));
    m2s_store_destroy(store);
}

static void reads_elements_of_every_dtype(void **state)
{
    static const double f64[] = { -1, 1.0000000001, 1e300 };
    static const float f32[] = { -1, 1.5f, 1e-40f };
    static const uint16_t f16[] = { 0xbc00, 0x0001, 0x7bff }; /* -1, 2^-24, 65504 */
    static const uint16_t bf16[] = { 0xbf80, 0x3fc0, 0x7f7f };
    static const int64_t i64[] = { -1, INT64_C(1) << 40, 0 };
    static const int32_t i32[] = { -1, INT32_MAX, 0 };
    static const int16_t i16[] = { -1, INT16_MIN, 0 };
    static const int8_t i8[] = { -1, INT8_MIN, 0 };
    static const uint8_t u8[] = { 255, 1, 0 };
    static const uint8_t truth[] = { 255, 1, 0 };
    static const struct {
        m2snet_dtype dtype;
        const void *data;
        double expected[3];
    } cases[] = {
        { M2SNET_DTYPE_F64, f64, { -1, 1.0000000001, 1e300 } },
        { M2SNET_DTYPE_F32, f32, { -1, 1.5, (double)1e-40f } },
        { M2SNET_DTYPE_F16, f16, { -1, 0x1p-24, 65504 } },
        { M2SNET_DTYPE_BF16, bf16, { -1, 1.5, 0x1.fep127 } },
        { M2SNET_DTYPE_I64, i64, { -1, 0x1p40, 0 } },
        { M2SNET_DTYPE_I32, i32, { -1, INT32_MAX, 0 } },
        { M2SNET_DTYPE_I16, i16, { -1, INT16_MIN, 0 } },
        { M2SNET_DTYPE_I8, i8, { -1, INT8_MIN, 0 } },
        { M2SNET_DTYPE_U8, u8, { 255, 1, 0 } },
        { M2SNET_DTYPE_BOOL, truth, { 1, 1, 0 } },
    };
    m2s_memory memory;
    m2s_store *store = make(&memory);
    m2snet_error error = { 0 };
    const int64_t dims[] = { 3 };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[8];
        float narrow[3];
        double wide[3];
        snprintf(name, sizeof name, "w%zu", i);
        m2s_weight_desc desc = describe(name, cases[i].dtype, 1, dims);
        assert_int_equal(m2s_store_add(store, &desc, cases[i].data, NULL, &error), 0);
        const m2s_weight *weight = m2s_store_find(store, name);
        assert_int_equal(m2s_weight_read_double(weight, 0, 3, wide, &error), 0);
        assert_int_equal(m2s_weight_read_float(weight, 0, 3, narrow, &error), 0);
        for (size_t k = 0; k < 3; k++) {
            assert_true(wide[k] == cases[i].expected[k]);
            assert_true(narrow[k] == (float)cases[i].expected[k]);
        }
        assert_int_equal(m2s_weight_read_double(weight, 1, 1, wide, &error), 0);
        assert_true(wide[0] == cases[i].expected[1]);
        assert_int_equal(m2s_weight_read_float(weight, 2, 2, narrow, &error), M2SNET_STATUS_INTERNAL);
        assert_int_equal(m2s_weight_read_float(weight, 4, 0, narrow, &error), M2SNET_STATUS_INTERNAL);
        assert_int_equal(m2s_weight_read_float(weight, 3, 0, narrow, &error), 0);
    }
    m2s_weight_desc other = describe("other", M2S_DTYPE_OTHER, 1, dims);
    other.dtype_name = "F8_E4M3";
    other.bytes = 3;
    float narrow[3];
    assert_int_equal(m2s_store_add(store, &other, u8, NULL, &error), 0);
    assert_int_equal(m2s_store_find(store, "other")->bytes, 3);
    assert_int_equal(m2s_weight_read_float(m2s_store_find(store, "other"), 0, 3, narrow, &error),
                     M2SNET_STATUS_UNSUPPORTED);
    assert_message(&error, "tensor \"other\": its dtype \"F8_E4M3\" cannot be used");
    m2s_store_destroy(store);
}

static void finds_what_is_not_finite(void **state)
{
    static const float f32[] = { 0, 1e38f, (float)INFINITY, 1 };
    static const double f64[] = { 0, -(double)NAN, 1, 1 };
    static const uint16_t f16[] = { 0x7bff, 0x0001, 0x3c00, 0xfc00 };
    static const uint16_t bf16[] = { 0x7f7f, 0x7fc0, 0, 0 };
    static const int64_t i64[] = { -1, -1, -1, -1 };
    static const struct {
        m2snet_dtype dtype;
        const void *data;
        size_t first; /* 4 = all are finite */
    } cases[] = {
        { M2SNET_DTYPE_F32, f32, 2 },   { M2SNET_DTYPE_F64, f64, 1 }, { M2SNET_DTYPE_F16, f16, 3 },
        { M2SNET_DTYPE_BF16, bf16, 1 }, { M2SNET_DTYPE_I64, i64, 4 },
    };
    m2s_memory memory;
    m2s_store *store = make(&memory);
    const int64_t dims[] = { 4 };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[8];
        size_t index = 4;
        snprintf(name, sizeof name, "w%zu", i);
        m2s_weight_desc desc = describe(name, cases[i].dtype, 1, dims);
        assert_int_equal(m2s_store_add(store, &desc, cases[i].data, NULL, NULL), 0);
        assert_int_equal(m2s_weight_finite(m2s_store_find(store, name), &index), cases[i].first == 4);
        assert_int_equal(index, cases[i].first);
    }

    /* A long one, wherever the element is. */
    enum { COUNT = 2500 };
    static const size_t places[] = { 0, 1023, 1024, 2047, 2400, COUNT - 1 };
    static float many[COUNT];
    m2s_weight_desc desc = describe("many", M2SNET_DTYPE_F32, 1, (const int64_t[]){ COUNT });
    void *data;
    size_t index;
    assert_int_equal(m2s_store_add(store, &desc, many, &data, NULL), 0);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        ((float *)data)[places[i]] = -(float)INFINITY;
        ((float *)data)[COUNT - 1] = (float)NAN; /* the first counts */
        assert_false(m2s_weight_finite(m2s_store_find(store, "many"), &index));
        assert_int_equal(index, places[i]);
        ((float *)data)[places[i]] = ((float *)data)[COUNT - 1] = 1.0f;
        assert_true(m2s_weight_finite(m2s_store_find(store, "many"), &index));
    }
    m2s_store_destroy(store);
}

static void out_of_memory_leaves_a_whole_store(void **state)
{
    const int64_t dims[] = { 2 };
    m2snet_error error = { 0 };

    (void)state;
    for (size_t n = 1;; n++) {
        faults f = { .fail_at = n };
        m2snet_allocator allocator = faults_allocator(&f);
        m2s_memory memory;
        m2s_store *store = NULL;
        size_t added = 0;
        m2s_memory_init(&memory, &allocator, 0);
        m2snet_status status = m2s_store_create(&memory, "created", &store, &error);
        for (int i = 0; i < 80 && store != NULL; i++) {
            char name[16];
            snprintf(name, sizeof name, "w%d", i);
            m2s_weight_desc desc = describe(name, M2SNET_DTYPE_F32, 1, dims);
            m2snet_status one = m2s_store_add(store, &desc, NULL, NULL, &error);
            status = one != M2SNET_STATUS_OK ? one : status;
            added += one == M2SNET_STATUS_OK;
            assert_int_equal(m2s_store_count(store), added);
            assert_int_equal(m2s_store_find(store, name) != NULL, one == M2SNET_STATUS_OK);
            one = m2s_store_set_metadata(store, name, "value", &error);
            status = one != M2SNET_STATUS_OK ? one : status;
        }
        assert_int_equal(status, f.calls < n ? M2SNET_STATUS_OK : M2SNET_STATUS_OUT_OF_MEMORY);
        m2s_store_destroy(store);
        assert_int_equal(f.live, 0);
        if (f.calls < n) {
            break;
        }
    }
}

static void what_is_no_weight_file_is_named(void **state)
{
    static const struct {
        const char *bytes;
        size_t count;
        const char *part;
    } cases[] = {
        { "", 0, "the file is empty" },
        { "x", 1, "unknown file format (first bytes 78)" },
        { "version https://git-lfs.github.com/spec/v1\noid sha256:00\n", 55, "Git LFS pointer" },
        { "\n <!DOCTYPE html><html>", 23, "web page (HTML)" },
        { "\xef\xbb\xbf<html>", 9, "web page (HTML)" },
        { "\x1f\x8b\x08", 3, "gzip" },
        { "\x89PNG\r\n\x1a\n", 8, "PNG picture" },
        { "\x89HDF\r\n", 6, "HDF5" },
        { "\x08\x00\x00\x00\x00\x00\x00\x00[]", 10, "unknown file format (first bytes 08 00 00 00 00 00 00 00)" },
        { "\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10, "unknown file format" },
        { "PK\3\4", 4, "zip file" },
        { "\x80\x02", 2, "cut off" },
        { "\x80\x09", 2, "unknown file format" },
    };
    m2s_memory memory;
    char tar[512] = "storages";

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    snprintf(tar + 257, sizeof tar - 257, "ustar");
    for (size_t i = 0; i <= sizeof cases / sizeof *cases; i++) {
        bool last = i == sizeof cases / sizeof *cases;
        size_t bytes = last ? sizeof tar : cases[i].count;
        m2snet_error error = { 0 };
        m2s_store *store = (m2s_store *)tar;
        m2s_blob blob = { .data = m2s_alloc(&memory, bytes), .bytes = bytes, .writable = true };
        memcpy(blob.data, last ? tar : cases[i].bytes, bytes);
        assert_int_equal(m2s_store_load(&memory, &blob, NULL, &store, &error), M2SNET_STATUS_FORMAT);
        assert_null(store);
        assert_null(blob.data);
        assert_message(&error, last ? "tar file" : cases[i].part);
        assert_int_equal(atomic_load(&memory.used_bytes), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_thousands_by_name_and_place),
        cmocka_unit_test(refuses_bad_descriptions),
        cmocka_unit_test(a_view_is_copied_only_when_not_aligned),
        cmocka_unit_test(foreign_blobs_are_released_their_own_way),
        cmocka_unit_test(metadata_keeps_order_and_replaces),
        cmocka_unit_test(reads_elements_of_every_dtype),
        cmocka_unit_test(finds_what_is_not_finite),
        cmocka_unit_test(out_of_memory_leaves_a_whole_store),
        cmocka_unit_test(what_is_no_weight_file_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
