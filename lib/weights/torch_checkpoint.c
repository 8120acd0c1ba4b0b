/* SPDX-License-Identifier: Apache-2.0 */
#include "weights/torch_checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/quote.h"
#include "weights/pickle.h"
#include "weights/torch_archive.h"

#define MAX_WRAPPERS 4 /* dicts within dicts on the way to the tensors */
#define MODULE       "module."
#define MAX_RECORD   100 /* bytes of a storage's key */
/* What may be allocated beside the file: for compressed entries, and for tensors that are not contiguous. */
#define EXTRA_FACTOR 16u
#define EXTRA_BYTES  ((uint64_t)64 << 20)

static const unsigned char legacy_magic[] = { 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19 };
static const char *const wrappers[] = { "state_dict", "model", "model_state", "model_state_dict", "net" };

typedef struct reader {
    m2s_memory *memory;
    m2s_control *control;
    m2snet_error *error;
    m2s_pickle *pickle;
    m2s_pickle_value *root;     /* the object that was saved */
    m2s_torch_archive *archive; /* NULL: the older format */
    m2s_store *store;
    uint64_t extra_bytes; /* still allowed */
    size_t visits;        /* dict entries looked at on the way to the tensors: one dict may stand in many places */
    char *blob_data;
    size_t blob_bytes;
    bool writable;
} reader;

bool m2s_torch_zip_recognise(const void *data, size_t bytes)
{
    return bytes >= 4 && memcmp(data, "PK\3\4", 4) == 0;
}

bool m2s_torch_legacy_recognise(const void *data, size_t bytes)
{
    const unsigned char *start = data;

    return bytes >= 2 && start[0] == 0x80u && start[1] >= 2 && start[1] <= 5;
}

/* ---- storages ---- */

static int compare_keys(const void *a, const void *b)
{
    m2s_pickle_text left = (*(m2s_pickle_storage *const *)a)->key;
    m2s_pickle_text right = (*(m2s_pickle_storage *const *)b)->key;
    size_t common = left.bytes < right.bytes ? left.bytes : right.bytes;
    int order = common > 0 ? memcmp(left.start, right.start, common) : 0;

    return order != 0 ? order : (left.bytes > right.bytes) - (left.bytes < right.bytes);
}

/* Sorts the storages by key and gives all with one key the same root. */
static void join_storages(m2s_pickle_storage **storages, size_t count)
{
    if (count > 1) {
        qsort(storages, count, sizeof *storages, compare_keys);
    }
    for (size_t i = 1; i < count; i++) {
        if (compare_keys(&storages[i - 1], &storages[i]) == 0) {
            storages[i]->root = storages[i - 1]->root;
        }
    }
}

/* Zip: looks a storage's entry up when a tensor first needs it. */
static m2snet_status fetch_storage(reader *r, m2s_pickle_storage *root)
{
    m2snet_status status;
    char record[MAX_RECORD + 8];
    m2s_torch_record found;

    if (root->key.bytes > MAX_RECORD) {
        return m2s_fail(r->error, M2SNET_STATUS_FORMAT, "storage %s: its key is too long",
                        m2s_quote(root->key.start, root->key.bytes).text);
    }
    snprintf(record, sizeof record, "data/%.*s", (int)root->key.bytes, root->key.start);
    M2S_TRY(m2s_torch_archive_get(r->archive, record, &r->extra_bytes, r->control, &found, r->error));
    if (found.block != NULL) {
        m2s_blob blob = { .data = found.block, .bytes = found.bytes, .writable = true };
        M2S_TRY(m2s_store_take(r->store, &blob, r->error));
    }
    root->data = found.data;
    root->data_bytes = found.bytes;

fail:
    return status;
}

