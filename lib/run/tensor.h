/* SPDX-License-Identifier: Apache-2.0
 * Tensors of the public interface: n x h x w x c numbers with any strides. */
#ifndef M2S_RUN_TENSOR_H
#define M2S_RUN_TENSOR_H

#include "run/context.h"

struct m2snet_tensor {
    m2snet_context *context;
    m2snet_tensor_desc desc; /* strides resolved */
    void *data;
    void *owned; /* storage of ours, or NULL */
};

m2snet_status m2s_tensor_create(m2snet_context *context, const m2snet_tensor_desc *desc, void *data,
                                m2snet_tensor **tensor, m2snet_error *error);
void m2s_tensor_destroy(m2snet_tensor *tensor); /* NULL is fine */

/* Between a tensor and dense channels-last numbers of dtype F32 or F64. */
void m2s_tensor_gather(const m2snet_tensor *tensor, m2snet_dtype dtype, void *dense);
void m2s_tensor_scatter(m2snet_tensor *tensor, m2snet_dtype dtype, const void *dense);

#endif
