/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <math.h>

#include "common/comma_locale.h"
#include "common/faults.h"
#include "common/weight_files.h"
#include "core/file.h"
#include "core/json.h"
#include "weights/safetensors.h"

static const int64_t five[] = { 5 };

static void reads_every_dtype(void **state)
{
    static const int64_t empty[] = { 0, 3 };
    static const int64_t late[] = { 1, 2 };
    m2s_memory memory;
    m2s_memory_init(&memory, NULL, 0);
    m2s_store *store = load_weight_file(&memory, "dtypes.safetensors");
    double value = 0;

    (void)state;
    assert_string_equal(m2s_store_format(store), "safetensors");
    assert_int_equal(m2s_store_count(store), 14);
    assert_string_equal(m2s_store_at(store, 0)->name, "f64");
    assert_string_equal(m2s_store_at(store, 13)->name, "late");
    assert_ramp(store, "f64", M2SNET_DTYPE_F64, 1, five);
    assert_ramp(store, "f32", M2SNET_DTYPE_F32, 1, five);
    assert_ramp(store, "f16", M2SNET_DTYPE_F16, 1, five);
    assert_ramp(store, "bf16", M2SNET_DTYPE_BF16, 1, five);
    assert_ramp(store, "i64", M2SNET_DTYPE_I64, 1, five);
    assert_ramp(store, "i32", M2SNET_DTYPE_I32, 1, five);
    assert_ramp(store, "i16", M2SNET_DTYPE_I16, 1, five);
    assert_ramp(store, "i8", M2SNET_DTYPE_I8, 1, five);
    assert_ramp(store, "scalar", M2SNET_DTYPE_F32, 0, NULL);
    assert_ramp(store, "empty", M2SNET_DTYPE_F32, 2, empty);
    assert_ramp(store, "late", M2SNET_DTYPE_F64, 2, late); /* at an odd place in the file */
    assert_int_equal(m2s_weight_read_double(m2s_store_find(store, "u8"), 4, 1, &value, NULL), 0);
    assert_true(value == 4);
    assert_int_equal(m2s_store_find(store, "bool")->dtype, M2SNET_DTYPE_BOOL);
    const m2s_weight *f8 = m2s_store_find(store, "f8");
    assert_int_equal(f8->dtype, M2S_DTYPE_OTHER);
    assert_string_equal(f8->dtype_name, "F8_E4M3");
    assert_int_equal(f8->bytes, 2);
    assert_int_equal(m2s_store_metadata_count(store), 2);
    assert_string_equal(m2s_store_metadata(store, "note"), "a \"note\"");
    m2s_store_destroy(store);
    assert_int_equal(atomic_load(&memory.used_bytes), 0);
}

/* A header that is no multiple of 8 puts everything off its alignment; the data then moves over the header. */
static void aligns_an_unpadded_file_in_place(void **state)
{
    static const int64_t square[] = { 2, 2 };
    m2s_memory memory;
    m2s_memory_init(&memory, NULL, 0);
    m2s_store *store = load_weight_file(&memory, "unpadded.safetensors");
    m2s_blob blob = weight_file(&memory, "unpadded.safetensors");
    m2s_store *copied = NULL;

    (void)state;
    assert_ramp(store, "w", M2SNET_DTYPE_F32, 2, square);
    assert_ramp(store, "odd", M2SNET_DTYPE_F64, 0, NULL);
    assert_ptr_equal((const char *)m2s_store_find(store, "w")->data + 16, m2s_store_find(store, "odd")->data);
    blob.writable = false; /* a mapped file: left as it is, tensors are copied */
    assert_int_equal(m2s_safetensors_read(&memory, &blob, &copied, NULL), M2SNET_STATUS_OK);
    assert_ramp(copied, "w", M2SNET_DTYPE_F32, 2, square);
    assert_ramp(copied, "odd", M2SNET_DTYPE_F64, 0, NULL);
    m2s_store_destroy(copied);
    m2s_store_destroy(store);
}