/* Older format: storages follow the pickles in the order of a list of keys, each as a count and the elements. */
static m2snet_status place_storages(reader *r, m2s_pickle_storage **storages, size_t count,
                                    const m2s_pickle_value *keys, size_t position)
{
    if (keys->kind != M2S_PICKLE_LIST) {
        return m2s_fail(r->error, M2SNET_STATUS_FORMAT, "PyTorch file: the list of storages is %s",
                        m2s_pickle_describe(keys).text);
    }
    for (size_t i = 0; i < keys->u.list.count; i++) {
        const m2s_pickle_value *key = keys->u.list.items[i];
        uint64_t stored = 0;
        size_t bytes;
        if (key->kind != M2S_PICKLE_STRING) {
            return m2s_fail(r->error, M2SNET_STATUS_FORMAT, "PyTorch file: a storage's key is %s",
                            m2s_pickle_describe(key).text);
        }
        m2s_pickle_storage wanted = { .key = key->u.text };
        m2s_pickle_storage *wanted_at = &wanted;
        m2s_pickle_storage **there =
            count > 0 ? bsearch(&wanted_at, storages, count, sizeof *storages, compare_keys) : NULL;
        m2s_quoted name = m2s_quote(key->u.text.start, key->u.text.bytes);
        if (there == NULL || (*there)->root->data != NULL) {
            return m2s_fail(r->error, M2SNET_STATUS_FORMAT, "PyTorch file: storage %s is listed %s", name.text,
                            there == NULL ? "but no object has it" : "twice");
        }
        m2s_pickle_storage *root = (*there)->root;
        if (r->blob_bytes - position < sizeof stored) {
            return m2s_fail(r->error, M2SNET_STATUS_FORMAT, "storage %s: the file is cut off before it", name.text);
        }
        memcpy(&stored, r->blob_data + position, sizeof stored);
        position += sizeof stored;
        if (stored != (uint64_t)root->count) {
            return m2s_fail(r->error, M2SNET_STATUS_FORMAT,
                            "storage %s: %" PRIu64 " elements stored, its description says %" PRId64, name.text, stored,
                            root->count);
        }
        if (!m2s_mul((size_t)stored, root->dtype->bytes, &bytes) || bytes > r->blob_bytes - position) {
            return m2s_fail(r->error, M2SNET_STATUS_FORMAT,
                            "storage %s: %" PRIu64 " elements of %zu bytes, %zu bytes are left: the file is cut off",
                            name.text, stored, root->dtype->bytes, r->blob_bytes - position);
        }
        root->data = r->blob_data + position;
        root->data_bytes = bytes;
        position += bytes;
    }
    return M2SNET_STATUS_OK;
}

/* Older format: pickles end anywhere, so a storage is as a rule not aligned. It moves down over its count. */
static void align_storage(const reader *r, m2s_pickle_storage *root)
{
    size_t shift = (uintptr_t)root->data % sizeof(uint64_t);

    if (r->archive == NULL && r->writable && shift != 0) {
        char *data = r->blob_data + (root->data - r->blob_data);
        memmove(data - shift, data, root->data_bytes);
        root->data = data - shift;
    }
}

/* ---- tensors ---- */

typedef struct layout {
    int32_t rank;
    int64_t dims[M2S_WEIGHT_MAX_RANK];
    int64_t strides[M2S_WEIGHT_MAX_RANK]; /* elements */
    size_t count;
    bool contiguous;
} layout;

/* Checks shape and strides against the storage; what is wrong goes into the message. */
static m2snet_status check_layout(const reader *r, m2s_quoted name, const m2s_pickle_tensor *tensor, layout *l)
{
    const m2s_pickle_storage *storage = tensor->storage;
    size_t last = 0; /* of the elements, counted from the first */
    size_t end;
    size_t start;
    size_t held = storage->root->data_bytes / tensor->dtype->bytes;
    bool fits = true;
    bool empty = false;

    l->count = 1;
    l->contiguous = true;
    l->rank = (int32_t)tensor->dims->count;
    for (int32_t i = 0; i < l->rank; i++) {
        l->dims[i] = tensor->dims->items[i]->u.integer;
        l->strides[i] = tensor->strides->items[i]->u.integer;
        empty = empty || l->dims[i] == 0;
    }
    for (int32_t i = l->rank; i-- > 0 && !empty;) {
        size_t reach;
        l->contiguous = l->contiguous && (l->dims[i] == 1 || (uint64_t)l->strides[i] == l->count);
        fits = fits && m2s_mul(l->count, (size_t)l->dims[i], &l->count) &&
               m2s_mul((size_t)l->dims[i] - 1, (size_t)l->strides[i], &reach) && m2s_add(last, reach, &last);
    }
    if (empty) {
        l->count = 0;
        return M2SNET_STATUS_OK;
    }
    fits = fits && m2s_add((size_t)storage->view_offset, (size_t)tensor->offset, &start) && m2s_add(start, last, &end);
    if (!fits || end >= held) {
        return m2s_fail(r->error, M2SNET_STATUS_FORMAT,
                        "tensor %s: shape %s from element %" PRId64 " on lies outside its storage of %zu elements",
                        name.text, m2s_dims_text(l->rank, l->dims).text, tensor->offset, held);
    }
    return M2SNET_STATUS_OK;
}

