/* SPDX-License-Identifier: Apache-2.0 */
#include "weights/safetensors.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/half.h"
#include "core/json.h"
#include "core/quote.h"
#include "graph/graph.h"

#define LENGTH_BYTES   8u
#define METADATA_KEY   "__metadata__"
#define CHUNK_ELEMENTS 16384u /* converted at a time when writing */
#define PHASE_WRITE    "write"

static const m2s_json_source header_source = { "safetensors header", M2SNET_STATUS_FORMAT };

/* A tensor as the header describes it. */
typedef struct header_entry {
    const char *name; /* the header's */
    size_t name_bytes;
    const char *dtype_name;
    m2snet_dtype dtype;
    int32_t rank;
    int64_t dims[M2S_WEIGHT_MAX_RANK];
    size_t begin, end; /* in the data, bytes */
} header_entry;

/* ---- reading ---- */

static uint64_t read_length(const unsigned char *data)
{
    uint64_t length = 0;

    for (int i = LENGTH_BYTES - 1; i >= 0; i--) {
        length = length << 8 | data[i];
    }
    return length;
}

bool m2s_safetensors_recognise(const void *data, size_t bytes)
{
    const unsigned char *start = data;

    return bytes > LENGTH_BYTES && start[LENGTH_BYTES] == '{' && read_length(start) <= M2S_SAFETENSORS_MAX_HEADER_BYTES;
}

static size_t misalignment(const m2s_blob *blob, size_t start)
{
    return ((uintptr_t)blob->data + start) % 8;
}

bool m2s_safetensors_moves(const m2s_blob *blob)
{
    return blob->writable && misalignment(blob, (size_t)(LENGTH_BYTES + read_length(blob->data))) != 0;
}

static m2snet_dtype dtype_from_name(const char *name)
{
    for (m2snet_dtype dtype = M2SNET_DTYPE_F32; dtype <= M2SNET_DTYPE_BOOL; dtype++) {
        if (strcmp(name, m2s_dtype_name(dtype)) == 0) {
            return dtype;
        }
    }
    return M2S_DTYPE_OTHER;
}

/* Checks that the bytes are as many as the shape needs. */
static m2snet_status check_size(const header_entry *e, m2snet_error *error)
{
    size_t element = m2s_dtype_bytes(e->dtype);
    size_t count = 0;
    size_t needed = 0;

    if (element == 0) {
        return M2SNET_STATUS_OK;
    }
    if (!m2s_dims_count(e->rank, e->dims, &count) || !m2s_mul(count, element, &needed)) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "tensor %s: shape %s has more elements than memory can hold",
                        m2s_quote(e->name, e->name_bytes).text, m2s_dims_text(e->rank, e->dims).text);
    }
    if (needed != e->end - e->begin) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "tensor %s: %s of shape %s needs %zu bytes, data_offsets give %zu",
                        m2s_quote(e->name, e->name_bytes).text, e->dtype_name, m2s_dims_text(e->rank, e->dims).text,
                        needed, e->end - e->begin);
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status read_entry(const m2s_json_cursor *member, size_t data_bytes, header_entry *e, m2snet_error *error)
{
    m2snet_status status;
    size_t rank = 0;
    size_t two = 0;
    int64_t offsets[2];

    e->name = member->key;
    e->name_bytes = member->key_bytes;
    if (m2s_json_kind_of(member->value) != M2S_JSON_OBJECT) {
        status = m2s_fail(error, M2SNET_STATUS_FORMAT, "expected an object with dtype, shape and data_offsets, got %s",
                          m2s_json_kind_name(m2s_json_kind_of(member->value)));
        goto fail;
    }
    M2S_TRY(m2s_json_get_string(&header_source, member->value, "dtype", M2S_JSON_REQUIRED, &e->dtype_name, error));
    M2S_TRY(m2s_json_get_integers(&header_source, member->value, "shape", M2S_JSON_REQUIRED, 0, M2S_WEIGHT_MAX_RANK, 0,
                                  INT64_MAX, e->dims, &rank, error));
    M2S_TRY(m2s_json_get_integers(&header_source, member->value, "data_offsets", M2S_JSON_REQUIRED, 2, 2, 0, INT64_MAX,
                                  offsets, &two, error));
    e->dtype = dtype_from_name(e->dtype_name);
    e->rank = (int32_t)rank;
    e->begin = (size_t)offsets[0];
    e->end = (size_t)offsets[1];
    if (e->begin > e->end || e->end > data_bytes) {
        status = m2s_fail(error, M2SNET_STATUS_FORMAT, "data_offsets %zu..%zu, the file holds %zu bytes of data",
                          e->begin, e->end, data_bytes);
        goto fail;
    }
    return check_size(e, error);

fail:
    m2s_error_prefix(error, "tensor %s", m2s_quote(member->key, member->key_bytes).text);
    return status;
}

