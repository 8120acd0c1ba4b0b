/* SPDX-License-Identifier: Apache-2.0 */
#include "weights/store.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/half.h"
#include "core/quote.h"
#include "graph/graph.h"

typedef struct text_pair {
    const char *key, *value;
} text_pair;

typedef struct pair_list {
    text_pair *pairs;
    size_t count, capacity;
} pair_list;

struct m2s_store {
    m2s_memory *memory;
    m2s_pile *pile; /* weights and texts */
    const char *format;
    m2s_weight **weights;
    uint64_t *hashes; /* of the weights' names */
    size_t count, capacity;
    uint32_t *slots; /* open addressing: index + 1 of a weight, 0 = free; slot_count is a power of two */
    size_t slot_count;
    pair_list metadata;
    pair_list skipped;
    m2s_blob *blobs;
    size_t blob_count, blob_capacity;
    size_t data_bytes;
    char sha256[M2S_SHA256_HEX_BYTES];
};

void m2s_blob_release(m2s_memory *memory, m2s_blob *blob)
{
    m2s_digest_end(blob->digest);
    if (blob->data != NULL) {
        if (blob->release != NULL) {
            blob->release(blob->data, blob->bytes);
        } else {
            m2s_free(memory, blob->data);
        }
    }
    *blob = (m2s_blob){ 0 };
}

m2snet_status m2s_store_create(m2s_memory *memory, const char *format, m2s_store **store, m2snet_error *error)
{
    m2s_store *made = m2s_calloc(memory, 1, sizeof *made);

    *store = NULL;
    if (made == NULL) {
        return m2s_fail_memory(error, "the weights' table", sizeof *made);
    }
    made->memory = memory;
    made->format = format;
    made->pile = m2s_pile_create(memory);
    if (made->pile == NULL) {
        m2s_store_destroy(made);
        return m2s_fail_memory(error, "the weights' table", sizeof *made);
    }
    *store = made;
    return M2SNET_STATUS_OK;
}

void m2s_store_destroy(m2s_store *store)
{
    if (store == NULL) {
        return;
    }
    for (size_t i = 0; i < store->blob_count; i++) {
        m2s_blob_release(store->memory, &store->blobs[i]);
    }
    m2s_free(store->memory, store->blobs);
    m2s_free(store->memory, store->weights);
    m2s_free(store->memory, store->hashes);
    m2s_free(store->memory, store->slots);
    m2s_free(store->memory, store->metadata.pairs);
    m2s_free(store->memory, store->skipped.pairs);
    m2s_pile_destroy(store->pile);
    m2s_free(store->memory, store);
}

/* Room for one more in an array; capacities double. */
static m2snet_status grow(m2s_memory *memory, void **array, size_t count, size_t *capacity, size_t size,
                          m2snet_error *error)
{
    size_t wanted = *capacity == 0 ? 16 : 2 * *capacity;
    size_t bytes;

    if (count < *capacity) {
        return M2SNET_STATUS_OK;
    }
    void *grown = m2s_mul(wanted, size, &bytes) ? m2s_realloc(memory, *array, bytes) : NULL;
    if (grown == NULL) {
        return m2s_fail_memory(error, "the weights' table", wanted * size);
    }
    *array = grown;
    *capacity = wanted;
    return M2SNET_STATUS_OK;
}

static char *keep_text(m2s_store *store, const char *text, size_t bytes)
{
    char *copy = bytes < SIZE_MAX ? m2s_pile_alloc(store->pile, bytes + 1) : NULL;

    if (copy != NULL) {
        memcpy(copy, text, bytes);
    }
    return copy;
}

m2snet_status m2s_store_take(m2s_store *store, m2s_blob *blob, m2snet_error *error)
{
    void *array = store->blobs;
    m2snet_status status =
        grow(store->memory, &array, store->blob_count, &store->blob_capacity, sizeof *store->blobs, error);

    store->blobs = array;
    if (status != M2SNET_STATUS_OK) {
        m2s_blob_release(store->memory, blob);
        return status;
    }
    store->blobs[store->blob_count++] = *blob;
    *blob = (m2s_blob){ 0 };
    return M2SNET_STATUS_OK;
}