static void assert_header_refused(m2s_memory *memory, const char *header, size_t data_bytes, m2snet_status expected,
                                  const char *part)
{
    unsigned char bytes[2048] = { 0 };
    size_t length = strlen(header);
    m2snet_error error;

    bytes[0] = (unsigned char)length;
    bytes[1] = (unsigned char)(length >> 8);
    snprintf((char *)bytes + 8, sizeof bytes - 8, "%s", header);
    assert_int_equal(refuse_weights(memory, bytes, 8 + length + data_bytes, &error), expected);
    assert_error_has(&error, part);
}

#define F32_AT(begin, end) "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[" #begin "," #end "]}"

static void refuses_every_fault_in_the_header(void **state)
{
    static const struct {
        const char *header;
        size_t data_bytes;
        const char *part;
    } cases[] = {
        { "{\"a\":" F32_AT(0, 8) "}", 7, "tensor \"a\": data_offsets 0..8, the file holds 7 bytes of data" },
        { "{\"a\":" F32_AT(0, 8) "}", 9, "the tensors end at byte 8 of 9 of data" },
        { "{\"a\":" F32_AT(8, 0) "}", 8, "tensor \"a\": data_offsets 8..0" },
        { "{\"a\":" F32_AT(0, 4) "}", 4, "tensor \"a\": F32 of shape 2 needs 8 bytes, data_offsets give 4" },
        { "{\"a\":" F32_AT(0, 8) ",\"b\":" F32_AT(4, 12) "}", 12,
          "tensor \"b\": data_offsets 4..12 overlap those of tensor \"a\"" },
        { "{\"a\":" F32_AT(0, 8) ",\"b\":" F32_AT(0, 8) "}", 8, "tensor \"b\": data_offsets 0..8 overlap" },
        { "{\"a\":" F32_AT(0, 8) ",\"b\":" F32_AT(12, 20) "}", 20,
          "tensor \"b\": data_offsets begin at 12, but the tensors before it end at 8" },
        { "{\"a\":" F32_AT(0, 8) ",\"a\":" F32_AT(8, 16) "}", 16, "duplicate object key" },
        { "{\"a\":3}", 0, "tensor \"a\": expected an object with dtype, shape and data_offsets, got an integer" },
        { "{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
          "tensor \"a\": safetensors header key \"dtype\": expected a string, got nothing" },
        { "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "key \"shape\": expected an array" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, "got -2" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8, "got 2.0" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", 8,
          "expected an array of 0 to 8 integers, got an array of 9" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, "expected an array of 2 integers" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8, "got -8" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}", 0,
          "tensor \"a\": shape 4611686018427387904x4 has more elements than memory can hold" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,0]}}", 0, "too big integer" },
        { "{\"__metadata__\":{\"a\":3}}", 0, "__metadata__ key \"a\": expected a string, got an integer" },
        { "{\"__metadata__\":[]}", 0, "__metadata__: expected an object, got an array" },
        { "{\"\":" F32_AT(0, 8) "}", 8, "tensor name \"\": expected 1..4096 bytes" },
        { "{\"a\":" F32_AT(0, 8), 8, "line 1" },
        { "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", 8, "nested deeper" },
    };
    m2s_memory memory;
    m2s_memory_init(&memory, NULL, 0);

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_header_refused(&memory, cases[i].header, cases[i].data_bytes, M2SNET_STATUS_FORMAT, cases[i].part);
    }
}

