/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/weight_files.h"
#include "weights/torch_checkpoint.h"

static const int64_t conv[] = { 2, 3, 2, 2 };
static const int64_t two[] = { 2 };
static const int64_t five[] = { 5 };

/* The state dict that most of the files hold. */
static void assert_state(const m2s_store *store)
{
    double value = 0;

    assert_int_equal(m2s_store_count(store), 3);
    assert_string_equal(m2s_store_at(store, 0)->name, "conv.weight");
    assert_ramp(store, "conv.weight", M2SNET_DTYPE_F32, 4, conv);
    assert_ramp(store, "conv.bias", M2SNET_DTYPE_F32, 1, two);
    const m2s_weight *batches = m2s_store_find(store, "bn.num_batches_tracked");
    assert_int_equal(batches->dtype, M2SNET_DTYPE_I64);
    assert_int_equal(batches->rank, 0);
    assert_int_equal(batches->count, 1);
    assert_int_equal(m2s_weight_read_double(batches, 0, 1, &value, NULL), M2SNET_STATUS_OK);
    assert_true(value == 7);
}

static void reads_the_state_from_every_container(void **state)
{
    static const struct {
        const char *name, *format;
    } files[] = {
        { "zip.pth", "pytorch zip" },           { "zip_protocol5.pth", "pytorch zip" },
        { "zip_deflated.pth", "pytorch zip" },  { "zip_no_crc.pth", "pytorch zip" },
        { "legacy.pth", "pytorch legacy" },     { "legacy_protocol4.pth", "pytorch legacy" },
        { "module_prefix.pth", "pytorch zip" }, { "wrapped.pth", "pytorch zip" },
    };
    m2s_memory memory;
    m2s_memory_init(&memory, NULL, 0);

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        m2s_store *store = load_weight_file(&memory, files[i].name);
        assert_string_equal(m2s_store_format(store), files[i].format);
        assert_state(store);
        m2s_store_destroy(store);
        assert_int_equal(atomic_load(&memory.used_bytes), 0);
    }
}

/* Weights must stay where they are in the file: one copy in memory. */
static void keeps_contiguous_weights_in_the_file(void **state)
{
    static const char *const names[] = { "zip.pth", "legacy.pth" };
    m2s_memory memory;
    m2s_memory_init(&memory, NULL, 0);

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        m2s_blob blob = weight_file(&memory, names[i]);
        const char *start = blob.data;
        const char *end = start + blob.bytes;
        m2s_store *store = NULL;
        assert_int_equal(m2s_torch_checkpoint_read(&memory, &blob, NULL, &store, NULL), M2SNET_STATUS_OK);
        for (size_t k = 0; k < m2s_store_count(store); k++) {
            const char *data = m2s_store_at(store, k)->data;
            assert_true(data >= start && data < end);
        }
        assert_state(store);
        m2s_store_destroy(store);
    }
    m2s_blob blob = weight_file(&memory, "legacy.pth");
    m2s_store *store = NULL;
    blob.writable = false; /* a mapped file is not shifted */
    assert_int_equal(m2s_torch_checkpoint_read(&memory, &blob, NULL, &store, NULL), M2SNET_STATUS_OK);
    assert_state(store);
    m2s_store_destroy(store);
    assert_int_equal(atomic_load(&memory.used_bytes), 0);
}

static void assert_elements(const m2s_store *store, const char *name, size_t count, const double *expected)
{
    const m2s_weight *weight = m2s_store_find(store, name);

    assert_non_null(weight);
    assert_int_equal(weight->count, count);
    for (size_t i = 0; i < count; i++) {
        double value = 0;
        assert_int_equal(m2s_weight_read_double(weight, i, 1, &value, NULL), M2SNET_STATUS_OK);
        if (value != expected[i]) {
            fail_msg("%s, element %zu: %g, expected %g", name, i, value, expected[i]);
        }
    }
}

