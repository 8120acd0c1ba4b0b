/* SPDX-License-Identifier: Apache-2.0
 * NumPy's .npy files, versions 1 and 2: little-endian float32 and float64 arrays in C order, nothing else. */
#ifndef EXAMPLES_COMMON_NPY_H
#define EXAMPLES_COMMON_NPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NPY_MAX_RANK 8

typedef struct npy_array {
    int rank;
    int64_t dims[NPY_MAX_RANK];
    size_t item_bytes; /* 4: float32, 8: float64 */
    void *data;        /* from malloc */
} npy_array;

/* False after a complaint that says what was expected and what came. The file must end where the array does. */
bool npy_read(const char *path, npy_array *array);
/* Through a temporary file and rename. */
bool npy_write(const char *path, const npy_array *array);
/* Bytes of data; false when that is more than memory can address. */
bool npy_size(const npy_array *array, size_t *size_bytes);

#endif
