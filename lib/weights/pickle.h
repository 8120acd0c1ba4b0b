/* SPDX-License-Identifier: Apache-2.0
 * Python pickles read as data, as PyTorch writes them (protocols 2 to 5).
 *
 * A small machine builds values: numbers, strings, tuples, lists, dicts, tensors and storages. It looks up, imports and
 * calls nothing. The few names that describe tensors and dicts are known by a table; every other class or function
 * gives an opaque value that only remembers its name. */
#ifndef M2S_WEIGHTS_PICKLE_H
#define M2S_WEIGHTS_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/memory.h"

#define M2S_PICKLE_MAX_VALUES  (4u << 20)  /* of one m2s_pickle */
#define M2S_PICKLE_MAX_OPCODES (16u << 20) /* of one pickle */

typedef enum m2s_pickle_kind {
    M2S_PICKLE_NONE,
    M2S_PICKLE_BOOL,
    M2S_PICKLE_INTEGER,
    M2S_PICKLE_BIG, /* an integer beyond 64 bits: text, little endian, two's complement */
    M2S_PICKLE_REAL,
    M2S_PICKLE_STRING, /* str, and Python 2's str */
    M2S_PICKLE_BYTES,
    M2S_PICKLE_TUPLE, /* torch.Size too */
    M2S_PICKLE_LIST,  /* sets too */
    M2S_PICKLE_DICT,  /* dict, OrderedDict, defaultdict: items are key, value, key, value, ... */
    M2S_PICKLE_GLOBAL,
    M2S_PICKLE_STORAGE,
    M2S_PICKLE_TENSOR,
    M2S_PICKLE_OPAQUE
} m2s_pickle_kind;

/* A run of bytes inside the pickle; no zero at its end. */
typedef struct m2s_pickle_text {
    const char *start;
    size_t bytes;
} m2s_pickle_text;

/* A PyTorch element type. */
typedef struct m2s_torch_dtype {
    const char *storage; /* "FloatStorage" */
    const char *name;    /* "float32", torch.float32 */
    m2snet_dtype dtype;  /* 0: the library cannot compute with it */
    size_t bytes;        /* of an element */
} m2s_torch_dtype;

typedef struct m2s_pickle_value m2s_pickle_value;

typedef struct m2s_pickle_items {
    m2s_pickle_value **items;
    size_t count, capacity;
} m2s_pickle_items;

typedef struct m2s_pickle_global {
    m2s_pickle_text module, name;
    int role;                     /* what the machine makes of it, one of its enum */
    const m2s_torch_dtype *dtype; /* of a storage class or a torch.dtype, else NULL */
} m2s_pickle_global;

typedef struct m2s_pickle_storage m2s_pickle_storage;
struct m2s_pickle_storage {
    m2s_pickle_text key;
    const m2s_torch_dtype *dtype;
    int64_t count;       /* elements of the whole storage */
    int64_t view_offset; /* elements; tensors count from here */
    int64_t view_count;
    m2s_pickle_storage *root; /* for the reader of the file: one stands for all with this key ... */
    const char *data;         /* ... and knows where its bytes are; NULL = not yet */
    size_t data_bytes;
};

typedef struct m2s_pickle_tensor {
    m2s_pickle_storage *storage;
    const m2s_torch_dtype *dtype;
    int64_t offset;                  /* elements, 0 or more */
    const m2s_pickle_items *dims;    /* integers, 0 or more */
    const m2s_pickle_items *strides; /* integers, elements, 0 or more; as many as dims */
} m2s_pickle_tensor;

struct m2s_pickle_value {
    m2s_pickle_kind kind;
    union {
        bool boolean;
        int64_t integer;
        double real;
        m2s_pickle_text text;  /* STRING, BYTES, BIG */
        m2s_pickle_items list; /* TUPLE, LIST, DICT */
        m2s_pickle_global *global;
        m2s_pickle_storage *storage;
        m2s_pickle_tensor *tensor;
        const m2s_pickle_value *maker; /* OPAQUE: the global it is an instance or result of */
    } u;
};

/* Holds the values of one or several pickles. */
typedef struct m2s_pickle m2s_pickle;

m2snet_status m2s_pickle_create(m2s_memory *memory, m2s_pickle **pickle, m2snet_error *error);
void m2s_pickle_destroy(m2s_pickle *pickle); /* NULL is fine */

/* Reads one pickle from the start of data. *used is its length. Values point into data, which must outlive them. */
m2snet_status m2s_pickle_read(m2s_pickle *pickle, const void *data, size_t bytes, size_t *used,
                              m2s_pickle_value **value, m2snet_error *error);

/* All storages that were named so far, in the order they came. */
m2s_pickle_storage **m2s_pickle_storages(const m2s_pickle *pickle, size_t *count);

bool m2s_pickle_text_is(m2s_pickle_text text, const char *word);

/* "a number", "a list", "an object of argparse.Namespace": what a value is, for messages. */
typedef struct m2s_pickle_description {
    char text[200];
} m2s_pickle_description;
m2s_pickle_description m2s_pickle_describe(const m2s_pickle_value *value);

#endif