/* Copies a strided tensor row-major. */
static void copy_strided(const layout *l, size_t element_bytes, const char *src, char *dst)
{
    int64_t place[M2S_WEIGHT_MAX_RANK] = { 0 };
    const char *from = src;

    for (size_t i = 0; i < l->count; i++) {
        memcpy(dst, from, element_bytes);
        dst += element_bytes;
        for (int32_t axis = l->rank; axis-- > 0;) {
            size_t step = (size_t)l->strides[axis] * element_bytes;
            if (++place[axis] < l->dims[axis]) {
                from += step;
                break;
            }
            from -= step * (size_t)(l->dims[axis] - 1);
            place[axis] = 0;
        }
    }
}

static m2snet_status copy_tensor(reader *r, const m2s_weight_desc *desc, const layout *l, size_t element_bytes,
                                 const char *src)
{
    m2snet_status status;
    m2s_quoted name = m2s_quote(desc->name, desc->name_bytes);
    size_t bytes;

    if (!m2s_mul(l->count, element_bytes, &bytes) || bytes > r->extra_bytes) {
        return m2s_fail(r->error, M2SNET_STATUS_LIMIT,
                        "tensor %s: shape %s would be spread out of a far smaller storage; save a contiguous() copy",
                        name.text, m2s_dims_text(l->rank, l->dims).text);
    }
    r->extra_bytes -= bytes;
    void *block = m2s_alloc(r->memory, bytes);
    if (block == NULL) {
        return m2s_fail_memory(r->error, name.text, bytes);
    }
    copy_strided(l, element_bytes, src, block);
    m2s_blob blob = { .data = block, .bytes = bytes, .writable = true };
    M2S_TRY(m2s_store_take(r->store, &blob, r->error));
    M2S_TRY(m2s_store_add_view(r->store, desc, block, r->error));

fail:
    return status;
}

static m2snet_status add_tensor(reader *r, m2s_pickle_text key, const m2s_pickle_tensor *tensor)
{
    m2snet_status status;
    layout l;
    m2s_quoted name = m2s_quote(key.start, key.bytes);
    m2s_pickle_storage *root = tensor->storage->root;

    if (tensor->dims->count > M2S_WEIGHT_MAX_RANK) {
        return m2s_fail(r->error, M2SNET_STATUS_UNSUPPORTED, "tensor %s: rank %zu, expected 0..%d", name.text,
                        tensor->dims->count, M2S_WEIGHT_MAX_RANK);
    }
    if (root->data == NULL) {
        if (r->archive == NULL) {
            return m2s_fail(r->error, M2SNET_STATUS_FORMAT, "tensor %s: its storage %s is not in the file", name.text,
                            m2s_quote(root->key.start, root->key.bytes).text);
        }
        M2S_TRY(fetch_storage(r, root));
    }
    size_t needed;
    if (!m2s_mul((size_t)tensor->storage->count, tensor->storage->dtype->bytes, &needed) || needed > root->data_bytes) {
        return m2s_fail(r->error, M2SNET_STATUS_FORMAT,
                        "tensor %s: its storage should have %" PRId64
                        " elements of %zu bytes, the file holds %zu bytes",
                        name.text, tensor->storage->count, tensor->storage->dtype->bytes, root->data_bytes);
    }
    M2S_TRY(check_layout(r, name, tensor, &l));
    align_storage(r, root);

    const char *data = root->data;
    if (l.count > 0) {
        data += ((size_t)tensor->storage->view_offset + (size_t)tensor->offset) * tensor->dtype->bytes;
    }
    m2s_weight_desc desc = { .name = key.start,
                             .name_bytes = key.bytes,
                             .dtype = tensor->dtype->dtype,
                             .dtype_name = tensor->dtype->name,
                             .bytes = l.count * tensor->dtype->bytes,
                             .rank = l.rank,
                             .dims = l.dims };
    if (l.contiguous) {
        return m2s_store_add_view(r->store, &desc, data, r->error);
    }
    return copy_tensor(r, &desc, &l, tensor->dtype->bytes, data);

fail:
    return status;
}