static int compare_places(const void *a, const void *b)
{
    const header_entry *left = *(const header_entry *const *)a;
    const header_entry *right = *(const header_entry *const *)b;

    if (left->begin != right->begin) {
        return left->begin < right->begin ? -1 : 1;
    }
    return left->end < right->end ? -1 : left->end > right->end;
}

/* The format's rule: the tensors cover the data, each byte once. */
static m2snet_status check_cover(m2s_memory *memory, const header_entry *entries, size_t count, size_t data_bytes,
                                 m2snet_error *error)
{
    size_t covered = 0;
    const header_entry **places = m2s_alloc_array(memory, count, sizeof *places);
    m2snet_status status = M2SNET_STATUS_OK;

    if (places == NULL) {
        return m2s_fail_memory(error, "the safetensors header", count * sizeof *places);
    }
    for (size_t i = 0; i < count; i++) {
        places[i] = &entries[i];
    }
    if (count > 1) {
        qsort(places, count, sizeof *places, compare_places);
    }
    for (size_t i = 0; i < count && status == M2SNET_STATUS_OK; i++) {
        const header_entry *e = places[i];
        if (e->begin < covered) {
            status =
                m2s_fail(error, M2SNET_STATUS_FORMAT, "tensor %s: data_offsets %zu..%zu overlap those of tensor %s",
                         m2s_quote(e->name, e->name_bytes).text, e->begin, e->end,
                         m2s_quote(places[i - 1]->name, places[i - 1]->name_bytes).text);
        } else if (e->begin > covered) {
            status = m2s_fail(error, M2SNET_STATUS_FORMAT,
                              "tensor %s: data_offsets begin at %zu, but the tensors before it end at %zu",
                              m2s_quote(e->name, e->name_bytes).text, e->begin, covered);
        }
        covered = e->end;
    }
    if (status == M2SNET_STATUS_OK && covered != data_bytes) {
        status = m2s_fail(error, M2SNET_STATUS_FORMAT, "safetensors file: the tensors end at byte %zu of %zu of data",
                          covered, data_bytes);
    }
    m2s_free(memory, places);
    return status;
}

static m2snet_status read_metadata(const m2s_json *metadata, m2s_store *store, m2snet_error *error)
{
    m2snet_status status = M2SNET_STATUS_OK;
    m2s_json_cursor cursor = { 0 };

    if (m2s_json_kind_of(metadata) != M2S_JSON_OBJECT) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "safetensors header: " METADATA_KEY ": expected an object, got %s",
                        m2s_json_kind_name(m2s_json_kind_of(metadata)));
    }
    while (status == M2SNET_STATUS_OK && m2s_json_next(metadata, &cursor)) {
        const char *value = m2s_json_string(cursor.value, NULL);
        if (value == NULL) {
            return m2s_fail(
                error, M2SNET_STATUS_FORMAT, "safetensors header: " METADATA_KEY " key %s: expected a string, got %s",
                m2s_quote(cursor.key, cursor.key_bytes).text, m2s_json_kind_name(m2s_json_kind_of(cursor.value)));
        }
        status = m2s_store_set_metadata(store, cursor.key, value, error);
    }
    return status;
}