static void honours_strides_and_shared_storages(void **state)
{
    static const char *const names[] = { "strided.pth", "strided_legacy.pth" };
    static const int64_t wide[] = { 6, 4 };
    static const int64_t none[] = { 0, 3 };
    double transposed[24];
    m2s_memory memory;
    m2s_memory_init(&memory, NULL, 0);

    (void)state;
    for (int i = 0; i < 24; i++) {
        int row = i / 4;
        transposed[i] = (i % 4 * 6 + row) / 4.0 - 1;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        m2s_store *store = load_weight_file(&memory, names[i]);
        assert_elements(store, "transposed", 24, transposed);
        assert_elements(store, "row", 4, (const double[]){ 1, 1.25, 1.5, 1.75 });
        assert_ramp(store, "same", M2SNET_DTYPE_F32, 2, wide);
        assert_ptr_equal((const float *)m2s_store_find(store, "same")->data + 8, m2s_store_find(store, "row")->data);
        if (i == 0) {
            assert_elements(store, "column", 6, (const double[]){ -0.75, 0.25, 1.25, 2.25, 3.25, 4.25 });
            assert_elements(store, "block", 6, (const double[]){ 0.25, 0.5, 0.75, 1.25, 1.5, 1.75 });
            assert_elements(store, "expanded", 6, (const double[]){ -1, -1, -0.75, -0.75, -0.5, -0.5 });
            assert_ramp(store, "channels_last", M2SNET_DTYPE_F32, 4, conv);
            assert_ramp(store, "empty", M2SNET_DTYPE_F32, 2, none);
        }
        m2s_store_destroy(store);
    }
    assert_int_equal(atomic_load(&memory.used_bytes), 0);
}

static void reads_every_dtype(void **state)
{
    m2s_memory memory;
    m2s_memory_init(&memory, NULL, 0);
    m2s_store *store = load_weight_file(&memory, "dtypes.pth");

    (void)state;
    assert_ramp(store, "f64", M2SNET_DTYPE_F64, 1, five);
    assert_ramp(store, "f32", M2SNET_DTYPE_F32, 1, five);
    assert_ramp(store, "f16", M2SNET_DTYPE_F16, 1, five);
    assert_ramp(store, "bf16", M2SNET_DTYPE_BF16, 1, five);
    assert_ramp(store, "i64", M2SNET_DTYPE_I64, 1, five);
    assert_ramp(store, "i32", M2SNET_DTYPE_I32, 1, five);
    assert_ramp(store, "i16", M2SNET_DTYPE_I16, 1, five);
    assert_ramp(store, "i8", M2SNET_DTYPE_I8, 1, five);
    assert_ramp(store, "scalar", M2SNET_DTYPE_F32, 0, NULL);
    assert_elements(store, "u8", 5, (const double[]){ 0, 1, 2, 3, 4 });
    assert_elements(store, "bool", 3, (const double[]){ 0, 1, 1 });
    assert_elements(store, "i64_scalar", 1, (const double[]){ 0x1p40 });
    assert_int_equal(m2s_store_find(store, "c64")->dtype, M2S_DTYPE_OTHER);
    assert_int_equal(m2s_store_find(store, "c64")->bytes, 16);
    assert_string_equal(m2s_store_find(store, "u16")->dtype_name, "uint16");
    assert_string_equal(m2s_store_find(store, "f8")->dtype_name, "float8_e4m3fn");
    m2s_store_destroy(store);
}

static void reads_parameters_and_notes_the_rest(void **state)
{
    static const int64_t square[] = { 2, 2 };
    static const int64_t three[] = { 3 };
    m2s_memory memory;
    m2s_memory_init(&memory, NULL, 0);
    m2s_store *store = load_weight_file(&memory, "parameters.pth");

    (void)state;
    assert_int_equal(m2s_store_count(store), 3);
    assert_ramp(store, "parameter", M2SNET_DTYPE_F32, 2, square);
    assert_ramp(store, "tagged", M2SNET_DTYPE_F32, 1, three);
    assert_ramp(store, "buffer", M2SNET_DTYPE_F32, 1, two);
    assert_string_equal(m2s_store_skipped(store, "sparse"), "an object of \"torch._utils._rebuild_sparse_tensor\"");
    assert_string_equal(m2s_store_skipped(store, "namespace"), "an object of \"argparse.Namespace\"");
    assert_string_equal(m2s_store_skipped(store, "number"), "an integer");
    m2s_store_destroy(store);
}

static void reads_what_python_2_wrote(void **state)
{
    static const int64_t square[] = { 2, 2 };
    m2s_memory memory;
    m2s_memory_init(&memory, NULL, 0);
    m2s_store *store = load_weight_file(&memory, "legacy_python2.pth");

    (void)state;
    assert_int_equal(m2s_store_count(store), 2);
    assert_ramp(store, "a", M2SNET_DTYPE_F32, 2, square);
    assert_elements(store, "b", 2, (const double[]){ -0.5, -0.25 }); /* a view 1 into the storage, 1 into the view */
    assert_string_equal(m2s_store_skipped(store, "id"), "an integer");
    assert_string_equal(m2s_store_skipped(store, "long"), "an integer");
    m2s_store_destroy(store);
}