/* ---- the state dict ---- */

static bool is_tensor_entry(const m2s_pickle_value *key, const m2s_pickle_value *value)
{
    return key->kind == M2S_PICKLE_STRING && value->kind == M2S_PICKLE_TENSOR;
}

static bool is_wrapper(const m2s_pickle_value *key, const m2s_pickle_value *value)
{
    for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++) {
        if (key->kind == M2S_PICKLE_STRING && value->kind == M2S_PICKLE_DICT &&
            m2s_pickle_text_is(key->u.text, wrappers[i])) {
            return true;
        }
    }
    return false;
}

/* The dict whose own entries are the tensors: reached through wrappers when one leads there, else dict itself, when it
 * has any. *found stays NULL when there is none. */
static m2snet_status find_state(reader *r, const m2s_pickle_value *dict, int depth, const m2s_pickle_value **found)
{
    m2snet_status status;
    const m2s_pickle_items *items = &dict->u.list;
    const m2s_pickle_value *way = NULL;
    bool tensors = false;

    r->visits += items->count;
    if (r->visits > M2S_PICKLE_MAX_VALUES) {
        return m2s_fail(r->error, M2SNET_STATUS_LIMIT, "PyTorch file: more than %u entries in its dicts",
                        M2S_PICKLE_MAX_VALUES);
    }
    for (size_t i = 0; i + 1 < items->count; i += 2) {
        const m2s_pickle_value *below = NULL;
        if (depth < MAX_WRAPPERS && is_wrapper(items->items[i], items->items[i + 1])) {
            M2S_TRY(find_state(r, items->items[i + 1], depth + 1, &below));
        }
        if (below != NULL && *found != NULL && below != *found) {
            return m2s_fail(r->error, M2SNET_STATUS_FORMAT,
                            "PyTorch file: both \"%.*s\" and \"%.*s\" hold tensors; save only the one to be used",
                            (int)way->u.text.bytes, way->u.text.start, (int)items->items[i]->u.text.bytes,
                            items->items[i]->u.text.start);
        }
        if (below != NULL) {
            *found = below;
            way = items->items[i];
        }
        tensors = tensors || is_tensor_entry(items->items[i], items->items[i + 1]);
    }
    if (*found == NULL && tensors) {
        *found = dict;
    }
    return M2SNET_STATUS_OK;

fail:
    return status;
}