/* ---- the index ---- */

static uint64_t hash_name(const char *name, size_t bytes)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */

    for (size_t i = 0; i < bytes; i++) {
        hash = (hash ^ (unsigned char)name[i]) * 0x100000001b3u;
    }
    return hash ^ hash >> 32;
}

static m2s_weight *find(const m2s_store *store, const char *name, size_t bytes, uint64_t hash)
{
    for (size_t slot = hash & (store->slot_count - 1); store->slot_count != 0 && store->slots[slot] != 0;
         slot = (slot + 1) & (store->slot_count - 1)) {
        size_t index = store->slots[slot] - 1;
        const char *there = store->weights[index]->name;
        if (store->hashes[index] == hash && strncmp(there, name, bytes) == 0 && there[bytes] == '\0') {
            return store->weights[index];
        }
    }
    return NULL;
}

static void enter(const m2s_store *store, uint32_t *slots, size_t slot_count, size_t index)
{
    size_t slot = store->hashes[index] & (slot_count - 1);

    while (slots[slot] != 0) {
        slot = (slot + 1) & (slot_count - 1);
    }
    slots[slot] = (uint32_t)index + 1;
}

/* Keeps the table at most half full, one weight to come. */
static m2snet_status grow_slots(m2s_store *store, m2snet_error *error)
{
    if (2 * (store->count + 1) <= store->slot_count) {
        return M2SNET_STATUS_OK;
    }
    size_t slot_count = store->slot_count == 0 ? 64 : 2 * store->slot_count;
    uint32_t *slots = m2s_calloc(store->memory, slot_count, sizeof *slots);
    if (slots == NULL) {
        return m2s_fail_memory(error, "the weights' index", slot_count * sizeof *slots);
    }
    for (size_t i = 0; i < store->count; i++) {
        enter(store, slots, slot_count, i);
    }
    m2s_free(store->memory, store->slots);
    store->slots = slots;
    store->slot_count = slot_count;
    return M2SNET_STATUS_OK;
}

/* ---- adding ---- */

bool m2s_dims_count(int32_t rank, const int64_t *dims, size_t *count)
{
    size_t product = 1;
    bool empty = false;

    for (int32_t i = 0; i < rank; i++) {
        empty = empty || dims[i] == 0;
        if (dims[i] < 0 || (dims[i] > 0 && !m2s_mul(product, (size_t)dims[i], &product))) {
            return false;
        }
    }
    *count = empty ? 0 : product;
    return true;
}

/* Checks desc and computes how many elements and bytes it has. */
static m2snet_status check_desc(const m2s_store *store, const m2s_weight_desc *desc, uint64_t hash, size_t *count,
                                size_t *bytes, m2snet_error *error)
{
    m2s_quoted name = m2s_quote(desc->name, desc->name_bytes);
    size_t element = m2s_dtype_bytes(desc->dtype);

    if (desc->name_bytes == 0 || desc->name_bytes > M2S_STORE_MAX_NAME_BYTES ||
        memchr(desc->name, 0, desc->name_bytes) != NULL) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "tensor name %s: expected 1..%u bytes without NUL, got %zu bytes",
                        name.text, M2S_STORE_MAX_NAME_BYTES, desc->name_bytes);
    }
    if (store->count >= M2S_STORE_MAX_WEIGHTS) {
        return m2s_fail(error, M2SNET_STATUS_LIMIT, "tensor %s: more than %u tensors", name.text,
                        M2S_STORE_MAX_WEIGHTS);
    }
    if (desc->rank < 0 || desc->rank > M2S_WEIGHT_MAX_RANK) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "tensor %s: rank %d, expected 0..%d", name.text, (int)desc->rank,
                        M2S_WEIGHT_MAX_RANK);
    }
    for (int32_t i = 0; i < desc->rank; i++) {
        if (desc->dims[i] < 0) {
            return m2s_fail(error, M2SNET_STATUS_FORMAT, "tensor %s: negative dimension in shape %s", name.text,
                            m2s_dims_text(desc->rank, desc->dims).text);
        }
    }
    if (!m2s_dims_count(desc->rank, desc->dims, count) || !m2s_mul(*count, element == 0 ? 1 : element, bytes) ||
        *bytes > PTRDIFF_MAX) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "tensor %s: shape %s has more elements than memory can hold",
                        name.text, m2s_dims_text(desc->rank, desc->dims).text);
    }
    if (element == 0) {
        *bytes = desc->bytes;
    }
    if (find(store, desc->name, desc->name_bytes, hash) != NULL) {
        return m2s_fail(error, M2SNET_STATUS_FORMAT, "tensor %s is there twice", name.text);
    }
    return M2SNET_STATUS_OK;
}

