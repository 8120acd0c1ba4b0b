/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/faults.h"
#include "common/weight_files.h"
#include "core/file.h"

#define FILE_CAP_BYTES ((uint64_t)1 << 20)

m2s_blob weight_file(m2s_memory *memory, const char *name)
{
    char path[512];
    uint8_t *data = NULL;
    size_t bytes = 0;
    m2snet_error error = { 0 };

    snprintf(path, sizeof path, M2S_TEST_DATA "/weights/%s", name);
    if (m2s_file_read(memory, path, FILE_CAP_BYTES, NULL, &data, &bytes, &error) != M2SNET_STATUS_OK) {
        fail_msg("%s", error.message);
    }
    return (m2s_blob){ .data = data, .bytes = bytes, .writable = true };
}

m2s_blob weight_bytes(m2s_memory *memory, const void *data, size_t bytes)
{
    m2s_blob blob = { .data = m2s_alloc(memory, bytes), .bytes = bytes, .writable = true };

    assert_non_null(blob.data);
    if (bytes > 0) {
        memcpy(blob.data, data, bytes);
    }
    return blob;
}

m2s_store *load_weight_file(m2s_memory *memory, const char *name)
{
    m2s_blob blob = weight_file(memory, name);
    m2s_store *store = NULL;
    m2snet_error error = { 0 };

    if (m2s_store_load(memory, &blob, NULL, &store, &error) != M2SNET_STATUS_OK) {
        fail_msg("%s: %s", name, error.message);
    }
    assert_null(blob.data);
    assert_int_equal(strlen(m2s_store_sha256(store)), 64);
    return store;
}

m2snet_status refuse_weights(m2s_memory *memory, const void *data, size_t bytes, m2snet_error *error)
{
    uint64_t before = atomic_load(&memory->used_bytes);
    m2s_blob blob = weight_bytes(memory, data, bytes);
    m2s_store *store = (m2s_store *)memory;

    memset(error, 0, sizeof *error);
    m2snet_status status = m2s_store_load(memory, &blob, NULL, &store, error);
    assert_int_not_equal(status, M2SNET_STATUS_OK);
    assert_int_equal(error->status, status);
    assert_true(error->message[0] != '\0');
    assert_null(store);
    assert_null(blob.data);
    assert_int_equal(atomic_load(&memory->used_bytes), before);
    return status;
}

void assert_ramp(const m2s_store *store, const char *name, m2snet_dtype dtype, int32_t rank, const int64_t *dims)
{
    const m2s_weight *weight = m2s_store_find(store, name);
    bool real = dtype == M2SNET_DTYPE_F64 || dtype == M2SNET_DTYPE_F32 || dtype == M2SNET_DTYPE_F16 ||
                dtype == M2SNET_DTYPE_BF16;
    size_t count = 1;

    if (weight == NULL) {
        fail_msg("%s is not there", name);
        return;
    }
    assert_int_equal(weight->dtype, dtype);
    assert_int_equal(weight->rank, rank);
    for (int32_t i = 0; i < rank; i++) {
        assert_int_equal(weight->dims[i], dims[i]);
        count *= (size_t)dims[i];
    }
    assert_int_equal(weight->count, count);
    for (size_t i = 0; i < count; i++) {
        double value = 0;
        double expected = real ? (double)i / 4 - 1 : (double)i - 2;
        assert_int_equal(m2s_weight_read_double(weight, i, 1, &value, NULL), M2SNET_STATUS_OK);
        if (value != expected) {
            fail_msg("%s, element %zu: %g, expected %g", name, i, value, expected);
        }
    }
}

void assert_error_has(const m2snet_error *error, const char *part)
{
    if (strstr(error->message, part) == NULL) {
        fail_msg("expected \"%s\" in \"%s\"", part, error->message);
    }
}

void assert_survives_failed_allocations(const char *name)
{
    for (size_t n = 1;; n++) {
        faults f = { .fail_at = 0 };
        m2snet_allocator allocator = faults_allocator(&f);
        m2s_memory memory;
        m2s_store *store = NULL;
        m2snet_error error = { 0 };
        m2s_memory_init(&memory, &allocator, 0);
        m2s_blob blob = weight_file(&memory, name);
        f.calls = 0;
        f.fail_at = n;
        m2snet_status status = m2s_store_load(&memory, &blob, NULL, &store, &error);
        bool done = f.calls < n;
        assert_int_equal(status, done ? M2SNET_STATUS_OK : M2SNET_STATUS_OUT_OF_MEMORY);
        assert_int_equal(error.status, status);
        assert_int_equal(store != NULL, done);
        m2s_store_destroy(store);
        assert_int_equal(f.live, 0);
        if (done) {
            break;
        }
    }
}

void assert_survives_damage(const char *name)
{
    static const unsigned char changes[] = { 0x00, 0x01, 0x28, 0x7f, 0x80, 0xff };
    m2s_memory memory;
    m2snet_error error;

    m2s_memory_init(&memory, NULL, (uint64_t)256 << 20);
    m2s_blob whole = weight_file(&memory, name);
    uint64_t before = atomic_load(&memory.used_bytes);
    for (size_t bytes = 0; bytes < whole.bytes; bytes++) {
        refuse_weights(&memory, whole.data, bytes, &error);
    }
    for (size_t at = 0; at < whole.bytes; at++) {
        for (size_t i = 0; i < sizeof changes; i++) {
            m2s_blob blob = weight_bytes(&memory, whole.data, whole.bytes);
            m2s_store *store = NULL;
            ((unsigned char *)blob.data)[at] = changes[i];
            m2snet_status status = m2s_store_load(&memory, &blob, NULL, &store, &error);
            assert_int_equal(status == M2SNET_STATUS_OK, store != NULL);
            m2s_store_destroy(store);
            assert_int_equal(atomic_load(&memory.used_bytes), before);
        }
    }
    m2s_blob_release(&memory, &whole);
}