static void refuses_bad_lengths(void **state)
{
    m2s_memory memory;
    m2snet_error error;
    m2s_store *store = NULL;
    static const char cut[] = "\xff\x00\x00\x00\x00\x00\x00\x00{}";
    static const char huge[] = "\x00\x00\x00\x00\x00\x00\x00\x80{}";
    static const char list[] = "\x02\x00\x00\x00\x00\x00\x00\x00[]";
    static const char none[] = "\x02\x00\x00\x00\x00\x00\x00\x00{}";

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    assert_int_equal(refuse_weights(&memory, cut, 10, &error), M2SNET_STATUS_FORMAT);
    assert_error_has(&error, "header of 255 bytes, but only 2 follow: the file is cut off");
    m2s_blob blob = weight_bytes(&memory, huge, 10);
    assert_int_equal(m2s_safetensors_read(&memory, &blob, &store, &error), M2SNET_STATUS_FORMAT);
    assert_error_has(&error, "header of 9223372036854775808 bytes, at most 100000000");
    blob = weight_bytes(&memory, list, 10);
    assert_int_equal(m2s_safetensors_read(&memory, &blob, &store, &error), M2SNET_STATUS_FORMAT);
    blob = weight_bytes(&memory, none, 9);
    assert_int_equal(m2s_safetensors_read(&memory, &blob, &store, &error), M2SNET_STATUS_FORMAT);
    blob = weight_bytes(&memory, none, 10); /* a file without tensors is one */
    assert_int_equal(m2s_safetensors_read(&memory, &blob, &store, &error), M2SNET_STATUS_OK);
    assert_int_equal(m2s_store_count(store), 0);
    m2s_store_destroy(store);
    assert_int_equal(atomic_load(&memory.used_bytes), 0);
}

static void survives_damage_and_failed_allocations(void **state)
{
    (void)state;
    assert_survives_damage("unpadded.safetensors");
    assert_survives_damage("dtypes.safetensors");
    assert_survives_failed_allocations("dtypes.safetensors");
}

/* ---- writing ---- */

typedef struct place {
    char folder[64], path[96];
} place;

static place make_place(void)
{
    place p = { .folder = "/tmp/m2snet-safetensors-XXXXXX" };

    assert_non_null(mkdtemp(p.folder));
    snprintf(p.path, sizeof p.path, "%s/out.safetensors", p.folder);
    return p;
}

static void remove_place(const place *p)
{
    unlink(p->path);
    assert_int_equal(rmdir(p->folder), 0); /* and so nothing else was left there */
}

static m2s_store *load_path(m2s_memory *memory, const char *path)
{
    uint8_t *data = NULL;
    size_t bytes = 0;
    m2s_store *store = NULL;
    m2snet_error error = { 0 };

    assert_int_equal(m2s_file_read(memory, path, 1 << 20, NULL, &data, &bytes, &error), 0);
    m2s_blob blob = { .data = data, .bytes = bytes, .writable = true };
    if (m2s_store_load(memory, &blob, NULL, &store, &error) != M2SNET_STATUS_OK) {
        fail_msg("%s", error.message);
    }
    return store;
}

static const m2s_safetensors_text texts[] = { { "m2snet.config", "{\"mean\":[0.485]}" }, { "note", "\xc3\xa9\n" } };

/* Everything of dtypes.safetensors but the F8 tensor; the floats in `dtype`. */
static size_t entries_of(const m2s_store *store, m2snet_dtype dtype, m2s_safetensors_entry entries[16])
{
    size_t count = 0;

    for (size_t i = 0; i < m2s_store_count(store); i++) {
        const m2s_weight *weight = m2s_store_at(store, i);
        bool real = weight->dtype != M2S_DTYPE_OTHER && weight->dtype <= M2SNET_DTYPE_BF16;
        if (weight->dtype != M2S_DTYPE_OTHER) {
            entries[count++] = (m2s_safetensors_entry){ weight, real ? dtype : weight->dtype };
        }
    }
    return count;
}