/* Reads all tensors' descriptions in the header's order; *entries is the caller's to free. */
static m2snet_status read_entries(m2s_memory *memory, const m2s_json *header, size_t data_bytes, m2s_store *store,
                                  header_entry **entries, size_t *count, m2snet_error *error)
{
    m2snet_status status;
    m2s_json_cursor cursor = { 0 };
    size_t members = m2s_json_count(header);

    if (members > M2S_STORE_MAX_WEIGHTS) {
        return m2s_fail(error, M2SNET_STATUS_LIMIT, "safetensors header: %zu tensors, at most %u are read", members,
                        M2S_STORE_MAX_WEIGHTS);
    }
    *entries = m2s_calloc(memory, members, sizeof **entries);
    if (*entries == NULL) {
        return m2s_fail_memory(error, "the safetensors header", members * sizeof **entries);
    }
    while (m2s_json_next(header, &cursor)) {
        if (strcmp(cursor.key, METADATA_KEY) == 0) {
            M2S_TRY(read_metadata(cursor.value, store, error));
        } else {
            M2S_TRY(read_entry(&cursor, data_bytes, &(*entries)[*count], error));
            (*count)++;
        }
    }
    return check_cover(memory, *entries, *count, data_bytes, error);

fail:
    return status;
}

static m2snet_status read_header(const m2s_blob *blob, m2s_json **header, size_t *data_start, m2snet_error *error)
{
    const unsigned char *bytes = blob->data;

    if (blob->bytes < LENGTH_BYTES + 2) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "safetensors file: %zu bytes are too few for a header",
                        blob->bytes);
    }
    uint64_t length = read_length(bytes);
    if (length > M2S_SAFETENSORS_MAX_HEADER_BYTES) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "safetensors file: header of %" PRIu64 " bytes, at most %u",
                        length, M2S_SAFETENSORS_MAX_HEADER_BYTES);
    }
    if (length > blob->bytes - LENGTH_BYTES) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT,
                        "safetensors file: header of %" PRIu64 " bytes, but only %zu follow: the file is cut off",
                        length, blob->bytes - LENGTH_BYTES);
    }
    if (length == 0 || bytes[LENGTH_BYTES] != '{') {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "safetensors header: expected '{' at its start");
    }
    *data_start = LENGTH_BYTES + (size_t)length;
    return m2s_json_parse(&header_source, (const char *)bytes + LENGTH_BYTES, (size_t)length, header, error);
}

m2snet_status m2s_safetensors_read(m2s_memory *memory, m2s_blob *blob, m2s_store **store, m2snet_error *error)
{
    m2snet_status status;
    m2s_store *made = NULL;
    m2s_json *header = NULL;
    header_entry *entries = NULL;
    size_t count = 0;
    size_t start = 0;

    *store = NULL;
    M2S_TRY(m2s_store_create(memory, "safetensors", &made, error));
    M2S_TRY(read_header(blob, &header, &start, error));
    M2S_TRY(read_entries(memory, header, blob->bytes - start, made, &entries, &count, error));

    unsigned char *data = (unsigned char *)blob->data + start;
    size_t data_bytes = blob->bytes - start;
    size_t shift = misalignment(blob, start);
    if (shift != 0 && blob->writable && shift <= start) { /* over the header, which has been read */
        memmove(data - shift, data, data_bytes);
        data -= shift;
    }
    M2S_TRY(m2s_store_take(made, blob, error));
    for (size_t i = 0; i < count; i++) {
        const header_entry *e = &entries[i];
        m2s_weight_desc desc = { .name = e->name,
                                 .name_bytes = e->name_bytes,
                                 .dtype = e->dtype,
                                 .dtype_name = e->dtype_name,
                                 .bytes = e->end - e->begin,
                                 .rank = e->rank,
                                 .dims = e->dims };
        M2S_TRY(m2s_store_add_view(made, &desc, data + e->begin, error));
    }
    m2s_free(memory, entries);
    m2s_json_free(header);
    *store = made;
    return M2SNET_STATUS_OK;

fail:
    m2s_free(memory, entries);
    m2s_json_free(header);
    m2s_store_destroy(made);
    m2s_blob_release(memory, blob);
    return status;
}