static void says_why_a_file_will_not_do(void **state)
{
    static const struct {
        const char *name;
        m2snet_status status;
        const char *part;
    } files[] = {
        { "ambiguous.pth", M2SNET_STATUS_FORMAT, "both \"net\" and \"model\" hold tensors" },
        { "no_wrapper.pth", M2SNET_STATUS_FORMAT, "\"epoch\" is an integer, \"weights\" is a dict" },
        { "list.pth", M2SNET_STATUS_FORMAT, "it holds a list, expected a state dict" },
        { "whole_module.pth", M2SNET_STATUS_UNSUPPORTED,
          "an object of \"torch.nn.modules.container.Sequential\", which only its own code could rebuild" },
        { "plain_pickle.pth", M2SNET_STATUS_FORMAT, "a Python pickle of a dict, but not one that torch.save wrote" },
        { "other.zip", M2SNET_STATUS_FORMAT, "zip file without data.pkl" },
        { "torchscript.pt", M2SNET_STATUS_UNSUPPORTED, "TorchScript archive" },
    };
    m2s_memory memory;
    m2s_memory_init(&memory, NULL, 0);

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        m2snet_error error;
        m2s_blob blob = weight_file(&memory, files[i].name);
        assert_int_equal(refuse_weights(&memory, blob.data, blob.bytes, &error), files[i].status);
        assert_error_has(&error, files[i].part);
        m2s_blob_release(&memory, &blob);
    }
}

/* A damaged weight must not go unseen: the entry's CRC is compared. */
static void a_changed_weight_is_noticed(void **state)
{
    static const char *const names[] = { "zip.pth", "zip_deflated.pth" };
    m2s_memory memory;
    m2snet_error error;
    m2s_memory_init(&memory, NULL, 0);

    (void)state;
    m2s_blob blob = weight_file(&memory, names[0]);
    static const unsigned char minus_three_quarters[] = { 0, 0, 0x40, 0xbf };
    unsigned char *bytes = blob.data;
    size_t at = 0;
    while (memcmp(bytes + at, minus_three_quarters, 4) != 0) {
        at++;
        assert_true(at + 4 < blob.bytes);
    }
    bytes[at + 2] = 0x41;
    assert_int_equal(refuse_weights(&memory, blob.data, blob.bytes, &error), M2SNET_STATUS_FORMAT);
    assert_error_has(&error, "CRC error");
    assert_error_has(&error, "zip/data/0");
    m2s_blob_release(&memory, &blob);
}

/* ---- hand-made files of the older format ---- */

#define MAGIC      "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
#define VERSION    "\x80\x02M\xe9\x03."
#define SYSTEM     "\x80\x02}."
#define SYSTEM_BIG "\x80\x02}U\x0dlittle_endian\x89s."
#define STORAGE(type)                                                                                                  \
    "(U\x07storagectorch\n" type "\nU\x01"                                                                             \
    "0U\x03"                                                                                                           \
    "cpuK\x04NtQ"
#define TENSOR(storage, rest) "U\x01wctorch._utils\n_rebuild_tensor_v2\n(" storage rest "\x89}tRs"
#define KEYS                                                                                                           \
    "\x80\x02]U\x01"                                                                                                   \
    "0a."
#define DATA                                                                                                           \
    "\x04\0\0\0\0\0\0\0"                                                                                               \
    "\0\0\x80\xbf\0\0\x40\xbf\0\0\0\xbf\0\0\x80\xbe"
#define OBJECT(value) "\x80\x02" value "."

typedef struct handmade {
    const char *bytes;
    size_t count;
    const char *part; /* of the message; NULL = it loads */
} handmade;
#define MADE(text, part)                                                                                               \
    {                                                                                                                  \
        text, sizeof(text) - 1, part                                                                                   \
    }
#define FILE_OF(object)                                                                                                \
    MAGIC VERSION SYSTEM OBJECT(object)                                                                                \
    KEYS DATA
#define EMPTY_OF(object) MAGIC VERSION SYSTEM OBJECT(object) "\x80\x02]."
#define GOOD_TENSOR      TENSOR(STORAGE("FloatStorage"), "K\0K\x04\x85K\x01\x85")

