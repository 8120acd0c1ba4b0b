/* SPDX-License-Identifier: Apache-2.0 */
#include "run/tensor.h"

#include <inttypes.h>
#include <string.h>

#include "graph/graph.h"

static bool dense_bytes(const m2snet_tensor_desc *desc, size_t *bytes)
{
    const int64_t dims[4] = { desc->n, desc->h, desc->w, desc->c };

    *bytes = m2s_dtype_bytes(desc->dtype);
    for (int i = 0; i < 4; i++) {
        if (dims[i] < 1 || !m2s_mul(*bytes, (size_t)dims[i], bytes)) {
            return false;
        }
    }
    return *bytes <= PTRDIFF_MAX;
}

/* Whether the farthest element lies within what a pointer can reach. */
static bool reachable(const m2snet_tensor_desc *desc)
{
    const int64_t dims[4] = { desc->n, desc->h, desc->w, desc->c };
    const int64_t strides[4] = { desc->stride_n_bytes, desc->stride_h_bytes, desc->stride_w_bytes,
                                 desc->stride_c_bytes };
    size_t reach = m2s_dtype_bytes(desc->dtype);

    for (int i = 0; i < 4; i++) {
        size_t step = strides[i] < 0 ? 0 - (size_t)strides[i] : (size_t)strides[i];
        if (!m2s_mul((size_t)(dims[i] - 1), step, &step) || !m2s_add(reach, step, &reach)) {
            return false;
        }
    }
    return reach <= PTRDIFF_MAX;
}

m2snet_status m2s_tensor_create(m2snet_context *context, const m2snet_tensor_desc *given, void *data,
                                m2snet_tensor **created, m2snet_error *error)
{
    m2snet_tensor_desc desc = *given;
    size_t bytes;

    *created = NULL;
    if (desc.dtype != M2SNET_DTYPE_F32 && desc.dtype != M2SNET_DTYPE_F64) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT, "a tensor is of dtype F32 or F64, not %d",
                        (int)desc.dtype);
    }
    if (!dense_bytes(&desc, &bytes)) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                        "a tensor of %" PRId64 " x %" PRId64 " x %" PRId64 " x %" PRId64
                        " (n, h, w, c) is empty or too large",
                        desc.n, desc.h, desc.w, desc.c);
    }
    bool no_strides =
        desc.stride_n_bytes == 0 && desc.stride_h_bytes == 0 && desc.stride_w_bytes == 0 && desc.stride_c_bytes == 0;
    if (no_strides || data == NULL) {
        desc.stride_c_bytes = (int64_t)m2s_dtype_bytes(desc.dtype);
        desc.stride_w_bytes = desc.c * desc.stride_c_bytes;
        desc.stride_h_bytes = desc.w * desc.stride_w_bytes;
        desc.stride_n_bytes = desc.h * desc.stride_h_bytes;
    }
    if (!reachable(&desc)) {
        return m2s_fail(error, M2SNET_STATUS_INVALID_ARGUMENT,
                        "a tensor with strides of %" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64
                        " bytes (n, h, w, c) does not fit into memory",
                        desc.stride_n_bytes, desc.stride_h_bytes, desc.stride_w_bytes, desc.stride_c_bytes);
    }
    m2snet_tensor *tensor = m2s_calloc(&context->memory, 1, sizeof *tensor);
    if (tensor == NULL) {
        return m2s_fail_memory(error, "a tensor", sizeof *tensor);
    }
    if (data == NULL) {
        tensor->owned = data = m2s_calloc(&context->memory, 1, bytes);
        if (data == NULL) {
            m2s_free(&context->memory, tensor);
            return m2s_fail_memory(error, "a tensor", bytes);
        }
    }
    tensor->context = m2s_context_retain(context);
    tensor->desc = desc;
    tensor->data = data;
    *created = tensor;
    return M2SNET_STATUS_OK;
}

void m2s_tensor_destroy(m2snet_tensor *tensor)
{
    if (tensor == NULL) {
        return;
    }
    m2snet_context *context = tensor->context;
    m2s_free(&context->memory, tensor->owned);
    m2s_free(&context->memory, tensor);
    m2s_context_release(context);
}

static double load(const char *from, m2snet_dtype dtype)
{
    float single;
    double value;

    if (dtype == M2SNET_DTYPE_F64) {
        memcpy(&value, from, sizeof value); /* the caller's strides may leave it unaligned */
        return value;
    }
    memcpy(&single, from, sizeof single);
    return (double)single;
}

static void store(char *to, m2snet_dtype dtype, double value)
{
    float single = (float)value;

    if (dtype == M2SNET_DTYPE_F64) {
        memcpy(to, &value, sizeof value);
    } else {
        memcpy(to, &single, sizeof single);
    }
}

/* Copies between the strided tensor and dense numbers, either way. */
static void copy(const m2snet_tensor_desc *d, char *strided, m2snet_dtype dtype, char *dense, bool gather)
{
    size_t step = m2s_dtype_bytes(dtype);

    for (int64_t n = 0; n < d->n; n++) {
        for (int64_t h = 0; h < d->h; h++) {
            char *row = strided + n * d->stride_n_bytes + h * d->stride_h_bytes;
            for (int64_t w = 0; w < d->w; w++) {
                char *pixel = row + w * d->stride_w_bytes;
                for (int64_t c = 0; c < d->c; c++, dense += step) {
                    char *element = pixel + c * d->stride_c_bytes;
                    if (gather) {
                        store(dense, dtype, load(element, d->dtype));
                    } else {
                        store(element, d->dtype, load(dense, dtype));
                    }
                }
            }
        }
    }
}

void m2s_tensor_gather(const m2snet_tensor *tensor, m2snet_dtype dtype, void *dense)
{
    copy(&tensor->desc, tensor->data, dtype, dense, true);
}

void m2s_tensor_scatter(m2snet_tensor *tensor, m2snet_dtype dtype, const void *dense)
{
    copy(&tensor->desc, tensor->data, dtype, (char *)(uintptr_t)dense, false);
}