/* All but the data; not in the store yet. NULL: out of memory. */
static m2s_weight *make_weight(m2s_store *store, const m2s_weight_desc *desc, size_t count, size_t bytes)
{
    m2s_weight *weight = m2s_pile_alloc(store->pile, sizeof *weight);
    char *name = keep_text(store, desc->name, desc->name_bytes);
    const char *dtype_name = m2s_dtype_bytes(desc->dtype) != 0 ? m2s_dtype_name(desc->dtype)
                                                               : m2s_pile_strdup(store->pile, desc->dtype_name);

    if (weight == NULL || name == NULL || dtype_name == NULL) {
        return NULL;
    }
    weight->name = name;
    weight->dtype = desc->dtype;
    weight->dtype_name = dtype_name;
    weight->rank = desc->rank;
    if (desc->rank > 0) {
        memcpy(weight->dims, desc->dims, (size_t)desc->rank * sizeof *desc->dims);
    }
    weight->count = count;
    weight->bytes = bytes;
    weight->version = 1;
    return weight;
}

static m2snet_status add(m2s_store *store, const m2s_weight_desc *desc, const void *data, bool copy, void **writable,
                         m2snet_error *error)
{
    m2snet_status status;
    size_t count = 0;
    size_t bytes = 0;
    void *block = NULL;
    void *weights = store->weights;
    void *hashes = store->hashes;
    size_t capacity = store->capacity;
    uint64_t hash = hash_name(desc->name, desc->name_bytes);

    M2S_TRY(check_desc(store, desc, hash, &count, &bytes, error));
    m2s_weight *weight = make_weight(store, desc, count, bytes);
    if (weight == NULL) {
        return m2s_fail_memory(error, m2s_quote(desc->name, desc->name_bytes).text, sizeof *weight + desc->name_bytes);
    }
    status = grow(store->memory, &weights, store->count, &capacity, sizeof *store->weights, error);
    store->weights = weights;
    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    capacity = store->capacity;
    status = grow(store->memory, &hashes, store->count, &capacity, sizeof *store->hashes, error);
    store->hashes = hashes;
    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    store->capacity = capacity; /* only now do both arrays have it */
    M2S_TRY(grow_slots(store, error));

    size_t alignment = m2s_dtype_bytes(weight->dtype);
    if (copy || (alignment > 1 && (uintptr_t)data % alignment != 0)) {
        block = m2s_alloc(store->memory, weight->bytes);
        if (block == NULL) {
            return m2s_fail_memory(error, m2s_quote(weight->name, desc->name_bytes).text, weight->bytes);
        }
        if (data == NULL) {
            memset(block, 0, weight->bytes);
        } else if (weight->bytes > 0) {
            memcpy(block, data, weight->bytes);
        }
        m2s_blob blob = { .data = block, .bytes = weight->bytes, .writable = true };
        M2S_TRY(m2s_store_take(store, &blob, error));
    }
    weight->data = block != NULL ? block : data;
    if (writable != NULL) {
        *writable = block;
    }
    store->weights[store->count] = weight;
    store->hashes[store->count] = hash;
    enter(store, store->slots, store->slot_count, store->count);
    store->count++;
    store->data_bytes += weight->bytes;
    return M2SNET_STATUS_OK;

fail:
    return status;
}

m2snet_status m2s_store_add(m2s_store *store, const m2s_weight_desc *desc, const void *data, void **writable,
                            m2snet_error *error)
{
    return add(store, desc, data, true, writable, error);
}