static const handmade made[] = {
    MADE(FILE_OF("}" GOOD_TENSOR), NULL),
    MADE(FILE_OF("}" GOOD_TENSOR "cos\nsystem\nU\x02id\x85R0"), NULL), /* called by a real unpickler, not here */
    MADE(FILE_OF("}" TENSOR(STORAGE("FloatStorage"), "K\x02K\x02\x85K\x01\x85")), NULL),
    MADE(FILE_OF("}" TENSOR(STORAGE("FloatStorage"), "K\0K\x02K\x02\x86K\x01K\x02\x86")), NULL),
    MADE(FILE_OF("}" TENSOR(STORAGE("FloatStorage"), "K\x04)K\0\x85")), "arguments are not"),
    MADE(FILE_OF("}" TENSOR(STORAGE("FloatStorage"), "K\x04))")), "lies outside its storage of 4 elements"),
    MADE(FILE_OF("}" TENSOR(STORAGE("FloatStorage"), "K\x01K\x04\x85K\x01\x85")), "shape 4 from element 1 on"),
    MADE(FILE_OF("}" TENSOR(STORAGE("FloatStorage"), "K\0K\x02\x85K\x04\x85")), "lies outside"),
    MADE(FILE_OF("}" TENSOR(STORAGE("FloatStorage"), "K\0K\x02\x85\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85")),
         "lies outside"),
    MADE(FILE_OF("}" TENSOR(STORAGE("FloatStorage"), "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x02\x85K\x01\x85")),
         "lies outside"),
    MADE(FILE_OF("}" TENSOR(STORAGE("FloatStorage"), "J\xff\xff\xff\xffK\x02\x85K\x01\x85")), "arguments are not"),
    MADE(FILE_OF("}" TENSOR(STORAGE("FloatStorage"), "K\0K\x02\x85J\xff\xff\xff\xff\x85")), "arguments are not"),
    MADE(FILE_OF("}" TENSOR(STORAGE("FloatStorage"), "K\0J\xff\xff\xff\xff\x85K\x01\x85")), "arguments are not"),
    MADE(FILE_OF("}" TENSOR(STORAGE("FloatStorage"), "K\0(K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01t"
                                                     "(K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01t")),
         "tensor \"w\": rank 9, expected 0..8"),
    MADE(FILE_OF("}" TENSOR(STORAGE("FloatStorage"), "K\0J\0\0\0\x7fJ\0\0\0\x7f\x86K\0K\0\x86")),
         "spread out of a far smaller storage"),
    MADE(FILE_OF("}" TENSOR(STORAGE("FloatStorage"), "K\0(J\0\0\0\x7fJ\0\0\0\x7fJ\0\0\0\x7ft(K\0K\0K\0t")),
         "lies outside"),
    MADE(FILE_OF("}" TENSOR(STORAGE("DoubleStorage"), "K\0K\x04\x85K\x01\x85")), "the file is cut off"),
    MADE(FILE_OF("}" TENSOR(STORAGE("HalfStorage"), "K\0K\x04\x85K\x01\x85")), NULL),
    MADE(FILE_OF("}" TENSOR(STORAGE("StrangeStorage"), "K\0K\x04\x85K\x01\x85")),
         "a storage of an unknown class: the Python name \"torch.StrangeStorage\""),
    MADE(FILE_OF("}"), "storage \"0\" is listed but no object has it"),
    MADE(MAGIC VERSION SYSTEM OBJECT("}") "\x80\x02].", "no tensors in the root dict (0 entries)"),
    MADE(MAGIC VERSION SYSTEM OBJECT("}" GOOD_TENSOR) "\x80\x02].", "its storage \"0\" is not in the file"),
    MADE(MAGIC VERSION SYSTEM OBJECT("}" GOOD_TENSOR) "\x80\x02]U\x01"
                                                      "0aU\x01"
                                                      "0a." DATA DATA,
         "is listed twice"),
    MADE(MAGIC VERSION SYSTEM OBJECT("}" GOOD_TENSOR) "\x80\x02]K\0a." DATA, "a storage's key is an integer"),
    MADE(MAGIC VERSION SYSTEM OBJECT("}" GOOD_TENSOR) KEYS "\x05\0\0\0\0\0\0\0"
                                                           "0123456789abcdef0123",
         "storage \"0\": 5 elements stored, its description says 4"),
    MADE(MAGIC VERSION SYSTEM_BIG OBJECT("}" GOOD_TENSOR) KEYS DATA, "big-endian"),
    MADE(MAGIC "\x80\x02M\xea\x03." SYSTEM OBJECT("}" GOOD_TENSOR) KEYS DATA, "unknown version"),
    MADE(FILE_OF("}" GOOD_TENSOR GOOD_TENSOR), "tensor \"w\" is there twice"),
    /* the machine */
    MADE(FILE_OF("0"), "1 values expected on the stack, 0 are there"),
    MADE(FILE_OF("}K\x01s"), "1 values expected"),
    MADE(FILE_OF("K\x01K\x01K\x01s"), "elements are added to an integer"),
    MADE(FILE_OF("}(K\x01u"), "a dict with a key that has no value"),
    MADE(FILE_OF("u"), "no mark on the stack"),
    MADE(EMPTY_OF("(0K\x01"), "it holds an integer"),
    MADE(FILE_OF("(K\x01"
                 "1"),
         "1 values expected"),
    MADE(FILE_OF("h\x05"), "memo slot 5 is empty"),
    MADE(FILE_OF("K\x01r\xff\xff\xff\xff"), "memo slot 4294967295 after"),
    MADE(FILE_OF("K\x01Q"), "a persistent id that is not PyTorch's"),
    MADE(FILE_OF("U\x03"
                 "abc\x85Q"),
         "a persistent id \"abc\", expected \"storage\""),
    MADE(FILE_OF("U\x07storage\x85Q"), "description is not"),
    MADE(FILE_OF("K\x01K\x02R"), "called with an integer, expected a tuple"),
    MADE(FILE_OF("K\x01K\x02\x93"), "a name made of an integer and an integer"),
    MADE(FILE_OF("ccollections\nOrderedDict\n]K\x01"
                 "a\x85R"),
         "expected pairs"),
    MADE(FILE_OF("I12x\n"), "expected an integer within 64 bits, got \"12x\""),
    MADE(FILE_OF("L9223372036854775808L\n"), "expected an integer within 64 bits"),
    MADE(EMPTY_OF("L-9223372036854775808L\n"), "it holds an integer"),
    MADE(FILE_OF("I\n"), "expected an integer"),
    MADE(FILE_OF("\x95\xff\xff\xff\xff\xff\xff\xff\x7f"), "a frame of 9223372036854775807 bytes"),
    MADE(FILE_OF("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"), "18446744073709551615 more bytes expected"),
    MADE(FILE_OF("F1.5\n"), "opcode 0x46 is none that PyTorch writes"),
    MADE(FILE_OF("\x80\x06"), "protocol 6, expected 2..5"),
    MADE(MAGIC VERSION SYSTEM "\x80\x02"
                              "cos",
         "a name without an end"),
    MADE(FILE_OF("o"), "no mark on the stack"),
    MADE(FILE_OF("(o"), "an object without a class"),
};

