/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/ref/kernel_tables.h"

const m2s_ref_kernel *m2s_ref_get_kernel(m2s_op op, m2snet_dtype dtype)
{
    const m2s_ref_kernel *table = dtype == M2SNET_DTYPE_F32   ? m2s_ref_kernels_f32
                                  : dtype == M2SNET_DTYPE_F64 ? m2s_ref_kernels_f64
                                                              : NULL;

    if (table == NULL || (unsigned)op >= (unsigned)M2S_OP_COUNT || table[op].run == NULL) {
        return NULL;
    }
    return &table[op];
}

void m2s_ref_args_init(m2s_ref_args *args, const m2s_graph *graph, const m2s_node *node)
{
    *args = (m2s_ref_args){ .attrs = &node->attrs, .in_count = node->in_count, .out_count = node->out_count };
    for (int32_t i = 0; i < node->in_count; i++) {
        if (node->in[i] != M2S_NONE) {
            args->in_shape[i] = m2s_shape_of(graph, node->in[i]);
        }
    }
    for (int32_t i = 0; i < node->out_count; i++) {
        args->out_shape[i] = m2s_shape_of(graph, node->out[i]);
    }
}