static void writes_what_it_reads(void **state)
{
    static const int64_t late[] = { 1, 2 };
    m2s_memory memory;
    m2s_memory_init(&memory, NULL, 0);
    m2s_store *store = load_weight_file(&memory, "dtypes.safetensors");
    m2s_safetensors_entry entries[16];
    const m2snet_dtype dtypes[] = { M2SNET_DTYPE_F32, M2SNET_DTYPE_F16, M2SNET_DTYPE_BF16, M2SNET_DTYPE_F64 };
    place p = make_place();
    m2snet_error error = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        size_t count = entries_of(store, dtypes[i], entries);
        assert_int_equal(count, 13);
        bool comma = comma_locale_enter();
        m2snet_status status = m2s_safetensors_write(&memory, p.path, texts, 2, entries, count, NULL, &error);
        if (comma) {
            comma_locale_leave();
        }
        assert_int_equal(status, M2SNET_STATUS_OK);
        m2s_store *back = load_path(&memory, p.path);
        uintptr_t first = UINTPTR_MAX;
        uintptr_t last = 0;
        assert_int_equal(m2s_store_count(back), count);
        for (size_t k = 0; k < count; k++) {
            const m2s_weight *weight = m2s_store_at(back, k);
            uintptr_t at = (uintptr_t)weight->data;
            first = at < first ? at : first;
            last = at > last ? at : last;
            assert_string_equal(weight->name, entries[k].weight->name);
        }
        assert_true(last - first <= m2s_store_bytes(back)); /* aligned where they lie in the file, none was copied */
        assert_ramp(back, "f64", dtypes[i], 1, five);
        assert_ramp(back, "bf16", dtypes[i], 1, five);
        assert_ramp(back, "i64", M2SNET_DTYPE_I64, 1, five);
        assert_ramp(back, "i8", M2SNET_DTYPE_I8, 1, five);
        assert_ramp(back, "late", dtypes[i], 2, late);
        assert_ramp(back, "scalar", dtypes[i], 0, NULL);
        assert_string_equal(m2s_store_metadata(back, "m2snet.config"), texts[0].value);
        assert_string_equal(m2s_store_metadata(back, "note"), texts[1].value);
        m2s_store_destroy(back);
    }
    m2s_store_destroy(store);
    remove_place(&p);
    assert_int_equal(atomic_load(&memory.used_bytes), 0);
}

static m2s_weight weight_of(const char *name, m2snet_dtype dtype, size_t count, const void *data)
{
    return (m2s_weight){ .name = name,
                         .dtype = dtype,
                         .dtype_name = "F64",
                         .rank = 1,
                         .dims = { (int64_t)count },
                         .count = count,
                         .bytes = count * 8,
                         .data = data,
                         .version = 1 };
}

/* Rounding a double to float first would turn these into ties and round them the wrong way. */
static void narrows_doubles_once(void **state)
{
    static const double values[] = {
        1 + 0x1p-11 + 0x1p-40, 1 + 0x1p-11, -(1 + 0x1p-11 + 0x1p-40), 1 + 0x1p-10 + 0x1p-11 - 0x1p-40, 65519.9999999999,
        0x1p-25 + 0x1p-60,     -0.0
    };
    static const double expected[] = { 1 + 0x1p-10, 1, -(1 + 0x1p-10), 1 + 0x1p-10, 65504, 0x1p-24, -0.0 };
    m2s_memory memory;
    place p = make_place();
    double got[7];
    m2snet_error error = { 0 };
    m2s_weight weight = weight_of("w", M2SNET_DTYPE_F64, 7, values);
    m2s_safetensors_entry entry = { &weight, M2SNET_DTYPE_F16 };

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    assert_int_equal(m2s_safetensors_write(&memory, p.path, NULL, 0, &entry, 1, NULL, &error), 0);
    m2s_store *store = load_path(&memory, p.path);
    assert_int_equal(m2s_weight_read_double(m2s_store_at(store, 0), 0, 7, got, &error), 0);
    assert_memory_equal(got, expected, sizeof got);
    m2s_store_destroy(store);
    remove_place(&p);
}