static void handmade_files_load_or_say_why_not(void **state)
{
    m2s_memory memory;
    m2s_memory_init(&memory, NULL, (uint64_t)256 << 20);

    (void)state;
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        m2snet_error error = { 0 };
        if (made[i].part != NULL) {
            refuse_weights(&memory, made[i].bytes, made[i].count, &error);
            if (strstr(error.message, made[i].part) == NULL) {
                fail_msg("file %zu: expected \"%s\" in \"%s\"", i, made[i].part, error.message);
            }
            continue;
        }
        m2s_store *store = NULL;
        m2s_blob blob = weight_bytes(&memory, made[i].bytes, made[i].count);
        if (m2s_store_load(&memory, &blob, NULL, &store, &error) != M2SNET_STATUS_OK) {
            fail_msg("file %zu: %s", i, error.message);
        }
        assert_non_null(m2s_store_find(store, "w"));
        m2s_store_destroy(store);
    }
    assert_int_equal(atomic_load(&memory.used_bytes), 0);
}

static void opens_wrappers_in_any_depth_but_not_for_ever(void **state)
{
    static const char state_in_net_in_model[] = FILE_OF("}U\x05model}U\x03net}" GOOD_TENSOR "ssU\x04"
                                                        "best"
                                                        "K\x01s");
    static const char beside_a_scalar[] =
        FILE_OF("}U\x05model}" GOOD_TENSOR "sU\x04"
                "bestctorch._utils\n_rebuild_tensor_v2\n(" STORAGE("FloatStorage") "K\0))\x89}tRs");
    static const char itself[] = FILE_OF("}q\0U\x05modelh\0s");
    m2s_memory memory;
    m2snet_error error = { 0 };
    m2s_store *store = NULL;
    m2s_memory_init(&memory, NULL, 0);

    (void)state;
    m2s_blob blob = weight_bytes(&memory, state_in_net_in_model, sizeof state_in_net_in_model - 1);
    assert_int_equal(m2s_store_load(&memory, &blob, NULL, &store, &error), M2SNET_STATUS_OK);
    assert_non_null(m2s_store_find(store, "w"));
    m2s_store_destroy(store);
    blob = weight_bytes(&memory, beside_a_scalar, sizeof beside_a_scalar - 1);
    assert_int_equal(m2s_store_load(&memory, &blob, NULL, &store, &error), M2SNET_STATUS_OK);
    assert_int_equal(m2s_store_count(store), 1);
    assert_non_null(m2s_store_find(store, "w"));
    m2s_store_destroy(store);
    refuse_weights(&memory, itself, sizeof itself - 1, &error);
}