/* Names what is there instead of tensors. */
static m2snet_status fail_without_state(const reader *r, const m2s_pickle_value *root)
{
    char list[400] = "";
    size_t used = 0;

    if (root->kind == M2S_PICKLE_OPAQUE) {
        return m2s_fail(r->error, M2SNET_STATUS_UNSUPPORTED,
                        "PyTorch file: it holds %s, which only its own code could rebuild; expected a state dict, "
                        "written by torch.save(net.state_dict(), ...)",
                        m2s_pickle_describe(root).text);
    }
    if (root->kind != M2S_PICKLE_DICT) {
        return m2s_fail(
            r->error, M2SNET_STATUS_FORMAT,
            "PyTorch file: it holds %s, expected a state dict, written by torch.save(net.state_dict(), ...)",
            m2s_pickle_describe(root).text);
    }
    const m2s_pickle_items *items = &root->u.list;
    for (size_t i = 0; i + 1 < items->count && i < 12 && used < sizeof list; i += 2) {
        const m2s_pickle_value *key = items->items[i];
        int wrote = snprintf(list + used, sizeof list - used, "%s%.40s is %.80s", i == 0 ? ": " : ", ",
                             key->kind == M2S_PICKLE_STRING
                                 ? m2s_quote(key->u.text.start, key->u.text.bytes < 36 ? key->u.text.bytes : 36).text
                                 : m2s_pickle_describe(key).text,
                             m2s_pickle_describe(items->items[i + 1]).text);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    return m2s_fail(r->error, M2SNET_STATUS_FORMAT,
                    "PyTorch file: no tensors in the root dict (%zu entries), nor under \"state_dict\", \"model\", "
                    "\"model_state\", \"model_state_dict\" or \"net\"%s",
                    items->count / 2, list);
}

static bool all_in_module(const m2s_pickle_items *items)
{
    const size_t prefix = strlen(MODULE);

    for (size_t i = 0; i + 1 < items->count; i += 2) {
        m2s_pickle_text key = items->items[i]->u.text;
        if (is_tensor_entry(items->items[i], items->items[i + 1]) &&
            (key.bytes <= prefix || memcmp(key.start, MODULE, prefix) != 0)) {
            return false;
        }
    }
    return true;
}

static m2snet_status read_state(reader *r)
{
    m2snet_status status;
    const m2s_pickle_value *root = r->root;
    const m2s_pickle_value *state = NULL;

    if (root->kind == M2S_PICKLE_DICT) {
        M2S_TRY(find_state(r, root, 0, &state));
    }
    if (state == NULL) {
        return fail_without_state(r, root);
    }
    const m2s_pickle_items *items = &state->u.list;
    size_t prefix = all_in_module(items) ? strlen(MODULE) : 0;
    for (size_t i = 0; i + 1 < items->count; i += 2) {
        const m2s_pickle_value *key = items->items[i];
        const m2s_pickle_value *value = items->items[i + 1];
        if (is_tensor_entry(key, value)) {
            m2s_pickle_text name = { key->u.text.start + prefix, key->u.text.bytes - prefix };
            M2S_TRY(add_tensor(r, name, value->u.tensor));
        } else if (key->kind == M2S_PICKLE_STRING && key->u.text.bytes <= M2S_STORE_MAX_NAME_BYTES) {
            size_t cut = key->u.text.bytes > prefix && memcmp(key->u.text.start, MODULE, prefix) == 0 ? prefix : 0;
            M2S_TRY(m2s_store_skip(r->store, key->u.text.start + cut, key->u.text.bytes - cut,
                                   m2s_pickle_describe(value).text, r->error));
        }
        if (m2s_control_stopped(r->control)) {
            return m2s_fail_cancelled(r->error, "read");
        }
    }
    return M2SNET_STATUS_OK;

fail:
    return status;
}

/* ---- the two containers ---- */

static m2snet_status read_zip(reader *r, m2s_torch_record *pickled)
{
    m2snet_status status;
    m2s_torch_record order = { 0 };
    m2s_pickle_storage **storages;
    size_t count = 0;
    size_t used = 0;

    M2S_TRY(m2s_torch_archive_open(r->memory, r->blob_data, r->blob_bytes, &r->archive, r->error));
    if (m2s_torch_archive_has(r->archive, "byteorder")) {
        M2S_TRY(m2s_torch_archive_get(r->archive, "byteorder", &r->extra_bytes, r->control, &order, r->error));
        if (order.bytes != 6 || memcmp(order.data, "little", 6) != 0) {
            status = m2s_fail(r->error, M2SNET_STATUS_UNSUPPORTED, "PyTorch file: byte order %s, expected \"little\"",
                              m2s_quote(order.data, order.bytes).text);
            goto fail;
        }
    }
    M2S_TRY(m2s_torch_archive_get(r->archive, "data.pkl", &r->extra_bytes, r->control, pickled, r->error));
    M2S_TRY(m2s_pickle_read(r->pickle, pickled->data, pickled->bytes, &used, &r->root, r->error));
    storages = m2s_pickle_storages(r->pickle, &count);
    join_storages(storages, count);

fail:
    m2s_free(r->memory, order.block);
    return status;
}

static m2snet_status check_system(const reader *r, const m2s_pickle_value *system)
{
    if (system->kind != M2S_PICKLE_DICT) {
        return M2SNET_STATUS_OK;
    }
    for (size_t i = 0; i + 1 < system->u.list.count; i += 2) {
        const m2s_pickle_value *key = system->u.list.items[i];
        const m2s_pickle_value *value = system->u.list.items[i + 1];
        if (key->kind == M2S_PICKLE_STRING && m2s_pickle_text_is(key->u.text, "little_endian") &&
            value->kind == M2S_PICKLE_BOOL && !value->u.boolean) {
            return m2s_fail(r->error, M2SNET_STATUS_UNSUPPORTED,
                            "PyTorch file: written on a big-endian machine, expected little-endian");
        }
    }
    return M2SNET_STATUS_OK;
}

/* Five pickles, one after the other: magic, version, system, the object, the storages' keys. */
static m2snet_status read_legacy(reader *r)
{
    enum { MAGIC, VERSION, SYSTEM, OBJECT, KEYS, PICKLES };
    m2snet_status status;
    m2s_pickle_value *values[PICKLES] = { NULL };
    m2s_pickle_storage **storages;
    size_t position = 0;
    size_t count = 0;

    for (int i = MAGIC; i < PICKLES; i++) {
        size_t used = 0;
        M2S_TRY(
            m2s_pickle_read(r->pickle, r->blob_data + position, r->blob_bytes - position, &used, &values[i], r->error));
        position += used;
        if (i == MAGIC && (values[i]->kind != M2S_PICKLE_BIG || values[i]->u.text.bytes != sizeof legacy_magic ||
                           memcmp(values[i]->u.text.start, legacy_magic, sizeof legacy_magic) != 0)) {
            status = m2s_fail(r->error, M2SNET_STATUS_FORMAT,
                              "a Python pickle of %s, but not one that torch.save wrote: expected a PyTorch checkpoint",
                              m2s_pickle_describe(values[i]).text);
            goto fail;
        }
    }
    if (values[VERSION]->kind != M2S_PICKLE_INTEGER || values[VERSION]->u.integer != 1001) {
        status = m2s_fail(r->error, M2SNET_STATUS_UNSUPPORTED, "PyTorch file: unknown version of the older format");
        goto fail;
    }
    M2S_TRY(check_system(r, values[SYSTEM]));
    storages = m2s_pickle_storages(r->pickle, &count);
    join_storages(storages, count);
    M2S_TRY(place_storages(r, storages, count, values[KEYS], position));
    r->root = values[OBJECT];

fail:
    return status;
}

m2snet_status m2s_torch_checkpoint_read(m2s_memory *memory, m2s_blob *blob, m2s_control *control, m2s_store **store,
                                        m2snet_error *error)
{
    m2snet_status status;
    bool zip = m2s_torch_zip_recognise(blob->data, blob->bytes);
    m2s_torch_record pickled = { 0 };
    reader r = { .memory = memory,
                 .control = control,
                 .error = error,
                 .blob_data = blob->data,
                 .blob_bytes = blob->bytes,
                 .writable = blob->writable,
                 .extra_bytes = EXTRA_FACTOR * (uint64_t)blob->bytes + EXTRA_BYTES };

    *store = NULL;
    M2S_TRY(m2s_store_create(memory, zip ? "pytorch zip" : "pytorch legacy", &r.store, error));
    M2S_TRY(m2s_store_take(r.store, blob, error));
    M2S_TRY(m2s_pickle_create(memory, &r.pickle, error));
    M2S_TRY(zip ? read_zip(&r, &pickled) : read_legacy(&r));
    M2S_TRY(read_state(&r));
    *store = r.store;
    r.store = NULL;

fail:
    m2s_torch_archive_close(r.archive);
    m2s_pickle_destroy(r.pickle);
    m2s_free(memory, pickled.block);
    m2s_store_destroy(r.store);
    m2s_blob_release(memory, blob);
    return status;
}