/* ---- writing ---- */

typedef struct output {
    m2s_file_writer writer;
    m2s_control *control;
    uint64_t done, total; /* bytes */
    double *wide;         /* CHUNK_ELEMENTS each */
    uint64_t *narrow;
} output;

/* Offsets by element size, 8 first, so that each tensor is aligned; *total is the sum. */
static m2snet_status place_entries(const m2s_safetensors_entry *entries, size_t count, size_t *begins, size_t *total,
                                   m2snet_error *error)
{
    size_t place = 0;

    for (size_t element = 8; element >= 1; element /= 2) {
        for (size_t i = 0; i < count; i++) {
            const m2s_weight *weight = entries[i].weight;
            size_t bytes;
            if (m2s_dtype_bytes(entries[i].dtype) != element) {
                continue;
            }
            begins[i] = place;
            if (!m2s_mul(weight->count, element, &bytes) || !m2s_add(place, bytes, &place)) {
                return m2s_fail(error, M2SNET_STATUS_LIMIT, "tensor %s: the file would be too large",
                                m2s_quote(weight->name, strlen(weight->name)).text);
            }
        }
    }
    *total = place;
    return M2SNET_STATUS_OK;
}

static m2snet_status check_entry(const m2s_safetensors_entry *entry, m2snet_error *error)
{
    const m2s_weight *weight = entry->weight;
    bool real = entry->dtype == M2SNET_DTYPE_F64 || entry->dtype == M2SNET_DTYPE_F32 ||
                entry->dtype == M2SNET_DTYPE_F16 || entry->dtype == M2SNET_DTYPE_BF16;

    if (m2s_dtype_bytes(weight->dtype) == 0 || (entry->dtype != weight->dtype && !real)) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED, "tensor %s: cannot write %s as %s",
                        m2s_quote(weight->name, strlen(weight->name)).text,
                        m2s_quote(weight->dtype_name, strlen(weight->dtype_name)).text, m2s_dtype_name(entry->dtype));
    }
    return M2SNET_STATUS_OK;
}

static m2snet_status describe_entry(m2s_json *header, const m2s_safetensors_entry *entry, size_t begin,
                                    m2snet_error *error)
{
    m2snet_status status;
    const m2s_weight *weight = entry->weight;
    m2s_json *object;
    m2s_json *list;

    if (strcmp(weight->name, METADATA_KEY) == 0 || m2s_json_find(header, weight->name) != NULL) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "tensor %s: the name is reserved or used twice",
                        m2s_quote(weight->name, strlen(weight->name)).text);
    }
    M2S_TRY(m2s_json_put_child(header, weight->name, M2S_JSON_OBJECT, &object, error));
    M2S_TRY(m2s_json_put_string(object, "dtype", m2s_dtype_name(entry->dtype), error));
    M2S_TRY(m2s_json_put_child(object, "shape", M2S_JSON_ARRAY, &list, error));
    for (int32_t i = 0; i < weight->rank; i++) {
        M2S_TRY(m2s_json_put_integer(list, NULL, weight->dims[i], error));
    }
    M2S_TRY(m2s_json_put_child(object, "data_offsets", M2S_JSON_ARRAY, &list, error));
    M2S_TRY(m2s_json_put_integer(list, NULL, (int64_t)begin, error));
    M2S_TRY(m2s_json_put_integer(list, NULL, (int64_t)(begin + weight->count * m2s_dtype_bytes(entry->dtype)), error));
    return M2SNET_STATUS_OK;

