/* SPDX-License-Identifier: Apache-2.0
 * Named weights as a file or a new model holds them: what every reader gives and every writer takes.
 *
 * A store owns the bytes it was read from and its weights point into them, so weights are in memory once. Weights
 * are row-major and contiguous, aligned to their element, in the dtype of the file. After loading a store is read by
 * any number of threads; adding belongs to one. */
#ifndef M2S_WEIGHTS_STORE_H
#define M2S_WEIGHTS_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/digest.h"
#include "core/memory.h"
#include "core/sha256.h"

#define M2S_WEIGHT_MAX_RANK      8
#define M2S_STORE_MAX_WEIGHTS    65536u
#define M2S_STORE_MAX_NAME_BYTES 4096u
#define M2S_STORE_MAX_METADATA   4096u /* entries */

/* A dtype that files may have and the library cannot compute with (F8_E4M3, U32, C64, ...): weight->dtype_name says
 * which. Such a weight has a name, a shape and bytes, so that files with one beside the network's weights load. */
#define M2S_DTYPE_OTHER ((m2snet_dtype)0)

/* Bytes that a store takes over. */
typedef struct m2s_blob {
    void *data; /* aligned to 8 bytes at least */
    size_t bytes;
    bool writable;                             /* readers may shift parts of it in place to align them */
    void (*release)(void *data, size_t bytes); /* NULL = m2s_free of data */
    m2s_digest *digest;                        /* of the bytes as they came, perhaps still at work; may be NULL */
} m2s_blob;
void m2s_blob_release(m2s_memory *memory, m2s_blob *blob); /* an empty blob is fine; leaves an empty one */

typedef struct m2s_weight {
    const char *name;
    m2snet_dtype dtype;     /* as stored */
    const char *dtype_name; /* "F32" */
    int32_t rank;           /* 0..8 */
    int64_t dims[M2S_WEIGHT_MAX_RANK];
    size_t count; /* elements: the product of dims, 1 for rank 0 */
    size_t bytes;
    const void *data;
    uint64_t version; /* 1 at first; whoever changes the data adds one */
} m2s_weight;

/* What the adding functions take. */
typedef struct m2s_weight_desc {
    const char *name; /* name_bytes of them, 1..M2S_STORE_MAX_NAME_BYTES, no NUL; copied */
    size_t name_bytes;
    m2snet_dtype dtype;
    const char *dtype_name; /* for M2S_DTYPE_OTHER, copied; else ignored */
    size_t bytes;           /* for M2S_DTYPE_OTHER; else ignored */
    int32_t rank;
    const int64_t *dims; /* each 0 or more */
} m2s_weight_desc;

typedef struct m2s_store m2s_store;

/* format: "safetensors", "pytorch zip", "pytorch legacy", "created"; a literal, kept as it is. */
m2snet_status m2s_store_create(m2s_memory *memory, const char *format, m2s_store **store, m2snet_error *error);
void m2s_store_destroy(m2s_store *store); /* NULL is fine */

/* The store frees blob with itself, also when this fails; *blob is empty afterwards. */
m2snet_status m2s_store_take(m2s_store *store, m2s_blob *blob, m2snet_error *error);

/* A weight in memory of its own: a copy of data, or zeros when data is NULL. *writable (may be NULL) is where the
 * caller may fill it in. A name that is there already, a bad shape or too many weights: M2SNET_STATUS_FORMAT or LIMIT.
 */
m2snet_status m2s_store_add(m2s_store *store, const m2s_weight_desc *desc, const void *data, void **writable,
                            m2snet_error *error);
/* A weight inside a blob that the store took. Copied only when data is not aligned for its dtype. */
m2snet_status m2s_store_add_view(m2s_store *store, const m2s_weight_desc *desc, const void *data, m2snet_error *error);

const char *m2s_store_format(const m2s_store *store);
size_t m2s_store_count(const m2s_store *store);
m2s_weight *m2s_store_at(const m2s_store *store, size_t index);       /* in the file's order; NULL outside */
m2s_weight *m2s_store_find(const m2s_store *store, const char *name); /* NULL: not there */
/* Gives a weight of store another name, which no other weight may have. */
m2snet_status m2s_store_rename(m2s_store *store, m2s_weight *weight, const char *name, m2snet_error *error);
size_t m2s_store_bytes(const m2s_store *store); /* of all weights' data */

/* Entries of a file that are no weights. reason continues "in the file it is": "a number", "an object of
 * argparse.Namespace". m2s_store_skipped gives the reason for a name, or NULL. */
m2snet_status m2s_store_skip(m2s_store *store, const char *name, size_t name_bytes, const char *reason,
                             m2snet_error *error);
const char *m2s_store_skipped(const m2s_store *store, const char *name);

/* Text beside the weights, in the file's order. Setting a key again replaces its value in place. */
m2snet_status m2s_store_set_metadata(m2s_store *store, const char *key, const char *value, m2snet_error *error);
size_t m2s_store_metadata_count(const m2s_store *store);
const char *m2s_store_metadata_key(const m2s_store *store, size_t index);   /* NULL outside */
const char *m2s_store_metadata_value(const m2s_store *store, size_t index); /* NULL outside */
const char *m2s_store_metadata(const m2s_store *store, const char *key);    /* NULL: not there */

/* Of the file's bytes, 64 hexadecimal digits; waits where a blob's digest is still at work, so call it before changing
 * the data of a weight that was loaded. "" until set. */
const char *m2s_store_sha256(const m2s_store *store);
/* Whether m2s_store_sha256 may have to wait. */
bool m2s_store_hashes_later(const m2s_store *store);
void m2s_store_set_sha256(m2s_store *store, const char hex[M2S_SHA256_HEX_BYTES]);

/* Elements first..first+count-1 as float or double, from any dtype but OTHER (UNSUPPORTED, named). F16, BF16 and, to
 * double, all but 64-bit integers beyond 2^53 are exact; the rest rounds to nearest. */
m2snet_status m2s_weight_read_float(const m2s_weight *weight, size_t first, size_t count, float *dst,
                                    m2snet_error *error);
m2snet_status m2s_weight_read_double(const m2s_weight *weight, size_t first, size_t count, double *dst,
                                     m2snet_error *error);
/* False when a float weight holds NaN or infinity; *index is then the first such element. Others are finite. */
bool m2s_weight_finite(const m2s_weight *weight, size_t *index);

/* The product of dims, 1 for rank 0; false when it overflows or a dim is negative. */
bool m2s_dims_count(int32_t rank, const int64_t *dims, size_t *count);
/* "64x3x7x7", or "scalar" for rank 0. */
typedef struct m2s_dims_string {
    char text[21 * M2S_WEIGHT_MAX_RANK];
} m2s_dims_string;
m2s_dims_string m2s_dims_text(int32_t rank, const int64_t *dims);

#endif
