/* SPDX-License-Identifier: Apache-2.0
 * The reference kernels: every op as plain loops, one source for float and double, sums in double. They are the
 * specification and the oracle of the tests; other backends use them as their generic candidates and to evaluate
 * constants. */
#ifndef M2S_BACKENDS_REF_REF_H
#define M2S_BACKENDS_REF_REF_H

#include "backends/backend.h"

/* Everything a kernel sees of its node. Data are dense, activations channels last. */
typedef struct m2s_ref_args {
    const m2s_attrs *attrs;
    int32_t in_count, out_count;
    const void *in[M2S_MAX_IN]; /* NULL where absent */
    m2s_shape in_shape[M2S_MAX_IN];
    void *out[M2S_MAX_OUT];
    m2s_shape out_shape[M2S_MAX_OUT];
    void *scratch; /* scratch_bytes of it, or NULL */
} m2s_ref_args;

typedef struct m2s_ref_kernel {
    /* Chunks are independent, and cut the same way whatever the number of threads. NULL = one chunk. */
    int64_t (*chunks)(const m2s_ref_args *args);
    /* NULL = none. */
    size_t (*scratch_bytes)(const m2s_ref_args *args);
    void (*run)(const m2s_ref_args *args, int64_t chunk);
} m2s_ref_kernel;

/* The kernel of an op for F32 or F64; NULL for another dtype. */
const m2s_ref_kernel *m2s_ref_get_kernel(m2s_op op, m2snet_dtype dtype);

/* Fills args from a node, leaving pointers NULL. */
void m2s_ref_args_init(m2s_ref_args *args, const m2s_graph *graph, const m2s_node *node);

/* The numbers of a constant value (a parameter, or nodes over parameters), in the graph's dtype, into dst. */
m2snet_status m2s_ref_constant(m2s_memory *memory, const m2s_graph *graph, const m2s_param_view *params,
                               m2s_value value, void *dst, m2snet_error *error);

/* A key for the pack cache: what the constant is made of (operations, attributes, parameter names and versions), the
 * dtype, and how it is laid out. Written into key (at most M2S_PACK_KEY_BYTES with the zero). */
#define M2S_PACK_KEY_BYTES 160
void m2s_ref_constant_key(const m2s_graph *graph, const m2s_param_view *params, m2s_value value, const char *layout,
                          char key[M2S_PACK_KEY_BYTES]);

#endif