m2snet_status m2s_store_add_view(m2s_store *store, const m2s_weight_desc *desc, const void *data, m2snet_error *error)
{
    return add(store, desc, data, false, NULL, error);
}

/* ---- looking ---- */

const char *m2s_store_format(const m2s_store *store)
{
    return store->format;
}

size_t m2s_store_count(const m2s_store *store)
{
    return store->count;
}

m2s_weight *m2s_store_at(const m2s_store *store, size_t index)
{
    return index < store->count ? store->weights[index] : NULL;
}

m2s_weight *m2s_store_find(const m2s_store *store, const char *name)
{
    size_t bytes = strlen(name);

    return find(store, name, bytes, hash_name(name, bytes));
}

m2snet_status m2s_store_rename(m2s_store *store, m2s_weight *weight, const char *name, m2snet_error *error)
{
    size_t bytes = strlen(name);
    char *copy = keep_text(store, name, bytes);

    if (copy == NULL) {
        return m2s_fail_memory(error, "the weights' table", bytes);
    }
    weight->name = copy;
    memset(store->slots, 0, store->slot_count * sizeof *store->slots);
    for (size_t i = 0; i < store->count; i++) {
        if (store->weights[i] == weight) {
            store->hashes[i] = hash_name(name, bytes);
        }
        enter(store, store->slots, store->slot_count, i);
    }
    return M2SNET_STATUS_OK;
}

size_t m2s_store_bytes(const m2s_store *store)
{
    return store->data_bytes;
}

static m2s_digest *digest_of(const m2s_store *store)
{
    for (size_t i = 0; i < store->blob_count; i++) {
        if (store->blobs[i].digest != NULL) {
            return store->blobs[i].digest;
        }
    }
    return NULL;
}

const char *m2s_store_sha256(const m2s_store *store)
{
    m2s_digest *digest = digest_of(store);

    return digest != NULL ? m2s_digest_hex(digest) : store->sha256;
}

bool m2s_store_hashes_later(const m2s_store *store)
{
    return digest_of(store) != NULL;
}

void m2s_store_set_sha256(m2s_store *store, const char hex[M2S_SHA256_HEX_BYTES])
{
    memcpy(store->sha256, hex, M2S_SHA256_HEX_BYTES - 1);
}

/* ---- texts ---- */

static const text_pair *find_pair(const pair_list *list, const char *key)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->pairs[i].key, key) == 0) {
            return &list->pairs[i];
        }
    }
    return NULL;
}