static void refuses_what_cannot_be_written(void **state)
{
    static const double large[] = { 1, 65520 };
    static const double special[] = { (double)INFINITY, (double)NAN };
    m2s_memory memory;
    place p = make_place();
    m2snet_error error = { 0 };
    m2s_weight weight = weight_of("large", M2SNET_DTYPE_F64, 2, large);
    m2s_safetensors_entry twice[] = { { &weight, M2SNET_DTYPE_F64 }, { &weight, M2SNET_DTYPE_F64 } };
    m2s_safetensors_entry half = { &weight, M2SNET_DTYPE_F16 };
    m2s_safetensors_entry integer = { &weight, M2SNET_DTYPE_I32 };
    m2s_safetensors_text bad_text = { "a", "\xff" };

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    assert_int_equal(m2s_safetensors_write(&memory, p.path, NULL, 0, &half, 1, NULL, &error),
                     M2SNET_STATUS_UNSUPPORTED);
    assert_error_has(&error, "tensor \"large\": element 1 is too large for F16");
    assert_int_equal(access(p.path, F_OK), -1);
    assert_int_equal(m2s_safetensors_write(&memory, p.path, NULL, 0, &integer, 1, NULL, &error),
                     M2SNET_STATUS_UNSUPPORTED);
    assert_int_equal(m2s_safetensors_write(&memory, p.path, NULL, 0, twice, 2, NULL, &error),
                     M2SNET_STATUS_INVALID_ARGUMENT);
    assert_int_equal(m2s_safetensors_write(&memory, p.path, &bad_text, 1, twice, 1, NULL, &error),
                     M2SNET_STATUS_INVALID_ARGUMENT);
    weight.name = "__metadata__";
    assert_int_equal(m2s_safetensors_write(&memory, p.path, NULL, 0, twice, 1, NULL, &error),
                     M2SNET_STATUS_INVALID_ARGUMENT);
    weight.name = "large";
    assert_int_equal(m2s_safetensors_write(&memory, "/nowhere/at/all", NULL, 0, twice, 1, NULL, &error),
                     M2SNET_STATUS_IO);
    weight.data = special; /* what is infinite already stays so */
    assert_int_equal(m2s_safetensors_write(&memory, p.path, NULL, 0, &half, 1, NULL, &error), M2SNET_STATUS_OK);
    remove_place(&p);
    assert_int_equal(atomic_load(&memory.used_bytes), 0);
}

static int stop_at_once(void *user, const m2snet_progress *progress)
{
    int *calls = user;

    (*calls)++;
    assert_string_equal(progress->phase, "write");
    return 1;
}

static void cancel_leaves_no_file(void **state)
{
    m2s_memory memory;
    place p = make_place();
    m2snet_error error = { 0 };
    int calls = 0;
    m2s_control control;
    m2snet_control user = { .progress = stop_at_once, .progress_user = &calls };
    static const double values[] = { 1, 2 };
    m2s_weight weight = weight_of("w", M2SNET_DTYPE_F64, 2, values);
    m2s_safetensors_entry entry = { &weight, M2SNET_DTYPE_F64 };

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    m2s_control_init(&control, &user);
    assert_int_equal(m2s_safetensors_write(&memory, p.path, NULL, 0, &entry, 1, &control, &error),
                     M2SNET_STATUS_CANCELLED);
    assert_int_equal(calls, 1);
    remove_place(&p);
}

static void writing_survives_failed_allocations(void **state)
{
    m2s_memory reading;
    m2s_memory_init(&reading, NULL, 0);
    m2s_store *store = load_weight_file(&reading, "dtypes.safetensors");
    m2s_safetensors_entry entries[16];
    size_t count = entries_of(store, M2SNET_DTYPE_F16, entries);
    place p = make_place();

    (void)state;
    for (size_t n = 1;; n++) {
        faults f = { .fail_at = n };
        m2snet_allocator allocator = faults_allocator(&f);
        m2s_memory memory;
        m2snet_error error = { 0 };
        m2s_memory_init(&memory, &allocator, 0);
        m2snet_status status = m2s_safetensors_write(&memory, p.path, texts, 2, entries, count, NULL, &error);
        assert_int_equal(status, f.calls < n ? M2SNET_STATUS_OK : M2SNET_STATUS_OUT_OF_MEMORY);
        assert_int_equal(access(p.path, F_OK), f.calls < n ? 0 : -1);
        assert_int_equal(f.live, 0);
        if (f.calls < n) {
            break;
        }
    }
    m2s_store_destroy(store);
    remove_place(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_dtype),
        cmocka_unit_test(aligns_an_unpadded_file_in_place),
        cmocka_unit_test(refuses_every_fault_in_the_header),
        cmocka_unit_test(refuses_bad_lengths),
        cmocka_unit_test(survives_damage_and_failed_allocations),
        cmocka_unit_test(writes_what_it_reads),
        cmocka_unit_test(narrows_doubles_once),
        cmocka_unit_test(refuses_what_cannot_be_written),
        cmocka_unit_test(cancel_leaves_no_file),
        cmocka_unit_test(writing_survives_failed_allocations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