fail:
    return status;
}

static m2snet_status make_header(m2s_memory *memory, const m2s_safetensors_text *metadata, size_t metadata_count,
                                 const m2s_safetensors_entry *entries, size_t count, const size_t *begins, char **text,
                                 size_t *bytes, m2snet_error *error)
{
    m2snet_status status;
    m2s_json *header = NULL;
    m2s_json *texts;

    M2S_TRY(m2s_json_object(&header, error));
    if (metadata_count > 0) {
        M2S_TRY(m2s_json_put_child(header, METADATA_KEY, M2S_JSON_OBJECT, &texts, error));
        for (size_t i = 0; i < metadata_count; i++) {
            M2S_TRY(m2s_json_put_string(texts, metadata[i].key, metadata[i].value, error));
        }
    }
    for (size_t i = 0; i < count; i++) {
        M2S_TRY(describe_entry(header, &entries[i], begins[i], error));
    }
    M2S_TRY(m2s_json_write(memory, header, M2S_JSON_COMPACT, text, bytes, error));
    if (*bytes > M2S_SAFETENSORS_MAX_HEADER_BYTES - 7) {
        m2s_free(memory, *text);
        *text = NULL;
        status = m2s_fail(error, M2SNET_STATUS_LIMIT, "safetensors header of %zu bytes, at most %u", *bytes,
                          M2S_SAFETENSORS_MAX_HEADER_BYTES);
    }

fail:
    m2s_json_free(header);
    return status;
}

static m2snet_status write_bytes(output *out, const void *data, size_t bytes, m2snet_error *error)
{
    m2snet_status status = m2s_file_write(&out->writer, data, bytes, out->control, error);

    out->done += bytes;
    if (status == M2SNET_STATUS_OK && m2s_control_report(out->control, PHASE_WRITE, out->done, out->total)) {
        status = m2s_fail_cancelled(error, PHASE_WRITE);
    }
    return status;
}

/* double -> float such that rounding again to F16 or BF16 gives what rounding the double once would: inexact results
 * get an odd last bit, so that they never look like a tie. */
static float narrow_to_odd(double value)
{
    float near = (float)value;
    uint32_t bits = m2s_float_bits(near);

    if ((double)near != value && !isnan(value)) {
        bits -= fabs((double)near) > fabs(value);
        bits |= 1u;
    }
    return m2s_bits_float(bits);
}

/* Converts count elements of out->wide into out->narrow; returns the first finite one that became infinite, or count.
 */
static size_t narrow_chunk(const output *out, m2snet_dtype dtype, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        double value = out->wide[i];
        bool infinite;
        if (dtype == M2SNET_DTYPE_F32) {
            float result = (float)value;
            memcpy((float *)(void *)out->narrow + i, &result, sizeof result);
            infinite = isinf(result);
        } else if (dtype == M2SNET_DTYPE_F16) {
            uint16_t result = m2s_float_to_f16(narrow_to_odd(value));
            memcpy((uint16_t *)(void *)out->narrow + i, &result, sizeof result);
            infinite = (result & 0x7fffu) == 0x7c00u;
        } else if (dtype == M2SNET_DTYPE_BF16) {
            uint16_t result = m2s_float_to_bf16(narrow_to_odd(value));
            memcpy((uint16_t *)(void *)out->narrow + i, &result, sizeof result);
            infinite = (result & 0x7fffu) == 0x7f80u;
        } else {
            memcpy(out->narrow + i, &value, sizeof value);
            infinite = false;
        }
        if (infinite && isfinite(value)) {
            return i;
        }
    }
    return count;
}