static void module_comes_off_only_when_all_have_it(void **state)
{
    static const char mixed[] = FILE_OF("}" GOOD_TENSOR "U\x0amodule.one"
                                        "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE("FloatStorage") "K\0))\x89}tRs");
    m2s_memory memory;
    m2snet_error error = { 0 };
    m2s_store *store = NULL;
    m2s_memory_init(&memory, NULL, 0);

    (void)state;
    m2s_blob blob = weight_bytes(&memory, mixed, sizeof mixed - 1);
    assert_int_equal(m2s_store_load(&memory, &blob, NULL, &store, &error), M2SNET_STATUS_OK);
    assert_non_null(m2s_store_find(store, "w"));
    assert_non_null(m2s_store_find(store, "module.one"));
    m2s_store_destroy(store);
}

static void survives_damage(void **state)
{
    (void)state;
    assert_survives_damage("legacy_python2.pth");
    assert_survives_damage("legacy.pth");
    assert_survives_damage("zip.pth");
    assert_survives_damage("zip_deflated.pth");
}

static void survives_failed_allocations(void **state)
{
    (void)state;
    assert_survives_failed_allocations("strided.pth");
    assert_survives_failed_allocations("strided_legacy.pth");
    assert_survives_failed_allocations("zip_deflated.pth");
    assert_survives_failed_allocations("wrapped.pth");
    assert_survives_failed_allocations("parameters.pth");
}

static int stop(void *user, const m2snet_progress *progress)
{
    assert_string_equal(progress->phase, "read");
    (*(int *)user)++;
    return 1;
}

static void can_be_cancelled(void **state)
{
    m2s_memory memory;
    m2snet_error error = { 0 };
    m2s_store *store = NULL;
    int calls = 0;
    m2s_control control;
    m2snet_control user = { .progress = stop, .progress_user = &calls };

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    m2s_control_init(&control, &user);
    m2s_blob blob = weight_file(&memory, "zip.pth");
    assert_int_equal(m2s_store_load(&memory, &blob, &control, &store, &error), M2SNET_STATUS_CANCELLED);
    assert_int_equal(calls, 1);
    m2s_control_init(&control, &user);
    blob = weight_file(&memory, "zip.pth");
    assert_int_equal(m2s_torch_checkpoint_read(&memory, &blob, &control, &store, &error), M2SNET_STATUS_CANCELLED);
    assert_int_equal(atomic_load(&memory.used_bytes), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_state_from_every_container),
        cmocka_unit_test(keeps_contiguous_weights_in_the_file),
        cmocka_unit_test(honours_strides_and_shared_storages),
        cmocka_unit_test(reads_every_dtype),
        cmocka_unit_test(reads_parameters_and_notes_the_rest),
        cmocka_unit_test(reads_what_python_2_wrote),
        cmocka_unit_test(says_why_a_file_will_not_do),
        cmocka_unit_test(a_changed_weight_is_noticed),
        cmocka_unit_test(handmade_files_load_or_say_why_not),
        cmocka_unit_test(opens_wrappers_in_any_depth_but_not_for_ever),
        cmocka_unit_test(module_comes_off_only_when_all_have_it),
        cmocka_unit_test(survives_damage),
        cmocka_unit_test(survives_failed_allocations),
        cmocka_unit_test(can_be_cancelled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