static m2snet_status add_pair(m2s_store *store, pair_list *list, const char *key, size_t key_bytes, const char *value,
                              m2snet_error *error)
{
    void *pairs = list->pairs;
    m2snet_status status = grow(store->memory, &pairs, list->count, &list->capacity, sizeof *list->pairs, error);

    list->pairs = pairs;
    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    text_pair pair = { keep_text(store, key, key_bytes), keep_text(store, value, strlen(value)) };
    if (pair.key == NULL || pair.value == NULL) {
        return m2s_fail_memory(error, m2s_quote(key, key_bytes).text, key_bytes + strlen(value));
    }
    list->pairs[list->count++] = pair;
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_store_skip(m2s_store *store, const char *name, size_t name_bytes, const char *reason,
                             m2snet_error *error)
{
    if (store->skipped.count >= M2S_STORE_MAX_WEIGHTS) {
        return M2SNET_STATUS_OK; /* only a hint is lost */
    }
    return add_pair(store, &store->skipped, name, name_bytes, reason, error);
}

const char *m2s_store_skipped(const m2s_store *store, const char *name)
{
    const text_pair *pair = find_pair(&store->skipped, name);

    return pair != NULL ? pair->value : NULL;
}

m2snet_status m2s_store_set_metadata(m2s_store *store, const char *key, const char *value, m2snet_error *error)
{
    const text_pair *there = find_pair(&store->metadata, key);

    if (there != NULL) {
        char *copy = keep_text(store, value, strlen(value));
        if (copy == NULL) {
            return m2s_fail_memory(error, m2s_quote(key, strlen(key)).text, strlen(value));
        }
        store->metadata.pairs[there - store->metadata.pairs].value = copy;
        return M2SNET_STATUS_OK;
    }
    if (store->metadata.count >= M2S_STORE_MAX_METADATA) {
        return m2s_fail(error, M2SNET_STATUS_LIMIT, "metadata key %s: more than %u entries",
                        m2s_quote(key, strlen(key)).text, M2S_STORE_MAX_METADATA);
    }
    return add_pair(store, &store->metadata, key, strlen(key), value, error);
}

size_t m2s_store_metadata_count(const m2s_store *store)
{
    return store->metadata.count;
}

const char *m2s_store_metadata_key(const m2s_store *store, size_t index)
{
    return index < store->metadata.count ? store->metadata.pairs[index].key : NULL;
}

const char *m2s_store_metadata_value(const m2s_store *store, size_t index)
{
    return index < store->metadata.count ? store->metadata.pairs[index].value : NULL;
}

const char *m2s_store_metadata(const m2s_store *store, const char *key)
{
    const text_pair *pair = find_pair(&store->metadata, key);

    return pair != NULL ? pair->value : NULL;
}

m2s_dims_string m2s_dims_text(int32_t rank, const int64_t *dims)
{
    m2s_dims_string shape = { "scalar" };
    size_t used = 0;

    for (int32_t i = 0; i < rank && i < M2S_WEIGHT_MAX_RANK; i++) {
        int wrote = snprintf(shape.text + used, sizeof shape.text - used, "%s%" PRId64, i == 0 ? "" : "x", dims[i]);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    return shape;
}

/* ---- elements ---- */

static m2snet_status check_span(const m2s_weight *weight, size_t first, size_t count, m2snet_error *error)
{
    m2s_quoted name = m2s_quote(weight->name, strlen(weight->name));

    if (m2s_dtype_bytes(weight->dtype) == 0) {
        return m2s_fail(error, M2SNET_STATUS_UNSUPPORTED,
                        "tensor %s: its dtype %s cannot be used; expected F64, F32, F16, BF16, I64, I32, I16, I8, U8 "
                        "or BOOL",
                        name.text, m2s_quote(weight->dtype_name, strlen(weight->dtype_name)).text);
    }
    if (first > weight->count || count > weight->count - first) {
        return m2s_fail(error, M2SNET_STATUS_INTERNAL, "tensor %s: elements %zu..%zu of %zu asked for", name.text,
                        first, first + count, weight->count);
    }
    return M2SNET_STATUS_OK;
}

/* One loop a dtype; `convert` turns element s[i] into the target's type. */
#define READ_ELEMENTS(type, convert)                                                                                   \
    do {                                                                                                               \
        const type *s = (const type *)weight->data + first;                                                            \
        for (size_t i = 0; i < count; i++) {                                                                           \
            dst[i] = convert(s[i]);                                                                                    \
        }                                                                                                              \
    } while (0)
#define TO_BOOL(x) ((x) != 0 ? 1 : 0)

m2snet_status m2s_weight_read_float(const m2s_weight *weight, size_t first, size_t count, float *dst,
                                    m2snet_error *error)
{
    m2snet_status status = check_span(weight, first, count, error);

    if (status != M2SNET_STATUS_OK || count == 0) {
        return status;
    }
    switch (weight->dtype) {
    case M2SNET_DTYPE_F32:
        memcpy(dst, (const float *)weight->data + first, count * sizeof *dst);
        break;
    case M2SNET_DTYPE_F64:
        READ_ELEMENTS(double, (float));
        break;
    case M2SNET_DTYPE_F16:
        READ_ELEMENTS(uint16_t, m2s_f16_to_float);
        break;
    case M2SNET_DTYPE_BF16:
        READ_ELEMENTS(uint16_t, m2s_bf16_to_float);
        break;
    case M2SNET_DTYPE_I64:
        READ_ELEMENTS(int64_t, (float));
        break;
    case M2SNET_DTYPE_I32:
        READ_ELEMENTS(int32_t, (float));
        break;
    case M2SNET_DTYPE_I16:
        READ_ELEMENTS(int16_t, (float));
        break;
    case M2SNET_DTYPE_I8:
        READ_ELEMENTS(int8_t, (float));
        break;
    case M2SNET_DTYPE_U8:
        READ_ELEMENTS(uint8_t, (float));
        break;
    case M2SNET_DTYPE_BOOL:
        READ_ELEMENTS(uint8_t, TO_BOOL);
        break;
    }
    return M2SNET_STATUS_OK;
}

m2snet_status m2s_weight_read_double(const m2s_weight *weight, size_t first, size_t count, double *dst,
                                     m2snet_error *error)
{
    m2snet_status status = check_span(weight, first, count, error);

    if (status != M2SNET_STATUS_OK || count == 0) {
        return status;
    }
    switch (weight->dtype) {
    case M2SNET_DTYPE_F64:
        memcpy(dst, (const double *)weight->data + first, count * sizeof *dst);
        break;
    case M2SNET_DTYPE_F32:
        READ_ELEMENTS(float, (double));
        break;
    case M2SNET_DTYPE_F16:
        READ_ELEMENTS(uint16_t, (double)m2s_f16_to_float);
        break;
    case M2SNET_DTYPE_BF16:
        READ_ELEMENTS(uint16_t, (double)m2s_bf16_to_float);
        break;
    case M2SNET_DTYPE_I64:
        READ_ELEMENTS(int64_t, (double));
        break;
    case M2SNET_DTYPE_I32:
        READ_ELEMENTS(int32_t, (double));
        break;
    case M2SNET_DTYPE_I16:
        READ_ELEMENTS(int16_t, (double));
        break;
    case M2SNET_DTYPE_I8:
        READ_ELEMENTS(int8_t, (double));
        break;
    case M2SNET_DTYPE_U8:
        READ_ELEMENTS(uint8_t, (double));
        break;
    case M2SNET_DTYPE_BOOL:
        READ_ELEMENTS(uint8_t, TO_BOOL);
        break;
    }
    return M2SNET_STATUS_OK;
}

/* Whether any element has all bits of exponent set: NaN or infinity. A block is looked at without a branch for each
 * element, which compilers turn into vector code. */
#define FINITE_BLOCK 1024
#define FIND_NON_FINITE(type, exponent)                                                                                \
    do {                                                                                                               \
        const type *s = weight->data;                                                                                  \
        for (size_t begin = 0; begin < weight->count; begin += FINITE_BLOCK) {                                         \
            size_t end = weight->count - begin < FINITE_BLOCK ? weight->count : begin + FINITE_BLOCK;                  \
            unsigned found = 0;                                                                                        \
            for (size_t i = begin; i < end; i++) {                                                                     \
                found |= (s[i] & (exponent)) == (exponent);                                                            \
            }                                                                                                          \
            if (found != 0) {                                                                                          \
                for (*index = begin; (s[*index] & (exponent)) != (exponent); (*index)++) {                             \
                }                                                                                                      \
                return false;                                                                                          \
            }                                                                                                          \
        }                                                                                                              \
    } while (0)

bool m2s_weight_finite(const m2s_weight *weight, size_t *index)
{
    switch (weight->dtype) {
    case M2SNET_DTYPE_F32:
        FIND_NON_FINITE(uint32_t, 0x7f800000u);
        break;
    case M2SNET_DTYPE_F64:
        FIND_NON_FINITE(uint64_t, 0x7ff0000000000000u);
        break;
    case M2SNET_DTYPE_F16:
        FIND_NON_FINITE(uint16_t, 0x7c00u);
        break;
    case M2SNET_DTYPE_BF16:
        FIND_NON_FINITE(uint16_t, 0x7f80u);
        break;
    case M2SNET_DTYPE_I64:
    case M2SNET_DTYPE_I32:
    case M2SNET_DTYPE_I16:
    case M2SNET_DTYPE_I8:
    case M2SNET_DTYPE_U8:
    case M2SNET_DTYPE_BOOL:
        break;
    }
    return true;
}