static m2snet_status write_entry(output *out, const m2s_safetensors_entry *entry, m2snet_error *error)
{
    m2snet_status status;
    const m2s_weight *weight = entry->weight;

    if (entry->dtype == weight->dtype) {
        const char *rest = weight->data;
        for (size_t left = weight->bytes; left > 0;) {
            size_t bytes = left < ((size_t)1 << 20) ? left : (size_t)1 << 20;
            M2S_TRY(write_bytes(out, rest, bytes, error));
            rest += bytes;
            left -= bytes;
        }
        return M2SNET_STATUS_OK;
    }
    for (size_t first = 0; first < weight->count;) {
        size_t count = weight->count - first < CHUNK_ELEMENTS ? weight->count - first : CHUNK_ELEMENTS;
        M2S_TRY(m2s_weight_read_double(weight, first, count, out->wide, error));
        size_t good = narrow_chunk(out, entry->dtype, count);
        if (good < count) {
            status = m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                              "tensor %s: element %zu is too large for %s; expected weights within its range",
                              m2s_quote(weight->name, strlen(weight->name)).text, first + good,
                              m2s_dtype_name(entry->dtype));
            goto fail;
        }
        M2S_TRY(write_bytes(out, out->narrow, count * m2s_dtype_bytes(entry->dtype), error));
        first += count;
    }
    return M2SNET_STATUS_OK;

fail:
    return status;
}

m2snet_status m2s_safetensors_write(m2s_memory *memory, const char *path, const m2s_safetensors_text *metadata,
                                    size_t metadata_count, const m2s_safetensors_entry *entries, size_t count,
                                    m2s_control *control, m2snet_error *error)
{
    m2snet_status status;
    output out = { .writer = M2S_FILE_WRITER_NONE, .control = control };
    size_t *begins = NULL;
    char *header = NULL;
    size_t header_bytes = 0;
    size_t data_bytes = 0;
    unsigned char length[LENGTH_BYTES];

    for (size_t i = 0; i < count; i++) {
        M2S_TRY(check_entry(&entries[i], error));
    }
    begins = m2s_calloc(memory, count, sizeof *begins);
    out.wide = m2s_alloc_array(memory, CHUNK_ELEMENTS, sizeof *out.wide);
    out.narrow = m2s_alloc_array(memory, CHUNK_ELEMENTS, sizeof *out.narrow);
    if (begins == NULL || out.wide == NULL || out.narrow == NULL) {
        status = m2s_fail_memory(error, path, count * sizeof *begins + 2 * CHUNK_ELEMENTS * sizeof *out.wide);
        goto fail;
    }
    M2S_TRY(place_entries(entries, count, begins, &data_bytes, error));
    M2S_TRY(make_header(memory, metadata, metadata_count, entries, count, begins, &header, &header_bytes, error));
    size_t padding = (8 - header_bytes % 8) % 8;
    for (size_t i = 0; i < LENGTH_BYTES; i++) {
        length[i] = (unsigned char)((uint64_t)(header_bytes + padding) >> (8 * i));
    }
    out.total = LENGTH_BYTES + header_bytes + padding + data_bytes;

    M2S_TRY(m2s_file_write_begin(memory, path, &out.writer, error));
    M2S_TRY(write_bytes(&out, length, LENGTH_BYTES, error));
    M2S_TRY(write_bytes(&out, header, header_bytes, error));
    M2S_TRY(write_bytes(&out, "        ", padding, error));
    for (size_t element = 8; element >= 1; element /= 2) {
        for (size_t i = 0; i < count; i++) {
            if (m2s_dtype_bytes(entries[i].dtype) == element) {
                M2S_TRY(write_entry(&out, &entries[i], error));
            }
        }
    }
    status = m2s_file_write_commit(&out.writer, error);

fail:
    m2s_file_write_abort(&out.writer);
    m2s_free(memory, begins);
    m2s_free(memory, out.wide);
    m2s_free(memory, out.narrow);
    m2s_free(memory, header);
    return status;
}
